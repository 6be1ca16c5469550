"""The errors that a user is meant to read: one sentence, one hint, an exit code."""

from __future__ import annotations


class GanError(Exception):
    """Ends a command with a message instead of a traceback. `code` becomes the exit code of the process."""

    code = 1

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint


class UserError(GanError):
    """The input is wrong: `message` says what and where, `hint` what to type instead."""

    code = 2


class Problems(UserError):
    """Several mistakes of one command, reported together. `problems`: (message, hint) pairs."""

    def __init__(self, problems: list[tuple[str, str]]):
        super().__init__("; ".join(message for message, _ in problems))
        self.problems = problems


class Stopped(GanError):
    """A policy ended the run: the loss is not finite, or a watchdog barked."""

    code = 3


class Lost(Stopped):
    """The run has gone wrong, and other draws might not. `sound`: are its weights worth saving?"""

    def __init__(self, message: str, hint: str = "", *, sound: bool):
        super().__init__(message, hint)
        self.sound = sound


class Busy(GanError):
    """Try again later: the run folder is locked by another process, or the disk is full."""

    code = 75


class Interrupted(GanError):
    """A signal ended the run after saving; `code` is 130 (SIGINT), 143 (SIGTERM) or 75 (USR1, USR2)."""

    def __init__(self, message: str, hint: str = "", *, code: int):
        super().__init__(message, hint)
        self.code = code
