"""What games declare is what their methods take, and values are checked against it."""

from __future__ import annotations

import inspect

import pytest
import torch

from gancli.config.build import build_game
from gancli.config.compose import compose
from gancli.config.validate import validate
from gancli.errors import Problems
from gancli.game import Option, Stage
from gancli.inference import sampling

MODELS = {
    "mlp": ("mlp",),
    "cgan": ("cgan",),
    "infogan": ("infogan",),
    "cogan": ("cogan",),
    "lapgan": ("lapgan",),
    "pggan": ("pggan",),
    "stylegan": ("stylegan",),
    "stylegan2": ("stylegan2", "model.conditional=true"),
}


def game_of(model, *words):
    argv = [f"model={model}", "dataset=digits", "trainer.device=cpu", *words]
    with torch.device("meta"):
        return build_game(validate(compose("train", argv).cfg).plain(), trust=None)


@pytest.mark.parametrize("words", MODELS.values(), ids=MODELS)
def test_every_declared_option_is_a_keyword_of_its_method(words):
    game = game_of(*words)
    methods = {Stage.INPUTS: game.inputs, Stage.SAMPLE: game.sample}
    for stage, method in methods.items():
        taken = {
            name
            for name, parameter in inspect.signature(method).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        declared = {option.name for option in game.sampling_options() if option.stage is stage}
        # A GAN's `inputs` has a label that only a conditional one declares.
        assert declared <= taken and taken - declared <= {"label"}


DECLARED = (
    Option(name="temperature", type=float, help=""),
    Option(name="count", type=int | None, help=""),
)


def test_values_are_checked_against_the_declared_types():
    found = sampling.check_values(DECLARED, {"temperature": 1, "count": 2})
    assert found == {"temperature": 1.0, "count": 2} and type(found["temperature"]) is float
    with pytest.raises(Problems) as raised:
        sampling.check_values(DECLARED, {"temprature": 1.0, "count": "x"}, known=("n",))
    (unknown, near), (misfit, _) = raised.value.problems
    assert unknown == "this checkpoint's model has no option temprature"
    assert near == "did you mean 'temperature'?" and misfit == "count='x' does not fit"
