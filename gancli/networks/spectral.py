"""Spectral normalisation: a layer's weight divided by an estimate of its largest singular value."""

from __future__ import annotations

from contextlib import nullcontext
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

WARM_UP = 15  # iterations on a fresh weight; from then on one per pass keeps up with training


class SpectralNorm(nn.Module):
    """Divides a weight by sigma, an estimate of its largest singular value.

    sigma = u W v by one power iteration per pass in training, none in eval (Miyato 2018,
    appendix A).
    W is the weight as (out, rest). Not torch's own: that one rounds W to bf16 on a GPU under
    autocast, keeps a v that does not belong to averaged weights, and takes seconds to build a
    network on the meta device.

    Args:
        weight: the weight with its initial values.
        out_dim: the dimension of its outputs.
    """

    u: Tensor

    def __init__(self, weight: Tensor, *, out_dim: int = 0):
        super().__init__()
        self.out_dim = out_dim
        self.register_buffer(
            "u", F.normalize(torch.randn(weight.shape[out_dim], device=weight.device), dim=0)
        )
        if not weight.is_meta:
            for _ in range(WARM_UP):
                self.estimate(weight)

    def estimate(self, weight: Tensor) -> Tensor:
        """Estimates sigma, a scalar; gradients flow through W alone."""
        matrix = weight.transpose(0, self.out_dim).flatten(1)
        with torch.no_grad():
            # u and v count as constants: the slope of sigma by W is then u v^T.
            u = self.u
            v = F.normalize(self.u @ matrix, dim=0)
            if self.training:
                u = F.normalize(matrix @ v, dim=0)
                self.u.copy_(u)
            else:
                # a training pass would move the buffer, while this one may still be differentiated
                u = u.clone()
        return u @ (matrix @ v)

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the weight divided by sigma."""
        # Meta knows no autocast.
        with nullcontext() if weight.is_meta else torch.autocast(weight.device.type, enabled=False):
            return weight / self.estimate(weight)


def spectral(layer: nn.Module, on: bool = True) -> nn.Module:
    """Puts a layer's weight under SpectralNorm, if `on`.

    Give the weight its initial values first.
    """
    if on:
        out_dim = (
            1
            if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
            else 0
        )
        # unsafe: skips one trial pass, which checks what is known
        parametrize.register_parametrization(
            layer, "weight", SpectralNorm(cast(Tensor, layer.weight), out_dim=out_dim), unsafe=True
        )
    return layer
