"""The folders of configs: the built-in one, the options in them, and what their files say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from gancli.errors import UserError
from gancli.files import reading


def find_conf_dir() -> Path:
    """Finds the built-in configs: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for path in (package / "conf", package.parent / "conf"):
        if (path / "train.yaml").is_file():
            return path
    raise UserError(
        f"the built-in configs are missing from {package}",
        "reinstall: pip install --force-reinstall gancli",
    )


def list_options(dirs: Sequence[Path]) -> dict[str, dict[str, Path]]:
    """Lists the options of every group in some folders of configs.

    Names with a leading underscore are parts of options, not options.

    Args:
        dirs: The first folder that has an option wins, as in Hydra.

    Returns:
        Group -> option -> file.
    """
    found: dict[str, dict[str, Path]] = {}
    for base in dirs:
        for path in reading.list_yaml_files(base):
            group, *names = path.relative_to(base).with_suffix("").parts
            if (
                names
                and group != "hydra"
                and not any(name.startswith(("_", ".")) for name in (group, *names))
            ):
                found.setdefault(group, {}).setdefault("/".join(names), path)
    return {group: dict(sorted(found[group].items())) for group in sorted(found)}


def read_description(path: Path | str) -> str:
    """Reads the first comment line of a YAML file: what it is and its paper."""
    try:
        lines = (reading.read_text(Path(path), most=reading.MOST_YAML) or "").splitlines()
    except reading.Unreadable as error:
        return f"({error.message})"
    return next(
        (
            line.lstrip("# ").strip()
            for line in lines
            if line.startswith("#") and not line.startswith("# @package")
        ),
        "",
    )


def find_file_warnings(dirs: Sequence[Path]) -> list[str]:
    """Finds what Hydra passes over in silence.

    That is the second of two files with one name, and a package line below other comments.
    """
    seen: dict[Path, Path] = {}
    found = []
    for base in dirs if len(dirs) > 1 else ():
        for path in reading.list_yaml_files(base):
            first = seen.setdefault(path.relative_to(base), path)
            if first != path:
                found.append(f"{path} is not used: {first} has the same name and comes first")
            elif base != dirs[0] and re.match(
                r"(#(?! *@).*\n)+# *@package", path.read_text(encoding="utf-8", errors="replace")
            ):
                found.append(
                    f"{path}: `# @package` has no effect below another comment; "
                    "make it the first line"
                )
    return found
