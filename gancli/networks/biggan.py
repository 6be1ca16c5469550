"""BigGAN's pair (Brock 2019): wide residual blocks, spectral norm everywhere.

Class and latent steer the batch norms.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.attention import Init, SelfAttention
from gancli.networks.conditional import ConditionalBatchNorm2d, Projection
from gancli.networks.layers import Output, constrain_weight, count_downsampling_steps, to_range

# Channels in multiples of the width, by the number of doublings (3: 32 px, 6: 256 px). The paper
# has 3 to 6; below, 3's goes on.
UP = {
    1: (4, 4),
    2: (4, 4, 4),
    3: (4, 4, 4, 4),
    4: (16, 16, 8, 4, 2),
    5: (16, 16, 8, 4, 2, 1),
    6: (16, 16, 8, 8, 4, 2, 1),
}
DOWN = {
    1: (4, 4),
    2: (4, 4, 4),
    3: (4, 4, 4, 4),
    4: (1, 2, 4, 8, 16),
    5: (1, 2, 4, 8, 16, 16),
    6: (1, 2, 4, 8, 8, 16, 16),
}
# So many of the discriminator's blocks halve; its features at 32 px are 8x8.
HALVED = {
    1: 1,
    2: 2,
    3: 2,
    4: 4,
    5: 5,
    6: 6,
}
Z_CHUNK = (
    20  # numbers of the latent for each block and for the first layer (Brock 2019, appendix B)
)
Initial = Literal["orthogonal", "normal"]
INITS: dict[str, Init] = {
    "orthogonal": nn.init.orthogonal_,
    "normal": partial(nn.init.normal_, std=0.02),
}


class BigGANGenerator(nn.Module):
    """z (N,z_dim), label (N,) -> (N,channels,H,W).

    Without classes the chunks of z alone steer the norms.

    Args:
        resolution: side or [H,W] in pixels, 8 to 448, that halves down to 4..7.
        channels: of the images.
        width: "ch" of the paper's tables.
        z_dim: numbers in a latent; null: 20 for each block and for the first layer (120 at 128
            pixels), or 128 where z is not cut.
        shared_dim: length of the class embedding that all batch norms share; 0: each norm has a
            table of its own.
        hierarchical: z is cut, one chunk for the first layer and one for each block's norms.
        attention: shorter side in pixels after whose block it stands, 0 for none (`find_level`).
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
        width: int = 96,
        z_dim: int | None = None,
        shared_dim: int = 128,
        hierarchical: bool = True,
        attention: int = 64,
        spectral: bool = True,
        init: Initial = "orthogonal",
        output: Output = "tanh",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        times, self.base = count_downsampling_steps(resolution)
        widths = compute_widths(UP[times], width)
        layers = Layers(spectral, INITS[init])
        self.classes = classes if conditional else 0
        self.hierarchical = hierarchical
        self.slots = times + 1 if hierarchical else 1
        self.z_dim = check_latent_size(z_dim, self.slots)
        self.embed = make_shared_embedding(self.classes, shared_dim, layers)
        if self.classes and self.embed is None and hierarchical:
            raise ValueError(
                "shared_dim=0 leaves no embedding for z to be appended to: use shared_dim=128 or "
                "hierarchical=false"
            )
        dim = (shared_dim if self.embed is not None else 0) + (
            self.z_dim // self.slots if hierarchical else 0
        )
        norm = make_norm_factory(dim, self.classes, layers)
        self.first = layers.linear(
            self.z_dim // self.slots, widths[0] * self.base[0] * self.base[1]
        )
        self.blocks = nn.ModuleList(
            UpBlock(a, b, norm=norm, layers=layers) for a, b in itertools.pairwise(widths)
        )
        self.attention = layers.attention_at(
            find_level(attention, [min(self.base) * 2**k for k in range(1, times + 1)]), widths[1:]
        )
        self.out = to_image(widths[-1], channels, layers, output)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes images of latents, and labels where the network is conditional."""
        first, conditions = self.conditions(z, label)
        h = self.first(first).unflatten(1, (-1, *self.base))
        for block, attention, condition in zip(
            self.blocks, self.attention, conditions, strict=True
        ):
            h = attention(block(h, condition))
        return self.out(h)

    def conditions(self, z: Tensor, label: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
        """Splits latents and labels over the network.

        Returns:
            What the first layer sees, and what each block's norms see: (N,dim), labels (N,) or
            nothing.
        """
        assert label is not None or not self.classes, (
            "a conditional network was called without labels"
        )
        embedded = [] if self.embed is None else [self.embed(label)]
        if self.hierarchical:
            first, *chunks = z.chunk(self.slots, 1)
            return first, [torch.cat([*embedded, chunk], 1) for chunk in chunks]
        return z, [embedded[0] if embedded else label] * len(self.blocks)


class BigGANDiscriminator(nn.Module):
    """trunk: x (N,channels,H,W) -> (N,feature_dim); head: (N,F), label (N,) -> scores (N,1).

    Features are summed over spatial positions. A class adds <v_label, features> to the score
    (projection).

    Args:
        resolution: as the generator's.
        channels: of the images.
        width: as the generator's.
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
        width: int = 96,
        attention: int = 64,
        spectral: bool = True,
        init: Initial = "orthogonal",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        times, base = count_downsampling_steps(resolution)
        layers = Layers(spectral, INITS[init])
        self.classes = classes if conditional else 0
        widths = [channels, *compute_widths(DOWN[times], width)]
        halves = [k < HALVED[times] for k in range(len(widths) - 1)]
        # The sides behind each block: attention stands behind one, and not before it.
        level = find_level(attention, list_sides(min(base) * 2**times, halves))
        parts: list[nn.Module] = []
        for a, b, halve, after in zip(
            # Not strict: `widths` is one longer than the rest.
            widths,
            widths[1:],
            halves,
            layers.attention_at(level, widths[1:]),
            strict=False,
        ):
            parts += [DownBlock(a, b, halve=halve, first=not parts, layers=layers), after]
        self.body = nn.Sequential(*parts)
        self.feature_dim = widths[-1]
        self.score = ProjectedScore(self.feature_dim, self.classes, layers)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images."""
        # A sum over positions and no mean, as in Miyato and Koyama's code.
        return F.relu(self.body(x)).sum((2, 3))

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        return self.score(h, label)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


@dataclass(frozen=True)
class Layers:
    """How every layer of a network is made.

    The weight is filled before its spectral norm is first estimated.
    """

    spectral: bool
    init: Init

    def conv(self, c_in: int, c_out: int, side: int = 3) -> nn.Module:
        """Makes a convolution that keeps the size."""
        return self.init_layer(nn.Conv2d(c_in, c_out, side, 1, side // 2))

    def linear(self, n_in: int, n_out: int, *, bias: bool = True) -> nn.Module:
        """Makes a dense layer."""
        return self.init_layer(nn.Linear(n_in, n_out, bias=bias))

    def init_layer(self, layer: nn.Conv2d | nn.Linear | nn.Embedding) -> nn.Module:
        """Fills a layer, and puts it under its spectral norm where the network has one."""
        self.init(layer.weight)
        return constrain_weight(layer, "spectral" if self.spectral else "none")

    def attention_at(self, level: int | None, widths: list[int]) -> nn.ModuleList:
        """Lists one module per level: attention at `level`, nothing elsewhere."""
        return nn.ModuleList(
            SelfAttention(c, self.spectral, init=self.init) if k == level else nn.Identity()
            for k, c in enumerate(widths)
        )


class LinearBatchNorm2d(nn.Module):
    """Batch norm with gain 1 + A c and bias B c.

    x (N,channels,H,W), condition c (N,dim) -> (N,channels,H,W).
    """

    def __init__(self, channels: int, *, dim: int, layers: Layers):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = layers.linear(dim, channels, bias=False)
        self.bias = layers.linear(dim, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        # 1 + gain, and no bias in either layer: a condition of zeros leaves the plain norm.
        gain, bias = (part(condition)[:, :, None, None] for part in (self.gain, self.bias))
        return self.norm(x) * (1 + gain) + bias


class FreeBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with a gain and a bias of its own, where neither class nor latent steers it."""

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Applies the layer; the class says the shapes."""
        return super().forward(x)


class UpBlock(nn.Module):
    """(N,c_in,H,W), condition -> (N,c_out,2H,2W)."""

    def __init__(self, c_in: int, c_out: int, *, norm: Callable[[int], nn.Module], layers: Layers):
        super().__init__()
        self.norm1 = norm(c_in)
        self.conv1 = layers.conv(c_in, c_out)
        self.norm2 = norm(c_out)
        self.conv2 = layers.conv(c_out, c_out)
        self.shortcut = layers.conv(c_in, c_out, 1)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Applies the block; the class says the shapes."""
        h = F.relu(self.norm1(x, condition))
        h = self.conv1(F.interpolate(h, scale_factor=2))
        h = self.conv2(F.relu(self.norm2(h, condition)))
        # A 1x1 convolution and nearest neighbours commute; this order costs a quarter.
        return h + F.interpolate(self.shortcut(x), scale_factor=2)


class DownBlock(nn.Module):
    """(N,c_in,H,W) -> (N,c_out,H,W), or half of each side.

    The first block sees pixels, which ReLU would cut.
    """

    def __init__(self, c_in: int, c_out: int, *, halve: bool, first: bool, layers: Layers):
        super().__init__()
        self.halve = halve
        self.first = first
        self.conv1 = layers.conv(c_in, c_out)
        self.conv2 = layers.conv(c_out, c_out)
        self.shortcut = layers.conv(c_in, c_out, 1) if halve or c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        # Never in place: the shortcut below needs x as it was.
        h = self.conv1(x if self.first else F.relu(x))
        h = self.conv2(F.relu(h))
        if self.halve:
            h = F.avg_pool2d(h, 2)
            # Pooled before its 1x1 convolution, with which it commutes, at a quarter of the cost.
            x = F.avg_pool2d(x, 2)
        return h + self.shortcut(x)


class ProjectedScore(nn.Module):
    """h (N,features), label (N,) -> (N,1): a linear score, and the class's own.

    The class's is the projection of Miyato and Koyama (2018).
    """

    def __init__(self, features: int, classes: int, layers: Layers):
        super().__init__()
        self.linear = layers.linear(features, 1)
        self.project = (
            Projection(features, classes, layers.spectral, init=layers.init) if classes else None
        )

    def forward(self, h: Tensor, label: Tensor | None) -> Tensor:
        """Applies the layer; the class says the shapes."""
        score = self.linear(h)
        return score if self.project is None else score + self.project(h, label)


def compute_widths(multiples: tuple[int, ...], width: int) -> list[int]:
    """Lists channels, multiples of the width. Raises ValueError for a width below 1."""
    if width < 1:
        raise ValueError(f"width={width} leaves no channels: give 1 or more")
    return [width * multiple for multiple in multiples]


def check_latent_size(z_dim: int | None, slots: int) -> int:
    """Returns the length of z, which must split into `slots` equal chunks.

    Raises:
        ValueError: it does not; the message names lengths that do.
    """
    if z_dim is None:
        return 128 if slots == 1 else Z_CHUNK * slots
    if z_dim < slots or z_dim % slots:
        near = sorted({max(1, z_dim // slots + d) * slots for d in (0, 1)})
        raise ValueError(
            f"z_dim={z_dim} does not split into {slots} equal chunks, one for the first layer and "
            f"one for each block: use {' or '.join(map(str, near))}, or null for {Z_CHUNK * slots}"
        )
    return z_dim


def make_shared_embedding(classes: int, dim: int, layers: Layers) -> nn.Embedding | None:
    """Makes the embedding (classes,dim), or None without classes or dimensions.

    It is not spectral-normed, as in the paper.
    """
    if dim < 0:
        raise ValueError(
            f"shared_dim={dim}: give the length of the class embedding, such as 128, or 0 for none"
        )
    if not classes or not dim:
        return None
    embedding = nn.Embedding(classes, dim)
    layers.init(embedding.weight)
    return embedding


def make_norm_factory(dim: int, classes: int, layers: Layers) -> Callable[[int], nn.Module]:
    """Returns what makes a batch norm of so many channels.

    It is steered by a condition of length dim, by a table of classes, or by nothing.
    """
    if dim:
        return partial(LinearBatchNorm2d, dim=dim, layers=layers)
    return partial(ConditionalBatchNorm2d, classes=classes) if classes else FreeBatchNorm2d


def to_image(c_in: int, channels: int, layers: Layers, output: Output) -> nn.Sequential:
    """Makes the last layers, from features to an image."""
    return nn.Sequential(
        nn.BatchNorm2d(c_in), nn.ReLU(), layers.conv(c_in, channels), to_range(output)
    )


def list_sides(side: int, halves: list[bool]) -> list[int]:
    """Lists the side in pixels after each block of a discriminator."""
    sides = []
    for halve in halves:
        side = side // 2 if halve else side
        sides.append(side)
    return sides


def find_level(attention: int, sides: list[int]) -> int | None:
    """Finds the level of attention: the first whose side is `attention`.

    Where the base is not 4 pixels it is the first with less, but more than half of it.
    """
    if attention < 0:
        raise ValueError(f"attention={attention}: give a side in pixels, such as 64, or 0 for none")
    return next((k for k, side in enumerate(sides) if attention / 2 < side <= attention), None)
