"""Any optimizer class of torch: it trains and resumes bit for bit, or is refused in words."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from helpers import differences, frozen, small, steps, trainer_for
from torch import nn

from gancli.checkpoint import check_state
from gancli.errors import Problems, UserError
from gancli.optimizers import Player

CLASSES = sorted(
    name
    for name, cls in vars(torch.optim).items()
    if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)
)
REFUSED = {
    "LBFGS": "evaluates the loss several times",
    "SparseAdam": "does not support dense gradients",
    "Optimizer": "defaults is missing",
}
WITHOUT_BETAS = {"Adam", "AdamW", "Adamax", "NAdam", "RAdam", "SparseAdam"}
MUON = ("optimizer.g._target_=torch.optim.Muon", "~optimizer.g.betas")


def words_for(name: str) -> list[str]:
    words = [f"optimizer.g._target_=torch.optim.{name}", "optimizer.g.lr=0.001"]
    words += [] if name in WITHOUT_BETAS else ["~optimizer.g.betas"]
    return words + (["~optimizer.g.weight_decay"] if name in ("LBFGS", "Rprop", *REFUSED) else [])


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_of_torch_trains_and_resumes_or_is_refused_in_words(name):
    if name in REFUSED:
        with pytest.raises(Problems) as raised:
            small("mlp", *words_for(name))
        messages = [message for message, hint in raised.value.problems if hint]
        assert any(REFUSED[name] in message for message in messages)
        return
    config = small("mlp", *words_for(name))
    whole = steps(trainer_for(config), 3)
    half = copy.deepcopy(steps(trainer_for(config), 2).state_dict())
    resumed = trainer_for(config)
    resumed.load_state_dict(half)
    check_state(half | {"version": "x"}, "last.pt", trust=())  # its shapes are known to fit
    assert not differences(whole.state_dict(), steps(resumed, 1).state_dict())
    before = trainer_for(config).game.state_dict()
    assert differences(before, whole.game.state_dict()), "nothing has moved"


def test_muon_moves_the_matrices_and_another_optimizer_the_rest(caplog):
    with caplog.at_level(logging.INFO, "gancli"):
        config = small("mlp", *MUON)
    assert "optimizer.g: Muon moves 2 matrices" in caplog.text and "AdamW 2 others" in caplog.text
    assert config["optimizer"]["g"]["rest"]["_target_"] == "torch.optim.AdamW"
    first, second = trainer_for(config).players["g"].movers
    assert {p.ndim for p in first.parameters} == {2} and {p.ndim for p in second.parameters} == {1}


def test_the_option_muon_trains_both_players_of_a_model_with_linear_layers():
    config = small("mlp", "optimizer=muon")
    specs = config["optimizer"]
    assert {specs[name]["_target_"] for name in ("g", "d")} == {"torch.optim.Muon"}
    assert {specs[name]["rest"]["lr"] for name in ("g", "d")} == {2e-4}
    before = trainer_for(config).game.state_dict()
    trained = steps(trainer_for(config), 2)
    for player in trained.players.values():
        assert [len(mover.parameters) > 0 for mover in player.movers] == [True, True]
    after = trained.game.state_dict()
    assert all(not torch.equal(before[key], after[key]) for key in before if "weight" in key)


def test_both_optimizers_follow_the_schedule_and_the_lazy_correction():
    spec = {
        "_target_": "torch.optim.Muon",
        "lr": 0.02,
        "warmup_kimg": 1.0,
        "rest": {"_target_": "torch.optim.AdamW", "lr": 0.004, "betas": [0.0, 0.99]},
    }
    player = Player([nn.Linear(3, 2)], spec, lazy=4)
    for nimg, factor in ((0, 0.0), (500, 0.5), (2000, 1.0)):
        player.begin()
        for p in player.parameters:
            p.grad = torch.ones_like(p)
        player.step(nimg)
        rates = [mover.optimizer.param_groups[0]["lr"] for mover in player.movers]
        assert rates == pytest.approx([0.02 * 0.8 * factor, 0.004 * 0.8 * factor])
    assert player.movers[1].optimizer.param_groups[0]["betas"][1] == pytest.approx(0.99**0.8)


def test_tables_of_embeddings_are_no_matrices_of_muons():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4))
    spec = {"_target_": "torch.optim.Muon", "lr": 0.02}
    rest = {"_target_": "torch.optim.AdamW", "lr": 0.001}
    first, second = Player([net], spec | {"rest": rest}).movers
    assert [p is net[1].weight for p in first.parameters] == [True]
    assert len(second.parameters) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.g.rest=3"], "optimizer.g.rest=3 does not fit"),
        (["optimizer.g.rest={lr: 0.1, eps: x}"], "optimizer.g.rest.eps='x' does"),
        (["optimizer.g.rest={_target_: torch.optim.AdamW}"], "optimizer.g.rest.lr is missing"),
        (["optimizer.g.rest={_target_: torch.optim.AdamW, lr: -1}"], "optimizer.g.rest.lr=-1"),
        (["optimizer.g.rest={_target_: torch.optim.AdamW, lr: 1, clip: 2}"], "takes no 'clip'"),
        (["optimizer.g.rest={_target_: torch.optim.LBFGS, lr: 1}"], "several times"),
    ],
)
def test_a_wrong_rest_is_refused(words, said):
    with pytest.raises(Problems) as raised:
        small("mlp", *MUON, *words)
    ((message, hint),) = raised.value.problems
    assert said in message and hint


def test_a_third_player_says_what_it_falls_back_to_and_may_differ_in_one_key(caplog):
    with caplog.at_level(logging.INFO, "gancli"):
        config = small("infogan")
    said = "player q has no optimizer of its own: it takes g's (Adam, lr "
    assert caplog.text.count(said) == 1
    caplog.clear()
    with caplog.at_level(logging.INFO, "gancli"):
        own = small("infogan", "optimizer.q.lr=3e-4")
    assert said not in caplog.text
    assert own["optimizer"]["q"] == config["optimizer"]["g"] | {"lr": 3e-4}
    trainer = trainer_for(own)
    assert trainer.players["q"].optimizer.param_groups[0]["lr"] == 3e-4
    assert trainer.players["g"].optimizer.param_groups[0]["lr"] == config["optimizer"]["g"]["lr"]


def test_a_player_that_the_game_does_not_have_is_still_refused():
    with pytest.raises(Problems) as raised:
        frozen("model=dcgan", "optimizer.e.lr=1e-4")
    ((message, _),) = raised.value.problems
    assert "optimizer.e moves nothing" in message


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        ({"_target_": "torch.optim.Adam", "lr": {"_target_": "no.Rate"}}, "lr"),
        ({"_target_": "torch.optim.Adam", "lr": 1e-3, "beta2": {"_target_": "no.Rate"}}, "beta2"),
        (
            {
                "_target_": "torch.optim.Muon",
                "lr": 1e-3,
                "rest": {"_target_": "torch.optim.AdamW", "lr": 1e-3, "nope": 1},
            },
            "rest",
        ),
    ],
)
def test_a_message_names_the_player(spec, key):
    with pytest.raises(UserError) as caught:
        Player([nn.Linear(3, 2)], spec, where="optimizer.e")
    assert f"optimizer.e.{key}" in caught.value.message
