"""Precision, recall, density and coverage against worked examples, expectations and two
libraries.
"""

from __future__ import annotations

import pytest
import torch

from gancli.errors import UserError
from gancli.metrics import prdc as module
from gancli.metrics.prdc import improved_precision_recall, nearest, prdc


def line(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


@pytest.mark.parametrize(
    ("k", "real", "fake", "want"),
    [
        (1, (0, 1, 2, 3), (0.25, 1.5, 10, 12), (0.5, 0.75, 1.0, 0.75)),
        (2, (0, 1, 2, 4), (0.5, 1.5, 3, 20), (0.75, 1.0, 1.125, 1.0)),
    ],
)
def test_on_the_line(k, real, fake, want):
    got = prdc(line(*map(float, real)), line(*map(float, fake)), k=k)
    assert tuple(got.values()) == want and list(got) == [
        "precision",
        "recall",
        "density",
        "coverage",
    ]


def test_balls_are_open_in_one_and_closed_in_the_other():
    """Every fake lies exactly on the edge of a real ball."""
    real = line(0.0, 1.0, 5.0, 6.0)
    fake = line(2.0, -1.0, 7.0, 4.0)
    assert prdc(real, fake, k=1)["precision"] == 0 and prdc(real, fake, k=1)["coverage"] == 0
    assert improved_precision_recall(real, fake, k=1)["precision"] == 1
    assert (
        prdc(fake, real, k=1)["recall"] == 0
        and improved_precision_recall(fake, real, k=1)["recall"] == 1
    )


def test_expectations_for_equal_distributions():
    """Density 1; coverage 1 - prod (N-i)/(M+N-i), whatever the distribution."""
    n = 300
    m = 400
    k = 5
    generator = torch.Generator().manual_seed(0)
    missed = 1.0
    for i in range(1, k + 1):
        missed *= (n - i) / (m + n - i)
    runs = [
        prdc(torch.randn(n, 3, generator=generator), torch.randn(m, 3, generator=generator), k=k)
        for _ in range(30)
    ]
    mean = {key: sum(run[key] for run in runs) / 30 for key in runs[0]}
    assert mean["coverage"] == pytest.approx(1 - missed, abs=0.004)
    assert mean["density"] == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_ten_thousand_normals_in_a_thousand_dimensions():
    generator = torch.Generator().manual_seed(0)
    got = prdc(
        torch.randn(10_000, 1000, generator=generator),
        torch.randn(10_000, 1000, generator=generator),
    )
    assert got == pytest.approx(
        {"precision": 0.4772, "recall": 0.4705, "density": 1.0555, "coverage": 0.9735}, abs=0.03
    )


def features(n: int, m: int, dims: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, dims, generator=generator).double(), torch.randn(
        m, dims, generator=generator
    ).double() * 0.9 + 0.1


@pytest.mark.parametrize(("n", "m", "dims", "k"), [(300, 250, 16, 5), (200, 400, 64, 3)])
def test_agrees_with_the_authors_library(n, m, dims, k):
    reference = pytest.importorskip("prdc")
    real, fake = features(n, m, dims)
    want = reference.compute_prdc(real.numpy(), fake.numpy(), nearest_k=k)
    assert prdc(real, fake, k=k) == pytest.approx(
        {key: float(value) for key, value in want.items()}, rel=1e-9
    )


def test_agrees_with_torch_fidelity():
    reference = pytest.importorskip("torch_fidelity.metric_prc")
    real, fake = features(300, 250, 16)
    precision, recall = reference.calculate_precision_recall_full(
        fake, real, neighborhood=3
    )  # generated first
    assert improved_precision_recall(real, fake) == pytest.approx(
        {"precision": precision, "recall": recall}, rel=1e-6
    )


def test_blocks_do_not_matter(monkeypatch):
    real, fake = features(90, 70, 5)
    want = prdc(real, fake), improved_precision_recall(real, fake), nearest(real, fake)
    monkeypatch.setattr(module, "ENTRIES", 500)
    assert len(list(module.distance_blocks(real, fake))) == 13
    assert (prdc(real, fake), improved_precision_recall(real, fake)) == want[:2]
    torch.testing.assert_close(nearest(real, fake), want[2])


def test_equal_rows_are_at_distance_zero_in_many_dimensions():
    """The product form would leave 1e-13 of the squares, of either sign; a collapsed generator has
    nothing else.
    """
    real, _ = features(60, 1, 512)
    assert (nearest(real + 3, real + 3) == 0).all()
    collapsed = (real[:1] + 3).expand(40, -1)
    got = prdc(real + 3, collapsed)
    assert got["recall"] == 0 and 0 < got["coverage"] < 0.8 and got["precision"] == 1


def test_unusable_inputs_are_refused():
    x = torch.randn(5, 3)
    for call in (lambda: prdc(x, torch.randn(20, 3)), lambda: prdc(torch.randn(20, 3), x)):
        with pytest.raises(
            UserError,
            match="precision and recall with k=5 needs at least 6 .* images, and there are 5",
        ):
            call()
    with pytest.raises(UserError, match="k=0"):
        improved_precision_recall(x, x, k=0)
    with pytest.raises(UserError, match="not finite"):
        prdc(x, x / 0, k=1)
