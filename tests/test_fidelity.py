"""What the published settings say, held against the papers' own numbers and equations."""

from __future__ import annotations

import pytest
import torch
from helpers import frozen, small

from gancli.config.build import build_game
from gancli.games.stylegan2 import path_lengths
from gancli.optimizers import make_players


def build_small(model: str, *overrides: str):
    torch.manual_seed(0)
    return build_game(small(model, *overrides), trust=None)


def test_cyclegan_halves_the_loss_of_its_discriminators_alone():
    """On equal networks and images its adversarial term is twice that of `lsgan`."""
    rng = torch.Generator().manual_seed(1)
    batch = {
        key: torch.rand(2, 3, 16, 16, generator=rng) * 2 - 1
        for key in ("a", "b", "fake_a", "fake_b")
    }
    chosen = build_small("cyclegan")
    halved = build_small("cyclegan", "loss=lsgan")
    for side in "ab":
        assert chosen.loss_of(side).objective.boundary == 0.5
    loss, logs = chosen.g_loss(batch)
    other, parts = halved.g_loss(batch)
    for key in ("a_adv", "b_adv"):
        assert logs[key].item() == pytest.approx(2 * parts[key].item(), rel=1e-6)
    assert (loss - other).item() == pytest.approx(
        (parts["a_adv"] + parts["b_adv"]).item(), rel=1e-5
    )
    assert chosen.d_loss(batch)[0].item() == halved.d_loss(batch)[0].item()


def parameters(experiment: str) -> tuple[int, int]:
    with torch.device("meta"):
        game = build_game(frozen(f"experiment={experiment}"), trust=None)
    return tuple(
        sum(p.numel() for p in network.parameters())
        for network in (game.generator, game.discriminator)
    )


@pytest.mark.parametrize("experiment", ["stylegan2_ada_cifar10", "stylegan2_ada_cifar10_cond"])
def test_stylegan2_ada_corrects_the_generators_adam_without_path_length(experiment):
    """As in the authors' loop: by 4/5 for the generator, by 16/17 for the discriminator."""
    config = frozen(f"experiment={experiment}")
    with torch.device("meta"):
        game = build_game(config, trust=None)
    assert {phase.name for phase in game.phases()} == {"d", "d_r1", "g"}
    players = make_players(game, config["optimizer"], ghost=True)
    for name, every in (("g", 4), ("d", 16)):
        share = every / (every + 1)
        group = players[name].optimizer.param_groups[0]
        assert group["lr"] == pytest.approx(0.0025 * share, rel=1e-9)
        assert group["betas"] == pytest.approx((0.0, 0.99**share), abs=1e-8)


@pytest.mark.parametrize(
    ("experiment", "counts"),
    [
        ("biggan_cifar10", (9_416_196, 2_415_170)),  # the setting whose FID of 4.16 is cited
        ("biggan_cifar10_wide", (9_416_196, 9_641_090)),
    ],
)
def test_biggan_on_cifar10_has_the_cited_critic(experiment, counts):
    assert parameters(experiment) == counts


def test_ssgan_mirrors_nothing():
    assert frozen("experiment=ssgan_cifar10")["dataset"]["flip"] is False


def test_infogan_moves_its_reader_with_the_discriminator_and_at_its_rate():
    config = frozen("experiment=infogan_mnist")
    assert config["model"]["q_moves"] == "d"
    assert config["optimizer"]["q"] == config["optimizer"]["d"]
    assert (config["optimizer"]["g"]["lr"], config["optimizer"]["q"]["lr"]) == (1e-3, 2e-4)


def test_the_path_length_has_the_gradient_of_the_authors_loss():
    """Through second derivatives of the whole generator; the running mean's own share is 0.01 of it.

    In the authors' code m = lerp(m, mean(length), 0.01), the loss is weight * every *
    mean((length - m)^2), and nothing in it is detached.
    """
    game = build_small("stylegan2", "model.mixing=0", "model.pl_weight=2")
    generator = game.generator
    batch = {"image": torch.zeros(8, 1, 16, 16)}

    def lengths():
        torch.manual_seed(7)
        styles = generator.styles(game.draw_training_inputs(4, None)["z"])
        return path_lengths(generator.synthesis(styles), styles)

    def gradient(loss):
        found = torch.autograd.grad(loss, list(generator.parameters()), allow_unused=True)
        return torch.cat([grad.flatten() for grad in found if grad is not None])

    game.pl_mean.fill_(0.02)
    of_batch = lengths()
    mean = 0.99 * 0.02 + 0.01 * of_batch.mean()
    want = gradient(2 * game.pl_every * (of_batch - mean).square().mean())
    of_batch = lengths()
    held = gradient(
        2
        * game.pl_every
        * (of_batch - 0.99 * 0.02 - 0.01 * of_batch.mean().detach()).square().mean()
    )
    torch.manual_seed(7)
    made = gradient(game.pl_loss(batch)[0])
    assert torch.allclose(made, want, rtol=1e-4, atol=1e-7)
    assert 0.005 < ((held - want).norm() / want.norm()).item() < 0.02
