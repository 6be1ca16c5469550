"""BigGAN and BigGAN-deep: the reference's exact counts, widths and blocks, conditioning by class
and by chunks of z.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gancli.networks.attention import SelfAttention
from gancli.networks.biggan import (
    BigGANDiscriminator,
    BigGANGenerator,
    DownBlock,
    FreeBatchNorm2d,
    Layers,
    LinearBatchNorm2d,
    UpBlock,
    find_level,
    make_norm_factory,
)
from gancli.networks.biggan_deep import (
    BigGANDeepDiscriminator,
    BigGANDeepGenerator,
    DeepDownBlock,
    DeepUpBlock,
)
from gancli.networks.conditional import ConditionalBatchNorm2d

PLAIN = (BigGANGenerator, BigGANDiscriminator)
DEEP = (BigGANDeepGenerator, BigGANDeepDiscriminator)
PAIRS = [PLAIN, DEEP]
LAYERS = Layers(False, nn.init.orthogonal_)
SCRIPT = {
    "width": 64,
    "attention": 0,
    "init": "normal",
}  # the CIFAR script of the authors' PyTorch code


def count(network):
    return sum(p.numel() for p in network.parameters())


def small(pair, *, g=None, **options):
    """A conditional pair with 3 classes at 16 pixels, with attention."""
    options = {
        "resolution": 16,
        "channels": 3,
        "width": 4,
        "attention": 8,
        "classes": 3,
        "conditional": True,
    } | options
    return pair[0](**options, **(g or {})), pair[1](**options)


def draw(g, n=4):
    return torch.randn(n, g.z_dim), torch.arange(n) % 3 if g.classes else None


@pytest.mark.parametrize(
    ("pair", "resolution", "classes", "options", "g_options", "z_dim", "g", "d"),
    [
        (PLAIN, 128, 1000, {}, {}, 120, 70_433_988, 87_982_370),
        (PLAIN, 256, 1000, {}, {}, 140, 82_235_844, 99_225_890),
        (PLAIN, 128, 1000, {"width": 64}, {"z_dim": 120}, 120, 31_978_628, 39_448_258),
        (DEEP, 128, 1000, {}, {}, 128, 50_244_484, 34_590_210),
        (DEEP, 256, 1000, {}, {}, 128, 55_736_708, 38_247_426),
        (
            PLAIN,
            32,
            10,
            SCRIPT,
            {"shared_dim": 0, "hierarchical": False},
            128,
            4_304_387,
            4_207_361,
        ),
        (PLAIN, 32, 10, {}, {}, 80, 9_231_875, 9_456_769),
        (PLAIN, 32, 10, {"attention": 16}, {"z_dim": 80}, 80, 9_416_196, 9_641_090),
    ],
)
def test_counts(pair, resolution, classes, options, g_options, z_dim, g, d):
    shared = {
        "resolution": resolution,
        "channels": 3,
        "classes": classes,
        "conditional": True,
        "spectral": False,
        **options,
    }
    with torch.device("meta"):
        generator = pair[0](**shared, **g_options)
        critic = pair[1](**shared)
    assert (generator.z_dim, count(generator), count(critic)) == (z_dim, g, d)


def test_spectral_norm_adds_no_parameters():
    for pair in PAIRS:
        for plain, spectral in zip(small(pair, spectral=False), small(pair), strict=True):
            assert count(plain) == count(spectral)


@pytest.mark.parametrize(
    ("resolution", "g", "d"),
    [
        (32, [4, 4, 4, 4], [4, 4, 4, 4]),
        (64, [16, 16, 8, 4, 2], [1, 2, 4, 8, 16]),
        (128, [16, 16, 8, 4, 2, 1], [1, 2, 4, 8, 16, 16]),
        (256, [16, 16, 8, 8, 4, 2, 1], [1, 2, 4, 8, 8, 16, 16]),
    ],
)
def test_widths_at_every_level(resolution, g, d):
    options = {"resolution": resolution, "channels": 3, "width": 8, "spectral": False}
    with torch.device("meta"):
        generator = BigGANGenerator(**options)
        critic = BigGANDiscriminator(**options)
        x = torch.zeros(2, 3, resolution, resolution)
    assert [block.conv1.in_channels for block in generator.blocks] == [8 * m for m in g[:-1]]
    assert [block.conv1.out_channels for block in generator.blocks] == [8 * m for m in g[1:]]
    blocks = [part for part in critic.body if isinstance(part, DownBlock)]
    assert [block.conv2.out_channels for block in blocks] == [8 * m for m in d]
    assert [block.conv1.out_channels for block in blocks] == [8 * m for m in d], (
        "wide: hidden = out"
    )
    assert critic.body(x).shape[2:] == ((8, 8) if resolution == 32 else (4, 4))


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(
    "resolution", [8, 10, 16, 28, 32, 48, 64, 112, 128, [16, 24], [64, 40], 256]
)
def test_shapes(pair, resolution, conditional):
    h, w = (resolution, resolution) if isinstance(resolution, int) else resolution
    g, d = small(
        pair,
        resolution=resolution,
        channels=4 if h % 3 else 1,
        conditional=conditional,
        spectral=False,
        init="normal",
        width=8 if h in (64, 112, 128) else 4,
        attention=min(h, w) // 2 if h < 112 else 64,
    )
    z, label = draw(g, 2)
    x = g(z, label)
    assert x.shape == (2, 4 if h % 3 else 1, h, w) and x.abs().max() <= 1
    hidden = d.trunk(x, label)
    assert (
        hidden.shape == (2, d.feature_dim)
        and d.head(hidden, label).shape == (2, 1)
        and d(x, label).isfinite().all()
    )
    for network in (g, d):
        assert sum(isinstance(part, SelfAttention) for part in network.modules()) == (
            0 if network is g and h < 11 else 1
        )


def test_attention_stands_at_64_pixels_of_128_and_at_16_of_32():
    with torch.device("meta"):
        for resolution, attention, *places in (
            (128, 64, 3, 0),
            (256, 64, 3, 1),
            (32, 16, 1, 0),
            (64, 64, 3, None),
            (32, 64, None, None),
        ):
            options = {
                "resolution": resolution,
                "channels": 3,
                "width": 8,
                "attention": attention,
                "spectral": False,
            }
            g = BigGANGenerator(**options)
            d = BigGANDiscriminator(**options)
            for found, place in ((list(g.attention), places[0]), (list(d.body)[1::2], places[1])):
                assert [k for k, part in enumerate(found) if isinstance(part, SelfAttention)] == (
                    [] if place is None else [place]
                )
    assert (
        find_level(64, [14, 28, 56, 112]) == 2
        and find_level(64, [10, 20, 40, 80]) == 2
        and find_level(0, [8, 16]) is None
    )
    assert find_level(16, [16, 8, 8, 8]) == 0 and find_level(8, [16, 8, 8, 8]) == 1, (
        "only the first block at 8 pixels"
    )


def test_z_of_120_is_six_chunks_of_20_and_each_steers_one_place():
    with torch.device("meta"):
        g = BigGANGenerator(
            resolution=128, channels=3, z_dim=120, classes=1000, conditional=True, spectral=False
        )
        first, conditions = g.conditions(torch.zeros(2, 120), torch.zeros(2, dtype=torch.long))
    assert first.shape == (2, 20) and [c.shape for c in conditions] == [(2, 148)] * 5

    g, _ = small(PLAIN)
    z, label = draw(g)
    first, conditions = g.conditions(z, label)
    assert torch.equal(torch.cat([first, *(c[:, 128:] for c in conditions)], 1), z)
    assert all(torch.equal(c[:, :128], g.embed(label)) for c in conditions)


def test_a_chunk_does_not_reach_the_blocks_before_its_own():
    g, _ = small(PLAIN)
    g.eval()
    z, label = draw(g)
    seen = []
    g.blocks[0].register_forward_hook(lambda module, args, out: seen.append(out))
    other = z.clone()
    other[:, 40:] += 1
    assert not torch.equal(g(z, label), g(other, label)) and torch.equal(*seen)


@pytest.mark.parametrize(
    ("options", "norm"),
    [
        ({}, LinearBatchNorm2d),
        ({"conditional": False}, LinearBatchNorm2d),
        ({"g": {"hierarchical": False}}, LinearBatchNorm2d),
        ({"g": {"hierarchical": False, "shared_dim": 0}}, ConditionalBatchNorm2d),
        ({"conditional": False, "g": {"hierarchical": False}}, FreeBatchNorm2d),
    ],
)
def test_what_steers_the_norms(options, norm):
    g, _ = small(PLAIN, **options)
    assert isinstance(g.blocks[0].norm1, norm)
    assert g.z_dim == (60 if g.hierarchical else 128)
    for part in g.modules():
        if isinstance(part, ConditionalBatchNorm2d):
            nn.init.normal_(part.gain.weight)  # tables start alike for all classes
    z, label = draw(g.eval())
    assert not torch.equal(g(z, label), g(torch.randn_like(z), label))
    assert label is None or not torch.equal(g(z, label), g(z, (label + 1) % 3))


def test_deep_appends_z_whole_to_the_class():
    for conditional, dim in ((True, 128 + 32), (False, 32)):
        g, _ = small(DEEP, conditional=conditional, g={"z_dim": 32})
        assert g.first.in_features == dim
        assert all(
            norm.gain.in_features == dim
            for norm in g.modules()
            if isinstance(norm, LinearBatchNorm2d)
        )


def test_gains_start_near_one_and_a_zero_condition_leaves_plain_batch_norm():
    torch.manual_seed(0)
    g, _ = small(PLAIN, width=32)
    z, label = draw(g, 64)
    _, conditions = g.conditions(z, label)
    for block, condition in zip(g.blocks, conditions, strict=True):
        gain = 1 + block.norm1.gain(condition)
        assert gain.mean().item() == pytest.approx(1, abs=0.1) and 0.05 < gain.std() < 0.6
    norm = LinearBatchNorm2d(8, dim=5, layers=LAYERS)
    x = torch.randn(4, 8, 6, 6)
    assert torch.allclose(
        norm(x, torch.zeros(4, 5)), F.batch_norm(x, None, None, training=True), atol=1e-6
    )
    c = torch.randn(4, 5)
    gain, bias = ((c @ part.weight.T)[:, :, None, None] for part in (norm.gain, norm.bias))
    assert torch.allclose(
        norm(x, c), F.batch_norm(x, None, None, training=True) * (1 + gain) + bias, atol=1e-5
    )
    assert norm.gain.bias is None and norm.norm.weight is None


def test_the_blocks_compute_what_the_paper_draws():
    """cBN R NN2 C3 cBN R C3 with NN2 C1x1 beside it; R C3 R C3 AP2 with C1x1 AP2, and no first R on
    pixels.
    """
    up = UpBlock(6, 4, norm=make_norm_factory(5, 0, LAYERS), layers=LAYERS)
    x = torch.randn(2, 6, 4, 4)
    c = torch.randn(2, 5)
    h = up.conv1(F.interpolate(F.relu(up.norm1(x, c)), scale_factor=2))
    h = up.conv2(F.relu(up.norm2(h, c)))
    assert torch.allclose(up(x, c), h + up.shortcut(F.interpolate(x, scale_factor=2)), atol=1e-5)
    for first in (True, False):
        down = DownBlock(6, 4, halve=True, first=first, layers=LAYERS)
        h = down.conv2(F.relu(down.conv1(x if first else F.relu(x))))
        assert torch.allclose(down(x), F.avg_pool2d(h + down.shortcut(x), 2), atol=1e-5)


def test_the_deep_blocks_compute_what_the_paper_draws():
    """1x1 to a quarter, 3x3 twice, 1x1; the size changes before the first 3x3 going up, after the
    second going down.
    """
    x = torch.randn(2, 8, 4, 4)
    c = torch.randn(2, 5)
    up = DeepUpBlock(8, 4, double=True, norm=make_norm_factory(5, 0, LAYERS), layers=LAYERS)
    h = up.convs[0](F.relu(up.norms[0](x, c)))
    h = up.convs[1](F.interpolate(F.relu(up.norms[1](h, c)), scale_factor=2))
    h = up.convs[3](F.relu(up.norms[3](up.convs[2](F.relu(up.norms[2](h, c))), c)))
    assert torch.allclose(up(x, c), h + F.interpolate(x[:, :4], scale_factor=2), atol=1e-5)
    down = DeepDownBlock(8, 8, halve=True, layers=LAYERS)
    h = F.relu(down.conv2(F.relu(down.conv1(F.relu(down.reduce(F.relu(x)))))))
    assert torch.allclose(down(x), down.expand(F.avg_pool2d(h, 2)) + F.avg_pool2d(x, 2), atol=1e-5)


def test_the_shortcut_sees_x_before_the_relu():
    """An activation in place would cut the shortcut's negative values, and the caller's."""
    x = torch.randn(2, 8, 4, 4)
    for block in (
        DownBlock(8, 8, halve=False, first=False, layers=LAYERS),
        DeepDownBlock(8, 8, halve=False, layers=LAYERS),
        DeepUpBlock(8, 8, double=False, norm=make_norm_factory(5, 0, LAYERS), layers=LAYERS),
    ):
        last = {DownBlock: "conv2", DeepDownBlock: "expand", DeepUpBlock: "convs.3"}[type(block)]
        for p in block.get_submodule(last).parameters():
            nn.init.zeros_(p)
        before = x.clone()
        out = block(x, torch.randn(2, 5)) if isinstance(block, DeepUpBlock) else block(x)
        assert torch.equal(out, before) and torch.equal(x, before)


def test_deep_shortcuts_drop_channels_going_up_and_append_them_going_down():
    x = torch.randn(2, 8, 4, 4)
    up = DeepUpBlock(8, 4, double=True, norm=make_norm_factory(5, 0, LAYERS), layers=LAYERS)
    nn.init.zeros_(up.convs[3].weight), nn.init.zeros_(up.convs[3].bias)
    assert torch.equal(up(x, torch.randn(2, 5)), F.interpolate(x[:, :4], scale_factor=2))
    down = DeepDownBlock(8, 12, halve=True, layers=LAYERS)
    nn.init.zeros_(down.expand.weight), nn.init.zeros_(down.expand.bias)
    pooled = F.avg_pool2d(x, 2)
    assert torch.equal(down(x), torch.cat([pooled, down.append(pooled)], 1))
    assert [conv.weight.shape[:3] for conv in up.convs] == [
        (2, 8, 1),
        (2, 2, 3),
        (2, 2, 3),
        (4, 2, 1),
    ]
    assert (down.reduce.out_channels, down.append.out_channels) == (3, 4)


@pytest.mark.parametrize("depth", [1, 3])
def test_depth_counts_blocks_per_level(depth):
    g, d = small(DEEP, depth=depth)
    assert (
        [len(level) for level in g.levels] == [depth, depth]
        and g.levels[0][-1].doubles
        and not any(b.doubles for b in g.levels[0][:-1])
    )
    assert sum(isinstance(part, DeepDownBlock) for part in d.body) == 2 * depth
    assert d(g(*draw(g)), torch.tensor([0, 1, 2, 0])).shape == (4, 1)


@pytest.mark.parametrize("pair", PAIRS)
def test_orthogonal_weights_have_spectral_norm_one(pair):
    for network in small(pair):
        weights = 0
        for layer in network.modules():
            if hasattr(layer, "parametrizations"):
                original = layer.parametrizations.weight.original.detach()
                assert torch.allclose(
                    torch.linalg.svdvals(original.flatten(1)), torch.ones(()), atol=1e-4
                )
                assert torch.allclose(layer.weight, original, atol=1e-4)
                weights += 1
            assert not isinstance(layer, nn.Conv2d | nn.Linear) or hasattr(
                layer, "parametrizations"
            ), "spectral norm everywhere"
        assert weights > 8


def test_initialisation_by_name_and_tables_with_and_without_spectral_norm():
    torch.manual_seed(0)
    g, d = small(PLAIN, init="normal", spectral=False, width=16)
    assert g.blocks[0].conv1.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert g.embed.weight.std().item() == pytest.approx(0.02, rel=0.2)
    g, d = small(PLAIN)
    assert not hasattr(g.embed, "parametrizations") and hasattr(
        d.score.project.table, "parametrizations"
    )


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("conditional", [True, False])
def test_gradients_reach_every_parameter(pair, conditional):
    g, d = small(pair, conditional=conditional)
    z, label = draw(g)
    d(g(z, label), label).sum().backward()
    for network in (g, d):
        assert [
            name
            for name, p in network.named_parameters()
            if p.grad is None or not p.grad.isfinite().all()
        ] == []
    assert not conditional or (g.embed.weight.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize("pair", PAIRS)
def test_a_penalty_differentiates_the_critic_twice(pair):
    _, d = small(pair)
    for part in d.modules():
        if isinstance(part, SelfAttention):
            nn.init.ones_(part.gamma)
    x = torch.randn(4, 3, 16, 16, requires_grad=True)
    label = torch.tensor([0, 1, 2, 0])
    (gradient,) = torch.autograd.grad(d(x, label).sum(), x, create_graph=True)
    gradient.square().sum().backward()
    grads = {name: p.grad for name, p in d.named_parameters()}
    assert all(value is None or value.isfinite().all() for value in grads.values())
    assert [
        name for name, value in grads.items() if value is None and not name.endswith("bias")
    ] == []
    assert grads["score.project.table.parametrizations.weight.original"].abs().sum() > 0


def test_one_score_does_not_depend_on_the_others():
    for pair in PAIRS:
        _, d = small(pair)
        d.eval()
        x = torch.randn(4, 3, 16, 16)
        label = torch.tensor([0, 1, 2, 0])
        assert torch.allclose(d(x, label)[:1], d(x[:1], label[:1]), atol=1e-5)
        assert not torch.allclose(d(x, label), d(x, (label + 1) % 3))


def test_the_score_is_linear_plus_projection_on_summed_features():
    _, d = small(PLAIN, spectral=False)
    x = torch.randn(2, 3, 16, 16)
    label = torch.tensor([1, 2])
    h = F.relu(d.body(x)).sum((2, 3))
    want = (
        h @ d.score.linear.weight.T
        + d.score.linear.bias
        + (d.score.project.table.weight[label] * h).sum(1, keepdim=True)
    )
    assert torch.allclose(d(x, label), want, rtol=1e-4)


@pytest.mark.parametrize("pair", PAIRS)
def test_bf16_copies_and_eval(pair):
    g, d = small(pair)
    z, label = draw(g)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        score = d(g(z, label), label)
    score.float().sum().backward()
    assert score.isfinite().all() and all(p.grad.dtype == torch.float32 for p in g.parameters())
    g.eval()
    assert torch.equal(copy.deepcopy(g)(z, label), g(z, label)) and torch.equal(
        g(z, label), g(z, label)
    )
    with pytest.raises(AssertionError, match="without labels"):
        g(z)


@pytest.mark.parametrize(
    ("cls", "options", "words"),
    [
        (BigGANGenerator, {"z_dim": 121}, "use 120 or 123"),
        (BigGANGenerator, {"z_dim": 2}, "3 equal chunks"),
        (BigGANGenerator, {"resolution": 30}, "nearest"),
        (BigGANGenerator, {"resolution": 512}, "nearest"),
        (BigGANDiscriminator, {"resolution": [64, 100]}, "nearest"),
        (BigGANGenerator, {"width": 0}, "1 or more"),
        (BigGANGenerator, {"attention": -1}, "0 for none"),
        (BigGANGenerator, {"shared_dim": 0}, "hierarchical=false"),
        (BigGANGenerator, {"shared_dim": -1}, "0 for none"),
        (BigGANGenerator, {"attention": 8, "width": 1}, "width"),
        (BigGANDeepGenerator, {"shared_dim": 0}, "shared_dim=128"),
        (BigGANDeepGenerator, {"depth": 0}, "1 to 8"),
        (BigGANDeepDiscriminator, {"depth": 10**9}, "1 to 8"),
        (BigGANDeepGenerator, {"width": 3}, "4 or more"),
        (BigGANDeepGenerator, {"z_dim": 0}, "1 or more"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_type(cls, options, words):
    with pytest.raises(ValueError, match=words):
        cls(
            **{"resolution": 16, "channels": 3, "width": 4, "classes": 3, "conditional": True}
            | options
        )
