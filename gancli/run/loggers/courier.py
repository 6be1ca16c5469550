"""Carries what a run logs to another program, in a thread: one that hangs holds up no step."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from functools import partial

from PIL import Image

from gancli.errors import reason_of
from gancli.render import status
from gancli.render.notes import note
from gancli.run.loggers.base import BestCheckpoint, RunLogger

GIVE_UP_AFTER = 3  # failures in a row
MOST_WAITING = 10_000  # entries; beyond them new ones are dropped
CLOSE_WITHIN_S = 60.0  # an upload may take a while; a server that hangs must not keep a run open
logger = logging.getLogger("gancli")


class Courier:
    """Hands entries to one logger in their order; what it raises is said once.

    Args:
        name: Of the logger, in messages.
        target: The logger.
    """

    def __init__(self, name: str, target: RunLogger):
        self.name = name
        self.target = target
        self.waiting: queue.Queue[Callable[[], object] | None] = queue.Queue(MOST_WAITING)
        self.lost = 0
        self.failures = 0
        # Not joined when the process ends: that would wait for a server that never answers.
        self.thread = threading.Thread(target=self.carry, name=f"gancli-{name}", daemon=True)
        self.thread.start()

    def carry(self) -> None:
        """Starts the logger and hands it what comes, until it is told that nothing more will."""
        try:
            place = self.target.start()
        except Exception as error:  # noqa: BLE001 - whatever a logger raises, the run goes on
            self.failures = GIVE_UP_AFTER
            self.say("cannot be started", error, level=logging.WARNING)
        else:
            note(logger, "%s: %s", self.name, place)
        for action in iter(self.waiting.get, None):
            self.hand_over(action)

    def hand_over(self, action: Callable[[], object]) -> None:
        """Calls action(), unless the logger was given up."""
        if self.failures >= GIVE_UP_AFTER:
            self.lost += 1
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001 - as in `carry`
            self.failures += 1
            level = logging.INFO if self.lost else logging.WARNING
            self.lost += 1
            self.say("cannot be written", error, level=level)
        else:
            self.failures = 0

    def say(self, what: str, error: Exception, *, level: int) -> None:
        """Says what went wrong; run.log has the traceback."""
        message = "%s %s (%s); training goes on without it"
        logger.log(level, message, self.name, what, reason_of(error), exc_info=error)

    def put(self, action: Callable[[], object]) -> None:
        """Adds an entry to those that wait."""
        try:
            self.waiting.put_nowait(action)
        except queue.Full:
            self.lost += 1

    def add_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve."""
        self.put(partial(self.target.add_scalars, step, values))

    def add_picture(self, step: int, tag: str, image: Image.Image) -> None:
        """Shows an image."""
        self.put(partial(self.target.add_picture, step, tag, image))

    def add_sound(self, step: int, tag: str, wav: bytes) -> None:
        """Plays a WAV file."""
        self.put(partial(self.target.add_sound, step, tag, wav))

    def add_text(self, step: int, tag: str, text: str) -> None:
        """Shows a string."""
        self.put(partial(self.target.add_text, step, tag, text))

    def note_best(self, best: BestCheckpoint) -> None:
        """Notes the best checkpoint so far."""
        self.put(partial(self.target.note_best, best))

    def close(self, *, failed: bool) -> None:
        """Lets the logger end, but waits no longer than CLOSE_WITHIN_S.

        Args:
            failed: Whether the run did not reach its end.
        """
        self.put(partial(self.target.finish, failed=failed))
        while self.waiting.full():  # the end must fit in, or the thread would never leave
            self.waiting.get_nowait()
            self.lost += 1
        self.waiting.put_nowait(None)
        with status.doing(f"closing {self.name}…"):
            self.thread.join(CLOSE_WITHIN_S)
        if self.thread.is_alive():
            message = "%s does not answer; %d entries may be lost"
            logger.warning(message, self.name, max(self.waiting.qsize(), 1) + self.lost)
        elif self.lost:
            logger.info("%s: %d entries could not be written", self.name, self.lost)
