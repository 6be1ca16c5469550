"""The part `optimizer` of a config against our keys, the optimizer's class, and one step of it."""

from __future__ import annotations

import logging

from gancli.config.build import (
    find_problems,
    locate,
    read_parameters,
)
from gancli.config.closed import find_player_problems
from gancli.config.hints import suggest_name
from gancli.config.plain import Plain
from gancli.config.players import (
    choose_settings,
    describe_fallback,
    try_own_schedules,
)
from gancli.config.schema import PlayerConfig, list_fields
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


def find_torch_problems(values: Plain, where: str) -> list[Problem]:
    """Checks the keys of a player that go to its optimizer against that optimizer's class."""
    if isinstance(values.get("lr"), dict):
        values = values | {"lr": 1.0}  # a schedule, which is checked as one: torch sees numbers
    found = find_problems(values, where=where, trust=None, given=("params",))
    refused = [key for key in values if any(f"takes no {key!r}" in message for message, _ in found)]
    if not refused:
        return found
    cls = locate(values["_target_"], trust=None)
    known = [name for name in read_parameters(cls) if name not in ("params", "self")]
    ours = ", ".join(list_fields(PlayerConfig))
    words = f"{cls.__name__} takes {', '.join(known)}; of our own keys {ours}"
    found = [problem for problem in found if "takes no" not in problem[0]]
    for key in refused:
        close = suggest_name(key, [*known, *list_fields(PlayerConfig)])
        drop = f"~{where}.{key} drops it. {words}"
        hint = close if close.startswith("did you") and key not in INHERITED else drop
        found.append((f"{where}.{key}: {cls.__name__} takes no {key!r}", hint))
    return found


def try_player_optimizers(game: Game, specs: Plain, *, say: bool) -> list[Problem]:
    """Finds what only building the optimizers shows.

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
        key = choose_settings(name, specs)
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
