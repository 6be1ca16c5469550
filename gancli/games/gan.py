"""Noise to image: one generator against one discriminator. MLP, CGAN, DCGAN and more are this game with other networks."""
from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from gancli.critic import BoundCritic
from gancli.game import Batch, Game, Logs
from gancli.losses.adversarial import AdversarialLoss


class GAN(Game):
    """Goodfellow 2014, algorithm 1; conditional: both networks see the image's label (Mirza and Osindero 2014).

    generator: forward(z (N,z_dim), label) -> (N,C,H,W), with attributes z_dim and classes (0: unconditional)
    discriminator: trunk(x, label) -> features, head(features, label) -> scores
    latent: the distribution of z, of unit variance either way
    """

    def __init__(self, *, generator: nn.Module, discriminator: nn.Module, loss: AdversarialLoss,
                 augment: nn.Module | None = None, conditional: bool = False,
                 latent: Literal["normal", "uniform"] = "normal"):
        super().__init__(generator=generator, discriminator=discriminator, loss=loss)
        self.augment, self.conditional, self.latent = augment, conditional, latent

    @property
    def needs(self) -> tuple[str, ...]:
        return ("image", "label") if self.conditional else ("image",)

    def inputs(self, n: int, rng: torch.Generator | None, *, label: Tensor | None = None) -> Batch:
        """z (n,z_dim) and, when conditional, label (n,): the given ones, or uniform over the classes."""
        device = next(self.generator.parameters()).device if rng is None else torch.device("cpu")
        z = torch.empty(n, self.generator.z_dim, device=device)
        z = z.normal_(generator=rng) if self.latent == "normal" else z.uniform_(-(3**0.5), 3**0.5, generator=rng)
        if not self.conditional:
            return {"z": z}
        if label is None:
            label = torch.randint(self.generator.classes, (n,), generator=rng, device=device)
        return {"z": z, "label": label}

    def showcase(self, columns: int, rng: torch.Generator) -> Batch:
        """A row per class where there are classes (the first 16), many samples where they are points."""
        if not self.conditional:
            return self.inputs(8 * columns, rng)
        rows = min(self.generator.classes, 16)
        return self.inputs(rows * columns, rng, label=torch.arange(rows).repeat_interleave(columns))

    def sample(self, inputs: Batch, generator: nn.Module) -> Tensor:
        return generator(inputs["z"], inputs.get("label"))

    def critic(self, batch: Batch) -> BoundCritic:
        label = batch.get("label")
        return BoundCritic(partial(self.discriminator.trunk, label=label), partial(self.discriminator.head, label=label),
                           augment=self.augment, noise=self.adversarial.noise(self.progress))

    def fake(self, batch: Batch) -> Tensor:
        """One fake per real, with the batch's own labels, so that both share the conditioning."""
        return self.sample(self.inputs(len(batch["image"]), None, label=batch.get("label")), self.generator)

    def d_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        return self.adversarial.d(self.critic(batch), batch["image"], self.fake(batch), self.progress)

    def g_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        return self.adversarial.g(self.critic(batch), batch["image"], self.fake(batch), self.progress)
