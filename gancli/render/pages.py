"""Draws lines of text as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from gancli.render.grids import PAPER

INK = (24, 26, 32)
GREY = (130, 130, 140)
SIZE = 14  # pixels of the letters
ROW = 20
MARGIN = 12
MOST_WIDTH = 1600
MOST_LETTERS = 100  # of a line; what is longer ends in "…"
MOST_REALS = 20


def write_page(lines: Sequence[str], *, real: Sequence[str], columns: int) -> Image.Image:
    """Writes lines in columns, one after the other, and some real ones in grey below.

    Args:
        lines: The samples; where there are none, the page shows the reals alone.
        real: Real lines.
        columns: At most, and no more than have room side by side.
    """
    font = ImageFont.load_default(size=SIZE)
    reals = [shorten(line) for line in (real if not lines else real[:MOST_REALS])]
    shown = [shorten(line) for line in lines]
    width = max((math.ceil(font.getlength(line)) for line in [*shown, *reals]), default=0)
    cell = max(ROW, width) + MARGIN
    across = max(1, min(columns, (MOST_WIDTH - MARGIN) // cell))
    blocks = [(shown, INK), (reals, GREY)]
    rows = [math.ceil(len(block) / across) for block, _ in blocks]
    gap = ROW if all(rows) else 0
    size = MARGIN + across * cell, 2 * MARGIN + sum(rows) * ROW + gap
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    top = MARGIN
    for (block, colour), height in zip(blocks, rows, strict=True):
        for k, line in enumerate(block):
            at = MARGIN + k % across * cell, top + k // across * ROW
            draw.text(at, line, colour, font=font)
        top += height * ROW + (gap if height else 0)
    return page


def shorten(line: str) -> str:
    """Cuts a long line; an empty one is shown as a dot."""
    if not line:
        return "·"
    return line if len(line) <= MOST_LETTERS else line[: MOST_LETTERS - 1] + "…"
