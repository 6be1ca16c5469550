"""Standing statistics: what batch norm knows when sampling, measured anew.

They are measured on the generator that samples.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from gancli.ema import list_norms, settle_statistics
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
    norms = list_norms(measured)
    if not norms:
        raise UserError(
            "standing statistics do not apply to this checkpoint: its generator has no batch "
            "norm with running statistics",
            "leave them out: such a generator draws the same image alone and in any batch",
        )
    device = next(measured.parameters()).device
    rng = torch.Generator().manual_seed(seed_of(seed, "standing"))

    def sample() -> None:
        inputs = game.inputs(batch, rng, **(options or {}))
        game.sample({key: value.to(device) for key, value in inputs.items()}, measured)

    with fork_random(seed_of(seed, "standing noise"), device):
        settle_statistics(norms, batches=passes, sample=sample)
    return measured
