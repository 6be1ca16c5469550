"""What a machine has to give, and how threads wait on it."""

import os
import sys

import pytest

from gancli import machine

PASSIVE = {"OMP_WAIT_POLICY": "passive"}


def write_thread(root, number, state):
    (root / f"task/{number}").mkdir(parents=True)
    (root / f"task/{number}/stat").write_text(f"{number} (a name) R) {state} 1 6317 0\n")


@pytest.fixture
def quiet(monkeypatch, tmp_path):
    """A machine with no other program, as the system tells it, before torch is imported."""
    loads = tmp_path / "loadavg"
    loads.write_text("1.37 0.52 0.11 1/95 6317\n")  # of the last minute and more; then, of now
    monkeypatch.setattr(machine, "LOADS", loads)
    monkeypatch.setattr(machine, "OWN_THREADS", tmp_path / "task")
    write_thread(tmp_path, 6317, "R")
    monkeypatch.setattr(machine, "BETWEEN_LOOKS_S", 0.0)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    return loads


def wait(**variables):
    environ = PASSIVE | variables
    machine.wait_briefly(environ)
    return machine.describe_waiting(environ)


def test_threads_look_before_they_sleep_on_a_quiet_machine(quiet):
    assert wait() == "passive after 3000 turns"


def test_threads_sleep_at_once_beside_other_programs(quiet):
    quiet.write_text("0.00 0.00 0.00 2/95 6317\n")
    assert wait() == "passive"


def test_threads_of_this_program_are_no_other_program(quiet):
    """Such as NumPy's, which `gan recommend` has loaded by then."""
    quiet.write_text("0.00 0.00 0.00 2/95 6317\n")
    write_thread(quiet.parent, 6318, "S")
    assert wait() == "passive"
    write_thread(quiet.parent, 6319, "R")
    assert wait() == "passive after 3000 turns"


def test_threads_sleep_at_once_where_the_system_does_not_tell(quiet):
    quiet.unlink()
    assert machine.count_running() is None
    assert wait() == "passive"


def test_one_quiet_moment_is_not_enough(quiet, monkeypatch):
    counts = iter([1, 1, 3])
    monkeypatch.setattr(machine, "count_running", lambda: next(counts))
    assert wait() == "passive"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OMP_WAIT_POLICY": "active"}, "active"),
        ({"GOMP_SPINCOUNT": "7"}, "passive after 7 turns"),
        ({"RANK": "0"}, "passive"),  # torchrun's ranks run beside each other
    ],
)
def test_what_is_set_stays(quiet, variables, said):
    assert wait(**variables) == said


def test_it_comes_before_torch_or_not_at_all(quiet, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", object())
    assert wait() == "passive"


def test_jobs_of_a_launcher_sleep_at_once(monkeypatch):
    from gancli.commands import train

    asked = []
    monkeypatch.setattr(train, "wait_briefly", asked.append)
    monkeypatch.setattr(train, "sweep", lambda argv: 0)
    train.main(["-m", "seed=1,2", "hydra/launcher=joblib"])
    assert asked == []
    train.main(["-m", "seed=1,2"])
    assert asked == [os.environ]
