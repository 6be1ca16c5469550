"""Pictures and sounds inside a page: small enough to send, and turned into data: addresses."""

from __future__ import annotations

import base64
import io
import wave
from pathlib import Path

from PIL import Image

from gancli.files import reading

MOST_BYTES = 64 * 2**20  # of a file; a grid of samples has a few MB
MOST_PIXELS = 50_000_000
MOST_SOUND = 4 * 2**20  # bytes of a sound; a minute at 16 kHz has half of it
SIDE = 560  # pixels of the longer side
QUALITY = 78


def make_data_uri(path: Path, *, side: int = SIDE) -> str | None:
    """Turns a picture into an address, as PNG or WebP, whichever is smaller.

    Returns:
        None where the file is no sound PNG.
    """
    try:
        original = reading.read_bytes(path, most=MOST_BYTES) or b""
        with Image.open(io.BytesIO(original), formats=["PNG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                return None
            webp = encode_image(image, side)
            shrunk = max(image.size) > side
    except (
        reading.Unreadable,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ):
        # What Pillow raises for broken PNG files
        return None
    if len(original) <= len(webp) and not shrunk:
        return make_address("image/png", original)
    return make_address("image/webp", webp)


def make_sound_uri(path: Path) -> str | None:
    """Turns a WAV file into an address; None where it is no sound WAV file, or too long."""
    try:
        data = reading.read_bytes(path, most=MOST_SOUND) or b""
        with wave.open(io.BytesIO(data), "rb") as file:
            whole = file.getnframes() > 0
    except (reading.Unreadable, OSError, EOFError, wave.Error):
        return None
    return make_address("audio/wav", data) if whole else None


def encode_image(image: Image.Image, side: int) -> bytes:
    """Writes an image, no side longer than `side`, in the smaller of two formats."""
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if max(image.size) > side:
        scale = side / max(image.size)
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
            Image.Resampling.LANCZOS,
        )
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=QUALITY, method=4)
    return buffer.getvalue()


def make_address(kind: str, data: bytes) -> str:
    """Returns the address that holds the data itself."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def pick_evenly(items: list, most: int) -> list:
    """Picks at most so many of them, the first and the last included."""
    if len(items) <= most:
        return list(items)
    return [items[round(k * (len(items) - 1) / (most - 1))] for k in range(most)]
