"""Folders of images as they should not be: broken, odd, huge and misnamed files, mixed
by a seed.
"""

from __future__ import annotations

import io
import random
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Make = Callable[[random.Random], tuple[str, bytes]]


def encoded(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def pixels(
    rng: random.Random, mode: str = "RGB", size: tuple[int, int] | None = None
) -> Image.Image:
    width, height = size or (rng.choice([1, 2, 7, 16, 33]), rng.choice([1, 3, 16, 40]))
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(rng.randrange(2**32)).integers(
        0, 256, (height, width, channels), dtype=np.uint8
    )
    return Image.frombytes(mode, (width, height), values.tobytes())


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header claims width x height and whose data is short."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def cut(rng: random.Random) -> tuple[str, bytes]:
    data = encoded(pixels(rng, size=(40, 40)), rng.choice(["PNG", "JPEG", "GIF", "BMP"]))
    return ".png", data[: rng.randrange(1, len(data))]


def flipped(rng: random.Random) -> tuple[str, bytes]:
    data = bytearray(
        encoded(pixels(rng, size=(24, 24)), rng.choice(["PNG", "JPEG", "WEBP", "TIFF"]))
    )
    for _ in range(rng.randrange(1, 9)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return ".png", bytes(data)


def animated(rng: random.Random) -> tuple[str, bytes]:
    frames = [pixels(rng, "L", (16, 16)) for _ in range(3)]
    form = rng.choice(["GIF", "PNG", "WEBP", "TIFF"])
    return f".{form.lower()}", encoded(frames[0], form, save_all=True, append_images=frames[1:])


def oriented(rng: random.Random) -> tuple[str, bytes]:
    exif = Image.Exif()
    exif[274] = rng.choice([0, 3, 6, 8, 99])
    return ".jpg", encoded(pixels(rng), "JPEG", exif=exif)


def transparent(rng: random.Random) -> tuple[str, bytes]:
    image = pixels(rng, "RGB").convert("P", palette=Image.Palette.ADAPTIVE)
    return ".png", encoded(image, "PNG", transparency=rng.randrange(256))


FILES: dict[str, Make] = {
    "sound": lambda rng: (".png", encoded(pixels(rng), "PNG")),
    "jpeg": lambda rng: (".JPG", encoded(pixels(rng), "JPEG")),
    "grey": lambda rng: (".png", encoded(pixels(rng, "L"), "PNG")),
    "grey alpha": lambda rng: (".png", encoded(pixels(rng, "LA"), "PNG")),
    "alpha": lambda rng: (".png", encoded(pixels(rng, "RGBA"), "PNG")),
    "palette": transparent,
    "cmyk": lambda rng: (".jpg", encoded(pixels(rng, "CMYK"), "JPEG")),
    "bits": lambda rng: (".png", encoded(pixels(rng, "L").convert("1"), "PNG")),
    "16 bits": lambda rng: (
        ".png",
        encoded(Image.fromarray(np.full((9, 9), rng.randrange(65536), np.uint16)), "PNG"),
    ),
    "float": lambda rng: (
        ".tiff",
        encoded(Image.fromarray(np.full((9, 9), rng.choice([0.5, 7, np.nan]), np.float32)), "TIFF"),
    ),
    "turned": oriented,
    "animation": animated,
    "strip": lambda rng: (".png", encoded(pixels(rng, size=(rng.choice([1, 3000]), 2)), "PNG")),
    "empty": lambda rng: (".png", b""),
    "zeros": lambda rng: (".jpg", b"\0" * rng.randrange(1, 999)),
    "page": lambda rng: (".jpg", b"<!DOCTYPE html><html>404</html>"),
    "text": lambda rng: (".png", b"not an image"),
    "noise": lambda rng: (".webp", rng.randbytes(400)),
    "cut": cut,
    "flipped": flipped,
    "bomb": lambda rng: (".png", bomb(rng.choice([20_000, 2**31 - 1]), 20_000)),
    "archive": lambda rng: (".png", b"PK\x03\x04" + rng.randbytes(60)),
    "script": lambda rng: (".png", b"\x80\x04\x95cos\nsystem\n(S'id'\ntR."),
    "index": lambda rng: (".csv", b"a.png,cat\n"),
    "heic": lambda rng: (".heic", rng.randbytes(50)),
    "postscript": lambda rng: (
        ".eps",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(id) run\n",
    ),
}
NAMES = [
    "{}",
    " {} ",
    "{}.x",
    "ä{}",
    "甲{}",
    "-{}",
    "{}=1,2",
    "a'b\"{}",
    "\x1b[31m{}",
    "{}\n",
    "${{x}}{}",
    "[{}]",
]
FOLDERS = [
    "",
    "cat",
    "Cat",
    "cat/deep/deeper",
    "甲 类（三）",
    ".hidden",
    "__MACOSX",
    "a=b",
    "train",
    "trainA",
    "trainB",
    "A",
    "B",
]


def hostile_folder(root: Path, seed: int) -> Path:
    """Some files of some kinds under some names in some sub-folders; mostly few, sometimes a single
    one or equal ones.
    """
    rng = random.Random(seed)
    kinds = rng.sample(sorted(FILES), rng.randrange(1, 8))
    places = rng.sample(FOLDERS, rng.randrange(1, 4))
    n = rng.choice([0, 1, 2, 5, 12, 30])
    same = rng.random() < 0.1
    root.mkdir(parents=True)
    first = None
    for k in range(n):
        ending, data = FILES[rng.choice(kinds)](rng)
        first = first or (ending, data)
        ending, data = first if same else (ending, data)
        path = root / rng.choice(places) / (rng.choice(NAMES).format(k) + ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if rng.random() < 0.03:
            path.with_name(f"link{k}.png").symlink_to(rng.choice(["nowhere", "..", path.name]))
    return root


def hostile_zip(path: Path, seed: int) -> Path:
    """The same as a zip file, with members that lead outside, twice the same name, links and a
    thousand to one.
    """
    rng = random.Random(seed)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for k in range(rng.choice([0, 1, 3, 9])):
            ending, data = FILES[rng.choice(sorted(FILES))](rng)
            place = rng.choice(["", "a/", "b/", "../", "/", "C:/", "a/../../", "a\\"])
            info = zipfile.ZipInfo(f"{place}{rng.choice([k, 0])}{ending}")
            if rng.random() < 0.1:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(info, data)
        if rng.random() < 0.2:
            file.writestr("zeros.bmp", b"BM" + b"\0" * 30_000_000)
    if rng.random() < 0.3:
        data = bytearray(path.read_bytes())
        for _ in range(3):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(data))
    return path
