"""An image history buffer: a discriminator is shown some earlier fakes in place of new ones.

Shrivastava 2017, section 2.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gancli.game import Batch


class ImagePool(nn.Module):
    """Earlier fakes, in buffers and so in the checkpoint; every rank has its own.

    size: images; 0 remembers nothing. shape: (C,H,W) of an image.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, size: int, shape: tuple[int, int, int]):
        super().__init__()
        if size < 0:
            raise ValueError(f"pool={size}: give 0 or more images (the paper's: 50)")
        self.size = size
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def swap(self, new: Tensor, rng: torch.Generator) -> Tensor:
        """Takes new images (N,C,H,W) and returns as many.

        While it fills up, the same; then each with probability 1/2 an older one, whose place it
        takes.
        """
        if self.size == 0:
            return new
        # On the CPU and for the whole batch at once: every device swaps alike.
        coins = torch.rand(len(new), generator=rng) < 0.5
        places = torch.randint(self.size, (len(new),), generator=rng)
        shown = []
        for image, coin, place in zip(
            new, coins.to(new.device), places.to(new.device), strict=True
        ):
            full = self.filled >= self.size  # a tensor: no branch, so the host never waits for it
            # While it fills, the next free place; the clamp serves the branch that is not taken.
            place = torch.where(full, place, self.filled.clamp(max=self.size - 1))
            old = self.images[place]
            take = full & coin
            keep = ~full | coin
            shown.append(torch.where(take, old.to(image.dtype), image))
            self.images[place] = torch.where(keep, image.to(old.dtype), old)
            self.filled.add_((~full).long())
        return torch.stack(shown)


def blank_batch(
    n: int,
    keys: tuple[str, ...],
    *,
    channels: int,
    source: tuple[int, int],
    target: tuple[int, int],
) -> Batch:
    """Makes a batch of the right shapes, to build networks on the meta device with."""
    shapes = {"a": (n, channels, *source), "b": (n, channels, *target), "mask": (n, 1, *source)}
    return {key: torch.zeros(shapes[key]) for key in keys}
