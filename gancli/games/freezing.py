"""FreezeD: the first blocks of a discriminator, those next to the image, do not move."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn

from gancli.game import Game, children


@runtime_checkable
class ListsBlocks(Protocol):
    """A network whose layers are not registered in the order in which an image meets them."""

    def list_blocks(self) -> list[tuple[str, list[nn.Module]]]:
        """Lists names of its blocks and their modules, the one next to the image first."""


def list_blocks(network: nn.Module) -> list[tuple[str, list[nn.Module]]]:
    """Lists the blocks of a network, the one next to its input first.

    Each layer, and each member of a sequence of layers, is a block; what has vectors alone, as a
    normalisation has, belongs to the block before it, and what has no parameters is none.

    Args:
        network: Its layers are registered in the order of use, or it is a `ListsBlocks`.
    """
    if isinstance(network, ListsBlocks):
        return network.list_blocks()
    parts: list[tuple[str, nn.Module]] = []
    for name, child in network.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            parts += [(f"{name}.{key}", item) for key, item in child.named_children()]
        else:
            parts.append((name, child))
    blocks: list[tuple[str, list[nn.Module]]] = []
    for name, part in parts:
        parameters = list(part.parameters())
        if not parameters:
            continue
        if blocks and all(p.ndim < 2 for p in parameters):
            blocks[-1][1].append(part)
        else:
            blocks.append((name, [part]))
    return blocks


def freeze_discriminator(game: Game, n: int) -> list[str]:
    """Freezes the first n blocks of each discriminator of a game.

    What needs no gradient when the players are made is never moved.

    Args:
        game: Newly built.
        n: How many blocks, 0 or more (Mo et al. 2020, "Freeze the Discriminator").

    Returns:
        The names of the frozen blocks.

    Raises:
        ValueError: There are no such blocks, or none would be left to learn.
    """
    if n == 0:
        return []
    critics = children(game.discriminator)
    if not critics:
        raise ValueError(f"init.freeze_d={n}: this model has no discriminator")
    frozen: list[str] = []
    for critic in critics:
        blocks = list_blocks(critic)
        if n >= len(blocks):
            raise ValueError(
                f"init.freeze_d={n}: {type(critic).__name__} has {len(blocks)} blocks, and at "
                f"least one must learn: give at most {len(blocks) - 1}"
            )
        for name, modules in blocks[:n]:
            frozen += [] if name in frozen else [name]
            for module in modules:
                module.requires_grad_(False)
    return frozen
