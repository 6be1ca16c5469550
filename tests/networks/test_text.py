"""Networks of text: counts, draws and their law, relaxations, roll-outs, derivatives."""

from __future__ import annotations

import math

import pytest
import torch

from gancli.networks.text import (
    ConvTextDiscriminator,
    RecurrentTextGenerator,
    ResTextDiscriminator,
    ResTextGenerator,
)

LABELLED = {"classes": 3, "conditional": True}
SEQGAN = {
    "kernels": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20],
    "filters": [100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160],
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def make(cls=RecurrentTextGenerator, steps=5, **options):
    return cls(**({"resolution": [steps, 1], "channels": 4} | options))


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_counts_of_the_papers():
    """SeqGAN's generator has one bias of each gate, torch two; its discriminator two scores."""
    with torch.device("meta"):
        g = make(channels=5000, steps=20)
        d = make(ConvTextDiscriminator, channels=5000, steps=20, **SEQGAN)
        assert count(g) == 333_320 + 4 * 32
        assert count(d) == 7_045_402 - (1720 + 1)
        for tokens, of_g, of_d in ((27, 15_239_707, 13_143_041), (65, 15_259_201, 13_162_497)):
            assert count(make(ResTextGenerator, channels=tokens, steps=32)) == of_g
            assert count(make(ResTextDiscriminator, channels=tokens, steps=32)) == of_d


@pytest.mark.parametrize("labels", [{}, LABELLED])
def test_shapes(labels):
    label = torch.tensor([0, 2]) if labels else None
    for cls in (RecurrentTextGenerator, ResTextGenerator):
        g = make(cls, **labels)
        fake = g(torch.randn(2, g.z_dim), label)
        assert fake.shape == (2, 4, 5, 1)
        torch.testing.assert_close(fake.sum(1), torch.ones(2, 5, 1))
        for judge in (ConvTextDiscriminator, ResTextDiscriminator):
            d = make(judge, **labels)
            assert d(fake, label).shape == (2, 1)
            assert d.trunk(fake, label).shape == (2, d.feature_dim)


def test_a_latent_decides_the_line_and_its_law_is_the_softmax():
    g = make(steps=2).eval()
    with torch.no_grad():
        g.out.bias[:] = torch.tensor([0.0, 1.0, -1.0, 2.0])
    z = torch.randn(20_000, 2)
    made = g(z)
    assert torch.equal(made, g(z)) and {*made.unique().tolist()} == {0, 1}
    first = torch.zeros(4, 2, dtype=torch.int64)
    first[:, 0] = torch.arange(4)
    want = g.log_prob(first)[:, 0].exp()
    assert want.sum().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(made[:, :, 0, 0].mean(0), want, atol=0.015, rtol=0)
    relaxed = g.train()(z)[:, :, 0, 0]
    torch.testing.assert_close(relaxed.mean(0), want, atol=0.015, rtol=0)
    g.straight_through = False
    g.temperature = 0.3
    soft = g(z)[:, :, 0, 0]
    drawn = torch.bincount(soft.argmax(1), minlength=4) / len(z)
    torch.testing.assert_close(drawn, want, atol=0.015, rtol=0)


def test_all_lines_have_probability_one():
    g = make(steps=2)
    pairs = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    assert g.log_prob(pairs).sum(1).exp().sum().item() == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        for p in g.out.parameters():
            p.zero_()
    torch.testing.assert_close(g.log_prob(pairs), torch.full((16, 2), -math.log(4)))


def test_a_low_temperature_takes_the_likeliest_tokens():
    g = make().eval()
    z = torch.randn(50, 5)
    cold = g(z, temperature=1e-4)
    assert len(cold.unique(dim=0)) == 1 and len(g(z).unique(dim=0)) > 20


def test_a_gradient_passes_relaxed_draws_and_none_passes_drawn_ones():
    g = make()
    g(torch.zeros(3, 5))[:, 1, 4].sum().backward()
    assert g.rnn.weight_hh_l0.grad.abs().sum() > 0 and g.embedding.weight.grad.abs().sum() > 0
    assert not g.eval()(torch.zeros(3, 5)).requires_grad


def test_roll_outs_keep_what_is_before():
    g = make()
    tokens = g.draw(torch.rand(3, 5))
    lines = g.roll_out(tokens, 7)
    assert lines.shape == (4, 7, 3, 5)
    for t in range(4):
        assert (lines[t, :, :, : t + 1] == tokens[:, : t + 1]).all()
    assert len(lines[0].flatten(0, 1).unique(dim=0)) > 10
    with torch.no_grad():  # what comes next knows what was before: token 1 follows any token
        g.out.weight.zero_()
        g.out.bias[:] = torch.tensor([0.0, 99.0, 0.0, 0.0])
    assert (g.roll_out(tokens, 2)[0, :, :, 1:] == 1).all()


def test_labels_are_seen():
    g = make(**LABELLED)
    tokens = g.draw(torch.rand(2, 5), torch.tensor([0, 1]))
    one, two = (g.log_prob(tokens, torch.tensor(k)) for k in ([0, 1], [2, 1]))
    assert not torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
    assert g.roll_out(tokens, 2, torch.tensor([0, 1])).shape == (4, 2, 2, 5)


@pytest.mark.parametrize("cls", [ConvTextDiscriminator, ResTextDiscriminator])
def test_a_penalty_differentiates_twice(cls):
    d = make(cls)
    x = torch.rand(3, 4, 5, 1, requires_grad=True)
    (grad,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    grad.square().sum().backward()
    assert d.out.weight.grad.abs().sum() > 0


def test_autocast_changes_nothing():
    g = make()
    tokens = g.draw(torch.rand(2, 5))
    want = g.log_prob(tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(g.log_prob(tokens), want)
        assert g(torch.zeros(2, 5)).dtype == torch.float32


@pytest.mark.parametrize(
    ("cls", "words", "match"),
    [
        (RecurrentTextGenerator, {"resolution": [8, 8]}, "no series"),
        (RecurrentTextGenerator, {"hidden": 0}, "hidden=0"),
        (ConvTextDiscriminator, {"kernels": [1]}, "1 kernels and 4 filters"),
        (ConvTextDiscriminator, {"kernels": [9], "filters": [1]}, "longer than 5"),
    ],
)
def test_what_cannot_be_is_refused(cls, words, match):
    with pytest.raises(ValueError, match=match):
        make(cls, **words)


def test_windows_longer_than_a_line_are_left_out():
    d = make(ConvTextDiscriminator, kernels=[1, 2, 9], filters=[3, 4, 5])
    assert d.feature_dim == 7


def test_golden_values():
    """What a seeded pair makes and says; another order of layers or draws moves it."""
    g = make()
    d = make(ConvTextDiscriminator)
    tokens = g.draw(torch.rand(3, 5))
    assert tokens.tolist() == GOLDEN_TOKENS
    assert g.log_prob(tokens).sum().item() == pytest.approx(GOLDEN_LOG_PROB, abs=1e-4)
    assert d(g.to_items(tokens)).sum().item() == pytest.approx(GOLDEN_SCORE, abs=1e-4)
    conv = make(ResTextGenerator, width=8, blocks=2)
    judge = make(ResTextDiscriminator, width=8, blocks=2)
    assert judge(conv(torch.randn(3, 128))).sum().item() == pytest.approx(GOLDEN_CONV, abs=1e-4)


GOLDEN_TOKENS = [[0, 0, 1, 0, 2], [0, 3, 1, 3, 0], [3, 1, 3, 1, 2]]
GOLDEN_LOG_PROB = -21.04662
GOLDEN_SCORE = -0.25078
GOLDEN_CONV = 1.78027
