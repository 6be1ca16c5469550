"""Gate 2: fills every `auto`, binds every key against its class, and reports all that is wrong at once."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gancli import distributed
from gancli.config.build import (
    PARTS,
    SMALLER,
    Problem,
    build,
    build_game,
    did_you_mean,
    find_own_problems,
    find_problems,
    locate,
    read_parameters,
    show,
)
from gancli.config.closed import find_closed_problems, find_player_problems
from gancli.config.hints import explain_interpolation
from gancli.config.own_metrics import fill_best_mode, find_own_metric_problems
from gancli.config.players import (
    complete_players,
    describe_fallback,
    try_own_schedules,
)
from gancli.config.published import find_published_problems
from gancli.config.run_config import RunConfig
from gancli.config.schema import CLOSED, OWN_FOLDER, TOP_KEYS, PlayerConfig
from gancli.config.values import NONNEGATIVE, is_spec
from gancli.data.base import pair
from gancli.data.folder import listing
from gancli.errors import Problems, UserError
from gancli.game import Game
from gancli.losses.objectives import RelativisticPairing
from gancli.metrics import settings
from gancli.optimizers import describe_division, make_player, try_step
from gancli.precision import free_memory, resolve_device, resolve_precision
from gancli.render.notes import note

log = logging.getLogger("gancli")
REFERENCE = re.compile(r"\$\{([\w.]+)\}")
NOTHING_TO_LEARN = (
    "loss=none leaves this model nothing to learn from: it has a critic, and no target",
    "choose a loss, such as loss=non_saturating (gan list loss)",
)
INHERITED = ("weight_decay", "betas")  # keys that every option of optimizer/ brings along
ASSUMED = {
    "resolution": 256,
    "channels": 3,
    "classes": 10,
    "holdout": 0,
}  # of images that are not there
SCANNED = ("resolution", "channels", "classes", "holdout")


def validate(cfg: DictConfig, *, data: bool = True, typed: Sequence[str] = ()) -> RunConfig:
    """A composed config -> the frozen one: plain, resolved, free of `auto`, and enough to rebuild the game.

    typed: the words of the command line; every config has a loss, and a model may take none without that being a mistake.
    data: False for what needs the networks only: files that are not given are not asked for, sizes are assumed and said.
    Raises Problems with everything that is wrong."""
    raw = OmegaConf.to_container(cfg, resolve=False)
    found = find_unknown_top(raw)
    found += check_dataset(cfg) if data else check_assumed_dataset(cfg)
    found += fill_conditional(cfg)
    frozen = resolve_config(cfg, found)
    shared = find_shared_keys(raw, typed)
    for where in shared:  # they only feed interpolations, which are resolved now
        drop_key(frozen, where)
    complete_players(frozen["optimizer"])
    closed = find_closed_problems(frozen, CLOSED)
    found += find_published_problems(frozen.get("published"))
    found += (
        closed + find_half_life_problems(frozen["ema"]) + settings.unknown_items(frozen["metrics"])
    )
    found += [
        p
        for name in PARTS
        if frozen[name] is not None
        for p in find_part_problems(frozen[name], name)
    ]
    found += find_optimizer_problems(frozen["optimizer"])
    if not closed:
        found += find_scalar_conflicts(frozen) or fill_best_mode(frozen["metrics"])
    if not found:
        found += fill_dataset(frozen["dataset"])
    if not found:
        fill_autos(frozen)
        idle = find_idle_parts(frozen)
        known = read_parameters(locate_game(frozen))
        given = tuple(name for name in PARTS if name in known)
        if (
            frozen["loss"] is None
            and "loss" in known
            and known["loss"].default is inspect.Parameter.empty
        ):
            found.append(NOTHING_TO_LEARN)
        elif "loss" in idle and "loss" in known:
            frozen["loss"] = None  # the model would refuse it
        for name in idle.keys() - known.keys():
            frozen[name] = None  # so that a leaderboard can tell that it has no effect
        found += find_problems(frozen["model"], where="model", trust=None, given=given)
    if not found:
        found += check_game(frozen, data=data)
    if found:
        raise Problems(found)
    say_what_is_not_measured(frozen)
    for name, reason in idle.items():
        if name != "loss" or name in known or is_loss_chosen(typed):
            log.warning("%s has no effect: %s", name, reason)
    return RunConfig.from_plain(frozen)


def find_idle_parts(config: dict) -> dict[str, str]:
    """The parts of a resolved config that its model does not use, and why."""
    cls = locate_game(config)
    known = read_parameters(cls)
    chosen = [name for name in PARTS if config[name] is not None]
    idle = {name: f"{cls.__name__} takes none" for name in chosen if name not in known}
    if "discriminator" in known and config["model"].get("discriminator") is None:
        reason = f"this {cls.__name__} has no critic"
    elif config["loss"] is None:
        reason = "without a loss there is no critic"
    else:
        return idle
    for name in ("loss", "augment"):
        if name in chosen:
            idle.setdefault(name, reason)
    return idle


def is_loss_chosen(typed: Sequence[str]) -> bool:
    """Do the words of a command line say anything about the loss?"""
    keys = [word.lstrip("+~").partition("=")[0] for word in typed]
    return any(key == "loss" or key.startswith("loss.") or "@loss." in key for key in keys)


def say_what_is_not_measured(frozen: dict) -> None:
    """metrics=full asks for more than a run without held-out images can tell: the key that gives them."""
    data = frozen["dataset"]
    metrics = frozen["metrics"]
    if data["kind"] != "image" or data["holdout"] or not metrics["floor"]:
        return
    items = [item for item in ("memorisation", "overfitting") if item in metrics["items"]]
    if isinstance(data.get("path"), str) and data["_target_"] == OWN_FOLDER:
        n = max(1, len(listing(data["path"])) // 10)
    else:
        n = 100
    note(
        log,
        "%s cannot be measured, nor what real images reach: no images are held out; dataset.holdout=%d keeps some",
        " and ".join(items) or "the floor",
        n,
    )


def find_unknown_top(raw: dict) -> list[Problem]:
    return [
        (f"unknown key {key!r}", did_you_mean(str(key), list(TOP_KEYS)))
        for key in raw
        if key not in TOP_KEYS
    ]


def check_dataset(cfg: DictConfig) -> list[Problem]:
    """Checks the data set's keys and, before anything interpolates them, fills in what only its files can tell."""
    try:
        spec = OmegaConf.to_container(cfg.dataset, resolve=True, throw_on_missing=False)
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
    """As `dataset_problems`, but a data set whose files are not given gets the sizes that ASSUMED holds, which is said."""
    try:
        spec = OmegaConf.to_container(cfg.dataset, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        return [explain_interpolation(error, error.full_key or "dataset")]
    absent = [key for key, value in spec.items() if value == "???"]
    derived = "of" in spec and spec["of"] is None and spec.get("path") is None
    if not absent and not derived:
        return check_dataset(cfg)
    for key in absent:
        OmegaConf.update(cfg, f"dataset.{key}", "not given")
    found = find_problems(
        OmegaConf.to_container(cfg.dataset, resolve=True), where="dataset", trust=None
    )
    taken = {key: value for key, value in ASSUMED.items() if spec.get(key, "auto") == "auto"}
    for key, value in taken.items():
        OmegaConf.update(cfg, f"dataset.{key}", value, force_add=True)
    said = ", ".join(f"dataset.{key}={value}" for key, value in taken.items() if key != "holdout")
    if said and not found:
        note(log, f"no images are given: shown for {said}")
    return found


def explain_missing(where: str) -> Problem:
    """What to say of a key that has no value yet."""
    value = "FOLDER" if where.endswith(".path") else "VALUE"
    return f"{where} is not given", f"add {where}={value}"


def fill_conditional(cfg: DictConfig) -> list[Problem]:
    """model.conditional=auto becomes what the data allows, before the networks' own keys refer to it."""
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
        note(log, "no class sub-folders: training without labels")
    return []


def resolve_config(cfg: DictConfig, found: list[Problem]) -> dict:
    """The config as plain data. Raises Problems, with those found so far and what is wrong with the closed parts."""
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        problem = explain_interpolation(error, error.full_key or "config")
        raise Problems(list(dict.fromkeys([*found, problem]))) from error
    absent = [explain_missing(where) for where in find_missing_keys(plain)]
    if absent:
        closed = find_closed_problems(plain, CLOSED)
        raise Problems(list(dict.fromkeys([*found, *absent, *closed])))
    return plain


def find_missing_keys(tree: object, where: str = "") -> list[str]:
    """The dotted keys whose value is still to be given."""
    if tree == "???":
        return [where]
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    return [
        key
        for name, item in items
        for key in find_missing_keys(item, f"{where}.{name}".lstrip("."))
    ]


def find_shared_keys(raw: dict, typed: Sequence[str] = ()) -> list[str]:
    """Keys that other values refer to and that their own class does not take, such as model.width.

    typed: the words of the command line. Where model.generator.width=8 and its like have replaced every reference to
    model.width, that key is still one of those."""
    referred = {match for text in find_strings(raw) for match in REFERENCE.findall(text)}
    keys = [word.lstrip("+").partition("=")[0].split(".") for word in typed]
    replaced = {f"{key[0]}.{key[-1]}" for key in keys if len(key) > 2 and key[-1] != "_target_"}
    referred |= replaced - {".".join(key) for key in keys}
    shared = []
    for where in sorted(referred):
        parent_key, _, key = where.rpartition(".")
        node: Any = raw
        for part in parent_key.split(".") if parent_key else []:
            node = node.get(part, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict) and "_target_" in node and key in node:
            try:
                known = read_parameters(locate(node["_target_"], trust=None))
            except UserError:
                continue  # reported where the target itself is checked
            ours = list_fields(PlayerConfig) if parent_key.startswith("optimizer.") else ()
            if key not in (*known, *ours):
                shared.append(where)
    return shared


def find_strings(tree: object) -> list[str]:
    if isinstance(tree, dict | list):
        return [
            text
            for item in (tree.values() if isinstance(tree, dict) else tree)
            for text in find_strings(item)
        ]
    return [tree] if isinstance(tree, str) else []


def drop_key(tree: dict, where: str) -> None:
    *parents, key = where.split(".")
    for part in parents:
        tree = tree[part]
    del tree[key]


def find_part_problems(spec: object, where: str) -> list[Problem]:
    """Everything wrong with one of the parts that a model may take."""
    if not isinstance(spec, dict):
        options = f"choose an option (gan list {where}), or change single keys"
        return [(f"{where}={show(spec)} does not fit", options)]
    if where == "loss" and spec.get("_target_") is None:
        return [NOTHING_TO_LEARN]
    return find_problems(spec, where=where, trust=None)


def list_fields(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def find_optimizer_problems(spec: object) -> list[Problem]:
    if not isinstance(spec, dict) or "g" not in spec:
        return [
            (
                "optimizer.g is missing",
                "every player falls back to it: choose optimizer=adam_b05, or write optimizer.g",
            )
        ]
    ours = list_fields(PlayerConfig)
    found = []
    for player, values in spec.items():
        where = f"optimizer.{player}"
        found += find_player_problems(values, PlayerConfig, where=where)
        if not isinstance(values, dict):
            continue
        told = {
            message.partition("=")[0].partition("[")[0].partition(" is")[0] for message, _ in found
        }
        parts = {where: {key: value for key, value in values.items() if key not in ours}}
        if isinstance(values.get("rest"), dict):
            parts[f"{where}.rest"] = values["rest"]
        found += [
            problem
            for place, theirs in parts.items()
            for problem in find_torch_problems(theirs, place)
            if problem[0].partition("=")[0].partition("[")[0].partition(" is")[0] not in told
        ]
    return found or try_own_schedules(spec)


def find_torch_problems(values: dict, where: str) -> list[Problem]:
    """The keys of a player that go to its optimizer, against that class."""
    if isinstance(values.get("lr"), dict):
        values = values | {"lr": 1.0}  # a schedule, which is checked as one: torch sees numbers
    found = find_problems(values, where=where, trust=None, given=("params",))
    refused = [key for key in values if any(f"takes no {key!r}" in message for message, _ in found)]
    if not refused:
        return found
    cls = locate(values["_target_"], trust=None)
    known = [name for name in read_parameters(cls) if name not in ("params", "self")]
    words = f"{cls.__name__} takes {', '.join(known)}; of our own keys {', '.join(list_fields(PlayerConfig))}"
    found = [problem for problem in found if "takes no" not in problem[0]]
    for key in refused:
        close = did_you_mean(key, [*known, *list_fields(PlayerConfig)])
        drop = f"~{where}.{key} drops it. {words}"
        hint = close if close.startswith("did you") and key not in INHERITED else drop
        found.append((f"{where}.{key}: {cls.__name__} takes no {key!r}", hint))
    return found


def find_scalar_conflicts(frozen: dict) -> list[Problem]:
    """What the closed sections say together."""
    found = settings.problems(frozen["metrics"])
    found += find_own_metric_problems(frozen["metrics"].get("own", {}))
    ranks = distributed.launched_world()
    size = frozen["trainer"]["batch_size"]
    accumulate = frozen["trainer"]["accumulate"]
    if size % (ranks * accumulate):
        found.append(
            (
                f"trainer.batch_size={size} does not divide into {ranks} ranks x {accumulate} micro-batches",
                f"use a multiple of {ranks * accumulate}",
            )
        )
    return found


def locate_game(frozen: dict) -> type:
    try:
        cls = locate(frozen["model"].get("_target_"), trust=None)
    except UserError as error:
        raise Problems([(f"model._target_: {error.message}", error.hint)]) from error
    if not issubclass(cls, Game):
        raise Problems(
            [
                (
                    f"model._target_: {cls.__name__} is no Game",
                    "derive it from gancli.game.Game or gancli.games.gan.GAN",
                )
            ]
        )
    return cls


def fill_dataset(spec: dict) -> list[Problem]:
    """What a run reads of its data set and a config does not give, from its class's defaults; in place."""
    known = read_parameters(locate(spec["_target_"], trust=None))
    found = []
    for key in (*SCANNED, "kind", "limit", "load_size", "flip"):
        if key in spec or key not in known:
            continue
        default = known[key].default
        if key in SCANNED and default == "auto":
            found.append((f"dataset.{key} is missing", f"do not drop it: give dataset.{key}=VALUE"))
        else:
            spec[key] = default
    return found


def fill_autos(frozen: dict) -> None:
    """Device, precision, and what a model leaves to the loss (norm) or the data (output, dropout)."""
    device = resolve_device(frozen["trainer"]["device"])
    frozen["trainer"]["device"] = device.type
    frozen["trainer"]["precision"] = resolve_precision(frozen["trainer"]["precision"], device)
    points = frozen["dataset"]["kind"] == "points"
    penalised = list_per_sample_penalties(frozen)
    values = {
        "norm": "layer" if penalised else "batch",
        "output": "linear" if points else "tanh",
        "dropout": 0.0 if points else 0.5,
        "dropout_in": 0.0 if points else 0.2,
    }  # two coordinates are too few to drop any
    for node in [frozen["model"], *find_specs(frozen["model"])]:
        if node.get("norm") == "auto" and penalised:
            log.info(
                "norm=auto: the critic uses layer norm, since %s takes one gradient per sample",
                ", ".join(penalised),
            )
        elif (
            node.get("norm") == "batch"
            and penalised
            and node is frozen["model"].get("discriminator")
        ):
            log.warning(
                "batch norm mixes the samples whose gradients %s takes one by one; model.discriminator.norm=layer does not",
                ", ".join(penalised),
            )
        node |= {key: value for key, value in values.items() if node.get(key) == "auto"}


def find_specs(tree: object) -> list[dict]:
    """Every description below a description."""
    items = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [
        node
        for item in items
        for node in ([item] if isinstance(item, dict) and "_target_" in item else [])
        + find_specs(item)
    ]


def list_per_sample_penalties(frozen: dict) -> list[str]:
    penalties = (frozen["loss"] or {}).get("penalties") or {}
    return [
        name for name, spec in penalties.items() if locate(spec["_target_"], trust=None).per_sample
    ]


def find_half_life_problems(ema: object) -> list[Problem]:
    """What is wrong with a schedule of the user's own for the moving average."""
    spec = ema.get("half_life_kimg") if isinstance(ema, dict) else None
    if not is_spec(spec):
        return []
    return find_own_problems(spec, where="ema.half_life_kimg", bound=NONNEGATIVE)


def try_player_optimizers(game: Game, specs: dict, *, say: bool) -> list[Problem]:
    """What only building the optimizers shows.

    They are built on the meta device, and one step of each is tried on a small matrix.

    Args:
        game: On the meta device.
        specs: Player -> description of its optimizer.
        say: Also tell what players fall back to, and which of two optimizers moves what.
    """
    found: dict[Problem, None] = {}
    told: list[str] = []
    players = game.players()
    for name in players:
        key = name if name in specs else "g"
        where = f"optimizer.{key}"
        target = str(specs[key]["_target_"])
        hint = "choose another optimizer, such as optimizer=adam_b05 (gan list optimizer)"
        if name not in specs:
            told.append(describe_fallback(name, specs["g"]))
        try:
            division = describe_division(make_player(game, name, specs[key], ghost=True))
            if division:
                told.append(f"optimizer.{name}: {division}")
            for spec in (specs[key], specs[key].get("rest")):
                if spec and str(spec["_target_"]).startswith("torch.optim."):
                    try_step(spec)
        except UserError as error:
            message = error.message.removeprefix("config: ")
            found[
                f"{where}: {target.rpartition('.')[2]} cannot train this model: {message}", hint
            ] = None
    if say and not found:
        for line in told:
            note(log, "%s", line)
    return list(found)


def find_memory_problems(game: Game, frozen: dict) -> list[Problem]:
    """A batch that no memory holds: its images as floats, beside weights and their gradients; layers keep more than that."""
    data = frozen["dataset"]
    trainer = frozen["trainer"]
    free = free_memory(frozen["trainer"]["device"])
    if free is None:
        return []
    height, width = pair(data["resolution"])
    image = 4 * data["channels"] * height * width
    networks = 2 * sum(p.numel() * p.element_size() for p in game.parameters())
    ranks = distributed.launched_world()
    need = networks + image * trainer["batch_size"] // ranks
    if need <= free:
        return []
    fits = (free - networks) // image * ranks // 2  # layers need room as well
    have = f"{free / 1e9:.1f} GB are free on {trainer['device']}"
    if fits < ranks:
        return [
            (
                f"the model's weights and gradients take {networks / 1e9:,.1f} GB, and {have}",
                SMALLER,
            )
        ]
    fits = 2 ** (fits.bit_length() - 1)
    return [
        (
            f"trainer.batch_size={trainer['batch_size']} does not fit: weights, gradients and the "
            f"images of a batch take {need / 1e9:,.1f} GB, and {have}",
            f"trainer.batch_size={fits} or less may, depending on the layers",
        )
    ]


def check_game(frozen: dict, *, data: bool = True) -> list[Problem]:
    """What no single key shows: built once on the meta device, where sizes cost nothing.

    data: also what a run needs and the networks alone do not: that a batch fits."""
    if frozen["model"].get("conditional") and not frozen["dataset"]["classes"]:
        return [
            (
                "model.conditional=true, but the data set has no labels (dataset.classes=0)",
                suggest_for_no_labels(frozen["model"]),
            )
        ]
    try:
        with torch.device("meta"):
            game = build_game(frozen, trust=None)
            players = game.players()
    except UserError as error:
        points = frozen["dataset"]["kind"] == "points"
        return [
            (
                error.message,
                error.hint
                or ("the data are points in the plane: model=mlp learns them" if points else ""),
            )
        ]
    found = try_player_optimizers(game, frozen["optimizer"], say=data)
    found += find_memory_problems(game, frozen) if data else []
    loss = game.adversarial
    if (
        getattr(loss, "objective", None) is not None
        and isinstance(loss.objective, RelativisticPairing)
        and loss.fake_target != 0
    ):
        log.warning(
            "loss.fake_target has no effect: a paired relativistic loss has one term, and loss.real_target is its target"
        )
    objective = (frozen["loss"] or {}).get("objective")
    adapts = (frozen["augment"] or {}).get("target") is not None
    if (
        objective
        and adapts
        and getattr(locate(objective["_target_"], trust=None), "boundary", 0.0) is None
    ):
        log.warning(
            "augment.target reads the sign of real scores, and with this loss only their differences count: add "
            "augment.target=null augment.p=0.2"
        )
    if not game.penalisable and (penalised := list_per_sample_penalties(frozen)):
        found.append(
            (
                f"loss.penalties.{penalised[0]} cannot reach this model's critic, whose score stops the gradient",
                "choose a loss without gradient penalties, such as loss=non_saturating",
            )
        )
    shard = frozen["trainer"]["batch_size"] // (
        distributed.launched_world() * frozen["trainer"]["accumulate"]
    )
    if shard % frozen["model"].get("pack", 1):
        found.append(
            (
                f"model.pack={frozen['model']['pack']} does not divide the {shard} images that are judged at a time",
                "choose trainer.batch_size so that it does",
            )
        )
    return found + [
        (
            f"optimizer.{name} moves nothing: the model's players are {', '.join(players)}",
            did_you_mean(name, list(players)),
        )
        for name in frozen["optimizer"]
        if name not in players and name != "d"
    ]


def suggest_for_no_labels(model: dict) -> str:
    """What to type where a model is to be conditional and the data has no labels."""
    heads = [locate(spec["_target_"], trust=None) for spec in (model.get("heads") or {}).values()]
    if any(getattr(head, "needs_labels", False) for head in heads):
        return (
            "this model learns from classes: put each class into a sub-folder of its own, "
            "or take a model that needs none, such as model=dcgan"
        )
    return "model.conditional=auto follows the data; or put each class into a sub-folder of its own"


def revalidate(stored: Mapping[str, Any]) -> RunConfig:
    """Checks the plain config of a checkpoint, some of whose keys were typed anew.

    Raises:
        Problems: With everything that is wrong.
    """
    frozen = {key: stored[key] for key in TOP_KEYS if key in stored}
    frozen["trainer"] = dict(stored["trainer"])
    found = find_closed_problems(frozen, CLOSED) + find_half_life_problems(frozen["ema"])
    found += find_published_problems(frozen.get("published"))
    found += find_optimizer_problems(frozen["optimizer"])  # a file may hold anything
    frozen["metrics"] = dict(stored["metrics"])
    found += [] if found else find_scalar_conflicts(frozen)
    found += [] if found else fill_best_mode(frozen["metrics"])
    if found:
        raise Problems(found)
    device = resolve_device(frozen["trainer"]["device"])
    frozen["trainer"]["device"] = device.type
    frozen["trainer"]["precision"] = resolve_precision(frozen["trainer"]["precision"], device)
    return RunConfig.from_plain(frozen)
