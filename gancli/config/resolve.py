"""Makes plain data of a composed config: interpolations resolved, their helper keys dropped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gancli.config.build import (
    locate,
    read_parameters,
)
from gancli.config.closed import find_closed_problems
from gancli.config.hints import explain_interpolation
from gancli.config.plain import Plain, read_plain
from gancli.config.schema import CLOSED, PlayerConfig, list_fields
from gancli.errors import Problem, Problems, UserError

REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def resolve_config(cfg: DictConfig, found: list[Problem]) -> Plain:
    """Returns the config as plain data.

    Raises:
        Problems: With those found so far and what is wrong with the closed parts.
    """
    try:
        plain = read_plain(cfg, resolve=True)
    except OmegaConfBaseException as error:
        problem = explain_interpolation(error, error.full_key or "config")
        raise Problems(list(dict.fromkeys([*found, problem]))) from error
    absent = [explain_missing(where) for where in find_missing_keys(plain)]
    if absent:
        closed = find_closed_problems(plain, CLOSED)
        raise Problems(list(dict.fromkeys([*found, *absent, *closed])))
    return plain


def find_missing_keys(tree: object, where: str = "") -> list[str]:
    """Lists the dotted keys whose value is still to be given."""
    if tree == "???":
        return [where]
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    return [
        key
        for name, item in items
        for key in find_missing_keys(item, f"{where}.{name}".lstrip("."))
    ]


def find_shared_keys(raw: Plain, typed: Sequence[str] = ()) -> list[str]:
    """Finds keys that only feed other values, such as model.width.

    Their own class does not take them.

    Args:
        raw: The config with nothing resolved.
        typed: The words of the command line. Where model.generator.width=8 and its like have
            replaced every reference to model.width, that key is still one of those.
    """
    referred = {match for text in find_strings(raw) for match in REFERENCE.findall(text)}
    keys = [word.lstrip("+").partition("=")[0].split(".") for word in typed]
    replaced = {f"{key[0]}.{key[-1]}" for key in keys if len(key) > 2 and key[-1] != "_target_"}
    referred |= replaced - {".".join(key) for key in keys}
    shared = []
    for where in sorted(referred):
        parent_key, _, key = where.rpartition(".")
        node: Any = raw
        for part in parent_key.split(".") if parent_key else []:
            node = node.get(part, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict) and "_target_" in node and key in node:
            try:
                known = read_parameters(locate(node["_target_"], trust=None))
            except UserError:
                continue  # reported where the target itself is checked
            ours = list_fields(PlayerConfig) if parent_key.startswith("optimizer.") else ()
            if key not in (*known, *ours):
                shared.append(where)
    return shared


def find_strings(tree: object) -> list[str]:
    """Returns all strings of a plain tree, keys aside."""
    if isinstance(tree, dict | list):
        return [
            text
            for item in (tree.values() if isinstance(tree, dict) else tree)
            for text in find_strings(item)
        ]
    return [tree] if isinstance(tree, str) else []


def drop_key(tree: Plain, where: str) -> None:
    """Removes a dotted key from a plain tree; in place."""
    *parents, key = where.split(".")
    for part in parents:
        tree = tree[part]
    del tree[key]


def explain_missing(where: str) -> Problem:
    """Says what to type for a key that has no value yet."""
    value = "FOLDER_OR_FILE" if where.endswith(".path") else "VALUE"
    return f"{where} is not given", f"add {where}={value}"
