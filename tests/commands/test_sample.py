"""gan sample needs a checkpoint and nothing else: same seed, same bytes, and a reason for every
option that it refuses.
"""

from __future__ import annotations

import copy
import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import differences, ending, frozen, small, steps, trainer_for
from PIL import Image

from gancli.checkpoint import load_game, read, save
from gancli.cli import main
from gancli.commands import sample
from gancli.commands.sample import folder_names, tiles
from gancli.inference import sampling
from gancli.inference.sampling import find_class


def run_folder(path: Path, config: dict, *, classes: list[str] | None = None) -> Path:
    (path / "checkpoints").mkdir(parents=True)
    trainer = trainer_for(config)
    for step in (3, 5):
        tree = steps(trainer, step - trainer.progress.step).state_dict()
        tree["data"] |= {} if classes is None else {"classes": classes}
        save(tree, path / "checkpoints", keep=3)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    animals = ["cat", "dog", "../..", "a/b", "a:b", "A_B", "..", "", "x" * 300, "7"]
    run_folder(root / "digits", small("cgan"))
    run_folder(root / "animals", small("mlp", "model.conditional=true"), classes=animals)
    run_folder(root / "plain", small("mlp", "optimizer.g.lr=0.05"))
    points = (
        "model.generator.hidden=[16]",
        "model.discriminator.hidden=[12]",
        "dataset.n=100",
        "trainer.batch_size=8",
    )
    run_folder(root / "ring", frozen("model=mlp", "dataset=ring", "dataset.scale=3.0", *points))
    run_folder(
        root / "modes", frozen("model=mlp", "dataset=ring", "model.conditional=true", *points)
    )
    return root


@pytest.fixture
def gan(runs, tmp_path, monkeypatch, capsys):
    """Runs gan sample on a run by its name, in an empty folder. -> code, stdout, stderr"""
    monkeypatch.chdir(tmp_path)

    def call(run: str, *argv: str):
        capsys.readouterr()
        code = main(["sample", f"ckpt={run if os.sep in run else runs / run}", *argv])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err, captured.err
        return code, captured.out, captured.err

    return call


def files(folder: str | Path) -> dict[str, bytes]:
    folder = Path(folder)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def make(gan, run: str, *argv: str) -> dict[str, bytes]:
    """-> the files that a successful call wrote"""
    shutil.rmtree("out", ignore_errors=True)
    code, out, err = gan(run, "out=out", *argv)
    assert code == 0 and ending(out), err
    return files("out")


# the same bytes


@pytest.mark.parametrize(
    ("run", "argv"),
    [
        ("digits", ("n=70", "interpolate=3")),
        ("digits", ("per_class=2",)),
        ("ring", ("n=100",)),
        ("plain", ("n=5", "ema=false")),
    ],
)
def test_the_same_seed_gives_the_same_bytes_in_every_file(gan, runs, tmp_path, run, argv):
    first = make(gan, run, "seed=3", *argv)
    torch.rand(9)
    assert make(gan, run, "seed=3", *argv) == first
    shutil.copytree(runs / run, tmp_path / "moved here")
    assert make(gan, str(tmp_path / "moved here"), "seed=3", *argv) == first, "no path inside"
    other = make(gan, run, "seed=4", *argv)
    assert other.keys() == first.keys() and all(other[name] != first[name] for name in first)


def test_the_average_and_the_trained_generator_differ(gan):
    assert (
        make(gan, "plain", "n=3")["000000.png"]
        != make(gan, "plain", "n=3", "ema=false")["000000.png"]
    )


def test_what_is_written_is_what_the_generator_makes(gan, runs):
    made = make(gan, "plain", "n=66")
    loaded = load_game(str(runs / "plain"))
    inputs = sampling.draw_inputs(loaded.game, 66, seed=0)
    batches = list(sampling.generate(loaded.game, loaded.generator, inputs, seed=0))
    assert [len(batch) for batch in batches] == [64, 2]
    assert sorted(made) == sorted([f"{k:06d}.png" for k in range(66)] + ["grid.png"])
    pixels = torch.from_numpy(np.array(Image.open("out/000065.png")))
    wanted = ((batches[1][1, 0].clamp(-1, 1) + 1) * 127.5).round()
    assert (pixels - wanted).abs().max() <= 1


def test_sampling_leaves_the_run_alone(gan, runs):
    before = files(runs / "digits")
    make(gan, "digits", "n=2")
    assert files(runs / "digits") == before


# labels


def test_without_a_label_every_class_comes_in_turn(gan, runs):
    loaded = load_game(str(runs / "digits"))
    options = {"n": 23, "label": None, "per_class": None}
    assert sample.choose_all_labels(loaded.game, options, []).tolist() == [
        k % 10 for k in range(23)
    ]
    assert tiles(23, torch.arange(23) % 10, options) == (list(range(23)), 10), "a column a class"


def test_a_label_by_number_and_by_name(gan):
    by_number = make(gan, "animals", "n=3", "label=1")
    by_name = make(gan, "animals", "n=3", "label=dog")
    assert by_number == by_name != make(gan, "animals", "n=3", "label=cat")
    turn = make(gan, "digits", "n=12", "label=7")
    assert turn["000007.png"] != make(gan, "digits", "n=12", "label=8")["000007.png"]


def test_a_name_that_is_a_number_comes_before_the_number():
    classes = ["10", "20", "1"]
    assert [find_class(value, 3, classes) for value in (10, "20", 1, 0, 2)] == [0, 1, 2, 0, 2]


@pytest.mark.parametrize(
    ("run", "label", "hint"),
    [
        ("digits", "11", "give 0 to 9\n"),
        ("digits", "-1", "give 0 to 9\n"),
        ("digits", "cat", "give 0 to 9\n"),
        ("animals", "dgo", "give 0 to 9, or a name: did you mean 'dog'?\n"),
        ("animals", "99", "give 0 to 9, or a name: there are "),
    ],
)
def test_an_unknown_label_is_told_what_there_is(gan, run, label, hint):
    code, _, err = gan(run, f"label={label}", "out=out")
    assert code == 2 and f"label={label} is no class of this checkpoint's" in err and hint in err
    assert not Path("out").exists()


def test_per_class_makes_a_folder_for_each_by_its_name(gan):
    made = make(gan, "digits", "per_class=3")
    assert sorted(made) == sorted(
        [f"{c}/{k:06d}.png" for c in range(10) for k in range(3)] + ["grid.png"]
    )
    assert Image.open("out/grid.png").height > 3 * Image.open("out/grid.png").width, "a row a class"


def test_class_names_of_an_untrusted_checkpoint_stay_inside_and_apart(gan):
    made = make(gan, "animals", "per_class=1")
    folders = sorted({Path(name).parts[0] for name in made} - {"grid.png"})
    assert len(folders) == 10 and {"cat", "dog", "7"} <= set(folders) and len(made) == 11
    assert all(len(name) < 100 and name.strip(". ") == name for name in folders)
    assert sorted(os.listdir()) == ["out"], "nothing was written beside it"
    assert folder_names(["a/b", "a:b", "A_b", "c"], 5) == [
        "000-a_b",
        "001-a_b",
        "002-A_b",
        "c",
        "004",
    ]
    assert folder_names(["..", ".", "", "con 1"], 4) == ["000", "001", "002", "con 1"]
    named = ["cat (wild)", "丙 类（三）", "it's, a=b"]
    assert folder_names(named, 3) == named, "as the training set's folders are called"


@pytest.mark.parametrize("option", ["label=3", "per_class=2", "label=cat"])
@pytest.mark.parametrize("run", ["plain", "ring"])
def test_an_unconditional_model_takes_no_labels(gan, run, option):
    code, _, err = gan(run, option, "out=out")
    key = option.split("=")[0]
    assert (
        code == 2
        and f"{option} does not apply to this checkpoint: its model is not conditional" in err
    )
    assert f"leave {key}= out" in err and not Path("out").exists()


# options


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("n=0",), "n=0 does not fit"),
        (("n=many",), "n='many' does not fit"),
        (("n=2.5",), "n=2.5 does not fit"),
        (("seed=x",), "seed='x' does not fit"),
        (("ema=maybe",), "ema='maybe' does not fit"),
        (("interpolate=1",), "give 2 or more"),
        (("label=1.5",), "label=1.5 is no class"),
        (("device=tpu",), "give one of auto, cpu, cuda, mps"),
        (("ema=1",), "ema='1' does not fit"),
        (("ema=",), "ema='' does not fit"),
        (("label=1", "per_class=2"), "do not go together"),
        (("truncation=x",), "truncation='x' does not fit"),
        (("sed=1",), "did you mean 'seed'"),
    ],
)
def test_a_wrong_option_is_refused_with_the_reason(gan, argv, said):
    code, _, err = gan("digits", "out=out", *argv)
    assert code == 2 and said in err and not Path("out").exists()


def test_all_wrong_options_are_told_at_once(gan):
    assert "3 problems" in gan("digits", "n=0", "seed=x", "interpolate=0")[2]


def test_no_ckpt_and_no_such_ckpt(gan, capsys):
    assert main(["sample"]) == 2 and "ckpt is not given" in capsys.readouterr().err
    for odd in ("./nothing", "/" + "x" * 5000):
        code, _, err = gan(odd)
        assert code == 2 and "does not exist" in err


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_out_that_cannot_be_written_is_a_sentence(gan, place):
    Path("file").touch()
    code, _, err = gan("plain", f"out={place}", "n=1")
    assert code == 2 and f"{place} cannot be written" in err and "choose another out=" in err


def test_a_full_disk_is_code_75(gan, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    code, _, err = gan("plain", "out=out", "n=1")
    assert code == 75 and "No space left" in err


# where from, where to


def test_out_is_beside_the_run_or_the_lone_file(gan, runs, tmp_path):
    shutil.copytree(runs / "plain", "run")
    assert ending(gan("./run", "n=1", "seed=5")[1], "run/samples-seed5").startswith("gan show")
    shutil.copy("run/checkpoints/last.pt", "alone.pt")
    assert ending(gan("./alone.pt", "n=1")[1], "samples-seed0") == "gan show alone.pt"
    assert files("samples-seed0") == make(gan, "plain", "n=1"), "a lone file is enough"
    assert ending(gan("./run/checkpoints/step-00000003.pt", "n=1")[1], "run/samples-seed0")
    assert files("run/samples-seed0")["000000.png"] != files("samples-seed0")["000000.png"]


def test_a_damaged_newest_falls_back_and_says_so(gan, runs, caplog):
    shutil.copytree(runs / "plain", "run")
    for name in ("last.pt", "step-00000005.pt"):
        data = Path("run/checkpoints", name).read_bytes()
        Path("run/checkpoints", name).unlink()
        Path("run/checkpoints", name).write_bytes(data[:-50])
    code, _, err = gan("./run", "n=1", "out=out")
    assert (
        code == 0 and "last.pt is damaged" in caplog.text and "trying the one before" in caplog.text
    )
    assert files("out") == make(
        gan, str(runs / "plain" / "checkpoints" / "step-00000003.pt"), "n=1"
    )
    code, _, err = gan("./run/checkpoints/last.pt", "n=1", "out=other")
    assert code == 2 and "is damaged" in err and not Path("other").exists(), (
        "this very file was asked for"
    )


def test_an_untrusted_checkpoint_is_refused_in_a_sentence(gan, runs):
    tree = read(runs / "plain" / "checkpoints" / "last.pt")
    tree["config"]["model"]["generator"]["_target_"] = "os.system"
    torch.save(tree, "evil.pt")
    code, out, err = gan("./evil.pt", "n=1", "out=out")
    assert (
        code == 2 and "os.system may not be built" in err and not Path("out").exists() and not out
    )


# pictures


def test_interpolation_writes_a_row_per_pair(gan):
    made = make(gan, "digits", "n=3", "interpolate=8", "label=4")
    picture = Image.open("out/interpolation.png")
    assert picture.width > 2 * picture.height, "3 rows of 8"
    assert made.keys() == {
        "000000.png",
        "000001.png",
        "000002.png",
        "grid.png",
        "interpolation.png",
    }


def test_interpolation_starts_at_one_draw_and_ends_at_the_other(runs):
    game = load_game(str(runs / "animals")).game
    a, b = (
        sampling.draw_inputs(game, 3, seed=seed, label=torch.tensor([1, 2, 3])) for seed in (0, 1)
    )
    mixed = sampling.interpolate(a, b, 5)
    assert mixed["z"].shape == (15, 100) and mixed["label"].tolist() == [1] * 5 + [2] * 5 + [3] * 5
    torch.testing.assert_close(mixed["z"][::5], a["z"])
    torch.testing.assert_close(mixed["z"][4::5], b["z"])
    same = sampling.interpolate(a, copy.deepcopy(a), 3)["z"]
    torch.testing.assert_close(same[1::3], a["z"])
    middle = mixed["z"][2::5].norm(dim=1)
    lengths = (a["z"].norm(dim=1) + b["z"].norm(dim=1)) / 2
    torch.testing.assert_close(middle, lengths)  # a straight line would be shorter by a third


def test_points_are_a_table_in_the_units_of_the_data(gan, runs):
    made = make(gan, "ring", "n=100", "interpolate=4")
    assert made.keys() == {"points.csv", "grid.png", "interpolation.png"}
    with open("out/points.csv") as file:
        head, *rows = csv.reader(file)
    assert head == ["x", "y"] and len(rows) == 100
    loaded = load_game(str(runs / "ring"))
    batches = sampling.generate(
        loaded.game, loaded.generator, sampling.draw_inputs(loaded.game, 100, seed=0), seed=0
    )
    torch.testing.assert_close(
        torch.tensor([[float(v) for v in row] for row in rows]),
        torch.cat(list(batches)).flatten(1) * 3.0,
    )


def test_points_of_a_conditional_model_have_their_labels(gan):
    make(gan, "modes", "per_class=2")
    with open("out/points.csv") as file:
        head, *rows = csv.reader(file)
    assert head == ["x", "y", "label"] and [int(row[2]) for row in rows] == [
        k // 2 for k in range(16)
    ]


@pytest.mark.parametrize(
    ("n", "label", "per_class", "count", "columns"),
    [
        (5, None, None, 5, 8),
        (600, None, None, 512, 8),
        (40, "one", None, 40, 8),
        (30, "classes", None, 30, 10),
        (4, "classes", None, 4, 4),
        (200, None, 20, 160, 16),
        (30, None, 3, 30, 3),
    ],
)
def test_which_images_the_grid_shows(n, label, per_class, count, columns):
    labels = {"one": torch.full((n,), 3), "classes": torch.arange(n) % 10, None: None}[label]
    shown, wide = tiles(n, labels, {"per_class": per_class, "label": 3 if label == "one" else None})
    assert (len(shown), wide) == (count, columns) and len(set(shown)) == count and max(shown) < n
    if per_class == 20:
        assert shown[:17] == [*range(16), 20]


def test_many_images_are_written_as_they_come(runs, monkeypatch, tmp_path):
    """Never more than a batch and the grid's tiles at once."""
    drawn = []
    written = []
    real = sampling.generate

    def generate(*args, **kwargs):
        for batch in real(*args, **kwargs):
            drawn.append(len(written))
            yield batch

    monkeypatch.setattr(sampling, "generate", generate)
    monkeypatch.setattr("gancli.render.grids.save_image", lambda image, path: written.append(path))
    assert main(["sample", f"ckpt={runs / 'plain'}", "n=200", f"out={tmp_path / 'out'}"]) == 0
    assert drawn == [0, 64, 128, 192] and len(written) == 200


def test_an_option_of_the_games_own_is_known(runs):
    game = load_game(str(runs / "plain")).game
    assert sampling.list_options(game) == {"truncation"}
    assert sampling.list_options(load_game(str(runs / "digits")).game) == {
        "label",
        "per_class",
        "truncation",
        "sweep",
    }


def test_the_checkpoint_is_enough(gan, runs, monkeypatch):
    """No data set is touched."""
    from gancli.data import base

    monkeypatch.setattr(base.Source, "load", lambda self: pytest.fail("the data were read"))
    assert make(gan, "plain", "n=1")
    assert (
        differences(
            read(runs / "plain" / "checkpoints" / "last.pt"),
            read(runs / "plain" / "checkpoints" / "step-00000005.pt"),
        )
        == []
    )
