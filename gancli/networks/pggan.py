"""PGGAN's pair (Karras 2018, table 2): all sizes from 4 pixels on in one network.

A stage uses the first so many of them.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.layers import Output, append_one_hot, count_downsampling_steps, to_range
from gancli.networks.style_layers import (
    SQRT2,
    EqualisedConv2d,
    EqualisedLinear,
    MinibatchStd,
    blur,
    pixel_norm,
)

MOST = 8  # doublings: 1024 = 4 * 2^8
SOFT = (1, 2, 1)  # StyleGAN's filter


class PGGANGenerator(nn.Module):
    """z (N,z_dim), label (N,) -> (N,channels,h,w) of the stage's size.

    Args:
        resolution: side or [H,W] in pixels, 8 to 1024 and more, that halves down to 4..7
            (1024 = 4 * 2^8, 28 = 7 * 2^2).
        channels: of the images.
        z_dim: numbers in a latent.
        channel_base: a stage of n pixels has channel_base / n channels.
        channel_max: the most channels.
        output: "linear" or "tanh".
        classes: of the data set.
        conditional: the label stands beside z as a one-hot vector.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        z_dim: int = 512,
        channel_base: int = 16384,
        channel_max: int = 512,
        output: Output = "linear",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        times, self.base = count_downsampling_steps(resolution, most=MOST)
        self.stages = times + 1
        self.z_dim = z_dim
        self.classes = classes if conditional else 0
        widths = compute_widths(
            self.base, times, channel_base=channel_base, channel_max=channel_max
        )
        self.first = FirstBlock(z_dim + self.classes, widths[0], self.base)
        self.blocks = nn.ModuleList(UpBlock(a, b) for a, b in itertools.pairwise(widths))
        self.to_image = nn.ModuleList(EqualisedConv2d(width, channels, 1) for width in widths)
        self.range = to_range(output)

    def forward(
        self,
        z: Tensor,
        label: Tensor | None = None,
        *,
        stage: int | None = None,
        alpha: Tensor | None = None,
    ) -> Tensor:
        """Makes images of latents.

        Args:
            z: latents (N,z_dim).
            label: classes (N,), where the network is conditional.
            stage: 0 is the smallest, None the last.
            alpha: 0-d, the share of a stage that is blended in, 0 to 1; None: all.
        """
        stage = self.stages - 1 if stage is None else stage
        h = before = self.first(pixel_norm(append_one_hot(z, label, self.classes)))
        for block in self.blocks[:stage]:
            before = h
            h = block(h)
        return self.range(blend_images(self.to_image, before, h, stage=stage, alpha=alpha))


class PGGANDiscriminator(nn.Module):
    """trunk: x (N,channels,h,w) of the stage's size -> (N,F); head: (N,F), label -> (N,1).

    With classes there is a score for each, of which the label picks one.

    Args:
        resolution: as the generator's.
        channels: of the images.
        channel_base: as the generator's.
        channel_max: the most channels.
        mbstd_group: samples whose deviation it sees.
        blur: StyleGAN's discriminator, which filters before it halves and halves before it
            activates (Karras 2019).
        classes: of the data set.
        conditional: the label picks the score.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        channel_base: int = 16384,
        channel_max: int = 512,
        mbstd_group: int = 4,
        blur: bool = False,
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        times, self.base = count_downsampling_steps(resolution, most=MOST)
        self.stages = times + 1
        self.classes = classes if conditional else 0
        widths = compute_widths(
            self.base, times, channel_base=channel_base, channel_max=channel_max
        )
        # The width that a level of 2 pixels would have: nf(0) of the authors' code.
        self.feature_dim = min(2 * channel_base // min(self.base), channel_max)
        self.from_image = nn.ModuleList(
            EqualisedConv2d(channels, width, 1, gain=SQRT2) for width in widths
        )
        self.blocks = nn.ModuleList(
            DownBlock(b, a, soft=blur) for a, b in itertools.pairwise(widths)
        )
        self.spread = MinibatchStd(mbstd_group)
        self.conv = EqualisedConv2d(widths[0] + 1, widths[0], gain=SQRT2)
        self.dense = EqualisedLinear(
            widths[0] * self.base[0] * self.base[1], self.feature_dim, gain=SQRT2
        )
        # Gain 1 here: no leaky ReLU follows whose loss of variance it would make up for.
        self.score = EqualisedLinear(self.feature_dim, max(self.classes, 1))

    def list_blocks(self) -> list[tuple[str, list[nn.Module]]]:
        """Lists the blocks, the one next to the image first; see `gancli.games.freezing`.

        The layers that read images of a level, from the first block on, belong to that level's.
        """
        levels: list[tuple[str, list[nn.Module]]] = [
            (f"blocks.{k - 1}", [self.from_image[k], self.blocks[k - 1]])
            for k in reversed(range(1, self.stages))
        ]
        last: list[nn.Module] = [self.from_image[0], self.conv]
        return [*levels, ("conv", last), ("dense", [self.dense]), ("score", [self.score])]

    def trunk(
        self,
        x: Tensor,
        label: Tensor | None = None,
        *,
        stage: int | None = None,
        alpha: Tensor | None = None,
    ) -> Tensor:
        """Computes the features of images; stage and alpha are as in the generator."""
        stage = self.stages - 1 if stage is None else stage
        h = apply_leaky_relu(self.from_image[stage](x))
        for k in reversed(range(stage)):
            h = self.blocks[k](h)
            if alpha is not None and k == stage - 1:
                h = blend(apply_leaky_relu(self.from_image[k](shrink(x))), h, alpha)
        return apply_leaky_relu(self.dense(apply_leaky_relu(self.conv(self.spread(h))).flatten(1)))

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        scores = self.score(h)
        if not self.classes:
            return scores
        assert label is not None, "a conditional network was called without labels"
        return scores.gather(1, label[:, None])

    def forward(
        self,
        x: Tensor,
        label: Tensor | None = None,
        *,
        stage: int | None = None,
        alpha: Tensor | None = None,
    ) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label, stage=stage, alpha=alpha), label)


class FirstBlock(nn.Module):
    """(N,z_dim) -> (N,width,h,w) at the smallest size."""

    def __init__(self, z_dim: int, width: int, base: tuple[int, int]):
        super().__init__()
        self.base = base
        # A quarter of the usual gain, as in the paper's code: what comes out is normalised, so only
        # the learning rate differs.
        self.dense = EqualisedLinear(z_dim, width * base[0] * base[1], gain=SQRT2 / 4, bias=False)
        self.bias = nn.Parameter(torch.zeros(width))  # per channel, not per position
        self.conv = EqualisedConv2d(width, width, gain=SQRT2)

    def forward(self, z: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        h = self.dense(z).unflatten(1, (-1, *self.base)) + self.bias[:, None, None]
        return pixel_norm(apply_leaky_relu(self.conv(pixel_norm(apply_leaky_relu(h)))))


class UpBlock(nn.Module):
    """(N,c_in,h,w) -> (N,c_out,2h,2w)."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.first = EqualisedConv2d(c_in, c_out, gain=SQRT2)
        self.second = EqualisedConv2d(c_out, c_out, gain=SQRT2)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        h = pixel_norm(apply_leaky_relu(self.first(enlarge(x))))
        return pixel_norm(apply_leaky_relu(self.second(h)))


class DownBlock(nn.Module):
    """(N,c_in,2h,2w) -> (N,c_out,h,w)."""

    def __init__(self, c_in: int, c_out: int, *, soft: bool):
        super().__init__()
        self.first = EqualisedConv2d(c_in, c_in, gain=SQRT2)
        self.second = EqualisedConv2d(c_in, c_out, gain=SQRT2)
        self.soft = soft

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        h = apply_leaky_relu(self.first(x))
        if self.soft:
            return apply_leaky_relu(shrink(self.second(blur(h, SOFT))))
        return shrink(apply_leaky_relu(self.second(h)))


def compute_widths(
    base: tuple[int, int], times: int, *, channel_base: int, channel_max: int
) -> list[int]:
    """Lists channels from the smallest stage to the largest.

    They are channel_base / side (the shorter one), up to channel_max.
    """
    largest = min(base) * 2**times
    if channel_base < largest or channel_max < 1:
        raise ValueError(
            f"channel_base={channel_base}, channel_max={channel_max} leave no channel at "
            f"{largest} pixels: give {largest} or more, and 1 or more (the paper's: 16384, 512)"
        )
    return [min(channel_base // (min(base) * 2**k), channel_max) for k in range(times + 1)]


def apply_leaky_relu(x: Tensor) -> Tensor:
    """Applies leaky ReLU of slope 0.2."""
    return F.leaky_relu(x, 0.2)


def enlarge(x: Tensor, factor: int = 2) -> Tensor:
    """Repeats pixels: (N,C,H,W) -> (N,C,factor H,factor W)."""
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="nearest")


def shrink(x: Tensor, factor: int = 2) -> Tensor:
    """Averages squares of pixels: (N,C,H,W) -> (N,C,H/factor,W/factor)."""
    return x if factor == 1 else F.avg_pool2d(x, factor)


def blend(low: Tensor, high: Tensor, alpha: Tensor) -> Tensor:
    """Mixes (N,C,H,W) by a 0-d alpha: low at 0, high at 1, to the last bit."""
    return torch.lerp(low.to(high.dtype), high, alpha.to(high.dtype))


def blend_images(
    to_image: nn.ModuleList, before: Tensor, h: Tensor, *, stage: int, alpha: Tensor | None
) -> Tensor:
    """Makes the stage's image, or one on the way to it from the stage before.

    Images are blended, not features: those of two sizes mean different things.
    """
    # The older image layer reads what it has always read: the features before this stage.
    x = to_image[stage](h)
    return x if alpha is None else blend(enlarge(to_image[stage - 1](before)), x, alpha)
