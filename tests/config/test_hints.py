"""Words that look like a typo."""

from __future__ import annotations

import pytest

from gancli.config.hints import find_nearest


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("dcgna", ["dcgan", "cgan", "mlp"], ["dcgan"]),
        ("trian", ["train", "sample"], ["train"]),
        ("xyz", ["train"], []),
        ("a", [], []),
        ("lr", ["optimizer.g.lr", "log.every"], ["optimizer.g.lr"]),
        ("trainer.typo", ["trainer.steps", "trainer.keep"], []),
    ],
)
def test_nearest(word, known, expected):
    assert find_nearest(word, known) == expected
