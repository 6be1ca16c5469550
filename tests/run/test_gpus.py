"""Which GPU a job that joblib started gets; no GPU is needed to tell."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import uuid

import pytest
from train_helpers import ENV

from gancli.run import gpus


@pytest.mark.parametrize(
    ("visible", "count", "found"),
    [
        (None, 3, ["0", "1", "2"]),
        ("2, 5", 8, ["2", "5"]),
        ("GPU-8f,GPU-9a", 2, ["GPU-8f", "GPU-9a"]),
        ("", 4, []),
        (None, 0, []),
    ],
)
def test_the_variable_says_which_there_are(visible, count, found):
    assert gpus.list_gpus(visible, count) == found


def test_the_first_free_one_is_taken_and_the_rest_is_shared():
    free = {"0": False, "1": True, "2": True}
    names = list(free)
    assert gpus.choose_gpu(names, job=0, claim=free.__getitem__) == "1"
    assert gpus.choose_gpu(names, job=4, claim=lambda gpu: False) == "1"
    assert gpus.choose_gpu(["0"], job=0, claim=lambda gpu: True) is None
    assert gpus.choose_gpu([], job=0, claim=lambda gpu: True) is None


def test_a_claim_keeps_another_process_out_and_ends_with_its_own(monkeypatch, tmp_path):
    name = uuid.uuid4().hex
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(gpus.tempfile, "tempdir", None)
    monkeypatch.setattr(gpus, "_held", [])
    code = f"from gancli.run.gpus import claim_gpu; print(claim_gpu('{name}'))"
    env = ENV | {"TMPDIR": str(tmp_path)}

    def ask() -> str:
        words = [sys.executable, "-c", code]
        return subprocess.run(words, env=env, capture_output=True, text=True).stdout.strip()

    assert ask() == "True" and ask() == "True", "each has ended, and so has its claim"
    assert gpus.claim_gpu(name) and ask() == "False"
    gpus._held.pop().close()
    assert ask() == "True"


def test_only_a_process_of_joblib_is_placed_and_only_once(monkeypatch):
    taken = []
    monkeypatch.setattr(gpus, "_held", taken)
    monkeypatch.setenv(gpus.VARIABLE, "4,7")
    monkeypatch.setattr(gpus, "claim_gpu", lambda gpu: gpu == "7" and not taken.append(gpu))
    gpus.place_job(0)
    assert os.environ[gpus.VARIABLE] == "4,7"
    monkeypatch.setattr(multiprocessing.current_process(), "_name", "LokyProcess-3")
    gpus.place_job(0)
    assert os.environ[gpus.VARIABLE] == "7"
    monkeypatch.setenv(gpus.VARIABLE, "4,7")
    gpus.place_job(1)
    assert os.environ[gpus.VARIABLE] == "4,7", "its CUDA knows one GPU already"
