"""A config as plain data: a tree of dicts, lists and values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Below a key may stand anything that YAML can say: the gates find out what it is.
Plain = dict[str, Any]


def read_plain(cfg: DictConfig, *, resolve: bool) -> Plain:
    """Copies a composed mapping.

    Args:
        cfg: The mapping. A value that is still to be given becomes "???".
        resolve: Replace each ${...} by the value that it stands for.
    """
    from omegaconf import OmegaConf

    # Its type also allows for a list and for null, which no DictConfig with content becomes.
    return cast(Plain, OmegaConf.to_container(cfg, resolve=resolve, throw_on_missing=False))
