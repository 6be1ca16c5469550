"""From the command line to one checked config: Hydra's composition and gate 1, without torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.config import hints
from gancli.config.arguments import quote_value, split_args
from gancli.config.closed import describe_kept_schedules
from gancli.config.composer import Composer
from gancli.config.diagnose import diagnose_overrides
from gancli.config.experiments import (
    Alone,
    drop_published,
    hold_nothing_out,
    replace_experiments_loss,
)
from gancli.config.folders import find_conf_dir, find_file_warnings
from gancli.config.hydra_state import is_in_sweep, start_hydra
from gancli.config.inspection import find_early_value_problems, inspect_tree
from gancli.config.plain import read_plain
from gancli.config.schema import CLOSED, TOP_KEYS, PlayerConfig
from gancli.errors import Problem, Problems, UserError
from gancli.render import status

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Composed:
    """One composed config that has passed gate 1; interpolations are not yet resolved."""

    cfg: DictConfig  # without the hydra node
    hydra: DictConfig
    overrides: list[str]  # the whole command line, hydra.* first
    choices: dict[str, str]  # group -> option, without hydra's own
    warnings: list[str]  # none in a job of a sweep, which has said them at its start
    notes: list[str]  # what was left out of the config, also in a job of a sweep
    run_dir: Path  # resolved once, so every reader sees the same stamp
    run_dir_given: bool  # not made up by us, but by hydra.run.dir= or a sweep


def compose(
    name: str, argv: Sequence[str], *, extra: Sequence[str] = (), missing: bool = False
) -> Composed:
    """Composes conf/<name>.yaml with the command line and checks it (gate 1); makes no folder.

    Args:
        name: The primary config, and the subcommand.
        argv: KEY=VALUE, --config-dir DIR, --config-name NAME.
        extra: Overrides of the subcommand itself.
        missing: Let pass what is still to be given (`ckpt: ???`).

    Raises:
        UserError: Where the words cannot be read at all.
        Problems: With every mistake.
    """
    status.say("composing the config…")
    args = split_args(argv)
    if args.command:
        raise UserError(f"--{args.command} does not work here", "gan train takes it")
    with start_hydra(args.dirs):
        return compose_overrides(
            name,
            args.config_name or name,
            [*map(quote_value, args.overrides), *extra],
            missing=missing,
        )


def compose_overrides(
    name: str, config_name: str, overrides: list[str], *, missing: bool = False
) -> Composed:
    """Composes and checks as `compose` does, in a Hydra that has been started."""
    from hydra import initialize_config_dir

    with initialize_config_dir(str(find_conf_dir()), job_name=name, version_base="1.3"):
        composer = Composer(config_name, top_keys=list_top_keys(name), closed=CLOSED, command=name)
        try:
            full = composer.load(overrides)
            composed = _finish_composing(full)
            problems: list[Problem] = []
        except hints.list_composition_errors() as ex:
            full, problems = diagnose_overrides(composer, overrides)
            problems = problems or [hints.explain_error(ex, composer)]
        problems += inspect_tree(composer, full, overrides, whole=not problems, missing=missing)
        if problems and name == "train":  # gate 2, which would tell of these, is not reached
            problems += find_early_value_problems(composer, full, overrides, PlayerConfig)
    if problems:
        raise Problems(problems)
    return composed


def list_top_keys(name: str) -> tuple[str, ...]:
    """Lists the keys that a subcommand's config has at its top."""
    if name == "train":
        return TOP_KEYS
    from omegaconf import OmegaConf

    own = OmegaConf.load(find_conf_dir() / f"{name}.yaml")
    return tuple(str(key) for key in own if key not in ("defaults", "hydra"))


def _finish_composing(full: DictConfig) -> Composed:
    """Splits Hydra's config into ours and its own node.

    The run folder's name becomes plain text here: every later look would draw another stamp.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf, open_dict

    # By itself first: the run folder's name reads it, and would be blamed for what is wrong in it.
    OmegaConf.select(full, "name")
    with open_dict(full):
        full.hydra.run.dir = str(full.hydra.run.dir)
        full.hydra.sweep.dir = str(full.hydra.sweep.dir)
        full.hydra.runtime.output_dir = os.path.abspath(full.hydra.run.dir)
    HydraConfig.instance().set_config(full)  # for ${hydra:...} in a user's file
    cfg = OmegaConf.masked_copy(full, [str(key) for key in full if key != "hydra"])
    OmegaConf.set_struct(cfg, True)
    return make_composed(cfg, full.hydra, Path(full.hydra.run.dir))


def make_composed(cfg: DictConfig, hydra: DictConfig, run_dir: Path) -> Composed:
    """Makes ours of Hydra's config: choices, overrides, folder, and an experiment's effects."""
    choices = {
        group: option
        for group, option in hydra.runtime.choices.items()
        if option and not group.startswith("hydra/")
    }
    sources = [
        Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"
    ]
    overrides = [*hints.read_overrides(hydra, "hydra"), *hints.read_overrides(hydra, "task")]
    given = is_in_sweep() or any(
        line.lstrip("+").startswith("hydra.run.dir=") for line in overrides
    )
    notes: list[str] = []
    if choices.get("experiment"):
        hold_nothing_out(cfg)
        alone = Alone(hydra, choices["experiment"])
        notes = replace_experiments_loss(cfg, hydra, choices, alone=alone)
        notes += drop_published(cfg, hydra, alone=alone)
    if any(".schedule=" in line for line in overrides):
        players = read_plain(cfg, resolve=False).get("optimizer")
        notes += describe_kept_schedules(players, overrides)
    return Composed(
        cfg=cfg,
        hydra=hydra,
        overrides=overrides,
        choices=choices,
        run_dir=run_dir,
        run_dir_given=given,
        warnings=[] if is_in_sweep() else find_file_warnings(sources),
        notes=notes,
    )
