"""Images from a trained generator: batches of fixed size, so that the same seed gives the same bytes."""
from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gancli.builder import did_you_mean
from gancli.errors import UserError
from gancli.game import Batch, Game
from gancli.seeding import forked, seed_of

CHUNK = 64  # a constant: convolutions round differently in batches of another size
REASONS = {"label": "its model is not conditional", "per_class": "its model is not conditional",
           "sweep": "its model has neither codes nor labels"}


@runtime_checkable
class Coded(Protocol):
    """A game whose inputs hold codes that mean something each."""

    codes: tuple[str, ...]

    def values(self, name: str, steps: int) -> Tensor: ...


def options_of(game: Game) -> set[str]:
    """The game's own sampling options: the keyword arguments of `inputs` and `sample` beyond the contract's."""
    names = {name for method in (game.inputs, game.sample) for name, p in inspect.signature(method).parameters.items()
             if p.kind is inspect.Parameter.KEYWORD_ONLY}
    names |= {"sweep"} if sweepable(game) else set()
    return names | {"per_class"} if "label" in game.needs else names - {"label"}


def sweepable(game: Game) -> list[str]:
    """The inputs that `sweep` can vary alone."""
    return [*(game.codes if isinstance(game, Coded) else ()), *(["label"] if "label" in game.needs else [])]


def refuse_unknown(game: Game, wanted: dict[str, object]) -> None:
    """Raises UserError for an option that was given and that this game does not have."""
    has = options_of(game)
    for name, value in wanted.items():
        if value is not None and name not in has:
            reason = REASONS.get(name, f"its model has {', '.join(sorted(has)) or 'none'}")
            raise UserError(f"{name}={value} does not apply to this checkpoint: {reason}", f"leave {name}= out")


def draw_inputs(game: Game, n: int, *, seed: int, label: Tensor | None = None, truncation: float | None = None) -> Batch:
    """What n images start from, on the CPU; labels (n,) where the game is conditional and they are given.

    truncation: of the latents, where the game has it. Raises UserError where its latents have none."""
    given = {key: value for key, value in (("label", label), ("truncation", truncation)) if value is not None}
    return game.inputs(n, torch.Generator().manual_seed(seed_of(seed, "sample")), **given)


def generate(game: Game, generator: nn.Module, inputs: Batch, *, seed: int) -> Iterator[Tensor]:
    """inputs of n images -> batches (CHUNK or fewer,C,H,W) of float32 on the CPU, n in all."""
    device = next(generator.parameters()).device
    n = len(next(iter(inputs.values())))
    for first in range(0, n, CHUNK):
        chunk = {key: value[first:first + CHUNK].to(device) for key, value in inputs.items()}
        with torch.no_grad(), forked(seed_of(seed, "noise", first), device):
            images = game.sample(chunk, generator).float().cpu()
        yield images


def interpolate(a: Batch, b: Batch, steps: int) -> Batch:
    """Inputs on the way from each of a to its partner in b, both ends included: n -> n * steps, row by row.

    Latents move on the great circle, where a normal's mass is (White 2016), single numbers straight; labels stay a's."""
    times = torch.linspace(0, 1, steps).tolist()
    mixed = {}
    for key, start in a.items():
        if start.is_floating_point():
            move = torch.lerp if start.ndim == 1 else slerp
            mixed[key] = torch.stack([move(start, b[key], t) for t in times], 1).flatten(0, 1)
        else:
            mixed[key] = start.repeat_interleave(steps, 0)
    return mixed


def sweep(game: Game, inputs: Batch, name: str, steps: int) -> Batch:
    """n inputs, each with every value of the input `name` and all else fixed, row by row: n -> n * values.

    A label or a categorical code takes all of its values, a continuous code `steps` from -1 to 1. Raises UserError."""
    known = sweepable(game)
    if name not in known:
        raise UserError(f"sweep={name}: this checkpoint's model has no such input", did_you_mean(name, known))
    values = torch.arange(game.generator.classes) if name == "label" else game.values(name, steps)
    rows = {key: value.repeat_interleave(len(values), 0) for key, value in inputs.items()}
    return rows | {name: values.repeat(len(inputs[name]))}


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """(N,Z), (N,Z) -> (N,Z); the length moves linearly, the direction along the arc between them."""
    la, lb = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    ua, ub = a / la, b / lb
    omega = (ua * ub).sum(1, keepdim=True).clamp(-1, 1).acos()
    near = omega.sin() < 1e-6  # parallel: the arc has no length, and its formula divides by it
    arc = (((1 - t) * omega).sin() * ua + (t * omega).sin() * ub) / omega.sin().masked_fill(near, 1.0)
    return torch.where(near, (1 - t) * ua + t * ub, arc) * torch.lerp(la, lb, t)
