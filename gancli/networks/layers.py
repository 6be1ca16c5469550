"""Small parts that several networks share: norms, activations, label planes and sizes by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.spectral import spectral

Norm = Literal["batch", "layer", "instance", "spectral", "none"]
Activation = Literal["relu", "leaky_relu", "elu", "silu", "tanh"]
Output = Literal["tanh", "linear"]

# ReLUs overwrite their input, since their result tells the gradient: less memory, equal bits.
ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.2, inplace=True),
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def activation(name: Activation) -> nn.Module:
    """Makes an activation by its name."""
    return ACTIVATIONS[name]()


def to_range(name: Output) -> nn.Module:
    """Makes the last layer: tanh for images in [-1,1], linear for points."""
    return nn.Tanh() if name == "tanh" else nn.Identity()


def norm2d(name: Norm, channels: int) -> nn.Module:
    """Makes a normalisation by its name: (N,C,H,W) -> (N,C,H,W).

    "layer" is over C, H and W with one gain per channel, as WGAN-GP's critic has it.
    """
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "layer":
        # One group of all channels: a layer norm that any size of image fits.
        return nn.GroupNorm(1, channels)
    if name == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    return nn.Identity()


def constrain_weight(layer: nn.Module, norm: Norm) -> nn.Module:
    """Divides a layer's weight by its spectral norm if `norm` says so (Miyato 2018).

    Fill the weight first.
    """
    return spectral(layer, norm == "spectral")


def size_of(resolution: int | list[int]) -> tuple[int, int]:
    """Returns (height, width) in pixels."""
    return (
        (resolution, resolution) if isinstance(resolution, int) else (resolution[0], resolution[1])
    )


def count_downsampling_steps(
    resolution: int | list[int], *, smallest: int = 4, most: int = 6
) -> tuple[int, tuple[int, int]]:
    """Counts the downsampling steps that fit into an image.

    Args:
        resolution: side or [H,W] in pixels.
        smallest: the shorter side ends at smallest to 2 * smallest - 1 pixels.
        most: the most steps allowed.

    Returns:
        The number of steps, and the height and width after them.

    Raises:
        ValueError: a step would leave a fraction; it names sizes that would do.
    """
    h, w = size_of(resolution)
    # The logarithm of base 2, rounded down, in whole numbers.
    times = max(0, (min(h, w) // smallest).bit_length() - 1)
    unit = 2**times
    if not 1 <= times <= most or h % unit or w % unit:
        low = 2 * smallest
        high = smallest * 2 ** (most + 1) - 1
        near = [max(low, (side + d) // unit * unit) for side, d in ((h, 0), (w, 0))]
        raise ValueError(
            f"resolution {w}x{h} does not fit: sides from {low} to {high} pixels that can be "
            f"halved down to {smallest}..{2 * smallest - 1} do; the nearest is "
            f"[{near[0]},{near[1]}]"
        )
    return times, (h // unit, w // unit)


def append_class_planes(x: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """Appends one constant plane per class, 1 for the image's own.

    (N,C,H,W), (N,) -> (N,C+classes,H,W).
    """
    if not classes:
        return x
    planes = one_hot(label, classes, x)[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return torch.cat([x, planes], 1)


def append_one_hot(x: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """Appends the class as a one-hot vector: (N,F), (N,) -> (N,F+classes)."""
    return torch.cat([x, one_hot(label, classes, x)], 1) if classes else x


def one_hot(label: Tensor | None, classes: int, like: Tensor) -> Tensor:
    """Makes one-hot vectors (N,classes) of labels (N,), of the type of `like`.

    Attributes (N,classes), float, stay what they are.
    """
    assert label is not None, "a conditional network was called without labels"
    if label.is_floating_point():
        return label.to(like.dtype)
    return F.one_hot(label, classes).to(like.dtype)
