"""StyleGAN2's pair (Karras 2020): styles scale the channels of a skip generator.

The discriminator is residual, or plain as for CIFAR.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.layers import count_downsampling_steps, one_hot
from gancli.networks.style_layers import (
    SQRT2,
    EqualisedConv2d,
    EqualisedLinear,
    MinibatchStd,
    apply_leaky_relu,
    blur,
    disable_autocast,
    downsample,
    pixel_norm,
    to_full_precision,
    upsample,
)

# For each image anew, one and the same for all, or left out.
Noise = Literal["random", "fixed", "none"]
Architecture = Literal["resnet", "orig"]
GROUPED_FROM = 64 * 64  # pixels
# 4 to 1024 pixels; of a mapping
MOST_DOUBLINGS = 8
MOST_LAYERS = 16


def compute_widths(
    base: tuple[int, int], times: int, *, channel_base: int, channel_max: int
) -> list[int]:
    """Lists channels from the coarsest level to the finest.

    They are channel_base / side (the shorter one), up to channel_max.
    """
    if channel_base < 1 or channel_max < 1:
        raise ValueError(
            f"channel_base={channel_base}, channel_max={channel_max}: give 1 or more, e.g. 16384 "
            "and 512"
        )
    return [max(1, min(channel_base // (min(base) * 2**k), channel_max)) for k in range(times + 1)]


class Mapping(nn.Module):
    """z (N,z_dim) and, with classes, label (N,) -> w (N,w_dim), always in fp32.

    The label's embedding is normalised like z and stands behind it (StyleGAN2-ADA's code).

    Args:
        z_dim: numbers in a latent; 0: w is of the label alone.
        w_dim: numbers in a style.
        layers: depth, 1 to 16.
        lr_mul: learning-rate multiplier (Karras 2019, appendix C).
        classes: how many; 0 for none.
    """

    def __init__(
        self, *, z_dim: int, w_dim: int, layers: int, lr_mul: float = 0.01, classes: int = 0
    ):
        super().__init__()
        if not 1 <= layers <= MOST_LAYERS:
            raise ValueError(f"mapping_layers={layers}: give 1 to {MOST_LAYERS}, e.g. 8")
        self.z_dim = z_dim
        self.classes = classes
        self.embed = EqualisedLinear(classes, w_dim) if classes else None
        sizes = [z_dim + (w_dim if classes else 0)] + [w_dim] * layers
        self.layers = nn.ModuleList(
            EqualisedLinear(a, b, lr_mul=lr_mul) for a, b in itertools.pairwise(sizes)
        )

    def forward(self, z: Tensor | None, label: Tensor | None) -> Tensor:
        """Applies the layer; the class says the shapes."""
        first = self.layers[0]
        assert isinstance(first, EqualisedLinear)
        weight = first.weight
        with disable_autocast(weight):  # eight layers would add up bf16's errors
            parts = []
            if self.z_dim:
                assert z is not None, "only a mapping of labels alone is called without a latent"
                parts.append(pixel_norm(to_full_precision(z)))
            if self.embed is not None:
                parts.append(pixel_norm(self.embed(one_hot(label, self.classes, weight))))
            w = torch.cat(parts, 1)
            for layer in self.layers:
                w = apply_leaky_relu(layer(w))
        return w


class ModulatedConv2d(nn.Module):
    """x (N,c_in,H,W), w (N,w_dim) -> (N,c_out,H,W), twice the size with `up`.

    Each sample's kernel is the shared one with its input channels scaled by the sample's style and,
    with `demodulate`, every filter brought to length 1 (Karras 2020, section 2.2). There are two
    ways to the same sums: N kernels in a grouped convolution, or one kernel, with x's channels
    scaled before it and the result's after it. `grouped` says which; docs/benchmarks.md has the
    measurement.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        side: int = 3,
        *,
        w_dim: int,
        up: bool = False,
        demodulate: bool = True,
    ):
        super().__init__()
        self.up = up
        self.demodulate = demodulate
        # The constant of the equalised learning rate; see `scales` for where it counts.
        self.gain = (c_in * side * side) ** -0.5
        # Around 1: w = 0 leaves the shared kernel as it is.
        self.style = EqualisedLinear(w_dim, c_in, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, side, side))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        before, after = self.scales(w)
        if self.grouped(x):
            return self.convolve_each(x, before, after)
        y = self.convolve(x * before.to(x.dtype)[:, :, None, None], self.weight)
        return y if after is None else y * after.to(y.dtype)[:, :, None, None]

    @staticmethod
    def grouped(x: Tensor) -> bool:
        """Says whether N kernels are used: on a CPU, for large images.

        There to pass over the image twice more costs more than N small kernels do.
        """
        return x.device.type == "cpu" and x.shape[2] * x.shape[3] >= GROUPED_FROM

    def convolve_each(self, x: Tensor, before: Tensor, after: Tensor | None) -> Tensor:
        """Convolves with N kernels, one for each sample of x (N,c_in,H,W)."""
        n = len(x)
        # The batch becomes one image of N * c_in channels, whose N groups have their own kernels.
        kernels = self.weight * before[:, None, :, None, None]
        kernels = kernels if after is None else kernels * after[:, :, None, None, None]
        return self.convolve(x.flatten(0, 1)[None], kernels.flatten(0, 1), groups=n).unflatten(
            1, (n, -1)
        )[0]

    def scales(self, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns what channels are multiplied by, for w (N,w_dim).

        Returns:
            (N,c_in) before the convolution, and (N,c_out) after it or None.
        """
        with disable_autocast(w):
            style = self.style(w)
            if not self.demodulate:
                # Demodulation would divide the gain out again, so it counts here alone.
                return style * self.gain, None
            # Squared lengths of the filters without the N kernels: a style scales whole channels.
            lengths = style.square() @ self.weight.square().sum((2, 3)).T
            # The small number keeps a filter of length 0 finite.
            return style, (lengths + 1e-8).rsqrt()

    def convolve(self, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        """Convolves (N,groups * c_in,H,W) with a weight (groups * c_out,c_in,side,side)."""
        if not self.up:
            return F.conv2d(x, weight, padding=weight.shape[2] // 2, groups=groups)
        # Zeros between the pixels, the kernel, then the filter: at a quarter of the cost of
        # filtering first.
        back = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
        return blur(F.conv_transpose2d(x, back, stride=2, groups=groups), padding=1, gain=4.0)


class StyledLayer(nn.Module):
    """x (N,c_in,h,w), w (N,w_dim) -> (N,c_out,h,w), twice the size with `up`.

    Modulated convolution, noise, bias and leaky ReLU. The noise is one plane for all channels; its
    strength is learned, from 0 (Karras 2020, figure 2). `noise` may be a plane (1 or N,1,h,w) as
    well.

    Args:
        c_in: channels that go in.
        c_out: channels that come out.
        w_dim: numbers in a style.
        number: the layer's.
        up: doubles the size.
        noisy: learns the noise's strength; without, it stays 0, and no noise is drawn.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        w_dim: int,
        number: int,
        up: bool = False,
        noisy: bool = True,
    ):
        super().__init__()
        self.number = number
        self.noisy = noisy
        self.conv = ModulatedConv2d(c_in, c_out, w_dim=w_dim, up=up)
        # Kept without noise too: projection and export find one strength a layer
        self.strength = nn.Parameter(torch.zeros(()), requires_grad=noisy)
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: Tensor, w: Tensor, noise: Noise | Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        x = self.conv(x, w)
        if isinstance(noise, Tensor) or (noise != "none" and self.noisy):
            plane = noise if isinstance(noise, Tensor) else self.plane(x, fixed=noise == "fixed")
            x = x + (self.strength * plane).to(x.dtype)
        return apply_leaky_relu(x + self.bias.to(x.dtype)[:, None, None])

    def plane(self, x: Tensor, *, fixed: bool) -> Tensor:
        """Draws noise (N,1,h,w) from the global generator.

        With `fixed` it is (1,1,h,w), the layer's own, the same in every run and on every device.
        """
        if not fixed:
            return torch.randn(len(x), 1, *x.shape[2:], dtype=self.strength.dtype, device=x.device)
        rng = torch.Generator("cpu").manual_seed(self.number)
        return torch.randn(1, 1, *x.shape[2:], generator=rng, device="cpu").to(self.strength)


class ToRGB(nn.Module):
    """x (N,c_in,H,W), w (N,w_dim) -> what the level adds to the image.

    That is (N,channels,H,W) in fp32; it is not demodulated.
    """

    def __init__(self, c_in: int, channels: int, *, w_dim: int):
        super().__init__()
        self.conv = ModulatedConv2d(c_in, channels, 1, w_dim=w_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        return to_full_precision(self.conv(x, w)) + self.bias[:, None, None]


class StyleGAN2Generator(nn.Module):
    """z (N,z_dim), label (N,) -> (N,channels,H,W), linear: values may leave [-1,1].

    `layers` says how many see a style, the last picture's included; any other takes that of the
    next level's first layer.

    Args:
        resolution: side or [H,W] in pixels, 8 to 2047, that halves down to 4..7 (1024 = 4 * 2^8,
            28 = 7 * 2^2).
        channels: of the images.
        z_dim: numbers in a latent.
        w_dim: numbers in a style.
        mapping_layers: depth of the mapping, 1 to 16.
        mapping_lr: learning-rate multiplier of the mapping.
        channel_base: a level of n pixels has channel_base / n channels.
        channel_max: the most channels.
        w_decay: w_avg_beta, the decay of `w_avg` (w_dim,), 0 to 1; the buffer moves in training
            alone.
        classes: of the data set.
        conditional: the label's embedding stands behind z.
        noise_inputs: the layers add noise of a learned strength; a short run makes speckles of it.
    """

    w_avg: Tensor

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        z_dim: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        mapping_lr: float = 0.01,
        channel_base: int = 32768,
        channel_max: int = 512,
        w_decay: float = 0.995,
        classes: int = 0,
        conditional: bool = False,
        noise_inputs: bool = True,
    ):
        super().__init__()
        times, base = count_downsampling_steps(resolution, most=MOST_DOUBLINGS)
        if z_dim < 1 or w_dim < 1 or not 0 <= w_decay <= 1:
            raise ValueError(
                f"z_dim={z_dim}, w_dim={w_dim}, w_decay={w_decay}: give 1 or more, e.g. 512, and a "
                "number from 0 to 1"
            )
        self.z_dim = z_dim
        self.w_dim = w_dim
        self.w_decay = w_decay
        self.classes = classes if conditional else 0
        self.layers = 2 * times + 2
        self.size = (base[0] * 2**times, base[1] * 2**times)
        widths = compute_widths(base, times, channel_base=channel_base, channel_max=channel_max)
        self.mapping = Mapping(
            z_dim=z_dim, w_dim=w_dim, layers=mapping_layers, lr_mul=mapping_lr, classes=self.classes
        )
        self.const = nn.Parameter(torch.randn(widths[0], *base))
        ends = [
            (widths[0], widths[0]),
            *(pair for a, b in itertools.pairwise(widths) for pair in ((a, b), (b, b))),
        ]
        self.styled = nn.ModuleList(
            StyledLayer(a, b, w_dim=w_dim, number=k, up=k % 2 == 1, noisy=noise_inputs)
            for k, (a, b) in enumerate(ends)
        )
        self.to_rgb = nn.ModuleList(ToRGB(c, channels, w_dim=w_dim) for c in widths)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: Tensor,
        label: Tensor | None = None,
        *,
        other: Tensor | None = None,
        mask: Tensor | None = None,
        psi: Tensor | None = None,
        noise: Noise = "random",
        level: int | None = None,
    ) -> Tensor:
        """Makes images of latents.

        Args:
            z: as in `styles`.
            label: as in `styles`.
            other: as in `styles`.
            mask: as in `styles`.
            psi: as in `styles`.
            noise: as in `synthesis`.
            level: as in `synthesis`.
        """
        return self.synthesis(
            self.styles(z, label, other=other, mask=mask, psi=psi), noise=noise, level=level
        )

    def styles(
        self,
        z: Tensor,
        label: Tensor | None = None,
        *,
        other: Tensor | None = None,
        mask: Tensor | None = None,
        psi: Tensor | None = None,
    ) -> Tensor:
        """Maps latents to styles (N,layers,w_dim).

        Args:
            z: latents (N,z_dim).
            label: classes (N,), where the network is conditional.
            other: further latents (N,z_dim) of the same labels, for style mixing.
            mask: (layers,) or (N,layers) bool, the layers that take their style from `other`.
            psi: (N,layers), weight of a style against w_avg: 1 leaves it, 0 makes it w_avg
                (Karras 2019, appendix B).
        """
        w = self.mapping(z, label)
        # Not by the other latent: it has the same distribution, and not every image takes it.
        if self.training:
            with torch.no_grad():
                self.w_avg.lerp_(w.mean(0), 1 - self.w_decay)
        styles = w[:, None].expand(-1, self.layers, -1)
        if other is not None:
            assert mask is not None, "another latent's styles need a mask of the layers they go to"
            styles = torch.where(mask[..., None], self.mapping(other, label)[:, None], styles)
        if psi is not None:
            styles = self.w_avg + psi[..., None] * (styles - self.w_avg)
        return styles

    def synthesis(
        self, styles: Tensor, *, noise: Noise | list[Tensor] = "random", level: int | None = None
    ) -> Tensor:
        """Makes images of styles: (N,layers,w_dim) -> (N,channels,H,W).

        Args:
            styles: one for each layer.
            noise: "random" for each image, the same "fixed" one for all, "none", or planes, of
                which `planes` tells the sizes.
            level: the sum of the skips up to this one, in its own size; 0 is the coarsest, None
                all.
        """
        w = styles.unbind(1)
        noises = [noise] * len(self.styled) if isinstance(noise, str) else noise
        x = self.styled[0](self.const.expand(styles.shape[0], -1, -1, -1), w[0], noises[0])
        image = self.to_rgb[0](x, w[1])
        for k in range(1, len(self.to_rgb) if level is None else level + 1):
            x = self.styled[2 * k - 1](x, w[2 * k - 1], noises[2 * k - 1])
            x = self.styled[2 * k](x, w[2 * k], noises[2 * k])
            image = upsample(image) + self.to_rgb[k](x, w[2 * k + 1])
        return image

    @property
    def planes(self) -> list[tuple[int, int]]:
        """Lists height and width of each layer's noise."""
        base = self.const.shape[1:]
        return [
            (base[0] * 2 ** ((k + 1) // 2), base[1] * 2 ** ((k + 1) // 2))
            for k in range(len(self.styled))
        ]


class DownBlock(nn.Module):
    """(N,c_in,2H,2W) -> (N,c_out,H,W): two convolutions.

    If residual, a filtered 1x1 one stands beside them; together they have variance 1.
    """

    def __init__(self, c_in: int, c_out: int, *, residual: bool):
        super().__init__()
        self.conv1 = EqualisedConv2d(c_in, c_in)
        self.conv2 = EqualisedConv2d(c_in, c_out, stride=2, padding=0)
        self.skip = EqualisedConv2d(c_in, c_out, 1, gain=0.5**0.5, bias=False) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        # The filter comes before the stride, which would alias; its wider padding is what the
        # convolution, which has none, takes away.
        y = blur(apply_leaky_relu(self.conv1(x)), padding=2)
        if self.skip is None:
            return apply_leaky_relu(self.conv2(y))
        # Two branches of variance 1/2 each: their sum neither grows nor fades with depth.
        return apply_leaky_relu(self.conv2(y), gain=SQRT2 * 0.5**0.5) + self.skip(downsample(x))


class StyleGAN2Discriminator(nn.Module):
    """trunk: x (N,channels,H,W) -> (N,feature_dim); head: (N,F), label (N,) -> scores (N,1).

    With classes the score is the inner product of the features with a vector that `mapping_layers`
    layers make of the label (StyleGAN2-ADA's code).

    Args:
        resolution: as the generator's.
        channels: of the images.
        architecture: "resnet", or "orig", without skips.
        channel_base: as the generator's.
        channel_max: as the generator's.
        mbstd_group: samples that minibatch standard deviation compares.
        mapping_layers: depth of the mapping of labels.
        mapping_lr: learning-rate multiplier of the mapping.
        classes: of the data set.
        conditional: the label's vector weighs the score.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        architecture: Architecture = "resnet",
        channel_base: int = 32768,
        channel_max: int = 512,
        mbstd_group: int = 4,
        mapping_layers: int = 8,
        mapping_lr: float = 0.01,
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        times, base = count_downsampling_steps(resolution, most=MOST_DOUBLINGS)
        widths = compute_widths(base, times, channel_base=channel_base, channel_max=channel_max)[
            ::-1
        ]
        self.classes = classes if conditional else 0
        self.feature_dim = widths[-1]
        self.from_rgb = EqualisedConv2d(channels, widths[0], 1)
        self.blocks = nn.Sequential(
            *(
                DownBlock(a, b, residual=architecture == "resnet")
                for a, b in itertools.pairwise(widths)
            )
        )
        self.compare = MinibatchStd(mbstd_group)
        self.conv = EqualisedConv2d(widths[-1] + 1, widths[-1])
        self.dense = EqualisedLinear(widths[-1] * base[0] * base[1], widths[-1])
        self.out = EqualisedLinear(widths[-1], widths[-1] if self.classes else 1)
        self.mapping = (
            Mapping(
                z_dim=0,
                w_dim=widths[-1],
                layers=mapping_layers,
                lr_mul=mapping_lr,
                classes=self.classes,
            )
            if self.classes
            else None
        )

    def name_levels(self) -> dict[str, str]:
        """Names the layers that are counted from the finest level by levels from the coarsest."""
        last = len(self.blocks)
        return {"from_rgb": f"from_rgb.level{last}"} | {
            f"blocks.{k}": f"blocks.level{last - k}" for k in range(last)
        }

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of images."""
        h = self.blocks(apply_leaky_relu(self.from_rgb(x)))
        with disable_autocast(x):
            h = apply_leaky_relu(self.conv(self.compare(to_full_precision(h))))
            return apply_leaky_relu(self.dense(h.flatten(1)))

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        with disable_autocast(h):
            scores = self.out(to_full_precision(h))
            if self.mapping is None:
                return scores
            # Divided, or the sum's variance would grow with the number of features.
            return (scores * self.mapping(None, label)).sum(1, keepdim=True) / scores.shape[
                1
            ] ** 0.5

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores images: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)
