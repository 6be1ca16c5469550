"""What the published settings say, held against the papers' own numbers and equations."""

from __future__ import annotations

import pytest
import torch
from helpers import small

from gancli.config.build import build_game


def build_small(model: str, *overrides: str):
    torch.manual_seed(0)
    return build_game(small(model, *overrides), trust=None)


def test_cyclegan_halves_the_loss_of_its_discriminators_alone():
    """On equal networks and images its adversarial term is twice that of `lsgan`, the critics' is equal."""
    rng = torch.Generator().manual_seed(1)
    batch = {
        key: torch.rand(2, 3, 16, 16, generator=rng) * 2 - 1
        for key in ("a", "b", "fake_a", "fake_b")
    }
    chosen = build_small("cyclegan")
    halved = build_small("cyclegan", "loss=lsgan")
    for side in "ab":
        assert chosen.loss_of(side).objective.boundary == 0.5
    loss, logs = chosen.g_loss(batch)
    other, parts = halved.g_loss(batch)
    for key in ("a_adv", "b_adv"):
        assert logs[key].item() == pytest.approx(2 * parts[key].item(), rel=1e-6)
    assert (loss - other).item() == pytest.approx(
        (parts["a_adv"] + parts["b_adv"]).item(), rel=1e-5
    )
    assert chosen.d_loss(batch)[0].item() == halved.d_loss(batch)[0].item()
