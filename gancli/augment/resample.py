"""Moves the pixels of each image by a map of its own.

Linear in the image, so it has every derivative.

torch's own grid_sample has no second one, which a gradient penalty through an augmentation needs.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

# The least asymmetric wavelet filter with six vanishing moments (Daubechies 1992, section 6.4). It
# is orthonormal: what it spreads over twice as many samples, it gathers again without loss.
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
# Pixel k lies at sample 2k + CENTRE. The filter is not quite symmetric: with its middle (5.5)
# instead of its centre of mass a mirrored image would move by 0.4 pixels.
CENTRE = sum(k * h for k, h in enumerate(SYM6)) / sum(SYM6)


def pick(x: Tensor, index: Tensor) -> Tensor:
    """Picks pixels, each image's own choice: x (N,C,P), index (N,Q) int64 -> (N,C,Q)."""
    # Gather's derivative adds with atomics there, in another order each time, and resume would not
    # be exact.
    if x.is_cuda:
        return pick_in_order(x, index)
    return x.gather(2, index[:, None].expand(-1, x.shape[1], -1))


def pick_in_order(x: Tensor, index: Tensor) -> Tensor:
    """Picks pixels as `pick` does, with a derivative that adds in a fixed order."""
    return x.transpose(1, 2)[torch.arange(len(x), device=x.device)[:, None], index].transpose(1, 2)


def reflect(index: Tensor, size: int) -> Tensor:
    """Maps any whole numbers to 0..size-1, mirrored at the centres of the outermost pixels."""
    index = index.remainder(2 * size - 2)
    return torch.where(index < size, index, 2 * size - 2 - index)


def raster(height: int, width: int, device: torch.device) -> Tensor:
    """Returns (2,H*W): x and y of every pixel, row by row, in pixels from the image's middle."""
    y, x = (
        torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2
        for size in (height, width)
    )
    return torch.stack([x.repeat(height), y.repeat_interleave(width)])


def fine_raster(height: int, width: int, device: torch.device) -> Tensor:
    """Returns (2,Q): the places, half a pixel apart, of the samples that `warp` makes pixels of."""
    y, x = (
        (torch.arange(2 * size + len(SYM6) - 2, device=device, dtype=torch.float32) - CENTRE) / 2
        - (size - 1) / 2
        for size in (height, width)
    )
    return torch.stack([x.repeat(len(y)), y.repeat_interleave(len(x))])


def apply(matrix: Tensor, points: Tensor) -> Tensor:
    """Multiplies matrices with points: (N,2,2), (2,Q) or (N,2,Q) -> (N,2,Q).

    Not by matmul, which GPUs may do in a short format that misses by a pixel.
    """
    return (matrix[..., None] * points.unsqueeze(-3)).sum(2)


def blit(x: Tensor, source: Tensor) -> Tensor:
    """Copies whole pixels; beyond the edges the image is mirrored.

    Args:
        x: Images (N,C,H,W).
        source: For each pixel of the result the place that it comes from (N,2,H*W).
    """
    h, w = x.shape[2:]
    column, row = (
        (at + (size - 1) / 2).round().long()
        for at, size in zip(source.unbind(1), (w, h), strict=True)
    )
    return pick(x.flatten(2), reflect(row, h) * w + reflect(column, w)).view(x.shape)


def warp(x: Tensor, source: Tensor) -> Tensor:
    """Moves images by fractions of pixels; beyond the edges they are mirrored, endlessly.

    Twice the resolution, bilinear, and back, which blurs and aliases less than bilinear alone
    (Karras et al. 2020, appendix B; there mirrored once).

    Args:
        x: Images (N,C,H,W).
        source: Places for the points of `fine_raster` (N,2,Q).
    """
    n, c, h, w = x.shape
    column, row = (
        2 * at + (size - 1 + CENTRE) for at, size in zip(source.unbind(1), (w, h), strict=True)
    )
    rows, columns = (make_spread_matrix(size, x.dtype, x.device) for size in (h, w))
    fine = bilinear(rows @ x @ columns.T, row, column)
    rows, columns = (make_gather_matrix(size, x.dtype, x.device) for size in (h, w))
    return rows @ fine.view(n, c, rows.shape[1], columns.shape[1]) @ columns.T


@functools.lru_cache(maxsize=16)
def make_spread_matrix(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Makes the matrix (4 size - 4, size) from pixels to samples, twice as dense.

    It covers one whole period of the endlessly mirrored line.
    """
    sample = torch.arange(4 * size - 4, device="cpu")
    lines = torch.zeros(len(sample), size, dtype=torch.float64, device="cpu")
    for k, tap in enumerate(SYM6):
        even = sample[(sample - k) % 2 == 0]
        lines[even, reflect((even - k) // 2, size)] += 2**0.5 * tap
    return lines.to(dtype).to(device)


@functools.lru_cache(maxsize=16)
def make_gather_matrix(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Makes the matrix (size, 2 size + 10) from samples to pixels.

    After `make_spread_matrix` it is the identity.
    """
    pixel = torch.arange(size, device="cpu")
    lines = torch.zeros(size, 2 * size + len(SYM6) - 2, dtype=torch.float64, device="cpu")
    for k, tap in enumerate(SYM6):
        lines[pixel, 2 * pixel + k] = tap / 2**0.5
    return lines.to(dtype).to(device)


def bilinear(x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Interpolates between the samples of one period of an endless image.

    Args:
        x: Samples (N,C,H,W).
        row: Places in samples (N,Q).
        column: Likewise.

    Returns:
        (N,C,Q)
    """
    n, c, h, w = x.shape
    (rows, down), (columns, right) = neighbours(row, h), neighbours(column, w)
    # (N,2,2,Q)
    index = rows[:, :, None] * w + columns[:, None]
    weight = (down[:, :, None] * right[:, None]).to(x.dtype)
    return (
        pick(x.flatten(2), index.flatten(1)).view(n, c, 4, -1) * weight.flatten(1, 2)[:, None]
    ).sum(2)


def neighbours(at: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Returns the whole numbers around places (N,Q), and how much each counts: (N,2,Q) twice."""
    first = at.floor()
    beyond = at - at.floor()
    return torch.stack([first, first + 1], 1).long().remainder(size), torch.stack(
        [1 - beyond, beyond], 1
    )
