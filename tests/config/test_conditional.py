"""model.conditional=auto: labels decide whether the model is conditional, and it is said."""

from __future__ import annotations

import pytest
import train_helpers
from data_helpers import numbered, picture
from helpers import frozen, small
from train_helpers import QUIET, last, sound

from gancli.errors import Problems

gan = pytest.fixture(train_helpers.gan)
SMALL = (*QUIET, "model.width=4", "dataset.resolution=8", "metrics=none", "trainer.steps=1")
SAID = "note: no class sub-folders and no other labels: training without labels"


def test_a_flat_folder_trains_without_labels_and_says_so_once(gan, tmp_path):
    numbered(tmp_path / "photos", 12)
    done = sound(gan("train", "dataset=folder", "dataset.path=photos", *SMALL, "hydra.run.dir=run"))
    assert done.err.count(SAID) == 1
    assert (tmp_path / "run" / "run.log").read_text().count("training without labels") == 1
    config = last("run")["config"]
    assert config["model"]["conditional"] is False
    assert config["model"]["generator"]["conditional"] is False


def test_class_folders_train_with_labels(gan, tmp_path):
    for k in range(12):
        picture(tmp_path / "photos" / "ab"[k % 2] / f"{k}.png", k)
    done = sound(gan("train", "dataset=folder", "dataset.path=photos", *SMALL, "hydra.run.dir=run"))
    assert "without labels" not in done.err
    assert last("run")["config"]["model"]["conditional"] is True


@pytest.mark.parametrize("command", ["show", "check"])
def test_show_and_check_follow_the_data_too(command, gan, tmp_path):
    numbered(tmp_path / "photos", 12)
    done = sound(gan(command, "dataset=folder", "dataset.path=photos", *SMALL))
    assert done.err.count(SAID) == 1


def test_a_sweep_resolves_it_for_each_job(gan, tmp_path):
    numbered(tmp_path / "flat", 12)
    for k in range(12):
        picture(tmp_path / "classes" / "ab"[k % 2] / f"{k}.png", k)
    paths = "dataset.path=flat,classes"
    sound(gan("train", "-m", "dataset=folder", paths, *SMALL, "hydra.sweep.dir=sweep"))
    runs = sorted((tmp_path / "sweep").glob("[01]-*"))
    assert [last(run)["config"]["model"]["conditional"] for run in runs] == [False, True]


@pytest.mark.parametrize("model", ["cgan", "biggan", "biggan_deep"])
def test_models_with_labels_follow_the_data(model):
    assert small(model)["model"]["conditional"] is True
    assert small(model, "dataset.classes=0")["model"]["conditional"] is False


def test_auto_may_be_asked_of_any_model_that_can_be_conditional():
    for model in ("dcgan", "mlp", "sngan", "stylegan2"):
        assert small(model, "model.conditional=auto")["model"]["conditional"] is True
        assert small(model)["model"]["conditional"] is False  # their papers have no labels


@pytest.mark.parametrize(
    ("overrides", "hint"),
    [
        (["model.conditional=true"], "model.conditional=auto follows the data"),
        (["model=acgan"], "this model learns from classes"),
        (["model=contragan"], "this model learns from classes"),
    ],
)
def test_what_needs_labels_is_refused_without_them(overrides, hint):
    with pytest.raises(Problems) as caught:
        frozen(*overrides, "dataset.classes=0")
    ((message, way_out),) = caught.value.problems
    assert "has no labels" in message and hint in way_out
