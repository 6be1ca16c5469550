"""Sources that are made of their targets on the fly: smaller, with holes, or worse.

The same position always gives the same one.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gancli.data.base import Decoded, Pairing, Source, pair, require
from gancli.data.folder import listing
from gancli.data.pairs import MOST_HELD, images

# ImageNet's mean colour, which fills a hole (Pathak 2016's code)
HOLE = (
    117 / 127.5 - 1,
    104 / 127.5 - 1,
    123 / 127.5 - 1,
)
LUMA = (0.299, 0.587, 0.114)


@dataclass(kw_only=True)
class Derived(Source):
    """The base of data sets that are made of single images.

    Those are below `path`, or of another data set `of`. holdout: auto keeps a tenth, at most 100,
    out of a folder, and 64 out of another data set.
    """

    path: str | None = None
    of: Source | None = None
    holdout: int | str = "auto"  # type: ignore[assignment]  # wider than the base's until scan
    kind_of_pair = "derived"
    taken_by = "enhance"

    def choose_model(self) -> str:
        """Names the model that learns from such sources, for the command that comes next."""
        return self.taken_by

    def inner(self) -> Source:
        """Returns the data set of the single images. Raises UserError."""
        return images(self.path, self.of, self.kind_of_pair)

    def scan(self) -> dict:
        """Returns the values of what is "auto"."""
        inner = self.inner()
        found = {}
        if "auto" in self.declared().values():
            whole = inner.declared() | inner.scan()
            found = self.fill(resolution=whole["resolution"], channels=whole["channels"], classes=0)
        if self.holdout == "auto":
            found["holdout"] = (
                64 if self.path is None else min(MOST_HELD, len(listing(self.path)) // 10)
            )
        return found

    def load(self) -> Decoded:
        """Decodes the single images."""
        source = replace(self, **self.scan())
        inner = source.open_inner(classes=0)
        return replace(inner.load(), labels=None, classes=(), pairing=source.pairing())

    def open_inner(self, *, classes: int) -> Source:
        """Returns the data set of the single images, cut as this settled one says."""
        assert isinstance(self.holdout, int), "scan() fills in what is auto"
        return replace(
            self.inner(),
            resolution=self.resolution,
            channels=self.channels,
            classes=classes,
            limit=self.limit,
            holdout=self.holdout,
            load_size=self.load_size,
            on_error=self.on_error,
            workers=self.workers,
            cache=self.cache,
        )

    def pairing(self) -> Pairing:
        """Returns what makes the sources."""
        raise NotImplementedError


def generators(bits: np.ndarray) -> list[torch.Generator]:
    """Makes a generator for each draw (N,) uint64, on the CPU: every device draws the same."""
    # 63 bits: a seed is a signed number.
    return [torch.Generator().manual_seed(int(seed >> np.uint64(1))) for seed in bits]


def round_to_levels(x: Tensor) -> Tensor:
    """Rounds values in [-1,1] to the 256 levels that a file has."""
    return (x.clamp(-1, 1).mul(127.5).add(127.5).round()).sub(127.5).mul(1 / 127.5)


@dataclass(frozen=True)
class Downscaled:
    """Bicubic with antialiasing, as Pillow's and MATLAB's imresize, and rounded to 8 bits."""

    scale: int

    def __call__(self, x: Tensor, bits: np.ndarray) -> dict[str, Tensor]:
        """Returns the smaller images as sources."""
        size = [side // self.scale for side in x.shape[2:]]
        return {
            "a": round_to_levels(
                F.interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)
            ),
            "b": x,
        }


@dataclass(kw_only=True)
class SuperRes(Derived):
    """Images as targets, and the same `scale` times smaller as sources.

    resolution: of the targets, a multiple of scale.
    """

    scale: int = 4
    kind_of_pair = "superres"
    taken_by = "srgan"

    def __post_init__(self):
        super().__post_init__()
        require(self.scale >= 2, f"dataset.scale={self.scale} enlarges nothing", "2, 4 or 8")
        if self.resolution != "auto":
            sides = pair(self.resolution)
            require(
                all(side % self.scale == 0 for side in sides),
                f"dataset.resolution={self.resolution} is no multiple of {self.scale}",
                f"dataset.resolution={max(1, sides[0] // self.scale) * self.scale}",
            )

    def scan(self) -> dict:
        """Returns the values of what is "auto"; the size can be divided by `scale`."""
        found = super().scan()
        if "resolution" in found:  # the next smaller size that can be divided
            sides = [max(1, side // self.scale) * self.scale for side in pair(found["resolution"])]
            found["resolution"] = sides[0] if sides[0] == sides[1] else sides
        return found

    def pairing(self) -> Downscaled:
        """Returns what makes the sources."""
        return Downscaled(self.scale)


@dataclass(frozen=True)
class Holed:
    """Cuts holes into images.

    Attributes:
        holes: centre is the middle half of each side, less a share `overlap` of the side at each of
            its edges; boxes and strokes are drawn for each image.
        share: Of the image that boxes or strokes hide, at least.
        overlap: Of each side, 0 to 0.25.
    """

    holes: str
    share: float
    overlap: float = 0.0

    def __call__(self, x: Tensor, bits: np.ndarray) -> dict[str, Tensor]:
        """Returns the images with holes as sources, and the mask of the holes."""
        n, _, height, width = x.shape
        if self.holes == "centre":
            mask = torch.zeros(n, 1, height, width)
            top = height // 4 + int(self.overlap * height)
            left = width // 4 + int(self.overlap * width)
            mask[:, :, top : height - top, left : width - left] = 1
        else:
            draw = boxes if self.holes == "boxes" else strokes
            mask = torch.stack([draw(height, width, self.share, rng) for rng in generators(bits)])[
                :, None
            ]
        mask = mask.to(x.device)
        return {"a": fill_holes(x, mask), "b": x, "mask": mask}


def fill_holes(x: Tensor, mask: Tensor) -> Tensor:
    """Paints images (N,C,H,W) in the colour of holes where mask (N,1,H,W) is 1."""
    colour = torch.tensor(HOLE if x.shape[1] > 2 else [sum(HOLE) / 3], device=x.device)
    fill = torch.ones(x.shape[1], device=x.device)  # opaque where there is alpha
    fill[: len(colour)] = colour
    return x * (1 - mask) + fill[:, None, None] * mask


def boxes(height: int, width: int, share: float, rng: torch.Generator) -> Tensor:
    """Draws (H,W): rectangles of about a quarter of each side.

    They grow in number until `share` of the image is hidden.
    """
    mask = torch.zeros(height, width)
    while mask.mean() < share:
        h, w = (
            max(1, int(side * (0.1 + 0.25 * torch.rand((), generator=rng).item())))
            for side in (height, width)
        )
        top, left = (
            int(torch.randint(side - part + 1, (), generator=rng))
            for side, part in ((height, h), (width, w))
        )
        mask[top : top + h, left : left + w] = 1
    return mask


def strokes(height: int, width: int, share: float, rng: torch.Generator) -> Tensor:
    """Draws (H,W): a brush that wanders, until `share` of the image is hidden."""
    mask = torch.zeros(height, width)
    y = torch.arange(height)[:, None]
    x = torch.arange(width)
    side = min(height, width)
    at = torch.rand(2, generator=rng) * torch.tensor([height, width])
    angle = torch.rand((), generator=rng) * 6.283
    while mask.mean() < share:
        radius = side * (0.02 + 0.05 * torch.rand((), generator=rng))
        mask[(y - at[0]) ** 2 + (x - at[1]) ** 2 <= radius.square() + 0.5] = 1
        # Small turns: a line that wanders, not one that jumps.
        angle = angle + torch.randn((), generator=rng) * 0.5
        at = (at + radius * torch.stack([angle.sin(), angle.cos()])) % torch.tensor([height, width])
    return mask


@dataclass(kw_only=True)
class Masked(Derived):
    """Images as targets, and the same with holes as sources; the key mask tells where they are.

    Attributes:
        holes: centre, boxes or strokes.
        share: Of the image that boxes or strokes hide, at least.
        overlap: Of each side, what stays visible at the edges of the middle half; centre alone.
    """

    holes: Literal["centre", "boxes", "strokes"] = "centre"
    share: float = 0.25
    overlap: float = 0.0
    kind_of_pair = "masked"
    taken_by = "inpaint"

    def __post_init__(self):
        super().__post_init__()
        require(
            0 < self.share < 0.9,
            f"dataset.share={self.share} of an image cannot be hidden",
            "above 0 and below 0.9, as 0.25",
        )
        require(
            0 <= self.overlap < 0.25,
            f"dataset.overlap={self.overlap} leaves nothing of the middle half to hide",
            "from 0 to less than 0.25, as 0.03125",
        )

    def pairing(self) -> Holed:
        """Returns what makes the sources."""
        return Holed(self.holes, self.share, self.overlap)


@dataclass(frozen=True)
class Worsened:
    """Worsens images in the order in which a camera does so: blur, then grey, noise and jpeg.

    A strength is drawn for each image from its range.
    """

    noise: tuple[float, float]
    blur: tuple[float, float]
    jpeg: tuple[float, float] | None
    grey: bool

    def __call__(self, x: Tensor, bits: np.ndarray) -> dict[str, Tensor]:
        """Returns the worse images as sources."""
        worse = x
        rngs = generators(bits)
        if self.blur[1] > 0:
            worse = torch.stack(
                [
                    blur(image, draw_between(self.blur, rng))
                    for image, rng in zip(worse, rngs, strict=True)
                ]
            )
        if self.grey:
            worse = take_colour(worse)
        if self.noise[1] > 0:
            noise = [
                draw_between(self.noise, rng) / 127.5 * torch.randn(x.shape[1:], generator=rng)
                for rng in rngs
            ]
            worse = worse + torch.stack(noise).to(x.device)
        # Before the compression, as a camera's sensor rounds before its encoder.
        worse = round_to_levels(worse)
        if self.jpeg is not None:
            worse = torch.stack(
                [
                    compress(image, round(draw_between(self.jpeg, rng)))
                    for image, rng in zip(worse, rngs, strict=True)
                ]
            )
        return {"a": worse, "b": x}


def draw_between(limits: tuple[float, float], rng: torch.Generator) -> float:
    """Draws a number from a range."""
    return limits[0] + (limits[1] - limits[0]) * torch.rand((), generator=rng).item()


def blur(image: Tensor, deviation: float) -> Tensor:
    """Filters an image (C,H,W) by a Gaussian of so many pixels."""
    if deviation < 0.05:
        return image
    reach = max(1, int(3 * deviation + 0.5))
    taps = torch.exp(
        -torch.arange(-reach, reach + 1, device=image.device).float().square() / (2 * deviation**2)
    )
    taps = (taps / taps.sum()).expand(len(image), 1, 1, -1)
    x = F.pad(image[None], (reach, reach, reach, reach), mode="replicate")
    x = F.conv2d(F.conv2d(x, taps, groups=len(image)), taps.transpose(2, 3), groups=len(image))
    return x[0]


def take_colour(x: Tensor) -> Tensor:
    """Replaces the colours of images (N,C,H,W) by their brightness; alpha stays."""
    if x.shape[1] < 3:
        return x
    # Of [-1,1]: the weights sum to 1, so black and white stay.
    luma = (x[:, :3] * torch.tensor(LUMA, device=x.device)[:, None, None]).sum(1, keepdim=True)
    return torch.cat([luma.expand(-1, 3, -1, -1), x[:, 3:]], 1)


def compress(image: Tensor, quality: int) -> Tensor:
    """Returns an image (C,H,W) after JPEG; alpha, which JPEG does not have, stays."""
    colours = 1 if len(image) < 3 else 3
    pixels = (
        image[:colours].mul(127.5).add(127.5).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    )
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if colours == 1 else pixels).save(
        file, format="JPEG", quality=quality
    )
    back = torch.from_numpy(np.array(Image.open(file))).float().sub(127.5).mul(1 / 127.5)
    back = back[None] if colours == 1 else back.permute(2, 0, 1)
    return torch.cat([back.to(image.device), image[colours:]])


@dataclass(kw_only=True)
class Degraded(Derived):
    """Images as targets, and worse ones as sources: noise, blur, loss of colour, compression.

    Each strength is a number or a range [low, high], from which every image draws its own.

    Attributes:
        noise: Standard deviation in levels of 255; None: 25 where nothing else is chosen.
        blur: Standard deviation of a Gaussian, in pixels.
        jpeg: Quality from 1 to 95; None leaves it out.
        grey: Whether colour is taken away.
    """

    noise: float | list[float] | None = None
    blur: float | list[float] = 0.0
    jpeg: int | list[int] | None = None
    grey: bool = False
    kind_of_pair = "degraded"

    def __post_init__(self):
        super().__post_init__()
        for key, value in (("noise", self.levels()), ("blur", self.blur)):
            low, high = limits(value, key)
            require(
                0 <= low <= high,
                f"dataset.{key}={value} is no range",
                f"dataset.{key}=25, or [0,50]",
            )
        if self.jpeg is not None:
            low, high = limits(self.jpeg, "jpeg")
            require(
                1 <= low <= high <= 95,
                f"dataset.jpeg={self.jpeg} is no quality",
                "dataset.jpeg=30, or [10,50]; from 1 to 95",
            )
        require(
            self.others() or limits(self.levels(), "noise")[1] > 0,
            "dataset=degraded changes nothing",
            "choose what is to be repaired: dataset.noise=25, dataset.blur=[1,3], "
            "dataset.jpeg=[10,50] or dataset.grey=true",
        )
        require(
            not self.grey or self.channels not in (1, 2),
            f"dataset.grey=true: {self.channels} channels hold no colour",
            "dataset.channels=3",
        )

    def others(self) -> bool:
        """Says whether anything but noise is chosen."""
        return limits(self.blur, "blur")[1] > 0 or self.jpeg is not None or self.grey

    def levels(self) -> float | list[float]:
        """Returns the strength of the noise."""
        if self.noise is not None:
            return self.noise
        return 0.0 if self.others() else 25.0

    def pairing(self) -> Worsened:
        """Returns what makes the sources."""
        return Worsened(
            noise=limits(self.levels(), "noise"),
            blur=limits(self.blur, "blur"),
            grey=self.grey,
            jpeg=None if self.jpeg is None else limits(self.jpeg, "jpeg"),
        )


def limits(value: float | list[int] | list[float], key: str) -> tuple[float, float]:
    """Returns the ends of a range, or a number twice. Raises UserError."""
    values = value if isinstance(value, list) else [value, value]
    require(
        len(values) == 2,
        f"dataset.{key}={value} is no range",
        f"a number, or [low,high]: dataset.{key}=[0,30]",
    )
    return values[0], values[1]
