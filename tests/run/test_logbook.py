"""What a run writes: strict lines, one curve over resumes, and disks that fail without stopping
anything.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
import warnings

import pytest
from PIL import Image

from gancli.errors import GanError, TemporaryFailure, UserError
from gancli.run import logbook
from gancli.run.logbook import Logbook
from gancli.run.runlog import keep_early_log, run_log

logger = logging.getLogger("gancli")


def lines(folder) -> list[dict]:
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return [
        json.loads(line, parse_constant=refuse)
        for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


def curves(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(folder / "tensorboard"))
        events.Reload()
    return events


def play(folder, start: int, stop: int, *, sign: int = 1) -> None:
    book = Logbook(folder, step=start)
    for step in range(start + 1, stop + 1):
        book.add_scalars(step, step * 64, {"d/adv": sign * step / 8})
    book.close()


@pytest.fixture
def warned(caplog):
    caplog.set_level(logging.WARNING, logger="gancli")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_line_holds_the_clock_and_the_values(tmp_path):
    book = Logbook(tmp_path, step=0, tensorboard=False)
    book.add_scalars(50, 3200, {"d/adv": 1.25, "g/adv": 0.1})
    assert list(tmp_path.iterdir()) == [tmp_path / "metrics.jsonl"]
    (line,) = lines(tmp_path)
    assert list(line) == ["step", "nimg", "time", "d/adv", "g/adv"]
    assert (
        line["step"] == 50
        and line["nimg"] == 3200
        and line["d/adv"] == 1.25
        and line["g/adv"] == 0.1
    )
    assert 0 <= line["time"] < 5 and line["time"] == round(line["time"], 3)
    with pytest.raises(AssertionError):
        book.add_scalars(51, 3264, {"step": 1.0})


def test_values_that_json_lacks_become_null(tmp_path):
    book = Logbook(tmp_path, step=0)
    book.add_scalars(1, 64, {"a": float("nan"), "b": float("inf"), "c": float("-inf"), "d": 1e-300})
    assert lines(tmp_path)[0] | {"time": 0} == {
        "step": 1,
        "nimg": 64,
        "time": 0,
        "a": None,
        "b": None,
        "c": None,
        "d": 1e-300,
    }
    value = curves(tmp_path).Scalars("b")[0].value
    assert value == float("inf"), "TensorBoard can show it"


def test_a_resume_cuts_later_lines_and_a_torn_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        "".join(
            json.dumps({"step": s, "nimg": s, "time": 100.0 + s, "d/adv": 1.0}) + "\n"
            for s in (2, 4, 6, 8)
        )
        + '{"step": 10, "nim'
    )
    book = Logbook(tmp_path, step=6, tensorboard=False)
    assert [line["step"] for line in lines(tmp_path)] == [2, 4, 6]
    book.add_scalars(8, 8, {"d/adv": 2.0})
    assert [(line["step"], line["d/adv"]) for line in lines(tmp_path)] == [
        (2, 1),
        (4, 1),
        (6, 1),
        (8, 2),
    ]
    assert 106.0 <= lines(tmp_path)[-1]["time"] < 110.0, (
        "time goes on from the last line that was kept"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize(
    "torn", ['{"step": 4', '{"step": 4}', "[4]", "nul", '"x"', '{"step": "4", "time": 1}', "\udcff"]
)
def test_a_last_line_torn_anywhere_is_dropped(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(
        b'{"step": 2, "nimg": 2, "time": 7.5}\n' + torn.encode("utf-8", "surrogateescape")
    )
    Logbook(tmp_path, step=9, tensorboard=False).add_scalars(10, 10, {})
    assert [line["step"] for line in lines(tmp_path)] == [2, 10] and lines(tmp_path)[1][
        "time"
    ] >= 7.5


def test_a_whole_line_without_its_end_is_kept(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 2, "nimg": 2, "time": 7.5}')
    Logbook(tmp_path, step=2, tensorboard=False).add_scalars(4, 4, {})
    assert [line["step"] for line in lines(tmp_path)] == [2, 4]


def test_nothing_to_cut_leaves_the_file_alone(tmp_path):
    play(tmp_path, 0, 3)
    before = (tmp_path / "metrics.jsonl").stat()
    Logbook(tmp_path, step=3)
    after = (tmp_path / "metrics.jsonl").stat()
    assert (before.st_ino, before.st_size) == (after.st_ino, after.st_size)


def test_tensorboard_shows_one_curve_after_two_resumes(tmp_path):
    play(tmp_path, 0, 8)
    play(tmp_path, 4, 7, sign=-1)
    play(tmp_path, 6, 9)
    points = [(point.step, point.value) for point in curves(tmp_path).Scalars("d/adv")]
    assert points == [(s, (-1 if s in (5, 6) else 1) * s / 8) for s in range(1, 10)]
    assert points == [(line["step"], line["d/adv"]) for line in lines(tmp_path)]


def test_a_start_over_forgets_everything(tmp_path):
    play(tmp_path, 0, 8)
    play(tmp_path, 0, 2, sign=-1)
    assert [(point.step, point.value) for point in curves(tmp_path).Scalars("d/adv")] == [
        (1, -1 / 8),
        (2, -2 / 8),
    ]
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_a_clock_that_jumps_back_spoils_neither_time_nor_curve(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 2e9)
    play(tmp_path, 0, 4)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    play(tmp_path, 2, 5, sign=-1)
    assert [point.value for point in curves(tmp_path).Scalars("d/adv")] == [
        1 / 8,
        2 / 8,
        -3 / 8,
        -4 / 8,
        -5 / 8,
    ]
    times = [line["time"] for line in lines(tmp_path)]
    assert times == sorted(times) and times[-1] < 5


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pictures_and_texts_reach_tensorboard(tmp_path, mode):
    book = Logbook(tmp_path, step=0)
    book.add_picture(5, "samples", Image.new(mode, (30, 20)))
    book.add_config("# hello \udcff")
    events = curves(tmp_path)
    (picture,) = events.Images("samples")
    assert (picture.step, picture.width, picture.height) == (
        5,
        30,
        20,
    ) and picture.encoded_image_string[1:4] == b"PNG"
    assert events.Tensors("config")[0].tensor_proto.string_val == [rb"# hello \udcff"]


def test_without_tensorboard_the_rest_works(tmp_path):
    book = Logbook(tmp_path, step=0, tensorboard=False)
    book.add_picture(5, "samples", Image.new("L", (3, 3)))
    book.add_config("x")
    book.close()
    assert not (tmp_path / "tensorboard").exists()


def test_a_missing_tensorboard_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    with pytest.raises(UserError, match="TensorBoard"):
        Logbook(tmp_path, step=0)


def test_a_folder_that_vanishes_costs_one_warning_per_place(tmp_path, warned):
    folder = tmp_path / "run"
    folder.mkdir()
    book = Logbook(folder, step=0)
    book.add_scalars(1, 1, {"d/adv": 1.0})
    shutil.rmtree(folder)
    for step in range(2, 9):
        book.add_scalars(step, step, {"d/adv": 1.0})
        book.add_picture(step, "samples", Image.new("L", (3, 3)))
    assert [message.split(" ")[0] for message in warned()] == ["metrics.jsonl", "tensorboard"]
    assert "training goes on" in warned()[0]
    (folder / "tensorboard").mkdir(parents=True)
    book.add_scalars(9, 9, {"d/adv": 1.0})
    assert not (folder / "metrics.jsonl").exists(), "given up after three failures"
    book.close()


def test_a_disk_that_recovers_in_time_is_used_again(tmp_path, warned):
    book = Logbook(tmp_path, step=0, tensorboard=False)
    aside = tmp_path.with_name("aside")
    for step in (1, 3, 5):  # two failures, then success, three times over
        tmp_path.rename(aside)
        book.add_scalars(step, step, {})
        book.add_scalars(step, step, {})
        aside.rename(tmp_path)
        book.add_scalars(step + 1, step, {})
    assert [line["step"] for line in lines(tmp_path)] == [2, 4, 6] and len(warned()) == 1


def test_a_full_disk_leaves_no_torn_line(tmp_path, warned):
    book = Logbook(tmp_path, step=0)
    book.add_scalars(1, 1, {"d/adv": 1.0})
    paths = [tmp_path / "metrics.jsonl", *(tmp_path / "tensorboard").iterdir()]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (min(path.stat().st_size for path in paths) + 10, hard)
    )
    try:
        book.add_scalars(2, 2, {"d/adv": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(warned()) == 2
    book.add_scalars(3, 3, {"d/adv": 1.0})
    assert [line["step"] for line in lines(tmp_path)] == [1, 3]
    assert [point.step for point in curves(tmp_path).Scalars("d/adv")] == [1, 3]


def test_guard_serves_other_files_too(tmp_path, warned):
    book = Logbook(tmp_path, step=0, tensorboard=False)
    assert book.guard("samples", lambda: None)

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    assert not any(book.guard("samples", full) for _ in range(5))
    assert warned() == ["samples cannot be written (No space left on device); training goes on"]
    assert not any(book.guard("ours", lambda: 1 / 0) for _ in range(5))
    assert warned()[1:] == [
        "ours cannot be written (ZeroDivisionError: division by zero); training goes on"
    ], "a logger of any kind ends no run"


def test_a_folder_that_cannot_be_written_at_the_start_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for start in (
        lambda: Logbook(tmp_path / "file", step=0),
        lambda: run_log(tmp_path / "file").__enter__(),
    ):
        with pytest.raises(GanError, match="cannot write in") as caught:
            start()
        assert caught.value.code == 1

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(logbook, "append", full)
    with pytest.raises(TemporaryFailure, match="No space left"):
        Logbook(tmp_path, step=0)


def test_run_log_is_in_utc_and_ends_with_its_block(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    before = logger.handlers[:], logger.level, logger.propagate
    try:
        with run_log(tmp_path):
            logger.info("saved step %d", 50)
            logger.warning("careful: \udcff")
            logger.debug("not this")
    finally:
        monkeypatch.undo()
        time.tzset()
    logger.warning("after")
    assert (logger.handlers, logger.level, logger.propagate) == before
    first, second = (tmp_path / "run.log").read_text().splitlines()
    stamp, rest = first.split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp) and rest == "INFO saved step 50"
    assert stamp[:13] in {
        time.strftime("%Y-%m-%dT%H", time.gmtime(time.time() - s)) for s in (0, 60)
    }
    assert second.endswith(r"WARNING careful: \udcff")
    assert capsys.readouterr().err.startswith("warning: careful")


def test_run_log_appends_and_keeps_tracebacks_to_itself(tmp_path, capsys):
    for step in (50, 60):
        with run_log(tmp_path):
            try:
                1 / 0  # noqa: B018
            except ZeroDivisionError:
                logger.exception("failed at step %d", step)
    text = (tmp_path / "run.log").read_text()
    assert (
        text.count("Traceback") == 2
        and "ERROR failed at step 50" in text
        and "ERROR failed at step 60" in text
    )
    assert capsys.readouterr().err == "error: failed at step 50\nerror: failed at step 60\n"


def test_run_log_ends_when_an_error_passes(tmp_path):
    before = logger.handlers[:]
    with pytest.raises(UserError), run_log(tmp_path):
        raise UserError("no such loss: gna", "loss=wgan")
    assert logger.handlers == before


def test_a_run_log_on_a_full_disk_warns_once(tmp_path):
    (tmp_path / "run.log").symlink_to("/dev/full")
    script = (
        "import logging, pathlib, sys; from gancli.run.runlog import run_log\n"
        "with run_log(pathlib.Path(sys.argv[1])):\n"
        "    for _ in range(9): logging.getLogger('gancli').info('saved')\n"
        "print({'torch', 'tensorboard'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout == "set()\n"
    assert (
        done.stderr
        == "warning: run.log cannot be written (No space left on device); training goes on\n"
    )


def test_a_line_costs_less_than_two_milliseconds(tmp_path):
    book = Logbook(tmp_path, step=0)
    spent = []
    for step in range(200):
        start = time.perf_counter()
        book.add_scalars(step, step, {f"d/{key}": 0.5 for key in "abcdefgh"})
        spent.append(time.perf_counter() - start)
    assert statistics.median(spent) < 2e-3


def test_what_was_said_before_the_folder_is_in_its_run_log(tmp_path, capsys):
    log = logging.getLogger("gancli")
    with keep_early_log():
        log.info("norm=auto: layer")
        log.warning("no effect")
        with run_log(tmp_path):
            log.info("training")
    text = (tmp_path / "run.log").read_text()
    assert (
        "INFO norm=auto: layer" in text
        and "WARNING no effect" in text
        and text.count("no effect") == 1
        and "training" in text
    )
    assert capsys.readouterr().err.count("no effect") == 1
