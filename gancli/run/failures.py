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
def explained(settings: TrainerConfig, device: torch.device) -> Iterator[None]:
    """Memory that ran out, and a batch normalization that was given a single value a channel; anything else passes as it is."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        # What the CPU's allocator raises has no type of its own.
        if not isinstance(
            error, torch.OutOfMemoryError | MemoryError
        ) and "can't allocate memory" not in str(error):
            raise
        raise out_of_memory(settings, device) from error
    except ValueError as error:
        if "more than 1 value per channel" not in str(
            error
        ):  # torch.nn.functional.batch_norm's and instance_norm's words
            raise
        raise lonely(settings) from error


def out_of_memory(settings: TrainerConfig, device: torch.device) -> GanError:
    from gancli.precision import peak_memory

    size = settings.batch_size
    pieces = settings.accumulate
    return GanError(
        f"out of memory on {device}: {peak_memory(device) / 1e9:.1f} GB at the peak, with "
        f"trainer.batch_size={size} in {pieces} piece{'s' * (pieces > 1)}",
        f"trainer.accumulate={2 * pieces} computes the same batch in smaller pieces;\n"
        f"trainer.batch_size={max(1, size // 2)}, or a smaller model.width or dataset.resolution, needs less;\n"
        "trainer.precision=bf16 halves what the layers keep",
    )


def lonely(settings: TrainerConfig) -> UserError:
    size = settings.batch_size
    pieces = settings.accumulate
    return UserError(
        f"a layer that normalises over the batch or over places was given one value a channel "
        f"(trainer.batch_size={size} in {pieces} piece{'s' * (pieces > 1)})",
        f"give more images at once, trainer.batch_size={max(2, 2 * pieces)}, a larger dataset.resolution, or a network "
        "with another norm",
    )


@contextlib.contextmanager
def explained_writes(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(out, error, "choose another out=") from error


def lighter(
    settings: TrainerConfig, dataset: Mapping[str, Any], model: Mapping[str, Any]
) -> tuple[str, ...]:
    """What makes a step quicker, as KEY=VALUE: fewer, smaller images and a narrower network, as far as they can be halved.

    settings, dataset, model: these parts of the composed config, the data set's scanned.
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
