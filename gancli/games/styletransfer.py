"""Style transfer: a painting's style and a photograph's content, in one pass of a network.

Both are compared in the features of a perceptual network.
"""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.augment.base import Augment
from gancli.game import Batch, Logs
from gancli.games.translation import Direction, Translation
from gancli.losses.adversarial import AdversarialLoss
from gancli.networks.perceptual import Perceptual, gram
from gancli.networks.styletransfer import TransformerNet
from gancli.networks.translation import Translator


class StyleTransfer(Translation):
    """Johnson 2016, section 3.2, with a TransformerNet; Huang and Belongie 2017 with an AdaINNet.

    An AdaINNet takes any style, a TransformerNet has learned one.

    A batch has contents "a" and styles "b", without pairs. perceptual: its last layer compares
    contents, all of them styles
    content_weight, style_weight, smoothness: of the content term, of the Gram matrices', of the
    total variation. A loss and a discriminator are allowed but not usual: the discriminator then
    compares with the styles. Raises ValueError without features.
    """

    perceptual: Perceptual

    def __init__(
        self,
        *,
        generator: Translator,
        resolution: int | list[int],
        channels: int,
        discriminator: nn.Module | None = None,
        loss: AdversarialLoss | None = None,
        augment: Augment | None = None,
        perceptual: Perceptual | None = None,
        adversarial_weight: float = 1.0,
        content_weight: float = 1.0,
        style_weight: float = 1e4,
        smoothness: float = 1e-4,
    ):
        if perceptual is None or perceptual.backbone == "none":
            raise ValueError(
                "style transfer compares features, and there are none: perceptual=vgg19_style, "
                "or perceptual=squeezenet_style perceptual.weights=FILE"
            )
        if min(content_weight, style_weight, smoothness) < 0:
            raise ValueError(
                f"content_weight={content_weight}, style_weight={style_weight}, "
                f"smoothness={smoothness}: give 0 or more"
            )
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
            pixel_weight=0.0,
        )
        self.content_weight = content_weight
        self.style_weight = style_weight
        self.smoothness = smoothness
        self.extras = ("style",) if self.many else ()

    @property
    def many(self) -> bool:
        """Tells whether the generator takes any style; else it has learnt its only one."""
        return not isinstance(self.generator, TransformerNet)

    def sample(self, inputs: Batch, generator: nn.Module, *, direction: Direction = "ab") -> Tensor:
        """Gives contents a style.

        inputs: "a" (N,C,H,W), and where the generator takes any style "style" (N,C,h,w), or "b" in
        its place -> (N,C,H,W).
        """
        if not self.many:
            return generator(inputs["a"])
        return generator(inputs["a"], style=inputs["style"] if "style" in inputs else inputs["b"])

    def draw_panels(self, batch: Batch, generator: nn.Module) -> dict[str, Tensor]:
        """Makes the panels of a sample grid: content, output, style."""
        return {"content": batch["a"], "output": self.sample(batch, generator), "style": batch["b"]}

    def measure_distances(
        self, fake: Tensor, batch: Batch, *, weight: float, pixels_only: bool = False
    ) -> tuple[Tensor, Logs]:
        """Measures content, style and smoothness in place of a distance of pixels (Johnson 2016).

        Args:
            fake: (N,C,H,W) in [-1,1].
            batch: Contents "a" and styles "b", (N,C,H,W).
            weight: Of pixels, which have no part here.
            pixels_only: Of a warm-up, which style transfer has not.

        Returns:
            The weighted sum, and its terms without weights.
        """
        made, wanted, painted = (
            self.perceptual.features(x) for x in (fake, batch["a"], batch["b"])
        )
        # The deepest layer knows what is shown, and little of its colours and strokes.
        last = list(made)[-1]
        content = F.mse_loss(made[last].float(), wanted[last].float())
        style = reduce(
            torch.add, [F.mse_loss(gram(made[name]), gram(painted[name])) for name in made]
        )
        # Total variation as a mean, so that its weight does not depend on the size.
        rough = (fake[:, :, 1:] - fake[:, :, :-1]).abs().mean() + (
            fake[..., 1:] - fake[..., :-1]
        ).abs().mean()
        total = self.content_weight * content + self.style_weight * style + self.smoothness * rough
        return total, {
            "content": content.detach(),
            "style": style.detach(),
            "rough": rough.detach(),
        }
