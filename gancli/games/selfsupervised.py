"""Heads that need no labels: tasks whose answers the data hold themselves."""

from __future__ import annotations

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gancli.game import Critic, Logs
from gancli.games.heads import Head
from gancli.networks.layers import constrain_weight, size_of
from gancli.networks.mlp import linear


class Rotation(Head):
    """By how many quarters was the image turned? (SSGAN, Chen 2019, section 3).

    Asked of reals, and of fakes for the generator. Each quarter of the batch is turned by another
    angle, as in mimicry's code, so that an image keeps its place and its label.

    d, g: weights in the loss of the discriminator and of the generator. resolution: of the data,
    square, or an image would show its quarter by its shape. norm: "spectral" divides the layer by
    its spectral norm, as in the paper where the discriminator's are.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        d: float = 1.0,
        g: float = 0.2,
        norm: Literal["none", "spectral"] = "none",
    ):
        super().__init__()
        height, width = size_of(resolution)
        if height != width or height < 2:
            raise ValueError(
                f"a {width}x{height} image cannot be turned by a quarter unseen: give square "
                "images, dataset.resolution=64, or leave the rotation head out"
            )
        if min(d, g) < 0:
            raise ValueError(f"d={d}, g={g}: weights are 0 or more")
        self.weight_d = d
        self.weight_g = g
        self.norm = norm

    def attach(self, feature_dim: int) -> None:
        """Adds a linear layer from features (N,feature_dim) to logits of four angles (N,4)."""
        self.out = constrain_weight(linear(feature_dim, 4), self.norm)

    def d(
        self, critic: Critic, real: Tensor, fake: Tensor, label: Tensor | None
    ) -> tuple[Tensor, Logs]:
        """Costs reals (N,C,S,S) whose turn is not told; fakes and labels are not looked at."""
        return self.term(critic, real, self.weight_d)

    def g(
        self, critic: Critic, real: Tensor, fake: Tensor, label: Tensor | None
    ) -> tuple[Tensor, Logs]:
        """Costs fakes (N,C,S,S) whose turn is not told, which the generator can change."""
        return self.term(critic, fake, self.weight_g)

    def term(self, critic: Critic, x: Tensor, weight: float) -> tuple[Tensor, Logs]:
        """Costs what the features do not tell of by how many quarters images were turned.

        Args:
            critic: Gives the features.
            x: (N,C,S,S) in [-1,1], reals or fakes; they are turned here.
            weight: Of the cross-entropy.
        """
        # In blocks of the batch, as `turn_by_quarters` turns them.
        turns = torch.arange(len(x), device=x.device) * 4 // len(x)
        logits = self.out(critic.features(turn_by_quarters(x))).float()
        cost = F.cross_entropy(logits, turns)
        hits = (logits.detach().argmax(1) == turns).float().mean()
        return weight * cost, {"ce": cost.detach(), "accuracy": hits}


def turn_by_quarters(x: Tensor) -> Tensor:
    """Turns image i of (N,C,S,S) anticlockwise by i * 4 // N quarters."""
    n = len(x)
    ends = [-(-k * n // 4) for k in range(5)]  # where i * 4 // N becomes k
    return torch.cat(
        [x[first:last].rot90(k, (2, 3)) for k, (first, last) in enumerate(itertools.pairwise(ends))]
    )
