"""Learning rates, averages and optimizer corrections against their closed forms."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from helpers import differences, frozen, small, steps, trainer_for
from torch import nn

from gancli.config.compose import compose
from gancli.ema import ema_beta, update_ema
from gancli.errors import Problems
from gancli.game import Phase, Progress, due
from gancli.optimizers import Player
from gancli.schedules import lr_factor, ramp
from gancli.seeding import fork_random, seed_of

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.0025, "betas": [0.0, 0.99]}
SHAPE = {
    "start_kimg": 0.0,
    "end_kimg": None,
    "final": 0.0,
    "step_kimg": None,
    "gamma": 0.1,
    "warmup_kimg": 0.0,
}


@pytest.mark.parametrize(
    ("batch", "half_life_kimg", "beta"),
    [(32, 10, 0.99778439), (64, 500, 0.99991128), (512, 5000, 0.99992902)],
)
def test_ema_beta(batch, half_life_kimg, beta):
    assert ema_beta(batch, 10**9, half_life_kimg=half_life_kimg, rampup=None) == pytest.approx(
        beta, abs=1e-8
    )


def test_ema_ramps_up_and_can_be_off():
    assert ema_beta(64, 64_000, half_life_kimg=500, rampup=0.05) == pytest.approx(
        0.5 ** (64 / 3200)
    )
    assert (
        ema_beta(64, 0, half_life_kimg=500, rampup=0.05) == 0
        and ema_beta(64, 10, half_life_kimg=0, rampup=None) == 0
    )


def test_ema_averages_parameters_and_copies_buffers():
    shadow = nn.BatchNorm1d(2)
    module = nn.BatchNorm1d(2)
    with torch.no_grad():
        module.weight.fill_(3)
        module.running_mean.fill_(7)
        module.num_batches_tracked.fill_(5)
    update_ema(shadow, module, 0.75)
    assert (
        shadow.weight.tolist() == [1.5, 1.5]
        and shadow.running_mean.tolist() == [7, 7]
        and shadow.num_batches_tracked == 5
    )


@pytest.mark.parametrize(
    ("lazy", "lr", "beta2"),
    [(16, 0.00235294, 0.99058546), (4, 0.002, 0.99199197), (None, 0.0025, 0.99)],
)
def test_lazy_adam(lazy, lr, beta2):
    group = Player([nn.Linear(1, 1)], ADAM, lazy=lazy).optimizer.param_groups[0]
    assert group["lr"] == pytest.approx(lr, abs=1e-8) and group["betas"][1] == pytest.approx(
        beta2, abs=1e-8
    )


def betas_of(spec, *, nimg, lazy=None):
    player = Player([nn.Linear(1, 1)], ADAM | spec, lazy=lazy)
    player.step(nimg)
    return player.optimizer.param_groups[0]["betas"]


def test_beta2_may_move():
    moving = {"beta2": {"kind": "cosine", "start": 0.9, "end": 0.99, "end_kimg": 20.0}}
    assert [
        betas_of(moving, nimg=nimg)[1] for nimg in (0, 5_000, 10_000, 20_000, 10**9)
    ] == pytest.approx([0.9, 0.9131802, 0.945, 0.99, 0.99])
    assert betas_of(moving, nimg=10_000)[0] == 0 and betas_of(moving, nimg=0, lazy=4)[
        1
    ] == pytest.approx(0.9**0.8)
    assert (
        betas_of({"beta2": 0.95}, nimg=7)[1] == 0.95
        and betas_of({"beta2": None}, nimg=7)[1] == betas_of({}, nimg=7)[1] == 0.99
    )


def test_beta2_takes_part_in_the_step():
    """Adam's second step by its definition, with another beta2 than its first."""
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.zero_()
    player = Player(
        [layer], ADAM | {"lr": 1.0, "beta2": {"start": 0.5, "end": 0.9, "end_kimg": 0.01}}
    )
    at = 0.0
    v = 0.0
    for step, (grad, nimg, beta2) in enumerate(((3.0, 0, 0.5), (1.0, 5, 0.7)), 1):
        player.begin()
        layer.weight.grad = torch.tensor([[grad]])
        player.step(nimg)
        v = beta2 * v + (1 - beta2) * grad**2
        at -= grad / ((v / (1 - beta2**step)) ** 0.5 + 1e-8)
        assert layer.weight.item() == pytest.approx(at, rel=1e-5)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.g.beta2={start: 0.9, end: 1.0, end_kimg: 10}", "less than 1"),
        ("optimizer.d.beta2=-0.1", "0 or more"),
        ("optimizer.g.beta2={start: 0.9}", "needs start, end, end_kimg"),
        ("optimizer.g.beta2={start: 0, end: 0.9, end_kimg: 0}", "no length"),
        ("optimizer.g.beta2=often", "does not fit"),
        ("ema.half_life_kimg={start: 0, end: -5, end_kimg: 10}", "0 or more"),
        ("ema.half_life_kimg={start: 0, stop: 5, end_kimg: 10}", "stop does not fit"),
        ("ema.half_life_kimg=-1", "0 or more"),
        ("ema.half_life_kimg={start: 0, end: 5, end_kimg: soon}", "end_kimg does not fit"),
        ("loss.penalties.r1.weight={start: 1, end: 2}", "needs start, end, end_kimg"),
    ],
)
def test_mistaken_schedules_are_told(override, words):
    with pytest.raises(Problems) as raised:
        frozen("model=mlp", "loss=r1", "optimizer=adam_b0", override)
    assert words in str(raised.value.problems)


def test_beta2_needs_betas():
    with pytest.raises(Problems) as raised:
        frozen("model=mlp", "optimizer=rmsprop", "optimizer.g.beta2=0.9")
    assert "there are none" in str(raised.value.problems)


@pytest.mark.parametrize(
    ("words", "notes"),
    [
        (["optimizer.g.lr=1e-4"], []),
        (["optimizer.g.schedule=constant"], []),
        (["optimizer.g.schedule=cosine", "optimizer.g.start_kimg=0"], []),
        (["optimizer=ttur", "optimizer.g.schedule=cosine", "optimizer.g.end_kimg=9"], []),
        (
            ["optimizer.g.schedule=cosine", "optimizer.g.end_kimg=90", "optimizer.d.final=0.5"],
            ["optimizer.g.schedule=cosine goes by start_kimg=20, final=0.2"],
        ),
        (
            ["+optimizer.e.schedule=linear", "optimizer.d.schedule=step"],
            [
                "optimizer.d.schedule=step goes by start_kimg=20",
                "optimizer.e.schedule=linear goes by start_kimg=20, end_kimg=48, final=0.2",
            ],
        ),
    ],
)
def test_a_typed_schedule_that_begins_late_is_said(words, notes):
    """The default optimizer has a start of its own, 20 thousand images."""
    said = compose("train", words).notes
    assert [note.partition(", which you did not type: ")[0] for note in said] == notes
    assert all(note.endswith(".start_kimg=0 begins at once") for note in said)


def test_an_average_may_follow_a_schedule():
    """Half-lives 0, then 8 images, then 16: the average copies, then follows."""
    trainer = trainer_for(
        small(
            "mlp", "ema.half_life_kimg={start: 0, end: 0.016, end_kimg: 0.016}", "ema.rampup=null"
        )
    )
    (name, p), shadow = (
        next(iter(trainer.game.generator.named_parameters())),
        dict(trainer.ema.named_parameters()),
    )
    want = None
    for beta in (0.0, 0.5, 0.5**0.5, 0.5**0.5):
        steps(trainer, 1)
        want = p.detach().clone() if want is None else want.lerp(p.detach(), 1 - beta)
        assert torch.allclose(shadow[name], want, atol=1e-7)


def test_a_config_from_before_beta2_plays_on():
    config = small("mlp")
    old = copy.deepcopy(config)
    for spec in old["optimizer"].values():
        del spec["beta2"]
    now, then = (steps(trainer_for(setup), 2).game.state_dict() for setup in (config, old))
    assert differences(now, then) == []


def test_a_player_may_refer_to_its_own_keys():
    config = frozen(
        "model=mlp",
        "optimizer=adam_b05",
        "optimizer.g.schedule=linear",
        "optimizer.g.end_kimg=5",
        "optimizer.d.warmup_kimg=${optimizer.g.end_kimg}",
    )
    assert config["optimizer"]["g"]["end_kimg"] == config["optimizer"]["d"]["warmup_kimg"] == 5


def test_lr_factors():
    linear = SHAPE | {"kind": "linear", "start_kimg": 100.0, "end_kimg": 200.0}
    assert [lr_factor(n, **linear) for n in (0, 100_000, 150_000, 200_000, 10**9)] == pytest.approx(
        [1, 1, 0.5, 0, 0]
    )
    cosine = SHAPE | {"kind": "cosine", "end_kimg": 20_000.0, "final": 0.25}
    assert [lr_factor(n, **cosine) for n in (0, 10_000_000, 20_000_000)] == pytest.approx(
        [1, 0.625, 0.25]
    )
    step = SHAPE | {"kind": "step", "step_kimg": 10.0, "gamma": 0.5}
    assert [lr_factor(n, **step) for n in (0, 9_999, 10_000, 25_000)] == pytest.approx(
        [1, 1, 0.5, 0.25]
    )
    warm = SHAPE | {"kind": "constant", "warmup_kimg": 10.0}
    assert [lr_factor(n, **warm) for n in (0, 5_000, 10_000, 20_000)] == pytest.approx(
        [0, 0.5, 1, 1]
    )
    assert ramp(50, start_kimg=0, end_kimg=0.1) == 0.5


def test_a_learning_rate_in_pieces():
    """Cosines that restart, a gap in which the end of the one before holds, and a step."""
    pieces = [
        {"kind": "cosine", "start": 1.0, "end": 0.2, "start_kimg": 1.0, "end_kimg": 3.0},
        {"kind": "cosine", "start": 1.0, "end": 0.2, "start_kimg": 3.0, "end_kimg": 5.0},
        {"start": 0.5, "end": 0.5, "start_kimg": 6.0, "end_kimg": 7.0},
    ]
    shape = SHAPE | {"kind": pieces}
    positions = (0, 1000, 2000, 2999, 3000, 4000, 5500, 6000, 10**9)
    assert [lr_factor(n, **shape) for n in positions] == pytest.approx(
        [1, 1, 0.6, 0.2, 1, 0.6, 0.2, 0.5, 0.5], abs=1e-5
    )
    ramped = SHAPE | {"kind": [{"kind": "rampup", "start": 0.0, "end": 1.0, "end_kimg": 40.0}]}
    assert [lr_factor(n, **ramped) for n in (0, 20_000, 40_000, 90_000)] == pytest.approx(
        [0.0067379, 0.2865048, 1, 1], abs=1e-6
    )


def test_pieces_move_a_players_rate_and_a_resume_goes_on_in_them():
    """16 images a step: the second piece has begun at the third step."""
    pieces = "[{start: 1, end: 0.5, end_kimg: 0.016}, {start: 2, end: 2, start_kimg: 0.032, "
    words = (f"optimizer.g.schedule={pieces}end_kimg: 1}}]", "trainer.batch_size=16")
    config = small("mlp", "optimizer=adam_b05", *words)
    trainer = trainer_for(config)
    rates = []
    for _ in range(4):
        steps(trainer, 1)
        rates.append(trainer.players["g"].optimizer.param_groups[0]["lr"])
        if len(rates) == 2:
            kept = copy.deepcopy(trainer.state_dict())
    assert rates == pytest.approx([2e-4, 1e-4, 4e-4, 4e-4])
    resumed = trainer_for(config)
    resumed.load_state_dict(kept)
    assert differences(trainer.state_dict(), steps(resumed, 2).state_dict()) == []


@pytest.mark.parametrize(
    ("pieces", "says"),
    [
        ("[]", "no pieces"),
        ("[{start: 1, end: 0}]", "it needs start, end, end_kimg"),
        ("[{start: 1, end: 0, end_kimg: 2, kind: cubic}]", "'cubic' is not known"),
        ("[{start: 1, end: -1, end_kimg: 2}]", "0 or more"),
        (
            "[{start: 1, end: 0, end_kimg: 2}, {start: 1, end: 0, start_kimg: 1, end_kimg: 3}]",
            r"schedule\[1\] starts at 1 thousand images",
        ),
    ],
)
def test_pieces_that_do_not_fit_are_refused(pieces, says):
    with pytest.raises(Problems) as raised:
        frozen("model=mlp", f"optimizer.g.schedule={pieces}")
    assert re.search(says, str(raised.value.problems))


def test_l1_clip_and_decay_reach_the_gradient():
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, -3.0]]))
    sgd = {"_target_": "torch.optim.SGD", "lr": 1.0, "l1": 0.5}
    player = Player([layer], sgd)
    player.begin()
    layer.weight.grad = torch.zeros(1, 2)
    player.step(0)
    assert layer.weight.tolist() == [[1.5, -2.5]]
    player = Player([layer], sgd | {"l1": 0.0, "clip": 1.0})
    layer.weight.grad = torch.tensor([[30.0, 40.0]])
    player.step(0)
    assert layer.weight[0].tolist() == pytest.approx([1.5 - 0.6, -2.5 - 0.8], abs=1e-5)


def test_what_is_frozen_at_the_start_stays_frozen():
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    net[0].requires_grad_(False)
    player = Player([net, net], ADAM)
    player.begin()
    assert len(player.parameters) == 2 and not net[0].weight.requires_grad


def test_due_meets():
    assert [due(s, 5) for s in range(10)] == [s in (4, 9) for s in range(10)]
    phase = Phase(name="d", loss=None, updates=(), every=2, start=3, stop=8)
    assert [s for s in range(12) if phase.due(s)] == [3, 5, 7]
    assert any(due(s, 5) and due(s, 16) for s in range(80))
    assert Progress().attempt == 0


def test_seeds_depend_on_every_part_and_forks_put_back():
    assert len({seed_of(0, a, p, s) for a in range(2) for p in ("d", "g") for s in range(3)}) == 12
    assert seed_of(1, "a") == 4207620368297011618, "every run of every user would change"
    state = torch.random.get_rng_state()
    with fork_random(3, torch.device("cpu")):
        a = torch.rand(2)
    with fork_random(3, torch.device("cpu")):
        assert torch.equal(a, torch.rand(2))
    assert torch.equal(state, torch.random.get_rng_state())
