"""CoGAN's coupled networks (Liu and Tuzel 2016).

The generators share all but the last layer, the discriminators all but the first.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import Tensor, nn

from gancli.networks.dcgan import compute_widths
from gancli.networks.layers import Output, size_of, to_range

DOMAINS = ("a", "b")


class CoGANGenerator(nn.Module):
    """z (N,z_dim) -> two images (N,channels,H,W), one per domain.

    The shared layers decide what is shown, each domain's own layer how it looks.

    Args:
        resolution: side or [H,W] in pixels, 8 or more; 28 is the paper's (4, 7, 13, 25, then 28).
        channels: of the images.
        z_dim: numbers in a latent.
        width: channels of the last shared layer; they double towards z.
        max_width: the most channels.
        output: "tanh" or "linear".
    """

    classes = 0

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        z_dim: int = 100,
        width: int = 128,
        max_width: int = 1024,
        output: Output = "tanh",
    ):
        super().__init__()
        self.z_dim = z_dim
        sizes = list_generator_sizes(resolution)
        widths = compute_widths(width, len(sizes), max_width)[::-1]
        layers = make_up_layers(nn.ConvTranspose2d(z_dim, widths[0], sizes[0]))
        for k in range(1, len(sizes)):
            # An odd size is met exactly, as in the paper; an even one wants one more row or column.
            extra = (1 - sizes[k][0] % 2, 1 - sizes[k][1] % 2)
            layers += make_up_layers(
                nn.ConvTranspose2d(widths[k - 1], widths[k], 3, 2, 1, output_padding=extra)
            )
        self.shared = nn.Sequential(*layers)
        # tanh is twice as steep as the authors' sigmoid, for images in [0,1]: half the weight
        # starts as far from its ends.
        self.last = nn.ModuleDict(
            {
                name: nn.Sequential(
                    init(nn.ConvTranspose2d(widths[-1], channels, 6, 1, 1), gain=0.5**0.5),
                    to_range(output),
                )
                for name in DOMAINS
            }
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Makes images of latents, and labels where the network is conditional."""
        h = self.shared(z[:, :, None, None])
        return self.last["a"](h), self.last["b"](h)


class CoGANDiscriminator(nn.ModuleDict):
    """The discriminators "a" and "b": a first layer each, then the very same modules.

    Args:
        resolution: side or [H,W] in pixels, 8 or more.
        channels: of the images.
        width: channels of the first layers; the shared ones have 5/2 of it, then twice as many with
            each.
        units: the most channels, and the features.
        logits: outputs of the last layer: 1, or the paper's 2 (fake and real), whose difference is
            the score.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        width: int = 20,
        units: int = 500,
        logits: Literal[1, 2] = 1,
    ):
        super().__init__()
        stages, rest = count_stages(resolution)
        widths = [width, *(min(width * 5 // 2 * 2**k, units) for k in range(stages - 1))]
        shared = [
            layer
            for c_in, c_out in itertools.pairwise(widths)
            for layer in make_down_layers(c_in, c_out)
        ]
        body = nn.Sequential(*shared, init(nn.Conv2d(widths[-1], units, rest)), nn.PReLU())
        out = init(nn.Conv2d(units, logits, 1))
        self.feature_dim = units
        self.update(
            {
                name: CoupledDiscriminator(
                    nn.Sequential(*make_down_layers(channels, width)), body, out
                )
                for name in DOMAINS
            }
        )


class CoupledDiscriminator(nn.Module):
    """trunk: x (N,channels,H,W) -> (N,units,1,1); head: -> scores (N,1).

    `body` and `out` belong to both discriminators.
    """

    def __init__(self, first: nn.Module, body: nn.Module, out: nn.Module):
        super().__init__()
        self.first = first
        self.body = body
        self.out = out

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images."""
        return self.body(self.first(x))

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        scores = self.out(h).flatten(1)
        # Two classes' softmax is the sigmoid of this difference.
        return scores if scores.shape[1] == 1 else scores[:, 1:] - scores[:, :1]

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


def list_generator_sizes(resolution: int | list[int]) -> list[tuple[int, int]]:
    """Lists (height, width) after each shared layer.

    The last is 3 less than the image; going back, each is halved and rounded up while 7 or more.
    """
    h, w = check_size(resolution)
    sizes = [(h - 3, w - 3)]
    while min(sizes[0]) >= 7:
        sizes.insert(0, ((sizes[0][0] + 1) // 2, (sizes[0][1] + 1) // 2))
    return sizes


def count_stages(resolution: int | list[int]) -> tuple[int, tuple[int, int]]:
    """Counts the 5x5 convolutions with pooling, and says what they leave.

    At most 7 pixels of the shorter side are left.
    """
    (h, w), stages = check_size(resolution), 0
    while stages == 0 or min(h, w) >= 8:
        h = (h - 4) // 2
        w = (w - 4) // 2
        stages = stages + 1
    return stages, (h, w)


def check_size(resolution: int | list[int]) -> tuple[int, int]:
    """Returns (height, width). Raises ValueError for a size that does not fit."""
    h, w = size_of(resolution)
    if not 8 <= min(h, w) <= max(h, w) <= 512:
        raise ValueError(
            f"resolution {w}x{h} does not fit: sides from 8 to 512 pixels do (the paper's: 28)"
        )
    return h, w


def make_up_layers(conv: nn.ConvTranspose2d) -> list[nn.Module]:
    """Makes the layers of an upsampling step."""
    return [init(conv), nn.BatchNorm2d(conv.out_channels, affine=False), nn.PReLU()]


def make_down_layers(c_in: int, c_out: int) -> list[nn.Module]:
    """Makes the layers of a downsampling step."""
    return [init(nn.Conv2d(c_in, c_out, 5)), nn.MaxPool2d(2)]


@torch.no_grad()
def init(conv: nn.Conv2d | nn.ConvTranspose2d, *, gain: float = 2**0.5) -> nn.Module:
    """Draws Glorot-uniform weights times the root of 2, biases 0.1 (the authors' code)."""
    nn.init.xavier_uniform_(conv.weight, gain=gain)
    assert conv.bias is not None
    nn.init.constant_(conv.bias, 0.1)
    return conv
