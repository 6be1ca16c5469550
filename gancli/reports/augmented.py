"""What an augmentation makes of a data set's images, to look at before a run is spent on it."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from gancli.augment.ada import ADA
from gancli.augment.base import Augment
from gancli.data.base import crop_middle, pair
from gancli.errors import UserError
from gancli.render.grids import grid
from gancli.reports.survey import Survey
from gancli.reports.surveyed import TILE
from gancli.seeding import fork_random, seed_of

SHOWN = 8  # images
DRAWS = 7  # rows, each of new draws
ADAPTED = 0.5  # the probability that is shown where training starts at 0


def draw_preview(found: Survey, augment: Augment, *, seed: int) -> Image.Image:
    """Draws a row of images as they are, and rows of what the discriminator may see.

    Raises:
        UserError: The data set holds points or pairs.
    """
    images = pick_originals(found)
    cpu = torch.device("cpu")
    with torch.no_grad(), fork_random(seed_of(seed, "augmentation"), cpu):
        rows = [images, *(augment(images).clamp(-1, 1) for _ in range(DRAWS))]
    shown = torch.cat(rows)
    largest = max(shown.shape[2:])
    if largest > TILE:
        size = [max(1, side * TILE // largest) for side in shown.shape[2:]]
        shown = torch.nn.functional.interpolate(shown, size, mode="area")
    return grid(shown, columns=len(images))


def pick_originals(found: Survey) -> Tensor:
    """Picks (SHOWN,C,h,w) in [-1,1], the middle of what is loaded larger."""
    source = found.source
    modality = source.modality()
    if not modality.pixels or found.kept is None:
        raise UserError(
            f"augment= changes images, and this data set has {modality.noun}", "leave it out"
        )
    if tuple(found.kept.shape[2:]) != source.size():
        raise UserError(
            "augment= has no preview for pairs", "leave augment= out, or give dataset=folder"
        )
    n = min(SHOWN, len(found.kept))
    images = found.kept[[k * len(found.kept) // n for k in range(n)]]
    images = crop_middle(images, pair(source.resolution))
    return (images.float() - 127.5) / 127.5


def set_to_work(augment: Augment) -> str:
    """Raises an adaptive probability that starts at 0, or nothing would be seen.

    Returns:
        What was done, in words; "" where nothing was.
    """
    if not isinstance(augment, ADA) or augment.p.item() > 0:
        return ""
    augment.p.fill_(ADAPTED)
    return f", at p={ADAPTED} (in training p starts at 0 and changes)"
