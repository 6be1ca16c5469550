"""Growing GANs: training starts on tiny images and blends in one size after the other.

PGGAN, and StyleGAN on top of it.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from gancli.augment.base import Augment
from gancli.critic import BoundCritic
from gancli.game import Batch, Discriminator, Game, Generator, Logs, Option, Progress
from gancli.games.gan import GAN
from gancli.games.heads import Head
from gancli.games.options import (
    LEVEL,
    LEVELS,
    MIX,
    NOISE,
    STYLE_TRUNCATION,
    TRUNCATED_LAYERS,
)
from gancli.losses.adversarial import AdversarialLoss
from gancli.networks.pggan import blend, enlarge, shrink
from gancli.networks.stylegan import Noise


class GrowingGenerator(Generator):
    """What `Growing` relies on in a generator; a view, to derive from or not.

    stages: how many sizes it has; base: (height, width) of the smallest. forward also takes stage
    and alpha, see `Growing`
    """

    stages: int
    base: tuple[int, int]


class GrowingDiscriminator(Discriminator):
    """What `Growing` relies on in a discriminator; stages: how many sizes it has."""

    stages: int

    def trunk(
        self,
        x: Tensor,
        label: Tensor | None = None,
        *,
        stage: int | None = None,
        alpha: Tensor | None = None,
    ) -> Tensor:
        """Reads (N,C,h,w) of the stage's size, label (N,) or None, into features; see `Growing`."""
        raise NotImplementedError


class StyledGenerator(GrowingGenerator):
    """What `StyleGAN` relies on in a generator; layers: how many see a style."""

    layers: int

    def synthesis(
        self,
        styles: Tensor,
        *,
        stage: int | None = None,
        alpha: Tensor | None = None,
        noise: Noise | list[Tensor] = "random",
    ) -> Tensor:
        """Turns styles (N,layers,w_dim) into images (N,C,h,w) of the stage's size."""
        raise NotImplementedError


class Growing(GAN):
    """Karras 2018, section 2.

    Reals and fakes have the size of the stage, `sample` always makes the full size.

    generator, discriminator: have `stages`; forward and trunk take stage (0: the smallest) and
    alpha (a new stage's share)
    fade_kimg, stable_kimg: thousands of real images over which a stage is blended in, and trained
    until the next; both 0: no growth. start_stage: where training starts, with a stable time and no
    blending
    """

    generator: GrowingGenerator
    discriminator: GrowingDiscriminator
    share: Tensor

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
        fade_kimg: float = 600.0,
        stable_kimg: float = 600.0,
        start_stage: int = 0,
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
        if fade_kimg < 0 or stable_kimg < 0:
            raise ValueError(
                f"fade_kimg={fade_kimg}, stable_kimg={stable_kimg}: give thousands of images, 0 or "
                "more"
            )
        stages = self.generator.stages
        if stages != self.discriminator.stages:
            raise ValueError(
                f"the generator has {stages} stages, the discriminator "
                f"{self.discriminator.stages}: "
                "give both one resolution"
            )
        self.last = stages - 1
        if not 0 <= start_stage <= self.last:
            raise ValueError(
                f"start_stage={start_stage}: images of this size have stages 0 to {self.last}"
            )
        # Whole images: thousands in binary fractions would put a boundary just before or after the
        # step that meets it.
        self.fade_nimg = round(1000 * fade_kimg)
        self.stable_nimg = round(1000 * stable_kimg)
        self.start_stage = start_stage
        self.stage, share = self.plan(0)
        self.blending = share is not None
        # Written in place: a fresh tensor each step would be a copy that the host waits for, and no
        # captured graph would see it.
        self.register_buffer("share", torch.zeros(()), persistent=False)

    def plan(self, nimg: int) -> tuple[int, float | None]:
        """Finds the stage after nimg real images, and its share while it is blended in, else None.

        A stage is blended in over fade_nimg images and then trained alone for stable_nimg (Karras
        2018, section 2); the first one has no fade.
        """
        period = self.fade_nimg + self.stable_nimg
        if period == 0:
            return self.last, None
        # The size that training starts with has nothing to be blended into.
        if nimg < self.stable_nimg:
            return self.start_stage, None
        grown, into = divmod(nimg - self.stable_nimg, period)
        stage = self.start_stage + 1 + grown
        if stage > self.last:
            return self.last, None
        # Without a fade no image lies in it, and nothing is divided by 0.
        return stage, into / self.fade_nimg if into < self.fade_nimg else None

    def advance(self, progress: Progress) -> bool:
        """Sets stage and share by nimg; True where a stage comes, or its fade ends."""
        # Shapes and graph depend on both, so they are Python values, and alpha a tensor.
        before = (self.stage, self.blending)
        self.stage, share = self.plan(progress.nimg)
        self.blending = share is not None
        self.share.fill_(share or 0.0)
        # When a stage comes, and when it is blended in: the authors' code resets Adam where the
        # floor or the ceiling of its level of detail changes.
        return (self.stage, self.blending) != before

    @property
    def alpha(self) -> Tensor | None:
        """The new stage's share, 0-d, or None where nothing is blended.

        An inactive layer must get no gradient at all, while one that is multiplied by 0 would be
        moved by Adam.
        """
        return self.share if self.blending else None

    def shrink_to_stage(self, x: Tensor) -> Tensor:
        """Brings images (N,C,H,W) of full size to the stage's; those of that size stay."""
        return shrink(x, x.shape[2] // (self.generator.base[0] * 2**self.stage))

    def fit_batch_to_stage(self, batch: Batch) -> Batch:
        """Pools the reals (N,C,H,W) to the stage's size, and blends them as the fakes are.

        While a stage is blended in, they lose as much detail as the fakes lack (Karras 2018, figure
        2).
        """
        real = self.shrink_to_stage(batch["image"])
        alpha = self.alpha
        if alpha is not None:
            # Reals lack as much detail as fakes do, or detail alone would tell them apart.
            real = blend(enlarge(shrink(real)), real, alpha)
        return batch | {"image": real}

    def critic(self, batch: Batch) -> BoundCritic:
        """Binds stage and alpha too; images of full size are pooled to the stage's."""
        critic = super().critic(batch)
        label = batch.get("label")
        stage = self.stage
        alpha = self.alpha
        # Evaluations and `gan features` hand over images of full size.
        # Bound by value: stage and alpha may have moved when a critic that was kept is called.
        critic.trunk = lambda x: self.discriminator.trunk(
            self.shrink_to_stage(x), label=label, stage=stage, alpha=alpha
        )
        return critic

    def d_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Scores reals and fakes at the stage's size; see `fit_batch_to_stage`."""
        return super().d_loss(self.fit_batch_to_stage(batch))

    def g_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Scores fakes at the stage's size; relativistic losses see reals of that size."""
        return super().g_loss(self.fit_batch_to_stage(batch))

    def sampling_options(self) -> tuple[Option, ...]:
        """Declares `level` and `levels`; no truncation, see `inputs`."""
        # Without GAN's truncation: see `inputs`.
        return (*Game.sampling_options(self), LEVEL, LEVELS)

    def inputs(  # type: ignore[override]  # keywords are sampling options; truncation is none
        self, n: int, rng: torch.Generator | None, *, label: Tensor | None = None
    ) -> Batch:
        """Draws as GAN does, without truncation: the networks put every latent on a sphere."""
        return super().inputs(n, rng, label=label)

    def fake(self, batch: Batch) -> Tensor:
        """Makes one fake (N,C,h,w) per real, at the stage's size."""
        inputs = self.inputs(len(batch["image"]), None, label=batch.get("label"))
        return self.generator(inputs["z"], inputs.get("label"), stage=self.stage, alpha=self.alpha)

    @property
    def levels(self) -> int:
        """How many sizes it can show: those of the stages so far."""
        return self.stage + 1

    @property
    def inactive_levels(self) -> int:
        """How many of these have an image layer at rest, while what it reads still learns."""
        return self.stage - self.blending

    def find_stage(self, level: int | None) -> tuple[int, Tensor | None]:
        """Finds stage and alpha of a level; None, or one not yet reached: the newest stage.

        A stage's own image layer stops learning when the next one comes.
        """
        return (self.stage, self.alpha) if level is None or level >= self.stage else (level, None)

    def sample(self, inputs: Batch, generator: nn.Module, *, level: int | None = None) -> Tensor:
        """Makes images (N,C,H,W) of full size: a smaller stage's pixels are repeated.

        level: of a stage before, 0 the smallest.
        """
        stage, alpha = self.find_stage(level)
        return self.enlarge_to_full(
            generator(inputs["z"], inputs.get("label"), stage=stage, alpha=alpha), stage
        )

    def enlarge_to_full(self, x: Tensor, stage: int) -> Tensor:
        """Repeats the pixels of a stage's images (N,C,h,w) up to the full size."""
        return enlarge(x, 2 ** (self.last - stage))


class StyleGAN(Growing):
    """Karras 2019, section 3: styles of two latents in one fake, and samples near w_avg.

    mixing: share of batches whose fakes take the styles of another latent from a random layer on
    """

    generator: StyledGenerator

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
        fade_kimg: float = 600.0,
        stable_kimg: float = 600.0,
        start_stage: int = 1,
        mixing: float = 0.9,
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
            fade_kimg=fade_kimg,
            stable_kimg=stable_kimg,
            start_stage=start_stage,
        )
        if not 0 <= mixing <= 1:
            raise ValueError(
                f"mixing={mixing}: give a share of batches, from 0 to 1 (the paper's: 0.9)"
            )
        self.mixing = mixing

    def sampling_options(self) -> tuple[Option, ...]:
        """Adds what styles allow: truncation, mixing, and the noise planes."""
        styles = (STYLE_TRUNCATION, TRUNCATED_LAYERS, MIX, NOISE)
        return (*super().sampling_options(), *styles)

    @property
    def style_layers(self) -> int:
        """Counts two layers with a style for each size so far."""
        return 2 * self.levels

    def inputs(
        self,
        n: int,
        rng: torch.Generator | None,
        *,
        label: Tensor | None = None,
        truncation: float | None = None,
        truncated_layers: int = 8,
    ) -> Batch:
        """Draws z and label as GAN does.

        truncation: how far the styles of the first layers may be from the mean one: 1 as far as
        they are, 0.7 nearer, 0 not at all; the layers after truncated_layers hold details, which
        may vary (Karras 2019, appendix B).
        """
        inputs = super().inputs(n, rng, label=label)
        if truncation is None:
            return inputs
        device = inputs["z"].device
        return inputs | {
            "psi": torch.full((n,), float(truncation), device=device),
            "psi_layers": torch.full((n,), truncated_layers, device=device),
        }

    def mix_styles(self, inputs: Batch, source: Batch, *, first: int, last: int) -> Batch:
        """Gives `inputs` the styles of `source` in generator.layers first to last - 1.

        Partner by partner: 0 to 4 is pose and shape, 4 to 8 features, from 8 on colour (Karras
        2019, figure 3). Labels stay those of `inputs`.
        """
        layer = torch.arange(self.generator.layers, device=inputs["z"].device)
        mask = (first <= layer) & (layer < last)
        return inputs | {"other": source["z"], "mask": mask.expand(len(inputs["z"]), -1)}

    def draw_crossing(self, device: torch.device) -> Tensor:
        """Draws which layers of a batch's fakes the second latent styles: (layers,) bool.

        One layer is drawn from which on it does, for a share `mixing` of batches, as in the
        authors' code. Drawn on the device: the host never waits.
        """
        layers = self.generator.layers
        # Only the layers that this stage has: a cut behind them would mix nothing.
        now = 2 * (self.stage + 1)
        cut = torch.randint(1, now, (), device=device)
        # A cut at `layers` lies behind the last one: no layer is mixed.
        cut = torch.where(torch.rand((), device=device) < self.mixing, cut, layers)
        return torch.arange(layers, device=device) >= cut

    def fake(self, batch: Batch) -> Tensor:
        """Makes one fake (N,C,h,w) per real, with the styles of two latents in most batches."""
        n = len(batch["image"])
        label = batch.get("label")
        inputs = self.inputs(n, None, label=label)
        if self.mixing > 0:
            inputs |= {
                "other": self.inputs(n, None, label=label)["z"],
                "mask": self.draw_crossing(inputs["z"].device),
            }
        return self.make_images(inputs, self.generator, noise="random")

    def sample(
        self,
        inputs: Batch,
        generator: nn.Module,
        *,
        noise: Noise | list[Tensor] = "random",
        level: int | None = None,
    ) -> Tensor:
        """Makes images (N,C,H,W) of full size.

        inputs: z and whatever of label, other and mask, psi and psi_layers was added; or styles
        (N,layers,w_dim) alone. noise: fixed is the same for all images, as an animation needs it,
        planes (with styles) are given ones.
        """
        network = cast(StyledGenerator, generator)
        return self.enlarge_to_full(
            self.make_images(inputs, network, noise=noise, level=level), self.find_stage(level)[0]
        )

    def make_images(
        self,
        inputs: Batch,
        generator: StyledGenerator,
        *,
        noise: Noise | list[Tensor],
        level: int | None = None,
    ) -> Tensor:
        """Makes images (N,C,h,w) of the level's own size.

        Args:
            inputs: As of `sample`.
            generator: Training passes its own, sampling the EMA generator.
            noise: As of `sample`.
            level: A stage before, 0 the smallest; None is as far as training is.
        """
        stage, alpha = self.find_stage(level)
        if "styles" in inputs:
            return generator.synthesis(inputs["styles"], stage=stage, alpha=alpha, noise=noise)
        psi = inputs.get("psi")
        if psi is not None:
            layer = torch.arange(generator.layers, device=psi.device)
            psi = torch.where(layer < inputs["psi_layers"][:, None], psi[:, None], 1.0)
        return generator(
            inputs["z"],
            inputs.get("label"),
            other=inputs.get("other"),
            mask=inputs.get("mask"),
            psi=psi,
            stage=stage,
            alpha=alpha,
            noise=noise,
        )
