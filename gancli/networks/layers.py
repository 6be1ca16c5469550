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

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def activation(name: Activation) -> nn.Module:
    return ACTIVATIONS[name]()


def to_range(name: Output) -> nn.Module:
    """tanh for images in [-1,1], linear for points."""
    return nn.Tanh() if name == "tanh" else nn.Identity()


def norm2d(name: Norm, channels: int) -> nn.Module:
    """(N,C,H,W) -> the same. "layer" is over C, H and W with one gain per channel, as WGAN-GP's
    critic has it."""
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "layer":
        return nn.GroupNorm(1, channels)
    if name == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    return nn.Identity()


def constrain_weight(layer: nn.Module, norm: Norm) -> nn.Module:
    """The layer with its weight divided by its spectral norm (Miyato 2018), if `norm` says so.

    Fill the weight first."""
    return spectral(layer, norm == "spectral")


def size_of(resolution: int | list[int]) -> tuple[int, int]:
    """(height, width) in pixels."""
    return (
        (resolution, resolution) if isinstance(resolution, int) else (resolution[0], resolution[1])
    )


def halvings(
    resolution: int | list[int], *, smallest: int = 4, most: int = 6
) -> tuple[int, tuple[int, int]]:
    """How often an image can be halved until its shorter side is smallest..2*smallest-1, and what
    remains of it.

    Raises ValueError, naming sizes that would do, where a halving would leave a fraction."""
    h, w = size_of(resolution)
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


def with_planes(x: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """Appends one constant plane per class, 1 for the image's own: (N,C,H,W), (N,) ->
    (N,C+classes,H,W)."""
    if not classes:
        return x
    planes = one_hot(label, classes, x)[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return torch.cat([x, planes], 1)


def with_one_hot(x: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """(N,F), (N,) -> (N,F+classes)"""
    return torch.cat([x, one_hot(label, classes, x)], 1) if classes else x


def one_hot(label: Tensor | None, classes: int, like: Tensor) -> Tensor:
    assert label is not None, "a conditional network was called without labels"
    return F.one_hot(label, classes).to(like.dtype)
