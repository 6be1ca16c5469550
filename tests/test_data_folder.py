"""Folders and zip files: labels, odd files, limits, the cache, and what the user is told."""
from __future__ import annotations

import io
import logging
import os
import shutil
import stat
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gancli.data import cache
from gancli.data.base import split
from gancli.data.folder import Folder, Zip, listing
from gancli.errors import UserError

REAL = Path(os.environ.get("GANCLI_TEST_DATA", "../shared/data"))
FIXED = {"resolution": 8, "channels": 1, "classes": 0}


def picture(path: Path, value: int | tuple = 100, *, size=(8, 8), mode: str = "L", **kwargs) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **kwargs)
    return path


def numbered(root: Path, n: int, *, bad: tuple[int, ...] = ()) -> Path:
    """Image i is filled with i; those in `bad` hold no image."""
    for i in range(n):
        picture(root / f"{i:03}.png", i)
        if i in bad:
            (root / f"{i:03}.png").write_bytes(b"")
    return root


def values(decoded) -> list[int]:
    return decoded.images[:, 0, 0, 0].tolist()


def zipped(folder: Path, target: Path, *, prefix: str = "", method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(target, "w", method) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, prefix + path.relative_to(folder).as_posix())
    return target


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# what is an image, and its label

def test_flat_folder(tmp_path):
    numbered(tmp_path / "a", 5)
    source = Folder(path=str(tmp_path / "a"))
    assert source.scan() == {"resolution": 8, "channels": 1, "classes": 0}
    decoded = source.load()
    assert values(decoded) == [0, 1, 2, 3, 4] and decoded.labels is None and decoded.classes == () and decoded.skipped == ()
    assert decoded.images.shape == (5, 1, 8, 8) and decoded.images.dtype == torch.uint8


def test_sub_folders_are_classes_in_sorted_order(tmp_path):
    for k, name in enumerate(["zebra", "ant", "Ünï code"]):
        picture(tmp_path / "a" / name / "x.png", 10 + k)
        picture(tmp_path / "a" / name / "deep" / "er" / "y.PNG", 20 + k)
    (tmp_path / "a" / "empty").mkdir()
    decoded = Folder(path=str(tmp_path / "a")).load()
    assert decoded.classes == ("ant", "zebra", "Ünï code")
    found = zip(values(decoded), decoded.labels.tolist(), strict=True)
    assert {(value % 10, label) for value, label in found} == {(1, 0), (0, 1), (2, 2)}
    assert Folder(path=str(tmp_path / "a"), classes=0).load().labels is None
    with pytest.raises(UserError, match="3 classes, dataset.classes=2"):
        Folder(path=str(tmp_path / "a"), classes=2).load()


def test_a_lone_sub_folder_is_a_wrapper(tmp_path):
    picture(tmp_path / "a" / "set" / "cat" / "x.png")
    assert Folder(path=str(tmp_path / "a")).scan()["classes"] == 0
    picture(tmp_path / "a" / "set" / "dog" / "x.png")
    assert Folder(path=str(tmp_path / "a")).load().classes == ("cat", "dog")


def test_images_beside_sub_folders_unlabel_the_set(tmp_path, caplog):
    picture(tmp_path / "a" / "cat" / "x.png")
    picture(tmp_path / "a" / "dog" / "x.png")
    picture(tmp_path / "a" / "preview.png")
    decoded = Folder(path=str(tmp_path / "a")).load()
    assert len(decoded) == 3 and decoded.labels is None
    assert "preview.png" in caplog.text and "none is labelled" in caplog.text


def test_what_is_no_image_is_passed_over_and_counted(tmp_path, caplog):
    root = numbered(tmp_path / "a", 3)
    (root / "notes.txt").write_text("x")
    (root / "labels.csv").write_text("x")
    (root / "README").write_text("x")
    picture(root / ".hidden.png")
    picture(root / "__MACOSX" / "x.png")
    picture(root / ".thumbs" / "x.png")
    with caplog.at_level(logging.INFO, "gancli.data"):
        assert len(Folder(path=str(root)).load()) == 3
    assert "1 .txt" in caplog.text and "1 .csv" in caplog.text and "1 no ending" in caplog.text


def test_links_are_followed_once(tmp_path):
    picture(tmp_path / "elsewhere" / "x.png", 7)
    picture(tmp_path / "a" / "cat" / "x.png", 8)
    (tmp_path / "a" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a" / "cat" / "loop").symlink_to(tmp_path / "a")
    decoded = Folder(path=str(tmp_path / "a")).load()
    assert decoded.classes == ("cat", "dog") and values(decoded) == [8, 7]


# what a scan finds

def test_scan_of_rectangles_and_mixed_sizes(tmp_path):
    picture(tmp_path / "a" / "x.png", size=(30, 20))
    picture(tmp_path / "a" / "y.png", size=(30, 20))
    assert Folder(path=str(tmp_path / "a")).scan()["resolution"] == [20, 30]
    for k, size in enumerate([(300, 100), (90, 80), (40, 500)]):
        picture(tmp_path / "a" / f"{k}.png", size=size)
    assert Folder(path=str(tmp_path / "a")).scan()["resolution"] == 32  # shorter sides 20 20 40 80 100
    assert Folder(path=str(tmp_path / "a"), channels=3, classes=0).scan() == {"resolution": 32}
    for k in range(9):
        picture(tmp_path / "a" / f"large{k}.png", size=(3000 + k, 3000))
    assert Folder(path=str(tmp_path / "a")).scan()["resolution"] == 256
    tiny = tmp_path / "tiny"
    picture(tiny / "x.png", size=(3, 3))
    picture(tiny / "y.png", size=(4, 3))
    assert Folder(path=str(tiny)).scan()["resolution"] == 16


def test_scan_turns_by_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "a" / "x.jpg", 100, size=(30, 20), exif=exif)
    assert Folder(path=str(tmp_path / "a")).load().images.shape[-2:] == (30, 20)


@pytest.mark.parametrize(("pictures", "channels"), [
    ([("L", 9), ("1", 1), ("L", 8)], 1), ([("L", 9), ("RGB", (1, 2, 3))], 3),
    ([("RGBA", (1, 2, 3, 255))] * 3, 3), ([("RGBA", (1, 2, 3, 90))] * 2 + [("RGB", (1, 2, 3))], 4),
    ([("RGBA", (1, 2, 3, 90))] + [("RGB", (1, 2, 3))] * 2, 3), ([("I;16", 900)], 1),
])
def test_scan_of_channels(tmp_path, pictures, channels):
    for k, (mode, value) in enumerate(pictures):
        picture(tmp_path / "a" / f"{k}.png", value, mode=mode)
    assert Folder(path=str(tmp_path / "a")).scan()["channels"] == channels


def test_a_settled_source_reads_no_header(tmp_path):
    assert Folder(path=str(tmp_path / "missing"), **FIXED).scan() == {}


# bad files

def test_bad_files_are_skipped_named_and_counted(tmp_path, caplog):
    root = numbered(tmp_path / "a", 9, bad=(2, 5))
    (root / "page.jpg").write_bytes(b"<html>404</html>")
    (root / "z.png").symlink_to(tmp_path / "gone")
    decoded = Folder(path=str(root), **FIXED).load()
    assert values(decoded) == [0, 1, 3, 4, 6, 7, 8]
    assert decoded.skipped == (("002.png", "empty file"), ("005.png", "empty file"), ("page.jpg", "a web page, not an image"),
                               ("z.png", "no such file, perhaps a broken link"))
    assert "skipped 4 of 11 files: 002.png (empty file)" in caplog.text
    assert torch.equal(Folder(path=str(root), workers=5, **FIXED).load().images, decoded.images)


def test_bad_files_can_be_refused(tmp_path):
    root = numbered(tmp_path / "a", 200, bad=(70, 150))
    with pytest.raises(UserError, match="070.png: empty file") as caught:
        Folder(path=str(root), on_error="fail", workers=3, **FIXED).load()
    assert "on_error=skip" in caught.value.hint


@pytest.mark.parametrize("good", [0, 2])
def test_mostly_bad_is_refused_in_any_case(tmp_path, good):
    root = numbered(tmp_path / "a", good + 3, bad=tuple(range(good, good + 3)))
    with pytest.raises(UserError, match=rf"3 of {good + 3} image files cannot be used: 00\d.png \(empty file\)"):
        Folder(path=str(root), **FIXED).load()


def test_sixteen_bits_are_said_once(tmp_path, caplog):
    for k in range(3):
        picture(tmp_path / "a" / f"{k}.png", 257 * 100, mode="I;16")
    assert values(Folder(path=str(tmp_path / "a"), **FIXED).load()) == [100] * 3
    assert caplog.text.count("16-bit") == 1


def test_a_folder_of_odd_files_decodes_without_a_warning(tmp_path):
    modes = [("L", 100, "png"), ("1", 1, "png"), ("LA", (100, 200), "png"), ("RGB", (1, 2, 3), "jpg"),
             ("RGBA", (1, 2, 3, 4), "png"), ("CMYK", (1, 2, 3, 4), "jpg"), ("P", 3, "gif"), ("I;16", 900, "png"),
             ("I", 900, "tiff"), ("F", 0.5, "tiff"), ("RGB", (1, 2, 3), "bmp"), ("RGB", (1, 2, 3), "webp"),
             ("RGB", (1, 2, 3), "tga")]
    for k, (mode, value, ending) in enumerate(modes):
        picture(tmp_path / "a" / f"{k}.{ending}", value, mode=mode, size=(10 + k, 30 - k))
    for channels in (1, 3, 4):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            decoded = Folder(path=str(tmp_path / "a"), resolution=[8, 16], channels=channels).load()
        assert decoded.images.shape == (len(modes), channels, 8, 16) and decoded.skipped == ()


# limit and holdout

@pytest.mark.parametrize("bad", [(), (3, 4, 11, 17, 30), tuple(range(0, 39, 3))])
@pytest.mark.parametrize(("limit", "holdout"), [(None, 0), (None, 6), (5, 0), (5, 6), (20, 10), (39, 1), (100, 5)])
def test_limit_decodes_what_split_would_take_of_all(tmp_path, bad, limit, holdout):
    root = str(numbered(tmp_path / "a", 40, bad=bad))
    whole = Folder(path=root, **FIXED).load()
    part = Folder(path=root, limit=limit, holdout=holdout, **FIXED).load()
    assert len(part) == min(len(whole), (limit or 40) + holdout)
    for a, b in zip(split(whole, limit=limit, holdout=holdout), split(part, limit=limit, holdout=holdout), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert sorted(values(a)) == sorted(values(b))


def test_both_parts_are_views_of_the_whole(tmp_path):
    root = str(numbered(tmp_path / "a", 40, bad=(1, 2, 3)))
    decoded = Folder(path=root, holdout=10, **FIXED).load()
    train, held = split(decoded, limit=None, holdout=10)
    assert (len(train), len(held)) == (27, 10)
    for part in (train, held):
        assert part.images.untyped_storage().data_ptr() == decoded.images.untyped_storage().data_ptr()


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
    assert Folder(path=str(shutil.copytree(tmp_path / "a", tmp_path / "b")), **FIXED).load().digest == first
    assert Folder(path=str(tmp_path / "a"), **FIXED | {"resolution": 4}).load().digest == first
    (tmp_path / "b" / "003.png").rename(tmp_path / "b" / "004.png")
    picture(tmp_path / "a" / "000.png", 0, size=(40, 40))
    assert len({first, *(Folder(path=str(tmp_path / name), **FIXED).load().digest for name in "ab")}) == 3


# zip files

@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_zip_equals_its_folder(tmp_path, method):
    for i in range(200):
        picture(tmp_path / "a" / str(i % 2) / f"{i}.png", i)
    file = zipped(tmp_path / "a", tmp_path / "a.zip", prefix="wrapper/", method=method)
    folder, packed = Folder(path=str(tmp_path / "a")).load(), Folder(path=str(file), workers=4).load()
    assert torch.equal(folder.images, packed.images) and torch.equal(folder.labels, packed.labels)
    assert packed.classes == ("0", "1")


def png(value: int = 5) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), value).save(file, "PNG")
    return file.getvalue()


OUTSIDE = ("../up.png", "a/../../b.png", "/etc/abs.png", "C:/drive.png", "..\\windows.png")


def crafted(path: Path) -> Path:
    """One member of every kind that must not be read, and three good ones."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own, about the name that occurs twice
        for name in ("good.png", *OUTSIDE, "good.png", "sub\\back.png"):
            file.writestr(name, png())
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
        file.writestr("bomb.bmp", bytes(30_000_000))
        file.writestr("sub/also.png", png())
        file.writestr("sub/damaged.png", png(9))
    data = bytearray(path.read_bytes())
    start = data.index(b"sub/damaged.png") + len("sub/damaged.png")
    data[start + 20] ^= 255
    path.write_bytes(data)
    return path


def test_zip_members_that_must_not_be_read_are_refused_by_name(tmp_path):
    decoded = Folder(path=str(crafted(tmp_path / "x.zip")), **FIXED).load()
    reasons = dict(decoded.skipped)
    assert len(decoded) == 3 and set(values(decoded)) == {5}
    assert {reasons[name] for name in OUTSIDE} == {"its path leads out of the zip file"}
    assert reasons["good.png"] == "the name occurs twice" and reasons["link.png"] == "a link"
    assert "30000000" in reasons["bomb.bmp"] and "cannot be unpacked" in reasons["sub/damaged.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.zip"], "nothing may be extracted"
    with pytest.raises(UserError, match="up.png: its path leads out"):
        Folder(path=str(tmp_path / "x.zip"), on_error="fail", **FIXED).load()


def test_zip_that_lies_about_a_size_gives_no_more_than_it_said(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.png", bytes(5_000_000))
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2") + 24
    data[at:at + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"1 of 1 .*cannot be unpacked"):
        Folder(path=str(path), **FIXED).load()


def test_encrypted_and_damaged_zips(tmp_path):
    path = zipped(numbered(tmp_path / "a", 3), tmp_path / "x.zip")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    assert Zip(path).entries()[1] == [("000.png", "encrypted")]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="neither a folder nor a readable zip"):
        listing(str(path))
    (tmp_path / "x.tar").write_bytes(b"something else")
    with pytest.raises(UserError, match="neither a folder nor a readable zip"):
        listing(str(tmp_path / "x.tar"))


# paths

def test_a_missing_path_names_its_neighbours(tmp_path):
    numbered(tmp_path / "faces", 1)
    with pytest.raises(UserError, match="no such folder or zip") as caught:
        Folder(path=str(tmp_path / "face")).scan()
    assert str(tmp_path / "faces") in caught.value.hint
    with pytest.raises(UserError) as caught:
        Folder(path=str(tmp_path / "x" / "y" / "z")).scan()
    assert "does not exist" in caught.value.hint


def test_an_empty_folder_says_what_was_found(tmp_path):
    with pytest.raises(UserError, match="no image in it .found: no file"):
        Folder(path=str(tmp_path)).scan()
    (tmp_path / "x.mp4").write_bytes(b"x")
    with pytest.raises(UserError, match="found: 1 .mp4"):
        Folder(path=str(tmp_path)).load()
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"no image can be read: x.png \(empty file\)"):
        Folder(path=str(tmp_path)).load()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    root = numbered(tmp_path / "a", 3)
    (root / "sub").mkdir(mode=0)
    with pytest.raises(UserError, match="no permission"):
        Folder(path=str(root)).load()


def test_permission_errors_become_sentences(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))
    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UserError, match="no permission"):
        Folder(path=str(tmp_path)).load()


def test_one_image_and_odd_names(tmp_path):
    root = tmp_path / "a b=1" / "ü, [x]"
    picture(root / "100% (é) 'q'.png", 77)
    assert values(Folder(path=str(root)).load()) == [77]
    name = os.fsdecode(b"not utf-8 \xff.png")
    picture(root / "x.png", 78).rename(root / name)
    assert sorted(values(Folder(path=str(root)).load())) == [77, 78]


# the cache

@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(cache, "available_memory", lambda: 1000)


def test_what_exceeds_memory_is_mapped_and_found_again(tmp_path, little_memory, monkeypatch):
    root = str(numbered(tmp_path / "a", 40, bad=(3, 9)))
    decoded = Folder(path=root, holdout=10, **FIXED).load()
    (folder,) = cache.cache_root().iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["chosen.npy", "images.npy", "skipped.json"]
    monkeypatch.setattr("gancli.data.files.decode_chosen", None)  # a second decoding would fail
    again = Folder(path=root, holdout=10, **FIXED).load()
    assert torch.equal(again.images, decoded.images) and torch.equal(again.place, decoded.place)
    assert again.skipped == decoded.skipped and len(again.skipped) == 2 and again.digest == decoded.digest
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


def test_a_truncated_cache_is_made_anew(tmp_path, little_memory, caplog):
    root = str(numbered(tmp_path / "a", 40))
    want = values(Folder(path=root, **FIXED).load())
    (file,) = cache.cache_root().glob("*/images.npy")
    os.truncate(file, 500)
    assert values(Folder(path=root, **FIXED).load()) == want
    assert "is damaged" in caplog.text


def test_a_failed_decoding_leaves_no_cache(tmp_path, little_memory):
    root = str(numbered(tmp_path / "a", 40, bad=(30,)))
    with pytest.raises(UserError):
        Folder(path=root, on_error="fail", **FIXED).load()
    assert list(cache.cache_root().iterdir()) == []


def test_neither_memory_nor_disk(tmp_path, little_memory, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 10))
    with pytest.raises(UserError, match="40 decoded images of 1x8x8") as caught:
        Folder(path=str(numbered(tmp_path / "a", 40)), **FIXED).load()
    assert "dataset.limit" in caught.value.hint


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


# real images

def real(name: str) -> str:
    if not (REAL / name).exists():
        pytest.skip(f"no {REAL / name}")
    return str(REAL / name)


def test_real_classes():
    decoded = Folder(path=real("cifar10-lite/test")).load()
    assert decoded.images.shape == (1000, 3, 32, 32) and decoded.classes[0] == "airplane" and len(decoded.classes) == 10
    assert decoded.labels.bincount().tolist() == [100] * 10 and decoded.skipped == ()
    assert 100 < decoded.images.float().mean() < 140


def test_real_flat_jpegs():
    source = Folder(path=real("animefaces64"), limit=100, holdout=20)
    assert source.scan() == {"resolution": 64, "channels": 3, "classes": 0}
    assert source.load().images.shape == (120, 3, 64, 64)


def test_real_alpha():
    source = Folder(path=real("emoji64-rgba"), limit=100)
    assert source.scan() == {"resolution": 64, "channels": 4, "classes": 0}
    images = source.load().images
    assert images.shape == (100, 4, 64, 64) and images[:, 3].min() == 0 and images[:, 3].max() == 255
    on_page = Folder(path=real("emoji64-rgba"), limit=100, channels=3).load().images
    assert (on_page[:, :, 0, 0] == 255).float().mean() > 0.9


def test_real_mixed_sizes_and_a_grey_one(tmp_path):
    source = Folder(path=real("sr/Set14"))
    assert source.scan() == {"resolution": 256, "channels": 3, "classes": 0}
    images = np.asarray(Folder(path=real("sr/Set14"), resolution=[64, 96]).load().images)
    assert images.shape[1:] == (3, 64, 96) and images.std() > 30
    assert real("facades128") and Folder(path=real("facades128/val")).scan()["resolution"] == [128, 256]
