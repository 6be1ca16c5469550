"""gan show: the networks of a config with shapes and parameter counts, or where a run stands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.commands.endings import after_training, say_end, translates, trust_words
from gancli.config import compose as front
from gancli.config.arguments import split_args
from gancli.config.published import describe_published
from gancli.errors import UserError
from gancli.files.paths import find_missing_file
from gancli.files.zoo import PREFIX
from gancli.modality import make_modality
from gancli.render import messages
from gancli.render import status as progress
from gancli.render.messages import say

if TYPE_CHECKING:
    from rich.console import Console
    from torch import nn

    from gancli.config.run_config import Section
    from gancli.game import Game

    Shapes = dict[nn.Module, tuple[int, ...]]  # layer -> the shape of its output


def main(argv: list[str]) -> int:
    """Shows networks, or a run.

    Raises:
        UserError: The config does not fit, or the run cannot be read, or both were given.
    """
    as_json = "--json" in argv
    rest = [word for word in argv if word != "--json"]
    overrides = split_args(rest).overrides  # the folder of --config-dir is no run
    targets = [
        word
        for word in overrides
        if "=" not in word
        and not word.startswith(("~", "+"))
        and (word.startswith(PREFIX) or Path(word).expanduser().exists())
    ]
    if targets and len(rest) > 1:
        raise UserError(
            f"{targets[0]} is a run, and a run takes no overrides", f"gan show {targets[0]}"
        )
    if targets:
        for problem in find_missing_file("ckpt", targets[0], "run"):
            raise UserError(*problem)
        progress.say("loading torch…")
        show_run(targets[0], as_json=as_json)
    else:
        show_model(rest, as_json=as_json)
    return 0


def find_networks(game: Game) -> dict[str, nn.Module]:
    """Finds every part of a game that has parameters, by name."""
    return {
        name: module
        for name, module in game.named_children()
        if any(True for _ in module.parameters())
    }


def count_parameters(module: nn.Module) -> int:
    """Counts the numbers in a network, those that do not learn included."""
    return sum(p.numel() for p in module.parameters())


def show_model(argv: list[str], *, as_json: bool) -> None:
    """Builds the networks of a config on the meta device, without data or memory, and prints them.

    Args:
        argv: What is typed behind `gan show`, as behind `gan train`.
        as_json: Whether one flat object is printed, network -> parameters.
    """
    composed = front.compose("train", argv)
    for message in composed.warnings:
        messages.warn(message)
    for message in composed.notes:
        messages.remark(message)
    progress.say("loading torch…")
    from gancli.config.ghost import build_ghost
    from gancli.config.plain import read_plain
    from gancli.config.validate import validate
    from gancli.run.runlog import keep_early_log

    # Asked for before gate 2, which assumes what is not given.
    given = read_plain(composed.cfg.dataset, resolve=False)
    lacking = given.get("path", "") in (None, "???")
    with keep_early_log():  # notes and warnings look as they do at the start of a run
        config = validate(composed.cfg, data=False, typed=composed.overrides)
    game = build_ghost(config.plain(), trust=None)
    networks = find_networks(game)
    if as_json:
        print(json.dumps({name: count_parameters(module) for name, module in networks.items()}))
        return
    from rich.console import Console

    from gancli.data.base import pair

    console = Console(soft_wrap=True, highlight=False)
    shapes = find_shapes(game, config.dataset)
    for name, module in networks.items():
        console.print(f"[bold]{name}[/]  {count_parameters(module):,} parameters")
        print_layers(console, module, shapes)
    if blank := count_blank(game, shapes):
        console.print(
            f"{blank} layers without a shape: no images went through them here", markup=False
        )
    for entry in config.published or ():
        console.print(f"published  {describe_published(entry)}", markup=False)
    shown = config.dataset
    item = make_modality(shown).describe_item(pair(shown["resolution"]), shown["channels"])
    console.print(f"data  {item}, {shown['classes']} classes")
    say_end("", ["gan", "list", "dataset"] if lacking else ["gan", "train", *argv])


def find_shapes(game: Game, data: Section) -> Shapes:
    """Finds the shapes of all layers for 2 images, from one update of the generator.

    Args:
        game: On the meta device.
        data: The section `dataset` of its config.
    """
    import torch

    from gancli.networks.layers import size_of

    shapes: Shapes = {}

    def note(layer: nn.Module, _: object, out: object) -> None:
        # A hook that returned something would replace the output.
        if isinstance(out, tuple):  # a recurrent layer: its outputs, then its last state
            out = out[0]
        if isinstance(out, torch.Tensor):
            shapes.setdefault(layer, tuple(out.shape))

    handles = [layer.register_forward_hook(note) for layer in game.modules()]
    moves_g = [phase for phase in game.phases() if "g" in phase.updates]
    # Of a game in stages the last one, in which all networks have a part.
    update = max(moves_g, key=lambda phase: phase.start)
    try:
        with torch.device("meta"):
            update.loss(game.example(2, data["channels"], size_of(data["resolution"])))
    except (RuntimeError, AssertionError) as error:
        # The meta device has no autocast, and its images no values for a perceptual network; the
        # layers before are known.
        if "scalarType" not in str(error) and "without values" not in str(error):
            raise
    for handle in handles:
        handle.remove()
    return shapes


def count_blank(game: Game, shapes: Shapes) -> int:
    """Counts the layers with parameters whose shape is not known."""
    layers = {
        layer
        for module in find_networks(game).values()
        for layer in module.modules()
        if any(True for _ in layer.parameters(recurse=False))
    }
    return len(layers - shapes.keys())


def print_layers(console: Console, network: nn.Module, shapes: Shapes) -> None:
    """Prints a line for each layer with parameters: name, class, output shape and their number."""
    for name, layer in network.named_modules():
        own = sum(p.numel() for p in layer.parameters(recurse=False))
        if own:
            made = "x".join(map(str, shapes.get(layer, ())[1:]))
            kind = type(layer).__name__
            console.print(f"  {name:<16} {kind:<18} {made:<14} {own:>12,}", markup=False)


def find_target(spec: object) -> str | None:
    """Returns the class that a section of a config names, None where it names none."""
    target = spec.get("_target_") if isinstance(spec, Mapping) else None
    return None if target is None else str(target)


def show_run(target: str, *, as_json: bool) -> None:
    """Prints what the newest checkpoint of a run, or a lone one, says of itself.

    Args:
        target: The run folder or the file.
        as_json: Whether one flat object is printed.
    """
    from gancli.checkpoint import is_exported, open_checkpoint
    from gancli.run.checkpoint_options import find_run_folder
    from gancli.run.resume import find_untrusted_packages, read_config

    path, tree = open_checkpoint(target)
    config = read_config(tree["config"])
    step = tree["progress"]["step"]
    steps = config.trainer.steps
    facts = {
        "checkpoint": str(path),
        "step": step,
        "steps": steps,
        "nimg": tree["progress"]["nimg"],
        "model": str(find_target(config.model)),
        "generator": find_target(config.model.get("generator")),
        "objective": find_target(config.loss.get("objective")) if config.loss else None,
        "dataset": str(find_target(config.dataset)),
        "images": tree["data"].get("n"),
        "classes": len(tree["data"].get("classes", [])),
        "seed": config.seed,
        "device": tree["run"]["device"],
        "precision": config.trainer.precision,
        "torch": tree["run"]["torch"],
        "gancli": tree["version"],
    }
    if as_json:
        print(json.dumps(facts))
        return
    noun = make_modality(config.dataset).noun
    for key, value in facts.items():
        say(f"{noun if key == 'images' else key:<11} {value}")
    trust = find_untrusted_packages(tree["config"])
    folder = find_run_folder(path)
    left = steps - step
    if is_exported(tree):
        print("the EMA generator alone: it samples and evaluates, and cannot resume")
        say_end("", after_training(Path(target), trust, translates=translates(tree["config"])))
        return
    if left > 0 and path.parent.name == "checkpoints":
        print(f"{left} steps to go")
        say_end("", ["gan", "train", f"resume={folder}", *trust_words(trust)])
        return
    print(
        "complete" if left <= 0 else f"{left} steps short of its budget; a lone file cannot resume"
    )
    words = after_training(
        Path(target), trust, translates=translates(tree["config"]), folder=folder
    )
    say_end("", words)
