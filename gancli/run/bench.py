"""Measuring a step of training: time and operations of each part, and other loops beside it."""

from __future__ import annotations

import math
import os
import platform
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gancli import checkpoint
from gancli.config.run_config import RunConfig
from gancli.game import Batch, Game, Logs, Phase
from gancli.losses.penalties import Penalty
from gancli.machine import count_cores, describe_waiting, measure_load, read_load
from gancli.precision import name_layout
from gancli.render import status
from gancli.trainer import Flags, Trainer

ROUNDS = 15  # of the engine alone, and of each side of a comparison
LEAST_ROUNDS = 3
ROUND_S = 0.2  # a round of quick steps takes this long
LONG_S = 15.0  # after so many seconds no further round begins
DRAW = "draw"
EMA = "ema"
OTHER = "other"  # of a step: flags, the clock, the curriculum


class Meter(Protocol):
    """Sees where a part of a step begins and ends."""

    def begin(self, part: str) -> None:
        """Begins a part; a part that is open is interrupted."""

    def end(self) -> None:
        """Ends the part that began last; the one that it interrupted goes on."""


class MeteredTrainer(Trainer):
    """The engine with a meter at its own parts; without a meter a step is the engine's."""

    meter: Meter | None = None

    def step(self) -> None:
        """Plays a step as the engine does; what belongs to no other part is `other`."""
        with self.measure(OTHER):
            super().step()

    def draw_batch(self, *, salt: str = "") -> Batch:
        """Draws as the engine does."""
        with self.measure(DRAW):
            return super().draw_batch(salt=salt)

    def play(self, phase: Phase, batch: Batch) -> tuple[Logs, Flags]:
        """Plays a phase as the engine does."""
        with self.measure(phase.name):
            return super().play(phase, batch)

    def move_average(self) -> None:
        """Moves the EMA as the engine does."""
        with self.measure(EMA):
            super().move_average()

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Tells the meter of a part of a step."""
        if self.meter is None:
            yield
            return
        self.meter.begin(part)
        try:
            yield
        finally:
            self.meter.end()

    def draw_ahead(self, n: int) -> list[Batch]:
        """Draws the batches of the next n steps; the clock stays where it is."""
        nimg = self.progress.nimg
        batches = []
        for k in range(n):
            self.progress.nimg = nimg + k * self.settings.batch_size
            batches.append(self.draw_batch())
        self.progress.nimg = nimg
        return batches

    def play_measured(self, meter: Meter, steps: int) -> None:
        """Plays steps with a meter."""
        self.meter = meter
        try:
            for _ in range(steps):
                self.step()
        finally:
            self.meter = None
        self.read_flags(wait=True)


class Stopwatch:
    """A meter of time; at each border it waits for the device.

    Args:
        device: Where the work is done.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.calls: dict[str, list[float]] = {}  # seconds of each call by part
        self.open: list[tuple[str, float]] = []  # parts, and the seconds that each has had
        self.since = 0.0

    def begin(self, part: str) -> None:
        """Begins a part as `Meter.begin`, in seconds."""
        self.pass_time()
        self.open.append((part, 0.0))

    def end(self) -> None:
        """Ends a part as `Meter.end`, in seconds."""
        self.pass_time()
        part, seconds = self.open.pop()
        self.calls.setdefault(part, []).append(seconds)

    def pass_time(self) -> None:
        """Adds the time since the last border to the part that is open."""
        wait_for(self.device)
        now = time.perf_counter()
        if self.open:
            part, seconds = self.open[-1]
            self.open[-1] = (part, seconds + now - self.since)
        self.since = now


class OperationCounter(TorchDispatchMode):
    """A meter of what torch dispatches: operations, and the arithmetic of its products.

    The counts have no noise. A fused optimizer is one operation for all its tensors; views count
    too, since each costs its time on the host.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.flops: Counter[str] = Counter()  # of matrix products and convolutions alone
        self.open = [OTHER]

    def begin(self, part: str) -> None:
        """Begins a part as `Meter.begin`, in operations."""
        self.open.append(part)

    def end(self) -> None:
        """Ends a part as `Meter.end`, in operations."""
        self.open.pop()

    def __torch_dispatch__(
        self,
        func: Any,  # torch's own signature: an operator, which has no public type
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Does the operation, and counts it."""
        named = kwargs or {}
        out = func(*args, **named)
        part = self.open[-1]
        self.operations[part] += 1
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.flops[part] += count(*args, **named, out_val=out)
        return out


@dataclass
class PartFigures:
    """What one part of a step costs.

    Attributes:
        ms: Milliseconds of a call, the median.
        calls_per_step: Calls in a step, on average.
        operations: Dispatched operations of a call, on average; None where they are not counted.
    """

    ms: float
    calls_per_step: float
    operations: float | None = None


@dataclass
class StepFigures:
    """What a step costs.

    Attributes:
        ms: Milliseconds of a step, the median of the rounds.
        operations: Dispatched operations of a step.
        gflop: Of its matrix products and convolutions, in 1e9.
        parts: Its parts by name, and `log` and `save`, which are due more rarely.
        rounds: How many rounds were timed.
        steps: Steps of a round.
        period: Steps after which everything that is due now has been due.
        at: The step of a run at which it was measured.
        late: Where phases begin that were not due there, by name.
        memory_bytes: The most that was in use; None where the system does not say.
    """

    ms: float
    operations: float
    gflop: float
    rounds: int
    steps: int
    period: int
    at: int
    late: dict[str, int] = field(default_factory=dict)
    memory_bytes: int | None = None
    parts: dict[str, PartFigures] = field(default_factory=dict)


def measure_step(trainer: MeteredTrainer) -> StepFigures:
    """Measures the parts of a step in rounds, after one round to warm up.

    Rounds without a meter, which give the time of a step, and rounds with one alternate.

    Args:
        trainer: Before its first step, or after any whole number of periods.
    """
    at = trainer.progress.step
    period = find_period(trainer)
    status.say("measuring: warming up…")
    started = time.perf_counter()
    play_steps(trainer, period)
    status.say("measuring: counting operations…", goes_on=True)
    counter = OperationCounter()
    move_clock(trainer.game, trainer.config, at)
    with counter:
        trainer.play_measured(counter, period)
    move_clock(trainer.game, trainer.config, at)
    seconds = time_steps(trainer, period) / period
    # Whole periods: a rare phase then weighs in each round as in a run.
    steps = period * max(1, math.ceil(ROUND_S / (period * seconds)))
    stopwatch = Stopwatch(trainer.device)
    times: list[float] = []
    while len(times) < LEAST_ROUNDS or (
        len(times) < ROUNDS and time.perf_counter() - started < LONG_S
    ):
        status.say(f"measuring: round {len(times) + 1} of {ROUNDS} at most…", goes_on=True)
        move_clock(trainer.game, trainer.config, at)
        times.append(time_steps(trainer, steps) / steps)
        move_clock(trainer.game, trainer.config, at)
        trainer.play_measured(stopwatch, steps)
    metered = len(times) * steps
    figures = StepFigures(
        # The median: one round in which the machine did something else does not count.
        ms=1000 * statistics.median(times),
        operations=counter.operations.total() / period,
        gflop=counter.flops.total() / period / 1e9,
        rounds=len(times),
        steps=steps,
        period=period,
        at=at,
        late={phase.name: phase.start for phase in trainer.phases if phase.start > at},
    )
    for part in sorted(stopwatch.calls, key=lambda name: name == OTHER):
        calls = stopwatch.calls[part]
        often = len(calls) / metered
        figures.parts[part] = PartFigures(
            ms=1000 * statistics.median(calls),
            calls_per_step=often,
            operations=counter.operations[part] / (often * period),
        )
    figures.parts |= measure_rare(trainer)
    return figures


def measure_rare(trainer: Trainer) -> dict[str, PartFigures]:
    """Measures what is not part of every step: reading the logs, and writing a checkpoint."""
    status.say("measuring: log and save…", goes_on=True)
    logs = []
    saves = []
    with tempfile.TemporaryDirectory(prefix="gan-bench-") as folder:
        for _ in range(LEAST_ROUNDS):
            wait_for(trainer.device)
            started = time.perf_counter()
            trainer.read_logs()
            between = time.perf_counter()
            checkpoint.save(trainer.state_dict(), Path(folder), keep=1)
            logs.append(between - started)
            saves.append(time.perf_counter() - between)
    log_every = trainer.config.log.every
    save_every = trainer.settings.save_every
    return {
        "log": PartFigures(1000 * statistics.median(logs), 1 / log_every),
        "save": PartFigures(1000 * statistics.median(saves), 1 / save_every),
    }


def set_clock(game: Game, config: RunConfig, *, at: int | None = None) -> int:
    """Moves the clock of a new game to where a run shall be measured.

    Losses that begin late and networks that grow make the first steps of a run unlike its last
    ones, which cost most time and memory.

    Args:
        game: Before its first step.
        config: Of the run, its budget in steps.
        at: The step; None takes the run's last one where that is unlike the first, else the first.

    Returns:
        The step.
    """
    if at is not None:
        move_clock(game, config, at)
        return at
    last = max(0, config.trainer.steps - 1)
    move_clock(game, config, 0)
    grows = move_clock(game, config, last)
    if grows or list_intervals(game, 0) != list_intervals(game, last):
        return last
    move_clock(game, config, 0)
    return 0


def move_clock(game: Game, config: RunConfig, step: int) -> bool:
    """Sets the clock of a game; True where its networks are others there.

    Before each round, or rounds would be of different parts of a run.
    """
    game.progress.step = step
    game.progress.nimg = step * config.trainer.batch_size
    return game.advance(game.progress)


def list_intervals(game: Game, step: int) -> dict[str, int]:
    """Lists phases and penalties that have begun by a step, and not ended, with their `every`."""
    phases = {
        phase.name: phase.every
        for phase in game.phases()
        if phase.start <= step and (phase.stop is None or step < phase.stop)
    }
    return phases | {
        name: part.every
        for name, part in game.named_modules()
        if isinstance(part, Penalty) and part.start <= step
    }


def find_period(trainer: Trainer) -> int:
    """Finds after how many steps all that has begun by now has been due."""
    return math.lcm(*list_intervals(trainer.game, trainer.progress.step).values())


def move_to_fullest(trainer: Trainer, period: int) -> None:
    """Moves the clock on to the next step at which all that has begun is due at once.

    Args:
        trainer: Anywhere in its run.
        period: As `find_period` gives it.
    """
    step = trainer.progress.step
    move_clock(trainer.game, trainer.config, step + period - 1 - step % period)


def play_steps(trainer: Trainer, steps: int) -> None:
    """Plays steps as a run does, and waits for the last one."""
    for _ in range(steps):
        trainer.step()
        trainer.read_flags(wait=False)
    trainer.read_flags(wait=True)


def time_steps(trainer: Trainer, steps: int) -> float:
    """Returns the seconds of so many steps."""
    return time_work(lambda: play_steps(trainer, steps), trainer.device)


def time_work(work: Callable[[], object], device: torch.device) -> float:
    """Returns the seconds that work() takes, with all that it leaves the device to do."""
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - started


def wait_for(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class Peer(Protocol):
    """Another loop that trains the same networks."""

    name: str
    equal: tuple[str, ...]  # what it has in common with the engine
    differs: tuple[str, ...]

    @property
    def game(self) -> Game:
        """The game that it trains."""

    def step(self) -> object:
        """Plays one real batch."""


@dataclass(frozen=True)
class Comparison:
    """The engine beside another loop, in turns.

    Attributes:
        peer: The name of the other loop.
        gancli_ms: Milliseconds of the engine's step, the median of the rounds.
        peer_ms: Of the other loop's step.
        speedup: The other's time over the engine's, the median over pairs of rounds; higher is
            better for the engine.
        rounds: Pairs of rounds.
        steps: Steps of a round.
        equal: What both have in common.
        differs: What they do not.
    """

    peer: str
    gancli_ms: float
    peer_ms: float
    speedup: float
    rounds: int
    steps: int
    equal: tuple[str, ...]
    differs: tuple[str, ...]


def compare_loops(trainer: Trainer, peer: Peer, *, at: int, period: int, steps: int) -> Comparison:
    """Times the engine and another loop in short rounds that alternate.

    Args:
        trainer: Warmed up.
        peer: Before its first step.
        at: The step of a run that both are at, as each round begins.
        period: Steps to warm it up.
        steps: Of a round, a multiple of `period`.
    """

    def play_peer(n: int) -> None:
        for _ in range(n):
            peer.step()

    device = trainer.device
    status.say(f"measuring: {peer.name}…")
    time_work(lambda: play_peer(period), device)
    started = time.perf_counter()
    ours: list[float] = []
    theirs: list[float] = []
    while len(ours) < LEAST_ROUNDS or (
        len(ours) < ROUNDS and time.perf_counter() - started < 2 * LONG_S
    ):
        status.say(f"measuring: {peer.name}, round {len(ours) + 1}…", goes_on=True)
        move_clock(trainer.game, trainer.config, at)
        move_clock(peer.game, trainer.config, at)
        first = len(ours) % 2 == 0  # who comes first changes, or a rhythm of the machine would tell
        if first:
            ours.append(time_steps(trainer, steps) / steps)
        theirs.append(time_work(lambda: play_peer(steps), device) / steps)
        if not first:
            ours.append(time_steps(trainer, steps) / steps)
    # Pair by pair: what slows the machine for a while slows both of a pair.
    ratios = [other / own for own, other in zip(ours, theirs, strict=True)]
    return Comparison(
        peer=peer.name,
        gancli_ms=1000 * statistics.median(ours),
        peer_ms=1000 * statistics.median(theirs),
        speedup=statistics.median(ratios),
        rounds=len(ours),
        steps=steps,
        equal=peer.equal,
        differs=peer.differs,
    )


def measure_roofline(device: torch.device, precision: str) -> float:
    """Measures the most products that the device makes a second, in 1e9 operations.

    Args:
        device: Of the run.
        precision: fp32 or bf16.

    Returns:
        The best of several square matrix products.
    """
    size = 1024 if device.type == "cpu" else 4096
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.ones(size, size, device=device, dtype=dtype)
    with torch.no_grad():
        # The best and not the median: of a bound, noise can only take away.
        best = min(time_work(lambda: a @ a, device) for _ in range(6))
    return float(2 * size**3 / best / 1e9)


def describe_surroundings(trainer: Trainer) -> dict[str, Any]:
    """Returns what the figures depend on beside the config."""
    device = trainer.device
    return {
        "processor": name_processor(device),
        "cores": count_cores(),
        "threads": torch.get_num_threads(),
        "wait_policy": describe_waiting(os.environ),
        "device": device.type,
        "precision": trainer.settings.precision,
        "layout": name_layout(trainer.layout),
        "compile": trainer.settings.compile,
        "torch": str(torch.__version__),
        # The mean of a minute counts this program's own threads, too.
        "load": round(read_load(), 2),
        "others": round(measure_load(), 2),
    }


def describe_processor(device: torch.device) -> str:
    """Returns the name of what computes; of a CPU also which instructions torch uses at most."""
    name = name_processor(device)
    if device.type != "cpu":
        return name
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def name_processor(device: torch.device) -> str:
    """Returns the name of what computes."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
