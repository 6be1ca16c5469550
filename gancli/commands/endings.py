"""How every command ends: the file to open, and a command to type next that runs as it is printed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path


def say_end(done: str, command: Sequence[str]) -> None:
    """Prints the last two lines of a command.

    Args:
        done: The file to open first, then what else was written; "" where nothing was.
        command: The words of the next command, not quoted yet.
    """
    from gancli.reports.tables import say

    if done:
        say(f"done: {done}")
    say(f"  {shlex.join(command)}")


def name_files(first: Path, others: str = "") -> str:
    """-> "s3/grid.png, and 64 images in s3" """
    return f"{first}, and {others}" if others else str(first)


def count(n: int, noun: str) -> str:
    """-> "1 image", "64 images" """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def after_checkpoint(path: Path) -> list[str]:
    """The command that shows more of the run, or of the lone file, that a checkpoint belongs to."""
    folder = path.parent.parent
    if path.parent.name == "checkpoints" and (folder / "metrics.jsonl").exists():
        return ["gan", "report", str(folder)]
    return ["gan", "show", str(path)]
