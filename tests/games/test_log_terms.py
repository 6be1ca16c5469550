"""What games log is bare: each term of a loss as it is, before its weight and its interval."""

from __future__ import annotations

import pytest
import torch
from helpers import DOMAINS, SMALL, TINY, frozen, small, some_by_default, trainer_for
from loss_helpers import write_untrained_squeezenet

from gancli.trainer import Trainer

# The last word of keys that no weight of the config belongs to.
WITHOUT_WEIGHT = {"adv", "real", "fake", "accuracy", "mi", "simclr", "length"}
WITHOUT_WEIGHT |= {"contrast"}
WITHOUT_WEIGHT |= {"nats", "reward"}
PENALTIES = ("gp", "r1", "r2", "dragan", "drift", "lecam")
MORE = {  # overrides that bring terms which no model has by itself
    "cgan": ("loss.feature_matching=1",),
    "lapgan": ("loss.feature_matching=1", "+penalty@loss.penalties.r1=r1"),
    "textgan": ("loss.feature_matching=1",),
    "timegan": ("loss.feature_matching=1",),
    "mlp": (
        *(f"+penalty@loss.penalties.{name}={name}" for name in PENALTIES),
        "loss.penalties.lecam.start=0",
    ),
    "pose": ("model.foreground_weight=1",),
    "ssgan": ("+penalty@loss.penalties.consistency=consistency",),
}
WEIGHTS = {  # model: the keys of the config that weigh a term, and the last words of its keys
    "acgan": {
        "model.heads.acgan.real": "acgan_real",
        "model.heads.acgan.fake": "acgan_fake",
        "model.heads.acgan.generator": "acgan_fake",
    },
    "cgan": {"loss.feature_matching": "fm"},
    "bicyclegan": {
        "model.adversarial_weight": "adv",
        "model.pixel_weight": "pixel",
        "model.kl_weight": "kl",
        "model.latent_weight": "latent",
    },
    "contrad": {"model.weight": "apart"},
    "contragan": {"model.heads.contragan.weight": "2c"},
    "cyclegan": {"model.cycle": "cycle", "model.identity": "identity"},
    "enhance": {"model.pixel_weight": "pixel", "model.adversarial_weight": "adv"},
    "esrgan": {"model.pixel_weight": "pixel", "model.adversarial_weight": "adv"},
    "infogan": {"model.weight_categorical": "ce", "model.weight_continuous": "nll"},
    "inpaint": {"model.pixel_weight": "pixel", "model.adversarial_weight": "adv"},
    "lapgan": {"loss.feature_matching": "fm", "loss.penalties.r1.weight": "r1"},
    "mlp": {f"loss.penalties.{name}.weight": name for name in PENALTIES},
    "pggan": {"loss.penalties.gp.weight": "gp", "loss.penalties.drift.weight": "drift"},
    "pix2pix": {"model.pixel_weight": "pixel", "model.adversarial_weight": "adv"},
    "pose": {
        "model.adversarial_weight": "adv",
        "model.pixel_weight": "pixel",
        "model.foreground_weight": "front",
    },
    "r3gan": {"loss.penalties.r1.weight": "r1", "loss.penalties.r2.weight": "r2"},
    "simgan": {"model.pixel_weight": "pixel", "model.adversarial_weight": "adv"},
    "srgan": {"model.pixel_weight": "pixel", "model.adversarial_weight": "adv"},
    "ssgan": {
        "model.heads.rotation.d": "rotation_ce",
        "model.heads.rotation.g": "rotation_ce",
        "loss.penalties.consistency.weight": "consistency",
    },
    "stylegan": {"loss.penalties.r1.weight": "r1"},
    "stylegan2": {"model.r1_gamma": "r1", "model.pl_weight": "pl"},
    "textgan": {"loss.penalties.gp.weight": "gp", "loss.feature_matching": "fm"},
    "textgan_conv": {"loss.penalties.gp.weight": "gp"},
    "timegan": {
        "model.recovery_weight": "recovery",
        "model.supervised_weight": "supervised",
        "model.embedder_supervised_weight": "supervised",
        "model.moments_weight": "moments",
        "model.raw_weight": "raw_adv",
        "loss.feature_matching": "fm",
    },
    "wavegan": {"loss.penalties.gp.weight": "gp"},
    "wgan_resnet": {"loss.penalties.gp.weight": "gp"},
}


def play_all(config: dict, *, step: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """The logs and the minimised totals of every phase at the first weights; nothing moves."""
    trainer: Trainer = trainer_for(config)
    trainer.progress.step = step
    logs = {}
    totals = {}
    batch = trainer.draw_batch()
    for phase in trainer.phases:
        trainer.reseed(phase, 0)
        prepared = batch
        if phase.prepare is not None:
            prepared = phase.prepare(batch, torch.Generator().manual_seed(1))
        total, parts = phase.loss(prepared)
        totals[phase.name] = total.item()
        logs |= {f"{phase.name}/{key}": value for key, value in parts.items()}
    return logs, totals


def last_word(key: str) -> str:
    return key.rpartition("/")[2]


def belongs(key: str, word: str) -> bool:
    """Is a key of the log about this term, of whichever discriminator?"""
    return last_word(key) == word or last_word(key).endswith(f"_{word}")


@pytest.mark.parametrize("model", some_by_default(sorted(SMALL)))
def test_a_logged_term_does_not_depend_on_its_weight(model):
    more = MORE.get(model, ())
    logs, totals = play_all(small(model, *more))
    weights = WEIGHTS.get(model, {})
    terms = [key for key in logs if last_word(key) != "sign_real"]
    words = [*WITHOUT_WEIGHT, *weights.values()]
    assert [key for key in terms if not any(belongs(key, word) for word in words)] == [], (
        "say in WEIGHTS what weighs it"
    )
    for key, word in weights.items():
        assert any(belongs(name, word) for name in logs), key
        others, other_totals = play_all(small(model, *more, f"{key}=0.37"))
        assert [name for name in logs if not torch.equal(logs[name], others[name])] == [], key
        assert totals != other_totals, f"{key} does nothing"


@pytest.mark.parametrize(
    ("model", "key", "phase"),
    [
        ("mlp", "loss.penalties.gp.every", "d"),
        ("mlp", "loss.penalties.lecam.every", "d"),
        ("stylegan2", "model.r1_every", "d_r1"),
        ("stylegan2", "model.pl_every", "g_pl"),
    ],
)
def test_a_logged_term_does_not_depend_on_its_interval(model, key, phase):
    setups = [small(model, *MORE.get(model, ()), f"{key}={every}") for every in (1, 4)]
    # Step 3 is the first at which both are due.
    (often, totals), (rarely, others) = (play_all(setup, step=3) for setup in setups)
    assert often.keys() == rarely.keys()
    assert [name for name in often if not torch.equal(often[name], rarely[name])] == []
    assert totals[phase] != others[phase], "the interval does not count"


@pytest.mark.parametrize(
    ("model", "key", "word"),
    [
        ("styletransfer", "model.content_weight", "content"),
        ("styletransfer", "model.style_weight", "style"),
        ("styletransfer", "model.smoothness", "rough"),
        ("pix2pix", "model.perceptual_weight", "perceptual"),
    ],
)
def test_terms_of_features_are_bare(model, key, word, tmp_path):
    file = write_untrained_squeezenet(tmp_path)
    small_net = {
        "styletransfer": (
            f"dataset.path={DOMAINS}",
            "dataset.resolution=16",
            "perceptual=squeezenet_style",
            "model.width=4",
            "model.generator.blocks=1",
        ),
        "pix2pix": (*SMALL["pix2pix"], "perceptual=squeezenet"),
    }[model]
    words = (f"model={model}", *small_net, f"perceptual.weights={file}", *TINY)
    (light, totals), (heavy, others) = (
        play_all(frozen(*words, f"{key}={weight}")) for weight in (0.5, 2.0)
    )
    assert any(belongs(name, word) for name in light)
    assert [name for name in light if not torch.equal(light[name], heavy[name])] == []
    assert totals != others, "the weight does nothing"
