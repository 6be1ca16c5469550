"""SNDCGAN's pair (Miyato 2018): DCGAN's generator against strided and plain convolutions.

All weights of the discriminator are spectrally normalised.
"""

from __future__ import annotations

import itertools
import math

import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.conditional import ConditionalBatchNorm2d, Projection
from gancli.networks.layers import Output, count_downsampling_steps, to_range
from gancli.networks.spectral import spectral as spectrally_normalised


def compute_widths(width: int, times: int, max_width: int) -> list[int]:
    """Lists the channels of the times + 1 levels, finest first.

    They double at each downsampling step, up to max_width.
    """
    return [min(width * 2**k, max_width) for k in range(times + 1)]


class SNDCGANGenerator(nn.Module):
    """z (N,z_dim), label (N,) -> (N,channels,H,W).

    Args:
        resolution: side or [H,W] in pixels that halves down to 4..7 (32 = 4 * 2^3, 48 = 6 * 2^3).
        channels: of the images.
        z_dim: numbers in a latent.
        width: channels at full resolution (64 in the paper's table 2); they double at each
            downsampling step.
        max_width: the most channels (512 in the paper).
        output: "tanh" or "linear".
        classes: of the data set.
        conditional: batch norms have a gain and a bias per class.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        z_dim: int = 128,
        width: int = 64,
        max_width: int = 512,
        output: Output = "tanh",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        times, self.base = count_downsampling_steps(resolution)
        self.z_dim = z_dim
        self.classes = classes if conditional else 0
        widths = compute_widths(width, times, max_width)[::-1]
        units = widths[0] * math.prod(self.base)
        self.start = init_sndcgan(nn.Linear(z_dim, units))
        self.ups = nn.ModuleList(
            init_sndcgan(nn.ConvTranspose2d(c_in, c_out, 4, 2, 1))
            for c_in, c_out in itertools.pairwise(widths)
        )
        # The first is per unit, as in the authors' code.
        self.norms = nn.ModuleList(
            ConditionalBatchNorm2d(c, self.classes) if self.classes else nn.BatchNorm2d(c)
            for c in [units, *widths[1:]]
        )
        self.end = nn.Sequential(
            init_sndcgan(nn.ConvTranspose2d(widths[-1], channels, 3, 1, 1)), to_range(output)
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes images of latents, and labels where the network is conditional."""
        x = self.activate(self.norms[0], self.start(z)[:, :, None, None], label).reshape(
            z.shape[0], -1, *self.base
        )
        for up, norm in zip(self.ups, self.norms[1:], strict=True):
            x = self.activate(norm, up(x), label)
        return self.end(x)

    def activate(self, norm: nn.Module, x: Tensor, label: Tensor | None) -> Tensor:
        """Normalises x (N,C,...), by the class where there are classes, and applies ReLU."""
        return F.relu(norm(x, label) if self.classes else norm(x))


class SNDCGANDiscriminator(nn.Module):
    """trunk: x (N,channels,H,W) -> (N,F); head: (N,F), label (N,) -> scores (N,1).

    F counts all values of the last map, of 4..7 pixels.

    Args:
        resolution: as the generator's.
        channels: of the images.
        width: as the generator's.
        max_width: the most channels.
        spectral: every weight is divided by its spectral norm.
        classes: of the data set.
        conditional: the score gains the projection onto the image's class (Miyato and Koyama 2018).
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        width: int = 64,
        max_width: int = 512,
        spectral: bool = True,
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        times, base = count_downsampling_steps(resolution)
        self.classes = classes if conditional else 0
        widths = compute_widths(width, times, max_width)
        layers = [
            init_sndcgan(nn.Conv2d(channels, widths[0], 3, 1, 1), spectral),
            nn.LeakyReLU(0.1),
        ]
        for c_in, c_out in itertools.pairwise(widths):
            layers += [
                init_sndcgan(nn.Conv2d(c_in, c_out, 4, 2, 1), spectral),
                nn.LeakyReLU(0.1),
                init_sndcgan(nn.Conv2d(c_out, c_out, 3, 1, 1), spectral),
                nn.LeakyReLU(0.1),
            ]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.feature_dim = widths[-1] * math.prod(base)
        self.out = init_sndcgan(nn.Linear(self.feature_dim, 1), spectral)
        self.project = (
            Projection(self.feature_dim, self.classes, spectral) if self.classes else None
        )

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images."""
        return self.body(x)

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        return self.out(h) if self.project is None else self.out(h) + self.project(h, label)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


def init_sndcgan(
    layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, spectral: bool = False
) -> nn.Module:
    """Fills a layer with weights N(0, 0.02) and no bias.

    The spectral norm comes last: its first estimate is of the weight that it is given.
    """
    nn.init.normal_(layer.weight, 0.0, 0.02)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return spectrally_normalised(layer, spectral)
