"""What tests of losses and of their terms share."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from gancli.game import Critic, Progress
from gancli.losses.penalties import Penalty


def weighted(
    penalty: Penalty,
    critic: Critic | None,
    real: Tensor | None,
    fake: Tensor | None,
    real_scores: Tensor | None,
    fake_scores: Tensor | None,
    progress: Progress,
) -> Tensor:
    """What a penalty adds to the discriminator's loss."""
    term = penalty(critic, real, fake, real_scores, fake_scores, progress)
    return penalty.apply_weight(term, progress)


def write_untrained_squeezenet(folder: Path) -> str:
    """A file of SqueezeNet's first weights: its features still tell images apart."""
    from torchvision.models import squeezenet1_1  # slow to import

    torch.manual_seed(0)
    path = folder / "squeezenet.pth"
    torch.save(squeezenet1_1(weights=None).state_dict(), path)
    return str(path)
