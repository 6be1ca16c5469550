"""What one command changes in the process for Hydra and puts back: globals, plugins, sys.argv."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.config import resolvers
from gancli.config.folders import find_conf_dir

if TYPE_CHECKING:
    from hydra.core.config_search_path import ConfigSearchPath
    from omegaconf import DictConfig


@contextmanager
def start_hydra(dirs: Sequence[Path]) -> Iterator[None]:
    """Sets Hydra's globals for one command, and puts back what was there before.

    Args:
        dirs: The user's folders of configs.
    """
    from hydra._internal.sources_registry import SourcesRegistry
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    from gancli.config.hydra_compat import BoundedFiles

    class UserFolders(SearchPathPlugin):
        # Not hydra.searchpath=[...]: it would replace the one in a user's primary config, which it
        # also hides from --config-name.
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for path in dirs:
                search_path.append("user", f"file://{path}")

    resolvers.begin()
    plugins = Plugins.instance().plugin_type_to_subclass_list[SearchPathPlugin]
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    Plugins.instance().register(UserFolders)
    sources = SourcesRegistry.instance().types
    usual = sources["file"]
    sources["file"] = BoundedFiles
    # Hydra's own plugin for Optuna, where it is installed: one name can be one thing.
    sweepers = ConfigStore.instance().repo.get("hydra", {}).get("sweeper", {})
    foreign = sweepers.pop("optuna.yaml", None)
    try:
        yield
    finally:
        if foreign is not None:
            sweepers["optuna.yaml"] = foreign
        resolvers.end()
        plugins.remove(UserFolders)
        sources["file"] = usual
        GlobalHydra.instance().hydra = before


@contextmanager
def open_composer(hydra: DictConfig) -> Iterator[Callable[[list[str]], DictConfig]]:
    """Composes further configs for a config's `hydra` node.

    Also in a job that a launcher has sent to another process, where no Hydra has been started.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    def compose_words(words: list[str]) -> DictConfig:
        return compose(hydra.job.config_name, words, return_hydra_config=True)

    if GlobalHydra.instance().is_initialized():
        yield compose_words
        return
    sources = hydra.runtime.config_sources
    dirs = [Path(source.path) for source in sources if source.provider == "user"]
    with (
        start_hydra(dirs),
        initialize_config_dir(str(find_conf_dir()), job_name=hydra.job.name, version_base="1.3"),
    ):
        yield compose_words


def is_in_sweep() -> bool:
    """Says whether this is a job of `-m`: Hydra has then named and made its run folder."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


@contextmanager
def replace_argv(argv: list[str]) -> Iterator[None]:
    """Sets what hydra.main reads and leaves behind in the process, and puts it back.

    Hydra reads sys.argv, raises its errors to us only with HYDRA_FULL_ERROR, and hangs a handler on
    the root logger for each job, bound to the stream of that moment.
    """
    argv_before = sys.argv
    variable = "HYDRA_FULL_ERROR"
    root = logging.getLogger()
    before = os.environ.get(variable)
    handlers = list(root.handlers)
    level = root.level
    sys.argv, os.environ[variable] = argv, "1"
    try:
        yield
    finally:
        sys.argv = argv_before
        os.environ.pop(variable)
        if before is not None:
            os.environ[variable] = before
        root.handlers[:] = handlers
        root.setLevel(level)


@contextmanager
def change_shown_config(change: Callable[[DictConfig], object]) -> Iterator[None]:
    """Lets --cfg show a config as a run would have it.

    Args:
        change: What a run does to the composed tree, in place.
    """
    from hydra._internal.hydra import Hydra

    usual = Hydra.get_sanitized_cfg

    def show_changed(self: Hydra, cfg: DictConfig, cfg_type: str) -> DictConfig:
        change(cfg)
        return usual(self, cfg, cfg_type)

    Hydra.get_sanitized_cfg = show_changed  # type: ignore[method-assign]  # Hydra has no hook here
    try:
        yield
    finally:
        Hydra.get_sanitized_cfg = usual  # type: ignore[method-assign]
