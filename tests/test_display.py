"""The display: what it says, that it fits, that it is cheap, and that a terminal which goes away takes nothing along."""

from __future__ import annotations

import io
import itertools
import os
import re
import statistics
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from gancli import display
from gancli.display import Display, duration, number

VALUES = {"d/adv": 1.2113, "d/real": 0.612, "d/fake": -0.4212, "g/adv": 0.8312}


class Clock:
    """Stands in for the module `time`."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(display, "time", clock)
    return clock


def plain(**changes) -> tuple[Display, io.StringIO]:
    out = io.StringIO()
    settings = {
        "title": "cgan",
        "total_steps": 2000,
        "start_step": 0,
        "batch_size": 64,
        "console": Console(file=out),
    }
    return Display(**settings | changes), out


def live(width: int = 100, *, file=None, **options) -> tuple[Display, io.StringIO]:
    out = file or io.StringIO()
    console = Console(
        file=out, force_terminal=True, width=width, color_system="truecolor", **options
    )
    return plain(console=console)[0], out


def bare(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_plain_line_says_everything(clock):
    shown, out = plain()
    with shown:
        clock.now += 20
        shown.update(250, 16000, VALUES, memory_bytes=1_230_000_000)
    assert out.getvalue().splitlines() == [
        "cgan",
        "step 250/2000  kimg 16.0  d/adv 1.21  g/adv 0.83  real 0.61 fake -0.42  800 img/s  eta 2:20  mem 1.2 GB",
    ]


def test_plain_lines_come_at_once_then_every_five_seconds_and_at_the_end(clock):
    shown, out = plain()
    with shown:
        for step in range(1, 2001):
            clock.now += 0.01
            shown.update(step, step * 64, VALUES, memory_bytes=0)
        shown.note("done")
    assert out.getvalue().endswith("mem 0 MB\ndone\n"), (
        "the last line is not kept back until the end"
    )
    steps = [int(line.split("/")[0].split()[1]) for line in out.getvalue().splitlines()[1:-1]]
    assert steps[0] == 1 and steps[-1] == 2000 and len(steps) == 5
    assert all(abs(later - earlier - 500) <= 1 for earlier, later in itertools.pairwise(steps[:-1]))


def test_a_run_that_ends_early_still_shows_its_last_line_once(clock):
    shown, out = plain()
    with pytest.raises(KeyboardInterrupt), shown:
        shown.update(1, 64, VALUES, memory_bytes=0)
        shown.update(2, 128, VALUES, memory_bytes=0)
        raise KeyboardInterrupt
    assert [line.split()[1] for line in out.getvalue().splitlines()[1:]] == ["1/2000", "2/2000"]


def test_speed_and_eta_are_of_the_last_lines_and_of_this_session(clock):
    shown, out = plain(start_step=1000)
    with shown:
        step = 1000
        for seconds in [10.0] * 10 + [1.0] * 30:  # ten steps a line, slow at first
            clock.now += seconds
            step += 10
            shown.update(step, step * 64, {}, memory_bytes=0)
    first = out.getvalue().splitlines()[1]
    latest = out.getvalue().splitlines()[-1]
    assert "64.0 img/s" in first and "eta 16:30" in first
    assert "640 img/s" in latest and "eta 1:00" in latest


def test_many_quick_lines_are_averaged_over_seconds(clock):
    shown, out = plain(total_steps=10**6)
    with shown:
        for step in range(1, 10001):
            clock.now += 0.201 if step % 100 == 50 else 0.001
            shown.update(step, step * 64, {}, memory_bytes=0)
    assert 20000 <= int(re.findall(r"(\d+) img/s", out.getvalue())[-1]) <= 23000


def test_numbers_that_are_missing_or_odd_do_not_stop_the_line(clock):
    shown, out = plain(total_steps=0)
    with shown:
        shown.update(
            5, 320, {"d/adv": float("nan"), "g/adv": float("inf")}, memory_bytes=512_000_000
        )
    assert "d/adv nan  g/adv inf  0.0 img/s  eta -  mem 512 MB" in out.getvalue()


def test_scores_of_several_critics_keep_their_names(clock):
    shown, out = plain()
    with shown:
        shown.update(1, 64, {"d/a/real": 1.0, "d/b/real": 2.0, "d/a/fake": 3.0}, memory_bytes=0)
    assert "d/a/real 1.00 d/b/real 2.00 fake 3.00" in out.getvalue()


def test_notes_are_lines_of_their_own_and_taken_literally(clock):
    note = "saved [bold]outputs[/bold]/" + "long/" * 40 + ":smile:"
    for shown, out in (plain(), live(60)):
        with shown:
            shown.note(note)
        assert note in bare(out.getvalue()).splitlines()


@pytest.mark.parametrize("width", [200, 100, 60, 20, 8])
def test_the_panel_fits_its_terminal(clock, width):
    shown, out = live(width)
    with shown:
        clock.now += 20
        shown.update(250, 16000, VALUES, memory_bytes=1_230_000_000)
    rows = bare(out.getvalue()).replace("\r", "\n").splitlines()
    assert max(map(len, rows)) == min(width, display.PANEL_WIDTH)
    if width >= 20:
        text = " ".join(" ".join(rows).replace("│", " ").split())
        for part in (
            "12%",
            "step 250/2000",
            "kimg 16.0/128.0",
            "800 img/s",
            "eta 2:20",
            "elapsed 0:20",
            "mem 1.2 GB",
            "d/adv 1.21",
            "g/adv 0.83",
            "real 0.61",
            "fake -0.42",
        ):
            assert part in text


def test_the_live_panel_is_drawn_at_most_five_times_a_second_and_at_the_end(clock):
    shown, out = live()
    with shown:
        for step in range(1, 101):
            clock.now += 0.01
            shown.update(step, step * 64, {}, memory_bytes=0)
    drawn = re.findall(r"step (\d+)/2000", bare(out.getvalue()))
    assert drawn[0] == "1" and drawn[-1] == "100" and len(drawn) <= 8


def test_there_is_no_thread_and_stdout_is_given_back():
    before = sys.stdout, sys.stderr, threading.active_count()
    shown, out = live()
    with shown:
        assert threading.active_count() == before[2]
        assert out.getvalue().endswith("\x1b[?25h"), "a killed run could not bring the cursor back"
        print("a stray line")
    assert (sys.stdout, sys.stderr, threading.active_count()) == before
    assert "a stray line" in bare(out.getvalue())


def test_no_color_is_obeyed_and_the_bar_still_readable(clock, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    shown, out = live(60)
    with shown:
        shown.update(1000, 64000, VALUES, memory_bytes=0)
    assert not re.search(r"\x1b\[[0-9;]*3[0-8]", out.getvalue()), "a colour"
    assert "━━──" in bare(out.getvalue())


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_that_knows_only_ascii(clock, terminal):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    console = Console(file=file, force_terminal=terminal, width=60)
    with Display(
        title="für · b", total_steps=10, start_step=0, batch_size=1, console=console
    ) as shown:
        shown.update(5, 5, VALUES, memory_bytes=0)
        shown.note("saved /dätä/\udcff")
    assert not shown.silent
    assert (
        rb"saved /d\xe4t\xe4/\udcff" in raw.getvalue()
        and rb"f\xfcr" in raw.getvalue()
        and b"5/10" in raw.getvalue()
    )


class Hangup(io.StringIO):
    """A terminal that goes away after some writes."""

    left = 3

    def write(self, text):
        self.left -= 1
        if self.left < 0:
            raise OSError(5, "Input/output error")
        return super().write(text)


def test_a_terminal_that_goes_away_silences_the_display_only():
    before = sys.stdout, sys.stderr
    shown, _ = live(file=Hangup())
    with shown:
        for step in range(1, 20):
            shown.update(step, step, VALUES, memory_bytes=0)
            shown.shown_at = None
            shown.note("saved")
    assert shown.silent and (sys.stdout, sys.stderr) == before


def test_a_file_that_was_closed_silences_it_too():
    shown, out = plain()
    out.close()
    with shown:
        shown.update(1, 1, VALUES, memory_bytes=0)
    assert shown.silent


@pytest.mark.parametrize("error", [ValueError("ours"), SystemExit(143), KeyboardInterrupt()])
def test_what_is_not_the_terminals_fault_is_not_swallowed(error):
    def fail():
        raise error

    shown, _ = plain()
    with pytest.raises(type(error)):
        shown.attempt(fail)


SCRIPT = """
import sys
from rich.console import Console
from gancli.display import Display
console = Console(file=sys.stdout, force_terminal=True, width=60) if sys.argv[1] == "live" else None
with Display(title="cgan", total_steps=400, start_step=0, batch_size=1, console=console) as shown:
    for step in range(1, 401):
        shown.update(step, step, {"d/adv": 1.0}, memory_bytes=0)
        shown.note("saved" * 100)
        shown.shown_at = None
print("the last line")
print("trained to the end", file=sys.stderr)
"""


@pytest.mark.parametrize("kind", ["plain", "live"])
def test_a_pipe_that_closes_ends_nothing(kind):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b"trained to the end\n"
    assert process.wait(60) == 0


def test_no_stdout_at_all_and_colours_forced_into_a_pipe():
    closed = subprocess.run(
        [sys.executable, "-c", "import os, sys\nsys.stdout = None\n" + SCRIPT, "plain"],
        stderr=subprocess.PIPE,
        timeout=60,
    )
    assert (closed.returncode, closed.stderr) == (0, b"trained to the end\n")
    forced = subprocess.run(
        [sys.executable, "-c", SCRIPT, "plain"],
        capture_output=True,
        timeout=60,
        env=os.environ | {"FORCE_COLOR": "1"},
    )
    assert (
        forced.returncode == 0 and b"\x1b" not in forced.stdout and b"step 400/400" in forced.stdout
    )


def test_an_update_costs_less_than_two_milliseconds(monkeypatch):
    monkeypatch.setattr(display, "LIVE_EVERY_S", 0.0)
    for shown, _ in (plain(), live()):
        spent = []
        with shown:
            for step in range(300):
                start = time.perf_counter()
                shown.update(step, step * 64, VALUES | {"d/gp": 0.01, "g/pl": 3.0}, memory_bytes=0)
                spent.append(time.perf_counter() - start)
        assert statistics.median(spent) < 2e-3


def test_numbers_and_durations_are_short():
    for value, text in (
        (1.2113, "1.21"),
        (-0.4212, "-0.42"),
        (0, "0.00"),
        (0.0031, "0.0031"),
        (1.24e-5, "1.2e-05"),
        (999.0, "999.00"),
        (3.41e6, "3.4e+06"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ):
        assert number(value) == text
    for seconds, text in (
        (0, "0:00"),
        (62.4, "1:02"),
        (59.6, "1:00"),
        (3600, "1:00:00"),
        (183845, "2d 03:04:05"),
    ):
        assert duration(seconds) == text
