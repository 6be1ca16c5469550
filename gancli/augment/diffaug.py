"""DiffAugment: the same few changes of colour and place for reals and fakes, always on."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gancli.augment.base import Augment, colours, need_images
from gancli.augment.resample import pick


class DiffAugment(Augment):
    """The changes of Zhao et al. 2020, section 4, and its code; each image draws its own amounts.

    RGB or grey is coloured, alpha only moves.

    Args:
        policy: Which of colour, translation (by up to an eighth of the image) and cutout (a hole of
            half its size); they are applied in this order.
        resolution: Of the data.
        over_white: Before all else, colours are shown over white, see `Augment`.
        channels: Of one image.

    Raises:
        UserError: The data are points.
        ValueError: The policy is empty, or names one twice.
    """

    def __init__(
        self,
        *,
        policy: list[Literal["color", "translation", "cutout"]],
        resolution: int | list[int],
        over_white: bool = False,
        channels: int = 0,
    ):
        super().__init__(over_white=over_white, channels=channels)
        need_images(resolution, "DiffAugment")
        if not policy or len({*policy}) != len(policy):
            raise ValueError(
                f"policy={policy}: name each of color, translation and cutout at most once, or use "
                "augment=none"
            )
        self.color, self.translation, self.cutout = (
            name in policy for name in ("color", "translation", "cutout")
        )

    def forward(self, x: Tensor) -> Tensor:
        """Augments images (N,C,H,W) in [-1,1]."""
        x = self.show(x)
        if self.color:
            k = colours(x.shape[1])
            x = torch.cat([recolour(x[:, :k]), x[:, k:]], 1)
        if self.translation:
            x = translate(x)
        return cut_out(x) if self.cutout else x


def recolour(x: Tensor) -> Tensor:
    """Changes the colours of images (N,1 or 3,H,W) in [-1,1], without clipping.

    Brightness + U(-0.5, 0.5), saturation x U(0, 2), contrast x U(0.5, 1.5).
    """
    brightness, saturation, contrast = torch.rand(
        3, len(x), 1, 1, 1, device=x.device, dtype=x.dtype
    )
    x = x + (brightness - 0.5)
    x = scale_around(x, x.mean(1, keepdim=True), 2 * saturation)
    return scale_around(x, x.mean((1, 2, 3), keepdim=True), contrast + 0.5)


def scale_around(x: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    """Scales the distance of values to their mean."""
    return (x - mean) * factor + mean


def translate(x: Tensor) -> Tensor:
    """Moves images (N,C,H,W) by up to an eighth of their sides, in whole pixels.

    Zeros (mid-grey) move in.
    """
    n, _, h, w = x.shape
    (row, row_in), (column, column_in) = shift_index(n, h, x.device), shift_index(n, w, x.device)
    index = (row[:, :, None] * w + column[:, None]).flatten(1)
    inside = row_in[:, None, :, None] & column_in[:, None, None, :]
    return pick(x.flatten(2), index).view(x.shape) * inside


def shift_index(n: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draws moves of a side: (N,size) which pixel moves to each place, and whether there is one."""
    # Rounded half up, as in the authors' code: 4 of 28 pixels as of 32.
    reach = int(size / 8 + 0.5)
    index = torch.arange(size, device=device) - torch.randint(
        -reach, reach + 1, (n, 1), device=device
    )
    return index.clamp(0, size - 1), (index >= 0) & (index < size)


def cut_out(x: Tensor) -> Tensor:
    """Sets a hole of half the height and width of (N,C,H,W) to zero (mid-grey).

    It may reach beyond the border.
    """
    n, _, h, w = x.shape
    hole = find_hole(n, h, x.device)[:, None, :, None] & find_hole(n, w, x.device)[:, None, None, :]
    return x * ~hole


def find_hole(n: int, size: int, device: torch.device) -> Tensor:
    """Marks (N,size) the positions inside a hole of half a side."""
    hole = int(size / 2 + 0.5)
    start = torch.randint(0, size + 1 - hole % 2, (n, 1), device=device) - hole // 2
    place = torch.arange(size, device=device)
    return (place >= start) & (place < start + hole)
