"""What a page says about its own numbers: tooltips on names, and one table of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from gancli.metrics.legend import SECTIONS, Line, explain, find_line
from gancli.reports.markup import Html, Node, make_fold, make_section, make_table, make_tag
from gancli.reports.runs import Run

NONE: Mapping[str, Line] = MappingProxyType({})
# module of a game -> what its sample grid shows in a row
PANELS = {
    "gancli.games.translation": ("source", "output", "target"),
    "gancli.games.cyclegan": ("a", "a to b", "and back to a", "b", "b to a", "and back to b"),
    "gancli.games.styletransfer": ("content", "output", "style"),
}


def explain_name(name: str, label: str = "", *, own: Mapping[str, Line] = NONE) -> Node:
    """Gives a name its meaning as a tooltip; plain text where nobody knows it.

    Args:
        name: As metrics.jsonl or an evaluation has it.
        label: What is shown in its place.
        own: The lines of the user's own metrics.
    """
    meaning = own[name].what if name in own else explain(name)
    return make_tag("abbr", label or name, at={"title": meaning}) if meaning else label or name


def write_legend(names: Iterable[str], *, own: Mapping[str, Line] = NONE) -> Html | None:
    """Writes a foldable table of the numbers on a page.

    Args:
        names: As they are shown, in any order.
        own: The lines of the user's own metrics.
    """
    names = [name.removeprefix("eval/") for name in names]
    shown = {line.key for name in names if (line := find_line(name)) is not None}
    mine = [line for name, line in own.items() if name in names]
    if not shown and not mine:
        return None
    rows: list[list[Node]] = [
        [
            make_tag("code", line.key),
            line.what,
            line.unit,
            line.better or "\u2013",
            line.good.replace("`", ""),
        ]
        for lines in (*SECTIONS.values(), mine)
        for line in lines
        if line.key in shown or line in mine
    ]
    head = ["number", "what it is", "unit", "better", "good"]
    note = "gan list metrics has all of them. Words in capitals stand for a part that varies."
    return make_section(
        "What the numbers mean",
        make_fold(f"{len(rows)} numbers of this page", make_table(head, rows)),
        note=note,
    )


def name_panels(run: Run) -> tuple[str, ...]:
    """Names the columns of a sample grid of a model of images to images.

    Returns:
        () for other models and a user's own.
    """
    node = run.config.get("model")
    target = str(node.get("_target_", "")) if isinstance(node, dict) else ""
    module = target.rpartition(".")[0]
    return PANELS.get(module, ())


def write_panel_heads(run: Run) -> Html | None:
    """Writes the names of the columns, above a sample grid."""
    panels = name_panels(run)
    if not panels:
        return None
    return make_tag(
        "div", [make_tag("span", name) for name in panels], at={"class": f"panels of{len(panels)}"}
    )
