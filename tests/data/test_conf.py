"""Every option of the group `dataset` says what it is, suits its class, and can be built."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from gancli.config.build import build, find_problems, locate
from gancli.data.base import Source

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = sorted(path.stem for path in (CONF / "dataset").glob("[!_]*.yaml"))
DECLARED = (
    "kind",
    "resolution",
    "channels",
    "classes",
    "limit",
    "holdout",
    "load_size",
    "flip",
    "on_error",
    "workers",
)


def composed(option: str, *overrides: str) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(overrides=[f"+dataset={option}", *overrides])
    return OmegaConf.to_container(cfg.dataset, resolve=True)


FILES = (
    "folder",
    "paired",
    "unpaired",
    "superres",
    "masked",
    "degraded",
    "outlined",
    "incomplete",
    "series",
    "text",
    "audio",
    "posed",
)
SEQUENCES = ("sines", "ar1", "sunspots", "names", "oracle")
OF_THE_DATA = ("resolution", "channels", "classes", "flip", "path")
LATER = {"overlap": 0.0}  # configs of older checkpoints lack it, and go on as they were
LATER_IN_FOLDERS = {"label": "folders", "split": None}  # the same


def test_the_options():
    named = [
        "digits",
        "mnist",
        "fashion_mnist",
        "kmnist",
        "cifar10",
        "cifar100",
        "stl10",
        "svhn",
        "celeba",
        "lsun",
    ]
    assert set(OPTIONS) >= {*named, "folder", "ring", "grid"}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option(option, monkeypatch):
    monkeypatch.delenv("GANCLI_DATA", raising=False)
    first = (CONF / "dataset" / f"{option}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ") and 40 < len(first) <= 125
    spec = composed(option, *(["dataset.path=x"] if option in FILES else []))
    assert [key for key in DECLARED if key in spec] == list(DECLARED)
    assert find_problems(spec, where="dataset", trust=None) == []
    cls = locate(spec["_target_"], trust=None)
    assert issubclass(cls, Source) and set(spec) - {"_target_"} == set(
        inspect.signature(cls).parameters
    )
    source = build(spec, where="dataset", trust=None)
    assert (option in (*FILES, "oracle")) == ("auto" in source.declared().values())
    later = LATER | (LATER_IN_FOLDERS if option == "folder" else {})
    for key, parameter in inspect.signature(cls).parameters.items():
        if key not in OF_THE_DATA:
            assert later.get(key, spec[key]) == parameter.default, f"{key} has two defaults"
    if option not in (*FILES, *SEQUENCES, "lsun", "celeba", "ring", "grid", "digits", "figures"):
        assert cls.native[1:] == (spec["channels"], spec["classes"])


def test_types_are_checked():
    for override in (
        "dataset.limit=many",
        "dataset.flip=3",
        "dataset.split=all",
        "dataset.resolution=2.5",
    ):
        assert len(find_problems(composed("mnist", override), where="dataset", trust=None)) == 1, (
            override
        )
    for override in ("dataset.on_error=3", "dataset.kind=1", "dataset.path=7"):
        assert (
            len(
                find_problems(
                    composed("folder", "dataset.path=x", override), where="dataset", trust=None
                )
            )
            == 1
        ), override
    assert (
        find_problems(composed("mnist", "dataset.resolution=[32,64]"), where="dataset", trust=None)
        == []
    )


def test_the_root_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("GANCLI_DATA", "/somewhere")
    assert composed("mnist")["root"] == "/somewhere"
    monkeypatch.delenv("GANCLI_DATA")
    assert composed("mnist")["root"] == "data"
