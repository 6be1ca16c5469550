"""Room for decoded images: memory where they fit, else a file mapped into it.

The next run finds them again: what does not fit lies in a file anyway, and what took long to decode
is kept in one, as long as all of them together stay small.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import math
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gancli.errors import TemporaryFailure, UserError, disk_is_full
from gancli.files.paths import find_cache_root
from gancli.render import status
from gancli.render.notes import note

log = logging.getLogger("gancli.data")
SHARE = 0.7  # of the free memory; the rest is for the networks' host side and the page cache
MOST_KEPT = 8_000_000_000  # bytes of all that is kept only to save the next run's time
DISK_SHARE = 0.2  # of the free disk, at most, for one of them
SLOW_S = 1.0  # what decodes in less is not kept
CLEAR = "gan data --clear-cache"
PIECE = 1 << 24  # bytes that are checked at a time
INDEX = "index.json"  # of a folder that holds no images, but where some stand in tar files
KEPT_NAME = re.compile(r"[0-9a-f]{32}(\.\d+\.partial)?")  # of the folders below the root


def available_memory() -> int | None:
    """Reads how many bytes may be used now, None where the system does not say.

    A container's limit counts.
    """
    found = []
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        lines = dict(line.split(":") for line in text.splitlines())
        found.append(1024 * int(lines["MemAvailable"].split()[0]))
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text(encoding="utf-8").strip()
        if limit != "max":
            used = (group / "memory.current").read_text(encoding="utf-8")
            found.append(int(limit) - int(used))
    except (OSError, KeyError, ValueError):
        pass
    return min(found, default=None)


def fits(n_bytes: int) -> bool:
    """Says whether memory has room for so many bytes."""
    available = available_memory()
    return available is None or n_bytes <= SHARE * available


def cache_root() -> Path:
    """Returns the folder of all caches."""
    return find_cache_root()


def gigabytes(n_bytes: int) -> str:
    """Returns a number of bytes in words."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.2g} MB"


@dataclass(frozen=True)
class Kept:
    """Decoded images as a cache holds them.

    Attributes:
        pixels: (N,C,H,W) uint8.
        chosen: (N,) int64, the file behind each row.
        skipped: (file, reason) of what gave no image.
        notes: What the decoder said of some of them.
    """

    pixels: np.ndarray
    chosen: np.ndarray
    skipped: list[tuple[str, str]]
    notes: list[str]


@dataclass
class Room:
    """Where decoded images go.

    Attributes:
        pixels: (rows,C,H,W) uint8 to be written.
        folder: Where they lie on disk; None in memory.
        partial: Where they are being made; None in memory.
    """

    pixels: np.ndarray
    folder: Path | None = None
    partial: Path | None = None

    def keep(self, chosen: np.ndarray, skipped: list[tuple[str, str]], notes: list[str]) -> Kept:
        """Makes what was written complete: a file gets its final name only now.

        Args:
            chosen: The file behind each of the first rows, which are those that count.
            skipped: As in `Kept`.
            notes: As in `Kept`.
        """
        whole = Kept(self.pixels[: len(chosen)], chosen, skipped, notes)
        if self.partial is None:
            return whole
        assert self.folder is not None and isinstance(self.pixels, np.memmap)
        self.pixels.flush()
        write_facts(self.partial, whole)
        try:
            self.partial.rename(self.folder)
        except OSError:  # another process was faster, with the same bytes
            found = find(self.folder, self.pixels.shape)
            self.discard()  # what is mapped stays mapped, for this process
            return found or whole
        found = find(self.folder, self.pixels.shape)
        assert found is not None, f"{self.folder} was complete a moment ago"
        return found

    def discard(self) -> None:
        """Removes what was made so far from the disk."""
        if self.partial is not None:
            shutil.rmtree(self.partial, ignore_errors=True)


def make_room(shape: tuple[int, int, int, int], key: str) -> Room:
    """Raises TemporaryFailure where neither memory nor the disk has room for it.

    Raises UserError where the disk may not be written.
    """
    need = math.prod(shape)
    if fits(need):
        return Room(np.empty(shape, np.uint8))
    folder = cache_root() / key
    partial = folder.with_name(f"{key}.{os.getpid()}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder.parent)
        free = shutil.disk_usage(folder.parent).free
        # Asked before: a mapped file on a full disk ends the process by a signal.
        if need > 0.95 * free:
            raise OSError(errno.ENOSPC, f"{gigabytes(free)} are free there")
        partial.mkdir()
        pixels = np.lib.format.open_memmap(
            partial / "images.npy", mode="w+", dtype=np.uint8, shape=shape
        )
    except OSError as error:
        kind = TemporaryFailure if disk_is_full(error) else UserError
        raise kind(
            f"{shape[0]} decoded images of {shape[3]}x{shape[2]} pixels and {shape[1]} channels "
            f"take {gigabytes(need)}: more than the memory "
            f"({gigabytes(available_memory() or 0)} are free), and they cannot be written to "
            f"{folder.parent} ({error.strerror or error})",
            "dataset.limit=N, a smaller dataset.resolution, or XDG_CACHE_HOME on a larger disk",
        ) from error
    log.info("%d decoded images take %s and are mapped from %s", shape[0], gigabytes(need), folder)
    return Room(pixels, folder, partial)


def keep_for_next(whole: Kept, key: str) -> None:
    """Keeps on the disk what lies in memory, if there is room for it; else says why not.

    The images kept longest ago give way.

    Args:
        whole: What was decoded.
        key: Of the cache.
    """
    need = whole.pixels.nbytes
    root = cache_root()
    partial = root / f"{key}.{os.getpid()}.partial"
    try:
        root.mkdir(parents=True, exist_ok=True)
        sweep(root)
        free = shutil.disk_usage(root).free
        if need > min(MOST_KEPT, DISK_SHARE * free):
            note(
                log,
                "%s of decoded images are too much to keep for the next run in %s (%s are free; at "
                "most %s, and a fifth of what is free): XDG_CACHE_HOME may name a larger disk",
                gigabytes(need),
                root,
                gigabytes(free),
                gigabytes(MOST_KEPT),
            )
            return
        make_way(root, need)
        status.say("keeping the decoded images for the next run…")
        partial.mkdir()
        np.save(partial / "images.npy", whole.pixels)
        write_facts(partial, whole)
        partial.rename(root / key)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not (root / key).is_dir():  # else another process has kept the same
            log.warning(
                "the decoded images cannot be kept in %s (%s), so the next run decodes them again; "
                "dataset.cache=none does not try",
                root,
                error.strerror or error,
            )
        return
    note(
        log,
        "decoded images are kept for the next run, %s in %s (%s)",
        gigabytes(need),
        root / key,
        CLEAR,
    )


def write_facts(folder: Path, whole: Kept) -> None:
    """Writes what belongs to the pixels, and their checksum."""
    np.save(folder / "chosen.npy", whole.chosen)
    facts = {
        "skipped": whole.skipped,
        "notes": whole.notes,
        "checksum": sum_up(whole.pixels),
    }
    (folder / "facts.json").write_text(json.dumps(facts))


def sum_up(pixels: np.ndarray) -> int | None:
    """Returns a checksum of pixels; None of more than memory holds, which would take too long."""
    if not fits(pixels.nbytes):
        return None
    found = 0
    flat = pixels.reshape(-1)
    for start in range(0, flat.size, PIECE):
        found = zlib.crc32(flat[start : start + PIECE].data, found)
    return found


def find(folder: Path, shape: tuple[int, ...]) -> Kept | None:
    """Finds a complete cache.

    Args:
        folder: Where it would lie.
        shape: Of the pixels; fewer rows are a cache with bad files.

    Returns:
        Its images, mapped; None if there is none. A damaged one is removed.
    """
    if not folder.is_dir():
        return None
    try:
        # Copy on write: torch wants an array that it could write to.
        pixels = np.load(folder / "images.npy", mmap_mode="c", allow_pickle=False)
        chosen = np.load(folder / "chosen.npy", allow_pickle=False)
        facts = json.loads((folder / "facts.json").read_text())
        skipped = [(name, reason) for name, reason in facts["skipped"]]
        notes = [str(text) for text in facts["notes"]]
        if (
            pixels.shape[1:] != shape[1:]
            or pixels.dtype != np.uint8
            or not len(chosen) <= len(pixels) <= shape[0]
        ):
            raise ValueError(f"holds {pixels.shape}")
        pixels = pixels[: len(chosen)]
        sums = [facts["checksum"], sum_up(pixels)]
        if None not in sums and sums[0] != sums[1]:
            raise ValueError("other bytes than were written")
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        if folder.is_dir():  # else another process has cleared the cache meanwhile
            log.warning("the cache %s is damaged (%s) and is made anew", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
        return None
    with contextlib.suppress(OSError):  # read-only
        os.utime(folder)  # used now, so it is the last to give way
    return Kept(pixels, chosen, skipped, notes)


def make_way(root: Path, need: int) -> None:
    """Removes what was used longest ago until `need` bytes more stay within the bound."""
    kept = sorted(list_kept(root), key=lambda folder: folder.stat().st_mtime)
    sizes = {folder: measure_folder(folder) for folder in kept}
    while kept and sum(sizes[folder] for folder in kept) + need > MOST_KEPT:
        folder = kept.pop(0)
        log.info("the cache %s, used longest ago, gives way", folder)
        shutil.rmtree(folder, ignore_errors=True)


def clear() -> tuple[int, int, int]:
    """Removes all decoded images that are kept, and indexes of tar files.

    Returns:
        How many data sets were kept, how many indexes, and how many bytes.

    Raises:
        OSError: One cannot be removed.
    """
    folders = list(list_kept(cache_root(), half_made=True))
    taken = sum(measure_folder(folder) for folder in folders)
    indexes = sum((folder / INDEX).is_file() for folder in folders)
    for folder in folders:
        shutil.rmtree(folder)
    return len(folders) - indexes, indexes, taken


def list_kept(root: Path, *, half_made: bool = False) -> Iterator[Path]:
    """Lists the folders of decoded images below the root, which holds other things, too."""
    for folder in root.iterdir() if root.is_dir() else ():
        if KEPT_NAME.fullmatch(folder.name) and (half_made or not folder.suffix):
            yield folder


def measure_folder(folder: Path) -> int:
    """Returns the bytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.iterdir())


def sweep(root: Path) -> None:
    """Removes what a killed process left half made; a day is longer than any decoding."""
    for folder in root.glob("*.partial"):
        if time.time() - folder.stat().st_mtime > 86_400:
            shutil.rmtree(folder, ignore_errors=True)
