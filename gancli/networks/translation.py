"""Generators from image to image: the contract that all of them keep, and two of them.

CycleGAN's residual network and pix2pix's U-Net.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.layers import Output, to_range

ImageNorm = Literal["batch", "instance", "none"]
NOISIEST = 3  # decoder layers of the U-Net that have dropout


class Translator(nn.Module):
    """source (N,channels_in,H,W), noise -> (N,channels_out,scale * H,scale * W).

    noise is (N,noise_channels,H,W) or None: it is drawn from the global generator where the network
    has some and none is given. `forward` raises ValueError for sizes that do not fit.

    Attributes:
        scale: how many times larger the output is.
        multiple: height and width must be multiples of it.
        smallest: the least height and width.
        size: the only (H,W) that it takes; None: any.
        overlap: rows and columns at the edges of the middle half of `size` that a network which
            fills it wants to see.
        tileable: a pixel depends on its surroundings alone, once in eval().
        reach: how far these surroundings extend at most, in pixels of the source to each side;
            tiles that overlap by twice that, cut at multiples of `multiple`, give the whole image's
            pixels.
        pose_channels: of the maps of the poses that it also takes, as `PATN` does; 0: it takes
            none.
    """

    scale = 1
    multiple = 1
    smallest = 1
    size: tuple[int, int] | None = None
    overlap: tuple[int, int] = (0, 0)
    tileable = False
    reach: int | None = None
    pose_channels = 0

    def __init__(self, channels_in: int, channels_out: int, *, noise_channels: int = 0):
        super().__init__()
        if min(channels_in, channels_out) < 1 or noise_channels < 0:
            raise ValueError(
                f"channels_in={channels_in}, channels_out={channels_out}, "
                f"noise_channels={noise_channels}: give 1 or more, and 0 or more of noise"
            )
        self.channels_in = channels_in
        self.channels_out = channels_out
        self.noise_channels = noise_channels

    def join_noise(self, source: Tensor, noise: Tensor | None) -> Tensor:
        """Returns what the first layer sees: (N,channels_in+noise_channels,H,W).

        Raises:
            ValueError: the size does not fit.
        """
        n, channels, h, w = source.shape
        assert channels == self.channels_in, (
            f"{channels} channels came where {self.channels_in} were meant to"
        )
        if self.size is not None and (h, w) != self.size:
            raise ValueError(
                f"an image of {w}x{h} pixels: this generator takes {self.size[1]}x{self.size[0]} "
                "only"
            )
        if h % self.multiple or w % self.multiple or min(h, w) < self.smallest:
            raise ValueError(
                f"an image of {w}x{h} pixels: this generator takes sides from {self.smallest} "
                "pixels on"
                + (f" that are multiples of {self.multiple}" if self.multiple > 1 else "")
            )
        if not self.noise_channels:
            assert noise is None, "noise was given to a generator that has none"
            return source
        if noise is None:
            noise = torch.randn(
                n, self.noise_channels, h, w, device=source.device, dtype=source.dtype
            )
        return torch.cat([source, noise], 1)


class ResNetGenerator(Translator):
    """CycleGAN's generator: residual blocks between strided convolutions.

    source (N,channels_in,H,W) -> (N,channels_out,H,W) (Zhu 2017, appendix 7.2; Johnson 2016).

    Args:
        channels_in: of the source.
        channels_out: of what is made.
        width: channels at full size; they double at each downsampling step.
        blocks: residual blocks: 9 from 256 pixels on, 6 below.
        downs: downsampling steps, 0 to 5.
        norm: of all layers but the last.
        affine: instance norms have a gain and a bias, as in the first Lua code.
        dropout: share of each block's hidden values, in training, 0 to 1.
        output: "tanh" or "linear".
        noise_channels: of noise that join the source.
    """

    def __init__(
        self,
        *,
        channels_in: int,
        channels_out: int,
        width: int = 64,
        blocks: int = 9,
        downs: int = 2,
        norm: ImageNorm = "instance",
        affine: bool = False,
        dropout: float = 0.0,
        output: Output = "tanh",
        noise_channels: int = 0,
    ):
        super().__init__(channels_in, channels_out, noise_channels=noise_channels)
        if width < 1 or not 0 <= blocks <= 64 or not 0 <= downs <= 5 or not 0 <= dropout < 1:
            raise ValueError(
                f"width={width}, blocks={blocks}, downs={downs}, dropout={dropout}: give 1 or "
                "more, 0 to 64, 0 to 5, and a share from 0 up to 1 (the paper's: 64, 9, 2, 0)"
            )
        # mirroring p pixels needs p + 1
        self.multiple = 2**downs
        self.smallest = max(4, 2 * 2**downs)
        self.tileable = norm != "instance"
        # 3 + 3 pixels by the two 7x7 ends; further in a pixel is 2^downs wide, and a block adds 2.
        self.reach = 6 + 2**downs * (2 * blocks + 3) if self.tileable else None
        widths = [width * 2**k for k in range(downs + 1)]
        bias = norm != "batch"
        layers: list[nn.Module] = [
            Mirror(3),
            nn.Conv2d(channels_in + noise_channels, width, 7, bias=bias),
            *make_norm_and_relu(norm, width, affine),
        ]
        for c_in, c_out in itertools.pairwise(widths):
            layers += [
                nn.Conv2d(c_in, c_out, 3, 2, 1, bias=bias),
                *make_norm_and_relu(norm, c_out, affine),
            ]
        layers += [
            ResidualBlock(widths[-1], norm=norm, affine=affine, dropout=dropout)
            for _ in range(blocks)
        ]
        # From the widest back to the first: each step halves the channels.
        for c_in, c_out in zip(widths[:0:-1], widths[-2::-1], strict=True):
            layers += [
                nn.ConvTranspose2d(c_in, c_out, 3, 2, 1, output_padding=1, bias=bias),
                *make_norm_and_relu(norm, c_out, affine),
            ]
        self.net = nn.Sequential(
            *layers, Mirror(3), nn.Conv2d(width, channels_out, 7), to_range(output)
        ).apply(init_normal)

    def forward(self, source: Tensor, noise: Tensor | None = None) -> Tensor:
        """Makes an image of each source."""
        return self.net(self.join_noise(source, noise))


class UNetGenerator(Translator):
    """pix2pix's generator: each level of the decoder also sees that of the encoder.

    source (N,channels_in,H,W) -> (N,channels_out,H,W), sides multiples of 2^downs (Isola 2017,
    section 6.1.1).

    Args:
        channels_in: of the source.
        channels_out: of what is made.
        width: channels after the first downsampling step; they double.
        downs: downsampling steps: 8 for 256 pixels, 7 for 128.
        max_width: the most channels.
        norm: of the inner layers.
        dropout: share of three decoder layers, 0 to 1.
        output: "tanh" or "linear".
        noisy: the paper's way (section 3.3): dropout is the noise, so eval() leaves it on, and
            batch norm uses statistics of what it sees, in eval() those of each image by itself.
            False: eval() drops nothing and normalises by running means.
        noise_channels: of noise that join the source.
    """

    def __init__(
        self,
        *,
        channels_in: int,
        channels_out: int,
        width: int = 64,
        downs: int = 8,
        max_width: int = 512,
        norm: ImageNorm = "batch",
        dropout: float = 0.5,
        output: Output = "tanh",
        noisy: bool = True,
        noise_channels: int = 0,
    ):
        super().__init__(channels_in, channels_out, noise_channels=noise_channels)
        if min(width, max_width) < 1 or not 1 <= downs <= 10 or not 0 <= dropout < 1:
            raise ValueError(
                f"width={width}, max_width={max_width}, downs={downs}, dropout={dropout}: give 1 "
                "or more, 1 or more, 1 to 10, and a share from 0 up to 1 (the paper's: 64, 512, "
                "8, 0.5)"
            )
        self.multiple = self.smallest = 2**downs
        self.tileable = (norm == "none" and not dropout) or (norm != "instance" and not noisy)
        self.reach = 4 * 2**downs if self.tileable else None
        widths = [min(width * 2**k, max_width) for k in range(downs)]
        bias = norm != "batch"
        drop = (
            nn.Identity()
            if not dropout
            else PresentDropout(dropout)
            if noisy
            else nn.Dropout(dropout)
        )
        self.down = nn.ModuleList(
            [nn.Conv2d(channels_in + noise_channels, widths[0], 4, 2, 1, bias=bias)]
        )
        for k in range(1, downs):
            # No norm where an image may be one pixel: less its mean, nothing would be left of it.
            inner = norm if k < downs - 1 else "none"
            self.down.append(
                nn.Sequential(
                    nn.LeakyReLU(0.2),
                    nn.Conv2d(widths[k - 1], widths[k], 4, 2, 1, bias=bias),
                    make_norm(inner, widths[k], present=noisy),
                )
            )
        self.up = nn.ModuleList()
        for k in range(downs - 1, 0, -1):
            # Twice as many where the encoder's level stands beside; the innermost has none.
            c_in = widths[k] * (1 if k == downs - 1 else 2)
            self.up.append(
                nn.Sequential(
                    nn.ReLU(),
                    nn.ConvTranspose2d(c_in, widths[k - 1], 4, 2, 1, bias=bias),
                    make_norm(norm, widths[k - 1], present=noisy),
                    drop if downs - 1 - k < NOISIEST else nn.Identity(),
                )
            )
        c_in = widths[0] * (1 if downs == 1 else 2)
        self.end = nn.Sequential(
            nn.ReLU(), nn.ConvTranspose2d(c_in, channels_out, 4, 2, 1), to_range(output)
        )
        self.apply(init_normal)

    def forward(self, source: Tensor, noise: Tensor | None = None) -> Tensor:
        """Makes an image of each source."""
        levels = [self.join_noise(source, noise)]
        for down in self.down:
            levels.append(down(levels[-1]))
        # The innermost level is what the decoder starts from, and is joined to none.
        h = levels.pop()
        for up in self.up:
            h = torch.cat([up(h), levels.pop()], 1)
        return self.end(h)


class ResidualBlock(nn.Module):
    """(N,C,H,W) -> the same shape: two convolutions, added to what came in.

    Borders are mirrored.
    """

    def __init__(self, channels: int, *, norm: ImageNorm, affine: bool, dropout: float):
        super().__init__()
        bias = norm != "batch"
        self.net = nn.Sequential(
            Mirror(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            *make_norm_and_relu(norm, channels, affine),
            nn.Dropout(dropout) if dropout else nn.Identity(),
            Mirror(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            make_norm(norm, channels, affine=affine),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        return x + self.net(x)


class Mirror(nn.Module):
    """(N,C,H,W) -> (N,C,H+2p,W+2p), borders mirrored about the outermost pixels.

    Of slices, since the gradient of torch's own is summed in any order on a GPU, and a resumed run
    would differ.
    """

    def __init__(self, pixels: int):
        super().__init__()
        self.pixels = pixels

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        p = self.pixels
        x = torch.cat([x[:, :, 1 : p + 1].flip(2), x, x[:, :, -p - 1 : -1].flip(2)], 2)
        return torch.cat([x[..., 1 : p + 1].flip(3), x, x[..., -p - 1 : -1].flip(3)], 3)


class PresentBatchNorm2d(nn.BatchNorm2d):
    """Batch norm without a memory: (N,C,H,W) -> the same shape.

    In eval() each image is normalised by itself: the paper's batches hold one image then, and what
    an image becomes should not depend on its company.
    """

    def __init__(self, channels: int):
        super().__init__(channels, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        if self.training:
            return super().forward(x)
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


class PresentDropout(nn.Module):
    """Dropout that eval() leaves on, drawn from the global generator."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        return F.dropout(x, self.share, training=True)


def make_norm(
    norm: ImageNorm, channels: int, *, affine: bool = False, present: bool = False
) -> nn.Module:
    """Makes a normalisation by its name.

    Args:
        norm: the name.
        channels: of what it normalises.
        affine: instance norm has a gain and a bias.
        present: batch norm has no running means.
    """
    if norm == "batch":
        return PresentBatchNorm2d(channels) if present else nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels, affine=affine) if norm == "instance" else nn.Identity()


def make_norm_and_relu(norm: ImageNorm, channels: int, affine: bool) -> list[nn.Module]:
    """Makes what follows a convolution: its norm and ReLU."""
    return [make_norm(norm, channels, affine=affine), nn.ReLU()]


@torch.no_grad()
def init_normal(module: nn.Module) -> None:
    """Fills weights with N(0, 0.02), gains of norms with N(1, 0.02), biases with 0.

    As in pix2pix's and CycleGAN's code.
    """
    if isinstance(
        module,
        nn.Conv2d
        | nn.ConvTranspose2d
        | nn.BatchNorm2d
        | nn.InstanceNorm2d
        | nn.GroupNorm
        | nn.Linear,
    ):
        centre = 0.0 if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) else 1.0
        if module.weight is not None:
            nn.init.normal_(module.weight, centre, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
