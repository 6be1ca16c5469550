"""Images in Hugging Face's forms: parquet files, and folders of `save_to_disk` (Arrow files)."""

from __future__ import annotations

import io
import json
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gancli.data import cache
from gancli.data.base import digest_of
from gancli.data.decode import BadImage
from gancli.data.files import Files
from gancli.data.sources import choose_split, find_part, label_items
from gancli.data.tables import Table
from gancli.errors import UserError, first_line
from gancli.files import reading
from gancli.files.paths import find_ending

PARQUET = ".parquet"
ARROW = ".arrow"
IMAGES = ("image", "img", "bytes", "jpg", "jpeg", "png", "webp", "picture")
GROUPS = 4  # row groups of parquet files that stay decompressed
FOOTER = 1 << 16  # bytes at the end of a parquet file that its digest is made of
SAMPLED = 64  # images of an Arrow file that its digest is made of
ROWS = "write it with smaller row groups: dataset.to_parquet(FILE, batch_size=100)"


@dataclass(frozen=True)
class Rows:
    """The rows of one file.

    Attributes:
        name: Of the file, below the folder.
        path: Of the file.
        schema: pyarrow's.
        n: How many rows there are.
        groups: The first row of each row group, and of the end; of an Arrow file of each batch.
        batches: Mapped from an Arrow file; None of a parquet file.
    """

    name: str
    path: str
    schema: Any
    n: int
    groups: np.ndarray
    batches: list[Any] | None = None


def list_hub_images(
    path: str, names: Sequence[str], *, label: str | list[str], split: str | None
) -> Files:
    """Lists the images of parquet or Arrow files.

    Args:
        path: As typed: a file, or a folder of some.
        names: Of those files, below the folder.
        label: As in `Folder`.
        split: As in `Folder`.

    Raises:
        UserError: pyarrow is missing, or there is no column of images.
    """
    root = Path(path).expanduser()
    folder = root if root.is_dir() else root.parent
    files = [open_rows(folder / name, name) for name in names]
    files = [rows for rows in files if rows.n]
    if not files:
        raise UserError(f"dataset.path={path}: its {len(names)} files hold no row", "look at it")
    counts: Counter = Counter()
    for rows in files:
        counts[find_part(rows.name)] += rows.n
    chosen, said = choose_split(path, counts, split)
    taken = [rows for rows in files if chosen in (None, find_part(rows.name))]
    features = read_features(taken[0].schema)
    column, remarks = find_images(path, taken[0].schema, features)
    for rows in taken:
        if rows.schema.names != taken[0].schema.names:
            raise UserError(
                f"dataset.path={path}: {rows.name} has other columns than {taken[0].name}",
                "give one of them",
            )
    table = make_table(taken, column, features)
    starts = np.cumsum([0, *(rows.n for rows in taken)])
    found = label_items(path, table, int(starts[-1]), label)
    reader = Reader(taken, column)
    kept = found.kept.tolist()
    places = [int(np.searchsorted(starts, k, side="right")) - 1 for k in kept]

    def read(i: int) -> io.BytesIO:
        return reader.read_row(places[i], kept[i] - int(starts[places[i]]))

    items = [
        f"{taken[place].name}/{k - starts[place]:07d}"
        for place, k in zip(places, kept, strict=True)
    ]
    stamps = [os.stat(rows.path).st_mtime_ns for rows in taken]
    return Files(
        names=items,
        read=read,
        sizes=[0] * len(kept),  # to learn them would mean reading everything
        stamps=[stamps[place] for place in places],
        labels=found.labels,
        classes=found.classes,
        remarks=(*([said] if said else []), *remarks, *found.remarks),
        origin=os.path.realpath(root),
        labelled_by=found.source,
        left_out=tuple(part for part in counts if chosen not in (None, part)),
        identity=digest_of([*(identify(rows, column) for rows in taken), found.identify()]),
        form="parquet" if taken[0].batches is None else "arrow",
    )


def import_pyarrow() -> Any:
    """Imports pyarrow, with its readers. Raises UserError."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            "parquet and Arrow files are read with the package pyarrow, which is missing",
            "pip install 'gancli[hf]'",
        ) from error
    return pyarrow


def open_rows(file: Path, name: str) -> Rows:
    """Reads what a file says of itself; no row is read. Raises UserError."""
    pyarrow = import_pyarrow()
    try:
        if found := reading.describe_irregular(file):
            raise UserError(f"{file} is {found}, not a file", "give a file")
        if find_ending(name) == PARQUET:
            with pyarrow.parquet.ParquetFile(file) as opened:
                facts = opened.metadata
                sizes = [facts.row_group(k).num_rows for k in range(facts.num_row_groups)]
                groups = np.cumsum([0, *sizes])
                return Rows(name, str(file), opened.schema_arrow, facts.num_rows, groups)
        source = pyarrow.memory_map(str(file))
        try:
            stream = pyarrow.ipc.open_stream(source)
            batches = list(stream)
        except pyarrow.ArrowInvalid:  # the other of Arrow's two forms
            stream = pyarrow.ipc.open_file(source)
            batches = [stream.get_batch(k) for k in range(stream.num_record_batches)]
        groups = np.cumsum([0, *(batch.num_rows for batch in batches)])
        return Rows(name, str(file), stream.schema, int(groups[-1]), groups, batches)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read: {first_line(error)}", "is it downloaded completely?"
        ) from error


def read_features(schema: Any) -> dict[str, dict]:
    """Reads what Hugging Face's `datasets` notes of columns; {} where there is nothing."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(text)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {str(key): value for key, value in features.items() if isinstance(value, dict)}


def find_images(path: str, schema: Any, features: dict[str, dict]) -> tuple[str, list[str]]:
    """Finds the column of images, and what there is to say. Raises UserError."""
    noted = [name for name in schema.names if features.get(name, {}).get("_type") == "Image"]
    fit = []
    for name in schema.names:
        kind = schema.field(name).type
        named = name in noted or name.lower() in IMAGES
        if holds_bytes(kind) or (is_binary(kind) and named):
            fit.append(name)
    found = [name for name in noted if name in fit] or fit
    if not found:
        columns = ", ".join(f"{name} ({schema.field(name).type})" for name in schema.names[:10])
        raise UserError(
            f"dataset.path={path}: no column of encoded images ({columns})",
            "images are a column of {bytes, path}, as `datasets` writes them, or of bytes",
        )
    if len(found) == 1:
        return found[0], []
    return found[0], [f"images are read from the column {found[0]}, not {', '.join(found[1:])}"]


def holds_bytes(kind: Any) -> bool:
    """Says whether a column holds {bytes, ...}."""
    if not import_pyarrow().types.is_struct(kind):
        return False
    return "bytes" in [kind.field(k).name for k in range(kind.num_fields)]


def is_binary(kind: Any) -> bool:
    """Says whether a column holds bytes."""
    types = import_pyarrow().types
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def make_table(files: Sequence[Rows], column: str, features: dict[str, dict]) -> Table:
    """Reads the columns that may be labels."""
    pyarrow = import_pyarrow()
    types = pyarrow.types
    schema = files[0].schema
    wanted = [
        name
        for name in schema.names
        if name != column
        and any(
            test(schema.field(name).type)
            for test in (
                *(types.is_integer, types.is_boolean, types.is_string, types.is_large_string),
                types.is_dictionary,
            )
        )
    ]
    columns: dict[str, list] = {name: [] for name in wanted}
    try:
        for rows in files if wanted else ():
            if rows.batches is None:
                part = pyarrow.parquet.read_table(rows.path, columns=wanted)
            else:
                part = pyarrow.Table.from_batches(rows.batches, rows.schema).select(wanted)
            for name in wanted:
                columns[name] += part.column(name).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{rows.path} cannot be read: {first_line(error)}") from error
    names = {}
    for name in wanted:
        listed = features.get(name, {}).get("names")
        if features.get(name, {}).get("_type") == "ClassLabel" and isinstance(listed, list):
            names[name] = tuple(str(word) for word in listed)
            # -1 is how `datasets` says that a label is not known, as in many test parts
            columns[name] = [None if value == -1 else value for value in columns[name]]
            if not any(value is not None for value in columns[name]):
                del columns[name], names[name]
    return Table("the table", [], columns, names)


class Reader:
    """Reads single images by row, by any thread; a few row groups stay decompressed."""

    def __init__(self, files: Sequence[Rows], column: str):
        self.files = files
        self.column = column
        self.lock = threading.Lock()
        self.groups: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def read_row(self, k: int, row: int) -> io.BytesIO:
        """Returns the image in a row of the k-th file. Raises BadImage."""
        rows = self.files[k]
        group = int(np.searchsorted(rows.groups, row, side="right")) - 1
        if rows.batches is None:
            values = self.open_group(k, group)
        else:
            values = rows.batches[group].column(rows.schema.get_field_index(self.column))
        value = values[row - int(rows.groups[group])].as_py()
        if isinstance(value, dict):
            path, value = value.get("path"), value.get("bytes")
            if value is None and path is not None:
                raise BadImage("the row holds a path and no bytes: write it with embedded images")
        if value is None:
            raise BadImage("the row holds no image")
        if not isinstance(value, bytes):
            raise BadImage("the row holds no bytes")
        return io.BytesIO(value)

    def open_group(self, k: int, group: int) -> Any:
        """Returns the images of a row group of a parquet file. Raises BadImage, UserError."""
        pyarrow = import_pyarrow()
        with self.lock:
            if (k, group) in self.groups:
                self.groups.move_to_end((k, group))
                return self.groups[k, group]
            rows = self.files[k]
            try:
                with pyarrow.parquet.ParquetFile(rows.path) as opened:
                    need = opened.metadata.row_group(group).total_byte_size
                    if not cache.fits(GROUPS * need):
                        raise UserError(
                            f"{rows.path}: a row group takes {cache.gigabytes(need)}, and "
                            f"{GROUPS} of them more than the memory",
                            ROWS,
                        )
                    found = opened.read_row_group(group, columns=[self.column])
            except (pyarrow.ArrowException, OSError, ValueError) as error:
                raise BadImage(f"its row group cannot be read: {first_line(error)}") from error
            self.groups[k, group] = found.column(self.column)
            while len(self.groups) > GROUPS:
                self.groups.popitem(last=False)
            return self.groups[k, group]


def identify(rows: Rows, column: str) -> str:
    """Returns a digest: of a parquet file's end, which tells of all it holds, or of some images."""
    parts: list[str | bytes] = [str(rows.n), str(os.stat(rows.path).st_size)]
    if rows.batches is None:
        with open(rows.path, "rb") as stream:
            stream.seek(max(0, os.stat(rows.path).st_size - FOOTER))
            parts.append(stream.read())
    else:
        reader = Reader([rows], column)
        for row in range(0, rows.n, max(1, rows.n // SAMPLED)):
            try:
                parts.append(reader.read_row(0, row).getvalue())
            except BadImage as error:
                parts.append(str(error))
    return digest_of(parts)
