"""Locks: held by one process at a time, looked at by any number, and gone with their process."""

from __future__ import annotations

import os
import sys

import pytest
from without_posix import make_byte_locks

from gancli.errors import TemporaryFailure
from gancli.files import lock
from gancli.reports.runs import is_locked
from gancli.run.folder import RunFolder


@pytest.fixture(params=["own", "stand-in"])
def system(request, monkeypatch):
    """This system's locks; and in place of Windows' a stand-in that has its calls and errors."""
    if request.param == "stand-in":
        pytest.importorskip("fcntl")
        monkeypatch.setitem(sys.modules, "msvcrt", make_byte_locks())
        monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(lock, "PATIENCE_S", 0.02)
    return request.param


@pytest.fixture
def no_locks(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", None)


def test_one_holds_it_and_closing_gives_it_back(system, tmp_path):
    path = tmp_path / "run.lock"
    with path.open("a+") as first, path.open("a+") as second:
        lock.take(first)
        with pytest.raises(BlockingIOError):
            lock.take(second)
        first.close()
        lock.take(second)


def test_a_release_gives_it_back_while_the_file_is_open(system, tmp_path):
    path = tmp_path / "run.lock"
    with path.open("a+") as first, path.open("a+") as second:
        lock.take(first)
        lock.release(first)
        lock.take(second)


def test_what_is_written_in_the_file_can_be_read_by_others(system, tmp_path):
    folder = RunFolder(tmp_path).open()
    assert (tmp_path / "run.lock").read_text().startswith(f"pid {os.getpid()} on ")
    with pytest.raises(TemporaryFailure, match=f"pid {os.getpid()}"):
        RunFolder(tmp_path).open()
    assert (tmp_path / "run.lock").stat().st_size < 200, "the locked byte is beyond the end"
    folder.close()
    RunFolder(tmp_path).open().close()


def test_looking_takes_nothing(system, tmp_path):
    folder = RunFolder(tmp_path).open()
    assert is_locked(tmp_path / "run.lock")
    folder.close()
    with (tmp_path / "run.lock").open("rb") as file:
        assert not lock.is_taken(file) and not lock.is_taken(file)
        assert not is_locked(tmp_path / "run.lock")
        RunFolder(tmp_path).open().close()


def test_a_run_that_starts_waits_for_one_who_looks(system, tmp_path, monkeypatch):
    RunFolder(tmp_path).open().close()
    looker = (tmp_path / "run.lock").open("ab")
    lock.take(looker)
    monkeypatch.setattr(lock.time, "sleep", lambda _: looker.close())
    RunFolder(tmp_path).open().close()


def test_two_lookers_do_not_take_each_other_for_a_run(tmp_path, monkeypatch):
    pytest.importorskip("fcntl")
    monkeypatch.setitem(sys.modules, "msvcrt", make_byte_locks())
    monkeypatch.setitem(sys.modules, "fcntl", None)
    path = tmp_path / "run.lock"
    path.touch()
    other = path.open("ab")
    lock.take(other)
    monkeypatch.setattr(lock.time, "sleep", lambda _: other.close())
    assert not is_locked(path)


def test_whoever_only_looks_is_not_taken_for_a_holder(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "run.lock").touch()
    with open(tmp_path / "run.lock", "a+") as one, open(tmp_path / "run.lock", "a+") as other:
        fcntl.flock(one, fcntl.LOCK_SH)  # in the middle of its look
        assert not lock.is_taken(other)
        fcntl.flock(one, fcntl.LOCK_EX)
        assert lock.is_taken(other)


def test_a_folder_is_held_alone(system, tmp_path, monkeypatch):
    order = []
    with lock.alone(tmp_path):
        order.append("first")
        if system == "stand-in":
            assert (tmp_path / ".lock").is_file()
            with (tmp_path / ".lock").open("ab") as other, pytest.raises(BlockingIOError):
                lock.take(other)
    with lock.alone(tmp_path):
        order.append("second")
    assert order == ["first", "second"]


def test_a_system_without_locks_is_said_and_serves(no_locks, tmp_path, caplog):
    RunFolder(tmp_path).open().close()
    assert "cannot be locked (this system has no locks that we know)" in caplog.text
    assert not is_locked(tmp_path / "run.lock")
    with lock.alone(tmp_path):
        pass
