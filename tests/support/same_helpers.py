"""Networks and games that give back what they get."""

from __future__ import annotations

import torch
from torch import nn

from gancli.games.cyclegan import CycleGAN
from gancli.losses.adversarial import AdversarialLoss
from gancli.losses.objectives import LeastSquares
from gancli.networks.patchgan import PatchDiscriminator
from gancli.networks.translation import Translator


class Same(Translator):
    """Gives back what it gets, times a weight that is 1."""

    def __init__(self, channels: int = 1):
        super().__init__(channels, channels)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, source, noise=None):
        return source * self.weight


def lsgan() -> AdversarialLoss:
    return AdversarialLoss(objective=LeastSquares())


def critic(channels: int = 1) -> PatchDiscriminator:
    return PatchDiscriminator(channels=channels, width=4, layers=1, norm="none")


def cyclegan(**options) -> CycleGAN:
    parts = {
        "generator": {"ab": Same(), "ba": Same()},
        "discriminator": {"a": critic(), "b": critic()},
        "loss": lsgan(),
        "resolution": 8,
        "channels": 1,
        "pool": 4,
    }
    return CycleGAN(**parts | options)
