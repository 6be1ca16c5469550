"""The game of a config without its numbers: shapes on the meta device, which take no memory."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gancli.config.build import build_game
from gancli.config.plain import Plain
from gancli.game import Game

FILLS = {
    *(Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_),
    *(nn.init.normal_, nn.init.trunc_normal_, nn.init.uniform_, nn.init.constant_),
    *(nn.init.ones_, nn.init.zeros_, nn.init.orthogonal_),
    *(nn.init.kaiming_normal_, nn.init.kaiming_uniform_),
    *(nn.init.xavier_normal_, nn.init.xavier_uniform_),
}
DRAWS = {torch.randn, torch.rand}
SCALES = {Tensor.__truediv__, Tensor.div, torch.div}


class BlankWeights(TorchFunctionMode):
    """Leaves out what gives tensors of the meta device their first values, of which they keep none.

    torch does these operations in Python there, slowly, and loads its compiler with the first,
    which takes half a second.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],  # torch's own signature
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Does an operation, or gives a tensor of its shape."""
        named = kwargs or {}
        if func in DRAWS and torch.device(named.get("device") or "meta").type == "meta":
            return torch.empty(*args, **{k: v for k, v in named.items() if k != "generator"})
        first = args[0] if args else named.get("tensor")
        if isinstance(first, Tensor) and first.is_meta:
            if func in FILLS:
                return first
            by_number = func in SCALES and len(args) == 2 and isinstance(args[1], numbers.Real)
            if func is F.normalize or by_number:
                return torch.empty(first.shape, dtype=first.dtype)  # not empty_like: Python again
        return func(*args, **named)


def build_ghost(config: Plain, *, trust: tuple[str, ...] | None = ()) -> Game:
    """Builds the game of a frozen config on the meta device.

    Args:
        config: The plain config.
        trust: Packages of the user's that may be imported; None: any.

    Raises:
        UserError: It cannot be built.
    """
    with torch.device("meta"), BlankWeights():
        return build_game(config, trust=trust)
