"""What frozen features know of labels: a linear probe and nearest neighbours.

Beside them stands what guessing alone would reach.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from gancli.errors import UserError
from gancli.metrics.fid import check_features
from gancli.metrics.prdc import distance_blocks

Distance = Literal["cosine", "euclidean"]
# Found on held-out digits: on a discriminator's features and on pixels alike it lies within a
# point of the best
L2 = 1e-2
ITERATIONS = 300
# Of the largest deviation: a feature that varies less is rounding, and must not be blown up
FLAT = 1e-6


def linear_probe(
    train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, *, l2: float = L2
) -> dict[str, float]:
    """Measures the accuracy of multinomial logistic regression (Alain and Bengio 2017).

    Minimised is the mean cross-entropy + l2 / 2 * |W|^2, the bias free, by LBFGS in float64 from
    zero: the same input, the same bits.

    Args:
        train: Features (N,D), standardised by their own mean and deviation.
        labels: int64 (N,)
        test: Features (M,D), standardised as `train` is.
        test_labels: int64 (M,)
        l2: The weight of the squared norm.

    Returns:
        {"accuracy": on `test`, "train": on `train`}

    Raises:
        UserError: Fewer than 2 training images or classes, no test image, or a feature that is not
            finite.
    """
    train, test = check_both(train, test, metric="the linear probe")
    if len(labels.unique()) < 2:
        raise UserError(
            "the linear probe needs training images of 2 classes or more", "a data set with classes"
        )
    train, test = standardise(train, test)
    weight, bias = fit(train, labels.to(train.device), l2=l2)
    return {
        "accuracy": hits(test @ weight.T + bias, test_labels),
        "train": hits(train @ weight.T + bias, labels),
    }


def check_both(train: Tensor, test: Tensor, *, metric: str) -> tuple[Tensor, Tensor]:
    """Checks both sets of features, (N,D) and (M,D), and returns them in float64."""
    assert train.shape[1] == test.shape[1], "both parts must come from one network"
    return (
        check_features(train, "training", metric=metric, least=2).double(),
        check_features(test, "test", metric=metric, least=1).double(),
    )


def standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Gives each feature of (N,D) and (M,D) mean 0 and deviation 1 over `train`.

    One that is constant there becomes 0.
    """
    mean = train.mean(0)
    deviation = train.std(0, correction=0)
    # By the largest: what counts as rounding depends on the size of the numbers.
    scale = torch.where(deviation > FLAT * deviation.max(), 1 / deviation, 0.0)
    return (train - mean) * scale, (test - mean) * scale


@torch.enable_grad()
def fit(x: Tensor, labels: Tensor, *, l2: float) -> tuple[Tensor, Tensor]:
    """Fits a weight (K,D) and a bias (K,), K the largest label + 1, to x (N,D) float64."""
    classes = int(labels.max()) + 1
    weight = torch.zeros(classes, x.shape[1], dtype=x.dtype, device=x.device, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, device=x.device, requires_grad=True)
    search = torch.optim.LBFGS(
        [weight, bias],
        max_iter=ITERATIONS,
        max_eval=2 * ITERATIONS,
        tolerance_grad=1e-5,
        tolerance_change=1e-10,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        search.zero_grad()
        loss = F.cross_entropy(x @ weight.T + bias, labels) + l2 / 2 * weight.square().sum()
        loss.backward()
        return loss

    search.step(closure)
    return weight.detach(), bias.detach()


def hits(logits: Tensor, labels: Tensor) -> float:
    """Returns the share of rows (N,K) whose largest logit is the label's, (N,)."""
    return (logits.argmax(1) == labels.to(logits.device)).double().mean().item()


def knn_accuracy(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    k: int = 5,
    distance: Distance = "cosine",
) -> float:
    """Measures the share of `test` whose class most of the k nearest rows of `train` have.

    Between equals the nearer decides.

    Args:
        train: Features (N,D).
        labels: int64 (N,)
        test: Features (M,D).
        test_labels: int64 (M,)
        k: How many neighbours vote.
        distance: euclidean; or cosine, of the angle around the mean of `train`, since features
            after a ReLU all point one way.

    Raises:
        UserError: k < 1, fewer than k training images, an unknown distance, no test image, or a
            feature that is not finite.
    """
    if distance not in get_args(Distance):
        raise UserError(
            f"distance={distance} is not known", f"give {' or '.join(get_args(Distance))}"
        )
    train, test = check_both(train, test, metric="the nearest neighbours' accuracy")
    if not 1 <= k <= len(train):
        raise UserError(
            f"k={k} does not fit: there are {len(train)} training images", f"give 1 to {len(train)}"
        )
    if distance == "cosine":
        mean = train.mean(0)
        train = F.normalize(train - mean, dim=1)
        test = F.normalize(test - mean, dim=1)
    return hits(votes(test, train, labels.to(train.device), k), test_labels)


def votes(x: Tensor, train: Tensor, labels: Tensor, k: int) -> Tensor:
    """Counts (M,K) how many of the k nearest have each class.

    For their order less than 1/2 is added, the nearest first.
    """
    weights = 1 + 0.5 ** torch.arange(2, k + 2, dtype=torch.float64, device=train.device)
    parts = []
    for _, d in distance_blocks(x, train):
        near = labels[d.topk(k, dim=1, largest=False).indices]
        parts.append(F.one_hot(near, int(labels.max()) + 1).double().mul_(weights[:, None]).sum(1))
    return torch.cat(parts)


def majority(labels: Tensor) -> float:
    """Returns the share of the most frequent class: no constant answer does better.

    Args:
        labels: int64 (M,), of the test images.
    """
    return labels.bincount().max().item() / len(labels)
