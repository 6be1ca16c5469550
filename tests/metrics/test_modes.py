"""Mode coverage: perfect and failing generators of the ring and the grid, and class histograms."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from gancli.data.toy import Grid, Ring
from gancli.errors import UserError
from gancli.metrics.modes import assign, assignment_accuracy, histogram_kl, ring_grid


@pytest.mark.parametrize(("source", "modes"), [(Ring(), 8), (Grid(), 25)])
def test_a_perfect_generator(source, modes):
    """1 - exp(-4.5), not the 0.9973 of one dimension."""
    generator = torch.Generator().manual_seed(0)
    centers = source.centers()
    mode = torch.randint(len(centers), (200_000,), generator=generator)
    points = centers[mode] + source.sigma * torch.randn(200_000, 2, generator=generator)
    got = ring_grid(points, centers, source.sigma)
    assert got["modes"] == modes and got["high_quality"] == pytest.approx(
        0.98889, abs=8e-4
    )  # 3 standard errors


def test_only_modes_with_good_points_count():
    centers = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = torch.tensor(
        [[0.0, 2.9], [1.0, 0.0], [10.0, 3.1], [3.0, 0.0]]
    )  # the last lies on the edge: not below 3
    assert ring_grid(points, centers, 1.0) == {"modes": 1.0, "high_quality": 0.5}
    assert ring_grid(points + 100, centers, 1.0) == {"modes": 0.0, "high_quality": 0.0}


@pytest.mark.parametrize(("classes", "kl"), [(1000, 0.0), (500, math.log(2)), (1, 6.9077553)])
def test_kl_to_uniform(classes, kl):
    got = histogram_kl(torch.arange(classes).repeat(3), 1000)
    assert got["modes"] == classes and got["kl"] == pytest.approx(kl, abs=1e-7)


def test_stacked_mnists_floor():
    """A perfect generator's 26,000 samples: about 999 / (2 N), and no mode missed."""
    generator = torch.Generator().manual_seed(0)
    runs = [
        histogram_kl(torch.randint(1000, (26_000,), generator=generator), 1000) for _ in range(20)
    ]
    values = torch.tensor([run["kl"] for run in runs])
    assert all(run["modes"] == 1000 for run in runs)
    assert values.mean().item() == pytest.approx(0.01934, abs=0.0006)
    assert 0.0004 < values.std() < 0.0014


def test_kl_to_the_data_own_histogram():
    labels = torch.tensor([0, 0, 0, 1])
    want = {"modes": 2.0, "kl": 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.4)}
    assert histogram_kl(labels, 3, torch.tensor([50, 40, 10])) == pytest.approx(want)
    assert histogram_kl(labels, 3, torch.tensor([0.75, 0.25, 0.0]))["kl"] == 0
    assert histogram_kl(labels, 2, torch.tensor([1, 0]))["kl"] == math.inf


def test_unusable_inputs_are_refused():
    centers = Ring().centers()
    with pytest.raises(UserError, match="needs at least 1 generated images, and there are 0"):
        ring_grid(torch.zeros(0, 2), centers, 0.01)
    with pytest.raises(UserError, match="not finite"):
        ring_grid(torch.full((3, 2), math.nan), centers, 0.01)
    with pytest.raises(UserError, match="class histogram needs at least 1"):
        histogram_kl(torch.zeros(0, dtype=torch.int64), 10)
    with pytest.raises(AssertionError):
        histogram_kl(torch.tensor([10]), 10)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
def test_the_assignment_is_the_cheapest_of_all(size):
    for seed in range(12):
        rng = torch.Generator().manual_seed(seed)
        cost = torch.randn(size, size, generator=rng, dtype=torch.float64)
        cost = cost.mul(3).round() if seed % 2 else cost  # ties as well
        columns = assign(cost)
        assert sorted(columns.tolist()) == list(range(size))
        best = min(
            sum(cost[row, column].item() for row, column in enumerate(order))
            for order in itertools.permutations(range(size))
        )
        assert cost[torch.arange(size), columns].sum().item() == pytest.approx(best)


def test_codes_that_are_renamed_labels_are_right_whatever_their_names():
    labels = torch.arange(100) % 10
    assert assignment_accuracy((3 * labels + 4) % 10, labels) == 1.0
    assert assignment_accuracy(torch.zeros(100, dtype=torch.int64), labels) == 0.1
    # Greedy would give code 0 the label 0 (3 images) and be left with 3 of 7.
    codes = torch.tensor([0, 0, 0, 0, 0, 1, 1])
    labels = torch.tensor([0, 0, 0, 1, 1, 0, 0])
    assert assignment_accuracy(codes, labels) == pytest.approx(4 / 7)
    assert assignment_accuracy(torch.tensor([5, 5, 2]), torch.tensor([0, 0, 1])) == 1.0, (
        "more codes than labels"
    )
    with pytest.raises(UserError, match="at least 1 image"):
        assignment_accuracy(labels[:0], labels[:0])
