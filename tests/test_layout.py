"""The layout of tensors follows a rule: device, precision, and whether a game translates."""

from __future__ import annotations

import pytest
import torch
from helpers import small, trainer_for

from gancli.precision import memory_format

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
