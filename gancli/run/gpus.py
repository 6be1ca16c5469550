"""One GPU for each process of a sweep that runs several jobs side by side on this computer."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from gancli.files import lock

VARIABLE = "CUDA_VISIBLE_DEVICES"
WORKER = "LokyProcess"  # as joblib names its processes; other launchers choose a GPU themselves
_held: list[IO[str]] = []  # the lock of this process's GPU: it ends with the process


def list_gpus(visible: str | None, count: int) -> list[str]:
    """Lists the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Args:
        visible: The variable's value; None where it is not set.
        count: GPUs of the computer.
    """
    if visible is None:
        return [str(number) for number in range(count)]
    return [name.strip() for name in visible.split(",") if name.strip()]


def choose_gpu(gpus: Sequence[str], *, job: int, claim: Callable[[str], bool]) -> str | None:
    """Chooses the first GPU that nobody else has claimed; with more processes than GPUs, shares.

    Args:
        gpus: Of `list_gpus`.
        job: The job's number, which spreads those that must share.
        claim: Claims one for this process; False where another has it.

    Returns:
        Its name; None where there is nothing to choose.
    """
    if len(gpus) < 2:
        return None
    return next((gpu for gpu in gpus if claim(gpu)), gpus[job % len(gpus)])


def claim_gpu(gpu: str) -> bool:
    """Claims a GPU of this computer until the process ends, by a lock of this user's."""
    user = str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    name = "".join(letter if letter.isalnum() else "-" for letter in gpu)
    path = Path(tempfile.gettempdir()) / f"gancli-gpu-{user}-{name}.lock"
    with suppress(OSError):
        file = open(path, "a+")  # noqa: SIM115 - held as long as the process lives
        try:
            lock.take(file)
        except BlockingIOError:
            file.close()
            return False
        _held.append(file)
    return True


def place_job(job: int) -> None:
    """Gives a process that joblib has started a GPU of its own; elsewhere it does nothing.

    Args:
        job: The number of the process's job; a later one of the same process keeps the GPU.
    """
    if _held or not multiprocessing.current_process().name.startswith(WORKER):
        return
    import torch

    gpus = list_gpus(os.environ.get(VARIABLE), torch.cuda.device_count())
    gpu = choose_gpu(gpus, job=job, claim=claim_gpu)
    if gpu is not None:
        os.environ[VARIABLE] = gpu  # before anything uses CUDA, which then knows this one alone
