"""The generator's exponential moving average, which sampling uses: half-life in images, so batch
sizes compare."""

from __future__ import annotations

import torch
from torch import nn


def ema_beta(batch_size: int, nimg: int, *, half_life_kimg: float, rampup: float | None) -> float:
    """0.5 ** (batch / half-life); the half-life is at most rampup * nimg, so early averages forget
    the start.

    half_life_kimg: thousands of real images, 0 copies the weights; rampup as in StyleGAN2-ADA's
    training loop."""
    half_life = half_life_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, rampup * nimg)
    return 0.0 if half_life <= 0 else 0.5 ** (batch_size / half_life)


@torch.no_grad()
def update_ema(shadow: nn.Module, module: nn.Module, beta: float) -> None:
    """Averages parameters and copies buffers: averaged running statistics would belong to no
    network."""
    for average, p in zip(shadow.parameters(), module.parameters(), strict=True):
        average.lerp_(p, 1 - beta)
    for copy, buffer in zip(shadow.buffers(), module.buffers(), strict=True):
        copy.copy_(buffer)
