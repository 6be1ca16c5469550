"""What gan sample can do beyond drawing: truncation, sweeps of one input, standing statistics; and
why a model has none of them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ending, small, steps, trainer_for
from PIL import Image

from gancli.checkpoint import load_game, save
from gancli.cli import main
from gancli.errors import UserError
from gancli.inference import sampling


def run_folder(path: Path, config: dict) -> Path:
    (path / "checkpoints").mkdir(parents=True)
    save(steps(trainer_for(config), 2).state_dict(), path / "checkpoints", keep=1)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    run_folder(root / "cgan", small("cgan"))
    run_folder(root / "mlp", small("mlp"))
    run_folder(root / "infogan", small("infogan", "model.categories=[10,3]", "model.latent=normal"))
    return root


@pytest.fixture
def gan(runs, tmp_path, monkeypatch, capsys):
    """Runs gan sample on a run by its name, in an empty folder. -> code, what it said"""
    monkeypatch.chdir(tmp_path)

    def call(run: str, *argv: str):
        code = main(["sample", f"ckpt={runs / run}", "out=out", *argv])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err, captured.err
        return code, captured.out + captured.err

    return call


def tiles(path: str) -> tuple[int, int]:
    """Columns and rows of a picture of 16-pixel tiles, which are enlarged to 48."""
    picture = Image.open(path)
    return (picture.width - 2) // 50, (picture.height - 2) // 50


def test_a_sweep_has_a_column_a_value_and_a_row_a_draw(gan):
    for name, columns in (("code0", 10), ("code1", 3), ("code2", 7)):
        code, out = gan("infogan", "n=5", f"sweep={name}", "steps=7")
        assert code == 0 and ending(out)
        assert tiles("out/sweep.png") == (columns, 5)
    assert sorted(os.listdir("out")) == [
        *(f"{k:06d}.png" for k in range(5)),
        "grid.png",
        "sweep.png",
    ]
    assert gan("infogan", "n=20", "sweep=code3")[0] == 0 and tiles("out/sweep.png") == (10, 8)


def test_a_sweep_of_the_label_is_a_class_grid_of_the_same_latents(gan):
    assert gan("cgan", "n=3", "sweep=label")[0] == 0 and tiles("out/sweep.png") == (10, 3)


@pytest.mark.parametrize(
    ("run", "name", "wanted"),
    [
        ("infogan", "code0", list(range(10))),
        ("infogan", "code1", [0, 1, 2]),
        ("infogan", "code3", [-1, -0.5, 0, 0.5, 1]),
        ("cgan", "label", list(range(10))),
    ],
)
def test_only_the_swept_input_changes(runs, run, name, wanted):
    game = load_game(str(runs / run)).game
    inputs = sampling.draw_inputs(game, 4, seed=3)
    swept = sampling.sweep(game, inputs, name, 5)
    assert swept.keys() == inputs.keys() and swept[name].dtype == inputs[name].dtype
    assert swept[name].view(4, -1).tolist() == [wanted] * 4
    for key in inputs.keys() - {name}:
        torch.testing.assert_close(
            swept[key].view(4, len(wanted), *inputs[key].shape[1:]),
            inputs[key][:, None].expand(4, len(wanted), *inputs[key].shape[1:]),
            rtol=0,
            atol=0,
        )


def test_a_swept_picture_shows_what_the_generator_makes_of_it(gan, runs):
    gan("infogan", "n=1", "sweep=code1", "seed=4")
    loaded = load_game(str(runs / "infogan"))
    inputs = sampling.draw_inputs(loaded.game, 1, seed=4)
    for k in range(3):
        (image,) = sampling.generate(
            loaded.game, loaded.generator, inputs | {"code1": torch.tensor([k])}, seed=4
        )
        tile = np.asarray(Image.open("out/sweep.png"), np.float32)[
            2:50:3, 2 + 50 * k : 50 + 50 * k : 3
        ]
        assert (
            torch.from_numpy(tile).flatten() - ((image.flatten() + 1) * 127.5).round()
        ).abs().max() <= 1


@pytest.mark.parametrize(
    ("run", "option", "reason"),
    [
        ("mlp", "sweep=code0", "its model has neither codes nor labels"),
        ("mlp", "sweep=label", "its model has neither codes nor labels"),
        ("cgan", "sweep=code0", "no such input"),
        ("infogan", "sweep=code9", "did you mean 'code"),
        ("infogan", "sweep=label", "no such input"),
        ("infogan", "label=1", "its model is not conditional"),
        ("infogan", "per_class=1", "its model is not conditional"),
        ("mlp", "truncation=0.5", "its latents are uniform"),
        ("cgan", "truncation=-1", "it is a bound above 0"),
        ("mlp", "standing=4", "no batch norm"),
        ("cgan", "standing=0", "give 1 or more"),
        ("cgan", "steps=1", "give 2 or more"),
        ("cgan", "sweep=3", "sweep=3 does not fit"),
        ("cgan", "standing=many", "does not fit"),
    ],
)
def test_what_a_model_has_not_is_refused_with_the_reason(gan, run, option, reason):
    code, said = gan(run, option)
    assert code == 2 and reason in said and not Path("out").exists()


def test_truncation_narrows_the_latents_and_changes_the_images(gan, runs):
    for run in ("cgan", "infogan"):
        z = sampling.draw_inputs(
            load_game(str(runs / run)).game, 500, seed=0, options={"truncation": 0.3}
        )["z"]
        assert z.abs().max() <= 0.3 and z.std().item() == pytest.approx(0.3 / 3**0.5, rel=0.05)
    gan("cgan", "n=2")
    wide = Path("out/000000.png").read_bytes()
    assert (
        gan("cgan", "n=2", "truncation=0.3")[0] == 0 and Path("out/000000.png").read_bytes() != wide
    )


def test_standing_statistics_change_the_images_and_are_measured_as_they_sample(gan, monkeypatch):
    gan("cgan", "n=2")
    running = Path("out/000000.png").read_bytes()
    gan("cgan", "n=2", "standing=2")
    standing = Path("out/000000.png").read_bytes()
    assert (
        gan("cgan", "n=2", "standing=2")[0] == 0
        and Path("out/000000.png").read_bytes() == standing != running
    )
    asked = []
    monkeypatch.setattr(
        "gancli.inference.standing_statistics.measure_standing_statistics",
        lambda game, generator, **options: asked.append(options) or generator,
    )
    gan("cgan", "n=2", "standing=5", "truncation=0.5", "seed=9")
    assert asked == [{"passes": 5, "batch": 64, "seed": 9, "options": {"truncation": 0.5}}]


def test_interpolation_keeps_a_class_and_the_categories(runs):
    game = load_game(str(runs / "infogan")).game
    a, b = (sampling.draw_inputs(game, 3, seed=seed) for seed in (0, 1))
    mixed = sampling.interpolate(a, b, 5)
    for name in ("code0", "code1"):
        assert mixed[name].view(3, 5).tolist() == a[name][:, None].expand(3, 5).tolist()
    torch.testing.assert_close(mixed["code2"].view(3, 5)[:, 2], (a["code2"] + b["code2"]) / 2)
    torch.testing.assert_close(mixed["z"].view(3, 5, -1)[:, 4], b["z"])


def test_all_at_once(gan):
    code, _ = gan(
        "cgan", "n=9", "label=3", "interpolate=4", "sweep=label", "truncation=0.7", "standing=2"
    )
    assert (
        code == 0 and tiles("out/interpolation.png") == (4, 8) and tiles("out/sweep.png") == (10, 8)
    )


def test_the_help_lists_the_options(capsys):
    assert main(["sample", "--help"]) == 0
    said = capsys.readouterr().out
    for option in ("truncation", "sweep", "steps", "standing", "interpolate", "label", "per_class"):
        assert f"\n  {option}: " in said and f"{option}=" in said


def test_an_unknown_input_lists_what_there_is(runs):
    game = load_game(str(runs / "infogan")).game
    with pytest.raises(UserError) as caught:
        sampling.sweep(game, sampling.draw_inputs(game, 1, seed=0), "hue", 5)
    assert "code0, code1, code2, code3" in caught.value.hint
