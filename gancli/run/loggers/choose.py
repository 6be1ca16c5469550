"""Makes the loggers that a config chooses."""

from __future__ import annotations

from pathlib import Path

from gancli.config.loggers import MlflowConfig, TrackioConfig, WandbConfig
from gancli.config.run_config import RunConfig, make_closed
from gancli.run.loggers.base import RunLogger, Session, read_ids
from gancli.run.loggers.courier import Courier


def start_couriers(folder: Path, config: RunConfig, *, step: int) -> list[Courier]:
    """Starts one thread for each logger of another program that the config chooses.

    Args:
        folder: Of the run.
        config: Of the run.
        step: 0, or the step that it goes on from.
    """
    # An id of an earlier run in this folder would put two runs into one.
    ids = read_ids(folder) if step else {}
    session = Session(folder, step, config.plain(), ids)
    chosen = config.logger.plain()
    targets: dict[str, RunLogger] = {}
    if "wandb" in chosen:
        from gancli.run.loggers.wandb_run import WandbRun

        targets["wandb"] = WandbRun(make_closed(WandbConfig, chosen["wandb"]), session)
    if "mlflow" in chosen:
        from gancli.run.loggers.mlflow_run import MlflowRun

        targets["mlflow"] = MlflowRun(make_closed(MlflowConfig, chosen["mlflow"]), session)
    if "trackio" in chosen:
        from gancli.run.loggers.trackio_run import TrackioRun

        targets["trackio"] = TrackioRun(make_closed(TrackioConfig, chosen["trackio"]), session)
    return [Courier(name, target) for name, target in targets.items()]
