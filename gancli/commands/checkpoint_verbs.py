"""What the verbs that start from a checkpoint share: how their options are read, and where they write."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.commands.endings import Ending, say_end
from gancli.config import compose as front
from gancli.config.arguments import ema_apart
from gancli.errors import UserError
from gancli.files import atomic
from gancli.render import messages, status

# Groups and keys that choose what is trained.
OF_TRAINING = ("model", "loss", "optimizer", "trainer", "augment", "perceptual", "experiment")

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gancli.checkpoint import Loaded


def compose_options(verb: str, argv: Sequence[str], *, missing: bool = False) -> front.Composed:
    """What a verb's command line composes, `ema=` included; prints the warnings."""
    refuse_training_keys(verb, argv)
    rest, average = ema_apart(argv)
    found = front.compose(verb, rest, missing=missing)
    found.cfg.update(average)
    for message in found.warnings:
        messages.warn(message)
    return found


def refuse_training_keys(verb: str, argv: Sequence[str]) -> None:
    """Raises UserError for a group of gan train: the checkpoint has its own."""
    for word in argv:
        key = word.lstrip("+~").partition("=")[0].partition("@")[0].partition(".")[0]
        if not word.startswith("-") and key in OF_TRAINING:
            raise UserError(
                f"{verb} takes no {key}: the checkpoint has one",
                f"leave {word} out; gan {verb} --help lists what it takes",
            )


def composed(verb: str, argv: Sequence[str], *, missing: bool = False) -> DictConfig:
    """The options of a verb's command line."""
    return compose_options(verb, argv, missing=missing).cfg


def write(verb: str, argv: Sequence[str], run: Callable[[DictConfig], Ending]) -> int:
    """A verb that writes a folder: `run` takes the options, and says what to open and to type next."""
    say_end(*run(composed(verb, argv, missing=True)))
    return 0


def read(
    cfg: DictConfig,
    kinds: dict[str, object],
    *,
    needs: tuple[str, ...],
    usage: str,
    files: dict[str, str] | None = None,
) -> tuple[dict, list[tuple[str, str]]]:
    """-> (the options as plain data, what is missing or of another type, each with what to type instead).

    kinds: the type of each option. needs: those without a default. usage: a command line that has them. files: options that
    name a file which must be there, and what each should be; the checkpoint is one of them. Does not import torch."""
    from omegaconf import OmegaConf

    from gancli.config.build import misfits
    from gancli.files.paths import missing_problems

    options = OmegaConf.to_container(cfg, resolve=True)
    absent = [key for key in needs if options[key] in (None, "???")]
    found = [(f"{key} is not given", usage) for key in absent]
    found += [
        p
        for key, kind in kinds.items()
        if key not in absent
        for p in misfits(options[key], kind, where=key, trust=())
    ]
    found += missing_problems(options, {"ckpt": "run"} | (files or {}))
    return options, found


def open_game(
    path: str, *, ema: bool = True, trust: tuple[str, ...] = (), device: str = "cpu"
) -> Loaded:
    """As `checkpoint.load_game`, and says on the status line how far it is."""
    from gancli.checkpoint import open_checkpoint, rebuild_game

    status.say("reading the checkpoint…")
    file, tree = open_checkpoint(path)
    status.say("building the networks…")
    return rebuild_game(tree, file, ema=ema, trust=trust, device=device)


def out_folder(given: str | None, checkpoint: Path, name: str) -> Path:
    """What out= says, else a folder of this name beside the run's checkpoints. Raises UserError where a link leads out of it."""
    if given:
        return Path(os.path.expanduser(given))
    atomic.refuse_links(beside(checkpoint), [name])
    return beside(checkpoint) / name


def beside(checkpoint: Path) -> Path:
    """The run folder of a checkpoint, or the folder that holds a lone file."""
    return (
        checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    )
