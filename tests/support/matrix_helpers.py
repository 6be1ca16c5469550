"""One cell of the matrix: a run that trains, is saved, resumed to the bit, and sampled."""

from __future__ import annotations

import copy

import torch
from helpers import differences, steps, trainer_for

from gancli import checkpoint
from gancli.networks.layers import size_of

STEPS = 6
HALF = 3


def check_cell(setup: dict, folder, *, apart: bool = False) -> None:
    """apart: The run that is resumed is one of its own, and the other is never saved."""
    whole = trainer_for(setup)
    start = copy.deepcopy(whole.game.state_dict())
    half = steps(trainer_for(setup) if apart else whole, HALF)
    path = checkpoint.save(half.state_dict(), folder, keep=1)
    steps(whole, STEPS if apart else STEPS - HALF)
    now = whole.game.state_dict()
    assert all(value.isfinite().all() for value in now.values())
    for side in ("generator", "discriminator"):
        assert any(
            not torch.equal(now[key], start[key]) for key in start if key.startswith(side)
        ), f"the {side} did not move"

    resumed = trainer_for(setup)
    torch.rand(7)  # another state of the global generator
    resumed.load_state_dict(checkpoint.read(path))
    steps(resumed, STEPS - HALF)
    assert differences(whole.state_dict(), resumed.state_dict()) == []

    loaded = checkpoint.load_game(str(path))
    assert (image := drawn(loaded, setup)).shape[0] == 2 and image.isfinite().all()


def drawn(loaded: checkpoint.Loaded, setup: dict) -> torch.Tensor:
    """Two images from a checkpoint alone."""
    if "a" not in loaded.game.needs:
        return loaded.game.sample(
            loaded.game.inputs(2, torch.Generator().manual_seed(0)), loaded.generator
        )
    data = setup["dataset"]
    return loaded.game.sample(
        loaded.game.example(2, data["channels"], size_of(data["resolution"])), loaded.generator
    )
