"""gan features, as a user types it: what it writes, which images it looks at, that labels do not
leak, and what goes wrong.
"""

from __future__ import annotations

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import TEST_DATA, small, steps, trainer_for
from PIL import Image

from gancli import checkpoint, cli
from gancli.checkpoint import load_game
from gancli.commands import features
from gancli.data.builtin import CrispDigits
from gancli.errors import GanError, Problems
from gancli.evaluation import probing
from gancli.metrics.probe import linear_probe

CPU = "device=cpu"


def saved(folder, config, n_steps: int = 1):
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint.save(
        steps(trainer_for(config), n_steps).state_dict(), folder / "checkpoints", keep=1
    )
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of 1 or 2 steps on digits of 16 pixels: conditional, unconditional, packed, with 12 held
    out; and one on points.
    """
    root = tmp_path_factory.mktemp("runs")
    saved(root / "cgan", small("cgan", "dataset.limit=120"), 2)
    saved(root / "dcgan", small("dcgan", "dataset.limit=null"))
    saved(root / "packed", small("dcgan", "model.pack=2"))
    saved(root / "held", small("dcgan", "dataset.holdout=12"))
    saved(
        root / "points",
        small("mlp", "dataset=ring", "dataset.resolution=1", "dataset.n=200", "dataset.limit=null"),
    )
    return root


def gan(run, *argv: str) -> None:
    assert features.main([f"ckpt={run}", CPU, *argv]) == 0


def arrays(folder) -> dict[str, np.ndarray]:
    with np.load(folder / "features.npz", allow_pickle=False) as file:
        return dict(file)


def report(folder) -> dict:
    return json.loads((folder / "features.json").read_text())


def rows(folder) -> list[dict]:
    return list(csv.DictReader((folder / "ranking.csv").open()))


def test_what_is_written_and_said(runs, capsys):
    gan(runs / "cgan", "k=3")
    folder = runs / "cgan" / "features"
    out = capsys.readouterr().out
    found = arrays(folder)
    table = rows(folder)
    values = report(folder)["values"]
    assert found["features"].shape == (120, 8 * 4 * 4) and found["features"].dtype == np.float32
    assert found["scores"].shape == found["names"].shape == found["labels"].shape == (120,)
    assert (found["split"] == "train").sum() == 96 and list(found["classes"]) == list("0123456789")
    digits = CrispDigits(resolution=16, limit=120).load()
    assert (found["labels"] == digits.labels.numpy()[found["names"].astype(int)]).all()
    assert set(values) == {f"{a}_{b}" for a in ("linear", "knn") for b in ("critic", "pixels")} | {
        "linear_critic_train",
        "linear_pixels_train",
        "chance",
    }
    assert values["linear_pixels"] > 0.5 > values["chance"] and all(
        0 <= value <= 1 for value in values.values()
    )
    scores = [float(row["score"]) for row in table]
    assert scores == sorted(scores) and np.allclose(scores, np.sort(found["scores"]))
    first = int(np.flatnonzero(found["names"] == table[0]["name"])[0])
    assert (
        table[0]["rank"] == "1"
        and first == found["scores"].argmin()
        and table[0]["class"] == str(found["labels"][first])
    )
    assert Image.open(folder / "ranking.png").size[0] > 400
    assert all(
        words in out
        for words in (
            "linear probe",
            "3 nearest",
            "raw pixels",
            "chance",
            "set apart by the seed",
            "mean over 10 labels",
            f"done: {folder}/ranking.png, and features.npz and ranking.csv in {folder}",
        )
    )


def test_the_same_seed_gives_the_same_bytes(runs, tmp_path):
    names = ("features.npz", "features.json", "ranking.csv", "ranking.png")
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        gan(runs / "cgan", f"seed={seed}", "n=40", f"out={tmp_path / name}")
    for name in names:
        a, b, c = ((tmp_path / run / name).read_bytes() for run in "abc")
        assert a == b and a != c, name
        assert str(runs).encode() not in a
    assert len(arrays(tmp_path / "a")["names"]) == 40


def test_the_label_of_an_image_does_not_show_in_its_features(runs):
    """With its own label bound, a critic that gets labels as planes tells the label of
    pure noise.
    """
    loaded = load_game(str(runs / "cgan"))
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(256, (300, 1, 16, 16), generator=rng, dtype=torch.uint8)
    labels = torch.randint(10, (300,), generator=rng)
    chosen = SimpleNamespace(labels=labels, classes=tuple("0123456789"))
    own = probing.find_own_labels(loaded, chosen)
    assert torch.equal(own, labels)
    hidden, scores = probing.read_features(loaded.game, images, own=own, seed=0)
    other, other_scores = probing.read_features(loaded.game, images, own=own.flip(0), seed=0)
    assert torch.equal(hidden, other) and not torch.equal(scores, other_scores)

    def probed(rows):
        return linear_probe(rows[:200], labels[:200], rows[200:], labels[200:])["accuracy"]

    x = probing.in_range(images)
    leaking, own_scores = probing.view(loaded.game, x, labels)
    assert probed(leaking) > 0.5 and probed(hidden) < 0.25
    assert torch.allclose(scores, own_scores, atol=1e-6)
    chosen.classes = tuple("abcdefghij")
    assert probing.find_own_labels(loaded, chosen) is None, "other classes mean other things"
    mean = torch.stack([probing.view(loaded.game, x, k)[1] for k in range(10)]).mean(0)
    assert torch.allclose(
        probing.read_features(loaded.game, images, own=None, seed=0)[1], mean, atol=1e-6
    )


def test_a_score_may_have_no_further_dimension(runs):
    """A user's head may give (N,) where gancli's give (N,1)."""
    game = load_game(str(runs / "cgan")).game
    x = torch.zeros(2, 1, 16, 16)
    expected = probing.view(game, x, 3)
    head = game.discriminator.head
    game.discriminator.head = lambda features, label: head(features, label).flatten()
    found = probing.view(game, x, 3)
    assert all(map(torch.equal, found, expected))


def test_many_labels_are_sampled_evenly():
    game = SimpleNamespace(needs=("image", "label"), classes=1000)
    labels = probing.choose_labels(game)
    assert (
        labels[0] == 0
        and len(labels) == probing.MOST_LABELS
        and max(labels) < 1000
        and len(set(labels)) == len(labels)
    )


def test_the_critics_noise_and_augmentation_stay_out(runs):
    class Broken(torch.nn.Module):
        def forward(self, x):
            raise AssertionError("augmented")

    game = load_game(str(runs / "dcgan")).game
    x = torch.zeros(5, 1, 16, 16)
    wanted = game.discriminator.trunk(x).flatten(1)
    game.augment = Broken()
    game.adversarial.noise = lambda progress: 1.0
    assert torch.equal(probing.view(game, x, None)[0], wanted)


def test_a_packed_critic_sees_copies(runs, capsys):
    gan(runs / "packed")
    folder = runs / "packed" / "features"
    found = arrays(folder)
    game = load_game(str(runs / "packed")).game
    digits = CrispDigits(resolution=16, limit=30).load()
    x = probing.in_range(digits.images[[int(name) for name in found["names"]]])
    assert np.allclose(
        found["features"],
        game.discriminator.trunk(torch.cat([x, x], 1)).flatten(1).numpy(),
        atol=1e-5,
    )
    assert report(folder)["protocol"]["pack"] == "2 copies of each image"


def test_what_training_held_out_is_tested_on(runs):
    gan(runs / "held")
    found = arrays(runs / "held" / "features")
    protocol = report(runs / "held" / "features")["protocol"]
    assert (found["split"] == "test").sum() == 12
    assert (
        "held out in training" in protocol["images"]
        and protocol["critic_trained_on"] == "those to learn from, without their labels"
    )


def picture(path, value: int, size: int = 16):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (size, size), value).save(path)


def test_names_are_the_files_whatever_was_skipped(runs, tmp_path):
    """Each picture's grey is its name's number."""
    for k in range(60):
        picture(tmp_path / "data" / "ab"[k % 2] / f"{k:03}.png", 4 * k)
    (tmp_path / "data" / "a" / "010.png").write_bytes(b"broken")
    gan(
        runs / "dcgan",
        "dataset=folder",
        f"dataset.path={tmp_path / 'data'}",
        "dataset.limit=40",
        f"out={tmp_path / 'out'}",
    )
    found = arrays(tmp_path / "out")
    game = load_game(str(runs / "dcgan")).game
    assert len(found["names"]) == 40 and "a/010.png" not in found["names"]
    for k, name in enumerate(found["names"]):
        grey = torch.full((1, 1, 16, 16), 4 * int(name[2:5]), dtype=torch.uint8)
        assert np.allclose(
            found["features"][k],
            game.discriminator.trunk(probing.in_range(grey)).flatten(1)[0],
            atol=1e-5,
        )
        assert found["classes"][found["labels"][k]] == name[0]


def test_images_without_labels_are_ranked_all_the_same(runs, tmp_path, capsys):
    for k in range(11):
        picture(tmp_path / "data" / f"{k}.png", 20 * k, size=40)
    Image.new("RGB", (40, 40), (250, 10, 10)).save(tmp_path / "data" / "5.png")
    gan(runs / "dcgan", "dataset=folder", f"dataset.path={tmp_path / 'data'}")
    folder = runs / "dcgan" / "features-folder"
    out, err = capsys.readouterr()
    assert err.count("note: colours are dropped: dataset.channels=1 is grey") == 1
    assert set(arrays(folder)) == {"features", "scores", "names"} and len(rows(folder)) == 11
    assert set(rows(folder)[0]) == {"rank", "score", "name"}
    assert report(folder)["values"] == {} and "no labels" in out and "linear probe" not in out


def test_one_class_is_nothing_to_probe(runs, tmp_path, capsys):
    for k in range(10):
        picture(tmp_path / "data" / ("x" if k else "y") / f"{k}.png", 20 * k)
    gan(
        runs / "dcgan",
        "dataset=folder",
        f"dataset.path={tmp_path / 'data'}",
        "n=2",
        f"out={tmp_path / 'out'}",
    )
    assert "too few images" in capsys.readouterr().out


def test_data_that_moved(runs, tmp_path):
    for k in range(20):
        picture(tmp_path / "images" / "ab"[k % 2] / f"{k}.png", 10 * k)
    run = saved(
        tmp_path / "run",
        small(
            "dcgan", "dataset=folder", f"dataset.path={tmp_path / 'images'}", "dataset.limit=null"
        ),
    )
    moved = tmp_path / "else where"
    shutil.move(tmp_path / "images", moved)
    assert cli.main(["features", f"ckpt={run}"]) == 2
    gan(run, f"dataset.path={moved}")
    assert "critic_trained_on" in report(run / "features")["protocol"], "the same images"
    (moved / "a" / "0.png").unlink()
    gan(run, f"dataset.path={moved}")
    assert "critic_trained_on" not in report(run / "features")["protocol"]


def test_points(runs, capsys):
    gan(runs / "points")
    folder = runs / "points" / "features"
    found = arrays(folder)
    assert found["features"].shape == (200, 12) and report(folder)["values"]["linear_pixels"] > 0.95
    assert not (folder / "ranking.png").exists() and "points" in capsys.readouterr().out


def test_a_sets_own_test_split(tmp_path):
    raw = TEST_DATA / "fashion-mnist" / "FashionMNIST" / "raw"
    if not raw.is_dir():
        pytest.skip("no real data: GANCLI_TEST_DATA has no fashion-mnist")
    (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    for file in raw.glob("*.gz"):
        shutil.copy(file, tmp_path / "FashionMNIST" / "raw")
    run = saved(
        tmp_path / "run",
        small("dcgan", "dataset=fashion_mnist", f"dataset.root={tmp_path}", "dataset.limit=400"),
    )
    gan(run, "n=400")
    found = arrays(run / "features")
    assert [name.startswith("test-") for name in found["names"]] == [
        part == "test" for part in found["split"]
    ]
    assert (found["split"] == "test").sum() == 80 and report(run / "features")["values"][
        "linear_pixels"
    ] > 0.6


def test_a_critic_that_diverged(runs, tmp_path):
    tree = checkpoint.open_checkpoint(str(runs / "dcgan"))[1]
    for value in tree["game"].values():
        if value.is_floating_point():
            value.fill_(torch.nan)
    checkpoint.save(tree, tmp_path, keep=1)
    with pytest.raises(GanError, match="not finite"):
        gan(tmp_path, "n=20")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["k=0"], "k=0 does not fit"),
        (["k=two"], "k=two"),
        (["n=1"], "n=1"),
        (["l2=-1"], "l2=-1"),
        (["l2=nan"], "l2=nan"),
        (["distance=manhattan"], "one of cosine, euclidean"),
        (["device=tpu"], "device=tpu"),
        (["seeed=1"], "did you mean 'seed'"),
        (["--jsn"], "has no --jsn"),
        (["dataset=mnits"], "did you mean 'mnist'"),
        (["dataset=digits", "dataset.typo=1"], "typo"),
        (["dataset=ring"], "sees images"),
        (["dataset.resolution=32"], "sees 16x16 pixels of 1 channels"),
        (["dataset.typo=1"], "typo"),
        (
            ["dataset=digits", "dataset.channels=3"],
            "leave dataset.resolution and dataset.channels out",
        ),
        (["~dataset.path=x"], "does not change"),
        (["dataset.limit=1,2"], "does not change"),
        (["dataset=folder", "dataset.path=nowhere"], "nowhere"),
        (["k=2000"], "give 1 to"),
    ],
)
def test_mistakes(runs, argv, words, capsys):
    assert cli.main(["features", f"ckpt={runs / 'dcgan'}", CPU, *argv]) == 2
    err = capsys.readouterr().err
    assert words in err and "Traceback" not in err


def test_all_mistakes_at_once(runs):
    with pytest.raises(Problems) as caught:
        features.main(["k=0", "n=x", "colour=red"])
    assert len(caught.value.problems) == 4, "and ckpt is not given"


@pytest.mark.parametrize("change", [{"_target_": "os.system"}, {"_target_": "somebody.Data"}])
def test_an_untrusted_class_is_refused(runs, tmp_path, change):
    tree = checkpoint.open_checkpoint(str(runs / "dcgan"))[1]
    tree["config"]["dataset"] = tree["config"]["dataset"] | change
    checkpoint.save(tree, tmp_path, keep=1)
    with pytest.raises(GanError, match="may not be built|code of somebody's"):
        gan(tmp_path)
