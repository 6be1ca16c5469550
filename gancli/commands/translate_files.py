"""What gan translate reads and writes: which files and names, never over one of the user's."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, PngImagePlugin

from gancli.data.decode import (
    BadImage,
    extensions,
    open_image,
    read_pixels,
    to_channels,
)
from gancli.data.folder import is_hidden, walk
from gancli.errors import UserError, first_line
from gancli.files import atomic
from gancli.files.paths import suggest_neighbours
from gancli.render.grids import from_pixels, grid

# in the key Software, by which our own files are known again
MARK = "gan translate"
SHEET_MARK = "gan translate: sheet"
THUMBNAIL = 256
MODES = {"png": (1, 2, 3, 4), "jpg": (1, 3), "webp": (3, 4)}  # channels that a format holds


@dataclass(frozen=True)
class Item:
    """One image to translate.

    Attributes:
        name: Its path below the input folder.
        target: The same without its ending, below the output folder.
    """

    name: str
    path: Path
    target: str

    def file(self, form: str, answer: int | str | None) -> str:
        """Names an output file; each of several answers or poses has its own."""
        return f"{self.target}.{form}" if answer is None else f"{self.target}-{answer}.{form}"


def items_of(given: str, out: Path) -> list[Item]:
    """Lists the image at `given`, or all below it but what lies in `out`, hidden files and sheets.

    Raises UserError where there is none.
    """
    root = Path(os.path.expanduser(given))
    if os.path.isfile(root):
        return [Item(root.name, root, root.stem)]
    if not os.path.isdir(root):
        raise UserError(
            f"input={given}: there is no such image or folder", suggest_neighbours(root)
        )
    if os.path.realpath(root) == os.path.realpath(out):
        raise UserError(
            f"out={out} is the input folder: what is made would lie among what it is made of",
            "choose another out=",
        )
    names = [
        name
        for name in image_names(root)
        if not within(root / name, out) and mark_of(root / name) != SHEET_MARK
    ]
    if not names:
        raise UserError(f"input={given}: no image in it", "an image file, or a folder of them")
    return [
        Item(name, root / name, target) for name, target in zip(names, targets(names), strict=True)
    ]


def image_names(root: Path) -> list[str]:
    """Lists the images below `root`, sorted by name."""
    try:
        names = sorted(name for name, *_ in walk(root))
    except PermissionError as error:
        raise UserError(
            f"no permission to read {error.filename or root}",
            "change its permissions, or take another folder",
        ) from error
    return [
        name
        for name in names
        if not is_hidden(name) and PurePosixPath(name).suffix.lower() in extensions()
    ]


def within(path: Path, folder: Path) -> bool:
    """Tells whether a path, its links followed, lies in `folder`."""
    return Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder))


def targets(names: Sequence[str]) -> list[str]:
    """Takes endings off names; in a folder where two would then be one, all keep theirs.

    Some disks do not tell A from a.
    """
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    count = Counter(stem.lower() for stem in stems)
    double = {str(PurePosixPath(stem).parent) for stem in stems if count[stem.lower()] > 1}
    return [
        name if str(PurePosixPath(name).parent) in double else stem
        for name, stem in zip(names, stems, strict=True)
    ]


def mark_of(path: Path) -> str | None:
    """Reads who wrote a file, as far as it says so."""
    try:
        with open_image(str(path)) as image:
            return image.info.get("Software") or image.getexif().get(ExifTags.Base.Software)
    except BadImage:
        return None


def refuse_foreign_files(out: Path, files: Sequence[str], items: Sequence[Item]) -> None:
    """Raises UserError where a file that we have not written, or an input, would be overwritten."""
    there = [name for name in files if os.path.lexists(out / name)]
    inputs = {os.path.realpath(item.path) for item in items}
    found = [
        name
        for name in there
        if os.path.realpath(out / name) in inputs or mark_of(out / name) not in (MARK, SHEET_MARK)
    ]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise UserError(
            f"{out} holds files that gan translate has not written, or reads: "
            f"{', '.join(found[:3])}{more}",
            "choose another out=, or move them away",
        )


def masks_of(given: str | None, items: Sequence[Item], *, key: str = "mask") -> dict[str, Path]:
    """Finds each item's mask: the only one, or that of its name in a folder, whatever its ending.

    So it finds the images of their poses (key="pose").

    Raises UserError.
    """
    if given is None:
        return {}
    root = Path(os.path.expanduser(given))
    if os.path.isfile(root):
        return {item.name: root for item in items}
    if not os.path.isdir(root):
        raise UserError(
            f"{key}={given}: there is no such image or folder", suggest_neighbours(root)
        )
    found = {str(PurePosixPath(name).with_suffix("")): root / name for name in image_names(root)}
    stems = {item.name: str(PurePosixPath(item.name).with_suffix("")) for item in items}
    if not any(stem in found for stem in stems.values()):
        raise UserError(
            f"{key}={given}: no image in it has the name of one in the input",
            f"{key}s have their images' names, in sub-folders too",
        )
    return {name: found[stem] for name, stem in stems.items() if stem in found}


def read(path: Path, notes: set[str]) -> np.ndarray:
    """Reads (C,H,W) uint8 in its own size, upright; C is 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA.

    Raises BadImage.
    """
    return read_pixels(str(path), notes)


def save(pixels: np.ndarray, path: Path, *, mark: str = MARK) -> None:
    """Writes (H,W,C) uint8 in the format of the name's ending, whole or not at all.

    Raises BadImage where the format cannot hold it, and OSError.
    """
    form = path.suffix[1:]
    given = pixels.shape[2]
    channels = next(
        (n for n in MODES[form] if n >= given and n % 2 == given % 2), given - 1
    )  # with alpha, or else over white
    if channels != given:
        pixels = to_channels(pixels.transpose(2, 0, 1), channels).transpose(1, 2, 0)
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = mark
    options: dict[str, Any] = {
        "png": {"format": "PNG", "compress_level": 6, "pnginfo": text(mark)},
        "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0, "exif": exif},
        "webp": {"format": "WEBP", "quality": 90, "exif": exif},
    }[form]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic.replace_file(path) as aside:
            from_pixels(pixels).save(aside, **options)
    except (OSError, ValueError, struct.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadImage(
            f"{pixels.shape[1]}x{pixels.shape[0]} pixels cannot be written as {form}: "
            f"{first_line(error)}"
        ) from error


def text(mark: str) -> PngImagePlugin.PngInfo:
    """Makes PNG text chunks that name the software."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", mark)
    return info


@dataclass
class Sheet:
    """Sources beside what became of them, each pair at the size of the result."""

    rows: int
    thumbnails: list[Image.Image] = field(default_factory=list)
    columns: int = 0

    def add(self, source: np.ndarray, made: Sequence[Image.Image]) -> None:
        """Adds a row to the sheet: a source (H,W,C) uint8, and what was made of it."""
        if self.columns == 0:
            self.columns = 1 + len(made)
        if len(self.thumbnails) < self.rows * self.columns:
            picture = from_pixels(to_channels(source.transpose(2, 0, 1), 3).transpose(1, 2, 0))
            self.thumbnails += [
                picture.resize(made[0].size, Image.Resampling.BICUBIC, reducing_gap=3.0),
                *made,
            ]

    def save(self, path: Path) -> None:
        """Writes the grid of all thumbnails, each in the middle of a grey tile."""
        side = max(max(picture.size) for picture in self.thumbnails)
        tiles = np.full((len(self.thumbnails), side, side, 3), 128, np.uint8)
        for tile, picture in zip(tiles, self.thumbnails, strict=True):
            top = (side - picture.height) // 2
            left = (side - picture.width) // 2
            tile[top : top + picture.height, left : left + picture.width] = np.asarray(picture)
        images = torch.from_numpy(tiles).permute(0, 3, 1, 2).float().sub(127.5).div(127.5)
        columns = (
            4 if self.columns == 2 and len(tiles) > 8 else self.columns
        )  # two pairs in a row, or it would be a tower
        save(np.asarray(grid(images, columns=columns)), path, mark=SHEET_MARK)


def thumbnail(pixels: np.ndarray) -> Image.Image:
    """Shrinks (H,W,C) uint8 to RGB over white, its longer side THUMBNAIL at most."""
    shape = [
        max(1, round(side * min(1.0, THUMBNAIL / max(pixels.shape[:2]))))
        for side in pixels.shape[:2]
    ]
    picture = from_pixels(pixels).resize(
        (shape[1], shape[0]), Image.Resampling.LANCZOS, reducing_gap=3.0
    )
    small = np.asarray(picture)
    return from_pixels(
        to_channels(small[None] if small.ndim == 2 else small.transpose(2, 0, 1), 3).transpose(
            1, 2, 0
        )
    )
