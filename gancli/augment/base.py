"""What every augmentation of the critic's view has in common."""

from __future__ import annotations

from torch import Tensor, nn

from gancli.errors import UserError


class Augment(nn.Module):
    """Random, seeded by the trainer, and differentiable twice, so that penalties work through it.

    May have buffers."""

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) in [-1,1] -> the same shape."""
        raise NotImplementedError

    def adapt(self, sign_real: Tensor, nimg: int) -> None:
        """Called after each step of the critic. sign_real: 0-d, the mean sign of real scores over
        all ranks."""

    def logs(self) -> dict[str, Tensor]:
        """0-d tensors that belong into the critic's log line."""
        return {}


def follow(augment: Augment | None, logs: dict[str, Tensor], nimg: int) -> None:
    """Adapts an augmentation to the averaged logs of a step of the critic, and adds its own to
    them; None does nothing."""
    if augment is not None:
        augment.adapt(logs["d/sign_real"], nimg)
        logs |= {f"d/{key}": value for key, value in augment.logs().items()}


def need_images(resolution: int | list[int], name: str) -> None:
    """Raises UserError for points, which are (2,1,1): they have no neighbours to move and no
    colours."""
    if min([resolution] if isinstance(resolution, int) else resolution) < 2:
        raise UserError(
            f"{name} needs images of 2 x 2 pixels or more, and the data have resolution "
            f"{resolution}",
            "leave it out, or train on images",
        )


def colours(channels: int) -> int:
    """How many of an image's channels are colour: grey or RGB comes first, alpha may follow and is
    not coloured."""
    return 1 if channels <= 2 else 3
