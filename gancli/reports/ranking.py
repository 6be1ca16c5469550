"""Images in the order of their scores: a CSV, a sheet of both ends, and features as npz.

The same content, the same bytes.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gancli.data.decode import resize_all
from gancli.render.grids import INK, PAPER, grid
from gancli.reports.tables import format_csv

# images at each end of the sheet, in a row, and their largest side in pixels
EACH = 40
COLUMNS = 10
TILE = 128
CAPTION = 26  # pixels above each half


def sort_ascending(scores: Tensor) -> list[int]:
    """Sorts scores (N,), the lowest first.

    Equal ones stand by index, and what is no number before all others.

    Returns:
        (N,) indices.
    """
    return scores.nan_to_num(nan=-torch.inf).argsort(stable=True).tolist()


def format_ranking(scores: Tensor, columns: dict[str, list[str]]) -> str:
    """Writes a line for each image, the lowest score first.

    Args:
        scores: (N,)
        columns: Name -> a string for each image.
    """
    order = sort_ascending(scores)
    rows = [
        [rank, float(f"{scores[k]:.9g}"), *(values[k] for values in columns.values())]
        for rank, k in enumerate(order, 1)
    ]
    return format_csv(["rank", "score", *columns], rows)


def draw_sheet(images: Tensor, scores: Tensor) -> Image.Image:
    """Draws the images of the lowest scores above those of the highest.

    Each half is in reading order from the extreme inwards.

    Args:
        images: (N,C,H,W) uint8.
        scores: (N,)
    """
    order = sort_ascending(scores)
    count = min(EACH, (len(order) + 1) // 2)
    halves = []
    for word, some in (
        ("lowest", order[:count]),
        ("highest", order[::-1][: min(count, len(order) // 2)]),
    ):
        if some:
            text = f"{word} scores: {scores[some[0]]:.3g} to {scores[some[-1]]:.3g}"
            halves += [
                draw_caption(text),
                grid(shrink_images(images[some]), columns=COLUMNS).convert("RGBA"),
            ]
    canvas = Image.new(
        "RGB", (max(half.width for half in halves), sum(half.height for half in halves)), PAPER
    )
    y = 0
    for half in halves:
        canvas.paste(half, (0, y), half)
        y += half.height
    return canvas


def draw_caption(text: str) -> Image.Image:
    """Draws a line of text."""
    font = ImageFont.load_default(size=15)
    picture = Image.new("RGBA", (round(font.getlength(text)) + 12, CAPTION), (*PAPER, 255))
    ImageDraw.Draw(picture).text((6, CAPTION / 2), text, INK, font=font, anchor="lm")
    return picture


def shrink_images(images: Tensor) -> Tensor:
    """Shrinks uint8 (N,C,H,W) to floats in [-1,1] whose longer side is at most TILE pixels."""
    height, width = images.shape[2:]
    scale = min(1.0, TILE / max(height, width))
    pixels = resize_all(
        np.ascontiguousarray(images.numpy()),
        (max(1, round(height * scale)), max(1, round(width * scale))),
    )
    return torch.from_numpy(pixels).float() / 127.5 - 1


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes what numpy.load(path, allow_pickle=False) reads.

    Not by numpy.savez: whether that writes the time depends on the version.
    """
    with zipfile.ZipFile(path, "w") as file:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            # Its time is 1980-01-01
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue())
