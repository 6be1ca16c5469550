"""What an exported file says of its network: the config and its data, without paths and names."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from gancli.config.schema import TOP_KEYS

# Sections and keys of a run's config that belong to its machine or its user.
LEFT_OUT = ("name", "resume", "init", "trust", "log", "watch")
PATHS = ("path", "root", "weights", "lpips_backbone", "lpips_heads")  # keys that name files
WORDS = ("alphabet", "classes", "names")  # keys whose strings are data, with any character
A_PATH = re.compile(r".*[/\\].+|.+[/\\].*|~.+", re.DOTALL)


def collect_facts(tree: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Collects what rebuilds a generator and says what it was trained on.

    Args:
        tree: Of a checkpoint, see `gancli.checkpoint`.

    Returns:
        Plain facts; and the dotted keys of the config that named a file or a folder, and are null
        now.
    """
    stored = tree["config"]
    kept = [key for key in TOP_KEYS if key in stored and key not in LEFT_OUT]
    config = copy.deepcopy({key: stored[key] for key in kept})
    emptied = list(strip_paths(config))
    data = tree["data"]
    run = tree["run"]
    facts = {
        "format": tree["format"],
        "version": tree["version"],
        "config": config,
        "progress": dict(tree["progress"]),
        # Not `skipped`: these are names of files.
        "data": {"n": data["n"], "hash": data["hash"], "classes": list(data["classes"])},
        "run": {key: run[key] for key in ("world", "threads", "device", "torch")},
    }
    return facts, emptied


def strip_paths(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Sets strings of a config that name files to None, in place.

    Yields:
        Their dotted keys.
    """
    for key, value in node.items():
        where = f"{prefix}{key}"
        if key in WORDS:
            continue
        if isinstance(value, str) and key != "_target_" and (key in PATHS or is_path(value)):
            node[key] = None
            yield where
        elif isinstance(value, dict):
            yield from strip_paths(value, f"{where}.")
        elif isinstance(value, list):
            for k, item in enumerate(value):
                if isinstance(item, str) and is_path(item):
                    value[k] = None
                    yield f"{where}[{k}]"
                elif isinstance(item, dict):
                    yield from strip_paths(item, f"{where}[{k}].")


def is_path(value: str) -> bool:
    """Says whether a string looks like a path: it has a slash beside other letters, or a ~."""
    return A_PATH.fullmatch(value) is not None
