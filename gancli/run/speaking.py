"""How a call from Python speaks: hints in the traceback, and warnings as Python's."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from gancli.errors import GanError, Problems
from gancli.render import messages, status

logger = logging.getLogger("gancli")


@contextmanager
def add_hints() -> Iterator[None]:
    """Puts the hint below the message: a caller in Python sees a traceback, and no panel."""
    try:
        yield
    except GanError as error:
        if isinstance(error, Problems) and not error.hint:
            error.hint = "\n".join(
                f"{message}: {hint}" if len(error.problems) > 1 else hint
                for message, hint in error.problems
                if hint
            )
        if error.hint and error.hint not in getattr(error, "__notes__", ()):
            error.add_note(error.hint)
        raise


class Collector(logging.Handler):
    """Keeps warnings of the logger in a list."""

    def __init__(self, found: list[str]):
        super().__init__(logging.WARNING)
        self.found = found

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps one message."""
        self.found.append(record.getMessage())


@contextmanager
def route_messages(*, quiet: bool, hush: bool = False) -> Iterator[None]:
    """Decides what is said during one call.

    Args:
        quiet: Warnings become Python's `UserWarning`s after the call, and nothing is printed; else
            all is shown as on a command line, with the line that tells what is being done.
        hush: Whether what the code below prints itself is swallowed as well, where it is quiet.
            The streams belong to the whole process, so only calls that print ask for it.
    """
    if not quiet:
        with status.shown():
            yield
        return
    nowhere = io.StringIO()
    collector = None
    try:
        with messages.collecting() as found:
            collector = Collector(found)
            logger.addHandler(collector)
            if hush:
                with redirect_stdout(nowhere), redirect_stderr(nowhere):
                    yield
            else:
                yield
    finally:
        if collector is not None:
            logger.removeHandler(collector)
            for message in dict.fromkeys(collector.found):
                warnings.warn(message, UserWarning, stacklevel=4)
