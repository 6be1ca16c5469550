"""Frechet distance and inception score against closed forms and torch-fidelity."""

from __future__ import annotations

import math

import pytest
import torch

from gancli.errors import UserError
from gancli.metrics import fid
from gancli.metrics.fid import (
    frechet_distance,
    frechet_from_moments,
    inception_score,
    moments,
    rank_note,
)


def closed(cov1, cov2, shift=(0.0, 0.0)) -> float:
    zero = torch.zeros(2)
    return frechet_from_moments(zero, torch.tensor(cov1), torch.tensor(shift), torch.tensor(cov2))


@pytest.mark.parametrize(
    ("cov1", "cov2", "want"),
    [
        ([[1.0, 0.0], [0.0, 4.0]], [[4.0, 0.0], [0.0, 1.0]], 2.0),
        ([[1.0, 0.0], [0.0, 1.0]], [[2.0, 1.0], [1.0, 2.0]], 6 - 2 * (math.sqrt(3) + 1)),
    ],
)
def test_two_dimensions(cov1, cov2, want):
    assert closed(cov1, cov2) == pytest.approx(want, rel=1e-7)
    assert closed(cov2, cov1) == pytest.approx(want, rel=1e-7)


def test_covariances_that_do_not_commute():
    """tr sqrt(A) = sqrt(tr A + 2 sqrt(det A)) in two dimensions; float64 inputs, since .2 has no
    exact float32.
    """
    cov1 = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    cov2 = torch.tensor([[1.0, 0.2], [0.2, 3.0]], dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    product = cov1 @ cov2
    want = 7 - 2 * math.sqrt(product.trace() + 2 * math.sqrt(torch.det(product)))
    assert want == pytest.approx(0.7543863, abs=1e-7)
    assert frechet_from_moments(zero, cov1, zero, cov2) == pytest.approx(want, rel=1e-12)
    assert frechet_from_moments(zero + torch.tensor([1.0, 0.0]), cov1, zero, cov2) == pytest.approx(
        want + 1, rel=1e-12
    )


@pytest.mark.parametrize(
    ("dims", "shift", "scale", "want"),
    [(2048, 0.1, 1.0, 20.48), (512, 0.1, 1.0, 5.12), (512, 0.0, 2.0, 512.0)],
)
def test_shifted_and_widened_normals(dims, shift, scale, want):
    mean = torch.zeros(dims, dtype=torch.float64)
    eye = torch.eye(dims, dtype=torch.float64)
    assert frechet_from_moments(mean, eye, mean + shift, eye * scale**2) == pytest.approx(
        want, rel=1e-9
    )


def test_moments_divide_by_n_minus_one_and_pieces_do_not_matter(monkeypatch):
    x = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) + 1000
    monkeypatch.setattr(fid, "ROWS", 8)
    mean, cov = moments(x)
    assert mean.dtype == cov.dtype == torch.float64
    torch.testing.assert_close(mean, x.double().mean(0))
    torch.testing.assert_close(cov, torch.cov(x.double().T))


def test_sampling_bias_of_equal_distributions():
    """2 d / n + d (d + 1) / (2 n): 2.21 by this first order, 2.26 measured, for 1,000 samples in 64
    dimensions.
    """
    rng = torch.Generator().manual_seed(0)
    values = [
        frechet_distance(torch.randn(1000, 64, generator=rng), torch.randn(1000, 64, generator=rng))
        for _ in range(8)
    ]
    assert sum(values) / 8 == pytest.approx(2.26, abs=0.05)


def test_rank_deficient_covariances_give_a_finite_number_and_a_note():
    x, y = torch.randn(50, 64, generator=torch.Generator().manual_seed(0)).split([20, 30])
    assert 0 < frechet_distance(x, y) < 200
    assert 0 <= frechet_distance(x, x) < 1e-4
    assert "rank-deficient" in rank_note(20, 30, 64) and rank_note(65, 100, 64) == ""
    flat = torch.zeros(20, 64)  # a collapsed generator: no variance at all
    mean, cov = moments(x)
    assert frechet_distance(x, flat) == pytest.approx(
        (mean.square().sum() + cov.trace()).item(), rel=1e-9
    )


@pytest.mark.parametrize(("n", "m"), [(300, 300), (300, 40), (500, 800)])
def test_frechet_agrees_with_torch_fidelity(n, m):
    reference = pytest.importorskip("torch_fidelity.metric_fid")
    rng = torch.Generator().manual_seed(0)
    mix = torch.randn(96, 96, generator=rng)
    x = torch.randn(n, 96, generator=rng) @ mix
    y = torch.randn(m, 96, generator=rng).abs() @ mix.T
    stats = [reference.fid_features_to_statistics(z.double()) for z in (x, y)]
    want = reference.fid_statistics_to_metric(*stats, False)["frechet_inception_distance"]
    assert frechet_distance(x, y) == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize(
    ("probabilities", "want"),
    [
        (torch.eye(10).repeat(3, 1), 10.0),
        (torch.full((20, 10), 0.1), 1.0),
        (torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64), 1.4449348),
    ],
)
def test_inception_score_of_known_probabilities(probabilities, want):
    score = inception_score(probabilities, splits=1)
    assert score["mean"] == pytest.approx(want, rel=1e-7) and score["std"] == 0


def test_inception_score_agrees_with_torch_fidelity():
    reference = pytest.importorskip("torch_fidelity.metric_isc")
    logits = torch.randn(1013, 20, generator=torch.Generator().manual_seed(0)) * 3
    want = reference.isc_features_to_metric(logits, splits=10, shuffle=False)
    got = inception_score(logits.double().softmax(1))
    assert got["mean"] == pytest.approx(want["inception_score_mean"], rel=1e-9)
    assert got["std"] == pytest.approx(want["inception_score_std"], rel=1e-9)


def test_unusable_inputs_are_refused():
    good = torch.randn(5, 3)
    for call in (
        lambda: frechet_distance(good, good[:1]),
        lambda: frechet_distance(good[:0], good),
        lambda: inception_score(good.softmax(1)),
    ):
        with pytest.raises(UserError, match="needs at least"):
            call()
    with pytest.raises(UserError, match="of the generated images are not finite"):
        frechet_distance(good, torch.full((5, 3), math.nan))
    with pytest.raises(AssertionError):
        inception_score(good, splits=1)  # not probabilities
