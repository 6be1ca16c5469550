"""gan config copy: a file of one's own, and a command that uses it as printed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from gancli.cli import main
from gancli.config.compose import compose
from gancli.config.folders import find_conf_dir, list_options, read_description

OPTIONS = [
    f"{group}/{name}" for group, found in list_options([find_conf_dir()]).items() for name in found
]
FEW = ("model/dcgan", "loss/hinge", "penalty/r1", "head/rotation", "experiment/dcgan_digits_small")


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def copy(option: str, capsys, *more: str) -> tuple[Path, list[str]]:
    assert main(["config", "copy", option, *more]) == 0
    done, command = capsys.readouterr().out.splitlines()
    return Path(done.removeprefix("done: ").partition(",")[0]), shlex.split(command)


def check_copy(option: str, capsys) -> None:
    """The printed command composes what the built-in option does."""
    path, command = copy(option, capsys)
    group, _, name = option.partition("/")
    assert path == Path("my_conf", group, f"my_{name}.yaml") and path.is_file()
    assert command[:4] == ["gan", "train", "--config-dir", "my_conf"]
    words = [word.replace("my_", "") for word in command[4:]]
    package = {"logger/wandb": "wandb", "logger/mlflow": "mlflow", "logger/trackio": "trackio"}
    if option in package:
        pytest.importorskip(package[option])
    mine = compose("train", command[2:], missing=True)
    built_in = compose("train", words, missing=True)
    key = f"+penalty@loss.penalties.{name}" if group == "penalty" else ""
    if not key and group != "head":
        assert mine.choices[group] == f"my_{name}"
        assert mine.cfg.get(group) == built_in.cfg.get(group)


@pytest.mark.parametrize("option", FEW)
def test_the_printed_command_uses_the_copy(option, place, capsys):
    check_copy(option, capsys)


@pytest.mark.full
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_can_be_copied(option, place, capsys):
    check_copy(option, capsys)


def test_an_edited_copy_is_what_is_trained(place, capsys):
    path, command = copy("trainer/default", capsys, "out=conf of mine", "name=fast")
    assert path == Path("conf of mine/trainer/fast.yaml")
    path.write_text(path.read_text().replace("batch_size: 16", "batch_size: 12"))
    assert compose("train", command[2:]).cfg.trainer.batch_size == 12


def test_gan_list_says_that_it_is_a_copy(place, capsys):
    path, _ = copy("experiment/dcgan_digits_small", capsys)
    assert path.read_text().startswith("# @package _global_\n")
    assert read_description(path).startswith("My own, of dcgan_digits_small: DCGAN")


def test_what_is_missing_in_a_copy_is_said(place, capsys):
    assert main(["config", "copy", "dataset/folder"]) == 0
    assert "to edit; fill in path first\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "gan config does what?"),
        (["cpoy"], "gan config has no 'cpoy'"),
        (["copy"], "which option?"),
        (["copy", "modl/dcgan"], "did you mean 'model'?"),
        (["copy", "model/dcgna"], "did you mean 'model/dcgan'?"),
        (["copy", "model"], "model has no option ''"),
        (["copy", "model/_gan"], "model has no option '_gan'"),
        (["copy", "model/dcgan", "model/mlp"], "give one option"),
        (["copy", "model/dcgan", "--out"], "has no --out"),
        (["copy", "model/dcgan", "name=mlp"], "model=mlp is built in"),
        (["copy", "model/dcgan", "name=a-b"], "name=a-b is no name"),
        (["copy", "model/dcgan", "name=nul"], "name=nul is no name"),
    ],
)
def test_wrong_words(words, said, place, capsys):
    assert main(["config", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(place.iterdir())


def test_a_file_of_the_users_is_left_as_it_is(place, capsys):
    path, _ = copy("loss/hinge", capsys)
    path.write_text("mine")
    assert main(["config", "copy", "loss=hinge"]) == 2
    assert "exists, and is left as it is" in capsys.readouterr().err
    assert path.read_text() == "mine"
