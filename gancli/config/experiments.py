"""What an experiment decides for a run, and what it loses where another loss is chosen."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gancli.config import hints
from gancli.config.hydra_state import open_composer
from gancli.config.plain import read_plain
from gancli.config.published import find_changed_keys, is_free
from gancli.config.schema import OWN_FOLDER
from gancli.errors import Problem, Problems

if TYPE_CHECKING:
    from omegaconf import DictConfig


def hold_nothing_out(cfg: DictConfig) -> None:
    """Sets holdout to 0: an experiment trains on all images, as its paper did.

    A number that was given stays.
    """
    from omegaconf import OmegaConf

    target = OmegaConf.select(cfg, "dataset._target_", throw_on_missing=False)
    holdout = OmegaConf.select(cfg, "dataset.holdout", throw_on_missing=False)
    if target == OWN_FOLDER and holdout == "auto":
        OmegaConf.update(cfg, "dataset.holdout", 0)


class Alone:
    """What an experiment is without the other words of the command line; composed when asked for.

    Args:
        hydra: The `hydra` node of the config, which names the user's folders.
        experiment: Its name.
    """

    def __init__(self, hydra: DictConfig, experiment: str):
        self._hydra = hydra
        self.experiment = experiment
        self.search = [
            line
            for line in hints.read_overrides(hydra, "hydra")
            if line.startswith("hydra.searchpath=")
        ]

    @functools.cached_property
    def cfg(self) -> DictConfig:
        """Its config, with Hydra's node."""
        with open_composer(self._hydra) as compose_words:
            return compose_words([*self.search, f"experiment={self.experiment}"])


def may_choose(line: str) -> bool:
    """Says whether an override may choose an option of a group; one of a key within it cannot."""
    key = line.lstrip("+~").partition("=")[0]
    return "." not in key or "@" in key


def replace_experiments_loss(
    cfg: DictConfig, hydra: DictConfig, choices: dict[str, str], *, alone: Alone
) -> list[str]:
    """Leaves out what an experiment sets below `loss` where another loss is chosen.

    An experiment comes after the loss, so its penalty weights would be merged into a loss that has
    no such penalties. What is typed on the command line stays.

    Returns:
        A note; none where the loss is the experiment's own.

    Raises:
        Problems: Where a typed key is one of those that are left out.
    """
    from omegaconf import open_dict

    lines = hints.read_overrides(hydra, "task")
    experiment = choices["experiment"]
    loss = choices.get("loss")
    if not any(may_choose(line) for line in lines if line != f"experiment={experiment}"):
        return []
    if not loss or loss == alone.cfg.hydra.runtime.choices.get("loss"):
        return []
    with open_composer(hydra) as compose_words:
        words = [*alone.search, f"loss={loss}"]
        words += [f"model={choices['model']}"] if "model" in choices else []
        tree = compose_words(words)
        for line in lines:
            key = line.lstrip("+~").partition("=")[0]
            if not key.startswith("loss.") and "@loss." not in key:
                continue
            words.append(line)
            try:
                tree = compose_words(words)
            except hints.list_composition_errors() as ex:
                message = f"'{line}': loss={loss} has no such key"
                hint = f"what experiment={experiment} sets below loss is left out with another loss"
                raise Problems([(message, hint)]) from ex
    before = read_plain(cfg, resolve=False).get("loss")
    after = read_plain(tree, resolve=False)["loss"]
    gone = find_lost_keys(before, after, "loss")
    if not gone:
        return []
    with open_dict(cfg):
        cfg["loss"] = tree._get_node("loss")
    are = "is" if len(gone) == 1 else "are"
    return [
        f"loss={loss} replaces the loss of experiment={experiment}: "
        f"{', '.join(gone)} {are} left out"
    ]


def drop_published(cfg: DictConfig, hydra: DictConfig, *, alone: Alone) -> list[str]:
    """Drops what a paper reports where the run is no longer the paper's.

    Another model, loss, length or value.

    Returns:
        A note, or none where nothing was dropped.
    """
    from omegaconf import OmegaConf

    lines = hints.read_overrides(hydra, "task")
    causes = [line for line in lines if not is_free(line) and not line.startswith("experiment=")]
    if OmegaConf.select(cfg, "published") is None or not causes:
        return []
    hold_nothing_out(alone.cfg)
    before = OmegaConf.to_container(alone.cfg, resolve=False)
    if not find_changed_keys(before, read_plain(cfg, resolve=False)):
        return []
    OmegaConf.update(cfg, "published", None)
    return [
        f"the published numbers of experiment={alone.experiment} are left out: "
        f"{', '.join(causes)} makes it another run"
    ]


def find_lost_keys(before: object, after: object, where: str) -> list[str]:
    """Finds the keys of one plain tree that another lacks or has otherwise.

    Returns:
        KEY=VALUE of each; of a mapping the key alone.
    """
    if not isinstance(before, dict):
        return [] if before == after else [f"{where}={hints.cut(str(before), length=40)}"]
    if not isinstance(after, dict) and len(before) > 1:
        return [where]
    known = after if isinstance(after, dict) else {}
    return [
        key
        for name, value in before.items()
        if not (name in known and known[name] == value)
        for key in find_lost_keys(value, known.get(name), f"{where}.{name}")
    ]


def explain_model_keys(problems: Sequence[Problem], typed: Sequence[str]) -> list[Problem]:
    """Says what to type where an experiment sets keys that another chosen model does not take.

    Unlike those of a loss, a model's keys are not left out: most of them say how large it is.

    Args:
        problems: What is wrong with the part `model`.
        typed: The words of the command line.

    Returns:
        The problems; those of keys that the experiment sets have another hint.
    """
    words = {key: value for key, _, value in (word.partition("=") for word in typed)}
    if not {"experiment", "model"} <= words.keys():
        return list(problems)
    own = {key.lstrip("+") for key in words}
    found: list[Problem] = []
    for message, hint in problems:
        key = message.partition(":")[0]
        if f"{key}: " in message and " takes no " in message and key not in own:
            hint = (
                f"experiment={words['experiment']} sets it for its own model: "
                f"add '~{key}' to go without it, or leave out model={words['model']}"
            )
        found.append((message, hint))
    return found
