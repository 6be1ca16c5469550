"""W&B, MLflow and Trackio themselves, offline: what a run and its resumed session leave there."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import train_helpers
from train_helpers import ENV, NETWORKS, QUIET, sound

from gancli.run.loggers.mlflow_run import flatten

gan = pytest.fixture(train_helpers.gan)
MEASURED = (
    *(*NETWORKS, *QUIET, "dataset.resolution=8", "dataset.limit=60", "watch.action=off"),
    *("metrics.items=[swd]", "metrics.n=20", "metrics.every=2", "log.every=1"),
    *("log.sample_every=2", "hydra.run.dir=run"),
)


def train_twice(gan, logger: str) -> dict[str, str]:
    """Trains 2 steps, then goes on to 4; the id must stay."""
    first = sound(gan("train", *MEASURED, f"logger={logger}", "trainer.steps=2"))
    ids = Path("run/loggers.json").read_text()
    second = sound(gan("train", "resume=run", "trainer.steps=4"))
    assert Path("run/loggers.json").read_text() == ids
    for done in (first, second):
        assert "cannot be" not in done.err and "does not answer" not in done.err
        assert f"note: {logger}: " in done.err
    return json.loads(ids)


def test_a_config_becomes_flat_parameters_of_bounded_length():
    tree = {"seed": 0, "loss": {"penalties": {}, "clip": None}, "own": ["x" * 999]}
    flat = flatten(tree)
    assert list(flat) == ["seed", "loss.penalties", "loss.clip", "own"]
    assert flat["seed"] == "0" and flat["loss.penalties"] == "{}" and len(flat["own"]) == 500


@pytest.mark.full
def test_mlflow_has_one_run_with_config_curves_pictures_and_the_best_checkpoint(gan, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ids = train_twice(gan, "mlflow")
    client = mlflow.MlflowClient("sqlite:///outputs/mlflow.db")
    experiment = client.get_experiment_by_name("gancli")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == ids["mlflow"] and run.info.status == "FINISHED"
    assert run.data.params["trainer.steps"] == "2" and run.data.params["seed"] == "0"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "d/adv")] == [
        *(1, 2, 3, 4)
    ]
    best = json.loads(Path("run/evaluation.json").read_text())["best"]
    assert run.data.tags["best/step"] == str(best["step"])
    assert Path(run.data.tags["best/checkpoint"]).name == "best.pt"
    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"config-00000000.yaml", "config-00000002.yaml", "images"} <= files
    assert str(Path("outputs").resolve()) in run.info.artifact_uri
    assert not Path("mlruns").exists() and not Path("mlflow.db").exists()


@pytest.mark.full
def test_wandb_offline_keeps_one_id_over_both_sessions(gan, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    ids = train_twice(gan, "wandb")
    folders = list(Path("run/wandb").glob("offline-run-*"))
    files = [next(folder.glob("*.wandb")) for folder in folders]
    assert [file.name for file in files] == [f"run-{ids['wandb']}.wandb"] * 2
    data = b"".join(file.read_bytes() for file in files)
    for word in (b"d/adv", b"best/checkpoint", b"eval/swd", b"half_life_kimg"):
        assert word in data
    assert len(list(Path("run/wandb").glob("offline-run-*/files/media/images/samples*.png"))) == 2


def train_apart(folder: Path, logger: str, **env: str) -> str:
    """Trains in a process of its own, which waits a second for its loggers; returns stderr."""
    code = (
        "import sys; from gancli.cli import main; from gancli.run.loggers import courier\n"
        "courier.CLOSE_WITHIN_S = float(sys.argv[1]); sys.exit(main(sys.argv[2:]))"
    )
    seconds = "60" if logger == "wandb" else "1"
    words = ["train", *MEASURED, f"logger={logger}", "trainer.steps=2"]
    kept = {key: value for key, value in ENV.items() if not key.startswith(("WANDB", "MLFLOW"))}
    done = subprocess.run(
        [sys.executable, "-c", code, seconds, *words],
        env=kept | env | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.full
def test_wandb_without_a_key_is_said_and_asks_nothing(tmp_path):
    pytest.importorskip("wandb")
    netrc = str(tmp_path / "netrc")
    shown = train_apart(tmp_path, "wandb", HOME=str(tmp_path), NETRC=netrc)
    said = "wandb cannot be started (no API key; wandb login, or WANDB_MODE=offline)"
    assert shown.count(said) == 1


@pytest.mark.full
def test_a_database_that_mlflow_tries_for_minutes_to_open_holds_up_no_run(tmp_path):
    pytest.importorskip("mlflow")
    (tmp_path / "outputs" / "mlflow.db").mkdir(parents=True)
    assert train_apart(tmp_path, "mlflow").count("mlflow does not answer") == 1


@pytest.mark.full
def test_trackio_has_one_run_over_both_sessions(gan, monkeypatch, tmp_path):
    pytest.importorskip("trackio")
    from trackio import sqlite_storage, utils

    for module in (sqlite_storage, utils):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "board")
    ids = train_twice(gan, "trackio")
    (path,) = (tmp_path / "board").glob("gancli*.db")
    with sqlite3.connect(path) as base:
        rows = base.execute("select run_name, step, metrics from metrics").fetchall()
    assert {name for name, _, _ in rows} == {ids["trackio"]}
    points = [(step, json.loads(values)) for _, step, values in rows]
    assert sorted(step for step, values in points if "d/adv" in values) == [1, 2, 3, 4]
    assert any("best/checkpoint" in values for _, values in points)
    assert any("samples" in values for _, values in points)
