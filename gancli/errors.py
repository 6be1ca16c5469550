"""The errors that a user is meant to read: one sentence, one hint, an exit code."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

Problem = tuple[str, str]  # what is wrong and where, what to type instead
# What a command may end with, and what that says; `gan --help` and docs/exit-codes.md show it.
EXIT_CODES = {
    0: "done",
    1: "failed: an error that is not the user's",
    2: "the input is wrong: a key, a value, a file",
    3: "stopped by a policy: the loss is not finite, or the watchdog",
    75: "try again later: the run folder is in use, the disk is full, or SIGUSR1 or SIGUSR2",
    129: "SIGHUP: the terminal was closed; the run was saved",
    130: "SIGINT (Ctrl-C); the run was saved",
    143: "SIGTERM; the run was saved",
}


class GanError(Exception):
    """Ends a command with a message instead of a traceback; `code` is the exit code."""

    code = 1
    alone = False  # met by one rank of several, which then tells it; what all meet rank 0 tells

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles by attributes: a sweep's job may end in another process; constructors differ."""
        return restore_error, (type(self), self.args, self.__dict__)


def restore_error(
    kind: type[GanError], args: tuple[object, ...], attributes: dict[str, object]
) -> GanError:
    """Makes an error again that another process raised."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class UserError(GanError):
    """The input is wrong: `message` says what and where, `hint` what to type instead."""

    code = 2


class Problems(UserError):
    """Several mistakes of one command, reported together."""

    def __init__(self, problems: list[Problem]):
        super().__init__("; ".join(message for message, _ in problems))
        self.problems = problems


class Stopped(GanError):
    """A policy ended the run: the loss is not finite, or a watchdog barked."""

    code = 3


class Diverged(Stopped):
    """The run has diverged, and might not with a new random seed.

    Attributes:
        sound: Whether its weights are worth saving.
        since: The step up to which all was well, as far as that is known.
    """

    def __init__(self, message: str, hint: str = "", *, sound: bool, since: int | None = None):
        super().__init__(message, hint)
        self.sound = sound
        self.since = since


class Pruned(Stopped):
    """A search has ended the run, which was worse than its others."""


class TemporaryFailure(GanError):
    """Try again later: the run folder is locked by another process, or the disk is full."""

    code = 75


class RankLost(GanError):
    """Another rank has ended, or does not answer; whoever raises this waited for it."""


class Elsewhere(GanError):
    """Another rank has failed and says why itself; whoever raises this only ends with it."""


class Interrupted(GanError):
    """A signal ended the run after saving.

    Attributes:
        code: 130 (SIGINT), 143 (SIGTERM), 129 (SIGHUP) or 75 (USR1, USR2).
    """

    def __init__(self, message: str, hint: str = "", *, code: int):
        super().__init__(message, hint)
        self.code = code


def disk_is_full(error: BaseException) -> bool:
    """Is it the system's word for a disk, or a user's share of it, without room?"""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def unwritable(what: object, error: OSError, hint: str = "") -> GanError:
    """Says what cannot be written, and why.

    Args:
        what: The file or folder, as the user knows it.
        error: The reason that the system gave.
        hint: What to type instead.

    Returns:
        TemporaryFailure where the disk is full, else UserError with the hint.
    """
    reason = error.strerror or error
    if disk_is_full(error):
        return TemporaryFailure(
            f"{what} cannot be written: {reason}", "make room, then type it again"
        )
    return UserError(f"{what} cannot be written: {reason}", hint)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def did_you_mean(words: Sequence[str]) -> str:
    """Asks whether one of these words was meant; empty where there are none."""
    return f"did you mean {' or '.join(repr(word) for word in words)}?" if words else ""


def reason_of(error: BaseException) -> str:
    """Tells why something was left out, in one line; an unexpected error by its type."""
    if isinstance(error, GanError):
        return f"{error.message}; {error.hint}" if error.hint else error.message
    words = str(error).strip().splitlines()
    return f"{type(error).__name__}: {words[0]}" if words else type(error).__name__
