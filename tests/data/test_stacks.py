"""Folders of images of any number of channels: arrays and TIFF files of many pages."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from gancli.data.folder import Folder
from gancli.errors import UserError
from gancli.render.notes import NOTE
from gancli.reports.alarms import find_alarms
from gancli.reports.survey import survey_data


def draw(*shape, dtype=np.uint16, most=65535):
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, most, shape, endpoint=True).astype(dtype)


def save_arrays(folder, *shape, n=4, **how):
    arrays = draw(n, *shape, **how)
    for k, array in enumerate(arrays):
        np.save(folder / f"{k}.npy", array)
    return arrays


def save_pages(path, pages):
    first, *rest = [Image.fromarray(page) for page in pages]
    first.save(path, save_all=True, append_images=rest)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    ("dtype", "bits", "white"), [(np.uint8, 8, 255), (np.uint16, 16, 65535), (np.float32, 16, 1)]
)
def test_arrays_of_many_channels(tmp_path, caplog, last, dtype, bits, white):
    caplog.set_level(NOTE, logger="gancli.data")
    arrays = save_arrays(tmp_path, 9, 7, 6, dtype=dtype, most=white)
    if not last:
        for k, array in enumerate(arrays):
            np.save(tmp_path / f"{k}.npy", array.transpose(2, 0, 1))
    source = Folder(path=str(tmp_path)).settled()
    assert (source.channels, source.resolution, source.bits) == (6, [9, 7], bits)
    images = source.load().images
    assert images.shape == (4, 6, 9, 7) and images.dtype == torch.float32
    wanted = torch.from_numpy(arrays.astype(np.float64)).permute(0, 3, 1, 2) / white * 2 - 1
    assert (images - wanted).abs().max() < 2e-5
    assert "arrays of 6 channels of " + np.dtype(dtype).name in caplog.text
    assert f"0 to {white} become -1 to 1" in caplog.text
    if bits == 8 or dtype == np.uint16:
        back = source.modality().to_array(images)
        assert back.dtype == dtype and (back == arrays).all()


def test_arrays_of_one_channel_and_of_another_size(tmp_path):
    arrays = save_arrays(tmp_path, 8, 8)
    source = Folder(path=str(tmp_path)).settled()
    assert (source.channels, source.resolution, source.bits) == (1, 8, 16)
    assert (source.modality().to_array(source.load().images)[..., 0] == arrays).all()
    small = Folder(path=str(tmp_path), resolution=4).load().images
    assert (
        small.shape == (4, 1, 4, 4)
        and source.load().digest == Folder(path=str(tmp_path)).load().digest
    )


def test_pages_of_tiff_files_are_channels(tmp_path, caplog):
    caplog.set_level(NOTE, logger="gancli.data")
    stacks = draw(3, 5, 8, 8)
    for k, pages in enumerate(stacks):
        save_pages(tmp_path / f"{k}.tif", pages)
    source = Folder(path=str(tmp_path)).settled()
    assert (source.channels, source.bits) == (5, 16)
    made = source.modality().to_array(source.load().images)
    assert (made == stacks.transpose(0, 2, 3, 1)).all()
    assert "dataset.channels=1 takes the first page alone" in caplog.text
    first = Folder(path=str(tmp_path), channels=1).settled()
    assert first.bits is None and first.load().images.shape == (3, 1, 8, 8)
    # Others than all have as many pages: each gives its first one, as ever
    save_pages(tmp_path / "3.tif", stacks[0][:2])
    assert Folder(path=str(tmp_path)).settled().channels == 1


def test_the_user_says_which_values_are_the_ends(tmp_path, caplog):
    caplog.set_level(NOTE, logger="gancli.data")
    arrays = save_arrays(tmp_path, 8, 8, 5, dtype=np.int16, most=4000)
    with pytest.raises(UserError, match="int16|LOW,HIGH"):
        np.save(tmp_path / "0.npy", arrays[0] - np.int16(1000))
        Folder(path=str(tmp_path), on_error="fail").load()
    source = Folder(path=str(tmp_path), value_range=[-1000, 3000]).settled()
    decoded = source.load()
    assert source.bits == 16 and "-1000 to 3000 become -1 to 1" in caplog.text
    assert "values outside dataset.value_range became its ends" in caplog.text
    modality = source.modality()
    assert modality.suffix(5) == ".npy"
    back = modality.to_array(decoded.images)
    assert back.dtype == np.float32
    assert np.abs(back[1] - arrays[1].clip(-1000, 3000)).max() < 0.1
    other = Folder(path=str(tmp_path), value_range=[-1000, 4000]).load()
    assert other.digest != decoded.digest
    for ends in ([1], [1, 0], [1, 1]):
        with pytest.raises(UserError, match="is no range"):
            Folder(path=str(tmp_path), value_range=ends)


def test_classes_and_zip_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        for k, array in enumerate(draw(4, 8, 8, 5)):
            buffer = io.BytesIO()
            np.save(buffer, array)
            packed.writestr(f"{'ab'[k % 2]}/{k}.npy", buffer.getvalue())
    decoded = Folder(path=str(tmp_path / "set.zip")).load()
    assert decoded.classes == ("a", "b") and decoded.images.shape == (4, 5, 8, 8)


def test_arrays_beside_pictures_are_passed_over_and_sheets_beside_arrays(tmp_path):
    save_arrays(tmp_path, 8, 8, 5)
    Image.new("RGB", (20, 20)).save(tmp_path / "grid.png")
    assert len(Folder(path=str(tmp_path)).load()) == 4
    Image.new("RGB", (8, 8)).save(tmp_path / "own.png")
    assert Folder(path=str(tmp_path), resolution=8).load().images.shape == (2, 3, 8, 8)


def make_header(shape, dtype="<u2"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text = text.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


HOSTILE = {
    "huge": (make_header("(100000, 100000, 100)"), "too large: 100000x100000x100"),
    "claims": (make_header("(8, 8, 9999)"), "needs 1279872 bytes, and the file holds 16"),
    "many": (make_header("(99999, 8, 99999)"), "too large"),
    "objects": (make_header("(8, 8)", "|O"), "an array of objects, not of numbers"),
    "complex": (make_header("(8, 8)", "<c8"), "not of numbers"),
    "flat": (make_header("(64,)"), "is neither"),
    "negative": (make_header("(-8, 8)"), "is neither"),
    "version": (b"\x93NUMPY\x02\x00" + b"\xff" * 40, "np.save writes 1.0"),
    "garbage": (b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 40, "not an array"),
    "text": (b"hello", "not an array"),
    "empty": (b"", "not an array"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arrays_are_refused_by_name_before_anything_is_allocated(tmp_path, name):
    content, reason = HOSTILE[name]
    save_arrays(tmp_path, 8, 8)
    (tmp_path / "zz.npy").write_bytes(content + bytes(16) * (name in ("huge", "claims", "many")))
    decoded = Folder(path=str(tmp_path)).load()
    assert len(decoded) == 4
    [(file, said)] = decoded.skipped
    assert file == "zz.npy" and reason in said
    with pytest.raises(UserError, match="zz.npy"):
        Folder(path=str(tmp_path), on_error="fail").load()
    found = survey_data(Folder(path=str(tmp_path)).settled())
    assert [file for file, _ in found.bad] == ["zz.npy"]


def test_values_that_are_no_levels_are_refused(tmp_path):
    save_arrays(tmp_path, 8, 8, dtype=np.float32)
    for k, wrong in enumerate((np.nan, np.inf, 1.5, -0.1)):
        np.save(tmp_path / f"zz{k}.npy", np.full((8, 8), wrong, np.float32))
    reasons = [reason for _, reason in Folder(path=str(tmp_path)).load().skipped]
    assert reasons[:2] == ["values that are not finite"] * 2
    assert all("outside 0 ... 1: dataset.value_range" in reason for reason in reasons[2:])


def test_other_numbers_of_channels_are_left_out(tmp_path, caplog):
    caplog.set_level(NOTE, logger="gancli.data")
    save_arrays(tmp_path, 8, 8, 5)
    np.save(tmp_path / "zz.npy", draw(8, 8, 3))
    decoded = Folder(path=str(tmp_path)).load()
    assert decoded.skipped == (("zz.npy", "its shape (8, 8, 3) has no axis of 5 channels"),)
    assert "4 of 5 headers tell of 5 channels" in caplog.text


def test_a_survey_of_arrays(tmp_path):
    arrays = save_arrays(tmp_path, 8, 8, 5, most=9000)
    np.save(tmp_path / "copy.npy", arrays[0])
    found = survey_data(Folder(path=str(tmp_path)).settled())
    assert found.images == 5 and dict(found.modes) == {"5 x uint16": 5}
    assert dict(found.formats) == {"NPY": 5} and dict(found.sizes) == {(8, 8): 5}
    assert found.duplicates == [["0.npy", "copy.npy"]] and len(found.means) == 5
    assert found.kept.shape == (5, 5, 8, 8)
    assert any("dataset.value_range=[LOW,HIGH] spreads them" in text for text in find_alarms(found))


@pytest.mark.parametrize(("channels", "shown"), [(2, [0]), (3, None), (4, [0, 1, 2]), (5, None)])
def test_no_channel_is_shown_as_alpha(tmp_path, channels, shown):
    save_arrays(tmp_path, 8, 8, channels)
    source = Folder(path=str(tmp_path)).settled()
    assert source.channels == channels and source.shown == shown


@pytest.mark.parametrize("shown", [[0, 9], [], [0, 1, 2, 3, 4]])
def test_shown_channels_are_those_of_the_images(tmp_path, shown):
    save_arrays(tmp_path, 8, 8, 5)
    with pytest.raises(UserError, match="dataset.shown"):
        Folder(path=str(tmp_path), shown=shown).settled()


def test_stacks_of_pages_that_do_not_fit_are_named(tmp_path):
    stack = draw(5, 8, 8)
    for k in range(4):
        save_pages(tmp_path / f"{k}.tif", stack)
    source = Folder(path=str(tmp_path), on_error="skip").settled()
    save_pages(tmp_path / "zz0.tif", stack[:3])
    save_pages(tmp_path / "zz1.tif", [*stack[:4], stack[0, :4]])
    colours = np.zeros((8, 8, 3), np.uint8)
    save_pages(tmp_path / "zz2.tif", [*stack[:4], colours])
    cut = (tmp_path / "0.tif").read_bytes()
    (tmp_path / "zz3.tif").write_bytes(cut[: len(cut) // 2])
    reasons = dict(source.load().skipped)
    assert list(reasons) == [f"zz{k}.tif" for k in range(4)]
    assert reasons["zz0.tif"] == "3 pages, and dataset.channels=5"
    assert reasons["zz1.tif"] == "its pages have different sizes"
    assert "grey images, and this one is RGB" in reasons["zz2.tif"]
    assert [file for file, _ in survey_data(source).bad] == list(reasons)
