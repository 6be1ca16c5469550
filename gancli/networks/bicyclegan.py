"""BicycleGAN's networks: a U-Net that is told a latent, and an encoder that finds the latent."""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import Tensor, nn

from gancli.networks.layers import Output, size_of, to_range
from gancli.networks.translation import ImageNorm, Translator, init_normal, make_norm

Inject = Literal["all", "input"]
MOST_BLOCKS = 4  # the authors' encoder at 256 pixels


class LatentUNet(Translator):
    """pix2pix's U-Net with a latent beside the image (Zhu 2017, section 4).

    source (N,channels_in,H,W), z (N,z_dim) -> (N,channels_out,H,W), sides multiples of 2^downs.
    Without z it is drawn from the global generator.

    Args:
        channels_in: of the source.
        channels_out: of what is made.
        z_dim: numbers in the latent.
        inject: where the latent joins, repeated at every position: before all layers of the
            encoding half, or with the source alone.
        width: channels after the first downsampling step; they double.
        downs: downsampling steps.
        max_width: the most channels.
        norm: of the inner layers.
        output: "tanh" or "linear".
    """

    def __init__(
        self,
        *,
        channels_in: int,
        channels_out: int,
        z_dim: int = 8,
        inject: Inject = "all",
        width: int = 64,
        downs: int = 8,
        max_width: int = 512,
        norm: ImageNorm = "instance",
        output: Output = "tanh",
    ):
        super().__init__(channels_in, channels_out, noise_channels=z_dim)
        if min(width, max_width, z_dim) < 1 or not 1 <= downs <= 10:
            raise ValueError(
                f"width={width}, max_width={max_width}, z_dim={z_dim}, downs={downs}: give 1 or "
                "more each, and 1 to 10 downsampling steps (the paper's: 64, 512, 8, 8)"
            )
        self.multiple = self.smallest = 2**downs
        self.z_dim = z_dim
        self.inject = inject
        told = z_dim if inject == "all" else 0
        widths = [min(width * 2**k, max_width) for k in range(downs)]
        bias = norm != "batch"
        self.down = nn.ModuleList([nn.Conv2d(channels_in + z_dim, widths[0], 4, 2, 1, bias=bias)])
        for k in range(1, downs):
            # No norm where an image may be one pixel: less its mean, nothing would be left of it.
            inner = norm if k < downs - 1 else "none"
            self.down.append(
                nn.Sequential(
                    nn.LeakyReLU(0.2),
                    nn.Conv2d(widths[k - 1] + told, widths[k], 4, 2, 1, bias=bias),
                    make_norm(inner, widths[k]),
                )
            )
        self.up = nn.ModuleList()
        for k in range(downs - 1, 0, -1):
            c_in = widths[k] * (1 if k == downs - 1 else 2)
            self.up.append(
                nn.Sequential(
                    nn.ReLU(),
                    nn.ConvTranspose2d(c_in, widths[k - 1], 4, 2, 1, bias=bias),
                    make_norm(norm, widths[k - 1]),
                )
            )
        c_in = widths[0] * (1 if downs == 1 else 2)
        self.end = nn.Sequential(
            nn.ReLU(), nn.ConvTranspose2d(c_in, channels_out, 4, 2, 1), to_range(output)
        )
        self.apply(init_normal)

    def forward(self, source: Tensor, noise: Tensor | None = None) -> Tensor:
        """Makes an image of each source and latent (N,z_dim)."""
        if noise is None:
            noise = torch.randn(len(source), self.z_dim, device=source.device, dtype=source.dtype)
        z = noise.to(source.dtype)[:, :, None, None]
        x = self.join_noise(source, z.expand(-1, -1, *source.shape[2:]))
        levels = [self.down[0](x)]
        for down in list(self.down)[1:]:
            h = levels[-1]
            if self.inject == "all":
                h = torch.cat([h, z.to(h.dtype).expand(-1, -1, *h.shape[2:])], 1)
            levels.append(down(h))
        h = levels.pop()
        for up in self.up:
            h = torch.cat([up(h), levels.pop()], 1)
        return self.end(h)


class LatentEncoder(nn.Module):
    """Finds the latent of an image: (N,channels,H,W) -> mean and log variance, (N,z_dim) each.

    A residual network (Zhu 2017, appendix; E_ResNet of the authors' code), whose last map is
    averaged over all positions.

    Args:
        channels: of the image.
        resolution: of the image; it decides the number of blocks, 4 at 256 pixels, at least 1.
        z_dim: numbers in the latent.
        width: channels of the first layer; each block has one more of them, up to four.
    """

    def __init__(
        self,
        *,
        channels: int,
        resolution: int | list[int],
        z_dim: int = 8,
        width: int = 64,
    ):
        super().__init__()
        side = min(size_of(resolution))
        if min(channels, z_dim, width) < 1 or side < 8:
            raise ValueError(
                f"channels={channels}, z_dim={z_dim}, width={width}: give 1 or more each, and "
                f"images of 8 pixels or more, not {side}"
            )
        # 4 blocks from 256 pixels on, one fewer for each halving: 2 x 2 positions or more stay.
        blocks = min(MOST_BLOCKS, max(1, side.bit_length() - 5))
        # 64, 128, 192, 256, 256 as in the authors' E_ResNet.
        widths = [width * min(4, k + 1) for k in range(blocks + 1)]
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1),
            *(HalvingBlock(c_in, c_out) for c_in, c_out in itertools.pairwise(widths)),
            nn.LeakyReLU(0.2),
        )
        self.mean = nn.Linear(widths[-1], z_dim)
        self.log_variance = nn.Linear(widths[-1], z_dim)
        self.apply(init_normal)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Reads the latent of each image, as a normal distribution."""
        h = self.body(image).mean((2, 3))
        return self.mean(h), self.log_variance(h)


class HalvingBlock(nn.Module):
    """(N,c_in,H,W) -> (N,c_out,H/2,W/2): two convolutions and a mean, added to a mean's 1x1."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.InstanceNorm2d(c_in),
            nn.LeakyReLU(0.2),
            nn.Conv2d(c_in, c_in, 3, 1, 1),
            nn.InstanceNorm2d(c_in),
            nn.LeakyReLU(0.2),
            nn.Conv2d(c_in, c_out, 3, 1, 1),
            nn.AvgPool2d(2),
        )
        self.skip = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(c_in, c_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        return self.net(x) + self.skip(x)
