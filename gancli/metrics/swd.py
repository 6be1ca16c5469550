"""Sliced Wasserstein distance between patches of two sets of images; no network is needed.

It is measured per band of a Laplacian pyramid.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from gancli.errors import UserError
from gancli.metrics.ssim import separable, wide

BINOMIAL = [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]
PATCH = 7
COARSEST = 16  # pixels: the side at which the pyramid ends
ROUNDING = 1e-9  # of values up to 255 in float64
VALUES = 4_000_000  # float64 numbers in flight: 32 MB
KEPT = 16_000_000  # of a set's patches that are worth keeping between uses: 128 MB


def blur(x: Tensor) -> Tensor:
    """Blurs x (N,C,H,W) with the binomial filter; borders are mirrored."""
    return separable(F.pad(x, (2, 2, 2, 2), mode="reflect"), BINOMIAL)


def half(x: Tensor) -> Tensor:
    """Halves images: uint8 or float32 (N,C,H,W) -> float32 (N,C,ceil(H/2),ceil(W/2)).

    The first two halvings of uint8 are exact in it.
    """
    rows = max(1, VALUES // x[0].numel())
    return torch.cat([blur(wide(some))[:, :, ::2, ::2].float() for some in x.split(rows)])


def band(x: Tensor, coarser: Tensor | None) -> Tensor:
    """Returns what the coarser level lacks, float64 (N,C,H,W).

    It is the coarsest level itself where `coarser` is None.
    """
    if coarser is None:
        return wide(x)
    x = wide(x)
    spread = torch.zeros_like(x)
    spread[:, :, ::2, ::2] = wide(coarser)
    return x - 4 * blur(spread)  # times 4: three of four pixels are zeros


class Patches:
    """Patches of one band at fixed positions, standardised per channel over the set.

    Many are cut anew for every use.
    """

    def __init__(self, x: Tensor, coarser: Tensor | None, top: Tensor, left: Tensor):
        self.x = x
        self.coarser = coarser
        self.top = top
        self.left = left
        values = top.numel() * PATCH**2  # of one channel
        self.kept = list(self.cut()) if values * x.shape[1] <= KEPT else None
        mean = total(p.sum((0, 2)) for p in self.raw()) / values
        variance = total((p - mean[:, None]).square_().sum((0, 2)) for p in self.raw()) / values
        deviation = variance.sqrt()
        # A constant channel stays 0, and what rounding leaves of it must not be blown up.
        self.mean = mean
        self.deviation = torch.where(deviation > ROUNDING, deviation, 1.0)

    def raw(self) -> Iterable[Tensor]:
        """Yields the patches, which are cut anew where they are too many to keep."""
        return self.cut() if self.kept is None else self.kept

    def cut(self) -> Iterator[Tensor]:
        """Cuts patches (some,C,49) in float64, until all images are done."""
        rows = max(1, VALUES // (self.top.shape[1] * self.x.shape[1] * PATCH**2))
        for start in range(0, len(self.x), rows):
            some = slice(start, start + rows)
            windows = band(self.x[some], None if self.coarser is None else self.coarser[some])
            windows = windows.unfold(2, PATCH, 1).unfold(3, PATCH, 1)
            image = torch.arange(len(windows), device=windows.device)[:, None]
            top = self.top[some].to(windows.device)
            left = self.left[some].to(windows.device)
            yield windows[image, :, top, left].flatten(0, 1).flatten(2)

    def project(self, directions: Tensor) -> Tensor:
        """Projects all patches on directions (K,C,49): (K, all patches), each row sorted."""
        # The standardisation moves into the directions: they are few, patches are many.
        axes = directions.to(self.mean.device) / self.deviation[:, None]
        result = axes.new_empty(len(axes), self.top.numel())
        start = 0
        for p in self.raw():
            result[:, start : start + len(p)] = axes.flatten(1) @ p.flatten(1).T
            start += len(p)
        return sort_rows(result.sub_(axes.sum(2) @ self.mean[:, None]))


def total(parts: Iterable[Tensor]) -> Tensor:
    """Returns the sum of one tensor or more."""
    return functools.reduce(torch.add, parts)


def sort_rows(x: Tensor) -> Tensor:
    """Sorts each row of x (K,P), in place where it is on the CPU."""
    # numpy sorts values with vector instructions, ten times as fast as torch, which also sorts the
    # indices.
    if x.device.type != "cpu":
        return x.sort(dim=1).values
    x.numpy().sort(axis=1)
    return x


def band_distance(
    real: Tensor,
    fake: Tensor,
    coarser: tuple[Tensor, Tensor] | None,
    rng: torch.Generator,
    patches: int,
    directions: int,
) -> float:
    """Returns the mean |difference| of sorted projections of one band's patches.

    Args:
        real: (N,C,H,W)
        fake: Likewise.
        coarser: The next level of both sets; None at the coarsest.
        rng: Draws positions and directions.
        patches: Per image.
        directions: How many.
    """
    device = rng.device
    n, _, height, width = real.shape
    # The same positions in both sets: equal sets are then at distance 0, and less of the noise is
    # the draw's.
    top = torch.randint(height - PATCH + 1, (n, patches), generator=rng, device=device)
    left = torch.randint(width - PATCH + 1, (n, patches), generator=rng, device=device)
    shape = (directions, real.shape[1], PATCH**2)
    axes = torch.randn(shape, generator=rng, device=device).cpu().double()
    # Of length 1, drawn from a Gaussian: every direction is as likely.
    axes /= axes.norm(dim=(1, 2), keepdim=True)
    real_below, fake_below = coarser or (None, None)
    a = Patches(real, real_below, top, left)
    b = Patches(fake, fake_below, top, left)
    summed = 0.0
    for some in axes.split(max(1, 2 * VALUES // (n * patches))):
        summed += (a.project(some) - b.project(some)).abs_().mean(1).sum().item()
    return summed / directions


def sliced_wasserstein(
    real_images: Tensor,
    fake_images: Tensor,
    rng: torch.Generator,
    *,
    patches: int = 128,
    directions: int = 512,
) -> dict[str, float]:
    """Computes the distance per band and their mean, times 1000; 0 on equal sets.

    Source: Karras 2018, section 5; 128 patches, 512 directions and 16,384 images are the paper's.
    Each channel of each band is standardised per set, so brightness and contrast of the whole set
    do not count.

    Args:
        real_images: uint8 (N,C,H,W)
        fake_images: uint8 (M,C,H,W); the larger set is cut to a random subset as large as the
            other.
        rng: Draws subset, positions and directions.
        patches: Of 7x7 pixels, per image and band.
        directions: How many.

    Returns:
        {"swd/16": .., "swd/32": .., "swd": their mean}: a band is named by its shorter side in
        pixels; bands halve down to 16, and smaller images have their own size alone.

    Raises:
        UserError: There are fewer than 2 images, a side is below 7, or the sets have other channels
            or sizes.
    """
    check(real_images, fake_images)
    n = min(len(real_images), len(fake_images))
    real = subset(real_images, n, rng)
    fake = subset(fake_images, n, rng)
    result = {}
    while True:
        side = min(real.shape[-2:])
        last = side < 2 * COARSEST
        coarser = None if last else (half(real), half(fake))
        result[f"swd/{side}"] = 1000 * band_distance(real, fake, coarser, rng, patches, directions)
        if coarser is None:
            return result | {"swd": sum(result.values()) / len(result)}
        real, fake = coarser


def check(real: Tensor, fake: Tensor) -> None:
    """Raises UserError where two sets of images cannot be compared."""
    assert real.dtype == fake.dtype == torch.uint8 and real.ndim == fake.ndim == 4, (
        "images are uint8 (N,C,H,W)"
    )
    if min(len(real), len(fake)) < 2:
        raise UserError(
            "the sliced Wasserstein distance needs at least 2 images in each set, and there are "
            f"{len(real)} real "
            f"and {len(fake)} generated",
            "use more images",
        )
    if real.shape[1:] != fake.shape[1:]:
        raise UserError(
            f"the sliced Wasserstein distance compares images of one shape, and they differ: "
            f"{list(real.shape[1:])} and {list(fake.shape[1:])} (channels, height, width)",
            "give both sets the same channels and size",
        )
    if min(real.shape[-2:]) < PATCH:
        raise UserError(
            f"the sliced Wasserstein distance looks at patches of 7x7 pixels, and the images are "
            f"{real.shape[-1]}x{real.shape[-2]}",
            "use larger images",
        )


def subset(images: Tensor, n: int, rng: torch.Generator) -> Tensor:
    """Returns n random images of (N,C,H,W), all where there are no more."""
    if len(images) == n:
        return images
    chosen = torch.randperm(len(images), generator=rng, device=rng.device)[:n]
    return images[chosen.to(images.device)]
