"""The part `optimizer` of a config in gate 2: what a player is not told, and schedules of its own.

Classes of the user's own are imported here.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from gancli.config.build import find_own_problems, locate
from gancli.config.plain import Plain
from gancli.config.values import BETA, NONNEGATIVE, is_spec
from gancli.errors import Problem, UserError

# What moves the parameters that Muon does not, where optimizer.<player>.rest does not say; as in
# optimizer=adamw.
REST = {"_target_": "torch.optim.AdamW", "lr": 2e-4, "betas": [0.5, 0.999], "weight_decay": 0.0}
# The keys of a player that may be schedules, with what their values keep to.
SCHEDULED = {"lr": NONNEGATIVE, "beta2": BETA}


def complete_players(specs: object) -> None:
    """Fills in what a player is not told, in place.

    A player without a class of its own (optimizer.e.lr=1e-4 alone) has the settings of g for all
    that is not given; Muon has AdamW for what it does not move.

    Args:
        specs: Player -> description of its optimizer. What does not fit is left as it is: the
            checks tell of it.
    """
    if not isinstance(specs, dict):
        return
    shared = specs.get("g")
    for name, spec in specs.items():
        if not isinstance(spec, dict):
            continue
        if name != "g" and "_target_" not in spec and isinstance(shared, dict):
            spec = specs[name] = shared | spec
        rest = spec.get("rest")
        is_open = rest is None or (isinstance(rest, dict) and "_target_" not in rest)
        if is_open and moves_matrices_alone(spec.get("_target_")):
            spec["rest"] = REST | (rest or {})


def choose_settings(player: str, specs: Container[str]) -> str:
    """Chooses whose part of `optimizer` a player of the game takes: its own, else that of g.

    Args:
        player: Its name in the game.
        specs: The part `optimizer`, or the names in it.
    """
    return player if player in specs else "g"


def moves_matrices_alone(target: object) -> bool:
    """Says whether a class is Muon or derived from it; False where it cannot be imported."""
    if not isinstance(target, str) or not target.startswith("torch.optim."):
        return False
    try:
        return locate(target, trust=None).__name__ == "Muon"
    except UserError:
        return False  # reported where the target itself is checked


def try_own_schedules(specs: Plain) -> list[Problem]:
    """Tries the schedules of the user's own that stand in the players' descriptions."""
    found: list[Problem] = []
    for name, spec in specs.items():
        if not isinstance(spec, dict):
            continue
        rest = spec.get("rest")
        for where, part in (("", spec), (".rest", rest if isinstance(rest, dict) else {})):
            for key, bound in SCHEDULED.items():
                value = part.get(key)
                if is_spec(value):
                    place = f"optimizer.{name}{where}.{key}"
                    found += find_own_problems(value, where=place, bound=bound)
    return found


def describe_fallback(player: str, spec: Plain) -> str:
    """Says whose optimizer a player has that the config has none for.

    Args:
        player: Its name in the game.
        spec: The description of g's optimizer.
    """
    kind = str(spec["_target_"]).rpartition(".")[2]
    lr = describe_rate(spec)
    return f"player {player} has no optimizer of its own: it takes g's ({kind}, lr {lr})"


def describe_rate(spec: Mapping[str, object]) -> str:
    """Describes a player's learning rate in a few words: a number, and where it falls to."""
    lr = spec["lr"]
    if not isinstance(lr, int | float):
        return "by a schedule"
    final = spec.get("final")
    if spec.get("schedule") not in ("linear", "cosine") or not isinstance(final, int | float):
        return f"{lr:g}"
    return f"{lr:g} falling to {lr * final:g}"
