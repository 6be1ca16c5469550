"""Incomplete images: training sees one measurement of each, and the held-out ones are complete."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gancli.data.base import Decoded, split
from gancli.data.builtin import Digits
from gancli.data.incomplete import GREY, Incomplete
from gancli.data.stream import Stream
from gancli.errors import UserError


def parts(**options) -> tuple[Decoded, Decoded | None]:
    source = Incomplete(of=Digits(), resolution=16, limit=40, holdout=8, **options)
    return split(source.load(), limit=40, holdout=8)


def complete() -> tuple[Decoded, Decoded | None]:
    source = Digits(resolution=16, limit=40, holdout=8)
    return split(source.load(), limit=40, holdout=8)


@pytest.mark.parametrize("measure", ["mask", "patch", "blur", "noise"])
def test_what_is_held_out_stays_complete_and_nothing_else(measure):
    train, held = parts(measure=measure)
    true_train, true_held = complete()
    assert held is not None and true_held is not None and train.measured
    assert torch.equal(held.images, true_held.images)
    assert torch.equal(train.labels, true_train.labels)
    assert (train.images != true_train.images).flatten(1).any(1).all()
    again, _ = parts(measure=measure)
    assert torch.equal(train.images, again.images), "the same image is always measured alike"
    assert train.digest != true_train.digest


def test_half_of_the_pixels_are_hidden_and_the_others_are_true():
    train, _ = parts(measure="mask", share=0.5)
    seen = train.further["seen"] == 255
    assert abs(seen.float().mean().item() - 0.5) < 0.02
    assert torch.equal(train.images[seen], complete()[0].images[seen])
    assert (train.images[~seen] == GREY).all()
    assert not torch.equal(seen[0], seen[1])


def test_a_patch_is_a_square_of_the_share():
    seen = parts(measure="patch", share=0.25)[0].further["seen"]
    assert ((seen == 0).flatten(1).sum(1) == 64).all()
    holes = (seen[0, 0] == 0).nonzero()
    assert (holes.max(0).values - holes.min(0).values).tolist() == [7, 7]
    assert (parts(measure="patch", share=0)[0].further["seen"] == 255).all()


def test_noise_has_its_deviation_and_blur_its_smoothness():
    train, _ = parts(measure="noise", noise=20)
    truth = complete()[0].images.float()
    middle = (truth > 80) & (truth < 170)  # which noise does not clip
    assert abs((train.images.float() - truth)[middle].std().item() - 20) < 2
    soft = parts(measure="blur", noise=0)[0].images.float()
    assert soft.diff(dim=3).abs().mean() < 0.8 * truth.diff(dim=3).abs().mean()


def test_filling_from_around_is_nearer_to_the_truth_than_grey():
    truth = complete()[0].images.float()
    errors = [
        (parts(filled=fill)[0].images.float() - truth).abs().mean() for fill in ("around", "grey")
    ]
    assert errors[0] < 0.25 * errors[1]


def test_the_limit_does_not_change_how_an_image_is_measured():
    few, _ = split(
        Incomplete(of=Digits(), resolution=16, limit=10, holdout=8).load(), limit=10, holdout=8
    )
    train, _ = parts()
    found = {image.numpy().tobytes() for image in train.images}
    assert all(image.numpy().tobytes() in found for image in few.images)


def test_masks_are_cut_and_flipped_with_their_images():
    source = Incomplete(of=Digits(), resolution=16, load_size=20, limit=40, holdout=8)
    train, _ = split(source.load(), limit=40, holdout=8)
    stream = Stream(train, batch_size=32, seed=0, resolution=16, flip=True)
    batch = stream(0, ("image", "seen"))
    grey = (GREY - 127.5) / 127.5
    assert batch["seen"].shape == (32, 1, 16, 16)
    assert (batch["image"][batch["seen"] < 0] - grey).abs().max() < 1e-6


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def own(folder: Path, *, channels: int, hole: int) -> str:
    """Eight images of 16 pixels, whose left half is missing, in a colour that tells nothing."""
    for k in range(8):
        pixels = np.random.default_rng(k).integers(20, 256, (16, 16, channels), dtype=np.uint8)
        pixels[:, 8:, 3:] = 255
        pixels[:, :8] = hole
        save(folder / f"{k}.png", pixels)
    return str(folder)


@pytest.mark.parametrize(("channels", "missing"), [(4, "alpha"), (3, 0), (3, 7)])
def test_incomplete_files_say_what_they_lack(tmp_path, channels, missing):
    hole = missing if isinstance(missing, int) else 0
    path = own(tmp_path, channels=channels, hole=hole)
    source = Incomplete(path=path, measured=True, missing=missing)
    facts = source.scan()
    assert facts == {"resolution": 16, "channels": 3, "classes": 0, "holdout": 0}
    train = source.load()
    assert train.measured and train.images.shape == (8, 3, 16, 16)
    seen = train.further["seen"]
    assert (seen[..., :8] == 0).all() and (seen[..., 8:] == 255).all()
    assert (train.images[..., :8] == GREY).all()
    with Image.open(tmp_path / "0.png") as image:
        truth = torch.from_numpy(np.array(image))[..., :3].permute(2, 0, 1)
    assert any(torch.equal(image[..., 8:], truth[..., 8:]) for image in train.images)


def test_a_smaller_size_keeps_only_what_was_wholly_seen(tmp_path):
    path = own(tmp_path, channels=4, hole=0)
    small = Incomplete(path=path, measured=True, resolution=8).load()
    seen = small.further["seen"]
    assert (seen[..., :4] == 0).all() and (seen[..., 6:] == 255).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": Digits(), "measured": True}, "is about files"),
        ({"path": "x", "measured": True, "holdout": 3}, "no image is complete"),
        ({"path": "x", "missing": "white"}, "marks nothing"),
        ({"path": "x", "missing": 256}, "marks nothing"),
        ({"path": "x", "share": 1.0}, "cannot be hidden"),
        ({"path": "x", "noise": -1.0}, "below 0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        Incomplete(**options)


def test_files_without_a_hole_are_refused(tmp_path):
    save(tmp_path / "0.png", np.full((16, 16, 3), 9, np.uint8))
    with pytest.raises(UserError, match="nothing is missing"):
        Incomplete(path=str(tmp_path), measured=True).load()
