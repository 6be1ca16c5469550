"""What every augmentation of the discriminator's view has in common."""

from __future__ import annotations

from torch import Tensor, nn

from gancli.errors import UserError


class Augment(nn.Module):
    """Changes all that the discriminator sees, reals and fakes alike; may have buffers.

    It is random, seeded by the trainer, and differentiable twice, so that penalties work through
    it.
    """

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
