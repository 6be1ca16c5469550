"""The keys of a composed config and their literal values, kept on disk for the Tab key."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gancli import __version__
from gancli.config.folders import find_conf_dir
from gancli.errors import GanError
from gancli.files import atomic, reading
from gancli.files.paths import find_cache_root

Leaves = dict[str, list[str]]  # dotted key -> its literal values, none where they have no end
MOST_KEPT = 50  # files of the cache
EXTRA = ("hydra.run.dir", "hydra.sweep.dir")  # of a run, beside its config
BOOLEANS = ["true", "false"]


def find_leaves(
    config: str,
    words: Sequence[str],
    dirs: Sequence[Path],
    groups: Mapping[str, Mapping[str, Path]],
) -> Leaves:
    """Finds the keys of what a command line composes so far.

    Composing takes a quarter of a second, so what it gave is kept on disk, until a YAML file
    changes.

    Args:
        config: The primary config.
        words: The words that are typed; only chosen options count.
        dirs: Folders of the user's own options.
        groups: The options of each group.
    """
    chosen = list(choose_words(words, groups)) if config == "train" else []
    file = find_cache_root() / "completion" / f"{make_key(config, chosen, dirs)}.json"
    with contextlib.suppress(reading.Unreadable):
        kept = reading.read_json(file)
        if isinstance(kept, dict):
            return {
                str(key): [str(value) for value in values]
                for key, values in kept.items()
                if isinstance(values, list)
            }
    leaves = compose_leaves(config, chosen, dirs)
    keep(file, leaves)
    return leaves


def choose_words(words: Sequence[str], groups: Mapping[str, Mapping[str, Path]]) -> Iterator[str]:
    """Picks the words that choose options which exist; of a sweep's values the first."""
    for word in words:
        key, equals, value = word.partition("=")
        group = key.lstrip("+").partition("@")[0]
        option = value.partition(",")[0]
        if equals and option in groups.get(group, {}):
            yield f"{key}={option}"


def make_key(config: str, chosen: Sequence[str], dirs: Sequence[Path]) -> str:
    """Makes the name of a file of the cache: another for other words, and for changed files."""
    stamps = [
        (str(path), path.stat().st_mtime_ns)
        for base in (find_conf_dir(), *dirs)
        for path in reading.list_yaml_files(base)
    ]
    facts = json.dumps([__version__, config, list(chosen), [str(path) for path in dirs], stamps])
    return hashlib.sha256(facts.encode(errors="surrogateescape")).hexdigest()[:32]


def keep(file: Path, leaves: Leaves) -> None:
    """Writes to the cache, if it can be written, and drops what is oldest in it."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        older = sorted(file.parent.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in older[: max(0, len(older) - MOST_KEPT + 1)]:
            path.unlink(missing_ok=True)
        with atomic.replace_file(file) as aside:
            aside.write_text(json.dumps(leaves), encoding="utf-8")


def compose_leaves(config: str, chosen: Sequence[str], dirs: Sequence[Path]) -> Leaves:
    """Composes a config and lists its keys; where the words do not fit, that of no words."""
    from omegaconf import OmegaConf

    from gancli.config.compose import compose

    flags = [f"--config-dir={path}" for path in dirs]
    for words in ([*flags, *chosen], []):
        with contextlib.suppress(GanError):
            cfg = compose(config, words, missing=True).cfg
            tree = OmegaConf.to_container(cfg, resolve=False)
            named = (
                {str(key): value for key, value in tree.items()} if isinstance(tree, dict) else {}
            )
            leaves = dict(list_leaves(named, ""))
            if config == "train":
                leaves |= list_closed_literals(leaves) | dict.fromkeys(EXTRA, [])
            return leaves
    return {}


def list_leaves(tree: Mapping[str, object], above: str) -> Iterator[tuple[str, list[str]]]:
    """Yields the keys of a tree, and the values of those whose class names them."""
    target = tree.get("_target_")
    literals = read_literals(target) if isinstance(target, str) else {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from list_leaves(value, f"{above}{key}.")
            continue
        found = list(BOOLEANS) if isinstance(value, bool) else literals.get(key, [])
        if found and isinstance(value, str) and value.isidentifier() and value not in found:
            found = [value, *found]  # auto, which is none of the class's own
        yield f"{above}{key}", found


def list_closed_literals(leaves: Leaves) -> Leaves:
    """Lists the values of keys of the closed parts, from their annotations."""
    import typing

    from gancli.config.schema import CLOSED, PlayerConfig

    found: Leaves = {}
    players = {key.split(".")[1] for key in leaves if key.startswith("optimizer.")}
    parts = {**CLOSED, **{f"optimizer.{player}": PlayerConfig for player in sorted(players)}}
    for part, kind in parts.items():
        for key, hint in typing.get_type_hints(kind).items():
            values = list(flatten_literal(hint))
            if values and (f"{part}.{key}" in leaves or part.startswith("optimizer.")):
                found[f"{part}.{key}"] = values
    return found


def flatten_literal(hint: object) -> Iterator[str]:
    """Yields the values of a Literal, also inside a union; true and false of a bool."""
    import typing

    if hint is bool:
        yield from BOOLEANS
    elif typing.get_origin(hint) is typing.Literal:
        yield from map(str, typing.get_args(hint))
    else:
        for part in typing.get_args(hint):
            if typing.get_origin(hint) is not tuple:
                yield from flatten_literal(part)


def read_literals(target: str) -> Leaves:
    """Reads which arguments of a class of ours are of few values, without importing it."""
    module, _, name = target.rpartition(".")
    tree = parse_own(module)
    if tree is None:
        return {}
    found: Leaves = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for argument, annotation in list_annotations(node):
                values = list(read_annotation(annotation, tree))
                if values:
                    found[argument] = values
    return found


def list_annotations(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    """Yields the arguments of a class and their annotations: a dataclass's fields, too."""
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield part.target.id, part.annotation
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            for argument in (*part.args.args, *part.args.kwonlyargs):
                if argument.annotation is not None:
                    yield argument.arg, argument.annotation


def read_annotation(node: ast.expr, tree: ast.Module) -> Iterator[str]:
    """Yields the values that an annotation lists, by name or as they stand."""
    if isinstance(node, ast.BinOp):
        yield from read_annotation(node.left, tree)
        yield from read_annotation(node.right, tree)
    elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        yield from (str(part.value) for part in parts if isinstance(part, ast.Constant))
    elif isinstance(node, ast.Name) and node.id == "bool":
        yield from BOOLEANS
    elif isinstance(node, ast.Name):
        yield from read_alias(node.id, tree)


def read_alias(name: str, tree: ast.Module) -> Iterator[str]:
    """Yields the values of `Norm = Literal[...]`, here or in the module that it comes from."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            if isinstance(node.value, ast.Subscript):
                yield from read_annotation(node.value, tree)
        elif isinstance(node, ast.ImportFrom) and any(part.name == name for part in node.names):
            other = parse_own(node.module or "")
            if other is not None:
                yield from read_alias(name, other)


def parse_own(module: str) -> ast.Module | None:
    """Parses a module of gancli; None for any other."""
    if not module.startswith("gancli."):
        return None
    path = Path(__file__).parents[1].joinpath(*module.split(".")[1:]).with_suffix(".py")
    with contextlib.suppress(OSError, SyntaxError, UnicodeDecodeError):
        return ast.parse(path.read_text(encoding="utf-8"))
    return None
