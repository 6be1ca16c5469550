"""What a run can do without never ends it: evaluations, pictures, loggers; and what is trained is
saved before they are tried.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import train_helpers
from helpers import SMALL, differences
from PIL import Image
from train_helpers import ENV, NETWORKS, QUIET, TINY, last, lines, sound

from gancli.evaluation.monitor import Monitor
from gancli.evaluation.watchdog import Watch
from gancli.metrics import suite
from gancli.render.display import Display
from gancli.run import loop as loop_module
from gancli.run.logbook import EventFile

gan, package, at_step = map(
    pytest.fixture, (train_helpers.gan, train_helpers.package, train_helpers.at_step)
)

MEASURED = (
    *NETWORKS,
    *QUIET,
    "dataset.resolution=8",
    "dataset.limit=30",
    "metrics=fast",
    "metrics.items=[swd]",
    "metrics.n=16",
    "metrics.floor=false",
    "metrics.every=2",
    "log.every=2",
    "log.sample_every=2",
    "trainer.save_every=2",
)


def evaluation(run: str) -> dict:
    return json.loads(Path(run, "evaluation.json").read_text())


def fail(*_, **__):
    raise ZeroDivisionError("on purpose\nwith a second line")


# A1: nothing that may fail ends the run


def test_an_item_that_raises_is_skipped_after_the_state_is_saved(gan, monkeypatch):
    saved = []

    def item(bench):
        saved.append(last("run")["progress"]["step"])
        raise ZeroDivisionError("on purpose")

    monkeypatch.setitem(suite.ITEMS, "ms_ssim", item)
    items = ("metrics.items=[swd,ms_ssim]", "trainer.steps=5", "hydra.run.dir=run")
    done = sound(gan("train", *MEASURED, *items))
    assert saved == [2, 4, 5], "each state was on the disk when its evaluation began"
    assert evaluation("run")["skipped"] == {"ms_ssim": "ZeroDivisionError: on purpose"}
    assert evaluation("run")["values"]["swd"] > 0
    assert done.err.count("ms_ssim skipped: ZeroDivisionError: on purpose") == 1, "told once"
    assert "Traceback" in Path("run/run.log").read_text()
    assert last("run")["run"]["best"]["key"] == "swd"
    assert last("run")["run"]["owes_evaluation"] is False


@pytest.mark.parametrize(
    ("where", "name", "what"),
    [
        (Monitor, "measure", "the evaluation"),
        (Monitor, "draw_samples", "the sample grid"),
        (Monitor, "measure_diversity", "watch/diversity"),
        (Watch, "check", "the watchdog"),
        (Display, "update", "the display"),
        (Display, "note", "the display"),
        (EventFile, "add_scalars", "tensorboard cannot be written"),
        (EventFile, "add_picture", "tensorboard cannot be written"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_else_raises_is_said_and_training_goes_on(gan, monkeypatch, where, name, what):
    monkeypatch.setattr(where, name, fail)
    line = (*MEASURED, "log.tensorboard=true", "trainer.steps=5")
    done = sound(gan("train", *line, "hydra.run.dir=run"))
    assert what in done.err and "ZeroDivisionError: on purpose" in done.err
    assert "with a second line" not in done.err
    assert "Traceback" in Path("run/run.log").read_text()
    assert last("run")["progress"]["step"] == 5
    if name == "measure":
        report = evaluation("run")
        assert report["values"] == {} and report["step"] == 5
        assert report["skipped"] == {"evaluation": "ZeroDivisionError: on purpose"}
        sound(gan("report", "run"))


FLOATS_AND_PAIRS = """
    from dataclasses import dataclass
    from gancli.data.base import Decoded, Source

    class Pairs(GAN):
        \"\"\"Its critic takes two images at once, and none alone.\"\"\"
        def critic(self, batch):
            assert batch["image"].shape[0] % 2 == 0 and "other" in batch, "this critic takes pairs"
            return super().critic(batch)
        def d_loss(self, batch):
            return super().d_loss(batch | {"other": batch["image"].flip(0)})
        def g_loss(self, batch):
            return super().g_loss(batch | {"other": batch["image"].flip(0)})

    @dataclass(kw_only=True)
    class Floats(Source):
        \"\"\"Images as float32 in [-1,1].\"\"\"
        def load(self):
            rng = torch.Generator().manual_seed(0)
            images = torch.rand(40, 1, 16, 16, generator=rng) * 2 - 1
            return Decoded(images=images, digest="floats")
"""


def test_a_critic_of_pairs_and_float_images_are_evaluated_as_far_as_they_go(gan, package):
    name = package(FLOATS_AND_PAIRS)
    own = (
        f"model._target_={name}.Pairs",
        f"dataset._target_={name}.Floats",
        "dataset.resolution=16",
        "dataset.channels=1",
        "dataset.classes=0",
        "dataset.holdout=8",
    )
    full = ("metrics=full", "metrics.n=16", "metrics.every=2", "log.every=2", "log.sample_every=2")
    line = (*NETWORKS, *QUIET, *own, *full, "trainer.steps=4", "trainer.save_every=2")
    sound(gan("train", *line, "hydra.run.dir=run"))
    report = evaluation("run")
    assert "takes pairs" in report["skipped"]["overfitting"]
    assert report["values"]["swd"] > 0 and report["values"]["ms_ssim"] > 0
    assert report["protocol"]["real_images"] == "floats, rounded to 256 levels"
    assert last("run")["progress"]["step"] == 4 and "takes pairs" in Path("run/run.log").read_text()


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", [4, 6])
@pytest.mark.parametrize("victim", ["measure", "draw_samples", "show_report"])
def test_what_a_kill_prevented_is_made_up_for(gan, monkeypatch, step, victim):
    """Killed between the save and the evaluation or the picture, or before the evaluation is saved.

    The end equals an undisturbed run.
    """
    line = (*MEASURED, "trainer.steps=6")
    sound(gan("train", *line, "hydra.run.dir=whole"))
    where = loop_module.Loop if victim == "show_report" else Monitor
    real = getattr(where, victim)

    def sometimes(self, first, *rest, **options):
        progress = self.progress if victim == "show_report" else first.progress
        return (interrupt if progress.step == step else real)(self, first, *rest, **options)

    monkeypatch.setattr(where, victim, sometimes)
    sound(gan("train", *line, "hydra.run.dir=part"), 130)
    assert last("part")["progress"]["step"] == step
    monkeypatch.setattr(where, victim, real)
    sound(gan("train", "resume=part"))
    assert differences(last("whole"), last("part")) == []
    assert lines("whole") == lines("part")
    assert sorted(p.name for p in Path("part/samples").iterdir()) == sorted(
        p.name for p in Path("whole/samples").iterdir()
    )
    assert evaluation("whole") == evaluation("part")
    assert "is complete at step 6" in sound(gan("train", "resume=part")).out


def test_the_best_state_holds_that_it_is_the_best(gan, monkeypatch):
    sound(gan("train", *MEASURED, "trainer.steps=6", "hydra.run.dir=run"))
    best = last("run")["run"]["best"]
    from gancli.checkpoint import read

    tree = read(Path("run/checkpoints/best.pt"))
    assert tree["progress"]["step"] == best["step"] and tree["run"]["best"] == best


# A2: the first save


def test_a_new_run_is_saved_after_a_minute_and_its_bits_stay_the_same(gan, monkeypatch):
    line = (*TINY, "trainer.steps=6", "trainer.save_every=3", "trainer.keep=2")
    sound(gan("train", *line, "hydra.run.dir=whole"))
    monkeypatch.setattr(loop_module, "FIRST_SAVE_S", 0.0)
    seen = []
    real = loop_module.Loop.save

    def save(self, *args, **options):
        real(self, *args, **options)
        seen.append(self.progress.step)

    monkeypatch.setattr(loop_module.Loop, "save", save)
    sound(gan("train", *line, "hydra.run.dir=early"))
    assert seen == [1, 3, 6], "once by the clock, then by save_every"
    assert differences(last("whole"), last("early")) == []
    names = sorted(path.name for path in Path("early/checkpoints").iterdir())
    assert names == ["last.pt", "step-00000003.pt", "step-00000006.pt"]
    seen.clear()
    sound(gan("train", "resume=early", "trainer.steps=8"))
    assert seen == [8], "a resumed run has a checkpoint already"


ON_TWO_RANKS = """
    import gancli.run.loop
    from gancli.evaluation.monitor import Monitor
    gancli.run.loop.FIRST_SAVE_S = 0.0

    class Mine(GAN):
        pass

    def fail(*_, **__):
        raise ZeroDivisionError("on purpose")

    Monitor.measure_diversity = Monitor.draw_samples = Monitor.measure = fail
"""


@pytest.mark.full
@pytest.mark.dist
def test_ranks_stay_in_step_when_the_first_one_fails_to_look(gan, package, tmp_path):
    name = package(ON_TWO_RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "gancli", "train", *MEASURED]
    command += [f"model._target_={name}.Mine", "trainer.steps=6", "hydra.run.dir=run"]
    command += ["trainer.save_every=4"]
    run = subprocess.run(
        command, cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("the sample grid skipped: ZeroDivisionError: on purpose") == 1
    names = sorted(path.name for path in Path("run/checkpoints").glob("step-*.pt"))
    assert len(names) == 3 and names[1:] == ["step-00000004.pt", "step-00000006.pt"]
    assert int(names[0][5:13]) in (1, 2), "by rank 0's clock"
    assert evaluation("run")["skipped"] == {"evaluation": "ZeroDivisionError: on purpose"}


# A3: data without any spread


def write_images(folder: Path, pixels: list[np.ndarray], *, classes: int = 0) -> None:
    for k, image in enumerate(pixels):
        place = folder / f"class{k % classes}" if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{k:02d}.png")


def noise(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(256, size=(16, 16), dtype=np.uint8) for _ in range(n)]


ALIKE = {
    "one image": (noise(1), 0),
    "identical images": (noise(1) * 12, 0),
    "constant images": ([np.full((16, 16), 90, np.uint8)] * 12, 0),
    "one image a class": (noise(4), 4),
    "identical images of two classes": (noise(1) * 12, 2),
    "one class": (noise(12), 1),
}


@pytest.mark.parametrize(
    ("metrics", "name"),
    [
        *(("fast", name) for name in ALIKE),
        *(
            # One of the two that train a classifier is enough.
            pytest.param(
                "full", name, marks=pytest.mark.full if name == "one image a class" else ()
            )
            for name in ALIKE
        ),
    ],
)
def test_data_without_spread_train_with_default_settings(gan, name, metrics):
    pixels, classes = ALIKE[name]
    write_images(Path("photos"), pixels, classes=classes)
    line = ("model=cgan", *SMALL["cgan"], *QUIET, "dataset=folder", "dataset.path=photos")
    line += (f"metrics={metrics}", "metrics.n=16", "trainer.steps=3", "log.every=2")
    done = sound(gan("train", *line, "hydra.run.dir=run"))
    entries = lines("run")
    assert "nan" not in json.dumps(entries) and "null" not in json.dumps(
        evaluation("run")["values"]
    )
    alike = name != "one class"
    assert ("watch/diversity is left out" in done.err) == alike
    assert any("watch/diversity" in entry for entry in entries) != alike
    assert all("Error: " not in reason for reason in evaluation("run")["skipped"].values())


@pytest.mark.parametrize("same", ["one pair", "equal targets"])
def test_pairs_without_spread_train_with_default_settings(gan, same):
    pairs = [np.hstack([image, noise(1)[0]]) for image in noise(1 if same == "one pair" else 6)]
    write_images(Path("pairs"), pairs)
    line = (
        "model=pix2pix",
        *SMALL["pix2pix"][1:],
        *QUIET,
        "dataset.path=pairs",
        "dataset.resolution=16",
    )
    line += ("metrics.n=16", "trainer.steps=3", "log.every=2", "trainer.batch_size=2")
    done = sound(gan("train", *line, "hydra.run.dir=run"))
    assert "watch/diversity is left out" in done.err
    assert all("Error: " not in reason for reason in evaluation("run")["skipped"].values())


def test_a_watchdog_whose_objective_costs_always_the_same(gan, package):
    name = package("""
        from gancli.losses.objectives import Objective
        class Flat(Objective):
            def cost(self, scores, target):
                return scores * 0 + 1
    """)
    line = (*TINY, f"loss.objective._target_={name}.Flat", "trainer.steps=3", "log.every=1")
    done = sound(gan("train", *line, "watch.start_kimg=0", "hydra.run.dir=run"))
    assert "the watchdog" not in done.err


def test_an_item_of_pairs_that_raises_costs_only_itself(gan, monkeypatch):
    from gancli.evaluation import paired

    write_images(Path("pairs"), [np.hstack(noise(2)) for _ in range(6)])
    monkeypatch.setattr(paired, "ssim", fail)
    line = ("model=pix2pix", *SMALL["pix2pix"][1:], *QUIET, "dataset.path=pairs")
    line += ("dataset.resolution=16", "metrics.n=10", "trainer.steps=2", "trainer.batch_size=2")
    sound(gan("train", *line, "hydra.run.dir=run"))
    assert evaluation("run")["skipped"]["ssim"] == "ZeroDivisionError: on purpose"
    assert evaluation("run")["values"]["psnr"] > 0


@pytest.mark.slow
def test_kills_between_saves_evaluations_and_pictures_cost_nothing(gan, tmp_path):
    """Evaluates and draws all the time, so that many kills meet one; the end equals an unbroken
    run.
    """
    line = ("train", *MEASURED, "trainer.steps=200", "trainer.keep=2", "resume=auto")
    sound(gan(*line, "hydra.run.dir=whole"))
    rng = np.random.default_rng(0)
    for _ in range(10):
        command = [sys.executable, "-m", "gancli", *line, "hydra.run.dir=part"]
        with subprocess.Popen(
            command, cwd=tmp_path, env=ENV, stdout=subprocess.PIPE, text=True
        ) as process:
            for text in process.stdout:
                if text.startswith("step"):
                    break
            time.sleep(rng.uniform(0, 0.5))
            process.kill()
    assert 0 < last("part")["progress"]["step"] < 200
    sound(gan(*line, "hydra.run.dir=part"))
    assert differences(last("whole"), last("part")) == []
    assert lines("whole") == lines("part") and evaluation("whole") == evaluation("part")
    for folder in ("samples", "checkpoints"):
        assert sorted(p.name for p in Path("whole", folder).iterdir()) == sorted(
            p.name for p in Path("part", folder).iterdir()
        )
