"""Images with alpha as they are seen: their colours laid over white."""

from __future__ import annotations

from torch import Tensor

from gancli.augment.base import Augment


class OverWhite(Augment):
    """Shows images with alpha over white, and changes nothing else; others stay.

    Args:
        channels: Of one image, see `Augment`.
    """

    def __init__(self, *, channels: int = 0):
        super().__init__(over_white=True, channels=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Blends (N,C,H,W) in [-1,1] with white."""
        return self.show(x)
