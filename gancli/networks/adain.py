"""A feed-forward network that repaints an image in the style of any other.

Huang and Belongie 2017.
"""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.layers import Output, to_range
from gancli.networks.translation import Mirror, Translator


class AdaINNet(Translator):
    """source (N,channels_in,H,W), style (N,channels_in,h,w) -> (N,channels_out,H,W).

    One encoder reads both; the source's features get the style's mean and deviation in each channel
    (adaptive instance normalisation, section 5), and a decoder without norms paints them. The
    paper's encoder is VGG's; this one is trained.

    Args:
        channels_in: of source and style.
        channels_out: of what is made.
        width: channels at full size; they double at each downsampling step.
        blocks: residual blocks, 0 to 64, half of them after the style.
        downs: downsampling steps, 0 to 5.
        output: "tanh" or "linear".
    """

    def __init__(
        self,
        *,
        channels_in: int = 3,
        channels_out: int = 3,
        width: int = 32,
        blocks: int = 4,
        downs: int = 2,
        output: Output = "tanh",
    ):
        super().__init__(channels_in, channels_out)
        if width < 1 or not 0 <= blocks <= 64 or not 0 <= downs <= 5:
            raise ValueError(
                f"width={width}, blocks={blocks}, downs={downs}: give 1 or more, 0 to 64, and 0 to "
                "5"
            )
        # mirroring p pixels needs p + 1
        self.multiple = 2**downs
        self.smallest = max(5, 2 * 2**downs)
        widths = [width * 2**k for k in range(downs + 1)]
        layers = [Mirror(4), nn.Conv2d(channels_in, width, 9)]
        for c_in, c_out in itertools.pairwise(widths):
            layers += [nn.ReLU(), Mirror(1), nn.Conv2d(c_in, c_out, 3, 2)]
        self.encoder = nn.Sequential(
            *layers, *(Block(widths[-1]) for _ in range(blocks - blocks // 2))
        )
        layers = [Block(widths[-1]) for _ in range(blocks // 2)]
        for c_in, c_out in zip(widths[:0:-1], widths[-2::-1], strict=True):
            layers += [nn.Upsample(scale_factor=2), Mirror(1), nn.Conv2d(c_in, c_out, 3), nn.ReLU()]
        self.decoder = nn.Sequential(
            *layers, Mirror(4), nn.Conv2d(width, channels_out, 9), to_range(output)
        )

    def forward(self, source: Tensor, noise: Tensor | None = None, *, style: Tensor) -> Tensor:
        """Repaints images.

        Args:
            source: (N,channels_in,H,W).
            noise: None; this network has none.
            style: one for each source, of any size from `smallest` on.
        """
        return self.decoder(
            adain(self.encoder(self.join_noise(source, noise)), self.encoder(style))
        )


class Block(nn.Module):
    """(N,C,H,W) -> the same shape: two convolutions, added to what came in."""

    def __init__(self, channels: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.ReLU(),
            Mirror(1),
            nn.Conv2d(channels, channels, 3),
            nn.ReLU(),
            Mirror(1),
            nn.Conv2d(channels, channels, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        return x + self.net(x)


def adain(content: Tensor, style: Tensor) -> Tensor:
    """Gives the content's features the style's mean and deviation in each channel.

    (N,C,H,W), (N,C,h,w) -> (N,C,H,W) (equation 8).
    """
    mean = style.mean((2, 3), keepdim=True)
    variance = style.var((2, 3), correction=0, keepdim=True)
    # The same small number as in the norm: content in its own style comes back as it was.
    return F.instance_norm(content) * (variance + 1e-5).sqrt() + mean
