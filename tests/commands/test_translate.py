"""gan translate: any image of any size and mode in, as large out; the same seed gives the same
bytes.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import translate_helpers
from PIL import Image
from translate_helpers import files, make, noise, pixels, put

from gancli.checkpoint import load_game
from gancli.cli import main
from gancli.config import compose

runs = pytest.fixture(scope="module")(translate_helpers.runs)
gan = pytest.fixture(translate_helpers.gan)

# sizes and modes


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16", "CMYK"])
def test_every_mode_and_size_comes_back_as_large(gan, mode):
    image = noise((37, 21), "LA" if mode == "LA" else "RGBA" if mode == "RGBA" else "RGB")
    if mode == "I;16":
        image = Image.fromarray((np.arange(21 * 37).reshape(21, 37) * 60).astype(np.uint16))
    elif mode not in ("LA", "RGBA"):
        image = image.convert(mode)
    put("in/image.tiff" if mode in ("CMYK", "LA") else "in/image.png", image)
    for run, scale, wanted in (
        ("pix2pix", 1, "RGBA" if "A" in mode else "RGB"),
        ("srgan", 2, "LA" if "A" in mode else "L"),
        ("alpha", 1, "RGBA"),
    ):
        make(gan, run, "input=in")
        result = Image.open("out/image.png")
        assert (result.size, result.mode) == ((37 * scale, 21 * scale), wanted)
        if wanted in ("RGBA", "LA") and run == "pix2pix":
            np.testing.assert_array_equal(
                np.asarray(result)[..., -1], np.asarray(image)[..., -1], "alpha is kept"
            )


def test_16_bit_is_said_once(gan):
    for name in "ab":
        put(f"in/{name}.png", Image.fromarray(np.full((8, 8), 40000, np.uint16)))
    assert gan("srgan", "input=in", "out=out")[2] == "note: 16-bit pixels were scaled to 8 bits\n"


def test_colour_that_a_grey_model_drops_is_said_once(gan):
    for name in "ab":
        put(f"in/{name}.png", noise((8, 8)))
    said = gan("srgan", "input=in", "out=out")[2]
    assert said.startswith("note: colours are dropped: dataset.channels=1 is grey")
    assert said.count("colours are dropped") == 1
    assert gan("pix2pix", "input=in", "out=coloured")[2] == ""


def test_what_is_written_is_what_the_generator_makes(gan, runs, monkeypatch):
    monkeypatch.setattr(compose, "compose", translate_helpers.compose)
    put("in/a.png", noise((16, 24), "L"))
    make(
        gan, "srgan", "input=in", "ema=true", "max_size=null", "tile=auto", "trust=[]", "device=cpu"
    )
    loaded = load_game(str(runs / "srgan"))
    source = torch.from_numpy(pixels("in/a.png")).float()[None, None] / 127.5 - 1
    want = ((loaded.generator(source)[0, 0].clamp(-1, 1) + 1) * 127.5).round().numpy()
    assert want.std() > 0.5 and np.abs(pixels("out/a.png") - want).max() <= 1


def test_enlarged_alpha_is_the_alpha_enlarged(gan):
    image = Image.new("RGBA", (20, 12), (200, 30, 30, 255))
    image.paste((0, 0, 0, 0), (0, 0, 10, 12))
    put("in/a.png", image)
    make(gan, "srgan", "input=in")
    alpha = pixels("out/a.png")[..., 1]
    assert alpha.shape == (24, 40) and (alpha[:, :17] == 0).all() and (alpha[:, 23:] == 255).all()


def test_a_photo_that_was_held_upright_is_turned(gan):
    exif = Image.Exif()
    exif[0x0112] = 6
    put("in/a.jpg", noise((40, 24)), exif=exif, quality=95)
    upright = Image.open("in/a.jpg").transpose(Image.Transpose.ROTATE_270)
    made = make(gan, "cyclegan", "input=in")
    put("in/a.jpg", b"")
    os.remove("in/a.jpg")
    put("in/a.png", upright)
    assert (
        Image.open("out/a.png").size == (24, 40)
        and make(gan, "cyclegan", "input=in")["a.png"] == made["a.png"]
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 90), (16, 16)])
def test_small_and_narrow_images(gan, size):
    put("in/a.png", noise(size))
    for run in ("pix2pix", "cyclegan"):
        make(gan, run, "input=in/a.png")
        assert Image.open("out/a.png").size == size


def test_a_large_image_where_no_tiles_are_allowed_is_shrunk_and_said_once(gan):
    for name in "ab":
        put(f"in/{name}.png", noise((90, 60)))
    put("in/c.png", noise((16, 16)))
    code, _, err = gan("cyclegan", "input=in", "out=out", "max_size=40")
    assert code == 0 and Image.open("out/a.png").size == (90, 60)
    assert err == (
        "gan: warning: 2 of 3 images are larger than max_size=40; this generator sees whole images "
        "only, since it normalises by "
        "their mean and variance, so they were translated smaller and enlarged again (a larger "
        "max_size= takes more memory)\n"
    )
    assert gan("cyclegan", "input=in", "out=out", "max_size=null")[2] == ""


def test_tiles_are_the_whole_image(gan):
    put("in/a.png", noise((110, 90), "L"))
    whole = make(gan, "srgan", "input=in")["a.png"]
    for tile in ("tile=48", "max_size=96"):
        assert make(gan, "srgan", "input=in", tile)["a.png"] == whole
    assert make(gan, "srgan", "input=in", "tile=off", "max_size=96")["a.png"] != whole


# the same bytes


@pytest.mark.parametrize(
    ("run", "argv"),
    [
        ("pix2pix", ("answers=2",)),
        ("cyclegan", ("direction=ba", "format=jpg")),
        ("srgan", ("format=webp", "tile=48")),
    ],
)
def test_the_same_seed_gives_the_same_bytes_in_every_file(gan, runs, tmp_path, run, argv):
    for name in ("a", "sub/b"):
        put(f"in/{name}.png", noise((60, 40)))
    first = make(gan, run, "input=in", *argv)
    torch.rand(9)
    shutil.copytree("in", "elsewhere/input")
    shutil.copytree(runs / run, tmp_path / "moved here")
    shutil.rmtree("in")
    assert make(gan, str(tmp_path / "moved here"), "input=elsewhere/input", *argv) == first, (
        "no path inside"
    )
    other = make(gan, run, "input=elsewhere/input", "seed=4", *argv)
    assert (other != first) == (run == "pix2pix")


def test_what_an_image_becomes_does_not_depend_on_its_company(gan):
    for name in "abc":
        put(f"in/{name}.png", noise((16, 16)))
    all_of_them = make(gan, "pix2pix", "input=in")
    assert all_of_them["a.png"] != all_of_them["b.png"], (
        "the same source, under another name, draws other noise"
    )
    assert make(gan, "pix2pix", "input=in/b.png")["b.png"] == all_of_them["b.png"]


def test_the_average_and_the_trained_generator_may_be_chosen(gan):
    put("in/a.png", noise((16, 16)))
    assert gan("pix2pix", "input=in", "out=out", "ema=false")[0] == 0
    assert "ema='maybe' does not fit" in gan("pix2pix", "input=in", "ema=maybe")[2]


# directions, answers, masks, styles


def test_both_directions(gan, runs):
    put("a.png", noise((16, 16)))
    ab, ba = (
        make(gan, "cyclegan", "input=a.png", f"direction={way}")["a.png"] for way in ("ab", "ba")
    )
    assert ab != ba == make(gan, "cyclegan", "input=a.png", "direction=ba")["a.png"]
    loaded = load_game(str(runs / "cyclegan"))
    source = torch.from_numpy(pixels("a.png")).permute(2, 0, 1).float()[None] / 127.5 - 1
    want = (
        ((loaded.generator["ba"](source)[0].clamp(-1, 1) + 1) * 127.5)
        .round()
        .permute(1, 2, 0)
        .numpy()
    )
    assert np.abs(pixels("out/a.png") - want).max() <= 1


def test_a_pair_side_by_side_is_said_not_to_be_cut_and_half_cuts_it(gan):
    left, right = (noise((24, 24), seed=k) for k in (1, 2))
    both = Image.new("RGB", (48, 24))
    both.paste(left, (0, 0))
    both.paste(right, (24, 0))
    put("in/a.png", both)
    code, _, err = gan("alpha", "input=in", "out=whole", "sheet=false")
    assert code == 0 and "1 of 1 images are as wide as a pair" in err
    assert err.count("half=left translates the source half of each") == 1
    for half, image in (("left", left), ("right", right)):
        put("one/a.png", image)
        code, _, err = gan("alpha", "input=in", f"half={half}", f"out={half}", "sheet=false")
        assert code == 0 and "pair" not in err
        assert gan("alpha", "input=one", f"out=only-{half}", "sheet=false")[0] == 0
        assert files(half) == files(f"only-{half}")
    put("odd/a.png", noise((25, 24)))
    code, _, err = gan("alpha", "input=odd", "half=left")
    assert code == 2 and "25 pixels wide, which is no pair side by side" in err


def test_wide_images_are_no_pairs_to_other_models(gan):
    put("in/a.png", noise((48, 24)))
    assert "pair" not in gan("cyclegan", "input=in")[2]


def test_several_answers(gan):
    put("in/sub/a.png", noise((16, 16)))
    made = make(gan, "pix2pix", "input=in", "answers=3", "sheet=false")
    assert (
        sorted(made) == ["sub/a-0.png", "sub/a-1.png", "sub/a-2.png"]
        and len(set(made.values())) == 3
    )
    assert make(gan, "pix2pix", "input=in", "sheet=false") == {"sub/a.png": made["sub/a-0.png"]}


def holed(
    path: str, size: tuple[int, int], box: tuple[int, int, int, int], mode: str = "LA"
) -> Image.Image:
    image = noise(size, mode)
    image.putalpha(255)
    image.paste(tuple([7] * (len(mode) - 1) + [0]), box)
    put(path, image)
    return image


@pytest.mark.parametrize("run", ["inpaint", "free"])
def test_holes_are_what_is_transparent_or_white_in_a_mask(gan, run):
    """The rest stays as it is, to the bit; of what lay under the hole nothing shows."""
    size = (50, 34)
    box = (20, 10, 31, 17)
    image = holed("in/a.png", size, box)
    by_alpha = make(gan, run, "input=in", "sheet=false")["a.png"]
    result = pixels("out/a.png")
    inside = np.zeros((34, 50), bool)
    inside[10:17, 20:31] = True
    assert Image.open("out/a.png").mode == "L"
    np.testing.assert_array_equal(result[~inside], np.asarray(image)[..., 0][~inside])
    assert np.abs(result[inside] - 7).mean() > 10
    put("in/a.png", image.convert("L"))
    put("masks/a.jpg", Image.fromarray((inside * 255).astype(np.uint8)), quality=100)
    assert make(gan, run, "input=in", "mask=masks", "sheet=false")["a.png"] == by_alpha
    assert make(gan, run, "input=in/a.png", "mask=masks/a.jpg", "sheet=false")["a.png"] == by_alpha


def test_beside_a_mask_alpha_is_kept(gan):
    image = noise((20, 20), "RGBA")
    put("a.png", image)
    put("mask.png", Image.fromarray(np.pad(np.full((4, 4), 255, np.uint8), 8)))
    make(gan, "free", "input=a.png", "mask=mask.png")
    assert Image.open("out/a.png").mode == "LA"
    np.testing.assert_array_equal(pixels("out/a.png")[..., 1], np.asarray(image)[..., 3])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            (),
            "a.png: nothing in it is transparent, and mask= is not given\n  mask=FILE_OR_FOLDER "
            "says in white",
        ),
        (("mask=black.png",), "nothing in its mask is white"),
        (("mask=small.png",), "its mask measures 5x4 pixels, and itself 20x12"),
        (("mask=broken.png",), "its mask: not an image"),
        (("mask=nothing",), "mask=nothing: there is no such image or folder"),
        (("mask=others",), "no image in it has the name of one in the input"),
    ],
)
def test_a_mask_that_does_not_do_is_told_why(gan, argv, said):
    put("in/a.png", noise((20, 12)))
    put("black.png", Image.new("L", (20, 12)))
    put("small.png", Image.new("L", (5, 4), 255))
    put("broken.png", b"hello")
    put("others/b.png", Image.new("L", (20, 12), 255))
    code, out, err = gan("inpaint", "input=in", "out=out", *argv)
    assert code == 2 and said in err and not out
    assert not Path("out").exists() or files() == {}


def test_any_style(gan):
    put("a.png", noise((20, 14)))
    put("red.png", noise((30, 30), seed=1))
    put("grey.jpg", Image.new("L", (200, 90), 90))
    red, grey = (
        make(gan, "style", "input=a.png", f"style={name}", "sheet=false")["a.png"]
        for name in ("red.png", "grey.jpg")
    )
    assert red != grey and Image.open("out/a.png").size == (20, 14)
    for style, said in (
        ("", "style=painting.jpg"),
        ("style=none.png", "no such file"),
        ("style=tiny.png", "measures 3x2 pixels"),
    ):
        put("tiny.png", noise((3, 2)))
        code, _, err = gan("style", "input=a.png", *([style] if style else []))
        assert code == 2 and said in err


@pytest.mark.parametrize(
    ("run", "argv", "said"),
    [
        ("pix2pix", "direction=ba", "its model knows ab alone"),
        ("cyclegan", "answers=2", "its generator has no noise"),
        ("cyclegan", "mask=a.png", "its model fills no holes"),
        ("cyclegan", "style=a.png", "takes no style from an image"),
        ("cyclegan", "tile=64", "sees whole images only"),
        ("inpaint", "tile=64", "takes 16x16 pixels only"),
        ("srgan", "tile=9", "is too small"),
        ("mlp", "seed=1", "makes images out of noise"),
        ("ring", "seed=1", "makes images out of noise"),
    ],
)
def test_what_a_model_cannot_do_is_refused_with_the_reason(gan, run, argv, said):
    put("a.png", noise((16, 16)))
    code, _, err = gan(run, "input=a.png", "out=out", argv)
    assert code == 2 and said in err and not Path("out").exists()
    assert ("gan sample ckpt=" in err) == (run in ("mlp", "ring"))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "input is not given"),
        (("input=nothing",), "input=nothing: there is no such image or folder"),
        (("input=empty",), "input=empty: no image in it"),
        (("input=a.png", "answers=0"), "answers=0 does not fit"),
        (("input=a.png", "tile=half"), "tile='half' does not fit"),
        (("input=a.png", "format=gif"), "give one of png, jpg, webp"),
        (("input=a.png", "max_size=3"), "max_size=3 does not fit"),
        (("input=a.png", "direction=b"), "give one of ab, ba"),
        (("input=a.png", "sheet=1"), "sheet=1 does not fit"),
        (("inputs=a.png",), "did you mean 'input'"),
    ],
)
def test_a_wrong_option_is_refused_with_the_reason(gan, argv, said):
    put("a.png", noise((16, 16)))
    put("empty/readme.txt", b"hello")
    code, _, err = gan("pix2pix", "out=out", *argv)
    assert code == 2 and said in err and not Path("out").exists()


def test_no_ckpt(capsys):
    assert main(["translate"]) == 2
    err = capsys.readouterr().err
    assert "ckpt is not given" in err and "input is not given" in err
