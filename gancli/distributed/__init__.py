"""Several ranks under torchrun: every gradient of a phase travels in one flat sum."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gancli.distributed.pulse import Pulse, share_store
from gancli.errors import Elsewhere, GanError, Interrupted, Problems, RankLost, Stopped, UserError

T = TypeVar("T")
# Seconds, in the environment: it belongs to a machine, not to a run.
TIMEOUT = "GANCLI_RANK_TIMEOUT"
DEFAULT_TIMEOUT_S = 1800.0  # rank 0 alone may decode the data, or measure, for long
log = logging.getLogger("gancli")
_pulse: Pulse | None = None  # of this process's group


def rank() -> int:
    """Returns the number of this process, 0 without torchrun."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Returns the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def launched_world() -> int:
    """Returns the number of ranks that torchrun started, known before the process group is."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched_rank() -> int:
    """Returns this process's rank, known before the process group is."""
    return int(os.environ.get("RANK", "0"))


def is_launched() -> bool:
    """Says whether torchrun started this process."""
    return launched_world() > 1 or "TORCHELASTIC_RUN_ID" in os.environ


def timeout_s() -> float:
    """Returns how many seconds ranks wait for each other. Raises UserError."""
    text = os.environ.get(TIMEOUT, str(DEFAULT_TIMEOUT_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds < math.inf:
        raise UserError(f"{TIMEOUT}={text} does not fit", "give seconds, 1 or more")
    return seconds


def start() -> None:
    """Joins the process group if torchrun started several of us.

    This comes before the gates, so that ranks fail together.
    """
    global _pulse
    if launched_world() == 1 or dist.is_initialized():
        return
    wait = timeout_s()
    # Its functions have the group of the moment as a default argument. torch.optim imports it too,
    # and if that came after the group, they would keep the group and its threads alive for ever: a
    # thread that asks for the interpreter while it is taken down aborts a finished run.
    import torch.distributed.nn.functional

    # Objects travel by gloo also where gradients travel by NCCL, which is not set up before its
    # first use.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=wait))
    store = share_store(
        rank=rank(), world=world(), timeout_s=wait, from_rank_0=from_rank_0, gather=gather
    )
    if store is None:
        log.warning("no heartbeat: not all ranks reach rank 0 at %s", os.environ.get("MASTER_ADDR"))
        return
    pulse = Pulse(store, rank=rank(), world=world(), timeout_s=wait)
    pulse.say()
    gather(None)  # all have said their first word
    pulse.start()
    _pulse = pulse


def place_rank(device: torch.device) -> torch.device:
    """Returns this rank's device, which becomes CUDA's current one."""
    if launched_world() > 1 and device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    return device


def stop(*, failed: bool = False) -> None:
    """Leaves the process group.

    Args:
        failed: Others may not leave with us, and NCCL would wait for them.
    """
    global _pulse
    if _pulse is not None:
        _pulse.stop()
        _pulse = None
    if dist.is_initialized() and not (failed and torch.cuda.is_available()):
        dist.destroy_process_group()


def say_place(where: str) -> None:
    """Notes what this rank is doing, for messages about ranks that do not come."""
    if _pulse is not None:
        _pulse.doing = where


@contextlib.contextmanager
def meeting(what: str) -> Iterator[None]:
    """Surrounds whatever all ranks do together.

    Args:
        what: What this rank waits for, in words.

    Raises:
        RankLost: A rank has ended, or does not come in time.
    """
    begun = time.monotonic()
    if _pulse is not None:
        _pulse.waiting = True
    try:
        yield
    except RuntimeError as error:  # gloo's and NCCL's
        raise explain_loss(error, what, time.monotonic() - begun) from error
    if _pulse is not None:
        _pulse.waiting = False


def explain_loss(error: RuntimeError, what: str, seconds: float) -> RankLost:
    """Says what a process group's error means.

    The lost rank, if it could, has told its own error itself.

    Args:
        error: Of gloo or NCCL.
        what: What this rank has waited for.
        seconds: For how long.
    """
    where = _pulse.doing if _pulse is not None else "its work"
    late = "timed out" in str(error).lower() or "timeout" in str(error).lower()
    absent = _pulse.absent() if _pulse is not None else []
    if late and _pulse is not None and absent:
        missing = "; ".join(
            f"rank {other}, last at {_pulse.last_words(other)[1]}" for other in absent
        )
        lost = RankLost(
            f"rank {rank()} at {where} waited {seconds:.0f} s for {what}, and these did not come: "
            f"{missing}",
            f"if they only need longer, set {TIMEOUT}=SECONDS before torchrun",
        )
        lost.alone = _pulse.speaks(absent)
        return lost
    if late:
        lost = RankLost(
            f"rank {rank()} at {where} waited {seconds:.0f} s for {what}, and another rank did not "
            "come",
            f"if it only needs longer, set {TIMEOUT}=SECONDS before torchrun",
        )
        lost.alone = rank() == 1  # rank 0 tells it, or is the one that did not come
        return lost
    return RankLost(
        f"rank {rank()} at {where} waited for {what}, and another rank has ended",
        "its own error, if it could tell one, is above; torchrun says below how it ended",
    )


def from_rank_0(value: T) -> T:
    """Returns rank 0's value on every rank: the run folder has one name."""
    if world() == 1:
        return value
    box = [value]
    with meeting("word from rank 0"):
        dist.broadcast_object_list(box, src=0)
    return box[0]


def gather(value: T) -> list[T]:
    """Returns every rank's value, in order. All ranks must call it."""
    if world() == 1:
        return [value]
    values: list[T | None] = [None] * world()
    with meeting("word from every rank"):
        dist.all_gather_object(values, value)
    return cast(list[T], values)  # all have given theirs


def run_together(work: Callable[[], T]) -> T:
    """Runs work() on every rank; where it fails on one, all end.

    Each different error is told once.

    Args:
        work: Does nothing that all ranks must do together, or they would wait for the one that
            failed.

    Raises:
        Elsewhere: It failed on another rank.
    """
    if world() == 1:
        return work()
    failure: Exception | None = None
    result = None
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 - raised again below, when all ranks know
        failure = error
    told = gather(None if failure is None else f"{type(failure).__name__}: {failure}")
    own = told[rank()]
    if failure is None and not any(told):
        return cast(T, result)  # work() has returned, maybe None
    if failure is None or told.index(own) < rank():
        first = next(word for word in told if word)
        raise Elsewhere(first) from failure
    if isinstance(failure, GanError) and rank() != 0:
        speak_up(failure)
    raise failure


def speak_up(error: GanError) -> None:
    """Marks an error that rank 0 does not have, so that its own rank tells it."""
    error.alone = True
    error.args = (f"rank {rank()}: {error}",)
    error.message = f"rank {rank()}: {error.message}"
    if isinstance(error, Problems):
        error.problems = [(f"rank {rank()}: {message}", hint) for message, hint in error.problems]


@contextlib.contextmanager
def tell_own_failure() -> Iterator[None]:
    """Surrounds work in which one rank may fail while the others wait: then that rank tells why."""
    shared = (Elsewhere, RankLost, Interrupted, Stopped)  # met by all, or told by another
    try:
        yield
    except GanError as error:
        if rank() != 0 and not isinstance(error, shared):
            speak_up(error)
        raise


def run_rank_0_first(work: Callable[[], T]) -> T:
    """Runs work() on rank 0, then on the others.

    Returns:
        Each rank's own result.
    """
    if world() == 1:
        return work()
    result = run_together(lambda: work() if rank() == 0 else None)
    return run_together(lambda: cast(T, result) if rank() == 0 else work())


def agree(facts: dict[str, str]) -> None:
    """Compares facts between ranks.

    Args:
        facts: Name -> what this rank has.

    Raises:
        GanError: They differ; it says which, and is the same on all ranks.
    """
    told = gather(facts)
    names = {name: None for one in told for name in one}
    found = []
    for name in names:
        values = [one.get(name, "absent") for one in told]
        if len({*values}) > 1:
            other = next(k for k, value in enumerate(values) if value != values[0])
            found.append(f"{name} is {values[0]} on rank 0 and {values[other]} on rank {other}")
    if found:
        more = f", and {len(found) - 3} more" if len(found) > 3 else ""
        raise GanError(
            f"the ranks disagree: {'; '.join(found[:3])}{more}",
            "start all ranks with the same command line, code and data",
        )


def broadcast_state(*modules: nn.Module) -> None:
    """Gives every rank the weights of rank 0."""
    if world() > 1:
        with meeting("rank 0's weights"):
            for module in modules:
                # They share the module's storage: what is received is already in its place.
                for tensor in module.state_dict().values():
                    dist.broadcast(tensor, 0)


@torch.no_grad()
def average(
    parameters: list[nn.Parameter], values: dict[str, Tensor], *, shards: int
) -> dict[str, Tensor]:
    """Turns sums over micro-batches into means over all shards, gradients in place.

    Args:
        parameters: Those that move; every rank has the same, in the same order.
        values: 0-d, float32, whatever else must be agreed on (logs, flags); every rank has the
            same names in the same order.
        shards: Ranks times micro-batches.

    Returns:
        The means of the values.
    """
    flat = torch.stack(list(values.values()))
    if world() > 1:
        flat = reduce_flat(parameters, flat)
    if shards > 1:  # dividing by one is a pass over all gradients for nothing
        for p in parameters:
            if p.grad is not None:
                # After the sum: dividing each micro-batch's loss would round differently.
                p.grad /= shards
    return dict(zip(values, (flat / shards).unbind(), strict=True))


def reduce_flat(parameters: list[nn.Parameter], values: Tensor) -> Tensor:
    """Sums gradients and values over ranks, in one tensor that travels once."""
    # Zeros only for the sum: where no rank had a gradient None returns, or Adam would move a
    # parameter that no loss reached.
    missing = [p.grad is None for p in parameters]
    found = torch.tensor([float(not m) for m in missing], device=values.device)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    pieces = [*gradients, found, values]
    flat = torch.cat([piece.flatten() for piece in pieces])
    with meeting("the sum of the gradients"):
        # A sum and no mean: `average` divides once, by ranks and micro-batches together.
        dist.all_reduce(flat)
    *grads, found, values = flat.split([piece.numel() for piece in pieces])
    # Reading counts makes a GPU wait; only a rank that lacks a gradient needs to know what the
    # others had.
    counts = found.tolist() if any(missing) else [1.0] * len(parameters)
    for p, grad, count in zip(parameters, grads, counts, strict=True):
        p.grad = grad.view_as(p) if count else None
    return values
