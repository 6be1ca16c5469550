"""From words to the runs that they mean: run folders, a sweep, or a folder full of runs."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

from gancli.errors import UserError
from gancli.files import reading
from gancli.reports.runs import Run, read_run, read_yaml

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def is_run(path: Path) -> bool:
    """Is it a folder that gan train wrote for one run?"""
    return any((path / name).exists() for name in (".hydra", "metrics.jsonl", "checkpoints"))


def is_sweep(path: Path) -> bool:
    """Is it a folder that gan train -m wrote?"""
    return any((path / name).exists() for name in ("sweep.jsonl", "multirun.yaml"))


def read_targets(targets: list[str]) -> list[Run]:
    """Reads the runs that the words name, each once, with names that tell them apart.

    Raises:
        UserError: A word names no run.
    """
    found: dict[Path, tuple[Path, dict]] = {}
    for target in targets:
        path = Path(target).expanduser()
        if not path.is_dir():
            raise UserError(
                f"{target} is no folder",
                "give run folders (outputs/<model>-<dataset>/<stamp>) or a sweep's folder",
            )
        for folder, job in find_members(path):
            found.setdefault(folder.resolve(), (folder, job))
    names = make_unique_names([folder for folder, _ in found.values()])
    return [
        read_run(folder, name=name, job=job)
        for (folder, job), name in zip(found.values(), names, strict=True)
    ]


def find_members(path: Path) -> list[tuple[Path, dict]]:
    """Finds the runs of one target: (run folder, entry of sweep.jsonl or {})."""
    if is_sweep(path):
        return read_jobs(path)
    if is_run(path):
        return [(path, {})]
    inside = sorted(child for child in path.iterdir() if child.is_dir() and is_run(child))
    if not inside:
        raise UserError(
            f"{path} holds no run",
            "give a folder that gan train wrote; it has checkpoints/ and metrics.jsonl",
        )
    return [(child, {}) for child in inside]


def read_jobs(sweep: Path) -> list[tuple[Path, dict]]:
    """Reads every job of a sweep, also those killed before they could note their end."""
    entries = {}
    with contextlib.suppress(reading.Unreadable):  # the folders that lie there serve as well
        for _, entry in reading.read_json_lines(sweep / "sweep.jsonl"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                # The newest entry of a folder counts.
                entries[find_moved(sweep, Path(entry["folder"]))] = entry
    # A list that was torn by a kill lacks jobs, whose folders are there all the same.
    for child in sweep.iterdir():
        if child.is_dir() and is_run(child):
            entries.setdefault(child, {})
    if not entries:
        raise UserError(f"the sweep {sweep} has not started a job yet", "look again later")
    return sorted(entries.items(), key=lambda item: make_sort_key(item[0].name))


def find_moved(sweep: Path, folder: Path) -> Path:
    """Finds a job's folder, although the sweep may have been moved since."""
    return sweep / folder.name if (sweep / folder.name).is_dir() or not folder.is_dir() else folder


def make_sort_key(name: str) -> tuple[float, str]:
    """Sorts 10-x after 9-x."""
    head = name.partition("-")[0]
    return (float(head) if head.isdecimal() else math.inf), name


def make_unique_names(folders: list[Path]) -> list[str]:
    """Makes folder names, with as many parents as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    depth = 1
    while len({part[-depth:] for part in parts}) < len(parts):
        depth += 1
    return [os.path.join(*part[-depth:]) for part in parts]


def count_planned(sweep: Path) -> int | None:
    """Counts the jobs that a sweep's command line asked for.

    Returns:
        None where another sweeper than Hydra's own decided.
    """
    from gancli.config.hints import list_composition_errors, parse_override

    node = read_yaml(sweep / "multirun.yaml")
    if not isinstance(node, dict):
        return None
    unreadable: tuple[type[Exception], ...] = list_composition_errors()
    unreadable += (KeyError, TypeError, AttributeError)
    try:
        hydra = node["hydra"]
        if hydra["sweeper"]["_target_"] != BASIC_SWEEPER or hydra["sweeper"].get("params"):
            return None
        n = 1
        for line in hydra["overrides"]["task"]:
            override = parse_override(line)
            if override.is_sweep_override():
                n *= sum(1 for _ in override.sweep_string_iterator())
        return n
    except unreadable:
        return None
