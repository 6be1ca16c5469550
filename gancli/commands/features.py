"""gan features: what can be read from a discriminator's features, and images by its score."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gancli.commands.endings import after_checkpoint, say_end
from gancli.config import compose as front
from gancli.config.hints import find_nearest, list_composition_errors, parse_override
from gancli.config.resolvers import make_slug
from gancli.errors import Problems, UserError, did_you_mean
from gancli.files import atomic
from gancli.files.paths import find_missing
from gancli.modality import make_modality
from gancli.render import messages, status

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gancli.checkpoint import Loaded
    from gancli.data.base import Source
    from gancli.evaluation.probing import Chosen

DEFAULTS = {
    "out": None,
    "n": None,
    "k": 5,
    "distance": "cosine",
    "l2": 1e-2,
    "seed": 0,
    "device": "auto",
    "trust": None,
}
LEAST = {"n": 2, "k": 1, "seed": 0, "l2": 0}


def main(argv: list[str]) -> int:
    """Runs `gan features`; returns the exit code."""
    options, words = read(argv)
    check_words(words)
    from gancli.run.runlog import keep_early_log

    with keep_early_log():  # what a data set notes looks as it does at the start of a run
        return run(options, words)


def run(options: dict, words: list[str]) -> int:
    """Writes features and rankings. Raises UserError."""
    status.say("loading torch…")
    from gancli import checkpoint
    from gancli.commands.checkpoint_verbs import out_folder
    from gancli.config.build import read_trust
    from gancli.evaluation.probing import choose, find_own_labels, read_features
    from gancli.precision import resolve_device
    from gancli.run.checkpoint_options import open_game
    from gancli.run.failures import explain_write_errors
    from gancli.run.measure import load_other_split

    device = resolve_device(options["device"])
    trust = read_trust(options["trust"])
    loaded = open_game(options["ckpt"], trust=trust, device=str(device))
    checkpoint.require_run(loaded.tree, loaded.path, what="gan features needs the discriminator")
    modality = make_modality(loaded.tree["config"]["dataset"])
    if not modality.probed:
        raise UserError(
            "gan features probes what has classes and values, and the data are "
            f"{modality.describe_data()}",
            f"gan evaluate ckpt={loaded.path} measures its samples",
        )
    if not loaded.game.judges_images:
        raise UserError(
            "gan features shows single images to the discriminator, and that of "
            f"{loaded.path} takes "
            f"{loaded.game.describe_critic_input()}",
            "give a checkpoint of a model that makes images out of noise, such as dcgan or cgan",
        )
    status.say("reading the data…")
    source, name = open_source(words, loaded, trust=trust)
    out = out_folder(options["out"], loaded.path, f"features{name and '-'}{name}")
    other = load_other_split(source) if source.classes else (None, "")
    chosen = choose(source, loaded, other=other, n=options["n"], seed=options["seed"])
    status.say("reading features…")
    features, scores = read_features(
        loaded.game, chosen.images, own=find_own_labels(loaded, chosen), seed=options["seed"]
    )
    status.say("probing the features…")
    values, skipped = measure(features, chosen, options, device, noun=modality.noun)
    step = loaded.tree["progress"]["step"]
    report = {
        "values": values,
        "protocol": {"step": step} | chosen.facts | protocol_of(loaded, chosen, options),
        "skipped": skipped,
    }
    with explain_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        write(out, chosen, features, scores, report)
    raw = "raw pixels" if modality.pixels else "raw values"
    show(f"{loaded.path}, step {step}", report, k=options["k"], raw=raw)
    picture = out / "ranking.png"
    first = picture if picture.is_file() else out / "features.json"
    say_end(f"{first}, and features.npz and ranking.csv in {out}", after_checkpoint(loaded.path))
    return 0


def check_words(words: list[str]) -> None:
    """Tells what is wrong with a data set before torch is imported: names, keys and its path."""
    from gancli.files.paths import DATA, check_run

    if any(word.lstrip("+").startswith("dataset=") for word in words):
        check_run(front.compose("train", words).cfg)
    moved = [word.partition("=")[2] for word in words if word.startswith("dataset.path=")]
    if found := find_missing({"path": "".join(moved[-1:])}, {"path": DATA}, within="dataset"):
        raise Problems(found)


def read(argv: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Reads the options and what describes the data set; raises Problems with all that is wrong."""
    given: dict[str, str] = {}
    words = []
    rest = list(argv)
    found = []
    while rest:
        word = rest.pop(0)
        key, equals, value = word.partition("=")
        if key.lstrip("+~").partition(".")[0] == "dataset" and equals:
            words.append(word)
        elif key in ("-cd", "--config-dir"):
            words += [word, rest.pop(0)] if not equals and rest else [word]
        elif key in ("ckpt", *DEFAULTS) and equals:
            given[key] = value
        else:
            hint = did_you_mean(find_nearest(key.lstrip("-"), ["ckpt", "dataset", *DEFAULTS]))
            found.append(
                (
                    f"gan features has no {key}",
                    hint or f"it takes ckpt=, dataset=, {'=, '.join(DEFAULTS)}=",
                )
            )
    if "ckpt" not in given:
        found.append(("ckpt is not given", "gan features ckpt=outputs/<model>-<dataset>/<stamp>"))
    options: dict[str, Any] = DEFAULTS | given
    found += find_missing(options, {"ckpt": "run"})
    for key, kind in (("n", int), ("k", int), ("seed", int), ("l2", float)):
        options[key], problem = number(options[key], key, kind)
        found += problem
    for key, known in (
        ("distance", ("cosine", "euclidean")),
        ("device", ("auto", "cpu", "cuda", "mps")),
    ):
        if options[key] not in known:
            found.append((f"{key}={options[key]} does not fit", f"give one of {', '.join(known)}"))
    if found:
        raise Problems(found)
    if options["trust"]:
        options["trust"] = [name.strip() for name in options["trust"].strip("[]").split(",")]
    return options, words


def number(value: object, key: str, kind: type) -> tuple[float | None, list[tuple[str, str]]]:
    """Reads the number that a text says, and says what is wrong with it."""
    if value is None:
        return None, []
    try:
        made = kind(value)
    except ValueError:
        made = math.nan
    if not (math.isfinite(made) and made >= LEAST[key]):
        return None, [
            (
                f"{key}={value} does not fit",
                f"give {'a whole number, ' * (kind is int)}{LEAST[key]} or more",
            )
        ]
    return made, []


def open_source(
    words: list[str], loaded: Loaded, *, trust: tuple[str, ...] | None
) -> tuple[Source, str]:
    """Opens the data set, settled; its name is "" for the checkpoint's own. Raises UserError."""
    from gancli.config.build import build
    from gancli.data.base import pair

    trained = loaded.tree["config"]["dataset"]
    name = ""
    if any(word.lstrip("+").startswith("dataset=") for word in words):
        spec, name = composed(words, trained)
        trust = None  # the user typed its class
    else:
        spec = trained | changes(words)
    wanted = make_modality(trained)
    if make_modality(spec).kind != wanted.kind:
        raise UserError(
            f"the discriminator of this checkpoint sees {wanted.noun}, which this data set has not",
            "choose another dataset=NAME",
        )
    source = build(spec, where="dataset", trust=trust).settled()
    height, width = pair(trained["resolution"])
    channels = trained["channels"]
    if (pair(source.resolution), source.channels) != ((height, width), channels):
        raise UserError(
            f"the discriminator of this checkpoint sees {width}x{height} pixels of {channels} "
            "channels",
            "leave dataset.resolution and dataset.channels out: they follow the checkpoint",
        )
    return source, name


def composed(words: list[str], trained: dict) -> tuple[dict, str]:
    """Finds the data set that dataset=NAME chooses, at the checkpoint's size, and its name.

    Raises Problems.
    """
    from omegaconf import OmegaConf

    from gancli.config.fill import check_dataset

    typed = {word.lstrip("+").partition("=")[0] for word in words}
    size = [
        f"dataset.{key}={trained[key]}".replace(" ", "")
        for key in ("resolution", "channels")
        if f"dataset.{key}" not in typed
    ]
    made = front.compose("train", words, extra=size)
    for message in made.warnings:
        messages.warn(message)
    if isinstance(make_modality(made.cfg.dataset), type(make_modality(trained))) and (
        found := check_dataset(made.cfg)
    ):
        raise Problems(found)
    spec = cast(dict[str, Any], OmegaConf.to_container(made.cfg.dataset, resolve=True))
    return spec, make_slug([f"={made.choices.get('dataset', 'own')}"])


def changes(words: Sequence[str]) -> dict:
    """Reads dataset.KEY=VALUE, ... as {KEY: VALUE}, for data that moved. Raises UserError."""
    from gancli.config.arguments import quote_value

    made = {}
    for word in words:
        key = word.partition("=")[0].removeprefix("dataset.")
        try:
            override = parse_override(quote_value(word))
        except list_composition_errors():
            override = None
        if override is None or not key.isidentifier() or override.is_sweep_override():
            raise UserError(
                f"'{word}' does not change the checkpoint's data set",
                "write dataset.KEY=VALUE, or choose one by dataset=NAME",
            )
        made[key] = override.value()
    return made


def measure(
    features: Tensor, chosen: Chosen, options: dict, device: torch.device, *, noun: str
) -> tuple[dict[str, float], dict[str, str]]:
    """Measures accuracies, on the features and on raw pixels, or says why there are none."""
    from gancli.metrics.classifier import scale_images
    from gancli.metrics.probe import knn_accuracy, linear_probe, majority

    n = chosen.n_train
    labels = chosen.labels
    points = chosen.images.is_floating_point()
    if labels is None:
        return {}, {
            "probe": "the data set has no labels; a labelled one may be given with dataset=NAME"
        }
    if labels.ndim == 2:
        return {}, {"probe": "labels are attributes, and a probe tells classes apart"}
    if len(labels[:n].unique()) < 2 or n == len(labels):
        return {}, {
            "probe": f"too few {noun}: {n} of {len(labels[:n].unique())} classes to learn from, "
            f"{len(labels) - n} to test on"
        }
    values: dict[str, float] = {}
    for name, rows in (
        ("critic", features),
        ("pixels", (chosen.images if points else scale_images(chosen.images)).flatten(1)),
    ):
        rows = rows if device.type == "mps" else rows.to(device)  # it has no float64
        found = linear_probe(rows[:n], labels[:n], rows[n:], labels[n:], l2=options["l2"])
        values |= {f"linear_{name}": found["accuracy"], f"linear_{name}_train": found["train"]}
        values[f"knn_{name}"] = knn_accuracy(
            rows[:n], labels[:n], rows[n:], labels[n:], k=options["k"], distance=options["distance"]
        )
    return values | {"chance": majority(labels[n:])}, {}


def protocol_of(loaded: Loaded, chosen: Chosen, options: dict) -> dict[str, object]:
    """Tells how the features were made and measured, for report.json."""
    from gancli.evaluation.probing import choose_labels, find_own_labels

    labels = choose_labels(loaded.game)
    modality = make_modality(loaded.tree["config"]["dataset"])
    single = modality.single
    pack = loaded.tree["config"]["model"].get("pack", 1)
    conditional = labels != [None]
    mean = f"mean over {len(labels)} labels"
    known = find_own_labels(loaded, chosen) is not None
    how = {
        "features": "of the trunk, in eval mode"
        + (f", {mean}: the {single}'s own does not show" if conditional else ""),
        "scores": f"under each {single}'s own label"
        if known
        else mean
        if conditional
        else "of the discriminator",
    }
    if pack > 1:
        how["pack"] = f"{pack} copies of each {single}"
    return how | {
        "linear": f"logistic regression on standardised features, l2={options['l2']:g}",
        "knn": f"k={options['k']}, {options['distance']}",
        "pixels": "averaged down to at most 32x32"
        if modality.pixels
        else f"the values of the {modality.noun} themselves",
        "seed": options["seed"],
    }


def write(out: Path, chosen: Chosen, features: Tensor, scores: Tensor, report: dict) -> None:
    """Writes all files of the report into `out`."""
    import numpy as np

    from gancli.render.grids import save_png
    from gancli.reports.ranking import draw_sheet, format_ranking, write_npz

    labels = [] if chosen.labels is None else chosen.labels.tolist()
    split = (
        ["train" if k < chosen.n_train else "test" for k in range(len(chosen.names))]
        if labels
        else []
    )
    arrays = {
        "features": features.numpy(),
        "scores": scores.numpy(),
        "names": np.array(chosen.names),
    }
    if chosen.labels is not None:
        arrays |= {
            "labels": chosen.labels.numpy(),
            "classes": np.array(chosen.classes),
            "split": np.array(split),
        }
    write_npz(out / "features.npz", arrays)
    columns = {"name": chosen.names} | (
        {"split": split, "class": [name_label(chosen, k) for k in labels]} if labels else {}
    )
    atomic.write_text(out / "ranking.csv", format_ranking(scores, columns))
    if not chosen.images.is_floating_point():
        save_png(draw_sheet(chosen.images, scores), out / "ranking.png")
    atomic.write_text(out / "features.json", json.dumps(report, indent=2) + "\n")


def name_label(chosen: Chosen, label: int | list[float]) -> str:
    """Names a class, or the attributes that an image has."""
    if isinstance(label, int):
        return chosen.classes[label]
    return " ".join(name for name, value in zip(chosen.classes, label, strict=True) if value > 0)


def show(title: str, report: dict, *, k: int, raw: str) -> None:
    """Prints the report's numbers as a table below its title."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    values = report["values"]
    console.print(messages.printable(title), style="bold", markup=False, soft_wrap=True)
    if values:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("accuracy on")
        table.add_column("linear probe", justify="right")
        table.add_column(f"{k} nearest", justify="right")
        for name, words in (("critic", "the discriminator's features"), ("pixels", raw)):
            table.add_row(words, f"{values[f'linear_{name}']:.3f}", f"{values[f'knn_{name}']:.3f}")
        table.add_row("chance", *[f"{values['chance']:.3f}"] * 2)
        console.print(table)
    for heading in ("protocol", "skipped"):
        if report[heading]:
            console.print(f"\n{heading}", style="bold")
        for key, value in report[heading].items():
            console.print(messages.printable(f"  {key:<18} {value}"), markup=False, soft_wrap=True)
