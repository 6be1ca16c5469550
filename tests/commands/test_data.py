"""gan data: what it counts, what it raises the alarm about, and the sheet it draws."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from data_helpers import numbered, picture
from helpers import TEST_DATA
from PIL import Image
from sound_helpers import write_tones

from gancli.commands import data
from gancli.data.base import Decoded, Source
from gancli.data.folder import Folder
from gancli.errors import GanError, UserError
from gancli.reports import alarms, survey, surveyed
from gancli.reports.recipes import choose_set
from gancli.run.own_data import choose_for_data

real = pytest.mark.skipif(
    not TEST_DATA.is_dir(), reason="needs the real images: set GANCLI_TEST_DATA"
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def facts(capsys, *argv: str) -> dict:
    assert data.main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def noise(path, seed: int, *, size=(20, 16), mode: str = "RGB", **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else (size[1], size[0])
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(
        path, **kwargs
    )
    return path


@pytest.fixture
def messy(tmp_path):
    """Two classes and one without a usable image; broken, copied, re-saved and
    mislabelled files.
    """
    root = tmp_path / "photos"
    for k in range(6):
        noise(root / "cats" / f"{k}.png", k)
    noise(root / "dogs" / "0.png", 100)
    (root / "cats" / "empty.png").write_bytes(b"")
    (root / "cats" / "page.jpg").write_text("<html>not found</html>")
    (root / "none").mkdir()
    (root / "none" / "zeros.png").write_bytes(b"\0" * 64)
    whole = noise(root / "cats" / "cut.jpg", 7).read_bytes()
    (root / "cats" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    shutil.copy(root / "cats" / "1.png", root / "cats" / "copy.png")
    shutil.copy(root / "cats" / "2.png", root / "dogs" / "wrong.png")
    Image.open(root / "cats" / "3.png").save(root / "cats" / "again.bmp")
    (root / "notes.txt").write_text("x")
    return root


def test_files_are_counted_by_what_they_are(messy, capsys):
    found = facts(capsys, "photos")
    assert (found["images"], found["files"], found["looked_at"]) == (10, 14, 14)
    assert {item["file"]: item["reason"].split()[0] for item in found["bad"]} == {
        "cats/cut.jpg": "corrupt:",
        "cats/empty.png": "empty",
        "cats/page.jpg": "a",
        "none/zeros.png": "the",
    }
    assert (
        found["sizes"] == {"20x16": 10}
        and found["modes"] == {"RGB": 10}
        and found["formats"] == {"PNG": 9, "BMP": 1}
    )
    assert found["labels"] == {"cats": 8, "dogs": 2, "none": 0} and found["passed_over"] == "1 .txt"
    assert (
        found["bytes"]
        == sum(path.stat().st_size for path in messy.rglob("*") if path.is_file()) - 1
    )


def test_copies_are_found_by_bytes_by_pixels_and_across_classes(messy, capsys):
    found = facts(capsys, "photos")
    assert found["duplicates"] == [
        ["cats/1.png", "cats/copy.png"],
        ["cats/2.png", "dogs/wrong.png"],
    ]
    assert found["equal_pixels"] == [["cats/3.png", "cats/again.bmp"]]
    assert found["mislabelled"] == [["cats/2.png", "dogs/wrong.png"]]


def test_the_alarms_say_what_is_wrong(messy, capsys):
    said = "\n".join(facts(capsys, "photos")["alarms"])
    for part in (
        "4 of 14 files cannot be used",
        "1 image in more than one class: cats/2.png",
        "none",
    ):
        assert part in said, part


def test_a_sound_set_raises_no_alarm(tmp_path, capsys):
    for k in range(12):
        noise(tmp_path / "photos" / "ab"[k % 2] / f"{k}.png", k, size=(16, 16))
    assert facts(capsys, "photos")["alarms"] == []


def test_means_and_range_are_those_of_the_pixels(tmp_path, capsys):
    for k, value in enumerate([(0, 51, 255), (102, 51, 255)]):
        picture(tmp_path / "photos" / f"{k}.png", value, mode="RGB")
    found = facts(capsys, "photos")
    assert np.allclose(found["means"], [0.2, 0.2, 1.0]) and np.allclose(
        found["deviations"], [0.2, 0.0, 0.0]
    )
    assert found["value_range"] == [-1.0, 1.0] and (found["low"], found["high"]) == (0, 255)
    assert found["decode"]["bytes"] == 2 * 3 * 8 * 8 and found["decode"]["images"] == 2


def test_label_maps_single_colours_and_grey_pictures_are_noticed(tmp_path, capsys):
    for k in range(8):
        picture(tmp_path / "maps" / f"{k}.png", (k % 3, k % 3, k % 3), mode="RGB")
    said = "\n".join(facts(capsys, "maps")["alarms"])
    assert (
        "between 0 and 2 of 255" in said
        and "8 images of one single colour" in said
        and "channels=1" in said
    )


def test_enlarging_cropping_and_lost_alpha_are_noticed(tmp_path, capsys):
    for k in range(4):
        noise(tmp_path / "small" / f"{k}.png", k, size=(40, 10), mode="RGBA")
    said = "\n".join(
        facts(capsys, "small", "dataset.resolution=32", "dataset.channels=3")["alarms"]
    )
    for part in (
        "4 images enlarged to 32x32",
        "4 images losing more than 25%",
        "4 images with an alpha channel",
    ):
        assert part in said, part


def test_images_beside_folders_are_said_to_have_no_label(tmp_path, capsys):
    noise(tmp_path / "mixed" / "stray.png", 1)
    noise(tmp_path / "mixed" / "a" / "1.png", 2)
    found = facts(capsys, "mixed")
    assert found["labels"] is None and any("beside sub-folders" in text for text in found["alarms"])


class Zeros(Source):
    """A user's data set whose labels were never filled in."""

    labels = (0, 0, 0, 0)

    def load(self) -> Decoded:
        images = torch.arange(4 * 64).view(4, 1, 8, 8).to(torch.uint8)
        return Decoded(images=images, labels=torch.tensor(self.labels), classes=("a", "b"))


def test_every_label_is_0_is_an_alarm():
    source = Zeros(resolution=8, channels=1, classes=2)
    assert any(
        "every label is 0" in text for text in alarms.find_alarms(survey.survey_data(source))
    )
    Zeros.labels = (0, 1, 0, 1)
    try:
        assert not [
            text for text in alarms.find_alarms(survey.survey_data(source)) if "label" in text
        ]
    finally:
        Zeros.labels = (0, 0, 0, 0)


def test_an_array_is_counted_and_its_copies_found():
    class Twice(Zeros):
        labels = (0, 1, 0, 1)

        def load(self) -> Decoded:
            images = super().load().images
            images[3] = images[0]
            return Decoded(images=images, labels=torch.tensor(self.labels), classes=("a", "b"))

    found = survey.survey_data(Twice(resolution=8, channels=1, classes=2))
    assert found.duplicates == [["image 0", "image 3"]] == found.mislabelled
    assert found.labels == {"a": 2, "b": 2} and found.sizes == {(8, 8): 4}


def test_the_bundled_digits_and_points_need_no_files(capsys):
    found = facts(capsys, "dataset=digits")
    assert (
        found["images"] == 1797
        and sum(found["labels"].values()) == 1797
        and found["value_range"] == [-1.0, 1.0]
    )
    found = facts(capsys, "dataset=ring", "dataset.n=800")
    assert found["kind"] == "points" and set(found["labels"].values()) == {100}
    assert found["decode"]["bytes"] == 800 * 2 * 4


def test_a_sample_is_spread_over_the_files_and_time_is_scaled_to_all(tmp_path):
    numbered(tmp_path / "many", 40)
    source = Folder(path=str(tmp_path / "many"), resolution=8, channels=1, classes=0)
    found = survey.survey_data(source, sample=10)
    assert (found.looked_at, found.total, found.images) == (10, 40, 10)
    assert found.decode_seconds() == pytest.approx(4 * found.seconds)
    assert (
        survey.survey_data(
            Folder(
                path=str(tmp_path / "many"), resolution=8, channels=1, classes=0, limit=5, holdout=3
            )
        ).decoded_images()
        == 8
    )


def test_a_zip_file_is_looked_at_like_a_folder(messy, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        for path in sorted(messy.rglob("*")):
            file.write(path, path.relative_to(messy))
    found = facts(capsys, "photos.zip")
    again = facts(capsys, "photos")
    for key in ("images", "bad", "duplicates", "labels", "means"):
        assert found[key] == again[key], key


def test_what_is_kept_for_the_sheet_is_bounded(tmp_path):
    class Many:
        labels = np.arange(5000) % 50

    kept = survey.choose_kept(Many, list(range(5000)), 3 * 1024 * 1024)
    assert len(kept) * 3 * 1024 * 1024 < 400_000_000
    assert all(sum(k % 50 == label for k in kept) >= 2 for label in range(survey.SHEET_CLASSES))


def test_the_sheet_has_a_row_for_every_class(tmp_path):
    for k in range(30):
        picture(
            tmp_path / "photos" / "abc"[k % 3] / f"{k:02}.png", 60 + 60 * (k % 3), size=(48, 48)
        )
    assert data.main(["photos", "out=sheet.png"]) == 0
    with Image.open("sheet.png") as sheet:
        assert sheet.size == (2 + 8 * 50, 2 + 3 * 50)
        assert [sheet.getpixel((276, 25 + 50 * row)) for row in range(3)] == [60, 120, 180]


def test_large_images_are_shrunk_for_the_sheet(tmp_path):
    noise(tmp_path / "photos" / "a.png", 1, size=(512, 256))
    data.main(["photos", "out=sheet.png", "dataset.resolution=[256,512]"])
    with Image.open("sheet.png") as sheet:
        assert sheet.size == (132, 68)


def test_the_terminal_names_what_matters(messy, capsys):
    assert data.main(["photos"]) == 0
    out = capsys.readouterr().out
    for part in (
        "10 usable",
        "(width x height) 20x16",
        "note: 2 duplicates; training sees them twice",
        "cats",
        "########",
        "cats/cut.jpg: corrupt",
        "cats/3.png = cats/again.bmp",
        "ALARM: 4 of 14",
        "in memory",
        "done: outputs/data/photos.png",
    ):
        assert part in out, part


def test_a_name_that_is_no_text_is_shown_all_the_same(tmp_path, capsys):
    noise(tmp_path / "photos" / "a.png", 1)
    (tmp_path / "photos" / "b\udcff\x1b[31m.png").write_bytes(b"")
    assert data.main(["photos"]) == 0
    out = capsys.readouterr().out
    assert "\\udcff" in out and "\x1b" not in out


@pytest.mark.parametrize(
    "argv",
    [
        ["nowhere"],
        ["."],
        [],
        ["a", "b"],
        ["--sample", "x", "."],
        ["dataset=nosuch"],
        ["dataset=folder"],
        [".", "--jsn"],
        [".", "dataset.resolutio=3"],
    ],
)
def test_mistakes_are_told(argv):
    with pytest.raises(UserError):
        data.main(argv)


def test_a_folder_without_one_good_image_is_an_error(tmp_path):
    numbered(tmp_path / "photos", 3, bad=(0, 1, 2))
    with pytest.raises(GanError, match="no image can be read"):
        data.main(["photos"])


def save_levels(folder, levels):
    folder.mkdir()
    for k in range(3):
        Image.fromarray(np.uint16(levels) + np.uint16(k)).save(folder / f"{k}.png")


def test_a_folder_of_one_npz_is_read_as_that_file(tmp_path, capsys):
    """As gan recommend and gan train dataset.path=FOLDER read it."""
    (tmp_path / "own").mkdir()
    waves = np.zeros((4, 64), dtype=np.int16)
    np.savez(tmp_path / "own" / "tones.npz", samples=waves + 1, rate=4000, label=[0, 0, 1, 1])
    (tmp_path / "own" / "README.md").touch()
    assert data.main(["own", "out=sheet.png"]) == 0
    shown = capsys.readouterr().out
    assert "recordings 4 usable" in shown
    assert shown.splitlines()[-1].strip() == "gan train dataset.path=own"


def test_16_bits_are_surveyed_as_such_where_they_are_kept(tmp_path, capsys):
    save_levels(tmp_path / "scans", 20_000 + 300 * np.arange(64).reshape(8, 8))
    found = facts(capsys, "scans")
    assert found["notes"][0] == "16-bit pixels were scaled to 8 bits; dataset.bits=16 keeps them"
    found = facts(capsys, "dataset.path=scans", "dataset.bits=16")
    assert found["notes"] == found["duplicates"] == found["equal_pixels"] == []
    assert found["low"] == pytest.approx(20_000 / 257)
    assert found["high"] == pytest.approx(38_902 / 257)
    assert found["means"] == pytest.approx([(20_001 + 150 * 63) / 65535])
    assert found["value_range"] == pytest.approx([20_000 / 32767.5 - 1, 38_902 / 32767.5 - 1])
    assert found["decode"]["bytes"] == 3 * 64 * 4
    assert data.main(["dataset.path=scans", "dataset.bits=16"]) == 0
    last = capsys.readouterr().out.splitlines()[-1].strip()
    assert last == "gan train dataset=folder dataset.path=scans dataset.bits=16"


def test_12_bits_in_16_are_noticed(tmp_path, capsys):
    save_levels(tmp_path / "scans", 64 * np.arange(64).reshape(8, 8))
    alarms_of = facts(capsys, "scans", "dataset.bits=16")["alarms"]
    assert any("all values lie between 0 and 15.7 of 255" in text for text in alarms_of)


def test_colours_where_16_bits_of_grey_are_asked_for_leave_nothing(tmp_path):
    noise(tmp_path / "colours" / "0.png", 0)
    with pytest.raises(UserError, match="reads grey images, and this one is RGB"):
        data.main(["colours", "dataset.bits=16"])


@pytest.mark.parametrize(
    ("name", "content", "model"),
    [
        ("a.csv", "x,y\n1,2\n3,1\n2,4\n", "wavegan"),
        ("a.txt", "ab\nba\nbb\n", "textgan"),
    ],
)
def test_a_lone_file_is_read_by_the_set_for_its_ending(tmp_path, capsys, name, content, model):
    """What comes next goes by the rules that the line above it names."""
    (tmp_path / name).write_text(content)
    assert data.main([name]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1].strip() == f"gan train dataset.path={name}"
    assert f"model={model}" in choose_for_data([f"dataset.path={name}"])[0]


def test_a_folder_of_recordings_is_read_as_such(tmp_path, capsys):
    write_tones(tmp_path / "own", each=4)
    assert data.main(["own", "out=sheet.png"]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[-1].strip() == "gan train dataset.path=own"
    assert "recordings 8 usable" in shown.out and "2 classes" in shown.out
    assert "image" not in shown.out + shown.err
    assert data.main(["own", "dataset.spectrogram=true", "out=sheet.png"]) == 0
    last = capsys.readouterr().out.splitlines()[-1].strip()
    assert last == "gan train dataset.path=own dataset.spectrogram=true"
    noise(tmp_path / "own" / "low" / "0.png", 0)
    assert choose_set(str(tmp_path / "own")) == "dataset=folder"


def test_a_column_of_words_is_named_with_what_to_type(tmp_path):
    rows = "".join(f"{k % 5},{k * k % 7},{'up' if k < 20 else 'down'}\n" for k in range(40))
    (tmp_path / "a.csv").write_text(f"x,y,state\n{rows}")
    with pytest.raises(UserError) as caught:
        data.main(["a.csv"])
    assert "line 2, state: 'up' is no number" in str(caught.value)
    ((_, hint),) = caught.value.problems
    assert hint.startswith("dataset.label=state where it is the class")


def test_many_features_take_a_short_line(tmp_path, capsys):
    rows = np.random.default_rng(0).random((30, 40))
    np.savetxt(tmp_path / "a.csv", rows, delimiter=",")
    assert data.main(["a.csv"]) == 0
    (line,) = [text for text in capsys.readouterr().out.splitlines() if text[:6] == "values"]
    assert line.count("and 28 more") == 2 and len(line) < 300


@real
def test_the_real_images(capsys):
    found = facts(capsys, str(TEST_DATA / "cifar10-lite" / "test"))
    assert found["images"] == 1000 and set(found["labels"].values()) == {100}
    assert found["alarms"] == [] and found["resolution"] == 32
    found = facts(capsys, str(TEST_DATA / "emoji64-rgba"), "--sample", "200")
    assert found["channels"] == 4 and found["looked_at"] == 200 and found["modes"] == {"RGBA": 200}
    found = facts(capsys, str(TEST_DATA / "sr" / "Set14"))
    assert found["modes"] == {"RGB": 12, "L": 1} and any(
        "centre crop" in text for text in found["alarms"]
    )


def test_sizes_are_width_x_height_in_messages_too(tmp_path, capsys):
    noise(tmp_path / "photos" / "a.png", 1, size=(40, 24))
    assert data.main(["photos", "dataset.resolution=[24,40]"]) == 0
    assert "40x24 pixels, 3 channels" in capsys.readouterr().out
    with pytest.raises(UserError) as caught:
        Folder(path="photos", resolution=[24, 40], load_size=[20, 40], channels=3, classes=0)
    assert "windows of 40x24" in caught.value.hint


class Waves(Source):
    """Series of five features."""

    kind = "series"

    def load(self) -> Decoded:
        steps = torch.arange(48.0).view(1, 1, 48, 1).sin()
        return Decoded(images=steps + torch.arange(30.0).view(6, 5, 1, 1) / 30)


def test_series_are_surveyed_without_sizes_and_drawn_as_lines():
    source = Waves(kind="series", resolution=[24, 1], load_size=[48, 1], channels=5, classes=0)
    found = survey.survey_data(source)
    assert found.decode_bytes() == 6 * 5 * 48 * 4 and not alarms.find_alarms(found)
    training = dict(surveyed.describe_training(found))
    assert training["training"].startswith("series of 48 steps, 5 features")
    assert "less dataset.shift" in training["values"]
    assert surveyed.draw_contact_sheet(found).size == (4 + 6 * 164, 4 + 100)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["dataset=ring"], "gan train model=mlp dataset=ring"),
        (["dataset=ring", "model=mlp"], "gan train dataset=ring model=mlp"),
        (["dataset=sunspots"], "gan train model=wavegan dataset=sunspots"),
        (["dataset=digits"], "gan train dataset=digits"),
        (
            ["dataset=degraded", "+dataset@dataset.of=digits"],
            "gan train model=enhance dataset=degraded +dataset@dataset.of=digits",
        ),
        (
            ["dataset=outlined", "dataset.apart=true", "+dataset@dataset.of=digits"],
            "gan train model=cyclegan dataset=outlined dataset.apart=true "
            "+dataset@dataset.of=digits",
        ),
    ],
)
def test_the_command_that_comes_next_has_a_model_that_learns_such_items(words, command, capsys):
    assert data.main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1].strip() == command
