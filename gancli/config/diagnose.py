"""Gate 1: finds why a command line does not compose, word by word and all at once."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from gancli.config.composer import Composer, is_choice
from gancli.config.hints import (
    cut,
    explain_error,
    find_nearest,
    list_composition_errors,
    parse_override,
    read_line,
)
from gancli.config.homes import find_homes
from gancli.config.tree import has_key, list_parents, walk_keys
from gancli.errors import Problem, UserError, did_you_mean
from gancli.files import shell

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

# Keys of other commands, and what stands for them here: a command, a key -> a key
OTHER_NAMES = {("translate", "n"): "answers"}


def diagnose_overrides(
    composer: Composer, overrides: Sequence[str]
) -> tuple[DictConfig, list[Problem]]:
    """Finds why overrides do not compose, each by itself.

    Choices of options are tried first, one after the other, since they decide which keys there
    are; then keys are looked up in the tree of the choices that are good.

    Args:
        composer: What composes.
        overrides: As typed, such as `model=dcgan` or `trainer.steps=5`.

    Returns:
        The tree of the overrides that compose, and a problem for each other one.

    Raises:
        UserError: The YAML files themselves do not compose.
    """
    problems: list[Problem] = []
    parsed: list[Override] = []
    good: list[str] = []
    for line in overrides:
        try:
            parsed.append(parse_override(line))
        except list_composition_errors():
            problems.append(_explain_unreadable(composer, line))
    try:
        tree = composer.load([])
    except list_composition_errors() as ex:  # the files themselves are broken
        raise UserError(*explain_error(ex, composer)) from ex
    search = [read_line(o) for o in parsed if o.key_or_group == "hydra.searchpath"]
    groups = composer.list_groups(search)
    choices = [o for o in parsed if o.is_hydra_override() or is_choice(o, groups)]
    if composer.command != "train":
        of_training = [o for o in choices if o.key_or_group in composer.list_training_groups()]
        problems += [_explain_training_group(composer, override) for override in of_training]
        choices = [override for override in choices if override not in of_training]
        parsed = [override for override in parsed if override not in of_training]
    for override in sorted(
        choices, key=lambda o: not o.is_hydra_override()
    ):  # a search path comes before what it holds
        tree = _try_override(composer, override, tree, good, problems)
    values: list[Override] = []
    base = list(good)
    for override in parsed:
        if override not in choices:
            problem = _explain_unknown(composer, override, tree, base, groups)
            if problem:
                problems.append(problem)
            else:
                values.append(override)
    try:
        return composer.load([*good, *map(read_line, values)]), problems
    except list_composition_errors():
        for override in values:
            tree = _try_override(composer, override, tree, good, problems)
    return tree, problems


def _explain_training_group(composer: Composer, override: Override) -> Problem:
    group = override.key_or_group
    message = f"{composer.command} takes no {group}: the checkpoint has one"
    if group in composer.top_keys:
        return message, f"leave it out; {group}.KEY=VALUE says what has changed since"
    return message, "leave it out"


def _try_override(
    composer: Composer,
    override: Override,
    tree: DictConfig,
    good: list[str],
    problems: list[Problem],
) -> DictConfig:
    """Adds one override to those that compose.

    Returns:
        The new tree; the old one, and a problem more, where it does not compose.
    """
    try:
        tree = composer.load([*good, read_line(override)])
        good.append(read_line(override))
    except list_composition_errors() as ex:
        problems.append(explain_error(ex, composer, override))
    return tree


def _explain_unreadable(composer: Composer, line: str) -> Problem:
    key, sep, value = line.partition("=")
    if sep:
        return (
            f"cannot read '{cut(line)}'",
            f"""put the value in quotes: '{cut(f'{key}="{value}"')}'""",
        )
    homes = [
        f"{group}={line}"
        for group in composer.list_groups()
        if line in composer.list_options(group)
    ]
    hint = did_you_mean(homes) or "write KEY=VALUE, such as trainer.steps=1000"
    return f"'{cut(line)}' is not KEY=VALUE", hint


def _explain_unknown(
    composer: Composer, override: Override, tree: DictConfig, good: list[str], groups: list[str]
) -> Problem | None:
    """The problem of a key that is not in the tree, None if it is or may be added."""
    from omegaconf import OmegaConf

    key = override.key_or_group
    top = override.key_or_group.partition(".")[0]
    adds = override.is_add() or override.is_force_add()
    if (adds and top in composer.top_keys) or (not adds and has_key(tree, key)):
        return None
    what = (
        f"there is nothing to delete at '{key}'" if override.is_delete() else f"unknown key '{key}'"
    )
    if other := OTHER_NAMES.get((composer.command, key)):
        return what, did_you_mean([f"{other}={override.value()}"])
    known = {
        path: parent for path, parent, _ in walk_keys(tree) if not path.startswith("hydra")
    } | dict.fromkeys(composer.list_own_groups(groups))
    close = find_nearest(key, (other for other in known if not key.startswith(f"{other}.")))
    typo = any(SequenceMatcher(None, key, other).ratio() >= 0.85 for other in close)
    if not typo and (homes := find_homes(composer, key, good)):
        return what, f"it exists with {' or '.join(homes)}"
    section = next((path for path in list_parents(key) if has_key(tree, path)), "")
    siblings = [
        path.rpartition(".")[2]
        for path in known
        if path.rpartition(".")[0] == section and path != "hydra"
    ]
    hint = did_you_mean(close) or (
        f"keys of {section or 'the config'}: {', '.join(siblings)}" if siblings else ""
    )
    lacks = not typo and not override.is_delete() and section == key.rpartition(".")[0]
    target = OmegaConf.select(tree, f"{section}._target_") if section and lacks else None
    if isinstance(target, str) and not target.startswith(("gancli.", "torch.")):
        # No class is imported before gate 2, which then says whether this one takes it.
        added = shell.quote(f"+{read_line(override)}")
        hint = f"{hint}\n{added} hands it to {target}, if it is an argument of that class"
    return what, hint
