"""What the subcommands that write a folder beside a checkpoint share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.commands.endings import Ending, say_end
from gancli.files import atomic
from gancli.run.checkpoint_options import compose_options, find_run_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig


def write(command: str, argv: Sequence[str], run: Callable[[DictConfig], Ending]) -> int:
    """A subcommand that writes a folder: `run` takes the options, and says what to open and to
    type next.
    """
    say_end(*run(compose_options(command, argv, missing=True).cfg))
    return 0


def out_folder(given: str | None, checkpoint: Path, name: str) -> Path:
    """What out= says, else a folder of this name beside the run's checkpoints.

    Raises:
        UserError: A link leads out of the run folder.
    """
    if given:
        return Path(os.path.expanduser(given))
    folder = find_run_folder(checkpoint)
    atomic.refuse_links(folder, [name])
    return folder / name
