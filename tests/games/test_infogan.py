"""InfoGAN: exact counts, the papers' numbers, what each phase moves, and codes that can be swept
alone.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers import SMALL, TINY, differences, frozen, small, steps, trainer_for

from gancli.config.build import build_game
from gancli.errors import Problems
from gancli.games.infogan import BLIND, gaussian_nll
from gancli.networks.infogan import InfoGANDiscriminator, InfoGANGenerator


def game_of(*overrides):
    return build_game(small("infogan", *overrides), trust=None)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_exact_counts():
    with torch.device("meta"):
        game = build_game(frozen("model=infogan", "dataset.resolution=28"), trust=None)
        learned = build_game(
            frozen("model=infogan", "dataset.resolution=28", "model.deviation=learned"), trust=None
        )
    critic = game.discriminator
    assert count(game.generator) == 6_652_481
    assert (count(critic.body), count(critic.out)) == (6_558_144, 1_025)
    assert (count(game.q), count(learned.q)) == (133_004, 133_262)


@pytest.mark.parametrize("resolution", [8, 28, 48, [16, 24]])
@pytest.mark.parametrize("norm", ["batch", "layer", "spectral", "none"])
def test_shapes(resolution, norm):
    size = {"resolution": resolution, "channels": 3, "width": 4, "max_width": 8, "units": 16}
    h, w = (resolution, resolution) if isinstance(resolution, int) else resolution
    x = InfoGANGenerator(**size)(torch.randn(2, 74))
    assert x.shape == (2, 3, h, w) and x.abs().max() <= 1
    critic = InfoGANDiscriminator(**size, norm=norm)
    assert critic.trunk(x).shape == (2, critic.feature_dim) and critic(x).shape == (2, 1)
    critic(x).sum().backward()
    assert all(p.grad is not None for p in critic.parameters())


# the papers' numbers


def test_gaussian_nll():
    zero = torch.zeros(1, 1)
    half = torch.full((1, 1), 0.5)
    assert gaussian_nll(zero, zero, zero).item() == pytest.approx(0.9189385, rel=1e-6)
    assert gaussian_nll(half, zero, zero).item() == pytest.approx(1.0439385, rel=1e-6)
    assert gaussian_nll(half, zero, torch.full((1, 1), math.log(0.5))).item() == pytest.approx(
        0.9189385 - math.log(2) + 0.5, rel=1e-6
    )
    c = torch.linspace(-1, 1, 100_001, dtype=torch.float64)[:, None]
    assert gaussian_nll(c, 0 * c, 0 * c).item() == pytest.approx(1.0856052, abs=1e-4)
    assert pytest.approx(1.0856052, rel=1e-7) == BLIND


def test_a_reader_who_knows_nothing_has_no_information():
    game = game_of(
        "model.categories=[10]",
        "model.continuous=2",
        "model.weight_categorical=3",
        "model.weight_continuous=0.5",
    )
    inputs = game.inputs(1000, torch.Generator().manual_seed(0))
    game.read = lambda features: (
        [torch.zeros(1000, 10)],
        torch.zeros(1000, 2),
        torch.zeros(1000, 2),
    )
    term, logs = game.measure_information(torch.zeros(1000, 16), inputs)
    assert logs["ce"].item() == pytest.approx(2.3025851, rel=1e-6) and logs[
        "nll"
    ].item() == pytest.approx(2 * BLIND, abs=0.02)
    assert logs["mi"].item() == pytest.approx(0, abs=0.02) and term.item() == pytest.approx(
        (3 * logs["ce"] + 0.5 * logs["nll"]).item()
    )


def test_a_perfect_reader_has_all_of_it():
    game = game_of("model.categories=[10,4]", "model.continuous=1")
    inputs = game.inputs(1000, torch.Generator().manual_seed(0))
    logits = [
        1e4 * torch.nn.functional.one_hot(inputs[f"code{k}"], size).float()
        for k, size in enumerate((10, 4))
    ]
    game.read = lambda features: (logits, inputs["code2"][:, None], torch.zeros(1000, 1))
    term, logs = game.measure_information(torch.zeros(1000, 16), inputs)
    assert logs["mi"].item() == pytest.approx(math.log(40) + 1 / 6, rel=1e-5)
    assert term.item() == pytest.approx(0.9189385, rel=1e-5)


# the game


def test_who_moves_when():
    trainer = trainer_for(small("infogan", "loss=wgan"))  # n_critic 5: no phase g in the first step
    assert {phase.name: phase.updates for phase in trainer.phases} == {
        "d": ("d", "q"),
        "g": ("g", "q"),
    }
    before = {key: value.clone() for key, value in trainer.game.state_dict().items()}
    steps(trainer, 1)
    moved = {
        key.split(".")[0]
        for key, value in trainer.game.state_dict().items()
        if key in dict(trainer.game.named_parameters()) and not torch.equal(value, before[key])
    }
    assert moved == {"discriminator", "q"}


def test_the_reader_may_move_with_the_discriminator_alone():
    """As in the authors' code: its optimizer then rests in the generator's step.

    The generator still learns from what it reads.
    """
    config = small("infogan", "model.q_moves=d", "model.discriminator.norm=none")
    trainer = trainer_for(config)
    assert {phase.name: phase.updates for phase in trainer.phases} == {"d": ("d", "q"), "g": ("g",)}
    steps(trainer, 2)
    steps_of = {
        name: {int(state["step"]) for state in player.optimizer.state.values()}
        for name, player in trainer.players.items()
    }
    assert steps_of == {"g": {2}, "d": {2}, "q": {2}}
    both = steps(trainer_for(small("infogan", "model.discriminator.norm=none")), 2)
    assert {int(state["step"]) for state in both.players["q"].optimizer.state.values()} == {4}
    loss, logs = trainer.game.g_loss({"image": torch.randn(8, 1, 16, 16)})
    assert loss.item() == pytest.approx((logs["adv"] + logs["ce"] + logs["nll"]).item(), rel=1e-5)


@pytest.mark.parametrize("phase", ["d", "g"])
def test_the_information_reaches_trunk_and_generator_in_both_losses(phase, monkeypatch):
    game = game_of("model.discriminator.norm=none")
    for side in ("d", "g"):
        monkeypatch.setattr(
            game.adversarial,
            side,
            lambda critic, real, fake, progress: (critic(fake).sum() * 0, {}),
        )
    loss, logs = (game.d_loss if phase == "d" else game.g_loss)(
        {"image": torch.randn(8, 1, 16, 16)}
    )
    assert loss.item() == pytest.approx((logs["ce"] + logs["nll"]).item()) and set(logs) == {
        "mi",
        "ce",
        "nll",
    }
    loss.backward()
    for part in (game.generator, game.discriminator.body, game.q):
        assert all(
            p.grad.abs().sum() > 0 for name, p in part.named_parameters() if "weight" in name
        )


def test_q_has_an_optimizer_of_its_own_or_the_generators():
    own = trainer_for(small("infogan", "+optimizer.q={_target_:torch.optim.SGD,lr:0.1}"))
    assert type(own.players["q"].optimizer) is torch.optim.SGD
    shared = trainer_for(small("infogan"))
    rates = {
        name: player.optimizer.param_groups[0]["lr"] for name, player in shared.players.items()
    }
    assert rates["q"] == rates["g"] == 1e-3 != rates["d"]


def test_inputs_are_noise_and_codes():
    game = game_of(
        "model.z_dim=20", "model.categories=[3,5]", "model.continuous=2", "model.latent=normal"
    )
    inputs = game.inputs(4000, torch.Generator().manual_seed(0))
    assert list(inputs) == ["z", "code0", "code1", "code2", "code3"] and inputs["z"].shape == (
        4000,
        10,
    )
    assert inputs["code0"].unique().tolist() == [0, 1, 2] and inputs["code1"].max() == 4
    assert inputs["code2"].abs().max() <= 1 and inputs["code2"].var().item() == pytest.approx(
        1 / 3, abs=0.02
    )
    assert inputs["z"].var().item() == pytest.approx(1, abs=0.02)
    assert game.inputs(9, torch.Generator(), truncation=0.5)["z"].abs().max() <= 0.5
    seen = []
    game.generator.forward = lambda z, label=None: seen.append(z) or torch.zeros(len(z), 1, 16, 16)
    game.sample(inputs, game.generator)
    assert (
        seen[0].shape == (4000, 20)
        and torch.equal(seen[0][:, :10], inputs["z"])
        and torch.equal(seen[0][:, 18], inputs["code2"])
    )
    assert torch.equal(seen[0][:, 10:13].argmax(1), inputs["code0"]) and torch.equal(
        seen[0][:, 10:18].sum(1), torch.full((4000,), 2.0)
    )


def test_the_preview_has_a_column_a_category_and_a_row_a_noise():
    shown = game_of("model.categories=[4]").preview_inputs(6, torch.Generator())
    assert shown["code0"].view(8, 6).tolist() == [[0, 1, 2, 3, 0, 1]] * 8
    rows = shown["z"].view(8, 6, -1)
    assert torch.equal(rows, rows[:, :1].expand_as(rows)) and not torch.equal(rows[0], rows[1])
    assert game_of("model.categories=[]").preview_inputs(3, torch.Generator())["code0"].view(8, 3)[
        5
    ].tolist() == [-1, 0, 1]


def test_what_is_read_in_images():
    game = game_of("model.categories=[3,2]", "model.continuous=2", "model.deviation=learned").eval()
    said = torch.tensor([[0.0, 5, 1, 2, -2, 0.5, -0.25, 9, 9], [7, 5, 1, 0, 1, 1, 0, 9, 9]])
    seen = []
    game.q.forward = lambda features: seen.append(features) or said
    image = torch.randn(2, 1, 16, 16)
    found = game.recognise_codes(image)
    lists = {key: value.tolist() for key, value in found.items()}
    assert lists == {"code0": [1, 0], "code1": [0, 1], "code2": [0.5, 1], "code3": [-0.25, 0]}
    assert torch.equal(seen[0], game.discriminator.trunk(image))


def test_any_generator_will_do():
    networks = "gancli.networks.dcgan.DCGAN"
    shared = [line for line in SMALL["infogan"] if "model.units" not in line]
    setup = frozen(
        "model=infogan",
        *shared,
        *TINY,
        f"model.generator._target_={networks}Generator",
        "~model.generator.units",
        f"model.discriminator._target_={networks}Discriminator",
        "~model.discriminator.units",
        "~model.units",
    )
    trainer = trainer_for(setup)
    before = copy.deepcopy(trainer.game.state_dict())
    assert any(
        "generator" in path for path in differences(before, steps(trainer, 1).game.state_dict())
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["model.z_dim=11"], r"give model.z_dim=12 or more"),
        (["model.categories=[1]"], r"model.categories\[0\]=1 does not fit"),
        (["model.continuous=-1"], "model.continuous=-1 does not fit"),
        (["model.categories=[]", "model.continuous=0"], "categories of 2 or more"),
        (["model.deviation=two"], "does not fit"),
        (
            [
                "+model.generator.classes=3",
                "+model.generator.conditional=true",
                "~model.generator.units",
                "model.generator._target_=gancli.networks.dcgan.DCGANGenerator",
            ],
            "learned without labels",
        ),
    ],
)
def test_wrong_values(wrong, said):
    with pytest.raises(Problems, match=said):
        small("infogan", *wrong)


def test_the_codes_are_an_item_of_the_evaluation():
    from evaluation_helpers import halves, metrics_of

    from gancli.config.run_config import Section
    from gancli.evaluation.samples import evaluate

    train, held = halves()
    setup = frozen(
        "model=infogan",
        "model.width=4",
        "model.units=16",
        "dataset.holdout=797",
        "trainer.device=cpu",
    )
    game = build_game(setup, trust=None)
    options = {
        "train": train,
        "held": held,
        "spec": metrics_of(items=["codes"], n=20),
        "dataset": Section(setup["dataset"]),
        "seed": 0,
        "device": torch.device("cpu"),
    }
    rest = [held.labels]

    def reads_the_label(image):
        first, rest[0] = rest[0].split([len(image), len(rest[0]) - len(image)])
        return {"code0": (first + 3) % 10}

    game.recognise_codes = reads_the_label
    report = evaluate(game=game, generator=game.generator, **options)
    assert report.values == {"code_accuracy": 1.0} and "797 held-out" in report.protocol["codes"]
    plain = build_game(frozen("model=dcgan", "model.width=4"), trust=None)
    report = evaluate(game=plain, generator=plain.generator, **options)
    assert not report.values and not report.skipped, "no reproach to a model that has no codes"
