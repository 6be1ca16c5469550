"""gan evaluate, as a user types it: a checkpoint, two folders, and what goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from evaluation_helpers import digits, hasty  # noqa: F401 - fixtures
from helpers import TEST_DATA, small, steps, trainer_for
from PIL import Image

from gancli import checkpoint
from gancli.commands.evaluate import main, show_report
from gancli.errors import Problems, UserError
from gancli.evaluation.samples import Report

QUICK = ("metrics.swd_patches=8", "metrics.swd_directions=8", "metrics.pairs=5", "device=cpu")
SMALL = ("metrics=fast", "n=24", *QUICK)
NAME = "fast-n24-train-ema-self-pairs5-swd_directions8-swd_patches8"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a conditional run on 30 digits, 12 held out, saved after 2 steps."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "checkpoints").mkdir()
    (folder / "tensorboard").mkdir()
    trainer = steps(trainer_for(small("cgan", "dataset.holdout=12")), 2)
    checkpoint.save(trainer.state_dict(), folder / "checkpoints", keep=1)
    return folder


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    folder = tmp_path_factory.mktemp("points")
    trainer = steps(
        trainer_for(small("mlp", "dataset=ring", "dataset.resolution=1", "dataset.n=100")), 1
    )
    checkpoint.save(trainer.state_dict(), folder, keep=1)
    return folder


def result(folder) -> dict:
    """What the newest evaluation of a checkpoint says."""
    files = sorted((folder / "evaluations").glob("*.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(files[-1].read_text())


def test_a_checkpoint(hasty, run, capsys):  # noqa: F811
    assert main([f"ckpt={run}", *SMALL]) == 0
    out = capsys.readouterr().out
    found = result(run)
    assert found["step"] == 2 and {"fd_self", "swd", "class_accuracy", "modes", "kl"} <= set(
        found["values"]
    )
    assert (
        found["protocol"]["n_fake"] == 24
        and found["protocol"]["n_real"] == 30
        and found["protocol"]["ema"] is True
    )
    assert all(
        word in out
        for word in (
            "fd_self",
            "lower",
            "protocol",
            "checksum",
            f"done: {run}/evaluations/{NAME}.json",
        )
    )
    assert found["protocol"]["held_out"] == "12 images, held out in training"
    events = [file.read_bytes() for file in (run / "tensorboard" / "evaluate").iterdir()]
    assert any(b"eval/fd_self" in data for data in events), "apart from the run's own curves"


@pytest.mark.parametrize("broken", [False, True])
def test_what_the_paper_reports_stands_below_the_numbers(hasty, broken, tmp_path, capsys):  # noqa: F811
    trainer = trainer_for(small("mlp", "published=[{metric: fid, value: 4.16, source: a paper}]"))
    state = trainer.state_dict()
    if broken:  # a file may hold anything
        state["config"]["published"] = [{"metric": "fid"}]
    checkpoint.save(state, tmp_path, keep=1)
    assert main([f"ckpt={tmp_path}", *SMALL]) == 0
    out = capsys.readouterr().out
    assert ("FID 4.16 (lower is better): a paper" in out) != broken
    assert ("published for this run's experiment" in out) != broken


def test_the_same_seed_gives_the_same_file(hasty, run, tmp_path):  # noqa: F811
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        main([f"ckpt={run}", f"seed={seed}", f"out={tmp_path / name}", *SMALL])
    a, b, c = ((tmp_path / f"{name}.json").read_text() for name in "abc")
    assert a == b != c


def test_the_trained_generator_and_other_items(hasty, run, tmp_path, capsys):  # noqa: F811
    main(
        [
            f"ckpt={run}",
            "ema=false",
            f"out={tmp_path / 'x.txt'}",
            "metrics.items=[swd,lpips,overfitting]",
            "metrics.floor=true",
            *SMALL,
        ]
    )
    found = json.loads((tmp_path / "x.txt").read_text())
    assert (
        found["protocol"]["ema"] is False
        and set(found["skipped"]) == {"lpips"}
        and "critic_gap" in found["values"]
    )
    assert set(found["reals"]) == {"swd", "swd/16"}
    out = capsys.readouterr().out
    assert "held-out reals" in out and "lpips: LPIPS has no weights" in out


def test_training_numbers_stay_and_each_protocol_has_its_own_file(hasty, run, capsys):  # noqa: F811
    trained = run / "evaluation.json"
    trained.write_text('{"step": 2, "values": {"swd": 1.0}, "ended": "its 2 steps are done"}')
    before = trained.read_bytes()
    shutil.rmtree(run / "evaluations", ignore_errors=True)
    for more in ((), (), ("ema=false",), ("seed=3",), ("metrics.reference=held",), ("n=20",)):
        assert main([f"ckpt={run}", *SMALL, "metrics.items=[swd]", *more]) == 0
    assert trained.read_bytes() == before
    ending = "-items_swd-pairs5-swd_directions8-swd_patches8"
    want = {
        f"fast-n24-train-ema{ending}",
        f"fast-n24-train-raw{ending}",
        f"fast-n24-train-ema{ending}-seed3",
        f"fast-n24-held-ema{ending}",
        f"fast-n20-train-ema{ending}",
    }
    assert {path.stem for path in (run / "evaluations").iterdir()} == want
    main([f"ckpt={run}/checkpoints/step-00000002.pt", *SMALL, "metrics.items=[swd]"])
    assert (run / "evaluations" / f"fast-n24-train-ema{ending}-step-00000002.json").is_file()
    with pytest.raises(UserError, match="training wrote"):
        main([f"ckpt={run}", f"out={trained}", *SMALL])
    trained.unlink()


def test_points_and_the_published_table(points, capsys):
    assert main([f"ckpt={points}", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "published" in out and "PacGAN4" in out and "high_quality" in out and "\nswd" not in out
    assert set(result(points)["values"]) == {"modes", "high_quality", "kl", "w1"}


def test_data_that_moved(hasty, tmp_path, capsys):  # noqa: F811
    images = tmp_path / "images"
    for k in range(24):
        (images / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits().images[k, 0].numpy()).save(images / "ab"[k % 2] / f"{k}.png")
    config = small("dcgan", "dataset=folder", f"dataset.path={images}", "dataset.limit=null")
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    checkpoint.save(steps(trainer_for(config), 1).state_dict(), folder, keep=1)
    moved = tmp_path / "elsewhere"
    shutil.move(images, moved)
    with pytest.raises(UserError, match="there is no such folder"):
        main([f"ckpt={folder.parent}", *SMALL])
    assert main([f"ckpt={folder.parent}", f"dataset.path={moved}", *SMALL]) == 0
    assert "warning" not in capsys.readouterr().err
    (moved / "a" / "0.png").unlink()
    main([f"ckpt={folder.parent}", f"dataset.path={moved}", *SMALL])
    assert "other images than the run was trained on" in capsys.readouterr().err


def write_pairs(folder: Path, n: int, *, shade: int) -> None:
    """Writes pairs side by side: grey, and the same turned to its negative."""
    folder.mkdir(parents=True)
    for k in range(n):
        pair = Image.new("L", (16, 8), shade + k)
        pair.paste(255 - shade - k, (8, 0, 16, 8))
        pair.save(folder / f"{k}.png")


def test_other_pairs_are_held_against_their_own_test_part(hasty, tmp_path, capsys):  # noqa: F811
    write_pairs(tmp_path / "mine" / "train", 8, shade=10)
    write_pairs(tmp_path / "mine" / "test", 4, shade=90)
    write_pairs(tmp_path / "other" / "train", 9, shade=20)
    write_pairs(tmp_path / "other" / "test", 3, shade=80)  # fewer than the run held out
    write_pairs(tmp_path / "few", 2, shade=40)
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    paths = ("dataset=paired", f"dataset.path={tmp_path / 'mine'}", "dataset.load_size=8")
    config = small("pix2pix", *paths, "dataset.holdout=4", "dataset.limit=null")
    checkpoint.save(steps(trainer_for(config), 1).state_dict(), folder, keep=1)

    def measure(name: str) -> tuple[str, str, int]:
        main([f"ckpt={folder.parent}", f"dataset.path={tmp_path / name}", *SMALL])
        protocol = result(folder.parent)["protocol"]
        return protocol["split"], protocol["held_out"], protocol["n_fake"]

    assert measure("mine") == ("held", "4 images, held out in training", 4)
    assert "warning" not in capsys.readouterr().err
    assert measure("other") == ("held", "3 images, the part that these data hold out", 3)
    assert "other images than the run was trained on" in capsys.readouterr().err
    assert measure("few") == ("all", "2 images, all of these data", 2)
    with pytest.raises(UserError, match="there is no such folder"):
        measure("nowhere")


def test_images_of_a_path_stand_in_for_those_of_another_data_set(hasty, tmp_path):  # noqa: F811
    (tmp_path / "own").mkdir()
    for k in range(12):
        Image.fromarray(digits().images[k, 0].numpy()).save(tmp_path / "own" / f"{k}.png")
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    config = small("enhance", "dataset=degraded", "+dataset@dataset.of=digits")
    checkpoint.save(steps(trainer_for(config), 1).state_dict(), folder, keep=1)
    main([f"ckpt={folder.parent}", f"dataset.path={tmp_path / 'own'}", *SMALL])
    protocol = result(folder.parent)["protocol"]
    assert (protocol["split"], protocol["n_fake"]) == ("all", 12)


def test_a_model_without_labels_is_held_against_images_without(hasty, tmp_path):  # noqa: F811
    for k in range(24):
        for place in (tmp_path / "classes" / "ab"[k % 2], tmp_path / "flat"):
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digits().images[k, 0].numpy()).save(place / f"{k}.png")
    path = f"dataset.path={tmp_path / 'classes'}"
    config = small("dcgan", "dataset=folder", path, "dataset.limit=null")
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    checkpoint.save(steps(trainer_for(config), 1).state_dict(), folder, keep=1)
    flat = f"dataset.path={tmp_path / 'flat'}"
    assert main([f"ckpt={folder.parent}", flat, "metrics.items=[swd]", *SMALL]) == 0


def test_a_sets_own_test_split_serves_as_held_out(hasty, tmp_path):  # noqa: F811
    raw = TEST_DATA / "fashion-mnist" / "FashionMNIST" / "raw"
    if not raw.is_dir():
        pytest.skip("no real data: GANCLI_TEST_DATA has no fashion-mnist")
    (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    for file in raw.glob("*.gz"):
        shutil.copy(file, tmp_path / "FashionMNIST" / "raw")
    config = small("cgan", "dataset=fashion_mnist", f"dataset.root={tmp_path}")
    checkpoint.save(steps(trainer_for(config), 1).state_dict(), tmp_path, keep=1)
    main([f"ckpt={tmp_path}", "metrics.items=[memorisation,overfitting]", *SMALL])
    assert result(tmp_path)["protocol"]["held_out"] == "10000 images, its test split"


def folder_of(images, path, *, names=None):
    for k, image in enumerate(images):
        (path / (names[k] if names else "")).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path / (names[k] if names else "") / f"{k:03}.png")
    return path


def test_baselines_stand_beside_the_number_of_the_outputs(capsys):
    values = {"psnr": 20.0, "psnr_source": 12.5, "psnr_mean": 11.5, "cycle": 0.25}
    show_report(Report(values, {}, {}), title="a run", target="")
    head, psnr, cycle = [line.split() for line in capsys.readouterr().out.splitlines()[1:4]]
    assert head == ["metric", "value", "copied", "source", "mean", "image", "better"]
    assert psnr == ["psnr", "20", "12.5", "11.5", "higher"] and cycle == ["cycle", "0.25", "lower"]


def test_two_folders_of_other_sizes(hasty, tmp_path, capsys):  # noqa: F811
    data = digits()
    real = folder_of(
        data.images[:40], tmp_path / "real", names=[str(int(k)) for k in data.labels[:40]]
    )
    fake = folder_of(
        digits(16).images[40:70], tmp_path / "fake", names=[str(int(k)) for k in data.labels[40:70]]
    )
    out = tmp_path / "out.json"
    assert main([f"real={real}", f"fake={fake}", f"out={out}", *QUICK]) == 0
    found = json.loads(out.read_text())
    text = capsys.readouterr().out
    assert (
        found["protocol"]["n_real"] == 40
        and found["protocol"]["n_fake"] == 30
        and found["protocol"]["size"] == [1, 16, 16]
    )
    assert found["protocol"]["images"].startswith(
        "16x16, 1 channels; real ones measure 32x32, generated ones 16x16"
    )
    assert {"fd_self", "swd", "ms_ssim", "class_accuracy", "precision_self"} <= set(
        found["values"]
    ) and "protocol" in text
    assert "overfitting" not in found["skipped"] and "memorisation" not in found["skipped"]
    assert (
        main([f"real={real}", f"fake={real}", f"out={out}", "metrics.items=[swd,frechet]", *QUICK])
        == 0
    )
    assert max(json.loads(out.read_text())["values"].values()) < 1e-3


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "nothing to evaluate"),
        (["real=a"], "real do not make"),
        (["ckpt=a", "real=b", "fake=c"], "do not make"),
        (["ckpt=a", "metrics.items=[fid]"], "there is no 'fid'"),
        (["ckpt=a", "metrics.features=resnet"], "metrics.features"),
        (["ckpt=a", "n=3"], "n=3 does not fit"),
        (["ckpt=a", "n=many"], "n='many'"),
        (["ckpt=a", "metrics=fats"], "fats"),
        (["ckpt=a", "+metrics.typo=1"], "typo"),
        (["ckpt=a", "device=tpu"], "device"),
        (["ckpt=a", "+typo=1"], "typo"),
        (["ckpt=a", "ema=maybe"], "ema='maybe'"),
    ],
)
def test_mistakes(argv, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(Problems) as caught:
        main(argv)
    assert any(words in message for message, _ in caught.value.problems), caught.value.problems


def test_a_key_that_the_data_set_does_not_take(run):
    with pytest.raises(UserError, match="takes no 'root'"):
        main([f"ckpt={run}", "dataset.root=x", *SMALL])


@pytest.mark.parametrize(
    ("target", "words"),
    [("os.system", "may not be built"), ("somebody.Data", "code of somebody's")],
)
def test_an_untrusted_class_is_refused(run, tmp_path, target, words):
    tree = checkpoint.open_checkpoint(str(run))[1]
    tree["config"]["dataset"] = tree["config"]["dataset"] | {"_target_": target}
    torch.save(tree | {"format": checkpoint.FORMAT, "version": "0"}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match=words):
        main([f"ckpt={tmp_path / 'evil.pt'}", *SMALL])
