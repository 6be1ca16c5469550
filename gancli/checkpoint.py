"""One file holds a run: tensors and plain containers, checked before use, replaced only once the new one is safe."""
from __future__ import annotations

import copy
import logging
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import gancli
from gancli.builder import build_game
from gancli.errors import UserError
from gancli.game import Game

FORMAT = 1
KEYS = {"format", "version", "config", "progress", "game", "buffers", "ema", "optimizers", "run", "data"}
STEP = re.compile(r"step-(\d+)\.pt")
log = logging.getLogger("gancli")


class Damaged(UserError):
    """The file is incomplete or altered; an older one may serve."""


def save(tree: dict, folder: Path, *, keep: int) -> Path:
    """Writes step-XXXXXXXX.pt and last.pt, then drops all but the newest `keep`. Raises OSError where the disk is full.

    A reader sees the old file or the new one, never half of one: write aside, flush to the disk, rename."""
    path = folder / f"step-{tree['progress']['step']:08d}.pt"
    aside = folder / f".tmp-{path.name}-{os.getpid()}"
    try:
        with aside.open("wb") as file:
            torch.save(tree | {"format": FORMAT, "version": gancli.__version__}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except RuntimeError as error:  # how torch reports a write that was cut short
        raise OSError(str(error)) from error
    finally:
        aside.unlink(missing_ok=True)
    point_last_at(path)
    for old in steps_in(folder)[keep:]:
        old.unlink(missing_ok=True)
    sync_folder(folder)
    return path


def point_last_at(path: Path) -> None:
    aside = path.with_name(f".tmp-last-{os.getpid()}")
    aside.unlink(missing_ok=True)
    try:
        os.link(path, aside)  # the same bytes under a second name; survives when the first is dropped
    except OSError:
        shutil.copyfile(path, aside)
    os.replace(aside, path.with_name("last.pt"))


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)  # a rename is safe only when its folder is on the disk
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def steps_in(folder: Path) -> list[Path]:
    """Numbered checkpoints, newest first; by number, since step-100 sorts before step-20 as text."""
    found = [(int(match[1]), path) for path in folder.glob("step-*.pt") if (match := STEP.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def read(path: Path) -> dict:
    """The tree of a checkpoint. Raises Damaged (broken file) or UserError (not ours, or unsafe); runs no code of its."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not notice a flipped bit; the container's CRC does
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise UserError(f"{path} is a compressed archive, which no checkpoint of gancli's is")
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise Damaged(f"{path} is damaged or no checkpoint: {error}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "check the path after ckpt= or resume=") from error
    if broken is not None:
        raise Damaged(f"{path} is damaged: {broken} does not match its checksum")
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} holds more than tensors and plain data, and nothing of it was run",
                        "load only checkpoints that gancli wrote") from error
    except (RuntimeError, EOFError, RecursionError, ValueError, KeyError) as error:
        raise Damaged(f"{path} is damaged: {str(error).splitlines()[0]}") from error
    verify(tree, path)
    return tree


def verify(tree: object, path: Path) -> None:
    """Is this a checkpoint that this version can use, and plain data through and through? Raises UserError."""
    if not isinstance(tree, dict) or "format" not in tree:
        raise UserError(f"{path} is not a checkpoint of gancli's", "ckpt= takes a run folder or a file of its checkpoints/")
    if tree["format"] != FORMAT:
        raise UserError(f"{path} has format {tree['format']!r}, this gancli ({gancli.__version__}) reads {FORMAT}",
                        f"use gancli {tree.get('version')}")
    if missing := KEYS - tree.keys():
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}", "use a file that gancli wrote")
    for leaf in leaves(tree, depth=0):
        if isinstance(leaf, Tensor) and leaf.numel() * leaf.element_size() > leaf.untyped_storage().nbytes():
            raise UserError(f"{path} claims tensors larger than the file holds", "use a file that gancli wrote")


def leaves(tree: object, *, depth: int) -> Iterator[object]:
    if depth > 32:
        raise UserError("the checkpoint is nested deeper than any that gancli writes", "use a file that gancli wrote")
    if isinstance(tree, dict | list | tuple):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(value, depth=depth + 1)
    else:
        yield tree


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
        raise UserError("no checkpoint can be used: " + "; ".join(reasons), "nothing was deleted; start a new run")
    raise UserError(f"{folder} holds no checkpoint yet", "start the run anew, without resume=")


def resolve(path: str) -> Path:
    """A run folder or a file -> the file to read, or the folder of checkpoints to search."""
    given = Path(path).expanduser()
    if given.is_dir():
        return given / "checkpoints" if (given / "checkpoints").is_dir() else given
    if not given.exists():
        raise UserError(f"{path} does not exist", "give a run folder (outputs/...) or a .pt file")
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


def load_game(path: str, *, ema: bool = True, trust: tuple[str, ...] = (), device: str = "cpu") -> Loaded:
    """Rebuilds a game from its checkpoint alone, for sampling, evaluation and notebooks. Raises UserError.

    trust: the user's own packages that the file may name; nothing else outside gancli is ever imported."""
    file, tree = open_checkpoint(path)
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
    except (RuntimeError, TypeError, KeyError, OverflowError, AttributeError) as error:
        raise UserError(f"the config in {path} builds no game: {str(error).splitlines()[0]}", "use a file that gancli wrote") from error
    compare(ghost.state_dict(), tree["game"], path)
    compare(ghost.generator.state_dict(), tree["ema"], path)
    return build_game(tree["config"], trust=trust)


def compare(wanted: dict[str, Tensor], got: dict[str, Tensor], path: Path) -> None:
    """Raises UserError naming the first tensors that differ between a config's networks and a file."""
    differ = [f"{name}: config {shape_of(wanted, name)}, file {shape_of(got, name)}"
              for name in wanted | got if shape_of(wanted, name) != shape_of(got, name)]
    if differ:
        raise UserError(f"{path} does not hold the networks of its config ({len(differ)} tensors differ): "
                        + "; ".join(differ[:3]), "use a checkpoint of the same model, size and classes")


def shape_of(tensors: dict[str, Tensor], name: str) -> str:
    value = tensors.get(name)
    return str(tuple(value.shape)) if isinstance(value, Tensor) else "nothing"
