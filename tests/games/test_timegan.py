"""TimeGAN: its losses and gradients against another account of the authors' code, and stages."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import differences, frozen, small, steps, trainer_for
from train_helpers import QUIET

from gancli import checkpoint
from gancli.cli import main
from gancli.config.build import build_game
from gancli.errors import UserError
from gancli.game import Progress
from gancli.games.timegan import measure_moments
from gancli.run.plan import find_too_short

TANH = "model.generator.output=tanh"


def game_of(*overrides):
    torch.manual_seed(0)
    return build_game(small("timegan", *overrides), trust=None)


def batch_of(n=5, *, steps=6, features=2):
    rng = torch.Generator().manual_seed(1)
    return {"image": torch.rand(n, features, steps, 1, generator=rng) * 2 - 1}


def cell_by_hand(x, network, *, last):
    """(N,T,features) -> (N,T,outputs), written out step by step and in [0,1] where last is."""
    rnn = network.rnn
    for k in range(rnn.num_layers):
        w_i, w_h = getattr(rnn, f"weight_ih_l{k}"), getattr(rnn, f"weight_hh_l{k}")
        b_i, b_h = getattr(rnn, f"bias_ih_l{k}"), getattr(rnn, f"bias_hh_l{k}")
        h = x.new_zeros(len(x), rnn.hidden_size)
        out = []
        for step in x.unbind(1):
            r_i, u_i, c_i = (step @ w_i.T + b_i).chunk(3, 1)
            r_h, u_h, c_h = (h @ w_h.T + b_h).chunk(3, 1)
            update = torch.sigmoid(u_i + u_h)
            h = update * h + (1 - update) * torch.tanh(c_i + torch.sigmoid(r_i + r_h) * c_h)
            out.append(h)
        x = torch.stack(out, 1)
    return last(x @ network.out.weight.T + network.out.bias)


def losses_by_hand(game, batch, z):
    """The six losses of the authors' graph, of values in [0,1] as there."""
    sigmoid = torch.sigmoid
    parts = game.generator
    x = batch["image"].squeeze(3).transpose(1, 2)
    x01 = (x + 1) / 2

    def recover(h):  # tanh(y) in [-1,1] is sigmoid(2 y) in [0,1]
        return cell_by_hand(h, parts["recovery"], last=lambda y: sigmoid(2 * y))

    def judge(h):
        return cell_by_hand(h, game.discriminator, last=lambda y: y)

    def bce(scores, target):
        return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))

    h = cell_by_hand(x, game.embedder, last=sigmoid)
    e_hat = cell_by_hand(z, parts["generator"], last=sigmoid)
    h_hat = cell_by_hand(e_hat, parts["supervisor"], last=sigmoid)
    h_hat_supervise = cell_by_hand(h, parts["supervisor"], last=sigmoid)
    x_hat = recover(h_hat)
    recovery = (x01 - recover(h)).square().mean()
    supervised = (h[:, 1:] - h_hat_supervise[:, :-1]).square().mean()
    v1 = (x_hat.var(0, correction=0) + 1e-6).sqrt() - (x01.var(0, correction=0) + 1e-6).sqrt()
    v2 = x_hat.mean(0) - x01.mean(0)
    return {
        "embed": 10 * recovery.sqrt(),
        "supervise": supervised,
        "g": bce(judge(h_hat), 1)
        + bce(judge(e_hat), 1)
        + 100 * supervised.sqrt()
        + 100 * (v1.abs().mean() + v2.abs().mean()),
        "e": 10 * recovery.sqrt() + 0.1 * supervised,
        "d": bce(judge(h), 1) + bce(judge(h_hat), 0) + bce(judge(e_hat), 0),
    }


MOVES = {  # the networks that get a gradient in each phase
    "embed": {"embedder", "recovery"},
    "supervise": {"supervisor"},
    "g": {"generator", "supervisor"},
    "e": {"embedder", "recovery"},
    "d": {"discriminator"},
}


def networks_of(game):
    return {**game.generator, "embedder": game.embedder, "discriminator": game.discriminator}


@pytest.mark.parametrize("name", MOVES)
def test_losses_and_gradients_are_those_of_the_authors_code(name):
    game = game_of(TANH)
    batch = batch_of()
    (phase,) = (phase for phase in game.phases() if phase.name == name)
    players = game.players()

    def freeze():
        game.requires_grad_(False)
        for player in phase.updates:
            for network in players[player]:
                network.requires_grad_(True).zero_grad()

    freeze()
    torch.manual_seed(3)
    loss, logs = phase.loss(batch)
    loss.backward()
    found = {
        key: {k: p.grad for k, p in n.named_parameters()} for key, n in networks_of(game).items()
    }
    moved = {key for key, grads in found.items() if any(g is not None for g in grads.values())}
    assert moved == MOVES[name]
    assert all(value.ndim == 0 and not value.requires_grad for value in logs.values())

    freeze()
    torch.manual_seed(3)
    z = game.inputs(5, None)["z"].unflatten(1, (6, 2))
    assert z.min() >= 0 and z.max() <= 1
    want = losses_by_hand(game, batch, z)[name]
    assert loss.item() == pytest.approx(want.item(), rel=1e-5)
    want.backward()
    for key in moved:
        for k, p in networks_of(game)[key].named_parameters():
            assert torch.allclose(found[key][k], p.grad, rtol=1e-3, atol=1e-6), (key, k)


GOLDEN = {
    "embed": 2.8463082,
    "supervise": 0.0022458,
    "g": 43.2371368,
    "e": 2.8465328,
    "d": 2.0828652,
}


def test_golden_values():
    """Another order of layers or draws moves them."""
    game = game_of(TANH)
    found = {}
    for phase in game.phases():
        torch.manual_seed(3)
        found[phase.name] = phase.loss(batch_of())[0].item()
    assert found == pytest.approx(GOLDEN, rel=1e-4)


def test_moments_are_of_the_batch():
    made = torch.tensor([[1.0], [-1.0]])[:, :, None, None]
    real = torch.tensor([[0.5], [0.5]])[:, :, None, None]
    want = math.sqrt(1 + 4e-6) - math.sqrt(4e-6) + 0.5
    assert measure_moments(made, real).item() == pytest.approx(want, rel=1e-5)


# stages


def due(game, step):
    return [phase.name for phase in game.phases() if phase.due(step)]


def test_stages_begin_and_end():
    game = game_of()  # of 2 steps and of 1
    assert [due(game, step) for step in range(6)] == [
        ["embed"],
        ["embed"],
        ["supervise"],
        ["g", "e", "d"],
        ["g", "e"],
        ["g", "e", "d"],
    ]
    assert [p.name for p in game.phases() if p.fresh] == ["d"], "the code draws it a new batch"
    game = game_of("model.generator_steps=3")
    assert [due(game, step)[-1] for step in range(3, 9)] == ["e", "e", "d"] * 2
    game = game_of("loss=wgan")  # five discriminator steps
    assert due(game, 3) == ["d"] and due(game, 4) == ["g", "e", "d"]
    alone = game_of("model.embedding_steps=0", "model.supervised_steps=0")
    assert [phase.name for phase in alone.phases()] == ["g", "e", "d"]


def test_moments_of_optimizers_are_dropped_where_a_stage_ends():
    game = game_of()
    assert [game.advance(Progress(step=k)) for k in range(6)] == [k in (2, 3) for k in range(6)]
    trainer = steps(trainer_for(small("timegan")), 1)
    assert trainer.players["e"].optimizer.state
    steps(trainer, 1)
    assert not trainer.players["e"].optimizer.state
    assert not game_of("model.embedding_steps=0", "model.supervised_steps=0").advance(Progress())


@pytest.mark.parametrize("half", [1, 2, 3, 4])
def test_a_run_resumes_to_the_bit_in_every_stage(half, tmp_path):
    config = small("timegan", "trainer.accumulate=2")
    whole = steps(trainer_for(config), 5).state_dict()
    path = checkpoint.save(steps(trainer_for(config), half).state_dict(), tmp_path, keep=1)
    resumed = trainer_for(config)
    resumed.load_state_dict(checkpoint.read(path))
    assert differences(whole, steps(resumed, 5 - half).state_dict()) == []


def test_a_stage_that_never_begins_is_said():
    trainer = trainer_for(small("timegan", "trainer.steps=2"))
    assert find_too_short(trainer) == [
        "the run ends at step 2, before the loss supervise would begin after step 2 and the losses "
        "g, e, d would begin after step 3: give more trainer.steps, or a shorter "
        "model.embedding_steps or model.supervised_steps"
    ]
    assert find_too_short(trainer_for(small("timegan", "trainer.steps=4"))) == []


def test_the_watchdog_looks_at_no_samples_before_they_are_learned():
    trainer = steps(trainer_for(small("timegan")), 3)
    assert not trainer.game.makes_samples
    assert steps(trainer, 1).game.makes_samples
    assert trainer_for(small("mlp")).game.makes_samples


# the discriminator


def test_a_discriminator_that_is_sure_rests():
    batch = batch_of()

    def slope(*overrides, sure, score=-9.0):
        game = game_of(*overrides)
        with torch.no_grad():
            game.discriminator.out.weight.zero_()
            game.discriminator.out.bias.zero_()
        if sure:  # what every series gets; reals are still taken for fakes
            game.adversarial.real_target = 0.0
            game.discriminator.out.bias.data.fill_(score)
        loss, logs = game.d_loss(batch)
        loss.backward()
        return loss.item(), game.discriminator.out.bias.grad.item(), logs

    loss, grad, logs = slope(sure=False)
    assert loss == pytest.approx(3 * math.log(2)) and grad > 0
    assert logs["raw_adv"].item() == pytest.approx(math.log(2))
    assert slope(sure=True)[:2] == (0, 0)
    assert slope("model.rest_below=0", sure=True)[1] > 0
    # A loss of another scale has no such rule.
    loss, grad, _ = slope("loss=hinge", sure=True, score=-0.99)
    assert loss == pytest.approx(0.03, rel=1e-4) and grad > 0


@pytest.mark.parametrize(
    ("loss", "raw"),
    [
        ("non_saturating", "bce"),
        ("hinge", "half"),
        ("ragan", "whole"),
        ("rpgan", "whole"),
        ("wgan_gp", "whole"),
    ],
)
def test_the_cost_of_raw_codes_counts_reals_only_where_they_are_compared(loss, raw):
    game = game_of(f"loss={loss}")
    real, fake = torch.randn(2, 5, 6)
    found = game.cost_of_raw(real, fake)
    objective = game.adversarial.objective
    want = {
        "bce": F.softplus(fake).mean(),
        "half": F.relu(1 + fake).mean(),
        "whole": objective.d(real, fake, game.adversarial.real_target),
    }[raw]
    assert found.item() == pytest.approx(want.item(), rel=1e-6)


# what is refused, sampling


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="generator_steps=2"):
        game_of("model.generator_steps=2", "loss=wgan")
    config = small("timegan")
    config["model"]["embedding_steps"] = -1
    with pytest.raises(UserError, match="embedding_steps"):
        build_game(config, trust=None)


def test_sampling_needs_the_three_networks_of_the_average(tmp_path):
    trainer = steps(trainer_for(small("timegan")), 4)
    assert {name.partition(".")[0] for name in trainer.ema.state_dict()} == {
        "generator",
        "supervisor",
        "recovery",
    }
    game = trainer.game
    inputs = game.inputs(3, torch.Generator().manual_seed(0))
    assert set(inputs) == {"z"} and inputs["z"].shape == (3, 12)
    assert inputs["z"].min() >= 0 and inputs["z"].max() <= 1
    assert [option.name for option in game.sampling_options()] == []
    one, two = (game.sample(inputs, trainer.ema) for _ in range(2))
    assert torch.equal(one, two) and one.shape == (3, 2, 6, 1)
    copied = copy.deepcopy(trainer.ema)
    with torch.no_grad():
        copied["supervisor"].out.bias += 1
    assert not torch.equal(game.sample(inputs, copied), one)


def test_gan_sample_writes_series(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = checkpoint.save(steps(trainer_for(small("timegan")), 4).state_dict(), tmp_path, keep=1)
    assert main(["sample", f"ckpt={path}", "n=3", "out=made", "device=cpu"]) == 0
    arrays = np.load("made/series.npz")
    assert arrays["series"].shape == (3, 6, 2)
    assert len((tmp_path / "made/series.csv").read_text().splitlines()) == 1 + 3 * 6


def test_the_paper_s_settings():
    config = frozen("model=timegan", *QUIET)
    made = config["model"]["generator"]
    assert (made["hidden"], made["layers"], made["cell"], made["z_dim"]) == (24, 3, "gru", 5)
    for player in ("g", "d"):
        assert config["optimizer"][player]["lr"] == 1e-3
        assert config["optimizer"][player]["betas"] == [0.9, 0.999]
    assert config["loss"]["objective"]["_target_"].endswith("NonSaturating")
