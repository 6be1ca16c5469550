"""gan translate: which files it reads, names, writes and leaves alone, and what it shows of its
work.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import translate_helpers
from helpers import ending
from PIL import Image
from translate_helpers import files, make, noise, put

from gancli.commands.translate_files import mark_of, targets

runs = pytest.fixture(scope="module")(translate_helpers.runs)
gan = pytest.fixture(translate_helpers.gan)

# files


def test_folders_keep_their_structure_and_what_is_hidden_is_passed_over(gan):
    for name in (
        "a.jpg",
        "sub/b.png",
        "sub/deep/c.bmp",
        ".hidden.png",
        ".git/d.png",
        "notes.txt",
        "__MACOSX/e.png",
    ):
        put(f"in/{name}", b"x" if name.endswith("txt") else noise((16, 16)))
    assert set(make(gan, "cyclegan", "input=in")) == {
        "a.png",
        "sub/b.png",
        "sub/deep/c.png",
        "sheet.png",
    }


def test_names_that_differ_by_their_ending_alone_keep_it(gan):
    for name in ("a.jpg", "a.png", "b.png", "sub/A.png"):
        put(f"in/{name}", noise((16, 16)))
    assert set(make(gan, "cyclegan", "input=in", "sheet=false")) == {
        "a.jpg.png",
        "a.png.png",
        "b.png.png",
        "sub/A.png",
    }
    assert targets(["x/a.b.png", "x/A.b.jpg", "a.png"]) == ["x/a.b.png", "x/A.b.jpg", "a"]


def test_a_bad_file_is_named_and_passed_over(gan):
    put("in/a.png", b"<html>404</html>")
    put("in/b.png", noise((16, 16)))
    put("in/c.jpg", noise((16, 16)))
    Path("in/c.jpg").write_bytes(Path("in/c.jpg").read_bytes()[:300])
    os.symlink("nowhere", "in/d.png")
    code, out, err = gan("cyclegan", "input=in", "out=out")
    assert code == 0 and "done: out/sheet.png, and 1 image in out" in out and ending(out)
    assert set(files()) == {"b.png", "sheet.png"}
    lines = err.splitlines()
    assert lines[0] == "gan: warning: a.png: a web page, not an image" and lines[1].startswith(
        "gan: warning: c.jpg: corrupt: "
    )
    assert lines[2] == "gan: warning: d.png: no such file, perhaps a broken link"
    assert lines[3:] == ["gan: warning: skipped 3 of 4 images"]


def test_only_bad_files_are_code_2(gan):
    put("in/a.png", b"")
    code, out, err = gan("cyclegan", "input=in", "out=out")
    assert code == 2 and not out and err.startswith("gan: a.png: empty file\n")
    put("in/b.png", b"x")
    code, out, err = gan("cyclegan", "input=in", "out=out")
    assert code == 2 and "gan: none of 2 images could be translated\n" in err and files() == {}


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_no_memory_for_one_image_leaves_the_others(gan, monkeypatch, error):
    from gancli.games.cyclegan import CycleGAN

    def sample(self, inputs, generator, *, direction="ab"):
        if inputs["a"].shape[3] > 20:
            raise error
        return inputs["a"]

    monkeypatch.setattr(CycleGAN, "sample", sample)
    put("in/a.png", noise((16, 16)))
    put("in/b.png", noise((40, 16)))
    code, _, err = gan("cyclegan", "input=in", "out=out")
    assert (
        code == 0
        and "b.png: not enough memory; a smaller max_size= needs less" in err
        and "a.png" in files()
    )


def test_a_file_of_the_users_is_never_overwritten(gan):
    put("in/a.jpg", noise((16, 16)))
    put("out/a.png", noise((5, 5)))
    before = files()
    code, _, err = gan("cyclegan", "input=in", "out=out")
    assert (
        code == 2
        and "out holds files that gan translate has not written, or reads: a.png" in err
        and files() == before
    )
    os.remove("out/a.png")
    for _ in range(2):  # our own are replaced
        assert gan("cyclegan", "input=in", "out=out")[0] == 0
    put("out/sheet.png", noise((5, 5)))
    assert gan("cyclegan", "input=in", "out=out")[0] == 2
    assert gan("cyclegan", "input=in", "out=out", "sheet=false")[0] == 0


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
def test_our_own_files_are_known_again_in_each_format(gan, form):
    put("in/a.png", noise((16, 16)))
    for _ in range(2):
        assert gan("cyclegan", "input=in", "out=out", f"format={form}")[0] == 0
    assert (
        mark_of(Path(f"out/a.{form}")) == "gan translate"
        and mark_of(Path("out/sheet.png")) == "gan translate: sheet"
    )


def test_an_input_is_never_overwritten(gan):
    put("in/a.png", noise((16, 16)))
    before = files("in")
    code, _, err = gan("cyclegan", "input=in", "out=in")
    assert code == 2 and "is the input folder" in err
    os.symlink("in", "alias")
    assert gan("cyclegan", "input=in", "out=alias")[0] == 2
    assert gan("cyclegan", "input=in/a.png", "out=in")[0] == 2 and files("in") == before
    assert gan("cyclegan", "input=in", "out=made")[0] == 0
    made = files("made")
    assert gan("cyclegan", "input=made/a.png", "out=made", "direction=ba")[0] == 2, (
        "though it is ours"
    )
    os.symlink("../in/a.png", "made/b.png")
    put("in2/b.png", noise((16, 16)))
    assert gan("cyclegan", "input=in2", "out=made")[0] == 2 and files("in") == before
    os.remove("made/b.png")
    assert files("made") == made


def test_what_was_made_is_not_made_again(gan):
    """out= within the input folder, and the sheet of an earlier run."""
    put("in/a.png", noise((16, 16)))
    for _ in range(2):
        assert gan("cyclegan", "input=in", "out=in/made")[0] == 0
    assert set(files("in")) == {"a.png", "made/a.png", "made/sheet.png"}
    assert set(make(gan, "cyclegan", "input=in/made", "direction=ba")) == {"a.png", "sheet.png"}


def test_out_is_beside_the_run(gan, runs, tmp_path):
    shutil.copytree(runs / "cyclegan", "run")
    put("a.png", noise((16, 16)))
    for name, more in (("translated", ()), ("translated-ba", ("direction=ba",))):
        assert ending(
            gan(str(tmp_path / "run"), "input=a.png", *more)[1], str(tmp_path / "run" / name)
        )
    assert set(files("run/translated")) == {"a.png", "sheet.png"}


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_out_that_cannot_be_written_is_a_sentence(gan, place):
    put("a.png", noise((16, 16)))
    Path("file").touch()
    code, _, err = gan("cyclegan", f"out={place}", "input=a.png")
    assert code == 2 and f"{place} cannot be written" in err


def test_a_full_disk_is_code_75(gan, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    put("a.png", noise((16, 16)))
    monkeypatch.setattr(os, "replace", full)
    code, _, err = gan("cyclegan", "out=out", "input=a.png")
    assert code == 75 and "No space left" in err and files() == {}, "nothing half written is left"


def test_formats_without_alpha_or_grey_get_what_they_hold(gan):
    put("in/a.png", noise((16, 16), "RGBA"))
    make(gan, "cyclegan", "input=in", "format=jpg")
    assert Image.open("out/a.jpg").mode == "RGB"
    make(gan, "srgan", "input=in", "format=webp")
    assert Image.open("out/a.webp").mode == "RGBA"
    put("in/a.png", noise((16400, 2), "L"))
    code, _, err = gan("srgan", "input=in", "out=wide", "format=webp")
    assert code == 2 and "32800x4 pixels cannot be written as webp" in err


# what people look at


def test_the_sheet_shows_the_first_beside_what_became_of_them(gan):
    for k in range(20):
        put(f"in/{k:02}.png", noise((16, 16)) if k else Image.new("RGB", (16, 8), (255, 0, 0)))
    make(gan, "cyclegan", "input=in")
    sheet = Image.open("out/sheet.png").convert("RGB")
    assert sheet.size == (2 + 4 * 50, 2 + 8 * 50), (
        "two pairs in a row, 16 of them, enlarged to 48 pixels"
    )
    assert sheet.getpixel((26, 26)) == (255, 0, 0) and sheet.getpixel((26, 5)) == (128, 128, 128)
    made = Image.open("out/00.png").convert("RGB")
    assert sheet.getpixel((2 + 50 + 24, 26)) == made.getpixel((8, 4))
    make(gan, "pix2pix", "input=in/01.png", "answers=3")
    assert Image.open("out/sheet.png").size == (2 + 4 * 50, 2 + 50), "a source and its answers"


def test_a_sheet_that_would_be_in_the_way_takes_another_name(gan):
    put("in/sheet.jpg", noise((16, 16)))
    assert set(make(gan, "cyclegan", "input=in")) == {"sheet.png", "sheet2.png"}
    assert Image.open("out/sheet.png").size == (16, 16)


def test_it_says_how_far_it_is_and_a_quick_one_says_nothing_in_a_pipe(gan, monkeypatch):
    for k in range(3):
        put(f"in/{k}.png", noise((16, 16)))
    _, out, err = gan("cyclegan", "input=in", "out=out")
    assert out.startswith("done: out/sheet.png, and 3 images in out\n") and not err
    said = []
    monkeypatch.setattr("gancli.render.status.say", lambda text, **_: said.append(text))
    code, out, _ = gan("cyclegan", "input=in", "out=out")
    assert code == 0 and ending(out) and "translating: 2 of 3 images…" in said


def test_the_checkpoint_is_enough(gan, monkeypatch):
    """No data set is touched."""
    from gancli.data import base

    put("a.png", noise((16, 16)))
    monkeypatch.setattr(base.Source, "load", lambda self: pytest.fail("the data were read"))
    assert make(gan, "srgan", "input=a.png")
