"""Images that are incomplete, blurred or noisy, and complete ones that only evaluations see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gancli.data.base import Decoded, Source, digest_of, ordered, require
from gancli.data.decode import (
    TURNS,
    Decoder,
    File,
    fit,
    open_image,
    orientation,
    plain,
    to_channels,
)
from gancli.data.derived import Derived, blur, generators
from gancli.data.draws import draws
from gancli.data.files import decode_files
from gancli.data.folder import Folder, listing
from gancli.seeding import seed_of

MASKS = ("mask", "patch")
MOST_COMPLETE = 1000  # held out of a folder
OF_ANOTHER = 256  # held out of another data set, whose size is not known before it is loaded
CHUNK = 1024  # images that are measured at once
GREY = 128  # the level of what is missing
REACH = 0.75  # pixels; deviation of the Gaussian that carries what is seen into the holes


@dataclass(kw_only=True)
class Incomplete(Derived):
    """Images of which training sees a measurement each, always the same one (Bora 2018).

    What is held out stays complete: samples are compared with it, and training never sees it. Files
    that are incomplete by themselves (`measured`) have no complete ones beside them.

    Attributes:
        measure: mask hides pixels one by one, patch a square; blur filters and adds noise; noise
            adds noise alone.
        share: Of the image that mask or patch hide, 0 to 0.95.
        deviation: Of the Gaussian that blurs, in pixels.
        noise: Standard deviation in levels of 255, of blur and noise.
        filled: What stands where nothing is seen: grey, or around, which is blurred from what is
            seen. A model that reads the key "seen" looks at neither.
        measured: The files are measurements already, so nothing is done to them.
        missing: What such files show where nothing is seen: alpha below opaque, or a level of all
            channels.
    """

    measure: Literal["mask", "patch", "blur", "noise"] = "mask"
    share: float = 0.5
    deviation: float = 1.0
    noise: float = 25.0
    filled: Literal["grey", "around"] = "grey"
    measured: bool = False
    missing: str | int = "alpha"
    kind_of_pair = "incomplete"
    taken_by = "ambient"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 <= self.share <= 0.95,
            f"dataset.share={self.share} of an image cannot be hidden",
            "from 0 to 0.95, as 0.5",
        )
        for key, value in (("deviation", self.deviation), ("noise", self.noise)):
            require(value >= 0, f"dataset.{key}={value} is below 0", "0 or more")
        level = isinstance(self.missing, int) and not isinstance(self.missing, bool)
        require(
            self.missing == "alpha" or (level and 0 <= int(self.missing) <= 255),
            f"dataset.missing={self.missing} marks nothing",
            "alpha, or the level of missing pixels from 0 to 255",
        )
        if self.measured:
            require(
                self.of is None,
                "dataset.measured=true is about files, and dataset.of is another data set",
                "dataset.path=FOLDER, or dataset.measured=false",
            )
            require(
                self.holdout in ("auto", 0),
                f"dataset.holdout={self.holdout}: with dataset.measured=true no image is complete, "
                "so none is worth holding out",
                "dataset.holdout=0",
            )

    def hides(self) -> bool:
        """Says whether pixels are missing, so that the batch has the key "seen"."""
        return self.measure in MASKS

    def inner(self) -> Source:
        """Returns the data set of the single images. Raises UserError."""
        if self.measured and self.hides() and self.path is not None:
            return Marked(path=self.path, holdout=0, missing=self.missing)
        return super().inner()

    def scan(self) -> dict:
        """Returns the values of what is "auto"."""
        inner = self.inner()
        found = {}
        if "auto" in self.declared().values():
            whole = inner.declared() | inner.scan()
            found = self.fill_open(whole)
        if self.holdout == "auto":
            found["holdout"] = self.choose_holdout()
        return found

    def fill_open(self, whole: dict) -> dict:
        """Returns what the user left open, as the single images have it."""
        return {key: whole[key] for key, value in self.declared().items() if value == "auto"}

    def choose_holdout(self) -> int:
        """Says how many complete images evaluations get: a fifth of a folder, at most 1,000."""
        if self.measured:
            return 0
        if self.path is None:
            return OF_ANOTHER
        return min(MOST_COMPLETE, len(listing(self.path)) // 5)

    def load(self) -> Decoded:
        """Decodes the images and measures those that are trained on. Raises UserError."""
        source = replace(self, **self.scan())
        assert isinstance(source.holdout, int) and isinstance(source.classes, int), "scan() fills"
        whole = source.open_inner(classes=source.classes).load()
        if not source.measured:
            return source.measure_some(whole, source.holdout)
        if not source.hides():
            return replace(whole, measured=True)
        images = whole.images[:, :-1]
        seen = whole.images[:, -1:]
        require(
            bool((seen < 255).any()),
            f"dataset.measured=true: nothing is missing in any image of {source.path}",
            f"dataset.missing={source.missing} says what marks it: alpha, or a level such as 0",
        )
        images = source.fill_holes(images, seen)
        digest = digest_of([whole.digest, "measured", str(source.missing), source.filled])
        further = whole.further | {"seen": seen.contiguous()}
        return replace(whole, images=images, digest=digest, further=further, measured=True)

    def measure_some(self, whole: Decoded, holdout: int) -> Decoded:
        """Measures all images but those that `split` will hold out."""
        n = len(whole)
        place = torch.from_numpy(ordered(n).argsort()) if whole.place is None else whole.place
        # By the fixed order that `split` cuts: these are exactly the images that it leaves to
        # training.
        trained = place.argsort(stable=True)[: n - holdout].sort().values
        bits = draws(seed_of("incomplete", self.measure), place[trained].numpy())
        images = whole.images.clone()
        seen = torch.full((n, 1, *images.shape[2:]), 255, dtype=torch.uint8)
        for rows, some in zip(
            trained.split(1024), np.split(bits, range(1024, len(bits), 1024)), strict=True
        ):
            if self.hides():
                seen[rows] = self.draw_seen(some, *images.shape[2:])
                images[rows] = self.fill_holes(images[rows], seen[rows])
            else:
                images[rows] = self.degrade(images[rows], some)
        settings = (self.measure, self.share, self.deviation, self.noise, self.filled, holdout)
        return replace(
            whole,
            images=images,
            digest=digest_of([whole.digest, "incomplete", repr(settings)]),
            place=place,
            further=whole.further | ({"seen": seen} if self.hides() else {}),
            measured=True,
        )

    def draw_seen(self, bits: np.ndarray, height: int, width: int) -> Tensor:
        """Draws (N,1,H,W) uint8, 0 where an image is hidden and 255 elsewhere."""
        seen = torch.full((len(bits), 1, height, width), 255, dtype=torch.uint8)
        # Roots: the square's area, not its side, is the share.
        rows = max(1, round(height * self.share**0.5)) if self.share else 0
        columns = max(1, round(width * self.share**0.5)) if self.share else 0
        for one, rng in zip(seen, generators(bits), strict=True):
            if self.measure == "mask":
                one[0, torch.rand(height, width, generator=rng) < self.share] = 0
                continue
            top = int(torch.randint(height - rows + 1, (), generator=rng))
            left = int(torch.randint(width - columns + 1, (), generator=rng))
            one[0, top : top + rows, left : left + columns] = 0
        return seen

    def fill_holes(self, images: Tensor, seen: Tensor) -> Tensor:
        """Writes what stands in the holes of uint8 images (N,C,H,W) where seen (N,1,H,W) is 0."""
        known = seen == 255
        if self.filled == "grey":
            return torch.where(known, images, torch.full_like(images, GREY))
        return torch.where(known, images, spread(images.float(), known.float()))

    def degrade(self, images: Tensor, bits: np.ndarray) -> Tensor:
        """Blurs, if that is asked, and adds noise; uint8 (N,C,H,W), clipped as files are."""
        x = images.float().sub(127.5).mul(1 / 127.5)
        if self.measure == "blur":
            x = torch.stack([blur(image, self.deviation) for image in x])
        noise = [torch.randn(x.shape[1:], generator=rng) for rng in generators(bits)]
        x = x + self.noise / 127.5 * torch.stack(noise)
        return x.mul(127.5).add(127.5).round().clamp(0, 255).to(torch.uint8)


def spread(images: Tensor, known: Tensor) -> Tensor:
    """Carries what is known into holes: weighted means of the neighbours, ever wider.

    Args:
        images: (N,C,H,W) in 0 ... 255.
        known: (N,1,H,W), 1 where the image is known.

    Returns:
        (N,C,H,W) uint8
    """
    value = images * known
    weight = known
    made = torch.full_like(images, float(GREY))
    open_ = 1 - known
    deviation = REACH
    while bool(open_.any()) and deviation < 2 * max(images.shape[2:]):
        around = torch.stack([blur(x, deviation) for x in torch.cat([value, weight], 1)])
        total = around[:, -1:]
        # Less weight than that is the Gaussian's far tail, and nothing that was seen.
        found = open_ * (total > 1e-3)
        made = torch.where(found > 0, around[:, :-1] / total.clamp(min=1e-6), made)
        open_ = open_ - found
        deviation *= 2
    return made.round().clamp(0, 255).to(torch.uint8)


@dataclass(kw_only=True)
class Marked(Folder):
    """A folder of incomplete images, with one more channel stored: 255 where a pixel is seen."""

    missing: str | int = "alpha"

    def scan(self) -> dict:
        """Returns the values of what is "auto"; alpha that marks holes is no channel."""
        found = super().scan()
        require(
            self.bits is None and "bits" not in found,
            "incomplete images are pictures of 8 bits",
            "dataset=folder reads arrays, TIFF files of many pages and 16 bits",
        )
        if self.missing == "alpha" and found.get("channels") in (2, 4):
            found["channels"] -= 1
        return found

    def depth(self) -> int:
        """Counts the channels of an image, and one for what is seen of it."""
        return self.known_channels() + 1

    def decoder(self) -> Decoder:
        """Makes what turns one file into the stored pixels."""
        return MarkedDecoder(self.size(), self.known_channels(), missing=self.missing)

    def load(self) -> Decoded:
        """Decodes the images. Raises UserError."""
        source = self.settled()
        files = self.list_files()
        # Of the cache's key: another mark makes other pixels.
        stamps = [*files.stamps, seed_of("missing", str(self.missing))]
        return decode_files(replace(files, stamps=stamps), source)


@dataclass
class MarkedDecoder(Decoder):
    """Decodes a file and which of its pixels are seen."""

    missing: str | int = "alpha"

    def __call__(self, file: File | tuple[File, File]) -> np.ndarray:
        """-> (C+1,h,w) uint8; a pixel is seen if nothing that went into it was missing."""
        assert not isinstance(file, tuple), "two files are a pair, which another decoder reads"
        with open_image(file) as image:
            turn = orientation(image)
            image = plain(image, self.notes)
            if turn in TURNS:
                image = image.transpose(TURNS[turn])
            # Before the resize, which mixes holes into their neighbours.
            pixels = np.asarray(image.convert("RGBA"))
            if self.missing == "alpha":
                seen = pixels[..., 3] == 255
            else:
                seen = (pixels[..., :3] != self.missing).any(-1)
            marked = np.dstack([pixels[..., :3], np.where(seen, 255, 0).astype(np.uint8)])
            fitted = np.asarray(fit(Image.fromarray(marked), self.size)).transpose(2, 0, 1)
        seen = fitted[3:] >= 254  # Pillow's filters round
        colour = to_channels(fitted[:3], self.channels)
        return np.concatenate([colour, np.where(seen, 255, 0).astype(np.uint8)])
