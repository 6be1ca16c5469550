"""The part `logger`: its options, their keys, and packages that are not there."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

from gancli.cli import main
from gancli.config import compose as front
from gancli.config import loggers
from gancli.config.folders import find_conf_dir, list_options, read_description

OPTIONS = list_options([find_conf_dir()])["logger"]


@pytest.fixture(autouse=True)
def _all_installed(monkeypatch):
    monkeypatch.setattr(loggers, "is_installed", lambda name: True)


def test_every_logger_is_an_option_with_the_keys_of_its_class():
    assert set(OPTIONS) == {*loggers.LOGGERS, "none"}
    for name, path in OPTIONS.items():
        assert len(read_description(path)) > 15
        section = yaml.safe_load(path.read_text())
        assert loggers.find_logger_problems(section) == []
        assert list(section) == ([] if name == "none" else [name])
        for chosen, values in section.items():
            fields = dataclasses.fields(loggers.LOGGERS[chosen])
            assert [field.name for field in fields] == list(values)


def test_several_are_chosen_by_a_list():
    words = ["logger=[tensorboard,mlflow]", "logger.mlflow.experiment=faces"]
    section = front.compose("train", words).cfg.logger
    assert list(section) == ["tensorboard", "mlflow"] and section.mlflow.experiment == "faces"
    assert dict(front.compose("train", []).cfg.logger) == {"tensorboard": {}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["logger=[tensorboard,wnadb]"], "did you mean 'wandb'?"),
        (["logger=wandb", "logger.wandb.projct=x"], "did you mean 'logger.wandb.project'?"),
        pytest.param(
            ["logger.wandb.project=x"], "it exists with logger=wandb", marks=pytest.mark.full
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else value[-1],
)
def test_a_wrong_word_is_answered_before_torch(capsys, words, said):
    assert main(["train", *words]) == 2
    assert said in capsys.readouterr().err


def test_wrong_values_are_told():
    given = {"wandb": {"project": 3, "entity": None, "group": None, "tags": "x", "mode": "of"}}
    found = [message for message, _ in loggers.find_logger_problems(given)]
    assert [message.split("=")[0] for message in found] == [
        *("logger.wandb.project", "logger.wandb.tags", "logger.wandb.mode"),
    ]
    assert loggers.find_logger_problems({"csv": {}})[0][0] == "unknown logger 'csv'"
    assert loggers.find_logger_problems("wandb")[0][0].startswith("logger=")


def test_a_missing_package_is_an_error_that_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loggers, "is_installed", lambda name: False)
    assert main(["train", "-m", "logger=wandb", "seed=1"]) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "logger=wandb: the package wandb is not installed" in shown
    assert "pip install 'gancli[wandb]'" in shown
    assert list(tmp_path.iterdir()) == []


def test_the_folder_that_wandb_writes_is_not_taken_for_the_package(monkeypatch, tmp_path):
    monkeypatch.undo()
    (tmp_path / "notapackage").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not loggers.is_installed("notapackage") and loggers.is_installed("numpy")
