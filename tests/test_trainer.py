"""The engine: when the average moves, and what the loss of a user's game may return."""

from __future__ import annotations

import pytest
import torch
import train_helpers
from helpers import small, steps, trainer_for
from torch import Tensor, nn
from train_helpers import TINY, sound

from gancli import distributed
from gancli.game import Phase
from gancli.trainer import count_steps_since_due


def test_the_average_moves_with_the_generator_by_all_images_since():
    """n_critic 3: the generator moves at steps 3 and 6; the half-life counts what lies between."""
    trainer = trainer_for(
        small("mlp", "loss.n_critic=3", "ema.half_life_kimg=0.05", "ema.rampup=null")
    )
    averages = [snapshot(trainer.ema)]
    weights = []
    for _ in range(6):
        steps(trainer, 1)
        averages.append(snapshot(trainer.ema))
        weights.append(snapshot(trainer.game.generator))
    for resting in (1, 2, 4, 5):
        assert torch.equal(averages[resting], averages[resting - 1])
    stays = 0.5 ** (3 * trainer.settings.batch_size / 50)
    for step in (3, 6):
        expected = stays * averages[step - 1] + (1 - stays) * weights[step - 1]
        torch.testing.assert_close(averages[step], expected)


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_gradients_and_logs_are_means_over_shards(shards):
    """Adam hides the scale of a gradient: no comparison of runs would tell."""
    moved = nn.Parameter(torch.zeros(3))
    moved.grad = torch.tensor([4.0, 8.0, 12.0])
    resting = nn.Parameter(torch.zeros(2))
    means = distributed.average([moved, resting], {"d/adv": torch.tensor(6.0)}, shards=shards)
    assert torch.equal(moved.grad, torch.tensor([4.0, 8.0, 12.0]) / shards)
    assert resting.grad is None and means["d/adv"] == 6 / shards


def snapshot(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


@pytest.mark.parametrize(
    ("phases", "step", "since"),
    [
        ([{}], 7, 1),
        ([{"every": 5}], 4, 5),
        ([{"every": 5}], 9, 5),
        ([{"every": 3}, {"every": 2}], 5, 2),
        ([{"stop": 4}, {"start": 6}], 6, 3),
        ([{"start": 6}], 6, 7),
    ],
)
def test_the_steps_since_a_phase_was_due(phases, step, since):
    made = [
        Phase(name="g", loss=lambda batch: (batch["x"], {}), updates=("g",), **p) for p in phases
    ]
    assert count_steps_since_due(made, step) == since


gan, package = map(pytest.fixture, (train_helpers.gan, train_helpers.package))


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("loss", "the loss of phase g returns no pair"),
        ("None", "the loss of phase g returns no pair"),
        ("(loss.item(), logs)", "the loss of phase g is no scalar tensor but float"),
        ("(loss * torch.ones(4), logs)", "the loss of phase g is no scalar tensor but (4,)"),
        ("(loss.detach(), logs)", "does not depend on what it updates: g"),
        ('(loss, {"adv": loss.item()})', "logs adv as no scalar tensor"),
        ('(loss, {"adv": loss.detach() * torch.ones(3)})', "logs adv as no scalar tensor"),
    ],
)
def test_a_loss_that_is_none_is_explained(returned, words, gan, package):
    mine = package(f"""
        class Mine(GAN):
            def g_loss(self, batch):
                loss, logs = super().g_loss(batch)
                return {returned}
        """)
    done = sound(gan("train", *TINY, f"model._target_={mine}.Mine", "trainer.steps=2"), 2)
    assert words in done.err
