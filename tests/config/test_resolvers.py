"""What the configs' own `${gan....}` give."""

from __future__ import annotations

import re

import pytest

from gancli.config import compose as config
from gancli.config import resolvers


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["loss=wgan_gp", "seed=1"], "wgan_gp-1"),
        (["optimizer.g.lr=1e-4"], "1e-4"),
        ([], "default"),
        (["name=''"], "default"),
        (["dataset.path='/a b/c=d,e'"], "a-b-c-d-e"),
        (["name=.."], "default"),
        (["a=ÜBER x"], "über-x"),
        (["name=手写 实验（三）"], "手写-实验-三"),
        (["x=[1,2]"], "1-2"),
    ],
)
def test_slug(values, expected):
    assert resolvers.make_slug(values) == expected


@pytest.mark.parametrize("name", ["手写实验", "ü 手写", "a,b (c)=1", "it's"])
def test_a_name_of_any_letters_needs_no_quotes(name):
    composed = config.compose("train", [f"name={name}"])
    assert composed.cfg.name == name
    assert composed.run_dir.parent.name == resolvers.make_slug([f"={name}"])


def test_channels_of_what_stands_beside_follow_the_data():
    critics = config.compose("train", ["model=pose"]).cfg.model.discriminator
    assert (critics.appearance.channels, critics.shape.channels) == (6, "auto"), "not read yet"
    grey = config.compose("train", ["model=pose", "dataset.channels=1", "dataset.pose_channels=2"])
    assert grey.cfg.model.discriminator.shape.channels == 3


def test_slug_is_short_and_safe():
    assert len(resolvers.make_slug(["name=" + "手" * 300]).encode()) <= 200
    name = resolvers.make_slug([f"k={'Long/Name=,' * 9}" for _ in range(9)])
    assert len(name) <= 60 and re.fullmatch(r"[a-z0-9._-]+", name)
