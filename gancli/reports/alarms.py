"""What a survey of a data set should make its owner think of, in sentences."""

from __future__ import annotations

from gancli.data.base import size_words
from gancli.data.folder import Folder
from gancli.reports.survey import Survey

ENLARGED = 1.5  # times; below it nobody sees it
UNEVEN = 10  # times as many images in one class as in another
CUT = 0.25  # of an image's area, lost to the centre crop
SHARE = 0.05  # of the images; rarer troubles are counted, not alarms


def find_alarms(found: Survey) -> list[str]:
    """Finds all alarms, the worst first; empty if all is well."""
    return [*check_files(found), *check_labels(found), *check_pixels(found), *check_sizes(found)]


def collect_notes(found: Survey) -> list[str]:
    """Collects what is worth knowing, and no reason for alarm."""
    copies = sum(len(names) - 1 for names in found.duplicates)
    times = {len(names) for names in found.duplicates}
    often = f"{times.pop()} times" if len(times) == 1 else "more than once"
    seen = "training sees it" if copies == 1 else "training sees them"
    said = (
        [f"{count_words(copies, 'duplicate')}; {seen} {often}".replace("2 times", "twice")]
        if copies
        else []
    )
    return [*found.notes, *said]


def count_words(n: int, noun: str) -> str:
    """Counts something in words: "1 class", "2 classes"."""
    if n == 1:
        return f"{n:,} {noun}"
    return f"{n:,} {noun}es" if noun.endswith("s") else f"{n:,} {noun}s"


def check_files(found: Survey) -> list[str]:
    """Finds what is wrong with files."""
    said = []
    if found.bad:
        said.append(
            f"{len(found.bad):,} of {count_words(found.looked_at, 'file')} cannot be used; "
            "dataset.on_error=skip trains without them"
        )
    if found.mislabelled:
        said.append(
            f"{found.source.modality().count(len(found.mislabelled))} in more than one class: "
            f"{', '.join(found.mislabelled[0][:2])}"
        )
    return said


def check_labels(found: Survey) -> list[str]:
    """Finds what is wrong with labels."""
    if not found.labels or found.layouts:
        return []
    full = {name: n for name, n in found.labels.items() if n}
    if len(full) == 1:
        name = next(iter(full))
        where = (
            "every label is 0"
            if name == next(iter(found.labels))
            else f"every {found.source.modality().single} has the label {name}"
        )
        return [
            f"{where}: a conditional model has nothing to learn from it; dataset.classes=0 leaves "
            "labels out"
        ]
    said = []
    noun = found.source.modality().noun
    empty = [name for name, n in found.labels.items() if not n]
    if empty and found.looked_at == found.total:
        said.append(f"{count_words(len(empty), 'class')} without {noun}: {', '.join(empty[:5])}")
    if full and max(full.values()) > UNEVEN * min(full.values()):
        said.append(
            f"the classes are uneven: {max(full.values())} {noun} in the largest, "
            f"{min(full.values())} in the smallest"
        )
    return said


def check_pixels(found: Survey) -> list[str]:
    """Finds what is wrong with colours and contrast."""
    said: list[str] = []
    source = found.source
    if not source.modality().pixels or not found.images:
        return said
    if not isinstance(source, Folder) and found.kept is not None and found.kept.is_floating_point():
        return said  # in [-1,1], whatever they mean
    channels = source.known_channels()
    if found.high - found.low < 64:
        guess = "label maps, or badly converted?"
        if isinstance(source, Folder) and source.bits is not None:
            guess = "dataset.value_range=[LOW,HIGH] spreads them"
        said.append(f"all values lie between {found.low:.3g} and {found.high:.3g} of 255: {guess}")
    if found.constant > SHARE * found.images:
        said.append(f"{count_words(found.constant, 'image')} of one single colour")
    if channels >= 3 and found.grey > 0.95 * found.images:
        said.append("the images are grey: dataset.channels=1 costs less")
    if channels in (1, 3) and found.alpha > SHARE * found.images:
        said.append(
            f"{count_words(found.alpha, 'image')} with an alpha channel, which is laid over white; "
            "dataset.channels=4 keeps it"
        )
    return said


def check_sizes(found: Survey) -> list[str]:
    """Finds what is wrong with sizes."""
    source = found.source
    if not source.modality().pixels or not found.sizes:
        return []
    said = []
    height, width = source.size()
    factors = {size: max(height / size[0], width / size[1]) for size in found.sizes}
    enlarged = sum(n for size, n in found.sizes.items() if factors[size] > ENLARGED)
    if enlarged > SHARE * found.images:
        said.append(
            f"{count_words(enlarged, 'image')} enlarged to {size_words((height, width))} by more "
            f"than {ENLARGED} times, which looks soft"
        )
    lost = {
        size: 1 - height * width / (factor**2 * size[0] * size[1])
        for size, factor in factors.items()
    }
    cut = sum(n for size, n in found.sizes.items() if lost[size] > CUT)
    if cut > SHARE * found.images:
        said.append(
            f"{count_words(cut, 'image')} losing more than {CUT:.0%} of the area to the centre "
            "crop; dataset.resolution=[height,width] suits other shapes"
        )
    return said
