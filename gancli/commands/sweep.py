"""gan train -m: one run after another, each in a folder of its own; one that fails does not stop the others."""

from __future__ import annotations

import json
import time
import traceback
from pathlib import Path

from gancli import config as front
from gancli import progress
from gancli.errors import GanError, Interrupted, Stopped
from gancli.hints import typed


def sweep(argv: list[str]) -> int:
    """-> 0 if every job is done, 1 if any failed. Ends with a line per job."""
    Jobs.folder = None
    progress.say("composing the jobs…")
    try:
        front.hydra_main("train", job, argv)
    except (Interrupted, KeyboardInterrupt):
        report(Jobs.folder)
        raise
    except Exception:  # noqa: BLE001 - the first job's error, which its own line already tells
        if Jobs.folder is None:  # nothing ran: the command line was wrong
            raise
    return report(Jobs.folder)


class Jobs:
    """Where this process's sweep keeps its list; Hydra calls `job` and hands nothing on."""

    folder: Path | None = None


def job(composed: front.Composed) -> None:
    """One run of the sweep, recorded in sweep.jsonl. Raises what the run raised: launchers on clusters read that."""
    from gancli.commands.train import run

    Jobs.folder = Path(composed.hydra.sweep.dir)
    started = time.monotonic()
    entry = {
        "job": composed.hydra.job.num,
        "overrides": typed(composed.hydra, "task"),
        "folder": str(composed.run_dir),
    }
    print(f"job {entry['job']}: {' '.join(entry['overrides'])}", flush=True)
    state = "done"
    reason = ""
    try:
        run(composed)
    except BaseException as error:
        state, reason = outcome(error)
        let_go(error)
        raise
    finally:
        entry |= {"state": state, "seconds": round(time.monotonic() - started, 1), "reason": reason}
        note_job(Jobs.folder / "sweep.jsonl", entry)


def note_job(path: Path, entry: dict) -> None:
    """Adds a line to sweep.jsonl, whole or not at all; a full disk must not hide how the job ended."""
    from gancli.logbook import append
    from gancli.panels import warn

    try:
        append(path, json.dumps(entry).encode() + b"\n")
    except OSError as error:
        warn(f"{path} lacks job {entry['job']}: {error.strerror}")


def outcome(error: BaseException) -> tuple[str, str]:
    """-> the state of a job that ended so, and the reason"""
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return "interrupted", str(error)
    if isinstance(error, GanError):
        return "stopped" if isinstance(error, Stopped) else "failed", error.message
    traceback.print_exc()  # Hydra keeps it to itself
    return "failed", f"{type(error).__name__}: {error}"


def let_go(error: BaseException | None) -> None:
    """Hydra keeps the exception, its traceback the run's tensors, and the next job needs their memory."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def report(folder: Path | None) -> int:
    """Prints a line per job, the newest entry of each. -> 1 if any is not done"""
    file = folder / "sweep.jsonl" if folder else None
    entries = (
        [json.loads(line) for line in file.read_text().splitlines()]
        if file and file.exists()
        else []
    )
    newest = {entry["job"]: entry for entry in entries}
    if newest:
        rank(folder)
    print(f"sweep: {folder}")
    for entry in newest.values():
        line = f"  {entry['job']:>3}  {entry['state']:<11}  {entry['seconds']:>8.1f} s  {entry['folder']}"
        print(line + (f"\n       {entry['reason']}" if entry["reason"] else ""))
    return int(not newest or any(entry["state"] != "done" for entry in newest.values()))


def rank(folder: Path) -> None:
    """The leaderboard of `gan compare`; a page that cannot be written must not change what the sweep returns."""
    from gancli.commands.compare import finish_sweep
    from gancli.panels import warn

    try:
        finish_sweep(folder)
    except GanError as error:
        warn(f"no leaderboard: {error.message}")
