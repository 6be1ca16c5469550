"""A run in MLflow, on a server or in one file of this computer."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from gancli.config.loggers import MlflowConfig
from gancli.run.loggers.base import BestCheckpoint, Session

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCAL = Path("outputs")  # of the file, and of the pictures beside it
MOST_PARAMS = 100  # in one call
LONGEST = 500  # characters of a value, which older servers take


class MlflowRun:
    """A `RunLogger`, by MLflow's client alone: its global "active run" stays the user's.

    Args:
        settings: The part `logger.mlflow` of the config.
        session: What is followed.
    """

    def __init__(self, settings: MlflowConfig, session: Session):
        self.settings = settings
        self.session = session
        self.client: MlflowClient | None = None
        self.run_id = ""

    def start(self) -> str:
        """Begins the run, or goes on with it under the same id. Raises what MLflow raises."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        uri = self.settings.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        artifacts = None
        if uri is None:
            LOCAL.mkdir(exist_ok=True)
            uri = f"sqlite:///{LOCAL / 'mlflow.db'}"
            artifacts = (LOCAL / "mlartifacts").resolve().as_uri()
        logging.getLogger("mlflow.store").setLevel(logging.WARNING)  # it tells of its tables
        self.client = MlflowClient(uri)
        run_id = self.session.ids.get("mlflow")
        if run_id is not None:
            try:
                self.client.update_run(run_id, status="RUNNING")
                self.run_id = run_id
            except MlflowException:  # another place than that of the earlier session
                run_id = None
        if run_id is None:
            self.run_id = self.begin(self.client, artifacts)
            self.session.keep_id("mlflow", self.run_id)
        self.client.log_dict(
            self.run_id, dict(self.session.config), f"config-{self.session.step:08d}.yaml"
        )
        return f"{uri}, run {self.run_id}; mlflow ui --backend-store-uri {uri}"

    def begin(self, client: MlflowClient, artifacts: str | None) -> str:
        """Begins a new run, with the config as its parameters.

        Args:
            client: Of the place where it is kept.
            artifacts: Where a new experiment keeps pictures; None: where the server says.

        Returns:
            The run's id.
        """
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        name = self.settings.experiment
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                number = client.create_experiment(name, artifact_location=artifacts)
            except MlflowException:  # another run of a sweep was faster
                experiment = client.get_experiment_by_name(name)
                if experiment is None:
                    raise
                number = experiment.experiment_id
        else:
            number = experiment.experiment_id
        run = client.create_run(number, run_name=self.session.folder.name)
        run_id: str = run.info.run_id
        params = [Param(key, value) for key, value in flatten(self.session.config).items()]
        for first in range(0, len(params), MOST_PARAMS):
            client.log_batch(run_id, params=params[first : first + MOST_PARAMS])
        client.set_tag(run_id, "folder", str(self.session.folder.absolute()))
        return run_id

    def get_client(self) -> MlflowClient:
        """Returns the client that `start` has made."""
        assert self.client is not None, "nothing is logged before the start"
        return self.client

    def add_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step) for key, value in values.items()]
        self.get_client().log_batch(self.run_id, metrics=metrics)

    def add_picture(self, step: int, tag: str, image: Image.Image) -> None:
        """Shows an image."""
        self.get_client().log_image(self.run_id, image, key=tag, step=step)

    def add_sound(self, step: int, tag: str, wav: bytes) -> None:
        """Passes over a sound, which MLflow cannot play; the run folder has it."""

    def add_text(self, step: int, tag: str, text: str) -> None:
        """Keeps a string as a file."""
        self.get_client().log_text(self.run_id, text, f"{tag}-{step:08d}.txt")

    def note_best(self, best: BestCheckpoint) -> None:
        """Notes the best checkpoint in tags, which the table of runs shows."""
        for key, value in best.describe().items():
            self.get_client().set_tag(self.run_id, key, str(value))

    def finish(self, *, failed: bool) -> None:
        """Ends the session."""
        self.get_client().set_terminated(self.run_id, "FAILED" if failed else "FINISHED")


def flatten(tree: object, prefix: str = "") -> dict[str, str]:
    """Writes a config as MLflow's parameters: dotted key -> text."""
    if isinstance(tree, Mapping) and tree:
        flat: dict[str, str] = {}
        for key, value in tree.items():
            flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
        return flat
    return {prefix: str(tree)[:LONGEST]}
