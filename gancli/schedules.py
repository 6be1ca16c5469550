"""Values that change over training, each a pure function of the number of real images shown."""

from __future__ import annotations

import math
from typing import Literal, NotRequired, TypedDict, cast, get_args

from gancli.config.values import NONNEGATIVE, Bound, is_number
from gancli.errors import UserError

# 0.5, or {kind: cosine, start: 1, end: 0.1, end_kimg: 200}
Number = float | dict[str, float | str]
# One after the other: [{start: 1, end: 0.1, start_kimg: 0, end_kimg: 200}, {...}]
Pieces = list[dict[str, float | str]]
Kind = Literal["linear", "cosine", "rampup"]
NEEDED = ("start", "end", "end_kimg")
NUMBERS = (*NEEDED, "start_kimg")


class Description(TypedDict):
    """A schedule as a config writes it."""

    start: float
    end: float
    end_kimg: float
    start_kimg: NotRequired[float]
    kind: NotRequired[Kind]


def ramp(nimg: int, *, start_kimg: float, end_kimg: float) -> float:
    """0 before start_kimg, 1 after end_kimg, linear between."""
    return min(1.0, max(0.0, (nimg / 1000 - start_kimg) / (end_kimg - start_kimg)))


class Schedule:
    """From `start` to `end` between start_kimg and end_kimg (thousands of real images).

    kind: linear; cosine, half a period of it; or rampup, exp(-5 (1 - t)^2) of the way, which begins
    at 0.7 % of it (Laine and Aila 2017, section 3; PGGAN's code)
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
        return self.value


def schedule(value: Number) -> Schedule | Constant:
    """A plain number stays what it is; a mapping describes a `Schedule`.

    Raises UserError for one that does not."""
    if not isinstance(value, dict):
        return Constant(float(value))
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
) -> list[tuple[str, str]]:
    """A number, or a schedule, that shall stay within a bound; where: its key. -> (message, hint)
    of each mistake."""
    if isinstance(value, bool) or not isinstance(value, int | float | dict):
        return []  # null, or reported as no number
    if not isinstance(value, dict) and not is_number(value):
        return [(f"{where}={value} does not fit", "give a finite number")]
    try:
        fits = all(bound.holds(schedule(value)(nimg)) for nimg in (0, 10**15))
    except UserError as error:
        return [(f"{where}: {error.message}", error.hint)]
    return [] if fits else [(f"{where}={value} does not fit", bound.describe())]


def find_piece(nimg: int, pieces: Pieces) -> Schedule:
    """The piece that has begun last after nimg real images; before all of them the first."""
    made = [Schedule(**cast(Description, piece)) for piece in pieces]
    begun = [piece for piece in made if piece.start_kimg <= nimg / 1000]
    return begun[-1] if begun else made[0]


def find_piece_problems(pieces: Pieces, *, where: str) -> list[tuple[str, str]]:
    """Each piece is a schedule, and begins where the one before has ended, or later.

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
        for k, (before, piece) in enumerate(zip(made, made[1:], strict=False))
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
    """What the learning rate is multiplied by after nimg real images: a warm-up times one of five
    shapes.

    constant: 1. linear, cosine: from 1 at start_kimg to `final` at end_kimg. step: times gamma
    every step_kimg. Pieces: schedules one after the other; between two the end of the first holds.
    """
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
