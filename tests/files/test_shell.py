"""Commands are printed so that the shell of the system takes them apart as they were meant."""

from __future__ import annotations

import shlex

import pytest

from gancli.files import shell

WORDS = [
    "gan",
    "dataset.path=C:\\Users\\me\\photos",
    "dataset.path=C:\\my photos\\",
    "+penalty@loss.penalties.r1=r1",
    "model.widths=[1,2]",
    "label=丙 类（三）",
    "name=a&b|c>d^e(f)",
    'x="quoted" and more',
    "~loss.penalties.gp",
    "",
]


@pytest.mark.parametrize("windows", [False, True])
def test_a_command_is_taken_apart_as_it_was_put_together(windows, monkeypatch):
    monkeypatch.setattr(shell, "WINDOWS", windows)
    assert shell.split(shell.join(WORDS)) == WORDS
    assert shell.split(shell.join(reversed(WORDS))) == WORDS[::-1]


def test_windows_knows_no_single_quotes(monkeypatch):
    monkeypatch.setattr(shell, "WINDOWS", True)
    assert shell.quote("C:\\photos") == "C:\\photos"
    assert shell.quote("C:\\my photos") == '"C:\\my photos"'
    assert shell.quote("C:\\my photos\\") == '"C:\\my photos\\\\"'
    assert shell.quote("a&b") == '"a&b"'
    assert "'" not in shell.join(word for word in WORDS if "'" not in word)


def test_elsewhere_it_is_the_shells_own_way(monkeypatch):
    monkeypatch.setattr(shell, "WINDOWS", False)
    assert shell.join(WORDS) == shlex.join(WORDS)
