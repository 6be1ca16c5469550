"""Samples pass once: few are alive at a time, and the numbers are those of all at once."""

from __future__ import annotations

import weakref
from dataclasses import replace

import pytest
import torch
from evaluation_helpers import (  # noqa: F401 - fixtures
    CPU,
    digits,
    halves,
    hasty,
    metrics_of,
    part,
    showing,
)

from gancli.config.run_config import Section
from gancli.data.base import Decoded
from gancli.evaluation.samples import evaluate
from gancli.inference import sampling
from gancli.metrics import passing, store
from gancli.metrics.bench import Bench
from gancli.metrics.fid import frechet_distance, inception_score
from gancli.metrics.passing import pass_once
from gancli.metrics.suite import measure

SOURCE = {
    "_target_": "gancli.data.builtin.Digits",
    "kind": "image",
    "resolution": 32,
    "channels": 1,
    "classes": 10,
}
FEATURES = ["frechet", "kernel", "inception_score", "prdc", "memorisation", "classes"]


class Means:
    """A backbone whose features are the means of quarters."""

    name = "means"
    checksum = "0"
    resize = "none"

    def __call__(self, images):
        quarters = torch.nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1)
        return {"features": quarters, "probabilities": quarters.softmax(1)}


def noise(n: int, size: int = 8, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 1, size, size), dtype=torch.uint8, generator=rng)


def counted(images: torch.Tensor, size: int, alive: dict[str, int]):
    """Yields copies of batches, and counts how many of the images are alive at most."""

    def bury(n):
        alive["now"] -= n

    for batch in images.split(size):
        made = batch.clone()
        alive["now"] += len(made)
        alive["most"] = max(alive["most"], alive["now"])
        weakref.finalize(made, bury, len(made))
        yield made
        del made


def bench_of(images, real, *, items, batches=None, **changes):
    changes = {"asked": None, "held": None} | changes
    found = Bench(
        batches=images.split(64) if batches is None else batches,
        n=len(images),
        items=items,
        train=Decoded(images=real),
        spec=metrics_of(items=list(items)),
        seed=0,
        device=CPU,
        **changes,
    )
    # a cached property of a frozen class: its place is the instance's own
    vars(found)["backbone"] = Means()
    return found


def test_ten_thousand_samples_pass_two_batches_at_a_time(hasty):  # noqa: F811
    images = noise(10_000)
    alive = {"now": 0, "most": 0}
    items = ("frechet", "inception_score")
    bench = bench_of(images, noise(500, seed=1), items=items, batches=counted(images, 64, alive))
    values, skipped = measure(bench)
    assert not skipped and alive["most"] <= 128 and alive["now"] == 0
    assert bench.fake.shape == (0, 1, 8, 8) and bench.n == 10_000
    # what it gives is what all samples at once give, to the bit
    seen = Means()(images)
    assert torch.equal(bench.made["features"], seen["features"])
    assert values["fd_means"] == frechet_distance(
        Means()(noise(500, seed=1))["features"], seen["features"]
    )
    order = torch.randperm(10_000, generator=bench.rng("inception_score"))
    assert values["is_means"] == inception_score(seen["probabilities"][order])["mean"]


def test_pixels_stay_up_to_a_limit(monkeypatch, hasty):  # noqa: F811
    monkeypatch.setattr(passing, "MOST_PIXELS", 100 * 64)
    images = noise(1000)
    alive = {"now": 0, "most": 0}
    labels = torch.arange(1000) % 10
    bench = bench_of(
        images,
        noise(500, seed=1),
        items=("swd", "frechet"),
        batches=counted(images, 64, alive),
        asked=labels,
    )
    values, skipped = measure(bench)
    assert not skipped and alive["most"] <= 128 and {"swd", "fd_means"} <= values.keys()
    rows = bench.passed.rows
    assert len(rows) == 100 and torch.equal(rows, rows.unique())
    assert torch.equal(bench.fake, images[rows])
    assert torch.equal(bench.fake_labels, labels[rows])
    assert bench.notes["swd"].startswith("100 images each")
    assert torch.equal(bench.made["features"], Means()(images)["features"])


def test_all_pixels_stay_where_they_fit():
    images = noise(130)
    found = pass_once(iter(images.split(64)), 130, networks={}, keep=True, rng=torch.Generator())
    assert found.rows is None and torch.equal(found.kept, images)


def test_a_network_that_fails_costs_its_items_alone(hasty):  # noqa: F811
    class Broken(Means):
        def __call__(self, images):
            raise RuntimeError("out of paper")

    images = noise(200)
    bench = bench_of(images, noise(100, seed=1), items=("swd", "inception_score"))
    vars(bench)["backbone"] = Broken()
    values, skipped = measure(bench)
    assert "swd" in values and skipped == {"inception_score": "RuntimeError: out of paper"}


def test_an_error_of_the_generator_is_not_passed_over():
    def fail():
        yield noise(64)
        raise RuntimeError("no memory")

    images = noise(128)
    with pytest.raises(RuntimeError, match="no memory"):
        measure(bench_of(images, noise(100, seed=1), items=("swd",), batches=fail()))


def test_an_evaluation_streams_and_gives_the_same_numbers(monkeypatch, hasty):  # noqa: F811
    train, held = halves()
    train = part(train, 0, 120)
    held = part(held, 0, 60)
    game = showing(train, labelled=True)
    arguments = {
        "game": game,
        "generator": game.generator,
        "train": train,
        "held": held,
        "spec": metrics_of("full", items=FEATURES, n=200),
        "dataset": Section(SOURCE),
        "seed": 0,
        "device": CPU,
    }
    alive = {"now": 0, "most": 0}
    drawn = sampling.generate

    def counting(*given, **named):
        for batch in drawn(*given, **named):
            alive["now"] += len(batch)
            alive["most"] = max(alive["most"], alive["now"])
            weakref.finalize(batch, lambda n: alive.update(now=alive["now"] - n), len(batch))
            yield batch
            del batch

    monkeypatch.setattr(sampling, "generate", counting)
    streamed = evaluate(**arguments)
    assert alive["most"] <= 192, "as floats; two batches and the one that is made"
    # with an item that looks at pixels, all of them stay
    together = evaluate(
        **arguments | {"spec": metrics_of("full", items=[*FEATURES, "ms_ssim"], n=200)}
    )
    assert together.values.pop("ms_ssim") > 0 and together.reals.pop("ms_ssim") > 0
    assert streamed.values == together.values and streamed.reals == together.reals
    assert streamed.protocol["n_fake"] == 200 and "n_pixels" not in streamed.protocol
    monkeypatch.setattr(passing, "MOST_PIXELS", 50 * 32 * 32)
    few = evaluate(**arguments | {"spec": metrics_of("full", items=[*FEATURES, "ms_ssim"], n=200)})
    assert few.protocol["n_pixels"] == 50
    assert {key: few.values[key] for key in streamed.values} == streamed.values


def test_chosen_reals_are_known_as_their_subset_was():
    data = replace(digits(16), digest="mine")
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:1300]
    rows = rows.sort().values
    assert store.identity(data, rows) == store.identity(data.subset(rows))
    kept = replace(data, labels=None)
    assert store.identity(kept, rows[:70]) == store.identity(kept.subset(rows[:70]))


def test_the_identity_of_a_data_set_stays():
    """Classifiers and features that were kept on disk are found by it."""
    images = noise(2100, size=2)
    data = Decoded(images=images, labels=torch.arange(2100), digest="d")
    assert store.identity(data) == "05459ef1d01bbc1e23f6ae6fb0792f32"
