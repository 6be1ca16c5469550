"""Ends a rank that outlives its launcher, which would train for ever and hold its GPU.

It saves before. No torch in here.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time

log = logging.getLogger("gancli")

LOOK_EVERY_S = 1.0
TIME_TO_SAVE_S = 120.0  # a step and a save; whoever has not ended then will not


def watch_parent() -> None:
    """Makes this process end when the process that started it does; for ranks of torchrun.

    A thread looks at the parent's number, and not prctl(PR_SET_PDEATHSIG): that one exists on Linux
    alone, fires already when the thread that started us ends, and could not wait for the save.
    On Windows a parent's number stays when it has ended, so nobody looks there.
    """
    if os.name == "nt":
        return
    parent = os.getppid()
    threading.Thread(target=_wait, args=(parent,), name="gancli-parent", daemon=True).start()


def _wait(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    leave_orphaned()


def leave_orphaned() -> None:
    """Asks this process to save and end, as SIGTERM does; ends it where it cannot."""
    rank = os.environ.get("RANK", "0")
    log.warning("rank %s: its launcher is gone: saving, then leaving", rank)
    # The trainer's handler saves; without one it ends us. os.kill also wakes a main thread that
    # waits, as raise_signal in this thread would not.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(TIME_TO_SAVE_S)
    print(
        f"gan: rank {rank} could not save within {TIME_TO_SAVE_S:g} s of its launcher's end",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)
