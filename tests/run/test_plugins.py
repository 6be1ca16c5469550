"""A run remembers the source of the user's own code, and says where it has changed since."""

from __future__ import annotations

from pathlib import Path

import pytest
import train_helpers
from train_helpers import TINY, last, sound, train_once

from gancli.checkpoint import read
from gancli.run.plugins import list_source_files, warn_of_changes

gan, package = map(pytest.fixture, (train_helpers.gan, train_helpers.package))
WORDS = "has changed since this run was saved"


@pytest.fixture
def plugin(package):
    return package("class Mine(GAN):\n    pass")


def test_changed_source_is_said_once_on_resume(gan, plugin):
    model = f"model._target_={plugin}.Mine"
    sound(gan("train", *TINY, model, "trainer.steps=1", "hydra.run.dir=run"))
    assert list(last("run")["run"]["sources"]) == [plugin]
    resume = ("train", "resume=run", f"trust={plugin}")
    assert WORDS not in sound(gan(*resume, "trainer.steps=2")).err
    file = Path(f"{plugin}.py")
    file.write_text(file.read_text() + "# another line\n")
    done = sound(gan(*resume, "trainer.steps=3"))
    assert done.err.count(WORDS) == 1 and plugin in done.err
    assert WORDS in Path("run/run.log").read_text()
    assert WORDS not in sound(gan(*resume, "trainer.steps=4")).err  # it is the new code's run now


def test_a_run_without_own_code_has_no_sources(gan):
    train_once(gan, *TINY, "trainer.steps=1")
    assert read(Path("run/checkpoints/last.pt"))["run"]["sources"] == {}


def test_a_checkpoint_from_before_is_taken_in_silence(caplog):
    for saved in ({}, {"sources": None}, {"sources": {}}, {"sources": {"other": "x"}}):
        warn_of_changes(saved, {"mine": "y"})
    assert not caplog.records


def test_every_file_of_a_package_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("__init__", "nets", "deep/__init__", "deep/layers"):
        path = tmp_path / "many_files_of_mine" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    __import__("many_files_of_mine")
    names = [name for _, name in list_source_files("many_files_of_mine")]
    assert names == ["__init__.py", "deep/__init__.py", "deep/layers.py", "nets.py"]
    assert list_source_files("never_imported") == []
