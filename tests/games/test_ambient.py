"""AmbientGAN: only measurements meet, fresh ones of fakes, and samples are complete."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from evaluation_helpers import CPU, hasty, metrics_of  # noqa: F401 - a fixture
from helpers import frozen, small, trainer_and_monitor, trainer_for

from gancli.config.build import build_game
from gancli.config.run_config import Section
from gancli.data.derived import blur
from gancli.evaluation.samples import evaluate
from gancli.games.ambient import blur_images, hide


def game_of(*overrides):
    torch.manual_seed(0)
    return build_game(small("ambient", *overrides), trust=None)


def batch_of(n=6, channels=1):
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(n, channels, 16, 16, generator=rng) * 2 - 1
    seen = torch.where(torch.rand(n, 1, 16, 16, generator=rng) < 0.5, -1.0, 1.0)
    return {"image": image, "seen": seen}


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_exact_counts():
    with torch.device("meta"):
        paper = build_game(
            frozen(
                "model=ambient",
                "+dataset@dataset.of=digits",
                "dataset.resolution=64",
                "dataset.channels=3",
            ),
            trust=None,
        )
    assert (count(paper.generator), count(paper.discriminator)) == (3_576_704, 2_765_568)


def test_the_discriminator_never_sees_what_is_missing():
    game = game_of()
    batch = batch_of()
    other = batch | {"image": torch.where(batch["seen"] > 0, batch["image"], torch.tensor(9.0))}
    for side in (game.d_loss, game.g_loss):
        values = []
        for one in (batch, other):
            torch.manual_seed(3)
            values.append(side(one)[0])
        assert torch.equal(*values)


def test_a_fake_is_hidden_as_another_real_is():
    game = game_of()
    batch = batch_of()
    measured = game.measure(torch.ones(6, 1, 16, 16), batch)
    assert torch.equal(measured, (batch["seen"] > 0).float().roll(1, 0))
    assert (hide(batch["image"], batch["seen"])[batch["seen"] < 0] == 0).all()


def test_nothing_teaches_the_generator_where_nothing_is_seen():
    game = game_of()
    batch = batch_of() | {"seen": torch.full((6, 1, 16, 16), -1.0)}
    game.g_loss(batch)[0].backward()
    assert all(p.grad is None or not p.grad.any() for p in game.generator.parameters())


@pytest.mark.parametrize("measure", ["mask", "patch", "blur", "noise"])
def test_samples_are_complete_whatever_the_measurement(measure):
    game = game_of(f"dataset.measure={measure}").eval()
    inputs = game.inputs(3, torch.Generator().manual_seed(1))
    assert torch.equal(game.sample(inputs, game.generator), game.generator(inputs["z"]))
    assert ("seen" in game.needs) == (measure in ("mask", "patch"))


def test_noise_and_blur_measure_as_the_data_set_does():
    image = batch_of(channels=3)["image"]
    reference = torch.stack([blur(one, 1.5) for one in image])
    assert (blur_images(image, 1.5) - reference).abs().max() < 1e-6
    game = game_of("dataset.measure=noise", "dataset.noise=20")
    measured = game.measure(torch.zeros(64, 1, 16, 16), {})
    assert abs(measured.std().item() * 127.5 - 20) < 1
    assert game_of("dataset.measure=noise").deviation == 0


GOLDEN = (1.30287, 0.68648)


def test_a_golden_step():
    trainer = trainer_for(small("ambient"))
    trainer.step()
    assert trainer.logs["d/adv"].item() == pytest.approx(GOLDEN[0], abs=2e-4)
    assert trainer.logs["g/adv"].item() == pytest.approx(GOLDEN[1], abs=2e-4)


def test_evaluations_see_complete_images_alone(hasty):  # noqa: F811
    setup = small("ambient", "dataset.holdout=20")
    trainer, monitor = trainer_and_monitor(setup)

    def measure(**changes):
        options = {"train": monitor.train, "held": monitor.held} | changes
        return evaluate(
            game=trainer.game,
            generator=trainer.game.generator,
            spec=metrics_of(n=30, items=["swd", "frechet", "memorisation"]),
            dataset=Section(setup["dataset"]),
            seed=0,
            device=CPU,
            **options,
        )

    found = measure()
    assert found.protocol["split"] == "held" and found.protocol["n_real"] == 20
    assert "fd_self" in found.values and "nothing is held out" in found.skipped["memorisation"]
    # What training saw does not count.
    noise = torch.randint_like(monitor.train.images, 255)
    blind = measure(train=replace(monitor.train, images=noise))
    assert blind.values == found.values
    nothing = measure(held=None)
    assert nothing.values == {}
    assert "no complete images" in nothing.skipped["swd"]
