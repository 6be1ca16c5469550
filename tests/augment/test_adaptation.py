"""ADA's p: how it moves, is scheduled, saved and refused, and runs that resume."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers import differences, small, steps, trainer_for

from gancli.augment.ada import ADA, OPS
from gancli.errors import UserError

EVERYTHING = dict.fromkeys(OPS, 1.0)


def ada(**options):
    return ADA(resolution=32, strength=EVERYTHING, **options)


def adapted(augmentation, signs, *, batch=64, first=0):
    """p after each step, called as the trainer does: with the images shown before the step."""
    values = []
    for step, sign in enumerate(signs, start=first):
        augmentation.adapt(torch.tensor(float(sign)), batch * step)
        values.append(augmentation.p.item())
    return values


def test_p_moves_every_fourth_step_by_the_images_in_between():
    step = 64 * 4 / 500_000
    assert step == pytest.approx(5.12e-4)
    assert adapted(ada(), [1] * 12) == pytest.approx(
        [0] * 3 + [step] * 4 + [2 * step] * 4 + [3 * step], abs=1e-9
    )
    assert adapted(ada(p=0.5), [-1] * 8)[-1] == pytest.approx(0.5 - 2 * step)
    assert adapted(ada(), [-1] * 8)[-1] == 0, "the floor"
    assert adapted(ada(kimg=100.0, interval=2), [1] * 4)[-1] == pytest.approx(64 * 4 / 100_000)


def test_p_follows_the_mean_sign_of_its_interval_alone():
    step = 5.12e-4
    assert adapted(ada(p=0.1), [1, 1, 1, 0.2])[-1] == pytest.approx(
        0.1 + step
    )  # a mean of 0.8 is above 0.6
    assert adapted(ada(p=0.1), [1, 1, 1, -1])[-1] == pytest.approx(0.1 - step)  # 0.5 is below
    assert adapted(ada(p=0.1, target=0.5), [1, 1, 1, -1])[-1] == pytest.approx(0.1)  # on target
    assert adapted(ada(p=0.1), [1] * 4 + [0.5] * 4)[-1] == pytest.approx(0.1), (
        "the first interval is forgotten"
    )


def test_p_has_no_upper_bound_and_more_than_1_is_no_error():
    greedy = ada(kimg=0.1)
    assert adapted(greedy, [1] * 8)[-1] == pytest.approx(5.12)
    assert greedy(torch.randn(4, 3, 32, 32)).isfinite().all()


def test_p_and_its_sums_are_saved_and_a_resume_in_between_is_exact():
    signs = [
        1,
        1,
        0.8,
        0.8,
        1,
        1,
        0.2,
        0.7,
        1,
        1,
        1,
        1,
    ]  # the second mean, 0.725, is above the target only with all its signs
    whole = ada()
    first = ada()
    want = adapted(whole, signs)
    adapted(first, signs[:7])
    state = copy.deepcopy(first.state_dict())
    assert set(state) == {"p", "signs", "steps", "nimg"}
    for lost in (None, *state):
        resumed = ada()
        resumed.load_state_dict(
            state | ({} if lost is None else {lost: torch.zeros_like(state[lost])})
        )
        got = adapted(resumed, signs[7:], first=7)
        assert (got == want[7:]) == (lost is None), lost
        assert lost is not None or differences(whole.state_dict(), resumed.state_dict()) == []


def test_a_fixed_p_and_a_scheduled_one():
    assert adapted(ada(p=0.3, target=None), [1] * 5) == pytest.approx([0.3] * 5)
    cosine = {"start": 0.0, "end": 0.55, "end_kimg": 0.256, "kind": "cosine"}
    assert adapted(ada(p=cosine, target=None), [-1] * 6) == pytest.approx(
        [0.55 * (0.5 - 0.5 * math.cos(math.pi * min(1, k / 4))) for k in range(6)]
    )


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"strength": {"flip": 1.0}}, "no operation"),
        ({"strength": {"xflip": 1.5}}, "from 0 to 1"),
        ({"p": -0.1}, "0 or more"),
        ({"p": {"start": 0.0, "end": 1.0, "end_kimg": 1.0}}, "target=null"),
        ({"interval": 0}, "1 or more"),
        ({"kimg": 0.0}, "above 0"),
        ({"target": 1.5}, "from -1 to 1"),
        ({"p": {"start": 0.1, "end": -0.5, "end_kimg": 1.0}, "target": None}, "0 or more"),
    ],
)
def test_what_it_refuses(options, word):
    with pytest.raises(ValueError, match=word):
        ADA(**({"resolution": 32, "strength": EVERYTHING} | options))


def test_points_are_refused_with_a_hint():
    with pytest.raises(UserError) as caught:
        small("mlp", "dataset=ring", "dataset.resolution=1", "dataset.limit=null", "augment=ada")
    assert caught.value.message == "augment is for images, and the data are points"


@pytest.mark.parametrize(
    ("option", "image"),
    [
        ("ada", "dataset.channels=1"),
        ("ada", "dataset.channels=4"),
        ("ada_bg", "dataset.resolution=[16,24]"),
        ("diffaug", "dataset.channels=4"),
        ("diffaug_translation_cutout", "dataset.resolution=[16,24]"),
    ],
)
def test_a_run_resumes_to_the_same_bits(option, image):
    extra = (
        ("augment.interval=2", "augment.kimg=0.1", "augment.p=0.5")
        if option.startswith("ada")
        else ()
    )
    setup = small("dcgan", "loss=r1", f"augment={option}", image, *extra)
    whole = steps(trainer_for(setup), 6)
    assert all(value.isfinite().all() for value in whole.game.state_dict().values())
    resumed = trainer_for(setup)
    half = steps(trainer_for(setup), 3)
    torch.rand(7)
    resumed.load_state_dict(half.state_dict())
    steps(resumed, 3)
    assert differences(whole.state_dict(), resumed.state_dict()) == []
    if option.startswith("ada"):
        assert whole.game.augment.p != 0.5, "p moved"
