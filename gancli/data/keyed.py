"""Images in an LMDB database: a folder with data.mdb, whose values are encoded images."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gancli.data.base import digest_of
from gancli.data.decode import BadImage
from gancli.data.files import Files
from gancli.data.sources import label_by_folders, label_items
from gancli.data.tables import AUTO, FOLDERS, Labelled, Table
from gancli.errors import UserError, first_line

DATABASE = "data.mdb"
SAMPLED = 64  # values that the digest is made of


def list_keyed_images(path: str, names: Sequence[str], *, label: str | list[str]) -> Files:
    """Lists the values of a database, in the order of their keys.

    Keys such as cat/0001.jpg give classes as the paths of files do.

    Args:
        path: As typed: the folder with data.mdb, or one around it.
        names: Of the databases, below the folder.
        label: As in `Folder`.

    Raises:
        UserError: The package lmdb is missing, or it is no such database.
    """
    root = Path(path).expanduser()
    if len(names) > 1:
        raise UserError(
            f"dataset.path={path}: {len(names)} LMDB databases lie in it",
            f"dataset.path={Path(path) / Path(names[0]).parent} takes one",
        )
    file = root / names[0]
    database = open_database(os.path.realpath(file.parent), os.stat(file).st_mtime_ns)
    with database.begin() as reader:
        keys = [bytes(key) for key in reader.cursor().iternext(keys=True, values=False)]
    if not keys:
        raise UserError(f"dataset.path={path}: the LMDB database holds nothing", "look at it")
    items = [key.decode("utf-8", "backslashreplace") for key in keys]
    if label in (AUTO, FOLDERS):
        labels, classes = label_by_folders(path, items)
        source = "folders in the keys" if classes else ""
        found = Labelled(np.arange(len(items)), labels, classes, source)
    else:
        found = label_items(path, Table("the database", [], {}), len(items), label)

    def read(i: int) -> io.BytesIO:
        return read_value(database, keys[i])

    step = max(1, len(keys) // SAMPLED)
    sample = [read(i).getvalue() for i in range(0, len(keys), step)]
    return Files(
        names=items,
        read=read,
        sizes=[0] * len(keys),  # to learn them would mean reading everything
        stamps=[os.stat(file).st_mtime_ns] * len(keys),
        labels=found.labels,
        classes=found.classes,
        remarks=found.remarks,
        origin=os.path.realpath(file.parent),
        labelled_by=found.source,
        identity=digest_of(sample),
        form="lmdb",
    )


@functools.lru_cache(maxsize=8)
def open_database(folder: str, stamp: int) -> Any:
    """Opens a database to read, once in a process: LMDB allows no more.

    stamp: of its file, so that another one in its place is opened anew. UserError.
    """
    try:
        import lmdb
    except ImportError as error:
        raise UserError(
            "LMDB databases are read with the package lmdb, which is missing",
            "pip install 'gancli[lmdb]'",
        ) from error
    try:
        return lmdb.open(folder, readonly=True, lock=False, readahead=False, create=False)
    except lmdb.Error as error:
        raise UserError(
            f"{folder} cannot be read: {first_line(error)}", "is it downloaded completely?"
        ) from error


def read_value(database: Any, key: bytes) -> io.BytesIO:
    """Reads the image of a key. Raises BadImage."""
    with database.begin() as reader:  # one for each read: a transaction belongs to one thread
        value = reader.get(key)
    if value is None:
        raise BadImage("the key is gone")
    return io.BytesIO(value)
