"""RCGAN's pair: counts, a score for each step that knows no later one, fp32, and derivatives."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gancli.networks.recurrent import (
    RecurrentDiscriminator,
    RecurrentGenerator,
    cut_latent,
    make_rnn,
)

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


def test_numbers_of_a_whole_series_reach_every_step():
    g = RecurrentGenerator(resolution=[7, 1], channels=2, hidden=4, z_dim=3, series_z_dim=2)
    plain = RecurrentGenerator(resolution=[7, 1], channels=2, hidden=4, z_dim=3)
    assert g.z_dim == plain.z_dim + 2 and count(g) == count(plain) + 4 * 4 * 2
    z = torch.randn(5, g.z_dim)
    steps = cut_latent(z, steps=7, shared=2)
    assert torch.equal(steps[:, :, :3], z[:, :-2].view(5, 7, 3))
    assert all(torch.equal(steps[:, k, 3:], z[:, -2:]) for k in range(7))
    other = z.clone()
    other[:, -1] += 1
    assert not torch.equal(g(z)[:, :, 0], g(other)[:, :, 0])


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


def run_lstm(own, x):
    """The cell's equations (Gers 2000): gates i, f and o, candidate c~, over x (N,T,C)."""
    h = c = torch.zeros(len(x), 4)
    outputs = []
    for t in range(x.shape[1]):
        sums = (
            x[:, t] @ own["rnn.weight_ih_l0"].T
            + own["rnn.bias_ih_l0"]
            + h @ own["rnn.weight_hh_l0"].T
            + own["rnn.bias_hh_l0"]
        )
        i, f, candidate, o = sums[:, :4], sums[:, 4:8], sums[:, 8:12], sums[:, 12:]
        c = c / (1 + torch.exp(-f)) + torch.tanh(candidate) / (1 + torch.exp(-i))
        h = torch.tanh(c) / (1 + torch.exp(-o))
        outputs.append(h)
    return torch.stack(outputs, 1)


def run_gru(own, x):
    """The cell's equations (Cho 2014), with the reset gate behind the product, as cuDNN has it."""
    h = torch.zeros(len(x), 4)
    outputs = []
    for t in range(x.shape[1]):
        of_x = x[:, t] @ own["rnn.weight_ih_l0"].T + own["rnn.bias_ih_l0"]
        of_h = h @ own["rnn.weight_hh_l0"].T + own["rnn.bias_hh_l0"]
        reset = 1 / (1 + torch.exp(-of_x[:, :4] - of_h[:, :4]))
        keep = 1 / (1 + torch.exp(-of_x[:, 4:8] - of_h[:, 4:8]))
        h = (1 - keep) * torch.tanh(of_x[:, 8:] + reset * of_h[:, 8:]) + keep * h
        outputs.append(h)
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("run", [run_lstm, run_gru])
@pytest.mark.parametrize("labels", [{}, LABELLED])
def test_the_pair_is_its_equations(run, labels):
    cell = "lstm" if run is run_lstm else "gru"
    g, d = pair(cell=cell, **labels)
    for values in [*g.parameters(), *d.parameters()]:
        values.data.add_(0.1 * torch.randn_like(values))
    label = torch.tensor([0, 2, 1]) if labels else None
    hot = torch.eye(3)[label] if labels else torch.zeros(3, 0)
    hot = hot[:, None].repeat(1, 7, 1)
    z = torch.randn(3, 35, requires_grad=True)
    fake = g(z, label)
    score = d(fake, label)

    own = dict(g.named_parameters())
    x = torch.cat([z.reshape(3, 7, 5), hot], 2)
    steps = torch.tanh(run(own, x) @ own["out.weight"].T + own["out.bias"])
    own = dict(d.named_parameters())
    hidden = run(own, torch.cat([steps, hot], 2))
    want = (hidden @ own["out.weight"].T + own["out.bias"])[:, :, 0]

    assert_close(fake[..., 0], steps.transpose(1, 2))
    assert_close(score, want)
    inputs = [z, *g.parameters(), *d.parameters()]
    cost = torch.linspace(-2, 2, 21).reshape(3, 7)
    by_layers = torch.autograd.grad((score * cost).sum(), inputs)
    by_hand = torch.autograd.grad((want * cost).sum(), inputs)
    for one, two in zip(by_layers, by_hand, strict=True):
        assert_close(one, two)


def assert_close(one, two):
    assert torch.allclose(one, two, rtol=1e-5, atol=1e-5 * max(1.0, two.abs().max().item()))
