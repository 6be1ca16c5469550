"""The start of a process: nothing is imported before it is needed, and the collector rests."""

from __future__ import annotations

import gc
import subprocess
import sys
import time

import pytest
from helpers import REPO, small, steps, trainer_for

from gancli import checkpoint
from gancli.cli import main
from gancli.run import plan, startup

SCRIPT = """
import sys
from gancli.cli import main

def loaded(*names):
    return [name for name in names if name in sys.modules]

def run(*argv):
    code = main(list(argv))
    assert code == 0, argv

run("show", f"model={sys.argv[3]}", "--json")
run("show", ckpt := sys.argv[1])
run("sample", f"ckpt={ckpt}", "n=4", f"out={sys.argv[2]}")
out = f"out={sys.argv[2]}/found.json"
# other metrics may train a classifier, once
run("evaluate", f"ckpt={ckpt}", "metrics=fast", "metrics.items=[swd]", "n=20", out)
unused = ("tensorboard", "torchvision", "torch.utils.tensorboard", "matplotlib", "scipy")
optimizers = ("torch._dynamo", "torch._inductor", "sympy", "triton")
found = loaded(*unused, *optimizers)
assert not found, found
if sys.argv[3] == "mlp":
    run("check", "model=mlp", "trainer.device=cpu", "trainer.batch_size=4")
    assert loaded("torch._dynamo")  # what is looked for is there when it is used
    assert not loaded(*unused)
"""


@pytest.mark.full
@pytest.mark.parametrize("model", ["mlp", "sngan", "stylegan2"])
def test_commands_import_only_what_they_use(model, tmp_path):
    trainer = steps(trainer_for(small(model, "trainer.steps=10")), 1)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    checkpoint.save(trainer.state_dict(), tmp_path / "run" / "checkpoints", keep=1)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "run"), str(tmp_path / "out"), model],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=REPO,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def rest(monkeypatch):
    monkeypatch.setattr(gc, "freeze", lambda: None)  # garbage of other tests must not stay
    rest = startup.Rest()
    yield rest
    rest.end()
    gc.enable()


def test_the_collector_rests_until_training_begins(rest):
    rest.begin()
    assert not gc.isenabled()
    rest.end()
    assert gc.isenabled()
    gc.disable()
    rest.end()  # it does not rest, so there is nothing to end
    assert not gc.isenabled()


def test_the_rest_has_an_end_where_nothing_is_trained(rest, monkeypatch):
    monkeypatch.setattr(startup, "LONGEST_S", 0.01)
    rest.begin()
    deadline = time.monotonic() + 10
    while not gc.isenabled() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert gc.isenabled()


def test_only_a_process_of_our_own_rests(rest, monkeypatch, capsys):
    monkeypatch.setattr("gancli.cli.REST", rest)
    assert main(["--version"]) == 0 and gc.isenabled()
    monkeypatch.setattr(sys, "argv", ["gan", "--version"])
    assert main() == 0 and not gc.isenabled()


def test_the_rest_ends_before_anything_is_built(monkeypatch, tmp_path):
    ended = []
    monkeypatch.setattr(startup.REST, "end", lambda: ended.append(len(built)))
    built = []
    real = plan.build_first
    monkeypatch.setattr(plan, "build_first", lambda *args: built.append(args) or real(*args))
    words = ["model=mlp", "trainer.steps=1", "trainer.batch_size=4", "metrics=none"]
    assert main(["train", *words, f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    assert ended == [0] and len(built) == 1
