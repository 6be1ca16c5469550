"""Three random MNIST digits as the channels of one colour image.

They make 1,000 modes that a classifier can count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from gancli.data import cache
from gancli.data.base import Decoded, choose, digest_of, places, require
from gancli.data.builtin import MNIST, Downloaded
from gancli.data.draws import draws
from gancli.errors import UserError
from gancli.seeding import seed_of


@dataclass(kw_only=True)
class StackedMNIST(Downloaded):
    """n colour images, labelled 100 red + 10 green + blue.

    Metz 2017 (unrolled GANs); n as in PacGAN (Lin 2018).

    The digits are drawn once, with replacement, from MNIST's `split`: the same n gives the same
    images for ever.
    """

    n: int = 128_000
    split: Literal["train", "test"] = "train"
    native = (28, 3, 1000)
    drawing = True

    def __post_init__(self):
        super().__post_init__()
        require(self.n >= 1, f"dataset.n={self.n} makes no image", "1 or more")
        require(
            self.channels in (3, "auto"),
            f"dataset.channels={self.channels}: stacked digits are red, green and blue",
            "dataset.channels=3",
        )

    def load(self) -> Decoded:
        """Stacks the digits. Raises UserError."""
        source = self.settled()
        height, width = source.size()
        held, train, spare = choose(source.n, limit=source.limit, holdout=source.holdout)
        chosen = (
            np.concatenate([np.sort(held), np.sort(train)]) if len(spare) else np.arange(source.n)
        )
        require_memory(len(chosen) * 3 * height * width)
        digits = MNIST(
            root=source.root,
            download=source.download,
            split=source.split,
            resolution=[height, width],
            channels=1,
            classes=10,
        ).load()
        picked = torch.from_numpy(triples(source.n, len(digits), source.split)[chosen])
        assert digits.labels is not None
        labels, classes = source.labelled(
            (digits.labels[picked] @ torch.tensor([100, 10, 1])).numpy(),
            [f"{k:03d}" for k in range(1000)],
        )
        return Decoded(
            images=digits.images[picked][:, :, 0],
            labels=labels,
            classes=classes,
            digest=digest_of([digits.digest, "stacked", str(source.n)]),
            place=torch.from_numpy(places(source.n)[chosen]),
        )


def triples(n: int, digits: int, split: str) -> np.ndarray:
    """Draws (n,3) int64: which digit is red, green and blue in each image."""
    # By counters: the first 1,000 images are the same whatever n is.
    drawn = draws(seed_of("stacked_mnist", split), np.arange(3 * n)) % np.uint64(digits)
    return drawn.astype(np.int64).reshape(n, 3)


def require_memory(need: int) -> None:
    """Raises UserError where memory has no room for so many bytes."""
    if not cache.fits(need):
        free = cache.gigabytes(cache.available_memory() or 0)
        raise UserError(
            f"stacked_mnist takes {cache.gigabytes(need)} of memory, {free} are free",
            "a smaller dataset.n, or dataset.limit=N",
        )
