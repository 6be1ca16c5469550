"""LMDB databases of images: the folder, the order of keys, classes in keys, bad values."""

from __future__ import annotations

import io
import sys

import pytest
from PIL import Image

from gancli.data.folder import Folder, listing
from gancli.errors import UserError
from gancli.reports.recipes import look_at

ALL = {"label": "auto", "split": "auto"}


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), value).save(file, "PNG")
    return file.getvalue()


def write(folder, values: dict[str, bytes]) -> str:
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(folder), map_size=1 << 20) as database, database.begin(write=True) as writer:
        for key, value in values.items():
            writer.put(key.encode(), value)
    return str(folder)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_values_are_images_in_the_order_of_their_keys(tmp_path):
    path = write(tmp_path / "church_lmdb", {f"{k:04d}": png(k) for k in (3, 1, 2, 0)})
    decoded = Folder(path=path, **ALL).load()
    assert decoded.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3] and decoded.labels is None
    again = Folder(path=str(tmp_path), workers=4, **ALL).load()
    assert again.digest == decoded.digest
    facts = look_at(path)
    assert (facts.n, facts.size) == (4, (8, 8))


def test_keys_with_folders_have_classes(tmp_path):
    path = write(tmp_path / "a", {f"{'xy'[k % 2]}/{k}.png": png(k) for k in range(6)})
    files = listing(path, **ALL)
    assert files.classes == ("x", "y") and files.labelled_by == "folders in the keys"


def test_values_that_are_no_images_are_skipped_by_name(tmp_path):
    path = write(tmp_path / "a", {"0": png(0), "1": png(1), "length": b"2"})
    decoded = Folder(path=path, **ALL).load()
    assert [name for name, _ in decoded.skipped] == ["length"] and len(decoded) == 2


def test_other_values_under_the_same_keys_are_other_data(tmp_path):
    first = write(tmp_path / "a", {"0": png(0)})
    second = write(tmp_path / "b", {"0": png(1)})
    assert listing(first, **ALL).identity != listing(second, **ALL).identity


def test_what_is_no_database_and_what_is_empty(tmp_path):
    with pytest.raises(UserError, match="holds nothing"):
        listing(write(tmp_path / "a", {}), **ALL)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="cannot be read"):
        listing(str(tmp_path / "b"), **ALL)
    with pytest.raises(UserError, match="2 LMDB databases"):
        listing(str(tmp_path), **ALL)


def test_without_the_package_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    (tmp_path / "data.mdb").write_bytes(b"x")
    with pytest.raises(UserError) as caught:
        listing(str(tmp_path), **ALL)
    assert caught.value.hint == "pip install 'gancli[lmdb]'"
