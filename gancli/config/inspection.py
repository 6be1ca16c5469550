"""Gate 1: finds what Hydra lets through in a tree that composes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.config.closed import find_closed_problems, find_player_problems
from gancli.config.composer import Composer, is_choice
from gancli.config.hints import (
    NAMED,
    explain_unknown_option,
    find_nearest,
    list_composition_errors,
    parse_override,
    read_line,
    read_overrides,
)
from gancli.config.homes import find_homes
from gancli.config.loggers import find_missing_packages
from gancli.config.plain import Plain
from gancli.config.tree import find_dangling, has_key, walk_keys
from gancli.config.values import is_number, show
from gancli.errors import Problem, did_you_mean

if TYPE_CHECKING:
    from omegaconf import DictConfig

ALLOWED = re.compile(r"^auto$|\$\{")  # texts that stand for a number
EXAMPLES = {
    "ckpt": "ckpt=RUN_OR_FILE, such as ckpt=outputs/cgan_projection-digits/20261121-093612-k3f9"
}


def inspect_tree(
    composer: Composer, full: DictConfig, overrides: Sequence[str], *, whole: bool, missing: bool
) -> list[Problem]:
    """Finds what Hydra lets through.

    Args:
        composer: What has composed it.
        full: The composed tree.
        overrides: The command line.
        whole: All overrides are in the tree.
        missing: Top-level keys may still be ???.
    """
    problems = _find_absent_options(composer, full) + _find_unknown_keys(composer, full)
    given = {line.lstrip("+").partition("=")[0] for line in overrides if not line.endswith("=null")}
    if {"trainer.steps", "trainer.epochs"} <= given:
        problems.append(
            (
                "trainer.steps and trainer.epochs are both given",
                "one of them sets the length; drop the other",
            )
        )
    if composer.command == "train" and isinstance(full.get("logger"), Mapping):
        problems += find_missing_packages(full.logger)
    if not missing:
        problems += [
            (f"{key} is not given", f"add {EXAMPLES.get(key, f'{key}=VALUE')}")
            for key in map(str, full)
            if _is_missing(full, key)
        ]
    if not whole:
        return problems
    present = list(full.keys())  # `in full` is False for ???
    absent = [key for key in composer.top_keys if key not in present]
    removed = [f"~{key}" for key in absent if f"~{key}" in given]
    if absent:
        hint = (
            f"drop {' and '.join(removed)}"
            if removed
            else "start your config from `defaults: [train, _self_]`"
        )
        problems.append((f"the config has no {', '.join(absent)}", hint))
    return problems + [_add_homes(composer, *problem, overrides) for problem in find_dangling(full)]


def _add_homes(composer: Composer, message: str, hint: str, overrides: Sequence[str]) -> Problem:
    """Names the options that have the key to which a value such as ${dataset.scale} points."""
    target = re.search(r"\$\{([\w.]+)\} points to nothing$", message)
    if not target:
        return message, hint
    homes = find_homes(composer, target[1], overrides)
    return message, f"it exists with {' or '.join(homes)}" if homes else hint


def _find_absent_options(composer: Composer, full: DictConfig) -> list[Problem]:
    """Options that were asked for under an `optional` default, which Hydra drops in silence."""
    problems = []
    search = [
        line for line in read_overrides(full.hydra, "hydra") if line.startswith("hydra.searchpath=")
    ]
    for choice, option in full.hydra.runtime.choices.items():
        group = choice.partition("@")[0]
        path = f"{choice.partition('@')[0]}/{option}"
        if (
            option
            and not group.startswith("hydra/")
            and option[0] != "["
            and composer.find_file(path) == path
        ):
            known = composer.list_options(group, search=search)
            problems += [] if option in known else [explain_unknown_option(group, option, known)]
    return problems


def _find_unknown_keys(composer: Composer, full: DictConfig) -> list[Problem]:
    """Keys at the top and in the closed parts that nothing reads."""
    problems = []
    for key in map(str, full):
        if key in NAMED:
            problems.append(
                (f"a {key} needs a name below {NAMED[key]}", f"+{key}@{NAMED[key]}.NAME=OPTION")
            )
        elif key not in (*composer.top_keys, "hydra"):
            hint = (
                did_you_mean(find_nearest(key, composer.top_keys))
                or f"keys: {', '.join(composer.top_keys)}"
            )
            problems.append((f"unknown key '{key}'{_find_origin(composer, full, key)}", hint))
    for name, cls in composer.closed.items():
        known = [part.name for part in fields(cls)]
        given = [
            path.partition(".")[2]
            for path, _, _ in walk_keys(full, depth=2)
            if path.startswith(f"{name}.")
        ]
        for key in given:
            if key not in known:
                close = [f"{name}.{other}" for other in find_nearest(key, known)]
                problems.append(
                    (
                        f"unknown key '{name}.{key}'{_find_origin(composer, full, key)}",
                        did_you_mean(close) or f"keys of {name}: {', '.join(known)}",
                    )
                )
    return problems


def _find_origin(composer: Composer, full: DictConfig, key: str) -> str:
    """Where a key that the command line did not give stands, as ` in FILE, line N`."""
    if any(
        re.search(rf"\b{re.escape(key)}\b", line.partition("=")[0])
        for line in read_overrides(full.hydra, "task")
    ):
        return ""
    chosen = [f"{group}/{option}" for group, option in full.hydra.runtime.choices.items()]
    for path in map(composer.find_file, [composer.config_name, *chosen]):
        lines = (
            Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
            if Path(path).is_file()
            else []
        )
        for number, line in enumerate(lines, start=1):
            if re.match(rf"\s*{re.escape(key)}\s*:|.*[{{,]\s*{re.escape(key)}\s*:", line):
                return f" in {path}, line {number}"
    return ""


def find_early_value_problems(
    composer: Composer, full: DictConfig, overrides: Sequence[str], player: type
) -> list[Problem]:
    """Finds values of a wrong type, as far as they show without the classes.

    They are told beside problems that end the command before gate 2.

    Args:
        composer: What has composed it.
        full: The tree of what composes.
        overrides: The command line.
        player: The dataclass of optimizer.<player>.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    plain: Plain = {}
    for name in ("seed", *composer.closed, "optimizer"):
        with suppress(OmegaConfBaseException):  # `dangling` tells of these
            value = full[name]
            is_config = OmegaConf.is_config(value)
            plain[name] = OmegaConf.to_container(value, resolve=True) if is_config else value
    problems = find_closed_problems(plain, composer.closed, unknown=False)
    players = plain.get("optimizer")
    if isinstance(players, dict):
        for player_name, values in players.items():
            problems += find_player_problems(values, player, where=f"optimizer.{player_name}")
    return problems + _find_odd_types(composer, full, overrides)


def _find_odd_types(
    composer: Composer, full: DictConfig, overrides: Sequence[str]
) -> list[Problem]:
    """Texts that were typed where an open part has a number, or true or false."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    parsed = []
    for line in overrides:
        with suppress(*list_composition_errors()):
            parsed.append(parse_override(line))
    groups = composer.list_groups()
    chosen = [override for override in parsed if is_choice(override, groups)]
    try:
        before = composer.load([*map(read_line, chosen)])
    except list_composition_errors():
        return []
    problems = []
    for override in parsed:
        key = override.key_or_group
        told = key.partition(".")[0] in (*composer.closed, "optimizer", "seed", "hydra")
        sets = not (override.is_delete() or override.is_add() or override.is_sweep_override())
        if told or not sets or override in chosen or not has_key(before, key):
            continue
        value = override.value()
        with suppress(OmegaConfBaseException):  # an interpolation of a user's file
            old = OmegaConf.select(before, key)
            if isinstance(old, bool) and not isinstance(value, bool | None):
                problems.append((f"{key}={show(value)} does not fit", "give true or false"))
            elif is_number(old) and isinstance(value, str) and not ALLOWED.search(value):
                problems.append((f"{key}={show(value)} does not fit", "give a number"))
    return problems


def _is_missing(full: DictConfig, key: str) -> bool:
    from omegaconf import OmegaConf

    return key != "hydra" and OmegaConf.is_missing(full, key)
