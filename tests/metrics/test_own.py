"""A metric of the user's own: in training, gan evaluate, gan compare and reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import train_helpers
from data_helpers import numbered
from helpers import differences
from train_helpers import QUIET, TINY, last, lines, sound, train_once

from gancli.reports.runs import read_evaluation

gan, package = map(pytest.fixture, (train_helpers.gan, train_helpers.package))
METRICS = """
import torch
from gancli.metrics.own import Metric

class Ratio(Metric):
    '''The mean of samples relative to that of reals.

    More words.'''

    higher_is_better = True

    def __init__(self, *, factor: float = 1.0):
        self.factor = factor

    def __call__(self, images, reals):
        assert images.dtype == reals.dtype == torch.uint8 and images.shape[1:] == reals.shape[1:]
        assert len(reals) <= len(images) and not torch.is_grad_enabled()
        return self.factor * float(images.float().mean() / reals.float().mean())

class Drawn(Metric):
    higher_is_better = False

    def __call__(self, images, reals):
        images.zero_()  # what it does to its images reaches nobody
        reals.zero_()
        return torch.rand(())

class Broken(Metric):
    def __call__(self, images, reals):
        raise RuntimeError("no such network")

class Many(Metric):
    def __call__(self, images, reals):
        return {"a": 1.0}

class Unbuilt(Metric):
    def __init__(self):
        raise RuntimeError("no weights here")

class Plain:
    pass
"""
EVERY = (*TINY, "metrics.every=2", "metrics.n=20", "trainer.steps=4", "hydra.run.dir=run")


@pytest.fixture
def mine(package):
    return package(METRICS)


def own(mine: str, name: str, cls: str, keys: str = "") -> str:
    return f"metrics.own.{name}={{_target_: {mine}.{cls}{keys}}}"


def evaluation() -> dict:
    return json.loads(Path("run/evaluation.json").read_text())


def test_training_measures_it_and_best_follows_it(gan, mine):
    words = (own(mine, "ratio", "Ratio", ", factor: 2"), "metrics.best=ratio")
    done = sound(gan("train", *EVERY, *words))
    assert "ratio " in done.out and "the best so far" in done.out
    found = evaluation()
    assert found["values"].keys() == {"ratio"} and found["best"]["key"] == "ratio"
    assert found["best"]["mode"] == "max" == last("run")["config"]["metrics"]["best_mode"]
    what = f"The mean of samples relative to that of reals ({mine}.Ratio(factor=2))"
    assert found["own"] == {"ratio": {"what": what, "better": "higher"}}
    assert [line["step"] for line in lines("run") if "eval/ratio" in line] == [2, 4]


def test_it_changes_neither_training_nor_the_images_of_others(gan, mine):
    sound(gan("train", *TINY, "trainer.steps=4", "hydra.run.dir=bare"))
    words = (own(mine, "drawn", "Drawn"), own(mine, "ratio", "Ratio"))
    sound(gan("train", *EVERY, *words))
    assert not differences(last("bare")["game"], last("run")["game"])
    first = evaluation()["values"]
    assert first["ratio"] > 0.1 and 0 < first["drawn"] < 1
    sound(gan("evaluate", "ckpt=run", "metrics=none", "n=20", f"trust={mine}"))
    (file,) = Path("run/evaluations").glob("*.json")
    assert read_evaluation(file)["values"] == first  # drawn by the seed, in any process


def test_what_it_raises_costs_its_own_number_alone(gan, mine):
    names = ("Broken", "Many", "Unbuilt", "Ratio")
    done = sound(gan("train", *EVERY, *(own(mine, name.lower(), name) for name in names)))
    found = evaluation()
    assert found["values"].keys() == {"ratio"}
    assert found["skipped"]["broken"] == "RuntimeError: no such network"
    assert "it returned dict; return one number" in found["skipped"]["many"]
    assert "no weights here" in found["skipped"]["unbuilt"]
    assert "broken skipped: RuntimeError" in done.err


def test_a_checkpoint_s_is_built_only_when_trusted_and_a_typed_one_at_once(gan, mine, package):
    sound(gan("train", *EVERY, own(mine, "ratio", "Ratio")))
    sound(gan("sample", "ckpt=run", "n=2", "out=out"))  # it needs none of it
    evaluate = ("evaluate", "ckpt=run", "metrics=none", "n=20")
    done = sound(gan(*evaluate))
    assert f"add trust={mine}" in done.out and "1 higher" not in done.out
    other = package(METRICS.replace("higher_is_better = True", "higher_is_better = False"))
    done = sound(gan(*evaluate, own(other, "mine", "Ratio")))
    assert f"add trust={mine}" in done.out and "lower" in done.out
    done = sound(gan(*evaluate, f"trust={mine}"))
    assert "ratio" in done.out and "higher" in done.out and "trust=" not in done.out
    assert Path("run/evaluations/none-n20-train-ema-mine.json").is_file()
    sound(gan("train", "resume=run", "trainer.steps=5"), 2)
    resume = ("train", "resume=run", "trainer.steps=6", f"trust=[{mine},{other}]")
    sound(gan(*resume, own(other, "mine", "Ratio")))
    assert evaluation()["values"].keys() == {"ratio", "mine"}


def test_reports_and_compare_know_its_direction_and_what_it_is(gan, mine):
    for k in (1, 2):
        run = f"hydra.run.dir=runs/{k}"
        sound(gan("train", *EVERY[:-1], own(mine, "ratio", "Ratio"), f"seed={k}", run))
    done = sound(gan("compare", "runs", "by=ratio"))
    assert "by ratio (larger is better)" in done.out
    assert "The mean of samples relative" in Path("outputs/compare/compare.html").read_text()
    sound(gan("report", "runs/1"))
    (page,) = Path("runs/1").glob("*.html")
    assert page.read_text().count("The mean of samples relative") >= 2  # tooltip and legend


def test_an_option_of_a_users_folder_may_hold_it(gan, mine):
    path = Path("my_conf/metrics/mine.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(
        "# Mine\ndefaults: [fast, _self_]\nitems: []\nn: 20\nown: "
        f"{{r: {{_target_: {mine}.Ratio}}}}"
    )
    words = [word for word in EVERY if not word.startswith("metrics")]
    sound(gan("train", *words, "--config-dir", "my_conf", "metrics=mine"))
    assert evaluation()["values"].keys() == {"r"}


def test_folders_are_measured_as_well(gan, mine):
    for name in ("real", "fake"):
        numbered(Path(name), 12)
    words = ("real=real", "fake=fake", "metrics=none", own(mine, "ratio", "Ratio"))
    done = sound(gan("evaluate", *words))
    assert "ratio" in done.out and "higher" in done.out


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("metrics.own=3", "metrics.own=3 does not fit"),
        ("metrics.own.x=3", "metrics.own.x=3 does not fit"),
        ("metrics.own.fid={{_target_: {}.Ratio}}", "fid is a number of gancli's own"),
        ("metrics.own.x={{_target_: {}.Ratio, fctor: 1}}", "takes no 'fctor'"),
        ("metrics.own.x={{_target_: {}.Ratio, factor: much}}", "factor='much' does not fit"),
        ("metrics.own.x={{_target_: {}.Plain}}", "is no Metric"),
        ("metrics.own.x={{_target_: {}.Absent}}", "is not a class"),
        ("metrics.best=x metrics.own.x={{_target_: {}.Broken}}", "is more of it better, or less?"),
    ],
)
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_mistakes_are_told_before_anything_is_measured(gan, mine, command, word, said):
    words = word.format(mine).replace(" metrics.own", "\nmetrics.own").split("\n")
    first = EVERY if command == "train" else ("ckpt=run",)
    if command == "evaluate":
        if "best" in word:
            pytest.skip("best.pt is training's")
        train_once(gan, *TINY, "trainer.steps=1")
    done = sound(gan(command, *first, *words), 2)
    assert said in done.err


def test_translated_images_are_measured_against_their_targets_in_order(gan, package):
    module = package(
        """
        from gancli.metrics.own import Metric

        class Apart(Metric):
            higher_is_better = False

            def __call__(self, images, reals):
                assert images.shape == reals.shape
                apart = (images.float() - reals.float()).abs().mean((1, 2, 3))
                others = (images.float() - reals.roll(1, 0).float()).abs().mean((1, 2, 3))
                return (apart < others).float().mean()
        """
    )
    words = ("model=enhance", "dataset=degraded", "+dataset@dataset.of=digits", *QUIET)
    small = ("dataset.resolution=8", "dataset.limit=40", "model.width=4", "metrics=none")
    layers = ("model.generator.blocks=1", "model.discriminator.layers=1", "metrics.n=16")
    run = (own(module, "apart", "Apart"), "trainer.steps=1", "hydra.run.dir=run")
    sound(gan("train", *words, *small, *layers, *run))
    assert evaluation()["values"]["apart"] > 0.9
