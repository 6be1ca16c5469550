"""gan train -m: one run after another, in folders of their own; a failed one stops no other."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from gancli.commands.endings import Ending, say_end, say_outcome, trust_words
from gancli.config import compose as front
from gancli.config import sweeps
from gancli.config.arguments import list_variants, quote_value, split_args
from gancli.config.hints import list_composition_errors, parse_override, read_overrides
from gancli.errors import GanError, Interrupted, Pruned, Stopped, UserError, unwritable
from gancli.files import atomic, lock, reading
from gancli.render import status
from gancli.render.messages import say, warn
from gancli.run.checkpoint_options import make_plain
from gancli.run.gpus import place_job
from gancli.run.session import run_session

OPTUNA = "hydra_plugins.gancli.OptunaSweeper"
PLUGINS = {  # word -> what it needs, and the extra that brings it
    "hydra/sweeper=optuna": ("optuna", "sweep"),
    "hydra/launcher=joblib": ("hydra_plugins.hydra_joblib_launcher", "cluster"),
    "hydra/launcher=submitit_local": ("hydra_plugins.hydra_submitit_launcher", "cluster"),
    "hydra/launcher=submitit_slurm": ("hydra_plugins.hydra_submitit_launcher", "cluster"),
    "hydra/launcher=ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
}
ENDED_WELL = ("done", "pruned")
BEGUN = "begun"  # the state of a job until it ends


class Entry(TypedDict):
    """One line of sweep.jsonl: a job, the overrides that tell it apart, and how it ended."""

    job: int
    overrides: list[str]
    folder: str
    state: str
    seconds: float
    reason: str


def sweep(argv: list[str]) -> int:
    """Runs the jobs, then prints a line for each, whichever launcher ran them.

    Returns:
        0 if every job is done, 1 if any failed.

    Raises:
        UserError: The command line is wrong, and nothing ran; or sweep.jsonl cannot be written.
        TemporaryFailure: The disk has no room for sweep.jsonl.
        Interrupted: A signal ended the sweep.
    """
    status.say("composing the jobs…")
    refuse_missing_plugins(argv)
    first = sweeps.compose_first("train", argv)
    folder = None if first is None else Path(first.hydra.sweep.dir)
    idle = find_idle_values(argv) if folder else []
    for message in idle:
        warn(message)
    before = find_stamp(folder)
    search = None
    if first is not None and first.hydra.sweeper.get("_target_") == OPTUNA:
        from gancli.run.search import register_sweeper

        register_sweeper()
        search = first.hydra.sweeper
    code = 0
    try:
        sweeps.run_hydra_main("train", run_job, argv, sweep_folder=folder)
    except (Interrupted, KeyboardInterrupt):
        report(folder, idle, search=search)
        raise
    except Exception as error:  # the first job's error, which its own line already tells
        if find_stamp(folder) == before:  # nothing ran: the command line was wrong
            raise
        if not any(str(error) in entry["reason"] for entry in read_entries(folder).values()):
            warn(f"the launcher failed: {type(error).__name__}: {error}")
        code = 1
    code = max(code, report(folder, idle, search=search))
    if folder is not None:
        check_list(folder)
    return code


def refuse_missing_plugins(argv: list[str]) -> None:
    """Raises UserError for a sweeper or launcher whose package is not installed, and says which."""
    for word in argv:
        module, extra = PLUGINS.get(word, ("", ""))
        if module and not is_plugin_installed(module):
            raise UserError(
                f"{word}: the package {module.rpartition('.')[2].replace('_', '-')} is not "
                "installed",
                f"pip install 'gancli[{extra}]'",
            )


def is_plugin_installed(module: str) -> bool:
    """Can the module of a plugin be found?"""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # no plugin is installed at all
        return False


def find_idle_values(argv: list[str]) -> list[str]:
    """Finds what of a sweep changes nothing, since a model does not use that part.

    Such jobs would differ in their names alone.

    Returns:
        A sentence for each such part.
    """
    args = split_args(argv)
    lines = [quote_value(line, sweep=True) for line in args.overrides]
    swept = dict.fromkeys(part for part in map(find_swept_part, lines) if part)
    if not swept:
        return []
    status.say("loading torch…")
    from omegaconf.errors import OmegaConfBaseException

    from gancli.config.validate import find_idle_parts

    found: dict[str, None] = {}
    for words in list_variants(lines):
        with contextlib.suppress(GanError, OmegaConfBaseException):  # its job tells
            composed = front.compose("train", [*config_words(argv), *words])
            config = make_plain(composed.cfg, resolve=False)
            for part, reason in find_idle_parts(config).items():
                if part in swept:
                    found[f"the sweep over {part} has no effect: {reason}"] = None
    return list(found)


def find_swept_part(line: str) -> str:
    """Finds the part of the model, such as loss, that an override sweeps over; "" if none."""
    with contextlib.suppress(*list_composition_errors()):
        override = parse_override(line)
        part = override.key_or_group.partition(".")[0]
        if override.is_sweep_override() and part in ("loss", "augment", "perceptual"):
            return part
    return ""


def config_words(argv: list[str]) -> list[str]:
    """Picks the words of a command line that say where configs are."""
    args = split_args(argv)
    words = [f"--config-dir={path}" for path in args.dirs]
    return words + ([f"--config-name={args.config_name}"] if args.config_name else [])


def find_stamp(folder: Path | None) -> tuple[int, int] | None:
    """Finds what tells two versions of a sweep's list apart; None while there is none.

    Every job that begins writes a new one.
    """
    try:
        found = (folder / "sweep.jsonl").stat() if folder else None
    except OSError:
        return None
    return found and (found.st_ino, found.st_mtime_ns)


def run_job(composed: front.Composed) -> float | None:
    """Trains one run of the sweep and records it in sweep.jsonl.

    Raises what the run raised: launchers on clusters read that.

    Returns:
        The best value of the metric that best.pt follows, for a sweeper that searches; None where
        nothing was measured.
    """
    folder = Path(composed.hydra.sweep.dir)
    number = composed.hydra.sweeper.get("job")
    entry = Entry(
        job=composed.hydra.job.num if number is None else number,
        overrides=read_overrides(composed.hydra, "task"),
        folder=str(composed.run_dir),
        state=BEGUN,
        seconds=0.0,
        reason="",
    )
    place_job(entry["job"])
    print(f"job {entry['job']}: {' '.join(entry['overrides'])}", flush=True)
    earlier = read_entries(folder).get(entry["job"])
    saved = find_newest_save(composed.run_dir)
    record(folder, entry)
    started = time.monotonic()
    try:
        say_outcome(run_session(composed))
        entry["state"] = "done"
    except BaseException as error:
        entry["state"], entry["reason"] = describe_end(error)
        release_tensors(error)
        raise
    finally:
        entry["seconds"] = round(time.monotonic() - started, 1)
        if earlier and saved is not None and saved == find_newest_save(composed.run_dir):
            entry["seconds"] = earlier["seconds"]  # it was complete before: that was its time
        record(folder, entry)
    return read_best(composed.run_dir)


def read_best(run: Path) -> float | None:
    """Reads the best value of a run, also of one that was complete before, in evaluation.json."""
    with contextlib.suppress(reading.Unreadable, UserError):
        found = reading.read_json(run / "evaluation.json")
        best = found.get("best") if isinstance(found, dict) else None
        return reading.convert_number(best.get("value")) if isinstance(best, dict) else None
    return None


def find_newest_save(run: Path) -> int | None:
    """Finds when a run was last saved, in nanoseconds; None if never."""
    try:
        return (run / "checkpoints" / "last.pt").stat().st_mtime_ns
    except OSError:
        return None


def read_entries(folder: Path | None) -> dict[int, Entry]:
    """Reads sweep.jsonl: job -> its entry, the newest where an older gancli wrote several.

    A torn line is passed over.
    """
    entries: dict[int, Entry] = {}
    if folder is None:
        return entries
    with contextlib.suppress(reading.Unreadable):  # as if there were none: the jobs' folders tell
        for _, found in reading.read_json_lines(folder / "sweep.jsonl"):
            job = found.get("job")
            overrides = found.get("overrides")
            if isinstance(job, int):
                entries[job] = Entry(
                    job=job,
                    overrides=overrides if isinstance(overrides, list) else [],
                    folder=str(found.get("folder", "")),
                    state=str(found.get("state", "")),
                    seconds=reading.convert_number(found.get("seconds")) or 0.0,
                    reason=str(found.get("reason") or ""),
                )
    return entries


def record(folder: Path, entry: Entry) -> None:
    """Puts a job's entry in the place of its earlier one; warns where that is not possible."""
    try:
        write_entries(folder, {entry["job"]: entry})
    except OSError as error:
        warn(f"{folder / 'sweep.jsonl'} lacks job {entry['job']}: {error.strerror or error}")


def write_entries(folder: Path, new: dict[int, Entry]) -> None:
    """Adds entries to sweep.jsonl; other processes may do so at the same time."""
    with lock.alone(folder):
        entries = read_entries(folder) | new
        lines = "".join(json.dumps(entries[job]) + "\n" for job in sorted(entries))
        atomic.write(folder / "sweep.jsonl", lambda file: file.write(lines.encode()))


def check_list(folder: Path) -> None:
    """Raises GanError where the jobs could not be listed, and the cause lasts.

    The warnings beside the jobs have told of each; without a list nothing can rank the runs.
    """
    path = folder / "sweep.jsonl"
    if os.path.lexists(path):
        return
    try:
        write_entries(folder, {})
    except OSError as error:
        raise unwritable(path, error, "make its folder writable") from error


def describe_end(error: BaseException) -> tuple[str, str]:
    """Returns the state of a job that ended so, and the reason."""
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return "interrupted", str(error)
    if isinstance(error, Pruned):
        return "pruned", error.message
    if isinstance(error, GanError):
        return "stopped" if isinstance(error, Stopped) else "failed", error.message
    traceback.print_exc()  # Hydra keeps it to itself
    return "failed", f"{type(error).__name__}: {error}"


def release_tensors(error: BaseException | None) -> None:
    """Empties the frames of a traceback.

    Hydra keeps the exception, its traceback the run's tensors, and the next job needs their memory.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def report(folder: Path | None, idle: list[str], *, search: Mapping[str, Any] | None = None) -> int:
    """Prints a line per job, the page to open and the command to type next.

    Args:
        folder: The sweep's; None where it is not known.
        idle: Sentences that say what of the sweep changes nothing.
        search: The node hydra.sweeper of a search, whose best trial is named.

    Returns:
        1 if any job is not done, or none is known; else 0.
    """
    entries = read_entries(folder)
    ending = rank_runs(folder) if folder and entries else None
    print(f"sweep: {folder}")
    for entry in entries.values():
        state, reason = entry["state"], entry["reason"]
        if state == BEGUN:
            state = "killed"
            reason = "its process ended without a word"
        line = f"  {entry['job']:>3}  {state:<11}  {entry['seconds']:>8.1f} s  {entry['folder']}"
        say(line)
        if reason:
            say(f"       {reason}")
    for message in idle:  # its warning scrolled away before the first job
        say(f"  {message}: jobs that differ in nothing else are equal")
    if search is not None and folder is not None and ending is not None:
        ending = ending._replace(command=find_next_step(folder, entries, search) or ending.command)
    if ending is not None:
        say_end(*ending)
    return int(not entries or any(entry["state"] not in ENDED_WELL for entry in entries.values()))


def find_next_step(folder: Path, entries: dict[int, Entry], search: Mapping[str, Any]) -> list[str]:
    """Says which trial of a search was best, and writes the command that trains it for longer.

    Args:
        folder: Of the sweep.
        entries: Its jobs.
        search: The node hydra.sweeper.

    Returns:
        The words of the command; none where no trial is complete.
    """
    from gancli.checkpoint import peek
    from gancli.run.resume import find_untrusted_packages
    from gancli.run.trial import find_winner

    try:
        winner = find_winner(search, folder)
    except Exception as error:  # noqa: BLE001 - a database may be anywhere, and out of reach
        warn(f"the study cannot be read: {type(error).__name__}: {error}")
        return []
    entry = None if winner is None else entries.get(winner.job)
    if winner is None or entry is None:
        return []
    say(f"best: job {winner.job}: {winner.sentence}")
    run = Path(entry["folder"])
    tree = peek(run / "checkpoints")
    if tree is None:
        return []
    trust = trust_words(find_untrusted_packages(tree["config"]))
    steps = 2 * tree["progress"]["step"]
    return ["gan", "train", f"resume={run}", *trust, f"trainer.steps={steps}"]


def rank_runs(folder: Path) -> Ending | None:
    """Shows the leaderboard of `gan compare`.

    A page that cannot be written must not change what the sweep returns.
    """
    from gancli.commands.compare import finish_sweep

    try:
        return finish_sweep(folder)
    except GanError as error:
        warn(f"no leaderboard: {error.message}")
        return None
