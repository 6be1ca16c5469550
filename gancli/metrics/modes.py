"""Missing modes, counted.

On mixtures of Gaussians they are found by distance, on images by the classes that a classifier
sees.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gancli.errors import UserError
from gancli.metrics.fid import check_features


def ring_grid(points: Tensor, centers: Tensor, sigma: float) -> dict[str, float]:
    """Compares points of a generator with a mixture's centers (VEEGAN, Srivastava 2017).

    Args:
        points: (N,2) in data units.
        centers: (M,2), likewise.
        sigma: The deviation of each Gaussian.

    Returns:
        high_quality: The share of points within 3 sigma of the nearest center; a perfect generator
            in the plane reaches 1 - exp(-4.5) = 0.98889, not 0.9973.
        modes: Centers that are nearest to at least one such point.

    Raises:
        UserError: There are no points, or one is not finite.
    """
    assert points.ndim == centers.ndim == 2 and points.shape[1] == centers.shape[1] and sigma > 0
    points = check_features(points, "generated", metric="mode coverage", least=1).double()
    # Differences, not the product form: at sigma 0.01 its cancellation would cost digits.
    d = torch.cdist(points, centers.to(points), compute_mode="donot_use_mm_for_euclid_dist")
    distance, center = d.min(1)
    good = distance < 3 * sigma
    return {"modes": float(len(center[good].unique())), "high_quality": good.double().mean().item()}


def histogram_kl(
    labels: Tensor, n_classes: int, reference: Tensor | None = None
) -> dict[str, float]:
    """Counts the classes met, and computes KL(their histogram || reference) in nats.

    N labels of a perfect generator still give about (n_classes - 1) / (2 N).

    Args:
        labels: int64 (N,) in [0, n_classes) of generated images.
        n_classes: How many there are.
        reference: (n_classes,) counts or shares; None for uniform. A class that it lacks makes the
            KL infinite.

    Raises:
        UserError: There are no labels.
    """
    assert labels.ndim == 1 and not labels.is_floating_point()
    if len(labels) == 0:
        raise UserError(
            "the class histogram needs at least 1 generated image, and there are 0",
            "use more images",
        )
    assert labels.min() >= 0 and labels.max() < n_classes, f"labels must lie in [0, {n_classes})"
    counts = torch.bincount(labels.cpu(), minlength=n_classes).double()
    reference = torch.ones(n_classes) if reference is None else reference.cpu()
    assert reference.shape == (n_classes,) and (reference >= 0).all() and reference.sum() > 0
    p = counts / counts.sum()
    q = reference.double() / reference.double().sum()
    met = p > 0
    return {
        "modes": float(met.sum()),
        "kl": max(0.0, (p[met] * (p[met] / q[met]).log()).sum().item()),
    }


def assignment_accuracy(codes: Tensor, labels: Tensor) -> float:
    """Returns the share of images whose code stands for their label (Chen 2016, section 7.2).

    Each code is given the label, none twice, that makes this share largest.

    Args:
        codes: int64 (N,)
        labels: int64 (N,)

    Raises:
        UserError: There are no images.
    """
    assert codes.shape == labels.shape and codes.ndim == 1 and not codes.is_floating_point()
    if len(codes) == 0:
        raise UserError(
            "the accuracy of codes needs at least 1 image, and there are 0", "use more images"
        )
    size = 1 + int(max(codes.max(), labels.max()))
    counts = torch.bincount(codes.cpu() * size + labels.cpu(), minlength=size * size).view(
        size, size
    )
    return counts[torch.arange(size), assign(-counts.double())].sum().item() / len(codes)


def assign(cost: Tensor) -> Tensor:
    """Chooses for each row of a cost (K,K) a column, none twice, at the least sum.

    Source: Kuhn 1955; K^3 operations. Row by row: the cheapest path that frees a column, in costs
    that prices keep at 0 or above.
    """
    size = len(cost)
    price_row = torch.zeros(size, dtype=cost.dtype)
    price_column = torch.zeros(size, dtype=cost.dtype)
    owner = torch.full((size,), -1)
    for first in range(size):
        length = torch.full_like(price_column, torch.inf)
        via = torch.full((size,), -1)
        reached = torch.zeros(size, dtype=torch.bool)
        row = first
        column = -1
        so_far = 0.0
        while row != -1:
            ahead = so_far + cost[row] - price_row[row] - price_column
            shorter = ~reached & (ahead < length)
            length[shorter] = ahead[shorter]
            via[shorter] = column
            column = int(length.masked_fill(reached, torch.inf).argmin())
            reached[column] = True
            so_far = length[column].item()
            row = int(owner[column])
        price_row[first] += so_far
        before = reached & (owner != -1)
        price_row[owner[before]] += so_far - length[before]
        price_column[reached] -= so_far - length[reached]
        while column != -1:
            came = int(via[column])
            owner[column] = first if came == -1 else owner[came]
            column = came
    return owner.argsort()
