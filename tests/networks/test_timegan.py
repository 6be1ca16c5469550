"""TimeGAN's networks: counts, codes in [0,1], no step that knows a later one, TensorFlow's init."""

from __future__ import annotations

import json

import pytest
import torch

from gancli.commands import show
from gancli.networks.recurrent import make_rnn
from gancli.networks.timegan import (
    TimeGANDiscriminator,
    TimeGANEmbedder,
    TimeGANGenerator,
    init_glorot_gates,
)

LABELLED = {"classes": 3, "conditional": True}
SIZE = {"resolution": [7, 1], "hidden": 4, "layers": 2}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def count(network):
    return sum(p.numel() for p in network.parameters())


def counted(inputs, outputs, *, hidden=24, layers=3, biases=6):
    """Of GRU layers and the last one; TensorFlow's cell has one bias a gate, torch's two."""
    rnn = sum(
        3 * hidden * ((inputs if k == 0 else hidden) + hidden) + biases * hidden
        for k in range(layers)
    )
    return rnn + hidden * outputs + outputs


@pytest.mark.parametrize(
    ("features", "published"),
    [
        (5, (9_816, 10_709, 9_816, 7_656, 10_609)),
        (6, (9_888, 10_734, 9_888, 7_656, 10_609)),
        (28, (11_472, 11_284, 11_472, 7_656, 10_609)),
    ],
)
def test_counts(features, published):
    """Of embedder, recovery, generator, supervisor and discriminator: the authors', and ours."""
    shapes = [(features, 24), (24, features), (features, 24), (24, 24), (24, 1)]
    layers = (3, 3, 3, 2, 3)
    for (i, o), k, told in zip(shapes, layers, published, strict=True):
        assert counted(i, o, layers=k, biases=3) == told
    size = {"resolution": [24, 1]}
    made = TimeGANGenerator(**size, channels=features, z_dim=features)
    found = [
        count(TimeGANEmbedder(**size, channels=features)),
        count(made["recovery"]),
        count(made["generator"]),
        count(made["supervisor"]),
        count(TimeGANDiscriminator(**size)),
    ]
    assert found == [told + 3 * 24 * k for told, k in zip(published, layers, strict=True)], (
        "one more bias a gate"
    )


def test_show_counts_all(capsys):
    assert show.main(["model=timegan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "generator": 10_925 + 10_032 + 7_800,
        "discriminator": 10_825,
        "embedder": 10_032,
    }
    assert show.main(["model=timegan"]) == 0
    out = capsys.readouterr().out
    assert "24x24" in out and "without a shape" not in out


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("labels", [{}, LABELLED])
def test_shapes(cell, labels):
    label = torch.tensor([0, 2]) if labels else None
    made = TimeGANGenerator(**SIZE, channels=2, z_dim=3, cell=cell, **labels)
    embedder = TimeGANEmbedder(**SIZE, channels=2, cell=cell, **labels)
    critic = TimeGANDiscriminator(**SIZE, cell=cell, **labels)
    assert made.z_dim == 7 * 3
    z = torch.rand(2, made.z_dim)
    raw, codes = made.make_codes(z, label)
    series = made(z, label)
    assert series.shape == (2, 2, 7, 1) and series.abs().max() <= 1
    assert torch.equal(series, made["recovery"](codes, label))
    assert torch.equal(codes, made["supervisor"](raw, label))
    of_series = embedder(series, label)
    for code in (raw, codes, of_series):
        assert code.shape == (2, 4, 7, 1) and code.min() >= 0 and code.max() <= 1
    assert critic(codes, label).shape == (2, 7)
    assert critic.trunk(codes, label).flatten(1).shape == (2, critic.feature_dim)
    if labels:
        other = torch.tensor([1, 1])
        assert not torch.equal(made(z, other), series)
        assert not torch.equal(embedder(series, other), of_series)
        assert not torch.equal(critic(codes, other), critic(codes, label))


def test_no_step_knows_a_later_one():
    made = TimeGANGenerator(**SIZE, channels=2, z_dim=3)
    critic = TimeGANDiscriminator(**SIZE)
    z = torch.rand(1, made.z_dim)
    later = z.clone()
    later[:, 4 * 3 :] += 1  # the latents of steps 4 to 6
    assert torch.equal(made(z)[:, :, :4], made(later)[:, :, :4])
    one, two = (critic(made.make_codes(v)[1]) for v in (z, later))
    assert torch.equal(one[:, :4], two[:, :4]) and not torch.equal(one[:, 4:], two[:, 4:])


def test_numbers_of_a_whole_series_reach_every_step():
    made = TimeGANGenerator(**SIZE, channels=2, z_dim=3, series_z_dim=2)
    assert made.z_dim == 7 * 3 + 2
    z = torch.rand(1, made.z_dim)
    other = z.clone()
    other[:, -1] += 1
    assert not torch.equal(made(z)[:, :, 0], made(other)[:, :, 0])


def test_autocast_changes_nothing():
    made = TimeGANGenerator(**SIZE, channels=2, z_dim=3)
    z = torch.rand(2, made.z_dim)
    want = made(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = made(z)
    assert got.dtype == torch.float32 and torch.equal(got, want)


def test_a_penalty_differentiates_twice():
    critic = TimeGANDiscriminator(**SIZE)
    x = torch.rand(3, 4, 7, 1, requires_grad=True)
    (grad,) = torch.autograd.grad(critic(x).mean(1).sum(), x, create_graph=True)
    grad.square().sum().backward()
    assert all(p.grad is not None for name, p in critic.named_parameters() if "weight_hh" in name)


def test_layers_begin_as_tensorflows():
    gru = init_glorot_gates(make_rnn("gru", 5, 24, 2))
    for layer, inputs in ((0, 5), (1, 24)):
        bias = getattr(gru, f"bias_ih_l{layer}")
        assert torch.equal(bias, torch.cat([torch.ones(48), torch.zeros(24)]))
        assert not getattr(gru, f"bias_hh_l{layer}").any()
        for side in ("ih", "hh"):
            weight = getattr(gru, f"weight_{side}_l{layer}").detach()
            gates = (6 / (inputs + 24 + 48)) ** 0.5
            candidate = (6 / (inputs + 24 + 24)) ** 0.5
            assert 0.9 * gates < weight[:48].abs().max() <= gates
            assert 0.8 * candidate < weight[48:].abs().max() <= candidate
    lstm = init_glorot_gates(make_rnn("lstm", 5, 24, 1))
    assert lstm.weight_hh_l0.abs().max() <= (6 / (5 + 24 + 96)) ** 0.5
    bias = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach()
    assert torch.equal(bias, torch.cat([torch.zeros(24), torch.ones(24), torch.zeros(48)]))


@pytest.mark.parametrize(
    ("words", "match"),
    [({"resolution": [8, 8]}, "no series"), ({"cell": "rnn"}, "cell='rnn'"), ({"layers": 0}, "l")],
)
def test_what_cannot_be_is_refused(words, match):
    with pytest.raises(ValueError, match=match):
        TimeGANGenerator(**({"resolution": [24, 1], "channels": 1, "z_dim": 1} | words))
    with pytest.raises(ValueError, match=match):
        TimeGANEmbedder(**({"resolution": [24, 1], "channels": 1} | words))
    with pytest.raises(ValueError, match="do not fit"):
        TimeGANDiscriminator(**SIZE)(torch.rand(1, 4, 8, 1))
