"""Files that are whole or not there at all: written aside, flushed to the disk, renamed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO


def write(path: Path, dump: Callable[[IO[bytes]], object], *, names: Sequence[str] = ()) -> None:
    """`path`, and the same bytes under other `names` beside it. A reader sees an old file or the new one, never half of one.

    Raises OSError where the disk is full."""
    aside = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        with aside.open("wb") as file:
            dump(file)
            file.flush()
            sync(file.fileno())
        for name in (
            names
        ):  # first, so that a process killed between the two has its newest state in last.pt
            link(aside, path.with_name(name))
        os.replace(aside, path)
    except RuntimeError as error:  # how torch reports a write that was cut short
        raise (
            error.__context__ if isinstance(error.__context__, OSError) else OSError(str(error))
        ) from error
    finally:
        aside.unlink(missing_ok=True)


def link(path: Path, name: Path) -> None:
    """The same bytes under a second name, which survives when the first is dropped."""
    aside = name.with_name(f".tmp-{name.stem}-{os.getpid()}")
    aside.unlink(missing_ok=True)
    try:
        os.link(path, aside)
    except OSError:  # a disk that knows no second name
        with path.open("rb") as source, aside.open("wb") as copied:
            shutil.copyfileobj(source, copied)
            copied.flush()
            sync(copied.fileno())
    os.replace(aside, name)


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)  # a rename is safe only when its folder is on the disk
    try:
        sync(handle)
    finally:
        os.close(handle)


def sync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (
            errno.EINVAL,
            errno.ENOTSUP,
            errno.ENOSYS,
        ):  # what disks say that know no fsync
            raise
