"""One file holds a run: tensors and plain containers, checked before they are used.

An old file is replaced only once the new one is safe.
"""

from __future__ import annotations

import copy
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

import gancli
from gancli.config.build import build_game
from gancli.config.ghost import build_ghost
from gancli.config.values import show
from gancli.errors import GanError, UserError, first_line
from gancli.files import atomic, reading, weights
from gancli.files.paths import list_names
from gancli.files.safe_load import ONLY_OURS, Damaged, check_size, load_plain
from gancli.files.zoo import find_zoo_file, is_zoo_file, name_source
from gancli.game import Game
from gancli.optimizers import make_players, misfit_of

# 2: the logged terms of a run are bare. 1: penalties were logged times weight and interval.
FORMAT = 2
Tree = dict[str, Any]  # what `Trainer.state_dict` gives, with the file's format and version
LAYOUT: Tree = {  # what a file must hold: a type, or what lies below
    "format": int,
    "version": str,
    "game": dict,
    "buffers": list,
    "ema": dict,
    "optimizers": dict,
    "config": {
        "model": {"_target_": str},
        "dataset": {"_target_": str, "kind": str},
        "trainer": {"steps": int, "precision": str},
        "seed": int,
    },
    "progress": {"step": int, "nimg": int, "attempt": int},
    "data": {"n": int, "hash": str, "classes": list},
    "run": {"world": int, "threads": int, "device": str, "torch": str},
}
EXPORTED = "exported"  # a key of the tree of a file of gan export's, or of the zoo
MOST_MODULES = 20_000  # of a game; BigGAN-deep has 1,500
MOST_COUNTED = 10**6  # rollbacks
STEP = re.compile(r"step-(\d+)\.pt")
log = logging.getLogger("gancli")


def save(tree: Tree, folder: Path, *, keep: int, best: bool = False) -> Path:
    """Writes step-XXXXXXXX.pt and last.pt, then drops old steps.

    Args:
        tree: Of `Trainer.state_dict`.
        folder: The folder of a run's checkpoints.
        keep: How many numbered files stay, with the new one.
        best: Whether it is the best so far, and written as best.pt as well.

    Returns:
        The numbered file.

    Raises:
        OSError: The disk is full, or does not take it; what was there is as it was.
    """
    path = folder / f"step-{tree['progress']['step']:08d}.pt"
    whole = tree | {"format": FORMAT, "version": gancli.__version__}
    atomic.write(
        path,
        lambda file: torch.save(whole, file),
        names=("last.pt", "best.pt") if best else ("last.pt",),
    )
    # Only now, when the new file is safe, may an old one go.
    files = list_steps(folder)
    # By number from this one on: a higher one is damaged, or was left behind.
    for old in files[files.index(path) + keep :]:
        old.unlink(missing_ok=True)
    atomic.sync_folder(folder)
    return path


def list_steps(folder: Path) -> list[Path]:
    """Lists numbered checkpoints, newest first."""
    # By number: as strings, step-100 sorts before step-20.
    found = [
        (int(match[1]), folder / name)
        for name in list_names(folder)
        if (match := STEP.fullmatch(name))
    ]
    return [path for _, path in sorted(found, reverse=True)]


def read(path: Path) -> Tree:
    """Reads the tree of a checkpoint; no code of the file's is run.

    Raises:
        Damaged: The file is broken.
        UserError: It is no checkpoint of gancli's, or unsafe.
    """
    tree = load_exported(path) if path.suffix == weights.SUFFIX else load_plain(path)
    if not isinstance(tree, dict) or not isinstance(tree.get("format"), int):
        raise UserError(
            f"{path} is not a checkpoint of gancli's",
            "ckpt= takes a run folder or a file of its checkpoints/",
        )
    if tree["format"] < 1:
        raise UserError(f"{path} has format {tree['format']}, which no run writes", ONLY_OURS)
    if tree["format"] > FORMAT:
        raise UserError(
            f"{path} was written by a newer gancli ({show(tree.get('version'))}): it has format "
            f"{tree['format']}, and this one ({gancli.__version__}) reads formats up to {FORMAT}",
            "install the newer gancli: pip install --upgrade gancli",
        )
    if missing := list(find_absent(tree, LAYOUT)):
        raise UserError(f"{path} lacks {', '.join(missing[:3])}", ONLY_OURS)
    check_size(tree["config"])
    check_facts(tree, path)
    return complete_generator(migrate_tree(tree), path)


def load_exported(path: Path) -> Tree:
    """Reads what gan export has written as the tree of a checkpoint with one network.

    Raises:
        Damaged: The file is broken.
        UserError: It is no file that gan export wrote, or its library is not installed.
    """
    tensors, facts = weights.read_weights(path)
    tree = {key: value for key, value in facts.items() if key in LAYOUT}
    return tree | {"game": {}, "buffers": [], "ema": tensors, "optimizers": {}, EXPORTED: True}


def is_exported(tree: Tree) -> bool:
    """Says whether a tree is an exported file's: the EMA generator, and no other network."""
    return tree.get(EXPORTED) is True


def require_run(tree: Tree, path: Path, *, what: str) -> None:
    """Raises UserError where a file holds the EMA generator alone.

    Args:
        tree: Of the file.
        path: The file.
        what: What needs more than that, as a sentence goes on: "gan features needs the
            discriminator".
    """
    if is_exported(tree):
        raise UserError(
            f"{name_source(path)} holds the EMA generator alone: {what}",
            "gan list zoo has the command that trains such a run"
            if is_zoo_file(path)
            else "gan export wrote it: give the run folder, or a .pt file of its checkpoints/",
        )


def migrate_tree(tree: Tree) -> Tree:
    """Brings the tree of an older file up to FORMAT, in place.

    Args:
        tree: As the file holds it, its layout checked.

    Returns:
        The same tree; its `format` stays the file's own, which tells what its log lines mean.
    """
    if tree["format"] < 2:
        # Weights, moments and seeds are what they were. Up to here the run has logged its penalties
        # times weight and interval (`legend.was_weighted`); a session that goes on logs them bare.
        tree["run"]["weighted_until"] = tree["progress"]["step"]
    return tree


def keep_generator(tree: Tree, *, half: bool) -> Tree:
    """Keeps of a checkpoint the EMA generator alone, for a small file that draws samples.

    Args:
        tree: Of a checkpoint; it stays as it is.
        half: Whether weights go to half precision. Vectors stay as they are: they are small, and
            running means and scales need their digits.

    Returns:
        A tree that `read` reads again once it has been saved.
    """
    ema = {
        name: value.half() if half and value.dtype is torch.float32 and value.ndim > 1 else value
        for name, value in tree["ema"].items()
    }
    kept = {key: tree[key] for key in ("format", "version", "config", "progress", "data", "run")}
    return kept | {"game": {}, "buffers": [], "ema": ema, "optimizers": {}, EXPORTED: True}


def complete_generator(tree: Tree, path: Path) -> Tree:
    """Makes a file that holds the generator alone look like any other's, as far as it goes.

    Args:
        tree: As the file holds it, its layout checked; it is changed in place.
        path: Its file, for the message.

    Returns:
        The same tree: the generator in full precision, in `ema` and in `game`.

    Raises:
        UserError: It has other networks too.
    """
    if not is_exported(tree):
        return tree
    if tree["game"]:
        raise UserError(f"{path} says that it holds the generator alone, and has more", ONLY_OURS)
    tree["ema"] = {
        name: value.float() if isinstance(value, Tensor) and value.dtype is torch.half else value
        for name, value in tree["ema"].items()
    }
    tree["game"] = {f"generator.{name}": value for name, value in tree["ema"].items()}
    return tree


def check_facts(tree: Tree, path: Path) -> None:
    """Checks the counts and names of a file, which every reader of checkpoints relies on.

    Raises:
        UserError: No run could have written them.
    """
    progress = tree["progress"]
    data = tree["data"]
    run = tree["run"]
    found = [
        f"{where}={show(value)}"
        for where, value in (
            *((f"progress.{key}", progress[key]) for key in ("step", "nimg", "attempt")),
            ("data.n", data["n"]),
            *((f"run.{key}", run[key]) for key in ("world", "threads")),
            ("config.trainer.steps", tree["config"]["trainer"]["steps"]),
        )
        if reading.convert_count(value) is None
    ]
    found += [f"progress.{show(key)}" for key in progress.keys() - {"step", "nimg", "attempt"}]
    if not all(isinstance(name, str | int) for name in data["classes"]):
        found.append("data.classes")
    skipped = data.get("skipped", [])
    if not isinstance(skipped, list) or not all(
        isinstance(item, list | tuple) and len(item) == 2 and all(isinstance(x, str) for x in item)
        for item in skipped
    ):
        found.append("data.skipped")
    if found:
        raise UserError(f"{path} holds what no run writes: {', '.join(found[:3])}", ONLY_OURS)


def find_absent(tree: Tree, layout: Tree, prefix: str = "") -> Iterator[str]:
    """Finds the dotted keys of a layout that a tree lacks, or has of another type."""
    for key, kind in layout.items():
        below = tree.get(key)
        wanted = dict if isinstance(kind, dict) else kind
        if not isinstance(below, wanted) or (wanted is int and isinstance(below, bool)):
            yield prefix + key
        elif isinstance(kind, dict):
            yield from find_absent(below, kind, f"{prefix}{key}.")


def read_best(folder: Path, *, until: int | None = None) -> Tree:
    """Reads the best checkpoint of a run; without one, or where it is damaged, the newest.

    Args:
        folder: The folder of a run's checkpoints.
        until: The last step before something went wrong: the newest checkpoint up to there comes
            before a best one that was saved later, if there is any; else the oldest, the nearest.
    """
    path = folder / "best.pt"
    try:
        best = read(path) if path.name in list_names(folder) else None
        if best is not None and (until is None or best["progress"]["step"] <= until):
            return best
    except Damaged as error:
        best = None
        log.warning("%s; taking the newest", error.message)
    older: list[Path] = []
    if until is not None:
        saved = list_steps(folder)
        older = [file for file in saved if step_of(file) <= until]
        if best is None and not older:
            older = saved[::-1]
    for file in older:
        try:
            return read(file)
        except Damaged as error:
            log.warning("%s; trying another", error.message)
    return read_newest(folder)[1] if best is None else best


def step_of(path: Path) -> int:
    """Reads the step off the name of a numbered checkpoint."""
    match = STEP.fullmatch(path.name)
    assert match is not None, f"{path} is no numbered checkpoint"
    return int(match[1])


def read_newest(folder: Path) -> tuple[Path, Tree]:
    """Reads the newest sound checkpoint of a run; a damaged one is passed over, and said.

    Raises:
        UserError: None is left.
    """
    last = [folder / "last.pt"] if "last.pt" in list_names(folder) else []
    files = last + list_steps(folder)
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


def peek(folder: Path) -> Tree | None:
    """Reads the newest checkpoint of a run without its tensors' values, to learn its config.

    Returns:
        The tree, whose tensors are not verified; None where no file can be read.
    """
    for path in [folder / "last.pt", *list_steps(folder)]:
        try:
            tree = torch.load(path, map_location="meta", weights_only=True, mmap=True)
            if (
                isinstance(tree, dict)
                and tree.get("format") in range(1, FORMAT + 1)
                and not [*find_absent(tree, LAYOUT)]
            ):
                check_size(tree["config"])
                return migrate_tree(tree)
        except Exception:  # a file may raise anything; `read_newest` tells it
            log.info("%s cannot be looked at", path, exc_info=True)
    return None


def resolve_path(path: str) -> Path:
    """Turns a run folder, a file or zoo/NAME into the file to read, or the folder to search.

    Raises:
        UserError: There is nothing there.
    """
    # pathlib would raise for an unknown ~user or a name too long.
    given = Path(os.path.expanduser(find_zoo_file(path)))
    if os.path.isdir(given):
        if os.path.isdir(given / "checkpoints"):
            return given / "checkpoints"
        exported = given / f"model{weights.SUFFIX}"  # the folder that gan export wrote
        return exported if os.path.isfile(exported) and not (given / "last.pt").exists() else given
    if not os.path.exists(given):
        raise UserError(
            f"{show(path)} does not exist", "give a run folder (outputs/...) or a .pt file"
        )
    return given


def open_checkpoint(path: str) -> tuple[Path, Tree]:
    """Reads the newest sound checkpoint of a run folder, or this very file.

    Returns:
        Its path and its tree.

    Raises:
        UserError: There is none, or it cannot be used.
    """
    place = resolve_path(path)
    return read_newest(place) if place.is_dir() else (place, read(place))


@dataclass(frozen=True)
class Loaded:
    """A game as a checkpoint holds it, in eval mode and without gradients.

    Attributes:
        game: With the trained networks.
        generator: The EMA generator, or a copy of the trained one.
        tree: All that the file holds.
        path: The file.
    """

    game: Game
    generator: nn.Module
    tree: Tree
    path: Path


def load_game(
    path: str, *, ema: bool = True, trust: tuple[str, ...] = (), device: str = "cpu"
) -> Loaded:
    """Rebuilds a game from its checkpoint alone, for sampling, evaluation and notebooks.

    Args:
        path: A run folder, a file or zoo/NAME.
        ema: Whether `generator` is the EMA generator.
        trust: The user's own packages that the file may name; nothing else outside gancli is ever
            imported.
        device: Where the networks go.

    Raises:
        UserError: The file cannot be used.
    """
    file, tree = open_checkpoint(path)
    return rebuild_game(tree, file, ema=ema, trust=trust, device=device)


def rebuild_game(
    tree: Tree, file: Path, *, ema: bool, trust: tuple[str, ...] = (), device: str = "cpu"
) -> Loaded:
    """Rebuilds the game of a checkpoint that has been read; else as `load_game`."""
    if not ema:
        require_run(tree, file, what="ema=false needs the trained one")
    game = build_matching_game(tree, file, trust=trust)
    if is_exported(tree):
        game.generator.load_state_dict(tree["ema"])
        # Built with the game, and never trained: what asks for it must not get its numbers.
        game.discriminator = None
        game.judges_images = False
    else:
        game.load_state_dict(tree["game"])
    vars(game.progress).update(tree["progress"])
    game.advance(game.progress)
    generator = copy.deepcopy(game.generator)
    if ema:
        generator.load_state_dict(tree["ema"])
    game.to(device).eval().requires_grad_(False)
    return Loaded(game, generator.to(device).eval().requires_grad_(False), tree, file)


def build_matching_game(tree: Tree, path: Path, *, trust: tuple[str, ...]) -> Game:
    """Builds the game of a file's config, once its shapes are known to be the file's."""
    # In this order: nothing is allocated for a config that does not belong to the tensors.
    compare_networks(build_shapes(tree, path, trust=trust), tree, path)
    return build_game(tree["config"], trust=trust)


def build_shapes(tree: Tree, path: Path, *, trust: tuple[str, ...]) -> Game:
    """Builds the game of a file's config on the meta device: shapes alone, no memory."""
    try:
        with limit_modules(MOST_MODULES):
            return build_ghost(tree["config"], trust=trust)
    except GanError:
        raise
    except Exception as error:  # sizes from a file can make a network raise anything
        raise UserError(
            f"the config in {path} builds no game: {first_line(error)}", ONLY_OURS
        ) from error


@contextmanager
def limit_modules(modules: int) -> Iterator[None]:
    """Raises UserError where more modules are built meanwhile."""
    built = 0  # each costs time and memory, even without its tensors

    def count(*_: object) -> None:
        nonlocal built
        built += 1
        if built > modules:
            raise UserError(f"the config describes more than {modules:,} layers", ONLY_OURS)

    handle = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def compare_networks(ghost: Game, tree: Tree, path: Path) -> None:
    """Raises UserError where the networks of a file are not those of its config."""
    if not is_exported(tree):
        compare_tensors(ghost.state_dict(), tree["game"], path)
    compare_tensors(ghost.generator.state_dict(), tree["ema"], path)


RESUMED: Tree = {  # what a file must hold beside LAYOUT for a run to go on from it
    "config": {"ema": dict, "log": dict, "optimizer": {"g": dict}},
    "run": {"rollbacks": int},
}


def check_resumable(tree: Tree, path: Path) -> None:
    """Checks what a run needs to go on from a file, beside its networks.

    Raises:
        UserError: Something is missing, or no run could have written it.
    """
    require_run(tree, path, what="no training can go on from that")
    found = [f"no {name}" for name in find_absent(tree, RESUMED)]
    run = tree["run"]
    best = run.get("best")
    if "best" not in run:
        found.append("no run.best")
    if reading.convert_count(run.get("rollbacks")) is None or run["rollbacks"] > MOST_COUNTED:
        found.append(f"run.rollbacks={show(run.get('rollbacks'))}")
    if best is not None and not (
        isinstance(best, dict)
        and best.keys() == {"key", "mode", "step", "value"}
        and isinstance(best["key"], str)
        and best["mode"] in ("min", "max")
        and reading.convert_count(best["step"]) is not None
        and reading.convert_number(best["value"]) is not None
    ):
        found.append(f"run.best={show(best)}")
    if reading.convert_count(run.get("weighted_until", 0)) is None:
        found.append(f"run.weighted_until={show(run['weighted_until'])}")
    if not isinstance(run.get("owes_evaluation", False), bool):
        found.append(f"run.owes_evaluation={show(run['owes_evaluation'])}")
    watch = run.get("watch", {})
    if not isinstance(watch, dict) or not all(
        isinstance(name, str) and reading.convert_count(count) is not None
        for name, count in watch.items()
    ):
        found.append(f"run.watch={show(watch)}")
    world = run["world"]
    if len(tree["buffers"]) != (world if world > 1 else 0):
        found.append(f"buffers of {len(tree['buffers'])} ranks, and run.world={world}")
    if found:
        raise UserError(
            f"{path} is no state that a run can go on from: {', '.join(found[:3])}", ONLY_OURS
        )


def check_state(tree: Tree, path: Path, *, trust: tuple[str, ...]) -> None:
    """Compares all that a file holds with what its config describes, on the meta device.

    Raises:
        UserError: Names what differs: networks, the EMA generator, buffers of every rank,
            optimizers. Nothing has been allocated.
    """
    try:
        ghost = build_shapes(tree, path, trust=trust)
    except UserError:
        if not trust:
            raise
        # A class of the user's own, who trusts it, may need real tensors while it is built.
        ghost = build_game(tree["config"], trust=trust)
    compare_networks(ghost, tree, path)
    buffers = dict(ghost.named_buffers())
    for entry in tree["buffers"]:
        if not isinstance(entry, dict):
            raise UserError(f"{path} holds {show(entry)} in place of a rank's buffers", ONLY_OURS)
        compare_tensors(buffers, entry, path)
    for name, value in [*tree["game"].items(), *tree["ema"].items()]:
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(
                f"{path} holds weights that are not finite: {show(name)}",
                "resume from an earlier checkpoint: move this file out of checkpoints/, "
                "last.pt too",
            )
    players = make_players(ghost, tree["config"]["optimizer"], ghost=True)
    if tree["optimizers"].keys() != players.keys():
        raise UserError(
            f"{path} holds optimizers of {show(sorted(map(str, tree['optimizers'])))}, "
            f"its game has {', '.join(players)}",
            ONLY_OURS,
        )
    for name, player in players.items():
        problem = misfit_of(tree["optimizers"][name], player)
        if problem:
            raise UserError(f"{path} does not fit the optimizer of {name}: {problem}", ONLY_OURS)


def compare_tensors(wanted: dict[str, Tensor], got: dict[str, Tensor], path: Path) -> None:
    """Compares the tensors of a config's networks with those of a file, by shape and type.

    Raises:
        UserError: Names the first that differ.
    """
    differ = [
        f"{show(name)}: config {describe_tensor(wanted, name)}, file {describe_tensor(got, name)}"
        for name in wanted | got
        if describe_tensor(wanted, name) != describe_tensor(got, name)
    ]
    if differ:
        raise UserError(
            f"{path} does not hold the networks of its config ({len(differ)} tensors differ): "
            + "; ".join(differ[:3]),
            "use a checkpoint of the same model, size and classes",
        )


def describe_tensor(tensors: dict[str, Tensor], name: str) -> str:
    """Describes one tensor: its shape, and its type where that is not float32."""
    if name not in tensors:
        return "nothing"
    value = tensors[name]
    if not isinstance(value, Tensor):
        return show(value)
    kind = "" if value.dtype is torch.float32 else f" of {str(value.dtype).removeprefix('torch.')}"
    return f"{tuple(value.shape)}{kind}"
