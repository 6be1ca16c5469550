"""Every command ends with a file that is there and a command that runs as printed."""

from __future__ import annotations

import os
import shlex
import signal

import pytest
import torch
import train_helpers
from helpers import DOMAINS, OF_DIGITS, PAIRS
from PIL import Image
from train_helpers import NETWORKS, QUIET, TINY, sound, train_once

from gancli.cli import SUBCOMMANDS, describe_subcommand
from gancli.data.base import Decoded
from gancli.evaluation.monitor import choose_reals

gan = pytest.fixture(train_helpers.gan)
at_step = pytest.fixture(train_helpers.at_step)
QUICK = ("metrics=fast", "n=20", "metrics.items=[swd,w1,psnr]", "device=cpu")
TRAINED = {
    "noise": TINY,
    "points": (*NETWORKS, *QUIET, "dataset=ring", "dataset.n=100", "metrics=none"),
    "pairs": (
        *("model=pix2pix", f"dataset.path={PAIRS}", "model.width=4", "model.generator.downs=3"),
        *("model.discriminator.layers=1", "metrics=none", *QUIET),
    ),
    "domains": (
        *("model=cyclegan", f"dataset.path={DOMAINS}", "model.width=4"),
        *("model.generator.ab.blocks=1", "model.discriminator.a.layers=1"),
        *("metrics=none", *QUIET),
    ),
    "holes": (
        *("model=inpaint", *OF_DIGITS, "model.width=4", "model.generator.bottleneck=16"),
        *("metrics=none", *QUIET),
    ),
}


def next_of(done: train_helpers.Done) -> list[str]:
    """The words of the command that the last line names."""
    last = done.out.splitlines()[-1]
    assert last.startswith("  gan "), done.out
    return shlex.split(last)[1:]


def opened(done: train_helpers.Done, folder) -> None:
    """What is to be opened is there."""
    line = done.out.splitlines()[-2]
    assert line.startswith("done: "), done.out
    assert (folder / line.removeprefix("done: ").split(", and ")[0]).is_file(), line


def follow(gan, words: list[str], folder) -> list[str]:
    """Runs what was printed. -> what that prints in turn"""
    done = sound(gan(*words))
    if words[-1] != "--help" and words[0] not in ("show", "list"):
        opened(done, folder)
    return next_of(done)


@pytest.mark.parametrize("kind", TRAINED)
def test_what_a_run_prints_leads_on(gan, tmp_path, kind):
    done = sound(gan("train", *TRAINED[kind], "trainer.steps=2", "hydra.run.dir=a run"))
    opened(done, tmp_path)
    first = next_of(done)
    assert first[0] == ("sample" if kind in ("noise", "points") else "translate")
    then = follow(gan, first, tmp_path)
    assert then == ["report", "a run"]
    measure = follow(gan, then, tmp_path)
    assert measure == ["evaluate", "ckpt=a run"]
    assert follow(gan, [*measure, *QUICK], tmp_path) == ["report", "a run"]
    assert follow(gan, ["report", "a run", "out=page"], tmp_path) == first
    assert next_of(sound(gan("show", "a run"))) == first
    assert next_of(sound(gan("show", "a run/checkpoints/last.pt")))[0] == first[0]
    assert follow(gan, ["compare", "a run"], tmp_path) == ["report", "a run"]


def test_a_model_of_images_is_not_sampled_and_says_what_to_type(gan, tmp_path):
    sound(gan("train", *TRAINED["pairs"], "trainer.steps=1", "hydra.run.dir=a run"))
    done = gan("sample", "ckpt=a run")
    assert done.code == 2 and "not out of noise" in done.err
    hint = done.err.splitlines()[-1].strip()
    assert hint.startswith("gan translate")
    follow(gan, shlex.split(hint)[1:], tmp_path)


def test_verbs_of_a_model_from_noise(gan, tmp_path):
    train_once(gan, *TINY, "trainer.steps=2")
    image = "run/samples/real.png"
    found = follow(gan, ["project", "ckpt=run", f"input={image}", "steps=2", "film=null"], tmp_path)
    assert found[0] == "sample" and "latent=" in " ".join(found)
    assert follow(gan, found, tmp_path) == ["report", "run"]
    assert follow(gan, ["features", "ckpt=run", "n=20"], tmp_path) == ["report", "run"]
    words = ["sample", "ckpt=run", "n=2", "interpolate=3", "out=s3"]
    done = sound(gan(*words))
    assert "done: s3/interpolation.png, and 2 images in s3" in done.out
    assert "done: s3/grid.png, and 2 images in s3" in sound(gan(*words[:3], words[4])).out
    done = sound(gan("sample", "ckpt=run", "n=1", "out=s3"))
    assert "done: s3/grid.png, and 1 image in s3, beside 1 of an earlier command\n" in done.out


def test_a_run_that_stopped_early_goes_on(gan, at_step, tmp_path):
    at_step(2, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert gan("train", *TINY, "trainer.steps=4", "hydra.run.dir=run").code == 143
    for words in (["show", "run"], ["show", "run/checkpoints/last.pt"], ["report", "run"]):
        assert next_of(sound(gan(*words))) == ["train", "resume=run"]
    assert follow(gan, ["train", "resume=run"], tmp_path) == ["sample", "ckpt=run"]


def test_a_complete_run_says_how_to_go_on(gan, tmp_path):
    train_once(gan, *TINY, "trainer.steps=2")
    more = next_of(sound(gan("train", "resume=run")))
    assert more == ["train", "resume=run", "trainer.steps=4"]
    assert follow(gan, more, tmp_path) == ["sample", "ckpt=run"]


def test_a_run_keeps_a_picture_of_its_data_once(gan, tmp_path, monkeypatch):
    classes = ("model=cgan", "model.width=4", "model.max_width=8", "log.grid=3")
    small = ("dataset.resolution=8", "dataset.limit=30", "metrics=none")
    sound(gan("train", *small, *QUIET, *classes, "trainer.steps=1", "hydra.run.dir=run"))
    picture = tmp_path / "run/samples/real.png"
    with Image.open(picture) as image:
        assert (image.width - 2) // 50 == 3 and (image.height - 2) // 50 == 10
    before = picture.stat().st_mtime_ns
    sound(gan("train", "resume=run", "trainer.steps=2"))
    assert picture.stat().st_mtime_ns == before

    def broken(*_: object) -> None:
        raise ValueError("no picture today")

    monkeypatch.setattr("gancli.evaluation.monitor.Monitor.draw_references", broken)
    done = sound(gan("train", *TINY, "trainer.steps=1", "hydra.run.dir=other"))
    assert "no picture today" in (tmp_path / "other/run.log").read_text() and done.code == 0


def test_real_images_stand_in_the_rows_of_their_classes():
    labels = torch.tensor([1, 0, 1, 1, 2])
    train = Decoded(
        images=torch.zeros(5, 1, 4, 4, dtype=torch.uint8), labels=labels, classes=("a", "b", "c")
    )
    assert choose_reals(train, 2, 8, labelled=True) == [1, -1, 0, 2, 4, -1]
    assert choose_reals(train, 3, 1, labelled=False) == [0, 2, 4]


def test_before_a_run(gan, tmp_path):
    small = ("model=mlp", "dataset.limit=30", "trainer.batch_size=8", "trainer.steps=2")
    shown = sound(gan("show", "model=mlp", "dataset.limit=30"))
    assert next_of(shown) == ["train", "model=mlp", "dataset.limit=30"]
    checked = sound(gan("check", *small, *QUIET))
    last = checked.out.splitlines()[-1]
    assert shlex.split(last[last.index("gan ") :])[1:] == ["train", *small, *QUIET]
    assert follow(gan, ["list", "loss"], tmp_path) == ["train", "--help"]
    assert follow(gan, ["list"], tmp_path) == ["list", "metrics"]
    assert next_of(sound(gan("list", "metrics"))) == ["evaluate", "--help"]
    assert follow(gan, ["data", "dataset=digits", "out=sheet"], tmp_path) == [
        "train",
        "dataset=digits",
    ]
    assert (tmp_path / "sheet.png").is_file()
    assert next_of(sound(gan("data", DOMAINS)))[:2] == ["train", "model=cyclegan"]
    assert next_of(sound(gan("data", PAIRS)))[:2] == ["train", "model=pix2pix"]


def test_what_a_checkpoint_has_is_not_given_again(gan):
    for subcommand in ("evaluate", "sample"):
        done = gan(subcommand, "ckpt=run", "model=dcgan")
        assert done.code == 2 and f"{subcommand} takes no model: the checkpoint has one" in done.err


def test_help_names_what_mp4_needs(capsys):
    text = describe_subcommand("sample", [])
    assert "film=walk.gif" in text and "film=walk.mp4" not in text
    assert "mp4 needs pip install 'gancli[mp4]'" in text
    assert all("film" not in command.summary for command in SUBCOMMANDS.values())
