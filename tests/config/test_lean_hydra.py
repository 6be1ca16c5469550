"""The tests' own Hydra, which does less, composes what Hydra composes."""

from __future__ import annotations

import lean_hydra
import pytest
from config_helpers import problems_of, write
from hydra._internal import defaults_list
from omegaconf import OmegaConf

from gancli.config.compose import compose
from gancli.config.folders import find_conf_dir, list_options

WORDS = (
    ("model=stylegan2", "+penalty@loss.penalties.lecam=lecam", "optimizer.g.lr=${optimizer.d.lr}"),
    ("experiment=biggan_digits_small", "loss=wgan_gp", "logger=[tensorboard,jsonl]"),
    ("model=textgan", "dataset.alphabet=['',a,e]", "~loss.flip"),
)


@pytest.fixture
def plain():
    """Composes without what lean_hydra leaves out."""

    def compose_plainly(words: list[str]) -> tuple[dict, dict, dict]:
        lean_hydra.end()
        assert defaults_list._create_interpolation_map is lean_hydra.PLAIN_MAP
        try:
            return compose_words(words)
        finally:
            lean_hydra.begin()

    return compose_plainly


def compose_words(words: list[str]) -> tuple[dict, dict, dict]:
    """The config with its interpolations, what they mean, and Hydra's choices."""
    composed = compose("train", words)
    raw = OmegaConf.to_container(composed.cfg, resolve=False)
    return raw, OmegaConf.to_container(composed.cfg, resolve=True), composed.choices


@pytest.mark.parametrize("words", WORDS)
def test_the_same_words_compose_the_same(words, plain):
    assert compose_words(list(words)) == plain(list(words))


@pytest.mark.full
@pytest.mark.parametrize("experiment", sorted(list_options([find_conf_dir()])["experiment"]))
def test_every_experiment_composes_the_same(experiment, plain):
    assert compose_words([f"experiment={experiment}"]) == plain([f"experiment={experiment}"])


def test_an_option_that_another_one_names_and_mistakes_are_the_same(tmp_path, plain):
    """A defaults list with an interpolation is the one that needs the map."""
    text = "# @package _global_\ndefaults:\n  - /head@model.heads.x: ${experiment}\n"
    files = {"experiment/mine.yaml": text}
    write(tmp_path, files | {"head/mine.yaml": "# Mine\nweight: 3\n"})
    words = ["--config-dir", str(tmp_path), "loss=hinge", "experiment=mine"]
    lean = compose_words(words)
    assert lean == plain(words) and lean[0]["model"]["heads"]["x"]["weight"] == 3
    wrong = ["optimizer.g.lr=${optimizer.x.lr}", "loss.flip=${oops"]
    lean_hydra.end()
    try:
        found = problems_of(wrong)
    finally:
        lean_hydra.begin()
    assert found == problems_of(wrong)
