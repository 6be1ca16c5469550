"""InfoGAN's networks for MNIST (Chen 2016, appendix C.1), and the head that reads the codes.

They fit any size that can be halved.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal

from torch import Tensor, nn

from gancli.networks.dcgan import compute_widths
from gancli.networks.layers import (
    Output,
    constrain_weight,
    count_downsampling_steps,
    norm2d,
    to_range,
)

VectorNorm = Literal["batch", "layer", "spectral", "none"]  # those that a vector can have


class InfoGANGenerator(nn.Module):
    """z (N,z_dim), noise and codes -> (N,channels,H,W).

    Args:
        resolution: side or [H,W] in pixels that halves down to 4..7 (28 = 7 * 2^2).
        channels: of the images.
        z_dim: numbers of noise and codes together.
        width: channels at half the resolution; they double at each downsampling step.
        max_width: the most channels.
        units: of the first layer.
        output: "tanh", since images lie in [-1,1]; the authors' lie in [0,1], and their output is a
            sigmoid.
    """

    classes = 0

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        z_dim: int = 74,
        width: int = 64,
        max_width: int = 512,
        units: int = 1024,
        output: Output = "tanh",
    ):
        super().__init__()
        times, base = count_downsampling_steps(resolution)
        self.z_dim = z_dim
        widths = compute_widths(width, times, max_width)[::-1]
        area = widths[0] * math.prod(base)
        layers = [
            nn.Linear(z_dim, units),
            nn.BatchNorm1d(units),
            nn.ReLU(),
            nn.Linear(units, area),
            nn.BatchNorm1d(area),
            nn.ReLU(),
            nn.Unflatten(1, (widths[0], *base)),
        ]
        for c_in, c_out in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(c_in, c_out, 4, 2, 1), nn.BatchNorm2d(c_out), nn.ReLU()]
        layers += [nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), to_range(output)]
        self.net = nn.Sequential(*layers)
        for layer in self.net:
            init(layer)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes images of latents, and labels where the network is conditional."""
        return self.net(z)


class InfoGANDiscriminator(nn.Module):
    """trunk: x (N,channels,H,W) -> (N,units); head: -> scores (N,1).

    The codes are read from what the trunk gives.

    Args:
        resolution: as the generator's.
        channels: of the images.
        width: as the generator's.
        max_width: the most channels.
        units: of the last hidden layer.
        norm: of all layers but the first and the last; "spectral" divides every weight by its
            largest singular value.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        width: int = 64,
        max_width: int = 512,
        units: int = 1024,
        norm: VectorNorm = "batch",
    ):
        super().__init__()
        times, base = count_downsampling_steps(resolution)
        widths = compute_widths(width, times, max_width)
        layers = []
        for k, (c_in, c_out) in enumerate(zip([channels, *widths], widths, strict=False)):
            layers += [
                constrain_weight(init(nn.Conv2d(c_in, c_out, 4, 2, 1)), norm),
                # No norm on the first layer, as in DCGAN's discriminator.
                norm2d("none" if k == 0 else norm, c_out),
                nn.LeakyReLU(0.1),
            ]
        self.body = nn.Sequential(
            *layers, nn.Flatten(), *dense(widths[-1] * math.prod(base), units, norm)
        )
        self.feature_dim = units
        self.out = constrain_weight(init(nn.Linear(units, 1)), norm)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images."""
        return self.body(x)

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        return self.out(h)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


class CodeReader(nn.Module):
    """Q: the discriminator's features (N,F) -> (N,outputs), what they say about the codes.

    The game tells both sizes by `attach`.

    Args:
        units: of the hidden layer.
        norm: of the hidden layer.
    """

    def __init__(self, *, units: int = 128, norm: VectorNorm = "batch"):
        super().__init__()
        self.units = units
        self.norm = norm

    def attach(self, feature_dim: int, outputs: int) -> None:
        """Builds the layers; the game calls it once, when it is built."""
        self.net = nn.Sequential(
            *dense(feature_dim, self.units, self.norm),
            constrain_weight(init(nn.Linear(self.units, outputs)), self.norm),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        return self.net(features)


def dense(n_in: int, n_out: int, norm: VectorNorm) -> list[nn.Module]:
    """Makes a dense layer with its norm and activation."""
    after = (
        nn.BatchNorm1d(n_out)
        if norm == "batch"
        else nn.LayerNorm(n_out)
        if norm == "layer"
        else nn.Identity()
    )
    return [constrain_weight(init(nn.Linear(n_in, n_out)), norm), after, nn.LeakyReLU(0.1)]


def init(layer: nn.Module) -> nn.Module:
    """Weights N(0, 0.02) and no bias at first, as in the authors' code; norms keep theirs."""
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
    return layer
