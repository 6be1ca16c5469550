"""The rules that choose a model for data of one's own, on folders of many kinds."""

from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import DOMAINS, PAIRS, REPO
from PIL import Image

from gancli.config.compose import compose
from gancli.config.validate import validate
from gancli.data.folder import listing
from gancli.errors import UserError
from gancli.networks.layers import count_downsampling_steps
from gancli.reports import recipes
from gancli.reports.recipes import (
    Facts,
    choose_direction,
    choose_rectangle,
    choose_set,
    choose_side,
    choose_words,
    list_recipes,
    look_at,
    lower_rate,
)
from gancli.run.own_data import choose_for_data


def write_images(folder: Path, n: int, size: tuple[int, int], mode: str = "RGB") -> None:
    """Writes images that differ."""
    folder.mkdir(parents=True)
    for k in range(n):
        image = Image.new(mode, size, tuple((40 * k + 9 * c) % 256 for c in range(len(mode))))
        image.save(folder / f"{k}.png")


def test_what_a_look_shows(tmp_path):
    write_images(tmp_path / "faces", 5, (96, 96))
    facts = look_at(str(tmp_path / "faces"))
    assert (facts.layout, facts.n, facts.size, facts.mode) == ("images", 5, (96, 96), "RGB")
    write_images(tmp_path / "emoji", 3, (128, 128), "RGBA")
    assert look_at(str(tmp_path / "emoji")).mode == "RGBA"
    for k in range(50):
        write_images(tmp_path / f"characters/{k}", 1, (28, 28))
    assert look_at(str(tmp_path / "characters")).classes == 50
    assert look_at(PAIRS).layout == "pairs"
    domains = look_at(DOMAINS)
    assert domains.layout == "domains" and domains.words == (f"dataset.path={DOMAINS}",)


@pytest.mark.parametrize("folders", [False, True])
def test_the_flatter_image_of_a_pair_is_the_source(folders, tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    plan = np.broadcast_to(photo[:, :1, :1], photo.shape)
    for name, (first, second) in {"ba": (photo, plan), "ab": (plan, photo)}.items():
        root = tmp_path / name
        for side in ("A", "B") if folders else ("",):
            (root / side).mkdir(parents=True)
        for k in range(4):
            if folders:
                Image.fromarray(first[k]).save(root / f"A/{k}.png")
                Image.fromarray(second[k]).save(root / f"B/{k}.png")
            else:
                Image.fromarray(np.concatenate([first[k], second[k]], 1)).save(root / f"{k}.png")
        words, why = choose_direction(str(root), listing(str(root)))
        assert words == (("dataset.direction=ba",) if name == "ba" else ())
        assert bool(words) == bool(why) and all("are flatter" in text for text in why)


def test_folders_a_and_b_are_pairs_or_domains_too(tmp_path):
    for names in ("aa", "ab"):
        for folder, name in zip("ab", names, strict=True):
            (tmp_path / names / folder).mkdir(parents=True)
            Image.new("RGB", (16, 16)).save(tmp_path / names / folder / f"{name}.png")
    pairs = look_at(str(tmp_path / "aa"))
    named = ("dataset.a=a", "dataset.b=b")
    assert pairs.layout == "pairs" and pairs.words[1:] == named
    domains = look_at(str(tmp_path / "ab"))
    assert domains.layout == "domains" and domains.words[1:] == named


def test_a_typed_direction_wins(monkeypatch):
    monkeypatch.setattr(recipes, "MUCH_FLATTER", -1.0)
    facts = look_at(PAIRS)
    assert facts.words[-1] == "dataset.direction=ba" and "are flatter" in facts.notes[-1]
    assert "translates the other way" not in list_recipes(facts)[0].why, "the note says it"
    facts = look_at(PAIRS, ["dataset.direction=ab"])
    assert facts.words == (f"dataset.path={PAIRS}",) and not facts.notes
    assert "dataset.direction=ba translates the other way" in list_recipes(facts)[0].why


def test_a_data_set_in_parts_is_taken_by_its_training_part(tmp_path):
    for part in ("train", "test"):
        for k in range(2):
            write_images(tmp_path / "set" / part / f"class{k}", 2, (16, 16))
    facts = look_at(str(tmp_path / "set"))
    assert facts.path.endswith("/set") and facts.classes == 2 and facts.n == 4
    assert "of its parts train is taken" in facts.notes[0]


def test_files_and_folders_of_series_text_and_sound(tmp_path):
    for name, chosen in (("a.csv", "series"), ("a.ts", "series"), ("a.txt", "text")):
        folder = tmp_path / chosen
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("1,2\n")
        assert choose_set(str(folder / name)) == f"dataset={chosen}"
        assert choose_set(str(folder)) == f"dataset={chosen}"
        assert look_at(str(folder)).layout == chosen
    write_images(tmp_path / "images", 2, (8, 8))
    (tmp_path / "images/labels.csv").write_text("0.png,1\n")
    assert choose_set(str(tmp_path / "images")) == "dataset=folder", "a table beside pictures"
    (tmp_path / "series/photo.heic").write_text("")
    assert choose_set(str(tmp_path / "series")) == "dataset=folder"


def write_sounds(folder: Path, n: int, *, rate: int = 8000, seconds: float = 0.5) -> None:
    """Writes tones as WAV files."""
    folder.mkdir(parents=True)
    times = np.arange(round(rate * seconds)) / rate
    for k in range(n):
        with wave.open(str(folder / f"{k}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            tone = np.sin(2 * np.pi * (300 + 60 * k) * times) * 20_000
            file.writeframes(tone.astype("<i2").tobytes())


def test_arrays_are_read_by_what_they_are_called(tmp_path):
    long = np.zeros(12_000, np.int16)
    spoken = {"samples": long, "length": np.array([6000, 6000]), "label": np.array([0, 1])}
    np.savez(tmp_path / "own_8khz.npz", **spoken)
    facts = look_at(str(tmp_path / "own_8khz.npz"))
    assert (facts.layout, facts.n, facts.classes) == ("audio", 2, 2)
    assert {"dataset=audio", "dataset.file_rate=8000", "dataset.rate=4000"} <= set(facts.words)
    assert "its name says 8,000 samples a second" in facts.notes[0]
    assert choose_words(str(tmp_path / "own_8khz.npz"))[-1] == "dataset.file_rate=8000"
    assert look_at(str(tmp_path)).n == 2, "a folder that holds this file alone"
    np.savez(tmp_path / "own_8khz.npz", **spoken, rate=4000)
    facts = look_at(str(tmp_path / "own_8khz.npz"))
    assert not facts.notes and facts.words[2:] == ()
    np.savez(tmp_path / "spoken.npz", **spoken)
    assert "is a guess" in look_at(str(tmp_path / "spoken.npz")).notes[0]
    np.savez(tmp_path / "series.npz", series=np.zeros((3, 4, 1)))
    assert look_at(str(tmp_path / "series.npz")).layout == "series"
    np.savez(tmp_path / "people.npz", images=np.zeros((1, 2, 4, 4, 3)), pose=np.zeros((2, 4, 4)))
    assert look_at(str(tmp_path / "people.npz")).layout == "posed"


def test_a_folder_of_recordings(tmp_path):
    for name in ("yes", "no"):
        write_sounds(tmp_path / "sounds" / name, 3, rate=16_000, seconds=1)
    facts = look_at(str(tmp_path / "sounds"))
    assert (facts.layout, facts.n, facts.classes) == ("audio", 6, 2)
    assert facts.words[-1] == "dataset.rate=4000", "nine of ten in 4,096 samples"
    assert lower_rate(8000, 0.5) == 8000 and lower_rate(44_100, 20) == 5512
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.mp3").write_text("")
    with pytest.raises(UserError, match="there are 1 .mp3") as caught:
        look_at(str(tmp_path / "other"))
    assert "ffmpeg" in caught.value.hint


def test_people_in_poses(tmp_path):
    write_images(tmp_path / "people/pictures/anna", 2, (8, 8))
    write_images(tmp_path / "people/poses", 2, (8, 8))
    facts = look_at(str(tmp_path / "people"))
    assert facts.layout == "posed" and "model=pose" in list_recipes(facts)[0].words


def test_a_rare_class_is_drawn_as_often_as_the_others(tmp_path):
    write_images(tmp_path / "scans/ill", 40, (16, 16))
    write_images(tmp_path / "scans/well", 10, (16, 16))
    facts = look_at(str(tmp_path / "scans"))
    assert facts.each == (10, 40) and facts.uneven
    for recipe in list_recipes(facts):
        assert "dataset.balance=true" in recipe.words and "10 to 40 each" in recipe.why
    even = replace(images(5000, 32, 10), each=(200, 790))
    assert "dataset.balance=true" not in list_recipes(even)[0].words
    assert not replace(even, each=(0, 0)).uneven, "labels that nobody counted"
    assert not replace(even, n=60, each=(1, 40)).uneven, "too few to learn classes from"
    many = replace(images(5000, 32, 2), each=(400, 4600))
    assert "augment=ada" in list_recipes(many)[-1].words, "800 images, as balanced draws show them"
    few = images(150, 28, 50)
    assert "its 50 classes are not used" in list_recipes(few)[0].why


def images(n: int, side: int, classes: int = 0, mode: str = "RGB") -> Facts:
    words = ("dataset=folder", "dataset.path=x")
    return Facts("x", "images", words, n, (side, side), mode, classes)


@pytest.mark.parametrize(
    ("facts", "name", "words"),
    [
        (images(5000, 96), "DCGAN at 64 pixels", ["dataset.resolution=64"]),
        (
            images(900, 128, mode="RGBA"),
            "DCGAN at 64 pixels",
            ["augment=diffaug_color_translation"],
        ),
        (images(5000, 28, 50), "CGAN at 28 pixels, by class", ["optimizer=adam_b05"]),
        (images(5000, 28, 50, mode="L"), "CGAN at 28 pixels, by class", ["model.width=32"]),
        (images(900, 96, 9, mode="I;16"), "CGAN at 64 pixels, by class", ["model.width=32"]),
        (images(5000, 32, 500), "DCGAN at 32 pixels", ["dataset.resolution=32"]),
        (images(5000, 45), "DCGAN at 40 pixels", []),
    ],
)
def test_images(facts, name, words):
    best, *others = list_recipes(facts)
    assert best.name == name and set(words) <= set(best.words) and others
    plain = name.startswith(("DCGAN", "CGAN"))
    assert ("augment=diffaug_color_translation" in best.words) == plain
    assert ("so few that" in best.why) == (facts.n < 2000)
    assert ("model.conditional=true" in best.words) == name.endswith("by class")
    assert "docs/" in best.expected, "a number has an origin"


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_labels_have_plain_convolutions_before_styles(mode):
    """StyleGAN2 is no choice where minutes are few: plain convolutions are told the class."""
    light, *others = list_recipes(images(5000, 64, 10, mode=mode))
    assert light.name == "CGAN at 64 pixels, by class"
    assert [other.name.partition(" ")[0] for other in others] == ["CGAN", "StyleGAN2"]
    words = light.command(1000)
    assert "model.conditional=true" in words
    sinks = {"RGB": {"optimizer=adam_b05", "optimizer.d.end_kimg=32"}}
    assert sinks.get(mode, {"optimizer.d.start_kimg=6.4", "optimizer.d.end_kimg=16"}) <= {*words}
    assert ("model.generator.upsampling=nearest" in words) == (mode == "RGB"), "no lattice"
    assert list_recipes(images(5000, 64, 10, mode=mode), gpu=True)[0].name.startswith("StyleGAN2")


def test_drawings_on_transparent_ground_are_seen_over_white():
    drawn = list_recipes(images(900, 128, mode="RGBA"))[0]
    photos = list_recipes(images(900, 128))[0]
    for word in ("augment.over_white=true", "model.generator.upsampling=nearest"):
        assert word in drawn.words and word not in photos.words
    assert "emoji" in drawn.expected and "emoji" not in photos.expected


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (images(900, 64, 9, mode="RGBA"), {"augment=ada", "augment.over_white=true"}),
        (images(5000, 64, 9, mode="LA"), {"augment=over_white"}),
        (images(900, 64, 9), {"augment=ada"}),
        (images(5000, 64, 9), set()),
    ],
)
def test_no_large_model_is_shown_colours_that_nobody_sees(facts, words):
    for gpu in (False, True):
        for recipe in list_recipes(facts, gpu=gpu):
            chosen = {word for word in recipe.words if word.startswith("augment")}
            if recipe.name.startswith("CGAN"):  # which has DiffAugment, however many images
                assert "augment=diffaug_color_translation" in chosen
                assert (recipes.WHITE in chosen) == facts.transparent
                assert ("over white" in recipe.why) == facts.transparent, "what is done is said"
                assert len({*recipe.words}) == len(recipe.words), "no word twice"
                assert recipes.NEAREST in recipe.words, "a lattice shows in flat colours and greys"
            else:
                assert chosen == words, recipe.name


def test_rates_of_a_plain_model_sink_with_the_length_of_the_run():
    best = list_recipes(images(2500, 64))[0]
    words = best.command(1000)
    for player in ("g", "d"):
        assert f"optimizer.{player}.schedule=linear" in words
        assert f"optimizer.{player}.start_kimg=16" in words
        assert f"optimizer.{player}.end_kimg=32" in words


def test_pairs_are_learned_without_noise_and_only_the_generators_rate_sinks():
    facts = Facts("x", "pairs", ("dataset.path=x",), 400, (256, 128), "RGB")
    words = list_recipes(facts)[0].command(1000)
    assert {"model.generator.noisy=false", "model.discriminator.layers=1"} <= {*words}
    assert "model.warmup=250" in words
    assert "optimizer.g.start_kimg=1" in words and "optimizer.g.end_kimg=2" in words
    assert not any(word.startswith("optimizer.d.") for word in words)


def test_a_gpu_has_time_for_styles():
    best, small, plain = list_recipes(images(900, 300), gpu=True)
    assert best.name == "StyleGAN2 at 128 pixels" and "augment=ada" in best.words
    assert small.name == "StyleGAN2 at 32 pixels" and plain.name == "DCGAN at 32 pixels"


def test_sides_are_those_that_halve_down():
    sides = {side: choose_side(images(9, side), most=64) for side in (5, 8, 28, 30, 45, 96, 0)}
    assert sides == {5: 8, 8: 8, 28: 28, 30: 28, 45: 40, 96: 64, 0: 64}


@pytest.mark.parametrize(
    ("size", "most", "found"),
    [
        ((400, 17), 64, (376, 16)),
        ((17, 400), 64, (16, 376)),
        ((128, 64), 64, (128, 64)),
        ((1000, 100), 64, (280, 28)),
        ((1000, 100), 128, (560, 56)),
        ((900, 17), 64, (512, 16)),  # the middle, or it would have one downsampling step
        ((400, 10), 64, (400, 10)),
        ((400, 5), 64, (640, 8)),
        ((5000, 3), 64, (1024, 8)),
    ],
)
def test_strips_are_learned_as_rectangles_that_the_networks_take(size, most, found):
    facts = replace(images(900, 64), size=size)
    assert choose_rectangle(facts, most=most) == found
    times, rest = count_downsampling_steps([found[1], found[0]])
    assert times >= 1 and min(rest) < 8


def test_rules_for_strips():
    strips = replace(images(900, 64), size=(400, 17))
    for gpu in (False, True):
        for recipe in list_recipes(strips, gpu=gpu):
            words = [word for word in recipe.words if word.startswith("dataset.resolution")]
            assert words == ["dataset.resolution=[16,376]"] and "376x16" in recipe.name
            assert "learned as such" in recipe.why
            assert "not measured" in recipe.expect()
            assert "faces" not in recipe.expect() and "digits" not in recipe.expect()
    tall = list_recipes(replace(strips, size=(64, 128)))
    assert [recipe.name for recipe in tall][:2] == [
        "DCGAN at 64x128 pixels",
        "DCGAN at 32x64 pixels",
    ]
    mixed = list_recipes(replace(strips, alike=False))[0]
    assert "dataset.resolution=16" in mixed.words and "their shapes differ" in mixed.why


def test_a_folder_of_strips_and_opaque_images(tmp_path):
    """Sizes, and whether alpha hides anything, are seen in the files."""
    for k in range(20):
        size = (100, 20 + k % 2)
        Image.new("RGBA", size, (k, 0, 0, 255)).save(tmp_path / f"{k}.png")
    facts = look_at(str(tmp_path))
    assert facts.strips and facts.alike and facts.mode == "RGBA" and not facts.transparent
    for k in range(20):
        size = (100, 20) if k < 15 else (30, 20)
        Image.new("RGBA", size, (k, 0, 0, 9)).save(tmp_path / f"{k}.png")
    facts = look_at(str(tmp_path))
    assert facts.strips and not facts.alike and facts.transparent


def test_scans_that_are_kept_in_three_equal_channels_are_learned_as_grey(tmp_path):
    for k in range(30):
        image = Image.new("L", (32, 40), 8 * k)
        image.paste(255 - 8 * k, (4, 4, 20, 30))
        image.convert("RGB").save(tmp_path / f"{k:02d}.jpg")
    facts = look_at(str(tmp_path))
    assert (
        facts.grey and "dataset.channels=1" in facts.words and "learned as grey" in facts.notes[0]
    )
    config = validate(compose("train", list_recipes(facts)[0].command(700)).cfg)
    assert config.dataset["channels"] == 1
    typed = look_at(str(tmp_path), ["dataset.channels=3"])
    assert not typed.grey and "dataset.channels=1" not in typed.words and not typed.notes
    Image.new("RGB", (32, 40), (200, 190, 180)).save(tmp_path / "00.jpg")  # one is coloured
    assert not look_at(str(tmp_path)).grey


@pytest.mark.parametrize(("classes", "least"), [(2, 1500), (10, 1500), (47, 7050), (1000, 8000)])
def test_many_classes_ask_for_more_steps_before_larger_images(classes, least):
    recipes = list_recipes(images(40 * classes, 105, classes, mode="L"))
    large, small = recipes[:2]
    assert "64 pixels, by class" in large.name and "32 pixels, by class" in small.name
    assert large.least == small.least == least


def test_a_measured_experiment_of_the_kind_is_named(monkeypatch):
    recipe = list_recipes(images(5000, 32, 10, mode="L"))[0]
    assert recipe.experiment == "cgan_digits_small"
    entry = {
        "words": ["experiment=cgan_digits_small"],
        "seeds": [0],
        "steps": 1500,
        "cpu_s": [80.0],
        "values": {"class_accuracy": [0.5]},
        "processor": "AMD EPYC",
        "precision": "bf16",
    }
    other = {"words": entry["words"], "steps": 1500, "cpu_s": 260.0}
    other |= {"processor": "AMD EPYC, AVX2", "precision": "fp32"}
    monkeypatch.setattr(recipes, "read_forecasts", lambda: [other])
    monkeypatch.setattr(recipes, "read_measured", lambda: [entry])
    assert recipe.expect().endswith(
        "of this kind: 80 s of one core in bf16, about 4 min in fp32 with AVX2: "
        "class accuracy 0.500 (1 seed), docs/measured.md"
    )
    monkeypatch.setattr(recipes, "read_measured", list)
    assert recipe.expect() == recipe.expected


def test_every_named_experiment_is_there():
    kinds = [Facts("x", name, ("dataset.path=x",)) for name in ("pairs", "domains", "series")]
    kinds += [Facts("x", name, ("dataset.path=x",)) for name in ("text", "audio", "posed")]
    for facts in [images(5000, 64), images(5000, 32, 10), *kinds]:
        for recipe in list_recipes(facts):
            file = REPO / f"conf/experiment/{recipe.experiment}.yaml"
            assert not recipe.experiment or file.exists(), recipe.name


def test_few_images_promise_little():
    assert "copies" in list_recipes(images(60, 64))[0].expected
    assert "dataset.resolution=128" in list_recipes(images(9000, 300), gpu=True)[0].words


@pytest.mark.parametrize(
    "layout",
    [
        *("labelled", "pairs", "text", "series", "sounds"),
        *(pytest.param(name, marks=pytest.mark.full) for name in ("images", "domains")),
    ],
)
def test_every_recipe_passes_the_gates(layout, tmp_path):
    if layout in ("images", "labelled"):
        for k in range(2 if layout == "labelled" else 1):
            write_images(tmp_path / f"data/{k}", 20, (64, 64))
        path = str(tmp_path / "data")
    elif layout == "sounds":
        write_sounds(tmp_path / "sounds", 4)
        path = str(tmp_path / "sounds")
    else:
        series = "x,y\n" + "".join(f"{k % 7},{k % 5}\n" for k in range(200))
        (tmp_path / "own.csv").write_text(series)
        (tmp_path / "own.txt").write_text("".join(f"anna {k}\n" for k in range(60)))
        path = {
            "pairs": PAIRS,
            "domains": DOMAINS,
            "text": str(tmp_path / "own.txt"),
            "series": str(tmp_path / "own.csv"),
        }[layout]
    facts = look_at(path)
    for recipe in list_recipes(facts):
        composed = compose("train", recipe.command(700))
        config = validate(composed.cfg, typed=composed.overrides)
        assert config.trainer.steps == 700 and config.trainer.batch_size == recipe.batch
        assert 0 < recipe.least <= recipe.steps


# without a model


def test_words_that_choose_are_left_alone(tmp_path):
    write_images(tmp_path / "faces", 3, (16, 16))
    path = f"dataset.path={tmp_path / 'faces'}"
    for words in (
        ["model=mlp", path],
        ["dataset=folder", path],
        ["experiment=x", path],
        ["resume=RUN", path],
        ["--config-dir", "mine", path],
        ["trainer.steps=3"],
    ):
        assert choose_for_data(words) == (words, "")


def test_a_path_may_stand_in_quotes_and_is_printed_as_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "my faces", 3, (16, 16))
    for path in ("my faces", "'my faces'", '"my faces"'):
        words, said = choose_for_data([f"dataset.path={path}"])
        assert "dataset.path=my faces" in words
        assert "; gan recommend 'my faces' says what fits" in said, "it can be pasted"


def test_what_is_typed_wins_over_the_rules(tmp_path):
    write_images(tmp_path / "faces", 3, (16, 16))
    path = f"dataset.path={tmp_path / 'faces'}"
    drawn = tmp_path / "drawn"
    write_images(drawn, 3, (16, 16), "RGBA")
    words, _ = choose_for_data([f"dataset.path={drawn}", "augment=none"])
    assert [word for word in words if word.startswith("augment")] == ["augment=none"]
    words, said = choose_for_data([path, "trainer.epochs=2", "dataset.resolution=8"])
    assert words[0] == "model=dcgan" and words.count(path) == 1
    assert words[-2:] == ["trainer.epochs=2", "dataset.resolution=8"]
    assert not any(word.startswith(("trainer.steps=", "dataset.resolution=16")) for word in words)
    assert "no model= was typed: DCGAN at 16 pixels, for 3 images" in said
    with pytest.raises(UserError, match="there is no such file or folder"):
        choose_for_data([f"{path}nowhere"])
