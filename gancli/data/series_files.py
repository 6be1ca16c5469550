"""Reads series of numbers out of text and array files, and says where one is wrong."""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gancli.errors import UserError

SUFFIXES = (".csv", ".npz", ".ts")
ARRAYS = ("series", "data", "x", "X")  # names under which an .npz may hold its series
LABELS = ("label", "labels", "y")
MISSING = ("", "?", "na", "n/a", "nan", "null", "none")


@dataclass(frozen=True, eq=False)
class Record:
    """One series as a file holds it.

    Attributes:
        values: (steps, features) float64, all finite.
        label: Its class; None without.
        where: The file, and its place in it.
    """

    values: np.ndarray
    label: str | None
    where: str


@dataclass(frozen=True, eq=False)
class Table:
    """All series of a file or of a folder, and the names of their features."""

    records: tuple[Record, ...]
    names: tuple[str, ...]


def read_series(
    path: str, *, columns: Sequence[str] | None, label: str | None, group: str | None
) -> Table:
    """Reads a file, or all files of a folder, each of which holds series of its own.

    Args:
        path: A .csv, .npz or .ts file, or a folder of some.
        columns: Names of the CSV columns that are features; None for all that are left.
        label: The CSV column that holds the class; None without.
        group: The CSV column that tells one series from the next; None: a file is one series.

    Raises:
        UserError: With the file and the line.
    """
    tables = [
        read_file(file, columns=columns, label=label, group=group) for file in find_files(path)
    ]
    names = tables[0].names
    for table in tables[1:]:
        if table.names != names:
            raise UserError(
                f"{table.records[0].where}: the features are {', '.join(table.names)}, those of "
                f"{tables[0].records[0].where} are {', '.join(names)}",
                "give files of the same columns, or name them: dataset.columns=[...]",
            )
    records = tuple(record for table in tables for record in table.records)
    labelled = [record.label is not None for record in records]
    if any(labelled) and not all(labelled):
        first = records[labelled.index(False)]
        raise UserError(
            f"{first.where}: no label, while others have one", "label all files, or none"
        )
    return Table(records, names)


def find_files(path: str) -> list[Path]:
    """Lists the files in order of their names. Raises UserError where there are none."""
    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(f"dataset.path={path}: there is no such file or folder", "check the path")
    if place.is_file():
        if place.suffix.lower() not in SUFFIXES:
            raise UserError(
                f"{place}: series are read from {', '.join(SUFFIXES)}", "convert it to .csv"
            )
        return [place]
    found = sorted(
        file
        for file in place.iterdir()
        if file.is_file() and file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
    if not found:
        raise UserError(f"{place}: there is no {', '.join(SUFFIXES)} file", "check dataset.path")
    return found


def read_file(
    file: Path, *, columns: Sequence[str] | None, label: str | None, group: str | None
) -> Table:
    """Reads one file by its suffix. Raises UserError."""
    suffix = file.suffix.lower()
    if suffix != ".csv" and (columns is not None or label is not None or group is not None):
        raise UserError(
            f"{file}: dataset.columns, label and group name columns of .csv files",
            "dataset.columns=null dataset.label=null dataset.group=null",
        )
    try:
        if suffix == ".npz":
            return read_npz(file)
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be read: {error}", "check the file") from error
    if suffix == ".ts":
        return read_ts(file, text)
    return read_csv(file, text, columns=columns, label=label, group=group)


def to_number(text: str, where: str) -> float:
    """Turns a cell into a finite number. Raises UserError that says where it stands."""
    word = text.strip()
    if word.lower() in MISSING:
        raise UserError(f"{where}: a value is missing ({word!r})", "fill it in, or drop the row")
    try:
        value = float(word)
    except ValueError:
        raise UserError(
            f"{where}: {word!r} is no number",
            "name the columns of numbers: dataset.columns=[...]; a class: dataset.label=NAME",
        ) from None
    if not math.isfinite(value):
        raise UserError(f"{where}: {word} is not finite", "replace it, or drop the row")
    return value


def is_number(text: str) -> bool:
    """Whether a cell holds a number, or that there is none."""
    try:
        float(text)
    except ValueError:
        return text.strip().lower() in MISSING
    return True


def read_csv(
    file: Path, text: str, *, columns: Sequence[str] | None, label: str | None, group: str | None
) -> Table:
    """Reads rows of steps; a new series begins where the group or the label changes.

    The first row names the columns where none of its cells is a number; else they are x0, x1, ...
    Raises UserError.
    """
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    if not rows:
        raise UserError(f"{file} is empty", "give a file with a row for each step")
    first = rows[0][1]
    has_head = not any(is_number(cell) for cell in first)
    head = [cell.strip() for cell in first] if has_head else [f"x{k}" for k in range(len(first))]
    rows = rows[1:] if has_head else rows
    if not rows:
        raise UserError(f"{file} has names and no numbers", "give a row for each step")
    if len(set(head)) < len(head):
        twice = next(name for name in head if head.count(name) > 1)
        raise UserError(f"{file}, line 1: two columns are named {twice!r}", "rename one")
    asked = [name for name in (*(columns or ()), label, group) if name is not None]
    unknown = [name for name in asked if name not in head]
    if unknown:
        raise UserError(
            f"{file}: there is no column {unknown[0]!r}", f"there are {', '.join(head)}"
        )
    names = list(columns) if columns else [name for name in head if name not in (label, group)]
    if not names:
        raise UserError(f"{file}: no column is left for the features", "name some more")
    at = {name: head.index(name) for name in head}
    records = []
    for key, part in runs(file, rows, head, (group, label)):
        values = np.array(
            [
                [to_number(row[at[name]], f"{file}, line {line}, {name}") for name in names]
                for line, row in part
            ]
        )
        records.append(Record(values, key[1], f"{file}, line {part[0][0]}"))
    return Table(tuple(records), tuple(names))


Rows = list[tuple[int, list[str]]]
Key = tuple[str | None, str | None]


def runs(file: Path, rows: Rows, head: list[str], by: Key) -> Iterator[tuple[Key, Rows]]:
    """Splits rows where a value of the columns `by` changes. Raises UserError for ragged rows."""
    group, label = (None if name is None else head.index(name) for name in by)
    last: Key | None = None
    part: Rows = []
    for line, row in rows:
        if len(row) != len(head):
            raise UserError(
                f"{file}, line {line}: {len(row)} values, and there are {len(head)} columns",
                "give every row as many values",
            )
        key = (
            None if group is None else row[group].strip(),
            None if label is None else row[label].strip(),
        )
        if last is not None and key != last:
            yield last, part
            part = []
        last = key
        part.append((line, row))
    assert last is not None
    yield last, part


def read_npz(file: Path) -> Table:
    """Reads (N,steps,features) or (N,steps) under one of ARRAYS, or the only such array."""
    with np.load(file, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    numeric = [
        name for name, array in found.items() if array.ndim in (2, 3) and array.dtype.kind in "fiu"
    ]
    named = [name for name in ARRAYS if name in numeric] or numeric
    if not named or (named[0] not in ARRAYS and len(named) > 1):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in found.items())
        raise UserError(
            f"{file}: which array holds the series? There are {shapes or 'none'}",
            "name it 'series': numbers (N,steps,features) or (N,steps)",
        )
    values = found[named[0]].astype(np.float64)
    values = values[:, :, None] if values.ndim == 2 else values
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        n, t, c = bad[0]
        raise UserError(
            f"{file}, {named[0]}[{n},{t},{c}]: {values[n, t, c]} is not finite",
            "replace it, or leave that series out",
        )
    if 0 in values.shape:
        raise UserError(f"{file}, {named[0]}: the shape is {values.shape}", "give some series")
    labels = next((found[name] for name in LABELS if name in found), None)
    if labels is not None and labels.shape != (len(values),):
        raise UserError(
            f"{file}: labels of shape {labels.shape} for {len(values)} series", "give one for each"
        )
    names = [str(name) for name in found["names"]] if "names" in found else []
    if len(names) != values.shape[2]:
        names = [f"x{k}" for k in range(values.shape[2])]
    records = [
        Record(one, None if labels is None else str(labels[k]), f"{file}, {named[0]}[{k}]")
        for k, one in enumerate(values)
    ]
    return Table(tuple(records), tuple(names))


def read_ts(file: Path, text: str) -> Table:
    """Reads the text format of the UCR and UEA archives: features by colons, then the class."""
    labelled = False
    started = False
    records: list[Record] = []
    for line, row in enumerate(text.splitlines(), start=1):
        words = row.strip()
        if not words or words.startswith("#"):
            continue
        where = f"{file}, line {line}"
        if not started:
            started = words.lower() == "@data"
            key, _, value = words.partition(" ")
            if key.lower() == "@classlabel":
                labelled = value.strip().lower().startswith("true")
            if key.lower() == "@timestamps" and value.strip().lower() == "true":
                raise UserError(f"{where}: time stamps are not read", "give plain values")
            continue
        parts = words.split(":")
        label = parts.pop().strip() if labelled else None
        features = [[to_number(cell, where) for cell in part.split(",")] for part in parts]
        if not features or len({len(feature) for feature in features}) > 1:
            counts = ", ".join(str(len(feature)) for feature in features)
            raise UserError(
                f"{where}: its features have {counts or 'no'} steps", "give each as many"
            )
        if records and len(features) != records[0].values.shape[1]:
            raise UserError(
                f"{where}: {len(features)} features, and {records[0].where} has "
                f"{records[0].values.shape[1]}",
                "give every series as many",
            )
        records.append(Record(np.array(features).T, label, where))
    if not records:
        raise UserError(f"{file}: there is no series after @data", "check the file")
    return Table(tuple(records), tuple(f"x{k}" for k in range(records[0].values.shape[1])))
