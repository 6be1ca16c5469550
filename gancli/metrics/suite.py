"""The items of an evaluation, each of which gives a few named numbers.

They compare samples with real images, and share what a `Bench` holds.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gancli.errors import UserError, reason_of
from gancli.metrics import audio, classifier, features, series, store, text
from gancli.metrics.bench import MOST_NEIGHBOURS, Bench, Score, probabilities_of
from gancli.metrics.fid import frechet_from_moments, inception_score, moments, rank_note
from gancli.metrics.kid import kernel_distance
from gancli.metrics.lpips import Lpips, lpips_diversity
from gancli.metrics.memory import memorisation
from gancli.metrics.modes import assignment_accuracy, histogram_kl, ring_grid
from gancli.metrics.own import Metric
from gancli.metrics.prdc import improved_precision_recall, prdc
from gancli.metrics.settings import (
    AUDIO_ITEMS,
    IMAGE_ITEMS,
    POINT_ITEMS,
    SERIES_ITEMS,
    TEXT_ITEMS,
)
from gancli.metrics.ssim import diversity, scale_names
from gancli.metrics.swd import sliced_wasserstein
from gancli.render import status
from gancli.seeding import fork_random, seed_of

log = logging.getLogger("gancli")
SUBSETS = 100
MOST_CLASSES = 12  # whose own numbers the protocol tells
SUBSET_SIZE = 1000
ANGLES = 64


def frechet(bench: Bench) -> dict[str, float]:
    """Measures the Fréchet distance of features (Heusel et al. 2017); lower is better."""
    real = bench.real
    fake = bench.made["features"]
    note = rank_note(len(real.features), len(fake), fake.shape[1])
    if note:
        bench.notes["frechet"] = note
    return {
        bench.named("fid", "fd"): frechet_from_moments(
            real.mean, real.cov, *moments(fake, "generated")
        )
    }


def kernel(bench: Bench) -> dict[str, float]:
    """Measures the kernel distance (Binkowski et al. 2018), with its spread over subsets."""
    real = bench.few(bench.real.features, "kernel real")
    fake = bench.few(bench.made["features"], "kernel fake")
    size = min(SUBSET_SIZE, len(real), len(fake))
    found = kernel_distance(real, fake, SUBSETS, size, rng=bench.rng("kernel"))
    name = bench.named("kid", "kd")
    bench.notes["kernel"] = f"{SUBSETS} subsets of {size}, cubic kernel"
    return {name: found["mean"], f"{name}_std": found["std"]}


def of_inception_score(bench: Bench) -> dict[str, float]:
    """Measures the inception score (Salimans et al. 2016), with its spread over 10 splits."""
    probabilities = probabilities_of(bench.made)
    name = bench.named("is", "is")
    # Drawn labels come in no order, but a folder's images stand class by class.
    order = torch.randperm(len(probabilities), generator=bench.rng("inception_score"))
    found = inception_score(probabilities[order])
    bench.notes["inception_score"] = "10 splits"
    return {name: found["mean"], f"{name}_std": found["std"]}


def neighbours(bench: Bench) -> dict[str, float]:
    """Measures precision, recall, density and coverage, 0 to 1 but for density.

    Source: Kynkäänniemi et al. 2019; Naeem et al. 2020.
    """
    # As many of both: density and coverage depend on the quotient.
    n = min(len(bench.real.features), bench.n, MOST_NEIGHBOURS)
    real = bench.few(bench.real.features, "prdc real", n)
    fake = bench.few(bench.made["features"], "prdc fake", n)
    # Two definitions: closed balls of k=3 as published for the one pair, open ones of k=5 for the
    # other.
    near = improved_precision_recall(real, fake)
    balls = prdc(real, fake)
    bench.notes["prdc"] = (
        f"precision and recall with k=3, density and coverage with k=5, {n} images each"
    )
    found = {
        "precision": near["precision"],
        "recall": near["recall"],
        "density": balls["density"],
        "coverage": balls["coverage"],
    }
    return {f"{key}_{bench.backbone.name}": value for key, value in found.items()}


def swd(bench: Bench) -> dict[str, float]:
    """Measures the sliced Wasserstein distance of patches, times 1000 (Karras et al. 2018)."""
    spec = bench.spec
    n = min(bench.count_reals(), len(bench.fake))
    bench.notes["swd"] = (
        f"{n} images each, {spec.swd_patches} patches, {spec.swd_directions} directions, times 1000"
    )
    rng = bench.rng("swd")
    return sliced_wasserstein(
        # Two are there for the message alone: it counts what there is.
        bench.look_at(bench.pick_reals(n, rng) if n > 1 else bench.reference.images),
        bench.look_at(bench.fake),
        rng,
        patches=spec.swd_patches,
        directions=spec.swd_directions,
    )


def ms_ssim(bench: Bench) -> dict[str, float]:
    """Measures the mean likeness of pairs of samples, 0 to 1; lower is more diverse."""
    bench.notes["ms_ssim"] = (
        pairs_note(bench) + f", scales {', '.join(scale_names(*bench.fake.shape[-2:]))} px"
    )
    shown = bench.look_at(bench.fake)
    found = diversity(shown, bench.spec.pairs, bench.rng("pairs"), bench.fake_labels)
    return {"ms_ssim": found["mean"]}


def lpips(bench: Bench) -> dict[str, float]:
    """Measures the mean LPIPS distance of pairs of samples; higher is more diverse."""
    backbone = bench.spec.lpips_backbone or bench.spec.weights
    heads = bench.spec.lpips_heads
    if not backbone or not heads:
        raise UserError(
            "LPIPS has no weights",
            "metrics.lpips_backbone=PATH of squeezenet1_1's and metrics.lpips_heads=PATH of "
            "lpips_v0.1_squeeze.pth",
        )
    net = store.remember(
        f"lpips {backbone} {heads} {bench.device}",
        lambda: Lpips(backbone, heads).eval().to(bench.device),
    )
    bench.notes["lpips"] = pairs_note(bench) + ", SqueezeNet, v0.1"
    images = (
        torch.from_numpy(features.to_channels(bench.fake.numpy(), 3))
        if bench.fake.shape[1] in (2, 4)
        else bench.fake
    )
    return {
        "lpips": lpips_diversity(
            net, images, bench.spec.pairs, bench.rng("pairs"), bench.fake_labels
        )["mean"]
    }


def pairs_note(bench: Bench) -> str:
    """Says for the protocol how many pairs there are."""
    return f"{bench.spec.pairs} pairs of samples" + (
        " of one class" if bench.asked is not None else ""
    )


def classes(bench: Bench) -> dict[str, float]:
    """Counts how many classes the samples show, and how evenly."""
    seen = bench.seen
    # Stacked digits are compared with the uniform histogram, as in the published tables; other data
    # with their own.
    counts = (
        None if bench.stacked else torch.bincount(bench.train_labels(), minlength=bench.classes)
    )
    found = histogram_kl(seen, bench.classes, counts)
    bench.notes["classes"] = (
        f"KL to {'uniform' if bench.stacked else 'the training labels'}, {len(seen)} samples"
    )
    if bench.asked is not None:
        found["class_accuracy"] = (seen == bench.asked).double().mean().item()
    return found


def of_memory(bench: Bench) -> dict[str, float]:
    """Measures how near samples are to training images, beside how near held-out ones are."""
    held = bench.held_out()
    backbone = bench.backbone
    train = features.reals(backbone, bench.train.images, key=f"train {bench.identity}").features
    seen = features.reals(backbone, held.images, key=f"held {store.identity(held)}").features
    rows = [
        bench.few(rows, f"memory {k}")
        for k, rows in enumerate((bench.made["features"], train, seen))
    ]
    found = memorisation(*rows)
    bench.notes["memorisation"] = (
        f"{len(rows[1])} training and {len(rows[2])} held-out images; copies: 0.01 is chance; "
        f"train_share: {found['chance']:.3f} is chance"
    )
    return {
        f"memorisation_{backbone.name}": found["ratio"],
        f"copies_{backbone.name}": found["copies"],
        f"train_share_{backbone.name}": found["train_share"],
    }


def overfitting(bench: Bench) -> dict[str, float]:
    """Measures by how much the mean score of training reals exceeds held-out ones'.

    And the same relative to its gap to samples (Karras et al. 2020, StyleGAN2-ADA, eq. 1): 0 does
    not overfit, 1 does entirely.
    """
    score = bench.score
    if score is None:
        raise UserError(
            "there is no discriminator",
            "evaluate a checkpoint of a game whose discriminator scores single images",
        )
    held = bench.held_out()
    n = min(len(held), len(bench.train), len(bench.fake), SUBSET_SIZE)
    pick = [
        torch.randperm(size, generator=bench.rng(f"overfitting {k}"))[:n]
        for k, size in enumerate((len(bench.train), len(held), len(bench.fake)))
    ]
    labels = bench.fake_labels
    trained, new = (
        mean_score(score, x.images[i], None if x.labels is None else x.labels[i])
        for x, i in zip((bench.train, held), pick, strict=False)
    )
    made = mean_score(score, bench.fake[pick[2]], None if labels is None else labels[pick[2]])
    bench.notes["overfitting"] = f"{n} images of each kind"
    gap = trained - new
    return {
        "critic_gap": gap,
        "critic_overfit": gap / (trained - made) if trained != made else math.nan,
    }


def mean_score(score: Score, images: Tensor, labels: Tensor | None) -> float:
    """Averages the discriminator's score of images (N,C,H,W) uint8, in batches."""
    batches = images.split(features.BATCH)
    asked: Sequence[Tensor | None] = [None] * len(batches)
    if labels is not None:
        asked = labels.split(features.BATCH)
    # As the stream scales them: the network may know its images to the last bit.
    scores = [
        score((some.float() - 127.5) * (1 / 127.5), label).flatten().double().cpu()
        for some, label in zip(batches, asked, strict=True)
    ]
    return torch.cat(scores).mean().item()


def cas(bench: Bench) -> dict[str, float]:
    """Trains a classifier on samples alone, and tests it on reals (Ravuri and Vinyals 2019)."""
    labels = bench.fake_labels
    if labels is None:
        raise UserError(
            "the samples have no labels to train on",
            "model.conditional=true trains a generator that takes labels",
        )
    if bench.stacked:
        raise UserError(
            "stacked digits have 1,000 classes, too many for the small classifier",
            "use a set with fewer",
        )
    real, which = (bench.train, "training") if bench.held is None else (bench.held, "held-out")
    trained = classifier.train(bench.look_at(bench.fake), labels, bench.classes, seed=bench.seed)
    bench.notes["cas"] = (
        f"trained on {len(bench.fake)} samples, tested on {len(real)} {which} images; "
        f"trained on reals: {bench.classifier.facts['accuracy']:.3f}"
    )
    assert real.labels is not None
    return {"cas": classifier.accuracy(trained.net, bench.look_at(real.images), real.labels)}


def codes(bench: Bench) -> dict[str, float]:
    """Measures how well the model found the classes by itself.

    Real images whose category, as the model reads it, stands for their label.
    """
    if bench.read is None:
        raise UserError("the model has no categorical code to read", "model=infogan has")
    real, which = (bench.train, "training") if bench.held is None else (bench.held, "held-out")
    if real.labels is None:
        raise UserError(
            "the images have no labels to compare the codes with", "a data set with labels"
        )
    read = torch.cat(
        [
            bench.read((some.float() - 127.5) * (1 / 127.5)).cpu()
            for some in real.images.split(features.BATCH)
        ]
    )
    bench.notes["codes"] = (
        f"{len(real)} {which} images, each category for the label that suits best"
    )
    return {"code_accuracy": assignment_accuracy(read, real.labels)}


def modes(bench: Bench) -> dict[str, float]:
    """Counts how many modes of a mixture the samples reach, and how many are near one."""
    if bench.mixture is None:
        raise UserError(
            "modes are counted on mixtures whose centers are known", "dataset=ring or dataset=grid"
        )
    centers = bench.mixture.centers().double()
    found = ring_grid(bench.fake, centers, bench.mixture.sigma)
    nearest = torch.cdist(bench.fake.double(), centers).argmin(1)
    bench.notes["modes"] = (
        "high quality: within 3 sigma of the nearest center; KL of the nearest centers to uniform"
    )
    return found | {"kl": histogram_kl(nearest, len(centers))["kl"]}


def w1(bench: Bench) -> dict[str, float]:
    """Measures the Wasserstein-1 distance of two point clouds, in data units.

    It is averaged over their projections on ANGLES lines.
    """
    real = bench.reference.images.double()
    n = min(len(real), len(bench.fake))
    rng = bench.rng("w1")
    real, fake = (x[torch.randperm(len(x), generator=rng)[:n]] for x in (real, bench.fake.double()))
    if not fake.isfinite().all():
        raise UserError(
            "some points are not finite", "look at the samples: the generator may have diverged"
        )
    angle = torch.arange(ANGLES, dtype=torch.float64) * (math.pi / ANGLES)
    lines = torch.stack([angle.cos(), angle.sin()])
    bench.notes["w1"] = f"{n} points each, {ANGLES} projections, data units"
    return {
        "w1": ((real @ lines).sort(0).values - (fake @ lines).sort(0).values).abs().mean().item()
    }


def marginal(bench: Bench) -> dict[str, float]:
    """Measures the Wasserstein-1 distance of each feature's values, in deviations."""
    bench.notes["marginal"] = "mean over features, in deviations of the real feature"
    return {"marginal": series.marginal_distance(bench.reference.images, bench.fake)}


def autocorrelation(bench: Bench) -> dict[str, float]:
    """Measures the mean difference of autocorrelations over lags and features."""
    found, lags = series.autocorrelation_distance(bench.reference.images, bench.fake)
    bench.notes["autocorrelation"] = f"lags 1 to {lags}"
    return {"autocorrelation": found}


def spectrum(bench: Bench) -> dict[str, float]:
    """Measures the mean difference of log10 mean periodograms over frequencies and features."""
    bench.notes["spectrum"] = "log10 of the mean periodogram, without frequency 0"
    return {"spectrum": series.spectrum_distance(bench.reference.images, bench.fake)}


def spectra(bench: Bench) -> dict[str, float]:
    """Measures how far mean spectra of recordings are from the reals', and how loud bands are."""
    real = bench.reference.images
    bench.notes["spectra"] = (
        f"log10 of the mean power at each frequency; {audio.BANDS} bands, the mean and the "
        "deviation of each in time"
    )
    return {
        "spectral": audio.spectral_distance(real, bench.fake),
        "fd_bands": audio.band_distance(real, bench.fake),
    }


def cross_correlation(bench: Bench) -> dict[str, float]:
    """Measures the mean difference of correlations of features at the same step."""
    return {
        "cross_correlation": series.cross_correlation_distance(bench.reference.images, bench.fake)
    }


def discriminative(bench: Bench) -> dict[str, float]:
    """Measures how well recurrent judges tell samples from reals (Yoon et al. 2019).

    The paper's, of half as many units as there are features, and wide ones that see more.
    """
    real = bench.reference.images
    spec = bench.spec
    seed = seed_of(bench.seed, "metric", "discriminative") % 2**32
    width = series.paper_width(real.shape[1])
    wide = max(series.WIDE, 2 * width)
    paper, strict = (
        series.discriminative_score(
            real, bench.fake, hidden=hidden, seed=seed, judges=spec.judges, steps=spec.judge_steps
        )
        for hidden in (width, wide)
    )
    floor = "" if bench.held is not None else "; dataset.holdout=N gives what reals reach"
    bench.notes["discriminative"] = (
        f"GRU of {width} and of {wide} units, {describe_judges(spec.judges, spec.judge_steps)} of "
        f"{series.BATCH} of each kind, {paper.n} of each, a fifth for the test, values scaled to "
        f"the reals' least and greatest{floor}"
    )
    return with_spread("discriminative", paper, spec.judges) | with_spread(
        "discriminative_wide", strict, spec.judges
    )


def marginal_by_class(bench: Bench) -> dict[str, float]:
    """Measures `marginal` of each class by itself, and averages it over classes."""
    found = {name: series.marginal_distance(*pair) for name, pair in split_classes(bench).items()}
    bench.notes["marginal_by_class"] = describe_classes(found)
    return {"marginal_by_class": sum(found.values()) / len(found)}


def discriminative_by_class(bench: Bench) -> dict[str, float]:
    """Measures `discriminative_wide` of each class by itself, and averages it over classes."""
    spec = bench.spec
    pairs = split_classes(bench)
    hidden = max(series.WIDE, 2 * series.paper_width(bench.reference.images.shape[1]))
    found = {
        name: series.discriminative_score(
            real,
            fake,
            hidden=hidden,
            seed=seed_of(bench.seed, "metric", "discriminative", name) % 2**32,
            judges=spec.judges,
            steps=spec.judge_steps,
        ).score
        for name, (real, fake) in pairs.items()
    }
    n = min(len(items) for pair in pairs.values() for items in pair)
    bench.notes["discriminative_by_class"] = (
        f"GRU of {hidden} units, {describe_judges(spec.judges, spec.judge_steps)}, {n} series or "
        f"more of each kind; {describe_classes(found)}"
    )
    return {"discriminative_by_class": sum(found.values()) / len(found)}


def split_classes(bench: Bench) -> dict[str, tuple[Tensor, Tensor]]:
    """Splits reals and samples by the class that they have or were to have. Raises UserError."""
    wanted = bench.fake_labels
    real = bench.reference
    if wanted is None:
        raise UserError(
            "samples were not asked for by class",
            "model.conditional=true trains a generator that takes labels",
        )
    assert real.labels is not None, "a generator that takes labels was trained on some"
    names = real.classes or tuple(map(str, range(bench.classes)))
    return {
        str(name): (real.images[real.labels == k], bench.fake[wanted == k])
        for k, name in enumerate(names)
        if bool((real.labels == k).any()) and bool((wanted == k).any())
    }


def describe_classes(found: Mapping[str, float]) -> str:
    """Says the numbers of the first classes."""
    shown = [f"{name} {value:.4g}" for name, value in list(found.items())[:MOST_CLASSES]]
    more = f" and {len(found) - MOST_CLASSES} more" if len(found) > MOST_CLASSES else ""
    return f"{', '.join(shown)}{more}"


def predictive(bench: Bench) -> dict[str, float]:
    """Measures the error on reals of predictors trained on samples; saturated."""
    spec = bench.spec
    steps = spec.judge_steps * series.PREDICTOR_STEPS // series.JUDGE_STEPS
    seed = seed_of(bench.seed, "metric", "predictive") % 2**32
    found = series.predictive_score(
        bench.reference.images, bench.fake, seed=seed, judges=spec.judges, steps=steps
    )
    bench.notes["predictive"] = (
        f"GRU of {found.hidden} units, {describe_judges(spec.judges, steps)} of {series.BATCH}, "
        "a share of the real feature's range; saturated: bad samples come near, do not rank by it"
    )
    return with_spread("predictive", found, spec.judges)


def describe_judges(judges: int, steps: int) -> str:
    """Says how many networks judged, and how long they were trained."""
    return f"{f'the mean of {judges} judges' if judges > 1 else '1 judge'}, {steps:,} steps"


def with_spread(key: str, found: series.Verdict, judges: int) -> dict[str, float]:
    """Returns the mean of judges by its name, and their spread where there are several."""
    return {key: found.score} | ({f"{key}_std": found.spread} if judges > 1 else {})


def ngrams(bench: Bench) -> dict[str, float]:
    """Measures how far n-grams of samples are from those of held-out lines, in bits.

    Of training lines where none are held out.
    """
    held = bench.held
    real = (bench.reference if held is None else held).images[:, 0, :, 0]
    lines = bench.fake[:, 0, :, 0]
    train = bench.train.images[:, 0, :, 0]
    bench.notes["ngrams"] = (
        f"{len(lines)} samples against {len(real)} "
        f"{'training' if held is None else 'held-out'} lines; "
        + text.describe_chains(train, real, len(lines), seed=bench.seed)
    )
    return text.ngram_distances(lines, real)


def likelihood(bench: Bench) -> dict[str, float]:
    """Measures what a held-out token costs the generator, in nats."""
    log_prob = bench.log_prob
    if log_prob is None:
        raise UserError(
            "the generator has no likelihood", "model=textgan, seqgan and scratchgan have"
        )
    held = bench.held_out()
    bench.notes["likelihood"] = f"{len(held)} held-out lines"
    return {
        "nll": text.measure_nats(
            held.images[:, 0, :, 0], lambda lines: log_prob(lines, held.labels)
        )
    }


def oracle(bench: Bench) -> dict[str, float]:
    """Measures what a token of samples costs the data's own oracle, in nats (Yu 2017)."""
    judge = bench.oracle
    if judge is None:
        raise UserError("no oracle has written these data", "dataset=oracle has one")
    real = (bench.train if bench.held is None else bench.held).images[:, 0, :, 0]
    own = text.measure_nats(real[:10_000], judge.log_prob)
    bench.notes["oracle"] = (
        f"its own lines cost it {own:.4f}; a few likely lines again and again cost less: see unique"
    )
    return {"oracle_nll": text.measure_nats(bench.fake[:, 0, :, 0], judge.log_prob)}


def uniqueness(bench: Bench) -> dict[str, float]:
    """Counts which share of samples differ from each other, and which are training lines."""
    train = bench.train.images[:, 0, :, 0]
    unique, copies = text.count_copies(bench.fake[:, 0, :, 0], train)
    if bench.held is not None:
        held = bench.held.images[:, 0, :, 0]
        real_unique, real_copies = text.count_copies(held[: len(bench.fake)], train)
        bench.notes["uniqueness"] = (
            f"of held-out lines {real_unique:.3f} are unique and {real_copies:.3f} are in training"
        )
    return {"unique": unique, "copied": copies}


ITEMS: dict[str, Callable[[Bench], dict[str, float]]] = {
    "swd": swd,
    "ms_ssim": ms_ssim,
    "lpips": lpips,
    "frechet": frechet,
    "kernel": kernel,
    "inception_score": of_inception_score,
    "prdc": neighbours,
    "memorisation": of_memory,
    "classes": classes,
    "overfitting": overfitting,
    "cas": cas,
    "codes": codes,
    "modes": modes,
    "w1": w1,
    "marginal": marginal,
    "autocorrelation": autocorrelation,
    "spectrum": spectrum,
    "cross_correlation": cross_correlation,
    "discriminative": discriminative,
    "predictive": predictive,
    "marginal_by_class": marginal_by_class,
    "discriminative_by_class": discriminative_by_class,
    "spectra": spectra,
    "ngrams": ngrams,
    "likelihood": likelihood,
    "oracle": oracle,
    "uniqueness": uniqueness,
}
# Of reals as well
FLOOR = (
    "swd",
    "ms_ssim",
    "lpips",
    "frechet",
    "kernel",
    "inception_score",
    "prdc",
    "classes",
    "modes",
    "w1",
    *(item for item in SERIES_ITEMS if item not in ("classes", "cas")),
    "spectra",
)
assert ITEMS.keys() == {*IMAGE_ITEMS, *POINT_ITEMS, *SERIES_ITEMS, *TEXT_ITEMS, *AUDIO_ITEMS}


def measure(bench: Bench) -> tuple[dict[str, float], dict[str, str]]:
    """Lets the samples pass, and runs the items.

    Returns:
        Values, and for each item that could not run a line: what is missing, and what to give.
    """
    values: dict[str, float] = {}
    skipped: dict[str, str] = {}
    # Asked for here, where all samples pass for the first time: an error of the generator's is not
    # one of the items', and ends the evaluation.
    passed = bench.passed
    assert passed.n == bench.n, f"{passed.n} samples passed, and {bench.n} were asked for"
    for item in bench.items:
        status.say(f"evaluating: {item}…", goes_on=True)
        measure_item(item, partial(ITEMS[item], bench), values, skipped)
    return values, skipped


def measure_item(
    item: str,
    work: Callable[[], dict[str, float]],
    values: dict[str, float],
    skipped: dict[str, str],
) -> None:
    """Adds work()'s numbers to `values`, or to `skipped` why there are none.

    One item must cost neither the others nor a run.
    """
    try:
        for key, value in work().items():
            if math.isfinite(value):
                values[key] = value
            else:  # a spread of 0 divides, or two images are equal to the last bit
                skipped[key] = f"it is {value}: some of what it compares does not differ at all"
    except UserError as error:
        skipped[item] = reason_of(error)
    except Exception as error:
        # What a user's discriminator or data make an item raise has no end
        skipped[item] = reason_of(error)
        log.info("%s was skipped", item, exc_info=error)


def measure_own(
    own: Mapping[str, Metric],
    images: Tensor,
    reals: Tensor,
    *,
    seed: int,
    device: torch.device,
    values: dict[str, float],
    skipped: dict[str, str],
) -> None:
    """Runs the metrics of the user's own, each with random numbers of its own.

    Args:
        own: The metrics by name.
        images: Samples, as `Metric.__call__` takes them.
        reals: Real images; where there are more than samples, as many are drawn from them.
        seed: Of the evaluation.
        device: Whose global random numbers are seeded beside the CPU's.
        values: Their numbers are added here.
        skipped: Why a metric has none is added here.
    """
    if len(reals) > len(images):
        rng = torch.Generator().manual_seed(seed_of(seed, "metric", "own"))
        reals = reals[torch.randperm(len(reals), generator=rng)[: len(images)].sort().values]
    for name, metric in own.items():
        status.say(f"evaluating: {name}…", goes_on=True)
        work = partial(measure_one, name, metric, images, reals, seed=seed, device=device)
        measure_item(name, work, values, skipped)


def measure_one(
    name: str,
    metric: Metric,
    images: Tensor,
    reals: Tensor,
    *,
    seed: int,
    device: torch.device,
) -> dict[str, float]:
    """Runs one metric of the user's own. Raises whatever it raises."""
    with fork_random(seed_of(seed, "metric", name), device), torch.no_grad():
        # Copies: what it changes must reach neither other metrics nor the training data.
        found = metric(images.clone(), reals.clone())
    if isinstance(found, bool) or not isinstance(found, int | float | Tensor | np.number):
        raise UserError(f"it returned {type(found).__name__}", "return one number")
    return {name: float(found)}


def floor(bench: Bench) -> dict[str, float]:
    """Measures held-out reals in place of samples: what a perfect generator would get.

    Returns:
        {} without such reals.
    """
    if bench.held is None or bench.spec.reference == "held":
        return {}
    held = bench.held
    n = min(len(held), bench.n)
    rows = torch.randperm(len(held), generator=bench.rng("floor"))[:n].sort().values
    items = tuple(item for item in bench.items if item in FLOOR)
    reals = replace(
        bench,
        batches=(held.images[some] for some in rows.split(features.BATCH)),
        n=n,
        items=items,
        asked=None if bench.asked is None or held.labels is None else held.labels[rows],
        notes={},
    )
    values, skipped = measure(reals)
    measure_own(
        bench.own,
        reals.fake,
        bench.reference.images,
        seed=bench.seed,
        device=bench.device,
        values=values,
        skipped=skipped,
    )
    return values
