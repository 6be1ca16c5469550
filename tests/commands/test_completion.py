"""Completion by the Tab key: what is offered, and that the shells themselves take it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gancli.cli import SUBCOMMANDS, main
from gancli.commands import complete_keys, completion
from gancli.config.compose import compose
from gancli.files.zoo import list_zoo

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def place(tmp_path, monkeypatch, cache) -> Path:
    """A folder with a run, photos and a file; keys are composed once for all tests here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    (tmp_path / "runs/a run/checkpoints").mkdir(parents=True)
    (tmp_path / "my photos/cats").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "last.pt").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(line: str, capsys, *, shell: str = "fish", piece: str = "") -> list[str]:
    assert main(["completion", "answer", shell, line, piece]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [text.partition("\t")[0] for text in lines if text]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gan tr", ["train", "translate"]),
        ("gan config ", ["copy"]),
        ("gan config copy model/dcg", ["model/dcgan"]),
        ("gan completion ", ["bash", "zsh", "fish"]),
        ("gan list los", ["loss"]),
        ("gan train model=dcg", ["model=dcgan"]),
        ("gan train model=_", []),
        ("gan train experiment=_", []),
        ("gan train seed=1 trainer.ba", ["trainer.batch_size="]),
        ("gan check trainer.st", ["trainer.steps="]),
        ("gan train mo", ["model=", "model."]),
        ("gan train optimizer.g.lr", ["optimizer.g.lr="]),
        ("gan train ~los", ["~loss."]),
        ("gan train ++trainer.ste", ["++trainer.steps="]),
        ("gan train trainer.precision=f", ["trainer.precision=fp32"]),
        ("gan train trainer.device=c", ["trainer.device=cpu", "trainer.device=cuda"]),
        ("gan train log.tensorboard=", ["log.tensorboard=true", "log.tensorboard=false"]),
        ("gan train watch.action=r", ["watch.action=rollback"]),
        ("gan train optimizer.g.schedule=cos", ["optimizer.g.schedule=cosine"]),
        ("gan train +penalty@loss.penalties.r1", ["+penalty@loss.penalties.r1=r1"]),
        ("gan train -m loss=hinge,wgan_g", ["loss=hinge,wgan_gp", "loss=hinge,wgan_gp_pggan"]),
        ("gan train hydra.r", ["hydra.run."]),
        ("gan train --multi", ["--multirun"]),
        ("gan bench --against u", ["usual"]),
        ("gan sample ckpt=r", ["ckpt=runs/"]),
        ("gan sample ckpt=l", ["ckpt=last.pt"]),
        ("gan sample ckpt=runs/a", ["ckpt=runs/a run/"]),
        ("gan sample ckpt=runs/ e", ["ema="]),
        ("gan sample ckpt=runs/ ema=", ["ema=true", "ema=false"]),
        ("gan sample device=cu", ["device=cuda"]),
        ("gan train resume=", ["resume=auto", "resume=my photos/", "resume=runs/"]),
        ("gan train dataset.path=my", ["dataset.path=my photos/"]),
        ("gan train dataset.path=my\\ photos/", ["dataset.path=my photos/cats/"]),
        ("gan train 'dataset.path=my photos/", ["dataset.path=my photos/cats/"]),
        ("gan train dataset.path=.h", ["dataset.path=.hidden/"]),
        ("gan translate format=j", ["format=jpg"]),
        ("gan compare mode=", ["mode=min", "mode=max"]),
        ("gan report ru", ["runs/"]),
        ("gan data my", ["my photos/"]),
        ("gan nonsense ", []),
        ("gan sample model=", []),
        ("gan train no.such.key=", []),
    ],
)  # fmt: skip
def test_what_is_offered(line, expected, place, capsys):
    assert offered(line, capsys) == expected


def test_every_subcommand_and_group_is_offered(place, capsys):
    assert offered("gan ", capsys) == [*SUBCOMMANDS, "--help", "--version"]
    keys = offered("gan train ", capsys)
    assert {"model=", "loss=", "experiment=", "dataset=", "trainer.", "seed="} <= set(keys)
    assert "penalty=" not in keys and "+penalty@loss.penalties.r1=r1" in keys


def test_weights_of_the_package_and_those_of_runs(place, capsys):
    names = [f"zoo/{name}" for name in list_zoo()]
    assert names and offered("gan sample ckpt=zoo", capsys) == [f"ckpt={name}" for name in names]
    assert offered("gan train init=zoo/", capsys) == [f"init={name}" for name in names]
    assert offered("gan show zoo/", capsys) == names
    others = ["ckpt=last.pt", "ckpt=my photos/", "ckpt=runs/"]
    assert offered("gan sample ckpt=", capsys) == [*(f"ckpt={name}" for name in names), *others]


def test_keys_and_values_of_the_model_that_is_typed(place, capsys):
    norms = offered("gan train model=dcgan model.generator.norm=", capsys)
    assert "model.generator.norm=spectral" in norms and "model.generator.norm=batch" in norms
    line = "gan train model=dcgan model.discriminator.norm=a"
    assert offered(line, capsys) == ["model.discriminator.norm=auto"]
    assert offered("gan train model=stylegan2 model.generator.map", capsys)
    assert not offered("gan train model=mlp model.generator.map", capsys)


def test_options_and_keys_of_the_users_own_folder(place, capsys):
    (place / "conf/model").mkdir(parents=True)
    (place / "conf/model/mine.yaml").write_text("# Mine\ndefaults: [dcgan, _self_]\nown_key: 3\n")
    line = "gan train --config-dir conf model=mi"
    assert offered(line, capsys) == ["model=mine"]
    assert offered(f"{line}ne model.own", capsys) == ["model.own_key="]
    assert offered("gan train --config-dir co", capsys) == ["conf/"]
    assert offered("gan train --config-dir=co", capsys) == ["--config-dir=conf/"]


def test_the_cache_is_used_and_dropped_with_a_change(place, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    (place / "conf/trainer").mkdir(parents=True)
    own = place / "conf/trainer/mine.yaml"
    own.write_text("# Mine\ndefaults: [default, _self_]\n")
    counted = []

    def compose_counted(*args: object, **keys: object):
        counted.append(args)
        return compose(*args, **keys)

    monkeypatch.setattr("gancli.config.compose.compose", compose_counted)
    line = "gan train --config-dir conf trainer=mine trainer.kee"
    for _ in range(2):
        assert offered(line, capsys) == ["trainer.keep="]
    assert len(counted) == 1
    own.write_text("# Mine\ndefaults: [default, _self_]\nkeep: 2\n")
    os.utime(own, ns=(1, 1))
    assert offered(line, capsys) == ["trainer.keep="] and len(counted) == 2


def test_the_cache_stays_small_and_may_be_damaged_or_missing(place, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    monkeypatch.setattr(complete_keys, "MOST_KEPT", 2)
    monkeypatch.setattr(complete_keys, "compose_leaves", lambda *_: {"seed": []})
    for model in ("mlp", "dcgan", "cgan"):
        assert offered(f"gan train model={model} see", capsys) == ["seed="]
    kept = list((place / "cache/gancli/completion").glob("*"))
    assert len(kept) == 2
    for path in kept:
        path.write_text("[1")
    assert offered("gan train model=cgan see", capsys) == ["seed="]
    (place / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "file"))
    assert offered("gan train see", capsys) == ["seed="]


def test_words_that_do_not_compose_offer_the_usual_keys(place, capsys):
    line = "gan train model=mlp +head@model.heads.rotation=rotation model=dcgan trainer.ste"
    assert offered(line, capsys) == ["trainer.steps="]


@pytest.mark.parametrize(
    ("line", "piece", "expected"),
    [
        ("gan train model=dcg", "dcg", ["dcgan "]),
        ("gan train trainer.ste", "trainer.ste", ["trainer.steps="]),
        ("gan train dataset.path=my", "my", ["my\\ photos/"]),
        ("gan train dataset.path=my\\ ph", "my\\ ph", ["my\\ photos/"]),
        ("gan train dataset.path='my ph", "'my ph", ["my photos/"]),
        ("gan train +penalty@loss.penalties.r1=r", "r", ["r1 ", "r2 "]),
        ("gan tra", "tra", ["train ", "translate "]),
    ],
)
def test_what_bash_replaces(line, piece, expected, place, capsys):
    assert capture_lines(["bash", line, piece], capsys) == expected


def capture_lines(words: list[str], capsys) -> list[str]:
    assert main(["completion", "answer", *words]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_script_of_a_shell(shell, capsys):
    assert main(["completion", shell]) == 0
    assert f"gan completion answer {shell} " in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["bsh"], ["bash", "zsh"]])
def test_a_shell_that_is_not_known(words, capsys):
    assert main(["completion", *words]) == 2
    assert ("'bash'" if words == ["bsh"] else "bash") in capsys.readouterr().err


def with_gan(cache: Path) -> dict[str, str]:
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(cache)}


def test_bash_itself(place, cache):
    """The function that bash calls, with what bash hands to it."""
    lines = [
        ("gan train model=dcg", "dcg"),
        ("gan train trainer.precision=f", "f"),
        ("gan sample ckpt=runs/a", "runs/a"),
    ]
    script = 'eval "$(gan completion bash)"; complete -p gan\n'
    for line, piece in lines:
        script += (
            f'COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; _gan gan "{piece}" ""\n'
            'printf "%s|" "${COMPREPLY[@]}"; echo\n'
        )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=with_gan(cache), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "complete -o nospace -F _gan gan",
        "dcgan |",
        "fp32 |",
        "runs/a\\ run/|",
    ]


START = {
    "bash": (["bash", "--norc", "-i"], 'eval "$(gan completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'eval "$(gan completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "gan completion fish | source"),
}


@pytest.mark.full
@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_shell_on_a_terminal(shell, place, cache):
    """Types a line with the Tab key: what is echoed was completed by the shell."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    command, install = START[shell]
    process, handle = pty.fork()
    if process == 0:
        os.environ.update(with_gan(cache), TERM="xterm", PS1="> ", HOME=str(place))
        os.execvp(command[0], command)
    try:
        read_until(handle, "", quiet_s=2.0)
        type_keys(handle, f"{install}\r")
        read_until(handle, "", quiet_s=3.0)
        type_keys(handle, "gan train model=dcg\t")
        assert "model=dcgan" in read_until(handle, "model=dcgan", quiet_s=20.0)
        type_keys(handle, "trainer.batch\t")
        assert "trainer.batch_size=" in read_until(handle, "trainer.batch_size=", quiet_s=20.0)
        type_keys(handle, "8 dataset.path=my\t")
        assert "photos/" in read_until(handle, "photos/", quiet_s=20.0)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(handle)


def type_keys(handle: int, keys: str) -> None:
    os.write(handle, keys.encode())


def read_some(handle: int) -> str:
    return os.read(handle, 65536).decode(errors="replace")


def read_until(handle: int, words: str, *, quiet_s: float) -> str:
    """Reads what a terminal shows until these words come, or nothing for so long."""
    text = ""
    while select.select([handle], [], [], quiet_s)[0]:
        with contextlib.suppress(OSError):
            text += re.sub(r"\x1b\[[\d;?]*[a-zA-Z]|[\x07\x08]", "", read_some(handle))
        if words and words in text:
            break
        time.sleep(0.05)
    return text
