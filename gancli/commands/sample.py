"""gan sample: images from a checkpoint, and nothing but the checkpoint."""
from __future__ import annotations

import re
from pathlib import Path

from gancli import config as front
from gancli.errors import UserError

COLUMNS = 8


def main(argv: list[str]) -> int:
    from gancli import panels

    composed = front.compose("sample", argv, missing=True)
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
    import torch

    from gancli import sampling
    from gancli.checkpoint import load_game
    from gancli.precision import resolve_device

    loaded = load_game(str(options["ckpt"]), ema=options["ema"], trust=trusted(options["trust"]),
                       device=str(resolve_device(options["device"])))
    game, classes = loaded.game, loaded.tree["data"].get("classes", [])
    sampling.refuse_unknown(game, {"label": options["label"], "per_class": options["per_class"] and None})
    out = Path(options["out"]).expanduser() if options["out"] else beside(loaded.path) / f"samples-seed{options['seed']}"
    out.mkdir(parents=True, exist_ok=True)
    n_classes = number_of_classes(game, options, classes)
    if options["per_class"] is not None:
        label = torch.arange(n_classes).repeat_interleave(options["per_class"])
    elif options["label"] is not None:
        label = torch.full((options["n"],), label_index(options["label"], n_classes, classes))
    else:
        # Cyclic rather than drawn: every class shows, and the first rows of a grid tell them apart.
        label = torch.arange(options["n"]) % n_classes if n_classes else None
    inputs = sampling.draw_inputs(game, len(label) if label is not None else options["n"], seed=options["seed"], label=label)
    images = sampling.generate(game, loaded.generator, inputs, seed=options["seed"])
    write(images, label, out, options=options, classes=classes, config=loaded.tree["config"])
    if options["interpolate"] is not None:
        write_interpolation(loaded, out, options=options, label=label)
    return out


def check_types(options: dict) -> None:
    from gancli.builder import misfits
    from gancli.errors import Problems

    kinds = {"n": int, "seed": int, "ema": bool, "label": int | str | None, "per_class": int | None, "interpolate": int | None}
    found = [p for key, kind in kinds.items() for p in misfits(options[key], kind, where=key, trust=())]
    least = {"n": 1, "per_class": 1, "interpolate": 2}
    found += [(f"{key}={options[key]} does not fit", f"give {bound} or more") for key, bound in least.items()
              if isinstance(options[key], int) and options[key] < bound]
    if options["label"] is not None and options["per_class"] is not None:
        found.append(("label= and per_class= do not go together", "per_class makes every class; label with n= makes one"))
    if found:
        raise Problems(found)


def trusted(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),) if value else ()


def beside(checkpoint: Path) -> Path:
    """The run folder of a checkpoint, or the folder that holds a lone file."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def number_of_classes(game, options: dict, classes: list[str]) -> int:
    if "label" in game.needs:
        return game.generator.classes
    if options["per_class"] is not None:
        raise UserError("per_class= does not apply to this checkpoint: its model is not conditional", "use n= for unlabelled samples")
    return 0


def label_index(value: int | str, n_classes: int, classes: list[str]) -> int:
    """A label by its number or its name."""
    if str(value) in classes and not (isinstance(value, int) and value < n_classes and classes[value] != str(value)):
        return classes.index(str(value))
    if isinstance(value, int) and 0 <= value < n_classes:
        return value
    from gancli.builder import did_you_mean

    raise UserError(f"label={value} is no class of this checkpoint's",
                    f"0 to {n_classes - 1}" + (f", or {did_you_mean(str(value), classes)}" if classes else ""))


def write(images, label, out: Path, *, options: dict, classes: list[str], config: dict) -> None:
    from gancli.grids import grid, save_image, save_png, scatter

    if config["dataset"]["kind"] == "points":
        points = (images.flatten(1) * config["dataset"]["scale"]).tolist()
        (out / "points.csv").write_text("x,y\n" + "".join(f"{x:.9g},{y:.9g}\n" for x, y in points))
        save_png(scatter(images * config["dataset"]["scale"], real=None), out / "grid.png")
        return
    per_class = options["per_class"]
    for k, image in enumerate(images):
        name = f"{k:06d}.png" if per_class is None else f"{folder_name(int(label[k]), classes)}/{k % per_class:06d}.png"
        (out / name).parent.mkdir(exist_ok=True)
        save_image(image, out / name)
    columns = min(per_class, 16) if per_class is not None else COLUMNS
    if per_class is not None:  # a row a class
        shown = images.unflatten(0, (-1, per_class))[:, :columns].flatten(0, 1)
    else:
        shown = images[:COLUMNS * 64] if label is None or options["label"] is not None else images
        columns = COLUMNS if label is None or options["label"] is not None else min(int(label.max()) + 1, 16)
    save_png(grid(shown[:columns * 64], columns=columns), out / "grid.png")


def folder_name(label: int, classes: list[str]) -> str:
    """A class as a folder; whatever the data set called it, it stays inside `out`."""
    name = re.sub(r"[^\w .+-]", "_", classes[label]).strip(" .") if label < len(classes) else ""
    return name or f"{label:03d}"


def write_interpolation(loaded, out: Path, *, options: dict, label) -> None:
    from gancli import sampling
    from gancli.grids import grid, save_png, scatter

    rows, steps = min(COLUMNS, len(label) if label is not None else options["n"]), options["interpolate"]
    some = label[:rows] if label is not None else None
    ends = [sampling.draw_inputs(loaded.game, rows, seed=options["seed"] + k, label=some) for k in (0, 1)]
    images = sampling.generate(loaded.game, loaded.generator, sampling.interpolate(*ends, steps), seed=options["seed"])
    points = loaded.tree["config"]["dataset"]["kind"] == "points"
    save_png(scatter(images, real=None) if points else grid(images, columns=steps), out / "interpolation.png")
