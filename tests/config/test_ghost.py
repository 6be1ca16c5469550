"""A ghost has the shapes of its game, whatever its networks do at their start."""

from __future__ import annotations

import pytest
import torch
from helpers import SMALL, small
from torch import nn

from gancli.config.build import build_game
from gancli.config.ghost import BlankWeights, build_ghost


@pytest.mark.parametrize(
    "model",
    ["sngan", "stylegan2", *(pytest.param(m, marks=pytest.mark.full) for m in SMALL)],
)
def test_a_ghost_has_the_shapes_of_its_game(model):
    config = small(model)
    ghost = build_ghost(config).state_dict()
    game = build_game(config).state_dict()
    assert {key: value.shape for key, value in ghost.items()} == {
        key: value.shape for key, value in game.items()
    }
    assert all(value.is_meta for value in ghost.values())


def test_what_lies_in_memory_keeps_its_values():
    with torch.device("meta"), BlankWeights():
        made = torch.ones(2, device="cpu")
        filled = nn.init.constant_(torch.empty(2, device="cpu"), 3.0)
        assert (made.fill_(2.0) / 2).tolist() == [1.0, 1.0] and filled.tolist() == [3.0, 3.0]
        assert torch.randn(3, device="cpu").isfinite().all()
        scaled = torch.randn(4) / torch.randn(3, 1)
    assert scaled.shape == (3, 4) and scaled.is_meta
