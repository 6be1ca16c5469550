"""Are these wide images two pictures side by side, or one each?

What their middle and their halves say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from gancli.data.decode import BadImage, open_image, plain, quiet
from gancli.data.files import Files

SAMPLE = 16  # images that are looked at
SIDE = 64  # pixels of a half's height, at which the halves are compared
SEAM = 2.0  # times as large a step in the middle as beside it
# How much better the edges of two halves agree than those of halves of different images
ALIKE = 0.15


def sample(files: Files) -> list[np.ndarray]:
    """Reads up to SAMPLE files, evenly spaced, as grey (h,w) floats; skips bad ones."""
    n = min(SAMPLE, len(files))
    found = []
    with quiet():
        for index in (k * len(files) // n for k in range(n)):
            try:
                with open_image(files.read_one(index)) as image:
                    found.append(np.asarray(plain(image, set()).convert("L"), np.float64))
            except BadImage:
                continue
    return found


def seam(image: np.ndarray) -> float:
    """Measures the step in the middle of (h,w), relative to the steps around it."""
    steps = np.abs(np.diff(image, axis=1)).mean(0)
    middle = image.shape[1] // 2 - 1
    reach = max(2, image.shape[1] // 8)
    around = np.delete(steps[max(0, middle - reach) : middle + reach + 1], min(middle, reach))
    # + 1 level: in a smooth image tiny steps would make any ratio.
    return float((steps[middle] + 1) / (np.median(around) + 1))


def edges(half: np.ndarray) -> np.ndarray:
    """Finds where the edges of (h,w) are: (SIDE * SIDE,), with mean 0 and norm 1."""
    small = np.asarray(
        Image.fromarray(half.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BOX)
    )
    down, across = np.gradient(small.astype(np.float64))
    strength = np.hypot(down, across)[:, 2:-2].ravel()
    strength -= strength.mean()
    return strength / max(float(np.linalg.norm(strength)), 1e-9)


def likeness(images: Sequence[np.ndarray]) -> float:
    """Measures how much better the edges of an image's two halves agree than those of others.

    The others are halves of two different images.
    """
    if len(images) < 2:
        return 0.0
    left = np.stack([edges(image[:, : image.shape[1] // 2]) for image in images])
    right = np.stack([edges(image[:, -(image.shape[1] // 2) :]) for image in images])
    agree = left @ right.T
    own = np.trace(agree) / len(images)
    others = (agree.sum() - np.trace(agree)) / (len(images) * (len(images) - 1))
    return float(own - others)


def look_like_pairs(images: Sequence[np.ndarray]) -> bool:
    """Tells whether wide images (h,w), floats, show two pictures side by side.

    True where most have a seam in the middle, or halves that belong together.
    """
    wide = [image for image in images if image.shape[1] >= 8 and image.shape[0] >= 4]
    if not wide:
        return True  # nothing speaks against it
    return float(np.median([seam(image) for image in wide])) >= SEAM or likeness(wide) >= ALIKE
