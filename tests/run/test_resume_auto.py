"""resume=auto goes on with the newest run of the same settings, or says in a line why it starts a
new one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import train_helpers
from train_helpers import NETWORKS, QUIET, TINY, last, sound

from gancli.run.resume import tell_older_meanings

gan, package = map(pytest.fixture, (train_helpers.gan, train_helpers.package))
AUTO = ("train", *TINY, "resume=auto")


def runs() -> list[Path]:
    return sorted(Path("outputs").glob("*/*"))


def test_it_continues_with_more_steps_and_other_logging(gan):
    done = sound(gan(*AUTO, "trainer.steps=2"))
    assert "resume=auto: there is no run in outputs/mlp-digits; a new one starts" in done.out
    done = sound(gan(*AUTO, "trainer.steps=4", "log.every=1", "trainer.keep=7"))
    assert len(runs()) == 1 and f"resume=auto: {runs()[0]} goes on from step 2" in done.out
    assert last(runs()[0])["progress"]["step"] == 4
    assert last(runs()[0])["config"]["trainer"]["keep"] == 7
    done = sound(gan(*AUTO, "trainer.steps=4"))
    assert f"{runs()[0]} is complete at step 4" in done.out and len(runs()) == 1


def test_nothing_fits_and_the_nearest_run_is_named(gan):
    sound(gan("train", *TINY, "trainer.steps=1"))
    first = runs()[0]
    done = sound(gan(*AUTO, "trainer.steps=2", "seed=3", "optimizer.g.lr=0.1"))
    assert len(runs()) == 2
    line = next(line for line in done.out.splitlines() if line.startswith("resume=auto"))
    assert (
        f"the nearest, {first.name}, differs in seed: 0 -> 3, optimizer.g.lr: 0.0005 -> 0.1; a new"
        in line
    )
    done = sound(gan(*AUTO, "trainer.steps=2", "loss=hinge"))
    assert f"{first.name}, differs in loss: non_saturating -> hinge; a new one starts" in done.out
    done = sound(gan(*AUTO, "trainer.steps=2"))
    assert f"{first} goes on from step 1" in done.out, "the one whose settings are the same"


def test_other_data_are_another_run(gan, tmp_path):
    from PIL import Image

    def pictures(n: int) -> None:
        Path("photos").mkdir(exist_ok=True)
        for k in range(n):
            Image.new("RGB", (8, 8), (9 * k, 100, 50)).save(f"photos/{k}.png")

    words = (*NETWORKS, *QUIET, "dataset=folder", "dataset.path=photos", "dataset.resolution=8")
    words = ("train", *words, "metrics=none", "watch.action=off", "model.conditional=false")
    pictures(12)
    sound(gan(*words, "trainer.steps=1"))
    pictures(14)
    done = sound(gan(*words, "trainer.steps=2", "resume=auto"))
    assert "differs in its data; a new one starts" in done.out and len(runs()) == 2


def test_the_newest_is_the_one_that_was_saved_last(gan):
    older, newer = (Path("outputs/mlp-digits") / name for name in "ab")
    sound(gan("train", *TINY, "trainer.steps=1", f"hydra.run.dir={older}"))
    sound(gan("train", *TINY, "trainer.steps=2", f"hydra.run.dir={newer}"))
    for when, run in ((2e9, older), (1e9, newer)):
        for file in (run / "checkpoints").iterdir():
            os.utime(file, (when, when))
    assert f"{older} goes on from step 1" in sound(gan(*AUTO, "trainer.steps=3")).out


def test_a_given_folder_is_the_run(gan):
    given = (*AUTO, "hydra.run.dir=mine")
    done = sound(gan(*given, "trainer.steps=1"))
    assert "resume=auto: mine holds no run yet; a new one starts" in done.out
    sound(gan(*given, "trainer.steps=3"))
    assert last("mine")["progress"]["step"] == 3
    assert "seed is 0 in mine, 1 here" in sound(gan(*given, "seed=1"), 2).err


def test_the_users_own_code_needs_no_trust_beside_its_name(gan, package):
    name = package("class Mine(GAN):\n    pass\n")
    words = (*AUTO, f"model._target_={name}.Mine")
    for steps, place in ((1, ()), (2, ()), (1, ("hydra.run.dir=x",)), (2, ("hydra.run.dir=x",))):
        sound(gan(*words, f"trainer.steps={steps}", *place))
    assert last("x")["progress"]["step"] == 2 == last(runs()[0])["progress"]["step"]


def test_a_run_that_lacks_newer_keys_and_one_that_is_damaged(gan):
    sound(gan("train", *TINY, "trainer.steps=1"))
    sound(gan("train", *TINY, "trainer.steps=1"))
    old, damaged = runs()
    tree = last(old)
    del tree["config"]["watch"]
    del tree["config"]["perceptual"]
    for file in (old / "checkpoints").iterdir():
        torch.save(tree, file)
    for file in (damaged / "checkpoints").iterdir():
        file.write_bytes(file.read_bytes()[:2000])
        os.utime(file, (3e9, 3e9))
    assert f"{old} goes on from step 1" in sound(gan(*AUTO, "trainer.steps=2")).out


def test_a_run_from_before_a_key_tells_what_it_goes_on_with(gan):
    """A key that an older config lacks keeps its old meaning, the class's own default."""
    words = (
        *("train", "model=infogan", "dataset.resolution=8", "dataset.limit=30", "metrics=none"),
        *(*QUIET, "model.width=4", "model.q_moves=d", "resume=auto"),
    )
    sound(gan(*words, "trainer.steps=1"))
    tree = last(runs()[0])
    assert tree["config"]["model"].pop("q_moves") == "d"
    tree["format"] = 1
    for file in (runs()[0] / "checkpoints").iterdir():
        torch.save(tree, file)
    done = sound(gan(*words, "trainer.steps=2"))
    assert f"{runs()[0]} goes on from step 1" in done.out
    assert "model.q_moves: 'both', as when it was started; a new run has 'd'" in done.out
    assert "q_moves" not in last(runs()[0])["config"]["model"], "it stays as it is"


def test_digits_of_a_run_from_before_they_were_crisp_stay_smooth(gan):
    """Such a run goes on as it was; resume=auto asks for other pictures, and says so."""
    words = ("train", *TINY, "dataset._target_=gancli.data.builtin.Digits")
    old = Path("outputs/mlp-digits/old")
    sound(gan(*words, "trainer.steps=1", f"hydra.run.dir={old}"))
    smooth = last(old)["data"]["hash"]
    assert "step 2/2" in sound(gan("train", f"resume={old}", "trainer.steps=2")).out
    said = " ".join(sound(gan(*AUTO, "trainer.steps=3")).out.split())
    assert "'gancli.data.builtin.Digits' -> 'gancli.data.builtin.CrispDigits'; a new one" in said
    (new,) = (run for run in runs() if run != old)
    assert last(new)["data"]["hash"] != smooth == last(old)["data"]["hash"]


def test_what_a_class_does_anyway_is_not_told():
    spec = {"_target_": "gancli.games.infogan.InfoGAN", "q_moves": "both"}
    old = {"model": {"_target_": spec["_target_"]}, "optimizer": {"g": {"lr": 1.0}}}
    new = {"model": spec, "optimizer": {"g": {"lr": 1.0}, "q": {"lr": 2.0, "betas": [0, 1]}}}
    keys = ["model.q_moves", "optimizer.q.lr", "optimizer.q.betas"]
    assert list(tell_older_meanings(old, new, keys)) == [
        "optimizer.q: a new run has it, this one goes on without"
    ]
