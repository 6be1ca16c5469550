"""What YAML may compute: ${gan.NAME:...} for folder names, network shapes and run lengths."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gancli.config.values import COUNT
from gancli.files.paths import avoid_reserved

if TYPE_CHECKING:
    from omegaconf import DictConfig

MOST_BYTES = 200  # of a file's name; disks take 255
# Of the commands that are running: a job of a sweep may compose again, and the sweep's own stays.
_stamps: list[str] = []


def begin() -> None:
    """Registers them all for one command, with a fresh stamp; `end` takes the stamp back."""
    from omegaconf import OmegaConf

    _stamps.append(make_stamp())
    functions: dict[str, Callable[..., object]] = {
        "stamp": lambda: _stamps[-1],
        "slug": make_slug,
        "folder": name_folder,
        "times": lambda a, b: a * b,  # channels of a pack
        # channels of an image beside another; before the data set is read both may be "auto"
        "plus": lambda a, b: b if isinstance(b, str) else a if isinstance(a, str) else a + b,
        "halvings": count_halvings,  # levels of a U-Net
        "budget": count_steps,
    }
    for name, function in functions.items():
        OmegaConf.register_new_resolver(f"gan.{name}", function, replace=True)


def end() -> None:
    """Takes back the stamp of the command that `begin` began."""
    _stamps.pop()


def make_stamp() -> str:
    """Returns UTC time and four random characters.

    They sort by time, and two runs started in the same second still differ.
    """
    letters = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(4))
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{letters}"


def make_slug(values: Sequence[str], *, length: int = 60) -> str:
    """Makes the name of a folder of the values in KEY=VALUE words.

    How a run is resumed is no part of its name: the jobs of a sweep find their folders with
    resume=auto.

    Args:
        values: The words. Letters of any script, digits, and . _ - of them stay.
        length: The most characters.
    """
    words = []
    for value in values:
        if value.startswith(("resume=", "trust=")):
            continue
        text = unicodedata.normalize("NFC", value.partition("=")[2]).lower()
        words.append(re.sub(r"[^\w.-]+", "-", text).strip("-."))
    name = "-".join(word for word in words if word)[:length]
    while len(name.encode()) > MOST_BYTES:
        name = name[:-1]
    return avoid_reserved(name.rstrip("-.") or "default")


def name_folder(name: str | None, choices: dict[str, str]) -> str:
    """Names the folder of a run: the name it was given, else its model and its data set."""
    return make_slug(
        [f"={name or '-'.join(choices.get(group) or 'own' for group in ('model', 'dataset'))}"]
    )


def count_halvings(resolution: int | Sequence[int] | str, most: int = 8) -> int:
    """Counts how often an image can be halved evenly, from 1 to `most` times.

    Args:
        resolution: Pixels of a side, or of both; while it is a string (auto), `most` is returned.
        most: The largest answer.
    """
    if isinstance(resolution, str):
        return most
    sides = [resolution] if isinstance(resolution, int) else list(resolution)
    return max(1, min(most, *((side & -side).bit_length() - 1 for side in sides)))


def count_steps(steps: int, updates: int, clipped: int = 0, *, _root_: DictConfig) -> int:
    """Returns the default length of a run in real batches.

    Args:
        steps: Batches of a run whose generator moves at every one of them.
        updates: The least number of the generator's updates; each takes loss.n_critic batches.
        clipped: The same where the discriminator's weights are clipped, which teaches less.
        _root_: The whole config, which OmegaConf hands to a resolver that asks.

    Returns:
        `steps`, or as many more as the updates need; `steps` where the config has no loss.n_critic,
        or one that is refused anyway: that is then the only problem.
    """
    from omegaconf import OmegaConf

    n_critic = count_critic_steps(_root_)
    clip = OmegaConf.select(_root_, "loss.clip", throw_on_resolution_failure=False)
    if clip is not None:
        updates = max(updates, clipped)
    return max(steps, min(updates * n_critic, int(COUNT.most)))


def count_critic_steps(cfg: DictConfig) -> int:
    """Counts the discriminator's steps, and so real batches, for one of the generator.

    Returns:
        loss.n_critic; 1 where there is none.
    """
    from omegaconf import OmegaConf

    n_critic = OmegaConf.select(cfg, "loss.n_critic", default=1, throw_on_resolution_failure=False)
    return n_critic if type(n_critic) is int and COUNT.holds(n_critic) else 1
