"""The generator's exponential moving average, which sampling uses.

Its half-life is counted in images, so that batch sizes compare.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def ema_beta(batch_size: int, nimg: int, *, half_life_kimg: float, rampup: float | None) -> float:
    """Computes the share of the old average that one move keeps: 0.5 ** (batch / half-life).

    Args:
        batch_size: Real images since the average last moved, those of this step included.
        nimg: Real images shown before this step.
        half_life_kimg: Thousands of real images; 0 copies the weights.
        rampup: The half-life is at most this share of `nimg`, so that early averages forget the
            start (StyleGAN2-ADA's training loop); None for no such bound.
    """
    half_life = half_life_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, rampup * nimg)
    return 0.0 if half_life <= 0 else 0.5 ** (batch_size / half_life)


@torch.no_grad()
def update_ema(shadow: nn.Module, module: nn.Module, beta: float) -> None:
    """Averages parameters and copies buffers, in place.

    Averaged running statistics would belong to no network.

    Args:
        shadow: The average.
        module: The network in training, of the same class.
        beta: The share of the old average that stays, 0 to 1.
    """
    # All parameters in one call: one after the other they cost the host more than the arithmetic.
    move_all = get_ema_multi_avg_fn(beta)
    move_all(list(shadow.parameters()), list(module.parameters()), 0)
    for copy, buffer in zip(shadow.buffers(), module.buffers(), strict=True):
        copy.copy_(buffer)
