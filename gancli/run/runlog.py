"""What is said during a run: run.log gets all of it, the terminal the notes and the warnings."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gancli.render.messages import printable
from gancli.render.notes import NOTE
from gancli.run.logbook import explain_unwritable

logger = logging.getLogger("gancli")


class Shout(logging.Handler):
    """Prints notes and warnings to whatever sys.stderr is at that moment.

    Below a live display it is the display's.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record."""
        shout(f"{record.levelname.lower()}: {record.getMessage()}")


def shout(text: str) -> None:
    """Prints to stderr, if that is open."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # stderr is closed
            print(printable(text, sys.stderr), file=sys.stderr, flush=True)


class RunLog(logging.FileHandler):
    """The file run.log, in UTC.

    logging itself would print a traceback for every line that finds the disk full.
    """

    def __init__(self, path: Path):
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.warned = False
        formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging calls it
        """Says once that the disk does not take it."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.warned:
            self.warned = True
            shout(f"warning: run.log cannot be written ({error.strerror}); training goes on")


class Early(logging.Handler):
    """Holds what is said before there is a run folder.

    Notes and warnings are shown at once, each of them once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps one record."""
        message = f"{record.levelname.lower()}: {record.getMessage()}"
        if record.levelno >= NOTE:
            # A folder is listed by the scan, and again when it is loaded.
            if message in self.shown:
                return
            self.shown.add(message)
            shout(message)
        self.records.append(record)


@contextmanager
def keep_early_log() -> Iterator[None]:
    """Keeps logger "gancli" while the gates decide, for the run.log that `run_log` opens."""
    handler = Early()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def run_log(folder: Path) -> Iterator[None]:
    """Writes logger "gancli" to run.log while open; notes and warnings also to stderr.

    Of logger.exception the traceback goes to the file alone. Other handlers, such as Hydra's, do
    not see the lines meanwhile, or each would appear twice.
    """
    with explain_unwritable(folder):
        file = RunLog(Path(folder) / "run.log")
    stderr = Shout(NOTE)
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for early in [handler for handler in logger.handlers if isinstance(handler, Early)]:
        logger.removeHandler(early)
        for record in early.records:
            file.handle(record)
    logger.addHandler(file)
    logger.addHandler(stderr)
    try:
        yield
    finally:
        for handler in (file, stderr):
            logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        with suppress(OSError):
            file.close()
