"""Residual pair of SNGAN, WGAN-GP and SAGAN, from 8 to 511 pixels.

One table of widths, and options for what tells them apart.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.attention import SelfAttention
from gancli.networks.conditional import ConditionalBatchNorm2d, Projection
from gancli.networks.layers import Output, count_downsampling_steps, to_range
from gancli.networks.spectral import spectral as spectrally_normalised

Part = Literal["half", "quarter", "eighth"]
# Of the image's side, so that one config fits every size.
PARTS = {"half": 2, "quarter": 4, "eighth": 8}
# So many downsampling steps, that is sides below 64 pixels, have the same width at every level.
FLAT = 3
DEEPEST = 16  # the widest level, in widths


def compute_widths(width: int, times: int, flat: int) -> list[int]:
    """Lists the channels of the times + 1 levels, finest first.

    They double at each downsampling step; below 64 pixels all are flat * width.
    """
    if min(width, flat) < 1:
        raise ValueError(f"width={width}, flat={flat}: give 1 or more")
    return [width * (flat if times <= FLAT else min(2**k, DEEPEST)) for k in range(times + 1)]


def find_attended_levels(attention: list[Part], parts: list[int]) -> list[bool]:
    """Says for each level, given as a part of the image's side, whether attention stands there.

    Raises:
        ValueError: the image has no such level.
    """
    wanted = {PARTS[name] for name in attention}
    if missing := [name for name in attention if PARTS[name] not in parts]:
        known = [name for name, part in PARTS.items() if part in parts]
        raise ValueError(
            f"attention=[{','.join(missing)}]: images this small have no such level; "
            + (f"give {', '.join(known)}, or []" if known else "give []")
        )
    return [part in wanted for part in parts]


class ResNetGenerator(nn.Module):
    """z (N,z_dim), label (N,) -> (N,channels,H,W).

    Args:
        resolution: side or [H,W] in pixels that halves down to 4..7 (128 = 4 * 2^5, 28 = 7 * 2^2).
        channels: of the images.
        z_dim: numbers in a latent.
        width: see `compute_widths`; the paper's networks have 64 (Miyato 2018, tables 3 and 4).
        flat: see `compute_widths`; the paper's networks have 4.
        spectral: every weight is divided by its spectral norm (SAGAN).
        attention: levels that attend to themselves.
        output: "tanh" or "linear".
        classes: of the data set.
        conditional: the blocks' batch norms have a gain and a bias per class.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        z_dim: int = 128,
        width: int = 64,
        flat: int = 4,
        spectral: bool = False,
        attention: list[Part] | None = None,
        output: Output = "tanh",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        times, self.base = count_downsampling_steps(resolution)
        self.z_dim = z_dim
        self.classes = classes if conditional else 0
        widths = compute_widths(width, times, flat)[::-1]
        attends = find_attended_levels(attention or [], [2**k for k in range(times, -1, -1)])
        self.start = linear(z_dim, widths[0] * math.prod(self.base), spectral=spectral)
        self.attend = SelfAttention(widths[0], spectral) if attends[0] else nn.Identity()
        self.blocks = nn.ModuleList(
            UpBlock(c_in, c_out, spectral=spectral, attention=attends[k + 1], classes=self.classes)
            for k, (c_in, c_out) in enumerate(itertools.pairwise(widths))
        )
        self.end = nn.Sequential(
            nn.BatchNorm2d(widths[-1]),
            nn.ReLU(),
            # Gain 1: no ReLU follows. Where one does, it takes half of the variance, hence sqrt 2.
            conv(widths[-1], channels, 3, spectral=spectral, gain=1.0),
            to_range(output),
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes images of latents, and labels where the network is conditional."""
        x = self.attend(self.start(z).unflatten(1, (-1, *self.base)))
        for block in self.blocks:
            x = block(x, label)
        return self.end(x)


class ResNetDiscriminator(nn.Module):
    """trunk: x (N,channels,H,W) -> (N,C), pooled; head: (N,C), label (N,) -> scores (N,1).

    Args:
        resolution: as the generator's.
        channels: of the images.
        width: see `compute_widths`; the paper's networks have 64.
        flat: see `compute_widths`; the paper's networks have 2.
        spectral: every weight is divided by its spectral norm.
        hidden: channels between a block's convolutions: those that go in (Miyato 2018), or those
            that come out (Zhang 2019).
        pooling: over the last map: the sum, or the mean (Gulrajani 2017).
        bias: of the score; None: from 64 pixels on, as in SNGAN's code.
        attention: levels that attend to themselves.
        classes: of the data set.
        conditional: the score gains the projection onto the image's class (Miyato and Koyama 2018).
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        width: int = 64,
        flat: int = 2,
        spectral: bool = True,
        hidden: Literal["in", "out"] = "in",
        pooling: Literal["sum", "mean"] = "sum",
        bias: bool | None = None,
        attention: list[Part] | None = None,
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        times, base = count_downsampling_steps(resolution)
        self.classes = classes if conditional else 0
        self.pooling = pooling
        widths, downs = list_blocks(width, times, flat, base)
        # 0: a level that is already there
        parts = [2 ** sum(downs[: k + 1]) if down else 0 for k, down in enumerate(downs)]
        attends = find_attended_levels(attention or [], parts)
        self.body = nn.Sequential(
            *(
                DownBlock(
                    c_in,
                    c_out,
                    # The first block would have as few channels inside as an image has.
                    hidden=c_out if k == 0 or hidden == "out" else c_in,
                    down=downs[k],
                    first=k == 0,
                    spectral=spectral,
                    attention=attends[k],
                )
                for k, (c_in, c_out) in enumerate(zip([channels, *widths], widths, strict=False))
            )
        )
        self.feature_dim = widths[-1]
        self.out = linear(
            widths[-1], 1, spectral=spectral, bias=times > FLAT if bias is None else bias
        )
        self.project = Projection(widths[-1], self.classes, spectral) if self.classes else None

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images."""
        h = F.relu(self.body(x))
        return h.sum((2, 3)) if self.pooling == "sum" else h.mean((2, 3))

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        return self.out(h) if self.project is None else self.out(h) + self.project(h, label)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


def list_blocks(
    width: int, times: int, flat: int, base: tuple[int, int]
) -> tuple[list[int], list[bool]]:
    """Lists the channels after each block, and which blocks halve.

    As SNGAN's code has them for 32, 64 and 128 pixels.
    """
    if times <= FLAT:
        return compute_widths(width, times, flat)[:1] * 4, [k < min(times, 2) for k in range(4)]
    # The 64-pixel net ends at 2x2, larger ones at 4x4 with a block that does not halve; an odd side
    # cannot be halved.
    last = times == FLAT + 1 and all(side % 2 == 0 for side in base)
    return compute_widths(width, times, flat), [True] * times + [last]


class UpBlock(nn.Module):
    """(N,c_in,H,W) -> (N,c_out,2H,2W).

    Norm, ReLU and convolution twice, the first after doubling (Miyato 2018, figure 8).
    """

    def __init__(self, c_in: int, c_out: int, *, spectral: bool, attention: bool, classes: int):
        super().__init__()
        self.norm1 = batch_norm(c_in, classes)
        self.norm2 = batch_norm(c_out, classes)
        self.conv1 = conv(c_in, c_out, 3, spectral=spectral)
        self.conv2 = conv(c_out, c_out, 3, spectral=spectral)
        self.shortcut = conv(c_in, c_out, 1, spectral=spectral, gain=1.0)
        self.attend = SelfAttention(c_out, spectral) if attention else nn.Identity()

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        """Applies the block; the class says the shapes."""
        h = self.conv1(double_size(F.relu(normalise(self.norm1, x, label))))
        h = self.conv2(F.relu(normalise(self.norm2, h, label)))
        # A 1x1 convolution and the copying of pixels commute: this order costs a quarter.
        return self.attend(h + double_size(self.shortcut(x)))


class DownBlock(nn.Module):
    """(N,c_in,H,W) -> (N,c_out,H/2,W/2), or without `down` the same size.

    Args:
        c_in: channels that go in.
        c_out: channels that come out.
        hidden: channels between the convolutions.
        down: halves the size.
        first: no ReLU before it, which would take the negative half of the image.
        spectral: every weight is divided by its spectral norm.
        attention: the block ends with self-attention.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        hidden: int,
        down: bool,
        first: bool,
        spectral: bool,
        attention: bool,
    ):
        super().__init__()
        self.down = down
        self.first = first
        self.conv1 = conv(c_in, hidden, 3, spectral=spectral)
        self.conv2 = conv(hidden, c_out, 3, spectral=spectral)
        # As in the authors' code: a block that halves has a learned shortcut even at equal
        # channels.
        learned = down or c_in != c_out
        self.shortcut = (
            conv(c_in, c_out, 1, spectral=spectral, gain=1.0) if learned else nn.Identity()
        )
        self.attend = SelfAttention(c_out, spectral) if attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        h = self.conv1(x if self.first else F.relu(x))
        h = self.conv2(F.relu(h))
        # The shortcut too before its 1x1 convolution: a mean and a 1x1 convolution commute.
        if self.down:
            h = F.avg_pool2d(h, 2)
            x = F.avg_pool2d(x, 2)
        return self.attend(h + self.shortcut(x))


def double_size(x: Tensor) -> Tensor:
    """Doubles the size of (N,C,H,W) by repeating pixels."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def batch_norm(channels: int, classes: int) -> nn.Module:
    """Makes a batch norm, with a gain and a bias per class where there are classes."""
    return ConditionalBatchNorm2d(channels, classes) if classes else nn.BatchNorm2d(channels)


def normalise(norm: nn.Module, x: Tensor, label: Tensor | None) -> Tensor:
    """Applies a batch norm to x (N,C,H,W), by the class (N,) where it has classes."""
    return norm(x, label) if isinstance(norm, ConditionalBatchNorm2d) else norm(x)


def conv(
    c_in: int, c_out: int, side: int, *, spectral: bool, gain: float = math.sqrt(2)
) -> nn.Module:
    """Makes a convolution of Glorot-uniform weights.

    The spectral norm comes last: its first estimate is of the weight that it is given.
    """
    layer = nn.Conv2d(c_in, c_out, side, 1, side // 2)
    nn.init.xavier_uniform_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return spectrally_normalised(layer, spectral)


def linear(n_in: int, n_out: int, *, spectral: bool, bias: bool = True) -> nn.Module:
    """Makes a dense layer of Glorot-uniform weights, as `conv`."""
    layer = nn.Linear(n_in, n_out, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return spectrally_normalised(layer, spectral)
