"""Checks that the files and folders that a command line names exist, before torch is imported."""

from __future__ import annotations

import difflib
import errno
import os
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.errors import Problem, Problems, UserError, did_you_mean
from gancli.files.zoo import PREFIX, find_zoo_problem

if TYPE_CHECKING:
    from omegaconf import DictConfig

DATA = "folder or zip file"
FROM_ZOO = ("ckpt", "init")  # keys whose value may be zoo/NAME
WEIGHTS = dict.fromkeys(("weights", "lpips_backbone", "lpips_heads"), "file")  # of a part `metrics`
# of a run: the parts that name files, by which keys, and what these are
OF_A_RUN = {
    "dataset": {"path": DATA},
    "dataset.of": {"path": DATA},
    "perceptual": {"weights": "file"},
    "metrics": WEIGHTS,
}

# Windows keeps these names for devices, in every folder and with any ending.
RESERVED = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(?=\.|$)", re.IGNORECASE)


def find_missing(
    values: Mapping[str, object], kinds: Mapping[str, str], *, within: str = ""
) -> list[Problem]:
    """Lists what is named and is not there.

    Args:
        values: key -> what was given; only a string can name a file.
        kinds: key -> what it should be, such as "file".
        within: the part of the config that holds the keys.
    """
    prefix = f"{within}." if within else ""
    return [
        problem
        for key, kind in kinds.items()
        for problem in find_missing_file(prefix + key, values.get(key), kind)
    ]


def find_missing_file(key: str, given: object, kind: str) -> list[Problem]:
    """Says in a list of at most one problem that a named file is not there."""
    if not isinstance(given, str) or given in ("", "???") or not is_missing(given):
        return []
    if key in FROM_ZOO and given.startswith(PREFIX):
        problem = find_zoo_problem(given)
        return [] if problem is None else [problem]
    shown = given if given.isprintable() else repr(given)
    if key == "ckpt":
        return [
            (
                f"{shown} does not exist",
                "give a run folder (outputs/...) or a .pt file; gan list zoo has trained ones",
            )
        ]
    return [
        (
            f"{key}={shown}: there is no such {kind}",
            suggest_neighbours(Path(os.path.expanduser(given))),
        )
    ]


def find_ending(name: str) -> str:
    """Returns the ending of a file's name in lower case, ".png"; "" without one.

    As pathlib does it, in a tenth of the time, which counts with a hundred thousand files.
    """
    ending = posixpath.splitext(name)[1].lower()
    return "" if ending == "." else ending


def list_names(folder: Path) -> list[str]:
    """Lists what a folder holds, in order; nothing if there is no such folder.

    Raises UserError where it may not be read.
    """
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null character
        return []
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            return []
        raise UserError(
            f"{folder} cannot be read: {error.strerror}", f"see whose it is: ls -ld {folder}"
        ) from error


def is_missing(path: str) -> bool:
    """Says whether nothing is at a path; False where that cannot be known."""
    try:
        os.stat(os.path.expanduser(path))
    except PermissionError:  # it may be there: whoever reads it will say what is wrong
        return False
    except (OSError, ValueError):  # no file, a name too long, a null character
        return True
    return False


def check_run(cfg: DictConfig) -> None:
    """Checks the paths of a composed run, but not those of a user's own class.

    Such a class may mean something else by `path`.

    Raises Problems.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    found = []
    for part, kinds in OF_A_RUN.items():
        try:
            spec = OmegaConf.select(cfg, part)
            plain = OmegaConf.to_container(spec, resolve=True) if OmegaConf.is_dict(spec) else {}
        except OmegaConfBaseException:  # the second gate says which key cannot be resolved
            continue
        values = (
            {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}
        )
        if part == "metrics" or str(values.get("_target_")).startswith("gancli."):
            found += find_missing(values, kinds, within=part)
    if found:
        raise Problems(found)


def check_init(given: object) -> None:
    """Raises UserError where init= names nothing."""
    for problem in find_missing_file("init", given, "run folder or .pt file"):
        raise UserError(*problem)


def suggest_neighbours(root: Path) -> str:
    """Makes a hint of what stands where the missing path was expected."""
    parent = root.absolute().parent
    names = (
        sorted(entry.name for entry in parent.iterdir())
        if parent.is_dir() and os.access(parent, os.R_OK)
        else []
    )
    close = difflib.get_close_matches(root.name, names, n=3)
    if close:
        return did_you_mean([str(root.with_name(name)) for name in close])
    return (
        f"{parent} does not exist"
        if not parent.is_dir()
        else f"relative paths count from {Path.cwd()}"
    )


def add_ending(path: Path, ending: str) -> Path:
    """Adds the ending to what out= says, where it has none."""
    return path if path.suffix else path.with_name(path.name + ending)


def avoid_reserved(name: str) -> str:
    """Changes the name of a file or folder that Windows keeps for a device: nul to nul_."""
    return RESERVED.sub(r"\1_", name, count=1) if RESERVED.match(name) else name


def find_cache_root() -> Path:
    """Returns the folder of all caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gancli"


def complete_path(typed: str, *, folders_only: bool = False) -> list[str]:
    """Lists the paths that begin as typed, folders with a / behind them.

    Hidden ones are listed where a dot is typed.

    Args:
        typed: A path as far as it is known; ~ stands for the user's home.
        folders_only: Whether files are left out.
    """
    above, slash, name = typed.rpartition("/")
    folder = os.path.expanduser(above + slash) or "."
    found = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (OSError, ValueError):
        return []
    for entry in entries:
        if not entry.name.startswith(name) or (entry.name[0] == "." and not name.startswith(".")):
            continue
        if entry.is_dir():
            found.append(f"{above}{slash}{entry.name}/")
        elif not folders_only:
            found.append(f"{above}{slash}{entry.name}")
    return found
