"""How many threads compute on a CPU, and when the machine has other work."""

from __future__ import annotations

import pytest
import torch
import train_helpers
from train_helpers import TINY, last, sound

from gancli import precision
from gancli.precision import describe_threads, use_threads

gan = pytest.fixture(train_helpers.gan)


def test_threads_are_set_and_put_back():
    with use_threads(3):
        assert torch.get_num_threads() == 3
        with use_threads("auto"):
            assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 1
    with pytest.raises(RuntimeError), use_threads(2):
        raise RuntimeError
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("count", "cores", "threads", "load", "says"),
    [
        ("auto", 2, 2, 0.9, ""),
        ("auto", 2, 2, 1.2, "about 1 of 2 cores busy"),
        ("auto", 2, 2, 2.4, "trainer.threads=1 may"),
        ("auto", 2, 1, 2.4, ""),  # one waits for nobody
        ("auto", 16, 16, 6.3, "trainer.threads=10 may"),
        ("auto", 16, 8, 6.3, ""),  # there is room
        (1, 2, 1, 5.0, ""),  # asked for
        (2, 2, 2, 5.0, ""),
        (4, 2, 4, 0.0, "trainer.threads=4, but this process may use 2 cores"),
    ],
)
def test_threads_that_would_wait_are_told(count, cores, threads, load, says, monkeypatch):
    monkeypatch.setattr(precision, "count_cores", lambda: cores)
    monkeypatch.setattr(precision, "measure_load", lambda: load)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    told = describe_threads(count)
    assert says in told and bool(told) == bool(says)


def test_a_run_has_its_threads_and_goes_on_with_them(gan):
    sound(gan("train", *TINY, "trainer.steps=1", "trainer.threads=2", "hydra.run.dir=run"))
    tree = last("run")
    assert tree["config"]["trainer"]["threads"] == 2 and tree["run"]["threads"] == 2
    assert tree["run"]["wait_policy"] == "passive"
    assert "not bit for bit" not in sound(gan("train", "resume=run", "trainer.steps=2")).err
    done = sound(gan("train", "resume=run", "trainer.steps=3", "trainer.threads=1"))
    assert "resumed with threads 1 instead of 2" in done.err
    assert torch.get_num_threads() == 1
    assert "trainer.threads" in sound(gan("train", *TINY, "trainer.threads=0"), 2).err
