"""What a config leaves open: facts of the data set from its files, and every `auto`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gancli.config.build import (
    build,
    find_problems,
    locate,
    read_parameters,
)
from gancli.config.hints import explain_interpolation
from gancli.config.plain import Plain, read_plain
from gancli.config.resolve import explain_missing
from gancli.config.values import LEFT_OPEN, show
from gancli.errors import Problem, UserError
from gancli.losses.penalties import Penalty
from gancli.modality import KEYS, make_modality
from gancli.precision import resolve_device, resolve_precision
from gancli.render.notes import note

log = logging.getLogger("gancli")


ASSUMED = {
    "resolution": 256,
    "channels": 3,
    "classes": 10,
    "holdout": 0,
}  # of images that are not there
UNITS = {"scale": 1.0, "shift": 0.0}
PLAIN_GAN = "gancli.games.gan.GAN"  # whose losses know shared fakes
# Channels of plain convolutions, for model.width=auto.
WIDE = 64
NARROW = 32
SMALL_SIDE = 32  # pixels, up to which grey images get narrow networks


SCANNED = (
    *("resolution", "channels", "classes", "holdout", "scale", "shift", "alphabet"),
    *("rate", "hop", "bin_mean", "bin_deviation"),
    "pose_channels",
)


def check_dataset(cfg: DictConfig) -> list[Problem]:
    """Checks the data set's keys and fills in what only its files can tell.

    That must happen before anything interpolates them; in place.
    """
    try:
        spec = read_plain(cfg.dataset, resolve=True)
    except OmegaConfBaseException as error:
        return [explain_interpolation(error, error.full_key or "dataset")]
    missing = [key for key, value in spec.items() if value == "???"]
    if missing:
        return [explain_missing(f"dataset.{key}") for key in missing]
    found = find_problems(spec, where="dataset", trust=None)
    if found:
        return found
    try:
        source = build(spec, where="dataset", trust=None)
        facts = source.scan() if "auto" in [spec.get(key) for key in SCANNED] else {}
    except UserError as error:
        return [(error.message, error.hint)]
    for (
        key,
        value,
    ) in facts.items():  # force_add: the key may have been dropped, as ~dataset.holdout
        OmegaConf.update(cfg, f"dataset.{key}", value, force_add=True)
    return []


def check_assumed_dataset(cfg: DictConfig) -> list[Problem]:
    """Checks as `check_dataset` does, but needs no files.

    A data set whose files are not given gets the sizes that ASSUMED holds, which is said.
    """
    try:
        spec = read_plain(cfg.dataset, resolve=True)
    except OmegaConfBaseException as error:
        return [explain_interpolation(error, error.full_key or "dataset")]
    absent = [key for key, value in spec.items() if value == "???"]
    derived = "of" in spec and spec["of"] is None and spec.get("path") is None
    if not absent and not derived:
        return check_dataset(cfg)
    for key in absent:
        OmegaConf.update(cfg, f"dataset.{key}", "not given")
    found = find_problems(read_plain(cfg.dataset, resolve=True), where="dataset", trust=None)
    facts = {key: value for key, value in spec.items() if value not in ("auto", "???")}
    modality = make_modality(facts)
    taken: dict[str, object] = {
        key: value for key, value in ASSUMED.items() if spec.get(key, "auto") == "auto"
    }
    if not modality.pixels:
        units: dict[str, object] = {
            key: value for key, value in UNITS.items() if spec.get(key) == "auto"
        }
        size = list(modality.example_size)
        taken |= units | ({"resolution": size} if "resolution" in taken else {})
    for key, value in taken.items():
        OmegaConf.update(cfg, f"dataset.{key}", value, force_add=True)
    said = ", ".join(f"dataset.{key}={value}" for key, value in taken.items() if key != "holdout")
    if said and not found:
        note(log, f"no {'images' if modality.pixels else 'files'} are given: shown for {said}")
    return found


def fill_conditional(cfg: DictConfig) -> list[Problem]:
    """Replaces model.conditional=auto by what the data allows; in place.

    That must happen before the networks' own keys refer to it.
    """
    value = OmegaConf.select(cfg, "model.conditional", throw_on_missing=False)
    if value is None or isinstance(value, bool):
        return []
    classes = OmegaConf.select(cfg, "dataset.classes", throw_on_missing=False)
    OmegaConf.update(cfg, "model.conditional", bool(classes))
    if value != "auto":
        return [(f"model.conditional={show(value)} does not fit", "give true, false or auto")]
    if classes:
        log.info("model.conditional=auto: the data has labels of %s classes", classes)
    elif OmegaConf.select(cfg, "dataset.path", throw_on_missing=False) is None:
        note(log, "the data has no labels (dataset.classes=0): training without labels")
    else:
        note(log, "no class sub-folders and no other labels: training without labels")
    return []


def fill_dataset(spec: Plain) -> list[Problem]:
    """Fills in what a run reads of its data set and a config does not give; in place.

    The values are the defaults of its class.
    """
    known = read_parameters(locate(spec["_target_"], trust=None))
    found = []
    for key in (*SCANNED, "kind", "limit", "load_size", "flip", "balance", *KEYS):
        if key in spec or key not in known:
            continue
        default = known[key].default
        if key in KEYS and not isinstance(default, int | float | str | list | tuple | None):
            continue  # it has none, and whoever builds the class says so
        if key in SCANNED and default == "auto":
            found.append((f"dataset.{key} is missing", f"do not drop it: give dataset.{key}=VALUE"))
        else:
            spec[key] = default
    return found


def fill_autos(frozen: Plain) -> None:
    """Fills in device, precision, and what a model leaves to its loss, data or batch; in place.

    The loss decides `norm`, the data decide `output`, `dropout` and `width`, the batch
    `shared_fakes`.
    """
    device = resolve_device(frozen["trainer"]["device"])
    frozen["trainer"]["device"] = device.type
    frozen["trainer"]["precision"] = resolve_precision(frozen["trainer"]["precision"], device)
    modality = make_modality(frozen["dataset"])
    penalised = list_per_sample_penalties(frozen)
    around_reals = bool(penalised) and all(
        frozen["loss"]["penalties"][name].get("at") == "noise" for name in penalised
    )
    relativistic = compares_scores(frozen)
    model = frozen["model"]
    if model["_target_"] != PLAIN_GAN and model.get("shared_fakes") in ("auto", False):
        del model["shared_fakes"]  # a class of the user's own may not take the key at all
    values = {
        # Batch norm would mix the samples whose gradients the penalty takes one by one.
        "norm": "layer" if penalised else "batch",
        "output": modality.output,
        "dropout": modality.dropout,
        "dropout_in": modality.dropout_in,
        "width": choose_width(frozen["dataset"]),
        # Fakes are kept for one micro-batch, and a step of the generator may want more of them.
        "shared_fakes": frozen["trainer"]["accumulate"] == 1
        and frozen["model"].get("generator_batch", 1) == 1,
    }
    assert values.keys() == set(LEFT_OPEN)
    for node in [frozen["model"], *find_specs(frozen["model"])]:
        if node.get("norm") == "auto" and around_reals and can_have_norm(node, "none"):
            # Layer norm learns slower there: docs/benchmarks.md has both.
            node["norm"] = "none"
            log.info(
                "norm=auto: the discriminator has no norm, since %s takes the gradient of each "
                "sample by itself, and around the reals alone",
                ", ".join(penalised),
            )
        elif node.get("norm") == "auto" and penalised:
            log.info(
                "norm=auto: the discriminator uses layer norm, since %s takes the gradient of each "
                "sample by itself",
                ", ".join(penalised),
            )
        elif (
            node.get("norm") == "batch"
            and penalised
            and node is frozen["model"].get("discriminator")
        ):
            log.warning(
                "batch norm mixes the samples whose gradients %s takes one by one; "
                "model.discriminator.norm=layer does not",
                ", ".join(penalised),
            )
        elif node.get("norm") == "auto" and relativistic and can_have_norm(node, "spectral"):
            # Such scores have no boundary that would hold them: only their differences count.
            node["norm"] = "spectral"
            log.info(
                "norm=auto: the discriminator uses spectral norm, since the loss is relativistic "
                "and has no gradient penalty"
            )
        node |= {key: value for key, value in values.items() if node.get(key) == "auto"}


def compares_scores(frozen: Plain) -> bool:
    """Says whether the loss is relativistic: it compares scores of reals with those of fakes."""
    objective = (frozen["loss"] or {}).get("objective")
    if objective is None:
        return False
    return bool(getattr(locate(objective["_target_"], trust=None), "relativistic", False))


def can_have_norm(node: Plain, norm: str) -> bool:
    """Says whether a network can have such a norm."""
    known = read_parameters(locate(node["_target_"], trust=None))
    return "norm" in known and norm in get_args(known["norm"].annotation)


def choose_width(dataset: Mapping[str, Any]) -> int:
    """Chooses the channels of plain convolutions, for model.width=auto.

    On the bundled digits DCGAN's 64 (Radford 2015) and half of them reach the same figures
    (docs/benchmarks.md).
    """
    side = dataset["resolution"]
    small = (side if isinstance(side, int) else max(side)) <= SMALL_SIDE
    return NARROW if small and dataset["channels"] == 1 else WIDE


def find_specs(tree: object) -> list[Plain]:
    """Lists every description of a class that stands in a plain tree."""
    items = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [
        node
        for item in items
        for node in ([item] if isinstance(item, dict) and "_target_" in item else [])
        + find_specs(item)
    ]


def list_per_sample_penalties(frozen: Plain) -> list[str]:
    """Returns the names of the penalties that take one gradient per sample."""
    penalties = (frozen["loss"] or {}).get("penalties") or {}
    classes = {name: locate(spec["_target_"], trust=None) for name, spec in penalties.items()}
    return [name for name, cls in classes.items() if issubclass(cls, Penalty) and cls.per_sample]
