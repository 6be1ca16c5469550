"""The sign of life: one line that says what a command is doing, kept fresh by a daemon thread.

On a terminal the line is redrawn in place every second and leaves no trace; in a pipe a line is
added every ten seconds.
It goes to stderr, so what a command prints for other programs stays clean.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TextIO

log = logging.getLogger("gancli")

FIRST_AFTER_S = 0.6  # the first line must be there within a second
TERMINAL_EVERY_S = 1.0
PIPE_EVERY_S = 10.0
CLOCK_AFTER_S = 1.0  # what takes less needs no clock beside it
REDRAW_S = 0.1  # a count that runs fast would flicker
HOLD_S = 0.3  # for whoever reads our pipe, and may write it to the terminal where the line stands
PATIENCE_S = 1.0  # for a terminal that does not take what is written to it
CLEAR = "\r\x1b[K"
LOADING = "loading torch…"


class Ticker:
    """Calls `tick` every so many seconds, from a daemon thread, until it is stopped.

    What `tick` raises ends the ticking and is noted in the log; the run does not feel it.
    """

    def __init__(self, tick: Callable[[], None], *, every_s: float, first_s: float | None = None):
        self.tick = tick
        self.every_s = every_s
        self.first_s = every_s if first_s is None else first_s
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, name="gancli-progress", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self.thread.start()

    def run(self) -> None:
        """Calls `tick` again and again; the thread runs it."""
        pause = self.first_s
        while not self.stopped.wait(pause):
            pause = self.every_s
            try:
                self.tick()
            except Exception:  # a fault in what is shown must not end what is done
                log.info("the line of progress is no longer drawn", exc_info=True)
                return

    def stop(self) -> None:
        """Ends all drawing, unless the terminal has hung in the middle of a line."""
        self.stopped.set()
        if self.thread.is_alive() and self.thread is not threading.current_thread():
            self.thread.join(PATIENCE_S)


class Status:
    """The line of one command. `say` sets what it says; `close` takes it away.

    It falls silent for good when whoever reads it has gone.

    Args:
        stream: where it goes.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.terminal = is_terminal(stream)
        self.text = ""
        self.since = 0.0
        self.written_at: float | None = None
        self.visible = False  # a line of ours stands on the terminal
        self.mid_line = False  # another's line is not yet ended there
        self.pauses = 0
        self.silent = False
        self.held_until = 0.0  # until then no line is drawn
        self.lock = threading.RLock()
        self.ticker: Ticker | None = None
        self.replaced: dict[str, tuple[TextIO, Beside]] = {}

    def say(self, text: str, *, goes_on: bool = False) -> None:
        """Sets what is being done from now on.

        Args:
            text: what is being done.
            goes_on: it is the same work as before, and its clock is not set back.
        """
        now = time.monotonic()
        if not goes_on:
            self.since = now
        self.text = text
        if self.ticker is None:
            self.begin()
        fresh = self.written_at is None or now - self.written_at >= REDRAW_S
        if self.terminal and fresh:
            self.draw()
        elif self.written_at is None and text.endswith(LOADING) and "torch" not in sys.modules:
            self.draw()  # at once: while its libraries are loaded no other thread may run

    def begin(self) -> None:
        """Starts the thread that keeps the line fresh."""
        if self.pauses == 0:
            self.step_between()
        self.ticker = Ticker(self.tick, every_s=TERMINAL_EVERY_S, first_s=FIRST_AFTER_S)
        self.ticker.start()

    def tick(self) -> None:
        """Draws the line when it is due; the thread calls it."""
        waited = None if self.written_at is None else time.monotonic() - self.written_at
        # Half a tick early rather than a whole one late.
        if self.terminal or waited is None or waited >= PIPE_EVERY_S - 0.5 * TERMINAL_EVERY_S:
            self.draw()

    def draw(self) -> None:
        """Draws the line now, unless the terminal is held by others."""
        if not self.lock.acquire(timeout=PATIENCE_S):
            return
        try:
            if self.silent or self.pauses or time.monotonic() < self.held_until:
                return
            if not self.text:
                self.erase()
                return
            if self.terminal and not self.mid_line:
                self.write(CLEAR + self.line())
                self.visible = True
            elif not self.terminal:
                self.write(self.line() + "\n")
            self.written_at = time.monotonic()
        finally:
            self.lock.release()

    def line(self) -> str:
        """Formats the line: what is being done, and for how long."""
        seconds = time.monotonic() - self.since
        clock = f" {duration(seconds)}" if seconds >= CLOCK_AFTER_S else ""
        if not self.terminal:
            return self.text + clock
        return shortened(self.text, width_of(self.stream) - 1 - len(clock)) + clock

    def erase(self) -> None:
        """Takes the line off the terminal, if one stands there."""
        if self.visible:
            self.write(CLEAR)
            self.visible = False

    def write(self, text: str) -> None:
        """Writes past Python's buffer; falls silent where nobody reads."""
        if self.silent:
            return
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        data = encodable(text, encoding).encode(encoding, "replace")
        try:
            self.stream.flush()
            descriptor = self.stream.fileno()
        except (AttributeError, OSError, ValueError):
            descriptor = None
        try:
            if descriptor is None:  # a stream of a test or a notebook
                self.stream.write(data.decode(encoding))
                self.stream.flush()
            else:
                # Past Python's buffer: what a closed pipe leaves in it would change the exit code
                os.write(descriptor, data)
        except (OSError, ValueError):
            self.silent = True

    def step_between(self) -> None:
        """Takes the line away before anything else is written to the same terminal.

        What goes into a pipe may come out there too (`gan show | cat`).
        """
        for name in ("stdout", "stderr") if self.terminal else ():
            stream = getattr(sys, name)
            if stream is not None and (is_terminal(stream) or is_pipe(stream)):
                self.replaced[name] = stream, Beside(stream, self)
                setattr(sys, name, self.replaced[name][1])

    def step_back(self) -> None:
        """Puts the usual sys.stdout and sys.stderr back."""
        for name, (stream, beside) in self.replaced.items():
            if getattr(sys, name) is beside:  # else somebody else has put another there
                setattr(sys, name, stream)
        self.replaced.clear()

    def pause(self) -> None:
        """Draws nothing until `resume`; pauses may be nested."""
        with self.lock:
            self.pauses += 1
            self.erase()
        if self.pauses == 1:
            self.step_back()

    def resume(self) -> None:
        """Draws again, after the last of the pauses."""
        with self.lock:
            self.pauses -= 1
        if self.pauses == 0 and self.ticker is not None:
            self.step_between()

    def close(self) -> None:
        """Takes the line away and draws no more."""
        if self.ticker is not None:
            self.ticker.stop()
        held = self.lock.acquire(timeout=PATIENCE_S)
        self.text = ""
        self.erase()
        if held:
            self.lock.release()
        self.step_back()


class Beside:
    """sys.stdout or sys.stderr while a status line stands on the terminal that it may end on.

    The line is taken away before anything is written.
    """

    def __init__(self, stream: TextIO, status: Status):
        self.stream = stream
        self.status = status
        self.pipe = not is_terminal(stream)

    def write(self, text: str) -> int:
        """Takes the line away and writes."""
        with self.status.lock:
            self.make_room()
            written = self.stream.write(text)
            if text:
                self.status.mid_line = not text.endswith("\n")
            return written

    def flush(self) -> None:
        """Writes what a pipe has held back; the line must not stand in its way."""
        with self.status.lock:
            if self.pipe:
                self.make_room()
            self.stream.flush()

    def make_room(self) -> None:
        """Takes the line away, for a pipe as long as its reader may need."""
        self.status.erase()
        if self.pipe:
            self.status.held_until = time.monotonic() + HOLD_S

    def writelines(self, lines: list[str]) -> None:
        """Takes the line away and writes."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)


_current: ContextVar[Status | None] = ContextVar("status", default=None)


@contextmanager
def shown() -> Iterator[None]:
    """Shows on stderr what `say` says, while a command runs.

    Of several ranks the first alone speaks.
    """
    first = os.environ.get("RANK", "0") == "0"
    if _current.get() is not None or sys.stderr is None or not first:
        yield
        return
    status = Status(sys.stderr)
    token = _current.set(status)
    try:
        yield
    finally:
        _current.reset(token)
        status.close()


def current() -> Status | None:
    """Finds the line of the command that runs, if it has one."""
    return _current.get()


def say(text: str, *, goes_on: bool = False) -> None:
    """Says what is being done, such as "reading 12,000 files…"; silent in a notebook or a test.

    goes_on: it is the same work as before, such as the next number of a count.
    """
    status = _current.get()
    if status is not None:
        status.say(text, goes_on=goes_on)


@contextmanager
def doing(text: str) -> Iterator[None]:
    """Says what is being done in a block; afterwards the line says what it said before."""
    status = _current.get()
    if status is None:
        yield
        return
    before = status.text
    since = status.since
    status.say(text)
    try:
        yield
    finally:
        status.say(before)
        status.since = since  # its clock goes on


@contextmanager
def paused() -> Iterator[None]:
    """Draws nothing meanwhile: somebody else has the terminal."""
    status = _current.get()
    if status is None:
        yield
        return
    status.pause()
    try:
        yield
    finally:
        status.resume()


def is_terminal(stream: TextIO) -> bool:
    """Says whether a line can be redrawn there."""
    with suppress(OSError, ValueError, AttributeError):
        return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown", "")
    return False


def is_pipe(stream: TextIO) -> bool:
    """Does another program read it as it is written?"""
    with suppress(OSError, ValueError, AttributeError):
        return stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    return False


def width_of(stream: TextIO) -> int:
    """Returns the columns of the terminal now: its window may be resized."""
    with suppress(OSError, ValueError, AttributeError):
        return os.get_terminal_size(stream.fileno()).columns or 80
    return 80


def shortened(text: str, width: int) -> str:
    """Cuts `text` to at most `width` columns, where an East Asian letter takes two."""
    columns = 0
    for place, letter in enumerate(text):
        columns += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if columns > width:
            return text[: max(0, place - 1)] + "…" if width > 0 else ""
    return text


def encodable(text: str, encoding: str) -> str:
    """Writes three dots for the one letter of ours that old encodings lack."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.replace("…", "...")
    return text


def duration(seconds: float) -> str:
    """Formats seconds as 1:02, 3:04:05 or 2d 03:04:05."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days}d {h:02}:{m:02}:{s:02}"
    return f"{h}:{m:02}:{s:02}" if h else f"{m}:{s:02}"
