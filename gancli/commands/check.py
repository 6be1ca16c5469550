"""gan check: everything that gan train would do up to its first steps, and a forecast of the rest; nothing is kept."""

from __future__ import annotations

import contextlib
import io
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from gancli.config import compose as front

TIMED_ROUNDS = 3  # of the generator's turn and the critic's before it
SLOW_S = 20.0  # of measuring: whoever waits longer knows enough


def main(argv: list[str]) -> int:
    from gancli.run.runlog import early_log

    with early_log():  # notes and warnings look as they do at the start of a run
        return check(argv)


def check(argv: list[str]) -> int:
    from gancli.files.paths import check_run
    from gancli.render import messages
    from gancli.render import status as progress

    composed = front.compose("train", argv)
    for message in composed.warnings:
        messages.warn(message)
    for message in composed.notes:
        messages.remark(message)
    check_run(composed.cfg)
    progress.say("measuring: loading torch…")
    import torch

    from gancli.config.build import build_game
    from gancli.config.validate import validate
    from gancli.evaluation.paired import judge_for
    from gancli.evaluation.watchdog import build_watch
    from gancli.precision import peak_memory, resolve_device
    from gancli.render.display import LONG_S, speed, too_long
    from gancli.render.status import duration
    from gancli.run.failures import explained, lighter
    from gancli.run.plan import (
        check_first_batch,
        describe_plan,
        finish_budget,
        open_data,
        too_short,
    )
    from gancli.trainer import Trainer

    progress.say("measuring: checking the config…")
    config = validate(composed.cfg, typed=composed.overrides)
    print(f"plan      {describe_plan(composed)}", flush=True)
    device = resolve_device(config.trainer.device)
    progress.say("measuring: reading the data…")
    started = time.perf_counter()
    train, held, stream = open_data(config, device, trust=None)
    config = finish_budget(config, stream.n)
    print(
        f"data      {stream.n:,} images in {time.perf_counter() - started:.1f} s, {len(train.skipped)} skipped",
        flush=True,
    )
    progress.say("measuring: building the networks…")
    game = build_game(config.plain(), trust=None)
    check_first_batch(game, stream)
    with explained(config.trainer, device):
        judge_for(
            game, train=train, held=held, config=config, device=device
        )  # raises where it cannot measure
        trainer = Trainer(game, stream, config=config, device=device)
        build_watch(trainer)
        tries = lighter(config.trainer, config.dataset, composed.cfg.model)
        with hinting(tries):
            seconds, how = measure(trainer, period=game.n_critic)
    for message in too_short(trainer):
        messages.warn(message)
    progress.say("measuring: saving a checkpoint to memory…")
    settings = config.trainer
    print(
        f"step      {in_units(seconds)}, {speed(settings.batch_size / seconds)} on {settings.device} {settings.precision}"
        f" ({how})"
    )
    print(f"memory    {peak_memory(device) / 1e9:.2f} GB at most", flush=True)
    buffer = io.BytesIO()
    torch.save(trainer.state_dict(), buffer)
    files = (
        min(settings.keep, -(-settings.steps // settings.save_every)) + 2
    )  # the best, and the newest while it is written
    disk = files * buffer.getbuffer().nbytes
    free = shutil.disk_usage(existing(composed.run_dir)).free
    whole = seconds * settings.steps
    print(
        f"forecast  {settings.steps:,} steps in {duration(whole)}, "
        f"{disk / 1e6:.0f} MB of checkpoints ({free / 1e9:.0f} GB free)"
    )
    if whole >= LONG_S:
        print(f"          {too_long(seconds, tries)}")
    elif seconds >= SLOW_S:
        print(f"          a step is slow here; try {', '.join(tries) or 'another machine'}")
    if disk > free:
        messages.warn(
            "the disk has less room than that: lower trainer.keep, or choose another hydra.run.dir="
        )
    print(f"next      {' '.join(map(shlex.quote, ['gan', 'train', *argv]))}")
    return 0


@contextlib.contextmanager
def hinting(tries: tuple[str, ...]) -> Iterator[None]:
    """Whoever waits long for the first step reads meanwhile what would be quicker."""
    from gancli.render import status as progress

    status = progress.current()
    if status is None or not tries:
        yield
        return
    text = f"measuring: slow, try {' '.join(tries)}…"
    hint = progress.Ticker(lambda: status.say(text, goes_on=True), every_s=1e6, first_s=SLOW_S)
    hint.start()
    try:
        yield
    finally:
        hint.stop()


def measure(trainer, *, period: int) -> tuple[float, str]:
    """-> seconds a step, and how they were measured. The generator moves every `period` steps.

    After one round to warm up, rounds are timed; where that would take too long it stops in between, even after one step.
    """
    from gancli.render import status as progress

    times: list[float] = []
    total = (1 + TIMED_ROUNDS) * period
    progress.say("measuring: first step…")
    while not times or (len(times) < total and sum(times) < SLOW_S):
        started = time.perf_counter()
        trainer.step()
        # Waiting for the device after each quick step would slow it down.
        slow = not times or times[0] > 1
        trainer.read_flags(wait=slow or len(times) + 1 in (period, total))
        times.append(time.perf_counter() - started)
        progress.say(f"measuring: {len(times)} of {total} steps…", goes_on=True)
    if len(times) == total:
        return sum(times[period:]) / (total - period), f"mean of {TIMED_ROUNDS} rounds of {period}"
    timed = times[1:] or times  # the first one warms libraries up
    how = (
        "the first step alone" if len(times) == 1 else f"mean of {len(timed)} steps after the first"
    )
    return sum(timed) / len(timed), f"{how}; not measured further, it takes too long"


def in_units(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def existing(path: Path) -> Path:
    path = path.absolute()
    return path if path.exists() else existing(path.parent)
