"""Growing games: the plan, fading without a jump, reals as the stage sees them, moments dropped on
growth, resume around it, styles.
"""

from __future__ import annotations

import copy
import itertools
import re

import pytest
import torch
from helpers import differences, frozen, small, steps, trainer_for

from gancli import checkpoint
from gancli.config.build import build_game
from gancli.errors import Problems, UserError
from gancli.evaluation.samples import make_scorer
from gancli.game import Progress
from gancli.inference import sampling
from gancli.losses.penalties import GradientPenalty
from gancli.networks.pggan import enlarge, shrink

PGGAN = small(
    "pggan", "loss=non_saturating"
)  # stages of 4, 8 and 16 pixels; stable for 8 images, blended over 16
STYLE = small("stylegan", "model.start_stage=0")
BLEND = 8 + 8  # images after which stage 1 has a share of a half


def game(config=PGGAN, nimg=0):
    torch.manual_seed(0)
    made = build_game(config, trust=None)
    made.advance(Progress(nimg=nimg))
    return made


def planned(*, fade, stable, start=0):
    times = {"fade_kimg": fade, "stable_kimg": stable, "start_stage": start}
    made = build_game(PGGAN | {"model": PGGAN["model"] | times}, trust=None)
    return lambda kimg: made.plan(round(1000 * kimg))


def test_the_papers_plan():
    plan = planned(fade=600, stable=600)
    assert [plan(kimg) for kimg in (0, 599.999, 600, 900, 1199.999, 1200, 1799.999)] == [
        (0, None),
        (0, None),
        (1, 0.0),
        (1, 0.5),
        (1, 599_999 / 600_000),
        (1, None),
        (1, None),
    ]
    assert [plan(kimg) for kimg in (1800, 2100, 2400, 3000, 25_000)] == [
        (2, 0.0),
        (2, 0.5),
        (2, None),
        (2, None),
        (2, None),
    ]


def test_plans_without_a_fade_a_rest_or_growth():
    assert [planned(fade=0, stable=1)(kimg) for kimg in (0, 1, 1.5, 2, 9)] == [
        (0, None),
        (1, None),
        (1, None),
        (2, None),
        (2, None),
    ]
    assert [planned(fade=1, stable=0)(kimg) for kimg in (0, 0.5, 1, 2, 3)] == [
        (1, 0.0),
        (1, 0.5),
        (2, 0.0),
        (2, None),
        (2, None),
    ]
    assert planned(fade=0, stable=0)(0) == (2, None)
    assert [planned(fade=1, stable=1, start=1)(kimg) for kimg in (0, 1, 1.25, 2, 9)] == [
        (1, None),
        (2, 0.0),
        (2, 0.25),
        (2, None),
        (2, None),
    ]


def test_the_size_grows_without_a_jump():
    plan = planned(fade=1, stable=0.5)
    batch = 0.008
    sizes = [
        stage - 1 + share if share is not None else stage
        for stage, share in (plan(batch * k) for k in range(1000))
    ]
    moves = [b - a for a, b in itertools.pairwise(sizes)]
    assert min(moves) >= 0 and max(moves) <= batch + 1e-9 and sizes[0] == 0 and sizes[-1] == 2


def test_advance_depends_on_progress_alone():
    a = game()
    b = game()
    positions = [0, 8, 16, 24, 31, 32, 40, 48, 64]
    for nimg in positions:
        a.advance(Progress(nimg=nimg))
    for nimg in [*reversed(positions), 40]:
        b.advance(Progress(nimg=nimg))
    a.advance(Progress(nimg=40, step=3))
    assert (a.stage, a.alpha) == (b.stage, b.alpha) == (2, torch.tensor(0.5))
    assert (
        game(nimg=24).alpha is None and game(nimg=0).alpha is None and game(nimg=1000).alpha is None
    )


def test_moments_are_dropped_when_a_stage_comes_and_when_it_is_blended_in():
    """The trainer clears the optimizers where advance says True: after 8, 24, 32 and 48 images.

    The authors' code resets Adam where the floor or the ceiling of its level of detail changes.
    """
    trainer = trainer_for(PGGAN)
    dropped = []
    stages = []
    for _ in range(7):
        steps(trainer, 1)
        dropped.append([not player.optimizer.state for player in trainer.players.values()])
        stages.append((trainer.game.stage, trainer.game.blending))
    assert stages == [
        (1, True),
        (1, True),
        (1, False),
        (2, True),
        (2, True),
        (2, False),
        (2, False),
    ]
    assert dropped == [[step in (1, 3, 4, 6)] * 2 for step in range(1, 8)]


@pytest.mark.parametrize("config", [PGGAN, STYLE], ids=["pggan", "stylegan"])
def test_nothing_jumps_when_a_stage_starts(config):
    """The last losses of a stage and the first of the next, from the same noise and the same images
    of full size.
    """
    nimg = 8 if config is PGGAN else 24
    values = []
    for position in (nimg - 1, nimg):
        made = game(config | {"loss": PGGAN["loss"]}, position)
        made.mixing = 0.0  # its cut is drawn from more layers, and of other numbers
        batch = {
            "image": torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
        }
        torch.manual_seed(3)
        d = made.d_loss(batch)[0]
        torch.manual_seed(3)
        values.append(
            (
                made.stage,
                d,
                made.g_loss(batch)[0],
                made.sample(made.inputs(4, torch.Generator().manual_seed(2)), made.generator),
            )
        )
    (before, *old), (after, *new) = values
    assert (before, after) == (0, 1)
    for a, b in zip(old, new, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_reals_are_pooled_and_blended_as_fakes_are():
    full = torch.randn(4, 1, 16, 16)
    batch = {"image": full, "label": torch.arange(4)}
    assert torch.allclose(
        game().fit_batch_to_stage(batch)["image"],
        full.reshape(4, 1, 4, 4, 4, 4).mean((3, 5)),
        atol=1e-6,
    )
    fine = shrink(full, 2)
    coarse = enlarge(shrink(full, 4), 2)
    assert torch.allclose(
        game(nimg=BLEND).fit_batch_to_stage(batch)["image"], 0.5 * (fine + coarse), atol=1e-6
    )
    assert torch.allclose(game(nimg=8).fit_batch_to_stage(batch)["image"], coarse, atol=1e-6)
    assert torch.allclose(
        game(nimg=8 + 4).fit_batch_to_stage(batch)["image"], 0.25 * fine + 0.75 * coarse, atol=1e-6
    )
    assert torch.equal(game(nimg=24).fit_batch_to_stage(batch)["image"], fine)
    assert torch.equal(game(nimg=48).fit_batch_to_stage(batch)["image"], full)
    assert batch["image"] is full and torch.equal(
        game(nimg=24).fit_batch_to_stage(batch)["label"], batch["label"]
    )


@pytest.mark.parametrize(("nimg", "side"), [(0, 4), (BLEND, 8), (24, 8), (32, 16), (48, 16)])
@pytest.mark.parametrize(
    "config", [PGGAN, small("pggan", "dataset.resolution=[16,24]")], ids=["square", "rectangular"]
)
def test_the_critic_sees_the_stages_size_and_samples_have_the_full_one(config, nimg, side):
    made = game(config, nimg)
    seen = []
    height = 16
    width = (
        config["dataset"]["resolution"][1]
        if isinstance(config["dataset"]["resolution"], list)
        else 16
    )
    made.discriminator.from_image[made.stage].register_forward_pre_hook(
        lambda _, x: seen.append(tuple(x[0].shape[2:]))
    )
    made.d_loss({"image": torch.randn(4, 1, height, width)})
    made.g_loss({"image": torch.randn(4, 1, height, width)})
    assert set(seen) == {(side, side * width // height)}
    image = made.sample(made.inputs(3, torch.Generator().manual_seed(0)), made.generator)
    assert image.shape == (3, 1, height, width)
    assert torch.allclose(image, enlarge(shrink(image, 16 // side), 16 // side), atol=1e-6), (
        "pixels of a smaller stage are repeated"
    )


def test_images_of_full_size_can_be_judged_at_any_stage():
    """Evaluations and `gan features` know no stages."""
    made = game(nimg=BLEND)
    full = torch.randn(4, 1, 16, 16)
    want = made.discriminator(shrink(full, 2), stage=1, alpha=torch.tensor(0.5))
    assert torch.allclose(make_scorer(made, torch.device("cpu"))(full, None), want, atol=1e-6)
    assert made.critic({"image": full}).features(full).shape == (4, made.discriminator.feature_dim)


def test_an_inactive_layer_stays_where_it_is():
    trainer = trainer_for(PGGAN)
    start = copy.deepcopy(trainer.game.state_dict())
    steps(trainer, 3)  # stage 0, then stage 1, blended
    now = trainer.game.state_dict()
    for key, value in now.items():
        rests = ".to_image.2." in key or ".from_image.2." in key or ".blocks.1." in key
        assert not rests or torch.equal(value, start[key]), key
    assert not torch.equal(now["generator.to_image.1.weight"], start["generator.to_image.1.weight"])


@pytest.mark.parametrize("config", [small("pggan"), small("stylegan")], ids=["pggan", "stylegan"])
def test_resume_on_both_sides_of_a_stage(config, tmp_path):
    """PGGAN grows after steps 1 and 4, StyleGAN after step 3: saved before, at and after it, a run
    ends in the same bits.
    """
    total = 5
    whole = trainer_for(config)
    saved = {}
    for step in range(1, total + 1):
        steps(whole, 1)
        if step < total:
            saved[step] = checkpoint.save(whole.state_dict(), tmp_path, keep=9)
    for step, path in saved.items():
        resumed = trainer_for(config)
        torch.rand(5)
        resumed.load_state_dict(checkpoint.read(path))
        assert differences(whole.state_dict(), steps(resumed, total - step).state_dict()) == [], (
            f"saved after step {step}"
        )


def test_a_checkpoint_is_sampled_at_its_own_stage(tmp_path):
    trainer = steps(trainer_for(PGGAN), 2)
    loaded = checkpoint.load_game(str(checkpoint.save(trainer.state_dict(), tmp_path, keep=1)))
    assert (
        loaded.game.stage == 1
        and loaded.game.alpha.item() == 0.5
        and "share" not in loaded.tree["game"]
    )
    inputs = loaded.game.inputs(2, torch.Generator().manual_seed(0))
    image = loaded.game.sample(inputs, loaded.generator)
    # Close and not equal: a loaded game lies in torch's own layout.
    torch.testing.assert_close(image, trainer.game.sample(inputs, trainer.ema))
    assert image.shape[2:] == (16, 16)


def test_the_partners_of_the_papers():
    growing = frozen("model=pggan")
    styled = frozen("model=stylegan")
    penalties = growing["loss"]["penalties"]
    assert (
        growing["loss"]["objective"]["_target_"].endswith("Wasserstein")
        and growing["loss"]["n_critic"] == 1
    )
    assert penalties["drift"]["weight"] == 0.001 and penalties["gp"]["weight"] == 10
    assert (
        styled["loss"]["objective"]["_target_"].endswith("NonSaturating")
        and styled["loss"]["penalties"]["r1"]["weight"] == 5
    )
    for player in (
        growing["optimizer"]["g"],
        growing["optimizer"]["d"],
        styled["optimizer"]["g"],
        styled["optimizer"]["d"],
    ):
        assert player["betas"] == [0.0, 0.99] and player["lr"] == 1e-3


def test_the_cifar_experiment_wants_slopes_of_750():
    setup = frozen("experiment=pggan_cifar10")
    spec = setup["loss"]["penalties"]["gp"]
    penalty = GradientPenalty(**{key: value for key, value in spec.items() if key != "_target_"})
    assert (
        spec["target"],
        setup["loss"]["n_critic"],
        setup["model"]["fade_kimg"],
        setup["model"]["latent"],
    ) == (750, 1, 400, "normal")
    for slope, want in ((0.0, 10.0), (750.0, 0.0), (1500.0, 10.0)):
        value = penalty(
            lambda x, s=slope: s * x.flatten(1)[:, :1],
            torch.randn(4, 1, 2, 2, dtype=torch.float64),
            torch.randn(4, 1, 2, 2, dtype=torch.float64),
            None,
            None,
            Progress(),
        )
        weighted = penalty.apply_weight(value, Progress())
        assert weighted.item() == pytest.approx(want, abs=1e-6)
    with torch.device("meta"):
        made = build_game(setup, trust=None)
    assert [
        sum(p.numel() for p in net.parameters()) for net in (made.generator, made.discriminator)
    ] == [1_296_908, 1_298_689]


@pytest.mark.parametrize(
    ("model", "overrides", "says"),
    [
        ("pggan", ["model.fade_kimg=-1"], "model.fade_kimg=-1.*0 or more"),
        ("pggan", ["model.discriminator.resolution=32"], "both one resolution"),
        ("pggan", ["model.start_stage=3"], "stages 0 to 2"),
        ("stylegan", ["model.mixing=1.5"], "model.mixing=1.5.*from 0 to 1"),
        ("pggan", ["dataset.resolution=30"], "nearest"),
    ],
)
def test_settings_that_do_not_fit_are_refused(model, overrides, says):
    with pytest.raises(Problems) as raised:
        small(model, *overrides)
    assert re.search(says, str(raised.value.problems))


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.pack=2"],
        ["model.generator_batch=2"],
        ["+head@model.heads.rotation=rotation"],
        ["model.conditional=true", "+head@model.heads.acgan=acgan"],
    ],
)
def test_packs_heads_and_bigger_batches_grow_too(overrides):
    trainer = steps(trainer_for(small("pggan", *overrides)), 3)
    assert trainer.game.stage == 1 and all(
        value.isfinite().all() for value in trainer.game.state_dict().values()
    )


def test_mixing_crosses_within_the_stages_layers():
    made = game(STYLE, 10_000)
    assert made.stage == 2
    torch.manual_seed(0)
    masks = torch.stack([made.draw_crossing(torch.device("cpu")) for _ in range(600)])
    firsts = 6 - masks.sum(1)
    assert set(firsts.tolist()) == {1, 2, 3, 4, 5, 6}, "cuts before layers 1 to 5, or nowhere"
    assert (firsts == 6).float().mean().item() == pytest.approx(0.1, abs=0.04)
    assert (masks[:, 1:].int() >= masks[:, :-1].int()).all(), "one cut"
    made.advance(Progress(nimg=0))
    assert {6 - made.draw_crossing(torch.device("cpu")).sum().item() for _ in range(50)} == {
        1,
        6,
    }, "4 pixels have two layers"
    made.mixing = 0.0
    assert not made.draw_crossing(torch.device("cpu")).any()


def test_training_moves_the_mean_style_and_sampling_does_not():
    trainer = steps(trainer_for(STYLE), 1)
    kept = trainer.game.generator.w_avg.clone()
    assert kept.abs().max() > 0 and torch.equal(trainer.ema.w_avg, kept)
    trainer.game.sample(trainer.game.inputs(4, None), trainer.ema)
    assert torch.equal(trainer.game.generator.w_avg, kept) and torch.equal(trainer.ema.w_avg, kept)


def test_truncation_draws_the_first_layers_to_the_mean():
    made = game(STYLE, 10_000).eval()
    made.generator.w_avg.normal_()
    rng = torch.Generator().manual_seed
    plain, near, none, some = (
        made.inputs(3, rng(0), **options)
        for options in (
            {},
            {"truncation": 0.0},
            {"truncation": 1.0},
            {"truncation": 0.0, "truncated_layers": 2},
        )
    )
    assert torch.equal(plain["z"], near["z"])
    draw = {
        key: made.sample(inputs, made.generator, noise="none")
        for key, inputs in (("plain", plain), ("near", near), ("none", none), ("some", some))
    }
    assert torch.allclose(draw["none"], draw["plain"], atol=1e-4)
    assert torch.allclose(draw["near"][0], draw["near"][1], atol=1e-4), "8 layers are more than all"
    styles = made.generator.mapping(plain["z"])[:, None].repeat(1, 6, 1)
    styles[:, :2] = made.generator.w_avg
    assert torch.allclose(
        draw["some"], made.sample({"styles": styles}, made.generator, noise="none"), atol=1e-4
    )
    film = sampling.interpolate(near, made.inputs(3, rng(1), truncation=0.0), 4)
    assert all(value.isfinite().all() for value in film.values()) and len(film["psi"]) == 12


def test_styles_of_a_source_and_a_destination():
    made = game(STYLE, 10_000).eval()
    a, b = (made.inputs(2, torch.Generator().manual_seed(k)) for k in (0, 1))
    images = [
        made.sample(inputs, made.generator, noise="none")
        for inputs in (
            a,
            b,
            made.mix_styles(a, b, first=0, last=0),
            made.mix_styles(a, b, first=0, last=6),
            made.mix_styles(a, b, first=4, last=6),
        )
    ]
    assert torch.allclose(images[2], images[0], atol=1e-4) and torch.allclose(
        images[3], images[1], atol=1e-4
    )
    assert not torch.allclose(images[4], images[0], atol=1e-2) and not torch.allclose(
        images[4], images[1], atol=1e-2
    )


def test_which_options_sampling_has():
    assert {"truncation", "truncated_layers", "noise"} <= sampling.list_options(game(STYLE))
    assert "truncation" not in sampling.list_options(game())
    with pytest.raises(UserError, match="does not apply"):
        sampling.refuse_unknown(game(), {"truncation": 0.5})


def test_a_film_can_keep_its_noise():
    made = game(STYLE, 10_000).eval()
    with torch.no_grad():
        for block in made.generator.blocks:
            for part in block.styled:
                part.strength.fill_(1.0)
    inputs = {"z": torch.randn(1, 8).expand(2, -1)}
    fixed, random = (
        made.sample(inputs, made.generator, noise=kind) for kind in ("fixed", "random")
    )
    assert torch.allclose(fixed[0], fixed[1], atol=1e-4) and not torch.allclose(
        random[0], random[1], atol=1e-2
    )
