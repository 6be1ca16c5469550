"""The heartbeat of several ranks names those that others wait for."""

from __future__ import annotations

import json
import threading
import time

import torch.distributed as dist

from gancli.distributed.pulse import Pulse


def make_pulse(words: dict[int, bool], *, world: int) -> Pulse:
    """The pulse of the last rank, which has heard from the others whether they wait."""
    pulse = Pulse(dist.HashStore(), rank=world - 1, world=world, timeout_s=6)
    pulse.seen = {other: json.dumps([1, waits, "step 5"]) for other, waits in words.items()}
    return pulse


def test_of_two_ranks_it_is_the_other_whatever_it_said_last():
    assert make_pulse({0: True}, world=2).absent() == [0]


def test_of_several_ranks_it_is_those_at_work_and_else_the_silent_ones():
    assert make_pulse({0: True, 1: False}, world=3).absent() == [1]
    pulse = make_pulse({0: True, 1: True}, world=3)
    assert pulse.absent() == []
    pulse.silent_s[0] = 3 * pulse.every_s
    assert pulse.absent() == [0]


def test_no_thread_outlives_it():
    """A thread that asks for the interpreter while it is taken down would abort the script."""
    pulse = make_pulse({}, world=2)

    def linger() -> None:
        pulse.ended.wait()
        time.sleep(0.2)

    pulse.guard = threading.Thread(target=linger, daemon=True)
    pulse.guard.start()
    pulse.stop()
    assert not pulse.guard.is_alive()
