"""How long a run is when nobody types it: by updates of the generator, one rule for every loss."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import train_helpers
from helpers import differences, frozen
from train_helpers import TINY, last, sound

from gancli.config.compose import compose
from gancli.config.folders import find_conf_dir
from gancli.errors import Problems
from gancli.run.plan import describe_plan

gan = pytest.fixture(train_helpers.gan)

SHORT = "# Four steps, but at least two updates of the generator\nsteps: ${gan.budget:4,2}\n"


def words(value: object) -> str:
    """A test's name: the command line alone."""
    return " ".join(value) or "nothing" if isinstance(value, tuple) else ""


@pytest.fixture
def short(tmp_path):
    """Overrides that choose a trainer with the default rule in miniature."""
    folder = tmp_path / "mine" / "trainer"
    folder.mkdir(parents=True)
    text = (find_conf_dir() / "trainer/default.yaml").read_text().splitlines()
    rest = [line for line in text if not line.startswith(("#", "steps:"))]
    (folder / "short.yaml").write_text(SHORT + "\n".join(rest) + "\n")
    return ("--config-dir", str(tmp_path / "mine"), "trainer=short")


@pytest.mark.parametrize(
    ("typed", "steps"),
    [
        ((), 2500),
        (("loss=hinge",), 2500),
        (("loss=wgan_gp",), 3000),
        (("loss=wgan",), 9000),
        (("loss=wgan", "loss.clip=null"), 3000),
        (("loss=wgan", "loss.n_critic=1"), 2500),
        (("loss=hinge", "loss.clip=0.1"), 2500),
        (("loss=wgan_gp_pggan",), 2500),
        (("loss=wgan_gp", "loss.n_critic=1"), 2500),
        (("loss=hinge", "loss.n_critic=2"), 2500),
        (("loss=hinge", "loss.n_critic=10"), 6000),
        (("loss=wgan_gp", "trainer.steps=7"), 7),
        (("loss=wgan_gp", "trainer.steps=1200"), 1200),
        (("loss=wgan_gp", "trainer=long"), 50_000),
        (("model=dcgan",), 3000),
        (("model=cgan",), 3000),
        (("model=dcgan", "loss=wgan_gp"), 3000),
        (("trainer=default",), 3000),
        (("model=mlp", "loss=wgan"), 9000),
        (("model=wgan_resnet",), 3000),
        (("experiment=wgan_resnet_digits_small", "trainer.steps=20"), 20),
        (("experiment=ssgan_digits_small",), 1500),
        (("model=enhance", "loss=none", "dataset.path=nowhere"), 3000),
    ],
    ids=words,
)
def test_the_budget_counts_updates_of_the_generator(typed, steps):
    assert compose("train", typed).cfg.trainer.steps == steps


def test_the_frozen_budget_is_a_plain_number():
    assert type(frozen("model=mlp", "loss=wgan_gp")["trainer"]["steps"]) is int


def test_a_loss_of_the_user_needs_no_n_critic(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss/mine.yaml").write_text("# A loss of the user's\n_target_: my.Loss\n")
    cfg = compose("train", ["--config-dir", str(tmp_path), "loss=mine"]).cfg
    assert cfg.trainer.steps == 2500


@pytest.mark.parametrize("value", ["0", "-1", "many", "2.5", "99999999999", "9" * 30])
def test_an_n_critic_that_does_not_fit_is_the_only_problem(value):
    with pytest.raises(Problems) as caught:
        frozen("model=mlp", "loss=wgan_gp", f"loss.n_critic={value}")
    ((message, _),) = caught.value.problems
    assert message.startswith("loss.n_critic")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            (),
            "2,500 steps of 16 images; model.width=auto: 32; optimizer ttur_quick "
            "(learning rate g 0.0005 falling to 0.0001, d 0.001 falling to 0.0004)",
        ),
        (
            ("optimizer=adam_b05", "optimizer.d.lr={start: 1e-3, end: 1e-4, end_kimg: 9}"),
            "2,500 steps of 16 images; model.width=auto: 32; optimizer adam_b05 "
            "(learning rate g 0.0002, d by a schedule)",
        ),
        (("loss=wgan_gp",), "600 generator updates x 5 critic steps = 3,000 steps of 16 images; "),
        (
            ("loss=wgan_gp", "trainer.steps=50", "trainer.batch_size=8"),
            "10 generator updates x 5 critic steps = 50 steps of 8 images; ",
        ),
        (
            ("loss=wgan_gp", "trainer.steps=51"),
            "51 steps of 16 images, a generator update every 5; ",
        ),
        (("loss=wgan_gp", "trainer.epochs=2"), "2 epochs in steps of 16 images; "),
    ],
    ids=words,
)
def test_the_plan_says_the_rule(typed, said):
    assert describe_plan(compose("train", typed)).startswith(said)


def test_a_run_by_the_rule_says_so_and_is_resumed_past_its_budget(gan, short):
    tiny = (*TINY, "loss=wgan_gp", *short)
    done = sound(gan("train", *tiny, "hydra.run.dir=part"))
    assert done.out.splitlines()[0].startswith(
        "plan: 2 generator updates x 5 critic steps = 10 steps of 8 images; optimizer "
    )
    assert last("part")["progress"]["step"] == 10
    assert last("part")["config"]["trainer"]["steps"] == 10
    assert "is complete at step 10" in sound(gan("train", "resume=part")).out
    again = sound(gan("train", "resume=part", "trainer.steps=12"))
    assert "plan:" not in again.out
    sound(gan("train", *tiny, "trainer.steps=12", "hydra.run.dir=whole"))
    assert differences(last("whole"), last("part")) == []


def test_each_job_of_a_sweep_has_the_budget_of_its_loss(gan, short):
    done = sound(gan("train", "-m", *TINY, *short, "loss=wgan_gp,hinge", "hydra.sweep.dir=sweep"))
    assert "plan: 2 generator updates x 5 critic steps = 10 steps of 8 images" in done.out
    assert "plan: 4 steps of 8 images" in done.out
    jobs = [json.loads(line) for line in Path("sweep/sweep.jsonl").read_text().splitlines()]
    assert [last(job["folder"])["config"]["trainer"]["steps"] for job in jobs] == [10, 4]


def test_help_and_check_say_it_too(gan, short):
    assert "600 x 5 = 3,000" in sound(gan("train", "--help")).out
    done = sound(gan("check", *TINY, "loss=wgan_gp", *short))
    assert "plan      2 generator updates x 5 critic steps = 10 steps of 8 images; " in done.out
    assert "forecast  10 steps" in done.out
