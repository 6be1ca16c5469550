"""The original fully connected pair (Goodfellow 2014), for images or points.

A ReLU generator and a maxout discriminator with dropout.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gancli.networks.layers import Output, append_one_hot, size_of, to_range


class MLPGenerator(nn.Module):
    """z (N,z_dim), label (N,) -> (N,channels,H,W).

    Args:
        resolution: side or [H,W] in pixels, any; 1 for points.
        channels: of the images, or coordinates of points.
        z_dim: numbers in a latent.
        hidden: units of each hidden layer.
        output: "tanh" for images, "linear" for points.
        classes: of the data set.
        conditional: the label stands beside z as a one-hot vector.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        z_dim: int = 100,
        hidden: list[int],
        output: Output = "tanh",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        self.z_dim = z_dim
        self.classes = classes if conditional else 0
        h, w = size_of(resolution)
        sizes = [z_dim + self.classes, *hidden]
        layers: list[nn.Module] = []
        for n_in, n_out in zip(sizes, hidden, strict=False):
            layers += [linear(n_in, n_out), nn.ReLU()]
        layers += [
            linear(sizes[-1], channels * h * w),
            nn.Unflatten(1, (channels, h, w)),
            to_range(output),
        ]
        self.net = nn.Sequential(*layers)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes images of latents, and labels where the network is conditional."""
        return self.net(append_one_hot(z, label, self.classes))


class MLPDiscriminator(nn.Module):
    """trunk: x (N,channels,H,W), label (N,) -> (N,hidden[-1]); head: -> scores (N,1).

    Args:
        resolution: side or [H,W] in pixels, any; 1 for points.
        channels: of the images, or coordinates of points.
        hidden: units of each hidden layer.
        pieces: linear pieces per unit (maxout, Goodfellow 2013); 1 for LeakyReLU.
        dropout_in: share dropped of the input, 0 to 1.
        dropout: share dropped of each hidden layer, 0 to 1.
        classes: of the data set.
        conditional: the label stands beside x as a one-hot vector.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        hidden: list[int],
        pieces: int = 5,
        dropout_in: float = 0.2,
        dropout: float = 0.5,
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        if not hidden:
            raise ValueError(
                "hidden=[] leaves no features to score: give at least one layer, e.g. hidden=[240]"
            )
        h, w = size_of(resolution)
        self.classes = classes if conditional else 0
        self.feature_dim = hidden[-1]
        sizes = [channels * h * w + self.classes, *hidden]
        # Of the pixels too (the authors' include probability of 0.8).
        layers: list[nn.Module] = [nn.Dropout(dropout_in)]
        for n_in, n_out in zip(sizes, hidden, strict=False):
            layers += [
                linear(n_in, n_out * pieces),
                Maxout(pieces) if pieces > 1 else nn.LeakyReLU(0.2),
                nn.Dropout(dropout),
            ]
        self.body = nn.Sequential(*layers)
        self.out = linear(hidden[-1], 1)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images."""
        return self.body(append_one_hot(x.flatten(1), label, self.classes))

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        return self.out(h)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


class Maxout(nn.Module):
    """(N,units*pieces) -> (N,units): the largest of each unit's linear pieces."""

    def __init__(self, pieces: int):
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        # Neighbouring units are the pieces of one.
        return x.unflatten(1, (-1, self.pieces)).amax(2)


def linear(n_in: int, n_out: int) -> nn.Linear:
    """Makes a layer of zero bias and Glorot-uniform weights.

    The paper's fixed range fits its own layer sizes only.
    """
    layer = nn.Linear(n_in, n_out)
    bound = math.sqrt(6 / (n_in + n_out))
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound)
        layer.bias.zero_()
    return layer
