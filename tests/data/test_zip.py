"""Zip files: read like folders, never extracted, and strict about what is inside."""

from __future__ import annotations

import io
import stat
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from data_helpers import FIXED, numbered, picture, values
from PIL import Image

from gancli.data.folder import Folder, Zip, listing
from gancli.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def zipped(
    folder: Path, target: Path, *, prefix: str = "", method: int = zipfile.ZIP_DEFLATED
) -> Path:
    with zipfile.ZipFile(target, "w", method) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, prefix + path.relative_to(folder).as_posix())
    return target


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_zip_equals_its_folder(tmp_path, method):
    for i in range(200):
        picture(tmp_path / "a" / str(i % 2) / f"{i}.png", i)
    file = zipped(tmp_path / "a", tmp_path / "a.zip", prefix="wrapper/", method=method)
    folder = Folder(path=str(tmp_path / "a")).load()
    packed = Folder(path=str(file), workers=4).load()
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
    data[at : at + 4] = (1000).to_bytes(4, "little")
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
    (tmp_path / "x.rar").write_bytes(b"something else")
    with pytest.raises(UserError, match="neither a folder nor a readable zip"):
        listing(str(tmp_path / "x.rar"))
