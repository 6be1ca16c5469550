"""A run in Trackio: a board on this computer, or on Hugging Face where a space is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from PIL import Image

from gancli.config.loggers import TrackioConfig
from gancli.run.loggers.base import BestCheckpoint, Session

if TYPE_CHECKING:
    import trackio


class TrackioRun:
    """A `RunLogger`. Trackio knows a run by its name, which is its id here.

    Args:
        settings: The part `logger.trackio` of the config.
        session: What is followed.
    """

    def __init__(self, settings: TrackioConfig, session: Session):
        self.settings = settings
        self.session = session
        self.run: trackio.Run | None = None

    def start(self) -> str:
        """Begins the run, or goes on with it under the same name. Raises what trackio raises."""
        import trackio

        settings = self.settings
        session = self.session
        name = session.ids.get("trackio") or session.make_id()
        self.run = trackio.init(
            project=settings.project,
            name=name,
            group=settings.group,
            space_id=settings.space_id,
            config=dict(session.config),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
        )
        session.keep_id("trackio", name)
        if settings.space_id:
            return f"run {name} in the space {settings.space_id}"
        return f"run {name}; trackio show --project {settings.project}"

    def log(self, step: int, values: Mapping[str, object]) -> None:
        """Logs values at a step."""
        assert self.run is not None, "nothing is logged before the start"
        self.run.log(dict(values), step=step)

    def add_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve."""
        self.log(step, values)

    def add_picture(self, step: int, tag: str, image: Image.Image) -> None:
        """Shows an image."""
        import trackio

        self.log(step, {tag: trackio.Image(image)})

    def add_sound(self, step: int, tag: str, wav: bytes) -> None:
        """Passes over a sound: Trackio would need ffmpeg for it; the run folder has it."""

    def add_text(self, step: int, tag: str, text: str) -> None:
        """Shows a string as it is typed."""
        import trackio

        self.log(step, {f"{tag}_text": trackio.Markdown(f"```\n{text}\n```")})

    def note_best(self, best: BestCheckpoint) -> None:
        """Logs the best checkpoint at its step."""
        self.log(best.step, best.describe())

    def finish(self, *, failed: bool) -> None:
        """Ends the session; Trackio does not ask how it ended."""
        assert self.run is not None, "nothing is logged before the start"
        self.run.finish()
