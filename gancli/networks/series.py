"""What networks of series share: items are (N,C,T,1), and layers work on (N,C,T) or (N,T,C)."""

from __future__ import annotations

from torch import Tensor

from gancli.networks.layers import one_hot, size_of


def read_length(resolution: int | list[int]) -> int:
    """Returns the steps of a series.

    Args:
        resolution: [T,1], as data sets of series declare it.

    Raises:
        ValueError: The items are no series.
    """
    steps, width = size_of(resolution)
    if width != 1 or steps < 2:
        raise ValueError(
            f"items of {width}x{steps} are no series: these networks need [T,1] with 2 steps or "
            "more, as dataset=sines, series and names have; images need model=dcgan"
        )
    return steps


def check_length(x: Tensor, steps: int) -> None:
    """Raises ValueError where items (N,C,T,1) have other lengths than a network was built for."""
    if x.shape[2:] != (steps, 1):
        raise ValueError(
            f"items {tuple(x.shape)} do not fit: this network is built for (N,C,{steps},1)"
        )


def repeat_label(
    label: Tensor | None, classes: int, like: Tensor, *, steps: int, dim: int
) -> Tensor:
    """Repeats one-hot labels in time.

    Args:
        label: (N,) classes, or (N,classes) float attributes.
        classes: How many.
        like: Gives type and device.
        steps: T.
        dim: 1 for (N,T,classes), 2 for (N,classes,T).
    """
    hot = one_hot(label, classes, like).unsqueeze(dim)
    return hot.expand(-1, steps, -1) if dim == 1 else hot.expand(-1, -1, steps)
