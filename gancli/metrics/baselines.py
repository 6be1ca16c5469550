"""What an answer that has learnt nothing reaches: the copied source, and the mean of the targets.

Known without torch.
"""

from __future__ import annotations

from collections.abc import Mapping

BASELINES = {"source": "copied source", "mean": "mean image"}  # ending of a name -> in words


def list_baselines(values: Mapping[str, object]) -> dict[str, str]:
    """Lists those baselines that an evaluation has, by the ending of their names.

    Args:
        values: Name -> number; `psnr_mean` stands beside `psnr`.
    """
    return {
        ending: words
        for ending, words in BASELINES.items()
        if any(find_measure(name, values) and name.endswith(f"_{ending}") for name in values)
    }


def find_measure(name: str, values: Mapping[str, object]) -> str:
    """Finds the number beside which a baseline's is read.

    Args:
        name: As an evaluation has it.
        values: All its numbers.

    Returns:
        `psnr` for `psnr_mean`; "" for what is no baseline, or has no number of outputs beside it.
    """
    measure, _, ending = name.rpartition("_")
    return measure if ending in BASELINES and measure in values else ""


def list_unreached(values: Mapping[str, float]) -> list[str]:
    """Lists in words the baselines that some number of the outputs does not reach.

    All of these numbers are higher where they are better.
    """
    return [
        words
        for ending, words in list_baselines(values).items()
        if any(values[key] < values.get(f"{key}_{ending}", values[key]) for key in values)
    ]
