"""Pictures of people in poses: who is in each, what shows its pose, and what is background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

SEEN = 8  # of 255: a pixel that differs by more from the background is foreground


@dataclass(frozen=True, eq=False)
class People:
    """What makes pairs of single pictures: two of one person, and the poses of both.

    Attributes:
        person: (N,) int64, who is in each picture.
        draw: Makes the maps (N,C,H,W) in [-1,1] of `Decoded.further["joints"]` (N,J,2); None:
            `Decoded.further["pose"]` holds pictures of the poses.
        background: Its level in each channel; None: the median of each picture's border.
    """

    person: Tensor
    draw: Callable[[Tensor], Tensor] | None = None
    background: tuple[int, ...] | None = None

    def subset(self, rows: slice | Tensor) -> Self:
        """Returns what remains of some pictures."""
        return replace(self, person=self.person[rows])


class Partners:
    """Finds another picture of the same person."""

    def __init__(self, person: Tensor):
        """person: (N,) int64, who is in each picture."""
        who = person.numpy()
        self.order = np.argsort(who, kind="stable")
        _, self.group, self.count = np.unique(who, return_inverse=True, return_counts=True)
        self.first = np.cumsum(self.count) - self.count
        self.rank = np.empty(len(who), np.int64)
        self.rank[self.order] = np.arange(len(who)) - self.first[self.group[self.order]]

    def draw(self, index: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """Draws a partner of each picture; whoever has one picture alone is its own.

        Args:
            index: (N,) int64.
            bits: (N,) uint64, a draw for each.

        Returns:
            (N,) int64
        """
        group = self.group[index]
        count = self.count[group]
        others = np.maximum(count - 1, 1)
        step = 1 + (bits % others.astype(np.uint64)).astype(np.int64)
        return self.order[self.first[group] + (self.rank[index] + step) % count]


def find_background(levels: Tensor, background: tuple[int, ...] | None) -> Tensor:
    """Finds the background of pictures (N,C,H,W) in 0 ... 255: (N or 1,C,1,1)."""
    if background is not None:
        return torch.tensor(background, device=levels.device).float().view(1, -1, 1, 1)
    border = torch.cat(
        [levels[:, :, 0], levels[:, :, -1], levels[:, :, 1:-1, 0], levels[:, :, 1:-1, -1]], 2
    )
    return border.float().median(2).values[:, :, None, None]


def find_foreground(levels: Tensor, background: Tensor) -> Tensor:
    """Finds what is not background in pictures (N,C,H,W) in 0 ... 255: (N,1,H,W) bool."""
    return ((levels.float() - background).abs() > SEEN).any(1, keepdim=True)
