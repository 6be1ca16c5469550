"""Several ranks under torchrun: every gradient of a phase travels in one flat sum."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def launched_world() -> int:
    """Ranks that torchrun started, known before the process group is."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched_rank() -> int:
    """This process's rank, known before the process group is."""
    return int(os.environ.get("RANK", "0"))


def start(device: torch.device) -> torch.device:
    """Joins the process group if torchrun started us. -> this rank's device"""
    if launched_world() == 1:
        return device
    local = int(os.environ["LOCAL_RANK"])
    if device.type == "cuda":
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def from_rank_0(value: object) -> object:
    """Rank 0's value on every rank: the run folder has one name."""
    if world() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def rank_0_first(work: Callable[[], Any]) -> Any:
    """work() on rank 0, then on the others. -> each rank's own result"""
    if world() == 1:
        return work()
    if rank() != 0:
        dist.barrier()
        return work()
    result = work()  # if it raises, torchrun ends the ranks that wait
    dist.barrier()
    return result


def gather(value: object) -> list:
    """Every rank's value, in order. All ranks must call it."""
    if world() == 1:
        return [value]
    values = [None] * world()
    dist.all_gather_object(values, value)
    return values


def broadcast_state(*modules: nn.Module) -> None:
    """Everyone starts from rank 0's weights."""
    if world() > 1:
        for module in modules:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)


@torch.no_grad()
def average(parameters: list[nn.Parameter], values: Tensor, *, shards: int) -> Tensor:
    """Turns sums over micro-batches into means over all shards, gradients in place. -> the values' means

    values: (K,) float32, whatever else must be agreed on (logs, flags)."""
    if world() > 1:
        values = reduce_flat(parameters, values)
    for p in parameters:
        if p.grad is not None:
            p.grad /= shards  # after the sum: dividing each micro-batch's loss rounds differently
    return values / shards


def reduce_flat(parameters: list[nn.Parameter], values: Tensor) -> Tensor:
    # Zeros only for the sum: where no rank had a gradient None returns, or Adam would move a resting parameter.
    missing = [p.grad is None for p in parameters]
    found = torch.tensor([float(not m) for m in missing], device=values.device)
    pieces = [
        torch.zeros_like(p) if m else p.grad for p, m in zip(parameters, missing, strict=True)
    ] + [found, values]
    flat = torch.cat([piece.flatten() for piece in pieces])
    dist.all_reduce(flat)
    *grads, found, values = flat.split([piece.numel() for piece in pieces])
    # Reading counts makes a GPU wait; only a rank that lacks a gradient needs to know what the others had.
    counts = found.tolist() if any(missing) else [1.0] * len(parameters)
    for p, grad, count in zip(parameters, grads, counts, strict=True):
        p.grad = grad.view_as(p) if count else None
    return values
