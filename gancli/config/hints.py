"""What was probably meant: words near a typo, and Hydra's errors in one sentence of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches
from typing import TYPE_CHECKING, Protocol

from gancli.errors import Problem, did_you_mean, first_line

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

NAMED = {
    "penalty": "loss.penalties",
    "head": "model.heads",
}  # groups of parts that go into a named place, and where


def find_nearest(word: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """Finds the known words that look like `word`, best first.

    A dotted key may be right but for its section.
    """
    section, _, last = word.rpartition(".")

    def measure_likeness(other: str) -> float:
        other_section, _, other_last = other.rpartition(".")
        leaf = SequenceMatcher(None, last, other_last).ratio()
        if set(last.split("_")) <= set(other_last.split("_")):
            leaf = max(leaf, 0.75)  # all of its parts: `ring` for `mlp_ring`
        if section == other_section:  # the shared beginning says nothing
            return leaf
        return max(SequenceMatcher(None, word, other).ratio(), 0.9 * leaf)

    scored = sorted(
        ((measure_likeness(other), other) for other in set(known)),
        key=lambda pair: (-pair[0], pair[1]),
    )
    return [other for score, other in scored if score >= max(0.7, scored[0][0] - 0.07)][:count]


def suggest_name(word: str, known: Sequence[str]) -> str:
    """Asks whether a name that looks like `word` was meant, else lists the names that there are.

    For short lists of short names, where half of the letters are likeness enough.
    """
    close = get_close_matches(word, known, n=3, cutoff=0.5)
    if close or not known:
        return did_you_mean(close)
    return f"there are {', '.join(sorted(known))}"


def explain_unknown_option(group: str, option: str, known: Sequence[str]) -> Problem:
    """Tells, in one wording for all, that a group does not have an option."""
    names = [name for name in known if not name.startswith("_")]
    hint = [
        did_you_mean(find_nearest(option, names)),
        f"options: {', '.join(names)}" if names else "",
    ]
    return f"no option '{option}' in group '{group}'", "\n".join(filter(None, hint))


def list_composition_errors() -> tuple[type[Exception], ...]:
    """Lists what Hydra raises when the input, not the program, is wrong."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    return (
        HydraException,
        OmegaConfBaseException,
        YAMLError,
        RecursionError,
        UnicodeDecodeError,
        ValueError,
    )


def parse_override(line: str) -> Override:
    """Reads one override as Hydra does; raises one of `list_composition_errors`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_overrides([line])[0]


def read_line(override: Override) -> str:
    """Returns an override as it was typed."""
    assert override.input_line is not None, "Hydra's parser keeps the line"
    return override.input_line


def read_overrides(hydra: DictConfig, kind: str) -> list[str]:
    """Returns the overrides of Hydra's node as they were typed.

    Plain iteration would work out a ${...} in them.

    Args:
        hydra: The node.
        kind: "task" for those of the config, "hydra" for hydra.*.
    """
    from omegaconf import OmegaConf

    found = OmegaConf.to_container(hydra.overrides[kind], resolve=False)
    assert isinstance(found, list)
    return found


class Folders(Protocol):
    """What can be known of the config folders."""

    def find_file(self, config_path: str) -> str:
        """Returns the file of `model/mine`, or the name itself where no folder has it."""

    def list_options(self, group: str) -> list[str]:
        """Returns the options of a group."""


def explain_error(ex: Exception, folders: Folders, override: Override | None = None) -> Problem:
    """Says Hydra's exception in one sentence of ours. override: the one that caused it."""
    from hydra.errors import MissingConfigException
    from omegaconf.errors import InterpolationKeyError, InterpolationResolutionError
    from yaml import MarkedYAMLError

    text = str(ex) or str(ex.__cause__)
    line = cut(read_line(override)) if override else ""
    if isinstance(ex, MissingConfigException) and ex.missing_cfg_file:
        return _explain_missing_file(ex.missing_cfg_file, text, folders, override)
    if isinstance(ex, MarkedYAMLError) and ex.problem_mark:
        return (
            f"{ex.problem_mark.name}, line {ex.problem_mark.line + 1}: {ex.problem}",
            "fix the YAML there",
        )
    file = (
        folders.find_file(f"{override.key_or_group}/{override.value()}")
        if override
        else "a config file"
    )
    if isinstance(ex, UnicodeDecodeError):
        return f"{file} is not text in UTF-8", "save it as UTF-8"
    if isinstance(ex, RecursionError):
        return f"{file}: its defaults list comes back to itself in a circle", ""
    if "Ambiguous value" in text or "requires --multirun" in text:
        return (
            f"'{line or text}' gives several values",
            "add -m to run one job for each, or write KEY=[a,b] for a list",
        )
    if (
        override
        and override.is_add()
        and re.search("Multiple values|more than once|already at", text)
    ):
        return f"'{override.key_or_group}' is there already", f"drop the plus: {line.lstrip('+')}"
    if override and "No match in the defaults list" in text:
        package = f"@{NAMED[override.key_or_group]}.NAME" if override.key_or_group in NAMED else ""
        how = (
            ""
            if override.is_delete()
            else f"+{override.key_or_group}{package}={override.value()} adds one"
        )
        return f"'{line}': no '{override.key_or_group}' is chosen yet", how
    if override and (problem := _explain_odd_value(text, override, line)):
        return problem
    if isinstance(ex, InterpolationKeyError | InterpolationResolutionError) and ex.full_key:
        return explain_interpolation(ex, ex.full_key)
    first, *more = text.splitlines() or [type(ex).__name__]
    where = re.match(r"In '([^']+)': (.*)", first)
    if where:
        lost = re.match(
            r"Could not override '([^@']+)@", where[2]
        )  # Hydra reads `override /optimizer` from the file's own place
        hint = (
            f"write `override /{lost[1]}@_global_.{lost[1]}: ...`, "
            "or `# @package _global_` in the first line"
            if lost
            else ""
        )
        return f"{folders.find_file(where[1])}: {where[2]}", hint
    if override and first.startswith("Could not override"):
        return f"unknown key '{override.get_key_element()}'", " ".join(more[:1]) if more and more[
            0
        ].startswith("Did") else ""
    if override and "must be a string or a list" in first:
        group = override.key_or_group
        none = override.value() is None
        return (
            f"'{line}' does not name an option",
            f"{group}=none leaves it out"
            if none and "none" in folders.list_options(group)
            else f"~{group} drops it"
            if none
            else f"gan list {group} shows them",
        )
    return (f"'{line}': " if line else "") + first, ""


def _explain_odd_value(text: str, override: Override, line: str) -> Problem | None:
    """Says why a value does not fit where it is put.

    Returns:
        None for what is explained elsewhere.
    """
    key = override.key_or_group
    if override.is_delete() and "Could not delete" in text:
        return f"'{line}' drops nothing: '{key}' is null already, or not there", "leave it out"
    if override.is_delete() and "list indices" in text:
        return f"'{line}': one entry of a list cannot be dropped", "give the whole list, KEY=[A,B]"
    if "force-add of config groups" in text:
        return f"'{line}': a group takes no plus", f"write {line.lstrip('+')}"
    if text.startswith("Error resolving interpolation"):
        return f"'{line}': a group takes the name of an option", f"gan list {key} shows them"
    if text.startswith("Error merging override"):
        hint = "a list, a mapping and a single value do not replace each other; change single keys"
        return f"'{line}' does not fit there", hint
    if isinstance(override.value(), dict) and text.startswith("Could not override"):
        return (
            f"'{line}' has a key that {key} does not have",
            f"change single keys, {key}.KEY=VALUE",
        )
    return None


def explain_interpolation(ex: Exception, key: str) -> Problem:
    """Tells why the value of `key`, a ${...}, cannot be worked out."""
    text = first_line(ex)
    variable = re.search(r"Environment variable '([^']+)' not found", text)
    if variable:
        name = variable[1]
        hint = f"set it, or write ${{oc.env:{name},VALUE}} with a value for when it is not set"
        return f"{key}=${{oc.env:{name}}}: the environment variable {name} is not set", hint
    target = re.search(r"Interpolation key '([^']+)' not found", text)
    if target:
        return f"{key}: ${{{target[1]}}} points to nothing", f"give {key} a value"
    kind = re.search(r"Unsupported interpolation type (\S+)", text)
    if kind:
        hint = "${KEY} takes the value of another key, ${oc.env:NAME} of an environment variable"
        return f"{key}: there is no ${{{kind[1]}:...}}", hint
    reason = re.sub(r"^\w+ raised while resolving interpolation: ", "", text)
    return f"{key} cannot be worked out: {cut(reason)}", f"give {key} a value"


def cut(text: str, *, length: int = 160) -> str:
    """Cuts a string so that it can be quoted in a message."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _explain_missing_file(
    file: str, text: str, folders: Folders, override: Override | None
) -> Problem:
    group, _, option = file.rpartition("/")
    if not group:
        return (
            f"--config-name: there is no '{option}.yaml' in the config folders",
            "if it is yours, give --config-dir DIR too",
        )
    problem = explain_unknown_option(group, option, folders.list_options(group))
    if override and override.value() == option:
        return problem
    parent = re.match(r"In '([^']+)'", text)
    return f"{folders.find_file(parent[1]) if parent else 'a config file'}: {problem[0]}", problem[
        1
    ]
