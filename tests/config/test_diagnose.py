"""A key that a user's class takes and its YAML file lacks is added as gate 1 says."""

from __future__ import annotations

import shlex

import pytest
import train_helpers
from train_helpers import TINY, sound

gan, package = map(pytest.fixture, (train_helpers.gan, train_helpers.package))


def test_an_argument_that_no_yaml_file_has_is_added(gan, package, tmp_path):
    mine = package("""
        class Mine(GAN):
            def __init__(self, *, patience: float = 1.0, **base):
                super().__init__(**base)
        """)
    conf = tmp_path / "my_conf" / "model"
    conf.mkdir(parents=True)
    (conf / "mine.yaml").write_text(f"# Mine\ndefaults: [mlp, _self_]\n_target_: {mine}.Mine\n")
    words = ("--config-dir", "my_conf", *TINY, "model=mine", "trainer.steps=1")
    done = sound(gan("train", *words, "model.patience=2.5"), 2)
    (said,) = [line for line in done.err.splitlines() if "hands it to" in line]
    added = shlex.split(said)[0]
    assert added == "+model.patience=2.5" and f"{mine}.Mine" in said
    sound(gan("train", *words, added))
    refused = sound(gan("train", *words, "+model.patients=2.5"), 2)  # no argument of it
    assert "takes no 'patients'" in refused.err
    typo = sound(gan("train", *words, "model.conditinal=true"), 2)
    own = sound(gan("train", *TINY, "model.nonsense=1"), 2)
    assert "hands it to" not in typo.err + own.err
