"""Reads series of numbers out of text and array files, and says where one is wrong."""

from __future__ import annotations

import csv
import math
import re
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
# Columns of these names count the steps where their numbers only rise, or only fall
CLOCKS = ("time", "date", "datetime", "timestamp", "index", "step", "year", "month", "day", "t")
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T].*)?|\d{1,2}:\d\d(?::\d\d.*)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
LONG_FORM = ("series", "step")  # how a series.csv of `gan sample` begins


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
    """All series of a file or of a folder.

    Attributes:
        records: The series.
        names: Of their features.
        remarks: What was chosen where nothing was asked for, in sentences.
    """

    records: tuple[Record, ...]
    names: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def read_series(
    path: str,
    *,
    columns: Sequence[str] | None,
    label: str | None,
    group: str | None,
    names: Sequence[str] = (),
) -> Table:
    """Reads a file, or all files of a folder, each of which holds series of its own.

    Args:
        path: A .csv, .npz or .ts file, or a folder of some.
        columns: Names of the CSV columns that are features; None for all that are left and do
            not count the steps.
        label: The CSV column that holds the class; None without.
        group: The CSV column that tells one series from the next; None: a file is one series, but
            for what `gan sample` has written.
        names: The features that an earlier reading found, which a later one finds again.

    Raises:
        UserError: With the file and the line.
    """
    tables = [
        read_file(file, columns=columns, label=label, group=group, names=names)
        for file in find_files(path)
    ]
    features = tables[0].names
    for table in tables[1:]:
        if table.names != features:
            raise UserError(
                f"{table.records[0].where}: the features are {', '.join(table.names)}, those of "
                f"{tables[0].records[0].where} are {', '.join(features)}",
                "give files of the same columns, or name them: dataset.columns=[...]",
            )
    records = tuple(record for table in tables for record in table.records)
    labelled = [record.label is not None for record in records]
    if any(labelled) and not all(labelled):
        first = records[labelled.index(False)]
        raise UserError(
            f"{first.where}: no label, while others have one", "label all files, or none"
        )
    return Table(records, features, tables[0].remarks)


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
    file: Path,
    *,
    columns: Sequence[str] | None,
    label: str | None,
    group: str | None,
    names: Sequence[str],
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
    return read_csv(file, text, columns=columns, label=label, group=group, names=names)


def to_number(text: str, where: str) -> float:
    """Turns a cell into a finite number. Raises UserError that says where it stands."""
    word = text.strip()
    if word.lower() in MISSING:
        raise UserError(f"{where}: a value is missing ({word!r})", "fill it in, or drop the row")
    try:
        value = float(word)
    except ValueError:
        if DECIMAL_COMMA.fullmatch(word):
            raise UserError(
                f"{where}: {word!r} has a decimal comma",
                f"write decimal points, as {word.replace(',', '.')}",
            ) from None
        raise UserError(
            f"{where}: {word!r} is no number",
            "name the columns of numbers: dataset.columns=[...]; a class: dataset.label=NAME",
        ) from None
    if not math.isfinite(value):
        raise UserError(f"{where}: {word} is not finite", "replace it, or drop the row")
    return value


def is_number(text: str) -> bool:
    """Tells whether a cell holds a number, or that there is none."""
    try:
        float(text)
    except ValueError:
        return text.strip().lower() in MISSING
    return True


Rows = list[tuple[int, list[str]]]
Key = tuple[str | None, str | None]


def read_csv(
    file: Path,
    text: str,
    *,
    columns: Sequence[str] | None,
    label: str | None,
    group: str | None,
    names: Sequence[str],
) -> Table:
    """Reads rows of steps; a new series begins where the group or the label changes.

    The first row names the columns where none of its cells is a number; else they are x0, x1, ...
    Raises UserError.
    """
    head, rows = read_rows(file, text)
    remarks = []
    drop = ""
    as_written = columns is None and group is None and tuple(head[:2]) == LONG_FORM
    if as_written and LONG_FORM[0] not in names:
        group, drop = LONG_FORM
        label = "label" if label is None and head[-1] == "label" else label
        remarks.append(
            f"{file}: as `gan sample` writes it, {group} tells one series from the next"
            + (", label is the class" if label == "label" else "")
        )
    found = [name for name in names if name in head]
    if columns is None and len(found) == len(names) > 0:
        columns = found
    asked = [name for name in (*(columns or ()), label, group) if name is not None]
    unknown = [name for name in asked if name not in head]
    if unknown:
        raise UserError(
            f"{file}: there is no column {unknown[0]!r}", f"there are {', '.join(head)}"
        )
    at = {name: head.index(name) for name in head}
    parts = list(runs(file, rows, head, (group, label)))
    left = [name for name in head if name not in (label, group, drop)]
    if columns is None:
        counting = [
            name
            for name in left
            if counts_steps(
                [[row[at[name]].strip() for _, row in part] for _, part in parts],
                name=name,
                first=name == left[0],
            )
        ]
        counting = counting if len(counting) < len(left) else []
        columns = [name for name in left if name not in counting]
        remarks += [
            f"{file}: the column {name} counts the steps and is left out; "
            f"dataset.columns=[{','.join(left)}] takes it as a feature"
            for name in counting
            if all(is_number(row[at[name]]) for _, row in rows)
        ]
        remarks += [
            f"{file}: the column {name} holds dates and is left out"
            for name in counting
            if not all(is_number(row[at[name]]) for _, row in rows)
        ]
    if not columns:
        raise UserError(f"{file}: no column is left for the features", "name some more")
    if columns is not None and not asked:
        refuse_words(file, rows, head, columns)
    records = []
    for key, part in parts:
        values = np.array(
            [
                [to_number(row[at[name]], f"{file}, line {line}, {name}") for name in columns]
                for line, row in part
            ]
        )
        records.append(Record(values, key[1], f"{file}, line {part[0][0]}"))
    return Table(tuple(records), tuple(columns), tuple(remarks))


def refuse_words(file: Path, rows: Rows, head: list[str], columns: Sequence[str]) -> None:
    """Raises UserError for a column of words alone, such as the class, with what to type."""
    for name in columns:
        cells = [row[head.index(name)] for _, row in rows]
        if not any(is_number(cell) or DECIMAL_COMMA.fullmatch(cell.strip()) for cell in cells):
            others = ",".join(other for other in columns if other != name)
            raise UserError(
                f"{file}, line {rows[0][0]}, {name}: {cells[0].strip()!r} is no number",
                f"dataset.label={name} where it is the class, or dataset.columns=[{others}]",
            )


def read_rows(file: Path, text: str) -> tuple[list[str], Rows]:
    """Returns the columns' names, and the other rows with their lines. Raises UserError."""
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    if delimiter == "," and ";" in first_line:
        delimiter = ";"  # the commas are decimal ones then
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    if not rows:
        raise UserError(f"{file} is empty", "give a file with a row for each step")
    first = rows[0][1]
    filled = [cell for cell in first if cell.strip().lower() not in MISSING]
    numbers = [cell for cell in filled if is_number(cell) or DECIMAL_COMMA.fullmatch(cell.strip())]
    has_head = bool(filled) and not numbers
    head = [f"x{k}" for k in range(len(first))]
    if has_head:  # pandas writes its index without a name
        head = [cell.strip() or name for cell, name in zip(first, head, strict=True)]
        rows = rows[1:]
    if not rows:
        raise UserError(f"{file} has names and no numbers", "give a row for each step")
    if len(set(head)) < len(head):
        twice = next(name for name in head if head.count(name) > 1)
        raise UserError(f"{file}, line 1: two columns are named {twice!r}", "rename one")
    return head, rows


def counts_steps(runs_of_cells: list[list[str]], *, name: str, first: bool) -> bool:
    """Tells whether a column says when a step is, and is no feature.

    It holds dates or times of day; or it is named so and its numbers only rise, or only fall, in
    every series; or it is the first column and its numbers are evenly spaced.

    Args:
        runs_of_cells: What stands in it, by series.
        name: Of the column.
        first: Whether it stands before all features.
    """
    cells = [cell for run in runs_of_cells for cell in run]
    if all(DATE.fullmatch(cell) and not is_number(cell) for cell in cells):
        return True
    try:
        numbers = [np.array(run, dtype=np.float64) for run in runs_of_cells]
    except ValueError:
        return False
    gaps = [np.diff(run) for run in numbers]
    gap = np.concatenate(gaps)
    if len(gap) < 2 or not np.isfinite(gap).all() or not (np.all(gap > 0) or np.all(gap < 0)):
        return False
    return name.lower() in CLOCKS or (first and bool(np.allclose(gap, gap[0], rtol=1e-3)))


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
    """Reads series (N,steps,features) or (N,steps) under one of ARRAYS, or the only such array.

    Their classes stand under one of LABELS, (N,); the features' names under "names".

    Raises:
        UserError: It is not clear which array is meant, or a number is not finite.
    """
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
