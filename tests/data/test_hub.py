"""Parquet files and folders of `save_to_disk`, written by Hugging Face's own library."""

from __future__ import annotations

import io
import json

import pytest
import torch
import train_helpers
from helpers import differences
from PIL import Image
from train_helpers import TINY, last, sound

from gancli.data import hub
from gancli.data.folder import Folder, listing
from gancli.errors import UserError
from gancli.reports.recipes import look_at

gan = pytest.fixture(train_helpers.gan)
ALL = {"label": "auto", "split": "auto"}


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return pytest.importorskip("datasets")


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def make(datasets, n: int = 12, first: int = 0):
    """Image k is red of k; its label is k % 2, its other class k % 3."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "fine": datasets.ClassLabel(names=["x", "y", "z"]),
            "text": datasets.Value("string"),
        }
    )
    rows = range(first, first + n)
    return datasets.Dataset.from_dict(
        {
            "image": [{"bytes": png(k), "path": None} for k in rows],
            "label": [k % 2 for k in rows],
            "fine": [k % 3 for k in rows],
            "text": [f"the {k}th image" for k in rows],
        },
        features=features,
    )


def load(path, **options):
    return Folder(path=str(path), **{**ALL, **options}).load()


def test_a_parquet_file(tmp_path, datasets):
    make(datasets).to_parquet(tmp_path / "a.parquet", batch_size=5)
    decoded = load(tmp_path / "a.parquet")
    assert decoded.images[:, 0, 0, 0].tolist() == list(range(12))
    assert decoded.labels.tolist() == [k % 2 for k in range(12)]
    assert decoded.classes == ("cat", "dog")
    files = listing(str(tmp_path / "a.parquet"), **ALL)
    assert files.labelled_by == "column label of the table"
    assert files.remarks == (
        "the table: label is taken for the label; dataset.label=fine takes another column of "
        "fine, text",
    )
    assert load(tmp_path / "a.parquet", label="fine").classes == ("x", "y", "z")
    with pytest.raises(UserError) as caught:
        listing(str(tmp_path / "a.parquet"), label="fien")
    assert caught.value.hint == "did you mean 'fine'?"
    assert look_at(str(tmp_path / "a.parquet")).classes == 2


def test_a_folder_of_parquet_files_in_parts(tmp_path, datasets):
    (tmp_path / "a" / "data").mkdir(parents=True)
    for name, first in (("train-00000-of-00002", 0), ("train-00001-of-00002", 12), ("test-0", 24)):
        make(datasets, 12, first).to_parquet(tmp_path / "a" / "data" / f"{name}.parquet")
    (tmp_path / "a" / "README.md").write_text("x")
    files = listing(str(tmp_path / "a"), **ALL)
    assert len(files) == 24 and files.left_out
    assert "of its parts train is taken (24 images), and left out test (12)" in files.remarks[0]
    decoded = load(tmp_path / "a", split="all")
    assert sorted(decoded.images[:, 0, 0, 0].tolist()) == list(range(36))


def test_a_folder_of_save_to_disk(tmp_path, datasets):
    parts = datasets.DatasetDict({"train": make(datasets), "test": make(datasets, 4, 12)})
    parts.save_to_disk(tmp_path / "a")
    decoded = load(tmp_path / "a")
    assert decoded.images[:, 0, 0, 0].tolist() == list(range(12))
    assert decoded.classes == ("cat", "dog")
    assert load(tmp_path / "a", split="test").images[:, 0, 0, 0].tolist() == [12, 13, 14, 15]
    chosen = make(datasets).shuffle(seed=0).select(range(5))
    chosen.save_to_disk(tmp_path / "b")
    wanted = [image.getpixel((0, 0))[0] for image in chosen["image"]]
    assert load(tmp_path / "b").images[:, 0, 0, 0].tolist() == wanted


def test_few_row_groups_stay_in_memory_and_large_ones_are_refused(tmp_path, datasets, monkeypatch):
    make(datasets, 40).to_parquet(tmp_path / "a.parquet", batch_size=4)
    files = listing(str(tmp_path / "a.parquet"), **ALL)
    for k in (*range(40), 3, 39):
        assert files.read_one(k).getvalue() == png(k)
    monkeypatch.setattr(hub.cache, "fits", lambda n: False)
    with pytest.raises(UserError, match="more than the memory") as caught:
        listing(str(tmp_path / "a.parquet"), **ALL).read_one(0)
    assert "batch_size=100" in caught.value.hint


def test_unknown_labels_and_rows_without_an_image(tmp_path, datasets):
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    images = [{"bytes": png(k), "path": None} for k in range(6)]
    images[4] = {"bytes": None, "path": "/etc/passwd"}
    rows = {"image": images, "label": [0, 1, -1, 0, 1, 1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    decoded = load(tmp_path / "a.parquet")
    assert decoded.labels.tolist() == [0, 1, 0, 1]
    ((name, reason),) = decoded.skipped
    assert name == "a.parquet/0000004" and "holds a path and no bytes" in reason
    rows = {"image": images, "label": [-1] * 6}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "b.parquet")
    assert load(tmp_path / "b.parquet").labels is None


def test_other_rows_are_other_data(tmp_path, datasets):
    make(datasets).save_to_disk(tmp_path / "a")
    make(datasets, 12, 1).save_to_disk(tmp_path / "b")
    make(datasets).to_parquet(tmp_path / "c.parquet")
    make(datasets, 12, 1).to_parquet(tmp_path / "d.parquet")
    found = [listing(str(tmp_path / name), **ALL).identity for name in ("a", "b")]
    found += [listing(str(tmp_path / f"{name}.parquet"), **ALL).identity for name in "cd"]
    assert len(set(found)) == 4


def test_what_is_no_such_file_or_has_no_images(tmp_path, datasets):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(UserError, match="a.parquet cannot be read"):
        listing(str(tmp_path / "a.parquet"), **ALL)
    datasets.Dataset.from_dict({"text": ["a", "b"]}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(UserError, match="no column of encoded images"):
        listing(str(tmp_path / "b.parquet"), **ALL)


def test_without_pyarrow_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError) as caught:
        listing(str(tmp_path / "a.parquet"), **ALL)
    assert caught.value.hint == "pip install 'gancli[hf]'"


@pytest.mark.full
def test_a_run_resumes_to_the_same_bits(gan, tmp_path, datasets):
    make(datasets).to_parquet(tmp_path / "set.parquet", batch_size=5)
    words = [*TINY, "dataset=folder", "dataset.path=set.parquet", "dataset.holdout=2"]
    words += ["trainer.save_every=1"]
    shown = json.loads(sound(gan("data", "set.parquet", "--json")).out)
    assert shown["labels"] == {"cat": 6, "dog": 6}
    sound(gan("train", *words, "trainer.steps=1", "hydra.run.dir=run"))
    sound(gan("train", *words, "trainer.steps=2", "hydra.run.dir=whole"))
    sound(gan("train", "resume=run", "trainer.steps=2"))
    assert differences(last("run"), last("whole")) == []


def test_mapped_batches_are_read_by_many_threads(tmp_path, datasets):
    make(datasets, 60).save_to_disk(tmp_path / "a", num_shards=3)
    one = load(tmp_path / "a", workers=1)
    many = load(tmp_path / "a", workers=8)
    assert torch.equal(one.images, many.images)
