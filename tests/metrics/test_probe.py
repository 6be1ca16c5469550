"""The linear probe and the nearest neighbours against closed forms and scikit-learn's; and what
they refuse.
"""

from __future__ import annotations

import pytest
import torch

from gancli.errors import UserError
from gancli.metrics import probe
from gancli.metrics.probe import knn_accuracy, linear_probe, majority, standardise


def blobs(n: int = 300, *, classes: int = 3, dims: int = 5, spread: float = 1.0, seed: int = 0):
    """-> (n,dims) around `classes` centres, and labels."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centres = 2 * torch.randn(classes, dims, generator=torch.Generator().manual_seed(99))
    return centres[labels] + spread * torch.randn(n, dims, generator=rng), labels


def test_separable_classes_are_told_apart_and_noise_is_not():
    x, y = blobs(spread=0.1)
    assert linear_probe(x, y, *blobs(spread=0.1, seed=1)) == {"accuracy": 1.0, "train": 1.0}
    rng = torch.Generator().manual_seed(5)
    noise = torch.randn(2000, 4, generator=rng)
    y = torch.randint(4, (2000,), generator=rng)
    assert 0.2 < linear_probe(noise[:1000], y[:1000], noise[1000:], y[1000:])["accuracy"] < 0.3


def test_the_weights_are_scikit_learns():
    sklearn = pytest.importorskip("sklearn.linear_model")
    x, y = blobs(spread=2.0)
    z = standardise(x.double(), x.double())[0]
    l2 = 0.03
    weight, bias = probe.fit(z, y, l2=l2)
    theirs = sklearn.LogisticRegression(C=1 / (l2 * len(z)), tol=1e-10, max_iter=2000).fit(
        z.numpy(), y.numpy()
    )
    # The biases are free: only their differences count.
    assert torch.allclose(weight, torch.from_numpy(theirs.coef_), atol=2e-4)
    assert torch.allclose(
        bias - bias.mean(),
        torch.from_numpy(theirs.intercept_ - theirs.intercept_.mean()),
        atol=2e-4,
    )
    assert linear_probe(x, y, x, y, l2=l2)["accuracy"] == pytest.approx(
        theirs.score(z.numpy(), y.numpy())
    )


def test_the_gradient_vanishes_at_the_solution():
    x, y = blobs(spread=2.0)
    z = standardise(x.double(), x.double())[0]
    weight, bias = (value.requires_grad_() for value in probe.fit(z, y, l2=0.01))
    loss = torch.nn.functional.cross_entropy(z @ weight.T + bias, y) + 0.005 * weight.square().sum()
    assert max(g.abs().max() for g in torch.autograd.grad(loss, [weight, bias])) < 1e-4


def test_units_and_constants_do_not_matter():
    x, y = blobs(spread=1.5)
    test, labels = blobs(spread=1.5, seed=1)
    wanted = linear_probe(x, y, test, labels)
    units = torch.tensor([1e-3, 1, 1e3, 7, 0.2])
    moved = [
        torch.cat([part * units + 5, torch.full((len(part), 2), 3.3)], 1).double()
        for part in (x, test)
    ]
    assert linear_probe(moved[0], y, moved[1], labels) == wanted


def test_a_feature_that_is_only_rounding_is_left_out():
    x = torch.tensor([[0.0, 1.0], [2.0, 1.0 + 1e-9], [4.0, 1.0]]).double()
    assert standardise(x, x + 1)[1][:, 1].tolist() == [0, 0, 0]


def test_more_weight_decay_fits_less():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(60, 40, generator=rng)
    y = torch.randint(3, (60,), generator=rng)
    free, held = (linear_probe(x, y, x, y, l2=l2)["train"] for l2 in (1e-4, 3.0))
    assert free == 1.0 and held < 1.0


def test_the_same_bits_and_no_global_draw():
    x, y = blobs()
    before = torch.get_rng_state()
    with torch.no_grad():  # as commands call it
        assert torch.equal(
            probe.fit(x.double(), y, l2=0.01)[0], probe.fit(x.double(), y, l2=0.01)[0]
        )
    assert torch.equal(before, torch.get_rng_state())


LINE = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0]])
LINE_LABELS = torch.tensor([0, 1, 1, 2, 2])


@pytest.mark.parametrize(
    ("k", "at", "label"),
    [
        (1, 0.2, 0),
        (3, 0.2, 1),
        (1, 10.4, 2),
        (3, 10.4, 2),
        (2, 0.2, 0),
        (2, 0.8, 1),
        (5, 4.0, 1),
        (5, 8.0, 2),
    ],
)
def test_neighbours_on_a_line(k, at, label):
    """Among 2 with a class each, and among 2 + 2 + 1, the nearer class decides."""
    test = torch.tensor([[at]])
    assert (
        knn_accuracy(LINE, LINE_LABELS, test, torch.tensor([label]), k=k, distance="euclidean")
        == 1.0
    )


def test_cosine_looks_at_the_direction_from_the_mean():
    train = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 9.0], [0.0, -9.0]]) + 100
    labels = torch.tensor([0, 0, 1, 1])
    test = torch.tensor([[100.5, 101.0]])
    assert knn_accuracy(train, labels, test, torch.tensor([1]), k=1, distance="cosine") == 1.0
    assert knn_accuracy(train, labels, test, torch.tensor([0]), k=1, distance="euclidean") == 1.0


def test_neighbours_are_scikit_learns(monkeypatch):
    sklearn = pytest.importorskip("sklearn.neighbors")
    (x, y), (test, labels) = blobs(spread=3.0), blobs(101, spread=3.0, seed=1)
    whole = knn_accuracy(x, y, test, labels, k=7, distance="euclidean")
    theirs = (
        sklearn.KNeighborsClassifier(7, algorithm="brute")
        .fit(x.numpy(), y.numpy())
        .predict(test.numpy())
    )
    # 3 + 3 + 1 votes are a tie, which scikit-learn gives to the lower class.
    assert (
        whole
        == pytest.approx((torch.from_numpy(theirs) == labels).double().mean().item(), abs=0.05)
        and whole < 1
    )
    monkeypatch.setattr("gancli.metrics.prdc.ENTRIES", 1000)
    assert knn_accuracy(x, y, test, labels, k=7, distance="euclidean") == whole, "in blocks"


def test_majority():
    assert majority(torch.tensor([2, 2, 0, 1])) == 0.5


def fails(call, *words: str):
    with pytest.raises(UserError) as caught:
        call()
    assert all(word in caught.value.message + caught.value.hint for word in words)


def test_what_is_refused():
    x, y = blobs(9)
    fails(lambda: linear_probe(x, torch.zeros(9, dtype=torch.int64), x, y), "2 classes")
    fails(lambda: linear_probe(x, y, x[:0], y[:0]), "at least 1 test")
    fails(lambda: linear_probe(x * torch.nan, y, x, y), "not finite")
    fails(lambda: knn_accuracy(x, y, x, y, k=10), "k=10", "give 1 to 9")
    fails(lambda: knn_accuracy(x, y, x, y, k=0), "k=0")
    fails(lambda: knn_accuracy(x, y, x, y, distance="manhattan"), "cosine or euclidean")
    fails(lambda: knn_accuracy(x, y, x * torch.inf, y), "not finite")
