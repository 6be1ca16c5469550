"""HTML that nothing can break into: text is escaped unless this module made it.

A page runs nothing of its content.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from gancli.files import atomic

VOID = {"img", "input", "meta", "br"}
# Not allowed in HTML, and of no use in a report
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")


class Html(str):
    """Markup. Every other str is text and will be escaped."""


Node = str | Sequence["Node"] | None


def make_tag(name: str, *children: Node, at: Mapping[str, object] | None = None) -> Html:
    """Makes one element. at: attributes; None, False leave one out, True writes its name."""
    attributes = "".join(
        f" {key}" if value is True else f' {key}="{escape_text(str(value))}"'
        for key, value in (at or {}).items()
        if value is not None and value is not False
    )
    if name in VOID:
        return Html(f"<{name}{attributes}>")
    return Html(f"<{name}{attributes}>{render(children)}</{name}>")


def render(node: Node) -> Html:
    """Turns text, HTML, nothing, or a sequence of them into HTML."""
    if isinstance(node, Html):
        return node
    if node is None:
        return Html("")
    if isinstance(node, str):
        return escape_text(node)
    return Html("".join(render(child) for child in node))


def escape_text(value: str) -> Html:
    """Escapes a string."""
    return Html(html.escape(CONTROL.sub("\ufffd", value), quote=True))


def make_page(title: str, *body: Node) -> str:
    """Returns a whole document.

    Its policy lets the browser run our script and style by their hashes, show data: pictures, play
    data: sounds, and nothing else: no address is ever asked, and a script that came in with a run's
    text would be refused.
    """
    style = read_asset("page.css")
    script = read_asset("page.js")
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src {hash_source(style)}; "
        f"script-src {hash_source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    head = [
        make_tag("meta", at={"charset": "utf-8"}),
        make_tag("meta", at={"http-equiv": "Content-Security-Policy", "content": policy}),
        make_tag("meta", at={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        make_tag("meta", at={"name": "color-scheme", "content": "light dark"}),
        make_tag("title", title),
        make_tag("style", Html(style)),
    ]
    rest = make_tag("body", make_tag("main", body), make_tag("script", Html(script)))
    document = make_tag("html", make_tag("head", head), "\n", rest, at={"lang": "en"})
    return f"<!DOCTYPE html>\n{document}\n"


def read_asset(name: str) -> str:
    """Reads a file of this folder."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def hash_source(source: str) -> str:
    """Returns the hash by which the page's policy allows a script or a style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def write_page(path: Path, document: str) -> None:
    """Writes a document whole or not at all.

    What UTF-8 cannot hold, such as half a character in a file name, is written as an escape.
    """
    with atomic.replace_file(path) as aside:
        aside.write_bytes(document.encode("utf-8", "backslashreplace"))


def make_section(title: str, *body: Node, note: Node = None) -> Html:
    """Makes a part of the page with its title and, below it, a note."""
    return make_tag(
        "section",
        make_tag("h2", title),
        make_tag("p", note, at={"class": "note"}) if note else None,
        body,
    )


def make_table(
    head: Sequence[Node],
    rows: Sequence[Sequence[Node]],
    *,
    numeric: Sequence[int] = (),
    plain: bool = False,
) -> Html:
    """Makes a table that becomes a stack of cards on a narrow screen, unless `plain`.

    Args:
        head: The names of the columns.
        rows: A cell for each column.
        numeric: Columns that line up on the right.
        plain: Whether it stays a table everywhere.
    """
    cell: list[dict[str, object]] = [
        {"class": "num"} if k in numeric else {} for k in range(len(head))
    ]
    header = make_tag(
        "tr", [make_tag("th", name, at=cell[k] | {"scope": "col"}) for k, name in enumerate(head)]
    )
    # The inner element keeps a cell of several parts together, where a card sets its label and its
    # value apart.
    body = [
        make_tag(
            "tr",
            [
                make_tag(
                    "td",
                    make_tag("span", value) if value else None,
                    at=cell[k] | {"data-label": make_label(head[k])},
                )
                for k, value in enumerate(row)
            ],
        )
        for row in rows
    ]
    kind = "plain" if plain else "cards"
    titles = make_tag("thead", header) if any(head) else None
    return make_tag(
        "div",
        make_tag("table", titles, make_tag("tbody", body), at={"class": kind}),
        at={"class": "scroll"},
    )


def make_label(label: Node) -> str:
    """Makes the text of a column's head, without its markup."""
    if not isinstance(label, Html):
        return str(label or "")
    return html.unescape(re.sub(r"<[^>]*>", "", label))


def make_fold(title: Node, *body: Node, opened: bool = False) -> Html:
    """Makes a part that opens when its title is clicked."""
    return make_tag("details", make_tag("summary", title), body, at={"open": opened})


def format_figure(value: float | None) -> str:
    """Writes a number with four digits that tell something; an en dash for none."""
    return "\u2013" if value is None else f"{value:.4g}"


def format_two_digits(value: float) -> str:
    """Writes two digits of a deviation: 3.0, 0.75, 12."""
    return f"{value:#.2g}".removesuffix(".")


def format_thousands(value: float) -> str:
    """Writes 1200 as 1.2k: the numbers of an axis of steps."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.6g}{unit}"
    return f"{value:.6g}"
