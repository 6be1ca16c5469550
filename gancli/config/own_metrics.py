"""The part `metrics.own` of a config in gate 2: metrics of the user's own, whose code is imported.

A name below it stands in every table of numbers, so it must not be one of gancli's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from gancli.config.build import build, find_problems, is_subclass, locate
from gancli.config.values import is_spec, show
from gancli.errors import GanError, Problem, Problems, UserError, reason_of
from gancli.metrics.legend import find_line
from gancli.metrics.own import Metric, better_of

NAME = re.compile(r"[A-Za-z]\w{0,39}")


def find_own_metric_problems(
    own: Mapping[str, Any], *, trust: tuple[str, ...] | None = None
) -> list[Problem]:
    """Lists everything wrong with metrics of the user's own: names, classes and keys.

    Args:
        own: Name -> description, `{_target_: my_metrics.Sharpness, ...}`.
        trust: As in `config.build.build`.
    """
    return [
        problem
        for name, spec in own.items()
        for problem in find_metric_problems(str(name), spec, trust=trust)
    ]


def find_metric_problems(
    name: str, spec: object, *, trust: tuple[str, ...] | None
) -> list[Problem]:
    """Lists everything wrong with one metric; its arguments are those of the function above."""
    where = f"metrics.own.{name}"
    if not NAME.fullmatch(name):
        return [(f"{where}: {show(name)} is no name", "give letters, digits and _, at most 40")]
    if find_line(name) is not None:
        return [(f"{where}: {name} is a number of gancli's own", "choose another name")]
    if not is_spec(spec):
        example = f"{where}={{_target_: my_metrics.Sharpness}}"
        return [(f"{where}={show(spec)} does not fit", f"give one like {example}")]
    found = find_problems(spec, where=where, trust=trust)
    if found or is_subclass(locate(spec["_target_"], trust=trust), Metric):
        return found
    hint = "derive it from gancli.metrics.own.Metric"
    return [(f"{where}._target_: {spec['_target_']} is no Metric", hint)]


def check_typed_metrics(own: Mapping[str, Any]) -> None:
    """Raises Problems with everything that is wrong with typed metrics, before images are read."""
    found = find_own_metric_problems(own)
    if found:
        raise Problems(found)


def fill_best_mode(metrics: dict[str, Any]) -> list[Problem]:
    """Takes the direction of the metric that best.pt follows from the user's own class, in place.

    Args:
        metrics: The part `metrics`, whose `own` is free of mistakes.

    Returns:
        The mistake, where the class says of neither direction that it is better.
    """
    best = metrics["best"]
    own = metrics.get("own") or {}
    if best not in own or metrics["best_mode"] is not None:
        return []
    direction = better_of(cast(type[Metric], locate(own[best]["_target_"], trust=None)))
    if not direction:
        message = f"metrics.best={best}: is more of it better, or less?"
        return [(message, "set higher_is_better in its class, or add metrics.best_mode=max or min")]
    metrics["best_mode"] = {"lower": "min", "higher": "max"}[direction]
    return []


def build_own_metrics(
    own: Mapping[str, Any], *, trust: tuple[str, ...] | None
) -> tuple[dict[str, Metric], dict[str, str]]:
    """Builds metrics of the user's own, each for itself.

    Args:
        own: Name -> description; a checkpoint's may hold anything.
        trust: As in `config.build.build`.

    Returns:
        The metrics by name, and for each that could not be built the reason in a line.
    """
    built: dict[str, Metric] = {}
    skipped: dict[str, str] = {}
    for name, spec in own.items():
        try:
            for problem in find_metric_problems(str(name), spec, trust=trust):
                raise UserError(*problem)
            built[name] = build(spec, where=f"metrics.own.{name}", trust=trust)
        except GanError as error:
            skipped[str(name)] = reason_of(error)
        except Exception as error:  # noqa: BLE001 - what a user's constructor raises has no end
            skipped[str(name)] = f"it could not be built: {reason_of(error)}"
    return built, skipped


def list_packages(own: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the packages whose classes are named, which whoever types them trusts."""
    targets = [str(spec["_target_"]) for spec in own.values() if is_spec(spec)]
    return tuple(sorted({target.partition(".")[0] for target in targets}))
