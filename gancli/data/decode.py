"""One image file to uint8 pixels, whatever its mode, orientation and size.

Where that cannot be done it gives the reason.
"""

from __future__ import annotations

import functools
import io
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from gancli.errors import first_line
from gancli.files import reading

GREY_SPREAD = 2  # of 255: colour channels that differ no more are grey, but for JPEG's rounding
MAX_PIXELS = 100_000_000  # 300 MB as RGB; a PNG of 50 KB can claim 400 million
# Video, weather and document formats that Pillow lists but hands to other programs, Ghostscript
# among them.
FOREIGN = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF", "XVTHUMB"}
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
File = str | io.BytesIO  # where one image is read from
FINE = 64  # pixels of the longer side at which outlines are drawn, at least
# Of `draw_strokes`: ink is what exceeds the first, and this share of the ink around it
STROKE_LEAST = 0.22
STROKE_AROUND = 0.65
STROKE_STEEP = 4.0  # the slope of the curve from paper to ink
SIZE_LOCK = threading.Lock()
# what a run and `gan data` say of some of the images
REDUCED = "16-bit pixels were scaled to 8 bits"
REDUCED_COLOURS = "16-bit colours were cut to 8 bits: image files keep 16 of grey alone"
FIRST_FRAME = "an animation gives its first frame alone"


class BadImage(Exception):
    """A file that gives no usable picture.

    The message is the reason, for the list of what was skipped.
    """


def extensions() -> set[str]:
    """Lists the endings, as ".png", of the formats that are read."""
    add_plugins()
    return {
        ending
        for ending, name in Image.registered_extensions().items()
        if name in formats() or name == "MPO"
    }


@functools.cache
def add_plugins() -> None:
    """Lets Pillow read what it can, and HEIC where its plug-in is installed."""
    Image.init()
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener(thumbnails=False)


@functools.cache
def formats() -> list[str]:
    """Returns the formats that are read, in Pillow's order."""
    add_plugins()
    # In Pillow's order: it tries the common ones first
    return [name for name in Image.ID if name not in FOREIGN]


@contextmanager
def quiet() -> Iterator[None]:
    """Silences Pillow on large or odd files: here each is refused by name, or read.

    Enter it outside the threads.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module="PIL")
        yield


@contextmanager
def open_image(file: File) -> Iterator[Image.Image]:
    """Opens the header, not the pixels.

    BadImage for everything that is no image, and for too large ones.
    """
    try:
        if isinstance(file, str):
            found = reading.describe_irregular(file)  # to open a pipe would wait for ever
            if found:
                raise BadImage(f"{found}, not an image file")
        image = Image.open(file, formats=formats())
        with image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BadImage(f"too large: {width}x{height}")
            yield image
    except (BadImage, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise BadImage("too large: {}x{}".format(*size_unchecked(file))) from None
    except PermissionError:
        raise BadImage("no permission to read it") from None
    except FileNotFoundError:
        raise BadImage("no such file, perhaps a broken link") from None
    except UnidentifiedImageError:
        raise BadImage(what_else(file)) from None
    except Exception as error:
        # Pillow's plugins meet garbage with anything: OSError, SyntaxError, struct.error and more.
        raise BadImage(f"corrupt: {first_line(error)}") from error


def size_unchecked(file: File) -> tuple[int, int]:
    """Lifts Pillow's limit on pixels: it would refuse a file before it tells the size.

    The limit is lifted while one header is read again.
    """
    with SIZE_LOCK:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            with Image.open(file, formats=formats()) as image:
                return image.size
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def what_else(file: File) -> str:
    """Says what a file is that holds no image."""
    if isinstance(file, io.BytesIO):
        head = file.getvalue()[:512]
    else:
        with open(file, "rb") as stream:
            head = stream.read(512)
    if not head.strip(b"\0"):
        return "empty file" if not head else "the file begins with zeros: a broken download?"
    if head.startswith(b"\x93NUMPY"):
        return "an array, not an image: dataset=folder alone reads those"
    return (
        "a web page, not an image"
        if b"<html" in head.lower() or b"<!doctype" in head.lower()
        else "not an image"
    )


def orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation of an image, 1 to 8."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - a damaged EXIF block says nothing about the pixels
        return 1


def read_pixels(file: File, notes: set[str]) -> np.ndarray:
    """Reads one image in its own size, upright.

    Args:
        file: Where it is read from.
        notes: Receives what was done to the image and is worth a line.

    Returns:
        (C,H,W) uint8; C = 1, 2, 3, 4 is grey, grey + alpha, RGB, RGBA.

    Raises:
        BadImage: The file gives no usable picture.
    """
    with open_image(file) as image:
        if cuts_levels(image):
            notes.add(REDUCED_COLOURS)
        turn = orientation(image)
        image = plain(image, notes)
        pixels = np.asarray(image.transpose(TURNS[turn]) if turn in TURNS else image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@dataclass
class Decoder:
    """Turns files into pixels of one size, (h, w), and one number of channels.

    Threads may share it.

    notes: what was done to some images and is worth a line in the log, such as the scaling of 16
    bits to 8.
    """

    size: tuple[int, int]
    channels: int
    notes: set[str] = field(default_factory=set)

    def __call__(self, file: File | tuple[File, File]) -> np.ndarray:
        """-> (C,h,w) uint8. Shorter side to size, then the centre. BadImage with the reason."""
        assert not isinstance(file, tuple), "two files are a pair, which another decoder reads"
        with open_image(file) as image:
            if cuts_levels(image):
                self.notes.add(REDUCED_COLOURS)
            turn = orientation(image)
            # A JPEG decodes to 1/2, 1/4 or 1/8 for a fraction of the time; twice the target is left
            # to the better filter.
            image.draft(None, (2 * max(self.size), 2 * max(self.size)))
            frames = image
            image = plain(frames, self.notes)
            if is_animated(frames):
                self.notes.add(FIRST_FRAME)
            if turn in TURNS:
                image = image.transpose(TURNS[turn])
            pixels = np.asarray(fit(image, self.size))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        lost = colour_lost(self.channels)
        if lost not in self.notes and loses_colour(pixels, self.channels):
            self.notes.add(lost)
        return to_channels(pixels, self.channels)

    def read_values(self, pixels: np.ndarray) -> np.ndarray:
        """Reads what a call gave as values (channels,h,w) from 0 to 255, float64."""
        return pixels.astype(np.float64)

    def join(self, pixels: np.ndarray) -> torch.Tensor:
        """Turns many of what a call gave, (N,...), into stored images."""
        return torch.from_numpy(pixels)


def is_animated(image: Image.Image) -> bool:
    """Has the file more frames than the one that is taken?

    A telephone's MPO has a second view, which is none.
    """
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Exception:  # noqa: BLE001 - a damaged second frame says nothing about the first
        return False


def colour_lost(channels: int) -> str:
    """Returns the sentence for colours that are dropped."""
    return (
        f"colours are dropped: dataset.channels={channels} is grey; "
        "a model trained with dataset.channels=3 keeps them"
    )


def loses_colour(pixels: np.ndarray, channels: int) -> bool:
    """Tells whether `channels` would drop visible colours of (...,C,H,W) uint8."""
    if channels not in (1, 2) or pixels.shape[-3] < 3:
        return False
    colour = pixels[..., :3, :, :].astype(np.int16)
    return bool(np.ptp(colour, axis=-3).max() > GREY_SPREAD)


def plain(image: Image.Image, notes: set[str]) -> Image.Image:
    """Takes the first frame, in mode L, LA, RGB or RGBA."""
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        return Image.fromarray(to_8_bit(np.asarray(image), mode, notes))
    grey = mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        return image.convert("LA" if grey else "RGBA")
    return image.convert("L" if grey else "RGB")


def cuts_levels(image: Image.Image) -> bool:
    """Says whether Pillow reads colours of 16 bits as 8, which it does in silence.

    It shows only in how the pixels are to be unpacked, until they are: for a PNG that is when its
    orientation is asked for.
    """
    if image.mode.startswith("I") or not isinstance(image, ImageFile.ImageFile):
        return False
    for tile in image.tile:
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if ";16" in str(args[0]):
            return True
        if tile[0].startswith("ppm") and isinstance(args[-1], int) and args[-1] > 255:
            return True
    return False


def to_8_bit(pixels: np.ndarray, mode: str, notes: set[str]) -> np.ndarray:
    """Scales to 8 bits by the mode: by each image's range all would be equally bright.

    Pillow's convert() clips.
    """
    if mode == "F":
        if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 1:
            raise BadImage("float pixels outside 0 ... 1")
        notes.add("float pixels were scaled from 0 ... 1 to 8 bits")
        return np.rint(pixels * 255).astype(np.uint8)
    pixels = pixels.astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise BadImage("32-bit pixels outside 0 ... 65535")
    notes.add(REDUCED)
    # 65535 / 255 = 257, rounded to the nearest: white stays white.
    return ((pixels + 128) // 257).astype(np.uint8)


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Covers (h, w) and cuts the centre, in one pass; smooth both ways.

    Pillow weighs colours by their alpha.
    """
    height, width = size
    if image.size == (width, height):
        return image
    scale = max(width / image.width, height / image.height)
    # The box that is kept, in the file's own pixels: scaled and cut in one pass, rounded once.
    dx = max(0, image.width - width / scale) / 2
    dy = max(0, image.height - height / scale) / 2
    # Lanczos is the sharpest down, but upwards its ringing shows around every edge.
    method = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    return image.resize(
        (width, height), method, box=(dx, dy, image.width - dx, image.height - dy), reducing_gap=3.0
    )


def to_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Converts (...,C,H,W) uint8, C = 1 to 4 for grey, grey + alpha, RGB, RGBA, to channels.

    Alpha is dropped over white: what is transparent is mostly drawn for a page, and black would
    swallow its dark lines.
    """
    alpha = pixels[..., -1:, :, :] if pixels.shape[-3] in (2, 4) else None
    colour = pixels if alpha is None else pixels[..., :-1, :, :]
    if alpha is not None and channels in (1, 3):
        # In whole numbers: every machine then has the same bytes.
        blend = colour.astype(np.uint16) * alpha + np.uint16(255) * (255 - alpha)
        colour = ((blend + 127) // 255).astype(np.uint8)
    if channels in (3, 4) and colour.shape[-3] == 1:
        colour = np.repeat(colour, 3, axis=-3)
    elif channels in (1, 2) and colour.shape[-3] == 3:
        red, green, blue = np.moveaxis(colour.astype(np.uint32), -3, 0)
        # ITU-R 601
        colour = ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)[
            ..., None, :, :
        ]
    if channels in (1, 3):
        return np.ascontiguousarray(colour)
    alpha = np.full_like(colour[..., :1, :, :], 255) if alpha is None else alpha
    # Under full transparency files hold anything; white there is one thing less to learn, and
    # agrees with the rule above.
    return np.ascontiguousarray(
        np.concatenate([np.where(alpha == 0, np.uint8(255), colour), alpha], axis=-3)
    )


def resize_all(
    pixels: np.ndarray, size: tuple[int, int], *, contain: bool = False, crisp: bool = False
) -> np.ndarray:
    """Resizes (N,C,H,W) in 0 ... 255 to (N,C,h,w) uint8, bicubic with antialiasing.

    Args:
        pixels: The images, of any dtype.
        size: (h, w).
        contain: The whole image within black borders (a digit loses its head otherwise); else it
            covers and its centre is cut.
        crisp: They are small drawings, light on black, whose strokes get edges.
    """
    height, width = size
    if pixels.shape[-2:] == size and pixels.dtype == np.uint8 and not crisp:
        return pixels
    pick = min if contain else max
    scale = pick(height / pixels.shape[-2], width / pixels.shape[-1])
    inner = [max(1, round(side * scale)) for side in pixels.shape[-2:]]
    out = np.zeros((*pixels.shape[:2], height, width), np.uint8)
    to_y, from_y = overlap(height, inner[0])
    to_x, from_x = overlap(width, inner[1])
    # In floats all at once would take four times the room.
    for start in range(0, len(pixels), 1024):
        x = torch.from_numpy(np.ascontiguousarray(pixels[start : start + 1024])).float()
        x = draw_strokes(x, inner) if crisp else resize_smoothly(x, inner)
        out[start : start + 1024, :, to_y, to_x] = (
            x[:, :, from_y, from_x].round_().clamp_(0, 255).to(torch.uint8).numpy()
        )
    return out


def resize_smoothly(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    """Resizes float images (N,C,H,W) to (N,C,*size): bicubic, and averaged where it goes down."""
    return torch.nn.functional.interpolate(
        x, size, mode="bicubic", antialias=True, align_corners=False
    )


def draw_strokes(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    """Enlarges small drawings so that strokes have edges.

    Grey at the rim of a stroke means that it covers a part of the cell, so an outline runs where
    the enlarged grey crosses a threshold. That is higher where all around is light: loops stay
    open, and thin faint strokes stay whole.

    Args:
        x: Float images (N,C,H,W) in 0 ... 255, light on black.
        size: [h, w].

    Returns:
        (N,C,h,w) in 0 ... 255; edges are a third of an old pixel wide, but at least one new pixel.
    """
    weights = x.new_tensor([0.25, 0.5, 0.25])
    kernel = (weights[:, None] * weights).expand(x.shape[1], 1, 3, 3)
    around = torch.nn.functional.conv2d(x, kernel, padding=1, groups=x.shape[1])
    height = x / 255 - STROKE_LEAST - STROKE_AROUND / 255 * around
    finer = math.ceil(FINE / max(size))  # drawn larger and averaged, or outlines would have steps
    height = resize_smoothly(height, [side * finer for side in size])
    drawn = (height * STROKE_STEEP + 0.5).clamp_(0, 1)
    return torch.nn.functional.avg_pool2d(drawn, finer).mul_(255)


def overlap(outer: int, inner: int) -> tuple[slice, slice]:
    """Finds where the centre of `inner` pixels lies within `outer`, and which it takes."""
    n = min(outer, inner)
    return slice((outer - n) // 2, (outer - n) // 2 + n), slice(
        (inner - n) // 2, (inner - n) // 2 + n
    )
