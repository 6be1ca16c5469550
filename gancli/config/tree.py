"""A composed tree as it stands: its keys, with nothing of it resolved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

from gancli.config.hints import (
    explain_interpolation,
    find_nearest,
)
from gancli.errors import Problem, did_you_mean

if TYPE_CHECKING:
    from omegaconf import Container, DictConfig, Node

Key = int | str  # of an entry of a list, or of a mapping


def find_dangling(full: DictConfig) -> list[Problem]:
    """Finds interpolations that cannot be resolved."""
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

    problems = []
    paths = []
    for path, parent, key in walk_keys(full):
        paths.append(path)
        if path.startswith("hydra.") or not OmegaConf.is_interpolation(parent, key):
            continue
        try:
            parent[key]
        except InterpolationToMissingValueError:
            pass  # the missing key is the problem, not who asks for it
        except OmegaConfBaseException as ex:
            target = re.search(r"Interpolation key '([^']+)' not found", str(ex))
            node = read_node(parent, key)
            text = "" if node is None else str(node._value())
            if target:
                known = [path for path in paths if not path.startswith("hydra")]
                close = did_you_mean(find_nearest(target[1], known))
                problems.append((f"{path}: {text} points to nothing", close))
            else:
                problems.append(explain_interpolation(ex, path))
    return problems


def has_key(tree: DictConfig, key: str) -> bool:
    """Is there such a key?

    Nothing is resolved: what lies behind an interpolation counts as there.
    """
    from omegaconf import DictConfig, ListConfig

    node: Node | None = tree
    for part in split_key(key):
        if node is None:
            return False
        if node._is_interpolation():
            return True
        if isinstance(node, ListConfig) and part.isdigit() and int(part) < len(node):
            node = read_node(node, int(part))
        elif (
            isinstance(node, DictConfig)
            and not (node._is_none() or node._is_missing())
            and part in map(str, node.keys())
        ):
            node = read_node(node, part)
        else:
            return False
    return True


def split_key(key: str) -> list[str]:
    """Splits a dotted key into its parts; `a[0].b` is `a.0.b`."""
    return re.sub(r"\[(\w+)\]", r".\1", key).split(".")


def read_node(parent: Container, key: Key) -> Node | None:
    """Returns what stands below a key, with nothing resolved."""
    node = parent._get_node(key)
    assert not isinstance(node, list), "only a slice gives several"
    return node


def walk_keys(
    node: Container, prefix: str = "", *, depth: int = 100
) -> Iterator[tuple[str, Container, Key]]:
    """Yields every key below a node, sections included; nothing is resolved.

    Args:
        node: Where to begin.
        prefix: What stands before each path.
        depth: How many levels.

    Yields:
        The dotted path, the parent, the key in it.
    """
    from omegaconf import Container, DictConfig, ListConfig

    if node._is_none() or node._is_missing() or node._is_interpolation():
        return
    keys: Iterable[Key] = range(len(node)) if isinstance(node, ListConfig) else ()
    if isinstance(node, DictConfig):
        keys = cast("list[str]", list(node.keys()))  # YAML's other kinds of keys serve as well
    for key in keys:
        path = f"{prefix}{key}"
        yield path, node, key
        child = read_node(node, key)
        if depth > 1 and isinstance(child, Container):
            yield from walk_keys(child, f"{path}.", depth=depth - 1)


def list_parents(key: str) -> list[str]:
    """Lists the sections that a dotted key stands in, the nearest first."""
    parts = key.split(".")
    return [".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]
