"""Images against images, without a network: PSNR, SSIM, MS-SSIM.

The diversity of a set is measured by MS-SSIM.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from gancli.errors import UserError

WINDOW = 11
DEVIATION = 1.5
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest first; they sum to 1.0001, as published
LUMA = (65.481, 128.553, 24.966)  # BT.601, 16 to 235
PIXELS = 2_000_000  # values of x at a time: five maps of them in float64 are 80 MB


def gaussian() -> list[float]:
    """Returns the taps of the window, which sum to 1."""
    values = [math.exp(-((i - WINDOW // 2) ** 2) / (2 * DEVIATION**2)) for i in range(WINDOW)]
    return [value / sum(values) for value in values]


def separable(x: Tensor, taps: list[float]) -> Tensor:
    """Filters x (N,C,H,W) along H and W where the taps fit.

    Shifted sums: torch's convolution has no fast float64.
    """
    for dim in (2, 3):
        size = x.shape[dim] - len(taps) + 1
        out = x.narrow(dim, 0, size) * taps[0]
        for shift, tap in enumerate(taps[1:], 1):
            out.add_(x.narrow(dim, shift, size), alpha=tap)
        x = out
    return x


def require_pairs(x: Tensor, y: Tensor, metric: str) -> None:
    """Raises UserError where images (N,C,H,W) do not make pairs."""
    assert x.dtype == y.dtype == torch.uint8 and x.ndim == 4, "images are uint8 (N,C,H,W)"
    if len(x) == 0:
        raise UserError(
            f"{metric} needs at least 1 pair of images, and there are 0", "use more images"
        )
    if x.shape != y.shape:
        raise UserError(
            f"{metric} compares images one by one, and they differ: {list(x.shape)} and "
            f"{list(y.shape)} "
            "(number, channels, height, width)",
            "give both sets the same number, channels and size",
        )


def scale_names(height: int, width: int) -> tuple[str, ...]:
    """Returns the shorter side, in pixels, at each MS-SSIM scale that holds an 11x11 window.

    ("32", "16") at 32x32, all five above 160. Raises UserError where no scale does.
    """
    side = min(height, width)
    if side < WINDOW:
        raise UserError(
            f"SSIM looks through a window of 11x11 pixels, and the images are {width}x{height}",
            "use larger images",
        )
    names: list[str] = []
    while side >= WINDOW and len(names) < len(SCALES):
        names.append(str(side))
        side = (side + 1) // 2
    return tuple(names)


def parts(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Computes SSIM and its contrast-structure factor, averaged over windows (Wang 2004).

    Args:
        x: float64 (N,C,H,W) in 0..255.
        y: Likewise.

    Returns:
        (N,C) each.
    """
    # Wang 2004's stabilisers: K1 = 0.01 and K2 = 0.03 of the range of values.
    c1 = (0.01 * 255) ** 2
    c2 = (0.03 * 255) ** 2
    maps = separable(torch.cat([x, y, x * x, y * y, x * y]), gaussian())
    mx, my, xx, yy, xy = maps.chunk(5)
    # Means of squares less squared means: digits cancel, of which float64 has enough.
    structure = (2 * (xy - mx * my) + c2) / (xx - mx * mx + yy - my * my + c2)
    luminance = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    return (luminance * structure).mean((2, 3)), structure.mean((2, 3))


def halve(x: Tensor) -> Tensor:
    """Takes 2x2 means of (N,C,H,W); an odd side repeats its last row (the paper's border)."""
    x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate")
    return F.avg_pool2d(x, 2)


def ms_ssim_rows(x: Tensor, y: Tensor) -> Tensor:
    """Returns the MS-SSIM of each pair, (N,) float64.

    Fewer than five scales share the whole weight.
    """
    n = len(scale_names(*x.shape[-2:]))
    weights = SCALES if n == len(SCALES) else [weight / sum(SCALES[:n]) for weight in SCALES[:n]]
    result = []
    for a, b in batches(x, y):
        value = a.new_ones(())
        for scale, weight in enumerate(weights):
            whole, structure = parts(a, b)
            # Luminance counts at the coarsest scale alone. A negative factor has no real power: 0,
            # as in TensorFlow.
            value = value * (whole if scale == n - 1 else structure).clamp_min(0) ** weight
            if scale < n - 1:
                a = halve(a)
                b = halve(b)
        result.append(value.mean(1))
    return torch.cat(result)


def batches(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields pairs of float64 pieces whose filtered maps fit into a hundred megabytes."""
    rows = max(1, PIXELS // x[0].numel())
    return ((wide(a), wide(b)) for a, b in zip(x.split(rows), y.split(rows), strict=True))


def wide(x: Tensor) -> Tensor:
    """Returns x in float64, on the CPU where the device has none."""
    return x.cpu().double() if x.device.type == "mps" else x.double()  # MPS has no float64


def ssim(x: Tensor, y: Tensor, *, y_channel: bool = False, border: int = 0) -> float:
    """Returns the mean SSIM of pairs of uint8 images (N,C,H,W), at most 1 (Wang 2004).

    The window is an 11x11 Gaussian of sigma 1.5.

    Args:
        x: uint8 (N,C,H,W)
        y: Likewise.
        y_channel: As in `psnr`.
        border: As in `psnr`.

    Raises:
        UserError: Shapes differ, or a side is below 11.
    """
    require_pairs(x, y, "SSIM")
    rows = []
    for a, b in batches(x, y):
        a = crop_to_float(a, y_channel, border)
        b = crop_to_float(b, y_channel, border)
        scale_names(*a.shape[-2:])
        rows.append(parts(a, b)[0].mean(1))
    return torch.cat(rows).mean().item()


def ms_ssim(x: Tensor, y: Tensor) -> tuple[float, tuple[str, ...]]:
    """Returns the mean MS-SSIM of pairs of uint8 images, in [0,1], and the scales used (Wang 2003).

    Images with a side of 160 or less have fewer than the five scales: numbers are comparable only
    with the same names. Raises UserError where shapes differ, or a side is below 11.
    """
    require_pairs(x, y, "MS-SSIM")
    return ms_ssim_rows(x, y).mean().item(), scale_names(*x.shape[-2:])


def crop_to_float(x: Tensor, y_channel: bool, border: int) -> Tensor:
    """Returns float64 images (N,C,H,W) without `border` pixels on each side.

    RGB is turned to luma if asked, unrounded; grey stays as it is.
    """
    height, width = x.shape[-2:]
    if border < 0 or 2 * border >= min(height, width):
        raise UserError(
            f"a border of {border} pixels leaves nothing of images of {width}x{height}",
            "use a smaller border",
        )
    x = x[..., border : height - border, border : width - border]
    if y_channel and x.shape[1] == 3:
        x = (x * x.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True) / 255 + 16
    return x


def psnr(x: Tensor, y: Tensor, y_channel: bool = False, border: int = 0) -> float:
    """Returns the mean over pairs of 10 log10(255^2 / mean squared error), in dB.

    It is infinite if a pair is equal.

    Args:
        x: uint8 (N,C,H,W)
        y: Likewise.
        y_channel: Compare BT.601 luma, as super-resolution papers do.
        border: Pixels cut from each side, usually the factor.

    Raises:
        UserError: Shapes differ, or the border leaves nothing.
    """
    require_pairs(x, y, "PSNR")
    errors = []
    for a, b in batches(x, y):
        errors.append(
            (crop_to_float(a, y_channel, border) - crop_to_float(b, y_channel, border))
            .square()
            .mean((1, 2, 3))
        )
    return (10 * (255**2 / torch.cat(errors)).log10()).mean().item()


def draw_pairs(
    n: int, pairs: int, rng: torch.Generator, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Draws pairs of different images.

    Args:
        n: Images.
        pairs: How many.
        rng: Draws them.
        labels: (n,): both are of one class; None: any two.

    Returns:
        Two (pairs,) int64 of indices.

    Raises:
        UserError: No pair exists.
    """
    if labels is None:
        labels = torch.zeros(n, dtype=torch.int64)
    assert len(labels) == n and pairs >= 1
    order = labels.cpu().argsort(stable=True)  # members of a class stand together
    _, counts = labels.cpu()[order].unique_consecutive(return_counts=True)
    size = counts.repeat_interleave(counts)
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)
    usable = (size > 1).nonzero()[:, 0]  # places in `order`
    if len(usable) == 0:
        raise UserError(
            f"diversity compares pairs of images of one class, and among {n} images there is none",
            "use more images",
        )
    device = rng.device
    a = usable[torch.randint(len(usable), (pairs,), generator=rng, device=device).cpu()]
    # 1 to size - 1 places further in the circle of the class: never itself, every other one alike.
    step = (
        1
        + (
            torch.rand(pairs, generator=rng, device=device, dtype=torch.float64).cpu()
            * (size[a] - 1)
        ).long()
    )
    b = first[a] + (a - first[a] + step) % size[a]
    return order[a], order[b]


def diversity(
    images: Tensor, pairs: int, rng: torch.Generator, labels: Tensor | None = None
) -> dict[str, float]:
    """Measures MS-SSIM between random pairs of images; 1 is total collapse.

    It is to be compared with the same of real images, at the same size (`scale_names`).

    Args:
        images: uint8 (N,C,H,W)
        pairs: How many.
        rng: Draws them.
        labels: (N,): pairs are of one class (Odena 2017), else different classes count as
            diversity.

    Returns:
        {"mean": .., "std": ..} over pairs.

    Raises:
        UserError: There is no pair to draw, or a side is below 11.
    """
    assert images.dtype == torch.uint8 and images.ndim == 4
    a, b = draw_pairs(len(images), pairs, rng, labels)
    values = ms_ssim_rows(images[a.to(images.device)], images[b.to(images.device)])
    return {"mean": values.mean().item(), "std": values.std(correction=0).item()}
