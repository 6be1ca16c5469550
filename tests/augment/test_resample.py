"""Moving pixels: the wavelet's algebra, whole pixels against slices, smooth images against their
formula, derivatives.
"""

from __future__ import annotations

import math

import pytest
import torch

from gancli.augment.resample import (
    CENTRE,
    SYM6,
    apply,
    blit,
    fine_raster,
    make_gather_matrix,
    make_spread_matrix,
    pick,
    pick_in_order,
    raster,
    reflect,
    warp,
)

CPU = torch.device("cpu")
H = torch.tensor(SYM6, dtype=torch.float64)


def test_the_filter_is_the_orthonormal_one_with_six_vanishing_moments():
    """Twelve equations for twelve numbers; the centre of mass tells the least asymmetric solution
    from the others.
    """
    assert H.sum().item() == pytest.approx(math.sqrt(2), abs=1e-12)
    for shift in range(0, 12, 2):
        assert (H[shift:] * H[: 12 - shift]).sum().item() == pytest.approx(
            float(shift == 0), abs=2e-12
        )
    k = torch.arange(12, dtype=torch.float64)
    for moment in range(6):
        assert ((-1) ** k * k**moment * H).sum().item() == pytest.approx(0, abs=1e-8)
    assert abs(((-1) ** k * k**6 * H).sum().item()) > 100, "the seventh moment does not vanish"
    assert pytest.approx(5.098, abs=1e-3) == CENTRE


@pytest.mark.parametrize("size", [2, 3, 5, 8, 33])
def test_what_is_spread_is_gathered_without_loss(size):
    up = make_spread_matrix(size, torch.float64, CPU)
    down = make_gather_matrix(size, torch.float64, CPU)
    assert up.shape == (4 * size - 4, size) and down.shape == (size, 2 * size + 10)
    endless = up.repeat(6, 1)[: 2 * size + 10]  # the period goes on
    assert torch.allclose(down @ endless, torch.eye(size, dtype=torch.float64), atol=1e-11)
    assert torch.allclose(up.sum(1), torch.ones(len(up), dtype=torch.float64)), (
        "a flat line stays flat"
    )


def test_reflection_is_numpys():
    import numpy as np

    for size in (2, 5):
        want = np.pad(np.arange(size), 23, mode="reflect")
        assert reflect(torch.arange(-23, size + 23), size).tolist() == want.tolist()


@pytest.mark.parametrize("shape", [(8, 8), (5, 12)])
def test_whole_pixels_are_copied_bit_by_bit(shape):
    x = torch.randn(2, 3, *shape)
    places = raster(*shape, CPU).expand(2, -1, -1)
    assert torch.equal(blit(x, places), x)
    assert torch.equal(blit(x, -places), x.flip((2, 3)))
    shift = torch.tensor([2.0, -3.0])[None, :, None]  # x, y
    want = torch.nn.functional.pad(x, (3, 3, 3, 3), mode="reflect")[:, :, 6:, 1:-5]
    assert torch.equal(blit(x, places - shift), want[:, :, : shape[0], : shape[1]])


@pytest.mark.parametrize("shape", [(2, 2), (4, 9), (16, 16)])
def test_a_warp_that_moves_nothing_gives_the_image(shape):
    x = torch.randn(2, 4, *shape, dtype=torch.float64)
    assert torch.allclose(
        warp(x, fine_raster(*shape, CPU).expand(2, -1, -1)), x, atol=1e-5
    )  # coordinates are float32


def wave(places):
    """A smooth image, given as a formula; (...,2,Q) -> (...,Q)"""
    return (0.25 * places[..., 0, :] + 0.15 * places[..., 1, :] + 0.4).cos()


@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
@pytest.mark.parametrize(
    ("matrix", "offset"),
    [
        ([[1, 0], [0, 1]], (0.5, 0)),
        ([[1, 0], [0, 1]], (-0.3, 0.7)),
        ([[-1, 0], [0, -1]], (0, 0)),
        ([[-1, 0], [0, 1]], (0, 0)),
        ([[0.8, 0], [0, 0.8]], (0, 0)),
        ([[math.cos(0.4), math.sin(0.4)], [-math.sin(0.4), math.cos(0.4)]], (0, 0)),
        ([[1.1, 0.1], [0, 0.7]], (0.2, 0.1)),
    ],
)
def test_a_smooth_image_lands_where_its_formula_says(shape, matrix, offset):
    """Inside, where no mirror image enters.

    A centre of 5.5 instead of 5.098 would move the flipped ones by 0.4 pixels.
    """
    places = raster(*shape, CPU)
    matrix = torch.tensor(matrix, dtype=torch.float32)[None]
    offset = torch.tensor(offset, dtype=torch.float32)[None, :, None]
    x = wave(places).view(1, 1, *shape)
    want = wave(apply(matrix, places[None] - offset)).view(1, 1, *shape)
    got = warp(x, apply(matrix, fine_raster(*shape, CPU)[None] - offset))
    assert (want - got)[:, :, 8:-8, 8:-8].abs().max() < 0.01


def test_beyond_the_edges_lies_the_mirror_image():
    x = torch.zeros(1, 1, 16, 16)
    x[..., 3] = 1  # a line three pixels from the left edge
    far = torch.tensor([6.0, 0])[None, :, None]
    for got in (
        blit(x, raster(16, 16, CPU)[None] - far),
        warp(x, fine_raster(16, 16, CPU)[None] - far),
    ):
        assert torch.allclose(
            got[0, 0, 8, [3, 9]], torch.ones(2), atol=1e-4
        )  # twice: 6 - 3 and 6 + 3
        assert got[0, 0, 8].sum().item() == pytest.approx(2, abs=1e-3)


def test_both_ways_to_pick_agree_and_have_two_derivatives():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True)
    index = torch.randint(7, (2, 11))
    assert torch.equal(pick(x, index), pick_in_order(x, index))
    for way in (pick, pick_in_order):
        assert torch.autograd.gradcheck(lambda v, way=way: way(v, index).square(), x)
        assert torch.autograd.gradgradcheck(lambda v, way=way: way(v, index).square(), x)


def test_moving_has_the_derivatives_that_differences_show():
    torch.manual_seed(0)
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    turn = torch.tensor([[0.9, 0.5], [-0.4, 1.2]])[None]
    for move in (
        lambda v: warp(v, apply(turn, fine_raster(5, 4, CPU)).expand(2, -1, -1)),
        lambda v: blit(v, apply(turn, raster(5, 4, CPU)).expand(2, -1, -1)),
    ):
        assert torch.autograd.gradcheck(move, x)
        assert torch.autograd.gradgradcheck(lambda v, move=move: move(v).square(), x)
