"""gan data, and a run, on folders as they should not be: an answer each time, no traceback, nothing
written elsewhere.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pytest
import train_helpers
from hostile_helpers import hostile_folder, hostile_zip
from train_helpers import TINY

gan = pytest.fixture(train_helpers.gan)
FEW = range(12)
MANY = range(100, 500)
SHORT = [word for word in TINY if not word.startswith("dataset.")]


def files_in(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def check(gan, *argv: str) -> None:
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = gan(*argv)
    assert done.code in (0, 2), (argv, done.err[-2000:])
    assert "Traceback" not in done.out + done.err, done.err[-2000:]
    assert "\x1b" not in done.out + done.err, "a file name reached the terminal raw"
    assert done.code == 0 or done.err.strip(), "an error without a word"
    assert time.monotonic() - started < 20


def look_and_train(gan, tmp_path: Path, seed: int) -> None:
    make = hostile_zip if seed % 4 == 3 else hostile_folder
    path = make(tmp_path / ("photos.zip" if make is hostile_zip else "photos"), seed)
    before = files_in(path) if path.is_dir() else set()
    check(gan, "data", path.name, "out=sheet.png")
    model = ("dataset=folder", "dataset=paired model=pix2pix", "dataset=unpaired model=cyclegan")[
        seed % 3
    ]
    if model == "dataset=folder":
        argv = (*SHORT, "trainer.steps=1", "dataset.resolution=8", "hydra.run.dir=run")
        check(gan, "train", model, f"dataset.path={path.name}", *argv)
    else:
        check(gan, "show", *model.split(), f"dataset.path={path.name}")
    assert (files_in(path) if path.is_dir() else set()) == before
    known = {"photos", "photos.zip", "sheet.png", "run"}
    assert {entry.name for entry in tmp_path.iterdir()} <= known


@pytest.mark.parametrize("seed", FEW)
def test_some_hostile_folders(seed, gan, tmp_path):
    look_and_train(gan, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_many_hostile_folders(seed, gan, tmp_path):
    look_and_train(gan, tmp_path, seed)
