"""Hydra and OmegaConf without the work of which nothing comes, for the tests alone.

The tests compose some four thousand configs, which is half of all their time. What is done here
changes no config: tests/config/test_lean_hydra.py composes with it and without it.
GANCLI_PLAIN_HYDRA=1 runs every test without it.
"""

from __future__ import annotations

import functools
import os
import pickle

import omegaconf._utils
import omegaconf.base
from hydra._internal import defaults_list
from hydra._internal.core_plugins.importlib_resources_config_source import (
    ImportlibResourcesConfigSource,
)

PLACES = (
    (defaults_list, "_create_interpolation_map"),
    (omegaconf.base, "parse"),
    (omegaconf._utils, "parse"),
    (ImportlibResourcesConfigSource, "load_config"),
)
PLAIN = [(owner, name, vars(owner)[name]) for owner, name in PLACES]
PLAIN_MAP = defaults_list._create_interpolation_map
PLAIN_LOAD = ImportlibResourcesConfigSource.load_config
loaded: dict[tuple[str, str, str], bytes] = {}


def create_map(overrides, defaults, self_added):
    """What interpolations in a defaults list may refer to, of which most lists have none."""
    if not any(default.is_interpolation() for default in defaults):
        return None
    return PLAIN_MAP(overrides, defaults, self_added)


# The tree of an interpolation such as ${dataset.resolution}, which is only read
parse = functools.lru_cache(maxsize=4096)(omegaconf.base.parse)


def load_config(self, config_path):
    """A config of Hydra's own package, which nobody edits."""
    key = (self.path, self.provider, config_path)
    if key not in loaded:
        loaded[key] = pickle.dumps(PLAIN_LOAD(self, config_path))
    return pickle.loads(loaded[key])


def begin() -> None:
    """Leaves out what brings nothing."""
    if not os.environ.get("GANCLI_PLAIN_HYDRA"):
        for (owner, name), lean in zip(
            PLACES, (create_map, parse, parse, load_config), strict=True
        ):
            setattr(owner, name, lean)


def end() -> None:
    """Puts back what was there before."""
    for owner, name, plain in PLAIN:
        setattr(owner, name, plain)
