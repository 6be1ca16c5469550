"""What breaks in the middle of the work, in words and with the keys that help."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gancli.errors import GanError, UserError, unwritable

if TYPE_CHECKING:
    import torch

    from gancli.config.schema import TrainerConfig


@contextlib.contextmanager
def explain_errors(settings: TrainerConfig, device: torch.device) -> Iterator[None]:
    """Puts two failures of torch's into words; anything else passes as it is.

    Args:
        settings: The section `trainer` of the run.
        device: Where it trains.

    Raises:
        GanError: Memory ran out.
        UserError: A normalisation was given a single value a channel.
    """
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        # What the CPU's allocator raises has no type of its own.
        if not isinstance(
            error, torch.OutOfMemoryError | MemoryError
        ) and "can't allocate memory" not in str(error):
            raise
        raise make_memory_error(settings, device) from error
    except ValueError as error:
        if "more than 1 value per channel" not in str(
            error
        ):  # torch.nn.functional.batch_norm's and instance_norm's words
            raise
        raise make_norm_error(settings) from error


def make_memory_error(settings: TrainerConfig, device: torch.device) -> GanError:
    """Says that memory ran out, and what would take less."""
    from gancli.precision import peak_memory

    size = settings.batch_size
    pieces = settings.accumulate
    return GanError(
        f"out of memory on {device}: {describe_peak(peak_memory(device))}with "
        f"trainer.batch_size={size} in {pieces} piece{'s' * (pieces > 1)}",
        f"trainer.accumulate={2 * pieces} computes the same batch in smaller pieces;\n"
        f"trainer.batch_size={max(1, size // 2)}, or a smaller model.width or "
        "dataset.resolution, needs less;\n"
        "trainer.precision=bf16 halves what the layers keep",
    )


def describe_peak(peak: int | None) -> str:
    """Says how many bytes were in use, where that is known, with a comma behind it."""
    return "" if peak is None else f"{peak / 1e9:.1f} GB at the peak, "


def make_norm_error(settings: TrainerConfig) -> UserError:
    """Says that a normalisation had nothing to average over."""
    size = settings.batch_size
    pieces = settings.accumulate
    return UserError(
        f"a layer that normalises over the batch or over positions was given one value a channel "
        f"(trainer.batch_size={size} in {pieces} piece{'s' * (pieces > 1)})",
        f"give more images at once, trainer.batch_size={max(2, 2 * pieces)}, a larger "
        "dataset.resolution, or a network with another norm",
    )


@contextlib.contextmanager
def explain_write_errors(out: Path) -> Iterator[None]:
    """Raises GanError in place of an OSError, with the place that cannot be written."""
    try:
        yield
    except OSError as error:
        raise unwritable(out, error, "choose another out=") from error


def suggest_lighter(
    settings: TrainerConfig, dataset: Mapping[str, Any], model: Mapping[str, Any]
) -> tuple[str, ...]:
    """Suggests what makes a step quicker, as far as it can be halved.

    Args:
        settings: The section `trainer`.
        dataset: That section, its resolution known.
        model: That section as composed, which still has the keys that feed others.

    Returns:
        KEY=VALUE for fewer, smaller images and a narrower network.
    """
    found = []
    pieces = settings.accumulate * int(os.environ.get("WORLD_SIZE", "1"))
    for size in (settings.batch_size // 4, settings.batch_size // 2):
        if size >= 4 and size % pieces == 0:
            found.append(f"trainer.batch_size={size}")
            break
    sides = dataset["resolution"]
    sides = [sides] if isinstance(sides, int) else list(sides)
    if all(isinstance(side, int) and side >= 64 and side % 2 == 0 for side in sides):
        half = ",".join(str(side // 2) for side in sides)
        found.append(f"dataset.resolution={half if len(sides) == 1 else f'[{half}]'}")
    for key in ("width", "channel_base"):
        width = model.get(key)
        if isinstance(width, int) and width >= 16 and width % 2 == 0:
            found.append(f"model.{key}={width // 2}")
    return tuple(found)
