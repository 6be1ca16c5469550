"""Heads about classes: an auxiliary classifier, a projection onto the label, and a contrast."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.game import Critic, Logs
from gancli.games.heads import Head, compute_cosines
from gancli.networks.conditional import Projection
from gancli.networks.layers import constrain_weight
from gancli.networks.mlp import linear

UNLABELLED = "a head about classes was asked without labels"


class AuxiliaryClassifier(Head):
    """The discriminator tells the class too, and the generator helps it to (Odena 2017, section 2).

    real, fake: weights of the cross-entropy in the discriminator's loss; generator: the same in the
    generator's.
    The paper has 1 everywhere, WGAN-GP's code 1, 0 and 0.1. norm: "spectral" divides the layer by
    its spectral norm
    """

    needs_labels = True

    def __init__(
        self,
        *,
        classes: int,
        real: float = 1.0,
        fake: float = 1.0,
        generator: float = 1.0,
        norm: Literal["none", "spectral"] = "none",
    ):
        super().__init__()
        if min(real, fake, generator) < 0:
            raise ValueError(
                f"real={real}, fake={fake}, generator={generator}: weights are 0 or more"
            )
        self.classes = classes
        self.real = real
        self.fake = fake
        self.generator = generator
        self.norm = norm

    def attach(self, feature_dim: int) -> None:
        """Adds a linear layer from features (N,feature_dim) to logits (N,classes)."""
        self.out = constrain_weight(linear(feature_dim, self.classes), self.norm)

    def d(
        self, critic: Critic, real: Tensor, fake: Tensor, label: Tensor | None
    ) -> tuple[Tensor, Logs]:
        """Costs wrong classes of reals and of fakes, weighted by `real` and `fake`.

        Args:
            critic: Gives the features (N,F), from the pass that has scored the images.
            real: (N,C,H,W) in [-1,1].
            fake: (N,C,H,W) in [-1,1], made for the same labels.
            label: (N,) classes.

        Returns:
            A scalar, and cross-entropies in nats without their weights, "accuracy" on reals beside
            them.
        """
        assert label is not None, UNLABELLED
        logits = self.out(critic.features(real)).float()
        # In fp32, as all costs: softmax of bf16 logits is a few per cent off.
        of_real = F.cross_entropy(logits, label)
        of_fake = self.cost(critic, fake, label)
        hits = (logits.detach().argmax(1) == label).float().mean()
        return self.real * of_real + self.fake * of_fake, {
            "real": of_real.detach(),
            "fake": of_fake.detach(),
            "accuracy": hits,
        }

    def g(
        self, critic: Critic, real: Tensor, fake: Tensor, label: Tensor | None
    ) -> tuple[Tensor, Logs]:
        """Costs fakes (N,C,H,W) that are not taken for their label (N,); as `d`."""
        assert label is not None, UNLABELLED
        of_fake = self.cost(critic, fake, label)
        return self.generator * of_fake, {"fake": of_fake.detach()}

    def cost(self, critic: Critic, x: Tensor, label: Tensor) -> Tensor:
        """Measures the cross-entropy, in nats, of images (N,C,H,W) and labels (N,)."""
        return F.cross_entropy(self.out(critic.features(x)).float(), label)


class ClassProjection(Head):
    """Adds <v_label, features> to the score of a discriminator that sees no labels itself.

    Miyato and Koyama 2018, equation 3.
    """

    needs_labels = True
    scores = True

    def __init__(self, *, classes: int, norm: Literal["none", "spectral"] = "spectral"):
        super().__init__()
        self.classes = classes
        self.norm = norm

    def attach(self, feature_dim: int) -> None:
        """Adds an embedding of the classes, a vector of feature_dim numbers each."""
        self.project = Projection(feature_dim, self.classes, self.norm == "spectral")

    def score(self, features: Tensor, label: Tensor | None) -> Tensor:
        """Multiplies features (N,F) with the vectors of their labels (N,) -> (N,1)."""
        return self.project(features, label)


class ClassContrast(Head):
    """Draws features to their class and to images of it, and away from the rest.

    ContraGAN, Kang and Park 2020, section 3. The discriminator learns by embedding reals, the
    generator by fakes. Images are compared within a micro-batch.

    dim: numbers in an embedding, which has length 1; temperature: smaller is sharper. norm: of the
    projection and of the class proxies.
    """

    needs_labels = True

    def __init__(
        self,
        *,
        classes: int,
        dim: int = 512,
        temperature: float = 1.0,
        weight: float = 1.0,
        norm: Literal["none", "spectral"] = "none",
    ):
        super().__init__()
        if dim < 1 or temperature <= 0 or weight < 0:
            raise ValueError(
                f"dim={dim}, temperature={temperature}, weight={weight}: dim is 1 or more, "
                "temperature above 0, weight 0 or more"
            )
        self.classes = classes
        self.dim = dim
        self.temperature = temperature
        self.weight = weight
        self.norm = norm

    def attach(self, feature_dim: int) -> None:
        """Adds the projection of features to `dim` numbers, and a proxy for each class."""
        proxies = nn.Embedding(self.classes, self.dim)
        nn.init.xavier_uniform_(proxies.weight)
        self.embed = constrain_weight(linear(feature_dim, self.dim), self.norm)
        self.proxies = constrain_weight(proxies, self.norm)

    def d(
        self, critic: Critic, real: Tensor, fake: Tensor, label: Tensor | None
    ) -> tuple[Tensor, Logs]:
        """Contrasts reals (N,C,H,W) by label (N,); fakes have no part in it at all."""
        assert label is not None, UNLABELLED
        return self.term(critic, real, label)

    def g(
        self, critic: Critic, real: Tensor, fake: Tensor, label: Tensor | None
    ) -> tuple[Tensor, Logs]:
        """Contrasts fakes (N,C,H,W) by the label (N,) that they were made for."""
        assert label is not None, UNLABELLED
        return self.term(critic, fake, label)

    def term(self, critic: Critic, x: Tensor, label: Tensor) -> tuple[Tensor, Logs]:
        """Contrasts the embeddings of images with their class proxies and with one another.

        Args:
            critic: Gives the features (N,F).
            x: (N,C,H,W) in [-1,1], all reals or all fakes.
            label: (N,) classes.

        Returns:
            The weighted scalar, and the term "2c" without its weight.
        """
        h, own = (
            F.normalize(part.float(), dim=1)
            for part in (self.embed(critic.features(x)), self.proxies(label))
        )
        contrast = class_contrast(h, own, label, self.temperature)
        return self.weight * contrast, {"2c": contrast.detach()}


def class_contrast(h: Tensor, proxies: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Measures how little of an image's likeness goes to its own class: -log of a share.

    The share is that of an image's proxy and of the other images of its class in all that the image
    is compared with.

    Args:
        h: (N,D), embeddings of length 1.
        label: (N,) classes.
        proxies: (N,D) of length 1, each image's own class's.
        temperature: smaller is sharper.

    Returns:
        A scalar, averaged over the images.
    """
    own = (h * proxies).sum(1, keepdim=True) / temperature
    others = compute_cosines(h, h) / temperature
    itself = torch.eye(len(h), dtype=torch.bool, device=h.device)
    # What is left out of the numerator: the image itself, which is no evidence, and other classes.
    other_class = itself | (label[:, None] != label)
    near, all_ = (
        torch.cat([own, others.masked_fill(left_out, -torch.inf)], 1).logsumexp(1)
        for left_out in (other_class, itself)
    )
    # A difference of logarithms of sums: no exponential overflows at a low temperature.
    return (all_ - near).mean()
