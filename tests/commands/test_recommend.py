"""gan recommend: the command that it prints runs as printed, and fits into the time."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import train_helpers
from helpers import DOMAINS, PAIRS
from PIL import Image
from train_helpers import last, sound

from gancli.commands import recommend
from gancli.commands.recommend import Timed, choose
from gancli.errors import UserError
from gancli.reports.recipes import Facts, list_recipes, look_at

gan = pytest.fixture(train_helpers.gan)
CPU = ("trainer.device=cpu", "trainer.precision=fp32")
FACTS = Facts("x", "images", ("dataset=folder", "dataset.path=x"), 3000, (64, 64), "RGB")


@pytest.fixture
def quick(monkeypatch):
    """Three steps are enough to time."""
    monkeypatch.setattr(recommend, "TIMED_S", 0.0)


def write_images(folder: str, n: int, side: int, mode: str = "RGB") -> None:
    Path(folder).mkdir(parents=True)
    for k in range(n):
        image = Image.new(
            mode, (side, side), tuple((40 * k + 9 * c) % 256 for c in range(4))[: len(mode)]
        )
        image.save(f"{folder}/{k}.png")


def run_printed(gan, line: str) -> dict:
    """Runs the command as it is printed, but for few steps of small batches."""
    program, verb, *words = shlex.split(line)
    assert (program, verb) == ("gan", "train")
    few = ("trainer.steps=2", "trainer.batch_size=4", "metrics=none", "log.tensorboard=false")
    sound(gan("train", *words, *few, "watch.action=off", "hydra.run.dir=run"))
    return last("run")["config"]


def test_a_folder_of_images(gan, quick):
    write_images("own photos", 24, 16)
    done = sound(gan("recommend", "own photos", "minutes=5", *CPU))
    lines = done.out.splitlines()
    assert lines[0] == "data      24 images, most of them 16 x 16 RGB, no labels"
    assert lines[1].startswith("device    cpu, ") and lines[1].endswith(" threads, 5 minutes")
    assert sum(line.startswith("tried     ") for line in lines) == 2
    assert any(line.startswith("expect    little more than copies") for line in lines)
    assert any(line.startswith("time      about ") for line in lines)
    config = run_printed(gan, lines[-1])
    assert config["dataset"]["path"] == "own photos" and config["trainer"]["precision"] == "fp32"


@pytest.mark.full
@pytest.mark.parametrize("kind", ["faces", "alpha", "classes", "pairs", "domains", "text", "csv"])
def test_the_printed_command_runs(kind, gan, quick):
    path = {"pairs": PAIRS, "domains": DOMAINS, "text": "a.txt", "csv": "a.csv"}.get(kind, kind)
    if kind == "faces":
        write_images("faces", 30, 96)
    elif kind == "alpha":
        write_images("alpha", 30, 128, "RGBA")
    elif kind == "classes":
        for k in range(50):
            write_images(f"classes/{k:02d}", 20, 28, "L")
    elif kind == "text":
        Path("a.txt").write_text("".join(f"anna {k}\n" for k in range(60)))
    elif kind == "csv":
        Path("a.csv").write_text("x\n" + "".join(f"{k % 7}\n" for k in range(300)))
    found = json.loads(sound(gan("recommend", path, "minutes=3", *CPU, "--json")).out)
    assert found["takes_minutes"] <= 3.2 and found["expected"] and found["why"]
    config = run_printed(gan, shlex.join(found["command"]))
    if kind == "classes":
        assert config["model"]["conditional"] and config["dataset"]["classes"] == 50
    elif kind == "alpha":
        assert config["dataset"]["channels"] == 4


def test_the_first_with_enough_time_is_chosen():
    large, small, plain = list_recipes(FACTS)
    long = Timed(large, 1.0, large.least)
    assert choose([long, Timed(small, 0.1, 10_000)]) is long
    short = Timed(large, 1.0, large.least - 50)
    fits = Timed(small, 0.3, small.least)
    assert choose([short, fits]) is fits
    nearest = Timed(plain, 0.1, plain.least - 50)
    assert choose([Timed(large, 9.0, 50), Timed(small, 9.0, 50), nearest]) is nearest
    assert "too short here" in recommend.describe_choice(nearest, 1)
    assert choose([Timed(large, reason="no"), fits]) is fits
    with pytest.raises(UserError, match="nothing can be trained on these data: no room"):
        choose([Timed(large, reason="no room")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which data?"),
        (["a", "b"], "2 paths: a, b"),
        (["a", "minutes=soon"], "minutes=soon: not a number of minutes above 0"),
        (["a", "minutes=-1"], "minutes=-1: not a number of minutes above 0"),
        (["a", "minuts=5"], "did you mean 'minutes=5'?"),
        (["a", "model=mlp"], "chooses the model and the data set"),
        (["a", "--fast"], "unknown flag '--fast'"),
        (["nowhere"], "dataset.path=nowhere: there is no such file or folder"),
        (["digits"], "digits is a data set by name: gan train dataset=digits"),
    ],
)
def test_words_that_make_no_sense(words, said, gan):
    done = sound(gan("recommend", *words), 2)
    assert said in done.err


def test_a_path_may_hold_an_equals_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a = b").mkdir()
    request = recommend.read_request(["a = b", "minutes=1e2", "trainer.precision=fp32"])
    assert request.path == "a = b" and request.minutes == 100
    assert request.words == ["trainer.precision=fp32"]


def test_threads_wait_as_those_of_the_run_that_is_promised(monkeypatch):
    """What OpenMP reads when torch is loaded must stand before the data are looked at."""
    called = []

    def look(*args):
        called.append("look_at")
        raise UserError("seen enough", "")

    monkeypatch.setattr(recommend, "wait_briefly", lambda environ: called.append("wait_briefly"))
    monkeypatch.setattr(recommend, "look_at", look)
    with pytest.raises(UserError, match="seen enough"):
        recommend.main(["photos"])
    assert called == ["wait_briefly", "look_at"]


def test_of_many_steps_the_second_half_counts():
    """The first steps fetch memory, and are not what a run of thousands consists of."""
    assert [recommend.count_left_out(n) for n in (2, 24, 64, 300)] == [1, 1, 32, 150]


def test_steps_that_do_not_fit_are_not_promised():
    recipe = list_recipes(FACTS)[0]
    assert recommend.count_fitting(recipe, 2.0, 0.5) == 8, "17 s, and 50 steps would take 100"
    assert recommend.count_fitting(recipe, 1.0, 2.0) == 50, "93 of them"


def test_a_typed_resolution_is_that_of_the_recipe():
    recipes = recommend.list_asked(FACTS, ["dataset.resolution=16"], gpu=False)
    assert [recipe.name for recipe in recipes] == ["DCGAN at 16 pixels", "StyleGAN2 at 16 pixels"]


def test_strips_and_modes_are_said_in_words():
    strips = replace(FACTS, size=(400, 17), mode="I;16")
    said = "3,000 images, most of them 400 x 17 grey of 16 bits or more, no labels"
    assert recommend.describe_data(strips) == said
    said = recommend.describe_shape(strips, [], gpu=False)
    assert said == [
        "each is learned at 376x16 pixels; dataset.resolution=16 takes the middle square"
    ]
    long = replace(FACTS, size=(17, 900))
    assert (
        "the middle 60% of each is learned at 16x512"
        in recommend.describe_shape(long, [], gpu=False)[0]
    )
    mixed = replace(strips, alike=False)
    assert "dataset.resolution=[16,376] behind" in recommend.describe_shape(mixed, [], gpu=False)[0]
    assert not recommend.describe_shape(strips, ["dataset.resolution=16"], gpu=False)
    assert not recommend.describe_shape(FACTS, [], gpu=False)
    one = replace(FACTS, n=1, mode="RGBA")
    assert recommend.describe_data(one) == "1 image of 64 x 64 RGB with alpha"
    assert "1 image is too few" in list_recipes(one)[0].expect()
    assert "experiment=" not in list_recipes(one)[0].expect(), "thousands of digits say nothing"


def test_only_known_devices():
    assert recommend.find_device(["trainer.device=cpu"]) == "cpu"
    with pytest.raises(UserError, match="abacus: unknown"):
        recommend.find_device(["trainer.device=abacus"])


def test_two_class_folders_may_be_two_domains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("horses", "zebras"):
        write_images(f"my animals/{name}", 3, 16)
    (said,) = recommend.describe_domains(look_at("my animals"))
    words = "model=cyclegan 'dataset.path=my animals' dataset.a=horses dataset.b=zebras"
    assert said.endswith(f"gan train {words}")
    assert not recommend.describe_domains(FACTS)


def test_a_word_that_is_wrong_is_told_as_such(gan, quick):
    write_images("photos", 8, 16)
    done = sound(gan("recommend", "photos", "trainer.stepz=3", *CPU), 2)
    assert "trainer.stepz" in done.err and "on these data" not in done.err


def test_a_path_alone_trains_and_says_what_was_chosen(gan):
    write_images("photos", 24, 16)
    few = ("trainer.steps=1", "trainer.batch_size=4", "metrics=none", "log.tensorboard=false")
    done = sound(gan("train", "dataset.path=photos", *few, *CPU, "hydra.run.dir=run"))
    said = done.out + done.err
    assert "no model= was typed: DCGAN at 16 pixels, for 24 images" in said
    assert "gan recommend photos says what fits into your time" in said
    network = last("run")["config"]["model"]["generator"]["_target_"]
    assert network.endswith("DCGANGenerator")
    sound(gan("train", "resume=run", "trainer.steps=2"))


def test_other_commands_name_it(gan):
    write_images("photos", 24, 16)
    lines = sound(gan("data", "photos")).out.splitlines()
    assert (
        "recommend DCGAN at 16 pixels; what fits into your time: "
        "gan recommend photos minutes=30" in lines
    )


def test_a_busy_machine_is_named():
    large = list_recipes(FACTS)[0]
    quiet = Timed(large, 0.1, 5000, alone=0.09)
    assert recommend.describe_load(quiet, 10) == "about 10 minutes with nothing else running"
    short = Timed(large, 0.01, 4000, alone=0.01)
    assert recommend.describe_load(short, 1) == "about a minute with nothing else running"
    busy = Timed(large, 0.4, 1250, alone=0.1)
    said = recommend.describe_load(busy, 10)
    assert "other programs take 75% of the processor, and without them 5,000 steps" in said
    assert not Timed(large, 0.4, 1250).busy, "a GPU computes while this thread waits"


def test_time_that_is_left_over_is_said():
    large = list_recipes(FACTS)[0]
    most = recommend.count_fitting(large, 0.001, 30)
    assert most == recommend.MANY * large.steps
    said = recommend.describe_load(Timed(large, 0.1, most, alone=0.09), 30)
    assert said == (
        "about 20 minutes with nothing else running, less than the 30 there are: whether more than "
        "10,000 steps help was not measured"
    )
    assert "less than" not in recommend.describe_load(Timed(large, 0.1, most, alone=0.09), 21)
    assert "less than" not in recommend.describe_load(Timed(large, 0.1, 5000, alone=0.09), 30)


def test_the_most_steps_of_a_recipe_are_named_as_such(gan, quick):
    write_images("photos", 24, 16)
    long = sound(gan("recommend", "photos", "minutes=100000", *CPU)).out
    assert "10,000 steps fit, the most that is advised" in long
    short = sound(gan("recommend", "photos", "minutes=0.2", *CPU)).out
    assert "advised" not in short


def test_another_augmentation_takes_the_rules_options_with_it():
    drawn = list_recipes(replace(FACTS, mode="RGBA"))[0]
    request = recommend.Request("x", 1.0, ["augment=none"], as_json=False)
    words = recommend.write_words(drawn, 100, request)
    assert [word for word in words if word.startswith("augment")] == ["augment=none"]
    assert "augment.over_white=true" in recommend.write_words(
        drawn, 100, request._replace(words=[])
    )
