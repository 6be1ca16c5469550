"""gan show and gan check: what they print, and that they leave nothing behind."""

from __future__ import annotations

import json

import pytest
from helpers import SMALL, TINY, small, steps, trainer_for

from gancli import checkpoint
from gancli.cli import main


def test_show_json_is_one_flat_object(capsys):
    assert (
        main(["show", "model=dcgan", "dataset.resolution=64", "dataset.channels=3", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out) == {
        "generator": 3_576_704,
        "discriminator": 2_765_568,
    }
    assert main(["show", "model=cgan", "dataset=cifar10", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"generator": 1_109_888, "discriminator": 673_536}


def test_show_needs_no_data_and_prints_shapes(capsys):
    assert main(["show", "model=dcgan", "dataset=lsun", "dataset.resolution=64"]) == 0
    out = capsys.readouterr().out
    assert "3,576,704" in out and "64x32x32" in out and "3x64x64" in out


@pytest.mark.parametrize("loss", ["wgan_gp", "rpgan_r1r2"])
def test_show_takes_any_loss(loss, capsys):
    assert main(["show", "model=mlp", f"loss={loss}"]) == 0
    assert "discriminator" in capsys.readouterr().out


def test_show_a_run(tmp_path, capsys):
    trainer = steps(trainer_for(small("mlp", "trainer.steps=10")), 2)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    checkpoint.save(trainer.state_dict(), tmp_path / "run" / "checkpoints", keep=1)
    assert main(["show", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "8 steps to go" in out and f"resume={tmp_path / 'run'}" in out and "MLPGenerator" in out
    assert main(["show", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 2
    assert main(["show", str(tmp_path / "run"), "model=mlp"]) == 2
    assert "no overrides" in capsys.readouterr().err


def test_check_runs_real_steps_and_keeps_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert (
        main(["check", "model=dcgan", *SMALL["dcgan"], *TINY, "loss=wgan_gp", "trainer.steps=1000"])
        == 0
    )
    out = capsys.readouterr().out
    assert all(
        word in out
        for word in ("30 images", "ms", "img/s", "GB at most", "1,000 steps", "checkpoints")
    )
    assert list(tmp_path.iterdir()) == []


def test_check_refuses_what_train_would_refuse(capsys):
    assert main(["check", "trainer.steps=0"]) == 2
    assert "trainer.steps" in capsys.readouterr().err
