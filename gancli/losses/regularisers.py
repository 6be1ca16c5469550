"""Terms that hold a critic back by its own judgements: those it made before, and those of the same
image, moved a little."""

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
    """Keeps reals near what fakes used to score, and fakes near what reals used to (Tseng 2021,
    section 3, one-sided as in its code).

    decay: of the two running means: 0.9 in BigGAN's code, 0.99 in StyleGAN2's. They begin with the
    scores of the first use, and each rank and micro-batch brings its own scores up to date.
    """

    real: Tensor
    fake: Tensor
    uses: Tensor

    def __init__(self, *, weight: Number, decay: float = 0.9, every: int = 1, start: int = 0):
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
        assert real_scores is not None and fake_scores is not None, NO_SCORES
        self.remember(real_scores.detach().float().mean(), fake_scores.detach().float().mean())
        return lecam(real_scores, fake_scores, self.real, self.fake)

    @torch.no_grad()
    def remember(self, real: Tensor, fake: Tensor) -> None:
        decay = self.decay * (self.uses > 0)
        self.real.lerp_(real, 1 - decay)
        self.fake.lerp_(fake, 1 - decay)
        self.uses += 1


def lecam(
    real: Tensor, fake: Tensor, real_before: Tensor | float, fake_before: Tensor | float
) -> Tensor:
    """Scores of any shape, and what their means were -> scalar."""
    return F.relu(real - fake_before).square().mean() + F.relu(real_before - fake).square().mean()


class Consistency(Penalty):
    """Squared change of a score when its image is flipped and moved (CR-GAN, Zhang 2020, algorithm
    1).

    fake: how much fakes count beside reals: 0, or 1 for the balanced form (bCR, Zhao 2021). shift:
    the farthest move, as a share of the height and width (1/8 is 4 of 32 pixels); beyond its edges
    the image is mirrored. resolution: of the data.
    Raises UserError for points.
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
    ):
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
        assert real_scores is not None, NO_SCORES
        loss = self.change(critic, real, real_scores)
        if not self.fake:
            return loss
        assert fake is not None and fake_scores is not None, NO_SCORES
        return loss + self.fake * self.change(critic, fake, fake_scores)

    def change(self, critic: Critic, x: Tensor, scores: Tensor) -> Tensor:
        return (scores - critic(self.move_images(x)).float()).square().mean()

    def move_images(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> the same, each image by its own draw."""
        n, _, h, w = x.shape
        side = 1 - 2 * torch.randint(0, 2 if self.flip else 1, (n,), device=x.device)
        dx, dy = (
            torch.randint(-reach, reach + 1, (n, 1), device=x.device)
            for reach in (int(self.shift * w + 0.5), int(self.shift * h + 0.5))
        )
        column, row = raster(h, w, x.device)
        return blit(x, torch.stack([(column - dx) * side[:, None], row - dy], 1))
