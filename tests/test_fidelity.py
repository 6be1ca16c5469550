"""What the published settings say, held against the papers' own numbers and equations."""

from __future__ import annotations

import pytest
import torch
from helpers import OF_DIGITS, REPO, frozen, small, trainer_for

from gancli.config.build import build_game
from gancli.config.folders import find_conf_dir, list_options
from gancli.config.schema import PlayerConfig
from gancli.data.derived import Holed
from gancli.games.stylegan2 import measure_path_lengths
from gancli.optimizers import OURS, make_players
from gancli.schedules import lr_factor


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
        assert chosen.get_loss(side).objective.boundary == 0.5
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


@pytest.mark.parametrize("experiment", ["ssgan_cifar10", "lapgan_cifar10"])
def test_the_authors_mirror_nothing(experiment):
    assert frozen(f"experiment={experiment}")["dataset"]["flip"] is False


def test_infogan_moves_its_reader_with_the_discriminator_and_at_its_rate():
    config = frozen("experiment=infogan_mnist")
    assert config["model"]["q_moves"] == "d"
    assert config["optimizer"]["q"] == config["optimizer"]["d"]
    assert (config["optimizer"]["g"]["lr"], config["optimizer"]["q"]["lr"]) == (1e-3, 2e-4)


def test_the_path_length_has_the_gradient_of_the_authors_loss():
    """Through second derivatives of the whole generator; the mean's own share is 0.01 of it.

    In the authors' code m = lerp(m, mean(length), 0.01), the loss is weight * every *
    mean((length - m)^2), and nothing in it is detached.
    """
    game = build_small("stylegan2", "model.mixing=0", "model.pl_weight=2")
    generator = game.generator
    batch = {"image": torch.zeros(8, 1, 16, 16)}

    def lengths():
        torch.manual_seed(7)
        styles = generator.styles(game.draw_training_inputs(4, None)["z"])
        return measure_path_lengths(generator.synthesis(styles), styles)

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


def rates_of(config: dict, player: str, positions: list[float]) -> list[float]:
    """The learning rate of a player after so many thousand images."""
    spec = config["optimizer"][player]
    ours = PlayerConfig(**{key: spec[key] for key in OURS if key in spec})
    return [
        spec["lr"]
        * lr_factor(
            round(1000 * kimg),
            kind=ours.schedule,
            start_kimg=ours.start_kimg,
            end_kimg=ours.end_kimg,
            final=ours.final,
            step_kimg=ours.step_kimg,
            gamma=ours.gamma,
            warmup_kimg=ours.warmup_kimg,
        )
        for kimg in positions
    ]


def test_pggan_on_celebahq_has_the_phases_of_preset_v1():
    config = frozen("experiment=pggan_celebahq1024")
    model = config["model"]
    assert (model["fade_kimg"], model["stable_kimg"]) == (800, 800)
    assert config["trainer"]["batch_size"] * config["trainer"]["steps"] == 19_000_000
    assert model["discriminator"]["mbstd_group"] == 16
    assert config["trainer"]["accumulate"] == 1, "a group is no larger than a micro-batch"
    with torch.device("meta"):
        game = build_game(config, trust=None)
    comes = [800 + 1600 * k for k in range(8)]  # 8 to 1024 pixels
    assert [game.plan(1000 * kimg) for kimg in comes] == [(k, 0.0) for k in range(1, 9)]
    for player in ("g", "d"):
        at_once = rates_of(config, player, [0, *comes])
        assert at_once == pytest.approx([6.7379e-6] * 9, rel=1e-4)
        assert rates_of(config, player, [20, 820, 12_020]) == pytest.approx([2.865048e-4] * 3)
        later = [40, 799, 840, 1600, 2399, 12_040, 18_999]
        assert rates_of(config, player, later) == pytest.approx([1e-3] * 7)


def test_pggan_on_cifar10_compares_the_whole_batch():
    config = frozen("experiment=pggan_cifar10")
    assert config["model"]["discriminator"]["mbstd_group"] == config["trainer"]["batch_size"] == 16
    assert rates_of(config, "g", [0, 400, 20_000]) == [1e-3] * 3, "the authors' has no ramp"


def test_stylegan_has_the_rates_of_its_sizes():
    config = frozen("experiment=stylegan_ffhq1024")
    sizes = [600, 1800, 3000, 4200, 5400, 6600, 7800]  # 16 to 1024 pixels
    want = [1e-3, 1e-3, 1e-3, 1.5e-3, 2e-3, 3e-3, 3e-3]
    assert rates_of(config, "g", sizes) == rates_of(config, "d", sizes) == pytest.approx(want)
    with torch.device("meta"):
        game = build_game(config, trust=None)
    assert [game.plan(1000 * kimg)[0] for kimg in sizes] == [2, 3, 4, 5, 6, 7, 8]


PHOTOS = (
    "dataset.path=nowhere",
    "dataset.channels=3",
    "dataset.holdout=2",
    "perceptual=none",
)


def test_esrgan_has_the_rates_of_basicsr():
    config = frozen("experiment=esrgan_photos_x4", *PHOTOS)
    assert config["model"]["warmup"] == 1_000_000
    batch = config["trainer"]["batch_size"] / 1000
    pixels = [0, 125_000, 249_999, 250_000, 500_000, 750_000]
    assert rates_of(config, "g", [step * batch for step in pixels]) == pytest.approx(
        [2e-4, 1.0005e-4, 1e-7, 2e-4, 2e-4, 2e-4], rel=1e-3
    )
    after = [0, 49_999, 50_000, 100_000, 200_000, 300_000, 399_999]
    halved = [1e-4, 1e-4, 5e-5, 2.5e-5, 1.25e-5, 6.25e-6, 6.25e-6]
    for player in ("g", "d"):
        positions = [(1_000_000 + step) * batch for step in after]
        assert rates_of(config, player, positions) == pytest.approx(halved)


def test_esrgan_weighs_pixels_as_if_they_went_from_0_to_1():
    weight = frozen("model=esrgan", *PHOTOS, "dataset.resolution=128")["model"]["pixel_weight"]
    made = torch.rand(2, 3, 8, 8)
    wanted = torch.rand(2, 3, 8, 8)
    ours = weight * ((2 * made - 1) - (2 * wanted - 1)).abs().mean()
    assert ours.item() == pytest.approx(0.01 * (made - wanted).abs().mean().item(), rel=1e-5)


def test_the_context_encoder_sees_the_border_that_it_is_weighed_on():
    """The authors' overlapPred: 4 of 128 pixels at each edge of the middle 64 x 64.

    They are visible, the generator makes them too, and their squared error counts ten times in the
    mean over all 64 x 64; what is hidden is 56 x 56.
    """
    config = frozen(
        "experiment=inpaint_paris",
        "dataset.path=nowhere",
        "dataset.channels=3",
        "dataset.holdout=2",
        "model.width=2",
        "model.generator.bottleneck=4",
    )
    assert config["dataset"]["load_size"] == 350
    game = build_game(config, trust=None)
    holed = Holed(config["dataset"]["holes"], 0.25, config["dataset"]["overlap"])
    batch = holed(torch.rand(2, 3, 128, 128) * 2 - 1, None)
    assert batch["mask"].sum() == 2 * 56 * 56 and batch["mask"][:, :, 36:92, 36:92].all()
    predicted = game.widen_mask(batch["mask"])
    assert predicted.sum() == 2 * 64 * 64 and predicted[:, :, 32:96, 32:96].all()
    ring = predicted - batch["mask"]
    assert torch.equal(batch["a"] * ring, batch["b"] * ring), "it is visible"

    made = game.generator(batch["a"]).detach()
    fake = game.make_fake(batch).detach()
    middle = (slice(None), slice(None), slice(32, 96), slice(32, 96))
    assert torch.equal(fake[middle], made[middle]), "what the discriminator and the loss see"
    outside = (predicted == 0).expand_as(fake)
    assert torch.equal(fake[outside], batch["b"][outside])
    sampled = game.sample(batch, game.generator)
    kept = (batch["mask"] == 0).expand_as(sampled)
    assert torch.equal(sampled[kept], batch["b"][kept]), "a sample keeps every visible pixel"

    weights = torch.full((64, 64), 10.0)
    weights[4:60, 4:60] = 1
    error = (fake[middle] - batch["b"][middle]).square()
    assert game.pixel_distance(fake, batch["b"], batch).item() == pytest.approx(
        (error * weights).mean().item(), rel=1e-5
    )


def test_a_context_encoder_trains_with_its_overlap():
    trainer = trainer_for(small("inpaint", *OF_DIGITS, "dataset.resolution=32"))
    assert trainer.game.reach == (1, 1)
    trainer.step()
    assert trainer.logs["g/pixel"].isfinite()


def test_every_experiment_of_a_paper_has_a_row():
    """docs/fidelity.md tells of each what was compared; `_small` ones are ours by their name."""
    table = (REPO / "docs" / "fidelity.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in row.replace("`", "").replace(" ", "").split(",")}
    found = list_options([find_conf_dir()])["experiment"]
    assert {name for name in found if not name.endswith("_small")} <= told
    models = list_options([find_conf_dir()])["model"]
    assert told <= set(found) | set(models), "no row of an experiment that is gone"


@pytest.mark.parametrize(
    "experiment", ["acgan_cifar10", "cogan_mnist_edges", "infogan_mnist", "dcgan_stacked_mnist"]
)
def test_older_papers_sample_from_the_generator_itself(experiment):
    assert frozen(f"experiment={experiment}")["ema"]["half_life_kimg"] == 0


@pytest.mark.parametrize(
    ("experiment", "n", "kimg"),
    [
        ("biggan_cifar10", 10_000, 1600),
        ("sagan_imagenet128", 10_000, 6400),
        ("pggan_celebahq1024", 50_000, 200),
        ("stylegan_ffhq1024", 50_000, 200),
        ("stylegan2_ffhq1024_e", 50_000, 200),
        ("stylegan2_ffhq1024_f", 50_000, 200),
        ("r3gan_ffhq256", 50_000, 199.936),
        ("infogan_mnist", 10_000, 640),
        ("cogan_mnist_edges", 10_000, 640),
    ],
)
def test_a_papers_run_is_evaluated_as_its_paper_does(experiment, n, kimg):
    config = frozen(f"experiment={experiment}")
    assert config["metrics"]["n"] == n
    assert config["metrics"]["every"] * config["trainer"]["batch_size"] == 1000 * kimg
    if n == 50_000:  # faces have no labels for a classifier of their own
        assert config["metrics"]["features"] == "inception"
        assert [row["n"] for row in config["published"] if row["metric"] == "fid"] == [n]
