"""What several ranks must have in common before the first step: config, code and data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch

import gancli
from gancli.config.run_config import RunConfig
from gancli.config.values import show
from gancli.run.plugins import digest_sources
from gancli.run.resume import flatten

OWN_PATHS = (
    "dataset.path",
    "dataset.root",
    "dataset.workers",
    "dataset.cache",
)  # computers may keep the same data in different places


def describe_run(config: RunConfig) -> dict[str, str]:
    """Describes what decides a run before its data are read, in words to compare.

    Returns:
        Every key of the frozen config, and the code, gancli's and the user's own.
    """
    plain = config.plain()
    facts = {key: show(value) for key, value in flatten(plain).items() if key not in OWN_PATHS}
    package = Path(gancli.__file__).parent
    facts["gancli"] = f"{gancli.__version__} ({digest_files(package.rglob('*.py'))})"
    facts["torch"] = str(torch.__version__)
    for name, digest in digest_sources(plain).items():
        facts[f"the source of {name}"] = digest[:12]
    return facts


def describe_data(digest: str, n: int, *, folder: Path | None, step: int) -> dict[str, str]:
    """Describes the data of a run, and where it goes on, in words to compare.

    Args:
        digest: Of the names and sizes of the items.
        n: How many there are.
        folder: Of the run that goes on, None for a new one.
        step: At which it goes on, 0 for a new one.
    """
    return {
        "the data (names and sizes of its items)": digest[:12],
        "the number of items": str(n),
        "the run that goes on": str(folder) if folder else "none",
        "its step": str(step),
    }


def digest_files(files: Iterable[Path]) -> str:
    """Makes twelve digits of the names and contents of files."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda path: path.as_posix()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
