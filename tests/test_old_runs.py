"""Runs that an older gancli has made still sample, evaluate, resume and are reported.

tests/support/data/run_of_format_1 is a run of two steps from before the terms of a loss were logged
bare: `gan train model=mlp loss=r1` with networks of four units, on 30 digits of 8x8 pixels.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import train_helpers
from helpers import REPO
from report_helpers import changed, make_run
from train_helpers import last, lines, sound

import gancli
from gancli import checkpoint
from gancli.config.build import build
from gancli.data.base import split
from gancli.errors import UserError
from gancli.metrics.legend import was_weighted
from gancli.reports import comparison, leaderboard, single
from gancli.reports.runs import read_run

gan = pytest.fixture(train_helpers.gan)
OLD = REPO / "tests/support/data/run_of_format_1"
CHANGED = "from step 3 on 'd/r1' is logged before weight and interval; in the lines up to step 2"


@pytest.fixture
def old(tmp_path) -> Path:
    """A copy of the old run, as far as it is kept: the checkpoint and the log lines."""
    folder = tmp_path / "old"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(OLD / "last.pt", folder / "checkpoints")
    shutil.copy(OLD / "metrics.jsonl", folder)
    return folder


def test_the_kept_file_is_old_and_small():
    tree = torch.load(OLD / "last.pt", weights_only=True)
    assert tree["format"] == 1 < checkpoint.FORMAT and "weighted_until" not in tree["run"]
    assert (OLD / "last.pt").stat().st_size < 60_000


def test_an_old_run_samples_as_it_did(gan, old):
    images = gancli.load(str(old)).sample(8, seed=3)
    assert images.shape == (8, 8, 8, 1)
    assert images.mean() == pytest.approx(129.6, abs=0.5)
    assert np.std(images.astype(float)) == pytest.approx(28.2, abs=0.5)
    sound(gan("sample", f"ckpt={old}", "n=2", "out=made"))
    assert Path("made/000001.png").exists()


def test_an_old_run_has_the_digits_that_it_was_trained_on(old):
    tree = torch.load(old / "checkpoints/last.pt", weights_only=True)
    spec = tree["config"]["dataset"]
    train, _ = split(build(spec).load(), limit=spec["limit"], holdout=spec["holdout"])
    assert train.digest == tree["data"]["hash"]
    assert train.images.float().mean().item() == pytest.approx(50.8, abs=0.01)


def test_an_old_run_is_evaluated(gan, old):
    quick = ("metrics.items=[swd]", "metrics.n=20", "metrics.swd_patches=4")
    sound(gan("evaluate", f"ckpt={old}", *quick))
    (found,) = (old / "evaluations").glob("*.json")
    assert json.loads(found.read_text())["values"]["swd"] > 0


def test_a_resumed_old_run_says_once_which_terms_change(gan, old):
    done = sound(gan("train", f"resume={old}", "trainer.steps=4"))
    assert done.err.count(CHANGED) == 1
    assert CHANGED in (old / "run.log").read_text()
    tree = torch.load(old / "checkpoints/last.pt", weights_only=True)
    assert tree["format"] == checkpoint.FORMAT and tree["run"]["weighted_until"] == 2
    again = sound(gan("train", f"resume={old}", "trainer.steps=5"))
    assert "is logged before" not in again.err
    assert last(old)["run"]["weighted_until"] == 2
    assert [line["step"] for line in lines(old)] == [1, 2, 3, 4, 5]


def test_reports_mark_the_lines_of_an_old_run(gan, old):
    assert "Up to step 2, written by an older gancli, d/r1 is times weight" in page_of(old)
    sound(gan("train", f"resume={old}", "trainer.steps=4"))
    run = read_run(old)
    assert run.weighted_until("d/r1") == 2 and run.weighted_until("d/adv") == 0
    assert "Up to step 2, written by an older gancli, d/r1 is times weight" in page_of(old)


def page_of(folder: Path) -> str:
    return single.write_document(read_run(folder))


def test_lines_behind_an_old_checkpoint_are_old_too(old):
    line = {"step": 9, "nimg": 36, "time": 1.0, "d/r1": 7.0}
    with open(old / "metrics.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
    assert read_run(old).weighted_until("d/r1") == 9


def test_a_comparison_ranks_weighted_and_bare_terms_apart(old, tmp_path):
    config = changed(("loss.penalties", {"r1": {"weight": 5.0}}))
    line = {"step": 40, "nimg": 320, "time": 1.0, "d/adv": 1.0, "d/r1": 3.0}
    new = make_run(tmp_path / "new", config=config, lines=[line])
    runs = [read_run(old), read_run(new)]
    board = leaderboard.build_board(runs, by="d/r1", mode="min")
    assert {letter: each.protocol["logged"] for letter, each in board.protocols.items()} == {
        "A": "with weight and interval",
        "B": "bare",
    }
    assert board.ranks() == [1, 1], "each is the first of its own protocol"
    said = [text for text in board.warnings if "protocols differ in logged" in text]
    assert len(said) == 1 and "do not compare" in said[0]
    assert "d/r1: lines that an older gancli has written" in comparison.write_document(
        board, title="x"
    )
    alone = leaderboard.build_board(runs, by="d/adv", mode="min")
    assert not alone.protocols and not any("logged" in text for text in alone.warnings)


def test_the_best_of_a_resumed_old_run_is_one_of_its_bare_lines(gan, old):
    sound(gan("train", f"resume={old}", "trainer.steps=4"))
    board = leaderboard.build_board([read_run(old)], by="d/r1", mode="max")
    _, step, value = board.groups[0].best()
    bare = {line["step"]: line["d/r1"] for line in lines(old) if line["step"] > 2}
    assert step in bare and value == max(bare.values()) < 18, "weighted lines have 18 and more"


def test_a_new_run_has_no_mark(gan):
    sound(gan("train", *train_helpers.TINY, "loss=r1", "trainer.steps=2", "hydra.run.dir=run"))
    assert last("run")["run"]["weighted_until"] == 0
    assert "older gancli" not in page_of(Path("run"))
    again = sound(gan("train", "resume=run", "trainer.steps=3"))
    assert "is logged before" not in again.err


def test_an_old_run_is_found_by_resume_auto(old):
    tree = checkpoint.peek(old / "checkpoints")
    assert tree is not None and tree["run"]["weighted_until"] == 2


def test_a_newer_format_is_refused_in_words(gan, old):
    path = old / "checkpoints/last.pt"
    tree = torch.load(path, weights_only=True)
    newer = {"format": checkpoint.FORMAT + 1, "version": "9.9.9"}
    torch.save(tree | newer, path)
    for words in (("sample", f"ckpt={old}"), ("train", f"resume={old}")):
        done = sound(gan(*words), 2)
        said = " ".join(done.err.split())
        assert "written by a newer gancli ('9.9.9')" in said and "pip install --upgrade" in said
    torch.save(tree | {"format": 0}, path)
    with pytest.raises(UserError, match="format 0, which no run writes"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    ("key", "weighted"),
    [
        ("d/gp", True),
        ("d/level0_gp", True),
        ("d_r1/r1", True),
        ("d/adv", False),
        ("d/r1", False),
        ("g/fm", False),
        ("g_pl/pl", False),
        ("eval/gp", False),
    ],
)
def test_which_terms_were_weighted(key, weighted):
    assert was_weighted(key, {"loss": {"penalties": {"gp": {}}}}) == weighted
    assert was_weighted(key, {"loss": None}) == (key == "d_r1/r1")
