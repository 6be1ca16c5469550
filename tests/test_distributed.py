"""Two ranks under torchrun: equal to two micro-batches bit for bit, saved and resumed without a
change.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from helpers import REPO, differences, small, steps, trainer_for

pytestmark = pytest.mark.dist
COMMON = [
    "model=mlp",
    "model.generator.hidden=[16]",
    "model.discriminator.hidden=[12]",
    "dataset.resolution=8",
    "dataset.limit=30",
    "trainer.batch_size=8",
    "loss=wgan_gp",
    "trainer.device=cpu",
    "trainer.precision=fp32",
    "log.every=1000",
    "log.tensorboard=false",
]


def torchrun(folder, *overrides):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "gancli",
        "train",
        *overrides,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def last(run):
    return torch.load(run / "checkpoints" / "last.pt", weights_only=True)


def test_two_ranks(tmp_path):
    whole = torchrun(
        tmp_path, *COMMON, "trainer.steps=9", "trainer.save_every=2", "hydra.run.dir=whole"
    )
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.count("done: whole") == 1, "one rank speaks"
    torch.set_num_threads(1)
    micro = steps(
        trainer_for(
            small(
                "mlp",
                "model.generator.hidden=[16]",
                "model.discriminator.hidden=[12]",
                "loss=wgan_gp",
                "trainer.accumulate=2",
            )
        ),
        9,
    ).state_dict()
    ranks = last(tmp_path / "whole")
    for part in ("game", "ema", "optimizers", "progress"):
        assert differences(micro[part], ranks[part]) == [], part
    assert ranks["run"]["world"] == 2

    first = torchrun(tmp_path, *COMMON, "trainer.steps=4", "hydra.run.dir=half")
    assert first.returncode == 0, first.stderr
    second = torchrun(tmp_path, "resume=half", "trainer.steps=9")
    assert second.returncode == 0, second.stderr
    resumed = last(tmp_path / "half")
    for part in ("game", "buffers", "ema", "optimizers", "progress"):
        assert differences(ranks[part], resumed[part]) == [], part


def test_an_error_of_the_users_is_said_once(tmp_path):
    run = torchrun(tmp_path, *COMMON, "trainer.batch_size=7")
    assert run.returncode != 0
    assert run.stderr.count("does not divide into 2 ranks") == 1
