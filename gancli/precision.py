"""Which device, number format and memory layout a run uses, decided once and by static rules."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from gancli.errors import UserError
from gancli.game import Game
from gancli.machine import count_cores, measure_load

G = TypeVar("G", bound=Game)
BUSY = 1.0  # cores that other programs use, from which threads wait for each other


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


@contextlib.contextmanager
def use_threads(count: int | str) -> Iterator[None]:
    """Sets how many threads compute on a CPU, and puts their number back at the end.

    Args:
        count: 1 or more; "auto" leaves what OpenMP has chosen: OMP_NUM_THREADS, else one a core.
    """
    before = torch.get_num_threads()
    if isinstance(count, int):
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def describe_threads(count: int | str) -> str:
    """Says where threads of a CPU would wait for cores, and what to type; "" where all is well.

    Args:
        count: As in `use_threads`, which has set it.
    """
    cores = count_cores()
    threads = torch.get_num_threads()
    if isinstance(count, int):
        if count <= cores:
            return ""
        return (
            f"trainer.threads={count}, but this process may use {cores} cores: threads wait for "
            "each other"
        )
    load = measure_load()
    if threads == 1 or load < BUSY or load + threads < cores + BUSY:
        return ""
    return (
        f"other programs keep about {load:.0f} of {cores} cores busy, and each step waits for the "
        f"slowest of {threads} threads; trainer.threads={max(1, cores - round(load))} may be "
        "faster, and ends in other bits"
    )


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Makes the context in which losses are computed.

    bf16 needs no loss scaling: its exponent is fp32's.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def memory_format(device: torch.device, precision: str, game: Game) -> torch.memory_format:
    """Returns the layout of 4-d tensors: channels_last where convolutions are quicker in it.

    That is on GPUs, for bf16 on CPUs, and for fp32 on CPUs where images are made of noise (measured
    on one thread: 1.0 to 1.2 times as quick). Networks that translate are slower in it there (0.84
    to 0.86 for CycleGAN and pix2pix), by their paddings and concatenated maps.

    It follows a rule and no measurement: another layout adds in another order, and resume would not
    be exact.
    """
    pays = device.type == "cuda" or (
        device.type == "cpu" and (precision == "bf16" or not game.directions)
    )
    return torch.channels_last if pays else torch.contiguous_format


def layout_of_run(
    tree: Mapping[str, Any], device: torch.device, precision: str
) -> torch.memory_format | None:
    """Returns the layout in which a run has trained, whatever the rule says by now.

    Args:
        tree: Its checkpoint.
        device: On which it goes on.
        precision: In which it goes on.

    Returns:
        None where it goes on on another device or in another precision, so that the rule decides.
    """
    run = tree["run"]
    if run["device"] != device.type or tree["config"]["trainer"]["precision"] != precision:
        return None
    for layout in (torch.channels_last, torch.contiguous_format):
        if run.get("layout") == name_layout(layout):
            return layout
    # The rule before checkpoints noted it.
    pays = device.type == "cuda" or (device.type == "cpu" and precision == "bf16")
    return torch.channels_last if pays else torch.contiguous_format


def name_layout(layout: torch.memory_format) -> str:
    """Names a layout: channels_last or contiguous."""
    return str(layout).removeprefix("torch.").removesuffix("_format")


def place(
    game: G, device: torch.device, precision: str, *, layout: torch.memory_format | None = None
) -> G:
    """Moves a game to its device and layout.

    Args:
        game: To be moved.
        device: Where to.
        precision: Of the run.
        layout: None: as `memory_format` says.
    """
    if device.type == "cuda":
        # resume is exact
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    if layout is None:
        layout = memory_format(device, precision, game)
    return game.to(device=device).to(memory_format=layout)


def free_memory(device: str) -> int | None:
    """Returns the bytes that a device can still give, swap included; None where it is not known."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[1]  # all of it: what is in use may be ours
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        return sizes["MemAvailable"] + sizes["SwapFree"]
    except (OSError, ValueError, KeyError, IndexError):
        return None


def peak_memory(device: torch.device) -> int | None:
    """Returns the most bytes that were in use: of the GPU's allocator, or of this process.

    None where the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    # Bytes on macOS, KiB on Linux.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def describe_memory(peak: int | None) -> str:
    """Says how many bytes were in use at most, as `peak_memory` returns them."""
    return "not known on this system" if peak is None else f"{peak / 1e9:.2f} GB at most"
