"""gan train -m: one run after another, each in a folder of its own; one that fails does not stop the others."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from gancli.commands.endings import Ending, say_end, say_outcome
from gancli.config import compose as front
from gancli.config.arguments import list_variants, quote_value, split_args
from gancli.config.hints import composition_errors, parse_override, read_overrides
from gancli.errors import GanError, Interrupted, Stopped
from gancli.files import atomic, reading
from gancli.render import status
from gancli.render.messages import say, warn
from gancli.run.session import run_session

BEGUN = "begun"  # the state of a job until it ends


def sweep(argv: list[str]) -> int:
    """-> 0 if every job is done, 1 if any failed. Ends with a line per job, whichever launcher ran the jobs."""
    status.say("composing the jobs…")
    folder = front.find_sweep_folder("train", argv)
    for message in find_idle_values(argv) if folder else ():
        warn(message)
    before = stamp_of(folder)
    code = 0
    try:
        front.run_hydra_main("train", job, argv, sweep_folder=folder)
    except (Interrupted, KeyboardInterrupt):
        report(folder)
        raise
    except Exception as error:  # the first job's error, which its own line already tells
        if stamp_of(folder) == before:  # nothing ran: the command line was wrong
            raise
        if not any(str(error) in entry["reason"] for entry in read_entries(folder).values()):
            warn(f"the launcher failed: {type(error).__name__}: {error}")
        code = 1
    return max(code, report(folder))


def find_idle_values(argv: list[str]) -> list[str]:
    """What of a sweep changes nothing, since a model does not use that part: its jobs would differ in their names alone."""
    args = split_args(argv)
    lines = [quote_value(line, sweep=True) for line in args.overrides]
    swept = dict.fromkeys(part for part in map(find_swept_part, lines) if part)
    if not swept:
        return []
    status.say("loading torch…")
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from gancli.config.validate import find_idle_parts

    found: dict[str, None] = {}
    for words in list_variants(lines):
        with contextlib.suppress(GanError, OmegaConfBaseException):  # its job tells
            composed = front.compose("train", [*config_words(argv), *words])
            cfg = OmegaConf.to_container(composed.cfg, resolve=False)
            for part, reason in find_idle_parts(cfg).items():
                if part in swept:
                    found[f"the sweep over {part} has no effect: {reason}"] = None
    return list(found)


def find_swept_part(line: str) -> str:
    """The part of the model, such as loss, that an override gives several values, or whose keys it does; "" if none."""
    with contextlib.suppress(*composition_errors()):
        override = parse_override(line)
        part = override.key_or_group.partition(".")[0]
        if override.is_sweep_override() and part in ("loss", "augment", "perceptual"):
            return part
    return ""


def config_words(argv: list[str]) -> list[str]:
    """The words of a command line that say where configs are."""
    args = split_args(argv)
    words = [f"--config-dir={path}" for path in args.dirs]
    return words + ([f"--config-name={args.config_name}"] if args.config_name else [])


def stamp_of(folder: Path | None) -> tuple[int, int] | None:
    """What tells two versions of a sweep's list apart; None while there is none. Every job that begins writes a new one."""
    try:
        found = (folder / "sweep.jsonl").stat() if folder else None
    except OSError:
        return None
    return found and (found.st_ino, found.st_mtime_ns)


def job(composed: front.Composed) -> None:
    """One run of the sweep, recorded in sweep.jsonl. Raises what the run raised: launchers on clusters read that."""
    folder = Path(composed.hydra.sweep.dir)
    entry = {
        "job": composed.hydra.job.num,
        "overrides": read_overrides(composed.hydra, "task"),
        "folder": str(composed.run_dir),
        "state": BEGUN,
        "seconds": 0.0,
        "reason": "",
    }
    print(f"job {entry['job']}: {' '.join(entry['overrides'])}", flush=True)
    earlier = read_entries(folder).get(entry["job"])
    saved = newest_save(composed.run_dir)
    record(folder, entry)
    started = time.monotonic()
    try:
        say_outcome(run_session(composed))
        entry["state"] = "done"
    except BaseException as error:
        entry["state"], entry["reason"] = outcome(error)
        let_go(error)
        raise
    finally:
        entry["seconds"] = round(time.monotonic() - started, 1)
        if earlier and saved is not None and saved == newest_save(composed.run_dir):
            entry["seconds"] = earlier["seconds"]  # it was complete before: that was its time
        record(folder, entry)


def newest_save(run: Path) -> int | None:
    """When a run was last saved, in nanoseconds; None if never."""
    try:
        return (run / "checkpoints" / "last.pt").stat().st_mtime_ns
    except OSError:
        return None


def read_entries(folder: Path | None) -> dict[int, dict]:
    """job -> its entry in sweep.jsonl, the newest where an older gancli wrote several. A torn line is passed over."""
    entries: dict[int, dict] = {}
    if folder is None:
        return entries
    with contextlib.suppress(reading.Unreadable):  # as if there were none: the jobs' folders tell
        for _, entry in reading.read_json_lines(folder / "sweep.jsonl"):
            job = entry.get("job")
            if isinstance(job, int):
                entries[job] = {
                    "job": job,
                    "overrides": [],
                    "folder": str(entry.get("folder", "")),
                    "state": str(entry.get("state", "")),
                    "seconds": reading.number(entry.get("seconds")) or 0.0,
                    "reason": str(entry.get("reason") or ""),
                }
                if isinstance(entry.get("overrides"), list):
                    entries[job]["overrides"] = entry["overrides"]
    return entries


def record(folder: Path, entry: dict) -> None:
    """Puts a job's entry in the place of its earlier one; other processes may do so at the same time."""
    try:
        with alone(folder):
            entries = read_entries(folder) | {entry["job"]: entry}
            lines = "".join(json.dumps(entries[job]) + "\n" for job in sorted(entries))
            atomic.write(folder / "sweep.jsonl", lambda file: file.write(lines.encode()))
    except OSError as error:
        warn(f"{folder / 'sweep.jsonl'} lacks job {entry['job']}: {error.strerror or error}")


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While open, no other process of this computer is in here for the same folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a network disk that locks no folders
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


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
    """Prints a line per job, the page to open and the command to type next. -> 1 if any is not done"""
    entries = read_entries(folder)
    ending = rank(folder) if folder and entries else None
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
    if ending is not None:
        say_end(*ending)
    return int(not entries or any(entry["state"] != "done" for entry in entries.values()))


def rank(folder: Path) -> Ending | None:
    """The leaderboard of `gan compare`; a page that cannot be written must not change what the sweep returns."""
    from gancli.commands.compare import finish_sweep

    try:
        return finish_sweep(folder)
    except GanError as error:
        warn(f"no leaderboard: {error.message}")
        return None
