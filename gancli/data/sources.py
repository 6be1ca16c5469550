"""What all sources of images share: parts such as train and test, and labels that come along."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Mapping

import numpy as np

from gancli.data import tables
from gancli.data.tables import AUTO, FOLDERS, Labelled, Table, shorten
from gancli.errors import UserError, did_you_mean

log = logging.getLogger("gancli.data")
ALL = "all"
TRAINING = ("train", "training")
SPLITS = {*TRAINING, "test", "testing", "val", "valid", "validation"}


def find_part(name: str) -> str:
    """Finds the part that a file belongs to by its path, as train-00000.tar; "" where none shows.

    A folder of the path says it, or a word of the file's name.
    """
    *folders, last = name.lower().split("/")
    words = [*reversed(folders), *re.split(r"[-_.]", last)]
    return next((word for word in words if word in SPLITS), "")


def choose_split(path: str, counts: Mapping[str, int], split: str | None) -> tuple[str | None, str]:
    """Chooses one of several parts.

    Args:
        path: As typed.
        counts: Name -> images; "" where the data have no parts.
        split: One of them; "auto" or None for that to train on; or "all".

    Returns:
        The part, None for all of them; and what there is to say, "" for nothing.

    Raises:
        UserError: There is no such part.
    """
    lowered = {name.lower(): name for name in counts}
    if split not in (None, AUTO, ALL):
        if split.lower() not in lowered or not split:
            known = [name for name in lowered if name]
            close = difflib.get_close_matches(split.lower(), known, n=3, cutoff=0.5)
            there = f"has the parts {shorten(list(counts), 10)}" if known else "has no parts"
            raise UserError(
                f"dataset.split={split}: {path} {there}",
                did_you_mean([lowered[name] for name in close]) or "dataset.split=auto, or all",
            )
        chosen = lowered[split.lower()]
    elif split == ALL or not any(name in lowered for name in TRAINING):
        if len(counts) == 1:
            return None, ""
        listed = ", ".join(f"{name or 'no name'} ({n:,})" for name, n in counts.items())
        return None, f"all parts are taken: {listed}; dataset.split=NAME takes one"
    else:
        chosen = next(lowered[name] for name in TRAINING if name in lowered)
    rest = ", ".join(f"{name or 'no name'} ({n:,})" for name, n in counts.items() if name != chosen)
    if not rest:
        return chosen, ""
    return chosen, (
        f"of its parts {chosen} is taken ({counts[chosen]:,} images), and left out {rest}; "
        "dataset.split=NAME or all takes others"
    )


def label_items(path: str, table: Table, n: int, label: str | list[str]) -> Labelled:
    """Labels n images by a table with a row for each, in their order.

    Args:
        path: As typed.
        table: It may have no column.
        n: How many images there are.
        label: As in `Folder`.

    Raises:
        UserError: There is no such column, or it holds no classes.
    """
    everything = np.arange(n)
    if label == FOLDERS:
        said = f"{table.name} has no class sub-folders; dataset.label=auto takes its own labels"
        return Labelled(everything, remarks=(said,) if table.columns else ())
    if not table.columns:
        if label == AUTO:
            return Labelled(everything)
        raise UserError(
            f"dataset.label={show_label(label)}: {path} says nothing but images",
            "dataset.label=auto trains without labels",
        )
    return tables.label_rows(table, label)


def show_label(label: str | list[str]) -> str:
    """Writes a value of dataset.label as it is typed."""
    return label if isinstance(label, str) else f"[{','.join(label)}]"


def unwrap_names(names: list[str]) -> list[list[str]]:
    """Splits names, without folders that all of them share: wrappers, not classes."""
    parts = [name.split("/") for name in names]
    while all(len(part) > 1 and part[0] == parts[0][0] for part in parts):
        parts = [part[1:] for part in parts]
    return parts


def label_by_folders(path: str, names: list[str]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels files by the first folder below the wrappers.

    Returns:
        Labels (N,) and their names; None and () without sub-folders.
    """
    parts = unwrap_names(names)
    flat = next((part[-1] for part in parts if len(part) == 1), None)
    classes = sorted({part[0] for part in parts if len(part) > 1})
    if flat is not None:
        if classes:
            log.warning(
                "%s: images stand beside sub-folders (%s), so none is labelled; for classes move "
                "it into one",
                path,
                flat,
            )
        return None, ()
    number = {name: k for k, name in enumerate(classes)}
    return np.array([number[part[0]] for part in parts]), tuple(classes)
