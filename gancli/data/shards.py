"""Tar files of images in webdataset's layout, read in place by position; nothing is extracted."""

from __future__ import annotations

import io
import json
import logging
import os
import posixpath
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gancli.data import cache
from gancli.data.base import digest_of
from gancli.data.decode import BadImage, extensions
from gancli.data.files import Files
from gancli.data.sources import choose_split, find_part, label_by_folders, label_items
from gancli.data.tables import AUTO, FOLDERS, Labelled, Table, Value, as_value
from gancli.errors import UserError, first_line
from gancli.files import reading
from gancli.render import status

log = logging.getLogger("gancli.data")
TAR = ".tar"
PACKED = (".tgz", ".gz", ".bz2", ".xz", ".zst")  # of tar files that no position can be read from
INDEX = cache.INDEX
INDEX_FORMAT = 1  # raise it when the same tar file gives another index
MOST_INDEX = 256_000_000  # bytes of an index that is kept
MOST_MEMBER = 500_000_000  # bytes of an image
MOST_TEXT = 1_000_000  # bytes of a .cls or .json member
LONGEST = 200  # characters of a value that may be a label
CLASS = "cls"  # the member, and the column, that holds a class


@dataclass(frozen=True)
class Sample:
    """An image in a tar file, and what stands beside it under the same key.

    Attributes:
        key: The members' path without their endings.
        ending: Of the image, as "png".
        offset: Where its bytes begin in the tar file.
        size: How many there are.
        values: What .cls and .json say of it.
    """

    key: str
    ending: str
    offset: int
    size: int
    values: dict[str, Value]


@dataclass(frozen=True)
class Shard:
    """The index of one tar file.

    Attributes:
        name: Below the folder.
        size: Of the file, in bytes.
        stamp: When it was changed last.
        samples: Its images, in its order.
        refused: (member, reason) of what must not be read.
        others: Ending -> members that are neither images nor labels.
    """

    name: str
    size: int
    stamp: int
    samples: list[Sample]
    refused: list[tuple[str, str]]
    others: dict[str, int]


def list_shard_images(
    path: str, names: Sequence[str], *, label: str | list[str], split: str | None, keep: str
) -> Files:
    """Lists the images of tar files.

    Args:
        path: As typed: a tar file, or a folder of some.
        names: Of the tar files, below the folder.
        label: As in `Folder`.
        split: As in `Folder`.
        keep: As `Source.cache`: whether an index is kept beside the decoded images.

    Raises:
        UserError: There is no image in them, or they cannot be read.
    """
    root = Path(path).expanduser()
    folder = root if root.is_dir() else root.parent
    shards = open_index(root, folder, names, keep=keep)
    counts: Counter = Counter()
    for shard in shards:
        counts[find_part(shard.name)] += len(shard.samples)
    counts = Counter({part: n for part, n in counts.items() if n})
    refused = [entry for shard in shards for entry in shard.refused]
    if not counts:
        others = Counter(ending for shard in shards for ending in shard.others)
        raise UserError(
            f"dataset.path={path}: no image in {len(shards)} tar files "
            f"({len(refused)} members refused; others: {', '.join(sorted(others)) or 'none'})",
            "each sample is KEY.png or KEY.jpg, with KEY.cls or KEY.json beside it",
        )
    chosen, said = choose_split(path, counts, split)
    taken = [shard for shard in shards if chosen in (None, find_part(shard.name))]
    samples = [(k, sample) for k, shard in enumerate(taken) for sample in shard.samples]
    items = [
        f"{taken[k].name}/{sample.key}.{sample.ending}".removeprefix("/") for k, sample in samples
    ]
    found = label_samples(path, [sample for _, sample in samples], label)
    files = [str(folder / shard.name) for shard in taken]

    def read(i: int) -> io.BytesIO:
        k, sample = samples[found.kept[i]]
        return read_member(files[k], sample)

    kept = found.kept.tolist()
    passed_over = sum((Counter(shard.others) for shard in taken), Counter())
    return Files(
        names=[items[k] for k in kept],
        read=read,
        sizes=[samples[k][1].size for k in kept],
        stamps=[taken[samples[k][0]].stamp for k in kept],
        labels=found.labels,
        classes=found.classes,
        refused=tuple((f"{s.name}/{name}", why) for s in taken for name, why in s.refused),
        passed_over=", ".join(f"{n} .{ending}" for ending, n in passed_over.most_common(5)),
        remarks=(*([said] if said else []), *found.remarks),
        origin=os.path.realpath(root),
        labelled_by=found.source,
        left_out=tuple(part for part in counts if chosen not in (None, part)),
        identity=found.identify(),
        form="tar",
    )


def label_samples(path: str, samples: Sequence[Sample], label: str | list[str]) -> Labelled:
    """Labels samples by what stands beside them, else by the folders of their keys."""
    columns = dict.fromkeys(name for sample in samples for name in sample.values)
    table = Table(
        "the tar files",
        [],
        {name: [sample.values.get(name) for sample in samples] for name in columns},
    )
    if columns and label != FOLDERS:
        return label_items(path, table, len(samples), label)
    if label in (AUTO, FOLDERS):
        labels, classes = label_by_folders(path, [sample.key for sample in samples])
        source = "class sub-folders" if classes else ""
        return Labelled(np.arange(len(samples)), labels, classes, source)
    return label_items(path, table, len(samples), label)


def read_member(file: str, sample: Sample) -> io.BytesIO:
    """Reads one image from its position. Raises BadImage."""
    try:
        with open(file, "rb") as stream:
            stream.seek(sample.offset)
            data = stream.read(sample.size)
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror}") from error
    if len(data) < sample.size:
        raise BadImage("the tar file ends before it does")
    return io.BytesIO(data)


# the index


def open_index(root: Path, folder: Path, names: Sequence[str], *, keep: str) -> list[Shard]:
    """Returns the indexes of tar files: those that are kept and still true, the others made anew.

    An index is true as long as the file's size and time of change are those it was made from.

    Raises:
        UserError: A file is no tar file, or packed.
    """
    place = cache.cache_root() / digest_of(["tar index", os.path.realpath(root)])
    known = {} if keep == "none" else {shard.name: shard for shard in load_index(place)}
    shards = []
    fresh = 0
    for k, name in enumerate(names):
        info = os.stat(folder / name)
        old = known.get(name)
        if old is not None and (old.size, old.stamp) == (info.st_size, info.st_mtime_ns):
            shards.append(old)
            continue
        status.say(f"indexing tar files, {k + 1:,} of {len(names):,}…", goes_on=k > 0)
        shards.append(index_shard(folder / name, name))
        fresh += 1
    if fresh and keep == "auto":
        keep_index(place, shards)
    return shards


def index_shard(file: Path, name: str) -> Shard:
    """Reads the headers of all members of a tar file, and its labels. Raises UserError."""
    if found := reading.describe_irregular(file):
        raise UserError(f"{file} is {found}, not a tar file", "give a tar file")
    info = os.stat(file)
    endings = {ending.removeprefix(".") for ending in extensions()}
    images: dict[str, Sample] = {}
    refused: list[tuple[str, str]] = []
    others: Counter = Counter()
    try:
        with open(file, "rb") as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            values: dict[str, dict[str, Value]] = {}
            for member in list_members(tar, refused):
                reason = refuse_member(member, info.st_size)
                if reason:
                    refused.append((member.name[:LONGEST], reason))
                if reason or not member.isreg():
                    continue
                key, ending = split_key(member.name)
                last = ending.rpartition(".")[2]
                if is_hidden(key):
                    continue
                if last in endings and key in images:
                    # webdataset allows img.png and seg.png under one key
                    others[ending] += 1
                elif last in endings:
                    said = values.setdefault(key, {})
                    images[key] = Sample(key, ending, member.offset_data, member.size, said)
                elif last in (CLASS, "json") and member.size <= MOST_TEXT:
                    stream.seek(member.offset_data)  # whoever lists members seeks for itself
                    text = stream.read(member.size)
                    try:
                        values.setdefault(key, {}).update(read_values(text, last))
                    except ValueError as error:
                        refused.append((member.name[:LONGEST], f"no label: {first_line(error)}"))
                else:
                    others[ending or "no ending"] += 1
    except (tarfile.TarError, OSError, ValueError, EOFError, OverflowError) as error:
        raise UserError(
            f"{file} is no readable tar file: {first_line(error)}",
            "a tar file that is not compressed; gunzip, or tar -cf, makes one",
        ) from error
    samples = list(images.values())
    return Shard(name, info.st_size, info.st_mtime_ns, samples, refused, dict(others))


def list_members(tar: tarfile.TarFile, refused: list[tuple[str, str]]) -> Iterator[tarfile.TarInfo]:
    """Lists the members of a tar file without keeping them all.

    Args:
        tar: Opened.
        refused: Receives the end of a file that was cut off.
    """
    while True:
        try:
            member = tar.next()
        except tarfile.ReadError as error:  # of the first member opening it has told already
            refused.append(("its end", f"cut off or damaged: {first_line(error)}"))
            return
        if member is None:
            return
        yield member
        tar.members = []  # type: ignore[attr-defined]  # it would hold a kilobyte of each


def refuse_member(member: tarfile.TarInfo, file_size: int) -> str:
    """Says why a member is not read; "" where it may be, or is no file at all."""
    parts = member.name.replace("\\", "/").split("/")
    if member.isdir():
        return ""
    if member.issym() or member.islnk():
        return "a link"
    if not member.isreg() or member.sparse is not None:
        return "no plain file"
    if member.name.startswith("/") or ".." in parts or parts[0].endswith(":"):
        return "its path leads out of the tar file"
    if member.size > MOST_MEMBER:
        return f"too large: {member.size:,} bytes"
    if member.offset_data + member.size > file_size:
        return "the tar file ends before it does"
    return ""


def split_key(name: str) -> tuple[str, str]:
    """Splits a member's name into key and ending, at the first point of its last part."""
    folder, last = posixpath.split(name.replace("\\", "/").removeprefix("./"))
    stem, _, ending = last.partition(".")
    return posixpath.join(folder, stem), ending.lower()


def is_hidden(key: str) -> bool:
    """Says whether a part of a key hides the member, as ._x.png of a Mac does."""
    return any(part in ("", "__MACOSX") or part.startswith(".") for part in key.split("/"))


def read_values(text: bytes, ending: str) -> dict[str, Value]:
    """Reads what a .cls or .json member says. Raises ValueError."""
    words = text.decode("utf-8").strip()
    if ending == CLASS:
        return {CLASS: int(words) if words.lstrip("-").isdecimal() else words[:LONGEST]}
    try:
        tree = json.loads(words)
    except RecursionError as error:
        raise ValueError("too deep") from error
    if not isinstance(tree, dict):
        return {"json": as_value(tree)}
    return {
        str(key)[:LONGEST]: None if isinstance(value, str) and len(value) > LONGEST else value
        for key, value in ((key, as_value(value)) for key, value in tree.items())
    }


def keep_index(place: Path, shards: Sequence[Shard]) -> None:
    """Keeps an index beside the decoded images, where `gan data --clear-cache` finds it."""
    tree = {
        "format": INDEX_FORMAT,
        "shards": [
            {
                **vars(shard),
                "samples": [[s.key, s.ending, s.offset, s.size, s.values] for s in shard.samples],
            }
            for shard in shards
        ],
    }
    data = json.dumps(tree, separators=(",", ":")).encode()
    if len(data) > MOST_INDEX:
        log.info("the index of the tar files takes %s, and is not kept", cache.gigabytes(len(data)))
        return
    partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        cache.make_way(place.parent, len(data))
        (partial / INDEX).write_bytes(data)
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        log.info("the index of the tar files cannot be kept in %s: %s", place, error.strerror)


def load_index(place: Path) -> list[Shard]:
    """Loads an index; an empty one where there is none, or none that can be read."""
    try:
        data = reading.read_bytes(place / INDEX, most=MOST_INDEX)
        tree = json.loads(data) if data is not None else {}
        if not tree or tree["format"] != INDEX_FORMAT:
            return []
        os.utime(place)  # used now, so it is the last to give way
        return [read_shard(shard) for shard in tree["shards"]]
    except (UserError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def read_shard(tree: dict) -> Shard:
    """Reads the index of one tar file. Raises ValueError, KeyError, TypeError."""
    samples = []
    for key, ending, offset, size, values in tree["samples"]:
        if not 0 <= offset <= offset + size <= tree["size"]:
            raise ValueError("a position outside the file")
        samples.append(Sample(str(key), str(ending), int(offset), int(size), dict(values)))
    refused = [(str(name), str(reason)) for name, reason in tree["refused"]]
    return Shard(
        str(tree["name"]), tree["size"], tree["stamp"], samples, refused, dict(tree["others"])
    )
