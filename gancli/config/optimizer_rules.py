"""The part `optimizer` of a config against our keys, the optimizer's class, and one step of it."""

from __future__ import annotations

import logging

from gancli.config.build import (
    find_problems,
    locate,
    read_parameters,
)
from gancli.config.closed import SHARED, find_player_problems, find_value_problems
from gancli.config.hints import suggest_name
from gancli.config.plain import Plain
from gancli.config.players import (
    choose_settings,
    describe_fallback,
    try_own_schedules,
)
from gancli.config.schema import PlayerConfig, list_fields
from gancli.config.values import BETA
from gancli.errors import Problem, UserError
from gancli.game import Game
from gancli.optimizers import describe_division, make_player, try_step
from gancli.render.notes import note

log = logging.getLogger("gancli")


INHERITED = ("weight_decay", "betas")  # keys that every option of optimizer/ brings along


def find_optimizer_problems(spec: object) -> list[Problem]:
    """Checks the part `optimizer`: every player's keys, and its class."""
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
        parts = {where: {key: value for key, value in values.items() if key not in ours}}
        if isinstance(values.get("rest"), dict):
            parts[f"{where}.rest"] = values["rest"]
        found += [
            problem
            for place, theirs in parts.items()
            for problem in find_torch_problems(theirs, place)
        ]
    return found or try_own_schedules(spec)


def find_torch_problems(values: Plain, where: str) -> list[Problem]:
    """Checks the keys of a player that go to its optimizer against that optimizer's class.

    Args:
        values: Without our own keys.
        where: Their place, for the messages.
    """
    try:
        cls = locate(values.get("_target_"), trust=None)
    except UserError as error:
        return [(f"{where}._target_: {error.message}", error.hint)]
    known = [name for name in read_parameters(cls) if name not in ("params", "self")]
    ours = list_fields(PlayerConfig)
    words = f"{cls.__name__} takes {', '.join(known)}; of our own keys {', '.join(ours)}"
    found: list[Problem] = []
    checked = {}
    for key, value in values.items():
        if key != "_target_" and key not in known:
            close = suggest_name(key, [*known, *ours])
            drop = f"~{where}.{key} drops it. {words}"
            hint = close if close.startswith("did you") and key not in INHERITED else drop
            found.append((f"{where}.{key}: {cls.__name__} takes no {key!r}", hint))
        elif key not in SHARED or (key == "betas" and is_list_of_betas(value)):
            checked[key] = value
    settled = tuple(key for key in SHARED if key not in checked)
    return find_problems(checked, where=where, trust=None, given=("params", *settled)) + found


def is_list_of_betas(value: object) -> bool:
    """Do they fit but for their number, which the optimizer's class knows?"""
    return not find_value_problems(value, SHARED["betas"], where="betas", bound=BETA)


def try_player_optimizers(game: Game, specs: Plain) -> list[Problem]:
    """Finds what only building the optimizers shows.

    They are built on the meta device, and one step of each is tried on a small matrix. Where they
    fit it is told what players fall back to, and which of two optimizers moves what.

    Args:
        game: On the meta device.
        specs: Player -> description of its optimizer.
    """
    found: dict[Problem, None] = {}
    told: list[str] = []
    players = game.players()
    for name in players:
        key = choose_settings(name, specs)
        where = f"optimizer.{key}"
        target = str(specs[key]["_target_"])
        hint = "choose another optimizer, such as optimizer=adam_b05 (gan list optimizer)"
        if name not in specs:
            told.append(describe_fallback(name, specs["g"]))
        try:
            division = describe_division(make_player(game, name, specs, ghost=True))
            if division:
                told.append(f"optimizer.{name}: {division}")
            for place, spec in ((where, specs[key]), (f"{where}.rest", specs[key].get("rest"))):
                if spec and str(spec["_target_"]).startswith("torch.optim."):
                    try_step(spec, where=place)
        except UserError as error:
            message = error.message.removeprefix(f"{where}: ")
            found[
                f"{where}: {target.rpartition('.')[2]} cannot train this model: {message}", hint
            ] = None
    if not found:
        for line in told:
            note(log, "%s", line)
    return list(found)
