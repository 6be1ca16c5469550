"""A leaderboard in a terminal, in a pipe, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from gancli.render.display import duration
from gancli.render.messages import printable
from gancli.reports.leaderboard import Board, Group, Measured, find_value, list_measured
from gancli.reports.markup import format_figure, format_two_digits
from gancli.reports.runs import Run

DASH = "-"
SHORT = ("n_fake", "n_real", "split", "backbone", "ema", "seed")  # of a protocol, in one line


def list_leaderboard(board: Board) -> tuple[list[str], list[list[str]]]:
    """Makes the head and a row of text for each group, for a terminal or a pipe."""
    head = ["", "group", "runs", board.metric.key, "best", "time", "img/s"]
    rows = []
    for rank, group in zip(board.ranks(), board.groups, strict=True):
        seconds = group.seconds()
        rate = group.rate()
        rows.append(
            [
                DASH if rank is None else str(rank),
                group.label,
                format_runs(group),
                format_mean(group),
                format_best(group),
                DASH if seconds is None else duration(seconds),
                DASH if rate is None else f"{rate:.0f}",
            ]
        )
    return head, rows


def list_protocols(board: Board) -> list[str]:
    """Says what the numbers were measured with: the source, and what differs."""
    keys = find_differing_keys(board)
    lines = []
    for letter, each in board.protocols.items():
        facts = format_protocol(each, keys if len(board.protocols) > 1 else SHORT)
        mark = f"[{letter}] " if len(board.protocols) > 1 else ""
        lines.append(f"{mark}{each.source}: {facts}" if facts else f"{mark}{each.source}")
    return lines


def find_differing_keys(board: Board) -> list[str]:
    """Finds the entries of a protocol that are not the same in all that were met."""
    protocols = [each.protocol or {} for each in board.protocols.values()]
    keys = dict.fromkeys(key for item in protocols for key in item)
    return [key for key in keys if len({item.get(key) for item in protocols}) > 1]


def format_protocol(each: Measured, keys: Sequence[str]) -> str:
    """Writes some facts of a protocol in a line."""
    known = each.protocol or {}
    return ", ".join(f"{key} {known[key]}" for key in keys if key in known)


def format_runs(group: Group) -> str:
    """Says how many runs of a group count: "3", or "2 of 3"."""
    n = len(group.counted())
    return str(n) if n == len(group.runs) else f"{n} of {len(group.runs)}"


def format_mean(group: Group) -> str:
    """Writes the mean of a group with its deviation."""
    mean = group.mean()
    deviation = group.deviation()
    if mean is None:
        return DASH
    return format_figure(mean) + (
        f" +- {format_two_digits(deviation)}" if deviation is not None else ""
    )


def format_best(group: Group) -> str:
    """Writes the best value of a group and its step."""
    best = group.best()
    if best is None or not group.metric.mode:
        return DASH
    return format_figure(best[2]) + (f" @ {best[1]}" if best[1] is not None else "")


def format_table(head: list[str], rows: list[list[str]]) -> str:
    """Aligns columns, whole and unwrapped; texts to the left, numbers to the right."""
    head, *rows = [[printable(cell) for cell in row] for row in [head, *rows]]
    width = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width[k]) if k == 1 else cell.rjust(width[k]) for k, cell in enumerate(row)
        ).rstrip()
        for row in [head, *rows]
    )


def show_table(head: list[str], rows: list[list[str]]) -> None:
    """Prints a table on a terminal."""
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


def format_groups(board: Board) -> str:
    """Writes one line for each group of the leaderboard."""
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
        "protocol",
    ]
    rows: list[list[object]] = []
    for rank, group in zip(board.ranks(), board.groups, strict=True):
        best = group.best()
        rows.append(
            [
                rank,
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
                name_protocol(board, group),
            ]
        )
    return format_csv(head, rows)


def name_protocol(board: Board, group: Group) -> str:
    """Says the source of a group's numbers; with its letter where there are several."""
    letter = group.protocol or next(iter(board.protocols), "")
    if letter not in board.protocols:
        return ""
    source = board.protocols[letter].source
    return f"{letter} {source}" if group.protocol else source


def format_run_table(board: Board) -> str:
    """Writes one line for each run, with every metric that any of them has."""
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
    rows: list[list[object]] = []
    for group in board.groups:
        for run in group.runs:
            step, best = group.best_moment(run) or (None, None)
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
    return format_csv(head, rows)


def format_csv(head: list[str], rows: list[list[object]]) -> str:
    """Writes a table as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows(
        [map(format_cell, head), *([format_cell(value) for value in row] for row in rows)]
    )
    return buffer.getvalue()


def format_cell(value: object) -> object:
    """Writes a value; an apostrophe stands before what a spreadsheet takes for a formula."""
    return (
        "'" + value
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def collect_facts(board: Board) -> dict:
    """Collects everything of the comparison as plain data."""
    metric = board.metric
    return {
        "metric": {"key": metric.key, "mode": metric.mode or None, "why": metric.why},
        "warnings": board.warnings,
        "protocols": {
            letter: {"source": each.source, "protocol": each.protocol}
            for letter, each in board.protocols.items()
        },
        "groups": [
            collect_group(group, rank)
            for rank, group in zip(board.ranks(), board.groups, strict=True)
        ],
        "runs": [collect_run(run, group, board) for group in board.groups for run in group.runs],
        "failed": [run.name for run in board.failed],
    }


def collect_group(group: Group, rank: int | None) -> dict:
    """Returns a group as plain data."""
    best = group.best()
    return {
        "group": group.label,
        "rank": rank,
        "protocol": group.protocol or None,
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


def collect_run(run: Run, group: Group, board: Board) -> dict:
    """Returns a run as plain data."""
    step, best = group.best_moment(run) or (None, None)
    values = {
        key: value for key in list_measured(run) if (value := find_value(run, key)) is not None
    }
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
        "evaluations": {name: each["values"] for name, each in run.evaluations.items()},
    }
