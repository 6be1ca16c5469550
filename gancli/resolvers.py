"""What YAML may compute: ${gan.stamp:}, ${gan.slug:...}, ${gan.folder:...} name a run's folder, ${gan.times:...} and
${gan.halvings:...} the shape of a network."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

_stamps: list[
    str
] = []  # of the commands that are running: a job of a sweep may compose again, and the sweep's own must stay


def begin() -> None:
    """Registers them all for one command, with a fresh stamp; `end` takes the stamp back."""
    from omegaconf import OmegaConf

    _stamps.append(new_stamp())
    for name, function in {
        "stamp": lambda: _stamps[-1],
        "slug": slug,
        "folder": folder,
        "times": lambda a, b: a * b,  # channels of a pack
        "halvings": halvings,
    }.items():  # levels of a U-Net
        OmegaConf.register_new_resolver(f"gan.{name}", function, replace=True)


def end() -> None:
    _stamps.pop()


def new_stamp() -> str:
    """UTC time and four random characters: sortable, and two runs started in the same second still differ."""
    letters = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(4))
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{letters}"


def slug(values: Sequence[str], *, length: int = 60) -> str:
    """A folder name made of the values in KEY=VALUE texts: only a-z 0-9 . _ - and at most `length` characters."""
    words = [
        re.sub(r"[^a-z0-9._-]+", "-", value.partition("=")[2].lower()).strip("-.")
        for value in values
    ]
    return "-".join(word for word in words if word)[:length].rstrip("-.") or "default"


def folder(name: str | None, choices: dict[str, str]) -> str:
    """What a run's folder is called: its name, else its model and its data set."""
    return slug(
        [f"={name or '-'.join(choices.get(group) or 'own' for group in ('model', 'dataset'))}"]
    )


def halvings(resolution: int | Sequence[int] | str, most: int = 8) -> int:
    """How often an image of so many pixels can be halved evenly, from 1 to `most` times; `most` while that is auto."""
    if isinstance(resolution, str):
        return most
    sides = [resolution] if isinstance(resolution, int) else list(resolution)
    return max(1, min(most, *((side & -side).bit_length() - 1 for side in sides)))
