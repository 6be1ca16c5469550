"""CoGAN: exact counts, layers shared by identity, two domains without pairs, and pairs from one
latent.
"""

from __future__ import annotations

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from helpers import differences, frozen, small, steps, trainer_for

from gancli import checkpoint
from gancli.commands import show
from gancli.config.build import build_game
from gancli.errors import Problems, UserError
from gancli.evaluation.samples import make_scorer
from gancli.games.cogan import find_edges, invert_colours
from gancli.inference import sampling
from gancli.networks.cogan import (
    CoGANDiscriminator,
    CoGANGenerator,
    count_stages,
    list_generator_sizes,
)


def game_of(*overrides):
    torch.manual_seed(0)
    return build_game(small("cogan", *overrides), trust=None)


def count(module):
    return sum(p.numel() for p in module.parameters())


def images(n=8, channels=1):
    return torch.rand(n, channels, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


# networks


def test_exact_counts(capsys):
    paper = [
        "model=cogan",
        "dataset=mnist",
        "dataset.resolution=28",
        "model.discriminator.logits=2",
    ]
    with torch.device("meta"):
        game = build_game(frozen(*paper), trust=None)
    assert (count(game.generator), count(game.generator.shared)) == (7_842_694, 7_833_476)
    assert count(game.discriminator) == 427_593
    assert (
        count(build_game(frozen(*paper, "model.discriminator.logits=1"), trust=None).discriminator)
        == 427_593 - 501
    )
    show.main([*paper, "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "generator": 7_842_694,
        "discriminator": 427_593,
    }, "shared layers count once"


def test_the_papers_layers():
    assert list_generator_sizes(28) == [(4, 4), (7, 7), (13, 13), (25, 25)] and count_stages(
        28
    ) == (
        2,
        (4, 4),
    )
    assert list_generator_sizes([16, 24]) == [(4, 6), (7, 11), (13, 21)] and list_generator_sizes(
        8
    ) == [(5, 5)]
    assert (
        list_generator_sizes(64)[0] == (4, 4)
        and count_stages(64) == (3, (4, 4))
        and count_stages(16) == (1, (6, 6))
    )
    with torch.device("meta"):
        generator = CoGANGenerator(resolution=28, channels=1)
    assert [
        layer.out_channels
        for layer in generator.shared
        if isinstance(layer, torch.nn.ConvTranspose2d)
    ] == [1024, 512, 256, 128]


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("resolution", [8, 9, 16, 28, 31, 64, [16, 24], [33, 8], [30, 45]])
def test_any_size(resolution, channels):
    h, w = (resolution, resolution) if isinstance(resolution, int) else resolution
    generator = CoGANGenerator(resolution=resolution, channels=channels, width=4, max_width=8)
    critics = CoGANDiscriminator(
        resolution=resolution, channels=channels, width=4, units=6, logits=2
    )
    pair = generator(torch.randn(2, 100))
    for x, critic in zip(pair, critics.values(), strict=True):
        assert x.shape == (2, channels, h, w) and x.abs().max() <= 1
        assert critic.trunk(x).flatten(1).shape == (2, critics.feature_dim) and critic(x).shape == (
            2,
            1,
        )
        critic(x).sum().backward(retain_graph=True)
    assert all(p.grad is not None for network in (generator, critics) for p in network.parameters())


@pytest.mark.parametrize("resolution", [1, 7, 513, [16, 4]])
def test_sizes_that_do_not_fit(resolution):
    for network in (CoGANGenerator, CoGANDiscriminator):
        with pytest.raises(ValueError, match="from 8 to 512"):
            network(resolution=resolution, channels=1)


def test_sharing_is_by_identity():
    game = game_of()
    for critics in (game.discriminator, copy.deepcopy(game).discriminator):
        a = critics["a"]
        b = critics["b"]
        assert a.body is b.body and a.out is b.out and a.first is not b.first
        assert not torch.equal(a.first[0].weight, b.first[0].weight)
    trainer = trainer_for(small("cogan"))
    moved = trainer.players["d"].parameters
    assert len(moved) == len({id(p) for p in moved}) == len(list(game.discriminator.parameters()))
    assert sum(p.numel() for p in moved) == count(game.discriminator)


def test_two_logits_are_the_papers_softmax():
    critic = game_of("model.discriminator.logits=2").discriminator["b"]
    x = images()
    logits = critic.out(critic.trunk(x)).flatten(1)
    want = F.cross_entropy(logits, torch.ones(8, dtype=torch.int64))
    assert F.softplus(-critic(x)).mean().item() == pytest.approx(want.item(), rel=1e-5)


# the domains


def test_edges_are_what_dilation_adds():
    dot = torch.full((1, 1, 5, 5), -1.0)
    dot[..., 2, 2] = 1
    ring = torch.full((5, 5), -1.0)
    ring[1:4, 1:4] = 1
    ring[2, 2] = -1
    assert torch.equal(find_edges(dot)[0, 0], ring)
    assert torch.equal(find_edges(torch.full((1, 3, 4, 4), 0.7)), torch.full((1, 3, 4, 4), -1.0))
    x = images(channels=4)
    assert find_edges(x).min() >= -1 and find_edges(x).max() <= 1
    assert torch.equal(find_edges(x)[:, 3], x[:, 3]) and not torch.equal(
        find_edges(x)[:, :3], x[:, :3]
    ), "alpha stays"
    assert torch.equal(invert_colours(x)[:, 3], x[:, 3]) and torch.equal(
        invert_colours(x)[:, :3], -x[:, :3]
    )


@pytest.mark.parametrize("second", ["edges", "negatives"])
def test_no_image_is_in_both_domains_of_a_step(second):
    game = game_of(f"model.second={second}")
    batch = {"image": images()}
    other = find_edges if second == "edges" else invert_colours
    found = dict(game.walk_domains(batch))
    assert torch.equal(found["a"][1], batch["image"][:4]) and torch.equal(
        found["b"][1], other(batch["image"][4:])
    )


def test_fakes_are_pairs_and_meet_their_own_critic():
    game = game_of().eval()
    seen = []
    game.generator.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    found = dict(game.walk_domains({"image": images()}))
    assert [z.shape for z in seen] == [(4, 100)], "one latent for both"
    for image, name in zip(game.generator(seen[0]), "ab", strict=True):
        critic, real, fake = found[name]
        assert torch.equal(fake, image) and torch.equal(
            critic(real), game.discriminator[name](real)
        )


def test_both_domains_move_what_is_shared():
    game = game_of(
        "loss=wgan_gp", "+penalty@loss.penalties.lecam=lecam", "loss.penalties.lecam.start=0"
    )
    for name, (critic, real, fake) in game.walk_domains({"image": images()}):
        game.zero_grad()
        game.adversarial[name].d(critic, real, fake, game.progress)[0].backward(retain_graph=True)
        moved = {
            key.partition(".")[0]
            for key, network in game.discriminator.items()
            if any(
                p.grad is not None and p.grad.abs().sum() > 0 for p in network.first.parameters()
            )
        }
        assert moved == {name} and game.discriminator["a"].body[0].weight.grad.abs().sum() > 0
        assert game.generator.shared[0].weight.grad.abs().sum() > 0
        assert (game.generator.last["b"][0].weight.grad is None) == (name == "a")


def test_each_critic_has_a_loss_of_its_own_and_both_are_clipped():
    trainer = steps(
        trainer_for(
            small(
                "cogan",
                "loss=wgan",
                "loss.clip=0.01",
                "+penalty@loss.penalties.lecam=lecam",
                "loss.penalties.lecam.start=0",
                "loss.n_critic=1",
            )
        ),
        2,
    )
    means = {name: dict(loss.named_buffers()) for name, loss in trainer.game.adversarial.items()}
    assert means["a"].keys() == means["b"].keys() != set()
    assert any(not torch.equal(means["a"][key], means["b"][key]) for key in means["a"])
    assert all(p.abs().max() <= 0.01 for p in trainer.game.discriminator.parameters())
    assert {
        "d/adv",
        "d/sign_real",
        "d/a_adv",
        "d/b_lecam",
        "g/adv",
        "g/b_adv",
    } <= trainer.logs.keys()
    assert trainer.logs["d/adv"].item() == pytest.approx(
        (trainer.logs["d/a_adv"] + trainer.logs["d/b_adv"]).item() / 2, rel=1e-4
    )


def test_odd_batches_and_single_images():
    game = game_of("loss=ragan")
    for run in (game.d_loss, game.g_loss):
        assert run({"image": images(3)})[0].isfinite()
    assert [len(real) for _, (_, real, _) in game.walk_domains({"image": images(3)})] == [2, 1]
    with pytest.raises(UserError, match="one image is too few"):
        game.d_loss({"image": images(1)})


# samples


def test_a_sample_is_of_a_of_b_or_of_both():
    game = game_of().eval()
    inputs = game.inputs(3, torch.Generator().manual_seed(0))
    a, b = game.generator(inputs["z"])
    assert (
        torch.equal(game.sample(inputs, game.generator), a)
        and a.shape == (3, 1, 16, 16)
        and not torch.allclose(a, b, atol=1e-2)
    )
    for domain, want in (("a", a), ("b", b)):
        assert torch.equal(game.sample(inputs, game.generator, domain=domain), want)
    both = game.sample(inputs, game.generator, domain="both")
    assert both.shape == (3, 1, 16, 32) and torch.equal(both[..., 16:], b)
    flagged = inputs | {"domain": torch.tensor([0, 1, 0])}
    assert torch.equal(game.sample(flagged, game.generator), torch.stack([a[0], b[1], a[2]]))
    assert torch.equal(game.sample(flagged, game.generator, domain="b"), b), (
        "what is asked for comes first"
    )
    with pytest.raises(UserError, match="two domains"):
        game.sample(inputs, game.generator, domain="c")
    assert sampling.list_options(game) == {"domain", "truncation"}


@pytest.mark.parametrize("columns", [5, 10])
def test_the_preview_has_pairs_one_below_the_other(columns):
    game = game_of().eval()
    inputs = game.preview_inputs(columns, torch.Generator().manual_seed(0))
    shown = game.sample(inputs, game.generator).unflatten(0, (4, 2, columns))
    a, b = game.generator(inputs["z"].unflatten(0, (4, 2, columns))[:, 0].flatten(0, 1))
    assert torch.equal(shown[:, 0].flatten(0, 1), a) and torch.equal(shown[:, 1].flatten(0, 1), b)


def test_an_evaluation_asks_the_critic_of_the_data():
    game = game_of().eval()
    x = images()
    assert torch.equal(make_scorer(game, torch.device("cpu"))(x, None), game.discriminator["a"](x))


def test_what_is_shared_is_shared_in_a_checkpoint_too(tmp_path):
    config = small("cogan")
    whole = steps(trainer_for(config), 2)
    path = checkpoint.save(whole.state_dict(), tmp_path, keep=1)
    loaded = checkpoint.load_game(str(path))
    critics = loaded.game.discriminator
    assert critics["a"].body is critics["b"].body
    assert torch.equal(critics["b"].body[0].weight, whole.game.discriminator["a"].body[0].weight)
    resumed = trainer_for(config)
    resumed.load_state_dict(checkpoint.read(path))
    assert differences(steps(whole, 1).state_dict(), steps(resumed, 1).state_dict()) == []
    film = sampling.interpolate(
        *(loaded.game.preview_inputs(2, torch.Generator().manual_seed(k)) for k in (0, 1)), 3
    )
    assert torch.cat(
        list(sampling.generate(loaded.game, loaded.generator, film, seed=0))
    ).shape == (48, 1, 16, 16)


@pytest.mark.parametrize("augment", ["diffaug", "ada"])
def test_augmentations_train(augment):
    trainer = steps(trainer_for(small("cogan", f"augment={augment}", "loss=r1")), 2)
    assert all(value.isfinite().all() for value in trainer.game.state_dict().values())
    assert augment == "diffaug" or "d/p" in trainer.logs


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["dataset.resolution=7"], "from 8 to 512"),
        (["model.second=outlines"], "does not fit"),
        (["model.discriminator.logits=3"], "does not fit"),
        (["+model.conditional=true"], "takes no"),
    ],
)
def test_wrong_values(wrong, says):
    with pytest.raises(Problems, match=says):
        small("cogan", *wrong)


def test_the_papers_settings():
    setup = frozen("experiment=cogan_mnist_edges")
    for player in setup["optimizer"].values():
        assert (player["lr"], player["betas"], player["weight_decay"]) == (2e-4, [0.5, 0.999], 5e-4)
    assert (
        setup["trainer"]["steps"],
        setup["trainer"]["batch_size"],
        setup["model"]["discriminator"]["logits"],
    ) == (5000, 128, 2)
