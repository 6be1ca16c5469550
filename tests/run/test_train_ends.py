"""How a run of gan train ends when something breaks, whose code it may run, and what becomes of a
sweep.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pickle
import shutil
import signal
import sys
import weakref
from pathlib import Path

import pytest
import torch
import train_helpers
from helpers import REPO, differences
from train_helpers import NETWORKS, QUIET, TINY, last, sound, train_once

from gancli.commands.sweep import read_entries, record
from gancli.errors import Diverged, Interrupted, Problems, UserError
from gancli.trainer import Trainer

gan, package, at_step = map(
    pytest.fixture, (train_helpers.gan, train_helpers.package, train_helpers.at_step)
)

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
    return (
        f"model._target_={name}.Breaks",
        "trainer.steps=8",
        "trainer.save_every=2",
        "hydra.run.dir=run",
    )


def test_a_loss_that_is_not_finite_stops_with_code_3_and_the_last_file_is_sound(gan, package):
    deed = "return loss * float('nan'), logs | {'adv': loss.detach() * float('nan')}"
    done = sound(gan("train", *TINY, *broken(package, deed)), 3)
    assert "step 5: g/adv is not finite" in done.err and "optimizer.<player>.lr" in done.err
    assert "gan train resume=run trust=mine_" in done.err
    tree = last("run")
    assert tree["progress"]["step"] == 4 and all(
        value.isfinite().all() for value in tree["game"].values()
    )


def test_weights_that_are_not_finite_are_not_saved(gan, package):
    deed = "next(self.generator.parameters()).data[0] = float('inf')"
    done = sound(gan("train", *TINY, *broken(package, deed)), 3)
    assert "not finite" in done.err
    assert all(
        value.isfinite().all()
        for value in [*last("run")["game"].values(), *last("run")["ema"].values()]
    )


def test_a_run_that_stopped_before_its_first_save_offers_no_resume(gan, package):
    done = sound(
        gan(
            "train",
            *TINY,
            *broken(package, "return loss * float('nan'), logs"),
            "trainer.save_every=100",
        ),
        3,
    )
    assert "resume" not in done.err


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"
        ),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_out_of_memory_names_the_peak_the_batch_and_three_settings(gan, at_step, error):
    def fail(_):
        raise error

    at_step(3, fail)
    done = sound(
        gan(
            "train",
            *TINY,
            "trainer.steps=9",
            "trainer.save_every=2",
            "trainer.accumulate=2",
            "hydra.run.dir=run",
        ),
        1,
    )
    assert (
        "out of memory on cpu: " in done.err
        and " GB at the peak, with trainer.batch_size=8 in 2 pieces" in done.err
    )
    assert all(
        word in done.err
        for word in ("trainer.accumulate=4", "trainer.batch_size=4", "trainer.precision=bf16")
    )
    assert (
        "to go on:\n  gan train resume=run\n" in done.err and last("run")["progress"]["step"] == 2
    )
    assert "Traceback" in Path("run/run.log").read_text(), "where it happened"


@pytest.mark.parametrize("subcommand", ["train", "check"])
def test_one_value_a_channel_is_said_with_a_batch_that_works(gan, subcommand):
    # The context encoder's bottleneck is a single place: one image at a time leaves its batch norm
    # one value a channel.
    words = (
        "experiment=inpaint_digits_small",
        "model.width=4",
        "model.generator.bottleneck=8",
        *QUIET,
        "trainer.steps=1",
    )
    done = sound(gan(subcommand, *words, "trainer.batch_size=2", "trainer.accumulate=2"), 2)
    assert (
        "one value a channel (trainer.batch_size=2 in 2 pieces)" in done.err
        and "trainer.batch_size=4" in done.err
    )
    sound(
        gan(
            subcommand, *words, "trainer.batch_size=4", "trainer.accumulate=2", "hydra.run.dir=four"
        )
    )


def test_an_unexpected_error_keeps_its_traceback_and_points_to_the_log(gan, package):
    done = gan("train", *TINY, *broken(package, "1 / 0"))
    assert (
        done.code == 1
        and "ZeroDivisionError" in done.err
        and "the run's log is run/run.log" in done.err
    )
    assert "ZeroDivisionError" in Path("run/run.log").read_text()


def test_a_run_folder_that_vanishes_is_a_warning_and_code_1_at_the_end(gan, at_step):
    """No disk is full and no lock is held, so trying again later (75) would not help."""
    at_step(3, lambda _: shutil.rmtree("run"))
    done = sound(
        gan(
            "train",
            *TINY,
            "trainer.steps=6",
            "trainer.save_every=2",
            "log.every=2",
            "hydra.run.dir=run",
        ),
        1,
    )
    assert "step 4 could not be saved" in done.err and "step 6 could not be saved" in done.err
    assert "there is no checkpoint" in done.err and "intact" not in done.err
    assert "make room" not in done.err and "resume" not in done.err


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
    done = sound(
        gan("train", *TINY, f"model._target_={name}.Odd", "trainer.steps=2", "hydra.run.dir=run"), 2
    )
    assert "the state of the model holds a set" in done.err and not list(
        Path("run").glob("checkpoints/*")
    )


def test_data_that_are_not_finite_are_refused_before_a_folder_is_made(gan, package):
    name = package("""
        from dataclasses import dataclass
        from gancli.data.base import Decoded, Source
        @dataclass(kw_only=True)
        class Holes(Source):
            def load(self):
                return Decoded(images=torch.full((20, 2, 1, 1), float("nan")), digest="holes")
    """)
    own = (
        f"dataset._target_={name}.Holes",
        "dataset.resolution=1",
        "dataset.channels=2",
        "dataset.classes=0",
        "dataset.kind=points",
    )
    done = gan("train", *NETWORKS, *QUIET, *own, "trainer.steps=2", "hydra.run.dir=run")
    assert (
        done.code == 2
        and "'image' holds values that are not finite" in done.err
        and not Path("run").exists()
    )


# a user's own code


def test_a_run_of_the_users_code_goes_on_only_with_trust(gan, package):
    name = package("class Mine(GAN):\n    pass\n")
    done = sound(
        gan("train", *TINY, f"model._target_={name}.Mine", "trainer.steps=2", "hydra.run.dir=run")
    )
    assert done.out.splitlines()[-1] == f"  gan sample ckpt=run trust={name}"
    for argv in (
        ("train", "resume=run", "trainer.steps=3"),
        ("train", "resume=run", "trainer.steps=3", "trust=[other]"),
        ("sample", "ckpt=run", "n=2"),
        ("sample", "ckpt=run", "n=2", "trust=other"),
    ):
        done = sound(gan(*argv), 2)
        assert f"{name}.Mine is code of {name}'s" in done.err and f"add trust={name}" in done.err
    assert (
        f"resume=run trust={name} trainer.steps=4"
        in sound(gan("train", "resume=run", f"trust={name}")).out
    )
    sound(gan("train", "resume=run", "trainer.steps=3", f"trust={name}"))
    sound(gan("train", "resume=run", "trainer.steps=4", f"trust=[other,{name}]"))
    sound(gan("sample", "ckpt=run", "n=2", f"trust={name}"))


@pytest.mark.parametrize("part", ["model", "loss", "dataset", "optimizer"])
def test_an_untrusted_run_is_refused_before_anything_of_it_is_imported(gan, package, part):
    train_once(gan, *TINY, "trainer.steps=1")
    name = package("open('canary', 'w')\nclass Mine(GAN):\n    pass\n")
    tree = last("run")
    (tree["config"]["optimizer"]["g"] if part == "optimizer" else tree["config"][part])[
        "_target_"
    ] = f"{name}.Mine"
    torch.save(tree, "run/checkpoints/last.pt")
    done = sound(gan("train", "resume=run", "trainer.steps=2"), 2)
    assert f"{name}.Mine is code of {name}'s" in done.err and not Path("canary").exists()


def test_an_optimizer_of_the_users_own(gan, package):
    name = package("""
        class Mine(torch.optim.Adam):
            def __init__(self, params, *, lr: float, betas: list[float], weight_decay: float):
                super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)
    """)
    sound(
        gan(
            "train",
            *TINY,
            f"optimizer.g._target_={name}.Mine",
            "trainer.steps=1",
            "hydra.run.dir=run",
        )
    )
    sound(gan("train", "resume=run", "trainer.steps=2", f"trust={name}"))


# sweeps


def entries(folder: str) -> list[dict]:
    return [json.loads(line) for line in Path(folder, "sweep.jsonl").read_text().splitlines()]


def test_a_sweep_survives_a_failing_job_and_says_how_each_ended(gan, package):
    name = package("""
        class Sometimes(GAN):
            def __init__(
                self, *, generator, discriminator, loss, conditional, latent, pack,
                generator_batch, heads, fail: bool = False
            ):
                super().__init__(
                    generator=generator, discriminator=discriminator, loss=loss, latent=latent
                )
                self.fail = fail
            def d_loss(self, batch):
                if self.fail:
                    raise ZeroDivisionError("on purpose")
                return super().d_loss(batch)
    """)
    done = gan(
        "train",
        "-m",
        *TINY,
        f"model._target_={name}.Sometimes",
        "+model.fail=false,true,false",
        "trainer.steps=2",
        "hydra.sweep.dir=sweep",
    )
    assert done.code == 1
    found = entries("sweep")
    assert [entry["state"] for entry in found] == ["done", "failed", "done"]
    assert (
        found[1]["reason"] == "ZeroDivisionError: on purpose"
        and "+model.fail=True" in found[1]["overrides"]
    )
    assert done.err.count("Traceback") == 1, (
        "its traceback is shown once, and the sweep's end has none"
    )
    table = done.out.splitlines()[-7:]
    assert table[5] == "done: sweep/compare.html" and Path("sweep/compare.html").is_file()
    assert table[6].startswith("  gan report sweep/")
    sound(gan(*table[6].split()[1:]))
    assert table[0] == "sweep: sweep" and table[3].strip() == "ZeroDivisionError: on purpose"
    for k, line in zip((0, 1, 2), (table[1], table[2], table[4]), strict=True):
        assert line.split()[:2] == [str(k), found[k]["state"]] and line.endswith(found[k]["folder"])
        assert (
            line.split()[3] == "s" and Path(found[k]["folder"], ".hydra", "overrides.yaml").exists()
        )
    assert last(found[0]["folder"])["progress"]["step"] == 2


def test_a_torn_or_foreign_list_of_a_sweep_is_read_line_by_line(tmp_path):
    (tmp_path / "sweep.jsonl").write_text(
        '{"job": 1, "state": "done", "seconds": 1e999}\n{"job": "a"}\n[1]\n"job"\n{"job": [2]}\n'
        '{"job": 0, "folder": "x", "overrides": 7, "reason": null}\n{"job": 3, "fol'
    )
    assert [entry["seconds"] for entry in read_entries(tmp_path).values()] == [0.0, 0.0]
    record(tmp_path, {"job": 2, "folder": "y"})
    assert [entry["job"] for entry in entries(str(tmp_path))] == [0, 1, 2]


def test_a_sweep_in_which_all_is_well(gan):
    sweep = ("train", "-m", *TINY, "seed=1,2", "trainer.steps=1", "hydra.sweep.dir=sweep")
    done = sound(gan(*sweep))
    assert [entry["state"] for entry in entries("sweep")] == ["done", "done"]
    assert differences(last(entries("sweep")[0]["folder"]), last(entries("sweep")[1]["folder"]))
    assert "job 0: " in done.out
    first = entries("sweep")
    again = sound(gan(*sweep, "resume=auto"))
    assert again.out.count("is complete at step 1") == 2
    assert [entry["seconds"] for entry in entries("sweep")] == [
        entry["seconds"] for entry in first
    ], "one line a job, which keeps its time"
    again = sound(gan(*sweep), 1)
    assert again.out.count("already holds a run") == 2, "a sweep is not overwritten"
    assert [entry["state"] for entry in entries("sweep")] == ["failed", "failed"]


def test_a_sweep_started_again_skips_what_is_done(gan, at_step):
    sweep = (
        "train",
        "-m",
        *TINY,
        "seed=1,2",
        "trainer.steps=3",
        "hydra.sweep.dir=sweep",
        "resume=auto",
    )
    seen = []
    at_step(
        2,
        lambda trainer: (
            seen.append(trainer.config.seed),
            seen == [1, 2] and os.kill(os.getpid(), signal.SIGTERM),
        ),
    )
    sound(gan(*sweep), 143)
    assert [entry["state"] for entry in entries("sweep")] == ["done", "interrupted"]
    done = sound(gan(*sweep))
    assert seen == [1, 2], "one is complete, the other goes on from step 2"
    assert done.out.count("is complete at step 3") == 1 and done.out.count("  done  ") == 2


def test_a_job_that_gate_2_refuses_fails_alone(gan):
    sizes = ("trainer.batch_size=9,8", "trainer.accumulate=2")
    sound(gan("train", "-m", *TINY, *sizes, "trainer.steps=1", "hydra.sweep.dir=sweep"), 1)
    found = entries("sweep")
    assert [entry["state"] for entry in found] == ["failed", "done"] and "does not divide" in found[
        0
    ]["reason"]


def test_a_sweep_stops_on_an_interrupt(gan, at_step):
    at_step(2, lambda _: os.kill(os.getpid(), signal.SIGINT))
    done = sound(
        gan("train", "-m", *TINY, "seed=1,2,3", "trainer.steps=4", "hydra.sweep.dir=sweep"), 130
    )
    assert [entry["state"] for entry in entries("sweep")] == ["interrupted"]
    assert "sweep: sweep" in done.out and "saved step 2 of 4" in done.err


def test_a_wrong_command_line_of_a_sweep_runs_nothing(gan):
    sound(gan("train", "-m", *TINY, "seed=1", "trainer.steps=1", "hydra.sweep.dir=sweep"))
    done = sound(gan("train", "-m", *TINY, "loss=hinge,hinje", "hydra.sweep.dir=other"), 2)
    assert "hinje" in done.err and "sweep:" not in done.out and not Path("other").exists()


def test_a_failed_job_does_not_keep_its_memory(gan, package, monkeypatch):
    """Its exception is kept by Hydra, the traceback by the exception, and the networks by the
    traceback's frames.
    """
    trainers = []
    real = Trainer.__init__

    def init(self, *args, **kwargs):
        alive.append(sum(one() is not None for one in trainers))
        real(self, *args, **kwargs)
        trainers.append(weakref.ref(self))

    alive: list[int] = []
    monkeypatch.setattr(Trainer, "__init__", init)
    monkeypatch.setattr(Trainer, "step", lambda self: (_ for _ in ()).throw(ZeroDivisionError("x")))
    gan("train", "-m", *TINY, "seed=1,2,3", "trainer.steps=1", "hydra.sweep.dir=sweep")
    gc.collect()
    assert alive == [0, 0, 0]


LAUNCHER = '''
import pickle
import subprocess
import sys
from pathlib import Path

from hydra.core.utils import run_job, setup_globals
from hydra.plugins.launcher import Launcher


class Elsewhere(Launcher):
    """Runs every job in a process of its own, as launchers for clusters do."""

    def setup(self, *, hydra_context, task_function, config):
        self.parts = (hydra_context, task_function, config)

    def launch(self, job_overrides, initial_job_idx):
        sweep = Path(str(self.parts[2].hydra.sweep.dir))
        sweep.mkdir(parents=True, exist_ok=True)
        returns = []
        for number, overrides in enumerate(job_overrides):
            job = (*self.parts, list(overrides), initial_job_idx + number)
            done = subprocess.run(
                [sys.executable, __file__], input=pickle.dumps(job), stdout=subprocess.PIPE
            )
            if done.returncode:
                raise RuntimeError(f"a worker died with {done.returncode}")
            returns.append(pickle.loads(done.stdout))
        return returns


if __name__ == "__main__":
    import os

    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    setup_globals()
    context, task, config, overrides, number = pickle.loads(sys.stdin.buffer.read())
    one = context.config_loader.load_sweep_config(config, overrides)
    one._set_flag("struct", False)
    one.hydra.job.id = one.hydra.job.num = number
    answer.write(pickle.dumps(run_job(
        hydra_context=context, config=one, task_function=task,
        job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
    )))
'''


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The words that choose a launcher whose jobs run in other processes."""
    from hydra.core.plugins import Plugins

    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "elsewhere.py").write_text(LAUNCHER)
    (tmp_path / "conf" / "hydra" / "launcher").mkdir(parents=True)
    (tmp_path / "conf" / "hydra" / "launcher" / "elsewhere.yaml").write_text(
        "_target_: hydra_plugins.elsewhere.Elsewhere\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("hydra_plugins", "hydra_plugins.elsewhere"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    launcher = importlib.import_module("hydra_plugins.elsewhere").Elsewhere
    plugins = Plugins.instance()
    plugins.register(launcher)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (tmp_path, REPO))))
    yield ("--config-dir", "conf", "hydra/launcher=elsewhere", "hydra.sweep.dir=sweep")
    for classes in plugins.plugin_type_to_subclass_list.values():
        if launcher in classes:
            classes.remove(launcher)
    del plugins.class_name_to_class["hydra_plugins.elsewhere.Elsewhere"]


@pytest.mark.full
def test_a_sweep_in_other_processes_ends_with_its_table_and_marks_what_failed(gan, elsewhere):
    """Job 0 is done, job 1 is refused by gate 2, whose Problems travels between processes, job 2 is
    killed.
    """
    Path("deadly.py").write_text(DEADLY)
    words = (*TINY, "trainer.steps=1", "model._target_=deadly.Mine", "+model.die=false")
    done = gan("train", "-m", *words, *elsewhere, "trainer.batch_size=8,9", "trainer.accumulate=2")
    assert done.code == 1 and Path("sweep/sweep.jsonl").exists(), done.out + done.err
    assert [entry["state"] for entry in entries("sweep")] == ["done", "failed"]
    assert "does not divide" in done.out and "sweep: sweep" in done.out
    assert "2 runs by " in done.out.split("sweep: sweep")[0], "the leaderboard"
    assert Path("sweep/compare.html").exists()

    words = (*words[:-1], "+model.die=false,true", "hydra.sweep.dir=other")
    done = gan("train", "-m", *words[:-1], *elsewhere[:-1], words[-1])
    assert done.code == 1
    assert "a worker died with" in done.err and "Traceback" not in done.err
    table = done.out.split("sweep: other")[1]
    assert table.split()[:2] == ["0", "done"] and "killed" in table


DEADLY = """
import os, signal
from gancli.games.gan import GAN

class Mine(GAN):
    def __init__(
        self, *, generator, discriminator, loss, conditional, latent, pack,
        generator_batch, heads, die: bool
    ):
        super().__init__(generator=generator, discriminator=discriminator, loss=loss, latent=latent)
        self.die = die

    def d_loss(self, batch):
        if self.die:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().d_loss(batch)
"""


def test_errors_travel_between_processes():
    for error in (
        UserError("a", "b"),
        Problems([("a", "b"), ("c", "d")]),
        Diverged("a", sound=False),
        Interrupted("a", code=130),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and again.__dict__ == error.__dict__
        assert str(again) == str(error) and again.code == error.code
