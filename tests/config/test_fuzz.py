"""Random command lines, most of them wrong: each passes the gates, or ends in words and code 2."""

from __future__ import annotations

import time

import pytest
from fuzz_helpers import MODELS, draw_line

from gancli.config.compose import compose
from gancli.config.validate import validate
from gancli.errors import Problems, UserError

SMALL_SAMPLE = 10  # one of every model
WHOLE = 3300


def try_line(seed: int) -> str:
    """Returns what a command line ends in: "" where all is well, else every message.

    Anything but a UserError is a failure.
    """
    line = draw_line(seed)
    started = time.monotonic()
    try:
        validate(compose("train", line).cfg)
        said = []
    except Problems as error:
        said = [message for message, _ in error.problems]
    except UserError as error:
        said = [error.message]
    except Exception as error:
        raise AssertionError(f"seed {seed}, {line!r}: {type(error).__name__}: {error}") from error
    assert time.monotonic() - started < 20, f"seed {seed}, {line!r} took too long"
    assert len(said) == len(set(said)), f"seed {seed}, {line!r} told something twice: {said}"
    return "\n".join(said)


def test_some_random_command_lines_get_an_answer():
    answers = [try_line(seed) for seed in range(10**6, 10**6 + SMALL_SAMPLE)]
    assert any(answers) and {seed % len(MODELS) for seed in range(SMALL_SAMPLE)} == {*range(10)}


@pytest.mark.parametrize("seed", [1962])
def test_lines_that_once_ended_in_a_traceback(seed):
    try_line(seed)  # ~dataset.holdout beside a folder that finds its own


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thousands_of_random_command_lines_get_an_answer():
    for seed in range(WHOLE):
        try_line(seed)
