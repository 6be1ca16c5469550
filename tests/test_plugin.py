"""A second user's model, loss and data set, from a folder outside the package, as the docs say."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import REPO

import gancli
from gancli.cli import main

ENV = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}


def gan(folder, *args):
    run = subprocess.run(
        [sys.executable, "-m", "gancli", *args],
        cwd=folder,
        env=ENV,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return run.returncode, run.stdout, run.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the README shows, plus a loss and a data set."""
    folder = tmp_path_factory.mktemp("mine")
    section = (REPO / "README.md").read_text().split("## Your own model")[1].split("\n## ")[0]
    python = re.search(r"```python\n(.*?)```", section, re.S)[1]
    yaml = re.search(r"```yaml\n(.*?)```", section, re.S)[1]
    (folder / "my_gan.py").write_text(
        python
        + """

import torch
from dataclasses import dataclass
from gancli.data.base import Decoded, Source
from gancli.losses.objectives import Objective


class Squared(Objective):
    def cost(self, scores, target):
        return (scores - target) ** 4


@dataclass(kw_only=True)
class Stripes(Source):
    n: int = 40

    def load(self):
        grey = torch.arange(self.n, dtype=torch.uint8).view(-1, 1, 1, 1) * 6
        images = grey.repeat(1, 1, *self.size())
        return Decoded(images=images, labels=None, classes=(), digest="stripes", skipped=())
"""
    )
    for group, name, text in (
        ("model", "tiny", yaml),
        (
            "loss",
            "squared",
            "# Fourth powers\ndefaults: [_base, _self_]\nobjective: {_target_: my_gan.Squared}\n",
        ),
        (
            "dataset",
            "stripes",
            "# Grey stripes\ndefaults: [_base, _self_]\n_target_: my_gan.Stripes\n"
            "resolution: 16\nchannels: 1\n"
            "classes: 0\n",
        ),
    ):
        (folder / "my_conf" / group).mkdir(parents=True)
        (folder / "my_conf" / group / f"{name}.yaml").write_text(text)
    return folder


@pytest.mark.full
def test_train_resume_and_sample(folder):
    mine = [
        "--config-dir",
        "my_conf",
        "model=tiny",
        "loss=squared",
        "dataset=stripes",
        "model.discriminator.width=4",
        "trainer.batch_size=8",
    ]
    code, _, err = gan(folder, "train", *mine, "trainer.steps=3", "hydra.run.dir=run")
    assert code == 0, err
    code, _, err = gan(folder, "sample", "ckpt=run", "n=2", "out=images")
    assert code == 2 and "trust=my_gan" in err and not (folder / "images").exists()
    code, _, err = gan(folder, "sample", "ckpt=run", "n=2", "out=images", "trust=my_gan")
    assert code == 0 and (folder / "images" / "000001.png").exists(), err
    code, _, err = gan(folder, "train", "resume=run", "trust=[my_gan]", "trainer.steps=4")
    assert code == 0, err


def test_list_shows_it_and_a_broken_module_is_named(folder):
    code, out, _ = gan(folder, "list", "loss", "--config-dir", "my_conf")
    assert code == 0 and "Fourth powers" in out
    (folder / "broken.py").write_text("import nothing_of_that_name\n")
    code, _, err = gan(folder, "train", "loss.objective._target_=broken.Loss")
    assert code == 2 and "nothing_of_that_name" in err and "Traceback" not in err


# games of the docs: options of their own, state, attributes, further keys

DOCS = (REPO / "docs" / "writing-your-own.md").read_text()
TINY = ("trainer.precision=fp32", "trainer.device=cpu", "trainer.batch_size=8", "metrics=none")


@pytest.fixture(scope="module")
def docs_folder(tmp_path_factory):
    """All files that docs/writing-your-own.md shows."""
    folder = tmp_path_factory.mktemp("docs")
    for name, text in re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```', DOCS, re.S | re.M):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def inside(docs_folder, monkeypatch):
    monkeypatch.chdir(docs_folder)
    monkeypatch.syspath_prepend(str(docs_folder))
    return docs_folder


def train(name, *words, steps):
    argv = ["train", "--config-dir", "my_conf", *words, *TINY]
    assert main([*argv, f"trainer.steps={steps}", f"hydra.run.dir={name}"]) == 0


def assert_same_state(one, other):
    a, b = (
        torch.load(f"{run}/checkpoints/last.pt", weights_only=True)["game"] for run in (one, other)
    )
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    return a


def test_a_game_with_state_and_an_option_of_its_own(inside, capfd):
    words = ("model=began", "model.gamma=3", "dataset.resolution=16")
    train("whole", *words, steps=12)
    train("halves", *words, steps=6)
    assert main(["train", "resume=halves", "trust=my_began", "trainer.steps=12"]) == 0
    assert assert_same_state("whole", "halves")["k"] > 0, "the buffer has moved"
    sample = ["sample", "ckpt=whole", "trust=my_began", "n=3"]
    assert main([*sample, "temperature=0.5", "out=narrow"]) == 0
    assert main([*sample, "out=wide"]) == 0
    one, other = ((inside / name / "grid.png").read_bytes() for name in ("narrow", "wide"))
    assert one != other
    model = gancli.load("whole", trust="my_began")
    assert not np.array_equal(model.sample(3, temperature=0.5), model.sample(3))
    assert np.array_equal(model.sample(3, temperature=1), model.sample(3))
    capfd.readouterr()
    for words, said in (
        ("temprature=1", "did you mean 'temperature'"),
        ("temperature=hot", "temperature='hot' does not fit"),
        ("truncation=0.5", "truncation=0.5 does not apply"),
    ):
        assert main([*sample, words, "out=refused"]) == 2
        assert said in capfd.readouterr().err and not (inside / "refused").exists()
    assert main(["sample", "ckpt=whole", "trust=my_began", "--help"]) == 0
    assert "temperature=1.0          scale of the latents" in capfd.readouterr().out
    for words, said in (("temperature=0.5", "add trust=my_began"), ("heat=0.5", "heat")):
        assert main(["sample", "ckpt=whole", words]) == 2
        assert said in capfd.readouterr().err
    with pytest.raises(gancli.UserError, match="temprature"):
        model.sample(2, temprature=1)


def test_attributes_and_further_keys_are_trained_on_and_translated_to(inside, capfd):
    words = ("model=star", "dataset=traits", "trainer.accumulate=2")
    train("star", *words, steps=6)
    train("star3", *words, steps=3)
    assert main(["train", "resume=star3", "trust=my_star", "trainer.steps=6"]) == 0
    assert_same_state("star", "star3")
    source = "input=star/samples/source.png"
    translate = ["translate", "ckpt=star", "trust=my_star", source]
    assert main([*translate, "label=[1,0,1]", "out=several"]) == 0
    assert main([*translate, "label=2", "out=one"]) == 0
    several, one = ((inside / name / "source.png").read_bytes() for name in ("several", "one"))
    assert several != one
    capfd.readouterr()
    assert main([*translate, "label=x", "out=refused"]) == 2
    assert "label='x' does not fit" in capfd.readouterr().err
    assert main(["translate", "ckpt=star", "trust=my_star", "--help"]) == 0
    assert "label=null" in capfd.readouterr().out
    assert main(["data", "--config-dir", "my_conf", "dataset=traits"]) == 0
    assert "labels    3 attributes" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model=star", "dataset=digits"), "the model needs 'stroke'"),
        (("model=cgan", "dataset=traits"), "the model takes one class each"),
    ],
)
def test_a_game_and_data_that_do_not_fit_are_refused(inside, capfd, words, said):
    argv = ["train", "--config-dir", "my_conf", *words, *TINY, "hydra.run.dir=unfit"]
    assert main(argv) == 2
    assert said in capfd.readouterr().err


def test_a_gan_of_attributes_is_sampled_with_any_of_them(inside, capfd):
    (inside / "my_attributes.py").write_text(
        "from gancli.games.gan import GAN\n\n\nclass AttributeGAN(GAN):\n    attributes = True\n"
    )
    (inside / "my_conf" / "model" / "attributes.yaml").write_text(
        "# cgan on attributes\ndefaults: [cgan, _self_]\n_target_: my_attributes.AttributeGAN\n"
    )
    train("attributes", "model=attributes", "dataset=traits", steps=2)
    sample = ["sample", "ckpt=attributes", "trust=my_attributes", "n=4"]
    pictures = {}
    for word in ("label=[1,0,0]", "label=even", "label=0", "label=[1,0,1]", "n=4"):
        assert main([*sample, word, f"out={word}", "interpolate=2"]) == 0
        pictures[word] = (inside / word / "grid.png").read_bytes()
    assert pictures["label=[1,0,0]"] == pictures["label=even"] == pictures["label=0"]
    assert len(set(pictures.values())) == 3
    capfd.readouterr()
    assert main([*sample, "label=[1,0]", "out=refused"]) == 2
    assert "takes 3 attributes (even, round, large)" in capfd.readouterr().err
    model = gancli.load("attributes", trust="my_attributes")
    assert np.array_equal(model.sample(4, label=[1, 0, 0]), model.sample(4, label="even"))
