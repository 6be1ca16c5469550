"""R3GAN's pair (Huang 2024): residual stages of plain layers, without norms.

Careful initial weights take the place of the norms.
"""

from __future__ import annotations

import itertools
import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks import stylegan2
from gancli.networks.layers import count_downsampling_steps, one_hot
from gancli.networks.style_layers import disable_autocast, downsample, to_full_precision, upsample

# 4 to 1024 pixels; of a stage
MOST_DOUBLINGS = 8
MOST_BLOCKS = 16
SLOPE = 0.2
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
GAIN = (2 / (1 + SLOPE**2)) ** 0.5  # what leaky ReLU takes from the mean square of its input


def compute_widths(
    base: tuple[int, int], times: int, *, channel_base: int, channel_max: int, group: int
) -> list[int]:
    """Lists channels from the coarsest level to the finest.

    They are channel_base / side, up to channel_max, rounded down to whole groups.
    """
    if group < 1:
        raise ValueError(f"group={group}: give 1 or more, e.g. 16")
    unit = group // math.gcd(group, 2)  # twice the width is cut into groups
    widths = stylegan2.compute_widths(
        base, times, channel_base=channel_base, channel_max=channel_max
    )
    return [max(unit, width // unit * unit) for width in widths]


def scale_weights(layer: Layer, gain: float = 1.0) -> Layer:
    """Draws weights from N(0, gain^2 / inputs) (He 2015).

    Where a mean square of 1 enters, gain^2 leaves.
    """
    nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
    return layer


def conv1x1(c_in: int, c_out: int, gain: float = 1.0) -> nn.Conv2d:
    """Makes a 1x1 convolution without a bias."""
    return scale_weights(nn.Conv2d(c_in, c_out, 1, bias=False), gain)


class Activation(nn.Module):
    """Leaky ReLU of (N,C,H,W) plus a bias per channel, the only ones there are."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        return F.leaky_relu(x + self.bias.to(x.dtype)[:, None, None], SLOPE)


class ResidualBlock(nn.Module):
    """(N,C,H,W) plus what three convolutions of it give, as wide as 2 C inside.

    The last one starts at 0 (Zhang 2019, Fixup).

    Args:
        channels: C.
        group: channels that the 3x3 convolution sees together.
        depth: how many such blocks the network has.
    """

    def __init__(self, channels: int, *, group: int, depth: int):
        super().__init__()
        # Fixup: depth ** (-1 / (2 m - 2)) for m = 3 layers
        inner = 2 * channels
        gain = GAIN * depth**-0.25
        mix = nn.Conv2d(inner, inner, 3, padding=1, groups=inner // group, bias=False)
        self.expand = conv1x1(channels, inner, gain)
        self.activation1 = Activation(inner)
        self.mix = scale_weights(mix, gain)
        self.activation2 = Activation(inner)
        # At 0 every block begins as the identity, whatever the depth.
        self.reduce = conv1x1(inner, channels, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        y = self.activation1(self.expand(x))
        return x + self.reduce(self.activation2(self.mix(y)))


def stage(channels: int, blocks: int, *, group: int, depth: int) -> nn.Sequential:
    """Makes the residual blocks of one resolution."""
    return nn.Sequential(
        *(ResidualBlock(channels, group=group, depth=depth) for _ in range(blocks))
    )


def change_channels(c_in: int, c_out: int) -> nn.Module:
    """Makes what stands between two stages, at the lower resolution, where it is cheap."""
    return nn.Identity() if c_in == c_out else conv1x1(c_in, c_out)


def check_blocks(blocks: int) -> None:
    """Raises ValueError for a number of blocks that does not fit."""
    if not 1 <= blocks <= MOST_BLOCKS:
        raise ValueError(f"blocks={blocks}: a stage has 1 to {MOST_BLOCKS} residual blocks, e.g. 2")


class R3GANGenerator(nn.Module):
    """z (N,z_dim), label (N,) -> (N,channels,H,W), linear: values may leave [-1,1].

    Args:
        resolution: side or [H,W] in pixels, 8 to 2047, that halves down to 4..7 (1024 = 4 * 2^8,
            28 = 7 * 2^2).
        channels: of the images.
        z_dim: numbers in a latent.
        embed_dim: of a class's embedding, which stands behind z.
        channel_base: see `compute_widths`.
        channel_max: see `compute_widths`.
        group: see `compute_widths`.
        blocks: of a stage, 1 to 16.
        classes: of the data set.
        conditional: the class's embedding stands behind z.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        z_dim: int = 64,
        embed_dim: int = 64,
        channel_base: int = 24576,
        channel_max: int = 768,
        group: int = 16,
        blocks: int = 2,
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        times, base = count_downsampling_steps(resolution, most=MOST_DOUBLINGS)
        if min(z_dim, embed_dim) < 1:
            raise ValueError(f"z_dim={z_dim}, embed_dim={embed_dim}: give 1 or more, e.g. 64")
        check_blocks(blocks)
        self.z_dim = z_dim
        self.classes = classes if conditional else 0
        widths = compute_widths(
            base, times, channel_base=channel_base, channel_max=channel_max, group=group
        )
        self.embed = (
            scale_weights(nn.Linear(self.classes, embed_dim, bias=False)) if self.classes else None
        )
        # What StyleGAN's constant input is, scaled channel by channel by the latent.
        self.basis = nn.Parameter(torch.randn(widths[0], *base))
        self.start = scale_weights(
            nn.Linear(z_dim + (embed_dim if self.classes else 0), widths[0], bias=False)
        )
        self.stages = nn.ModuleList(
            stage(c, blocks, group=group, depth=blocks * len(widths)) for c in widths
        )
        self.changes = nn.ModuleList(change_channels(a, b) for a, b in itertools.pairwise(widths))
        self.to_rgb = conv1x1(widths[-1], channels)

    def name_levels(self) -> dict[str, str]:
        """Names the layer of the finest level by its level, counted from the coarsest."""
        return {"to_rgb": f"to_rgb.level{len(self.stages) - 1}"}

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes images of latents, and labels where the network is conditional."""
        if self.embed is not None:
            z = torch.cat([z, self.embed(one_hot(label, self.classes, z))], 1)
        x = self.stages[0](self.basis * self.start(z)[:, :, None, None])
        for change, blocks in zip(self.changes, self.stages[1:], strict=True):
            # there.
            x = blocks(upsample(change(x)))
        with disable_autocast(x):  # bf16 has fewer digits than a colour
            return self.to_rgb(to_full_precision(x))


class R3GANDiscriminator(nn.Module):
    """trunk: x (N,channels,H,W) -> (N,feature_dim); head: (N,F), label (N,) -> scores (N,1).

    With classes the score is the inner product of as many numbers as there are features with the
    class's embedding.

    Args:
        resolution: as the generator's.
        channels: of the images.
        channel_base: as the generator's.
        channel_max: as the generator's.
        group: as the generator's.
        blocks: as the generator's.
        classes: of the data set.
        conditional: the class's embedding weighs the score.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        channel_base: int = 24576,
        channel_max: int = 768,
        group: int = 16,
        blocks: int = 2,
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        times, base = count_downsampling_steps(resolution, most=MOST_DOUBLINGS)
        check_blocks(blocks)
        widths = compute_widths(
            base, times, channel_base=channel_base, channel_max=channel_max, group=group
        )[::-1]
        self.classes = classes if conditional else 0
        self.feature_dim = widths[-1]
        self.from_rgb = conv1x1(channels, widths[0])
        self.stages = nn.ModuleList(
            stage(c, blocks, group=group, depth=blocks * len(widths)) for c in widths
        )
        self.changes = nn.ModuleList(change_channels(a, b) for a, b in itertools.pairwise(widths))
        self.pool = scale_weights(
            nn.Conv2d(widths[-1], widths[-1], base, groups=widths[-1], bias=False)
        )
        self.out = scale_weights(
            nn.Linear(widths[-1], widths[-1] if self.classes else 1, bias=False)
        )
        # The product adds up feature_dim terms: with this gain it starts as large as each of them.
        self.embed = (
            scale_weights(nn.Linear(self.classes, widths[-1], bias=False), widths[-1] ** -0.5)
            if self.classes
            else None
        )

    def name_levels(self) -> dict[str, str]:
        """Names the layers that are counted from the finest level by levels from the coarsest."""
        last = len(self.stages) - 1
        return (
            {"from_rgb": f"from_rgb.level{last}"}
            | {f"stages.{k}": f"stages.level{last - k}" for k in range(last + 1)}
            | {f"changes.{k}": f"changes.level{last - k}" for k in range(last)}
        )

    def list_blocks(self) -> list[tuple[str, list[nn.Module]]]:
        """Lists the blocks, the one next to the image first; see `gancli.games.freezing`."""
        stages: list[tuple[str, list[nn.Module]]] = [("stages.0", [self.stages[0]])]
        for k, change in enumerate(self.changes, start=1):
            stages.append((f"stages.{k}", [change, self.stages[k]]))
        out: list[nn.Module] = [self.out]
        if self.embed is not None:
            out.append(self.embed)
        return [("from_rgb", [self.from_rgb]), *stages, ("pool", [self.pool]), ("out", out)]

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images."""
        h = self.stages[0](self.from_rgb(x))
        for change, blocks in zip(self.changes, self.stages[1:], strict=True):
            h = blocks(change(downsample(h)))
        with disable_autocast(x):  # a paired loss reads differences of scores
            return self.pool(to_full_precision(h)).flatten(1)

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        with disable_autocast(h):
            scores = self.out(to_full_precision(h))
            if self.embed is None:
                return scores
            return (scores * self.embed(one_hot(label, self.classes, scores))).sum(1, keepdim=True)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)
