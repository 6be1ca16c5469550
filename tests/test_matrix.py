"""Every model with every loss: both sides move, all is finite, a killed run resumes equally.

The default tier holds every model with one loss of each kind and every loss with one model; the
other cells run with `-m full`. A bug that only such a cell shows moves the cell into the default
tier (`cells`).
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from helpers import differences, frozen, small, steps, trainer_for
from matrix_helpers import HALF, STEPS, check_cell

from gancli.config.build import locate
from gancli.config.fill import list_per_sample_penalties
from gancli.config.folders import find_conf_dir, list_options
from gancli.config.game_rules import locate_game
from gancli.errors import Problems

CONF = list_options([find_conf_dir()])
MODELS = sorted(
    {*CONF["model"]} - {"styletransfer"}
)  # which needs a perceptual network: test_games_translation.py
LOSSES = sorted({*CONF["loss"]} - {"none"})
SERIES = (
    "rcgan",
    "timegan",
    "wavegan",
)  # drawn series are not cut, and nothing of them is mirrored or in colours
# figures are square, of three channels and drawn at their size: tests/games/test_pose.py
FIXED = ("pose",)
TEXT = ("scratchgan", "seqgan", "textgan", "textgan_conv")  # nor of lines
# Muon refuses models without linear layers: tests/test_optimizers.py has those that it trains.
# textgan's has a player more, as the models of text do.
OPTIMIZERS = sorted(set(CONF["optimizer"]) - {"muon", "textgan"})
LATER = [
    model for model in MODELS if model not in ("cgan", "dcgan", "mlp")
]  # two image kinds and two optimizers each, in turn
THOROUGH = (
    "cgan",
    "dcgan",
    "mlp",
    "stylegan2",
    "pggan",
    "infogan",
    "pix2pix",
    "cyclegan",
)  # with every option; others with three, in turn
# One loss of each kind: plain and a penalty at interpolates for every model, clipped weights and
# relativistic for every second one. The option "penalties" has a lazy phase.
KINDS = ("non_saturating", "wgan_gp")
KINDS_IN_TURN = ("wgan", "ragan")
# The model whose every cell is in the default tier, so that every loss and option is.
WITH_ALL = ("dcgan",)
# Models that share their code with others: these are their only cells in the default tier
SPARING = (("pose", "non_saturating"),)
RARE = {model for model, _ in SPARING}
IMAGES = {
    "grey": ("dataset.channels=1",),
    "rgb": ("dataset.channels=3",),
    "rgba": ("dataset.channels=4",),
    "rectangular": ("dataset.resolution=[16,24]",),
}
# n_critic is 5 at most: the generator moves once, after the resume
EXTRAS = {
    "accumulation": ("trainer.accumulate=2",),
    "bf16": ("trainer.precision=bf16",),
    "no ema": ("ema=none",),
    "schedules": (
        "optimizer.g.schedule=linear",
        "optimizer.g.start_kimg=0",
        "optimizer.g.end_kimg=0.06",
        "optimizer.d.schedule=step",
        "optimizer.d.step_kimg=0.016",
        "optimizer.d.warmup_kimg=0.02",
    ),
    "label tricks": (
        "loss.real_target=[0.7,1.2]",
        "loss.fake_target=[0,0.3]",
        "loss.flip=0.1",
        "loss.instance_noise=0.1",
        "loss.instance_noise_kimg=1",
    ),
    "penalties": (
        "+penalty@loss.penalties.drift=drift",
        "+penalty@loss.penalties.r1=r1",
        "loss.penalties.r1.every=2",
    ),
    "l1 and clip": (
        "optimizer.g.l1=1e-4",
        "optimizer.d.weight_decay=0.01",
        "optimizer.g.clip=0.5",
        "optimizer.d.clip=0.5",
    ),
    "windows and flips": ("dataset.load_size=20", "dataset.flip=true"),
    "attempt": ("seed=7",),
}


@functools.cache
def game_of(model: str) -> type:
    return locate_game(small(model))


def setup_for(model: str, *overrides: str) -> dict:
    """A config; a skip where gradient penalties cannot reach the model's critic, once it has said
    so itself.
    """
    if game_of(model).penalisable or not list_per_sample_penalties(small("dcgan", *overrides)):
        return small(model, *overrides)
    with pytest.raises(Problems, match="lets no gradient through"):
        small(model, *overrides)
    pytest.skip(f"{model} takes no gradient penalty")


def cells(pairs: Iterable[tuple], always: Callable[..., bool]) -> list:
    """Cells of the matrix as parameters: those of WITH_ALL's models and those that `always` names;
    the others are marked full, and those of SPARING's models but for the cells that stand there.
    """
    return [
        pytest.param(
            *pair,
            marks=()
            if pair[0] in WITH_ALL or pair[:2] in SPARING or (pair[0] not in RARE and always(*pair))
            else pytest.mark.full,
        )
        for pair in pairs
    ]


def in_turn(names: list[str], k: int) -> list[str]:
    return [names[(2 * k + j) % len(names)] for j in range(2)]


@pytest.mark.parametrize(
    ("model", "loss"),
    cells(
        itertools.product(MODELS, LOSSES),
        lambda model, loss: loss in (*KINDS, KINDS_IN_TURN[MODELS.index(model) % 2]),
    ),
)
def test_every_model_with_every_loss(model, loss, tmp_path):
    check_cell(setup_for(model, f"loss={loss}"), tmp_path, apart=model in WITH_ALL)


@pytest.mark.parametrize(
    ("model", "extra"),
    cells(
        [
            *((model, extra) for model in MODELS if model in THOROUGH for extra in EXTRAS),
            *dict.fromkeys(
                (model, extra)
                for k, model in enumerate(sorted({*MODELS} - {*THOROUGH}))
                for extra in (
                    *(list(EXTRAS)[(3 * k + j) % len(EXTRAS)] for j in range(3)),
                    "penalties",
                )
                if model not in (*SERIES, *TEXT, *FIXED) or extra != "windows and flips"
            ),
        ],
        lambda model, extra: (
            extra == "penalties" or (MODELS.index(model) + list(EXTRAS).index(extra)) % 6 == 0
        ),
    ),
)
def test_options_resume_exactly(model, extra, tmp_path):
    if model == "mlp" and extra == "windows and flips":
        extra_overrides = ("dataset.load_size=10", "dataset.flip=true")
    else:
        extra_overrides = EXTRAS[extra]
    check_cell(setup_for(model, *extra_overrides), tmp_path)


@pytest.mark.parametrize(
    ("model", "optimizer"),
    cells(
        [
            *(
                (m, o)
                for k, (m, o) in enumerate(
                    itertools.product([m for m in MODELS if m not in LATER], OPTIMIZERS)
                )
                if k % 2 or m == "dcgan"
            ),
            *((m, o) for k, m in enumerate(LATER) for o in in_turn(OPTIMIZERS, k)),
        ],
        lambda m, o: m in LATER and (LATER.index(m) + OPTIMIZERS.index(o)) % 4 == 0,
    ),
)
def test_optimizers_resume_exactly(model, optimizer, tmp_path):
    # SGD's own rate of 0.1 diverges within steps under a gradient penalty.
    rates = ("optimizer.g.lr=1e-3", "optimizer.d.lr=1e-3") if optimizer == "sgd" else ()
    check_cell(small(model, f"optimizer={optimizer}", *rates), tmp_path)


@pytest.mark.parametrize(
    ("model", "conditional", "kind"),
    cells(
        itertools.product(
            [model for model in MODELS if model not in LATER], ["true", "false"], IMAGES
        ),
        lambda model, conditional, _: (model == "mlp") == (conditional == "true"),
    ),
)
def test_image_kinds(model, conditional, kind, tmp_path):
    check_cell(
        small(model, *IMAGES[kind], f"model.conditional={conditional}", "loss=wgan_gp"), tmp_path
    )


@pytest.mark.parametrize(
    ("model", "kind", "other"),
    cells(
        [
            (model, kind, j == 1)
            for k, model in enumerate(LATER)
            if model not in (*SERIES, *TEXT, *FIXED)
            for j, kind in enumerate(
                in_turn([kind for kind in IMAGES if (model, kind) != ("ssgan", "rectangular")], k)
            )
        ],
        lambda model, _, other: not other and LATER.index(model) % 2 == 0,
    ),
)
def test_image_kinds_of_later_models(model, kind, other, tmp_path):
    """other: with labels where the model has none by itself, and without where it has, if that is
    its choice.
    """
    setup = small(model)["model"]
    free = "conditional" in setup and not any(
        locate(head["_target_"]).needs_labels for head in setup.get("heads", {}).values()
    )
    turned = (
        [f"model.conditional={str(not setup['conditional']).lower()}"] if other and free else []
    )
    check_cell(
        small(
            model,
            *IMAGES[kind],
            *turned,
            "loss=wgan_gp" if game_of(model).penalisable else "loss=hinge",
        ),
        tmp_path,
    )


@pytest.mark.parametrize("dataset", ["ring", "grid"])
@pytest.mark.parametrize("loss", ["non_saturating", "wgan_gp", "ragan"])
def test_points(dataset, loss, tmp_path):
    setup = frozen(
        "model=mlp",
        f"dataset={dataset}",
        f"loss={loss}",
        "model.generator.hidden=[16]",
        "dataset.n=100",
        "model.discriminator.hidden=[12]",
        "trainer.batch_size=8",
        "trainer.device=cpu",
        "trainer.precision=fp32",
    )
    assert (
        setup["model"]["generator"]["output"] == "linear"
        and setup["model"]["discriminator"]["dropout"] == 0
    )
    check_cell(setup, tmp_path)


@pytest.mark.parametrize("model", SERIES)
def test_labelled_series(model, tmp_path):
    """A file of one's own: 7 steps, which no stride divides, 3 features of any size, 2 classes."""
    values = np.random.RandomState(0).standard_normal((24, 7, 3)) * [1, 5_000, 1e-6] - [0, 9_000, 0]
    np.savez(tmp_path / "own.npz", series=values, label=np.arange(24) % 2)
    setup = small(
        model,
        "dataset=series",
        f"dataset.path={tmp_path / 'own.npz'}",
        "dataset.resolution=[7,1]",
        "dataset.channels=3",
        "model.conditional=true",
        "loss=wgan_gp",
    )
    assert setup["dataset"]["classes"] == 2 and setup["model"]["generator"]["output"] == "linear"
    check_cell(setup, tmp_path)


@pytest.mark.parametrize(
    ("model", "spectrogram"),
    [
        ("wavegan", False),
        *(
            pytest.param(model, spectrogram, marks=pytest.mark.full)
            for model, spectrogram in [
                *((model, False) for model in ("mlp", "rcgan", "timegan")),
                *((model, True) for model in ("acgan", "biggan", "cgan", "dcgan")),
                *((model, True) for model in ("r3gan", "sagan", "sngan", "stylegan2")),
            ]
        ),
    ],
)
def test_labelled_recordings(model, spectrogram, tmp_path):
    """Waves of 256 samples, or spectrograms of 16 frequencies and 16 frames of them."""
    loud = np.random.RandomState(0).randint(-9_000, 9_000, (24, 256)).astype(np.int16)
    np.savez(tmp_path / "own.npz", samples=loud, label=np.arange(24) % 2, rate=4000)
    needed = ("true",) if model in ("acgan", "cgan") else ("auto",)
    setup = small(
        model,
        "dataset=audio",
        f"dataset.path={tmp_path / 'own.npz'}",
        f"dataset.spectrogram={str(spectrogram).lower()}",
        f"dataset.resolution={'auto' if spectrogram else '[256,1]'}",
        "dataset.channels=1",
        f"model.conditional={needed[0]}",
        "loss=non_saturating",
    )
    assert setup["dataset"]["resolution"] == ([16, 16] if spectrogram else [256, 1])
    check_cell(setup, tmp_path)


def test_nothing_in_the_state_is_superfluous(tmp_path):
    """Dropping any one part of the saved state must be noticed in the final bits, or exact resume
    would be luck.
    """
    setup = small("dcgan", "loss=non_saturating")
    whole = steps(trainer_for(setup), STEPS).state_dict()
    half = steps(trainer_for(setup), HALF).state_dict()
    fresh = trainer_for(setup).state_dict()
    for part in ("game", "ema", "optimizers", "progress"):
        resumed = trainer_for(setup)
        resumed.load_state_dict(copy.deepcopy(half) | {part: copy.deepcopy(fresh[part])})
        steps(resumed, STEPS - HALF)
        assert differences(whole, resumed.state_dict()), part


def test_a_rollback_meets_other_draws_and_keeps_its_attempt():
    setup = small("mlp")
    trainer = steps(trainer_for(setup), HALF)
    half = copy.deepcopy(trainer.state_dict())
    first = copy.deepcopy(steps(trainer, 2).state_dict()["game"])
    trainer.rollback(half)
    assert (trainer.progress.step, trainer.progress.attempt) == (HALF, 1)
    assert differences(first, steps(trainer, 2).state_dict()["game"])
    trainer.rollback(half)
    assert trainer.progress.attempt == 2


def test_accumulation_is_the_same_step_in_pieces():
    """Two micro-batches of one batch draw other noise, but the log of what the critic saw of the
    reals stays close.
    """
    one, two = (
        steps(
            trainer_for(
                small(
                    "mlp",
                    "model.discriminator.dropout=0",
                    "model.discriminator.dropout_in=0",
                    f"trainer.accumulate={k}",
                )
            ),
            1,
        )
        for k in (1, 2)
    )
    assert one.logs["d/real"].item() == pytest.approx(two.logs["d/real"].item(), abs=1e-5)
    assert one.logs["d/fake"].item() != two.logs["d/fake"].item()
