"""Heads on the critic: the papers' numbers, that they reach the trunk, that they work on every
critic, and what they refuse.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers import frozen, small, steps, trainer_for
from torch import nn

from gancli.config.build import build_game
from gancli.errors import Problems
from gancli.games.classes import AuxiliaryClassifier, ClassContrast, ClassProjection, class_contrast
from gancli.games.selfsupervised import Rotation, turn_by_quarters

BODIES = ("dcgan", "mlp", "sngan", "sndcgan", "biggan")
HEADS = {"acgan": 1, "projection": 1, "contragan": 1, "rotation": 0}  # does it need labels?


class Features:
    """A critic whose features are the pixels."""

    def __init__(self):
        self.asked = []

    def features(self, x):
        self.asked.append(x)
        return x.flatten(1)


def pixels(rows):
    return torch.tensor(rows).reshape(len(rows), 1, 1, -1)


def reading_pixels(head, n):
    """The head attached to n features, each of which is a logit."""
    head.attach(n)
    with torch.no_grad():
        head.out.weight.copy_(torch.eye(n))
    return head


# the papers' numbers


def test_auxiliary_classifier():
    head = reading_pixels(AuxiliaryClassifier(classes=3, real=2.0, fake=0.5, generator=0.1), 3)
    real = pixels([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    fake = pixels([[0.0, 0.0, 0.0]] * 2)
    label = torch.tensor([0, 2])
    term, logs = head.d(Features(), real, fake, label)
    assert logs["real"].item() == pytest.approx(0.8954947, rel=1e-6) and logs[
        "fake"
    ].item() == pytest.approx(math.log(3))
    assert logs["accuracy"] == 0.5 and term.item() == pytest.approx(
        2 * 0.8954947 + 0.5 * math.log(3), rel=1e-6
    )
    assert head.g(Features(), real, fake, label)[0].item() == pytest.approx(0.1 * math.log(3))


def test_projection():
    """REFERENCE section 3: psi(h) = <w,h> + b with w = (2,1), b = 0.5; v_y = (0.5,-1); h = (1,2) ->
    3.0
    """
    head = ClassProjection(classes=2, norm="none")
    head.attach(2)
    with torch.no_grad():
        head.project.table.weight.copy_(torch.tensor([[9.0, 9.0], [0.5, -1.0]]))
    h = torch.tensor([[1.0, 2.0]])
    score = h @ torch.tensor([[2.0], [1.0]]) + 0.5
    assert (score + head.score(h, torch.tensor([1]))).tolist() == [[3.0]]
    spectral = ClassProjection(classes=2)
    spectral.attach(2)
    assert torch.linalg.matrix_norm(
        spectral.eval().project.table.weight, 2
    ).item() == pytest.approx(1.0, abs=0.05)


def test_contrast_of_classes():
    h = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    label = torch.tensor([0, 0, 1])
    proxies = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert class_contrast(h, proxies[label], label, 1.0).item() == pytest.approx(
        0.8352143, rel=1e-6
    )
    together = class_contrast(h, h, torch.tensor([0, 0, 0]), 1.0)
    assert together.item() == pytest.approx(0.0, abs=1e-6), "nothing to be kept away from"


def test_contrast_embeds_reals_for_the_critic_and_fakes_for_the_generator():
    head = ClassContrast(classes=2, dim=4, weight=3.0)
    critic = Features()
    head.attach(2)
    real = pixels([[2.0, 0.0], [0.0, 1.0]])
    fake = pixels([[1.0, 0.0], [5.0, 1.0]])
    label = torch.tensor([0, 1])
    (d, logs), (g, _) = head.d(critic, real, fake, label), head.g(critic, real, fake, label)
    assert (
        critic.asked == [real, fake] and d.item() == pytest.approx(3 * logs["2c"].item()) and d != g
    )
    assert head.d(Features(), 7 * real, fake, label)[0].item() == pytest.approx(
        d.item(), rel=1e-5
    ), "directions, not lengths"


def test_turns_are_anticlockwise_and_one_for_each_quarter_of_the_batch():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(4, 1, 2, 2)
    assert turn_by_quarters(x)[:, 0].tolist() == [
        [[1, 2], [3, 4]],
        [[2, 4], [1, 3]],
        [[4, 3], [2, 1]],
        [[3, 1], [4, 2]],
    ]
    for n in (1, 2, 3, 5, 7, 8):
        x = torch.randn(n, 2, 4, 4)
        assert all(
            torch.equal(turn_by_quarters(x)[i], x[i].rot90(i * 4 // n, (1, 2))) for i in range(n)
        )


def test_rotation():
    head = Rotation(resolution=2, d=1.0, g=0.2)
    critic = Features()
    head.attach(4)
    nn.init.zeros_(head.out.weight)
    real = torch.randn(8, 1, 2, 2)
    fake = torch.randn(8, 1, 2, 2)
    assert head.d(critic, real, fake, None)[0].item() == pytest.approx(1.3862944, rel=1e-6)
    assert head.g(critic, real, fake, None)[0].item() == pytest.approx(0.2 * 1.3862944, rel=1e-6)
    assert torch.equal(critic.asked[0], turn_by_quarters(real)) and torch.equal(
        critic.asked[1], turn_by_quarters(fake)
    )


def test_ssgans_critic_has_the_published_count():
    game = meta(frozen("model=ssgan", "dataset.resolution=32", "dataset.channels=3"))
    assert (
        count(game.discriminator) + count(game.heads) == 1_054_341
        and count(game.generator) == 4_276_739
    )


def test_counts_of_the_other_heads():
    game = meta(frozen("model=acgan", "dataset=cifar10"))
    assert (
        count(game.heads) == 10 * (game.discriminator.feature_dim + 1)
        and count(game.discriminator) == 663_296
    )
    assert count(game.generator) == 1_109_888, "DCGAN's, with labels"
    game = meta(frozen("model=contragan", "dataset=cifar10"))
    assert (
        count(game.heads) == 512 * (128 + 1) + 10 * 512 and count(game.discriminator) == 1_053_824
    )


def meta(config):
    with torch.device("meta"):
        return build_game(config, trust=None)


def count(module):
    return sum(p.numel() for p in module.parameters())


# on every critic


def with_head(body: str, head: str, *more: str) -> dict:
    labels = (
        ["model.conditional=true", "model.discriminator.conditional=false"] if HEADS[head] else []
    )
    return small(body, *labels, f"+head@model.heads.{head}={head}", *more)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("head", HEADS)
def test_every_head_on_every_critic(body, head):
    game = build_game(with_head(body, head, "loss=hinge"), trust=None)
    side = 8 if body == "mlp" else 16
    batch = {"image": torch.randn(8, 1, side, side)} | (
        {"label": torch.arange(8) % 3} if "label" in game.needs else {}
    )
    game.d_loss(batch)[0].backward()
    assert all(
        p.grad.isfinite().all() and p.grad.abs().sum() > 0
        for name, p in game.heads.named_parameters()
        if "bias" not in name
    )
    assert game.g_loss(batch)[0].isfinite()


@pytest.mark.parametrize("norm", ["none", "spectral"])
@pytest.mark.parametrize("head", HEADS)
def test_a_head_alone_reaches_the_trunk_and_in_g_the_generator(head, norm):
    game = build_game(
        with_head(
            "dcgan", head, f"model.heads.{head}.norm={norm}", "model.discriminator.norm=none"
        ),
        trust=None,
    )
    batch = {"image": torch.randn(8, 1, 16, 16), "label": torch.arange(8) % 3}
    batch = batch if HEADS[head] else {"image": batch["image"]}
    for phase, network in (("d", game.discriminator.body), ("g", game.generator)):
        game.zero_grad()
        critic = game.critic(batch)
        fake = game.fake(batch)
        one = game.heads[head]
        term = one.score(critic.features(fake), batch.get("label"))
        if head != "projection":
            term = (one.d if phase == "d" else one.g)(
                critic, batch["image"], fake, batch.get("label")
            )[0]
        term.sum().backward()
        assert all(
            p.grad is not None and p.grad.abs().sum() > 0
            for name, p in network.named_parameters()
            if "bias" not in name
        )


def test_the_scores_pass_is_shared():
    game = build_game(with_head("dcgan", "acgan"), trust=None)
    passes = []
    game.discriminator.body.register_forward_hook(lambda *_: passes.append(1))
    batch = {"image": torch.randn(8, 1, 16, 16), "label": torch.arange(8) % 3}
    game.d_loss(batch)
    assert len(passes) == 2, "reals and fakes, each once"
    game.g_loss(batch)
    assert len(passes) == 3


def test_a_heads_term_is_added_to_the_loss():
    config = with_head("dcgan", "rotation", "model.discriminator.norm=none")
    game = build_game(config, trust=None)
    batch = {"image": torch.randn(8, 1, 16, 16)}
    for loss, weight in ((game.d_loss, 1.0), (game.g_loss, 0.2)):
        total, logs = loss(batch)
        assert total.item() == pytest.approx(
            logs["adv"].item() + weight * logs["rotation_ce"].item(), rel=1e-5
        )


def test_two_heads_at_once_and_a_penalty():
    """A projection is part of the score, so the penalty's gradient goes through it."""
    setup = with_head("sngan", "projection", "+head@model.heads.rotation=rotation", "loss=wgan_gp")
    trainer = steps(trainer_for(setup), 2)
    assert {"d/rotation_ce", "d/gp"} <= trainer.logs.keys()


def test_half_precision_gives_finite_float_terms():
    game = build_game(with_head("dcgan", "contragan"), trust=None)
    batch = {"image": torch.randn(8, 1, 16, 16), "label": torch.arange(8) % 3}
    with torch.autocast("cpu", torch.bfloat16):
        loss, logs = game.d_loss(batch)
    assert loss.isfinite() and logs["contragan_2c"].dtype == torch.float32


def test_the_contrast_of_normalised_vectors_survives_a_zero():
    h = F.normalize(torch.zeros(2, 4, requires_grad=True), dim=1)
    class_contrast(h, F.normalize(torch.ones(2, 4), dim=1), torch.tensor([0, 1]), 0.1).backward()


# what is refused


@pytest.mark.parametrize("head", [name for name, labels in HEADS.items() if labels])
def test_class_heads_want_labels(head):
    with pytest.raises(Problems, match="model.conditional=true"):
        small("dcgan", f"+head@model.heads.{head}={head}")
    with pytest.raises(Problems, match="has no labels"):
        small("acgan", "dataset.classes=0")


@pytest.mark.parametrize(
    ("head", "wrong", "said"),
    [
        ("acgan", "fake=-1", "give 0 or more"),
        ("contragan", "temperature=0", "give a number above 0"),
        ("contragan", "dim=0", "give a number from 1"),
        ("rotation", "g=-1", "give 0 or more"),
        ("rotation", "norm=batch", "does not fit"),
    ],
)
def test_wrong_values(head, wrong, said):
    with pytest.raises(Problems, match=f"model.heads.{head}.{wrong.split('=')[0]}") as raised:
        with_head("dcgan", head, f"model.heads.{head}.{wrong}")
    assert said in str(raised.value.problems)


def test_rotation_wants_square_images():
    with pytest.raises(Problems, match="give square images"):
        small("ssgan", "dataset.resolution=[16,24]")
    with pytest.raises(Problems, match="give square images"):
        frozen("model=mlp", "dataset=ring", "+head@model.heads.rotation=rotation")


def test_a_clip_reaches_heads_that_score_and_no_others():
    setup = small(
        "cgan",
        "loss=wgan",
        "model.discriminator.conditional=false",
        "+head@model.heads.p=projection",
        "model.heads.p.norm=none",
        "+head@model.heads.a=acgan",
    )
    trainer = steps(trainer_for(setup), 1)
    clip = setup["loss"]["clip"]
    assert (
        trainer.game.heads["p"].project.table.weight.abs().max()
        <= clip
        < trainer.game.heads["a"].out.weight.abs().max()
    )
