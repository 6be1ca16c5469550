"""PGGAN's pair: exact counts, sizes of every stage, fading without a jump, equalised weights, norms
and what rests.
"""

from __future__ import annotations

import copy

import pytest
import torch

from gancli.networks.pggan import (
    DownBlock,
    PGGANDiscriminator,
    PGGANGenerator,
    enlarge,
    shrink,
)

SMALL = {"channel_base": 64, "channel_max": 8}


def count(network):
    return sum(p.numel() for p in network.parameters())


def pair(resolution=16, channels=2, **options):
    torch.manual_seed(0)
    options |= {"resolution": resolution, "channels": channels, **SMALL}
    return PGGANGenerator(z_dim=8, **options), PGGANDiscriminator(**options)


def share(value):
    return torch.tensor(float(value))


@pytest.mark.parametrize(
    ("resolution", "g", "d"),
    [
        (1024, 23_079_115, 23_087_249),
        (256, 23_044_309, 23_052_353),
        (128, 22_933_394, 22_941_313),
        (64, 22_490_383, 22_498_049),
        (32, 20_719_628, 20_726_785),
    ],
)
def test_counts_of_the_paper(resolution, g, d):
    with torch.device("meta"):
        assert count(PGGANGenerator(resolution=resolution, channels=3)) == g
        assert count(PGGANDiscriminator(resolution=resolution, channels=3)) == d


def test_counts_of_the_last_stage_alone():
    """What is left when the smaller stages' image layers are dropped; the paper states 23.1 million
    each.
    """
    with torch.device("meta"):
        g = PGGANGenerator(resolution=1024, channels=3)
        d = PGGANDiscriminator(resolution=1024, channels=3)
    g.to_image = g.to_image[-1:]
    d.from_image = d.from_image[-1:]
    assert (count(g), count(d)) == (23_071_507, 23_077_137)


def test_counts_of_the_cifar_setting():
    options = {"resolution": 32, "channels": 3, "channel_base": 8192, "channel_max": 128}
    with torch.device("meta"):
        assert (
            count(PGGANGenerator(z_dim=128, **options)),
            count(PGGANDiscriminator(**options)),
        ) == (1_296_908, 1_298_689)


@pytest.mark.parametrize(
    ("resolution", "stages"), [(8, 2), (28, 3), (40, 4), (64, 5), ([16, 24], 3)]
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sizes_of_every_stage(resolution, stages, channels):
    g, d = pair(resolution, channels)
    assert g.stages == d.stages == stages
    h, w = (resolution, resolution) if isinstance(resolution, int) else resolution
    for stage in range(stages):
        x = g(torch.randn(4, 8), stage=stage, alpha=share(0.5) if stage else None)
        scale = 2 ** (stages - 1 - stage)
        assert x.shape == (4, channels, h // scale, w // scale)
        hidden = d.trunk(x, stage=stage)
        assert hidden.shape == (4, d.feature_dim) and d.head(hidden).shape == (4, 1)
    assert g(torch.randn(2, 8)).shape == (2, channels, h, w), "without a stage: the last"


@pytest.mark.parametrize("stage", [1, 2])
def test_a_new_stage_starts_as_the_old_one_and_ends_as_itself(stage):
    g, d = pair()
    z = torch.randn(4, 8)
    size = 4 * 2**stage
    assert torch.equal(g(z, stage=stage, alpha=share(0)), enlarge(g(z, stage=stage - 1)))
    assert torch.equal(g(z, stage=stage, alpha=share(1)), g(z, stage=stage))
    x = torch.randn(4, 2, size, size)
    assert torch.equal(d(x, stage=stage, alpha=share(0)), d(shrink(x), stage=stage - 1))
    assert torch.equal(d(x, stage=stage, alpha=share(1)), d(x, stage=stage))


def test_between_its_ends_a_fade_is_a_straight_line_of_images():
    g, _ = pair()
    z = torch.randn(3, 8)
    low = g(z, stage=2, alpha=share(0))
    high = g(z, stage=2, alpha=share(1))
    assert not torch.allclose(low, high, atol=0.1)
    assert torch.allclose(g(z, stage=2, alpha=share(0.25)), 0.75 * low + 0.25 * high, atol=1e-6)


def test_what_rests_gets_no_gradient():
    """A zero gradient would not do: Adam moves a layer on its old moments."""
    g, d = pair()
    d(g(torch.randn(4, 8), stage=1), stage=1).sum().backward()
    moved = {name for net in (g, d) for name, p in net.named_parameters() if p.grad is not None}
    assert {name.rpartition(".")[0] for name in moved if "image" in name} == {
        "to_image.1",
        "from_image.1",
    }
    assert any(name.startswith("blocks.0") for name in moved) and not any(
        name.startswith("blocks.1") for name in moved
    )
    g(torch.randn(4, 8), stage=1, alpha=share(0.5)).sum().backward()
    assert g.to_image[0].weight.grad is not None and g.to_image[2].weight.grad is None


def test_weights_are_equalised():
    g = PGGANGenerator(resolution=16, channels=3, channel_max=32)
    d = PGGANDiscriminator(resolution=16, channels=3, channel_max=32)
    for net in (g, d):
        for name, p in net.named_parameters():
            if p.ndim == 1:
                assert p.abs().max() == 0, name
            elif p.numel() > 2000:
                assert p.std().item() == pytest.approx(1.0, abs=0.05), name
    assert g.first.dense.scale == pytest.approx(2**0.5 / 4 / 512**0.5)
    assert g.blocks[0].first.scale == pytest.approx((2 / (32 * 9)) ** 0.5)
    assert g.to_image[0].scale == pytest.approx(32**-0.5), "images are linear: no gain"
    assert d.from_image[0].scale == pytest.approx(
        (2 / 3) ** 0.5
    ) and d.score.scale == pytest.approx(d.feature_dim**-0.5)


def test_signals_keep_their_size():
    g = PGGANGenerator(resolution=32, channels=3, channel_max=64)
    d = PGGANDiscriminator(resolution=32, channels=3, channel_max=64)
    h = g.first(torch.nn.functional.normalize(torch.randn(16, 512)) * 512**0.5)
    for block in g.blocks:
        assert torch.allclose(h.square().mean(1), torch.ones_like(h[:, 0]), atol=1e-4), (
            "pixel norm at every place"
        )
        h = block(h)
    assert 0.5 < g(torch.randn(16, 512)).std() < 2
    assert 0.2 < d.trunk(torch.randn(16, 3, 32, 32)).square().mean() < 2


def test_latents_are_on_a_sphere():
    g, _ = pair()
    z = torch.randn(3, 8)
    assert torch.allclose(g(z), g(7 * z), atol=1e-5) and g(z).abs().max() > 0


def test_pixel_norm_comes_after_the_activation():
    g, _ = pair()
    seen = {}
    g.blocks[0].second.register_forward_pre_hook(lambda _, x: seen.update(h=x[0]))
    g(torch.randn(2, 8))
    assert torch.allclose(seen["h"].square().mean(1), torch.ones_like(seen["h"][:, 0]), atol=1e-4)


def test_the_critic_sees_how_much_images_differ():
    _, d = pair()
    seen = {}
    d.conv.register_forward_pre_hook(lambda _, x: seen.update(h=x[0]))
    x = torch.randn(4, 2, 16, 16)
    d(x)
    plane = seen["h"][:, -1]
    h = seen["h"][:, :-1]
    want = (h.var(0, unbiased=False) + 1e-8).sqrt().mean()
    assert torch.allclose(plane, want.expand_as(plane), atol=1e-6) and want > 0.01
    d(x[:1].expand(4, -1, -1, -1))
    assert seen["h"][:, -1].max() < 2e-4
    assert d(torch.randn(3, 2, 16, 16)).shape == (3, 1), "a last batch that is not divisible"


def test_the_label_picks_a_score():
    g, d = pair(classes=3, conditional=True)
    x = torch.randn(4, 2, 16, 16)
    label = torch.tensor([0, 2, 1, 1])
    hidden = d.trunk(x, label)
    assert torch.equal(d.head(hidden, label)[:, 0], d.score(hidden)[torch.arange(4), label])
    z = torch.randn(1, 8).expand(3, -1)
    a, b, c = g(z, torch.arange(3))
    assert not torch.allclose(a, b) and not torch.allclose(b, c)
    with pytest.raises(AssertionError, match="without labels"):
        d(x)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("alpha", [None, 0.3])
def test_a_gradient_penalty_reaches_all_that_is_in_use(soft, alpha):
    torch.manual_seed(0)
    d = PGGANDiscriminator(resolution=16, channels=2, blur=soft, **SMALL)
    x = torch.randn(4, 2, 8, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(
        d(x, stage=1, alpha=None if alpha is None else share(alpha)).sum(), x, create_graph=True
    )
    grad.square().sum().backward()
    used = [d.from_image[1], d.blocks[0], d.conv, d.dense, d.score] + (
        [] if alpha is None else [d.from_image[0]]
    )
    for part in used:
        for name, p in part.named_parameters():
            assert name.endswith("bias") or (p.grad.isfinite().all() and p.grad.abs().sum() > 0), (
                name
            )
    assert d.blocks[1].first.weight.grad is None


def test_stylegans_critic_filters_then_halves_then_activates():
    plain = DownBlock(4, 6, soft=False)
    soft = DownBlock(4, 6, soft=True)
    soft.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 8, 8)
    taps = torch.tensor([1.0, 2.0, 1.0]) / 4
    h = torch.nn.functional.leaky_relu(plain.first(x), 0.2)
    h = torch.nn.functional.conv2d(
        h, torch.outer(taps, taps).expand(4, 1, 3, 3), padding=1, groups=4
    )
    want = torch.nn.functional.leaky_relu(torch.nn.functional.avg_pool2d(plain.second(h), 2), 0.2)
    assert torch.allclose(soft(x), want, atol=1e-5)
    assert not torch.allclose(plain(x), want, atol=1e-2) and plain(x).shape == want.shape == (
        2,
        6,
        4,
        4,
    )


def test_copies_and_half_precision():
    g, d = pair()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = g(torch.randn(4, 8), stage=2, alpha=share(0.5))
        score = d(x, stage=2, alpha=share(0.5))
    assert x.isfinite().all() and score.isfinite().all()
    twin = copy.deepcopy(g).eval()
    z = torch.randn(2, 8)
    assert torch.equal(twin(z), g.eval()(z))


@pytest.mark.parametrize("resolution", [4, 7, 30, [64, 100], 4096])
def test_sizes_that_do_not_fit_are_refused(resolution):
    with pytest.raises(ValueError, match="nearest"), torch.device("meta"):
        PGGANGenerator(resolution=resolution, channels=1)


def test_too_few_channels_are_refused():
    with pytest.raises(ValueError, match="give 128 or more"), torch.device("meta"):
        PGGANDiscriminator(resolution=128, channels=1, channel_base=64)


def test_images_are_linear_unless_asked():
    options = {"resolution": 8, "channels": 1, "z_dim": 64, **SMALL}
    with torch.no_grad():
        g = PGGANGenerator(**options)
        g.to_image[-1].bias.fill_(5)
        assert g(torch.randn(4, 64)).mean() > 3
        assert PGGANGenerator(**options, output="tanh")(torch.randn(4, 64)).abs().max() < 1
