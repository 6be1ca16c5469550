"""gan check: what gan train does up to its first steps, and a forecast of the rest.

It says what a step takes, which part of it costs most, and how large a batch can be. Nothing is
kept.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.config import compose as front
from gancli.config.arguments import refuse_misspelt, refuse_run
from gancli.files import shell
from gancli.machine import wait_briefly

if TYPE_CHECKING:
    import torch

    from gancli.config.schema import TrainerConfig
    from gancli.game import Phase
    from gancli.run.bench import MeteredTrainer
    from gancli.trainer import Trainer

TIMED_ROUNDS = 3  # of the generator's update and the discriminator's before it
SLOW_S = 20.0  # of measuring: whoever waits longer knows enough
METERED_S = 3.0  # a round that takes longer is not played once more for its parts
PROCESSES = "--processes"
UNTRIED = "gan check --processes measures two processes (torchrun) beside two threads"
SHOWN = 4  # parts of a step


def main(argv: list[str]) -> int:
    """Tries a config.

    Args:
        argv: What is typed behind `gan check`, as behind `gan train`.

    Raises:
        UserError: The config, the data or the machine do not fit.
    """
    from gancli.run.runlog import keep_early_log

    if PROCESSES not in argv:
        wait_briefly(os.environ)
    # Notes and warnings look as they do at the start of a run.
    with keep_early_log(), contextlib.ExitStack() as stack:
        check(argv, stack)
    return 0


def check(argv: list[str], stack: contextlib.ExitStack) -> None:
    """Goes through the gates, trains for a few steps, and prints what a run will need.

    Args:
        argv: What is typed.
        stack: Puts the number of threads back when it closes.
    """
    from gancli.files.paths import check_init, check_run
    from gancli.render import messages
    from gancli.render import status as progress
    from gancli.run.own_data import choose_for_data

    typed = [word for word in argv if word != PROCESSES]
    refuse_misspelt(typed, (PROCESSES,))
    words, chosen = choose_for_data(typed)
    composed = front.compose("train", words)
    if chosen:
        messages.remark(chosen)
    for message in composed.warnings:
        messages.warn(message)
    for message in composed.notes:
        messages.remark(message)
    check_run(composed.cfg)
    refuse_run(composed.cfg.resume, "check")
    check_init(composed.cfg.init.path)
    progress.say("measuring: loading torch…")
    from gancli.config.build import build_game
    from gancli.config.validate import validate
    from gancli.evaluation.paired import make_monitor
    from gancli.evaluation.watchdog import build_watch
    from gancli.modality import make_modality
    from gancli.precision import describe_threads, resolve_device, use_threads
    from gancli.run import bench, fitting, pace
    from gancli.run.failures import explain_errors, suggest_lighter
    from gancli.run.plan import (
        Plan,
        check_first_batch,
        describe_plan,
        find_too_short,
        finish_budget,
        keep_nothing,
        open_data,
        open_init,
        take_init,
    )

    progress.say("measuring: checking the config…")
    config = validate(composed.cfg, typed=composed.overrides)
    config, source = open_init(config, composed.overrides)
    print(f"plan      {describe_plan(composed)}", flush=True)
    stack.enter_context(use_threads(config.trainer.threads))
    device = resolve_device(config.trainer.device)
    advice = describe_threads(config.trainer.threads) if device.type == "cpu" else ""
    if advice:
        messages.remark(advice)
    progress.say("measuring: reading the data…")
    started = time.perf_counter()
    train, held, stream = open_data(keep_nothing(config), device, trust=None)
    config = finish_budget(config, stream.n)
    seconds = time.perf_counter() - started
    skipped = len(train.skipped)
    noun = make_modality(config.dataset).noun
    print(f"data      {stream.n:,} {noun} in {seconds:.1f} s, {skipped} skipped", flush=True)
    progress.say("measuring: building the networks…")
    game = build_game(config.plain(), trust=None)
    check_first_batch(game, stream)
    take_init(game, Plan(config, source=source))
    at = bench.set_clock(game, config)
    with explain_errors(config.trainer, device):
        # Raises where it cannot measure.
        make_monitor(game, train=train, held=held, config=config, device=device)
        trainer = bench.MeteredTrainer(game, stream, config=config, device=device)
        build_watch(trainer)
        period = bench.find_period(trainer)
        tries = suggest_lighter(config.trainer, config.dataset, composed.cfg.model)
        with show_hint(tries):
            seconds, how = measure_steps(trainer, period=game.n_critic)
        if at:  # its first steps are unlike
            how = f"at the end of the run, {how}"
        played = trainer.progress.step - at
        costs = measure_costs(trainer, seconds=seconds, period=period)
        # The first steps are left out of the time of a step as in measure_steps.
        warm = game.n_critic if played == (1 + TIMED_ROUNDS) * game.n_critic else min(1, played - 1)
        timed = range(at + warm, at + played)
        seconds = weigh_rare(seconds, costs, phases=trainer.phases, timed=timed)
    for message in find_too_short(trainer):
        messages.warn(message)
    print_needs(trainer, config.trainer, device, seconds=seconds, how=how)
    print(f"costs     {describe_costs(costs)}", flush=True)
    print_forecast(
        trainer, config.trainer, composed.run_dir, seconds=seconds, tries=tries, most=at > 0
    )
    with explain_errors(config.trainer, device):
        largest = fitting.describe_largest(trainer, train, config, seconds=seconds, period=period)
    print(f"batch     {largest}", flush=True)
    size = config.trainer.batch_size
    if device.type == "cpu":
        pair = pace.compare_ways(words, batch_size=size) if PROCESSES in argv else UNTRIED
        print(f"processes {pair}")
    path = composed.cfg.dataset.get("path")
    if isinstance(path, str):
        print(f"recommend {shell.join(['gan', 'recommend', path])} compares models on these data")
    print(f"next      {shell.join(['gan', 'train', *typed])}")


def measure_costs(trainer: MeteredTrainer, *, seconds: float, period: int) -> dict[str, float]:
    """Measures what each part of a step costs, on average over a period.

    Where a period takes too long, what is rarely due is played once, at the step at which all is.

    Args:
        trainer: After its first steps, the last of which had a stopwatch if they were slow.
        seconds: Of a step.
        period: Steps after which every phase has been played.

    Returns:
        Seconds of a step by part, the dearest first.
    """
    from gancli.run.bench import OTHER, Stopwatch, list_intervals, move_to_fullest

    watch = trainer.meter
    trainer.meter = None
    assert isinstance(watch, Stopwatch), "measure_steps gives it one"
    whole = seconds * period <= METERED_S
    if whole:
        watch = Stopwatch(trainer.device)
        trainer.play_measured(watch, period)
    steps = len(watch.calls[OTHER])  # of each step one
    sums = {part: sum(calls) / steps for part, calls in watch.calls.items()}
    intervals = list_intervals(trainer.game, trainer.progress.step)
    rare = [phase.name for phase in trainer.phases if phase.name in intervals.keys() - sums.keys()]
    if rare and seconds < SLOW_S:
        move_to_fullest(trainer, period)
        watch = Stopwatch(trainer.device)
        trainer.play_measured(watch, 1)
        sums |= {part: sum(watch.calls[part]) / intervals[part] for part in rare}
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def weigh_rare(
    seconds: float, costs: dict[str, float], *, phases: list[Phase], timed: range
) -> float:
    """Gives losses that are rarely due their share of a step.

    Args:
        seconds: The mean of the timed steps, in which they were due by chance or not at all.
        costs: Seconds of a step by part.
        phases: Of the game.
        timed: The steps that were timed.
    """
    for phase in phases:
        cost = costs.get(phase.name, 0.0)
        met = sum(phase.due(step) for step in timed) / len(timed)
        seconds += cost * (1 - met * phase.every)
    return seconds


def describe_costs(costs: dict[str, float]) -> str:
    """Names the parts of a step by their share of its time, the dearest first."""
    whole = sum(costs.values())
    shares = [f"{part} {cost / whole:.0%}" for part, cost in list(costs.items())[:SHOWN]]
    return f"{', '.join(shares)} of the time of a step (gan bench says more)"


def print_needs(
    trainer: Trainer, settings: TrainerConfig, device: torch.device, *, seconds: float, how: str
) -> None:
    """Prints how long a step takes and how much memory.

    Args:
        trainer: After its steps.
        settings: The section `trainer`.
        device: Where it trained.
        seconds: Of a step.
        how: How they were measured.
    """
    from gancli.precision import describe_memory, peak_memory
    from gancli.render.display import speed

    images = speed(settings.batch_size / seconds)
    where = f"{settings.device} {settings.precision}"
    print(f"step      {format_seconds(seconds)}, {images} on {where} ({how})")
    print(f"memory    {describe_memory(peak_memory(device))}", flush=True)


def print_forecast(
    trainer: Trainer,
    settings: TrainerConfig,
    folder: Path,
    *,
    seconds: float,
    tries: tuple[str, ...],
    most: bool,
) -> None:
    """Prints how long the whole run takes and how much of the disk.

    Args:
        trainer: After its steps; its state is saved to memory, to measure a checkpoint.
        settings: The section `trainer`.
        folder: Of the run, which need not be there yet.
        seconds: Of a step.
        tries: Overrides that would make a step quicker.
        most: Whether earlier steps of the run may take less.
    """
    import torch

    from gancli.render import messages
    from gancli.render import status as progress
    from gancli.render.display import LONG_S, too_long
    from gancli.render.status import duration

    progress.say("measuring: saving a checkpoint to memory…")
    buffer = io.BytesIO()
    torch.save(trainer.state_dict(), buffer)
    saves = -(-settings.steps // settings.save_every)
    files = min(settings.keep, saves) + 2  # the best, and the newest while it is written
    disk = files * buffer.getbuffer().nbytes
    free = shutil.disk_usage(find_existing(folder)).free
    whole = seconds * settings.steps
    print(
        f"forecast  {settings.steps:,} steps in {'at most ' * most}{duration(whole)}, "
        f"{disk / 1e6:.0f} MB of checkpoints ({free / 1e9:.0f} GB free)"
    )
    if whole >= LONG_S:
        print(f"          {too_long(seconds, tries)}")
    elif seconds >= SLOW_S:
        hour = max(1, int(3600 / seconds))
        advice = [*tries, f"trainer.steps={hour} (about an hour)"]
        print(f"          a step is slow here; try {', '.join(advice)}")
    if disk > free:
        messages.warn(
            "the disk has less room than that: lower trainer.keep, or choose another hydra.run.dir="
        )


@contextlib.contextmanager
def show_hint(tries: tuple[str, ...]) -> Iterator[None]:
    """Tells whoever waits long for the first step what would be quicker."""
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


def measure_steps(trainer: MeteredTrainer, *, period: int) -> tuple[float, str]:
    """Times a few steps.

    After one round to warm up, rounds are timed. Where that takes too long it stops in between,
    even after one step.

    Args:
        trainer: Before its first step.
        period: Steps from one update of the generator to the next.

    Returns:
        Seconds a step, and how they were measured.
    """
    from gancli.render import status as progress
    from gancli.run.bench import Stopwatch

    times: list[float] = []
    trainer.meter = watch = Stopwatch(trainer.device)
    total = (1 + TIMED_ROUNDS) * period
    progress.say("measuring: first step…")
    while not times or (len(times) < total and sum(times) < SLOW_S):
        started = time.perf_counter()
        trainer.step()
        # Waiting for the device after each quick step would slow it down.
        slow = not times or times[0] > 1
        trainer.read_flags(wait=slow or len(times) + 1 in (period, total))
        times.append(time.perf_counter() - started)
        if len(times) == period:
            trainer.meter = None  # it waits for the device at every border
        progress.say(f"measuring: {len(times)} of {total} steps…", goes_on=True)
    trainer.meter = watch
    if len(times) == total:
        return sum(times[period:]) / (total - period), f"mean of {TIMED_ROUNDS} rounds of {period}"
    if len(times) == 1:
        return times[0], "the first step alone; not measured further, it takes too long"
    timed = times[1:]  # the first one warms libraries up
    how = f"mean of {len(timed)} steps after the first; not measured further, it takes too long"
    return sum(timed) / len(timed), how


def format_seconds(seconds: float) -> str:
    """Writes a time in milliseconds, or in seconds where it is long."""
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def find_existing(path: Path) -> Path:
    """Returns the nearest folder above that exists."""
    path = path.absolute()
    return path if path.exists() else find_existing(path.parent)
