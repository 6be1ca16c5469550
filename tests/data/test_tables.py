"""Labels from a table beside the images: which table and column, which rows, what is said."""

from __future__ import annotations

import json
import random
import zipfile

import numpy as np
import pytest
import torch
import train_helpers
from data_helpers import numbered, picture, values
from train_helpers import TINY, last, sound

from gancli.data.folder import Folder, listing
from gancli.errors import UserError
from gancli.reports.recipes import look_at

gan = pytest.fixture(train_helpers.gan)
ALL = {"label": "auto", "split": "auto"}


def table(root, n: int = 12, *, name: str = "labels.csv", columns: str = "file,hair", rows=None):
    """n images, the value of each its number, and a table of them in another order."""
    numbered(root, n)
    rows = rows or [f"{k:03}.png,{['red', 'black', 'blond'][k % 3]}" for k in range(n)]
    random.Random(0).shuffle(rows)
    (root / name).write_text("\n".join([columns, *rows]))
    return str(root)


def test_rows_in_another_order_label_the_images_by_their_names(tmp_path):
    decoded = Folder(path=table(tmp_path / "a"), channels=1, resolution=8, **ALL).load()
    assert decoded.classes == ("black", "blond", "red")
    numbers = torch.tensor(values(decoded))
    assert torch.equal(decoded.labels, torch.tensor([2, 0, 1])[numbers % 3])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", "000.png,7\n001.png,10\n"),  # no header
        ("labels.csv", "label;image\n7;000.png\n10;001.png\n"),  # semicolons, the file last
        ("labels.csv", "image_id,label\n000,7\n001,10\n"),  # without endings
        ("metadata.csv", "file_name,label\n./000.png,7\n./001.png,10\n"),
        ("metadata.jsonl", '{"file_name":"000.png","label":7}\n{"file_name":"001.png","label":10}'),
        ("dataset.json", '{"labels": [["000.png", 7], ["001.png", 10]]}'),
        ("labels.json", '{"001.png": 10, "000.png": 7}'),
    ],
)
def test_tables_that_other_tools_write(name, content, tmp_path):
    numbered(tmp_path / "a", 2)
    (tmp_path / "a" / name).write_text(content)
    files = listing(str(tmp_path / "a"), **ALL)
    assert files.labels.tolist() == [0, 1] and files.classes == ("7", "10")
    assert files.labelled_by == f"column label of {name}" and not files.remarks


def test_the_labels_of_stylegan_are_not_its_folders(tmp_path):
    for k in range(4):
        picture(tmp_path / "a" / f"0000{k // 2}" / f"img{k:08}.png", k)
    tree = {"labels": [[f"0000{k // 2}/img{k:08}.png", k % 2] for k in range(4)]}
    (tmp_path / "a" / "dataset.json").write_text(json.dumps(tree))
    files = listing(str(tmp_path / "a"), **ALL)
    assert files.labels.tolist() == [0, 1, 0, 1]
    (tmp_path / "a" / "dataset.json").write_text('{"labels": null}')
    files = listing(str(tmp_path / "a"), **ALL)
    assert files.labels is None and not files.classes
    assert "dataset.json says that there are no labels" in files.remarks


def test_a_table_in_a_wrapper_beside_a_folder_of_images(tmp_path):
    numbered(tmp_path / "a" / "archive" / "images", 4)
    rows = "file,label\n" + "".join(f"{k:03}.png,{k % 2}\n" for k in range(4))
    (tmp_path / "a" / "archive" / "labels.csv").write_text(rows)
    (tmp_path / "a" / "readme.txt").write_text("x")
    assert listing(str(tmp_path / "a"), **ALL).labels.tolist() == [0, 1, 0, 1]


def test_one_of_several_columns_is_chosen_and_an_unknown_one_answered(tmp_path):
    rows = [f"{k:03}.png,{'ab'[k % 2]},{'xyz'[k % 3]},{k / 7}" for k in range(12)]
    path = table(tmp_path / "a", columns="file,hair,eyes,age", rows=rows)
    files = listing(path, **ALL)
    assert files.labels is None
    assert "dataset.label=hair takes that one, of hair, eyes" in files.remarks[0]
    assert listing(path, label="eyes").classes == ("x", "y", "z")
    with pytest.raises(UserError) as caught:
        listing(path, label="hiar")
    assert caught.value.hint == "did you mean 'hair'?"
    with pytest.raises(UserError, match="are no classes"):
        listing(path, label="age")
    with pytest.raises(UserError, match="there is no table of labels"):
        listing(str(numbered(tmp_path / "bare", 2).parent / "bare"), label="hair")


def test_several_columns_are_attributes(tmp_path):
    rows = [f"{k:03}.png,{k % 2},{['yes', 'no'][k % 2]},{k % 3 - 1}" for k in range(12)]
    path = table(tmp_path / "a", columns="file,even,odd,sign", rows=rows)
    decoded = Folder(path=path, label=["even", "odd"], channels=1, resolution=8).load()
    assert decoded.classes == ("even", "odd") and decoded.labels.dtype == torch.float32
    assert torch.equal(decoded.labels[:, 0], torch.tensor(values(decoded)) % 2)
    assert torch.equal(decoded.labels.sum(1), torch.ones(12))
    with pytest.raises(UserError, match="no such column"):
        listing(path, label=["even", "ood"])


def test_what_a_table_lacks_is_counted(tmp_path):
    rows = [f"{k:03}.png,{k % 2}" for k in range(10)]
    rows += ["000.png,0", "gone.png,1", "010.png,"]
    files = listing(table(tmp_path / "a", columns="file,label", rows=rows), **ALL)
    assert len(files) == 10
    assert files.remarks == (
        "labels.csv: rows that name no file here: 1 of 13 (gone.png)",
        "labels.csv: rows that repeat a file, with the same label: 1 (000.png)",
        "labels.csv: images without a row, left out: 1 (011.png)",
        "labels.csv: images without a value of label, left out: 1 (010.png)",
    )


def test_a_table_that_contradicts_itself_is_refused(tmp_path):
    rows = ["000.png,0", "001.png,1", "000.png,1"]
    path = table(tmp_path / "a", 2, columns="file,label", rows=rows)
    with pytest.raises(UserError, match="two rows of 000.png differ, label is"):
        listing(path, **ALL)


def test_a_table_of_few_of_the_images_is_refused_with_a_way_out(tmp_path):
    path = table(tmp_path / "a", columns="file,label", rows=["000.png,0", "001.png,1"])
    with pytest.raises(UserError, match="a row for 2 of 12 images") as caught:
        listing(path, **ALL)
    assert caught.value.hint.startswith("dataset.label=folders does not read it")
    assert len(listing(path, label="label")) == 2
    assert len(listing(path, label="folders")) == 12


def test_a_table_about_something_else_is_said_and_not_used(tmp_path):
    for k in range(4):
        picture(tmp_path / "a" / "xy"[k % 2] / f"{k}.png", k)
    for name, content in (
        ("metadata.csv", "file_name,label\nother.png,1\n"),
        ("dataset.json", "{not json"),
    ):
        (tmp_path / "a" / name).write_text(content)
        files = listing(str(tmp_path / "a"), **ALL)
        assert files.classes == ("x", "y") and files.labelled_by == "class sub-folders"
        assert any(name in text for text in files.remarks)
        (tmp_path / "a" / name).unlink()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", "file,label,label\n000.png,1,2\n"),
        ("labels.csv", "file,label\n000.png,1,2\n"),
        ("labels.csv", ""),
        ("dataset.json", "[" * 100_000),
        ("dataset.json", '{"labels": [["000.png", [1, "a"]], ["001.png", [0, null]]]}'),
        ("dataset.json", '{"labels": [["000.png", [1, 0]], ["001.png", [0]]]}'),
        ("dataset.json", '{"labels": 7}'),
        ("dataset.json", '{"labels": [["000.png", NaN], ["001.png", Infinity]]}'),
        ("labels.json", '{"000.png": 1' + "0" * 9999 + "}"),
        ("metadata.jsonl", '"000.png"\n'),
        ("metadata.jsonl", "{}\n"),
    ],
)
def test_an_odd_table_is_said_and_never_a_traceback(name, content, tmp_path):
    numbered(tmp_path / "a", 2)
    (tmp_path / "a" / name).write_text(content)
    files = listing(str(tmp_path / "a"), **ALL)
    assert files.labels is None and any(name in text for text in files.remarks)
    with pytest.raises(UserError, match=name):
        listing(str(tmp_path / "a"), label="hair")


def test_a_list_of_columns_has_each_once(tmp_path):
    for wrong in ([], ["a", "a"]):
        with pytest.raises(UserError, match="names no column, or one twice"):
            Folder(path="x", label=wrong)


def test_captions_are_no_classes(tmp_path):
    rows = [f'{k:03}.png,"a photo, the {k}th"' for k in range(40)]
    path = table(tmp_path / "a", 40, name="metadata.csv", columns="file_name,text", rows=rows)
    files = listing(path, **ALL)
    assert files.labels is None
    assert files.remarks == ("metadata.csv: no column holds classes (text)",)


def test_two_tables_are_said(tmp_path):
    path = table(tmp_path / "a")
    (tmp_path / "a" / "dataset.json").write_text('{"labels": null}')
    files = listing(path, **ALL)
    assert len(files.classes) == 3
    assert files.remarks == ("labels.csv is read for labels, and not dataset.json",)


def test_parts_two_deep_train_on_train(tmp_path):
    for place in ("in/train/cat", "in/train/dog", "in/test/cat", "in/test/dog", "in/val/cat"):
        for k in range(2):
            picture(tmp_path / "a" / place / f"{k}.png", k)
    path = str(tmp_path / "a")
    files = listing(path, **ALL)
    assert files.classes == ("cat", "dog") and len(files) == 4 and files.left_out
    assert files.remarks == (
        "of its parts train is taken (4 images), and left out test (4), val (2); "
        "dataset.split=NAME or all takes others",
    )
    assert len(listing(path, split="val")) == 2
    assert len(listing(path, split="all")) == 10
    with pytest.raises(UserError) as caught:
        listing(path, split="tets")
    assert caught.value.hint == "did you mean 'test'?"
    assert listing(path).classes == ("test", "train", "val"), "a run from before goes on"


def test_a_table_of_each_part_speaks_of_its_own(tmp_path):
    for part, first in (("train", 0), ("test", 1)):
        numbered(tmp_path / "a" / part, 3)
        rows = "".join(f"{k:03}.png,{(k + first) % 2}\n" for k in range(3))
        (tmp_path / "a" / part / "metadata.csv").write_text("file_name,label\n" + rows)
    path = str(tmp_path / "a")
    assert listing(path, **ALL).labels.tolist() == [0, 1, 0]
    assert listing(path, label="auto", split="test").labels.tolist() == [1, 0, 1]
    assert listing(path, label="auto", split="all").labels.tolist() == [1, 0, 1, 0, 1, 0]


def test_other_labels_are_other_data(tmp_path):
    path = table(tmp_path / "a")
    source = Folder(path=path, channels=1, resolution=8, **ALL)
    before = source.load()
    unlabelled = Folder(path=path, channels=1, resolution=8).load()
    text = (tmp_path / "a" / "labels.csv").read_text()
    (tmp_path / "a" / "labels.csv").write_text(text.replace("red", "grey"))
    after = source.load()
    assert len({data.digest for data in (before, after, unlabelled)}) == 3
    assert np.array_equal(before.images, after.images)


def test_names_of_classes_are_one_line_each(tmp_path):
    rows = ["000.png,a\x1b[31mb", "001.png,x", f"002.png,{'y' * 500}", "003.png,x"]
    files = listing(table(tmp_path / "a", 4, rows=rows), **ALL)
    assert files.classes == ("a?[31mb", "x", "y" * 80)


def test_what_is_typed_decides_what_is_recommended(tmp_path):
    rows = [f"{k:03}.png,{'ab'[k % 2]},{'xyz'[k % 3]}" for k in range(12)]
    path = table(tmp_path / "a", columns="file,hair,eyes", rows=rows)
    assert look_at(path).classes == 0
    assert look_at(path, ["dataset.label=eyes"]).classes == 3
    assert look_at(path, ["dataset.label=[hair,eyes]", "dataset.label=hair"]).classes == 2


def test_a_run_learns_the_chosen_column(gan, tmp_path):
    rows = [f"{k:03}.png,{'ab'[k % 2]},{'xyz'[k % 3]}" for k in range(12)]
    table(tmp_path / "photos", columns="file,hair,eyes", rows=rows)
    words = ["dataset=folder", "dataset.path=photos", "dataset.label=eyes"]
    shown = json.loads(sound(gan("data", *words, "--json")).out)
    assert shown["labels"] == {"x": 4, "y": 4, "z": 4}
    assert shown["labelled_by"] == "column eyes of labels.csv"
    more = ["model.conditional=true", "trainer.steps=1", "hydra.run.dir=run"]
    sound(gan("train", *TINY, *words, *more))
    assert last("run")["config"]["dataset"]["classes"] == 3
    text = (tmp_path / "photos" / "labels.csv").read_text()
    (tmp_path / "photos" / "labels.csv").write_text(text.replace("a,x", "b,y"))
    assert "was trained on other data" in gan("train", "resume=run", "trainer.steps=2").err


def test_a_table_in_a_zip_file(tmp_path):
    path = table(tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for member in (tmp_path / "a").iterdir():
            file.write(member, f"set/{member.name}")
    folder, packed = (listing(p, **ALL) for p in (path, str(tmp_path / "a.zip")))
    assert packed.labels.tolist() == folder.labels.tolist()
    assert packed.labelled_by == "column hair of set/labels.csv"
