"""What a subcommand that starts from a checkpoint is asked for: options composed and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gancli.config import compose as front
from gancli.config.arguments import split_off_ema
from gancli.errors import Problem, UserError
from gancli.files.zoo import is_zoo_file
from gancli.render import messages, status

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gancli.checkpoint import Loaded

# Groups and keys that choose what is trained.
OF_TRAINING = ("model", "loss", "optimizer", "trainer", "augment", "perceptual", "experiment")


def compose_options(command: str, words: Sequence[str], *, missing: bool = False) -> front.Composed:
    """Composes the options of a command line, `ema=` included, and prints the warnings.

    Args:
        command: The subcommand, whose config stands in conf/.
        words: What is typed behind it.
        missing: Whether what is still to be given (ckpt: ???) may pass; `read_options` tells it.

    Raises:
        UserError: A word names a part of the training, which the checkpoint has settled.
        Problems: The options do not compose.
    """
    refuse_training_keys(command, words)
    rest, average = split_off_ema(words)
    found = front.compose(command, rest, missing=missing)
    found.cfg.update(average)
    for message in found.warnings:
        messages.warn(message)
    return found


def refuse_training_keys(command: str, words: Sequence[str]) -> None:
    """Raises UserError for a group of gan train: the checkpoint has its own."""
    for word in words:
        key = word.lstrip("+~").partition("=")[0].partition("@")[0].partition(".")[0]
        if not word.startswith("-") and key in OF_TRAINING:
            raise UserError(
                f"{command} takes no {key}: the checkpoint has one",
                f"leave {word} out; gan {command} --help lists what it takes",
            )


def read_options(
    cfg: DictConfig,
    kinds: Mapping[str, object],
    *,
    needs: tuple[str, ...],
    usage: str,
    files: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], list[Problem]]:
    """Reads composed options as plain data and checks their types; does not import torch.

    Args:
        cfg: Composed options.
        kinds: Option -> its type.
        needs: Options without a default.
        usage: A command line that gives them.
        files: Option that names a file or folder -> what should be there; `ckpt` need not be
            among them.

    Returns:
        The options, and all that is wrong with them, each with what to type instead.
    """
    from gancli.config.build import find_misfits
    from gancli.files.paths import find_missing

    options = make_plain(cfg)
    absent = [key for key in needs if options[key] in (None, "???")]
    found: list[Problem] = [(f"{key} is not given", usage) for key in absent]
    for key, kind in kinds.items():
        if key not in absent:
            found += find_misfits(options[key], kind, where=key, trust=())
    found += find_missing(options, {"ckpt": "run", **(files or {})})
    return options, found


def make_plain(cfg: DictConfig, *, resolve: bool = True) -> dict[str, Any]:
    """Returns a composed config as plain dicts and lists, its interpolations resolved or not."""
    from omegaconf import OmegaConf

    options = OmegaConf.to_container(cfg, resolve=resolve)
    assert isinstance(options, dict)
    return {str(key): value for key, value in options.items()}


def open_game(
    path: str, *, ema: bool = True, trust: tuple[str, ...] = (), device: str = "cpu"
) -> Loaded:
    """Opens a checkpoint as `load_game` does, and says on the status line how far it is."""
    from gancli.checkpoint import open_checkpoint, rebuild_game

    status.say("reading the checkpoint…")
    file, tree = open_checkpoint(path)
    status.say("building the networks…")
    return rebuild_game(tree, file, ema=ema, trust=trust, device=device)


def find_run_folder(checkpoint: Path) -> Path:
    """Finds the run folder of a checkpoint, or the folder that holds a lone file.

    What is made of a file of the zoo goes below outputs/zoo, as nobody wants it in the package.
    """
    if is_zoo_file(checkpoint):
        return Path("outputs", "zoo", checkpoint.stem)
    in_run = checkpoint.parent.name == "checkpoints"
    return checkpoint.parent.parent if in_run else checkpoint.parent
