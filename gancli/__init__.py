"""gancli trains every kind of GAN, from the command line and from Python.

From Python: `compose` checks a config, `train` trains, `load` gives a trained model, `evaluate`
measures one. They are imported when they are first used, so that `import gancli` costs nothing;
docs/python.md shows them at work. A GAN is a game: game.py says what that is.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gancli.config.run_config import RunConfig as RunConfig
    from gancli.errors import GanError as GanError
    from gancli.errors import UserError as UserError
    from gancli.run.api import Evaluation as Evaluation
    from gancli.run.api import Run as Run
    from gancli.run.api import compose as compose
    from gancli.run.api import evaluate as evaluate
    from gancli.run.api import train as train
    from gancli.run.loaded import LoadedModel as LoadedModel
    from gancli.run.loaded import Projection as Projection
    from gancli.run.loaded import load as load

# Read by OpenMP when torch is first imported. A thread that spins while its partner waits for a
# core wastes that core: with two other programs on two cores a step took twice to five times as
# long, and twice the processor time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.2.0"
__all__ = [
    "Evaluation",
    "GanError",
    "LoadedModel",
    "Projection",
    "Run",
    "RunConfig",
    "UserError",
    "compose",
    "evaluate",
    "load",
    "train",
]

_HOMES = {
    "Evaluation": "gancli.run.api",
    "GanError": "gancli.errors",
    "LoadedModel": "gancli.run.loaded",
    "Projection": "gancli.run.loaded",
    "Run": "gancli.run.api",
    "RunConfig": "gancli.config.run_config",
    "UserError": "gancli.errors",
    "compose": "gancli.run.api",
    "evaluate": "gancli.run.api",
    "load": "gancli.run.loaded",
    "train": "gancli.run.api",
}


def __getattr__(name: str) -> object:
    """Imports a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gancli' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
