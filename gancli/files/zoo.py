"""The trained generators that come with the package: zoo/NAME stands for one of their files."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, TypeGuard

from gancli.errors import Problem, UserError, did_you_mean
from gancli.files import reading, shell

PREFIX = "zoo/"
INDEX = "zoo.json"  # beside the files: an entry for each


class Entry(TypedDict):
    """What is known of one file of the zoo.

    Attributes:
        name: zoo/NAME names it.
        about: What it makes, in words.
        item: What a sample is, such as "16x16 pixels, 1 channel".
        words: What is typed behind `gan train` to train it.
        seed: Of that training.
        steps: Real batches of it.
        cpu_s: Its processor seconds, evaluations and all; 0 where they were not noted.
        parameters: Numbers that the generator has learned.
        bytes: Of the file.
        half: Whether its weights are in half precision.
        values: Name -> number, measured of the file itself.
        sha256: Of the file.
        torch: The version that trained it.
        date: Of the training, year-month-day.
    """

    name: str
    about: str
    item: str
    words: list[str]
    seed: int
    steps: int
    cpu_s: float
    parameters: int
    bytes: int
    half: bool
    values: dict[str, float]
    sha256: str
    torch: str
    date: str


def find_zoo_folder() -> Path:
    """Finds the folder of the bundled files."""
    return Path(__file__).resolve().parent.parent / "zoo"


def list_zoo() -> list[str]:
    """Lists the names of the bundled files, in order."""
    return sorted(path.stem for path in find_zoo_folder().glob("*.pt"))


def find_zoo_file(given: str) -> str:
    """Replaces zoo/NAME by the path of its file; whatever else is given stays as it is.

    Args:
        given: What was typed where a run may stand. A path that exists wins over a name.

    Raises:
        UserError: The zoo has no such name.
    """
    if not given.startswith(PREFIX) or os.path.exists(given):
        return given
    problem = find_zoo_problem(given)
    if problem is not None:
        raise UserError(*problem)
    return str(find_zoo_folder() / f"{given.removeprefix(PREFIX)}.pt")


def find_zoo_problem(given: str) -> Problem | None:
    """Says what is wrong with zoo/NAME where no such path exists; None where the zoo has it."""
    known = list_zoo()
    name = given.removeprefix(PREFIX)
    if name in known:
        return None
    shown = given if given.isprintable() else repr(given)
    close = difflib.get_close_matches(name.removesuffix(".pt"), known, n=3)
    return (
        f"the zoo has no {shown}, and there is no such path",
        did_you_mean([PREFIX + each for each in close]) or "gan list zoo has the names",
    )


def is_zoo_file(path: Path) -> bool:
    """Says whether a path is that of a bundled file."""
    return path.suffix == ".pt" and path.resolve().parent == find_zoo_folder()


def name_source(path: Path) -> str:
    """Names a checkpoint as it can be typed: a bundled file by zoo/NAME, another by its path."""
    return PREFIX + path.stem if is_zoo_file(path) else str(path)


def complete_zoo(word: str) -> Iterator[str]:
    """Completes a word that may end in zoo/NAME: `ckpt=`, `init=zoo/s`, `zoo/`."""
    key, equals, value = word.rpartition("=")
    if equals and key not in ("ckpt", "init", "init.path"):
        return
    for name in list_zoo():
        if (PREFIX + name).startswith(value) and (equals or value.startswith(PREFIX)):
            yield f"{key}{equals}{PREFIX}{name}"


def read_zoo() -> list[Entry]:
    """Reads what is known of the bundled files, in the order of their names.

    Raises:
        reading.Unreadable: The file in the package is broken.
    """
    found = reading.read_json(find_zoo_folder() / INDEX)
    return [entry for entry in found if is_entry(entry)] if isinstance(found, list) else []


def write_start(given: str) -> str:
    """Writes the command whose networks fit zoo/NAME; "" for anything else."""
    known = {PREFIX + entry["name"]: entry["words"] for entry in read_zoo()}
    words = known.get(given)
    return shell.join(["gan", "train", *words, f"init={given}"]) if words else ""


def is_entry(value: object) -> TypeGuard[Entry]:
    """Says whether an entry of the file has all its parts."""
    return isinstance(value, dict) and value.keys() == Entry.__annotations__.keys()
