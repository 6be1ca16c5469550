"""WaveGAN's pair: the paper's counts and lengths, TensorFlow's padding, and what a shift does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from gancli.networks.wavegan import (
    PhaseShuffle,
    WaveGANDiscriminator,
    WaveGANGenerator,
    list_lengths,
    pad_same,
    shift_phase,
)

LABELLED = {"classes": 10, "conditional": True}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def pair(steps, **options):
    options = {"channels": 2, "width": 4} | options
    return WaveGANGenerator(resolution=[steps, 1], **options), WaveGANDiscriminator(
        resolution=[steps, 1], **options
    )


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("options", "g", "d"),
    [
        ({}, 19_065_345, 17_427_969),  # the authors' networks
        (LABELLED, 19_065_345 + 10 * 16_384, 17_427_969 + 10 * 25 * 64),
    ],
)
def test_counts_of_the_paper(options, g, d):
    with torch.device("meta"):
        networks = pair(16_384, channels=1, width=64, **options)
    assert [count(network) for network in networks] == [g, d]
    assert networks[0].lengths == [16, 64, 256, 1024, 4096, 16_384]
    assert pad_same(16_384, 25, 4) == (10, 11)  # TensorFlow's `same`


@pytest.mark.parametrize(
    ("steps", "stride", "layers", "lengths"),
    [
        (24, 2, 5, [24, 12, 6, 3]),
        (150, 2, 5, [150, 75, 38, 19, 10, 5]),
        (150, 4, 2, [150, 38, 10]),
        (2, 2, 5, [2, 1]),
    ],
)
def test_levels_are_rounded_up(steps, stride, layers, lengths):
    assert list_lengths(steps, stride, layers) == lengths


@pytest.mark.parametrize("steps", [2, 3, 11, 24, 150])
def test_any_length_is_made_and_judged(steps):
    g, d = pair(steps, **LABELLED)
    label = torch.tensor([3, 7])
    fake = g(torch.randn(2, g.z_dim), label)
    assert fake.shape == (2, 2, steps, 1) and fake.abs().max() <= 1
    assert d(fake, label).shape == (2, 1)
    assert d.trunk(fake, label).flatten(1).shape == (2, d.feature_dim)


def test_labels_are_seen_by_both():
    g, d = pair(24, **LABELLED)
    g.eval(), d.eval()
    z = torch.randn(1, g.z_dim)
    one, two = (g(z, torch.tensor([k])) for k in (1, 2))
    assert not torch.equal(one, two)
    assert d(one, torch.tensor([1])) != d(one, torch.tensor([2]))
    with pytest.raises(AssertionError, match="without labels"):
        d(one)


def test_a_transposed_layer_is_the_gradient_of_the_convolution():
    """So TensorFlow defines it: conv^T(h) = d <conv(x), h> / d x, at the same padding."""
    g, d = pair(11, kernel=5, channels=1, layers=1)
    with torch.no_grad():
        d.downs[0].weight.copy_(g.ups[0].weight)  # (4,1,5), of both
    x = torch.randn(2, 1, 11, requires_grad=True)
    h = torch.randn(2, 4, 6)
    (want,) = torch.autograd.grad((d.downs[0](F.pad(x, d.pads[0])) * h).sum(), x)
    got = g.ups[0](h).narrow(2, g.crops[0], 11)
    assert torch.allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    ("k", "want"),
    [
        (0, [0, 1, 2, 3, 4]),
        (1, [1, 0, 1, 2, 3]),
        (2, [2, 1, 0, 1, 2]),
        (-1, [1, 2, 3, 4, 3]),
        (-2, [2, 3, 4, 3, 2]),
        (4, [4, 3, 2, 1, 0]),
        (-4, [4, 3, 2, 1, 0]),
    ],
)
def test_a_shift_reflects_at_the_edge(k, want):
    assert shift_phase(torch.arange(5.0)[None, None], k)[0, 0].tolist() == want


def test_phase_shuffle_draws_from_the_seeded_generator_and_rests_in_eval():
    x = torch.arange(9.0)[None, None]
    shuffle = PhaseShuffle(2)
    drawn = {tuple(shuffle(x)[0, 0].tolist()) for _ in range(60)}
    assert drawn == {tuple(shift_phase(x, k)[0, 0].tolist()) for k in range(-2, 3)}
    torch.manual_seed(1)
    first = [shuffle(x) for _ in range(8)]
    torch.manual_seed(1)
    assert all(torch.equal(a, shuffle(x)) for a in first)
    assert torch.equal(shuffle.eval()(x), x)


def test_a_penalty_differentiates_twice():
    d = pair(6, kernel=3, width=2)[1].double().eval()  # a shift would be drawn anew
    x = torch.randn(2, 2, 6, 1, dtype=torch.float64, requires_grad=True)
    assert gradcheck(d, x) and gradgradcheck(d, x)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"resolution": [16, 16]}, "no series"),
        ({"resolution": [1, 1]}, "no series"),
        ({"stride": 4, "kernel": 3}, "kernel=3"),
        ({"stride": 1}, "stride=1"),
        ({"layers": 0}, "layers=0"),
        ({"phase_shuffle": -1}, "phase_shuffle=-1"),
    ],
)
def test_what_cannot_be_is_refused(words, match):
    with pytest.raises(ValueError, match=match):
        WaveGANDiscriminator(**({"resolution": [24, 1], "channels": 1} | words))


def test_another_length_is_refused():
    with pytest.raises(ValueError, match=r"built for \(N,C,24,1\)"):
        pair(24)[1](torch.zeros(1, 2, 25, 1))


def convolve(x, weight, bias, *, stride, before):
    """The sum that a convolution is, of x (N,C,T), as many outputs as strides."""
    steps, kernel = x.shape[2], weight.shape[2]
    rows = []
    for start in range(-before, steps - before, stride):
        seen = range(max(start, 0), min(start + kernel, steps))
        taps = weight[:, :, [t - start for t in seen]]
        rows.append(torch.einsum("nct,oct->no", x[:, :, list(seen)], taps) + bias)
    return torch.stack(rows, 2)


def spread(x, weight, bias, *, stride, before):
    """The transposed one: each step of x (N,C,T) adds its kernel around its own place."""
    kernel = weight.shape[2]
    levels = []
    for place in range(x.shape[2] * stride):
        total = bias.expand(len(x), -1)
        for t in range(x.shape[2]):
            tap = place + before - t * stride
            if 0 <= tap < kernel:
                total = total + x[:, :, t] @ weight[:, :, tap]
        levels.append(total)
    return torch.stack(levels, 2)


def reflect(x, k):
    """A shift by k steps, by PyTorch's own padding."""
    steps = x.shape[2]
    if k < 0:
        return F.pad(x, (0, -k), mode="reflect")[:, :, -k:]
    return F.pad(x, (k, 0), mode="reflect")[:, :, :steps]


def make_by_hand(g, z, hot):
    own = dict(g.named_parameters())
    x = torch.cat([z, hot], 1) @ own["dense.weight"].T + own["dense.bias"]
    x = x.reshape(len(z), 8, 4)
    for k in range(2):
        x = x.clamp(min=0)
        x = spread(x, own[f"ups.{k}.weight"], own[f"ups.{k}.bias"], stride=4, before=10)
    return torch.tanh(x)[..., None]


def score_by_hand(d, x, hot, shift):
    own = dict(d.named_parameters())
    h = torch.cat([x[..., 0], hot[:, :, None].repeat(1, 1, 64)], 1)
    for k in range(2):
        h = convolve(h, own[f"downs.{k}.weight"], own[f"downs.{k}.bias"], stride=4, before=10)
        h = torch.where(h > 0, h, 0.2 * h)
        if k == 0:
            h = reflect(h, shift)
    return h.reshape(len(x), -1) @ own["out.weight"].T + own["out.bias"]


@pytest.mark.parametrize("shift", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_pair_is_its_equations(shift, classes):
    """Written out in sums, as TensorFlow defines them: 10 zeros before, 11 after, at (25, 4)."""
    g, d = pair(64, stride=4, layers=2, classes=classes, conditional=True)
    assert g.lengths == [4, 16, 64] and len(d.shuffles) == 1
    label = torch.tensor([0, 2, 1]) if classes else None
    hot = torch.eye(3)[label] if classes else torch.zeros(3, 0)
    for values in [*g.parameters(), *d.parameters()]:  # biases begin at 0, which hides them
        values.data.add_(0.1 * torch.randn_like(values))
    z = torch.randn(3, 100, requires_grad=True)
    seed = next(seed for seed in range(99) if draw_shift(seed) == shift)
    torch.manual_seed(seed)
    fake = g(z, label)
    score = d(fake, label)
    want_fake = make_by_hand(g, z, hot)
    want_score = score_by_hand(d, want_fake, hot, shift)
    assert_close(fake, want_fake)
    assert_close(score, want_score)
    inputs = [z, *g.parameters(), *d.parameters()]
    cost = torch.tensor([1.0, -2.0, 3.0])
    got = torch.autograd.grad((score[:, 0] * cost).sum(), inputs)
    want = torch.autograd.grad((want_score[:, 0] * cost).sum(), inputs)
    for one, two in zip(got, want, strict=True):
        assert_close(one, two)


def draw_shift(seed):
    """What the only shuffled layer draws first after a seed: a whole number from -2 to 2."""
    torch.manual_seed(seed)
    return int(torch.randint(-2, 3, ()))


def assert_close(one, two):
    assert torch.allclose(one, two, rtol=1e-5, atol=1e-5 * max(1.0, two.abs().max().item()))
