"""Values that a config leaves to its data."""

import pytest
from helpers import frozen

from gancli.config.values import describe_auto
from gancli.errors import Problems


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


@pytest.mark.parametrize(
    ("words", "norm"),
    [
        (("model=dcgan",), "batch"),
        (("model=dcgan", "loss=rpgan"), "spectral"),
        (("model=dcgan", "loss=ragan"), "spectral"),
        (("model=dcgan", "loss=rpgan_r1r2"), "layer"),
        (("model=dcgan", "loss=rpgan", "model.discriminator.norm=batch"), "batch"),
        (("model=dcgan", "loss=dragan"), "none"),
        (("model=infogan", "loss=dragan"), "none"),
        (("model=dcgan", "loss=dragan", "model.discriminator.norm=layer"), "layer"),
        (("model=dcgan", "loss=dragan", "+penalty@loss.penalties.r1=r1"), "layer"),
        (("model=dcgan", "loss=wgan_gp"), "layer"),
        (("model=infogan", "loss=ragan"), "spectral"),
        # Its discriminator has no spectral norm to choose.
        (("experiment=pix2pix_digits_small", "loss=ragan"), "batch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_a_loss_decides_the_discriminators_norm(words, norm):
    assert frozen(*words)["model"]["discriminator"]["norm"] == norm


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("model.width=wide", "give a whole number or auto"),
        ("model.discriminator.norm=spectrl", "none or auto"),
        ("model.generator.z_dim=many", "give a whole number"),
    ],
)
def test_what_may_be_left_open_is_offered(word, hint):
    with pytest.raises(Problems) as caught:
        frozen("model=dcgan", word)
    assert caught.value.problems[0][1].endswith(hint)


def test_other_groups_leave_nothing_open():
    assert describe_auto("model.generator.norm") == " or auto"
    assert describe_auto("loss.penalties.mine.norm") == "", "only what belongs to a model is filled"
