"""Draws recordings: the wave above, the spectrogram below."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from gancli.render.grids import LINES, PAPER

WIDTH = 128  # pixels of a tile
WAVE = 32
SPECTRUM = 64
GAP = 4
REAL = (120, 130, 150)  # the wave of a recording
SAMPLE = LINES[0]
DARK = np.array([[10, 10, 35], [75, 20, 110], [215, 60, 70], [255, 190, 60], [255, 255, 225]])


def draw_recordings(
    waves: np.ndarray, spectra: np.ndarray, *, columns: int, real: int
) -> Image.Image:
    """Draws a tile for each recording.

    Args:
        waves: (N,L) from -1 to 1.
        spectra: (N,F,T) uint8, the lowest frequency first.
        columns: In a row.
        real: So many of the last ones are real: they begin a row, and their waves are grey.
    """
    made = len(waves) - real
    across = max(1, min(columns, max(made, real)))
    rows = math.ceil(made / across) + math.ceil(real / across)
    height = WAVE + SPECTRUM + GAP
    canvas = np.empty((GAP + rows * height, GAP + across * (WIDTH + GAP), 3), np.uint8)
    canvas[:] = PAPER
    for k, (wave, spectrum) in enumerate(zip(waves, spectra, strict=True)):
        place = k if k < made else math.ceil(made / across) * across + k - made
        top = GAP + place // across * height
        left = GAP + place % across * (WIDTH + GAP)
        tile = canvas[top : top + WAVE + SPECTRUM, left : left + WIDTH]
        draw_wave(wave, tile[:WAVE], SAMPLE if k < made else REAL)
        draw_spectrum(spectrum, tile[WAVE:])
    return Image.fromarray(canvas)


def draw_wave(wave: np.ndarray, tile: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draws the span of a wave (L,) in each column of a tile (h,w,3)."""
    height, width = tile.shape[:2]
    tile[:] = 244
    edges = np.linspace(0, len(wave), width + 1).round().astype(int)
    rows = np.arange(height)
    for column in range(width):
        piece = wave[edges[column] : max(edges[column] + 1, edges[column + 1])]
        piece = piece if len(piece) else wave[-1:]
        high, low = ((1 - np.array([piece.max(), piece.min()])) / 2 * (height - 1)).round()
        tile[(rows >= high) & (rows <= low), column] = colour


def draw_spectrum(spectrum: np.ndarray, tile: np.ndarray) -> None:
    """Draws levels (F,T) uint8 into a tile (h,w,3), the highest frequency above."""
    height, width = tile.shape[:2]
    image = Image.fromarray(np.ascontiguousarray(spectrum[::-1]))
    levels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)) / 255
    stops = np.linspace(0, 1, len(DARK))
    for channel in range(3):
        tile[..., channel] = np.interp(levels, stops, DARK[:, channel])
