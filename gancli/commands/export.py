"""gan export: the EMA generator of a run as weights, as an ONNX network or as a page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gancli.commands import checkpoint_verbs
from gancli.commands.endings import Ending, after_training, trust_words
from gancli.errors import Problems, UserError
from gancli.files import atomic
from gancli.files.weights import INSTALL, SUFFIX, require_library, write_weights
from gancli.modality import make_modality
from gancli.render import messages, status
from gancli.run import checkpoint_options
from gancli.run.failures import explain_write_errors

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gancli.checkpoint import Loaded
    from gancli.game import Game

FOLDER = "export"  # in the run folder
CARD = "README.md"
PICTURE = "samples.png"
SHOWN = 64  # samples of the picture
COLUMNS = 8


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    for word in argv:
        if word.startswith("ema="):
            raise UserError(f"gan export has no {word}: it takes the EMA generator", "leave it out")
    return checkpoint_verbs.write("export", argv, run)


def run(cfg: DictConfig) -> Ending:
    """Writes the file of the format. Raises UserError."""
    options = read_options(cfg)
    require_format(options["format"])
    status.say("loading torch…")
    from gancli.config.build import read_trust

    trust = read_trust(options["trust"])
    loaded = checkpoint_options.open_game(str(options["ckpt"]), trust=trust)
    warn_unused(options)
    if options["format"] == "onnx":
        return export_onnx(loaded, options)
    if options["format"] == "html":
        return export_page(loaded, options, trust)
    return export_weights(loaded, options, trust)


USED = {  # of a format -> options that only it has
    "picture": ("safetensors",),
    "noise": ("onnx",),
    "direction": ("onnx",),
    "truncation": ("onnx", "html"),
}
DEFAULTS = {"picture": True, "noise": "fixed", "direction": "ab", "truncation": None}


def warn_unused(options: dict[str, Any]) -> None:
    """Warns of options that have no effect on the format."""
    for key, formats in USED.items():
        if options["format"] not in formats and options[key] != DEFAULTS[key]:
            messages.warn(f"{key} has no effect on format={options['format']}")


def read_options(cfg: DictConfig) -> dict[str, Any]:
    """Reads the options as plain data. Raises Problems with all that is wrong."""
    kinds: dict[str, object] = {
        "format": Literal["safetensors", "onnx", "html"],
        "out": str | None,
        "seed": int,
        "picture": bool,
        "noise": Literal["fixed", "none", "inputs"],
        "direction": Literal["ab", "ba"],
        "truncation": float | None,
    }
    options, found = checkpoint_options.read_options(
        cfg,
        kinds,
        needs=("ckpt",),
        usage="gan export ckpt=outputs/<model>-<dataset>/<stamp>",
    )
    if found:
        raise Problems(found)
    return options


def require_format(name: str) -> None:
    """Raises UserError where a library that a format needs is not installed."""
    if name == "safetensors":
        require_library()
    elif name == "onnx":
        from gancli.inference.export_onnx import require_libraries

        require_libraries()


def find_place(options: dict[str, Any], loaded: Loaded, name: str) -> Path:
    """Finds the file to write: out= names it, or its folder; else it lies in the run folder.

    Args:
        options: With `out`.
        loaded: Of the run.
        name: Of the file where out= names none.

    Raises:
        UserError: out= has another ending than the format, or a link leads out of the run folder.
    """
    suffix = Path(name).suffix
    given = options["out"]
    if not given:
        folder = checkpoint_verbs.out_folder(None, loaded.path, FOLDER)
        if loaded.path.parent.name != "checkpoints":  # a lone file: no folder of a run to be in
            folder = folder.parent / f"{loaded.path.stem}-{FOLDER}"
        return folder / name
    path = Path(os.path.expanduser(given))
    if path.suffix == suffix and not path.is_dir():
        return path
    if path.suffix and not path.is_dir():
        raise UserError(
            f"out={given} does not end in {suffix}",
            f"out={path.with_suffix(suffix)}, or a folder without an ending",
        )
    return path / name


def export_weights(loaded: Loaded, options: dict[str, Any], trust: tuple[str, ...]) -> Ending:
    """Writes model.safetensors, its card and a picture. Raises UserError."""
    from gancli.inference.export_facts import collect_facts

    path = find_place(options, loaded, f"model{SUFFIX}")
    if path.resolve() == loaded.path.resolve():
        raise UserError(f"{path} is the file that is read", "give another out=")
    facts, emptied = collect_facts(loaded.tree)
    folder = path.parent
    beside = path.name == f"model{SUFFIX}" and not str(options["out"] or "").endswith(SUFFIX)
    written = []
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        atomic.refuse_links(folder, [path.name, CARD, PICTURE])
        status.say("writing the weights…")
        write_weights(path, loaded.generator.state_dict(), facts)
        check_written(path, loaded, trust)
        if beside:
            written = write_card_and_picture(loaded, facts, path, options)
    if emptied:
        print(f"left out, as paths belong to this machine: {', '.join(emptied)}")
    print(f"a colleague needs {INSTALL}" + describe_own_code(trust))
    done = f"{path}" + (f", and {' and '.join(written)} in {folder}" if written else "")
    run_folder = checkpoint_options.find_run_folder(loaded.path)
    return Ending(
        done,
        after_training(path, trust, translates=bool(loaded.game.directions), folder=run_folder),
    )


def export_onnx(loaded: Loaded, options: dict[str, Any]) -> Ending:
    """Writes model.onnx once it agrees with torch. Raises UserError."""
    from gancli.data.base import pair
    from gancli.inference.export_onnx import CHECKED, export_network

    path = find_place(options, loaded, "model.onnx")
    game = loaded.game
    check_onnx_options(game, options)
    spec = loaded.tree["config"]["dataset"]
    modality = make_modality(spec)
    status.say("tracing the network, and comparing it in onnxruntime…")
    found = export_network(
        game,
        loaded.generator,
        noise=options["noise"],
        truncation=options["truncation"],
        direction=options["direction"],
        channels=int(spec["channels"]),
        size=pair(spec["resolution"]),
        seed=options["seed"],
        output=modality.single.replace(" ", "_"),
        facts={
            "gancli": str(loaded.tree["version"]),
            "model": str(loaded.tree["config"]["model"]["_target_"]),
            "makes": modality.noun,
            "values": make_modality(spec).describe_made(),
            "classes": ", ".join(str(name) for name in loaded.tree["data"]["classes"]),
        },
    )
    with explain_write_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.refuse_links(path.parent, [path.name])
        atomic.write(path, lambda file: file.write(found.content))
    for name, lines in (("input", found.inputs), ("output", found.outputs)):
        for line in lines:
            messages.say(f"{name:<7} {line}")
    messages.say(f"values  {make_modality(spec).describe_made()}")
    sizes = " and ".join(map(str, CHECKED))
    print(
        f"onnxruntime {found.runtime} differs from torch by at most {found.distance:.1g}, at "
        f"batches of {sizes}"
    )
    print("a colleague needs pip install onnxruntime, and no gancli")
    look = f"import onnxruntime as o; s = o.InferenceSession({str(path)!r}); " + (
        "print([(i.name, i.shape) for i in s.get_inputs()])"
    )
    return Ending(str(path), ["python", "-c", look])


def check_onnx_options(game: Game, options: dict[str, Any]) -> None:
    """Raises UserError for an option that the model does not have."""
    from gancli.inference.sampling import list_options

    noise = options["noise"]
    if noise == "inputs" and "noise" not in list_options(game):
        raise UserError("noise=inputs: this model has no noise of its own", "leave noise= out")
    if options["truncation"] is not None and not game.style_layers:
        raise UserError(
            f"truncation={options['truncation']} does not apply to an ONNX file of this model: its "
            "latents are an input",
            "leave truncation= out, and draw latents within a bound",
        )
    if game.directions and options["direction"] not in game.directions:
        raise UserError(
            f"direction={options['direction']}: this model goes {' and '.join(game.directions)}",
            "leave direction= out",
        )


def export_page(loaded: Loaded, options: dict[str, Any], trust: tuple[str, ...]) -> Ending:
    """Writes latents.html. Raises UserError for a model that makes no pictures of latents."""
    from gancli.commands.export_page import write_document
    from gancli.reports.markup import write_page

    path = find_place(options, loaded, "latents.html")
    title = describe_name(loaded.tree["config"])
    document = write_document(loaded, options, title=title)
    with explain_write_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.refuse_links(path.parent, [path.name])
        write_page(path, document)
    print("a colleague needs a browser, and no network")
    return Ending(
        f"{path} ({len(document) / 1e6:.1f} MB)",
        ["gan", "sample", f"ckpt={options['ckpt']}", *trust_words(trust)],
    )


def describe_own_code(trust: tuple[str, ...]) -> str:
    """Says which code of the user's a colleague needs, "" for none."""
    return f", and your own {', '.join(trust)}, named by {trust_words(trust)[0]}" if trust else ""


def check_written(path: Path, loaded: Loaded, trust: tuple[str, ...]) -> None:
    """Rebuilds the network of a file that was just written, and compares every tensor.

    Raises:
        UserError: A key of the config was needed that is a path.
    """
    import torch

    from gancli.checkpoint import load_game

    try:
        again = load_game(str(path), trust=trust).generator.state_dict()
    except UserError as error:
        path.unlink(missing_ok=True)
        raise UserError(
            f"the network cannot be rebuilt without the paths of the config: {error.message}",
            "let the network take no path: a checkpoint holds its weights",
        ) from error
    own = loaded.generator.state_dict()
    assert own.keys() == again.keys()
    assert all(
        torch.equal(own[key].nan_to_num(), again[key].nan_to_num())
        if own[key].is_floating_point()
        else torch.equal(own[key], again[key])
        for key in own
    )


def write_card_and_picture(
    loaded: Loaded, facts: dict[str, Any], path: Path, options: dict[str, Any]
) -> list[str]:
    """Writes README.md, unless there is one, and samples.png; returns what was written."""
    from gancli.reports.model_card import write_card
    from gancli.reports.runs import read_run

    folder = path.parent
    run_folder = checkpoint_options.find_run_folder(loaded.path)
    found = {}
    name = describe_name(facts["config"])
    if loaded.path.parent.name == "checkpoints":
        read = read_run(run_folder)
        found = {"while training": read.evaluation, **read.evaluations}
        if read.choices.get("model") and read.choices.get("dataset"):
            name = f"{read.choices['model']} on {read.choices['dataset']}"
    picture = draw_samples(loaded, folder / PICTURE, options) if options["picture"] else None
    written = [picture] if picture else []
    if (folder / CARD).exists():
        messages.warn(
            f"{folder / CARD} stays as it is, since you may have edited it: remove it for a new one"
        )
        return written
    card = write_card(
        facts["config"],
        facts,
        found,
        name=name,
        translates=bool(loaded.game.directions),
        parameters=sum(p.numel() for p in loaded.generator.parameters()),
        weights=path,
        picture=picture,
    )
    atomic.write_text(folder / CARD, card)
    return [CARD, *written]


def describe_name(config: dict[str, Any]) -> str:
    """Names a model by the classes of its game and its data."""
    parts = (config["model"], config["dataset"])
    return " on ".join(str(part["_target_"]).rpartition(".")[2] for part in parts)


def draw_samples(loaded: Loaded, path: Path, options: dict[str, Any]) -> str | None:
    """Draws samples into a picture; returns its name, None for a model that translates images."""
    if loaded.game.directions:
        return None
    import torch

    from gancli.commands.sample_pictures import images_of
    from gancli.inference.sampling import choose_labels, draw_inputs
    from gancli.render.grids import save_png

    status.say("drawing samples…")
    modality = make_modality(loaded.tree["config"]["dataset"])
    game = loaded.game
    n = modality.drawn or SHOWN
    columns = COLUMNS
    label = None
    if "label" in game.needs:
        columns = min(game.classes, 16)
        n = modality.drawn or columns * COLUMNS
        label = choose_labels(game, n, label=None, classes=())
    inputs = draw_inputs(game, n, seed=options["seed"], label=label)
    made = torch.stack(list(images_of(loaded, inputs, options["seed"], {})))
    save_png(modality.picture(made, None, columns=columns), path)
    return path.name
