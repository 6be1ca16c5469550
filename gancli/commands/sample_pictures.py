"""What gan sample draws beside the images: interpolations, sweeps, mixed styles, levels, walks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gancli.errors import UserError
from gancli.modality import make_modality

if TYPE_CHECKING:
    from torch import Tensor

    from gancli.checkpoint import Loaded
    from gancli.game import Batch, Game

COLUMNS = 8  # of the grid
MIXED = 6  # rows and columns of mixing.png
LEG_S = 2.0  # seconds of a walk from one latent to the next


class Picture(NamedTuple):
    """A grid of images, some of them made otherwise than the rest."""

    parts: list[
        tuple[Batch, dict]
    ]  # inputs, row by row, and the options of the game's sample for them
    columns: int
    corner: bool = True  # is the first tile shown?


class Walk(NamedTuple):
    """An animation of some images side by side."""

    inputs: Batch  # frame by frame
    tiles: int  # in a frame
    columns: int
    given: dict


def given_to(game: Game, options: dict) -> dict[str, object]:
    """Picks the options of the game's `sample` that were asked for.

    Raises UserError for a level that the game has not.
    """
    from gancli.game import Stage
    from gancli.inference.sampling import pick_values

    level = options["level"]
    if level is not None and level >= game.levels:
        raise UserError(
            f"level={level} is none of this checkpoint's", f"give 0 to {game.levels - 1}"
        )
    return pick_values(game, options, Stage.SAMPLE)


def still(game: Game, options: dict) -> dict[str, object]:
    """Gives the options as `given_to`, with randomness held fixed unless the user asks for it."""
    from gancli.inference.sampling import hold_still

    return hold_still(game) | given_to(game, options)


def draw(game: Game, n: int, label: Tensor | None, options: dict, *, shift: int = 0) -> Batch:
    """Draws what n images start from.

    label: of all images, or None; shift: of the seed, for other latents.
    """
    from gancli.game import Stage
    from gancli.inference import sampling

    given = sampling.pick_values(game, options | {"label": None}, Stage.INPUTS)

    return sampling.draw_inputs(
        game,
        n,
        seed=options["seed"] + shift,
        label=None if label is None else label[:n],
        options=given,
    )


def begun(game: Game, label: Tensor | None, options: dict) -> tuple[Batch, dict[str, object]]:
    """Draws what the images start from, with the options of the game's `sample` for them.

    Raises UserError for a latent of another model.
    """
    if options["latent"] is None:
        return draw(game, options["n"], label, options), given_to(game, options)
    from gancli.inference.projection import read_latent

    inputs, planes = read_latent(options["latent"], game)
    planes = [plane.to(next(game.parameters()).device) for plane in planes]
    return inputs, still(game, options) | (
        {"noise": planes} if planes and options["noise"] is None else {}
    )


def first_of(inputs: Batch, n: int) -> Batch:
    """Takes the first inputs of all; they are not drawn anew, or they would be others."""
    return {key: value[:n] for key, value in inputs.items()}


def series(game: Game, inputs: Batch, label: Tensor | None, options: dict) -> dict[str, Picture]:
    """Prepares the pictures that were asked for, of the first of the images, by file name.

    Raises UserError for what the game has not.
    """
    from gancli.inference import sampling

    rows = min(COLUMNS, options["n"])
    given = still(game, options)
    found = {}
    if options["interpolate"] is not None:
        ends = first_of(inputs, rows), draw(game, rows, label, options, shift=1)
        found["interpolation"] = Picture(
            [(sampling.interpolate(*ends, options["interpolate"]), given)], options["interpolate"]
        )
    if options["sweep"] is not None:
        swept = sampling.sweep(game, first_of(inputs, rows), options["sweep"], options["steps"])
        found["sweep"] = Picture([(swept, given)], len(swept[options["sweep"]]) // rows)
    if options["mix"] is not None:
        first, last = sampling.find_layers(game, options["mix"])
        side = min(MIXED, options["n"])
        # A source's style is made with the row's label.
        one = {} if label is None else {"label": label[:1].expand(side, *label.shape[1:])}
        rows_of = first_of(inputs, side) | one
        sources = draw(game, side, label, options, shift=1) | one
        mixed = sampling.mix_rows(game, rows_of, sources, first=first, last=last)
        found["mixing"] = Picture([(mixed, given)], side + 1, corner=False)
    if options["levels"] is not None:
        columns = min(options["levels"], options["n"])
        found["levels"] = Picture(
            [(first_of(inputs, columns), given | {"level": k}) for k in range(game.levels)], columns
        )
    return found


def walked(loaded: Loaded, inputs: Batch, label: Tensor | None, options: dict) -> Walk | None:
    """Prepares the walk that was asked for: of 16 images side by side, fewer where they are large.

    Raises UserError.
    """
    from gancli.data.base import pair
    from gancli.inference import sampling
    from gancli.render import video

    if options["walk"] is None:
        return None
    spec = loaded.tree["config"]["dataset"]
    modality = make_modality(spec)
    if not modality.pixels:
        raise UserError(
            f"walk={options['walk']} does not apply to this checkpoint: its model makes "
            f"{modality.noun}",
            "leave walk= out",
        )
    video.check_name(options["film"])
    height, width = pair(spec["resolution"])
    side = max(1, min(4, 1024 // max(height, width)))
    tiles = min(options["n"], side * side)
    columns = math.ceil(tiles**0.5)
    legs = max(3, round(options["walk"] / LEG_S))  # between two it would go back the way it came
    frames = max(legs, round(options["walk"] * video.FPS))
    factor = math.ceil(tile_size(columns) / min(height, width))
    video.check_size(
        frames, (columns * width * factor, math.ceil(tiles / columns) * height * factor)
    )
    stops = [
        first_of(inputs, tiles),
        *(draw(loaded.game, tiles, label, options, shift=k) for k in range(1, legs)),
    ]
    return Walk(sampling.walk(stops, frames), tiles, columns, still(loaded.game, options))


def tile_size(columns: int) -> int:
    """Gives a tile's side in pixels, so that `columns` of them are 256 wide."""
    return 256 // columns


def images_of(loaded: Loaded, inputs: Batch, seed: int, given: dict) -> Iterator[Tensor]:
    """Yields images (C,H,W) one after the other: 50,000 need not fit into memory."""
    from gancli.inference import sampling

    for batch in sampling.generate(loaded.game, loaded.generator, inputs, seed=seed, given=given):
        yield from batch


def write_picture(loaded: Loaded, picture: Picture, path: Path, *, seed: int) -> None:
    """Writes the grid of all parts of a picture."""
    import torch

    from gancli.render.grids import save_png

    images = torch.stack(
        [
            image
            for inputs, given in picture.parts
            for image in images_of(loaded, inputs, seed, given)
        ]
    )
    if not picture.corner:
        images[0] = 0  # the grey of the gaps
    modality = make_modality(loaded.tree["config"]["dataset"])
    save_png(modality.picture(images, None, columns=picture.columns), path)


def write_walk(loaded: Loaded, walk: Walk, path: Path, *, seed: int) -> None:
    """Writes a walk through the latents as an animation."""
    import torch

    from gancli.render.grids import grid
    from gancli.render.video import write_animation

    modality = make_modality(loaded.tree["config"]["dataset"])
    images = images_of(loaded, walk.inputs, seed, walk.given)
    frames = []
    while tiles := list(islice(images, walk.tiles)):
        gap = 2 if walk.tiles > 1 else 0
        frames.append(
            grid(
                modality.show(torch.stack(tiles)),
                columns=walk.columns,
                gap=gap,
                min_tile=tile_size(walk.columns),
            )
        )
    write_animation(frames, path)
