"""What the tests of evaluations share: a cache of their own, specs, a game that shows given images,
and a short budget.
"""

from __future__ import annotations

import functools
import tempfile

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from gancli.config.compose import compose
from gancli.config.run_config import make_closed
from gancli.config.schema import MetricsConfig
from gancli.data.base import Decoded, split
from gancli.data.builtin import Digits
from gancli.game import Game
from gancli.metrics import classifier, store

CPU = torch.device("cpu")


@functools.cache
def shared_cache() -> str:
    return tempfile.mkdtemp(prefix="gancli-test-cache-")


@pytest.fixture
def digits_cache(monkeypatch):
    """A cache for the whole session, in which the classifier of the digits is trained once, in
    full.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", shared_cache())
    store.forget()


@pytest.fixture
def hasty(monkeypatch, tmp_path):
    """An empty cache, and classifiers that hardly learn: for what does not depend on how good they
    are.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(classifier, "SEEN", (640, 640))
    store.forget()
    yield
    store.forget()


def spec(option: str = "fast", **changes) -> dict:
    """The part `metrics` of a config, with fewer directions."""
    found = OmegaConf.to_container(compose("evaluate", [f"metrics={option}"]).cfg)["metrics"]
    return found | {"swd_patches": 16, "swd_directions": 32, "pairs": 20} | changes


def metrics_of(option: str = "fast", **changes) -> MetricsConfig:
    """As `spec`, in the form that an evaluation takes."""
    return make_closed(MetricsConfig, spec(option, **changes))


@functools.cache
def digits(resolution: int = 32) -> Decoded:
    return Digits(resolution=resolution).load()


@functools.cache
def halves() -> tuple[Decoded, Decoded]:
    """1,000 digits to train on, 797 held out; whoever trains a classifier in full takes these, so
    that one will do.
    """
    return split(digits(), limit=None, holdout=797)


def part(data: Decoded, first: int, last: int) -> Decoded:
    return data.subset(torch.arange(first, last))


class Showing(Game):
    """A game that shows given images (N,C,H,W) in [-1,1] in turn, instead of samples."""

    def __init__(self, images, labels=None):
        super().__init__(generator=nn.Linear(1, 1), discriminator=None, loss=None)
        self.images = images
        self.labels = labels
        self.shown = 0

    @property
    def needs(self):
        return ("image",) if self.labels is None else ("image", "label")

    def inputs(self, n, rng, *, label=None):
        if self.labels is None:
            return {"index": torch.arange(n) % len(self.images)}
        of_class = [(self.labels == k).nonzero()[:, 0] for k in range(int(self.labels.max()) + 1)]
        return {
            "index": torch.stack(
                [of_class[k][i % len(of_class[k])] for i, k in enumerate(label.tolist())]
            ),
            "label": label,
        }

    def sample(self, inputs, generator):
        return self.images[inputs["index"]]


def showing(data: Decoded, *, labelled: bool = False) -> Showing:
    images = data.images.float() / 127.5 - 1 if data.images.dtype == torch.uint8 else data.images
    return Showing(images, data.labels if labelled else None)
