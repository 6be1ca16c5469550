"""Class-balanced draws: each class equally often, and so each image of a class."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import train_helpers
from train_helpers import last, sound

from gancli.data.balance import Balanced, describe_balance
from gancli.data.base import Decoded
from gancli.data.stream import Stream
from gancli.errors import UserError

gan = pytest.fixture(train_helpers.gan)
LABELS = torch.tensor([0] * 3 + [2] * 17 + [1] * 9)  # a rare class, in no order


def rare(labels: torch.Tensor = LABELS) -> Decoded:
    """Image i is filled with i."""
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None]
    return Decoded(images.expand(-1, 1, 4, 4).contiguous(), labels, ("a", "b", "c"))


def draw(stream: Stream, nimg: int, salt: str = "") -> list[int]:
    x = stream(nimg, ("image",), salt=salt)["image"]
    return ((x[:, 0, 0, 0] + 1) * 127.5).round().long().tolist()


def make(batch: int, **options) -> Stream:
    return Stream(rare(), batch_size=batch, seed=1, resolution=4, balance=True, **options)


def test_classes_and_the_images_of_a_class_are_drawn_equally_often():
    shown = Counter(draw(make(3 * 9 * 17), 0))
    counts = torch.tensor([shown[k] for k in range(len(LABELS))])
    rows = [label == LABELS for label in range(3)]
    assert [int(counts[row].sum()) for row in rows] == [153, 153, 153]
    assert counts[LABELS == 0].tolist() == [51] * 3
    assert counts[LABELS == 1].tolist() == [17] * 9
    assert counts[LABELS == 2].tolist() == [9] * 17
    batch = make(8)(0, ("label",))["label"]
    assert torch.bincount(batch).min() >= 2, "each batch is balanced, not only the long run"


def test_a_batch_follows_from_its_position_for_any_number_of_ranks():
    walked = make(6)
    for nimg in range(0, 600, 6):
        walked(nimg, ("image",))
    late = draw(walked, 600)
    assert draw(make(6), 600) == late
    for world in (2, 3):
        parts = [draw(make(6, rank=rank, world=world), 600) for rank in range(world)]
        assert sum(parts, []) == late
    assert len({tuple(draw(make(30), 0)), tuple(draw(make(30), 30))}) == 2
    assert draw(make(30), 0) != draw(make(30), 0, salt="g")


def test_labels_stay_with_their_images():
    batch = make(40)(7, ("image", "label"))
    rows = ((batch["image"][:, 0, 0, 0] + 1) * 127.5).round().long()
    assert torch.equal(LABELS[rows], batch["label"])


def test_a_class_without_an_image_is_not_drawn():
    stream = Stream(rare(LABELS[LABELS != 1]), batch_size=40, seed=1, resolution=4, balance=True)
    assert torch.bincount(stream(0, ("label",))["label"]).tolist() == [20, 0, 20]


def test_what_cannot_be_balanced_is_refused():
    with pytest.raises(UserError, match="the data set has no labels"):
        Balanced(None, seed=0)
    with pytest.raises(UserError, match="these labels are attributes"):
        Balanced(torch.zeros(5, 3), seed=0)


def test_what_is_said_of_the_classes():
    assert describe_balance(rare(), noun="images", conditional=True) == (
        "dataset.balance=true: each class is drawn equally often, of a 3, b 9, c 17 images"
    )
    said = describe_balance(rare(LABELS[LABELS != 1]), noun="images", conditional=False)
    assert (
        "b 0" in said
        and "1 without images cannot be drawn" in said
        and "model.conditional=true" in said
    )
    many = Decoded(torch.zeros(23, 1, 1, 1), torch.arange(23), tuple(map(str, range(23))))
    said = describe_balance(many, noun="images", conditional=True)
    assert said.endswith("of 23 classes, from 0 1 to 22 1 images")


def test_points_are_not_called_images(gan):
    words = ("model=mlp", "dataset=ring", "dataset.balance=true", "trainer.batch_size=8")
    done = sound(gan("train", *words, "metrics=none", "trainer.steps=1", "hydra.run.dir=run"))
    line = next(line for line in done.out.splitlines() if "dataset.balance=true" in line)
    assert " points" in line and "images" not in line


def test_a_run_is_resumed_exactly_and_says_the_counts(gan):
    words = (
        *("model=cgan", "model.width=4", "dataset=digits", "dataset.resolution=16"),
        *("dataset.limit=60", "dataset.balance=true", "trainer.batch_size=8", "metrics=none"),
        *("trainer.precision=fp32", "log.tensorboard=false", "trainer.device=cpu"),
    )
    done = sound(gan("train", *words, "trainer.steps=4", "hydra.run.dir=whole"))
    assert "dataset.balance=true: each class is drawn equally often, of 0 " in done.out
    sound(gan("train", *words, "trainer.steps=2", "hydra.run.dir=parts"))
    sound(gan("train", "resume=parts", "trainer.steps=4"))
    whole, parts = last("whole"), last("parts")
    assert whole["config"]["dataset"]["balance"] is True
    for name, value in whole["game"].items():
        assert torch.equal(value, parts["game"][name]), name


def test_a_run_without_labels_is_refused(gan):
    done = sound(
        gan("train", "model=mlp", "dataset=digits", "dataset.classes=0", "dataset.balance=true"), 2
    )
    assert "dataset.balance=true draws each class equally often" in done.err
    assert "dataset.balance=false" in done.err
