"""What a game of a user's own forgets is said before a run begins, in the words of its code."""

from __future__ import annotations

import logging

import pytest
import train_helpers
from helpers import frozen
from torch import nn
from train_helpers import TINY, sound

from gancli.config.game_rules import is_recurrent
from gancli.errors import Problems

gan, package = map(pytest.fixture, (train_helpers.gan, train_helpers.package))


def test_labels_need_a_generator_that_takes_them(gan):
    done = sound(gan("train", *TINY, "model.conditional=true", "model.generator.classes=0"), 2)
    assert "its generator takes no labels" in done.err
    assert "model.generator.classes=10" in done.err


def test_a_phase_moves_players_that_there_are(gan, package):
    mine = package("""
        from gancli.game import Phase
        class Mine(GAN):
            def phases(self):
                return [*super().phases(), Phase(name="more", loss=self.g_loss, updates=("gg",))]
        """)
    done = sound(gan("train", *TINY, f"model._target_={mine}.Mine"), 2)
    assert "phase more updates a player gg, which players() does not give" in done.err
    assert "did you mean 'g'?" in done.err


FORGETFUL = """
    from torch import nn
    class Mine(GAN):
        def __init__(self, **base):
            super().__init__(**base)
            self.encoder = nn.Linear(3, 4)
            self.frozen = nn.Linear(9, 9).requires_grad_(False)
    class Unmoved(Mine):
        def players(self):
            return super().players() | {"e": [self.encoder]}
    """


@pytest.mark.parametrize("name", ["Mine", "Unmoved"])
def test_a_network_that_no_phase_moves_is_said(name, gan, package):
    """Without a player, or with one that stands in no phase."""
    mine = package(FORGETFUL)
    done = sound(gan("train", *TINY, f"model._target_={mine}.{name}", "trainer.steps=1"))
    assert done.err.count("no phase moves") == 1
    assert "no phase moves the 16 parameters of encoder" in done.err


def test_built_in_models_move_all_that_they_have(gan):
    assert "no phase moves" not in sound(gan("train", *TINY, "trainer.steps=1")).err


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_recurrent_networks_run_in_fp32_and_say_so_once(precision, caplog):
    caplog.set_level("INFO", logger="gancli")
    config = frozen("model=rcgan", f"trainer.precision={precision}", "trainer.device=cpu")
    assert config["trainer"]["precision"] == "fp32"
    said = [r.getMessage() for r in caplog.records if "recurrent networks" in r.getMessage()]
    assert len(said) == 1 if precision == "bf16" else len(said) <= 1  # auto follows the CPU
    other = frozen("model=wavegan", "trainer.precision=bf16", "trainer.device=cpu")
    assert other["trainer"]["precision"] == "bf16"


@pytest.mark.parametrize("layer", [nn.GRUCell(2, 3), nn.LSTM(2, 3)])
def test_cells_make_a_network_recurrent_too(layer):
    assert is_recurrent(nn.Sequential(nn.Linear(2, 2), nn.Sequential(layer)))
    assert not is_recurrent(nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("model=textgan", "dataset=sines"), "choose model=wavegan, or text: dataset=names"),
        (("model=textgan_conv", "dataset=ring"), "choose model=mlp, or text: dataset=names"),
        (("model=seqgan", "dataset=digits"), "choose model=dcgan, or text: dataset=names"),
    ],
)
def test_a_network_of_text_is_for_text(words, hint):
    with pytest.raises(Problems) as caught:
        frozen(*words)
    [(message, told)] = caught.value.problems
    assert "is for text, and the data are" in message
    assert told == hint


ALPHA = ("model=dcgan", "model.width=4", "dataset.channels=4")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*ALPHA], "augment=over_white shows it"),
        ([*ALPHA, "augment=ada"], "augment.over_white=true shows it"),
        ([*ALPHA, "augment=ada", "augment.over_white=true"], ""),
        ([*ALPHA, "augment=over_white"], ""),
        (["model=dcgan"], ""),
        (["model=dcgan", "augment=over_white"], "augment=over_white has no effect"),
        (
            ["model=dcgan", "augment=simclr", "augment.over_white=true"],
            "augment.over_white=true has no effect",
        ),
    ],
)
def test_what_images_with_alpha_need_is_said(words, said, caplog):
    with caplog.at_level(logging.INFO, "gancli"):
        frozen("dataset=digits", *words)
    found = [line for line in caplog.messages if "alpha" in line]
    assert len(found) == bool(said) and all(said in line for line in found), found


def test_arrays_of_four_channels_have_no_alpha():
    """Whose fourth channel would be taken for one."""
    words = ("dataset.path=arrays", "dataset.bits=8", "dataset.channels=4", "dataset.classes=0")
    with pytest.raises(Problems, match="augment.over_white=true takes the last") as caught:
        frozen(
            *("model=dcgan", "dataset=folder", *words, "dataset.resolution=32"),
            *("dataset.holdout=0", "augment=ada", "augment.over_white=true"),
        )
    assert [hint for _, hint in caught.value.problems] == ["leave it out"]
