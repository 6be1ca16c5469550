"""The checked config of one run as Python sees it: frozen, typed and free of torch."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gancli.config.loggers import USUAL
from gancli.config.schema import (
    CLOSED,
    EmaConfig,
    InitConfig,
    LogConfig,
    MetricsConfig,
    TrainerConfig,
    WatchConfig,
)

T = TypeVar("T")


class Section(Mapping[str, Any]):
    """A read-only mapping whose nested mappings are sections and whose lists are tuples."""

    def __init__(self, values: Mapping[str, Any]):
        self._values = {key: freeze(value) for key, value in values.items()}

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Section({self._values})"

    def plain(self) -> dict[str, Any]:
        """Returns the section as a new tree of dicts and lists, as `config.build` takes it."""
        return {key: thaw(value) for key, value in self._values.items()}


@dataclass(frozen=True)
class RunConfig:
    """What one run does, with every `auto` filled in and every interpolation resolved.

    `trainer`, `ema`, `log`, `watch`, `metrics` and `init` have fixed keys, read as attributes:
    `config.trainer.steps`. The keys of the other sections are the arguments of the classes that
    they name: `config.model["generator"]["z_dim"]`.
    """

    seed: int
    model: Section
    loss: Section | None
    dataset: Section
    optimizer: Section  # a section for each player that has settings of its own
    augment: Section | None
    perceptual: Section | None
    trainer: TrainerConfig
    ema: EmaConfig
    log: LogConfig
    watch: WatchConfig
    metrics: MetricsConfig
    init: InitConfig
    logger: Section = field(default_factory=lambda: Section(USUAL))  # see config/loggers.py
    name: str | None = None
    resume: str | None = None
    trust: tuple[str, ...] | str | None = ()
    published: tuple[Section, ...] | None = None  # see schema.PublishedNumber

    @classmethod
    def from_plain(cls, config: Mapping[str, Any]) -> RunConfig:
        """Makes the frozen form of a checked config.

        The mapping is copied and may be changed afterwards.

        Args:
            config: A config that gate 2 has passed, or the `config` of a checkpoint.
        """
        fields = {key: freeze(value) for key, value in config.items()}
        for name, section in CLOSED.items():
            fields[name] = make_closed(section, config[name])
        return cls(**fields)

    def plain(self) -> dict[str, Any]:
        """Returns the config as a new tree of dicts and lists, as a checkpoint holds it."""
        return {field.name: thaw(getattr(self, field.name)) for field in dataclasses.fields(self)}


def make_closed(cls: type[T], values: Mapping[str, Any]) -> T:
    """Makes a closed section, such as `trainer`, of checked plain values.

    Args:
        cls: Its dataclass, see config/schema.py.
        values: Copied. Lists become tuples; a schedule stays the mapping that `schedules` reads.
    """
    return cls(
        **{
            key: tuple(value) if isinstance(value, list) else copy.deepcopy(value)
            for key, value in values.items()
        }
    )


def freeze(value: Any) -> Any:
    """Turns a plain tree into the same of sections and tuples."""
    if isinstance(value, Mapping):
        return Section(value)
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


def thaw(value: Any) -> Any:
    """Reverses `freeze`; a dataclass becomes a dict as well."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: thaw(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(item) for item in value]
    return value
