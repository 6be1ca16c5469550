"""A command line cut into overrides and flags, and a sweep into single runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from gancli.config.hints import find_nearest, list_composition_errors, parse_override
from gancli.errors import UserError, did_you_mean

PATH_KEYS = (
    "ckpt",
    "resume",
    "init.path",
    "dataset.path",
    "dataset.root",
    "dataset.of.path",
    "dataset.of.root",
    "out",
    "input",
    "real",
    "fake",
    "weights",
    "lpips_heads",
    "latent",
    "mask",
    "style",
    "pose",
    "poses",
    "perceptual.weights",
    "metrics.weights",
    "metrics.lpips_backbone",
    "metrics.lpips_heads",
    "hydra.run.dir",
    "hydra.sweep.dir",
)
TEXT_KEYS = ("name", "label")  # a number of label= stays one
# Below these a user names parts of his own, so that no config holds the key beforehand.
OPEN_KEYS = re.compile(r"(optimizer\.(?![gd]\b)\w+|metrics\.own\.\w+)[.=]")
INIT = re.compile(r"init=(?!\{)")  # short for init.path=
COMMANDS = (
    "multirun",
    "cfg",
    "info",
    "hydra-help",
    "shell-completion",
)  # what replaces a single run
SHORT = {
    "-cd": "--config-dir",
    "-cn": "--config-name",
    "-c": "--cfg",
    "-p": "--package",
    "-i": "--info",
    "-m": "--multirun",
    "-r": "--run",
    "-sc": "--shell-completion",
}
FLAGS = (*SHORT.values(), "--resolve", "--hydra-help")
VALUED = ("--config-dir", "--config-name", "--cfg", "--package")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


@dataclass
class Arguments:
    """What one command line says."""

    overrides: list[str] = field(default_factory=list)
    dirs: list[Path] = field(default_factory=list)
    config_name: str | None = None
    command: str = ""  # one of COMMANDS, or none
    flags: list[str] = field(default_factory=list)  # those that Hydra acts on itself

    def add(self, name: str, value: str) -> None:
        """Takes one flag in; raises UserError where two of them do not go together."""
        if name == "config-dir":
            self.dirs.append(resolve_config_dir(value))
        elif name == "config-name":
            self.config_name = value
        elif name != "run":
            self.flags.append(f"--{name}={value}" if value else f"--{name}")
        if name in COMMANDS:
            if self.command not in ("", name):
                raise UserError(
                    f"--{self.command} and --{name} do not go together", "give one of them"
                )
            self.command = name


def split_args(argv: Sequence[str]) -> Arguments:
    """Sorts a command line into overrides and flags.

    Raises:
        UserError: For flags that are unknown, refused or at odds, and for a missing folder.
    """
    args = Arguments()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            args.overrides.append(word)
            continue
        typed, _, value = word.partition("=")
        flag = SHORT.get(typed, typed)
        if flag not in FLAGS:
            raise explain_refusal(typed)
        if flag in VALUED and not value:
            if not rest:
                raise UserError(f"{typed} needs a value", f"{typed} VALUE")
            value = rest.pop(0)
        elif flag == "--info" and not value and rest and rest[0] in INFO:
            value = rest.pop(0)
        args.add(flag.removeprefix("--"), value)
    return args


def refuse_misspelt(words: Sequence[str], own: Sequence[str]) -> None:
    """Raises UserError for a word that is nearly one of a subcommand's own flags.

    Args:
        words: As typed, without those flags.
        own: The flags; with a value one of those that take none may still be among the words.
    """
    for word in words:
        flag, equals, _ = word.partition("=")
        if flag in own and equals:
            raise UserError(f"{flag} takes no value", flag)
        if flag.startswith("--") and flag not in FLAGS:
            near = find_nearest(flag, own)
            if near:
                raise UserError(f"unknown flag '{flag}'", did_you_mean(near))


def refuse_run(resume: str | None, command: str) -> None:
    """Raises UserError where a subcommand that starts anew is given a run to go on with."""
    if resume not in (None, "auto"):
        raise UserError(
            f"resume={resume}: gan {command} starts anew, from a config",
            f"leave resume= out; the overrides of the run are in {resume}/.hydra/overrides.yaml",
        )


def explain_refusal(flag: str) -> UserError:
    """Says why a flag is not taken, and what to type instead."""
    if flag == "--experimental-rerun":
        return UserError(
            f"{flag} is refused: it unpickles a file, and a pickle can run anything",
            "gan train resume=RUN continues a run",
        )
    if flag in ("--config-path", "-cp"):
        return UserError(
            f"{flag} would hide the built-in options", "--config-dir DIR adds yours to them"
        )
    return UserError(
        f"unknown flag '{flag}'",
        did_you_mean(find_nearest(flag, [*FLAGS, *SHORT, "--help"])) or "see --help",
    )


def resolve_config_dir(value: str) -> Path:
    """Makes the folder of --config-dir absolute; raises UserError if it is none."""
    path = Path(value).expanduser().absolute()
    if not path.is_dir():
        raise UserError(
            f"--config-dir: there is no folder '{path}'",
            "give the folder that holds model/, loss/, ... of your own",
        )
    return path


def split_off_ema(argv: Sequence[str]) -> tuple[list[str], dict[str, object]]:
    """Takes ema=VALUE out of a command line: Hydra would read it as an option of the group ema.

    For the subcommands whose own key `ema` says whether the EMA generator is meant.

    Returns:
        The other words, and {"ema": value}, empty where none was given. A value that is neither
        true nor false stays a string.
    """
    rest = [word for word in argv if not word.startswith("ema=")]
    values = [word.removeprefix("ema=") for word in argv if word.startswith("ema=")]
    return rest, {
        "ema": {"true": True, "false": False}.get(values[-1].lower(), values[-1])
    } if values else {}


def quote_value(override: str, *, sweep: bool = False) -> str:
    """Quotes the value of a key that is known to be a path or a string.

    Letters of any script, spaces, `=` and commas in it then need no care.

    Args:
        override: KEY=VALUE, as typed.
        sweep: Commas separate values instead.
    """
    if INIT.match(override):
        override = f"init.path={override.partition('=')[2]}"
    if OPEN_KEYS.match(override):
        override = f"++{override}"  # the config may hold it or not
    key, _, value = override.partition("=")
    bare = key.lstrip("+")
    text = bare in PATH_KEYS or (bare in TEXT_KEYS and not re.fullmatch(r"[-+]?\d+", value))
    if not text or value in ("", "null") or value[0] in "'\"[{" or value.startswith("${"):
        return override
    from hydra.core.override_parser.types import Quote, QuotedString

    parts = value.split(",") if sweep else [value]
    return f"{key}=" + ",".join(QuotedString(part, Quote.single).with_quotes() for part in parts)


def list_variants(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Lists single runs of a sweep that together show every value; of a range, the first 32."""
    from hydra.core.override_parser.types import ValueType

    lists = []
    for line in overrides:
        try:
            override = parse_override(line)
        except list_composition_errors():  # the gate will say what is wrong with it
            lists.append([line])
            continue
        if not override.is_sweep_override():
            lists.append([line])
        elif (
            override.is_discrete_sweep() and override.value_type is not ValueType.GLOB_CHOICE_SWEEP
        ):
            lists.append(
                [
                    f"{override.get_key_element()}={value}"
                    for value in islice(override.sweep_string_iterator(), 32)
                ]
            )
    first = [values[0] for values in lists]
    yield first
    for index, values in enumerate(lists):
        yield from ([*first[:index], value, *first[index + 1 :]] for value in values[1:])
