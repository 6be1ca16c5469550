"""gan train as a user meets it: runs that stop, go on and clash, and what is said each time."""

from __future__ import annotations

import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import train_helpers
from helpers import SMALL, differences
from PIL import Image
from train_helpers import ENV, NETWORKS, QUIET, TINY, last, lines, sound, train_once

from gancli.checkpoint import list_steps, read
from gancli.run import plan as planning
from gancli.run.folder import RunFolder

gan = pytest.fixture(train_helpers.gan)
at_step = pytest.fixture(train_helpers.at_step)

# resume


def test_a_resumed_run_equals_an_unbroken_one_in_every_leaf(gan):
    always = ("log.every=1", "trainer.save_every=2")
    sound(gan("train", *TINY, *always, "trainer.steps=7", "hydra.run.dir=whole"))
    sound(gan("train", *TINY, *always, "trainer.steps=3", "hydra.run.dir=part"))
    done = sound(gan("train", "resume=part", "trainer.steps=7"))
    assert done.out.splitlines()[-2:] == [
        "done: part/samples/step-00000007.png, and the run in part",
        "  gan sample ckpt=part",
    ]
    assert differences(last("whole"), last("part")) == []
    assert lines("whole") == lines("part")
    names = [
        [path.name for path in list_steps(Path(run, "checkpoints"))] for run in ("whole", "part")
    ]
    assert (
        names[0] == ["step-00000007.pt", "step-00000006.pt", "step-00000004.pt"]
        and len(names[1]) == 3
    )
    assert "training from step 3 to 7" in Path("part/run.log").read_text()


def test_a_complete_run_says_so_and_what_to_type(gan):
    train_once(gan, *TINY, "trainer.steps=2")
    before = Path("run/checkpoints/last.pt").stat().st_mtime_ns
    done = sound(gan("train", "resume=run"))
    assert (
        done.out.strip()
        == "run is complete at step 2; to go on to step 4:\n  gan train resume=run trainer.steps=4"
    )
    assert "complete at step 2" in sound(gan("train", "resume=run", "trainer.steps=1")).out
    assert Path("run/checkpoints/last.pt").stat().st_mtime_ns == before


def test_a_used_folder_is_refused_before_the_data_are_read(gan, monkeypatch):
    sound(gan("train", *TINY, "trainer.steps=1", "hydra.run.dir=my run"))
    before = {path: path.read_bytes() for path in Path("my run").rglob("*") if path.is_file()}
    monkeypatch.setattr(planning, "open_data", lambda *_, **__: pytest.fail("the data were read"))
    done = sound(gan("train", *TINY, "trainer.steps=2", "hydra.run.dir=my run"), 2)
    assert (
        "my run already holds a run" in done.err
        and "gan train 'resume=my run'   continues it" in done.err
    )
    assert {
        path: path.read_bytes() for path in Path("my run").rglob("*") if path.is_file()
    } == before


def test_resume_auto_continues_the_same_overrides_or_starts(gan):
    auto = (*TINY, "resume=auto", "trainer.steps=2")
    first = sound(gan("train", *auto)).out.splitlines()[-2].partition(" the run in ")[2]
    assert f"{first} is complete" in sound(gan("train", *auto)).out
    other = sound(gan("train", *auto, "seed=1")).out.splitlines()[-2].partition(" the run in ")[2]
    assert other != first
    sound(gan("train", *auto, "hydra.run.dir=mine"))
    sound(gan("train", *TINY, "resume=auto", "trainer.steps=4", "hydra.run.dir=mine"))
    assert last("mine")["progress"]["step"] == 4


def test_what_a_run_keeps_is_refused_and_the_run_stays_as_it_was(gan):
    train_once(gan, *TINY, "trainer.steps=1")
    before = last("run")
    for override, said in (
        ("loss=hinge", "loss is 'non_saturating' in run, 'hinge' here"),
        ("seed=5", "seed is 0 in run, 5 here"),
        ("model.generator.hidden=[8]", "model.generator.hidden is [16] in run, [8] here"),
        ("dataset.limit=20", "dataset.limit is 30 in run, 20 here"),
        ("trainer.stepz=9", "unknown key trainer.stepz"),
        ("trainer.steps=many", "trainer.steps='many' does not fit"),
        ("trainer.batch_size=0", "give 1 or more"),
        ("dataset.path=elsewhere", "Digits takes no 'path'"),
    ):
        assert said in sound(gan("train", "resume=run", "trainer.steps=9", override), 2).err
    assert differences(before, last("run")) == []
    sound(
        gan(
            "train",
            "resume=run",
            "trainer.steps=2",
            "trainer.keep=1",
            "log.every=1",
            "dataset.workers=1",
            "model=mlp",
        )
    )
    assert last("run")["config"]["trainer"]["keep"] == 1


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    for k in range(6):
        (folder / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 40 * k, np.uint8)).save(folder / "ab"[k % 2] / f"{k}.png")
    return folder


def test_images_may_move_but_not_change(gan, pictures):
    mine = (*NETWORKS, *QUIET, "dataset=folder", "dataset.resolution=8", "dataset.path=pictures")
    sound(gan("train", *mine, "trainer.steps=1", "hydra.run.dir=run"))
    shutil.move(pictures, "moved here")
    assert "pictures" in sound(gan("train", "resume=run", "trainer.steps=2"), 2).err
    sound(gan("train", "resume=run", "trainer.steps=2", "dataset.path=moved here"))
    sound(gan("train", "resume=run", "trainer.steps=3"))  # where they are now is remembered
    Path("moved here/a/0.png").unlink()
    done = sound(gan("train", "resume=run", "trainer.steps=4"), 2)
    assert "was trained on other data" in done.err and last("run")["progress"]["step"] == 3


def test_resuming_with_other_threads_is_said(gan):
    train_once(gan, *TINY, "trainer.steps=1")
    torch.set_num_threads(2)
    try:
        done = sound(gan("train", "resume=run", "trainer.steps=2"))
    finally:
        torch.set_num_threads(1)
    assert "resumed with threads 2 instead of 1" in done.err


@pytest.mark.parametrize("harm", ["missing last", "truncated last", "all truncated", "none"])
def test_resume_falls_back_and_says_so(gan, harm):
    sound(gan("train", *TINY, "trainer.steps=4", "trainer.save_every=2", "hydra.run.dir=run"))
    files = sorted(Path("run/checkpoints").iterdir())
    for path in files:
        if harm == "none" or (harm == "missing last" and path.name == "last.pt"):
            path.unlink()
        elif harm == "all truncated" or (
            harm == "truncated last" and path.name in ("last.pt", "step-00000004.pt")
        ):
            data = path.read_bytes()
            path.unlink()  # last.pt is a second name of the same bytes
            path.write_bytes(data[:-100])
    if harm in ("all truncated", "none"):
        done = sound(gan("train", "resume=run", "trainer.steps=6"), 2)
        assert (
            "no checkpoint can be used" if harm == "all truncated" else "holds no checkpoint"
        ) in done.err
        assert len(list(Path("run/checkpoints").iterdir())) == (0 if harm == "none" else len(files))
        return
    sound(gan("train", "resume=run", "trainer.steps=6"))
    assert (
        f"training from step {2 if harm == 'truncated last' else 4} to 6"
        in Path("run/run.log").read_text()
    )
    sound(gan("train", *TINY, "trainer.steps=6", "trainer.save_every=2", "hydra.run.dir=whole"))
    assert differences(last("whole"), last("run")) == []


# two processes


def test_a_run_in_use_is_refused_with_code_75_and_the_pid(gan):
    train_once(gan, *TINY, "trainer.steps=1")
    folder = RunFolder(Path("run")).open()
    done = sound(gan("train", "resume=run", "trainer.steps=2"), 75)
    assert f"run is in use by pid {os.getpid()} on " in done.err
    folder.close()
    sound(gan("train", "resume=run", "trainer.steps=2"))


def test_a_young_run_is_not_overwritten_by_a_second_one(gan):
    """The first has saved nothing yet: only its lock tells."""
    folder = RunFolder(Path("run")).open()
    sound(gan("train", *TINY, "trainer.steps=1", "hydra.run.dir=run"), 75)
    assert not Path("run/.hydra").exists()
    folder.close()


@pytest.mark.parametrize("moment", ["run.plan.open_data", "files.safe_load.check_savable"])
def test_a_run_that_ended_meanwhile_is_not_overwritten(gan, monkeypatch, moment):
    """Another process did the whole of it while this one read the data, or built the networks."""
    place = f"gancli.{moment}"
    real = pkgutil.resolve_name(place)

    def slow(*args, **kwargs):
        Path("run/checkpoints").mkdir(parents=True, exist_ok=True)
        Path("run/checkpoints/last.pt").touch()
        return real(*args, **kwargs)

    monkeypatch.setattr(place, slow)
    assert (
        "already holds a run"
        in sound(gan("train", *TINY, "trainer.steps=1", "hydra.run.dir=run"), 2).err
    )
    assert not Path("run/.hydra").exists()


# signals


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        (signal.SIGUSR1, 75),
        (signal.SIGUSR2, 75),
    ],
)
def test_a_signal_saves_prints_the_resume_line_and_loses_nothing(gan, at_step, number, code):
    always = ("log.every=2", "trainer.steps=6")
    sound(gan("train", *TINY, *always, "hydra.run.dir=whole"))
    before = signal.getsignal(number)
    at_step(3, lambda _: os.kill(os.getpid(), number))
    done = sound(gan("train", *TINY, *always, "hydra.run.dir=part"), code)
    assert (
        f"{number.name}: saved step 3 of 6" in done.err
        and "to go on:\n  gan train resume=part\n" in done.err
    )
    assert last("part")["progress"]["step"] == 3 and signal.getsignal(number) == before
    if number == signal.SIGINT:
        sound(gan("train", "resume=part"))
        assert differences(last("whole"), last("part")) == [] and lines("whole") == lines("part")


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_changes_nothing_and_is_answered(gan, at_step, second):
    def twice(_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), second)

    at_step(3, twice)
    done = sound(gan("train", *TINY, "trainer.steps=6", "hydra.run.dir=run"), 130)
    assert "SIGINT: the run ends after this step" in done.err
    assert f"{second.name}: already about to save" in done.err
    assert "SIGINT: saved step 3 of 6" in done.err and last("run")["progress"]["step"] == 3


def test_a_third_interrupt_leaves_at_once_and_says_so(gan, at_step):
    def thrice(_):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    at_step(3, thrice)
    done = sound(gan("train", *TINY, "trainer.steps=6", "hydra.run.dir=run"), 130)
    assert "left at once in step 4, unsaved" in done.err and "resume" not in done.err
    assert not any(Path("run/checkpoints").iterdir())

    always = (*TINY, "trainer.steps=6", "trainer.save_every=2")
    done = sound(gan("train", *always, "hydra.run.dir=saved"), 130)
    assert "to go on from the last save:\n  gan train resume=saved\n" in done.err
    assert last("saved")["progress"]["step"] == 2


def test_a_hangup_that_was_ignored_at_the_start_stays_ignored(gan, at_step):
    """As nohup leaves it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    at_step(2, lambda _: os.kill(os.getpid(), signal.SIGHUP))
    try:
        sound(gan("train", *TINY, "trainer.steps=4", "hydra.run.dir=run"))
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert last("run")["progress"]["step"] == 4


def test_a_signal_in_the_middle_of_a_save_is_obeyed_after_it(gan, monkeypatch):
    real = os.fsync

    def fsync(handle):
        if "checkpoints" in os.readlink(f"/proc/self/fd/{handle}"):  # other files are synced too
            os.kill(os.getpid(), signal.SIGTERM)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    done = sound(
        gan("train", *TINY, "trainer.steps=9", "trainer.save_every=2", "hydra.run.dir=run"), 143
    )
    assert (
        "saved step 3 of 9" in done.err
        and read(Path("run/checkpoints/last.pt"))["progress"]["step"] == 3
    )


def test_a_signal_in_the_last_step_is_a_run_that_is_done(gan, at_step):
    at_step(2, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert (
        "the run in run" in sound(gan("train", *TINY, "trainer.steps=2", "hydra.run.dir=run")).out
    )


SLOWLY = """
    import os, sys, time
    from gancli.trainer import Trainer
    from gancli.cli import main
    step = Trainer.step
    def slowly(self):
        step(self)
        print("step", self.progress.step, flush=True)
        time.sleep(0.02)
        if self.progress.step == int(os.environ["HOLD"]):
            sys.stdin.readline()
    Trainer.step = slowly
    sys.exit(main(sys.argv[1:]))
"""


def start(folder: Path, *argv: str, hold: int = 0) -> subprocess.Popen:
    """A gan of its own, which says each step.

    hold: the step after which it waits for a line, however slow the machine is.
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLOWLY), *argv],
        cwd=folder,
        env=ENV | {"HOLD": str(hold)},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for_step(process: subprocess.Popen, step: int) -> None:
    for line in process.stdout:
        if line.startswith("step ") and line.split()[1].isdigit() and int(line.split()[1]) >= step:
            return
    raise AssertionError(process.stderr.read())


def test_kill_9_of_a_real_process_then_resume_and_a_signal_to_a_real_process(gan, tmp_path):
    """The lock dies with the process, and what comes after equals an unbroken run."""
    always = (*TINY, "trainer.save_every=3", "trainer.steps=16")
    sound(gan("train", *always, "hydra.run.dir=whole"))
    with start(tmp_path, "train", *always, "hydra.run.dir=part", hold=8) as process:
        wait_for_step(process, 8)
        second = sound(gan("train", "resume=part"), 75)
        assert f"in use by pid {process.pid} on" in second.err
        process.kill()
    assert last("part")["progress"]["step"] == 6
    with start(tmp_path, "train", "resume=part", hold=11) as process:
        wait_for_step(process, 11)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate("\n", timeout=120)
    assert (
        process.returncode == 143
        and "SIGTERM: saved step 11" in err
        and "to go on:\n  gan train resume=part\n" in err
    )
    sound(gan("train", "resume=part"))
    assert differences(last("whole"), last("part")) == []


@pytest.mark.slow
def test_kill_9_at_random_moments_costs_nothing(gan, tmp_path):
    """Saves all the time, so that many kills meet a save; the end equals an unbroken run."""
    always = (*TINY, "trainer.save_every=1", "trainer.steps=400", "trainer.keep=2", "resume=auto")
    sound(gan("train", *always, "hydra.run.dir=whole"))
    rng = np.random.default_rng(0)
    for _ in range(8):
        with start(tmp_path, "train", *always, "hydra.run.dir=part") as process:
            wait_for_step(process, 1)
            time.sleep(rng.uniform(0, 1.0))
            process.kill()
        step = last("part")["progress"]["step"]
    assert 8 < step < 400
    sound(gan("train", *always, "hydra.run.dir=part"))
    assert differences(last("whole"), last("part")) == [] and not list(
        Path("part/checkpoints").glob(".tmp-*")
    )
    assert len(list_steps(Path("part/checkpoints"))) == 2


# a run that is too short


def test_a_warm_up_longer_than_the_run_is_said(gan):
    done = sound(
        gan("train", *TINY, "trainer.steps=4", "optimizer.g.warmup_kimg=0.064", "hydra.run.dir=run")
    )
    words = (
        "optimizer.g.warmup_kimg=0.064 is longer than the run, which shows 0.032 thousand images"
    )
    assert f"{words}: the learning rate ends at 50% of its value" in done.err
    assert words in Path("run/run.log").read_text() and "optimizer.d" not in done.err
    done = sound(gan("train", *TINY, "trainer.steps=8", "optimizer.g.warmup_kimg=0.064"))
    assert "longer than the run" not in done.err


@pytest.mark.parametrize("subcommand", ["train", "check"])
def test_a_stage_that_never_ends_is_said(gan, subcommand):
    words = ("model=srgan", *SMALL["srgan"], *QUIET, "metrics=none", "dataset.limit=20")
    done = sound(gan(subcommand, *words, "trainer.steps=2", "hydra.run.dir=short"))
    assert "the run ends at step 2, before the losses d, g would begin after step 2" in done.err
    assert "give more trainer.steps, or a shorter model.warmup" in done.err
    done = sound(gan(subcommand, *words, "trainer.steps=3", "hydra.run.dir=long"))
    assert "would begin" not in done.err
