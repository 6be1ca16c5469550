"""The kernel distance against closed forms, its own definition subset by subset, and
torch-fidelity.
"""

from __future__ import annotations

import pytest
import torch

from gancli.errors import UserError
from gancli.metrics import kid
from gancli.metrics.kid import kernel_distance, kernel_mmd2


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_two_points_each():
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    y = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert kernel_mmd2(x, y) == pytest.approx(-2.375, abs=1e-12)


def test_ones_against_zeros():
    assert kernel_mmd2(torch.ones(5, 16), torch.zeros(4, 16)) == pytest.approx(7, abs=1e-12)
    value = kernel_distance(torch.ones(50, 16), torch.zeros(40, 16), subsets=5, size=30, rng=rng())
    assert value == pytest.approx({"mean": 7, "std": 0}, abs=1e-12)


def shifted(q: float, d: int) -> float:
    return 3 * q + 3 * q**2 + q**3 + (3 * q + 6 * q**2) / d + 6 * q / d**2


def test_expectation_for_shifted_normals():
    assert shifted(0.01, 2048) == pytest.approx(0.0303160, abs=1e-7)
    q = 0.25
    d = 32
    generator = rng()
    values = [
        kernel_mmd2(
            torch.randn(1000, d, generator=generator),
            torch.randn(1000, d, generator=generator) + q**0.5,
        )
        for _ in range(8)
    ]
    assert sum(values) / 8 == pytest.approx(shifted(q, d), rel=0.01)


def test_unbiased_around_zero_for_equal_distributions():
    generator = rng()
    values = torch.tensor(
        [
            kernel_mmd2(
                torch.randn(200, 8, generator=generator), torch.randn(200, 8, generator=generator)
            )
            for _ in range(40)
        ]
    )
    assert abs(values.mean()) < 3 * values.std() / 40**0.5 and (values < 0).any()


def test_one_gram_matrix_serves_all_subsets_as_separate_ones_would(monkeypatch):
    x = torch.randn(70, 6, generator=rng(1))
    y = torch.randn(60, 6, generator=rng(2)) + 0.3
    generator = rng(3)
    draws = [(kid.members(n, 7, 25, generator)) for n in (70, 60)]
    assert all((member.sum(0) == 25).all() for member in draws) and not torch.equal(
        draws[0][:, 0], draws[0][:, 1]
    )
    want = torch.tensor(
        [kernel_mmd2(x[draws[0][:, s]], y[draws[1][:, s]]) for s in range(7)], dtype=torch.float64
    )
    monkeypatch.setattr(kid, "ENTRIES", 200)
    got = kernel_distance(x, y, subsets=7, size=25, rng=rng(3))
    assert got["mean"] == pytest.approx(want.mean().item(), rel=1e-10)
    assert got["std"] == pytest.approx(want.std(correction=0).item(), rel=1e-10)


def test_its_generator_alone_is_drawn_from():
    x = torch.randn(40, 4)
    y = torch.randn(40, 4)
    before = torch.random.get_rng_state()
    first = kernel_distance(x, y, subsets=3, size=20, rng=rng())
    assert (
        first
        == kernel_distance(x, y, subsets=3, size=20, rng=rng())
        != kernel_distance(x, y, subsets=3, size=20, rng=rng(1))
    )
    assert torch.equal(before, torch.random.get_rng_state())


def test_agrees_with_torch_fidelity():
    reference = pytest.importorskip("torch_fidelity.metric_kid")
    x = torch.randn(150, 64, generator=rng(1)).abs().double()
    y = torch.rand(150, 64, generator=rng(2)).double() * 2
    want = reference.kid_features_to_metric(x, y, kid_subsets=2, kid_subset_size=150, verbose=False)
    got = kernel_distance(x, y, subsets=2, size=150, rng=rng())
    assert got["mean"] == pytest.approx(want["kernel_inception_distance_mean"], rel=1e-9)
    assert kernel_mmd2(x, y) == pytest.approx(want["kernel_inception_distance_mean"], rel=1e-9)


def test_too_few_images_are_refused():
    x = torch.randn(30, 4)
    with pytest.raises(
        UserError, match="subsets of 1000 images, and the smaller set has 20"
    ) as caught:
        kernel_distance(x, x[:20], rng=rng())
    assert "at most 20" in caught.value.hint
    with pytest.raises(UserError, match="needs at least 2 generated images"):
        kernel_mmd2(x, x[:1])
    with pytest.raises(UserError, match="not finite"):
        kernel_distance(x, x / 0, subsets=2, size=10, rng=rng())
