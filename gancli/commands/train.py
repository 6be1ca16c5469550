"""gan train: composes a run, or a sweep of runs, and says in its last lines what to type next."""

from __future__ import annotations

import dataclasses
import os

from gancli.commands.endings import say_outcome
from gancli.commands.sweep import sweep
from gancli.config import compose as front
from gancli.config.arguments import quoted, split_args
from gancli.run.parent import watch_parent
from gancli.run.plan import check_paths
from gancli.run.resume import ASIDE, resumes
from gancli.run.session import run_session


def main(argv: list[str]) -> int:
    if split_args(argv).command == "multirun":
        return sweep(argv)
    if "RANK" not in os.environ:  # no launcher
        say_outcome(run_session(compose(argv)))
        return 0
    watch_parent()
    # Else a broken connection fills pages with C++ frames around the sentence that explains it.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from gancli import distributed

    distributed.start()
    try:
        composed = distributed.together(lambda: compose(argv))
        distributed.together(lambda: check_paths(composed))
    except BaseException:
        distributed.stop(failed=True)
        raise
    say_outcome(run_session(composed))
    return 0


def compose(argv: list[str]) -> front.Composed:
    """A resumed run has its own config: what is typed beside resume=RUN is not composed with defaults that may lack its keys."""
    typed = split_args(argv).overrides
    beside = [item for item in typed if not item.startswith(ASIDE)] if resumes(typed) else []
    composed = front.compose("train", [word for word in argv if word not in beside])
    return dataclasses.replace(composed, overrides=[*composed.overrides, *map(quoted, beside)])
