"""Images of one's own in one array: a .npy or .npz file, as MedMNIST, Keras and others write it."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gancli.data import cache
from gancli.data.base import digest_of
from gancli.data.decode import BadImage
from gancli.data.files import Files
from gancli.data.sources import choose_split, label_items
from gancli.data.tables import Table
from gancli.errors import UserError
from gancli.files.npz import NAMES, PARTS, Stored, find_images, list_arrays, name_role, split_words

SIGNS = {1: b"P5", 3: b"P6"}  # of a PNM file
SAMPLED = 256  # images of a .npy file, which has no checksum
MOST_COLUMNS = 1000  # of labels (N,K)
HINT = "it must hold images (N,H,W) or (N,H,W,C), and perhaps labels (N,)"


@dataclass(frozen=True)
class Block:
    """The images of one part.

    Attributes:
        part: Its name; "" where there are none.
        stored: The array.
        axis: Of its channels in one image, None without; moved to the end.
        columns: Names of the arrays that say something of each image.
    """

    part: str
    stored: Stored
    axis: int | None
    columns: dict[str, Stored]

    def __len__(self) -> int:
        return self.stored.shape[0]


def list_array_images(path: str, *, label: str | list[str], split: str | None) -> Files:
    """Lists the images of a .npy or .npz file.

    Args:
        path: As typed.
        label: As in `Folder`.
        split: As in `Folder`.

    Raises:
        UserError: There are no images in it, or they cannot be told.
    """
    root = Path(path).expanduser()
    arrays = list_arrays(root)
    found = find_images(arrays)
    if not found:
        listed = ", ".join(f"{key or 'array'} {stored.shape}" for key, stored in arrays.items())
        posed = "pose" in arrays and "images" in arrays
        raise UserError(
            f"dataset.path={path}: no array of images in it ({listed or 'no array at all'})",
            "people in poses: dataset=posed takes it" if posed else HINT,
        )
    parts = {part: key for key in found for part in [(name_role(key) or ("", ""))[1]]}
    remarks = [f"{key} is taken for images" for key in found if key and name_role(key) is None]
    if len(parts) < len(found):
        twice = [key for key in found if key not in parts.values()]
        remarks.append(f"images are read from {', '.join(parts.values())}, not {', '.join(twice)}")
    counts = {part: found[key].shape[0] for part, key in parts.items()}
    chosen, said = choose_split(path, counts, split)
    remarks += [said] if said else []
    taken = [part for part in parts if chosen is None or part == chosen]
    blocks = [make_block(part, found[parts[part]], arrays, remarks) for part in taken]
    if len({block.stored.dtype for block in blocks}) > 1:
        raise UserError(f"{path}: its parts hold different types", "dataset.split=NAME takes one")
    table = make_table(path, blocks, arrays)
    unused = [
        key
        for key in arrays
        if key not in found and key.lower() not in NAMES and not is_column_of(key, arrays, found)
    ]
    remarks += [f"arrays that are not read: {', '.join(unused)}"] if unused else []
    labelled = label_items(path, table, sum(map(len, blocks)), label)
    reader = Reader(blocks)
    kept = labelled.kept
    ending = "" if reader.as_pictures else ".npy"
    names = [
        f"{block.part or 'images'}/{k:06d}{ending}" for block in blocks for k in range(len(block))
    ]
    stamp = os.stat(root).st_mtime_ns
    each = [block.stored.nbytes // len(block) for block in blocks for _ in range(len(block))]
    return Files(
        names=[names[k] for k in kept],
        read=lambda i: reader.read_row(int(kept[i])),
        sizes=[each[k] for k in kept],
        stamps=[stamp] * len(kept),
        labels=labelled.labels,
        classes=labelled.classes,
        remarks=(*remarks, *labelled.remarks),
        origin=os.path.realpath(root),
        labelled_by=labelled.source,
        left_out=tuple(part for part in parts if chosen not in (None, part)),
        identity=digest_of([reader.identify(), labelled.identify()]),
        form="array",
    )


def is_column_of(key: str, arrays: dict[str, Stored], found: dict[str, Stored]) -> bool:
    """Says whether an array has a value, or a few, for each image of some part."""
    shape = arrays[key].shape
    return len(shape) in (1, 2) and any(shape[:1] == images.shape[:1] for images in found.values())


def make_block(part: str, stored: Stored, arrays: dict[str, Stored], remarks: list[str]) -> Block:
    """Finds the channels and the columns of one array of images. Raises UserError."""
    axis = None
    if stored.shape[0] == 0 or 0 in stored.shape:
        raise UserError(f"{stored.key or 'the array'} of shape {stored.shape} is empty", HINT)
    if len(stored.shape) == 4:
        last = stored.shape[3] <= min(stored.shape[1], 4) or stored.shape[3] <= stored.shape[1]
        axis = 2 if last else 0
        if not last:
            remarks.append(
                f"{stored.key or 'its'} shape {stored.shape} is read as images, channels, height, "
                "width"
            )
    columns = {}
    for key, other in arrays.items():
        if other is stored or not 1 <= len(other.shape) <= 2 or other.shape[0] != stored.shape[0]:
            continue
        theirs = next((word for word in split_words(key) if word in PARTS), "")
        if theirs == part and key.lower() not in NAMES:
            role = name_role(key)
            columns["label" if role and role[0] == "labels" else key] = other
    return Block(part, stored, axis, columns)


def make_table(path: str, blocks: Sequence[Block], arrays: dict[str, Stored]) -> Table:
    """Makes a table of what the arrays say of each image."""
    columns: dict[str, list] = {}
    shared = [key for key in blocks[0].columns if all(key in block.columns for block in blocks)]
    for key in shared:
        values = [read_values(block.columns[key]) for block in blocks]
        joined = np.concatenate([v.reshape(len(v), -1) for v in values])
        if joined.shape[1] > MOST_COLUMNS:
            continue
        if joined.shape[1] == 1:
            columns[key] = joined[:, 0].tolist()
        elif is_one_hot(joined):
            columns[key] = joined.argmax(1).tolist()
        else:
            columns |= {f"{key}_{k}": joined[:, k].tolist() for k in range(joined.shape[1])}
    names = {}
    listed = next((arrays[key] for key in arrays if key.lower() in NAMES), None)
    if listed is not None and len(listed.shape) == 1 and "label" in columns:
        words = [str(name) for name in listed.read()]
        if all(isinstance(v, int) and 0 <= v < len(words) for v in columns["label"]):
            names["label"] = tuple(words)
    return Table(Path(path).name, [], columns, names)


def read_values(stored: Stored) -> np.ndarray:
    """Reads an array of labels. Raises UserError."""
    try:
        values = stored.read()
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{stored.path}: {stored.key} cannot be read: {error}") from error
    return values.astype(str) if values.dtype.kind == "S" else values


def is_one_hot(values: np.ndarray) -> bool:
    """Says whether rows (N,K) hold a single 1 each, and zeros."""
    if values.dtype.kind not in "uifb":
        return False
    return bool(((values == 0) | (values == 1)).all() and (values.sum(1) == 1).all())


class Reader:
    """Reads single images of one or several arrays, by any thread.

    Arrays that are not compressed are mapped from the file; else they are unpacked into memory when
    the first image is asked for.
    """

    def __init__(self, blocks: Sequence[Block]):
        self.blocks = blocks
        self.starts = np.cumsum([0, *map(len, blocks)])
        self.arrays: list[np.ndarray | None] = [None] * len(blocks)
        first = blocks[0]
        shape = first.stored.shape[1:]
        self.channels = 1 if first.axis is None else shape[first.axis]
        # Bytes of so many channels are a picture; all else is an array of any number of channels
        self.as_pictures = first.stored.dtype == np.uint8 and self.channels in (1, 3)

    def open_block(self, k: int) -> np.ndarray:
        """Returns the array of a part. Raises UserError."""
        array = self.arrays[k]
        if array is None:
            stored = self.blocks[k].stored
            if stored.offset is None and not cache.fits(stored.nbytes):
                raise UserError(
                    f"{stored.path}: {stored.key} unpacks to {cache.gigabytes(stored.nbytes)}, "
                    "more than the memory",
                    "np.savez, or np.save, writes it without compression: it is then mapped",
                )
            array = self.arrays[k] = read_values(stored)
        return array

    def read_row(self, index: int) -> io.BytesIO:
        """Returns one image as the bytes of a file. Raises BadImage."""
        k = int(np.searchsorted(self.starts, index, side="right")) - 1
        block = self.blocks[k]
        row = self.open_block(k)[index - self.starts[k]]
        if block.axis == 0:
            row = np.moveaxis(row, 0, 2)
        if not self.as_pictures:
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(row), (1, 0), allow_pickle=False)
            buffer.seek(0)
            return buffer
        height, width = row.shape[:2]
        if not height or not width:
            raise BadImage("an image without pixels")
        head = b"%s %d %d 255\n" % (SIGNS[self.channels], width, height)
        return io.BytesIO(head + np.ascontiguousarray(row).tobytes())

    def identify(self) -> str:
        """Returns a digest of the images: by checksums, or some of them where there are none."""
        parts: list[bytes | str] = []
        for k, block in enumerate(self.blocks):
            parts.append(repr((block.stored.shape, block.stored.dtype.str, block.stored.mark)))
            if not block.stored.mark:
                array = self.open_block(k)
                step = max(1, len(array) // SAMPLED)
                parts.append(np.ascontiguousarray(array[::step]).tobytes())
        return digest_of(parts)
