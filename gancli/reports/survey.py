"""Examines a data set: every file opened, hashed and decoded, or every array counted."""

from __future__ import annotations

import functools
import hashlib
import io
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gancli.data import cache
from gancli.data.base import Decoded, Source, pair
from gancli.data.decode import (
    GREY_SPREAD,
    BadImage,
    Decoder,
    File,
    open_image,
    orientation,
    quiet,
)
from gancli.data.files import Files, refuse_if_most
from gancli.data.folder import MAX_MEMBER, Folder
from gancli.data.pairs import SideBySide
from gancli.data.stacks import DeepDecoder, read_header
from gancli.data.stream import Stream
from gancli.files import reading
from gancli.reports.layouts import ALSO, find_layouts

# decoded images that are kept for the contact sheet and the value range
KEPT = 256
KEPT_BYTES = 128_000_000
SHEET_CLASSES = 12
SHEET_EACH = 8
BLOCK = 32  # files a task


@dataclass(frozen=True)
class Look:
    """What one file shows.

    Attributes:
        index: Of the file.
        size: (h, w) as it will be seen.
        content: A digest of its bytes.
        pixels: A digest of what it decodes to.
    """

    index: int
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    format: str = ""
    content: bytes = b""
    pixels: bytes = b""
    sums: np.ndarray | None = None  # (2,C) float64: of the values 0 ... 255 and of their squares
    low: float = 0.0
    high: float = 0.0
    grey: bool = False
    alpha: bool = False
    reason: str = ""  # why it cannot be used
    image: np.ndarray | None = None  # as decoded, of those that are kept


@dataclass(kw_only=True)
class Survey:
    """What was found in a data set.

    Attributes:
        source: The data set.
        total: How many files or images it has.
        looked_at: How many of them were looked at.
        seconds: How long that took.
        images: How many of them can be used.
        bytes: The size of those files.
        bad: (file, reason) of those that cannot be used.
        duplicates: Names of equal files.
        equal_pixels: Names of files that only decode to the same.
        mislabelled: Names of equal files that stand in two classes.
        labels: Class or attribute -> how many; None without either.
        attributes: Do the labels count attributes, of which an image may have several?
        form: What holds the images, where they are no files of their own.
        labelled_by: Where the labels come from, in words; "" where the data set is of no files.
        means: Of values 0 to 1, by channel.
        deviations: The same.
        value_range: Of a batch as the networks will get it.
        kept: (M,C,H,W) as stored, for the contact sheet.
        kept_labels: Their classes.
        notes: What else there is to say.
        layouts: What it is besides a set of single images, such as pairs.
    """

    source: Source
    total: int
    looked_at: int
    seconds: float
    images: int = 0
    bytes: int = 0
    sizes: Counter = field(default_factory=Counter)
    modes: Counter = field(default_factory=Counter)
    formats: Counter = field(default_factory=Counter)
    bad: list[tuple[str, str]] = field(default_factory=list)
    unreadable: str = ""
    passed_over: str = ""
    duplicates: list[list[str]] = field(default_factory=list)
    equal_pixels: list[list[str]] = field(default_factory=list)
    mislabelled: list[list[str]] = field(default_factory=list)
    labels: dict[str, int] | None = None
    attributes: bool = False
    form: str = ""
    labelled_by: str = ""
    means: list[float] = field(default_factory=list)
    deviations: list[float] = field(default_factory=list)
    low: float = 0.0
    high: float = 0.0
    constant: int = 0
    grey: int = 0
    alpha: int = 0
    value_range: tuple[float, float] = (0.0, 0.0)
    kept: Tensor | None = None
    kept_labels: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    layouts: list[str] = field(default_factory=list)

    def decoded_images(self) -> int:
        """Counts the images that a run would decode: what limit and holdout leave."""
        n = self.total
        source = self.source
        return n if source.limit is None else min(n, source.limit + source.holdout)

    def decode_seconds(self) -> float:
        """Estimates how long decoding everything takes."""
        return self.seconds * self.decoded_images() / max(1, self.looked_at)

    def decode_bytes(self) -> int:
        """Estimates how much memory the decoded images take."""
        height, width = self.source.size()
        modality = self.source.modality()
        channels = modality.stored_channels(self.source.known_channels())
        each = modality.value_bytes if self.kept is None else self.kept.element_size()
        return self.decoded_images() * channels * height * width * each


def survey_data(
    source: Source,
    *,
    sample: int | None = None,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> Survey:
    """Looks at a data set.

    Args:
        source: Settled.
        sample: How many files to look at, evenly spaced; None takes all.
        tick: Called with done and total, to tell how far it is.

    Raises:
        UserError: There is no image at all.
    """
    if isinstance(source, Folder):
        return survey_files(source.list_files(), source.settled(), sample=sample, tick=tick)
    return survey_array(source)


# files


def survey_files(
    files: Files, source: Folder, *, sample: int | None, tick: Callable[[int, int], None]
) -> Survey:
    """Looks at a folder or a zip file, file by file."""
    n = len(files) if sample is None else min(sample, len(files))
    indices = [k * len(files) // n for k in range(n)]
    height, width = source.size()
    decoder = source.decoder()
    kept = choose_kept(files, indices, source.depth() * height * width)
    started = time.perf_counter()
    workers = source.count_workers()
    looks = list(look_at_all(files, indices, decoder, kept, workers=workers, tick=tick))
    found = Survey(
        source=source,
        total=len(files),
        looked_at=n,
        seconds=time.perf_counter() - started,
        unreadable=files.unreadable,
        passed_over=files.passed_over,
        layouts=find_layouts(source.path, files),
    )
    found.notes = [
        *(found.layouts or files.remarks),  # a folder of pairs has no classes that could be merged
        *(source.advise(text) for text in sorted(decoder.notes)),
    ]
    good = [look for look in looks if not look.reason]
    if not good:
        refuse_if_most([(files.names[look.index], look.reason) for look in looks], 0)
    found.images = len(good)
    found.bytes = sum(files.sizes[index] for index in indices)
    found.bad = [
        *files.refused,
        *((files.names[look.index], look.reason) for look in looks if look.reason),
    ]
    found.sizes = Counter(look.size for look in good)
    found.modes = Counter(look.mode for look in good)
    found.formats = Counter(look.format for look in good)
    if files.form == "array":  # a picture of each is made on the way
        found.formats = Counter({files.form: len(good)})
    found.form = files.form
    count_duplicates(found, files, good)
    if files.labels is not None and source.classes:
        rows = torch.as_tensor(files.labels)[[look.index for look in good]]
        found.labels = count_labels(rows, files.classes)
        found.attributes = rows.ndim == 2
        found.labelled_by = files.labelled_by
    if good:
        sums = [look.sums for look in good if look.sums is not None]
        add_statistics(found, functools.reduce(np.add, sums), height * width * len(good))
        found.low = min(look.low for look in good)
        found.high = max(look.high for look in good)
        found.constant = sum(look.low == look.high for look in good)
        found.grey = sum(look.grey for look in good)
        found.alpha = sum(look.alpha for look in good)
        shown = [(look.index, look.image) for look in good if look.image is not None]
        labels = None
        if files.labels is not None and found.labels is not None and not found.attributes:
            labels = [int(files.labels[index]) for index, _ in shown]
        keep_images(found, decoder.join(np.stack([image for _, image in shown])), labels)
    return found


def look_at_all(
    files: Files,
    indices: list[int],
    decoder: Decoder,
    kept: set[int],
    *,
    workers: int,
    tick: Callable[[int, int], None],
) -> Iterator[Look]:
    """Looks at files in threads, in their order."""
    blocks = [indices[start : start + BLOCK] for start in range(0, len(indices), BLOCK)]
    done = 0
    with quiet(), ThreadPoolExecutor(workers) as pool:
        for looks in pool.map(
            lambda block: [look_at(files, index, decoder, keep=index in kept) for index in block],
            blocks,
        ):
            yield from looks
            done += len(looks)
            tick(done, len(indices))


def look_at(files: Files, index: int, decoder: Decoder, *, keep: bool) -> Look:
    """Opens, hashes and decodes one file."""
    try:
        data = read_content(files, index)
        facts = look_at_header(io.BytesIO(data), decoder)
        pixels = decoder(io.BytesIO(data))
    except BadImage as error:
        return Look(index, reason=str(error))
    values = decoder.read_values(pixels)
    colours = len(values) in (3, 4)
    spread = int(np.ptp(values[:3], axis=0).max()) if colours else 0
    return replace(
        facts,
        index=index,
        content=hashlib.blake2b(data, digest_size=16).digest(),
        pixels=hashlib.blake2b(pixels.tobytes(), digest_size=16).digest(),
        sums=np.stack([values.sum((1, 2)), (values**2).sum((1, 2))]),
        low=float(values.min()),
        high=float(values.max()),
        grey=colours and spread <= GREY_SPREAD,
        image=pixels if keep else None,
    )


def look_at_header(file: File, decoder: Decoder) -> Look:
    """Reads what a file says before its pixels. Raises BadImage."""
    if isinstance(decoder, DeepDecoder):
        header = read_header(file, channels=decoder.channels)
        mode = header.values if header.channels == 1 else header.mode
        return Look(0, size=header.size, mode=mode, format=header.format)
    with open_image(file) as image:
        turned = orientation(image) >= 5
        return Look(
            0,
            size=(image.width, image.height) if turned else (image.height, image.width),
            mode=image.mode,
            format=image.format or "",
            alpha=image.has_transparency_data,
        )


def read_content(files: Files, index: int) -> bytes:
    """Reads the file's bytes; raises BadImage where they cannot be had."""
    if files.sizes[index] > MAX_MEMBER:
        raise BadImage(f"too large: {files.sizes[index]} bytes")
    file = files.read_one(index)
    if isinstance(file, io.BytesIO):
        return file.getvalue()
    try:
        found = reading.describe_irregular(file)  # a device may never end
        if found:
            raise BadImage(f"{found}, not an image file")
        with reading.open_file(Path(file)) as opened_file:
            return opened_file.read(MAX_MEMBER + 1)
    except FileNotFoundError:
        raise BadImage("no such file, perhaps a broken link") from None
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror}") from error


def choose_kept(files: Files, indices: list[int], image_bytes: int) -> set[int]:
    """Chooses the images that are kept: the first few of every class, and some from all over.

    Fewer of large ones.
    """
    most = min(KEPT, len(indices), max(32, KEPT_BYTES // image_bytes))
    chosen = {indices[k * len(indices) // most] for k in range(most)}
    if files.labels is not None and files.labels.ndim == 1:
        # Two may turn out to be bad
        each = min(SHEET_EACH + 2, max(2, 2 * KEPT_BYTES // (SHEET_CLASSES * image_bytes)))
        seen: Counter = Counter()
        for index in indices:
            label = int(files.labels[index])
            if seen[label] < each and label < SHEET_CLASSES:
                seen[label] += 1
                chosen.add(index)
    return chosen


def count_duplicates(found: Survey, files: Files, good: list[Look]) -> None:
    """Finds files with the bytes of another, and those that only decode to the same.

    Equal ones that stand in two classes are noted as well.
    """
    by_content = find_bundles(good, lambda look: look.content)
    by_pixels = find_bundles(good, lambda look: look.pixels)
    found.duplicates = [[files.names[look.index] for look in bundle] for bundle in by_content]
    found.equal_pixels = [
        [files.names[look.index] for look in bundle]
        for bundle in by_pixels
        if len({look.content for look in bundle}) > 1 and bundle[0].low != bundle[0].high
    ]
    if files.labels is not None:
        found.mislabelled = [
            [files.names[look.index] for look in bundle]
            for bundle in by_pixels
            if len({files.labels[look.index].tobytes() for look in bundle}) > 1
        ]


def find_bundles(looks: list[Look], key: Callable[[Look], bytes]) -> list[list[Look]]:
    """Finds those that share a key, where two or more do."""
    found: dict[bytes, list[Look]] = {}
    for look in looks:
        found.setdefault(key(look), []).append(look)
    return [bundle for bundle in found.values() if len(bundle) > 1]


# arrays


def survey_array(source: Source) -> Survey:
    """Looks at a data set that comes as arrays."""
    started = time.perf_counter()
    decoded = source.load()
    found = Survey(
        source=source,
        total=len(decoded) + len(decoded.skipped),
        looked_at=len(decoded),
        images=len(decoded),
        seconds=time.perf_counter() - started,
        bad=list(decoded.skipped),
    )
    if isinstance(decoded.pairing, SideBySide):
        found.notes.append("pairs: model=pix2pix takes them")
    elif decoded.other is not None:
        found.notes.append(f"two domains: model=cyclegan takes them; {ALSO}")
    elif decoded.people is not None:
        people = len(decoded.people.person.unique())
        found.notes.append(f"{people:,} people in poses: model=pose takes them")
    # Of one side, where they are pairs
    found.sizes[tuple(decoded.images.shape[-2:])] = len(decoded)
    decoded = as_single(decoded)
    images = decoded.images
    found.images = len(decoded)
    if decoded.labels is not None:
        found.labels = count_labels(decoded.labels, decoded.classes)
        found.attributes = decoded.labels.ndim == 2
    sums = torch.zeros(2, images.shape[1], dtype=torch.float64)
    lows = []
    highs = []
    digests: dict[bytes, list[int]] = {}
    for first in range(0, len(images), 4096):
        part = images[first : first + 4096]
        values = part.double().flatten(2)
        sums += torch.stack([values.sum((0, 2)), (values**2).sum((0, 2))])
        lows.append(part.flatten(1).amin(1))
        highs.append(part.flatten(1).amax(1))
        for k, image in enumerate(part.numpy()):
            digests.setdefault(
                hashlib.blake2b(image.tobytes(), digest_size=16).digest(), []
            ).append(first + k)
    low = torch.cat(lows)
    high = torch.cat(highs)
    found.low = float(low.min())
    found.high = float(high.max())
    found.constant = int((low == high).sum()) if source.modality().pixels else 0
    add_statistics(
        found,
        sums.numpy(),
        len(images) * images[0, 0].numel(),
        scale=255.0 if images.dtype == torch.uint8 else 1.0,
    )
    name_duplicates(found, decoded, [rows for rows in digests.values() if len(rows) > 1])
    n = min(KEPT, len(images))
    rows = [k * len(images) // n for k in range(n)]
    kept = None
    if decoded.labels is not None and decoded.labels.ndim == 1:
        kept = decoded.labels[rows].tolist()
    keep_images(found, images[rows], kept)
    return found


def count_labels(labels: Tensor, names: Sequence[str]) -> dict[str, int]:
    """Counts the images of each class, or those that have each attribute."""
    if labels.ndim == 2:
        return dict(zip(names, (labels > 0).sum(0).tolist(), strict=True))
    numbers = Counter(labels.tolist())
    return {name: numbers.get(k, 0) for k, name in enumerate(names)}


def as_single(decoded: Decoded) -> Decoded:
    """Turns pairs into pictures side by side, and two domains into two classes.

    So they can be counted, compared and shown as any others.
    """
    if isinstance(decoded.pairing, SideBySide):
        return replace(decoded, images=torch.cat(decoded.images.chunk(2, 1), 3))
    if decoded.other is None:
        return decoded
    both = torch.cat([decoded.images, decoded.other.images])
    label = (torch.arange(len(both)) >= len(decoded)).long()
    return replace(decoded, images=both, labels=label, classes=("a", "b"), other=None)


def name_duplicates(found: Survey, decoded: Decoded, groups: list[list[int]]) -> None:
    """Notes equal images by their numbers."""
    single = found.source.modality().single
    found.duplicates = [[f"{single} {k}" for k in rows] for rows in groups]
    if decoded.labels is not None:
        found.mislabelled = [
            [f"{single} {k}" for k in rows]
            for rows in groups
            if len(decoded.labels[rows].unique(dim=0)) > 1
        ]


# both


def add_statistics(found: Survey, sums: np.ndarray, count: int, *, scale: float = 255.0) -> None:
    """Adds means and deviations of channels, by sums (2,C) of values and of squares."""
    mean = sums[0] / count
    found.means = [float(value) / scale for value in mean]
    found.deviations = [
        float(value) / scale for value in np.sqrt(np.maximum(0, sums[1] / count - mean**2))
    ]


def keep_images(found: Survey, images: Tensor, labels: list[int] | None) -> None:
    """Stores some images and sends them the way that training will, windows and flips included."""
    source = found.source
    found.kept = images
    found.kept_labels = labels or []
    some = images[:: max(1, len(images) // 64)]
    size = list(images.shape[2:])
    if images.shape[2:] == source.size():  # pairs side by side are wider
        size = list(pair(source.resolution))
    stream = Stream(
        Decoded(images=some),
        batch_size=len(some),
        seed=0,
        resolution=size,
        flip=source.flip,
        modality=source.modality(),
    )
    batch = stream(0, ("image",))["image"]
    found.value_range = (float(batch.min()), float(batch.max()))


def describe_room(n_bytes: int) -> str:
    """Says where so many bytes of decoded images will lie."""
    return (
        "in memory"
        if cache.fits(n_bytes)
        else f"more than the free memory allows, so mapped from {cache.cache_root()}"
    )
