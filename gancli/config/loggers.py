"""The part `logger` of a config: which programs follow a run, and what each is told.

Known without torch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from gancli.config.closed import find_section_problems
from gancli.config.hints import find_nearest
from gancli.config.values import show
from gancli.errors import Problem, did_you_mean


@dataclass(frozen=True)
class Plain:
    """A logger without settings, which writes in the run folder."""


@dataclass(frozen=True)
class WandbConfig:
    """What wandb.init is told; see conf/logger/wandb.yaml."""

    project: str
    entity: str | None
    group: str | None
    tags: tuple[str, ...]
    mode: Literal["online", "offline", "disabled"] | None


@dataclass(frozen=True)
class MlflowConfig:
    """Where MLflow keeps the run; see conf/logger/mlflow.yaml."""

    experiment: str
    tracking_uri: str | None


@dataclass(frozen=True)
class TrackioConfig:
    """What trackio.init is told; see conf/logger/trackio.yaml."""

    project: str
    group: str | None
    space_id: str | None


LOGGERS: dict[str, type] = {
    "tensorboard": Plain,
    "jsonl": Plain,
    "wandb": WandbConfig,
    "mlflow": MlflowConfig,
    "trackio": TrackioConfig,
}
# Packages that an extra of the same name brings; the others need none.
PACKAGES = ("wandb", "mlflow", "trackio")
USUAL: dict[str, dict[str, object]] = {"tensorboard": {}}  # of a run from before the choice


def find_logger_problems(section: object) -> list[Problem]:
    """Checks the part `logger` of a config: its names, and the keys and types of each."""
    if not isinstance(section, Mapping):
        hint = "choose options, such as logger=[tensorboard,wandb] (gan list logger)"
        return [(f"logger={show(section)} does not fit", hint)]
    found: list[Problem] = []
    for name, values in section.items():
        if name in LOGGERS:
            where = f"logger.{name}"
            found += find_section_problems(values, LOGGERS[name], where=where, bounds={})
        else:
            hint = did_you_mean(find_nearest(str(name), LOGGERS))
            found.append((f"unknown logger '{name}'", hint or f"loggers: {', '.join(LOGGERS)}"))
    return found


def find_missing_packages(names: Iterable[object]) -> list[Problem]:
    """Lists the chosen loggers whose package is not installed, and how to install it.

    Args:
        names: Of loggers; what is no logger is another check's.
    """
    return [
        (
            f"logger={name}: the package {name} is not installed",
            f"pip install 'gancli[{name}]'   or leave it out: logger=tensorboard",
        )
        for name in PACKAGES
        if name in names and not is_installed(name)
    ]


def is_installed(package: str) -> bool:
    """Can a package be imported? A folder of its name, such as wandb's own, is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None
