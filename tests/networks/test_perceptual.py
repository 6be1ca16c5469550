"""Perceptual distance: the layers' names, the values of torchvision's networks, what images may be,
and missing weights.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers import TEST_DATA
from torch import nn

from gancli.networks.perceptual import DEVIATION, LAYERS, MEAN, Perceptual, gram

SQUEEZENET = TEST_DATA / "weights" / "squeezenet1_1-imagenet-fp16.pth"
needs_weights = pytest.mark.skipif(
    not SQUEEZENET.is_file(), reason=f"{SQUEEZENET} is missing: set GANCLI_TEST_DATA"
)


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """A file of random weights for the first block, which is as much as the tests reach."""
    torch.manual_seed(0)
    state = {}
    for place, (c_in, c_out) in {0: (3, 64), 2: (64, 64)}.items():
        state |= {
            f"features.{place}.weight": 0.1 * torch.randn(c_out, c_in, 3, 3),
            f"features.{place}.bias": torch.randn(c_out),
        }
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(state, path)
    return str(path)


def squeezenet(**options):
    return Perceptual(backbone="squeezenet", weights=str(SQUEEZENET), **options)


def test_names_point_at_torchvisions_layers():
    from torchvision import models

    with torch.device("meta"):
        vgg = models.vgg19(weights=None).features
        small = models.squeezenet1_1(weights=None).features
    kinds = {
        "conv": nn.Conv2d,
        "relu": nn.ReLU,
        "pool": nn.MaxPool2d,
        "fire": models.squeezenet.Fire,
    }
    for net, backbone in ((vgg, "vgg19"), (small, "squeezenet")):
        assert all(
            isinstance(net[place], kinds[name[:4]]) for name, place in LAYERS[backbone].items()
        )
    assert (
        LAYERS["vgg19"]["relu5_4"] == 35
        and LAYERS["vgg19"]["conv5_4"] == 34
        and LAYERS["vgg19"]["relu2_2"] == 8
    )


def test_before_and_after_activation_from_one_pass(vgg):
    p = Perceptual(layers=["conv1_1", "relu1_1", "conv1_2", "relu1_2"], weights=vgg)
    x = torch.rand(2, 3, 32, 40) * 2 - 1
    found = p.features(x)
    assert list(found) == ["conv1_1", "relu1_1", "conv1_2", "relu1_2"] and found[
        "conv1_2"
    ].shape == (2, 64, 32, 40)
    assert found["conv1_2"].min() < 0 and torch.equal(found["conv1_2"].relu(), found["relu1_2"])
    state = torch.load(vgg, weights_only=True)
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    want = F.conv2d(
        ((x + 1) / 2 - mean) / deviation,
        state["features.0.weight"],
        state["features.0.bias"],
        padding=1,
    )
    assert torch.allclose(found["conv1_1"], want, atol=1e-5)


def test_distances_layers_and_factor(vgg):
    x, y = torch.rand(2, 1, 3, 32, 32)
    one, two = (Perceptual(layers=[name], weights=vgg)(x, y) for name in ("relu1_1", "relu1_2"))
    assert torch.allclose(Perceptual(layers=["relu1_2", "relu1_1"], weights=vgg)(x, y), one + two)
    a, b = (
        Perceptual(layers=["relu1_2"], weights=vgg).features(image)["relu1_2"] for image in (x, y)
    )
    assert torch.allclose(two, (a - b).abs().mean())
    assert torch.allclose(
        Perceptual(layers=["relu1_2"], weights=vgg, distance="l2")(x, y), (a - b).square().mean()
    )
    assert torch.allclose(
        Perceptual(layers=["relu1_2"], weights=vgg, distance="l2", factor=1 / 12.75)(x, y),
        (a - b).square().mean() / 12.75**2,
    )


def test_it_is_no_part_of_a_game_and_draws_nothing(vgg):
    game = nn.Module()
    game.perceptual = Perceptual(layers=["relu1_1"], weights=vgg)
    before = torch.get_rng_state()
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = x.detach().flip(3).requires_grad_()
    game.perceptual(x, y).backward()
    assert torch.equal(before, torch.get_rng_state())
    assert (
        not list(game.parameters())
        and not game.state_dict()
        and x.grad.abs().max() > 0
        and y.grad is None
    )
    assert all(not p.requires_grad and p.grad is None for p in game.perceptual.net.parameters())


def test_none_costs_nothing_and_needs_nothing():
    p = Perceptual(backbone="none", layers=["relu5_4"])
    x = torch.rand(1, 5, 8, 8)
    p.load()
    assert p(x, x + 1) == 0 and p.features(x) == {} and p.net is None


def test_grey_alpha_and_small_images(vgg):
    p = Perceptual(layers=["relu1_1"], weights=vgg)
    rgb = torch.rand(1, 3, 32, 32) * 2 - 1
    grey = rgb[:, :1]
    assert p(grey, grey.expand(-1, 3, -1, -1)) == 0
    opaque = torch.ones(1, 1, 32, 32)
    clear = -torch.ones(1, 1, 32, 32)
    assert p(torch.cat([rgb, opaque], 1), rgb) == 0
    white = torch.ones(1, 3, 32, 32)
    assert p(torch.cat([rgb, clear], 1), white) == 0 and p(torch.cat([grey, clear], 1), white) == 0
    assert p.features(rgb[..., :7, :9])["relu1_1"].shape == (1, 64, 35, 45)
    with pytest.raises(ValueError, match="5 channels"):
        p(torch.rand(1, 5, 32, 32), torch.rand(1, 5, 32, 32))


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": "vgg16"},
        {"layers": ["relu6_1"]},
        {"layers": []},
        {"distance": "cosine"},
        {"backbone": "squeezenet", "layers": ["relu5_4"]},
    ],
)
def test_mistakes_are_named_before_anything_is_read(options):
    with pytest.raises(ValueError, match="give|has"):
        Perceptual(**options)


def test_missing_weights_say_what_to_do(tmp_path, monkeypatch, vgg):
    (tmp_path / "text.pth").write_text("no weights")
    torch.save([1], tmp_path / "list.pth")
    for path in (
        tmp_path / "none.pth",
        tmp_path / "text.pth",
        tmp_path / "list.pth",
        vgg,
    ):  # the last: of the first block only
        with pytest.raises(
            ValueError,
            match=r"vgg19-dcbb9e9d\.pth.*perceptual\.weights=PATH.*perceptual=squeezenet.*perceptual=none",
        ):
            Perceptual(weights=str(path)).load()

    def offline(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(
        ValueError, match=r"no route to host.*vgg19-dcbb9e9d\.pth.*perceptual\.weights=PATH"
    ):
        Perceptual()(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))


def test_building_needs_no_weights():
    with torch.device("meta"):
        assert Perceptual(weights="/nowhere").net is None


@needs_weights
def test_squeezenet_is_torchvisions():
    from torchvision import models

    net = models.squeezenet1_1(weights=None)
    net.load_state_dict(
        {key: value.float() for key, value in torch.load(SQUEEZENET, weights_only=True).items()}
    )
    x = torch.rand(1, 3, 64, 48) * 2 - 1
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    h = ((x + 1) / 2 - mean) / deviation
    names = {place: name for name, place in LAYERS["squeezenet"].items()}
    found = squeezenet(layers=["relu1", "fire3", "fire5", "fire9"]).features(x)
    with torch.no_grad():
        for place, layer in enumerate(net.eval().features):
            h = layer(h)
            if names.get(place) in found:
                assert torch.allclose(found.pop(names[place]), h, atol=1e-4)
    assert not found


@needs_weights
def test_squeezenet_tells_noise_from_nearly_the_same():
    torch.manual_seed(0)
    p = squeezenet(layers=["fire5", "fire9"])
    x = F.interpolate(torch.rand(2, 3, 6, 6), 48, mode="bilinear") * 2 - 1
    near = p(x + 0.02 * torch.randn_like(x), x)
    far = p(x + 0.3 * torch.randn_like(x), x)
    assert 0 < near < far and p(x, x) == 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert p(x[..., :16, :16], x[..., 16:32, :16]).isfinite()


def test_gram():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # 2 channels, 1x2 places
    assert torch.allclose(gram(features), torch.tensor([[[5.0, 11.0], [11.0, 25.0]]]) / 4)
    assert gram(torch.rand(2, 3, 4, 5)).shape == (2, 3, 3)
