"""gan data: examines a data set before a run is spent on it."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gancli.commands.endings import say_end
from gancli.config import compose as front
from gancli.config.arguments import refuse_misspelt
from gancli.config.resolvers import make_slug
from gancli.errors import Problems, UserError, unwritable
from gancli.files import shell
from gancli.files.paths import add_ending
from gancli.render import messages as panels
from gancli.render import status
from gancli.render.notes import NOTE
from gancli.reports.recipes import choose_words
from gancli.run.checkpoint_options import make_plain

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from PIL import Image

    from gancli.data.base import Source
    from gancli.reports.survey import Survey

# words that choose a data set, or may
CHOOSING = ("dataset=", "+dataset=", "model=", "experiment=", "+experiment=", "-cd", "--config")
CLEAR = "--clear-cache"
LAYOUTS = ("pairs", "two domains")  # how the notes of reports/layouts.py begin


class Request(NamedTuple):
    """What is typed behind `gan data`.

    Attributes:
        overrides: Of the config; a lone path stands in them as the data set that reads it.
        path: That lone path; "" without one.
        out: The file of the contact sheet; None takes a name of its own.
        sample: How many files to look at, evenly spread; None takes all.
        as_json: Whether everything is printed as plain data.
        n_chosen: How many of the overrides stand for the lone path, before those that are typed.
    """

    overrides: list[str]
    out: Path | None
    sample: int | None
    as_json: bool
    path: str = ""
    n_chosen: int = 0


def main(argv: list[str]) -> int:
    """Shows what a data set holds, and writes its contact sheet.

    Raises:
        UserError: The words are wrong, or there is no such data set, or the sheet cannot be
            written.
    """
    from gancli.files.paths import check_run

    if CLEAR in argv:
        clear_cache(argv)
        return 0
    refuse_misspelt([word for word in argv if word != "--json"], (CLEAR, "--json"))
    request = read_request(argv)
    composed = front.compose("train", request.overrides)
    for message in composed.warnings:
        panels.warn(message)
    check_run(composed.cfg)
    status.say("loading torch…")
    from gancli.reports.alarms import collect_notes, find_alarms
    from gancli.reports.survey import survey_data
    from gancli.reports.surveyed import collect_facts, show_survey

    status.say("reading the data…")
    with collect_messages() as messages:
        source = open_source(composed.cfg)
        found = survey_data(source, sample=request.sample, tick=say_count)
    warnings = [
        *find_alarms(found),
        *(text for text, level in messages if level >= logging.WARNING),
    ]
    others = [text for text, level in messages if level < logging.WARNING]
    found.notes = list(dict.fromkeys([*collect_notes(found), *others]))
    subject = describe_subject(composed)
    path = request.out or Path("outputs") / "data" / f"{name_sheet(subject)}.png"
    status.say("drawing the contact sheet…")
    sheet = draw_sheet(found, path) if found.kept is not None else None
    augment = composed.cfg.augment is not None
    shown = draw_augmented(composed.cfg, found, path) if augment else None
    if request.as_json:
        files = {"sheet": str(sheet) if sheet else None}
        files |= {"augmented": str(shown[0])} if shown else {}
        print(json.dumps(collect_facts(found) | {"alarms": warnings} | files, indent=2))
    else:
        show_survey(found, warnings, subject=subject)
        if shown:
            file, how = shown
            panels.say(
                f"augment   {file}: a row as it is, then what the discriminator may see of it{how}"
            )
        if request.path:
            panels.say(f"recommend {describe_recipe(request.path, request.overrides)}")
        say_end(str(sheet) if sheet else "", choose_next(found, request))
    return 0


def clear_cache(argv: list[str]) -> None:
    """Removes the decoded images that earlier runs have kept, and says how much that was.

    Raises:
        UserError: Other words stand beside the flag, or they cannot be removed.
    """
    from gancli.data import cache

    others = [word for word in argv if word != CLEAR]
    if others:
        raise UserError(f"{CLEAR} takes no {others[0]}: it clears all", cache.CLEAR)
    root = cache.cache_root()
    try:
        sets, indexes, n_bytes = cache.clear()
    except OSError as error:
        raise UserError(
            f"{error.filename or root} cannot be removed: {error.strerror}",
            "change its permissions",
        ) from error
    noun = "data set" if sets == 1 else "data sets"
    beside = f" and {indexes} of tar files' indexes" if indexes else ""
    print(
        f"removed the decoded images of {sets} {noun}{beside} from {root}: "
        f"{cache.gigabytes(n_bytes)}"
    )


def choose_next(found: Survey, request: Request) -> list[str]:
    """Chooses the command that trains on the data.

    It is the one that a note names for pairs or domains; of a lone path, where no model is typed,
    the one that goes by the rules of `gan recommend`. Else it trains on the data as given, with a
    model that can learn such items where the default, a model of images, cannot.
    """
    from gancli.data.derived import Derived

    overrides = request.overrides
    for text in found.notes:
        if text.startswith(LAYOUTS) and (command := re.search(r": (gan train .*?)(?: \(|$)", text)):
            return shell.split(command[1])
    models = found.source.modality().models
    taken = [named for text in found.notes if (named := re.search(r"model=(\w+) takes them", text))]
    if taken:
        models = (taken[0][1],)
    elif isinstance(found.source, Derived):
        models = (found.source.choose_model(),)
    typed = overrides[request.n_chosen :]
    if request.path and not any(word.startswith(CHOOSING) for word in typed):
        return ["gan", "train", f"dataset.path={request.path}", *typed]
    chosen = any(word.startswith(("model=", "experiment=")) for word in overrides)
    return ["gan", "train", *([f"model={models[0]}"] if models and not chosen else []), *overrides]


def draw_augmented(cfg: DictConfig, found: Survey, sheet: Path) -> tuple[Path, str]:
    """Writes what augment= makes of some images, beside the contact sheet.

    Returns:
        The file, and how the augmentation was set.

    Raises:
        UserError: The file cannot be written.
    """
    from gancli.config.build import build
    from gancli.reports.augmented import draw_preview, set_to_work

    augment = build(make_plain(cfg.augment), where="augment", trust=None)
    how = set_to_work(augment)
    path = sheet.with_name(f"{sheet.stem}-augmented.png")
    return save(draw_preview(found, augment, seed=cfg.seed), path), how


def read_request(argv: list[str]) -> Request:
    """Reads the words behind `gan data`.

    Raises:
        UserError: No data set is named, or several are, or a value does not fit.
    """
    overrides: list[str] = []
    paths: list[str] = []
    out = None
    sample = None
    as_json = False
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--json":
            as_json = True
        elif word.startswith("out="):
            out = add_ending(Path(word.removeprefix("out=")).expanduser(), ".png")
        elif word.partition("=")[0] == "--sample":
            value = word.partition("=")[2] or (rest.pop(0) if rest else "")
            if not value.isdecimal() or not int(value):
                raise UserError(f"--sample {value}: not a number of files", "--sample 1000")
            sample = int(value)
        elif word.startswith("-") or ("=" in word and not Path(word).expanduser().exists()):
            overrides += [word, rest.pop(0)] if word in ("-cd", "--config-dir") and rest else [word]
        else:
            paths.append(word)
    if len(paths) > 1:
        raise UserError(f"one data set at a time: {', '.join(paths)}", f"gan data {paths[0]}")
    if not paths and not any(word.startswith("dataset") for word in overrides):
        raise UserError("which data set?", "gan data FOLDER_OR_ZIP   or   gan data dataset=mnist")
    folder = [word for path in paths for word in choose_words(path)]
    if not any(word.startswith(CHOOSING) for word in [*folder, *overrides]):
        folder = ["dataset=folder"]  # dataset.path=, or another key, and nothing has chosen a set
    path = "".join(paths)
    return Request([*folder, *overrides], out, sample, as_json, path, n_chosen=len(folder))


def describe_recipe(path: str, words: list[str]) -> str:
    """Names what the rules would train on a lone path, and what compares it with others."""
    from gancli.reports.recipes import list_recipes, look_at

    recipe = list_recipes(look_at(path, words))[0]
    command = shell.join(["gan", "recommend", path, "minutes=30"])
    return f"{recipe.name}; what fits into your time: {command}"


def open_source(cfg: DictConfig) -> Source:
    """Opens the configured data set, its scan done. Raises Problems."""
    from gancli.config.build import build
    from gancli.config.fill import check_dataset

    problems = check_dataset(cfg)
    if problems:
        raise Problems(problems)
    source: Source = build(make_plain(cfg.dataset), where="dataset", trust=None)
    return source


def describe_subject(composed: front.Composed) -> str:
    """Names the data set: its path, or the option of the group."""
    spec = composed.cfg.dataset
    return str(spec.path) if "path" in spec else composed.choices.get("dataset", "data")


def name_sheet(data: str) -> str:
    """Names the sheet of a folder or a data set.

    Where a file's name cannot hold all of the letters, a digest keeps `a b` and `a-b` apart.
    """
    name = make_slug([f"={data}"])
    if name == data:
        return name
    return f"{name}-{hashlib.sha256(data.encode('utf-8', 'surrogateescape')).hexdigest()[:6]}"


@contextmanager
def collect_messages() -> Iterator[list[tuple[str, int]]]:
    """Collects what the data package says, with its level, each once.

    Warnings belong among the alarms.
    """
    messages: dict[tuple[str, int], None] = {}

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.setdefault((record.getMessage(), record.levelno))

    logger = logging.getLogger("gancli.data")
    handler = Collect(NOTE)
    found: list[tuple[str, int]] = []
    propagate = logger.propagate
    level = logger.level
    logger.propagate = False
    logger.setLevel(NOTE)
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)
        found.extend(messages)


def say_count(done: int, total: int) -> None:
    """Says how far the reading is."""
    status.say(f"reading {done:,} of {total:,} files…", goes_on=True)


def draw_sheet(found: Survey, path: Path) -> Path:
    """Writes the contact sheet: a row for each class, or rows of images from all over.

    Points are drawn as a cloud.
    """
    from gancli.reports.surveyed import draw_contact_sheet

    return save(draw_contact_sheet(found), path)


def save(picture: Image.Image, path: Path) -> Path:
    """Writes a picture into a folder that is made if needed. Raises UserError."""
    from gancli.render.grids import save_png

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_png(picture, path)
    except OSError as error:
        raise unwritable(path, error, "choose another out=FILE.png") from error
    except ValueError as error:
        raise UserError(
            f"{path} cannot be written: {error}", "choose another out=FILE.png"
        ) from error
    return path
