"""ContraD: the papers' numbers, who teaches the trunk and who does not, and what is refused."""

from __future__ import annotations

import math
import re

import pytest
import torch
import torch.nn.functional as F
from helpers import frozen, small, steps, trainer_for

from gancli.config.build import build_game
from gancli.errors import Problems
from gancli.games.contrad import nt_xent, repulsion


def game_of(*overrides):
    return build_game(small("contrad", *overrides), trust=None)


def batch():
    return {"image": torch.randn(8, 1, 16, 16).clamp(-1, 1)}


def test_nt_xent():
    e = torch.eye(2)
    assert (
        nt_xent(e, e, 0.5).item()
        == pytest.approx(0.2395448, rel=1e-6)
        == pytest.approx(math.log(1 + 2 * math.exp(-2)))
    )
    assert nt_xent(e, e.flip(0), 0.5).item() > 2


def test_repulsion_by_hand():
    """Two fakes at e1, reals at e1 and e2 in both views, temperature 1: of the 5 others each fake
    asks for the other.
    """
    e = torch.eye(2)
    fake = e[:1].expand(2, 2)
    want = -math.log(math.e / (3 * math.e + 2))
    assert repulsion(e, e, fake, 1.0).item() == pytest.approx(want, rel=1e-6)
    assert repulsion(e[1:].expand(2, 2), e[1:].expand(2, 2), fake, 0.05).item() == pytest.approx(
        0, abs=1e-6
    ), "far apart: nothing to do"
    assert repulsion(e[:1], e[1:], e[:1], 1.0).item() == 0, "one fake has no other"


def test_counts_are_sndcgans():
    with torch.device("meta"):
        game = build_game(frozen("model=contrad", "dataset=cifar10"), trust=None)
    counts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in game.named_children()
    }
    assert (counts["generator"], counts["discriminator"]) == (3_828_739, 5_860_865)
    features = game.discriminator.feature_dim
    assert (
        counts["scorer"] == (features + 1) * 512 + 513
        and counts["of_reals"] == counts["of_fakes"] == (features + 1) * 512 + 513 * 128
    )


def test_the_adversarial_loss_teaches_the_scorer_and_not_the_trunk(monkeypatch):
    game = game_of()
    monkeypatch.setattr("gancli.games.contrad.nt_xent", lambda *_: torch.zeros(()))
    monkeypatch.setattr("gancli.games.contrad.repulsion", lambda *_: torch.zeros(()))
    loss, logs = game.d_loss(batch())
    assert loss.item() == logs["adv"].item()
    loss.backward()
    assert all(p.grad is None for p in game.discriminator.parameters()) and all(
        p.grad is None for p in game.of_reals.parameters()
    )
    assert all(p.grad is not None for p in game.scorer.parameters())


@pytest.mark.parametrize(("term", "head"), [("simclr", "of_reals"), ("apart", "of_fakes")])
def test_each_contrast_teaches_the_trunk_through_its_own_head(monkeypatch, term, head):
    monkeypatch.setattr(
        f"gancli.games.contrad.{'repulsion' if term == 'simclr' else 'nt_xent'}",
        lambda *_: torch.zeros(()),
    )
    game = game_of("model.weight=2.0")
    loss, logs = game.d_loss(batch())
    assert loss.item() == pytest.approx(
        logs["adv"].item() + (2 if term == "apart" else 1) * logs[term].item(), rel=1e-5
    )
    loss.backward()
    assert all(
        p.grad.abs().sum() > 0
        for name, p in game.discriminator.body.named_parameters()
        if "bias" not in name
    )
    moved = {
        name
        for name, part in game.named_children()
        if any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    }
    assert {head} == moved & {"of_reals", "of_fakes"}


def test_the_generator_learns_through_the_trunk():
    game = game_of()
    game.g_loss(batch())[0].backward()
    assert all(
        p.grad.abs().sum() > 0
        for name, p in game.generator.named_parameters()
        if "weight" in name and "start" not in name
    )


def test_all_but_the_inactive_head_moves_in_a_step():
    trainer = trainer_for(small("contrad"))
    before = {key: value.clone() for key, value in trainer.game.named_parameters()}
    steps(trainer, 2)
    rested = {
        key for key, value in trainer.game.named_parameters() if torch.equal(value, before[key])
    }
    assert rested <= {key for key in before if key.startswith("discriminator.out")}
    assert {"d/simclr", "d/apart", "d/adv", "g/adv"} <= trainer.logs.keys()


def test_reals_are_compared_in_two_views(monkeypatch):
    views = []
    seen = []
    monkeypatch.setattr(
        "gancli.games.contrad.nt_xent", lambda a, b, t: seen.append((a, b)) or torch.zeros(())
    )
    game = game_of()
    game.augment.register_forward_hook(lambda module, args, out: views.append(args[0]))
    data = batch()
    game.d_loss(data)
    assert sum(x is data["image"] for x in views) == 2 and len(views) == 3, (
        "reals twice, fakes once"
    )
    assert not torch.allclose(*seen[0]), "two draws"
    assert torch.allclose(seen[0][0].norm(dim=1), torch.ones(8), atol=1e-5)


def test_weight_clipping_keeps_the_scorer_in_its_set_too():
    trainer = steps(
        trainer_for(
            small(
                "contrad",
                "loss=wgan",
                "loss.clip=0.01",
                "model.norm=none",
                "model.discriminator.spectral=false",
            )
        ),
        1,
    )
    for part in (trainer.game.scorer, trainer.game.discriminator):
        assert max(p.abs().max() for p in part.parameters()) <= 0.01


def test_half_precision_contrasts_in_full():
    game = game_of()
    with torch.autocast("cpu", torch.bfloat16):
        loss, logs = game.d_loss(batch())
    assert loss.isfinite() and logs["simclr"].dtype == logs["apart"].dtype == torch.float32


def test_a_feature_of_length_zero_has_a_gradient():
    h = torch.zeros(2, 3, requires_grad=True)
    nt_xent(F.normalize(h, dim=1), F.normalize(h, dim=1), 0.1).backward()
    assert h.grad.isfinite().all()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["augment=none"], "augment=simclr"),
        (["loss=wgan_gp"], "lets no gradient through"),
        (["loss=r1"], "lets no gradient through"),
        (["model.temperature=0"], "model.temperature=0.*a number above 0"),
        (["model.hidden=0"], "model.hidden=0.*from 1 to"),
        (["model.norm=batch"], "does not fit"),
    ],
)
def test_refused(overrides, said):
    with pytest.raises(Problems) as raised:
        small("contrad", *overrides)
    assert re.search(said, str(raised.value.problems))


@pytest.mark.parametrize("view", ["diffaug", "ada"])
def test_other_views_will_do(view):
    loss, _ = game_of(f"augment={view}").d_loss(batch())
    assert loss.isfinite()
