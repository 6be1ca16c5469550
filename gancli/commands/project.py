"""gan project: the latent whose image is most like a given one, with the search as an animation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gancli.commands import checkpoint_verbs
from gancli.commands.endings import Ending, trust_words
from gancli.errors import Problems, UserError
from gancli.modality import make_modality
from gancli.render import messages, status
from gancli.run import checkpoint_options

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from gancli.checkpoint import Loaded
    from gancli.inference.projection import Distance, Found

FRAMES = 100  # of the animation at most; the last one stays for a second
FORMAT = 1


def main(argv: list[str]) -> int:
    """Runs `gan project`; returns the exit code."""
    return checkpoint_verbs.write("project", argv, run)


def run(cfg) -> Ending:
    """Writes what was found. Raises UserError."""
    options = checked(cfg)
    status.say("loading torch…")
    from gancli.config.build import read_trust
    from gancli.inference.projection import choose_space, start_search
    from gancli.inference.sampling import find_label, refuse_unknown
    from gancli.precision import resolve_device
    from gancli.render.video import check_name
    from gancli.run.failures import explain_write_errors

    if options["film"] is not None:
        check_name(options["film"])
    loaded = checkpoint_options.open_game(
        str(options["ckpt"]),
        ema=options["ema"],
        trust=read_trust(options["trust"]),
        device=str(resolve_device(options["device"])),
    )
    refuse_unknown(loaded.game, {"label": options["label"]})
    classes = [str(name) for name in loaded.tree["data"]["classes"]]
    label = None if options["label"] is None else find_label(loaded.game, options["label"], classes)
    target = target_of(options["input"], loaded)
    space = choose_space(loaded.game, options["space"])
    distance = distance_of(options, target)
    out = checkpoint_verbs.out_folder(
        options["out"], loaded.path, f"project-{Path(options['input']).stem}"
    )
    status.say("choosing where to start…")
    start = start_search(
        loaded.game,
        loaded.generator,
        distance,
        space=space,
        label=label,
        noise=options["noise"],
        seed=options["seed"],
    )
    with explain_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        first, found, frames = searched(loaded, distance, start, target, options)
        facts = {"space": space, "features": distance.name, "distance": found.distance}
        status.say("writing the pictures…")
        write(out, found, target, frames, options["film"], facts)
    print(
        f"distance ({distance.name}, {space}): {first:.6g} at the start, "
        f"{found.distance:.6g} after {options['steps']} steps"
    )
    from gancli.run.resume import find_untrusted_packages

    trust = trust_words(find_untrusted_packages(loaded.tree["config"]))
    latent = out / "projected.pt"
    return Ending(
        f"{out / 'comparison.png'}, and {latent.name}, which gan sample takes, in {out}",
        ["gan", "sample", f"ckpt={options['ckpt']}", f"latent={latent}", *trust],
    )


def checked(cfg) -> dict:
    """Reads the options as plain data; raises Problems with all that is wrong."""
    kinds = {
        "input": str,
        "out": str | None,
        "steps": int,
        "lr": float,
        "seed": int,
        "space": Literal["auto", "w", "w_plus", "z"],
        "label": int | str | None,
        "noise": bool,
        "features": Literal["auto", "pixels", "squeezenet"],
        "weights": str | None,
        "lpips_heads": str | None,
        "film": str | None,
        "ema": bool,
        "device": Literal["auto", "cpu", "cuda", "mps"],
    }
    options, found = checkpoint_options.read_options(
        cfg,
        kinds,
        needs=("ckpt", "input"),
        usage="gan project ckpt=outputs/<model>-<dataset>/<stamp> input=IMAGE",
        files=dict.fromkeys(("input", "weights", "lpips_heads"), "file"),
    )
    source = options["input"]
    if isinstance(source, str) and os.path.isdir(os.path.expanduser(source)):
        found.append((f"input={source} is a folder", "give one image"))
    if isinstance(options["steps"], int) and options["steps"] < 1:
        found.append((f"steps={options['steps']} does not fit", "give 1 or more"))
    if isinstance(options["lr"], int | float) and not 0 < options["lr"] < 100:
        found.append((f"lr={options['lr']} does not fit", "give a number above 0, e.g. 0.1"))
    files = [key for key in ("weights", "lpips_heads") if options[key] is not None]
    if (options["features"] == "squeezenet" and len(files) < 2) or (
        len(files) == 1 and options["features"] == "auto"
    ):
        found.append(
            (
                "LPIPS needs two files",
                "weights=FILE of torchvision's squeezenet1_1, "
                "lpips_heads=FILE of lpips_v0.1_squeeze.pth; "
                "or features=pixels",
            )
        )
    if found:
        raise Problems(found)
    return options


def target_of(path: str, loaded: Loaded) -> Tensor:
    """Reads the image (1,C,H,W) in [-1,1] at the model's size. Raises UserError."""
    import torch

    from gancli.data.base import pair
    from gancli.data.decode import BadImage, Decoder, quiet

    spec = loaded.tree["config"]["dataset"]
    make_modality(spec).refuse_files(spec["channels"])
    file = os.path.expanduser(path)
    decoder = Decoder(pair(spec["resolution"]), spec["channels"])
    try:
        with quiet():
            pixels = decoder(file)
    except BadImage as error:
        raise UserError(f"input={path} cannot be used: {error}", "give an image file") from error
    for note in sorted(decoder.notes):
        messages.remark(note)
    return (torch.tensor(pixels)[None] / 127.5 - 1).to(next(loaded.generator.parameters()).device)


def distance_of(options: dict, target: Tensor) -> Distance:
    """Chooses LPIPS or pixels, and says which if it was left open.

    Raises UserError for weights that are none, and for alpha.
    """
    from gancli.inference.projection import Perceptual, Pixels
    from gancli.metrics.lpips import Lpips

    usable = target.shape[1] in (1, 3)
    given = options["weights"] is not None and options["lpips_heads"] is not None
    if options["features"] == "pixels" or (
        options["features"] == "auto" and not (given and usable)
    ):
        if options["features"] == "auto":
            why = "it takes no alpha" if given else "weights= and lpips_heads= are not given"
            print(f"compared by pixels and not by LPIPS: {why}")
        return Pixels(target)
    weights, heads = (os.path.expanduser(options[key]) for key in ("weights", "lpips_heads"))
    distance = Perceptual(Lpips(weights, heads).eval().to(target.device), target)
    distance(target)  # images with alpha are refused here
    return distance


def searched(
    loaded: Loaded, distance: Distance, start, target: Tensor, options: dict
) -> tuple[float, Found, list[Image.Image]]:
    """Searches, and says how far it is.

    Returns:
        The distance at the start, what was found, and the frames of the animation.
    """
    from gancli.inference.projection import look, project
    from gancli.render.video import FPS

    steps = options["steps"]
    seed = options["seed"]
    parts = loaded.game, loaded.generator, distance, start
    found = look(*parts, seed=seed)
    first = found.distance
    frames = [beside_each_other(target, found.image)]
    every = -(-steps // FRAMES)
    status.say("projecting: first step…")
    moves = project(*parts, steps=steps, lr=options["lr"], seed=seed)
    for step, far in enumerate(moves, start=1):
        status.say(f"projecting: {step:,} of {steps:,} steps, distance {far:.4g}…", goes_on=True)
        if step % every == 0 and step < steps and options["film"] is not None:
            frames.append(beside_each_other(target, look(*parts, seed=seed).image))
    found = look(*parts, seed=seed)
    return first, found, frames + [beside_each_other(target, found.image)] * FPS


def beside_each_other(target: Tensor, image: Tensor) -> Image.Image:
    """Draws one picture of the target and of the image that was found."""
    import torch

    from gancli.render.grids import grid

    return grid(torch.cat([target, image]).cpu(), columns=2, min_tile=128)


def write(
    out: Path,
    found: Found,
    target: Tensor,
    frames: list[Image.Image],
    film: str | None,
    facts: dict,
) -> None:
    """Writes what was found, its pictures, its film and its facts into `out`."""
    import torch

    from gancli.files import atomic
    from gancli.render.grids import save_image, save_png
    from gancli.render.video import write_animation

    save_image(found.image[0], out / "projected.png")
    save_png(beside_each_other(target, found.image), out / "comparison.png")
    tree = facts | {
        "format": FORMAT,
        "inputs": {key: value.cpu() for key, value in found.inputs.items()},
        "planes": [plane.cpu() for plane in found.planes],
    }
    atomic.write(out / "projected.pt", lambda file: torch.save(tree, file))
    if film is not None:
        write_animation(frames, out / film)
