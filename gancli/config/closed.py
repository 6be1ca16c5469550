"""The closed parts of a config against their dataclasses: keys, types, bounds; without torch."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence

from gancli.config.hints import find_nearest
from gancli.config.plain import Plain
from gancli.config.schema import Descriptions
from gancli.config.values import (
    CLOSED_BOUNDS,
    NONNEGATIVE,
    PLAYER_BOUNDS,
    SEED,
    Bound,
    describe_type,
    find_misfits,
    find_outside,
    is_number,
    is_spec,
    show,
)
from gancli.errors import Problem, did_you_mean
from gancli.schedules import Number, ScheduleFunction, find_piece_problems, schedule_problems

# The numbers that a schedule of a player goes by
OF_SCHEDULE = {
    "linear": ("start_kimg", "end_kimg", "final"),
    "cosine": ("start_kimg", "end_kimg", "final"),
    "step": ("start_kimg",),
}


def describe_kept_schedules(players: object, typed: Sequence[str]) -> list[str]:
    """Says which numbers of a typed schedule were not typed, where it begins late.

    An option of optimizer/ such as ttur_quick has a start of its own, and whoever types another
    schedule would take it for 0, as _schedule.yaml has it.

    Args:
        players: The part `optimizer`, plain; interpolations may stand in it. What does not fit is
            passed over: the checks tell of it.
        typed: The words of the command line.

    Returns:
        A note for each such player.
    """
    if not isinstance(players, dict):
        return []
    keys = {word.lstrip("+").partition("=")[0] for word in typed}
    shared = players.get("g")
    notes = []
    for name, spec in players.items():
        where = f"optimizer.{name}"
        if not isinstance(spec, dict) or f"{where}.schedule" not in keys:
            continue
        if "_target_" not in spec and isinstance(shared, dict):
            spec = shared | spec
        kind = spec.get("schedule")
        start = spec.get("start_kimg")
        if not isinstance(kind, str) or not is_number(start) or start == 0:
            continue
        kept = [
            f"{key}={spec[key]:g}"
            for key in OF_SCHEDULE.get(kind, ())
            if f"{where}.{key}" not in keys and is_number(spec.get(key))
        ]
        if kept and f"{where}.start_kimg" not in keys:
            notes.append(
                f"{where}.schedule={kind} goes by {', '.join(kept)}, which you did not type: "
                f"{where}.start_kimg=0 begins at once"
            )
    return notes


def refuse_classes(spec: Plain, annotation: object, where: str) -> list[Problem]:
    """Refuses {_target_: ...} in a closed part, which has plain values and schedules only."""
    if annotation is ScheduleFunction:  # gate 2 looks at it: its class may import torch
        return []
    return [(f"{where}={show(spec)} does not fit", f"give {describe_type(annotation)}")]


def find_value_problems(
    value: object, annotation: object, *, where: str, bound: Bound | None = None
) -> list[Problem]:
    """Checks one value against its type and its bound."""
    if annotation == Descriptions:
        return find_description_problems(value, where=where)
    found = find_misfits(value, annotation, where=where, nested=refuse_classes)
    if found or bound is None:
        return found
    if isinstance(value, dict):
        return schedule_problems(value, where=where, bound=bound)
    return find_outside(value, bound, where=where)


def find_description_problems(value: object, *, where: str) -> list[Problem]:
    """Names with descriptions of classes, as far as that shows without importing one."""
    example = f"{where}.NAME={{_target_: my_package.MyClass}}"
    if not isinstance(value, dict):
        return [(f"{where}={show(value)} does not fit", f"give one like {example}")]
    return [
        (f"{where}.{name}={show(item)} does not fit", f"give one like {example}")
        for name, item in value.items()
        if not is_spec(item)
    ]


def find_section_problems(
    spec: object, cls: type, *, where: str, bounds: Mapping[str, Bound], unknown: bool = True
) -> list[Problem]:
    """Checks a section of a config against the dataclass that describes it.

    Args:
        spec: The section.
        cls: The dataclass.
        where: Its key, for the messages.
        bounds: Key -> bound.
        unknown: Report keys that the dataclass does not have; gate 1 has done so already.
    """
    fields = dataclasses.fields(cls)
    names = [field.name for field in fields]
    if not isinstance(spec, dict):
        hint = f"{where} is a mapping; change single keys, such as {where}.{names[0]}=..."
        return [(f"{where}={show(spec)} does not fit", hint)]
    types = typing.get_type_hints(cls)
    found: list[Problem] = []
    for key, value in spec.items():
        if key in types:
            place = f"{where}.{key}"
            found += find_value_problems(value, types[key], where=place, bound=bounds.get(key))
        elif unknown:
            close = find_nearest(str(key), names)
            hint = did_you_mean(close) or f"keys of {where}: {', '.join(names)}"
            found.append((f"unknown key {where}.{key}", hint))
    for field in fields:
        if field.name not in spec and field.default is dataclasses.MISSING:
            what = describe_type(types[field.name])
            found.append((f"{where}.{field.name} is missing", f"do not drop it: give {what}"))
    return found


def find_closed_problems(
    config: Mapping[str, object], sections: Mapping[str, type], *, unknown: bool = True
) -> list[Problem]:
    """Checks all closed sections of a config, and the seed.

    Args:
        config: Key -> value; a section that is not in it is passed over.
        sections: Name -> its dataclass.
        unknown: As for `find_section_problems`.
    """
    found = (
        find_value_problems(config["seed"], int, where="seed", bound=SEED)
        if "seed" in config
        else []
    )
    for name, cls in sections.items():
        if name in config:
            bounds = CLOSED_BOUNDS.get(name, {})
            found += find_section_problems(
                config[name], cls, where=name, bounds=bounds, unknown=unknown
            )
    return found


# The keys that almost every torch optimizer shares: their values are checked here, for every
# optimizer alike and before torch is loaded. Of betas the optimizer itself says how many it takes.
SHARED: dict[str, object] = {"lr": Number, "betas": list[float], "weight_decay": float}


def find_player_problems(values: object, cls: type, *, where: str) -> list[Problem]:
    """Checks the keys of optimizer.<player> that are ours or shared by all optimizers.

    Args:
        values: The player's settings.
        cls: The dataclass of our keys.
        where: Its key, for the messages.
    """
    if not isinstance(values, dict):
        hint = f"change single keys, such as {where}.lr=1e-4"
        return [(f"{where}={show(values)} does not fit", hint)]
    types = typing.get_type_hints(cls)
    found: list[Problem] = []
    if values.get("rest") is not None:
        found += find_rest_problems(values["rest"], where=f"{where}.rest")
    for key, value in values.items():
        annotation = types.get(key) or SHARED.get(key)
        if annotation is not None and key != "rest":
            found += find_value_problems(
                value, annotation, where=f"{where}.{key}", bound=find_bound(key, value)
            )
    return found or find_player_conflicts(values, cls, where=where)


def find_bound(key: str, value: object) -> Bound | None:
    """Finds the bound of a player's key; a learning rate's schedule may begin or end at 0."""
    return NONNEGATIVE if key == "lr" and isinstance(value, dict) else PLAYER_BOUNDS.get(key)


def find_rest_problems(rest: object, *, where: str) -> list[Problem]:
    """Finds what is wrong with optimizer.<player>.rest, as far as it shows without its class.

    Args:
        rest: What the config says.
        where: The key, for the messages.
    """
    example = "{_target_: torch.optim.AdamW, lr: 2e-4}"
    if not isinstance(rest, dict):
        return [(f"{where}={show(rest)} does not fit", f"give one like {example}, or null")]
    found: list[Problem] = []
    for key, value in rest.items():
        if key in SHARED:
            bound = find_bound(key, value)
            found += find_value_problems(value, SHARED[key], where=f"{where}.{key}", bound=bound)
    if "lr" not in rest:
        found.append((f"{where}.lr is missing", f"give it as in {example}"))
    return found


def find_player_conflicts(values: Plain, cls: type, *, where: str) -> list[Problem]:
    """Finds mistakes of a player that its keys show only together, such as a missing lr."""
    names = [field.name for field in dataclasses.fields(cls)]
    ours = cls(**{key: values[key] for key in names if key in values})
    found: list[Problem] = []
    if "lr" not in values:
        found.append((f"{where}.lr is missing", f"add {where}.lr=2e-4"))
    if ours.beta2 is not None and "betas" not in values:
        found.append(
            (
                f"{where}.beta2 replaces the second of betas, and there are none",
                f"add {where}.betas=[0.0,0.9], or {where}.beta2=null",
            )
        )
    if isinstance(ours.schedule, list):
        found += find_piece_problems(ours.schedule, where=f"{where}.schedule")
    ends = ours.schedule in ("linear", "cosine")
    if ends and ours.end_kimg is not None and ours.end_kimg <= ours.start_kimg:
        found.append(
            (
                f"{where}.schedule={ours.schedule} would end at {ours.end_kimg:g} thousand images, "
                f"before it starts at {ours.start_kimg:g}",
                f"add {where}.start_kimg=0, or give a later {where}.end_kimg",
            )
        )
    if ends and ours.end_kimg is None:
        found.append(
            (
                f"{where}.schedule={ours.schedule} has no end",
                f"add {where}.end_kimg=..., in thousands of real images",
            )
        )
    if ours.schedule == "step" and ours.step_kimg is None:
        found.append(
            (
                f"{where}.schedule=step has no period",
                f"add {where}.step_kimg=..., in thousands of real images",
            )
        )
    return found
