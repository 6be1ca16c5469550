"""gan sample: images from a checkpoint, and nothing but the checkpoint."""
from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from gancli import config as front
from gancli.errors import Busy, UserError

COLUMNS, ROWS = 8, 64  # of the grid


def main(argv: list[str]) -> int:
    from gancli import panels

    # Hydra would take ema=false for an option of the group ema.
    average = [word for word in argv if word.startswith("ema=")]
    composed = front.compose("sample", [word for word in argv if word not in average], missing=True)
    for word in average:
        composed.cfg.ema = {"ema=true": True, "ema=false": False}.get(word.lower(), word[4:])
    for message in composed.warnings:
        panels.warn(message)
    out = run(composed.cfg)
    print(f"done: {out}")
    return 0


def run(cfg) -> Path:
    """-> the folder written. Raises UserError."""
    from omegaconf import OmegaConf

    options = OmegaConf.to_container(cfg, resolve=True)
    if options["ckpt"] in (None, "???"):
        raise UserError("ckpt is not given", "gan sample ckpt=outputs/<model>-<dataset>/<stamp>")
    check_types(options)
    from gancli.builder import trusted
    from gancli.checkpoint import load_game
    from gancli.precision import resolve_device

    loaded = load_game(str(options["ckpt"]), ema=options["ema"], trust=trusted(options["trust"]),
                       device=str(resolve_device(options["device"])))
    classes = [str(name) for name in loaded.tree["data"]["classes"]]
    label = labels(loaded.game, options, classes)
    options["n"] = options["n"] if label is None else len(label)
    out = Path(os.path.expanduser(options["out"])) if options["out"] else beside(loaded.path) / f"samples-seed{options['seed']}"
    with explained_writes(out):
        out.mkdir(parents=True, exist_ok=True)
        write = write_points if loaded.tree["config"]["dataset"]["kind"] == "points" else write_images
        write(loaded, label, out, options=options, classes=classes)
        if options["interpolate"] is not None:
            write_interpolation(loaded, label, out, options=options)
    return out


def check_types(options: dict) -> None:
    from gancli.builder import misfits
    from gancli.errors import Problems

    kinds = {"n": int, "seed": int, "ema": bool, "label": int | str | None, "per_class": int | None,
             "interpolate": int | None, "out": str | None, "device": Literal["auto", "cpu", "cuda", "mps"]}
    found = [p for key, kind in kinds.items() for p in misfits(options[key], kind, where=key, trust=())]
    least = {"n": 1, "per_class": 1, "interpolate": 2}
    found += [(f"{key}={options[key]} does not fit", f"give {bound} or more") for key, bound in least.items()
              if isinstance(options[key], int) and options[key] < bound]
    if options["label"] is not None and options["per_class"] is not None:
        found.append(("label= and per_class= do not go together", "per_class makes every class; label with n= makes one"))
    if found:
        raise Problems(found)


def beside(checkpoint: Path) -> Path:
    """The run folder of a checkpoint, or the folder that holds a lone file."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


@contextlib.contextmanager
def explained_writes(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = Busy if error.errno in (errno.ENOSPC, errno.EDQUOT) else UserError
        raise kind(f"{out} cannot be written: {error.strerror}", "choose another out=") from error


def labels(game, options: dict, classes: list[str]):
    """The label of every image (n,), or None where the model has none. Raises UserError."""
    import torch

    from gancli.sampling import refuse_unknown

    refuse_unknown(game, {key: options[key] for key in ("label", "per_class")})
    if "label" not in game.needs:
        return None
    count = game.generator.classes
    if options["per_class"] is not None:
        return torch.arange(count).repeat_interleave(options["per_class"])
    if options["label"] is not None:
        return torch.full((options["n"],), label_index(options["label"], count, classes))
    return torch.arange(options["n"]) % count  # not drawn: every class shows, and a column of the grid has one


def label_index(value: int | str, count: int, classes: list[str]) -> int:
    """A label by its name or its number; names come first, since they may be numbers of another order."""
    from gancli.builder import did_you_mean

    if str(value) in classes[:count]:
        return classes.index(str(value))
    if isinstance(value, int) and 0 <= value < count:
        return value
    names = [name for name in classes if not name.isdecimal()]
    raise UserError(f"label={value} is no class of this checkpoint's",
                    f"give 0 to {count - 1}" + (f", or a name: {did_you_mean(str(value), names)}" if names else ""))


def images_of(loaded, label, options: dict) -> Iterator:
    """(C,H,W) each. One after the other: 50,000 need not fit into memory."""
    from gancli import sampling

    inputs = sampling.draw_inputs(loaded.game, options["n"], seed=options["seed"], label=label)
    for batch in sampling.generate(loaded.game, loaded.generator, inputs, seed=options["seed"]):
        yield from batch


def write_points(loaded, label, out: Path, *, options: dict, classes: list[str]) -> None:
    import torch

    from gancli.grids import save_png, scatter

    points = in_data_units(loaded, torch.stack(list(images_of(loaded, label, options))))
    lines = [f"{x:.9g},{y:.9g}" for x, y in points.flatten(1).tolist()]
    if label is not None:
        lines = [f"{line},{k}" for line, k in zip(lines, label.tolist(), strict=True)]
    (out / "points.csv").write_text("\n".join(["x,y" if label is None else "x,y,label", *lines]) + "\n")
    save_png(scatter(points, real=None), out / "grid.png")


def in_data_units(loaded, points):
    return points * loaded.tree["config"]["dataset"]["scale"]  # the networks see points divided by it


def write_images(loaded, label, out: Path, *, options: dict, classes: list[str]) -> None:
    import torch

    from gancli.grids import grid, save_image, save_png

    n, per_class = options["n"], options["per_class"]
    names = [f"{k:06d}.png" for k in range(n)]
    if per_class is not None:
        folders = folder_names(classes, n // per_class)
        names = [f"{folders[k // per_class]}/{k % per_class:06d}.png" for k in range(n)]
        for folder in folders:
            (out / folder).mkdir(exist_ok=True)
    shown, columns = tiles(n, label, options)
    kept = dict.fromkeys(shown)
    for k, image in enumerate(images_of(loaded, label, options)):
        save_image(image, out / names[k])
        if k in kept:
            kept[k] = image
    save_png(grid(torch.stack(list(kept.values())), columns=columns), out / "grid.png")


def tiles(n: int, label, options: dict) -> tuple[list[int], int]:
    """Which images the grid shows, and how many in a row: a row a class with per_class, else a column a class."""
    if options["per_class"] is not None:
        columns = min(options["per_class"], 16)
        return [k for k in range(n) if k % options["per_class"] < columns][:columns * ROWS], columns
    columns = COLUMNS if label is None or options["label"] is not None else min(int(label.max()) + 1, 16)
    return list(range(min(n, columns * ROWS))), columns


def folder_names(classes: list[str], count: int) -> list[str]:
    """A folder for every class; whatever the data set called them, they stay inside `out` and apart."""
    safe = [re.sub(r"[^\w .+-]", "_", name)[:60].strip(" .") for name in classes[:count]] + [""] * (count - len(classes))
    safe = [name or f"{k:03d}" for k, name in enumerate(safe)]
    lower = [name.lower() for name in safe]  # some disks do not tell A from a
    return [name if lower.count(name.lower()) == 1 else f"{k:03d}-{name}" for k, name in enumerate(safe)]


def write_interpolation(loaded, label, out: Path, *, options: dict) -> None:
    import torch

    from gancli import sampling
    from gancli.grids import grid, save_png, scatter

    rows, steps = min(COLUMNS, options["n"]), options["interpolate"]
    some = label[:rows] if label is not None else None
    ends = [sampling.draw_inputs(loaded.game, rows, seed=options["seed"] + k, label=some) for k in (0, 1)]
    inputs = sampling.interpolate(*ends, steps)
    images = torch.cat(list(sampling.generate(loaded.game, loaded.generator, inputs, seed=options["seed"])))
    points = loaded.tree["config"]["dataset"]["kind"] == "points"
    picture = scatter(in_data_units(loaded, images), real=None) if points else grid(images, columns=steps)
    save_png(picture, out / "interpolation.png")
