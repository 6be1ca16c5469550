"""What every augmentation of the discriminator's view has in common."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gancli.errors import UserError

WITH_ALPHA = (2, 4)  # channels: grey or RGB, and alpha


class Augment(nn.Module):
    """Changes all that the discriminator sees, reals and fakes alike; may have buffers.

    It is random, seeded by the trainer, and differentiable twice, so that penalties work through
    it.

    Files hold white where alpha is 0 and full colours right beside it, up to the last faint pixel
    of an outline. A generator draws no such edge, so the discriminator tells it from a file by what
    nobody sees, and wins; `over_white` shows it what is seen.

    Args:
        over_white: Whether `show` blends the colours of images with alpha with white.
        channels: Of one image, 2 or 4 with alpha: a discriminator of pairs sees several, one after
            the other. 0: all that come are one image.
    """

    def __init__(self, *, over_white: bool = False, channels: int = 0):
        super().__init__()
        if channels < 0:
            raise ValueError(f"channels={channels}: give the number of one image's, or 0")
        self.over_white = over_white
        self.channels = channels

    def show(self, x: Tensor) -> Tensor:
        """Shows images (N,C,H,W) in [-1,1] as they are seen; without `over_white` as they are.

        The discriminator sees this wherever it looks at images without augmentation, too.
        """
        size = self.channels or x.shape[1]
        if not self.over_white or size not in WITH_ALPHA:
            return x
        if x.shape[1] == size:
            return show_over_white(x)
        n, _, h, w = x.shape
        return show_over_white(x.reshape(-1, size, h, w)).view(n, -1, h, w)

    def forward(self, x: Tensor) -> Tensor:
        """Augments images (N,C,H,W) in [-1,1], whose shape stays."""
        raise NotImplementedError

    def adapt(self, sign_real: Tensor, nimg: int) -> None:
        """Learns from a step of the discriminator.

        Args:
            sign_real: 0-d, the mean sign of real scores over all ranks.
            nimg: Real images shown.
        """

    def logs(self) -> dict[str, Tensor]:
        """Returns 0-d tensors that belong into the discriminator's log line."""
        return {}


def follow(augment: Augment | None, logs: dict[str, Tensor], nimg: int) -> None:
    """Adapts an augmentation to the averaged logs of a step, and adds its own to them.

    Args:
        augment: None does nothing.
        logs: Of the discriminator's step; changed in place.
        nimg: Real images shown.
    """
    if augment is not None:
        augment.adapt(logs["d/sign_real"], nimg)
        logs |= {f"d/{key}": value for key, value in augment.logs().items()}


def need_images(resolution: int | list[int], name: str) -> None:
    """Raises UserError for points, which are (2,1,1): they have no neighbours and no colours."""
    if min([resolution] if isinstance(resolution, int) else resolution) < 2:
        raise UserError(
            f"{name} needs images of 2 x 2 pixels or more, and the data have resolution "
            f"{resolution}",
            "leave it out, or train on images",
        )


def colours(channels: int) -> int:
    """Counts an image's channels that are colour: grey or RGB comes first, alpha may follow."""
    return 1 if channels <= 2 else 3


def show_over_white(x: Tensor) -> Tensor:
    """Blends colours (N,1 or 3,H,W) in [-1,1] with white by the alpha behind them, which stays."""
    colour, alpha = x[:, :-1], x[:, -1:]
    return torch.cat([1 + (colour - 1) * (alpha + 1) / 2, alpha], 1)
