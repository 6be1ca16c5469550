"""Images from a trained generator, in batches of fixed size: the same seed gives the same bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from gancli.config import hints
from gancli.config.build import find_misfits
from gancli.errors import Problem, Problems, UserError, did_you_mean
from gancli.game import Batch, Game, Option, Stage
from gancli.render import status
from gancli.seeding import fork_random, seed_of

CHUNK = 64  # a constant: convolutions round differently in batches of another size
REASONS = {
    "label": "its model is not conditional",
    "per_class": "its model is not conditional",
    "sweep": "its model has neither codes nor labels",
    "mix": "its model has no styles",
    "truncated_layers": "its model has no styles",
    "temperature": "its model draws no tokens",
    "noise": "its model has no noise of its own",
    "domain": "its model has one domain",
    "level": "its model makes its images at once",
    "levels": "its model makes its images at once",
}
COMMON = (*REASONS, "truncation")  # what `gan sample` itself knows of, whatever the game
# Layers, from and before (Karras 2019, section 3.1)
PARTS = {
    "coarse": (0, 4),
    "middle": (4, 8),
    "fine": (8, None),
}


def list_options(game: Game) -> set[str]:
    """Lists the names of what `gan sample` may ask of a game."""
    return {option.name for option in game.sampling_options()}


def hold_still(game: Game) -> dict[str, object]:
    """Finds the values for the game's `sample` that hold its randomness fixed, for pictures."""
    return {
        option.name: option.still
        for option in game.sampling_options()
        if option.still is not None and option.stage is Stage.SAMPLE
    }


def pick_values(game: Game, values: Mapping[str, object], stage: Stage) -> dict[str, object]:
    """Picks those of the values that were given and that a stage of the game receives."""
    return {
        option.name: values[option.name]
        for option in game.sampling_options()
        if option.stage is stage and values.get(option.name) is not None
    }


def check_values(
    declared: Sequence[Option], values: Mapping[str, object], *, known: Sequence[str] = ()
) -> dict[str, object]:
    """Checks values against the options that a game declares.

    Args:
        declared: What `Game.sampling_options` or `Game.translation_options` gives.
        values: What a user gave, by name.
        known: Other names that the user may have meant.

    Returns:
        The values; whole numbers become floats where the option is a float.

    Raises:
        Problems: A name that is not declared, or a value of another type; all of them.
    """
    types = {option.name: option.type for option in declared}
    found: list[Problem] = []
    kept: dict[str, object] = {}
    for name, value in values.items():
        if name not in types:
            # Not suggest_name: it lists all names where none is near, and most are of the command.
            close = did_you_mean(hints.find_nearest(name, [*types, *known]))
            own = f"its options are {', '.join(types)}" if types else f"leave {name}= out"
            found.append((f"this checkpoint's model has no option {name}", close or own))
            continue
        found += find_misfits(value, types[name], where=name, trust=())
        kept[name] = float(value) if types[name] is float and type(value) is int else value
    if found:
        raise Problems(found)
    return kept


def list_sweepable(game: Game) -> list[str]:
    """Lists the inputs that `sweep` can vary alone."""
    return [*game.codes, *(["label"] if game.classes and not game.attributes else [])]


def refuse_unknown(game: Game, wanted: dict[str, object]) -> None:
    """Raises UserError for an option that was given and that this game does not declare."""
    has = list_options(game)
    for name, value in wanted.items():
        if value is not None and name not in has:
            reason = REASONS.get(name, f"its model has {', '.join(sorted(has)) or 'none'}")
            raise UserError(
                f"{name}={value} does not apply to this checkpoint: {reason}", f"leave {name}= out"
            )


Label = int | str | Sequence[float]


def choose_labels(
    game: Game, n: int, *, label: Label | None, classes: Sequence[str]
) -> Tensor | None:
    """Chooses the labels of n images: one for all, or each in turn.

    Args:
        game: A game with its generator.
        n: The number of images.
        label: A class by its name or number, or a value for each attribute; None takes the classes
            or single attributes in turn, so that every one shows.
        classes: The names of the classes or attributes that the checkpoint knows.

    Returns:
        (n,) classes or (n,K) attributes; None where the model is not conditional.

    Raises:
        UserError: The label is none of the checkpoint's.
    """
    if "label" not in game.needs:
        return None
    if label is not None:
        found = find_label(game, label, classes)
        return found.expand(n, *found.shape).clone()
    each = torch.arange(n) % game.classes
    return torch.eye(game.classes)[each] if game.attributes else each


def find_label(game: Game, label: Label, classes: Sequence[str]) -> Tensor:
    """Finds a label by name, number or attributes.

    Returns:
        () int64, or of a game of attributes (K,) float32

    Raises:
        UserError: The label is none of the checkpoint's.
    """
    if not game.attributes:
        return torch.tensor(find_class(label, game.classes, classes))
    if isinstance(label, int | str):
        return torch.eye(game.classes)[find_class(label, game.classes, classes)]
    if len(label) != game.classes:
        names = f" ({', '.join(classes)})" if len(classes) == game.classes else ""
        raise UserError(
            f"label={list(label)} has {len(label)} values, and this checkpoint's model takes "
            f"{game.classes} attributes{names}",
            f"label={[1] + [0] * (game.classes - 1)}".replace(" ", ""),
        )
    return torch.tensor([float(value) for value in label])


def find_class(label: Label, count: int, classes: Sequence[str]) -> int:
    """Finds the number of a class; names come first: they may be numbers of another order."""
    # label=7 may be a class that is called 7 and stands at another number.
    if str(label) in classes[:count]:
        return classes.index(str(label))
    if isinstance(label, int) and 0 <= label < count:
        return label
    names = [name for name in classes if not name.isdecimal()]
    raise UserError(
        f"label={label} is no class of this checkpoint's",
        f"give 0 to {count - 1}"
        + (f", or a name: {hints.suggest_name(str(label), names)}" if names else ""),
    )


def draw_inputs(
    game: Game,
    n: int,
    *,
    seed: int,
    label: Tensor | None = None,
    options: Mapping[str, object] | None = None,
) -> Batch:
    """Draws what n images start from, on the CPU.

    Args:
        game: The game whose `inputs` draws.
        n: How many images.
        seed: Of all that is drawn.
        label: (n,) classes or (n,K) attributes, where the game is conditional.
        options: Values of the game's options at `Stage.INPUTS`.
    """
    rng = torch.Generator().manual_seed(seed_of(seed, "sample"))
    return game.inputs(n, rng, **(options or {}), **name_labels(label))


def name_labels(label: Tensor | None) -> dict[str, object]:
    """Names labels as `Game.inputs` takes them, where there are any."""
    return {} if label is None else {"label": label}


def generate(
    game: Game,
    generator: nn.Module,
    inputs: Batch,
    *,
    seed: int,
    given: Mapping[str, object] | None = None,
) -> Iterator[Tensor]:
    """Makes the images of some inputs, on the device of the generator network.

    Args:
        game: The game whose `sample` makes them.
        generator: The trained or the EMA generator.
        inputs: Tensors (n,...), as `Game.inputs` draws them.
        seed: Of the noise that the network draws.
        given: Values of the game's options at `Stage.SAMPLE`.

    Yields:
        (CHUNK or fewer,C,H,W) float32 on the CPU, n images in all.
    """
    device = next(generator.parameters()).device
    n = len(next(iter(inputs.values())))
    for first in range(0, n, CHUNK):
        status.say(f"drawing samples: {first:,} of {n:,}…", goes_on=True)
        chunk = {key: value[first : first + CHUNK].to(device) for key, value in inputs.items()}
        # By the chunk's own first image: the noise of one does not depend on how many come before.
        with torch.no_grad(), fork_random(seed_of(seed, "noise", first), device):
            images = game.sample(chunk, generator, **(given or {})).float().cpu()
        yield images


def interpolate(a: Batch, b: Batch, steps: int) -> Batch:
    """Moves inputs from each of a to its partner in b.

    Latents move on the great circle, where a normal's mass is (White 2016), single numbers
    straight; labels stay a's.

    Args:
        a: n inputs.
        b: As many.
        steps: From one end to the other, both included.

    Returns:
        n * steps inputs, a row for each of a.
    """
    # Step by step and then in rows: an image's way lies side by side in a grid.
    on_the_way = [move_between(a, b, t) for t in torch.linspace(0, 1, steps).tolist()]
    return {key: torch.stack([inputs[key] for inputs in on_the_way], 1).flatten(0, 1) for key in a}


def walk(stops: Sequence[Batch], frames: int) -> Batch:
    """Moves n inputs on a closed way through all stops -> n * frames, frame by frame.

    They move as in `interpolate`. The first frame is the first stop; the last one is a step before
    it, so that an animation that starts again does not halt.
    """
    inputs = []
    for k in range(frames):
        # In whole numbers: no frame falls on the wrong side of a stop by rounding.
        leg, step = divmod(k * len(stops), frames)
        inputs.append(
            move_between(stops[leg], stops[(leg + 1) % len(stops)], step / frames)
            | pick_fixed(stops[0])
        )
    return {key: torch.cat([frame[key] for frame in inputs]) for key in stops[0]}


def move_between(a: Batch, b: Batch, t: float) -> Batch:
    """Moves inputs a share t, 0 to 1, of the way from a to b."""
    moved = {
        key: torch.lerp(value, b[key], t) if value.ndim == 1 else slerp(value, b[key], t)
        for key, value in a.items()
        if can_move(key, value)
    }
    return {key: moved.get(key, value) for key, value in a.items()}


def can_move(key: str, value: Tensor) -> bool:
    """Can an input be changed little by little? Categories cannot, labels must not."""
    return value.is_floating_point() and key != "label"


def pick_fixed(inputs: Batch) -> Batch:
    """Picks those that cannot move: labels, categories."""
    return {key: value for key, value in inputs.items() if not can_move(key, value)}


def find_layers(game: Game, mix: str | int) -> tuple[int, int]:
    """Reads coarse, middle, fine or FIRST-LAST: from which layer on, and before which.

    Raises UserError for what the game has not.

    Where so few layers leave nothing to `fine`, the three are thirds of what there is.
    """
    layers = game.style_layers
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


def mix_rows(game: Game, inputs: Batch, sources: Batch, *, first: int, last: int) -> Batch:
    """Lays out mixed styles: a row of all sources, then for each of inputs a row.

    The first row begins with one that does not count; each of the others with the input itself,
    and then with each source's styles.
    """
    n, m = (len(next(iter(batch.values()))) for batch in (inputs, sources))
    rows = {key: torch.cat([sources[key][:1], sources[key]]) for key in sources}
    # Mixed in no layer: this gives the first row the keys that the others have.
    rows = game.mix_styles(rows, rows, first=0, last=0)
    for k in range(n):
        row = {
            key: value[k : k + 1].expand(m + 1, *value.shape[1:]) for key, value in inputs.items()
        }
        partners = {key: torch.cat([value[:1], value]) for key, value in sources.items()}
        made = game.mix_styles(row, partners, first=first, last=last)
        # The first one stays as it is
        made["mask"] = made["mask"] & (torch.arange(m + 1) > 0)[:, None]
        rows = {key: torch.cat([rows[key], made[key]]) for key in rows}
    return rows


def sweep(game: Game, inputs: Batch, name: str, steps: int) -> Batch:
    """Varies one input and fixes all else: n inputs -> n * values, row by row.

    A label or a categorical code takes all of its values, a continuous code `steps` from -1 to 1.
    Raises UserError.
    """
    known = list_sweepable(game)
    if name not in known:
        raise UserError(
            f"sweep={name}: this checkpoint's model has no such input",
            hints.suggest_name(name, known),
        )
    if name == "label":
        values = torch.arange(game.classes)
    else:
        values = game.code_values(name, steps)
    rows = {key: value.repeat_interleave(len(values), 0) for key, value in inputs.items()}
    return rows | {name: values.repeat(len(inputs[name]))}


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Goes from one latent (N,...) to another along the sphere, not through its middle.

    The length moves linearly, the direction along the arc between them.
    """
    if a.ndim > 2:
        return slerp(a.flatten(1), b.flatten(1), t).view_as(a)
    la = a.norm(dim=1, keepdim=True)
    lb = b.norm(dim=1, keepdim=True)
    ua = a / la
    ub = b / lb
    # Rounding may leave a cosine just beyond 1, whose angle would be NaN.
    omega = (ua * ub).sum(1, keepdim=True).clamp(-1, 1).acos()
    near = omega.sin() < 1e-6  # parallel: the arc has no length, and its formula divides by it
    arc = (((1 - t) * omega).sin() * ua + (t * omega).sin() * ub) / omega.sin().masked_fill(
        near, 1.0
    )
    return torch.where(near, (1 - t) * ua + t * ub, arc) * torch.lerp(la, lb, t)
