"""Terms that are added to the critic's loss: they see scores and gradients of a critic, never a
network."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gancli.game import Critic, Progress
from gancli.schedules import Number, schedule


class Penalty(nn.Module):
    """May have buffers (they are saved), never parameters.

    weight: a number, or a schedule over images. every: steps between two uses; start: the first
    step.
    per_sample: it reads one gradient per sample, which batch normalisation in the critic would mix.
    """

    per_sample = False

    def __init__(self, *, weight: Number, every: int = 1, start: int = 0):
        super().__init__()
        if every < 1 or start < 0:
            raise ValueError(
                f"every={every}, start={start}: a penalty is due every 1 step or more, from step 0 "
                "or later"
            )
        self.weight = schedule(weight)
        self.every = every
        self.start = start

    def apply_weight(self, term: Tensor, progress: Progress) -> Tensor:
        """Makes of the penalty what is added to the loss.

        Args:
            term: What `forward` has returned, a scalar; this is what the log shows.
            progress: Where training stands; the weight may follow its nimg.

        Returns:
            The term times its weight, and times `every`: a penalty that comes every 16th step
            counts 16 times, so that its mean over steps does not depend on the interval.
        """
        return self.weight(progress.nimg) * self.every * term

    def forward(
        self,
        critic: Critic,
        real: Tensor,
        fake: Tensor | None,
        real_scores: Tensor | None,
        fake_scores: Tensor | None,
        progress: Progress,
    ) -> Tensor:
        """-> scalar. Fakes and scores are None where the penalty is a phase of its own."""
        raise NotImplementedError


class GradientPenalty(Penalty):
    """Mean over samples of (|grad| - target)^2.

    at: interpolate (WGAN-GP, Gulrajani 2017), real (R1), fake (R2, Mescheder 2018), noise (DRAGAN,
    Kodali 2017).
    weight multiplies the squared norm: R1's gamma is twice the weight.
    """

    per_sample = True

    def __init__(
        self,
        *,
        weight: Number,
        at: Literal["interpolate", "real", "fake", "noise"] = "interpolate",
        target: float = 1.0,
        every: int = 1,
        start: int = 0,
    ):
        super().__init__(weight=weight, every=every, start=start)
        self.at = at
        self.target = target

    def point(self, real: Tensor, fake: Tensor | None) -> Tensor:
        """Where the gradient is taken, (N,C,H,W)."""
        if self.at == "real":
            return real
        if self.at == "fake":
            assert fake is not None, "a phase of its own has no fakes: it penalises at the reals"
            return fake
        # one per sample
        amount = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
        if self.at == "noise":
            # One-sided and scaled by the whole batch's deviation, as in the reference code.
            return real + amount * 0.5 * real.std() * torch.rand_like(real)
        assert fake is not None, "a phase of its own has no fakes: it penalises at the reals"
        return torch.lerp(fake.to(real.dtype), real, amount)

    def forward(
        self,
        critic: Critic,
        real: Tensor,
        fake: Tensor | None,
        real_scores: Tensor | None,
        fake_scores: Tensor | None,
        progress: Progress,
    ) -> Tensor:
        # Squared gradients leave the range of half precision.
        with torch.autocast(real.device.type, enabled=False):
            x = self.point(real, fake).detach().to(real.dtype).requires_grad_(True)
            scores = critic(x)
            # A patch critic's sum would scale with the image's area.
            rows = scores.reshape(len(scores), -1).mean(1)
            (grad,) = torch.autograd.grad(rows.sum(), x, create_graph=True)
        # (M,...): with packing one gradient per pack, not per image
        grad = grad.reshape(len(scores), -1)
        if self.target == 0:
            return grad.square().sum(1).mean()  # no root: its slope at 0 is infinite
        length: Tensor = torch.linalg.vector_norm(grad, dim=1)
        return (length - self.target).square().mean()


class ScoreDrift(Penalty):
    """Keeps real scores near zero, where a Wasserstein critic would wander (Karras 2018, appendix
    A.1)."""

    def forward(
        self,
        critic: Critic,
        real: Tensor,
        fake: Tensor | None,
        real_scores: Tensor | None,
        fake_scores: Tensor | None,
        progress: Progress,
    ) -> Tensor:
        assert real_scores is not None, "it belongs to the discriminator's loss, which has scores"
        return real_scores.square().mean()
