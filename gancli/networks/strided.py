"""DCGAN's convolutions, as matrix products where these are quicker on a CPU.

Its layers that halve and double the side (4x4, stride 2, padding 1) are most of its step. Their
weight gradients are the slowest part: where few pixels meet many channels, a convolution in bf16
reaches half the speed of the matrix product of the same numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import grad as gradients

from gancli.networks.layers import one_hot

KERNEL = 4
STRIDE = 2
PADDING = 1
# Where the product is quicker (an AMD EPYC with avx512_bf16, one thread, batches of 32 and 64):
# 1.2 to 2.1 times from these on, 1.0 and less below.
LEAST_CHANNELS = 64  # of the larger image
MOST_PIXELS = 8 * 8  # of the smaller image
# Below, what Python adds to a layer takes what is saved: a batch of 16 from 128 to 256 channels on
# 4 x 4 pixels has 2^27.
LEAST_PRODUCTS = 2**28
# Where it is for the convolution itself, 1.3 to 1.6 times.
LEAST_CHANNELS_FORWARD = 256
MOST_PIXELS_FORWARD = 4 * 4


class HalvingConv2d(nn.Conv2d):
    """(N,in_channels,H,W) -> (N,out_channels,H/2,W/2), 4x4 with stride 2 and padding 1.

    Args:
        in_channels: of the image.
        out_channels: of the result.
        bias: one number for each channel is added.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool):
        super().__init__(in_channels, out_channels, KERNEL, STRIDE, PADDING, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolves."""
        if not multiplying_pays(
            x, self.in_channels, self.out_channels, x.shape[2] * x.shape[3] // STRIDE**2
        ):
            return super().forward(x)
        # Written out: autocast does not look into a function of our own.
        y = Halve.apply(x.to(torch.bfloat16), self.weight.to(torch.bfloat16))
        return add_bias(y, self.bias)


class DoublingConv2d(nn.ConvTranspose2d):
    """(N,in_channels,H,W) -> (N,out_channels,2H,2W), 4x4 with stride 2 and padding 1.

    Args:
        in_channels: of the image.
        out_channels: of the result.
        bias: one number for each channel is added.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool):
        super().__init__(in_channels, out_channels, KERNEL, STRIDE, PADDING, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolves, transposed."""
        if not multiplying_pays(x, self.out_channels, self.in_channels, x.shape[2] * x.shape[3]):
            return super().forward(x, output_size)
        y = Double.apply(x.to(torch.bfloat16), self.weight.to(torch.bfloat16))
        return add_bias(y, self.bias)


class UnfoldingConv2d(nn.ConvTranspose2d):
    """(N,in_channels,1,1) -> (N,out_channels,*side): a latent becomes a generator's first map.

    The transposed convolution of a single pixel is a matrix product, and four times as quick so.

    Args:
        in_channels: of the pixel.
        out_channels: of the map.
        side: [H,W] of the map, which is the kernel's.
        bias: one number for each channel is added.
    """

    def __init__(self, in_channels: int, out_channels: int, side: Sequence[int], *, bias: bool):
        height, width = side
        super().__init__(in_channels, out_channels, (height, width), bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Multiplies."""
        height, width = self.kernel_size
        weight = self.weight.permute(0, 2, 3, 1).reshape(self.in_channels, -1)
        y = (x.flatten(1) @ weight).unflatten(1, (height, width, self.out_channels))
        return add_bias(y.permute(0, 3, 1, 2), self.bias)


class LabelledHalvingConv2d(nn.Conv2d):
    """(N,channels,H,W), labels (N,) -> (N,out_channels,H/2,W/2): HalvingConv2d on labelled images.

    It computes what a convolution makes of the image with one constant plane per class beside it, 1
    for the image's own class and 0 elsewhere (Mirza and Osindero 2014), of which all but one add
    nothing.

    Args:
        channels: of the image, without the planes.
        classes: how many planes stand beside it.
        out_channels: of the result.
    """

    def __init__(self, channels: int, classes: int, out_channels: int):
        super().__init__(channels + classes, out_channels, KERNEL, STRIDE, PADDING, bias=False)
        self.channels = channels
        self.classes = classes

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Convolves."""
        of_image, of_planes = self.weight.split([self.channels, self.classes], 1)
        y = F.conv2d(x, of_image, stride=STRIDE, padding=PADDING)
        # An image's own plane is all ones, and its weights are a choice among those of the classes.
        label = one_hot(label, self.classes, of_planes)
        own = (label @ of_planes.transpose(0, 1).flatten(1)).reshape(-1, 1, KERNEL, KERNEL)
        ones = x.new_ones(1, 1, *x.shape[2:])
        added = F.conv2d(ones, own, stride=STRIDE, padding=PADDING)
        return y + added.reshape(len(x), self.out_channels, *added.shape[2:])


def add_bias(y: Tensor, bias: Tensor | None) -> Tensor:
    """Adds to each channel of y (N,C,H,W) its number of bias (C,), where there is one."""
    return y if bias is None else y + bias.to(y.dtype)[:, None, None]


class Halve(torch.autograd.Function):
    """A strided convolution whose weight's gradient is a matrix product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """Convolves x (N,C,H,W) with weight (O,C,4,4)."""
        ctx.save_for_backward(x, weight)
        return halve(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Returns the gradients of x and of the weight."""
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = gradients.conv2d_input(
                list(x.shape), weight, grad, stride=STRIDE, padding=PADDING
            )
        if ctx.needs_input_grad[1]:
            of_weight = compute_weight_gradient(x, weight, grad)
        return of_x, of_weight


class Double(torch.autograd.Function):
    """A transposed strided convolution whose weight's gradient is a matrix product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """Convolves x (N,C,H,W) with weight (C,O,4,4)."""
        ctx.save_for_backward(x, weight)
        return F.conv_transpose2d(x, weight, stride=STRIDE, padding=PADDING)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Returns the gradients of x and of the weight."""
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = halve(grad, weight)
        if ctx.needs_input_grad[1]:
            of_weight = compute_weight_gradient(grad, weight, x)
        return of_x, of_weight


def halve(x: Tensor, weight: Tensor) -> Tensor:
    """Convolves x (N,C,H,W) with weight (O,C,4,4): (N,O,H/2,W/2)."""
    n, channels, height, width = x.shape
    few = height * width // STRIDE**2 <= MOST_PIXELS_FORWARD
    if torch.is_grad_enabled() or channels < LEAST_CHANNELS_FORWARD or not few:
        return F.conv2d(x, weight, stride=STRIDE, padding=PADDING)
    product = gather_windows(x) @ weight.permute(0, 2, 3, 1).reshape(len(weight), -1).t()
    return product.reshape(n, height // STRIDE, width // STRIDE, -1).permute(0, 3, 1, 2)


def compute_weight_gradient(large: Tensor, weight: Tensor, small: Tensor) -> Tensor:
    """Computes the gradient of the weight between two images, of which one has half the side.

    Args:
        large: (N,C,H,W), what is convolved, or the gradient of what was doubled.
        weight: (O,C,4,4).
        small: (N,O,H/2,W/2), the gradient of what was halved, or what is doubled.

    Returns:
        (O,C,4,4).
    """
    if torch.is_grad_enabled():  # for a gradient of this gradient, which the library knows
        return gradients.conv2d_weight(
            large, list(weight.shape), small, stride=STRIDE, padding=PADDING
        )
    flat = small.permute(0, 2, 3, 1).reshape(-1, small.shape[1])
    product = flat.t() @ gather_windows(large)
    return product.reshape(len(weight), KERNEL, KERNEL, -1).permute(0, 3, 1, 2)


def gather_windows(x: Tensor) -> Tensor:
    """Lays out what each pixel of the halved image sees: (N,C,H,W) -> (N*H/2*W/2, 4*4*C)."""
    n, channels, height, width = x.shape
    padded = F.pad(x, (PADDING,) * 4).permute(0, 2, 3, 1)
    image, row, column, channel = padded.stride()
    windows = padded.as_strided(
        (n, height // STRIDE, width // STRIDE, KERNEL, KERNEL, channels),
        (image, STRIDE * row, STRIDE * column, row, column, channel),
    )
    return windows.reshape(-1, KERNEL * KERNEL * channels)


def multiplying_pays(x: Tensor, channels: int, others: int, pixels: int) -> bool:
    """Says whether a weight's gradient is quicker as a matrix product.

    It follows a rule of shapes and no measurement: a run must end in the same bits each time.

    Args:
        x: What goes into the layer.
        channels: Of the larger of the two images.
        others: Channels of the smaller.
        pixels: Of the smaller.
    """
    return (
        x.device.type == "cpu"
        and torch.is_grad_enabled()
        and channels >= LEAST_CHANNELS
        and pixels <= MOST_PIXELS
        and len(x) * pixels * KERNEL**2 * channels * others >= LEAST_PRODUCTS
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and is_bf16_without_tiles()
    )


@functools.cache
def is_bf16_without_tiles() -> bool:
    """Says whether this processor multiplies bf16 in vectors (AVX-512), and not in tiles (AMX).

    With tiles it was not measured.
    """
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16")) and not can.get("amx_bf16")
