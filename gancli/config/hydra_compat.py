"""Hydra's own reader of config files, made to look first; imported only with Hydra."""

from __future__ import annotations

from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult

from gancli.files import reading


class BoundedFiles(FileConfigSource):
    """Hydra's reader of files, with a look at each before.

    A YAML file may ask for all memory there is. It is a class of a module, since launchers pickle
    the loader that holds it.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        """Reads one YAML file; raises reading.Unreadable for one that is too large or too deep."""
        path = Path(self.path, self._normalize_file_name(config_path))
        if path.exists():
            reading.check_yaml_file(path)
        return super().load_config(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Lists the options of a group, and the groups.

        A name that begins with `_` is a base of others.
        """
        names = super().list(config_path, results_filter)
        return [name for name in names if not name.startswith("_")]


# In the process of a launcher Hydra restores this reader before its own one is registered, and
# takes two of one name for the same.
BoundedFiles.__name__ = FileConfigSource.__name__
