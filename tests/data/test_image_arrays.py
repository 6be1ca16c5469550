"""Images in one array: .npy and .npz files as others write them, their parts, labels and limits."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
import train_helpers
from helpers import TEST_DATA, differences
from train_helpers import TINY, last, sound

from gancli.data.folder import Folder, listing
from gancli.errors import UserError
from gancli.reports.recipes import choose_set, look_at
from gancli.run.measure import load_other_split

gan = pytest.fixture(train_helpers.gan)
ALL = {"label": "auto", "split": "auto"}
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
LABELS = np.arange(12) % 3


def load(path, **options):
    return Folder(path=str(path), **{**ALL, **options}).load()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_images_and_labels_are_those_of_the_array(save, tmp_path):
    save(tmp_path / "a.npz", images=PIXELS, labels=LABELS)
    decoded = load(tmp_path / "a.npz")
    assert torch.equal(decoded.images, torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    assert decoded.labels.tolist() == LABELS.tolist() and decoded.classes == ("0", "1", "2")


def test_layouts_that_other_tools_write(tmp_path):
    grey = PIXELS[..., 0]
    np.savez(tmp_path / "guided.npz", PIXELS, LABELS)
    np.savez(tmp_path / "first.npz", images=PIXELS.transpose(0, 3, 1, 2), labels=LABELS)
    np.savez(tmp_path / "hot.npz", x=PIXELS, y=np.eye(3)[LABELS])
    np.savez(tmp_path / "fortran.npz", images=np.asfortranarray(PIXELS), labels=LABELS)
    wanted = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    for name in ("guided", "first", "hot", "fortran"):
        decoded = load(tmp_path / f"{name}.npz")
        assert torch.equal(decoded.images, wanted), name
        assert decoded.labels.tolist() == LABELS.tolist(), name
    np.savez(tmp_path / "named.npz", images=grey, label=LABELS, class_names=["a", "b", "c"])
    assert load(tmp_path / "named.npz").classes == ("a", "b", "c")
    np.save(tmp_path / "bare.npy", grey)
    bare = load(tmp_path / "bare.npy")
    assert bare.labels is None and torch.equal(bare.images[:, 0], torch.from_numpy(grey))


def medmnist(path, **more):
    np.savez_compressed(
        path,
        **{
            f"{part}_{what}": array[first:last]
            for part, first, last in (("train", 0, 6), ("val", 6, 9), ("test", 9, 12))
            for what, array in (("images", PIXELS[..., 0]), ("labels", LABELS[:, None]))
        },
        **more,
    )
    return str(path)


def test_medmnist_trains_on_its_training_part_and_says_so(tmp_path):
    path = medmnist(tmp_path / "a.npz")
    files = listing(path, **ALL)
    assert len(files) == 6 and files.left_out
    assert files.labelled_by == "column label of a.npz"
    assert files.remarks == (
        "of its parts train is taken (6 images), and left out val (3), test (3); "
        "dataset.split=NAME or all takes others",
    )
    assert load(path, split="test").labels.tolist() == LABELS[9:].tolist()
    every = load(path, split="all")
    assert torch.equal(every.images[:, 0], torch.from_numpy(PIXELS[..., 0]))
    assert len({load(path, split=split).digest for split in ("auto", "val", "all")}) == 3
    with pytest.raises(UserError) as caught:
        listing(path, label="auto", split="tset")
    assert caught.value.hint == "did you mean 'test'?"


def test_the_part_to_test_on_serves_as_held_out(tmp_path):
    source = Folder(path=medmnist(tmp_path / "a.npz"), **ALL).settled()
    assert source.holdout == 0
    held, words = load_other_split(source)
    assert words == "its test split"
    assert torch.equal(held.images[:, 0], torch.from_numpy(PIXELS[9:, ..., 0]))
    assert load_other_split(replace(source, split="all")) == (None, "")
    labels = dict(np.load(tmp_path / "a.npz"))
    np.savez(tmp_path / "a.npz", **labels | {"test_labels": np.arange(3) + 7})
    assert load_other_split(source)[1] == "its val split", "of other classes"


def test_further_arrays_are_columns_and_what_is_not_read_is_said(tmp_path):
    np.savez(tmp_path / "a.npz", images=PIXELS, hair=LABELS, eyes=LABELS % 2, note=np.zeros(3))
    files = listing(str(tmp_path / "a.npz"), **ALL)
    assert files.labels is None and files.remarks[0] == "arrays that are not read: note"
    assert listing(str(tmp_path / "a.npz"), label="eyes").labels.tolist() == [0, 1, 0] * 4
    with pytest.raises(UserError, match="no such column"):
        listing(str(tmp_path / "a.npz"), label="ears")


def test_several_labels_of_an_image_are_attributes(tmp_path):
    several = np.stack([LABELS == 0, LABELS > 0, LABELS > 1], 1).astype(np.uint8)
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=several)
    assert listing(str(tmp_path / "a.npz"), **ALL).labels is None
    found = listing(str(tmp_path / "a.npz"), label=["label_0", "label_2"])
    assert found.labels.tolist() == several[:, [0, 2]].tolist()


def test_other_numbers_are_images_of_any_number_of_channels(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (6, 8, 8, 5), np.uint16)
    np.save(tmp_path / "a.npy", deep)
    decoded = load(tmp_path / "a.npy")
    assert decoded.images.shape == (6, 5, 8, 8)
    wanted = torch.from_numpy(deep.astype(np.float32)).permute(0, 3, 1, 2) / 32767.5 - 1
    assert torch.allclose(decoded.images, wanted, atol=1e-6)


def test_arrays_are_mapped_unless_they_are_compressed(tmp_path, monkeypatch):
    from gancli.data import image_arrays

    np.savez(tmp_path / "a.npz", images=PIXELS)
    np.savez_compressed(tmp_path / "b.npz", images=PIXELS)
    monkeypatch.setattr(image_arrays.cache, "fits", lambda n: False)
    assert listing(str(tmp_path / "a.npz"), **ALL).read_one(3).getvalue()
    with pytest.raises(UserError, match="more than the memory"):
        listing(str(tmp_path / "b.npz"), **ALL).read_one(3)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda p: np.savez(p, images=np.array([{}, []], object)), "objects|Object"),
        (lambda p: np.savez(p, labels=LABELS), "no array of images"),
        (lambda p: np.savez(p, images=PIXELS[:0]), "is empty"),
        (lambda p: p.write_bytes(b"PK\x03\x04 no zip"), "cannot be read"),
        (lambda p: np.savez(p, images=PIXELS[None], pose=PIXELS[..., 0]), "no array of images"),
    ],
)
def test_what_is_refused(write, said, tmp_path):
    write(tmp_path / "a.npz")
    with pytest.raises(UserError, match=said):
        listing(str(tmp_path / "a.npz"), **ALL)


def test_a_header_that_claims_more_than_there_is_allocates_nothing(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    data = (tmp_path / "a.npy").read_bytes().replace(b"(12, 8, 8, 3)", b"(9912,8,8,3) ")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("images.npy", data)
    with pytest.raises(UserError, match="needs 1,903,104 bytes and has 2,304"):
        listing(str(tmp_path / "a.npz"), **ALL)
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(UserError, match="needs"):
        listing(str(tmp_path / "a.npy"), **ALL)


def test_what_reads_an_npz_is_told_by_what_it_holds(tmp_path):
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=LABELS)
    np.savez(tmp_path / "b.npz", series=np.zeros((4, 24, 2)))
    np.savez(tmp_path / "c.npz", **{f"{k}": PIXELS[k] for k in range(4)})
    assert choose_set(str(tmp_path / "a.npz")) == "dataset=folder"
    assert choose_set(str(tmp_path / "b.npz")) == "dataset=series"
    facts = look_at(str(tmp_path / "a.npz"))
    assert (facts.n, facts.size, facts.classes) == (12, (8, 8), 3)
    assert len(listing(str(tmp_path / "c.npz"))) == 4, "a zip file of arrays, as before"


@pytest.mark.full
def test_a_run_resumes_to_the_same_bits_and_notices_other_pixels(gan, tmp_path):
    path = medmnist(tmp_path / "a.npz")
    words = [*TINY, f"dataset.path={path}", "dataset=folder", "trainer.save_every=1"]
    sound(gan("train", *words, "trainer.steps=1", "hydra.run.dir=run"))
    sound(gan("train", *words, "trainer.steps=2", "hydra.run.dir=whole"))
    sound(gan("train", "resume=run", "trainer.steps=2"))
    assert differences(last("run"), last("whole")) == []
    other = dict(np.load(path))
    other["train_images"][0, 0, 0] ^= 1
    np.savez(path, **other)
    assert "other data" in gan("train", "resume=run", "trainer.steps=3").err


@pytest.mark.full
@pytest.mark.skipif(not TEST_DATA.is_dir(), reason="needs the real images: set GANCLI_TEST_DATA")
def test_real_x_rays(gan):
    path = TEST_DATA / "beyond" / "medical" / "pneumoniamnist28_subset.npz"
    shown = json.loads(sound(gan("data", str(path), "--json")).out)
    assert shown["labels"] == {"0": 388, "1": 3494} and shown["formats"] == {"array": 3882}
