"""The wheel holds the configs and the digits, and works outside the repository."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile

import pytest
from helpers import REPO


@pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed"
)
def test_the_wheel_works_on_its_own(tmp_path):
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(REPO),
    ]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    names = {
        str(path.relative_to(tmp_path / "site"))
        for path in (tmp_path / "site").rglob("*")
        if path.is_file()
    }
    shipped = {f"gancli/{path.relative_to(REPO)}" for path in (REPO / "conf").rglob("*.yaml")}
    assert shipped <= names and "gancli/data/digits.npz" in names
    zoo = {path.name for path in (REPO / "gancli/zoo").iterdir()}
    assert {f"gancli/zoo/{name}" for name in zoo} <= names and "zoo.json" in zoo
    env = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    code = (
        "import gancli, sys; assert 'site' in gancli.__file__, gancli.__file__; from gancli.cli "
        "import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "train",
            "trainer.steps=2",
            "model.width=4",
            "hydra.run.dir=run",
        ],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "run" / "checkpoints" / "last.pt").exists()
