"""The only way from a description to an object: strict about which classes, which keys and which values."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import inspect
import os
import re
import sys
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, Union

from gancli.errors import UserError
from gancli.game import Game

# Anything reachable *through* these packages (gancli.losses.penalties.torch.load) is not defined in them.
ROOTS = tuple(
    f"gancli.{name}" for name in ("games", "networks", "losses", "augment", "data", "metrics")
)
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
# what a config's list and mapping serve as
LISTS = (list, tuple, Sequence, Collection, Iterable)
MAPPINGS = (dict, Mapping)
Problem = tuple[str, str]  # message, hint
PARTS = ("loss", "augment", "perceptual")  # of a config, that a game may take beside its own


def is_builtin(target: str) -> bool:
    """Does the target belong to gancli or torch.optim, whose code is as safe as gancli itself?"""
    return (
        target.startswith(tuple(root + "." for root in ROOTS))
        or target.rpartition(".")[0] == "torch.optim"
    )


def locate(target: object, *, trust: tuple[str, ...] | None = ()) -> type:
    """The class that a dotted path names. Raises UserError, before any import, where it may not be used.

    trust: packages of the user's that may be imported too; None: any, since the user typed the config himself."""
    if not isinstance(target, str) or len(target) > 200 or not NAME.fullmatch(target):
        raise UserError(f"{show(target)} does not name a class", "write package.module.ClassName")
    module_name, _, name = target.rpartition(".")
    if not is_builtin(target):
        refuse_strangers(target, trust)
    cls = vars(import_module(module_name, target)).get(name)
    if not isinstance(cls, type):
        raise UserError(f"{target} is not a class", did_you_mean(name, classes_in(module_name)))
    if not defined_in(cls, module_name):
        raise UserError(
            f"{target} is not defined in {module_name}, only reachable through it",
            f"it is defined in {cls.__module__}, and was not used",
        )
    return cls


def trusted(value: object) -> tuple[str, ...]:
    """What trust= says: one package, a list of them, or nothing."""
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),) if value else ()


def refuse_strangers(target: str, trust: tuple[str, ...] | None) -> None:
    package = target.split(".")[0]
    if package in ("gancli", "torch") or package in sys.stdlib_module_names:
        raise UserError(
            f"{target} may not be built, and nothing of it was run",
            f"classes of {', '.join(ROOTS)} and torch.optim may be named, and your own",
        )
    if trust is not None and package not in trust:
        raise UserError(
            f"{target} is code of {package}'s, not of gancli's, and nothing of it was run",
            f"if you trust {package}, add trust={package}",
        )


def import_module(name: str, target: str) -> types.ModuleType:
    if not is_builtin(target) and os.getcwd() not in sys.path:
        sys.path.append(
            os.getcwd()
        )  # the user's own file; last, so that it cannot hide a library's module
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise UserError(
                f"there is no module {name} (for {target})",
                "it must stand in the working directory or be installed",
            ) from error
        raise UserError(f"importing {name} failed: {error}", "install what it needs") from error
    except Exception as error:
        raise UserError(
            f"importing {name} failed: {type(error).__name__}: {error}", "mend the file first"
        ) from error


def defined_in(cls: type, module_name: str) -> bool:
    if module_name == "torch.optim":
        from torch.optim import Optimizer

        return issubclass(cls, Optimizer) and cls.__module__.startswith("torch.optim.")
    if is_builtin(f"{module_name}.{cls.__name__}"):
        return cls.__module__ == module_name
    return (
        cls.__module__.split(".")[0] == module_name.split(".")[0]
    )  # a user's package may re-export its own


def classes_in(module_name: str) -> list[str]:
    return [
        key
        for key, value in vars(sys.modules[module_name]).items()
        if isinstance(value, type) and value.__module__.startswith(module_name)
    ]


def did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + ", ".join(close) + "?"
    return "there are " + ", ".join(sorted(known)) if known else ""


@functools.cache
def parameters_of(cls: type) -> dict[str, inspect.Parameter]:
    """Name -> parameter of a class's constructor, annotations resolved.

    A constructor that hands `**base` on to its parent takes the parent's parameters too, so that a subclass with one
    key more need not repeat those of its base.
    """
    found: dict[str, inspect.Parameter] = {}
    for parent in cls.__mro__:
        constructor = vars(parent).get("__init__")
        if constructor is None:
            continue
        parameters = list(inspect.signature(constructor).parameters.values())[1:]  # without self
        hints = hints_of(constructor)
        for p in parameters:
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                found.setdefault(p.name, p.replace(annotation=hints.get(p.name, Any)))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def hints_of(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - a user's annotation that only a type checker can read
        return {}


def signature_of(target: str) -> dict[str, inspect.Parameter]:
    return parameters_of(locate(target, trust=None))


def problems(
    spec: dict, *, where: str, trust: tuple[str, ...] | None = (), given: tuple[str, ...] = ()
) -> list[Problem]:
    """Everything wrong with a description, its nested ones included. given: arguments that the caller will supply."""
    try:
        cls = locate(spec.get("_target_"), trust=trust)
    except UserError as error:
        return [(f"{where}._target_: {error.message}", error.hint)]
    parameters = parameters_of(cls)
    found: list[Problem] = []
    for key, value in spec.items():
        if key in given or key not in parameters and key != "_target_":
            known = [name for name in parameters if name not in given]
            found.append(
                (f"{where}.{key}: {cls.__name__} takes no {key!r}", did_you_mean(str(key), known))
            )
        elif key != "_target_":
            found += misfits(value, parameters[key].annotation, where=f"{where}.{key}", trust=trust)
    for name, parameter in parameters.items():
        optional = parameter.default is not inspect.Parameter.empty
        if not optional and name not in spec and name not in given:
            found.append(
                (f"{where}.{name} is missing: {cls.__name__} needs it", f"add {where}.{name}=...")
            )
    return found


def misfits(
    value: object, annotation: Any, *, where: str, trust: tuple[str, ...] | None
) -> list[Problem]:
    """Why a plain value or nested description does not suit an annotation; empty if it does."""
    if annotation is Any or annotation is inspect.Parameter.empty:
        return problems(value, where=where, trust=trust) if is_spec(value) else []
    origin = typing.get_origin(annotation) or annotation
    arguments = typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        tried = [misfits(value, option, where=where, trust=trust) for option in arguments]
        if not all(tried):
            return []
        inside = [
            found
            for found in tried
            if found[0][0].startswith((f"{where}.", f"{where}[", f"{where}:"))
        ]
        if inside:  # the shape was right, and something in it is wrong
            return inside[0]
    elif origin is Literal:
        if value in arguments and type(value) in map(type, arguments):
            return []
    elif is_spec(value) and origin not in (*LISTS, *MAPPINGS):
        return nested_problems(value, annotation, where=where, trust=trust)
    elif origin in LISTS and isinstance(value, list):
        return sequence_problems(value, origin, arguments or (Any, ...), where=where, trust=trust)
    elif origin in MAPPINGS and isinstance(value, dict) and not is_spec(value):
        of = arguments[1] if arguments else Any
        return [
            p
            for key, item in value.items()
            for p in misfits(item, of, where=f"{where}.{key}", trust=trust)
        ]
    elif plain_fits(value, annotation):
        return []
    return [(f"{where}={show(value)} does not fit", f"give {describe(annotation)}")]


def sequence_problems(
    value: list, origin: type, arguments: tuple, *, where: str, trust: tuple[str, ...] | None
) -> list[Problem]:
    fixed = origin is tuple and Ellipsis not in arguments
    if fixed and len(value) != len(arguments):
        return [(f"{where} has {len(value)} entries", f"give {len(arguments)}")]
    options = arguments if fixed else (arguments[0],) * len(value)
    return [
        p
        for k, (item, option) in enumerate(zip(value, options, strict=True))
        for p in misfits(item, option, where=f"{where}[{k}]", trust=trust)
    ]


def nested_problems(
    value: dict, annotation: Any, *, where: str, trust: tuple[str, ...] | None
) -> list[Problem]:
    found = problems(value, where=where, trust=trust)
    if (
        not found
        and isinstance(annotation, type)
        and not is_a(locate(value["_target_"], trust=trust), annotation)
    ):
        return [
            (
                f"{where}: {value['_target_']} is no {annotation.__name__}",
                f"name a subclass of {annotation.__name__}",
            )
        ]
    return found


def is_a(cls: type, annotation: type) -> bool:
    try:
        return issubclass(cls, annotation)
    except TypeError:  # a Protocol: its methods would have to be compared
        return True


def is_spec(value: object) -> bool:
    return isinstance(value, dict) and "_target_" in value


def plain_fits(value: object, annotation: Any) -> bool:
    if annotation is type(None):
        return value is None
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation in (int, bool, str):
        return type(value) is annotation
    return annotation is object


def describe(annotation: Any) -> str:
    """An annotation in a user's words."""
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
        type(None): "null",
        Any: "anything",
    }
    if annotation in names:
        return names[annotation]
    origin = typing.get_origin(annotation) or annotation
    arguments = typing.get_args(annotation) or (Any, Any)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(option) for option in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in LISTS:
        entries = arguments if origin is tuple and Ellipsis not in arguments else arguments[:1]
        return f"a list like [{', '.join(map(describe, entries))}]"
    if origin in MAPPINGS:
        return f"a mapping of names to {describe(arguments[1])}"
    return (
        f"a mapping whose _target_ is a {annotation.__name__}"
        if isinstance(annotation, type)
        else str(annotation)
    )


def show(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def build(
    spec: dict, *, where: str = "config", trust: tuple[str, ...] | None = (), **given: Any
) -> Any:
    """The object that a checked, resolved description names. given: built arguments. Raises UserError."""
    found = problems(spec, where=where, trust=trust, given=tuple(given))
    if found:
        raise UserError(*found[0])
    return construct(spec, where=where, trust=trust, given=given)


def construct(
    value: Any, *, where: str, trust: tuple[str, ...] | None, given: dict[str, Any]
) -> Any:
    if isinstance(value, list):
        return [construct(item, where=where, trust=trust, given={}) for item in value]
    if not isinstance(value, dict):
        return value
    arguments = {
        key: construct(item, where=f"{where}.{key}", trust=trust, given={})
        for key, item in value.items()
        if key != "_target_"
    }
    if not is_spec(value):
        return arguments
    try:
        return locate(value["_target_"], trust=trust)(**arguments, **given)
    except (
        ValueError,
        RuntimeError,
    ) as error:  # what a constructor says about its values is for the user
        if isinstance(error, RuntimeError) and not is_builtin(value["_target_"]):
            raise  # in our networks it is torch's about sizes that cannot be, in the user's it may be anything
        raise UserError(f"{where}: {error}") from error


def build_game(config: dict, *, trust: tuple[str, ...] | None = ()) -> Game:
    """The game of a frozen config, in the current default device. Raises UserError."""
    cls = locate(config["model"].get("_target_"), trust=trust)
    if not issubclass(cls, Game):
        raise UserError(
            f"model._target_: {cls.__name__} is no Game",
            "derive it from gancli.game.Game or gancli.games.gan.GAN",
        )
    parts = {}
    for name in {*PARTS} & parameters_of(cls).keys():
        spec = config.get(name)
        if found := misfits(spec, parameters_of(cls)[name].annotation, where=name, trust=trust):
            raise UserError(*found[0])
        parts[name] = construct(spec, where=name, trust=trust, given={})
    return build(config["model"], where="model", trust=trust, **parts)
