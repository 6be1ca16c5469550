"""A file that a run is to go on from is compared with its config before anything is allocated: all
that it holds.
"""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import train_helpers
from helpers import REPO, SMALL, small, some_by_default, steps, trainer_for
from train_helpers import TINY, sound

from gancli.checkpoint import FORMAT, check_resumable, check_state, read, save
from gancli.errors import GanError

gan = pytest.fixture(train_helpers.gan)
GONE = object()


@pytest.mark.parametrize("model", some_by_default(SMALL, of=4))
def test_what_any_model_saves_is_accepted(model, tmp_path):
    path = save(steps(trainer_for(small(model)), 2).state_dict(), tmp_path, keep=1)
    tree = read(path)
    check_resumable(tree, path)
    check_state(tree, path, trust=())


@pytest.mark.parametrize(
    "spec",
    [
        {"_target_": "torch.optim.SGD", "lr": 0.01},
        {"_target_": "torch.optim.SGD", "lr": 0.01, "momentum": 0.9},
        {"_target_": "torch.optim.RMSprop", "lr": 0.01},
        {"_target_": "torch.optim.Adagrad", "lr": 0.01},
        {"_target_": "torch.optim.AdamW", "lr": 0.01, "amsgrad": True},
        {"_target_": "torch.optim.RAdam", "lr": 0.01},
        {"_target_": "torch.optim.Adafactor", "lr": 0.01},
        {"_target_": "torch.optim.Rprop", "lr": 0.01},
    ],
    ids=lambda spec: spec["_target_"].rpartition(".")[2] + str(len(spec)),
)
def test_what_any_optimizer_keeps_is_accepted(spec, tmp_path):
    config = small("mlp")
    config["optimizer"] = {"g": spec, "d": spec}
    path = save(steps(trainer_for(config), 2).state_dict(), tmp_path, keep=1)
    check_state(read(path), path, trust=())


@pytest.fixture(scope="module")
def state() -> dict:
    return steps(trainer_for(small("mlp")), 2).state_dict() | {"format": FORMAT, "version": "0.1.0"}


def changed(tree: dict, where: str, value: object) -> dict:
    tree = copy.deepcopy(tree)
    *parents, last = [int(part) if part.isdigit() else part for part in where.split("/")]
    node = tree
    for part in parents:
        node = node[part]
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    return tree


WEIGHT = "game/generator.net.0.weight"
LIES = {
    "a wider config": (
        "config/model/generator/hidden",
        [20_000, 60_000],
        "does not hold the networks",
    ),
    "a million layers": ("config/model/generator/hidden", [16] * 4000, "."),
    "a network in half": (WEIGHT, torch.zeros(8, 100), "does not hold the networks"),
    "whole numbers": (WEIGHT, torch.zeros(16, 100, dtype=torch.int64), "of int64"),
    "a weight that is not finite": (WEIGHT, torch.full((16, 100), torch.nan), "not finite"),
    "a key too many": ("game/x", torch.zeros(1), "does not hold the networks"),
    "an average in half": ("ema/net.0.weight", torch.zeros(8, 100), "does not hold the networks"),
    "moments of another shape": ("optimizers/g/state/0/exp_avg", torch.zeros(3), "exp_avg"),
    "moments that are none": ("optimizers/g/state/0/exp_avg", None, "exp_avg"),
    "moments not finite": ("optimizers/g/state/0/exp_avg", torch.full((16, 100), torch.inf), "."),
    "a lacking moment": ("optimizers/d/state/0/exp_avg_sq", GONE, "it keeps"),
    "a strange moment": ("optimizers/d/state/0/odd", torch.zeros(10**4), "it keeps"),
    "an unknown parameter": ("optimizers/g/state", {99: {}}, "parameter 99"),
    "a named parameter": ("optimizers/g/state", {"x": {}}, "parameter 'x'"),
    "a state that is a list": ("optimizers/g/state", [], "no mapping"),
    "an entry that is a list": ("optimizers/g/state/0", [], "no mapping"),
    "an unknown player": ("optimizers/q", {"state": {}, "param_groups": []}, "holds optimizers"),
    "a lacking player": ("optimizers/d", GONE, "holds optimizers"),
    "a player that is none": ("optimizers/d", 7, "has not the parts"),
    "no groups": ("optimizers/g/param_groups", [], "number of groups"),
    "groups of text": ("optimizers/g/param_groups", ["a"], "other parameters"),
    "fewer parameters": ("optimizers/g/param_groups/0/params", [0], "other parameters"),
    "a rate of text": ("optimizers/g/param_groups/0/lr", "fast", "lr="),
    "a rate not finite": ("optimizers/g/param_groups/0/lr", float("nan"), "lr="),
    "a lacking setting": ("optimizers/d/param_groups/0/eps", GONE, "lacks eps"),
    "amsgrad": ("optimizers/g/param_groups/0/amsgrad", True, "amsgrad=True"),
    "a nested setting": ("optimizers/g/param_groups/0/eps", {"a": 1}, "eps="),
    "rollbacks of text": ("run/rollbacks", "many", "rollbacks"),
    "10^9 rollbacks": ("run/rollbacks", 10**9, "rollbacks"),
    "no rollbacks": ("run/rollbacks", GONE, "rollbacks"),
    "no best": ("run/best", GONE, "no run.best"),
    "a best of text": ("run/best", "good", "run.best"),
    "a best without a number": (
        "run/best",
        {"key": "swd", "mode": "min", "step": 1, "value": float("nan")},
        "run.best",
    ),
    "watch of text": ("run/watch", {"saturated": "x"}, "run.watch"),
    "watch as a list": ("run/watch", [1], "run.watch"),
    "buffers of three ranks": ("buffers", [{}, {}, {}], "buffers of 3 ranks"),
    "a negative step": ("progress/step", -1, "progress.step=-1"),
    "a step without end": ("progress/step", 2**60, "progress.step"),
    "a true step": ("progress/nimg", True, "lacks progress.nimg"),
    "more progress": ("progress/__class__", 1, "progress.'__class__'"),
    "negative images": ("data/n", -5, "data.n=-5"),
    "classes of lists": ("data/classes", [[1]], "data.classes"),
    "skipped of numbers": ("data/skipped", [1], "data.skipped"),
    "a tensor in the config": ("config/log/every", torch.zeros(3), "config holds a Tensor"),
    "no log": ("config/log", GONE, "no config.log"),
    "a weight of text": ("config/optimizer/g/orthogonal", "x", "optimizer.g.orthogonal"),
    "an optimizer of text": ("config/optimizer", "adam", "no config.optimizer"),
}


@pytest.mark.parametrize("name", some_by_default(LIES))
def test_a_state_that_lies_is_refused_in_a_sentence(name, state, gan):
    where, value, message = LIES[name]
    folder = Path("run/checkpoints")
    folder.mkdir(parents=True)
    torch.save(changed(state, where, value), folder / "last.pt")
    done = sound(gan("train", "resume=run"), code=2)
    assert re.search(message, done.err), done.err
    assert sorted(path.name for path in Path("run").iterdir()) == ["checkpoints"], "nothing is made"


@pytest.mark.parametrize("entry", [7, {}, {"x": torch.zeros(3)}])
def test_buffers_of_every_rank_are_compared(state, tmp_path, entry):
    config = small("dcgan")
    tree = steps(trainer_for(config), 1).state_dict() | {"format": FORMAT, "version": "0.1.0"}
    tree["run"]["world"] = 2
    sound_one = {
        name: value for name, value in tree["game"].items() if name in dict(buffers_of(config))
    }
    tree["buffers"] = [sound_one, sound_one]
    torch.save(tree, tmp_path / "x.pt")
    check_resumable(read(tmp_path / "x.pt"), tmp_path / "x.pt")
    check_state(read(tmp_path / "x.pt"), tmp_path / "x.pt", trust=())
    tree["buffers"] = [sound_one, entry]
    torch.save(tree, tmp_path / "x.pt")
    with pytest.raises(GanError):
        check_state(read(tmp_path / "x.pt"), tmp_path / "x.pt", trust=())


def buffers_of(config: dict):
    return trainer_for(config).game.named_buffers()


def test_refusing_a_resume_takes_little_memory(gan, tmp_path):
    """In a process whose address space may grow by 400 MB, a tenth of what the file's config
    claims.
    """
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs Linux")
    sound(gan("train", *TINY, "trainer.steps=2", "hydra.run.dir=run"))
    path = Path("run/checkpoints/last.pt")
    tree = torch.load(path)
    tree["config"]["model"]["generator"]["hidden"] = [20_000, 60_000]  # 4.8 GB
    torch.save(tree, path)
    code = """
        import resource, sys
        import gancli.commands.train, gancli.trainer, gancli.evaluation.paired, torch
        from gancli.cli import main
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20,) * 2)
        sys.exit(main(["train", "resume=run", "trainer.steps=3"]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)},
    )
    assert done.returncode == 2 and "does not hold the networks" in done.stderr, done.stderr[-800:]
