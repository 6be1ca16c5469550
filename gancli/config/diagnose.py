"""Gate 1: finds everything wrong with what the user typed or wrote into a YAML file, at once."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.config.closed import find_closed_problems, find_player_problems
from gancli.config.hints import (
    NAMED,
    composition_errors,
    cut,
    explain_error,
    explain_unknown_option,
    find_nearest,
    parse_override,
    read_line,
    read_overrides,
)
from gancli.config.plain import Plain
from gancli.config.tree import _list_parents, find_dangling, has_key, walk_keys
from gancli.config.values import is_number, show
from gancli.errors import Problem, UserError, did_you_mean

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

ALLOWED = re.compile(r"^auto$|\$\{")  # texts that stand for a number
EXAMPLES = {"ckpt": "ckpt=RUN_OR_FILE, such as ckpt=outputs/cgan-digits/20261121-093612-k3f9"}


class Session:
    """One primary config in an initialised Hydra.

    It is composed as often as it takes to say what is wrong.
    """

    def __init__(
        self,
        config_name: str,
        *,
        top_keys: Sequence[str],
        closed: Mapping[str, type],
        command: str = "train",
    ):
        from hydra.core.global_hydra import GlobalHydra

        self.config_name = config_name
        self.command = command
        self.top_keys = top_keys
        self.closed = closed
        self.loader = GlobalHydra.instance().config_loader()
        self._elsewhere: dict[str, DictConfig | None] = {}

    def load(self, overrides: Sequence[str]) -> DictConfig:
        """Composes the config with these overrides; nothing is checked."""
        from hydra import compose

        try:
            return compose(self.config_name, list(overrides), return_hydra_config=True)
        except composition_errors():
            raise
        except (TypeError, AttributeError, LookupError, OSError, AssertionError) as error:
            # Hydra's own slips over values that it does not expect, such as a list for the name of
            # an option.
            reason = cut(str(error) or "it is no name of an option")
            raise ValueError(f"this value cannot be used here ({reason})") from error

    def list_options(
        self, group: str, *, groups: bool = False, search: Sequence[str] = ()
    ) -> list[str]:
        """The options of a group, or the groups below it. search: hydra.searchpath overrides."""
        from hydra.core.object_type import ObjectType

        kind = ObjectType.GROUP if groups else ObjectType.CONFIG
        return self.loader.get_group_options(
            group, kind, config_name=self.config_name, overrides=list(search)
        )

    def find_file(self, config_path: str) -> str:
        """The file of `model/mine`, or the name itself where no folder has it."""
        for source in self.loader.get_sources():
            path = Path(source.path, f"{config_path}.yaml")
            if source.scheme() == "file" and os.path.isfile(path):  # False for a name too long
                return str(path)
        return config_path

    def diagnose(self, overrides: Sequence[str]) -> tuple[DictConfig, list[Problem]]:
        """Finds why overrides do not compose, each by itself.

        Choices of options are tried first, one after the other, since they decide which keys there
        are; then keys are looked up in the tree of the choices that are good.

        Args:
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
            except composition_errors():
                problems.append(self._explain_unreadable(line))
        try:
            tree = self.load([])
        except composition_errors() as ex:  # the files themselves are broken
            raise UserError(*explain_error(ex, self)) from ex
        search = [read_line(o) for o in parsed if o.key_or_group == "hydra.searchpath"]
        groups = self.list_options("", groups=True, search=search)
        choices = [o for o in parsed if o.is_hydra_override() or is_choice(o, groups)]
        if self.command != "train":
            of_training = [o for o in choices if o.key_or_group in self.list_training_groups()]
            problems += [self._explain_training_group(override) for override in of_training]
            choices = [override for override in choices if override not in of_training]
            parsed = [override for override in parsed if override not in of_training]
        for override in sorted(
            choices, key=lambda o: not o.is_hydra_override()
        ):  # a search path comes before what it holds
            tree = self._try_override(override, tree, good, problems)
        values: list[Override] = []
        base = list(good)
        for override in parsed:
            if override not in choices:
                problem = self._explain_unknown(override, tree, base, groups)
                if problem:
                    problems.append(problem)
                else:
                    values.append(override)
        try:
            return self.load([*good, *map(read_line, values)]), problems
        except composition_errors():
            for override in values:
                tree = self._try_override(override, tree, good, problems)
        return tree, problems

    def list_training_groups(self) -> list[str]:
        """The groups of a training run that this command's config does not choose from."""
        own = self.load([]).hydra.runtime.choices
        return [group for group in self.list_options("", groups=True) if group not in own]

    def _explain_training_group(self, override: Override) -> Problem:
        group = override.key_or_group
        message = f"{self.command} takes no {group}: the checkpoint has one"
        if group in self.top_keys:
            return message, f"leave it out; {group}.KEY=VALUE says what has changed since"
        return message, "leave it out"

    def _try_override(
        self, override: Override, tree: DictConfig, good: list[str], problems: list[Problem]
    ) -> DictConfig:
        """Adds one override to those that compose.

        Returns:
            The new tree; the old one, and a problem more, where it does not compose.
        """
        try:
            tree = self.load([*good, read_line(override)])
            good.append(read_line(override))
        except composition_errors() as ex:
            problems.append(explain_error(ex, self, override))
        return tree

    def _explain_unreadable(self, line: str) -> Problem:
        key, sep, value = line.partition("=")
        if sep:
            return (
                f"cannot read '{cut(line)}'",
                f"""put the value in quotes: '{cut(f'{key}="{value}"')}'""",
            )
        homes = [
            f"{group}={line}"
            for group in self.list_options("", groups=True)
            if line in self.list_options(group)
        ]
        hint = did_you_mean(homes) or "write KEY=VALUE, such as trainer.steps=1000"
        return f"'{cut(line)}' is not KEY=VALUE", hint

    def _explain_unknown(
        self, override: Override, tree: DictConfig, good: list[str], groups: list[str]
    ) -> Problem | None:
        """The problem of a key that is not in the tree, None if it is or may be added."""
        from omegaconf import OmegaConf

        key = override.key_or_group
        top = override.key_or_group.partition(".")[0]
        adds = override.is_add() or override.is_force_add()
        if (adds and top in self.top_keys) or (not adds and has_key(tree, key)):
            return None
        what = (
            f"there is nothing to delete at '{key}'"
            if override.is_delete()
            else f"unknown key '{key}'"
        )
        known = {
            path: parent for path, parent, _ in walk_keys(tree) if not path.startswith("hydra")
        } | dict.fromkeys(self.list_own_groups(groups))
        close = find_nearest(key, (other for other in known if not key.startswith(f"{other}.")))
        typo = any(SequenceMatcher(None, key, other).ratio() >= 0.85 for other in close)
        if not typo and (homes := self.find_homes(key, good, groups)):
            return what, f"it exists with {' or '.join(homes)}"
        section = next((path for path in _list_parents(key) if has_key(tree, path)), "")
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
            added = shlex.quote(f"+{read_line(override)}")
            hint = f"{hint}\n{added} hands it to {target}, if it is an argument of that class"
        return what, hint

    def list_own_groups(self, groups: Sequence[str]) -> list[str]:
        """Returns the groups that may be chosen.

        All of them where a model is composed, else those that the command names itself.
        """
        return [name for name in groups if "model" in self.top_keys or name in self.top_keys]

    def find_value_problems(
        self, full: DictConfig, overrides: Sequence[str], player: type
    ) -> list[Problem]:
        """Finds values of a wrong type, as far as they show without the classes.

        They are told beside problems that end the command before gate 2.

        Args:
            full: The tree of what composes.
            overrides: The command line.
            player: The dataclass of optimizer.<player>.
        """
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        plain: Plain = {}
        for name in ("seed", *self.closed, "optimizer"):
            with suppress(OmegaConfBaseException):  # `dangling` tells of these
                value = full[name]
                is_config = OmegaConf.is_config(value)
                plain[name] = OmegaConf.to_container(value, resolve=True) if is_config else value
        problems = find_closed_problems(plain, self.closed, unknown=False)
        players = plain.get("optimizer")
        if isinstance(players, dict):
            for player_name, values in players.items():
                problems += find_player_problems(values, player, where=f"optimizer.{player_name}")
        return problems + self._find_odd_types(full, overrides)

    def _find_odd_types(self, full: DictConfig, overrides: Sequence[str]) -> list[Problem]:
        """Texts that were typed where an open part has a number, or true or false."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        parsed = []
        for line in overrides:
            with suppress(*composition_errors()):
                parsed.append(parse_override(line))
        groups = self.list_options("", groups=True)
        chosen = [override for override in parsed if is_choice(override, groups)]
        try:
            before = self.load([*map(read_line, chosen)])
        except composition_errors():
            return []
        problems = []
        for override in parsed:
            key = override.key_or_group
            told = key.partition(".")[0] in (*self.closed, "optimizer", "seed", "hydra")
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

    def find_homes(self, key: str, good: list[str], groups: Sequence[str]) -> list[str]:
        """The options of the key's group, as GROUP=OPTION, that have this key; at most three.

        What a model would choose by itself comes first: it fits the model, as others may not.
        """
        homes = []
        group = key.partition(".")[0]
        try:
            untouched = self.load([word for word in good if not word.startswith(f"{group}=")])
            own = untouched.hydra.runtime.choices.get(group)
        except composition_errors():
            own = None
        for option in self.list_options(group) if group in groups else ():
            choice = f"{group}={option}"
            if choice not in self._elsewhere:
                try:
                    self._elsewhere[choice] = self.load([*good, choice])
                except composition_errors():
                    self._elsewhere[choice] = None
            tree = self._elsewhere[choice]
            if tree is not None and has_key(tree, key):
                homes.append(choice)
        return sorted(homes, key=lambda choice: choice != f"{group}={own}")[:3]

    def inspect(
        self, full: DictConfig, overrides: Sequence[str], *, whole: bool, missing: bool
    ) -> list[Problem]:
        """Finds what Hydra lets through.

        Args:
            full: The composed tree.
            overrides: The command line.
            whole: All overrides are in the tree.
            missing: Top-level keys may still be ???.
        """
        problems = self._find_absent_options(full) + self._find_unknown_keys(full)
        given = {
            line.lstrip("+").partition("=")[0] for line in overrides if not line.endswith("=null")
        }
        if {"trainer.steps", "trainer.epochs"} <= given:
            problems.append(
                (
                    "trainer.steps and trainer.epochs are both given",
                    "one of them sets the length; drop the other",
                )
            )
        if not missing:
            problems += [
                (f"{key} is not given", f"add {EXAMPLES.get(key, f'{key}=VALUE')}")
                for key in map(str, full)
                if _is_missing(full, key)
            ]
        if not whole:
            return problems
        present = list(full.keys())  # `in full` is False for ???
        absent = [key for key in self.top_keys if key not in present]
        removed = [f"~{key}" for key in absent if f"~{key}" in given]
        if absent:
            hint = (
                f"drop {' and '.join(removed)}"
                if removed
                else "start your config from `defaults: [train, _self_]`"
            )
            problems.append((f"the config has no {', '.join(absent)}", hint))
        return problems + [self._add_homes(*problem, overrides) for problem in find_dangling(full)]

    def _add_homes(self, message: str, hint: str, overrides: Sequence[str]) -> Problem:
        """Names the options that have the key to which a value such as ${dataset.scale} points."""
        target = re.search(r"\$\{([\w.]+)\} points to nothing$", message)
        groups = self.list_options("", groups=True)
        if not target or target[1].partition(".")[0] not in groups:
            return message, hint
        homes = self.find_homes(target[1], list(overrides), groups)
        return message, f"it exists with {' or '.join(homes)}" if homes else hint

    def _find_absent_options(self, full: DictConfig) -> list[Problem]:
        """Options that were asked for under an `optional` default, which Hydra drops in silence."""
        problems = []
        search = [
            line
            for line in read_overrides(full.hydra, "hydra")
            if line.startswith("hydra.searchpath=")
        ]
        for choice, option in full.hydra.runtime.choices.items():
            group = choice.partition("@")[0]
            path = f"{choice.partition('@')[0]}/{option}"
            if (
                option
                and not group.startswith("hydra/")
                and option[0] != "["
                and self.find_file(path) == path
            ):
                known = self.list_options(group, search=search)
                problems += (
                    [] if option in known else [explain_unknown_option(group, option, known)]
                )
        return problems

    def _find_unknown_keys(self, full: DictConfig) -> list[Problem]:
        """Keys at the top and in the closed parts that nothing reads."""
        problems = []
        for key in map(str, full):
            if key in NAMED:
                problems.append(
                    (f"a {key} needs a name below {NAMED[key]}", f"+{key}@{NAMED[key]}.NAME=OPTION")
                )
            elif key not in (*self.top_keys, "hydra"):
                hint = (
                    did_you_mean(find_nearest(key, self.top_keys))
                    or f"keys: {', '.join(self.top_keys)}"
                )
                problems.append((f"unknown key '{key}'{self._find_origin(full, key)}", hint))
        for name, cls in self.closed.items():
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
                            f"unknown key '{name}.{key}'{self._find_origin(full, key)}",
                            did_you_mean(close) or f"keys of {name}: {', '.join(known)}",
                        )
                    )
        return problems

    def _find_origin(self, full: DictConfig, key: str) -> str:
        """Where a key that the command line did not give stands, as ` in FILE, line N`."""
        if any(
            re.search(rf"\b{re.escape(key)}\b", line.partition("=")[0])
            for line in read_overrides(full.hydra, "task")
        ):
            return ""
        chosen = [f"{group}/{option}" for group, option in full.hydra.runtime.choices.items()]
        for path in map(self.find_file, [self.config_name, *chosen]):
            lines = (
                Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
                if Path(path).is_file()
                else []
            )
            for number, line in enumerate(lines, start=1):
                if re.match(rf"\s*{re.escape(key)}\s*:|.*[{{,]\s*{re.escape(key)}\s*:", line):
                    return f" in {path}, line {number}"
        return ""


def _is_missing(full: DictConfig, key: str) -> bool:
    from omegaconf import OmegaConf

    return key != "hydra" and OmegaConf.is_missing(full, key)


def is_choice(override: Override, groups: Sequence[str]) -> bool:
    """Does Hydra read it as the choice of a group's option?"""
    key = override.key_or_group
    known = key.partition("/")[0] in groups
    return known and "." not in key and not isinstance(override.value(), dict)
