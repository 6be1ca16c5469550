"""Attacks from fixed seeds: no mutated checkpoint and no hostile run folder does harm.

None makes a command hang, crash or write elsewhere. The default tier plays a sample; `-m slow`
plays 600 checkpoints and 400 folders. To look at one case again, give its number to
`GANCLI_HOSTILE=number`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import hostile
import pytest
import train_helpers
from train_helpers import TINY, sound

gan = pytest.fixture(train_helpers.gan)
ONLY = os.environ.get("GANCLI_HOSTILE")
FAST = ["metrics=none", "metrics.items=[swd]", "n=16"]
MANY = [  # of every command that reads a checkpoint
    ["train", "resume=run", "trainer.steps=3", "log.tensorboard=false"],
    ["sample", "ckpt=run", "n=4", "out=made/s"],
    ["show", "run"],
    ["show", "run", "--json"],
    ["evaluate", "ckpt=run", *FAST, "out=made/e.json"],
    ["report", "run", "out=made/r.html"],
    ["compare", "run", "sound", "out=made/c"],
    ["features", "ckpt=run", "n=12", "k=1", "out=made/f"],
    ["project", "ckpt=run", "input=sound/samples/step-00000002.png", "steps=1", "film=null",
     "out=made/p"],
    ["translate", "ckpt=run", "input=sound/samples/step-00000002.png", "out=made/t"],
]  # fmt: skip
FEW = [MANY[0], MANY[1], MANY[2], MANY[5]]


@pytest.fixture
def whole(gan) -> Path:
    sound(
        gan(
            "train",
            *TINY,
            "trainer.steps=2",
            "log.every=1",
            "log.sample_every=2",
            "hydra.run.dir=sound",
        )
    )
    return Path("sound")


def attack_with_checkpoints(numbers: range, commands: list, capsys) -> list[str]:
    found = []
    cases = enumerate(hostile.mutated_checkpoints(Path("sound/checkpoints/last.pt"), numbers.stop))
    for k, (name, mutated) in cases:
        if k not in numbers or (ONLY is not None and k != int(ONLY)):
            continue
        shutil.rmtree("run", ignore_errors=True)
        shutil.copytree("sound", "run")
        for path in Path("run/checkpoints").iterdir():
            path.unlink()
        if not hostile.put(mutated, Path("run/checkpoints/last.pt")):
            continue
        for answer in hostile.run_commands(commands, capsys):
            if answer.problem:
                found.append(f"{k} ({name}) gan {' '.join(answer.argv)}: {answer.problem}")
    return found


def attack_with_folders(
    step: int, commands: list, capsys, *, always: tuple[str, ...] = ()
) -> list[str]:
    """Every step-th deed, and all of the kinds `always`."""
    found = []
    outside = Path("outside")
    for k, (name, file, deed) in enumerate(hostile.hostile_deeds()):
        if (k % step and name not in always) or (ONLY is not None and k != int(ONLY)):
            continue
        shutil.rmtree("run", ignore_errors=True)
        shutil.rmtree(outside, ignore_errors=True)
        outside.mkdir()
        shutil.copytree("sound", "run")
        deed(Path("run", file), outside)
        before = hostile.snapshot(outside)
        for answer in hostile.run_commands(commands, capsys):
            if answer.problem:
                found.append(
                    f"{k} ({name} as {file}) gan {' '.join(answer.argv)}: {answer.problem}"
                )
            if hostile.snapshot(outside) != before:
                found.append(f"{k} ({name} as {file}) gan {' '.join(answer.argv)}: wrote outside")
                before = hostile.snapshot(outside)
    return found


IN_FOLDERS = [
    ["train", "resume=run", "trainer.steps=3"],
    ["sample", "ckpt=run", "n=2"],
    ["show", "run"],
    ["evaluate", "ckpt=run", *FAST],
    ["report", "run"],
    ["compare", "run", "sound", "out=made/c"],
]


def test_a_sample_of_mutated_checkpoints_is_answered(whole, capsys):
    found = attack_with_checkpoints(range(8), FEW, capsys)
    assert not found, "\n".join(found)


def test_a_sample_of_hostile_folders_is_answered(whole, capsys):
    # A pipe hangs whoever opens it. Links that lead out are all played in test_reading.py.
    found = attack_with_folders(29, [IN_FOLDERS[0], IN_FOLDERS[4]], capsys, always=("fifo",))
    assert not found, "\n".join(found)


@pytest.mark.slow
def test_600_mutated_checkpoints_are_answered_by_every_command(whole, capsys):
    found = attack_with_checkpoints(range(600), MANY, capsys)
    assert not found, "\n".join(found)


@pytest.mark.slow
def test_400_hostile_folders_are_answered_by_every_command(whole, capsys):
    assert len(hostile.hostile_deeds()) >= 400
    found = attack_with_folders(1, IN_FOLDERS, capsys)
    assert not found, "\n".join(found)
