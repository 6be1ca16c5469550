"""One player's optimizers: torch.optim classes, and what a config adds to them.

A config adds the schedule of the learning rate, weight terms and clipping.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gancli.config.build import build, build_schedule, read_signature
from gancli.config.players import choose_settings
from gancli.config.schema import PlayerConfig
from gancli.config.values import show
from gancli.errors import UserError, first_line
from gancli.files.reading import convert_number
from gancli.game import Game
from gancli.schedules import Constant, OwnSchedule, Schedule, lr_factor

# How an optimizer computes: a device or a version may change it.
LOOSE = ("fused", "foreach", "capturable")
# settings that torch itself fills in for states of older versions
NEWER = ("amsgrad", "maximize", "differentiable", "decoupled_weight_decay")
OURS = tuple(field.name for field in dataclasses.fields(PlayerConfig))


@dataclass(frozen=True)
class Mover:
    """One torch optimizer and the parameters that it moves.

    Attributes:
        optimizer: Of torch.optim, or the user's own.
        parameters: In the order in which the optimizer's state numbers them.
        lr: The learning rate by images shown, before any factor.
    """

    optimizer: torch.optim.Optimizer
    parameters: list[nn.Parameter]
    lr: Schedule | Constant | OwnSchedule


class Player:
    """The networks that move together, with their optimizer.

    Where `spec` has a part `rest`, that describes a second optimizer: the first one moves the
    matrices of linear layers, as Muon must, and the second one all other parameters. Weight terms,
    clipping and the schedule of the learning rate are the same for both.

    Args:
        modules: The networks; what is frozen in them now stays frozen.
        spec: `{_target_: torch.optim.Adam, lr: ..., clip: ..., ...}`.
        lazy: k, if the player also moves in a phase that is due every k steps; then
            c = k / (k + 1) corrects Adam: lr * c, betas ** c (Karras et al. 2020, appendix B).
        ghost: The networks are on the meta device, where fused optimizers cannot be built.
        where: The key of `spec`, for the messages.

    Raises:
        UserError: The optimizer cannot be built, or there is no matrix for the first of two.
    """

    def __init__(
        self,
        modules: list[nn.Module],
        spec: dict,
        *,
        lazy: int | None = None,
        ghost: bool = False,
        where: str = "optimizer",
    ):
        self.modules = modules
        # dict: a module shared by two networks is moved once. What is frozen now must not be
        # unfrozen with its player.
        self.parameters = list(
            dict.fromkeys(p for m in modules for p in m.parameters() if p.requires_grad)
        )
        self.ours = PlayerConfig(**{key: spec[key] for key in OURS if key in spec})
        theirs = {key: value for key, value in spec.items() if key not in OURS}
        # A lazy phase makes k + 1 updates of k: lr, and betas as exponents, are corrected by the
        # share k / (k + 1) (Karras 2020, appendix B).
        self.lazy = 1.0 if lazy is None else lazy / (lazy + 1)
        self.beta2 = (
            None
            if self.ours.beta2 is None
            else build_schedule(self.ours.beta2, where=f"{where}.beta2")
        )
        self.movers = [
            self.make_mover(part, parameters, ghost=ghost, where=place)
            for part, parameters, place in self.divide(theirs, where)
        ]
        self.matrices = find_matrices(modules) if self.ours.orthogonal else []

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The first torch optimizer, in most cases the only one."""
        return self.movers[0].optimizer

    def divide(self, theirs: dict, where: str) -> list[tuple[dict, list[nn.Parameter], str]]:
        """Says which optimizer moves which parameters. Raises UserError where one has none.

        Args:
            theirs: The keys of the first optimizer.
            where: Their key, for the messages.

        Returns:
            Keys of an optimizer, what it moves, and where the keys stand.
        """
        if self.ours.rest is None:
            return [(theirs, self.parameters, where)]
        flat = {id(p) for p in find_matrices(self.modules) if p.ndim == 2}
        matrices = [p for p in self.parameters if id(p) in flat]
        others = [p for p in self.parameters if id(p) not in flat]
        if not matrices:
            raise UserError("it moves the weights of linear layers, and there is none")
        parts = [(theirs, matrices, where), (self.ours.rest, others, f"{where}.rest")]
        return [part for part in parts if part[1]]

    def make_mover(
        self, theirs: dict, parameters: list[nn.Parameter], *, ghost: bool, where: str
    ) -> Mover:
        """Builds one torch optimizer. Raises UserError."""
        lr = build_schedule(theirs["lr"], where=f"{where}.lr")
        theirs = theirs | {"lr": lr(0) * self.lazy}
        if "betas" in theirs:
            theirs["betas"] = [beta**self.lazy for beta in theirs["betas"]]
        if "fused" in read_signature(theirs["_target_"]):
            # One kernel for all tensors, on every device that we support.
            theirs = {"fused": True} | theirs | ({"fused": False} if ghost else {})
        # Trusted: whoever made this config has passed the gates, which looked at every class in it.
        optimizer = build(theirs, where=where, trust=None, params=parameters)
        return Mover(optimizer, parameters, lr)

    def begin(self) -> None:
        """Unfreezes the player's parameters and drops their gradients."""
        for p in self.parameters:
            p.requires_grad_(True)
            # None and not 0: Adam's moments would move a parameter that this phase does not reach.
            p.grad = None

    def step(self, nimg: int) -> None:
        """Moves the parameters by the gradients that stand in .grad, averaged over ranks.

        Args:
            nimg: Real images shown so far, which schedules read.
        """
        ours = self.ours
        # Weight terms come once a step, after the mean over shards, and before the clip: what is
        # clipped is the whole gradient.
        if ours.l1:
            for p in self.parameters:
                if p.grad is not None:
                    p.grad.add_(p.detach().sign(), alpha=ours.l1)
        for p in self.matrices:
            if p.grad is not None:
                p.grad.add_(orthogonal_gradient(p.detach()), alpha=ours.orthogonal)
        if ours.clip is not None:
            for module in self.modules:
                # Per network: a large gradient of one must not shrink another's.
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
        for mover in self.movers:
            for group in mover.optimizer.param_groups:
                group["lr"] = mover.lr(nimg) * self.lazy * factor
                if self.beta2 is not None and "betas" in group:
                    group["betas"] = (group["betas"][0], self.beta2(nimg) ** self.lazy)
            mover.optimizer.step()

    def drop_moments(self) -> None:
        """Forgets what the optimizers have averaged: the networks have changed their shape."""
        for mover in self.movers:
            mover.optimizer.state.clear()

    def state_dict(self) -> dict:
        """Returns the optimizer's state; of two optimizers a list of both, under "movers"."""
        states = [mover.optimizer.state_dict() for mover in self.movers]
        return states[0] if len(states) == 1 else {"movers": states}

    def load_state_dict(self, state: dict) -> None:
        """Takes over what `state_dict` has returned."""
        states = [state] if len(self.movers) == 1 else state["movers"]
        for mover, own in zip(self.movers, states, strict=True):
            mover.optimizer.load_state_dict(own)


def describe_division(player: Player) -> str:
    """Says which of two optimizers moves how much; "" where there is one alone."""
    if len(player.movers) == 1:
        return ""
    first, second = player.movers
    n = sum(p.numel() for p in first.parameters)
    size = f"{n / 1e6:.1f} M" if n >= 1e5 else f"{n:,}"
    matrices = "1 matrix" if len(first.parameters) == 1 else f"{len(first.parameters)} matrices"
    return (
        f"{type(first.optimizer).__name__} moves {matrices} ({size} parameters), "
        f"{type(second.optimizer).__name__} {len(second.parameters)} others"
    )


def find_matrices(modules: list[nn.Module]) -> list[nn.Parameter]:
    """Finds the weights of linear and convolutional layers.

    Embeddings are left out: their rows are looked up one by one, as those of BigGAN's shared one.
    """
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
    """Computes the gradient of |W W^T * (1 - I)|^2: filters shall be orthogonal, of any length.

    Args:
        weight: W as (out, ...), flattened to (out, rest) (Brock et al. 2019, eq. 3).
    """
    w = weight.flatten(1)
    gram = w @ w.T
    # Written out: of M = W W^T off its diagonal, |M|^2 has the gradient 4 M W.
    return (4 * (gram - torch.diag(gram.diagonal())) @ w).view_as(weight)


def make_players(game: Game, specs: dict[str, dict], *, ghost: bool = False) -> dict[str, Player]:
    """Makes the players of a game with their optimizers.

    Args:
        game: The game, with its phases.
        specs: Player -> description of its optimizer; a player without one takes that of "g".
        ghost: The game is on the meta device, where fused optimizers cannot be built.
    """
    return {name: make_player(game, name, specs, ghost=ghost) for name in game.players()}


def make_player(game: Game, name: str, specs: dict[str, dict], *, ghost: bool = False) -> Player:
    """Makes one player of a game with its optimizer; its arguments are those of `make_players`."""
    key = choose_settings(name, specs)
    intervals = [phase.every for phase in game.phases() if phase.lazy and name in phase.updates]
    lazy = intervals[-1] if intervals else None
    return Player(
        game.players()[name], specs[key], lazy=lazy, ghost=ghost, where=f"optimizer.{key}"
    )


def try_step(spec: dict, *, where: str) -> None:
    """Moves a small matrix by the optimizer that a player's description names.

    LBFGS evaluates the loss several times in a step, and SparseAdam takes sparse gradients alone.

    Args:
        spec: The description.
        where: Its key, for the messages.

    Raises:
        UserError: The optimizer asks for more than gradients.
    """
    matrix = nn.Parameter(torch.zeros(2, 2, device="cpu"))
    matrix.grad = torch.zeros_like(matrix)
    theirs = {key: value for key, value in spec.items() if key not in OURS}
    theirs["lr"] = build_schedule(theirs["lr"], where=f"{where}.lr")(0)
    optimizer = build(theirs, where=where, trust=None, params=[matrix])
    try:
        optimizer.step()
    except TypeError as error:
        raise UserError("it evaluates the loss several times in a step") from error
    except (RuntimeError, ValueError) as error:
        raise UserError(first_line(error)) from error


def misfit_of(state: object, player: Player) -> str:
    """Says why a stored optimizer state does not belong to a player's optimizers.

    Nothing is allocated.

    Args:
        state: As a file holds it.
        player: One of the game on the meta device.

    Returns:
        The reason in words, "" where the state fits.
    """
    if len(player.movers) == 1:
        return misfit_of_mover(state, player.movers[0])
    states = state.get("movers") if isinstance(state, dict) else None
    if not isinstance(states, list) or len(states) != len(player.movers):
        return f"it has not the states of {len(player.movers)} optimizers"
    found = [misfit_of_mover(own, mover) for own, mover in zip(states, player.movers, strict=True)]
    return next(filter(None, found), "")


def misfit_of_mover(state: object, mover: Mover) -> str:
    """Says why a stored state does not belong to one torch optimizer; "" where it does."""
    own = mover.optimizer.state_dict()["param_groups"]
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
    parameters = mover.parameters
    wanted = state_after_step(mover)
    if not isinstance(state["state"], dict):
        return "its state is no mapping"
    for index, entry in state["state"].items():
        if type(index) is not int or not 0 <= index < len(parameters):
            return f"it knows a parameter {show(index)}, the player has {len(parameters)}"
        problem = misfit_of_entry(
            entry,
            parameters[index],
            None if wanted is None else wanted[index],
            ours=f"{type(mover.optimizer).__module__}.".startswith("torch.optim."),
        )
        if problem:
            return f"of parameter {index}, {problem}"
    return ""


def is_setting(value: object, mine: object, *, fixed: bool) -> bool:
    """Says whether a value is a plain one such as an optimizer's group holds.

    Args:
        value: As a file holds it.
        mine: As the config's own optimizer has it; None where it says nothing.
        fixed: The two must be equal.
    """
    if isinstance(value, list | tuple):
        return len(value) <= 4 and all(is_setting(item, None, fixed=False) for item in value)
    if isinstance(value, Tensor):  # a learning rate of a captured graph
        return value.ndim == 0 and value.is_floating_point() and bool(value.isfinite())
    if isinstance(value, bool | str) or value is None:
        return not fixed or mine is None or value == mine
    return isinstance(value, int | float) and convert_number(value) is not None


def state_after_step(mover: Mover) -> list[dict] | None:
    """Returns what the optimizer keeps for each parameter once it has moved.

    None where that cannot be tried on the meta device.
    """
    for p in mover.parameters:
        p.grad = torch.zeros_like(p)
    try:
        mover.optimizer.step()
    except Exception:  # noqa: BLE001 - of an optimizer that reads its tensors, or is the user's own
        return None
    return [mover.optimizer.state.get(p, {}) for p in mover.parameters]


def misfit_of_entry(entry: object, parameter: Tensor, wanted: dict | None, *, ours: bool) -> str:
    """Says why what a file keeps for one parameter is not what its optimizer would keep.

    Args:
        entry: As the file holds it.
        parameter: Of the game on the meta device.
        wanted: What the optimizer would keep; None where that is not known.
        ours: It is one of torch.optim, whose shapes follow the parameter's; those of the user's own
            optimizer may be any.

    Returns:
        The reason in words, "" where it fits.
    """
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
    """Says whether a shape is that of a tensor summed over some dimensions, as Adafactor's."""
    return len(shape) == len(whole) and all(a in (1, b) for a, b in zip(shape, whole, strict=True))
