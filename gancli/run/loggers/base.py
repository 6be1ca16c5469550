"""What a logger of another program is given and must do, and the name it knows a run by."""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from gancli.files import atomic, reading

NAMES = "loggers.json"  # in the run folder: logger -> the id under which it knows the run
MOST_BYTES = 2**16  # of that file
log = logging.getLogger("gancli")


@dataclass(frozen=True)
class BestCheckpoint:
    """The best evaluation of a run so far, and the file that holds its weights.

    Attributes:
        key: The metric, such as "fd_self".
        value: What it reached.
        step: Real batches drawn.
        path: Of best.pt.
    """

    key: str
    value: float
    step: int
    path: Path

    def describe(self) -> dict[str, str | float]:
        """Names its facts as all loggers show them."""
        return {
            f"best/{self.key}": self.value,
            "best/step": self.step,
            "best/checkpoint": str(self.path),
        }


@dataclass(frozen=True)
class Session:
    """What a logger is told of the session that it follows.

    Attributes:
        folder: Of the run.
        step: 0, or the step that the run goes on from.
        config: The frozen config as plain data.
        ids: Logger -> the id under which an earlier session was logged.
    """

    folder: Path
    step: int
    config: Mapping[str, Any]
    ids: Mapping[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)  # each logger has its thread

    def make_id(self) -> str:
        """Makes an id that no other run has, even where folders are named alike."""
        return f"{self.folder.name}-{secrets.token_hex(2)}"

    def keep_id(self, name: str, run_id: str) -> None:
        """Notes the id for the next session; says so where that one will begin a new run.

        Args:
            name: Of the logger.
            run_id: Under which it knows the run.
        """
        with self.lock:
            text = json.dumps(read_ids(self.folder) | {name: run_id}, indent=1) + "\n"
            try:
                atomic.write_text(self.folder / NAMES, text)
            except OSError as error:
                reason = error.strerror or error
                log.warning("%s: %s; a resumed run will be a new one in %s", NAMES, reason, name)


def read_ids(folder: Path) -> dict[str, str]:
    """Reads under which ids the loggers know a run; none where nothing can be read."""
    with suppress(reading.Unreadable, ValueError):
        found = json.loads(reading.read_text(folder / NAMES, most=MOST_BYTES) or "{}")
        if isinstance(found, dict):
            return {str(key): value for key, value in found.items() if isinstance(value, str)}
    return {}


class RunLogger(Protocol):
    """One run in another program. Its calls come in order, from one thread, and may raise."""

    def start(self) -> str:
        """Begins the run there, or goes on with it.

        Returns:
            Where it can be looked at.
        """

    def add_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve."""

    def add_picture(self, step: int, tag: str, image: Image.Image) -> None:
        """Shows an image."""

    def add_sound(self, step: int, tag: str, wav: bytes) -> None:
        """Plays a WAV file."""

    def add_text(self, step: int, tag: str, text: str) -> None:
        """Shows a string."""

    def note_best(self, best: BestCheckpoint) -> None:
        """Notes the best checkpoint so far."""

    def finish(self, *, failed: bool) -> None:
        """Ends the session there."""
