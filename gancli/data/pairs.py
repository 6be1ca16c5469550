"""Images that belong together: pairs of a source and its target, and two domains without pairs."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from torch import Tensor

from gancli.data import seams
from gancli.data.base import Decoded, Source, digest_of, require
from gancli.data.decode import BadImage, Decoder, File, open_image, quiet
from gancli.data.files import Files, decode_files, list_skipped
from gancli.data.folder import Folder, listing, measure, say_passed_over
from gancli.errors import UserError

log = logging.getLogger("gancli.data")
OWN = ("val", "test")  # sub-folders that a data set itself holds out
NEARLY = 0.2  # how far the width of a pair may be from twice its height, as a share of the height
MOST_HELD = 100  # pairs, where holdout is auto and the data set has no such folder
LAYOUTS = (
    "files with source and target side by side, or a folder A and a folder B with the same file "
    "names"
)


@dataclass(frozen=True)
class SideBySide:
    """Cuts the stored channels into source and target."""

    direction: Literal["ab", "ba"]

    def __call__(self, x: Tensor, bits: np.ndarray) -> dict[str, Tensor]:
        """Returns one half of the channels as source, the other as target."""
        first, second = x.chunk(2, 1)
        return {"a": first, "b": second} if self.direction == "ab" else {"a": second, "b": first}


class PairDecoder(Decoder):
    """A file with two images side by side, or two files -> (2C,h,w) uint8.

    BadImage where they do not fit.
    """

    def __call__(self, file: File | tuple[File, File]) -> np.ndarray:
        """Returns (2C,h,w) uint8. Raises BadImage."""
        if isinstance(file, tuple):
            sizes = [header(name)[:2] for name in file]
            if sizes[0] != sizes[1]:
                raise BadImage(
                    "its two sides differ in size: {}x{} and {}x{}".format(*sizes[0], *sizes[1])
                )
            return np.concatenate([super(PairDecoder, self).__call__(name) for name in file])
        width = header(file)[0]
        if width % 2:
            raise BadImage(f"{width} pixels wide, which is no pair side by side")
        # Decoded as one image, then cut: both sides go through the same resize.
        half = Decoder((self.size[0], 2 * self.size[1]), self.channels, self.notes)
        return np.concatenate(np.split(half(file), 2, axis=2))


def header(file: File) -> tuple[int, int]:
    """Returns (width, height) of a file."""
    with open_image(file) as image:
        return image.size


@dataclass(kw_only=True)
class Paired(Source):
    """Pairs below `path`: files with both images side by side, or two folders.

    The files of two folders have the same names. A sub-folder train is used if there is one, and
    then val (or test) is what is held out. What has no partner is a bad file (on_error). Geometry
    acts on both sides alike.

    Attributes:
        a: The name of the first folder.
        b: The name of the second.
        direction: ab translates the left (or a) image to the other, ba the other way round.
        holdout: auto takes the data set's own, else a tenth, at most 100 pairs.
    """

    path: str
    a: str = "A"
    b: str = "B"
    direction: Literal["ab", "ba"] = "ab"
    holdout: int | str = "auto"  # type: ignore[assignment]  # wider than the base's until scan

    def scan(self) -> dict:
        """Returns the values of what is "auto", from headers alone."""
        found: dict = {}
        if "auto" in (*self.declared().values(), self.holdout):  # else a run that goes on
            check_side_by_side(self.path, self.train_files())
        if "auto" in self.declared().values():
            resolution, channels = self.measure_pairs(self.train_files())
            found = self.fill(resolution=resolution, channels=channels, classes=0)
        if self.holdout == "auto":
            own = self.held_files()
            found["holdout"] = (
                min(MOST_HELD, len(self.train_files()) // 10) if own is None else len(own)
            )
        return found

    def load(self) -> Decoded:
        """Decodes the pairs. Raises UserError."""
        source = self.settled()
        files = source.train_files()
        holdout = source.holdout
        assert isinstance(holdout, int), "settled() fills in what is auto"
        own = source.held_files() if holdout else None
        if own is not None:
            require(
                holdout <= len(own),
                f"dataset.holdout={holdout}: its own held-out folder has {len(own)} pairs",
                f"at most {len(own)}, or auto",
            )
            files = join_files(files, own, holdout)
        log.info("%s: %d pairs, %d of them held out", self.path, len(files), holdout)
        say_passed_over(self.path, files)
        if files.refused:
            log.warning("%s: without a partner: %s", self.path, list_skipped(files.refused))
        return replace(decode_files(files, source), pairing=SideBySide(self.direction))

    def settled(self) -> Self:
        """Returns a copy without "auto"."""
        return replace(self, **self.scan())

    def decoder(self) -> Decoder:
        """Returns what turns a file, or two, into stored pixels."""
        return PairDecoder(self.size(), self.known_channels())

    def depth(self) -> int:
        """Returns the channels that are stored for a pair."""
        return 2 * self.known_channels()

    def train_files(self) -> Files:
        """Lists the pairs that are trained on."""
        root = Path(self.path).expanduser()
        return self.pairs(root / "train" if (root / "train").is_dir() else root)

    def held_files(self) -> Files | None:
        """Lists the pairs that the data set itself holds out; None where it does not."""
        root = Path(self.path).expanduser()
        if not (root / "train").is_dir():
            return None
        own = next((root / name for name in OWN if (root / name).is_dir()), None)
        return None if own is None else self.pairs(own)

    def count_own_held(self) -> int:
        """Counts the pairs of the data set's own held-out folder; 0 without one."""
        own = self.held_files()
        return 0 if own is None else len(own)

    def pairs(self, root: Path) -> Files:
        """Lists the pairs of a folder. Raises UserError."""
        sides = [root / self.a, root / self.b]
        there = [side.is_dir() for side in sides]
        if all(there):
            return match_files(listing(str(sides[0])), listing(str(sides[1])), sides)
        if any(there):
            missing = sides[there.index(False)]
            raise UserError(
                f"dataset.path={self.path}: there is a folder {sides[there.index(True)].name}, "
                f"and no {missing.name} beside it",
                "name the two with dataset.a= and dataset.b=",
            )
        files = listing(str(root))
        require(
            not files.classes,
            f"dataset.path={self.path}: it has sub-folders ({', '.join(files.classes[:5])}), and "
            "holds no pairs",
            f"a data set of pairs is {LAYOUTS}; name those two with dataset.a= and dataset.b=",
        )
        return files

    def measure_pairs(self, files: Files) -> tuple[int | list[int], int]:
        """Finds the size of one side, and the channels that both have."""
        if files.two:
            return measure(replace(files, read=lambda i: second_of(files.read(i)), two=False))
        with quiet():
            try:
                width, height = header(files.read_one(0))
            except BadImage as error:
                raise UserError(
                    f"{files.names[0]}: {error}",
                    "dataset.resolution=N dataset.channels=3 need no look at it",
                ) from error
        require(
            width % 2 == 0,
            f"{files.names[0]} is {width} pixels wide, which is no pair side by side",
            f"a data set of pairs is {LAYOUTS}",
        )
        _, channels = measure(files)
        return (height if width == 2 * height else [height, width // 2]), channels


def second_of(file: File | tuple[File, File]) -> File:
    """Finds the second file of a pair of them."""
    assert isinstance(file, tuple), "one file holds both sides"
    return file[1]


def check_side_by_side(path: str, files: Files) -> None:
    """Are these files two pictures each?

    UserError where their shape and their content say no; a warning where only one does.
    """
    if files.two:  # nothing is cut
        return
    images = seams.sample(files)
    if not images or seams.look_like_pairs(images):
        return
    height, width = images[0].shape
    aspect = float(np.median([image.shape[1] / image.shape[0] for image in images]))
    require(
        abs(aspect - 2) <= NEARLY,
        f"dataset.path={path}: its images ({files.names[0]} is {width}x{height}) look like single "
        "pictures, and each would be cut in half to make a pair",
        f"a data set of pairs is {LAYOUTS} (those are taken as they are); "
        "single images train with dataset=folder model=dcgan, or with model=srgan, inpaint or "
        "enhance",
    )
    log.warning(
        "%s: the halves of its images do not look like two pictures of one thing; "
        "gan data dataset=paired dataset.path=%s draws some pairs",
        path,
        path,
    )


def match_files(a: Files, b: Files, roots: Sequence[Path]) -> Files:
    """Matches files of two folders by their name, whatever its ending.

    The others are refused.
    """
    stems = [
        {str(Path(name).with_suffix("")): k for k, name in enumerate(side.names)} for side in (a, b)
    ]
    both = [stem for stem in stems[0] if stem in stems[1]]
    lost = [
        (side.names[k], f"no partner in {roots[1 - i].name}")
        for i, side in enumerate((a, b))
        for stem, k in stems[i].items()
        if stem not in stems[1 - i]
    ]
    if len(lost) > 2 * len(both):
        raise UserError(
            f"most files of {roots[0]} and {roots[1]} have no partner: {list_skipped(lost)}",
            "the two images of a pair have the same name in both folders",
        )
    index = [(stems[0][stem], stems[1][stem]) for stem in both]
    return Files(
        names=[f"{roots[0].name}|{roots[1].name}/{stem}" for stem in both],
        read=lambda i: (a.read_one(index[i][0]), b.read_one(index[i][1])),
        sizes=[a.sizes[i] + b.sizes[j] for i, j in index],
        # Moved by one bit: two files that change alike would cancel each other.
        stamps=[a.stamps[i] ^ (b.stamps[j] << 1) for i, j in index],
        refused=(*a.refused, *b.refused, *lost),
        two=True,
        origin=os.path.commonpath([a.origin, b.origin]),
    )


def join_files(files: Files, own: Files, holdout: int) -> Files:
    """Joins both in one list, whose last `holdout` are the data set's own held-out ones."""
    n = len(files)
    return Files(
        names=files.names + [f"held/{name}" for name in own.names[:holdout]],
        read=lambda i: files.read(i) if i < n else own.read(i - n),
        sizes=files.sizes + own.sizes[:holdout],
        stamps=files.stamps + own.stamps[:holdout],
        refused=(*files.refused, *own.refused),
        unreadable=files.unreadable,
        passed_over=files.passed_over,
        two=files.two,
        tail=holdout,
        origin=os.path.commonpath([files.origin, own.origin]),
    )


@dataclass(kw_only=True)
class Unpaired(Source):
    """Two domains below `path`: the folders trainA and trainB, or those that a and b name.

    testA and testB are held out. limit counts in each.

    Attributes:
        holdout: auto takes what both test folders have, else a tenth of the smaller domain, at most
            100.
    """

    path: str
    a: str = "trainA"
    b: str = "trainB"
    holdout: int | str = "auto"  # type: ignore[assignment]  # wider than the base's until scan

    def scan(self) -> dict:
        """Returns the values of what is "auto", from headers alone."""
        found: dict = {}
        if "auto" in self.declared().values():
            facts = [measure(listing(str(folder))) for folder in self.folders()]
            sizes, channels = zip(*facts, strict=True)
            found = self.fill(
                resolution=min(sizes, key=find_shorter), channels=max(channels), classes=0
            )
        if self.holdout == "auto":
            own = self.own()
            counts = [len(listing(str(folder))) for folder in own or self.folders()]
            found["holdout"] = min(counts) if own else min(MOST_HELD, min(counts) // 10)
        return found

    def load(self) -> Decoded:
        """Decodes both domains. Raises UserError."""
        source = replace(self, **self.scan())
        holdout = source.holdout
        assert isinstance(holdout, int), "scan() fills in what is auto"
        own = source.own() if holdout else None
        domains = []
        for k, folder in enumerate(source.folders()):
            files = replace(listing(str(folder)), labels=None, classes=())
            if own:
                held = listing(str(own[k]))
                require(
                    holdout <= len(held),
                    f"dataset.holdout={holdout}: {own[k]} has {len(held)} images",
                    f"at most {len(held)}, or auto",
                )
                files = join_files(files, held, holdout)
            log.info("%s: %d images, %d of them held out", folder, len(files), holdout)
            say_passed_over(str(folder), files)
            domains.append(decode_files(files, replace(source, classes=0)))
        return replace(
            domains[0],
            other=domains[1],
            digest=digest_of([domain.digest for domain in domains]),
            skipped=(*domains[0].skipped, *domains[1].skipped),
        )

    def folders(self) -> list[Path]:
        """Returns the folders of the two domains. Raises UserError."""
        root = Path(self.path).expanduser()
        found = [root / self.a, root / self.b]
        for key, folder in zip("ab", found, strict=True):
            if not folder.is_dir():
                there = (
                    sorted(entry.name for entry in root.iterdir() if entry.is_dir())
                    if root.is_dir()
                    else []
                )
                raise UserError(
                    f"dataset.path={self.path}: there is no folder {folder.name} in it"
                    + (f" (folders: {', '.join(there[:6])})" if there else ""),
                    f"two domains are two folders; name them with dataset.{key}=FOLDER",
                )
        return found

    def count_own_held(self) -> int:
        """Counts the images that both held-out folders have; 0 without them."""
        own = self.own()
        return min(len(listing(str(folder))) for folder in own) if own else 0

    def own(self) -> list[Path] | None:
        """Finds the folders of the images that the data set itself holds out."""
        root = Path(self.path).expanduser()
        pairs = (
            [root / name.replace("train", part) for name in (self.a, self.b)]
            for part in ("test", "val")
        )
        return next(
            (
                pair
                for pair in pairs
                if all(folder.is_dir() and folder not in self.folders() for folder in pair)
            ),
            None,
        )


def find_shorter(size: int | list[int]) -> int:
    """Returns the shorter side."""
    return size if isinstance(size, int) else min(size)


def images(path: str | None, of: Source | None, kind: str) -> Source:
    """Opens the single images that sources are made of.

    UserError unless exactly one of the two is given.
    """
    if path is not None and of is None:
        return Folder(path=path, holdout=0)
    if path is None and of is not None:
        return of
    raise UserError(
        f"dataset={kind} needs images"
        if path is None
        else "dataset.path and dataset.of are both given",
        "dataset.path=FOLDER, or another data set: +dataset@dataset.of=digits",
    )
