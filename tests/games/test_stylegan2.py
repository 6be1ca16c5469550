"""StyleGAN2's game: lazy phases and their optimizers, R1 and path length by golden values, mixing,
truncation, ADA.
"""

from __future__ import annotations

import copy
import math
import re

import pytest
import torch
from helpers import differences, frozen, small, steps, trainer_for
from torch import nn

from gancli.augment.base import Augment
from gancli.config.build import build_game
from gancli.errors import Problems
from gancli.games.stylegan2 import measure_path_lengths
from gancli.inference.sampling import draw_inputs, interpolate, list_options
from gancli.networks.stylegan2 import StyleGAN2Generator

PAPER = ("model.r1_every=16", "model.pl_every=4")
LABELS = torch.arange(8)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def game_of(*overrides):
    return build_game(small("stylegan2", *overrides), trust=None)


def batch_of(n=8, **more):
    return {"image": torch.rand(n, 1, 16, 16) * 2 - 1} | more


def phases_of(*overrides):
    return {phase.name: phase for phase in game_of(*overrides).phases()}


def test_phases():
    found = phases_of(*PAPER)
    assert list(found) == ["d", "d_r1", "g", "g_pl"]
    assert [(p.every, p.lazy, p.updates) for p in found.values()] == [
        (1, False, ("d",)),
        (16, True, ("d",)),
        (1, False, ("g",)),
        (4, True, ("g",)),
    ]
    assert list(phases_of("model.r1_gamma=0", "model.pl_weight=0")) == ["d", "g"]
    five = phases_of(*PAPER, "loss.n_critic=5")
    assert (five["d_r1"].every, five["g"].every, five["g_pl"].every) == (16, 5, 20), (
        "every fourth of the generator's steps"
    )


def test_lazy_optimizers():
    players = trainer_for(small("stylegan2", *PAPER)).players
    for name, lr, beta in (("d", 0.00235294, 0.99058546), ("g", 0.002, 0.99199197)):
        group = players[name].optimizer.param_groups[0]
        assert group["lr"] == pytest.approx(lr, rel=1e-5) and list(group["betas"]) == [
            0,
            pytest.approx(beta, rel=1e-6),
        ]
        assert group["eps"] == 1e-8
    players = trainer_for(small("stylegan2", "model.r1_gamma=0", "model.pl_weight=0")).players
    assert [players[name].optimizer.param_groups[0]["lr"] for name in "dg"] == [0.0025, 0.0025], (
        "nothing is lazy"
    )


def test_r1_of_a_linear_critic():
    """w = (3, 4) is 25, and gamma 10 makes 125 of it; every 16th step it weighs 16
    times as much.
    """
    game = game_of(*PAPER, "model.r1_gamma=10")
    w = torch.tensor([3.0, 4.0])
    game.discriminator.trunk = lambda x, label=None: x.flatten(1)[:, :2]
    game.discriminator.head = lambda h, label=None: (h * w).sum(1, keepdim=True)
    loss, logs = game.r1_loss(batch_of())
    assert loss.item() == pytest.approx(16 * 125, rel=1e-5)
    assert logs["r1"].item() == pytest.approx(25, rel=1e-5), "the log has no weight in it"


class Twice(Augment):
    def forward(self, x):
        return 2 * x


def test_r1_is_taken_before_the_augmentation():
    game = game_of("model.r1_gamma=10")
    game.discriminator.trunk = lambda x, label=None: x.flatten(1)[:, :2]
    game.discriminator.head = lambda h, label=None: h.sum(1, keepdim=True)
    plain = game.r1_loss(batch_of())[1]["r1"]
    game.augment = Twice()
    assert game.r1_loss(batch_of())[1]["r1"].item() == pytest.approx(4 * plain.item(), rel=1e-5)


def test_gamma_follows_pixels_and_batch():
    assert game_of().r1.weight(0) * 2 == pytest.approx(0.0002 * 256 / 8)
    rule = (
        "model.r1_gamma=null",
        "model.pl_weight=0",
        "dataset.channels=3",
        "dataset.resolution=32",
        "trainer.batch_size=64",
    )
    assert game_of(*rule).r1.weight(0) * 2 == pytest.approx(0.0032)
    assert game_of("model.batch_size=null", "model.r1_gamma=1").r1.weight(0) == 0.5
    with pytest.raises(Problems, match="follows the batch size"):
        small("stylegan2", "model.batch_size=null")


def test_path_length_of_a_linear_generator():
    """image = A w: the mean of |J^T y|^2 is |A|_F^2 / (H W)."""
    a = torch.randn(3 * 4 * 6, 5)
    w = torch.randn(20000, 1, 5, requires_grad=True)
    lengths = measure_path_lengths((w[:, 0] @ a.T).view(-1, 3, 4, 6), w)
    assert lengths.shape == (20000,) and lengths.square().mean().item() == pytest.approx(
        a.square().sum().item() / 24, rel=0.03
    )
    two = torch.randn(20000, 2, 5, requires_grad=True)
    half = measure_path_lengths((two[:, 0] @ a.T).view(-1, 3, 4, 6), two)
    assert half.square().mean().item() == pytest.approx(a.square().sum().item() / 48, rel=0.03), (
        "the mean over styles, not the sum"
    )


@pytest.mark.parametrize(("resolution", "gamma"), [(1024, 1.05964e-7), (256, 2.17983e-6)])
def test_weight_2_is_the_papers_gamma(resolution, gamma):
    assert math.log(2) / (resolution**2 * (math.log(resolution) - math.log(2))) == pytest.approx(
        gamma, rel=1e-5
    )
    with torch.device("meta"):
        layers = StyleGAN2Generator(resolution=resolution, channels=3).layers
    assert 2 / (resolution**2 * layers) == pytest.approx(gamma, rel=1e-5)


def test_path_length_loss_and_its_running_mean(monkeypatch):
    game = game_of(*PAPER)
    lengths = torch.tensor([1.0, 2, 3, 6], requires_grad=True)
    seen = []
    monkeypatch.setattr(
        "gancli.games.stylegan2.measure_path_lengths",
        lambda image, styles: seen.append(image) or lengths,
    )
    loss, logs = game.pl_loss(batch_of())
    assert (
        game.pl_mean.item() == pytest.approx(0.03)
        and logs["length"].item() == 3
        and len(seen[0]) == 4
    ), "half of the images"
    penalty = sum((x - 0.03) ** 2 for x in (1, 2, 3, 6)) / 4
    assert logs["pl"].item() == pytest.approx(penalty) and loss.item() == pytest.approx(
        2 * 4 * penalty
    )
    loss.backward()
    of_mean = 0.01 / 4 * sum(x - 0.03 for x in (1, 2, 3, 6))
    want = [8 * 2 / 4 * (x - 0.03 - of_mean) for x in (1, 2, 3, 6)]
    assert lengths.grad.tolist() == pytest.approx(want), "the batch's share of the mean counts"
    assert not game.pl_mean.requires_grad, "what is kept does not"
    game.pl_loss(batch_of())
    assert game.pl_mean.item() == pytest.approx(0.03 * 0.99 + 0.03)


def moved(trainer, name):
    before = copy.deepcopy(trainer.game.state_dict())
    phase = next(phase for phase in trainer.phases if phase.name == name)
    logs, _ = trainer.play(phase, trainer.draw_batch())
    after = trainer.game.state_dict()
    return {key.split(".")[0] for key in after if not torch.equal(after[key], before[key])}, logs


def test_who_moves_in_which_phase():
    trainer = trainer_for(small("stylegan2"))
    assert moved(trainer, "d_r1")[0] == {"discriminator"}
    keys, logs = moved(trainer, "g_pl")
    assert keys == {"generator", "pl_mean"} and logs["g_pl/length"] > 0
    assert "pl_mean" in trainer.game.state_dict() and "generator.w_avg" in trainer.game.state_dict()


def test_a_clipped_critic_stays_clipped_after_its_r1():
    trainer = trainer_for(small("stylegan2", "loss.clip=0.01", "model.r1_gamma=1000"))
    moved(trainer, "d_r1")
    assert max(p.abs().max() for p in trainer.game.discriminator.parameters()) <= 0.01


def test_path_lengths_move_towards_the_mean():
    """A mean that is held at 0 draws them there."""
    trainer = trainer_for(small("stylegan2", "model.pl_decay=0"))
    lengths = [moved(trainer, "g_pl")[1]["g_pl/length"].item() for _ in range(30)]
    assert sum(lengths[-5:]) < 0.7 * sum(lengths[:5])


def test_styles_mix_in_training():
    game = game_of()
    inputs = game.draw_training_inputs(4000, None)
    mask = inputs["mask"]
    layers = game.generator.layers
    assert (
        mask.shape == (4000, layers)
        and not mask[:, 0].any()
        and torch.equal(mask, mask.sort(1).values)
    ), "from a layer on"
    assert mask.any(1).float().mean().item() == pytest.approx(0.9, abs=0.02)
    assert mask.sum(1).bincount()[1:].float().std() < 120 and not torch.equal(
        inputs["z"], inputs["other"]
    )
    assert set(game_of("model.mixing=0").draw_training_inputs(3, None)) == {"z"}


def test_the_mean_style_moves_in_training_and_not_in_sampling():
    game = game_of()
    game.fake(batch_of())
    mean = game.generator.w_avg.clone()
    assert mean.abs().max() > 0
    game.sample(game.inputs(4, torch.Generator()), copy.deepcopy(game.generator).eval())
    game.eval().fake(batch_of())
    assert torch.equal(game.generator.w_avg, mean)
    trainer = steps(trainer_for(small("stylegan2")), 2)
    assert torch.equal(trainer.ema.w_avg, trainer.game.generator.w_avg), "copied, not averaged"


def test_fakes_and_path_lengths_have_the_batchs_labels():
    game = game_of("model.conditional=true")
    seen = []
    game.generator.mapping.register_forward_hook(lambda module, args, out: seen.append(args[1]))
    game.fake(batch_of(label=LABELS))
    game.pl_loss(batch_of(label=LABELS))
    assert [label.tolist() for label in seen] == [list(range(8))] * 2 + [list(range(4))] * 2
    assert game.needs == ("image", "label") and game.discriminator.mapping.classes == 10


def test_sampling_options():
    game = game_of().eval()
    own = {"truncation", "truncated_layers", "noise", "mix", "level", "levels"}
    assert list_options(game) == own and list_options(game_of("model.conditional=true")) == own | {
        "label",
        "per_class",
        "sweep",
    }
    g = game.generator
    g.w_avg.normal_()
    for layer in g.styled:
        nn.init.ones_(layer.strength)
    rng = torch.Generator()
    plain, half = (
        game.inputs(3, rng.manual_seed(1), **more)
        for more in ({}, {"truncation": 0.5, "truncated_layers": 2})
    )
    assert (
        set(plain) == {"z"}
        and torch.equal(plain["z"], half["z"])
        and half["psi"].tolist() == [0.5] * 3
    )
    seen = []
    g.synthesis = lambda styles, noise, level: (
        seen.append((styles, noise)) or StyleGAN2Generator.synthesis(g, styles, noise=noise)
    )
    game.sample(plain, g, noise="none")
    game.sample(half, g)
    (whole, none), (near, noise) = seen
    assert (none, noise) == ("none", "random") and torch.allclose(
        near[:, 2:], whole[:, 2:], atol=1e-6
    )
    assert torch.allclose(near[:, :2], (whole[:, :2] + g.w_avg) / 2, atol=1e-6)
    assert torch.equal(game.sample(plain, g, noise="fixed"), game.sample(plain, g, noise="fixed"))
    assert not torch.equal(game.sample(plain, g), game.sample(plain, g))
    assert torch.equal(
        game.sample({"styles": whole}, g, noise="fixed"), game.sample(plain, g, noise="fixed")
    )
    at_mean = game.inputs(3, rng, truncation=0.0)
    assert torch.allclose(
        game.sample(at_mean, g, noise="fixed")[0],
        game.sample(at_mean, g, noise="fixed")[2],
        atol=1e-5,
    )
    walk = interpolate(plain | {"psi": half["psi"], "psi_layers": half["psi_layers"]}, half, 4)
    assert game.sample(walk, g).shape == (12, 1, 16, 16) and draw_inputs(
        game, 2, seed=0, options={"truncation": 0.7}
    )["psi"].shape == (2,)


def test_a_grid_of_sources_and_destinations():
    game = game_of().eval()
    a, b = (game.inputs(2, torch.Generator().manual_seed(k)) for k in (0, 1))
    both = game.mix_styles(a, b, first=2, last=4)
    seen = []
    game.generator.synthesis = lambda styles, noise, level: seen.append(styles)
    for inputs in (a, b, both):
        game.sample(inputs, game.generator)
    assert torch.equal(seen[2][:, 2:4], seen[1][:, 2:4])
    assert torch.equal(seen[2][:, :2], seen[0][:, :2]) and torch.equal(
        seen[2][:, 4:], seen[0][:, 4:]
    )


@pytest.mark.parametrize("conditional", ["true", "false"])
def test_with_ada_it_is_stylegan2_ada(conditional):
    trainer = trainer_for(
        small(
            "stylegan2",
            "augment=ada",
            "augment.p=0.5",
            "augment.interval=1",
            "augment.kimg=1",
            f"model.conditional={conditional}",
        )
    )
    steps(trainer, 3)
    assert (
        trainer.game.augment.p.item() != 0.5
        and trainer.logs["d_r1/r1"].isfinite()
        and trainer.logs["d_r1/r1"] > 0
    )
    state = steps(
        trainer_for(
            small("stylegan2", "augment=ada", "augment.p=0.5", f"model.conditional={conditional}")
        ),
        1,
    ).state_dict()
    plain = steps(
        trainer_for(small("stylegan2", f"model.conditional={conditional}")), 1
    ).state_dict()
    assert differences(state["game"], plain["game"])


def test_micro_batches_play_every_phase():
    trainer = steps(trainer_for(small("stylegan2", "trainer.accumulate=2")), 2)
    assert {"d_r1/r1", "g_pl/pl", "d/adv", "g/adv"} <= trainer.logs.keys()


@pytest.mark.parametrize(
    ("experiment", "g", "d", "phases", "gamma"),
    [
        ("stylegan2_ffhq1024_f", 30_370_060, 29_012_513, 4, 10),
        ("stylegan2_ffhq1024_e", 24_900_764, 24_038_161, 4, 100),
        ("stylegan2_ada_cifar10", 19_947_539, 20_720_641, 3, 0.01),
        ("stylegan2_ada_cifar10_cond", 20_215_315, 23_089_664, 3, 0.01),
        ("stylegan2_ada_folder64", 22_243_608, 23_407_361, 4, 0.0256),
    ],
)
def test_experiments(experiment, g, d, phases, gamma):
    config = frozen(f"experiment={experiment}")
    with torch.device("meta"):
        game = build_game(config, trust=None)
    assert [
        sum(p.numel() for p in network.parameters())
        for network in (game.generator, game.discriminator)
    ] == [g, d]
    assert len(game.phases()) == phases and 2 * game.r1.weight(0) == pytest.approx(gamma)
    kimg = config["trainer"]["steps"] * config["trainer"]["batch_size"] / 1000
    assert kimg == (100_000 if "cifar" in experiment else 25_000)
    assert config["optimizer"]["d"]["lr"] == (0.002 if "1024" in experiment else 0.0025)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("model.mixing=1.5", "model.mixing=1.5.*from 0 to 1"),
        ("model.pl_decay=-1", "model.pl_decay=-1.*0 or more and less than 1"),
        ("model.r1_gamma=-1", "model.r1_gamma=-1.*0 or more"),
        ("model.pl_every=0", "model.pl_every=0.*1 or more"),
        ("model.pl_shrink=0", "model.pl_shrink=0.*1 or more"),
        ("model.discriminator.architecture=skip", "does not fit"),
        (
            "model.generator._target_=gancli.networks.dcgan.DCGANGenerator",
            "takes no|no StyleGAN2Generator",
        ),
    ],
)
def test_wrong_values(wrong, said):
    with pytest.raises(Problems) as raised:
        small("stylegan2", wrong)
    assert re.search(said, str(raised.value.problems))


def test_the_gradient_of_the_path_length_at_every_weight():
    """Which takes a second derivative of every operation, against differences of the length itself,
    in float64.
    """
    g = game_of("model.channel_max=2", "dataset.resolution=8").double().generator
    for layer in g.styled:
        nn.init.ones_(layer.strength)
    z = torch.randn(2, 8, dtype=torch.float64)

    def length():
        torch.manual_seed(5)
        styles = g.styles(z)
        return measure_path_lengths(g.synthesis(styles, noise="fixed"), styles).square().mean()

    def at(p, step):
        with torch.no_grad():
            p.add_(step)
            value = length_there()
            p.sub_(step)
        return value

    def length_there():
        with torch.enable_grad():
            return length().item()

    length().backward()
    checked = {
        name: p
        for name, p in g.named_parameters()
        if p.grad is not None and p.grad.abs().max() > 1e-9
    }
    assert {name.rpartition(".")[2] for name in checked} == {"weight", "bias", "strength", "const"}
    for name, p in checked.items():
        step = 1e-6 * p.grad / p.grad.norm()
        assert (at(p, step) - at(p, -step)) / 2e-6 == pytest.approx(
            p.grad.norm().item(), rel=1e-3
        ), name
