"""Labels that stand in a table beside the images: labels.csv, metadata.csv, dataset.json."""

from __future__ import annotations

import csv
import difflib
import io
import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from gancli.data.base import digest_of
from gancli.errors import UserError, did_you_mean, first_line

AUTO = "auto"
FOLDERS = "folders"  # the label of class sub-folders, whatever lies beside them
TABLES = ("labels.csv", "metadata.csv", "metadata.jsonl", "dataset.json", "labels.json")
# Names of the column of files, and of the column that is the label where nothing is said
FILES = (
    *("file", "file_name", "filename", "path", "file_path", "filepath"),
    *("image", "image_id", "image_path", "image_name", "img"),
)
LABELS = ("cls", "label", "labels", "class", "class_name", "category", "target", "y")
YES = {"1", "1.0", "true", "yes", "y", "t"}
NO = {"0", "0.0", "-1", "-1.0", "false", "no", "n", "f"}
MOST_BYTES = 256_000_000  # of a table
MOST_CLASSES = 100_000
FEW_ROWS = 20  # among so few, values that all differ may still be classes
SHOWN = 3  # names in a remark
LONGEST_NAME = 80  # characters of a class name: it may become a folder's
Value = str | int | float | bool | None
Item = TypeVar("Item")


@dataclass(frozen=True)
class Table:
    """What is said of some files, a row each.

    Attributes:
        name: Of the table, for people.
        keys: The file of each row, as it is written there.
        columns: What is said, by the column's name; None where a row says nothing.
        names: The classes of a column whose values are their numbers, by the column's name.
        scopes: The folder that each key starts from, "" or ending in "/"; () where all are "".
    """

    name: str
    keys: list[str]
    columns: dict[str, list[Value]]
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labelled:
    """Labels of files, and how they were found.

    Attributes:
        kept: (M,) int64, the files that have a label, in their order.
        labels: (M,) int64 classes or (M,K) float32 attributes; None without.
        classes: The names of either.
        source: Where the labels come from, in words; "" without any.
        remarks: What was passed over or guessed, in sentences.
    """

    kept: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    source: str = ""
    remarks: tuple[str, ...] = ()

    def identify(self) -> str:
        """Returns a digest of the labels: a run does not go on with others."""
        if self.labels is None:
            return ""
        return digest_of([self.source, *self.classes, np.ascontiguousarray(self.labels).tobytes()])


# reading


def read_table(name: str, data: bytes, files: Matcher, *, scope: str = "") -> Table:
    """Reads a table of labels.

    Args:
        name: Of its file, by whose ending it is read.
        data: Its content.
        files: The images that it may be about.
        scope: The folder that it lies in, "" or ending in "/".

    Raises:
        UserError: It is no such table.
    """
    if len(data) > MOST_BYTES:
        raise UserError(f"{name} holds {len(data):,} bytes, and at most {MOST_BYTES:,} are read")
    try:
        text = data.decode("utf-8-sig")
        if name.endswith(".csv"):
            table = read_csv(name, text, files, scope=scope)
        elif name.endswith(".jsonl"):
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
            table = tabulate(name, rows)
        else:
            table = read_json(name, json.loads(text))
    except (ValueError, TypeError, csv.Error, RecursionError) as error:
        raise UserError(f"{name} cannot be read: {first_line(error)}") from error
    return replace(table, scopes=(scope,) * len(table.keys))


def read_csv(name: str, text: str, files: Matcher, *, scope: str) -> Table:
    """Reads rows of cells; a first row that names a file is no header. Raises ValueError."""
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(row)]
    if not rows or len(rows[0]) < 2:
        raise ValueError("it has no column beside the files' names")
    if any(files.find(cell, scope) is not None for cell in rows[0]):
        names = ["file", "label", *(f"column {k}" for k in range(3, len(rows[0]) + 1))]
        header = names[: len(rows[0])]
    else:
        header = [cell.strip() for cell in rows.pop(0)]
    wrong = next((k for k, row in enumerate(rows) if len(row) > len(header)), None)
    if wrong is not None:
        raise ValueError(f"row {wrong + 1} has {len(rows[wrong])} cells, the first {len(header)}")
    if len(set(header)) < len(header):
        raise ValueError(f"a column occurs twice: {Counter(header).most_common(1)[0][0]!r}")
    place = find_file_column(header)
    cells = [[cell.strip() for cell in row] + [""] * (len(header) - len(row)) for row in rows]
    return Table(
        name,
        [row[place] for row in cells],
        {
            column: [row[k] or None for row in cells]
            for k, column in enumerate(header)
            if k != place and column
        },
    )


def find_file_column(header: Sequence[str]) -> int:
    """Finds the column of files: by its name, else the first."""
    lowered = [name.lower() for name in header]
    return next((lowered.index(name) for name in FILES if name in lowered), 0)


def tabulate(name: str, rows: Sequence[object]) -> Table:
    """Makes a table of objects, {"file_name": ..., "label": ...} each. Raises ValueError."""
    found: list[Mapping[str, object]] = []
    columns: dict[str, None] = {}
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError("a row is no object with a file_name")
        found.append(row)
        columns |= dict.fromkeys(row)
    header = [str(column) for column in columns]
    if not header:
        raise ValueError("it has no row")
    place = header[find_file_column(header)]
    return Table(
        name,
        [str(row.get(place, "")) for row in found],
        {
            column: [as_value(row.get(column)) for row in found]
            for column in header
            if column != place
        },
    )


def read_json(name: str, tree: object) -> Table:
    """Reads {"labels": [["00000/img.png", 3], ...]}, {"img.png": 3} or a list of objects.

    The first is what StyleGAN's dataset_tool.py writes. Raises ValueError.
    """
    if isinstance(tree, dict) and "labels" in tree:
        tree = tree["labels"]
        if tree is None:
            return Table(name, [], {})
    if isinstance(tree, dict):
        tree = [[key, value] for key, value in tree.items()]
    if not isinstance(tree, list):
        raise ValueError("it holds no labels")
    if all(isinstance(row, dict) for row in tree):
        return tabulate(name, tree)
    if not all(isinstance(row, list) and len(row) == 2 for row in tree):
        raise ValueError('"labels" is no list of pairs [file, label]')
    keys = [str(key) for key, _ in tree]
    values = [value for _, value in tree]
    if not values or not all(isinstance(value, list) for value in values):
        return Table(name, keys, {"label": [as_value(value) for value in values]})
    width = len(values[0])
    if any(len(value) != width for value in values):
        raise ValueError("its labels are lists of different lengths")
    if all(sorted(value) == [0] * (width - 1) + [1] for value in values):
        return Table(name, keys, {"label": [value.index(1) for value in values]})
    return Table(
        name,
        keys,
        {str(k): [as_value(value[k]) for value in values] for k in range(width)},
    )


def as_value(value: object) -> Value:
    """Returns a plain value; lists and objects are none."""
    return value if isinstance(value, str | int | float | bool) else None


def join_tables(tables: Sequence[Table]) -> Table:
    """Joins tables of several folders to one; each speaks of its own folder."""
    columns = dict.fromkeys(column for table in tables for column in table.columns)
    return Table(
        tables[0].name,
        [key for table in tables for key in table.keys],
        {
            column: [
                value
                for table in tables
                for value in table.columns.get(column, [None] * len(table.keys))
            ]
            for column in columns
        },
        scopes=tuple(scope for table in tables for scope in table.scopes),
    )


# matching


class Matcher:
    """Finds files by what a table calls them.

    By the path from the table's folder, else from the outermost one; else by a name, or a name
    without its ending, that only one file has.
    """

    def __init__(self, names: Sequence[str]):
        self.names = {name: k for k, name in enumerate(names)}
        self.stems = find_unique(posixpath.splitext(name)[0] for name in names)
        self.last = find_unique(name.rpartition("/")[2] for name in names)
        self.last_stems = find_unique(
            posixpath.splitext(name.rpartition("/")[2])[0] for name in names
        )

    def holds(self, scope: str) -> bool:
        """Says whether a file lies in a folder, "" or ending in "/"."""
        return any(name.startswith(scope) for name in self.names)

    def find(self, key: str, scope: str = "") -> int | None:
        """Returns the file's index; None where there is none, or several."""
        name = key.strip().replace("\\", "/").removeprefix("./").lstrip("/")
        last = name.rpartition("/")[2]
        for known, wanted in (
            (self.names, scope + name),
            (self.names, name),
            (self.stems, scope + name),
            (self.stems, name),
            (self.last, last),
            (self.last_stems, last),
        ):
            if wanted in known:
                return known[wanted]
        return None


def find_unique(names: Iterable[str]) -> dict[str, int]:
    """Returns name -> index of the names that occur once."""
    found: dict[str, int] = {}
    twice = set()
    for k, name in enumerate(names):
        if name in found:
            twice.add(name)
        found[name] = k
    return {name: k for name, k in found.items() if name not in twice}


# choosing


def choose_columns(
    table: Table, label: str | list[str]
) -> tuple[str | list[str] | None, tuple[str, ...]]:
    """Chooses the column that is the label, or those that are attributes.

    Args:
        table: Of any number of columns.
        label: "auto", a column, or several as attributes.

    Returns:
        A column, several, or None where none can be a label; and what was guessed, in sentences.

    Raises:
        UserError: There is no such column.
    """
    known = list(table.columns)
    if label != AUTO:
        wanted = [label] if isinstance(label, str) else label
        for name in wanted:
            if name not in table.columns:
                close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
                raise UserError(
                    f"dataset.label={name}: {table.name} has no such column",
                    did_you_mean(close) or list_columns(table),
                )
        return label, ()
    fit = [column for column in known if is_label(table, column)]
    lowered = {column.lower(): column for column in fit}
    chosen = next((lowered[name] for name in LABELS if name in lowered), None)
    named = [column for column in fit if column in table.names]
    if chosen is None and named:
        chosen = named[0]
    if chosen is None and len(fit) == 1:
        chosen = fit[0]
    others = [column for column in fit if column != chosen]
    if chosen is None:
        if not known:
            return None, (f"{table.name} says that there are no labels",)
        return None, (
            f"{table.name}: no column is taken for the label; {list_columns(table)}"
            if fit
            else f"{table.name}: no column holds classes ({shorten(known)})",
        )
    if not others:
        return chosen, ()
    more = f"dataset.label={others[0]} takes another column"
    if len(others) > 1:
        more += f" of {shorten(others)}"
    return chosen, (f"{table.name}: {chosen} is taken for the label; {more}",)


def list_columns(table: Table) -> str:
    """Says which columns may be chosen, and how."""
    fit = [column for column in table.columns if is_label(table, column)]
    if not fit:
        return f"there are {shorten(list(table.columns))}, and none holds classes"
    said = f"dataset.label={fit[0]} takes that one"
    if len(fit) > 1:
        said += f", of {shorten(fit)}"
    both = [column for column in fit if is_attribute(table, column)][:2]
    if len(both) > 1:
        said += f"; dataset.label=[{','.join(both)}] takes several as attributes"
    return said


def is_label(table: Table, column: str) -> bool:
    """Says whether a column may hold classes: values that repeat, and no fractions."""
    if column in table.names:
        return True
    values = [value for value in table.columns[column] if value is not None]
    different = set(values)
    if not values or any(isinstance(v, float) and not v.is_integer() for v in different):
        return False
    if all(is_fraction(value) for value in different):
        return False
    return len(values) < FEW_ROWS or 2 * len(different) <= len(values)


def is_fraction(value: Value) -> bool:
    """Says whether a cell holds a number such as 0.53."""
    try:
        return isinstance(value, str) and not float(value).is_integer()
    except (ValueError, OverflowError):  # a word; not a number, or an endless one
        return False


def is_attribute(table: Table, column: str) -> bool:
    """Says whether a column says yes or no."""
    values = {str(value).lower() for value in table.columns[column] if value is not None}
    return bool(values) and values <= YES | NO


# labelling


def label_by_table(names: Sequence[str], table: Table, label: str | list[str]) -> Labelled | None:
    """Labels files by a table.

    Args:
        names: Of the files, "/" between their parts.
        table: Of rows in any order.
        label: "auto", a column, or several as attributes.

    Returns:
        None where the table says nothing that could be a label, and none was asked for; what was
        found out then stands in `explain_unused`.

    Raises:
        UserError: There is no such column; the table contradicts itself; it is about other files.
    """
    chosen, remarks = choose_columns(table, label)
    if chosen is None:
        return None
    columns = [chosen] if isinstance(chosen, str) else chosen
    matcher = Matcher(names)
    scopes = table.scopes or ("",) * len(table.keys)
    rows: dict[int, int] = {}  # of a file, its row
    again = []
    gone = []
    for row, (key, scope) in enumerate(zip(table.keys, scopes, strict=True)):
        file = matcher.find(key, scope)
        if file is None:
            gone.append(key)
        elif file in rows:
            again.append(key)
            require_equal(table, columns, names[file], rows[file], row)
        else:
            rows[file] = row
    if not rows:
        if label == AUTO:
            return None
        raise UserError(
            f"{table.name} names none of the {len(names):,} images; its first row is about "
            f"{shorten(gone[:1]) or 'nothing'}",
            f"write paths from the folder of {table.name}, as {names[0]}",
        )
    bare = [name for k, name in enumerate(names) if k not in rows]
    if len(bare) > len(rows) and label == AUTO:
        raise UserError(
            f"{table.name} has a row for {len(rows):,} of {len(names):,} images: without one are "
            f"{shorten(bare)}",
            f"dataset.label={FOLDERS} does not read it; "
            f"dataset.label={columns[0]} takes the images with a row alone",
        )
    found, empty = take_rows(table, chosen, rows)
    said = [
        *tell(gone, "rows that name no file here", f" of {len(table.keys):,}"),
        *tell(again, "rows that repeat a file, with the same label"),
        *tell(bare, "images without a row, left out"),
        *tell([names[k] for k in empty], f"images without a value of {noun_of(chosen)}, left out"),
    ]
    return replace(found, remarks=(*remarks, *(f"{table.name}: {text}" for text in said)))


def label_rows(table: Table, label: str | list[str]) -> Labelled:
    """Labels items by a table that has a row for each, in their order.

    Args:
        table: Its keys do not count.
        label: "auto", a column, or several as attributes.

    Raises:
        UserError: There is no such column, or it holds no classes.
    """
    chosen, remarks = choose_columns(table, label)
    n = len(next(iter(table.columns.values())))
    if chosen is None:
        return Labelled(np.arange(n), remarks=remarks)
    found, empty = take_rows(table, chosen, {k: k for k in range(n)})
    said = tell(empty, f"rows without a value of {noun_of(chosen)}, left out")
    return replace(found, remarks=(*remarks, *(f"{table.name}: {text}" for text in said)))


def take_rows(
    table: Table, chosen: str | list[str], rows: Mapping[int, int]
) -> tuple[Labelled, list[int]]:
    """Reads the labels of files whose rows have been found.

    Args:
        table: Of labels.
        chosen: A column, or several as attributes.
        rows: File -> row.

    Returns:
        The labels of those files that have one; and the files that have none.

    Raises:
        UserError: The column holds no classes, or nothing.
    """
    columns = [chosen] if isinstance(chosen, str) else chosen
    kept = [
        k
        for k in sorted(rows)
        if all(table.columns[column][rows[k]] is not None for column in columns)
    ]
    if not kept:
        raise UserError(f"{table.name}: {', '.join(columns)} is empty", list_columns(table))
    picked = {column: [table.columns[column][rows[k]] for k in kept] for column in columns}
    if isinstance(chosen, str):
        labels, classes = number_classes(table, chosen, picked[chosen])
        noun = f"column {chosen}"
    else:
        labels = np.stack([read_attribute(table, name, picked[name]) for name in chosen], 1)
        classes = name_classes(chosen)
        noun = f"columns {', '.join(chosen)}"
    found = Labelled(np.array(kept), labels, classes, f"{noun} of {table.name}")
    return found, sorted(rows.keys() - set(kept))


def noun_of(chosen: str | list[str]) -> str:
    """Names the chosen column, or columns, in a sentence."""
    return chosen if isinstance(chosen, str) else " or ".join(chosen)


def tell(names: Sequence[object], what: str, total: str = "") -> list[str]:
    """Says how many there are and names the first; nothing of none."""
    return [f"{what}: {len(names):,}{total} ({shorten(names)})"] if names else []


def explain_unused(names: Sequence[str], table: Table) -> str:
    """Says why no label comes from a table."""
    chosen, remarks = choose_columns(table, AUTO)
    if chosen is None:
        return remarks[0]
    return f"{table.name} names none of the {len(names):,} images, and is not used"


def require_equal(table: Table, columns: Sequence[str], name: str, first: int, second: int) -> None:
    """Raises UserError where two rows of one file differ."""
    for column in columns:
        values = table.columns[column]
        if values[first] != values[second]:
            raise UserError(
                f"{table.name}: two rows of {name} differ, {column} is {values[first]!r} and "
                f"{values[second]!r}",
                "leave one of them",
            )


def number_classes(
    table: Table, column: str, values: Sequence[Value]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Numbers the values of a column, whole numbers by size, else in the order of letters.

    Returns:
        Labels (N,) int64, and their names.

    Raises:
        UserError: They are no classes.
    """
    if column in table.names:
        return number_named(table, column, values)
    different = set(values)
    most = MOST_CLASSES if len(values) < FEW_ROWS else min(MOST_CLASSES, len(values) // 2)
    if len(different) > most:
        raise UserError(
            f"dataset.label={column}: {len(different):,} different values in {len(values):,} rows "
            "are no classes",
            list_columns(table),
        )
    fraction = next((v for v in different if is_fraction(str(v))), None)
    if fraction is not None and all(is_number(v) for v in different):
        raise UserError(
            f"dataset.label={column}: numbers such as {fraction} are no classes",
            list_columns(table),
        )
    order = sorted(different, key=lambda value: (not is_number(value), rank(value), str(value)))
    number = {value: k for k, value in enumerate(order)}
    return np.array([number[value] for value in values]), name_classes(order)


def number_named(
    table: Table, column: str, values: Sequence[Value]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Takes numbers of named classes as they are. Raises UserError for one without a name."""
    names = table.names[column]
    for value in values:
        if not isinstance(value, int) or not 0 <= value < len(names):
            raise UserError(
                f"{table.name}: {column} is {value}, and there are {len(names)} classes",
                f"write it anew; dataset.label={FOLDERS} does without",
            )
    return np.array(values, np.int64), name_classes(names)


def is_number(value: Value) -> bool:
    """Says whether a value is a number, or a cell that holds one."""
    try:
        return np.isfinite(float(value)) if value is not None else False
    except (ValueError, OverflowError):  # a word; a whole number of hundreds of digits
        return False


def rank(value: Value) -> float:
    """Returns what numbers are sorted by; all else is equal."""
    return float(value) if value is not None and is_number(value) else 0.0


def read_attribute(table: Table, column: str, values: Sequence[Value]) -> np.ndarray:
    """Reads a column of yes and no as (N,) float32, 1 and 0. Raises UserError."""
    words = [str(value).strip().lower() for value in values]
    odd = next((word for word in words if word not in YES | NO), None)
    if odd is not None:
        raise UserError(
            f"dataset.label: {column} of {table.name} holds {odd!r}, and an attribute is yes or no",
            f"write 0 and 1; or dataset.label={column} takes its values as classes",
        )
    return np.array([word in YES for word in words], np.float32)


def name_classes(values: Sequence[Value]) -> tuple[str, ...]:
    """Names classes by their values, in one printable line each, and apart from each other."""
    words = [
        str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        for value in values
    ]
    names = [
        "".join(sign if sign.isprintable() else "?" for sign in word[:LONGEST_NAME])
        for word in words
    ]
    times = Counter(names)
    return tuple(name if times[name] == 1 else f"{name} ({k})" for k, name in enumerate(names))


def shorten(names: Sequence[object], most: int = SHOWN) -> str:
    """Names the first of some, and says how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(str(name)[:LONGEST_NAME] for name in names[:most]) + more


def pick(items: Sequence[Item], kept: np.ndarray) -> list[Item]:
    """Picks the items at some indices."""
    return [items[k] for k in kept.tolist()]
