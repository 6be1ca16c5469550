"""Networks: exact parameter counts of REFERENCE, shapes at every resolution, options,
conditioning.
"""

from __future__ import annotations

import pytest
import torch

from gancli.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from gancli.networks.layers import ACTIVATIONS, append_class_planes, count_downsampling_steps
from gancli.networks.mlp import Maxout, MLPDiscriminator, MLPGenerator


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("resolution", "channels", "classes", "width", "g", "d"),
    [
        (64, 3, 0, 64, 3_576_704, 2_765_568),
        (32, 3, 0, 64, 1_068_928, 663_296),
        (32, 1, 0, 64, 1_066_880, 661_248),
        (64, 3, 10, 64, 3_658_624, 2_775_808),
        (32, 3, 10, 64, 1_109_888, 673_536),
        (32, 1, 10, 64, 1_107_840, 671_488),
        (64, 3, 0, 128, 12_658_432, 11_036_160),
    ],
)
def test_dcgan_and_cgan_counts(resolution, channels, classes, width, g, d):
    options = {
        "resolution": resolution,
        "channels": channels,
        "classes": classes,
        "conditional": classes > 0,
        "width": width,
        "max_width": 8 * width,
    }
    with torch.device("meta"):
        assert count(DCGANGenerator(**options)) == g
        assert count(DCGANDiscriminator(**options)) == d


def test_original_mlp_counts():
    with torch.device("meta"):
        assert count(MLPGenerator(resolution=28, channels=1, hidden=[1200, 1200])) == 2_503_984
        assert count(MLPDiscriminator(resolution=28, channels=1, hidden=[240, 240])) == 1_231_441


@pytest.mark.parametrize(
    "resolution", [8, 16, 28, 32, 48, 64, 128, 256, [32, 48], [64, 32], [40, 24]]
)
@pytest.mark.parametrize("conditional", [False, True])
def test_dcgan_shapes(resolution, conditional):
    options = {
        "resolution": resolution,
        "channels": 4,
        "classes": 5,
        "conditional": conditional,
        "width": 4,
        "max_width": 8,
    }
    g = DCGANGenerator(**options).eval()
    d = DCGANDiscriminator(**options)
    label = torch.tensor([0, 4]) if conditional else None
    x = g(torch.randn(2, 100), label)
    h, w = (resolution, resolution) if isinstance(resolution, int) else resolution
    assert x.shape == (2, 4, h, w) and x.abs().max() <= 1
    hidden = d.trunk(x, label)
    assert hidden.flatten(1).shape == (2, d.feature_dim) and 4 <= min(hidden.shape[2:]) <= 7
    assert d.head(hidden, label).shape == (2, 1)


@pytest.mark.parametrize("resolution", [7, 30, [64, 100], 1, 512])
def test_sizes_that_do_not_fit_are_refused_with_the_nearest(resolution):
    with pytest.raises(ValueError, match="nearest"):
        DCGANGenerator(resolution=resolution, channels=1)
    assert count_downsampling_steps(64) == (4, (4, 4)) and count_downsampling_steps(28) == (
        2,
        (7, 7),
    )


def test_nearest_upsampling_leaves_no_lattice():
    flat = torch.ones(1, 4, 8, 8)
    for upsampling in ("transposed", "nearest"):
        g = DCGANGenerator(resolution=[16, 28], channels=3, width=4, upsampling=upsampling)
        assert g(torch.randn(2, 100)).shape == (2, 3, 16, 28)
        last = g.net[-3:-1] if upsampling == "nearest" else g.net[-2:-1]
        inside = last(flat)[..., 2:-2, 2:-2]
        spread = inside.amax((2, 3)) - inside.amin((2, 3))
        assert bool((spread < 1e-6).all()) == (upsampling == "nearest")
    with pytest.raises(ValueError, match="use transposed or nearest"):
        DCGANGenerator(resolution=16, channels=1, upsampling="bilinear")


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "spectral", "none"])
@pytest.mark.parametrize("pooling", ["strided", "average"])
def test_critic_options_train(norm, pooling):
    d = DCGANDiscriminator(resolution=16, channels=1, width=4, norm=norm, pooling=pooling)
    x = torch.randn(4, 1, 16, 16)
    d(x).sum().backward()
    assert all(p.grad is not None for p in d.parameters())
    assert any("original" in name for name, _ in d.named_parameters()) == (norm == "spectral")


@pytest.mark.parametrize("norm", ["layer", "instance", "none", "spectral"])
def test_one_samples_score_does_not_depend_on_the_others(norm):
    """What a gradient penalty needs, and batch norm breaks."""
    d = DCGANDiscriminator(resolution=16, channels=1, width=4, norm=norm).eval()
    x = torch.randn(4, 1, 16, 16)
    assert torch.allclose(d(x)[:1], d(x[:1]), atol=1e-5)
    b = DCGANDiscriminator(resolution=16, channels=1, width=4, norm="batch")
    assert not torch.allclose(b(x)[:1], b(x[:2])[:1], atol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_by_name(name):
    assert DCGANDiscriminator(resolution=16, channels=1, width=4, activation=name)(
        torch.randn(2, 1, 16, 16)
    ).shape == (2, 1)


def test_label_planes_are_zero_or_one_and_constant():
    planes = append_class_planes(torch.randn(2, 1, 4, 4), torch.tensor([2, 0]), 3)[:, 1:]
    assert planes[:, :, 0, 0].tolist() == [[0, 0, 1], [1, 0, 0]] and planes.var((2, 3)).sum() == 0


def test_the_label_changes_image_and_score():
    options = {"resolution": 16, "channels": 1, "classes": 3, "conditional": True, "width": 4}
    g = DCGANGenerator(**options).eval()
    d = DCGANDiscriminator(**options).eval()
    z = torch.randn(1, 100)
    a = torch.tensor([0])
    b = torch.tensor([1])
    assert not torch.equal(g(z, a), g(z, b)) and not torch.equal(d(g(z, a), a), d(g(z, a), b))


def test_a_projection_adds_the_features_product_with_the_vector_of_the_class():
    """Of features alone: those of planes are the same for all labels of this test."""
    options = {"resolution": [16, 24], "channels": 1, "classes": 3, "width": 4, "projection": True}
    assert DCGANDiscriminator(**options).project is None, "without labels"
    d = DCGANDiscriminator(**options, conditional=True).eval()
    hidden = d.trunk(torch.randn(2, 1, 16, 24), torch.tensor([1, 1]))
    label = torch.tensor([2, 0])
    added = d.head(hidden, label) - d.out(hidden).flatten(1)
    table = d.project.table(torch.arange(3))
    assert table.shape == (3, d.feature_dim)
    expected = (table[label] * hidden.flatten(1)).sum(1, keepdim=True)
    assert expected.abs().min() > 1e-4
    torch.testing.assert_close(added, expected)


def test_mlp_is_linear_for_points_and_maxout_takes_the_largest_piece():
    g = MLPGenerator(resolution=1, channels=2, hidden=[8], output="linear")
    assert g(100 * torch.randn(64, 100)).abs().max() > 1 and g(torch.randn(3, 100)).shape == (
        3,
        2,
        1,
        1,
    )
    assert Maxout(2)(torch.tensor([[1.0, 5.0, 2.0, -1.0]])).tolist() == [[5.0, 2.0]]


def test_initial_weights_follow_the_paper():
    torch.manual_seed(0)
    g = DCGANGenerator(resolution=32, channels=3)
    assert (
        g.net[3].weight.std().item() == pytest.approx(0.02, rel=0.02)
        and g.net[4].bias.abs().max() == 0
    )
