"""Sweeps whose jobs run in other processes: a leaderboard at the end, and an honest exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from train_helpers import ENV, TINY

from gancli.config.hydra_compat import BoundedFiles

LAUNCHERS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", ["hydra.launcher.n_jobs=2"]),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", []),
    "ray": ("hydra_plugins.hydra_ray_launcher", []),
}


def test_hydra_takes_our_reader_of_files_for_its_own(monkeypatch):
    """In a launcher's process it finds ours in the place of the one that it registers."""
    monkeypatch.setitem(SourcesRegistry.instance().types, "file", BoundedFiles)
    SourcesRegistry.instance().register(FileConfigSource)
    assert SourcesRegistry.instance().types["file"] is BoundedFiles


@pytest.mark.full
@pytest.mark.parametrize("name", list(LAUNCHERS))
def test_a_launcher_ends_with_the_leaderboard_and_an_honest_exit_code(name, tmp_path):
    module, more = LAUNCHERS[name]
    pytest.importorskip(module)
    few = ("trainer.steps=1", "trainer.accumulate=2", "hydra.sweep.dir=s")
    words = ["train", "-m", f"hydra/launcher={name}", *more, *TINY, *few]

    def run(*sizes: str) -> tuple[subprocess.CompletedProcess, list[dict]]:
        done = subprocess.run(
            [sys.executable, "-m", "gancli", *words, *sizes],
            env=ENV | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        lines = (Path(tmp_path) / "s" / "sweep.jsonl").read_text().splitlines()
        return done, [json.loads(line) for line in lines]

    done, entries = run("trainer.batch_size=4,7")  # 7 does not divide by 2
    assert done.returncode == 1, done.stderr
    assert [entry["state"] for entry in entries] == ["done", "failed"]
    assert "1 run by" in done.stdout or "2 runs by" in done.stdout
    assert "done: s/compare.html" in done.stdout and "trainer.batch_size" in done.stdout
    done, entries = run("trainer.batch_size=4,8", "resume=auto")
    assert done.returncode == 0, done.stderr
    assert [entry["state"] for entry in entries] == ["done", "done"]
