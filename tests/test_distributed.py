"""Two ranks under torchrun: equal to two micro-batches bit for bit, saved and resumed without a
change.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import torch
from helpers import REPO, differences, small, steps, trainer_for
from ranks_helpers import finish, start_ranks

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

    # As after a kill in step 7 or 8. Without a launcher, whose start costs as much as a rank's.
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    for name in ("last", "step-00000008", "step-00000009"):
        (tmp_path / "half" / "checkpoints" / f"{name}.pt").unlink()
    words = ("train", "resume=half")
    for code, _, err in finish(start_ranks(tmp_path, words, words), within_s=300):
        assert code == 0, err
    assert "training from step 6 to 9" in (tmp_path / "half" / "run.log").read_text()
    resumed = last(tmp_path / "half")
    for part in ("game", "buffers", "ema", "optimizers", "progress"):
        assert differences(ranks[part], resumed[part]) == [], part


@pytest.mark.full  # tests/run/test_ranks.py has it in one process
def test_an_error_of_the_users_is_said_once(tmp_path):
    words = ("train", *COMMON, "trainer.batch_size=7")
    done = finish(start_ranks(tmp_path, words, words), within_s=300)
    assert all(code != 0 for code, *_ in done)
    assert "".join(err for *_, err in done).count("does not divide into 2 ranks") == 1
