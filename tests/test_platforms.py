"""A system without POSIX, or with an old console, is enough; shown on Linux by stand-ins."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers import REPO, parse_module, read_modules

from gancli import machine, precision
from gancli.cli import main
from gancli.commands.sample import folder_names
from gancli.config.compose import compose
from gancli.config.resolvers import make_slug
from gancli.errors import UserError
from gancli.files import atomic
from gancli.render.streams import lasting
from gancli.run import signals

SCRIPT = Path(__file__).parent / "support" / "without_posix.py"
ONLY_POSIX = {"fcntl", "resource", "termios", "tty", "pty", "pwd", "grp", "syslog", "readline"}
CALLS = re.compile(
    r"os\.(O_NONBLOCK|O_CLOEXEC|O_NOFOLLOW|O_DIRECTORY|fork\b|mkfifo|getuid|geteuid|uname)"
    r"|signal\.SIG(HUP|USR1|USR2|ALRM|KILL|PIPE|CHLD|STOP|CONT|QUIT)"
)
SHORT = ("model=mlp", "trainer.precision=fp32", "metrics=none", "log.tensorboard=false")


def run_without_posix(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def outside_functions(tree: ast.AST):
    """Yields what runs when a module is imported."""
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from outside_functions(child)


def find_posix(path: Path) -> list[str]:
    """Lists what a module uses, as it is imported, that only POSIX has."""
    found = []
    for node in outside_functions(parse_module(path)):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found += sorted(ONLY_POSIX & {name.partition(".")[0] for name in names})
        if isinstance(node, ast.Attribute) and CALLS.fullmatch(ast.unparse(node)):
            found.append(ast.unparse(node))
    return found


def test_no_import_needs_posix():
    words = re.compile("|".join((*ONLY_POSIX, CALLS.pattern)))
    named = [path for path, text in read_modules().items() if words.search(text)]
    found = {path.name: find_posix(path) for path in named}
    assert len(found) > 5, "nothing was looked at"
    assert not {name: names for name, names in found.items() if names}


def test_the_test_of_imports_sees_them(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("import fcntl\nfrom pwd import a\nX = signal.SIGHUP\ndef f(): import tty\n")
    assert find_posix(path) == ["fcntl", "pwd", "signal.SIGHUP"]


@pytest.mark.full
def test_every_module_is_imported_without_posix(tmp_path):
    assert run_without_posix(folder=tmp_path).stdout == "all imported\n"


@pytest.mark.full
def test_a_run_is_trained_resumed_and_sampled_without_posix(tmp_path):
    run_without_posix("train", *SHORT, "trainer.steps=2", "hydra.run.dir=run", folder=tmp_path)
    again = run_without_posix("train", "resume=run", "trainer.steps=3", folder=tmp_path)
    assert "mem -" in again.stdout, "the peak of memory is not known"
    run_without_posix("sample", "ckpt=run", "n=2", "out=images", folder=tmp_path)
    assert (tmp_path / "images" / "000001.png").is_file()
    run_without_posix("show", "run", folder=tmp_path)
    run_without_posix("report", "run", folder=tmp_path)
    swept = run_without_posix("train", "-m", *SHORT, "trainer.steps=1", "seed=1,2", folder=tmp_path)
    assert "seed" in swept.stdout


def test_exit_codes_are_those_of_the_signals_that_there_are():
    assert {signal.Signals(number).name: code for number, code in signals.EXIT_CODES.items()} == {
        "SIGINT": 130,
        "SIGTERM": 143,
        "SIGHUP": 129,
        "SIGUSR1": 75,
        "SIGUSR2": 75,
    }


def test_memory_and_load_that_the_system_does_not_say(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.delattr(os, "getloadavg")
    assert precision.peak_memory(torch.device("cpu")) is None
    assert precision.describe_memory(None) == "not known on this system"
    assert machine.read_load() == 0


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
def test_an_old_console_gets_every_line(encoding, tmp_path, monkeypatch):
    with (tmp_path / "out.txt").open("w", encoding=encoding, errors="strict") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with lasting():
            print("→ 8×8 … 手 █")
    text = (tmp_path / "out.txt").read_bytes().decode(encoding)
    assert text.startswith("-> 8") and "\\u624b" in text and text.endswith("\n")


@pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "metrics"]])
def test_long_texts_on_an_old_console(words, monkeypatch, tmp_path):
    with (tmp_path / "out.txt").open("w", encoding="cp1252", errors="strict") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(words) == 0


def test_a_stream_with_its_own_way_keeps_it(tmp_path, monkeypatch):
    with (tmp_path / "out.txt").open("w", encoding="ascii", errors="replace") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with lasting():
            print("手")
    assert (tmp_path / "out.txt").read_text() == "?\n"


@pytest.mark.parametrize(
    "path", ["C:\\Users\\me\\photos", "C:\\new\\table", "D:/data", "\\\\server\\share\\my photos"]
)
def test_a_path_of_windows_stays_as_typed(path):
    composed = compose("train", ["dataset=folder", f"dataset.path={path}"])
    assert composed.cfg.dataset.path == path
    given = compose("train", [f"hydra.run.dir={path}"])
    assert given.hydra.run.dir == path


@pytest.mark.parametrize(
    ("name", "expected"),
    [("con", "con_"), ("NUL", "nul_"), ("lpt1.x", "lpt1_.x"), ("cone", "cone"), ("com0", "com0")],
)
def test_a_folder_has_no_name_of_a_device(name, expected):
    assert make_slug([f"name={name}"]) == expected
    assert folder_names([name], 1) == [expected if name != "NUL" else "NUL_"]


@pytest.mark.parametrize("letter", list(':?*"<>|\\/'))
def test_a_folder_has_no_letter_that_windows_refuses(letter):
    assert letter not in make_slug([f"name=a{letter}b"])
    assert letter not in folder_names([f"a{letter}b"], 1)[0]


def test_a_file_that_another_program_has_open_for_an_instant(tmp_path, monkeypatch):
    refusals = [PermissionError(13, "in use"), PermissionError(13, "in use")]
    rename = os.replace

    def replace(source: Path, target: Path) -> None:
        if refusals:
            raise refusals.pop()
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(atomic, "PAUSE_S", 0.0)
    with pytest.raises(PermissionError):
        atomic.write_text(tmp_path / "a.txt", "1")
    assert len(refusals) == 1, "here a refusal is final"
    monkeypatch.setattr(atomic, "PATIENCE_S", 60.0)
    atomic.write_text(tmp_path / "a.txt", "2")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.full
def test_the_commands_of_the_workflow_run_here(tmp_path):
    done = subprocess.run(
        [sys.executable, str(REPO / ".github/smoke.py")],
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(REPO)},
        capture_output=True,
        encoding="cp1252",
        errors="replace",  # five bytes of it stand for no letter
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all went well\n")


def test_the_workflow_names_three_systems_and_what_is_there():
    workflow = yaml.safe_load((REPO / ".github/workflows/platforms.yml").read_text())
    job = workflow["jobs"]["smoke"]
    systems = {name.partition("-")[0] for name in job["strategy"]["matrix"]["os"]}
    assert systems == {"ubuntu", "macos", "windows"}
    words = " ".join(step.get("run", "") for step in job["steps"]).split()
    paths = [word for word in words if word.endswith(".py")]
    assert len(paths) == 5 and all((REPO / path).is_file() for path in paths)


def test_a_link_to_another_drive_leads_out(tmp_path, monkeypatch):
    """Windows' paths of two drives have nothing in common, and its ntpath says so by an error."""

    def refuse(_paths: list[str]) -> str:
        raise ValueError("Paths don't have the same drive")

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.log").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(os.path, "commonpath", refuse)
    with pytest.raises(UserError, match="leads out of the folder"):
        atomic.refuse_links(tmp_path / "run", ["run.log"])
