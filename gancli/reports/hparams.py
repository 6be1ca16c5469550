"""TensorBoard's hparams view: what was chosen for a run, and what came of it."""

from __future__ import annotations

import io
import math
import time
from pathlib import Path
from typing import Protocol

from gancli.files import atomic

NAME = "events.out.tfevents.0000000001.hparams"


def write_hparams(
    run_folder: Path, config: dict[str, object], values: dict[str, float], *, step: int = 0
) -> Path:
    """Writes (or replaces) one session of the hparams plugin below the run's tensorboard/.

    Args:
        run_folder: The folder of the run.
        config: Flat, key -> number, bool or string; other things are written as strings.
        values: Metrics; those that are not finite are left out.
        step: At which they were measured.

    Returns:
        The file.

    Raises:
        OSError: It cannot be written.
    """
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
    for key, value in config.items():
        put(start.hparams[key], value)
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
    session = [
        (
            metadata.SESSION_START_INFO_TAG,
            plugin_data_pb2.HParamsPluginData(session_start_info=start),
        ),
        (metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end)),
    ]
    summaries = [
        summary_pb2.Summary.Value(
            tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
        )
        for tag, data in session
    ]
    summaries += [
        summary_pb2.Summary.Value(tag=key, simple_value=value)
        for key, value in values.items()
        if math.isfinite(value)
    ]
    # A folder of its own: among the run's event files it would be read before those of a later
    # session, which TensorBoard then takes for out of order and drops.
    path = Path(run_folder) / "tensorboard" / "hparams" / NAME
    replace(path, [(0, None), *((step, value) for value in summaries)])
    return path


class Slot(Protocol):
    """The part of a protobuf Value that is written."""

    bool_value: bool
    number_value: float
    string_value: str


def put(slot: Slot, value: object) -> None:
    """Puts one plain value into a protobuf Value. bool first: True is an int."""
    if isinstance(value, bool):
        slot.bool_value = value
    elif isinstance(value, int | float) and math.isfinite(value):
        slot.number_value = value
    else:
        slot.string_value = str(value)


def replace(path: Path, records: list[tuple[int, object]]) -> None:
    """Writes an event file, whole or not at all.

    Args:
        path: Where it goes.
        records: (step, Summary.Value); None is the header that every such file begins with.
    """
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for step, value in records:
        header = (
            {"file_version": "brain.Event:2"}
            if value is None
            else {"summary": summary_pb2.Summary(value=[value])}
        )
        writer.write(
            event_pb2.Event(wall_time=time.time(), step=step, **header).SerializeToString()
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replace_file(path) as aside:
        aside.write_bytes(buffer.getvalue())
