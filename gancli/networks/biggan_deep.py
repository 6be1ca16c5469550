"""BigGAN-deep's pair (Brock 2019, appendix B): bottleneck blocks, z whole in every norm.

Shortcuts drop or append channels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.biggan import (
    DOWN,
    HALVED,
    INITS,
    UP,
    Initial,
    Layers,
    ProjectedScore,
    compute_widths,
    find_level,
    list_sides,
    make_norm_factory,
    make_shared_embedding,
    to_image,
)
from gancli.networks.layers import Output, count_downsampling_steps

SQUEEZE = 4  # a bottleneck has a quarter of the channels
DEEPEST = 8


class BigGANDeepGenerator(nn.Module):
    """z (N,z_dim), label (N,) -> (N,channels,H,W).

    Without classes z alone steers the norms.

    Args:
        resolution: side or [H,W] in pixels, 8 to 448, that halves down to 4..7.
        channels: of the images.
        width: "ch" of the paper's tables.
        z_dim: numbers in a latent.
        depth: blocks per resolution, 1 to 8; the last one doubles it.
        shared_dim: length of the class embedding.
        attention: shorter side in pixels after whose blocks it stands, 0 for none.
        spectral: every weight is divided by its spectral norm.
        init: "orthogonal", or "normal" with a deviation of 0.02.
        output: "tanh" or "linear".
        classes: of the data set.
        conditional: the class steers the norms.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        width: int = 128,
        z_dim: int = 128,
        depth: int = 2,
        shared_dim: int = 128,
        attention: int = 64,
        spectral: bool = True,
        init: Initial = "orthogonal",
        output: Output = "tanh",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        check(depth, width)
        times, self.base = count_downsampling_steps(resolution)
        widths = compute_widths(UP[times], width)
        layers = Layers(spectral, INITS[init])
        if z_dim < 1:
            raise ValueError(f"z_dim={z_dim}: give 1 or more")
        self.z_dim = z_dim
        self.classes = classes if conditional else 0
        self.embed = make_shared_embedding(self.classes, shared_dim, layers)
        if self.classes and self.embed is None:
            raise ValueError(
                "shared_dim=0 leaves no way for a class into the norms: use shared_dim=128"
            )
        dim = z_dim + (shared_dim if self.classes else 0)
        norm = make_norm_factory(dim, self.classes, layers)
        self.first = layers.linear(dim, widths[0] * self.base[0] * self.base[1])
        self.levels = nn.ModuleList()
        for a, b in itertools.pairwise(widths):
            last = DeepUpBlock(a, b, double=True, norm=norm, layers=layers)
            same = [
                DeepUpBlock(a, a, double=False, norm=norm, layers=layers) for _ in range(depth - 1)
            ]
            self.levels.append(nn.ModuleList([*same, last]))
        self.attention = layers.attention_at(
            find_level(attention, [min(self.base) * 2**k for k in range(1, times + 1)]), widths[1:]
        )
        self.out = to_image(widths[-1], channels, layers, output)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes images of latents, and labels where the network is conditional."""
        assert label is not None or not self.classes, (
            "a conditional network was called without labels"
        )
        condition = z if self.embed is None else torch.cat([self.embed(label), z], 1)
        h = self.first(condition).unflatten(1, (-1, *self.base))
        for level, attention in zip(self.levels, self.attention, strict=True):
            assert isinstance(level, nn.ModuleList)
            for block in level:
                h = block(h, condition)
            h = attention(h)
        return self.out(h)


class BigGANDeepDiscriminator(nn.Module):
    """trunk: x (N,channels,H,W) -> (N,feature_dim); head: (N,F), label (N,) -> (N,1).

    Features are summed over spatial positions. The first block of a resolution halves it.

    Args:
        resolution: as the generator's.
        channels: of the images.
        width: as the generator's.
        depth: as the generator's.
        attention: as the generator's.
        spectral: as the generator's.
        init: as the generator's.
        classes: of the data set.
        conditional: the class adds to the score.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        width: int = 128,
        depth: int = 2,
        attention: int = 64,
        spectral: bool = True,
        init: Initial = "orthogonal",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        check(depth, width)
        times, base = count_downsampling_steps(resolution)
        layers = Layers(spectral, INITS[init])
        self.classes = classes if conditional else 0
        widths = compute_widths(DOWN[times], width)
        halves = [k < HALVED[times] for k in range(len(widths) - 1)]
        level = find_level(attention, list_sides(min(base) * 2**times, halves))
        parts: list[nn.Module] = [layers.conv(channels, widths[0])]
        for a, b, halve, after in zip(
            widths, widths[1:], halves, layers.attention_at(level, widths[1:]), strict=False
        ):
            same = [DeepDownBlock(b, b, halve=False, layers=layers) for _ in range(depth - 1)]
            parts += [DeepDownBlock(a, b, halve=halve, layers=layers), *same, after]
        self.body = nn.Sequential(*parts)
        self.feature_dim = widths[-1]
        self.score = ProjectedScore(self.feature_dim, self.classes, layers)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images."""
        return F.relu(self.body(x)).sum((2, 3))

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        return self.score(h, label)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


class DeepUpBlock(nn.Module):
    """(N,c_in,H,W), condition (N,dim) -> (N,c_out,H,W), or twice each side.

    The shortcut keeps the first c_out channels.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        double: bool,
        norm: Callable[[int], nn.Module],
        layers: Layers,
    ):
        super().__init__()
        inner = c_in // SQUEEZE
        self.doubles = double
        self.c_out = c_out
        self.norms = nn.ModuleList([norm(c_in), norm(inner), norm(inner), norm(inner)])
        self.convs = nn.ModuleList(
            [
                layers.conv(c_in, inner, 1),
                layers.conv(inner, inner),
                layers.conv(inner, inner),
                layers.conv(inner, c_out, 1),
            ]
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        h = x
        # Dropped, not mixed by a 1x1 convolution: the shortcut stays an identity (appendix B).
        x_kept = x[:, : self.c_out]
        for k, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            h = F.relu(norm(h, condition))
            # Before the first 3x3 convolution, inside the bottleneck, where it is cheapest.
            if self.doubles and k == 1:
                h = F.interpolate(h, scale_factor=2)
                x_kept = F.interpolate(x_kept, scale_factor=2)
            h = conv(h)
        return h + x_kept


class DeepDownBlock(nn.Module):
    """(N,c_in,H,W) -> (N,c_out,H,W), or half of each side.

    The shortcut appends the channels that are missing.
    """

    def __init__(self, c_in: int, c_out: int, *, halve: bool, layers: Layers):
        super().__init__()
        inner = c_out // SQUEEZE
        self.halve = halve
        self.reduce = layers.conv(c_in, inner, 1)
        self.expand = layers.conv(inner, c_out, 1)
        self.conv1 = layers.conv(inner, inner)
        self.conv2 = layers.conv(inner, inner)
        self.append = layers.conv(c_in, c_out - c_in, 1) if c_out > c_in else None

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        # Never in place: the shortcut below needs x as it was.
        h = self.conv1(F.relu(self.reduce(F.relu(x))))
        h = F.relu(self.conv2(F.relu(h)))
        if self.halve:
            h = F.avg_pool2d(h, 2)
            x = F.avg_pool2d(x, 2)
        if self.append is not None:
            x = torch.cat([x, self.append(x)], 1)
        return x + self.expand(h)


def check(depth: int, width: int) -> None:
    """Raises ValueError for a depth or a width that does not fit."""
    if not 1 <= depth <= DEEPEST:
        raise ValueError(f"depth={depth}: give 1 to {DEEPEST} blocks per resolution")
    if width < SQUEEZE:
        raise ValueError(
            f"width={width} leaves a bottleneck without channels: give {SQUEEZE} or more"
        )
