"""BicycleGAN: many answers to one source, each with a latent that can be found in it again."""

from __future__ import annotations

from functools import partial
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.augment.base import Augment
from gancli.critic import BoundCritic
from gancli.errors import UserError
from gancli.game import Batch, Discriminator, Logs, Phase
from gancli.games.several import sum_losses
from gancli.games.translation import Direction, Translation, check_critic_fits
from gancli.losses.adversarial import AdversarialLoss
from gancli.networks.bicyclegan import LatentEncoder, LatentUNet
from gancli.networks.layers import size_of

PANELS = 4  # answers to a source in a sample grid


class BicycleGAN(Translation):
    """Zhu 2017, section 3.3: an image to its latent and back, and a latent to an image and back.

    The first half of a batch is encoded: the generator is told the latent that the encoder finds
    in the target, and has to make that target (cVAE-GAN). The other half is random: the latent is
    drawn, and the encoder has to find it in what the generator makes (cLR-GAN).

    discriminator: ModuleDict of "encoded" and "random", one for each half; without "random", one
    is shared by both
    encoder: the target -> mean and log variance of its latent, in a player "e" that moves with g
    kl_weight: of the divergence of the encoder's latents from N(0,1), summed over a latent
    latent_weight: of the distance between a drawn latent and what is found of it, in which the
    encoder rests, so that it does not hide the latent for itself
    """

    generator: LatentUNet
    discriminator: nn.ModuleDict
    adversarial: nn.ModuleDict  # type: ignore[assignment]  # a loss for each discriminator

    def __init__(
        self,
        *,
        generator: LatentUNet,
        discriminator: dict[str, nn.Module],
        encoder: LatentEncoder,
        resolution: int | list[int],
        channels: int,
        loss: AdversarialLoss,
        augment: Augment | None = None,
        judged: int = 1,
        adversarial_weight: float = 1.0,
        pixel_weight: float = 10.0,
        pixel: Literal["l1", "l2", "huber"] = "l1",
        kl_weight: float = 0.01,
        latent_weight: float = 0.5,
    ):
        if set(discriminator) not in ({"encoded"}, {"encoded", "random"}):
            raise ValueError(
                f"model.discriminator has {', '.join(discriminator)}: it needs encoded and random, "
                "or encoded alone, which then judges both halves"
            )
        if min(kl_weight, latent_weight) < 0:
            raise ValueError(
                f"kl_weight={kl_weight}, latent_weight={latent_weight}: give 0 or more"
            )
        if generator.z_dim != encoder.mean.out_features:
            raise ValueError(
                f"the generator takes latents of {generator.z_dim} numbers, the encoder finds "
                f"{encoder.mean.out_features}: set model.z_dim, which both follow"
            )
        for network in discriminator.values():
            check_critic_fits(network, size_of(resolution))
        super().__init__(
            generator=generator,
            discriminator=nn.ModuleDict(discriminator),
            resolution=resolution,
            channels=channels,
            loss=loss,
            augment=augment,
            judged=judged,
            adversarial_weight=adversarial_weight,
            pixel_weight=pixel_weight,
            pixel=pixel,
        )
        self.encoder = encoder
        self.kl_weight = kl_weight
        self.latent_weight = latent_weight

    def players(self) -> dict[str, list[nn.Module]]:
        """Gives the encoder an optimizer of its own, which falls back to that of g."""
        return super().players() | {"e": [self.encoder]}

    def phases(self) -> list[Phase]:
        """Plays d, then g, which moves the encoder too.

        The term that must not teach the encoder, that of latents, holds its weights fixed: see
        `find_latents`.
        """
        return [
            Phase(name="d", loss=self.d_loss, updates=("d",), after=self.constrain),
            Phase(name="g", loss=self.g_loss, updates=("g", "e"), every=self.n_critic),
        ]

    def sample(self, inputs: Batch, generator: nn.Module, *, direction: Direction = "ab") -> Tensor:
        """Translates inputs["a"] (N,C,H,W), with latents "z" (N,z_dim) if they are given."""
        return generator(inputs["a"], inputs.get("z"))

    def draw_panels(self, batch: Batch, generator: nn.Module) -> dict[str, Tensor]:
        """Makes the panels of a sample grid: the source, four answers, the target."""
        answers = {f"output {k + 1}": self.sample(batch, generator) for k in range(PANELS)}
        return {"source": batch["a"], **answers, "target": batch["b"]}

    def draw_latents(self, batch: Batch) -> Tensor:
        """Draws a latent (N,z_dim) for each source."""
        a = batch["a"]
        return torch.randn(len(a), self.generator.z_dim, device=a.device)

    def half_critic(self, half: str, batch: Batch) -> BoundCritic:
        """Binds the discriminator of a half, to the half's sources where it sees them."""
        name = self.discriminator_of(half)
        network = cast(Discriminator, self.discriminator[name])
        noise = self.get_loss(half).noise(self.progress)
        if self.judged == 1:
            return BoundCritic(network.trunk, network.head, augment=self.augment, noise=noise)
        join = partial(self.join_source, batch["a"])
        return BoundCritic(network.trunk, network.head, noise=noise, join=join)

    def discriminator_of(self, half: str) -> str:
        """Names the discriminator of a half; without "random" one serves both."""
        return half if half in self.discriminator else "encoded"

    def get_loss(self, half: str) -> AdversarialLoss:
        """Finds the loss of a half: that of its discriminator, with its running means."""
        loss = self.adversarial[self.discriminator_of(half)]
        assert isinstance(loss, AdversarialLoss)
        return loss

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Finds latents (N,z_dim) of images: their means, and logarithms of their variances."""
        mean, log_variance = self.encoder(image)
        # exp would overflow where an encoder has gone astray.
        return mean.float(), log_variance.float().clamp(-20, 20)

    def make_halves(self, batch: Batch) -> tuple[dict[str, Batch], dict[str, Tensor], Logs]:
        """Cuts a batch and makes the fakes of both halves.

        Returns:
            The halves, of which "random" has its latents "z"; the fakes; and of the encoded half
            the divergence "kl" with its graph.
        """
        n = len(batch["a"])
        if n < 2:
            raise UserError(
                "BicycleGAN shares a batch between its two halves, and one image is too few",
                "use a larger trainer.batch_size, or fewer micro-batches (trainer.accumulate)",
            )
        # Of an odd batch the encoded half has one more: it alone has targets to meet.
        cut = (n + 1) // 2
        first = {key: value[:cut] for key, value in batch.items()}
        rest = {key: value[cut:] for key, value in batch.items()}
        mean, log_variance = self.encode(first["b"])
        # The encoder gets a gradient through the draw (Kingma and Welling 2014, section 2.4).
        first["z"] = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        rest["z"] = self.draw_latents(rest)
        # Summed over a latent and averaged over images: kl_weight is then the authors'.
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        halves = {"encoded": first, "random": rest}
        fakes = {half: self.sample(part, self.generator) for half, part in halves.items()}
        return halves, fakes, {"kl": kl}

    def d_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Adds up the losses of both halves; their targets "b" (N,C,H,W) are the reals."""
        halves, fakes, _ = self.make_halves(batch)
        return sum_losses(
            {
                half: self.get_loss(half).d(
                    self.half_critic(half, part), part["b"], fakes[half], self.progress
                )
                for half, part in halves.items()
            }
        )

    def g_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Adds up the terms of both halves, and logs each without its weight.

        Adversarial terms of both halves; of the encoded half the distance of fakes to targets and
        the latents' divergence; of the random half the distance of drawn latents to those found
        again.
        """
        halves, fakes, terms = self.make_halves(batch)
        adversarial, logs = sum_losses(
            {
                half: self.get_loss(half).g(
                    self.half_critic(half, part), part["b"], fakes[half], self.progress
                )
                for half, part in halves.items()
            }
        )
        distance, parts = self.measure_distances(
            fakes["encoded"], halves["encoded"], weight=self.pixel_weight or 0.0
        )
        found = self.find_latents(fakes["random"])
        # The encoder's mean alone, without a draw, as in the authors' code.
        latent = F.l1_loss(found, halves["random"]["z"])
        total = self.adversarial_weight * adversarial + distance
        total = total + self.kl_weight * terms["kl"] + self.latent_weight * latent
        bare = {"kl": terms["kl"].detach(), "latent": latent.detach()}
        return total, logs | parts | bare

    def find_latents(self, image: Tensor) -> Tensor:
        """Finds the latents (N,z_dim) of fakes by an encoder that does not learn from it."""
        # Not by no_grad: the gradient must pass through the encoder to the image.
        resting = {name: value.detach() for name, value in self.encoder.named_parameters()}
        mean, _ = torch.func.functional_call(self.encoder, resting, (image,))
        return mean.float()
