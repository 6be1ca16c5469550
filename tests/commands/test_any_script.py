"""Folders, classes and runs with names of any script and any sign: the main way, each next command
as it is printed.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import numpy as np
import pytest
import train_helpers
from PIL import Image
from train_helpers import NETWORKS, QUIET, at_step, sound

from gancli.commands.data import name_sheet

gan = pytest.fixture(train_helpers.gan)
at_step = pytest.fixture(at_step)
PLACE = "a b/x=1/ü 手写"
CLASSES = ("甲类", "cat (wild)", "丙 类（三）")


@pytest.fixture
def place(gan, tmp_path, monkeypatch) -> Path:
    folder = tmp_path / PLACE
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / "数据" / name).mkdir(parents=True)
        for k in range(4):
            pixels = rng.integers(0, 255, (8, 8), np.uint8)
            Image.fromarray(pixels).save(folder / "数据" / name / f"{k}.png")
    monkeypatch.chdir(folder)
    return folder


def printed(text: str) -> list[str]:
    """The words of the last command that was printed."""
    return shlex.split([line for line in text.splitlines() if line.startswith("  gan ")][-1])[1:]


def test_the_main_way(gan, place, at_step):
    at_step(2, lambda trainer: os.kill(os.getpid(), 15))
    short = (*NETWORKS, *QUIET, "metrics=none", "model.conditional=true")
    data = ("dataset=folder", "dataset.path=数据")
    stopped = sound(gan("train", *data, *short, "name=手写实验", "trainer.steps=4"), 143)
    (run,) = Path("outputs/手写实验").iterdir()
    resume = printed(stopped.err)
    assert resume == ["train", f"resume={run}"]
    sample = printed(sound(gan(*resume)).out)
    assert sample == ["sample", f"ckpt={run}"]
    report = printed(sound(gan(*sample)).out)
    sound(gan(*sample, "label=丙 类（三）", "n=1", "out=出 力"))
    sound(gan(*sample, "per_class=1", "out=每类"))
    assert {path.name for path in Path("每类").iterdir() if path.is_dir()} == {*CLASSES}
    assert report == ["report", str(run)]
    assert printed(sound(gan(*report)).out) == ["evaluate", f"ckpt={run}"]
    assert printed(sound(gan("compare", str(place / run))).out)[0] == "report"
    looked = sound(gan("data", *data))
    assert "outputs/data/数据.png" in looked.out
    assert printed(looked.out) == ["train", *data]


def test_a_sweep_over_names_and_paths(gan, place):
    short = (*NETWORKS, *QUIET, "metrics=none", "trainer.steps=1")
    words = ("dataset=folder", "dataset.path=数据", "name=甲,乙")
    done = sound(gan("train", "-m", *words, *short, f"hydra.sweep.dir={place}/扫 描"))
    jobs = sorted(path.name for path in Path("扫 描").iterdir() if path.is_dir())
    assert ["甲" in jobs[0], "乙" in jobs[1]] == [True, True]
    sound(gan(*printed(done.out)))


def test_pairs_made_of_a_folder_with_such_a_path(gan, place):
    words = ("model=enhance", "+dataset@dataset.of=folder", f"dataset.of.path={place}/数据")
    small = (
        "dataset.resolution=8",
        "dataset.channels=1",
        "dataset.holdout=2",
        "model.width=4",
        "trainer.steps=1",
        "model.discriminator.layers=1",
    )
    done = sound(gan("train", *words, *small, *QUIET, "metrics=none", "hydra.run.dir=大 图=2"))
    translate = printed(done.out)
    assert translate[:2] == ["translate", "ckpt=大 图=2"]
    words = [f"input=数据/{CLASSES[1]}" if "input=" in word else word for word in translate]
    sound(gan(*words, "out=出 力"))
    assert (place / "出 力" / "0.png").is_file()


def test_two_folders_never_share_a_contact_sheet():
    assert name_sheet("digits") == "digits" and name_sheet("数据") == "数据"
    names = ("a b", "a-b", "a/b", "a=b", "A-b", " a-b", "手 写", "手-写", "手写")
    assert len({name_sheet(name) for name in names}) == len(names)
    assert name_sheet("a b") == name_sheet("a b") and name_sheet("a b").startswith("a-b-")
