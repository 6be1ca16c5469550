"""DCGAN's pair (Radford 2015, layer table of the PyTorch example).

Labels are one-hot maps where the networks are conditional.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from gancli.networks.conditional import Projection
from gancli.networks.layers import (
    Activation,
    Norm,
    Output,
    activation,
    append_class_planes,
    append_one_hot,
    constrain_weight,
    count_downsampling_steps,
    norm2d,
    to_range,
)
from gancli.networks.strided import (
    DoublingConv2d,
    HalvingConv2d,
    LabelledHalvingConv2d,
    UnfoldingConv2d,
)

FIRST_LEVEL = 3  # layers of the generator's coarsest level: convolution, norm, activation


def compute_widths(width: int, steps: int, max_width: int) -> list[int]:
    """Lists channels from the finest inner level to the coarsest.

    They double at each downsampling step, up to max_width.
    """
    return [min(width * 2**k, max_width) for k in range(steps)]


class DCGANGenerator(nn.Module):
    """z (N,z_dim), label (N,) -> (N,channels,H,W).

    Args:
        resolution: side or [H,W] in pixels, 8 to 511, that halves down to 4..7 (64 = 4 * 2^4,
            28 = 7 * 2^2).
        channels: of the images.
        z_dim: numbers in a latent.
        width: channels at half the resolution; they double at each downsampling step.
        max_width: the most channels.
        norm: of the inner layers.
        activation: of the inner layers.
        output: "tanh" for images, or "linear".
        classes: of the data set.
        conditional: the label stands beside z as a one-hot vector.
        upsampling: "transposed" 4x4 convolutions, or 3x3 convolutions of pixels doubled by their
            "nearest" neighbour, which leave no lattice in flat places (Odena et al. 2016).
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        z_dim: int = 100,
        width: int = 64,
        max_width: int = 512,
        norm: Norm = "batch",
        activation: Activation = "relu",
        output: Output = "tanh",
        classes: int = 0,
        conditional: bool = False,
        upsampling: str = "transposed",
    ):
        super().__init__()
        if upsampling not in ("transposed", "nearest"):
            raise ValueError(f"upsampling={upsampling!r} is not known: use transposed or nearest")
        times, base = count_downsampling_steps(resolution)
        self.z_dim = z_dim
        self.classes = classes if conditional else 0
        widths = compute_widths(width, times, max_width)[::-1]
        bias = norm in ("none", "spectral")
        layers: list[nn.Module] = finish_layer(
            UnfoldingConv2d(z_dim + self.classes, widths[0], base, bias=bias),
            norm,
            activation,
        )
        nearest = upsampling == "nearest"
        for c_in, c_out in itertools.pairwise(widths):
            *double, conv = make_upsampling(c_in, c_out, nearest=nearest, bias=bias)
            layers += [*double, *finish_layer(conv, norm, activation)]
        *double, conv = make_upsampling(widths[-1], channels, nearest=nearest, bias=nearest)
        layers += [*double, constrain_weight(init_dcgan(conv), norm), to_range(output)]
        self.net = nn.Sequential(*layers)

    def name_levels(self) -> dict[str, str]:
        """Names the layers behind the first level by their distance from the finest one.

        Widths are counted from there, so that at another resolution the same layer is as far off.
        """
        n = len(self.net)
        return {f"net.{k}": f"net.fine{n - k}" for k in range(FIRST_LEVEL, n)}

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes images of latents, and labels where the network is conditional."""
        return self.net(append_one_hot(z, label, self.classes)[:, :, None, None])


class DCGANDiscriminator(nn.Module):
    """trunk: x (N,channels,H,W), label (N,) -> (N,C,h,w) of 4..7 pixels; head: -> scores (N,1).

    Args:
        resolution: as the generator's.
        channels: of the images.
        width: as the generator's.
        max_width: the most channels.
        norm: of the inner layers; "spectral" divides every weight by its largest singular value.
        activation: of the inner layers.
        pooling: "strided" 4x4 convolutions, or 3x3 convolutions and 2x2 "average" pooling.
        classes: of the data set.
        conditional: one plane per class stands beside x.
        projection: the class also adds <v_label, features> to the score (Miyato and Koyama 2018,
            equation 3), if the network is conditional.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        width: int = 64,
        max_width: int = 512,
        norm: Norm = "batch",
        activation: Activation = "leaky_relu",
        pooling: str = "strided",
        classes: int = 0,
        conditional: bool = False,
        projection: bool = False,
    ):
        super().__init__()
        if pooling not in ("strided", "average"):
            raise ValueError(f"pooling={pooling!r} is not known: use strided or average")
        times, base = count_downsampling_steps(resolution)
        self.classes = classes if conditional else 0
        widths = compute_widths(width, times, max_width)
        self.feature_dim = widths[-1] * base[0] * base[1]
        # No batch norm in the first layer: with it training was unstable (section 3).
        first: Norm = "spectral" if norm == "spectral" else "none"
        if self.classes and pooling == "strided":
            conv = LabelledHalvingConv2d(channels, self.classes, widths[0])
            layers = finish_layer(conv, first, activation)
        else:
            layers = make_downsampling(
                channels + self.classes, widths[0], first, activation, pooling, bias=False
            )
        for c_in, c_out in itertools.pairwise(widths):
            layers += make_downsampling(
                c_in, c_out, norm, activation, pooling, bias=norm in ("none", "spectral")
            )
        self.body = nn.Sequential(*layers)
        self.out = constrain_weight(
            init_dcgan(nn.Conv2d(widths[-1], 1, base, 1, 0, bias=False)), norm
        )
        wanted = projection and self.classes
        self.project = Projection(self.feature_dim, self.classes) if wanted else None

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images."""
        first, *others = self.body
        if not isinstance(first, LabelledHalvingConv2d):
            return self.body(append_class_planes(x, label, self.classes))
        h = first(x, label)
        for layer in others:
            h = layer(h)
        return h

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features, for labels where the class has a vector."""
        score = self.out(h).flatten(1)
        return score if self.project is None else score + self.project(h.flatten(1), label)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


def make_upsampling(c_in: int, c_out: int, *, nearest: bool, bias: bool) -> list[nn.Module]:
    """Makes what doubles a map: the convolution comes last."""
    if nearest:
        return [nn.Upsample(scale_factor=2.0), nn.Conv2d(c_in, c_out, 3, 1, 1, bias=bias)]
    return [DoublingConv2d(c_in, c_out, bias=bias)]


def finish_layer(conv: nn.Module, norm: Norm, act: Activation) -> list[nn.Module]:
    """Gives a convolution its first weights, a norm and an activation."""
    assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
    return [
        constrain_weight(init_dcgan(conv), norm),
        init_dcgan(norm2d(norm, conv.out_channels)),
        activation(act),
    ]


def make_downsampling(
    c_in: int, c_out: int, norm: Norm, act: Activation, pooling: str, *, bias: bool
) -> list[nn.Module]:
    """Makes the layers of a downsampling step."""
    strided = pooling == "strided"
    conv = (
        HalvingConv2d(c_in, c_out, bias=bias)
        if strided
        else nn.Conv2d(c_in, c_out, 3, 1, 1, bias=bias)
    )
    pool = [] if strided else [nn.AvgPool2d(2)]
    return [
        constrain_weight(init_dcgan(conv), norm),
        *pool,
        init_dcgan(norm2d(norm, c_out)),
        activation(act),
    ]


@torch.no_grad()
def init_dcgan(module: nn.Module) -> nn.Module:
    """Weights N(0, 0.02), normalisation gains N(1, 0.02) (Radford 2015, section 4)."""
    if not isinstance(module, nn.Identity):
        assert isinstance(module.weight, Tensor)
        # A norm's gain is the one that begins at 1.
        mean = 0.0 if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) else 1.0
        nn.init.normal_(module.weight, mean, 0.02)
    return module
