"""gancli from Python: what its calls return, that they agree with the commands and keep quiet."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import train_helpers
from helpers import PAIRS, REPO, SMALL, frozen
from PIL import Image
from train_helpers import ENV, TINY, sound

import gancli
from gancli.config.build import build
from gancli.config.compose import compose
from gancli.config.validate import validate
from gancli.run.session import run_session

gan = pytest.fixture(train_helpers.gan)
CONDITIONAL = (*TINY, "model.conditional=true", "trainer.steps=4", "log.every=2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A conditional model, trained by a call."""
    return gancli.train(*CONDITIONAL, f"hydra.run.dir={tmp_path_factory.mktemp('runs') / 'run'}")


def test_import_is_light_and_names_are_known():
    code = (
        "import sys, gancli; assert set(gancli.__all__) <= set(dir(gancli)); "
        "assert not {'torch', 'hydra', 'numpy', 'rich', 'gancli.run'} & set(sys.modules); "
        "gancli.UserError; assert 'torch' not in sys.modules; "
        "from gancli import compose, RunConfig; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=ENV, cwd=REPO)


def test_every_public_name_is_found():
    for name in gancli.__all__:
        assert getattr(gancli, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        gancli.trian  # noqa: B018


def test_composed_config_is_frozen_and_whole():
    config = gancli.compose(*CONDITIONAL)
    plain = frozen(*CONDITIONAL)
    assert config == validate(compose("train", CONDITIONAL).cfg) and config.plain() == plain
    assert gancli.RunConfig.from_plain(plain) == config
    assert config.trainer.steps == 4 and config.model["generator"]["hidden"] == (16,)
    with pytest.raises(AttributeError):
        config.trainer.steps = 5
    with pytest.raises(TypeError):
        config.model["generator"]["hidden"] = (8,)
    config.plain()["model"]["generator"]["hidden"].append(1)
    assert config.plain() == plain


def test_a_run_tells_what_stands_in_its_folder(trained):
    assert trained.step == 4 and trained.config.trainer.steps == 4
    assert [line["step"] for line in trained.metrics()] == [2, 4]
    assert trained.evaluation() is None
    again = gancli.Run(str(trained.folder))
    assert again == trained
    with pytest.raises(gancli.UserError, match="holds no checkpoint"):
        gancli.Run(trained.folder / "samples").step  # noqa: B018


def test_calls_print_nothing_unless_asked(trained, tmp_path, capfd):
    words = (*CONDITIONAL, f"hydra.run.dir={tmp_path / 'quiet'}")
    gancli.train(*words)
    model = trained.load()
    model.sample(2)
    model.project(model.sample(1)[0], steps=2)
    gancli.evaluate(trained.folder, "metrics.items=[swd]", "n=16")
    assert capfd.readouterr() == ("", "")
    gancli.train(f"resume={tmp_path / 'quiet'}", "trainer.steps=6", quiet=False)
    assert "6/6" in "".join(capfd.readouterr())


def test_warnings_are_pythons(tmp_path):
    with pytest.warns(UserWarning, match="warmup_kimg=9 is longer than the run"):
        gancli.train(
            *TINY,
            "trainer.steps=1",
            "optimizer.g.warmup_kimg=9",
            f"hydra.run.dir={tmp_path / 'run'}",
        )
    assert "warmup_kimg=9" in (tmp_path / "run/run.log").read_text()


def test_it_trains_in_another_thread(tmp_path):
    found = []

    def train() -> None:
        found.append(gancli.train(*TINY, "trainer.steps=2", f"hydra.run.dir={tmp_path / 'run'}"))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found and found[0].step == 2


def test_a_complete_run_is_given_back(trained):
    assert gancli.train(f"resume={trained.folder}") == trained
    where = f"hydra.run.dir={trained.folder}"
    assert gancli.train(*CONDITIONAL, where, "resume=auto") == trained


def test_samples_are_those_of_the_command(trained, gan, tmp_path):
    sound(gan("sample", f"ckpt={trained.folder}", "n=5", "seed=3", "device=cpu", "out=images"))
    written = [np.asarray(Image.open(tmp_path / f"images/{k:06d}.png")) for k in range(5)]
    model = trained.load(device="cpu")
    images = model.sample(5, seed=3)
    assert images.dtype == np.uint8 and images.shape == (5, 8, 8, 1)
    assert (images[..., 0] == np.stack(written)).all()
    assert not (model.sample(5, seed=4) == images).all()
    one = model.sample(2, seed=3, label=1)
    assert (one == model.sample(2, seed=3, label="1")).all()
    assert (model.sample(2, seed=3, label=np.int64(1)) == one).all()
    assert not model.generator.training and not any(
        p.requires_grad for p in model.generator.parameters()
    )


def test_the_ends_of_an_interpolation_are_samples(trained):
    model = trained.load(device="cpu")
    rows = model.interpolate(2, steps=3, seed=5, label=2)
    assert rows.shape == (2, 3, 8, 8, 1)
    for column, seed in ((0, 5), (2, 6)):
        ends = model.sample(2, seed=seed, label=2).astype(int)
        assert abs(rows[:, column] - ends).max() <= 1  # batches of another size may round otherwise


def test_points_come_in_the_units_of_their_data(tmp_path):
    run = gancli.train(
        "model=mlp",
        "dataset=ring",
        "metrics=none",
        "trainer.steps=2",
        "log.tensorboard=false",
        "model.generator.hidden=[8]",
        "model.discriminator.hidden=[8]",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    model = run.load(device="cpu")
    points = model.sample(7)
    assert points.dtype == np.float32 and points.shape == (7, 2)
    assert len(model.features(points)) == 7
    with pytest.raises(gancli.UserError, match="makes points"):
        model.project(np.zeros((2, 2), np.uint8))


def test_pictures_of_every_form_are_seen_alike(trained, tmp_path):
    model = trained.load(device="cpu")
    images = model.sample(3)
    files = []
    for k, image in enumerate(images):
        files.append(tmp_path / f"{k}.png")
        Image.fromarray(image[..., 0]).save(files[-1])
    features = model.features(images)
    assert features.dtype == np.float32 and len(features) == 3
    assert (model.features(files) == features).all()
    alone = model.features([str(files[0])])  # batches of another size round otherwise
    assert np.allclose(alone, features[:1], atol=1e-5)
    assert (model.features([Image.open(file) for file in files]) == features).all()
    assert model.features([np.zeros((20, 30, 3), np.uint8)]).shape == features[:1].shape


def test_features_are_those_of_the_command(trained, gan, tmp_path):
    sound(gan("features", f"ckpt={trained.folder}", "n=12", "device=cpu", "out=features"))
    with np.load(tmp_path / "features/features.npz") as written:
        names, features = written["names"], written["features"]
    data = build(trained.config.plain()["dataset"]).load()
    images = data.images[[int(name) for name in names]].permute(0, 2, 3, 1).numpy()
    assert np.allclose(trained.load(device="cpu").features(images), features, atol=1e-5)


def test_projection_comes_nearer(trained):
    model = trained.load(device="cpu")
    steps = []
    found = model.project(
        model.sample(1, seed=9)[0],
        steps=30,
        label=1,
        on_step=lambda step, distance: steps.append(step),
    )
    assert steps == list(range(1, 31))
    assert found.distance < found.start_distance and found.measure == "pixels"
    assert found.image.shape == (8, 8, 1) and found.image.dtype == np.uint8
    assert found.inputs["label"].item() == 1


def test_translations_are_those_of_the_command(gan, tmp_path):
    run = gancli.train(
        "model=pix2pix",
        *SMALL["pix2pix"],
        f"dataset.path={PAIRS}",
        "trainer.steps=1",
        "trainer.batch_size=2",
        "trainer.precision=fp32",
        "log.tensorboard=false",
        "metrics=none",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    source = tmp_path / "source.png"
    Image.open(next(Path(PAIRS).iterdir())).crop((0, 0, 16, 16)).save(source)
    sound(gan("translate", f"ckpt={run.folder}", f"input={source}", "device=cpu", "out=made"))
    model = run.load(device="cpu")
    made = model.translate(source)
    assert (made == np.asarray(Image.open(tmp_path / "made/source.png"))).all()
    assert model.translate(np.zeros((24, 20), np.uint8)).shape == (24, 20, 3)
    with pytest.raises(gancli.UserError, match="out of images") as told:
        model.sample(2)
    assert told.value.hint == "use translate(image)"
    with pytest.raises(gancli.UserError, match="takes no mask"):
        model.translate(source, mask=source)
    with pytest.raises(gancli.UserError, match="scores no single images"):
        model.features([source])


def test_an_evaluation_is_what_its_file_holds(trained):
    numbers = gancli.evaluate(trained.folder, "metrics.items=[swd]", "n=16", "device=cpu")
    written = json.loads(Path(numbers["file"]).read_text())
    assert Path(numbers["file"]).parent == trained.folder / "evaluations"
    assert {key: written[key] for key in ("step", "values", "protocol", "skipped")} == {
        key: numbers[key] for key in ("step", "values", "protocol", "skipped")
    }
    assert numbers["values"]["swd"] > 0 and numbers["protocol"]["n_fake"] == 16


def test_errors_tell_a_message_and_a_hint(trained, tmp_path):
    with pytest.raises(gancli.UserError) as told:
        gancli.compose("model=mlp", "trainer.stesp=3")
    assert told.value.message == "unknown key 'trainer.stesp'"
    assert told.value.hint == "did you mean 'trainer.steps'?"
    assert told.value.__notes__ == [told.value.hint]
    with pytest.raises(gancli.UserError) as told:
        gancli.compose("model=mpl", "trainer.stesp=3")
    assert "model=" in told.value.hint or "mpl" in told.value.hint
    assert "did you mean 'trainer.steps'?" in told.value.hint
    with pytest.raises(gancli.UserError, match="does not exist"):
        gancli.load(tmp_path / "nothing")
    with pytest.raises(gancli.UserError, match="does not exist"):
        gancli.evaluate(tmp_path / "nothing")
    model = trained.load()
    for call in (
        lambda: model.sample(0),
        lambda: model.sample(2, label="cat"),
        lambda: model.sample(2, label=10),
        lambda: model.interpolate(2, steps=1),
        lambda: model.project("nothing.png"),
        lambda: model.project(np.zeros((8, 8, 1), np.uint8), steps=0),
        lambda: model.project(np.zeros((8, 8, 1), np.float32)),
        lambda: model.project(np.zeros((8, 8, 1), np.uint8), space="w"),
        lambda: model.features([]),
        lambda: model.features("a.png"),
        lambda: model.features(np.zeros((8,), np.uint8)),
        lambda: model.translate("a.png"),
        lambda: gancli.train("-m", "seed=1,2"),
    ):
        with pytest.raises(gancli.UserError), warnings.catch_warnings():
            call()


def test_the_command_and_the_call_train_alike(trained, tmp_path):
    words = [*CONDITIONAL, f"hydra.run.dir={tmp_path / 'run'}"]
    other = gancli.Run(run_session(compose("train", words)).folder)
    mine = trained.load(device="cpu").generator.state_dict()
    theirs = other.load(device="cpu").generator.state_dict()
    assert all((mine[key] == theirs[key]).all() for key in mine)
