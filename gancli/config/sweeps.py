"""Command lines that hydra.main runs itself: -m, --cfg, --info, --hydra-help, completion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gancli.config import hints, resolvers
from gancli.config.arguments import list_variants, quote_value, split_args
from gancli.config.compose import Composed, compose_overrides, make_composed
from gancli.config.folders import find_conf_dir
from gancli.config.hydra_state import change_shown_config, replace_argv, start_hydra
from gancli.config.plain import Plain
from gancli.errors import Interrupted, Problem, Problems, UserError
from gancli.render import messages

if TYPE_CHECKING:
    from omegaconf import DictConfig


class _Leave(BaseException):
    """Carries an Interrupted out of a sweep.

    Hydra would note it as one job's failure and start the next job.
    """


class _Job:
    """What Hydra calls once a job.

    A launcher may send it to another process, which needs our resolvers there.

    Attributes:
        task: A function of a module, for launchers that pickle.
        raised: What it raised in this process.
    """

    def __init__(self, task: Callable[[Composed], object]):
        self.task = task
        self.raised: list[Exception] = []

    def __call__(self, cfg: DictConfig) -> object:
        from hydra.core.hydra_config import HydraConfig

        # Its type is that of the schema; what Hydra hands out is a node of the tree.
        node = cast("DictConfig", HydraConfig.get())
        try:
            return self.task(make_composed(cfg, node, Path(node.runtime.output_dir)))
        except Interrupted as ex:
            raise _Leave from ex
        except Exception as ex:
            self.raised.append(ex)
            raise

    def __getstate__(self) -> Plain:
        return {"task": self.task, "raised": []}

    def __setstate__(self, state: Plain) -> None:
        self.__dict__.update(state)
        resolvers.begin()


def find_sweep_folder(name: str, argv: Sequence[str]) -> Path | None:
    """Finds where `-m` will put its jobs, before it runs.

    Returns:
        None if its config does not compose, which run_hydra_main then tells.
    """
    composed = compose_first(name, argv)
    return None if composed is None else Path(composed.hydra.sweep.dir)


def compose_first(name: str, argv: Sequence[str]) -> Composed | None:
    """Composes the first job of `-m` as `find_sweep_folder` does."""
    args = split_args(argv)
    overrides = [quote_value(line, sweep=True) for line in args.overrides]
    with start_hydra(args.dirs):
        try:
            return compose_overrides(name, args.config_name or name, next(list_variants(overrides)))
        except UserError:
            return None


def run_hydra_main(
    name: str,
    task: Callable[[Composed], object],
    argv: Sequence[str],
    *,
    sweep_folder: Path | None = None,
) -> int:
    """Hands a command line with -m, --cfg, --info or --hydra-help to hydra.main.

    A sweep calls the task once a job; each job's config passes gate 1 before the first job runs.

    Args:
        name: The primary config, and the subcommand.
        task: What a job does.
        argv: The command line.
        sweep_folder: The folder of a sweep as plain text, which every process of a launcher then
            reads alike.

    Returns:
        The exit code.

    Raises:
        Exception: What the first failing job raised, after all have run.
    """
    import hydra

    args = split_args(argv)
    overrides = [quote_value(line, sweep=args.command == "multirun") for line in args.overrides]
    config_name = args.config_name or name
    fixed = [quote_value(f"hydra.sweep.dir={sweep_folder}")] if sweep_folder else []
    job = _Job(task)

    program = (
        "gan" if args.command == "shell-completion" else f"gan {name}"
    )  # the completion script names the executable
    with (
        start_hydra(args.dirs),
        replace_argv([program, *args.flags, *overrides, *fixed]),
        change_shown_config(lambda cfg: make_composed(cfg, cfg.hydra, Path())),
    ):
        if args.command in (
            "multirun",
            "cfg",
        ):  # the others are there to look into a config that does not compose
            missing = args.command == "cfg"
            warnings, notes = _check_all(name, config_name, overrides, missing=missing)
            for message in warnings:
                messages.warn(message)
            for message in notes:
                messages.remark(message)
        try:
            hydra.main(
                version_base="1.3", config_path=str(find_conf_dir()), config_name=config_name
            )(job)()
        except _Leave as ex:
            assert ex.__cause__ is not None, "_Job raises it from an Interrupted"
            raise ex.__cause__ from None
        except SystemExit as ex:  # --hydra-help leaves so
            return int(ex.code or 0)
        except hints.list_composition_errors() as ex:
            if any(ex is one for one in job.raised):
                raise
            _check_all(name, config_name, overrides, missing=True)  # says the same in our words
            raise UserError((str(ex) or str(ex.__cause__)).splitlines()[0]) from ex
    return 0


def _check_all(
    name: str, config_name: str, overrides: list[str], *, missing: bool
) -> tuple[list[str], list[str]]:
    """Passes every value of a sweep through gate 1.

    Returns:
        The warnings and the notes.

    Raises:
        Problems: With the mistakes of all.
    """
    problems: dict[Problem, None] = {}  # ordered, without repetition
    warnings: dict[str, None] = {}
    notes: dict[str, None] = {}
    for variant in list_variants(overrides):
        try:
            composed = compose_overrides(name, config_name, variant, missing=missing)
            warnings.update(dict.fromkeys(composed.warnings))
            notes.update(dict.fromkeys(composed.notes))
        except Problems as ex:
            problems.update(dict.fromkeys(ex.problems))
    if problems:
        raise Problems(list(problems))
    return list(warnings), list(notes)
