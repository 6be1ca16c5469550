"""The kernel distance (KID where Inception made the features).

It is the unbiased squared maximum mean discrepancy with a cubic kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gancli.errors import UserError
from gancli.metrics.fid import check_features

ENTRIES = 4_000_000  # of a block of the Gram matrix: 32 MB in float64


def weighted_sums(x: Tensor, y: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Sums left[i,s] k(x_i, y_j) right[j,s] over i and j, in float64.

    Args:
        x: (N,D)
        y: (M,D)
        left: (N,S)
        right: (M,S)

    Returns:
        (S,), with k(x, y) = (x.y / D + 1)^3.
    """
    total = x.new_zeros(left.shape[1])
    rows = max(1, ENTRIES // len(y))
    for some, weights in zip(x.split(rows), left.split(rows), strict=True):
        gram = (some @ y.T).div_(x.shape[1]).add_(1).pow_(3)
        # Subsets as columns of 0 and 1: one product serves them all.
        total += (weights * (gram @ right)).sum(0)
    return total


def mmd2(x: Tensor, y: Tensor, in_x: Tensor, in_y: Tensor) -> Tensor:
    """Computes the unbiased estimate for each subset.

    One pass over the Gram matrix serves all subsets: a hundred subsets of a thousand rows would
    need 25 times the products for 2,000 rows, and as many for 10,000.

    Args:
        x: (N,D)
        y: (M,D)
        in_x: (N,S), 1 where a row belongs to subset s.
        in_y: (M,S), likewise.

    Returns:
        (S,)
    """

    def within(z: Tensor, member: Tensor) -> Tensor:
        n = member.sum(0)
        # The diagonal, which makes the plain estimate biased.
        alone = (z.square().sum(1) / z.shape[1] + 1).pow(3) @ member
        return (weighted_sums(z, z, member, member) - alone) / (n * (n - 1))

    across = weighted_sums(x, y, in_x, in_y) / (in_x.sum(0) * in_y.sum(0))
    return within(x, in_x) + within(y, in_y) - 2 * across


def prepare_features(x: Tensor, y: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Checks features (N,D) and (M,D) and returns them in float64. Raises UserError."""
    assert x.shape[1] == y.shape[1], "both sets must come from one backbone"
    x = check_features(x, "real", metric="the kernel distance", least=least)
    return x.double(), check_features(
        y, "generated", metric="the kernel distance", least=least
    ).double()


def kernel_mmd2(x: Tensor, y: Tensor) -> float:
    """Computes the unbiased squared MMD between all of (N,D) and all of (M,D).

    It is below 0 by chance (Binkowski 2018). Raises UserError where N or M is below 2.
    """
    x, y = prepare_features(x, y, 2)
    return mmd2(x, y, x.new_ones(len(x), 1), y.new_ones(len(y), 1)).item()


def kernel_distance(
    real: Tensor, fake: Tensor, subsets: int = 100, size: int = 1000, *, rng: torch.Generator
) -> dict[str, float]:
    """Computes `kernel_mmd2` over random subsets of each set, drawn without replacement.

    Args:
        real: (N,D)
        fake: (M,D)
        subsets: How many.
        size: Rows of a subset.
        rng: Draws them.

    Returns:
        {"mean": .., "std": ..}; the deviation is that of one subset, not of the mean.

    Raises:
        UserError: N or M is below `size`.
    """
    assert subsets >= 1
    if size < 2:
        raise UserError(
            f"the kernel distance needs at least 2 images of each kind, and draws {size}",
            "use more images",
        )
    n = min(len(real), len(fake))
    if size > n:
        raise UserError(
            f"the kernel distance draws subsets of {size} images, and the smaller set has {n}",
            f"use subsets of at most {n} images, or more images",
        )
    real, fake = prepare_features(real, fake, 2)
    in_real = members(len(real), subsets, size, rng)
    in_fake = members(len(fake), subsets, size, rng)
    values = mmd2(real, fake, in_real.to(real), in_fake.to(fake))
    return {"mean": values.mean().item(), "std": values.std(correction=0).item()}


def members(n: int, subsets: int, size: int, rng: torch.Generator) -> Tensor:
    """Draws subsets: (n, subsets) bool; each column holds `size` ones."""
    member = torch.zeros(n, subsets, dtype=torch.bool, device=rng.device)
    for s in range(subsets):
        member[torch.randperm(n, generator=rng, device=rng.device)[:size], s] = True
    return member
