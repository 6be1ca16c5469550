"""LPIPS: how different two images look (Zhang 2018, version 0.1).

It sums distances between a SqueezeNet's activations.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor, nn

from gancli.errors import UserError
from gancli.metrics.ssim import draw_pairs

CHANNELS = (64, 128, 256, 384, 384, 512, 512)
# Of torchvision's squeezenet1_1().features: the last layer of each slice
TAPS = (
    1,
    4,
    7,
    9,
    10,
    11,
    12,
)
SHIFT = (-0.030, -0.088, -0.188)  # ImageNet's mean and deviation for images in [-1,1]
SCALE = (0.458, 0.448, 0.450)
SMALLEST = 17  # pixels: below, a pooling layer has nothing left
BATCH = 64


def state_of(path: str | Path, what: str) -> dict[str, Tensor]:
    """Reads a file of tensors without running code. Raises UserError.

    Args:
        path: The file.
        what: What it ought to hold, for messages.
    """
    if not Path(path).is_file():
        raise UserError(
            f"LPIPS needs {what}, and there is no file {path}", "give the path of the file"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"LPIPS cannot read {what} from {path}", "it may be damaged, or hold more than tensors"
        ) from error
    if not isinstance(state, dict) or not all(torch.is_tensor(value) for value in state.values()):
        raise UserError(
            f"LPIPS cannot use {path}: it does not hold {what}", "give the path of the file"
        )
    return state


class Lpips(nn.Module):
    """The distance as a network. Nothing in it is trained; gradients reach the images.

    Args:
        backbone: A file with the state dict of torchvision's SqueezeNet 1.1 (ImageNet).
        heads: The LPIPS v0.1 file for it.

    Raises:
        UserError: A file is missing, unreadable or of another network.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: str | Path, heads: str | Path):
        super().__init__()
        # Not needed, and slow to import, before LPIPS is asked for
        from torchvision.models import (
            squeezenet1_1,
        )

        self.features = squeezenet1_1(weights=None).features
        weights = {
            key.removeprefix("features."): value.float()
            for key, value in state_of(backbone, "the weights of SqueezeNet 1.1").items()
            if key.startswith("features.")
        }
        state = state_of(heads, "the LPIPS v0.1 heads for SqueezeNet")
        wanted = {f"lin{k}.model.1.weight": (1, c, 1, 1) for k, c in enumerate(CHANNELS)}
        if {key: tuple(value.shape) for key, value in state.items()} != wanted:
            raise UserError(
                f"{heads} does not hold the LPIPS v0.1 heads for SqueezeNet",
                "give the file for SqueezeNet",
            )
        try:
            self.features.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(
                f"{backbone} does not hold the weights of SqueezeNet 1.1", "give torchvision's file"
            ) from error
        for k, key in enumerate(wanted):
            self.register_buffer(f"head{k}", state[key].float())
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def activations(self, x: Tensor) -> list[Tensor]:
        """Returns each slice's activations of (N,C,H,W), with unit length along the channels."""
        if x.shape[1] not in (1, 3) or min(x.shape[-2:]) < SMALLEST:
            raise UserError(
                f"LPIPS takes grey or RGB images of {SMALLEST}x{SMALLEST} pixels or more, and "
                f"these have {x.shape[1]} channels and {x.shape[-1]}x{x.shape[-2]} pixels",
                "use other images",
            )
        # Grey shows in all three channels alike.
        x = (x.expand(-1, 3, -1, -1) - self.shift) / self.scale
        units = []
        for k, layer in enumerate(self.features):
            x = layer(x)
            if k in TAPS:
                # A dead pixel, all channels 0, would be 0 / 0.
                units.append(x / (x.square().sum(1, keepdim=True) + 1e-20).sqrt())
        return units

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns the distance of each pair: (N,), at least 0, and 0 on equal images.

        Args:
            x: (N,C,H,W) in [-1,1], C 1 or 3.
            y: Likewise.

        Raises:
            UserError: A side is below 17 pixels.
        """
        assert x.shape == y.shape, "images are compared one by one"
        heads = [self.get_buffer(f"head{k}") for k in range(len(CHANNELS))]
        layers = zip(self.activations(x), self.activations(y), heads, strict=True)
        # A weight for each channel, then the mean over positions: each layer counts, whatever its
        # size.
        distances = [((a - b).square() * head).sum(1).mean((1, 2)) for a, b, head in layers]
        return functools.reduce(torch.add, distances)


@torch.no_grad()
def lpips_diversity(
    lpips: Lpips, images: Tensor, pairs: int, rng: torch.Generator, labels: Tensor | None = None
) -> dict[str, float]:
    """Measures LPIPS between random pairs of images; 0 is total collapse.

    It is to be compared with the same of real images.

    Args:
        lpips: The distance.
        images: uint8 (N,C,H,W)
        pairs: How many.
        rng: Draws them.
        labels: (N,): pairs are of one class; None: of any two images.

    Returns:
        {"mean": .., "std": ..} over pairs.

    Raises:
        UserError: There is no pair to draw, or the images are too small.
    """
    assert images.dtype == torch.uint8 and images.ndim == 4
    device = lpips.shift.device
    values = []
    for a, b in zip(
        *(x.split(BATCH) for x in draw_pairs(len(images), pairs, rng, labels)), strict=True
    ):
        a, b = (
            images[x.to(images.device)].to(device, lpips.shift.dtype) / 127.5 - 1 for x in (a, b)
        )
        values.append(lpips(a, b).cpu().double())
    found = torch.cat(values)
    return {"mean": found.mean().item(), "std": found.std(correction=0).item()}
