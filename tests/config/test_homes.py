"""A key that another option has is told with that option, and a typo is told at once."""

from __future__ import annotations

from contextlib import contextmanager

import hydra
import pytest
from config_helpers import problems_of, write

from gancli.config import folders
from gancli.config.composer import Composer
from gancli.config.hints import list_composition_errors
from gancli.config.homes import MOST_HOMES, ConfigFiles, find_homes
from gancli.config.hydra_state import start_hydra
from gancli.config.schema import CLOSED, TOP_KEYS
from gancli.config.tree import has_key, walk_keys


@pytest.fixture
def composed(monkeypatch):
    """The overrides of each compose, in a list that grows."""
    real = hydra.compose
    seen = []

    def count(config_name, overrides, **flags):
        seen.append(overrides)
        return real(config_name, overrides, **flags)

    monkeypatch.setattr(hydra, "compose", count)
    return seen


@contextmanager
def composer_of(*dirs):
    conf = str(folders.find_conf_dir())
    with (
        start_hydra(dirs),
        hydra.initialize_config_dir(conf, job_name="train", version_base="1.3"),
    ):
        yield Composer("train", top_keys=TOP_KEYS, closed=CLOSED)


def test_a_key_of_another_option_is_told_where_it_exists():
    found = problems_of(["loss.penalties.r1.weight=3", "~loss.penalties.r1"])
    assert found == dict.fromkeys(
        [
            "unknown key 'loss.penalties.r1.weight'",
            "there is nothing to delete at 'loss.penalties.r1'",
        ],
        "it exists with loss=r1 or loss=rpgan_r1r2",
    )


@pytest.mark.parametrize("key", ["model.nope", "model.generator.nope", "loss.flip.nope"])
def test_a_key_that_stands_in_no_file_composes_no_options(composed, key):
    assert f"unknown key '{key}'" in problems_of([f"{key}=1"])
    assert sorted(composed) == [[], [f"{key}=1"]]


def test_what_composes_is_not_composed_again(composed):
    found = problems_of(["model=dcgan", "model.nope=1", "trainer.nope=1", "loss.penalties.r1=1"])
    assert len(found) == 3
    assert len(composed) == len(set(map(tuple, composed)))


FILES = {
    "model/put.yaml": "# Put\ndefaults: [mlp, parts@inner.place, deep: one, _self_]\n",
    "model/parts.yaml": "# Parts\nleaf: 1\n",
    "model/deep/one.yaml": "# One\nbranch: [{twig: 1}]\n",
    "model/named.yaml": "# @package model.far.away\nthing: 1\n",
    "model/root.yaml": "# @package _global_\nmodel: {stem: {bark: 1}}\n",
    "model/pointing.yaml": "# Pointing\ndefaults: [mlp, _self_]\ncopy: ${model.generator}\n",
    "model/broken.yaml": "# Broken\nleaf: [1\n",
}


@pytest.mark.parametrize(
    ("key", "home"),
    [
        ("model.inner.place.leaf", "model=put"),
        ("model.deep.branch.0.twig", "model=put"),
        ("model.deep.branch[0].twig", "model=put"),
        ("model.far.away.thing", "model=named"),
        ("model.stem.bark", "model=root"),
        ("model.copy.hidden", "model=pointing"),
    ],
)
def test_a_key_is_found_wherever_a_users_file_puts_it(tmp_path, composed, key, home):
    with composer_of(write(tmp_path, FILES)) as composer:
        assert find_homes(composer, key, []) == [home]
    assert len(composed) <= 3


@pytest.mark.full  # it composes every option of every group
def test_no_option_that_has_a_key_is_passed_over():
    with composer_of() as composer:
        files = ConfigFiles(composer)
        composed_options = 0
        for group in composer.list_groups():
            trees = {}
            for option in composer.list_options(group):
                try:
                    trees[option] = composer.load([f"{group}={option}"])
                except list_composition_errors():
                    continue  # `penalty`, which goes below a name
            composed_options += len(trees)
            keys = {path for tree in trees.values() for path, _, _ in walk_keys(tree)}
            for key in sorted(key for key in keys if key.startswith(f"{group}.")):
                homes = [option for option, tree in trees.items() if has_key(tree, key)]
                missed = [
                    option for option in homes if not files.may_have(f"{group}/{option}", key)
                ]
                assert not missed, (key, missed)
                assert len(find_homes(composer, key, [])) == min(len(homes), MOST_HOMES)
        assert composed_options > 100
