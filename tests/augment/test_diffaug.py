"""DiffAugment: amounts within the paper's bounds, each operation against its formula, derivatives,
kinds of images.
"""

from __future__ import annotations

import pytest
import torch

from gancli.augment.diffaug import DiffAugment
from gancli.errors import UserError

ALL = ["color", "translation", "cutout"]
SHAPES = [(1, 8, 8), (3, 32, 32), (4, 16, 24), (3, 5, 7)]


def augment(x, *policy, seed=0):
    torch.manual_seed(seed)
    return DiffAugment(policy=list(policy), resolution=list(x.shape[2:]))(x)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("policy", [ALL, ["color"], ["translation"], ["cutout"]])
def test_shapes_and_seeds(shape, policy):
    x = torch.rand(6, *shape) + 0.1
    out = augment(x, *policy)
    assert out.shape == x.shape and out.isfinite().all()
    assert torch.equal(out, augment(x, *policy)) and not torch.equal(
        out, augment(x, *policy, seed=1)
    )
    assert not torch.equal(out, x)
    assert len({tuple(row) for row in out.flatten(1).tolist()}) == 6, "each image draws its own"


def test_colour_is_a_shift_a_saturation_and_a_contrast_within_the_bounds():
    x = torch.rand(4000, 3, 2, 2) * 2 - 1
    out = augment(x, "color")
    shift = (out - x).mean((1, 2, 3))  # the other two leave the mean
    grey = x.mean(1)
    out_grey = out.mean(1)
    contrast = (out_grey[:, 0, 0] - out_grey[:, 1, 1]) / (grey[:, 0, 0] - grey[:, 1, 1])
    saturation = (out[:, 0] - out[:, 1])[:, 0, 0] / (x[:, 0] - x[:, 1])[:, 0, 0] / contrast
    for value, low, high in ((shift, -0.5, 0.5), (contrast, 0.5, 1.5), (saturation, 0, 2)):
        assert value.quantile(0.005) > low - 0.01 and value.quantile(0.995) < high + 0.01
        assert value.median().item() == pytest.approx((low + high) / 2, abs=0.06)
        assert value.quantile(0.25).item() == pytest.approx(low + (high - low) / 4, abs=0.06), (
            "it is uniform"
        )


def test_grey_images_keep_their_channel_and_alpha_its_values():
    grey = torch.rand(8, 1, 4, 4)
    out = augment(grey, "color")
    slope = (out - out.mean((1, 2, 3), True)) / (grey - grey.mean((1, 2, 3), True))
    assert (
        torch.allclose(slope, slope[:, :, :1, :1].expand_as(slope), atol=1e-2)
        and slope.min() > 0.49
        and slope.max() < 1.51
    )
    rgba = torch.rand(8, 4, 4, 4)
    out = augment(rgba, "color")
    assert torch.equal(out[:, 3], rgba[:, 3])
    assert torch.allclose(out[:, :3], augment(rgba[:, :3], "color"))


@pytest.mark.parametrize(("h", "w", "reach_y", "reach_x"), [(32, 32, 4, 4), (16, 24, 2, 3)])
def test_translation_reaches_an_eighth_and_zeros_move_in(h, w, reach_y, reach_x):
    x = torch.rand(600, 2, h, w) + 0.1
    found = set()
    for image, out in zip(x, augment(x, "translation"), strict=True):
        inside = (out[0] != 0).nonzero()
        (top, left), (bottom, right) = inside.min(0).values.tolist(), inside.max(0).values.tolist()
        dy = top or bottom - (h - 1)
        dx = left or right - (w - 1)
        want = torch.zeros_like(image)
        want[:, max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = image[
            :, max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)
        ]
        assert torch.equal(out, want)
        found.add((dy, dx))
    assert {dy for dy, _ in found} == {*range(-reach_y, reach_y + 1)} and {
        dx for _, dx in found
    } == {*range(-reach_x, reach_x + 1)}


def test_the_hole_is_half_the_size_and_may_be_clipped():
    x = torch.ones(2000, 3, 32, 32)
    gone = augment(x, "cutout") == 0
    heights = gone.any(3)[:, 0].sum(1)
    widths = gone.any(2)[:, 0].sum(1)
    assert torch.equal(gone.sum((1, 2, 3)), 3 * heights * widths), "a rectangle, in all channels"
    for size in (heights, widths):
        assert size.max() == 16 and size.min() == 8, "a hole centred on the border loses half"
    whole = (heights == 16) & (widths == 16)
    assert 0.2 < whole.float().mean() < 0.4  # 17 of 33 centres, twice
    assert gone[:, 0].any(0).all(), "every pixel is cut out at times"


def test_two_derivatives_through_everything():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: augment(v, *ALL), x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda v: augment(v, *ALL).pow(3), x, fast_mode=True)


def test_number_formats_are_kept():
    assert augment(torch.rand(2, 3, 8, 8, dtype=torch.bfloat16), *ALL).dtype == torch.bfloat16


def test_what_it_refuses():
    with pytest.raises(UserError, match="resolution 1"):
        DiffAugment(policy=ALL, resolution=1)
    for policy in ([], ["color", "color"]):
        with pytest.raises(ValueError, match="at most once"):
            DiffAugment(policy=policy, resolution=32)
