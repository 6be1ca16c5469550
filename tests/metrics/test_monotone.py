"""More damage, worse numbers: blur, noise and dropped classes, on the bundled digits and, where
present, on CIFAR-10.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import TEST_DATA
from PIL import Image

from gancli.data.builtin import Digits
from gancli.metrics.fid import frechet_distance
from gancli.metrics.kid import kernel_mmd2
from gancli.metrics.lpips import Lpips
from gancli.metrics.modes import histogram_kl
from gancli.metrics.prdc import improved_precision_recall, prdc
from gancli.metrics.ssim import ms_ssim, psnr, ssim
from gancli.metrics.swd import sliced_wasserstein

CIFAR = TEST_DATA / "cifar10-lite" / "test"
WEIGHTS = TEST_DATA / "weights"


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def blurred(x: torch.Tensor, level: int) -> torch.Tensor:
    """`level` binomial blurs."""
    kernel = torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2.0, 1.0])) / 16
    y = x.float()
    c = x.shape[1]
    for _ in range(level):
        y = F.conv2d(F.pad(y, (1, 1, 1, 1), mode="replicate"), kernel.expand(c, 1, 3, 3), groups=c)
    return y.round().to(torch.uint8)


def noisy(x: torch.Tensor, level: float) -> torch.Tensor:
    return (x + level * torch.randn(x.shape, generator=rng())).clamp(0, 255).round().to(torch.uint8)


@pytest.fixture(scope="module")
def digits():
    """Two random halves of 800 digits, uint8 (N,1,32,32), and the labels of the second."""
    data = Digits(resolution=32).load()
    order = torch.randperm(len(data.images), generator=rng())[:1600]
    images = torch.as_tensor(data.images)[order]
    labels = torch.as_tensor(data.labels)[order]
    return images[:800], images[800:], labels[800:]


def pixels(x: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(x.float() / 255, 4).flatten(1)


def numbers(real: torch.Tensor, fake: torch.Tensor, features) -> dict[str, float]:
    a = features(real)
    b = features(fake)
    return {
        "frechet": frechet_distance(a, b),
        "kernel": kernel_mmd2(a, b),
        **prdc(a, b),
        **{f"closed_{key}": value for key, value in improved_precision_recall(a, b).items()},
        "swd": sliced_wasserstein(real, fake, rng(), patches=16, directions=64)["swd"],
    }


def rises(values: list[float]) -> bool:
    return all(a < b for a, b in itertools.pairwise(values))


def falls(values: list[float]) -> bool:
    return rises([-value for value in values])


@pytest.mark.parametrize(
    ("harm", "levels", "faithless"),
    [
        # a slight blur draws images to the middle of the real ones: precision and density rise
        # first
        (blurred, (0, 2, 4, 8), ()),
        (noisy, (0, 30, 60, 120), ("precision", "density", "closed_precision")),
    ],
)
def test_damage_shows(digits, harm, levels, faithless):
    real, fake, _ = digits
    runs = [numbers(real, harm(fake, level), pixels) for level in levels]
    for key in ("frechet", "kernel", "swd"):
        assert rises([run[key] for run in runs]), (key, [run[key] for run in runs])
    for key in ("recall", "coverage", "closed_recall", *faithless):
        assert falls([run[key] for run in runs]), (key, [run[key] for run in runs])
    clean = runs[0]
    assert (
        runs[-1]["frechet"] > 10 * clean["frechet"]
        and abs(clean["kernel"]) < 0.05 * runs[-1]["kernel"]
    )


def test_dropped_classes_show(digits):
    real, fake, labels = digits
    runs = []
    for kept in (10, 7, 4, 1):
        few = labels < kept
        runs.append(numbers(real, fake[few], pixels) | histogram_kl(labels[few], 10))
    for key in ("frechet", "kernel", "kl", "swd"):
        assert rises([run[key] for run in runs]), (key, [run[key] for run in runs])
    for key in ("recall", "closed_recall", "coverage", "modes"):
        assert falls([run[key] for run in runs]), (key, [run[key] for run in runs])
    assert (
        runs[-1]["precision"] > 0.7
    )  # what remains is as good as before: fidelity is not diversity


def test_pairs_of_images_show_damage(digits):
    _, x, _ = digits
    for harm in ([blurred(x, k) for k in (1, 2, 4, 8)], [noisy(x, k) for k in (5, 15, 40, 120)]):
        for metric in (psnr, ssim, lambda a, b: ms_ssim(a, b)[0]):
            assert falls([metric(x, y) for y in harm])


@pytest.mark.full
@pytest.mark.skipif(not (CIFAR.exists() and WEIGHTS.exists()), reason="GANCLI_TEST_DATA is missing")
def test_photographs_through_squeezenet():
    net = Lpips(WEIGHTS / "squeezenet1_1-imagenet-fp16.pth", WEIGHTS / "lpips_v0.1_squeeze.pth")

    @torch.no_grad()
    def features(x):
        large = F.interpolate(x.float() / 127.5 - 1, scale_factor=2, mode="bilinear")
        return torch.cat(
            [net.features((part - net.shift) / net.scale).mean((2, 3)) for part in large.split(50)]
        )

    files = sorted(CIFAR.glob("*/*.png"))[::2]  # 50 of each class
    x = torch.stack(
        [
            torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)
            for file in files
        ]
    )
    real = x[::2]
    fake = x[1::2]
    clean = numbers(real, fake, features)
    for harm in ([blurred(fake, k) for k in (1, 3, 8)], [noisy(fake, k) for k in (15, 40, 100)]):
        runs = [clean] + [numbers(real, y, features) for y in harm]
        for key in ("frechet", "kernel", "swd"):
            assert rises([run[key] for run in runs]), (key, [run[key] for run in runs])
        assert falls([runs[0]["coverage"], runs[2]["coverage"], runs[3]["coverage"]])
