"""What the two sides want: functions of the critic's raw scores, with a target per score."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# 1 means real, 0 fake; between, beyond or one per score where label tricks are on.
Target = float | Tensor


class Objective:
    """real, fake: raw scores of any equal shape -> scalar.

    A subclass gives `judge`, and `g` where it differs.

    relativistic: the generator's loss needs the real scores too.
    boundary: the score of a sample that is as likely real as fake; None where scores count by their
    differences alone.
    """

    relativistic = False
    boundary: float | None = 0.0

    def judge(self, scores: Tensor, target: Target) -> Tensor:
        """Elementwise cost of scores that ought to say `target`."""
        raise NotImplementedError

    def d(
        self, real: Tensor, fake: Tensor, real_target: Target = 1.0, fake_target: Target = 0.0
    ) -> Tensor:
        return self.judge(real, real_target).mean() + self.judge(fake, fake_target).mean()

    def g(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return self.judge(fake, 1.0).mean()


class NonSaturating(Objective):
    """Cross-entropy with logits; the generator maximises log D(G(z)) (Goodfellow 2014, section
    3)."""

    def judge(self, scores: Tensor, target: Target) -> Tensor:
        return F.softplus(scores) - target * scores


class Saturating(NonSaturating):
    """The minimax game itself: the generator minimises log(1 - D(G(z))) (Goodfellow 2014, equation
    1)."""

    def g(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return -F.softplus(fake).mean()


class LeastSquares(Objective):
    """scale * (score - target)^2 with a for fake, b for real, and c for what the generator wants
    (Mao 2017, eq. 9).

    scale: 0.5 as in the paper, 1 as in CycleGAN."""

    def __init__(self, *, a: float = 0.0, b: float = 1.0, c: float = 1.0, scale: float = 0.5):
        self.a = a
        self.b = b
        self.c = c
        self.scale = scale
        self.boundary = (a + b) / 2

    def judge(self, scores: Tensor, target: Target) -> Tensor:
        return self.scale * (scores - (self.a + target * (self.b - self.a))).square()

    def g(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return self.scale * (fake - self.c).square().mean()


class TwoScaleLeastSquares(LeastSquares):
    """Least squares that the two sides weigh differently, as in CycleGAN's code.

    There the discriminator's loss alone is halved (`errD = (errD_real + errD_fake) / 2`), and the
    generator's is the plain squared distance, which the cycle term is weighed against.

    Args:
        a: score that the discriminator shall give fakes.
        b: score that the discriminator shall give reals.
        c: score that the generator wants for its fakes.
        scale: factor of the discriminator's squared distances, above 0.
        generator_scale: factor of the generator's squared distances, above 0.
    """

    def __init__(
        self, *, a: float, b: float, c: float, scale: float, generator_scale: float
    ) -> None:
        super().__init__(a=a, b=b, c=c, scale=scale)
        self.generator_scale = generator_scale

    def g(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return self.generator_scale * (fake - self.c).square().mean()


class Wasserstein(Objective):
    """Differences of scores (Arjovsky 2017, algorithm 1): needs a Lipschitz critic, by clip or
    penalty."""

    boundary = None

    def judge(self, scores: Tensor, target: Target) -> Tensor:
        return (1 - 2 * target) * scores


class Hinge(Objective):
    """Only scores within the margin count (Lim and Ye 2017; Miyato 2018); the generator's half is
    Wasserstein's."""

    def judge(self, scores: Tensor, target: Target) -> Tensor:
        return target * F.relu(1 - scores) + (1 - target) * F.relu(1 + scores)

    def g(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return -fake.mean()


class RelativisticPairing(NonSaturating):
    """Is this real more real than that fake? (RpGAN, Jolicoeur-Martineau 2018, eq. 3; R3GAN, Huang
    2024, eq. 2)

    There is one term, so only the real target acts."""

    relativistic = True
    boundary = None

    def d(
        self, real: Tensor, fake: Tensor, real_target: Target = 1.0, fake_target: Target = 0.0
    ) -> Tensor:
        # Shapes (N,) and (N,1) would broadcast to N x N pairs and still train, badly.
        assert real.shape == fake.shape, (
            f"{tuple(real.shape)} real scores, {tuple(fake.shape)} fake ones"
        )
        return self.judge(real - fake, real_target).mean()

    def g(self, real: Tensor | None, fake: Tensor) -> Tensor:
        assert real is not None, "a relativistic generator needs the real scores"
        return self.judge(fake - real, 1.0).mean()


class RelativisticAverage(Objective):
    """Each side against the mean of the other (RaGAN, Jolicoeur-Martineau 2018, eq. 6), halved as
    in its code.

    base: how a difference is judged: NonSaturating (RaSGAN), Hinge, or LeastSquares with a=-1, b=1,
    scale=1."""

    relativistic = True
    boundary = None

    def __init__(self, *, base: Objective):
        self.base = base

    def d(
        self, real: Tensor, fake: Tensor, real_target: Target = 1.0, fake_target: Target = 0.0
    ) -> Tensor:
        real_term = self.base.judge(real - fake.mean(), real_target).mean()
        return 0.5 * (real_term + self.base.judge(fake - real.mean(), fake_target).mean())

    def g(self, real: Tensor | None, fake: Tensor) -> Tensor:
        assert real is not None, "a relativistic generator needs the real scores"
        # The fake mean inside the real term carries gradient too: no detach.
        return self.d(fake, real)


def draw_target(value: float | list[float], scores: Tensor) -> Target:
    """A fixed target, or one per score from the range [low, high] ("soft, noisy labels")."""
    if not isinstance(value, list):
        return value
    low, high = value
    return torch.empty_like(scores).uniform_(low, high)
