"""The sampling options that gancli's games share, one by one."""

from __future__ import annotations

from typing import Literal

from gancli.game import Option, Stage

TRUNCATION = Option(
    name="truncation",
    type=float | None,
    help="bound on each number of a latent, such as 0.5: better images, fewer kinds",
)
STYLE_TRUNCATION = Option(
    name="truncation",
    type=float | None,
    help="weight psi of styles against w_avg, 0 to 1: better images, fewer kinds",
)
TRUNCATED_LAYERS = Option(
    name="truncated_layers",
    type=int | None,
    help="truncation for the styles of only the first so many layers",
)
NOISE = Option(
    name="noise",
    type=Literal["random", "fixed", "none"] | None,
    help="inside the generator: random for each image, one fixed for all, or none",
    default="random",
    stage=Stage.SAMPLE,
    still="fixed",
)
LEVEL = Option(
    name="level",
    type=int | None,
    help="the images as they are after so many levels, 0 the coarsest; null: the last",
    stage=Stage.SAMPLE,
)
LEVELS = Option(
    name="levels",
    type=int | None,
    help="so many images at each level, a row a level: levels.png",
    stage=Stage.PICTURES,
)
MIX = Option(
    name="mix",
    type=int | str | None,
    help="layers that take another latent's styles, coarse, middle, fine or FIRST-LAST: mixing.png",
    stage=Stage.PICTURES,
)
DOMAIN = Option(
    name="domain",
    type=Literal["a", "b", "both"] | None,
    help="images of domain a, of b, or both side by side; null: a",
    stage=Stage.SAMPLE,
)
