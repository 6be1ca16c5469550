"""Standing statistics: exact averages, on a copy, from random numbers of their own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gancli.errors import UserError
from gancli.games.gan import GAN
from gancli.inference.standing_statistics import measure_standing_statistics
from gancli.losses.adversarial import AdversarialLoss
from gancli.losses.objectives import Hinge
from gancli.networks.biggan import BigGANDiscriminator, BigGANGenerator
from gancli.networks.mlp import MLPDiscriminator, MLPGenerator


class OneLayer(nn.Module):
    """z -> batch norm of z, as a 2x2 picture; remembers what the norm was given."""

    z_dim = 4
    classes = 0

    def __init__(self, *, spread=3.0):
        super().__init__()
        self.norm = nn.BatchNorm2d(1, momentum=0.3)
        self.scale = nn.Parameter(torch.tensor(spread))
        self.seen = []

    def forward(self, z, label=None):
        x = 5 + self.scale * z.reshape(-1, 1, 2, 2)
        self.seen.append(x)
        return self.norm(x)


def game_of(generator, discriminator=None):
    discriminator = discriminator or MLPDiscriminator(resolution=2, channels=1, hidden=[4])
    return GAN(
        generator=generator,
        discriminator=discriminator,
        loss=AdversarialLoss(objective=Hinge()),
        conditional=generator.classes > 0,
    )


def biggan():
    torch.manual_seed(0)
    options = {
        "resolution": 8,
        "channels": 1,
        "width": 2,
        "attention": 8,
        "classes": 3,
        "conditional": True,
    }
    return game_of(BigGANGenerator(**options), BigGANDiscriminator(**options | {"attention": 0}))


def test_one_layer_in_closed_form():
    generator = OneLayer()
    (
        generator(torch.full((8, 4), 100.0)),
        generator.seen.clear(),
    )  # what it knew before shall not count
    measured = measure_standing_statistics(game_of(generator), generator, passes=7, batch=6, seed=1)
    assert len(measured.seen) == 7 and not generator.seen
    batches = torch.stack(measured.seen)  # (7,6,1,2,2)
    assert not torch.equal(batches[0], batches[1]), "fresh latents"
    assert torch.allclose(measured.norm.running_mean, batches.mean().reshape(1), atol=1e-5), (
        "equal batches: the mean of all"
    )
    assert torch.allclose(
        measured.norm.running_var, batches.flatten(1).var(1).mean().reshape(1), rtol=1e-5
    )
    many = measure_standing_statistics(
        game_of(generator), generator, passes=200, batch=50, seed=1
    ).norm
    assert many.running_mean.item() == pytest.approx(
        5, abs=0.1
    ) and many.running_var.item() == pytest.approx(9, rel=0.03)


def test_a_single_pass_reproduces_training_mode():
    """In every layer: with the statistics of one batch, eval mode draws that batch as training mode
    did.
    """
    game = biggan()
    generator = game.generator
    images = []

    def remember(module, args, out):
        images.append((args, out))

    generator.register_forward_hook(remember)
    measured = measure_standing_statistics(game, generator, passes=1, batch=64, seed=3)
    (args, before), after = images[0], measured(*images[0][0])
    assert torch.allclose(before, after, atol=0.02) and not torch.allclose(
        before, copy.deepcopy(generator).eval()(*args), atol=0.1
    )


def test_the_seed_decides_and_nothing_else_moves():
    game = biggan()
    generator = game.generator.train()
    before = copy.deepcopy(generator.state_dict())
    state = torch.random.get_rng_state()
    one, two = (
        measure_standing_statistics(game, generator, passes=3, batch=4, seed=5).state_dict()
        for _ in range(2)
    )
    other = measure_standing_statistics(game, generator, passes=3, batch=4, seed=6).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in generator.state_dict().items())
    assert all(part.training for part in generator.modules()) and all(
        p.requires_grad for p in generator.parameters()
    )
    moved = {key.rpartition(".")[2] for key in before if not torch.equal(before[key], one[key])}
    assert moved == {"running_mean", "running_var", "num_batches_tracked"}, (
        "weights and spectral norm's vectors stay"
    )
    means = [key for key in one if key.endswith("running_mean")]
    assert len(means) == 3 and all(not torch.equal(one[key], other[key]) for key in means)


def test_the_copy_samples_and_keeps_its_momentum():
    game = biggan()
    measured = measure_standing_statistics(game, game.generator, passes=2, batch=4, seed=0)
    norms = [part for part in measured.modules() if isinstance(part, nn.BatchNorm2d)]
    assert not any(part.training for part in measured.modules()) and {
        norm.momentum for norm in norms
    } == {0.1}
    z = torch.randn(5, game.generator.z_dim)
    label = torch.tensor([0, 1, 2, 0, 1])
    assert torch.allclose(measured(z, label)[:1], measured(z[:1], label[:1]), atol=1e-5), (
        "alone as in a batch"
    )


def test_truncated_latents_have_smaller_statistics():
    generator = OneLayer()
    game = game_of(generator)
    wide, narrow = (
        measure_standing_statistics(
            game, generator, passes=20, batch=50, seed=0, options={"truncation": t}
        ).norm.running_var
        for t in (None, 0.5)
    )
    assert narrow < 0.1 * wide


def test_what_cannot_be_measured_is_refused_with_a_reason():
    plain = MLPGenerator(resolution=2, channels=1, hidden=[4])
    with pytest.raises(UserError, match="no batch norm"):
        measure_standing_statistics(game_of(plain), plain, passes=2, batch=4, seed=0)
    generator = OneLayer()
    for passes, batch in ((0, 4), (3, 1)):
        with pytest.raises(UserError, match="do not exist"):
            measure_standing_statistics(
                game_of(generator), generator, passes=passes, batch=batch, seed=0
            )
