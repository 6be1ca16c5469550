"""Run folders as data: what a run was told, what it logged, how good it is and how it ended."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from gancli.errors import UserError
from gancli.files import lock, reading
from gancli.files.paths import list_names
from gancli.files.reading import convert_number
from gancli.metrics.legend import Direction, Line, find_line, was_weighted

FINISHED = ("done", "running")  # states whose numbers count in a leaderboard
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (?P<level>[A-Z]+) (?P<text>.*)")
LOAD_LINE = re.compile(r" INFO load (\d{1,6}\.\d+) on average")  # logbook.py writes it
NOTHING_SAVED = "it saved no checkpoint"
LOG_TAIL = 65_536  # bytes of run.log that are searched for the run's last words
MOST_EVALUATIONS = 64  # of one run
Points = list[tuple[int, float | None]]  # (step, value); None where the value was not finite


class Best(TypedDict):
    """What best.pt followed, and its best moment."""

    key: str
    mode: str
    step: int | None
    value: float | None


class Evaluation(TypedDict, total=False):
    """The sound parts of an evaluation's file. A value is None where it was not finite."""

    step: int
    ended: str
    values: dict[str, float | None]
    reals: dict[str, float | None]
    protocol: dict[str, object]
    skipped: dict[str, str]
    best: Best
    own: dict[str, Line]  # what the numbers of the user's own metrics mean


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder.

    A part that is missing or unreadable is empty: a run that broke is reported like any other.

    Attributes:
        folder: Where it is.
        name: What tells it from the other runs of a page.
        config: The config of the newest checkpoint, as plain data: it may be an older version's.
        step: Where that checkpoint stands, in steps.
        nimg: The same in real images.
        about: Its data, device and versions.
        lines: metrics.jsonl.
        evaluation: evaluation.json, the numbers that training wrote.
        evaluations: What gan evaluate wrote later: protocol's name -> the same parts.
        overrides: What was typed.
        choices: Group -> option.
        state: done, running, failed, stopped (by a policy), interrupted, or cut off (no word of an
            end).
        reason: How it ended, in words.
        notes: Which files were passed over, and why.
        load: Processes that wanted a core while it trained, the mean that its last session noted;
            None where it noted none.
    """

    folder: Path
    name: str
    config: dict = field(default_factory=dict)
    step: int = 0
    nimg: int = 0
    about: dict = field(default_factory=dict)
    lines: list[dict] = field(default_factory=list)
    evaluation: Evaluation = field(default_factory=Evaluation)
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)
    state: str = "failed"
    reason: str = ""
    notes: tuple[str, ...] = ()
    load: float | None = None

    @property
    def own(self) -> dict[str, Line]:
        """The lines of the legend for the user's own metrics, by name."""
        sources = [self.evaluation, *self.evaluations.values()]
        return {name: line for each in sources for name, line in each.get("own", {}).items()}

    @property
    def seed(self) -> object:
        """The seed; None where no config was saved."""
        return self.config.get("seed")

    @property
    def steps(self) -> int:
        """The budget."""
        return (self.config.get("trainer") or {}).get("steps") or 0

    @property
    def seconds(self) -> float | None:
        """Of training, over all sessions."""
        return self.lines[-1]["time"] if self.lines else None

    @property
    def rate(self) -> float | None:
        """Real images a second, start-up left out where two lines were logged."""
        if not self.lines:
            return None
        first = self.lines[0] if len(self.lines) > 1 else {"nimg": 0, "time": 0.0}
        last = self.lines[-1]
        seconds = last["time"] - first["time"]
        return (last["nimg"] - first["nimg"]) / seconds if seconds > 0 else None

    def settings(self) -> dict[str, object]:
        """Flattens the frozen config: loss.n_critic -> 5."""
        return flatten(self.config)

    def curve(self, key: str) -> Points:
        """Returns the curve of a logged number."""
        return [(line["step"], line[key]) for line in self.lines if key in line]

    def curve_keys(self) -> list[str]:
        """Returns the names of all logged numbers."""
        return list(
            dict.fromkeys(
                key for line in self.lines for key in line if key not in ("step", "nimg", "time")
            )
        )

    def weighted_until(self, key: str) -> int:
        """Finds the last step whose log line has the term `key` times its weight; 0: none.

        Runs of checkpoint format 1 logged so; later ones log the bare term.
        """
        if not was_weighted(key, self.config):
            return 0
        if self.about.get("format") == 1:  # lines may go on behind the checkpoint
            return self.lines[-1]["step"] if self.lines else 0
        return reading.convert_count(self.about.get("weighted_until", 0)) or 0

    def real(self) -> Path | None:
        """Finds the picture of real images that the run has written for beside its samples."""
        path = self.folder / "samples" / "real.png"
        return path if path.is_file() else None

    def samples(self) -> list[tuple[int, Path]]:
        """Lists (step, picture) of the fixed latents, in the order of training."""
        found = [
            (int(match[1]), path)
            for path in (self.folder / "samples").glob("step-*.png")
            if (match := re.fullmatch(r"step-(\d+)\.png", path.name))
        ]
        return sorted(found)


def read_run(folder: Path, *, name: str = "", job: dict | None = None) -> Run:
    """Reads the run in a folder, whole or not.

    Args:
        folder: Of the run.
        name: What it is called; "" takes the folder's name.
        job: Its entry in sweep.jsonl, which may know why it failed.
    """
    notes: list[str] = []
    parts = {
        "folder": folder,
        "name": name or folder.resolve().name,
        "lines": read_lines(folder / "metrics.jsonl", notes),
        "evaluation": read_evaluation(folder / "evaluation.json", notes),
        "evaluations": read_evaluations(folder / "evaluations", notes),
    } | read_hydra(folder / ".hydra", notes)
    parts["notes"] = tuple(notes)
    tree, problem = read_checkpoint(folder)
    if tree is not None:
        parts |= {
            "config": tree["config"],
            "step": tree["progress"]["step"],
            "nimg": tree["progress"]["nimg"],
            "about": tree["run"]
            | tree["data"]
            | {"gancli": tree["version"], "format": tree["format"]},
        }
    state, reason = find_ending(Run(**parts), job or {}, problem)
    return Run(**parts, state=state, reason=reason, load=read_load(folder / "run.log"))


def read_checkpoint(folder: Path) -> tuple[dict | None, str]:
    """Reads the newest checkpoint of a run.

    Returns:
        The tree and ""; or None and why there is none.
    """
    from gancli.checkpoint import open_checkpoint

    if not folder.is_dir():
        return None, "its folder is missing"
    try:
        if not any(name.endswith(".pt") for name in list_names(folder / "checkpoints")):
            return None, NOTHING_SAVED
        return open_checkpoint(str(folder))[1], ""
    except UserError as error:
        return None, error.message


def find_ending(run: Run, job: dict, problem: str) -> tuple[str, str]:
    """Finds how a run ended.

    A later session may have finished what a sweep noted as failed: the checkpoint speaks first.

    Returns:
        The state, and how it ended in words.
    """
    if is_locked(run.folder / "run.lock"):
        return "running", f"at step {run.lines[-1]['step'] if run.lines else run.step}"
    if run.config and run.step >= run.steps:
        return "done", find_words(run) or f"complete: {run.step} steps"
    where = f"step {run.step} of {run.steps} is saved" if run.config else problem
    state, words = read_last_words(run.folder / "run.log")
    if job.get("state") in ("failed", "stopped", "interrupted", "pruned"):
        state = job["state"]
        words = str(job.get("reason") or words)
    elif find_words(run):
        state = "stopped"
        words = find_words(run)
    if not words and problem not in ("", NOTHING_SAVED):
        return "failed", problem
    if not words:
        return "cut off", f"no word of its end, perhaps killed; {where}"
    known = where.removesuffix(" is saved") in words
    return state, words if known else f"{words}; {where}"


def find_words(run: Run) -> str:
    """Finds how evaluation.json says that it ended, unless the run went on since."""
    return str(run.evaluation.get("ended") or "") if run.evaluation.get("step") == run.step else ""


def is_locked(path: Path) -> bool:
    """Does a process train in this folder now?"""
    try:
        with reading.open_file(path) as file:
            return lock.is_taken(file)
    except (OSError, reading.Unreadable):
        return False


def read_last_words(path: Path) -> tuple[str, str]:
    """Reads how the last session in run.log ended.

    Returns:
        State and sentence; two empty strings where it ended without a word.
    """
    state = ""
    words = ""
    for line in reading.read_tail(path, LOG_TAIL).splitlines():
        match = LOG_LINE.fullmatch(line)
        if match is None:
            if state == "failed" and line.strip():
                words = line.strip()  # a traceback's last line says most
        elif match["text"].startswith("training from step"):
            state = ""
            words = ""
        elif match["text"].startswith("ended: "):
            state = "stopped"
            words = match["text"].removeprefix("ended: ")
        elif match["level"] in ("ERROR", "CRITICAL"):
            state = "failed"
            words = match["text"]
    return ("interrupted" if re.match(r"SIG[A-Z0-9]+: ", words) else state), words


def read_load(path: Path) -> float | None:
    """Reads the mean load that the newest session has noted in run.log."""
    found = LOAD_LINE.findall(reading.read_tail(path, LOG_TAIL))
    return float(found[-1]) if found else None


def read_lines(path: Path, notes: list[str] | None = None) -> list[dict]:
    """Reads the sound lines of metrics.jsonl, in the order of their steps.

    A kill may tear the last one.

    Args:
        path: The file.
        notes: Gets a sentence where the file cannot be read to its end.
    """
    lines: dict[int, dict] = {}
    try:
        for _, line in reading.read_json_lines(path):
            step = reading.convert_count(line.get("step"))
            if step is None or any(
                convert_number(line.get(key)) is None for key in ("nimg", "time")
            ):
                continue
            lines[step] = {
                key: convert_number(value) for key, value in line.items() if is_number(value)
            } | {"step": step}
    except reading.Unreadable as error:
        keep_note(error, notes)
    return [lines[step] for step in sorted(lines)]


def read_evaluation(path: Path, notes: list[str] | None = None) -> Evaluation:
    """Reads evaluation.json, and of it nothing but what its schema names.

    Args:
        path: The file; {} is returned where there is none.
        notes: As in `read_lines`.
    """
    try:
        found = reading.read_json(path)
    except reading.Unreadable as error:
        keep_note(error, notes)
        return {}
    if not isinstance(found, dict):
        return {}
    clean: Evaluation = {
        "values": pick_numbers(found.get("values")),
        "reals": pick_numbers(found.get("reals")),
        "protocol": found["protocol"] if isinstance(found.get("protocol"), dict) else {},
        "skipped": pick_words(found.get("skipped")),
        "own": pick_own_lines(found.get("own")),
    }
    step = reading.convert_count(found.get("step"))
    if step is not None:
        clean["step"] = step
    if isinstance(found.get("ended"), int | str):
        clean["ended"] = str(found["ended"])
    best = found.get("best")
    if (
        isinstance(best, dict)
        and isinstance(best.get("key"), str)
        and best.get("mode") in ("min", "max")
    ):
        clean["best"] = {
            "key": best["key"],
            "mode": best["mode"],
            "step": reading.convert_count(best.get("step")),
            "value": convert_number(best.get("value")),
        }
    return clean


def pick_numbers(node: object) -> dict[str, float | None]:
    """Picks the numbers of a part of an evaluation's file."""
    if not isinstance(node, dict):
        return {}
    return {name: convert_number(value) for name, value in node.items() if is_number(value)}


def pick_own_lines(node: object) -> dict[str, Line]:
    """Picks what an evaluation's file says of the user's own metrics, and of no others."""
    found: dict[str, Line] = {}
    for name, about in node.items() if isinstance(node, dict) else ():
        if not isinstance(name, str) or not isinstance(about, dict) or find_line(name) is not None:
            continue
        better: Direction = ""
        if about.get("better") == "higher":
            better = "higher"
        elif about.get("better") == "lower":
            better = "lower"
        found[name] = Line(name, str(about.get("what", "")), "", better, "")
    return found


def pick_words(node: object) -> dict[str, str]:
    """Picks the sentences of a part of an evaluation's file."""
    if not isinstance(node, dict):
        return {}
    return {name: str(reason) for name, reason in node.items()}


def read_evaluations(folder: Path, notes: list[str] | None = None) -> dict[str, Evaluation]:
    """Reads the evaluations of a run, by the names of their protocols.

    Those without a number are left out.
    """
    try:
        paths = sorted(folder.glob("*.json"))[:MOST_EVALUATIONS]
    except OSError:
        return {}
    found = {path.stem: read_evaluation(path, notes) for path in paths}
    return {name: each for name, each in found.items() if each.get("values")}


def read_hydra(folder: Path, notes: list[str] | None = None) -> dict:
    """Reads the overrides and the choices that .hydra/ keeps."""
    overrides = read_yaml(folder / "overrides.yaml", notes)
    hydra = read_yaml(folder / "hydra.yaml", notes)
    choices = hydra
    for key in ("hydra", "runtime", "choices"):
        choices = choices.get(key) if isinstance(choices, dict) else None
    return {
        "overrides": [str(item) for item in overrides] if isinstance(overrides, list) else [],
        "choices": {
            str(group): str(option)
            for group, option in (choices if isinstance(choices, dict) else {}).items()
            if option and not str(group).startswith("hydra/")
        },
    }


def read_yaml(path: Path, notes: list[str] | None = None) -> object:
    """Reads a YAML file of a run folder; None where it is missing or cannot be read.

    Args:
        path: The file.
        notes: As in `read_lines`.
    """
    try:
        return reading.read_yaml(path)
    except reading.Unreadable as error:
        keep_note(error, notes)
        return None


def keep_note(error: reading.Unreadable, notes: list[str] | None) -> None:
    """Keeps why a file was passed over, for those who show the run."""
    if notes is not None:
        notes.append(f"{error.message}; it is passed over")


def is_number(value: object) -> bool:
    """Is it a number, or null, which stands for one that was not finite?"""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def flatten(tree: dict, prefix: str = "") -> dict[str, object]:
    """Returns a tree of dicts as one dict: {"loss": {"clip": 1}} -> {"loss.clip": 1}."""
    items: dict[str, object] = {}
    for key, value in tree.items():
        items |= (
            flatten(value, f"{prefix}{key}.")
            if isinstance(value, dict) and value
            else {f"{prefix}{key}": value}
        )
    return items


def find_asked(run: Run) -> dict[str, str]:
    """Finds the overrides of a run, key -> value."""
    pairs = [item.lstrip("+").partition("=") for item in run.overrides]
    return {
        key: value.strip("'\"")
        for key, _, value in pairs
        if not key.startswith(("hydra.", "resume", "trust"))
    }
