"""gan train: trains a run, or a sweep of runs, and says in its last lines what to type next."""

from __future__ import annotations

import os

from gancli.commands.endings import say_outcome
from gancli.commands.sweep import sweep
from gancli.config.arguments import split_args
from gancli.machine import wait_briefly
from gancli.run.launch import compose_run
from gancli.run.parent import watch_parent
from gancli.run.session import run_session


def main(argv: list[str]) -> int:
    """Trains to the end of the budget.

    Raises:
        GanError: The run could not start, or was stopped; it can be resumed.
    """
    sweeps = split_args(argv).command == "multirun"
    if not (sweeps and any(word.startswith("hydra/launcher=") for word in argv)):
        wait_briefly(os.environ)  # jobs of a launcher may run beside each other
    if sweeps:
        return sweep(argv)
    if "RANK" in os.environ:  # torchrun started this process
        watch_parent()
    say_outcome(run_session(compose_run(argv)))
    return 0
