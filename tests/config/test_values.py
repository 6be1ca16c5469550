"""Types and bounds of single values: one for every key, told in words, without torch."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import typing

import pytest
from helpers import frozen

from gancli.cli import main
from gancli.config.build import ROOTS, read_parameters
from gancli.config.schema import CLOSED, PlayerConfig
from gancli.config.values import CLOSED_BOUNDS, OPEN_BOUNDS, PLAYER_BOUNDS, Bound, is_number
from gancli.errors import Problems
from gancli.schedules import Number


def messages(*overrides: str) -> str:
    with pytest.raises(Problems) as raised:
        frozen(*overrides)
    return "\n".join(f"{message} | {hint}" for message, hint in raised.value.problems)


@pytest.mark.parametrize("where", [*CLOSED, "player"])
def test_every_number_of_a_closed_part_has_a_bound(where):
    cls = CLOSED.get(where, PlayerConfig)
    bounds = CLOSED_BOUNDS[where] if where in CLOSED else PLAYER_BOUNDS
    kinds = typing.get_type_hints(cls)
    numbers = [
        field.name
        for field in dataclasses.fields(cls)
        if {int, float} & {kinds[field.name], *typing.get_args(kinds[field.name])}
        or kinds[field.name] == Number
    ]
    assert [name for name in numbers if name not in bounds] == []
    assert [name for name in bounds if name not in kinds and where != "player"] == []


@pytest.mark.parametrize(
    ("override", "key", "hint"),
    [
        ("trainer.batch_size=abc", "trainer.batch_size='abc'", "a whole number"),
        ("trainer.accumulate=''", "trainer.accumulate=''", "a whole number"),
        ("~trainer.steps", "trainer.steps is missing", "a whole number"),
        ("~metrics.every", "metrics.every is missing", "a whole number"),
        ("trainer.steps=9223372036854775808", "trainer.steps", "64 bits"),
        ("trainer.steps=9223372036854775807", "trainer.steps", ""),
        ("log.every=-1", "log.every=-1", "1 or more"),
        ("log.grid=100000", "log.grid", "1 to 1,000"),
        ("ema.rampup=-0.5", "ema.rampup", "0 or more"),
        ("ema.rampup=nan", "ema.rampup", "finite"),
        ("ema.half_life_kimg=inf", "ema.half_life_kimg", "finite"),
        ("ema.settle_batches=-1", "ema.settle_batches", "0 or more"),
        ("ema.settle_batches=0.5", "ema.settle_batches=0.5", "a whole number"),
        ("watch.saturated=-1", "watch.saturated", "0 or more"),
        ("watch.diversity=-1", "watch.diversity", "0 or more"),
        ("watch.overfit=-0.1", "watch.overfit", "0 or more"),
        ("watch.worse=0.5", "watch.worse", "1 or more"),
        ("metrics.n=3", "metrics.n", "10 or more"),
        ("dataset.workers=1000000000000000000000", "dataset.workers", "64 bits"),
        ("dataset.workers=100000", "dataset.workers", "1 to 1,024"),
        ("dataset.limit=-3", "dataset.limit", "1 or more"),
        ("model.generator.width=-4", "model.generator.width", "1 to"),
        ("model.generator.width=99999999999", "model.generator.width", "1 to"),
        ("model.generator.width=nan", "model.generator.width", "a whole number, finite"),
        ("optimizer.g.lr=nan", "optimizer.g.lr", "a number or a schedule such as"),
        ("optimizer.g.weight_decay=-1", "optimizer.g.weight_decay", "0 or more"),
        ("optimizer.d.gamma=-1", "optimizer.d.gamma", "0 or more"),
        (
            "optimizer.g.beta2={start: nan, end: 0.9, end_kimg: 2}",
            "optimizer.g.beta2",
            "finite",
        ),
        ("ema.half_life_kimg={start: 0, end: 1, end_kimg: inf}", "ema.half_life_kimg", "finite"),
        ("loss.top_k={start: 1, end: 2, end_kimg: 1}", "loss.top_k", "above 0 to 1"),
        ("loss.feature_matching=-1", "loss.feature_matching", "0 or more"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_with_its_key(override, key, hint):
    said = messages("model=dcgan", override)
    assert key in said and hint in said and said.count("\n") == 0, said


def test_a_bound_says_what_to_give():
    assert Bound(1).describe() == "give 1 or more"
    assert Bound(0, above=True).describe() == "give a number above 0"
    assert Bound(0, 1, below=True).describe() == "give 0 or more and less than 1"
    assert Bound(0, 1).describe() == "give a number from 0 to 1"
    assert [Bound(0, 1, above=True).holds(value) for value in (0, 0.5, 1)] == [False, True, True]


@pytest.mark.parametrize("value", [True, None, "1", float("nan"), float("inf"), 2**63])
def test_what_is_no_number(value):
    assert not is_number(value)


def test_a_wrong_type_beside_an_unknown_key_is_told_in_the_same_panel(capsys):
    words = ["train", "trainer.stepz=5", "trainer.batch_size=abc", "optimizer.g.lr=-1"]
    assert main([*words, "model.z_dim=wide", "log.tensorboard=often", "seed=x"]) == 2
    said = capsys.readouterr().err
    assert "6 problems" in said, said
    for key in ("stepz", "batch_size", "optimizer.g.lr", "model.z_dim", "log.tensorboard", "seed"):
        assert key in said


@pytest.mark.parametrize(
    "override",
    ["model=[1,2]", "loss=/", "augment=[1,2,3]", "~metrics.items.7", "ema={a: {b: 1}}"]
    + ["hydra.job.num=" + "x" * 5000, "optimizer=" + "x" * 5000, "model=${nope:1}", "model="]
    + ["+loss=${gan.halvings:-1}"],
    ids=lambda word: word[:20],
)
def test_what_hydra_itself_stumbles_over_is_told_in_words(override, capsys):
    assert main(["show", "model=cgan", override]) == 2
    said = capsys.readouterr().err
    assert (
        override.lstrip("~").partition("=")[0] in said
        and "Traceback" not in said
        and len(said) < 1000
    ), said


def test_an_environment_variable_that_is_not_set_is_told_with_the_key_that_reads_it():
    said = messages("dataset.channels=${oc.env:NO_SUCH_VARIABLE}")
    assert (
        "dataset.channels=${oc.env:NO_SUCH_VARIABLE}: the environment variable "
        "NO_SUCH_VARIABLE is not set" in said
    )
    said = messages("trainer.keep=${nope:1}")
    assert "trainer.keep: there is no ${nope:...}" in said


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("name=${oc.env:NO_SUCH_VARIABLE}", "name=${oc.env:NO_SUCH_VARIABLE}: the environment"),
        ("name=${nope.x}", "name: ${nope.x} points to nothing"),
    ],
)
def test_a_name_that_cannot_be_worked_out_is_told_as_the_name(word, message):
    said = messages(word)
    assert message in said and "hydra.run.dir" not in said


# Numbers of open parts that any value may have, or whose class looks at them itself.
UNBOUNDED = {
    *("a", "b", "c", "real_target", "fake_target", "target", "bias_init", "gain", "seed"),
    *("eps", "momentum", "lr", "lr_mul", "accuracy"),
    # Of layers and records that networks and data sets make themselves; no YAML names them.
    *(
        "base",
        "c_in",
        "c_out",
        "in_channels",
        "out_channels",
        "features",
        "layer",
        "n_aside",
        "n_in",
        "n_out",
        "num_features",
    ),
    *("number", "padding", "pixels", "rank", "world", "shape", "side", "size", "sizes", "stamps"),
    *("stride", "tail", "batch_size", "most", "score", "steps", "index", "frames", "height"),
    *("shirt", "sleeves", "trousers", "shoes", "hair", "skin"),
    *("axis", "offset", "values", "stamp", "others", "columns"),
    # Whose class looks at them itself, or whose unit is the data's.
    *("floor", "bin_mean", "value_range"),
    *CLOSED_BOUNDS["metrics"],
}


def has_numbers(annotation: object) -> bool:
    return annotation in (int, float) or any(map(has_numbers, typing.get_args(annotation)))


def test_every_number_of_an_open_part_has_a_bound_or_is_said_to_need_none():
    found = {}
    for root in ROOTS:
        for part in pkgutil.iter_modules(importlib.import_module(root).__path__):
            module = importlib.import_module(f"{root}.{part.name}")
            own = [cls for cls in vars(module).values() if isinstance(cls, type)]
            for cls in (cls for cls in own if cls.__module__ == module.__name__):
                for name, parameter in read_parameters(cls).items():
                    if has_numbers(parameter.annotation):
                        found.setdefault(name, cls.__name__)
    known = {*OPEN_BOUNDS, *UNBOUNDED}
    assert [f"{cls}.{key}" for key, cls in found.items() if key not in known] == []
    assert [key for key in OPEN_BOUNDS if key not in found] == []
