"""Principal directions of a generator's space, found without labels (Härkönen 2020, GANSpace)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gancli.errors import UserError
from gancli.inference import sampling
from gancli.inference.explore import Directions, Draw, Model, make_label
from gancli.inference.projection import draw_styles
from gancli.render import status
from gancli.seeding import fork_random, seed_of

SHOWN = 8  # directions
DRAWS = 2048  # of latents whose pictures are compared
SEEN = 16  # side in pixels at which pictures are compared: directions move what is large in them


def has_directions(model: Model) -> bool:
    """Does the generator start from styles, or from a latent (N,D) that can be moved?"""
    if model.styled:
        return True
    inputs = sampling.draw_inputs(model.game, 1, seed=0)
    z = inputs.get("z")
    return z is not None and z.ndim == 2 and z.is_floating_point()


@torch.no_grad()
def find_directions(
    model: Model, draw: Draw, *, count: int = SHOWN, draws: int = DRAWS
) -> Directions:
    """Finds the directions of the class of a draw.

    Of styles they are the principal components of w (Härkönen 2020, section 2.1). Latents have
    none, for their distribution is the same in all directions. There GANSpace takes the components
    of an early layer and the latents that correlate with them (section 2.2); here the layer is the
    picture itself, made small, so that any network will do: the singular vectors of the covariance
    of latents and pictures, which are orthogonal.

    Args:
        model: What makes the pictures.
        draw: Whose class counts.
        count: How many directions at most.
        draws: How many latents; of styles it is 10,000.

    Raises:
        UserError: The model has no latent that could be moved.
    """
    if not has_directions(model):
        raise UserError("this checkpoint's model has no latent with directions", "draw other seeds")
    label = make_label(model.game, draw.label)
    if model.styled:
        only = None if label is None else label[0]
        styles = draw_styles(model.game, model.generator, label=only, seed=0).cpu().double()
        return find_components(styles, count=count)
    z, seen = draw_pictures(model, label, draws)
    return find_moving_latents(z.double(), seen.double(), count=count)


def find_components(points: Tensor, *, count: int) -> Directions:
    """Finds the principal components of points (N,D)."""
    centred = points - points.mean(0)
    # Of the covariance, D by D: there are many more points than dimensions.
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(points))
    order = variances.argsort(descending=True)[:count]
    found = fix_signs(vectors.T[order])
    variance = variances[order].clamp(min=0)
    total = variances.sum().clamp(min=1e-12)
    return Directions("styles", found.float(), variance.sqrt().float(), (variance / total).float())


def find_moving_latents(z: Tensor, seen: Tensor, *, count: int) -> Directions:
    """Finds the directions of latents that move pictures the most.

    Args:
        z: (N,D), the latents.
        seen: (N,P), what their pictures look like.
        count: How many directions at most.
    """
    z = z - z.mean(0)
    seen = seen - seen.mean(0)
    _, _, vectors = torch.linalg.svd(seen.T @ z / len(z), full_matrices=False)
    found = fix_signs(vectors[:count])
    along = z @ found.T
    scales = along.square().mean(0).sqrt()
    # What a straight line along a direction explains of all that differs in the pictures.
    lines = (along / scales.clamp(min=1e-12)).T @ seen / len(z)
    shares = lines.square().sum(1) / seen.square().mean(0).sum().clamp(min=1e-12)
    return Directions("z", found.float(), scales.float(), shares.float())


def fix_signs(vectors: Tensor) -> Tensor:
    """Turns vectors (K,D) so that the largest number of each is positive: a sign means nothing."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0)


def draw_pictures(model: Model, label: Tensor | None, draws: int) -> tuple[Tensor, Tensor]:
    """Draws latents (N,D) of one class, and what their pictures look like when small (N,P)."""
    game = model.game
    rng = torch.Generator().manual_seed(seed_of(0, "directions"))
    labels = None if label is None else label.expand(draws, *label.shape[1:]).clone()
    inputs = game.inputs(draws, rng, **sampling.name_labels(labels))
    given = sampling.hold_still(game)
    seen = []
    for first in range(0, draws, sampling.CHUNK):
        status.say(f"looking for directions: {first:,} of {draws:,} pictures…", goes_on=True)
        chunk = {
            key: value[first : first + sampling.CHUNK].to(model.device)
            for key, value in inputs.items()
        }
        # One noise for all: what differs is the latents' doing.
        with fork_random(seed_of(0, "directions noise"), model.device):
            made = game.sample(chunk, model.generator, **given).float()
        seen.append(shrink(made).flatten(1).cpu())
    return inputs["z"].float(), torch.cat(seen)


def shrink(items: Tensor) -> Tensor:
    """Averages items (N,C,H,W) down to sides of 16 at most."""
    height, width = items.shape[2:]
    if max(height, width) <= SEEN:
        return items
    return F.adaptive_avg_pool2d(items, (min(height, SEEN), min(width, SEEN)))
