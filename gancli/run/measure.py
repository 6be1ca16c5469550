"""Measuring a checkpoint: what was asked for, the images that it is held against, and the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from gancli.config.published import describe_stored
from gancli.errors import Problems, UserError
from gancli.files.paths import add_ending
from gancli.render import messages
from gancli.run.checkpoint_options import compose_options, find_run_folder, open_game, read_options

if TYPE_CHECKING:
    from gancli.config.compose import Composed
    from gancli.config.run_config import Section
    from gancli.config.schema import MetricsConfig
    from gancli.data.base import Decoded, Source
    from gancli.evaluation.samples import Report

Device = Literal["auto", "cpu", "cuda", "mps"]
MOST_NAME = 160  # characters of a file name
# Of a part `metrics`: these change no number, or stand in the file's name by themselves.
UNTOLD = ("every", "floor", "best", "best_mode", "n", "features", "reference")
ALL = "all of these data"  # where other data than the run's hold nothing out
MOST_HELD = 10_000  # of a test split: MNIST's and CIFAR's have as many
TEST_PARTS = ("test", "testing", "valid", "validation", "val")


@dataclass(frozen=True)
class EvaluationOptions:
    """The checked options of `gan evaluate`: a checkpoint, or two folders of images.

    Attributes:
        ckpt: A run folder or a file; None where `real` and `fake` are given.
        real: A folder of real images, or None.
        fake: A folder of generated ones, or None.
        seed: Of the samples and of what the metrics draw.
        ema: Whether the EMA generator is measured; False takes the trained one.
        out: The file to write, with its ending; None takes the protocol's own name.
        device: Where the networks go.
        trust: Packages of the user's own that the checkpoint may name.
        dataset: Keys of the data set that are not those of the run; None leaves one as it is.
        metrics: The section `metrics`, with the number of images in `n`.
        asked: What tells this choice of metrics from another, for a file's name.
        protocol: "paper" measures what the run's paper reports, as it does; None, `metrics`.
        typed_n: `n`, or `metrics.n`, as typed; None where neither was.
    """

    ckpt: str | None
    real: str | None
    fake: str | None
    seed: int
    ema: bool
    out: Path | None
    device: Device
    trust: tuple[str, ...]
    dataset: dict[str, Any]
    metrics: MetricsConfig
    asked: tuple[str, ...]
    protocol: Literal["paper"] | None = None
    typed_n: int | None = None


@dataclass(frozen=True)
class Measured:
    """An evaluation of a checkpoint that is not written yet.

    Attributes:
        report: The numbers.
        step: The step of the checkpoint.
        checkpoint: Its file.
        folder: The folder of its run.
        out: Where the numbers go.
        target: The class of the data set.
        published: What the paper of the run's experiment reports, a line each.
    """

    report: Report
    step: int
    checkpoint: Path
    folder: Path
    out: Path
    target: str
    published: tuple[str, ...] = ()

    def write(self) -> None:
        """Writes the file of the protocol, and the numbers for TensorBoard.

        Raises:
            UserError: The file cannot be written.
        """
        from gancli.evaluation.samples import write_report

        write_report(self.out, self.report, step=self.step)
        if (self.folder / "tensorboard").is_dir():
            write_to_tensorboard(self.folder, self.report, self.step)


def read_evaluation_options(words: Sequence[str]) -> EvaluationOptions:
    """Composes and checks what is typed behind `gan evaluate`; torch is not imported.

    Raises:
        Problems: All that is wrong.
    """
    from gancli.config.build import read_trust
    from gancli.config.closed import find_closed_problems
    from gancli.config.run_config import make_closed
    from gancli.config.schema import MetricsConfig
    from gancli.files.paths import DATA, WEIGHTS, find_missing
    from gancli.metrics.settings import LEAST, problems, unknown_items

    composed = compose_options("evaluate", words)
    kinds = {
        "ckpt": str | None,
        "real": str | None,
        "fake": str | None,
        "n": int | None,
        "seed": int,
        "ema": bool,
        "out": str | None,
        "device": Device,
        "protocol": Literal["paper"] | None,
    }
    usage = "gan evaluate ckpt=outputs/<model>-<dataset>/<stamp>, or real=FOLDER fake=FOLDER"
    files = {"real": DATA, "fake": DATA}
    options, found = read_options(composed.cfg, kinds, needs=(), usage=usage, files=files)
    metrics = options["metrics"]
    unfit = find_closed_problems({"metrics": metrics}, {"metrics": MetricsConfig})
    found += unfit + unknown_items(metrics)
    found += [] if unfit else problems(metrics)
    if isinstance(options["n"], int) and options["n"] < LEAST:
        found.append((f"n={options['n']} does not fit", f"give {LEAST} or more"))
    given = [key for key in ("ckpt", "real", "fake") if options[key] is not None]
    if not given:
        found.append(("nothing to evaluate", usage))
    elif given not in (["ckpt"], ["real", "fake"]):
        found.append((f"{' and '.join(given)} do not make an evaluation", usage))
    elif options["protocol"] == "paper" and given != ["ckpt"]:
        found.append(("protocol=paper is of a run", "gan evaluate ckpt=RUN protocol=paper"))
    found += find_missing(options["dataset"], {"path": DATA}, within="dataset")
    if isinstance(metrics, dict):
        found += find_missing(metrics, WEIGHTS, within="metrics")
    if found:
        raise Problems(found)
    out = add_ending(Path(options["out"]).expanduser(), ".json") if options["out"] else None
    return EvaluationOptions(
        ckpt=options["ckpt"],
        real=options["real"],
        fake=options["fake"],
        seed=options["seed"],
        ema=options["ema"],
        out=out,
        device=options["device"],
        trust=read_trust(options["trust"]),
        dataset=options["dataset"],
        metrics=make_closed(MetricsConfig, metrics | {"n": options["n"] or metrics["n"]}),
        asked=tuple(describe_metrics(composed)),
        protocol=options["protocol"],
        typed_n=options["n"] or (metrics["n"] if is_typed("metrics.n", composed) else None),
    )


def is_typed(key: str, composed: Composed) -> bool:
    """Says whether a key was given on the command line."""
    return any(item.lstrip("+").partition("=")[0] == key for item in composed.overrides)


def describe_metrics(composed: Composed) -> list[str]:
    """Says what tells one choice of metrics from another: ["full"], ["fast", "swd_patches8"].

    Settings that change no number are left out, and so is what stands in the name anyway.
    """
    told: dict[str, str] = {}
    for item in composed.overrides:
        key, equals, value = item.lstrip("+").partition("=")
        name = key.removeprefix("metrics.")
        if not equals or name == key or name in UNTOLD:
            continue
        if name.startswith("own."):
            told[name.split(".")[1]] = ""
            continue
        files = name in ("weights", "lpips_backbone", "lpips_heads")
        told[name] = Path(value.strip("'\"")).stem if files else value  # the last one counts
    option = composed.choices.get("metrics", "metrics")
    return [option, *(f"{name}{value}" for name, value in sorted(told.items()))]


def measure_checkpoint(options: EvaluationOptions) -> Measured:
    """Measures a checkpoint and writes nothing.

    Args:
        options: With a `ckpt`.

    Raises:
        UserError: The checkpoint, its data or the options do not fit.
    """
    from gancli.config.run_config import Section
    from gancli.files import atomic
    from gancli.render import status

    status.say("loading torch…")
    from gancli.checkpoint import is_exported
    from gancli.config.own_metrics import check_typed_metrics
    from gancli.evaluation import paired, samples
    from gancli.precision import resolve_device

    check_typed_metrics(options.metrics.own)
    device = resolve_device(options.device)
    loaded = open_game(str(options.ckpt), ema=options.ema, trust=options.trust, device=str(device))
    folder = find_run_folder(loaded.path)
    out = options.out
    if out is not None and out.resolve() == (folder / "evaluation.json").resolve():
        raise UserError(
            f"out={out} holds the numbers that training wrote",
            "leave out= out: each protocol has a file of its own in evaluations/",
        )
    atomic.refuse_links(folder, ["tensorboard"] if out else ["evaluations", "tensorboard"])
    step = loaded.tree["progress"]["step"]
    # What is not given stays the run's; a key that the data set does not take is refused where it
    # is built.
    moved = {key: value for key, value in options.dataset.items() if value is not None}
    stored = loaded.tree["config"]["dataset"]
    if "path" in moved and stored.get("of") is not None:
        moved["of"] = None  # the images below the path in place of those of another data set
    dataset = Section(stored | moved)
    # A data set that is made of another (`of`) needs no path of its own.
    lacks_path = "path" in dataset and dataset["path"] is None and dataset.get("of") is None
    if is_exported(loaded.tree) and lacks_path:
        raise UserError(
            f"{loaded.path} does not say where its data are: gan export leaves paths out",
            "add dataset.path=FOLDER",
        )
    status.say("reading the data…")
    source, train, held = open_data(
        dataset,
        trust=options.trust,
        moved=moved.get("path") is not None,
        labelled="label" in loaded.game.needs,
    )
    status.say("evaluating…")
    other_data = train.digest != loaded.tree["data"]["hash"]
    if other_data:
        messages.warn(
            f"these are other {source.modality().noun} than the run was trained on (their names, "
            "sizes or labels differ)"
        )
    split = "held out in training"
    if other_data and loaded.game.directions:
        held, split = load_untrained(source)
    elif held is None:
        held, split = load_other_split(source)
    spec, own_trust = add_stored_metrics(options, loaded.tree["config"])
    if loaded.game.directions:
        report = paired.measure(
            game=loaded.game,
            generator=loaded.generator,
            train=train,
            held=held,
            spec=spec,
            dataset=dataset,
            seed=options.seed,
            device=device,
            ema=options.ema,
            own_trust=own_trust,
        )
    else:
        report = samples.evaluate(
            game=loaded.game,
            generator=loaded.generator,
            train=train,
            held=held,
            spec=spec,
            dataset=dataset,
            seed=options.seed,
            device=device,
            ema=options.ema,
            trust=options.trust,
            own_trust=own_trust,
        )
    if split == ALL:
        report.protocol["split"] = "all"
    if held is not None:
        report.protocol["held_out"] = f"{len(held)} {source.modality().noun}, {split}"
    name = name_protocol(options, report, data=train.digest if other_data else "")
    return Measured(
        report,
        step=step,
        checkpoint=loaded.path,
        folder=folder,
        out=out or folder / "evaluations" / name,
        target=dataset["_target_"],
        published=describe_stored(loaded.tree["config"].get("published")),
    )


def add_stored_metrics(
    options: EvaluationOptions, config: dict[str, Any]
) -> tuple[MetricsConfig, tuple[str, ...]]:
    """Adds the user's own metrics of a run to those that are typed, which win.

    Args:
        options: What is typed.
        config: The checkpoint's, which may hold anything.

    Returns:
        The section `metrics`, and the packages that its own metrics may be of: whoever types a
        class trusts it, and a checkpoint's needs trust=.
    """
    from gancli.config.own_metrics import list_packages

    typed = options.metrics.own
    section = config.get("metrics")
    stored = section.get("own") if isinstance(section, dict) else None
    own = (stored if isinstance(stored, dict) else {}) | typed
    return replace(options.metrics, own=own), options.trust + list_packages(typed)


def name_protocol(options: EvaluationOptions, report: Report, *, data: str) -> str:
    """Names the file of an evaluation: readable, and the same for the same protocol.

    full-n10000-train-ema-self.json; then what was asked for beside it, and which checkpoint where
    one was named.

    Args:
        options: What was asked for.
        report: What was measured.
        data: The digest of other images than the run was trained on, "" for its own.
    """
    option, *more = options.asked
    protocol = report.protocol
    words = [option, f"n{protocol['n_fake']}", str(protocol["split"])]
    words += ["ema" if options.ema else "raw", str(protocol.get("backbone", "")), *more]
    words += [f"seed{options.seed}"] if options.seed else []
    words += [f"data{data[:6]}"] if data else []
    chosen = Path(str(options.ckpt)).expanduser()
    words += [chosen.stem] if chosen.is_file() and chosen.stem != "last" else []
    safe = [re.sub(r"[^\w.+-]+", "_", word).strip("_") for word in words]
    return "-".join(filter(None, safe))[:MOST_NAME] + ".json"


def open_data(
    spec: Section, *, trust: tuple[str, ...], moved: bool = False, labelled: bool = True
) -> tuple[Source, Decoded, Decoded | None]:
    """Loads the data set of a run.

    Args:
        spec: The section `dataset` of its config.
        trust: Packages of the user's own that it may name.
        moved: A path other than the config's is given: there may be other data, of which the
            config's number of held-out ones need not be, nor its classes.
        labelled: Whether the game needs labels.

    Returns:
        The data set, what was trained on, and what training held out, None without any.

    Raises:
        UserError: The data set cannot be read.
    """
    from gancli.config.build import build
    from gancli.data.base import split
    from gancli.data.folder import Folder

    source = build(spec.plain(), where="dataset", trust=trust)
    held_out = source.holdout
    if isinstance(source, Folder) and held_out >= len(source.list_files()):
        source = replace(source, holdout=0)  # another folder, and a smaller one
    other = replace(source, holdout=0)
    tries = [source, other] if moved else [source]
    if moved and not labelled:
        tries.append(replace(other, classes=0))
    problem: UserError | None = None
    for source in tries:
        try:
            train, held = split(source.load(), limit=spec["limit"], holdout=source.holdout)
        except UserError as error:
            problem = problem or error
        else:
            return source, train, held
    assert problem is not None
    raise problem


def load_untrained(source: Source) -> tuple[Decoded, str]:
    """Loads what a model of pairs or domains is held against on other data than it was trained on.

    Returns:
        The part that these data hold out themselves, else all of them, and the words for them.
    """
    from gancli.data.base import split

    held_out = source.count_own_held()
    loaded = replace(source, limit=None, holdout=held_out).load()
    if not held_out:
        return loaded, ALL
    _, held = split(loaded, limit=None, holdout=held_out)
    assert held is not None
    return held, "the part that these data hold out"


def load_other_split(source: Source) -> tuple[Decoded | None, str]:
    """Loads the test or validation split of a data set that was trained on its train split.

    Returns:
        The images and the words for them; None where there is no such split, or its files are
        missing.
    """
    from gancli.config.build import read_parameters
    from gancli.data.folder import Folder

    kind: type = type(source)
    parameter = read_parameters(kind).get("split")
    if isinstance(source, Folder):
        known = source.list_test_parts()
    elif parameter is not None and vars(source)["split"] == "train":
        known = get_args(parameter.annotation)
    else:
        return None, ""
    other = next((name for name in TEST_PARTS if name in known), None)
    if other is None:
        return None, ""
    changes: dict[str, Any] = {"split": other, "limit": MOST_HELD, "holdout": 0}
    try:
        return replace(source, **changes).load(), f"its {other} split"
    except UserError as error:
        messages.warn(f"the {other} split is not used as held-out data: {error.message}")
        return None, ""


def write_to_tensorboard(folder: Path, report: Report, step: int) -> None:
    """Adds the numbers of an evaluation to TensorBoard's files, in a folder of its own.

    Another file among the run's would make TensorBoard forget the curves after this step.
    """
    from gancli.run.logbook import EventFile, logger

    values = {f"eval/{key}": value for key, value in report.values.items()}
    try:
        # No session starts at a step this late, so evaluations of earlier checkpoints do not hide
        # those of later ones.
        EventFile(folder / "tensorboard" / "evaluate", step=2**40).add_scalars(step, values)
    except OSError as error:
        logger.warning("TensorBoard's file cannot be written: %s", error.strerror)
