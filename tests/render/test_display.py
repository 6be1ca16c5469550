"""The display: what it says, that it fits, that it is cheap, and that a terminal which goes away
takes nothing along.
"""

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

from gancli.game import Progress
from gancli.render import display
from gancli.render.display import LONG_S, Display, Forecast, number, speed
from gancli.render.status import Status, duration

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


def live(
    width: int = 100, *, file=None, progress=None, status=None, **options
) -> tuple[Display, io.StringIO]:
    out = file or io.StringIO()
    console = Console(
        file=out, force_terminal=True, width=width, color_system="truecolor", **options
    )
    return plain(console=console, progress=progress, status=status)[0], out


def bare(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_plain_line_says_everything(clock):
    shown, out = plain()
    with shown:
        clock.now += 20
        shown.update(250, 16000, VALUES, memory_bytes=1_230_000_000)
    assert out.getvalue().splitlines() == [
        "cgan",
        "step 250/2000  kimg 16.0  d/adv 1.21  g/adv 0.83  real 0.61 fake -0.42  800 img/s  eta "
        "2:20  mem 1.2 GB",
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
    assert "d/adv nan  g/adv inf  - img/s  eta -  mem 512 MB" in out.getvalue()


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


def test_its_thread_ends_with_it_and_stdout_is_given_back():
    before = sys.stdout, sys.stderr, threading.active_count()
    shown, out = live(progress=Progress())
    with shown:
        thread = shown.ticker.thread
        assert threading.active_count() == before[2] + 1 and thread.daemon
        assert "\x1b[?25h" in out.getvalue(), "a killed run could not bring the cursor back"
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
from gancli.render.display import Display
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


# between log lines


def test_the_panel_lives_between_log_lines(clock):
    progress = Progress()
    status = Status(io.StringIO())
    shown, out = live(progress=progress, status=status)
    with shown:
        shown.ticker.stop()  # its work is done here by hand
        clock.now += 12
        shown.tick()
        assert "first step… 0:12" in bare(out.getvalue())
        progress.step = 1
        progress.nimg = 64
        clock.now += 31
        shown.tick()
        text = bare(out.getvalue())
        assert "first step 43.0 s, 1.5 img/s: 1,999 more take about 23:52:37" in text
        assert "step 1/2000" in text and "1.5 img/s" in text.rsplit("step 1/2000", 1)[1]
        status.say("evaluating…")
        status.since = clock.now
        clock.now += 5
        shown.tick()
        assert "evaluating… 0:05" in bare(out.getvalue())
        before = out.getvalue()
        clock.now += 0.3
        shown.tick()
        assert out.getvalue() == before, "it is redrawn once a second"
        status.close()
    last_frame = bare(out.getvalue()).rsplit("step 1/2000", 1)[1]
    assert "evaluating" not in last_frame and "first step" not in last_frame


def test_a_pipe_gets_a_line_every_ten_seconds_between_log_lines(clock):
    progress = Progress()
    shown, out = plain(progress=progress)
    with shown:
        shown.ticker.stop()
        for second in range(1, 61):
            clock.now += 1
            if second % 24 == 0:
                progress.step += 1
                progress.nimg += 64
            shown.tick()
    assert out.getvalue().splitlines() == [
        "cgan",
        "step 0/2000  kimg 0.0  - img/s  eta -  first step… 0:10",
        "step 0/2000  kimg 0.0  - img/s  eta -  first step… 0:20",
        "first step 24.0 s, 2.7 img/s: 1,999 more take about 13:19:36",
        "step 1/2000  kimg 0.1  2.7 img/s  eta 13:19:36",
        "step 1/2000  kimg 0.1  2.7 img/s  eta 13:19:36",
        "step 2/2000  kimg 0.1  2.7 img/s  eta 13:19:12",
    ]


def test_log_lines_that_come_quickly_leave_nothing_to_the_thread(clock):
    progress = Progress()
    shown, out = plain(progress=progress)
    with shown:
        shown.ticker.stop()
        for step in range(1, 601):
            clock.now += 0.1
            progress.step = step
            shown.update(step, step * 64, VALUES, memory_bytes=0)
            shown.tick()
    lines = out.getvalue().splitlines()
    assert len(lines) < 20 and sum(line.startswith("first ") for line in lines) == 1
    assert all("d/adv" in line for line in lines if line.startswith("step"))


def test_a_forecast_of_days_says_what_to_try():
    forecast = Forecast(total_steps=781_250, batch_size=64, lighter=("trainer.batch_size=16",))
    line = forecast.line(1, 66.0, left=781_249)
    assert line == (
        "first step 66.0 s, 1.0 s/img: 781,249 more take about 596d 18:53:54; too long for this "
        "machine; "
        "try trainer.batch_size=16, trainer.steps=1000 (about a day)"
    )
    assert forecast.line(2, 132.0, left=781_248) == "", "once"


def test_a_slow_first_step_alone_is_no_reason_for_advice():
    quick = Forecast(total_steps=200_000, batch_size=64, lighter=())
    first = quick.line(1, 5.0, left=199_999)
    assert first.startswith("first step 5.0 s") and "too long" not in first
    assert quick.line(2, 5.1, left=199_998) == "" and quick.line(50, 9.9, left=199_950) == ""
    slow = Forecast(total_steps=200_000, batch_size=64, lighter=())
    assert "too long" not in slow.line(1, 5.0, left=199_999)
    assert "too long for this machine; try trainer.steps=20000" in slow.line(3, 14.0, left=199_997)
    assert LONG_S < 199_997 * 4.5


def test_a_speed_is_never_nothing():
    assert [speed(x) for x in (1234.4, 12.34, 0.97, 0.02, 0.0)] == [
        "1234 img/s",
        "12.3 img/s",
        "1.0 s/img",
        "50.0 s/img",
        "- img/s",
    ]


def test_a_thread_that_draws_and_a_run_that_logs_do_not_stand_in_each_others_way(monkeypatch):
    monkeypatch.setattr(display, "TERMINAL_EVERY_S", 0.0)
    monkeypatch.setattr(display, "TICK_S", 0.001)
    progress = Progress()
    shown, out = live(progress=progress)
    with shown:
        for step in range(1, 301):
            progress.step = step
            shown.update(step, step, VALUES, memory_bytes=0)
            shown.note(f"note {step}")
    lines = bare(out.getvalue()).splitlines()
    assert [line for line in lines if "note" in line] == [f"note {k}" for k in range(1, 301)]
    written = out.getvalue()
    time.sleep(0.05)
    assert out.getvalue() == written, "nothing comes after the end"
