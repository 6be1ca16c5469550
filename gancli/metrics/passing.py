"""One pass over samples: networks look at each of them, and the pixels of some stay.

At 1024 pixels 50,000 samples take 150 GB, and what Inception sees in them 0.6 GB.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gancli.metrics.features import Seen

log = logging.getLogger("gancli")
MOST_PIXELS = 2**31  # bytes of samples that stay; 10,000 images of 256 pixels just fit


@dataclass(frozen=True)
class Passed:
    """What is left of samples that have passed.

    Attributes:
        n: How many passed.
        kept: (K,...), those that stayed, on the CPU.
        rows: (K,) int64, their places among the n, rising; None: all stayed.
        seen: What each network saw in all of them, or what it raised, by the network's name.
    """

    n: int
    kept: Tensor
    rows: Tensor | None
    seen: dict[str, Seen | Exception] = field(default_factory=dict)

    def pick_labels(self, labels: Tensor | None) -> Tensor | None:
        """Picks the labels (K,) of those that stayed from all labels (n,)."""
        return labels if labels is None or self.rows is None else labels[self.rows]

    def read(self, name: str) -> Seen:
        """Returns what a network saw. Raises what it raised."""
        found = self.seen[name]
        if isinstance(found, Exception):
            raise found
        return found


class Rows:
    """Rows that come in pieces and are laid into one tensor, so that they are never held twice."""

    def __init__(self, n: int):
        self.n = n
        self.filled: Tensor | None = None

    def add(self, start: int, piece: Tensor) -> None:
        """Lays down rows from `start` on."""
        if self.filled is None:
            self.filled = piece.new_empty(self.n, *piece.shape[1:])
        self.filled[start : start + len(piece)] = piece


class Watcher:
    """A network that looks at every sample; what it raises costs its own numbers alone."""

    def __init__(self, look: Callable[[Tensor], Seen], n: int):
        self.look = look
        self.features = Rows(n)
        self.probabilities = Rows(n)
        self.error: Exception | None = None

    def add(self, start: int, batch: Tensor) -> None:
        """Looks at a batch (some,C,H,W), unless an earlier one failed."""
        if self.error is not None:
            return
        try:
            seen = self.look(batch)
        except Exception as error:
            # What foreign weights and odd shapes can make a network raise has no end
            log.info("a network could not look at the samples", exc_info=error)
            # Its frames would hold the batch
            self.error = error.with_traceback(None)
            return
        self.features.add(start, seen["features"])
        if seen["probabilities"] is not None:
            self.probabilities.add(start, seen["probabilities"])

    def result(self) -> Seen | Exception:
        """Returns what was seen in all samples, or the error."""
        if self.error is not None:
            return self.error
        assert self.features.filled is not None, "there are samples"
        return {"features": self.features.filled, "probabilities": self.probabilities.filled}


def choose_kept(n: int, item_bytes: int, rng: torch.Generator) -> Tensor | None:
    """Chooses which of n samples stay: (K,) rising; None where all fit into MOST_PIXELS."""
    most = max(2, MOST_PIXELS // item_bytes)  # a pair at least
    if n <= most:
        return None
    return torch.randperm(n, generator=rng)[:most].sort().values


def pass_once(
    batches: Iterable[Tensor],
    n: int,
    *,
    networks: Mapping[str, Callable[[Tensor], Seen]],
    keep: bool,
    rng: torch.Generator,
) -> Passed:
    """Takes samples batch by batch, and lets go of each batch after use.

    Args:
        batches: (some,...) each, on the CPU, n samples in all.
        n: 1 or more.
        networks: By name, what looks at all samples.
        keep: Whether pixels stay: all, or so many random ones as MOST_PIXELS holds.
        rng: Chooses those that stay, where not all do.
    """
    watchers = {name: Watcher(look, n) for name, look in networks.items()}
    rows: Tensor | None = None
    kept: Tensor | None = None
    start = 0
    for batch in batches:
        stop = start + len(batch)
        if kept is None:
            rows = choose_kept(n, batch[0].nbytes, rng) if keep else torch.arange(0)
            kept = batch.new_empty(n if rows is None else len(rows), *batch.shape[1:])
        if rows is None:
            kept[start:stop] = batch
        else:
            first, last = torch.searchsorted(rows, torch.tensor([start, stop])).tolist()
            kept[first:last] = batch[rows[first:last] - start]
        for watcher in watchers.values():
            watcher.add(start, batch)
        start = stop
        del batch  # before the next one is made
    assert kept is not None and start == n, f"{start} samples came, and not {n}"
    return Passed(n, kept, rows, {name: watcher.result() for name, watcher in watchers.items()})
