"""Perceptual loss (Johnson 2016): how far two images are apart in features of a network.

The network knows photographs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Backbone = Literal["vgg19", "squeezenet", "none"]
# ImageNet's, of values from 0 to 1
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
SMALLEST = 32  # pixels: below, the last pooling layers have nothing left
URLS = {
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    "squeezenet": "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
}
DEFAULTS: dict[Backbone, list[str]] = {"vgg19": ["relu5_4"], "squeezenet": ["fire5"], "none": []}


def list_vgg19_layers() -> dict[str, int]:
    """Maps names to positions in torchvision's vgg19().features.

    The names are conv1_1, relu1_1 ... relu5_4 and pool1 ... pool5.
    """
    names = []
    for block, convolutions in enumerate((2, 2, 4, 4, 4), 1):
        for k in range(1, convolutions + 1):
            names += [f"conv{block}_{k}", f"relu{block}_{k}"]
        names.append(f"pool{block}")
    return {name: position for position, name in enumerate(names)}


# Of torchvision's squeezenet1_1().features, named as in the paper (Iandola 2016, table 1).
SQUEEZENET_LAYERS = {
    "conv1": 0,
    "relu1": 1,
    "fire2": 3,
    "fire3": 4,
    "fire4": 6,
    "fire5": 7,
    "fire6": 9,
    "fire7": 10,
    "fire8": 11,
    "fire9": 12,
}
LAYERS: dict[Backbone, Mapping[str, int]] = {
    "vgg19": list_vgg19_layers(),
    "squeezenet": SQUEEZENET_LAYERS,
    "none": {},
}


class Perceptual:
    """x, y (N,C,H,W) in [-1,1] -> scalar: mean distance of features, summed over layers.

    Gradients reach x alone. No nn.Module: a game that holds one has no more parameters and nothing
    more in its checkpoint. Weights are read on first use, or by `load`; building a game, or
    sampling from it, needs none.

    Args:
        backbone: vgg19 (SRGAN, ESRGAN), squeezenet (5 MB, for offline use), or none: the distance
            is 0.
        layers: reluB_K after activation (SRGAN: relu5_4), convB_K before (ESRGAN: conv5_4), poolB;
            of squeezenet relu1 and fire2 to fire9; None: relu5_4, fire5.
        weights: a file with the state dict of torchvision's vgg19 or squeezenet1_1; None:
            torchvision's download, once.
        distance: l2 is the mean square, l1 the mean magnitude.
        factor: multiplies features (SRGAN, section 3.2: 1 / 12.75).
    """

    def __init__(
        self,
        *,
        backbone: Backbone = "vgg19",
        layers: list[str] | None = None,
        weights: str | None = None,
        distance: Literal["l1", "l2"] = "l1",
        factor: float = 1.0,
    ):
        if backbone not in LAYERS or distance not in ("l1", "l2"):
            raise ValueError(
                f"backbone={backbone}, distance={distance}: give vgg19, squeezenet or none, and l1 "
                "or l2"
            )
        known = LAYERS[backbone]
        self.layers = list(DEFAULTS[backbone] if layers is None or backbone == "none" else layers)
        if wrong := [name for name in self.layers if name not in known]:
            raise ValueError(f"layers=[{','.join(wrong)}]: {backbone} has {', '.join(known)}")
        if backbone != "none" and not self.layers:
            raise ValueError(
                f"layers=[]: give layers of {backbone}, such as [{DEFAULTS[backbone][0]}], or "
                "backbone=none"
            )
        self.backbone = backbone
        self.weights = weights
        self.distance = distance
        self.factor = factor
        self.net: nn.Sequential | None = None

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Compares features; 0 for backbone "none"."""
        if self.backbone == "none":
            return torch.zeros((), device=x.device)
        with torch.no_grad():
            # Apart from x's: the target needs no graph, which would take as much memory again.
            wanted = self.features(y)
        cost = F.l1_loss if self.distance == "l1" else F.mse_loss
        terms = [
            cost(value.float(), wanted[name].float()) for name, value in self.features(x).items()
        ]
        return reduce(torch.add, terms)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Computes features of (N,C,H,W) in [-1,1], times `factor`.

        Returns:
            layer -> (N,F,h,w), in the order of the network.

        Raises:
            ValueError: there are no weights.
        """
        if self.backbone == "none":
            return {}
        assert not x.is_meta, "images without values have no features"
        net = self.get_network()
        if next(net.parameters()).device != x.device:
            net.to(x.device)
        names = {LAYERS[self.backbone][name]: name for name in self.layers}
        h = prepare_images(x, net.get_buffer("mean"), net.get_buffer("deviation"))
        found = {}
        # Layer by layer, since what is compared lies between them; the network ends at the last of
        # these.
        for position, layer in enumerate(net):
            h = layer(h)
            if position in names:
                # A copy: the next activation works in place.
                found[names[position]] = self.factor * h
        return found

    def get_network(self) -> nn.Sequential:
        """Returns the network with its weights, which the first use reads.

        Raises:
            ValueError: there are no weights.
        """
        if self.net is None:
            self.load()
        assert self.net is not None, "backbone=none has no network"
        return self.net

    def load(self) -> None:
        """Reads the weights; call it before a long run begins.

        Raises:
            ValueError: there are none; it says where to get them.
        """
        if self.backbone == "none" or self.net is not None:
            return
        net = build_empty(self.backbone)[
            : 1 + max(LAYERS[self.backbone][name] for name in self.layers)
        ]
        state = read_state(self.weights, self.backbone)
        try:
            net.load_state_dict({key: state[key].float() for key in net.state_dict()}, assign=True)
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"{self.weights or URLS[self.backbone]} does not hold the weights of "
                f"{self.backbone}; " + suggest_weights(self.backbone)
            ) from error
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            net.register_buffer(name, torch.tensor(values, device="cpu").view(1, 3, 1, 1))
        self.net = net.eval().requires_grad_(False)


def build_empty(backbone: Backbone) -> nn.Sequential:
    """Builds the convolutional part on the meta device.

    Initialising it would take seconds, and draw from the global generator.
    """
    from torchvision import models  # 3 s, and needed nowhere else

    with torch.device("meta"):
        return (models.vgg19 if backbone == "vgg19" else models.squeezenet1_1)(
            weights=None
        ).features


def read_state(weights: str | None, backbone: Backbone) -> dict[str, Tensor]:
    """Reads the tensors of the convolutional part; nothing of the file runs.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    file = Path(weights).expanduser() if weights is not None else download_weights(backbone)
    if not file.is_file():
        raise ValueError(
            f"there is no file {file} with the weights of {backbone}; {suggest_weights(backbone)}"
        )
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file can make the reader raise anything
        raise ValueError(
            f"{file} holds no weights that can be read safely; {suggest_weights(backbone)}"
        ) from error
    if not isinstance(state, dict):
        raise ValueError(f"{file} is no state dict; {suggest_weights(backbone)}")
    return {
        key.removeprefix("features."): value
        for key, value in state.items()
        if isinstance(key, str) and key.startswith("features.") and isinstance(value, Tensor)
    }


def download_weights(backbone: Backbone) -> Path:
    """Returns torchvision's file, where torch keeps such files.

    Raises:
        ValueError: it is not there and cannot be downloaded.
    """
    url = URLS[backbone]
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            prefix = file.stem.rpartition("-")[2]  # of its sha256: these files are named so
            torch.hub.download_url_to_file(url, str(file), hash_prefix=prefix, progress=False)
        except Exception as error:  # URLError, a hash that differs, a full disk
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(
                f"the weights of {backbone} could not be downloaded ({reason}); "
                f"{suggest_weights(backbone)}"
            ) from error
    return file


def suggest_weights(backbone: Backbone) -> str:
    """Says what to do about missing weights."""
    other = (
        "perceptual=squeezenet (5 MB), or perceptual=none"
        if backbone == "vgg19"
        else "perceptual=none"
    )
    return f"get {URLS[backbone]} and add perceptual.weights=PATH, or use {other}"


def prepare_images(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Prepares (N,C,H,W) in [-1,1] as ImageNet's networks know images, (N,3,h,w).

    Alpha is dropped over white. Small images are enlarged by a whole factor.

    Args:
        x: images; C is 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA).
        mean: of each channel.
        deviation: of each channel.

    Raises:
        ValueError: for another C.
    """
    channels = x.shape[1]
    if channels not in (1, 2, 3, 4):
        raise ValueError(
            f"images of {channels} channels have no perceptual features: use 1 to 4, or "
            "perceptual=none"
        )
    x = (x + 1) / 2
    if channels in (2, 4):
        colour = x[:, :-1]
        alpha = x[:, -1:]
        x = colour * alpha + (1 - alpha)
    x = (x - mean) / deviation  # grey is repeated by the broadcast
    # Rounded up: the least whole factor at which all pooling layers have something left.
    factor = -(-SMALLEST // min(x.shape[2:]))
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="nearest")


def gram(features: Tensor) -> Tensor:
    """Computes the products of channels: (N,C,H,W) -> (N,C,C), in float32.

    They are averaged over spatial positions and channels (Johnson 2016, section 3.2).
    """
    _, c, h, w = features.shape
    flat = features.float().flatten(2)
    # Sums of so many products leave bf16's precision.
    with torch.autocast(features.device.type, enabled=False):
        return flat @ flat.transpose(1, 2) / (c * h * w)
