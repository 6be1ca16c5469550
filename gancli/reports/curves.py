"""Curves as inline SVG: lines over steps, drawn at the size at which a page shows them.

So their text stays readable.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from gancli.reports.explained import explain_name
from gancli.reports.markup import Html, Node, format_figure, format_thousands, make_tag
from gancli.reports.runs import Points

WIDTH = 380
HEIGHT = 218
LEFT = 46
RIGHT = 10
TOP = 10
BOTTOM = 24
COLOURS = 8  # slots that page.css knows; "rest" is grey
WEIGHTS = ("faint", "normal", "bold")
MOST_POINTS = 360  # a line: more than one a pixel cannot be seen
# points from which a line is smoothed, and to how many
SMOOTH_FROM = 160
STRETCHES = 80


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart.

    Attributes:
        name: Of the number.
        points: (step, value); the line breaks where a value was not finite.
        slot: Its colour, 0 to 7, or -1 for grey.
        weight: bold, normal or faint.
        mark: A point to be ringed.
    """

    name: str
    points: Points
    slot: int = 0
    weight: str = "normal"
    mark: tuple[int, float] | None = None


@dataclass(frozen=True)
class Axis:
    """A range of values on a range of pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Returns the place of a value in pixels; values beyond the ends stay on the border."""
        value, low, high = (
            (math.log10(v) for v in (value, self.low, self.high))
            if self.log
            else (value, self.low, self.high)
        )
        return self.start + (min(max(value, low), high) - low) / (high - low) * (
            self.end - self.start
        )

    def ticks(self) -> list[float]:
        """Returns the round values that are written beside the axis."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10.0**k for k in powers][:: max(1, len(powers) // 5)] or [self.low, self.high]
        step = choose_step(self.high - self.low)
        return [
            k * step
            for k in range(
                # A hair wider: rounding must not lose a tick at the very end.
                math.ceil(self.low / step - 1e-9),
                math.floor(self.high / step + 1e-9) + 1,
            )
        ]


def choose_slot(index: int) -> int:
    """Returns the colour of the group with this number, -1 (grey) where colours run out."""
    return index if index < COLOURS else -1


def name_colour(index: int) -> str:
    """Returns the style class of a colour."""
    return f"s{index}" if index >= 0 else "rest"


def draw_chart(
    title: str, series: list[Series], *, legend: bool = False, log: bool = False
) -> Html | None:
    """Draws a figure with its title and one line for each series.

    Args:
        title: Above it.
        series: What is drawn.
        legend: Whether the names stand below.
        log: A logarithmic axis, where all values are positive and spread over two decades.

    Returns:
        The figure; None where nothing is finite.
    """
    values = sorted(value for line in series for _, value in line.points if value is not None)
    steps = [step for line in series for step, _ in line.points]
    if not values or len(set(steps)) < 2:  # a single point is no curve: the tables have its number
        return None
    low, high, cut = find_range(values)
    log = log and values[0] > 0 and values[-1] / values[0] >= 100
    if log:
        low = values[0] / 1.1
        high = values[-1] * 1.1
        cut = ""
    first = min(steps)
    last = max(steps)
    x = Axis(first, last if last > first else first + 1, LEFT, WIDTH - RIGHT)
    y = Axis(low, high, HEIGHT - BOTTOM, TOP, log)
    # Grey and faint lines first, so that what matters lies above them.
    lines = [
        draw_series(line, x, y)
        for line in sorted(series, key=lambda line: (line.slot >= 0, WEIGHTS.index(line.weight)))
    ]
    svg = make_tag(
        "svg",
        draw_axes(x, y),
        lines,
        at={"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": title},
    )
    notes = "; ".join(filter(None, ["logarithmic" if log else "", cut]))
    names = (
        [draw_key(explain_name(line.name), line.slot) for line in series if line.weight != "faint"]
        if legend
        else None
    )
    return make_tag(
        "figure",
        make_tag(
            "figcaption",
            make_tag("b", explain_name(title)),
            make_tag("span", names, at={"class": "keys"}) if names else None,
            make_tag("small", notes) if notes else None,
        ),
        svg,
        at={"class": "chart"},
    )


def find_point(moment: tuple[int | None, float] | None, points: Points) -> tuple[int, float] | None:
    """Finds a moment (step, value), if it is one of the points: what may be ringed."""
    if moment is None:
        return None
    step, value = moment
    return (step, value) if step is not None and (step, value) in points else None


def draw_key(name: Node, slot_index: int) -> Html:
    """Draws a name beside its colour."""
    return make_tag(
        "span",
        make_tag("i", at={"class": f"dot {name_colour(slot_index)}"}),
        name,
        at={"class": "key"},
    )


def find_range(values: list[float]) -> tuple[float, float, str]:
    """Finds the range of an axis.

    Spikes of one step would press everything else onto the axis.

    Args:
        values: Sorted.

    Returns:
        The low end, the high end, and how many values are cut off.
    """
    low = values[0]
    high = values[-1]
    cut = []
    if len(values) >= 20:
        # The middle 95 %: what lies far beyond is a spike, not the curve.
        q_low = values[len(values) // 40]
        q_high = values[-1 - len(values) // 40]
        reach = 1.5 * (q_high - q_low)
        if reach and high > q_high + reach:
            top = q_high + reach / 3
            cut.append(f"cut above {format_figure(top)}, where it reaches {format_figure(high)}")
            high = top
        if reach and low < q_low - reach:
            bottom = q_low - reach / 3
            cut.append(f"cut below {format_figure(bottom)}, where it reaches {format_figure(low)}")
            low = bottom
    room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return low - room, high + room, "; ".join(cut)


def choose_step(span: float, most: int = 5) -> float:
    """Returns the round distance between ticks that gives at most so many of them."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(power * m for m in (1, 2, 2.5, 5, 10) if span / (power * m) <= most)


def draw_axes(x: Axis, y: Axis) -> list[Html]:
    """Draws the grid lines and the values beside them."""
    parts = []
    for value in y.ticks():
        at = f"{y(value):.1f}"
        parts.append(
            make_tag(
                "path",
                at={
                    "class": "zero" if value == 0 else "rule",
                    "d": f"M{LEFT} {at}H{WIDTH - RIGHT}",
                },
            )
        )
        parts.append(
            make_tag(
                "text",
                format_tick(value),
                at={"x": LEFT - 6, "y": at, "dy": ".33em", "text-anchor": "end"},
            )
        )
    # A fifth of the usual number of ticks fits a phone; the last one is pulled in to stay inside.
    for value in x.ticks():
        anchor = "end" if x(value) > WIDTH - RIGHT - 12 else "middle"
        parts.append(
            make_tag(
                "text",
                format_thousands(value),
                at={"x": f"{x(value):.1f}", "y": HEIGHT - 7, "text-anchor": anchor},
            )
        )
    return parts


def format_tick(value: float) -> str:
    """Writes the value of a tick in few letters."""
    if abs(value) >= 1000:
        return format_thousands(value)
    text = f"{value:.6g}"
    return text if len(text) <= 6 else f"{value:.1e}"


def draw_series(line: Series, x: Axis, y: Axis) -> Html:
    """Draws one series; a point that stands alone is a dot.

    The line breaks where a value was not finite.
    """
    pieces: list[list[tuple[float, float]]] = [[]]
    for step, value in thin_points(line.points):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((x(step), y(value)))
    d = "".join(
        "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in piece) for piece in pieces if len(piece) > 1
    )
    dots = [draw_dot(*piece[0], radius=2) for piece in pieces if len(piece) == 1]
    ring = draw_dot(x(line.mark[0]), y(line.mark[1]), radius=4, kind="ring") if line.mark else None
    return make_tag(
        "g",
        make_tag("title", line.name),
        make_tag("path", at={"d": d}) if d else None,
        dots,
        ring,
        at={"class": f"line {line.weight} {name_colour(line.slot)}"},
    )


def draw_dot(x: float, y: float, *, radius: float, kind: str | None = None) -> Html:
    """Draws a point."""
    return make_tag("circle", at={"class": kind, "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": radius})


def thin_points(points: Points) -> Points:
    """Keeps at most MOST_POINTS, with each stretch's extremes: a spike must not vanish."""
    if len(points) <= MOST_POINTS:
        return points
    # Two points of each stretch are kept, its lowest and its highest.
    size = math.ceil(2 * len(points) / MOST_POINTS)
    kept = []
    for first in range(0, len(points), size):
        stretch = points[first : first + size]
        finite = {k: value for k, (_, value) in enumerate(stretch) if value is not None}
        ends = {0}
        if finite:
            ends = {min(finite, key=finite.__getitem__), max(finite, key=finite.__getitem__)}
        ends |= {
            k for k, (_, value) in enumerate(stretch) if value is None and k == len(stretch) - 1
        }
        kept += [stretch[k] for k in sorted(ends)]
    return kept


def smooth_points(points: Points) -> Points:
    """Returns a long, noisy curve as the medians of its stretches, which one spike does not lift.

    A short curve stays as it is.
    """
    if len(points) < SMOOTH_FROM:
        return points
    size = math.ceil(len(points) / STRETCHES)
    found = []
    for first in range(0, len(points), size):
        stretch = points[first : first + size]
        finite = [value for _, value in stretch if value is not None]
        found.append((stretch[len(stretch) // 2][0], statistics.median(finite) if finite else None))
    return found


def average_curves(curves: list[Points]) -> Points:
    """Averages runs at the steps that all of them logged; none where one was not finite."""
    by_step = [dict(points) for points in curves]
    steps = sorted(set.intersection(*(set(points) for points in by_step))) if by_step else []
    found: Points = []
    for step in steps:
        values = [points[step] for points in by_step]
        finite = [value for value in values if value is not None]
        whole = len(finite) == len(values)
        found.append((step, sum(finite) / len(finite) if whole else None))
    return found


def draw_strips(rows: list[tuple[list[float], float | None, int]]) -> list[Html | None]:
    """Draws for each row a small picture of where its values lie among those of all rows.

    Args:
        rows: (values, mean, slot) of each.

    Returns:
        A picture for each row, or None for each where the values have no spread.
    """
    everything = [value for values, _, _ in rows for value in values]
    if not everything or min(everything) == max(everything):
        return [None] * len(rows)
    x = Axis(min(everything), max(everything), 6, 134)
    pictures: list[Html | None] = []
    for values, mean, index in rows:
        parts = [make_tag("path", at={"class": "rule", "d": "M2 10H138"})]
        parts += [draw_dot(x(value), 10, radius=3.5) for value in values]
        parts += (
            [make_tag("path", at={"class": "mean", "d": f"M{x(mean):.1f} 2V18"})]
            if mean is not None
            else []
        )
        pictures.append(
            make_tag(
                "svg",
                make_tag("g", parts, at={"class": name_colour(index)}),
                at={
                    "class": "strip",
                    "viewBox": "0 0 140 20",
                    "role": "img",
                    "aria-label": "where its values lie among all",
                },
            )
        )
    return pictures
