"""Context encoders (Pathak 2016): a generator that fills holes from their surroundings.

And the discriminator of what it filled.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import Tensor, nn

from gancli.networks.dcgan import compute_widths, init_dcgan, make_downsampling
from gancli.networks.layers import (
    Output,
    constrain_weight,
    count_downsampling_steps,
    norm2d,
    size_of,
    to_range,
)
from gancli.networks.translation import Translator, init_normal

Hole = Literal["centre", "free"]


class ContextEncoder(Translator):
    """source (N,channels_in,H,W), holes filled with any colour -> (N,channels_out,H,W).

    Pathak 2016, section 3.1.

    Args:
        channels_in: of the source.
        channels_out: of what is made.
        resolution: side or [H,W] in pixels that halves down to 4..7.
        bottleneck: channels of the one position (larger images have more) between encoder and
            decoder.
        width: channels of the first two levels; they double.
        max_width: the most channels.
        hole: "centre": the paper's network: sees `resolution` only, makes the central H/2 x W/2
            (`patch`), and puts it into the image, which the first channels_out channels of the
            source are. "free": a decoder with one more level makes the whole image, of any size
            from the shorter side of `resolution` on; give it the mask as one more channel.
        overlap: share of each side that stays visible at the edges of the middle half, below 0.25;
            the network makes these pixels too, and whoever cuts a window around a hole has to leave
            them there.
        norm: of the inner layers.
        output: "tanh" or "linear".
    """

    def __init__(
        self,
        *,
        channels_in: int,
        channels_out: int,
        resolution: int | list[int] = 128,
        bottleneck: int = 4000,
        width: int = 64,
        max_width: int = 512,
        hole: Hole = "centre",
        overlap: float = 0.0,
        norm: Literal["batch", "none"] = "batch",
        output: Output = "tanh",
    ):
        super().__init__(channels_in, channels_out)
        times, base = count_downsampling_steps(resolution)
        if min(bottleneck, width, max_width) < 1:
            raise ValueError(
                f"bottleneck={bottleneck}, width={width}, max_width={max_width}: give 1 or more "
                "(the paper's: 4000, 64, 512)"
            )
        if hole == "centre" and (times < 2 or channels_in < channels_out):
            raise ValueError(
                f"hole=centre: {size_of(resolution)} pixels, {channels_in} channels into "
                f"{channels_out}: the image must have 16 pixels or more and be among the source's "
                "channels; or use hole=free"
            )
        self.hole = hole
        self.overlap = compute_overlap(size_of(resolution), overlap)
        self.multiple = 2**times
        self.tileable = hole == "free"
        self.smallest = min(size_of(resolution))
        if hole == "centre":
            self.size = size_of(resolution)
        else:  # square, so that tall and wide images do
            base = (min(base), min(base))
            self.reach = (base[0] + 4) * 2**times
        # The first two levels have the same width: 64, 64, 128, ... in the authors' code.
        widths = [width, *compute_widths(width, times - 1, max_width)]
        layers = [nn.Conv2d(channels_in, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for c_in, c_out in itertools.pairwise(widths):
            layers += [nn.Conv2d(c_in, c_out, 4, 2, 1), norm2d(norm, c_out), nn.LeakyReLU(0.2)]
        layers += [
            nn.Conv2d(widths[-1], bottleneck, base),
            norm2d(norm, bottleneck),
            nn.LeakyReLU(0.2),
        ]
        layers += [
            nn.ConvTranspose2d(bottleneck, widths[-1], base),
            norm2d(norm, widths[-1]),
            nn.ReLU(),
        ]
        # One step fewer for the centre, which is half as large as what the encoder sees.
        back = widths[::-1] if hole == "free" else widths[:0:-1]
        for c_in, c_out in itertools.pairwise(back):
            layers += [nn.ConvTranspose2d(c_in, c_out, 4, 2, 1), norm2d(norm, c_out), nn.ReLU()]
        self.net = nn.Sequential(
            *layers, nn.ConvTranspose2d(back[-1], channels_out, 4, 2, 1), to_range(output)
        ).apply(init_normal)

    def patch(self, source: Tensor) -> Tensor:
        """Makes what the network itself makes.

        That is (N,channels_out,H/2,W/2) for a central hole, else all of the image.
        """
        return self.net(self.join_noise(source, None))

    def forward(self, source: Tensor, noise: Tensor | None = None) -> Tensor:
        """Fills the holes: the middle of each source, or all of it."""
        assert noise is None, "noise was given to a generator that has none"
        made = self.patch(source)
        return made if self.hole == "free" else paste_centre(source[:, : self.channels_out], made)


class ContextDiscriminator(nn.Module):
    """trunk: x (N,channels,H,W) -> (N,C,h,w) at 4..7 pixels; head: -> scores (N,1).

    DCGAN's discriminator with a bias in every convolution (Pathak 2016, code).

    Args:
        channels: of the images.
        resolution: of the images, side or [H,W].
        hole: "centre": it sees their central H/2 x W/2 alone; "free": all of them.
        width: channels of the first level; they double.
        max_width: the most channels.
        norm: of the inner layers.
    """

    def __init__(
        self,
        *,
        channels: int,
        resolution: int | list[int] = 128,
        hole: Hole = "centre",
        width: int = 64,
        max_width: int = 512,
        norm: Literal["batch", "layer", "spectral", "none"] = "batch",
    ):
        super().__init__()
        self.hole = hole
        seen = size_of(resolution)
        if hole == "centre":
            seen = (seen[0] // 2, seen[1] // 2)
        times, base = count_downsampling_steps(list(seen))
        widths = compute_widths(width, times, max_width)
        self.feature_dim = widths[-1] * base[0] * base[1]
        layers: list[nn.Module] = []
        for k, (c_in, c_out) in enumerate(zip([channels, *widths], widths, strict=False)):
            # No norm on the first layer; a spectral one, which is no norm of values, stands
            # everywhere.
            inner = norm if k or norm == "spectral" else "none"
            layers += make_downsampling(c_in, c_out, inner, "leaky_relu", "strided", bias=True)
        self.body = nn.Sequential(*layers)
        self.out = constrain_weight(init_dcgan(nn.Conv2d(widths[-1], 1, base)), norm)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images."""
        return self.body(crop_centre(x) if self.hole == "centre" else x)

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        return self.out(h).flatten(1)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


def compute_overlap(size: tuple[int, int], share: float) -> tuple[int, int]:
    """Counts the rows and columns that stay visible at each edge of the middle half.

    Args:
        size: height and width in pixels.
        share: of each side, from 0 to less than 0.25, at which nothing would be hidden.

    Raises:
        ValueError: for a share that hides nothing.
    """
    if not 0 <= share < 0.25:
        raise ValueError(
            f"overlap={share}: from 0 to less than 0.25 of each side (the paper's: 0.03125)"
        )
    return int(share * size[0]), int(share * size[1])


def find_middle(size: tuple[int, int], overlap: tuple[int, int]) -> tuple[slice, slice]:
    """Finds rows and columns of the middle half of an image, less `overlap` pixels at each edge."""
    rows, columns = (
        slice(side // 4 + less, side - side // 4 - less)
        for side, less in zip(size, overlap, strict=True)
    )
    return rows, columns


def crop_centre(x: Tensor) -> Tensor:
    """Crops (N,C,H,W) to its middle (N,C,H/2,W/2)."""
    h = x.shape[2] // 2
    w = x.shape[3] // 2
    return x[:, :, h // 2 : h // 2 + h, w // 2 : w // 2 + w]


def paste_centre(image: Tensor, middle: Tensor) -> Tensor:
    """Puts middle (N,C,H/2,W/2) into image (N,C,H,W)."""
    h, w = middle.shape[2:]
    top = h // 2
    left = w // 2
    image = image.to(middle.dtype)
    rows = image[:, :, top : top + h]
    # Of parts, not written in place: the source belongs to the batch, and gradients pass to
    # `middle`.
    rows = torch.cat([rows[..., :left], middle, rows[..., left + w :]], 3)
    return torch.cat([image[:, :, :top], rows, image[:, :, top + h :]], 2)
