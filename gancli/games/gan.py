"""Noise to image: one generator against one discriminator.

MLP, CGAN, DCGAN and more are this game with other networks.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from gancli.augment.base import Augment, follow
from gancli.critic import BoundCritic
from gancli.errors import UserError
from gancli.game import (
    Batch,
    Critic,
    Discriminator,
    Game,
    Generator,
    Logs,
    Option,
    Phase,
    due,
    members_of,
)
from gancli.games.heads import Head
from gancli.games.options import TRUNCATION
from gancli.losses.adversarial import AdversarialLoss


class GAN(Game):
    """Goodfellow 2014, algorithm 1; conditional, both networks see the image's label.

    The conditional game is Mirza and Osindero 2014.

    generator: forward(z (N,z_dim), label) -> (N,C,H,W), with attributes z_dim and classes (0:
    unconditional)
    discriminator: trunk(x, label) -> features, head(features, label) -> scores
    latent: the distribution of z, of unit variance either way
    heads: tasks beside real or fake, on the discriminator's features
    pack: images that the discriminator scores together (PacGAN, Lin 2018); it then has pack times
    the channels
    generator_batch: fakes in a step of the generator, in batches (SNGAN's code: 2)
    shared_fakes: does the generator learn from the very fakes that the discriminator has just met,
    where both move? It saves a pass through the generator, whose batch norm then sees one batch a
    step less. DCGAN's code in pytorch/examples does so
    """

    generator: Generator
    discriminator: Discriminator
    adversarial: AdversarialLoss
    judges_images = True

    def __init__(
        self,
        *,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: AdversarialLoss,
        augment: Augment | None = None,
        conditional: bool = False,
        latent: Literal["normal", "uniform"] = "normal",
        heads: dict[str, Head] | None = None,
        pack: int = 1,
        generator_batch: int = 1,
        shared_fakes: bool = False,
    ):
        super().__init__(generator=generator, discriminator=discriminator, loss=loss)
        self.augment = augment
        self.conditional = conditional
        self.latent = latent
        self.heads = nn.ModuleDict(heads or {})
        self.pack = pack
        self.generator_batch = generator_batch
        self.shared_fakes = shared_fakes
        # Made in phase d for phase g of the same step; None in all other moments, so nothing of it
        # belongs into a checkpoint.
        self.kept_fake: Tensor | None = None
        self.pieces = 0  # micro-batches of phase d since the last phase g
        if pack < 1 or generator_batch < 1:
            raise ValueError(f"pack={pack}, generator_batch={generator_batch}: give 1 or more")
        if shared_fakes and generator_batch > 1:
            raise ValueError(
                f"shared_fakes=true, generator_batch={generator_batch}: the discriminator has met "
                "one batch of fakes; use generator_batch=1, or shared_fakes=false"
            )
        if shared_fakes and not self.can_share_fakes():
            raise ValueError(
                f"shared_fakes=true: {type(self).__name__} draws fakes for each of its losses; "
                "use shared_fakes=false"
            )
        if pack > 1 and (conditional or heads):
            raise ValueError(
                f"pack={pack}: a pack of images has no label and no task of its own; "
                "use pack=1, or conditional=false without heads"
            )
        for name, head in members_of(self.heads, Head).items():
            if head.needs_labels and not conditional:
                raise ValueError(
                    f"heads.{name} is about classes: add model.conditional=true, on labelled data"
                )
            head.attach(self.discriminator.feature_dim)

    @property
    def needs(self) -> tuple[str, ...]:
        """Asks for "image" (N,C,H,W), and for "label" where the game is conditional."""
        return ("image", "label") if self.conditional else ("image",)

    def players(self) -> dict[str, list[nn.Module]]:
        """Moves the heads with the discriminator, whose features they read."""
        return {"g": [self.generator], "d": [self.discriminator, *self.heads.values()]}

    def can_share_fakes(self) -> bool:
        """Says whether both losses and the phases are those of `GAN`, which know kept fakes."""
        own = type(self)
        return (own.d_loss, own.g_loss, own.phases) == (GAN.d_loss, GAN.g_loss, GAN.phases)

    def phases(self) -> list[Phase]:
        """Lists d and g; with `shared_fakes` d runs the generator with the graph that g uses."""
        phases = super().phases()
        if self.shared_fakes:
            phases[0] = replace(phases[0], builds=("g",))
        return phases

    def sampling_options(self) -> tuple[Option, ...]:
        """Adds `truncation`, a bound on each number of a latent."""
        return (*super().sampling_options(), TRUNCATION)

    def inputs(
        self,
        n: int,
        rng: torch.Generator | None,
        *,
        label: Tensor | None = None,
        truncation: float | None = None,
    ) -> Batch:
        """Draws z (n,z_dim) and, when conditional, label (n,).

        The labels are the given ones, or uniform over the classes. truncation: numbers beyond it
        are drawn again (Brock 2019, section 3.1).
        """
        device = next(self.generator.parameters()).device if rng is None else torch.device("cpu")
        z = torch.empty(n, self.generator.z_dim, device=device)
        z = (
            z.normal_(generator=rng)
            if self.latent == "normal"
            # Within +-sqrt 3 a uniform number has variance 1, as the normal has.
            else z.uniform_(-(3**0.5), 3**0.5, generator=rng)
        )
        if truncation is not None:
            z = self.truncate_latents(z, rng, truncation)
        if not self.conditional:
            return {"z": z}
        if label is None and self.attributes:
            # Each attribute by a coin of its own: which go together only the data know.
            label = torch.rand(n, self.classes, generator=rng, device=device).round()
        elif label is None:
            label = torch.randint(self.generator.classes, (n,), generator=rng, device=device)
        return {"z": z, "label": label}

    def truncate_latents(self, z: Tensor, rng: torch.Generator | None, limit: float) -> Tensor:
        """Draws latents anew from the normal distribution, cut at -limit and limit.

        Brock 2019, section 3.1.

        Args:
            z: (N,z_dim), of which only shape, device and type count.
            rng: As of `inputs`.
            limit: Above 0; 2 is mild, 0.5 strong.

        Raises:
            UserError: for uniform latents, which have an end already, and for limits that are none.
        """
        if self.latent != "normal" or limit <= 0:
            raise UserError(
                f"truncation={limit} does not apply to this checkpoint: "
                + ("its latents are uniform" if limit > 0 else "it is a bound above 0"),
                "leave truncation= out, or give 0.5",
            )
        # The inverse of the normal's distribution function: drawing again would not end for a small
        # bound.
        u = 0.5 + (torch.rand(z.shape, generator=rng, device=z.device) - 0.5) * torch.erf(
            torch.tensor(limit / 2**0.5)
        )
        # In float64, where the inverse is exact far out; the clamp serves a u that fp32 has rounded
        # to 0 or 1.
        drawn: Tensor = torch.special.ndtri(u.double())
        return drawn.to(z.dtype).clamp(-limit, limit)

    def preview_inputs(self, columns: int, rng: torch.Generator) -> Batch:
        """Draws a row for each class where there are classes (the first 16)."""
        if not self.conditional:
            return self.inputs(8 * columns, rng)
        rows = min(self.generator.classes, 16)
        label = torch.arange(rows).repeat_interleave(columns)
        if self.attributes:  # one at a time
            label = torch.eye(self.classes)[label]
        return self.inputs(rows * columns, rng, label=label)

    def sample(self, inputs: Batch, generator: nn.Module) -> Tensor:
        """Makes images (N,C,H,W) of "z" (N,z_dim) and, where it is there, "label"."""
        fakes: Tensor = generator(inputs["z"], inputs.get("label"))
        return fakes

    def image_critic(self, batch: Batch) -> Critic:
        """Binds the discriminator to the batch's labels; it judges single images."""
        return self.critic(batch)

    def critic(self, batch: Batch) -> BoundCritic:
        """Binds the batch's labels, augmentation, instance noise and packing."""
        label = batch.get("label")
        return BoundCritic(
            partial(self.discriminator.trunk, label=label),
            partial(self.score_hidden, label=label),
            augment=self.augment,
            noise=self.adversarial.noise(self.progress),
            pack=self.pack,
        )

    def score_hidden(self, hidden: Tensor, label: Tensor | None) -> Tensor:
        """Scores features, and adds what heads add to it (projection).

        Args:
            hidden: What the discriminator's trunk left, (M,...).
            label: (M,) classes, (M,K) attributes or None.

        Returns:
            Scores (M,...), of a patch discriminator a map of them.
        """
        scores = self.discriminator.head(hidden, label=label)
        for head in members_of(self.heads, Head).values():
            scores = scores + head.score(hidden.flatten(1), label)
        return scores

    def fake(self, batch: Batch) -> Tensor:
        """Makes one fake per real, with the batch's own labels: both share the conditioning."""
        return self.sample(
            self.inputs(len(batch["image"]), None, label=batch.get("label")), self.generator
        )

    def keep_fake(self, batch: Batch) -> Tensor:
        """Makes fakes (N,C,H,W) for the discriminator, and keeps their graph for a phase g."""
        if not due(self.progress.step, self.n_critic):
            with torch.no_grad():  # the generator rests in this step
                return self.fake(batch)
        self.pieces += 1
        if self.pieces > 1:
            # A run may be resumed with its batches cut (trainer.accumulate=2): the generator's
            # pieces have labels of their own, so nothing is kept for them.
            self.kept_fake = None
            with torch.no_grad():
                return self.fake(batch)
        self.kept_fake = self.fake(batch)
        return self.kept_fake.detach()

    def constrain(self, logs: Logs) -> None:
        """Clips where the loss clips, heads that score too, and moves p of ADA."""
        super().constrain(logs)
        for head in members_of(self.heads, Head).values():
            if head.scores:
                self.adversarial.constrain(head)
        follow(self.augment, logs, self.progress.nimg)

    def d_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Adds the heads' terms to the adversarial loss of reals and fresh fakes."""
        critic = self.critic(batch)
        real = batch["image"]
        fake = self.fake(batch) if not self.shared_fakes else self.keep_fake(batch)
        loss, logs = self.adversarial.d(critic, real, fake, self.progress)
        return self.with_heads(
            loss,
            logs,
            [
                head.d(critic, real, fake, batch.get("label"))
                for head in members_of(self.heads, Head).values()
            ],
        )

    def g_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Adds the heads' terms to the adversarial loss of `generator_batch` batches of fakes."""
        if self.generator_batch > 1:
            # The reals are repeated for relativistic losses and for their labels; the latents are
            # new.
            batch = {key: torch.cat([value] * self.generator_batch) for key, value in batch.items()}
        critic = self.critic(batch)
        real = batch["image"]
        if self.kept_fake is None:
            fake = self.fake(batch)
        else:
            fake = self.kept_fake
        self.kept_fake = None
        self.pieces = 0
        loss, logs = self.adversarial.g(critic, real, fake, self.progress)
        return self.with_heads(
            loss,
            logs,
            [
                head.g(critic, real, fake, batch.get("label"))
                for head in members_of(self.heads, Head).values()
            ],
        )

    def with_heads(
        self, loss: Tensor, logs: Logs, terms: list[tuple[Tensor | float, Logs]]
    ) -> tuple[Tensor, Logs]:
        """Adds the terms of all auxiliary heads to a loss and to its logs."""
        for name, (term, parts) in zip(self.heads, terms, strict=True):
            loss = loss + term
            logs = logs | {f"{name}_{key}": value for key, value in parts.items()}
        return loss, logs
