"""A leaderboard in a terminal, in a pipe, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import sys

from gancli.display import duration
from gancli.reports.leaderboard import Board, Group, best_of, measured, value_of
from gancli.reports.markup import CONTROL, figure_text, two_digits
from gancli.reports.runs import Run

DASH = "-"


def leaderboard_rows(board: Board) -> tuple[list[str], list[list[str]]]:
    """-> the head and a row of text for each group, for a terminal or a pipe."""
    head = ["", "group", "runs", board.metric.key, "best", "time", "img/s"]
    return head, [
        [
            str(k + 1) if board.metric.mode and group.values() else DASH,
            group.label,
            runs_text(group),
            mean_text(group),
            best_text(group),
            DASH if group.seconds() is None else duration(group.seconds()),
            DASH if group.rate() is None else f"{group.rate():.0f}",
        ]
        for k, group in enumerate(board.groups)
    ]


def runs_text(group: Group) -> str:
    n = len(group.counted())
    return str(n) if n == len(group.runs) else f"{n} of {len(group.runs)}"


def mean_text(group: Group) -> str:
    if group.mean() is None:
        return DASH
    return figure_text(group.mean()) + (
        f" +- {two_digits(group.deviation())}" if group.deviation() is not None else ""
    )


def best_text(group: Group) -> str:
    best = group.best()
    if best is None or not group.metric.mode:
        return DASH
    return figure_text(best[2]) + (f" @ {best[1]}" if best[1] is not None else "")


def plain(head: list[str], rows: list[list[str]]) -> str:
    """Aligned columns, whole and unwrapped; texts to the left, numbers to the right."""
    head, *rows = [[printable(cell) for cell in row] for row in [head, *rows]]
    width = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width[k]) if k == 1 else cell.rjust(width[k]) for k, cell in enumerate(row)
        ).rstrip()
        for row in [head, *rows]
    )


def show(head: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for k, name in enumerate(head):
        grid.add_column(
            Text(name), justify="left" if k == 1 else "right", overflow="fold", no_wrap=k != 1
        )
    for k, row in enumerate(rows):
        grid.add_row(
            *(Text(printable(cell)) for cell in row),
            style="bold" if k == 0 and row[0] == "1" else "",
        )
    Console(highlight=False).print(grid)


def groups_csv(board: Board) -> str:
    """One line for each group of the leaderboard."""
    head = [
        "rank",
        "group",
        "runs",
        "counted",
        "metric",
        "mode",
        "mean",
        "std",
        "best",
        "best_step",
        "seconds",
        "img_per_s",
    ]
    rows = []
    for k, group in enumerate(board.groups):
        best = group.best()
        rows.append(
            [
                k + 1 if board.metric.mode and group.values() else None,
                group.label,
                len(group.runs),
                len(group.counted()),
                board.metric.key,
                board.metric.mode,
                group.mean(),
                group.deviation(),
                best and best[2],
                best and best[1],
                group.seconds(),
                group.rate(),
            ]
        )
    return as_csv(head, rows)


def runs_csv(board: Board) -> str:
    """One line for each run, with every metric that any of them has."""
    keys = list(
        dict.fromkeys(key for run in board.runs() for key in run.evaluation.get("values", {}))
    )
    head = [
        "run",
        "group",
        "seed",
        "state",
        "step",
        "steps",
        "seconds",
        "img_per_s",
        "best",
        "best_step",
        *keys,
        "reason",
        "folder",
    ]
    rows = []
    for group in board.groups:
        for run in group.runs:
            step, best = best_of(run, board.metric) or (None, None)
            rows.append(
                [
                    run.name,
                    group.label,
                    run.seed,
                    run.state,
                    run.step,
                    run.steps,
                    run.seconds,
                    run.rate,
                    best,
                    step,
                    *(run.evaluation.get("values", {}).get(key) for key in keys),
                    run.reason,
                    str(run.folder),
                ]
            )
    return as_csv(head, rows)


def as_csv(head: list[str], rows: list[list[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([map(cell, head), *([cell(value) for value in row] for row in rows)])
    return buffer.getvalue()


def cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula begins with an apostrophe."""
    return (
        "'" + value
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def printable(text: str) -> str:
    """`text` as this terminal can show it: names of files and runs may hold bytes that are no text, or control characters."""
    encoding = sys.stdout.encoding or "utf-8"
    return CONTROL.sub("\ufffd", text).encode(encoding, "backslashreplace").decode(encoding)


def say(text: str) -> None:
    """Prints a line whatever is in it."""
    print(printable(text))


def as_json(board: Board) -> dict:
    """Everything of the comparison as plain data."""
    metric = board.metric
    return {
        "metric": {"key": metric.key, "mode": metric.mode or None, "why": metric.why},
        "warnings": board.warnings,
        "groups": [group_json(group) for group in board.groups],
        "runs": [run_json(run, group, board) for group in board.groups for run in group.runs],
        "failed": [run.name for run in board.failed],
    }


def group_json(group: Group) -> dict:
    best = group.best()
    return {
        "group": group.label,
        "runs": len(group.runs),
        "counted": len(group.counted()),
        "mean": group.mean(),
        "std": group.deviation(),
        "best": best and best[2],
        "best_step": best and best[1],
        "best_run": best and best[0].name,
        "seconds": group.seconds(),
        "img_per_s": group.rate(),
    }


def run_json(run: Run, group: Group, board: Board) -> dict:
    step, best = best_of(run, board.metric) or (None, None)
    values = {key: value for key in measured(run) if (value := value_of(run, key)) is not None}
    return {
        "run": run.name,
        "group": group.label,
        "folder": str(run.folder),
        "seed": run.seed,
        "state": run.state,
        "reason": run.reason,
        "step": run.step,
        "steps": run.steps,
        "seconds": run.seconds,
        "img_per_s": run.rate,
        "best": best,
        "best_step": step,
        "values": values,
    }
