"""What the Tab key offers behind `gan`: looked up in files and a cache, without torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from gancli.commands.complete_keys import find_leaves
from gancli.config.folders import find_conf_dir, list_options, read_description
from gancli.files.paths import complete_path
from gancli.files.zoo import complete_zoo

SHELLS = ("bash", "zsh", "fish")
# Subcommands without a config of their own whose words are those of gan train.
LIKE_TRAIN = ("bench", "check", "show", "recommend", "data")
TAKE_PATHS = ("show", "report", "compare", "recommend", "data")  # without a key before them
PLACES = {"penalty": "loss.penalties", "head": "model.heads"}  # of groups that are added by +
PATH_KEYS = re.compile(
    r"(ckpt|resume|init|out|input|real|fake|weights|lpips_heads|latent|mask|style|poses?|film"
    r"|hydra\.(run|sweep)\.dir|init\.path|perceptual\.weights|dataset\.(of\.)?(path|root)"
    r"|metrics\.(weights|lpips_backbone|lpips_heads))"
)
# How the names of folders and files end that these keys take.
OF_WEIGHTS = {
    "ckpt": ("/", ".pt", ".safetensors"),
    "init": ("/", ".pt"),
    "init.path": ("/", ".pt"),
    "latent": ("/", ".pt"),
}
DEVICES = ("auto", "cpu", "cuda", "mps")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
AFTER_FLAGS = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all"), "--info": INFO}
DIR_FLAGS = ("--config-dir", "-cd")


class Subcommand(Protocol):
    """What is known of a subcommand; see cli.py."""

    @property
    def summary(self) -> str:
        """What it does, in a line."""

    @property
    def usage(self) -> str:
        """The words that it takes."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Lines of its help."""

    @property
    def config(self) -> str:
        """The primary config, of a subcommand that Hydra composes."""


class Found(NamedTuple):
    """One word that is offered.

    Attributes:
        word: The whole word, not quoted.
        about: What it is, in a line; "" where nothing is known.
    """

    word: str
    about: str = ""


def complete(words: Sequence[str], current: str, commands: Mapping[str, Subcommand]) -> list[Found]:
    """Finds what a word that is being typed may become.

    Args:
        words: Those between `gan` and it.
        current: The word as far as it is typed.
        commands: The subcommands by name.

    Returns:
        Whole words that begin with `current`.
    """
    if not words:
        tops = [Found(name, command.summary) for name, command in commands.items()]
        offered = [*tops, Found("--help"), Found("--version")]
    elif words[0] in commands:
        offered = list(list_words(words[0], words[1:], current, commands[words[0]]))
    else:
        offered = []
    return [found for found in dict.fromkeys(offered) if found.word.startswith(current)]


def list_words(
    name: str, before: Sequence[str], current: str, command: Subcommand
) -> Iterator[Found]:
    """Lists what may stand behind a subcommand and its earlier words."""
    previous = before[-1] if before else ""
    if previous in DIR_FLAGS:
        yield from map(Found, complete_path(current, folders_only=True))
    elif previous in AFTER_FLAGS:
        yield from map(Found, AFTER_FLAGS[previous])
    elif current.startswith("-"):
        flag, equals, value = current.partition("=")
        if equals and flag in DIR_FLAGS:
            paths = complete_path(value, folders_only=True)
            yield from (Found(f"{flag}={path}") for path in paths)
        else:
            yield from map(Found, list_flags(command))
    elif choices := list_flag_values(command, previous):
        yield from map(Found, choices)
    elif name == "completion":
        yield from map(Found, SHELLS)
    else:
        yield from list_arguments(name, before, current, command)


def list_arguments(
    name: str, before: Sequence[str], current: str, command: Subcommand
) -> Iterator[Found]:
    """Lists groups, options, keys, values and paths."""
    dirs = find_dirs(before)
    groups = list_options([find_conf_dir(), *dirs])
    if name == "list":
        yield from map(Found, [*groups, "metrics", "zoo"])
        return
    if name == "config":
        yield from list_copies(before, current, groups)
        return
    config = command.config or ("train" if name in LIKE_TRAIN else "")
    trains = config == "train"
    own = read_own_keys(command)
    if "=" in current:
        yield from list_values(current, before, config, dirs, groups, own)
        return
    sign = current[: len(current) - len(current.lstrip("+~"))]
    typed = current.removeprefix(sign)
    if trains and sign != "~":
        for group, place in PLACES.items():
            for option, path in groups.get(group, {}).items():
                yield Found(f"+{group}@{place}.{option}={option}", read_description(path))
    if trains and not sign:
        yield from (Found(f"{group}=") for group in groups if group not in PLACES)
    leaves = find_leaves(config, before, dirs, groups) if config else {}
    yield from list_keys([*leaves, *own], sign, typed)
    if name in TAKE_PATHS and not sign:
        yield from map(Found, complete_path(current))
    if name == "show" and current:
        yield from map(Found, complete_zoo(current))


def list_copies(
    before: Sequence[str], current: str, groups: Mapping[str, Mapping[str, Path]]
) -> Iterator[Found]:
    """Lists the words behind `gan config`."""
    if not before:
        yield Found("copy", "copies a built-in option into a YAML file of your own")
    elif current.startswith("out="):
        yield from offer_paths("out", complete_path(current[4:], folders_only=True))
    elif "/" not in current:
        yield from (Found(f"{group}/") for group in groups)
        yield from map(Found, ("out=", "name="))
    else:
        group = current.partition("/")[0]
        for option, path in groups.get(group, {}).items():
            yield Found(f"{group}/{option}", read_description(path))


def list_keys(keys: Sequence[str], sign: str, typed: str) -> Iterator[Found]:
    """Lists the keys one level below what is typed: `trainer.`, then `trainer.steps=`."""
    above = typed.rpartition(".")[0]
    prefix = f"{above}." if above else ""
    for key in keys:
        if key.startswith(prefix):
            part, dot, _ = key.removeprefix(prefix).partition(".")
            yield Found(f"{sign}{prefix}{part}{dot or ('' if sign == '~' else '=')}")


def list_values(
    current: str,
    before: Sequence[str],
    config: str,
    dirs: Sequence[Path],
    groups: Mapping[str, Mapping[str, Path]],
    own: Mapping[str, Sequence[str]],
) -> Iterator[Found]:
    """Lists the values of a key.

    Args:
        current: KEY=, and perhaps the first letters of the value.
        before: The words before it.
        config: The primary config, "" where none is composed.
        dirs: Folders of the user's own options.
        groups: The options of each group.
        own: The keys of a subcommand itself, and their values.
    """
    key, _, value = current.partition("=")
    bare = key.lstrip("+")
    group = bare.partition("@")[0]
    if PATH_KEYS.fullmatch(bare):
        yield from map(Found, complete_zoo(current))
        if bare == "resume":
            yield Found(f"{key}=auto")
        paths = complete_path(value, folders_only=bare == "resume")
        if bare in OF_WEIGHTS:
            paths = [path for path in paths if path.endswith(OF_WEIGHTS[bare])]
        yield from offer_paths(key, paths)
        return
    # Of a sweep the last of several values is being typed.
    earlier = value[: value.rfind(",") + 1]
    if group in groups and (config == "train" or group in own):
        for option, path in groups[group].items():
            yield Found(f"{key}={earlier}{option}", read_description(path))
        return
    choices = list(own.get(bare, ()))
    if bare == "device":
        choices += DEVICES
    if config:
        choices += find_leaves(config, before, dirs, groups).get(bare, [])
    yield from (Found(f"{key}={earlier}{choice}") for choice in dict.fromkeys(choices))


def offer_paths(key: str, paths: Sequence[str]) -> list[Found]:
    """Puts KEY= before paths."""
    return [Found(f"{key}={path}") for path in paths]


def find_dirs(words: Sequence[str]) -> list[Path]:
    """Finds the folders behind --config-dir; what is no folder is passed over."""
    found = []
    for k, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in DIR_FLAGS:
            given = value if equals else "".join(words[k + 1 : k + 2])
            path = Path(given).expanduser().absolute()
            if given and path.is_dir():
                found.append(path)
    return found


def list_flags(command: Subcommand) -> list[str]:
    """Reads the flags out of the lines of a subcommand's help."""
    found = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join([command.usage, *command.flags]))
    return [*dict.fromkeys(found), "--help"]


def list_flag_values(command: Subcommand, flag: str) -> list[str]:
    """Reads what a flag may be, from lines such as `--against bare`."""
    if not flag.startswith("-"):
        return []
    match = re.search(rf"{re.escape(flag)} ([a-z]+(?:\|[a-z]+)+)", command.usage)
    return match[1].split("|") if match else []


def read_own_keys(command: Subcommand) -> dict[str, list[str]]:
    """Reads keys and their values out of the lines of a subcommand's help: mode=min|max."""
    found: dict[str, list[str]] = {}
    lines = [command.usage, *(line for line in command.flags if not line.startswith((" ", "-")))]
    for line in lines:
        for key, value in re.findall(r"(?<![\w.@-])([a-z_]+)=([\w.|]*)", line):
            choices = [part for part in value.split("|") if part.islower() and "|" in value]
            found.setdefault(key, []).extend(choices)
    return found
