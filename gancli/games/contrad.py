"""ContraD: the discriminator's trunk learns by contrast alone.

A small head on its features tells reals from fakes.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.augment.base import Augment
from gancli.critic import BoundCritic
from gancli.game import Batch, Logs
from gancli.games.gan import GAN
from gancli.games.heads import compute_cosines
from gancli.losses.adversarial import AdversarialLoss
from gancli.networks.layers import constrain_weight
from gancli.networks.mlp import linear


class ContraD(GAN):
    """Jeong and Shin 2021, section 3. No labels.

    discriminator: only its trunk is used; its own head rests
    augment: draws a view of an image; the discriminator sees only views, of reals and fakes
    hidden: units of the three small heads (scores, and the embeddings of reals and of fakes); dim:
    numbers in an embedding, which has length 1; temperature: smaller is sharper; weight: of keeping
    fakes apart from reals; norm: of those heads
    In the discriminator's loss the gradient of the score stops at the features, so that the trunk
    learns nothing from it; in the generator's loss it does not stop.
    """

    penalisable = False

    def __init__(
        self,
        *,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: AdversarialLoss,
        augment: Augment | None = None,
        latent: Literal["normal", "uniform"] = "normal",
        hidden: int = 512,
        dim: int = 128,
        temperature: float = 0.1,
        weight: float = 1.0,
        norm: Literal["none", "spectral"] = "spectral",
    ):
        super().__init__(
            generator=generator,
            discriminator=discriminator,
            loss=loss,
            augment=augment,
            latent=latent,
        )
        if augment is None:
            raise ValueError("ContraD compares two views of an image: give it some, augment=simclr")
        if min(hidden, dim) < 1 or temperature <= 0 or weight < 0:
            raise ValueError(
                f"hidden={hidden}, dim={dim}, temperature={temperature}, weight={weight}: hidden "
                "and dim are 1 or more, temperature above 0, weight 0 or more"
            )
        self.temperature = temperature
        self.weight = weight
        self.scorer, self.of_reals, self.of_fakes = (
            two_layers(self.discriminator.feature_dim, hidden, n, norm) for n in (1, dim, dim)
        )

    def players(self) -> dict[str, list[nn.Module]]:
        """Moves the three small heads with the discriminator's trunk, in player d."""
        players = super().players()
        return players | {"d": [*players["d"], self.scorer, self.of_reals, self.of_fakes]}

    def constrain(self, logs: Logs) -> None:
        """Clips the scorer too where the loss clips (WGAN): it is what gives the score."""
        super().constrain(logs)
        self.adversarial.constrain(self.scorer)

    def score_hidden(self, hidden: Tensor, label: Tensor | None) -> Tensor:
        """Scores features (N,...) with gradient, for the generator: (N,1)."""
        return self.scorer(hidden.flatten(1))

    def score_detached(self, hidden: Tensor) -> Tensor:
        """Scores features (N,...) so that the trunk learns nothing from it: (N,1)."""
        return self.scorer(hidden.flatten(1).detach())

    def d_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Adds up the score's loss, the contrast of reals, and that of fakes with reals.

        Jeong and Shin 2021, section 3. Only the last two teach the trunk; logs have them as
        "simclr" and "apart", without the weight.
        """
        real = batch["image"]
        fake = self.fake(batch)
        noise = self.adversarial.noise(self.progress)
        # Two critics, since one remembers its view of an image, and reals are compared in two.
        critic, other = (
            BoundCritic(
                self.discriminator.trunk, self.score_detached, augment=self.augment, noise=noise
            )
            for _ in range(2)
        )
        loss, logs = self.adversarial.d(critic, real, fake, self.progress)
        first = critic.features(real)
        second = other.features(real)
        made = critic.features(fake)
        views = [unit(self.of_reals(h)) for h in (first, second)]
        # On reals alone: fakes have no part in what the trunk learns of images.
        contrast = nt_xent(views[0], views[1], self.temperature)
        views = [unit(self.of_fakes(h)) for h in (first, second, made)]
        apart = repulsion(views[0], views[1], views[2], self.temperature)
        return loss + contrast + self.weight * apart, logs | {
            "simclr": contrast.detach(),
            "apart": apart.detach(),
        }


def two_layers(n_in: int, hidden: int, n_out: int, norm: Literal["none", "spectral"]) -> nn.Module:
    """Builds a perceptron of one hidden layer, its weights normalised as `norm` says."""
    return nn.Sequential(
        constrain_weight(linear(n_in, hidden), norm),
        # SNDCGAN's slope.
        nn.LeakyReLU(0.1),
        constrain_weight(linear(hidden, n_out), norm),
    )


def unit(h: Tensor) -> Tensor:
    """Scales vectors (N,D) to length 1, in full precision."""
    return F.normalize(h.float(), dim=1)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Asks of each image which of the 2N - 1 others is its other view (Chen 2020, equation 1).

    Args:
        first: (N,D) of length 1, one view of each image.
        second: (N,D) of length 1, the other view.
        temperature: smaller is sharper.

    Returns:
        A scalar in nats, averaged over all 2N views.
    """
    n = len(first)
    both = torch.cat([first, second])
    logits = (compute_cosines(both, both) / temperature).masked_fill(
        torch.eye(2 * n, dtype=torch.bool, device=both.device), -torch.inf
    )
    # Rolled by n: the other view of row i stands in row i + n, and that of row i + n in row i.
    return F.cross_entropy(logits, torch.arange(2 * n, device=both.device).roll(n))


def repulsion(first: Tensor, second: Tensor, fake: Tensor, temperature: float) -> Tensor:
    """Contrasts two views of reals with fakes: fakes are one class, reals are not in it.

    Jeong and Shin 2021; the supervised contrast of Khosla 2020. Takes two views of reals and one of
    fakes, (N,D) each, of length 1; returns a scalar.
    """
    n = len(fake)
    itself = torch.eye(n, dtype=torch.bool, device=fake.device)
    # Reals stand in the denominator alone: only fakes are drawn together.
    to_fakes = compute_cosines(fake, fake).masked_fill(itself, -torch.inf)
    shares = (
        torch.cat([to_fakes, compute_cosines(fake, torch.cat([first, second]))], 1) / temperature
    ).log_softmax(1)
    # Its own column is -inf, of which a sum would be no number; one fake alone has no other.
    return -shares[:, :n].masked_fill(itself, 0.0).sum(1).mean() / max(n - 1, 1)
