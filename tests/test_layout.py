"""The layout of tensors follows a rule: device, precision, and whether a game translates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import train_helpers
from helpers import CPU, TINY, differences, small, trainer_for
from train_helpers import last, sound

import gancli.trainer
from gancli import checkpoint
from gancli.precision import layout_of_run, memory_format

gan = pytest.fixture(train_helpers.gan)

LAST = torch.channels_last
FIRST = torch.contiguous_format


@pytest.mark.parametrize(
    ("device", "precision", "model", "layout"),
    [
        ("cuda", "fp32", "cyclegan", LAST),
        ("cpu", "bf16", "cyclegan", LAST),
        ("cpu", "fp32", "cyclegan", FIRST),
        ("cpu", "fp32", "dcgan", LAST),
        ("mps", "fp32", "dcgan", FIRST),
    ],
)
def test_the_layout_follows_a_rule(device, precision, model, layout):
    game = trainer_for(small(model)).game
    assert memory_format(torch.device(device), precision, game) is layout


def test_weights_and_batches_lie_as_the_rule_says():
    trainer = trainer_for(small("dcgan", "trainer.precision=fp32", "dataset.channels=3"))
    weights = [p for p in trainer.game.discriminator.parameters() if p.ndim == 4]
    assert weights and all(p.is_contiguous(memory_format=LAST) for p in weights)
    assert trainer.draw_batch()["image"].is_contiguous(memory_format=LAST)


SMALL_DCGAN = (
    *("model=dcgan", "dataset.channels=3", "model.width=4", "model.max_width=8"),
    *("dataset.resolution=16", *TINY, "trainer.precision=fp32", "trainer.save_every=1"),
)


def test_a_run_from_before_the_rule_goes_on_as_it_began(gan, monkeypatch):
    """Its checkpoint names no layout: it was torch's own for fp32 on a CPU."""
    with monkeypatch.context() as patch:
        patch.setattr(gancli.trainer, "memory_format", lambda *_: FIRST)
        sound(gan("train", *SMALL_DCGAN, "trainer.steps=1", "hydra.run.dir=old"))
        sound(gan("train", *SMALL_DCGAN, "trainer.steps=3", "hydra.run.dir=whole"))
    tree = last("old")
    assert tree["run"].pop("layout") == "contiguous"
    checkpoint.save(tree, Path("old/checkpoints"), keep=3)
    done = sound(gan("train", "resume=old", "trainer.steps=3"))
    assert "not bit for bit" not in done.err
    assert last("old")["run"]["layout"] == "contiguous"
    assert not differences(last("whole")["game"], last("old")["game"])
    sound(gan("train", *SMALL_DCGAN, "trainer.steps=1", "hydra.run.dir=new"))
    assert last("new")["run"]["layout"] == "channels_last"


@pytest.mark.parametrize(
    ("run", "precision", "layout"),
    [
        ({"device": "cpu", "layout": "channels_last"}, "fp32", LAST),
        ({"device": "cpu", "layout": "contiguous"}, "fp32", FIRST),
        ({"device": "cpu"}, "fp32", FIRST),
        ({"device": "cpu", "layout": ["odd"]}, "fp32", FIRST),
        ({"device": "cpu", "layout": "contiguous"}, "bf16", None),
        ({"device": "cuda", "layout": "channels_last"}, "fp32", None),
    ],
)
def test_a_run_keeps_its_layout_where_it_keeps_its_device(run, precision, layout):
    tree = {"run": run, "config": {"trainer": {"precision": "fp32"}}}
    assert layout_of_run(tree, CPU, precision) is layout
