"""gan evaluate: measures a checkpoint, or one folder of images against another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gancli.commands.endings import after_checkpoint, say_end
from gancli.machine import wait_briefly
from gancli.render import messages
from gancli.run.measure import EvaluationOptions, measure_checkpoint, read_evaluation_options

if TYPE_CHECKING:
    from gancli.data.base import Decoded
    from gancli.evaluation.samples import Report
    from gancli.modality import Modality


def main(argv: list[str]) -> int:
    """Shows the numbers with their protocol and writes them.

    Raises:
        Problems: All that is wrong with the options.
        UserError: The checkpoint, the folders or the file to write do not fit.
    """
    wait_briefly(os.environ)
    options = read_evaluation_options(argv)
    if options.protocol == "paper":
        compare_with_paper(options)
    elif options.ckpt is not None:
        evaluate_checkpoint(options)
    else:
        compare_folders(options)
    return 0


def evaluate_checkpoint(options: EvaluationOptions) -> None:
    """Measures a checkpoint, shows the numbers and writes them beside it."""
    found = measure_checkpoint(options)
    title = f"{found.checkpoint}, step {found.step}"
    show_report(found.report, title=title, target=found.target, reported=found.published)
    found.write()
    say_end(str(found.out), after_checkpoint(found.checkpoint))


def compare_with_paper(options: EvaluationOptions) -> None:
    """Measures what the paper of a run reports, shows both numbers and writes them."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gancli.config.published import NAMES
    from gancli.run.paper import measure_as_paper

    found = measure_as_paper(options)
    console = Console(highlight=False)
    title = messages.printable(f"{found.checkpoint}, step {found.step}")
    console.print(title, style="bold", markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("metric")
    for name in ("published", "here", "n"):
        table.add_column(name, justify="right")
    table.add_column("what differs")
    for row in found.rows:
        here = "not computed" if row.here is None else format_number(row.here)
        n = "" if row.n is None else f"{row.n:,}"
        differs = "; ".join(row.differs)
        name, unit, _ = NAMES[row.metric]
        published = f"{row.published:g}{unit}"
        table.add_row(name, published, here, n, Text(messages.printable(differs)))
    console.print(table)
    found.write()
    say_end(str(found.out), after_checkpoint(found.checkpoint))


def compare_folders(options: EvaluationOptions) -> None:
    """Measures generated images against real ones; writes the numbers where `out` is given."""
    from gancli.render import status

    assert options.real is not None and options.fake is not None
    if any(value is not None for value in options.dataset.values()):
        messages.warn("dataset.* has no effect: real= and fake= are the folders")
    status.say("loading torch…")
    from gancli.config.own_metrics import check_typed_metrics
    from gancli.evaluation.samples import compare, write_report
    from gancli.precision import resolve_device

    check_typed_metrics(options.metrics.own)
    status.say("reading the images…")
    real, fake, modality, note = open_folders(options.real, options.fake, n=options.metrics.n)
    report = compare(
        real=real,
        fake=fake,
        modality=modality,
        spec=options.metrics,
        seed=options.seed,
        device=resolve_device(options.device),
    )
    report.protocol["images"] = note
    show_report(report, title=f"{options.fake} against {options.real}", target="")
    out = options.out
    if out is not None:
        write_report(out, report, step=0)
    say_end(str(out) if out else "", ["gan", "data", options.fake])


def open_folders(real: str, fake: str, *, n: int | None) -> tuple[Decoded, Decoded, Modality, str]:
    """Loads two folders at one size and number of channels.

    The size is that of the real images, unless the generated ones are smaller.

    Args:
        real: The folder of real images.
        fake: The folder of generated ones.
        n: How many of the generated ones; None takes all.

    Returns:
        Real images, generated images, of what kind the real ones are, and how they were made
        alike, in words.
    """
    from gancli.data.base import pair
    from gancli.data.folder import Folder
    from gancli.modality import make_modality

    real_facts, fake_facts = (Folder(path=path, holdout=0).scan() for path in (real, fake))
    real_size = pair(real_facts["resolution"])
    fake_size = pair(fake_facts["resolution"])
    smaller = fake_size[0] * fake_size[1] < real_size[0] * real_size[1]
    height, width = fake_size if smaller else real_size
    channels = real_facts["channels"]
    decoded = [
        Folder(
            path=path, resolution=[height, width], channels=channels, limit=limit, holdout=0
        ).load()
        for path, limit in ((real, None), (fake, n))
    ]
    words = [f"{width}x{height}, {channels} channels"]
    if real_size != fake_size:
        words.append(
            f"real ones measure {real_size[1]}x{real_size[0]}, "
            f"generated ones {fake_size[1]}x{fake_size[0]}"
        )
    words.append("other sizes: shorter side resized (Lanczos down, bicubic up), centre cut")
    return decoded[0], decoded[1], make_modality(real_facts), "; ".join(words)


def show_report(report: Report, *, title: str, target: str, reported: Sequence[str] = ()) -> None:
    """Prints the numbers, the protocol, what was left out, and what others reached.

    Args:
        report: What was measured.
        title: What it was measured of.
        target: The class of the data set; toy data have a table of their own.
        reported: What the paper of the run's experiment reports, a line each.
    """
    from rich.console import Console
    from rich.table import Table

    from gancli.metrics.baselines import find_measure, list_baselines
    from gancli.metrics.settings import published

    console = Console(highlight=False)
    console.print(messages.printable(title), style="bold", markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("metric")
    table.add_column("value", justify="right")
    baselines = list_baselines(report.values)
    for words in baselines.values():
        table.add_column(words, justify="right")
    if report.reals:
        table.add_column("held-out reals", justify="right")
    table.add_column("better")
    for key, value in report.values.items():
        if find_measure(key, report.values):
            continue  # a baseline, in its own column
        beside = [report.values.get(f"{key}_{ending}") for ending in baselines]
        cells = [key, *("" if each is None else format_number(each) for each in (value, *beside))]
        if report.reals:
            cells.append(format_number(report.reals[key]) if key in report.reals else "")
        table.add_row(*cells, {"min": "lower", "max": "higher"}.get(report.better(key) or "", ""))
    console.print(table)
    console.print("\nprotocol", style="bold")
    for key, fact in report.protocol.items():
        console.print(messages.printable(f"  {key:<23} {fact}"), markup=False, soft_wrap=True)
    if report.skipped:
        console.print("\nskipped", style="bold")
    for reason in dict.fromkeys(report.skipped.values()):
        names = ", ".join(item for item, why in report.skipped.items() if why == reason)
        console.print(messages.printable(f"  {names}: {reason}"), markup=False, soft_wrap=True)
    if reported:
        console.print("\npublished for this run's experiment", style="bold")
    for line in reported:
        console.print(messages.printable(f"  {line}"), markup=False, soft_wrap=True)
    for k, line in enumerate(published(target)):
        console.print(f"  {line}" if k else f"\n{line}", style="" if k else "bold", markup=False)


def format_number(value: float) -> str:
    """Writes six digits; powers of ten where the number is large."""
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.3e}"
