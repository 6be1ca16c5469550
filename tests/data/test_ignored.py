"""What lies in a folder of images and is ignored, merged or dropped: it is said, by a run and by
gan data.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import train_helpers
from data_helpers import numbered, picture
from helpers import TEST_DATA
from PIL import Image
from train_helpers import TINY, last, sound

from gancli.config.compose import compose
from gancli.data.decode import Decoder, extensions
from gancli.data.folder import Folder, listing
from gancli.data.pairs import Paired
from gancli.errors import UserError
from gancli.render.notes import NOTE

gan = pytest.fixture(train_helpers.gan)
READ = extensions() - {".heic", ".heics", ".heif", ".heifs", ".hif"}
real = pytest.mark.skipif(
    not TEST_DATA.is_dir(), reason="needs the real images: set GANCLI_TEST_DATA"
)


HEIC = "cannot be read here, convert to JPEG; pip install 'gancli[heif]' (pillow-heif) reads .heic"


@pytest.fixture
def without_heif(monkeypatch):
    """Pillow as it is without its plug-in, whether that is installed or not."""
    monkeypatch.setattr("gancli.data.folder.extensions", lambda: READ)


@pytest.fixture
def notes(caplog):
    caplog.set_level(NOTE, logger="gancli.data")
    return lambda: [record.getMessage() for record in caplog.records]


def both(gan, *argv: str) -> tuple[list[str], str]:
    """What gan data notes of the folder photos, and what a run says at its start."""
    out = sound(gan("data", "photos", "--json")).out
    run = sound(
        gan("train", *TINY, "trainer.steps=1", "dataset=folder", "dataset.path=photos", *argv)
    )
    return json.loads(out)["notes"], run.err


@pytest.mark.parametrize("name", ["labels.csv", "dataset.json"])
def test_a_table_beside_images_that_is_not_read_is_said(name, gan, tmp_path):
    numbered(tmp_path / "photos", 12)
    (tmp_path / "photos" / name).write_text("000.png")
    found, said = both(gan)
    sentence = next(text for text in found if text.startswith(f"{name} cannot be read: "))
    assert sentence.endswith("no labels are read from it")
    assert said.count(f"note: photos: {sentence}") == 1
    sentence = f"{name}: not read; labels come from class sub-folders alone"
    assert sentence in listing(str(tmp_path / "photos")).remarks


def test_heic_is_named_apart_from_what_is_no_image(gan, tmp_path, without_heif):
    numbered(tmp_path / "photos", 12)
    for name in ("a.heic", "b.HEIC", "Thumbs.db", "x.txt", "logo.svg"):
        (tmp_path / "photos" / name).write_bytes(b"x")
    _, said = both(gan)
    assert f"note: photos: 2 .heic: {HEIC}" in said
    out = sound(gan("data", "photos")).out
    assert f"2 .heic: {HEIC}; 1 .db, 1 .svg, 1 .txt: passed over" in out


def test_a_folder_of_heic_alone_says_what_to_do(tmp_path, without_heif):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.heic").write_bytes(b"x")
    with pytest.raises(UserError) as caught:
        listing(str(tmp_path / "photos"))
    assert caught.value.hint == f"1 .heic: {HEIC}"


def test_the_first_frame_of_an_animation_is_said(gan, tmp_path):
    numbered(tmp_path / "photos", 12)
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    frames[0].save(tmp_path / "photos" / "a.gif", save_all=True, append_images=frames[1:])
    found, said = both(gan)
    sentence = "an animation gives its first frame alone"
    assert sentence in found and said.count(f"note: {sentence}") == 1
    decoder = Decoder((8, 8), 1)
    assert decoder(str(tmp_path / "photos" / "a.gif")).mean() == 10


def test_a_second_frame_that_is_damaged_costs_nothing(tmp_path):
    frames = [
        Image.fromarray(np.random.default_rng(k).integers(0, 255, (32, 32), np.uint8))
        for k in (0, 1)
    ]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    whole = Decoder((32, 32), 1)(str(path))
    path.write_bytes(path.read_bytes()[:-300])
    assert (Decoder((32, 32), 1)(str(path)) == whole).all()


def test_a_single_picture_is_no_animation(tmp_path):
    for name in ("a.png", "a.jpg", "a.gif", "a.webp", "a.tif"):
        decoder = Decoder((8, 8), 1)
        decoder(str(picture(tmp_path / name)))
        assert not decoder.notes, name


def test_sub_folders_of_a_class_are_said_to_be_merged(gan, tmp_path):
    for k, place in enumerate(["cat/wild", "cat/tame", "cat", "dog"]):
        picture(tmp_path / "photos" / place / f"{k}.png", k)
    found, said = both(gan)
    sentence = (
        "sub-folders of cat (tame, wild) are merged into that class: "
        "the first sub-folder names the class"
    )
    assert sentence in found and said.count(sentence) == 1


def test_names_that_differ_in_case_are_said_to_be_two_classes(tmp_path, notes):
    for k, place in enumerate(["Cat", "cat", "dog"]):
        picture(tmp_path / "photos" / place / f"{k}.png", k)
    Folder(path=str(tmp_path / "photos")).load()
    assert any("Cat and cat are 2 classes" in text for text in notes())


def test_parts_of_a_set_taken_for_classes_name_the_folder_to_give(gan, tmp_path):
    for k, place in enumerate(["in/train/cat", "in/train/dog", "in/test/cat", "in/test/dog"]):
        picture(tmp_path / "photos" / place / f"{k}.png", k)
    found, _ = both(gan)
    assert any("of its parts train is taken" in text for text in found)
    found = listing(str(tmp_path / "photos")).remarks
    assert any("test, train look like parts" in text for text in found)
    assert any(f"dataset.path={tmp_path}/photos/in/train " in text for text in found)
    again = json.loads(sound(gan("data", "photos/in/train", "--json")).out)
    assert again["labels"] == {"cat": 1, "dog": 1} and again["notes"] == []


def test_plain_classes_are_not_remarked_upon(tmp_path, notes):
    for k in range(4):
        picture(tmp_path / "photos" / "all" / "ab"[k % 2] / f"{k}.png", k)
    Folder(path=str(tmp_path / "photos")).load()
    assert notes() == []


def test_classes_that_the_limit_loses_are_named(tmp_path, notes):
    for k in range(12):
        picture(tmp_path / "photos" / "abc"[k % 3] / f"{k}.png", k)
    Folder(path=str(tmp_path / "photos"), limit=1).load()
    assert any("dataset.limit=1 leaves no image of 2 of 3 classes" in text for text in notes())


def test_colours_that_a_grey_model_drops_are_said(gan, tmp_path):
    for k in range(12):
        picture(tmp_path / "photos" / f"{k}.png", (250, k, 10), mode="RGB")
    said = both(gan, "dataset.channels=1")[1]
    assert said.count("note: colours are dropped: dataset.channels=1 is grey") == 1
    for k in range(12):
        picture(tmp_path / "photos" / f"{k}.png", (k, k, k), mode="RGB")
    assert "colours" not in both(gan, "dataset.channels=1")[1]


def side_by_side(path, k: int, *, same: bool = True, size: tuple[int, int] = (32, 32)):
    """A file with a smooth picture at the left and, at the right, its negative or an unrelated
    continuation.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(k)
    width, height = size
    small = rng.integers(0, 256, (6, 6 if same else 12), dtype=np.uint8)
    whole = Image.fromarray(small).resize(
        (width if same else 2 * width, height), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(whole)
    Image.fromarray(np.concatenate([pixels, 255 - pixels], 1) if same else pixels).save(path)


def test_single_pictures_are_not_cut_into_pairs(gan, tmp_path):
    for k in range(12):
        side_by_side(tmp_path / "faces" / f"{k}.png", k, same=False, size=(16, 32))
    done = gan("train", "model=pix2pix", "dataset.path=faces", *TINY[3:])
    assert done.code == 2 and "each would be cut in half" in done.err
    assert "dataset=folder model=dcgan" in done.err and "a folder A and a folder B" in done.err


def test_wide_single_pictures_are_warned_about(tmp_path, notes):
    for k in range(12):
        side_by_side(tmp_path / "wide" / f"{k}.png", k, same=False)
    Paired(path=str(tmp_path / "wide")).scan()
    assert any("do not look like two pictures of one thing" in text for text in notes())


@pytest.mark.parametrize("size", [(32, 32), (16, 32), (64, 32)])
def test_pairs_of_any_shape_are_taken_in_silence(size, tmp_path, notes):
    for k in range(12):
        side_by_side(tmp_path / "pairs" / f"{k}.png", k, size=size)
    found = Paired(path=str(tmp_path / "pairs")).scan()
    assert found["holdout"] == 1 and notes() == []


def test_a_frozen_config_is_not_questioned_again(tmp_path):
    for k in range(12):
        side_by_side(tmp_path / "faces" / f"{k}.png", k, same=False, size=(16, 32))
    source = Paired(
        path=str(tmp_path / "faces"), resolution=[32, 16], channels=1, classes=0, holdout=1
    )
    assert len(source.load()) == 12


def test_gan_data_recognises_pairs_and_domains(gan, tmp_path):
    def noted(path: str) -> str:
        return "\n".join(json.loads(sound(gan("data", path, "--json")).out)["notes"])

    for k in range(6):
        side_by_side(tmp_path / "pairs" / "train" / f"{k}.png", k)
        picture(tmp_path / "ab" / "A" / f"{k}.jpg", k)
        picture(tmp_path / "ab" / "B" / f"{k}.png", k)
        picture(tmp_path / "two" / "A" / f"{k}.png", k)
        picture(tmp_path / "two" / "B" / f"other{k}.png", k)
        picture(tmp_path / "my horses" / "trainA" / f"{k}.png", k)
        picture(tmp_path / "my horses" / "trainB" / f"{k + 1}.png", k)
        picture(tmp_path / "flat" / f"{k}.png", k)
    assert "pairs side by side, as it seems: gan train model=pix2pix dataset.path=pairs" in noted(
        "pairs"
    )
    assert "pairs in the folders A and B: gan train model=pix2pix dataset.path=ab" in noted("ab")
    assert "gan train model=cyclegan dataset.path=two dataset.a=A dataset.b=B" in noted("two")
    assert "gan train model=cyclegan 'dataset.path=my horses'" in noted("my horses")
    assert "model=" not in noted("flat")


@real
def test_the_real_pairs_and_faces():
    Paired(path=str(TEST_DATA / "facades128")).scan()
    with pytest.raises(UserError, match="look like single pictures"):
        Paired(path=str(TEST_DATA / "animefaces64" / "faces")).scan()


# what is held out of a folder by rule


def held(path, **keys) -> int:
    return Folder(path=str(path), holdout="auto", channels=1, classes=0, **keys).scan()["holdout"]


def test_a_large_folder_holds_some_images_out_by_rule(tmp_path, monkeypatch, notes):
    monkeypatch.setattr("gancli.data.folder.LEAST_IMAGES", 40)
    assert held(numbered(tmp_path / "few", 39)) == 0
    assert held(numbered(tmp_path / "many", 40)) == 2
    assert held(tmp_path / "many", limit=39) == 0
    monkeypatch.setattr("gancli.data.folder.MOST_HELD", 1)
    assert held(tmp_path / "many") == 1
    assert notes()[0].startswith("2 of 40 images are held out") and len(notes()) == 2


def test_a_folder_beside_its_test_images_holds_none_out(tmp_path, monkeypatch):
    monkeypatch.setattr("gancli.data.folder.LEAST_IMAGES", 10)
    assert held(numbered(tmp_path / "set" / "train", 40)) == 2
    numbered(tmp_path / "set" / "test", 2)
    assert held(tmp_path / "set" / "train") == 0


def test_a_run_on_a_folder_freezes_what_it_holds_out(gan, tmp_path, monkeypatch):
    monkeypatch.setattr("gancli.data.folder.LEAST_IMAGES", 10)
    numbered(tmp_path / "photos", 40)
    argv = ["train", *TINY[:-2], "metrics=none", "trainer.steps=1", "dataset=folder"]
    done = sound(gan(*argv, "dataset.path=photos", "hydra.run.dir=a"))
    assert done.err.count("note: 2 of 40 images are held out") == 1
    tree = last("a")
    assert (tree["config"]["dataset"]["holdout"], tree["data"]["n"]) == (2, 38)
    sound(gan(*argv, "dataset.path=photos", "dataset.holdout=5", "hydra.run.dir=b"))
    assert last("b")["data"]["n"] == 35
    numbered(tmp_path / "photos", 40)
    numbered(tmp_path / "less", 2)
    assert "held" not in sound(gan("evaluate", "ckpt=a", "dataset.path=less", "n=10")).err


def test_an_experiment_holds_nothing_out_by_rule():
    folder = ["dataset=folder", "dataset.path=nowhere"]
    assert compose("train", folder).cfg.dataset.holdout == "auto"
    assert compose("train", ["experiment=sngan_digits_small", *folder]).cfg.dataset.holdout == 0
    given = ["experiment=sngan_digits_small", *folder, "dataset.holdout=7"]
    assert compose("train", given).cfg.dataset.holdout == 7
    assert compose("train", ["experiment=pix2pix_facades"]).cfg.dataset.holdout == "auto"


def test_full_metrics_without_held_out_images_name_the_key(gan, tmp_path):
    numbered(tmp_path / "photos", 30)
    words = "memorisation and overfitting cannot be measured"
    argv = ["train", *TINY[:-1], "trainer.steps=1", "metrics.n=10"]
    folder = ["dataset=folder", "dataset.path=photos"]
    said = sound(gan(*argv, "metrics=full", *folder)).err
    assert said.count(words) == 1 and "dataset.holdout=3 keeps some" in said
    assert words not in sound(gan(*argv, "metrics=full", *folder, "dataset.holdout=3")).err
    said = sound(gan("show", "metrics=full", *TINY[:-1])).err
    assert "dataset.holdout=100 keeps some" in said
    assert words not in sound(gan("show", *TINY)).err


def test_heic_is_read_where_its_plug_in_is_installed(tmp_path):
    pytest.importorskip("pillow_heif")
    extensions()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(tmp_path / "a.heic")
    decoded = Folder(path=str(tmp_path)).load()
    assert decoded.images.shape == (1, 3, 64, 64)
    assert abs(int(decoded.images[0, 0, 9, 9]) - 200) < 6
