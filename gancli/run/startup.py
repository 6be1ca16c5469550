"""The start of a process: Python's garbage collector rests while thousands of modules load."""

from __future__ import annotations

import gc
import threading

LONGEST_S = 6.0  # a command that trains nothing works with its collector after that


class Rest:
    """Keeps the garbage collector of a process still until `end`, or for some seconds.

    The modules of torch make so many objects, all of which stay, that looking for garbage among
    them takes a fifth of the start. They are left out of later collections, too.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.timer: threading.Timer | None = None

    def begin(self) -> None:
        """Stops the collector. For a process of our own: what lives by `end` is never collected."""
        gc.disable()
        self.timer = threading.Timer(LONGEST_S, self.end)
        self.timer.daemon = True
        self.timer.start()

    def end(self) -> None:
        """Lets the collector go on; does nothing where it does not rest."""
        with self.lock:
            timer = self.timer
            self.timer = None
        if timer is None:
            return
        timer.cancel()
        gc.freeze()
        gc.enable()


REST = Rest()
