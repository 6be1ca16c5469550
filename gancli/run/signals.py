"""What signals do to a run: it saves and ends after its step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gancli.run.runlog import shout

if TYPE_CHECKING:
    from gancli.run.loop import Loop


@contextlib.contextmanager
def listen_for_signals(loop: Loop) -> Iterator[None]:
    """Signals ask the loop to save and stop after its step; only a third Ctrl-C leaves at once.

    A SIGHUP that was ignored at the start (nohup) stays ignored: the run is meant to outlive its
    terminal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python takes handlers in its main thread alone
        return
    interrupts = 0

    def handle(number: int, _frame: object) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        if interrupts > 2:
            raise KeyboardInterrupt
        say_at_once(describe_signal(number, first=loop.ask_to_stop(number)))

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def describe_signal(number: int, *, first: bool) -> str:
    """Says what a signal does to the run."""
    name = signal.Signals(number).name
    if first:
        return (
            f"{name}: the run ends after this step and a save; another signal changes nothing, "
            "a third Ctrl-C leaves at once, unsaved"
        )
    return f"{name}: already about to save and end; a third Ctrl-C leaves at once, unsaved"


def say_at_once(text: str) -> None:
    """Says something from a signal handler.

    What it interrupts may be writing to the same stream.
    """
    # RuntimeError is Python's word for a stream that is being written to.
    with contextlib.suppress(RuntimeError):
        shout(text)
