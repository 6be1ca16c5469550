"""Commands take zoo/NAME, write below outputs/zoo, and say what such a file cannot do."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import train_helpers
from helpers import REPO
from train_helpers import TINY, last, sound

import gancli
from gancli.checkpoint import load_game
from gancli.commands import zoo
from gancli.errors import UserError
from gancli.files.zoo import find_zoo_folder, list_zoo, read_zoo

gan = pytest.fixture(train_helpers.gan)
RING = "zoo/mlp_ring"


def test_a_bundled_generator_samples_without_a_run(gan):
    done = sound(gan("sample", f"ckpt={RING}", "n=3"))
    assert Path("outputs/zoo/mlp_ring/samples-seed0/grid.png").is_file()
    assert "gan show zoo/mlp_ring" in done.out
    shown = sound(gan("show", RING)).out
    assert "the EMA generator alone" in shown and f"gan sample ckpt={RING}" in shown
    assert gancli.load(RING).sample(3).shape == (3, 2)


def test_a_bundled_generator_is_measured_without_its_discriminator(gan):
    done = sound(gan("evaluate", f"ckpt={RING}", "n=100", "metrics=full"))
    (written,) = Path("outputs/zoo/mlp_ring/evaluations").glob("*.json")
    assert json.loads(written.read_text())["values"]["modes"] == 8
    assert "gan show zoo/mlp_ring" in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", *TINY, f"resume={RING}"), "no training can go on from that"),
        (("features", f"ckpt={RING}"), "gan features needs the discriminator"),
        (("sample", f"ckpt={RING}", "ema=false"), "holds the EMA generator alone"),
        (("report", RING), "without its run"),
        (("compare", RING, RING), "without its run"),
        (("sample", "ckpt=zoo/mlp_rin"), "did you mean 'zoo/mlp_ring'?"),
        (("show", "zoo/mlp_rin"), "did you mean 'zoo/mlp_ring'?"),
        (("compare", "zoo/mlp_rin"), "did you mean 'zoo/mlp_ring'?"),
    ],
)
def test_what_it_cannot_do_is_said(gan, words, said):
    done = sound(gan(*words), 2)
    assert said in done.err
    assert not Path("outputs").exists()


def test_a_run_of_ones_own_in_that_place_wins(gan):
    sound(gan("train", *TINY, "trainer.steps=1", f"hydra.run.dir={RING}"))
    sound(gan("sample", f"ckpt={RING}", "n=2"))
    assert Path(RING, "samples-seed0", "grid.png").is_file() and not Path("outputs").exists()
    assert "the EMA generator alone" not in sound(gan("show", RING)).out


def test_a_new_run_starts_from_a_bundled_generator(gan):
    entry = next(each for each in read_zoo() if each["name"] == "mlp_ring")
    more = ("trainer.steps=1", "metrics=none", "log.tensorboard=false", "hydra.run.dir=new")
    done = sound(gan("train", *entry["words"], f"init={RING}", *more))
    assert "init: weights of zoo/mlp_ring, a GAN of MLPGenerator" in done.out
    assert last("new")["config"]["init"]["path"] == RING


def test_a_model_that_does_not_fit_is_answered_with_the_words_that_do(gan):
    done = sound(gan("train", f"init={RING}", "trainer.steps=1", "metrics=none"), 2)
    entry = next(each for each in read_zoo() if each["name"] == "mlp_ring")
    assert f"gan train {shlex.join(entry['words'])} init={RING}" in done.err


def test_the_list_has_sizes_numbers_and_commands(gan):
    shown = sound(gan("list", "zoo")).out
    for entry in read_zoo():
        assert f"zoo/{entry['name']} " in shown and entry["about"] in shown
        assert f"gan train {shlex.join(entry['words'])} seed=0".replace("  ", " ") in shown
    found = json.loads(sound(gan("list", "zoo", "--json")).out)
    assert [each["name"] for each in found["files"]] == list_zoo()
    assert "zoo/mlp_ring" in found["zoo"]
    assert "did you mean 'zoo'?" in sound(gan("list", "zooo"), 2).err


@pytest.mark.parametrize("word", ["ckpt=zoo/mlp", "init=zoo/mlp", "zoo/mlp"])
def test_the_shell_completes_names(gan, monkeypatch, word):
    monkeypatch.setenv("COMP_LINE", f"gan show {word}")
    assert sound(gan("-sc", "query=bash")).out.split() == [f"{word}_ring"]


def test_the_page_is_made_of_the_index():
    page = (REPO / "docs/zoo.md").read_text()
    assert page == zoo.write_page(read_zoo()), "make it: python -m gancli.commands.zoo"


def test_every_recipe_has_a_file_and_a_picture():
    assert sorted(zoo.RECIPES) == list_zoo()
    for entry in read_zoo():
        assert entry["words"] == list(zoo.RECIPES[entry["name"]].words), "build it anew"
        assert (REPO / "docs/zoo" / f"{entry['name']}.png").stat().st_size < 60_000


def test_an_unknown_recipe_is_told():
    with pytest.raises(UserError, match="no recipe mlp_rin"):
        zoo.main(["mlp_rin"])


def test_a_recipe_becomes_a_file_an_entry_and_a_picture(gan, tmp_path, monkeypatch):
    recipe = zoo.Recipe("tiny points", ("experiment=mlp_ring", "trainer.steps=2"))
    monkeypatch.setattr(zoo, "RECIPES", {"tiny": recipe})
    monkeypatch.setattr(zoo, "run_cell", lambda words, seed, runs: train_as(gan, words, runs))
    monkeypatch.setattr(zoo, "find_zoo_folder", lambda: tmp_path)
    monkeypatch.setattr(zoo, "measure_file", lambda path: {"modes": 8.0})
    entry = zoo.build_file("tiny", tmp_path / "runs", tmp_path / "docs")
    assert entry["half"] and entry["steps"] == 2 and entry["bytes"] < 100_000
    assert (tmp_path / "docs/zoo/tiny.png").is_file()
    first = (tmp_path / "tiny.pt").read_bytes()
    again = zoo.build_file("tiny", tmp_path / "runs", tmp_path / "docs")
    assert (tmp_path / "tiny.pt").read_bytes() == first and again == entry
    assert load_game(str(tmp_path / "tiny.pt")).tree["exported"]


def train_as(gan, words, runs: Path) -> None:
    folder = runs / zoo.name_cell(words) / f"seed-{zoo.SEED}"
    if not folder.exists():
        more = ("metrics=none", "log.tensorboard=false", f"hydra.run.dir={folder}")
        sound(gan("train", *words, *more))


@pytest.mark.full
@pytest.mark.parametrize("name", list_zoo())
def test_every_file_samples_or_is_measured(gan, name):
    game = load_game(f"zoo/{name}").game
    if not game.directions:
        sound(gan("sample", f"ckpt=zoo/{name}", "n=4"))
        sound(gan("sample", f"ckpt=zoo/{name}", "n=2", "interpolate=3"))
    sound(gan("evaluate", f"ckpt=zoo/{name}", "n=100", "metrics=fast"))
    sound(gan("train", f"init=zoo/{name}", *read_words(name), "trainer.steps=1", "metrics=none"))


def read_words(name: str) -> list[str]:
    return next(entry["words"] for entry in read_zoo() if entry["name"] == name)


@pytest.mark.full
def test_the_commands_of_the_page_run(gan):
    page = (REPO / "docs/zoo.md").read_text()
    (block,) = re.findall(r"^```bash\n(.*?)^```", page, re.S | re.M)
    tries = [f"gan {recipe.try_it}" for recipe in zoo.RECIPES.values() if recipe.try_it]
    for line in [*block.splitlines(), *tries]:
        sound(gan(*shlex.split(line)[1:]))


def test_the_index_stands_beside_the_files():
    assert (find_zoo_folder() / "zoo.json").is_file()


def test_a_translator_is_measured_on_data_made_of_bundled_ones(gan):
    done = sound(gan("evaluate", "ckpt=zoo/enhance_digits", "n=64", "metrics=fast"))
    (written,) = Path("outputs/zoo/enhance_digits/evaluations").glob("*.json")
    values = json.loads(written.read_text())["values"]
    assert values["psnr"] > values["psnr_source"] + 6
    assert "gan show zoo/enhance_digits" in done.out
    assert "gan evaluate ckpt=zoo/enhance_digits" in sound(gan("show", "zoo/enhance_digits")).out
