"""stacked_mnist: three digits of the real MNIST a picture, the same for ever, and a label that says
which.
"""

from __future__ import annotations

import shutil

import pytest
import torch
from helpers import TEST_DATA

from gancli.data.base import split
from gancli.data.builtin import MNIST
from gancli.data.stacked import StackedMNIST, triples
from gancli.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    source = TEST_DATA / "mnist" / "MNIST" / "raw"
    if not source.is_dir():
        pytest.skip(f"no real data: GANCLI_TEST_DATA has no {source}")
    folder = tmp_path_factory.mktemp("mnist")
    (folder / "MNIST" / "raw").mkdir(parents=True)
    for file in source.glob("*.gz"):
        shutil.copy(file, folder / "MNIST" / "raw")
    return str(folder)


def test_each_channel_is_the_digit_that_the_label_says(root):
    stacked = StackedMNIST(root=root, n=300, resolution=32).load()
    digits = MNIST(root=root, resolution=32).load()
    assert (
        stacked.images.shape == (300, 3, 32, 32)
        and stacked.classes[123] == "123"
        and len(stacked.classes) == 1000
    )
    chosen = torch.from_numpy(triples(300, 60_000, "train"))
    for channel, factor in enumerate((100, 10, 1)):
        assert torch.equal(stacked.images[:, channel], digits.images[chosen[:, channel], 0])
        assert torch.equal(stacked.labels // factor % 10, digits.labels[chosen[:, channel]])


def test_the_same_for_ever():
    assert triples(2, 60_000, "train").tolist() == [[44579, 56374, 57628], [52051, 23911, 39226]]
    assert triples(2, 10_000, "test").tolist() != triples(2, 10_000, "train").tolist()
    assert (triples(100, 60_000, "train")[:2] == triples(2, 60_000, "train")).all()


def test_modes_are_nearly_even():
    chosen = torch.from_numpy(triples(26_000, 10, "train"))  # as if MNIST had one image a digit
    counts = (chosen @ torch.tensor([100, 10, 1])).bincount(minlength=1000)
    p = counts / counts.sum()
    kl = (p[p > 0] * (p[p > 0] * 1000).log()).sum()
    assert len(counts) == 1000 and counts.min() > 0
    assert kl == pytest.approx(999 / 52_000, rel=0.15), (
        "the floor of a perfect generator, REFERENCE section 8"
    )


def test_options(root):
    test = StackedMNIST(root=root, split="test", n=90, resolution="auto", limit=50, holdout=20)
    assert test.scan() == {"resolution": 28, "channels": 3, "classes": 1000}
    part = test.load()
    assert part.images.shape == (70, 3, 28, 28)
    train, held = split(part, limit=50, holdout=20)
    whole = split(
        StackedMNIST(root=root, split="test", n=90, resolution=28).load(), limit=50, holdout=20
    )
    assert torch.equal(train.images, whole[0].images) and torch.equal(held.labels, whole[1].labels)
    assert StackedMNIST(root=root, split="test", n=10, classes=0).load().labels is None
    digests = {
        StackedMNIST(root=root, split=which, n=n).load().digest
        for which, n in (("test", 9), ("test", 10), ("train", 10))
    }
    assert len(digests) == 3


def test_impossible_values(tmp_path, monkeypatch):
    for values in ({"n": 0}, {"channels": 1}):
        with pytest.raises(UserError):
            StackedMNIST(**values)
    with pytest.raises(UserError, match="MNIST"):
        StackedMNIST(root=str(tmp_path), download=False).load()
    monkeypatch.setattr("gancli.data.cache.available_memory", lambda: 1_000_000)
    with pytest.raises(UserError, match="stacked_mnist takes") as caught:
        StackedMNIST(root=str(tmp_path), resolution=32).load()
    assert "dataset.n" in caught.value.hint
