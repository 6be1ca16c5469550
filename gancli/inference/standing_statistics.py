"""Standing statistics: what batch norm knows when sampling, measured anew.

They are measured on the generator that samples.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gancli.errors import UserError
from gancli.game import Game
from gancli.seeding import fork_random, seed_of


@torch.no_grad()
def measure_standing_statistics(
    game: Game,
    generator: nn.Module,
    *,
    passes: int,
    batch: int,
    seed: int,
    options: Mapping[str, object] | None = None,
) -> nn.Module:
    """Copies `generator`, in eval mode, with running statistics measured anew.

    Its running means and variances are the plain averages, over `passes` batches of `batch` fresh
    inputs, of each batch's mean and unbiased variance (Brock 2019, appendix on sampling).

    An EMA generator needs them most: its weights are averaged, its running statistics are those
    of other weights.
    options: of the game's `inputs`, such as truncation; a generator that samples with it meets
    other activations.
    Neither `generator` nor the global random state changes. Raises UserError where there is no
    batch norm to measure.
    """
    if passes < 1 or batch < 2:
        raise UserError(
            f"standing statistics over {passes} passes of {batch} samples do not exist",
            "use 1 pass or more, of 2 samples or more",
        )
    measured = copy.deepcopy(generator).eval()
    norms = [
        part
        for part in measured.modules()
        if isinstance(part, _BatchNorm) and part.running_mean is not None
    ]
    if not norms:
        raise UserError(
            "standing statistics do not apply to this checkpoint: its generator has no batch "
            "norm with running statistics",
            "leave them out: such a generator draws the same image alone and in any batch",
        )
    before = [norm.momentum for norm in norms]
    for norm in norms:
        # Or the average would begin at what training has left.
        norm.reset_running_stats()
        norm.momentum = None  # torch: a cumulative average
        # The norms alone: spectral norm's vectors and dropout stay as sampling meets them
        norm.train()
    device = next(measured.parameters()).device
    rng = torch.Generator().manual_seed(seed_of(seed, "standing"))
    with fork_random(seed_of(seed, "standing noise"), device):
        for _ in range(passes):
            game.sample(
                {
                    key: value.to(device)
                    for key, value in game.inputs(batch, rng, **(options or {})).items()
                },
                measured,
            )
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    return measured.eval()
