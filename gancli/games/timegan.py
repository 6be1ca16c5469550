"""TimeGAN: series are coded, codes are foretold, and then noise learns to become such codes."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.game import Batch, Game, Logs, Option, Phase, Progress
from gancli.games.gan import GAN
from gancli.losses.adversarial import AdversarialLoss
from gancli.losses.objectives import NonSaturating, Objective, Wasserstein
from gancli.networks.timegan import TimeGANEmbedder, TimeGANGenerator

TINY = 1e-12  # under a root, whose slope at 0 has no bound


class TimeGAN(GAN):
    """Yoon 2019, section 4; stages, weights and the order of updates from the authors' code.

    Three stages: embedder and recovery learn to code series; the supervisor learns to foretell the
    code of the next step; then all learn, the generator against a discriminator of codes.

    generator: ModuleDict of generator, supervisor and recovery, z (N,z_dim) -> (N,C,T,1)
    embedder: series -> codes. discriminator: of codes
    embedding_steps, supervised_steps: steps of the first and of the second stage
    generator_steps: of generator and embedder for each step of the discriminator; None: 2, and 1
    where the loss has discriminator steps of its own (n_critic)
    recovery_weight: of the root of the squared distance of series to what comes back of them
    supervised_weight, embedder_supervised_weight: of the distance of foretold codes to real ones,
    for the generator (its root) and for the embedder
    raw_weight: of the scores of codes that the supervisor has not seen (gamma)
    moments_weight: of the distance of means and deviations, of each step over the batch
    rest_below: the discriminator's loss under which it learns nothing; acts with cross-entropy
    alone, and 0 never

    Distances of series are those of values in [0,1], as the authors': half of ours.
    """

    generator: TimeGANGenerator  # type: ignore[assignment]  # a Generator by its names

    def __init__(
        self,
        *,
        generator: nn.ModuleDict,
        embedder: nn.Module,
        discriminator: nn.Module,
        loss: AdversarialLoss,
        conditional: bool = False,
        embedding_steps: int = 400,
        supervised_steps: int = 200,
        generator_steps: int | None = None,
        recovery_weight: float = 10.0,
        supervised_weight: float = 100.0,
        embedder_supervised_weight: float = 0.1,
        raw_weight: float = 1.0,
        moments_weight: float = 100.0,
        rest_below: float = 0.15,
    ):
        super().__init__(
            generator=generator,
            discriminator=discriminator,
            loss=loss,
            conditional=conditional,
            latent="uniform",
        )
        if embedding_steps < 0 or supervised_steps < 0:
            raise ValueError(
                f"embedding_steps={embedding_steps}, supervised_steps={supervised_steps}: "
                "give 0 or more"
            )
        if generator_steps is not None and (generator_steps < 1 or loss.n_critic > 1):
            raise ValueError(
                f"generator_steps={generator_steps}, and the loss has n_critic={loss.n_critic} "
                "discriminator steps: one of the two is 1 or more, the other one null or 1"
            )
        self.embedder = cast(TimeGANEmbedder, embedder)
        self.embedding_steps = embedding_steps
        self.begin = embedding_steps + supervised_steps  # of the adversarial stage
        self.d_every = generator_steps or (2 if loss.n_critic == 1 else 1)
        self.recovery_weight = recovery_weight
        self.supervised_weight = supervised_weight
        self.embedder_supervised_weight = embedder_supervised_weight
        self.raw_weight = raw_weight
        self.moments_weight = moments_weight
        entropy = isinstance(loss.objective, NonSaturating) and not loss.objective.relativistic
        self.rest_below = rest_below if entropy else 0.0

    def players(self) -> dict[str, list[nn.Module]]:
        """Moves the supervisor with the generator, the recovery with the embedder."""
        parts = self.generator
        return {
            "g": [parts["generator"], parts["supervisor"]],
            "e": [self.embedder, parts["recovery"]],
            "d": [self.discriminator],
        }

    def phases(self) -> list[Phase]:
        """Plays embed, then supervise, then g, e and d; each stage starts where the last ends.

        In the third stage d moves once for two steps of g and e, on a batch of its own (the
        authors' code).
        """
        first = self.embedding_steps
        stages = [
            Phase(name="embed", loss=self.embed_loss, updates=("e",), stop=first),
            Phase(
                name="supervise",
                loss=self.supervise_loss,
                updates=("g",),
                start=first,
                stop=self.begin,
            ),
        ]
        return [
            *(phase for phase in stages if phase.start != phase.stop),
            Phase(
                name="g",
                loss=self.g_loss,
                updates=("g",),
                every=self.n_critic,
                start=self.begin,
            ),
            Phase(
                name="e",
                loss=self.e_loss,
                updates=("e",),
                every=self.n_critic,
                start=self.begin,
            ),
            Phase(
                name="d",
                loss=self.d_loss,
                updates=("d",),
                every=self.d_every,
                start=self.begin,
                # A batch of its own, as in the authors' code, where d is trained in a loop of its
                # own.
                fresh=True,
                after=self.constrain,
            ),
        ]

    def advance(self, progress: Progress) -> bool:
        """Drops the moments where a stage ends: the authors' code has an optimizer for each."""
        return progress.step in {self.embedding_steps, self.begin} - {0}

    @property
    def makes_samples(self) -> bool:
        """Not before the adversarial stage: the generator has learned nothing till then."""
        return self.progress.step > self.begin

    def sampling_options(self) -> tuple[Option, ...]:
        """Declares labels alone: noise in [0,1] has nothing to truncate."""
        return Game.sampling_options(self)

    def inputs(  # type: ignore[override]  # keywords are sampling options
        self, n: int, rng: torch.Generator | None, *, label: Tensor | None = None
    ) -> Batch:
        """Draws z (n,z_dim), uniform in [0,1], and label as `GAN` does."""
        drawn = super().inputs(n, rng, label=label)
        # GAN's uniform numbers have unit variance.
        drawn["z"] = (drawn["z"] / 12**0.5 + 0.5).clamp(0, 1)
        return drawn

    def embed_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Costs, in stage 1, series that do not come back of their codes."""
        distance = self.measure_recovery(batch, self.embed(batch))
        return self.recovery_weight * root(distance), {"recovery": distance.detach()}

    def supervise_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Costs, in stage 2, next codes that are not foretold; the generator is not reached."""
        distance = self.measure_foresight(batch, self.embed(batch))
        return distance, {"supervised": distance.detach()}

    def e_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Costs, in stage 3, codes that lose their series or cannot be foretold."""
        codes = self.embed(batch)
        recovery = self.measure_recovery(batch, codes)
        supervised = self.measure_foresight(batch, codes)
        loss = self.recovery_weight * root(recovery)
        return loss + self.embedder_supervised_weight * supervised, {
            "recovery": recovery.detach(),
            "supervised": supervised.detach(),
        }

    def g_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Costs, in stage 3, codes that the discriminator tells, and moments that differ."""
        critic = self.critic(batch)
        real = self.embed(batch)
        raw, fake = self.make_codes(batch)
        loss, logs = self.adversarial.g(critic, real, fake, self.progress)
        of_raw, raw_logs = self.adversarial.g(critic, real, raw, self.progress)
        supervised = self.measure_foresight(batch, real)
        made = self.generator["recovery"](fake, batch.get("label"))
        moments = measure_moments(made, batch["image"]) / 2
        loss = loss + self.raw_weight * of_raw + self.supervised_weight * root(supervised)
        return loss + self.moments_weight * moments, logs | {
            **{f"raw_{key}": value for key, value in raw_logs.items()},
            "supervised": supervised.detach(),
            "moments": moments.detach(),
        }

    def d_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Costs, in stage 3, real codes against both kinds of fakes."""
        critic = self.critic(batch)
        real = self.embed(batch)
        raw, fake = self.make_codes(batch)
        loss, logs = self.adversarial.d(critic, real, fake, self.progress)
        of_raw = self.cost_of_raw(critic(real).float(), critic(raw).float())
        logs = logs | {"raw_adv": of_raw.detach()}
        loss = loss + self.raw_weight * of_raw
        if self.rest_below > 0:
            adversarial = logs["adv"] + self.raw_weight * logs["raw_adv"]
            # Times 0 and not skipped: one graph, and no wait of the host for the loss.
            loss = loss * (adversarial > self.rest_below)
        return loss, logs

    def cost_of_raw(self, real: Tensor, raw: Tensor) -> Tensor:
        """Costs the generator's own codes in the discriminator's loss, by scores (N,T).

        The reals' cost is counted once already, with the other fakes. Two kinds of objectives
        cannot do without them: those of pairs, and Wasserstein's, where scores that fall without
        end would cost less and less.
        """
        loss = self.adversarial
        objective = loss.objective
        target = loss.draw_targets(loss.fake_target, raw)
        # An objective that keeps the base's `d` costs each side alone: its fakes can be taken out.
        if type(objective).d is Objective.d and not isinstance(objective, Wasserstein):
            return objective.cost(raw, target).mean()
        return objective.d(real, raw, loss.draw_targets(loss.real_target, real), target)

    def embed(self, batch: Batch) -> Tensor:
        """Makes codes (N,hidden,T,1) of a batch's series."""
        codes: Tensor = self.embedder(batch["image"], batch.get("label"))
        return codes

    def make_codes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Makes as many codes of noise, before and after the supervisor."""
        label = batch.get("label")
        inputs = self.inputs(len(batch["image"]), None, label=label)
        return self.generator.make_codes(inputs["z"], label)

    def measure_recovery(self, batch: Batch, codes: Tensor) -> Tensor:
        """Measures the mean squared distance of series, in [0,1], to their recovery."""
        back = self.generator["recovery"](codes, batch.get("label"))
        # In [0,1] distances are half as large as in [-1,1], and their squares a quarter.
        return F.mse_loss(back, batch["image"].float()) / 4

    def measure_foresight(self, batch: Batch, codes: Tensor) -> Tensor:
        """Measures how far codes (N,hidden,T,1) are from what was foretold: mean square."""
        foretold = self.generator["supervisor"](codes, batch.get("label"))
        # What is made of step t stands at t, and is compared with the code of t + 1.
        return F.mse_loss(foretold[:, :, :-1], codes[:, :, 1:])


def root(distance: Tensor) -> Tensor:
    """Takes the square root of a distance that may be 0."""
    return (distance + TINY).sqrt()


def measure_moments(made: Tensor, real: Tensor) -> Tensor:
    """Measures how far means and deviations over N are apart: mean of each step and feature.

    made, real: (N,C,T,1) in [-1,1]. Half of the result is that of values in [0,1], where the
    authors' code adds 1e-6 to a variance.
    """
    apart = [
        (first - second).abs().mean()
        for first, second in (
            ((made.var(0, correction=0) + 4e-6).sqrt(), (real.var(0, correction=0) + 4e-6).sqrt()),
            (made.mean(0), real.mean(0)),
        )
    ]
    return torch.stack(apart).sum()
