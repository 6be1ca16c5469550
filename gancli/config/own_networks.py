"""What a game asks of a network of the user's own: its names, and the shape of its images."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from gancli.config.build import build, is_builtin, is_subclass
from gancli.config.plain import Plain
from gancli.config.values import is_spec
from gancli.data.base import pair
from gancli.errors import Problem
from gancli.game import Discriminator, Game, Generator
from gancli.modality import make_modality

TRIED = 2  # latents; a batch norm takes no single one


def find_absent_names(game: type[Game], model: Plain) -> list[Problem]:
    """Finds what the game will read of the user's networks and they do not have.

    Asked before the game is built, whose constructor may read it already.

    Args:
        game: The class; the types of its `generator` and `discriminator` say what it reads.
        model: The part `model`, checked.

    Raises:
        UserError: A network cannot be built.
    """
    views = typing.get_type_hints(game)
    found: list[Problem] = []
    for role in ("generator", "discriminator"):
        spec = model.get(role)
        if not is_spec(spec) or is_builtin(spec["_target_"]):
            continue
        where = f"model.{role}"
        with torch.device("meta"):
            network = build(spec, where=where, trust=None)
        if is_subclass(views[role], Generator) and not hasattr(network, "z_dim"):
            name = type(network).__name__
            message = f"{where}: {name} has no attribute z_dim, the length of a latent"
            found.append((message, f"write self.z_dim = z_dim in {name}.__init__"))
        if is_subclass(views[role], Discriminator):
            found += find_absent_halves(network, has_heads=bool(model.get("heads")))
        if is_builtin(model["_target_"]):  # a game of the user's own may call them in its own way
            found += find_closed_calls(network, views[role], where=where)
    return found


def find_closed_calls(network: nn.Module, view: type, *, where: str) -> list[Problem]:
    """Finds methods that take no label beside their input; a game gives one always, maybe None.

    Args:
        network: The user's.
        view: As what the game sees it.
        where: Its key.
    """
    # The method, its input, and whether the label is given by position.
    calls: list[tuple[Callable[..., object], str, bool]] = []
    if view is Generator:
        calls = [(network.forward, "z", True)]
    elif (
        is_subclass(view, Discriminator) and hasattr(network, "trunk") and hasattr(network, "head")
    ):
        judge = cast(Discriminator, network)
        calls = [(judge.trunk, "x", False), (judge.head, "h", False)]
    owner = type(network).__name__
    found: list[Problem] = []
    for method, first, by_position in calls:
        signature = inspect.signature(method)
        name = method.__name__
        try:
            if by_position:
                signature.bind(None, None)
            else:
                signature.bind(None, label=None)
        except TypeError:
            found.append(
                (
                    f"{where}: {owner}.{name}{signature} takes no label, "
                    f"and the game calls {name}({first}, label)",
                    f"write {name}(self, {first}, label=None) in {owner}; label is None where "
                    "model.conditional is false",
                )
            )
    return found


def find_absent_halves(network: nn.Module, *, has_heads: bool) -> list[Problem]:
    """Finds what is absent of trunk and head, and of the width between them where that is read.

    Args:
        network: The discriminator.
        has_heads: The model has auxiliary heads, which are built to that width.
    """
    name = type(network).__name__
    found: list[Problem] = []
    absent = []
    if not hasattr(network, "trunk"):
        absent.append("trunk(x, label)")
    if not hasattr(network, "head"):
        absent.append("head(features, label)")
    if absent:
        found.append(
            (
                f"model.discriminator: {name} has no method {' and no '.join(absent)}",
                f"write trunk(self, x, label=None), images to features, and "
                f"head(self, h, label=None), features to scores, in {name}; "
                "or derive your game from gancli.game.Game, which asks for neither",
            )
        )
    if has_heads and not hasattr(network, "feature_dim"):
        message = f"model.discriminator: {name} has no attribute feature_dim, which model.heads"
        hint = f"write self.feature_dim = N in {name}.__init__: the numbers that trunk leaves"
        found.append((f"{message} reads", f"{hint} of an image"))
    return found


def find_wrong_shape(game: Game, frozen: Plain) -> list[Problem]:
    """Finds that the user's generator makes items of another shape than the data's.

    Args:
        game: On the meta device, where an item costs nothing.
        frozen: The plain config.
    """
    spec = frozen["model"].get("generator")
    if not is_spec(spec) or is_builtin(spec["_target_"]) or game.directions:
        return []
    if typing.get_type_hints(type(game))["generator"] is not Generator:
        return []  # of a family that makes its items in ways of its own
    try:
        with torch.device("meta"), torch.no_grad():
            made = game.sample(game.inputs(TRIED, None), game.generator)
    except (RuntimeError, NotImplementedError, TypeError, AttributeError):
        return []  # code that needs values, or is wrong: its own traceback says where
    data = frozen["dataset"]
    height, width = pair(data["resolution"])
    wanted = (data["channels"], height, width)
    name = type(game.generator).__name__
    if not isinstance(made, Tensor):
        message = f"model.generator: {name} gives a {type(made).__name__}, and no tensor"
        return [(message, f"let {name}.forward return images {show_shape(wanted)}")]
    if tuple(made.shape) == (TRIED, *wanted):
        return []
    noun = make_modality(data).noun
    return [
        (
            f"model.generator: {name} makes {noun} {show_shape(made.shape[1:])}, and the data "
            f"are {show_shape(wanted)}",
            f"let {name}.forward return {show_shape(wanted)}: its YAML file can give it "
            "channels: ${dataset.channels} and resolution: ${dataset.resolution}",
        )
    ]


def show_shape(shape: tuple[int, ...]) -> str:
    """Writes the shape of a batch of items, such as (N,3,32,32)."""
    return f"({','.join(['N', *map(str, shape)])})"
