"""The discriminator sees images with alpha over white, whatever the augmentation."""

from __future__ import annotations

import pytest
import torch

from gancli.augment.ada import ADA
from gancli.augment.alpha import OverWhite
from gancli.augment.base import Augment, show_over_white
from gancli.augment.diffaug import DiffAugment
from gancli.augment.simclr import SimCLR

SIDE = 8


def make_ada(**options) -> ADA:
    return ADA(resolution=SIDE, strength={"rotate90": 1.0, "hue": 1.0}, p=0.8, **options)


AUGMENTS = {
    "over_white": lambda over_white=True, **options: OverWhite(**options),
    "diffaug": lambda **options: DiffAugment(
        policy=["color", "translation"], resolution=SIDE, **options
    ),
    "ada": make_ada,
    "simclr": lambda **options: SimCLR(resolution=SIDE, **options),
}


@pytest.fixture
def drawn() -> torch.Tensor:
    """Images (2,4,8,8) with alpha, whose upper half is hidden and whose lower half is faint."""
    x = torch.rand(2, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    x[:, 3, :4] = -1
    return x


def see(augment: Augment, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(1)
    return augment(x)


@pytest.mark.parametrize("name", AUGMENTS)
def test_colours_that_nobody_sees_do_not_tell(name, drawn):
    """Whatever lies under full transparency, the discriminator sees white there."""
    other = drawn.clone()
    other[:, :3, :4] = torch.rand(2, 3, 4, SIDE) * 2 - 1
    augment = AUGMENTS[name](over_white=True, channels=4)
    seen = see(augment, drawn)
    assert torch.equal(seen, see(augment, other)) and seen.shape == drawn.shape
    if name != "over_white":
        plain = AUGMENTS[name]()
        assert not torch.equal(see(plain, drawn), see(plain, other)), "as it was"
        assert torch.equal(seen, see(plain, show_over_white(drawn))), "and before all else"


@pytest.mark.parametrize("name", AUGMENTS)
def test_images_without_alpha_stay(name, drawn):
    rgb = drawn[:, :3]
    augment = AUGMENTS[name](over_white=True, channels=3)
    plain = AUGMENTS[name]() if name != "over_white" else lambda x: x
    assert torch.equal(see(augment, rgb), see(plain, rgb))


def test_the_blend():
    blended = show_over_white(torch.tensor([-1.0, 0.5, -1.0, 0.0]).view(1, 4, 1, 1))
    assert blended.flatten().tolist() == [0.0, 0.75, 0.0, 0.0]


def test_images_that_are_seen_side_by_side_have_an_alpha_each(drawn):
    """Two grey images are no grey image with alpha; two RGBA images have two alphas."""
    grey = drawn[:, :2]
    assert torch.equal(OverWhite(channels=1)(grey), grey)
    both = OverWhite(channels=4)(torch.cat([drawn, drawn.flip(0)], 1))
    assert torch.equal(both, torch.cat([show_over_white(drawn), show_over_white(drawn).flip(0)], 1))


def test_hidden_colours_learn_nothing(drawn):
    x = drawn.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(OverWhite(channels=4)(x).square().sum(), x)
    assert gradient[:, :3, :4].abs().max() == 0 and gradient[:, :3, 4:].abs().min() > 0


def test_a_discriminator_without_its_augmentation_still_sees_white(drawn):
    augment = make_ada(over_white=True, channels=4)
    assert torch.equal(augment.show(drawn), show_over_white(drawn))
    assert make_ada(channels=4).show(drawn) is drawn


def test_a_number_of_channels_that_is_none():
    with pytest.raises(ValueError, match="channels=-1"):
        OverWhite(channels=-1)
