"""The config of a checkpoint becomes a RunConfig: an older one is completed, a broken
one is told.
"""

from __future__ import annotations

import copy

import pytest
from helpers import frozen

from gancli.config.run_config import RunConfig
from gancli.errors import Problems
from gancli.run.resume import read_config


@pytest.fixture(scope="module")
def stored():
    return frozen("model=mlp", "trainer.device=cpu", "trainer.precision=fp32")


def test_a_config_as_it_is_stored_today(stored):
    config = read_config(stored)
    assert config == RunConfig.from_plain(stored) and config.plain() == stored


def test_what_an_older_run_had_not_is_added_and_the_file_stays_as_it_is(stored):
    older = {k: v for k, v in stored.items() if k not in ("metrics", "watch", "perceptual")}
    before = copy.deepcopy(older)
    config = read_config(older)
    assert config.metrics.items == () and config.watch.action == "off"
    assert config.perceptual is None and config.trainer.steps == stored["trainer"]["steps"]
    assert older == before


@pytest.mark.parametrize(
    ("section", "change", "said"),
    [
        ("trainer", {"stepz": 1}, "unknown key trainer.stepz"),
        ("trainer", {"steps": "many"}, "trainer.steps='many' does not fit"),
        ("ema", None, "the stored config has no ema"),
    ],
)
def test_what_no_run_writes_is_told(stored, section, change, said):
    broken = copy.deepcopy(stored)
    if change is None:
        del broken[section]
    else:
        broken[section] |= change
    with pytest.raises(Problems) as caught:
        read_config(broken)
    assert said in str(caught.value)
