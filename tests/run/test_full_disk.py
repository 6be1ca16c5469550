"""Outputs that cannot be written: full disks, closed and full streams, folders that may not be
read, half-written files.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np
import pytest
import train_helpers
from helpers import REPO, SMALL
from PIL import Image
from train_helpers import ENV, QUIET, TINY, last, sound

from gancli.errors import disk_is_full
from gancli.files import atomic
from gancli.render.streams import Lasting, lasting
from gancli.run.folder import RunFolder

gan, package, at_step = map(
    pytest.fixture, (train_helpers.gan, train_helpers.package, train_helpers.at_step)
)
POINTS = (
    "model=mlp",
    "model.generator.hidden=[8]",
    "model.discriminator.hidden=[8]",
    "dataset=ring",
    "dataset.n=200",
    "metrics=none",
)


# streams


def test_a_file_that_is_full_takes_everything_and_says_why():
    with open("/dev/full", "wb", buffering=0) as full:
        file = Lasting(full.fileno(), "wb", closefd=False)
        assert file.write(b"text") == 4 and disk_is_full(file.lost)
        assert file.write(b"more") == 4


def test_streams_keep_their_nature_and_come_back(capfd):
    before = sys.stdout, sys.stderr
    with lasting():
        print("to stdout")
        print("to stderr", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    assert capfd.readouterr() == ("to stdout\n", "to stderr\n")


PRINTS = """
    class Mine(GAN):
        def d_loss(self, batch):
            print("a user's own line", flush=True)
            return super().d_loss(batch)
"""


@pytest.mark.parametrize("where", ["full", "no stdout", "both full", "closed pipe"])
def test_a_run_outlives_its_streams(gan, package, monkeypatch, where):
    """As the test below, in this process."""
    name = package(PRINTS)
    line = ["train", *TINY, f"model._target_={name}.Mine", "trainer.steps=3", "log.every=1"]
    reader, writer = os.pipe()
    os.close(reader)
    with (
        open("/dev/full", "wb", buffering=0) as full,
        open(writer, "wb", buffering=0) as closed,
        monkeypatch.context() as streams,
    ):
        out = closed if where == "closed pipe" else full
        streams.setattr(sys, "stdout", None if where == "no stdout" else onto(out))
        if where == "both full":
            streams.setattr(sys, "stderr", onto(full))
        done = gan(*line, "hydra.run.dir=run")
    assert done.code == 0 and "Traceback" not in done.err, done.err
    assert ("stdout could not be written: No space left on device" in done.err) == (where == "full")
    assert last("run")["progress"]["step"] == 3


def onto(file: BinaryIO) -> TextIO:
    """A stream like Python's own: what it cannot write it says at every flush."""
    return open(file.fileno(), "w", closefd=False)


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("closed pipe", marks=pytest.mark.full),
        *(
            pytest.param(where, marks=pytest.mark.slow)
            for where in ("full", "no stdout", "both full")
        ),
    ],
)
def test_a_run_outlives_its_output(gan, package, tmp_path, where):
    name = package(PRINTS)
    line = ["train", *TINY, f"model._target_={name}.Mine", "trainer.steps=3", "log.every=1"]
    command = [sys.executable, "-m", "gancli", *line, "hydra.run.dir=run"]
    if where == "no stdout":
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "wb") as full:
        out = {"full": full, "both full": full, "closed pipe": writer}.get(where)
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=ENV,
            stdout=out,
            stderr=full if where == "both full" else subprocess.PIPE,
            text=True,
            timeout=120,
        )
    os.close(writer)
    err = done.stderr or ""
    assert done.returncode == 0, err
    assert "Traceback" not in err and "Exception" not in err
    assert ("stdout could not be written: No space left on device" in err) == (where == "full")
    assert last("run")["progress"]["step"] == 3


def test_other_commands_say_that_their_output_is_lost():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gancli", "list", "loss"],
            cwd=REPO,
            env=ENV,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 75
    assert done.stderr == "gan: stdout could not be written: No space left on device\n"


@pytest.mark.full  # a process of its own; each signal is sent in tests/commands/test_train.py
def test_a_terminal_that_goes_away_saves_the_run(tmp_path):
    """The kernel sends SIGHUP, and whatever is written then fails."""
    line = ["train", *TINY, "trainer.steps=100000", "log.every=5", "hydra.run.dir=run"]
    code = (
        "import sys, gancli.trainer as t; from gancli.cli import main; step = t.Trainer.step\n"
        "def stepped(self):\n    step(self)\n    open('started', 'w').close()\n"
        "t.Trainer.step = stepped\nsys.exit(main(sys.argv[1:]))"
    )
    ours, theirs = os.openpty()

    def take_terminal() -> None:
        os.setsid()
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, "-c", code, *line],
        cwd=tmp_path,
        env=ENV,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=take_terminal,
    )
    os.close(theirs)
    import select
    import time

    patience = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < patience:
        if select.select([ours], [], [], 0.1)[0]:
            os.read(ours, 65536)
    os.close(ours)
    assert process.wait(timeout=60) == 129
    assert last(tmp_path / "run")["progress"]["step"] > 0
    assert "SIGHUP: saved step" in (tmp_path / "run/run.log").read_text()


# full disks


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run on digits, one on points and one of pairs, and a photo."""
    folder = tmp_path_factory.mktemp("runs")
    from gancli.cli import main

    quiet = (*QUIET, "trainer.steps=1", "metrics=none")
    assert main(["train", *TINY, *quiet, f"hydra.run.dir={folder}/digits"]) == 0
    assert main(["train", *POINTS, *quiet, f"hydra.run.dir={folder}/points"]) == 0
    pairs = ("model=pix2pix", *SMALL["pix2pix"], "dataset.resolution=16")
    assert main(["train", *pairs, *quiet, f"hydra.run.dir={folder}/pairs"]) == 0
    (folder / "photos").mkdir()
    for k in range(4):
        pixels = np.random.default_rng(k).integers(256, size=(16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{k}.png")
    return folder


COMMANDS = {
    "train": ("train", *TINY, "trainer.steps=1", "hydra.run.dir=new"),
    "resume": ("train", "resume={runs}/digits", "trainer.steps=2"),
    "sample": ("sample", "ckpt={runs}/digits", "n=2", "out=out"),
    "sample of points": ("sample", "ckpt={runs}/points", "n=20", "out=out"),
    "film": ("sample", "ckpt={runs}/digits", "n=1", "walk=1", "film=walk.gif", "out=out"),
    "translate": ("translate", "ckpt={runs}/pairs", "input={runs}/photos", "out=out"),
    "project": ("project", "ckpt={runs}/digits", "input={runs}/photos/0.png", "steps=1", "out=out"),
    "features": ("features", "ckpt={runs}/digits", "n=20", "out=out"),
    "evaluate": ("evaluate", "ckpt={runs}/digits", "metrics=fast", "n=10", "out=out.json"),
    "report": ("report", "{runs}/digits", "out=out.html"),
    "compare": ("compare", "{runs}/digits", "{runs}/points", "out=out"),
    "data": ("data", "{runs}/photos", "out=out.png"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_code_75_in_every_command_and_leaves_nothing_half(
    gan, runs, monkeypatch, name
):
    before = {path for path in runs.rglob("*") if path.is_file()}
    line = [word.format(runs=runs) for word in COMMANDS[name]]
    monkeypatch.setattr(os, "replace", no_space)
    done = sound(gan(*line), 75)
    assert "No space left on device" in done.err or "the disk is full" in done.err
    assert "make room" in done.err
    monkeypatch.undo()
    after = {path for path in runs.rglob("*") if path.is_file()} - before
    assert not [path for path in after if "tmp" in path.name]


def test_a_disk_full_from_the_start_offers_no_resume(gan, monkeypatch):
    real = os.replace

    def replace(source, target):
        if "checkpoints" in str(target):
            no_space()
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    done = sound(gan("train", *TINY, "trainer.steps=1", "hydra.run.dir=new"), 75)
    assert "make room, then start it again" in done.err and "resume" not in done.err


def test_a_disk_that_may_not_be_written_is_not_a_full_one(gan, runs, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", refuse)
    done = sound(gan("sample", f"ckpt={runs}/digits", "n=2", "out=out"), 2)
    assert "Read-only file system" in done.err and "choose another out=" in done.err
    assert "make room" not in done.err
    done = sound(gan("train", *TINY, "trainer.steps=1", "hydra.run.dir=new"), 2)
    assert "make room" not in done.err


def test_what_ends_the_job_of_a_sweep_is_told_on_a_full_disk_too(gan, monkeypatch):
    real = os.replace

    def replace(source, target):
        if Path(target).name == "sweep.jsonl":
            no_space()
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    done = gan("train", "-m", *TINY, "seed=1", "trainer.steps=1", "hydra.sweep.dir=sweep")
    assert "sweep.jsonl lacks job 0: No space left on device" in done.err
    assert "gan: sweep/sweep.jsonl cannot be written: No space left on device" in done.err
    assert done.code == 75 and "Traceback" not in done.err
    assert last(next(Path("sweep").glob("0*")))["progress"]["step"] == 1


# folders that may not be read, and what is left half-written


SUBCOMMANDS = (
    ("train", "resume={run}"),
    ("train", *TINY, "hydra.run.dir={run}"),
    ("train", "resume=auto", *TINY, "hydra.run.dir={run}"),
    ("sample", "ckpt={run}"),
    ("show", "{run}"),
    ("evaluate", "ckpt={run}"),
)


@pytest.mark.parametrize("words", SUBCOMMANDS, ids=lambda words: " ".join(words[:2]))
def test_checkpoints_that_may_not_be_read_are_a_sentence(gan, runs, monkeypatch, words):
    real = os.listdir

    def listdir(folder="."):
        if Path(folder).name == "checkpoints":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return real(folder)

    monkeypatch.setattr(os, "listdir", listdir)
    done = sound(gan(*(word.format(run=runs / "digits") for word in words)), 2)
    assert "checkpoints cannot be read: Permission denied" in done.err and "ls -ld" in done.err


def test_what_killed_processes_left_half_written_is_swept(tmp_path):
    run = tmp_path / "run"
    left = (
        "samples/.step-00000004.png.123.tmp",
        "samples/.tmp-123-7.png",
        ".tmp-metrics.jsonl-123",
        ".tmp-evaluation.json-123",
        "checkpoints/.tmp-step-00000004.pt-123",
        ".hydra/.tmp-config.yaml-123",
    )
    for name in (*left, "samples/mine.tmp", "samples/step-00000002.png"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).touch()
    RunFolder(run).open().close()
    assert not [name for name in left if (run / name).exists()]
    assert (run / "samples/mine.tmp").exists() and (run / "samples/step-00000002.png").exists()


def test_a_text_file_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "points.csv"
    atomic.write_text(path, "x,y\n\udcff,1\n")
    assert path.read_bytes() == b"x,y\n\xff,1\n"
    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="No space"):
        atomic.write_text(path, "other")
    assert path.read_bytes() == b"x,y\n\xff,1\n" and len(list(tmp_path.iterdir())) == 1
