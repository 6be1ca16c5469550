"""How large a batch can be, and whether two processes beat two threads: what gan check says."""

from __future__ import annotations

import sys

import pytest
import torch
from helpers import SMALL, TINY, small, steps, trainer_for

from gancli.cli import main
from gancli.config.run_config import RunConfig
from gancli.data.base import split
from gancli.data.builtin import Digits
from gancli.errors import UserError
from gancli.run import fitting, pace


@pytest.fixture
def trained():
    config = RunConfig.from_plain(small("mlp", "trainer.batch_size=8"))
    train, _ = split(Digits(resolution=8).load(), limit=None, holdout=0)
    return steps(trainer_for(config.plain()), 1), train, config


def test_live_tensors_are_counted_without_noise():
    with fitting.LiveTensors({torch.Size([77])}) as tensors:
        weight = torch.ones(77)
        a = torch.ones(1000)
        b = a.view(10, 100) + 1  # a view takes no more
        del a
        c = torch.ones(500)
    assert tensors.peak == 4 * 2000 and tensors.live == 4 * 1500, (b, c, weight)
    del b, c
    assert tensors.live == 0


def test_a_cpu_is_reckoned_from_two_sizes(trained, monkeypatch):
    trainer, train, config = trained
    monkeypatch.setattr(fitting, "available_memory", lambda: 10_000_000)
    said = fitting.describe_largest(trainer, train, config, seconds=0.001, period=1)
    assert "reckoned from steps with 8 and 16" in said and "10 MB are free" in said
    again = fitting.describe_largest(trainer, train, config, seconds=0.001, period=1)
    assert said == again
    monkeypatch.setattr(fitting, "available_memory", lambda: 10**12)
    said = fitting.describe_largest(trainer, train, config, seconds=0.001, period=1)
    assert said.startswith("all 1,797 of the data fit")
    slow = fitting.describe_largest(trainer, train, config, seconds=60, period=1)
    assert slow == "not tried beyond 8: a step takes too long"


def test_what_grows_is_seen_beside_large_weights(monkeypatch):
    config = small("mlp", "model.generator.hidden=[2000]", "model.discriminator.hidden=[2000]")
    train, _ = split(Digits(resolution=8).load(), limit=None, holdout=0)
    monkeypatch.setattr(fitting, "available_memory", lambda: 10_000_000)
    said = fitting.reckon_from_two(
        steps(trainer_for(config), 1), train, RunConfig.from_plain(config), period=1
    )
    each = float(said.partition(": ")[2].partition(" MB")[0])
    assert 2 * 4 * 2000 / 1e6 < each < 12 * 4 * 2000 / 1e6, said


def test_one_step_of_each_size_shows_the_rarest_loss():
    config = small("mlp", "+penalty@loss.penalties.r1=r1", "loss.penalties.r1.every=16")
    run_config = RunConfig.from_plain(config)
    train, _ = split(Digits(resolution=8).load(), limit=None, holdout=0)
    trainer = steps(trainer_for(config), 1)
    fitting.play_with(trainer, train, run_config, size=8, period=16)
    assert trainer.progress.step == 16 and "d/r1" in trainer.logs


def test_a_gpu_is_tried_until_it_is_full(trained, monkeypatch):
    trainer, train, config = trained
    tried = []

    def play(trainer, train, config, *, size, period):
        tried.append(size)
        if size > 32:
            raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(fitting, "play_with", play)
    said = fitting.try_sizes(trainer, train, config, seconds=0.001, period=1)
    assert tried == [16, 32, 64] and said == "32 fit, 64 do not (tried, in steps of 2)"
    monkeypatch.setattr(fitting, "DOUBLINGS", 1)
    said = fitting.try_sizes(trainer, train, config, seconds=0.001, period=1)
    assert said == "16 fit; more was not tried"


@pytest.mark.parametrize(
    ("size", "seconds", "words"),
    [
        (4, (0.3, 0.2), "two are 1.50 times as fast (measured once)"),
        (4, (0.2, 0.3), "two are 1.50 times as slow, so train with threads (measured once)"),
        (1, (0.3, 0.2), "(measured once, both with trainer.batch_size=2)"),
    ],
)
def test_two_processes_stand_beside_two_threads(size, seconds, words, monkeypatch):
    called = []

    def measure(command, *, threads):
        called.append((threads, "torch.distributed.run" in command, command[-1]))
        return seconds[len(called) - 1]

    monkeypatch.setattr(pace, "measure_way", measure)
    assert pace.compare_ways(["model=mlp"], batch_size=size).endswith(words)
    last = "trainer.batch_size=2" if size == 1 else "model=mlp"
    assert called == [(2, False, last), (1, True, last)]


def test_a_way_that_fails_says_why():
    command = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    with pytest.raises(UserError, match="two processes were not measured: no such model"):
        pace.measure_way(command, threads=1)


def test_a_way_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(pace, "LONGEST_S", 0.05)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(UserError, match="more than 0 s"):
        pace.measure_way(command, threads=1)


@pytest.mark.full
@pytest.mark.dist
def test_check_measures_both_ways(capsys):
    words = ["model=mlp", *SMALL["mlp"], *TINY]
    assert main(["check", *words, "--processes"]) == 0
    out = capsys.readouterr().out
    assert "processes two of one thread take" in out and "--processes" not in out
