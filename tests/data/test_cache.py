"""The cache: what exceeds the memory is mapped from a file, found again, and never
trusted blindly.
"""

from __future__ import annotations

import errno
import os
import shutil

import numpy as np
import pytest
import torch
from data_helpers import FIXED, numbered, values
from helpers import frozen
from PIL import Image

from gancli.cli import main
from gancli.config.build import build
from gancli.data import cache
from gancli.data.base import split
from gancli.data.folder import Folder
from gancli.errors import TemporaryFailure, UserError
from gancli.render.notes import NOTE


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch, caplog):
    caplog.set_level(NOTE)
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
        "facts.json",
        "images.npy",
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


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr(cache, "SLOW_S", 0.0)


def find_kept() -> list[str]:
    return [folder.name for folder in cache.list_kept(cache.cache_root(), half_made=True)]


def test_what_took_long_is_kept_and_reused_with_its_notes(tmp_path, slow, caplog, monkeypatch):
    root = numbered(tmp_path / "a", 40, bad=(3, 9))
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(root / "005.png")
    first = Folder(path=str(root), holdout=10, **FIXED).load()
    said = [record.getMessage() for record in caplog.records]
    assert any("kept for the next run" in text for text in said)
    notes = [text for text in said if text.startswith("16-bit")]
    monkeypatch.setattr("gancli.data.files.decode_chosen", None)  # a second decoding would fail
    caplog.clear()
    again = Folder(path=str(root), holdout=10, **FIXED).load()
    said = [record.getMessage() for record in caplog.records]
    assert f"decoded images of {root} are reused (gan data --clear-cache)" in said
    assert len(notes) == 1 and notes[0] in said and any("skipped 2 of 40" in text for text in said)
    assert torch.equal(again.images, first.images) and torch.equal(again.place, first.place)
    assert (again.skipped, again.digest) == (first.skipped, first.digest)
    with pytest.raises(UserError, match="003.png"):
        Folder(path=str(root), holdout=10, on_error="fail", **FIXED).load()


def test_true_and_false_are_auto_and_none(tmp_path):
    numbered(tmp_path / "a", 3)
    words = ("model=mlp", "dataset=folder", f"dataset.path={tmp_path / 'a'}")
    for typed, means in ((True, "auto"), (False, "none"), ("read", "read")):
        spec = frozen(*words, f"dataset.cache={typed}", "dataset.resolution=8")["dataset"]
        assert build(spec, where="dataset", trust=None).cache == means


def test_what_is_quick_or_unwanted_is_not_kept(tmp_path, monkeypatch):
    root = str(numbered(tmp_path / "a", 10))
    Folder(path=root, **FIXED).load()
    monkeypatch.setattr(cache, "SLOW_S", 0.0)
    for choice in ("none", "read"):
        Folder(path=root, cache=choice, **FIXED).load()
        assert find_kept() == []
    Folder(path=root, **FIXED).load()
    monkeypatch.setattr("gancli.data.files.decode_chosen", None)
    assert len(Folder(path=root, cache="read", **FIXED).load()) == 10
    with pytest.raises(UserError, match="dataset.cache=never"):
        Folder(path=root, cache="never", **FIXED)


def test_a_changed_file_another_folder_and_a_flipped_bit_are_noticed(tmp_path, slow, caplog):
    root = numbered(tmp_path / "a", 10)
    Folder(path=str(root), **FIXED).load()
    shutil.copytree(root, tmp_path / "b")  # with the same times
    Folder(path=str(tmp_path / "b"), **FIXED).load()
    assert len(find_kept()) == 2
    stat = (root / "007.png").stat()
    (root / "007.png").write_bytes((root / "008.png").read_bytes())
    assert values(Folder(path=str(root), **FIXED).load())[7] == 8
    os.utime(root / "007.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert cache.clear()[0] == 3
    want = values(Folder(path=str(root), **FIXED).load())
    (file,) = cache.cache_root().glob("*/images.npy")
    with file.open("r+b") as stream:
        stream.seek(-5, os.SEEK_END)
        stream.write(b"\x99")
    assert values(Folder(path=str(root), **FIXED).load()) == want
    assert "is damaged (other bytes than were written)" in caplog.text


def test_two_processes_may_keep_the_same_images(tmp_path, slow, monkeypatch, caplog):
    root = str(numbered(tmp_path / "a", 10))
    real = cache.write_facts

    def lose(folder, whole):  # the other one is faster
        monkeypatch.setattr(cache, "write_facts", real)
        Folder(path=root, **FIXED).load()
        real(folder, whole)

    monkeypatch.setattr(cache, "write_facts", lose)
    monkeypatch.setattr(os, "getpid", iter(range(100)).__next__)
    assert len(Folder(path=root, **FIXED).load()) == 10
    (name,) = find_kept()
    assert "partial" not in name
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("what", ["no folder", "full"])
def test_where_nothing_can_be_kept_it_is_said_and_the_run_goes_on(
    what, tmp_path, slow, monkeypatch, caplog
):
    if what == "full":

        def fail(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(np, "save", fail)
    else:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(Folder(path=str(numbered(tmp_path / "a", 10)), **FIXED).load()) == 10
    reason = {"full": "No space left on device", "no folder": "Not a directory"}[what]
    assert f"({reason}), so the next run decodes them again" in caplog.text
    assert what == "no folder" or find_kept() == []


def test_images_too_large_for_a_cache_are_told(tmp_path, slow, monkeypatch, caplog):
    monkeypatch.setattr(cache, "MOST_KEPT", 10)
    Folder(path=str(numbered(tmp_path / "a", 10)), **FIXED).load()
    assert "are too much to keep for the next run" in caplog.text and find_kept() == []


def test_all_that_is_kept_stays_within_a_bound_and_is_cleared(tmp_path, slow, monkeypatch, capsys):
    roots = [str(numbered(tmp_path / name, 10)) for name in "abc"]
    for root in roots[:2]:
        Folder(path=root, **FIXED).load()
    size = cache.measure_folder(next(cache.list_kept(cache.cache_root())))
    Folder(path=roots[0], **FIXED).load()  # used last
    first, second = sorted(
        cache.list_kept(cache.cache_root()), key=lambda folder: folder.stat().st_mtime_ns
    )
    monkeypatch.setattr(cache, "MOST_KEPT", 2 * size)
    Folder(path=roots[2], **FIXED).load()
    assert not first.exists() and second.exists() and len(find_kept()) == 2
    (cache.cache_root() / "metrics").mkdir()
    assert main(["data", "--clear-cache"]) == 0
    assert "removed the decoded images of 2 data sets" in capsys.readouterr().out
    assert [path.name for path in cache.cache_root().iterdir()] == ["metrics"]
    assert main(["data", "--clear-cahce"]) == 2
    assert "--clear-cache" in capsys.readouterr().err
    assert main(["data", "--clear-cache", "photos"]) == 2
    assert "it clears all" in capsys.readouterr().err


def test_threads_follow_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert Folder(path="a", **FIXED).count_workers() == 3
    assert Folder(path="a", workers=2, **FIXED).count_workers() == 2
