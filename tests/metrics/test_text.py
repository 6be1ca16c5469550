"""Numbers of text: closed forms, chains, likelihoods, copies."""

from __future__ import annotations

import math

import pytest
import torch

from gancli.metrics.text import (
    count_copies,
    describe_chains,
    draw_chain,
    find_ngrams,
    jensen_shannon,
    measure_nats,
    ngram_distances,
)

LINES = torch.tensor([[1, 2, 0, -1], [2, 2, 1, 0], [1, 1, 1, 1]])


def test_divergence_has_its_closed_forms():
    one, two = torch.tensor([0, 1]), torch.tensor([0, 0, 0])
    assert jensen_shannon(one, one) == 0
    assert jensen_shannon(one, two + 5) == 1
    assert jensen_shannon(one, two) == pytest.approx(0.311278, abs=1e-6)
    assert jensen_shannon(two, one) == pytest.approx(0.311278, abs=1e-6)


def test_ngrams_stay_within_a_line():
    assert find_ngrams(LINES, 1, 3).tolist() == [1, 2, 0, 2, 2, 1, 0, 1, 1, 1, 1]
    assert find_ngrams(LINES, 3, 3).tolist() == [15, 25, 21, 13, 13]
    assert find_ngrams(LINES, 4, 3).tolist() == [75, 40] and not len(find_ngrams(LINES, 5, 3))
    many = torch.full((1, 4), 30_000)
    assert find_ngrams(many, 4, 30_001).item() == sum(30_000 * 30_001**k for k in range(4))


def test_equal_lines_have_no_distance():
    assert ngram_distances(LINES, LINES) == {f"js{n}": 0.0 for n in (1, 2, 3, 4)}
    assert list(ngram_distances(LINES[:, :2], LINES[:, :2])) == ["js1", "js2"]


def test_chains_know_what_they_count():
    rng = torch.Generator().manual_seed(0)
    train = torch.tensor([[1, 2, 0, -1], [1, 3, 0, -1]]).repeat(50, 1)
    two = draw_chain(train, 400, order=2, rng=rng)
    assert {tuple(row) for row in two.tolist()} == {(1, 2, 0, -1), (1, 3, 0, -1)}
    one = draw_chain(train, 4000, order=1, rng=rng)
    assert ngram_distances(one, train)["js2"] > 0.2
    assert (one[:, 0] == 1).double().mean().item() == pytest.approx(1 / 3, abs=0.03)
    endless = draw_chain(torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]]), 9, order=2, rng=rng)
    assert (endless[:, 1:] != endless[:, :-1]).all(), "0 ends no line where none has an end"
    assert "a bigram chain reaches js1" in describe_chains(train, train, 40, seed=0)


def test_nats_count_the_end_once():
    def uniform(lines):
        assert lines.min() == 0
        return torch.full(lines.shape, -math.log(7))

    assert measure_nats(LINES, uniform) == pytest.approx(math.log(7))
    per_token = measure_nats(LINES, lambda lines: torch.where(lines == 0, -1.0, 0.0))
    assert per_token == pytest.approx(2 / 11)


def test_copies():
    equal = LINES[:1].repeat(4, 1)
    assert count_copies(equal, LINES) == (0.25, 1.0)
    assert count_copies(LINES, LINES[:1]) == (1.0, pytest.approx(1 / 3))
