"""gan sample: images from a checkpoint, and nothing but the checkpoint."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from gancli.commands import checkpoint_verbs
from gancli.commands.endings import Ending, after_checkpoint, after_training
from gancli.commands.sample_pictures import (
    COLUMNS,
    begun,
    images_of,
    series,
    walked,
    write_picture,
    write_walk,
)
from gancli.config.resolvers import MOST_BYTES
from gancli.errors import Problems, UserError
from gancli.files import atomic, shell
from gancli.files.paths import avoid_reserved
from gancli.modality import make_modality
from gancli.render import messages, status
from gancli.run import checkpoint_options
from gancli.run.failures import explain_write_errors

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from gancli.checkpoint import Loaded
    from gancli.game import Batch, Game

ROWS = 64  # of the grid
DRAWN = (
    "label",
    "per_class",
    "truncation",
    "interpolate",
    "sweep",
    "mix",
    "levels",
    "walk",
)  # what needs latents to be drawn


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    rest, own = checkpoint_verbs.split_off_own("sample", argv)
    return checkpoint_verbs.write("sample", rest, functools.partial(run, own=own))


def describe_checkpoint(words: list[str]) -> list[str]:
    """Lists what may be asked of the checkpoint that a command line names, for its help."""
    rest, _ = checkpoint_verbs.split_off_own("sample", words)
    options = read_options(checkpoint_options.compose_options("sample", rest).cfg)
    from gancli.config.build import read_trust

    loaded = checkpoint_options.open_game(str(options["ckpt"]), trust=read_trust(options["trust"]))
    return checkpoint_verbs.describe_options(loaded.game.sampling_options())


def run(cfg: DictConfig, *, own: Mapping[str, object]) -> Ending:
    """Writes the images; own: options of a game of the user's. Raises UserError."""
    options = read_options(cfg)
    options["n"] = options["n"] if options["latent"] is None else 1
    status.say("loading torch…")
    from gancli.config.build import read_trust
    from gancli.inference.sampling import COMMON, check_values, refuse_unknown
    from gancli.precision import resolve_device

    loaded = checkpoint_options.open_game(
        str(options["ckpt"]),
        ema=options["ema"],
        trust=read_trust(options["trust"]),
        device=str(resolve_device(options["device"])),
    )
    game = loaded.game
    if game.directions:
        words = after_training(
            Path(str(options["ckpt"])),
            read_trust(options["trust"]),
            translates=True,
            folder=loaded.path.parent.parent,
        )
        raise UserError(
            "this model makes images out of images, and not out of noise", shell.join(words)
        )
    options |= check_values(game.sampling_options(), own, known=list(options))
    refuse_unknown(game, {key: options[key] for key in COMMON})
    classes = [str(name) for name in loaded.tree["data"]["classes"]]
    label = choose_all_labels(game, options, classes)
    options["n"] = options["n"] if label is None else len(label)
    # All that can be refused comes before the folder is made.
    if options["truncated_layers"] is not None and options["truncation"] is None:
        messages.warn("truncated_layers has no effect without truncation=")
    inactive = game.inactive_levels
    level = options["level"]
    if (inactive and options["levels"] is not None) or (level is not None and level < inactive):
        messages.warn(
            f"levels below {inactive} are inactive: their image layers have not been trained "
            "since the next resolution came, what they read has"
        )
    status.say("drawing…")
    inputs, given = begun(game, label, options)
    pictures = series(game, inputs, label, options)
    film = walked(loaded, inputs, label, options)
    loaded = with_standing(loaded, options)
    out = checkpoint_verbs.out_folder(options["out"], loaded.path, f"samples-seed{options['seed']}")
    status.say("drawing samples…")
    with explain_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        modality = make_modality(loaded.tree["config"]["dataset"])
        write = write_table if modality.files else write_images
        write(loaded, inputs, out, options=options, classes=classes, given=given)
        for name, picture in pictures.items():
            write_picture(loaded, picture, out / f"{name}.png", seed=options["seed"])
        if film is not None:
            write_walk(loaded, film, out / options["film"], seed=options["seed"])
    shown = [options["film"]] if film is not None else [f"{name}.png" for name in pictures]
    first = out / (shown[0] if shown else "grid.png")
    others = " and ".join(modality.files) or describe_images(
        out, new=options["n"], words=modality.count(options["n"])
    )
    return Ending(f"{first}, and {others}", after_checkpoint(loaded.path))


def read_options(cfg: DictConfig) -> dict:
    """Reads the options as plain data. Raises Problems with all that is wrong."""
    kinds: dict[str, object] = {
        "n": int,
        "seed": int,
        "ema": bool,
        "label": int | str | list[float] | None,
        "per_class": int | None,
        "interpolate": int | None,
        "truncation": float | None,
        "truncated_layers": int | None,
        "temperature": float | None,
        "sweep": str | None,
        "steps": int,
        "standing": int | None,
        "mix": int | str | None,
        "noise": Literal["random", "fixed", "none"] | None,
        "level": int | None,
        "levels": int | None,
        "walk": float | None,
        "film": str,
        "latent": str | None,
        "domain": Literal["a", "b", "both"] | None,
        "out": str | None,
        "device": Literal["auto", "cpu", "cuda", "mps"],
    }
    options, found = checkpoint_options.read_options(
        cfg,
        kinds,
        needs=("ckpt",),
        usage="gan sample ckpt=outputs/<model>-<dataset>/<stamp>",
        files={"latent": "file"},
    )
    least = {
        "n": 1,
        "per_class": 1,
        "interpolate": 2,
        "steps": 2,
        "standing": 1,
        "truncated_layers": 1,
        "level": 0,
        "levels": 1,
    }
    found += [
        (f"{key}={options[key]} does not fit", f"give {bound} or more")
        for key, bound in least.items()
        if isinstance(options[key], int) and options[key] < bound
    ]
    if isinstance(options["walk"], int | float) and not 0 < options["walk"] <= 600:
        found.append((f"walk={options['walk']} does not fit", "give seconds, up to 600"))
    if options["latent"] is not None and (
        drawn := [key for key in DRAWN if options[key] is not None]
    ):
        found.append(
            (
                f"latent= and {'=, '.join(drawn)}= do not go together",
                "latent= makes the one image that gan project has found",
            )
        )
    if options["label"] is not None and options["per_class"] is not None:
        found.append(
            (
                "label= and per_class= do not go together",
                "per_class makes every class; label with n= makes one",
            )
        )
    if found:
        raise Problems(found)
    return options


def choose_all_labels(game: Game, options: dict, classes: list[str]) -> Tensor | None:
    """Chooses the label of every image, or None where the model has none. Raises UserError."""
    import torch

    from gancli.inference.sampling import choose_labels

    if "label" not in game.needs:
        return None
    if options["per_class"] is not None:
        return torch.arange(game.classes).repeat_interleave(options["per_class"])
    return choose_labels(game, options["n"], label=options["label"], classes=classes)


def with_standing(loaded: Loaded, options: dict) -> Loaded:
    """Measures the statistics of batch norm anew, if so many passes are asked for."""
    if options["standing"] is None:
        return loaded
    from gancli.game import Stage
    from gancli.inference.sampling import CHUNK, pick_values
    from gancli.inference.standing_statistics import measure_standing_statistics

    measured = measure_standing_statistics(
        loaded.game,
        loaded.generator,
        passes=options["standing"],
        batch=CHUNK,
        seed=options["seed"],
        options=pick_values(loaded.game, options | {"label": None}, Stage.INPUTS),
    )
    return dataclasses.replace(loaded, generator=measured)


def write_table(
    loaded: Loaded, inputs: Batch, out: Path, *, options: dict, classes: list[str], given: dict
) -> None:
    """Writes the files that hold all samples, in the data's units, and their picture."""
    import torch

    from gancli.render.grids import save_png

    modality = make_modality(loaded.tree["config"]["dataset"])
    made = torch.stack(list(images_of(loaded, inputs, options["seed"], given)))
    for name, content in modality.export(made, inputs.get("label")).items():
        atomic.write(out / name, functools.partial(put, content))
    label = inputs.get("label")
    shown, columns = tiles(len(made), label, options)
    titles = name_labels(label, classes)
    picture = modality.picture(
        made if modality.drawn is not None else made[shown],
        None,
        columns=columns,
        titles=[titles[k] for k in shown] if titles else (),
    )
    save_png(picture, out / "grid.png")


def name_labels(label: Tensor | None, classes: list[str]) -> list[str]:
    """Names the class of each sample; [] where there are none, or no names."""
    if label is None or label.ndim > 1 or not classes:
        return []
    return [classes[k] if k < len(classes) else str(k) for k in label.tolist()]


def put(content: bytes, file: IO[bytes]) -> None:
    """Writes all of a file."""
    file.write(content)


def write_images(
    loaded: Loaded, inputs: Batch, out: Path, *, options: dict, classes: list[str], given: dict
) -> None:
    """Writes n images, or per_class of each class, and their grid into `out`."""
    import torch

    from gancli.render.grids import save_png

    modality = make_modality(loaded.tree["config"]["dataset"])
    n = options["n"]
    per_class = options["per_class"]
    suffix = modality.suffix(int(loaded.tree["config"]["dataset"]["channels"]))
    names = [f"{k:06d}{suffix}" for k in range(n)]
    if per_class is not None:
        folders = folder_names(classes, n // per_class)
        names = [f"{folders[k // per_class]}/{k % per_class:06d}{suffix}" for k in range(n)]
        for folder in folders:
            (out / folder).mkdir(exist_ok=True)
    shown, columns = tiles(n, inputs.get("label"), options)
    wanted = set(shown)
    kept: list[Tensor] = []  # `shown` ascends
    for k, image in enumerate(images_of(loaded, inputs, options["seed"], given)):
        modality.write(image, out / names[k])
        if k in wanted:
            kept.append(image)
    save_png(modality.picture(torch.stack(kept), None, columns=columns), out / "grid.png")


def tiles(n: int, label: Tensor | None, options: dict) -> tuple[list[int], int]:
    """Chooses which images the grid shows, and how many in a row.

    A row is a class with per_class, else a column is a class.
    """
    if options["per_class"] is not None:
        columns = min(options["per_class"], 16)
        return [k for k in range(n) if k % options["per_class"] < columns][
            : columns * ROWS
        ], columns
    if label is None or options["label"] is not None:
        columns = COLUMNS
    else:  # attributes come one after the other too
        columns = min(label.shape[1] if label.ndim > 1 else int(label.max()) + 1, 16)
    return list(range(min(n, columns * ROWS))), columns


def folder_name(name: str) -> str:
    """Turns a class's name into that of its folder; "" where nothing is left of it."""
    name = re.sub(r'[/\\:*?"<>|\x00-\x1f\x7f]', "_", name)[:90].strip(" .")
    while len(name.encode("utf-8", "replace")) > MOST_BYTES:
        name = name[:-1]
    return avoid_reserved(name.strip(" ."))


def folder_names(classes: list[str], count: int) -> list[str]:
    """Names a folder for every class.

    Whatever the data set called them, the folders stay inside `out` and apart.
    """
    safe = [folder_name(name) for name in classes[:count]] + [""] * (count - len(classes))
    safe = [name or f"{k:03d}" for k, name in enumerate(safe)]
    lower = [name.lower() for name in safe]  # some disks do not tell A from a
    return [
        name if lower.count(name.lower()) == 1 else f"{k:03d}-{name}" for k, name in enumerate(safe)
    ]


def describe_images(out: Path, *, new: int, words: str) -> str:
    """Says how many images were written, and how many of an earlier command lie beside them."""
    written = re.compile(r"\d{6}\.(png|tiff|npy|wav)")
    there = [path for path in (*out.glob("*"), *out.glob("*/*")) if written.fullmatch(path.name)]
    older = len(there) - new
    beside = f", beside {older:,} of an earlier command" if older > 0 else ""
    return f"{words} in {out}{beside}"
