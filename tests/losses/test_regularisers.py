"""LeCam and consistency: golden numbers, running means, and critics with a known answer."""

from __future__ import annotations

import pytest
import torch
from helpers import differences, small, steps, trainer_for
from loss_helpers import weighted

from gancli.errors import UserError
from gancli.game import Progress
from gancli.losses.regularisers import Consistency, LeCam, measure_lecam

R = torch.tensor([1.0, -2.0], dtype=torch.float64)
F = torch.tensor([0.5, -3.0], dtype=torch.float64)


def test_golden_lecam():
    assert measure_lecam(R, F, 0.5, -0.25).item() == pytest.approx(6.90625)
    assert ((R + 0.25).square().mean() + (0.5 - F).square().mean()).item() == pytest.approx(
        8.4375
    ), "without relu: not ours"


def use(penalty, real, fake):
    scores = torch.as_tensor(real), torch.as_tensor(fake)
    return weighted(penalty, None, None, None, *scores, Progress()).item()


def test_lecam_remembers_means_with_its_decay():
    penalty = LeCam(weight=0.5, decay=0.9)
    first = use(penalty, [2.0, 4.0], [-1.0, -3.0])
    assert (penalty.real.item(), penalty.fake.item()) == pytest.approx((3.0, -2.0)), (
        "it begins with the first use, not at 0"
    )
    assert first == pytest.approx(0.5 * ((4**2 + 6**2) / 2 + (4**2 + 6**2) / 2))
    second = use(penalty, [1.0, 1.0], [0.0, 0.0])
    assert (penalty.real.item(), penalty.fake.item()) == pytest.approx((0.9 * 3 + 0.1, 0.9 * -2))
    assert second == pytest.approx(0.5 * ((1 + 1.8) ** 2 + 2.8**2))
    assert use(LeCam(weight=1.0), [-1.0], [1.0]) == 0, "fakes above reals cost nothing here"
    assert use(LeCam(weight=1.0, every=4), [2.0], [0.0]) == pytest.approx(4 * 8.0)


def test_lecam_moves_scores_and_not_its_memory():
    penalty = LeCam(weight=1.0)
    real = R.clone().requires_grad_(True)
    fake = F.clone().requires_grad_(True)
    with_memory = penalty(None, None, None, real, fake, Progress())
    penalty(
        None, None, None, real * 2, fake * 2, Progress()
    )  # the next micro-batch, before this one's backward
    with_memory.backward()
    before = (-0.5, -1.25)  # the means of R and F, to float32
    assert real.grad.tolist() == pytest.approx((torch.relu(R - before[1])).tolist())
    assert fake.grad.tolist() == pytest.approx((-torch.relu(before[0] - F)).tolist())


def test_lecams_memory_is_saved_and_one_per_critic():
    penalty = LeCam(weight=1.0)
    other = LeCam(weight=1.0)
    use(penalty, [2.0], [1.0])
    other.load_state_dict(penalty.state_dict())
    assert set(penalty.state_dict()) == {"real", "fake", "uses"}
    assert (
        use(penalty, [5.0], [3.0])
        == use(other, [5.0], [3.0])
        != use(LeCam(weight=1.0), [5.0], [3.0])
    )


def consistency(critic, x, **options):
    torch.manual_seed(0)
    penalty = Consistency(**({"weight": 10.0, "resolution": list(x.shape[2:])} | options))
    return weighted(penalty, critic, x, 2 * x, critic(x), critic(2 * x), Progress()).item()


def test_consistency_is_0_for_a_critic_that_flips_and_moves_do_not_touch():
    x = torch.rand(8, 3, 16, 16)
    assert consistency(lambda v: v.amax((1, 2, 3)) * 0 + len(v), x) == 0
    flat = x.mean((2, 3), keepdim=True).expand_as(x).clone()
    assert consistency(lambda v: v.square().mean((1, 2, 3)), flat) == 0
    mirrored = torch.cat([x, x.flip(3)], 3)
    assert consistency(lambda v: v.sum((1, 2, 3)), mirrored, shift=0.0) == pytest.approx(
        0, abs=1e-6
    )
    assert consistency(lambda v: v[:, 0, 0, 0], x) > 0.1


def test_consistency_against_its_formula():
    """The score is the left half's sum, only flips: a flipped image has the right half's."""
    x = torch.rand(400, 1, 4, 4)
    left = x[..., :2].sum((1, 2, 3))
    right = x[..., 2:].sum((1, 2, 3))
    torch.manual_seed(0)
    flipped = torch.randint(0, 2, (400,)).bool()
    want = 10 * torch.where(flipped, left - right, 0).square().mean().item()
    got = consistency(lambda v: v[..., :2].sum((1, 2, 3)), x, shift=0.0)
    assert got == pytest.approx(want, rel=1e-5) and 150 < flipped.sum() < 250
    assert consistency(lambda v: v[..., :2].sum((1, 2, 3)), x, shift=0.0, flip=False) == 0


def test_the_balanced_form_adds_fakes():
    x = torch.rand(200, 1, 8, 8)

    def critic(v):
        return v[:, 0, 2, 2]

    real = consistency(critic, x)
    assert consistency(critic, x, fake=1.0) == pytest.approx(
        5 * real, rel=0.5
    )  # fakes are twice the reals
    assert consistency(critic, x, fake=0.5) == pytest.approx(3 * real, rel=0.5)


def test_moves_reach_an_eighth_of_the_mirrored_image():
    x = torch.rand(900, 2, 16, 32)
    torch.manual_seed(0)
    out = Consistency(weight=1.0, resolution=[16, 32], flip=False).move_images(x)
    padded = torch.nn.functional.pad(x, (4, 4, 2, 2), mode="reflect")
    found = []
    for a, b in zip(out, padded, strict=True):
        found += [
            (dy, dx)
            for dy in range(5)
            for dx in range(9)
            if torch.equal(a, b[:, dy : dy + 16, dx : dx + 32])
        ]
    assert (
        len(found) == 900
        and {dy for dy, _ in found} == {*range(5)}
        and {dx for _, dx in found} == {*range(9)}
    )


def test_gradients_flow_through_both_scores():
    x = torch.rand(4, 1, 4, 4)
    weight = torch.rand(16, requires_grad=True)
    critic = lambda v: v.flatten(1) @ weight  # noqa: E731
    penalty = Consistency(weight=1.0, resolution=4)

    def value(detach):
        torch.manual_seed(1)
        scores = critic(x)
        return torch.autograd.grad(
            penalty(critic, x, None, scores.detach() if detach else scores, None, Progress()),
            weight,
        )[0]

    torch.manual_seed(1)
    difference = (x - penalty.move_images(x)).flatten(1)
    assert torch.allclose(value(False), 2 / 4 * difference.T @ (difference @ weight), atol=1e-6)
    assert not torch.allclose(value(False), value(True))


def test_what_they_refuse():
    for bad in ({"decay": 1.0}, {"decay": -0.1}):
        with pytest.raises(ValueError, match="memory"):
            LeCam(weight=1.0, **bad)
    for bad in ({"fake": -1.0}, {"shift": 1.0}):
        with pytest.raises(ValueError, match="share of the image"):
            Consistency(weight=1.0, resolution=32, **bad)
    with pytest.raises(UserError, match="resolution 1"):
        Consistency(weight=1.0, resolution=1)


@pytest.mark.parametrize(
    "extra",
    [(), ("trainer.accumulate=2",), ("loss.penalties.consistency.fake=1.0", "augment=diffaug")],
)
def test_a_run_resumes_to_the_same_bits(extra):
    setup = small(
        "dcgan",
        "loss=hinge",
        "+penalty@loss.penalties.lecam=lecam",
        "loss.penalties.lecam.start=2",
        "+penalty@loss.penalties.consistency=consistency",
        *extra,
    )
    whole = steps(trainer_for(setup), 5)
    half = steps(trainer_for(setup), 4).state_dict()
    resumed = trainer_for(setup)
    resumed.load_state_dict(half)
    steps(resumed, 1)
    assert differences(whole.state_dict(), resumed.state_dict()) == []
    memory = whole.game.adversarial.penalties["lecam"]
    assert (
        memory.uses > 0
        and memory.real != 0
        and whole.logs["d/lecam"].isfinite()
        and whole.logs["d/consistency"] >= 0
    )
    lost = half | {"game": half["game"] | {"adversarial.penalties.lecam.real": torch.tensor(9.0)}}
    fresh = trainer_for(setup)
    fresh.load_state_dict(lost)
    assert differences(whole.state_dict(), steps(fresh, 1).state_dict()), "a lost mean is noticed"
