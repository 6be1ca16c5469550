"""LAPGAN's networks (Denton 2015): dense for the coarsest image, convolutional for residuals."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.layers import (
    Norm,
    Output,
    constrain_weight,
    count_downsampling_steps,
    norm2d,
    one_hot,
    size_of,
)
from gancli.networks.mlp import MLPDiscriminator, MLPGenerator

MOST = 8  # levels; as many as 1024 pixels have above 8
LEAST = 6  # pixels of the coarsest: of twice as many the discriminators' convolutions leave 2x2


def halve_size(x: Tensor) -> Tensor:
    """Halves the size, the mean of 2x2 pixels: (N,C,H,W) -> (N,C,H/2,W/2)."""
    return F.avg_pool2d(x, 2)


def double_size(x: Tensor) -> Tensor:
    """Doubles the size, smoothly: (N,C,H,W) -> (N,C,2H,2W)."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def split_pyramid(image: Tensor, levels: int) -> list[tuple[Tensor, Tensor | None]]:
    """Splits an image (N,C,H,W) into levels, the coarsest first.

    Returns:
        For each level what its generator makes, and what that is added to. For the coarsest these
        are the small image and None, for the others the residual h and l: h + l is the image in the
        level's size.
    """
    found: list[tuple[Tensor, Tensor | None]] = []
    for _ in range(levels - 1):
        small = halve_size(image)
        low = double_size(small)
        found.append((image - low, low))
        image = small
    return [(image, None), *reversed(found)]


def list_sizes(
    resolution: int | list[int], levels: int | None, coarsest: int
) -> list[tuple[int, int]]:
    """Lists (height, width) of each level, the coarsest first.

    Args:
        resolution: side or [H,W] in pixels.
        levels: how many; None: halved until the shorter side is coarsest to 2 * coarsest - 1.
        coarsest: pixels, see `levels`.

    Raises:
        ValueError: a step would leave a fraction or too few pixels; it names what would do.
    """
    if coarsest < LEAST or (levels is not None and not 1 <= levels <= MOST):
        raise ValueError(
            f"coarsest={coarsest}, levels={levels}: give {LEAST} pixels or more; levels from 1 to "
            f"{MOST}, or null for all that fit"
        )
    if levels is None:
        times, (h, w) = count_downsampling_steps(resolution, smallest=coarsest, most=MOST - 1)
        return [(h * 2**k, w * 2**k) for k in range(times + 1)]
    (h, w), unit = size_of(resolution), 2 ** (levels - 1)
    if h % unit or w % unit:
        near = [max(unit, (side + unit // 2) // unit * unit) for side in (h, w)]
        raise ValueError(
            f"resolution {w}x{h} cannot be halved {levels - 1} times, as levels={levels} wants: "
            f"use dataset.resolution=[{near[0]},{near[1]}], or fewer levels"
        )
    if levels > 1 and min(h, w) // unit < LEAST:
        raise ValueError(
            f"levels={levels} goes down to {w // unit}x{h // unit} pixels: use levels="
            f"{max(1, (min(h, w) // LEAST).bit_length())} or fewer, so that {LEAST} pixels are left"
        )
    return [(h * 2**k // unit, w * 2**k // unit) for k in range(levels)]


class LapGANGenerator(nn.ModuleList):
    """The generators of all levels, the coarsest first.

    The first: z (N,z_dim) -> image; the others: noise, low, label -> residual.

    Args:
        resolution: side or [H,W] in pixels.
        channels: of the images.
        levels: see `list_sizes`.
        coarsest: see `list_sizes`.
        z_dim: numbers in a latent.
        hidden: units of the coarsest generator's layers.
        width: channels of the other generators.
        output: of the coarsest, "tanh" or "linear"; residuals are linear.
        classes: of the data set.
        conditional: labels go into every generator.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        levels: int | None = None,
        coarsest: int = 8,
        z_dim: int = 100,
        hidden: list[int],
        width: int = 64,
        output: Output = "tanh",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        self.sizes = list_sizes(resolution, levels, coarsest)
        self.z_dim = z_dim
        self.classes = count_known_classes(classes, conditional)
        self.append(
            MLPGenerator(
                resolution=list(self.sizes[0]),
                channels=channels,
                z_dim=z_dim,
                hidden=hidden,
                output=output,
                classes=classes,
                conditional=conditional,
            )
        )
        self.extend(
            ResidualGenerator(size=size, channels=channels, width=width, classes=self.classes)
            for size in self.sizes[1:]
        )


class LapGANDiscriminator(nn.ModuleList):
    """The discriminators of all levels, the coarsest first.

    Each sees images (N,channels,h,w) in the size of its level.

    Args:
        resolution: side or [H,W] in pixels.
        channels: of the images.
        levels: see `list_sizes`.
        coarsest: see `list_sizes`.
        hidden: units of the coarsest discriminator's layers.
        width: channels of the other discriminators.
        norm: of the second convolution (the paper's: none); "spectral" divides every weight of the
            convolutional discriminators.
        dropout: share dropped of a hidden layer, 0 to 1.
        classes: of the data set.
        conditional: labels go into every discriminator.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        levels: int | None = None,
        coarsest: int = 8,
        hidden: list[int],
        width: int = 64,
        norm: Norm = "none",
        dropout: float = 0.5,
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        self.sizes = list_sizes(resolution, levels, coarsest)
        self.classes = count_known_classes(classes, conditional)
        self.append(
            MLPDiscriminator(
                resolution=list(self.sizes[0]),
                channels=channels,
                hidden=hidden,
                pieces=1,
                dropout_in=0.0,
                dropout=dropout,
                classes=classes,
                conditional=conditional,
            )
        )
        self.extend(
            ResidualDiscriminator(
                size=size,
                channels=channels,
                width=width,
                norm=norm,
                dropout=dropout,
                classes=self.classes,
            )
            for size in self.sizes[1:]
        )
        self.feature_dim = self[-1].feature_dim


class ResidualGenerator(nn.Module):
    """noise (N,1,h,w), low (N,channels,h,w), label (N,) -> residual (N,channels,h,w).

    The residual is what the smooth image `low` lacks.
    """

    def __init__(self, *, size: tuple[int, int], channels: int, width: int = 64, classes: int = 0):
        super().__init__()
        self.plane = ClassPlane(classes, size) if classes else None
        self.net = nn.Sequential(
            # One more plane is the noise; the class has one too.
            nn.Conv2d(channels + 1 + bool(classes), width, 7, 1, 3),
            nn.ReLU(),
            nn.Conv2d(width, width, 7, 1, 3),
            nn.ReLU(),
            nn.Conv2d(width, channels, 5, 1, 2),
        )

    def forward(self, noise: Tensor, low: Tensor, label: Tensor | None = None) -> Tensor:
        """Applies the layer; the class says the shapes."""
        return self.net(
            torch.cat([noise.to(low.dtype), prepend_class_plane(self.plane, low, label)], 1)
        )


class ResidualDiscriminator(nn.Module):
    """trunk: x (N,channels,h,w), label (N,) -> (N,width,h',w'); head: -> scores (N,1).

    x is the residual and `low` added.
    """

    def __init__(
        self,
        *,
        size: tuple[int, int],
        channels: int,
        width: int = 64,
        norm: Norm = "none",
        dropout: float = 0.5,
        classes: int = 0,
    ):
        super().__init__()
        self.plane = ClassPlane(classes, size) if classes else None
        # Both convolutions are unpadded: the first takes 4 pixels away, the second moves by 2.
        h, w = ((side - 4 - 5) // 2 + 1 for side in size)
        self.feature_dim = width * h * w
        self.body = nn.Sequential(
            constrain_weight(nn.Conv2d(channels + bool(classes), width, 5), norm),
            nn.ReLU(),
            constrain_weight(nn.Conv2d(width, width, 5, 2), norm),
            norm2d(norm, width),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.out = constrain_weight(nn.Linear(self.feature_dim, 1), norm)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images."""
        return self.body(prepend_class_plane(self.plane, x, label))

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        return self.out(h.flatten(1))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


class ClassPlane(nn.Module):
    """label (N,) -> one more plane of an image, (N,1,h,w), learned for each class."""

    def __init__(self, classes: int, size: tuple[int, int]):
        super().__init__()
        self.classes = classes
        self.size = size
        self.linear = nn.Linear(classes, size[0] * size[1])

    def forward(self, label: Tensor | None) -> Tensor:
        """Applies the layer; the class says the shapes."""
        return (
            self.linear(one_hot(label, self.classes, self.linear.weight))
            .relu()
            .unflatten(1, (1, *self.size))
        )


def prepend_class_plane(plane: ClassPlane | None, x: Tensor, label: Tensor | None) -> Tensor:
    """Puts the class's plane before an image, where there is one."""
    return x if plane is None else torch.cat([plane(label).to(x.dtype), x], 1)


def count_known_classes(classes: int, conditional: bool) -> int:
    """Returns the number of classes, 0 without labels.

    Raises:
        ValueError: a conditional network has a data set without labels.
    """
    if conditional and not classes:
        raise ValueError(
            "conditional=true, but the data set has no labels: give model.conditional=false, or "
            "put each class into a sub-folder of its own"
        )
    return classes if conditional else 0
