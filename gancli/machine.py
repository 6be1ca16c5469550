"""What this machine has to give: its cores, and who else uses them. Nothing here imports torch."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path

LOADS = Path("/proc/loadavg")
OWN_THREADS = Path("/proc/self/task")
PROCESSOR = Path("/proc/cpuinfo")
SPIN = "GOMP_SPINCOUNT"
# How often a waiting thread looks before it sleeps, where the machine is quiet: some 50
# microseconds, as long as the smaller operations of a step. docs/benchmarks.md has the figures.
TURNS = 3000
LOOKS = 5  # at whether another program is running
BETWEEN_LOOKS_S = 0.01


def count_cores() -> int:
    """Returns how many cores this process may use."""
    # macOS has no affinity.
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def wait_briefly(environ: MutableMapping[str, str]) -> None:
    """Lets threads look for work for a moment before they sleep, if no other program is running.

    To wake a thread takes as long as a small operation computes. On a quiet machine small networks
    gain by looking; where other programs want the cores, looking takes them from one's own threads.
    OpenMP reads the variable when torch is first imported, so that this must come before. The bits
    of a run do not depend on it.

    Args:
        environ: The process's variables. What a user has set stays, and torchrun's ranks, which run
            beside each other, sleep at once.
    """
    asked = environ.get("OMP_WAIT_POLICY") != "passive" or SPIN in environ
    if not asked and "torch" not in sys.modules and "RANK" not in environ and is_quiet():
        environ[SPIN] = str(TURNS)


def is_quiet() -> bool:
    """Says whether no other program wants a core; False where that is not known."""
    for look in range(LOOKS):
        if look:
            time.sleep(BETWEEN_LOOKS_S)
        running = count_running()
        # NumPy's threads are this program's, and turn for a moment after they were made
        if running is None or running > count_own_running():
            return False
    return True


def describe_waiting(environ: Mapping[str, str]) -> str:
    """Says how threads wait for work, such as "passive after 3000 turns"."""
    policy = environ.get("OMP_WAIT_POLICY", "default").lower()
    return f"{policy} after {environ[SPIN]} turns" if environ.get(SPIN) else policy


def read_load() -> float:
    """Returns how many programs wanted a core in the last minute; 0 where that is not known."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):  # Windows does not say
        return 0.0


def measure_load() -> float:
    """Measures how many cores other programs use, at the start of a run.

    The mean of the last minute also counts what has just ended, and what runs at this moment may be
    gone in the next: it is the smaller of both.
    """
    load = read_load()
    running = count_running()
    return load if running is None else min(load, running - 1.0)  # one is this process


def count_running() -> int | None:
    """Counts the threads of all programs that want a core at this moment; None where not known."""
    try:
        return int(LOADS.read_text(encoding="utf-8").split()[3].split("/")[0])
    except (OSError, ValueError, IndexError):
        return None


def count_own_running() -> int:
    """Counts this process's threads that want a core: 1 or more, since this one does."""
    states = []
    for place in OWN_THREADS.glob("*/stat"):
        with contextlib.suppress(OSError, IndexError):  # it has ended meanwhile
            states.append(place.read_text(encoding="utf-8").rpartition(")")[2].split()[0])
    return max(1, states.count("R"))


def multiplies_bf16(info: Path = PROCESSOR) -> bool | None:
    """Says whether this processor multiplies bf16 natively; None where the system does not say.

    The rule is that of trainer.precision=auto, without torch, which takes seconds to load.

    Args:
        info: What Linux says of the processor.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        text = info.read_text(encoding="utf-8")
    except OSError:
        return None
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return flags is not None and not {"amx_bf16", "avx512_bf16"}.isdisjoint(flags[1].split())
