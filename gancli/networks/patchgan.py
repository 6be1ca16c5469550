"""PatchGAN: a discriminator with a score for each patch, as pix2pix and CycleGAN have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from gancli.networks.spectral import spectral as spectrally_normalised
from gancli.networks.translation import init_normal

PatchNorm = Literal["batch", "instance", "layer", "none"]


class PatchDiscriminator(nn.Module):
    """trunk: x (N,channels,H,W) -> (N,feature_dim,h,w); head: -> scores (N,1,h,w).

    There is one score per patch (Isola 2017, section 6.1.2). h = H // 2^layers - 2, so sides below
    `smallest` raise ValueError.

    Args:
        channels: of what it sees; where it also sees the source, those of both together.
        width: channels after the first layer; they double.
        layers: strided ones, 0 to 8: patches of 1, 16, 34, 70, 142, 286 ... pixels.
        max_width: the most channels.
        norm: of the inner layers; "layer" is over each image's C, H and W; "instance" has neither
            gain nor bias.
        spectral: every weight is divided by its spectral norm.
    """

    def __init__(
        self,
        *,
        channels: int,
        width: int = 64,
        layers: int = 3,
        max_width: int = 512,
        norm: PatchNorm = "batch",
        spectral: bool = False,
    ):
        super().__init__()
        if min(channels, width, max_width) < 1 or not 0 <= layers <= 8:
            raise ValueError(
                f"channels={channels}, width={width}, max_width={max_width}, layers={layers}: "
                "give 1 or more each, and 0 to 8 layers (the paper's: 64, 512, 3)"
            )
        self.smallest = 3 * 2**layers if layers else 1
        bias = norm in ("none", "instance")
        if layers == 0:
            # side, stride, padding of each convolution
            widths = [width, min(2 * width, max_width)]
            table = [(1, 1, 0)] * 3
        else:
            widths = [min(width * 2**k, max_width) for k in range(layers + 1)]
            table = [(4, 2, 1)] * layers + [(4, 1, 1)] * 2
        body: list[nn.Module] = []
        for k, (c_in, c_out) in enumerate(zip([channels, *widths], widths, strict=False)):
            body += [
                init_layer(nn.Conv2d(c_in, c_out, *table[k], bias=bias or k == 0), spectral),
                make_patch_norm(norm if k else "none", c_out),
                nn.LeakyReLU(0.2),
            ]
        self.body = nn.Sequential(*body)
        self.feature_dim = widths[-1]
        self.out = init_layer(
            nn.Conv2d(widths[-1], 1, *table[-1], bias=bias or layers > 0), spectral
        )

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images."""
        if min(x.shape[2:]) < self.smallest:
            raise ValueError(
                f"images of {x.shape[3]}x{x.shape[2]} pixels are too small for the patches of "
                f"this discriminator: it needs {self.smallest}; give it fewer layers"
            )
        return self.body(x)

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        return self.out(h)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


def make_patch_norm(norm: PatchNorm, channels: int) -> nn.Module:
    """Makes a normalisation by its name."""
    makers: dict[PatchNorm, Callable[[int], nn.Module]] = {
        "batch": nn.BatchNorm2d,
        "instance": nn.InstanceNorm2d,
        "layer": lambda c: nn.GroupNorm(1, c),
        "none": lambda c: nn.Identity(),
    }
    layer = makers[norm](channels)
    init_normal(layer)
    return layer


def init_layer(layer: nn.Module, spectral: bool) -> nn.Module:
    """Fills a layer, and only then puts it under its spectral norm.

    The first estimate of the norm is of the weight that it is given.
    """
    init_normal(layer)
    return spectrally_normalised(layer, spectral)
