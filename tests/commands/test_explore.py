"""gan explore: what it refuses, and that a picture of the page is that of its command."""

from __future__ import annotations

import importlib.util
import json
import shlex
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from helpers import REPO, small
from PIL import Image
from train_helpers import run_folder

from gancli.checkpoint import load_game
from gancli.cli import main
from gancli.commands import explore as command
from gancli.commands.explore_session import Session, write_label
from gancli.config.compose import compose
from gancli.errors import UserError
from gancli.inference.explore import Between, Draw, Mixed, Moved
from gancli.run.checkpoint_options import compose_options


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    run_folder(root / "classes", small("stylegan2", "model.conditional=true"))
    return root


def open_session(run: Path, tmp_path: Path, **more: object) -> Session:
    options = {"ckpt": str(run), "ema": True, "device": "cpu", "trust": [], "seed": 0} | more
    shown = tmp_path / "shown"
    shown.mkdir()
    session = Session(
        load_game(str(run)), options=options, out=tmp_path / "kept picks", shown=shown
    )
    session.refuse_unfit()
    return session


def read_sampled(text: str, folder: Path) -> bytes:
    """Runs a gan sample command as it stands, and reads the first image that it writes."""
    program, *words = shlex.split(text)
    assert program == "gan"
    assert main([*words, f"out={folder}"]) == 0
    return (folder / "000000.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "ckpt is not given"),
        (["ckpt=."], "checkpoint"),
        (["ckpt=.", "port=0"], "port=0 does not fit"),
        (["ckpt=.", "port=http"], "port"),
        (["ckpt=.", "open=perhaps"], "open"),
        (["ckpt=.", "prot=7861"], "did you mean 'port'?"),
        (["ckpt=.", "model=dcgan"], "explore takes no model"),
    ],
)
def test_wrong_words_are_answered(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "require_gradio", lambda: None)
    free = [] if any(word.startswith("port") for word in words) else ["port=7863"]
    monkeypatch.setattr(command, "refuse_taken_port", lambda port: None)
    assert main(["explore", *words, *free]) == 2
    assert said in capsys.readouterr().err


def test_the_commands_of_the_page_are_understood(tmp_path, monkeypatch):
    text = (REPO / "docs" / "explore.md").read_text()
    found = [line for line in text.splitlines() if line.startswith("gan explore ")]
    assert len(found) == 2
    (tmp_path / found[1].partition("ckpt=")[2]).mkdir(parents=True)  # a run like others
    monkeypatch.chdir(tmp_path)
    for line in found:
        cfg = compose_options("explore", shlex.split(line)[2:], missing=True).cfg
        assert command.read_options(cfg)["ckpt"].startswith(("zoo/", "outputs/"))


def test_a_missing_gradio_is_named_with_its_extra(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["explore", "ckpt=."]) == 2
    assert "pip install 'gancli[explore]'" in capsys.readouterr().err


def test_a_taken_port_is_answered_in_words():
    with socket.socket() as listener:
        listener.bind((command.HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=f"port={port} is taken") as raised:
            command.refuse_taken_port(port)
    assert raised.value.hint.startswith(("port=", "give another"))
    command.refuse_taken_port(port)


def test_a_signal_ends_it_with_its_code():
    before = signal.getsignal(signal.SIGTERM)
    with command.listening() as ended:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert ended.wait() == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_gradio_is_told_to_ask_nobody(monkeypatch, tmp_path):
    monkeypatch.setattr(command.os, "environ", {"GRADIO_SHARE": "true", "NO_PROXY": "here"})
    command.silence_gradio(tmp_path)
    found = command.os.environ
    assert found["GRADIO_ANALYTICS_ENABLED"] == "False" and found["GRADIO_SHARE"] == "False"
    assert found["NO_PROXY"] == "here,127.0.0.1,localhost"
    assert found["GRADIO_TEMP_DIR"].startswith(str(tmp_path))


def test_pictures_are_those_of_their_commands(runs, tmp_path, capsys):
    session = open_session(runs / "classes", tmp_path)
    draw = Draw(seed=3, label=1, options={"truncation": 0.5})
    shown = session.show(draw)
    assert shown.words == "seed 3, class 1, truncation 0.5"
    assert shown.picture.read_bytes() == read_sampled(shown.command, tmp_path / "a")
    moved = Moved(of=draw, amounts=(3.0, -2.0), layers=(0, 3))
    pick = Mixed(of=Between(first=moved, second=Draw(seed=5), share=0.3), other=draw, layers=(3, 5))
    assert session.show(pick).command == ""
    name, command_line = session.save(pick)
    kept = (session.out / name).read_bytes()
    assert kept == session.show(pick).picture.read_bytes() != shown.picture.read_bytes()
    # Noise is that of the seed: a pick differs from its start in what was moved alone.
    assert "seed=3 noise=random" in command_line
    assert kept == read_sampled(command_line, tmp_path / "b")


@pytest.mark.parametrize("name", ["7", "01", "null", "1.0", "cat (wild)", "it's", "丙 类（三）"])
def test_a_class_is_written_so_that_its_name_comes_back(name):
    words = shlex.split(shlex.join([write_label(name)]))
    assert str(compose("sample", ["ckpt=x", *words]).cfg.label) == name


MODELS = {  # what can be kept of each: (options, codes, does it move along directions?)
    "dcgan": ({}, {}, True),
    "infogan": ({}, {"code0": 3, "code1": -0.5}, True),
    "lapgan": ({"noise": "fixed", "level": 1}, {}, True),
    "cogan": ({"domain": "both"}, {}, True),
    "stylegan": ({"truncation": 0.5}, {}, True),
    "pggan": ({}, {}, True),
    "biggan": ({}, {}, True),
    "rcgan": ({}, {}, False),
    "wavegan": ({}, {}, False),
}


@pytest.mark.full
@pytest.mark.parametrize("model", MODELS)
def test_a_pick_of_any_model_is_made_again_by_its_command(model, tmp_path):
    session = open_session(run_folder(tmp_path / "run", small(model)), tmp_path)
    options, codes, moves = MODELS[model]
    label = 0 if session.model.game.classes else None
    draw = Draw(seed=4, label=label, options=options, codes=codes)
    assert session.has_directions() is moves
    pick = (
        Moved(of=draw, amounts=(2.0, 1.0))
        if moves
        else Between(first=draw, second=Draw(seed=9, label=label), share=0.4)
    )
    for each in (Draw(seed=4, label=label, options=options), pick):
        name, words = session.save(each)
        folder = tmp_path / f"again-{name}"
        if session.modality.pixels:
            assert (session.out / name).read_bytes() == read_sampled(words, folder)
            continue
        assert main([*shlex.split(words)[1:], f"out={folder}"]) == 0
        for made in session.modality.files:
            kept = (session.out / name).with_suffix(Path(made).suffix)
            assert kept.read_bytes() == (folder / made).read_bytes()


@pytest.mark.full
@pytest.mark.parametrize(("model", "swept"), [("infogan", "code1"), ("cgan", "label")])
def test_a_sweep_is_that_of_its_command(model, swept, tmp_path):
    session = open_session(run_folder(tmp_path / "run", small(model)), tmp_path)
    picture, words = session.sweep(Draw(seed=4), swept)
    assert main([*shlex.split(words)[1:], f"out={tmp_path / 'again'}"]) == 0
    assert picture.read_bytes() == (tmp_path / "again" / "sweep.png").read_bytes()


@pytest.mark.full
def test_a_translation_is_that_of_its_command(tmp_path, monkeypatch):
    session = open_session(run_folder(tmp_path / "run", small("cyclegan")), tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a photo.png")
    picture, words = session.translate(
        str(tmp_path / "a photo.png"), direction="ba", seed=3, extras={}
    )
    monkeypatch.chdir(tmp_path)
    assert main([*shlex.split(words)[1:], "out=again"]) == 0
    kept, _ = session.save_translation(str(picture), words)
    again = (tmp_path / "again" / "a photo.png").read_bytes()
    assert picture.read_bytes() == (session.out / kept).read_bytes() == again


def test_saved_picks_are_numbered_and_listed(runs, tmp_path):
    session = open_session(runs / "classes", tmp_path, ema=False)
    assert session.save(Draw(seed=1, label=0))[0] == "pick-000.png"
    name, words = session.save(Draw(seed=2, label=1))
    assert name == "pick-001.png" and session.saved == "2 picks"
    entries = json.loads((session.out / "picks.json").read_text())
    assert entries[1] == {
        "file": name,
        "seed": 2,
        "label": 1,
        "class": "1",
        "command": f"gan sample ckpt={runs / 'classes'} n=1 seed=2 label=1 ema=false device=cpu",
    }
    assert words == entries[1]["command"]
    (session.out / "picks.json").write_text("{}")
    with pytest.raises(UserError, match="is no list of picks"):
        session.save(Draw(seed=1))
    assert not (session.out / "pick-002.png").exists()
