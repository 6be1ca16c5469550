"""gan show: the networks of a config, with shapes and parameter counts; or what a run is and where it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.commands.endings import after_training, say_end, translates, trust_words
from gancli.config import compose as front
from gancli.config.arguments import split_args
from gancli.errors import UserError
from gancli.render import messages
from gancli.render import status as progress
from gancli.render.messages import say

if TYPE_CHECKING:
    from gancli.config.run_config import Section


def main(argv: list[str]) -> int:
    as_json = "--json" in argv
    rest = [word for word in argv if word != "--json"]
    overrides = split_args(rest).overrides  # the folder of --config-dir is no run
    targets = [
        word
        for word in overrides
        if "=" not in word and not word.startswith(("~", "+")) and Path(word).expanduser().exists()
    ]
    if targets and len(rest) > 1:
        raise UserError(
            f"{targets[0]} is a run, and a run takes no overrides", f"gan show {targets[0]}"
        )
    if targets:
        progress.say("loading torch…")
        show_run(targets[0], as_json=as_json)
    else:
        show_model(rest, as_json=as_json)
    return 0


def networks(game) -> dict[str, object]:
    """Name -> network, for every part of a game that has parameters."""
    return {
        name: module
        for name, module in game.named_children()
        if any(True for _ in module.parameters())
    }


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def show_model(argv: list[str], *, as_json: bool) -> None:
    composed = front.compose("train", argv)
    for message in composed.warnings:
        messages.warn(message)
    for message in composed.notes:
        messages.remark(message)
    progress.say("loading torch…")
    import torch

    from gancli.config.build import build_game
    from gancli.config.validate import validate
    from gancli.run.runlog import early_log

    with early_log():  # notes and warnings look as they do at the start of a run
        frozen = validate(composed.cfg, data=False, typed=composed.overrides)
    with torch.device("meta"):
        game = build_game(frozen.plain(), trust=None)
    if as_json:
        print(json.dumps({name: count(module) for name, module in networks(game).items()}))
        return
    from rich.console import Console

    from gancli.data.base import image_words, pair

    console = Console(soft_wrap=True, highlight=False)
    shapes = output_shapes(game, frozen.dataset)
    for name, module in networks(game).items():
        console.print(f"[bold]{name}[/]  {count(module):,} parameters")
        print_layers(console, module, shapes)
    if blank := count_blank(game, shapes):
        console.print(
            f"{blank} layers without a shape: no images went through them here", markup=False
        )
    data = frozen.dataset
    console.print(
        f"data  {image_words(pair(data['resolution']), data['channels'])}, {data['classes']} classes"
    )
    lacking = "path" in data and data["path"] in (None, "???")  # shown without a data set
    say_end("", ["gan", "list", "dataset"] if lacking else ["gan", "train", *argv])


def output_shapes(game, data: Section) -> dict:
    """Layer -> the shape of its output for 2 images, from one generator's turn on the meta device: no data, no memory."""
    import torch

    from gancli.networks.layers import size_of

    shapes: dict = {}

    def note(layer, _, out) -> None:  # a hook that returned something would replace the output
        if isinstance(out, torch.Tensor):
            shapes.setdefault(layer, tuple(out.shape))

    handles = [layer.register_forward_hook(note) for layer in game.modules()]
    moves_g = [phase.loss for phase in game.phases() if "g" in phase.updates]
    try:
        with torch.device("meta"):
            moves_g[0](game.example(2, data["channels"], size_of(data["resolution"])))
    except (RuntimeError, AssertionError) as error:
        # The meta device has no autocast, and its images no values for a perceptual network; the layers before are known.
        if "scalarType" not in str(error) and "without values" not in str(error):
            raise
    for handle in handles:
        handle.remove()
    return shapes


def count_blank(game, shapes: dict) -> int:
    """Layers with parameters whose shape is not known."""
    layers = {
        layer
        for module in networks(game).values()
        for layer in module.modules()
        if any(True for _ in layer.parameters(recurse=False))
    }
    return len(layers - shapes.keys())


def print_layers(console, network, shapes: dict) -> None:
    """A line per layer that has parameters or changes the shape: its name, what it is, what it makes and how many they are."""
    for name, layer in network.named_modules():
        own = sum(p.numel() for p in layer.parameters(recurse=False))
        if own:
            made = "x".join(map(str, shapes.get(layer, ())[1:]))
            console.print(
                f"  {name:<16} {type(layer).__name__:<18} {made:<14} {own:>12,}", markup=False
            )


def target_of(spec: object) -> object:
    """The class that a description in a checkpoint names, None where it names none."""
    return spec.get("_target_") if isinstance(spec, dict) else None


def show_run(target: str, *, as_json: bool) -> None:
    from gancli.checkpoint import open_checkpoint
    from gancli.run.checkpoint_options import find_run_folder
    from gancli.run.resume import strangers

    path, tree = open_checkpoint(target)
    config = tree["config"]
    progress = tree["progress"]
    data = tree["data"]
    facts = {
        "checkpoint": str(path),
        "step": progress["step"],
        "steps": config["trainer"]["steps"],
        "nimg": progress["nimg"],
        "model": str(target_of(config["model"])),
        "generator": target_of(config["model"].get("generator")),
        "objective": target_of((config.get("loss") or {}).get("objective")),
        "dataset": str(target_of(config["dataset"])),
        "images": data.get("n"),
        "classes": len(data.get("classes", [])),
        "seed": config["seed"],
        "device": tree["run"]["device"],
        "precision": config["trainer"]["precision"],
        "torch": tree["run"]["torch"],
        "gancli": tree["version"],
    }
    if as_json:
        print(json.dumps(facts))
        return
    for key, value in facts.items():
        say(f"{key:<11} {value}")
    trust = strangers(config)
    folder = find_run_folder(path)
    left = facts["steps"] - facts["step"]
    if left > 0 and path.parent.name == "checkpoints":
        print(f"{left} steps to go")
        say_end("", ["gan", "train", f"resume={folder}", *trust_words(trust)])
        return
    print(
        "complete" if left <= 0 else f"{left} steps short of its budget; a lone file cannot resume"
    )
    say_end(
        "",
        after_training(Path(target), trust, translates=translates(config), folder=folder),
    )
