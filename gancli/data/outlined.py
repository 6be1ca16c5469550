"""Images and their outlines: pairs, or two domains apart whose held-out images are pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gancli.data.base import Decoded, digest_of, ordered, require
from gancli.data.derived import Derived

CHUNK = 1024  # images whose outlines are drawn at once


@dataclass(frozen=True)
class Outlines:
    """Draws what is left of images (N,C,H,W) in [-1,1]: their outlines, light on black."""

    def __call__(self, x: Tensor, bits: np.ndarray) -> dict[str, Tensor]:
        """Returns the outlines as sources, the images as targets."""
        return {"a": draw_outlines(x), "b": x}


def draw_outlines(x: Tensor) -> Tensor:
    """Draws how much brighter than a pixel the brightest of its 3x3 neighbours is.

    Dilation minus image, as CoGAN's authors find edges (Liu and Tuzel 2016).

    Args:
        x: (N,C,H,W) in [-1,1]; of 2 or 4 channels the last is alpha, and stays.
    """
    colours = x.shape[1] - 1 if x.shape[1] in (2, 4) else x.shape[1]
    image = x[:, :colours]
    # A difference lies in [0,2]; less 1 it is an image again.
    return torch.cat([F.max_pool2d(image, 3, 1, 1) - image - 1, x[:, colours:]], 1)


@dataclass(kw_only=True)
class Outlined(Derived):
    """Images as targets, and their outlines as sources.

    Attributes:
        apart: Two domains without pairs, for models such as CycleGAN: of one half of the images
            training sees outlines alone, of the other half images alone. The held-out images are
            pairs even so, and tell how right a translation is. limit counts both halves.
    """

    apart: bool = False
    kind_of_pair = "outlined"

    def choose_model(self) -> str:
        """Names the model that learns from such sources: apart, there are no pairs."""
        return "cyclegan" if self.apart else "pix2pix"

    def pairing(self) -> Outlines:
        """Returns what makes the sources."""
        return Outlines()

    def load(self) -> Decoded:
        """Decodes the images; apart, it draws the outlines of one half. Raises UserError."""
        source = replace(self, **self.scan())
        whole = super(Outlined, source).load()
        if not source.apart:
            return whole
        assert isinstance(source.holdout, int), "scan() fills in what is auto"
        n = len(whole)
        require(
            n >= source.holdout + 2,
            f"dataset.apart=true: {n} images, of which {source.holdout} are held out, are no two "
            "domains",
            "dataset.holdout=0, or more images",
        )
        # By the order that `split` cuts: what it holds out of both domains is the same images.
        order = ordered(n) if whole.place is None else whole.place.numpy().argsort(kind="stable")
        trained = order[: n - source.holdout][: source.limit]
        held = order[n - source.holdout :]
        whole = replace(whole, pairing=None)
        sides = []
        for first in (0, 1):
            rows = np.concatenate([trained[first::2], held])
            sides.append(replace(whole.subset(rows), place=torch.arange(len(rows))))
        a, b = sides
        outlines = [draw_levels(part) for part in a.images.split(CHUNK)]
        return replace(
            a,
            images=torch.cat(outlines),
            digest=digest_of([whole.digest, "outlined apart", str(len(trained))]),
            other=b,
            matched=True,
        )


def draw_levels(images: Tensor) -> Tensor:
    """Draws the outlines of stored images (N,C,H,W), uint8 or floats in [-1,1]."""
    if images.dtype != torch.uint8:
        return draw_outlines(images)
    x = images.float().sub(127.5).mul(1 / 127.5)
    return draw_outlines(x).mul(127.5).add(127.5).round().clamp(0, 255).to(torch.uint8)
