"""gan compare: which of several runs won; on the terminal, as CSV and as a page without network."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gancli.commands.endings import Ending, say_end
from gancli.config.hints import find_nearest
from gancli.errors import UserError, did_you_mean, unwritable
from gancli.files import atomic
from gancli.files.zoo import find_zoo_file, is_zoo_file
from gancli.render import messages, status

if TYPE_CHECKING:
    from gancli.reports.leaderboard import Board

OPTIONS = ("out", "by", "mode", "protocol", "csv")
DEFAULT_OUT = Path("outputs") / "compare"  # for runs that no sweep's folder holds


class Request(NamedTuple):
    """What is typed behind `gan compare`.

    Attributes:
        targets: Run folders, or one folder of a sweep.
        given: The options of `OPTIONS` that are given.
        as_json: Whether everything is printed as plain data.
    """

    targets: list[str]
    given: dict[str, str]
    as_json: bool


def main(argv: list[str]) -> int:
    """Shows the leaderboard and writes the page and the CSV files.

    Raises:
        UserError: The words are wrong, or there are no runs, or a file cannot be written.
    """
    from gancli.reports import tables
    from gancli.reports.folders import read_targets
    from gancli.reports.leaderboard import build_board

    targets, given, as_json = read_request(argv)
    status.say("reading the runs…")
    board = build_board(
        read_targets(targets),
        by=given.get("by", ""),
        mode=given.get("mode", ""),
        protocol=given.get("protocol", "").removesuffix(".json"),
    )
    if "csv" in given:
        save(Path(given["csv"]).expanduser(), tables.format_groups(board))
    if as_json:
        print(json.dumps(tables.collect_facts(board), indent=2, allow_nan=False))
        if "out" not in given:
            return 0
    else:
        show(board, unstarted=count_unstarted(targets, board))
    out = Path(
        given.get("out") or (targets[0] if find_sweep(targets) else DEFAULT_OUT)
    ).expanduser()
    written = write(board, out, targets=targets)
    if not as_json:
        say_end(*choose_ending(board, written))
    return 0


def choose_ending(board: Board, written: Path) -> Ending:
    """Chooses the page to open, and the command that shows more of the best run."""
    best = next((group.best() for group in board.groups if group.best()), None)
    run = board.runs()[0] if best is None else best[0]
    return Ending(str(written), ["gan", "report", str(run.folder)])


def finish_sweep(sweep: Path) -> Ending:
    """Ends a sweep with its leaderboard on the terminal and the page in its folder.

    Raises:
        GanError: The runs cannot be read, or the page cannot be written.
    """
    from gancli.reports.folders import read_targets
    from gancli.reports.leaderboard import build_board

    targets = [str(sweep)]
    board = build_board(read_targets(targets))
    show(board, unstarted=count_unstarted(targets, board), failed=False)
    return choose_ending(board, write(board, sweep, targets=targets))


def read_request(argv: list[str]) -> Request:
    """Reads the words behind `gan compare`. Raises UserError."""
    targets: list[str] = []
    given: dict[str, str] = {}
    as_json = False
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        key, _, value = word.partition("=")
        if word == "--json":
            as_json = True
        elif key.startswith("--") and key.removeprefix("--") in OPTIONS:
            if not value and not rest:
                raise UserError(f"{key} needs a value", f"{key} VALUE")
            given[key.removeprefix("--")] = value or rest.pop(0)
        elif "=" in word and key in OPTIONS:
            given[key] = value
        elif word.startswith("-") or ("=" in word and not Path(word).expanduser().exists()):
            hint = did_you_mean(find_nearest(key.lstrip("-"), [*OPTIONS, "json"]))
            raise UserError(
                f"gan compare has no {key}",
                hint or f"it takes runs, {'=, '.join(OPTIONS)}= and --json",
            )
        elif is_zoo_file(Path(find_zoo_file(word))):
            raise UserError(
                f"{word} is a trained generator without its run, and runs are compared",
                f"gan evaluate ckpt={word} measures it; gan list zoo shows the numbers of all",
            )
        else:
            targets.append(word)
    if not targets:
        raise UserError(
            "which runs?", "gan compare RUN RUN ...   or   gan compare outputs/sweeps/<stamp>"
        )
    if given.get("mode", "min") not in ("min", "max"):
        raise UserError(
            f"mode={given['mode']} is neither min nor max",
            "mode=min: smaller is better; mode=max: larger is",
        )
    return Request(targets, given, as_json)


def find_sweep(targets: list[str]) -> Path | None:
    """Returns the folder of the sweep that is the only target; None where there is none."""
    from gancli.reports.folders import is_sweep

    path = Path(targets[0]).expanduser()
    return path if len(targets) == 1 and is_sweep(path) else None


def count_unstarted(targets: list[str], board: Board) -> int:
    """Counts the jobs that the sweep's command line asked for and that were never begun."""
    from gancli.reports.folders import count_planned

    sweep = find_sweep(targets)
    wanted = count_planned(sweep) if sweep else None
    return max(0, wanted - len(board.runs())) if wanted else 0


def show(board: Board, *, unstarted: int, failed: bool = True) -> None:
    """Shows the leaderboard, what to beware of, and the runs that are in no mean."""
    from gancli.reports import tables

    metric = board.metric
    way = {"min": "smaller is better", "max": "larger is better", "": "it ranks nothing"}[
        metric.mode
    ]
    n = len(board.runs())
    messages.say(f"{n} run{'s' if n != 1 else ''} by {metric.key} ({way}): {metric.why}")
    head, rows = tables.list_leaderboard(board)
    if sys.stdout.isatty():
        tables.show_table(head, rows)
    else:
        print(tables.format_table(head, rows))
    for line in tables.list_protocols(board):
        messages.say(f"measured by {line}")
    for run in board.failed if failed else []:
        messages.say(f"{run.state}: {run.name}: {run.reason}")
    if unstarted:
        messages.say(f"never began: {unstarted} jobs of the sweep")
    for message in board.warnings:
        messages.warn(messages.printable(message))


def write(board: Board, out: Path, *, targets: list[str]) -> Path:
    """Writes compare.html, compare.csv (groups) and runs.csv into a folder; returns the page."""
    from gancli.reports import comparison, markup, tables

    atomic.refuse_links(out, ["compare.csv", "runs.csv", "compare.html"])
    save(out / "compare.csv", tables.format_groups(board))
    save(out / "runs.csv", tables.format_run_table(board))
    sweep = find_sweep(targets)
    title = sweep.resolve().name if sweep else f"{len(board.runs())} runs"
    page = out / "compare.html"
    with explain_writing(page):
        markup.write_page(
            page,
            comparison.write_document(
                board, title=title, unstarted=count_unstarted(targets, board)
            ),
        )
    if sweep:
        write_hparams_sessions(board, sweep)
    return page


def save(path: Path, text: str) -> None:
    """Writes a file into a folder that is made if needed. Raises UserError."""
    from gancli.reports import markup

    with explain_writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        markup.write_page(path, text)


@contextlib.contextmanager
def explain_writing(path: Path) -> Iterator[None]:
    """Turns an OSError into a sentence about the file."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error, "choose another out=FOLDER") from error


def write_hparams_sessions(board: Board, sweep: Path) -> None:
    """Adds every finished run of a sweep to TensorBoard's hparams view, if it writes for it."""
    from gancli.reports.hparams import write_hparams
    from gancli.reports.leaderboard import find_value, list_measured
    from gancli.reports.runs import find_asked

    wanted = dict.fromkeys(key for run in board.runs() for key in find_asked(run))
    axes = [
        key for key in wanted if len({find_asked(run).get(key) for run in board.runs()}) > 1
    ] or [
        *board.differing,
        "seed",
    ]
    for run in board.runs():
        if run.state != "done" or not (run.folder / "tensorboard").is_dir():
            continue
        # sweep.jsonl may name any folder; a run elsewhere is read, and left as it is.
        if not run.folder.resolve().is_relative_to(sweep.resolve()):
            continue
        atomic.refuse_links(run.folder, ["tensorboard"])
        settings = run.settings()
        chosen = {key: run.choices.get(key, settings.get(key)) for key in axes}
        values = {
            key: value for key in list_measured(run) if (value := find_value(run, key)) is not None
        }
        try:
            write_hparams(
                run.folder,
                {key: value for key, value in chosen.items() if value is not None},
                values,
                step=run.step,
            )
        except OSError as error:
            messages.warn(f"TensorBoard's hparams view lacks {run.name}: {error.strerror or error}")
