"""One primary config in Hydra, composed as often as it takes to say what is wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.config.hints import cut, list_composition_errors

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig


class Composer:
    """One primary config in an initialised Hydra, and the folders that its options come from."""

    def __init__(
        self,
        config_name: str,
        *,
        top_keys: Sequence[str],
        closed: Mapping[str, type],
        command: str = "train",
    ):
        from hydra.core.global_hydra import GlobalHydra

        self.config_name = config_name
        self.command = command
        self.top_keys = top_keys
        self.closed = closed
        self.loader = GlobalHydra.instance().config_loader()
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def load(self, overrides: Sequence[str]) -> DictConfig:
        """Composes the config with these overrides, once; nothing is checked."""
        words = tuple(overrides)
        if words not in self._composed:
            self._composed[words] = self._compose(words)
        return self._composed[words]

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        from hydra import compose

        try:
            return compose(self.config_name, list(overrides), return_hydra_config=True)
        except list_composition_errors():
            raise
        except (TypeError, AttributeError, LookupError, OSError, AssertionError) as error:
            # Hydra's own slips over values that it does not expect, such as a list for the name of
            # an option.
            reason = cut(str(error) or "it is no name of an option")
            raise ValueError(f"this value cannot be used here ({reason})") from error

    def list_options(
        self, group: str, *, groups: bool = False, search: Sequence[str] = ()
    ) -> list[str]:
        """Lists the options of a group, or its groups. search: hydra.searchpath overrides."""
        from hydra.core.object_type import ObjectType

        kind = ObjectType.GROUP if groups else ObjectType.CONFIG
        return self.loader.get_group_options(
            group, kind, config_name=self.config_name, overrides=list(search)
        )

    def list_groups(self, search: Sequence[str] = ()) -> list[str]:
        """Lists the groups of options."""
        return self.list_options("", groups=True, search=search)

    def list_own_groups(self, groups: Sequence[str]) -> list[str]:
        """Returns the groups that may be chosen.

        All of them where a model is composed, else those that the command names itself.
        """
        return [name for name in groups if "model" in self.top_keys or name in self.top_keys]

    def list_training_groups(self) -> list[str]:
        """Lists the groups of a training run that this command's config does not choose from."""
        own = self.load([]).hydra.runtime.choices
        return [group for group in self.list_groups() if group not in own]

    def find_file(self, config_path: str) -> str:
        """Finds the file of `model/mine`, or the name itself where no folder has it."""
        for source in self.loader.get_sources():
            path = Path(source.path, f"{config_path}.yaml")
            if source.scheme() == "file" and os.path.isfile(path):  # False for a name too long
                return str(path)
        return config_path


def is_choice(override: Override, groups: Sequence[str]) -> bool:
    """Does Hydra read it as the choice of a group's option?"""
    key = override.key_or_group
    known = key.partition("/")[0] in groups
    return known and "." not in key and not isinstance(override.value(), dict)
