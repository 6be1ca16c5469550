"""How an error or a warning meets the user: one panel on a terminal, plain lines anywhere else."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

from gancli.errors import GanError, Problem, Problems

# Control characters, which a terminal obeys (colours, titles, what was typed), and those that turn
# the direction of writing.
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)


def printable(text: object, stream: TextIO | None = None) -> str:
    """Makes a string safe to show whose words are not ours.

    Names of files, classes and runs may hold anything.

    Args:
        text: what to show; its str() is taken.
        stream: where it is shown, whose encoding counts; default: stdout.

    Returns:
        The string with every control character but newline and tab replaced, and what the encoding
        lacks written as an escape.
    """
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    shown = CONTROL.sub("\ufffd", str(text))
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def say(text: object) -> None:
    """Prints a line on stdout whatever is in it."""
    print(printable(text))


def show_error(error: GanError) -> None:
    """Prints what is wrong and what to type instead on stderr.

    Every problem of a `Problems` is listed.
    """
    found = error.problems if isinstance(error, Problems) else [(error.message, error.hint)]
    problems = [
        (printable(message, sys.stderr), printable(hint, sys.stderr)) for message, hint in found
    ]
    title = "gan" if len(problems) == 1 else f"gan: {len(problems)} problems"
    if sys.stderr.isatty():
        _panel(title, problems)
    else:
        print(_plain(title, problems), file=sys.stderr)


_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


@contextmanager
def collecting() -> Iterator[list[str]]:
    """Warnings go into the list instead of to stderr, for a caller who is no terminal."""
    found: list[str] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def warn(message: str) -> None:
    """Prints one line on stderr for what works but is probably not meant."""
    found = _collected.get()
    if found is not None:
        found.append(message)
        return
    print(f"gan: warning: {printable(message, sys.stderr)}", file=sys.stderr)


def remark(message: str) -> None:
    """Prints one line on stderr for what gancli decided by itself."""
    print(f"note: {printable(message, sys.stderr)}", file=sys.stderr)


def _numbers(problems: list[Problem]) -> list[str]:
    return [""] if len(problems) == 1 else [f"{i}. " for i in range(1, len(problems) + 1)]


def _plain(title: str, problems: list[Problem]) -> str:
    if len(problems) == 1:
        lines = [f"{title}: {problems[0][0]}", *problems[0][1].splitlines()]
        return "\n  ".join(lines)
    lines = [title]
    for number, (message, hint) in zip(_numbers(problems), problems, strict=True):
        lines += [f"  {number}{message}", *(f"     {line}" for line in hint.splitlines())]
    return "\n".join(lines)


def _panel(title: str, problems: list[Problem]) -> None:
    # Imported here: rich costs 50 ms, which a command that has nothing to complain about should not
    # pay.
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    text = Text()  # never markup: messages quote the user's brackets
    for number, (message, hint) in zip(_numbers(problems), problems, strict=True):
        text.append("\n" if text else "").append(number + message, style="bold")
        for line in hint.splitlines():
            text.append("\n" + " " * len(number) + line)
    Console(stderr=True, highlight=False).print(
        Panel(text, title=title, title_align="left", border_style="red")
    )
