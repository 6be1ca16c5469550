"""gan project finds the latent of an image in any model that has one, the same one each time, and
says why it cannot.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TEST_DATA, ending, frozen, small, steps, trainer_for
from PIL import Image

from gancli.checkpoint import load_game, save
from gancli.cli import main
from gancli.commands.project import target_of
from gancli.inference import projection
from gancli.inference.projection import (
    Pixels,
    compute_pace,
    draw_styles,
    measure_structure,
    project,
    start_from_latents,
    start_search,
)
from gancli.render.grids import to_uint8

WEIGHTS = [
    TEST_DATA / "weights" / name
    for name in ("squeezenet1_1-imagenet-fp16.pth", "lpips_v0.1_squeeze.pth")
]


def run_folder(path: Path, config: dict) -> Path:
    (path / "checkpoints").mkdir(parents=True)
    tree = steps(trainer_for(config), 3).state_dict()
    for key, value in tree["ema"].items():
        if key.endswith("strength"):
            value.fill_(0.3)
        elif key.endswith("running_var"):
            value.mul_(
                0.05
            )  # after three steps it is mostly the 1 that it began with, and all images are alike
    save(tree, path / "checkpoints", keep=1)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    run_folder(root / "stylegan2", small("stylegan2"))
    run_folder(root / "classes", small("stylegan2", "model.conditional=true"))
    run_folder(root / "stylegan", small("stylegan"))
    run_folder(root / "dcgan", small("dcgan"))
    run_folder(root / "cgan", small("cgan"))
    run_folder(root / "infogan", small("infogan"))
    run_folder(root / "pggan", small("pggan"))
    run_folder(root / "rgba", small("stylegan2", "dataset.channels=4"))
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
    for run in ("stylegan2", "classes", "stylegan", "dcgan", "cgan", "infogan", "pggan", "rgba"):
        assert (
            main(["sample", f"ckpt={root / run}", "n=3", "seed=5", f"out={root / 'own' / run}"])
            == 0
        )
    return root


@pytest.fixture
def gan(runs, tmp_path, monkeypatch, capsys):
    """Projects a run's own sample, or input=, in an empty folder. -> code, what it said"""
    monkeypatch.chdir(tmp_path)

    def call(run: str, *argv: str):
        own = (
            []
            if any(word.startswith("input=") for word in argv)
            else [f"input={runs / 'own' / run / '000001.png'}"]
        )
        shutil.rmtree("out", ignore_errors=True)
        capsys.readouterr()
        code = main(["project", f"ckpt={runs / run}", "out=out", *own, *argv])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err, captured.err
        return code, captured.out + captured.err

    return call


def distances(said: str) -> tuple[float, float]:
    words = said[said.index("distance (") :].split()
    return float(words[words.index("at") - 1]), float(words[words.index("after") - 1])


# what is found


@pytest.mark.parametrize(
    ("run", "share", "argv"),
    [
        ("stylegan2", 0.5, ()),
        ("stylegan2", 0.4, ("space=w_plus",)),
        ("stylegan2", 0.9, ("space=z",)),
        ("stylegan2", 0.6, ("noise=false",)),
        ("stylegan", 0.6, ()),
        ("classes", 0.6, ("label=1",)),
        ("dcgan", 0.8, ("lr=0.3",)),
        ("cgan", 0.9, ("lr=0.3",)),
        ("infogan", 0.95, ("lr=0.3",)),
        ("pggan", 0.7, ()),
        ("rgba", 0.6, ()),
    ],
)
def test_a_models_own_sample_comes_nearer(gan, run, share, argv):
    code, said = gan(run, "steps=60", "film=null", *argv)
    assert code == 0 and "compared by pixels and not by LPIPS" in said
    assert "done: out/comparison.png, and projected.pt" in said and "latent=" in ending(said)
    first, last = distances(said)
    assert 0 <= last < share * first
    assert sorted(os.listdir("out")) == ["comparison.png", "projected.png", "projected.pt"]


def test_the_distance_is_that_of_the_image_that_is_written(gan, runs):
    said = gan("stylegan2", "steps=20", "film=null")[1]
    target, image = (
        torch.from_numpy(np.array(Image.open(path)))[None, None] / 127.5 - 1
        for path in (runs / "own/stylegan2/000001.png", "out/projected.png")
    )
    assert Pixels(target)(image).item() == pytest.approx(distances(said)[1], rel=0.1, abs=2e-3)


@pytest.mark.parametrize(
    ("run", "argv"),
    [
        ("stylegan2", ()),
        ("stylegan", ("space=w_plus",)),
        ("classes", ("noise=false",)),
        ("cgan", ()),
    ],
)
def test_what_is_saved_makes_the_image_again(gan, runs, run, argv):
    gan(run, "steps=8", *argv)
    tree = torch.load("out/projected.pt", weights_only=True)
    loaded = load_game(str(runs / run))
    assert (
        tree["space"] == {"stylegan2": "w", "stylegan": "w_plus", "classes": "w", "cgan": "z"}[run]
    )
    assert (tree["features"], tree["format"]) == ("pixels", 1)
    if run != "cgan":
        assert tree["inputs"]["styles"].shape == (1, 6, 8)
        same = (tree["inputs"]["styles"] == tree["inputs"]["styles"][:, :1]).all()
        assert same == (tree["space"] == "w") and len(tree["planes"]) == (
            0 if run == "classes" else len(loaded.generator.planes)
        )
    given = {} if run == "cgan" else {"noise": tree["planes"] or "fixed"}
    with torch.no_grad():
        image = loaded.game.sample(tree["inputs"], loaded.generator, **given)
    assert (
        to_uint8(image[0, 0]).int()
        - torch.from_numpy(np.array(Image.open("out/projected.png"))).int()
    ).abs().max() <= 1


def test_the_same_seed_gives_the_same_bytes(gan, runs, tmp_path):
    def made(*argv: str) -> dict[str, bytes]:
        assert gan("stylegan2", "steps=12", *argv)[0] == 0
        return {path.name: path.read_bytes() for path in sorted(Path("out").iterdir())}

    first = made("seed=2")
    torch.rand(7)
    assert made("seed=2") == first and list(first) == [
        "comparison.png",
        "projected.png",
        "projected.pt",
        "projection.webp",
    ]
    assert b"/" + str(runs).encode()[1:] not in first["projected.pt"]
    assert made("seed=3")["projected.pt"] != first["projected.pt"]


@pytest.mark.parametrize(("run", "space"), [("stylegan", "w"), ("cgan", "z")])
def test_the_global_random_state_is_left_alone(runs, run, space):
    loaded = load_game(str(runs / run))
    target = target_of(str(runs / "own" / run / "000001.png"), loaded)
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    start = start_search(
        loaded.game, loaded.generator, Pixels(target), space=space, label=None, noise=True, seed=0
    )
    list(project(loaded.game, loaded.generator, Pixels(target), start, steps=2, lr=0.1, seed=0))
    assert torch.equal(torch.rand(4), wanted)


def test_the_film_shows_target_and_search(gan, runs, monkeypatch):
    assert gan("stylegan2", "steps=9", "film=way.gif")[0] == 0
    film = Image.open("out/way.gif")
    assert (
        film.size == Image.open("out/comparison.png").size == (2 * 130 + 2, 132)
        and 5 < film.n_frames <= 34
    )
    film.seek(film.n_frames - 1)
    last = np.asarray(film.convert("L"), int)
    assert np.abs(last - np.asarray(Image.open("out/comparison.png"), int)).max() <= 2, (
        "it ends with what was found"
    )
    target = np.asarray(Image.open(runs / "own/stylegan2/000001.png"))
    assert (last[2:130:8, 2:130:8] == target).all()
    monkeypatch.setattr("gancli.commands.project.FRAMES", 3)
    assert (
        gan("stylegan2", "steps=10", "film=way.gif")[0] == 0
        and Image.open("out/way.gif").n_frames <= 4
    )


# gan sample latent=


@pytest.mark.parametrize(
    ("run", "argv"),
    [("stylegan2", ()), ("stylegan", ("noise=false",)), ("cgan", ()), ("infogan", ())],
)
def test_a_found_latent_can_be_drawn_again(gan, runs, run, argv, capsys):
    gan(run, "steps=4", "film=null", *argv)
    assert main(["sample", f"ckpt={runs / run}", "latent=out/projected.pt", "out=again"]) == 0, (
        capsys.readouterr().err
    )
    assert sorted(os.listdir("again")) == ["000000.png", "grid.png"]
    one, other = (
        np.asarray(Image.open(path), int) for path in ("again/000000.png", "out/projected.png")
    )
    assert np.abs(one - other).max() <= 1


def test_a_latent_of_another_model_is_refused(gan, runs, capsys):
    def said(run: str, *argv: str) -> str:
        assert (
            main(["sample", f"ckpt={runs / run}", "out=no", *argv]) == 2 and not Path("no").exists()
        )
        return capsys.readouterr().err

    gan("stylegan2", "steps=1", "film=null")
    tree = torch.load("out/projected.pt", weights_only=True)
    for run in ("cgan", "pggan"):
        assert "of another model" in said(run, "latent=out/projected.pt")
    for change in (
        {"inputs": {"styles": torch.zeros(1, 9, 8)}},
        {"planes": tree["planes"][:2]},
        {"inputs": {}},
    ):
        torch.save(tree | change, "odd.pt")
        assert "of another model" in said("stylegan2", "latent=odd.pt")
    torch.save(tree | {"planes": 3}, "odd.pt")
    assert "no latent that gan project has written" in said("stylegan2", "latent=odd.pt")
    gan("cgan", "steps=1", "film=null")
    tree = torch.load("out/projected.pt", weights_only=True)
    torch.save(tree | {"inputs": tree["inputs"] | {"label": torch.tensor([10])}}, "odd.pt")
    assert "of another model" in said("cgan", "latent=odd.pt")
    assert "latent=none.pt: there is no such file" in said("stylegan2", "latent=none.pt")
    assert "latent= and mix=, walk= do not go together" in said(
        "stylegan2", "latent=out/projected.pt", "walk=1", "mix=fine"
    )


# any image


def test_any_image_is_brought_to_the_models_size(gan, tmp_path):
    for name, mode in (("a.png", "RGBA"), ("b.jpg", "RGB"), ("c.gif", "P"), ("d.tif", "I;16")):
        Image.fromarray((np.arange(40 * 25).reshape(25, 40) * 9).astype(np.uint16)).convert(
            "I"
        ).save("wide.tif")
        picture = (
            Image.open("wide.tif")
            if mode == "I;16"
            else Image.effect_noise((40, 25), 60).convert(mode)
        )
        picture.save(name)
        assert gan("stylegan2", "steps=1", f"input={name}", "film=null")[0] == 0
    assert Image.open("out/projected.png").size == (16, 16)


def test_the_target_has_the_models_channels(runs, tmp_path, capsys):
    Image.new("RGB", (30, 20), (255, 0, 0)).save(tmp_path / "red.png")
    red = {
        name: target_of(str(tmp_path / "red.png"), load_game(str(runs / name)))
        for name in ("rgba", "dcgan")
    }
    assert red["rgba"].shape == (1, 4, 16, 16) and red["rgba"][0, :, 3, 3].tolist() == [
        1,
        -1,
        -1,
        1,
    ]
    assert red["dcgan"].shape == (1, 1, 16, 16) and red["dcgan"][
        0, 0, 3, 3
    ].item() == pytest.approx(76 / 127.5 - 1)
    assert capsys.readouterr().err.count("note: colours are dropped") == 1


# likeness


def test_lpips(gan):
    if not all(path.is_file() for path in WEIGHTS):
        pytest.skip("needs the weights of GANCLI_TEST_DATA")
    files = f"weights={WEIGHTS[0]}", f"lpips_heads={WEIGHTS[1]}"
    code, said = gan("stylegan2", "steps=12", "film=null", *files)
    first, last = distances(said)
    assert (
        code == 0
        and "distance (lpips, w)" in said
        and "not by LPIPS" not in said
        and last < 0.9 * first
    )
    code, said = gan("rgba", "steps=1", *files)
    assert (
        code == 0 and "not by LPIPS: it takes no alpha" in said and "distance (pixels, w)" in said
    )
    code, said = gan("rgba", "steps=1", *files, "features=squeezenet")
    assert code == 2 and "4 channels" in said
    assert "distance (pixels" in gan("stylegan2", "steps=1", *files, "features=pixels")[1]


def test_pixels_compare_every_size():
    a = torch.zeros(2, 1, 16, 16)
    b = torch.zeros(2, 1, 16, 16)
    b[1, :, ::2] += 1  # lines, which halving turns into a grey
    assert Pixels(a[:1])(b).tolist() == pytest.approx([0, (0.5 + 0.25 + 0.25) / 3])


def test_large_and_small_images_reach_lpips_in_a_size_that_it_knows():
    sizes = [
        tuple(projection.fit_to_lpips(torch.zeros(1, 3, *size)).shape[2:])
        for size in ((16, 16), (64, 48), (100, 256), (512, 1024))
    ]
    assert sizes == [(64, 64), (128, 96), (100, 256), (128, 256)]


# the search


def test_the_pace_rises_and_falls():
    assert [compute_pace(share) for share in (0.0, 0.025, 0.05, 0.5, 0.75, 1.0)] == pytest.approx(
        [0, 0.5, 1, 1, 1, 0]
    )
    assert compute_pace(0.875) == pytest.approx(0.5)


def test_structure_is_what_noise_has_not():
    like = torch.zeros(1)
    assert measure_structure([torch.ones(1, 1, 8, 8)], like).item() == 2
    assert measure_structure([torch.ones(1, 1, 16, 16)], like).item() == 2 + 2 * 16, (
        "its halving keeps the variance of noise, not of this"
    )
    torch.manual_seed(0)
    noise = torch.randn(1, 1, 64, 64)
    smooth = (
        torch.nn.functional.avg_pool2d(
            torch.nn.functional.pad(noise, (1, 1, 1, 1), "circular"), 3, 1
        )
        * 3
    )
    assert (
        measure_structure([noise], like).item() < 0.1
        and measure_structure([smooth], like).item() > 0.5
    )
    assert measure_structure([], like).item() == 0


def test_the_mean_style_is_the_mean_of_styles(runs):
    loaded = load_game(str(runs / "classes"))
    styles = draw_styles(loaded.game, loaded.generator, label=None, seed=0)
    assert styles.shape == (10_000, 8)
    z = torch.randn(10_000, loaded.generator.z_dim)
    wanted = loaded.generator.mapping(z, torch.arange(10_000) % 10).mean(0)
    torch.testing.assert_close(styles.mean(0), wanted, atol=0.05, rtol=0)
    of_one = draw_styles(loaded.game, loaded.generator, label=torch.tensor(4), seed=0).mean(0)
    torch.testing.assert_close(
        of_one, loaded.generator.mapping(z, torch.full((10_000,), 4)).mean(0), atol=0.05, rtol=0
    )


def test_latents_start_at_the_likest_and_stay_among_latents(runs):
    loaded = load_game(str(runs / "cgan"))
    target = target_of(str(runs / "own/cgan/000001.png"), loaded)
    start = start_from_latents(loaded.game, loaded.generator, Pixels(target), label=None, seed=0)
    for _ in project(
        loaded.game, loaded.generator, Pixels(target), start, steps=30, lr=5.0, seed=0
    ):
        assert (
            start.leaves["z"].abs().max() <= start.farthest["z"][0]
            and start.leaves["z"].norm() <= 1.0001 * start.farthest["z"][1]
        )
    assert (
        set(start.rest) == {"label"}
        and 10 < start.farthest["z"][1] < 15
        and start.spread["z"] == pytest.approx(10, rel=0.1)
    )
    only = start_from_latents(
        loaded.game, loaded.generator, Pixels(target), label=torch.tensor(7), seed=0
    )
    assert only.rest["label"].tolist() == [7]


def test_noise_stays_noise_and_styles_wander_less_and_less(runs):
    loaded = load_game(str(runs / "stylegan2"))
    target = target_of(str(runs / "own/stylegan2/000001.png"), loaded)
    start = start_search(
        loaded.game, loaded.generator, Pixels(target), space="w", label=None, noise=True, seed=0
    )
    assert [tuple(plane.shape[2:]) for plane in start.planes] == [
        (4, 4),
        (8, 8),
        (8, 8),
        (16, 16),
        (16, 16),
    ]
    assert start.leaves["styles"].shape == (1, 1, 8)
    before = [plane.detach().clone() for plane in start.planes]
    list(project(loaded.game, loaded.generator, Pixels(target), start, steps=5, lr=0.1, seed=0))
    for plane, old in zip(start.planes, before, strict=True):
        assert abs(plane.mean().item()) < 1e-5 and plane.square().mean().item() == pytest.approx(
            1, abs=1e-4
        )
        assert not torch.equal(plane, old)
    far = [
        start.add_noise(share, torch.Generator().manual_seed(0))["styles"] - start.leaves["styles"]
        for share in (0.05, 0.01, 0)
    ]
    torch.testing.assert_close(far[0], 5 * far[1], rtol=1e-3, atol=1e-5)
    assert far[2].eq(0).all() and far[0].norm().item() == pytest.approx(
        0.05 * start.spread["styles"] * math.sqrt(8), rel=0.6
    )


def test_noise_is_kept_from_painting_the_picture(runs, monkeypatch):
    loaded = load_game(str(runs / "stylegan2"))
    found = []
    target = target_of(str(runs / "own/stylegan2/000001.png"), loaded)
    for weight in (projection.NOISE_WEIGHT, 0.0):
        monkeypatch.setattr(projection, "NOISE_WEIGHT", weight)
        start = start_search(
            loaded.game, loaded.generator, Pixels(target), space="w", label=None, noise=True, seed=0
        )
        list(
            project(loaded.game, loaded.generator, Pixels(target), start, steps=30, lr=0.1, seed=0)
        )
        found.append(measure_structure(start.planes, target).item())
    assert found[0] < 0.1 * found[1]


# refusals


@pytest.mark.parametrize(
    ("run", "argv", "reason"),
    [
        ("dcgan", ("space=w",), "its model has no styles"),
        ("pggan", ("space=w_plus",), "its model has no styles"),
        ("points", ("input=text.png",), "makes points"),
        ("dcgan", ("input=none.png",), "input=none.png: there is no such file"),
        ("dcgan", ("input=text.png",), "not an image"),
        ("dcgan", ("input=folder",), "is a folder"),
        ("dcgan", ("label=1",), "not conditional"),
        ("cgan", ("label=11",), "give 0 to 9"),
        ("dcgan", ("steps=0",), "give 1 or more"),
        ("dcgan", ("lr=0",), "a number above 0"),
        ("dcgan", ("space=x",), "space='x' does not fit"),
        ("dcgan", ("features=vgg",), "give one of auto, pixels, squeezenet"),
        ("dcgan", ("features=squeezenet",), "LPIPS needs two files"),
        ("dcgan", ("weights=x.pth",), "LPIPS needs two files"),
        (
            "dcgan",
            ("weights=x.pth", "lpips_heads=y.pth"),
            "lpips_heads=y.pth: there is no such file",
        ),
        ("dcgan", ("film=a.avi",), "does not name an animation"),
        ("dcgan", ("stepz=1",), "did you mean 'steps'"),
        ("dcgan", ("noise=7",), "noise=7"),
    ],
)
def test_a_wrong_option_is_refused_with_the_reason(gan, run, argv, reason):
    Path("text.png").write_text("no picture")
    Path("folder").mkdir()
    code, said = gan(run, *argv)
    assert code == 2 and reason in said and not Path("out").exists()


def test_a_folder_as_input_is_told_beside_other_mistakes(gan):
    """So it is told before torch is loaded."""
    Path("folder").mkdir()
    code, said = gan("dcgan", "input=folder", "steps=0")
    assert code == 2 and "input=folder is a folder" in said and "steps=0 does not fit" in said


def test_an_mp4_without_its_extra_names_it(gan, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    code, said = gan("dcgan", "film=a.mp4")
    assert code == 2 and "gancli[mp4]" in said


def test_ckpt_and_input_are_asked_for(capsys):
    assert main(["project"]) == 2
    said = capsys.readouterr().err
    assert (
        "ckpt is not given" in said and "input is not given" in said and "gan project ckpt=" in said
    )


def test_out_is_named_after_the_image(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(runs / "dcgan", "run")
    Image.new("L", (16, 16), 9).save("a = b, c.png")
    assert main(["project", "ckpt=run", "input=a = b, c.png", "steps=1", "film=null"]) == 0
    assert "done: run/project-a = b, c/comparison.png, and " in capsys.readouterr().out
    assert Path("run/project-a = b, c/projected.png").exists()


def test_the_help_lists_the_options(capsys):
    assert main(["project", "--help"]) == 0
    said = capsys.readouterr().out
    for option in (
        "input",
        "steps",
        "lr",
        "space",
        "features",
        "weights",
        "lpips_heads",
        "noise",
        "label",
        "film",
    ):
        assert f"\n  {option}: " in said and f"{option}=" in said
