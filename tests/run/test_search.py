"""hydra/sweeper=optuna: what a search proposes, ends early, marks as best, and goes on with."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import train_helpers
from hydra.core.config_store import ConfigStore
from train_helpers import ENV, NETWORKS, QUIET, sound

from gancli.cli import main
from gancli.commands import sweep as sweeping
from gancli.config import compose as front
from gancli.errors import Problems, Pruned
from gancli.run.trial import check_settings

gan = pytest.fixture(train_helpers.gan)
MEASURED = (
    *(*NETWORKS, *QUIET, "dataset.resolution=8", "dataset.limit=60", "watch.action=off"),
    *("metrics.items=[swd]", "metrics.n=20", "trainer.steps=4", "metrics.every=2"),
)
SEARCH = (
    *("train", "-m", "hydra/sweeper=optuna", "hydra.sweep.dir=s", *MEASURED),
    *("optimizer.g.lr=tag(log,interval(1e-4,1e-1))", "loss=hinge,lsgan"),
)


def entries() -> list[dict]:
    return [json.loads(line) for line in Path("s/sweep.jsonl").read_text().splitlines()]


def read_study():
    import optuna

    return optuna.load_study(study_name="gan", storage=f"sqlite:///{Path('s/study.db').absolute()}")


def test_a_job_returns_the_best_value_of_its_run(tmp_path):
    assert sweeping.read_best(tmp_path) is None
    path = tmp_path / "evaluation.json"
    for text, value in (
        ('{"best": {"key": "swd", "mode": "min", "step": 4, "value": 2.5}}', 2.5),
        ('{"best": null}', None),
        ("[1]", None),
        ("{", None),
    ):
        path.write_text(text)
        assert sweeping.read_best(tmp_path) == value


def test_a_pruned_run_ends_well():
    assert sweeping.describe_end(Pruned("pruned at step 2")) == ("pruned", "pruned at step 2")
    assert "pruned" in sweeping.ENDED_WELL and "stopped" not in sweeping.ENDED_WELL


@pytest.mark.parametrize(
    ("word", "extra"),
    [
        ("hydra/sweeper=optuna", "sweep"),
        ("hydra/launcher=joblib", "cluster"),
        ("hydra/launcher=submitit_slurm", "cluster"),
        ("hydra/launcher=ray", "ray"),
    ],
)
def test_a_missing_plugin_is_named_with_its_extra(monkeypatch, capsys, tmp_path, word, extra):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweeping, "is_plugin_installed", lambda module: False)
    assert main(["train", "-m", word, "seed=1,2"]) == 2
    shown = capsys.readouterr().err
    assert f"{word}: the package" in shown and f"pip install 'gancli[{extra}]'" in shown
    assert list(tmp_path.iterdir()) == []


GOOD = {
    "n_trials": 1,
    "n_jobs": 1,
    "startup_trials": 0,
    "warmup_steps": 0,
    "seeds": None,
    "direction": "auto",
    "prune": True,
    "sampler_seed": None,
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("n_trials", 0), ("n_jobs", 0), ("startup_trials", -1), ("warmup_steps", "x")),
        *(("seeds", "1"), ("seeds", [1, "x"]), ("direction", "maximise"), ("prune", "no")),
        ("sampler_seed", 0.5),
    ],
)
def test_a_value_that_a_search_cannot_use_is_told(key, value):
    check_settings(GOOD)
    with pytest.raises(Problems) as caught:
        check_settings(GOOD | {key: value})
    (problem,) = caught.value.problems
    assert problem[0] == f"hydra.sweeper.{key}={value} does not fit"


def test_the_plugin_of_the_same_name_does_not_get_in_the_way():
    store = ConfigStore.instance()
    store.store(group="hydra/sweeper", name="optuna", node={"_target_": "theirs"})
    try:
        composed = front.compose("train", ["hydra/sweeper=optuna"])
        assert composed.hydra.sweeper._target_ == sweeping.OPTUNA
        assert store.repo["hydra"]["sweeper"]["optuna.yaml"].node["_target_"] == "theirs"
    finally:
        store.repo["hydra"]["sweeper"].pop("optuna.yaml")


@pytest.mark.full
def test_a_search_prunes_marks_its_best_and_says_how_to_go_on(gan):
    pytest.importorskip("optuna")
    few = ("hydra.sweeper.startup_trials=1", "hydra.sweeper.n_trials=4")
    done = sound(gan(*SEARCH, *few))
    states = [entry["state"] for entry in entries()]
    study = read_study()
    assert len(study.trials) == len(states) == 4
    told = {"COMPLETE": "done", "PRUNED": "pruned"}
    assert [told[trial.state.name] for trial in study.trials] == states
    for trial, entry in zip(study.trials, entries(), strict=True):
        if entry["state"] == "done":
            best = json.loads((Path(entry["folder"]) / "evaluation.json").read_text())["best"]
            assert trial.value == best["value"]
    *_, best, page, command = done.out.rstrip().splitlines()
    assert best.startswith(f"best: job {study.best_trial.number}: {study.best_value:.6g}")
    assert page == "done: s/compare.html"
    program, *words = shlex.split(command)
    assert program == "gan" and words[-1] == "trainer.steps=8"
    sound(gan(*words))
    again = gan(*SEARCH, *few, "trainer.keep=1")
    assert again.code == 2 and "is one of other words" in again.err
    assert len(read_study().trials) == 4


@pytest.mark.full
def test_several_seeds_count_by_their_mean(gan):
    pytest.importorskip("optuna")
    sound(gan(*SEARCH, "hydra.sweeper.n_trials=2", "hydra.sweeper.seeds=[3,5]"))
    assert [entry["job"] for entry in entries()] == [0, 1, 2, 3]
    for trial in read_study().trials:
        values = [sweeping.read_best(Path(entry["folder"])) for entry in entries()]
        pair = values[2 * trial.number : 2 * trial.number + 2]
        assert trial.value == pytest.approx(sum(pair) / 2) and pair[0] != pair[1]
    refused = gan(*SEARCH[:2], *SEARCH[2:], "hydra.sweep.dir=t", "seed=1,2")
    assert refused.code == 2 and "hydra.sweeper.seeds=[0,1,2]" in refused.err


@pytest.mark.full
def test_a_search_of_no_metric_or_the_wrong_way_is_told(gan):
    pytest.importorskip("optuna")
    none = gan(*SEARCH, "metrics.items=[]")
    assert none.code == 2 and "a search needs a metric" in none.err
    few = ("hydra.sweeper.n_trials=9", "hydra.sweep.dir=t")
    wrong = gan(*SEARCH, *few, "hydra.sweeper.direction=maximize")
    assert wrong.code == 1 and "hydra.sweeper.direction=minimize" in wrong.out
    assert len(Path("t/sweep.jsonl").read_text().splitlines()) == 3, "three failures are enough"


@pytest.mark.full
def test_a_search_that_is_killed_goes_on_and_loses_or_repeats_no_trial(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    more = ("trainer.steps=400", "metrics.every=100", "trainer.save_every=20")
    few = ("hydra.sweeper.n_trials=4", "hydra.sweeper.prune=false")
    words = [sys.executable, "-m", "gancli", *SEARCH, *more, *few]
    with open("first.log", "wb") as file:
        process = subprocess.Popen(words, env=ENV, stdout=file, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 300
        while not list(Path("s").glob("1-*/checkpoints/last.pt")):  # the second trial is under way
            assert process.poll() is None and time.monotonic() < end, Path("first.log").read_text()
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    before = read_study()
    assert [trial.state.name for trial in before.trials] == ["COMPLETE", "RUNNING"]
    first = Path(entries()[0]["folder"]) / "checkpoints" / "last.pt"
    saved = first.stat().st_mtime_ns
    done = subprocess.run(words, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = read_study()
    assert [trial.state.name for trial in after.trials] == ["COMPLETE"] * 4
    assert after.trials[0].value == before.trials[0].value
    assert after.trials[1].params == before.trials[1].params, "it goes on, with its values"
    assert len({json.dumps(trial.params) for trial in after.trials}) == 4
    assert first.stat().st_mtime_ns == saved, "a complete trial is not played again"
    assert [(entry["job"], entry["state"]) for entry in entries()] == [
        (number, "done") for number in range(4)
    ]
    assert "  killed  " not in done.stdout
    lines = (Path(entries()[1]["folder"]) / "run.log").read_text()
    assert lines.count("training from step") == 2 and "training from step 0" in lines
