"""limit and holdout of a folder: only what is needed is decoded, and it is what `split`
would take.
"""

from __future__ import annotations

import shutil

import pytest
from data_helpers import FIXED, numbered, picture, values

from gancli.data.base import split
from gancli.data.folder import Folder
from gancli.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("bad", [(), (3, 4, 11, 17, 30), tuple(range(0, 39, 3))])
@pytest.mark.parametrize(
    ("limit", "holdout"), [(None, 0), (None, 6), (5, 0), (5, 6), (20, 10), (39, 1), (100, 5)]
)
def test_limit_decodes_what_split_would_take_of_all(tmp_path, bad, limit, holdout):
    root = str(numbered(tmp_path / "a", 40, bad=bad))
    whole = Folder(path=root, **FIXED).load()
    part = Folder(path=root, limit=limit, holdout=holdout, **FIXED).load()
    assert len(part) == min(len(whole), (limit or 40) + holdout)
    for a, b in zip(
        split(whole, limit=limit, holdout=holdout),
        split(part, limit=limit, holdout=holdout),
        strict=True,
    ):
        assert (a is None) == (b is None)
        if a is not None:
            assert sorted(values(a)) == sorted(values(b))


def test_both_parts_are_views_of_the_whole(tmp_path):
    root = str(numbered(tmp_path / "a", 40, bad=(1, 2, 3)))
    decoded = Folder(path=root, holdout=10, **FIXED).load()
    train, held = split(decoded, limit=None, holdout=10)
    assert (len(train), len(held)) == (27, 10)
    for part in (train, held):
        assert (
            part.images.untyped_storage().data_ptr() == decoded.images.untyped_storage().data_ptr()
        )


def test_labels_stay_with_their_images(tmp_path):
    for i in range(30):
        picture(tmp_path / "a" / str(i % 3) / f"{i}.png", i)
    (tmp_path / "a" / "1" / "4.png").write_bytes(b"")
    decoded = Folder(path=str(tmp_path / "a"), limit=12, holdout=5).load()
    for part in split(decoded, limit=12, holdout=5):
        assert [v % 3 for v in values(part)] == part.labels.tolist()


def test_holdout_of_everything_is_refused(tmp_path):
    with pytest.raises(UserError, match="holdout=4 leaves none of the 4"):
        Folder(path=str(numbered(tmp_path / "a", 4)), holdout=4, **FIXED).load()


def test_digest_tells_other_data(tmp_path):
    first = Folder(path=str(numbered(tmp_path / "a", 4)), **FIXED).load().digest
    assert (
        Folder(path=str(shutil.copytree(tmp_path / "a", tmp_path / "b")), **FIXED).load().digest
        == first
    )
    assert Folder(path=str(tmp_path / "a"), **FIXED | {"resolution": 4}).load().digest == first
    (tmp_path / "b" / "003.png").rename(tmp_path / "b" / "004.png")
    picture(tmp_path / "a" / "000.png", 0, size=(40, 40))
    assert (
        len({first, *(Folder(path=str(tmp_path / name), **FIXED).load().digest for name in "ab")})
        == 3
    )
