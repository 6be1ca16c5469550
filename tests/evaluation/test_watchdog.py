"""The watchdog's signals, one by one, and what a run does when they show."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import train_helpers
from helpers import differences, frozen
from train_helpers import NETWORKS, QUIET, last, lines, sound

from gancli import checkpoint
from gancli.config.build import build, build_game
from gancli.config.run_config import RunConfig
from gancli.config.schema import WatchConfig
from gancli.data.base import Decoded
from gancli.evaluation.monitor import Monitor, draw_partners, measure_distance
from gancli.evaluation.watchdog import Watch
from gancli.losses.adversarial import AdversarialLoss, measure_contrast
from gancli.losses.objectives import (
    Hinge,
    LeastSquares,
    NonSaturating,
    RelativisticAverage,
    RelativisticPairing,
    Wasserstein,
)

gan = pytest.fixture(train_helpers.gan)
package = pytest.fixture(train_helpers.package)
SETTINGS = {
    "action": "stop",
    "retries": 2,
    "start_kimg": 1.0,
    "patience": 2,
    "saturated": 0.01,
    "diversity": 0.15,
    "overfit": 0.9,
    "worse": 1.5,
}
MEASURED = (
    *NETWORKS,
    *QUIET,
    "dataset.resolution=8",
    "dataset.limit=60",
    "metrics.n=20",
    "metrics.items=[swd]",
    "log.every=1",
)


def watch(objective=None, **changed) -> Watch:
    return Watch(
        WatchConfig(**SETTINGS | changed), AdversarialLoss(objective=objective or NonSaturating())
    )


def test_a_wasserstein_critic_cannot_saturate():
    assert watch(Wasserstein()).check({"d/adv": -1e9}, 10_000, None) is None


@pytest.mark.parametrize(
    ("objective", "chance"),
    [
        (NonSaturating(), 2 * math.log(2)),
        (Hinge(), 2.0),
        (LeastSquares(), 0.25),
        (LeastSquares(scale=1.0), 0.5),
        (RelativisticPairing(), math.log(2)),
        (RelativisticAverage(base=Hinge()), 1.0),
    ],
)
def test_a_discriminator_has_won_relative_to_the_chance_level_of_its_loss(objective, chance):
    for relative, won in ((0.009, True), (0.011, False), (1.0, False)):
        said = watch(objective, patience=1).check({"d/adv": relative * chance}, 5000, None)
        assert (said is not None) == won
        assert said is None or f"chance level is {chance:.2g}" in said.reason


def test_smoothed_targets_move_both_levels():
    smoothed = AdversarialLoss(objective=NonSaturating(), real_target=0.9)
    dog = Watch(WatchConfig(**SETTINGS), smoothed)
    assert dog.compare_with_chance(0.3250830) == pytest.approx(0, abs=1e-6)
    assert dog.compare_with_chance(smoothed.chance_level()) == 1


LEVELS = [  # objective, chance level, the contrast of scores that is 1 % of the way to the optimum
    (NonSaturating(), 1.3863, 0.0277),
    (Hinge(), 2.0, 0.02),
    (LeastSquares(), 0.25, 0.005),
    (LeastSquares(a=-1.0, b=1.0, scale=1.0), 2.0, 0.01),
    (RelativisticPairing(), 0.6931, 0.0139),
    (RelativisticAverage(base=Hinge()), 1.0, 0.01),
]


def count_lines(dog: Watch, line: dict[str, float], *, most: int = 40) -> int | None:
    """Counts the lines until the watchdog says that the discriminator has given up."""
    for n in range(1, most + 1):
        said = dog.check(line, 5000, None)
        if said is not None:
            assert "has given up" in said.reason and said.checks == n
            return n
    return None


@pytest.mark.parametrize(("objective", "chance", "contrast"), LEVELS)
def test_a_discriminator_has_given_up_in_the_units_of_its_loss(objective, chance, contrast):
    """One such line would be no news, twice `patience` consecutive ones are."""
    for loss, scale, lines_ in (
        (chance, 0.9, 4),
        (chance, 1.1, None),  # at chance level, and scores still tell images apart: converged
        (0.985 * chance, 0.9, 4),
        (1.5 * chance, 0.0, 4),  # one score for all that lies off the middle
        (0.97 * chance, 0.9, None),
    ):
        line = {"d/adv": loss, "d/contrast": scale * contrast}
        assert count_lines(watch(objective), line) == lines_, (loss, scale)
    assert count_lines(watch(objective), {"d/adv": chance}) is None  # a line of before


# d/adv,d/contrast of recorded runs, a pair every 50 steps.
# BigGAN on digits at 4 times the rates of its experiment, in bf16: from the third pair on real and
# fake images of a class get one score; d/spread was 0.01 to 0.06, that of the classes.
GAVE_UP = """
    2.061,0.13 1.964,0.066 1.992,0.04 1.961,0.1 2.001,0.024 1.994,0.02 1.999,0.0052 1.997,0.0055
    1.999,0.008 1.997,0.008 2,0.0086 1.999,0.0048 2.001,0.0082 2,0.0036 1.999,0.0038 2,0.0022
    2,0.0019 2,0.002 2,0.0014 2,0.0037 2,0.0018 2,0.003 1.998,0.0049 2,0.0034 2.001,0.0016
    2,0.0021 1.999,0.0023 1.999,0.0018 2,0.00074 2,0.001
"""
# An MLP on the ring, which has converged, with the non-saturating loss and with least squares; on
# the grid with hinge, where it has not; CGAN on digits.
RING = """
    1.37,0.078 1.412,0.092 1.304,0.21 1.422,0.12 1.408,0.15 1.422,0.17 1.4,0.14 1.35,0.12
    1.414,0.12 1.378,0.19 1.335,0.28 1.36,0.13 1.304,0.22 1.38,0.16 1.306,0.4 1.223,0.4
    1.337,0.15 1.398,0.11 1.389,0.28 1.219,0.68 1.311,0.27 1.338,0.17 1.447,0.16 1.282,0.54
    1.331,0.23 1.406,0.11 1.383,0.6 1.14,0.69 1.367,0.19 1.294,0.98
"""
RING_SQUARES = """
    0.2527,0.2 0.2096,0.15 0.2519,0.066 0.2946,0.17 0.2897,0.14 0.2172,0.15 0.2405,0.13
    0.209,0.16 0.2171,0.19 0.2057,0.18 0.2657,0.15 0.2522,0.15 0.2336,0.12 0.2807,0.16
    0.2601,0.16 0.2332,0.19 0.1974,0.18 0.234,0.17 0.189,0.22 0.262,0.17 0.2247,0.19 0.2484,0.18
    0.2208,0.16 0.2315,0.19 0.2958,0.2 0.2677,0.17 0.2481,0.16 0.1598,0.27 0.2244,0.19
    0.1395,0.53
"""
GRID = """
    1.977,0.045 2.039,0.086 2.084,0.21 1.803,0.24 2.012,0.096 1.429,0.59 2.205,0.31 2.178,0.28
    2.214,0.39 2.07,0.24 2.096,0.14 1.838,0.23 2.121,0.16 2.211,0.32 1.736,0.37 1.726,0.31
    1.999,0.14 2.018,0.2 2.577,0.64 1.722,0.44 1.488,0.76 1.676,0.38 2.062,0.23 2.115,0.24
    2.039,0.35 1.836,0.29 2.056,0.21 1.678,0.68 1.683,0.41 2.076,0.18
"""
CGAN = """
    0.6155,7.1 0.3604,5.3 1.014,4.3 0.7067,3.5 0.9383,2.8 0.962,2.4
"""


def show_recorded(objective, text: str) -> list[int]:
    """Shows a recorded run to a watchdog as it is by default; numbers of the lines that alarm."""
    dog = watch(objective, start_kimg=0.0, patience=6)
    lines_ = [tuple(map(float, pair.split(","))) for pair in text.split()]
    said = [dog.check({"d/adv": adv, "d/contrast": c}, 5000, None) for adv, c in lines_]
    return [k for k, alarm in enumerate(said, start=1) if alarm is not None]


def test_recorded_runs():
    assert show_recorded(Hinge(), GAVE_UP) == [17, 29], "at step 850 of 1,500"
    for objective, text in (
        (NonSaturating(), RING),
        (LeastSquares(), RING_SQUARES),
        (Hinge(), GRID),
        (NonSaturating(), CGAN),
    ):
        assert show_recorded(objective, text) == [], text


# d/real,d/fake,d/contrast of recorded runs with Wasserstein's loss.
# An MLP on digits, its critic with a learning rate of 1e-9; clipped to 0.0001; as wgan is.
SLOW_CRITIC = """
    -0.0809,0.292,0.504 -0.0889,0.908,1.18 -0.0443,1,1.14 -0.0523,1.25,1.41 0.0166,1.06,1.27
    0.0247,1.1,1.34 0.161,1.29,1.22 0.107,1.14,1.16 0.0518,0.952,1.09 -0.0284,1.32,1.43
    0.0228,0.818,1.13 0.0476,1.09,1.32 -0.102,1.24,1.48 0.0584,1.27,1.4 0.167,1.47,1.47
    -0.0278,1.35,1.52 0.0733,1.08,1.25 -0.0637,1.34,1.52 -0.0749,1.51,1.76 -0.177,1.12,1.44
    0.0269,1.57,1.68 -0.0517,1.11,1.3 -0.0153,1.22,1.53 0.114,1.15,1.25 0.00422,1.4,1.49
    -0.0124,1.37,1.57 0.0153,1.18,1.34 -0.11,1.28,1.55 0.0138,1.27,1.53 0.0993,1.41,1.52
"""
CLIPPED = """
    4.14e-06,8.75e-08,4.08e-06 5.79e-06,-2.67e-07,6.09e-06 7.95e-06,-2.1e-07,8.24e-06
    8.57e-06,-1.52e-07,8.83e-06 9.6e-06,2.55e-07,9.41e-06 1.03e-05,9.72e-07,9.33e-06
    1.07e-05,2.08e-06,8.72e-06 1.09e-05,3.19e-06,7.9e-06 1.01e-05,4.02e-06,6.23e-06
    9.41e-06,5.23e-06,4.47e-06 8.19e-06,4.6e-06,3.77e-06 6.29e-06,4.39e-06,2.12e-06
    6.09e-06,4.54e-06,1.77e-06 5.91e-06,4.85e-06,1.45e-06 5.35e-06,4.78e-06,9.55e-07
    4.92e-06,3.73e-06,1.38e-06 4.81e-06,4.1e-06,1.04e-06 3.81e-06,3.39e-06,6.72e-07
    4.37e-06,3.8e-06,8.82e-07 5.07e-06,4.7e-06,7.39e-07 4.3e-06,4.01e-06,5.95e-07
    3.57e-06,3.56e-06,6.42e-07 3.68e-06,3.3e-06,6.6e-07 3.49e-06,3.24e-06,4.87e-07
    3.44e-06,2.99e-06,7.8e-07 3.07e-06,2.65e-06,8.93e-07 3.11e-06,2.94e-06,5.62e-07
    3.4e-06,3.43e-06,8.08e-07 2.83e-06,2.48e-06,7.23e-07 2.93e-06,2.8e-06,5.52e-07
"""
CLIP = """
    68.3,59.6,18.8 33.9,6.79,30.2 27.3,16.3,16.4 37.2,33.6,14.8 28.5,25.4,9.17 27.7,23.8,10.9
    25.3,30.6,12.8 22.1,18.3,13.1 25.1,25.6,9.58 24.9,22,12.8 27.6,22.4,11.6 36.4,28.3,14.9
    29.9,23.7,18.4 43.9,31,21 50.1,37.3,20.2 57.9,44.6,26.4 58,46.9,23.5 56.8,40.2,26.2
    48.3,32.9,20.4 44.5,37.6,19.5 42.8,28.3,23.8 47.9,41.6,31.4 42.6,31.4,21.8 42.1,35,19.5
    51.1,35.7,33.1 51.3,43.6,14.9 58.5,40.9,29.6 63.4,49.8,24 57.2,53.4,19.3 59.3,59.1,25.9
"""
# wgan_gp: an MLP on the ring, whose critic often comes late, and DCGAN on digits.
LATE_CRITIC = """
    -0.798,-0.797,0.208 -1.38,-0.655,0.758 -1.97,-1.39,0.608 -1.62,-1.1,0.642 -2.74,-2.27,0.597
    -1.44,-0.854,0.905 -1.42,-0.856,0.793 -1.67,-1.34,0.585 -1.9,-1.61,0.816 -2.48,-2.05,0.709
    -1.87,-1.56,0.798 -1.4,-1.05,0.744 -1.94,-1.92,0.563 -2,-1.19,0.916 -2.32,-1.48,1.14
    -1.99,-1.86,0.494 -1.91,-1.3,0.932 -1.87,-1.29,0.712 -1.04,-0.779,0.594 -1.76,-1.55,0.652
    -1.86,-1.48,0.786 -1.53,-1.41,0.766 -0.352,-0.34,0.571 -1.16,-0.653,0.855 -0.485,-0.436,0.709
    -0.849,-0.612,0.837 -0.684,-0.508,0.627 -1.47,-0.959,0.814 -1.1,-0.406,0.846
    -0.534,-0.315,0.653 -1.63,-1.48,0.685 -1.63,-1.23,0.793 -0.542,-0.46,0.738 -1.02,-0.654,0.8
    -1.5,-1.61,0.786 -1.47,-1.86,0.801 -2.07,-1.75,0.63 -0.878,-0.663,0.699 -2.34,-2.06,0.839
    -2.62,-2.9,0.656 -1.9,-1.97,0.706 -2.53,-2.6,0.648 -2.49,-2.52,0.706 -3.99,-3.66,0.674
    -2.59,-2.38,0.714 -2.95,-3.24,0.83 -1.99,-1.87,0.686 -2.38,-2.28,0.885 -1.95,-2.05,0.738
    -2.06,-1.9,0.586 -2.34,-2.09,0.663 -2.17,-1.85,0.812 -2.45,-2.2,0.767 -1.73,-1.58,0.641
    -1.6,-1.9,0.844 -2.24,-2.1,0.908 -0.95,-1.11,0.64 -2.42,-2.69,0.814 -0.414,-0.6,0.91
    -2.79,-2.52,0.643
"""
DCGAN = """
    5.19,-0.111,5.37 13,5.57,7.85 6.9,1.51,5.58 7.96,2.12,5.97 7.18,1.76,5.59 4.66,0.828,4.1
    6.51,2.73,4.25 6.95,3.73,3.79 7.12,3.39,4.63 5.75,3.61,3.25 10.4,7.02,4.52 3.71,1.89,4.55
    3.37,1.76,2.98 4.67,2.93,2.9 3.89,0.404,4.26 3.3,0.982,3.98 1.3,-2.31,5.15 1.85,-0.76,4.67
    1.99,-1.1,5 1.53,-0.603,3.33 -0.506,-1.58,3.58 -1.39,-4.72,4.94 -2.47,-4.85,4.02
    -1.48,-4.74,4.45 -5.12,-8.76,4.43 -0.521,-4.79,4.9 -2.91,-4.85,2.57 -4.02,-6.52,4.14
    -5.07,-8,3.88 -3.28,-6.38,4.74
"""


def show_critic(text: str) -> list[tuple[int, str]]:
    """Shows a recorded Wasserstein critic to a watchdog as it is by default."""
    dog = watch(Wasserstein(), start_kimg=0.0, patience=6)
    found = []
    for k, triple in enumerate(text.split(), start=1):
        real, fake, contrast = map(float, triple.split(","))
        line = {"d/adv": fake - real, "d/real": real, "d/fake": fake, "d/contrast": contrast}
        alarm = dog.check(line, 5000, None)
        if alarm is not None:
            found.append((k, f"{alarm.reason}; {alarm.hint}"))
    return found


def test_recorded_wasserstein_critics():
    ((line, said),) = show_critic(SLOW_CRITIC)
    assert line == 24 and "the critic stays behind: it scores samples (1.15) above" in said
    assert "a larger optimizer.d.lr" in said
    given_up = show_critic(CLIPPED)
    assert [line for line, _ in given_up] == [12, 24]
    assert "the critic has given up: the scores of reals and of samples differ by" in given_up[0][1]
    assert "a larger loss.clip" in given_up[0][1]
    for text in (CLIP, LATE_CRITIC, DCGAN):
        assert show_critic(text) == []


def test_of_several_wasserstein_critics_one_may_give_up():
    fine = {"d/adv": -1.0, "d/contrast": 1.0, "d/real": 1.0, "d/fake": 0.0}
    dog = watch(Wasserstein(), patience=1)
    said = [dog.check(fine | {"d/b_contrast": 0.0}, 5000, None) for _ in (1, 2)]
    assert said[0] is None and "the critic b has given up" in said[1].reason
    dog = watch(Wasserstein(), patience=1)
    late = {"d/b_contrast": 1.0, "d/b_real": 0.0, "d/b_fake": 0.5}
    said = [dog.check(fine | late, 5000, None) for _ in range(4)]
    assert said[:3] == [None] * 3 and "the critic b stays behind" in said[3].reason


def test_a_discriminator_that_cannot_follow_stays_behind():
    """Its learning rate is 0, as recorded: the generator runs away, and nothing else is wrong."""
    dog = watch(Hinge(), patience=6)
    runaway = [{"d/adv": 4.0 + k, "d/contrast": 3.9, "watch/diversity": 24.0} for k in range(24)]
    said = [dog.check(line, 5000, None) for line in runaway]
    assert said[:23] == [None] * 23 and "the discriminator stays behind" in said[23].reason
    assert "its loss is 27, above chance level (2)" in said[23].reason
    assert "larger optimizer.d.lr" in said[23].hint and said[23].checks == 24
    dog = watch(Hinge(), patience=6)
    slow = [{"d/adv": 2.3, "d/contrast": 0.5}] * 40  # a poor one, and not so poor
    assert [dog.check(line, 5000, None) for line in slow] == [None] * 40


def test_of_several_discriminators_one_may_give_up():
    line = {"d/adv": 0.2, "d/contrast": 0.5, "d/a_adv": 0.15, "d/a_contrast": 1.0}
    dog = watch(LeastSquares(), patience=1)
    said = [dog.check(line | {"d/b_adv": 0.25, "d/b_contrast": 0.0}, 5000, None) for _ in (1, 2)]
    assert said[0] is None and "the discriminator b has given up" in said[1].reason


def test_a_line_that_differs_begins_the_count_again():
    dog = watch(patience=2)
    given_up = [{"d/adv": 1.386, "d/contrast": value} for value in (0, 0, 0, 1, 0, 0, 0)]
    assert [dog.check(line, 5000, None) for line in given_up] == [None] * 7


def test_what_is_said_of_a_class_alone_is_no_contrast():
    """Scores that follow the label only, the same for reals and fakes, are a dead discriminator."""
    labels = torch.arange(8.0) / 10
    assert measure_contrast(labels, labels) == 0
    assert measure_contrast(labels, labels.flip(0)) > 0.3
    assert measure_contrast(labels, labels[:4]) > 0  # no partners


def test_a_loss_of_the_users_own_class_has_no_levels():
    dog = Watch(WatchConfig(**SETTINGS), None)
    assert dog.compare_with_chance(0.1) is None


def test_a_signal_must_last_and_comes_after_the_start():
    dog = watch()
    assert [
        dog.check({"d/adv": 1e-4}, nimg, None) is not None
        for nimg in (0, 999, 1000, 1001, 1002, 1003)
    ] == [False, False, False, True, False, True]
    dog = watch()
    assert all(dog.check({"d/adv": value}, 5000, None) is None for value in (1e-4, 1.0, 1e-4, 1.0))
    assert watch(action="off", patience=1).check({"d/adv": 0.0}, 5000, None) is None


@pytest.mark.parametrize(
    ("values", "best", "words"),
    [
        ({"d/adv": 0.001}, None, "the discriminator has won"),
        ({"d/adv": 0.5}, None, None),
        ({"watch/diversity": 0.1}, None, "samples have collapsed"),
        ({"watch/diversity": 0.2}, None, None),
        ({"eval/critic_overfit": 0.95}, None, "the discriminator overfits"),
        ({"eval/critic_overfit": 0.5}, None, None),
        ({"eval/fid": 16.0}, ("fid", "min", 10.0), "fid is 16; its best was 10 at step 3"),
        ({"eval/fid": 14.0}, ("fid", "min", 10.0), None),
        ({"eval/modes": 5.0}, ("modes", "max", 8.0), "modes is 5"),
        ({"eval/fid": math.nan}, ("fid", "min", 10.0), "fid is nan"),
    ],
)
def test_each_signal(values, best, words):
    best = (
        None
        if best is None
        else dict(zip(("key", "mode", "value"), best, strict=True)) | {"step": 3}
    )
    said = watch(patience=1).check(values, 5000, best)
    assert said is None if words is None else words in said.reason


def test_distances_are_between_partners_of_one_class():
    labels = torch.tensor([0, 1] * 8)
    train = Decoded(
        images=(100 * labels.reshape(-1, 1, 1, 1)).to(torch.uint8),
        labels=labels,
        classes=("a", "b"),
    )
    first = torch.arange(16)
    assert torch.equal(labels[draw_partners(first, train, torch.Generator())], labels)
    assert measure_distance(torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), 3.0)) == 3.0


@pytest.mark.parametrize(
    ("model", "dataset"),
    [("mlp", "ring"), ("mlp", "grid"), ("dcgan", "digits"), ("cgan", "digits")],
)
def test_perfect_samples_differ_as_real_images_do(model, dataset, monkeypatch):
    """Of one class where the game draws by class, of any where it does not."""
    setup = frozen(f"model={model}", f"dataset={dataset}", "metrics=none")
    game = build_game(setup, trust=None)
    train = build(setup["dataset"], where="dataset", trust=None).load()
    rng = torch.Generator().manual_seed(3)

    def real(inputs, generator):
        n = len(inputs["z"])
        index = (
            draw_partners(
                torch.stack([(train.labels == k).nonzero()[0, 0] for k in inputs["label"]]),
                train,
                rng,
            )
            if "label" in inputs
            else torch.randint(len(train), (n,), generator=rng)
        )
        images = train.images[index]
        return images if images.is_floating_point() else (images.float() - 127.5) / 127.5

    monkeypatch.setattr(game, "sample", real)
    monitor = Monitor(
        train=train,
        held=None,
        labelled="label" in game.needs,
        config=RunConfig.from_plain(setup),
        device=torch.device("cpu"),
    )
    share = [monitor.measure_diversity(game, game.generator)["watch/diversity"] for _ in range(20)]
    assert sum(share) / 20 == pytest.approx(1.0, abs=0.15)


def test_better_follows_the_metric_and_ignores_what_is_not_finite():
    monitor = Monitor(
        train=Decoded(images=torch.zeros(4, 1, 2, 2, dtype=torch.uint8)),
        held=None,
        labelled=False,
        config=RunConfig.from_plain(frozen("model=mlp", "trainer.device=cpu")),
        device=torch.device("cpu"),
    )
    one = monitor.choose_best({"swd": 5.0}, 10, None)
    assert one == {"key": "swd", "mode": "min", "step": 10, "value": 5.0}
    assert (
        monitor.choose_best({"swd": 6.0}, 20, one) is one
        and monitor.choose_best({"swd": math.nan}, 20, one) is one
    )
    assert monitor.choose_best({"swd": 4.0}, 20, one)["step"] == 20


# in a run


def test_looking_never_changes_training(gan):
    sound(gan("train", *MEASURED, "trainer.steps=6", "metrics.every=2", "hydra.run.dir=seen"))
    sound(
        gan(
            "train",
            *MEASURED,
            "trainer.steps=6",
            "metrics.items=[]",
            "watch.action=off",
            "log.every=3",
            "hydra.run.dir=unseen",
        )
    )
    seen = last("seen")
    unseen = last("unseen")
    for part in ("game", "ema", "optimizers", "progress"):
        assert differences(seen[part], unseen[part]) == [], part
    report = json.loads(Path("seen/evaluation.json").read_text())
    assert (
        report["step"] == 6
        and report["protocol"]["n_fake"] == 20
        and report["ended"] == "its 6 steps are done"
    )
    assert report["best"] == seen["run"]["best"]
    assert [entry["step"] for entry in lines("seen") if "eval/swd" in entry] == [2, 4, 6]
    assert (
        not Path("unseen/evaluation.json").exists()
        and not Path("unseen/checkpoints/best.pt").exists()
    )


def test_the_best_checkpoint_is_kept_however_old(gan, monkeypatch):
    values = iter([5.0, 3.0, 4.0, 6.0, 7.0, 8.0])
    monkeypatch.setattr(Monitor, "measure", lambda *_: report({"swd": next(values)}))
    done = sound(
        gan(
            "train",
            *MEASURED,
            "trainer.steps=6",
            "metrics.every=1",
            "trainer.keep=1",
            "hydra.run.dir=run",
        )
    )
    assert "step 2: swd 3, the best so far" in done.out
    best = checkpoint.read(Path("run/checkpoints/best.pt"))
    assert best["progress"]["step"] == 2 and best["run"]["best"]["value"] == 3.0
    assert sorted(path.name for path in Path("run/checkpoints").iterdir()) == [
        "best.pt",
        "last.pt",
        "step-00000006.pt",
    ]
    sound(gan("sample", "ckpt=run/checkpoints/best.pt", "n=2"))


def report(values):
    from gancli.evaluation.samples import Report

    return Report(values, {})


def test_a_lost_run_is_stopped_with_words_and_code_3(gan, monkeypatch):
    monkeypatch.setattr(Monitor, "measure_diversity", lambda *_: {"watch/diversity": 0.01})
    fast = ("watch.start_kimg=0.02", "watch.patience=2")
    warned = sound(gan("train", *MEASURED, *fast, "trainer.steps=5", "hydra.run.dir=warned"))
    assert (
        "samples have collapsed" in warned.err
        and "watch.action=stop would end the run here" in warned.err
    )
    done = sound(
        gan("train", *MEASURED, *fast, "watch.action=stop", "trainer.steps=9", "hydra.run.dir=run"),
        3,
    )
    assert (
        "step 4: the samples have collapsed: they differ 0.01 times as much as reals do" in done.err
    )
    assert "gan train resume=run" in done.err.splitlines()[-1]
    assert last("run")["progress"]["step"] == 4, "what is lost is saved all the same"
    sound(gan("train", "resume=run", "watch.action=off", "trainer.steps=5"))


def test_a_rollback_returns_to_the_best_and_is_bounded(gan, package):
    name = package("""
        class Unlucky(GAN):
            \"\"\"Meets a NaN at step 5, until the second rollback.\"\"\"
            def d_loss(self, batch):
                loss, logs = super().d_loss(batch)
                unlucky = self.progress.step == 5 and self.progress.attempt < 2
                return loss * (float("nan") if unlucky else 1), logs
    """)
    mine = (
        *MEASURED,
        f"model._target_={name}.Unlucky",
        "metrics.every=2",
        "trainer.save_every=3",
        "trainer.steps=8",
        "watch.action=rollback",
    )
    done = sound(gan("train", *mine, "hydra.run.dir=run"))
    assert (
        "rollback 1 of 2" in done.err
        and "rollback 2 of 2" in done.err
        and "back to step" in done.err
    )
    tree = last("run")
    assert (
        tree["progress"]["attempt"] == 2
        and tree["run"]["rollbacks"] == 2
        and tree["progress"]["step"] == 8
    )
    steps = [entry["step"] for entry in lines("run") if "d/adv" in entry]
    assert steps == sorted(steps) and len(set(steps)) == len(steps), "no step is logged twice"

    done = sound(gan("train", *mine, "watch.retries=1", "hydra.run.dir=lost"), 3)
    assert "not finite" in done.err and "1 rollbacks did not help" in done.err
    assert all(value.isfinite().all() for value in last("lost")["game"].values())


def test_a_rollback_recovers_from_a_discriminator_that_has_given_up(gan, package):
    name = package("""
        class Tired(GAN):
            \"\"\"Scores everything 0 from step 3 on, until the first rollback.\"\"\"
            def critic(self, batch):
                critic = super().critic(batch)
                if self.progress.step < 3 or self.progress.attempt > 0:
                    return critic
                return lambda x: critic(x) * 0
    """)
    done = sound(
        gan(
            "train",
            *MEASURED,
            f"model._target_={name}.Tired",
            "metrics=none",
            "trainer.save_every=2",
            "trainer.steps=12",
            "watch.action=rollback",
            "watch.start_kimg=0",
            "watch.patience=1",
            "watch.diversity=0",
            "hydra.run.dir=run",
        )
    )
    assert "the discriminator has given up" in done.err and "rollback 1 of 2" in done.err
    assert last("run")["run"]["rollbacks"] == 1 and last("run")["progress"]["step"] == 12
    assert "back to step 2 " in done.err, "step 4 was saved while it scored everything 0"
    after = [line for line in lines("run") if line["step"] > 4 and "d/contrast" in line]
    assert after and all(line["d/contrast"] > 0.002 for line in after)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("non_saturating", ["step 2: the discriminator has given up: its loss is 1.39"]),
        ("wgan", ["step 2: the critic has given up", "a larger loss.clip"]),
    ],
)
def test_a_discriminator_that_never_moves_ends_the_run_with_words(gan, package, loss, said):
    name = package("""
        class Dead(GAN):
            \"\"\"Its discriminator scores everything 0, and its learning rate keeps it there.\"\"\"
            def __init__(self, **parts):
                super().__init__(**parts)
                for p in self.discriminator.parameters():
                    p.data.zero_()
    """)
    dead = (
        *MEASURED,
        f"model._target_={name}.Dead",
        f"loss={loss}",
        "metrics=none",
        "optimizer.d.lr=1e-30",
        "trainer.steps=20",
        "watch.start_kimg=0",
        "watch.patience=1",
        "watch.diversity=0",
    )
    done = sound(gan("train", *dead, "watch.action=stop", "hydra.run.dir=run"), 3)
    assert all(words in done.err for words in said)
    back = ("watch.action=rollback", "watch.retries=1", "trainer.save_every=1")
    done = sound(gan("train", *dead, *back, "hydra.run.dir=back"), 3)
    assert "rollback 1 of 1" in done.err and "1 rollbacks did not help" in done.err


def test_metrics_may_change_when_a_run_goes_on_and_an_old_run_has_none(gan):
    sound(gan("train", *MEASURED, "metrics=none", "trainer.steps=2", "hydra.run.dir=run"))
    sound(gan("train", "resume=run", "metrics=fast", "metrics.n=20", "trainer.steps=3"))
    assert (
        last("run")["config"]["metrics"]["items"][0] == "swd"
        and Path("run/evaluation.json").exists()
    )
    tree = last("run")
    del tree["config"]["metrics"], tree["config"]["watch"], tree["run"]["watch"]
    torch.save(tree, "run/checkpoints/last.pt")
    sound(gan("train", "resume=run", "trainer.steps=4"))
    assert (
        last("run")["config"]["metrics"]["items"] == []
        and last("run")["config"]["watch"]["action"] == "off"
    )


def test_metrics_that_make_no_sense_are_refused(gan):
    done = sound(
        gan("train", *MEASURED, "metrics.items=[fid]", "metrics.every=0", "watch.worse=0.5"), 2
    )
    assert all(
        words in done.err
        for words in ("there is no 'fid'", "metrics.every=0 ", "watch.worse=0.5 ", "give 1 or more")
    )
    assert "did you mean" in sound(gan("train", "metrics=fats"), 2).err
