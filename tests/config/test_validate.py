"""Gate 2: what is wrong with values, said all at once, with the key and what to type instead."""

from __future__ import annotations

import logging

import pytest
from helpers import frozen

from gancli.cli import main
from gancli.config import game_rules
from gancli.errors import Problems

WRONG = {  # override -> words of the message and of the hint
    "trainer.steps=0": ("trainer.steps", "1 or more"),
    "trainer.steps=fast": ("trainer.steps", "whole number"),
    "trainer.steps=1.5": ("trainer.steps", "whole number"),
    "trainer.device=gpu": ("trainer.device", "cuda"),
    "trainer.precision=fp16": ("trainer.precision", "bf16"),
    "trainer.batch_size=0": ("trainer.batch_size", "1 or more"),
    "trainer.epochs=0": ("trainer.epochs", "above 0"),
    "trainer=5": ("trainer", ""),
    "seed=x": ("seed", "whole number"),
    "trainer.accumulate=3": ("does not divide", "multiple of 3"),
    "ema.half_life_kimg=-1": ("ema.half_life_kimg", "0 or more"),
    "log.every=null": ("log.every", "whole number"),
    "optimizer.g.lr=fast": ("optimizer.g.lr", "number"),
    "optimizer.g.lr=-1": ("optimizer.g.lr", "above 0"),
    "optimizer.d.betas=[2,0]": ("optimizer.d.betas[0]", "less than 1"),
    "optimizer.d.betas=[0.5]": ("optimizer.d.betas", "2"),
    "optimizer.g={schedule: cosine, end_kimg: null}": ("has no end", "end_kimg"),
    "optimizer={g: {_target_: torch.optim.Adam, lr: 1, schedule: linear, "
    "start_kimg: 9, end_kimg: 8}}": (
        "would end at 8 thousand images, before it starts at 9",
        "optimizer.g.start_kimg=0",
    ),
    "optimizer.g.schedule=linaer": ("optimizer.g.schedule", "linear"),
    "optimizer.g.schedule=step": ("has no period", "step_kimg"),
    "optimizer.g.clip=-1": ("optimizer.g.clip", "0 or more"),
    "+optimizer.g.lrr=1": ("lrr", "lr"),
    "+optimizer.q={_target_: torch.optim.Adam, lr: 0.1}": ("optimizer.q moves nothing", ""),
    "loss.n_critic=0": ("loss.n_critic", "1 or more"),
    "loss.n_critic=two": ("loss.n_critic", "whole number"),
    "+loss.penalties.gp={_target_: gancli.losses.penalties.GradientPenalty, "
    "weight: 1, att: real}": (
        "att",
        "at",
    ),
    "+loss.penalties.gp={_target_: gancli.losses.penalties.GradientPenalty}": (
        "weight is missing",
        "weight",
    ),
    "+loss.penalties.gp={_target_: gancli.losses.penalties.GradientPenalty, weight: 1, at: here}": (
        "at",
        "interpolate",
    ),
    "loss.objective._target_=gancli.losses.objectives.Hing": ("Hing", "Hinge"),
    "loss.objective._target_=os.system": ("os.system", "nothing of it was run"),
    "loss.objective._target_=gancli.losses.penalties.ScoreDrift": ("objective", ""),
    "loss.real_target=[0.7,1.2,3]": ("loss: real_target", "[low, high]"),
    "loss.real_target=[1.2,0.7]": ("loss: real_target", "[low, high]"),
    "loss.flip=2": ("loss.flip=2", "from 0 to 1"),
    "model.generator.norm=bach": ("norm", "batch"),
    "model.discriminator.pooling=max": ("pooling", "average"),
    "+model.generator.widht=3": ("widht", "width"),
    "dataset.resolution=30": ("30", "nearest"),
    "model.conditional=maybe": ("model.conditional='maybe'", "true, false or auto"),
    "dataset.holdout=-1": ("holdout", ""),
    "dataset=ring": ("1x1", "model=mlp"),
    "+bogus=1": ("bogus", ""),
}


@pytest.mark.parametrize("override", WRONG)
def test_each_mistake_is_named_with_a_way_out(override, capsys):
    words, hint = WRONG[override]
    assert main(["show", override]) == 2
    out = capsys.readouterr().err
    assert words in out and hint in out and "Traceback" not in out, out


def test_all_mistakes_at_once(capsys):
    assert main(["show", "trainer.steps=0", "optimizer.g.lr=-1", "loss.n_critic=1.5"]) == 2
    out = capsys.readouterr().err
    assert "3 problems" in out and all(
        key in out for key in ("trainer.steps", "optimizer.g.lr", "loss.n_critic")
    )


def test_problems_hold_message_and_hint():
    with pytest.raises(Problems) as error:
        frozen("trainer.steps=0", "seed=x")
    assert len(error.value.problems) == 2


def test_settings_without_effect_warn(caplog):
    with caplog.at_level(logging.WARNING, "gancli"):
        frozen("loss=rpgan", "loss.fake_target=[0,0.3]")
        assert "has no effect" in caplog.text
        frozen("loss=wgan_gp", "model.discriminator.norm=batch")
        assert "batch norm" in caplog.text


def test_a_relative_or_shared_key_is_not_unknown():
    config = frozen("model=dcgan", "model.width=8")
    assert config["model"]["generator"]["width"] == config["model"]["discriminator"]["width"] == 8


def test_a_shared_key_whose_every_reference_is_replaced_is_not_unknown(capsys):
    words = ["model=dcgan", "model.generator.width=8", "model.discriminator.width=8"]
    assert main(["show", *words, "--json"]) == 0
    assert main(["show", *words, "+model.with=8", "--json"]) == 2
    assert "takes no 'with'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "warned"),
    [
        (["loss=wgan_gp"], True),
        (["loss=rpgan"], True),
        (["loss=lsgan"], False),
        (["loss=hinge"], False),
        (["loss=wgan_gp", "augment.target=null", "augment.p=0.2"], False),
    ],
)
def test_ada_warns_where_the_sign_of_a_score_says_nothing(caplog, words, warned):
    with caplog.at_level(logging.WARNING, "gancli"):
        frozen("model=dcgan", "augment=ada", *words)
    assert ("augment.target reads the sign" in caplog.text) == warned


def test_a_part_that_the_model_does_not_take_is_warned_about(caplog):
    with caplog.at_level(logging.WARNING, "gancli"):
        frozen("model=dcgan", "perceptual=squeezenet")
    assert "perceptual has no effect: GAN takes none" in caplog.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Muon", "~optimizer.g.betas"], "weights of linear layers, and there is none"),
        (
            ["LBFGS", "~optimizer.g.betas", "~optimizer.g.weight_decay"],
            "evaluates the loss several",
        ),
        (["SparseAdam", "~optimizer.g.weight_decay"], "does not support dense gradients"),
    ],
)
def test_an_optimizer_that_cannot_move_a_network_is_refused_before_the_data_are_read(words, said):
    with pytest.raises(Problems) as raised:
        frozen("model=dcgan", f"optimizer.g._target_=torch.optim.{words[0]}", *words[1:])
    ((message, hint),) = raised.value.problems
    assert (
        message.startswith(f"optimizer.g: {words[0]} cannot train this model") and said in message
    )
    assert "gan list optimizer" in hint


def test_a_batch_that_no_memory_holds_is_refused_with_what_would_fit(monkeypatch):
    monkeypatch.setattr(game_rules, "free_memory", lambda device: 64 * 10**6)
    small = ("model=mlp", "model.generator.hidden=[8]", "model.discriminator.hidden=[8]")
    with pytest.raises(Problems) as raised:
        frozen(*small, "dataset.resolution=32", "trainer.batch_size=20000")
    ((message, hint),) = raised.value.problems
    assert "trainer.batch_size=20000 does not fit" in message and "0.1 GB are free" in message
    assert "trainer.batch_size=4096 or less" in hint
    frozen(*small, "dataset.resolution=32", "trainer.batch_size=4096")
    with pytest.raises(Problems, match="the model's weights and gradients take"):
        frozen("model=dcgan", "model.width=512", "model.max_width=512")
    monkeypatch.setattr(game_rules, "free_memory", lambda device: None)
    frozen(*small, "trainer.batch_size=20000")


def test_what_a_data_set_leaves_out_has_its_classes_default():
    data = frozen("~dataset.kind", "~dataset.flip")["dataset"]
    assert (data["kind"], data["flip"], data["limit"]) == ("image", False, None)


@pytest.mark.parametrize(
    "word",
    ["optimizer.g.lr=-1", "optimizer.g.lr=abc", "optimizer.g.betas=[0.5]"]
    + ["optimizer.g.betas=[0.5,2]", "optimizer.g.betas=abc", "optimizer.g.weight_decay=-1"],
)
def test_a_key_of_an_optimizer_is_told_once(word):
    with pytest.raises(Problems) as caught:
        frozen(word)
    ((message, _),) = caught.value.problems
    assert message.startswith(word.partition("=")[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model=rcgan", "dataset=sines", "model.series_z_dim=-2"), "model.series_z_dim=-2"),
        (("model=dcgan", "model.width=-4"), "model.width=-4"),
        (("model=dcgan", "model.generator.width=-4"), "model.generator.width=-4"),
    ],
)
def test_the_key_that_was_typed_is_named_once_not_those_that_it_feeds(words, said):
    with pytest.raises(Problems) as caught:
        frozen(*words)
    assert [message for message, _ in caught.value.problems] == [f"{said} does not fit"]
