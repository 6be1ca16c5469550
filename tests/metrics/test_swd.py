"""The sliced Wasserstein distance: invariances, and the protocol against scipy's filters and a
plain numpy version.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gancli.errors import UserError
from gancli.metrics import swd
from gancli.metrics.swd import sliced_wasserstein

FEW = {"patches": 8, "directions": 32}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int, *shape: int, seed: int = 0, top: int = 256) -> torch.Tensor:
    return torch.randint(0, top, (n, *shape), generator=rng(seed), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("shape", "keys"),
    [
        ((3, 64, 64), ["swd/64", "swd/32", "swd/16", "swd"]),
        ((1, 32, 32), ["swd/32", "swd/16", "swd"]),
        ((1, 28, 28), ["swd/28", "swd"]),
        ((4, 33, 70), ["swd/33", "swd/17", "swd"]),
        ((1, 8, 8), ["swd/8", "swd"]),
    ],
)
def test_zero_on_equal_sets_at_the_levels_that_fit(shape, keys):
    x = noise(6, *shape)
    got = sliced_wasserstein(x, x.clone(), rng(), **FEW)
    assert list(got) == keys and set(got.values()) == {0.0}


def test_invariant_to_brightness_and_contrast_of_a_channel():
    x = noise(12, 3, 32, 32, top=100)
    y = noise(12, 3, 32, 32, seed=1, top=100)
    gain, shift = (
        torch.tensor(c, dtype=torch.uint8).view(3, 1, 1) for c in ([1, 2, 2], [9, 0, 50])
    )
    assert sliced_wasserstein(x, x * gain + shift, rng(), **FEW)["swd"] < 1e-10  # times 1000
    want = sliced_wasserstein(x, y, rng(), **FEW)
    assert (
        sliced_wasserstein(x, y * gain + shift, rng(), **FEW) == pytest.approx(want, rel=1e-12)
        and want["swd"] > 1
    )


def test_the_pyramid_is_the_one_of_the_paper():
    ndimage = pytest.importorskip("scipy.ndimage")
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, None] / 256
    x = noise(3, 2, 32, 48)
    wide = x.double().numpy()
    down = ndimage.convolve(wide, kernel, mode="mirror")[:, :, ::2, ::2]
    spread = np.zeros_like(wide)
    spread[:, :, ::2, ::2] = down
    half = swd.half(x)
    np.testing.assert_array_equal(half.double().numpy(), down)  # exact in float32
    np.testing.assert_allclose(
        swd.band(x, half).numpy(),
        wide - ndimage.convolve(spread, kernel * 4, mode="mirror"),
        atol=1e-12,
    )


@pytest.mark.parametrize("kept", [0, 10**9])
def test_the_distance_is_the_one_of_the_paper(monkeypatch, kept):
    """One level, so that the draws can be repeated: places, then directions; patches loop by loop
    in numpy.
    """
    monkeypatch.setattr(swd, "KEPT", kept)
    monkeypatch.setattr(swd, "VALUES", 2000)
    x = noise(5, 2, 16, 20)
    y = noise(5, 2, 16, 20, seed=1) // 2
    generator = rng()
    top = torch.randint(10, (5, 6), generator=generator)
    left = torch.randint(14, (5, 6), generator=generator)
    axes = torch.randn(11, 2, 49, generator=generator).double().numpy().reshape(11, 98)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    sorted_sets = []
    for images in (x.double().numpy(), y.double().numpy()):
        places = [(i, top[i, p], left[i, p]) for i in range(5) for p in range(6)]
        patches = np.stack([images[i, :, y0 : y0 + 7, x0 : x0 + 7] for i, y0, x0 in places])
        patches = (patches - patches.mean((0, 2, 3), keepdims=True)) / patches.std(
            (0, 2, 3), keepdims=True
        )
        sorted_sets.append(np.sort(patches.reshape(30, 98) @ axes.T, axis=0))
    want = 1000 * np.abs(sorted_sets[0] - sorted_sets[1]).mean()
    assert sliced_wasserstein(x, y, rng(), patches=6, directions=11)["swd"] == pytest.approx(
        want, rel=1e-10
    )


def test_a_constant_set_and_its_mean_over_levels():
    got = sliced_wasserstein(
        noise(4, 1, 32, 32), torch.full((4, 1, 32, 32), 7, dtype=torch.uint8), rng(), **FEW
    )
    assert 100 < got["swd"] < 2000 and got["swd"] == pytest.approx(
        (got["swd/32"] + got["swd/16"]) / 2
    )


def test_the_larger_set_is_cut_at_random_not_at_its_end():
    """Sorted by class, the first images would be of one class."""
    x = torch.cat([noise(20, 1, 16, 16) // 8, noise(20, 1, 16, 16, seed=1)])
    assert sorted(set(swd.subset(x, 20, rng()).amax((1, 2, 3)).gt(40).tolist())) == [False, True]
    assert sliced_wasserstein(x, x[:10], rng(), **FEW)["swd"] > 0


def test_its_generator_alone_is_drawn_from():
    x = noise(4, 1, 16, 16)
    y = noise(4, 1, 16, 16, seed=1)
    before = torch.random.get_rng_state()
    first = sliced_wasserstein(x, y, rng(), **FEW)
    assert (
        first == sliced_wasserstein(x, y, rng(), **FEW) != sliced_wasserstein(x, y, rng(1), **FEW)
    )
    assert torch.equal(before, torch.random.get_rng_state()) and torch.equal(x, noise(4, 1, 16, 16))


@pytest.mark.parametrize(
    ("real", "fake", "words"),
    [
        (
            noise(1, 1, 16, 16),
            noise(4, 1, 16, 16),
            "at least 2 images in each set, and there are 1 real and 4 generated",
        ),
        (
            noise(4, 1, 16, 16),
            noise(4, 3, 16, 16),
            r"one shape, and they differ: \[1, 16, 16\] and \[3, 16, 16\]",
        ),
        (noise(4, 2, 1, 1), noise(4, 2, 1, 1), "patches of 7x7 pixels, and the images are 1x1"),
    ],
)
def test_unusable_inputs_are_refused(real, fake, words):
    with pytest.raises(UserError, match=words):
        sliced_wasserstein(real, fake, rng())
