"""gan evaluate: how good a checkpoint is, or one folder of images against another, in numbers with their protocol."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from gancli.commands import checkpoint_verbs
from gancli.commands.endings import after_checkpoint, say_end, with_ending
from gancli.errors import Problems, UserError
from gancli.render import messages

MOST_NAME = 160  # characters of a file name
# Of a part `metrics`: these change no number, or stand in the file's name by themselves.
UNTOLD = ("every", "floor", "best", "best_mode", "n", "features", "reference")
MOST_HELD = 10_000  # of a test split: MNIST's and CIFAR's have as many

if TYPE_CHECKING:
    from gancli.config.compose import Composed
    from gancli.data.base import Decoded, Source
    from gancli.evaluation.samples import Report


def main(argv: list[str]) -> int:
    options = read_options(argv)
    if options["ckpt"] is not None:
        of_checkpoint(options)
    else:
        of_folders(options)
    return 0


def read_options(argv: Sequence[str]) -> dict:
    """The checked options of a command line, with "asked" from `describe_metrics`. Raises Problems."""
    found = checkpoint_verbs.compose_options("evaluate", argv)
    options = checked(found.cfg)
    options["asked"] = describe_metrics(found)
    return options


def checked(cfg) -> dict:
    """The options as plain data. Raises Problems with all that is wrong; without torch."""
    from gancli.config.closed import closed_problems
    from gancli.config.schema import MetricsConfig
    from gancli.files.paths import DATA, WEIGHTS, missing_problems
    from gancli.metrics.settings import LEAST, problems, unknown_items
    from gancli.render import status

    kinds = {
        "ckpt": str | None,
        "real": str | None,
        "fake": str | None,
        "n": int | None,
        "seed": int,
        "ema": bool,
        "out": str | None,
        "device": Literal["auto", "cpu", "cuda", "mps"],
    }
    usage = "gan evaluate ckpt=outputs/<model>-<dataset>/<stamp>, or real=FOLDER fake=FOLDER"
    files = {"real": DATA, "fake": DATA}
    options, found = checkpoint_verbs.read(cfg, kinds, needs=(), usage=usage, files=files)
    unfit = closed_problems({"metrics": options["metrics"]}, {"metrics": MetricsConfig})
    found += unfit + unknown_items(options["metrics"])
    found += [] if unfit else problems(options["metrics"])
    if isinstance(options["n"], int) and options["n"] < LEAST:
        found.append((f"n={options['n']} does not fit", f"give {LEAST} or more"))
    given = [key for key in ("ckpt", "real", "fake") if options[key] is not None]
    if given not in (["ckpt"], ["real", "fake"]):
        found.append(
            (
                "nothing to evaluate"
                if not given
                else f"{' and '.join(given)} do not make an evaluation",
                usage,
            )
        )
    found += missing_problems(options["dataset"], {"path": DATA}, within="dataset")
    if isinstance(options["metrics"], dict):
        found += missing_problems(options["metrics"], WEIGHTS, within="metrics")
    if found:
        raise Problems(found)
    status.say("loading torch…")
    options["metrics"]["n"] = options["n"] or options["metrics"]["n"]
    return options


def describe_metrics(found: Composed) -> list[str]:
    """What tells one choice of metrics from another, for a file name: ["full"], ["fast", "swd_patches8"].

    Settings that change no number are left out, and so is what stands in the name anyway."""
    told = {}
    for item in found.overrides:
        key, equals, value = item.lstrip("+").partition("=")
        name = key.removeprefix("metrics.")
        if not equals or name == key or name in UNTOLD:
            continue
        files = name in ("weights", "lpips_backbone", "lpips_heads")
        told[name] = Path(value.strip("'\"")).stem if files else value  # the last one counts
    option = found.choices.get("metrics", "metrics")
    return [option, *(f"{name}{value}" for name, value in sorted(told.items()))]


def name_protocol(options: dict, report: Report, *, data: str) -> str:
    """The file name of an evaluation: readable, and the same for the same protocol.

    full-n10000-train-ema-self.json; then what was asked for beside it, and which checkpoint where one was named.

    Args:
        options: As `checked` gives them, with "asked" from `describe_metrics`.
        report: What was measured.
        data: The digest of other images than the run was trained on, "" for its own.
    """
    option, *more = options["asked"]
    protocol = report.protocol
    words = [option, f"n{protocol['n_fake']}", str(protocol["split"])]
    words += ["ema" if options["ema"] else "raw", str(protocol.get("backbone", "")), *more]
    words += [f"seed{options['seed']}"] if options["seed"] else []
    words += [f"data{data[:6]}"] if data else []
    chosen = Path(str(options["ckpt"])).expanduser()
    words += [chosen.stem] if chosen.is_file() and chosen.stem != "last" else []
    safe = [re.sub(r"[^\w.+-]+", "_", word).strip("_") for word in words]
    return "-".join(filter(None, safe))[:MOST_NAME] + ".json"


@dataclass(frozen=True)
class Measured:
    """An evaluation of a checkpoint that is not written yet. out: its file; folder: of the run; target: of the data set."""

    report: Report
    step: int
    checkpoint: Path
    folder: Path
    out: Path
    target: str

    def write(self) -> None:
        """Writes the file of the protocol, and the numbers for TensorBoard. Raises UserError."""
        from gancli.evaluation.samples import write_report

        write_report(self.out, self.report, step=self.step)
        if (self.folder / "tensorboard").is_dir():
            to_tensorboard(self.folder, self.report, self.step)


def of_checkpoint(options: dict) -> Report:
    """Measures a checkpoint, shows the numbers and writes them. Raises UserError."""
    found = measure_checkpoint(options)
    show(found.report, title=f"{found.checkpoint}, step {found.step}", target=found.target)
    found.write()
    say_end(str(found.out), after_checkpoint(found.checkpoint))
    return found.report


def measure_checkpoint(options: dict) -> Measured:
    """Measures a checkpoint and writes nothing. options: of `read_options`. Raises UserError."""
    from gancli.commands.checkpoint_verbs import beside
    from gancli.config.build import trusted
    from gancli.evaluation import paired
    from gancli.evaluation.samples import evaluate
    from gancli.files import atomic
    from gancli.precision import resolve_device
    from gancli.render import status

    trust = trusted(options["trust"])
    device = resolve_device(options["device"])
    loaded = checkpoint_verbs.open_game(
        str(options["ckpt"]), ema=options["ema"], trust=trust, device=str(device)
    )
    folder = beside(loaded.path)
    out = named_out(options["out"])
    if out is not None and out.resolve() == (folder / "evaluation.json").resolve():
        raise UserError(
            f"out={out} holds the numbers that training wrote",
            "leave out= out: each protocol has a file of its own in evaluations/",
        )
    atomic.refuse_links(folder, ["tensorboard"] if out else ["evaluations", "tensorboard"])
    config = loaded.tree["config"]
    step = loaded.tree["progress"]["step"]
    # What is not given stays the run's; a key that the data set does not take is refused where it is built.
    moved = {key: value for key, value in options["dataset"].items() if value is not None}
    config = config | {"dataset": config["dataset"] | moved}
    status.say("reading the data…")
    source, train, held = open_data(config["dataset"], trust=trust)
    status.say("evaluating…")
    other_data = train.digest != loaded.tree["data"]["hash"]
    if other_data:
        messages.warn(
            "these are other images than the run was trained on (their names, sizes or labels differ)"
        )
        if "a" in loaded.game.needs:  # all of them are new to it
            held = replace(source, limit=None, holdout=0).load()
    held, split = (held, "held out in training") if held is not None else held_out(source)
    what = {
        "game": loaded.game,
        "generator": loaded.generator,
        "train": train,
        "held": held,
        "spec": options["metrics"],
        "config": config,
        "seed": options["seed"],
        "device": device,
        "ema": options["ema"],
    }
    report = paired.measure(**what) if "a" in loaded.game.needs else evaluate(**what, trust=trust)
    if held is not None:
        report.protocol["held_out"] = f"{len(held)} images, {split}"
    name = name_protocol(options, report, data=train.digest if other_data else "")
    return Measured(
        report,
        step=step,
        checkpoint=loaded.path,
        folder=folder,
        out=out or folder / "evaluations" / name,
        target=config["dataset"]["_target_"],
    )


def named_out(given: str | None) -> Path | None:
    """What out= says, with an ending of its own where it has none."""
    if not given:
        return None
    return with_ending(Path(given).expanduser(), ".json")


def open_data(spec: dict, *, trust: tuple[str, ...]) -> tuple[Source, Decoded, Decoded | None]:
    """-> the run's data set: its description, its training part and what training held out. Raises UserError."""
    from gancli.config.build import build
    from gancli.data.base import split
    from gancli.data.folder import Folder, listing

    source = build(spec, where="dataset", trust=trust)
    if isinstance(source, Folder) and source.holdout >= len(listing(source.path)):
        source = replace(source, holdout=0)  # another folder, and a smaller one
    train, held = split(source.load(), limit=spec["limit"], holdout=source.holdout)
    return source, train, held


def held_out(source: Source) -> tuple[Decoded | None, str]:
    """The test or validation split of a set that has one and was trained on its train split; its files may be missing."""
    from gancli.config.build import parameters_of

    parameter = parameters_of(type(source)).get("split")
    if parameter is None or vars(source)["split"] != "train":
        return None, ""
    other = next(
        (name for name in ("test", "valid", "val") if name in get_args(parameter.annotation)), None
    )
    if other is None:
        return None, ""
    try:
        return replace(source, split=other, limit=MOST_HELD, holdout=0).load(), f"its {other} split"
    except UserError as error:
        messages.warn(f"the {other} split is not used as held-out data: {error.message}")
        return None, ""


def of_folders(options: dict) -> Report:
    from gancli.evaluation.samples import compare, write_report
    from gancli.precision import resolve_device
    from gancli.render import status

    if options["dataset"] != dict.fromkeys(options["dataset"]):
        messages.warn("dataset.* has no effect: real= and fake= are the folders")
    status.say("reading the images…")
    real, fake, note = open_folders(options["real"], options["fake"], n=options["metrics"]["n"])
    device = resolve_device(options["device"])
    report = compare(
        real=real, fake=fake, spec=options["metrics"], seed=options["seed"], device=device
    )
    report.protocol["images"] = note
    show(report, title=f"{options['fake']} against {options['real']}", target="")
    out = named_out(options["out"])
    if out is not None:
        write_report(out, report, step=0)
    say_end(str(out) if out else "", ["gan", "data", options["fake"]])
    return report


def open_folders(real: str, fake: str, *, n: int | None) -> tuple[Decoded, Decoded, str]:
    """Both at one size and number of channels: the real ones', unless the generated ones are smaller; and how, in words."""
    from gancli.data.base import pair
    from gancli.data.folder import Folder

    facts = [Folder(path=path, holdout=0).scan() for path in (real, fake)]
    sizes = [pair(fact["resolution"]) for fact in facts]
    size = sizes[0] if sizes[0][0] * sizes[0][1] <= sizes[1][0] * sizes[1][1] else sizes[1]
    channels = facts[0]["channels"]
    decoded = [
        Folder(path=path, resolution=list(size), channels=channels, limit=limit, holdout=0).load()
        for path, limit in ((real, None), (fake, n))
    ]
    same = sizes[0] == sizes[1]
    note = (
        f"{size[1]}x{size[0]}, {channels} channels"
        + (
            ""
            if same
            else f"; real ones measure {sizes[0][1]}x{sizes[0][0]}, generated ones {sizes[1][1]}x{sizes[1][0]}"
        )
        + ("; other sizes: shorter side resized (Lanczos down, bicubic up), centre cut")
    )
    return decoded[0], decoded[1], note


def show(report: Report, *, title: str, target: str) -> None:
    """The table, the protocol and what was left out; and for the toy protocols what others reached."""
    from rich.console import Console
    from rich.table import Table

    from gancli.metrics.settings import better, published

    console = Console(highlight=False)
    console.print(messages.printable(title), style="bold", markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("metric")
    table.add_column("value", justify="right")
    if report.reals:
        table.add_column("held-out reals", justify="right")
    table.add_column("better")
    for key, value in report.values.items():
        reals = [number(report.reals[key]) if key in report.reals else ""] if report.reals else []
        table.add_row(
            key, number(value), *reals, {"min": "lower", "max": "higher"}.get(better(key) or "", "")
        )
    console.print(table)
    console.print("\nprotocol", style="bold")
    for key, value in report.protocol.items():
        console.print(messages.printable(f"  {key:<23} {value}"), markup=False, soft_wrap=True)
    if report.skipped:
        console.print("\nskipped", style="bold")
    for reason in dict.fromkeys(report.skipped.values()):
        names = ", ".join(item for item, why in report.skipped.items() if why == reason)
        console.print(messages.printable(f"  {names}: {reason}"), markup=False, soft_wrap=True)
    for k, line in enumerate(published(target)):
        console.print(f"  {line}" if k else f"\n{line}", style="" if k else "bold", markup=False)


def number(value: float) -> str:
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.3e}"


def to_tensorboard(folder: Path, report: Report, step: int) -> None:
    """In a folder of its own: another file among the run's would make TensorBoard forget the curves after this step."""
    from gancli.run.logbook import EventFile, logger

    values = {f"eval/{key}": value for key, value in report.values.items()}
    try:
        # No session starts at a step this late, so evaluations of earlier checkpoints do not hide those of later ones.
        EventFile(folder / "tensorboard" / "evaluate", step=2**40).scalars(step, values)
    except OSError as error:
        logger.warning("TensorBoard's file cannot be written: %s", error.strerror)
