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

_CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGUSR1": 75, "SIGUSR2": 75}
# Windows has the first two, and Ctrl-Break, which the keyboard sends as Ctrl-C.
_CODES["SIGBREAK"] = 130
# signal -> exit code, of those that this system has
EXIT_CODES = {int(known): _CODES[known.name] for known in signal.Signals if known.name in _CODES}


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

    before = {
        number: signal.signal(number, handle)
        for number in EXIT_CODES
        if not (is_hangup(number) and signal.getsignal(number) == signal.SIG_IGN)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_hangup(number: int) -> bool:
    """Is it the word that the terminal is gone?"""
    return signal.Signals(number).name == "SIGHUP"


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
