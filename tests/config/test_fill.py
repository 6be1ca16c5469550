"""Values that a config leaves to its data."""

import pytest
from helpers import frozen


@pytest.mark.parametrize(
    ("words", "width"),
    [
        ((), 32),
        (("dataset.resolution=[32,24]",), 32),
        (("dataset.resolution=64",), 64),
        (("dataset.resolution=[32,64]",), 64),
        (("dataset.channels=3",), 64),
        (("model.width=48",), 48),
    ],
    ids=str,
)
@pytest.mark.parametrize("model", ["dcgan", "cgan"])
def test_plain_convolutions_are_narrow_for_small_grey_images(model, words, width):
    networks = frozen(f"model={model}", *words)["model"]
    assert networks["generator"]["width"] == networks["discriminator"]["width"] == width


def test_one_player_may_be_wider_than_the_other():
    networks = frozen("model=dcgan", "model.discriminator.width=16")["model"]
    assert (networks["generator"]["width"], networks["discriminator"]["width"]) == (32, 16)
