"""What a run shows while it trains: a live panel on a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from gancli.render.messages import CONTROL
from gancli.render.status import PIPE_EVERY_S, TERMINAL_EVERY_S, Status, Ticker, duration, encodable

PLAIN_EVERY_S = 5.0
LIVE_EVERY_S = 0.2  # drawing takes a millisecond, which a run that logs every step would feel
TICK_S = 0.25  # how often the thread looks whether a step is done
FORECAST_AFTER_S = 1.0  # of training: sooner, the quick steps of a small network would say little
SLOW_STEP_S = 20.0  # no warm-up of a library takes that long, so one step tells enough
LONG_S = 3 * 86_400.0  # a run that takes longer is probably meant for another machine
# the speed is the mean over the last 16 log lines, or over 8 s where lines come faster
RATE_POINTS = 16
RATE_EVERY_S = 0.5
GAP = "  "
PANEL_WIDTH = 100  # on a wider screen the numbers would drift apart


class Clock(Protocol):
    """Where the training is: `game.Progress`, moved by the trainer and only read here."""

    step: int
    nimg: int


class Display:
    """Shows the progress of one run, in a `with` block.

    Log lines come by `update`. Between them a daemon thread shows that the run lives: every second
    on a terminal, every ten in a pipe. Drawing takes a millisecond and never raises into training:
    when the terminal or the pipe goes away it falls silent.

    Args:
        title: the name of the run.
        total_steps: steps of the whole run.
        start_step: the step at which this session began.
        batch_size: real images a step.
        console: where to draw; the terminal or the pipe by default.
        progress: where the training is, for the thread to read.
        status: what is being done beside the steps, such as saving.
        lighter: what to try, as KEY=VALUE, where the run would take days.
    """

    def __init__(
        self,
        *,
        title: str,
        total_steps: int,
        start_step: int,
        batch_size: int,
        console: Console | None = None,
        progress: Clock | None = None,
        status: Status | None = None,
        lighter: tuple[str, ...] = (),
    ):
        self.console = console or default_console()
        self.live = (
            Live(console=self.console, auto_refresh=False) if on_terminal(self.console) else None
        )
        self.title = printable(title, self.console)
        self.total_steps = total_steps
        self.start_step = start_step
        self.batch_size = batch_size
        self.progress = progress
        self.status = status
        self.silent = False
        self.shown_at: float | None = None
        self.written_at = 0.0  # the last sign of life
        self.pending: Report | None = None  # the newest state, if it came too soon to be shown
        self.values: dict[str, float] = {}
        self.memory_bytes: int | None = None
        self.started = time.monotonic()
        self.history = deque([(self.started, start_step)], maxlen=RATE_POINTS)
        self.forecast = Forecast(total_steps=total_steps, batch_size=batch_size, lighter=lighter)
        self.lock = threading.RLock()
        self.ticker = Ticker(self.tick, every_s=TICK_S)

    def __enter__(self) -> Display:
        self.started = time.monotonic()
        self.history[0] = self.started, self.history[0][1]
        if self.live is None:
            self.attempt(self.print, self.title)
        else:
            self.attempt(self.live.start)
            # Live hides the cursor; a run that is killed could not bring it back.
            self.attempt(self.console.show_cursor, True)
        if self.progress is not None:
            if self.live is not None:
                self.attempt(self.show, self.current(self.progress))
            self.ticker.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ticker.stop()
        if self.pending is not None:
            self.attempt(self.show, self.pending)
        elif self.live is not None and self.progress is not None:  # what stays says what was
            self.attempt(self.show, self.current(self.progress))
        if self.live is not None:
            self.attempt(self.live.stop)
            # Does nothing twice; a silenced one must still give stdout and stderr back
            self.live.stop()

    def update(
        self, step: int, nimg: int, values: dict[str, float], *, memory_bytes: int | None
    ) -> None:
        """Shows a log line.

        Args:
            step: real batches drawn so far.
            nimg: real images shown so far.
            values: the scalars of the line ("d/adv", "d/real", ...).
            memory_bytes: the peak of memory so far; None if unknown.
        """
        if self.silent:
            return
        with self.lock:
            now = time.monotonic()
            self.values = values
            self.memory_bytes = memory_bytes
            if len(self.history) > 1 and now - self.history[-2][0] < RATE_EVERY_S:
                self.history.pop()
            self.history.append((now, step))
            self.pending = self.report(step=step, nimg=nimg)
            pause = PLAIN_EVERY_S if self.live is None else LIVE_EVERY_S
            if self.shown_at is None or now - self.shown_at >= pause or step >= self.total_steps:
                self.attempt(self.show, self.pending)
                self.shown_at = now
                self.pending = None

    def tick(self) -> None:
        """Tells the time of the first step, and shows that the run lives; the thread calls it."""
        progress = self.progress
        if progress is None:
            return
        with self.lock:
            now = time.monotonic()
            step = progress.step
            left = max(0, self.total_steps - step)
            line = self.forecast.line(step - self.start_step, now - self.started, left=left)
            if line:
                self.note(line)
            if self.shown_at is None and step > self.history[-1][1]:  # no log line yet
                self.history.append((now, step))
            if self.live is not None and now - self.written_at >= TERMINAL_EVERY_S:
                self.attempt(self.show, self.current(progress))
            elif self.live is None and now - self.written_at >= PIPE_EVERY_S:
                if self.pending is not None:
                    self.attempt(self.show, self.pending)
                    self.pending = None
                else:
                    self.attempt(self.print, self.current(progress).line(brief=True))

    def current(self, progress: Clock) -> Report:
        """Collects the state where the training is now."""
        return self.report(step=progress.step, nimg=progress.nimg)

    def report(self, *, step: int, nimg: int) -> Report:
        """Collects the state now, with the values of the last log line."""
        now = time.monotonic()
        # Over the last points, not since the start: a run that slows down shows it.
        then, first = self.history[0]
        last, newest = self.history[-1]
        return Report(
            step=step,
            nimg=nimg,
            values=self.values,
            total_steps=self.total_steps,
            batch_size=self.batch_size,
            steps_per_s=(newest - first) / (last - then) if last > then else 0.0,
            elapsed_s=now - self.started,
            memory_bytes=self.memory_bytes,
            doing=self.doing(now),
        )

    def doing(self, now: float) -> str:
        """Says what the run is at, where that is not a step like any other."""
        if self.status is not None and self.status.text:
            return f"{self.status.text} {duration(now - self.status.since)}"
        if self.progress is not None and self.progress.step == self.start_step:
            return f"first step… {duration(now - self.started)}"
        return ""

    def note(self, text: str) -> None:
        """Prints a line of its own, above the panel: a checkpoint was saved, a grid written."""
        self.attempt(self.print, printable(text, self.console))

    def show(self, report: Report) -> None:
        """Draws a state: the panel on a terminal, a line in a pipe."""
        if self.live is None:
            self.print(report.line())
        else:
            self.live.update(report.panel(self.title, console=self.console), refresh=True)
            self.written_at = time.monotonic()

    def print(self, text: str) -> None:
        """Prints a line, above the panel where there is one."""
        if self.live is None:
            # Rich would break the line, and answers a closed pipe by ending the process
            print(printable(text, self.console), file=self.console.file, flush=True)
            self.written_at = time.monotonic()
        else:
            self.console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def attempt(self, draw: Callable[..., object], *arguments: object) -> None:
        """Calls `draw`, and never again once the terminal or the pipe is gone."""
        with self.lock:
            if not self.silent:
                self.draw_safely(draw, *arguments)

    def draw_safely(self, draw: Callable[..., object], *arguments: object) -> None:
        """Calls `draw`; falls silent where the terminal or the pipe is gone."""
        try:
            draw(*arguments)
        except (OSError, ValueError, SystemExit) as error:
            # rich goes quiet and exits on a broken pipe; another SystemExit or ValueError is none
            # of ours.
            closed = (
                self.console.quiet if isinstance(error, SystemExit) else self.console.file.closed
            )
            if not (isinstance(error, OSError) or closed):
                raise
            self.silence()

    def silence(self) -> None:
        """Draws nothing any more."""
        self.silent = self.console.quiet = True
        if self.console.file is sys.__stdout__:
            # Python complains about what is still buffered, and exits with 120, unless it can be
            # written somewhere.
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.console.file.fileno())
                os.close(nowhere)


class Forecast:
    """Says once how long the first step took and the run will take.

    And once, where that is days, what would be lighter.
    """

    def __init__(self, *, total_steps: int, batch_size: int, lighter: tuple[str, ...]):
        self.total_steps = total_steps
        self.batch_size = batch_size
        self.lighter = lighter
        self.told = False
        self.doubt: tuple[int, float] | None = None  # steps and seconds at the first forecast

    def line(self, steps: int, seconds: float, *, left: int) -> str:
        """Tells the forecast when it is due.

        Args:
            steps: steps of training so far.
            seconds: seconds of training so far.
            left: steps to come.

        Returns:
            A line to print now, or "".
        """
        if steps < 1 or seconds < FORECAST_AFTER_S or left == 0:
            return ""
        if not self.told:
            self.told = True
            what = "first step" if steps == 1 else f"first {steps:,} steps"
            ahead = left * seconds / steps
            line = (
                f"{what} {seconds:.1f} s, {speed(steps * self.batch_size / seconds)}: "
                f"{left:,} more take about {duration(ahead)}"
            )
            if ahead < LONG_S:
                return line
            if seconds >= SLOW_STEP_S:
                return f"{line}; {too_long(seconds / steps, self.lighter)}"
            self.doubt = steps, seconds  # the first step warms libraries up: wait for more
            return line
        if self.doubt is None or steps < self.doubt[0] + 2:
            return ""
        step_s = (seconds - self.doubt[1]) / (steps - self.doubt[0])
        self.doubt = None
        if left * step_s < LONG_S:
            return ""
        return (
            f"{left:,} more steps take about {duration(left * step_s)}; "
            f"{too_long(step_s, self.lighter)}"
        )


def too_long(step_s: float, lighter: tuple[str, ...]) -> str:
    """Says what to try where a run would take days, at `step_s` seconds a step."""
    fits = max(1, int(86_400 / step_s))
    # One digit: a forecast knows no more.
    rounded = int(float(f"{fits:.1g}"))
    tries = [*lighter, f"trainer.steps={rounded} (about a day)"]
    return f"too long for this machine; try {', '.join(tries)}"


class Report:
    """One log line in words, which both ways of showing it share.

    Args:
        step: real batches drawn so far.
        nimg: real images shown so far.
        values: the scalars of the last log line.
        total_steps: steps of the whole run.
        batch_size: real images a step.
        steps_per_s: the speed now, 0 if unknown.
        elapsed_s: seconds since this session began.
        memory_bytes: the peak of memory, None if unknown.
        doing: what the run does, where that is no step.
    """

    def __init__(
        self,
        *,
        step: int,
        nimg: int,
        values: dict[str, float],
        total_steps: int,
        batch_size: int,
        steps_per_s: float,
        elapsed_s: float,
        memory_bytes: int | None,
        doing: str = "",
    ):
        left = max(0, total_steps - step)
        self.step = step
        self.total = total_steps
        self.scores = {
            short(key, values): number(value) for key, value in values.items() if is_score(key)
        }
        self.losses = {key: number(value) for key, value in values.items() if not is_score(key)}
        self.kimg = f"{nimg / 1000:.1f}"
        self.total_kimg = f"{(nimg + left * batch_size) / 1000:.1f}"
        self.speed = speed(steps_per_s * batch_size)
        self.eta = duration(left / steps_per_s) if steps_per_s > 0 else "-"
        self.elapsed = duration(elapsed_s)
        self.memory = "-" if memory_bytes is None else size_of(memory_bytes)
        self.doing = doing

    def line(self, *, brief: bool = False) -> str:
        """Formats one line of plain text.

        Args:
            brief: leaves out the values, which an earlier line has shown.
        """
        parts = [f"step {self.step}/{self.total}", f"kimg {self.kimg}"]
        if brief:
            return GAP.join([*parts, self.speed, f"eta {self.eta}", *filter(None, [self.doing])])
        parts += [f"{name} {value}" for name, value in self.losses.items()]
        if self.scores:
            parts.append(" ".join(f"{name} {value}" for name, value in self.scores.items()))
        return GAP.join([*parts, self.speed, f"eta {self.eta}", f"mem {self.memory}"])

    def panel(self, title: str, *, console: Console) -> Panel:
        """Formats the panel of a terminal, at most PANEL_WIDTH columns wide."""
        outer = min(console.width, PANEL_WIDTH)
        width = max(1, outer - 4)
        cells = [
            ("step", f"{self.step}/{self.total}"),
            ("kimg", f"{self.kimg}/{self.total_kimg}"),
            ("", self.speed),
            ("eta", self.eta),
            ("elapsed", self.elapsed),
            ("mem", self.memory),
            *([("", encodable(self.doing, console.encoding))] if self.doing else []),
        ]
        rows = [
            bar(self.step / max(1, self.total), width, ascii_only=console.options.ascii_only),
            flow(cells, width),
        ]
        if self.losses or self.scores:
            rows += [Text(), table(((self.losses, "cyan"), (self.scores, "magenta")), width)]
        return Panel(
            Text("\n").join(rows),
            title=Text(title, "bold"),
            title_align="left",
            border_style="dim",
            width=outer,
        )


def bar(share: float, width: int, *, ascii_only: bool) -> Text:
    """Draws a bar and its percentage.

    Both ends differ in shape, not in colour alone: NO_COLOR takes that away.
    """
    done, rest = "=-" if ascii_only else "━─"
    length = max(1, width - 5)
    filled = int(length * min(1.0, share))
    return Text.assemble(
        (done * filled, "green"), (rest * (length - filled), "dim"), f"{int(100 * share):4}%"
    )


def flow(cells: list[tuple[str, str]], width: int) -> Text:
    """Breaks (name, value) pairs into lines of at most `width`; a pair stays together."""
    text = Text()
    column = 0
    for name, value in cells:
        length = len(f"{name} {value}".strip())
        if column and column + len(GAP) + length > width:
            text.append("\n")
            column = 0
        elif column:
            text.append(GAP)
            column += len(GAP)
        text.append(f"{name} " if name else "", "dim").append(value)
        column += length
    return text


def table(groups: tuple[tuple[dict[str, str], str], ...], width: int) -> Text:
    """Sets names and values, each group from a new line in its style.

    Columns of one width, so that numbers keep their place.
    """
    longest = max(len(name) for cells, _ in groups for name in cells)
    # At least as wide as -1.2e-05, or columns would jump when a number grows.
    digits = max(7, *(len(value) for cells, _ in groups for value in cells.values()))
    cell = longest + 1 + digits
    columns = max(1, (width + len(GAP)) // (cell + len(GAP)))
    text = Text()
    for cells, style in groups:
        for i, (name, value) in enumerate(cells.items()):
            if i % columns:
                text.append(GAP)
            elif text:
                text.append("\n")
            text.append(name.ljust(longest) + " ", "dim").append(value.rjust(digits), style)
    return text


def is_score(key: str) -> bool:
    """Says whether a key is a mean score, of real images or of fakes."""
    return last(key) in ("real", "fake")


def last(key: str) -> str:
    """Returns the last part of a key: "real" of "d/real"."""
    return key.rsplit("/", 1)[-1]


def short(key: str, values: dict[str, float]) -> str:
    """Shortens "d/real" to "real", unless another discriminator has such a key too."""
    return last(key) if [last(other) for other in values].count(last(key)) == 1 else key


def number(value: float) -> str:
    """Writes enough digits to tell something: 1.21, 0.0031, 1.2e-05, 3.4e+06, nan."""
    size = abs(value)
    if size == 0 or 0.1 <= size < 1000:
        return f"{value:.2f}"
    return f"{value:.2g}"


def speed(images_per_s: float) -> str:
    """Writes 1234 img/s, 3.2 img/s or 12.5 s/img: never a rounded nothing."""
    if images_per_s <= 0:
        return "- img/s"
    if images_per_s >= 100:
        return f"{images_per_s:.0f} img/s"
    return f"{images_per_s:.1f} img/s" if images_per_s >= 1 else f"{1 / images_per_s:.1f} s/img"


def size_of(n_bytes: int) -> str:
    """Formats a number of bytes: 850 MB or 2.3 GB."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def printable(text: str, console: Console) -> str:
    r"""Writes what the terminal's encoding lacks as \xfc: a path may hold anything."""
    encoding = console.encoding
    text = CONTROL.sub("\ufffd", encodable(text, encoding))
    return text.encode(encoding, "backslashreplace").decode(encoding)


def default_console() -> Console:
    """Opens the terminal, or a pipe.

    FORCE_COLOR, which continuous integration sets, makes rich take a pipe for a terminal.
    """
    terminal = sys.stdout is not None and not sys.stdout.closed and sys.stdout.isatty()
    return Console(file=sys.stdout, force_interactive=None if terminal else False)


def on_terminal(console: Console) -> bool:
    """Says whether a panel can be redrawn on the console."""
    return console.is_terminal and console.is_interactive and not console.is_dumb_terminal
