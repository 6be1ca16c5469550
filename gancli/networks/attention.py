"""Self-attention over the spatial positions of a feature map, for residual networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.spectral import spectral as spectrally_normalised

Init = Callable[[Tensor], object]  # fills a weight in place


class SelfAttention(nn.Module):
    """x (N,channels,H,W) -> x + gamma * attention, gamma = 0 at first (Zhang 2019, equation 3).

    H and W are even. Keys and values are max-pooled 2x2 and the value has channels/2, as in the
    authors' code; the paper's figure has neither.

    Args:
        channels: of x, 8 or more.
        spectral: each weight is divided by its spectral norm.
        init: fills the four weights, before their norms are first estimated.
    """

    def __init__(
        self, channels: int, spectral: bool = False, *, init: Init = nn.init.xavier_uniform_
    ):
        super().__init__()
        if channels < 8:
            raise ValueError(
                f"attention needs 8 channels or more where it stands, and here are {channels}: "
                "raise the width"
            )
        self.theta, self.phi = (
            pointwise(channels, channels // 8, spectral, init) for _ in range(2)
        )
        self.g = pointwise(channels, channels // 2, spectral, init)
        self.o = pointwise(channels // 2, channels, spectral, init)
        # From 0 on: the network first learns from near positions, then from far ones.
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        query = self.theta(x).flatten(2)  # (N,C/8,HW)
        # (N,C/8,HW/4), (N,C/2,HW/4)
        key, value = (F.max_pool2d(part(x), 2).flatten(2) for part in (self.phi, self.g))
        # Written out: scaled_dot_product_attention has no second derivative. No 1/sqrt(d) either,
        # as in the paper.
        logits = query.transpose(1, 2) @ key  # (N,HW,HW/4)
        # In fp32: without 1/sqrt(d) the logits are large, and bf16 would round the largest alike.
        weight = logits.float().softmax(2).to(value.dtype)
        mixed = (value @ weight.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma.to(x.dtype) * self.o(mixed)


def pointwise(c_in: int, c_out: int, spectral: bool, init: Init) -> nn.Module:
    """Makes a 1x1 convolution without a bias."""
    layer = nn.Conv2d(c_in, c_out, 1, bias=False)
    init(layer.weight)
    return spectrally_normalised(layer, spectral)
