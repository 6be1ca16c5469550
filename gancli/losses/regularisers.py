"""Terms that compare a critic's scores with its earlier ones, or with those of moved images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gancli.augment.base import need_images
from gancli.augment.resample import blit, raster
from gancli.game import Critic, Progress
from gancli.losses.penalties import Penalty
from gancli.schedules import Number

NO_SCORES = "it belongs to the discriminator's loss, which has fakes and scores"


class LeCam(Penalty):
    """Keeps reals near what fakes used to score, and fakes near what reals used to.

    The two running means begin with the scores of the first use, and each rank and micro-batch
    brings its own up to date.

    Source: Tseng et al. 2021, section 3; one-sided as in the authors' code.

    Args:
        weight: As in `Penalty`.
        decay: What share of a running mean stays at each use, 0 or more and below 1: 0.9 in
            BigGAN's code, 0.99 in StyleGAN2's.
        every: As in `Penalty`.
        start: As in `Penalty`.

    Raises:
        ValueError: `decay` is out of its range.
    """

    real: Tensor
    fake: Tensor
    uses: Tensor

    def __init__(
        self, *, weight: Number, decay: float = 0.9, every: int = 1, start: int = 0
    ) -> None:
        super().__init__(weight=weight, every=every, start=start)
        if not 0 <= decay < 1:
            raise ValueError(
                f"decay={decay}: give 0 or more, below 1; the larger, the longer the memory"
            )
        self.decay = decay
        for name in ("real", "fake", "uses"):
            self.register_buffer(name, torch.zeros(()))

    def forward(
        self,
        critic: Critic,
        real: Tensor,
        fake: Tensor | None,
        real_scores: Tensor | None,
        fake_scores: Tensor | None,
        progress: Progress,
    ) -> Tensor:
        """Brings the running means up to date, and computes `measure_lecam`."""
        assert real_scores is not None and fake_scores is not None, NO_SCORES
        self.remember(real_scores.detach().float().mean(), fake_scores.detach().float().mean())
        return measure_lecam(real_scores, fake_scores, self.real, self.fake)

    @torch.no_grad()
    def remember(self, real: Tensor, fake: Tensor) -> None:
        """Moves the running means towards the mean scores of this use, 0-d tensors."""
        # No branch: the host would wait for the device to know whether this is the first use.
        decay = self.decay * (self.uses > 0)
        self.real.lerp_(real, 1 - decay)
        self.fake.lerp_(fake, 1 - decay)
        self.uses += 1


def measure_lecam(
    real: Tensor, fake: Tensor, real_before: Tensor | float, fake_before: Tensor | float
) -> Tensor:
    """Computes the squared distances of scores to the other side's mean, on one side of it.

    Args:
        real: Scores of reals, of any shape.
        fake: Scores of fakes, of any shape.
        real_before: The mean that scores of reals had.
        fake_before: The mean that scores of fakes had.

    Returns:
        A scalar; reals below `fake_before` and fakes above `real_before` cost nothing.
    """
    return F.relu(real - fake_before).square().mean() + F.relu(real_before - fake).square().mean()


class Consistency(Penalty):
    """The squared change of a score when its image is flipped and moved.

    Source: CR-GAN, Zhang et al. 2020, algorithm 1.

    Args:
        weight: As in `Penalty`.
        resolution: Of the data, a number or [height, width].
        fake: How much fakes count beside reals: 0, or 1 for the balanced form (bCR, Zhao et al.
            2021).
        flip: Whether half of the images are flipped left to right.
        shift: The farthest move as a share of the height and of the width, 0 up to 1 (1/8 is 4 of
            32 pixels); beyond its edges the image is mirrored.
        every: As in `Penalty`.
        start: As in `Penalty`.

    Raises:
        UserError: The data are points.
        ValueError: `fake` or `shift` is out of its range.
    """

    def __init__(
        self,
        *,
        weight: Number,
        resolution: int | list[int],
        fake: float = 0.0,
        flip: bool = True,
        shift: float = 0.125,
        every: int = 1,
        start: int = 0,
    ) -> None:
        super().__init__(weight=weight, every=every, start=start)
        need_images(resolution, "the consistency penalty")
        if fake < 0 or not 0 <= shift < 1:
            raise ValueError(
                f"fake={fake}, shift={shift}: fake is 0 or more, shift a share of the image from 0 "
                "up to 1"
            )
        self.fake = fake
        self.flip = flip
        self.shift = shift

    def forward(
        self,
        critic: Critic,
        real: Tensor,
        fake: Tensor | None,
        real_scores: Tensor | None,
        fake_scores: Tensor | None,
        progress: Progress,
    ) -> Tensor:
        """Computes the change for reals, plus `fake` times that for fakes."""
        assert real_scores is not None, NO_SCORES
        loss = self.measure_change(critic, real, real_scores)
        if not self.fake:
            return loss
        assert fake is not None and fake_scores is not None, NO_SCORES
        return loss + self.fake * self.measure_change(critic, fake, fake_scores)

    def measure_change(self, critic: Critic, x: Tensor, scores: Tensor) -> Tensor:
        """Computes the mean squared change of scores when their images are moved.

        Args:
            critic: Images in, raw scores out.
            x: (N,C,H,W) in [-1,1].
            scores: What the critic gave them.
        """
        # Both scores carry gradient: neither is the other's target.
        return (scores - critic(self.move_images(x)).float()).square().mean()

    def move_images(self, x: Tensor) -> Tensor:
        """Flips and shifts each image by a draw of its own; (N,C,H,W) -> the same shape."""
        n, _, h, w = x.shape
        # `raster` counts from the image's middle, so a factor of -1 mirrors left to right.
        side = 1 - 2 * torch.randint(0, 2 if self.flip else 1, (n,), device=x.device)
        dx, dy = (
            torch.randint(-reach, reach + 1, (n, 1), device=x.device)
            for reach in (int(self.shift * w + 0.5), int(self.shift * h + 0.5))
        )
        column, row = raster(h, w, x.device)
        return blit(x, torch.stack([(column - dx) * side[:, None], row - dy], 1))
