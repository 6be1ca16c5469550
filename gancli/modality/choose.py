"""Which kind of item a config's part `dataset` means: the only place that asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gancli.errors import UserError
from gancli.modality.audio import Audio, Spectrograms
from gancli.modality.base import Modality
from gancli.modality.images import Images
from gancli.modality.points import Points
from gancli.modality.series import Series
from gancli.modality.text import UNITS, Text

if TYPE_CHECKING:
    pass


KINDS = (Images.kind, Points.kind, Series.kind, Text.kind, Audio.kind)
# of the part `dataset`, beside kind
KEYS = (
    *("scale", "shift", "names", "bits", "shown", "value_range", "alphabet", "units"),
    *("rate", "spectrogram", "hop", "floor", "bin_mean", "bin_deviation"),
)


def make_modality(dataset: Mapping[str, Any]) -> Modality:
    """Chooses how items are treated by a config's part `dataset`, which alone decides.

    Raises UserError for a kind that there is not.
    """
    kind = dataset.get("kind", "image")
    if kind == "image":
        return Images(
            bits=16 if dataset.get("bits") == 16 else 8,
            shown=tuple(dataset.get("shown") or ()),
            deep=dataset.get("bits") is not None,
            value_range=tuple(map(float, dataset.get("value_range") or ())),
        )
    if kind == "points":
        return Points(scale=dataset.get("scale", 1.0))
    if kind == "series":
        return Series(
            scale=as_tuple(dataset.get("scale", 1.0)),
            shift=as_tuple(dataset.get("shift", 0.0)),
            names=tuple(map(str, dataset.get("names") or ())),
        )
    if kind == "text":
        channels = dataset.get("channels")
        return Text(
            tokens=channels if isinstance(channels, int) else 0,
            alphabet=tuple(map(str, dataset.get("alphabet") or ())),
            units=str(dataset.get("units", UNITS[0])),
        )
    if kind == "audio":
        rate = dataset.get("rate")
        if not dataset.get("spectrogram"):
            return Audio(rate=rate if isinstance(rate, int) else 16_000)
        hop = dataset.get("hop")
        return Spectrograms(
            rate=rate if isinstance(rate, int) else 16_000,
            hop=hop if isinstance(hop, int) else 128,
            floor=float(dataset.get("floor") or 1e-6),
            bin_mean=find_numbers(dataset.get("bin_mean")),
            bin_deviation=find_numbers(dataset.get("bin_deviation")),
        )
    raise UserError(f"dataset.kind={kind}", list_kinds())


def find_noun(kind: object) -> str:
    """Says what items of a kind are called; "images" for one that there is not."""
    if kind not in KINDS:
        return Images.noun
    return make_modality({"kind": kind}).noun


def list_kinds() -> str:
    """Names the kinds in words."""
    return f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"


def as_tuple(value: float | Sequence[float]) -> tuple[float, ...]:
    """Keeps one number for all features, or one for each."""
    return (float(value),) if isinstance(value, int | float) else tuple(map(float, value))


def find_numbers(value: object) -> tuple[float, ...]:
    """Finds the numbers of a list; () in what is none yet."""
    return tuple(map(float, value)) if isinstance(value, list | tuple) else ()
