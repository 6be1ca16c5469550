"""AmbientGAN: complete images learned from incomplete, blurred or noisy ones alone."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.augment.base import Augment
from gancli.game import Batch, Logs
from gancli.games.gan import GAN
from gancli.games.heads import Head
from gancli.losses.adversarial import AdversarialLoss


class Ambient(GAN):
    """Bora 2018: the discriminator compares measurements, so the generator makes complete images.

    The reals are measurements of images that nobody has seen. What the generator makes is measured
    likewise, with parameters of its own, before the discriminator sees it. A sample is not
    measured.

    measure: how the reals came about. mask, patch: pixels are missing, and the batch's key "seen"
    (N,1,H,W) is above 0 where they are not; a fake is hidden as another real of the batch is, so
    how holes are drawn need not be known, only that it has nothing to do with the image. blur: a
    Gaussian of `deviation` pixels and noise; noise: noise of `noise` levels of 255
    """

    judges_images = False  # the discriminator has never seen a complete one

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
        measure: Literal["mask", "patch", "blur", "noise"] = "mask",
        deviation: float = 1.0,
        noise: float = 25.0,
    ):
        super().__init__(
            generator=generator,
            discriminator=discriminator,
            loss=loss,
            augment=augment,
            conditional=conditional,
            latent=latent,
            heads=heads,
            pack=pack,
            generator_batch=generator_batch,
        )
        if deviation < 0 or noise < 0:
            raise ValueError(f"deviation={deviation}, noise={noise}: give 0 or more")
        self.hides = measure in ("mask", "patch")
        self.deviation = deviation if measure == "blur" else 0.0
        self.noise = noise

    @property
    def needs(self) -> tuple[str, ...]:
        """Adds "seen" (N,1,H,W), which is above 0 at known pixels, where pixels are missing."""
        return (*super().needs, "seen") if self.hides else super().needs

    def example(self, n: int, channels: int, size: tuple[int, int]) -> Batch:
        """Makes a batch as `Game.example` does; all pixels of "seen" (n,1,H,W) are known."""
        batch = {
            "image": torch.zeros(n, channels, *size),
            "label": torch.zeros(n, dtype=torch.int64),
            "seen": torch.ones(n, 1, *size),
        }
        return {key: batch[key] for key in self.needs}

    def describe_critic_input(self) -> str:
        """Tells why the discriminator cannot rank whole images: it never saw one."""
        return "measured images alone"

    def measure(self, image: Tensor, batch: Batch) -> Tensor:
        """Measures images (N,C,H,W) with fresh parameters: other masks of the batch, new noise."""
        if self.hides:
            # The batch's own masks are draws of the true distribution; rolled, so that no fake has
            # that of its own real.
            return hide(image, batch["seen"].roll(1, 0))
        image = blur_images(image, self.deviation)
        # Files hold no values beyond black and white, so neither do measurements.
        # Levels of 255 become units of [-1,1].
        return (image + self.noise / 127.5 * torch.randn_like(image)).clamp(-1, 1)

    def fake(self, batch: Batch) -> Tensor:
        """Makes one measured fake (N,C,H,W) per real; the measurement is drawn anew."""
        return self.measure(super().fake(batch), batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Scores measured reals against measured fakes (Bora 2018, section 4)."""
        return super().d_loss(self.hide_missing(batch))

    def g_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Scores measured fakes; the gradient passes through the measurement."""
        return super().g_loss(self.hide_missing(batch))

    def hide_missing(self, batch: Batch) -> Batch:
        """Puts the same value into the holes of the reals as into those of the fakes."""
        if not self.hides:
            return batch
        return batch | {"image": hide(batch["image"], batch["seen"])}


def hide(image: Tensor, seen: Tensor) -> Tensor:
    """Sets images (N,C,H,W) to 0, a middle grey, where seen (N,1,H,W) is not above 0."""
    return image * (seen > 0).to(image.dtype)


def blur_images(x: Tensor, deviation: float) -> Tensor:
    """Filters images (N,C,H,W) by a Gaussian of so many pixels; edges are repeated."""
    # So narrow a Gaussian has all its weight on the pixel itself.
    if deviation < 0.05:
        return x
    # Beyond three deviations lie 0.3 % of the weight.
    reach = max(1, int(3 * deviation + 0.5))
    steps = torch.arange(-reach, reach + 1, device=x.device, dtype=torch.float32)
    taps = torch.exp(-steps.square() / (2 * deviation**2))
    channels = x.shape[1]
    taps = (taps / taps.sum()).to(x.dtype).expand(channels, 1, 1, -1)
    x = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(x, taps, groups=channels), taps.transpose(2, 3), groups=channels)
