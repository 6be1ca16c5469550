"""The average's own batch statistics: measured at a look, a function of the clock, and of no use to
training.
"""

from __future__ import annotations

import contextlib
import copy
import operator
from unittest.mock import Mock

import pytest
import torch
from helpers import differences, frozen, small, steps, trainer_and_monitor, trainer_for
from torch import nn

from gancli.config.run_config import RunConfig
from gancli.ema import list_norms, settle_statistics
from gancli.evaluation.watchdog import build_watch
from gancli.run.folder import RunFolder
from gancli.run.loop import Loop

STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}


def test_statistics_are_plain_averages_over_the_batches():
    norm = nn.BatchNorm1d(3, momentum=0.3)
    norm(torch.full((4, 3), 100.0))  # what it knew before shall not count
    norm.eval()
    batches = torch.randn(5, 6, 3, generator=torch.Generator().manual_seed(0))
    left = iter(batches)
    settle_statistics([norm], batches=5, sample=lambda: norm(next(left)))
    torch.testing.assert_close(norm.running_mean, batches.mean((0, 1)))
    torch.testing.assert_close(norm.running_var, batches.var(1).mean(0))
    assert norm.momentum == 0.3 and not norm.training and norm.num_batches_tracked == 5


def test_norms_without_running_statistics_or_of_all_ranks_are_left_alone():
    parts = [nn.BatchNorm2d(2, track_running_stats=False), nn.SyncBatchNorm(2), nn.BatchNorm1d(2)]
    assert list_norms(nn.Sequential(*parts)) == [parts[2]]


@pytest.mark.parametrize(
    "model", ["dcgan", *(pytest.param(name, marks=pytest.mark.full) for name in ("cgan", "biggan"))]
)
def test_a_look_measures_the_average_and_moves_nothing_else(model):
    trainer = steps(trainer_for(small(model)), 2)
    before = copy.deepcopy(trainer.ema.state_dict())
    game = copy.deepcopy(trainer.game.state_dict())
    state = torch.random.get_rng_state()
    drawn = []
    norm = list_norms(trainer.ema)[0]
    handle = norm.register_forward_hook(lambda module, args, out: drawn.append(args[0]))
    ema = trainer.settle_ema()
    handle.remove()
    assert ema is trainer.ema and len(drawn) == trainer.config.ema.settle_batches == 16
    assert {len(batch) for batch in drawn} == {trainer.settings.batch_size}
    torch.testing.assert_close(
        norm.running_mean, torch.stack([batch.mean((0, 2, 3)) for batch in drawn]).mean(0)
    )
    moved = {path.rpartition(".")[2] for path in differences(before, dict(ema.state_dict()))}
    assert moved == STATISTICS, "weights and spectral norm's vectors stay"
    assert not differences(game, trainer.game.state_dict())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(part.training for part in ema.modules())


def test_a_look_costs_no_more_where_batches_are_large():
    trainer = trainer_for(small("dcgan", "trainer.batch_size=40"))
    drawn = []
    list_norms(trainer.ema)[0].register_forward_hook(lambda module, args, out: drawn.append(args))
    trainer.settle_ema()
    assert {len(batch) for (batch,) in drawn} == {16}


@pytest.mark.parametrize(
    ("look", "ask"),
    [("measure_diversity", "write_line"), ("draw_samples", "write_grid"), ("measure", "measure")],
)
def test_the_loop_looks_at_settled_statistics(look, ask, tmp_path, monkeypatch):
    trainer, monitor = trainer_and_monitor(small("dcgan"))
    steps(trainer, 1)
    before = copy.deepcopy(trainer.ema)
    seen = []

    def record(game, generator, **_):
        seen.append(copy.deepcopy(generator))
        raise RuntimeError("it was seen")

    monkeypatch.setattr(monitor, look, record)
    loggers = Mock()
    watch = build_watch(trainer)
    folder = RunFolder(tmp_path).open()
    loop = Loop(trainer, monitor, watch, folder=folder, logbook=loggers, display=loggers)
    with contextlib.suppress(RuntimeError):
        operator.methodcaller(ask)(loop)
    assert differences(dict(before.state_dict()), dict(seen[0].state_dict()))
    assert {int(norm.num_batches_tracked) for norm in list_norms(seen[0])} == {16}


def test_statistics_depend_on_the_step_and_not_on_other_looks():
    """Resumed, looked at often or only at the end; between moves of the generator as well."""
    config = small("dcgan", "loss=wgan_gp", "loss.n_critic=2")
    often, once, resumed = (trainer_for(config) for _ in range(3))
    trees = []
    for _ in range(5):
        trees.append(copy.deepcopy(steps(often, 1).state_dict()))
    steps(once, 5)
    resumed.load_state_dict(copy.deepcopy(trees[1]))
    steps(resumed, 1)  # the generator rests at step 3
    assert not differences(trees[2], resumed.state_dict())
    steps(resumed, 2)
    assert not differences(trees[4], once.state_dict())
    assert not differences(trees[4], resumed.state_dict())
    # The weights rest from step 2 to step 3; what is drawn for their statistics does not.
    moved = differences(trees[1]["ema"], trees[2]["ema"])
    assert {path.rpartition(".")[2] for path in moved} == STATISTICS - {"num_batches_tracked"}


def test_a_loaded_state_is_measured_even_at_the_step_of_the_last_look():
    """After a rollback, or for another trainer's weights."""
    trainer, other = (trainer_for(small("dcgan", f"seed={seed}")) for seed in (0, 1))
    tree = steps(other, 2).state_dict()
    steps(trainer, 2).settle_ema()
    trainer.load_state_dict(tree)
    calls = count_inputs(trainer)
    trainer.settle_ema()
    assert len(calls) == 16
    trainer.settle_ema()
    assert len(calls) == 16, "once for each step"


def count_inputs(trainer):
    calls = []
    draw = trainer.game.inputs
    trainer.game.inputs = lambda n, rng, **more: calls.append((n, more)) or draw(n, rng, **more)
    return calls


@pytest.mark.parametrize(
    ("model", "overrides"),
    [("dcgan", ("ema.settle_batches=0",)), ("mlp", ()), ("cyclegan", ())],
)
def test_zero_and_what_has_no_norms_or_no_noise_cost_nothing(model, overrides):
    trainer = trainer_for(small(model, *overrides))
    if model == "cyclegan":  # its inputs are data
        trainer.ema.norm = nn.BatchNorm2d(2)
    trainer.config = trainer.config if model != "cyclegan" else with_batches(trainer.config, 16)
    calls = count_inputs(trainer)
    before = copy.deepcopy(trainer.ema.state_dict())
    assert not differences(before, dict(trainer.settle_ema().state_dict())) and not calls


def with_batches(config, n):
    plain = config.plain()
    plain["ema"]["settle_batches"] = n
    return RunConfig.from_plain(plain)


def test_labels_are_as_frequent_as_in_the_data_and_the_same_on_all_ranks():
    config = small("cgan", "dataset.limit=200", "trainer.batch_size=8")
    trainers = [trainer_for(config, rank=rank, world=2) for rank in (0, 1)]
    for trainer in trainers:
        # one class is rare
        trainer.stream.labels = torch.tensor([3] * 199 + [7])
    calls = [count_inputs(trainer) for trainer in trainers]
    settled = [dict(trainer.settle_ema().state_dict()) for trainer in trainers]
    assert not differences(*settled)
    labels = torch.cat([more["label"] for _, more in calls[0]])
    assert len(labels) == 16 * 8 and (labels == 3).float().mean() > 0.9


def test_a_shard_is_measured_at_a_time():
    trainer = trainer_for(small("dcgan", "trainer.batch_size=8", "trainer.accumulate=4"))
    calls = count_inputs(trainer)
    trainer.settle_ema()
    assert {n for n, _ in calls} == {2}


def test_runs_without_the_key_are_as_they_were():
    plain = small("dcgan")
    del plain["ema"]["settle_batches"]
    assert RunConfig.from_plain(plain).ema.settle_batches == 0


@pytest.mark.parametrize(
    ("experiment", "batches"),
    [("contragan_cifar10", 0), ("biggan_cifar10", 16), ("biggan_imagenet128", 16)],
)
def test_of_the_papers_biggan_alone_measures_anew(experiment, batches):
    assert frozen(f"experiment={experiment}")["ema"]["settle_batches"] == batches
