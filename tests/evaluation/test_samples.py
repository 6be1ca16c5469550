"""Evaluations: the numbers mean what they say, the protocol is beside them, and looking changes
nothing.
"""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import pytest
import torch
from evaluation_helpers import (  # noqa: F401 - fixtures
    CPU,
    Showing,
    digits,
    digits_cache,
    halves,
    hasty,
    metrics_of,
    part,
    showing,
    spec,
)
from helpers import differences, small, steps, trainer_for
from torch import nn

from gancli.config.closed import find_closed_problems
from gancli.config.run_config import Section
from gancli.config.schema import MetricsConfig
from gancli.data.base import Decoded, split
from gancli.data.toy import Grid, Ring
from gancli.errors import UserError
from gancli.evaluation.samples import (
    Report,
    compare,
    evaluate,
    note_end,
    save_report,
    summarise_report,
    write_report,
)
from gancli.metrics.settings import (
    AUDIO_ITEMS,
    BEST,
    IMAGE_ITEMS,
    PAIR_ITEMS,
    POINT_ITEMS,
    SERIES_ITEMS,
    TEXT_ITEMS,
    best_key,
    better,
    problems,
    unknown_items,
)
from gancli.modality import Images

DIGITS = {
    "dataset": {
        "_target_": "gancli.data.builtin.Digits",
        "kind": "image",
        "resolution": 32,
        "channels": 1,
        "classes": 10,
    }
}
UNLABELLED = {"dataset": DIGITS["dataset"] | {"classes": 0}}


def judged(game, train, *, held=None, config=DIGITS, seed=0, **changes) -> Report:
    return evaluate(
        game=game,
        generator=game.generator,
        train=train,
        held=held,
        spec=metrics_of(**changes),
        dataset=Section(config["dataset"]),
        seed=seed,
        device=CPU,
    )


# what the numbers mean


def test_held_out_images_are_near_and_noise_is_far(digits_cache):  # noqa: F811
    train, held = halves()
    near = judged(showing(held, labelled=True), train, held=held, n=600).values
    rng = torch.Generator().manual_seed(0)
    noise = Decoded(
        images=torch.randint(0, 256, held.images.shape, dtype=torch.uint8, generator=rng),
        labels=held.labels,
    )
    far = judged(showing(noise, labelled=True), train, held=held, n=600).values
    assert near["fd_self"] < 2 and far["fd_self"] > 100
    assert near["swd"] < 40 and far["swd"] > 150
    assert near["class_accuracy"] > 0.95 and far["class_accuracy"] < 0.3
    assert near["modes"] == 10 and near["kl"] < 0.05 and far["kl"] > 1


def test_monotone_in_noise_blur_and_dropped_classes(digits_cache):  # noqa: F811
    train, held = halves()
    rng = torch.Generator().manual_seed(0)
    x = held.images[:400].float()
    blur = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    blurred = [x, blur(x), blur(blur(blur(x)))]
    noisy = [(x + s * torch.randn(x.shape, generator=rng)).clamp(0, 255) for s in (0, 15, 60)]
    fewer = [held.images[held.labels >= k].float() for k in (0, 3, 8)]
    for series in (blurred, noisy, fewer):
        sets = [Decoded(images=images.round().to(torch.uint8)) for images in series]
        values = [judged(showing(some), train, n=400).values for some in sets]
        distances = [value["fd_self"] for value in values]
        assert distances == sorted(distances) and distances[2] > 5 * distances[0], distances
    # A class counts as met by a single image, and the classifier errs: the KL tells the three apart
    # far better.
    assert (
        values[0]["modes"] == 10 > values[2]["modes"]
        and values[2]["kl"] > values[1]["kl"] > values[0]["kl"]
    )


def test_full_knows_copies_and_gives_the_floor(digits_cache):  # noqa: F811
    train, held = halves()
    report = judged(
        showing(train, labelled=True),
        train,
        held=held,
        **spec(
            "full",
            n=500,
            items=[
                "memorisation",
                "frechet",
                "prdc",
                "kernel",
                "inception_score",
                "ms_ssim",
                "cas",
            ],
        ),
    )
    values = report.values
    assert values["memorisation_self"] == 0 and values["copies_self"] == 1
    assert 0 < report.reals["fd_self"] < 3 and report.reals["precision_self"] > 0.8
    assert (
        5 < values["is_self"] < 10
        and values["coverage_self"] > 0.9
        and values["precision_self"] > 0.85
    )
    assert 0 < values["ms_ssim"] < 1 and 0 < report.reals["ms_ssim"] < 1
    assert values["cas"] > 0.9, "trained on real digits it is a good classifier"
    assert "held-out" in report.protocol["cas"] and "chance" in report.protocol["memorisation"]


@pytest.mark.parametrize("source", [Ring(n=4000), Grid(n=4000)])
def test_points_are_counted_in_data_units(source):
    data = source.load()
    config = {"dataset": {"_target_": f"gancli.data.toy.{type(source).__name__}", "n": 4000}}
    train, held = split(data, limit=None, holdout=2000)
    modes = len(source.centers())
    good = judged(Showing(held.images), train, held=held, config=config, n=2000)
    assert good.values["modes"] == modes and good.values["high_quality"] == pytest.approx(
        0.98889, abs=0.012
    )
    assert good.values["kl"] < 0.02 and set(good.values) == {"modes", "high_quality", "kl", "w1"}
    one = judged(
        Showing(held.images[held.labels == 0]), train, held=held, config=config, n=2000
    ).values
    assert (
        one["modes"] == 1
        and one["high_quality"] > 0.97
        and one["kl"] == pytest.approx(math.log(modes))
    )
    assert one["w1"] > 10 * good.values["w1"]
    assert (
        judged(Showing(3 * held.images), train, config=config, n=2000).values["high_quality"] < 0.5
    )
    assert "data units" in good.protocol["w1"] and not good.skipped


def test_w1_of_a_shift_is_known():
    train = Ring(n=4000).load()
    config = {"dataset": {"_target_": "gancli.data.toy.Ring", "n": 4000}}
    moved = judged(
        Showing(train.images + torch.tensor([1.0, 0.0])[:, None, None]),
        train,
        config=config,
        n=4000,
    ).values
    assert moved["w1"] == pytest.approx(2 / math.pi, abs=1e-3), (
        "the mean of |cos| over all directions"
    )


# what is missing is said, and the rest runs


def test_unlabelled_data_without_weights(hasty):  # noqa: F811
    train = Decoded(images=part(digits(), 0, 300).images)
    report = judged(showing(train), train, config=UNLABELLED, **spec("full", n=60))
    assert set(report.values) == {"swd", "swd/32", "swd/16", "ms_ssim"}
    assert set(report.skipped) == set(IMAGE_ITEMS) - {"swd", "ms_ssim", "codes"}
    assert all("\n" not in line and "; " in line for line in report.skipped.values())
    assert (
        "metrics.features" in report.skipped["frechet"] and "lpips_heads" in report.skipped["lpips"]
    )
    assert (
        "dataset.holdout" in report.skipped["memorisation"]
        and "conditional" in report.skipped["cas"]
    )
    assert report.protocol["labels"] == "none" and "backbone" not in report.protocol


def test_none_asks_nothing():
    train = part(digits(), 0, 50)
    report = judged(showing(train), train, **spec("none", n=20))
    assert report.values == {} and report.skipped == {} and report.reals == {}


def test_a_generator_that_diverged_is_measured(hasty):  # noqa: F811
    train = part(digits(), 0, 100)
    broken = torch.full((4, 1, 32, 32), math.nan)
    report = judged(Showing(broken), train, n=40)
    assert report.protocol["not_finite"] == 40 and report.values["fd_self"] > 0
    config = {"dataset": {"_target_": "gancli.data.toy.Ring", "n": 100}}
    points = judged(
        Showing(torch.full((4, 2, 1, 1), math.inf)), Ring(n=100).load(), config=config, n=40
    )
    assert points.values == {} and "finite" in points.skipped["modes"]


# the protocol


def test_the_protocol_says_what_was_done(hasty):  # noqa: F811
    train, held = split(part(digits(), 0, 400), limit=None, holdout=100)
    report = judged(showing(held, labelled=True), train, held=held, n=120, seed=7, n_real=200)
    expected = {
        "n_real": 200,
        "n_fake": 120,
        "split": "train",
        "resize": "none",
        "backbone": "self",
        "seed": 7,
        "ema": True,
        "truncation": None,
        "size": [1, 32, 32],
        "data": train.digest,
    }
    assert {key: report.protocol[key] for key in expected} == expected
    assert (
        len(report.protocol["checksum"]) == 16 and 0 <= report.protocol["classifier_accuracy"] <= 1
    )
    on_held = judged(showing(held), train, held=held, n=120, reference="held")
    assert on_held.protocol["split"] == "held" and on_held.protocol["n_real"] == 100
    assert on_held.values["fd_self"] < report.values["fd_self"], (
        "samples that are the held-out images"
    )
    assert (
        "nothing is held out" in judged(showing(held), train, n=20, reference="held").skipped["swd"]
    )


def test_windows_are_cut_from_the_middle(hasty):  # noqa: F811
    train = part(digits(48), 0, 60)
    config = {"dataset": DIGITS["dataset"] | {"resolution": 32, "load_size": 48}}
    game = Showing(train.images[:, :, 8:40, 8:40].float() / 127.5 - 1)
    report = judged(game, train, config=config, n=60, items=["swd", "frechet"])
    assert (
        report.values["fd_self"] < 1e-3
        and report.values["swd"] < 1e-9
        and report.protocol["size"] == [1, 32, 32]
    )
    assert report.protocol["real_images"] == "the middle of 48x48"


def test_smaller_samples_are_resized_and_that_is_said(hasty):  # noqa: F811
    train = part(digits(), 0, 60)
    game = Showing(part(digits(16), 0, 60).images.float() / 127.5 - 1)
    report = judged(game, train, n=60)
    assert report.protocol["samples"].startswith("resized from 16x16") and report.protocol[
        "size"
    ] == [1, 32, 32]


def test_labels_come_as_often_as_in_the_data(hasty):  # noqa: F811
    data = digits()
    train = data.subset(
        torch.cat([(data.labels == 3).nonzero()[:90, 0], (data.labels == 5).nonzero()[:10, 0]])
    )
    game = showing(train, labelled=True)
    asked = []
    inputs = game.inputs
    game.inputs = lambda n, rng, *, label=None: (
        asked.extend(label.tolist()) or inputs(n, rng, label=label)
    )
    judged(game, train, n=500, items=["swd"])
    assert set(asked) == {3, 5} and 0.85 < asked.count(3) / 500 < 0.95


# looking changes nothing


def test_the_same_seed_gives_the_same_numbers(hasty):  # noqa: F811
    trainer = steps(trainer_for(small("cgan")), 2)
    train = Decoded(
        images=trainer.stream.images,
        labels=trainer.stream.labels,
        classes=tuple("0123456789"),
        digest="d",
    )

    def run(seed):
        return evaluate(
            game=trainer.game,
            generator=trainer.ema,
            train=train,
            held=None,
            spec=metrics_of(n=70),
            dataset=trainer.config.dataset,
            seed=seed,
            device=CPU,
        ).values

    first = run(1)
    torch.rand(3)
    assert run(1) == first and run(2) != first


@pytest.mark.parametrize(
    "extra",
    [
        (),
        ("model.discriminator.norm=spectral",),
        ("loss.instance_noise=0.1", "loss.instance_noise_kimg=1"),
    ],
)
def test_training_with_evaluations_is_training_without(hasty, extra):  # noqa: F811
    config = small("cgan", "dataset.holdout=10", *extra)
    plain = trainer_for(config)
    watched = trainer_for(config)
    train = Decoded(
        images=watched.stream.images,
        labels=watched.stream.labels,
        classes=tuple("0123456789"),
        digest="d",
    )
    held = part(digits(16), 0, 12)
    for _ in range(3):
        steps(plain, 1)
        steps(watched, 1)
        modes = [m.training for m in watched.game.modules()]
        needing = [p.requires_grad for p in watched.game.parameters()]
        state = copy.deepcopy(watched.state_dict())
        rng = torch.get_rng_state()
        report = evaluate(
            game=watched.game,
            generator=watched.ema,
            train=train,
            held=held,
            spec=metrics_of("full", n=30),
            dataset=watched.config.dataset,
            seed=0,
            device=CPU,
        )
        assert "critic_gap" in report.values and math.isfinite(report.values["critic_gap"])
        assert torch.equal(torch.get_rng_state(), rng) and modes == [
            m.training for m in watched.game.modules()
        ]
        assert needing == [p.requires_grad for p in watched.game.parameters()]
        assert differences(state, watched.state_dict()) == []
    assert differences(plain.state_dict(), watched.state_dict()) == []


def test_a_critic_that_knows_its_images_by_heart():
    train, held = split(part(digits(), 0, 60), limit=None, holdout=30)

    class Knowing(Showing):
        judges_images = True

        def image_critic(self, batch):
            known = (train.images.float() - 127.5) * (1 / 127.5)
            return lambda x: torch.stack(
                [float((image == known).flatten(1).all(1).any()) + 0 * image.sum() for image in x]
            )

    game = Knowing(torch.zeros(4, 1, 32, 32))
    values = judged(game, train, held=held, n=20, items=["overfitting"]).values
    assert values == {"critic_gap": 1.0, "critic_overfit": 1.0}


# two folders, reports, and the settings


def test_two_sets_of_images(digits_cache):  # noqa: F811
    a, b = halves()
    names = Decoded(
        images=b.images, labels=9 - b.labels, classes=tuple(reversed(b.classes)), digest="b"
    )
    report = compare(real=a, fake=names, modality=Images(), spec=metrics_of(), seed=0, device=CPU)
    assert report.values["fd_self"] < 2 and report.values["class_accuracy"] > 0.95, (
        "labels agree by their names"
    )
    assert (
        report.protocol["n_real"] == 1000
        and report.protocol["n_fake"] == 797
        and "ema" not in report.protocol
    )
    alone = compare(
        real=Decoded(images=a.images),
        fake=b,
        modality=Images(),
        spec=metrics_of(),
        seed=0,
        device=CPU,
    )
    assert "fd_self" not in alone.values and "swd" in alone.values


def test_colours_that_nobody_sees_count_in_no_number(digits_cache):  # noqa: F811
    """Neither below full transparency nor, in proportion, below a faint veil; alpha counts."""
    rng = torch.Generator().manual_seed(0)
    shape = torch.zeros(120, 1, 16, 16, dtype=torch.uint8)
    shape[:, :, 4:12, 4:12] = 255
    colour = torch.randint(0, 256, (120, 1, 16, 16), generator=rng).to(torch.uint8)
    labels = torch.arange(120) % 2
    real = Decoded(images=torch.cat([colour, shape], 1), labels=labels, classes=("a", "b"))
    hidden = torch.where(shape == 0, 255 - colour, colour)
    items = ["swd", "ms_ssim", "frechet"]

    def measure_all(images: torch.Tensor, modality: Images) -> dict[str, float]:
        fake = Decoded(images=images, labels=labels, classes=("a", "b"))
        spec = metrics_of(items=items, features="self")
        found = compare(real=real, fake=fake, modality=modality, spec=spec, seed=0, device=CPU)
        assert not found.skipped, found.skipped
        assert ("alpha" in found.protocol) == (not modality.deep)
        return dict(found.values)

    same = measure_all(real.images, Images())
    assert measure_all(torch.cat([hidden, shape], 1), Images()) == same
    assert measure_all(torch.cat([hidden, shape], 1), Images(deep=True)) != same, "no alpha there"
    faint = torch.cat([colour, shape.clamp(min=128)], 1)
    assert measure_all(faint, Images())["swd"] > same["swd"], "what is seen counts"


def test_evaluation_json(tmp_path):
    path = tmp_path / "evaluation.json"
    best = {"key": "fd_self", "mode": "min", "step": 4, "value": 1.5}
    report = Report({"a": 1.0, "b": math.nan}, {"seed": 0}, {"c": "no"})
    save_report(path, report, step=9, best=best)
    note_end(path, "the budget is spent")
    want = {
        "step": 9,
        "values": {"a": 1.0, "b": None},
        "reals": {},
        "protocol": {"seed": 0},
        "skipped": {"c": "no"},
        "best": best,
        "ended": "the budget is spent",
    }
    assert json.loads(path.read_text()) == want
    write_report(path, Report({"a": 2.0}, {}), step=9)
    again = json.loads(path.read_text())
    assert (
        again["values"] == {"a": 2.0} and again["best"] == best and again["ended"] == want["ended"]
    )
    assert [file.name for file in tmp_path.iterdir()] == ["evaluation.json"]
    with pytest.raises(UserError, match="cannot be written"):
        write_report(path / "inside" / "a.json", Report({}, {}), step=0)
    write_report(tmp_path / "evaluations" / "fast.json", Report({"a": 3.0}, {}), step=9)
    assert json.loads(path.read_text())["values"] == {"a": 2.0}, "each has a file of its own"


def test_every_option_has_the_keys_of_the_schema():
    keys = set(MetricsConfig.__dataclass_fields__)
    for option in ("none", "fast", "full"):
        found = spec(option)
        assert set(found) == keys and problems(found) == []
        MetricsConfig(**found)
    assert set(spec("full")["items"]) == {
        *IMAGE_ITEMS,
        *POINT_ITEMS,
        *SERIES_ITEMS,
        *TEXT_ITEMS,
        *AUDIO_ITEMS,
        *PAIR_ITEMS,
    }
    wrong = spec(items=["fid"], every=0, n=3, pairs=0, best="loss")
    assert [hint for _, hint in problems(wrong)] == ["add metrics.best_mode=max or min"]
    assert [hint[:14] for _, hint in unknown_items(wrong)] == ["there are swd,"]
    bounds = [
        hint for _, hint in find_closed_problems({"metrics": wrong}, {"metrics": MetricsConfig})
    ]
    assert sorted(bounds) == ["give 1 or more", "give 1 or more", "give 10 or more"]
    assert problems(spec(best="loss", best_mode="min")) == problems(spec(best="kl")) == []


def test_which_way_is_better_and_what_is_best():
    assert [
        better(key)
        for key in ("fid", "fd_squeezenet", "kid", "kd_self", "swd/16", "w1", "kl", "copies_self")
    ] == ["min"] * 8
    assert [
        better(key)
        for key in ("is", "is_self", "precision_self", "modes", "class_accuracy", "cas", "lpips")
    ] == ["max"] * 7
    assert (
        better("kid_std") is None
        and better("is_self_std") is None
        and better("train_share_self") is None
    )
    metrics = metrics_of("fast")
    assert best_key(metrics, {"swd/16": 1.0, "swd": 1.0}) == ("swd", "min")
    assert best_key(metrics, {"swd": 1.0, "fd_self": 2.0, "modes": 1.0}) == ("fd_self", "min")
    assert best_key(metrics, {"modes": 8.0, "w1": 1.0}) == ("w1", "min")
    assert best_key(replace(metrics, best="modes"), {"modes": 8.0}) == ("modes", "max")
    assert best_key(replace(metrics, best="modes", best_mode="min"), {"modes": 8.0}) == (
        "modes",
        "min",
    )
    assert (
        best_key(replace(metrics, best=None), {"fd_self": 1.0}) is None
        and best_key(metrics, {"kl": 1.0}) is None
    )
    assert all(
        better(key) == ("max" if key == "psnr" else "min") for key in BEST if not key.endswith("_")
    )


def test_a_psnr_below_the_mean_image_is_no_success():
    values = {"psnr": 16.72, "psnr_y": 17.0, "psnr_mean": 16.84, "ssim": 0.5, "class/3": 1.0}
    assert summarise_report(values, best=True) == (
        "psnr 16.72 (mean image 16.84), psnr_y 17, ssim 0.5, the best so far, still below the mean "
        "image"
    )
    assert summarise_report(values, best=False).endswith("ssim 0.5, below the mean image")
    assert summarise_report(values | {"psnr": 20.0}, best=True).endswith(
        "ssim 0.5, the best so far"
    )
    values |= {"psnr": 20.0, "psnr_source": 20.5, "ssim_source": 0.4, "ssim_mean": 0.3}
    assert summarise_report(values, best=False) == (
        "psnr 20 (copied source 20.5, mean image 16.84), psnr_y 17, "
        "ssim 0.5 (copied source 0.4, mean image 0.3), below the copied source"
    )
    assert (
        summarise_report({"swd": 3.0}, best=False) == "swd 3"
        and summarise_report({}, best=False) == ""
    )
