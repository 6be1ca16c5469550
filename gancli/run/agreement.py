"""What several ranks must have in common before the first step: config, code, the user's own code, and data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch

import gancli
from gancli.config.build import show
from gancli.config.run_config import RunConfig
from gancli.run.plugins import source_digests
from gancli.run.resume import flatten

OWN_PATHS = (
    "dataset.path",
    "dataset.root",
    "dataset.workers",
)  # computers may keep the same data in different places


def describe_run(config: RunConfig) -> dict[str, str]:
    """What decides a run before its data are read, in words to compare: every key of the frozen config, and the code."""
    plain = config.plain()
    facts = {key: show(value) for key, value in flatten(plain).items() if key not in OWN_PATHS}
    package = Path(gancli.__file__).parent
    facts["gancli"] = f"{gancli.__version__} ({digest_of(package.rglob('*.py'))})"
    facts["torch"] = str(torch.__version__)
    for name, digest in source_digests(plain).items():
        facts[f"the source of {name}"] = digest[:12]
    return facts


def describe_data(digest: str, n: int, *, folder: Path | None, step: int) -> dict[str, str]:
    """digest: of names and sizes. n: images. folder, step: of the run that goes on, None and 0 for a new one."""
    return {
        "the data (names and sizes of its items)": digest[:12],
        "the number of items": str(n),
        "the run that goes on": str(folder) if folder else "none",
        "its step": str(step),
    }


def digest_of(files: Iterable[Path]) -> str:
    """Of names and contents, in twelve digits."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda path: path.as_posix()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
