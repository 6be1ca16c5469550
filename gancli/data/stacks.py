"""Images of any number of channels: .npy arrays, TIFF files of many pages, and grey of 16 bits.

A file is read as levels from 0 to 65535, which pass the cache as two planes of bytes each.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gancli.data.decode import (
    MAX_PIXELS,
    TURNS,
    BadImage,
    Decoder,
    File,
    fit,
    open_image,
    orientation,
)
from gancli.errors import first_line
from gancli.files import reading

ARRAY = ".npy"
PAGED = (".tif", ".tiff")
MAGIC = b"\x93NUMPY"
MOST_CHANNELS = 4096
MOST_VALUES = 4 * MAX_PIXELS  # of one file
WHITE = 65535  # the highest level
NOT_GREY = "dataset.bits=16 reads grey images, and this one is {}"
CLIPPED = "values outside dataset.value_range became its ends"


@dataclass(frozen=True)
class Header:
    """What a file says before its values.

    Attributes:
        size: (h, w).
        channels: How many there are.
        values: What a value is, as "uint16".
        format: Of the file.
    """

    size: tuple[int, int]
    channels: int
    values: str
    format: str

    @property
    def mode(self) -> str:
        """The channels and values in words."""
        return f"{self.channels} x {self.values}"


def is_array(file: File) -> bool:
    """Says whether a file is an array, by its name or its first bytes."""
    if isinstance(file, str):
        return PurePosixPath(file).suffix.lower() == ARRAY
    return bytes(file.getbuffer()[: len(MAGIC)]) == MAGIC


def read_header(file: File, *, channels: int | None = None) -> Header:
    """Reads what an array or a TIFF file of grey pages says of itself.

    Args:
        file: Where it is read from.
        channels: How many are wanted; None takes the shorter outer axis of an array.

    Raises:
        BadImage: It is neither, or too large.
    """
    if is_array(file):
        with open_array(file) as stream:
            shape, _, dtype = read_array_header(stream)
        axis = find_channels(shape, channels)
        size = [side for k, side in enumerate(shape) if k != axis]
        n = 1 if axis is None else shape[axis]
        return Header((size[0], size[1]), n, dtype.name, "NPY")
    with open_image(file) as image:
        pages = count_pages(image)
        if not is_grey(image):
            raise BadImage(NOT_GREY.format(image.mode))
        turned = orientation(image) >= 5
        size = [image.width, image.height] if turned else [image.height, image.width]
        return Header((size[0], size[1]), pages, image.mode, image.format or "")


def find_stacks(headers: Sequence[Header]) -> Header | None:
    """Returns what most files say, where they are images of several channels; else None.

    Arrays always are. TIFF files are where all have as many grey pages, and more than one.
    """
    common = Counter((header.channels, header.values, header.format) for header in headers)
    channels, values, kind = common.most_common(1)[0][0]
    if kind != "NPY" and (channels == 1 or len({header.channels for header in headers}) > 1):
        return None
    return Header(headers[0].size, channels, values, kind)


def count_bits(values: str) -> int:
    """Tells how many bits the values of such files need: 8 or 16."""
    return 8 if values in ("uint8", "L", "1") else 16


def describe_scaling(values: str) -> str:
    """Says which values become -1 and 1, unless the user says it."""
    ends = {"uint8": "0 to 255", "L": "0 to 255", "F": "0 to 1"}
    given = "0 to 1" if values.startswith("float") else "0 to 65535"
    return f"{ends.get(values, given)} become -1 to 1"


# arrays


def open_array(file: File) -> BinaryIO:
    """Opens an array's file. Raises BadImage."""
    if isinstance(file, io.BytesIO):
        return io.BytesIO(file.getbuffer())
    try:
        found = reading.describe_irregular(file)  # to open a pipe would wait for ever
        if found:
            raise BadImage(f"{found}, not an array")
        return open(file, "rb")
    except FileNotFoundError:
        raise BadImage("no such file, perhaps a broken link") from None
    except PermissionError:
        raise BadImage("no permission to read it") from None


def read_array_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads shape, order and type of an array, and compares them with the file's size.

    Nothing is allocated before. Raises BadImage.
    """
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):  # the others' headers may claim 4 GB
            raise BadImage(f"an array of format {version[0]}.{version[1]}; np.save writes 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except BadImage:
        raise
    except Exception as error:
        # The header is a Python literal, and its parser meets garbage with anything.
        raise BadImage(f"not an array: {first_line(error)}") from error
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise BadImage(f"an array of {'objects' if dtype.hasobject else dtype}, not of numbers")
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise BadImage(f"its shape {shape} is neither (H,W), (H,W,C) nor (C,H,W)")
    begin = stream.tell()
    there = stream.seek(0, io.SEEK_END) - begin
    stream.seek(begin)
    claimed = math.prod(map(int, shape)) * dtype.itemsize
    if math.prod(map(int, shape)) > MOST_VALUES:
        raise BadImage(f"too large: {'x'.join(map(str, shape))}")
    if claimed != there:
        raise BadImage(f"its shape {shape} needs {claimed} bytes, and the file holds {there}")
    return shape, fortran, dtype


def find_channels(shape: Sequence[int], channels: int | None) -> int | None:
    """Finds the axis of an array that counts channels; None of (H,W). Raises BadImage."""
    if len(shape) == 2:
        if channels not in (None, 1):
            raise BadImage(f"its shape {tuple(shape)} has no axis of {channels} channels")
        return None
    last = shape[2] <= shape[0]  # as `gan sample` writes them, where both would do
    if channels is None or (shape[0] == channels and shape[2] == channels):
        axis = 2 if last else 0
    elif channels in (shape[0], shape[2]):
        axis = 2 if shape[2] == channels else 0
    else:
        raise BadImage(f"its shape {tuple(shape)} has no axis of {channels} channels")
    if shape[axis] > MOST_CHANNELS:
        raise BadImage(f"{shape[axis]} channels, and at most {MOST_CHANNELS} are read")
    return axis


def read_array(file: File, channels: int) -> np.ndarray:
    """Reads an array (C,H,W) in its own values. Raises BadImage."""
    with open_array(file) as stream:
        shape, fortran, dtype = read_array_header(stream)
        axis = find_channels(shape, channels)
        values = np.frombuffer(stream.read(), dtype)
    values = values.reshape(shape, order="F" if fortran else "C")
    return values[None] if axis is None else np.moveaxis(values, axis, 0)


# pages


def is_grey(image: Image.Image) -> bool:
    """Says whether a page holds one value a pixel that counts."""
    return image.mode in ("1", "L", "F") or image.mode.startswith("I")


def count_pages(image: Image.Image) -> int:
    """Counts the pages of a TIFF file; any other image is one. Raises BadImage."""
    if image.format != "TIFF":
        return 1
    pages = 1
    try:
        while pages <= MOST_CHANNELS:
            image.seek(pages)
            pages += 1
    except EOFError:
        pass
    image.seek(0)
    if pages > MOST_CHANNELS:
        raise BadImage(f"more than {MOST_CHANNELS} pages")
    return pages


def read_pages(file: File, channels: int) -> tuple[list[np.ndarray], int]:
    """Reads the pages of a file, (H,W) each in its own values, and how they are turned.

    Raises BadImage where there are others than `channels`; of one channel the first page.
    """
    with open_image(file) as image:
        turn = orientation(image)
        pages = 1 if channels == 1 else count_pages(image)
        if pages != channels:
            raise BadImage(f"{pages} page{'s' * (pages > 1)}, and dataset.channels={channels}")
        if pages * image.width * image.height > MOST_VALUES:
            raise BadImage(f"too large: {pages} pages of {image.width}x{image.height}")
        size = image.size
        found = []
        for page in range(pages):
            if page:
                image.seek(page)
            if not is_grey(image):
                raise BadImage(NOT_GREY.format(image.mode))
            if image.size != size:
                raise BadImage("its pages have different sizes")
            found.append(np.asarray(image.convert("L") if image.mode == "1" else image))
    return found, turn


# levels


def to_levels(
    values: np.ndarray, value_range: Sequence[float] | None, notes: set[str]
) -> NDArray[np.float32]:
    """Turns values into levels from 0 to 65535.

    Args:
        values: Of any shape.
        value_range: Those that become the lowest and the highest level; None: of bytes 0 and 255,
            of other whole numbers 0 and 65535, of floats 0 and 1.
        notes: Receives what is worth a line.

    Raises:
        BadImage: Values lie outside what their type says, or are no numbers.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BadImage("values that are not finite")
    if value_range is not None:
        low, high = value_range
        shares = (values.astype(np.float64) - low) / (high - low)
        if shares.min() < 0 or shares.max() > 1:
            notes.add(CLIPPED)
        return (shares.clip(0, 1) * WHITE).astype(np.float32)
    most = 1 if values.dtype.kind == "f" else WHITE
    if values.dtype == np.uint8:
        return values.astype(np.float32) * 257
    low, high = values.min(), values.max()
    if low < 0 or high > most:
        raise BadImage(
            f"values from {low:.6g} to {high:.6g}, outside 0 ... {most}: "
            "dataset.value_range=[LOW,HIGH] says which are the darkest and the brightest"
        )
    return (values.astype(np.float64) * (WHITE / most)).astype(np.float32)


@dataclass
class DeepDecoder(Decoder):
    """Turns files into levels of one size: first the high bytes of all channels, then the low.

    So they pass the same cache as images of 8 bits, which are spread over 16.

    value_range: the values that become the lowest and the highest level; None: those of the type.
    """

    value_range: Sequence[float] | None = None

    def __call__(self, file: File | tuple[File, File]) -> np.ndarray:
        """-> (2C,h,w) uint8. BadImage with the reason."""
        assert not isinstance(file, tuple), "two files are a pair, which another decoder reads"
        planes: Sequence[np.ndarray] | np.ndarray
        if is_array(file):
            planes = read_array(file, self.channels)
            turn = 1
        else:
            planes, turn = read_pages(file, self.channels)
        fitted = np.stack([self.fit_plane(plane, turn) for plane in planes])
        return np.concatenate([fitted >> 8, fitted & 255]).astype(np.uint8)

    def fit_plane(self, values: np.ndarray, turn: int) -> NDArray[np.uint16]:
        """Brings the values (H,W) of one channel to the size, as levels."""
        # Pillow resizes floats exactly enough, and 16-bit integers not at all
        picture = Image.fromarray(to_levels(values, self.value_range, self.notes))
        picture = picture.transpose(TURNS[turn]) if turn in TURNS else picture
        fitted = np.rint(np.asarray(fit(picture, self.size))).clip(0, WHITE)
        return fitted.astype(np.uint16)

    def read_values(self, pixels: np.ndarray) -> np.ndarray:
        """Reads the levels, which are finer than whole numbers."""
        high, low = np.split(pixels.astype(np.float64), 2)
        return (high * 256 + low) / 257

    def join(self, pixels: np.ndarray) -> torch.Tensor:
        """Turns planes (N,2C,h,w) of high and low bytes into floats (N,C,h,w) in [-1,1]."""
        n = pixels.shape[1] // 2
        levels = pixels[:, :n].astype(np.float32) * 256 + pixels[:, n:]
        return torch.from_numpy((levels - 32767.5) / 32767.5)
