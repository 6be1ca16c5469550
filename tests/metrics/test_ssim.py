"""PSNR, SSIM and MS-SSIM against closed forms and pytorch-msssim; pairs for diversity."""

from __future__ import annotations

import math

import pytest
import torch

from gancli.errors import UserError
from gancli.metrics import ssim as module
from gancli.metrics.ssim import SCALES, diversity, draw_pairs, ms_ssim, psnr, scale_names, ssim


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(n: int, *shape: int, seed: int = 0) -> torch.Tensor:
    """Noise with something left at every scale."""
    coarse = torch.rand(n, shape[0], 8, 8, generator=rng(seed)) * 255
    x = torch.nn.functional.interpolate(coarse, shape[1:], mode="bilinear")
    return (x * 0.8 + torch.rand(n, *shape, generator=rng(seed + 1)) * 50).to(torch.uint8)


def flat(value: int, *shape: int) -> torch.Tensor:
    return torch.full(shape, value, dtype=torch.uint8)


def luminance(a: float, b: float) -> float:
    c1 = (0.01 * 255) ** 2
    return (2 * a * b + c1) / (a * a + b * b + c1)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 37, 50), (4, 176, 180)])
def test_identity_is_one(shape):
    x = smooth(3, *shape)
    assert ssim(x, x) == pytest.approx(1, abs=1e-12) and ms_ssim(x, x)[0] == pytest.approx(
        1, abs=1e-12
    )


def test_constant_images_differ_in_luminance_alone():
    x = flat(100, 2, 1, 32, 32)
    y = flat(150, 2, 1, 32, 32)
    assert ssim(x, y) == pytest.approx(luminance(100, 150), rel=1e-10)
    value, names = ms_ssim(
        x, y
    )  # two scales: luminance at the coarsest, with its part of the whole weight
    assert names == ("32", "16") and value == pytest.approx(
        luminance(100, 150) ** (SCALES[1] / sum(SCALES[:2])), rel=1e-10
    )
    large = flat(100, 1, 1, 176, 176)
    other = flat(150, 1, 1, 176, 176)
    assert ms_ssim(large, other)[0] == pytest.approx(luminance(100, 150) ** 0.1333, rel=1e-10)


def test_the_scales_that_fit_are_named():
    assert sum(SCALES) == pytest.approx(1.0001)
    assert scale_names(161, 400) == ("161", "81", "41", "21", "11") and scale_names(512, 512) == (
        "512",
        "256",
        "128",
        "64",
        "32",
    )
    assert (
        len(scale_names(160, 160)) == 4
        and scale_names(28, 28) == ("28", "14")
        and scale_names(11, 64) == ("11",)
    )
    for side in (11, 28, 161):  # what is named is what is computed
        assert ms_ssim(smooth(1, 1, side, side), smooth(1, 1, side, side, seed=5))[
            1
        ] == scale_names(side, side)


def window(channels: int) -> torch.Tensor:
    """pytorch-msssim's own is float32: 1e-5 apart at best."""
    values = torch.exp(-(torch.arange(-5, 6, dtype=torch.float64) ** 2) / (2 * 1.5**2))
    return (values / values.sum()).view(1, 1, 1, 11).repeat(channels, 1, 1, 1)


def test_ssim_agrees_with_pytorch_msssim():
    reference = pytest.importorskip("pytorch_msssim")
    x = smooth(4, 3, 40, 56)
    y = smooth(4, 3, 40, 56, seed=9)
    want = reference.ssim(x.double(), y.double(), data_range=255, win=window(3)).item()
    assert ssim(x, y) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("side", [176, 64])
def test_ms_ssim_agrees_with_pytorch_msssim(side):
    """Even sizes: at odd ones it pads with black, we repeat the last row."""
    reference = pytest.importorskip("pytorch_msssim")
    x = smooth(2, 3, side, side)
    y = (x.double() * 0.7 + smooth(2, 3, side, side, seed=9) * 0.3).to(torch.uint8)
    n = len(scale_names(side, side))
    weights = None if n == 5 else [w / sum(SCALES[:n]) for w in SCALES[:n]]
    if n == 5:
        want = reference.ms_ssim(x.double(), y.double(), data_range=255, win=window(3)).item()
        assert ms_ssim(x, y)[0] == pytest.approx(want, rel=1e-9)
    else:  # it refuses such sizes, so its parts are put together here
        a = x.double()
        b = y.double()
        value = 1.0
        for k, weight in enumerate(weights):
            whole, structure = reference.ssim.__globals__["_ssim"](
                a, b, data_range=255, win=window(3)
            )
            value = value * torch.relu(whole if k == n - 1 else structure) ** weight
            a, b = (torch.nn.functional.avg_pool2d(z, 2) for z in (a, b))
        assert ms_ssim(x, y)[0] == pytest.approx(value.mean().item(), rel=1e-9)


def test_opposite_images_give_zero_not_a_complex_number():
    """Contrast and structure are negative at every scale."""
    x = smooth(2, 1, 32, 32)
    assert ssim(x, 255 - x) < 0 and ms_ssim(x, 255 - x)[0] == 0


def test_pieces_do_not_matter(monkeypatch):
    x = smooth(5, 3, 24, 24)
    y = smooth(5, 3, 24, 24, seed=3)
    want = psnr(x, y), ssim(x, y), ms_ssim(x, y)[0]
    monkeypatch.setattr(module, "PIXELS", 1)
    assert (psnr(x, y), ssim(x, y), ms_ssim(x, y)[0]) == pytest.approx(want, rel=1e-12)


def test_psnr_of_a_constant_difference():
    x = flat(100, 2, 3, 8, 8)
    y = flat(110, 2, 3, 8, 8)
    assert psnr(x, y) == pytest.approx(10 * math.log10(255**2 / 100))
    luma = 10 * (65.481 + 128.553 + 24.966) / 255
    assert psnr(x, y, y_channel=True) == pytest.approx(10 * math.log10(255**2 / luma**2))
    assert psnr(x[:, :1], y[:, :1], y_channel=True) == psnr(x, y)  # grey is luma already
    assert psnr(x, x) == math.inf


def test_psnr_is_the_mean_over_images_of_decibels():
    x = flat(100, 2, 1, 4, 4)
    y = torch.cat([flat(101, 1, 1, 4, 4), flat(110, 1, 1, 4, 4)])
    assert psnr(x, y) == pytest.approx(10 * math.log10(255**2) - 10)


def test_the_border_is_cut():
    x = flat(100, 1, 1, 20, 20)
    y = x.clone()
    y[:, :, :2], y[:, :, :, -2:] = 0, 0
    assert (
        psnr(x, y) < 30
        and psnr(x, y, border=2) == math.inf
        and ssim(x, y, border=2) == pytest.approx(1)
    )
    with pytest.raises(UserError, match="a border of 10 pixels leaves nothing"):
        psnr(x, y, border=10)


def test_pairs_are_of_different_images_of_one_class_and_all_alike():
    labels = torch.tensor([2, 0, 1, 0, 2, 2])  # class 1 has one member: no pair
    a, b = draw_pairs(6, 12_000, rng(), labels)
    assert (a != b).all() and torch.equal(labels[a], labels[b]) and 2 not in a.tolist()
    counts = torch.bincount(a * 6 + b, minlength=36).view(6, 6) / 12_000
    want = torch.zeros(6, 6)  # a fifth for each image, in equal parts for its partners
    want[1, 3] = want[3, 1] = 0.2
    for i in (0, 4, 5):
        want[i, [j for j in (0, 4, 5) if j != i]] = 0.1
    torch.testing.assert_close(counts, want, atol=0.012, rtol=0)
    a, b = draw_pairs(4, 12_000, rng(), None)
    counts = torch.bincount(a * 4 + b, minlength=16).view(4, 4)
    assert (
        (counts.diagonal() == 0).all() and counts.sum() == 12_000 and counts[counts > 0].min() > 850
    )


def test_diversity_sees_collapse_and_classes():
    x = smooth(6, 1, 32, 32)
    same = x[:1].expand(6, -1, -1, -1)
    assert diversity(same, 10, rng()) == pytest.approx({"mean": 1, "std": 0}, abs=1e-10)
    assert diversity(x, 10, rng())["mean"] < 0.7
    two = x[[0, 1, 0, 1]]
    assert diversity(two, 20, rng(), torch.tensor([0, 1, 0, 1]))["mean"] == pytest.approx(1)
    assert diversity(two, 20, rng())["mean"] < 0.9
    before = torch.random.get_rng_state()
    assert diversity(x, 10, rng()) == diversity(x, 10, rng()) and torch.equal(
        before, torch.random.get_rng_state()
    )


def test_unusable_inputs_are_refused():
    with pytest.raises(UserError, match="window of 11x11 pixels, and the images are 8x8"):
        ms_ssim(flat(0, 1, 1, 8, 8), flat(0, 1, 1, 8, 8))
    with pytest.raises(UserError, match="window of 11x11"):
        ssim(flat(0, 1, 1, 16, 16), flat(0, 1, 1, 16, 16), border=4)
    for call in (ssim, ms_ssim, psnr):
        with pytest.raises(UserError, match="one by one, and they differ"):
            call(flat(0, 2, 1, 16, 16), flat(0, 2, 3, 16, 16))
        with pytest.raises(UserError, match="at least 1 pair"):
            call(flat(0, 0, 1, 16, 16), flat(0, 0, 1, 16, 16))
    for n, labels in ((1, None), (2, torch.tensor([0, 1]))):
        with pytest.raises(UserError, match="pairs of images"):
            diversity(smooth(n, 1, 16, 16), 5, rng(), labels)
