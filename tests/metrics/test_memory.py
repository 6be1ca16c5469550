"""Memorisation: copies are told from new samples, and from merely poor ones."""

from __future__ import annotations

import pytest
import torch

from gancli.errors import UserError
from gancli.metrics import prdc
from gancli.metrics.memory import memorisation

N = 2000
HELD = 500
DIMS = 12


def normal(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, DIMS, generator=torch.Generator().manual_seed(seed))


TRAIN = normal(N, 0)
HELD_OUT = normal(HELD, 1)


def test_new_samples_of_the_same_distribution():
    got = memorisation(normal(1000, 2), TRAIN, HELD_OUT)
    assert got["ratio"] == pytest.approx(1, abs=0.03) and got["copies"] < 0.03
    assert got["chance"] == N / (N + HELD) and got["train_share"] == pytest.approx(
        got["chance"], abs=0.04
    )


def test_copies_of_the_training_set():
    got = memorisation(TRAIN[:300], TRAIN, HELD_OUT)
    assert got["ratio"] == 0 and got["copies"] == 1 and got["train_share"] == 1
    near = memorisation(TRAIN[:300] + 0.01 * normal(300, 3), TRAIN, HELD_OUT)
    assert near["ratio"] < 0.05 and near["copies"] == 1


def test_a_share_of_copies_is_counted():
    """The median would not show it."""
    got = memorisation(torch.cat([TRAIN[:200], normal(800, 2)]), TRAIN, HELD_OUT)
    assert got["copies"] == pytest.approx(0.2, abs=0.02) and got["ratio"] > 0.85


def test_poor_samples_are_not_copies():
    got = memorisation(normal(500, 2) * 3, TRAIN, HELD_OUT)
    assert got["ratio"] > 1.5 and got["copies"] <= 0.01


def test_more_copies_mean_lower_ratio_and_more_share():
    noise = normal(500, 5)
    runs = [
        memorisation(TRAIN[:500] + level * noise, TRAIN, HELD_OUT) for level in (0.0, 0.1, 0.3, 0.6)
    ]
    assert [run["ratio"] for run in runs] == sorted(run["ratio"] for run in runs)
    assert [run["copies"] for run in runs] == sorted((run["copies"] for run in runs), reverse=True)


def test_a_tie_counts_half_and_duplicates_in_the_data_do_not_divide_by_zero():
    point = torch.zeros(4, 2)
    assert memorisation(point, point, point) == {
        "ratio": 1.0,
        "copies": 1.0,
        "train_share": 0.5,
        "chance": 0.5,
    }


def test_blocks_do_not_matter(monkeypatch):
    want = memorisation(normal(100, 2), TRAIN, HELD_OUT)
    monkeypatch.setattr(prdc, "ENTRIES", 5000)
    assert memorisation(normal(100, 2), TRAIN, HELD_OUT) == pytest.approx(want)


def test_unusable_inputs_are_refused():
    x = normal(3, 0)
    for sets, words in (
        ((x[:0], x, x), "1 generated"),
        ((x, x[:0], x), "1 training"),
        ((x, x, x[:1]), "2 held-out"),
        ((x / 0, x, x), "not finite"),
    ):
        with pytest.raises(UserError, match=words):
            memorisation(*sets)
