"""SimCLR's views of an image: a crop at full size, a mirror, other colours, sometimes grey."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gancli.augment.base import Augment, colours, need_images

# RGB -> luma, then two axes of the plane in which hue turns and saturation stretches (the YIQ
# system).
YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
# of a crop, by the image's own shape
NARROW = math.log(3 / 4)
WIDE = math.log(4 / 3)


class SimCLR(Augment):
    """The views of Chen et al. 2020, appendix A, without blur, as ContraD's code has them.

    That code is for small images (Jeong and Shin 2021). Grey images have no hue; alpha is cropped
    and not coloured. Colours are not clipped: where they were, the generator would learn nothing.

    Args:
        resolution: Of the data.
        smallest: The share of the image's area that a crop has at least.
        mirror: Whether half of the images are mirrored left to right.
        jitter: The share of images whose colours change.
        brightness: The factors lie within so much of 1.
        contrast: Likewise.
        saturation: Likewise.
        hue: The hue turns by up to this part of the circle.
        grey: The share of images that lose their colours.
        over_white: Before all else, colours are shown over white, see `Augment`.
        channels: Of one image.

    Raises:
        UserError: The data are points.
        ValueError: A value is outside its range.
    """

    reach: Tensor
    forth: Tensor
    back: Tensor

    def __init__(
        self,
        *,
        resolution: int | list[int],
        smallest: float = 0.2,
        mirror: bool = True,
        jitter: float = 0.8,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.1,
        grey: float = 0.2,
        over_white: bool = False,
        channels: int = 0,
    ):
        super().__init__(over_white=over_white, channels=channels)
        need_images(resolution, "SimCLR's augmentation")
        if not 0 < smallest <= 1 or not all(
            0 <= share <= 1 for share in (jitter, grey, brightness, contrast, saturation, hue)
        ):
            raise ValueError(
                f"smallest={smallest} is a share above 0; jitter={jitter}, grey={grey}, "
                f"brightness={brightness}, contrast={contrast}, saturation={saturation} and "
                f"hue={hue} lie from 0 to 1"
            )
        self.smallest = smallest
        self.mirror = mirror
        self.jitter = jitter
        self.grey = grey
        # Not saved: constants, which shall be where the images are.
        self.register_buffer(
            "reach",
            torch.tensor([brightness, contrast, saturation, 2 * math.pi * hue]),
            persistent=False,
        )
        self.register_buffer("forth", torch.tensor(YIQ), persistent=False)
        self.register_buffer("back", torch.tensor(YIQ).inverse(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Augments images (N,C,H,W) in [-1,1]."""
        x, k = self.crop(self.show(x)), colours(x.shape[1])
        return torch.cat([self.recolour(x[:, :k]), x[:, k:]], 1)

    def crop(self, x: Tensor) -> Tensor:
        """Cuts a window out of each image of (N,C,H,W) and enlarges it to the image's size.

        By matrices, bilinear: torch's grid_sample has no second derivative.
        """
        area = torch.empty(len(x), device=x.device).uniform_(self.smallest, 1)
        # Between ratios at which both sides still fit; torchvision draws again until they do.
        ratio = torch.empty_like(area).uniform_(NARROW, WIDE).clamp(area.log(), -area.log()).exp()
        rows = window_matrix((area / ratio).sqrt(), x.shape[2])
        columns = window_matrix((area * ratio).sqrt(), x.shape[3])
        if self.mirror:
            columns = torch.where(
                torch.rand(len(x), 1, 1, device=x.device) < 0.5, columns.flip(1), columns
            )
        return rows.to(x.dtype)[:, None] @ x @ columns.to(x.dtype)[:, None].transpose(2, 3)

    def recolour(self, x: Tensor) -> Tensor:
        """Changes the colours of images (N,1 or 3,H,W) in [-1,1].

        Brightness, contrast, saturation and hue in this order, then grey.
        """
        n, k = x.shape[:2]
        on = torch.rand(n, device=x.device) < self.jitter
        grey = torch.rand(n, device=x.device) < self.grey
        bright, contrast, saturation, turn = (
            (2 * torch.rand(4, n, device=x.device) - 1) * on * self.reach[:, None]
        )
        x = (x + 1) * (1 + bright).to(x.dtype)[:, None, None, None]  # black is 0 here, and stays
        luma = x if k == 1 else (x * self.forth[0].to(x.dtype)[:, None, None]).sum(1, keepdim=True)
        mean = luma.mean((2, 3), keepdim=True)
        x = (x - mean) * (1 + contrast).to(x.dtype)[:, None, None, None] + mean - 1
        if k == 1:
            return x
        chroma = turn_colours(torch.where(grey, 0.0, 1 + saturation), turn)
        return ((self.back @ chroma @ self.forth).to(x.dtype) @ x.flatten(2)).view(x.shape)


def window_matrix(share: Tensor, size: int) -> Tensor:
    """Makes matrices (N,size,size) that show a random part of a side enlarged.

    Args:
        share: The part of each side (N,), 0 to 1.
        size: Pixels of the side.
    """
    start = torch.rand_like(share) * (1 - share)
    # Pixel centres; beyond the outermost ones the edge is repeated.
    place = (torch.arange(size, device=share.device) + 0.5) / size
    source = ((start[:, None] + share[:, None] * place) * size - 0.5).clamp(0, size - 1)
    # A tent around each place: linear interpolation between its two neighbours.
    return (1 - (source[:, :, None] - torch.arange(size, device=share.device)).abs()).clamp(min=0)


def turn_colours(length: Tensor, angle: Tensor) -> Tensor:
    """Makes matrices (N,3,3) for YIQ: luma stays, the plane of colours is stretched and turned."""
    cos = length * angle.cos()
    sin = length * angle.sin()
    one = torch.ones_like(angle)
    zero = torch.zeros_like(angle)
    return torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(-1, 3, 3)
