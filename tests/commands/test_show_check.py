"""gan show and gan check: what they print, and that they leave nothing behind."""

from __future__ import annotations

import json
import shlex
import time

import pytest
from data_helpers import numbered
from helpers import CPU, OF_DIGITS, SMALL, TINY, frozen, small, steps, trainer_for

from gancli import checkpoint
from gancli.cli import main
from gancli.commands import check
from gancli.config.compose import compose
from gancli.config.run_config import RunConfig
from gancli.config.validate import validate
from gancli.data import cache
from gancli.render import display, status
from gancli.run import bench
from gancli.run.failures import suggest_lighter


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


def test_sound_without_files_is_shown_at_the_papers_size(capsys):
    assert main(["show", "model=wavegan", "dataset=audio", "--json"]) == 0
    shown = capsys.readouterr()
    counts = {"generator": 19_065_345, "discriminator": 17_427_969}
    assert json.loads(shown.out) == counts and "no files are given" in shown.err
    assert main(["show", "model=dcgan", "dataset=audio", "dataset.spectrogram=true"]) == 0
    assert "spectrograms of 128 frequencies and 128 frames" in capsys.readouterr().out


def test_data_whose_files_are_not_given_are_chosen_next(capsys):
    assert main(["show", "model=dcgan", "dataset=folder"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "  gan list dataset"


@pytest.mark.parametrize("loss", ["wgan_gp", "rpgan_r1r2"])
def test_show_takes_any_loss(loss, capsys):
    assert main(["show", "model=mlp", f"loss={loss}"]) == 0
    assert "discriminator" in capsys.readouterr().out


def test_show_prints_the_shapes_of_recurrent_layers(capsys):
    assert main(["show", "model=rcgan"]) == 0
    out = capsys.readouterr().out
    assert "24x100" in out and "without a shape" not in out


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
        + ("costs     d ", "batch     all 30 of the data fit", "gan check --processes")
    )
    assert list(tmp_path.iterdir()) == []


def test_check_keeps_no_decoded_images(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "SLOW_S", 0.0)
    numbered(tmp_path / "a", 30)
    words = ["model=mlp", *SMALL["mlp"], *TINY, "dataset=folder", f"dataset.path={tmp_path / 'a'}"]
    assert main(["check", *words]) == 0
    assert list(cache.list_kept(cache.cache_root(), half_made=True)) == []


@pytest.mark.full
def test_check_measures_a_growing_network_grown(capsys):
    words = ["model=pggan", *SMALL["pggan"], *TINY, "trainer.steps=100", "trainer.batch_size=8"]
    assert main(["check", *words]) == 0
    out = capsys.readouterr().out
    assert "(at the end of the run, mean of 3" in out and "100 steps in at most" in out


def test_check_refuses_what_train_would_refuse(capsys):
    assert main(["check", "trainer.steps=0"]) == 2
    assert "trainer.steps" in capsys.readouterr().err


MEASURED = ("check", "model=mlp", *SMALL["mlp"], *TINY, "trainer.steps=1000")


def test_check_names_the_next_command_and_it_composes(capsys):
    assert main([*MEASURED, "name=a b"]) == 0
    captured = capsys.readouterr()
    words = shlex.split(captured.out.splitlines()[-1])
    assert words[:3] == ["next", "gan", "train"] and words[3:] == [*MEASURED[1:], "name=a b"]
    assert "too long" not in captured.out and "is slow" not in captured.out


def test_check_stops_after_one_slow_step_and_says_what_to_lower(monkeypatch, capsys):
    monkeypatch.setattr(check, "SLOW_S", 0.0)
    taken = []
    real = check.measure_steps

    def measure(trainer, *, period):
        found = real(trainer, period=period)
        taken.append(trainer.progress.step)
        return found

    monkeypatch.setattr(check, "measure_steps", measure)
    assert main([*MEASURED, "loss=wgan_gp", "trainer.batch_size=16"]) == 0
    out = capsys.readouterr().out
    assert taken == [1]
    assert "(the first step alone; not measured further, it takes too long)" in out
    assert "a step is slow here; try trainer.batch_size=4, trainer.steps=" in out
    assert "batch     " in out and "costs     d " in out


def test_check_finds_the_cost_of_what_is_rarely_due(monkeypatch):
    monkeypatch.setattr(check, "METERED_S", 0.0)
    config = small("stylegan2", "model.r1_every=16", "model.pl_every=4", "trainer.batch_size=2")
    made = trainer_for(config)
    trainer = bench.MeteredTrainer(
        made.game, made.stream, config=RunConfig.from_plain(config), device=CPU
    )
    seconds, _ = check.measure_steps(trainer, period=1)
    costs = check.measure_costs(trainer, seconds=seconds, period=16)
    names = {phase.name for phase in trainer.phases}
    assert len(names) == 4 and names <= costs.keys()
    assert list(costs.values()) == sorted(costs.values(), reverse=True)
    assert "% of the time of a step" in check.describe_costs(costs)

    def weigh(timed: range) -> float:
        known = {"d": 1.0, "g": 1.0, "d_r1": 0.25, "g_pl": 0.5}
        return check.weigh_rare(2.0, known, phases=trainer.phases, timed=timed)

    assert weigh(range(3)) == 2.75  # neither was due, and each step pays its share
    assert weigh(range(16)) == 2.0  # a whole period


def test_check_says_when_a_run_would_take_days(monkeypatch, capsys):
    monkeypatch.setattr(display, "LONG_S", 0.0)
    assert main([*MEASURED, "trainer.batch_size=64"]) == 0
    out = capsys.readouterr().out
    assert "too long for this machine; try trainer.batch_size=16, trainer.steps=" in out


QUICK = ("mlp", "dcgan", "biggan", "pggan", "stylegan2", "r3gan", "lapgan", "pix2pix", "esrgan")


@pytest.mark.parametrize(
    "model",
    [*QUICK, *(pytest.param(m, marks=pytest.mark.slow) for m in SMALL if m not in QUICK)],
)
def test_what_is_advised_is_accepted(model):
    paths = [word for word in SMALL[model] if word.startswith("dataset.path=") or word in OF_DIGITS]
    paths = [word for word in paths if not word.startswith("dataset.resolution")]
    words = [f"model={model}", *paths, "perceptual=none", "trainer.device=cpu"]
    pictures = compose("train", words).cfg.dataset.kind == "image"
    large = ["dataset.resolution=128"] if pictures and model != "mlp" else []
    words += large
    composed = compose("train", words).cfg
    config = validate(composed)
    advice = suggest_lighter(config.trainer, config.dataset, composed.model)
    assert any(word.startswith("trainer.batch_size=") for word in advice)
    assert not large or "dataset.resolution=64" in advice
    frozen(*words, *advice)


def test_a_long_first_step_is_commented_while_it_lasts(monkeypatch):
    monkeypatch.setattr(check, "SLOW_S", 0.01)
    with status.shown(), check.show_hint(("trainer.batch_size=4", "model.width=8")):
        status.say("measuring: first step…")
        deadline = time.monotonic() + 5
        while "slow" not in status.current().text and time.monotonic() < deadline:
            time.sleep(0.005)
        text = status.current().text
    assert text == "measuring: slow, try trainer.batch_size=4 model.width=8…"


@pytest.mark.parametrize(
    ("model", "generator"), [("cyclegan", 22_756_358), ("pix2pix", 54_413_955), ("simgan", 314_307)]
)
def test_show_of_images_to_images_asks_for_no_folder(model, generator, capsys):
    assert main(["show", f"model={model}", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["generator"] == generator


@pytest.mark.parametrize("model", ["stylegan", "contragan", "styletransfer"])
def test_show_prints_the_layers_of_what_the_meta_device_cannot_run(model, capsys):
    assert main(["show", f"model={model}"]) == 0
    said = capsys.readouterr().out
    assert "generator" in said
    assert ("layers without a shape" in said) == (model == "stylegan"), said


def test_a_key_of_another_data_set_is_told_where_it_exists(capsys):
    assert main(["show", "model=srgan", "dataset=folder"]) == 2
    said = capsys.readouterr().err
    assert "${dataset.scale} points to nothing" in said and "dataset=superres" in said


def test_one_problem_is_told_once(capsys):
    assert main(["train", "dataset=folder"]) == 2
    said = capsys.readouterr().err
    assert said.count("dataset.path is not given") == 1 and "add dataset.path=FOLDER" in said
    assert main(["train", "model=cyclegan", "trainer.steps=0"]) == 2
    said = capsys.readouterr().err
    assert "2 problems" in said and "trainer.steps=0" in said


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["evaluate", "model=dcgan"], "evaluate takes no model: the checkpoint has one"),
        (["sample", "ckpt=x", "loss=hinge"], "sample takes no loss: the checkpoint has one"),
        (["show", "++loss._target_=null"], "leaves this model nothing to learn from"),
        (["show", "loss=null"], "loss=none leaves it out"),
    ],
)
def test_what_does_not_belong_here_is_told(argv, words, capsys):
    assert main(argv) == 2
    assert words in capsys.readouterr().err


def test_help_of_evaluate_lists_its_own_groups_only(capsys):
    assert main(["evaluate", "--help"]) == 0
    groups = capsys.readouterr().out.partition("groups, chosen")[2].partition("config, changed")[0]
    assert (
        "metrics" in groups and "model" not in groups.splitlines()[1] and "optimizer" not in groups
    )


def test_the_folder_of_config_dir_is_no_run(tmp_path, capsys):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text("# mine\ndefaults: [hinge, _self_]\n")
    assert main(["show", "--config-dir", str(tmp_path), "loss=mine", "model=mlp"]) == 0
    assert f"gan train --config-dir {tmp_path} loss=mine model=mlp" in capsys.readouterr().out
    assert main(["show", "-cd", str(tmp_path), "loss=mine", "model=mlp", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == {"generator", "discriminator"}
