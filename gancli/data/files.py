"""Many image files to one array: threads, the list of bad ones, and their replacements."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from gancli.data import cache
from gancli.data.base import Decoded, Source, choose, digest_of, places
from gancli.data.decode import BadImage, Decoder, File, quiet
from gancli.errors import UserError
from gancli.render import status
from gancli.render.notes import note

log = logging.getLogger("gancli.data")
BLOCK = 64  # files a task: a task for each would cost more than a small PNG
CACHE_FORMAT = 2  # raise it when the same file would decode to other pixels
BAR = 20  # signs of the bar that shows how far the decoding is


@dataclass(frozen=True)
class Files:
    """Files that can be read in any order, by any thread.

    read: index -> path, bytes or, for a pair, two paths. sizes: bytes, part of the data's identity.
    stamps: changes, for the cache.
    refused: (name, reason) of those that are not even opened. unreadable: pictures in formats that
    cannot be read here.
    passed_over: what else lies there. remarks: what is ignored or merged, in sentences.
    two: read gives two paths, of a pair in two folders.
    tail: so many at the end are what the data set itself holds out.
    origin: the folder or file that they come from, part of the cache's key.
    labelled_by: where the labels come from, in words. left_out: names of
    the parts that are not among them, such as test.
    identity: a digest of what names and sizes do not tell, such as labels from a table. form: what
    holds the images, such as "array", where they are no files of their own.
    """

    names: list[str]
    read: Callable[[int], File | tuple[File, File]]
    sizes: list[int]
    stamps: list[int]
    labels: np.ndarray | None = None  # (N,) int64 classes or (N,K) float32 attributes
    classes: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    unreadable: str = ""
    passed_over: str = ""
    remarks: tuple[str, ...] = ()
    two: bool = False
    tail: int = 0
    origin: str = ""
    labelled_by: str = ""
    left_out: tuple[str, ...] = ()
    identity: str = ""
    form: str = ""

    def __len__(self) -> int:
        return len(self.names)

    def read_one(self, index: int) -> File:
        """Reads the file of one image, where `two` is False."""
        file = self.read(index)
        assert not isinstance(file, tuple), "a pair of files is two images"
        return file


def decode_files(files: Files, source: Source) -> Decoded:
    """Decodes what `limit` and `holdout` of the settled source ask for.

    A bad file gives way to the next of the fixed order.
    """
    if files.refused and source.on_error == "fail":
        refuse(*files.refused[0])
    labels, classes = source.labelled(files.labels, files.classes)
    facts = [f"{name}\0{size}" for name, size in zip(files.names, files.sizes, strict=True)]
    digest = digest_of([*facts, files.identity] if files.identity else facts)
    parts = choose(len(files), limit=source.limit, holdout=source.holdout, tail=files.tail)
    if labels is not None:
        say_lost_classes(labels[torch.from_numpy(parts[1])], classes, source)
    shape = (len(parts[0]) + len(parts[1]), source.depth(), *source.size())
    kept = open_kept(files, source, parts, shape, digest)
    chosen = kept.chosen
    skipped = kept.skipped
    pixels = kept.pixels
    for text in kept.notes:
        note(log, "%s", source.advise(text))
    if skipped:
        if source.on_error == "fail":
            refuse(*skipped[0])
        log.warning(
            "skipped %d of %d files: %s",
            len(skipped),
            len(chosen) + len(skipped),
            list_skipped(skipped),
        )
    index = torch.from_numpy(chosen)
    return Decoded(
        images=torch.from_numpy(pixels),
        labels=None if labels is None else labels[index],
        classes=classes,
        digest=digest,
        skipped=(*files.refused, *skipped),
        place=torch.from_numpy(places(len(files), files.tail))[index],
    )


def open_kept(
    files: Files,
    source: Source,
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    shape: tuple[int, int, int, int],
    digest: str,
) -> cache.Kept:
    """Finds the decoded images of an earlier run, else decodes them and keeps them for the next.

    Args:
        files: All of them.
        source: The settled source.
        parts: Files that are held out, trained on, and spare.
        shape: Of the pixels.
        digest: Of the files' names and sizes.
    """
    decoder = type(source.decoder()).__name__
    how = repr((CACHE_FORMAT, files.origin, files.stamps, shape, decoder))
    key = digest_of([digest, how, repr((source.limit, source.holdout)), *source.storage()])
    found = cache.find(cache.cache_root() / key, shape) if source.cache != "none" else None
    if found is not None:
        place = files.origin or files.names[0]
        note(log, "decoded images of %s are reused (%s)", place, cache.CLEAR)
        return found
    room = cache.make_room(shape, key)
    started = time.monotonic()
    kept = decode_chosen(files, source, parts, room)
    slow = time.monotonic() - started >= cache.SLOW_S
    if slow and room.folder is None and source.cache == "auto":
        cache.keep_for_next(kept, key)
    return kept


def say_lost_classes(labels: torch.Tensor, classes: tuple[str, ...], source: Source) -> None:
    """Names the classes of which `limit` leaves no image to train on.

    labels: (N,) classes, or (N,K) attributes.
    """
    if labels.ndim == 2:
        counts = (labels > 0).sum(0).tolist()
    else:
        counts = torch.bincount(labels, minlength=len(classes)).tolist()
    lost = [name for name, n in zip(classes, counts, strict=True) if not n]
    if lost and source.limit is not None:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        note(
            log,
            "dataset.limit=%d leaves no image of %d of %d classes: %s%s",
            source.limit,
            len(lost),
            len(classes),
            ", ".join(lost[:5]),
            more,
        )


def decode_chosen(
    files: Files, source: Source, parts: tuple[np.ndarray, np.ndarray, np.ndarray], room: cache.Room
) -> cache.Kept:
    """Decodes what is wanted into a room of pixels (rows,C,h,w).

    Held-out rows come first, so that both parts are ranges.
    """
    decoder = source.decoder()
    held, train, spare = parts
    # Training takes from its start, holdout from its end: a bad file's place is taken by the next
    # on either side.
    queue = deque(np.concatenate([train, spare, held]).tolist())
    chosen = np.full(len(room.pixels), -1)
    bad: list[tuple[int, str]] = []
    try:
        with quiet(), ThreadPoolExecutor(source.count_workers()) as pool:
            for first, n, take in (
                (0, len(held), queue.pop),
                (len(held), len(train), queue.popleft),
            ):
                # In the order of the files: a disk reads neighbours faster.
                items = sorted(take() for _ in range(min(n, len(queue))))
                rows = list(zip(range(first, first + n), items, strict=False))
                while rows:
                    failed = decode_rows(
                        rows, files, decoder, room.pixels, pool, strict=source.on_error == "fail"
                    )
                    for row, item in rows:
                        chosen[row] = -1 if row in failed else item
                    bad += [(item, failed[row]) for row, item in rows if row in failed]
                    rows = [(row, take()) for row in failed if queue]
        skipped = [(files.names[item], reason) for item, reason in sorted(bad)]
        good = np.flatnonzero(chosen >= 0)
        refuse_if_most(skipped, len(good))
        # Moved up over the gaps that bad files without a replacement have left.
        for new, old in enumerate(good):
            if new != old:
                room.pixels[new] = room.pixels[old]
        return room.keep(chosen[good], skipped, sorted(decoder.notes))
    except BaseException:  # Ctrl-C too: what is half made would only lie there
        room.discard()
        raise


def decode_rows(
    rows: list[tuple[int, int]],
    files: Files,
    decoder: Decoder,
    pixels: np.ndarray,
    pool: ThreadPoolExecutor,
    *,
    strict: bool,
) -> dict[int, str]:
    """Writes the pixels of each (row, file), and returns row -> reason for the bad ones.

    With `strict` the first raises UserError.
    """

    def work(block: list[tuple[int, int]]) -> dict[int, str]:
        failed = {}
        for row, item in block:
            try:
                pixels[row] = decoder(files.read(item))
            except BadImage as error:
                failed[row] = str(error)
        return failed

    failed: dict[int, str] = {}
    status.say(f"decoding {len(rows):,} images…")
    said = time.monotonic()
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    for done, (block, found) in enumerate(zip(blocks, pool.map(work, blocks), strict=True)):
        failed |= found
        status.say(
            f"decoding images {draw_bar(BLOCK * done / len(rows))} "
            f"{BLOCK * done:,} of {len(rows):,}…",
            goes_on=True,
        )
        if found and strict:
            refuse(*next((files.names[item], found[row]) for row, item in block if row in found))
        if time.monotonic() - said > 10:
            said = time.monotonic()
            log.info("decoded %d of %d images", BLOCK * (done + 1), len(rows))
    return failed


def draw_bar(share: float) -> str:
    """Draws how far something is, from 0 to 1."""
    full = int(BAR * share)
    return "━" * full + "─" * (BAR - full)


def refuse(name: str, reason: str) -> None:
    """Raises UserError for a bad file."""
    raise UserError(
        f"{name}: {reason}",
        "remove or repair it, or dataset.on_error=skip to train without such files",
    )


def refuse_if_most(skipped: list[tuple[str, str]], good: int) -> None:
    """Raises UserError where most files cannot be used."""
    if len(skipped) > good:
        raise UserError(
            f"{len(skipped)} of {len(skipped) + good} image files cannot be used: "
            f"{list_skipped(skipped)}",
            "look at dataset.path: are they all downloaded, and are they images?",
        )


def list_skipped(skipped: Sequence[tuple[str, str]], most: int = 5) -> str:
    """Returns the first of the skipped files with their reasons, in words."""
    more = f", and {len(skipped) - most} more" if len(skipped) > most else ""
    return ", ".join(f"{name} ({reason})" for name, reason in skipped[:most]) + more
