"""What was typed beside resume=: it goes into the run's own config where it may, and is refused where a run keeps its config."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gancli import hints
from gancli.builder import Problem, show
from gancli.errors import Problems, UserError
from gancli.runfolder import choices_of, overrides_of

ASIDE = ("resume=", "trust=", "hydra.", "+hydra.")  # they say how to resume, not what
CHANGEABLE = ("trainer.", "log.", "metrics", "dataset.path", "dataset.root", "dataset.workers")
KEEPS = "a run keeps its config; leave it out to resume, or start a new run"


def resumes(overrides: Sequence[str]) -> bool:
    """Is a certain run to be resumed? Then its own config counts, and the defaults beside it would only get in the way."""
    return any(item.startswith("resume=") and item not in ("resume=auto", "resume=null") for item in overrides)


def change(config: dict, overrides: Sequence[str], folder: Path) -> None:
    """Puts what was typed into the stored config, in place. Raises Problems that name whatever must stay as it is."""
    started, choices = overrides_of(folder) or [], choices_of(folder)
    found: list[Problem] = []
    for item in overrides:
        if item.startswith(ASIDE):
            continue
        override = parsed(item)
        key, value = override.key_or_group, plain(override.value())
        parent, last = descend(config, key)
        old = choices.get(key, (parent or {}).get(last))
        if key.startswith(CHANGEABLE) and parent is not None and not override.is_delete():
            parent[last] = value
            if key == "trainer.steps":
                parent["epochs"] = None  # which would replace it
        elif item not in started and (override.is_delete() or override.is_add() or value != old):
            known = old is not None and not override.is_delete() and not override.is_add()
            found.append((f"{key} is {show(old)} in {folder}, {show(value)} here" if known else
                          f"{folder} was started without {item}", KEEPS))
    if found:
        raise Problems(found)


def parsed(item: str):
    """A Hydra override. Raises UserError."""
    try:
        override = hints.parse(item)
    except hints.composition_errors() as error:
        raise UserError(f"'{item}' cannot be read", "write KEY=VALUE") from error
    if override.is_sweep_override():
        raise UserError(f"'{item}' gives several values", "a run is resumed with one")
    return override


def plain(value: object) -> object:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.create({"value": value}), resolve=True)["value"]


def descend(tree: dict, key: str) -> tuple[dict | None, str]:
    """-> the mapping that a dotted key leads into, None if there is none, and the key's last part."""
    *parents, last = key.split(".")
    for part in parents:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return (tree if isinstance(tree, dict) else None), last
