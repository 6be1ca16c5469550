"""What the two sides want: functions of the critic's raw scores, with a target per score."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# 1 means real, 0 fake; between, beyond or one per score where label tricks are on.
Target = float | Tensor
# Scores between which the levels of a user's objective are searched. What is lower by more than
# FALL at the wider of the two has no bound.
REACHES = (20.0, 40.0)
FALL = 0.1


class Objective:
    """The adversarial loss of both sides; a subclass gives `cost`, or `d` and `g`.

    Attributes:
        relativistic: Whether the generator's loss needs the scores of reals too.
        boundary: The score of a sample that is as likely real as fake; None where scores count by
            their differences alone.
    """

    relativistic = False
    boundary: float | None = 0.0

    def cost(self, scores: Tensor, target: Target) -> Tensor:
        """Gives the elementwise cost of scores.

        Args:
            scores: Raw scores of any shape.
            target: What they ought to say: 1 real, 0 fake; a number, or one per score.

        Returns:
            A tensor of the scores' shape.
        """
        raise NotImplementedError

    def d(
        self, real: Tensor, fake: Tensor, real_target: Target = 1.0, fake_target: Target = 0.0
    ) -> Tensor:
        """Gives the discriminator's loss.

        Args:
            real: Raw scores of real samples, of any shape.
            fake: Raw scores of fakes, of the same shape.
            real_target: What reals ought to say; 0.9 smooths, a tensor has one per score.
            fake_target: What fakes ought to say.

        Returns:
            A scalar.
        """
        return self.cost(real, real_target).mean() + self.cost(fake, fake_target).mean()

    def g(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """Gives the generator's loss.

        Args:
            real: Raw scores of real samples where the objective is relativistic, else None.
            fake: Raw scores of fakes.

        Returns:
            A scalar.
        """
        return self.cost(fake, 1.0).mean()

    def optimum(self, real_target: float = 1.0, fake_target: float = 0.0) -> float | None:
        """Gives the lowest loss of a discriminator that tells every real from every fake.

        Here it is searched for, among scores from -40 to 40, which serves objectives of a user's
        own; those of this module know it.

        Args:
            real_target: The mean target of reals.
            fake_target: The mean target of fakes.

        Returns:
            The loss, or None where it falls without bound.
        """
        zero = torch.zeros(1, dtype=torch.float64)
        # One side's scores after the other's: all pairs would take half a second.
        first = find_lowest(lambda real: self.d(real, zero, real_target, fake_target))
        if first is None:
            return None
        fake = find_lowest(lambda fake: self.d(first, fake, real_target, fake_target))
        if fake is None:
            return None
        real = find_lowest(lambda real: self.d(real, fake, real_target, fake_target))
        return None if real is None else self.d(real, fake, real_target, fake_target).item()

    def chance_level(self, real_target: float = 1.0, fake_target: float = 0.0) -> float | None:
        """Gives the loss of a discriminator that cannot tell real from fake.

        Its scores are then equal; of all equal scores those count that cost least. Here they are
        searched for, as in `optimum`.

        Args:
            real_target: The mean target of reals.
            fake_target: The mean target of fakes.

        Returns:
            The loss, or None where no loss can be told relative to it, since it has no bound.
        """
        if self.optimum(real_target, fake_target) is None:
            return None
        score = find_lowest(lambda scores: self.d(scores, scores, real_target, fake_target))
        if score is None:
            return None
        return self.d(score, score, real_target, fake_target).item()


class NonSaturating(Objective):
    """Cross-entropy with logits; the generator maximises log D(G(z)).

    Source: Goodfellow et al. 2014, section 3.
    """

    def cost(self, scores: Tensor, target: Target) -> Tensor:
        """Gives -target log D - (1 - target) log(1 - D), D the sigmoid of the score."""
        # Equal to both terms of the cross-entropy together; no exponential overflows.
        return F.softplus(scores) - target * scores

    def optimum(self, real_target: float = 1.0, fake_target: float = 0.0) -> float | None:
        """Gives 0, and with smoothed targets their entropy; see `Objective.optimum`."""
        real = binary_entropy(real_target)
        fake = binary_entropy(fake_target)
        return None if real is None or fake is None else real + fake

    def chance_level(self, real_target: float = 1.0, fake_target: float = 0.0) -> float | None:
        """Gives 2 ln 2 with targets 1 and 0; see `Objective.chance_level`."""
        # Both sides' costs add up to that of one score which ought to say the mean target, twice.
        entropy = binary_entropy((real_target + fake_target) / 2)
        return None if entropy is None else 2 * entropy


class Saturating(NonSaturating):
    """The minimax game itself: the generator minimises log(1 - D(G(z))).

    Source: Goodfellow et al. 2014, equation 1.
    """

    def g(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """Gives the mean of log(1 - D); its slope vanishes where D is sure that it sees a fake."""
        return -F.softplus(fake).mean()


class LeastSquares(Objective):
    """The squared distance of scores to a target, times `scale`.

    Source: Mao et al. 2017, equation 9.

    Args:
        a: The score that fakes shall get from the discriminator.
        b: The score that reals shall get from the discriminator.
        c: The score that the generator wants for its fakes.
        scale: A factor of both losses, above 0: 0.5 as in the paper.
    """

    def __init__(
        self, *, a: float = 0.0, b: float = 1.0, c: float = 1.0, scale: float = 0.5
    ) -> None:
        self.a = a
        self.b = b
        self.c = c
        self.scale = scale
        self.boundary = (a + b) / 2

    def cost(self, scores: Tensor, target: Target) -> Tensor:
        """Gives the scaled squared distance to a (target 0), to b (target 1), or to between."""
        return self.scale * (scores - (self.a + target * (self.b - self.a))).square()

    def g(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """Gives the mean scaled squared distance of fakes to c."""
        return self.scale * (fake - self.c).square().mean()

    def optimum(self, real_target: float = 1.0, fake_target: float = 0.0) -> float | None:
        """Gives 0: every score lies on its target."""
        return 0.0

    def chance_level(self, real_target: float = 1.0, fake_target: float = 0.0) -> float | None:
        """Gives the loss of a score halfway: 0.25 with a=0, b=1 and scale 0.5, 0.5 with scale 1."""
        # Halfway both sides miss by half the distance: 2 x scale x (apart / 2)^2.
        apart = (real_target - fake_target) * (self.b - self.a)
        return self.scale * apart**2 / 2


class TwoScaleLeastSquares(LeastSquares):
    """Least squares that the two sides weigh differently, as in CycleGAN's code.

    There the discriminator's loss alone is halved (`errD = (errD_real + errD_fake) / 2`), and the
    generator's is the plain squared distance, which the cycle term is weighed against.

    Args:
        a: The score that fakes shall get from the discriminator.
        b: The score that reals shall get from the discriminator.
        c: The score that the generator wants for its fakes.
        scale: A factor of the discriminator's squared distances, above 0.
        generator_scale: A factor of the generator's squared distances, above 0.
    """

    def __init__(
        self, *, a: float, b: float, c: float, scale: float, generator_scale: float
    ) -> None:
        super().__init__(a=a, b=b, c=c, scale=scale)
        self.generator_scale = generator_scale

    def g(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """Gives the mean squared distance of fakes to c, times generator_scale."""
        return self.generator_scale * (fake - self.c).square().mean()


class Wasserstein(Objective):
    """Differences of scores; the critic must be kept Lipschitz, by a clip or a penalty.

    Source: Arjovsky et al. 2017, algorithm 1.
    """

    boundary = None

    def cost(self, scores: Tensor, target: Target) -> Tensor:
        """Gives the score of fakes (target 0) and minus the score of reals (target 1)."""
        return (1 - 2 * target) * scores

    def optimum(self, real_target: float = 1.0, fake_target: float = 0.0) -> float | None:
        """Gives None: scores, and so the loss, have no bound."""
        return None

    def chance_level(self, real_target: float = 1.0, fake_target: float = 0.0) -> float | None:
        """Gives None: the loss is 0 at equal scores, and no unit tells how far from it one is."""
        return None


class Hinge(Objective):
    """Only scores within the margin count; the generator's half is Wasserstein's.

    Source: Lim and Ye 2017; Miyato et al. 2018, equations 16 and 17.
    """

    def cost(self, scores: Tensor, target: Target) -> Tensor:
        """Gives what a score lacks to 1 (target 1) or exceeds -1 by (target 0)."""
        return target * F.relu(1 - scores) + (1 - target) * F.relu(1 + scores)

    def g(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """Gives minus the mean score of fakes: the generator's side has no margin."""
        return -fake.mean()

    def optimum(self, real_target: float = 1.0, fake_target: float = 0.0) -> float | None:
        """Gives 0; with smoothed targets a score on one margin pays for the other one."""
        # A score s between the margins costs t (1 - s) + (1 - t) (1 + s), which is linear: best at
        # one.
        targets = (real_target, fake_target)
        if not all(0 <= target <= 1 for target in targets):
            return None  # a negative share of a margin's cost: the further, the better
        return sum(2.0 * min(target, 1 - target) for target in targets)

    def chance_level(self, real_target: float = 1.0, fake_target: float = 0.0) -> float | None:
        """Gives 2 with targets 1 and 0, for any score between the margins."""
        # As in `optimum`, for the two terms of one score together.
        towards_real = real_target + fake_target
        if not 0 <= towards_real <= 2:
            return None
        return 2.0 * min(towards_real, 2 - towards_real)


class RelativisticPairing(NonSaturating):
    """Asks whether this real is more real than that fake.

    There is one term, so only the target of reals acts.

    Source: RpGAN, Jolicoeur-Martineau 2018, equation 3; R3GAN, Huang et al. 2024, equation 2.
    """

    relativistic = True
    boundary = None

    def d(
        self, real: Tensor, fake: Tensor, real_target: Target = 1.0, fake_target: Target = 0.0
    ) -> Tensor:
        """Gives the cross-entropy of the differences real - fake, pair by pair."""
        # Shapes (N,) and (N,1) would broadcast to N x N pairs and still train, badly.
        assert real.shape == fake.shape, (
            f"{tuple(real.shape)} real scores, {tuple(fake.shape)} fake ones"
        )
        return self.cost(real - fake, real_target).mean()

    def g(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """Gives the cross-entropy of the differences fake - real, pair by pair."""
        assert real is not None, "a relativistic generator needs the real scores"
        return self.cost(fake - real, 1.0).mean()

    def optimum(self, real_target: float = 1.0, fake_target: float = 0.0) -> float | None:
        """Gives 0, and with a smoothed target its entropy."""
        return binary_entropy(real_target)

    def chance_level(self, real_target: float = 1.0, fake_target: float = 0.0) -> float | None:
        """Gives ln 2, the cost of a difference of 0."""
        return math.log(2)


class RelativisticAverage(Objective):
    """Scores each side relative to the other's mean; halves the loss, as the author's code does.

    Source: RaGAN, Jolicoeur-Martineau 2018, equation 6.

    Args:
        base: What a difference costs: NonSaturating (RaSGAN), Hinge, or LeastSquares with a=-1,
            b=1, scale=1.
    """

    relativistic = True
    boundary = None

    def __init__(self, *, base: Objective) -> None:
        self.base = base

    def d(
        self, real: Tensor, fake: Tensor, real_target: Target = 1.0, fake_target: Target = 0.0
    ) -> Tensor:
        """Gives half the cost of reals against the mean fake, plus half that of the reverse."""
        # Both means keep their gradient, as in the author's code; ESRGAN's detaches them.
        real_term = self.base.cost(real - fake.mean(), real_target).mean()
        return 0.5 * (real_term + self.base.cost(fake - real.mean(), fake_target).mean())

    def g(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """Gives the discriminator's loss with both sides exchanged."""
        assert real is not None, "a relativistic generator needs the real scores"
        # The fake mean inside the real term carries gradient too: no detach.
        return self.d(fake, real)

    def optimum(self, real_target: float = 1.0, fake_target: float = 0.0) -> float | None:
        """Gives the lowest cost of any difference; `base` decides which one that is."""
        zero = torch.zeros(1, dtype=torch.float64)
        # Only the difference counts, so fakes may stay at 0.
        apart = find_lowest(lambda real: self.d(real, zero, real_target, fake_target))
        return None if apart is None else self.d(apart, zero, real_target, fake_target).item()

    def chance_level(self, real_target: float = 1.0, fake_target: float = 0.0) -> float | None:
        """Gives the cost of a difference of 0: ln 2 with NonSaturating, 1 with Hinge."""
        if self.optimum(real_target, fake_target) is None:
            return None
        zero = torch.zeros(1, dtype=torch.float64)
        return self.d(zero, zero, real_target, fake_target).item()


def draw_target(value: float | list[float], scores: Tensor) -> Target:
    """Gives a fixed target, or draws one per score from a range ("soft, noisy labels").

    Args:
        value: The target, or the range [low, high].
        scores: Those that get one each; any shape.
    """
    if not isinstance(value, list):
        return value
    low, high = value
    return torch.empty_like(scores).uniform_(low, high)


def binary_entropy(p: float) -> float | None:
    """Gives the lowest cross-entropy, in nats, of a score that ought to say p.

    Args:
        p: The target, or the mean of targets that are drawn.

    Returns:
        -p ln p - (1 - p) ln(1 - p); None outside 0 to 1, where the cost falls without bound.
    """
    if not 0 <= p <= 1:
        return None
    return sum(-share * math.log(share) for share in (p, 1 - p) if 0 < share < 1)


def check_cost_name(objective: Objective) -> None:
    """Raises ValueError for an objective, or the base of one, that defines `judge`."""
    if "judge" in dir(objective):
        raise ValueError(
            f"{type(objective).__name__} defines judge: judge is called cost since 0.2; rename "
            "the method"
        )
    if isinstance(objective, RelativisticAverage):
        check_cost_name(objective.base)


def find_lowest(cost: Callable[[Tensor], Tensor]) -> Tensor | None:
    """Searches for the score that costs least, to 0.05 of its value.

    Args:
        cost: A scalar of a score (1,) in float64.

    Returns:
        The score (1,), or None where the cost falls without bound or is not finite.
    """
    found: list[Tensor] = []
    for reach in REACHES:
        step = reach / 20
        # Steps of 1, then of 0.05, within the narrow reach; twice as wide within the other.
        coarse = torch.linspace(-reach, reach, 41, dtype=torch.float64)[:, None]
        near = min(coarse, key=lambda score: cost(score).item())
        fine = near + torch.linspace(-step, step, 41, dtype=torch.float64)[:, None]
        # The grid's own point comes first, so that a flat cost keeps it.
        found.append(min((near, *fine), key=lambda score: cost(score).item()))
    narrow, wide = (cost(score).item() for score in found)
    if not math.isfinite(narrow) or not wide > narrow - FALL:
        return None
    return found[0] if narrow <= wide else found[1]
