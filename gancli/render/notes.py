"""Notes: what gancli decided, skipped or passed over by itself; shown once, and no warning."""

from __future__ import annotations

import logging

NOTE = 25  # between INFO, which only run.log gets, and WARNING
logging.addLevelName(NOTE, "NOTE")


def note(log: logging.Logger, message: str, *values: object) -> None:
    """Says a note through a logger: run.log keeps it, and the terminal shows it once."""
    log.log(NOTE, message, *values)
