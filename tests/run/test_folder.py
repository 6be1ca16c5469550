"""One folder, one process; found again by what it was started with; and what may change when it
goes on.
"""

from __future__ import annotations

import copy
import errno
import fcntl
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gancli.errors import Problems, TemporaryFailure, UserError
from gancli.run.folder import (
    RunFolder,
    find_named,
    list_saved_runs,
    make_new,
    read_start_choices,
    read_start_overrides,
    refuse_used,
    resume_line,
    run_words,
    write_hydra,
)
from gancli.run.resume import apply_overrides, asks_to_resume

HYDRA = OmegaConf.create(
    {"runtime": {"choices": {"model": "mlp", "loss": "wgan", "experiment": None}}}
)


def run_at(path: Path, overrides: list[str] | None = None, *, saved: bool = True) -> Path:
    (path / "checkpoints").mkdir(parents=True)
    if saved:
        (path / "checkpoints" / "last.pt").touch()
    if overrides is not None:
        write_hydra(path, config=OmegaConf.create({"seed": 1}), hydra=HYDRA, overrides=overrides)
    return path


# the lock


def test_a_second_process_is_kept_out_and_told_who_is_in(tmp_path):
    folder = RunFolder(tmp_path / "run").open()
    code = (
        "import sys; from pathlib import Path; from gancli.run.folder import RunFolder; "
        "RunFolder(Path(sys.argv[1])).open()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder.path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and f"is in use by pid {os.getpid()} on " in done.stderr
    with pytest.raises(TemporaryFailure, match=f"pid {os.getpid()}") as caught:
        RunFolder(folder.path).open()
    assert caught.value.code == 75
    folder.close()
    RunFolder(folder.path).open().close()


def test_a_lock_left_by_a_killed_process_is_none(tmp_path):
    (tmp_path / "run.lock").write_text(
        "pid 1 on a machine that is off, and a longer line than the next one\n"
    )
    folder = RunFolder(tmp_path).open()
    assert (tmp_path / "run.lock").read_text().startswith(f"pid {os.getpid()} on ")
    assert len((tmp_path / "run.lock").read_text().splitlines()) == 1
    folder.close()


def test_a_disk_that_cannot_lock_is_said_and_serves(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING, "gancli"):
        RunFolder(tmp_path).open().close()
    assert "cannot be locked" in caplog.text


def test_leftovers_of_a_killed_save_are_swept_and_nothing_else(tmp_path):
    checkpoints = run_at(tmp_path / "run") / "checkpoints"
    for name in (
        ".tmp-step-00000003.pt-77",
        ".tmp-last-77",
        "step-00000002.pt",
        "mine.pt",
        ".hidden",
    ):
        (checkpoints / name).touch()
    RunFolder(tmp_path / "run").open().close()
    assert {path.name for path in checkpoints.iterdir()} == {
        "last.pt",
        "step-00000002.pt",
        "mine.pt",
        ".hidden",
    }


def test_a_locked_out_process_sweeps_nothing(tmp_path):
    folder = RunFolder(tmp_path).open()
    (folder.checkpoints / ".tmp-step-00000003.pt-77").touch()  # being written right now
    with pytest.raises(TemporaryFailure):
        RunFolder(tmp_path).open()
    assert any(folder.checkpoints.iterdir())
    folder.close()


@pytest.mark.parametrize("place", ["file", "below a file", "name too long"])
def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path, place):
    (tmp_path / "file").touch()
    path = {
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "x",
        "name too long": tmp_path / ("x" * 300),
    }[place]
    refuse_used(path)
    for attempt in (
        lambda: RunFolder(path).open(),
        lambda: make_new(path, exclusive=False),
        lambda: write_hydra(path, config={}, hydra={}, overrides=[]),
    ):
        with pytest.raises(UserError, match="cannot be (written|made)") as caught:
            attempt()
        assert "hydra.run.dir=" in caught.value.hint


# new and old


def test_a_used_folder_is_refused_with_the_line_to_type(tmp_path):
    path = run_at(tmp_path / "my run")
    with pytest.raises(UserError, match="already holds a run") as caught:
        make_new(path, exclusive=False)
    assert f"gan train 'resume={path}'   continues it" in caught.value.hint
    empty = run_at(tmp_path / "empty", saved=False)
    assert make_new(empty, exclusive=False) == empty
    with pytest.raises(UserError, match="File exists"):
        make_new(empty, exclusive=True)


def test_lines_to_type_survive_the_shell():
    assert (
        resume_line(Path("outputs/a-b/20261121-093612-k3f9"))
        == "gan train resume=outputs/a-b/20261121-093612-k3f9"
    )
    assert resume_line(Path("a b"), ("mine",)) == "gan train 'resume=a b' trust=mine"
    assert run_words("ckpt", Path("x"), ("a", "b")) == "ckpt=x 'trust=[a,b]'"


def test_resume_finds_the_run_or_says_what_is_there_instead(tmp_path):
    path = run_at(tmp_path / "run")

    def find(resume):
        return find_named(str(resume))

    assert find(path) == path
    for inside in (path / "checkpoints", path / "checkpoints" / "last.pt"):
        with pytest.raises(UserError, match="no run folder") as caught:
            find(inside)
        assert caught.value.hint == f"gan train resume={path}"
    for odd in (
        tmp_path,
        tmp_path / "none",
        "x" * 5000,
        "~nobody-of-that-name/x",
        tmp_path / "checkpoints" / "last.pt",
    ):
        with pytest.raises(UserError, match="no run folder") as caught:
            find(odd)
        assert "outputs/" in caught.value.hint and len(caught.value.message) < 300
    inner = run_at(tmp_path / "checkpoints" / "run7")
    assert find(inner) == inner, "a run may lie in a folder of that name"
    assert find(run_at(tmp_path / "b" / "checkpoints")) == tmp_path / "b" / "checkpoints"


def test_runs_in_a_folder_come_in_the_order_of_their_last_save(tmp_path):
    assert list_saved_runs(tmp_path / "nowhere") == []
    runs = [run_at(tmp_path / name) for name in ("b", "a", "c")]
    run_at(tmp_path / "unsaved", saved=False)
    for when, run in enumerate(runs):
        for file in (run / "checkpoints").iterdir():
            os.utime(file, (when, when))
    assert list_saved_runs(tmp_path) == runs[::-1]


def test_what_a_run_was_started_with(tmp_path):
    run = run_at(tmp_path / "run", ["seed=1", "resume=auto"])
    assert read_start_overrides(run) == ["seed=1"] and read_start_choices(run)["loss"] == "wgan"
    assert OmegaConf.load(run / ".hydra" / "config.yaml").seed == 1
    other = run_at(tmp_path / "other")
    assert read_start_overrides(other) is None and read_start_choices(other) == {}
    (run / ".hydra" / "hydra.yaml").write_text("")
    assert read_start_choices(run) == {}


# what may change on resume

CONFIG = {
    "seed": 0,
    "loss": {"n_critic": 5, "clip": 0.01},
    "model": {"generator": {"hidden": [16]}},
    "log": {"every": 50},
    "dataset": {"_target_": "gancli.data.folder.Folder", "path": "a", "workers": 2, "limit": None},
    "trainer": {"steps": 10, "epochs": 2.0, "keep": 3},
    "optimizer": {"g": {"lr": 1e-4}},
}


@pytest.fixture
def run(tmp_path) -> Path:
    return run_at(
        tmp_path / "run",
        ["seed=0", "model=mlp", "model.width=7", "+penalty@loss.penalties.r1=r1", "~loss.flip"],
    )


def changed(run: Path, *overrides: str) -> dict:
    config = copy.deepcopy(CONFIG)
    apply_overrides(config, list(overrides), run)
    return config


@pytest.mark.parametrize(
    ("override", "where", "value"),
    [
        ("trainer.steps=20", "trainer.steps", 20),
        ("trainer.keep=1", "trainer.keep", 1),
        ("log.every=5", "log.every", 5),
        ("dataset.path='b c/d=1'", "dataset.path", "b c/d=1"),
        ("dataset.workers=8", "dataset.workers", 8),
        ("dataset.root=x", "dataset.root", "x"),
        ("++trainer.keep=4", "trainer.keep", 4),
        ("trainer.device=cuda", "trainer.device", "cuda"),
        ("trainer.epochs=null", "trainer.epochs", None),
        ("log.every=${oc.decode:'7'}", "log.every", 7),
    ],
)
def test_what_may_change_goes_into_the_stored_config(run, override, where, value):
    config = changed(run, override, "resume=x", "trust=y", "hydra.run.dir=z")
    group, key = where.split(".")
    assert config[group][key] == value
    config[group] = CONFIG[group]
    assert config == CONFIG, "and nothing else changes"


def test_new_steps_are_not_overruled_by_old_epochs(run):
    assert changed(run, "trainer.steps=20")["trainer"] == {"steps": 20, "epochs": None, "keep": 3}


@pytest.mark.parametrize(
    "override",
    [
        "seed=0",
        "model=mlp",
        "loss=wgan",
        "loss.n_critic=5",
        "optimizer.g.lr=0.0001",
        "optimizer.g.lr=1e-4",
        "model.width=7",
        "model.generator.hidden=[16]",
        "dataset.limit=null",
        "experiment=null",
        "+penalty@loss.penalties.r1=r1",
        "~loss.flip",
    ],
)
def test_what_is_said_again_is_no_change(run, override):
    assert changed(run, override) == CONFIG


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("loss=hinge", "loss is 'wgan' in {run}, 'hinge' here"),
        ("seed=3", "seed is 0 in {run}, 3 here"),
        ("loss.n_critic=1", "loss.n_critic is 5 in {run}, 1 here"),
        ("optimizer.g.lr=0.1", "optimizer.g.lr is 0.0001 in {run}, 0.1 here"),
        ("dataset.limit=5", "started without dataset.limit=5"),
        ("model.width=8", "started without model.width=8"),
        ("+penalty@loss.penalties.r2=r2", r"started without \+penalty"),
        ("~loss.clip", "started without ~loss.clip"),
        ("experiment=mlp_ring", "started without experiment=mlp_ring"),
        ("modle=mlp", "started without modle=mlp"),
        ("trainer.a.b=1", "started without trainer.a.b=1"),
        ("~trainer.steps", "started without ~trainer.steps"),
        ("model.generator.hidden=[8]", r"model.generator.hidden is \[16\] in {run}, \[8\] here"),
    ],
)
def test_what_a_run_keeps_is_refused_by_name(run, override, said):
    with pytest.raises(Problems, match=said.format(run=run)) as caught:
        changed(run, "trainer.steps=20", override)
    assert len(caught.value.problems) == 1 and caught.value.code == 2


def test_all_that_would_change_is_told_at_once(run):
    with pytest.raises(Problems) as caught:
        changed(run, "loss=hinge", "seed=3", "log.every=5")
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    "override",
    [
        "trainer.steps=[",
        "trainer.steps=1,2",
        "trainer.steps",
        "trainer.steps=${oc.env:NO_SUCH_VARIABLE}",
    ],
)
def test_what_cannot_be_read_is_a_sentence(run, override):
    with pytest.raises(UserError, match=r"trainer\.steps"):
        changed(run, override)


def test_which_command_lines_resume():
    assert (
        asks_to_resume(["a=1", "resume=outputs/x"])
        and not asks_to_resume(["resume=auto"])
        and not asks_to_resume(["resume=null"])
    )
    assert not asks_to_resume(["a=resume=x"])
