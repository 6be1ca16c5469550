"""What may be asked of an evaluation, and which way each of its numbers is better.

Known without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from gancli.errors import Problem
from gancli.metrics.legend import find_line
from gancli.modality import Audio, Images, Points, Series, Text

if TYPE_CHECKING:
    from gancli.config.schema import MetricsConfig

# The kinds of data declare theirs
IMAGE_ITEMS = Images.items
POINT_ITEMS = Points.items
SERIES_ITEMS = Series.items
TEXT_ITEMS = Text.items
AUDIO_ITEMS = Audio.items
# Of data with labels
CLASS_ITEMS = ("classes", "cas", "marginal_by_class", "discriminative_by_class")
# Of images that are translated; lpips is then the distance to the target
PAIR_ITEMS = (
    "psnr",
    "ssim",
    "lpips",
    "silhouette",
    "cycle",
    "answers",
)
# The first of these that was measured is what `best: auto` follows
BEST = (
    "fid",
    "fd_",
    "w1",
    "swd",
    "psnr",
    "discriminative",
    "autocorrelation",
    "oracle_nll",
    "js3",
)
Way = Literal["min", "max"]  # where a number is better
WAYS: dict[str, Way] = {"lower": "min", "higher": "max"}
LEAST = 10  # images: fewer say nothing, and the inception score splits them in ten
PUBLISHED = {  # REFERENCE section 8: VEEGAN's table (Srivastava 2017) and PacGAN's (Lin 2018)
    "gancli.data.toy.Ring": (
        "modes of 8, high quality",
        (
            ("GAN (VEEGAN)", "1", "99.3 %"),
            ("Unrolled (VEEGAN)", "7.6", "35.6 %"),
            ("VEEGAN", "8", "52.9 %"),
            ("GAN (PacGAN)", "6.3", "98.2 %"),
            ("PacGAN2", "7.9", "95.6 %"),
            ("PacGAN4", "7.8", "95.9 %"),
            ("a perfect generator", "8", "98.889 %"),
        ),
    ),
    "gancli.data.toy.Grid": (
        "modes of 25, high quality",
        (
            ("GAN (VEEGAN)", "3.3", "0.5 %"),
            ("Unrolled (VEEGAN)", "23.6", "16 %"),
            ("VEEGAN", "24.6", "40 %"),
            ("GAN (PacGAN)", "17.3", "94.8 %"),
            ("PacGAN2", "23.8", "91.3 %"),
            ("PacGAN4", "24.8", "93.6 %"),
            ("a perfect generator", "25", "98.889 %"),
        ),
    ),
    "gancli.data.stacked.StackedMNIST": (
        "modes of 1000, KL",
        (
            ("DCGAN (VEEGAN)", "99", "3.40"),
            ("ALI (VEEGAN)", "16", "5.40"),
            ("Unrolled (VEEGAN)", "48.7", "4.32"),
            ("VEEGAN", "150", "2.95"),
            ("DCGAN (PacGAN)", "78.9", "4.50"),
            ("PacDCGAN2", "1000", ".06"),
            ("PacDCGAN4", "1000", ".07"),
            ("R3GAN", "1000", ".029"),
            ("a perfect generator", "1000", ".019"),
        ),
    ),
}


def better(key: str) -> Way | None:
    """Says where a value of this name is better.

    Returns:
        None where it is neither: a spread, or an unknown name.
    """
    line = find_line(key)
    return None if line is None else WAYS.get(line.better)


def best_key(spec: MetricsConfig, values: dict[str, float]) -> tuple[str, Way] | None:
    """Finds the value that the best checkpoint follows, and where it is better.

    Returns:
        None where it was not measured, or nothing is to be followed.
    """
    key = spec.best
    if key == "auto":
        key = next(
            (
                name
                for prefix in BEST
                for name in values
                if name.startswith(prefix) and "/" not in name
            ),
            None,
        )
    if key is None or key not in values:
        return None
    mode = spec.best_mode or better(key)
    return (key, mode) if mode else None


def unknown_items(spec: object) -> list[Problem]:
    """Finds names in `items` of a part `metrics` that are none, as (message, hint).

    What is no list of names is told by the check of types.
    """
    kinds = (*IMAGE_ITEMS, *POINT_ITEMS, *SERIES_ITEMS, *TEXT_ITEMS, *AUDIO_ITEMS, *PAIR_ITEMS)
    known = tuple(dict.fromkeys(kinds))
    items = spec.get("items") if isinstance(spec, dict) else None
    names = items if isinstance(items, list) else []
    return [
        (f"metrics.items: there is no {name!r}", f"there are {', '.join(known)}")
        for name in names
        if isinstance(name, str) and name not in known
    ]


def problems(spec: dict[str, Any]) -> list[Problem]:
    """Finds what no single value of a part `metrics` shows, as (message, hint)."""
    best = spec["best"]
    if best in spec.get("own", {}):
        return []  # its class says
    if best not in (None, "auto") and spec["best_mode"] is None and better(best) is None:
        return [
            (
                f"metrics.best={best}: is more of it better, or less?",
                "add metrics.best_mode=max or min",
            )
        ]
    return []


def published(target: str) -> list[str]:
    """Lists what others reached on the toy data set with this `_target_`; [] for other data."""
    words, rows = PUBLISHED.get(target, ("", ()))
    lines = [f"{method:<22}" + "".join(f"{cell:>10}" for cell in cells) for method, *cells in rows]
    return [f"published ({words})", *lines] if rows else []
