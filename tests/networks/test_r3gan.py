"""R3GAN's pair: exact counts, how its layers begin, what each of them sees, and derivatives of
every order needed.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from gancli.networks.r3gan import (
    GAIN,
    Activation,
    R3GANDiscriminator,
    R3GANGenerator,
    ResidualBlock,
    compute_widths,
    conv1x1,
)

LABELLED = {"classes": 10, "conditional": True}
WIDE = {"channel_base": 98304, "channel_max": 1536, "group": 32}  # ImageNet
THOUSAND = WIDE | {"classes": 1000, "conditional": True}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def count(network):
    return sum(p.numel() for p in network.parameters())


def small(**options):
    options = {
        "resolution": 8,
        "channels": 3,
        "channel_base": 32,
        "channel_max": 8,
        "group": 4,
        "blocks": 1,
    } | options
    return R3GANGenerator(**options, z_dim=6, embed_dim=5), R3GANDiscriminator(**options)


def moved(network):
    """Weights as after some training: at the start the blocks do nothing."""
    with torch.no_grad():
        for p in network.parameters():
            p.normal_(std=0.3)
    return network


@pytest.mark.parametrize(
    ("resolution", "options", "g", "d"),
    [
        (32, LABELLED, 20_781_952, 21_280_512),
        (32, {}, 20_732_160, 20_683_776),
        (64, {}, 22_429_824, 22_381_440),
        (256, {}, 23_057_952, 23_009_568),
        (32, THOUSAND, 82_914_304, 86_548_992),
        (64, THOUSAND, 103_570_432, 107_205_120),
    ],
)
def test_counts(resolution, options, g, d):
    with torch.device("meta"):
        generator = R3GANGenerator(resolution=resolution, channels=3, **options)
        discriminator = R3GANDiscriminator(resolution=resolution, channels=3, **options)
        label = torch.zeros(2, dtype=torch.int64) if options else None
        assert discriminator(generator(torch.zeros(2, 64), label), label).shape == (2, 1), (
            "shapes can be asked for without memory"
        )
    assert (count(generator), count(discriminator)) == (g, d)


def test_widths():
    assert compute_widths((4, 4), 6, channel_base=24576, channel_max=768, group=16) == [
        768,
        768,
        768,
        768,
        384,
        192,
        96,
    ]
    assert compute_widths((4, 4), 4, channel_base=98304, channel_max=1536, group=32) == [1536] * 5
    assert compute_widths((7, 9), 3, channel_base=24576, channel_max=768, group=16) == [
        768,
        768,
        768,
        432,
    ], "438, in whole groups"
    assert compute_widths((4, 4), 1, channel_base=1, channel_max=1, group=6) == [
        3,
        3,
    ] and compute_widths((4, 4), 1, channel_base=99, channel_max=20, group=5) == [20, 10]


def test_a_network_is_what_its_table_says():
    generator, discriminator = small(resolution=16, channel_base=64, blocks=2)
    for network, widths in ((generator, [8, 8, 4]), (discriminator, [4, 8, 8])):
        assert [len(stage) for stage in network.stages] == [2, 2, 2]
        assert [stage[0].expand.in_channels for stage in network.stages] == widths
        assert all(
            block.mix.groups == block.mix.in_channels // 4
            for stage in network.stages
            for block in stage
        )
        biases = [name for name, _ in network.named_parameters() if name.endswith("bias")]
        assert len(biases) == 2 * 6 and all(".activation" in name for name in biases), (
            "two of each block, and no others"
        )
    assert (
        generator.basis.shape == (8, 4, 4)
        and discriminator.pool.kernel_size == (4, 4)
        and discriminator.feature_dim == 8
    )


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("resolution", [8, 10, 28, 32, 48, [16, 24], [24, 16]])
def test_shapes(resolution, conditional):
    h, w = (resolution, resolution) if isinstance(resolution, int) else resolution
    channels = {8: 1, 10: 2, 28: 1, 48: 4}.get(h, 3)
    g, d = small(resolution=resolution, channels=channels, classes=3, conditional=conditional)
    assert g.z_dim == 6 and g.classes == d.classes == (3 if conditional else 0)
    label = torch.tensor([0, 2]) if conditional else None
    x = g(torch.randn(2, 6), label)
    hidden = d.trunk(x, label)
    assert (
        x.shape == (2, channels, h, w)
        and hidden.shape == (2, d.feature_dim)
        and d.head(hidden, label).shape == (2, 1)
    )
    assert torch.equal(d(x, label), d.head(hidden, label)) and d(x, label).isfinite().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resolution": 30}, "28"),
        ({"resolution": 7}, "8"),
        ({"resolution": [16, 25]}, "24"),
        ({"group": 0}, "group=0"),
        ({"blocks": 0}, "blocks=0"),
        ({"blocks": 17}, "1 to 16"),
        ({"channel_max": 0}, "channel_max=0"),
    ],
)
def test_mistakes_are_named(options, words):
    for cls in (R3GANGenerator, R3GANDiscriminator):
        with pytest.raises(ValueError, match=words):
            cls(**({"resolution": 8, "channels": 1} | options))
    with pytest.raises(ValueError, match="z_dim=0"):
        R3GANGenerator(resolution=8, channels=1, z_dim=0)


def test_blocks_begin_as_the_identity():
    block = ResidualBlock(16, group=4, depth=2)
    x = torch.randn(3, 16, 5, 7)
    assert torch.equal(block(x), x)
    block.reduce.weight.data.normal_()
    y = F.leaky_relu(F.conv2d(x, block.expand.weight) + 0.5, 0.2)
    y = F.leaky_relu(F.conv2d(y, block.mix.weight, padding=1, groups=8) - 0.25, 0.2)
    block.activation1.bias.data.fill_(0.5)
    block.activation2.bias.data.fill_(-0.25)
    assert torch.allclose(block(x), x + F.conv2d(y, block.reduce.weight), atol=1e-6)


def test_so_the_generator_begins_as_its_enlarged_basis():
    g, _ = small(channel_base=64)
    z = torch.randn(2, 6)
    one = g.basis * g.start(z)[:, :, None, None]
    # 3/4 of the nearest pixel, 1/4 of the other side's, or of a zero
    near = [0, 0, 1, 1, 2, 2, 3, 3]
    far = [-1, 1, 0, 2, 1, 3, 2, 4]
    up = 0.75 * torch.eye(4)[near] + 0.25 * torch.cat([torch.eye(4), torch.zeros(1, 4)])[far]
    want = F.conv2d(up @ one @ up.T, g.to_rgb.weight)
    assert torch.allclose(g(z), want, atol=1e-5)


def test_how_weights_begin():
    block = ResidualBlock(256, group=16, depth=8)
    assert abs(GAIN**2 * 1.04 - 2) < 1e-12
    for layer, fan_in in ((block.expand, 256), (block.mix, 16 * 9)):
        assert layer.weight.std().item() == pytest.approx(GAIN * 8**-0.25 / fan_in**0.5, rel=0.02)
    assert not block.reduce.weight.any() and not block.activation1.bias.any()
    assert conv1x1(64, 512).weight.std().item() == pytest.approx(1 / 8, rel=0.02)
    options = {
        "resolution": 8,
        "channels": 3,
        "channel_max": 256,
        "classes": 16,
        "conditional": True,
    }
    g = R3GANGenerator(**options)
    d = R3GANDiscriminator(**options)
    assert g.basis.std().item() == pytest.approx(
        1, rel=0.05
    ) and g.start.weight.std().item() == pytest.approx(128**-0.5, rel=0.02)
    assert g.embed.weight.std().item() == pytest.approx(16**-0.5, rel=0.1)
    assert d.pool.weight.std().item() == pytest.approx(
        1 / 4, rel=0.05
    ) and d.out.weight.std().item() == pytest.approx(1 / 16, rel=0.02)
    assert d.embed.weight.std().item() == pytest.approx((16 * 256) ** -0.5, rel=0.05)


def test_depth_counts_all_blocks():
    _, d = small(resolution=16, channels=1, channel_base=4096, channel_max=256, group=16, blocks=3)
    assert d.stages[2][1].expand.weight.std().item() == pytest.approx(
        GAIN * 9**-0.25 / 16, rel=0.02
    )


def test_groups_do_not_mix():
    block = moved(ResidualBlock(8, group=4, depth=1))
    x = torch.randn(1, 16, 6, 6)
    y = x.clone()
    y[:, 5] += 1
    changed = (block.mix(x) != block.mix(y)).flatten(2).any(2)[0]
    assert changed.tolist() == [4 <= k < 8 for k in range(16)]


def test_an_activation_adds_its_bias_first():
    act = Activation(2)
    act.bias.data = torch.tensor([1.0, -3.0])
    assert act(torch.ones(1, 2, 1, 1)).flatten().tolist() == pytest.approx([2, -0.4])


def test_scores():
    """No bias in the head, and with classes an inner product that the label chooses; the trunk does
    not see it.
    """
    _, d = small()
    h = torch.randn(4, d.feature_dim)
    assert torch.allclose(d.head(3 * h), 3 * d.head(h), atol=1e-6) and torch.allclose(
        d.head(h), h @ d.out.weight.T
    )
    _, d = small(classes=3, conditional=True)
    label = torch.tensor([0, 1, 2, 1])
    want = ((h @ d.out.weight.T) * d.embed.weight.T[label]).sum(1, keepdim=True)
    assert torch.allclose(d.head(h, label), want, atol=1e-6) and not torch.equal(
        d.head(h, label), d.head(h, label.flip(0))
    )
    x = torch.randn(4, 3, 8, 8)
    assert torch.equal(d.trunk(x, label), d.trunk(x, None))


def test_labels_and_latents_reach_the_image():
    g, _ = small(classes=3, conditional=True)
    z = torch.randn(2, 6)
    label = torch.tensor([0, 1])
    assert not torch.equal(g(z, label), g(z, label.flip(0))) and not torch.equal(
        g(z, label), g(z.flip(0), label)
    )
    assert 100 * g(100 * z, label).abs().max() > 100, "the output is linear"


def test_derivatives():
    torch.manual_seed(1)
    _, d = small(channels=1, channel_base=16, channel_max=4, classes=2, conditional=True)
    d = moved(d).double()
    label = torch.tensor([0, 1])
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: d(x, label), x) and gradgradcheck(lambda x: d(x, label), x)


def test_a_penalty_reaches_every_weight():
    _, d = small()
    d = moved(d)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    grad.square().sum().backward()
    for name, p in d.named_parameters():
        assert (p.grad is not None and p.grad.abs().sum() > 0) or name.endswith("bias"), (
            name
        )  # of a bias there is but a step


def test_bf16_leaves_images_and_scores_in_fp32():
    g, d = (moved(network) for network in small(channel_base=64))
    z = torch.randn(4, 6)
    exact = d(g(z))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = g(z)
        scores = d(x)
    assert x.dtype == scores.dtype == torch.float32 and torch.allclose(
        scores, exact, rtol=0.1, atol=0.1 * exact.abs().max().item()
    )


def test_copies_and_evaluation():
    g, d = small()
    z = torch.randn(2, 6)
    assert torch.equal(copy.deepcopy(g).eval()(z), g(z)) and torch.equal(
        copy.deepcopy(d).eval()(g(z)), d(g(z))
    )
