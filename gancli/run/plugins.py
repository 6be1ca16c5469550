"""The user's own code that a run uses: its digest, by which a resumed run notices a change."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from gancli.data.base import digest_of
from gancli.run.resume import find_untrusted_packages

log = logging.getLogger("gancli")
MOST_FILES = 1000  # of a package; more are hardly a user's own


def digest_sources(config: dict[str, Any]) -> dict[str, str]:
    """Digests the source files of the user's own packages.

    Args:
        config: A plain config, which names them.

    Returns:
        Package -> digest, for those that are imported.
    """
    found = {}
    for package in find_untrusted_packages(config):
        files = list_source_files(package)
        if files:
            found[package] = digest_of(
                part for path, name in files for part in (name, path.read_bytes())
            )
    return found


def list_source_files(package: str) -> list[tuple[Path, str]]:
    """Lists the Python files of an imported package or module, each with its name in it."""
    module = sys.modules.get(package)
    if module is None:
        return []
    roots = [Path(place) for place in getattr(module, "__path__", [])]
    if not roots:
        file = getattr(module, "__file__", None)
        path = Path(file) if file else None
        return [(path, path.name)] if path and path.is_file() else []
    files = [
        (path, str(path.relative_to(root)))
        for root in roots
        for path in sorted(root.rglob("*.py"))
        if path.is_file()
    ]
    return files[:MOST_FILES]


def warn_of_changes(saved: dict[str, Any], now: dict[str, str]) -> None:
    """Warns where the user's own code is not what it was when a run was saved.

    Args:
        saved: The part `run` of a checkpoint; of an older gancli it has no digests.
        now: Of `digest_sources`.
    """
    before = saved.get("sources")
    if not isinstance(before, dict):
        return
    for package in now:
        if package in before and before[package] != now[package]:
            log.warning(
                "the source of %s has changed since this run was saved: it goes on with the new "
                "code, and not bit for bit",
                package,
            )
