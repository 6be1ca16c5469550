"""Every test: one thread, since parallel tests share two cores, no signs of life; and how many
lacked the real data.
"""

from __future__ import annotations

import os
import sys

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def lean():
    """Hydra composes without the work of which nothing comes."""
    import lean_hydra

    lean_hydra.begin()


@pytest.fixture(autouse=True, scope="session")
def no_signs_of_life():
    """What commands print is compared to the letter, and a slow machine would add a line after a
    second.
    """
    from gancli.render import status

    status.FIRST_AFTER_S = 1e6


@pytest.fixture(autouse=True, scope="session")
def no_kept_images():
    """What decodes slowly on a busy machine is not kept in the cache of whoever runs the tests."""
    from gancli.data import cache

    cache.SLOW_S = 1e6


@pytest.fixture(autouse=True)
def forget_written_modules(tmp_path_factory):
    """Drops the modules that a test wrote and imported: another test may write one of the same
    name.
    """
    before = set(sys.modules)
    yield
    scratch = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(scratch):
            del sys.modules[name]


def pytest_terminal_summary(terminalreporter):
    lacking = [
        r
        for r in terminalreporter.stats.get("skipped", [])
        if "GANCLI_TEST_DATA" in str(r.longrepr)
    ]
    if lacking:
        terminalreporter.write_line(
            f"{len(lacking)} tests skipped for want of real data: set GANCLI_TEST_DATA"
        )
