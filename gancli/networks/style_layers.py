"""What PGGAN, the StyleGANs and R3GAN share.

Equalised learning rate, pixel norm, minibatch deviation, FIR resampling.
"""

from __future__ import annotations

import contextlib
import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SQRT2 = 2**0.5
TAPS = (1, 3, 3, 1)  # StyleGAN2's low-pass filter; StyleGAN1 has (1, 2, 1)


def to_full_precision(x: Tensor) -> Tensor:
    """Returns x in at least fp32, whatever autocast made of it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def disable_autocast(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Turns autocast off on x's device; the meta device has none."""
    return contextlib.nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def apply_leaky_relu(x: Tensor, gain: float = SQRT2) -> Tensor:
    """Applies leaky ReLU, slope 0.2, times `gain`.

    The gain restores most of the variance that it takes (StyleGAN2's code).
    """
    return F.leaky_relu(x, 0.2) * gain


def pixel_norm(x: Tensor) -> Tensor:
    """Divides (N,C,...) by the root mean square over its C numbers, at each position.

    Karras 2018, section 4.2.
    """
    # The small number is under the root: a position of zeros stays zero, with a finite slope.
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class EqualisedLinear(nn.Module):
    """(N,n_in) -> (N,n_out).

    Weights are stored N(0,1) and scaled when used: Adam then moves all layers at one learning rate
    (Karras 2018, section 4.1).

    Args:
        n_in: numbers that go in.
        n_out: numbers that come out.
        gain: standard deviation that leaves, where 1 enters.
        lr_mul: learning-rate multiplier of this layer.
        bias: has one.
        bias_init: its first value.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        gain: float = 1.0,
        lr_mul: float = 1.0,
        bias: bool = True,
        bias_init: float = 0.0,
    ):
        super().__init__()
        self.scale = gain * lr_mul / n_in**0.5
        self.lr_mul = lr_mul
        # Larger by 1 / lr_mul, which `scale` takes back. Adam's steps do not grow with a weight, so
        # each of them moves the layer lr_mul times as far.
        self.weight = nn.Parameter(torch.randn(n_out, n_in) / lr_mul)
        self.bias = nn.Parameter(torch.full((n_out,), bias_init / lr_mul)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        return F.linear(
            x, self.weight * self.scale, None if self.bias is None else self.bias * self.lr_mul
        )


class EqualisedConv2d(nn.Module):
    """(N,c_in,H,W) -> (N,c_out,H,W), padded with zeros.

    Args:
        c_in: channels that go in.
        c_out: channels that come out.
        side: of the kernel, in pixels.
        gain: as in `EqualisedLinear`.
        lr_mul: as in `EqualisedLinear`.
        bias: has one.
        stride: in pixels.
        padding: None: side // 2, which keeps the size at stride 1.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        side: int = 3,
        *,
        gain: float = 1.0,
        lr_mul: float = 1.0,
        bias: bool = True,
        stride: int = 1,
        padding: int | None = None,
    ):
        super().__init__()
        # He's constant: over so many inputs of variance 1 the output has gain^2.
        self.scale = gain * lr_mul / (c_in * side * side) ** 0.5
        self.lr_mul = lr_mul
        self.stride = stride
        self.padding = side // 2 if padding is None else padding
        self.weight = nn.Parameter(torch.randn(c_out, c_in, side, side) / lr_mul)
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        bias = None if self.bias is None else self.bias * self.lr_mul
        return F.conv2d(x, self.weight * self.scale, bias, self.stride, self.padding)


class MinibatchStd(nn.Module):
    """Appends how much the samples of a group differ: (N,C,H,W) -> (N,C+channels,H,W).

    So a discriminator sees a lack of variety. It is the deviation over the group at each position,
    averaged over positions and over each of `channels` equal parts of C (Karras 2018, section 3).
    Sample i is in group i mod (N / group), so neighbours in the batch are in different groups.

    Args:
        group: samples in one; where it does not divide N, the next smaller number that does.
        channels: how many are appended.
    """

    def __init__(self, group: int = 4, channels: int = 1):
        super().__init__()
        if group < 1 or channels < 1:
            raise ValueError(
                f"minibatch standard deviation over groups of {group}, {channels} channels: give 1 "
                "or more, e.g. 4 and 1"
            )
        self.group = group
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        n, c, h, w = x.shape
        group = next(size for size in range(min(self.group, n), 0, -1) if n % size == 0)
        y = to_full_precision(x).reshape(group, n // group, self.channels, c // self.channels, h, w)
        # The small number is under the root, whose slope at 0 is infinite.
        std = ((y - y.mean(0)).square().mean(0) + 1e-8).sqrt().mean((2, 3, 4))
        planes = std.to(x.dtype).repeat(group, 1)[:, :, None, None].expand(-1, -1, h, w)
        return torch.cat([x, planes], 1)


@functools.lru_cache(maxsize=64)
def make_filter(
    taps: tuple[int, ...], channels: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Makes the same separable filter for every channel, of sum 1: (channels,1,k,k)."""
    # In float64, and rounded once to the type that it is used in.
    line = torch.tensor(taps, dtype=torch.float64, device="cpu") / sum(taps)
    return torch.outer(line, line).to(device=device, dtype=dtype).expand(channels, 1, -1, -1)


def filter_image(
    x: Tensor,
    taps: tuple[int, ...],
    gain: float,
    *,
    padding: int,
    stride: int = 1,
    up: bool = False,
) -> Tensor:
    """Filters each channel by a plain convolution.

    It has every derivative and the same bits each time; interpolation, on a GPU, neither.
    """
    with disable_autocast(x):
        # There it is ten times as fast in fp32 as in bf16.
        y = to_full_precision(x) if x.device.type == "cpu" else x
        weight = make_filter(taps, y.shape[1], y.dtype, y.device) * gain
        convolve = F.conv_transpose2d if up else F.conv2d
        return convolve(y, weight, stride=stride, padding=padding, groups=y.shape[1]).to(x.dtype)


def blur(
    x: Tensor, taps: tuple[int, ...] = TAPS, *, padding: int | None = None, gain: float = 1.0
) -> Tensor:
    """Applies a low-pass filter; the shape stays for an odd number of taps.

    Args:
        x: (N,C,H,W).
        taps: the filter in one direction.
        padding: zeros at each side; None: len(taps) // 2.
        gain: multiplies the result.
    """
    return filter_image(x, taps, gain, padding=len(taps) // 2 if padding is None else padding)


def upsample(x: Tensor, taps: tuple[int, ...] = TAPS) -> Tensor:
    """Enlarges (N,C,H,W) to (N,C,2H,2W): zeros between pixels, then the filter times 4.

    Args:
        x: (N,C,H,W).
        taps: the filter in one direction, an even number.
    """
    assert len(taps) % 2 == 0, "an odd filter would move the image by half a pixel"
    return filter_image(x, taps, 4.0, padding=len(taps) // 2 - 1, stride=2, up=True)


def downsample(x: Tensor, taps: tuple[int, ...] = TAPS) -> Tensor:
    """Shrinks (N,C,2H,2W) to (N,C,H,W): the filter, then every other pixel.

    Args:
        x: (N,C,2H,2W).
        taps: the filter in one direction, an even number.
    """
    assert len(taps) % 2 == 0, "an odd filter would move the image by half a pixel"
    return filter_image(x, taps, 1.0, padding=len(taps) // 2 - 1, stride=2)
