"""The loss that a config names: an objective, penalties, label tricks, and limits of the critic."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gancli.game import Critic, Logs, Loss, Progress, due, members_of
from gancli.losses.objectives import (
    Objective,
    Target,
    Wasserstein,
    check_cost_name,
    draw_target,
)
from gancli.losses.penalties import Penalty
from gancli.schedules import Constant, Number, Schedule, ramp, schedule

SLOPE_STEP = 0.01  # of scores, between which the slope of a loss is measured


class AdversarialLoss(Loss):
    """The losses of both sides of one game, as functions of a critic.

    It is a Module without parameters, so that the buffers of stateful penalties are in the
    checkpoint.

    Args:
        objective: What scores cost each side.
        penalties: What is added to the discriminator's loss, by name.
        n_critic: Steps of the discriminator for each step of the generator, 1 or more.
        clip: The discriminator's weights stay within [-clip, clip] (WGAN); None leaves them free.
        real_target: What scores of reals ought to say: 1, a smoothed value such as 0.9, or a range
            [0.7, 1.2] from which each score draws its own. It acts in the discriminator's loss.
        fake_target: The same for fakes: 0, or a range such as [0, 0.3].
        flip: The share of scores whose target is flipped, 0 to 1.
        instance_noise: The standard deviation of noise on all images that the discriminator sees
            (Sonderby et al. 2017), 0 or more.
        instance_noise_kimg: Thousands of real images over which that noise falls linearly to 0;
            None keeps it as it is.
        feature_matching: The weight of the L1 distance between mean features of reals and fakes in
            the generator's loss (Salimans et al. 2016, section 3.1); may be a schedule.
        top_k: The share of fakes, those with the highest scores, that teach the generator (Sinha et
            al. 2020), above 0 and up to 1; may be a schedule.

    Raises:
        ValueError: One of these is out of its range, or the objective still defines `judge`.
    """

    def __init__(
        self,
        *,
        objective: Objective,
        penalties: dict[str, Penalty] | None = None,
        n_critic: int = 1,
        clip: float | None = None,
        real_target: float | list[float] = 1.0,
        fake_target: float | list[float] = 0.0,
        flip: float = 0.0,
        instance_noise: float = 0.0,
        instance_noise_kimg: float | None = None,
        feature_matching: Number = 0.0,
        top_k: Number = 1.0,
    ) -> None:
        super().__init__()
        check_cost_name(objective)
        for name, target in (("real_target", real_target), ("fake_target", fake_target)):
            if isinstance(target, list) and (len(target) != 2 or target[0] > target[1]):
                raise ValueError(f"{name}={target} is no range: give a number or [low, high]")
        if not 0 <= flip <= 1 or instance_noise < 0 or (clip is not None and clip <= 0):
            raise ValueError(
                f"flip={flip}, instance_noise={instance_noise}, clip={clip}: flip is a share from "
                "0 to 1, instance_noise is 0 or more, clip is above 0 or null"
            )
        self.objective = objective
        self.penalties = nn.ModuleDict(penalties or {})
        self.n_critic = n_critic
        self.clip = clip
        self.flip = flip
        self.real_target = real_target
        self.fake_target = fake_target
        self.instance_noise = instance_noise
        self.instance_noise_kimg = instance_noise_kimg
        self.matches_features = feature_matching != 0
        self.feature_matching = schedule(feature_matching)
        self.top_k = schedule(top_k)
        shares = []  # of the user's own schedule, which gate 2 tries
        if isinstance(self.top_k, Schedule):
            shares = [self.top_k.start, self.top_k.end]
        elif isinstance(self.top_k, Constant):
            shares = [self.top_k.value]
        if any(not 0 < share <= 1 for share in shares) or (objective.relativistic and top_k != 1):
            raise ValueError(
                f"top_k={top_k}: a share above 0 and up to 1; a relativistic loss, which compares "
                "with reals, takes 1 only"
            )

    def noise(self, progress: Progress) -> float:
        """Gives the standard deviation of instance noise now; games hand it to their critic."""
        if self.instance_noise_kimg is None:
            return self.instance_noise
        return self.instance_noise * (
            1 - ramp(progress.nimg, start_kimg=0, end_kimg=self.instance_noise_kimg)
        )

    def d(
        self, critic: Critic, real: Tensor, fake: Tensor, progress: Progress
    ) -> tuple[Tensor, Logs]:
        """Gives the discriminator's loss.

        Args:
            critic: Images in, raw scores out.
            real: (N,C,H,W) in [-1,1].
            fake: As many images of the generator.
            progress: Where training stands; penalties follow it.

        Returns:
            The weighted total, a scalar to minimise, and the logs: the objective's value `adv`,
            the mean scores `real` and `fake`, `contrast` (see `measure_contrast`), `sign_real`, and
            each penalty that was due, bare. ADA reads `sign_real`, the mean of the signs that tell
            on which side of the objective's boundary a real is; where there is no boundary, of 0.
        """
        real_scores = critic(real).float()
        # Apart and not as one batch, or batch norm would mix real and fake statistics; in fp32,
        # since a mean of many bf16 scores has two digits.
        fake_scores = critic(fake).float()
        loss = self.objective.d(
            real_scores,
            fake_scores,
            self.draw_targets(self.real_target, real_scores),
            self.draw_targets(self.fake_target, fake_scores),
        )
        signs = (real_scores.detach() - (self.objective.boundary or 0)).sign()
        logs = {
            "adv": loss.detach(),
            "real": real_scores.detach().mean(),
            "fake": fake_scores.detach().mean(),
            "contrast": measure_contrast(real_scores.detach(), fake_scores.detach()),
            "sign_real": signs.mean(),  # the sign of a mean is another number
        }
        for name, penalty in members_of(self.penalties, Penalty).items():
            if due(progress.step, penalty.every, penalty.start):
                term = penalty(critic, real, fake, real_scores, fake_scores, progress)
                loss = loss + penalty.apply_weight(term, progress)
                logs[name] = term.detach()  # bare: the weight stands in the config
        return loss, logs

    def g(
        self, critic: Critic, real: Tensor, fake: Tensor, progress: Progress
    ) -> tuple[Tensor, Logs]:
        """Gives the generator's loss.

        Args:
            critic: Images in, raw scores out, and features where they are matched.
            real: (N,C,H,W) in [-1,1]; scored only where the objective is relativistic.
            fake: As many images of the generator.
            progress: Where training stands; schedules follow it.

        Returns:
            The weighted total, a scalar to minimise, and the logs: the objective's value `adv`, and
            `fm`, the distance of mean features, bare.
        """
        # First, as in `d`: both sides then draw their augmentations in one order.
        real_scores = critic(real).float() if self.objective.relativistic else None
        loss = self.objective.g(real_scores, self.keep_best(critic(fake).float(), progress))
        logs = {"adv": loss.detach()}
        if self.matches_features:
            # Batch means first, then their distance: single samples need not resemble each other.
            of_real = critic.features(real).float().mean(0).detach()
            of_fake = critic.features(fake).float().mean(0)
            distance = (of_real - of_fake).abs().mean()
            loss = loss + self.feature_matching(progress.nimg) * distance
            logs["fm"] = distance.detach()
        return loss, logs

    def keep_best(self, scores: Tensor, progress: Progress) -> Tensor:
        """Keeps the share `top_k` of scores, at least one sample's.

        Args:
            scores: (M,...); those of a patch critic are ranked by their mean.
            progress: Where training stands; the share may follow it.

        Returns:
            (K,...), the highest first; the scores as they are where all are kept.
        """
        k = max(1, round(self.top_k(progress.nimg) * len(scores)))
        if k == len(scores):
            return scores
        return scores[scores.detach().reshape(len(scores), -1).mean(1).topk(k).indices]

    def optimum(self) -> float | None:
        """Gives the lowest `d/adv` that this loss knows, with its targets and flips.

        Returns:
            See `Objective.optimum`; a target that is drawn counts by its mean.
        """
        return self.objective.optimum(*self.mean_targets())

    def chance_level(self) -> float | None:
        """Gives the `d/adv` of a discriminator that cannot tell real from fake.

        Returns:
            See `Objective.chance_level`; a target that is drawn counts by its mean.
        """
        return self.objective.chance_level(*self.mean_targets())

    def is_difference(self) -> bool:
        """Says whether the discriminator's loss is the bare difference of mean scores."""
        return isinstance(self.objective, Wasserstein)

    def chance_slope(self) -> float | None:
        """Gives how fast `d/adv` falls below chance level as reals score above fakes.

        Returns:
            The fall for each unit of score that lies between a real and a fake; None where there
            is no chance level, or the loss does not fall.
        """
        if self.chance_level() is None:
            return None
        apart = torch.full((1,), SLOPE_STEP, dtype=torch.float64)
        middle = self.objective.boundary or 0.0
        below, above = (
            self.objective.d(middle + side / 2, middle - side / 2, *self.mean_targets()).item()
            for side in (-apart, apart)
        )
        slope = (below - above) / (2 * SLOPE_STEP)
        return slope if slope > 0 else None

    def mean_targets(self) -> tuple[float, float]:
        """Gives the mean targets of reals and of fakes, flipped ones counted."""
        real, fake = (
            sum(target) / 2 if isinstance(target, list) else target
            for target in (self.real_target, self.fake_target)
        )
        # A flipped target t is 1 - t, and (1 - flip) t + flip (1 - t) = t + flip (1 - 2 t).
        return (real + self.flip * (1 - 2 * real), fake + self.flip * (1 - 2 * fake))

    def draw_targets(self, value: float | list[float], scores: Tensor) -> Target:
        """Gives what scores ought to say, some of it flipped.

        Args:
            value: real_target or fake_target.
            scores: Those that get a target each where one is drawn; any shape.
        """
        target = draw_target(value, scores)
        if self.flip == 0:
            return target
        return torch.where(torch.rand_like(scores) < self.flip, 1 - target, target)

    @torch.no_grad()
    def constrain(self, discriminator: nn.Module) -> None:
        """Clips every parameter, those of normalisation included, as WGAN's code does.

        Source: Arjovsky et al. 2017, algorithm 1.
        """
        if self.clip is not None:
            for p in discriminator.parameters():
                if not p.requires_grad:  # frozen blocks stay as they are
                    continue
                p.clamp_(-self.clip, self.clip)


def measure_contrast(real: Tensor, fake: Tensor) -> Tensor:
    """Measures how much the score of a real differs from that of the fake beside it.

    Most games give both the same label or source. What a discriminator says of these alone, and
    not of the images, cancels: one that has given up may still score classes differently.

    Args:
        real: Raw scores (M,...).
        fake: As many of fakes.

    Returns:
        The root mean square of the differences.
    """
    if real.shape != fake.shape:  # of a game of the user's own: without partners
        both = torch.cat([real.flatten(), fake.flatten()])
        return both.std(correction=0) * 2**0.5
    return (real - fake).square().mean().sqrt()
