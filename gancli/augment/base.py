"""What every augmentation of the critic's view has in common."""
from __future__ import annotations

from torch import Tensor, nn


class Augment(nn.Module):
    """Random, seeded by the trainer, and differentiable twice, so that penalties work through it. May have buffers."""

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) in [-1,1] -> the same shape."""
        raise NotImplementedError

    def adapt(self, sign_real: Tensor, nimg: int) -> None:
        """Called after each step of the critic. sign_real: 0-d, the mean sign of real scores over all ranks."""
