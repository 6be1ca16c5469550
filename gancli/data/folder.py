"""Images of your own: a folder (flat, or with a sub-folder for each class) or a zip file of one."""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from gancli.data import tables
from gancli.data.base import Decoded, Source, digest_of, require, require_shown
from gancli.data.decode import (
    REDUCED,
    BadImage,
    Decoder,
    File,
    extensions,
    open_image,
    orientation,
    quiet,
)
from gancli.data.files import Files, decode_files, list_skipped
from gancli.data.sources import (
    SPLITS,
    TRAINING,
    choose_split,
    label_by_folders,
    show_label,
    unwrap_names,
)
from gancli.data.stacks import (
    ARRAY,
    PAGED,
    DeepDecoder,
    Header,
    count_bits,
    describe_scaling,
    find_stacks,
    read_header,
)
from gancli.data.tables import AUTO, FOLDERS, Labelled, pick
from gancli.errors import UserError
from gancli.files import reading
from gancli.files.paths import find_ending, suggest_neighbours
from gancli.render import status
from gancli.render.notes import note

log = logging.getLogger("gancli.data")
SAMPLE = 2000  # headers that a scan reads, evenly spaced: 0.2 s
ALPHA_SAMPLE = 32  # pictures that it decodes to see whether their alpha hides anything
HELD_SHARE = 20  # one image in so many is held out where holdout is auto
MOST_HELD = 1000  # images
LEAST_IMAGES = 400  # below so many each image is worth more in training
HEIC = re.compile(r"\.hei[cf]\b")
PACKED_TAR = re.compile(r"\.(tgz|tar\.(gz|bz2|xz|zst))$")
MAX_MEMBER = 500_000_000  # bytes of one file in a zip
# Photographs in formats that Pillow does not read by itself: they are meant, and must not be passed
# over in silence.
PICTURES = {
    ".heic",
    ".heif",
    ".avif",
    ".jxl",
    ".raw",
    ".dng",
    ".cr2",
    ".cr3",
    ".nef",
    ".arw",
    ".orf",
}
GREY = {"1", "L", "LA", "La", "I", "F"}
# What `gan sample per_class=N` lays beside the classes' folders
SHEETS = (
    "grid.png",
    "interpolation.png",
    "sweep.png",
    "mixing.png",
    "levels.png",
    "sheet.png",
)


@dataclass(kw_only=True)
class Folder(Source):
    """Image files below `path`, in any format that Pillow reads, of any sizes and modes.

    Images in sub-folders are labelled by the first sub-folder's name, in sorted order; images
    beside sub-folders make the whole set unlabelled. One lone sub-folder is a wrapper, not a class.
    Hidden files and __MACOSX are passed over.
    label: auto takes the labels of a table beside the images (`gancli.data.tables`), else those of
    sub-folders; folders takes these alone, as runs did before there were tables; a name is a column
    of the table, several are attributes.
    split: of data in parts: auto trains on train, all on all; None takes parts for classes.
    holdout: auto keeps one image in 20 out of training, at most 1,000; none of fewer than 400, or
    beside a folder test or val.
    Arrays (.npy) of shape (H,W), (H,W,C) or (C,H,W) in place of pictures, and TIFF files of as many
    grey pages each, are images of any number of channels.
    bits: 16 keeps 16-bit grey images as floats, 8 or 16 does so with arrays and pages; else
    pictures are read as 8 bits, and `scan` finds the bits of arrays and pages.
    value_range: the values of arrays and pages that become -1 and 1; None: the ends of their type.
    shown: the channels that grids show, 1 to 4 of them; None shows all, or the first three.
    """

    path: str
    bits: int | None = None
    value_range: list[float] | None = None
    shown: list[int] | None = None
    label: str | list[str] = FOLDERS
    split: str | None = None
    holdout: int | str = "auto"  # type: ignore[assignment]  # wider than the base's until scan

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.bits in (None, 8, 16), f"dataset.bits={self.bits}", "8, 16 or null")
        require_shown(self.shown, self.channels)
        ends = self.value_range
        require(
            isinstance(self.label, str) or len({*self.label}) == len(self.label) > 0,
            f"dataset.label={show_label(self.label)} names no column, or one twice",
            "a column, as hair, or several, as [smiling,hat]",
        )
        require(
            ends is None or (len(ends) == 2 and ends[0] < ends[1]),
            f"dataset.value_range={ends} is no range",
            "the lowest and the highest value, as [0,10000]; or null",
        )

    def list_files(self) -> Files:
        """Lists the images, labelled. Raises UserError."""
        return listing(self.path, label=self.label, split=self.split, keep=str(self.cache))

    def list_test_parts(self) -> tuple[str, ...]:
        """Lists the parts that are left out of training and have its classes, if any."""
        files = self.list_files()
        if self.split not in (AUTO, *TRAINING):
            return ()
        return tuple(
            part.lower()
            for part in files.left_out
            if part and replace(self, split=part).list_files().classes == files.classes
        )

    def decoder(self) -> Decoder:
        """Makes what turns one file into stored pixels."""
        if self.bits is None:
            return super().decoder()
        return DeepDecoder(self.size(), self.known_channels(), value_range=self.value_range)

    def depth(self) -> int:
        """Counts the planes that are stored for an image."""
        return super().depth() if self.bits is None else 2 * super().depth()

    def advise(self, text: str) -> str:
        """Names the key that keeps 16 bits."""
        keeps = text == REDUCED and self.channels == 1
        return f"{text}; dataset.bits=16 keeps them" if keeps else text

    def storage(self) -> tuple[str, ...]:
        """Tells the depth, where it is not the usual one."""
        if self.bits is None:
            return ()
        ends = self.value_range
        return ("16 bits",) if ends is None else ("16 bits", f"from {ends[0]} to {ends[1]}")

    def scan(self) -> dict:
        """Returns the values of what is "auto", from headers alone."""
        if "auto" not in (*self.declared().values(), self.holdout):
            return {}
        files = self.list_files()
        classes = len(files.classes)
        stacks = self.look_for_stacks(files)
        if stacks is not None:
            resolution, common = stacks
            found = self.fill(
                resolution=resolution, channels=common.channels, classes=classes
            ) | self.settle_bits(common)
        elif "auto" in (self.resolution, self.channels):
            resolution, channels = measure(files)
            channels = channels if self.bits is None else 1
            found = self.fill(resolution=resolution, channels=channels, classes=classes)
        else:
            found = self.fill(resolution=0, channels=0, classes=classes)
        if self.holdout == "auto":
            found["holdout"] = 0 if files.left_out else self.choose_holdout(len(files))
        return found

    def settled(self) -> Self:
        """Returns a copy without "auto"."""
        return replace(self, **self.scan())

    def look_for_stacks(self, files: Files) -> tuple[int | list[int], Header] | None:
        """Looks whether the files are images of several channels: their size and what they say.

        None where they are pictures, or where the user wants the first page of each.
        """
        arrays = is_array_name(files.names[0])
        wanted = self.channels if isinstance(self.channels, int) else None
        if not arrays and (wanted == 1 or not is_paged_name(files.names[0])):
            return None
        headers = []
        bad = []
        n = min(SAMPLE, len(files))
        status.say(f"reading the headers of {n:,} files…")
        with quiet():
            for i in (k * len(files) // n for k in range(n)):
                try:
                    headers.append(read_header(files.read_one(i), channels=wanted))
                except BadImage as error:
                    bad.append((files.names[i], str(error)))
                if not arrays and (bad or headers[-1].channels == 1):
                    return None  # TIFF files of one page are pictures; most folders end here
        require(bool(headers), f"no array can be read: {list_skipped(bad)}", "look at dataset.path")
        common = find_stacks(headers)
        if common is None or wanted not in (None, common.channels):
            return None
        others = Counter(header.channels for header in headers)
        if len(others) > 1:
            note(
                log,
                "%s: %d of %d headers tell of %d channels, and files of others are left out; "
                "dataset.channels=N takes those of N",
                self.path,
                others[common.channels],
                len(headers),
                common.channels,
            )
        return common_size([header.size for header in headers]), common

    def settle_bits(self, common: Header) -> dict:
        """Says how many bits arrays or pages are kept with, and tells the user what they become."""
        what = "arrays" if common.format == "NPY" else "TIFF files"
        note(
            log,
            "%s: %s of %d channel%s of %s; %s",
            self.path,
            what,
            common.channels,
            "s" if common.channels > 1 else "",
            common.values,
            f"{describe_scaling(common.values)}, dataset.value_range=[LOW,HIGH] takes other ends"
            if self.value_range is None
            else f"{self.value_range[0]:g} to {self.value_range[1]:g} become -1 to 1",
        )
        if common.format != "NPY":
            note(log, "%s: dataset.channels=1 takes the first page alone", self.path)
        found: dict = {}
        if self.bits is None:
            found["bits"] = count_bits(common.values) if self.value_range is None else 16
        if self.shown is None and common.channels in (2, 4):
            found["shown"] = [0, 1, 2][: common.channels - 1]  # the last one is no alpha
        return found

    def choose_holdout(self, n: int) -> int:
        """Says how many of n images are kept out of training, and tells the user.

        They measure memorisation and overfitting.
        """
        trained = n if self.limit is None else min(n, self.limit)
        if trained < LEAST_IMAGES or has_test_folder(Path(self.path).expanduser()):
            return 0
        held = min(MOST_HELD, trained // HELD_SHARE)
        note(
            log,
            "%d of %d images are held out, to measure memorisation and overfitting; "
            "dataset.holdout=0 trains on all",
            held,
            n,
        )
        return held

    def load(self) -> Decoded:
        """Decodes the images. Raises UserError."""
        source = self.settled()
        files = self.list_files()
        labels = "no labels"
        if files.classes:
            what = "classes" if files.labels is None or files.labels.ndim == 1 else "attributes"
            labels = (
                f"{len(files.classes)} {what} from {files.labelled_by}: "
                f"{shorten_names(files.classes)}"
            )
        log.info("%s: %d images, %s", self.path, len(files), labels)
        say_passed_over(self.path, files)
        for remark in files.remarks:
            note(log, "%s: %s", self.path, remark)
        if files.refused:
            log.warning("%s: refused %s", self.path, list_skipped(files.refused))
        decoded = decode_files(files, source)
        if source.bits is None:
            return decoded
        # The digest differs, so that no run goes on with the other depth in silence
        return replace(
            decoded,
            images=source.decoder().join(decoded.images.numpy()),
            digest=digest_of([decoded.digest, *source.storage()]),
        )


def has_test_folder(root: Path) -> bool:
    """Is it the training part of a set with a part to test on?"""
    parts = [root.parent / name for name in SPLITS if not name.startswith("train")]
    return root.name.lower().startswith("train") and any(part.is_dir() for part in parts)


def listing(
    path: str,
    *,
    label: str | list[str] = FOLDERS,
    split: str | None = None,
    keep: str = "auto",
) -> Files:
    """Lists every image of a folder, zip file, array or other file that holds some.

    label, split: as in `Folder`. keep: as `Source.cache`, of an index of tar files.
    UserError if there is none, and what was found instead.
    """
    root = Path(path).expanduser()
    if root.is_file():
        found = list_packed(path, root, [root.name], label=label, split=split, keep=keep)
        if found is not None:
            return found
    try:
        if root.is_dir():
            entries = walk(root)
            if not any(find_ending(name) in extensions() for name, *_ in entries):
                names = sorted(name for name, *_ in entries if not is_hidden(name))
                found = list_packed(path, root, names, label=label, split=split, keep=keep)
                if found is not None:
                    return found
            refused: list[tuple[str, str]] = []
            by_name: Paths | Zip = Paths(root)
        elif root.is_file():
            by_name = Zip(root)
            entries, refused = by_name.entries()
        else:
            if os.path.exists(root):
                raise UserError(
                    f"dataset.path={path} is {reading.describe_irregular(root)}",
                    "give a folder of images, or a .zip of one",
                )
            raise UserError(
                f"dataset.path={path}: there is no such folder or zip file",
                suggest_neighbours(root),
            )
    except PermissionError as error:
        raise UserError(
            f"dataset.path={path}: no permission to read {error.filename or root}",
            "change its permissions, or take another path",
        ) from error
    return sort_out(path, entries, refused, by_name, label=label, split=split)


def list_packed(
    path: str,
    root: Path,
    names: list[str],
    *,
    label: str | list[str],
    split: str | None,
    keep: str,
) -> Files | None:
    """Lists the images of arrays, tar files and the like.

    Args:
        path: As typed.
        root: The file, or the folder.
        names: Of the file, or of all files in a folder without images.
        label: As in `listing`.
        split: As in `listing`.
        keep: As in `listing`.

    Returns:
        None where there is none of these.

    Raises:
        UserError: They cannot be read.
    """
    from gancli.files import npz

    endings = {find_ending(name) for name in names}
    if root.is_file() and (
        endings == {ARRAY}
        or (endings == {".npz"} and (npz.holds_images(root) or not npz.holds_single_images(root)))
    ):
        from gancli.data.image_arrays import list_array_images

        return list_array_images(path, label=label, split=split)
    if ".tar" in endings:
        from gancli.data.shards import list_shard_images

        names = [name for name in names if find_ending(name) == ".tar"]
        return list_shard_images(path, names, label=label, split=split, keep=keep)
    for ending in (".parquet", ".arrow"):
        if ending in endings:
            from gancli.data.hub import list_hub_images

            names = [name for name in names if find_ending(name) == ending]
            return list_hub_images(path, names, label=label, split=split)
    databases = [name for name in names if name.rpartition("/")[2] == "data.mdb"]
    if databases and root.is_dir():
        from gancli.data.keyed import list_keyed_images

        return list_keyed_images(path, databases, label=label)
    packed = [name for name in names if PACKED_TAR.search(name.lower())]
    if packed:
        raise UserError(
            f"dataset.path={path}: {packed[0]} is compressed, and its images cannot be read by "
            "position",
            "decompress it first, as with gunzip: the images in it are compressed by themselves",
        )
    return None


Entry = tuple[str, int, int]  # name with "/" between its parts, bytes, stamp


def walk(root: Path) -> list[Entry]:
    """Lists all files below root. Links are followed; a folder met twice is entered once."""
    entries = []
    seen = set()
    todo = [("", root)]
    while todo:
        prefix, folder = todo.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        with os.scandir(folder) as found:
            for entry in sorted(found, key=lambda entry: entry.name):
                try:
                    mode = entry.stat().st_mode
                except OSError:  # a broken link, or one that leads to itself
                    mode = 0
                if stat.S_ISDIR(mode):
                    todo.append((f"{prefix}{entry.name}/", Path(entry.path)))
                elif stat.S_ISREG(mode):
                    info = entry.stat()
                    entries.append((prefix + entry.name, info.st_size, info.st_mtime_ns))
                else:
                    # Kept, so that a broken link, a pipe or a device is named among the bad files
                    entries.append((prefix + entry.name, 0, 0))
    return entries


def sort_out(
    path: str,
    entries: list[Entry],
    refused: list[tuple[str, str]],
    by_name: Callable[[str], File],
    *,
    label: str | list[str] = FOLDERS,
    split: str | None = None,
) -> Files:
    """Keeps the images, by name, and finds their labels."""
    endings = extensions()
    entries = sorted(entry for entry in entries if not is_hidden(entry[0]))
    images = [entry for entry in entries if find_ending(entry[0]) in endings]
    images = [entry for entry in images if not is_sheet(entry[0], images)]
    # What `gan sample` lays beside arrays is no sample itself
    if all(name.rpartition("/")[2] in SHEETS for name, *_ in images):
        images = [entry for entry in entries if is_array_name(entry[0])] or images
    others = Counter(find_ending(name) or "no ending" for name, *_ in entries)
    others -= Counter(find_ending(name) for name, *_ in images)
    indexes = [entry for entry in entries if entry[0].rpartition("/")[2].lower() in tables.TABLES]
    if label != FOLDERS:  # they are not passed over, but spoken of where labels are
        others -= Counter(find_ending(name) for name, *_ in indexes)
    pictures = Counter({ending: n for ending, n in others.items() if ending in PICTURES - endings})
    if not images:
        also = f"; refused: {list_skipped(refused)}" if refused else ""
        raise UserError(
            f"dataset.path={path}: no image in it "
            f"(found: {count_endings(others) or 'no file'}{also})",
            unreadable_words(count_endings(pictures))
            if pictures
            else "it must hold image files or .npy arrays, or a sub-folder of them for each class",
        )
    images, short, remarks, left_out = choose_part(path, images, split)
    names = [name for name, *_ in images]
    found = None
    if label != FOLDERS:
        found, said = label_by_tables(path, names, indexes, by_name, label)
        remarks += said
    elif indexes:
        more = f" and {len(indexes) - 1} more" if len(indexes) > 1 else ""
        remarks.append(f"{indexes[0][0]}{more}: not read; labels come from class sub-folders alone")
    if found is None:
        labels, classes = label_by_folders(path, short)
        remarks += explain_labels(path, short, classes, parts=split is None)
        source = "class sub-folders" if classes else ""
        found = Labelled(np.arange(len(names)), labels, classes, source)
    else:
        remarks += found.remarks
    images = pick(images, found.kept)
    names = [name for name, *_ in images]
    return Files(
        names=names,
        read=lambda i: by_name(names[i]),
        sizes=[size for _, size, _ in images],
        stamps=[stamp for *_, stamp in images],
        labels=found.labels,
        classes=found.classes,
        refused=tuple(refused),
        unreadable=count_endings(pictures),
        passed_over=count_endings(others - pictures),
        remarks=tuple(remarks),
        origin=os.path.realpath(Path(path).expanduser()),
        labelled_by=found.source,
        left_out=left_out,
        identity="" if found.source in ("", "class sub-folders") else found.identify(),
    )


def choose_part(
    path: str, images: list[Entry], split: str | None
) -> tuple[list[Entry], list[str], list[str], tuple[str, ...]]:
    """Chooses a part of data that lie in folders train, test and the like.

    Args:
        path: As typed.
        images: All of them.
        split: As in `Folder`.

    Returns:
        The images of that part, their names from within it, what there is to say, and the parts
        that are left out.

    Raises:
        UserError: There is no such part.
    """
    parts = unwrap_names([name for name, *_ in images])
    short = ["/".join(part) for part in parts]
    if split is None:
        return images, [name for name, *_ in images], [], ()
    counts = Counter(part[0] for part in parts)
    if any(len(part) == 1 or part[0].lower() not in SPLITS for part in parts):
        require(
            split in (AUTO, "all") or split == find_wrapper(path, images, parts),
            f"dataset.split={split}: {path} has no parts, such as folders train and test",
            "dataset.split=auto",
        )
        return images, short, [], ()
    chosen, said = choose_split(path, counts, split)
    inner = ["/".join(part[1:]) for part in parts]
    kept = [k for k, part in enumerate(parts) if chosen in (None, part[0])]
    left_out = tuple(name for name in counts if chosen not in (None, name))
    remarks = [said] if said else []
    return [images[k] for k in kept], [inner[k] for k in kept], remarks, left_out


def find_wrapper(path: str, images: list[Entry], parts: list[list[str]]) -> str:
    """Returns the name of the innermost folder that all images share, "" of a file."""
    wrappers = images[0][0].split("/")[: -len(parts[0])]
    return wrappers[-1] if wrappers else Path(path).name


def label_by_tables(
    path: str,
    names: list[str],
    indexes: list[Entry],
    by_name: Callable[[str], File],
    label: str | list[str],
) -> tuple[Labelled | None, list[str]]:
    """Labels files by the tables that lie beside them, such as labels.csv.

    Args:
        path: As typed.
        names: Of the images.
        indexes: The tables.
        by_name: Reads a file.
        label: As in `Folder`.

    Returns:
        The labels; None where no table gives any, and none was asked for. What there is to say.

    Raises:
        UserError: A table cannot be used as asked.
    """
    kinds: dict[str, list[Entry]] = {}
    matcher = tables.Matcher(names)
    for entry in indexes:
        place, slash, last = entry[0].rpartition("/")
        # A table of a part that is left out is about other images
        if set(place.lower().split("/")) & SPLITS and not matcher.holds(place + slash):
            continue
        kinds.setdefault(last.lower(), []).append(entry)
    if not kinds:
        require(
            label == AUTO,
            f"dataset.label={show_label(label)}: there is no table of labels in {path}",
            f"write one: labels.csv, with a row for each image and its path first; or "
            f"dataset.label={FOLDERS}",
        )
        return None, []
    order = sorted(kinds, key=tables.TABLES.index)
    table_names = [kinds[name][0][0] for name in order]
    said = []
    if len(order) > 1:
        said.append(f"{table_names[0]} is read for labels, and not {', '.join(table_names[1:])}")
    try:
        read = []
        for name, size, _ in kinds[order[0]]:
            require(size <= tables.MOST_BYTES, f"{name} is larger than any such table", "")
            place, slash, _ = name.rpartition("/")
            content = read_content(by_name(name), tables.MOST_BYTES)
            read.append(tables.read_table(name, content, matcher, scope=place + slash))
        table = tables.join_tables(read)
    except (UserError, BadImage, OSError) as error:
        if label != AUTO:
            raise
        return None, [*said, f"{error}; no labels are read from it"]
    found = tables.label_by_table(names, table, label)
    if found is None:
        said.append(tables.explain_unused(names, table))
        empty = not table.columns  # dataset.json of images without labels: its folders are shards
        return (Labelled(np.arange(len(names))), said) if empty else (None, said)
    if any(len(part) > 1 for part in unwrap_names(names)):
        said.append(f"sub-folders are no classes then: dataset.label={FOLDERS} takes them for such")
    return found, said


def read_content(file: File, most: int) -> bytes:
    """Reads a file that is no image, up to a bound. Raises UserError, OSError."""
    if isinstance(file, io.BytesIO):
        return file.getvalue()
    with reading.open_file(Path(file)) as stream:
        return stream.read(most + 1)


def count_endings(endings: Counter) -> str:
    """Returns the five most frequent endings in words: "2 .txt, 1 .db"."""
    return ", ".join(f"{n} {ending}" for ending, n in endings.most_common(5))


def say_passed_over(path: str, files: Files) -> None:
    """Tells what was passed over, and which pictures cannot be read."""
    if files.unreadable:
        note(log, "%s: %s", path, unreadable_words(files.unreadable))
    if files.passed_over:
        log.info("%s: passed over what is no image: %s", path, files.passed_over)


def unreadable_words(unreadable: str) -> str:
    """Returns the sentence for pictures that cannot be read."""
    if not HEIC.search(unreadable):
        return f"{unreadable}: cannot be read here, convert to JPEG"
    return (
        f"{unreadable}: cannot be read here, convert to JPEG; pip install 'gancli[heif]' "
        "(pillow-heif) reads .heic"
    )


def explain_labels(
    path: str, names: list[str], classes: tuple[str, ...], *, parts: bool = True
) -> list[str]:
    """Lists what the labels lose or split.

    Those are sub-folders below a class, classes that differ in case alone, and, where `parts` may
    be taken for classes, parts of a data set.
    """
    if not classes:
        return []
    said = []
    split_names = unwrap_names(names)
    places: dict[str, set[str]] = {}  # of a class: the folders in it that hold images, "" itself
    for first, *rest in split_names:
        places.setdefault(first, set()).add(rest[0] if len(rest) > 1 else "")
    inner = {name: sorted(found - {""}) for name, found in places.items() if len(found) > 1}
    if parts and {name.lower() for name in classes} <= SPLITS:
        wrappers = names[0].split("/")[: -len(split_names[0])]
        train = next((name for name in classes if name.lower().startswith("train")), classes[0])
        said.append(
            f"{shorten_names(classes)} look like parts of one data set, and are taken for classes; "
            f"dataset.path={'/'.join([str(path).rstrip('/'), *wrappers, train])} trains on one part"
        )
    elif inner:
        name, folders = next(iter(inner.items()))
        more = f", and so in {len(inner) - 1} more" if len(inner) > 1 else ""
        said.append(
            f"sub-folders of {name} ({shorten_names(tuple(folders))}) are merged into that "
            f"class{more}: "
            "the first sub-folder names the class"
        )
    spellings: dict[str, list[str]] = {}
    for name in classes:
        spellings.setdefault(name.strip().casefold(), []).append(name)
    for group in spellings.values():
        if len(group) > 1:
            said.append(
                f"{' and '.join(group)} are {len(group)} classes: their names differ only in "
                "upper and lower case"
            )
    return said


def is_array_name(name: str) -> bool:
    """Says whether a file is an array by its name."""
    return find_ending(name) == ARRAY


def is_paged_name(name: str) -> bool:
    """Says whether a file may have many pages by its name."""
    return find_ending(name) in PAGED


def is_hidden(name: str) -> bool:
    """Says whether a part of a name hides the file."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def is_sheet(name: str, images: list[Entry]) -> bool:
    """Says whether a file is a grid of samples beside sub-folders of images.

    It is itself no sample, and it must not take the labels from those that are.
    """
    place, _, last = name.rpartition("/")
    below = f"{place}/" if place else ""
    return last in SHEETS and any(
        other.startswith(below) and "/" in other[len(below) :] for other, *_ in images
    )


def shorten_names(names: tuple[str, ...]) -> str:
    """Returns names in words, at most twelve of them."""
    return ", ".join(names if len(names) <= 12 else (*names[:10], "...", names[-1]))


@dataclass(frozen=True)
class Paths:
    """Reads files of a folder by name."""

    root: Path

    def __call__(self, name: str) -> str:
        """Returns the path of a file."""
        return str(self.root / name)


class Zip:
    """Reads members of a zip file by name, in memory; nothing is ever extracted.

    Threads share it through a lock.
    """

    def __init__(self, path: Path):
        try:
            self.file = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            if isinstance(error, PermissionError):
                raise
            raise UserError(
                f"dataset.path={path} is neither a folder nor a readable zip file: {error}",
                "a folder of images, or a .zip of one; unpack other archives first",
            ) from error
        self.members: dict[str, zipfile.ZipInfo] = {}
        self.lock = threading.Lock()

    def entries(self) -> tuple[list[Entry], list[tuple[str, str]]]:
        """Lists (entries, refused): what must not be read is told by its name and the reason."""
        refused = []
        for info in self.file.infolist():
            name = info.filename.replace("\\", "/")  # some Windows tools write it so
            reason = None if info.is_dir() else refusal(info, name, name in self.members)
            if reason is not None:
                refused.append((info.filename, reason))
            elif not info.is_dir():
                self.members[name] = info
        return [(name, info.file_size, info.CRC) for name, info in self.members.items()], refused

    def __call__(self, name: str) -> io.BytesIO:
        """Returns a member's bytes. Raises BadImage."""
        info = self.members[name]
        try:
            with self.lock, self.file.open(info) as member:
                data = member.read(info.file_size + 1)
        except (
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            RuntimeError,
            OSError,
            EOFError,
            ValueError,
        ) as error:
            raise BadImage(f"cannot be unpacked: {error}") from error
        return io.BytesIO(data)


def refusal(info: zipfile.ZipInfo, name: str, again: bool) -> str | None:
    """Tells why a member is not read, None if it may be."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or parts[0].endswith(":"):
        return "its path leads out of the zip file"
    if again:
        return "the name occurs twice"
    if info.flag_bits & 1:
        return "encrypted"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link"
    # An image is compressed already; a plain one of a single colour reaches 1:1000, but then it is
    # small.
    if info.file_size > MAX_MEMBER or (
        info.file_size > 20_000_000 and info.file_size > 100 * max(1, info.compress_size)
    ):
        return f"too large: {info.compress_size} bytes unpack to {info.file_size}"
    return None


def measure(files: Files) -> tuple[int | list[int], int]:
    """Finds (resolution, channels) that suit the files, and says them in the log."""
    n = min(SAMPLE, len(files))
    status.say(f"reading the headers of {n:,} files…")
    sizes = []
    alphas = []
    greys = 0
    bad = []
    with quiet():
        for i in (k * len(files) // n for k in range(n)):
            try:
                with open_image(files.read_one(i)) as image:
                    turned = orientation(image) >= 5
                    sizes.append(
                        (image.width, image.height) if turned else (image.height, image.width)
                    )
                    greys += image.mode in GREY or image.mode.startswith("I;")
                    if image.has_transparency_data:
                        alphas.append(i)
            except BadImage as error:
                bad.append((files.names[i], str(error)))
        require(bool(sizes), f"no image can be read: {list_skipped(bad)}", "look at dataset.path")
        resolution = common_size(sizes)
        if greys == len(sizes):
            channels = 1
        else:
            channels = 4 if 2 * really_transparent(files, alphas) > len(sizes) else 3
    shown = str(resolution).replace(" ", "")
    log.info(
        "dataset.resolution=%s dataset.channels=%d, from the headers of %d files",
        shown,
        channels,
        n,
    )
    return resolution, channels


def common_size(sizes: list[tuple[int, int]]) -> int | list[int]:
    """Returns the size of all images.

    Where they differ: a power of two in 16 ... 256 below the median of their shorter sides.
    """
    if len(set(sizes)) == 1:
        height, width = sizes[0]
        return height if height == width else [height, width]
    shorter = sorted(min(size) for size in sizes)
    return min(256, max(16, 1 << shorter[len(sizes) // 2].bit_length() - 1))


def really_transparent(files: Files, alphas: list[int]) -> float:
    """Counts the files with an alpha channel that hide something by it.

    Screenshots have one that is 255 throughout.
    """
    sample = alphas[:: max(1, len(alphas) // ALPHA_SAMPLE)]
    decoder = Decoder((32, 32), 4)
    hits = 0
    tried = 0
    for i in sample:
        try:
            hits += bool((decoder(files.read_one(i))[3] < 255).any())
            tried += 1
        except BadImage:
            continue
    return len(alphas) * hits / max(1, tried)
