"""gan config copy: a YAML file of one's own, made of a built-in option, to be edited."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from gancli.commands.endings import say_end
from gancli.config.folders import find_conf_dir, list_options
from gancli.config.hints import find_nearest
from gancli.errors import UserError, did_you_mean, unwritable
from gancli.files import atomic
from gancli.files.paths import RESERVED

OUT = "my_conf"  # the folder, where out= names none
USAGE = "gan config copy GROUP/OPTION [out=DIR] [name=NAME]"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # what Hydra takes for an option without quotes
# The words of a command that takes an option of these groups, of which a run may have several. A
# head is for a discriminator without labels.
PLACES = {
    "penalty": "+penalty@loss.penalties.NAME=NAME",
    "head": "model=dcgan +head@model.heads.NAME=NAME",
}


class Copy(NamedTuple):
    """What is asked for.

    Attributes:
        group: Of the option.
        option: The built-in one.
        out: The folder of the user's own configs.
        name: Of the copy.
    """

    group: str
    option: str
    out: Path
    name: str


def main(argv: list[str]) -> int:
    """Writes the copy and prints the command that uses it.

    Raises:
        UserError: There is no such option, or a file stands there already.
        TemporaryFailure: The disk is full.
    """
    request = read_request(argv)
    source = list_options([find_conf_dir()])[request.group][request.option]
    path = request.out / request.group / f"{request.name}.yaml"
    if path.exists():
        raise UserError(
            f"{path} exists, and is left as it is", "edit it, or give another name=NAME or out=DIR"
        )
    text = describe_copy(source.read_text(encoding="utf-8"), request)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, text)
    except OSError as error:
        raise unwritable(path, error, "choose another out=DIR") from error
    open_keys = ", ".join(re.findall(r"^(\w+): \?\?\?", text, flags=re.MULTILINE))
    still = f"; fill in {open_keys} first" if open_keys else ""
    words = f"{path}, a copy of {request.group}/{request.option} to edit{still}"
    say_end(words, choose_next(request))
    return 0


def read_request(argv: list[str]) -> Copy:
    """Reads the words behind `gan config`. Raises UserError."""
    if not argv or argv[0] != "copy":
        wrong = f"gan config has no '{argv[0]}'" if argv else "gan config does what?"
        raise UserError(wrong, USAGE)
    values = {"out": OUT, "name": ""}
    named = []
    for word in argv[1:]:
        key, equals, value = word.partition("=")
        if equals and key in values and value:
            values[key] = value
        elif word.startswith("-"):
            raise UserError(f"gan config copy has no {key}", USAGE)
        else:
            named.append(word)
    if len(named) != 1:
        raise UserError("which option?" if not named else "give one option", USAGE)
    group, option = find_option(named[0])
    name = values["name"] or f"my_{option.rpartition('/')[2]}"
    if not NAME.fullmatch(name) or RESERVED.match(name):
        raise UserError(f"name={name} is no name of an option", f"name=my_{group}")
    if name in list_options([find_conf_dir()])[group]:
        raise UserError(
            f"{group}={name} is built in, and would be taken instead of yours", f"name=my_{name}"
        )
    return Copy(group, option, Path(values["out"]).expanduser(), name)


def find_option(word: str) -> tuple[str, str]:
    """Finds GROUP/OPTION, or GROUP=OPTION. Raises UserError where there is none."""
    group, _, option = word.replace("=", "/", 1).partition("/")
    found = list_options([find_conf_dir()])
    if group not in found:
        close = find_nearest(group, found)
        raise UserError(f"no group '{group}'", did_you_mean(close) or f"groups: {', '.join(found)}")
    if option not in found[group]:
        close = [f"{group}/{name}" for name in find_nearest(option, found[group])]
        raise UserError(
            f"{group} has no option '{option}'", did_you_mean(close) or f"gan list {group}"
        )
    return group, option


def describe_copy(text: str, request: Copy) -> str:
    """Says in the first comment of a YAML file, which `gan list` shows, that it is a copy.

    A package line stays the first one: below another comment it has no effect.
    """
    lines = text.splitlines(keepends=True)
    for k, line in enumerate(lines):
        if line.startswith("#") and not line.startswith("# @package"):
            lines[k] = f"# My own, of {request.option}: {line.lstrip('# ')}"
            break
    return "".join(lines)


def choose_next(request: Copy) -> list[str]:
    """Chooses the command that uses the copy."""
    words = PLACES.get(request.group, f"{request.group}=NAME").replace("NAME", request.name)
    return ["gan", "train", "--config-dir", str(request.out), *words.split()]
