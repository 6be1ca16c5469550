"""What a paper reports for an experiment: data with a schema, printed with its meaning."""

from __future__ import annotations

import json
import re

import pytest
from helpers import frozen, small, trainer_for

from gancli import checkpoint
from gancli.commands.list import main as list_options_of
from gancli.config.compose import compose
from gancli.config.folders import find_conf_dir, list_options
from gancli.config.published import (
    describe_published,
    find_changed_keys,
    find_published_problems,
    is_free,
)
from gancli.errors import Problems
from gancli.run.resume import FREE, compare_configs, read_config

ENTRY = {"metric": "fid", "value": 4.16, "n": 50000, "reference": "training images", "source": "x"}
FILES = list_options([find_conf_dir()])["experiment"]


def published_of(*words: str) -> object:
    return compose("train", [*words]).cfg.published


def test_a_number_is_told_with_its_direction_and_its_measurement():
    told = describe_published(ENTRY | {"features": "VGG"})
    assert told == "FID 4.16 (lower is better, 50,000 samples, against training images, VGG): x"
    told = describe_published({"metric": "psnr", "value": 18.58, "source": "a paper"})
    assert told == "PSNR 18.58 dB (higher is better): a paper"


@pytest.mark.parametrize(
    ("published", "says"),
    [
        (3, "is no list"),
        ([ENTRY | {"metric": "fit"}], r"published\[0\].metric"),
        ([ENTRY, {"metric": "is", "value": 3}], r"published\[1\].source is missing"),
        ([ENTRY | {"value": "many"}], r"published\[0\].value"),
        ([ENTRY | {"n": 0}], r"published\[0\].n=0"),
        ([ENTRY | {"split": "test"}], r"unknown key published\[0\].split"),
        ([3], r"published\[0\]=3"),
    ],
)
def test_what_does_not_fit_is_refused(published, says):
    assert re.search(says, str(find_published_problems(published)))


def test_a_file_of_the_users_own_is_checked_too():
    assert find_published_problems(None) == find_published_problems([ENTRY]) == []
    with pytest.raises(Problems, match="published"):
        frozen("model=mlp", "published=[{metric: fid, value: 3}]")
    assert frozen("model=mlp")["published"] is None


SAME = ["seed=3", "dataset.root=elsewhere", "trainer.device=cpu", "log.every=5", "trainer.keep=9"]


def test_they_stay_while_the_run_is_the_papers():
    words = ["experiment=sngan_cifar10", *SAME, "trainer.steps=250000", "metrics=none"]
    composed = compose("train", words)
    assert composed.cfg.published[0].value == 21.7 and composed.notes == []


@pytest.mark.parametrize(
    "word",
    [
        "trainer.steps=100",
        "model.width=8",
        "model=dcgan",
        "loss=lsgan",
        "dataset=svhn",
        "dataset.limit=50",
        "optimizer.g.lr=1e-3",
        "+penalty@loss.penalties.r1=r1",
    ],
)
def test_they_are_dropped_and_that_is_said_where_it_is_another_run(word):
    composed = compose("train", ["experiment=sngan_cifar10", *SAME, word])
    assert composed.cfg.published is None
    assert any(
        note.startswith("the published numbers of experiment=sngan_cifar10 are left out: ")
        and word in note
        and "seed" not in note
        for note in composed.notes
    )


def test_resume_auto_overlooks_them():
    config = frozen("model=mlp")
    other = config | {"published": [ENTRY]}
    assert compare_configs(config, other, overlooked=FREE) == {}
    without = {key: value for key, value in config.items() if key != "published"}
    assert compare_configs(without, config, overlooked=FREE) == {}, (
        "a run from before there were any"
    )


def test_a_checkpoint_holds_them(tmp_path):
    trainer = trainer_for(small("mlp", "published=[{metric: fid, value: 3, source: x}]"))
    path = checkpoint.save(trainer.state_dict(), tmp_path, keep=1)
    stored = checkpoint.load_game(str(path)).tree["config"]
    assert stored["published"] == [{"metric": "fid", "value": 3, "source": "x"}]
    assert read_config(stored).published[0]["value"] == 3
    assert read_config({k: v for k, v in stored.items() if k != "published"}).published is None
    with pytest.raises(Problems, match="published"):
        read_config(stored | {"published": [{"metric": "fid"}]})


def test_which_keys_are_free():
    assert all(
        map(is_free, ["seed=1", "log.every=3", "metrics.n=5", "dataset.path=x", "+trust=[a]"])
    )
    assert not any(map(is_free, ["trainer.steps=1", "model=mlp", "dataset.limit=3", "named=1"]))
    assert find_changed_keys({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}, "d": 4}) == [
        "a.b",
        "d",
    ]


def test_the_list_of_experiments_tells_them(capsys):
    list_options_of(["experiment"])
    out = capsys.readouterr().out
    line = out.index("  biggan_cifar10 ")
    assert re.match(r"  biggan_cifar10 [^\n]*\n +published: FID 4.16 \(lower is", out[line:])
    list_options_of(["experiment", "--json"])
    whole = json.loads(capsys.readouterr().out)
    assert whole["published"]["biggan_cifar10"][0]["value"] == 4.16
    assert whole["published"]["biggan_cifar10_wide"] == []
    list_options_of(["loss"])
    assert "published" not in capsys.readouterr().out
