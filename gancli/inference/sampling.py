"""Images from a trained generator: batches of fixed size, so that the same seed gives the same
bytes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gancli.config.build import did_you_mean
from gancli.errors import UserError
from gancli.game import Batch, Game
from gancli.render import status
from gancli.seeding import forked, seed_of

CHUNK = 64  # a constant: convolutions round differently in batches of another size
REASONS = {
    "label": "its model is not conditional",
    "per_class": "its model is not conditional",
    "sweep": "its model has neither codes nor labels",
    "mix": "its model has no styles",
    "truncated_layers": "its model has no styles",
    "noise": "its model has no noise of its own",
    "domain": "its model has one domain",
    "level": "its model makes its images at once",
    "levels": "its model makes its images at once",
}
# Layers, from and before (Karras 2019, section 3.1)
PARTS = {
    "coarse": (0, 4),
    "middle": (4, 8),
    "fine": (8, None),
}


@runtime_checkable
class TakesLabels(Protocol):
    """A generator of a conditional game."""

    classes: int


@runtime_checkable
class Coded(Protocol):
    """A game whose inputs hold codes that mean something each."""

    codes: tuple[str, ...]

    def values(self, name: str, steps: int) -> Tensor: ...


@runtime_checkable
class Levelled(Protocol):
    """A game that builds its images up: its `sample` takes level=0 (the coarsest) to levels - 1."""

    levels: int


@runtime_checkable
class Styled(Levelled, Protocol):
    """A game whose images have a style in each layer, two layers in a level."""

    def mixed(self, inputs: Batch, source: Batch, *, first: int, last: int) -> Batch: ...


def options_of(game: Game) -> set[str]:
    """The game's own sampling options: the keyword arguments of `inputs` and `sample` beyond the
    contract's.
    """
    names = {
        name
        for method in (game.inputs, game.sample)
        for name, p in inspect.signature(method).parameters.items()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    }
    names |= {"sweep"} if sweepable(game) else set()
    names |= {"mix"} if isinstance(game, Styled) else set()
    if not isinstance(game, Levelled):
        names -= {"level"}
    elif "level" in names:
        names |= {"levels"}
    return names | {"per_class"} if "label" in game.needs else names - {"label"}


def sweepable(game: Game) -> list[str]:
    """The inputs that `sweep` can vary alone."""
    return [
        *(game.codes if isinstance(game, Coded) else ()),
        *(["label"] if "label" in game.needs else []),
    ]


def refuse_unknown(game: Game, wanted: dict[str, object]) -> None:
    """Raises UserError for an option that was given and that this game does not have."""
    has = options_of(game)
    for name, value in wanted.items():
        if value is not None and name not in has:
            reason = REASONS.get(name, f"its model has {', '.join(sorted(has)) or 'none'}")
            raise UserError(
                f"{name}={value} does not apply to this checkpoint: {reason}", f"leave {name}= out"
            )


def choose_labels(
    game: Game, n: int, *, label: int | str | None, classes: Sequence[str]
) -> Tensor | None:
    """The labels of n images: one class, or each in turn; None where the model is not conditional.

    Args:
        game: A game with its generator.
        n: The number of images.
        label: A class by its name or number; None takes the classes in turn, so that every one shows.
        classes: The names of the classes that the checkpoint knows.

    Raises:
        UserError: The label is no class of the checkpoint's.
    """
    if "label" not in game.needs:
        return None
    if label is not None:
        return torch.full((n,), find_label(game, label, classes))
    return torch.arange(n) % count_classes(game)


def count_classes(game: Game) -> int:
    """How many classes the generator of a conditional game knows."""
    count = game.generator.classes
    assert isinstance(count, int)  # an attribute of a module may be anything to a type checker
    return count


def find_label(game: Game, label: int | str, classes: Sequence[str]) -> int:
    """The number of a class of a conditional game, given by name or number. Raises UserError."""
    return label_index(label, count_classes(game), classes)


def label_index(value: int | str, count: int, classes: Sequence[str]) -> int:
    """A label by its name or its number; names come first, since they may be numbers of another order."""
    if str(value) in classes[:count]:
        return classes.index(str(value))
    if isinstance(value, int) and 0 <= value < count:
        return value
    names = [name for name in classes if not name.isdecimal()]
    raise UserError(
        f"label={value} is no class of this checkpoint's",
        f"give 0 to {count - 1}"
        + (f", or a name: {did_you_mean(str(value), names)}" if names else ""),
    )


def draw_inputs(
    game: Game,
    n: int,
    *,
    seed: int,
    label: Tensor | None = None,
    truncation: float | None = None,
    truncated_layers: int | None = None,
) -> Batch:
    """What n images start from, on the CPU.

    Labels (n,) where the game is conditional and they are given.

    truncation: of the latents or styles, where the game has it, of the first layers alone. Raises
    UserError where it has none."""
    wanted = (("label", label), ("truncation", truncation), ("truncated_layers", truncated_layers))
    given = {key: value for key, value in wanted if value is not None}
    return game.inputs(n, torch.Generator().manual_seed(seed_of(seed, "sample")), **given)


def inputs_for(game: Game, n: int, rng: torch.Generator, *, label: Tensor | None) -> Batch:
    """What n images start from, on the CPU. label (n,): of a conditional game; None leaves it to
    the game.
    """
    given = {} if label is None else {"label": label}
    return game.inputs(n, rng, **given)


def classes_of(game: Game) -> int:
    """How many labels a conditional game's generator takes."""
    assert isinstance(game.generator, TakesLabels), "this game is not conditional"
    return game.generator.classes


def generate(
    game: Game,
    generator: nn.Module,
    inputs: Batch,
    *,
    seed: int,
    given: Mapping[str, object] | None = None,
) -> Iterator[Tensor]:
    """inputs of n images -> batches (CHUNK or fewer,C,H,W) of float32 on the CPU, n in all.

    given: options of the game's `sample` (noise, level)"""
    device = next(generator.parameters()).device
    n = len(next(iter(inputs.values())))
    for first in range(0, n, CHUNK):
        status.say(f"drawing samples: {first:,} of {n:,}…", goes_on=True)
        chunk = {key: value[first : first + CHUNK].to(device) for key, value in inputs.items()}
        with torch.no_grad(), forked(seed_of(seed, "noise", first), device):
            images = game.sample(chunk, generator, **(given or {})).float().cpu()
        yield images


def interpolate(a: Batch, b: Batch, steps: int) -> Batch:
    """Inputs on the way from each of a to its partner in b, both ends included: n -> n * steps, row
    by row.

    Latents move on the great circle, where a normal's mass is (White 2016), single numbers
    straight; labels stay a's."""
    on_the_way = [between(a, b, t) for t in torch.linspace(0, 1, steps).tolist()]
    return {key: torch.stack([inputs[key] for inputs in on_the_way], 1).flatten(0, 1) for key in a}


def walk(stops: Sequence[Batch], frames: int) -> Batch:
    """Inputs on a closed way through all stops, as `interpolate` moves: n each -> n * frames, frame
    by frame.

    The first frame is the first stop; the last one is a step before it, so that a film that starts
    again does not halt."""
    inputs = []
    for k in range(frames):
        leg, step = divmod(k * len(stops), frames)
        inputs.append(
            between(stops[leg], stops[(leg + 1) % len(stops)], step / frames) | whole(stops[0])
        )
    return {key: torch.cat([frame[key] for frame in inputs]) for key in stops[0]}


def between(a: Batch, b: Batch, t: float) -> Batch:
    moved = {
        key: torch.lerp(value, b[key], t) if value.ndim == 1 else slerp(value, b[key], t)
        for key, value in a.items()
        if value.is_floating_point()
    }
    return {key: moved.get(key, value) for key, value in a.items()}


def whole(inputs: Batch) -> Batch:
    """Those that cannot move: labels, categories."""
    return {key: value for key, value in inputs.items() if not value.is_floating_point()}


def layers_of(game: Styled, mix: str | int) -> tuple[int, int]:
    """coarse, middle, fine or FIRST-LAST -> from which layer on, and before which.

    Raises UserError for what the game has not.

    Where so few layers leave nothing to `fine`, the three are thirds of what there is."""
    layers = 2 * game.levels
    word = str(mix)
    if word in PARTS:
        first, last = PARTS[word]
        if layers <= PARTS["fine"][0]:
            part = list(PARTS).index(word)
            return part * layers // 3, (part + 1) * layers // 3
        return first, layers if last is None else last
    match = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", word)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not first <= last < layers:
        raise UserError(
            f"mix={mix} names no layers of this checkpoint's",
            f"give coarse, middle, fine, or FIRST-LAST within 0-{layers - 1}, such as "
            f"0-{layers // 2 - 1}",
        )
    return first, last + 1


def mixing(game: Styled, inputs: Batch, sources: Batch, *, first: int, last: int) -> Batch:
    """A row of all sources behind one that does not count, then for each of inputs a row:
    itself, and with each source's styles.
    """
    n, m = (len(next(iter(batch.values()))) for batch in (inputs, sources))
    rows = {key: torch.cat([sources[key][:1], sources[key]]) for key in sources}
    rows = game.mixed(rows, rows, first=0, last=0)
    for k in range(n):
        row = {
            key: value[k : k + 1].expand(m + 1, *value.shape[1:]) for key, value in inputs.items()
        }
        partners = {key: torch.cat([value[:1], value]) for key, value in sources.items()}
        made = game.mixed(row, partners, first=first, last=last)
        # The first one stays as it is
        made["mask"] = made["mask"] & (torch.arange(m + 1) > 0)[:, None]
        rows = {key: torch.cat([rows[key], made[key]]) for key in rows}
    return rows


def sweep(game: Game, inputs: Batch, name: str, steps: int) -> Batch:
    """n inputs, each with every value of the input `name` and all else fixed, row by row: n -> n *
    values.

    A label or a categorical code takes all of its values, a continuous code `steps` from -1 to 1.
    Raises UserError."""
    known = sweepable(game)
    if name not in known:
        raise UserError(
            f"sweep={name}: this checkpoint's model has no such input", did_you_mean(name, known)
        )
    if name == "label":
        values = torch.arange(classes_of(game))
    else:
        assert isinstance(game, Coded)
        values = game.values(name, steps)
    rows = {key: value.repeat_interleave(len(values), 0) for key, value in inputs.items()}
    return rows | {name: values.repeat(len(inputs[name]))}


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """(N,...), (N,...) -> (N,...).

    The length moves linearly, the direction along the arc between them.
    """
    if a.ndim > 2:
        return slerp(a.flatten(1), b.flatten(1), t).view_as(a)
    la = a.norm(dim=1, keepdim=True)
    lb = b.norm(dim=1, keepdim=True)
    ua = a / la
    ub = b / lb
    omega = (ua * ub).sum(1, keepdim=True).clamp(-1, 1).acos()
    near = omega.sin() < 1e-6  # parallel: the arc has no length, and its formula divides by it
    arc = (((1 - t) * omega).sin() * ua + (t * omega).sin() * ub) / omega.sin().masked_fill(
        near, 1.0
    )
    return torch.where(near, (1 - t) * ua + t * ub, arc) * torch.lerp(la, lb, t)
