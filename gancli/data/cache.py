"""Room for decoded images: memory where they fit, else a file mapped into it.

The next run finds that file again.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gancli.errors import TemporaryFailure, UserError, disk_is_full

log = logging.getLogger("gancli.data")
SHARE = 0.7  # of the free memory; the rest is for the networks' host side and the page cache


def available_memory() -> int | None:
    """Reads how many bytes may be used now, None where the system does not say.

    A container's limit counts.
    """
    found = []
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(1024 * int(lines["MemAvailable"].split()[0]))
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            found.append(int(limit) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, KeyError, ValueError):
        pass
    return min(found, default=None)


def fits(n_bytes: int) -> bool:
    """Says whether memory has room for so many bytes."""
    available = available_memory()
    return available is None or n_bytes <= SHARE * available


def cache_root() -> Path:
    """Returns the folder of all caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gancli"


def gigabytes(n_bytes: int) -> str:
    """Returns a number of bytes in words."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.2g} MB"


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

    def keep(self, chosen: np.ndarray, skipped: list[tuple[str, str]]) -> np.ndarray:
        """Keeps the first len(chosen) rows, complete: a file gets its final name only now."""
        if self.partial is None:
            return self.pixels[: len(chosen)]
        assert self.folder is not None and isinstance(self.pixels, np.memmap)
        # Before the rename: a folder of this name is taken for whole by the next run.
        self.pixels.flush()
        np.save(self.partial / "chosen.npy", chosen)
        (self.partial / "skipped.json").write_text(json.dumps(skipped))
        try:
            self.partial.rename(self.folder)
        except OSError:  # another rank was faster, with the same bytes
            self.discard()
        found = find(self.folder, self.pixels.shape)
        assert found is not None, f"{self.folder} was complete a moment ago"
        return found[0]

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


def find(
    folder: Path, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, list[tuple[str, str]]] | None:
    """Finds a complete cache's (pixels, chosen, skipped), or None; removes a damaged one."""
    if not folder.is_dir():
        return None
    try:
        # Copy on write: torch wants an array that it could write to.
        pixels = np.load(folder / "images.npy", mmap_mode="c", allow_pickle=False)
        chosen = np.load(folder / "chosen.npy", allow_pickle=False)
        skipped = [
            (name, reason) for name, reason in json.loads((folder / "skipped.json").read_text())
        ]
        if pixels.shape != shape or len(chosen) > len(pixels):
            raise ValueError(f"holds {pixels.shape}")
    except (OSError, ValueError, EOFError) as error:
        log.warning("the cache %s is damaged (%s) and is made anew", folder, error)
        shutil.rmtree(folder)
        return None
    return pixels[: len(chosen)], chosen, skipped


def sweep(root: Path) -> None:
    """Removes what a killed process left half made; a day is longer than any decoding."""
    for folder in root.glob("*.partial"):
        if time.time() - folder.stat().st_mtime > 86_400:
            shutil.rmtree(folder, ignore_errors=True)
