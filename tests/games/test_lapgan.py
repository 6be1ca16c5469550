"""LAPGAN: a pyramid without loss, exact counts, levels that do not touch each other, and sampling
that chains them.
"""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import differences, frozen, small, steps, trainer_for

from gancli import checkpoint
from gancli.config.build import build_game
from gancli.errors import Problems, UserError
from gancli.evaluation.samples import make_scorer
from gancli.inference import sampling
from gancli.networks.lapgan import (
    LapGANDiscriminator,
    LapGANGenerator,
    double_size,
    halve_size,
    list_sizes,
    split_pyramid,
)

THREE = ("model.coarsest=8", "dataset.resolution=[32,40]")  # 8x10, 16x20 and 32x40


def game_of(*overrides):
    torch.manual_seed(0)
    return build_game(small("lapgan", *overrides), trust=None)


def count(module):
    return sum(p.numel() for p in module.parameters())


def images(n=4, channels=1, size=(16, 16), seed=0):
    return torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# networks


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("size", "levels"), [((32, 32), 3), ((16, 24), 2), ((48, 64), 4), ((9, 9), 1)]
)
def test_the_pyramid_loses_nothing(channels, size, levels):
    image = images(3, channels, size)
    parts = split_pyramid(image, levels)
    assert [tuple(x.shape[2:]) for x, _ in parts] == list_sizes(list(size), levels, 8)
    (x, low), *finer = parts
    assert low is None
    for residual, low in finer:
        assert torch.allclose(low, double_size(x), atol=1e-6), (
            "the coarse image of a level is the whole one of the level below"
        )
        x = double_size(x) + residual
    assert (x - image).abs().max() <= 1e-6


def test_halves_and_doubles():
    assert halve_size(torch.tensor([[[[1.0, 3], [5, 7]]]])).item() == 4
    row = double_size(torch.tensor([[[[0.0, 4], [0, 4]]]]))[0, 0]
    assert row.tolist() == [[0, 1, 3, 4]] * 4, (
        "three quarters of the nearer, a quarter of the other"
    )
    flat = torch.full((1, 2, 16, 16), 0.3)
    assert all(part.abs().max() == 0 for part, low in split_pyramid(flat, 3) if low is not None)


def test_exact_counts():
    with torch.device("meta"):
        game = build_game(
            frozen("model=lapgan", "model.conditional=true", "dataset=cifar10"), trust=None
        )
    assert game.generator.sizes == [(8, 8), (16, 16), (32, 32)]
    assert (count(game.generator[2]), count(game.discriminator[2])) == (232_579, 129_409)
    mlp = 110 * 1200 + 1200 + 1200 * 1200 + 1200 + 1200 * 192 + 192
    assert (
        count(game.generator[0]) == mlp
        and count(game.generator) == mlp + 232_579 + 232_579 - 768 * 11
    )


@pytest.mark.parametrize(
    ("resolution", "levels", "coarsest", "sizes"),
    [
        (32, None, 8, [(8, 8), (16, 16), (32, 32)]),
        (28, None, 8, [(14, 14), (28, 28)]),
        (28, None, 7, [(7, 7), (14, 14), (28, 28)]),
        ([16, 24], None, 8, [(8, 12), (16, 24)]),
        (96, None, 8, [(12, 12), (24, 24), (48, 48), (96, 96)]),
        (32, 1, 8, [(32, 32)]),
        (1024, None, 8, [(8 * 2**k, 8 * 2**k) for k in range(8)]),
        (64, 2, 8, [(32, 32), (64, 64)]),
    ],
)
def test_sizes(resolution, levels, coarsest, sizes):
    assert list_sizes(resolution, levels, coarsest) == sizes


@pytest.mark.parametrize(
    ("resolution", "levels", "coarsest", "says"),
    [
        (34, None, 8, r"nearest is \[32,32\]"),
        (8, None, 8, r"nearest is \[16,16\]"),
        (33, None, 16, r"nearest is \[32,32\]"),
        (30, 3, 8, r"dataset.resolution=\[32,32\]"),
        ([16, 21], 2, 8, r"resolution=\[16,22\]"),
        (32, 5, 8, "levels=3 or fewer"),
        (16, 3, 8, "levels=2 or fewer"),
        (32, 10**9, 8, "levels from 1 to 8"),
        (32, 0, 8, "levels from 1 to 8"),
        (32, None, 4, "6 pixels or more"),
    ],
)
def test_sizes_that_do_not_halve_are_refused(resolution, levels, coarsest, says):
    with pytest.raises(ValueError, match=says):
        list_sizes(resolution, levels, coarsest)


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "spectral"])
@pytest.mark.parametrize(
    ("resolution", "levels", "conditional"),
    [(12, 2, True), ([16, 24], None, False), (48, None, True), (16, 1, False)],
)
def test_shapes(resolution, levels, conditional, norm):
    shape = {
        "resolution": resolution,
        "channels": 3,
        "levels": levels,
        "width": 4,
        "hidden": [6],
        "classes": 5,
        "conditional": conditional,
    }
    generator = LapGANGenerator(**shape)
    critics = LapGANDiscriminator(**shape, norm=norm)
    label = torch.tensor([0, 4])
    assert (
        generator.classes == 5 * conditional
        and generator.sizes == critics.sizes
        and len(generator) == len(critics)
    )
    for k, (h, w) in enumerate(generator.sizes):
        x = (
            generator[k](torch.randn(2, 100), label)
            if k == 0
            else generator[k](torch.randn(2, 1, h, w), torch.randn(2, 3, h, w), label)
        )
        assert x.shape == (2, 3, h, w)
        hidden = critics[k].trunk(x, label)
        assert hidden.flatten(1).shape == (2, critics[k].feature_dim) and critics[k].head(
            hidden, label
        ).shape == (2, 1)
        critics[k](x, label).sum().backward()
    assert critics.feature_dim == critics[-1].feature_dim
    assert all(p.grad is not None for network in (generator, critics) for p in network.parameters())


# the game


def test_critics_see_residual_and_coarse_image_together():
    game = game_of(*THREE).eval()
    batch = {"image": images(4, 1, (32, 40))}
    wholes = [halve_size(halve_size(batch["image"])), halve_size(batch["image"]), batch["image"]]
    for k, (critic, real, fake) in enumerate(game.walk_levels(batch)):
        assert torch.allclose(critic(real), game.discriminator[k](wholes[k]), atol=1e-5)
        assert torch.allclose(
            critic.features(real), game.discriminator[k].trunk(wholes[k]).flatten(1), atol=1e-5
        )
        assert fake.shape == real.shape and (
            k == 0 or not torch.allclose(real, wholes[k], atol=0.1)
        )
    score = make_scorer(game, torch.device("cpu"))(batch["image"], None)
    assert torch.allclose(score, game.discriminator[2](batch["image"]), atol=1e-6), (
        "an evaluation asks the finest critic"
    )


@pytest.mark.parametrize("side", ["d", "g"])
def test_generators_are_trained_on_true_coarse_images(side):
    game = game_of(*THREE)
    image = images(4, 1, (32, 40))
    seen = []
    for level in list(game.generator)[1:]:
        level.register_forward_pre_hook(lambda _, given: seen.append(given))
    (game.d_loss if side == "d" else game.g_loss)({"image": image})
    for (_, low, _), coarse in zip(
        seen, [halve_size(halve_size(image)), halve_size(image)], strict=True
    ):
        assert torch.equal(low, double_size(coarse))
    assert [tuple(noise.shape) for noise, _, _ in seen] == [(4, 1, 16, 20), (4, 1, 32, 40)]
    assert not torch.equal(seen[0][0][0], seen[0][0][1]) and seen[1][
        0
    ].var().item() == pytest.approx(1, abs=0.1)


def test_the_levels_are_independent_games():
    """The loss is the sum of the levels', and each moves its own networks only."""
    game = game_of(*THREE, "loss=wgan_gp")
    batch = {"image": images(4, 1, (32, 40))}
    for run in (game.d_loss, game.g_loss):
        loss, logs = run(batch)
        weight = game.get_loss(0).penalties["gp"].weight(0)
        parts = [logs[f"level{k}_adv"] + weight * logs.get(f"level{k}_gp", 0) for k in range(3)]
        assert loss.item() == pytest.approx(sum(parts).item(), rel=1e-5)
        assert logs["adv"].item() == pytest.approx(
            sum(logs[f"level{k}_adv"] for k in range(3)).item() / 3, rel=1e-5
        )
    for k, (critic, real, fake) in enumerate(game.walk_levels(batch)):
        for loss, own in (
            (
                game.adversarial[k].d(critic, real, fake.detach(), game.progress)[0],
                game.discriminator,
            ),
            (game.adversarial[k].g(critic, real, fake, game.progress)[0], game.generator),
        ):
            game.zero_grad()
            loss.backward()
            assert [
                any(p.grad is not None and p.grad.abs().sum() > 0 for p in level.parameters())
                for level in own
            ] == [level == k for level in range(3)]


def test_each_level_has_a_loss_of_its_own_and_all_are_clipped():
    trainer = steps(
        trainer_for(
            small(
                "lapgan",
                "loss=wgan",
                "loss.clip=0.01",
                "+penalty@loss.penalties.lecam=lecam",
                "loss.penalties.lecam.start=0",
            )
        ),
        2,
    )
    means = [dict(loss.named_buffers()) for loss in trainer.game.adversarial]
    assert len(means) == 2 and means[0].keys() == means[1].keys() != set()
    assert any(not torch.equal(means[0][key], means[1][key]) for key in means[0])
    assert all(p.abs().max() <= 0.01 for p in trainer.game.discriminator.parameters())
    assert {
        "d/adv",
        "d/real",
        "d/sign_real",
        "d/level0_adv",
        "d/level1_lecam",
    } <= trainer.logs.keys()


def test_sampling_chains_the_levels():
    game = game_of(*THREE)
    steps_of = {0: torch.linspace(-1, 1, 80).view(1, 1, 8, 10), 1: 0.5, 2: 0.25}
    game.generator[0].forward = lambda z, label=None: steps_of[0].expand(len(z), -1, -1, -1)
    for k in (1, 2):
        game.generator[k].forward = lambda noise, low, label=None, k=k: torch.full_like(
            low, steps_of[k]
        )
    inputs = game.inputs(2, torch.Generator().manual_seed(0))
    first = steps_of[0]
    second = double_size(steps_of[0]) + 0.5
    wanted = [
        first.repeat_interleave(4, 2).repeat_interleave(4, 3),
        second.repeat_interleave(2, 2).repeat_interleave(2, 3),
        double_size(second) + 0.25,
    ]
    for k, want in enumerate(wanted):
        assert torch.allclose(
            game.sample(inputs, game.generator, level=k), want.expand(2, -1, -1, -1), atol=1e-6
        )
    assert torch.allclose(
        game.sample(inputs, game.generator), wanted[2].expand(2, -1, -1, -1), atol=1e-6
    )


def test_each_level_can_be_shown():
    game = game_of(*THREE).eval()
    inputs = game.inputs(3, torch.Generator().manual_seed(0))
    shown = []
    for level in (0, 1, 2, None):
        torch.manual_seed(4)
        shown.append(game.sample(inputs, game.generator, level=level))
    assert torch.equal(shown[2], shown[3]) and all(x.shape == (3, 1, 32, 40) for x in shown)
    assert torch.allclose(
        halve_size(halve_size(shown[0])), game.generator[0](inputs["z"]), atol=1e-6
    )
    for level in (-1, 3):
        with pytest.raises(UserError, match=r"levels 0 \(the coarsest\) to 2"):
            game.sample(inputs, game.generator, level=level)
    assert (
        {"level", "noise", "truncation"} <= sampling.list_options(game)
        and game.levels == 3
        and "label" not in sampling.list_options(game)
    )


def test_noise_is_random_fixed_or_none():
    game = game_of()
    one = {"z": torch.randn(1, 100).expand(2, -1)}
    drawn = {
        kind: game.sample(one, game.generator, noise=kind) for kind in ("random", "fixed", "none")
    }
    assert not torch.equal(drawn["random"][0], drawn["random"][1])
    assert torch.allclose(drawn["fixed"][0], drawn["fixed"][1], atol=1e-5)
    assert torch.equal(drawn["fixed"], game.sample(one, game.generator, noise="fixed"))
    assert torch.allclose(drawn["none"][0], drawn["none"][1], atol=1e-5) and not torch.allclose(
        drawn["none"], drawn["fixed"], atol=1e-3
    )
    low = torch.zeros(8, 3, 40, 40)
    assert (
        game.draw_planes(low).abs().max()
        <= 3**0.5
        < game_of("model.latent=normal").draw_planes(low).max()
    )


def test_labels_reach_every_level():
    game = game_of("model.conditional=true").eval()
    assert game.needs == ("image", "label") and [
        level.classes for level in (game.generator, game.discriminator)
    ] == [10, 10]
    batch = {"image": images(), "label": torch.tensor([1, 2, 3, 4])}
    relabelled = batch | {"label": torch.tensor([1, 2, 3, 5])}
    for (critic, real, _), (other, _, _) in zip(
        game.walk_levels(batch), game.walk_levels(relabelled), strict=True
    ):
        changed = critic(real) != other(real)
        assert changed.flatten().tolist() == [False, False, False, True]
    inputs = game.inputs(4, torch.Generator().manual_seed(0), label=batch["label"])
    for level in (0, 1):
        pair = [
            game.sample(given, game.generator, noise="none", level=level)
            for given in (inputs, inputs | {"label": batch["label"] + 1})
        ]
        assert not torch.allclose(*pair, atol=1e-4)
    assert game.preview_inputs(3, torch.Generator())["label"].tolist() == [
        k // 3 for k in range(30)
    ]
    trainer = steps(trainer_for(small("lapgan", "model.conditional=true", "loss=wgan_gp")), 1)
    assert all(value.isfinite().all() for value in trainer.game.state_dict().values())


def test_augmentation_sees_whole_images():
    game = game_of()
    batch = {"image": images()}
    seen = []
    game.augment = lambda x: seen.append(x) or x
    for critic, real, _ in game.walk_levels(batch):
        critic(real)
    assert torch.allclose(seen[0], halve_size(batch["image"]), atol=1e-6) and torch.allclose(
        seen[1], batch["image"], atol=1e-6
    )


@pytest.mark.parametrize("augment", ["diffaug", "ada"])
def test_augmentations_train(augment):
    trainer = steps(trainer_for(small("lapgan", f"augment={augment}", "loss=r1")), 2)
    assert all(value.isfinite().all() for value in trainer.game.state_dict().values())
    assert augment == "diffaug" or "d/p" in trainer.logs


def test_three_levels_resume_and_load(tmp_path):
    config = small("lapgan", *THREE, "model.conditional=true")
    whole = steps(trainer_for(config), 1)
    path = checkpoint.save(whole.state_dict(), tmp_path, keep=1)
    resumed = trainer_for(config)
    resumed.load_state_dict(checkpoint.read(path))
    assert differences(steps(whole, 1).state_dict(), steps(resumed, 1).state_dict()) == []
    loaded = checkpoint.load_game(str(path))
    inputs = loaded.game.inputs(2, torch.Generator().manual_seed(0))
    film = sampling.interpolate(inputs, loaded.game.inputs(2, torch.Generator().manual_seed(1)), 3)
    frames = torch.cat(list(sampling.generate(loaded.game, loaded.generator, film, seed=0)))
    assert frames.shape == (6, 1, 32, 40) and frames.isfinite().all()
    again = torch.cat(list(sampling.generate(loaded.game, loaded.generator, film, seed=0)))
    assert torch.equal(frames, again)


def test_one_level_is_an_ordinary_gan():
    trainer = trainer_for(small("lapgan", "model.levels=1"))
    before = copy.deepcopy(trainer.game.state_dict())
    assert len(trainer.game.generator) == 1 and differences(
        before, steps(trainer, 1).game.state_dict()
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["dataset.resolution=34"], r"nearest is \[32,32\]"),
        (["model.levels=9"], "levels from 1 to 8"),
        (["model.levels=3"], "levels=2 or fewer"),
        (["model.discriminator.levels=1"], "give both one resolution"),
        (["model.discriminator.conditional=true"], "give both one resolution"),
        (["model.conditional=true", "dataset.classes=0"], "has no labels"),
    ],
)
def test_wrong_values(wrong, says):
    with pytest.raises(Problems, match=says):
        small("lapgan", *wrong)


@pytest.mark.parametrize("model", ["lapgan", "cogan"])
def test_points_are_refused(model):
    with pytest.raises(Problems, match="does not fit") as refused:
        frozen(f"model={model}", "dataset=ring")
    assert "model=mlp" in refused.value.problems[0][1]


def test_the_papers_settings():
    setup = frozen("experiment=lapgan_cifar10")
    assert all(
        setup["optimizer"][player]["_target_"] == "torch.optim.SGD"
        and setup["optimizer"][player]["lr"] == 0.02
        and setup["optimizer"][player]["momentum"] == 0
        for player in "gd"
    )
    assert (
        setup["loss"]["objective"]["_target_"].endswith("NonSaturating")
        and setup["model"]["discriminator"]["dropout"] == 0.5
    )
    with torch.device("meta"):
        game = build_game(setup, trust=None)
    assert (count(game.generator[2]), count(game.discriminator[2])) == (232_579, 129_409)
