"""Tasks beside real or fake, solved from the discriminator's features.

`model.heads` names any number of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gancli.game import Critic, Logs


class Head(nn.Module):
    """A term of the discriminator's loss, of the generator's, or of the score itself.

    Its parameters move with player d.

    needs_labels: the task is about classes, so the model must be conditional
    scores: it adds to the score, so a loss that constrains the discriminator (WGAN's clip)
    constrains it too
    """

    needs_labels = False
    scores = False

    def attach(self, feature_dim: int) -> None:
        """Builds what depends on the discriminator; the game calls it once, when it is built."""

    def score(self, features: Tensor, label: Tensor | None) -> Tensor | float:
        """Gives (M,1) of features (M,F) and labels (M,), added to the discriminator's score."""
        return 0.0

    def d(
        self, critic: Critic, real: Tensor, fake: Tensor, label: Tensor | None
    ) -> tuple[Tensor | float, Logs]:
        """Gives the discriminator's loss a weighted scalar; real, fake (N,C,H,W), label (N,)."""
        return 0.0, {}

    def g(
        self, critic: Critic, real: Tensor, fake: Tensor, label: Tensor | None
    ) -> tuple[Tensor | float, Logs]:
        """Gives the generator's loss a weighted scalar; arguments as of `d`."""
        return 0.0, {}


def compute_cosines(a: Tensor, b: Tensor) -> Tensor:
    """Likeness (N,M) of (N,D) and (M,D) of length 1, in full precision.

    A temperature multiplies what autocast would round away.
    """
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.T
