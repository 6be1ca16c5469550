"""What gan sample draws of networks with styles, noise and levels, and why a model has none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ending, frozen, small
from PIL import Image
from torch import Tensor
from train_helpers import run_folder

from gancli.checkpoint import load_game
from gancli.cli import main
from gancli.errors import UserError
from gancli.games.gan import GAN
from gancli.games.options import LEVEL, LEVELS
from gancli.inference import sampling
from gancli.render import video


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    run_folder(root / "stylegan2", small("stylegan2"))
    run_folder(root / "classes", small("stylegan2", "model.conditional=true"))
    run_folder(root / "stylegan", small("stylegan", "model.start_stage=2"))
    run_folder(root / "pggan", small("pggan"))  # blends its second stage in
    run_folder(root / "cgan", small("cgan"))
    run_folder(root / "infogan", small("infogan"))
    run_folder(root / "lapgan", small("lapgan"))
    run_folder(root / "cogan", small("cogan"))
    run_folder(
        root / "points",
        frozen(
            "model=mlp",
            "dataset=ring",
            "model.generator.hidden=[8]",
            "model.discriminator.hidden=[8]",
            "dataset.n=100",
            "trainer.batch_size=8",
        ),
    )
    return root


@pytest.fixture
def gan(runs, tmp_path, monkeypatch, capsys):
    """Runs gan sample on a run by its name, in an empty folder. -> code, what it said"""
    monkeypatch.chdir(tmp_path)

    def call(run: str, *argv: str):
        code = main(["sample", f"ckpt={runs / run}", "out=out", *argv])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err, captured.err
        return code, captured.out + captured.err

    return call


def tiles(path: str) -> tuple[int, int]:
    """Columns and rows of a picture of 16-pixel tiles, which are enlarged to 48."""
    picture = Image.open(path)
    return (picture.width - 2) // 50, (picture.height - 2) // 50


def images(loaded, inputs: dict, **given) -> Tensor:
    return torch.cat(
        list(sampling.generate(loaded.game, loaded.generator, inputs, seed=0, given=given))
    )


def tile(path: str, column: int, row: int) -> Tensor:
    """One tile of a picture, at 16 pixels."""
    y = 2 + 50 * row
    x = 2 + 50 * column
    return torch.from_numpy(
        np.array(Image.open(path))[y : y + 48 : 3, x : x + 48 : 3].astype(np.float32)
    )


def bytes_of(name: str) -> bytes:
    return Path("out", name).read_bytes()


# mixing


@pytest.mark.parametrize("run", ["stylegan2", "stylegan", "classes"])
def test_mixing_shows_sources_above_and_destinations_left(gan, runs, run):
    code, out = gan(run, "n=9", "mix=2-3", "noise=none")
    assert code == 0 and "done: out/mixing.png, and 9 images in out" in out and ending(out)
    assert tiles("out/mixing.png") == (7, 7) and tile("out/mixing.png", 0, 0).eq(128).all()
    loaded = load_game(str(runs / run))
    label = torch.zeros(9, dtype=torch.long) if run == "classes" else None
    rows, columns = (
        sampling.draw_inputs(loaded.game, n, seed=seed, label=None if label is None else label[:n])
        for n, seed in ((9, 0), (6, 1))
    )
    rows = {key: value[:6] for key, value in rows.items()}
    mixed = sampling.mix_rows(loaded.game, rows, columns, first=2, last=4)
    shown = images(loaded, mixed, noise="none").unflatten(0, (7, 7))
    torch.testing.assert_close(shown[0, 1:], images(loaded, columns, noise="none"))
    torch.testing.assert_close(shown[1:, 0], images(loaded, rows, noise="none"))
    for row in range(6):
        one = {key: value[row : row + 1].expand(6, *value.shape[1:]) for key, value in rows.items()}
        wanted = images(loaded, loaded.game.mix_styles(one, columns, first=2, last=4), noise="none")
        torch.testing.assert_close(shown[row + 1, 1:], wanted)
    assert not torch.equal(shown[1, 1], shown[1, 0]) and not torch.equal(shown[1, 1], shown[0, 1])
    assert (
        tile("out/mixing.png", 3, 5) - ((shown[5, 3, 0].clamp(-1, 1) + 1) * 127.5).round()
    ).abs().max() <= 1


def test_with_all_layers_a_column_is_its_source(gan):
    gan("stylegan2", "n=3", "mix=0-5")
    for column in (1, 2, 3):
        assert all(
            torch.equal(tile("out/mixing.png", column, row), tile("out/mixing.png", column, 0))
            for row in (1, 2, 3)
        )
    assert not torch.equal(tile("out/mixing.png", 0, 1), tile("out/mixing.png", 1, 1)), (
        "the first column stays as it is"
    )


class Deep:
    def __init__(self, levels: int):
        self.style_layers = 2 * levels


@pytest.mark.parametrize(
    ("levels", "mix", "wanted"),
    [
        (9, "coarse", (0, 4)),
        (9, "middle", (4, 8)),
        (9, "fine", (8, 18)),
        (5, "fine", (8, 10)),
        (5, "coarse", (0, 4)),
        (3, "coarse", (0, 2)),
        (3, "middle", (2, 4)),
        (3, "fine", (4, 6)),
        (4, "coarse", (0, 2)),
        (4, "fine", (5, 8)),
        (2, "middle", (1, 2)),
        (9, "0-3", (0, 4)),
        (9, "4-17", (4, 18)),
        (9, 7, (7, 8)),
        (9, "7", (7, 8)),
        (3, "5-5", (5, 6)),
    ],
)
def test_the_layers_of_a_mix(levels, mix, wanted):
    assert sampling.find_layers(Deep(levels), mix) == wanted


@pytest.mark.parametrize("mix", ["3-2", "0-6", "6", "-1", "cores", "1-", "0-9999", "1,2"])
def test_layers_that_are_none(mix):
    with pytest.raises(UserError) as caught:
        sampling.find_layers(Deep(3), mix)
    assert "FIRST-LAST within 0-5" in caught.value.hint


# truncation and noise


def test_truncation_of_the_first_layers(gan, runs):
    game = load_game(str(runs / "stylegan2")).game
    inputs = sampling.draw_inputs(
        game, 3, seed=0, options={"truncation": 0.5, "truncated_layers": 2}
    )
    assert inputs["psi"].tolist() == [0.5] * 3 and inputs["psi_layers"].tolist() == [2] * 3
    seen = set()
    for argv in (
        (),
        ("truncation=0.5",),
        ("truncation=0.5", "truncated_layers=2"),
        ("truncation=1",),
    ):
        assert gan("stylegan2", "n=1", "noise=none", *argv)[0] == 0
        seen.add(bytes_of("000000.png"))
    assert len(seen) == 3, "1 changes nothing"
    code, said = gan("stylegan2", "n=1", "truncated_layers=2")
    assert code == 0 and "truncated_layers has no effect without truncation=" in said


def test_noise_is_random_fixed_or_none(gan):
    made = {}
    for noise in ("random", "fixed", "none", "null"):
        assert gan("stylegan2", "n=1", f"noise={noise}", "levels=1", "seed=3")[0] == 0
        made[noise] = bytes_of("000000.png"), bytes_of("levels.png")
    assert (
        made["null"][0] == made["random"][0] and len({images for images, _ in made.values()}) == 3
    )
    assert made["null"][1] == made["fixed"][1], "in a picture only what it shows differs"


# levels


@pytest.mark.parametrize("run", ["stylegan2", "stylegan"])
def test_levels_end_at_the_image_and_start_coarse(gan, runs, run):
    assert gan(run, "n=5", "levels=4", "noise=fixed")[0] == 0 and tiles("out/levels.png") == (4, 3)
    image = torch.from_numpy(np.array(Image.open("out/000002.png")).astype(np.float32))
    assert torch.equal(tile("out/levels.png", 2, 2), image)
    for row, size in ((0, 4), (1, 8)):
        blocks = tile("out/levels.png", 1, row).view(size, 16 // size, size, 16 // size)
        assert (blocks == blocks[:, :1, :, :1]).all() and len(blocks.unique()) > 2
    assert gan(run, "n=5", "level=1", "noise=fixed")[0] == 0
    assert torch.equal(
        torch.from_numpy(np.array(Image.open("out/000001.png")).astype(np.float32)),
        tile("out/levels.png", 1, 1),
    )


def test_skips_add_up(runs):
    """The coarsest level is what the first block alone paints."""
    loaded = load_game(str(runs / "stylegan2"))
    inputs = sampling.draw_inputs(loaded.game, 2, seed=0)
    g = loaded.generator
    styles = loaded.generator.styles(inputs["z"])
    x = g.styled[0](g.const.expand(2, -1, -1, -1), styles[:, 0], "none")
    torch.testing.assert_close(
        images(loaded, inputs, noise="none", level=0)[:, :, ::4, ::4], g.to_rgb[0](x, styles[:, 1])
    )


def test_a_growing_network_shows_the_stages_so_far(gan, runs):
    loaded = load_game(str(runs / "pggan"))
    assert loaded.game.levels == 2 and loaded.game.alpha is not None
    inputs = sampling.draw_inputs(loaded.game, 3, seed=0)
    torch.testing.assert_close(images(loaded, inputs, level=1), images(loaded, inputs))
    torch.testing.assert_close(
        images(loaded, inputs, level=0)[:, :, ::4, ::4], loaded.generator(inputs["z"], stage=0)
    )
    code, err = gan("pggan", "n=3", "levels=3")
    assert code == 0 and "inactive" not in err and tiles("out/levels.png") == (3, 2)


def test_levels_whose_image_layers_rest_are_called_inactive(gan):
    for words, warned in (
        (["levels=2"], True),
        (["level=0"], True),
        (["level=1"], True),
        (["level=2"], False),
        ([], False),
    ):
        code, err = gan("stylegan", "n=1", *words)
        assert code == 0 and ("levels below 2 are inactive" in err) == warned


def test_a_pyramid_shows_its_levels(gan, runs):
    levels = load_game(str(runs / "lapgan")).game.levels
    assert gan("lapgan", "n=3", "levels=2")[0] == 0 and tiles("out/levels.png") == (2, levels)
    assert gan("lapgan", "n=3", "level=0", "noise=none")[0] == 0


def test_two_domains(gan):
    made = {}
    for domain in ("null", "a", "b", "both"):
        assert gan("cogan", "n=2", f"domain={domain}", "walk=0.2")[0] == 0
        made[domain] = np.asarray(Image.open("out/000001.png"))
    assert (made["null"] == made["a"]).all() and (made["a"] != made["b"]).any()
    assert (made["both"] == np.concatenate([made["a"], made["b"]], 1)).all()


class Pyramid(GAN):
    """As a game of several networks may be."""

    levels = 3

    def sampling_options(self):
        return (*super().sampling_options(), LEVEL, LEVELS)

    def sample(self, inputs, generator, *, level: int | None = None):
        return generator(inputs["z"]) * (self.levels if level is None else level)


class Silent(GAN):
    """A keyword that is not declared is no option."""

    def sample(self, inputs, generator, *, level: int | None = None):
        return generator(inputs["z"])


def test_any_game_that_declares_levels_can_show_them(runs):
    loaded = load_game(str(runs / "cgan"))
    for kind, wanted in ((Pyramid, {"level", "levels"}), (Silent, set())):
        game = loaded.game
        game.__class__ = kind
        assert sampling.list_options(game) & {"level", "levels", "mix", "noise"} == wanted


# walks


@pytest.mark.parametrize(
    ("run", "film", "n", "size"),
    [
        ("stylegan2", "walk.webp", 4, 2 + 2 * 130),
        ("stylegan", "walk.gif", 1, 256),
        ("classes", "walk.webp", 5, 2 + 3 * 98),
        ("pggan", "mine.WEBP", 64, 2 + 4 * 66),
        ("cgan", "walk.webp", 10, 2 + 4 * 66),
        ("infogan", "walk.gif", 1, 256),
        ("lapgan", "walk.gif", 1, 256),
    ],
)
def test_every_model_walks(gan, run, film, n, size):
    argv = (
        f"n={n}",
        "walk=0.4",
        f"film={film}",
        *(["standing=1"] if run in ("cgan", "infogan") else []),
    )
    code, out = gan(run, *argv)
    assert code == 0 and f"done: out/{film}, and " in out and ending(out)
    first = bytes_of(film)
    picture = Image.open(f"out/{film}")
    assert picture.n_frames == 10 and picture.width == size and picture.info["loop"] == 0
    frames = []
    for k in range(10):
        picture.seek(k)
        frames.append(np.asarray(picture.convert("L"), np.float32))
    assert len({frame.tobytes() for frame in frames}) > 5
    torch.rand(3)
    gan(run, *argv)
    assert bytes_of(film) == first
    gan(run, *argv, "seed=1")
    assert bytes_of(film) != first


def test_a_walk_is_closed_even_and_long_enough():
    rng = torch.Generator().manual_seed(0)
    stops = [
        {
            "z": torch.randn(2, 64, generator=rng),
            "label": torch.tensor([3, 4]) + k,
            "code": torch.rand(2, generator=rng),
        }
        for k in range(3)
    ]
    made = sampling.walk(stops, 30)
    z = made["z"].view(30, 2, 64)
    assert made["label"].view(30, 2).tolist() == [[3, 4]] * 30, "labels do not move"
    for k in range(3):
        torch.testing.assert_close(z[10 * k], stops[k]["z"])
        torch.testing.assert_close(made["code"].view(30, 2)[10 * k], stops[k]["code"])
    strides = (z - z.roll(-1, 0)).norm(dim=2)
    assert strides.max() < 1.6 * strides.min(), (
        "the last is as far from the first as any two neighbours"
    )
    lengths = z.norm(dim=2)
    assert lengths.min() > 0.99 * min(stop["z"].norm(dim=1).min() for stop in stops), (
        "on the arc, not through its middle"
    )
    assert len(sampling.walk(stops, 4)["z"]) == 8, "frames need not divide by stops"


def test_latents_of_any_shape_move_on_the_arc():
    a = torch.randn(3, 2, 4, 4)
    b = torch.randn(3, 2, 4, 4)
    torch.testing.assert_close(
        sampling.slerp(a, b, 0.3).flatten(1), sampling.slerp(a.flatten(1), b.flatten(1), 0.3)
    )


def test_a_walk_of_fixed_noise_only_moves_its_latent(runs, monkeypatch, gan):
    asked = []
    real = sampling.generate

    def generate(*args, **options):
        asked.append(options["given"])
        return real(*args, **options)

    monkeypatch.setattr(sampling, "generate", generate)
    gan("stylegan2", "n=1", "walk=0.2")
    gan("stylegan2", "n=1", "walk=0.2", "noise=random", "level=1")
    assert asked == [
        {},
        {"noise": "fixed"},
        {"noise": "random", "level": 1},
        {"noise": "random", "level": 1},
    ]


def test_an_mp4_without_its_extra_names_it(gan, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    code, said = gan("pggan", "walk=1", "film=walk.mp4")
    assert (
        code == 2 and "gancli[mp4]" in said and ".webp or .gif" in said and not Path("out").exists()
    )


def test_an_mp4(tmp_path):
    pytest.importorskip("imageio_ffmpeg", reason="the extra mp4 is not installed")
    frames = [Image.fromarray(np.full((31, 33, 4), 10 * k, np.uint8)) for k in range(10)]
    for name in ("a.mp4", "b.mp4"):
        video.write_animation(frames, tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes() and sorted(
        os.listdir(tmp_path)
    ) == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("ending", ["webp", "gif"])
def test_films_of_every_kind_of_picture(tmp_path, mode, ending):
    frames = [
        Image.new("RGBA", (40, 30), (k * 60, 200 - k * 60, 90, 255)).convert(mode) for k in range(3)
    ]
    video.write_animation(frames, tmp_path / f"film.{ending}", fps=10)
    film = Image.open(tmp_path / f"film.{ending}")
    assert (
        film.n_frames == 3 and film.size == (40, 30) and os.listdir(tmp_path) == [f"film.{ending}"]
    )
    for k in range(3):
        film.seek(k)
        assert (
            np.abs(
                np.asarray(film.convert("RGB"), int) - np.asarray(frames[k].convert("RGB"), int)
            ).max()
            < 12
        )


def test_a_film_that_does_not_fit_is_refused_with_what_would():
    video.check_size(100, (1024, 1024))
    with pytest.raises(UserError) as caught:
        video.check_size(15000, (1026, 1026))
    assert "at most 15 seconds" in caught.value.hint


# refusals


@pytest.mark.parametrize(
    ("run", "argv", "reason"),
    [
        ("cgan", ("mix=coarse",), "its model has no styles"),
        ("pggan", ("mix=0-1",), "its model has no styles"),
        ("cgan", ("noise=none",), "its model has no noise of its own"),
        ("pggan", ("noise=fixed",), "its model has no noise of its own"),
        ("cgan", ("levels=4",), "its model makes its images at once"),
        ("cgan", ("level=0",), "its model makes its images at once"),
        ("cgan", ("truncated_layers=2",), "its model has no styles"),
        ("pggan", ("truncation=0.5",), "truncation=0.5 does not apply"),
        ("cgan", ("domain=b",), "its model has one domain"),
        ("cogan", ("domain=c",), "give one of a, b, both"),
        ("points", ("walk=1",), "its model makes points"),
        ("points", ("levels=1",), "at once"),
        ("stylegan2", ("level=3",), "give 0 to 2"),
        ("pggan", ("level=2",), "give 0 to 1"),
        ("stylegan2", ("mix=4-6",), "within 0-5"),
        ("stylegan2", ("mix=corse",), "give coarse, middle, fine"),
        ("stylegan2", ("noise=loud",), "give one of random, fixed, none"),
        ("stylegan2", ("levels=0",), "give 1 or more"),
        ("stylegan2", ("level=-1",), "give 0 or more"),
        ("stylegan2", ("level=a",), "does not fit"),
        ("stylegan2", ("truncated_layers=0", "truncation=0.5"), "give 1 or more"),
        ("stylegan2", ("walk=0",), "give seconds, up to 600"),
        ("stylegan2", ("walk=long",), "walk='long' does not fit"),
        ("stylegan2", ("walk=601",), "give seconds, up to 600"),
        ("stylegan2", ("walk=1", "film=walk.avi"), "walk.webp, walk.gif or walk.mp4"),
        ("stylegan2", ("walk=1", "film=a/b.gif"), "without a folder"),
        ("stylegan2", ("walk=1", "film=.gif"), "does not name an animation"),
        ("stylegan2", ("film=null",), "film=None does not fit"),
    ],
)
def test_what_a_model_has_not_is_refused_with_the_reason(gan, run, argv, reason):
    code, said = gan(run, *argv)
    assert code == 2 and reason in said and not Path("out").exists()


# all of it


def test_all_at_once_and_the_same_bytes_again(gan):
    argv = (
        "n=4",
        "seed=3",
        "truncation=0.7",
        "truncated_layers=4",
        "mix=fine",
        "levels=3",
        "walk=0.3",
        "interpolate=3",
        "label=2",
    )
    made = []
    for _ in range(2):
        assert gan("classes", *argv)[0] == 0
        made.append({name: bytes_of(name) for name in sorted(os.listdir("out"))})
        torch.rand(5)
    assert made[0] == made[1]
    assert list(made[0]) == [
        *(f"{k:06d}.png" for k in range(4)),
        "grid.png",
        "interpolation.png",
        "levels.png",
        "mixing.png",
        "walk.webp",
    ]


def test_the_help_lists_the_options(capsys):
    assert main(["sample", "--help"]) == 0
    said = capsys.readouterr().out
    for option in ("mix", "truncated_layers", "noise", "level", "levels", "walk", "film"):
        assert f"\n  {option}: " in said and f"{option}=" in said
