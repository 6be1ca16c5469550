"""Commands are printed so that the shell of the system takes them apart as they were meant."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from gancli.errors import UserError
from gancli.files import atomic, shell

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


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        (False, ["rm 'a file'", "rm link", "rm -r folder", "rm gone", "mv folder 'an old one'"]),
        (
            True,
            ['del "a file"', "rmdir link", "cmd /c rmdir /s /q folder", "del gone"]
            + ['move folder "an old one"'],
        ),
    ],
)
def test_removing_and_renaming_are_the_systems_own(windows, said, monkeypatch, tmp_path):
    """cmd.exe knows no rm, and its del takes no folder; a link to a folder is removed as one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shell, "WINDOWS", windows)
    Path("a file").touch()
    Path("folder").mkdir()
    Path("link").symlink_to("folder")
    removals = [shell.format_removal(Path(name)) for name in ("a file", "link", "folder", "gone")]
    assert [*removals, shell.format_renaming(Path("folder"), Path("an old one"))] == said


def test_a_folder_is_removed_alike_in_cmd_and_in_powershell(monkeypatch, tmp_path):
    """PowerShell would hand a quoted a&b on without its quotes, and cmd would remove a."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shell, "WINDOWS", True)
    for name, said in (
        ("an old run", 'cmd /c rmdir /s /q "an old run"'),
        ("a&b", 'rmdir /s /q "a&b"'),
    ):
        Path(name).mkdir()
        assert shell.format_removal(Path(name)) == said


def test_what_a_user_is_told_to_type_is_the_systems_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shell, "WINDOWS", True)
    Path("run", "metrics.jsonl").mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        atomic.refuse_folders(Path("run"), ["metrics.jsonl"])
    place = str(Path("run", "metrics.jsonl"))
    assert caught.value.hint == f"rename it: move {place} {place}.old"
    Path("run", "samples").symlink_to(tmp_path)
    with pytest.raises(UserError) as caught:
        atomic.refuse_links(Path("run"), ["samples"])
    assert f"remove the link: rmdir {Path('run', 'samples')}   or" in caught.value.hint
