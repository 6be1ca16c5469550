"""Backbones: what they take, what they give, what they are called, and what they say where weights
are missing.
"""

from __future__ import annotations

import hashlib
import pickle

import pytest
import torch
from evaluation_helpers import CPU, digits, hasty, part  # noqa: F401 - fixtures
from helpers import TEST_DATA
from PIL import Image

from gancli.data.cache import cache_root
from gancli.data.folder import Folder
from gancli.errors import UserError
from gancli.metrics import features, store
from gancli.metrics.fid import frechet_distance, frechet_from_moments, moments

SQUEEZENET = TEST_DATA / "weights" / "squeezenet1_1-imagenet-fp16.pth"
needs_squeezenet = pytest.mark.skipif(
    not SQUEEZENET.is_file(), reason="no squeezenet1_1 in GANCLI_TEST_DATA/weights"
)


@pytest.fixture(scope="module")
def squeezenet():
    return features.on_imagenet("squeezenet", str(SQUEEZENET), CPU)


@needs_squeezenet
def test_squeezenet_from_a_local_file(squeezenet):
    assert squeezenet.name == "squeezenet"
    assert squeezenet.checksum == hashlib.sha256(SQUEEZENET.read_bytes()).hexdigest()[:16]
    out = squeezenet(torch.randint(0, 256, (3, 3, 40, 24), dtype=torch.uint8))
    assert out["features"].shape == (3, 512) and out["features"].dtype == torch.float32
    assert out["probabilities"].shape == (3, 1000) and torch.allclose(
        out["probabilities"].sum(1), torch.ones(3), atol=1e-5
    )


@needs_squeezenet
def test_it_knows_zebras(squeezenet):
    folder = TEST_DATA / "horse2zebra128" / "testB"
    if not folder.is_dir():
        pytest.skip("no real data: GANCLI_TEST_DATA has no horse2zebra128")
    images = Folder(path=str(folder), resolution=128, channels=3, classes=0, limit=30).load().images
    zebras = (squeezenet(images)["probabilities"].argmax(1) == 340).float().mean()
    assert zebras > 0.8, "a wrong mean, order of colours or head would be seen here"


@needs_squeezenet
def test_grey_and_transparent_images_become_rgb(squeezenet):
    grey = digits().images[:4]
    rgb = grey.expand(-1, 3, -1, -1)
    assert torch.equal(squeezenet(grey)["features"], squeezenet(rgb)["features"])
    opaque = torch.cat([rgb, torch.full_like(grey, 255)], 1)
    assert torch.equal(squeezenet(opaque)["features"], squeezenet(rgb)["features"])


@needs_squeezenet
def test_batches_do_not_change_the_features(squeezenet, monkeypatch):
    images = digits().images[:5]
    whole = squeezenet(images)["features"]
    monkeypatch.setattr(features, "BATCH", 2)
    assert torch.allclose(squeezenet(images)["features"], whole, rtol=1e-4, atol=1e-5)


@needs_squeezenet
def test_the_frechet_distance_rises_with_noise_and_blur(squeezenet):
    x = digits().images[:24]
    rng = torch.Generator().manual_seed(0)
    real = squeezenet(x)["features"]

    def noisy(s):
        return (x + s * torch.randn(x.shape, generator=rng)).clamp(0, 255).round().to(torch.uint8)

    values = [frechet_distance(real, squeezenet(noisy(s))["features"]) for s in (0, 3, 60)]
    assert values[0] < 1e-3 and values == sorted(values) and values[-1] > 1000


@needs_squeezenet
def test_no_global_draws_in_building_it():
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    features.on_imagenet("squeezenet", str(SQUEEZENET), CPU)
    assert torch.equal(torch.rand(3), want)


@needs_squeezenet
def test_a_file_is_recognised():
    assert features.identify(str(SQUEEZENET)) == "squeezenet"


@needs_squeezenet
def test_weights_of_another_network():
    with pytest.raises(UserError, match="does not hold the weights of resnet18"):
        features.on_imagenet("resnet18", str(SQUEEZENET), CPU)


@pytest.mark.parametrize(("name", "dims"), [("resnet18", 512), ("resnet50", 2048), ("vgg16", 4096)])
def test_the_other_networks_are_cut_where_they_should(name, dims):
    with torch.device("meta"):
        net, parts, _ = features.torchvision_net(name)
        net.eval()
        x = torch.zeros(2, 3, 224, 224)
        hidden, logits = parts(net, x)
        assert hidden.shape == (2, dims) and logits.shape == net(x).shape == (2, 1000)


@pytest.mark.parametrize("name", ["squeezenet", "resnet18"])
def test_the_two_parts_are_the_network(name):
    net, parts, _ = features.torchvision_net(name)
    net = net.to_empty(device="cpu").eval()
    with torch.no_grad():
        for value in net.state_dict().values():
            value.copy_(
                torch.rand(value.shape, generator=torch.Generator().manual_seed(value.numel()))
                * 0.1
            )
        x = torch.rand(1, 3, 64, 64)
        assert torch.allclose(parts(net, x)[1], net(x))


def test_missing_and_unsafe_weights(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        features.on_imagenet("squeezenet", str(tmp_path / "none.pth"), CPU)

    class Evil:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    (tmp_path / "text.pth").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    for file in ("evil.pth", "old.pth", "text.pth", "list.pth"):
        with pytest.raises(UserError) as caught:
            features.load_weights(str(tmp_path / file), "squeezenet", url="")
        assert "metrics.weights=PATH" in caught.value.hint
    assert not (tmp_path / "ran").exists()


def test_without_a_network_the_missing_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(UserError, match=r"could not be downloaded \(no route to host\)") as caught:
        features.on_imagenet("resnet50", None, CPU)
    assert (
        "metrics.weights=PATH of resnet50" in caught.value.hint and "https://" in caught.value.hint
    )


def test_inception_without_its_package(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(UserError) as caught:
        features.inception(None, CPU)
    assert "gancli[metrics]" in caught.value.hint


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory):
    """A file with the shapes of FID's network and random weights."""
    library = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3", reason="the extra gancli[metrics]"
    )
    path = tmp_path_factory.mktemp("inception") / "weights.pth"

    def saved(url, **_):
        with torch.device("meta"):
            raise RuntimeError(url)

    net = library.FeatureExtractorInceptionV3.__new__(library.FeatureExtractorInceptionV3)
    original = library.load_state_dict_from_url
    library.load_state_dict_from_url = saved
    try:
        torch.manual_seed(0)
        with pytest.raises(RuntimeError):  # its layers exist by then
            net.__init__("x", ["2048"])
    finally:
        library.load_state_dict_from_url = original
    torch.save(net.state_dict(), path)
    return path


def test_inception_of_other_weights_gives_no_fid(random_inception, monkeypatch):
    assert features.identify(str(random_inception)) == "inception"
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    backbone = features.inception(str(random_inception), CPU)
    assert torch.equal(torch.rand(3), want), "building it must not draw from the global generator"
    sha256 = hashlib.sha256(random_inception.read_bytes()).hexdigest()
    assert backbone.name == f"inception-{sha256[:8]}"
    out = backbone(digits().images[:2])
    assert out["features"].shape == (2, 2048) and out["probabilities"].shape == (2, 1008)
    monkeypatch.setattr(features, "INCEPTION_SHA256", sha256)
    assert features.inception(str(random_inception), CPU).name == "inception"


def test_inception_is_the_librarys(random_inception):
    """The features and the bias-free logits are those that torch-fidelity itself computes."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3(
        "x", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(random_inception)
    )
    images = digits().images[:3].expand(-1, 3, -1, -1)
    want, logits = theirs(images)
    out = features.inception(str(random_inception), CPU)(images)
    assert torch.equal(out["features"], want) and torch.equal(
        out["probabilities"], logits.softmax(1)
    )


class Pixels:
    """A backbone that needs no weights."""

    name = "pixels"
    checksum = "0"
    resize = "none"

    def __init__(self):
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        return {"features": images.flatten(1)[:, ::40].float(), "probabilities": None}


def test_real_statistics_are_computed_once(hasty):  # noqa: F811
    backbone = Pixels()
    images = part(digits(), 0, 50).images
    first = features.reals(backbone, images, key="train a")
    assert features.reals(backbone, images, key="train a") is first and backbone.calls == 1
    store.forget()
    again = features.reals(backbone, images, key="train a")
    assert backbone.calls == 1, "from the disk"
    assert torch.equal(again.features, first.features) and torch.equal(again.cov, first.cov)
    fake = backbone(images[:20])["features"]
    assert frechet_from_moments(again.mean, again.cov, *moments(fake)) == frechet_distance(
        first.features, fake
    )
    before = backbone.calls
    features.reals(backbone, images, key="held a")
    features.reals(backbone, images[:40], key="train a")
    backbone.checksum = "1"
    features.reals(backbone, images, key="train a")
    assert backbone.calls == before + 3, "split, size and checksum count"
    assert len(list((cache_root() / "metrics").glob("*.pt"))) == 4


def test_a_folder_of_pictures_through_the_whole_path(tmp_path):
    for k in range(3):
        Image.new("RGBA", (20, 30), (k * 60, 0, 0, 255)).save(tmp_path / f"{k}.png")
    decoded = Folder(path=str(tmp_path)).load()
    assert Pixels()(decoded.images)["features"].shape[0] == 3
