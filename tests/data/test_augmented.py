"""gan data augment=...: what the critic may see, drawn; or why it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import train_helpers
from data_helpers import picture
from PIL import Image, ImageChops
from train_helpers import sound

gan = pytest.fixture(train_helpers.gan)


@pytest.mark.parametrize("augment", ["ada", "diffaug", "simclr", "r3gan"])
def test_the_digits_under_an_augmentation(augment, gan):
    argv = ("data", "dataset=digits", "dataset.limit=40", f"augment={augment}")
    out = sound(gan(*argv)).out
    line = next(line for line in out.splitlines() if line.startswith("augment "))
    assert "outputs/data/digits-augmented.png" in line
    assert ("p=0.5" in line) == (augment in ("ada", "r3gan"))
    sheet = Image.open("outputs/data/digits-augmented.png")
    tile = sheet.width // 8
    rows = [sheet.crop((0, k * tile, sheet.width, (k + 1) * tile)) for k in range(8)]
    assert all(ImageChops.difference(rows[0], row).getbbox() for row in rows[1:])
    first = Path("outputs/data/digits-augmented.png").read_bytes()
    sound(gan(*argv))
    assert Path("outputs/data/digits-augmented.png").read_bytes() == first


def test_colour_large_images_and_a_name_of_ones_own(gan, tmp_path):
    for k in range(9):
        picture(tmp_path / "photos" / f"{k}.png", (250, 10 * k, 9), mode="RGB", size=(256, 128))
    argv = ("data", "photos", "augment=ada", "out=look.png", "dataset.resolution=[128,256]")
    found = json.loads(sound(gan(*argv, "--json")).out)
    assert found["augmented"] == "look-augmented.png"
    assert Image.open("look-augmented.png").size == (2 + 8 * 130, 2 + 8 * 66)


def test_without_augmentation_there_is_no_second_sheet(gan):
    assert "augment" not in sound(gan("data", "dataset=digits", "dataset.limit=40")).out


def test_points_are_refused(gan):
    done = gan("data", "dataset=ring", "dataset.n=80", "augment=ada")
    assert done.code == 2 and "Traceback" not in done.err
    assert "images" in done.err
