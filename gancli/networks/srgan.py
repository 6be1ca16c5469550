"""Super-resolution: the networks of SRGAN and ESRGAN (Ledig 2017; Wang 2018).

At scale 1 they restore images.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.layers import Output, norm2d, size_of, to_range
from gancli.networks.spectral import spectral as spectrally_normalised
from gancli.networks.translation import Translator

Scale = Literal[1, 2, 4, 8]
Base = Literal["none", "bilinear", "bicubic"]
LINKS = 5  # convolutions in a dense block
RESIDUAL = 0.2  # how much of each dense block is added to what came in
MOST_BLOCKS = 64


class Enlarger(Translator):
    """What both generators share: the scale and the base.

    The base is the source, enlarged as usual, to which the network only adds.
    """

    tileable = True

    def __init__(
        self, channels: int, *, scale: Scale, blocks: int, width: int, base: Base, output: Output
    ):
        super().__init__(channels, channels)
        if scale not in (1, 2, 4, 8) or not 0 <= blocks <= MOST_BLOCKS or width < 1:
            raise ValueError(
                f"scale={scale}, blocks={blocks}, width={width}: give 1, 2, 4 or 8, 0 to "
                f"{MOST_BLOCKS}, and 1 or more"
            )
        if base not in ("none", "bilinear", "bicubic") or (base != "none" and output != "linear"):
            raise ValueError(
                f"base={base}, output={output}: give none, bilinear or bicubic; what is added to a "
                "base is linear"
            )
        self.scale = scale
        self.base = base
        self.doublings = scale.bit_length() - 1

    def add_base(self, source: Tensor, x: Tensor) -> Tensor:
        """Adds the enlarged source to x (N,C,scale * H,scale * W), where there is a base."""
        if self.base == "none":
            return x
        base = (
            source
            if self.scale == 1
            else F.interpolate(source, scale_factor=self.scale, mode=self.base, align_corners=False)
        )
        return base.to(x.dtype) + x


class SRResNet(Enlarger):
    """SRGAN's generator: source (N,channels,H,W) -> (N,channels,scale * H,scale * W).

    Ledig 2017, figure 4.

    Args:
        channels: of the images.
        width: channels of the residual body, which works at the source's size.
        blocks: of the residual body, 0 to 64.
        scale: how many times larger the output is.
        norm: the paper's "batch", or "none" (EDSR, Lim 2017).
        base: the source, enlarged so, to which the network's output is added, as in BasicSR's
            MSRResNet; training starts from it.
        output: "linear" or "tanh".
    """

    def __init__(
        self,
        *,
        channels: int,
        width: int = 64,
        blocks: int = 16,
        scale: Scale = 4,
        norm: Literal["batch", "none"] = "batch",
        base: Base = "none",
        output: Output = "linear",
    ):
        super().__init__(
            channels, scale=scale, blocks=blocks, width=width, base=base, output=output
        )
        self.reach = 4 + 2 * blocks + 1 + math.ceil(2 + 4 / scale)
        self.start = nn.Sequential(nn.Conv2d(channels, width, 9, 1, 4), nn.PReLU())
        self.body = nn.Sequential(
            *(SRBlock(width, norm) for _ in range(blocks)),
            nn.Conv2d(width, width, 3, 1, 1),
            norm2d(norm, width),
        )
        ups: list[nn.Module] = []
        for _ in range(self.doublings):
            ups += [nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2), nn.PReLU()]
        self.end = nn.Sequential(*ups, nn.Conv2d(width, channels, 9, 1, 4), to_range(output))
        zero_last_layer(self.end[-2], base)

    def forward(self, source: Tensor, noise: Tensor | None = None) -> Tensor:
        """Makes an image of each source."""
        h = self.start(self.join_noise(source, noise))
        return self.add_base(source, self.end(h + self.body(h)))


class SRBlock(nn.Module):
    """(N,C,H,W) -> the same shape: two convolutions, added to what came in."""

    def __init__(self, width: int, norm: Literal["batch", "none"]):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1),
            norm2d(norm, width),
            nn.PReLU(),
            nn.Conv2d(width, width, 3, 1, 1),
            norm2d(norm, width),
        )
        if norm == "none":
            self.apply(init_small)  # or the sum would grow from block to block

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        return x + self.net(x)


class RRDBNet(Enlarger):
    """ESRGAN's generator: source (N,channels,H,W) -> (N,channels,scale * H,scale * W).

    Wang 2018, section 3.1.

    Args:
        channels: of the images.
        width: channels of the residual body.
        growth: channels that each convolution adds.
        blocks: each of three dense blocks of five convolutions, 0 to 64.
        scale: how many times larger the output is.
        base: as in `SRResNet`.
        output: "linear" or "tanh".
    """

    def __init__(
        self,
        *,
        channels: int,
        width: int = 64,
        growth: int = 32,
        blocks: int = 23,
        scale: Scale = 4,
        base: Base = "none",
        output: Output = "linear",
    ):
        super().__init__(
            channels, scale=scale, blocks=blocks, width=width, base=base, output=output
        )
        if growth < 1:
            raise ValueError(f"growth={growth}: give 1 or more (the paper's: 32)")
        # A pixel by each 3x3 convolution of the body; those at full size count by the scale.
        self.reach = 1 + 3 * LINKS * blocks + 1 + math.ceil(2 + 2 / scale)
        self.start = nn.Conv2d(channels, width, 3, 1, 1)
        self.body = nn.Sequential(
            *(RRDB(width, growth) for _ in range(blocks)), nn.Conv2d(width, width, 3, 1, 1)
        )
        ups: list[nn.Module] = []
        for _ in range(self.doublings):
            ups += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(width, width, 3, 1, 1),
                nn.LeakyReLU(0.2),
            ]
        self.end = nn.Sequential(
            *ups,
            nn.Conv2d(width, width, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, channels, 3, 1, 1),
            to_range(output),
        )
        zero_last_layer(self.end[-2], base)

    def forward(self, source: Tensor, noise: Tensor | None = None) -> Tensor:
        """Makes an image of each source."""
        h = self.start(self.join_noise(source, noise))
        return self.add_base(source, self.end(h + self.body(h)))


class RRDB(nn.Module):
    """Residual in residual dense block: (N,C,H,W) -> the same shape."""

    def __init__(self, width: int, growth: int):
        super().__init__()
        self.net = nn.Sequential(*(DenseBlock(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        return x + RESIDUAL * self.net(x)


class DenseBlock(nn.Module):
    """(N,C,H,W) -> the same shape; each convolution sees the input and what all before made."""

    def __init__(self, width: int, growth: int):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(width + k * growth, growth if k < LINKS - 1 else width, 3, 1, 1)
            for k in range(LINKS)
        )
        self.apply(init_small)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        made = [x]
        for conv in self.convs[:-1]:
            made.append(F.leaky_relu(conv(torch.cat(made, 1)), 0.2))
        return x + RESIDUAL * self.convs[-1](torch.cat(made, 1))


class SRDiscriminator(nn.Module):
    """trunk: x (N,channels,H,W) -> (N,hidden); head: -> scores (N,1).

    Like VGG. SRGAN's (Ledig 2017, figure 4) at 96 pixels: levels=4, hidden=1024, kernel=3,
    bias=true. ESRGAN's in BasicSR: hidden=100, kernel=4, bias=false, levels=5 at 128 pixels, 6 at
    256.

    Args:
        channels: of the images.
        resolution: the only size that it takes, side or [H,W].
        width: channels of the first convolutions; they double.
        max_width: the most channels.
        levels: pairs of convolutions, of which the second halves the size.
        hidden: units of the layer before the score.
        kernel: of the convolutions that halve.
        bias: of the convolutions before a norm.
        norm: of the inner layers.
        spectral: every weight is divided by its spectral norm.
    """

    def __init__(
        self,
        *,
        channels: int,
        resolution: int | list[int],
        width: int = 64,
        max_width: int = 512,
        levels: int = 4,
        hidden: int = 1024,
        kernel: Literal[3, 4] = 3,
        bias: bool = True,
        norm: Literal["batch", "layer", "none"] = "batch",
        spectral: bool = False,
    ):
        super().__init__()
        self.size = size_of(resolution)
        if (
            min(channels, width, max_width, hidden) < 1
            or not 1 <= levels <= 8
            or kernel not in (3, 4)
        ):
            raise ValueError(
                f"channels={channels}, width={width}, max_width={max_width}, hidden={hidden}, "
                f"levels={levels}, kernel={kernel}: give 1 or more each, 1 to 8 levels and a "
                "kernel of 3 or 4"
            )
        if min(self.size) < 2**levels:
            raise ValueError(
                f"levels={levels}: an image of {self.size[1]}x{self.size[0]} pixels cannot be "
                f"halved so often; give {max(1, min(self.size).bit_length() - 1)} or fewer"
            )
        # A dense layer reads the last map, hence the one size.
        left = [halve_side(side, levels, kernel) for side in self.size]
        body: list[nn.Module] = []
        c_in = channels
        for k in range(levels):
            c_out = min(width * 2**k, max_width)
            plain = norm == "none" or bias
            body += [
                spectrally_normalised(
                    nn.Conv2d(c_in, c_out, 3, 1, 1, bias=plain or k == 0), spectral
                ),
                norm2d(norm if k else "none", c_out),
                nn.LeakyReLU(0.2),
                spectrally_normalised(nn.Conv2d(c_out, c_out, kernel, 2, 1, bias=plain), spectral),
                norm2d(norm, c_out),
                nn.LeakyReLU(0.2),
            ]
            c_in = c_out
        dense = spectrally_normalised(nn.Linear(c_in * left[0] * left[1], hidden), spectral)
        self.body = nn.Sequential(*body, nn.Flatten(), dense, nn.LeakyReLU(0.2))
        self.out = spectrally_normalised(nn.Linear(hidden, 1), spectral)
        self.feature_dim = hidden

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images."""
        assert tuple(x.shape[2:]) == self.size, (
            f"this discriminator takes {self.size} pixels, not {tuple(x.shape[2:])}"
        )
        return self.body(x)

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        return self.out(h)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


def halve_side(side: int, times: int, kernel: int) -> int:
    """Says what convolutions of stride 2 and padding 1 leave.

    Of an odd side, a kernel of 3 leaves the larger half, one of 4 the smaller.
    """
    for _ in range(times):
        side = (side + 4 - kernel) // 2
    return side


def init_small(module: nn.Module) -> None:
    """Fills weights with He's deviation (2015), times 0.1.

    Smaller initial weights help deep residual networks (Wang 2018, section 3.1).
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
        with torch.no_grad():
            module.weight *= 0.1
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def zero_last_layer(last: nn.Module, base: Base) -> None:
    """Makes the last layer add nothing to a base at first.

    So training starts where usual enlargement ends.
    """
    if base != "none":
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
