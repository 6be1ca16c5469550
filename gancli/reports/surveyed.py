"""A survey of a data set as people read it: a contact sheet, lines of text, and plain data."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from gancli.data.base import size_words
from gancli.data.cache import gigabytes
from gancli.data.decode import resize_all
from gancli.data.folder import Folder, unreadable_words
from gancli.render.grids import grid
from gancli.render.messages import say
from gancli.reports.survey import SHEET_CLASSES, SHEET_EACH, Survey, describe_room

MOST = 12  # lines of one list
FLAT = ": a model trains without them; a sub-folder for each class gives some, or a labels.csv"
BAR = 32  # characters
TILE = 128  # pixels: larger images are shrunk for the contact sheet


def draw_contact_sheet(found: Survey) -> Image.Image:
    """Draws a row for each class, as many images of each; without classes, images from all over.

    What is no picture by itself is drawn as a run shows its reals.
    """
    images = found.kept
    labels = found.kept_labels
    assert images is not None, "a survey that finds no image raises"
    modality = found.source.modality()
    if not modality.pixels:
        return modality.picture(images[:0], images, columns=SHEET_EACH)
    rows = list(range(0, len(images), max(1, len(images) // 64)))[:64]
    columns = SHEET_EACH
    if labels:
        each = [
            [k for k, label in enumerate(labels) if label == wanted][:SHEET_EACH]
            for wanted in sorted(set(labels))[:SHEET_CLASSES]
        ]
        columns = min(map(len, each))  # as many of each, or the rows would not line up
        rows = [k for row in each for k in row[:columns]]
    height, width = found.source.size()
    scale = min(1.0, TILE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    shown = modality.show(modality.restore(images[rows]))
    pixels = torch.from_numpy(resize_all(np.ascontiguousarray(shown.numpy()), size))
    return grid(pixels.float() / 127.5 - 1, columns=columns)


def collect_facts(found: Survey) -> dict:
    """Collects the survey as plain data."""
    source = found.source
    return {
        "images": found.images,
        "files": found.total,
        "looked_at": found.looked_at,
        "bytes": found.bytes,
        "resolution": source.resolution,
        "channels": source.channels,
        "classes": source.classes,
        "kind": source.kind,
        "sizes": {size_words(size): n for size, n in found.sizes.most_common()},
        "modes": dict(found.modes),
        "formats": dict(found.formats),
        "bad": [{"file": name, "reason": reason} for name, reason in found.bad],
        "unreadable": found.unreadable,
        "passed_over": found.passed_over,
        "duplicates": found.duplicates,
        "equal_pixels": found.equal_pixels,
        "mislabelled": found.mislabelled,
        "labels": found.labels,
        "labelled_by": found.labelled_by,
        "means": found.means,
        "deviations": found.deviations,
        "low": found.low,
        "high": found.high,
        "value_range": list(found.value_range),
        "notes": found.notes,
        "decode": {
            "images": found.decoded_images(),
            "seconds": found.decode_seconds(),
            "bytes": found.decode_bytes(),
        },
    }


def show_survey(found: Survey, warnings: list[str], *, subject: str) -> None:
    """Shows the survey in lines."""
    say(subject)
    for name, text in [*describe_files(found), *describe_training(found)]:
        say(f"{name:<9} {text}")
    flat = isinstance(found.source, Folder) and found.source.classes == 0
    flat = flat and not found.layouts and not found.form
    what = "attributes" if found.attributes else "classes"
    hint = FLAT if flat else ""
    if found.labelled_by:
        hint = f", from {found.labelled_by}"
    show_histogram(found.labels, what=what, hint=hint)
    show_names(
        f"cannot be used: {len(found.bad)}", [f"{name}: {reason}" for name, reason in found.bad]
    )
    files = "files" if found.bytes else found.source.modality().noun  # arrays have no files
    show_names(
        f"equal {files}: {len(found.duplicates)}", [" = ".join(group) for group in found.duplicates]
    )
    show_names(
        f"equal once decoded: {len(found.equal_pixels)}",
        [" = ".join(group) for group in found.equal_pixels],
    )
    for text in [
        *(f"note: {note}" for note in found.notes),
        *(f"ALARM: {message}" for message in warnings),
    ]:
        say(text)


def describe_files(found: Survey) -> list[tuple[str, str]]:
    """Writes lines about the files: how many, how large, of which kinds."""
    sampled = (
        f" ({found.looked_at:,} of {found.total:,} files looked at)"
        if found.looked_at < found.total
        else ""
    )
    lines = [
        (
            found.source.modality().noun,
            f"{found.images:,} usable{sampled}"
            + (f", {gigabytes(found.bytes)}" if found.bytes else ""),
        )
    ]
    beside = [unreadable_words(found.unreadable)] if found.unreadable else []
    beside += [f"{found.passed_over}: passed over"] if found.passed_over else []
    if beside:
        lines.append(("beside", "; ".join(beside)))
    if found.source.modality().pixels:
        sizes = {size_words(size): n for size, n in found.sizes.most_common(6)}
        rest = f", and {len(found.sizes) - 6} more" if len(found.sizes) > 6 else ""
        lines.append(("sizes", f"(width x height) {format_shares(sizes, found.images)}{rest}"))
    if found.modes:
        modes = dict(found.modes.most_common())
        formats = dict(found.formats.most_common())
        lines.append(
            (
                "modes",
                f"{format_shares(modes, found.images)}; {format_shares(formats, found.images)}",
            )
        )
    return lines


def describe_training(found: Survey) -> list[tuple[str, str]]:
    """Says what a run would make of it."""
    source = found.source
    modality = source.modality()
    shape = modality.describe_item(source.size(), source.known_channels())
    low, high = found.value_range
    need = found.decode_bytes()
    return [
        ("training", f"{shape}, {source.classes} classes"),
        (
            "values",
            f"mean {format_numbers(found.means)}, deviation "
            f"{format_numbers(found.deviations)} ({modality.describe_values()}); after the "
            "transform "
            f"{low:.3g} ... {high:.3g}",
        ),
        (
            "decoding",
            f"{found.decoded_images():,} {modality.noun} in about {found.decode_seconds():.1f} s, "
            f"{gigabytes(need)} {describe_room(need)}",
        ),
    ]


def show_histogram(labels: dict[str, int] | None, *, what: str = "classes", hint: str = "") -> None:
    """Prints a bar for each class."""
    if labels is None:
        say(f"labels    none{hint}")
        return
    most = max(labels.values()) or 1
    width = min(24, max(map(len, labels)))
    say(f"labels    {len(labels)} {what}{hint}")
    shown = list(labels.items())
    for name, n in shown if len(shown) <= 2 * MOST else [*shown[:MOST], *shown[-MOST:]]:
        say(f"  {name[:width]:{width}}  {n:>8,}  {'#' * round(BAR * n / most)}".rstrip())
    if len(shown) > 2 * MOST:
        say(f"  ({len(shown) - 2 * MOST} classes between them are not shown)")


def show_names(title: str, lines: list[str]) -> None:
    """Prints a title and the first lines below it."""
    if lines:
        say(title)
        for line in lines[:MOST]:
            say(f"  {line[:200]}")
        if len(lines) > MOST:
            say(f"  and {len(lines) - MOST} more (--json names all)")


def format_shares(counts: dict[str, int], total: int) -> str:
    """Writes shares in words: "RGB 92%, L 8%"."""
    return (
        ", ".join(
            name if n == total else f"{name} {100 * n / total:.3g}%" for name, n in counts.items()
        )
        or "none"
    )


def format_numbers(values: list[float]) -> str:
    """Writes numbers with three decimals, the first of many."""
    more = f" and {len(values) - MOST} more" if len(values) > MOST else ""
    return " ".join(f"{value:.3f}" for value in values[:MOST]) + more
