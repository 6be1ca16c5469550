"""gan translate: images into images by a checkpoint, of any size, mode and number."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from gancli.commands import checkpoint_verbs
from gancli.commands.endings import Ending, after_checkpoint, count
from gancli.errors import Problems
from gancli.render import messages, status
from gancli.run import checkpoint_options

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gancli.commands.translate_files import Item

SHOWN = 16  # sources on the sheet
MOST_ANSWERS = 1000


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    rest, own = checkpoint_verbs.split_off_own("translate", argv)
    return checkpoint_verbs.write("translate", rest, functools.partial(run, own=own))


def describe_checkpoint(words: list[str]) -> list[str]:
    """Lists what may be asked of the checkpoint that a command line names, for its help."""
    rest, _ = checkpoint_verbs.split_off_own("translate", words)
    cfg = checkpoint_options.compose_options("translate", rest, missing=True).cfg
    from gancli.config.build import read_trust
    from gancli.game import Option

    game = checkpoint_options.open_game(str(cfg.ckpt), trust=read_trust(cfg.trust)).game
    ways = [
        Option(name="direction", type=str, help=" or ".join(game.directions), default="ab")
        for _ in game.directions[:1]
    ]
    extras = [*game.extras, *(["poses"] if "pose" in game.extras else [])]
    inputs = [Option(name=name, type=str, help="an image file") for name in extras]
    return checkpoint_verbs.describe_options([*ways, *inputs, *game.translation_options()])


def run(cfg: DictConfig, *, own: Mapping[str, object]) -> Ending:
    """Writes what the images become; own: options of a game of the user's.

    Raises UserError, also where no image could be translated.
    """
    options = read_options(cfg)
    status.say("loading torch…")
    from gancli.commands.translate_files import Sheet, items_of, masks_of, refuse_foreign_files
    from gancli.commands.translate_images import attempt, job_of, report
    from gancli.run.failures import explain_write_errors

    job = job_of(options, own)
    items = items_of(options["input"], job.out)
    job.masks = masks_of(options["mask"], items) if options["mask"] is not None else None
    job.own_poses = masks_of(options["pose"], items, key="pose")
    files = [item.file(options["format"], answer) for item in items for answer in job.answers]
    taken = {file.lower() for file in files}
    sheet = next(
        name
        for name in (f"sheet{k}.png" for k in ("", *range(2, len(files) + 3)))
        if name not in taken
    )
    refuse_foreign_files(job.out, files + [sheet] * options["sheet"], items)
    # All that can be refused comes before the folder is made.
    with explain_write_errors(job.out):
        job.out.mkdir(parents=True, exist_ok=True)
        shown = Sheet(SHOWN)
        for item in watched(items):
            reason = attempt(job, item, shown)
            if reason is not None:
                job.bad.append((item.name, reason))
                if len(items) > 1:
                    messages.warn(f"{item.name}: {reason}")
        if options["sheet"] and shown.thumbnails:
            shown.save(job.out / sheet)
    report(job, len(items))
    bad = {name for name, _ in job.bad}
    made = [
        item.file(options["format"], answer)
        for item in items
        if item.name not in bad
        for answer in job.answers
    ]
    first = sheet if options["sheet"] and shown.thumbnails else made[0]
    return Ending(
        f"{job.out / first}, and {count(len(made), 'image')} in {job.out}",
        after_checkpoint(job.path),
    )


def read_options(cfg: DictConfig) -> dict:
    """Reads the options as plain data. Raises Problems with all that is wrong."""
    kinds: dict[str, object] = {
        "input": str,
        "out": str | None,
        "direction": Literal["ab", "ba"],
        "half": Literal["left", "right"] | None,
        "answers": int,
        "mask": str | None,
        "style": str | None,
        "pose": str | None,
        "poses": str | None,
        "seed": int,
        "format": Literal["png", "jpg", "webp"],
        "sheet": bool,
        "max_size": int | None,
        "tile": int | Literal["auto", "off"],
        "ema": bool,
        "device": Literal["auto", "cpu", "cuda", "mps"],
    }
    options, found = checkpoint_options.read_options(
        cfg,
        kinds,
        needs=("ckpt", "input"),
        usage="gan translate ckpt=outputs/<model>-<dataset>/<stamp> input=FOLDER_OR_FILE",
        files={
            "input": "image or folder",
            "mask": "image or folder",
            "style": "file",
            "pose": "image or folder",
            "poses": "image or folder",
        },
    )
    if not found:
        limits = {"answers": (1, MOST_ANSWERS), "max_size": (16, 2**20), "tile": (1, 2**20)}
        found = [
            (f"{key}={options[key]} does not fit", f"give {low} to {high}")
            for key, (low, high) in limits.items()
            if isinstance(options[key], int) and not low <= options[key] <= high
        ]
    if found:
        raise Problems(found)
    return options


def watched(items: Sequence[Item]) -> Iterator[Item]:
    """Says how far it is."""
    status.say("translating…")
    for done, item in enumerate(items):
        status.say(f"translating: {done:,} of {len(items):,} images…", goes_on=True)
        yield item
    status.say("writing the sheet…")
