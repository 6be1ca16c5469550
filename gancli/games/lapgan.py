"""LAPGAN: a pyramid of games.

The coarsest makes small images, each of the others what a twice as large one adds to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from gancli.augment.base import Augment
from gancli.critic import BoundCritic
from gancli.errors import UserError
from gancli.game import Batch, Discriminator, Generator, Logs, Option
from gancli.games.gan import GAN
from gancli.games.options import LEVEL, LEVELS, NOISE
from gancli.games.several import sum_losses
from gancli.losses.adversarial import AdversarialLoss
from gancli.networks.lapgan import double_size, split_pyramid
from gancli.networks.pggan import enlarge
from gancli.networks.stylegan import Noise


class GeneratorLevels(nn.ModuleList, Generator):
    """What `LapGAN` relies on in its generators; a view, to derive from or not.

    sizes: (height, width) of each level, the coarsest first
    """

    sizes: list[tuple[int, int]]


class DiscriminatorLevels(nn.ModuleList):
    """What `LapGAN` relies on in its discriminators; a view, to derive from or not.

    sizes, classes: as the generators'; feature_dim: of the finest level
    """

    sizes: list[tuple[int, int]]
    classes: int
    feature_dim: int


class LapGAN(GAN):
    """Denton 2015, section 3.

    In training every level gets true coarse images, so the levels are independent games: their
    networks share nothing, and the sum of their losses trains each as if it were alone. Sampling
    chains them.

    generator, discriminator: ModuleLists, the coarsest level first, with `sizes`; [0] are an
    ordinary pair, the other generators make a residual of (noise, low, label), the other
    discriminators see residual and low added
    latent: the distribution of z and of the noise planes
    """

    # The networks of all levels, and a loss for each, where GAN has one of each.
    generator: GeneratorLevels
    discriminator: DiscriminatorLevels  # type: ignore[assignment]
    adversarial: nn.ModuleList  # type: ignore[assignment]

    def __init__(
        self,
        *,
        generator: nn.ModuleList,
        discriminator: nn.ModuleList,
        loss: AdversarialLoss,
        augment: Augment | None = None,
        latent: Literal["normal", "uniform"] = "uniform",
    ):
        super().__init__(
            generator=generator,
            discriminator=discriminator,
            loss=loss,
            augment=augment,
            conditional=cast(GeneratorLevels, generator).classes > 0,
            latent=latent,
        )
        made = self.generator
        judged = self.discriminator
        if (made.sizes, made.classes) != (judged.sizes, judged.classes):
            raise ValueError(
                f"the generator's levels are {made.sizes}, with {made.classes} classes, the "
                f"discriminator's {judged.sizes}, with {judged.classes}: give both one resolution, "
                "levels "
                "and conditional"
            )

    def sampling_options(self) -> tuple[Option, ...]:
        """Adds `noise` of the planes, and `level` and `levels` of the pyramid."""
        return (*super().sampling_options(), NOISE, LEVEL, LEVELS)

    @property
    def levels(self) -> int:
        """Counts the sizes of the pyramid."""
        return len(self.generator)

    @property
    def planes(self) -> list[tuple[int, int]]:
        """Lists height and width of the noise of each level but the coarsest."""
        return [(size[0], size[1]) for size in self.generator.sizes[1:]]

    def draw_planes(self, low: Tensor, noise: Noise = "random") -> Tensor:
        """Draws the noise (N,1,h,w) beside a coarse image (N,C,h,w).

        For each image anew, one and the same for all, or zeros.
        """
        n, _, *size = low.shape
        if noise == "none":
            return low.new_zeros(n, 1, *size)
        # The same for all: drawn on the CPU, so that every device has the same.
        rng = torch.Generator().manual_seed(size[0]) if noise == "fixed" else None
        z = torch.empty(
            n if rng is None else 1, 1, *size, device=low.device if rng is None else "cpu"
        )
        z = (
            z.normal_(generator=rng)
            if self.latent == "normal"
            else z.uniform_(-(3**0.5), 3**0.5, generator=rng)
        )
        return z.to(low.device).expand(n, -1, -1, -1)

    def sample(
        self,
        inputs: Batch,
        generator: nn.Module,
        *,
        level: int | None = None,
        noise: Noise | list[Tensor] = "random",
    ) -> Tensor:
        """Makes images (N,C,H,W) of full size: a coarse one, doubled and refined level by level.

        Args:
            inputs: "z" (N,z_dim) of the coarsest level, and "label" where it is there.
            generator: ModuleList, the coarsest level first.
            level: Stop there, 0 the coarsest, and repeat its pixels.
            noise: fixed is the same for all images, as an animation needs it; a list has a plane
                (N,1,h,w) for each level but the coarsest, see `planes`.

        Raises:
            UserError: for a level that is not there.
        """
        last = self.levels - 1
        label = inputs.get("label")
        if level is None:
            level = last
        if not 0 <= level <= last:
            raise UserError(
                f"level={level}: this model's pyramid has levels 0 (the coarsest) to {last}",
                "leave level= out for the last",
            )
        assert isinstance(generator, nn.ModuleList)
        image = generator[0](inputs["z"], label)
        for k in range(1, level + 1):
            # In sampling the coarse image is a made one; training has shown true ones alone.
            low = double_size(image)
            plane = self.draw_planes(low, noise) if isinstance(noise, str) else noise[k - 1]
            image = low + generator[k](plane, low, label)
        return enlarge(image, 2 ** (last - level))

    def critic(self, batch: Batch) -> BoundCritic:
        """Binds the finest level's discriminator, which sees whole images."""
        return self.level_critic(-1, batch.get("label"), None)

    def level_critic(self, level: int, label: Tensor | None, low: Tensor | None) -> BoundCritic:
        """Binds the discriminator of one level, and labels (N,).

        It scores residuals where there is a coarse image `low` that they belong to, else images.
        """
        network = cast(Discriminator, self.discriminator[level])
        # A residual alone must not be moved or coloured: the augmentation has to see what the
        # network sees.
        return BoundCritic(
            partial(network.trunk, label=label),
            partial(network.head, label=label),
            noise=self.get_loss(level).noise(self.progress),
            augment=self.augment if low is None else None,
            join=None if low is None else lambda residual: self.augment_image(residual + low),
        )

    def get_loss(self, level: int) -> AdversarialLoss:
        """Finds the loss of a level: each has running means of its own."""
        loss = self.adversarial[level]
        assert isinstance(loss, AdversarialLoss)
        return loss

    def augment_image(self, image: Tensor) -> Tensor:
        """Augments images (N,C,H,W) where there is an augmentation."""
        return image if self.augment is None else self.augment(image)

    def walk_levels(self, batch: Batch) -> Iterator[tuple[BoundCritic, Tensor, Tensor]]:
        """Yields of each level, the coarsest first, its critic, its reals and its fakes.

        Images of the coarsest; of the others residuals of *true* coarse images, so that the levels
        train independently (Denton 2015, section 3).
        """
        label = batch.get("label")
        for k, (real, low) in enumerate(split_pyramid(batch["image"], self.levels)):
            if low is None:
                fake = self.generator[k](self.inputs(len(real), None, label=label)["z"], label)
            else:
                fake = self.generator[k](self.draw_planes(low), low, label)
            yield self.level_critic(k, label, low), real, fake

    def d_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Adds up the discriminators' losses of all levels, which share no parameter."""
        return sum_losses(
            {
                f"level{k}": self.get_loss(k).d(*level, self.progress)
                for k, level in enumerate(self.walk_levels(batch))
            }
        )

    def g_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Adds up the generators' losses of all levels, which share no parameter."""
        return sum_losses(
            {
                f"level{k}": self.get_loss(k).g(*level, self.progress)
                for k, level in enumerate(self.walk_levels(batch))
            }
        )
