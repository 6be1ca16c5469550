"""What a data set is: a source that decodes its images once.

A rule of its own sets some of them apart.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from gancli.data.decode import Decoder
from gancli.data.draws import permutation
from gancli.data.posed import People
from gancli.errors import UserError
from gancli.modality import KINDS, Images, Modality, list_kinds, make_modality
from gancli.seeding import seed_of

# Not the run's: another seed must not train on what this one held out
ORDER_SEED = seed_of("limit and holdout")


def digest_of(parts: Iterable[str | bytes]) -> str:
    """Makes 32 hexadecimal digits that depend on every part and on their order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


class Pairing(Protocol):
    """Makes what a game translates out of what is stored."""

    def __call__(self, x: Tensor, bits: np.ndarray) -> dict[str, Tensor]:
        """Makes sources and targets.

        Args:
            x: Images (N,C,H,W) in [-1,1] as cut and flipped.
            bits: (N,) uint64, a draw for each.

        Returns:
            "a" the source, "b" the target, and "mask" (N,1,H,W), 1 in a hole, where there are any.
        """


@dataclass(frozen=True, eq=False)
class Decoded:
    """A data set in memory, or mapped into it.

    Attributes:
        images: (N,C,H,W) uint8 at load_size (or resolution), or floats in [-1,1]; points are
            (N,2,1,1) float32, divided by the declared scale; series (N,features,steps,1) float32,
            less the declared shift and divided by the scale.
        labels: (N,) int64 classes or (N,K) float32 attributes.
        classes: The names of either.
        digest: What identifies the data when a run resumes.
        skipped: (file, reason) of each file that was left out.
        place: (N,) int64, where each image stands in the order that `split` cuts; None: by index.
        pairing: Makes sources and targets of the images.
        other: The second of two domains without pairs, which has no other.
        matched: Whether the n-th images of both domains are a pair, as `split` leaves the held-out
            ones; it says no such thing of what is trained on.
        further: More of each image by the key that a game needs (caption, pose), (N,...) each. What
            is uint8 (N,C,H,W) of the images' size is cut, flipped and scaled with them; all else
            stays.
        measured: Whether what is trained on is incomplete or degraded; the held-out images are
            complete, and samples are compared with those.
        people: Who is in each picture, of people in poses; a pair is two pictures of one person.
    """

    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    digest: str = ""
    skipped: tuple[tuple[str, str], ...] = ()
    place: Tensor | None = None
    pairing: Pairing | None = None
    other: Decoded | None = None
    matched: bool = False
    further: dict[str, Tensor] = field(default_factory=dict)
    measured: bool = False
    people: People | None = None

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, index: Tensor | np.ndarray | Sequence[int]) -> Decoded:
        """Picks the images at `index` (M,).

        A range without gaps is a view, so what is mapped stays mapped.
        """
        index = torch.as_tensor(index, dtype=torch.int64)
        first, n = (int(index[0]), len(index)) if len(index) else (0, 0)
        rows = (
            slice(first, first + n) if torch.equal(index, torch.arange(first, first + n)) else index
        )
        return replace(
            self,
            images=self.images[rows],
            digest=digest_of([self.digest, index.numpy().tobytes()]),
            labels=None if self.labels is None else self.labels[rows],
            place=None if self.place is None else self.place[rows],
            further={key: value[rows] for key, value in self.further.items()},
            people=None if self.people is None else self.people.subset(rows),
        )


@dataclass(kw_only=True)
class Source:
    """Base of every data set.

    A data set of your own subclasses it, declares its fields and writes `load`.

    resolution: int or [h, w] in pixels, [steps, 1] of series; channels: 1 grey, 2 grey + alpha,
    3 RGB, 4 RGBA, of series any number of features; classes: number of labels, 0 drops them. "auto"
    is filled by `scan`. kind: what an item is (`gancli.modality`). limit: train on so many at most.
    holdout: keep so many out of training. load_size: larger than resolution, a random window is
    drawn each time. flip: mirror half of the draws. balance: draw each class equally often.
    on_error: skip or fail, what a bad file does. workers: decoding threads, auto one for each core.
    cache: auto (or true) keeps what took long to decode for the next run, read only reuses it, none
    (or false) neither.
    UserError for values that make no sense.
    """

    resolution: int | list[int] | str = "auto"
    channels: int | str = "auto"
    classes: int | str = "auto"
    kind: str = "image"
    limit: int | None = None
    holdout: int = 0
    load_size: int | list[int] | None = None
    flip: bool = False
    balance: bool = False
    on_error: str = "skip"
    workers: int | str = "auto"
    cache: str | bool = "auto"

    def __post_init__(self):
        if isinstance(self.cache, bool):
            self.cache = "auto" if self.cache else "none"
        # Not Literal: a subclass's annotations are looked up in its own module, which need not
        # import it.
        require(self.kind in KINDS, f"dataset.kind={self.kind}", list_kinds())
        modality = self.modality()
        require(
            self.on_error in ("skip", "fail"), f"dataset.on_error={self.on_error}", "skip or fail"
        )
        require(
            self.limit is None or self.limit >= 1,
            f"dataset.limit={self.limit} trains on nothing",
            "1 or more, or null",
        )
        require(
            self.holdout == "auto" or is_count(self.holdout, least=0),
            f"dataset.holdout={self.holdout} is no number of images",
            "0 holds nothing out",
        )
        require(
            self.workers == "auto" or is_count(self.workers, least=1),
            f"dataset.workers={self.workers} decodes nothing",
            "1 or more, or auto: a thread for each core",
        )
        require(
            self.cache in ("auto", "read", "none"),
            f"dataset.cache={self.cache}",
            "auto keeps decoded images for the next run, read only reuses them, none does neither",
        )
        require(
            self.channels == "auto" or modality.takes_channels(self.channels),
            f"dataset.channels={self.channels}",
            f"{modality.channel_words}, or auto",
        )
        require(
            self.classes == "auto" or is_count(self.classes, least=0),
            f"dataset.classes={self.classes}",
            "0 (without labels), the number of classes, or auto",
        )
        require(
            modality.pixels or not self.flip,
            f"dataset.flip=true: {modality.noun} cannot be flipped",
            "dataset.flip=false",
        )
        if self.resolution != "auto":
            size = pair(self.resolution)
            load = size if self.load_size is None else pair(self.load_size, key="dataset.load_size")
            require(
                load[0] >= size[0] and load[1] >= size[1],
                f"dataset.load_size={self.load_size} is below the resolution",
                f"windows of {size_words(size)} are cut out of it; null loads at the resolution "
                "itself",
            )

    def scan(self) -> dict:
        """Finds a value for each of resolution, channels and classes that is "auto".

        Reads headers at most.
        """
        open_keys = [key for key, value in self.declared().items() if value == "auto"]
        require(
            not open_keys,
            f"dataset.{', dataset.'.join(open_keys)}=auto: {type(self).__name__} cannot tell",
            "give the value in the data set's YAML, or write a scan() that finds it",
        )
        return {}

    def load(self) -> Decoded:
        """Decodes the whole data set. Raises UserError."""
        raise NotImplementedError

    def declared(self) -> dict:
        """Returns what the config says of resolution, channels and classes."""
        return {"resolution": self.resolution, "channels": self.channels, "classes": self.classes}

    def fill(self, *, resolution: int | list[int], channels: int, classes: int) -> dict:
        """Finds those of the three that the user left open."""
        found = {"resolution": resolution, "channels": channels, "classes": classes}
        return {key: found[key] for key, value in self.declared().items() if value == "auto"}

    def settled(self) -> Self:
        """Copies the source without "auto": a notebook need not call `scan` first."""
        return replace(self, **self.scan()) if "auto" in self.declared().values() else self

    def modality(self) -> Modality:
        """Says how its items are fed, shown, saved and judged."""
        return make_modality(vars(self))

    def size(self) -> tuple[int, int]:
        """Gives (h, w) at which images are decoded."""
        return pair(self.resolution if self.load_size is None else self.load_size)

    def decoder(self) -> Decoder:
        """Makes what turns one file into the stored pixels (`depth` channels of them)."""
        return Decoder(self.size(), self.known_channels())

    def known_channels(self) -> int:
        """Gives the channels of an image; only a settled source knows them."""
        assert isinstance(self.channels, int), "settled() fills in what is auto"
        return self.channels

    def depth(self) -> int:
        """Counts the channels that are stored for an image."""
        return self.known_channels()

    def count_workers(self) -> int:
        """Counts the threads that decode."""
        if isinstance(self.workers, int):
            return self.workers
        # A container or a cluster may give fewer cores than the machine has; macOS has no affinity.
        return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1

    def count_own_held(self) -> int:
        """Counts what these data hold out themselves, as a folder test; 0 without such a part."""
        return 0

    def advise(self, text: str) -> str:
        """Adds to a note of the decoder what else may be typed."""
        return text

    def storage(self) -> tuple[str, ...]:
        """Tells stored pixels from those of another decoder; () for 8 bits."""
        return ()

    def labelled(
        self, labels: np.ndarray | None, classes: Sequence[str]
    ) -> tuple[Tensor | None, tuple[str, ...]]:
        """Gives labels and their names as the configuration wants them.

        UserError if the data has another number of them.
        """
        if self.classes == 0:
            return None, ()
        require(
            len(classes) == self.classes,
            f"the data set has {len(classes)} classes, dataset.classes={self.classes}",
            f"dataset.classes={len(classes)}{', or 0 to leave the labels out' if classes else ''}",
        )
        found = torch.as_tensor(labels)
        # (N,K): attributes, of which an image may have several, or parts.
        return found.to(torch.float32 if found.ndim == 2 else torch.int64), tuple(classes)


@dataclass(kw_only=True)
class ScannedSource(Source):
    """A data set whose scan finds more than sizes and labels, such as units or tokens."""

    def modality(self) -> Modality:
        """Says how its items are treated; without what the scan has not found yet."""
        facts = vars(self)
        return make_modality({key: value for key, value in facts.items() if value != "auto"})

    def settled(self) -> Self:
        """Returns a copy without "auto"."""
        return replace(self, **self.scan())

    def answer(self, found: dict) -> dict:
        """Returns those facts that the user left open."""
        return {key: value for key, value in found.items() if vars(self)[key] == "auto"}


@dataclass(kw_only=True)
class DeepSource(Source):
    """Base of data sets of images that no PNG can hold: 16 bits, or any number of channels.

    `load` gives floats in [-1,1]. Networks see them as they are; metrics see 256 levels.

    Attributes:
        bits: 8 or 16, of a value that `gan sample` writes.
        shown: The channels that grids show, 1 to 4 of them; None shows all, or the first three.
    """

    bits: int = 16
    shown: list[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.bits in (8, 16), f"dataset.bits={self.bits}", "8 or 16")
        require_shown(self.shown, self.channels)


def require_shown(shown: Sequence[int] | None, channels: int | str) -> None:
    """Raises UserError where a grid cannot show these channels."""
    n = channels if isinstance(channels, int) else None
    require(
        shown is None
        or (
            len(shown) in (1, 2, 3, 4)
            and all(is_count(k, least=0) and (n is None or k < n) for k in shown)
        ),
        f"dataset.shown={shown} are no channels of the images",
        "1 to 4 numbers, from 0; or null",
    )


def require(condition: bool, message: str, hint: str) -> None:
    """Raises UserError where a condition does not hold."""
    if not condition:
        raise UserError(message, hint)


def is_count(value: object, *, least: int) -> bool:
    """Says whether a value is a whole number of `least` or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def pair(size: int | Sequence[int] | str, *, key: str = "dataset.resolution") -> tuple[int, int]:
    """Reads `n` or `[h, w]` as (h, w). Raises UserError for anything else."""
    values: list[int] = []
    if isinstance(size, int):
        values = [size, size]
    elif isinstance(size, list | tuple):
        values = list(size)
    require(
        len(values) == 2 and all(is_count(value, least=1) for value in values),
        f"{key}={size} is no image size",
        "pixels, as 64 or as [height,width]",
    )
    return values[0], values[1]


def size_words(size: Sequence[int]) -> str:
    """Says (h, w) as people do: width x height."""
    return f"{size[1]}x{size[0]}"


def image_words(size: Sequence[int], channels: int) -> str:
    """Returns the size and the channels of an image in words."""
    return Images().describe_item(size, channels)


def crop_middle(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Cuts the middle (N,C,h,w) of what was loaded larger, (N,C,H,W): a view."""
    top = (images.shape[2] - size[0]) // 2
    left = (images.shape[3] - size[1]) // 2
    return images[:, :, top : top + size[0], left : left + size[1]]


def ordered(n: int, tail: int = 0) -> np.ndarray:
    """Returns the order (n,) int64 that limit and holdout cut: shuffled.

    The last `tail` images are still the last ones.
    """
    return np.concatenate(
        [permutation(n - tail, ORDER_SEED), n - tail + permutation(tail, ORDER_SEED)]
    )


def choose(
    n: int, *, limit: int | None, holdout: int, tail: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chooses indices out of n: held out, trained on, and spare.

    They keep the order's own order: held from its end, train from its start.
    """
    leaves_some(n, holdout)
    order = ordered(n, tail)
    rest = order[: n - holdout]
    held = order[n - holdout :]
    return (held, rest, rest[:0]) if limit is None else (held, rest[:limit], rest[limit:])


def leaves_some(n: int, holdout: int) -> None:
    """Raises UserError where nothing is left to train on."""
    require(n > 0, "the data set has no image", "look at dataset.path and dataset.limit")
    require(
        n > holdout,
        f"dataset.holdout={holdout} leaves none of the {n} images to train on",
        f"at most {n - 1}",
    )


def places(n: int, tail: int = 0) -> np.ndarray:
    """Inverts the order that `choose` cuts: (n,) int64."""
    place = np.empty(n, np.int64)
    place[ordered(n, tail)] = np.arange(n)
    return place


def split(decoded: Decoded, *, limit: int | None, holdout: int) -> tuple[Decoded, Decoded | None]:
    """Splits into what is trained on and what is held out.

    Held out is the last `holdout` of a fixed order, trained on the first `limit` of the rest. Of
    two domains each is split so. Raises UserError if none is left.
    """
    if decoded.other is not None:
        parts = (
            split(domain, limit=limit, holdout=holdout)
            for domain in (replace(decoded, other=None), decoded.other)
        )
        (train, held), (other, other_held) = parts
        return replace(train, other=other, matched=False), None if held is None else replace(
            held, other=other_held
        )
    n = len(decoded)
    leaves_some(n, holdout)
    if not holdout and (limit is None or limit >= n):
        return decoded, None
    place = places(n) if decoded.place is None else decoded.place.numpy()
    order = np.argsort(place, kind="stable")
    first = np.sort(order[: n - holdout][:limit])
    last = np.sort(order[n - holdout :])
    return decoded.subset(first), decoded.subset(last) if holdout else None
