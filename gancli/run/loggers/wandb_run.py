"""A run in Weights & Biases, on its server or in files of the run folder."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from gancli.config.loggers import WandbConfig
from gancli.errors import GanError
from gancli.files import atomic
from gancli.run.loggers.base import BestCheckpoint, Session

if TYPE_CHECKING:
    import wandb


class WandbRun:
    """A `RunLogger`. Steps stand on the axis `step`: W&B's own count may not go back.

    Args:
        settings: The part `logger.wandb` of the config.
        session: What is followed.
    """

    def __init__(self, settings: WandbConfig, session: Session):
        self.settings = settings
        self.session = session
        self.run: wandb.Run | None = None

    def start(self) -> str:
        """Begins the run, or goes on with it under the same id. Raises what wandb raises."""
        import wandb

        settings = self.settings
        session = self.session
        mode = settings.mode or wandb.setup().settings.mode
        # Without a key wandb.init would ask for one on the terminal, and wait.
        if mode in ("online", "shared") and not wandb.login(prompt=False):
            raise GanError("no API key", "wandb login, or WANDB_MODE=offline")
        run_id = session.ids.get("wandb") or session.make_id()
        self.run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            group=settings.group,
            tags=list(settings.tags),
            mode=settings.mode,
            id=run_id,
            name=session.folder.name,
            resume="allow",
            dir=str(session.folder),
            config=dict(session.config),
            allow_val_change=True,  # a resumed run may have more steps
            reinit="create_new",  # a sweep trains several runs in one process
            settings=wandb.Settings(silent=True, console="off"),
        )
        session.keep_id("wandb", run_id)
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")
        if mode in ("online", "shared"):
            return str(self.run.url)
        if mode == "disabled":
            return "disabled"
        return f"offline, in {Path(self.run.dir).parent}; wandb sync uploads it"

    def log(self, step: int, values: Mapping[str, object]) -> None:
        """Logs values at a step."""
        assert self.run is not None, "nothing is logged before the start"
        self.run.log({**values, "step": step})

    def add_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve."""
        self.log(step, values)

    def add_picture(self, step: int, tag: str, image: Image.Image) -> None:
        """Shows an image."""
        import wandb

        self.log(step, {tag: wandb.Image(image)})

    def add_sound(self, step: int, tag: str, wav: bytes) -> None:
        """Plays a WAV file, which wandb takes by its path and moves away."""
        import wandb

        assert self.run is not None, "nothing is logged before the start"
        path = Path(self.run.dir) / f"{tag}-{step:08d}.wav"
        atomic.write(path, lambda file: file.write(wav))
        self.log(step, {f"{tag}_sound": wandb.Audio(str(path))})

    def add_text(self, step: int, tag: str, text: str) -> None:
        """Shows a string as it is typed."""
        import wandb

        page = io.StringIO(f"<pre>{html.escape(text)}</pre>")
        self.log(step, {f"{tag}_text": wandb.Html(page)})

    def note_best(self, best: BestCheckpoint) -> None:
        """Puts the best checkpoint into the run's summary, which its table shows."""
        assert self.run is not None, "nothing is logged before the start"
        self.run.summary.update(best.describe())

    def finish(self, *, failed: bool) -> None:
        """Ends the session; waits until everything is uploaded."""
        assert self.run is not None, "nothing is logged before the start"
        self.run.finish(exit_code=int(failed))
