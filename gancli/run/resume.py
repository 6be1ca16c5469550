"""The config of a run that goes on: the stored one, with what was typed beside resume=.

It is refused where a run keeps its config. And what must be typed: the packages to trust.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gancli.config import compose as front
from gancli.config import hints
from gancli.config.build import locate, read_parameters
from gancli.config.loggers import USUAL, find_logger_problems
from gancli.config.run_config import RunConfig
from gancli.config.schema import CLOSED, TOP_KEYS, InitConfig
from gancli.config.values import show
from gancli.errors import Problem, Problems, UserError

ASIDE = ("resume=", "trust=", "hydra.", "+hydra.")  # they say how to resume, not what
CHANGEABLE = (
    "trainer.",
    "log.",
    "logger",
    "watch.",
    "metrics",
    "dataset.path",
    "dataset.root",
    "dataset.workers",
    "dataset.cache",
)
FREE = (  # what resume=auto overlooks: how long, where and how loudly a run trains
    "trainer.steps",
    "trainer.epochs",
    "trainer.device",
    "trainer.save_every",
    "trainer.keep",
    "trainer.threads",
    "log.",
    "logger",
    "dataset.workers",
    "dataset.cache",
    "resume",
    "trust",
    "published",
)
ABSENT = "absent"
KEPT = "use the gancli that the run was trained with"
KEEPS = "a run keeps its config; leave it out to resume, or start a new run"


def asks_to_resume(overrides: Sequence[str]) -> bool:
    """Is a certain run to be resumed?

    Then its own config counts, and the defaults beside it would only get in the way.
    """
    return any(
        item.startswith("resume=") and item not in ("resume=auto", "resume=null")
        for item in overrides
    )


def apply_overrides(config: dict[str, Any], overrides: Sequence[str], folder: Path) -> None:
    """Puts what was typed into the stored config, in place.

    Args:
        config: The plain config of the run.
        overrides: The words of the command line.
        folder: Of the run, which knows with which words it was started.

    Raises:
        Problems: Names whatever must stay as it is.
    """
    from gancli.run.folder import read_start_choices, read_start_overrides

    started = read_start_overrides(folder) or []
    choices = read_start_choices(folder)
    found: list[Problem] = []
    for item in overrides:
        if item.startswith(ASIDE):
            continue
        key, value, sets = parse_override(item)
        parent, last = find_parent(config, key)
        old = choices.get(key, (parent or {}).get(last))
        if key == "metrics" and isinstance(value, str):
            config["metrics"] = compose_option("metrics", value)
        elif key == "logger":
            config["logger"] = compose_section(item, "logger")
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


def compose_option(group: str, name: str) -> dict[str, Any]:
    """Composes an option of a group as a fresh run would. Raises UserError where there is none."""
    return compose_section(f"{group}={name}", group)


def compose_section(word: str, section: str) -> dict[str, Any]:
    """Composes one section of a run that is started with this word."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(front.compose("train", [word]).cfg[section], resolve=True)
    assert isinstance(plain, dict), f"{section} is a mapping, or composition would have refused it"
    return {str(key): value for key, value in plain.items()}


def complete_config(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Adds what the config of an older run lacks.

    Args:
        stored: The `config` of a checkpoint; it stays as it is.

    Returns:
        A plain copy. A run from before there were metrics and a watchdog had neither.
    """
    config = {key: copy.deepcopy(value) for key, value in stored.items() if key in TOP_KEYS}
    for part in ("loss", "augment", "perceptual"):
        # Absent where the run had none, or was started before there were such parts.
        config.setdefault(part, None)
    if "metrics" not in config:
        config["metrics"] = compose_option("metrics", "none")
    if isinstance(config["metrics"], dict):  # `metrics.own.x=...` may then be typed
        config["metrics"].setdefault("own", {})
    if isinstance(config.get("trainer"), dict):
        config["trainer"].setdefault("threads", "auto")
    config.setdefault("logger", copy.deepcopy(USUAL))
    config.setdefault("init", dataclasses.asdict(InitConfig()))
    if "log" not in config:  # an exported file says nothing of how its run was logged
        config["log"] = compose_section("log.every=50", "log")
    if "watch" not in config:
        config["watch"] = compose_section("watch.action=off", "watch")
    return config


def read_config(stored: Mapping[str, Any]) -> RunConfig:
    """Makes the config of a checkpoint, whose keys may be an older run's, into a `RunConfig`.

    Raises:
        Problems: A section with fixed keys holds something else than a run writes there.
    """
    from gancli.config.closed import find_closed_problems
    from gancli.config.published import find_published_problems

    config = complete_config(stored)
    found = [
        (f"the stored config has no {name}", KEPT)
        for name in ("seed", *CLOSED)
        if name not in config
    ]
    found += find_closed_problems(config, CLOSED)
    found += find_published_problems(config.get("published"))
    found += find_logger_problems(config["logger"])
    if found:
        raise Problems(found)
    return RunConfig.from_plain(config)


def parse_override(item: str) -> tuple[str, object, bool]:
    """Splits an override into its key, its value and whether it sets that key.

    It may also add (+) or delete (~) something.

    Raises:
        UserError: It cannot be read, or gives several values.
    """
    from omegaconf import OmegaConf

    try:
        override = hints.parse_override(item)
        box = OmegaConf.to_container(OmegaConf.create({"value": override.value()}), resolve=True)
        assert isinstance(box, dict)
        value = box["value"]
    except hints.list_composition_errors() as error:
        raise UserError(f"'{item}' cannot be read", "write KEY=VALUE") from error
    if override.is_sweep_override():
        raise UserError(f"'{item}' gives several values", "a run is resumed with one")
    return (
        override.key_or_group,
        value,
        not override.is_delete() and (not override.is_add() or override.is_force_add()),
    )


def find_parent(tree: dict[str, Any], key: str) -> tuple[dict[str, Any] | None, str]:
    """Follows a dotted key.

    Returns:
        The mapping that it leads into, None if there is none, and the key's last part.
    """
    *parents, last = key.split(".")
    node: object = tree
    for part in parents:
        node = node.get(part) if isinstance(node, dict) else None
    return (node if isinstance(node, dict) else None), last


def find_untrusted_packages(config: object) -> tuple[str, ...]:
    """Lists the user's own packages that a config names.

    A checkpoint of it may use them only if they are trusted.
    """
    return tuple(
        sorted(
            {spec["_target_"].split(".")[0] for spec in iterate_specs(config)} - {"gancli", "torch"}
        )
    )


def iterate_specs(tree: object) -> Iterator[dict[str, Any]]:
    """Goes through all descriptions ({_target_: ...}) of a plain config, at any depth."""
    if isinstance(tree, dict) and "_target_" in tree:
        yield tree
    for item in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from iterate_specs(item)


@dataclass(frozen=True)
class Candidate:
    """A run that resume=auto looks at.

    Attributes:
        folder: Of the run.
        step: Of its newest checkpoint.
        digest: Of its data.
        differs: Key -> (value there, value asked for), but for what is overlooked.
        older: Where keys are missing that a new run would set: what the run goes on with.
    """

    folder: Path
    step: int
    digest: str
    differs: dict[str, tuple[str, str]]
    older: tuple[str, ...] = ()


def look_around(parent: Path, wanted: RunConfig, composed: front.Composed) -> list[Candidate]:
    """Compares the runs in a folder with the one that is asked for.

    Args:
        parent: The folder that holds run folders.
        wanted: The config of the run that is asked for.
        composed: What was typed.

    Returns:
        The run that was saved last first.
    """
    from gancli.checkpoint import peek
    from gancli.run.folder import list_saved_runs, read_start_overrides

    overlooked: tuple[str, ...] = FREE
    if composed.cfg.trainer.precision == "auto":  # it follows the device
        overlooked = (*FREE, "trainer.precision")
    found = []
    for folder in list_saved_runs(parent):
        tree = peek(folder / "checkpoints")
        if tree is None:
            continue
        there = {"init": dataclasses.asdict(InitConfig())} | tree["config"]  # older runs lack it
        differs = compare_configs(there, wanted.plain(), overlooked=overlooked)
        older: tuple[str, ...] = ()
        lacks = all(ABSENT in pair for pair in differs.values())
        if lacks and pick_settings(read_start_overrides(folder)) == pick_settings(
            composed.overrides
        ):
            # the same words, before gancli had those keys
            older = tuple(tell_older_meanings(tree["config"], wanted.plain(), differs))
            differs = {}
        found.append(
            Candidate(folder, tree["progress"]["step"], tree["data"]["hash"], differs, older)
        )
    return found


def tell_older_meanings(
    stored: Mapping[str, Any], wanted: dict[str, Any], keys: Iterable[str]
) -> Iterator[str]:
    """Says what a run goes on with where its config lacks a key that a new run would set.

    Args:
        stored: The config of the run.
        wanted: That of a new one.
        keys: Dotted, which one of them lacks.

    Yields:
        A line for each key whose value in a new run is not what its class does without it, and for
        each section that the run lacks.
    """
    sections = set()
    for key in keys:
        old, last = find_parent(dict(stored), key)
        new, _ = find_parent(wanted, key)
        if new is None or new.get(last) is None or (old is not None and last in old):
            continue
        if old is None:
            section = find_missing(stored, key)
            if section not in sections:
                sections.add(section)
                yield f"{section}: a new run has it, this one goes on without"
            continue
        target = new.get("_target_")
        if target is None or target != old.get("_target_"):
            continue
        # The user has typed this config himself, and its classes were imported to check it.
        parameter = read_parameters(locate(target, trust=None)).get(last)
        if parameter is None or parameter.default is parameter.empty:
            continue
        usual = show(parameter.default)
        if usual != show(new[last]):
            yield f"{key}: {usual}, as when it was started; a new run has {show(new[last])}"


def find_missing(tree: Mapping[str, Any], key: str) -> str:
    """Returns the first part of a dotted key that leads to nothing."""
    parts = key.split(".")
    for n in range(1, len(parts)):
        parent, last = find_parent(dict(tree), ".".join(parts[:n]))
        if parent is None or not isinstance(parent.get(last), dict):
            return ".".join(parts[:n])
    return key


def compare_configs(
    stored: dict[str, Any], wanted: dict[str, Any], *, overlooked: tuple[str, ...]
) -> dict[str, tuple[str, str]]:
    """Returns key -> (value in stored, value in wanted) where two plain configs differ."""
    old = {key: show(value) for key, value in flatten(stored).items()}
    new = {key: show(value) for key, value in flatten(wanted).items()}
    return {
        key: (old.get(key, ABSENT), new.get(key, ABSENT))
        for key in old | new
        if old.get(key) != new.get(key) and not key.startswith(overlooked)
    }


def flatten(tree: object, prefix: str = "") -> dict[str, object]:
    """Returns dotted key -> value; lists are values, and so is an empty mapping."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def pick_settings(overrides: Sequence[str] | None) -> list[str] | None:
    """Overrides that make a run what it is; None where they are not known."""
    if overrides is None:
        return None
    return sorted(item for item in overrides if not item.lstrip("+~").startswith((*FREE, "hydra.")))


def describe_differences(candidate: Candidate, composed: front.Composed, *, most: int = 3) -> str:
    """Says key: old -> new, an option of a group in place of the keys below it."""
    from gancli.run.folder import read_start_choices

    left = dict(candidate.differs)
    words = []
    there = read_start_choices(candidate.folder)
    for group, option in composed.choices.items():
        if group in there and there[group] != option:
            words.append(f"{group}: {there[group]} -> {option}")
            left = {key: pair for key, pair in left.items() if not key.startswith(f"{group}.")}
    words += [f"{key}: {old} -> {new}" for key, (old, new) in left.items()]
    more = len(words) - most
    return ", ".join(words[:most]) + (f", and {more} more" if more > 0 else "")


def take_asked(config: dict[str, Any], wanted: RunConfig) -> None:
    """Puts what resume=auto overlooks into a stored config, in place.

    So many steps, on this device, are asked for now.
    """
    asked = wanted.plain()
    for part in ("trainer", "log"):
        for key, value in asked[part].items():
            if f"{part}.{key}".startswith(FREE) or key not in config[part]:
                config[part][key] = value
    config["logger"] = asked["logger"]
