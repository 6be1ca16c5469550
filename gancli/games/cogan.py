"""CoGAN: two domains learned together without pairs.

Both generators share what both discriminators share: the meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.augment.base import Augment, colours
from gancli.critic import BoundCritic
from gancli.errors import UserError
from gancli.game import Batch, Discriminator, Logs, Option
from gancli.games.gan import GAN
from gancli.games.options import DOMAIN
from gancli.games.several import sum_losses
from gancli.losses.adversarial import AdversarialLoss

Domain = Literal["a", "b", "both"]


class CoGAN(GAN):
    """Liu and Tuzel 2016.

    Domain a is the data; b is the edges of other images of the data, or their negatives (section
    4).

    generator: z (N,z_dim) -> an image of a and one of b. discriminator: ModuleDict of
    two, "a" and "b"
    """

    # A discriminator and a loss for each domain, where GAN has one of each.
    discriminator: nn.ModuleDict  # type: ignore[assignment]
    adversarial: nn.ModuleDict  # type: ignore[assignment]

    def __init__(
        self,
        *,
        generator: nn.Module,
        discriminator: nn.ModuleDict,
        loss: AdversarialLoss,
        augment: Augment | None = None,
        latent: Literal["normal", "uniform"] = "normal",
        second: Literal["edges", "negatives"] = "edges",
    ):
        super().__init__(
            generator=generator,
            discriminator=discriminator,
            loss=loss,
            augment=augment,
            latent=latent,
        )
        self.second = second

    def sampling_options(self) -> tuple[Option, ...]:
        """Adds `domain`: images of a, of b, or pairs."""
        return (*super().sampling_options(), DOMAIN)

    def inputs(  # type: ignore[override]  # keywords are sampling options, and it has no labels
        self, n: int, rng: torch.Generator | None, *, truncation: float | None = None
    ) -> Batch:
        """Draws z (n,z_dim), of which `sample` makes a pair. truncation: see GAN."""
        return super().inputs(n, rng, truncation=truncation)

    def preview_inputs(self, columns: int, rng: torch.Generator) -> Batch:
        """Makes pairs, one below the other.

        Rows of domain a, each above the same latents' row of domain b.
        """
        # Half of the usual 8 rows: each latent stands there twice.
        z = self.inputs(4 * columns, rng)["z"].unflatten(0, (4, columns))
        domain = torch.tensor([0, 1]).repeat_interleave(columns).repeat(4)
        return {"z": torch.stack([z, z], 1).flatten(0, 2), "domain": domain}

    def sample(
        self, inputs: Batch, generator: nn.Module, *, domain: Domain | None = None
    ) -> Tensor:
        """Makes images (N,C,H,W) of domain a or b, or both side by side (N,C,H,2W).

        Args:
            inputs: "z" (N,z_dim); "domain" (N,), 0 or 1, says it for each image where `domain` is
                None.
            generator: Makes both domains at once, from what they share.
            domain: None is a.

        Raises:
            UserError: for another domain.
        """
        a, b = generator(inputs["z"])
        if domain is None and "domain" in inputs:
            return torch.where(inputs["domain"][:, None, None, None] == 0, a, b)
        images = {None: a, "a": a, "b": b, "both": torch.cat([a, b], 3)}
        if domain not in images:
            raise UserError(
                f"domain={domain}: this model makes images of two domains", "give a, b or both"
            )
        return images[domain]

    def critic(self, batch: Batch) -> BoundCritic:
        """Binds the discriminator of domain a, to which the data belong."""
        return self.domain_critic("a")

    def domain_critic(self, name: str) -> BoundCritic:
        """Binds the discriminator of domain `name` ("a" or "b"), which sees no labels."""
        network = cast(Discriminator, self.discriminator[name])
        return BoundCritic(
            network.trunk,
            network.head,
            augment=self.augment,
            noise=self.get_loss(name).noise(self.progress),
        )

    def get_loss(self, name: str) -> AdversarialLoss:
        """Finds the loss of domain `name`: each has running means of its own."""
        loss = self.adversarial[name]
        assert isinstance(loss, AdversarialLoss)
        return loss

    def split_domains(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Cuts the reals of both domains out of one batch, half and half.

        The first half of the batch stays as it is, of the second the edges or negatives are taken.
        Not both of every image: without pairs is what the paper claims, and so no step sees one.
        Not in the data set either: what b is belongs to the model, every data set of images will
        do, and windows and flips have been drawn by now.

        Args:
            image: (N,C,H,W) in [-1,1], N 2 or more.

        Returns:
            Domain a ((N+1)//2,C,H,W), domain b (N//2,C,H,W).
        """
        if len(image) < 2:
            raise UserError(
                "CoGAN shares a batch between its two domains, and one image is too few",
                "use a larger trainer.batch_size, or fewer micro-batches (trainer.accumulate)",
            )
        first, rest = image.chunk(2)
        return first, find_edges(rest) if self.second == "edges" else invert_colours(rest)

    def walk_domains(
        self, batch: Batch
    ) -> Iterator[tuple[str, tuple[BoundCritic, Tensor, Tensor]]]:
        """Yields the name of each domain, and its critic, reals and fakes (N/2,C,H,W)."""
        reals = self.split_domains(batch["image"])
        fakes = self.generator(self.inputs(len(reals[0]), None)["z"])
        for name, real, fake in zip(self.discriminator, reals, fakes, strict=True):
            # Of an odd batch b has one image fewer.
            yield (name, (self.domain_critic(name), real, fake[: len(real)]))

    def d_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Adds up the losses of both discriminators, each on half of the batch."""
        return sum_losses(
            {
                name: self.get_loss(name).d(*domain, self.progress)
                for name, domain in self.walk_domains(batch)
            }
        )

    def g_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Adds up what the fakes of both domains cost; one z makes a pair of them."""
        return sum_losses(
            {
                name: self.get_loss(name).g(*domain, self.progress)
                for name, domain in self.walk_domains(batch)
            }
        )


def find_edges(image: Tensor) -> Tensor:
    """Measures how much brighter than a pixel the brightest of its 3x3 neighbours is.

    As in the authors' code: dilation minus image. In [-1,1] like the image (N,C,H,W); alpha stays.
    """
    k = colours(image.shape[1])
    colour = image[:, :k]
    # A difference lies in [0,2]; less 1 it is an image in [-1,1] again.
    return torch.cat([F.max_pool2d(colour, 3, 1, 1) - colour - 1, image[:, k:]], 1)


def invert_colours(image: Tensor) -> Tensor:
    """Makes light what is dark in images (N,C,H,W) in [-1,1]; alpha stays."""
    k = colours(image.shape[1])
    return torch.cat([-image[:, :k], image[:, k:]], 1)
