"""The Frechet distance between two sets of features, and the inception score."""

from __future__ import annotations

import torch
from torch import Tensor

from gancli.errors import UserError

ROWS = 4096  # converted to float64 at a time, so that 50,000 x 2,048 features are never held twice


def check_features(features: Tensor, which: str, *, metric: str, least: int) -> Tensor:
    """Returns features on a device that has float64, once they are known to be usable.

    Args:
        features: (N,D)
        which: Words for the message: real, generated.
        metric: Words for the message.
        least: How many rows are needed.

    Raises:
        UserError: There are fewer rows, or a number is not finite.
    """
    assert features.ndim == 2 and features.shape[1] > 0, (
        f"features must be (N,D), not {tuple(features.shape)}"
    )
    if len(features) < least:
        raise UserError(
            f"{metric} needs at least {least} {which} images, and there are {len(features)}",
            "use more images",
        )
    if not torch.isfinite(features).all():
        raise UserError(
            f"{metric} cannot be computed: some features of the {which} images are not finite",
            "look at the samples: the generator may have diverged",
        )
    return features.cpu() if features.device.type == "mps" else features


def moments(features: Tensor, which: str = "given") -> tuple[Tensor, Tensor]:
    """Returns mean (D,) and covariance (D,D) in float64, divided by N - 1.

    With N <= D the covariance has rank N - 1: the distance exists and is biased upwards;
    `rank_note` says so.

    Args:
        features: (N,D)
        which: Words for the message.

    Raises:
        UserError: N < 2, or a number is not finite.
    """
    features = check_features(features, which, metric="the Frechet distance", least=2)
    mean = features.mean(0, dtype=torch.float64)
    cov = mean.new_zeros(len(mean), len(mean))
    for rows in features.split(ROWS):
        # Before the product: mean squares minus squared means cancel
        centred = rows.double() - mean
        cov.addmm_(centred.T, centred)
    return mean, cov / (len(features) - 1)


def rank_note(n_real: int, n_fake: int, dims: int) -> str:
    """Says in a sentence that a covariance is rank-deficient; "" where it is not.

    Args:
        n_real: Real images.
        n_fake: Generated images.
        dims: Of the features.
    """
    n = min(n_real, n_fake)
    if n > dims:
        return ""
    return (
        f"{n} samples in {dims} dimensions: a covariance is rank-deficient and the distance "
        "biased upwards"
    )


def frechet_from_moments(mu1: Tensor, cov1: Tensor, mu2: Tensor, cov2: Tensor) -> float:
    """Computes |mu1 - mu2|^2 + tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2)), at least 0.

    Source: Heusel 2017, equation 6. Means are (D,), covariances (D,D).
    """
    mu1, cov1, mu2, cov2 = (
        x.cpu() if x.device.type == "mps" else x for x in (mu1, cov1, mu2, cov2)
    )
    mu1 = mu1.double()
    cov1 = cov1.double()
    mu2 = mu2.double()
    cov2 = cov2.double()
    variances, axes = torch.linalg.eigh(cov1)
    root = axes * variances.clamp_min(0).sqrt()
    # root^T cov2 root has the eigenvalues of cov1 cov2 and is symmetric: they are real, and only
    # rounding makes one negative.
    products = torch.linalg.eigvalsh(root.T @ cov2 @ root).clamp_min(0)
    distance = (mu1 - mu2).square().sum() + cov1.trace() + cov2.trace() - 2 * products.sqrt().sum()
    return distance.clamp_min(0).item()  # rounding again: some 1e-8 of the traces


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Computes the distance of Gaussians fitted to features (N,D) and (M,D).

    It is FID if Inception made them. Raises UserError as `moments` does.
    """
    assert real.shape[1] == fake.shape[1], "both sets must come from one backbone"
    return frechet_from_moments(*moments(real, "real"), *moments(fake, "generated"))


def inception_score(probabilities: Tensor, splits: int = 10) -> dict[str, float]:
    """Computes exp(E KL(p(y|x) || p(y))) over each split, between 1 and K (Salimans 2016).

    Args:
        probabilities: (N,K), rows that sum to 1, in random order: images sorted by class would give
            each split one class.
        splits: How many.

    Returns:
        {"mean": .., "std": ..} over splits.

    Raises:
        UserError: There are fewer rows than splits, or a number is not finite.
    """
    p = check_features(
        probabilities, "generated", metric="the inception score", least=splits
    ).double()
    assert (p >= 0).all() and (p.sum(1) - 1).abs().max() < 1e-3, "rows must be probabilities"
    scores = []
    for k in range(splits):
        part = p[k * len(p) // splits : (k + 1) * len(p) // splits]
        marginal = part.mean(0)
        # The two entropies apart: xlogy is 0 at 0, where the quotient p / marginal would be 0 / 0.
        divergence = (
            torch.special.xlogy(part, part).sum(1).mean()
            - torch.special.xlogy(marginal, marginal).sum()
        )
        scores.append(divergence.exp())
    found = torch.stack(scores)
    # The plain deviation of the splits, as numpy's in the authors' code.
    return {"mean": found.mean().item(), "std": found.std(correction=0).item()}
