"""StyleGAN2: a GAN with two rarer phases and styles that may mix.

The phases are the discriminator's R1 and the generator's path length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gancli.augment.base import Augment
from gancli.game import Batch, Game, Logs, Option, Phase
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
from gancli.losses.penalties import GradientPenalty
from gancli.networks.pggan import enlarge
from gancli.networks.stylegan2 import Noise, StyleGAN2Generator


class StyleGAN2(GAN):
    """Karras 2020; with augment=ada, StyleGAN2-ADA (Karras 2020b). Phases d, d_r1, g, g_pl.

    r1_gamma: R1 is gamma / 2 times the squared gradient at the reals, 0 leaves it out; null: 0.0002
    * height * width / batch_size (the `auto` of StyleGAN2-ADA's code). batch_size: real images a
    step; only that rule reads it
    r1_every, pl_every: steps between two such updates, which weigh so many times as much (Karras
    2020, appendix B)
    pl_weight: of the path length; 0 leaves it out. pl_decay: of the running mean length. pl_shrink:
    a batch's images divided by this are those of a path length update. mixing: share of the images
    that have two styles
    """

    generator: StyleGAN2Generator  # type: ignore[assignment]  # it need not derive from the view
    pl_mean: Tensor

    def __init__(
        self,
        *,
        generator: StyleGAN2Generator,
        discriminator: nn.Module,
        loss: AdversarialLoss,
        augment: Augment | None = None,
        conditional: bool = False,
        heads: dict[str, Head] | None = None,
        mixing: float = 0.9,
        r1_gamma: float | None = None,
        batch_size: int | None = None,
        r1_every: int = 16,
        pl_weight: float = 2.0,
        pl_every: int = 4,
        pl_decay: float = 0.01,
        pl_shrink: int = 2,
    ):
        super().__init__(
            generator=generator,
            discriminator=discriminator,
            loss=loss,
            augment=augment,
            conditional=conditional,
            heads=heads,
        )
        gamma = choose_gamma(generator.size, batch_size) if r1_gamma is None else r1_gamma
        if gamma < 0 or pl_weight < 0 or min(r1_every, pl_every, pl_shrink) < 1:
            raise ValueError(
                f"r1_gamma={gamma}, pl_weight={pl_weight}, r1_every={r1_every}, "
                f"pl_every={pl_every}, pl_shrink={pl_shrink}: the first two are 0 or more, the "
                "others 1 or more"
            )
        if not 0 <= pl_decay <= 1 or not 0 <= mixing <= 1:
            raise ValueError(
                f"pl_decay={pl_decay}, mixing={mixing}: give numbers from 0 to 1 (the paper's: "
                "0.01, 0.9)"
            )
        self.r1 = (
            # R1 is gamma / 2 times the squared norm; a penalty's weight stands before the plain
            # square.
            GradientPenalty(weight=gamma / 2, at="real", target=0.0, every=r1_every)
            if gamma
            else None
        )
        self.pl_weight = pl_weight
        self.pl_every = pl_every
        self.pl_decay = pl_decay
        self.pl_shrink = pl_shrink
        self.mixing = mixing
        self.register_buffer("pl_mean", torch.zeros(()))

    def phases(self) -> list[Phase]:
        """Plays d, d_r1, g and g_pl; the two penalties are rarer, and their weight makes up for it.

        Lazy regularisation (Karras 2020, appendix B): both are updates of their own, not terms of d
        and g, and Adam is corrected for them.
        """
        d, g = super().phases()
        rare = (
            [
                Phase(
                    name="d_r1",
                    loss=self.r1_loss,
                    updates=("d",),
                    every=self.r1.every,
                    lazy=True,
                    after=self.clip,
                )
            ]
            if self.r1
            else []
        )
        # Every so many steps of the generator, which with some losses are fewer than D's.
        every = self.pl_every * self.n_critic
        rarer = (
            [Phase(name="g_pl", loss=self.pl_loss, updates=("g",), every=every, lazy=True)]
            if self.pl_weight
            else []
        )
        return [d, *rare, g, *rarer]

    def clip(self, logs: Logs) -> None:
        """Clips where the loss clips; p of ADA stays, for it counts the steps of d."""
        Game.constrain(self, logs)  # without ADA, which counts the steps of d

    def r1_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Penalises R1 at the images as they are, through their augmentation (ADA's code)."""
        assert self.r1 is not None
        term = self.r1(self.critic(batch), batch["image"], None, None, None, self.progress)
        return self.r1.apply_weight(term, self.progress), {"r1": term.detach()}

    def pl_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Penalises (|J^T y| - its running mean)^2: J is the image's derivative by its styles.

        Karras 2020, section 3.2. y and the mean over styles divide by pixels and by layers: weight
        2 is gamma_pl = ln 2 / (r^2 (ln r - ln 2)) at r pixels.
        """
        # A smaller batch saves memory, as in the authors' code (pl_batch_shrink).
        n = max(1, len(batch["image"]) // self.pl_shrink)
        # Squared gradients leave the range of half precision.
        with torch.autocast(batch["image"].device.type, enabled=False):
            inputs = self.draw_training_inputs(n, batch["label"][:n] if self.conditional else None)
            styles = self.generator.styles(
                inputs["z"], inputs.get("label"), other=inputs.get("other"), mask=inputs.get("mask")
            )
            lengths = measure_path_lengths(self.generator.synthesis(styles), styles)
        # A new tensor: the next micro-batch moves the buffer. As in the authors' code, this batch's
        # share of the mean carries gradient too; what is kept for later does not.
        mean = self.pl_mean.lerp(lengths.mean(), self.pl_decay)
        self.pl_mean.copy_(mean.detach())
        penalty = (lengths - mean).square().mean()
        # Times the interval, which makes up for the steps without it (appendix B).
        return self.pl_weight * self.pl_every * penalty, {
            "pl": penalty.detach(),
            "length": lengths.detach().mean(),
        }

    def sampling_options(self) -> tuple[Option, ...]:
        """Declares what styles and skips allow; truncation is that of styles."""
        styles = (STYLE_TRUNCATION, TRUNCATED_LAYERS, MIX, NOISE)
        return (*Game.sampling_options(self), *styles, LEVEL, LEVELS)

    def inputs(
        self,
        n: int,
        rng: torch.Generator | None,
        *,
        label: Tensor | None = None,
        truncation: float | None = None,
        truncated_layers: int | None = None,
    ) -> Batch:
        """Draws z and label as GAN does.

        truncation: how far styles may be from the mean one: 1 as far as they are, 0.7 nearer, 0 not
        at all; truncated_layers: only those of the first so many layers, null for all.
        """
        inputs = super().inputs(n, rng, label=label)
        if truncation is None:
            return inputs
        device = inputs["z"].device
        first = self.generator.layers if truncated_layers is None else truncated_layers
        return inputs | {
            "psi": torch.full((n,), float(truncation), device=device),
            "psi_layers": torch.full((n,), first, device=device),
        }

    def mix_styles(self, inputs: Batch, source: Batch, *, first: int, last: int) -> Batch:
        """Gives `inputs` the styles of `source` in generator.layers first to last - 1.

        Partner by partner. The first ones hold pose and shape, the last ones colour (Karras 2019,
        figure 3). Labels stay those of `inputs`.
        """
        layer = torch.arange(self.generator.layers, device=inputs["z"].device)
        return inputs | {
            "other": source["z"],
            "mask": ((first <= layer) & (layer < last)).expand(len(inputs["z"]), -1),
        }

    def draw_training_inputs(self, n: int, label: Tensor | None) -> Batch:
        """Draws what n training images start from: z (n,z_dim), label, and perhaps a second latent.

        In a share of them the styles of another latent take over at a random layer (Karras 2019,
        section 3.1: of the images; their code cuts a whole batch at one layer).
        """
        inputs = super().inputs(n, None, label=label)
        layers = self.generator.layers
        if self.mixing == 0:
            return inputs
        z = inputs["z"]
        # From layer 1 on: at 0 the other latent would have them all.
        cut = torch.randint(1, layers, (n,), device=z.device)
        # On the device: the host never waits.
        cut = torch.where(torch.rand(n, device=z.device) < self.mixing, cut, layers)
        return inputs | {
            "other": torch.randn_like(z),
            "mask": torch.arange(layers, device=z.device) >= cut[:, None],
        }

    def fake(self, batch: Batch) -> Tensor:
        """Makes one fake (N,C,H,W) per real, with its label and perhaps two latents."""
        return self.sample(
            self.draw_training_inputs(len(batch["image"]), batch.get("label")), self.generator
        )

    @property
    def levels(self) -> int:
        """Counts the sizes that the skips have."""
        return self.generator.layers // 2

    @property
    def style_layers(self) -> int:
        """Counts two layers with a style for each size."""
        return 2 * self.levels

    def sample(
        self,
        inputs: Batch,
        generator: nn.Module,
        *,
        noise: Noise | list[Tensor] = "random",
        level: int | None = None,
    ) -> Tensor:
        """Makes images of z, or of styles.

        inputs: z and whatever of label, other and mask, psi and psi_layers was added; or styles
        (N,layers,w_dim) alone. noise: fixed is the same for all images, as an animation needs it;
        planes (with styles) are given ones. level: the image as it is after so many doublings, its
        pixels repeated up to the full size.
        """
        assert isinstance(generator, StyleGAN2Generator)
        image = self.make_images(inputs, generator, noise=noise, level=level)
        return image if level is None else enlarge(image, generator.size[0] // image.shape[2])

    def make_images(
        self,
        inputs: Batch,
        generator: StyleGAN2Generator,
        *,
        noise: Noise | list[Tensor],
        level: int | None,
    ) -> Tensor:
        """Makes images (N,C,h,w) of the level's own size; arguments as of `sample`.

        Styles before layer `psi_layers` are pulled towards w_avg by psi, the others stay.
        """
        if "styles" in inputs:
            return generator.synthesis(inputs["styles"], noise=noise, level=level)
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
            noise=noise,
            level=level,
        )


def choose_gamma(size: tuple[int, int], batch_size: int | None) -> float:
    """Chooses R1's gamma by size (height, width) and batch size, as StyleGAN2-ADA's `auto` does.

    Raises ValueError without a batch size.
    """
    if batch_size is None or batch_size < 1:
        raise ValueError(
            "r1_gamma=null follows the batch size: give batch_size=${trainer.batch_size}, or a "
            "number such as r1_gamma=10"
        )
    # StyleGAN2-ADA's rule: gradients sum over pixels, and large batches need less.
    return 0.0002 * size[0] * size[1] / batch_size


def measure_path_lengths(image: Tensor, styles: Tensor) -> Tensor:
    """Measures |J^T y| of images and the styles that they were made of (Karras 2020, equation 4).

    Args:
        image: (N,C,H,W), with its graph.
        styles: (N,L,w_dim), one for each layer.

    Returns:
        (N,) with its graph: the root of the mean over L; y ~ N(0, 1 / (H W)).
    """
    # By pixels, so that the length does not grow with the resolution.
    y = torch.randn_like(image) / (image.shape[2] * image.shape[3]) ** 0.5
    (grad,) = torch.autograd.grad((image * y).sum(), styles, create_graph=True)
    return (grad.square().sum(2).mean(1) + 1e-12).sqrt()  # at 0 the root's slope is infinite
