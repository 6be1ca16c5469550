"""Data sets of the user's own that are no 8-bit pictures: trained, drawn, measured, sampled."""

from __future__ import annotations

import base64
import csv
import json
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
import train_helpers
from PIL import Image
from sound_helpers import write_tones
from train_helpers import last, sound

from gancli.modality import Series

gan = pytest.fixture(train_helpers.gan)
package = pytest.fixture(train_helpers.package)

DATA = """
    from dataclasses import dataclass
    import torch
    from gancli.data.base import Decoded, DeepSource, Source

    def draw(*shape):
        return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1

    @dataclass(kw_only=True)
    class Cloud(Source):
        \"\"\"Points, which need no scale.\"\"\"
        kind: str = "points"
        def load(self):
            return Decoded(images=draw(200, 2, 1, 1), digest="cloud")

    @dataclass(kw_only=True)
    class Waves(Source):
        \"\"\"Five features.\"\"\"
        kind: str = "series"
        scale: list[float] | float = 1.0
        shift: list[float] | float = 0.0
        labels: bool = False
        def load(self):
            images = draw(60, 5, 1, 1) + torch.arange(self.size()[0]).view(1, 1, -1, 1).sin()
            labels = torch.arange(60) % 2 if self.classes else None
            return Decoded(images=images, labels=labels, classes=("up", "down"), digest="waves")

    @dataclass(kw_only=True)
    class Floats(Source):
        \"\"\"Images as floats, larger than what is trained on.\"\"\"
        def load(self):
            return Decoded(images=draw(40, 1, *self.size()), digest="floats")

    @dataclass(kw_only=True)
    class Deep(DeepSource):
        \"\"\"16 bits, any number of channels.\"\"\"
        def load(self):
            return Decoded(images=draw(40, self.channels, *self.size()), digest="deep")
"""
MLP = (
    *("model=mlp", "model.generator.hidden=[8]", "model.discriminator.hidden=[8]"),
    *("trainer.batch_size=8", "trainer.precision=fp32", "trainer.device=cpu", "trainer.steps=2"),
    *("log.every=1", "log.sample_every=1", "hydra.run.dir=run"),
    *("metrics=fast", "metrics.n=20", "metrics.every=2"),
)
POINTS = ("dataset.resolution=1", "dataset.channels=2", "dataset.classes=0")
SERIES = ("dataset.resolution=[24,1]", "dataset.channels=5", "dataset.classes=0")


def test_points_need_no_scale(gan, package):
    name = package(DATA)
    sound(gan("train", *MLP, f"dataset._target_={name}.Cloud", "dataset.kind=points", *POINTS))
    assert (Path("run/samples") / "step-00000002.png").exists()
    assert json.loads(Path("run/evaluation.json").read_text())["values"]["w1"] > 0
    sound(gan("sample", "ckpt=run", "n=3", "out=made", f"trust={name}"))
    assert len(Path("made/points.csv").read_text().splitlines()) == 4


def test_series_of_five_features_are_trained_drawn_and_sampled(gan, package):
    name = package(DATA)
    units = ("+dataset.scale=[1,2,3,4,5]", "+dataset.shift=[0,0,0,0,10]")
    own = (f"dataset._target_={name}.Waves", "dataset.kind=series", *SERIES, *units)
    sound(gan("train", *MLP, *own, "dataset.load_size=[48,1]"))
    assert last("run")["progress"]["step"] == 2
    picture = Image.open(Path("run/samples") / "step-00000002.png")
    assert picture.width > picture.height > 0
    sound(gan("sample", "ckpt=run", "n=3", "seed=1", "out=made", f"trust={name}"))
    sound(gan("sample", "ckpt=run", "n=3", "seed=1", "out=again", f"trust={name}"))
    names = sorted(path.name for path in Path("made").iterdir())
    assert names == ["grid.png", "series.csv", "series.npz"]
    for file in names:
        assert (Path("made") / file).read_bytes() == (Path("again") / file).read_bytes()
    series = np.load("made/series.npz", allow_pickle=False)["series"]
    assert series.shape == (3, 24, 5) and abs(series[..., 4].mean() - 10) < 5
    with open("made/series.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["series", "step", "x0", "x1", "x2", "x3", "x4"] and len(rows) == 1 + 3 * 24
    assert np.float32(rows[30][2]) == series[1, 5, 0]


def test_what_a_kind_shows_beside_the_picture_is_written(gan, package, monkeypatch):
    name = package(DATA)
    own = (f"dataset._target_={name}.Waves", "dataset.kind=series", *SERIES)
    monkeypatch.setattr(
        Series, "extra", lambda self, made: {".txt": f"{len(made)} lines".encode()}, raising=True
    )
    sound(gan("train", *MLP, *own, "metrics=none"))
    text = Path("run/samples/step-00000002.txt").read_text()
    assert text.endswith(" lines")
    events = b"".join(path.read_bytes() for path in Path("run/tensorboard").iterdir())
    assert text.encode() in events and b"samples" in events


def test_the_classes_of_labelled_series_have_rows_of_their_own(gan, package):
    name = package(DATA)
    own = (f"dataset._target_={name}.Waves", "dataset.kind=series", *SERIES, "dataset.classes=2")
    measured = ("metrics=full", "metrics.n=40", "metrics.judge_steps=2", "metrics.floor=true")
    conditional = ("model.conditional=true", "log.grid=3", *measured, "dataset.holdout=20")
    sound(gan("train", *MLP, *own, *conditional))
    found = json.loads(Path("run/evaluation.json").read_text())
    values = found["values"]
    assert {"class_accuracy", "cas", "marginal_by_class", "discriminative_by_class"} <= set(values)
    reals = found["reals"]
    assert "class_accuracy" in reals and "cas" not in reals  # which reals would be tested on
    assert values["marginal_by_class"] > reals["marginal_by_class"]
    said = found["protocol"]["marginal_by_class"]
    each = [float(part.split()[-1]) for part in said.split(", ")]
    assert said.startswith("up ") and sum(each) / 2 == pytest.approx(
        values["marginal_by_class"], rel=1e-3
    )
    grid = Image.open("run/samples/step-00000002.png")
    sound(gan("sample", "ckpt=run", "per_class=3", "out=made", f"trust={name}"))
    made = Image.open("made/grid.png")
    assert made.size == grid.size and grid.width > grid.height  # two rows of three
    with open("made/series.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][-1] == "label"
    assert [row[-1] for row in rows[1::24]] == ["0"] * 3 + ["1"] * 3


def test_a_folder_of_arrays_is_looked_at_trained_and_sampled(gan):
    Path("set").mkdir()
    for k, array in enumerate(np.random.default_rng(0).integers(0, 65536, (24, 8, 8, 6))):
        np.save(f"set/{k}.npy", array.astype(np.uint16))
    data = ("dataset=folder", "dataset.path=set", "dataset.shown=[5,0,2]")
    looked = sound(gan("data", *data, "out=sheet.png"))
    words = looked.out + looked.err
    assert "8x8 pixels, 6 channels, 0 classes" in words and "6 x uint16; NPY" in words
    assert Image.open("sheet.png").mode == "RGB"
    checked = sound(gan("check", *(word for word in MLP if "log." not in word), *data))
    assert "24 images" in checked.out
    sound(gan("train", *MLP, *data, "log.grid=4"))
    kept = last("run")["config"]["dataset"]
    assert (kept["channels"], kept["bits"], kept["shown"]) == (6, 16, [5, 0, 2])
    assert json.loads(Path("run/evaluation.json").read_text())["values"]
    sound(gan("sample", "ckpt=run", "n=3", "out=made"))
    sound(gan("sample", "ckpt=run", "n=3", "out=again"))
    names = sorted(path.name for path in Path("made").iterdir())
    assert names == ["000000.npy", "000001.npy", "000002.npy", "grid.png"]
    for name in names:
        assert (Path("made") / name).read_bytes() == (Path("again") / name).read_bytes()
    one = np.load("made/000000.npy", allow_pickle=False)
    assert one.shape == (8, 8, 6) and one.dtype == np.uint16
    again = sound(gan("data", "made", "out=sheet.png"))
    assert "3 usable" in again.out + again.err


def test_a_resumed_recurrent_network_stays_in_fp32(gan):
    tiny = ("model=rcgan", "model.hidden=4", "dataset=sines", "dataset.n=40", "metrics=none")
    rest = [word for word in MLP if word.startswith(("trainer", "log", "hydra"))]
    sound(gan("train", *tiny, *rest))
    done = sound(gan("train", "resume=run", "trainer.steps=3", "trainer.precision=bf16"))
    assert "recurrent networks run in fp32, not in bf16" in done.err + done.out
    assert last("run")["config"]["trainer"]["precision"] == "fp32"


def test_what_is_said_of_series_calls_them_series(gan):
    data = ("dataset=sines", "dataset.n=40")
    shown = sound(gan("data", *data, "out=sheet.png"))
    words = shown.out + shown.err
    assert "series    40 usable" in words and "40 series in about" in words
    assert "images" not in words
    rest = [word for word in MLP if word.startswith(("trainer", "model", "hydra"))]
    done = sound(gan("train", *rest, *data, "metrics=none"))
    assert "steps of 8 series" in done.out + done.err
    assert "\nseries      40\n" in sound(gan("show", "run")).out
    assert " images" not in done.out + done.err
    sound(gan("report", "run"))
    page = Path("run/report.html").read_text()
    assert "real series seen in training" in page and ">series</span></td>" in page
    assert "images" not in page


def test_what_is_measured_of_series_calls_them_series(gan, tmp_path):
    for name in ("a", "b"):
        steps = np.random.default_rng(ord(name)).random((40, 24, 1))
        np.savez(tmp_path / f"{name}.npz", series=steps)
    rest = [word for word in MLP if word.startswith(("trainer", "model", "hydra"))]
    data = ("dataset=series", f"dataset.path={tmp_path}/a.npz", "dataset.holdout=12")
    sound(gan("train", *rest, *data, "metrics=none"))
    marginal = ("metrics=fast", "metrics.items=[marginal]", "n=12")
    done = sound(gan("evaluate", "ckpt=run", *marginal))
    assert "12 series, held out in training" in done.out and "images" not in done.out + done.err
    done = sound(gan("evaluate", "ckpt=run", *marginal, f"dataset.path={tmp_path}/b.npz"))
    assert "these are other series than the run was trained on" in done.err
    (tmp_path / "b.npz").replace(tmp_path / "a.npz")
    done = gan("train", "resume=run", "trainer.steps=3")
    assert done.code == 2 and "names, sizes or labels of its series differ" in done.err


def test_alarms_of_series_call_them_series(tmp_path, gan):
    steps = np.stack([np.sin(np.arange(12.0))] * 2)[:, :, None]
    np.savez(tmp_path / "a.npz", series=steps, labels=np.array(["up", "down"]))
    shown = sound(gan("data", "dataset=series", f"dataset.path={tmp_path}/a.npz", "out=sheet.png"))
    assert "1 series in more than one class: series 0, series 1" in shown.out
    steps[1] += 1
    np.savez(tmp_path / "a.npz", series=steps, labels=np.array(["up", "up"]))
    shown = sound(gan("data", "dataset=series", f"dataset.path={tmp_path}/a.npz", "out=sheet.png"))
    assert "image" not in shown.out


def test_windows_are_cut_out_of_float_images(gan, package):
    name = package(DATA)
    own = (f"dataset._target_={name}.Floats", "dataset.channels=1", "dataset.classes=0")
    sound(gan("train", *MLP, *own, "dataset.resolution=16", "dataset.load_size=20"))
    values = json.loads(Path("run/evaluation.json").read_text())
    assert values["values"]["swd"] > 0
    assert values["protocol"]["real_images"].startswith("the middle of 20x20")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("augment=diffaug",), "augment is for images, and the data are series"),
        (("dataset.flip=true",), "series cannot be flipped"),
        (
            ("model=pix2pix", "dataset=digits"),
            "this model translates images, and the data are series",
        ),
    ],
)
def test_what_is_for_images_says_so(gan, package, words, what):
    name = package(DATA)
    own = (f"dataset._target_={name}.Waves", "dataset.kind=series", *SERIES)
    line = [word for word in MLP if not (words[0].startswith("model=") and "model" in word)]
    done = gan("train", *line, *own, *words)
    assert done.code == 2 and what in done.err
    assert not Path("run").exists()


@pytest.mark.parametrize(("channels", "suffix"), [(1, "tiff"), (6, "npy")])
def test_deep_images_are_trained_shown_and_written(gan, package, channels, suffix):
    name = package(DATA)
    own = (f"dataset._target_={name}.Deep", f"dataset.channels={channels}", "dataset.classes=0")
    shown = "+dataset.shown=[5,0,2]" if channels == 6 else "+dataset.shown=null"
    sound(gan("train", *MLP, *own, shown, "dataset.resolution=16"))
    picture = Image.open("run/samples/step-00000002.png")
    assert picture.mode == ("RGB" if channels == 6 else "L")
    assert json.loads(Path("run/evaluation.json").read_text())["values"]["swd"] > 0
    sound(gan("sample", "ckpt=run", "n=2", "out=made", f"trust={name}"))
    sound(gan("sample", "ckpt=run", "n=2", "out=again", f"trust={name}"))
    file = f"000001.{suffix}"
    assert (Path("made") / file).read_bytes() == (Path("again") / file).read_bytes()
    path = Path("made") / file
    pixels = np.load(path) if suffix == "npy" else np.asarray(Image.open(path))[..., None]
    assert pixels.shape == (16, 16, channels) and pixels.dtype == np.uint16
    assert len(np.unique(pixels % 257)) > 50, "more than 8 bits"


def test_text_is_trained_shown_measured_and_sampled_without_its_data(gan, tmp_path):
    text = tmp_path / "own.txt"
    text.write_text("\n".join(f"the {a} {b}" for a in ("cat", "dog") for b in "abcdefghijkl"))
    words = ["model=textgan", "model.hidden=8", "model.mle_steps=1", "dataset=text"]
    words += [f"dataset.path={text}", "dataset.units=words", "dataset.holdout=4"]
    line = [word for word in MLP if not word.startswith("model")]
    done = sound(gan("train", *line, *words))
    assert "steps of 8 lines" in done.out + done.err and "8 text" not in done.out + done.err
    text.unlink()
    lines = Path("run/samples/step-00000002.txt").read_text().splitlines()
    picture = Image.open("run/samples/step-00000002.png")
    assert len(lines) == 80 and picture.width > 100
    assert {*" ".join(lines).split()} <= {"the", "cat", "dog", *"abcdefghijkl"}
    found = json.loads(Path("run/evaluation.json").read_text())
    assert {"js1", "js2_mle", "nll", "nll_mle", "unique", "copied"} <= found["values"].keys()
    assert "a bigram chain" in found["protocol"]["ngrams"]
    assert "oracle" not in found["skipped"]
    for out in ("made", "again"):
        sound(gan("sample", "ckpt=run", "n=3", "seed=1", f"out={out}", "temperature=0.5"))
    names = sorted(path.name for path in Path("made").iterdir())
    assert names == ["grid.png", "lines.txt"]
    for file in names:
        assert (Path("made") / file).read_bytes() == (Path("again") / file).read_bytes()
    assert len(Path("made/lines.txt").read_text().split("\n")) == 4
    done = gan("sample", "ckpt=run", "truncation=1")
    assert done.code == 2 and "truncation" in done.err
    picture.save("input.png")
    for verb in ("project", "translate"):
        done = gan(verb, "ckpt=run", "input=input.png")
        assert done.code == 2 and done.err
    done = gan("features", "ckpt=run")
    assert done.code == 2 and "the data are text" in done.err
    resumed = gan("train", "resume=run", "trainer.steps=3")
    assert resumed.code == 2, "its data are gone"


SOUND = ("dataset=audio", "dataset.length=256", "dataset.holdout=6", "model.conditional=true")


def test_recordings_are_trained_heard_measured_and_sampled_without_their_data(gan, tmp_path):
    folder = write_tones(tmp_path / "own")
    line = [word for word in MLP if not word.startswith("model")]
    tiny = ("model=wavegan", "model.width=4", "loss.n_critic=1", "trainer.batch_size=8")
    few = ("metrics.floor=true", "metrics.items=[spectra]")
    done = sound(gan("train", *line, *SOUND, f"dataset.path={folder}", *tiny, *few))
    assert "steps of 8 recordings" in done.out + done.err
    assert " images" not in done.out + done.err
    shutil.rmtree(folder)
    heard = Path("run/samples/step-00000002.wav").read_bytes()
    with wave.open("run/samples/step-00000002.wav") as file:
        assert file.getparams()[:3] == (1, 2, 4000) and file.getnframes() > 16 * 256
    events = b"".join(path.read_bytes() for path in Path("run/tensorboard").iterdir())
    assert heard in events and b"audio/wav" in events
    found = json.loads(Path("run/evaluation.json").read_text())
    numbers = {"spectral", "fd_bands"}
    assert numbers <= found["values"].keys() and numbers <= found["reals"].keys()
    for out in ("made", "again"):
        words = ("n=3", "seed=1", f"out={out}", "interpolate=4")
        done = sound(gan("sample", "ckpt=run", *words))
        assert "3 recordings in " in done.out
    names = sorted(path.name for path in Path("made").iterdir())
    assert names == ["000000.wav", "000001.wav", "000002.wav", "grid.png", "interpolation.png"]
    for file in names:
        assert (Path("made") / file).read_bytes() == (Path("again") / file).read_bytes()
    with wave.open("made/000001.wav") as file:
        assert file.getparams()[:4] == (1, 2, 4000, 256)
    sound(gan("sample", "ckpt=run", "per_class=2", "out=classes"))
    assert len([*Path("classes/high").glob("*.wav")]) == 2
    sound(gan("report", "run"))
    page = Path("run/report.html").read_text()
    assert page.count("<audio") == 2 and "media-src data:" in page and "controls" in page
    assert base64.b64encode(heard).decode() in page
    for verb in ("project", "translate", "features"):
        done = gan(verb, "ckpt=run", *([] if verb == "features" else ["input=made/grid.png"]))
        assert done.code == 2 and done.err
    done = gan("sample", "ckpt=run", "walk=1")
    assert done.code == 2 and "makes recordings" in done.err


@pytest.mark.full
def test_spectrograms_are_learnt_by_an_image_model_and_resumed_to_the_bit(gan, tmp_path):
    folder = write_tones(tmp_path / "own")
    line = [word for word in MLP if not word.startswith(("model", "trainer.steps", "hydra"))]
    data = (f"dataset.path={folder}", "dataset.spectrogram=true", "metrics.every=4")
    tiny = ("model=dcgan", "model.width=4")
    sound(gan("train", *line, *SOUND, *data, *tiny, "trainer.steps=4", "hydra.run.dir=whole"))
    sound(gan("train", *line, *SOUND, *data, *tiny, "trainer.steps=2", "hydra.run.dir=cut"))
    sound(gan("train", "resume=cut", "trainer.steps=4"))
    whole, cut = last("whole"), last("cut")
    assert len(whole["config"]["dataset"]["bin_mean"]) == 16
    for key, value in whole["game"].items():
        assert torch.equal(value, cut["game"][key]), key
    one, other = (Path(f"{run}/samples/step-00000004.wav") for run in ("whole", "cut"))
    assert one.read_bytes() == other.read_bytes()
    found = json.loads(Path("whole/evaluation.json").read_text())
    assert found["values"] == json.loads(Path("cut/evaluation.json").read_text())["values"]
    assert {"fd_self", "class_accuracy", "spectral"} <= found["values"].keys()
    assert found["protocol"]["classifier_accuracy"] == 1
    sound(gan("sample", "ckpt=whole", "n=2", "out=made"))
    with wave.open("made/000001.wav") as file:
        assert file.getparams()[:4] == (1, 2, 4000, 256)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("model=wavegan", "augment=diffaug"), "augment is for images, and the data are record"),
        (("model=pix2pix",), "this model translates images, and the data are recordings"),
        (("model=textgan",), "is for text, and the data are recordings"),
        (("model=dcgan",), "dataset.spectrogram=true"),
        (("model=wavegan", "dataset.spectrogram=true"), "dataset.spectrogram=false"),
    ],
)
def test_what_does_not_suit_recordings_says_so(gan, tmp_path, words, what):
    folder = write_tones(tmp_path / "own", each=3)
    data = ("dataset=audio", "dataset.length=256", f"dataset.path={folder}")
    done = gan("train", *words, *data, "trainer.device=cpu", "hydra.run.dir=run")
    assert done.code == 2 and what in done.err
    assert not Path("run").exists()
