"""StyleGAN's generator (Karras 2019): styles scale and shift every layer.

The network grows as PGGAN's.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import Tensor, nn

from gancli.networks.layers import Output, count_downsampling_steps, to_range
from gancli.networks.pggan import (
    MOST,
    SOFT,
    apply_leaky_relu,
    blend_images,
    compute_widths,
    enlarge,
)
from gancli.networks.style_layers import (
    SQRT2,
    EqualisedConv2d,
    EqualisedLinear,
    blur,
    pixel_norm,
    to_full_precision,
)

Noise = Literal["random", "fixed", "none"]


class StyleGANGenerator(nn.Module):
    """z (N,z_dim), label (N,) -> (N,channels,h,w) of the stage's size.

    Its discriminator is `PGGANDiscriminator` with blur. `layers` says how many see a style: two for
    each stage.

    Args:
        resolution: as PGGAN's.
        channels: of the images.
        z_dim: numbers in a latent.
        w_dim: numbers in a style.
        channel_base: as PGGAN's.
        channel_max: as PGGAN's.
        mapping_layers: depth of the mapping, 1 to 32.
        mapping_lr: learning-rate multiplier of the mapping.
        w_decay: w_avg_beta, the decay of `w_avg` (w_dim,), 0 to 1; the buffer moves in training
            alone.
        output: "linear" or "tanh".
        classes: of the data set.
        conditional: the label's embedding stands beside z.
    """

    w_avg: Tensor

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        z_dim: int = 512,
        w_dim: int = 512,
        channel_base: int = 16384,
        channel_max: int = 512,
        mapping_layers: int = 8,
        mapping_lr: float = 0.01,
        w_decay: float = 0.995,
        output: Output = "linear",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        if not 0 <= w_decay <= 1:
            raise ValueError(
                f"w_decay={w_decay}: give a number from 0 to 1 (the paper's code: 0.995)"
            )
        times, self.base = count_downsampling_steps(resolution, most=MOST)
        self.stages = times + 1
        self.z_dim = z_dim
        self.classes = classes if conditional else 0
        self.layers = 2 * self.stages
        self.w_decay = w_decay
        widths = compute_widths(
            self.base, times, channel_base=channel_base, channel_max=channel_max
        )
        self.mapping = Mapping(
            z_dim, w_dim, layers=mapping_layers, lr=mapping_lr, classes=self.classes
        )
        # Of ones, where StyleGAN2 draws it: the authors' code.
        self.const = nn.Parameter(torch.ones(1, widths[0], *self.base))
        self.blocks = nn.ModuleList(
            StyleBlock(a, b, w_dim, number=k)
            for k, (a, b) in enumerate(zip([None, *widths], widths, strict=False))
        )
        self.to_image = nn.ModuleList(EqualisedConv2d(width, channels, 1) for width in widths)
        self.range = to_range(output)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: Tensor,
        label: Tensor | None = None,
        *,
        other: Tensor | None = None,
        mask: Tensor | None = None,
        psi: Tensor | None = None,
        stage: int | None = None,
        alpha: Tensor | None = None,
        noise: Noise = "random",
    ) -> Tensor:
        """Makes images of latents.

        Args:
            z: latents (N,z_dim).
            label: classes (N,), where the network is conditional.
            other: further latents (N,z_dim) of the same labels, for style mixing.
            mask: (layers,) or (N,layers) bool, the layers that take their style from `other`.
            psi: (N,layers), weight of a style against w_avg: 1 leaves it, 0 makes it w_avg.
            stage: as PGGAN's.
            alpha: as PGGAN's.
            noise: as in `synthesis`.
        """
        w = self.mapping(z, label)
        if self.training:
            with torch.no_grad():
                self.w_avg.lerp_(w.mean(0), 1 - self.w_decay)
        styles = w[:, None].expand(-1, self.layers, -1)
        if other is not None:
            assert mask is not None, "another latent's styles need a mask of the layers they go to"
            styles = torch.where(mask[..., None], self.mapping(other, label)[:, None], styles)
        if psi is not None:
            # psi as a tensor: layers and images have their own, without a branch.
            styles = self.w_avg + psi[..., None] * (styles - self.w_avg)
        return self.synthesis(styles, stage=stage, alpha=alpha, noise=noise)

    def synthesis(
        self,
        styles: Tensor,
        *,
        stage: int | None = None,
        alpha: Tensor | None = None,
        noise: Noise | list[Tensor] = "random",
    ) -> Tensor:
        """Makes images of styles: (N,layers,w_dim) -> (N,channels,h,w).

        Args:
            styles: one for each layer.
            stage: as PGGAN's.
            alpha: as PGGAN's.
            noise: "random" for each image, the same "fixed" one for all, "none", or planes, of
                which `planes` tells the sizes.
        """
        stage = self.stages - 1 if stage is None else stage
        noises = [noise] * self.layers if isinstance(noise, str) else noise
        h = before = self.const.expand(styles.shape[0], -1, -1, -1)
        for k, block in enumerate(self.blocks[: stage + 1]):
            before = h
            h = block(h, styles[:, 2 * k], styles[:, 2 * k + 1], noises=noises[2 * k : 2 * k + 2])
        return self.range(blend_images(self.to_image, before, h, stage=stage, alpha=alpha))

    @property
    def planes(self) -> list[tuple[int, int]]:
        """Lists height and width of each layer's noise."""
        return [
            (self.base[0] * 2 ** (k // 2), self.base[1] * 2 ** (k // 2)) for k in range(self.layers)
        ]


class Mapping(nn.Module):
    """z (N,z_dim), label (N,) -> w (N,w_dim).

    A label's embedding stands beside z, and both are normalised together.
    """

    def __init__(self, z_dim: int, w_dim: int, *, layers: int, lr: float, classes: int):
        super().__init__()
        if not 1 <= layers <= 32 or lr <= 0:
            raise ValueError(
                f"mapping_layers={layers}, mapping_lr={lr}: give 1 to 32 layers and a "
                "learning-rate multiplier above 0 (the paper's: 8, 0.01)"
            )
        self.embed = nn.Embedding(classes, z_dim) if classes else None
        sizes = [2 * z_dim if classes else z_dim, *[w_dim] * layers]
        self.net = nn.ModuleList(
            EqualisedLinear(a, b, gain=SQRT2, lr_mul=lr) for a, b in itertools.pairwise(sizes)
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Applies the layer; the class says the shapes."""
        assert label is not None or self.embed is None, (
            "a conditional network was called without labels"
        )
        # The errors of eight layers of bf16 would add up.
        with torch.autocast(z.device.type, enabled=False):
            h = pixel_norm(z if self.embed is None else torch.cat([z, self.embed(label)], 1))
            for layer in self.net:
                h = apply_leaky_relu(layer(h))
        return h


class StyleBlock(nn.Module):
    """(N,c_in,h,w), two styles (N,w_dim) -> (N,c_out,2h,2w).

    c_in None: the first block, whose input is neither enlarged nor convolved before its first
    style.
    """

    def __init__(self, c_in: int | None, c_out: int, w_dim: int, *, number: int):
        super().__init__()
        self.first = None if c_in is None else EqualisedConv2d(c_in, c_out, gain=SQRT2, bias=False)
        self.second = EqualisedConv2d(c_out, c_out, gain=SQRT2, bias=False)
        self.styled = nn.ModuleList(Styled(c_out, w_dim, layer=2 * number + k) for k in range(2))

    def forward(
        self, x: Tensor, first: Tensor, second: Tensor, *, noises: list[Noise | Tensor]
    ) -> Tensor:
        """Applies the block; first, second: the styles (N,w_dim) of its two layers."""
        # The filter takes away the squares that repeated pixels leave (Zhang 2019).
        h = x if self.first is None else blur(self.first(enlarge(x)), SOFT)
        h = self.styled[0](h, first, noise=noises[0])
        return self.styled[1](self.second(h), second, noise=noises[1])


class Styled(nn.Module):
    """What follows a convolution: (N,C,h,w), style (N,w_dim) -> (N,C,h,w).

    Noise, bias, activation, instance norm, and the style's scale and shift of each channel. The
    strength of the noise is learned for each channel, and starts at 0. `noise` may be a plane
    (1 or N,1,h,w) as well.
    """

    def __init__(self, width: int, w_dim: int, *, layer: int):
        super().__init__()
        self.layer = layer
        self.strength = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.style = EqualisedLinear(w_dim, 2 * width)

    def forward(self, x: Tensor, style: Tensor, *, noise: Noise | Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        h = x + self.bias[:, None, None]
        if isinstance(noise, Tensor) or noise != "none":
            plane = (
                noise if isinstance(noise, Tensor) else self.draw_noise(x, fixed=noise == "fixed")
            )
            h = h + self.strength[:, None, None] * plane.to(h.dtype)
        scale, shift = self.style(style)[:, :, None, None].chunk(2, 1)
        # 1 + scale: a style of zeros leaves the normalised map as it is.
        return instance_norm(apply_leaky_relu(h)) * (1 + scale) + shift

    def draw_noise(self, x: Tensor, *, fixed: bool) -> Tensor:
        """Draws noise (N,1,h,w) from the global generator.

        With `fixed` it is (1,1,h,w), the layer's own, the same in every run and on every device.
        """
        if not fixed:
            return torch.randn(len(x), 1, *x.shape[2:], device=x.device)
        rng = torch.Generator().manual_seed(self.layer)
        return torch.randn(1, 1, *x.shape[2:], generator=rng, device="cpu").to(x.device)


def instance_norm(x: Tensor) -> Tensor:
    """Gives each plane of (N,C,h,w) mean 0 and deviation 1, the biased one.

    AdaIN (Huang and Belongie 2017). In full precision: the square of a small deviation would be
    lost.
    """
    centred = to_full_precision(x) - to_full_precision(x).mean((2, 3), keepdim=True)
    return (centred * (centred.square().mean((2, 3), keepdim=True) + 1e-8).rsqrt()).to(x.dtype)
