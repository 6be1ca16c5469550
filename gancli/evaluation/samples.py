"""Says in numbers how good a generator is, with the protocol beside them.

Looking never changes what is looked at.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gancli.config.build import build
from gancli.config.own_metrics import build_own_metrics
from gancli.config.run_config import Section
from gancli.config.schema import MetricsConfig
from gancli.data.base import Decoded, Source, crop_middle, pair
from gancli.data.decode import resize_all
from gancli.data.stacked import StackedMNIST
from gancli.data.text import Oracle
from gancli.data.toy import Mixture
from gancli.errors import UserError, reason_of, unwritable
from gancli.files import atomic, reading
from gancli.game import Game
from gancli.inference import sampling
from gancli.metrics.baselines import find_measure, list_baselines, list_unreached
from gancli.metrics.bench import Bench, Score
from gancli.metrics.features import BATCH
from gancli.metrics.legend import Line
from gancli.metrics.own import Metric, describe_metric
from gancli.metrics.settings import CLASS_ITEMS, IMAGE_ITEMS, better
from gancli.metrics.suite import floor, measure, measure_own
from gancli.modality import Modality
from gancli.render import status
from gancli.seeding import fork_random, seed_of
from gancli.trainer import Best

log = logging.getLogger("gancli")
LINES = 256  # whose likelihood is measured at a time
N_STACKED = 26_000  # samples where metrics.n is null, the papers'


@dataclass(frozen=True)
class Report:
    """What an evaluation has found.

    Attributes:
        values: The numbers.
        protocol: What they were measured with.
        skipped: Item -> what it lacks, in a line.
        reals: The numbers of held-out reals in place of samples, which give the others a scale;
            {} without such reals.
        own: What those of the numbers mean that metrics of the user's own have given.
    """

    values: dict[str, float]
    protocol: dict[str, object]
    skipped: dict[str, str] = field(default_factory=dict)
    reals: dict[str, float] = field(default_factory=dict)
    own: dict[str, Line] = field(default_factory=dict)

    def better(self, key: str) -> str | None:
        """Returns "min" or "max": where a number is better; None where neither is."""
        if key not in self.own:
            return better(key)
        return {"lower": "min", "higher": "max"}.get(self.own[key].better)


def evaluate(
    *,
    game: Game,
    generator: nn.Module,
    train: Decoded,
    held: Decoded | None,
    spec: MetricsConfig,
    dataset: Section,
    seed: int,
    device: torch.device,
    ema: bool = True,
    trust: tuple[str, ...] | None = None,
    own_trust: tuple[str, ...] | None = None,
) -> Report:
    """Draws samples and measures them.

    No global random state, mode or gradient of a network changes.

    Args:
        game: On `device`.
        generator: Of `game`.
        train: The training images, as `data.base.split` gives them.
        held: The held-out images, likewise; None where there are none. Where the training images
            are measured (incomplete, blurred, noisy), samples are compared with these alone.
        spec: The part `metrics` of a config.
        dataset: The part `dataset` of a config.
        seed: Of the samples and of what the metrics draw.
        device: Where the networks are.
        ema: Whether the generator is the EMA's, for the protocol.
        trust: Packages that `dataset` may name, as in `config.build.build`. None: any, since
            whoever trained on this data set has built it before.
        own_trust: Likewise for `spec.own`; a metric whose package is not trusted is skipped.
    """
    started = time.monotonic()
    source = build(dataset.plain(), where="dataset", trust=trust)
    modality = source.modality()
    measured = train.measured
    if measured:
        if held is None:
            items = tuple(item for item in modality.items if item in spec.items)
            n = count_samples(spec, source, modality)
            return report_nothing((*items, *spec.own), train, n=n)
        spec = replace(spec, reference="train")
        train = replace(held, measured=False)
        held = None
    with (
        status.doing("evaluating…"),
        fork_random(seed_of(seed, "evaluation"), device),
        in_eval_mode(game, generator),
        torch.no_grad(),
    ):
        n = count_samples(spec, source, modality)
        asked = draw_labels(game, train, n, seed=seed)
        window = (
            None
            if train.images.shape[2:] == modality.stored_size(pair(source.resolution))
            else tuple(train.images.shape[2:])
        )
        floats = modality.pixels and train.images.is_floating_point()
        # As samples are: both are then measured alike
        train = restore_reals(crop_to_size(train, source), modality)
        held = None if held is None else restore_reals(crop_to_size(held, source), modality)
        own, lost = build_own_metrics(spec.own, trust=own_trust)
        attributes = asked is not None and asked.ndim == 2
        read = make_reader(game, device)
        notes: dict[str, object] = describe_alpha(modality, train.images.shape[1])
        size = (train.images.shape[2], train.images.shape[3]) if modality.pixels else None
        bench = Bench(
            own=own,
            batches=draw_samples(
                game, generator, n, asked, seed=seed, modality=modality, size=size, notes=notes
            ),
            n=n,
            items=choose_items(
                spec,
                modality.items,
                but=(
                    *(() if read else ("codes",)),
                    *(() if game.has_likelihood else ("likelihood",)),
                    *(() if isinstance(source, Oracle) else ("oracle",)),
                    *(() if modality.pixels or train.labels is not None else CLASS_ITEMS),
                ),
            ),
            # What counts classes skips attributes, with the reason that there are no classes.
            asked=None if attributes else asked,
            train=replace(train, labels=None) if attributes else train,
            held=replace(held, labels=None) if attributes and held is not None else held,
            spec=spec,
            seed=seed,
            device=device,
            notes=notes,
            classes=0
            if train.labels is None or train.labels.ndim == 2
            else max(len(train.classes), int(train.labels.max()) + 1),
            stacked=isinstance(source, StackedMNIST),
            mixture=source if isinstance(source, Mixture) else None,
            oracle=source if isinstance(source, Oracle) else None,
            log_prob=make_likelihood(game, generator, modality, device),
            score=None if attributes else make_scorer(game, device),
            read=read,
            to_pictures=find_pictures(modality, train.images.shape[1]),
        )
        report = measure_bench(bench)
        for name, stage in game.list_stages().items():
            of_stage = replace(
                bench,
                batches=draw_samples(
                    game, stage, n, asked, seed=seed, modality=modality, size=size, notes={}
                ),
                log_prob=make_likelihood(game, stage, modality, device),
                notes={},
            )
            values, _ = measure(of_stage)
            report.values.update({f"{key}_{name}": value for key, value in values.items()})
    report.skipped.update(lost)
    report.protocol.update(
        {
            "dataset": dataset["_target_"],
            "data": train.digest,
            "ema": ema,
            "truncation": None,
            "labels": "none" if asked is None else "drawn as often as in the training data",
            "precision": "fp32",
        }
    )
    changes = [] if window is None else [f"the middle of {window[1]}x{window[0]}"]
    changes += ["floats, rounded to 256 levels"] if floats else []
    if changes:
        report.protocol["real_images"] = ", ".join(changes)
    if measured:
        report.protocol.update({"split": "held", "complete": "reals that training has not seen"})
    log.info("evaluated %d samples in %.1f s", n, time.monotonic() - started)
    return report


def report_nothing(items: tuple[str, ...], train: Decoded, *, n: int) -> Report:
    """Says of each item why it has no number: all real images are incomplete or degraded."""
    reason = (
        "there are no complete images to compare samples with (dataset.measured=true); "
        "gan evaluate real=FOLDER fake=FOLDER compares with some that you find elsewhere"
    )
    protocol = {"n_fake": n, "n_real": 0, "split": "held", "data": train.digest}
    return Report({}, protocol, dict.fromkeys(items, reason))


def compare(
    *,
    real: Decoded,
    fake: Decoded,
    modality: Modality,
    spec: MetricsConfig,
    seed: int,
    device: torch.device,
) -> Report:
    """Measures one set of images against another of the same size.

    Labels count where both have them, by their names.

    Args:
        real: Real images.
        fake: Generated ones, of as many channels.
        modality: Of both.
        spec: The part `metrics` of a config.
        seed: Of what the metrics draw.
        device: Where their networks are.
    """
    with (
        status.doing("evaluating…"),
        fork_random(seed_of(seed, "evaluation"), device),
        torch.no_grad(),
    ):
        both = (
            fake.labels is not None
            and real.labels is not None
            and set(fake.classes) <= set(real.classes)
        )
        asked = (
            torch.tensor([real.classes.index(name) for name in fake.classes])[fake.labels]
            if both
            else None
        )
        own, lost = build_own_metrics(spec.own, trust=None)
        bench = Bench(
            own=own,
            batches=fake.images.split(BATCH),
            n=len(fake),
            items=choose_items(spec, IMAGE_ITEMS, but=("overfitting", "memorisation", "codes")),
            asked=asked,
            train=real,
            held=None,
            spec=spec,
            seed=seed,
            device=device,
            classes=len(real.classes),
            notes=describe_alpha(modality, real.images.shape[1]),
            to_pictures=find_pictures(modality, real.images.shape[1]),
        )
        report = measure_bench(bench)
    report.skipped.update(lost)
    report.protocol.update(
        {
            "data": real.digest,
            "fake_data": fake.digest,
            "labels": "by the folders' names" if both else "none",
        }
    )
    return report


def choose_items(
    spec: MetricsConfig, possible: Sequence[str], *, but: Sequence[str] = ()
) -> tuple[str, ...]:
    """Chooses those items of a kind of data that the spec asks for, in the kind's order."""
    return tuple(item for item in possible if item in spec.items and item not in but)


def measure_bench(bench: Bench) -> Report:
    """Measures the items of a bench, and the user's own metrics."""
    values, skipped = measure(bench)
    if bench.own:
        try:
            reals = bench.reference.images
        except UserError as error:
            skipped |= dict.fromkeys(bench.own, reason_of(error))
        else:
            measure_own(
                bench.own,
                bench.fake,
                reals,
                seed=bench.seed,
                device=bench.device,
                values=values,
                skipped=skipped,
            )
    return Report(
        values,
        describe_protocol(bench),
        skipped,
        floor(bench) if bench.spec.floor else {},
        describe_own(bench.own, bench.spec),
    )


def describe_own(own: Mapping[str, Metric], spec: MetricsConfig) -> dict[str, Line]:
    """Returns what the numbers of the user's own metrics mean, by their names."""
    return {name: describe_metric(name, metric, spec.own[name]) for name, metric in own.items()}


def summarise_report(values: dict[str, float], *, best: bool) -> str:
    """Sums up an evaluation in a line. best: its numbers are the best of the run so far.

    PSNR and the like stand beside those of the copied source and of the mean image, which knows
    nothing of its source: below them nothing has been learnt yet.
    """
    baselines = list_baselines(values)
    shown = []
    for key, value in values.items():
        if "/" in key or find_measure(key, values):
            continue
        beside = ", ".join(
            f"{words} {values[f'{key}_{ending}']:.4g}"
            for ending, words in baselines.items()
            if f"{key}_{ending}" in values
        )
        shown.append(f"{key} {value:.4g}" + (f" ({beside})" if beside else ""))
    if best:
        shown.append("the best so far")
    unreached = list_unreached(values)
    if unreached:
        shown.append(f"{'still ' if best else ''}below the {' and the '.join(unreached)}")
    return ", ".join(shown)


def describe_protocol(bench: Bench) -> dict[str, object]:
    """Describes what the numbers were measured with, after they were."""
    protocol: dict[str, object] = {
        "n_fake": bench.n,
        "n_real": len(bench.train),
        "split": bench.spec.reference,
        "size": list(bench.fake.shape[1:]),
        "seed": bench.seed,
        "device": bench.device.type,
    }
    if bench.spec.reference == "train" or bench.held is not None:
        protocol["n_real"] = bench.count_reals()
    if bench.needs_pixels() and len(bench.fake) < bench.n:
        protocol["n_pixels"] = len(bench.fake)
    if "backbone" in vars(bench):  # some item has used it
        backbone = bench.backbone
        protocol |= {
            "backbone": backbone.name,
            "checksum": backbone.checksum,
            "resize": backbone.resize,
        }
    if "classifier" in vars(bench):
        protocol |= {f"classifier_{key}": value for key, value in bench.classifier.facts.items()}
        protocol["classifier_checksum"] = bench.classifier.checksum
    if bench.spec.floor and bench.held is not None:
        protocol["n_floor"] = min(len(bench.held), bench.n)
    return protocol | bench.notes


@contextmanager
def in_eval_mode(*modules: nn.Module) -> Iterator[None]:
    """Puts modules into eval mode, and afterwards each part back into its own.

    Batch norm would take notes otherwise, and spectral norm would turn its vectors.
    """
    # Part by part: some are in eval mode by themselves, and must come back so.
    before = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


def count_samples(spec: MetricsConfig, source: Source, modality: Modality) -> int:
    """Says how many samples are drawn: what the spec says, else what suits the data."""
    if spec.n:
        return spec.n
    return N_STACKED if isinstance(source, StackedMNIST) else modality.n


def draw_labels(game: Game, train: Decoded, n: int, *, seed: int) -> Tensor | None:
    """Draws labels (n,) as frequent as in the data; None where the game takes none."""
    if "label" not in game.needs:
        return None
    assert train.labels is not None, "a conditional game was trained on labels"
    rng = torch.Generator().manual_seed(seed_of(seed, "labels"))
    # The labels of random images, not random classes: rare classes stay rare.
    return train.labels[torch.randint(len(train), (n,), generator=rng)]


def draw_samples(
    game: Game,
    generator: nn.Module,
    n: int,
    label: Tensor | None,
    *,
    seed: int,
    modality: Modality,
    size: tuple[int, int] | None,
    notes: dict[str, object],
) -> Iterator[Tensor]:
    """Draws samples.

    Args:
        game: The game.
        generator: Of `game`.
        n: How many.
        label: (n,) classes or (n,K) attributes; None without.
        seed: Of the evaluation.
        modality: Restores them.
        size: (h, w) of the real images; None where items have none.
        notes: For the protocol: samples that are not finite are counted, and what brought them to
            the size of the real ones is said.

    Yields:
        Samples, restored, a batch at a time.
    """
    inputs = sampling.draw_inputs(game, n, seed=seed_of(seed, "evaluation"), label=label)
    bad = 0
    for batch in sampling.generate(game, generator, inputs, seed=seed_of(seed, "evaluation")):
        bad += int((~batch.flatten(1).isfinite().all(1)).sum())
        if bad:
            notes["not_finite"] = bad
        # At once: floats take four times the memory
        yield match_size(modality.restore(batch), size, notes)


def crop_to_size(data: Decoded, source: Source) -> Decoded:
    """Cuts the middle of what was loaded larger, where training cuts windows."""
    size = source.modality().stored_size(pair(source.resolution))
    if tuple(data.images.shape[2:]) == size:
        return data
    return replace(data, images=crop_middle(data.images, size))


def find_pictures(modality: Modality, channels: int) -> Callable[[Tensor], Tensor] | None:
    """Finds what turns items of so many channels into pictures; None where they are such."""
    needed = not modality.pixels or modality.has_alpha(channels)
    return modality.to_pictures if needed else None


def describe_alpha(modality: Modality, channels: int) -> dict[str, object]:
    """Says for the protocol how images with alpha are compared; {} of others."""
    return {"alpha": "over white, beside alpha"} if modality.has_alpha(channels) else {}


def restore_reals(data: Decoded, modality: Modality) -> Decoded:
    """Turns stored items into what is measured."""
    return replace(data, images=modality.restore(data.images))


def match_size(fake: Tensor, size: tuple[int, int] | None, notes: dict[str, object]) -> Tensor:
    """Brings images of another size to that of the real ones, and notes what that took."""
    if size is None or tuple(fake.shape[2:]) == size:
        return fake
    notes["samples"] = f"resized from {fake.shape[3]}x{fake.shape[2]}, bicubic, antialiased"
    return torch.from_numpy(resize_all(fake.numpy(), size))


def make_scorer(game: Game, device: torch.device) -> Score | None:
    """Finds the critic of a game that scores single images; None where there is none."""
    if not game.judges_images:
        return None

    def score(images: Tensor, labels: Tensor | None) -> Tensor:
        batch = {"image": images.to(device)}
        if "label" in game.needs:
            assert labels is not None
            batch["label"] = labels.to(device)
        return game.image_critic(batch)(batch["image"])

    return score


def make_likelihood(
    game: Game, generator: nn.Module, modality: Modality, device: torch.device
) -> Callable[[Tensor, Tensor | None], Tensor] | None:
    """Makes the function from token numbers (N,T) and labels to log p (N,T); None: there is none.

    Raises what the generator raises.
    """

    def log_prob(lines: Tensor, labels: Tensor | None) -> Tensor:
        parts = []
        for first in range(0, len(lines), LINES):
            rows = slice(first, first + LINES)
            batch = {"image": modality.prepare(lines[rows, None, :, None]).to(device)}
            if "label" in game.needs and labels is not None:
                batch["label"] = labels[rows].to(device)
            parts.append(game.log_likelihood(batch, generator).cpu())
        return torch.cat(parts)

    return log_prob if game.has_likelihood else None


def make_reader(game: Game, device: torch.device) -> Callable[[Tensor], Tensor] | None:
    """Makes the function from images in [-1,1] to the category of the first code, or None."""
    if not game.categories or game.discriminator is None:  # of an exported file there is none
        return None
    return lambda images: game.recognise_codes(images.to(device))[game.codes[0]]


def write_report(path: Path, report: Report, *, step: int) -> None:
    """Writes the file of one protocol whole or not at all, and makes its folder.

    Raises UserError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_report(path, report, step=step)
    except OSError as error:
        raise unwritable(path, error, "choose another file with out=") from error


def note_end(path: Path, sentence: str) -> None:
    """Adds to evaluation.json, if the run has one, why the run ended. Raises OSError."""
    if path.is_file():
        write_json(path, read_earlier(path) | {"ended": sentence})


def save_report(path: Path, report: Report, *, step: int, best: Best | None = None) -> None:
    """Writes the report; `best` and the run's end stay unless given. Raises OSError."""
    tree = {
        "step": step,
        "values": replace_infinite(report.values),
        "reals": replace_infinite(report.reals),
        "protocol": replace_infinite(report.protocol),
        "skipped": report.skipped,
    }
    if report.own:
        tree["own"] = {
            name: {"what": line.what, "better": line.better} for name, line in report.own.items()
        }
    before = read_earlier(path)
    write_json(path, tree | {"best": best or before.get("best"), "ended": before.get("ended", "")})


def read_earlier(path: Path) -> dict[str, Any]:
    """Reads what an evaluation's file holds already; {} without one."""
    try:
        found = reading.read_json(path)
    except reading.Unreadable as error:
        log.warning("%s; it is written anew", error.message)
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, tree: dict[str, Any]) -> None:
    """Writes a plain tree, whole or not at all."""
    atomic.write_text(path, json.dumps(tree, indent=2, allow_nan=False) + "\n")


def replace_infinite(tree: object) -> object:
    """Replaces NaN and infinity by null, which JSON knows."""
    if isinstance(tree, dict):
        return {key: replace_infinite(value) for key, value in tree.items()}
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
