"""A second user's model, loss and data set, from a folder outside the package: the README's section, run as written."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from helpers import REPO

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
    def judge(self, scores, target):
        return (scores - target) ** 4


@dataclass(kw_only=True)
class Stripes(Source):
    n: int = 40

    def load(self):
        images = (torch.arange(self.n).view(-1, 1, 1, 1) * 6 + torch.zeros(1, 1, *self.size())).to(torch.uint8)
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
            "# Grey stripes\ndefaults: [_base, _self_]\n_target_: my_gan.Stripes\nresolution: 16\nchannels: 1\n"
            "classes: 0\n",
        ),
    ):
        (folder / "my_conf" / group).mkdir(parents=True)
        (folder / "my_conf" / group / f"{name}.yaml").write_text(text)
    return folder


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
    code, out, err = gan(folder, "train", *mine, "trainer.steps=3", "hydra.run.dir=run")
    assert code == 0, err
    code, _, err = gan(folder, "sample", "ckpt=run", "n=2", "out=images")
    assert code == 2 and "trust=my_gan" in err and not (folder / "images").exists()
    code, _, err = gan(folder, "sample", "ckpt=run", "n=2", "out=images", "trust=my_gan")
    assert code == 0 and (folder / "images" / "000001.png").exists(), err
    code, out, err = gan(folder, "train", "resume=run", "trust=[my_gan]", "trainer.steps=4")
    assert code == 0, err


def test_list_shows_it_and_a_broken_module_is_named(folder):
    code, out, _ = gan(folder, "list", "loss", "--config-dir", "my_conf")
    assert code == 0 and "Fourth powers" in out
    (folder / "broken.py").write_text("import nothing_of_that_name\n")
    code, _, err = gan(folder, "train", "loss.objective._target_=broken.Loss")
    assert code == 2 and "nothing_of_that_name" in err and "Traceback" not in err
