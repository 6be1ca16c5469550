"""One image of any mode and size through a model that translates: its colours, alpha and holes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.data.decode import resize_all, to_channels
from gancli.errors import UserError
from gancli.game import Batch, Game
from gancli.inference.tiling import Way, choose_way, make_inputs, paint, scale_pixels
from gancli.networks.translation import Translator

OPAQUE = 128  # a pixel of less alpha counts as transparent


@dataclass(frozen=True)
class Source:
    """One image, ready to be translated.

    Attributes:
        inputs: "a" (1,C,H,W) in [-1,1] and, where holes are filled, "mask" (1,1,H,W).
        alpha: (1,H,W) uint8, which goes around the network; None where the image has none, or
            where it says what is to be filled.
        size: (H,W) in pixels.
    """

    inputs: Batch
    alpha: np.ndarray | None
    size: tuple[int, int]


def require_translating(game: Game, direction: str, *, instead: str) -> None:
    """Refuses a game that does not translate in a direction.

    Args:
        game: The game of a checkpoint.
        direction: "ab", or "ba" for the way back.
        instead: What makes images with a game that does not translate, for the hint.

    Raises:
        UserError: The game makes images out of noise, or does not know the direction.
    """
    if not game.directions:
        raise UserError(
            "this checkpoint's model makes images out of noise, and not out of images", instead
        )
    if direction not in game.directions:
        raise UserError(
            f"direction={direction} does not apply to this checkpoint: its model knows "
            f"{' and '.join(game.directions)} alone",
            "leave direction out",
        )


def find_transparent(pixels: np.ndarray) -> np.ndarray:
    """Finds where (C,H,W) uint8 is transparent: (H,W) bool; nowhere without alpha."""
    if len(pixels) not in (2, 4):
        return np.zeros(pixels.shape[1:], bool)
    return pixels[-1] < OPAQUE


def find_white(pixels: np.ndarray) -> np.ndarray:
    """Finds what a mask (C,H,W) uint8 asks to fill: (H,W) bool."""
    return to_channels(pixels, 1)[0] >= 128


def prepare_source(
    pixels: np.ndarray, channels: int, *, hidden: np.ndarray | None, alpha_is_mask: bool
) -> Source:
    """Sets the colours apart from the alpha, and paints over the holes.

    Args:
        pixels: (C,H,W) uint8, of 1 to 4 channels.
        channels: Those of the model.
        hidden: (H,W) bool, what is to be filled; None where the model fills no holes.
        alpha_is_mask: Whether `hidden` was read from the alpha, which is then used up.
    """
    apart = channels in (1, 3) and len(pixels) in (2, 4)
    colours = to_channels(pixels, channels + apart)
    holes = None
    if hidden is not None:
        holes = torch.from_numpy(hidden.astype(np.float32))[None, None]
    return Source(
        make_inputs(colours[:channels], holes),
        colours[channels:] if apart and not alpha_is_mask else None,
        (pixels.shape[1], pixels.shape[2]),
    )


def prepare_style(
    network: Translator, pixels: np.ndarray, channels: int, *, name: str, max_size: int | None
) -> Tensor:
    """Brings the image whose style is taken to a size that the network can work on.

    Args:
        network: The network that translates.
        pixels: (C,H,W) uint8.
        channels: Those of the model.
        name: What the image is called in an error.
        max_size: Side of the square of pixels that the network works on at once; None: any.

    Returns:
        (1,C,h,w) in [-1,1]

    Raises:
        UserError: The image is too small.
    """
    image = scale_pixels(to_channels(pixels, channels))
    size = (image.shape[2], image.shape[3])
    if min(size) < network.smallest:
        raise UserError(
            f"{name} measures {size[1]}x{size[0]} pixels",
            f"its sides need {network.smallest} or more",
        )
    size = choose_way(network, size, tile="off", max_size=max_size).size
    small = F.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False)
    return small.clamp(-1, 1)


def prepare_pose(network: Translator, pixels: np.ndarray) -> Tensor:
    """Brings the image of a pose to what the network takes.

    Args:
        network: The network that translates.
        pixels: (C,H,W) uint8.

    Returns:
        (1,pose_channels,h,w) in [-1,1]

    Raises:
        UserError: The network knows poses as maps that no image holds.
    """
    if not 1 <= network.pose_channels <= 4:
        raise UserError(
            f"this checkpoint's model knows a pose as {network.pose_channels} maps of joints, "
            "which no image holds",
            "train with dataset.maps=sticks, or dataset=posed",
        )
    image = scale_pixels(to_channels(pixels, network.pose_channels))
    size = image.shape[2:] if network.size is None else network.size
    small = F.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False)
    return small.clamp(-1, 1)


def translate_source(
    game: Game,
    generator: nn.Module,
    source: Source,
    way: Way,
    *,
    direction: str,
    extras: Batch,
    seed: int,
    options: Mapping[str, object],
) -> np.ndarray:
    """Translates one image; its alpha is enlarged with it.

    Args:
        game: The game of the checkpoint.
        generator: The generator that paints.
        source: The image.
        way: How it goes through the network, from `choose_way`.
        direction: "ab", or "ba" for the way back.
        extras: Inputs that every tile gets whole, such as "style".
        seed: Of the generator's noise, if it has some.
        options: Values of the game's translation options.

    Returns:
        (H,W,C) uint8, with the alpha behind the colours.
    """
    canvas = paint(
        game,
        generator,
        source.inputs,
        way,
        direction=direction,
        extras=extras,
        seed=seed,
        options=options,
        spare=int(source.alpha is not None),
    )
    if source.alpha is not None:
        canvas[..., -1] = resize_all(source.alpha[None], canvas.shape[:2])[0, 0]
    return canvas
