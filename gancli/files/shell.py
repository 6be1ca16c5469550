"""Commands as they are printed: quoted for the shell of this system, so that they run."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable

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
