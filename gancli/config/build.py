"""The only way from a description to an object: strict about classes, keys and values."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import re
import sys
import types
import typing
from typing import TYPE_CHECKING, Any

from gancli.config import values
from gancli.config.hints import suggest_name
from gancli.config.plain import Plain
from gancli.config.values import MODULE_BOUNDS, OPEN_BOUNDS, is_spec, show
from gancli.errors import Problem, UserError, first_line
from gancli.schedules import (
    Constant,
    Number,
    OwnSchedule,
    Schedule,
    ScheduleFunction,
    find_own_schedule_problems,
    schedule,
    schedule_problems,
)

if TYPE_CHECKING:  # it imports torch, and a command line is checked before that
    from gancli.game import Game

# Anything reachable *through* these packages (gancli.losses.penalties.torch.load) is not defined in
# them.
ROOTS = tuple(
    f"gancli.{name}" for name in ("games", "networks", "losses", "augment", "data", "metrics")
)
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
SMALLER = "give smaller widths, or a smaller dataset.resolution"
PARTS = ("loss", "augment", "perceptual")  # of a config, that a game may take beside its own


def is_builtin(target: str) -> bool:
    """Does the target belong to gancli or torch.optim, whose code is as safe as gancli itself?"""
    return (
        target.startswith(tuple(root + "." for root in ROOTS))
        or target.rpartition(".")[0] == "torch.optim"
    )


def locate(target: object, *, trust: tuple[str, ...] | None = ()) -> type:
    """Finds the class that a dotted path names.

    Args:
        target: The path.
        trust: Packages of the user's that may be imported too; None: any, since the user typed the
            config himself.

    Raises:
        UserError: Where it may not be used. Nothing is imported before.
    """
    if not isinstance(target, str) or len(target) > 200 or not NAME.fullmatch(target):
        raise UserError(f"{show(target)} does not name a class", "write package.module.ClassName")
    module_name, _, name = target.rpartition(".")
    if not is_builtin(target):
        refuse_untrusted(target, trust)
    cls = vars(import_module(module_name, target)).get(name)
    if not isinstance(cls, type):
        raise UserError(f"{target} is not a class", suggest_name(name, list_classes(module_name)))
    if not is_defined_in(cls, module_name):
        raise UserError(
            f"{target} is not defined in {module_name}, only reachable through it",
            f"it is defined in {cls.__module__}, and was not used",
        )
    return cls


def read_trust(value: object) -> tuple[str, ...]:
    """Reads what trust= says: one package, a list of them, or nothing."""
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),) if value else ()


def refuse_untrusted(target: str, trust: tuple[str, ...] | None) -> None:
    """Raises UserError for a class that is neither gancli's nor of a trusted package."""
    # Whatever trust= says: code of the library and of Python itself may do anything when it is
    # called.
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
    """Imports a module for one target; raises UserError where that fails."""
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
            f"importing {name} failed: {type(error).__name__}: {error}", "fix the file first"
        ) from error


def is_defined_in(cls: type, module_name: str) -> bool:
    """Is the class defined in this module, not only reachable through it?"""
    if module_name == "torch.optim":
        from torch.optim import Optimizer

        # Some are defined in a private module and renamed: Muon and Adafactor say that they are of
        # torch.optim itself.
        return issubclass(cls, Optimizer) and f"{cls.__module__}.".startswith("torch.optim.")
    if is_builtin(f"{module_name}.{cls.__name__}"):
        return cls.__module__ == module_name
    return (
        cls.__module__.split(".")[0] == module_name.split(".")[0]
    )  # a user's package may re-export its own


def list_classes(module_name: str) -> list[str]:
    """Returns the names of the classes that an imported module defines."""
    return [
        key
        for key, value in vars(sys.modules[module_name]).items()
        if isinstance(value, type) and value.__module__.startswith(module_name)
    ]


@functools.cache
def read_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Reads the parameters of a class's constructor by name, annotations resolved.

    A constructor that hands `**base` on to its parent takes the parent's parameters too, so that a
    subclass with one key more need not repeat those of its base.
    """
    found: dict[str, inspect.Parameter] = {}
    for parent in cls.__mro__:
        constructor = vars(parent).get("__init__")
        if constructor is None:
            continue
        parameters = list(inspect.signature(constructor).parameters.values())[1:]  # without self
        hints = read_hints(constructor)
        for p in parameters:
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                # The subclass comes first in the MRO: its default and annotation count.
                found.setdefault(p.name, p.replace(annotation=hints.get(p.name, Any)))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def read_hints(function: Any) -> dict[str, Any]:
    """Returns the annotations of a function, resolved; none where that fails."""
    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - a user's annotation that only a type checker can read
        return {}


def read_signature(target: str) -> dict[str, inspect.Parameter]:
    """Returns the parameters of the class that a dotted path names, see `read_parameters`."""
    return read_parameters(locate(target, trust=None))


def find_problems(
    spec: Plain, *, where: str, trust: tuple[str, ...] | None = (), given: tuple[str, ...] = ()
) -> list[Problem]:
    """Finds everything wrong with a description, its nested ones included.

    Args:
        spec: The description, `{_target_: ..., key: value}`.
        where: Its key, for the messages.
        trust: As for `locate`.
        given: Arguments that the caller will supply.
    """
    try:
        cls = locate(spec.get("_target_"), trust=trust)
    except UserError as error:
        return [(f"{where}._target_: {error.message}", error.hint)]
    parameters = read_parameters(cls)
    found: list[Problem] = []
    for key, value in spec.items():
        if key in given or (key not in parameters and key != "_target_"):
            known = [name for name in parameters if name not in given]
            found.append(
                (f"{where}.{key}: {cls.__name__} takes no {key!r}", suggest_name(str(key), known))
            )
        elif key != "_target_":
            annotation = parameters[key].annotation
            place = f"{where}.{key}"
            found += (
                find_misfits(value, annotation, where=place, trust=trust)
                or find_trial_problems(cls, key, value, annotation, where=place, trust=trust)
                or find_bound_problems(cls, key, value, annotation, place)
            )
    for name, parameter in parameters.items():
        optional = parameter.default is not inspect.Parameter.empty
        if not optional and name not in spec and name not in given:
            found.append(
                (f"{where}.{name} is missing: {cls.__name__} needs it", f"add {where}.{name}=...")
            )
    return found


def find_misfits(
    value: object, annotation: Any, *, where: str, trust: tuple[str, ...] | None
) -> list[Problem]:
    """Tells why a plain value or nested description does not suit an annotation, if so."""

    def find_nested(spec: Plain, annotation: Any, where: str) -> list[Problem]:
        if annotation is Any:
            return find_problems(spec, where=where, trust=trust)
        return find_nested_problems(spec, annotation, where=where, trust=trust)

    if annotation is inspect.Parameter.empty:
        annotation = Any
    if annotation == Number and is_spec(value):
        annotation = ScheduleFunction  # or a wrong key would be told as "no float"
    return values.find_misfits(value, annotation, where=where, nested=find_nested)


def find_trial_problems(
    cls: type,
    key: str,
    value: object,
    annotation: Any,
    *,
    where: str,
    trust: tuple[str, ...] | None,
) -> list[Problem]:
    """Tries a schedule of the user's own, whose keys are known to fit; empty for anything else."""
    if annotation != Number or not is_spec(value):
        return []
    ours = cls.__module__.startswith("gancli.")
    bound = OPEN_BOUNDS.get(key, values.ANY) if ours else values.ANY
    return find_own_problems(value, where=where, bound=bound, trust=trust)


def find_own_problems(
    spec: Plain,
    *,
    where: str,
    bound: values.Bound,
    trust: tuple[str, ...] | None = None,
) -> list[Problem]:
    """Finds all that is wrong with a user's own schedule: its class, keys and values."""
    found = find_misfits(spec, ScheduleFunction, where=where, trust=trust)
    return found or find_own_schedule_problems(
        lambda: build(spec, where=where, trust=trust), where=where, bound=bound
    )


def build_schedule(value: Number, *, where: str) -> Schedule | Constant | OwnSchedule:
    """Builds the schedule that a checked config holds for a key, perhaps the user's own."""
    return schedule(build(value, where=where, trust=None) if is_spec(value) else value)


def find_bound_problems(
    cls: type, key: str, value: object, annotation: Any, where: str
) -> list[Problem]:
    """Checks a value of the right type against the bound of its argument.

    In gancli's own classes an argument of one name has one bound, with few exceptions; a user's
    class has its own.
    """
    if not cls.__module__.startswith("gancli."):
        return []
    of_module = MODULE_BOUNDS.get(cls.__module__, {})
    bound = of_module.get(key) or OPEN_BOUNDS.get(key, values.ANY)
    if annotation == Number and isinstance(value, dict):
        return schedule_problems(value, where=where, bound=bound)
    if isinstance(value, dict) and not is_spec(value):
        return [
            problem
            for name, item in value.items()
            for problem in values.find_outside(item, bound, where=f"{where}.{name}")
        ]
    return values.find_outside(value, bound, where=where)


def find_nested_problems(
    value: Plain, annotation: Any, *, where: str, trust: tuple[str, ...] | None
) -> list[Problem]:
    """Finds everything wrong with a description that stands for an argument."""
    found = find_problems(value, where=where, trust=trust)
    if (
        not found
        and isinstance(annotation, type)
        and not is_subclass(locate(value["_target_"], trust=trust), annotation)
    ):
        return [
            (
                f"{where}: {value['_target_']} is no {annotation.__name__}",
                "give it a method __call__(self, nimg) that returns a number"
                if annotation is ScheduleFunction
                else f"name a subclass of {annotation.__name__}",
            )
        ]
    return found


def is_subclass(cls: type, annotation: type) -> bool:
    """Is it a subclass? A Protocol says yes: its methods would have to be compared."""
    try:
        return issubclass(cls, annotation)
    except TypeError:  # a Protocol: its methods would have to be compared
        return True


def build(
    spec: Plain, *, where: str = "config", trust: tuple[str, ...] | None = (), **given: Any
) -> Any:
    """Builds the object that a checked, resolved description names.

    Args:
        spec: The description, `{_target_: ..., key: value}`.
        where: Its key, for the messages.
        trust: As for `locate`.
        **given: Arguments that are objects already.

    Raises:
        UserError: Where the description does not fit.
    """
    found = find_problems(spec, where=where, trust=trust, given=tuple(given))
    if found:
        raise UserError(*found[0])
    return construct(spec, where=where, trust=trust, given=given)


def construct(
    value: Any, *, where: str, trust: tuple[str, ...] | None, given: dict[str, Any]
) -> Any:
    """Builds a value of a checked description: objects, and the lists and mappings of them."""
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
    ours = is_builtin(value["_target_"])
    try:
        return locate(value["_target_"], trust=trust)(**arguments, **given)
    except ValueError as error:  # what a constructor says about its values is for the user
        raise UserError(f"{where}: {first_line(error)}") from error
    except (RuntimeError, OverflowError, TypeError, MemoryError) as error:
        # In our networks it is torch's about sizes that cannot be, in the user's it may be
        # anything.
        too_long = not isinstance(error, TypeError) or "Overflow" in str(error)
        if not ours or not too_long:
            raise
        if isinstance(error, RuntimeError) and "overflow" not in str(error).lower():
            raise UserError(f"{where}: {first_line(error)}") from error
        raise UserError(f"{where}: its sizes are too large to be held", SMALLER) from error


def build_game(config: Plain, *, trust: tuple[str, ...] | None = ()) -> Game:
    """Builds the game of a frozen config, in the current default device. Raises UserError."""
    from gancli.game import Game

    cls = locate(config["model"].get("_target_"), trust=trust)
    if not is_subclass(cls, Game):
        raise UserError(
            f"model._target_: {cls.__name__} is no Game",
            "derive it from gancli.game.Game or gancli.games.gan.GAN",
        )
    parts = {}
    for name in {*PARTS} & read_parameters(cls).keys():
        spec = config.get(name)
        if found := find_misfits(
            spec, read_parameters(cls)[name].annotation, where=name, trust=trust
        ):
            raise UserError(*found[0])
        parts[name] = construct(spec, where=name, trust=trust, given={})
    game: Game = build(config["model"], where="model", trust=trust, **parts)
    freeze_blocks(game, config.get("init"))
    return game


def freeze_blocks(game: Game, init: object) -> None:
    """Freezes what init.freeze_d says of a new game's discriminator.

    Here, since every reader of the config must make the same players of it.

    Args:
        game: Newly built.
        init: That part of its config; older ones have none.

    Raises:
        UserError: There are no such blocks.
    """
    from gancli.games.freezing import freeze_discriminator

    n = init.get("freeze_d", 0) if isinstance(init, dict) else 0
    if not isinstance(n, int) or n < 0:
        raise UserError(f"init.freeze_d={show(n)} does not fit", "give a number of blocks, or 0")
    try:
        freeze_discriminator(game, n)
    except ValueError as error:
        raise UserError(first_line(error), "gan show lists the networks") from error
