"""Backbones: networks that turn images into features and class probabilities.

Their names stand in the names of the numbers that they give.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.data.base import Decoded, digest_of
from gancli.data.decode import to_channels
from gancli.errors import UserError, first_line
from gancli.files import reading
from gancli.metrics import classifier, store
from gancli.metrics.fid import moments
from gancli.seeding import fork_random

BATCH = 64  # a constant, as in sampling: convolutions round differently in batches of another size
# The port of TensorFlow's network of 2015-12-05 that defines FID; torch-fidelity's and
# pytorch-fid's files are the same bytes.
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
TORCHVISION = ("squeezenet", "resnet18", "resnet50", "vgg16")
RESNET_LAYERS = (
    "conv1",
    "bn1",
    "relu",
    "maxpool",
    "layer1",
    "layer2",
    "layer3",
    "layer4",
    "avgpool",
)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Seen(TypedDict):
    """What a backbone sees in N images, on the CPU."""

    features: Tensor  # (N,D) float32
    probabilities: Tensor | None  # (N,K) float32, where the network has classes


class Backbone(Protocol):
    """What a metric relies on in a network."""

    @property
    def name(self) -> str:
        """A part of the names of its numbers."""

    @property
    def checksum(self) -> str:
        """Of its weights."""

    @property
    def resize(self) -> str:
        """How images reach its input, in words."""

    def __call__(self, images: Tensor) -> Seen:
        """Returns features and class probabilities of uint8 images (N,C,H,W)."""


@dataclass(frozen=True)
class Extractor:
    """A frozen network.

    Attributes:
        name: A part of the names of its numbers.
        checksum: Of its weights.
        resize: How images reach its input, in words.
        module: uint8 (N,channels,H,W) -> features (N,D) and probabilities (N,K) or None.
        device: Where `module` is.
        channels: What the module takes; None: whatever the images have.
        facts: For the protocol.
    """

    name: str
    checksum: str
    resize: str
    module: nn.Module
    device: torch.device
    channels: int | None = None  # what the module takes; None: whatever the images have
    facts: dict[str, Any] = field(default_factory=dict)  # for the protocol

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Seen:
        """Returns features and class probabilities of uint8 images (N,C,H,W)."""
        parts = [self.some(batch) for batch in images.split(BATCH)]
        probabilities = [part for _, part in parts if part is not None]
        return {
            "features": torch.cat([part for part, _ in parts]),
            "probabilities": torch.cat(probabilities) if probabilities else None,
        }

    def some(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Computes features (N,D) and probabilities (N,K), or None, of a batch of uint8 images."""
        if self.channels is not None and images.shape[1] != self.channels:
            images = torch.from_numpy(to_channels(images.cpu().numpy(), self.channels))
        features, probabilities = self.module(images.to(self.device))
        return (
            features.float().cpu(),
            None if probabilities is None else probabilities.float().cpu(),
        )


class OfClassifier(nn.Module):
    """The backbone `self`."""

    def __init__(self, net: classifier.Classifier):
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features and probabilities of uint8 images (N,C,H,W)."""
        features, logits = self.net(classifier.scale_images(images))
        return features, logits.softmax(1)


class OfPictures(nn.Module):
    """A backbone that looks at pictures of items that are none, such as recordings.

    Args:
        net: A backbone of images.
        to_pictures: Items -> uint8 (N,C,H,W).
    """

    def __init__(self, net: nn.Module, to_pictures: Callable[[Tensor], Tensor]):
        super().__init__()
        self.net = net
        self.to_pictures = to_pictures

    def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features and probabilities of items."""
        features, probabilities = self.net(self.to_pictures(items))
        return features, probabilities


class OfDigits(nn.Module):
    """The backbone `self` of stacked_mnist: each channel is a digit.

    A mode's probability is the product of its three.
    """

    def __init__(self, net: classifier.Classifier):
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features and probabilities of uint8 images (N,3,H,W)."""
        features, logits = self.net(classifier.scale_images(images.flatten(0, 1)[:, None]))
        red, green, blue = logits.softmax(1).view(len(images), 3, 10).unbind(1)
        # Channels were drawn apart, so their probabilities multiply: 10 x 10 x 10 modes.
        joint = red[:, :, None, None] * green[:, None, :, None] * blue[:, None, None, :]
        return features.view(len(images), -1), joint.flatten(1)


class OfImageNet(nn.Module):
    """A torchvision classifier at 224x224.

    Args:
        net: The network.
        split: The network and its input -> features (N,D) and logits (N,1000).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, net: nn.Module, split: Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]):
        super().__init__()
        self.net = net
        self.split = split
        # ImageNet's are of values from 0 to 1; bytes are not divided first, which would round once
        # more.
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET[0]).view(1, 3, 1, 1))
        self.register_buffer("deviation", 255 * torch.tensor(IMAGENET[1]).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features and probabilities of uint8 images (N,3,H,W)."""
        x = images.float()
        if x.shape[-2:] != (224, 224):
            # As clean-fid resizes (Parmar 2022): antialiased, in floats, clipped and not rounded.
            x = F.interpolate(
                x, (224, 224), mode="bicubic", antialias=True, align_corners=False
            ).clamp_(0, 255)
        features, logits = self.split(self.net, (x - self.mean) / self.deviation)
        return features, logits.softmax(1)


class OfInception(nn.Module):
    """torch-fidelity's network, which resizes by itself.

    The score's softmax is over the logits without their bias.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features and probabilities of uint8 images (N,3,H,W)."""
        features, logits = self.net(images)
        return features, logits.softmax(1)


def squeezenet_parts(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the features (N,512) and logits of a SqueezeNet."""
    hidden = net.get_submodule("features")(x)
    return hidden.mean((2, 3)), net.get_submodule("classifier")(hidden).flatten(1)


def resnet_parts(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the features (N,D) and logits of a ResNet."""
    for name in RESNET_LAYERS:
        x = net.get_submodule(name)(x)
    features = x.flatten(1)
    return features, net.get_submodule("fc")(features)


def vgg_parts(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the features (N,4096) and logits of a VGG.

    The features are the second hidden layer, as precision and recall were defined on
    (Kynkaanniemi 2019).
    """
    head = net.get_submodule("classifier")
    assert isinstance(head, nn.Sequential)
    pooled = net.get_submodule("avgpool")(net.get_submodule("features")(x))
    # Two linear layers, each with its ReLU, and the dropout between them, which eval turns off.
    features = head[:5](pooled.flatten(1))
    return features, head[6](features)


def torchvision_net(
    name: str,
) -> tuple[nn.Module, Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]], str]:
    """Returns an empty network, its two parts, and where torchvision fetches its weights."""
    from torchvision import models  # 3 s, and needed nowhere else

    build, parts, weights = {
        "squeezenet": (
            models.squeezenet1_1,
            squeezenet_parts,
            models.SqueezeNet1_1_Weights.IMAGENET1K_V1,
        ),
        "resnet18": (models.resnet18, resnet_parts, models.ResNet18_Weights.IMAGENET1K_V1),
        "resnet50": (models.resnet50, resnet_parts, models.ResNet50_Weights.IMAGENET1K_V1),
        "vgg16": (models.vgg16, vgg_parts, models.VGG16_Weights.IMAGENET1K_V1),
    }[name]
    with torch.device("meta"):
        # No initialisation, which would draw from the global generator and take seconds
        return build(weights=None), parts, weights.url


def on_imagenet(name: str, weights: str | None, device: torch.device) -> Extractor:
    """Makes one of TORCHVISION, from a file of its state dict or torchvision's download.

    Raises UserError.
    """
    net, parts, url = torchvision_net(name)
    state, sha256 = load_weights(weights, name, url=url)
    fill(net, state, name, weights or url)
    module = OfImageNet(net.eval().requires_grad_(False), parts).to(device)
    return Extractor(
        name, sha256[:16], "bicubic, antialiased, to 224x224, in floats", module, device, channels=3
    )


def inception(weights: str | None, device: torch.device) -> Extractor:
    """Makes FID's network in torch-fidelity. Raises UserError.

    It is called inception, and its numbers FID and KID, only if the file is the well-known one, by
    its checksum.
    """
    try:
        from torch_fidelity import feature_extractor_inceptionv3 as library
    except ImportError as error:
        raise UserError(
            "FID's Inception needs the package torch-fidelity", "pip install 'gancli[metrics]'"
        ) from error
    state, sha256 = load_weights(weights, "inception", url=library.URL_INCEPTION_V3)
    # The library unpickles what it is given; these bytes were written here, from plain tensors
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    try:
        with fork_random(0, torch.device("cpu")):  # it is initialised before it is filled
            net = library.FeatureExtractorInceptionV3(
                "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=buffer
            )
    except RuntimeError as error:
        raise UserError(
            f"{weights or library.URL_INCEPTION_V3} does not hold FID's Inception: "
            f"{first_line(error)}",
            "metrics.weights=PATH of pt_inception-2015-12-05-6726825d.pth",
        ) from error
    name = "inception" if sha256 == INCEPTION_SHA256 else f"inception-{sha256[:8]}"
    resize = "bilinear, as TensorFlow 1 aligns it, not antialiased, to 299x299"
    return Extractor(name, sha256[:16], resize, OfInception(net).to(device), device, channels=3)


def load_weights(path: str | None, name: str, *, url: str) -> tuple[dict[str, Tensor], str]:
    """Reads a state dict in float32 without running anything of the file's.

    Args:
        path: The file; None takes the library's download.
        name: Of the network, for messages.
        url: Of the download.

    Returns:
        The state dict, and the file's sha256.

    Raises:
        UserError: The file cannot be read, or holds something else.
    """
    file = Path(path).expanduser() if path is not None else download_weights(url, name)
    try:
        with reading.open_file(file) as opened:
            data = opened.read()
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except reading.Unreadable:
        raise
    except OSError as error:
        raise UserError(
            f"the weights of {name} cannot be read from {file}: {error.strerror}",
            "metrics.weights=PATH",
        ) from error
    except Exception as error:
        # What a broken file can make the reader raise has no end
        raise UserError(
            f"{file} holds no weights that can be read safely: "
            f"{(str(error) or 'no tensors').splitlines()[0]}",
            f"metrics.weights=PATH, a state dict of {name}",
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise UserError(f"{file} is no state dict", f"metrics.weights=PATH, a state dict of {name}")
    floats = {
        key: value.float() if value.is_floating_point() else value for key, value in state.items()
    }
    return floats, hashlib.sha256(data).hexdigest()


def download_weights(url: str, name: str) -> Path:
    """Fetches the file of a library's own download, and keeps it where torch keeps such files.

    Raises UserError without a network.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            prefix = file.stem.rpartition("-")[2]  # of its sha256: these files are named so
            torch.hub.download_url_to_file(url, str(file), hash_prefix=prefix, progress=False)
        except Exception as error:
            # URLError, timeouts, a hash that differs, a full disk
            raise UserError(
                f"there are no weights of {name}, and they could not be downloaded "
                f"({first_line(error)})",
                f"metrics.weights=PATH of {file.name}, from {url}",
            ) from error
    return file


def fill(net: nn.Module, state: dict[str, Tensor], name: str, where: str) -> None:
    """Puts weights into an empty network. Raises UserError where they are another network's."""
    try:
        net.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise UserError(
            f"{where} does not hold the weights of {name}: {str(error).splitlines()[-1].strip()}",
            f"metrics.weights=PATH, a state dict of torchvision's {name}",
        ) from error


def own(
    train: Decoded,
    classes: int,
    device: torch.device,
    *,
    stacked: bool = False,
    to_pictures: Callable[[Tensor], Tensor] | None = None,
) -> Extractor:
    """Makes the backbone `self`, trained on these images unless it is kept from an earlier time.

    Where items are no images, `to_pictures` turns them into some. Raises UserError.
    """
    if train.labels is None:
        raise UserError(
            "the data have no labels to train a classifier on",
            "metrics.features=inception or squeezenet, with metrics.weights=PATH",
        )
    data = train if to_pictures is None else replace(train, images=to_pictures(train.images))
    height, width = data.images.shape[-2:]
    size = (height, width)
    if stacked:
        data = classifier.unstack_digits(train)
        classes = 10
    trained = classifier.for_data(data, size, classes)
    inner = classifier.inner_size(*size)
    resize = "none" if inner == size else f"area, to {inner[1]}x{inner[0]}"
    facts = {
        "accuracy": trained.accuracy,
        "measured_on": f"{trained.n_aside} training images set aside",
        "classes": classes,
    }
    module: nn.Module = OfDigits(trained.net) if stacked else OfClassifier(trained.net)
    if to_pictures is not None:
        module = OfPictures(module, to_pictures)
    checksum = classifier.checksum(trained.net)
    return Extractor("self", checksum, resize, module.to(device), device, facts=facts)


def identify(weights: str) -> str:
    """Says whose weights a file holds, by the names in it: `features: auto` with a file.

    Raises UserError.
    """
    state, _ = load_weights(weights, "a backbone", url="")
    if (
        "Mixed_7c.branch_pool.conv.weight" in state
        and "fc.weight" in state
        and len(state["fc.weight"]) == 1008
    ):
        return "inception"
    for name in TORCHVISION:
        if torchvision_net(name)[0].state_dict().keys() == state.keys():
            return name
    raise UserError(
        f"{weights} holds the weights of no backbone that is known here",
        f"there are {', '.join(('inception', *TORCHVISION))}",
    )


@dataclass(frozen=True)
class Reals:
    """What a backbone says of real images, computed once.

    Attributes:
        features: (N,D)
        mean: (D,) float64
        cov: (D,D) float64
    """

    features: Tensor
    mean: Tensor
    cov: Tensor


def reals(backbone: Backbone, images: Tensor, rows: Tensor | None = None, *, key: str) -> Reals:
    """Returns what a backbone says of real images, from memory or disk if it was asked before.

    Args:
        backbone: Its checksum is a part of the entry's name.
        images: uint8 (N,C,H,W); they are read batch by batch and may be mapped.
        rows: (M,) int64: only these of them; None: all.
        key: What identifies the images.
    """
    n = len(images) if rows is None else len(rows)
    shape = (n, *images.shape[1:])
    key = digest_of(["reals", key, backbone.name, backbone.checksum, repr(shape)])

    def make() -> Reals:
        kept = store.read(key)
        if kept is not None:
            return Reals(**kept)
        if rows is None:
            features = backbone(images)["features"]
        else:
            features = torch.cat([backbone(images[some])["features"] for some in rows.split(BATCH)])
        mean, cov = moments(features, "real")
        store.write(key, {"features": features, "mean": mean, "cov": cov})
        return Reals(features, mean, cov)

    return store.remember(key, make)
