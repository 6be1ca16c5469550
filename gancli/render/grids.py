"""Pictures of what a generator makes: PNG files, grids, 2-D point clouds, lines of series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gancli.files import atomic

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
GAP_GREY = 128  # as far from a black image as from a white one

PAPER = (255, 255, 255)
BOX = (205, 208, 214)
AXIS = (236, 238, 242)
INK = (140, 145, 155)
REAL = (120, 144, 180)
FAKE = (232, 84, 32)
MOST_OPAQUE = 0.85  # reals stay visible below any number of fakes
GREY_LINE = (186, 190, 200)
# Of the features of a series
LINES = (
    (232, 84, 32),
    (37, 99, 190),
    (32, 140, 84),
    (150, 60, 170),
    (190, 140, 20),
    (20, 150, 165),
    (200, 50, 110),
    (90, 90, 90),
)
MOST_LINES = len(LINES)
BEHIND = 16  # lines of reals behind each series, about
MOST_TILES = 64  # of reals alone
# Points and lines are drawn at twice the size and averaged down, which smooths their edges
TITLE = 11  # pixels of the letters in a tile
SUPERSAMPLE = 2


def to_uint8(images: Tensor) -> Tensor:
    """Rounds images in [-1,1] of any shape and float type to bytes, 0 to 255, on the same device.

    They are clipped and never rescaled: a batch's own range must not change what it looks like. NaN
    becomes 0, since a cast of NaN gives another byte on every device.
    """
    return (
        (images.detach().float() * 127.5 + 127.5)
        .nan_to_num(nan=0.0)
        .clamp(0, 255)
        .round()
        .to(torch.uint8)
    )


def whiten_hidden(pixels: Tensor) -> Tensor:
    """Makes colours white where alpha is 0; all that anyone can see stays.

    A generator is free to put anything there. Files are read in the same way, so that samples and
    reals hide the same. Faint pixels keep their colours: over another ground they count.

    Args:
        pixels: (...,C,H,W) uint8, the last of 2 or 4 channels is alpha; others have none and stay.
    """
    if pixels.shape[-3] not in (2, 4):
        return pixels
    colour, alpha = pixels[..., :-1, :, :], pixels[..., -1:, :, :]
    return torch.cat([colour.masked_fill(alpha == 0, 255), alpha], -3)


def to_pil(image: Tensor) -> Image.Image:
    """Makes a picture of one image (C,H,W) in [-1,1].

    C = 1, 2, 3, 4 gives a grey, grey + alpha, RGB, RGBA picture; hidden colours are white.
    """
    assert image.ndim == 3 and len(image) in MODES, f"not an image: {tuple(image.shape)}"
    return from_pixels(whiten_hidden(to_uint8(image)).permute(1, 2, 0).cpu().numpy())


def from_pixels(pixels: np.ndarray) -> Image.Image:
    """Makes a picture of (H,W,C) uint8; Pillow wants two dimensions for grey."""
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def grid(images: Tensor, *, columns: int, gap: int = 2, min_tile: int = 48) -> Image.Image:
    """Tiles images (N,C,H,W) in [-1,1] row by row, with `gap` pixels of mid grey around every tile.

    Small images are enlarged by a whole factor, pixel by pixel, until their shorter side has
    min_tile pixels. The last row may stay unfilled; fewer images than `columns` make a narrower
    picture. Alpha is kept, hidden colours are white, the gap is opaque.
    """
    assert images.ndim == 4 and len(images) and images.shape[1] in MODES, (
        f"not a batch of images: {tuple(images.shape)}"
    )
    assert columns > 0 and gap >= 0
    tiles = whiten_hidden(to_uint8(images)).permute(0, 2, 3, 1).cpu().numpy()
    # Whole factors: every pixel stays a square, and none is blurred.
    factor = max(1, math.ceil(min_tile / min(tiles.shape[1:3])))
    tiles = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    n, height, width, channels = tiles.shape
    columns = min(columns, n)
    canvas = np.full(
        (gap + math.ceil(n / columns) * (height + gap), gap + columns * (width + gap), channels),
        GAP_GREY,
        np.uint8,
    )
    if channels in (2, 4):
        canvas[..., -1] = 255
    for i, tile in enumerate(tiles):
        y = gap + i // columns * (height + gap)
        x = gap + i % columns * (width + gap)
        canvas[y : y + height, x : x + width] = tile
    return from_pixels(canvas)


def scatter(
    points: Tensor, *, real: Tensor | None, extent: float | None = None, size: int = 512
) -> Image.Image:
    """Draws 2-D points in data units, (N,2) or (N,2,1,1): fakes orange over reals grey-blue.

    The axes reach from -extent to extent, by default a quarter farther than the reals (without
    reals, than the fakes) do.
    A point beyond them is drawn on the edge, where a generator that runs away is still seen;
    non-finite ones are left out.
    """
    fake_xy = finite_points(points)
    real_xy = finite_points(real if real is not None else points[:0])
    if extent is None:
        # By the reals: samples that run away would otherwise shrink them to a dot.
        extent = 1.25 * float(np.abs(real_xy if len(real_xy) else fake_xy).max(initial=0)) or 1.0
    assert size >= 64 and extent > 0
    margin = round(size * 0.06)
    side = size * SUPERSAMPLE
    left = margin * SUPERSAMPLE
    right = side - margin * SUPERSAMPLE

    canvas = Image.new("RGB", (side, side), PAPER)
    draw = ImageDraw.Draw(canvas)
    for tick in ticks(extent):
        at = left + (tick + extent) / (2 * extent) * (right - left)
        colour = BOX if tick == 0 else AXIS
        draw.line([(at, left), (at, right)], colour, SUPERSAMPLE)
        draw.line([(left, side - at), (right, side - at)], colour, SUPERSAMPLE)
    draw.rectangle([left, left, right, right], outline=BOX, width=SUPERSAMPLE)

    pixels = np.asarray(canvas, np.float32)
    for xy, colour, opacity in ((real_xy, REAL, 0.45), (fake_xy, FAKE, 0.6)):
        where = left + (xy.clip(-extent, extent) * (1, -1) + extent) / (2 * extent) * (right - left)
        pixels = stamp(pixels, where, colour, opacity=opacity, radius=size / 220 * SUPERSAMPLE)
    # Averaged by squares, which no resampling filter of Pillow's version can change.
    small = pixels.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 3).mean(axis=(1, 3))
    picture = Image.fromarray(small.round().astype(np.uint8))
    return label(
        picture,
        extent,
        margin,
        legend={"fake": FAKE} if real is None else {"fake": FAKE, "real": REAL},
    )


def draw_lines(
    made: Tensor,
    *,
    real: Tensor | None,
    columns: int,
    labels: tuple[Tensor, Tensor] | None = None,
    titles: Sequence[str] = (),
    width: int = 160,
    height: int = 96,
    gap: int = 4,
) -> Image.Image:
    """Draws series (N,C,T,1), each as a tile of C lines, over a few grey reals (M,C,T,1).

    All tiles share one axis: it reaches a tenth farther than the reals (without reals, than the
    samples) do. What lies beyond is drawn on the edge; a line breaks where it is not finite. Where
    N is 0, the tiles show the reals. The first MOST_LINES features are drawn. labels: (N,) and
    (M,) classes; the reals behind a tile are then of its class, where there are some. titles:
    what stands in the upper left corner of each of the N tiles.
    """
    fakes = made.detach().float().cpu().numpy()[:, :MOST_LINES, :, 0]
    reals = (made[:0] if real is None else real).detach().float().cpu().numpy()
    reals = reals[:, :MOST_LINES, :, 0]
    if len(fakes):
        behind = choose_behind(reals, len(fakes), labels)
    else:
        behind = {}
        fakes = reals[spread(len(reals), MOST_TILES)]
    assert len(fakes) and columns > 0
    low, high = find_range(reals if len(reals) else fakes)
    columns = min(columns, len(fakes))
    rows = math.ceil(len(fakes) / columns)
    size = gap + columns * (width + gap), gap + rows * (height + gap)
    canvas = Image.new("RGB", (size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE), BOX)
    for k, series in enumerate(fakes):
        tile = Image.new("RGB", (width * SUPERSAMPLE, height * SUPERSAMPLE), PAPER)
        for past in reals[behind.get(k, [])]:
            draw_series(tile, past, low, high, [GREY_LINE] * len(past), 1)
        draw_series(tile, series, low, high, LINES, SUPERSAMPLE)
        at = gap + k % columns * (width + gap), gap + k // columns * (height + gap)
        canvas.paste(tile, (at[0] * SUPERSAMPLE, at[1] * SUPERSAMPLE))
    picture = canvas.resize(size, Image.Resampling.BOX)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=TITLE)
    for k, title in enumerate(titles[: len(fakes)]):
        at = gap + k % columns * (width + gap), gap + k // columns * (height + gap)
        draw.text((at[0] + 4, at[1] + 1), title[: width // 8], INK, font=font)
    return picture


def spread(n: int, most: int) -> list[int]:
    """Chooses at most so many of n things, evenly spread."""
    count = min(n, most)
    return [k * n // count for k in range(count)]


def choose_behind(
    reals: np.ndarray, n: int, labels: tuple[Tensor, Tensor] | None
) -> dict[int, list[int]]:
    """Chooses the reals (M,C,T) behind each of n tiles, so many that BEHIND lines are drawn."""
    most = max(2, BEHIND // max(1, reals.shape[1]))
    everywhere = spread(len(reals), most)
    if labels is None:
        return dict.fromkeys(range(n), everywhere)
    of_class: dict[int, list[int]] = {}
    for label in labels[0].unique().tolist():
        rows = (labels[1] == label).nonzero()[:, 0].tolist()
        of_class[label] = [rows[k] for k in spread(len(rows), most)] or everywhere
    return {k: of_class[label] for k, label in enumerate(labels[0].tolist())}


def find_range(series: np.ndarray) -> tuple[float, float]:
    """Finds the axis of series (any shape): a tenth more than what is finite in them."""
    values = series[np.isfinite(series)]
    low = float(values.min(initial=np.inf)) if values.size else -1.0
    high = float(values.max(initial=-np.inf)) if values.size else 1.0
    margin = 0.1 * (high - low) or 1.0
    return low - margin, high + margin


def draw_series(
    tile: Image.Image,
    series: np.ndarray,
    low: float,
    high: float,
    colours: Sequence[tuple[int, int, int]],
    width: int,
) -> None:
    """Draws (C,T) into a tile; a single step is a dot."""
    draw = ImageDraw.Draw(tile)
    steps = series.shape[1]
    x = (np.arange(steps) + 0.5) / steps * (tile.width - 1)
    for values, colour in zip(series, colours, strict=False):
        y = (1 - (values.clip(low, high) - low) / (high - low)) * (tile.height - 1)
        whole = np.isfinite(values)
        for run in np.split(np.arange(steps), np.flatnonzero(np.diff(whole)) + 1):
            if not whole[run[0]]:
                continue
            if len(run) == 1:
                at = float(x[run[0]]), float(y[run[0]])
                draw.ellipse((at[0] - 2, at[1] - 2, at[0] + 2, at[1] + 2), colour)
                continue
            path = [(float(x[k]), float(y[k])) for k in run]
            draw.line(path, colour, width, joint="curve")


def finite_points(points: Tensor) -> np.ndarray:
    """Returns the points as (N,2) float64, without the rows that are not finite."""
    xy = points.detach().double().cpu().numpy().reshape(len(points), 2)
    return xy[np.isfinite(xy).all(axis=1)]


def stamp(
    pixels: np.ndarray, where: np.ndarray, colour: tuple, *, opacity: float, radius: float
) -> np.ndarray:
    """Blends a disc over pixels (H,H,3) at each of `where` (N,2; x, y).

    Counting the discs that cover a pixel and blending once shows density, and a million points cost
    little more than a thousand.
    """
    side = len(pixels)
    reach = math.ceil(radius)
    x, y = where.round().astype(int).T
    centres = np.bincount(y * side + x, minlength=side * side)
    at = centres.nonzero()[0]
    counts = np.zeros(side * side)
    for dx in range(-reach, reach + 1):
        for dy in range(-reach, reach + 1):
            if dx * dx + dy * dy <= radius * radius:
                # `at` is unique and the margin keeps discs inside
                counts[at + dy * side + dx] += centres[at]
    # What lies over each other adds up as paint does: k discs let (1 - opacity)^k through.
    alpha = MOST_OPAQUE * (1 - (1 - opacity) ** counts).reshape(side, side, 1).astype(np.float32)
    return pixels * (1 - alpha) + np.array(colour, np.float32) * alpha


def ticks(extent: float) -> list[float]:
    """Chooses round numbers from -extent to extent, symmetric around 0, 4 a side at most."""
    power = 10.0 ** math.floor(math.log10(extent))
    # The first round step of which fewer than five fit to a side.
    step = next(power * m for m in (0.25, 0.5, 1, 2, 5) if extent / (power * m) < 5)
    reach = math.floor(extent / step)
    return [i * step for i in range(-reach, reach + 1)]


def label(
    picture: Image.Image, extent: float, margin: int, *, legend: dict[str, tuple]
) -> Image.Image:
    """Writes the numbers below and left of the box and the legend above it.

    Nothing is written where there is no space to read it.
    """
    if margin < 16:
        return picture
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=round(margin * 0.38))
    size = picture.width
    for tick in ticks(extent):
        at = margin + (tick + extent) / (2 * extent) * (size - 2 * margin)
        draw.text((at, size - margin * 0.82), f"{tick:g}", INK, font=font, anchor="ma")
        draw.text((margin * 0.85, size - at), f"{tick:g}", INK, font=font, anchor="rm")
    for i, (name, colour) in enumerate(legend.items()):
        draw.text(
            (size - margin * (1 + 1.2 * i), margin * 0.8), name, colour, font=font, anchor="rs"
        )
    return picture


def save_png(image: Image.Image, path: Path | str) -> None:
    """Writes `path` whole or not at all.

    The same picture gives the same bytes (no time, no path inside).

    Raises:
        OSError: the folder is missing or read-only, or the disk is full; an older file of that name
            is then untouched.
    """
    with atomic.replace_file(Path(path)) as aside:
        image.save(aside, format="PNG", compress_level=6)


def save_image(image: Tensor, path: Path | str) -> None:
    """Writes one image (C,H,W) in [-1,1] as a PNG of its own size."""
    save_png(to_pil(image), path)
