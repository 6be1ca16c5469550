"""Layers of the style family: equalised learning rate, pixel norm, minibatch deviation and FIR
resampling, by golden values.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from gancli.networks.style_layers import (
    TAPS,
    EqualisedConv2d,
    EqualisedLinear,
    MinibatchStd,
    apply_leaky_relu,
    blur,
    downsample,
    make_filter,
    pixel_norm,
    upsample,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_pixel_norm():
    assert pixel_norm(torch.tensor([[3.0, 4.0]]))[0].tolist() == pytest.approx(
        [0.8485281, 1.1313708], rel=1e-6
    )
    x = torch.randn(2, 5, 3, 4)
    assert (
        torch.allclose(pixel_norm(x).square().mean(1), torch.ones(2, 3, 4), atol=1e-5)
        and pixel_norm(torch.zeros(1, 4)).isfinite().all()
    )


@pytest.mark.parametrize("lr_mul", [1.0, 0.01])
@pytest.mark.parametrize(
    ("layer", "x"), [(EqualisedLinear, (4000, 256)), (EqualisedConv2d, (8, 64, 24, 24))]
)
def test_equalised_layers_keep_the_variance(layer, x, lr_mul):
    module = layer(x[1], 128, lr_mul=lr_mul)
    assert (
        module.weight.std().item() == pytest.approx(1 / lr_mul, rel=0.02)
        and module.bias.abs().max() == 0
    )
    y = module(torch.randn(x))
    y = y[:, :, 1:-1, 1:-1] if y.ndim == 4 else y  # zeros stand around the image
    assert y.var().item() == pytest.approx(1, abs=0.02)
    # The slope of 0.2 leaves (1 + 0.04) / 2 of the second moment, and the gain of root 2 doubles
    # that.
    assert apply_leaky_relu(y).square().mean().item() == pytest.approx(1.04, abs=0.03)
    wide = layer(x[1], 128, gain=2**0.5)(torch.randn(x))
    wide = wide[:, :, 1:-1, 1:-1] if wide.ndim == 4 else wide
    assert F.leaky_relu(wide, 0.2).square().mean().item() == pytest.approx(1.04, abs=0.03)


def test_lr_mul_is_the_speed_of_an_adam_step():
    """Adam moves every number by lr, so the output of a layer of speed 0.01 moves a hundredth as
    far.
    """
    moves = []
    for lr_mul in (1.0, 0.01):
        torch.manual_seed(3)
        layer = EqualisedLinear(32, 8, lr_mul=lr_mul)
        x = torch.randn(16, 32)
        optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
        before = layer(x).detach()
        layer(x).square().mean().backward()
        optimizer.step()
        moves.append((layer(x) - before).abs().mean().item())
    assert moves[1] == pytest.approx(moves[0] * 0.01, rel=1e-3)


def test_bias_is_the_bias_whatever_the_speed():
    for lr_mul in (1.0, 0.01):
        assert torch.allclose(
            EqualisedLinear(4, 3, lr_mul=lr_mul, bias_init=1.0)(torch.zeros(1, 4)), torch.ones(1, 3)
        )
    assert (
        EqualisedLinear(4, 3, bias=False).bias is None
        and EqualisedConv2d(4, 3, bias=False).bias is None
    )


def test_conv_sizes():
    x = torch.randn(1, 2, 9, 6)
    assert EqualisedConv2d(2, 3)(x).shape == EqualisedConv2d(2, 3, 1)(x).shape == (1, 3, 9, 6)
    assert EqualisedConv2d(2, 3, stride=2, padding=0)(x).shape == (1, 3, 4, 2)


def test_minibatch_std_golden():
    two = torch.zeros(2, 3, 4, 4)
    two[1] = 2
    out = MinibatchStd(4)(two)
    assert (
        out.shape == (2, 4, 4, 4)
        and torch.equal(out[:, :3], two)
        and torch.allclose(out[:, 3], torch.ones(2, 4, 4))
    )
    four = torch.tensor([0.0, 10, 2, 14])[:, None, None, None].expand(-1, 3, 2, 2)
    assert MinibatchStd(2)(four)[:, 3, 0, 0].tolist() == pytest.approx([1, 2, 1, 2], rel=1e-6)


def test_minibatch_std_groups():
    x = torch.randn(8, 6, 4, 4)
    out = MinibatchStd(4)(x)[:, 6, 0, 0]
    for first in (0, 1):  # sample i is in group i mod 2
        std = x[first::2].var(0, unbiased=False).sqrt().mean()
        assert torch.allclose(out[first::2], std.expand(4), rtol=1e-5)
    assert torch.allclose(
        MinibatchStd(8)(x)[:, 6, 0, 0], x.var(0, unbiased=False).sqrt().mean().expand(8), rtol=1e-5
    )
    assert torch.equal(MinibatchStd(32)(x), MinibatchStd(8)(x)), (
        "a group larger than the batch is the batch"
    )
    assert torch.equal(MinibatchStd(4)(x[:6]), MinibatchStd(3)(x[:6])), "4 does not divide 6"
    assert MinibatchStd(4)(x[:1])[:, 6].abs().max() < 2e-4, "alone, nobody differs"
    parts = MinibatchStd(8, channels=2)(x)
    assert parts.shape[1] == 8 and torch.allclose(
        parts[0, 7, 0, 0], x[:, 3:].var(0, unbiased=False).sqrt().mean(), rtol=1e-5
    )
    with pytest.raises(ValueError, match="give 1 or more"):
        MinibatchStd(0)


def test_the_filter():
    weight = make_filter(TAPS, 3, torch.float32, CPU)
    assert (
        weight.shape == (3, 1, 4, 4) and weight[0].sum() == 1 and torch.equal(weight[0], weight[2])
    )
    assert (64 * weight[0, 0]).tolist() == [[1, 3, 3, 1], [3, 9, 9, 3], [3, 9, 9, 3], [1, 3, 3, 1]]
    assert (16 * make_filter((1, 2, 1), 1, torch.float64, CPU)[0, 0]).tolist() == [
        [1, 2, 1],
        [2, 4, 2],
        [1, 2, 1],
    ]


def test_a_constant_stays_itself_away_from_the_border():
    x = torch.full((2, 3, 6, 8), 5.0)
    for y, size in ((upsample(x), (12, 16)), (downsample(x), (3, 4)), (blur(x, (1, 2, 1)), (6, 8))):
        assert y.shape == (2, 3, *size) and torch.allclose(y[:, :, 1:-1, 1:-1], torch.tensor(5.0))
    assert upsample(torch.ones(1, 1, 4, 4))[0, 0, 0, :3].tolist() == [0.5625, 0.75, 0.75], (
        "zeros stand around it"
    )


def test_nothing_moves_by_half_a_pixel():
    x = torch.randn(1, 2, 8, 12)
    for f in (upsample, downsample, lambda x: blur(x, (1, 2, 1))):
        for axis in (2, 3):
            assert torch.allclose(f(x.flip(axis)), f(x).flip(axis), atol=1e-6)
    ramp = torch.arange(12.0).expand(1, 1, 8, 12)
    assert upsample(ramp)[0, 0, 4, 2:8].tolist() == pytest.approx(
        [0.75, 1.25, 1.75, 2.25, 2.75, 3.25]
    )
    assert downsample(ramp)[0, 0, 2, 1:5].tolist() == pytest.approx([2.5, 4.5, 6.5, 8.5])
    for f in (upsample, downsample):
        with pytest.raises(AssertionError, match="half a pixel"):
            f(x, (1, 2, 1))


def test_up_is_the_adjoint_of_down():
    x = torch.randn(2, 3, 4, 6)
    y = torch.randn(2, 3, 8, 12)
    assert (upsample(x) * y).sum().item() == pytest.approx(
        4 * (x * downsample(y)).sum().item(), rel=1e-4
    )


@pytest.mark.parametrize(
    "f",
    [
        upsample,
        downsample,
        lambda x: blur(x, (1, 2, 1)),
        lambda x: blur(x, padding=2, gain=4.0),
        pixel_norm,
        MinibatchStd(2),
        EqualisedConv2d(2, 2).double(),
    ],
)
def test_derivatives(f):
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(f, x) and gradgradcheck(f, x)


def test_half_precision_stays_half():
    x = torch.randn(4, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for f in (upsample, downsample, blur, MinibatchStd(2)):
            assert f(x).dtype == torch.float32 and f(x.bfloat16()).dtype == torch.bfloat16
            assert torch.allclose(f(x.bfloat16()).float(), f(x), atol=0.1)
        assert torch.allclose(upsample(x), upsample(x.double()).float(), atol=1e-6), (
            "pictures are added up in fp32"
        )
