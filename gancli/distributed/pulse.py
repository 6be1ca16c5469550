"""The heartbeat of several ranks: all others notice a frozen rank, for which they would wait."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

from gancli.errors import RankLost

log = logging.getLogger("gancli")

MOST_SILENCE_S = 60.0  # of a thread that only writes a number
SLOWEST_BEAT_S = 5.0
GONE = "gone"  # said by a rank that has finished: its silence means nothing


class Pulse:
    """A daemon thread of every rank that says "alive" in a shared store and listens to the others.

    What a rank is doing is said along. So the message about a frozen rank, or one that does not
    come to a meeting of all ranks, can tell where it was.
    """

    def __init__(self, store: dist.Store, *, rank: int, world: int, timeout_s: float):
        """Prepares the threads.

        Args:
            store: What all ranks write to and read from.
            rank: Of this process.
            world: How many ranks there are.
            timeout_s: How long ranks wait for each other. A rank may be silent for as long, at
                most for a minute.
        """
        self.store = store
        self.rank = rank
        self.others = [other for other in range(world) if other != rank]
        self.limit_s = min(MOST_SILENCE_S, timeout_s)
        self.every_s = min(SLOWEST_BEAT_S, self.limit_s / 6)
        self.beats = 0
        self.doing = "the start"
        self.waiting = False
        self.seen: dict[int, str] = {}
        self.silent_s = dict.fromkeys(self.others, 0.0)
        self.ended = threading.Event()
        self.rounds = 0
        self.thread = threading.Thread(target=self.run, name="gancli-pulse", daemon=True)
        self.guard = threading.Thread(target=self.watch_store, name="gancli-guard", daemon=True)

    def start(self) -> None:
        """Starts to listen.

        All ranks must have called `say` before: a store waits for what nobody has said.
        """
        self.thread.start()
        if self.rank != 0:
            self.guard.start()

    def stop(self) -> None:
        """Says the last word of this rank."""
        self.ended.set()
        for thread in (self.guard, self.thread):
            if thread.is_alive():
                thread.join(min(5.0, self.limit_s))
        if self.thread.is_alive():  # it waits for a frozen rank 0, and so would the last word
            return
        self.doing = GONE
        with contextlib.suppress(RuntimeError):  # rank 0, which keeps the store, has left before
            self.say()

    def say(self) -> None:
        """Tells the others that this rank lives, and what it is doing."""
        self.beats += 1
        word = json.dumps([self.beats, self.waiting, self.doing])
        self.store.set(f"pulse/{self.rank}", word)

    def run(self) -> None:
        """Speaks and listens until this rank ends or another is frozen."""
        before = time.monotonic()
        while not self.ended.wait(self.every_s):
            now = time.monotonic()
            # All ranks may have been stopped together (Ctrl-Z): such a pause is nobody's silence.
            passed = min(now - before, 2 * self.every_s)
            before = now
            try:
                self.say()
                for other in self.others:
                    self.listen(other, passed)
            except RuntimeError:  # DistStoreError, DistNetworkError
                self.ended.set()
                return  # rank 0 has ended, and every meeting of ranks will notice
            self.rounds += 1
            frozen = [other for other in self.others if self.silent_s[other] >= self.limit_s]
            if frozen:
                self.give_up(frozen)

    def watch_store(self) -> None:
        """Notices a frozen rank 0, which keeps the store.

        A question to its store is then never answered, and never times out.
        """
        rounds = 0
        silent_s = 0.0
        before = time.monotonic()
        while not self.ended.wait(self.every_s):
            now = time.monotonic()
            silent_s = (
                silent_s + min(now - before, 2 * self.every_s) if rounds == self.rounds else 0.0
            )
            rounds = self.rounds
            before = now
            if silent_s >= self.limit_s:
                self.give_up([0])

    def listen(self, other: int, passed: float) -> None:
        """Counts for how long another rank has said nothing new; passed: seconds since the last."""
        word = self.store.get(f"pulse/{other}").decode()
        same = word == self.seen.get(other) and json.loads(word)[2] != GONE
        self.silent_s[other] = self.silent_s[other] + passed if same else 0.0
        self.seen[other] = word

    def last_words(self, other: int) -> tuple[bool, str]:
        """Returns whether a rank waited for others when last heard, and what it was doing."""
        if other == self.rank:
            return self.waiting, self.doing
        _, waiting, doing = json.loads(self.seen.get(other, '[0, false, "the start"]'))
        return waiting, doing

    def absent(self) -> list[int]:
        """Lists the ranks that were not waiting for others when they were last heard.

        A rank may have been frozen after it said that it waits and before it said that it goes on.
        So where all waited, it is the silent ones; and a single other rank cannot be but it.
        """
        if len(self.others) == 1:
            return self.others
        # Whoever waits has come, so the others are those that did not.
        at_work = [other for other in self.others if not self.last_words(other)[0]]
        return at_work or [
            other for other in self.others if self.silent_s[other] > 2 * self.every_s
        ]

    def speaks(self, culprits: list[int]) -> bool:
        """Is it this rank that tells the user? One is enough: the first that is not to blame."""
        return self.rank == min({self.rank, *self.others} - {*culprits}, default=self.rank)

    def give_up(self, frozen: list[int]) -> None:
        """Ends this process.

        Its main thread waits for a rank that will not come, and cannot be woken.
        """
        names = ", ".join(str(other) for other in frozen)
        where = self.last_words(frozen[0])[1]
        error = RankLost(
            f"rank {names} has given no sign of life for {self.limit_s:.0f} s; it was last at "
            f"{where}, and rank {self.rank} is at {self.doing}",
            "the last checkpoint is sound: resume=auto with the same hydra.run.dir goes on from it",
        )
        log.error("ended: %s", error.message)
        if self.speaks(frozen):
            from gancli.render.messages import show_error

            with contextlib.suppress(OSError, ValueError):
                show_error(error)
                sys.stderr.flush()
        os._exit(error.code)


def share_store(
    *,
    rank: int,
    world: int,
    timeout_s: float,
    from_rank_0: Callable[[object], object],
    gather: Callable[[object], list[object]],
) -> dist.Store | None:
    """Opens a store of our own, kept by rank 0.

    Args:
        rank: Of this process.
        world: How many ranks there are.
        timeout_s: How long ranks wait for each other.
        from_rank_0: Gives every rank the object of rank 0.
        gather: Gives every rank the objects of all.

    Returns:
        A store that all ranks reach; None where one of them does not.
    """
    host = os.environ.get("MASTER_ADDR", "localhost")
    wait = timedelta(seconds=min(MOST_SILENCE_S, timeout_s))
    store = None
    with contextlib.suppress(RuntimeError):
        if rank == 0:
            store = dist.TCPStore(host, 0, world, True, wait, wait_for_workers=False)
    port = from_rank_0(store.port if store is not None else 0)
    assert isinstance(port, int)
    with contextlib.suppress(RuntimeError):
        if rank != 0 and port:
            store = dist.TCPStore(host, port, world, False, wait)
    return store if all(gather(store is not None)) else None
