"""An image of any size through a network that translates.

Padded to what the network takes, in tiles where it allows that, else shrunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.data.derived import fill_holes
from gancli.errors import UserError
from gancli.game import Batch, Game
from gancli.networks.inpainting import find_middle
from gancli.networks.translation import PresentDropout, Translator
from gancli.render.grids import to_uint8
from gancli.seeding import fork_random

# Of a network that halves nothing: what is farther away than this counts for less than rounding
# does. Influence fades like a normal distribution whose width grows with the root of the depth
# alone (Luo 2016, section 2.2),
# while `reach` grows with the depth.
FAR = 64
Tile = int | Literal["auto", "off"]
# One image's inputs, of a size that the network takes -> (1,C,scale * h,scale * w)
Translate = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class Way:
    """How an image goes through a network.

    size: (H,W) at which the network meets it, before padding. core: side of the middle of a tile,
    which is kept; 0: no tiles
    context: pixels around the middle that are thrown away again. All in pixels of the source
    """

    size: tuple[int, int]
    core: int = 0
    context: int = 0


def find_translator(game: Game, generator: nn.Module, direction: str) -> Translator:
    """Finds the network of a direction, which tells which sizes it takes.

    Raises:
        UserError: It is another kind of network, of a game of the user's.
    """
    network = game.translator(generator, direction)
    if not isinstance(network, Translator):
        raise UserError(
            f"the network that translates is a {type(network).__name__}, which does not tell the "
            "sizes that it takes",
            "derive it from gancli.networks.translation.Translator",
        )
    return network


def is_noisy(network: Translator) -> bool:
    """Does the same source give another answer each time?"""
    return network.noise_channels > 0 or any(
        isinstance(part, PresentDropout) for part in network.modules()
    )


def is_tileable(network: Translator) -> bool:
    """Says whether tiles fit together: noise that is drawn for each would show at the seams."""
    return network.tileable and not is_noisy(network)


def explain_whole_only(network: Translator) -> str:
    """Says why this network takes no tiles."""
    if network.size is not None:
        return f"this generator takes {network.size[1]}x{network.size[0]} pixels only"
    if is_noisy(network):
        return "this generator's noise is drawn for a whole image"
    if network.tileable:
        return (
            f"what this generator makes of a pixel depends on all others within {network.reach} "
            "pixels"
        )
    return "this generator sees whole images only, since it normalises by their mean and variance"


def compute_context(network: Translator) -> int:
    """Computes how many pixels around a tile change what becomes of it.

    A multiple of what the network takes.
    """
    reach = network.reach
    assert reach is not None, "a network that takes tiles tells how far it sees"
    return round_up(min(reach, FAR) if network.multiple == 1 else reach, network.multiple)


def round_up(n: int, multiple: int) -> int:
    """Rounds n up to a multiple of `multiple`."""
    return -(-n // multiple) * multiple


def choose_way(
    network: Translator, size: tuple[int, int], *, tile: Tile, max_size: int | None
) -> Way:
    """Chooses how an image of `size` (H,W) goes through: whole, in tiles, or shrunk.

    tile: side of a tile with its surroundings, in pixels of the source; auto: tiles of max_size
    where an image is larger
    max_size: side of the square of output pixels that the network works on at once; None: whatever
    comes
    Raises UserError for a tile that the network does not allow.
    """
    if network.size is not None:
        if isinstance(tile, int):
            raise UserError(
                f"tile={tile} does not apply to this checkpoint: {explain_whole_only(network)}",
                "leave tile= out",
            )
        return Way(network.size)
    if isinstance(tile, int):
        core = compute_core(network, tile)
        return Way(size, core, compute_context(network)) if max(size) > tile else Way(size)
    if max_size is None:
        return Way(size)
    area = size[0] * size[1] * network.scale**2
    most = max_size**2
    if area <= most and fits_within(network, size, 2 * most):
        return Way(size)
    if tile == "auto" and is_tileable(network):
        context = compute_context(network)
        core = max_size // network.scale // network.multiple * network.multiple - 2 * context
        if core > 0:
            return Way(size, core, context)
    share = min(1.0, max_size / area**0.5)
    small = [max(1, int(side * share)) for side in size]
    if not fits_within(network, small, 2 * most):
        # A strip, padded to what the network takes at least: then its shape has to give
        longer = small.index(max(small))
        small[longer] = max(1, 2 * most // network.scale**2 // pad_side(small[1 - longer], network))
    return Way((small[0], small[1]))


def fits_within(network: Translator, size: Sequence[int], most: int) -> bool:
    """Says whether the output for the padded image has `most` pixels or fewer."""
    return pad_side(size[0], network) * pad_side(size[1], network) * network.scale**2 <= most


def compute_core(network: Translator, tile: int) -> int:
    """Computes the middle of tiles of a given side. Raises UserError where there is none."""
    if not is_tileable(network):
        raise UserError(
            f"tile={tile} does not apply to this checkpoint: {explain_whole_only(network)}",
            "leave tile= out; max_size= bounds what it takes",
        )
    context = compute_context(network)
    core = tile // network.multiple * network.multiple - 2 * context
    if core <= 0:
        raise UserError(
            f"tile={tile} is too small: {context} pixels on each side of a tile are its "
            "surroundings",
            f"give {round_up(4 * context + network.multiple, network.multiple)}, or tile=auto",
        )
    return core


def scale_pixels(pixels: np.ndarray) -> Tensor:
    """Turns (C,H,W) uint8 into (1,C,H,W) in [-1,1]."""
    return torch.from_numpy(pixels[None].copy()).float().sub_(127.5).mul_(1 / 127.5)


def make_inputs(colours: np.ndarray, holes: Tensor | None) -> Batch:
    """Turns (C,H,W) uint8 into "a" and, where there are holes to paint over, "mask"."""
    image = scale_pixels(colours)
    return {"a": image} if holes is None else {"a": fill_holes(image, holes), "mask": holes}


def paint(
    game: Game,
    generator: nn.Module,
    inputs: Batch,
    way: Way,
    *,
    direction: str,
    extras: Batch,
    seed: int,
    spare: int = 0,
    options: Mapping[str, object] | None = None,
) -> np.ndarray:
    """Translates one image, piece by piece: floats of the whole would be four times as much.

    Args:
        game: The game of the checkpoint.
        generator: The generator that paints, on the device where it works.
        inputs: What `make_inputs` gives, of one image.
        way: What `choose_way` gives for its size.
        direction: "ab", or "ba" for the way back.
        extras: Inputs that every piece gets whole, such as "style".
        seed: Of the generator's noise, if it has some.
        spare: Channels behind the colours that the caller fills.
        options: Values of the game's translation options.

    Returns:
        (H,W,C) uint8
    """
    network = find_translator(game, generator, direction)
    given = {"direction": direction} | dict(options or {})
    device = next(generator.parameters()).device

    def through(window: Batch) -> Tensor:
        batch = {key: x.to(device) for key, x in (window | extras).items()}
        return game.sample(batch, generator, **given)

    height, width = (network.scale * side for side in inputs["a"].shape[2:])
    canvas = np.empty((height, width, network.channels_out + spare), np.uint8)
    with torch.no_grad(), fork_random(seed, device):
        for top, left, part in make_pieces(inputs, network, through, way):
            canvas[top : top + part.shape[1], left : left + part.shape[2], : len(part)] = (
                to_uint8(part).permute(1, 2, 0).numpy()
            )
    return canvas


def make_pieces(
    inputs: Batch, network: Translator, translate: Translate, way: Way
) -> Iterator[tuple[int, int, Tensor]]:
    """Yields the parts that make up the whole (C,scale * H,scale * W).

    inputs: "a" (1,C,H,W) in [-1,1] and, where there are holes, "mask" (1,1,H,W). Each part is its
    top, its left and (C,h,w) on the CPU.
    """
    size = tuple(inputs["a"].shape[2:])
    if network.size is not None and "mask" in inputs:
        yield 0, 0, fill_window(inputs, network, translate)[0]
    elif way.size != size:
        made = complete(resize_inputs(inputs, way.size), network, translate)
        made = resize_result(made, (network.scale * size[0], network.scale * size[1]))
        if "mask" in inputs:  # what was not hidden has lost nothing
            made = torch.lerp(inputs["a"], made, inputs["mask"])
        yield 0, 0, made[0]
    elif way.core:
        yield from make_tiles(inputs, network, translate, way)
    else:
        yield 0, 0, complete(inputs, network, translate)[0]


def complete(inputs: Batch, network: Translator, translate: Translate) -> Tensor:
    """Translates the whole image at once.

    Mirrored beyond its right and lower borders to a size that the network takes, and cut back.
    """
    height, width = inputs["a"].shape[2:]
    to_height = pad_side(height, network)
    to_width = pad_side(width, network)
    made = translate(cut(inputs, (0, to_height), (0, to_width))).float().cpu()
    return made[:, :, : network.scale * height, : network.scale * width]


def pad_side(side: int, network: Translator) -> int:
    """Computes the side that the network is given for one of `side` pixels."""
    return round_up(max(side, network.smallest), network.multiple)


def make_tiles(
    inputs: Batch, network: Translator, translate: Translate, way: Way
) -> Iterator[tuple[int, int, Tensor]]:
    """Translates tile by tile.

    Tiles end where the padded image does, so that borders are met as in the whole image.
    """
    sides = inputs["a"].shape[2:]
    scale = network.scale
    spans = [
        [
            (
                at,
                min(at + way.core, side),
                max(0, min(at - way.context, pad_side(side, network) - pad_side(1, network))),
                min(at + way.core + way.context, pad_side(side, network)),
            )
            for at in range(0, side, way.core)
        ]
        for side in sides
    ]
    for top, bottom, above, below in spans[0]:
        for left, right, before, behind in spans[1]:
            made = translate(cut(inputs, (above, below), (before, behind)))
            made = made[
                0,
                :,
                scale * (top - above) : scale * (bottom - above),
                scale * (left - before) : scale * (right - before),
            ]
            yield scale * top, scale * left, made.float().cpu()


def cut(inputs: Batch, rows: tuple[int, int], columns: tuple[int, int]) -> Batch:
    """Cuts a window (from, before), which may reach beyond the image on any side.

    There it is mirrored, however often.
    """
    height, width = inputs["a"].shape[2:]
    inside = rows[0] >= 0 and columns[0] >= 0 and rows[1] <= height and columns[1] <= width
    if inside:
        return {key: x[:, :, slice(*rows), slice(*columns)] for key, x in inputs.items()}
    return {
        key: x.index_select(2, mirror_indices(height, *rows)).index_select(
            3, mirror_indices(width, *columns)
        )
        for key, x in inputs.items()
    }


def mirror_indices(n: int, start: int, stop: int) -> Tensor:
    """Finds which of n pixels stand at start ... stop - 1 of the mirrored image.

    It is mirrored about its outermost pixels.
    """
    period = max(1, 2 * (n - 1))
    at = torch.arange(start, stop).remainder(period)
    return torch.where(at < n, at, period - at)


def resize_inputs(inputs: Batch, size: tuple[int, int]) -> Batch:
    """Resizes the image, bicubic with antialiasing, and its mask.

    A pixel that any part of a hole falls into is hidden.
    """
    small = {
        "a": F.interpolate(
            inputs["a"], size, mode="bicubic", antialias=True, align_corners=False
        ).clamp(-1, 1)
    }
    if "mask" in inputs:
        small["mask"] = (F.interpolate(inputs["mask"], size, mode="area") > 0).float()
        small["a"] = fill_holes(small["a"], small["mask"])
    return small


def resize_result(made: Tensor, size: tuple[int, int]) -> Tensor:
    """Brings a result (1,C,H,W) back to (h, w), larger or, in a network of one size, smaller."""
    return F.interpolate(made, size, mode="bicubic", antialias=True, align_corners=False).clamp(
        -1, 1
    )


def fill_window(inputs: Batch, network: Translator, translate: Translate) -> Tensor:
    """Fills the hole from a window around it: the network fills the middle of one size.

    The hole lies in its middle, as the network wants it.
    """
    assert network.size is not None
    height, width = network.size
    mask = inputs["mask"]
    rows, columns = (mask[0, 0].amax(1 - dim).nonzero()[:, 0].tolist() for dim in (0, 1))
    hidden = find_middle(network.size, network.overlap)
    factor = max(
        1.0,
        *(
            (line[-1] + 1 - line[0]) / (part.stop - part.start)
            for line, part in zip((rows, columns), hidden, strict=True)
        ),
    )
    h = math.ceil(factor * height)
    w = math.ceil(factor * width)
    top = (rows[0] + rows[-1] + 1 - h) // 2
    left = (columns[0] + columns[-1] + 1 - w) // 2
    window = resize_inputs(cut(inputs, (top, top + h), (left, left + w)), (height, width))
    middle = torch.zeros(1, 1, height, width)
    middle[:, :, hidden[0], hidden[1]] = 1
    made = resize_result(
        translate({"a": fill_holes(window["a"], middle), "mask": middle}).float().cpu(), (h, w)
    )
    whole = inputs["a"].clone()
    inner = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    made = made[
        :, :, rows[0] - top : rows[-1] + 1 - top, columns[0] - left : columns[-1] + 1 - left
    ]
    whole[:, :, inner[0], inner[1]] = torch.lerp(
        whole[:, :, inner[0], inner[1]], made, mask[:, :, inner[0], inner[1]]
    )
    return whole
