"""Composes one training run from typed words, alone or together with a launcher's other ranks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from gancli.config import compose as front
from gancli.config.arguments import quote_value, split_args
from gancli.run.own_data import choose_for_data
from gancli.run.plan import check_paths
from gancli.run.resume import ASIDE, asks_to_resume


def compose_run(words: Sequence[str]) -> front.Composed:
    """Composes a run; where torchrun started this process, it joins the other ranks before.

    Args:
        words: What is typed behind `gan train`.

    Raises:
        UserError: Something is wrong; all ranks raise it together, and one of them tells it.
    """
    if "RANK" not in os.environ:  # no launcher
        return compose_words(words)
    # Else a broken connection fills pages with C++ frames around the sentence that explains it.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from gancli import distributed

    distributed.start()
    try:
        composed = distributed.run_together(lambda: compose_words(words))
        distributed.run_together(lambda: check_paths(composed))
    except BaseException:
        distributed.stop(failed=True)
        raise
    return composed


def compose_words(words: Sequence[str]) -> front.Composed:
    """Composes `gan train`. A resumed run has its own config.

    So what is typed beside resume=RUN is not composed with defaults that may lack its keys.
    """
    words, chosen = choose_for_data(words)
    typed = split_args(words).overrides
    beside = [item for item in typed if not item.startswith(ASIDE)] if asks_to_resume(typed) else []
    composed = front.compose("train", [word for word in words if word not in beside])
    return dataclasses.replace(
        composed,
        overrides=[*composed.overrides, *map(quote_value, beside)],
        notes=[*([chosen] if chosen else []), *composed.notes],
    )
