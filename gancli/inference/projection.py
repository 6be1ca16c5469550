"""Projection: the latent, or the style, whose image is most like a given one.

It is found by gradient descent (Karras 2020, appendix D).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.errors import UserError
from gancli.files.safe_load import load_plain
from gancli.game import Batch, Game
from gancli.inference.sampling import (
    CHUNK,
    can_move,
    choose_labels,
    hold_still,
    name_labels,
)
from gancli.seeding import fork_random, seed_of

Space = Literal["w", "w_plus", "z"]
MEAN_OF = 10_000  # styles, of which the search starts at the mean (Karras 2020, appendix D)
STARTS = 1_000  # latents, of which it starts at the one with the likest image
# noise on the style in spreads at the start, and the share of the steps after which it is gone
WANDERING = 0.05
WANDERS = 0.75
# shares of the steps
WARM_UP = 0.05
SLOW_DOWN = 0.25
NOISE_WEIGHT = 1e5
SMALLEST_PLANE = 8
# sides in pixels that LPIPS sees: its judges saw 64, and the paper's projections 256
SMALLEST = 64
LARGEST = 256


class Distance(Protocol):
    """How far images are from the target; `name` says by what."""

    name: str

    def __call__(self, images: Tensor) -> Tensor:
        """Compares images (N,C,H,W) with the target; a distance (N,)."""


@runtime_checkable
class Mapped(Protocol):
    """A generator that makes styles of latents and adds noise.

    `layers` styles for an image, and noise of the sizes `planes`.
    """

    mapping: nn.Module
    layers: int
    planes: list[tuple[int, int]]


@dataclass(frozen=True)
class Search:
    """What is moved, and what of it makes an image.

    leaves: moved; rest: other inputs, which stay; spread: mean distance of a draw from the mean of
    all, of each leaf
    farthest: no leaf leaves what latents are: values and lengths stay below the largest of any
    draw; null: no bound
    planes: noise of the layers, moved as well, or none
    """

    leaves: Batch
    rest: Batch
    spread: dict[str, float]
    farthest: dict[str, tuple[float, float]]
    planes: list[Tensor]
    layers: int | None  # that share or have a style; null: the leaves are inputs themselves

    def join_inputs(self, leaves: Batch) -> Batch:
        """Makes what the game's `sample` takes of the leaves that move and the rest."""
        return (
            {**leaves, **self.rest}
            if self.layers is None
            else {"styles": leaves["styles"].expand(-1, self.layers, -1)}
        )

    def add_noise(self, share: float, rng: torch.Generator) -> Batch:
        """Adds noise of so many spreads to the leaves, so that no near local minimum holds them."""
        return {
            key: leaf
            + share * self.spread[key] * torch.randn(leaf.shape, generator=rng).to(leaf.device)
            for key, leaf in self.leaves.items()
        }

    @torch.no_grad()
    def clamp_(self) -> None:
        """Brings leaves and planes back to where training has been, after a step."""
        for key, (value, length) in self.farthest.items():
            leaf = self.leaves[key].clamp_(-value, value)
            # Shrunk to the longest draw's length, never enlarged.
            leaf.mul_((length / leaf.norm().clamp(min=1e-12)).clamp(max=1))
        for plane in self.planes:  # what it was drawn from, or it would take over the picture
            plane.sub_(plane.mean()).mul_(plane.square().mean().clamp(min=1e-12).rsqrt())


@dataclass(frozen=True)
class Found:
    """An image (1,C,H,W) and its distance; inputs and planes are what `Game.sample` makes it of."""

    image: Tensor
    distance: float
    inputs: Batch
    planes: list[Tensor]


def choose_space(game: Game, wanted: Literal["auto", "w", "w_plus", "z"]) -> Space:
    """Chooses the space to search in. Raises UserError for styles that a model has not."""
    styled = game.style_layers > 0 and isinstance(game.generator, Mapped)
    if wanted in ("w", "w_plus") and not styled:
        raise UserError(
            f"space={wanted} does not apply to this checkpoint: its model has no styles",
            "leave space= out, or give space=z",
        )
    if wanted != "auto":
        return wanted
    return "w" if styled else "z"


def start_search(
    game: Game,
    generator: nn.Module,
    distance: Distance,
    *,
    space: Space,
    label: Tensor | None,
    noise: bool,
    seed: int,
) -> Search:
    """Starts a search at w_avg, or at the latent of the most similar of many images.

    label: of a conditional model; null: of all classes, or of the most similar image.
    Raises UserError where there is no latent.
    """
    if space == "z":
        return start_from_latents(game, generator, distance, label=label, seed=seed)
    styles = draw_styles(game, generator, label=label, seed=seed)
    assert isinstance(generator, Mapped), "styles are of a generator that makes them"
    mean = styles.mean(0)
    # The root of the mean squared distance, as the authors' code takes it.
    spread = (styles - mean).square().sum(1).mean().sqrt().item()
    layers = generator.layers
    start = mean.expand(1, 1 if space == "w" else layers, -1).clone().requires_grad_()
    # On the CPU: the same planes on every device.
    rng = torch.Generator().manual_seed(seed_of(seed, "noise planes"))
    planes = (
        [
            torch.randn(1, 1, *size, generator=rng).to(mean.device).requires_grad_()
            for size in generator.planes
        ]
        if noise
        else []
    )
    return Search({"styles": start}, {}, {"styles": spread}, {}, planes, layers)


@torch.no_grad()
def draw_styles(game: Game, generator: nn.Module, *, label: Tensor | None, seed: int) -> Tensor:
    """Draws styles (MEAN_OF,w_dim), to take their mean and spread from."""
    assert isinstance(generator, Mapped), "styles are of a generator that makes them"
    inputs = draw_inputs(game, MEAN_OF, label=label, seed=seed)
    device = next(generator.parameters()).device
    styles = []
    for first in range(0, MEAN_OF, CHUNK):
        chunk = {key: value[first : first + CHUNK].to(device) for key, value in inputs.items()}
        styles.append(generator.mapping(chunk["z"], chunk.get("label")).float())
    return torch.cat(styles)


def draw_inputs(game: Game, n: int, *, label: Tensor | None, seed: int) -> Batch:
    """Draws n inputs from the seed; classes take turns where none is given."""
    rng = torch.Generator().manual_seed(seed_of(seed, "projection"))
    if "label" not in game.needs:
        return game.inputs(n, rng)
    each = choose_labels(game, n, label=None, classes=())
    labels = each if label is None else label.expand(n, *label.shape).clone()
    return game.inputs(n, rng, **name_labels(labels))


@torch.no_grad()
def start_from_latents(
    game: Game, generator: nn.Module, distance: Distance, *, label: Tensor | None, seed: int
) -> Search:
    """Starts a search for latents at the best of many random ones."""
    inputs = draw_inputs(game, STARTS, label=label, seed=seed)
    device = next(generator.parameters()).device
    moving = [key for key, value in inputs.items() if can_move(key, value)]
    if not any(key.startswith("z") for key in moving):
        raise UserError(
            "this checkpoint's model takes no latent that could be found",
            "gan project takes a model from noise to images",
        )
    found = []
    for first in range(0, STARTS, CHUNK):
        chunk = {key: value[first : first + CHUNK].to(device) for key, value in inputs.items()}
        found.append(distance(make_images(game, generator, chunk, [], seed=seed)))
    best = int(torch.cat(found).argmin())
    leaves = {key: inputs[key][best : best + 1].to(device).requires_grad_() for key in moving}
    rest = {
        key: value[best : best + 1].to(device) for key, value in inputs.items() if key not in moving
    }
    flat = {
        key: inputs[key].flatten(1) if inputs[key].ndim > 1 else inputs[key][:, None]
        for key in moving
    }
    spread = {key: (x - x.mean(0)).square().sum(1).mean().sqrt().item() for key, x in flat.items()}
    # As far as any of the draws lies: beyond it the generator has never been trained.
    farthest = {key: (x.abs().max().item(), x.norm(dim=1).max().item()) for key, x in flat.items()}
    return Search(leaves, rest, spread, farthest, [], None)


def read_latent(path: str, game: Game) -> tuple[Batch, list[Tensor]]:
    """Reads what `gan project` has found: inputs and planes for the game's `sample`.

    Raises UserError unless they are this model's.
    """
    tree = load_plain(Path(path).expanduser())
    inputs, planes = (
        (tree.get("inputs"), tree.get("planes")) if isinstance(tree, dict) else (None, None)
    )
    if (
        not isinstance(inputs, dict)
        or not isinstance(planes, list)
        or not all(map(torch.is_tensor, [*inputs.values(), *planes]))
    ):
        raise UserError(
            f"latent={path} is no latent that gan project has written", "give a projected.pt"
        )
    generator = game.generator
    sizes: list[tuple[int, ...]] = []
    wanted: Batch = {}
    if game.style_layers > 0 and isinstance(generator, Mapped):
        if planes:
            sizes = [(1, 1, *size) for size in generator.planes]
        if "styles" in inputs:
            width = len(generator.get_buffer("w_avg"))
            wanted = {"styles": torch.zeros(1, generator.layers, width)}
    if "styles" not in inputs:
        wanted = draw_inputs(game, 1, label=None, seed=0)
    label = inputs.get("label", torch.zeros(1))
    if (
        describe_inputs(inputs) != describe_inputs(wanted)
        or [tuple(plane.shape) for plane in planes] != sizes
        or ("label" in wanted and not game.attributes and not 0 <= label.item() < game.classes)
    ):
        raise UserError(
            f"latent={path} is of another model than this checkpoint's",
            "give the checkpoint that it was projected with",
        )
    return inputs, planes


def describe_inputs(inputs: Batch) -> dict[str, tuple]:
    """Returns shape and type of each input."""
    return {key: (tuple(value.shape), value.dtype) for key, value in inputs.items()}


def make_images(
    game: Game, generator: nn.Module, inputs: Batch, planes: list[Tensor], *, seed: int
) -> Tensor:
    """Makes images (N,C,H,W), with the same randomness at every step."""
    given = hold_still(game) | ({"noise": planes} if planes else {})
    device = next(generator.parameters()).device
    with fork_random(seed_of(seed, "projection noise"), device):
        return game.sample(inputs, generator, **given).float()


def project(
    game: Game,
    generator: nn.Module,
    distance: Distance,
    start: Search,
    *,
    steps: int,
    lr: float,
    seed: int,
) -> Iterator[float]:
    """Moves `start`, and yields the distance that each step met; `look` shows where it is."""
    rng = torch.Generator().manual_seed(seed_of(seed, "projection steps"))
    adam = torch.optim.Adam([*start.leaves.values(), *start.planes], lr=lr)
    for step in range(steps):
        # The middle of the step: neither the first nor the last has a rate of 0.
        share = (step + 0.5) / steps
        for group in adam.param_groups:
            group["lr"] = lr * compute_pace(share)
        # Squared, so that it fades early and gently (the authors' noise ramp).
        leaves = start.add_noise(WANDERING * max(0.0, 1 - share / WANDERS) ** 2, rng)
        image = make_images(game, generator, start.join_inputs(leaves), start.planes, seed=seed)
        far = distance(image).sum()
        adam.zero_grad()
        (far + NOISE_WEIGHT * measure_structure(start.planes, image)).backward()
        adam.step()
        start.clamp_()
        yield far.item()


@torch.no_grad()
def look(
    game: Game, generator: nn.Module, distance: Distance, start: Search, *, seed: int
) -> Found:
    """Looks where the search is, without the noise of its steps."""
    inputs = start.join_inputs({key: leaf.detach().clone() for key, leaf in start.leaves.items()})
    planes = [plane.detach().clone() for plane in start.planes]
    image = make_images(game, generator, inputs, planes, seed=seed)
    return Found(image, distance(image).item(), inputs, planes)


def compute_pace(share: float) -> float:
    """Computes the factor of the learning rate after this share of the steps, from 0 to 1.

    A line up, a plateau, half a cosine down.
    """
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - share) / SLOW_DOWN))
    return down * min(1.0, share / WARM_UP)


def measure_structure(planes: list[Tensor], like: Tensor) -> Tensor:
    """Measures how much neighbours in the planes correlate, at every size down to 8 pixels.

    Noise that holds no picture has 0. Squared mean products of a plane and itself moved by one
    pixel; its halvings keep unit variance (Karras 2020, appendix D).
    """
    total = like.new_zeros(())
    for plane in planes:
        total = total + correlate_neighbours(plane)
        while min(plane.shape[2:]) > SMALLEST_PLANE:
            # The mean of four independent pixels has half the deviation.
            plane = 2 * F.avg_pool2d(plane, 2)
            total = total + correlate_neighbours(plane)
    return total


def correlate_neighbours(plane: Tensor) -> Tensor:
    """Sums squared mean products of a plane (1,1,H,W) and itself moved by one pixel."""
    across, down = ((plane * plane.roll(1, side)).mean().square() for side in (2, 3))
    return across + down


class Pixels:
    """Mean squared difference at the image's size and at its halvings to no less than 4 pixels.

    Fine detail alone is a rough slope.
    """

    name = "pixels"

    def __init__(self, target: Tensor):
        self.targets = build_pyramid(target)

    def __call__(self, images: Tensor) -> Tensor:
        """Mean squared distance (N,) over all sizes of the pyramid."""
        pairs = zip(build_pyramid(images), self.targets, strict=True)
        return torch.stack([(a - b).square().mean((1, 2, 3)) for a, b in pairs]).mean(0)


def build_pyramid(x: Tensor) -> list[Tensor]:
    """Returns images (N,C,H,W) and their halvings, down to 4 to 7 pixels."""
    found = [x]
    while min(found[-1].shape[2:]) >= 8:
        found.append(F.avg_pool2d(found[-1], 2))
    return found


class Perceptual:
    """LPIPS.

    Images above 256 pixels are averaged down, as in the paper; the pixels of those below 64 are
    repeated.
    """

    name = "lpips"

    def __init__(self, lpips: nn.Module, target: Tensor):
        self.lpips = lpips
        self.target = fit_to_lpips(target)

    def __call__(self, images: Tensor) -> Tensor:
        """LPIPS distance (N,) to the target."""
        return self.lpips(fit_to_lpips(images), self.target.expand(len(images), -1, -1, -1))


def fit_to_lpips(x: Tensor) -> Tensor:
    """Resizes (N,C,H,W) to what LPIPS is meant for: enlarges small, shrinks large ones."""
    if min(x.shape[2:]) < SMALLEST:
        return F.interpolate(x, scale_factor=math.ceil(SMALLEST / min(x.shape[2:])), mode="nearest")
    factor = max(x.shape[2:]) / LARGEST
    return (
        x
        if factor <= 1
        else F.interpolate(x, [max(1, round(side / factor)) for side in x.shape[2:]], mode="area")
    )
