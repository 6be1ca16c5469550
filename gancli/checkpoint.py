"""One file holds a run: tensors and plain containers, checked before use, replaced only once the new one is safe."""

from __future__ import annotations

import copy
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import gancli
from gancli import durable, progress
from gancli.builder import build_game, show
from gancli.errors import GanError, UserError
from gancli.game import Game
from gancli.quarantine import ONLY_OURS, Damaged, check_size, first_line, load_plain

FORMAT = 1
LAYOUT = {  # what a file must hold: a type, or what lies below
    "format": int,
    "version": str,
    "game": dict,
    "buffers": list,
    "ema": dict,
    "optimizers": dict,
    "config": {
        "model": dict,
        "dataset": {"kind": str},
        "trainer": {"steps": int, "precision": str},
        "seed": int,
    },
    "progress": {"step": int, "nimg": int, "attempt": int},
    "data": {"n": int, "hash": str, "classes": list},
    "run": {"world": int, "threads": int, "device": str, "torch": str},
}
STEP = re.compile(r"step-(\d+)\.pt")
log = logging.getLogger("gancli")


def save(tree: dict, folder: Path, *, keep: int, best: bool = False) -> Path:
    """Writes step-XXXXXXXX.pt, last.pt and, if it is the best so far, best.pt, then drops all steps before the newest `keep`.

    Raises OSError where the disk is full."""
    path = folder / f"step-{tree['progress']['step']:08d}.pt"
    whole = tree | {"format": FORMAT, "version": gancli.__version__}
    with progress.doing("saving…"):
        durable.write(
            path,
            lambda file: torch.save(whole, file),
            names=("last.pt", "best.pt") if best else ("last.pt",),
        )
    files = steps_in(folder)
    for old in files[
        files.index(path) + keep :
    ]:  # by number from this one on: a higher one is damaged, or was left behind
        old.unlink(missing_ok=True)
    durable.sync_folder(folder)
    return path


def steps_in(folder: Path) -> list[Path]:
    """Numbered checkpoints, newest first; by number, since step-100 sorts before step-20 as text."""
    found = [
        (int(match[1]), path)
        for path in folder.glob("step-*.pt")
        if (match := STEP.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found, reverse=True)]


def read(path: Path) -> dict:
    """The tree of a checkpoint. Raises Damaged (broken file) or UserError (not ours, or unsafe); runs no code of its."""
    tree = load_plain(path)
    if not isinstance(tree, dict) or not isinstance(tree.get("format"), int):
        raise UserError(
            f"{path} is not a checkpoint of gancli's",
            "ckpt= takes a run folder or a file of its checkpoints/",
        )
    if tree["format"] != FORMAT:
        raise UserError(
            f"{path} has format {tree['format']}, this gancli ({gancli.__version__}) reads {FORMAT}",
            f"use gancli {show(tree.get('version'))}",
        )
    if missing := list(absent(tree, LAYOUT)):
        raise UserError(f"{path} lacks {', '.join(missing[:3])}", ONLY_OURS)
    check_size(tree["config"])
    return tree


def absent(tree: dict, layout: dict, prefix: str = "") -> Iterator[str]:
    """What of a layout a tree lacks."""
    for key, kind in layout.items():
        below = tree.get(key)
        if not isinstance(below, dict if isinstance(kind, dict) else kind):
            yield prefix + key
        elif isinstance(kind, dict):
            yield from absent(below, kind, f"{prefix}{key}.")


def best(folder: Path) -> dict:
    """The best sound checkpoint of a run; where none has been measured, or it is damaged, the newest."""
    path = folder / "best.pt"
    try:
        return read(path) if path.exists() else newest(folder)[1]
    except Damaged as error:
        log.warning("%s; taking the newest", error.message)
        return newest(folder)[1]


def newest(folder: Path) -> tuple[Path, dict]:
    """The newest sound checkpoint of a run. A damaged one is passed over, and said; UserError where none is left."""
    files = [path for path in (folder / "last.pt",) if path.exists()] + steps_in(folder)
    reasons = []
    for path in files:
        try:
            tree = read(path)
        except Damaged as error:
            log.warning("%s; trying the one before", error.message)
            reasons.append(error.message)
            continue
        return path, tree
    if reasons:
        raise UserError(
            "no checkpoint can be used: " + "; ".join(reasons),
            "nothing was deleted; start a new run",
        )
    raise UserError(f"{folder} holds no checkpoint", "give the folder of a run that has saved one")


def resolve(path: str) -> Path:
    """A run folder or a file -> the file to read, or the folder of checkpoints to search."""
    given = Path(
        os.path.expanduser(path)
    )  # pathlib would raise for an unknown ~user or a name too long
    if os.path.isdir(given):
        return given / "checkpoints" if (given / "checkpoints").is_dir() else given
    if not os.path.exists(given):
        raise UserError(
            f"{show(path)} does not exist", "give a run folder (outputs/...) or a .pt file"
        )
    return given


def open_checkpoint(path: str) -> tuple[Path, dict]:
    """The newest sound checkpoint of a run folder, or this very file. -> its path and tree"""
    place = resolve(path)
    return newest(place) if place.is_dir() else (place, read(place))


@dataclass(frozen=True)
class Loaded:
    """A game as a checkpoint holds it. generator: in eval mode, the EMA's or the trained one."""

    game: Game
    generator: nn.Module
    tree: dict
    path: Path


def load_game(
    path: str, *, ema: bool = True, trust: tuple[str, ...] = (), device: str = "cpu"
) -> Loaded:
    """Rebuilds a game from its checkpoint alone, for sampling, evaluation and notebooks. Raises UserError.

    trust: the user's own packages that the file may name; nothing else outside gancli is ever imported."""
    progress.say("reading the checkpoint…")
    file, tree = open_checkpoint(path)
    progress.say("building the networks…")
    game = matching_game(tree, file, trust=trust)
    game.load_state_dict(tree["game"])
    vars(game.progress).update(tree["progress"])
    game.advance(game.progress)
    generator = copy.deepcopy(game.generator)
    if ema:
        generator.load_state_dict(tree["ema"])
    game.to(device).eval().requires_grad_(False)
    return Loaded(game, generator.to(device).eval().requires_grad_(False), tree, file)


def matching_game(tree: dict, path: Path, *, trust: tuple[str, ...]) -> Game:
    """The game that the file's config describes, once its shapes are known to be the file's: nothing is allocated before."""
    try:
        with torch.device("meta"):
            ghost = build_game(tree["config"], trust=trust)
    except GanError:
        raise
    except Exception as error:  # noqa: BLE001 - what sizes from a file can make a network raise has no end
        raise UserError(
            f"the config in {path} builds no game: {first_line(error)}", ONLY_OURS
        ) from error
    compare(ghost.state_dict(), tree["game"], path)
    compare(ghost.generator.state_dict(), tree["ema"], path)
    return build_game(tree["config"], trust=trust)


def compare(wanted: dict[str, Tensor], got: dict[str, Tensor], path: Path) -> None:
    """Raises UserError naming the first tensors that differ between a config's networks and a file."""
    differ = [
        f"{show(name)}: config {shape_of(wanted, name)}, file {shape_of(got, name)}"
        for name in wanted | got
        if shape_of(wanted, name) != shape_of(got, name)
    ]
    if differ:
        raise UserError(
            f"{path} does not hold the networks of its config ({len(differ)} tensors differ): "
            + "; ".join(differ[:3]),
            "use a checkpoint of the same model, size and classes",
        )


def shape_of(tensors: dict[str, Tensor], name: str) -> str:
    value = tensors.get(name)
    return (
        str(tuple(value.shape))
        if isinstance(value, Tensor)
        else show(value)
        if name in tensors
        else "nothing"
    )
