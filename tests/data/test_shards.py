"""Tar files in webdataset's layout: index, labels, and members that must not be read."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile

import pytest
import torch
import train_helpers
from helpers import differences
from PIL import Image
from train_helpers import TINY, last, sound

from gancli.data import cache, shards
from gancli.data.folder import Folder, listing
from gancli.errors import UserError
from gancli.reports.recipes import look_at

gan = pytest.fixture(train_helpers.gan)
ALL = {"label": "auto", "split": "auto"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), value).save(file, "PNG")
    return file.getvalue()


def packed(path, members: dict[str, bytes]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def sharded(root, n: int = 12, each: int = 5, name: str = "{:06d}.tar"):
    """Image k is filled with k; its class is k % 3, its metadata tell of hair."""
    for first in range(0, n, each):
        members = {}
        for k in range(first, min(n, first + each)):
            meta = {"hair": "ab"[k % 2], "caption": "long " * 99, "size": [1, 2], "id": k}
            members |= {
                f"{k:04d}.json": json.dumps(meta).encode(),
                f"{k:04d}.png": png(k),
                f"{k:04d}.cls": str(k % 3).encode(),
            }
        packed(root / name.format(first // each), members)
    return str(root)


def load(path, **options):
    return Folder(path=str(path), **{**ALL, **options}).load()


def test_shards_are_read_in_their_order_with_their_classes(tmp_path):
    decoded = load(sharded(tmp_path / "a"))
    assert decoded.images[:, 0, 0, 0].tolist() == list(range(12))
    assert decoded.labels.tolist() == [k % 3 for k in range(12)]
    files = listing(str(tmp_path / "a"), **ALL)
    assert (
        files.names[6] == "000001.tar/0006.png"
        and files.labelled_by == "column cls of the tar files"
    )
    assert files.remarks == (
        "the tar files: cls is taken for the label; dataset.label=hair takes another column of "
        "hair, id",
    )
    assert listing(str(tmp_path / "a"), label="hair").classes == ("a", "b")
    with pytest.raises(UserError) as caught:
        listing(str(tmp_path / "a"), label="hiar")
    assert caught.value.hint == "did you mean 'hair'?"


def test_a_lone_tar_file_and_class_folders_in_one(tmp_path):
    path = packed(tmp_path / "a.tar", {f"set/{'xy'[k % 2]}/{k}.png": png(k) for k in range(4)})
    decoded = load(path)
    assert decoded.classes == ("x", "y") and len(decoded) == 4
    facts = look_at(path)
    assert (facts.n, facts.size, facts.classes) == (4, (8, 8), 2)


def test_parts_are_told_by_names_and_folders(tmp_path):
    sharded(tmp_path / "a", name="train-{:04d}.tar")
    sharded(tmp_path / "a", 5, name="val-{:04d}.tar")
    assert len(listing(str(tmp_path / "a"), **ALL)) == 12
    assert len(listing(str(tmp_path / "a"), split="val")) == 5
    sharded(tmp_path / "b" / "train")
    sharded(tmp_path / "b" / "test", 5)
    files = listing(str(tmp_path / "b"), **ALL)
    assert len(files) == 12 and files.left_out
    assert "of its parts train is taken (12 images), and left out test (5)" in files.remarks[0]


def test_the_index_is_made_once_and_again_where_a_file_has_changed(tmp_path, monkeypatch):
    path = sharded(tmp_path / "a")
    indexed = []
    index_shard = shards.index_shard

    def count(file, name):
        indexed.append(name)
        return index_shard(file, name)

    monkeypatch.setattr(shards, "index_shard", count)
    first = listing(path, **ALL)
    assert len(indexed) == 3
    again = listing(path, **ALL)
    assert len(indexed) == 3 and again.names == first.names
    assert again.labels.tolist() == first.labels.tolist()
    assert [again.read(k).getvalue() for k in range(12)] == [
        first.read(k).getvalue() for k in range(12)
    ]
    packed(tmp_path / "a" / "000001.tar", {"x.png": png(99), "x.cls": b"7"})
    assert len(listing(path, **ALL)) == 8 and indexed[3:] == ["000001.tar"]
    (place,) = cache.list_kept(cache.cache_root())
    (place / shards.INDEX).write_text('{"format": 1, "shards": [{"name": 1}]}')
    assert len(listing(path, **ALL)) == 8 and len(indexed) == 7
    listing(path, **ALL, keep="none")
    assert len(indexed) == 10
    assert cache.clear()[:2] == (0, 1)
    listing(path, **ALL, keep="read")
    assert not list(cache.list_kept(cache.cache_root()))


def test_an_index_that_would_be_too_large_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MOST_INDEX", 100)
    listing(sharded(tmp_path / "a"), **ALL)
    assert not list(cache.list_kept(cache.cache_root()))


def test_more_than_memory_holds_is_decoded_once_into_a_mapped_file(tmp_path, monkeypatch):
    path = sharded(tmp_path / "a")
    whole = load(path, holdout=2, limit=8)
    monkeypatch.setattr(cache, "fits", lambda n: False)
    mapped = load(path, holdout=2, limit=8)
    assert torch.equal(whole.images, mapped.images) and whole.digest == mapped.digest


def test_hostile_members_are_refused_by_name(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("a.png", "../up.png", "/etc/abs.png", "b/../../c.png", "._a.png"):
            info = tarfile.TarInfo(name)
            info.size = len(png(1))
            tar.addfile(info, io.BytesIO(png(1)))
        for name, kind in (
            ("link.png", tarfile.SYMTYPE),
            ("hard.png", tarfile.LNKTYPE),
            ("pipe.png", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type = kind
            info.linkname = "/etc/passwd"
            tar.addfile(info)
    files = listing(str(path), **ALL)
    assert files.names == ["a.tar/a.png"]
    assert [reason for _, reason in files.refused] == [
        *["its path leads out of the tar file"] * 3,
        *["a link"] * 2,
        "no plain file",
    ]
    assert not list(tmp_path.glob("**/*.png"))


def test_a_tar_file_that_was_cut_off(tmp_path):
    path = sharded(tmp_path / "a", 5)
    file = tmp_path / "a" / "000000.tar"
    data = file.read_bytes()
    file.write_bytes(data[: data.index(b"0003.png") + 512 + 40])
    files = listing(path, **ALL)
    assert len(files) == 3
    assert [name for name, _ in files.refused] == ["000000.tar/0003.png", "000000.tar/its end"]
    file.write_bytes(b"no tar file at all" * 100)
    with pytest.raises(UserError, match="no readable tar file"):
        listing(path, **ALL)


def test_a_packed_tar_file_and_one_without_images(tmp_path):
    sharded(tmp_path / "a", 5)
    shutil.move(tmp_path / "a" / "000000.tar", tmp_path / "a" / "x.tar.gz")
    with pytest.raises(UserError, match="is compressed") as caught:
        listing(str(tmp_path / "a"), **ALL)
    assert "gunzip" in caught.value.hint
    with pytest.raises(UserError, match="is compressed"):
        listing(str(tmp_path / "a" / "x.tar.gz"), **ALL)
    with pytest.raises(UserError, match="no image in 1 tar files"):
        listing(packed(tmp_path / "b.tar", {"a.txt": b"x"}), **ALL)


def test_a_file_that_shrinks_meanwhile_is_a_bad_image(tmp_path):
    files = listing(sharded(tmp_path / "a", 5), **ALL)
    os.truncate(tmp_path / "a" / "000000.tar", 3000)
    with pytest.raises(Exception, match="ends before"):
        files.read(4)


def test_a_run_on_shards_resumes_to_the_same_bits(gan, tmp_path):
    sharded(tmp_path / "set")
    words = [*TINY, "dataset=folder", "dataset.path=set", "dataset.holdout=2"]
    words += ["trainer.save_every=1"]
    sound(gan("train", *words, "trainer.steps=1", "hydra.run.dir=run"))
    sound(gan("train", *words, "trainer.steps=2", "hydra.run.dir=whole"))
    sound(gan("train", "resume=run", "trainer.steps=2"))
    assert differences(last("run"), last("whole")) == []


def test_shards_that_webdataset_writes(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    pattern = str(tmp_path / "out-%06d.tar")
    with webdataset.ShardWriter(pattern, maxcount=5, verbose=0) as sink:
        for k in range(12):
            image = Image.new("RGB", (8, 8), (k, 0, 0))
            sink.write({"__key__": f"{k:05d}", "png": image, "cls": k % 3, "json": {"id": k}})
    decoded = load(tmp_path)
    assert decoded.images[:, 0, 0, 0].tolist() == list(range(12))
    assert decoded.labels.tolist() == [k % 3 for k in range(12)]
