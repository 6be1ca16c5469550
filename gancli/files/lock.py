"""Locks on files that end with the process that holds them, by `fcntl` or Windows' `msvcrt`.

That a file is there locks nothing: it would outlive a process that is killed.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol, cast

# Whoever looks whether a file is locked holds a lock for an instant himself.
PATIENCE_S = 0.3  # how long a run that starts waits for such a look to end
LOOKS = 5  # Windows' byte locks are exclusive: two looks can meet, and then look again
PAUSE_S = 0.01
# The byte that is locked on Windows, beyond the end of any lock file: what is locked there can be
# neither read nor written by others, and a lock file says who holds it.
PLACE = 2**30
FOLDER_LOCK = ".lock"  # inside a folder, where the system locks no folders


class ByteLocks(Protocol):
    """What is used of `msvcrt`, which only Windows has."""

    LK_NBLCK: int
    LK_UNLCK: int

    def locking(self, fd: int, mode: int, nbytes: int, /) -> None:
        """Locks or frees bytes from the position of the file on."""


def take(file: IO[str] | IO[bytes]) -> None:
    """Takes the lock of an open file, which the process holds until it releases it or ends.

    Args:
        file: Open for writing.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: The disk or the system cannot lock.
    """
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            _take_at_once(file)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(PAUSE_S)


def wait_for(file: IO[str] | IO[bytes]) -> None:
    """Takes the lock of an open file as `take` does, however long another process holds it."""
    while True:
        with contextlib.suppress(BlockingIOError):
            take(file)
            return


def release(file: IO[str] | IO[bytes]) -> None:
    """Gives the lock of an open file back; closing the file, or a process's end, does it too."""
    with contextlib.suppress(OSError):
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_UN)
        except ImportError:
            locks = _load_byte_locks()
            _lock_byte(file, locks, locks.LK_UNLCK)


def is_taken(file: IO[str] | IO[bytes]) -> bool:
    """Looks whether another process holds the lock of a file that is open for reading.

    Where `fcntl` is, by a shared lock, so that any number may look at a time. Windows' byte locks
    are exclusive, so there a look that meets another looks again.

    Raises:
        OSError: The disk or the system cannot lock.
    """
    try:
        import fcntl
    except ImportError:
        return _is_byte_taken(file)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other processes of this computer out of a folder while it is open.

    By a lock on the folder itself, or on a file in it where folders cannot be opened (Windows). A
    network disk that locks nothing keeps nobody out.
    """
    try:
        import fcntl
    except ImportError:
        with open(folder / FOLDER_LOCK, "ab") as file:
            with contextlib.suppress(OSError):
                wait_for(file)
            try:
                yield
            finally:
                release(file)
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _take_at_once(file: IO[str] | IO[bytes]) -> None:
    try:
        import fcntl
    except ImportError:
        locks = _load_byte_locks()
        _lock_byte(file, locks, locks.LK_NBLCK)
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _load_byte_locks() -> ByteLocks:
    """Imports `msvcrt`; raises OSError on a system that has neither kind of lock."""
    try:
        return cast(ByteLocks, importlib.import_module("msvcrt"))
    except ImportError as error:
        raise OSError(errno.ENOLCK, "this system has no locks that we know") from error


def _lock_byte(file: IO[str] | IO[bytes], locks: ByteLocks, mode: int) -> None:
    """Locks or frees the byte at `PLACE`, and leaves the position of the file as it was.

    Raises:
        BlockingIOError: Another process holds it.
    """
    handle = file.fileno()
    before = os.lseek(handle, 0, os.SEEK_CUR)
    os.lseek(handle, PLACE, os.SEEK_SET)
    try:
        locks.locking(handle, mode, 1)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EDEADLK):  # its words for "held by another"
            raise BlockingIOError(errno.EWOULDBLOCK, "the file is locked") from error
        raise
    finally:
        os.lseek(handle, before, os.SEEK_SET)


def _is_byte_taken(file: IO[str] | IO[bytes]) -> bool:
    locks = _load_byte_locks()
    for _ in range(LOOKS):
        try:
            _lock_byte(file, locks, locks.LK_NBLCK)
        except BlockingIOError:
            time.sleep(PAUSE_S)
            continue
        _lock_byte(file, locks, locks.LK_UNLCK)
        return False
    return True
