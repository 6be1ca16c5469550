"""Measuring a checkpoint as its paper's numbers were measured, and comparing the two."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from gancli.config.published import NAMES, find_published_problems
from gancli.errors import UserError
from gancli.run.checkpoint_options import find_run_folder, open_game
from gancli.run.measure import EvaluationOptions, measure_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from gancli.config.schema import MetricsConfig, PublishedMetric
    from gancli.evaluation.samples import Report

USUAL = 50_000  # samples of FID and of the inception score, where a paper does not say
# A published metric that is computed here: the item that gives it, and how its number is called.
ITEMS = {
    "fid": ("frechet", ("fid", "fd_")),
    "is": ("inception_score", ("is", "is_")),
    "psnr": ("psnr", ("psnr",)),
    "modes": ("modes", ("modes",)),
    "mode_kl": ("modes", ("kl",)),
}
BY_BACKBONE = ("fid", "is")  # these compare features, the papers' those of Inception
Reference = Literal["train", "held"]


@dataclass(frozen=True)
class Row:
    """A published number and the one that was measured for it.

    Attributes:
        metric: As `published` names it.
        published: The paper's number.
        here: The measured one; None where it was not computed.
        key: How an evaluation calls it, "" where it was not computed.
        n: Samples that were drawn; None where it was not computed.
        differs: What is not as in the paper, or is not known to be.
        source: Who reports the published number.
        protocol: What the number was measured with; {} where it was not computed.
    """

    metric: PublishedMetric
    published: float
    here: float | None
    key: str
    n: int | None
    differs: tuple[str, ...]
    source: str
    protocol: dict[str, object]


@dataclass(frozen=True)
class Comparison:
    """The published numbers of a run beside its own.

    Attributes:
        rows: One for each published number, in their order.
        step: The step of the checkpoint.
        checkpoint: Its file.
        out: Where the rows go.
    """

    rows: tuple[Row, ...]
    step: int
    checkpoint: Path
    out: Path

    def write(self) -> None:
        """Writes the rows as a list, for several may be of the same metric.

        Raises:
            UserError: The file cannot be written.
        """
        from gancli.errors import unwritable
        from gancli.files import atomic

        rows = [describe_row(row, step=self.step) for row in self.rows]
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_text(self.out, json.dumps(rows, indent=2, allow_nan=False) + "\n")
        except OSError as error:
            raise unwritable(self.out, error, "choose another file with out=") from error


def describe_row(row: Row, *, step: int) -> dict[str, Any]:
    """Returns a row as the file has it; a number that is not finite is a word there."""
    from gancli.evaluation.samples import replace_infinite

    here = row.here
    return {
        "metric": row.metric,
        "published": row.published,
        "here": here if here is None or math.isfinite(here) else str(here),
        "key": row.key,
        "n": row.n,
        "differs": list(row.differs),
        "source": row.source,
        "step": step,
        "protocol": replace_infinite(row.protocol),
    }


def measure_as_paper(options: EvaluationOptions) -> Comparison:
    """Measures each published number of a run by its own protocol; writes nothing.

    Args:
        options: With a `ckpt`.

    Raises:
        UserError: The run has no published numbers, Inception's weights are missing, or the
            checkpoint, its data or the options do not fit.
    """
    from gancli.files import atomic
    from gancli.precision import resolve_device
    from gancli.render import status

    status.say("loading torch…")
    device = resolve_device(options.device)
    loaded = open_game(str(options.ckpt), ema=options.ema, trust=options.trust, device=str(device))
    entries = read_entries(loaded.tree["config"], ckpt=str(options.ckpt))
    folder = find_run_folder(loaded.path)
    if options.out is None:
        atomic.refuse_links(folder, ["evaluations"])
    plans = [plan_entry(entry, options) for entry in entries]
    if any(
        spec.features == "inception" and entry["metric"] in BY_BACKBONE
        for entry, (spec, _) in zip(entries, plans, strict=True)
    ):
        from gancli.metrics import features

        features.inception(options.metrics.weights, device)  # refused before anything is drawn
    reports = measure_specs([spec for spec, _ in plans], options)
    return Comparison(
        rows=tuple(
            make_row(entry, report, spec=spec, differs=differs)
            for entry, report, (spec, differs) in zip(entries, reports, plans, strict=True)
        ),
        step=loaded.tree["progress"]["step"],
        checkpoint=loaded.path,
        out=options.out or folder / "evaluations" / "paper.json",
    )


def read_entries(config: dict[str, Any], *, ckpt: str) -> list[dict[str, Any]]:
    """Returns the published numbers of a checkpoint's config. Raises UserError without any."""
    published = config.get("published")
    if not published or find_published_problems(published):
        raise UserError(
            f"{ckpt} has no published numbers to compare with: it was not trained with an "
            "unchanged experiment of a paper",
            "leave protocol=paper out; `gan list experiment` shows which experiments have numbers",
        )
    return list(published)


def plan_entry(
    entry: dict[str, Any], options: EvaluationOptions
) -> tuple[MetricsConfig, tuple[str, ...]]:
    """Says how a published number is measured here, and what differs from the paper.

    Args:
        entry: A checked entry of `published`.
        options: What was typed; its n, features and reference win.

    Returns:
        The section `metrics` for this number alone, and the differences in words.
    """
    metric = entry["metric"]
    differs: list[str] = []
    n = entry.get("n") or (USUAL if metric in BY_BACKBONE else None)
    if options.typed_n is not None:
        if options.typed_n != entry.get("n"):
            paper = f"{entry['n']:,} in the paper" if entry.get("n") else "the paper does not say"
            differs.append(f"n={options.typed_n} as typed ({paper})")
        n = options.typed_n
    elif not entry.get("n"):
        differs.append(f"n is not given; {n:,} is usual" if n else "n is not given")
    reference: Reference = options.metrics.reference
    paper_reference = entry.get("reference")
    if paper_reference is not None:
        if reference != "train" or paper_reference != "training images":
            differs.append(f"metrics.reference={reference} ({paper_reference} in the paper)")
    elif metric == "fid":
        differs.append(f"the reference is not given; {reference} images here")
    features = options.metrics.features
    if metric in BY_BACKBONE:
        features = "inception" if features == "auto" else features
        if features != "inception":
            differs.append(f"features={features} (Inception in the paper)")
    items = (ITEMS[metric][0],) if metric in ITEMS else ()
    spec = replace(
        options.metrics, items=items, n=n, reference=reference, features=features, floor=False
    )
    return spec, tuple(differs)


def measure_specs(
    specs: Sequence[MetricsConfig], options: EvaluationOptions
) -> list[Report | None]:
    """Measures each choice of metrics; those that differ in their items alone share samples.

    Returns:
        A report for each; None where it has no items.

    Raises:
        UserError: The checkpoint, its data or the options do not fit.
    """
    measured: list[tuple[MetricsConfig, Report]] = []
    reports: list[Report | None] = []
    for spec in specs:
        shared = replace(spec, items=())
        report = next((report for known, report in measured if known == shared), None)
        if spec.items and report is None:
            alike = [other.items for other in specs if replace(other, items=()) == shared]
            items = tuple(dict.fromkeys(item for some in alike for item in some))
            together = replace(options, metrics=replace(spec, items=items))
            report = measure_checkpoint(together).report
            measured.append((shared, report))
        reports.append(report if spec.items else None)
    return reports


def make_row(
    entry: dict[str, Any], report: Report | None, *, spec: MetricsConfig, differs: Sequence[str]
) -> Row:
    """Puts a published number and the one of a report beside each other.

    Args:
        entry: A checked entry of `published`.
        report: What was measured for it; None where nothing here computes such a number.
        spec: What was asked for.
        differs: What is known to differ from the paper before measuring.
    """
    metric = entry["metric"]
    value = float(entry["value"])
    source = str(entry["source"])
    if report is None:
        why = f"gan evaluate has no {NAMES[metric][0]}"
        return Row(metric, value, None, "", None, (why,), source, {})
    item, names = ITEMS[metric]
    key = next((key for key in report.values if fits(key, names)), "")
    if not key:
        why = report.skipped.get(item, "this kind of data has no such number")
        return Row(metric, value, None, "", None, (why,), source, {})
    drawn = int(str(report.protocol["n_fake"]))
    said = list(differs)
    if spec.n and drawn != spec.n:
        said.append(f"{drawn:,} samples, for the data have no more")
    backbone = report.protocol.get("backbone")
    if spec.features == "inception" and metric in BY_BACKBONE and backbone != "inception":
        said.append(f"features of {backbone}: the file of weights is not the well-known one")
    return Row(metric, value, report.values[key], key, drawn, tuple(said), source, report.protocol)


def fits(key: str, names: Sequence[str]) -> bool:
    """Says whether a number of an evaluation is one of these: a name, or a beginning with _."""
    return key in names or any(
        name.endswith("_") and key.startswith(name) and not key.endswith("_std") for name in names
    )
