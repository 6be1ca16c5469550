"""What was typed beside resume=: it goes into the run's own config where it may, and is refused where a run keeps its config.

And what must be typed: the packages to trust."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from gancli import config as front
from gancli import hints
from gancli.errors import Problems, UserError

ASIDE = ("resume=", "trust=", "hydra.", "+hydra.")  # they say how to resume, not what
CHANGEABLE = (
    "trainer.",
    "log.",
    "watch.",
    "metrics",
    "dataset.path",
    "dataset.root",
    "dataset.workers",
)
KEEPS = "a run keeps its config; leave it out to resume, or start a new run"


def resumes(overrides: Sequence[str]) -> bool:
    """Is a certain run to be resumed? Then its own config counts, and the defaults beside it would only get in the way."""
    return any(
        item.startswith("resume=") and item not in ("resume=auto", "resume=null")
        for item in overrides
    )


def change(config: dict, overrides: Sequence[str], folder: Path) -> None:
    """Puts what was typed into the stored config, in place. Raises Problems that name whatever must stay as it is."""
    from gancli.builder import show  # not above: a typo must be told without torch
    from gancli.runfolder import choices_of, overrides_of

    started = overrides_of(folder) or []
    choices = choices_of(folder)
    found: list[hints.Problem] = []
    for item in overrides:
        if item.startswith(ASIDE):
            continue
        key, value, sets = parsed(item)
        parent, last = descend(config, key)
        old = choices.get(key, (parent or {}).get(last))
        if key == "metrics" and isinstance(value, str):
            config["metrics"] = option("metrics", value)
        elif key.startswith(CHANGEABLE) and parent is not None and sets:
            parent[last] = value
            if key == "trainer.steps":
                parent["epochs"] = None  # which would replace it
        elif item not in started and not (sets and value == old):
            found.append(
                (
                    f"{key} is {show(old)} in {folder}, {show(value)} here"
                    if sets and old is not None
                    else f"{folder} was started without {item}",
                    KEEPS,
                )
            )
    if found:
        raise Problems(found)


def option(group: str, name: str) -> dict:
    """What a fresh run would compose for an option of a group. Raises UserError where there is none."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(
        front.compose("train", [f"{group}={name}"]).cfg[group], resolve=True
    )


def complete(config: dict) -> None:
    """What the config of a run from before there were metrics and a watchdog lacks, in place: it had neither."""
    from omegaconf import OmegaConf

    if "metrics" not in config:
        config["metrics"] = option("metrics", "none")
    config.setdefault("perceptual", None)
    if "watch" not in config:
        config["watch"] = OmegaConf.to_container(
            front.compose("train", ["watch.action=off"]).cfg.watch
        )


def parsed(item: str) -> tuple[str, object, bool]:
    """-> the key of an override, its value, and whether it sets that key: it may also add (+) or delete (~) something."""
    from omegaconf import OmegaConf

    try:
        override = hints.parse(item)
        value = OmegaConf.to_container(OmegaConf.create({"value": override.value()}), resolve=True)[
            "value"
        ]
    except hints.composition_errors() as error:
        raise UserError(f"'{item}' cannot be read", "write KEY=VALUE") from error
    if override.is_sweep_override():
        raise UserError(f"'{item}' gives several values", "a run is resumed with one")
    return (
        override.key_or_group,
        value,
        not override.is_delete() and (not override.is_add() or override.is_force_add()),
    )


def descend(tree: dict, key: str) -> tuple[dict | None, str]:
    """-> the mapping that a dotted key leads into, None if there is none, and the key's last part."""
    *parents, last = key.split(".")
    for part in parents:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return (tree if isinstance(tree, dict) else None), last


def strangers(config: dict) -> tuple[str, ...]:
    """The user's own packages that a config names, and that a checkpoint of it may use only if they are trusted."""
    return tuple(
        sorted({spec["_target_"].split(".")[0] for spec in specs(config)} - {"gancli", "torch"})
    )


def specs(tree: object) -> Iterator[dict]:
    if isinstance(tree, dict) and "_target_" in tree:
        yield tree
    for item in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from specs(item)
