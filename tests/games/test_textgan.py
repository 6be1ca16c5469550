"""Games of text: stages, what is kept of them, policy gradients, and what is refused."""

from __future__ import annotations

import pytest
import torch
from helpers import small, steps, trainer_for

from gancli.errors import Problems
from gancli.games.seqgan import SeqGAN


def test_likelihood_comes_first_and_its_average_is_kept():
    trainer = trainer_for(small("textgan", "model.d_steps=1", "loss=non_saturating"))
    game = trainer.game
    assert game.list_stages() == {}
    critic = [p.clone() for p in game.discriminator.parameters()]
    steps(trainer, 2)
    kept = {key: value.clone() for key, value in trainer.ema.state_dict().items()}
    assert all(map(torch.equal, critic, game.discriminator.parameters()))
    assert "mle/nats" in trainer.logs and "d/adv" not in trainer.logs
    steps(trainer, 1)
    assert "d/adv" in trainer.logs and "g/adv" not in trainer.logs
    steps(trainer, 2)
    assert "g/adv" in trainer.logs
    (stage,) = game.list_stages().values()
    assert all(torch.equal(value, kept[key]) for key, value in stage.state_dict().items())
    assert any(not torch.equal(value, kept[key]) for key, value in trainer.ema.state_dict().items())


def test_without_likelihood_nothing_is_kept():
    trainer = steps(trainer_for(small("textgan", "model.mle_steps=0")), 2)
    assert trainer.game.list_stages() == {} and "mle/nats" not in trainer.logs


def test_likelihood_is_learnt():
    trainer = trainer_for(
        small("textgan", "model.mle_steps=60", "optimizer.mle.lr=0.03", "model.hidden=12")
    )
    first = steps(trainer, 1).read_logs()["mle/nats"]
    assert steps(trainer, 59).read_logs()["mle/nats"] < 0.8 * first


def test_a_temperature_may_sink():
    setup = small("textgan", "model.temperature={start:1,end:0.5,end_kimg:0.016}")
    trainer = trainer_for(setup)
    assert trainer.game.generator.temperature == 1
    steps(trainer, 1)
    assert trainer.game.generator.temperature == 0.75
    resumed = trainer_for(setup)
    resumed.load_state_dict(trainer.state_dict())
    assert resumed.game.generator.temperature == 0.75


class Paid(SeqGAN):
    """Token 1 is worth 1, all else nothing, in lines of one token that count."""

    def pay(self, tokens, batch):
        return (tokens == 1).float()


def test_a_policy_gradient_has_its_closed_form():
    """At the first token, with the mean and deviation of many draws: E grad = pi_k (R_k - R)."""
    game = trainer_for(small("seqgan", "model.hidden=4")).game
    game.__class__ = Paid
    batch = {"image": torch.zeros(4096, 5, 6, 1)}
    torch.manual_seed(0)
    loss, logs = game.g_loss(batch)
    loss.backward()
    got = game.generator.out.bias.grad
    with torch.no_grad():
        share = logs["reward"]
    assert got[1] < 0 and (got[[0, 2, 3, 4]] > 0).all() and abs(got.sum()) < 1e-6
    deviation = (share * (1 - share)).sqrt()
    # Every place has the same law, nearly: the weights are small.
    assert got[1].item() == pytest.approx(-deviation.item(), rel=0.05)


def test_rewards_are_of_roll_outs_and_of_the_line_itself():
    trainer = steps(trainer_for(small("seqgan")), 3)
    game = trainer.game
    tokens = game.draw_tokens(trainer.draw_batch())
    game.discriminator.eval()
    reward = game.pay(tokens, {"image": tokens})
    assert reward.shape == (8, 6) and (reward > 0).all() and (reward < 1).all()
    torch.testing.assert_close(reward[:, -1], game.score(tokens, None)[:, 0])


def test_dropout_is_for_the_discriminator_alone():
    trainer = steps(trainer_for(small("seqgan", "model.discriminator.dropout=0.9")), 2)
    modes = []
    game = trainer.game
    game.discriminator.dropout.register_forward_pre_hook(lambda m, _: modes.append(m.training))
    game.d_loss(trainer.draw_batch())
    assert {*modes} == {True}
    modes.clear()
    game.g_loss(trainer.draw_batch())
    assert {*modes} == {False} and game.discriminator.training


def test_rewards_of_steps_are_discounted():
    trainer = steps(trainer_for(small("scratchgan", "model.discount=0.5")), 3)
    game = trainer.game
    tokens = game.draw_tokens(trainer.draw_batch())
    step = 2 * game.score(tokens, None) - 1
    reward = game.pay(tokens, {"image": tokens})
    torch.testing.assert_close(reward[:, -1], step[:, -1])
    torch.testing.assert_close(reward[:, -2], step[:, -2] + 0.5 * step[:, -1])


def test_the_roll_out_generator_follows_slowly():
    trainer = steps(trainer_for(small("seqgan", "optimizer.g.lr=0.1")), 2)
    game = trainer.game
    for mine, theirs in zip(game.roller.parameters(), game.generator.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    before = game.roller.out.bias.clone()
    steps(trainer, 1)
    now = game.generator.out.bias
    torch.testing.assert_close(game.roller.out.bias, 0.8 * before + 0.2 * now)
    assert not torch.equal(now, before)


def test_samples_take_a_temperature():
    game = trainer_for(small("textgan")).game
    inputs = game.inputs(3, torch.Generator().manual_seed(0))
    generator = game.generator.eval()
    assert game.sample(inputs, generator, temperature=0.5).shape == (3, 5, 6, 1)
    assert [option.name for option in game.sampling_options()] == ["temperature"]


@pytest.mark.parametrize(
    ("model", "words", "match"),
    [
        ("seqgan", ["model.reward=step"], "model=scratchgan"),
        ("seqgan", ["loss.feature_matching=1"], "need a gradient through samples"),
        ("seqgan", ["loss.top_k=0.5"], "need a gradient through samples"),
        ("seqgan", ["model.follow=2"], "follow=2"),
        ("textgan", ["model.mle_steps=-1"], "mle_steps=-1"),
        ("textgan_conv", ["augment=diffaug"], "augment is for images"),
        ("textgan", ["dataset.flip=true"], "cannot be flipped"),
    ],
)
def test_what_cannot_be_is_refused(model, words, match):
    with pytest.raises(Problems, match=match):
        small(model, *words)
