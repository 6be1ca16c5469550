"""The generator's exponential moving average, which sampling uses.

Its half-life is counted in images, so that batch sizes compare. What its batch norms know of a
batch is measured on it: the averages that training keeps are of other weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
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

    Averaged running statistics would belong to no network, and copied ones belong to the network
    in training: `settle_statistics` measures the shadow's own before it is looked at.

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


def list_norms(generator: nn.Module) -> list[_BatchNorm]:
    """Lists the batch norms that keep running statistics, of the device alone."""
    return [
        part
        for part in generator.modules()
        if isinstance(part, _BatchNorm)
        # One that all ranks compute together would wait for ranks that are not looking.
        and not isinstance(part, nn.SyncBatchNorm)
        and part.running_mean is not None
    ]


@torch.no_grad()
def settle_statistics(
    norms: list[_BatchNorm], *, batches: int, sample: Callable[[], object]
) -> None:
    """Measures running means and variances anew, in place.

    They become the plain averages of each batch's mean and unbiased variance: "standing
    statistics" (Brock 2019, appendix on sampling), as `torch.optim.swa_utils.update_bn` makes them.

    Args:
        norms: Of one generator in eval mode; in training mode while it samples, they alone.
        batches: How many are averaged, 1 or more.
        sample: Runs the generator on one fresh batch; called once for each.
    """
    before = [(norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        # Or the average would begin at what training has left.
        norm.reset_running_stats()
        # The norms alone: spectral norm's vectors and dropout stay as sampling meets them.
        norm.train()
    try:
        for k in range(batches):
            for norm in norms:
                # What torch's own cumulative average has; for that it would wait for the device.
                norm.momentum = 1 / (k + 1)
            sample()
    finally:
        for norm, (momentum, training) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.train(training)
