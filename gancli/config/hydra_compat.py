"""Hydra's own reader of config files, made to look first; imported only with Hydra."""

from __future__ import annotations

import pickle
from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult

from gancli.files import reading

# What a file of this text was parsed to. Parsing is a quarter of a composition, and a sweep, a
# diagnosis or a session in Python composes the same files again and again. The text itself is the
# key: a file that is written twice within a tick of its clock is read again.
_PARSED: dict[tuple[str, str, str, str], bytes] = {}
MOST_PARSED = 1000


class BoundedFiles(FileConfigSource):
    """Hydra's reader of files, with a look at each before.

    A YAML file may ask for all memory there is. It is a class of a module, since launchers pickle
    the loader that holds it.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        """Reads one YAML file; raises reading.Unreadable for one that is too large or too deep."""
        path = Path(self.path, self._normalize_file_name(config_path))
        if not path.exists():
            return super().load_config(config_path)
        key = (self.provider, self.path, config_path, reading.read_yaml_text(path))
        if key in _PARSED:
            # A copy for each: Hydra takes the defaults list out of it. pickle, since it is several
            # times as fast as deepcopy here.
            result: ConfigResult = pickle.loads(_PARSED[key])
            return result
        result = super().load_config(config_path)
        if len(_PARSED) >= MOST_PARSED:
            _PARSED.clear()
        _PARSED[key] = pickle.dumps(result)
        return result

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Lists the options of a group, and the groups.

        A name that begins with `_` is a base of others.
        """
        names = super().list(config_path, results_filter)
        return [name for name in names if not name.startswith("_")]


# In the process of a launcher Hydra restores this reader before its own one is registered, and
# takes two of one name for the same.
BoundedFiles.__name__ = FileConfigSource.__name__
