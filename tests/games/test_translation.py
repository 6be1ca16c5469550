"""Games from images to images: their phases, terms, pools, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from helpers import DOMAINS, frozen, small, steps, trainer_for
from loss_helpers import write_untrained_squeezenet
from same_helpers import Same, critic, cyclegan, lsgan
from torch import nn

from gancli.errors import Problems, UserError
from gancli.games.pool import ImagePool
from gancli.games.styletransfer import StyleTransfer
from gancli.games.translation import Inpainting, Translation
from gancli.networks.perceptual import Perceptual
from gancli.networks.styletransfer import TransformerNet
from gancli.networks.translation import ResNetGenerator
from gancli.schedules import lr_factor


def translation(**options) -> Translation:
    return Translation(
        **{
            "generator": Same(),
            "discriminator": critic(2),
            "resolution": 8,
            "channels": 1,
            "loss": lsgan(),
        }
        | options
    )


def batch_of(
    n: int = 4, size: int = 8, channels: int = 1, seed: int = 0
) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {key: torch.rand(n, channels, size, size, generator=rng) * 2 - 1 for key in "ab"}


# the pool


def test_a_pool_fills_up_before_it_swaps():
    pool = ImagePool(6, (1, 2, 2))
    rng = torch.Generator().manual_seed(0)
    first = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 2, 2)
    assert torch.equal(pool.swap(first[:4], rng), first[:4]) and pool.filled == 4
    assert torch.equal(pool.swap(first[4:], rng), first[4:]) and pool.filled == 6
    assert torch.equal(pool.images, first)


def test_half_of_a_full_pool_s_answers_are_old():
    pool = ImagePool(50, (1, 1, 1))
    rng = torch.Generator().manual_seed(0)
    pool.swap(torch.zeros(50, 1, 1, 1), rng)
    seen = []
    given = set()
    for k in range(1, 401):
        new = float(k)
        out = pool.swap(torch.full((1, 1, 1, 1), new), rng).item()
        seen.append(out != new)
        if out != new and out:
            assert out not in given, "an image that was taken out is gone"
            given.add(out)
    assert 0.42 < sum(seen) / 400 < 0.58 and len(given) > 100, (
        "new images take the places of those that were taken out"
    )
    kept = pool.images.flatten()
    assert len(set(kept[kept > 0].tolist())) == (kept > 0).sum()


def test_a_pool_of_none_remembers_nothing():
    new = torch.randn(3, 1, 2, 2)
    assert ImagePool(0, (1, 2, 2)).swap(new, torch.Generator()) is new
    with pytest.raises(ValueError, match="0 or more"):
        ImagePool(-1, (1, 2, 2))


# translation


def test_the_terms_of_the_generator():
    batch = batch_of()
    game = translation(pixel_weight=100.0)
    loss, logs = game.g_loss(batch)
    pixel = (batch["a"] - batch["b"]).abs().mean()
    assert logs["pixel"].item() == pytest.approx(pixel.item())
    assert loss.item() == pytest.approx((logs["adv"] + 100 * pixel).item(), rel=1e-5)
    assert translation(pixel="l2").g_loss(batch)[1]["pixel"].item() == pytest.approx(
        (batch["a"] - batch["b"]).square().mean().item()
    )
    assert translation(toward="source").g_loss(batch)[1]["pixel"] == 0


def test_the_critic_sees_the_source_beside_the_image():
    game = translation()
    batch = batch_of()
    want = game.discriminator(torch.cat([batch["b"], batch["a"]], 1))
    assert torch.equal(game.critic(batch)(batch["b"]), want)
    other = game.critic(batch | {"a": -batch["a"]})(batch["b"])
    assert not torch.equal(other, want)


def test_augmentation_moves_source_and_image_alike():
    class Noted(nn.Module):
        def forward(self, x):
            self.shape = tuple(x.shape)
            return x.flip(3)

    game = translation()
    batch = batch_of()
    game.augment = Noted()
    scores = game.critic(batch)(batch["b"])
    assert game.augment.shape == (4, 2, 8, 8)
    assert torch.equal(scores, game.discriminator(torch.cat([batch["b"], batch["a"]], 1).flip(3)))


def test_without_a_critic_the_distance_alone_teaches():
    game = translation(loss=None, pixel_weight=2.0)
    assert (
        list(game.players()) == ["g"]
        and [phase.name for phase in game.phases()] == ["g"]
        and game.discriminator is None
    )
    loss, logs = game.phases()[0].loss(batch_of())
    assert loss.item() == pytest.approx(2 * logs["pixel"].item())
    with pytest.raises(AssertionError, match="leaves the discriminator out"):
        game.critic(batch_of())


def test_a_warm_up_ends_and_the_critic_begins():
    game = translation(warmup=3, pixel_weight=0.0)
    plan = {step: [phase.name for phase in game.phases() if phase.due(step)] for step in range(5)}
    assert plan == {0: ["warmup"], 1: ["warmup"], 2: ["warmup"], 3: ["d", "g"], 4: ["d", "g"]}
    loss, logs = game.phases()[0].loss(batch_of())
    assert loss.item() == logs["pixel"].item() > 0, (
        "in a warm-up pixels teach whatever they weigh later"
    )


def test_the_critic_rests_during_the_warm_up():
    trainer = trainer_for(small("srgan", "model.warmup=2"))
    before = {key: value.clone() for key, value in trainer.game.discriminator.state_dict().items()}
    steps(trainer, 2)
    assert all(
        torch.equal(value, before[key])
        for key, value in trainer.game.discriminator.state_dict().items()
    )
    steps(trainer, 1)
    assert any(
        not torch.equal(value, before[key])
        for key, value in trainer.game.discriminator.state_dict().items()
    )


def test_pixels_weigh_nothing_beside_features_unless_asked():
    assert translation(pixel_weight=None).pixel_weight == 1
    assert (
        translation(
            pixel_weight=None, perceptual=Perceptual(backbone="squeezenet", weights="x")
        ).pixel_weight
        == 0
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"judged": 3}, "judged=3"),
        ({"warmup": -1}, "warmup=-1"),
        ({"loss": None, "pixel_weight": 0.0}, "nothing is left"),
        ({"discriminator": None}, "no discriminator"),
        ({"resolution": 4}, "the discriminator's patches need 6"),
        (
            {
                "generator": ResNetGenerator(channels_in=1, channels_out=1, width=2, blocks=1),
                "resolution": 10,
            },
            "multiples of 4",
        ),
    ],
)
def test_what_does_not_fit_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        translation(**options)


def test_there_is_nothing_to_draw():
    with pytest.raises(UserError, match="not out of noise"):
        translation().inputs(2, None)


def test_loss_none_is_for_games_that_allow_it():
    with pytest.raises(Problems, match="nothing to learn from"):
        frozen("model=dcgan", "loss=none")
    assert (
        frozen("model=cyclegan", f"dataset.path={DOMAINS}", "model.discriminator.a.layers=1")[
            "loss"
        ]
        is not None
    )
    with pytest.raises(Problems, match="nothing to learn from"):
        frozen("model=cyclegan", f"dataset.path={DOMAINS}", "loss=none")


# inpainting


def inpainting(**options) -> Inpainting:
    return Inpainting(
        **{
            "generator": Same(),
            "discriminator": critic(1),
            "resolution": 8,
            "channels": 1,
            "loss": lsgan(),
        }
        | options
    )


def holed(size: int = 8) -> dict[str, torch.Tensor]:
    batch = batch_of(size=size)
    mask = torch.zeros(4, 1, size, size)
    mask[:, :, 2:6, 2:6] = 1
    return {"a": batch["b"] * (1 - mask), "b": batch["b"], "mask": mask}


def test_what_is_no_hole_stays():
    game = inpainting()
    batch = holed()
    game.generator.weight.data.fill_(-3)
    out = game.sample(batch, game.generator)
    outside = batch["mask"] == 0
    assert torch.equal(out[outside], batch["a"][outside]) and (out[~outside] == 0).all()


def test_the_border_of_a_hole_counts_ten_times():
    batch = holed()
    fake = batch["b"] + batch["mask"]  # an error of 1 at all 16 places of the hole
    assert inpainting(border=0).pixel_distance(fake, batch["b"], batch).item() == pytest.approx(1)
    # 12 of the 16 places are at its edge.
    assert inpainting(border=1).pixel_distance(fake, batch["b"], batch).item() == pytest.approx(
        (12 * 10 + 4) / 16
    )
    assert inpainting(border=2).pixel_distance(fake, batch["b"], batch).item() == pytest.approx(10)
    full = batch | {"mask": torch.zeros_like(batch["mask"])}
    assert inpainting(border=4).pixel_distance(fake, batch["b"], full) == 0


# CycleGAN


def test_what_comes_back_unchanged_costs_nothing():
    game = cyclegan()
    batch = batch_of()
    loss, logs = game.g_loss(batch)
    assert logs["cycle"] == 0 and logs["identity"] == 0
    assert loss.item() == pytest.approx((logs["a_adv"] + logs["b_adv"]).item())
    assert game.cycle_error(batch, game.generator).tolist() == [0.0] * 4
    game.generator["ab"].weight.data.fill_(0.5)
    loss, logs = game.g_loss(batch)
    mean = {side: batch[side].abs().mean() for side in "ab"}
    assert logs["cycle"].item() == pytest.approx((0.5 * (mean["a"] + mean["b"])).item(), rel=1e-5)
    assert logs["identity"].item() == pytest.approx((0.5 * mean["b"]).item(), rel=1e-5)
    assert loss.item() == pytest.approx(
        (logs["a_adv"] + logs["b_adv"] + 10 * logs["cycle"] + 5 * logs["identity"]).item(), rel=1e-5
    )


def test_generators_move_before_the_critics_which_see_the_pool():
    game = cyclegan()
    g, d = game.phases()
    assert (g.name, d.name) == ("g", "d") and g.prepare is None
    first = d.prepare(batch_of(), torch.Generator().manual_seed(0))
    assert torch.equal(first["fake_b"], first["a"]) and game.pools["a"].filled == 4
    later = d.prepare(batch_of(seed=1), torch.Generator().manual_seed(1))
    assert not torch.equal(later["fake_b"], later["a"])
    assert {key.split(".")[0] for key in game.state_dict() if "pools" in key} == {"pools"}


def test_directions():
    game = cyclegan()
    batch = batch_of()
    game.generator["ba"].weight.data.fill_(0.25)
    assert torch.equal(game.sample(batch, game.generator, direction="ba"), batch["a"] * 0.25)
    assert list(game.draw_panels(batch, game.generator)) == [
        "a",
        "a to b",
        "and back to a",
        "b",
        "b to a",
        "and back to b",
    ]
    with pytest.raises(ValueError, match="ab and ba"):
        cyclegan(generator={"ab": Same()})


def test_the_paper_s_decay():
    """REFERENCE 5.18: 1 - max(0, e - 100) / 101 after e epochs; here of 1,000 images."""
    for epoch, want in ((50, 1.0), (101, 0.990099), (150, 0.504950), (200, 0.00990099)):
        factor = lr_factor(
            1000 * epoch,
            kind="linear",
            start_kimg=100,
            end_kimg=201,
            final=0.0,
            step_kimg=None,
            gamma=0.1,
            warmup_kimg=0,
        )
        assert factor == pytest.approx(want, rel=1e-5)


# style transfer


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> str:
    return write_untrained_squeezenet(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("net", ["any", "one"])
def test_style_transfer_moves_and_resumes(net, features):
    one = (
        ("model.generator._target_=gancli.networks.styletransfer.TransformerNet",)
        if net == "one"
        else ()
    )
    config = frozen(
        "model=styletransfer",
        f"dataset.path={DOMAINS}",
        "dataset.resolution=16",
        "model.width=4",
        "model.generator.blocks=1",
        *one,
        "perceptual=squeezenet_style",
        f"perceptual.weights={features}",
        "trainer.batch_size=2",
        "metrics=none",
    )
    whole = steps(trainer_for(config), 3)
    half = steps(trainer_for(config), 1)
    resumed = trainer_for(config)
    resumed.load_state_dict(half.state_dict())
    steps(resumed, 2)
    states = whole.game.state_dict(), resumed.game.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not any("perceptual" in key for key in states[0]), "what is not trained is not saved"
    assert whole.game.extras == (("style",) if net == "any" else ())
    batch = whole.game.example(2, 3, (16, 16))
    inputs = {"a": batch["a"], "style": torch.ones(2, 3, 24, 20)} if net == "any" else batch
    assert whole.game.sample(inputs, whole.ema).shape == (2, 3, 16, 16)


def test_style_transfer_needs_features(tmp_path):
    with pytest.raises(ValueError, match="squeezenet_style"):
        StyleTransfer(generator=TransformerNet(width=2, blocks=1), resolution=16, channels=3)
    game = StyleTransfer(
        generator=TransformerNet(width=2, blocks=1),
        resolution=16,
        channels=3,
        perceptual=Perceptual(backbone="squeezenet", weights=str(tmp_path / "none.pth")),
    )
    with pytest.raises(ValueError, match="there is no file"):
        game.ready()
