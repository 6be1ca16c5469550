"""Commands as they are printed: quoted for the shell of this system, so that they run."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

WINDOWS = os.name == "nt"
PLAIN = re.compile(r"[\w@%+=:,./\\~\[\]{}-]+")  # what cmd.exe and PowerShell take as it stands
PART = re.compile(r'(?:[^\s"]|"(?:\\\\|\\"|[^"])*")+')


def quote(word: str) -> str:
    """Quotes a word: for a POSIX shell, or in double quotes for Windows', which know no others."""
    if not WINDOWS:
        return shlex.quote(word)
    if PLAIN.fullmatch(word):
        return word
    inner = word.replace('"', '\\"')
    return f'"{inner}\\"' if inner.endswith("\\") else f'"{inner}"'


def join(words: Iterable[str]) -> str:
    """Quotes the words of a command and puts spaces between them."""
    return " ".join(map(quote, words))


def format_removal(path: Path) -> str:
    """Writes the command that removes what lies at a path: a file, a link, or a whole folder."""
    word = quote(str(path))
    whole = os.path.isdir(path) and not os.path.islink(path)
    if not WINDOWS:
        return f"rm -r {word}" if whole else f"rm {word}"
    if whole:
        # PowerShell's rmdir is another command, which does not know /s. It also takes the quotes
        # off a word without spaces before cmd sees it, and in a&b cmd would see two commands.
        safe = PLAIN.fullmatch(word) or re.search(r"\s", word)
        return f"{'cmd /c ' if safe else ''}rmdir /s /q {word}"
    return f"rmdir {word}" if os.path.isdir(path) else f"del {word}"  # a link to a folder is one


def format_renaming(path: Path, name: Path) -> str:
    """Writes the command that gives a file or a folder another name."""
    return " ".join(["move" if WINDOWS else "mv", quote(str(path)), quote(str(name))])


def split(command: str) -> list[str]:
    """Takes a command apart again that `join` has made."""
    if not WINDOWS:
        return shlex.split(command)
    return [unquote(part) for part in PART.findall(command)]


def unquote(part: str) -> str:
    """Takes the quotes of `quote` away, on Windows."""
    if not part.startswith('"'):
        return part
    inner = part[1:-1]
    if inner.endswith("\\") and not inner.endswith('\\"'):
        inner = inner[:-1]
    return inner.replace('\\"', '"')
