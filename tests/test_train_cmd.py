"""gan train as a user meets it: runs that stop, go on, clash, fail and are swept, and what is said each time."""
from __future__ import annotations

import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers import REPO, differences
from PIL import Image

from gancli import trainer as trainer_module
from gancli.checkpoint import newest, read, steps_in
from gancli.cli import main
from gancli.commands import train as command
from gancli.runfolder import RunFolder
from gancli.trainer import Trainer

QUIET = ("log.tensorboard=false", "trainer.device=cpu", "trainer.precision=fp32", "trainer.batch_size=8")
NETWORKS = ("model=mlp", "model.generator.hidden=[16]", "model.discriminator.hidden=[12]")
TINY = (*NETWORKS, *QUIET, "dataset.resolution=8", "dataset.limit=30")
ENV = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def gan(tmp_path, monkeypatch, capsys):
    """Runs a command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])

    def run(*argv: str) -> Done:
        capsys.readouterr()
        code = main(list(argv))
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def package(gan, tmp_path):
    """Writes a Python file of the user's, under a name that no other test has imported, and returns the name."""
    def write(text: str) -> str:
        name = f"mine_{uuid.uuid4().hex[:8]}"
        (tmp_path / f"{name}.py").write_text("import torch\nfrom gancli.games.gan import GAN\n" + textwrap.dedent(text))
        return name

    return write


@pytest.fixture
def at_step(monkeypatch):
    """at_step(k, deed): does the deed in the middle of step k, after its gradients."""
    def plan(k: int, deed) -> None:
        real = Trainer.step

        def step(self):
            real(self)
            if self.progress.step == k:
                deed(self)

        monkeypatch.setattr(Trainer, "step", step)

    return plan


def last(run: str | Path) -> dict:
    return newest(Path(run) / "checkpoints")[1]


def lines(run: str | Path) -> list[dict]:
    entries = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in entry.items() if key != "time"} for entry in entries]


def sound(done: Done, code: int = 0) -> Done:
    assert done.code == code, done.out + done.err
    assert "Traceback" not in done.err
    return done


# resume


def test_a_resumed_run_equals_an_unbroken_one_in_every_leaf(gan):
    always = ("log.every=1", "trainer.save_every=2")
    sound(gan("train", *TINY, *always, "trainer.steps=7", "hydra.run.dir=whole"))
    sound(gan("train", *TINY, *always, "trainer.steps=3", "hydra.run.dir=part"))
    done = sound(gan("train", "resume=part", "trainer.steps=7"))
    assert done.out.splitlines()[-2:] == ["done: part", "  gan sample ckpt=part"]
    assert differences(last("whole"), last("part")) == []
    assert lines("whole") == lines("part")
    names = [[path.name for path in steps_in(Path(run, "checkpoints"))] for run in ("whole", "part")]
    assert names[0] == ["step-00000007.pt", "step-00000006.pt", "step-00000004.pt"] and len(names[1]) == 3
    assert "training from step 3 to 7" in Path("part/run.log").read_text()


def test_a_complete_run_says_so_and_what_to_type(gan):
    sound(gan("train", *TINY, "trainer.steps=2", "hydra.run.dir=run"))
    before = Path("run/checkpoints/last.pt").stat().st_mtime_ns
    done = sound(gan("train", "resume=run"))
    assert done.out.strip() == "run is complete at step 2; gan train resume=run trainer.steps=N goes on"
    assert "complete at step 2" in sound(gan("train", "resume=run", "trainer.steps=1")).out
    assert Path("run/checkpoints/last.pt").stat().st_mtime_ns == before


def test_a_used_folder_is_refused_before_the_data_are_read(gan, monkeypatch):
    sound(gan("train", *TINY, "trainer.steps=1", "hydra.run.dir=my run"))
    before = {path: path.read_bytes() for path in Path("my run").rglob("*") if path.is_file()}
    monkeypatch.setattr(command, "open_data", lambda *_, **__: pytest.fail("the data were read"))
    done = sound(gan("train", *TINY, "trainer.steps=2", "hydra.run.dir=my run"), 2)
    assert "my run already holds a run" in done.err and "gan train 'resume=my run'   continues it" in done.err
    assert {path: path.read_bytes() for path in Path("my run").rglob("*") if path.is_file()} == before


def test_resume_auto_continues_the_same_overrides_or_starts(gan):
    auto = (*TINY, "resume=auto", "trainer.steps=2")
    first = sound(gan("train", *auto)).out.splitlines()[-2].removeprefix("done: ")
    assert f"{first} is complete" in sound(gan("train", *auto)).out
    other = sound(gan("train", *auto, "seed=1")).out.splitlines()[-2].removeprefix("done: ")
    assert other != first
    sound(gan("train", *auto, "hydra.run.dir=mine"))
    sound(gan("train", *TINY, "resume=auto", "trainer.steps=4", "hydra.run.dir=mine"))
    assert last("mine")["progress"]["step"] == 4


def test_what_a_run_keeps_is_refused_and_the_run_stays_as_it_was(gan):
    sound(gan("train", *TINY, "trainer.steps=1", "hydra.run.dir=run"))
    before = last("run")
    for override, said in (("loss=hinge", "loss is 'non_saturating' in run, 'hinge' here"),
                           ("seed=5", "seed is 0 in run, 5 here"),
                           ("model.generator.hidden=[8]", "model.generator.hidden is [16] in run, [8] here"),
                           ("dataset.limit=20", "dataset.limit is 30 in run, 20 here"),
                           ("trainer.stepz=9", "unknown key trainer.stepz"),
                           ("trainer.steps=many", "trainer.steps='many' does not fit"),
                           ("trainer.batch_size=0", "give 1 or more"),
                           ("dataset.path=elsewhere", "Digits takes no 'path'")):
        assert said in sound(gan("train", "resume=run", "trainer.steps=9", override), 2).err
    assert differences(before, last("run")) == []
    sound(gan("train", "resume=run", "trainer.steps=2", "trainer.keep=1", "log.every=1", "dataset.workers=1", "model=mlp"))
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
    sound(gan("train", *TINY, "trainer.steps=1", "hydra.run.dir=run"))
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
        elif harm == "all truncated" or (harm == "truncated last" and path.name in ("last.pt", "step-00000004.pt")):
            data = path.read_bytes()
            path.unlink()  # last.pt is a second name of the same bytes
            path.write_bytes(data[:-100])
    if harm in ("all truncated", "none"):
        done = sound(gan("train", "resume=run", "trainer.steps=6"), 2)
        assert ("no checkpoint can be used" if harm == "all truncated" else "holds no checkpoint") in done.err
        assert len(list(Path("run/checkpoints").iterdir())) == (0 if harm == "none" else len(files))
        return
    sound(gan("train", "resume=run", "trainer.steps=6"))
    assert f"training from step {2 if harm == 'truncated last' else 4} to 6" in Path("run/run.log").read_text()
    sound(gan("train", *TINY, "trainer.steps=6", "trainer.save_every=2", "hydra.run.dir=whole"))
    assert differences(last("whole"), last("run")) == []


# two processes


def test_a_run_in_use_is_refused_with_code_75_and_the_pid(gan):
    sound(gan("train", *TINY, "trainer.steps=1", "hydra.run.dir=run"))
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


@pytest.mark.parametrize("moment", ["commands.train.open_data", "quarantine.check_savable"])
def test_a_run_that_ended_meanwhile_is_not_overwritten(gan, monkeypatch, moment):
    """Another process did the whole of it while this one read the data, or built the networks."""
    place = f"gancli.{moment}"
    real = pkgutil.resolve_name(place)

    def slow(*args, **kwargs):
        Path("run/checkpoints").mkdir(parents=True, exist_ok=True)
        Path("run/checkpoints/last.pt").touch()
        return real(*args, **kwargs)

    monkeypatch.setattr(place, slow)
    assert "already holds a run" in sound(gan("train", *TINY, "trainer.steps=1", "hydra.run.dir=run"), 2).err
    assert not Path("run/.hydra").exists()


# signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 75),
                                              (signal.SIGUSR2, 75)])
def test_a_signal_saves_prints_the_resume_line_and_loses_nothing(gan, at_step, number, code):
    always = ("log.every=2", "trainer.steps=6")
    sound(gan("train", *TINY, *always, "hydra.run.dir=whole"))
    before = signal.getsignal(number)
    at_step(3, lambda _: os.kill(os.getpid(), number))
    done = sound(gan("train", *TINY, *always, "hydra.run.dir=part"), code)
    assert f"{number.name}: saved step 3 of 6" in done.err and "gan train resume=part   goes on" in done.err
    assert last("part")["progress"]["step"] == 3 and signal.getsignal(number) == before
    if number == signal.SIGINT:
        sound(gan("train", "resume=part"))
        assert differences(last("whole"), last("part")) == [] and lines("whole") == lines("part")


def test_a_second_interrupt_leaves_at_once(gan, at_step):
    def twice(_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    at_step(3, twice)
    started = time.perf_counter()
    done = sound(gan("train", *TINY, "trainer.steps=6", "hydra.run.dir=run"), 130)
    assert time.perf_counter() - started < 5 and "interrupted" in done.err and not any(Path("run/checkpoints").iterdir())


def test_a_signal_in_the_middle_of_a_save_is_obeyed_after_it(gan, monkeypatch):
    real = os.fsync

    def fsync(handle):
        os.kill(os.getpid(), signal.SIGTERM)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    done = sound(gan("train", *TINY, "trainer.steps=9", "trainer.save_every=2", "hydra.run.dir=run"), 143)
    assert "saved step 3 of 9" in done.err and read(Path("run/checkpoints/last.pt"))["progress"]["step"] == 3


def test_a_signal_in_the_last_step_is_a_run_that_is_done(gan, at_step):
    at_step(2, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert "done: run" in sound(gan("train", *TINY, "trainer.steps=2", "hydra.run.dir=run")).out


SLOWLY = """
    import sys, time
    from gancli.trainer import Trainer
    from gancli.cli import main
    step = Trainer.step
    def slowly(self):
        step(self)
        print("step", self.progress.step, flush=True)
        time.sleep(0.02)
    Trainer.step = slowly
    sys.exit(main(sys.argv[1:]))
"""


def start(folder: Path, *argv: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(SLOWLY), *argv], cwd=folder, env=ENV, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_step(process: subprocess.Popen, step: int) -> None:
    for line in process.stdout:
        if line.startswith("step ") and line.split()[1].isdigit() and int(line.split()[1]) >= step:
            return
    raise AssertionError(process.stderr.read())


def test_kill_9_of_a_real_process_then_resume_and_a_signal_to_a_real_process(gan, tmp_path):
    """The lock dies with the process, and what comes after equals an unbroken run."""
    always = (*TINY, "trainer.save_every=3", "trainer.steps=40")
    sound(gan("train", *always, "hydra.run.dir=whole"))
    with start(tmp_path, "train", *always, "hydra.run.dir=part") as process:
        wait_for_step(process, 8)
        second = sound(gan("train", "resume=part"), 75)
        assert f"in use by pid {process.pid} on" in second.err
        process.kill()
    with start(tmp_path, "train", "resume=part") as process:
        wait_for_step(process, 12)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "SIGTERM: saved step" in err and "gan train resume=part   goes on" in err
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
    assert differences(last("whole"), last("part")) == [] and not list(Path("part/checkpoints").glob(".tmp-*"))
    assert len(steps_in(Path("part/checkpoints"))) == 2


# what ends a run badly


BREAKS = """
    class Breaks(GAN):
        def g_loss(self, batch):
            loss, logs = super().g_loss(batch)
            if self.progress.step == 4:
                {deed}
            return loss, logs
"""


def broken(package, deed: str) -> tuple[str, ...]:
    name = package(BREAKS.format(deed=deed))
    return (f"model._target_={name}.Breaks", "trainer.steps=8", "trainer.save_every=2", "hydra.run.dir=run")


def test_a_loss_that_is_not_finite_stops_with_code_3_and_the_last_file_is_sound(gan, package):
    deed = "return loss * float('nan'), logs | {'adv': loss.detach() * float('nan')}"
    done = sound(gan("train", *TINY, *broken(package, deed)), 3)
    assert "step 5: g/adv is not finite" in done.err and "optimizer.<player>.lr" in done.err
    assert "gan train resume=run trust=mine_" in done.err
    tree = last("run")
    assert tree["progress"]["step"] == 4 and all(value.isfinite().all() for value in tree["game"].values())


def test_weights_that_are_not_finite_are_not_saved(gan, package):
    deed = "next(self.generator.parameters()).data[0] = float('inf')"
    done = sound(gan("train", *TINY, *broken(package, deed)), 3)
    assert "not finite" in done.err
    assert all(value.isfinite().all() for value in [*last("run")["game"].values(), *last("run")["ema"].values()])


def test_a_run_that_stopped_before_its_first_save_offers_no_resume(gan, package):
    done = sound(gan("train", *TINY, *broken(package, "return loss * float('nan'), logs"), "trainer.save_every=100"), 3)
    assert "resume" not in done.err


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
                                   RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
                                   MemoryError()], ids=lambda error: type(error).__name__)
def test_out_of_memory_names_the_peak_the_batch_and_three_settings(gan, at_step, error):
    def fail(_):
        raise error

    at_step(3, fail)
    done = sound(gan("train", *TINY, "trainer.steps=9", "trainer.save_every=2", "trainer.accumulate=2", "hydra.run.dir=run"), 1)
    assert "out of memory on cpu: " in done.err and " GB at the peak, with trainer.batch_size=8 in 2 pieces" in done.err
    assert all(word in done.err for word in ("trainer.accumulate=4", "trainer.batch_size=4", "trainer.precision=bf16"))
    assert "gan train resume=run   goes on" in done.err and last("run")["progress"]["step"] == 2
    assert "Traceback" in Path("run/run.log").read_text(), "where it happened"


def test_an_unexpected_error_keeps_its_traceback_and_points_to_the_log(gan, package):
    done = gan("train", *TINY, *broken(package, "1 / 0"))
    assert done.code == 1 and "ZeroDivisionError" in done.err and "the run's log is run/run.log" in done.err
    assert "ZeroDivisionError" in Path("run/run.log").read_text()


def test_a_run_folder_that_vanishes_is_a_warning_and_code_75_at_the_end(gan, at_step):
    at_step(3, lambda _: shutil.rmtree("run"))
    done = sound(gan("train", *TINY, "trainer.steps=6", "trainer.save_every=2", "log.every=2", "hydra.run.dir=run"), 75)
    assert "step 4 could not be saved" in done.err and "step 6 could not be saved" in done.err


@pytest.mark.parametrize("place", ["file", "file/below", "x" * 300])
def test_a_folder_that_cannot_be_made_is_a_sentence(gan, place):
    Path("file").touch()
    done = sound(gan("train", *TINY, "trainer.steps=1", f"hydra.run.dir={place}"), 2)
    assert "cannot be made" in done.err and "hydra.run.dir=" in done.err


def test_a_state_that_could_not_be_read_again_is_refused_before_the_first_step(gan, package):
    name = package("""
        class Odd(GAN):
            def get_extra_state(self):
                return {"seen": {1, 2}}
            def set_extra_state(self, state):
                pass
    """)
    done = sound(gan("train", *TINY, f"model._target_={name}.Odd", "trainer.steps=2", "hydra.run.dir=run"), 2)
    assert "the state of the model holds a set" in done.err and not list(Path("run").glob("checkpoints/*"))


def test_data_that_are_not_finite_are_refused_before_a_folder_is_made(gan, package):
    name = package("""
        from dataclasses import dataclass
        from gancli.data.base import Decoded, Source
        @dataclass(kw_only=True)
        class Holes(Source):
            def load(self):
                return Decoded(images=torch.full((20, 2, 1, 1), float("nan")), digest="holes")
    """)
    own = (f"dataset._target_={name}.Holes", "dataset.resolution=1", "dataset.channels=2", "dataset.classes=0",
           "dataset.kind=points")
    done = gan("train", *NETWORKS, *QUIET, *own, "trainer.steps=2", "hydra.run.dir=run")
    assert done.code == 2 and "'image' holds values that are not finite" in done.err and not Path("run").exists()


# a user's own code


def test_a_run_of_the_users_code_goes_on_only_with_trust(gan, package):
    name = package("class Mine(GAN):\n    pass\n")
    done = sound(gan("train", *TINY, f"model._target_={name}.Mine", "trainer.steps=2", "hydra.run.dir=run"))
    assert done.out.splitlines()[-1] == f"  gan sample ckpt=run trust={name}"
    for argv in (("train", "resume=run", "trainer.steps=3"), ("train", "resume=run", "trainer.steps=3", "trust=[other]"),
                 ("sample", "ckpt=run", "n=2"), ("sample", "ckpt=run", "n=2", "trust=other")):
        done = sound(gan(*argv), 2)
        assert f"{name}.Mine is code of {name}'s" in done.err and f"add trust={name}" in done.err
    assert f"resume=run trust={name} trainer.steps=N" in sound(gan("train", "resume=run", f"trust={name}")).out
    sound(gan("train", "resume=run", "trainer.steps=3", f"trust={name}"))
    sound(gan("train", "resume=run", "trainer.steps=4", f"trust=[other,{name}]"))
    sound(gan("sample", "ckpt=run", "n=2", f"trust={name}"))


@pytest.mark.parametrize("part", ["model", "loss", "dataset", "optimizer"])
def test_a_strangers_run_is_refused_before_anything_of_it_is_imported(gan, package, part):
    sound(gan("train", *TINY, "trainer.steps=1", "hydra.run.dir=run"))
    name = package("open('canary', 'w')\nclass Mine(GAN):\n    pass\n")
    tree = last("run")
    (tree["config"]["optimizer"]["g"] if part == "optimizer" else tree["config"][part])["_target_"] = f"{name}.Mine"
    torch.save(tree, "run/checkpoints/last.pt")
    done = sound(gan("train", "resume=run", "trainer.steps=2"), 2)
    assert f"{name}.Mine is code of {name}'s" in done.err and not Path("canary").exists()


@pytest.mark.xfail(strict=True, reason="optimizers.py builds with no trust at all")
def test_an_optimizer_of_the_users_own(gan, package):
    name = package("""
        class Mine(torch.optim.Adam):
            def __init__(self, params, *, lr: float, betas: list[float], weight_decay: float):
                super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)
    """)
    sound(gan("train", *TINY, f"optimizer.g._target_={name}.Mine", "trainer.steps=1", "hydra.run.dir=run"))
    sound(gan("train", "resume=run", "trainer.steps=2", f"trust={name}"))


# sweeps


def entries(folder: str) -> list[dict]:
    return [json.loads(line) for line in Path(folder, "sweep.jsonl").read_text().splitlines()]


def test_a_sweep_survives_a_failing_job_and_says_how_each_ended(gan, package):
    name = package("""
        class Sometimes(GAN):
            def __init__(self, *, generator, discriminator, loss, conditional, latent, fail: bool = False):
                super().__init__(generator=generator, discriminator=discriminator, loss=loss, latent=latent)
                self.fail = fail
            def d_loss(self, batch):
                if self.fail:
                    raise ZeroDivisionError("on purpose")
                return super().d_loss(batch)
    """)
    done = gan("train", "-m", *TINY, f"model._target_={name}.Sometimes", "+model.fail=false,true,false", "trainer.steps=2",
               "hydra.sweep.dir=sweep")
    assert done.code == 1
    found = entries("sweep")
    assert [entry["state"] for entry in found] == ["done", "failed", "done"]
    assert found[1]["reason"] == "ZeroDivisionError: on purpose" and "+model.fail=True" in found[1]["overrides"]
    assert done.err.count("Traceback") == 1, "its traceback is shown once, and the sweep's end has none"
    table = done.out.splitlines()[-5:]
    assert table[0] == "sweep: sweep" and table[3].strip() == "ZeroDivisionError: on purpose"
    for k, line in zip((0, 1, 2), (table[1], table[2], table[4]), strict=True):
        assert line.split()[:2] == [str(k), found[k]["state"]] and line.endswith(found[k]["folder"])
        assert line.split()[3] == "s" and Path(found[k]["folder"], ".hydra", "overrides.yaml").exists()
    assert last(found[0]["folder"])["progress"]["step"] == 2


def test_a_sweep_in_which_all_is_well(gan):
    sweep = ("train", "-m", *TINY, "seed=1,2", "trainer.steps=1", "hydra.sweep.dir=sweep")
    done = sound(gan(*sweep))
    assert [entry["state"] for entry in entries("sweep")] == ["done", "done"]
    assert differences(last(entries("sweep")[0]["folder"]), last(entries("sweep")[1]["folder"]))
    assert "job 0: " in done.out
    again = sound(gan(*sweep), 1)
    assert again.out.count("already holds a run") == 2, "a sweep is not overwritten"


def test_a_sweep_started_again_skips_what_is_done(gan, at_step):
    sweep = ("train", "-m", *TINY, "seed=1,2", "trainer.steps=3", "hydra.sweep.dir=sweep", "resume=auto")
    seen = []
    at_step(2, lambda trainer: (seen.append(trainer.seed), seen == [1, 2] and os.kill(os.getpid(), signal.SIGTERM)))
    sound(gan(*sweep), 143)
    assert [entry["state"] for entry in entries("sweep")] == ["done", "interrupted"]
    done = sound(gan(*sweep))
    assert seen == [1, 2], "one is complete, the other goes on from step 2"
    assert done.out.count("is complete at step 3") == 1 and done.out.count("  done  ") == 2


def test_a_job_that_gate_2_refuses_fails_alone(gan):
    sizes = ("trainer.batch_size=9,8", "trainer.accumulate=2")
    sound(gan("train", "-m", *TINY, *sizes, "trainer.steps=1", "hydra.sweep.dir=sweep"), 1)
    found = entries("sweep")
    assert [entry["state"] for entry in found] == ["failed", "done"] and "does not divide" in found[0]["reason"]


def test_a_sweep_stops_on_an_interrupt(gan, at_step):
    at_step(2, lambda _: os.kill(os.getpid(), signal.SIGINT))
    done = sound(gan("train", "-m", *TINY, "seed=1,2,3", "trainer.steps=4", "hydra.sweep.dir=sweep"), 130)
    assert [entry["state"] for entry in entries("sweep")] == ["interrupted"]
    assert "sweep: sweep" in done.out and "saved step 2 of 4" in done.err


def test_a_wrong_command_line_of_a_sweep_runs_nothing(gan):
    sound(gan("train", "-m", *TINY, "seed=1", "trainer.steps=1", "hydra.sweep.dir=sweep"))
    done = sound(gan("train", "-m", *TINY, "loss=hinge,hinje", "hydra.sweep.dir=other"), 2)
    assert "hinje" in done.err and "sweep:" not in done.out and not Path("other").exists()


def test_a_failed_job_does_not_keep_its_memory(gan, package, monkeypatch):
    """Its exception is kept by Hydra, the traceback by the exception, and the networks by the traceback's frames."""
    import gc
    import weakref

    trainers = []
    real = trainer_module.Trainer.__init__

    def init(self, *args, **kwargs):
        alive.append(sum(one() is not None for one in trainers))
        real(self, *args, **kwargs)
        trainers.append(weakref.ref(self))

    alive: list[int] = []
    monkeypatch.setattr(trainer_module.Trainer, "__init__", init)
    monkeypatch.setattr(trainer_module.Trainer, "step", lambda self: (_ for _ in ()).throw(ZeroDivisionError("x")))
    gan("train", "-m", *TINY, "seed=1,2,3", "trainer.steps=1", "hydra.sweep.dir=sweep")
    gc.collect()
    assert alive == [0, 0, 0]
