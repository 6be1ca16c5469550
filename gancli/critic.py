"""Turns a discriminator into a critic: binds a batch, and runs the trunk once per tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class BoundCritic:
    """Lives for one loss call (one phase, one micro-batch), so its memory needs no invalidation.

    trunk, head: the two halves of the network, with labels, stage and the like bound by `partial`
    augment, noise: image -> image and a standard deviation; before the network, in d and g alike
    join: adds the source: concatenates it, or adds the coarse image of a pyramid
    pack: images scored together (PacGAN, Lin 2018): N images give M = N / pack scores
    """

    def __init__(
        self,
        trunk: Callable[[Tensor], Tensor],
        head: Callable[[Tensor], Tensor],
        *,
        augment: Callable[[Tensor], Tensor] | None = None,
        noise: float = 0.0,
        join: Callable[[Tensor], Tensor] | None = None,
        pack: int = 1,
    ):
        self.trunk = trunk
        self.head = head
        self.augment = augment
        self.noise = noise
        self.join = join
        self.pack = pack
        # Pairs of (image, hidden). The image itself is kept: a bare id() is reused once a tensor is
        # freed.
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, x: Tensor) -> Tensor:
        """Scores images (N,C,H,W) -> (M,...)."""
        return self.head(self.hidden(x))

    def features(self, x: Tensor) -> Tensor:
        """Reads the features of images (N,C,H,W) -> (M,F)."""
        return self.hidden(x).flatten(1)

    def hidden(self, x: Tensor) -> Tensor:
        """Runs the trunk on (N,C,H,W), or remembers what it has made of this very tensor."""
        # A second pass would cost 2.4 times, draw another augmentation and move batch and spectral
        # norms twice.
        for image, hidden in self.seen:
            if image is x:
                return hidden
        hidden = self.trunk(self.view(x))
        self.seen.append((x, hidden))
        return hidden

    def view(self, x: Tensor) -> Tensor:
        """Prepares images (N,C,H,W) for the network: augmented, noisy, joined, packed."""
        if self.augment is not None:
            x = self.augment(x)
        if self.noise > 0:
            # After the augmentation: it would blur or cut the noise with the image.
            x = x + self.noise * torch.randn_like(x)
        if self.join is not None:
            x = self.join(x)
        if self.pack == 1:
            return x
        n, c, h, w = x.shape
        return x.reshape(n // self.pack, c * self.pack, h, w)
