"""Picks in the space of a generator, and the inputs that they stand for.

A pick is a few numbers: a seed, a class, how far along which direction. Pictures follow from it, so
that what was found can be written down and made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from gancli.errors import UserError
from gancli.game import Batch, Game, Option, Stage
from gancli.inference import sampling
from gancli.inference.projection import Mapped

Json = dict[str, object]


@dataclass(frozen=True)
class Model:
    """What a pick is made with.

    Attributes:
        game: The game of a checkpoint.
        generator: The EMA generator, or the trained one.
        classes: The names of the classes or attributes that the checkpoint knows.
    """

    game: Game
    generator: nn.Module
    classes: tuple[str, ...] = ()

    @property
    def styled(self) -> bool:
        """Does the generator make a style of a latent first, which directions can move?"""
        return self.game.style_layers > 0 and isinstance(self.generator, Mapped)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.generator.parameters()).device


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The latent that `gan sample n=1 seed=...` draws.

    Attributes:
        seed: Of the latent, and of the generator's noise.
        label: The number of a class, or a value for each attribute; None where there are none.
        options: Values of the game's sampling options by name, such as truncation.
        codes: Codes (InfoGAN) whose drawn value is replaced, by name.
    """

    seed: int
    label: int | tuple[float, ...] | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    codes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A pick moved along principal directions.

    Attributes:
        of: What is moved.
        amounts: How far along each direction, in standard deviations.
        layers: The first layer whose style is moved, and the one after the last; None: all.
    """

    of: Pick
    amounts: tuple[float, ...]
    layers: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Between:
    """A pick on the way from one to another.

    Attributes:
        first: Where the way begins; label, noise and options are its own.
        second: Where it ends.
        share: Of the way, 0 to 1.
    """

    first: Pick
    second: Pick
    share: float


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """A pick that takes the styles of another in some layers.

    Attributes:
        of: Whose other styles stay.
        other: Whose styles are taken.
        layers: The first layer that takes them, and the one after the last.
    """

    of: Pick
    other: Pick
    layers: tuple[int, int]


Pick = Draw | Moved | Between | Mixed


@dataclass(frozen=True)
class Directions:
    """Directions in which pictures differ the most, found by `find_directions`.

    Attributes:
        key: The input that they move: "styles" or "z".
        vectors: (K,D), each of length 1.
        scales: (K,), the standard deviation of draws along each.
        shares: (K,), of the variance that each explains.
    """

    key: str
    vectors: Tensor
    scales: Tensor
    shares: Tensor

    def compute_shift(self, amounts: Sequence[float]) -> Tensor:
        """Adds up so many standard deviations along the first directions -> (D,)."""
        steps = torch.tensor(list(amounts)) * self.scales[: len(amounts)]
        return steps @ self.vectors[: len(amounts)]


# The directions for the class of a pick: each class has its own.
FindDirections = Callable[[Draw], Directions]


def find_draw(pick: Pick) -> Draw:
    """Finds the draw that a pick began as, whose seed, options and label it keeps."""
    while not isinstance(pick, Draw):
        pick = pick.first if isinstance(pick, Between) else pick.of
    return pick


def find_options(game: Game) -> list[Option]:
    """Lists the sampling options of a game that change a single picture and can be used.

    The label is none of them: it has a control of its own.
    """
    found = [
        option
        for option in game.sampling_options()
        if option.name != "label" and option.stage is not Stage.PICTURES
    ]
    return [option for option in found if option.name != "truncation" or can_truncate(game)]


def can_truncate(game: Game) -> bool:
    """Can latents be truncated? Uniform ones have an end already, and `inputs` refuses."""
    try:
        sampling.draw_inputs(game, 1, seed=0, options={"truncation": 0.5})
    except UserError:
        return False
    return True


def make_inputs(model: Model, pick: Pick, directions: FindDirections) -> Batch:
    """Makes the inputs (1,...) that a pick stands for, on the CPU.

    Args:
        model: What the pick is made with.
        pick: The pick.
        directions: Finds the directions of a moved pick.

    Returns:
        What the game's `sample` takes: of styles {"styles": (1,layers,w_dim)} where the pick is
        more than a draw.
    """
    if isinstance(pick, Draw):
        return draw_one(model, pick)
    if isinstance(pick, Between):
        first = make_movable(model, pick.first, directions)
        second = make_movable(model, pick.second, directions)
        if "styles" in first:
            # Styles lie in a space without an empty middle: straight on (Karras 2019, section 4).
            return {"styles": torch.lerp(first["styles"], second["styles"], pick.share)}
        return sampling.move_between(first, second, pick.share)
    inputs = make_movable(model, pick.of, directions)
    if isinstance(pick, Mixed):
        other = make_movable(model, pick.other, directions)["styles"]
        taken = find_mask(inputs["styles"].shape[1], pick.layers)
        return {"styles": torch.where(taken[:, None], other, inputs["styles"])}
    found = directions(find_draw(pick))
    shift = found.compute_shift(pick.amounts)
    if found.key == "styles":
        moves = find_mask(inputs["styles"].shape[1], pick.layers)[:, None] * shift
        return {"styles": inputs["styles"] + moves}
    return inputs | {found.key: inputs[found.key] + shift}


def find_mask(layers: int, chosen: tuple[int, int] | None) -> Tensor:
    """Marks the chosen layers: (layers,) bool; all of them where none are chosen."""
    first, last = chosen or (0, layers)
    layer = torch.arange(layers)
    return (first <= layer) & (layer < last)


def draw_one(model: Model, pick: Draw) -> Batch:
    """Draws the inputs (1,...) of one picture, as `gan sample n=1` does."""
    game = model.game
    inputs = sampling.draw_inputs(
        game,
        1,
        seed=pick.seed,
        label=make_label(game, pick.label),
        options=sampling.pick_values(game, pick.options, Stage.INPUTS),
    )
    codes = {
        name: torch.full_like(inputs[name], value)
        for name, value in pick.codes.items()
        if name in game.codes
    }
    return inputs | codes


def make_label(game: Game, label: int | tuple[float, ...] | None) -> Tensor | None:
    """Makes a label (1,) or (1,K); the first class where none is given, as `gan sample` does."""
    if "label" not in game.needs:
        return None
    if label is None:
        return sampling.choose_labels(game, 1, label=None, classes=())
    return torch.tensor([label]) if isinstance(label, int) else torch.tensor([list(label)])


def make_movable(model: Model, pick: Pick, directions: FindDirections) -> Batch:
    """Makes the inputs of a pick; of a model with styles the styles themselves."""
    inputs = make_inputs(model, pick, directions)
    if not model.styled or "styles" in inputs:
        return inputs
    return {"styles": make_styles(model, inputs)}


@torch.no_grad()
def make_styles(model: Model, inputs: Batch) -> Tensor:
    """Maps drawn latents to styles (1,layers,w_dim) on the CPU, truncated as they are asked to be.

    Args:
        model: One with styles.
        inputs: "z" (1,z_dim), and "label", "psi" and "psi_layers" where they are there.
    """
    generator = model.generator
    assert isinstance(generator, Mapped), "styles are of a generator that makes them"
    on_device = {key: value.to(model.device) for key, value in inputs.items()}
    w = generator.mapping(on_device["z"], on_device.get("label"))
    styles = w[:, None].expand(-1, generator.layers, -1)
    psi = on_device.get("psi")
    if psi is not None:
        layer = torch.arange(generator.layers, device=model.device)
        weight = torch.where(layer < on_device["psi_layers"][:, None], psi[:, None], 1.0)
        average = model.generator.get_buffer("w_avg")
        styles = average + weight[..., None] * (styles - average)
    return styles.float().cpu()


def make_item(model: Model, pick: Pick, directions: FindDirections) -> Tensor:
    """Makes the item (C,H,W) of a pick, in [-1,1] where it is an image, on the CPU."""
    inputs = make_inputs(model, pick, directions)
    return make_items(model, inputs, find_draw(pick))[0]


def make_items(model: Model, inputs: Batch, draw: Draw) -> Tensor:
    """Makes the items (N,C,H,W) of some inputs with the seed and the options of a draw."""
    given = sampling.pick_values(model.game, draw.options, Stage.SAMPLE)
    batches = sampling.generate(model.game, model.generator, inputs, seed=draw.seed, given=given)
    return torch.cat(list(batches))


def sweep_input(model: Model, draw: Draw, name: str, steps: int) -> Tensor:
    """Makes a row of items in which one input takes its values, as `gan sample n=1 sweep=` does.

    Args:
        model: What they are made with.
        draw: All else, which is fixed.
        name: A code, or "label".
        steps: Values of a continuous code.
    """
    game = model.game
    swept = sampling.sweep(game, draw_one(model, draw), name, steps)
    return make_items(
        model, swept, replace(draw, options=sampling.hold_still(game) | dict(draw.options))
    )


def walk_between(first: Pick, second: Pick, steps: int) -> list[Between]:
    """Lists picks on the way from one to another, both ends included."""
    shares = torch.linspace(0, 1, steps).tolist()
    return [Between(first=first, second=second, share=share) for share in shares]


def describe_pick(pick: Pick, classes: Sequence[str] = ()) -> Json:
    """Describes a pick in plain values, as it is saved.

    Args:
        pick: The pick.
        classes: Names of the classes.
    """
    if isinstance(pick, Draw):
        found: Json = {"seed": pick.seed}
        if isinstance(pick.label, int):
            named = pick.label < len(classes)
            found |= {"label": pick.label} | ({"class": classes[pick.label]} if named else {})
        elif pick.label is not None:
            found["label"] = list(pick.label)
        return found | dict(pick.options) | ({"codes": dict(pick.codes)} if pick.codes else {})
    if isinstance(pick, Between):
        ends = (describe_pick(pick.first, classes), describe_pick(pick.second, classes))
        return {"between": list(ends), "share": pick.share}
    if isinstance(pick, Mixed):
        return {
            "of": describe_pick(pick.of, classes),
            "styles_of": describe_pick(pick.other, classes),
            "layers": [pick.layers[0], pick.layers[1] - 1],
        }
    moved: Json = {"of": describe_pick(pick.of, classes), "directions": list(pick.amounts)}
    return moved | ({"layers": [pick.layers[0], pick.layers[1] - 1]} if pick.layers else {})
