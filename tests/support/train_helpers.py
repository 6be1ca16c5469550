"""What the tests of gan train share: command lines run in this process, a user's files, deeds.

The deeds are done after a step. Its first functions become fixtures where they are used:
`gan = pytest.fixture(train_helpers.gan)`.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import shutil
import sys
import tempfile
import textwrap
import uuid
from pathlib import Path
from typing import NamedTuple

from helpers import REPO, steps, trainer_for

from gancli.checkpoint import read_newest, save
from gancli.cli import main
from gancli.trainer import Trainer

QUIET = (
    "log.tensorboard=false",
    "trainer.device=cpu",
    "trainer.precision=fp32",
    "trainer.batch_size=8",
)
NETWORKS = ("model=mlp", "model.generator.hidden=[16]", "model.discriminator.hidden=[12]")
TINY = (*NETWORKS, *QUIET, "dataset.resolution=8", "dataset.limit=30", "metrics=none")
ENV = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}


class Done(NamedTuple):
    code: int
    out: str
    err: str


def run_folder(path: Path, config: dict) -> Path:
    """A run folder with a checkpoint after two steps, whose noise, where it has some, shows."""
    (path / "checkpoints").mkdir(parents=True)
    tree = steps(trainer_for(config), 2).state_dict()
    for key, value in tree["ema"].items():
        if key.endswith("strength"):
            value.fill_(0.5)
    save(tree, path / "checkpoints", keep=1)
    return path


def gan(tmp_path, monkeypatch, capsys):
    """Runs a command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])

    def run(*argv: str) -> Done:
        capsys.readouterr()
        code = main(list(argv))
        return Done(code, *capsys.readouterr())

    return run


KEPT: dict[tuple[str, ...], Path] = {}


def train_once(gan, *words: str, folder: str = "run") -> Path:
    """A run of these words in the working directory: trained once a process, then copied.

    words: All but hydra.run.dir.
    """
    if (folder, *words) in KEPT:
        shutil.copytree(KEPT[folder, *words], folder, symlinks=True)
    else:
        sound(gan("train", *words, f"hydra.run.dir={folder}"))
        root = Path(tempfile.mkdtemp(prefix="gancli-test-"))
        atexit.register(shutil.rmtree, root, ignore_errors=True)
        KEPT[folder, *words] = Path(shutil.copytree(folder, root / "run", symlinks=True))
    return Path(folder)


def package(gan, tmp_path):
    """Writes a Python file of the user's, under a name that no other test has imported, and returns
    the name.
    """

    def write(text: str) -> str:
        name = f"mine_{uuid.uuid4().hex[:8]}"
        (tmp_path / f"{name}.py").write_text(
            "import torch\nfrom gancli.games.gan import GAN\n" + textwrap.dedent(text)
        )
        importlib.invalidate_caches()
        return name

    return write


def at_step(monkeypatch):
    """at_step(k, deed): does the deed at the end of step k, before anything of it is logged or
    saved.
    """

    def plan(k: int, deed) -> None:
        real = Trainer.step

        def step(self):
            real(self)
            if self.progress.step == k:
                deed(self)

        monkeypatch.setattr(Trainer, "step", step)

    return plan


def last(run: str | Path) -> dict:
    return read_newest(Path(run) / "checkpoints")[1]


def lines(run: str | Path) -> list[dict]:
    entries = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in entry.items() if key != "time"} for entry in entries]


def sound(done: Done, code: int = 0) -> Done:
    assert done.code == code, done.out + done.err
    assert "Traceback" not in done.err
    return done
