"""gancli from Python: what is behind the subcommands, for notebooks and scripts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from gancli.errors import UserError
from gancli.files import reading
from gancli.run.speaking import add_hints, route_messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gancli.config.run_config import RunConfig
    from gancli.run.loaded import LoadedModel


class Evaluation(TypedDict):
    """Numbers with what they were measured by.

    Attributes:
        step: The step of the checkpoint.
        values: Name -> number; `gan list metrics` says what each is.
        reals: The same of held-out real images, which give the numbers a scale; empty without
            such images.
        protocol: What tells two evaluations apart; only numbers of equal protocols compare.
        skipped: What was not measured, and why.
        file: Where all this was written.
    """

    step: int
    values: dict[str, float]
    reals: dict[str, float]
    protocol: dict[str, Any]
    skipped: dict[str, str]
    file: str


@dataclass(frozen=True)
class Run:
    """The folder of a run; `gancli.Run(path)` looks at one that exists."""

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder).expanduser())

    @property
    def step(self) -> int:
        """The step of the newest checkpoint.

        Raises:
            UserError: The folder holds no checkpoint that can be read.
        """
        return int(self.checkpoint_facts()["progress"]["step"])

    @property
    def config(self) -> RunConfig:
        """The config that the run keeps.

        Raises:
            UserError: The folder holds no checkpoint that can be read.
        """
        from gancli.run.resume import read_config

        with add_hints():
            return read_config(self.checkpoint_facts()["config"])

    def checkpoint_facts(self) -> dict[str, Any]:
        """Reads the newest checkpoint without the values of its tensors."""
        from gancli import checkpoint

        with add_hints():
            tree = checkpoint.peek(self.folder / "checkpoints")
            if tree is None:
                raise UserError(f"{self.folder} holds no checkpoint", "give the folder of a run")
            return tree

    def metrics(self) -> list[dict[str, Any]]:
        """Reads the lines of metrics.jsonl, oldest first.

        Each has `step`, `nimg`, `time` and the logged terms such as `d/adv`.
        """
        with add_hints():
            return [entry for _, entry in reading.read_json_lines(self.folder / "metrics.jsonl")]

    def evaluation(self) -> dict[str, Any] | None:
        """Reads what training measured last (evaluation.json); None before the first time."""
        with add_hints():
            file = self.folder / "evaluation.json"
            found = reading.read_json(file) if file.exists() else None
            return found if isinstance(found, dict) else None

    def load(
        self,
        *,
        ema: bool = True,
        device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
        trust: str | Sequence[str] = (),
    ) -> LoadedModel:
        """Loads the trained model of the newest checkpoint; arguments as in `gancli.load`."""
        from gancli.run.loaded import load

        return load(self.folder, ema=ema, device=device, trust=trust)


def compose(*overrides: str) -> RunConfig:
    """Composes and checks a config as `gan train` does, and trains nothing.

    Args:
        overrides: What is typed behind `gan train`: "model=mlp", "trainer.steps=50",
            "--config-dir=my_conf".

    Returns:
        The whole config, with every `auto` filled in; a data set of files is scanned for that.

    Raises:
        UserError: Something is wrong; `message` says what, `hint` what to write instead.
    """
    with add_hints(), route_messages(quiet=True):
        from gancli.config.compose import compose as compose_train
        from gancli.config.validate import validate
        from gancli.run.own_data import choose_for_data

        composed = compose_train("train", choose_for_data(overrides)[0])
        return validate(composed.cfg, typed=composed.overrides)


def train(*overrides: str, quiet: bool = True) -> Run:
    """Trains to the end of the budget, as `gan train` does, in a run folder of the same kind.

    torch's global random state is not what it was before. Ctrl-C saves and raises
    `gancli.GanError`; outside the main thread signals are left alone.

    Args:
        overrides: What is typed behind `gan train`: "model=mlp", "trainer.steps=50"; "resume=RUN"
            goes on with a run.
        quiet: False shows the progress, as on a command line. Otherwise nothing is printed, not
            even by your own classes; warnings become Python's, and run.log in the folder has
            everything.

    Returns:
        The run: its folder, its metrics, and `load()` for the trained model.

    Raises:
        UserError: Something is wrong with the config, the data or the folder.
        GanError: The run was stopped: by a signal, a full disk, or a loss that is no longer finite.
    """
    with add_hints(), route_messages(quiet=quiet, hush=True):
        return Run(run_training(list(overrides)))


def run_training(words: list[str]) -> Path:
    """Trains one run as `gan train` does, and returns its folder."""
    from gancli.run.folder import find_named, has_checkpoints
    from gancli.run.launch import compose_run
    from gancli.run.session import run_session

    composed = compose_run(words)
    outcome = run_session(composed)
    if outcome is not None:
        return outcome.folder
    # The run was complete already: there was nothing to do, and its folder was named.
    if composed.cfg.resume not in (None, "auto"):
        return find_named(str(composed.cfg.resume))
    if has_checkpoints(composed.run_dir):
        return composed.run_dir
    raise UserError(
        "the run that resume=auto has found is complete",
        "more trainer.steps go on with it; gancli.Run(folder) looks at it",
    )


def evaluate(path: str | os.PathLike[str], *overrides: str, quiet: bool = True) -> Evaluation:
    """Measures a checkpoint, as `gan evaluate ckpt=PATH` does, and writes the same file beside it.

    Args:
        path: A run folder or a .pt file.
        overrides: What is typed behind `gan evaluate`: "metrics=fast", "n=1000", "seed=1",
            "ema=false", "trust=my_loss".
        quiet: False shows what is being done.

    Returns:
        The numbers with their protocol.

    Raises:
        UserError: Something is wrong with the checkpoint, the data or the options.
    """
    with add_hints(), route_messages(quiet=quiet):
        from gancli.run.measure import measure_checkpoint, read_evaluation_options

        options = read_evaluation_options([f"ckpt={os.fspath(path)}", *overrides])
        found = measure_checkpoint(options)
        found.write()
        report = found.report
        return {
            "step": found.step,
            "values": dict(report.values),
            "reals": dict(report.reals),
            "protocol": dict(report.protocol),
            "skipped": dict(report.skipped),
            "file": str(found.out),
        }
