"""Finds the options of a group that have a key, so that a message can name them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gancli.config.composer import Composer
from gancli.config.hints import list_composition_errors
from gancli.config.tree import has_key, split_key
from gancli.files import reading

Tree = dict[Any, Any]  # a YAML file as plain data
MOST_HOMES = 3  # that a message names


def find_homes(composer: Composer, key: str, good: Sequence[str]) -> list[str]:
    """Finds the options of the key's group that have this key.

    What a model would choose by itself comes first: it fits the model, as others may not.

    Args:
        composer: What composes.
        key: Such as `loss.penalties.r1.weight`.
        good: The overrides that compose.

    Returns:
        At most three, as GROUP=OPTION.
    """
    group = key.partition(".")[0]
    if group not in composer.list_groups():
        return []
    # To compose an option takes as long as to read a hundred files, and most typos stand in none.
    files = ConfigFiles(composer)
    options = [
        option
        for option in composer.list_options(group)
        if files.may_have(f"{group}/{option}", key)
    ]
    if not options:
        return []
    try:
        untouched = composer.load([word for word in good if not word.startswith(f"{group}=")])
        own = untouched.hydra.runtime.choices.get(group)
    except list_composition_errors():
        own = None
    homes: list[str] = []
    for option in sorted(options, key=lambda option: option != own):
        try:
            tree = composer.load([*good, f"{group}={option}"])
        except list_composition_errors():
            continue
        if has_key(tree, key):
            homes.append(f"{group}={option}")
        if len(homes) == MOST_HOMES:
            break
    return homes


class ConfigFiles:
    """The YAML files of the config folders, each read once and none composed."""

    def __init__(self, composer: Composer):
        self.composer = composer
        self.trees: dict[str, list[Tree]] = {}

    def may_have(self, config_path: str, key: str) -> bool:
        """Says whether an option may have a key.

        A file alone does not say below which key Hydra puts it, so that only neighbours in a
        dotted key are looked for: no is certain, yes is not.

        Args:
            config_path: Such as `model/dcgan`.
            key: Such as `model.generator.width`.
        """
        parts = self.list_parts(config_path)
        if any(self.composer.find_file(path) == path for path in parts):
            return True  # `${...}` in a name, or a folder that Hydra alone knows
        trees = [tree for path in parts for tree in self.read(path)]
        above, *below = split_key(key)
        for name in below:
            found = [value for tree in trees for value in find_values(tree, name, above=above)]
            if any(isinstance(value, str) and "${" in value for value in found):
                return True  # what lies behind it counts as there
            if not found:
                return False
            above = name
        return True

    def list_parts(self, config_path: str) -> list[str]:
        """Lists an option and all that its defaults lists lead to, such as `loss/hinge`."""
        parts = [config_path]
        for path in parts:  # it grows
            folder = path.rpartition("/")[0]
            for tree in self.read(path):
                for name, _ in list_defaults(tree):
                    other = name.lstrip("/") if name.startswith("/") else f"{folder}/{name}"
                    parts += [other] if other not in parts else []
        return parts

    def read(self, config_path: str) -> list[Tree]:
        """Reads a file as plain data, with a tree for each place where it puts other files.

        Nothing comes of a file that is not there or cannot be read.
        """
        if config_path not in self.trees:
            self.trees[config_path] = self._read_file(Path(self.composer.find_file(config_path)))
        return self.trees[config_path]

    def _read_file(self, path: Path) -> list[Tree]:
        try:
            tree = reading.read_yaml(path)
            text = reading.read_text(path, most=reading.MOST_YAML) or ""
        except (reading.Unreadable, OSError):
            return []
        if not isinstance(tree, dict):
            return []
        header = re.match(r"\s*# *@package +(\S+)", text)
        places = [place for _, place in list_defaults(tree)] + [header[1] if header else ""]
        return [tree, *map(make_place, places)]


def list_defaults(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yields the files that a file's defaults list names, and the key that each is put below.

    Args:
        tree: With a list such as `[_base, _schedule@g, {override /loss@_global_.loss: hinge}]`.
    """
    defaults = tree.get("defaults")
    for item in defaults if isinstance(defaults, list) else ():
        if isinstance(item, str):
            name, _, place = item.removeprefix("optional ").partition("@")
            if name != "_self_":
                yield name, place
        for group, options in item.items() if isinstance(item, dict) else ():
            folder, _, place = str(group).rpartition(" ")[2].partition("@")
            for option in options if isinstance(options, list) else [options]:
                if option is not None:
                    yield f"{folder}/{option}", place or folder.strip("/").replace("/", ".")


def make_place(key: str) -> Tree:
    """Makes the empty tree of a dotted key, without Hydra's own words for a place."""
    tree: Tree = {}
    for name in reversed(key.split(".")):
        tree = tree if name in ("", "_global_", "_group_", "_here_") else {name: tree}
    return tree


def find_values(tree: object, name: str, *, above: str, inside: str = "") -> Iterator[object]:
    """Yields what stands below a name: at the top of a file, or right below another name.

    Args:
        tree: A file as plain data.
        name: The name.
        above: The name above it.
        inside: The key that has the tree; empty at the top.
    """
    items: Iterable[tuple[object, object]] = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree)
    for key, value in items:
        if str(key) == name and inside in ("", above):
            yield value
        yield from find_values(value, name, above=above, inside=str(key))
