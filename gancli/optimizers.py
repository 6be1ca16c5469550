"""One optimizer per player: a torch.optim class plus the learning-rate schedule, weight terms and
clipping of its config."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from gancli.config.build import build, first_line, read_signature
from gancli.config.schema import PlayerConfig
from gancli.config.values import show
from gancli.errors import UserError
from gancli.files.reading import number
from gancli.game import Game
from gancli.schedules import lr_factor, schedule

# How an optimizer computes: a device or a version may change it.
LOOSE = ("fused", "foreach", "capturable")
# settings that torch itself fills in for states of older versions
NEWER = ("amsgrad", "maximize", "differentiable", "decoupled_weight_decay")
OURS = tuple(field.name for field in dataclasses.fields(PlayerConfig))


class Player:
    """modules: the networks that this player moves; what is frozen in them now stays frozen.

    spec: `{_target_: torch.optim.Adam, lr: ..., clip: ..., ...}`; lazy: k, if it also moves in a
    phase due every k steps; then c = k / (k + 1) corrects Adam: lr * c, betas ** c (StyleGAN2,
    appendix B); beta2: betas[1] by schedule."""

    def __init__(self, modules: list[nn.Module], spec: dict, *, lazy: int | None = None):
        self.modules = modules
        # dict: a module shared by two networks is moved once. What is frozen now must not be
        # unfrozen with its player.
        self.parameters = list(
            dict.fromkeys(p for m in modules for p in m.parameters() if p.requires_grad)
        )
        self.ours = PlayerConfig(**{key: spec[key] for key in OURS if key in spec})
        theirs = {key: value for key, value in spec.items() if key not in OURS}
        self.lazy = c = 1.0 if lazy is None else lazy / (lazy + 1)
        self.lr = theirs["lr"] * c
        self.beta2 = None if self.ours.beta2 is None else schedule(self.ours.beta2)
        if "betas" in theirs:
            theirs["betas"] = [beta**c for beta in theirs["betas"]]
        if "fused" in read_signature(theirs["_target_"]):
            # One kernel for all tensors, on every device that we support.
            theirs.setdefault("fused", True)
        # Trusted: whoever made this config has passed the gates, which looked at every class in it.
        self.optimizer = build(theirs | {"lr": self.lr}, trust=None, params=self.parameters)
        self.matrices = find_matrices(modules) if self.ours.orthogonal else []

    def begin(self) -> None:
        for p in self.parameters:
            p.requires_grad_(True)
            p.grad = None

    def step(self, nimg: int) -> None:
        """Gradients stand in .grad, averaged. nimg: real images shown so far, which schedules
        read."""
        ours = self.ours
        if ours.l1:
            for p in self.parameters:
                if p.grad is not None:
                    p.grad.add_(p.detach().sign(), alpha=ours.l1)
        for p in self.matrices:
            if p.grad is not None:
                p.grad.add_(orthogonal_gradient(p.detach()), alpha=ours.orthogonal)
        if ours.clip is not None:
            for module in self.modules:
                torch.nn.utils.clip_grad_norm_(module.parameters(), ours.clip)
        factor = lr_factor(
            nimg,
            kind=ours.schedule,
            start_kimg=ours.start_kimg,
            end_kimg=ours.end_kimg,
            final=ours.final,
            step_kimg=ours.step_kimg,
            gamma=ours.gamma,
            warmup_kimg=ours.warmup_kimg,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * factor
            if self.beta2 is not None:
                group["betas"] = (group["betas"][0], self.beta2(nimg) ** self.lazy)
        self.optimizer.step()


def find_matrices(modules: list[nn.Module]) -> list[nn.Parameter]:
    """The weights of linear and convolutional layers; embeddings stay free, as BigGAN's shared one
    does."""
    tables = {
        id(p)
        for m in modules
        for e in m.modules()
        if isinstance(e, nn.Embedding)
        for p in e.parameters()
    }
    return [
        p
        for m in modules
        for p in m.parameters()
        if p.requires_grad and p.ndim >= 2 and id(p) not in tables
    ]


def orthogonal_gradient(weight: Tensor) -> Tensor:
    """Gradient of |W W^T * (1 - I)|^2, W of shape (out, rest): filters shall be orthogonal, of any
    length (Brock 2019, eq. 3)."""
    w = weight.flatten(1)
    gram = w @ w.T
    return (4 * (gram - torch.diag(gram.diagonal())) @ w).view_as(weight)


def make_players(game: Game, specs: dict[str, dict], *, ghost: bool = False) -> dict[str, Player]:
    """The players of a game with their optimizers.

    Args:
        game: the game, with its phases.
        specs: player -> description of its optimizer; a player without one takes that of "g".
        ghost: the game is on the meta device, where fused optimizers cannot be built.
    """
    return {
        name: make_player(game, name, specs.get(name) or specs["g"], ghost=ghost)
        for name in game.players()
    }


def make_player(game: Game, name: str, spec: dict, *, ghost: bool = False) -> Player:
    """One player of a game with its optimizer; ghost: as in `make_players`."""
    lazy = {name: phase.every for phase in game.phases() if phase.lazy for name in phase.updates}
    if ghost and "fused" in read_signature(spec["_target_"]):
        spec = spec | {"fused": False}
    return Player(game.players()[name], spec, lazy=lazy.get(name))


def try_step(spec: dict) -> None:
    """Moves a small matrix by an optimizer of torch. Raises UserError where it asks for more than gradients.

    LBFGS evaluates the loss several times in a step, and SparseAdam takes sparse gradients alone."""
    matrix = nn.Parameter(torch.zeros(2, 2, device="cpu"))
    matrix.grad = torch.zeros_like(matrix)
    theirs = {key: value for key, value in spec.items() if key not in OURS}
    optimizer = build(theirs, trust=None, params=[matrix])
    try:
        optimizer.step()
    except TypeError as error:
        raise UserError("it evaluates the loss several times in a step") from error
    except (RuntimeError, ValueError) as error:
        raise UserError(first_line(error)) from error


def misfit_of(state: object, player: Player) -> str:
    """Why a stored optimizer state does not belong to a player's optimizer, in words; "" if it
    does.

    player: one of the game on the meta device. Nothing is allocated."""
    own = player.optimizer.state_dict()["param_groups"]
    if not isinstance(state, dict) or state.keys() != {"state", "param_groups"}:
        return "it has not the parts state and param_groups"
    groups = state["param_groups"]
    if not isinstance(groups, list) or len(groups) != len(own):
        return "it has another number of groups"
    for group, mine in zip(groups, own, strict=True):
        if not isinstance(group, dict) or group.get("params") != mine["params"]:
            return f"it moves other parameters, the player has {len(mine['params'])}"
        lacking = mine.keys() - group.keys() - {*LOOSE, *NEWER}
        if lacking:
            return f"its group lacks {', '.join(sorted(lacking))}"
        for key, value in group.items():
            if key != "params" and not is_setting(value, mine.get(key), fixed=key not in LOOSE):
                return f"{key}={show(value)}"
    parameters = player.parameters
    wanted = state_after_step(player)
    if not isinstance(state["state"], dict):
        return "its state is no mapping"
    for index, entry in state["state"].items():
        if type(index) is not int or not 0 <= index < len(parameters):
            return f"it knows a parameter {show(index)}, the player has {len(parameters)}"
        problem = misfit_of_entry(
            entry,
            parameters[index],
            None if wanted is None else wanted[index],
            ours=type(player.optimizer).__module__.startswith("torch.optim."),
        )
        if problem:
            return f"of parameter {index}, {problem}"
    return ""


def is_setting(value: object, mine: object, *, fixed: bool) -> bool:
    """Is it a plain value such as an optimizer's group holds? fixed: it must be what the config
    says, where that says anything."""
    if isinstance(value, list | tuple):
        return len(value) <= 4 and all(is_setting(item, None, fixed=False) for item in value)
    if isinstance(value, Tensor):  # a learning rate of a captured graph
        return value.ndim == 0 and value.is_floating_point() and bool(value.isfinite())
    if isinstance(value, bool | str) or value is None:
        return not fixed or mine is None or value == mine
    return isinstance(value, int | float) and number(value) is not None


def state_after_step(player: Player) -> list[dict] | None:
    """What the optimizer keeps for each parameter once it has moved; None where that cannot be
    tried on the meta device."""
    for p in player.parameters:
        p.grad = torch.zeros_like(p)
    try:
        player.optimizer.step()
    except Exception:  # noqa: BLE001 - of an optimizer that reads its tensors, or is the user's own
        return None
    return [player.optimizer.state.get(p, {}) for p in player.parameters]


def misfit_of_entry(entry: object, parameter: Tensor, wanted: dict | None, *, ours: bool) -> str:
    """Why what a file keeps for one parameter is not what its optimizer would keep; "" if it is.

    wanted: what it would keep, None where that is not known. ours: it is one of torch.optim, whose
    shapes follow the parameter's; those of the user's own optimizer may be any."""
    if not isinstance(entry, dict):
        return "its state is no mapping"
    if wanted is not None and entry.keys() != wanted.keys():
        return f"it keeps {show(sorted(map(str, entry)))} instead of {show(sorted(wanted))}"
    for key, value in entry.items():
        mine = None if wanted is None else wanted[key]
        if not isinstance(value, Tensor):
            if isinstance(mine, Tensor) or not is_setting(value, None, fixed=False):
                return f"{key}={show(value)}"
            continue
        if wanted is not None:
            fits = isinstance(mine, Tensor) and value.shape == mine.shape
        else:
            fits = not ours or value.ndim == 0 or is_reduced(value.shape, parameter.shape)
        if not fits or not value.is_floating_point():
            return f"{key} is a tensor of shape {tuple(value.shape)} and {value.dtype}"
        if not value.isfinite().all():
            return f"{key} is not finite"
    return ""


def is_reduced(shape: torch.Size, whole: torch.Size) -> bool:
    """Is it the shape of a tensor some of whose dimensions were summed to 1 (Adafactor's)?"""
    return len(shape) == len(whole) and all(a in (1, b) for a, b in zip(shape, whole, strict=True))
