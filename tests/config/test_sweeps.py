"""A sweep's jobs, their folders and their mistakes."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from gancli.config import compose as config
from gancli.config import hydra_state, sweeps
from gancli.errors import Interrupted, Problems


def test_a_sweep_calls_the_task_once_a_job_in_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []

    def task(composed):
        assert hydra_state.is_in_sweep() and composed.run_dir_given and composed.run_dir.is_dir()
        seen.append(
            (
                composed.cfg.seed,
                composed.choices["loss"],
                composed.run_dir,
                composed.hydra.sweep.dir,
            )
        )
        config.compose("train", [])  # its stamp must not become the sweep's

    argv_before = sys.argv
    assert (
        sweeps.run_hydra_main("train", task, ["-m", "loss=hinge,r1", "seed=1,2", "trainer.steps=5"])
        == 0
    )
    assert [(seed, loss) for seed, loss, _, _ in seen] == [
        (1, "hinge"),
        (2, "hinge"),
        (1, "r1"),
        (2, "r1"),
    ]
    assert [folder.name for _, _, folder, _ in seen] == [
        "0-hinge-1-5",
        "1-hinge-2-5",
        "2-r1-1-5",
        "3-r1-2-5",
    ]
    assert (
        len({folder.parent for _, _, folder, _ in seen}) == len({sweep for *_, sweep in seen}) == 1
    )
    assert re.fullmatch(r"outputs/sweeps/\d{8}-\d{6}-[a-z0-9]{4}", seen[0][3])
    assert (
        sys.argv is argv_before
        and "HYDRA_FULL_ERROR" not in os.environ
        and not hydra_state.is_in_sweep()
    )
    assert config.compose("train", []).cfg.seed == 0  # Hydra's globals are free again


def test_a_failing_job_does_not_stop_the_sweep_and_its_error_comes_out_unchanged(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    seen = []

    def task(composed):
        seen.append(composed.cfg.seed)
        if composed.cfg.seed == 1:
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        sweeps.run_hydra_main("train", task, ["-m", "seed=1,2"])
    assert seen == [1, 2]


def test_an_interrupted_job_ends_the_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []

    def task(composed):
        seen.append(composed.cfg.seed)
        raise Interrupted("stopped", code=130)

    with pytest.raises(Interrupted):
        sweeps.run_hydra_main("train", task, ["-m", "seed=1,2"])
    assert seen == [1]


def test_mistakes_of_every_job_are_told_before_any_job_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Problems) as caught:
        sweeps.run_hydra_main(
            "train",
            pytest.fail,
            ["-m", "loss=hinge,hnge", "model=dcgna,mlp", "seed=1,2", "trainer.stepz=3"],
        )
    assert {message for message, _ in caught.value.problems} == {
        "no option 'hnge' in group 'loss'",
        "no option 'dcgna' in group 'model'",
        "unknown key 'trainer.stepz'",
    }
    assert list(tmp_path.iterdir()) == []


def test_paths_in_a_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    sweeps.run_hydra_main(
        "train",
        lambda composed: seen.append(composed.cfg.dataset.path),
        [
            "-m",
            "dataset=folder",
            "dataset.path=a b/x=1,c",
            "dataset.resolution=32",
            "hydra.sweep.dir=s w=1",
        ],
    )
    assert seen == ["a b/x=1", "c"]
    assert sorted(path.name for path in Path("s w=1").iterdir()) == [
        "0-folder-a-b-x-1-32",
        "1-folder-c-32",
        "multirun.yaml",
    ]
