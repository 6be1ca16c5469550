"""LPIPS with SqueezeNet: the two published distances, and what must hold with any weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from helpers import TEST_DATA
from PIL import Image

from gancli.errors import UserError
from gancli.metrics.lpips import CHANNELS, Lpips, lpips_diversity

FOLDER = TEST_DATA / "weights"
BACKBONE = FOLDER / "squeezenet1_1-imagenet-fp16.pth"
HEADS = FOLDER / "lpips_v0.1_squeeze.pth"
real = pytest.mark.skipif(
    not (BACKBONE.exists() and HEADS.exists()), reason="GANCLI_TEST_DATA is missing"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Random weights of the right shapes."""
    from torchvision.models import squeezenet1_1

    folder = tmp_path_factory.mktemp("lpips")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(squeezenet1_1(weights=None).state_dict(), folder / "net.pth")
        torch.save(
            {f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1) for k, c in enumerate(CHANNELS)},
            folder / "heads.pth",
        )
    return folder


@pytest.fixture(scope="module")
def lpips(files):
    return Lpips(files / "net.pth", files / "heads.pth")


def image(name: str) -> torch.Tensor:
    pixels = np.array(Image.open(FOLDER / "lpips_examples" / name).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1


@real
@pytest.mark.parametrize(("name", "want"), [("ex_p0.png", 0.7112), ("ex_p1.png", 0.1479)])
def test_published_distances(name, want):
    distance = Lpips(BACKBONE, HEADS)(image("ex_ref.png"), image(name))
    assert distance.shape == (1,) and distance.item() == pytest.approx(want, abs=1e-4)


@real
def test_grows_with_noise():
    net = Lpips(BACKBONE, HEADS)
    x = image("ex_ref.png")
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    values = [net(x, (x + level * noise).clamp(-1, 1)).item() for level in (0.0, 0.05, 0.1, 0.3)]
    assert values[0] < 1e-9 and values == sorted(values) and values[1] > 0.01


def test_zero_on_identity_symmetric_and_one_row_per_pair(lpips):
    x, y = torch.rand(2, 3, 3, 40, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    distance = lpips(x, y)
    assert torch.equal(lpips(x, x), torch.zeros(3)) and (distance > 0).all()
    torch.testing.assert_close(distance, lpips(y, x))
    torch.testing.assert_close(distance[1:2], lpips(x[1:2], y[1:2]))


def test_grey_images_are_three_equal_channels(lpips):
    x, y = torch.rand(2, 2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(lpips(x, y), lpips(x.repeat(1, 3, 1, 1), y.repeat(1, 3, 1, 1)))


def test_gradients_reach_the_images_and_stay_finite(lpips):
    """Also through a layer of dead pixels, all channels 0."""
    x = torch.zeros(1, 3, 32, 32, requires_grad=True)
    y = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    lpips(x, y).sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in lpips.parameters())
    dead = copy.deepcopy(lpips)
    dead.features[0].bias.fill_(-100)
    x.grad = None
    distance = dead(x, y)
    distance.sum().backward()
    assert torch.isfinite(distance).all() and torch.isfinite(x.grad).all()


def test_diversity_by_pairs(lpips):
    def rng():
        return torch.Generator().manual_seed(0)

    x = torch.randint(0, 256, (4, 3, 20, 20), generator=rng(), dtype=torch.uint8)
    assert lpips_diversity(lpips, x[:1].expand(4, -1, -1, -1), 70, rng()) == {
        "mean": 0.0,
        "std": 0.0,
    }
    got = lpips_diversity(lpips, x, 70, rng())
    assert got == lpips_diversity(lpips, x, 70, rng()) and got["mean"] > 0 and got["std"] > 0
    assert (
        lpips_diversity(lpips, x[[0, 1, 0, 1]], 9, rng(), torch.tensor([0, 1, 0, 1]))["mean"] == 0
    )


def test_unusable_files_and_images_are_refused(files, lpips, tmp_path):
    with pytest.raises(
        UserError, match="needs the weights of SqueezeNet 1.1, and there is no file"
    ):
        Lpips(tmp_path / "none.pth", files / "heads.pth")
    with pytest.raises(UserError, match="needs the LPIPS v0.1 heads"):
        Lpips(files / "net.pth", tmp_path / "none.pth")
    with pytest.raises(UserError, match="does not hold the LPIPS v0.1 heads"):
        Lpips(files / "net.pth", files / "net.pth")
    with pytest.raises(UserError, match="does not hold the weights of SqueezeNet"):
        Lpips(files / "heads.pth", files / "heads.pth")
    (tmp_path / "bad.pth").write_bytes(b"not a file of tensors")
    with pytest.raises(UserError, match="cannot read"):
        Lpips(tmp_path / "bad.pth", files / "heads.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="does not hold the weights"):
        Lpips(tmp_path / "list.pth", files / "heads.pth")
    for shape in ((1, 3, 16, 16), (1, 4, 32, 32)):
        with pytest.raises(UserError, match="grey or RGB images of 17x17"):
            lpips(torch.zeros(shape), torch.zeros(shape))
