"""R3GAN's game: fresh reals for the generator, and everything that moves with the images shown,
resumed to the bit.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers import frozen, small, steps, trainer_for
from matrix_helpers import check_cell
from torch import nn

from gancli.config.build import build, build_game
from gancli.ema import ema_beta
from gancli.games.r3gan import R3GAN
from gancli.optimizers import Player
from gancli.schedules import schedule

HALF = "{kind: cosine, start: 0.2, end: 0.02, end_kimg: 0.04}"


def test_the_generator_meets_reals_of_its_own():
    trainer = trainer_for(small("r3gan"))
    assert isinstance(trainer.game, R3GAN) and [
        (phase.name, phase.fresh) for phase in trainer.phases
    ] == [("d", False), ("g", True)]
    seen = {}
    adversarial = trainer.game.adversarial

    def note(side, play, critic, real, fake, progress):
        seen[side] = (real, fake)
        return play(critic, real, fake, progress)

    adversarial.d = partial(note, "d", adversarial.d)
    adversarial.g = partial(note, "g", adversarial.g)
    steps(trainer, 1)
    (d_real, d_fake), (g_real, g_fake) = seen["d"], seen["g"]
    assert d_real.shape == g_real.shape == (8, 1, 8, 8) and trainer.progress.nimg == 8, (
        "and they are not counted"
    )
    apart = (d_real[:, None] - g_real).flatten(2).abs().amax(2)
    assert (apart.amin(1) > 0).any() and not torch.equal(d_fake, g_fake)


def test_reals_pull_on_both_players():
    trainer = trainer_for(small("r3gan"))
    game = trainer.game.requires_grad_(True)
    batch = trainer.draw_batch()
    (g, _), (d, logs) = game.g_loss(batch), game.d_loss(batch)
    assert g.item() == pytest.approx(0.69, abs=0.3) and {"adv", "r1", "r2"} <= logs.keys()
    (g + d).backward()
    for side in (game.generator, game.discriminator):
        assert all(p.grad.isfinite().all() for p in side.parameters() if p.grad is not None)


def test_conditional_samples_follow_their_label():
    game = build_game(small("r3gan", "model.conditional=true"), trust=None)
    assert game.needs == ("image", "label")
    inputs = game.inputs(4, torch.Generator().manual_seed(0), label=torch.tensor([3, 3, 4, 5]))
    image = game.sample(inputs, game.generator)
    assert image.shape == (4, 1, 8, 8) and not torch.equal(
        image, game.sample(inputs | {"label": inputs["label"].flip(0)}, game.generator)
    )


def test_all_schedules_of_the_paper():
    """Cosines over 20 million images, then constant: at their start, middle and end, and far
    beyond.
    """
    config = frozen("experiment=r3gan_cifar10", "dataset.download=false")
    places = (0, 10_000_000, 20_000_000, 10**12)
    weights = [schedule(config["loss"]["penalties"][name]["weight"]) for name in ("r1", "r2")]
    for weight in weights:
        assert [2 * weight(nimg) for nimg in places] == pytest.approx(
            [0.05, 0.0275, 0.005, 0.005]
        ), "gamma"
    half_life = schedule(config["ema"]["half_life_kimg"])
    assert [half_life(nimg) for nimg in places] == pytest.approx([0, 2500, 5000, 5000])
    assert ema_beta(512, 0, half_life_kimg=half_life(0), rampup=config["ema"]["rampup"]) == 0
    assert ema_beta(
        512, 10**9, half_life_kimg=half_life(10**9), rampup=config["ema"]["rampup"]
    ) == pytest.approx(0.99992902, abs=1e-8)
    augment = build(config["augment"], where="augment", trust=None)
    for nimg, p in zip(places, (0, 0.275, 0.55, 0.55), strict=True):
        augment.adapt(torch.ones(()), nimg)
        assert augment.p.item() == pytest.approx(p)
    strengths = config["augment"]["strength"]
    assert {name for name, value in strengths.items() if value == 0.5} == {
        "brightness",
        "contrast",
        "lumaflip",
        "hue",
        "saturation",
    }
    assert sum(value == 1 for value in strengths.values()) == 8 and len(strengths) == 13, (
        "geometry and cutout"
    )
    for name in ("g", "d"):
        player = Player([nn.Linear(1, 1)], config["optimizer"][name])
        for nimg, lr, beta2 in zip(
            places, (2e-4, 1.25e-4, 5e-5, 5e-5), (0.9, 0.945, 0.99, 0.99), strict=True
        ):
            player.step(nimg)
            group = player.optimizer.param_groups[0]
            assert group["lr"] == pytest.approx(lr) and group["betas"] == pytest.approx((0, beta2))


@pytest.mark.parametrize(
    ("experiment", "gamma", "p", "half_life"),
    [("r3gan_cifar10", 0.005, 0.55, 5000), ("r3gan_ffhq256", 15, 0.3, 500)],
)
def test_experiments_end_where_the_paper_does(experiment, gamma, p, half_life):
    config = frozen(f"experiment={experiment}")
    assert [2 * config["loss"]["penalties"][name]["weight"]["end"] for name in ("r1", "r2")] == [
        gamma,
        gamma,
    ]
    assert (config["augment"]["p"]["end"], config["ema"]["half_life_kimg"]["end"]) == (p, half_life)


def test_one_end_moves_all_of_the_optimizer():
    config = frozen("model=r3gan", "optimizer.g.end_kimg=300")
    for name in ("g", "d"):
        spec = config["optimizer"][name]
        assert (spec["end_kimg"], spec["beta2"]["end_kimg"], spec["schedule"]) == (
            300,
            300,
            "cosine",
        )


def test_every_schedule_resumes_exactly(tmp_path):
    check_cell(
        small(
            "r3gan",
            "ema=r3gan",
            "ema.half_life_kimg.end=0.05",
            "ema.half_life_kimg.end_kimg=0.04",
            "augment=r3gan",
            "augment.p.end_kimg=0.04",
            "optimizer.g.end_kimg=0.04",
            f"loss.penalties.r1.weight={HALF}",
            f"loss.penalties.r2.weight={HALF}",
        ),
        tmp_path,
    )
