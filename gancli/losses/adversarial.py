"""The loss that a config names: one objective, any number of penalties, label tricks, and how the
critic is kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gancli.game import Critic, Logs, Loss, Progress, due, members_of
from gancli.losses.objectives import Objective, Target, draw_target
from gancli.losses.penalties import Penalty
from gancli.schedules import Constant, Number, Schedule, ramp, schedule


class AdversarialLoss(Loss):
    """A Module without parameters, so that the buffers of stateful penalties are in the checkpoint.

    n_critic: steps of the critic per step of the generator. clip: the critic's weights stay within
    [-clip, clip].
    real_target, fake_target: 1 and 0, a smoothed value (0.9), or a range [0.7, 1.2] drawn per
    score; critic only.
    flip: share of scores whose target is turned round. instance_noise: standard deviation of noise
    on everything the critic sees (Sonderby 2017), falling linearly to 0 at instance_noise_kimg
    (None: it stays).
    For the generator: feature_matching is the weight of the L1 distance between mean features of
    reals and fakes (Salimans 2016, section 3.1); top_k is the share of fakes, those with the
    highest scores, that teach it (Sinha 2020).
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
    ):
        super().__init__()
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
        """The standard deviation of instance noise now; games hand it to their critic."""
        if self.instance_noise_kimg is None:
            return self.instance_noise
        return self.instance_noise * (
            1 - ramp(progress.nimg, start_kimg=0, end_kimg=self.instance_noise_kimg)
        )

    def d(
        self, critic: Critic, real: Tensor, fake: Tensor, progress: Progress
    ) -> tuple[Tensor, Logs]:
        """real, fake (N,C,H,W) -> scalar, logs (scores, and the mean sign of the real ones, which
        ADA reads).

        The sign tells on which side of the objective's boundary a score is; of 0 where there is
        none."""
        real_scores = critic(real).float()
        fake_scores = critic(fake).float()
        loss = self.objective.d(
            real_scores,
            fake_scores,
            self.target(self.real_target, real_scores),
            self.target(self.fake_target, fake_scores),
        )
        logs = {
            "adv": loss.detach(),
            "real": real_scores.detach().mean(),
            "fake": fake_scores.detach().mean(),
            "sign_real": (real_scores.detach() - (self.objective.boundary or 0))
            .sign()
            .mean(),  # the sign of a mean is another number
        }
        for name, penalty in members_of(self.penalties, Penalty).items():
            if due(progress.step, penalty.every, penalty.start):
                term = penalty(critic, real, fake, real_scores, fake_scores, progress)
                loss = loss + penalty.apply_weight(term, progress)
                logs[name] = term.detach()
        return loss, logs

    def g(
        self, critic: Critic, real: Tensor, fake: Tensor, progress: Progress
    ) -> tuple[Tensor, Logs]:
        """real, fake (N,C,H,W) -> scalar, logs; real is scored only by relativistic objectives."""
        real_scores = critic(real).float() if self.objective.relativistic else None
        loss = self.objective.g(real_scores, self.best(critic(fake).float(), progress))
        logs = {"adv": loss.detach()}
        if self.matches_features:
            # Batch means first, then their distance: single samples need not resemble each other.
            apart = (
                (
                    critic.features(real).float().mean(0).detach()
                    - critic.features(fake).float().mean(0)
                )
                .abs()
                .mean()
            )
            loss, logs["fm"] = loss + self.feature_matching(progress.nimg) * apart, apart.detach()
        return loss, logs

    def best(self, scores: Tensor, progress: Progress) -> Tensor:
        """The top_k share of (M,...) scores, at least one sample's; a patch critic's are ranked by
        their mean."""
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

    def mean_targets(self) -> tuple[float, float]:
        """Gives the mean targets of reals and of fakes, flipped ones counted."""
        real, fake = (
            sum(target) / 2 if isinstance(target, list) else target
            for target in (self.real_target, self.fake_target)
        )
        return (real + self.flip * (1 - 2 * real), fake + self.flip * (1 - 2 * fake))

    def target(self, value: float | list[float], scores: Tensor) -> Target:
        target = draw_target(value, scores)
        if self.flip == 0:
            return target
        return torch.where(torch.rand_like(scores) < self.flip, 1 - target, target)

    @torch.no_grad()
    def constrain(self, discriminator: nn.Module) -> None:
        """Weight clipping, normalisation parameters included, as in WGAN's code (Arjovsky 2017,
        algorithm 1)."""
        if self.clip is not None:
            for p in discriminator.parameters():
                p.clamp_(-self.clip, self.clip)
