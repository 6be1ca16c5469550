"""Mixtures of Gaussians in the plane: the benchmark in which lost modes can be counted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gancli.data.base import Decoded, Source, digest_of, require
from gancli.modality import Points


@dataclass(kw_only=True)
class Mixture(Source):
    """n points around the modes in turn, labelled by their mode.

    Stored divided by `scale`, so data units = points * scale.
    """

    n: int = 100_000
    sigma: float = 0.01
    scale: float = 1.0
    resolution: int | list[int] | str = 1
    channels: int | str = 2
    kind: str = "points"

    def __post_init__(self):
        super().__post_init__()
        require(
            self.n >= 1 and self.sigma >= 0 and self.scale > 0,
            f"dataset.n={self.n} sigma={self.sigma} scale={self.scale}",
            "n and scale above 0, sigma not below",
        )
        require(
            self.resolution in (1, "auto", [1, 1])
            and self.channels in (2, "auto")
            and isinstance(self.modality(), Points),
            "points have kind points, resolution 1 and channels 2",
            "leave the three as they are",
        )

    def centers(self) -> Tensor:
        """Places the modes: (modes,2) float32 in data units."""
        raise NotImplementedError

    def scan(self) -> dict:
        """Returns the values of what is "auto"."""
        return self.fill(resolution=1, channels=2, classes=len(self.centers()))

    def load(self) -> Decoded:
        """Draws the points."""
        source = self.settled()
        centers = self.centers()
        mode = np.arange(self.n) % len(centers)
        # RandomState is numpy's one generator that promises the same numbers for ever; another seed
        # would be other data.
        noise = torch.from_numpy(np.random.RandomState(0).standard_normal((self.n, 2)))
        points = ((centers[mode].double() + self.sigma * noise) / self.scale).float()
        labels, classes = source.labelled(mode, [str(k) for k in range(len(centers))])
        identity = [type(self).__name__, repr((self.n, self.sigma, self.scale))]
        return Decoded(
            images=points[:, :, None, None],
            labels=labels,
            classes=classes,
            digest=digest_of(identity),
        )


@dataclass(kw_only=True)
class Ring(Mixture):
    """8 Gaussians on the unit circle, sigma 0.01 (PacGAN).

    scale 1: each coordinate has a deviation of 0.71 already.
    """

    def centers(self) -> Tensor:
        """Returns (8,2) in data units."""
        # k / 8, not linspace to the end: the last angle would be the first again, and one mode
        # lost.
        angles = torch.arange(8, dtype=torch.float64) * (2 * math.pi / 8)
        return torch.stack([angles.cos(), angles.sin()], dim=1).float()


@dataclass(kw_only=True)
class Grid(Mixture):
    """25 Gaussians on {-4,-2,0,2,4} squared, sigma 0.05 (PacGAN).

    scale 4: the outer modes lie at 1, as on the ring.
    """

    sigma: float = 0.05
    scale: float = 4.0

    def centers(self) -> Tensor:
        """Returns (25,2) in data units."""
        axis = torch.tensor([-4.0, -2.0, 0.0, 2.0, 4.0])
        return torch.cartesian_prod(axis, axis)
