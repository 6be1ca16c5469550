"""Files that others may have made, read within bounds.

A pipe or a device is never opened; nothing is too large, too deep or without end.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import re
import stat
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from gancli.errors import UserError, first_line

# What a file may hold at most. What gancli writes stays far below: its largest YAML has 300 lines,
# its evaluation.json 4 KB.
MOST_JSON = 16 * 2**20  # bytes
MOST_YAML = 2**19  # bytes
MOST_LINES_FILE = 2**29  # bytes of metrics.jsonl or sweep.jsonl
MOST_LINE = 2**20  # bytes of one line of them
MOST_LINES = 2_000_000
MOST_REASON = 200  # characters of a parser's message: it may quote a whole file
MOST_UNSOUND = 1000  # lines of them that are passed over before the file is
MOST_BRACKETS = 200  # in one line: a bound of its depth that costs nothing
MOST_NODES = 20_000  # keys, leaves and containers of a YAML or JSON file
# In one string of a YAML file: each makes Hydra's parser go one level down
MOST_INTERPOLATIONS = 100
DEEPEST = 32  # nested containers
# Of a number: larger than a float32 or its square, and sums and squares of such stay finite
LARGEST = 1e100
# How a file is opened, by what the system has. Windows knows no pipes in folders, and translates
# the ends of lines unless told not to.
READ_ONLY = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    READ_ONLY |= vars(os).get(_flag, 0)
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# Exactly: numpy's float64 passes for a float
PLAIN = {
    dict,
    OrderedDict,
    list,
    tuple,
    str,
    int,
    float,
    bool,
    type(None),
}


class Unreadable(UserError):
    """A file is not what its name says. The message names it and says why."""


def describe_irregular(path: str | os.PathLike) -> str:
    """Says in words what stands at a path instead of a file, links followed; "" for a file.

    Raises:
        OSError: nothing is there.
    """
    return describe_mode(os.stat(path).st_mode)


def describe_mode(mode: int) -> str:
    """Says in words what a mode of `os.stat` stands for; "" for a file."""
    if stat.S_ISREG(mode):
        return ""
    return next((words for matches, words in KINDS if matches(mode)), "no file")


def open_file(path: Path) -> BinaryIO:
    """Opens a file for reading, and nothing else.

    Opening a pipe would wait for ever, and some devices act when opened.

    Raises:
        Unreadable: it is no file.
        OSError: as `open`.
    """
    found = describe_irregular(path)
    if found:
        raise Unreadable(f"{path} is {found}, not a file", "give a file")
    # Between the check and the opening another process may have put a pipe there.
    handle = os.open(path, READ_ONLY)
    found = describe_mode(os.fstat(handle).st_mode)
    if found:
        os.close(handle)
        raise Unreadable(f"{path} is {found}, not a file", "give a file")
    return os.fdopen(handle, "rb")


def read_bytes(path: Path, *, most: int) -> bytes | None:
    """Reads a file of at most `most` bytes; None where there is no such file.

    Raises:
        Unreadable: it is larger, no file, or cannot be read.
    """
    try:
        with open_file(path) as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise Unreadable(f"{path} is larger than {most >> 10} KB, which no such file is")
    return data


def read_text(path: Path, *, most: int) -> str | None:
    """Reads a string in UTF-8; else as `read_bytes`."""
    data = read_bytes(path, most=most)
    if data is None:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path} is not text in UTF-8") from error


def read_json(path: Path) -> object:
    """Reads a JSON file; None where there is no such file.

    A number that is not finite, or that 64 bits do not hold, becomes None: gancli writes null for
    it.

    Raises:
        Unreadable: it is no JSON, or too deep or too large.
    """
    text = read_text(path, most=MOST_JSON)
    if text is None:
        return None
    try:
        tree = json.loads(
            text, parse_constant=lambda _: None, parse_float=read_finite, parse_int=read_bounded
        )
    except RecursionError as error:
        raise Unreadable(f"{path} is nested too deep") from error
    except ValueError as error:
        raise Unreadable(f"{path} is no JSON: {first_line(error)[:MOST_REASON]}") from error
    check_tree(tree, path)
    return tree


def read_finite(text: str) -> float | None:
    """Reads a number; None where it is not finite."""
    value = float(text)
    return value if math.isfinite(value) else None


def read_bounded(text: str) -> int | None:
    """Reads a whole number of 64 bits; None for a longer one, which may take minutes to read."""
    if len(text) > 20:
        return None
    value = int(text)
    return value if abs(value) < 2**63 else None


def read_json_lines(path: Path) -> Iterator[tuple[bytes, dict]]:
    """Yields each line of a file as (its bytes, the mapping that it holds).

    Lines that hold none are passed over: a kill may tear one. Yields nothing where there is no such
    file.

    Raises:
        Unreadable: it is too large, or holds other things.
    """
    try:
        file = open_file(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
    with file:
        if os.fstat(file.fileno()).st_size > MOST_LINES_FILE:
            raise Unreadable(f"{path} is larger than {MOST_LINES_FILE >> 20} MB")
        unsound = 0
        for _ in range(MOST_LINES):
            line = file.readline(MOST_LINE)
            if not line:
                return
            entry = read_mapping(line)
            if entry is not None:
                yield line, entry
                continue
            unsound += 1
            if unsound > MOST_UNSOUND:
                raise Unreadable(f"{path} holds other things than lines of JSON")
    raise Unreadable(f"{path} has more than {MOST_LINES:,} lines")


def read_mapping(line: bytes) -> dict | None:
    """Reads the mapping in a line of JSON; None where there is none, or one too deep."""
    if line.count(b"[") + line.count(b"{") > MOST_BRACKETS:
        return None
    try:
        entry = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def convert_number(value: object) -> float | None:
    """Returns a finite number of sane size, or None; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= LARGEST else None  # false for NaN


def convert_count(value: object) -> int | None:
    """Returns a count as a file may give it, or None.

    A count is a whole number from 0 on that a float holds exactly.
    """
    found = convert_number(value)
    return int(found) if found is not None and found.is_integer() and 0 <= found < 2**53 else None


def read_yaml(path: Path) -> object:
    """Reads a YAML file as plain data, interpolations as they stand.

    Returns:
        None where there is no such file, or it is empty.

    Raises:
        Unreadable: it is no YAML, or too deep or too large.
    """
    import yaml

    text = read_text(path, most=MOST_YAML)
    if text is None:
        return None
    check_yaml(text, path)
    try:
        tree = yaml.load(text, Loader=make_yaml_loader())  # a SafeLoader
    except Exception as error:
        # YAMLError, and what odd keys and numbers make its constructors raise
        raise Unreadable(f"{path} is no YAML: {first_line(error)[:MOST_REASON]}") from error
    check_tree(tree, path)
    return tree


def make_yaml_loader() -> type:
    """Makes a SafeLoader that reads numbers and dates as OmegaConf does, which wrote these files.

    1e-3 is a number, a date a string.
    """
    import yaml

    safe_loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(safe_loader):
        yaml_implicit_resolvers: ClassVar = {
            first: [item for item in items if not item[0].endswith((":timestamp", ":float"))]
            for first, items in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(
            r"(?:[-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)"
            r"|\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+0123456789."),
    )
    return Loader


def read_yaml_text(path: Path) -> str:
    """Reads a YAML file for another reader, such as Hydra's; "" where there is none.

    Raises:
        Unreadable: That reader would not survive it.
    """
    text = read_text(path, most=MOST_YAML) or ""
    check_yaml(text, path)
    return text


def check_yaml(text: str, where: Path) -> None:
    """Raises Unreadable for aliases that would multiply, and for a tree too deep or too large.

    Syntax is not checked.
    """
    import yaml

    sizes: dict[str, int] = {}  # anchor -> nodes below it, those that aliases repeat included
    above: list[tuple[str | None, int]] = []  # open containers: anchor, nodes so far
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.CollectionStartEvent):
                above.append((event.anchor, 1))
                if len(above) > DEEPEST:
                    raise Unreadable(f"{where} is nested more than {DEEPEST} deep")
                continue
            if isinstance(event, yaml.CollectionEndEvent):
                anchor, count = above.pop()
            elif isinstance(event, yaml.ScalarEvent):
                anchor, count = event.anchor, 1
                if event.value.count("${") > MOST_INTERPOLATIONS:
                    raise Unreadable(f"{where} holds a string of too many interpolations")
            elif isinstance(event, yaml.AliasEvent):
                anchor, count = None, sizes.get(event.anchor, 1)
                if any(event.anchor == name for name, _ in above):
                    raise Unreadable(f"{where}: *{event.anchor} holds itself")
            else:
                continue
            if anchor is not None:
                sizes[anchor] = count
            if above:
                count += above[-1][1]
                above[-1] = (above[-1][0], count)
            if count > MOST_NODES:
                raise Unreadable(
                    f"{where} holds more than {MOST_NODES:,} entries, aliases written out"
                )
    except RecursionError as error:
        raise Unreadable(f"{where} is nested more than {DEEPEST} deep") from error
    except yaml.YAMLError as error:
        if "increasing flow level" in str(error):  # libyaml's own bound
            raise Unreadable(f"{where} is nested more than {DEEPEST} deep") from error
        return  # who reads it next says where the mistake is


def check_tree(tree: object, where: Path) -> None:
    """Raises Unreadable for what is no plain data, and for a tree too deep or too large."""
    for node in walk_nodes(tree, most=MOST_NODES, what=str(where)):
        if type(node) not in PLAIN:
            raise Unreadable(f"{where} holds a {type(node).__name__}, which no such file does")


def walk_nodes(tree: object, *, most: int, what: str) -> Iterator[object]:
    """Yields every container, key and leaf.

    Raises:
        Unreadable: they have no end; a part may hold itself, or one part many times.
    """
    stack = [iter([tree])]
    for _ in range(most):
        while (node := next(stack[-1], stack)) is stack:  # that no tree holds
            stack.pop()
            if not stack:
                return
        yield node
        if isinstance(node, dict | list | tuple):
            stack.append(
                itertools.chain(node, node.values()) if isinstance(node, dict) else iter(node)
            )
        if len(stack) > DEEPEST:
            break
    raise Unreadable(
        f"{what} is nested deeper, or holds more, than any that gancli writes",
        "use a file that gancli wrote",
    )


def read_tail(path: Path, most: int) -> str:
    """Reads the last bytes of a text file; "" where it cannot be read."""
    try:
        with open_file(path) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - most))
            return file.read(most).decode("utf-8", "replace")
    except (OSError, Unreadable):
        return ""


def list_yaml_files(base: Path, *, most: int = 20_000) -> list[Path]:
    """Lists the YAML files below a folder of configs, sorted.

    Hidden folders are passed over, links to folders followed once each.

    Raises:
        UserError: the folder holds so much that it can hardly be meant.
    """
    found = []
    seen: set[str] = set()
    todo = [base]
    count = 0
    while todo:
        folder = todo.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = list(itertools.islice(os.scandir(folder), most))
        except OSError:
            continue
        count += len(entries)
        if count > most:
            raise UserError(
                f"--config-dir={base} holds more than {most:,} files",
                "give the folder that holds model/, loss/, ... of your own, and nothing else",
            )
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_dir():
                    todo.append(folder / entry.name)
                elif entry.name.endswith(".yaml") and entry.is_file():
                    found.append(folder / entry.name)
            except OSError:  # a link that leads to itself
                continue
    return sorted(found)
