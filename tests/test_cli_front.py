"""The front door as a user meets it: help, errors, exit codes, and what may not be imported."""

from __future__ import annotations

import json
import os
import platform
import pty
import re
import shlex
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch

from gancli import cli, errors
from gancli.cli import SUBCOMMANDS, main
from gancli.commands import version
from gancli.config.compose import compose
from gancli.errors import GanError, Interrupted, Stopped, TemporaryFailure
from gancli.run.signals import EXIT_CODES as EXIT_CODES_OF_SIGNALS

ROOT = Path(cli.__file__).resolve().parents[1]


@pytest.fixture
def train(monkeypatch):
    """Replaces the subcommand `train`; set `train.main` to what it should do."""
    module = types.ModuleType("fake_train")
    module.main = lambda argv: 0
    monkeypatch.setitem(sys.modules, "fake_train", module)
    monkeypatch.setitem(SUBCOMMANDS, "train", SUBCOMMANDS["train"]._replace(module="fake_train"))
    return module


def raises(error: BaseException):
    def command(argv):
        raise error

    return command


def gan(*argv: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *options.pop("python", ()), "-m", "gancli", *argv],
        cwd=ROOT,
        text=True,
        timeout=60,
        capture_output=True,
        **options,
    )


# help


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"]])
def test_usage_has_a_line_for_every_verb(argv, capsys):
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert all(f"  {name:10}{command.summary}" in out for name, command in SUBCOMMANDS.items())
    assert "gan train" in out


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("name", list(SUBCOMMANDS))
def test_every_verb_has_help_with_examples(name, flag, capsys):
    assert main([name, flag]) == 0
    captured = capsys.readouterr()
    assert all(example in captured.out for example in SUBCOMMANDS[name].examples)
    assert captured.err == ""


@pytest.mark.parametrize("name", list(SUBCOMMANDS))
def test_help_fits_into_100_columns(name):
    command = SUBCOMMANDS[name]
    lines = [f"gan {name}: {command.summary}", f"usage: gan {name} {command.usage}"]
    lines += [f"  {text}" for text in (*command.examples, *command.flags)]
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    "example",
    [
        text
        for command in SUBCOMMANDS.values()
        if command.config
        for text in command.examples
        if "-m" not in text.split()
    ],
)
def test_examples_of_help_compose(example):
    _, name, *words = shlex.split(example)
    assert compose(SUBCOMMANDS[name].config, words).cfg


def test_help_of_train_shows_groups_and_the_composed_config(capsys, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine.yaml").write_text("# Mine\ndefaults: [dcgan, _self_]\nwidth: 7\n")
    (tmp_path / "model/dcgan.yaml").write_text("# Not used\n")
    assert main(["train", "--help", "-cd", str(tmp_path), "model=mine", "trainer.steps=123"]) == 0
    captured = capsys.readouterr()
    assert {"cgan", "dcgan", "mine", "mlp"} <= set(
        captured.out.split()
    ) and "_base" not in captured.out
    assert "    steps: 123" in captured.out and "    width: 7" in captured.out
    assert "hydra" not in captured.out.split("config, ")[1]
    assert "dcgan.yaml is not used" in captured.err


def test_help_with_a_mistake_says_the_mistake(capsys):
    assert main(["train", "--help", "model=dcgna"]) == 2
    assert "did you mean 'dcgan'?" in capsys.readouterr().err


def test_version(capsys):
    assert main(["--version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("gan 0.") and lines[1].startswith(
        f"Python {platform.python_version()}"
    )
    assert lines[2].startswith(f"torch {torch.__version__.partition('+')[0]}")
    assert lines[3].startswith(f"device {'cuda' if torch.cuda.is_available() else 'cpu'} (")
    assert len(lines) == 4


def test_the_device_of_the_version(monkeypatch, tmp_path):
    monkeypatch.setattr(version, "DRIVER", tmp_path)
    assert version.describe_device() == "cpu (there is no NVIDIA driver)"
    (tmp_path / "version").touch()
    monkeypatch.setattr(version, "DRIVER", tmp_path / "version")
    assert version.describe_device().startswith("cuda (")
    monkeypatch.setattr(version, "find_version", lambda package: "2.14.1+cpu")
    assert version.describe_device() == "cpu (this torch knows no other)"
    assert version.find_version("gancli-no-such") == "2.14.1+cpu"


def test_exit_codes_are_those_of_the_errors(capsys):
    """One table: what the errors and the signals end with, the help, and the page."""
    kinds = [errors.GanError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    raised = {kind.code for kind in kinds if kind.__module__.startswith("gancli.")}
    assert {0, *raised, *EXIT_CODES_OF_SIGNALS.values()} == set(errors.EXIT_CODES)
    page = (ROOT / "docs/exit-codes.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if re.match(r"\| \d", line)]
    table = {int(row[0].strip("| ")): row[1].replace("`", "").strip(" |") for row in rows}
    assert table == errors.EXIT_CODES
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {code:<10}{words}\n" in shown for code, words in errors.EXIT_CODES.items())


# what may not be imported, and how long it may take


@pytest.mark.parametrize(
    ("argv", "banned"),
    [
        ([], ("torch", "hydra", "omegaconf", "rich", "numpy")),
        (["--help"], ("torch", "hydra", "omegaconf", "rich", "numpy")),
        (["trian"], ("torch", "hydra", "omegaconf")),
        (["list"], ("torch", "hydra", "omegaconf")),
        (["check", "--help"], ("torch", "hydra")),
        (["train", "--help"], ("torch", "numpy")),
        (["train", "model=dcgna", "trainer.stepz=1"], ("torch", "numpy")),
        (["sample", "sed=1"], ("torch",)),
    ],
)
def test_heavy_imports_stay_out(argv, banned):
    lines = gan(*argv, python=("-X", "importtime")).stderr.splitlines()
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0]
        for line in lines
        if line.startswith("import time:")
    }
    assert "gancli" in imported and not imported & set(banned)


def test_help_is_quick():
    def seconds() -> float:
        start = time.perf_counter()
        gan("--help")
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.3


# errors and exit codes


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["trian"], "did you mean 'train'?"),
        (["--hlep"], "did you mean '--help'?"),
        (["model=dcgan"], "did you mean 'gan train model=dcgan'?"),
        (["xyzzy"], f"commands: {', '.join(SUBCOMMANDS)}"),
    ],
)
def test_an_unknown_verb(argv, hint, capsys):
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == f"gan: unknown command '{argv[0]}'\n  {hint}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GanError("no"), 1),
        (Stopped("no"), 3),
        (TemporaryFailure("no", "wait"), 75),
        (Interrupted("no", code=143), 143),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(train, error, code, capsys):
    train.main = raises(error)
    assert main(["train"]) == code
    err = capsys.readouterr().err
    assert err.startswith("gan: ") and "Traceback" not in err


def test_an_unexpected_error_keeps_its_traceback_and_names_the_log(train, capsys):
    error = ZeroDivisionError("ours")
    error.add_note("the run's log is outputs/x/run.log")
    train.main = raises(error)
    assert main(["train"]) == 1
    err = capsys.readouterr().err
    assert (
        "Traceback" in err
        and "ZeroDivisionError: ours" in err
        and err.endswith("run's log is outputs/x/run.log\n")
    )


def test_a_broken_pipe_that_is_not_our_output_keeps_its_traceback(train, capsys):
    train.main = raises(BrokenPipeError("a worker's"))
    assert main(["train"]) == 1
    assert "a worker's" in capsys.readouterr().err


def test_several_problems_in_one_plain_list(capsys):
    assert main(["train", "model=dcgna", "trainer.stepz=1"]) == 2
    assert capsys.readouterr().err.splitlines()[:4] == [
        "gan: 2 problems",
        "  1. no option 'dcgna' in group 'model'",
        "     did you mean 'dcgan'?",
        "     options: "
        + ", ".join(path.stem for path in sorted((ROOT / "conf/model").glob("[!_]*.yaml"))),
    ]


def test_a_real_process_shows_no_traceback():
    done = gan("train", "model=dcgna", "+typo=1")
    assert done.returncode == 2 and done.stdout == ""
    assert (
        "Traceback" not in done.stderr
        and "HYDRA_FULL_ERROR" not in done.stderr
        and "gan: 2 problems" in done.stderr
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_quiet(unbuffered):
    ours, theirs = os.pipe()
    os.close(ours)  # whoever should read has gone before the first byte
    done = subprocess.run(
        [sys.executable, "-m", "gancli", "list"],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")


def terminal(command: list[str], *, columns: int, **env: str) -> str:
    """What a command writes to a terminal of that width."""
    ours, theirs = pty.openpty()
    env = {"COLUMNS": str(columns), "TERM": "xterm"} | env
    env |= {
        key: value
        for key, value in os.environ.items()
        if key not in ("NO_COLOR", "COLUMNS", "TERM")
    }
    command = [sys.executable, "-m", "gancli", *command]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        seen = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # how Linux says that the other side is closed
                break
            if not piece:
                break
            seen += piece
    os.close(ours)
    return seen.decode()


def test_a_terminal_shows_a_panel():
    seen = terminal(["train", "model=dcgna"], columns=80)
    assert "╭" in seen and "did you mean 'dcgan'?" in seen and "\x1b[31m" in seen


def test_a_terminal_of_20_columns_without_colour():
    seen = terminal(["trian"], columns=20, NO_COLOR="1")
    assert "\x1b[3" not in seen
    assert (
        max(len(line) for line in seen.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines())
        <= 20
    )
    assert "'train'?" in seen


def test_brackets_in_messages_are_text(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["train", "seed=[red]x"]) == 2
    assert "[red]x" in capsys.readouterr().err


# questions to Hydra


def test_cfg_job_prints_the_config(capsys):
    assert main(["train", "--cfg", "job", "-p", "trainer", "trainer.steps=9"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# @package trainer\nsteps: 9\n") and "seed" not in out


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["train", "--info", "defaults-tree"], "model: cgan"),
        (["train", "--hydra-help"], "--multirun,-m"),
        (["sample", "--cfg=job"], "ckpt: ???"),
        (["train", "-c", "job", "--resolve", "-p", "model.generator.resolution"], "32"),
    ],
)
def test_hydras_own_flags(argv, expected, capsys):
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    assert main(argv) == 0
    assert expected in capsys.readouterr().out
    assert (sys.argv, os.environ.get("HYDRA_FULL_ERROR")) == before


def test_cfg_with_a_typo_is_refused(capsys):
    assert main(["train", "--cfg", "job", "+trainer.typo=1"]) == 2
    assert "unknown key 'trainer.typo'" in capsys.readouterr().err


def test_rerun_from_a_pickle_is_refused(tmp_path, capsys):
    assert main(["train", "--experimental-rerun", str(tmp_path / "x.pickle")]) == 2
    assert "unpickles" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gan ", {"train", "list"}),
        ("gan tr", {"train"}),
        ("gan train model=", {"model=dcgan", "model=cgan"}),
        ("gan train optimizer.g.l", {"optimizer.g.lr="}),
        ("gan sample ck", {"ckpt="}),
        ("gan check trainer.st", {"trainer.steps="}),
        ("gan train seed=3 ", {"loss=", "trainer."}),
    ],
)
def test_shell_completion(line, expected, capsys, monkeypatch):
    monkeypatch.setenv("COMP_LINE", line)
    assert main(["-sc", "query=bash"]) == 0
    assert expected <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize("line", ["gan train model=", "gan train experiment=_", "gan train "])
def test_shell_completion_hides_bases(line, capsys, monkeypatch):
    monkeypatch.setenv("COMP_LINE", line)
    assert main(["-sc", "query=bash"]) == 0
    assert "=_" not in capsys.readouterr().out


def test_shell_completion_sees_the_users_folder(tmp_path, capsys, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine.yaml").write_text("# Mine\n")
    monkeypatch.setenv("COMP_LINE", f"gan train -cd {tmp_path} model=mi")
    assert main(["-sc", "query=bash"]) == 0
    assert capsys.readouterr().out.split() == ["model=mine"]


# gan list


def test_list_shows_every_option_with_its_line(capsys):
    assert main(["list", "loss"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "loss" and lines[-1] == "  gan train --help"
    assert len(lines) == 2 + len(list((ROOT / "conf/loss").glob("[!_]*.yaml")))
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines[1:-1])


def test_list_as_json_with_a_users_folder(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine.yaml").write_text(
        "# @package model\n# Mine, ünïcode (Me 2026)\na: 1\n", encoding="utf-8"
    )
    assert main(["list", "--json", "--config-dir", str(tmp_path)]) == 0
    table = json.loads(capsys.readouterr().out)
    assert (
        table["model"]["mine"] == "Mine, ünïcode (Me 2026)"
        and "dcgan" in table["model"]
        and set(table) >= {"loss", "dataset"}
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["modle"], "no group 'modle'\n  did you mean 'model'?\n  groups: augment, "),
        (["--jsn"], "unknown flag '--jsn'\n  did you mean '--json'?"),
        (["--config-dir"], "--config-dir needs a value"),
        (["--config-dir", "no/dir"], "there is no folder"),
    ],
)
def test_mistakes_in_list(argv, message, capsys):
    assert main(["list", *argv]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("columns", [20, 100])
def test_list_on_a_terminal_fits(columns):
    seen = terminal(["list", "ema"], columns=columns, NO_COLOR="1")
    plain = seen.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert max(len(line) for line in plain.splitlines()) <= columns and "default" in plain


def test_many_commands_in_one_process(capsys):
    for argv, code in [
        (["train", "--cfg", "job"], 0),
        (["train", "modle=x"], 2),
        (["list", "ema"], 0),
        (["train", "-h"], 0),
    ] * 2:
        assert main(argv) == code
    capsys.readouterr()
