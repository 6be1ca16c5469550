"""How one kind of item is fed, shown, saved and judged.

The set is closed, and `dataset.kind` chooses: no other module asks which kind it is. Known without
torch, which only the methods need.
"""

from gancli.modality.audio import Audio, Spectrograms
from gancli.modality.base import Modality
from gancli.modality.choose import KEYS, KINDS, find_noun, list_kinds, make_modality
from gancli.modality.images import Images
from gancli.modality.points import Points
from gancli.modality.series import Series
from gancli.modality.text import END, UNITS, Text

__all__ = [
    "END",
    "KEYS",
    "KINDS",
    "UNITS",
    "Audio",
    "Images",
    "Modality",
    "Points",
    "Series",
    "Spectrograms",
    "Text",
    "find_noun",
    "list_kinds",
    "make_modality",
]
