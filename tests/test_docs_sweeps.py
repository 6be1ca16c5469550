"""The commands of the pages on loggers and sweeps run as typed, with a few words that shorten."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys

import pytest
from helpers import REPO
from train_helpers import ENV

from gancli.commands.sweep import PLUGINS, is_plugin_installed

COMMANDS = re.compile(r"^```bash\n(.*?)^```", re.S | re.M)
SHORT = (
    *("trainer.steps=2", "trainer.batch_size=8", "dataset.limit=60", "trainer.device=cpu"),
    *("metrics.items=[swd]", "metrics.n=20", "metrics.every=1", "trainer.threads=1"),
)

FOLDERS = ("hydra.run.dir=", "hydra.sweep.dir=", "resume=")


def pages() -> dict[str, list[str]]:
    return {
        page: [
            line
            for block in COMMANDS.findall((REPO / "docs" / page).read_text())
            for line in block.splitlines()
        ]
        for page in ("loggers.md", "sweeps.md")
    }


def shorten(words: list[str]) -> list[str]:
    beside = [word for word in SHORT if not word.startswith("trainer.steps=")]
    if any(word.startswith("resume=") for word in words):
        return words
    search = "hydra/sweeper=optuna" in words
    trials = "3" if "hydra.sweeper.n_trials=30" in words else "2"
    return [
        *(*words, "trainer.steps=2", *beside),
        *([f"hydra.sweeper.n_trials={trials}"] if search else []),
    ]


def is_missing(words: list[str]) -> bool:
    plugins = [PLUGINS[word][0] for word in words if word in PLUGINS]
    wanted = {name for word in words for name in re.findall("wandb|mlflow|trackio", word)}
    return any(not is_plugin_installed(module) for module in plugins) or any(
        importlib.util.find_spec(name) is None for name in wanted
    )


@pytest.mark.full
@pytest.mark.parametrize("page", list(pages()))
def test_the_commands_of_a_page_run_in_their_order(page, tmp_path):
    env = ENV | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "WANDB_MODE": "offline",
    }
    skipped = []
    lacking = set()  # folders of runs that were skipped, with which later lines go on
    for line in pages()[page]:
        program, *words = shlex.split(line)
        assert program == "gan"
        folders = {word.partition("=")[2] for word in words if word.startswith(FOLDERS)}
        if is_missing(words) or folders & lacking:
            skipped.append(line)
            lacking |= folders
            continue
        typed = [sys.executable, "-m", "gancli", *shorten(words)]
        done = subprocess.run(typed, env=env, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        for word in ("cannot be started", "cannot be written", "does not answer"):
            assert word not in done.stderr, f"{line}\n{done.stderr}"
    if skipped:
        pytest.skip(f"not installed, so not run: {skipped}")


def test_every_option_that_the_pages_name_is_there():
    lines = [line for found in pages().values() for line in found]
    assert len(lines) > 10 and all(line.startswith("gan train ") for line in lines)
    page = (REPO / "docs" / "sweeps.md").read_text()
    keys = re.findall(r"^(\w+): ", (REPO / "conf/hydra/sweeper/optuna.yaml").read_text(), re.M)
    for key in set(keys) - {"_target_", "params", "study_name", "trial", "job"}:
        assert f"| `{key}` |" in page, key
