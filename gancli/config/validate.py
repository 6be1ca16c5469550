"""Gate 2: fills every `auto`, binds every key to its class, reports all that is wrong at once."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from gancli import distributed
from gancli.config.build import (
    PARTS,
    find_own_problems,
    find_problems,
    read_parameters,
)
from gancli.config.closed import find_closed_problems
from gancli.config.experiments import explain_model_keys
from gancli.config.fill import (
    check_assumed_dataset,
    check_dataset,
    fill_autos,
    fill_conditional,
    fill_dataset,
)
from gancli.config.game_rules import check_game, locate_game
from gancli.config.hints import suggest_name
from gancli.config.loggers import USUAL, find_logger_problems
from gancli.config.optimizer_rules import find_optimizer_problems
from gancli.config.own_metrics import fill_best_mode, find_own_metric_problems
from gancli.config.plain import Plain, read_plain
from gancli.config.players import (
    complete_players,
)
from gancli.config.published import find_published_problems
from gancli.config.resolve import drop_key, find_shared_keys, resolve_config
from gancli.config.run_config import RunConfig
from gancli.config.schema import CLOSED, OWN_FOLDER, TOP_KEYS
from gancli.config.values import NONNEGATIVE, is_spec, show
from gancli.data.folder import FOLDERS, listing
from gancli.errors import Problem, Problems
from gancli.metrics import settings
from gancli.modality import make_modality
from gancli.precision import resolve_device, resolve_precision
from gancli.render.notes import note

log = logging.getLogger("gancli")
SOURCE = re.compile(r"\$\{([\w.]*\w)\}")  # an interpolation of another key alone
NEED_HELD = ("memorisation", "overfitting")  # items that need held-out images
NOTHING_TO_LEARN = (
    "loss=none leaves this model nothing to learn from: it has a discriminator, and no target",
    "choose a loss, such as loss=non_saturating (gan list loss)",
)
NOTHING_TO_FREEZE = (
    "init.freeze_d keeps the discriminator's first blocks as they are, and without init= they are "
    "random",
    "add init=RUN, the run to start from, or leave init.freeze_d out",
)


def validate(cfg: DictConfig, *, data: bool = True, typed: Sequence[str] = ()) -> RunConfig:
    """Makes the frozen config: resolved, free of `auto`, and enough to rebuild the game.

    Args:
        cfg: A config that has passed gate 1.
        data: False for what needs the networks only: files that are not given are not asked for,
            sizes are assumed and said.
        typed: The words of the command line. Every config has a loss, and a model may take none
            without that being a mistake; it is told only where the loss was typed.

    Raises:
        Problems: With everything that is wrong.
    """
    raw = read_plain(cfg, resolve=False)
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
    found += find_logger_problems(frozen.get("logger", USUAL))
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
    if not closed and frozen["init"]["freeze_d"] and frozen["init"]["path"] is None:
        found.append(NOTHING_TO_FREEZE)
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
        misfits = find_problems(frozen["model"], where="model", trust=None, given=given)
        found += explain_model_keys(misfits, typed)
    if not found:
        found += check_game(frozen, data=data)
    if found:
        raise Problems(name_sources(found, raw))
    say_what_is_not_measured(frozen)
    for name, reason in idle.items():
        if name != "loss" or name in known or is_loss_chosen(typed):
            log.warning("%s has no effect: %s", name, reason)
    return RunConfig.from_plain(frozen)


def name_sources(problems: list[Problem], raw: Plain) -> list[Problem]:
    """Names the keys that feed others where a value of these does not fit, each once.

    model.width=-4 is what was typed, and not model.generator.width, which is ${model.width}.

    Args:
        problems: As they were found, after interpolations were resolved.
        raw: The config before that.
    """
    sources = dict(find_sources(raw))
    named: list[Problem] = []
    for message, hint in problems:
        key, equals, rest = message.partition("=")
        seen: set[str] = set()
        while equals and key not in seen:
            seen.add(key)
            key = follow_source(key, sources)
        problem = (f"{key}{equals}{rest}", hint)
        if problem not in named:
            named.append(problem)
    return named


def follow_source(key: str, sources: Mapping[str, str]) -> str:
    """Gives the key that feeds this one, or the part that it is in; else the key as it is."""
    parts = key.split(".")
    for n in range(len(parts), 0, -1):
        source = sources.get(".".join(parts[:n]))
        if source is not None:
            return ".".join([source, *parts[n:]])
    return key


def find_sources(tree: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Finds the keys that take their value as it is from another key, and that one."""
    if isinstance(tree, str):
        if source := SOURCE.fullmatch(tree):
            yield path, source[1]
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from find_sources(value, f"{path}.{key}" if path else str(key))


def find_idle_parts(config: Plain) -> dict[str, str]:
    """Finds the parts of a resolved config that its model does not use, and why."""
    cls = locate_game(config)
    known = read_parameters(cls)
    chosen = [name for name in PARTS if config[name] is not None]
    idle = {name: f"{cls.__name__} takes none" for name in chosen if name not in known}
    if "discriminator" in known and config["model"].get("discriminator") is None:
        reason = f"this {cls.__name__} has no discriminator"
    elif config["loss"] is None:
        reason = "without a loss there is no discriminator"
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


def say_what_is_not_measured(frozen: Plain) -> None:
    """Says what metrics=full cannot tell without held-out images.

    And names the key that holds some out.
    """
    data = frozen["dataset"]
    metrics = frozen["metrics"]
    possible = [item for item in NEED_HELD if item in make_modality(data).items]
    if not possible or data["holdout"] or not metrics["floor"]:
        return
    items = [item for item in possible if item in metrics["items"]]
    if isinstance(data.get("path"), str) and data["_target_"] == OWN_FOLDER:
        files = listing(data["path"], label=data.get("label", FOLDERS), split=data.get("split"))
        n = max(1, len(files) // 10)
    else:
        n = 100
    note(
        log,
        "%s cannot be measured, nor what reals reach: nothing is held out; "
        "dataset.holdout=%d keeps some",
        " and ".join(items) or "the floor",
        n,
    )


def find_unknown_top(raw: Plain) -> list[Problem]:
    """Finds keys at the top of a config that nothing reads."""
    return [
        (f"unknown key {key!r}", suggest_name(str(key), list(TOP_KEYS)))
        for key in raw
        if key not in TOP_KEYS
    ]


def find_part_problems(spec: object, where: str) -> list[Problem]:
    """Finds everything wrong with one of the parts that a model may take."""
    if not isinstance(spec, dict):
        options = f"choose an option (gan list {where}), or change single keys"
        return [(f"{where}={show(spec)} does not fit", options)]
    if where == "loss" and spec.get("_target_") is None:
        return [NOTHING_TO_LEARN]
    return find_problems(spec, where=where, trust=None)


def find_scalar_conflicts(frozen: Plain) -> list[Problem]:
    """Finds conflicts between values of the closed sections."""
    found = settings.problems(frozen["metrics"])
    found += find_own_metric_problems(frozen["metrics"].get("own", {}))
    ranks = distributed.launched_world()
    size = frozen["trainer"]["batch_size"]
    accumulate = frozen["trainer"]["accumulate"]
    if size % (ranks * accumulate):
        found.append(
            (
                f"trainer.batch_size={size} does not divide into {ranks} ranks x {accumulate} "
                "micro-batches",
                f"use a multiple of {ranks * accumulate}",
            )
        )
    return found


def find_half_life_problems(ema: object) -> list[Problem]:
    """Finds what is wrong with a schedule of the user's own for the moving average."""
    spec = ema.get("half_life_kimg") if isinstance(ema, dict) else None
    if not is_spec(spec):
        return []
    return find_own_problems(spec, where="ema.half_life_kimg", bound=NONNEGATIVE)


def revalidate(stored: Mapping[str, Any]) -> RunConfig:
    """Checks the plain config of a checkpoint, some of whose keys were typed anew.

    Raises:
        Problems: With everything that is wrong.
    """
    frozen = {key: stored[key] for key in TOP_KEYS if key in stored}
    frozen["trainer"] = dict(stored["trainer"])
    found = find_closed_problems(frozen, CLOSED) + find_half_life_problems(frozen["ema"])
    found += find_published_problems(frozen.get("published"))
    found += find_logger_problems(frozen.get("logger", USUAL))
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
