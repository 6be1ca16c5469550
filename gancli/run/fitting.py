"""How large a batch memory has room for: tried on a GPU, reckoned from two sizes on a CPU."""

from __future__ import annotations

import dataclasses
import gc
import time
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gancli.config.run_config import RunConfig
from gancli.data.base import Decoded
from gancli.data.cache import available_memory, gigabytes
from gancli.render import status
from gancli.run.bench import move_to_fullest
from gancli.run.plan import make_stream
from gancli.trainer import Trainer

DOUBLINGS = 6  # a batch 64 times as large as the one that is typed is not asked for
LONG_S = 5.0  # what would take longer is not tried
SHARE = 0.9  # of the free memory; the rest is for what no trial has seen


def describe_largest(
    trainer: Trainer, train: Decoded, config: RunConfig, *, seconds: float, period: int
) -> str:
    """Says in a line how many images a batch can have, and how that was found.

    The trainer goes on with other batches meanwhile, so it is of no use afterwards.

    Args:
        trainer: After its first steps.
        train: What it trains on.
        config: Of the run.
        seconds: Of a step with the batch of the config.
        period: Steps after which every phase has been played.
    """
    size = config.trainer.batch_size
    if 3 * seconds > LONG_S:
        return f"not tried beyond {size:,}: a step takes too long"
    if trainer.device.type == "cuda":
        return try_sizes(trainer, train, config, seconds=seconds, period=period)
    if trainer.device.type == "cpu":
        return reckon_from_two(trainer, train, config, period=period)
    return f"not tried beyond {size:,}: {trainer.device.type} does not tell its memory"


def try_sizes(
    trainer: Trainer, train: Decoded, config: RunConfig, *, seconds: float, period: int
) -> str:
    """Doubles the batch until memory is full, for some seconds at most."""
    size = config.trainer.batch_size
    started = time.perf_counter()
    fits = size
    for _ in range(DOUBLINGS):
        tried = 2 * fits
        if time.perf_counter() - started + seconds * tried / size > LONG_S:
            break
        status.say(f"measuring: a batch of {tried:,}…", goes_on=True)
        try:
            play_with(trainer, train, config, size=tried, period=period)
        except torch.OutOfMemoryError:
            free_all(trainer)
            return f"{fits:,} fit, {tried:,} do not (tried, in steps of 2)"
        fits = tried
    return f"{fits:,} fit; more was not tried"


def reckon_from_two(trainer: Trainer, train: Decoded, config: RunConfig, *, period: int) -> str:
    """Measures what an image more takes, and divides the free memory by it."""
    size = config.trainer.batch_size
    peaks = []
    weights = {weight.shape for weight in trainer.game.parameters()}
    for tried in (size, 2 * size):
        status.say(f"measuring: memory of a batch of {tried:,}…", goes_on=True)
        free_all(trainer)
        with LiveTensors(weights) as tensors:
            play_with(trainer, train, config, size=tried, period=period)
        peaks.append(tensors.peak)
    free = available_memory()
    each = (peaks[1] - peaks[0]) / size
    if free is None:
        return f"{2 * size:,} fit; the system does not tell how much memory is free"
    if each <= 0:
        return f"{2 * size:,} fit, and take no more memory than {size:,}"
    # What the first steps took has been freed, or is not counted as free.
    most = size + int(SHARE * free / each)
    n = trainer.stream.n
    fit = f"about {int(float(f'{most:.2g}')):,} fit" if most < n else f"all {n:,} of the data fit"
    return (
        f"{fit}: {gigabytes(int(each))} each, reckoned from steps with {size:,} and "
        f"{2 * size:,}; {gigabytes(free)} are free"
    )


def play_with(
    trainer: Trainer, train: Decoded, config: RunConfig, *, size: int, period: int
) -> None:
    """Plays a step at which every phase is due, with a batch of another size."""
    settings = dataclasses.replace(config.trainer, batch_size=size)
    other = dataclasses.replace(config, trainer=settings)
    trainer.settings = settings
    trainer.stream = make_stream(other, train, trainer.device)
    move_to_fullest(trainer, period)
    trainer.step()
    trainer.read_flags(wait=True)


def free_all(trainer: Trainer) -> None:
    """Frees what steps have left behind: gradients, and the allocator's reserve."""
    trainer.game.zero_grad(set_to_none=True)
    gc.collect()
    if trainer.device.type == "cuda":
        torch.cuda.empty_cache()


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of all tensors that are made meanwhile and still live, and their peak.

    What the system says of a process's memory is no measure: the allocator keeps what was freed.
    Tensors of a weight's shape are left out. They are gradients and casts, which do not grow with
    the batch, and of large networks they would hide what does.

    Args:
        weights: Shapes of the weights.
    """

    def __init__(self, weights: set[torch.Size]) -> None:
        super().__init__()
        self.weights = weights
        self.live = 0
        self.peak = 0
        self.seen: dict[int, weakref.finalize[..., Any]] = {}

    def __torch_dispatch__(
        self,
        func: Any,  # torch's own signature: an operator, which has no public type
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Does the operation, and counts the memory of what it gives."""
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor) and value.shape not in self.weights:
                self.note(value.untyped_storage())
        return out

    def note(self, storage: torch.UntypedStorage) -> None:
        """Counts a piece of memory once, until it is freed."""
        key = id(storage)
        if key in self.seen:
            return
        size = storage.nbytes()
        self.seen[key] = weakref.finalize(storage, self.forget, key, size)
        self.live += size
        self.peak = max(self.peak, self.live)

    def forget(self, key: int, size: int) -> None:
        """Takes a piece of memory out of the count."""
        self.seen.pop(key, None)
        self.live -= size
