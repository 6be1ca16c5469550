"""init=: a new run starts from the weights of another, as far as names and shapes agree."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gancli import checkpoint
from gancli.config.values import show
from gancli.errors import UserError
from gancli.files.zoo import name_source, write_start
from gancli.game import Game

TRIES = 3  # a run that still goes on may save again while its file is read
MOST_NAMED = 4  # tensors that were not taken, named beside their number


@runtime_checkable
class NamesLevels(Protocol):
    """A network that counts some of its layers from the finest level of its images.

    The same layer has then another number at another resolution.
    """

    def name_levels(self) -> dict[str, str]:
        """Gives for the beginnings of such names those that count from the coarsest level."""


@dataclass(frozen=True)
class Source:
    """Where the weights come from.

    Attributes:
        given: What was typed.
        file: The checkpoint that was read.
        digest: SHA-256 of the file, in hexadecimal digits.
        tree: All that it holds.
        game: The game of its config, on the meta device: names and shapes.
    """

    given: str
    file: Path
    digest: str
    tree: checkpoint.Tree
    game: Game


@dataclass
class Share:
    """What one network of the new run has taken over.

    Attributes:
        taken: Tensors.
        tensors: Tensors that it has.
        taken_parameters: Trainable numbers in them.
        parameters: Trainable numbers that it has.
    """

    taken: int = 0
    tensors: int = 0
    taken_parameters: int = 0
    parameters: int = 0


@dataclass
class Taken:
    """What a new run has taken over, for what is said of it.

    Attributes:
        shares: Network -> what it has taken.
        missed: What was not taken, with the reason.
        unused: How many tensors of the source have no place in the new networks.
        names: Name in the new game -> name in the source.
    """

    shares: dict[str, Share] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    unused: int = 0
    names: dict[str, str] = field(default_factory=dict)


def open_source(given: str, *, trust: tuple[str, ...]) -> Source:
    """Reads the checkpoint that init= names; no code of the file's is run.

    Args:
        given: A run folder, a file of a run, or zoo/NAME.
        trust: The user's own packages that the file may name.

    Raises:
        UserError: There is none, or it cannot be used.
    """
    if not given.strip():
        raise UserError("init= names no run", "init=RUN, a .pt file, or zoo/NAME (gan list zoo)")
    file, digest, tree = read_unchanged(given)
    ghost = checkpoint.build_shapes(tree, file, trust=trust)
    checkpoint.compare_networks(ghost, tree, file)
    for name, value in [*tree["game"].items(), *tree["ema"].items()]:
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(
                f"{file} holds weights that are not finite: {show(name)}",
                "start from an earlier checkpoint of that run",
            )
    return Source(given, file, digest, tree, ghost)


def read_unchanged(given: str) -> tuple[Path, str, checkpoint.Tree]:
    """Reads a checkpoint and its digest, both of the same bytes.

    Args:
        given: As in `open_source`.

    Returns:
        The file, the digest as in `Source`, and all that the file holds.

    Raises:
        UserError: There is none, it cannot be used, or it is written again and again meanwhile.
    """
    place = checkpoint.resolve_path(given)
    for _ in range(TRIES):
        before = {path: identify(path) for path in (place.iterdir() if place.is_dir() else [place])}
        file, tree = checkpoint.open_checkpoint(given)
        with open(file, "rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if before.get(file) == identify(file):
            return file, digest, tree
    raise UserError(
        f"{file} was written anew each of the {TRIES} times that it was read",
        "wait until that run has ended, or copy the file and give the copy to init=",
    )


def identify(path: Path) -> tuple[int, ...] | None:
    """Gives what changes when a file is written or replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:  # an older checkpoint, removed meanwhile
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def take_weights(game: Game, source: Source) -> Taken:
    """Copies the weights whose names and shapes agree into a new game.

    Optimizers, averages of losses, pools of images and the state of augmentation start anew.

    Args:
        game: Newly built; changed in place.
        source: Where the weights come from.

    Returns:
        What was taken and what was not.

    Raises:
        UserError: Nothing agrees.
    """
    names = name_levels(game)
    stored = source.tree["game"]  # of a file with the generator alone, its names and no others
    levels = name_levels(source.game)
    theirs = {there: own for own, there in levels.items() if own in stored}
    found = Taken()
    for own, tensor in list_state(game).items():
        share = found.shares.setdefault(own.partition(".")[0], Share())
        share.tensors += 1
        size = tensor.numel() if isinstance(tensor, nn.Parameter) else 0
        share.parameters += size
        there = theirs.get(names[own])
        if there is None:
            found.missed.append(f"{own} (not in the file)")
        elif stored[there].shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)} here, {tuple(stored[there].shape)} in the file"
            found.missed.append(f"{own} ({shapes})")
        # copy_ would round or wrap in silence.
        elif stored[there].dtype is not tensor.dtype:
            found.missed.append(f"{own} (numbers of another type)")
        else:
            with torch.no_grad():
                tensor.copy_(stored[there])
            found.names[own] = there
            share.taken += 1
            share.taken_parameters += size
    # A bias of one number fits anything.
    if not any(stored[name].ndim > 1 for name in found.names.values()):
        raise UserError(
            f"init={show(source.given)}: no weight of {source.file} fits this model: "
            + "; ".join(found.missed[:MOST_NAMED]),
            f"it holds {describe_game(source.tree)}: "
            + (write_start(source.given) or "choose that model, of the same widths"),
        )
    check_frozen(game, found, source)
    found.unused = len(theirs) - len(found.names)
    return found


def check_frozen(game: Game, taken: Taken, source: Source) -> None:
    """Raises UserError where what shall not move was not taken: it would stay random."""
    lost = [
        name
        for name, p in game.named_parameters()
        if name.startswith("discriminator.") and not p.requires_grad and name not in taken.names
    ]
    if lost:
        alone = checkpoint.is_exported(source.tree)
        raise UserError(
            f"init.freeze_d would keep {len(lost)} tensors of the discriminator random, which "
            f"{name_source(source.file)} does not have"
            f"{'' if alone else ' in this shape'}: {', '.join(lost[:MOST_NAMED])}",
            "leave init.freeze_d out: this file holds the generator alone"
            if alone
            else "leave init.freeze_d out, or train at the file's resolution and channels",
        )


def take_average(ema: nn.Module, taken: Taken, source: Source) -> None:
    """Copies the EMA generator's weights into the average of a new run.

    Args:
        ema: A copy of the new generator; changed in place.
        taken: What `take_weights` has said.
        source: Where the weights come from.
    """
    prefix = "generator."
    with torch.no_grad():
        for name, tensor in ema.state_dict(keep_vars=True).items():
            there = taken.names.get(prefix + name)
            if there is not None:
                tensor.copy_(source.tree["ema"][there.removeprefix(prefix)])


def list_state(game: Game) -> dict[str, Tensor]:
    """Lists the stored tensors of the networks that players move, by their names in the game."""
    moved = {
        id(tensor)
        for modules in game.players().values()
        for module in modules
        for tensor in itertools.chain(module.parameters(), module.buffers())
    }
    state: Mapping[str, Tensor] = game.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if id(tensor) in moved}


def name_levels(game: Game) -> dict[str, str]:
    """Gives each stored tensor of a game the name by which two resolutions can be compared."""
    levels = [
        (f"{path}.{own}.", f"{path}.{there}.")
        for path, module in game.named_modules()
        if isinstance(module, NamesLevels)
        for own, there in module.name_levels().items()
    ]
    return {name: rename(name, levels) for name in list_state(game)}


def rename(name: str, levels: list[tuple[str, str]]) -> str:
    """Replaces the beginning of a name where it is one of the first of these pairs."""
    for own, there in levels:
        if name.startswith(own):
            return there + name.removeprefix(own)
    return name


def describe_game(tree: checkpoint.Tree) -> str:
    """Names the model of a checkpoint, its resolution and its data."""
    config = tree["config"]
    model = config["model"]["_target_"].rpartition(".")[2]
    generator = config["model"].get("generator")
    network = generator.get("_target_") if isinstance(generator, dict) else None
    words = model if network is None else f"{model} of {str(network).rpartition('.')[2]}"
    article = "an" if model[0] in "AEIO" else "a"
    return f"{article} {words} at step {tree['progress']['step']}"


def describe_taken(taken: Taken, source: Source) -> Iterator[str]:
    """Says what a new run has taken over, line by line."""
    yield (
        f"init: weights of {name_source(source.file)}, {describe_game(source.tree)} "
        f"(sha256 {source.digest[:12]})"
    )
    for network, share in taken.shares.items():
        yield (
            f"  {network}: {share.taken} of {share.tensors} tensors, {share.taken_parameters:,} of "
            f"{share.parameters:,} parameters"
        )
    if taken.missed:
        named = "; ".join(taken.missed[:MOST_NAMED])
        more = len(taken.missed) - MOST_NAMED
        yield f"  new, not taken: {named}" + (f"; and {more} more" if more > 0 else "")
    if taken.unused:
        noun = "tensor has" if taken.unused == 1 else "tensors have"
        yield f"  of the file {taken.unused} {noun} no place here"


def has_whole_generator(taken: Taken) -> bool:
    """Says whether all of the generator was taken."""
    share = taken.shares.get("generator", Share())
    return 0 < share.taken == share.tensors


def is_small(taken: Taken, source: Source) -> bool:
    """Says whether less than a tenth was taken of the networks that the file has at all."""
    held = {name.partition(".")[0] for name in source.tree["game"]}
    shares = [share for network, share in taken.shares.items() if network in held]
    return 10 * sum(share.taken_parameters for share in shares) < sum(
        share.parameters for share in shares
    )
