"""The pace of training by two processes beside one of two threads, each started afresh.

`python -m gancli.run.pace KEY=VALUE ...` measures the processes that it runs in, and rank 0 prints
the seconds of a step.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from gancli.errors import UserError
from gancli.render import status

WAYS = 2  # processes, or threads
ROUNDS = 3
ROUND_S = 1.0
LONGEST_S = 180.0  # of one way, its start with it
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(WAYS))


def compare_ways(words: Sequence[str], *, batch_size: int) -> str:
    """Measures both ways in processes of their own, and says in a line which one is faster.

    Args:
        words: What is typed behind `gan train`.
        batch_size: Of the config. An odd one is doubled for both, since two processes share it.

    Raises:
        UserError: One of them fails.
    """
    split = batch_size % WAYS == 0
    typed = [*words] if split else [*words, f"trainer.batch_size={WAYS * batch_size}"]
    own = ("-m", "gancli.run.pace", *typed)
    status.say("measuring: one process of two threads…")
    threads = measure_way([sys.executable, *own], threads=WAYS)
    status.say("measuring: two processes of one thread…")
    processes = measure_way([sys.executable, *TORCHRUN, *own], threads=1)
    beside = "" if split else f", both with trainer.batch_size={WAYS * batch_size}"
    ratio = threads / processes
    verdict = (
        f"{ratio:.2f} times as fast"
        if ratio >= 1
        else f"{1 / ratio:.2f} times as slow, so train with threads"
    )
    return (
        f"two of one thread take {1000 * processes:.1f} ms a step, one of two threads "
        f"{1000 * threads:.1f} ms: two are {verdict} (measured once{beside})"
    )


def measure_way(command: Sequence[str], *, threads: int) -> float:
    """Runs a command of ours, and returns the seconds of a step that it prints.

    Args:
        command: With its words.
        threads: Of each process.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LONGEST_S
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"two processes were not measured: they took more than {LONGEST_S:.0f} s",
            "leave out --processes",
        ) from error
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        reasons = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(
            f"two processes were not measured: {reasons[-1] if reasons else 'they failed'}",
            "leave out --processes",
        )
    seconds: float = json.loads(lines[-1])["seconds"]
    return seconds


def measure_pace(words: Sequence[str]) -> float:
    """Trains for a few seconds, alone or with the other ranks, and returns the seconds of a step.

    Args:
        words: What is typed behind `gan train`.
    """
    from gancli import distributed
    from gancli.config.validate import validate
    from gancli.precision import resolve_device
    from gancli.run.bench import find_period, play_steps, set_clock
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
    distributed.start()
    config = keep_nothing(validate(composed.cfg, typed=composed.overrides))
    device = distributed.place_rank(resolve_device(config.trainer.device))
    _, _, stream = open_data(config, device, trust=None)
    config = finish_budget(config, stream.n)
    game = distributed.run_together(lambda: build_first(Plan(config), stream, device))
    config = settle_precision(config, game)
    set_clock(game, config)
    trainer = Trainer(game, stream, config=config, device=device)
    period = find_period(trainer)
    play_steps(trainer, period)
    started = time.perf_counter()
    play_steps(trainer, period)
    # All ranks play as many, or they would wait for each other.
    steps = distributed.from_rank_0(
        period * max(1, round(ROUND_S / (time.perf_counter() - started)))
    )
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        play_steps(trainer, steps)
        times.append((time.perf_counter() - started) / steps)
    distributed.stop()
    return statistics.median(times)


if __name__ == "__main__":
    pace = measure_pace(sys.argv[1:])
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps({"seconds": pace}))
