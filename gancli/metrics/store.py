"""What evaluations keep for the next time, in memory and on disk.

The files lie beside the cache of decoded images.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from gancli.data.base import Decoded, digest_of
from gancli.data.cache import cache_root
from gancli.errors import UserError
from gancli.files import atomic
from gancli.files.safe_load import load_plain

log = logging.getLogger("gancli")
MOST_BYTES = 2**30  # of one entry on disk
MOST_ENTRIES = 16  # in memory: a sweep in one process meets many data sets
SAMPLED = 1024  # images that `identity` reads
SAMPLED_AT_ONCE = 64  # of those
T = TypeVar("T")
_memory: OrderedDict[str, Any] = OrderedDict()


def identity(data: Decoded, rows: Tensor | None = None) -> str:
    """Makes what tells data sets apart, by content.

    A digest of one's own may be empty, and it does not know the image size.

    Args:
        data: The data set.
        rows: (M,) int64: only these of its images, as `data.subset(rows)` has them; None: all.
    """
    if rows is None:
        digest = data.digest
        # Evenly spread images stand for all: reading every one would take as long as decoding.
        step = max(1, len(data) // SAMPLED)
        looked_at = torch.arange(0, len(data), step)
        n = len(data)
    else:
        digest = digest_of([data.digest, rows.numpy().tobytes()])
        n = len(rows)
        looked_at = rows[:: max(1, n // SAMPLED)]
    labels = b""
    if data.labels is not None:
        labels = (data.labels if rows is None else data.labels[rows]).numpy().tobytes()
    shape = (n, *data.images.shape[1:])
    pixels = b"".join(
        data.images[some].numpy().tobytes() for some in looked_at.split(SAMPLED_AT_ONCE)
    )
    return digest_of([digest, repr(shape), labels, pixels])


def remember(key: str, make: Callable[[], T]) -> T:
    """Returns make(), or what it gave before in this process.

    A UserError is remembered too: a download that failed would be tried again at every evaluation,
    and each try may take minutes.
    """
    if key not in _memory:
        try:
            _memory[key] = make()
        except UserError as error:
            _memory[key] = error
        # The one that was used longest ago goes first.
        while len(_memory) > MOST_ENTRIES:
            _memory.popitem(last=False)
    _memory.move_to_end(key)
    found = _memory[key]
    if isinstance(found, UserError):
        raise UserError(found.message, found.hint)
    return cast(T, found)  # a key stands for one kind of value


def forget() -> None:
    """Empties the memory, not the disk."""
    _memory.clear()


def read(key: str) -> dict[str, Any] | None:
    """Returns what `write` kept under this key, None if nothing sound is there."""
    path = cache_root() / "metrics" / f"{key}.pt"
    if not path.is_file():
        return None
    try:
        kept = load_plain(path)
    except UserError as error:
        log.warning("%s is made anew: %s", path, error.message)
        return None
    assert isinstance(kept, dict), f"{path} was written by `write`"
    return kept


def write(key: str, tree: dict[str, Any]) -> None:
    """Keeps tensors and plain values.

    A disk that is full or read-only costs only the time saved.
    """
    if sum(value.nbytes for value in tree.values() if isinstance(value, Tensor)) > MOST_BYTES:
        return
    path = cache_root() / "metrics" / f"{key}.pt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replace_file(path) as aside:
            torch.save(tree, aside)
    except (OSError, RuntimeError) as error:  # the second is torch's, of a write that was cut short
        log.info("%s could not be written: %s", path, error)
