"""Fidelity and diversity apart: precision, recall, density and coverage.

They are counted from nearest neighbours in a space of features.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gancli.errors import UserError
from gancli.metrics.fid import check_features

ENTRIES = 4_000_000  # of a block of the distance matrix: 32 MB in float64
ROUNDING = 1e-13  # of |x|^2 + |y|^2: what is left of the distance between equal rows


def distance_blocks(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yields squared distances of (N,D) and (M,D) in float64, in bounded memory.

    Each piece is (rows of x, (rows,M)), until all rows are done.
    """
    rows = max(1, ENTRIES // len(y))
    yy = y.square().sum(1)
    for start in range(0, len(x), rows):
        some = x[start : start + rows]
        scale = some.square().sum(1)[:, None] + yy
        d = torch.addmm(scale, some, y.T, alpha=-2)
        # Equal rows must be at distance 0 and nothing below it: copies decide every `<` of a
        # collapsed generator.
        d[d < ROUNDING * scale] = 0
        yield slice(start, start + len(some)), d


def nearest(x: Tensor, y: Tensor) -> Tensor:
    """Returns (N,): the squared distance of each row of x (N,D) to the nearest row of y (M,D)."""
    return torch.cat([d.amin(1) for _, d in distance_blocks(x, y)])


def radii(x: Tensor, k: int) -> Tensor:
    """Returns (N,): the squared distance of each row to its k-th nearest other row."""
    parts = []
    for rows, d in distance_blocks(x, x):
        d[:, rows].fill_diagonal_(torch.inf)  # itself, by place: a duplicate of it is a neighbour
        parts.append(d.topk(k, largest=False).values[:, -1])
    return torch.cat(parts)


def prepare_features(real: Tensor, fake: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Checks features (N,D) and (M,D) and returns them in float64. Raises UserError."""
    assert real.shape[1] == fake.shape[1], "both sets must come from one backbone"
    if k < 1:
        raise UserError(
            f"k={k} nearest neighbours cannot be counted", "k is 1 or more; the papers use 3 and 5"
        )
    words = f"precision and recall with k={k}"
    return (
        check_features(real, "real", metric=words, least=k + 1).double(),
        check_features(fake, "generated", metric=words, least=k + 1).double(),
    )


def prdc(real: Tensor, fake: Tensor, k: int = 5) -> dict[str, float]:
    """Computes precision, recall, density and coverage with open balls (Naeem 2020).

    A ball reaches to the k-th nearest neighbour in its own set, itself not counted.

    Args:
        real: (N,D)
        fake: (M,D)
        k: 1 or more.

    Returns:
        precision: The share of fakes in any real ball.
        recall: The share of reals in any fake ball.
        density: Real balls around a fake, over k; it may exceed 1, and is 1 for equal
            distributions.
        coverage: The share of reals whose ball holds a fake; 1 - 2^-k in the limit for equal
            distributions.

    Raises:
        UserError: There are k or fewer rows, or a number is not finite.
    """
    real, fake = prepare_features(real, fake, k)
    real_radii = radii(real, k)
    fake_radii = radii(fake, k)
    # Real balls that hold this fake
    around = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)
    recalled = []
    covered = []
    for rows, d in distance_blocks(real, fake):
        # Squares against squares: no root is needed to compare them.
        held = d < real_radii[rows, None]
        around += held.sum(0)
        covered.append(held.any(1))
        recalled.append((d < fake_radii).any(1))
    return {
        "precision": share(around > 0),
        "recall": share(torch.cat(recalled)),
        "density": around.double().mean().item() / k,
        "coverage": share(torch.cat(covered)),
    }


def improved_precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> dict[str, float]:
    """Computes precision and recall with closed balls (Kynkaanniemi 2019); otherwise as `prdc`."""
    real, fake = prepare_features(real, fake, k)
    real_radii = radii(real, k)
    fake_radii = radii(fake, k)
    precise = torch.zeros(len(fake), dtype=torch.bool, device=fake.device)
    recalled = []
    for rows, d in distance_blocks(real, fake):
        precise |= (d <= real_radii[rows, None]).any(0)
        recalled.append((d <= fake_radii).any(1))
    return {"precision": share(precise), "recall": share(torch.cat(recalled))}


def share(hits: Tensor) -> float:
    """Returns the share of true entries of a bool tensor (N,)."""
    return hits.double().mean().item()
