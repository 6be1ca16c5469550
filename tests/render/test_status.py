"""The line that says what a command is doing: on a terminal, in a pipe, and when nobody
reads it.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time

import pytest
from helpers import REPO

from gancli.render import status as progress
from gancli.render.status import Status, Ticker, shortened


class Terminal(io.StringIO):
    """A terminal as a status line sees it, of 80 columns."""

    def isatty(self) -> bool:
        return True


def at_a_terminal(monkeypatch) -> Terminal:
    """Both streams become one terminal.

    Called in the test: pytest puts its own streams in place after the fixtures.
    """
    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def rows(written: str) -> list[str]:
    """What stands on a terminal at the end, line by line."""
    lines = [""]
    for part in re.split(r"(\r\x1b\[K|\n)", written):
        if part == "\n":
            lines.append("")
        elif part == "\r\x1b[K":
            lines[-1] = ""
        else:
            lines[-1] += part
    return lines


def test_what_is_printed_takes_the_line_away_and_no_line_stays(monkeypatch):
    terminal = at_a_terminal(monkeypatch)
    with progress.shown():
        progress.say("reading the data…")
        assert rows(terminal.getvalue()) == ["reading the data…"]
        print("data  12 images")
        assert rows(terminal.getvalue()) == ["data  12 images", ""]
        progress.current().tick()
        assert rows(terminal.getvalue()) == ["data  12 images", "reading the data…"]
        print("half", end="")
        progress.current().tick()
        assert rows(terminal.getvalue())[-1] == "half", "an unfinished line is left alone"
        print(" a line", file=sys.stderr)
        progress.current().tick()
    assert rows(terminal.getvalue()) == ["data  12 images", "half a line", ""]
    assert sys.stdout is terminal and sys.stderr is terminal
    assert not any(thread.name == "gancli-progress" for thread in threading.enumerate())


def test_what_goes_into_a_pipe_may_come_out_on_the_same_terminal(monkeypatch):
    """As in `gan show | cat`: the line is away before the pipe's reader writes."""
    terminal = at_a_terminal(monkeypatch)
    ours, theirs = os.pipe()
    monkeypatch.setattr(progress, "HOLD_S", 1e6)
    with open(ours) as reader, open(theirs, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with progress.shown():
            progress.say("building…")
            assert rows(terminal.getvalue()) == ["building…"]
            print("generator  4 parameters", flush=True)
            assert rows(terminal.getvalue()) == [""]
            terminal.write(reader.readline())
            progress.say("drawing…")
            progress.current().tick()
            assert rows(terminal.getvalue()) == ["generator  4 parameters", ""]
            progress.current().held_until = 0.0
            progress.current().tick()
            assert rows(terminal.getvalue())[1] == "drawing…"
        assert sys.stdout is pipe


def test_nothing_is_drawn_while_somebody_else_has_the_terminal(monkeypatch):
    terminal = at_a_terminal(monkeypatch)
    with progress.shown():
        progress.say("building…")
        with progress.paused():
            assert rows(terminal.getvalue()) == [""] and sys.stdout is terminal
            before = terminal.getvalue()
            progress.say("first step…")
            progress.current().tick()
            assert terminal.getvalue() == before
        progress.current().tick()
        assert rows(terminal.getvalue()) == ["first step…"]


def test_a_block_gives_the_line_back(monkeypatch):
    at_a_terminal(monkeypatch)
    with progress.shown():
        progress.say("sampling…")
        progress.current().since -= 60
        with progress.doing("saving…"):
            assert progress.current().text == "saving…"
        assert progress.current().text == "sampling…" and progress.current().line().endswith("1:00")


def test_a_narrow_terminal_keeps_the_clock(monkeypatch):
    at_a_terminal(monkeypatch)
    monkeypatch.setattr(progress, "width_of", lambda stream: 20)
    with progress.shown():
        progress.say("decoding images: 1,234 of 12,000…")
        progress.current().since -= 62
        assert progress.current().line() == "decoding imag… 1:02"


@pytest.mark.parametrize("width", range(12))
def test_letters_that_take_two_columns_are_counted(width):
    text = shortened("照片 photos", width)
    assert sum(2 if ord(letter) > 0x2E80 else 1 for letter in text) <= width


def test_a_pipe_gets_a_first_line_within_a_second_and_one_every_ten(monkeypatch):
    monkeypatch.setattr(progress, "FIRST_AFTER_S", 0.6)
    out = io.StringIO()
    status = Status(out)
    status.say("reading the data…")
    deadline = time.monotonic() + 5
    while not out.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert out.getvalue() == "reading the data…\n"
    status.ticker.stop()
    for seconds in (5, 9, 9.6, 15):
        status.written_at = time.monotonic() - seconds
        status.since = time.monotonic() - 20
        status.tick()
    status.close()
    status.tick()
    assert out.getvalue().splitlines() == ["reading the data…", *["reading the data… 0:20"] * 2]


def test_what_is_done_before_a_line_is_due_leaves_no_line():
    out = io.StringIO()
    status = Status(out)
    for text in ("loading torch…", "reading the data…", "saving…"):
        status.say(text)
    status.close()
    assert out.getvalue() == ""


def test_an_old_encoding_gets_three_dots():
    raw = io.BytesIO()
    status = Status(io.TextIOWrapper(raw, encoding="ascii"))
    status.say("saving…")
    status.draw()
    status.close()
    assert raw.getvalue() == b"saving...\n"


def test_a_reader_that_has_gone_silences_the_line_and_nothing_else():
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    status = Status(stream)
    status.say("saving…")
    os.close(reading)
    status.draw()
    assert status.silent
    status.draw()
    status.close()
    stream.close()


def test_a_fault_in_the_drawing_ends_the_drawing_alone():
    seen = []

    def fail():
        seen.append(1)
        raise ValueError("ours")

    ticker = Ticker(fail, every_s=0.001)
    ticker.start()
    ticker.thread.join(5)
    assert seen == [1] and not ticker.thread.is_alive()


def test_a_rank_that_is_not_the_first_says_nothing(monkeypatch):
    terminal = at_a_terminal(monkeypatch)
    monkeypatch.setenv("RANK", "1")
    with progress.shown():
        progress.say("building…")
    assert terminal.getvalue() == ""


# the commands


WITHOUT_TORCH = """
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
class Import(BaseException): pass
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise Import
sys.meta_path.insert(0, Finder())
from gancli.cli import main
from gancli.render import status
status.FIRST_AFTER_S = 1e6  # no sign of life on a slow machine: what is announced comes first
for argv in json.loads(sys.argv[2]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(argv)
        except Import:
            code = "torch"
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def without_torch(*lines: list[str], cwd) -> list[tuple[int | str, str, str]]:
    """Runs command lines until they end or import torch; then the code is "torch"."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(REPO), json.dumps(lines)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


MISTAKES = (
    ("train trainer.stepz=3", "trainer.steps"),
    ("train dataset=folder dataset.path=nowhere", "dataset.path=nowhere: there is no such folder"),
    (
        "train +dataset@dataset.of=folder dataset=superres dataset.of.path=nowhere",
        "dataset.of.path",
    ),
    ("train perceptual=squeezenet perceptual.weights=nowhere", "perceptual.weights=nowhere"),
    ("train metrics.weights=nowhere", "metrics.weights=nowhere: there is no such file"),
    ("train resume=nowhere", "resume='nowhere' is no run folder"),
    ("check dataset=folder dataset.path=nowhere", "dataset.path=nowhere: there is no such folder"),
    ("sample ckpt=run nn=3", "unknown key 'nn'"),
    ("sample ckpt=run n=abc seed=x", "n='abc' does not fit"),
    ("sample ckpt=run n=0", "n=0 does not fit"),
    ("sample ckpt=nowhere", "nowhere does not exist"),
    ("sample ckpt=nowhere latent=nil.pt n=0", "latent=nil.pt: there is no such file"),
    ("sample", "ckpt is not given"),
    ("translate ckpt=nowhere input=photo.jpg", "input=photo.jpg: there is no such image or folder"),
    ("translate ckpt=run input=run mask=nil style=nil", "mask=nil: there is no such image"),
    ("project ckpt=run input=face.png steps=0", "input=face.png: there is no such file"),
    ("project ckpt=run input=run weights=w lpips_heads=h", "lpips_heads=h: there is no such file"),
    ("evaluate", "nothing to evaluate"),
    ("evaluate ckpt=nowhere n=1", "nowhere does not exist"),
    ("evaluate real=here fake=there", "real=here: there is no such folder or zip file"),
    ("evaluate ckpt=run metrics.weights=nil dataset.path=nil", "metrics.weights=nil"),
    ("features ckpt=nowhere k=0", "nowhere does not exist"),
    ("features ckpt=run dataset.path=nowhere", "dataset.path=nowhere: there is no such folder"),
    ("features ckpt=run dataset=nowhere", "nowhere"),
    ("show model=dcgann", "dcgan"),
    ("data nowhere", "dataset.path=nowhere: there is no such folder or zip file"),
)
BEGUN = (
    "train",
    "check",
    "sample ckpt=run",
    "translate ckpt=run input=run",
    "project ckpt=run input=here.png",
    "evaluate ckpt=run",
    "features ckpt=run",
    "features ckpt=run dataset=mnist",
    "data dataset=digits",
    "train resume=run",
    "show model=dcgan",
    "show run",
)


def test_mistakes_are_told_and_begun_work_is_announced_before_torch_is_imported(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "here.png").touch()
    lines = [line.split() for line, _ in MISTAKES] + [line.split() for line in BEGUN]
    found = without_torch(*lines, cwd=tmp_path)
    for (line, part), (code, out, err) in zip(MISTAKES, found[: len(MISTAKES)], strict=True):
        assert (code, out) == (2, "") and part in err and "loading" not in err, (line, err)
    for line, (code, out, err) in zip(BEGUN, found[len(MISTAKES) :], strict=True):
        assert (code, out) == ("torch", "") and err.endswith("loading torch…\n"), (line, err)


def test_a_command_on_a_real_terminal(tmp_path):
    """Its first characters come before its imports, and nothing of the line stays behind."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, "-m", "gancli", "data", "dataset=digits"])
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        written += part
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, written
    text = written.decode().replace("\r\n", "\n")
    said = re.findall(
        r"\r\x1b\[K([^\r\n]+?)(?: \d+:\d\d)?(?=[\r\n]|$)", text
    )  # a slow machine adds times
    assert said[0] == "composing the config…" and "loading torch…" in said
    # A line that follows another within a tenth of a second is left out, whichever that is.
    after = said[said.index("loading torch…") :]
    assert any(line.startswith(("reading the data…", "drawing")) for line in after), said
    assert not any(row.rstrip("0123456789: ").endswith("…") for row in rows(text))
    assert any("1,797" in row for row in rows(text))
