"""Super-resolution networks: counts of REFERENCE, scales, bases, dense blocks and
VGG-like critics.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gancli.networks.srgan import DenseBlock, RRDBNet, SRDiscriminator, SRResNet

ESRGAN = {"levels": 5, "hidden": 100, "kernel": 4, "bias": False}


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_counts():
    with torch.device("meta"):
        assert count(SRResNet(channels=3)) == 1_549_462
        assert (
            count(RRDBNet(channels=3)) == 16_697_987
            and count(RRDBNet(channels=3, blocks=16)) == 11_662_019
        )
        assert count(DenseBlock(64, 32)) == 239_808
        d = SRDiscriminator(channels=3, resolution=96)
        assert count(d) == 23_565_505
        assert (
            sum(p.numel() for p in d.parameters() if p.ndim != 2) - 1024 - 1 == 4_689_088
        )  # less the dense layers' biases
        assert count(SRDiscriminator(channels=3, resolution=128, **ESRGAN)) == 14_499_401
        assert (
            count(SRDiscriminator(channels=3, resolution=256, **(ESRGAN | {"levels": 6})))
            == 21_055_049
        )


def test_the_papers_shapes():
    with torch.device("meta"):
        x = torch.empty(2, 3, 24, 24)
        assert (
            SRResNet(channels=3)(x).shape
            == RRDBNet(channels=3, blocks=1)(x).shape
            == (2, 3, 96, 96)
        )
        assert SRDiscriminator(channels=3, resolution=96)(torch.empty(2, 3, 96, 96)).shape == (2, 1)


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("cls", [SRResNet, RRDBNet])
def test_scales_and_bases(cls, scale):
    x = torch.rand(1, 2, 6, 5)
    g = cls(channels=2, width=4, blocks=1, scale=scale).eval()
    assert g(x).shape == (1, 2, 6 * scale, 5 * scale) and g.scale == scale
    based = cls(channels=2, width=4, blocks=1, scale=scale, base="bicubic").eval()
    want = (
        x
        if scale == 1
        else F.interpolate(x, scale_factor=scale, mode="bicubic", align_corners=False)
    )
    assert torch.equal(based(x), want)  # nothing is added before it has learnt
    based(x).square().sum().backward()
    assert based.end[-2].weight.grad.abs().max() > 0


def test_what_does_not_go_together_is_refused():
    for options in (
        {"scale": 3},
        {"blocks": 65},
        {"base": "bicubic", "output": "tanh"},
        {"base": "nearest"},
        {"width": 0},
    ):
        with pytest.raises(ValueError, match="give"):
            SRResNet(channels=3, **options)
    for options in ({"levels": 5}, {"levels": 9}, {"hidden": 0}):
        with pytest.raises(ValueError, match="give"):
            SRDiscriminator(channels=3, resolution=16, **options)


def test_dense_blocks_start_near_the_identity():
    torch.manual_seed(0)
    block = DenseBlock(64, 32)
    fan_in = 64 * 9
    assert block.convs[0].weight.std().item() == pytest.approx(0.1 * (2 / fan_in) ** 0.5, rel=0.03)
    x = torch.randn(1, 64, 8, 8)
    assert (block(x) - x).abs().max() < 0.2 and not torch.equal(block(x), x)


def test_without_batch_norm_eval_changes_nothing():
    x = torch.rand(2, 1, 8, 8)
    plain, normed = (
        SRResNet(channels=1, width=4, blocks=2, scale=2, norm=norm) for norm in ("none", "batch")
    )
    assert torch.equal(plain(x), plain.eval()(x)) and not torch.equal(normed(x), normed.eval()(x))


@pytest.mark.parametrize("resolution", [16, 22, [16, 24], 33])
@pytest.mark.parametrize("kernel", [3, 4])
def test_critics_at_other_sizes(resolution, kernel):
    d = SRDiscriminator(
        channels=2, resolution=resolution, width=4, levels=3, hidden=8, kernel=kernel
    )
    h, w = (resolution, resolution) if isinstance(resolution, int) else resolution
    hidden = d.trunk(torch.rand(2, 2, h, w))
    assert hidden.shape == (2, d.feature_dim) == (2, 8) and d.head(hidden).shape == (2, 1)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("spectral", [False, True])
def test_critics_take_penalties(norm, spectral):
    d = SRDiscriminator(
        channels=1,
        resolution=16,
        width=4,
        levels=2,
        hidden=8,
        norm=norm,
        spectral=spectral,
        bias=norm == "layer",
    )
    x = torch.rand(2, 1, 16, 16).requires_grad_()
    (grad,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    grad.square().sum().backward()
    assert (
        d.body[0].parametrizations.weight.original.grad is not None
        if spectral
        else d.body[0].weight.grad is not None
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert d(x).isfinite().all()
