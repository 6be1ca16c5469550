"""Folders: labels, what a scan finds, odd and bad files, and what the user is told."""

from __future__ import annotations

import logging
import os
import struct
import warnings
from pathlib import Path
from zlib import compress, crc32

import numpy as np
import pytest
import torch
from data_helpers import FIXED, numbered, picture, values
from PIL import Image

from gancli.data.folder import Folder
from gancli.errors import UserError
from gancli.render.notes import NOTE

REAL = Path(os.environ.get("GANCLI_TEST_DATA", "../shared/data"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# what is an image, and its label


def test_flat_folder(tmp_path):
    numbered(tmp_path / "a", 5)
    source = Folder(path=str(tmp_path / "a"))
    assert source.scan() == {"resolution": 8, "channels": 1, "classes": 0, "holdout": 0}
    decoded = source.load()
    assert (
        values(decoded) == [0, 1, 2, 3, 4]
        and decoded.labels is None
        and decoded.classes == ()
        and decoded.skipped == ()
    )
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


def test_what_gan_sample_writes_is_a_labelled_set(tmp_path, caplog):
    """Its grids lie beside the classes' folders; a folder of grids alone holds images like any
    other.
    """
    for name in (
        "out/0/000000.png",
        "out/1/000000.png",
        "out/grid.png",
        "out/sweep.png",
        "out/1/grid.png",
    ):
        picture(tmp_path / name)
    with caplog.at_level(logging.INFO):
        for path in (tmp_path, tmp_path / "out"):
            decoded = Folder(path=str(path), resolution=8, channels=1).load()
            assert (decoded.labels.tolist(), decoded.classes) == ([0, 1, 1], ("0", "1"))
    assert "passed over what is no image: 2 .png" in caplog.text
    picture(tmp_path / "out" / "other.png")
    assert Folder(path=str(tmp_path / "out"), resolution=8, channels=1).load().labels is None
    picture(tmp_path / "flat" / "grid.png")
    assert len(Folder(path=str(tmp_path / "flat"), resolution=8, channels=1).load()) == 1


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
    assert (
        Folder(path=str(tmp_path / "a")).scan()["resolution"] == 32
    )  # shorter sides 20 20 40 80 100
    assert Folder(path=str(tmp_path / "a"), channels=3, classes=0).scan() == {
        "resolution": 32,
        "holdout": 0,
    }
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


@pytest.mark.parametrize(
    ("pictures", "channels"),
    [
        ([("L", 9), ("1", 1), ("L", 8)], 1),
        ([("L", 9), ("RGB", (1, 2, 3))], 3),
        ([("RGBA", (1, 2, 3, 255))] * 3, 3),
        ([("RGBA", (1, 2, 3, 90))] * 2 + [("RGB", (1, 2, 3))], 4),
        ([("RGBA", (1, 2, 3, 90))] + [("RGB", (1, 2, 3))] * 2, 3),
        ([("I;16", 900)], 1),
    ],
)
def test_scan_of_channels(tmp_path, pictures, channels):
    for k, (mode, value) in enumerate(pictures):
        picture(tmp_path / "a" / f"{k}.png", value, mode=mode)
    assert Folder(path=str(tmp_path / "a")).scan()["channels"] == channels


def test_a_settled_source_reads_no_header(tmp_path):
    assert Folder(path=str(tmp_path / "missing"), holdout=0, **FIXED).scan() == {}


# bad files


def test_bad_files_are_skipped_named_and_counted(tmp_path, caplog):
    root = numbered(tmp_path / "a", 9, bad=(2, 5))
    (root / "page.jpg").write_bytes(b"<html>404</html>")
    (root / "z.png").symlink_to(tmp_path / "gone")
    decoded = Folder(path=str(root), **FIXED).load()
    assert values(decoded) == [0, 1, 3, 4, 6, 7, 8]
    assert decoded.skipped == (
        ("002.png", "empty file"),
        ("005.png", "empty file"),
        ("page.jpg", "a web page, not an image"),
        ("z.png", "no such file, perhaps a broken link"),
    )
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
    with pytest.raises(
        UserError, match=rf"3 of {good + 3} image files cannot be used: 00\d.png \(empty file\)"
    ):
        Folder(path=str(root), **FIXED).load()


def test_sixteen_bits_are_said_once(tmp_path, caplog):
    caplog.set_level(NOTE, logger="gancli.data")
    for k in range(3):
        picture(tmp_path / "a" / f"{k}.png", 257 * 100, mode="I;16")
    assert values(Folder(path=str(tmp_path / "a"), **FIXED).load()) == [100] * 3
    assert caplog.text.count("16-bit") == 1


def test_a_folder_of_odd_files_decodes_without_a_warning(tmp_path):
    modes = [
        ("L", 100, "png"),
        ("1", 1, "png"),
        ("LA", (100, 200), "png"),
        ("RGB", (1, 2, 3), "jpg"),
        ("RGBA", (1, 2, 3, 4), "png"),
        ("CMYK", (1, 2, 3, 4), "jpg"),
        ("P", 3, "gif"),
        ("I;16", 900, "png"),
        ("I", 900, "tiff"),
        ("F", 0.5, "tiff"),
        ("RGB", (1, 2, 3), "bmp"),
        ("RGB", (1, 2, 3), "webp"),
        ("RGB", (1, 2, 3), "tga"),
    ]
    for k, (mode, value, ending) in enumerate(modes):
        picture(tmp_path / "a" / f"{k}.{ending}", value, mode=mode, size=(10 + k, 30 - k))
    for channels in (1, 3, 4):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            decoded = Folder(path=str(tmp_path / "a"), resolution=[8, 16], channels=channels).load()
        assert decoded.images.shape == (len(modes), channels, 8, 16) and decoded.skipped == ()


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


# real images


def real(name: str) -> str:
    if not (REAL / name).exists():
        pytest.skip(f"no {REAL / name}")
    return str(REAL / name)


def test_real_classes():
    decoded = Folder(path=real("cifar10-lite/test")).load()
    assert (
        decoded.images.shape == (1000, 3, 32, 32)
        and decoded.classes[0] == "airplane"
        and len(decoded.classes) == 10
    )
    assert decoded.labels.bincount().tolist() == [100] * 10 and decoded.skipped == ()
    assert 100 < decoded.images.float().mean() < 140


def test_real_flat_jpegs():
    source = Folder(path=real("animefaces64"), limit=100, holdout=20)
    assert source.scan() == {"resolution": 64, "channels": 3, "classes": 0}
    assert source.load().images.shape == (120, 3, 64, 64)


def test_real_alpha():
    source = Folder(path=real("emoji64-rgba"), limit=100)
    assert source.scan() == {"resolution": 64, "channels": 4, "classes": 0, "holdout": 0}
    images = source.load().images
    assert (
        images.shape == (100, 4, 64, 64) and images[:, 3].min() == 0 and images[:, 3].max() == 255
    )
    on_page = Folder(path=real("emoji64-rgba"), limit=100, channels=3).load().images
    assert (on_page[:, :, 0, 0] == 255).float().mean() > 0.9


def test_real_mixed_sizes_and_a_grey_one(tmp_path):
    source = Folder(path=real("sr/Set14"))
    assert source.scan() == {"resolution": 256, "channels": 3, "classes": 0, "holdout": 0}
    images = np.asarray(Folder(path=real("sr/Set14"), resolution=[64, 96]).load().images)
    assert images.shape[1:] == (3, 64, 96) and images.std() > 30
    assert real("facades128") and Folder(path=real("facades128/val")).scan()["resolution"] == [
        128,
        256,
    ]


def save_levels(folder, suffix):
    rows = np.arange(64, dtype=np.uint16).reshape(8, 8) * 3 + 20_000
    for k in range(4):
        Image.fromarray(rows + np.uint16(k)).save(folder / f"{k}.{suffix}")
    return rows


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bits_are_kept_where_they_are_asked_for(tmp_path, suffix):
    rows = save_levels(tmp_path, suffix)
    source = Folder(path=str(tmp_path), bits=16).settled()
    decoded = source.load()
    assert source.channels == 1 and decoded.images.shape == (4, 1, 8, 8)
    levels = source.modality().to_array(decoded.images)[..., 0]
    assert [int(one[0, 0]) for one in levels] == [20_000 + k for k in range(4)]
    assert (levels[2] == rows + 2).all()
    assert Folder(path=str(tmp_path), bits=16, resolution=4).load().images.shape[-1] == 4
    assert Folder(path=str(tmp_path)).load().digest != decoded.digest


def test_16_bits_read_as_8_say_so(tmp_path, caplog):
    save_levels(tmp_path, "png")
    caplog.set_level(NOTE, logger="gancli.data")
    assert Folder(path=str(tmp_path)).load().images.dtype == torch.uint8
    assert "scaled to 8 bits; dataset.bits=16 keeps them" in caplog.text


def save_deep_colours(path):
    """Writes a PNG of 48 bits, which Pillow reads and cannot write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))

    size = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(range(48)) for _ in range(8))
    chunks = chunk(b"IHDR", size) + chunk(b"IDAT", compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize("name", ["a.png", "a.ppm"])
def test_16_bits_of_colours_are_cut_and_that_is_said(tmp_path, name, caplog):
    caplog.set_level(NOTE, logger="gancli.data")
    if name == "a.png":
        save_deep_colours(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(b"P6\n8 8\n65535\n" + bytes(8 * 8 * 6))
    assert Folder(path=str(tmp_path)).load().images.shape == (1, 3, 8, 8)
    assert "16-bit colours were cut to 8 bits" in caplog.text
    caplog.clear()
    Image.new("RGB", (8, 8)).save(tmp_path / name)
    Folder(path=str(tmp_path)).load()
    assert "16-bit" not in caplog.text


def test_16_bits_of_colours_are_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="1 page, and dataset.channels=3"):
        Folder(path=str(tmp_path), bits=16, channels=3).load()
    with pytest.raises(UserError, match="reads grey images, and this one is RGB"):
        Folder(path=str(tmp_path), bits=16, on_error="fail").load()
