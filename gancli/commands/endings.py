"""How every command ends: the file to open, and a command to type next, which runs as printed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gancli.files import shell
from gancli.files.zoo import find_zoo_file, is_zoo_file, name_source

if TYPE_CHECKING:
    from gancli.run.session import Outcome


class Ending(NamedTuple):
    """The last two lines of a command.

    Attributes:
        done: The file to open first, then what else was written; "" where nothing was.
        command: The words to type next, not quoted yet.
    """

    done: str
    command: list[str]


def say_end(done: str, command: Sequence[str]) -> None:
    """Prints the last two lines of a command; the arguments are those of `Ending`."""
    from gancli.render.messages import say

    if done:
        say(f"done: {done}")
    say(f"  {shell.join(command)}")


def count(n: int, noun: str) -> str:
    """Counts something in words: "1 image", "64 images"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def trust_words(trust: Sequence[str]) -> list[str]:
    """Writes trust=mine, as a checkpoint that names the user's own classes needs it."""
    if not trust:
        return []
    return [f"trust={trust[0] if len(trust) == 1 else '[' + ','.join(trust) + ']'}"]


def after_checkpoint(path: Path) -> list[str]:
    """Writes the command that shows more of a checkpoint's run, or of the lone file."""
    folder = path.parent.parent
    if path.parent.name == "checkpoints" and (folder / "metrics.jsonl").exists():
        return ["gan", "report", str(folder)]
    return ["gan", "show", name_source(path)]


def after_training(
    target: Path, trust: Sequence[str], *, translates: bool, folder: Path | None = None
) -> list[str]:
    """Chooses the command that shows what a run has learned, from what the run has written itself.

    Args:
        target: The run, or one of its checkpoints.
        trust: Packages of the user's own that the checkpoint names.
        translates: Whether the model makes images out of images.
        folder: The run, where `target` is a checkpoint.
    """
    words = [f"ckpt={target}", *trust_words(trust)]
    if not translates:
        return ["gan", "sample", *words]
    if is_zoo_file(Path(find_zoo_file(str(target)))):  # no run, and so no source beside it
        return ["gan", "evaluate", *words]
    folder = folder or target
    source = folder / "samples" / "source.png"
    style = folder / "samples" / "style.png"
    if not source.is_file():  # of a run that an older version has trained, or a lone file
        is_run = (folder / "metrics.jsonl").exists()
        return ["gan", "report", str(folder)] if is_run else ["gan", "translate", "--help"]
    more = [f"style={style}"] if style.is_file() else []
    pose = folder / "samples" / "source-pose.png"
    if pose.is_file():
        more += [f"pose={pose}", f"poses={pose.with_name('new-pose.png')}"]
    return ["gan", "translate", *words, f"input={source}", *more]


def say_outcome(outcome: Outcome | None) -> None:
    """Says where a trained run is and what to type next; nothing where another rank says it."""
    from gancli.metrics.settings import published

    if outcome is None or os.environ.get("RANK", "0") != "0":
        return
    for line in published(outcome.measured) if outcome.measured else ():
        print(line)
    folder = outcome.folder
    say_end(
        str(folder) if outcome.picture is None else f"{outcome.picture}, and the run in {folder}",
        after_training(folder, outcome.trust, translates=outcome.translates),
    )


def translates(config: Mapping[str, Any]) -> bool:
    """Does the config of a run name a data set of pairs or domains?"""
    return str(config["dataset"]["_target_"]).startswith(
        (
            "gancli.data.pairs.",
            "gancli.data.derived.",
            "gancli.data.figures.",
            "gancli.data.own_figures.",
        )
    )
