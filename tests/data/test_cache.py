"""The cache: what exceeds the memory is mapped from a file, found again, and never
trusted blindly.
"""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch
from data_helpers import FIXED, numbered, values

from gancli.data import cache
from gancli.data.base import split
from gancli.data.folder import Folder
from gancli.errors import TemporaryFailure, UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(cache, "available_memory", lambda: 1000)


def test_what_exceeds_memory_is_mapped_and_found_again(tmp_path, little_memory, monkeypatch):
    root = str(numbered(tmp_path / "a", 40, bad=(3, 9)))
    decoded = Folder(path=root, holdout=10, **FIXED).load()
    (folder,) = cache.cache_root().iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [
        "chosen.npy",
        "images.npy",
        "skipped.json",
    ]
    monkeypatch.setattr("gancli.data.files.decode_chosen", None)  # a second decoding would fail
    again = Folder(path=root, holdout=10, **FIXED).load()
    assert torch.equal(again.images, decoded.images) and torch.equal(again.place, decoded.place)
    assert (
        again.skipped == decoded.skipped
        and len(again.skipped) == 2
        and again.digest == decoded.digest
    )
    train, held = split(again, limit=None, holdout=10)
    assert train.images.data_ptr() == again.images[10:].data_ptr() and len(held) == 10


def test_mapped_equals_in_memory(tmp_path, monkeypatch):
    root = str(numbered(tmp_path / "a", 40, bad=(3, 9)))
    plain = Folder(path=root, limit=20, holdout=4, **FIXED).load()
    monkeypatch.setattr(cache, "available_memory", lambda: 1000)
    mapped = Folder(path=root, limit=20, holdout=4, **FIXED).load()
    assert torch.equal(plain.images, mapped.images) and torch.equal(plain.place, mapped.place)


def test_another_transform_or_a_touched_file_is_another_cache(tmp_path, little_memory):
    root = numbered(tmp_path / "a", 40)
    for change in ({}, {"resolution": 9}, {"channels": 3}, {"limit": 30}, {"holdout": 3}):
        Folder(path=str(root), **FIXED | change).load()
    assert len(list(cache.cache_root().iterdir())) == 5
    (root / "007.png").write_bytes((root / "008.png").read_bytes())
    assert values(Folder(path=str(root), **FIXED).load())[7] == 8


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: os.truncate(file, 500),
        lambda file: os.truncate(file, 0),
        lambda file: np.save(file, np.zeros((3, 3), np.uint8)),
        os.remove,
    ],
)
def test_a_damaged_cache_is_made_anew(tmp_path, little_memory, caplog, damage):
    root = str(numbered(tmp_path / "a", 40))
    want = values(Folder(path=root, **FIXED).load())
    (file,) = cache.cache_root().glob("*/images.npy")
    damage(file)
    assert values(Folder(path=root, **FIXED).load()) == want
    assert "is damaged" in caplog.text


def test_a_failed_decoding_leaves_no_cache(tmp_path, little_memory):
    root = str(numbered(tmp_path / "a", 40, bad=(30,)))
    with pytest.raises(UserError):
        Folder(path=root, on_error="fail", **FIXED).load()
    assert list(cache.cache_root().iterdir()) == []


def test_neither_memory_nor_disk(tmp_path, little_memory, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 10))
    with pytest.raises(TemporaryFailure, match="40 decoded images of 8x8 pixels") as caught:
        Folder(path=str(numbered(tmp_path / "a", 40)), **FIXED).load()
    assert "dataset.limit" in caught.value.hint and caught.value.code == 75


def test_a_cache_that_may_not_be_written_is_no_full_disk(tmp_path, little_memory, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written to .* \\(Not a directory\\)"):
        Folder(path=str(numbered(tmp_path / "a", 40)), **FIXED).load()


def test_half_made_caches_are_swept(tmp_path, little_memory):
    old, new = (cache.cache_root() / f"{name}.1.partial" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    Folder(path=str(numbered(tmp_path / "a", 40)), **FIXED).load()
    assert not old.exists() and new.exists()


def test_available_memory_is_believable():
    found = cache.available_memory()
    assert found is None or 1e7 < found < 1e14
