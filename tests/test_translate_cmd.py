"""gan translate: any image of any size and mode in, as large out; same seed, same bytes; a user's file is never overwritten."""
from __future__ import annotations

import copy
import dataclasses
import functools
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import DOMAINS, PAIRS, TINY, frozen, small, steps, trainer_for
from PIL import Image
from rich.console import Console

from gancli import config
from gancli.arguments import quoted
from gancli.checkpoint import load_game, save
from gancli.cli import main
from gancli.commands.translate_files import mark_of, targets
from gancli.hints import parse

STYLE = (f"dataset.path={DOMAINS}", "perceptual=squeezenet_style", "model.width=4", "+model.generator.blocks=2")
FREE = ("model.hole=free", "dataset.holes=boxes", "model.width=4", "model.generator.bottleneck=16", "dataset.resolution=16",
        "+dataset@dataset.of=digits", "dataset.channels=1")
DEEP = ("model.generator.downs=3", "model.generator.noisy=false", "model.generator.norm=batch", "model.width=4",
        f"dataset.path={PAIRS}", "model.discriminator.layers=1", "dataset.channels=4")


def saved(path: Path, config: dict, *, n: int = 2) -> None:
    (path / "checkpoints").mkdir(parents=True)
    save(steps(trainer_for(config), n).state_dict(), path / "checkpoints", keep=1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Runs of a few steps: noisy pairs, two ways, grey x2, holes in the middle and anywhere, any style, alpha, and none of these."""
    root = tmp_path_factory.mktemp("runs")
    for name in ("pix2pix", "cyclegan", "srgan", "inpaint", "mlp"):
        saved(root / name, small(name))
    saved(root / "free", frozen("model=inpaint", *FREE, *TINY))
    saved(root / "alpha", frozen("model=pix2pix", *DEEP, *TINY))
    saved(root / "style", frozen("model=styletransfer", *STYLE, *TINY), n=0)
    saved(root / "ring", frozen("model=mlp", "dataset=ring", "model.generator.hidden=[8]", "model.discriminator.hidden=[8]", *TINY), n=0)
    return root


compose = config.compose


@functools.cache
def composed() -> config.Composed:
    return compose("translate", [], missing=True)


def quick_compose(name: str, argv: list[str], *, missing: bool) -> config.Composed:
    """Without Hydra where only values change: it would take half of the time of these tests."""
    cfg = copy.deepcopy(composed().cfg)
    for word in argv:
        override = parse(quoted(word))
        if override.key_or_group not in cfg:
            return compose(name, argv, missing=missing)
        cfg[override.key_or_group] = override.value()
    return dataclasses.replace(composed(), cfg=cfg)


@pytest.fixture
def gan(runs, tmp_path, monkeypatch, capsys):
    """Runs gan translate on a run by its name, in an empty folder. -> code, stdout, stderr"""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "compose", quick_compose)

    def call(run: str, *argv: str):
        capsys.readouterr()
        code = main(["translate", f"ckpt={runs / run}", *argv])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err, captured.err
        return code, captured.out, captured.err

    return call


def noise(size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Image.Image:
    """(width, height)"""
    rng = np.random.default_rng(seed)
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = rng.integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def put(path: str, image: Image.Image | bytes, **options) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, bytes):
        Path(path).write_bytes(image)
    else:
        image.save(path, **options)
    return path


def files(folder: str | Path = "out") -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def make(gan, run: str, *argv: str) -> dict[str, bytes]:
    """-> the files that a successful call wrote"""
    shutil.rmtree("out", ignore_errors=True)
    code, out, err = gan(run, "out=out", *argv)
    assert (code, out) == (0, "done: out\n"), err
    return files()


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


# sizes and modes


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16", "CMYK"])
def test_every_mode_and_size_comes_back_as_large(gan, mode):
    image = noise((37, 21), "LA" if mode == "LA" else "RGBA" if mode == "RGBA" else "RGB")
    if mode == "I;16":
        image = Image.fromarray((np.arange(21 * 37).reshape(21, 37) * 60).astype(np.uint16))
    elif mode not in ("LA", "RGBA"):
        image = image.convert(mode)
    put("in/image.tiff" if mode in ("CMYK", "LA") else "in/image.png", image)
    for run, scale, wanted in (("pix2pix", 1, "RGBA" if "A" in mode else "RGB"), ("srgan", 2, "LA" if "A" in mode else "L"),
                               ("alpha", 1, "RGBA")):
        make(gan, run, "input=in")
        result = Image.open("out/image.png")
        assert (result.size, result.mode) == ((37 * scale, 21 * scale), wanted)
        if wanted in ("RGBA", "LA") and run == "pix2pix":
            np.testing.assert_array_equal(np.asarray(result)[..., -1], np.asarray(image)[..., -1], "alpha is kept")


def test_16_bit_is_said_once(gan):
    for name in "ab":
        put(f"in/{name}.png", Image.fromarray(np.full((8, 8), 40000, np.uint16)))
    assert gan("srgan", "input=in", "out=out")[2] == "gan: warning: 16-bit pixels were scaled to 8 bits\n"


def test_what_is_written_is_what_the_generator_makes(gan, runs, monkeypatch):
    monkeypatch.setattr(config, "compose", compose)
    put("in/a.png", noise((16, 24), "L"))
    make(gan, "srgan", "input=in", "ema=true", "max_size=null", "tile=auto", "trust=[]", "device=cpu")
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
    assert Image.open("out/a.png").size == (24, 40) and make(gan, "cyclegan", "input=in")["a.png"] == made["a.png"]


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
    assert err == ("gan: warning: 2 of 3 images are larger than max_size=40; this generator sees whole images only, since it norms by "
                   "their mean and variance, so they were translated smaller and enlarged again (a larger max_size= takes more memory)\n")
    assert gan("cyclegan", "input=in", "out=out", "max_size=null")[2] == ""


def test_tiles_are_the_whole_image(gan):
    put("in/a.png", noise((110, 90), "L"))
    whole = make(gan, "srgan", "input=in")["a.png"]
    for tile in ("tile=48", "max_size=96"):
        assert make(gan, "srgan", "input=in", tile)["a.png"] == whole
    assert make(gan, "srgan", "input=in", "tile=off", "max_size=96")["a.png"] != whole


# the same bytes


@pytest.mark.parametrize(("run", "argv"), [("pix2pix", ("answers=2",)), ("cyclegan", ("direction=ba", "format=jpg")),
                                           ("srgan", ("format=webp", "tile=48"))])
def test_the_same_seed_gives_the_same_bytes_in_every_file(gan, runs, tmp_path, run, argv):
    for name in ("a", "sub/b"):
        put(f"in/{name}.png", noise((60, 40)))
    first = make(gan, run, "input=in", *argv)
    torch.rand(9)
    shutil.copytree("in", "elsewhere/input")
    shutil.copytree(runs / run, tmp_path / "moved here")
    shutil.rmtree("in")
    assert make(gan, str(tmp_path / "moved here"), "input=elsewhere/input", *argv) == first, "no path inside"
    other = make(gan, run, "input=elsewhere/input", "seed=4", *argv)
    assert (other != first) == (run == "pix2pix")


def test_what_an_image_becomes_does_not_depend_on_its_company(gan):
    for name in "abc":
        put(f"in/{name}.png", noise((16, 16)))
    all_of_them = make(gan, "pix2pix", "input=in")
    assert all_of_them["a.png"] != all_of_them["b.png"], "the same source, under another name, draws other noise"
    assert make(gan, "pix2pix", "input=in/b.png")["b.png"] == all_of_them["b.png"]


def test_the_average_and_the_trained_generator_may_be_chosen(gan):
    put("in/a.png", noise((16, 16)))
    assert gan("pix2pix", "input=in", "out=out", "ema=false")[0] == 0
    assert "ema='maybe' does not fit" in gan("pix2pix", "input=in", "ema=maybe")[2]


# directions, answers, masks, styles


def test_both_directions(gan, runs):
    put("a.png", noise((16, 16)))
    ab, ba = (make(gan, "cyclegan", "input=a.png", f"direction={way}")["a.png"] for way in ("ab", "ba"))
    assert ab != ba == make(gan, "cyclegan", "input=a.png", "direction=ba")["a.png"]
    loaded = load_game(str(runs / "cyclegan"))
    source = torch.from_numpy(pixels("a.png")).permute(2, 0, 1).float()[None] / 127.5 - 1
    want = ((loaded.generator["ba"](source)[0].clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy()
    assert np.abs(pixels("out/a.png") - want).max() <= 1


def test_several_answers(gan):
    put("in/sub/a.png", noise((16, 16)))
    made = make(gan, "pix2pix", "input=in", "answers=3", "sheet=false")
    assert sorted(made) == ["sub/a-0.png", "sub/a-1.png", "sub/a-2.png"] and len(set(made.values())) == 3
    assert make(gan, "pix2pix", "input=in", "sheet=false") == {"sub/a.png": made["sub/a-0.png"]}


def holed(path: str, size: tuple[int, int], box: tuple[int, int, int, int], mode: str = "LA") -> Image.Image:
    image = noise(size, mode)
    image.putalpha(255)
    image.paste(tuple([7] * (len(mode) - 1) + [0]), box)
    put(path, image)
    return image


@pytest.mark.parametrize("run", ["inpaint", "free"])
def test_holes_are_what_is_transparent_or_white_in_a_mask(gan, run):
    """The rest stays as it is, to the bit; of what lay under the hole nothing shows."""
    size, box = (50, 34), (20, 10, 31, 17)
    image = holed("in/a.png", size, box)
    by_alpha = make(gan, run, "input=in", "sheet=false")["a.png"]
    result, inside = pixels("out/a.png"), np.zeros((34, 50), bool)
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


@pytest.mark.parametrize(("argv", "said"), [
    ((), "a.png: nothing in it is transparent, and mask= is not given\n  mask=FILE_OR_FOLDER says in white"),
    (("mask=black.png",), "nothing in its mask is white"), (("mask=small.png",), "its mask measures 5x4 pixels, and itself 20x12"),
    (("mask=broken.png",), "its mask: not an image"), (("mask=nothing",), "mask=nothing: there is no such image or folder"),
    (("mask=others",), "no image in it has the name of one in the input")])
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
    red, grey = (make(gan, "style", "input=a.png", f"style={name}", "sheet=false")["a.png"] for name in ("red.png", "grey.jpg"))
    assert red != grey and Image.open("out/a.png").size == (20, 14)
    for style, said in (("", "style=painting.jpg"), ("style=none.png", "no such file"), ("style=tiny.png", "measures 2x3 pixels")):
        put("tiny.png", noise((3, 2)))
        code, _, err = gan("style", "input=a.png", *([style] if style else []))
        assert code == 2 and said in err


@pytest.mark.parametrize(("run", "argv", "said"), [
    ("pix2pix", "direction=ba", "its model knows ab alone"), ("cyclegan", "answers=2", "its generator has no noise"),
    ("cyclegan", "mask=a.png", "its model fills no holes"), ("cyclegan", "style=a.png", "takes no style from an image"),
    ("cyclegan", "tile=64", "sees whole images only"), ("inpaint", "tile=64", "takes 16x16 pixels only"),
    ("srgan", "tile=9", "is too small"), ("mlp", "seed=1", "makes images out of noise"), ("ring", "seed=1", "makes images out of noise")])
def test_what_a_model_cannot_do_is_refused_with_the_reason(gan, run, argv, said):
    put("a.png", noise((16, 16)))
    code, _, err = gan(run, "input=a.png", "out=out", argv)
    assert code == 2 and said in err and not Path("out").exists()
    assert ("gan sample ckpt=" in err) == (run in ("mlp", "ring"))


@pytest.mark.parametrize(("argv", "said"), [
    ((), "input is not given"), (("input=nothing",), "input=nothing: there is no such image or folder"),
    (("input=empty",), "input=empty: no image in it"), (("input=a.png", "answers=0"), "answers=0 does not fit"),
    (("input=a.png", "tile=half"), "tile='half' does not fit"), (("input=a.png", "format=gif"), "give one of png, jpg, webp"),
    (("input=a.png", "max_size=3"), "max_size=3 does not fit"), (("input=a.png", "direction=b"), "give one of ab, ba"),
    (("input=a.png", "sheet=1"), "sheet=1 does not fit"), (("inputs=a.png",), "did you mean 'input'")])
def test_a_wrong_option_is_refused_with_the_reason(gan, argv, said):
    put("a.png", noise((16, 16)))
    put("empty/readme.txt", b"hello")
    code, _, err = gan("pix2pix", "out=out", *argv)
    assert code == 2 and said in err and not Path("out").exists()


def test_no_ckpt(capsys):
    assert main(["translate"]) == 2
    err = capsys.readouterr().err
    assert "ckpt is not given" in err and "input is not given" in err


# files


def test_folders_keep_their_structure_and_what_is_hidden_is_passed_over(gan):
    for name in ("a.jpg", "sub/b.png", "sub/deep/c.bmp", ".hidden.png", ".git/d.png", "notes.txt", "__MACOSX/e.png"):
        put(f"in/{name}", b"x" if name.endswith("txt") else noise((16, 16)))
    assert set(make(gan, "cyclegan", "input=in")) == {"a.png", "sub/b.png", "sub/deep/c.png", "sheet.png"}


def test_names_that_differ_by_their_ending_alone_keep_it(gan):
    for name in ("a.jpg", "a.png", "b.png", "sub/A.png"):
        put(f"in/{name}", noise((16, 16)))
    assert set(make(gan, "cyclegan", "input=in", "sheet=false")) == {"a.jpg.png", "a.png.png", "b.png.png", "sub/A.png"}
    assert targets(["x/a.b.png", "x/A.b.jpg", "a.png"]) == ["x/a.b.png", "x/A.b.jpg", "a"]


def test_a_bad_file_is_named_and_passed_over(gan):
    put("in/a.png", b"<html>404</html>")
    put("in/b.png", noise((16, 16)))
    put("in/c.jpg", noise((16, 16)))
    Path("in/c.jpg").write_bytes(Path("in/c.jpg").read_bytes()[:300])
    os.symlink("nowhere", "in/d.png")
    code, out, err = gan("cyclegan", "input=in", "out=out")
    assert (code, out) == (0, "done: out\n") and set(files()) == {"b.png", "sheet.png"}
    lines = err.splitlines()
    assert lines[0] == "gan: warning: a.png: a web page, not an image" and lines[1].startswith("gan: warning: c.jpg: corrupt: ")
    assert lines[2] == "gan: warning: d.png: no such file, perhaps a broken link"
    assert lines[3:] == ["gan: warning: skipped 3 of 4 images"]


def test_only_bad_files_are_code_2(gan):
    put("in/a.png", b"")
    code, out, err = gan("cyclegan", "input=in", "out=out")
    assert code == 2 and not out and err.startswith("gan: a.png: empty file\n")
    put("in/b.png", b"x")
    code, out, err = gan("cyclegan", "input=in", "out=out")
    assert code == 2 and "gan: none of 2 images could be translated\n" in err and files() == {}


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
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
    assert code == 0 and "b.png: not enough memory; a smaller max_size= needs less" in err and "a.png" in files()


def test_a_file_of_the_users_is_never_overwritten(gan):
    put("in/a.jpg", noise((16, 16)))
    put("out/a.png", noise((5, 5)))
    before = files()
    code, _, err = gan("cyclegan", "input=in", "out=out")
    assert code == 2 and "out holds files that gan translate has not written, or reads: a.png" in err and files() == before
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
    assert mark_of(Path(f"out/a.{form}")) == "gan translate" and mark_of(Path("out/sheet.png")) == "gan translate: sheet"


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
    assert gan("cyclegan", "input=made/a.png", "out=made", "direction=ba")[0] == 2, "though it is ours"
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
    assert gan(str(tmp_path / "run"), "input=a.png")[1] == f"done: {tmp_path / 'run' / 'translated'}\n"
    assert gan(str(tmp_path / "run"), "input=a.png", "direction=ba")[1] == f"done: {tmp_path / 'run' / 'translated-ba'}\n"
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
    assert sheet.size == (2 + 4 * 50, 2 + 8 * 50), "two pairs in a row, 16 of them, enlarged to 48 pixels"
    assert sheet.getpixel((26, 26)) == (255, 0, 0) and sheet.getpixel((26, 5)) == (128, 128, 128)
    made = Image.open("out/00.png").convert("RGB")
    assert sheet.getpixel((2 + 50 + 24, 26)) == made.getpixel((8, 4))
    make(gan, "pix2pix", "input=in/01.png", "answers=3")
    assert Image.open("out/sheet.png").size == (2 + 4 * 50, 2 + 50), "a source and its answers"


def test_a_sheet_that_would_be_in_the_way_takes_another_name(gan):
    put("in/sheet.jpg", noise((16, 16)))
    assert set(make(gan, "cyclegan", "input=in")) == {"sheet.png", "sheet2.png"}
    assert Image.open("out/sheet.png").size == (16, 16)


def test_a_bar_on_a_terminal_and_none_in_a_pipe(gan, monkeypatch):
    for k in range(3):
        put(f"in/{k}.png", noise((16, 16)))
    assert gan("cyclegan", "input=in", "out=out")[1:] == ("done: out\n", "")
    monkeypatch.setattr("gancli.display.default_console", lambda: Console(file=sys.stdout, force_terminal=True))
    code, out, err = gan("cyclegan", "input=in", "out=out")
    assert code == 0 and "translating" in out and out.endswith("done: out\n") and not err


def test_the_checkpoint_is_enough(gan, monkeypatch):
    """No data set is touched."""
    from gancli.data import base

    put("a.png", noise((16, 16)))
    monkeypatch.setattr(base.Source, "load", lambda self: pytest.fail("the data were read"))
    assert make(gan, "srgan", "input=a.png")
