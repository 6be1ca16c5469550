"""What .npy and .npz files say of their arrays, read without torch and without trust."""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from gancli.errors import UserError, first_line
from gancli.files import reading

SUFFIX = ".npy"
MOST_MEMBERS = 1000  # arrays of one file
# Words of which the names of arrays are made: train_images, x_test, imgs, arr_0
IMAGES = ("images", "image", "imgs", "img", "x", "data", "pixels", "faces")
LABELS = ("labels", "label", "y", "targets", "target", "classes", "class")
NAMES = ("class_names", "label_names", "classes_names", "names")
PARTS = ("train", "training", "val", "valid", "validation", "test", "testing")
POSITIONAL = {"arr_0": "images", "arr_1": "labels"}  # np.savez without names
LOCAL_HEADER = 30  # bytes of a zip file's member before its name


@dataclass(frozen=True)
class Stored:
    """An array in a file, of which no value has been read.

    Attributes:
        path: The file.
        key: Its name there; "" of a .npy file.
        shape: As the file says, and as its size agrees to.
        dtype: Of numbers or strings, never of Python objects.
        fortran: Whether the first axis runs fastest.
        offset: Where its values begin in the file; None where they are compressed.
        mark: What changes with the content: a checksum of a member, 0 of a .npy file.
    """

    path: str
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    offset: int | None
    mark: int = 0

    @property
    def nbytes(self) -> int:
        """The bytes of all values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """Maps the array from the file; what is compressed is unpacked into memory.

        Raises:
            OSError: The file cannot be read.
            zipfile.BadZipFile: It is damaged.
        """
        if self.offset is not None:
            if 0 in self.shape:
                return np.empty(self.shape, self.dtype)
            return np.memmap(
                self.path,
                dtype=self.dtype,
                mode="r",
                offset=self.offset,
                shape=self.shape,
                order="F" if self.fortran else "C",
            )
        with zipfile.ZipFile(self.path) as file, file.open(self.key + SUFFIX) as member:
            read_header(member)
            data = member.read(self.nbytes)
        flat = np.frombuffer(data, self.dtype)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def list_arrays(path: Path) -> dict[str, Stored]:
    """Lists the arrays of a .npz file by name, or the one of a .npy file under "".

    Raises:
        UserError: It is no such file, or holds Python objects.
    """
    try:
        if path.suffix.lower() == SUFFIX:
            with reading.open_file(path) as stream:
                shape, fortran, dtype = read_header(stream)
                begin = stream.tell()
                there = stream.seek(0, io.SEEK_END) - begin
            require_size(path.name, shape, dtype, there)
            return {"": Stored(str(path), "", shape, dtype, fortran, begin)}
        if found := reading.describe_irregular(path):
            raise ValueError(f"it is {found}")
        with zipfile.ZipFile(path) as file, open(path, "rb") as raw:
            infos = [info for info in file.infolist() if info.filename.endswith(SUFFIX)]
            if len(infos) > MOST_MEMBERS:
                raise ValueError(f"it holds {len(infos):,} arrays")
            return {
                info.filename.removesuffix(SUFFIX): look_at_member(path, file, raw, info)
                for info in infos
            }
    except PermissionError as error:
        raise UserError(f"{path}: no permission to read it", "change its permissions") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(
            f"{path} cannot be read: {first_line(error)}", "np.savez writes such files"
        ) from error


def look_at_member(
    path: Path, file: zipfile.ZipFile, raw: BinaryIO, info: zipfile.ZipInfo
) -> Stored:
    """Reads the header of one array of a .npz file. Raises ValueError."""
    if info.flag_bits & 1:
        raise ValueError(f"{info.filename} is encrypted")
    with file.open(info) as member:
        shape, fortran, dtype = read_header(member)
        begin = member.tell()
    require_size(info.filename, shape, dtype, info.file_size - begin)
    offset = None
    if info.compress_type == zipfile.ZIP_STORED:
        raw.seek(info.header_offset)
        local = raw.read(LOCAL_HEADER)
        lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
        offset = info.header_offset + LOCAL_HEADER + lengths + begin
    key = info.filename.removesuffix(SUFFIX)
    return Stored(str(path), key, shape, dtype, fortran, offset, info.CRC)


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads shape, order and type of an array. Raises ValueError."""
    version = np.lib.format.read_magic(stream)  # type: ignore[arg-type]  # it reads any stream
    if version != (1, 0):  # the others' headers may claim 4 GB
        raise ValueError(f"an array of format {version[0]}.{version[1]}; np.save writes 1.0")
    try:
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)  # type: ignore[arg-type]
    except ValueError:
        raise
    except Exception as error:
        # The header is a Python literal, and its parser meets garbage with anything.
        raise ValueError(f"no array: {first_line(error)}") from error
    if dtype.hasobject or dtype.kind not in "uifbUS":
        what = "Python objects, which may run code" if dtype.hasobject else str(dtype)
        raise ValueError(f"it holds an array of {what}")
    if any(side < 0 for side in shape):
        raise ValueError(f"an array of shape {shape}")
    return shape, fortran, dtype


def require_size(name: str, shape: tuple[int, ...], dtype: np.dtype, there: int) -> None:
    """Raises ValueError where an array claims other than what the file holds of it."""
    claimed = math.prod(map(int, shape)) * dtype.itemsize
    if claimed != there:
        raise ValueError(f"{name} of shape {shape} needs {claimed:,} bytes and has {there:,}")


# roles


def split_words(key: str) -> list[str]:
    """Splits the name of an array into words, "train_images" into two."""
    return re.split(r"[_\-. ]+", key.lower())


def name_role(key: str) -> tuple[str, str] | None:
    """Returns (role, part) of an array by its name; None of one without a role."""
    words = split_words(POSITIONAL.get(key, key))
    part = next((word for word in words if word in PARTS), "")
    rest = [word for word in words if word not in PARTS]
    for role, known in (("images", IMAGES), ("labels", LABELS)):
        if len(rest) == 1 and rest[0] in known:
            return role, part
    return None


def find_images(arrays: Mapping[str, Stored]) -> dict[str, Stored]:
    """Finds the arrays of images: by their names, else the only one of such a shape."""
    found = {key: stored for key, stored in arrays.items() if is_images(key, stored)}
    roles = [role[0] for key in arrays if (role := name_role(key)) is not None]
    if found or "images" in roles:
        return found
    others = {
        key: stored
        for key, stored in arrays.items()
        if len(stored.shape) == 4 or (len(stored.shape) == 3 and stored.dtype == np.uint8)
    }
    return others if len(others) == 1 and list(others) != ["series"] else {}


def is_images(key: str, stored: Stored) -> bool:
    """Says whether an array is of images by its name, and its shape agrees."""
    role = name_role(key)
    axes = len(stored.shape)
    if stored.dtype.kind not in "uif" or (role is None and key):
        return False
    if key.lower() in ("x", "data"):  # of recordings and series, too
        return axes == 4 or (axes == 3 and stored.dtype == np.uint8)
    return axes in (3, 4) and (role is None or role[0] == "images")


def holds_images(path: Path) -> bool:
    """Says whether a .npz file holds arrays of images; False of one that cannot be read."""
    try:
        return bool(find_images(list_arrays(path)))
    except UserError:
        return False


def holds_single_images(path: Path) -> bool:
    """Says whether each array of a .npz file may be one image, as in a zip file of .npy files."""
    try:
        arrays = list_arrays(path).values()
    except UserError:
        return False
    return len(arrays) > 1 and all(len(stored.shape) in (2, 3) for stored in arrays)
