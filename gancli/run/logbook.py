"""What a run logs: metrics.jsonl, TensorBoard's event file, and what other programs are handed.

Training never stops because one of them cannot be written.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import math
import os
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from gancli.errors import GanError, TemporaryFailure, UserError, disk_is_full, reason_of
from gancli.files import atomic, reading

if TYPE_CHECKING:
    from tensorboard.compat.proto import event_pb2, summary_pb2

    from gancli.run.loggers.base import BestCheckpoint
    from gancli.run.loggers.courier import Courier

logger = logging.getLogger("gancli")

GIVE_UP_AFTER = 3  # failures in a row


class Logbook:
    """Scalars and pictures of one run, written by rank 0.

    `step` is 0 or the step resumed from: what an earlier session logged after it is cut away, since
    those steps are played again. A folder that cannot be written at the start raises GanError
    (TemporaryFailure if the disk is full); later each failing place warns once and is given up
    after 3 failures in a row. What is logged goes to the `couriers` of other programs too.
    """

    def __init__(
        self,
        folder: Path,
        *,
        step: int,
        tensorboard: bool = True,
        record: bool = True,
        couriers: Sequence[Courier] = (),
    ):
        self.metrics = Path(folder) / "metrics.jsonl"
        self.step = step
        self.record = record
        self.couriers = couriers
        with explain_unwritable(folder):
            self.earlier = cut_back(self.metrics, step)
            if record:
                append(self.metrics, b"")
            self.events = (
                EventFile(Path(folder) / "tensorboard", step=step) if tensorboard else None
            )
        self.sinks: dict[str, Sink] = {}
        self.started = time.monotonic()  # the wall clock may jump
        self.loads: list[float] = []

    def add_scalars(self, step: int, nimg: int, values: dict[str, float]) -> None:
        """Writes one line of metrics.jsonl and one point per TensorBoard curve.

        "time" is seconds of training since the run began, over all its sessions. JSON knows no NaN
        or infinity: such a value is null in the file (and itself in TensorBoard).

        Args:
            step: Real batches drawn.
            nimg: Real images shown.
            values: By their names.
        """
        numbers = {key: float(value) for key, value in values.items()}
        seconds = self.earlier + time.monotonic() - self.started
        entry: dict[str, float | None] = {"step": step, "nimg": nimg, "time": round(seconds, 3)}
        assert not entry.keys() & numbers.keys(), f"reserved: {sorted(entry)}"
        entry |= {key: value if math.isfinite(value) else None for key, value in numbers.items()}
        line = json.dumps(entry, allow_nan=False).encode() + b"\n"
        self.note_load()
        if self.record:
            self.guard("metrics.jsonl", lambda: append(self.metrics, line))
        if self.events is not None:
            self.guard("tensorboard", partial(self.events.add_scalars, step, numbers))
        for courier in self.couriers:
            courier.add_scalars(step, numbers)

    def note_load(self) -> None:
        """Notes how busy the machine is: a run's speed says little where others shared it."""
        with suppress(OSError, AttributeError):  # Windows has none
            self.loads.append(os.getloadavg()[0])

    def add_picture(self, step: int, tag: str, image: Image.Image) -> None:
        """Shows `image` in the loggers; the file in samples/ is the caller's."""
        if self.events is not None:
            self.guard("tensorboard", partial(self.events.add_picture, step, tag, image))
        for courier in self.couriers:
            courier.add_picture(step, tag, image)

    def add_sound(self, step: int, tag: str, wav: bytes) -> None:
        """Plays a WAV file in the loggers; the file in samples/ is the caller's."""
        if self.events is not None:
            self.guard("tensorboard", partial(self.events.add_sound, step, tag, wav))
        for courier in self.couriers:
            courier.add_sound(step, tag, wav)

    def add_text(self, tag: str, text: str, *, step: int) -> None:
        """Shows a string in the loggers; the file in samples/ is the caller's."""
        if self.events is not None:
            self.guard("tensorboard", partial(self.events.add_text, step, tag, text))
        for courier in self.couriers:
            courier.add_text(step, tag, text)

    def add_config(self, markdown: str) -> None:
        """Shows the config in TensorBoard, where this session begins.

        The loggers of other programs are given it at their start.
        """
        if self.events is not None:
            self.guard("tensorboard", partial(self.events.add_text, self.step, "config", markdown))

    def note_best(self, best: BestCheckpoint) -> None:
        """Notes the best checkpoint so far; metrics.jsonl and TensorBoard have no place for it."""
        for courier in self.couriers:
            courier.note_best(best)

    def guard(self, place: str, write: Callable[[], object]) -> bool:
        """Calls `write`; whatever it raises becomes one warning.

        For every file that training can do without, such as the sample grid.

        Args:
            place: Its name in the warning; one that has failed too often is given up.
            write: Writes it.

        Returns:
            Whether it was written.
        """
        return self.sinks.setdefault(place, Sink(place)).write(write)

    def rewind(self, step: int, *, again: str = "") -> None:
        """Drops what was logged after a step, from which the run goes on with a new random seed.

        Other programs cannot take back a point; there the later one follows the earlier.

        Args:
            step: The last whose lines stay.
            again: A prefix of keys, such as "eval/": lines of `step` itself with such keys are
                dropped too, they come again.
        """
        self.guard("metrics.jsonl", lambda: cut_back(self.metrics, step, again=again))
        if self.events is not None:
            self.guard("tensorboard", partial(self.events.forget, step))

    def __enter__(self) -> Logbook:
        """Is open already."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Closes it, also where the run has ended early."""
        self.close(failed=kind is not None)

    def close(self, *, failed: bool = False) -> None:
        """Says in run.log how busy the machine was and how much was lost.

        Nothing of its own files is buffered, so a run that is killed loses nothing of them.

        Args:
            failed: Whether the run did not reach its end, which other programs show.
        """
        for courier in self.couriers:
            courier.close(failed=failed)
        if self.loads:
            mean = sum(self.loads) / len(self.loads)
            logger.info("load %.2f on average, on %d cores", mean, os.cpu_count() or 1)
            self.loads.clear()
        for sink in self.sinks.values():
            if sink.lost:
                logger.info("%s: %d entries could not be written", sink.place, sink.lost)
        self.sinks.clear()


class Sink:
    """Counts the failures of one place that is written to."""

    def __init__(self, place: str):
        self.place = place
        self.failures = 0
        self.lost = 0

    def write(self, action: Callable[[], object]) -> bool:
        """Calls action() unless the place was given up, and returns whether it was written."""
        if self.failures < GIVE_UP_AFTER:
            try:
                action()
            except OSError as error:
                self.failures += 1
                if not self.lost:
                    logger.warning(
                        "%s cannot be written (%s); training goes on",
                        self.place,
                        error.strerror or error,
                    )
            except Exception as error:  # whatever a logger raises, the run goes on
                self.failures += 1
                level = logging.INFO if self.lost else logging.WARNING
                logger.log(
                    level,
                    "%s cannot be written (%s); training goes on",
                    self.place,
                    reason_of(error),
                    exc_info=error,
                )
            else:
                self.failures = 0  # a network disk that hiccups now and then is not given up
                return True
        self.lost += 1
        return False


class EventFile:
    """A TensorBoard event file, written at once and in this thread.

    torch's SummaryWriter writes in a thread of its own: there a full disk prints a traceback from
    nowhere and ends all logging, a kill loses what is queued, and importing it takes seconds. The
    format is a list of protobuf records.
    """

    def __init__(self, folder: Path, *, step: int):
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError as error:
            raise UserError(
                f"TensorBoard cannot be imported: {error}", "pip install tensorboard"
            ) from error
        self.event = event_pb2
        self.summary = summary_pb2
        self.tensor = tensor_pb2
        self.types = types_pb2
        self.record_writer = RecordWriter
        folder.mkdir(parents=True, exist_ok=True)
        # Sessions are read in the order of their names; a clock in the name could run backwards, a
        # number cannot.
        taken = [
            int(path.name.split(".")[3])
            for path in folder.glob("events.out.tfevents.[0-9]*[0-9].gancli")
        ]
        self.path = folder / f"events.out.tfevents.{max(taken, default=0) + 1:010d}.gancli"
        self.add(0, file_version="brain.Event:2")
        if any(path != self.path for path in folder.iterdir()):
            self.forget(step)

    def forget(self, step: int) -> None:
        """Makes TensorBoard forget the steps after this one, which are played again."""
        start = self.event.SessionLog(status=self.event.SessionLog.START)
        self.add(step + 1 if step else 0, session_log=start)

    def add(
        self,
        step: int,
        *,
        file_version: str | None = None,
        session_log: event_pb2.SessionLog | None = None,
        values: list[summary_pb2.Summary.Value] | None = None,
    ) -> None:
        """Appends one record."""
        summary = self.summary.Summary(value=values) if values else None
        event = self.event.Event(
            wall_time=time.time(),
            step=step,
            file_version=file_version,
            session_log=session_log,
            summary=summary,
        )
        record = io.BytesIO()
        self.record_writer(record).write(event.SerializeToString())
        append(self.path, record.getvalue())

    def add_scalars(self, step: int, values: dict[str, float]) -> None:
        """Adds a point to each curve."""
        self.add(
            step,
            values=[
                self.summary.Summary.Value(tag=tag, simple_value=value)
                for tag, value in values.items()
            ],
        )

    def add_picture(self, step: int, tag: str, image: Image.Image) -> None:
        """Adds an image."""
        png = io.BytesIO()
        image.save(png, format="PNG")
        proto = self.summary.Summary.Image(
            width=image.width,
            height=image.height,
            colorspace=len(image.getbands()),
            encoded_image_string=png.getvalue(),
        )
        self.add(step, values=[self.summary.Summary.Value(tag=tag, image=proto)])

    def add_sound(self, step: int, tag: str, wav: bytes) -> None:
        """Adds a WAV file."""
        with wave.open(io.BytesIO(wav), "rb") as file:
            proto = self.summary.Summary.Audio(
                sample_rate=file.getframerate(),
                num_channels=file.getnchannels(),
                length_frames=file.getnframes(),
                encoded_audio_string=wav,
                content_type="audio/wav",
            )
        self.add(step, values=[self.summary.Summary.Value(tag=tag, audio=proto)])

    def add_text(self, step: int, tag: str, markdown: str) -> None:
        """Adds a string."""
        plugin = self.summary.SummaryMetadata.PluginData(plugin_name="text")
        tensor = self.tensor.TensorProto(
            dtype=self.types.DT_STRING, string_val=[markdown.encode(errors="backslashreplace")]
        )
        self.add(
            step,
            values=[
                self.summary.Summary.Value(
                    tag=tag,
                    metadata=self.summary.SummaryMetadata(plugin_data=plugin),
                    tensor=tensor,
                )
            ],
        )


def append(path: Path, data: bytes) -> None:
    """Adds `data` to a file whole or not at all.

    The file is opened anew each time, or a folder that vanished would go unnoticed.
    """
    with open(path, "ab", buffering=0) as file:
        # Where to cut back to: half a line would make the file unreadable from there on.
        end = file.seek(0, os.SEEK_END)
        try:
            if file.write(data) < len(data):  # what a disk does with its last block
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise


def cut_back(path: Path, step: int, *, again: str = "") -> float:
    """Drops the lines of metrics.jsonl after a step, and one torn by a kill.

    A file that is not metrics.jsonl, or is too large to be read, is left as it is, and said.

    Args:
        path: The file, which need not be there.
        step: The last whose lines stay.
        again: As in `Logbook.rewind`.

    Returns:
        "time" of the last line kept, or 0.

    Raises:
        OSError: It cannot be written.
    """
    kept = []
    seconds = 0.0
    try:
        for line, entry in reading.read_json_lines(path):
            at = reading.convert_count(entry.get("step"))
            spent = reading.convert_number(entry.get("time"))
            repeated = again and at == step and any(str(key).startswith(again) for key in entry)
            if at is not None and at <= step and spent is not None and not repeated:
                seconds = spent
                kept.append(line if line.endswith(b"\n") else line + b"\n")
    except reading.Unreadable as error:
        logger.warning("%s; nothing is cut from it, new lines are added", error.message)
        return seconds
    new = b"".join(kept)
    # Lines are only dropped, so an equal size means an equal file.
    if path.exists() and len(new) != path.stat().st_size:
        atomic.write(path, lambda file: file.write(new))
    return seconds


@contextmanager
def explain_unwritable(folder: Path) -> Iterator[None]:
    """Turns an OSError at the start of a run into a sentence."""
    try:
        yield
    except OSError as error:
        kind, hint = (
            (TemporaryFailure, "free some space and resume")
            if disk_is_full(error)
            else (GanError, "choose another folder with hydra.run.dir=...")
        )
        raise kind(f"cannot write in {folder}: {error.strerror or error}", hint) from error
