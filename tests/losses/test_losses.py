"""Objectives and penalties against golden numbers: r = [1, -2], f = [0.5, -3], float64."""

from __future__ import annotations

import math

import pytest
import torch
from loss_helpers import weighted
from torch import nn

from gancli.critic import BoundCritic
from gancli.errors import UserError
from gancli.game import Progress
from gancli.losses.adversarial import AdversarialLoss
from gancli.losses.objectives import (
    Hinge,
    LeastSquares,
    NonSaturating,
    Objective,
    RelativisticAverage,
    RelativisticPairing,
    Saturating,
    TwoScaleLeastSquares,
    Wasserstein,
)
from gancli.losses.penalties import GradientPenalty, Penalty, ScoreDrift
from gancli.schedules import Schedule

R = torch.tensor([1.0, -2.0], dtype=torch.float64)
F = torch.tensor([0.5, -3.0], dtype=torch.float64)
PEARSON = LeastSquares(a=-1.0, b=1.0, c=0.0)
RALS = RelativisticAverage(base=LeastSquares(a=-1.0, b=1.0, scale=1.0))
GOLDEN = [  # objective, critic's loss, generator's loss
    (Saturating(), 1.7314270, -0.5113322),
    (NonSaturating(), 1.7314270, 1.7613322),
    (LeastSquares(), 4.5625, 4.0625),
    (PEARSON, 3.8125, 2.3125),
    (LeastSquares(scale=1.0), 9.125, 8.125),
    (TwoScaleLeastSquares(a=0.0, b=1.0, c=1.0, scale=0.5, generator_scale=1.0), 4.5625, 8.125),
    (Hinge(), 2.25, 1.25),
    (Wasserstein(), -0.75, 1.25),
    (RelativisticPairing(), 0.3936693, 1.1436693),
    (RelativisticAverage(base=NonSaturating()), 0.6573072, 1.4073072),
    (RALS, 2.71875, 5.71875),
    (RelativisticAverage(base=Hinge()), 0.9375, 1.75),
]


@pytest.mark.parametrize(("objective", "d", "g"), GOLDEN)
def test_golden_losses(objective, d, g):
    assert objective.d(R, F).item() == pytest.approx(d, abs=1e-7)
    assert objective.g(R, F).item() == pytest.approx(g, abs=1e-7)


@pytest.mark.parametrize(
    ("objective", "d", "g"),
    [
        (NonSaturating(), 2 * math.log(2), math.log(2)),
        (Hinge(), 2.0, 0.0),
        (RelativisticPairing(), math.log(2), math.log(2)),
    ],
)
def test_values_at_equal_scores(objective, d, g):
    zero = torch.zeros(4, dtype=torch.float64)
    assert objective.d(zero, zero).item() == pytest.approx(d)
    assert objective.g(zero, zero).item() == pytest.approx(g)


@pytest.mark.parametrize(
    ("objective", "optimum", "chance"),
    [
        (NonSaturating(), 0.0, 2 * math.log(2)),
        (Saturating(), 0.0, 2 * math.log(2)),
        (LeastSquares(), 0.0, 0.25),
        (LeastSquares(scale=1.0), 0.0, 0.5),
        (PEARSON, 0.0, 1.0),
        (Wasserstein(), None, None),
        (Hinge(), 0.0, 2.0),
        (RelativisticPairing(), 0.0, math.log(2)),
        (RelativisticAverage(base=NonSaturating()), 0.0, math.log(2)),
        (RelativisticAverage(base=Hinge()), 0.0, 1.0),
        (RALS, 0.0, 1.0),
        (RelativisticAverage(base=Wasserstein()), None, None),
    ],
)
def test_an_objective_knows_its_optimum_and_its_chance_level(objective, optimum, chance):
    assert objective.optimum() == pytest.approx(optimum)
    assert objective.chance_level() == pytest.approx(chance)


@pytest.mark.parametrize("targets", [(1.0, 0.0), (0.9, 0.0), (0.9, 0.1), (0.95, 0.15)])
@pytest.mark.parametrize("objective", [each for each, _, _ in GOLDEN])
def test_what_an_objective_knows_is_what_the_default_finds(objective, targets):
    for name in ("optimum", "chance_level"):
        known = getattr(type(objective), name)(objective, *targets)
        assert getattr(Objective, name)(objective, *targets) == pytest.approx(known, abs=1e-4)


def test_levels_of_targets_beyond_the_objectives_range():
    for objective in (NonSaturating(), Hinge(), RelativisticPairing()):
        assert objective.optimum(1.1, 0.0) is None, "ever larger scores are better: there is no end"
    assert NonSaturating().chance_level(1.5, 0.6) is None
    assert Hinge().chance_level(-0.5, 0.0) is None


@pytest.mark.parametrize(
    ("options", "optimum", "chance"),
    [
        ({"real_target": 0.9}, 0.3250830, 1.3762774),
        ({"flip": 0.1}, 2 * 0.3250830, 2 * math.log(2)),
        ({"real_target": [0.8, 1.0], "fake_target": [0.0, 0.2]}, 2 * 0.3250830, 2 * math.log(2)),
    ],
)
def test_a_loss_tells_the_levels_of_its_targets(options, optimum, chance):
    loss = AdversarialLoss(objective=NonSaturating(), **options)
    assert loss.optimum() == pytest.approx(optimum)
    assert loss.chance_level() == pytest.approx(chance)


def test_an_objective_that_always_costs_the_same_has_equal_levels():
    class Flat(Objective):
        def cost(self, scores, target):
            return scores * 0 + 1

    assert Flat().optimum() == Flat().chance_level() == 2


@pytest.mark.parametrize(("target", "want"), [(0.9, 1.6814270), (1.0, 1.7314270)])
def test_one_sided_smoothing(target, want):
    assert NonSaturating().d(R, F, real_target=target).item() == pytest.approx(want, abs=1e-7)


def test_two_sided_smoothing_and_the_smoothed_optimum():
    assert NonSaturating().d(R, F, 0.9, 0.1).item() == pytest.approx(1.8064270, abs=1e-7)
    best = torch.tensor(math.log(0.9 / 0.1), dtype=torch.float64)
    assert NonSaturating().cost(best, 0.9).item() == pytest.approx(0.3250830, abs=1e-7)


def test_gradient_of_the_generator_where_the_critic_is_sure():
    for objective, want in ((NonSaturating(), -0.99331), (Saturating(), -0.00669)):
        score = torch.tensor([-5.0], dtype=torch.float64, requires_grad=True)
        objective.g(None, score).backward()
        assert score.grad.item() == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize(
    ("scores", "range_", "want"), [(R, [0.7, 1.2], 2.1866667), (F, [0.0, 0.3], 2.5150)]
)
def test_targets_drawn_per_sample_have_the_closed_form_mean(scores, range_, want):
    """The mean of the half square against a uniform target, which each score draws for itself."""
    torch.manual_seed(0)
    loss = AdversarialLoss(objective=LeastSquares(), real_target=range_)
    many = scores.repeat(200_000)
    target = loss.draw_targets(range_, many)
    assert target.min() >= range_[0] and target.max() <= range_[1] and target.std() > 0.05
    assert LeastSquares().cost(many, target).mean().item() == pytest.approx(want, abs=5e-3)
    if scores is R:
        assert NonSaturating().cost(many, target).mean().item() == pytest.approx(
            1.1950948, abs=2e-3
        )


def test_flips_turn_their_share_of_targets_round():
    torch.manual_seed(0)
    target = AdversarialLoss(objective=Hinge(), flip=0.05).draw_targets(1.0, torch.zeros(100_000))
    assert set(target.unique().tolist()) == {0.0, 1.0}
    assert (target == 0).float().mean().item() == pytest.approx(0.05, abs=0.005)


def test_relativistic_pairing_refuses_to_broadcast():
    with pytest.raises(AssertionError):
        RelativisticPairing().d(torch.zeros(4), torch.zeros(4, 1))


def test_relativistic_average_keeps_the_gradient_of_the_fake_mean():
    fake = F.clone().requires_grad_(True)
    RelativisticAverage(base=NonSaturating()).g(R, fake).backward()
    with_mean = fake.grad.clone()
    fake.grad = None
    (0.5 * NonSaturating().cost(fake - R.mean(), 1.0).mean()).backward()
    assert not torch.allclose(with_mean, fake.grad)


# What a loss without penalties logs.
PLAIN = {"adv", "real", "fake", "contrast", "sign_real"}


def linear(x):
    return (x.flatten(1) * torch.tensor([3.0, 4.0], dtype=x.dtype)).sum(1)


def quadratic(x):
    return 0.5 * x.flatten(1).square().sum(1)


ROWS = torch.tensor([[1.0, 2.0], [0.0, 3.0]], dtype=torch.float64).view(2, 2, 1, 1)


def penalty(critic, x, **options):
    return weighted(GradientPenalty(**options), critic, x, x, None, None, Progress()).item()


@pytest.mark.parametrize("at", ["interpolate", "noise", "real", "fake"])
def test_one_centred_penalty_on_a_linear_critic(at):
    assert penalty(linear, ROWS, weight=10.0, at=at, target=1.0) == pytest.approx(160.0)


@pytest.mark.parametrize("at", ["real", "fake"])
def test_zero_centred_penalties(at):
    assert penalty(linear, ROWS, weight=5.0, at=at, target=0.0) == pytest.approx(
        125.0
    )  # gamma = 10
    assert penalty(linear, ROWS, weight=10.0, at=at, target=0.0) == pytest.approx(
        250.0
    )  # gamma = 20, GAN stability's code
    assert penalty(quadratic, ROWS, weight=1.0, at=at, target=0.0) == pytest.approx(
        7.0
    )  # gamma = 2


def test_norms_are_per_sample():
    value = penalty(quadratic, ROWS, weight=10.0, at="real", target=1.0)
    assert value == pytest.approx(27.6393202, abs=1e-6)
    assert value != pytest.approx(75.167, abs=1e-2), "the norm of the whole batch"


def test_interpolates_lie_between_with_one_weight_per_sample():
    torch.manual_seed(0)
    real = torch.ones(64, 3, 4, 4)
    fake = torch.zeros(64, 3, 4, 4)
    x = GradientPenalty(weight=1.0).choose_points(real, fake)
    assert (x >= 0).all() and (x <= 1).all() and x[:, 0, 0, 0].std() > 0.2
    assert torch.equal(x, x[:, :1, :1, :1].expand_as(x))


def test_dragan_noise_is_one_sided_and_scaled_by_the_deviation():
    torch.manual_seed(0)
    real = torch.randn(256, 1, 8, 8)
    shift = GradientPenalty(weight=1.0, at="noise").choose_points(real, None) - real
    assert shift.min() >= -1e-6 and shift.max() <= 0.5 * real.std() + 1e-6


def test_packed_and_patch_scores_give_one_gradient_per_row():
    x = torch.randn(6, 1, 2, 2)
    packed = BoundCritic(nn.Flatten(), lambda h: h.sum(1, keepdim=True), pack=3)
    assert penalty(packed, x, weight=1.0, at="real", target=0.0) == pytest.approx(
        12
    )  # a slope of 1 in each of 12 inputs
    patches = BoundCritic(
        lambda v: 2 * v, lambda h: h
    )  # 4 patches of slope 2, averaged: 4 inputs of slope 1/2
    assert penalty(patches, x, weight=1.0, at="real", target=0.0) == pytest.approx(1.0)


def test_penalties_follow_autocast_and_sum_in_fp32():
    """A bf16 run's products are bf16's here too; the penalty and its gradient stay as exact."""
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(64, 96), nn.LeakyReLU(0.2), nn.Linear(96, 1)]
    network = nn.Sequential(*layers)
    x = torch.randn(32, 1, 8, 8)
    seen = []
    network[1].register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    terms, gradients = [], []
    for enabled in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            term = GradientPenalty(weight=1.0, at="real")(network, x, None, None, None, Progress())
        term.backward()
        assert term.dtype == torch.float32
        terms.append(term.item())
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.ndim > 1]))
    assert seen == [torch.float32, torch.bfloat16]
    assert terms[1] == pytest.approx(terms[0], rel=0.01)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.999


def test_drift_and_lazy_weights():
    drift = ScoreDrift(weight=0.001, every=4)
    assert weighted(drift, None, None, None, R, F, Progress()).item() == pytest.approx(4 * 0.0025)
    scheduled = ScoreDrift(weight={"start": 0.0, "end": 2.0, "end_kimg": 1.0})
    half = weighted(scheduled, None, None, None, R, F, Progress(nimg=500))
    assert half.item() == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("objective", "sure"),
    [
        (NonSaturating(), 0.5),
        (Hinge(), 0.5),
        (LeastSquares(), 0),
        (LeastSquares(a=-1.0), 0.5),
        (Wasserstein(), 0.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_mean_sign_of_real_scores_is_taken_from_the_boundary(objective, sure):
    # Of the scores -1, 0.25, 0.75 and 2 three are above 0, and two above 1/2, half way between the
    # labels of LSGAN.
    scores = torch.tensor([-1, 0.25, 0.75, 2.0])
    critic = BoundCritic(lambda x: x, lambda x: x, augment=None)
    _, logs = AdversarialLoss(objective=objective).d(critic, scores, scores, Progress())
    assert logs["sign_real"] == sure


def test_penalties_are_added_when_due_and_logged_by_name():
    loss = AdversarialLoss(
        objective=Wasserstein(), penalties={"gp": GradientPenalty(weight=10.0, at="real", every=2)}
    )
    plain, logs = loss.d(linear, ROWS, ROWS, Progress(step=0))
    assert plain.item() == 0 and set(logs) == PLAIN
    added, logs = loss.d(linear, ROWS, ROWS, Progress(step=1))
    assert added.item() == pytest.approx(2 * 160) and logs["sign_real"] == 1
    assert logs["gp"].item() == pytest.approx(16), "the log has neither weight nor interval in it"
    loss, _ = loss.g(linear, ROWS, ROWS, Progress())
    assert loss.item() == pytest.approx(-11.5)


def test_clip_clamps_every_parameter():
    critic = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    AdversarialLoss(objective=Wasserstein(), clip=0.01).constrain(critic)
    assert max(p.abs().max() for p in critic.parameters()) <= 0.01


def test_instance_noise_decays_by_images():
    loss = AdversarialLoss(objective=Hinge(), instance_noise=0.2, instance_noise_kimg=1.0)
    assert [loss.noise(Progress(nimg=n)) for n in (0, 500, 1000, 9000)] == pytest.approx(
        [0.2, 0.1, 0.0, 0.0]
    )
    assert AdversarialLoss(objective=Hinge(), instance_noise=0.2).noise(Progress(nimg=10**9)) == 0.2


def test_schedules():
    half = Schedule(kind="cosine", start=0.05, end=0.005, end_kimg=20_000)
    assert [half(n) for n in (0, 10_000_000, 20_000_000, 30_000_000)] == pytest.approx(
        [0.05, 0.0275, 0.005, 0.005]
    )
    with pytest.raises(UserError, match="no length"):
        Schedule(start=0, end=1, end_kimg=0)


def test_a_penalty_may_have_buffers_and_no_parameters():
    for penalty_ in (GradientPenalty(weight=1.0), ScoreDrift(weight=1.0)):
        assert isinstance(penalty_, Penalty) and not list(penalty_.parameters())


# Passes of the trunk in one d step and one g step: (real, fake), (fake).
def test_features_come_from_the_pass_that_scored():
    calls = []
    critic = BoundCritic(lambda x: calls.append(1) or x, lambda h: h.flatten(1).sum(1))
    x = torch.randn(2, 1, 2, 2)
    y = torch.randn(2, 1, 2, 2)
    critic.features(x)
    critic(x)
    critic(y)
    critic.features(y)
    assert len(calls) == 2


@pytest.mark.parametrize("wrap", [lambda own: own, lambda own: RelativisticAverage(base=own)])
def test_an_objective_that_still_defines_judge_is_told_the_new_name(wrap):
    class Old(Objective):
        def judge(self, scores, target):
            return (scores - target) ** 2

    with pytest.raises(ValueError, match="Old defines judge: judge is called cost since 0.2"):
        AdversarialLoss(objective=wrap(Old()))


def test_every_relativistic_objective_is_taken():
    for objective in (RelativisticPairing(), RALS):
        assert AdversarialLoss(objective=objective).objective is objective
