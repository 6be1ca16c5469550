"""What the subcommands that write a folder beside a checkpoint share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.commands.endings import Ending, say_end
from gancli.config import compose as front
from gancli.config.hints import list_composition_errors, parse_override
from gancli.files import atomic
from gancli.run.checkpoint_options import OF_TRAINING, compose_options, find_run_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gancli.game import Option


def write(command: str, argv: Sequence[str], run: Callable[[DictConfig], Ending]) -> int:
    """Runs a subcommand that writes a folder, and says how it ended.

    `run` takes the options, and says what to open and to type next.
    """
    say_end(*run(compose_options(command, argv, missing=True).cfg))
    return 0


def split_off_own(command: str, words: Sequence[str]) -> tuple[list[str], dict[str, object]]:
    """Sets apart what may be an option of a game of the user's: a key that the command lacks.

    Only a game that `trust=` lets in can declare such an option, so without it an unknown key is
    refused where all are, before torch is loaded.

    Returns:
        The words that remain, and the values of the others by key.
    """
    if not any(word.startswith("trust=") for word in words):
        return list(words), {}
    known = {*front.list_top_keys(command), *OF_TRAINING}
    rest = []
    own: dict[str, object] = {}
    for word in words:
        key, equals, _ = word.partition("=")
        if word.startswith("-") or not equals or not key.isidentifier() or key in known:
            rest.append(word)
        else:
            own[key] = read_value(word)
    return rest, own


def read_value(word: str) -> object:
    """Reads the value of KEY=VALUE as Hydra does; what it cannot read is a string."""
    _, _, text = word.partition("=")
    try:
        override = parse_override(word)
    except list_composition_errors():
        return text
    return text if override.is_sweep_override() else override.value()


def describe_options(declared: Sequence[Option]) -> list[str]:
    """Lists options of a game as lines of a help screen."""
    lines = []
    for option in declared:
        default = "null" if option.default is None else str(option.default)
        lines.append(f"  {option.name + '=' + default:<24} {option.help}")
    return ["", "options of this checkpoint's model:", *(lines or ["  none"])]


def out_folder(given: str | None, checkpoint: Path, name: str) -> Path:
    """Gives what out= says, else a folder of this name beside the run's checkpoints.

    Raises:
        UserError: A link leads out of the run folder.
    """
    if given:
        return Path(os.path.expanduser(given))
    folder = find_run_folder(checkpoint)
    atomic.refuse_links(folder, [name])
    return folder / name
