"""What was measured of experiments and of models with losses: read from conf/measured.json.

How long the same runs take on another processor, without running them, stands in
conf/forecasts.json. `python -m gancli.commands.gallery` writes both and the page docs/measured.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict, TypeGuard

from gancli.config.folders import find_conf_dir
from gancli.files import reading
from gancli.files.reading import convert_number

# key in evaluation.json -> how it is said, in the order in which it is said
SAID = {
    "class_accuracy": "class accuracy {:.3f}",
    "fd_self": "fd_self {:.2f}",
    "modes": "{:.0f} classes",
    "high_quality": "high quality {:.2f}",
    "psnr": "PSNR {:.1f} dB",
    "ssim": "SSIM {:.2f}",
    "code_accuracy": "code accuracy {:.3f}",
    "discriminative": "discriminative {:.3f}",
    "autocorrelation": "autocorrelation {:.3f}",
    "nll": "NLL {:.2f}",
    "nll_oracle": "NLL of the oracle {:.2f}",
    "swd": "swd {:.1f}",
}
MOST_SAID = 3
# ending of a key -> what it was reached by: it is said behind the number it belongs to
BESIDE = {"source": "copied source", "mean": "mean image"}


class Measured(TypedDict):
    """One run after another with the same words and other seeds.

    Attributes:
        words: What is typed behind `gan train`.
        seeds: With which it was run.
        steps: Real batches of each run.
        cpu_s: Processor seconds of the whole command, evaluations and all, by seed.
        wall_s: Seconds by the clock, by seed; of a busy machine.
        values: Name in evaluation.json -> the number at the last step, by seed.
        processor: That computed.
        threads: Of each run.
        precision: bf16 or fp32.
        date: Of the last run, year-month-day.
        picture: In docs/gallery; "" for none.
    """

    words: list[str]
    seeds: list[int]
    steps: int
    cpu_s: list[float]
    wall_s: list[float]
    values: dict[str, list[float]]
    processor: str
    threads: int
    precision: str
    date: str
    picture: str


class Forecast(TypedDict):
    """What a run will take on some processor, reckoned from a few of its steps.

    Attributes:
        words: What is typed behind `gan train`.
        steps: Real batches of the run.
        cpu_s: Processor seconds of the whole command, its start and its evaluations with it.
        step_ms: Of those, milliseconds of a step on average.
        processor: That computed, and behind a comma which instructions torch used.
        threads: Of it.
        precision: bf16 or fp32.
        date: Year-month-day.
    """

    words: list[str]
    steps: int
    cpu_s: float
    step_ms: float
    processor: str
    threads: int
    precision: str
    date: str


def find_measured_file() -> Path:
    """Finds the bundled file of what was measured."""
    return find_conf_dir() / "measured.json"


def find_forecasts_file() -> Path:
    """Finds the bundled file of what runs take on another processor."""
    return find_conf_dir() / "forecasts.json"


def read_forecasts(path: Path | None = None) -> list[Forecast]:
    """Reads what runs take on another processor, as `read_measured` does; None: bundled."""
    try:
        found = reading.read_json(path or find_forecasts_file())
    except reading.Unreadable:
        return []
    if not isinstance(found, list):
        return []
    return [entry for entry in found if is_forecast(entry)]


def is_forecast(entry: object) -> TypeGuard[Forecast]:
    """Says whether an entry of that file has all its parts."""
    if not isinstance(entry, dict) or entry.keys() != Forecast.__annotations__.keys():
        return False
    return convert_number(entry["cpu_s"]) is not None and isinstance(entry["words"], list)


def find_forecast(forecasts: Iterable[Forecast], entry: Measured) -> Forecast | None:
    """Finds what the run of an entry takes elsewhere; None where that is not known any more.

    With other steps the recipe has changed since. A forecast for what the entry itself was
    computed with tells nothing new.
    """
    for found in forecasts:
        same = found["words"] == entry["words"] and found["steps"] == entry["steps"]
        if same and describe_arithmetic(found) != describe_arithmetic(entry):
            return found
    return None


def read_measured(path: Path | None = None) -> list[Measured]:
    """Reads what was measured.

    Args:
        path: The file; None takes the bundled one.

    Returns:
        An entry for each command; none where there is no such file, or it holds other things.
    """
    try:
        found = reading.read_json(path or find_measured_file())
    except reading.Unreadable:
        return []
    if not isinstance(found, list):
        return []
    return [entry for entry in found if is_sound(entry)]


def is_sound(entry: object) -> TypeGuard[Measured]:
    """Says whether an entry of the file has all its parts."""
    if not isinstance(entry, dict):
        return False
    seeds = entry.get("seeds")
    values = entry.get("values")
    if entry.keys() != Measured.__annotations__.keys() or not seeds or not isinstance(values, dict):
        return False
    rows = [entry["cpu_s"], entry["wall_s"], *values.values()]
    return all(
        isinstance(row, list)
        and len(row) == len(seeds)
        and all(convert_number(value) is not None for value in row)
        for row in rows
    )


def find_experiment(entries: Iterable[Measured], name: str) -> Measured | None:
    """Finds what was measured of an experiment without another word."""
    words = [f"experiment={name}"]
    return next((entry for entry in entries if entry["words"] == words), None)


def describe_time(entry: Measured, forecasts: Iterable[Forecast] = ()) -> str:
    """Says how long a run takes in processor time of one core, and with which arithmetic.

    Args:
        entry: What was measured.
        forecasts: Of the same run on another processor, whose time is said too.
    """
    said = f"{describe_seconds(mean(entry['cpu_s']))} of one core {describe_arithmetic(entry)}"
    other = find_forecast(forecasts, entry)
    if other is None:
        return said
    return f"{said}, about {describe_seconds(other['cpu_s'])} {describe_arithmetic(other)}"


def describe_seconds(seconds: float) -> str:
    """Writes seconds, from 100 on in minutes."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def describe_arithmetic(entry: Measured | Forecast) -> str:
    """Says in which precision a processor computed, and with which instructions if it is noted."""
    instructions = entry["processor"].rpartition(", ")[2] if ", " in entry["processor"] else ""
    return f"in {entry['precision']}" + (f" with {instructions}" if instructions else "")


def describe_processors(native: bool | None) -> str:
    """Says which of the times of experiments is that of a processor.

    Args:
        native: As `machine.multiplies_bf16` gives it.
    """
    has = "bf16 (avx512_bf16, amx_bf16)"
    advice = {
        True: f"this processor has {has}",
        False: f"this processor has no {has}: the times in fp32 count, 2 to 4 times as long",
        None: f"a processor without {has} takes the times in fp32, 2 to 4 times as long",
    }
    return f"times: one core of an AMD EPYC, whole runs with their evaluations; {advice[native]}"


def describe_values(values: Mapping[str, list[float]]) -> str:
    """Says the numbers that were reached: means, and their spread over several seeds.

    Of images made out of images, what the copied source and the mean image reach stands behind.
    """
    said = [
        describe_value(form, values[key]) + describe_baselines(key, values)
        for key, form in SAID.items()
        if key in values
    ]
    return ", ".join(said[:MOST_SAID])


def describe_baselines(key: str, values: Mapping[str, list[float]]) -> str:
    """Says in brackets what an answer that has learnt nothing reaches; "" where it is unknown."""
    form = SAID[key]
    digits = form[form.index("{") : form.index("}") + 1]
    said = [
        f"{words} {digits.format(mean(values[f'{key}_{ending}']))}"
        for ending, words in BESIDE.items()
        if f"{key}_{ending}" in values
    ]
    return f" ({', '.join(said)})" if said else ""


def describe_value(form: str, values: list[float]) -> str:
    """Says one number by its format, with the standard deviation of several."""
    text = form.format(mean(values))
    if len(values) == 1:
        return text
    spread = (sum((value - mean(values)) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    digits = form[form.index("{") : form.index("}") + 1]
    return text.replace(
        digits.format(mean(values)), f"{digits.format(mean(values))} ± {digits.format(spread)}", 1
    )


def mean(values: list[float]) -> float:
    """Returns the mean of some numbers."""
    return sum(values) / len(values)


def describe_forecast(found: Forecast) -> str:
    """Says in a line how long a run takes that was not measured, from some of its steps."""
    seconds = describe_seconds(found["cpu_s"])
    return f"takes about {seconds} of one core {describe_arithmetic(found)}"


def describe_measured(entry: Measured, forecasts: Iterable[Forecast] = ()) -> str:
    """Says in a line how long a run takes, here or on another processor, and what it reached."""
    n = len(entry["seeds"])
    seeds = "1 seed" if n == 1 else f"{n} seeds"
    reached = describe_values(entry["values"])
    return f"{describe_time(entry, forecasts)}: {reached} ({seeds})"
