"""zoo/NAME names a bundled file: each is whole, small, and known to the index."""

from __future__ import annotations

import hashlib

import pytest

from gancli.checkpoint import load_game
from gancli.errors import UserError
from gancli.files import zoo
from gancli.files.paths import check_init

NAMES = zoo.list_zoo()


def test_files_and_index_name_the_same():
    assert [entry["name"] for entry in zoo.read_zoo()] == NAMES
    assert len(NAMES) >= 2


def test_files_are_those_of_the_index_and_small():
    total = 0
    for entry in zoo.read_zoo():
        content = (zoo.find_zoo_folder() / f"{entry['name']}.pt").read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"], entry["name"]
        assert len(content) == entry["bytes"] <= 300_000, entry["name"]
        total += len(content)
    assert total <= 6_000_000


@pytest.mark.parametrize("name", NAMES)
def test_every_file_loads(name):
    loaded = load_game(f"zoo/{name}")
    (entry,) = (each for each in zoo.read_zoo() if each["name"] == name)
    assert sum(p.numel() for p in loaded.generator.parameters()) == entry["parameters"]
    assert loaded.tree["progress"]["step"] == entry["steps"]
    assert loaded.tree["config"]["seed"] == entry["seed"]


def test_a_path_that_exists_wins(tmp_path, monkeypatch):
    name = f"zoo/{NAMES[0]}"
    assert zoo.is_zoo_file(tmp_path / zoo.find_zoo_file(name))
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir(parents=True)
    assert zoo.find_zoo_file(name) == name
    with pytest.raises(UserError, match="holds no checkpoint"):
        load_game(name)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (f"zoo/{NAMES[0]}s", f"did you mean 'zoo/{NAMES[0]}'?"),
        (f"zoo/{NAMES[0]}.pt", f"did you mean 'zoo/{NAMES[0]}'?"),
        ("zoo/", "gan list zoo has the names"),
        ("zoo/../zoo/" + NAMES[0], "gan list zoo"),
        ("zoo/\x00", "gan list zoo has the names"),
    ],
)
def test_a_wrong_name_is_told(given, hint):
    with pytest.raises(UserError, match="the zoo has no") as caught:
        check_init(given)
    assert hint in caught.value.hint or "did you mean" in caught.value.hint
    with pytest.raises(UserError, match=r"the zoo has no|null"):
        zoo.find_zoo_file(given)


def test_names_are_completed():
    whole = f"ckpt=zoo/{NAMES[-1]}"
    assert whole in list(zoo.complete_zoo("ckpt="))
    assert list(zoo.complete_zoo(whole)) == [whole]
    assert list(zoo.complete_zoo("zoo/")) == [f"zoo/{name}" for name in NAMES]
    for other in ("", "z", "out=zoo/", "ckpt=runs/", "model=zoo"):
        assert not list(zoo.complete_zoo(other)), other
