"""What any GAN can be given beside networks and a loss: packs, bigger batches of fakes, heads,
top-k, feature matching, truncation.
"""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import differences, small, steps, trainer_for
from torch import nn

from gancli.config.build import build_game
from gancli.errors import Problems, UserError
from gancli.game import Discriminator, Game, Generator, Progress, members_of
from gancli.games.gan import GAN
from gancli.games.heads import Head
from gancli.losses.adversarial import AdversarialLoss
from gancli.losses.objectives import NonSaturating, RelativisticPairing, Wasserstein
from gancli.optimizers import find_matrices, orthogonal_gradient


class Features:
    """A critic whose features are the pixels and whose score is their sum."""

    def __call__(self, x):
        return x.flatten(1).sum(1, keepdim=True)

    def features(self, x):
        return x.flatten(1)


def images(rows):
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), 1, 1, -1)


def test_feature_matching_takes_means_first():
    loss = AdversarialLoss(objective=Wasserstein(), feature_matching=2.0)
    real = images([[1.0, 2.0], [3.0, 4.0]])
    fake = images([[0.0, 0.0], [2.0, 8.0]])
    total, logs = loss.g(Features(), real, fake, Progress())
    assert logs["fm"].item() == pytest.approx(1.0)
    assert total.item() == pytest.approx(-fake.sum(dim=(1, 2, 3)).mean().item() + 2.0)


def test_top_k_keeps_the_best_share():
    loss = AdversarialLoss(objective=Wasserstein(), top_k={"start": 1.0, "end": 0.5, "end_kimg": 1})
    fake = images([[1.0], [5.0], [-3.0], [2.0]])
    assert loss.g(Features(), fake, fake, Progress())[0].item() == pytest.approx(-1.25)
    assert loss.g(Features(), fake, fake, Progress(nimg=1000))[0].item() == pytest.approx(-3.5)


@pytest.mark.parametrize("top_k", [0.0, 1.5, {"start": 1.0, "end": 0.0, "end_kimg": 1}])
def test_top_k_is_a_share(top_k):
    with pytest.raises(ValueError, match="share above 0"):
        AdversarialLoss(objective=NonSaturating(), top_k=top_k)
    with pytest.raises(ValueError, match="relativistic"):
        AdversarialLoss(objective=RelativisticPairing(), top_k=0.5)


def test_orthogonal_gradient_is_that_of_the_off_diagonal_norm():
    weight = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    gram = weight @ weight.T
    value = (gram - torch.diag(gram.diagonal())).square().sum()
    assert value.item() == pytest.approx(2.0)
    (want,) = torch.autograd.grad(value, weight)
    assert torch.allclose(orthogonal_gradient(weight.detach()), want)


def test_orthogonal_leaves_embeddings_and_biases():
    net = nn.Sequential(nn.Linear(3, 4), nn.Embedding(5, 4))
    assert [id(p) for p in find_matrices([net])] == [id(net[0].weight)]


def test_orthogonal_reaches_the_step():
    plain, kept = (
        steps(trainer_for(small("dcgan", f"optimizer.g.orthogonal={x}")), 2).state_dict()["game"]
        for x in (0, 1.0)
    )
    assert any(
        not torch.equal(plain[key], kept[key]) for key in plain if key.startswith("generator")
    )


def test_a_pack_is_judged_as_one():
    game = build_game(small("dcgan", "model.pack=2"), trust=None)
    batch = {"image": torch.rand(8, 1, 16, 16)}
    assert game.critic(batch)(batch["image"]).shape == (4, 1)
    loss, _ = game.d_loss(batch)
    assert loss.isfinite()
    with pytest.raises(Problems, match="divide"):
        small("dcgan", "model.pack=3")
    with pytest.raises(Problems, match="pack of images has no label"):
        small("cgan", "model.pack=2")


def test_a_bigger_batch_of_fakes_in_the_generators_step(monkeypatch):
    game = build_game(small("cgan", "model.generator_batch=3"), trust=None)
    seen = []
    monkeypatch.setattr(
        game.generator,
        "forward",
        lambda z, label: seen.append(label) or torch.zeros(len(z), 1, 16, 16),
    )
    batch = {"image": torch.rand(4, 1, 16, 16), "label": torch.tensor([3, 1, 4, 1])}
    game.d_loss(batch)
    game.g_loss(batch)
    assert [len(label) for label in seen] == [4, 12]
    assert torch.equal(seen[1][:4], seen[1][8:])


class Brightness(Head):
    """Tells how bright an image is."""

    def attach(self, feature_dim):
        self.out = nn.Linear(feature_dim, 1)

    def score(self, features, label):
        return 0.5 * features[:, :1]

    def d(self, critic, real, fake, label):
        error = (self.out(critic.features(real)).squeeze(1) - real.mean((1, 2, 3))).square().mean()
        return error, {"mse": error.detach()}


class OfClasses(Head):
    needs_labels = True


def test_heads_train_with_the_critic_and_add_to_its_score():
    setup = small(
        "dcgan",
        f"+model.heads.bright._target_={__name__}.Brightness",
        "model.discriminator.norm=none",
    )
    trainer = trainer_for(setup)
    before = trainer.game.heads["bright"].out.weight.clone()
    steps(trainer, 2)
    assert "d/bright_mse" in trainer.logs
    assert not torch.equal(before, trainer.game.heads["bright"].out.weight)
    game = trainer.game
    x = torch.rand(2, 1, 16, 16)
    hidden = game.discriminator.trunk(x)
    assert torch.equal(
        game.critic({"image": x})(x),
        game.discriminator.head(hidden) + 0.5 * hidden.flatten(1)[:, :1],
    )


def test_a_head_about_classes_wants_a_conditional_model():
    with pytest.raises(Problems, match="model.conditional=true"):
        small("dcgan", f"+model.heads.k._target_={__name__}.OfClasses")


def test_truncated_latents_follow_the_truncated_normal():
    game = build_game(small("dcgan", "model.z_dim=500"), trust=None)
    z = game.inputs(200, torch.Generator().manual_seed(0), truncation=1.0)["z"]
    assert z.abs().max() <= 1
    assert z.var().item() == pytest.approx(0.29112, abs=0.004)  # 1 - 2 phi(1) / (2 Phi(1) - 1)
    with pytest.raises(UserError, match="uniform"):
        build_game(small("mlp"), trust=None).inputs(2, None, truncation=1.0)


def test_a_penalty_that_cannot_reach_the_critic_is_refused(monkeypatch):
    from gancli.games.gan import GAN

    monkeypatch.setattr(GAN, "penalisable", False)
    with pytest.raises(Problems, match="lets no gradient through"):
        small("dcgan", "loss=wgan_gp")
    small("dcgan")


# What a game relies on


class Linears(nn.Module):
    """A generator and a critic at once; it derives from none of the contract's views."""

    z_dim = 3
    classes = 0
    feature_dim = 4

    def __init__(self):
        super().__init__()
        self.make = nn.Linear(3, 4)
        self.score = nn.Linear(4, 1)

    def forward(self, z, label=None):
        return self.make(z).reshape(-1, 1, 2, 2)

    def trunk(self, x, label=None):
        return x.flatten(1)

    def head(self, h, label=None):
        return self.score(h)


def test_networks_need_the_names_of_the_views_and_not_their_classes():
    loss = AdversarialLoss(objective=NonSaturating())
    game = GAN(generator=Linears(), discriminator=Linears(), loss=loss)
    batch = {"image": torch.randn(5, 1, 2, 2)}
    for term, logs in (game.d_loss(batch), game.g_loss(batch)):
        assert term.isfinite() and "adv" in logs
    assert not isinstance(game.generator, Generator)
    assert not isinstance(game.discriminator, Discriminator)


def test_without_a_discriminator_there_is_no_player_of_it():
    game = Game(generator=Linears(), discriminator=None, loss=None)
    assert game.players() == {"g": [game.generator]} and game.n_critic == 1
    game.constrain({})


def test_members_of_another_class_are_told():
    heads = nn.ModuleDict({"bright": Brightness(), "odd": nn.Identity()})
    assert list(members_of(nn.ModuleDict({"bright": heads["bright"]}), Head)) == ["bright"]
    with pytest.raises(AssertionError, match="odd is of Identity"):
        members_of(heads, Head)


def count_generator_passes(trainer, n: int) -> int:
    passes = []
    trainer.game.generator.register_forward_hook(lambda *_: passes.append(1))
    steps(trainer, n)
    return len(passes)


def test_shared_fakes_spare_a_pass_wherever_both_move():
    shared = ("dcgan", "model.shared_fakes=true")
    apart = ("dcgan", "model.shared_fakes=false")
    assert count_generator_passes(trainer_for(small(*shared)), 6) == 6
    assert count_generator_passes(trainer_for(small(*apart)), 6) == 12
    assert count_generator_passes(trainer_for(small(*shared, "loss.n_critic=3")), 6) == 6
    assert count_generator_passes(trainer_for(small(*apart, "loss.n_critic=3")), 6) == 8


def test_with_shared_fakes_both_move_by_the_same_images():
    """One step by hand: the generator meets the discriminator that its fakes have just moved."""
    config = small("dcgan", "model.shared_fakes=true", "optimizer=sgd", "model.conditional=false")
    trainer = trainer_for(config)
    by_hand = copy.deepcopy(trainer.game)
    drawn = []
    trainer.game.generator.register_forward_hook(lambda _, args, __: drawn.append(args[0]))
    real = trainer.draw_batch()["image"]
    steps(trainer, 1)
    assert len(drawn) == 1 and trainer.game.kept_fake is None

    rates = {name: player.movers[0].lr(0) for name, player in trainer.players.items()}
    fake = by_hand.generator(drawn[0])
    networks = {"d": by_hand.discriminator, "g": by_hand.generator}
    for name, network in networks.items():
        objective = by_hand.adversarial.d if name == "d" else by_hand.adversarial.g
        seen = fake.detach() if name == "d" else fake
        loss, _ = objective(by_hand.critic({"image": real}), real, seen, by_hand.progress)
        parameters = list(network.parameters())
        gradients = torch.autograd.grad(loss, parameters, retain_graph=name == "d")
        with torch.no_grad():
            for p, gradient in zip(parameters, gradients, strict=True):
                p -= rates[name] * gradient
    for name, network in networks.items():
        played = dict(
            getattr(trainer.game, {"d": "discriminator", "g": "generator"}[name]).named_parameters()
        )
        for key, p in network.named_parameters():
            torch.testing.assert_close(played[key], p, msg=f"{name}: {key}")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("dcgan", "model.shared_fakes=true", "trainer.accumulate=2"), "accumulate=2 cuts it"),
        (("dcgan", "model.shared_fakes=true", "model.generator_batch=2"), "use generator_batch=1"),
        (("r3gan", "model.shared_fakes=true"), "R3GAN draws fakes for each of its losses"),
    ],
)
def test_fakes_that_cannot_be_shared_are_refused(words, says):
    with pytest.raises(Problems, match=says):
        small(*words)


def test_dcgan_shares_its_fakes_where_they_can_be():
    assert small("dcgan")["model"]["shared_fakes"] is True
    for cut in ("trainer.accumulate=2", "model.generator_batch=2"):
        assert small("dcgan", cut)["model"]["shared_fakes"] is False


def test_a_run_that_goes_on_in_pieces_makes_fakes_for_each_loss():
    """Resumed with trainer.accumulate=2, or a piece would meet fakes of another one's labels."""
    words = ("dcgan", "model.conditional=true", "dataset.channels=1")
    runs = [small(*words, f"model.shared_fakes={share}") for share in ("true", "false")]
    for config in runs:
        config["trainer"]["accumulate"] = 2
    shared, apart = (steps(trainer_for(config), 2) for config in runs)
    assert not differences(shared.game.state_dict(), apart.game.state_dict())
    assert shared.game.kept_fake is None
