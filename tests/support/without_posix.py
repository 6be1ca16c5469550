"""A process in which Python has about what it has on Windows: `python without_posix.py WORDS` is
`gan WORDS`, and without words every module is imported.

It stands for a system that nobody here has. What it cannot show: how Windows' own calls behave.
"""

from __future__ import annotations

import enum
import errno
import importlib
import os
import pkgutil
import signal
import sys
import types
from pathlib import Path

MODULES = ("fcntl", "resource", "termios", "tty", "pty", "pwd", "grp", "syslog", "posix")
OF_OS = (
    *("O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW", "O_DIRECTORY", "fork", "forkpty", "mkfifo"),
    *("getuid", "geteuid", "getgid", "getegid", "getloadavg", "uname"),
    *("getpgid", "setsid", "killpg", "chown", "sysconf", "openpty", "getrusage"),
)
SIGNALS = {  # what signal.Signals holds on Windows
    "SIGINT": 2,
    "SIGILL": 4,
    "SIGFPE": 8,
    "SIGSEGV": 11,
    "SIGTERM": 15,
    "SIGBREAK": 21,
    "SIGABRT": 22,
}


def make_byte_locks() -> types.ModuleType:
    """Makes a stand-in for msvcrt: exclusive locks that are never waited for."""
    import fcntl

    def locking(handle: int, mode: int, count: int) -> None:
        assert count == 1 and os.lseek(handle, 0, os.SEEK_CUR) == 2**30
        if mode == 0:
            fcntl.flock(handle, fcntl.LOCK_UN)
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(errno.EACCES, "Permission denied") from error

    found = types.ModuleType("msvcrt")
    found.locking = locking
    found.LK_UNLCK = 0
    found.LK_NBLCK = 2
    return found


def take_posix_away(*, byte_locks: bool = True) -> None:
    """Blocks the modules, functions and signals that only POSIX has, for all that comes next."""
    # What others import of them is theirs to have on Windows.
    for name in ("torch", "torchvision", "hydra", "numpy", "rich.live", "yaml", "subprocess"):
        importlib.import_module(name)
    import tensorboard.compat.proto.event_pb2  # noqa: F401
    import torch.distributed  # noqa: F401

    locks = make_byte_locks()
    if "posix" in sys.modules:
        sys.modules.pop("posix")
    for name in MODULES:
        sys.modules[name] = None
    if byte_locks:
        sys.modules["msvcrt"] = locks
    for name in OF_OS:
        if hasattr(os, name):
            delattr(os, name)
    for name in dir(signal):
        if name.startswith("SIG") and name[3:4].isalpha() and name not in SIGNALS:
            delattr(signal, name)
    signal.Signals = enum.IntEnum("Signals", SIGNALS)
    for name, number in SIGNALS.items():
        setattr(signal, name, signal.Signals(number))


def import_all() -> list[str]:
    """Imports every module of gancli; returns the names of those that cannot be imported."""
    import gancli

    failed = []
    for found in pkgutil.walk_packages(gancli.__path__, "gancli."):
        if found.name == "gancli.__main__":
            continue
        try:
            importlib.import_module(found.name)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is listed
            failed.append(f"{found.name}: {type(error).__name__}: {error}")
    return failed


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    take_posix_away()
    if len(sys.argv) == 1:
        problems = import_all()
        print("\n".join(problems) or "all imported")
        sys.exit(bool(problems))
    from gancli.cli import main

    sys.exit(main(sys.argv[1:]))
