"""`gan list`: every option of every group with its one line."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from gancli.commands.endings import say_end
from gancli.config.arguments import resolve_config_dir
from gancli.config.folders import find_conf_dir, list_options, read_description
from gancli.config.hints import find_nearest
from gancli.config.measured import (
    Forecast,
    Measured,
    describe_forecast,
    describe_measured,
    describe_processors,
    describe_values,
    find_experiment,
    mean,
    read_forecasts,
    read_measured,
)
from gancli.config.published import describe_published, read_published
from gancli.errors import UserError, did_you_mean
from gancli.files import shell
from gancli.files.zoo import PREFIX, Entry, list_zoo, read_zoo
from gancli.machine import multiplies_bf16
from gancli.metrics.legend import as_data
from gancli.render.messages import say

Legend = dict[str, list[dict[str, str]]]  # section -> lines
Table = dict[str, dict[str, str]]  # group -> option -> its line
# group -> option -> what is known of it beside its line, a line each
Numbers = dict[str, dict[str, list[str]]]

ZOO = "zoo"  # no group of configs, but the trained generators of the package
SMALL = ("_small", "_ring", "_grid")  # how the names of experiments end that take minutes


class Request(NamedTuple):
    """What is typed behind `gan list`.

    Attributes:
        groups: Of options; none stand for all.
        dirs: Folders of the user's own with groups and options.
        as_json: Whether everything is printed as plain data.
    """

    groups: list[str]
    dirs: list[Path]
    as_json: bool


def main(argv: list[str]) -> int:
    """Prints a line for each option of the groups.

    Raises:
        UserError: There is no such group, folder or flag.
    """
    groups, dirs, as_json = read_request(argv)
    found = list_options([find_conf_dir(), *dirs])
    known = [*found, ZOO]
    for group in groups:
        if group not in known:
            hint = did_you_mean(find_nearest(group, known))
            raise UserError(
                f"no group '{group}'",
                "\n".join(filter(None, [hint, f"groups: {', '.join(known)}"])),
            )
    measured = read_measured()
    forecasts = read_forecasts()
    if "experiment" in found:
        found["experiment"] = sort_experiments(found["experiment"], measured)
    table = {
        group: {option: read_description(path) for option, path in found[group].items()}
        for group in groups or found
        if group != ZOO
    }
    zoo = read_zoo() if ZOO in groups or not groups else []
    if zoo:
        table[ZOO] = {f"{ZOO}/{entry['name']}": entry["about"] for entry in zoo}
    legend = as_data() if "metrics" in groups else {}
    papers = found.get("experiment", {}) if "experiment" in groups else {}
    entries = {name: read_published(path) for name, path in papers.items()}
    if as_json:
        whole: dict[str, object] = {**table}
        if legend:
            whole["legend"] = legend
        if papers:
            whole |= {"published": entries, "measured": measured, "forecasts": forecasts}
        if ZOO in groups:
            whole |= {"files": zoo}
        print(json.dumps(whole, indent=2, ensure_ascii=False))
        return 0
    numbers: Numbers = {
        "experiment": {
            name: [
                *describe_entry(name, measured, forecasts),
                *(f"published: {describe_published(entry)}" for entry in entries[name]),
            ]
            for name in papers
        },
        ZOO: {f"{ZOO}/{entry['name']}": describe_file(entry) for entry in zoo},
    }
    # Under the heading: what the times below it are, for whom
    notes = {"experiment": describe_processors(multiplies_bf16())} if papers else {}
    if sys.stdout.isatty():
        show_table(table, numbers, notes)
        show_legend(legend)
    else:
        say(format_table(table, numbers, notes))
        print(format_legend(legend), end="")
    say_end("", choose_next(list(table)))
    return 0


def sort_experiments(experiments: dict[str, Path], measured: list[Measured]) -> dict[str, Path]:
    """Sorts small experiments to the front: measured ones, the quickest first, then the others."""

    def rank(name: str) -> tuple[bool, bool, float]:
        entry = find_experiment(measured, name)
        seconds = 0.0 if entry is None else mean(entry["cpu_s"])
        return entry is None, not name.endswith(SMALL), seconds

    return {name: experiments[name] for name in sorted(experiments, key=rank)}


def describe_entry(name: str, measured: list[Measured], forecasts: list[Forecast]) -> list[str]:
    """Writes the line of what was measured of an experiment, or at least of how long it takes."""
    entry = find_experiment(measured, name)
    if entry is not None:
        return [f"measured: {describe_measured(entry, forecasts)}"]
    words = [f"experiment={name}"]
    return [describe_forecast(found) for found in forecasts if found["words"] == words]


def describe_file(entry: Entry) -> list[str]:
    """Writes the lines of a trained generator: its size, what it reached, and what made it."""
    reached = describe_values({key: [value] for key, value in entry["values"].items()})
    words = shell.join([*entry["words"], f"seed={entry['seed']}"])
    return [
        f"{entry['item']}; {entry['parameters']:,} parameters, {entry['bytes'] / 1000:.0f} kB",
        f"reached: {reached}",
        f"made by: gan train {words}",
    ]


def choose_next(groups: list[str]) -> list[str]:
    """Chooses the command to type next."""
    if groups == [ZOO]:
        return ["gan", "sample", f"ckpt={PREFIX}{list_zoo()[0]}"]
    if groups == ["metrics"]:
        return ["gan", "evaluate", "--help"]
    return ["gan", "train", "--help"] if len(groups) == 1 else ["gan", "list", "metrics"]


def read_request(argv: list[str]) -> Request:
    """Reads the words behind `gan list`. Raises UserError."""
    groups: list[str] = []
    dirs: list[Path] = []
    as_json = False
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        flag, _, value = word.partition("=")
        if word == "--json":
            as_json = True
        elif flag in ("--config-dir", "-cd"):
            if not value and not rest:
                raise UserError(f"{flag} needs a value", f"{flag} DIR")
            dirs.append(resolve_config_dir(value or rest.pop(0)))
        elif word.startswith("-"):
            known = ["--json", "--config-dir", "--help"]
            raise UserError(
                f"unknown flag '{flag}'",
                did_you_mean(find_nearest(flag, known)) or f"flags: {', '.join(known)}",
            )
        else:
            groups.append(word)
    return Request(groups, dirs, as_json)


def format_table(table: Table, numbers: Numbers, notes: dict[str, str]) -> str:
    """Writes one option a line, unwrapped, for pipes; below it what is known of its runs.

    Args:
        table: The options.
        numbers: What is known of their runs.
        notes: Of a group, in brackets behind its name.
    """
    width = max((len(option) for found in table.values() for option in found), default=0)
    return "\n\n".join(
        "\n".join(
            [
                f"{group} ({notes[group]})" if group in notes else group,
                *(
                    f"  {name:{width}}  {text}".rstrip()
                    for option, line in found.items()
                    for name, text in list_rows(option, line, group, numbers)
                ),
            ]
        )
        for group, found in table.items()
    )


def list_rows(option: str, line: str, group: str, numbers: Numbers) -> list[tuple[str, str]]:
    """Yields an option with its line, and what its paper reports, without the name."""
    reported = numbers.get(group, {}).get(option, [])
    return [(option, line), *(("", f"  {text}") for text in reported)]


def show_table(table: Table, numbers: Numbers, notes: dict[str, str]) -> None:
    """Shows the same on a terminal, each line folded within its own column."""
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(highlight=False)
    width = max(len(option) for found in table.values() for option in found)
    narrow = shutil.get_terminal_size().columns < 2 * width
    for group, found in table.items():
        console.print(Text(group, style="bold"))
        if group in notes:
            console.print(Text(f"  {notes[group]}", style="dim"))
        grid = Grid(box=None, show_header=False, padding=(0, 0, 0, 2))
        grid.add_column(no_wrap=not narrow, min_width=None if narrow else width, style="cyan")
        grid.add_column(overflow="fold")
        for option, line in found.items():
            for name, text in list_rows(option, line, group, numbers):
                grid.add_row(Text(name), Text(text))
        console.print(grid)


def describe_number(line: dict[str, str]) -> str:
    """Says what a number is, in brackets its unit and direction, and what is good."""
    facts = [line["unit"], f"{line['better']} is better" if line["better"] else ""]
    brackets = "; ".join(filter(None, facts))
    good = f". Good: {line['good'].replace('`', '')}" if line["good"] else ""
    return f"{line['what']}{f' ({brackets})' if brackets else ''}{good}"


def format_legend(legend: Legend) -> str:
    """Writes one number a line, for pipes and files."""
    width = max((len(line["key"]) for lines in legend.values() for line in lines), default=0)
    text = ""
    for title, lines in legend.items():
        text += f"\n{title}\n"
        text += "".join(f"  {line['key']:{width}}  {describe_number(line)}\n" for line in lines)
    return text


def show_legend(legend: Legend) -> None:
    """Shows the same on a terminal, each meaning folded within its own column."""
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(highlight=False)
    for title, lines in legend.items():
        console.print(Text(f"\n{title}", style="bold"))
        grid = Grid(box=None, show_header=False, padding=(0, 0, 0, 2))
        grid.add_column(style="cyan", overflow="fold")
        grid.add_column(overflow="fold")
        for line in lines:
            grid.add_row(Text(line["key"]), Text(describe_number(line)))
        console.print(grid)
