"""Files that are whole or not there at all: written aside, flushed to the disk, renamed."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gancli.errors import UserError
from gancli.files import shell

ASIDE = itertools.count()  # no two files that a process writes at a time share a name
# Windows renames nothing over a file that another program has open: a virus scanner has it for an
# instant, a viewer for longer. Elsewhere a refusal is final.
PATIENCE_S = 2.0 if os.name == "nt" else 0.0
PAUSE_S = 0.05


def write(path: Path, dump: Callable[[IO[bytes]], object], *, names: Sequence[str] = ()) -> None:
    """Writes `path`, and the same bytes under other `names` beside it.

    A reader sees an old file or the new one, never half of one.

    Raises:
        OSError: the disk is full.
    """
    aside = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        with aside.open("wb") as file:
            dump(file)
            file.flush()
            sync(file.fileno())
        for name in names:
            # First, so that a process killed between the two has its newest state in last.pt
            link(aside, path.with_name(name))
        replace(aside, path)
    except RuntimeError as error:  # how torch reports a write that was cut short
        raise (
            error.__context__ if isinstance(error.__context__, OSError) else OSError(str(error))
        ) from error
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Gives a name to write to, and renames that file to `path` when the block ends well.

    For what can be made again, such as pictures and pages: unlike `write`, it does not wait until
    the disk has the bytes, which would cost more than a small picture. The name lies in the same
    folder, or the rename would not be atomic; it is short, since `path` may have the longest name
    that the disk allows, and it has the ending of `path`, by which encoders choose a format.

    Args:
        path: The file to write; its folder exists.

    Yields:
        The path to write to.

    Raises:
        OSError: The folder is missing or read-only, or the disk is full; an older file at `path` is
            then untouched.
    """
    aside = path.with_name(f".tmp-{os.getpid()}-{next(ASIDE)}{path.suffix}")
    try:
        yield aside
        replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def replace(source: Path, target: Path) -> None:
    """Renames a file over another, and waits a little where another program has that one open.

    Raises:
        OSError: It cannot be renamed; the older file is then untouched.
    """
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if time.monotonic() >= end:
                raise
            time.sleep(PAUSE_S)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, as `write` does it.

    Names from a disk may hold bytes that are no letters.
    """
    write(path, lambda file: file.write(text.encode("utf-8", "surrogateescape")))


def link(path: Path, name: Path) -> None:
    """Gives the same bytes a second name, which survives when the first is dropped."""
    aside = name.with_name(f".tmp-{name.stem}-{os.getpid()}")
    aside.unlink(missing_ok=True)
    try:
        try:
            os.link(path, aside)
        except OSError:  # a disk that knows no second name
            with path.open("rb") as source, aside.open("wb") as copied:
                shutil.copyfileobj(source, copied)
                copied.flush()
                sync(copied.fileno())
        replace(aside, name)
    finally:
        aside.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flushes a folder to the disk: only then is a rename in it safe.

    Windows opens no folders, and its journal keeps the renames in their order.
    """
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)  # a rename is safe only when its folder is on the disk
    try:
        sync(handle)
    finally:
        os.close(handle)


def sync(handle: int) -> None:
    """Flushes an open file to the disk, where the disk can do that."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (
            errno.EINVAL,
            errno.ENOTSUP,
            errno.ENOSYS,
        ):
            # What disks say that know no fsync
            raise


def refuse_links(folder: Path, names: Sequence[str | Path]) -> None:
    """Raises UserError where writing below these names of a run folder would write elsewhere.

    Nor is anything written into a pipe or a device. A run folder may come from anybody, and so may
    what lies in it. That the folder itself is reached through a link is fine, and so is a link that
    stays inside it.

    Args:
        folder: the run folder, or another folder that is to be written.
        names: what is to be written in it, as names below it or paths; folders with all that lies
            in them.
    """
    root = os.path.realpath(folder)
    for name in names:
        for path in walk_entries(folder / name):
            target = os.path.realpath(path)
            if not Path(target).is_relative_to(root):  # on Windows it may be another drive
                raise UserError(
                    f"{path} is a link that leads out of the folder, to {target}; nothing was "
                    "written",
                    f"remove the link: {shell.format_removal(path)}   or move what it leads to "
                    f"into {folder}",
                )
            if os.path.lexists(path):
                refuse_special(path)


def refuse_special(path: Path) -> None:
    """Raises UserError for a pipe, a socket or a device: to write there may wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:  # a link to what is not there yet
        return
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror}",
            f"remove it: {shell.format_removal(path)}",
        ) from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UserError(
            f"{path} is neither a file nor a folder; nothing was written",
            f"remove it: {shell.format_removal(path)}",
        )


def refuse_folders(folder: Path, names: Sequence[str]) -> None:
    """Raises UserError where a folder lies at the place of a file that is to be written.

    Args:
        folder: the run folder, or another folder that is to be written.
        names: the files that are to be written in it, as names below it.
    """
    for name in names:
        path = folder / name
        if os.path.isdir(path):
            raise UserError(
                f"{path} is a folder, where a file belongs; nothing was written",
                f"rename it: {shell.format_renaming(path, Path(f'{path}.old'))}",
            )


def walk_entries(path: Path) -> Iterator[Path]:
    """Yields a path and, if it is a folder, all that lies below it; follows no links."""
    yield path
    if os.path.isdir(path) and not os.path.islink(path):
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                yield Path(folder, name)
