"""Makes docs/measured.md: runs what was not run yet, then writes what all have reached.

For example

    python -m gancli.commands.gallery model=dcgan,mlp loss=all seeds=0,1,2
    python -m gancli.commands.gallery experiment=sngan_digits_small,sagan_digits_small
    python -m gancli.commands.gallery experiment=sngan_digits_small precision=fp32
    python -m gancli.commands.gallery run=false
    python -m gancli.commands.gallery experiment=sngan_digits_small forecast=true

Without words it is the default run, `gan train`. A finished run is not run again, and one that was
stopped goes on; to run one anew, for other defaults, remove its folder. What was measured before,
on whatever machine, stays in conf/measured.json until it is measured anew. With forecast=true a
few steps are timed in place of a run, and what the whole run takes on this processor goes into
conf/forecasts.json, until the run has other steps or is measured on such a processor: renew it
where networks have changed. The page is made of these two files alone.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gancli.config import measured
from gancli.config.folders import find_conf_dir, list_options
from gancli.config.measured import Forecast, Measured
from gancli.config.resolvers import make_slug
from gancli.errors import UserError
from gancli.files import atomic, reading, shell
from gancli.render.messages import say

COST = "cost.json"  # in the folder of a run: what it has cost, a line for each session
GROUPS = ("model", "loss", "experiment")
PRECISIONS = ("auto", "bf16", "fp32")
NOT_LOSSES = ("none", "lsgan_cyclegan", "wgan_gp_pggan")  # of image translation, and of PGGAN


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        cells: The words behind `gan train`, but for the seed.
        seeds: Each cell is run with each of them.
        runs: The folder of all runs.
        docs: The folder of the page.
        file: Of what was measured.
        forecasts: The file of what runs take on another processor.
        forecast: Whether that is reckoned of each cell for this processor, and nothing run.
        run: Whether runs that are not complete are run; else only the page is made.
    """

    cells: list[list[str]]
    seeds: list[int]
    runs: Path
    docs: Path
    file: Path
    forecasts: Path
    forecast: bool
    run: bool


def main(argv: Sequence[str]) -> int:
    """Runs what is asked for and writes file, pictures and page.

    Raises:
        UserError: A word is not understood.
    """
    if set(argv) & {"-h", "--help"}:
        print(__doc__)
        return 0
    request = read_request(argv)
    new_forecasts = [ask_forecast(words) for words in request.cells if request.forecast]
    if request.run and not request.forecast:
        for words, seed in itertools.product(request.cells, request.seeds):
            run_cell(words, seed, request.runs)
    old = measured.read_measured(request.file)
    entries = merge_entries(old, collect_runs(request))
    forecasts = merge_forecasts(measured.read_forecasts(request.forecasts), new_forecasts, entries)
    atomic.write_text(request.forecasts, json.dumps(forecasts, indent=1, ensure_ascii=False) + "\n")
    atomic.write_text(request.file, json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
    page = request.docs / "measured.md"
    atomic.write_text(page, write_page(entries, forecasts))
    say(f"done: {page}, of {len(entries)} commands")
    return 0


def read_request(argv: Sequence[str]) -> Request:
    """Reads KEY=VALUE words. Raises UserError."""
    conf = find_conf_dir()
    given: dict[str, str] = {}
    known = (*GROUPS, "precision", "seeds", "runs", "docs", "file", "forecasts", "forecast", "run")
    for word in argv:
        key, _, value = word.partition("=")
        if key not in known or not value:
            raise UserError(f"'{word}' is not understood", f"give {', '.join(known)}=VALUE")
        given[key] = value
    options = list_options([conf])
    lists = {group: given[group].split(",") for group in GROUPS if group in given}
    if lists.get("loss") == ["all"]:
        lists["loss"] = [name for name in options["loss"] if name not in NOT_LOSSES]
    for group, names in lists.items():
        for name in names:
            if name not in options[group]:
                raise UserError(f"there is no {group}={name}", f"gan list {group} has them")
    pairs = [[f"{group}={name}" for name in names] for group, names in lists.items()]
    precision = given.get("precision", "auto")
    if precision not in PRECISIONS:
        raise UserError(f"there is no precision={precision}", f"give {', '.join(PRECISIONS)}")
    run = given.get("run", "true")
    if run not in ("true", "false"):
        raise UserError(f"run={run} is not understood", "give run=false to make the page alone")
    forecast = given.get("forecast", "false")
    if forecast not in ("true", "false"):
        raise UserError(f"forecast={forecast} is not understood", "give forecast=true, or nothing")
    if precision != "auto":  # which is what a command without the word has
        pairs.append([f"trainer.precision={precision}"])
    return Request(
        cells=[list(words) for words in itertools.product(*pairs)],
        seeds=[read_seed(seed) for seed in given.get("seeds", "0").split(",")],
        runs=Path(given.get("runs", "outputs/gallery")),
        docs=Path(given.get("docs", conf.parent / "docs")),
        file=Path(given.get("file", measured.find_measured_file())),
        forecasts=Path(given.get("forecasts", measured.find_forecasts_file())),
        forecast=forecast == "true",
        run=run == "true",
    )


def read_seed(word: str) -> int:
    """Reads one of seeds=0,1,2. Raises UserError."""
    if not word.isdecimal():
        raise UserError(f"seeds: '{word}' is no whole number from 0 on", "give seeds=0,1,2")
    return int(word)


def name_cell(words: Sequence[str]) -> str:
    """Names the folder and the picture of a command."""
    return make_slug(words) if words else "default"


def is_complete(folder: Path) -> bool:
    """Says whether a run has come to its end and was measured there."""
    report = reading.read_json(folder / "evaluation.json")
    return isinstance(report, dict) and bool(report.get("ended"))


def run_cell(words: Sequence[str], seed: int, runs: Path) -> None:
    """Runs one command with one seed, or goes on with it, and notes what it has cost."""
    import resource  # Windows has none; this page is made elsewhere

    folder = runs / name_cell(words) / f"seed-{seed}"
    if is_complete(folder):
        return
    asked = [*words, f"seed={seed}", f"hydra.run.dir={folder}", "log.tensorboard=false"]
    if (folder / "checkpoints").is_dir():
        asked = [f"resume={folder}"]
    say(shell.join(["gan", "train", *asked]))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "gancli", "train", *asked], check=False).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if not folder.is_dir():
        return
    session = {
        "words": list(words),
        "seed": seed,
        # Difference by difference: in another order the rounding may leave less than nothing.
        "cpu_s": (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime),
        "wall_s": time.monotonic() - start,
        "threads": int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "code": code,
    }
    sessions = read_sessions(folder)
    atomic.write_text(folder / COST, json.dumps([*sessions, session], indent=1) + "\n")


def read_sessions(folder: Path) -> list[dict]:
    """Reads what a run has cost; an empty list where it was not run from here."""
    found = reading.read_json(folder / COST)
    return found if isinstance(found, list) else []


def collect_runs(request: Request) -> list[Measured]:
    """Makes an entry of the complete runs of each command, and copies the first one's picture."""
    grouped: dict[str, list[Path]] = {}
    for folder in sorted(request.runs.glob("*/seed-*")):
        if is_complete(folder) and read_sessions(folder):
            grouped.setdefault(folder.parent.name, []).append(folder)
    return [make_entry(name, folders, request.docs) for name, folders in grouped.items()]


def make_entry(name: str, folders: Sequence[Path], docs: Path) -> Measured:
    """Makes the entry of one command.

    Args:
        name: Of its folder and picture.
        folders: Of its runs, one for each seed.
        docs: Gets the picture.
    """
    from torch import device

    from gancli.checkpoint import peek
    from gancli.reports.runs import read_run
    from gancli.run.bench import describe_processor

    runs = [read_run(folder) for folder in folders]
    costs = [read_sessions(folder) for folder in folders]
    values = [
        {key: value for key, value in run.evaluation.get("values", {}).items() if value is not None}
        for run in runs
    ]
    shared = [key for key in values[0] if all(key in each for each in values)]
    tree = peek(folders[0] / "checkpoints")
    assert tree is not None, "a complete run has a checkpoint"
    picture = docs / "gallery" / f"{name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(runs[0].samples()[-1][1], picture)
    return {
        "words": costs[0][0]["words"],
        "seeds": [sessions[0]["seed"] for sessions in costs],
        "steps": runs[0].steps,
        "cpu_s": [round(sum(each["cpu_s"] for each in sessions), 1) for sessions in costs],
        "wall_s": [round(sum(each["wall_s"] for each in sessions), 1) for sessions in costs],
        "values": {key: [round(each[key], 4) for each in values] for key in shared},
        "processor": describe_processor(device(str(tree["run"]["device"]).split(" ")[0])),
        "threads": costs[0][0]["threads"],
        "precision": str(tree["config"]["trainer"]["precision"]),
        "date": max(each["date"] for sessions in costs for each in sessions),
        "picture": picture.name,
    }


def merge_entries(old: Sequence[Measured], new: Sequence[Measured]) -> list[Measured]:
    """Puts new entries in the place of older ones of the same words, sorted by the words."""
    merged = {tuple(entry["words"]): entry for entry in (*old, *new)}
    return [merged[words] for words in sorted(merged)]


def ask_forecast(words: Sequence[str]) -> Forecast:
    """Lets a process of its own reckon what a run takes on this processor.

    Raises:
        UserError: It fails.
    """
    say(shell.join(["gan", "train", *words]))
    command = [sys.executable, "-m", "gancli.run.forecast", *words]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(f"{shell.join(words)} cannot be timed", "its error stands above")
    found: Forecast = json.loads(done.stdout.splitlines()[-1])
    return found


def merge_forecasts(
    before: Sequence[Forecast], new: Sequence[Forecast], entries: Sequence[Measured]
) -> list[Forecast]:
    """Puts new forecasts in the place of older ones, and drops those that say nothing any more.

    Args:
        before: What was known.
        new: What was reckoned now.
        entries: What is measured now: runs of other steps, or on such a processor, end a forecast.
    """
    measured_now = {tuple(entry["words"]): entry for entry in entries}
    merged = {tuple(found["words"]): found for found in (*before, *new)}
    return [
        merged[words]
        for words in sorted(merged)
        if words not in measured_now
        or measured.find_forecast([merged[words]], measured_now[words]) is not None
    ]


def write_page(entries: Sequence[Measured], forecasts: Sequence[Forecast]) -> str:
    """Writes the page, in Markdown."""
    lines = [
        "# What was measured",
        "",
        "Made by `python -m gancli.commands.gallery` of `conf/measured.json` and",
        "`conf/forecasts.json`: do not edit.",
        "Every number is of a run's own evaluation at its last step (`evaluation.json`: 1,000",
        "samples; of images made out of images all that are held out, and in brackets what the",
        "copied source and the mean of the training's targets reach); means ± standard deviations",
        "where there are several seeds. Times are of one processor core for the whole command with",
        "its evaluations, user and system time: other work on the machine hardly counts, and two",
        "idle cores take about 0.7 of it. bf16 is for processors that multiply it (avx512_bf16,",
        "amx_bf16), and `trainer.precision=auto` chooses it there. Most laptops compute in fp32,",
        "and take two to four times as long: a time behind `about` is reckoned from some steps of",
        "such a processor, and the run was not played to its end there. Every picture is the",
        "sample grid of the first seed at the last step.",
        *write_matrix(entries),
        *write_rows(entries, forecasts),
    ]
    return "\n".join(lines) + "\n"


def split_cell(entry: Measured) -> tuple[str, str] | None:
    """Returns model and loss of an entry that has these two words alone."""
    keys = [word.partition("=")[0] for word in entry["words"]]
    if keys != ["model", "loss"]:
        return None
    model, loss = (word.partition("=")[2] for word in entry["words"])
    return model, loss


def write_matrix(entries: Sequence[Measured]) -> Iterator[str]:
    """Writes the table of models and losses, a line at a time; nothing where none was measured."""
    cells = {pair: entry for entry in entries if (pair := split_cell(entry)) is not None}
    if not cells:
        return
    models = sorted({model for model, _ in cells})
    yield from ("", "## Models and losses on the bundled digits", "")
    yield (
        "`gan train model=MODEL loss=LOSS`, nothing else: fd_self (lower is better), how many of "
        "the ten digits were seen, and the time of one core."
    )
    yield from ("", f"| loss | {' | '.join(models)} |", "|---" * (len(models) + 1) + "|")
    for loss in sorted({loss for _, loss in cells}):
        row = [write_cell(cells.get((model, loss))) for model in models]
        yield f"| `{loss}` | {' | '.join(row)} |"


def write_cell(entry: Measured | None) -> str:
    """Writes a cell of that table."""
    if entry is None:
        return ""
    values = entry["values"]
    parts = [
        measured.describe_value(form, values[key])
        for key, form in (("fd_self", "{:.2f}"), ("modes", "{:.0f} digits"))
        if key in values
    ]
    seconds = measured.mean(entry["cpu_s"])
    time_said = f"{measured.describe_seconds(seconds)} {measured.describe_arithmetic(entry)}"
    return ", ".join([*parts, time_said])


def write_rows(entries: Sequence[Measured], forecasts: Sequence[Forecast]) -> Iterator[str]:
    """Writes a row for each command, a line at a time."""
    yield from ("", "## Command by command", "")
    yield "| command | time | what it reached | |"
    yield "|---|---|---|---|"
    for entry in entries:
        seeds = ", ".join(map(str, entry["seeds"]))
        facts = (
            f"{entry['steps']:,} steps, seed{'s' if len(entry['seeds']) > 1 else ''} {seeds}, "
            f"{entry['precision']}, {entry['processor']}, {entry['date']}"
        )
        command = shell.join(["gan", "train", *entry["words"]])
        shown = " ".join(entry["words"]) or "gan train"
        picture = f"![{shown}](gallery/{entry['picture']})"
        reached = measured.describe_values(entry["values"])
        time_said = measured.describe_time(entry, forecasts)
        yield f"| `{command}` | {time_said} | {reached} ({facts}) | {picture} |"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"{error.message}\n  {error.hint}")
