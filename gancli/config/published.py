"""What a paper reports for the run of an experiment: checked, written out, compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from gancli.config.closed import find_section_problems
from gancli.config.schema import PublishedMetric, PublishedNumber
from gancli.config.values import COUNT, Bound
from gancli.errors import Problem
from gancli.files import reading

BOUNDS: dict[str, Bound] = {"n": COUNT}
# What a number is called, its unit, and which way is better.
NAMES: dict[PublishedMetric, tuple[str, str, str]] = {
    "fid": ("FID", "", "lower"),
    "intra_fid": ("FID within classes", "", "lower"),
    "is": ("Inception score", "", "higher"),
    "ppl": ("perceptual path length", "", "lower"),
    "psnr": ("PSNR", " dB", "higher"),
    "modes": ("modes", " of 1,000", "higher"),
    "mode_kl": ("KL of the modes", "", "lower"),
    "parzen": ("Parzen log-likelihood", "", "higher"),
    "error": ("errors", " %", "lower"),
    "agreement": ("agreeing pixels", " %", "higher"),
}
# What may be changed in a run that is still the paper's: where, how fast and how loudly it trains.
FREE = (
    *("seed", "name", "resume", "trust", "published", "log.", "watch.", "metrics", "hydra"),
    *("trainer.device", "trainer.precision", "trainer.compile", "trainer.accumulate"),
    *("trainer.save_every", "trainer.keep", "trainer.threads"),
    *("dataset.path", "dataset.root", "dataset.download", "dataset.workers", "dataset.on_error"),
    "dataset.cache",
)


def find_published_problems(published: object) -> list[Problem]:
    """Checks the key `published` of a config: null, or a list of numbers."""
    if published is None:
        return []
    if not isinstance(published, list):
        return [("published is no list", "published=null, or a list like [{metric: fid, ...}]")]
    return [
        problem
        for k, entry in enumerate(published)
        for problem in find_section_problems(
            entry, PublishedNumber, where=f"published[{k}]", bounds=BOUNDS
        )
    ]


def read_published(path: Path) -> list[dict[str, Any]]:
    """Reads what the file of an experiment itself says of its paper's numbers.

    Returns:
        The entries of its key `published`; none where it has none, or what it has does not fit.
    """
    import yaml

    try:
        settings = yaml.safe_load(reading.read_text(path, most=reading.MOST_YAML) or "")
    except (reading.Unreadable, yaml.YAMLError):
        return []
    published = settings.get("published") if isinstance(settings, dict) else None
    return [] if published is None or find_published_problems(published) else published


def describe_published(entry: Mapping[str, Any]) -> str:
    """Says one number in words: what it is, its direction, its protocol and its source.

    Args:
        entry: A checked entry of `published`.
    """
    name, unit, better = NAMES[entry["metric"]]
    n = entry.get("n")
    facts = [
        f"{better} is better",
        f"{n:,} samples" if n else "",
        f"against {entry['reference']}" if entry.get("reference") else "",
        entry.get("features") or "",
    ]
    value = f"{entry['value']:g}{unit}"
    return f"{name} {value} ({', '.join(filter(None, facts))}): {entry['source']}"


def describe_stored(published: object) -> tuple[str, ...]:
    """Says the numbers of a checkpoint's config in words; none where they do not fit."""
    if not isinstance(published, list) or find_published_problems(published):
        return ()
    return tuple(describe_published(entry) for entry in published)


def is_free(key: str) -> bool:
    """Says whether a run with this key, or override, changed still repeats its paper."""
    name = key.lstrip("+~").partition("=")[0]
    return any(name == free.rstrip(".") or name.startswith(f"{free.rstrip('.')}.") for free in FREE)


def find_changed_keys(before: object, after: object, where: str = "") -> list[str]:
    """Lists the dotted keys in which two plain trees differ, without the free ones."""
    if where and is_free(where):
        return []
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return [] if before == after else [where]
    return [
        found
        for key in {**before, **after}
        for found in find_changed_keys(
            before.get(key), after.get(key), f"{where}.{key}" if where else str(key)
        )
    ]


assert set(NAMES) == set(get_args(PublishedMetric)), "every metric has a name"
