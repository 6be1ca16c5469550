"""Games of several discriminators: their losses in one."""

from __future__ import annotations

import torch
from torch import Tensor

from gancli.game import Logs

ALONE = ("sign_real",)  # what is logged as a mean over the discriminators alone


def sum_losses(results: dict[str, tuple[Tensor, Logs]]) -> tuple[Tensor, Logs]:
    """Sums the losses of several discriminators, and names each one's logs.

    The means of all stand without a name: the watchdog and adaptive augmentation read them (the
    sign of reals, which nobody else does, only so).
    """
    logs: Logs = {}
    for key in next(iter(results.values()))[1]:
        # All have the same keys: the losses are copies of one.
        logs[key] = torch.stack([part[key] for _, part in results.values()]).mean()
    for name, (_, part) in results.items():
        logs |= {f"{name}_{key}": value for key, value in part.items() if key not in ALONE}
    return torch.stack([loss for loss, _ in results.values()]).sum(), logs
