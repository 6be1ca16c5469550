"""A logger of another program: it may fail or hang, and no step waits for it."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import pytest
import train_helpers
from PIL import Image
from train_helpers import TINY, last, sound

from gancli.run.logbook import Logbook
from gancli.run.loggers import choose, courier
from gancli.run.loggers.base import BestCheckpoint, Session, read_ids
from gancli.run.loggers.courier import Courier

gan = pytest.fixture(train_helpers.gan)


class Target:
    """Keeps what it is handed; `fails` names the methods that raise, `hangs` those that wait."""

    def __init__(self, *, fails: str = "", hangs: str = ""):
        self.fails = fails
        self.hangs = hangs
        self.calls: list[tuple] = []

    def take(self, name, *values):
        self.calls.append((name, *values))
        if name in self.hangs.split():
            threading.Event().wait(30)
        if name in self.fails.split():
            raise ConnectionError(f"{name} has no server")

    def start(self):
        self.take("start")
        return "somewhere"

    def add_scalars(self, step, values):
        self.take("scalars", step, dict(values))

    def add_picture(self, step, tag, image):
        self.take("picture", step, tag, image.size)

    def add_sound(self, step, tag, wav):
        self.take("sound", step, tag, wav)

    def add_text(self, step, tag, text):
        self.take("text", step, tag, text)

    def note_best(self, best):
        self.take("best", best.describe())

    def finish(self, *, failed):
        self.take("finish", failed)


def test_entries_come_in_their_order_and_the_end_says_how_it_went(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="gancli")
    target = Target()
    book = Logbook(tmp_path, step=0, tensorboard=False, couriers=[Courier("stub", target)])
    with pytest.raises(ZeroDivisionError), book:
        book.add_scalars(2, 16, {"d/adv": 1.5})
        book.add_picture(2, "samples", Image.new("RGB", (4, 3)))
        book.add_text("samples", "hello", step=2)
        book.add_sound(2, "samples", b"RIFF")
        book.note_best(BestCheckpoint("swd", 3.0, 2, tmp_path / "best.pt"))
        raise ZeroDivisionError
    assert target.calls == [
        ("start",),
        ("scalars", 2, {"d/adv": 1.5}),
        ("picture", 2, "samples", (4, 3)),
        ("text", 2, "samples", "hello"),
        ("sound", 2, "samples", b"RIFF"),
        (
            "best",
            {"best/swd": 3.0, "best/step": 2, "best/checkpoint": str(tmp_path / "best.pt")},
        ),
        ("finish", True),
    ]
    assert "stub: somewhere" in caplog.messages


@pytest.mark.parametrize(
    ("fails", "said", "calls"),
    [("start", "cannot be started", 1), ("scalars", "cannot be written", 4)],
)
def test_what_raises_is_said_once_and_given_up(caplog, fails, said, calls):
    caplog.set_level(logging.INFO, logger="gancli")
    target = Target(fails=fails)
    carrier = Courier("stub", target)
    for step in range(6):
        carrier.add_scalars(step, {"a": 1.0})
    carrier.close(failed=False)
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    reason = f"ConnectionError: {fails} has no server"
    assert [record.getMessage() for record in told] == [
        f"stub {said} ({reason}); training goes on without it"
    ]
    assert told[0].exc_info, "run.log has the traceback"
    assert len(target.calls) == calls, "after three failures it is asked no more"


def test_one_that_hangs_is_left_behind(caplog, monkeypatch):
    monkeypatch.setattr(courier, "CLOSE_WITHIN_S", 0.05)
    monkeypatch.setattr(courier, "MOST_WAITING", 3)
    carrier = Courier("stub", Target(hangs="start scalars"))
    for step in range(6):
        carrier.add_scalars(step, {"a": 1.0})
    carrier.close(failed=False)
    assert caplog.messages[-1].startswith("stub does not answer; ")


def test_a_run_whose_logger_fails_or_hangs_ends_well(gan, monkeypatch):
    monkeypatch.setattr(courier, "CLOSE_WITHIN_S", 0.05)
    made = []

    def start(folder, config, *, step):
        targets = (Target(), Target(fails="scalars"), Target(hangs="start"))
        made.append(targets)
        return [Courier(f"stub{n}", target) for n, target in enumerate(targets)]

    monkeypatch.setattr(choose, "start_couriers", start)
    words = ("trainer.steps=3", "log.every=1", "log.sample_every=2", "hydra.run.dir=run")
    done = sound(gan("train", *TINY, *words))
    assert done.err.count("stub1 cannot be written (ConnectionError") == 1
    assert done.err.count("stub2 does not answer") == 1
    assert last("run")["progress"]["step"] == 3
    names = [call[0] for call in made[0][0].calls]
    assert names.count("scalars") == 3 and "picture" in names and names[-1] == "finish"


def test_the_ids_of_the_loggers_are_kept_side_by_side(tmp_path):
    session = Session(tmp_path, 0, {})
    session.keep_id("wandb", "a-1")
    session.keep_id("mlflow", "b-2")
    assert read_ids(tmp_path) == {"wandb": "a-1", "mlflow": "b-2"}
    (tmp_path / "loggers.json").write_text('["x"')
    assert read_ids(tmp_path) == {}
    assert session.make_id() != session.make_id()


def test_what_the_choice_writes_in_the_run_folder(gan):
    few = (*TINY, "log.tensorboard=true", "trainer.steps=1")
    for name in ("tensorboard", "none"):
        sound(gan("train", *few, f"logger={name}", f"hydra.run.dir={name}"))
    found = {
        name: {path.name for path in Path(name).iterdir()}
        & {"metrics.jsonl", "tensorboard", "loggers.json"}
        for name in ("tensorboard", "none")
    }
    assert found == {
        "tensorboard": {"metrics.jsonl", "tensorboard"},
        "none": set(),
    }


def test_a_resumed_run_may_take_another_logger(gan, tmp_path):
    few = (*TINY, "log.every=1", "log.tensorboard=true", "hydra.run.dir=run")
    sound(gan("train", *few, "trainer.steps=1", "logger=jsonl"))
    sound(gan("train", "resume=run", "trainer.steps=2", "logger=none"))
    assert not (tmp_path / "run" / "tensorboard").exists()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1]
    assert last("run")["config"]["logger"] == {}
