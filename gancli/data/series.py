"""Series of numbers: by formula, the bundled sunspots, and files of one's own."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gancli.data import cache
from gancli.data.base import Decoded, ScannedSource, digest_of, is_count, pair, places, require
from gancli.data.draws import permutation
from gancli.data.series_files import Record, Table, read_series
from gancli.modality import Series
from gancli.render.notes import note
from gancli.seeding import seed_of

log = logging.getLogger("gancli.data")
STEPS = 24  # of a window, where nothing says how long it is
HELD_SHARE = 20  # holdout=auto: one window in so many, as of a folder's images
LEAST_WINDOWS = 400
MOST_HELD = 1_000


@dataclass(kw_only=True)
class Sequences(ScannedSource):
    """The base of series: items (N,features,steps,1), stored as (data - shift) / scale.

    Attributes:
        scale: Of all features or of each; auto is found.
        shift: Likewise.
    """

    kind: str = "series"
    scale: float | list[float] | str = "auto"
    shift: float | list[float] | str = "auto"

    def __post_init__(self):
        super().__post_init__()
        require(
            isinstance(self.modality(), Series),
            f"dataset.kind={self.kind}: these are series",
            "dataset.kind=series",
        )
        require(
            self.resolution == "auto" or pair(self.resolution)[1] == 1,
            f"dataset.resolution={self.resolution} is no length of a series",
            "[steps,1], as dataset.resolution=[24,1]",
        )
        for key, value in (("scale", self.scale), ("shift", self.shift)):
            require(
                not isinstance(value, str) or value == "auto",
                f"dataset.{key}={value}",
                "a number, a list of one for each feature, or auto",
            )
            require(
                not isinstance(value, list) or self.channels in ("auto", 1, len(value)),
                f"dataset.{key} has {len(value) if isinstance(value, list) else 1} numbers for "
                f"{self.channels} features",
                "one number, or one for each feature",
            )
        numbers = self.scale if isinstance(self.scale, list) else [self.scale]
        require(
            all(isinstance(value, str) or value > 0 for value in numbers),
            f"dataset.scale={self.scale} must be above 0",
            "auto finds it",
        )

    def store(self, values: np.ndarray) -> torch.Tensor:
        """Turns data (N,steps,features) into stored items; the source is settled."""
        scale = np.asarray(self.scale, np.float64)
        shift = np.asarray(self.shift, np.float64)
        # In float64 until here: a small series on a large shift would lose its digits.
        stored = ((values - shift) / scale).astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(stored.transpose(0, 2, 1)))[..., None]


@dataclass(kw_only=True)
class Formula(Sequences):
    """The base of series that are drawn: n of them, of resolution[0] steps, without labels.

    Attributes:
        n: Series.
        data_seed: Another gives other data, as a second set of reals.
    """

    n: int = 10_000
    data_seed: int = 0
    resolution: int | list[int] | str = "auto"
    channels: int | str = "auto"
    classes: int | str = 0

    def __post_init__(self):
        super().__post_init__()
        require(self.n >= 1, f"dataset.n={self.n} draws nothing", "1 or more")
        require(
            0 <= self.data_seed < 2**32,
            f"dataset.data_seed={self.data_seed}",
            "a whole number from 0 to 4294967295",
        )
        require(self.load_size is None, "drawn series are not cut", "dataset.load_size=null")
        require(self.classes in (0, "auto"), "these series have no labels", "dataset.classes=0")

    def units(self) -> tuple[float, float]:
        """Returns the scale and the shift of every feature."""
        raise NotImplementedError

    def draw(self, dice: np.random.RandomState, steps: int, features: int) -> np.ndarray:
        """Returns (n,steps,features) in data units."""
        raise NotImplementedError

    def scan(self) -> dict:
        """Returns the values of what is "auto"."""
        scale, shift = self.units()
        return self.answer(
            {
                "resolution": [STEPS, 1],
                "channels": 5,
                "classes": 0,
                "scale": scale,
                "shift": shift,
            }
        )

    def load(self) -> Decoded:
        """Draws the series."""
        source = self.settled()
        steps = pair(source.resolution)[0]
        # RandomState is numpy's one generator that promises the same numbers for ever.
        values = self.draw(np.random.RandomState(self.data_seed), steps, source.known_channels())
        stored = source.store(values)
        return Decoded(
            images=stored, digest=digest_of([type(self).__name__, stored.numpy().tobytes()])
        )


@dataclass(kw_only=True)
class Sines(Formula):
    """(sin(f t + p) + 1) / 2, f and p uniform in (0, spread) for each feature of each series.

    As TimeGAN's code draws them (Yoon et al. 2019); its paper names wider ranges.
    """

    spread: float = 0.1

    def units(self) -> tuple[float, float]:
        """Maps 0 ... 1 to -1 ... 1."""
        return 0.5, 0.5

    def draw(self, dice: np.random.RandomState, steps: int, features: int) -> np.ndarray:
        """Returns (n,steps,features) in 0 ... 1."""
        frequency, phase = dice.uniform(0, self.spread, (2, self.n, 1, features))
        return (np.sin(frequency * np.arange(steps)[:, None] + phase) + 1) / 2


@dataclass(kw_only=True)
class Ar1(Formula):
    """x_t = phi x_(t-1) + sigma e_t from its stationary law, e normal, features independent.

    Everything about it is known: mean 0, variance sigma^2 / (1 - phi^2), autocorrelation phi^k.
    """

    phi: float = 0.9
    sigma: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        require(
            -1 < self.phi < 1 and self.sigma > 0,
            f"dataset.phi={self.phi} sigma={self.sigma}",
            "phi between -1 and 1, sigma above 0",
        )

    def deviation(self) -> float:
        """Returns the stationary standard deviation."""
        return self.sigma / math.sqrt(1 - self.phi**2)

    def units(self) -> tuple[float, float]:
        """Makes two deviations 1: what the networks see is of about unit size."""
        return 2 * self.deviation(), 0.0

    def draw(self, dice: np.random.RandomState, steps: int, features: int) -> np.ndarray:
        """Returns (n,steps,features)."""
        noise = dice.standard_normal((self.n, steps, features))
        values = np.empty_like(noise)
        # From the stationary law: from 0 the first steps would vary too little.
        values[:, 0] = noise[:, 0] * self.deviation()
        for t in range(1, steps):
            values[:, t] = self.phi * values[:, t - 1] + self.sigma * noise[:, t]
        return values


@dataclass(kw_only=True)
class Recorded(Sequences):
    """The base of series that were recorded: windows of `length` steps, one every `stride`.

    Windows that share a step with a held-out one are left out of training, so nothing leaks.

    Attributes:
        length: Steps of a window; auto: whole series where there are several of one length,
            else 24, or all steps where there are fewer.
        stride: Steps from one window of a series to the next.
        names: Of the features, for what is saved; null: the file's.
    """

    length: int | str = "auto"
    stride: int = 1
    names: list[str] | str | None = "auto"
    holdout: int | str = "auto"  # type: ignore[assignment]  # wider than the base's until scan

    def __post_init__(self):
        super().__post_init__()
        require(
            self.length == "auto" or is_count(self.length, least=2),
            f"dataset.length={self.length}",
            "2 steps or more, or auto",
        )
        require(is_count(self.stride, least=1), f"dataset.stride={self.stride}", "1 step or more")
        require(
            self.load_size is None, "windows are cut by length and stride", "dataset.load_size=null"
        )

    def read(self) -> Table:
        """Reads all series. Raises UserError."""
        raise NotImplementedError

    def scan(self) -> dict:
        """Returns the values of what is "auto"; reads the files."""
        if "auto" not in vars(self).values():
            return {}
        table = self.read()
        for remark in table.remarks:
            note(log, "%s", remark)
        length = self.window_length(table.records)
        require(
            self.resolution in ("auto", length, [length, 1]),
            f"dataset.resolution={self.resolution} and windows of {length} steps",
            f"dataset.length={pair(self.resolution)[0] if self.resolution != 'auto' else length}",
        )
        width = len(table.names)
        require(
            self.channels in ("auto", width),
            f"dataset.channels={self.channels}, and there are {width} features",
            f"dataset.channels={width}, or auto",
        )
        least = np.min([record.values.min(0) for record in table.records], axis=0)
        most = np.max([record.values.max(0) for record in table.records], axis=0)
        for k, name in enumerate(table.names):
            require(
                self.scale != "auto" or most[k] > least[k],
                f"{table.records[0].where.partition(', ')[0]}: {name} is {least[k]:g} everywhere",
                "leave that column out (dataset.columns=[...]), or give dataset.scale",
            )
        windows = len(self.starts(table.records, length))
        return self.answer(
            {
                "resolution": [length, 1],
                "channels": width,
                "classes": len(class_names(table)),
                "length": length,
                "scale": ((most - least) / 2).tolist(),
                "shift": ((most + least) / 2).tolist(),
                "names": list(table.names),
                "holdout": self.choose_holdout(windows) if self.holdout == "auto" else 0,
            }
        )

    def choose_holdout(self, n: int) -> int:
        """Says how many of n windows are kept out of training, and tells the user."""
        if n < LEAST_WINDOWS:
            return 0
        held = min(MOST_HELD, n // HELD_SHARE)
        note(
            log,
            "%d of %d windows are held out, for what perfect samples would reach; "
            "dataset.holdout=0 trains on all",
            held,
            n,
        )
        return held

    def window_length(self, records: Sequence[Record]) -> int:
        """Settles the steps of a window. Raises UserError where no series is long enough."""
        lengths = [len(record.values) for record in records]
        longest = max(range(len(records)), key=lengths.__getitem__)
        length = self.length
        if length == "auto" and self.resolution != "auto":
            length = pair(self.resolution)[0]
        if length == "auto":
            alike = len(records) > 1 and min(lengths) == max(lengths)
            length = lengths[0] if alike else min(STEPS, max(lengths))
        assert isinstance(length, int)
        require(
            2 <= length <= lengths[longest],
            f"{records[longest].where}: the longest series has {lengths[longest]} steps, and a "
            f"window takes {max(2, length)}",
            f"dataset.length={lengths[longest]}" if lengths[longest] >= 2 else "give longer series",
        )
        return length

    def starts(self, records: Sequence[Record], length: int) -> np.ndarray:
        """Returns (windows,2) int64: the series of each window and its first step."""
        parts = [
            np.stack([np.full_like(first, k), first], axis=1)
            for k, record in enumerate(records)
            for first in [np.arange(0, len(record.values) - length + 1, self.stride)]
        ]
        return np.concatenate(parts)

    def load(self) -> Decoded:
        """Cuts the windows. Raises UserError."""
        source = self.settled()
        table = self.read()
        length = pair(source.resolution)[0]
        starts = self.starts(table.records, length)
        holdout = source.holdout
        assert isinstance(holdout, int), "settled() fills in what is auto"
        require(
            len(starts) > holdout,
            f"dataset.holdout={holdout} leaves none of the {len(starts)} windows",
            f"at most {len(starts) - 1}",
        )
        starts, place = order_windows(starts, length, holdout=holdout)
        require(
            len(starts) > holdout,
            "every window to train on shares steps with a held-out one",
            "a smaller dataset.holdout, dataset.length or more data",
        )
        need = 4 * len(starts) * length * len(table.names)
        require(
            cache.fits(3 * need),
            f"{len(starts)} windows take {cache.gigabytes(need)}, too much for the memory",
            f"a larger dataset.stride, as {2 * self.stride}",
        )
        values = np.stack([table.records[k].values[first : first + length] for k, first in starts])
        classes = class_names(table)
        labels = np.array(
            [classes.index(table.records[k].label or "") for k, _ in starts] if classes else []
        )
        kept, class_words = source.labelled(labels if classes else None, classes)
        stored = source.store(values)
        short = [r for r in table.records if len(r.values) < length]
        log.info("%d windows of %d steps", len(starts), length)
        return Decoded(
            images=stored,
            labels=kept,
            classes=class_words,
            digest=digest_of(
                [
                    type(self).__name__,
                    repr((stored.shape, source.scale, source.shift)),
                    stored.numpy().tobytes(),
                    b"" if kept is None else kept.numpy().tobytes(),
                ]
            ),
            skipped=tuple(
                (r.where, f"{len(r.values)} steps, and a window takes {length}") for r in short
            ),
            place=torch.from_numpy(place),
        )


@dataclass(kw_only=True)
class Sunspots(Recorded):
    """Yearly sunspot numbers from 1700 to 2008, bundled; public domain, see LICENSE-sunspots.txt.

    Their period of about eleven years, and that they rise faster than they fall, can be seen.
    """

    def read(self) -> Table:
        """Reads the bundled file."""
        return read_series(
            str(Path(__file__).parent / "sunspots.csv"),
            columns=["SUNACTIVITY"],
            label=None,
            group=None,
        )


@dataclass(kw_only=True)
class SeriesFiles(Recorded):
    """Series of one's own: a .csv, .npz or .ts file, or a folder of some.

    Attributes:
        columns: CSV columns that are features; null: all that are neither label nor group, nor
            count the steps.
        label: The CSV column that holds the class; a series ends where it changes.
        group: The CSV column that tells one series from the next.
    """

    path: str
    columns: list[str] | None = None
    label: str | None = None
    group: str | None = None

    def read(self) -> Table:
        """Reads the files."""
        return read_series(
            self.path,
            columns=self.columns,
            label=self.label,
            group=self.group,
            names=self.names if isinstance(self.names, list) else (),
        )


def class_names(table: Table) -> tuple[str, ...]:
    """Names the classes, numbers by their size; () without labels."""
    found = {record.label for record in table.records if record.label is not None}
    if all(name.lstrip("-").isdigit() for name in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def order_windows(
    starts: np.ndarray, length: int, *, holdout: int
) -> tuple[np.ndarray, np.ndarray]:
    """Orders windows so that the last ones may be held out; leaves out what shares their steps.

    Series are held out whole, in a fixed random order; of the one that is cut, its end in time is.

    Args:
        starts: (windows,2), the series and the first step of each, in that order.
        length: Steps of a window.
        holdout: Windows that `split` will hold out: the last ones of the order.

    Returns:
        The starts that are kept, and the place (kept,) of each in the order that `split` cuts.
    """
    series = int(starts[:, 0].max()) + 1
    # Each window's series in the fixed order; sorted by that first, then by time.
    turn = places(series)[starts[:, 0]]
    order = np.lexsort((starts[:, 1], turn))
    held = order[len(order) - holdout :]
    rest = order[: len(order) - holdout]
    if holdout:
        # Only the first held-out series can be cut in two
        first, step = starts[held[0]]
        clear = (starts[rest, 0] != first) | (starts[rest, 1] + length <= step)
        rest = rest[clear]
    # Shuffled, so that `limit` takes windows of all series and times.
    rest = rest[permutation(len(rest), seed_of("windows"))]
    kept = np.concatenate([rest, held])
    place = np.empty(len(starts), np.int64)
    place[kept] = np.arange(len(kept))
    # Rows stay in the file's order: only their places say what is held out.
    chosen = np.sort(kept)
    return starts[chosen], place[chosen]
