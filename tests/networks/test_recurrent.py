"""RCGAN's pair: counts, a score for each step that knows no later one, fp32, and derivatives."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gancli.networks.recurrent import RecurrentDiscriminator, RecurrentGenerator, make_rnn

LABELLED = {"classes": 3, "conditional": True}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def pair(steps=7, **options):
    options = {"channels": 2, "hidden": 4} | options
    return RecurrentGenerator(resolution=[steps, 1], **options), RecurrentDiscriminator(
        resolution=[steps, 1], **options
    )


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("labels", [{}, LABELLED])
def test_counts(cell, labels):
    """Of g gates: g h (i + h) weights, and two biases g h (TensorFlow has one)."""
    gates = 4 if cell == "lstm" else 3
    more = labels.get("classes", 0)
    g, d = pair(30, channels=1, hidden=100, cell=cell, **labels)
    assert count(g) == gates * 100 * (5 + more + 100 + 2) + 101
    assert count(d) == gates * 100 * (1 + more + 100 + 2) + 101
    if cell == "lstm" and not labels:
        assert (count(g), count(d)) == (42_901, 41_301)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("labels", [{}, LABELLED])
def test_there_is_a_latent_and_a_score_for_each_step(cell, labels):
    g, d = pair(layers=2, cell=cell, **labels)
    label = torch.tensor([0, 2]) if labels else None
    assert g.z_dim == 7 * 5
    fake = g(torch.randn(2, g.z_dim), label)
    assert fake.shape == (2, 2, 7, 1) and fake.abs().max() <= 1
    assert d(fake, label).shape == (2, 7)
    assert d.trunk(fake, label).flatten(1).shape == (2, d.feature_dim)


def test_no_step_knows_a_later_one():
    g, d = pair()
    z = torch.randn(1, g.z_dim)
    later = z.clone()
    later[:, 5 * 4 :] += 1  # the latents of steps 4 to 6
    one, two = g(z), g(later)
    assert torch.equal(one[:, :, :4], two[:, :, :4]) and not torch.equal(one, two)
    x, y = d(one), d(two)
    assert torch.equal(x[:, :4], y[:, :4]) and not torch.equal(x[:, 4:], y[:, 4:])


def test_labels_are_seen_by_both():
    g, d = pair(**LABELLED)
    z = torch.randn(1, g.z_dim)
    one, two = (g(z, torch.tensor([k])) for k in (1, 2))
    assert not torch.equal(one, two)
    assert not torch.equal(d(one, torch.tensor([1])), d(one, torch.tensor([2])))


def test_an_lstm_forgets_little_at_first():
    lstm = make_rnn("lstm", 2, 4, 2)
    for layer in (0, 1):
        forget = sum(getattr(lstm, f"bias_{k}_l{layer}")[4:8] for k in ("ih", "hh"))
        assert torch.equal(forget, torch.ones(4))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_autocast_changes_nothing(cell):
    """CPU autocast would run an LSTM in bf16 and leave a GRU: neither may depend on it."""
    g, d = pair(cell=cell)
    z = torch.randn(2, g.z_dim)
    want = d(g(z))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = d(g(z))
        assert torch.equal(d(g(z).bfloat16()).float(), d(g(z).bfloat16().float()))
    assert got.dtype == torch.float32 and torch.equal(got, want)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_penalty_differentiates_twice(cell):
    """gradgradcheck in double: the network itself works in float, so its layers are asked."""
    rnn = make_rnn(cell, 2, 3, 1).double()
    x = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: rnn(x)[0], x) and gradgradcheck(lambda x: rnn(x)[0], x)
    d = pair(cell=cell)[1]
    x = torch.randn(3, 2, 7, 1, requires_grad=True)
    (grad,) = torch.autograd.grad(d(x).mean(1).sum(), x, create_graph=True)
    grad.square().sum().backward()
    assert all(p.grad is not None for name, p in d.named_parameters() if "rnn.weight" in name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_penalty_differentiates_twice_on_a_gpu():
    d = pair()[1].cuda()
    x = torch.randn(3, 2, 7, 1, device="cuda", requires_grad=True)
    (grad,) = torch.autograd.grad(d(x).mean(1).sum(), x, create_graph=True)
    grad.square().sum().backward()
    assert d.rnn.weight_hh_l0.grad.abs().sum() > 0


def test_cudnn_is_kept_out_where_a_gradient_may_be_asked_for(monkeypatch):
    """What a GPU would do, without one: cuDNN's layers have no second derivative."""
    from gancli.networks import recurrent

    class Tensor:
        is_cuda = True

        def __init__(self, asked):
            self.requires_grad = asked

    before = torch.backends.cudnn.enabled
    with recurrent.allow_double_backward(Tensor(True)):
        assert not torch.backends.cudnn.enabled
    with recurrent.allow_double_backward(Tensor(False)):
        assert torch.backends.cudnn.enabled == before
    assert torch.backends.cudnn.enabled == before


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"resolution": [8, 8]}, "no series"),
        ({"cell": "rnn"}, "cell='rnn'"),
        ({"hidden": 0}, "hidden=0"),
        ({"layers": 0}, "layers=0"),
    ],
)
def test_what_cannot_be_is_refused(words, match):
    for network in (RecurrentGenerator, RecurrentDiscriminator):
        with pytest.raises(ValueError, match=match):
            network(**({"resolution": [24, 1], "channels": 1} | words))


GOLDEN_FAKE = 11.61004
GOLDEN_SCORE = -4.23289


def test_golden_values():
    """The sum of what a seeded pair makes and says; another order of layers or draws moves it."""
    g, d = pair()
    fake = g(torch.randn(2, g.z_dim))
    assert fake.sum().item() == pytest.approx(GOLDEN_FAKE, abs=1e-4)
    assert d(fake).sum().item() == pytest.approx(GOLDEN_SCORE, abs=1e-4)
