"""Which device, number format and memory layout a run uses, decided once and by static rules."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from gancli.errors import UserError

M = TypeVar("M", bound=nn.Module)


def resolve_device(name: str) -> torch.device:
    """Returns the device that a name means; under torchrun the GPU of this rank.

    Args:
        name: auto, cpu, cuda or mps.

    Raises:
        UserError: The device is not there.
    """
    if name == "auto":
        name = (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "trainer.device=cuda, but PyTorch sees no GPU",
            f"check the driver (torch {torch.__version__} was built for CUDA "
            f"{torch.version.cuda}), or use trainer.device=cpu",
        )
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError(
            "trainer.device=mps, but PyTorch sees no Apple GPU", "use trainer.device=cpu"
        )
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> str:
    """Returns fp32 or bf16; auto is bf16 where the device multiplies it natively."""
    if name != "auto":
        return name
    if device.type == "cuda":
        # Ampere, the first with bf16 units; before it bf16 is computed by fp32's.
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    if device.type == "cpu":
        # Without these instructions bf16 is emulated, and slower than fp32.
        can = torch.cpu.get_capabilities()
        return "bf16" if can.get("amx_bf16") or can.get("avx512_bf16") else "fp32"
    return "fp32"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Makes the context in which losses are computed.

    bf16 needs no loss scaling: its exponent is fp32's.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def memory_format(device: torch.device, precision: str) -> torch.memory_format:
    """Returns the layout of 4-d tensors: channels_last on GPUs, and for bf16 on CPUs.

    It follows a rule and no measurement: another layout adds in another order, and resume would not
    be exact.
    """
    pays = device.type == "cuda" or (device.type == "cpu" and precision == "bf16")
    return torch.channels_last if pays else torch.contiguous_format


def place(game: M, device: torch.device, precision: str) -> M:
    """Moves a game to its device and layout."""
    if device.type == "cuda":
        # resume is exact
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return game.to(device=device).to(memory_format=memory_format(device, precision))


def free_memory(device: str) -> int | None:
    """Returns the bytes that a device can still give, swap included; None where it is not known."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[1]  # all of it: what is in use may be ours
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        return sizes["MemAvailable"] + sizes["SwapFree"]
    except (OSError, ValueError, KeyError, IndexError):
        return None


def peak_memory(device: torch.device) -> int:
    """Returns the most bytes that were in use: of the GPU's allocator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Bytes on macOS, KiB on Linux.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
