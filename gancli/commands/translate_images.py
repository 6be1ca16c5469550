"""What gan translate does with each image: reads, translates and writes it, or names it as bad."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from gancli.commands.checkpoint_verbs import out_folder
from gancli.commands.translate_files import (
    Item,
    Sheet,
    image_names,
    read,
    save,
    targets,
    thumbnail,
)
from gancli.config.build import read_trust
from gancli.data.decode import BadImage, colour_lost, loses_colour, quiet
from gancli.errors import UserError
from gancli.game import Batch, Game
from gancli.inference.sampling import check_values
from gancli.inference.tiling import (
    choose_way,
    explain_whole_only,
    find_translator,
    is_noisy,
    is_tileable,
)
from gancli.inference.translating import (
    find_transparent,
    find_white,
    prepare_pose,
    prepare_source,
    prepare_style,
    require_translating,
    translate_source,
)
from gancli.networks.layers import size_of
from gancli.networks.translation import Translator
from gancli.precision import resolve_device
from gancli.render import messages
from gancli.render.grids import to_uint8
from gancli.run.checkpoint_options import open_game
from gancli.seeding import seed_of

PAIRED = "gancli.data.pairs.Paired"
SAME_SHAPE = 0.05  # how far a width may be from two widths


@dataclass
class Job:
    """One call of the command.

    Attributes:
        options: What was typed, as plain data.
        extras: Inputs that all images share.
        masks: Name of an image -> the file of its holes; None: its alpha.
        own_poses: Name of an image -> the file of its pose.
        poses: Name of a pose to move into -> its map (1,P,h,w).
        given: Values of the game's translation options.
        paired: Width over height of the trained images and the half that is the source, of pairs.
        wide: How many inputs have twice that width.
        shrunk: How many images the network did not see at their size.
        notes: What else was done to some.
        bad: (name, reason) of those that could not be translated.
    """

    options: dict
    game: Game
    generator: nn.Module
    network: Translator
    channels: int
    out: Path
    path: Path  # of the checkpoint
    extras: Batch = field(default_factory=dict)
    masks: dict[str, Path] | None = None
    own_poses: dict[str, Path] = field(default_factory=dict)
    poses: Batch = field(default_factory=dict)
    given: dict[str, object] = field(default_factory=dict)
    paired: tuple[float, str] | None = None
    wide: int = 0
    shrunk: int = 0
    notes: set[str] = field(default_factory=set)
    bad: list[tuple[str, str]] = field(default_factory=list)

    @property
    def answers(self) -> Sequence[int | str | None]:
        """What tells the answers to one source apart in their names."""
        if self.poses:
            return list(self.poses)
        return range(self.options["answers"]) if self.options["answers"] > 1 else (None,)


def job_of(options: dict, own: Mapping[str, object]) -> Job:
    """Loads the checkpoint; own: options of a game of the user's.

    Raises UserError for what it does not have.
    """
    loaded = open_game(
        str(options["ckpt"]),
        ema=options["ema"],
        trust=read_trust(options["trust"]),
        device=str(resolve_device(options["device"])),
    )
    direction = options["direction"]
    game = loaded.game
    require_translating(game, direction, instead=f"gan sample ckpt={options['ckpt']}")
    given = check_values(game.translation_options(), own, known=list(options))
    network = find_translator(game, loaded.generator, direction)
    refuse_unfit(options, network, game.extras)
    choose_way(network, (1, 1), tile=options["tile"], max_size=options["max_size"])
    name = "translated" if direction == "ab" else f"translated-{direction}"
    out = out_folder(options["out"], loaded.path, name)
    # Not the rest of what was loaded: a checkpoint's tensors may be a gigabyte.
    job = Job(
        options,
        game,
        loaded.generator,
        network,
        channels=loaded.tree["config"]["dataset"]["channels"],
        out=out,
        path=loaded.path,
        paired=source_half(loaded.tree["config"]["dataset"]),
        given=given,
    )
    if options["style"] is not None:
        job.extras["style"] = read_style(job)
    if options["poses"] is not None:
        job.poses = read_poses(job)
    return job


def source_half(data: dict) -> tuple[float, str] | None:
    """Finds width over height of one image, and which half of a pair side by side is the source.

    None where there are no pairs.
    """
    if data.get("_target_") != PAIRED:
        return None
    height, width = size_of(data["resolution"])
    return width / height, "right" if data.get("direction") == "ba" else "left"


def refuse_unfit(options: dict, network: Translator, extras: tuple[str, ...]) -> None:
    """Raises UserError about options that this generator has no use for."""
    reasons = {
        "answers": (
            "its generator has no noise, and gives one answer alone",
            options["answers"] > 1 and not is_noisy(network),
        ),
        "mask": ("its model fills no holes", options["mask"] is not None and "mask" not in extras),
        "style": (
            "its model takes no style from an image",
            options["style"] is not None and "style" not in extras,
        ),
        **{
            key: (
                "its model moves nobody into a pose",
                options[key] is not None and "pose" not in extras,
            )
            for key in ("pose", "poses")
        },
    }
    for key, (reason, unfit) in reasons.items():
        if unfit:
            raise UserError(
                f"{key}={options[key]} does not apply to this checkpoint: {reason}",
                f"leave {key}= out",
            )
    if "style" in extras and options["style"] is None:
        raise UserError(
            "this checkpoint's model paints in the style of an image, and style is not given",
            "style=painting.jpg",
        )
    if "pose" in extras:
        absent = [key for key in ("pose", "poses") if options[key] is None]
        if absent:
            raise UserError(
                "this checkpoint's model moves people into poses, and "
                f"{'= and '.join(absent)}= {'is' if len(absent) == 1 else 'are'} not given",
                "pose=FILE_OR_FOLDER shows the pose of the input, "
                "poses=FILE_OR_FOLDER those to move into",
            )


def read_style(job: Job) -> Tensor:
    """Reads the image of style=, (1,C,h,w) in [-1,1]. Raises UserError."""
    path = Path(os.path.expanduser(job.options["style"]))
    try:
        with quiet():
            style = read(path, job.notes)
    except BadImage as error:
        raise UserError(f"style={job.options['style']}: {error}", "give an image file") from error
    return prepare_style(
        job.network,
        style,
        job.channels,
        name=f"style={job.options['style']}",
        max_size=job.options["max_size"],
    )


def read_poses(job: Job) -> Batch:
    """Reads the images of poses=, by name. Raises UserError."""
    given = job.options["poses"]
    root = Path(os.path.expanduser(given))
    files = [root] if os.path.isfile(root) else [root / name for name in image_names(root)]
    if not files:
        raise UserError(f"poses={given}: no image in it", "an image file, or a folder of them")
    stems = [file.stem for file in files]
    if os.path.isdir(root):
        stems = [target.replace("/", "-") for target in targets(image_names(root))]
    found = {}
    for name, file in zip(stems, files, strict=True):
        try:
            with quiet():
                found[name] = prepare_pose(job.network, read(file, job.notes))
        except BadImage as error:
            raise UserError(f"{file}: {error}", "give image files") from error
    return found


def attempt(job: Job, item: Item, sheet: Sheet) -> str | None:
    """Translates one image; returns why that cannot be done, or None."""
    try:
        with quiet():
            translate(job, item, sheet)
    except BadImage as error:
        return str(error)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(
            error
        ):  # how PyTorch says it, of a CPU and of a GPU
            raise
        return "not enough memory; a smaller max_size= needs less"
    return None


def translate(job: Job, item: Item, sheet: Sheet) -> None:
    """Reads, translates and writes one image. Raises BadImage, OSError."""
    pixels = half_of(job, read(item.path, job.notes))
    channels = job.channels
    if loses_colour(pixels, channels):
        job.notes.add(colour_lost(channels))
    hidden = hole_of(job, item, pixels) if "mask" in job.game.extras else None
    own_pose = pose_of(job, item) if "pose" in job.game.extras else {}
    alpha_is_mask = hidden is not None and job.masks is None
    source = prepare_source(pixels, channels, hidden=hidden, alpha_is_mask=alpha_is_mask)
    size = source.size
    way = choose_way(job.network, size, tile=job.options["tile"], max_size=job.options["max_size"])
    made = []
    for answer in job.answers:
        canvas = translate_source(
            job.game,
            job.generator,
            source,
            way,
            direction=job.options["direction"],
            extras=job.extras | own_pose | new_pose(job, answer),
            seed=seed_of(job.options["seed"], "translate", item.name, answer or 0),
            options=job.given,
        )
        save(canvas, job.out / item.file(job.options["format"], answer))
        made.append(thumbnail(canvas))
    # A window around a hole loses nothing but its own pixels.
    job.shrunk += way.size != size and not (hidden is not None and job.network.size)
    sheet.add(to_uint8(source.inputs["a"][0]).permute(1, 2, 0).numpy(), made)


def pose_of(job: Job, item: Item) -> Batch:
    """Reads the pose of an item itself. Raises BadImage."""
    if item.name not in job.own_poses:
        raise BadImage("no image of pose= has its name")
    try:
        return {"pose_a": prepare_pose(job.network, read(job.own_poses[item.name], job.notes))}
    except BadImage as error:
        raise BadImage(f"its pose: {error}") from error


def new_pose(job: Job, answer: int | str | None) -> Batch:
    """Returns the pose that an answer shows, where answers are poses."""
    return {"pose_b": job.poses[answer]} if isinstance(answer, str) else {}


def half_of(job: Job, pixels: np.ndarray) -> np.ndarray:
    """Cuts the half that half= asks for; without it counts what is as wide as a pair.

    Raises BadImage.
    """
    height, width = pixels.shape[1:]
    half = job.options["half"]
    if half is None:
        if job.paired is not None:
            job.wide += abs(width / height / job.paired[0] - 2) < SAME_SHAPE
        return pixels
    if width % 2:
        raise BadImage(f"{width} pixels wide, which is no pair side by side")
    return pixels[:, :, : width // 2] if half == "left" else pixels[:, :, width // 2 :]


def hole_of(job: Job, item: Item, pixels: np.ndarray) -> np.ndarray:
    """Finds (H,W) bool: where the mask is white or, without masks, the image transparent.

    Raises:
        BadImage: Nothing is hidden, or the mask does not fit.
    """
    if job.masks is None:
        hidden = find_transparent(pixels)
        if not hidden.any():
            raise BadImage("nothing in it is transparent, and mask= is not given")
    else:
        if item.name not in job.masks:
            raise BadImage("no mask has its name")
        try:
            hidden = find_white(read(job.masks[item.name], job.notes))
        except BadImage as error:
            raise BadImage(f"its mask: {error}") from error
        if hidden.shape != pixels.shape[1:]:
            raise BadImage(
                "its mask measures {}x{} pixels, and itself {}x{}".format(
                    *hidden.shape[::-1], *pixels.shape[:0:-1]
                )
            )
        if not hidden.any():
            raise BadImage("nothing in its mask is white")
    return hidden


def report(job: Job, total: int) -> None:
    """Says what was done to some of the images. Raises UserError where none was translated."""
    for note in sorted(job.notes):
        messages.remark(note)
    if job.wide and job.paired is not None:
        messages.warn(
            f"{job.wide} of {total} images are as wide as a pair of those that were trained on, "
            "and their halves are not cut: "
            f"half={job.paired[1]} translates the source half of each"
        )
    if job.shrunk:
        messages.warn(f"{job.shrunk} of {total} images {how_shrunk(job)}")
    if len(job.bad) == total:
        message = (
            "{}: {}".format(*job.bad[0])
            if total == 1
            else f"none of {total} images could be translated"
        )
        hints = {
            "mask": "mask=FILE_OR_FOLDER says in white what is to be filled",
            "pose": "pose=FILE_OR_FOLDER shows the pose of each input",
        }
        fits = (hint for key, hint in hints.items() for _, reason in job.bad if key in reason)
        raise UserError(message, next(fits, "give other images"))
    if job.bad:
        messages.warn(f"skipped {len(job.bad)} of {total} images")


def how_shrunk(job: Job) -> str:
    """Tells why images were shrunk and enlarged again, as the end of a sentence."""
    size = job.network.size
    if size is not None:
        return f"were resized to {size[1]}x{size[0]} and back: this generator takes no other size"
    why = (
        "tile=off"
        if job.options["tile"] == "off" and is_tileable(job.network)
        else explain_whole_only(job.network)
    )
    return (
        f"are larger than max_size={job.options['max_size']}; {why}, so they were translated "
        "smaller and enlarged again "
        "(a larger max_size= takes more memory)"
    )
