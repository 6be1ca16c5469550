"""gan sample: images from a checkpoint, and nothing but the checkpoint."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Literal

from gancli.commands import checkpoint_verbs
from gancli.commands.endings import Ending, after_checkpoint, after_training, count
from gancli.commands.sample_pictures import (
    COLUMNS,
    begun,
    images_of,
    in_data_units,
    series,
    walked,
    write_picture,
    write_walk,
)
from gancli.config.resolvers import MOST_BYTES
from gancli.errors import Problems, UserError
from gancli.files import atomic
from gancli.render import messages, status
from gancli.run import checkpoint_options
from gancli.run.failures import explained_writes

ROWS = 64  # of the grid
# what only some models have
OWN = (
    "label",
    "per_class",
    "truncation",
    "truncated_layers",
    "sweep",
    "mix",
    "noise",
    "level",
    "levels",
    "domain",
)
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
    return checkpoint_verbs.write("sample", argv, run)


def run(cfg) -> Ending:
    """Writes the images. Raises UserError."""
    options = checked(cfg)
    options["n"] = options["n"] if options["latent"] is None else 1
    status.say("loading torch…")
    from gancli.config.build import read_trust
    from gancli.inference.sampling import refuse_unknown
    from gancli.precision import resolve_device

    loaded = checkpoint_options.open_game(
        str(options["ckpt"]),
        ema=options["ema"],
        trust=read_trust(options["trust"]),
        device=str(resolve_device(options["device"])),
    )
    if "a" in loaded.game.needs:
        words = after_training(
            Path(str(options["ckpt"])),
            read_trust(options["trust"]),
            translates=True,
            folder=loaded.path.parent.parent,
        )
        raise UserError(
            "this model makes images out of images, and not out of noise", shlex.join(words)
        )
    refuse_unknown(loaded.game, {key: options[key] for key in OWN})
    classes = [str(name) for name in loaded.tree["data"]["classes"]]
    label = labels(loaded.game, options, classes)
    options["n"] = options["n"] if label is None else len(label)
    # All that can be refused comes before the folder is made.
    if options["truncated_layers"] is not None and options["truncation"] is None:
        messages.warn("truncated_layers has no effect without truncation=")
    resting = getattr(loaded.game, "resting", 0)
    level = options["level"]
    if resting and options["levels"] is not None or level is not None and level < resting:
        messages.warn(
            f"levels below {resting} are stale: their image layers have rested since the next size came; what they read has not"
        )
    status.say("drawing…")
    inputs, given = begun(loaded.game, label, options)
    pictures = series(loaded.game, inputs, label, options)
    film = walked(loaded, inputs, label, options)
    loaded = with_standing(loaded, options)
    out = checkpoint_verbs.out_folder(options["out"], loaded.path, f"samples-seed{options['seed']}")
    status.say("drawing samples…")
    with explained_writes(out):
        out.mkdir(parents=True, exist_ok=True)
        write = (
            write_points if loaded.tree["config"]["dataset"]["kind"] == "points" else write_images
        )
        write(loaded, inputs, out, options=options, classes=classes, given=given)
        for name, picture in pictures.items():
            write_picture(loaded, picture, out / f"{name}.png", seed=options["seed"])
        if film is not None:
            write_walk(loaded, film, out / options["film"], seed=options["seed"])
    points = loaded.tree["config"]["dataset"]["kind"] == "points"
    shown = [options["film"]] if film is not None else [f"{name}.png" for name in pictures]
    first = out / (shown[0] if shown else "grid.png")
    others = "points.csv" if points else describe_images(out, new=options["n"])
    return Ending(f"{first}, and {others}", after_checkpoint(loaded.path))


def checked(cfg) -> dict:
    """The options as plain data. Raises Problems with all that is wrong."""
    kinds = {
        "n": int,
        "seed": int,
        "ema": bool,
        "label": int | str | None,
        "per_class": int | None,
        "interpolate": int | None,
        "truncation": float | None,
        "truncated_layers": int | None,
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


def labels(game, options: dict, classes: list[str]):
    """The label of every image (n,), or None where the model has none. Raises UserError."""
    import torch

    from gancli.inference.sampling import choose_labels

    if "label" not in game.needs:
        return None
    if options["per_class"] is not None:
        return torch.arange(game.generator.classes).repeat_interleave(options["per_class"])
    return choose_labels(game, options["n"], label=options["label"], classes=classes)


def with_standing(loaded, options: dict):
    """The same with statistics of batch norm that were measured anew, if so many passes are asked for."""
    if options["standing"] is None:
        return loaded
    from gancli.inference.sampling import CHUNK
    from gancli.inference.standing_statistics import standing_statistics

    measured = standing_statistics(
        loaded.game,
        loaded.generator,
        passes=options["standing"],
        batch=CHUNK,
        seed=options["seed"],
        truncation=options["truncation"],
    )
    return dataclasses.replace(loaded, generator=measured)


def write_points(
    loaded, inputs, out: Path, *, options: dict, classes: list[str], given: dict
) -> None:
    import torch

    from gancli.render.grids import save_png, scatter

    points = in_data_units(
        loaded, torch.stack(list(images_of(loaded, inputs, options["seed"], given)))
    )
    label = inputs.get("label")
    lines = [f"{x:.9g},{y:.9g}" for x, y in points.flatten(1).tolist()]
    if label is not None:
        lines = [f"{line},{k}" for line, k in zip(lines, label.tolist(), strict=True)]
    head = "x,y" if label is None else "x,y,label"
    atomic.write_text(out / "points.csv", "\n".join([head, *lines]) + "\n")
    save_png(scatter(points, real=None), out / "grid.png")


def write_images(
    loaded, inputs, out: Path, *, options: dict, classes: list[str], given: dict
) -> None:
    import torch

    from gancli.render.grids import grid, save_image, save_png

    n = options["n"]
    per_class = options["per_class"]
    names = [f"{k:06d}.png" for k in range(n)]
    if per_class is not None:
        folders = folder_names(classes, n // per_class)
        names = [f"{folders[k // per_class]}/{k % per_class:06d}.png" for k in range(n)]
        for folder in folders:
            (out / folder).mkdir(exist_ok=True)
    shown, columns = tiles(n, inputs.get("label"), options)
    kept = dict.fromkeys(shown)
    for k, image in enumerate(images_of(loaded, inputs, options["seed"], given)):
        save_image(image, out / names[k])
        if k in kept:
            kept[k] = image
    save_png(grid(torch.stack(list(kept.values())), columns=columns), out / "grid.png")


def tiles(n: int, label, options: dict) -> tuple[list[int], int]:
    """Which images the grid shows, and how many in a row: a row a class with per_class, else a column a class."""
    if options["per_class"] is not None:
        columns = min(options["per_class"], 16)
        return [k for k in range(n) if k % options["per_class"] < columns][
            : columns * ROWS
        ], columns
    columns = (
        COLUMNS if label is None or options["label"] is not None else min(int(label.max()) + 1, 16)
    )
    return list(range(min(n, columns * ROWS))), columns


def folder_name(name: str) -> str:
    """A class's name as that of its folder: as it is, but for what no folder can be called; "" where nothing is left."""
    name = re.sub(r'[/\\:*?"<>|\x00-\x1f\x7f]', "_", name)[:90].strip(" .")
    while len(name.encode("utf-8", "replace")) > MOST_BYTES:
        name = name[:-1]
    return name.strip(" .")


def folder_names(classes: list[str], count: int) -> list[str]:
    """A folder for every class; whatever the data set called them, they stay inside `out` and apart."""
    safe = [folder_name(name) for name in classes[:count]] + [""] * (count - len(classes))
    safe = [name or f"{k:03d}" for k, name in enumerate(safe)]
    lower = [name.lower() for name in safe]  # some disks do not tell A from a
    return [
        name if lower.count(name.lower()) == 1 else f"{k:03d}-{name}" for k, name in enumerate(safe)
    ]


def describe_images(out: Path, *, new: int) -> str:
    """Says how many images were written, and how many of an earlier command lie beside them."""
    written = re.compile(r"\d{6}\.png")
    there = [path for path in (*out.glob("*"), *out.glob("*/*")) if written.fullmatch(path.name)]
    older = len(there) - new
    beside = f", beside {older:,} of an earlier command" if older > 0 else ""
    return f"{count(new, 'image')} in {out}{beside}"
