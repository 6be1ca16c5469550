"""The mixtures in the plane: geometry of REFERENCE section 8."""

from __future__ import annotations

import math

import pytest
import torch

from gancli.data.stream import Stream
from gancli.data.toy import Grid, Ring
from gancli.errors import UserError


def test_ring_centers():
    centers = Ring().centers()
    assert centers.shape == (8, 2) and len(centers.unique(dim=0)) == 8
    assert torch.allclose(centers.norm(dim=1), torch.ones(8))
    assert torch.allclose(
        centers[:3], torch.tensor([[1, 0], [math.sqrt(0.5)] * 2, [0, 1]]), atol=1e-6
    )


def test_grid_centers():
    centers = Grid().centers()
    assert centers.shape == (25, 2) and len(centers.unique(dim=0)) == 25
    assert sorted(set(centers.flatten().tolist())) == [-4, -2, 0, 2, 4]


@pytest.mark.parametrize(
    ("source", "modes", "sigma"), [(Ring(n=20_000), 8, 0.01), (Grid(n=20_000), 25, 0.05)]
)
def test_points_lie_around_their_modes(source, modes, sigma):
    decoded = source.load()
    assert decoded.images.shape == (20_000, 2, 1, 1) and decoded.images.dtype == torch.float32
    assert (
        decoded.classes == tuple(map(str, range(modes)))
        and decoded.labels.bincount().tolist() == [20_000 // modes] * modes
    )
    points = decoded.images.flatten(1) * source.scale
    away = points - source.centers()[decoded.labels]
    assert abs(away.std() / sigma - 1) < 0.02 and away.mean().abs() < sigma / 20
    # 3 sigma in the plane hold 1 - exp(-4.5) = 98.889 %: the perfect generator's share of
    # high-quality samples
    assert (away.norm(dim=1) < 3 * sigma).float().mean() == pytest.approx(0.98889, abs=3e-3)
    assert 0.5 < decoded.images.std() < 1, "what the networks see must be of about unit size"


def test_declared_without_io():
    assert Ring(resolution="auto", channels="auto").scan() == {
        "resolution": 1,
        "channels": 2,
        "classes": 8,
    }
    assert Grid().scan() == {"classes": 25}
    assert Ring(classes=0).load().labels is None
    assert Ring().kind == "points"


def test_identity():
    digests = {
        Ring().load().digest,
        Ring(n=10).load().digest,
        Ring(sigma=0.02).load().digest,
        Grid().load().digest,
    }
    assert len(digests) == 4 and Ring(n=10).load().digest in digests
    assert torch.equal(Ring(n=10).load().images, Ring(n=10).load().images)


@pytest.mark.parametrize(
    "values",
    [
        {"n": 0},
        {"sigma": -1.0},
        {"scale": 0.0},
        {"resolution": 32},
        {"channels": 3},
        {"kind": "image"},
        {"flip": True},
    ],
)
def test_impossible_values(values):
    with pytest.raises(UserError):
        Ring(**values)


def test_points_stream():
    stream = Stream(Ring(n=100).load(), batch_size=50, seed=0, resolution=1)
    assert stream(0, ("image", "label"))["image"].shape == (50, 2, 1, 1)
