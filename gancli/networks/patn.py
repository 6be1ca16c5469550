"""Pose transfer's networks: a generator of two streams, and a discriminator of residual blocks."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from gancli.networks.layers import Output, size_of, to_range
from gancli.networks.translation import (
    ImageNorm,
    Mirror,
    ResidualBlock,
    Translator,
    init_normal,
    make_norm,
    make_norm_and_relu,
)


class PATN(Translator):
    """Moves a person into another pose (Zhu 2019, section 3.1).

    One stream carries the picture, the other both poses. In each block the stream of poses decides
    by a sigmoid where that of the picture changes, and then sees what it has become.

    source (N,channels_in,H,W), pose (N,2 * pose_channels,H,W), that of the source first ->
    (N,channels_out,H,W)

    Args:
        channels_in: of the source.
        channels_out: of what is made.
        pose_channels: of one pose's map.
        resolution: of all of them; it takes no other size, since pose and picture have to fit.
        width: channels at full size; they double at each downsampling step; the paper's: 64.
        downs: downsampling steps, 0 to 5.
        blocks: 1 to 64; the paper's: 9.
        norm: of all layers but the last, and but the second of a pose's in each block.
        dropout: share of each block's hidden values, in training, 0 to 1; the authors' code: 0.5.
        output: "tanh" or "linear".
    """

    def __init__(
        self,
        *,
        channels_in: int,
        channels_out: int,
        pose_channels: int,
        resolution: int | list[int],
        width: int = 32,
        downs: int = 2,
        blocks: int = 3,
        norm: ImageNorm = "batch",
        dropout: float = 0.0,
        output: Output = "tanh",
    ):
        super().__init__(channels_in, channels_out)
        if (
            min(width, pose_channels) < 1
            or not 1 <= blocks <= 64
            or not 0 <= downs <= 5
            or not 0 <= dropout < 1
        ):
            raise ValueError(
                f"width={width}, pose_channels={pose_channels}, downs={downs}, blocks={blocks}, "
                f"dropout={dropout}: give 1 or more, 1 or more, 0 to 5, 1 to 64, and a share from "
                "0 up to 1 (the paper's: 64, 18, 2, 9, 0.5)"
            )
        self.multiple = 2**downs
        # Mirroring p pixels needs p + 1: 2 at the blocks' size, 4 at full size.
        self.smallest = max(4, 2 * 2**downs)
        self.size = size_of(resolution)
        self.pose_channels = pose_channels
        widths = [width * 2**k for k in range(downs + 1)]
        self.picture = make_encoder(channels_in, widths, norm)
        # Both poses at once: the attention needs to know from where to where.
        self.poses = make_encoder(2 * pose_channels, widths, norm)
        self.blocks = nn.ModuleList(
            AttentionBlock(widths[-1], first=k == 0, norm=norm, dropout=dropout)
            for k in range(blocks)
        )
        up: list[nn.Module] = []
        for c_in, c_out in zip(widths[:0:-1], widths[-2::-1], strict=True):
            up += [
                nn.ConvTranspose2d(c_in, c_out, 3, 2, 1, output_padding=1, bias=norm != "batch"),
                *make_norm_and_relu(norm, c_out, False),
            ]
        self.end = nn.Sequential(
            *up, Mirror(3), nn.Conv2d(width, channels_out, 7), to_range(output)
        )
        self.apply(init_normal)

    def forward(self, source: Tensor, pose: Tensor) -> Tensor:
        """Makes a picture of each person in its new pose."""
        x = self.picture(self.join_noise(source, None))
        p = self.poses(pose.to(source.dtype))
        for block in self.blocks:
            x, p = block(x, p)
        return self.end(x)


class AttentionBlock(nn.Module):
    """A block of both streams: picture (N,C,H,W), poses (N,C or 2C,H,W) -> (N,C,H,W), (N,2C,H,W).

    Args:
        channels: of the picture's stream.
        first: that of the poses has as many; from the second block on it has twice as many.
        norm: of both.
        dropout: share of the hidden values.
    """

    def __init__(self, channels: int, *, first: bool, norm: ImageNorm, dropout: float):
        super().__init__()
        bias = norm != "batch"
        self.picture = nn.Sequential(
            *make_half(channels, norm, dropout),
            Mirror(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            make_norm(norm, channels),
        )
        seen = channels if first else 2 * channels
        self.poses = nn.Sequential(
            *make_half(seen, norm, dropout),
            Mirror(1),
            nn.Conv2d(seen, channels, 3, bias=bias),
        )

    def forward(self, x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Applies the block; the class says the shapes."""
        p = self.poses(p)
        # The pose says where the picture may change; elsewhere the mask is near 0 and x passes.
        x = x + self.picture(x) * p.sigmoid()
        # The new picture, not the old: the poses' stream learns what has been moved so far.
        return x, torch.cat([p, x], 1)


class ResNetDiscriminator(nn.Module):
    """Scores every number of the last map: trunk and head (N,channels,H,W) -> (N,4 width,h,w).

    The discriminator of the authors' code (Zhu 2019): strided convolutions and residual blocks,
    and no last layer.

    Args:
        channels: of what it sees.
        width: channels at full size; they double at each downsampling step.
        downs: downsampling steps, 0 to 5.
        blocks: residual blocks.
        norm: of all layers.
        dropout: share of each block's hidden values, in training.
    """

    def __init__(
        self,
        *,
        channels: int,
        width: int = 64,
        downs: int = 2,
        blocks: int = 3,
        norm: ImageNorm = "batch",
        dropout: float = 0.0,
    ):
        super().__init__()
        if min(channels, width) < 1 or not 0 <= blocks <= 64 or not 0 <= downs <= 5:
            raise ValueError(
                f"channels={channels}, width={width}, downs={downs}, blocks={blocks}: give 1 or "
                "more, 1 or more, 0 to 5 and 0 to 64 (the paper's width 64, downs 2, blocks 3)"
            )
        widths = [width * 2**k for k in range(downs + 1)]
        self.body = nn.Sequential(
            make_encoder(channels, widths, norm),
            *(
                ResidualBlock(widths[-1], norm=norm, affine=False, dropout=dropout)
                for _ in range(blocks)
            ),
        )
        self.feature_dim = widths[-1]
        self.apply(init_normal)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images, which are the scores already."""
        return self.body(x)

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        return h

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


def make_encoder(channels: int, widths: list[int], norm: ImageNorm) -> nn.Sequential:
    """Makes a 7x7 convolution at full size and a strided one for each further width."""
    bias = norm != "batch"
    layers: list[nn.Module] = [
        Mirror(3),
        nn.Conv2d(channels, widths[0], 7, bias=bias),
        *make_norm_and_relu(norm, widths[0], False),
    ]
    for c_in, c_out in itertools.pairwise(widths):
        layers += [
            nn.Conv2d(c_in, c_out, 3, 2, 1, bias=bias),
            *make_norm_and_relu(norm, c_out, False),
        ]
    return nn.Sequential(*layers)


def make_half(channels: int, norm: ImageNorm, dropout: float) -> list[nn.Module]:
    """Makes the first convolution of a block, its norm, ReLU and dropout."""
    return [
        Mirror(1),
        nn.Conv2d(channels, channels, 3, bias=norm != "batch"),
        *make_norm_and_relu(norm, channels, False),
        nn.Dropout(dropout) if dropout else nn.Identity(),
    ]
