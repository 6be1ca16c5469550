"""SimCLR's views: what stays, what changes and by how much, for every kind of image, with every
derivative.
"""

from __future__ import annotations

import pytest
import torch

from gancli.augment.simclr import SimCLR, window_matrix
from gancli.errors import UserError

OFF = {"smallest": 1.0, "mirror": False, "jitter": 0.0, "grey": 0.0}
LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]


def view(**options) -> SimCLR:
    return SimCLR(resolution=16, **(OFF | options))


def images(channels: int, n: int = 64) -> torch.Tensor:
    return torch.rand(n, channels, 16, 20) * 2 - 1


def luma(x):
    return (x * LUMA).sum(1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_all_off_is_the_identity_and_all_on_is_not(channels):
    x = images(channels)
    torch.testing.assert_close(view()(x), x, atol=1e-5, rtol=0)
    y = SimCLR(resolution=16)(x)
    assert y.shape == x.shape and y.isfinite().all() and y.abs().max() <= 1.4 * 1.4 * 1.4 * 2
    assert ((y - x).flatten(1).abs().amax(1) > 0.05).all()


def test_each_image_has_its_own_view_and_the_seed_decides():
    x = images(3, 1).expand(8, -1, -1, -1)
    torch.manual_seed(3)
    first = SimCLR(resolution=16)(x)
    assert len(torch.unique(first, dim=0)) == 8
    torch.manual_seed(3)
    assert torch.equal(first, SimCLR(resolution=16)(x))


def test_a_window_is_bilinear_and_stays_inside():
    torch.manual_seed(0)
    share = torch.empty(100).uniform_(0.2, 1)
    matrix = window_matrix(share, 12)
    torch.testing.assert_close(matrix.sum(2), torch.ones(100, 12))
    seen = matrix @ (torch.arange(12) + 0.5)  # where each pixel of the view lies
    inner = seen[:, 1:] - seen[:, :-1]
    assert (
        (inner <= share[:, None] + 1e-4).all()
        and (inner >= 0).all()
        and seen.min() >= 0.5
        and seen.max() <= 11.5
    )
    torch.testing.assert_close(inner[:, 5], share, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        window_matrix(torch.ones(1), 12)[0], torch.eye(12), atol=1e-5, rtol=0
    )


def test_crops_have_at_least_the_area_asked_for_and_fit(monkeypatch):
    shares = []
    monkeypatch.setattr(
        "gancli.augment.simclr.window_matrix",
        lambda share, size: shares.append(share) or window_matrix(share, size),
    )
    view(smallest=0.3)(images(1, 1000))
    rows, columns = shares
    area = rows * columns
    ratio = columns / rows
    assert area.min() >= 0.3 - 1e-6 and area.max() <= 1 and max(rows.max(), columns.max()) <= 1
    assert (
        3 / 4 - 1e-5 <= ratio.min() < 0.8
        and 1.25 < ratio.max() <= 4 / 3 + 1e-5
        and area.mean().item() == pytest.approx(0.65, abs=0.03)
    )


def test_half_of_the_images_are_mirrored():
    x = images(3, 400)
    y = view(mirror=True)(x)
    turned = torch.isclose(y, x.flip(3), atol=1e-5).flatten(1).all(1)
    assert (
        0.4 < turned.float().mean() < 0.6 and torch.isclose(y[~turned], x[~turned], atol=1e-5).all()
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_alpha_keeps_its_values_and_black_stays_black(channels):
    x = images(channels)
    y = view(jitter=1.0, grey=0.5, contrast=0.0)(x)
    if channels in (2, 4):
        torch.testing.assert_close(y[:, -1], x[:, -1], atol=1e-5, rtol=0)
    k = 1 if channels <= 2 else 3
    black = view(jitter=1.0, grey=0.5)(torch.full_like(x, -1.0))
    torch.testing.assert_close(black[:, :k], torch.full_like(x[:, :k], -1.0))


def test_saturation_and_hue_leave_the_luma():
    x = images(3)
    y = view(jitter=1.0, brightness=0.0, contrast=0.0)(x)
    torch.testing.assert_close(luma(y), luma(x), atol=1e-5, rtol=0)
    assert (y - x).abs().mean() > 0.05


def test_grey_images_have_one_value_in_all_colours():
    x = images(3)
    y = view(grey=1.0)(x)
    torch.testing.assert_close(y, luma(x)[:, None].expand_as(x), atol=1e-5, rtol=0)


def test_brightness_and_contrast_reach_as_far_as_they_say():
    x = torch.tensor([-0.5, 0.0]).repeat(2000, 1, 8, 4)  # mean -0.25
    y = view(jitter=1.0, contrast=0.0)(x)
    factor = (y[:, 0, 0, 1] + 1) / 1.0
    assert 0.6 <= factor.min() < 0.62 and 1.38 < factor.max() <= 1.4
    y = view(jitter=1.0, brightness=0.0)(x)
    spread = (y[:, 0, 0, 1] - y[:, 0, 0, 0]) / 0.5
    assert 0.6 <= spread.min() < 0.62 and 1.38 < spread.max() <= 1.4
    share = (view(jitter=0.8)(x) != view()(x)).flatten(1).any(1).float().mean()
    assert 0.77 < share < 0.83


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_two_derivatives(channels):
    x = images(channels, 3).requires_grad_(True)
    torch.manual_seed(0)
    (grad,) = torch.autograd.grad(SimCLR(resolution=16)(x).pow(3).sum(), x, create_graph=True)
    grad.square().sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0


def test_nothing_of_it_is_saved():
    assert not view().state_dict()


@pytest.mark.parametrize(
    "wrong", [{"smallest": 0.0}, {"jitter": 1.5}, {"hue": -0.1}, {"grey": 2.0}]
)
def test_wrong_values(wrong):
    with pytest.raises(ValueError, match="share|from 0 to 1"):
        view(**wrong)


def test_points_are_refused():
    with pytest.raises(UserError, match="2 x 2 pixels"):
        SimCLR(resolution=1)
