"""The backbone `self`: it learns, it gives the same bits twice, it is kept, and it leaves the
global generators alone.
"""

from __future__ import annotations

import pytest
import torch
from evaluation_helpers import CPU, digits, digits_cache, halves, hasty, part  # noqa: F401 - fixtures

from gancli.data.base import Decoded
from gancli.data.cache import cache_root
from gancli.errors import UserError
from gancli.metrics import classifier, features, store


def test_it_learns_digits_and_is_kept(digits_cache, monkeypatch):  # noqa: F811
    data = halves()[0]
    trained = classifier.for_data(data, (32, 32), 10)
    assert trained.accuracy > 0.93 and trained.n_aside == 100
    assert not trained.net.training and not any(p.requires_grad for p in trained.net.parameters())
    monkeypatch.setattr(classifier, "train", lambda *_, **__: pytest.fail("it was trained before"))
    again = classifier.for_data(data, (32, 32), 10)
    assert again.accuracy == trained.accuracy and classifier.checksum(
        again.net
    ) == classifier.checksum(trained.net)


def test_the_same_bits_and_no_global_draws(hasty):  # noqa: F811
    data = part(digits(), 0, 200)
    torch.manual_seed(3)
    want = torch.rand(4)
    torch.manual_seed(3)
    with torch.no_grad():  # where an evaluation calls it
        one = classifier.train(data.images, data.labels, 10)
        assert torch.equal(torch.rand(4), want)
    torch.manual_seed(99)
    two = classifier.train(data.images, data.labels, 10)
    assert (
        classifier.checksum(one.net) == classifier.checksum(two.net)
        and one.accuracy == two.accuracy
    )
    other = classifier.train(data.images, data.labels, 10, seed=1)
    assert classifier.checksum(one.net) != classifier.checksum(other.net)


def test_other_data_have_another_classifier(hasty, monkeypatch):  # noqa: F811
    data = part(digits(), 0, 100)
    calls = []
    train = classifier.train
    monkeypatch.setattr(
        classifier, "train", lambda images, *args: calls.append(len(images)) or train(images, *args)
    )
    relabelled = Decoded(
        images=data.images, labels=9 - data.labels, classes=data.classes, digest=data.digest
    )
    changed = Decoded(
        images=255 - data.images, labels=data.labels, classes=data.classes, digest=data.digest
    )
    smaller = part(digits(16), 0, 100)
    for some in (data, data, relabelled, changed, smaller):
        classifier.for_data(some, tuple(some.images.shape[2:]), 10)
    assert len(calls) == 4, (
        "only the second is kept: labels, pixels and size count, whatever the digest says"
    )


def test_a_damaged_entry_is_made_anew(hasty, caplog):  # noqa: F811
    data = part(digits(), 0, 100)
    first = classifier.for_data(data, (32, 32), 10)
    [file] = (cache_root() / "metrics").glob("*.pt")
    file.write_bytes(file.read_bytes()[:-500])
    again = classifier.for_data(data, (32, 32), 10)
    assert "is made anew" in caplog.text and classifier.checksum(first.net) == classifier.checksum(
        again.net
    )


def test_a_disk_that_cannot_be_written_costs_only_time(hasty, monkeypatch, tmp_path):  # noqa: F811
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    data = part(digits(), 0, 60)
    assert classifier.for_data(data, (32, 32), 10).n_aside == 6


@pytest.mark.parametrize("shape", [(4, 16, 24), (3, 100, 50), (1, 8, 8), (2, 7, 5)])
def test_any_size_and_channels(hasty, shape):  # noqa: F811
    data = Decoded(
        images=torch.randint(0, 256, (40, *shape), dtype=torch.uint8),
        labels=torch.arange(40) % 2,
        classes=("a", "b"),
    )
    backbone = features.own(data, 2, CPU)
    out = backbone(data.images)
    assert out["features"].shape == (40, 128) and out["probabilities"].shape == (40, 2)
    assert torch.allclose(out["probabilities"].sum(1), torch.ones(40))
    height, width = classifier.inner_size(*shape[1:])
    assert max(height, width) <= 32 and ((height, width) == shape[1:]) == (
        backbone.resize == "none"
    )
    assert abs(height / width - shape[1] / shape[2]) < 0.1


def test_nothing_to_learn():
    data = part(digits(), 0, 10)
    with pytest.raises(UserError, match="two classes"):
        classifier.train(data.images, torch.zeros(10, dtype=torch.int64), 10)
    with pytest.raises(UserError, match="no labels"):
        features.own(Decoded(images=data.images), 0, CPU)


def test_shifts_move_and_keep_the_size():
    x = torch.arange(64.0).view(1, 1, 8, 8).repeat(50, 1, 1, 1)
    moved = classifier.shift_images(x, torch.Generator().manual_seed(0))
    assert moved.shape == x.shape and len(moved.flatten(1).unique(dim=0)) > 15
    assert set(moved.unique().tolist()) <= set(x.unique().tolist())


def stacks(n: int) -> Decoded:
    data = digits(16)
    picked = torch.randint(len(data), (n, 3), generator=torch.Generator().manual_seed(0))
    labels = (data.labels[picked] * torch.tensor([100, 10, 1])).sum(1)
    return Decoded(
        images=data.images[picked][:, :, 0],
        labels=labels,
        classes=tuple(f"{k:03d}" for k in range(1000)),
    )


def test_stacked_digits_are_taken_apart():
    data = stacks(400)
    apart = classifier.unstack_digits(data)
    assert len(apart) == len(data.images.flatten(0, 1).unique(dim=0)) < 1200, "each digit once"
    pairs = {
        (image.numpy().tobytes(), int(label))
        for image, label in zip(apart.images, apart.labels, strict=True)
    }
    for image, label in zip(data.images[:20], data.labels[:20].tolist(), strict=True):
        for channel, digit in zip(image, (label // 100, label // 10 % 10, label % 10), strict=True):
            assert (channel.numpy().tobytes(), digit) in pairs


def test_the_backbone_of_stacked_digits(hasty, monkeypatch):  # noqa: F811
    monkeypatch.setattr(classifier, "SEEN", (4000, 4000))
    data = stacks(500)
    backbone = features.own(data, 1000, CPU, stacked=True)
    out = backbone(data.images)
    assert out["features"].shape == (500, 384) and out["probabilities"].shape == (500, 1000)
    assert torch.allclose(out["probabilities"].sum(1), torch.ones(500), atol=1e-5)
    seen = out["probabilities"].argmax(1)
    assert (seen == data.labels).float().mean() > 0.6, "three digits at once"
    one = features.own(data, 1000, CPU, stacked=True)(data.images[:1, [2, 1, 0]])[
        "probabilities"
    ].argmax(1)
    assert int(one) == int(f"{int(seen[0]):03d}"[::-1]), "the first channel is the hundreds"


def test_memory_forgets_the_oldest(monkeypatch):
    store.forget()
    monkeypatch.setattr(store, "MOST_ENTRIES", 2)
    made = []
    for key in ("a", "b", "a", "c", "b", "a"):
        store.remember(key, lambda key=key: made.append(key))
    assert made == ["a", "b", "c", "b", "a"]

    def fails():
        made.append("failed")
        raise UserError("no network", "a file")

    for _ in range(2):
        with pytest.raises(UserError, match="no network"):
            store.remember("x", fails)
    assert made.count("failed") == 1, "a download that failed is not tried at every evaluation"
    store.forget()
