"""What a page says about its own numbers: a tooltip on each name, and one table of all that it shows."""

from __future__ import annotations

from collections.abc import Iterable

from gancli.metrics.legend import explain, find_line
from gancli.reports.markup import Html, Node, fold, section, table, tag


def named(name: str, label: str = "") -> Node:
    """A number's name with its meaning as a tooltip; plain text where nobody knows it."""
    meaning = explain(name)
    return tag("abbr", label or name, at={"title": meaning}) if meaning else label or name


def legend(names: Iterable[str]) -> Html | None:
    """A foldable table of the numbers on a page. names: as they are shown, in any order."""
    rows: dict[str, list[Node]] = {}
    for name in names:
        line = find_line(name)
        if line is not None:
            good = line.good.replace("`", "")
            better = line.better or "\u2013"
            rows.setdefault(line.key, [tag("code", line.key), line.what, line.unit, better, good])
    if not rows:
        return None
    head = ["number", "what it is", "unit", "better", "good"]
    note = "gan list metrics has all of them. Words in capitals stand for a part that varies."
    return section(
        "What the numbers mean",
        fold(f"{len(rows)} numbers of this page", table(head, list(rows.values()))),
        note=note,
    )
