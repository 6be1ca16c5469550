"""InfoGAN: a part of the latent is a code, and no labels are needed.

What can be read of the code in the image is maximised.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.augment.base import Augment
from gancli.game import SWEEP, Batch, Critic, Logs, Option, Phase, Progress
from gancli.games.gan import GAN
from gancli.losses.adversarial import AdversarialLoss
from gancli.networks.layers import one_hot

Side = Callable[[Critic, Tensor, Tensor, Progress], tuple[Tensor, Logs]]
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
# What a continuous code costs a reader who knows nothing and says N(0,1): the mean of HALF_LOG_TAU
# + c^2 / 2 over U(-1,1).
BLIND = HALF_LOG_TAU + 1 / 6


class Reader(nn.Module):
    """What `InfoGAN` relies on in q.

    A view as `gancli.game.Generator` is, to derive from or not.
    """

    def attach(self, feature_dim: int, outputs: int) -> None:
        """Builds what depends on the discriminator's features (N,feature_dim); called once."""

    def forward(self, features: Tensor) -> Tensor:
        """Reads features (N,feature_dim) into numbers (N,outputs)."""
        raise NotImplementedError


class InfoGAN(GAN):
    """Chen 2016, section 5.

    The latent is noise, then a one-hot code of each of `categories`, then `continuous` codes
    U(-1,1).

    generator: unconditional; the noise has what its z_dim leaves. q: reads the codes from the
    discriminator's features (N,F), whose sizes `attach(F, outputs)` tells it; a player of its own
    q_moves: in both phases, or in the discriminator's alone, as in the authors' code, where q is
    among the variables of the discriminator's optimizer
    weight_categorical, weight_continuous: of the codes' negative log-likelihoods, in both losses
    deviation: a continuous code's, as q sees it: 1, or learned (q then has one more output for
    each)
    latent: the distribution of the noise, of unit variance either way (the authors': uniform)
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        discriminator: nn.Module,
        q: nn.Module,
        loss: AdversarialLoss,
        augment: Augment | None = None,
        categories: list[int],
        continuous: int,
        latent: Literal["normal", "uniform"] = "uniform",
        weight_categorical: float = 1.0,
        weight_continuous: float = 1.0,
        deviation: Literal["one", "learned"] = "one",
        q_moves: Literal["both", "d"] = "both",
    ):
        super().__init__(
            generator=generator,
            discriminator=discriminator,
            loss=loss,
            augment=augment,
            latent=latent,
        )
        self.noise = self.generator.z_dim - sum(categories) - continuous
        if (
            any(size < 2 for size in categories)
            or continuous < 0
            or (not categories and continuous == 0)
        ):
            raise ValueError(
                f"categories={categories}, continuous={continuous}: give categories of 2 or more, "
                "[10], or continuous codes"
            )
        if self.noise < 0:
            raise ValueError(
                f"z_dim={self.generator.z_dim} does not hold categories={categories} and "
                f"{continuous} continuous codes: give "
                f"model.z_dim={self.generator.z_dim - self.noise} or more; the rest is noise (the "
                "paper's: 74)"
            )
        if self.generator.classes:
            raise ValueError(
                "the codes are learned without labels: give InfoGAN a generator that takes none, "
                "conditional=false"
            )
        self.q = cast(Reader, q)
        self.categories = categories
        self.continuous = continuous
        self.learned = deviation == "learned" and continuous > 0
        self.weights = weight_categorical, weight_continuous
        self.q_moves = q_moves
        self.q.attach(
            self.discriminator.feature_dim, sum(categories) + continuous * (1 + self.learned)
        )

    @property
    def codes(self) -> tuple[str, ...]:
        """Names the codes, which are keys of the inputs: the categorical ones first."""
        return tuple(f"code{k}" for k in range(len(self.categories) + self.continuous))

    def players(self) -> dict[str, list[nn.Module]]:
        """Gives q an optimizer of its own, which falls back to that of g."""
        return super().players() | {"q": [self.q]}

    def phases(self) -> list[Phase]:
        """Lets q move with d, and with g too unless q_moves is "d"."""
        # The term stands in both losses either way: where q rests it still teaches the generator.
        return [
            replace(phase, updates=(*phase.updates, "q"))
            if self.q_moves == "both" or "d" in phase.updates
            else phase
            for phase in super().phases()
        ]

    def sampling_options(self) -> tuple[Option, ...]:
        """Adds `sweep`: one code varied, all else fixed."""
        return (*super().sampling_options(), SWEEP)

    def inputs(  # type: ignore[override]  # keywords are sampling options, and it has no labels
        self, n: int, rng: torch.Generator | None, *, truncation: float | None = None
    ) -> Batch:
        """Draws z (n,noise); a categorical code (n,) int64, a continuous one (n,).

        truncation: of the noise, see GAN.
        """
        z = super().inputs(n, rng, truncation=truncation)["z"][:, : self.noise]
        drawn = [
            torch.randint(size, (n,), generator=rng, device=z.device) for size in self.categories
        ]
        drawn += [
            torch.empty(n, device=z.device).uniform_(-1, 1, generator=rng)
            for _ in range(self.continuous)
        ]
        return {"z": z} | dict(zip(self.codes, drawn, strict=True))

    def code_values(self, name: str, steps: int) -> Tensor:
        """Lists what a sweep shows of the code `name`.

        Each of its categories, or `steps` numbers from -1 to 1.
        """
        k = self.codes.index(name)
        return (
            torch.arange(self.categories[k])
            if k < len(self.categories)
            else torch.linspace(-1, 1, steps)
        )

    def preview_inputs(self, columns: int, rng: torch.Generator) -> Batch:
        """Draws rows of one noise, and columns of one value of the first code."""
        inputs = {
            key: value.repeat_interleave(columns, 0) for key, value in self.inputs(8, rng).items()
        }
        values = (
            torch.arange(columns) % self.categories[0]
            if self.categories
            else torch.linspace(-1, 1, columns)
        )
        return inputs | {"code0": values.repeat(8)}

    def sample(self, inputs: Batch, generator: nn.Module) -> Tensor:
        """Makes images (N,C,H,W) of noise "z", one-hot categories and continuous codes."""
        z = inputs["z"]
        codes = [inputs[name] for name in self.codes]
        cut = len(self.categories)
        hot = [
            one_hot(code, size, z) for code, size in zip(codes[:cut], self.categories, strict=True)
        ]
        return generator(torch.cat([z, *hot, *(code[:, None] for code in codes[cut:])], 1))

    def recognise_codes(self, image: Tensor) -> Batch:
        """Reads the codes in images (N,C,H,W) by q.

        The likeliest category of each categorical code (N,), the mean of each other (N,).
        """
        logits, mean, _ = self.read(self.discriminator.trunk(image).flatten(1))
        return dict(
            zip(self.codes, [*(part.argmax(1) for part in logits), *mean.unbind(1)], strict=True)
        )

    def read(self, features: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Reads features (N,F) into the parameters of each code's distribution.

        Logits (N,size) of each categorical code; means and logarithms of the deviations
        (N,continuous).
        """
        # In fp32: the likelihoods below have exponentials and small differences.
        *logits, rest = (
            self.q(features)
            .float()
            .split([*self.categories, self.continuous * (1 + self.learned)], 1)
        )
        mean, log_deviation = rest.chunk(2, 1) if self.learned else (rest, torch.zeros_like(rest))
        # The reader may come to predict a code exactly, and exp would overflow.
        return logits, mean, log_deviation.clamp(-5, 5)

    def d_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Adds the codes' cost to the discriminator's loss: q reads them by its trunk."""
        return self.add_information(batch, self.adversarial.d)

    def g_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Adds the codes' cost to the generator's loss: it shows the codes in the image."""
        return self.add_information(batch, self.adversarial.g)

    def add_information(self, batch: Batch, side: Side) -> tuple[Tensor, Logs]:
        """Adds to one side's adversarial loss what the codes of its fakes cost q.

        Args:
            batch: "image" (N,C,H,W), the reals.
            side: `adversarial.d` or `adversarial.g`.
        """
        inputs = self.inputs(len(batch["image"]), None)
        critic = self.critic(batch)
        fake = self.sample(inputs, self.generator)
        loss, logs = side(critic, batch["image"], fake, self.progress)
        term, parts = self.measure_information(critic.features(fake), inputs)
        return loss + term, logs | parts

    def measure_information(self, features: Tensor, inputs: Batch) -> tuple[Tensor, Logs]:
        """Measures the weighted negative log-likelihood of the codes (Chen 2016, equation 5).

        Args:
            features: (N,F) of fakes.
            inputs: The codes that these were made of.

        Returns:
            A weighted scalar, and logs in nats without weights. "mi" is a lower bound on the
            information about the codes in the image: each categorical code adds log(size) minus its
            cross-entropy, a continuous one BLIND minus its NLL, as in the authors' code: 0 for a
            reader who knows nothing.
        """
        logits, mean, log_deviation = self.read(features)
        codes = [inputs[name] for name in self.codes]
        cut = len(self.categories)
        ce = sum(
            (F.cross_entropy(*pair) for pair in zip(logits, codes, strict=False)),
            mean.new_zeros(()),
        )
        nll = (
            gaussian_nll(torch.stack(codes[cut:], 1), mean, log_deviation).sum()
            if self.continuous
            else mean.new_zeros(())
        )
        # The entropy of the codes' prior, as far as a blind reader would have to pay it.
        blind = sum(math.log(size) for size in self.categories) + self.continuous * BLIND
        return self.weights[0] * ce + self.weights[1] * nll, {
            "mi": (blind - ce - nll).detach(),
            "ce": ce.detach(),
            "nll": nll.detach(),
        }


def gaussian_nll(x: Tensor, mean: Tensor, log_deviation: Tensor) -> Tensor:
    """Averages over N: (N,D) each -> (D,)."""
    return (
        HALF_LOG_TAU + log_deviation + 0.5 * ((x - mean) * (-log_deviation).exp()).square()
    ).mean(0)
