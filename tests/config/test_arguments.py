"""The words of a command line: what needs no quotes, what a sweep varies."""

from __future__ import annotations

import pytest

from gancli.config import compose as config
from gancli.config.arguments import list_variants, quote_value, split_args
from gancli.errors import UserError


@pytest.mark.parametrize(
    "value",
    [
        "a b/c",
        "a/epoch=3.pt",
        "ü/ñ 日本",
        "it's",
        'say "x"',
        "a,b",
        "back\\slash",
        "end\\",
        "(x)",
        "x:y",
        "a@b",
        "n" * 300,
        "100%",
        "#1",
        "5",
        "true",
    ],
)
@pytest.mark.parametrize("key", ["ckpt", "out"])
def test_paths_need_no_quoting(key, value):
    composed = config.compose("sample", ["ckpt=x", f"{key}={value}"])
    assert composed.cfg[key] == value


def test_paths_that_are_quoted_or_null_stay_as_they_are():
    assert quote_value("out='a b'") == "out='a b'"
    assert quote_value("out=null") == "out=null"
    assert quote_value("seed=a b") == "seed=a b"
    assert quote_value("dataset.path=a b,c", sweep=True) == "dataset.path='a b','c'"
    assert config.compose("sample", ["ckpt=x", "out=null"]).cfg.out is None


def test_a_number_of_a_label_stays_a_number():
    assert quote_value("label=3") == "label=3" and quote_value("label=甲类") == "label='甲类'"
    assert quote_value("name=甲,乙", sweep=True) == "name='甲','乙'"


def test_variants_show_every_value_without_the_product():
    lines = list(list_variants(["loss=a,b", "seed=1,2,3", "x=5", "lr=interval(0,1)"]))
    assert lines[0] == ["loss=a", "seed=1", "x=5"] and len(lines) == 4
    assert ["loss=a", "seed=3", "x=5"] in lines


@pytest.mark.parametrize("flags", [["--cfg", "job", "--info"], ["-m", "--cfg=job"]])
def test_flags_that_contradict(flags):
    with pytest.raises(UserError, match="do not go together"):
        split_args(flags)
