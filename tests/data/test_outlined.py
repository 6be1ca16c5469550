"""Images and their outlines: pairs, or two domains of which only the held-out images are pairs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gancli.data.base import split
from gancli.data.builtin import Digits
from gancli.data.outlined import Outlined, draw_levels, draw_outlines
from gancli.data.stream import Stream
from gancli.errors import UserError


def outlined(**options) -> Outlined:
    wanted = {"resolution": 16, "channels": 1, "classes": 0, "holdout": 6} | options
    return Outlined(of=Digits(resolution=16, channels=1, classes=10), **wanted)


def streams(source: Outlined) -> list[Stream]:
    """Of what is trained on, and of what is held out."""
    parts = split(source.load(), limit=source.limit, holdout=source.holdout)
    return [Stream(part, batch_size=6, seed=3, resolution=16, flip=source.flip) for part in parts]


def test_an_outline_is_the_dilation_less_the_image():
    image = torch.full((1, 2, 5, 5), -1.0)
    image[0, :, 2, 2] = 1.0
    found = draw_outlines(image)
    ring = torch.full((5, 5), -1.0)
    ring[1:4, 1:4] = 1.0
    ring[2, 2] = -1.0
    assert torch.equal(found[0, 0], ring), "light beside what is light, and nowhere else"
    assert torch.equal(found[0, 1], image[0, 1]), "alpha stays"


def test_stored_levels_and_floats_have_the_same_outlines():
    levels = torch.randint(0, 256, (3, 1, 6, 6), dtype=torch.uint8)
    x = levels.float().sub(127.5).mul(1 / 127.5)
    found = draw_levels(levels).float().sub(127.5).mul(1 / 127.5)
    assert (found - draw_levels(x)).abs().max() < 1e-5


def test_pairs_are_images_and_their_outlines():
    train, held = streams(outlined())
    for stream in (train, held):
        batch = stream(6, ("a", "b"))
        assert torch.equal(batch["a"], draw_outlines(batch["b"]))
    assert train.n == 1797 - 6 and held.n == 6


def test_apart_no_pair_is_seen_and_what_is_held_out_is_pairs():
    train, held = streams(outlined(apart=True, limit=41, flip=True))
    assert (train.n, train.other.n, held.n, held.other.n) == (21, 20, 6, 6)
    drawn = draw_outlines(train.other.images.float().sub(127.5).mul(1 / 127.5))
    levels = {image.numpy().tobytes() for image in train.images.float().sub(127.5).div(127.5)}
    assert not levels & {image.numpy().tobytes() for image in drawn}
    for nimg in (0, 6, 12):
        batch = held(nimg, ("a", "b"))
        assert (batch["a"] - draw_outlines(batch["b"])).abs().max() <= 1 / 127.5
    batch = train(0, ("a", "b"))
    assert (batch["a"] - draw_outlines(batch["b"])).abs().max() > 1


def test_apart_holds_out_the_images_that_are_held_out_of_pairs():
    pairs, apart = (outlined(apart=apart).load() for apart in (False, True))
    held = [split(decoded, limit=None, holdout=6)[1] for decoded in (pairs, apart)]
    targets = [
        {x.numpy().tobytes() for x in images} for images in (held[0].images, held[1].other.images)
    ]
    assert targets[0] == targets[1] and held[1].matched
    assert not split(apart, limit=None, holdout=6)[0].matched


def test_two_domains_need_an_image_each():
    with pytest.raises(UserError, match="are no two domains"):
        replace(outlined(apart=True), holdout=1796).load()
