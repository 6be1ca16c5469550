"""The legend: every number that is shown has a line in one table, which all others read."""

from __future__ import annotations

import json
import re

import pytest
import train_helpers
from helpers import (
    OF_DIGITS,
    PAIRS,
    REPO,
    SMALL,
    small,
    some_by_default,
    steps,
    trainer_and_monitor,
    trainer_for,
)
from train_helpers import NETWORKS, QUIET, sound

from gancli.cli import main
from gancli.metrics import legend, settings
from gancli.metrics.suite import ITEMS

gan = pytest.fixture(train_helpers.gan)
MORE = {  # what logs terms that no model logs by itself
    "cgan": ("augment=ada", "loss.feature_matching=1"),
    "cyclegan": ("+penalty@loss.penalties.r1=r1", "loss.feature_matching=1"),
    "mlp": tuple(
        f"+penalty@loss.penalties.{name}={name}"
        for name in ("gp", "r1", "r2", "dragan", "drift", "lecam")
    ),
    "ssgan": ("+penalty@loss.penalties.consistency=consistency",),
}


def explained(key: str) -> bool:
    line = legend.find_line(key)
    return line is not None and line not in legend.OTHERS


@pytest.mark.parametrize("model", some_by_default(sorted(SMALL)))
def test_every_key_that_a_game_logs_has_a_line(model):
    trainer, monitor = trainer_and_monitor(small(model, *MORE.get(model, ())))
    keys = set()
    for _ in range(4):
        steps(trainer, 1)
        keys |= trainer.read_logs().keys()
    keys |= monitor.measure_diversity(trainer.game, trainer.ema).keys()
    assert keys and [key for key in sorted(keys) if not explained(key)] == []


@pytest.mark.parametrize(
    "words",
    [
        (*NETWORKS, "dataset.resolution=8", "dataset.limit=40", "dataset.holdout=20"),
        (*NETWORKS, "dataset=ring", "dataset.n=100"),
        (
            "model=pix2pix",
            f"dataset.path={PAIRS}",
            "model.width=4",
            "model.generator.downs=3",
            "model.discriminator.layers=1",
        ),
        ("model=enhance", *OF_DIGITS, "model.width=4", "model.generator.blocks=1"),
    ],
    ids=["images", "points", "pairs", "derived"],
)
def test_every_key_of_metrics_jsonl_and_evaluation_json_has_a_line(gan, tmp_path, words):
    sound(
        gan(
            "train",
            *words,
            *QUIET,
            "trainer.steps=2",
            "metrics=full",
            "metrics.n=20",
            "metrics.swd_patches=4",
            "metrics.swd_directions=4",
            "metrics.pairs=4",
            "hydra.run.dir=run",
        )
    )
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    values = json.loads((tmp_path / "run/evaluation.json").read_text())["values"]
    keys = {key for line in lines for key in line} | set(values)
    assert any(key.startswith("eval/") for key in keys) and values
    assert [key for key in sorted(keys) if not explained(key)] == []


@pytest.mark.parametrize("option", ["non_saturating", "lsgan", "hinge", "rpgan", "ragan"])
def test_the_chance_levels_of_the_table_are_those_of_the_losses(option):
    loss = trainer_for(small("mlp", f"loss={option}")).game.adversarial
    good = legend.find_line("d/adv").good
    assert re.search(rf"\b{round(loss.chance_level(), 2):g} for [^,;)]*\b{option}\b", good)


def test_every_item_of_an_evaluation_has_a_line():
    items = {name for line in legend.EVALUATION for name in line.item.split()}
    assert items == {*ITEMS, *settings.PAIR_ITEMS}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("eval/swd/16", "swd/PIXELS"),
        ("fd_resnet18", "fd_FEATURES"),
        ("kd_self_std", "kd_FEATURES_std"),
        ("d/a_gp", "d/CRITIC_PENALTY"),
        ("d/level0_adv", "d/CRITIC_adv"),
        ("d/acgan_real", "d/acgan_real"),
        ("q/mi", None),
        ("d/my_term", "d/NAME"),
        ("unheard_of", None),
    ],
)
def test_a_name_finds_its_line(name, key):
    found = legend.find_line(name)
    assert (found and found.key) == key or (key is None and found in legend.OTHERS)


def test_which_way_is_better_comes_from_the_table():
    ways = {"fd_self": "min", "class_accuracy": "max", "kid_std": None, "psnr_mean": None}
    assert {key: settings.better(key) for key in ways} == ways


def test_the_document_is_the_table():
    text = (REPO / "docs/metrics.md").read_text()
    assert text == legend.markdown(), "python -m gancli.metrics.legend > docs/metrics.md"


def test_the_command_shows_it(capsys):
    assert main(["list", "metrics"]) == 0
    shown = capsys.readouterr().out
    for section in legend.SECTIONS.values():
        assert all(line.key in shown and line.what in shown for line in section)
    assert main(["list", "metrics", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["legend"] == legend.as_data() and "fast" in found["metrics"]


def test_a_tooltip_is_a_sentence_or_two():
    said = legend.explain("eval/fd_self")
    assert "lower is better" in said and "held-out" in said and "`" not in said
    assert legend.explain("unheard_of") == ""
