"""Standard output and error that never end a command.

A pipe may be closed, a terminal gone, the disk under a file full.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

NAMES = ("stdout", "stderr")
SPELT = "gancli-spelt"  # how letters are written that an encoding lacks
# Signs of our own lines; what else is lacking becomes an escape such as \u624b.
SPELLINGS = {
    "…": "...",
    "–": "-",
    "—": "-",
    "−": "-",
    "→": "->",
    "←": "<-",
    "×": "x",
    "≤": "<=",
    "≥": ">=",
    "█": "#",
    "•": "*",
    "·": ".",
    "’": "'",
    "“": '"',
    "”": '"',
}


def spell(error: UnicodeError) -> tuple[str, int]:
    """Writes what an encoding lacks in letters that every encoding has; an error handler."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    escaped = (SPELLINGS.get(letter) or escape(letter) for letter in lacking)
    return "".join(escaped), error.end


def escape(letter: str) -> str:
    """Writes a letter as Python would in a string."""
    return letter.encode("ascii", "backslashreplace").decode("ascii")


codecs.register_error(SPELT, spell)


class Lasting(io.FileIO):
    """The file below a standard stream. What cannot be written is dropped, and `lost` says why."""

    lost: OSError | None = None

    def write(self, data: ReadableBuffer) -> int:
        """Returns how much was taken: all, or what the system took of it."""
        size = memoryview(data).nbytes
        if self.lost is None:
            try:
                written = super().write(data)
                return size if written is None else written  # None: a pipe that would block
            except OSError as error:
                self.lost = error
        return size


@contextlib.contextmanager
def lasting() -> Iterator[dict[str, Lasting]]:
    """Lets sys.stdout and sys.stderr write through a `Lasting`, where they are the system's files.

    A stream that was closed before the start leads nowhere.

    Yields:
        The files by the streams' names.
    """
    found: dict[str, Lasting] = {}
    before = {name: getattr(sys, name) for name in NAMES}
    for name, stream in before.items():
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
            continue
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream of a test
            stream.flush()
            file = Lasting(stream.fileno(), "wb", closefd=False)
            setattr(sys, name, wrap(stream, file))
            found[name] = file
    try:
        yield found
    finally:
        for name, stream in before.items():
            with contextlib.suppress(OSError, ValueError):
                getattr(sys, name).flush()
            setattr(sys, name, stream)


def wrap(stream: io.TextIOWrapper, file: Lasting) -> io.TextIOWrapper:
    """Makes a text stream like `stream` over another file.

    Its encoding and buffering stay, and so does `python -u`. A letter that the encoding lacks (a
    Windows console may know only cp1252) is written in another way, and never ends a command.
    """
    raw = isinstance(stream.buffer, io.RawIOBase)
    return io.TextIOWrapper(
        file if raw else io.BufferedWriter(file),
        encoding=stream.encoding,
        errors=SPELT if stream.errors == "strict" else stream.errors,
        newline="\n",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
