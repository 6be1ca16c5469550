"""The processor time of a whole run, from a few of its steps and two of its evaluations.

`python -m gancli.run.forecast KEY=VALUE ...` does that in a process of its own, since the time from
its start to the first step counts, and prints an entry of conf/forecasts.json.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gancli.config.measured import Forecast
    from gancli.trainer import Trainer

POINTS = 5  # of a run whose steps change while it grows, at the middles of as many parts
ROUNDS = 5
ROUND_S = 0.6


def forecast(words: Sequence[str]) -> Forecast:
    """Plays a few steps, evaluates twice, and reckons what the whole run takes; keeps nothing.

    The first evaluation also trains a classifier or draws what is compared, later ones do not.

    Args:
        words: What is typed behind `gan train`, in a process that has done nothing else yet.
    """
    import torch

    from gancli.config.validate import validate
    from gancli.evaluation.paired import make_monitor
    from gancli.precision import resolve_device, use_threads
    from gancli.run import bench
    from gancli.run.launch import compose_run
    from gancli.run.plan import (
        Plan,
        build_first,
        finish_budget,
        keep_nothing,
        open_data,
        settle_precision,
    )
    from gancli.trainer import Trainer

    composed = compose_run(words)
    config = keep_nothing(validate(composed.cfg, typed=composed.overrides))
    device = resolve_device(config.trainer.device)
    with use_threads(config.trainer.threads):
        train, held, stream = open_data(config, device, trust=None)
        config = finish_budget(config, stream.n)
        game = build_first(Plan(config), stream, device)
        config = settle_precision(config, game)
        monitor = make_monitor(game, train=train, held=held, config=config, device=device)
        trainer = Trainer(game, stream, config=config, device=device)
        start_s = time.process_time()
        step_s = statistics.mean(time_at(trainer, at) for at in choose_points(trainer))
        evaluations = count_evaluations(config.trainer.steps, config.metrics.every)
        evaluation_s: list[float] = []
        while monitor.measures and len(evaluation_s) < min(2, evaluations):
            before = time.process_time()
            monitor.measure(trainer.game, trainer.settle_ema())
            evaluation_s.append(time.process_time() - before)
        threads = torch.get_num_threads()
    later_s = evaluation_s[-1] if evaluation_s else 0.0
    cpu_s = start_s + config.trainer.steps * step_s + sum(evaluation_s)
    cpu_s += later_s * max(0, evaluations - len(evaluation_s))
    return {
        "words": list(words),
        "steps": config.trainer.steps,
        "cpu_s": round(cpu_s, 1),
        "step_ms": round(1000 * step_s, 2),
        "processor": bench.describe_processor(device),
        "threads": threads,
        "precision": config.trainer.precision,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def count_evaluations(steps: int, every: int) -> int:
    """Counts a run's evaluations: one each so many steps, and one at its end."""
    return -(-steps // every) if every else 1


def choose_points(trainer: Trainer) -> list[int]:
    """Chooses the steps of a run at which others are timed: one where all its steps are alike."""
    from gancli.run.bench import set_clock

    steps = trainer.config.trainer.steps
    if not set_clock(trainer.game, trainer.config):
        return [0]
    return [int(steps * (k + 0.5) / POINTS) for k in range(POINTS)]


def time_at(trainer: Trainer, at: int) -> float:
    """Returns the processor seconds of a step at some step of the run: the quickest of rounds.

    What other programs do at the same time makes caches smaller, and a round never quicker.
    """
    from gancli.run.bench import find_period, move_clock, play_steps

    move_clock(trainer.game, trainer.config, at)
    period = find_period(trainer)
    started = time.process_time()
    play_steps(trainer, period)  # warms libraries up
    once = time.process_time() - started
    steps = period * max(1, round(ROUND_S / once))
    times = []
    for _ in range(ROUNDS):
        move_clock(trainer.game, trainer.config, at)
        started = time.process_time()
        play_steps(trainer, steps)
        times.append((time.process_time() - started) / steps)
    return min(times)


if __name__ == "__main__":
    print(json.dumps(forecast(sys.argv[1:])))
