"""What a choice makes idle is said: an experiment's values, parts that a model does not use."""

from __future__ import annotations

import logging
import re
import textwrap
from contextlib import contextmanager
from pathlib import Path

import pytest
import train_helpers
from helpers import SMALL
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from train_helpers import QUIET, TINY, sound

from gancli.cli import main
from gancli.commands.sweep import find_idle_values
from gancli.config import compose, experiments
from gancli.config.validate import validate
from gancli.errors import Problems

gan, package = map(pytest.fixture, (train_helpers.gan, train_helpers.package))
WITH_LOSS = ("pggan_cifar10", "r3gan_ffhq256", "stylegan_digits_small", "biggan_digits_small")
NO_LOSS = """
from gancli.games.gan import GAN
from gancli.losses.adversarial import AdversarialLoss
from gancli.losses.objectives import Hinge

class Mine(GAN):
    def __init__(self, *, generator, discriminator, conditional: bool, latent: str, pack: int,
                 generator_batch: int, heads: dict):
        loss = AdversarialLoss(objective=Hinge())
        super().__init__(generator=generator, discriminator=discriminator, loss=loss)
"""


@pytest.mark.parametrize("name", WITH_LOSS)
def test_another_loss_leaves_out_the_experiments_values(name):
    composed = compose.compose("train", [f"experiment={name}", "loss=wgan"])
    alone = compose.compose("train", ["loss=wgan", f"model={composed.choices['model']}"])
    loss = OmegaConf.to_container(composed.cfg.loss)
    assert loss == OmegaConf.to_container(alone.cfg.loss) and loss["n_critic"] == 5
    usual = compose.compose("train", [f"experiment={name}"])
    assert usual.notes == []
    same = compose.compose("train", [f"experiment={name}", f"loss={usual.choices['loss']}"])
    assert same.notes == [] and same.cfg.loss == usual.cfg.loss


def test_what_is_left_out_is_said_in_one_line_and_what_is_typed_stays(capsys):
    assert main(["show", "experiment=r3gan_digits_small", "loss=wgan", "--json"]) == 0
    words = (
        "note: loss=wgan replaces the loss of experiment=r3gan_digits_small: "
        "loss.penalties.r1.weight, "
        "loss.penalties.r2.weight=${loss.penalties.r1.weight} are left out"
    )
    assert words in capsys.readouterr().err
    lines = [
        "experiment=r3gan_digits_small",
        "loss=r1",
        "loss.penalties.r1.weight=3",
        "loss.n_critic=2",
    ]
    loss = OmegaConf.to_container(compose.compose("train", lines).cfg.loss)
    assert loss["penalties"]["r1"]["weight"] == 3 and loss["n_critic"] == 2
    assert list(loss["penalties"]) == ["r1"]
    lines = ["experiment=r3gan_digits_small", "loss=wgan", "+penalty@loss.penalties.gp=gp"]
    assert list(compose.compose("train", lines).cfg.loss.penalties) == ["gp"]
    none = compose.compose("train", ["experiment=stylegan_digits_small", "loss=none"])
    assert none.cfg.loss is None


def test_another_model_brings_another_loss():
    composed = compose.compose("train", ["experiment=r3gan_digits_small", "model=dcgan"])
    assert composed.choices["loss"] == "non_saturating" and not composed.cfg.loss.penalties
    assert "loss=non_saturating replaces the loss" in composed.notes[0]


def check_words(words):
    composed = compose.compose("train", words)
    return validate(composed.cfg, typed=composed.overrides)


def test_cfg_shows_what_a_run_would_do(capsys):
    shown = ["--cfg", "job", "--package", "loss"]
    assert main(["train", "experiment=r3gan_digits_small", "loss=wgan", *shown]) == 0
    text = capsys.readouterr().out
    assert main(["train", "loss=wgan", *shown]) == 0
    assert "penalties: {}" in text and text == capsys.readouterr().out


def test_keys_of_an_experiment_that_another_model_lacks_come_with_a_way_out():
    words = ["experiment=r3gan_digits_small", "model=mlp"]
    with pytest.raises(Problems) as raised:
        check_words(words)
    hints = [hint for _, hint in raised.value.problems]
    ways = [re.search("add '(~model[.][a-z_]+)'", hint)[1] for hint in hints]
    assert "leave out model=mlp" in hints[0] and "~model.channel_base" in ways
    assert check_words([*words, *ways]).model["_target_"] == "gancli.games.gan.GAN"


def test_a_models_key_that_was_typed_is_not_the_experiments():
    words = ["experiment=r3gan_digits_small", "model=mlp", "+model.nothing=1"]
    with pytest.raises(Problems) as raised:
        check_words(words)
    told = dict(raised.value.problems)
    assert "experiment" not in told["model.nothing: GAN takes no 'nothing'"]


def test_a_key_that_is_left_out_cannot_be_set():
    words = ["experiment=r3gan_digits_small", "loss=wgan", "loss.penalties.r1.weight=3"]
    with pytest.raises(Problems, match="loss=wgan has no such key"):
        compose.compose("train", words)


def test_a_job_in_another_process_leaves_the_same_out():
    composed = compose.compose("train", ["experiment=r3gan_digits_small", "loss=wgan"])
    usual = compose.compose("train", ["experiment=r3gan_digits_small"]).cfg
    usual.loss = composed.cfg.loss
    assert not GlobalHydra.instance().is_initialized()
    OmegaConf.set_struct(usual, False)
    usual.loss.penalties = {"r1": {"weight": 2}}
    alone = experiments.Alone(composed.hydra, "r3gan_digits_small")
    notes = experiments.replace_experiments_loss(
        usual, composed.hydra, composed.choices, alone=alone
    )
    assert notes and not usual.loss.penalties and not GlobalHydra.instance().is_initialized()


def test_the_experiment_alone_is_composed_only_where_it_is_needed_and_then_once(monkeypatch):
    composed = []
    real = experiments.open_composer

    @contextmanager
    def open_composer(hydra):
        with real(hydra) as compose_words:
            yield lambda words: composed.append(words) or compose_words(words)

    monkeypatch.setattr(experiments, "open_composer", open_composer)
    compose.compose("train", ["experiment=dcgan_digits_small", "trainer.steps=2"])
    assert composed == []
    words = ["experiment=sngan_cifar10", "seed=1", "dataset.limit=50"]
    assert compose.compose("train", words).cfg.published is None
    assert composed == [["experiment=sngan_cifar10"]], "for its loss and for its paper's numbers"


@pytest.mark.full
def test_a_sweep_over_losses_says_it_once_at_its_start(gan):
    words = ["experiment=r3gan_digits_small", "loss=wgan,r1", "trainer.steps=1", *SMALL["r3gan"]]
    words += [*QUIET, "dataset.limit=30", "metrics=none"]
    done = sound(gan("train", "-m", *words, "hydra.sweep.dir=sweep"))
    assert done.err.count("loss=wgan replaces the loss") == 1
    assert done.err.count("loss=r1 replaces the loss") == 1
    logs = [path.read_text() for path in sorted(Path("sweep").glob("*/run.log"))]
    assert ["replaces the loss" in text for text in logs] == [True, True]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["model=styletransfer", "loss=hinge"], "loss has no effect: this StyleTransfer has no"),
        (["model=styletransfer", "augment=diffaug"], "augment has no effect: this StyleTransfer"),
        (["model=enhance", "loss=none", "augment=ada"], "augment has no effect: without a loss"),
        (["model=dcgan", "perceptual=none"], ""),
    ],
)
def test_a_part_that_a_model_does_not_use_is_said(words, reason, caplog):
    with caplog.at_level(logging.WARNING):
        validate(compose.compose("train", words).cfg, data=False)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == bool(reason) and all(reason in message for message in said)


def test_a_loss_typed_for_a_model_that_takes_none_is_said(package, caplog):
    module = package("")
    Path(f"{module}.py").write_text(textwrap.dedent(NO_LOSS))
    own = [f"model._target_={module}.Mine", *TINY]
    for typed, times in (([], 0), (["loss=wgan"], 1), (["loss.n_critic=2"], 1)):
        caplog.clear()
        composed = compose.compose("train", [*own, *typed])
        validate(composed.cfg, typed=composed.overrides)
        assert caplog.text.count("loss has no effect: Mine takes none") == times


def test_a_sweep_over_a_part_that_a_model_does_not_use_is_marked():
    words = ["-m", "model=styletransfer,enhance", "loss=hinge,wgan", "seed=1,2"]
    found = find_idle_values(words)
    assert found == ["the sweep over loss has no effect: this StyleTransfer has no discriminator"]
    assert find_idle_values(["-m", "model=dcgan,cgan", "augment=none,ada", "seed=1,2"]) == []
    assert find_idle_values(["-m", "model=styletransfer", "loss=hinge"]) == []


def test_a_sweep_over_a_loss_that_has_no_effect_says_so_in_its_lines_and_leaderboard(gan, package):
    module = package("")
    Path(f"{module}.py").write_text(textwrap.dedent(NO_LOSS))
    own = ("-m", f"model._target_={module}.Mine", *TINY, "loss=hinge,wgan", "trainer.steps=1")
    done = sound(gan("train", *own, "hydra.sweep.dir=sweep"))
    end = done.out.rpartition("sweep: sweep")
    assert "hinge (no effect)" in end[0] and "wgan (no effect)" in end[0]
    assert "the sweep over loss has no effect: Mine takes none" in end[2]
