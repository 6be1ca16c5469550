"""Values that change over training, each a pure function of the number of real images shown."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Literal, NotRequired, Protocol, TypedDict, cast, get_args, runtime_checkable

from gancli.config.values import NONNEGATIVE, Bound, is_number, is_spec, show
from gancli.errors import Problem, UserError


@runtime_checkable
class ScheduleFunction(Protocol):
    """What a schedule of the user's own is: a class whose objects are called with a number."""

    def __call__(self, nimg: int) -> float:
        """Returns the value after `nimg` real images, without a state or a random number."""


# 0.5, or {kind: cosine, start: 1, end: 0.1, end_kimg: 200}, or {_target_: my_schedules.Wave, ...}
Number = float | dict[str, float | str] | ScheduleFunction
# One after the other: [{start: 1, end: 0.1, start_kimg: 0, end_kimg: 200}, {...}]
Pieces = list[dict[str, float | str]]
Kind = Literal["linear", "cosine", "rampup"]
NEEDED = ("start", "end", "end_kimg")
NUMBERS = (*NEEDED, "start_kimg")
# Real images shown, at which a schedule of the user's own is tried before a run begins: up to
# 14 million, and no multiples of a round number, which a period of 1 kimg would all meet alike.
TRIED = (0, *(3**k for k in range(16)))


class Description(TypedDict):
    """A schedule as a config writes it."""

    start: float
    end: float
    end_kimg: float
    start_kimg: NotRequired[float]
    kind: NotRequired[Kind]


def ramp(nimg: int, *, start_kimg: float, end_kimg: float) -> float:
    """Rises from 0 at start_kimg to 1 at end_kimg, linearly; constant outside.

    Args:
        nimg: Real images shown.
        start_kimg: Thousands of real images.
        end_kimg: Thousands of real images, more than `start_kimg`.
    """
    return min(1.0, max(0.0, (nimg / 1000 - start_kimg) / (end_kimg - start_kimg)))


class Schedule:
    """A value that moves from `start` to `end`.

    Args:
        start: The value until `start_kimg`.
        end: The value from `end_kimg` on.
        end_kimg: Thousands of real images.
        start_kimg: Thousands of real images, fewer than `end_kimg`.
        kind: The shape between the two: linear; cosine, half a period of it; or rampup,
            exp(-5 (1 - t)^2) of the way, which begins at 0.7 % of it (Laine and Aila 2017,
            section 3; PGGAN's code).

    Raises:
        UserError: `kind` is unknown, or the schedule has no length.
    """

    def __init__(
        self,
        *,
        start: float,
        end: float,
        end_kimg: float,
        start_kimg: float = 0.0,
        kind: Kind = "linear",
    ):
        if kind not in get_args(Kind):
            raise UserError(f"schedule kind {kind!r} is not known", "use linear, cosine or rampup")
        if not 0 <= start_kimg < end_kimg:
            raise UserError(
                f"a schedule from start_kimg={start_kimg} to end_kimg={end_kimg} has no length",
                "end_kimg must be larger than start_kimg, and neither may be negative",
            )
        self.start = start
        self.end = end
        self.start_kimg = start_kimg
        self.end_kimg = end_kimg
        self.kind = kind

    def __call__(self, nimg: int) -> float:
        """Returns the value after `nimg` real images."""
        t = ramp(nimg, start_kimg=self.start_kimg, end_kimg=self.end_kimg)
        if self.kind == "cosine":
            t = 0.5 - 0.5 * math.cos(math.pi * t)
        elif self.kind == "rampup":
            t = math.exp(-5 * (1 - t) ** 2)
        return self.start + t * (self.end - self.start)


class Constant:
    """The same value always."""

    def __init__(self, value: float):
        self.value = value

    def __call__(self, nimg: int) -> float:
        """Returns the value, whatever `nimg` is."""
        return self.value


class OwnSchedule:
    """A schedule of the user's own, whose every value is looked at before it is used.

    A value that is no number would otherwise show much later, as weights that are not finite.
    """

    def __init__(self, function: ScheduleFunction):
        self.function = function

    def __call__(self, nimg: int) -> float:
        """Returns the value after `nimg` real images. Raises UserError where it is no number."""
        value = self.function(nimg)
        if not is_number(value):
            raise UserError(
                f"{name_of(self.function)} gives {show(value)} after {nimg:,} images",
                "a schedule returns a finite number, a plain Python float, for every nimg",
            )
        return float(value)


def name_of(function: ScheduleFunction) -> str:
    """Returns the dotted path of a schedule's class, as its `_target_` names it."""
    return f"{type(function).__module__}.{type(function).__qualname__}"


def schedule(value: Number) -> Schedule | Constant | OwnSchedule:
    """Makes the function that a value of a config describes.

    Args:
        value: A number, which stays what it is; a mapping, which describes a `Schedule`; or the
            object of a class of the user's own, already built.

    Raises:
        UserError: A mapping describes no schedule.
    """
    if not isinstance(value, dict):
        return OwnSchedule(value) if callable(value) else Constant(float(value))
    wrong = [
        key
        for key, part in value.items()
        if key != "kind" and not (key in NUMBERS and is_number(part))
    ]
    if wrong or not {*NEEDED} <= value.keys():
        raise UserError(
            f"{value} is no schedule: "
            + (f"{wrong[0]} does not fit" if wrong else f"it needs {', '.join(NEEDED)}"),
            "write one like {kind: cosine, start: 1, end: 0.1, end_kimg: 200}; start_kimg, of 0, "
            "may be added",
        )
    return Schedule(**cast(Description, value))  # its keys and numbers were looked at above


def schedule_problems(
    value: Number | None, *, where: str, bound: Bound = NONNEGATIVE
) -> list[Problem]:
    """Lists what is wrong with a number or a schedule that shall stay within a bound.

    Args:
        value: As a config holds it. One of the user's own classes is passed over: it can be
            tried only once its code may be imported (`find_own_schedule_problems`).
        where: The key, for the messages.
        bound: Holds at the start and at the end, and so between the two.

    Returns:
        (message, hint) of each mistake.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | dict) or is_spec(value):
        return []  # null, or reported as no number
    if not isinstance(value, dict) and not is_number(value):
        return [(f"{where}={value} does not fit", "give a finite number")]
    try:
        fits = all(bound.holds(schedule(value)(nimg)) for nimg in (0, 10**15))
    except UserError as error:
        return [(f"{where}: {error.message}", error.hint)]
    return [] if fits else [(f"{where}={value} does not fit", bound.describe())]


def find_own_schedule_problems(
    make: Callable[[], ScheduleFunction], *, where: str, bound: Bound = NONNEGATIVE
) -> list[Problem]:
    """Tries a schedule of the user's own at the start of a run and at some later points.

    Args:
        make: Builds the schedule.
        where: The key, for the messages.
        bound: What its values must keep to.

    Returns:
        (message, hint) of the first mistake.
    """
    nimg = 0
    try:
        tried = schedule(make())
        for nimg in TRIED:
            value = tried(nimg)
            if not bound.holds(value):
                message = f"{where}: its value after {nimg:,} images, {value:g}, does not fit"
                return [(message, bound.describe())]
    except UserError as error:
        return [(f"{where}: {error.message.removeprefix(f'{where}: ')}", error.hint)]
    except Exception as error:  # noqa: BLE001 - what a user's code can raise has no end
        said = f"{type(error).__name__}: {error}"
        return [
            (
                f"{where}: the schedule raised {said}, after {nimg:,} images",
                "it is called with nimg, a whole number, and returns a number",
            )
        ]
    return []


def find_piece(nimg: int, pieces: Pieces) -> Schedule:
    """Returns the piece that has begun last after `nimg` real images; before all of them the first.

    Args:
        nimg: Real images shown.
        pieces: Schedules one after the other, as a config writes them.
    """
    made = [Schedule(**cast(Description, piece)) for piece in pieces]
    begun = [piece for piece in made if piece.start_kimg <= nimg / 1000]
    return begun[-1] if begun else made[0]


def find_piece_problems(pieces: Pieces, *, where: str) -> list[Problem]:
    """Lists what is wrong with pieces: each begins where the one before has ended, or later.

    Args:
        pieces: Schedules one after the other, as a config writes them.
        where: The key, for the messages.

    Returns:
        (message, hint) of each mistake.
    """
    if not pieces:
        return [(f"{where}=[] has no pieces", f"add one, or {where}=constant")]
    found = [
        problem
        for k, piece in enumerate(pieces)
        for problem in schedule_problems(piece, where=f"{where}[{k}]")
    ]
    if found:
        return found
    made = [Schedule(**cast(Description, piece)) for piece in pieces]
    return [
        (
            f"{where}[{k + 1}] starts at {piece.start_kimg:g} thousand images, before the piece "
            f"before it ends at {before.end_kimg:g}",
            f"start_kimg: {before.end_kimg:g}, or later",
        )
        for k, (before, piece) in enumerate(itertools.pairwise(made))
        if piece.start_kimg < before.end_kimg
    ]


def lr_factor(
    nimg: int,
    *,
    kind: str | Pieces,
    start_kimg: float,
    end_kimg: float | None,
    final: float,
    step_kimg: float | None,
    gamma: float,
    warmup_kimg: float,
) -> float:
    """Computes what the learning rate is multiplied by: a warm-up times one of five shapes.

    Args:
        nimg: Real images shown.
        kind: constant: 1. linear, cosine: from 1 at `start_kimg` to `final` at `end_kimg`. step:
            times `gamma` every `step_kimg`. Pieces: schedules one after the other; between two the
            end of the first holds.
        start_kimg: Thousands of real images before the shape begins.
        end_kimg: Thousands of real images; needed by linear and cosine.
        final: The factor at the end.
        step_kimg: Thousands of real images between two steps; needed by step.
        gamma: The factor of one step.
        warmup_kimg: Thousands of real images in which the factor rises from 0; 0 for none.
    """
    # 0 at the very first step, which then only fills Adam's moments.
    warm = 1.0 if warmup_kimg == 0 else min(1.0, (nimg / 1000) / warmup_kimg)
    if isinstance(kind, list):
        return warm * find_piece(nimg, kind)(nimg)
    if kind == "step":
        assert step_kimg is not None, "check() asks for step_kimg where the schedule is step"
        return warm * gamma ** int(max(0.0, nimg / 1000 - start_kimg) / step_kimg)
    if kind == "constant":
        return warm
    assert end_kimg is not None, "check() asks for end_kimg where the schedule has an end"
    shape = Schedule(
        kind=cast(Kind, kind), start=1.0, end=final, start_kimg=start_kimg, end_kimg=end_kimg
    )
    return warm * shape(nimg)
