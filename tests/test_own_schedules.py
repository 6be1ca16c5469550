"""A schedule of the user's own wherever a schedule may stand: tried first, resumed bit for bit."""

from __future__ import annotations

import math

import pytest
import train_helpers
from helpers import differences
from train_helpers import TINY, last, sound

from gancli.errors import UserError
from gancli.schedules import OwnSchedule, schedule

gan, package = map(pytest.fixture, (train_helpers.gan, train_helpers.package))
WAVE = """
import math

class Wave:
    def __init__(self, *, mean: float, amount: float):
        self.mean = mean
        self.amount = amount

    def __call__(self, nimg: int) -> float:
        return self.mean + self.amount * math.cos(nimg / 10)

class Short(Wave):
    def __call__(self, nimg: int) -> float:
        return [self.mean, self.amount][nimg]

class Text(Wave):
    def __call__(self, nimg: int) -> float:
        return "much"

class Still:
    pass
"""
PLACES = (
    "optimizer.g.lr={{_target_: {0}.Wave, mean: 1e-3, amount: 1e-3}}",
    "optimizer.d.beta2={{_target_: {0}.Wave, mean: 0.9, amount: 0.05}}",
    "loss.penalties.gp.weight={{_target_: {0}.Wave, mean: 1, amount: 1}}",
    "ema.half_life_kimg={{_target_: {0}.Wave, mean: 0.01, amount: 0.01}}",
    "augment.p={{_target_: {0}.Wave, mean: 0.5, amount: 0.5}}",
)
WORDS = (*TINY, "loss=wgan_gp", "augment=ada", "augment.target=null", "loss.n_critic=1")


@pytest.fixture
def mine(package):
    return package(WAVE)


def test_it_may_stand_wherever_a_schedule_may_and_resumes_bit_for_bit(gan, mine):
    places = [place.format(mine) for place in PLACES]
    sound(gan("train", *WORDS, *places, "trainer.steps=5", "hydra.run.dir=whole"))
    sound(gan("train", *WORDS, *places, "trainer.steps=2", "hydra.run.dir=run"))
    resume = ("train", "resume=run", "trainer.steps=5")
    refused = sound(gan(*resume), 2)
    assert f"add trust={mine}" in refused.err
    sound(gan(*resume, f"trust={mine}"))
    for part in ("game", "ema", "optimizers"):
        assert not differences(last("whole")[part], last("run")[part])
    group = last("run")["optimizers"]["g"]["param_groups"][0]
    assert group["lr"] == pytest.approx(0.001 + 0.001 * math.cos(3.2))


def test_sampling_builds_it_only_when_trusted(gan, mine):
    sound(gan("train", *WORDS, PLACES[2].format(mine), "trainer.steps=1", "hydra.run.dir=run"))
    refused = sound(gan("sample", "ckpt=run", "n=2", "out=out"), 2)
    assert f"add trust={mine}" in refused.err
    sound(gan("sample", "ckpt=run", "n=2", "out=out", f"trust={mine}"))


@pytest.mark.parametrize(
    "place", ["optimizer.g.lr", "ema.half_life_kimg", "loss.penalties.gp.weight"]
)
@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("Wave, mean: 1e-3, amont: 1", "takes no 'amont'"),
        ("Wave, mean: much, amount: 1", "mean='much' does not fit"),
        ("Wave, mean: 0.5, amount: 1", "does not fit"),
        ("Short, mean: 1, amount: 1", "the schedule raised IndexError"),
        ("Text, mean: 1, amount: 1", "gives 'much' after 0 images"),
        ("Still", "is no ScheduleFunction"),
        ("Absent", "is not a class"),
    ],
)
def test_what_is_wrong_with_it_is_said_before_a_run_begins(gan, mine, place, spec, said):
    done = sound(gan("train", *WORDS, f"{place}={{_target_: {mine}.{spec}}}"), 2)
    assert said in done.err and place in done.err and done.err.count("\ngan: ") <= 1


def test_a_learning_rate_may_be_a_schedule_of_gancli_s_as_well(gan):
    word = "optimizer.g.lr={start: 1e-3, end: 0, end_kimg: 0.032}"
    sound(gan("train", *TINY, word, "trainer.steps=3", "hydra.run.dir=run"))
    assert last("run")["optimizers"]["g"]["param_groups"][0]["lr"] == pytest.approx(5e-4)
    done = sound(gan("train", *TINY, "optimizer.g.lr={start: 1e-3, end: -1, end_kimg: 1}"), 2)
    assert "optimizer.g.lr=" in done.err and "0 or more" in done.err


def test_a_value_that_is_no_number_stops_the_run_that_meets_it():
    late = schedule(lambda nimg: float("nan") if nimg > 10 else 1.0)
    assert isinstance(late, OwnSchedule) and late(10) == 1.0
    with pytest.raises(UserError, match="gives nan after 11 images"):
        late(11)
