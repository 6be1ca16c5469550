"""Every YAML option composes, passes the gates and builds; its first line says what it is."""

from __future__ import annotations

import pytest
import torch
from helpers import TEST_DATA, frozen

from gancli.config.build import build, build_game
from gancli.config.compose import conf_dir, describe, options
from gancli.data.base import Source
from gancli.game import Game
from gancli.games.heads import Head
from gancli.losses.penalties import Penalty

CONF = options([conf_dir()])
NEEDS_PATH = {"folder"}
TRANSLATES = {
    "pix2pix",
    "cyclegan",
    "srgan",
    "esrgan",
    "inpaint",
    "enhance",
    "simgan",
    "styletransfer",
}
TRANSLATED = {
    "paired": "pix2pix",
    "unpaired": "cyclegan",
    "superres": "srgan",
    "masked": "inpaint",
    "degraded": "enhance",
}  # by whom
OF_FILES = {
    "pix2pix_facades",
    "pix2pix_facades64",
    "cyclegan_horse2zebra",
    "cyclegan_horse2zebra64",
    "srgan_x4",
    "esrgan_x4",
    "inpaint_paris",
}
FILES = [
    "dataset.path=nowhere",
    "dataset.resolution=128",
    "dataset.channels=3",
    "dataset.holdout=2",
]


def overrides_for(group: str, option: str) -> list[str]:
    if group == "penalty":
        return [f"+penalty@loss.penalties.{option}={option}"]
    if group == "head":
        return [f"+head@model.heads.{option}={option}"]
    if group == "model" and option in TRANSLATES:
        return [f"model={option}", *FILES]
    if group == "experiment" and option in OF_FILES:
        return [
            f"experiment={option}",
            *FILES[::3],
            "dataset.channels=3",
            *(["perceptual=none"] if "srgan" in option else []),
        ]
    if group == "loss" and option == "none":
        return ["model=pix2pix", "loss=none", *FILES]
    if group == "perceptual":
        return ["model=enhance", f"perceptual={option}", *FILES]
    if group == "dataset" and option in TRANSLATED:
        return [f"model={TRANSLATED[option]}", f"dataset={option}", *FILES]
    if group == "dataset":
        given = (
            [
                "dataset.path=nowhere",
                "dataset.resolution=32",
                "dataset.channels=3",
                "dataset.classes=2",
                "dataset.holdout=0",
            ]
            if option in NEEDS_PATH
            else []
        )
        return [f"dataset={option}", "model=mlp", *given]
    return [f"{group}={option}"]


@pytest.mark.parametrize(
    ("group", "option"), [(g, o) for g in CONF for o in CONF[g] if g not in ("metrics",)]
)
def test_option(group, option):
    words = describe(CONF[group][option])
    assert len(words) > 15 and words[0].isupper() or words[0].isdigit(), words
    config = frozen(*overrides_for(group, option))
    with torch.device("meta"):
        game = build_game(config, trust=None)
    assert isinstance(game, Game)
    assert isinstance(build(config["dataset"], where="dataset", trust=None), Source)
    if group == "penalty":
        assert isinstance(game.adversarial.penalties[option], Penalty)
    if group == "head":
        assert isinstance(game.heads[option], Head)


def test_a_frozen_config_is_plain_and_free_of_auto():
    config = frozen("model=dcgan", "loss=wgan_gp")

    def walk(tree):
        if isinstance(tree, dict):
            for key, value in tree.items():
                assert isinstance(key, str)
                walk(value)
        elif isinstance(tree, list):
            for item in tree:
                walk(item)
        else:
            assert tree is None or type(tree) in (int, float, bool, str), tree
            assert tree != "auto" and not str(tree).startswith("${")

    walk(
        {key: part for key, part in config.items() if key != "metrics"}
    )  # what can be measured is known only when it is
    assert config["model"]["discriminator"]["norm"] == "layer"
    assert frozen("model=dcgan")["model"]["discriminator"]["norm"] == "batch"
    assert "width" not in config["model"], "it only fed the networks"


def test_who_wins():
    assert frozen("loss=wgan")["optimizer"]["g"]["_target_"] == "torch.optim.RMSprop"
    assert (
        frozen("loss=wgan", "optimizer=adam_b0")["optimizer"]["g"]["_target_"] == "torch.optim.Adam"
    )
    assert frozen("loss=wgan_gp")["optimizer"]["g"]["betas"] == [0.0, 0.9]


def test_rates_of_wgan_gp_sink_to_the_papers_unless_a_model_or_the_user_chooses_others():
    for player in ("g", "d"):
        spec = frozen("model=dcgan", "loss=wgan_gp")["optimizer"][player]
        keys = ("lr", "schedule", "start_kimg", "end_kimg", "final")
        assert [spec[key] for key in keys] == [1e-3, "linear", 50, 500, 0.2]
        paper = frozen("model=wgan_resnet")["optimizer"][player]
        assert paper == frozen("loss=wgan_gp", "optimizer=adam_b0")["optimizer"][player]
        assert (paper["lr"], paper["schedule"]) == (2e-4, "constant")
    typed = frozen("loss=wgan_gp", "optimizer=adam_wgan_gp")["optimizer"]["g"]
    assert (typed["lr"], typed["betas"]) == (1e-4, [0.5, 0.9])


def test_shapes_follow_the_data():
    config = frozen("model=cgan", "dataset=cifar100")
    assert (
        config["model"]["generator"]["classes"] == 100
        and config["model"]["generator"]["channels"] == 3
    )


@pytest.mark.skipif(not (TEST_DATA / "cifar10-lite").exists(), reason="GANCLI_TEST_DATA is missing")
def test_a_folder_is_scanned_before_the_config_is_frozen():
    config = frozen("dataset=folder", f"dataset.path={TEST_DATA / 'cifar10-lite' / 'test'}")
    assert config["dataset"]["resolution"] == 32 and config["dataset"]["channels"] == 3
    assert config["model"]["generator"]["classes"] == 10
