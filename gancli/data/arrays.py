"""Data sets that come as one array of pixels: chosen, resized and labelled like any other."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from gancli.data import cache
from gancli.data.base import Decoded, Source, choose, digest_of, image_words, places
from gancli.data.decode import colour_lost, loses_colour, resize_all, to_channels
from gancli.errors import UserError
from gancli.render.notes import note

log = logging.getLogger("gancli.data")


def decode_array(
    pixels: np.ndarray,
    labels: np.ndarray | None,
    classes: Sequence[str],
    source: Source,
    *,
    name: str,
    contain: bool = False,
    crisp: bool = False,
) -> Decoded:
    """Brings an array of pixels to the size and channels of the settled source.

    Args:
        pixels: (N,C,H,W) in 0 ... 255, any dtype.
        labels: (N,), None without.
        classes: Their names.
        source: Says what is wanted.
        name: A part of the data's identity.
        contain: Small drawings on black keep their whole shape when the format changes; photographs
            are cut.
        crisp: Strokes of small drawings get edges.

    Raises:
        UserError: Memory has no room for them, or there are other classes than declared.
    """
    n = len(pixels)
    kept_labels, class_names = source.labelled(labels, classes)
    digest = fingerprint(name, pixels, kept_labels)
    held, train, spare = choose(n, limit=source.limit, holdout=source.holdout)
    chosen = np.concatenate([np.sort(held), np.sort(train)]) if len(spare) else np.arange(n)
    pixels = pixels[chosen] if len(spare) else pixels
    channels = source.known_channels()
    need = len(pixels) * channels * source.size()[0] * source.size()[1]
    if not cache.fits(need):
        raise UserError(
            f"{len(pixels)} images of {image_words(source.size(), channels)} take "
            f"{cache.gigabytes(need)}, "
            f"{cache.gigabytes(cache.available_memory() or 0)} of memory are free",
            "dataset.limit=N or a smaller dataset.resolution",
        )
    if loses_colour(pixels[:64].astype(np.uint8), channels):
        note(log, colour_lost(channels))
    images = torch.from_numpy(
        to_channels(resize_all(pixels, source.size(), contain=contain, crisp=crisp), channels)
    )
    index = torch.from_numpy(chosen)
    return Decoded(
        images=images,
        labels=None if kept_labels is None else kept_labels[index],
        classes=class_names,
        digest=digest,
        place=torch.from_numpy(places(n))[index],
    )


def fingerprint(name: str, pixels: np.ndarray, labels: torch.Tensor | None) -> str:
    """Returns a digest of names, sizes, all labels, and 256 images.

    To hash every pixel would take seconds at each start.
    """
    sample = np.ascontiguousarray(pixels[:: max(1, len(pixels) // 256)])
    return digest_of(
        [
            name,
            repr(pixels.shape),
            b"" if labels is None else labels.numpy().tobytes(),
            sample.tobytes(),
        ]
    )
