"""Source to target: one game with other data and terms for many tasks.

Pix2pix, super-resolution, inpainting, enhancement and refinement are this game.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.augment.base import Augment, follow
from gancli.critic import BoundCritic
from gancli.errors import UserError
from gancli.game import Batch, Discriminator, Game, Logs, Phase
from gancli.games.pool import ImagePool, blank_batch
from gancli.losses.adversarial import AdversarialLoss
from gancli.networks.inpainting import compute_overlap
from gancli.networks.layers import size_of
from gancli.networks.patchgan import PatchDiscriminator
from gancli.networks.perceptual import Perceptual
from gancli.networks.translation import Translator

Direction = Literal["ab", "ba"]
DISTANCES = {"l1": F.l1_loss, "l2": F.mse_loss, "huber": F.smooth_l1_loss}


class Translation(Game):
    """Isola 2017, section 3: an adversarial term, and a distance to the target.

    A batch has the source "a" and the target "b".

    generator: Translator, a -> b. discriminator: with loss=None it is left out, and the distances
    alone teach
    judged: images that the discriminator sees at once: 2, the source beside the
    other one (pix2pix), or 1
    adversarial_weight, perceptual_weight, pixel_weight: of the generator's terms; pixel_weight
    None: 1 without a perceptual network, else 0
    pixel: the distance, a mean over pixels, from `toward`: the target, or the source (SimGAN, where
    b is only what real ones look like). perceptual: a distance of features
    warmup: steps in which the distances alone teach (SRGAN's first stage); the
    discriminator starts after them
    pool: fakes in the image history buffer. resolution, channels: of the targets
    """

    generator: Translator
    adversarial: AdversarialLoss | None
    directions = ("ab",)

    def __init__(
        self,
        *,
        generator: Translator,
        discriminator: nn.Module | None,
        resolution: int | list[int],
        channels: int,
        loss: AdversarialLoss | None = None,
        augment: Augment | None = None,
        perceptual: Perceptual | None = None,
        judged: int = 2,
        adversarial_weight: float = 1.0,
        perceptual_weight: float = 1.0,
        pixel_weight: float | None = 100.0,
        pixel: Literal["l1", "l2", "huber"] = "l1",
        toward: Literal["target", "source"] = "target",
        warmup: int = 0,
        pool: int = 0,
    ):
        super().__init__(
            generator=generator, discriminator=None if loss is None else discriminator, loss=loss
        )
        if loss is not None and discriminator is None:
            raise ValueError(
                "there is a loss, and no discriminator: give model.discriminator, or loss=none"
            )
        if judged not in (1, 2) or warmup < 0 or adversarial_weight < 0 or (pixel_weight or 0) < 0:
            raise ValueError(
                f"judged={judged}, warmup={warmup}, adversarial_weight={adversarial_weight}, "
                f"pixel_weight={pixel_weight}: the first is 1 or 2, the others are 0 or more"
            )
        # Features replace pixels unless these are asked for; alone, pixels have to teach.
        if pixel_weight is None:
            pixel_weight = 1.0 if perceptual is None else 0.0
        if loss is None and not pixel_weight and perceptual is None:
            raise ValueError(
                "loss=none, pixel_weight=0 and no perceptual network: nothing is left to learn from"
            )
        self.size = size_of(resolution)
        self.channels = channels
        check_source_fits(generator, self.source_size)
        check_critic_fits(self.discriminator, self.size)
        self.augment = augment
        self.judged = judged
        self.perceptual = perceptual
        self.adversarial_weight = adversarial_weight
        self.perceptual_weight = perceptual_weight
        self.pixel_weight = pixel_weight
        self.warmup = warmup
        self.toward = toward
        self.distance = DISTANCES[pixel]
        self.pool = ImagePool(pool, (channels, *self.size)) if pool else None

    @property
    def needs(self) -> tuple[str, ...]:
        """Asks for sources "a" and targets "b", both (N,C,H,W) in [-1,1]."""
        return ("a", "b")

    @property
    def source_size(self) -> tuple[int, int]:
        """Gives (height, width) of a source: the target's, divided by the scale."""
        return self.size[0] // self.generator.scale, self.size[1] // self.generator.scale

    def phases(self) -> list[Phase]:
        """Plays d and g, after `warmup` steps of distances; without a discriminator, these only.

        With a history buffer d sees some older fakes, and the fakes are made before the batch is
        cut.
        """
        if self.discriminator is None:
            return [Phase(name="g", loss=self.distance_loss, updates=("g",))]
        d, g = super().phases()
        warm = (
            [Phase(name="warmup", loss=self.distance_loss, updates=("g",), stop=self.warmup)]
            if self.warmup
            else []
        )
        return [
            *warm,
            replace(
                d, start=self.warmup, prepare=self.swap_fakes if self.pool is not None else None
            ),
            replace(g, start=self.warmup),
        ]

    def ready(self) -> None:
        """Reads the perceptual network's weights. Raises ValueError without them."""
        if self.perceptual is not None:
            self.perceptual.load()

    def inputs(self, n: int, rng: torch.Generator | None) -> Batch:
        """Raises UserError: there is nothing to draw."""
        raise UserError(
            "this model makes images out of images, and not out of noise",
            "gan translate ckpt=RUN input=FOLDER out=FOLDER",
        )

    def example(self, n: int, channels: int, size: tuple[int, int]) -> Batch:
        """Makes a batch as `Game.example` does, of sources and targets of their sizes."""
        return blank_batch(
            n, self.needs, channels=channels, source=self.source_size, target=self.size
        )

    def describe_critic_input(self) -> str:
        """Tells whether the discriminator sees a source beside each image."""
        return "an image beside its source" if self.judged == 2 else "translated images"

    def translator(self, generator: nn.Module, direction: str = "ab") -> Translator:
        """Finds the network of a direction, which tells what sizes it takes and gives."""
        assert isinstance(generator, Translator)
        return generator

    def sample(self, inputs: Batch, generator: nn.Module, *, direction: Direction = "ab") -> Tensor:
        """Translates inputs["a"] (N,C,H,W), of any size it takes, to (N,C,scale * H,scale * W)."""
        return generator(inputs["a"])

    def draw_panels(self, batch: Batch, generator: nn.Module) -> dict[str, Tensor]:
        """Makes the panels of a sample grid: source, output, target."""
        return {"source": batch["a"], "output": self.sample(batch, generator), "target": batch["b"]}

    def require_discriminator(self) -> tuple[Discriminator, AdversarialLoss]:
        """Gives discriminator and loss to whatever only runs in games that have them.

        `loss=none` leaves both out; nothing may then ask for them.
        """
        assert self.discriminator is not None and self.adversarial is not None, (
            "loss=none leaves the discriminator out, and nothing asks for it"
        )
        return cast(Discriminator, self.discriminator), self.adversarial

    def critic(self, batch: Batch) -> BoundCritic:
        """Binds the sources, enlarged to the targets' size, where it judges two images."""
        network, loss = self.require_discriminator()
        noise = loss.noise(self.progress)
        if self.judged == 1:
            return BoundCritic(network.trunk, network.head, augment=self.augment, noise=noise)
        source = (
            batch["a"]
            if batch["a"].shape[2:] == self.size
            # Super-resolution: the discriminator needs source and image of one size to join them.
            else F.interpolate(batch["a"], self.size, mode="bicubic")
        )
        return BoundCritic(
            network.trunk,
            network.head,
            noise=noise,
            join=partial(self.join_source, source),
        )

    def join_source(self, source: Tensor, x: Tensor) -> Tensor:
        """Joins images (N,C,H,W) and their sources along the channels, the image first.

        Augmentation colours the first channels alone; its geometry moves both alike.
        """
        both = torch.cat([x, source.to(x.dtype)], 1)
        return both if self.augment is None else self.augment(both)

    @torch.no_grad()
    def swap_fakes(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Makes "fake" (N,C,H,W) of the whole batch, some of them older ones."""
        assert self.pool is not None
        return batch | {"fake": self.pool.swap(self.make_fake(batch), rng)}

    def make_fake(self, batch: Batch) -> Tensor:
        """Makes (N,C,H,W) of a training batch's sources, with its graph."""
        return self.sample(batch, self.generator)

    def constrain(self, logs: Logs) -> None:
        """Clips where the loss clips, and moves p of an adaptive augmentation."""
        super().constrain(logs)
        follow(self.augment, logs, self.progress.nimg)

    def d_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Scores targets against translations, which may come from the history buffer."""
        fake = batch["fake"] if "fake" in batch else self.make_fake(batch)
        return self.require_discriminator()[1].d(
            self.critic(batch), batch["b"], fake, self.progress
        )

    def g_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Adds the distances to the weighted adversarial term (Isola 2017, equation 4)."""
        fake = self.make_fake(batch)
        loss = self.require_discriminator()[1]
        adversarial, logs = loss.g(self.critic(batch), batch["b"], fake, self.progress)
        distance, parts = self.measure_distances(fake, batch, weight=self.pixel_weight)
        return self.adversarial_weight * adversarial + distance, logs | parts

    def distance_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Teaches without a discriminator.

        In a warm-up pixels alone, whatever their weight is later (SRGAN's SRResNet).
        """
        warm = self.discriminator is not None
        return self.measure_distances(
            self.make_fake(batch),
            batch,
            weight=1.0 if warm else self.pixel_weight,
            pixels_only=warm,
        )

    def measure_distances(
        self, fake: Tensor, batch: Batch, *, weight: float, pixels_only: bool = False
    ) -> tuple[Tensor, Logs]:
        """Measures how far fakes are from what they shall be, in pixels and in features.

        Args:
            fake: (N,C,H,W) in [-1,1].
            batch: Holds that, "b" or by `toward` the source "a".
            weight: Of the pixels' distance.
            pixels_only: Leaves the perceptual network out.

        Returns:
            The weighted sum, and its terms without weights.
        """
        aim = batch["b"] if self.toward == "target" else batch["a"]
        pixel = self.pixel_distance(fake, aim, batch)
        total = weight * pixel
        logs = {"pixel": pixel.detach()}
        if self.perceptual is not None and not pixels_only:
            term = self.perceptual(fake, aim)
            total, logs["perceptual"] = total + self.perceptual_weight * term, term.detach()
        return total, logs

    def pixel_distance(self, fake: Tensor, aim: Tensor, batch: Batch) -> Tensor:
        """Measures the mean distance of (N,C,H,W), per value in [-1,1], in full precision."""
        # Near 1 a step of bf16 is half a level of 8 bits.
        return self.distance(fake.float(), aim)


class Inpainting(Translation):
    """Pathak 2016: the generator makes what is in the holes, and everything else stays as it is.

    The batch has a "mask", 1 in the holes. The generator sees it as one more channel if it has room
    for it.

    overlap: share of each side by which what the generator makes in training reaches beyond its
    holes, over pixels that it sees. There its distance counts ten times, and the discriminator sees
    what it made, so that it learns to meet what is there; in a sample the true pixels stay (their
    code's overlapPred: 4 of 128 pixels)
    border: pixels inside the hole whose distance counts ten times too
    """

    extras = ("mask",)

    def __init__(
        self,
        *,
        generator: Translator,
        discriminator: nn.Module | None,
        resolution: int | list[int],
        channels: int,
        loss: AdversarialLoss | None = None,
        augment: Augment | None = None,
        perceptual: Perceptual | None = None,
        adversarial_weight: float = 0.001,
        perceptual_weight: float = 1.0,
        pixel_weight: float | None = 0.999,
        pixel: Literal["l1", "l2", "huber"] = "l2",
        overlap: float = 0.0,
        border: int = 0,
        warmup: int = 0,
    ):
        super().__init__(
            generator=generator,
            discriminator=discriminator,
            resolution=resolution,
            channels=channels,
            loss=loss,
            augment=augment,
            perceptual=perceptual,
            judged=1,
            adversarial_weight=adversarial_weight,
            perceptual_weight=perceptual_weight,
            pixel_weight=pixel_weight,
            pixel=pixel,
            warmup=warmup,
        )
        if border < 0:
            raise ValueError(f"border={border}: give 0 or more pixels")
        self.border = border
        self.reach = compute_overlap(self.size, overlap)

    @property
    def needs(self) -> tuple[str, ...]:
        """Asks for "mask" (N,1,H,W) too, 1 in the holes."""
        return ("a", "b", "mask")

    def sample(self, inputs: Batch, generator: nn.Module, *, direction: Direction = "ab") -> Tensor:
        """Fills the holes of images.

        inputs: "a" (N,C,H,W) with holes of any colour, "mask" (N,1,H,W).
        """
        return self.fill(inputs, generator, inputs["mask"])

    def fill(self, inputs: Batch, generator: nn.Module, where: Tensor) -> Tensor:
        """Puts what the generator makes where `where` (N,1,H,W) is 1, and keeps the rest."""
        image = inputs["a"]
        seen = (
            image
            if generator.channels_in == image.shape[1]
            else torch.cat([image, inputs["mask"].to(image.dtype)], 1)
        )
        # At weight 0 lerp gives the true pixel to the last bit.
        return torch.lerp(image, generator(seen).to(image.dtype), where.to(image.dtype))

    def make_fake(self, batch: Batch) -> Tensor:
        """Fills the holes and a border around them, of `overlap`, with its graph."""
        return self.fill(batch, self.generator, self.widen_mask(batch["mask"]))

    def widen_mask(self, mask: Tensor) -> Tensor:
        """Widens holes (N,1,H,W) by what is made around them in training too."""
        rows, columns = self.reach
        if rows == columns == 0:
            return mask
        return F.max_pool2d(mask, (2 * rows + 1, 2 * columns + 1), 1, (rows, columns))

    def pixel_distance(self, fake: Tensor, aim: Tensor, batch: Batch) -> Tensor:
        """Averages distances over the made pixels, borders counting ten times."""
        mask = batch["mask"]
        made = self.widen_mask(mask)
        # A maximum of "known" over the border's window marks the hole's own pixels near its edge.
        reach = 2 * self.border + 1
        inside = (
            F.max_pool2d(1 - F.pad(mask, [self.border] * 4, value=1), reach, 1)
            if self.border
            else torch.zeros_like(mask)
        )
        # 10 where it meets known pixels and beyond (their code's wtoverlap), 1 in the hole's
        # middle.
        weight = made * (1 + 9 * torch.maximum(inside, 1 - mask))
        error = (
            (fake.float() - aim).abs()
            if self.distance is F.l1_loss
            else (fake.float() - aim).square()
        )
        # By the made pixels, not all: a small hole must not make a small loss. An empty one costs
        # 0.
        return (error * weight).sum() / (made.sum() * fake.shape[1]).clamp(min=1)


def check_critic_fits(discriminator: nn.Module | None, size: tuple[int, int]) -> None:
    """Raises ValueError for images that are too small for a discriminator of patches."""
    if isinstance(discriminator, PatchDiscriminator) and min(size) < discriminator.smallest:
        raise ValueError(
            f"images of {size[1]}x{size[0]} pixels: the discriminator's patches need "
            f"{discriminator.smallest}; give the discriminator fewer layers, or choose a larger "
            "dataset.resolution"
        )


def check_source_fits(generator: Translator, size: tuple[int, int]) -> None:
    """Raises ValueError for sources of a size that the network does not take."""
    multiple = generator.multiple
    least = generator.smallest
    if generator.size is not None and tuple(generator.size) != tuple(size):
        raise ValueError(
            f"sources of {size[1]}x{size[0]} pixels, where the generator takes "
            f"{generator.size[1]}x{generator.size[0]} only"
        )
    if any(side % multiple or side < least for side in size):
        good = max(least, round(min(size) / multiple) * multiple) * generator.scale
        raise ValueError(
            f"sources of {size[1]}x{size[0]} pixels: the generator takes sides from {least} "
            f"pixels on that are multiples of {multiple}; try dataset.resolution={good}, or fewer "
            "model.generator.downs"
        )
