"""StyleGAN2's pair: the reference's exact counts, demodulation, noise, styles, the critic, and
derivatives of every order needed.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradgradcheck

from gancli.networks.style_layers import pixel_norm, upsample
from gancli.networks.stylegan2 import (
    DownBlock,
    Mapping,
    ModulatedConv2d,
    StyledLayer,
    StyleGAN2Discriminator,
    StyleGAN2Generator,
    ToRGB,
    compute_widths,
)

LABELLED = {"classes": 10, "conditional": True}
CIFAR = {"architecture": "orig"}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def count(network):
    return sum(p.numel() for p in network.parameters())


def small(*, mapping_layers=2, architecture="resnet", **options):
    options = {
        "resolution": 16,
        "channels": 3,
        "channel_base": 64,
        "channel_max": 8,
        "mapping_layers": mapping_layers,
    } | options
    return StyleGAN2Generator(**options, z_dim=6, w_dim=5), StyleGAN2Discriminator(
        **options, architecture=architecture
    )


@pytest.mark.parametrize(
    ("resolution", "base", "mapping", "options", "critic", "g", "d"),
    [
        (1024, 32768, 8, {}, {}, 30_370_060, 29_012_513),
        (1024, 16384, 8, {}, {}, 24_900_764, 24_038_161),
        (512, 32768, 8, {}, {}, 30_276_583, 28_982_849),
        (256, 32768, 8, {}, {}, 30_034_338, 28_864_129),
        (256, 16384, 8, {}, {}, 24_767_458, 24_001_089),
        (64, 16384, 2, {}, {}, 22_243_608, 23_407_361),
        (32, 32768, 2, {}, CIFAR, 19_947_539, 20_720_641),
        (32, 32768, 2, LABELLED, CIFAR, 20_215_315, 23_089_664),
    ],
)
def test_counts(resolution, base, mapping, options, critic, g, d):
    shared = {"resolution": resolution, "channels": 3, "channel_base": base} | options
    with torch.device("meta"):
        generator = StyleGAN2Generator(**shared, mapping_layers=mapping)
        discriminator = StyleGAN2Discriminator(**shared, **critic)
    assert (count(generator), count(discriminator)) == (g, d)
    if mapping == 8:
        assert count(generator.mapping) == 2_101_248


def test_widths_and_layers():
    assert compute_widths((4, 4), 8, channel_base=32768, channel_max=512) == [
        512,
        512,
        512,
        512,
        512,
        256,
        128,
        64,
        32,
    ]
    assert compute_widths((4, 4), 8, channel_base=16384, channel_max=512) == [
        512,
        512,
        512,
        512,
        256,
        128,
        64,
        32,
        16,
    ]
    assert compute_widths((7, 9), 2, channel_base=70, channel_max=512) == [10, 5, 2]
    assert compute_widths((4, 4), 1, channel_base=1, channel_max=1) == [1, 1]
    with torch.device("meta"):
        for resolution, layers in ((1024, 18), (32, 8), (8, 4), (28, 6)):
            g = StyleGAN2Generator(resolution=resolution, channels=3)
            assert (
                g.layers == layers and len(g.styled) == layers - 1 and len(g.to_rgb) == layers // 2
            )
        d = StyleGAN2Discriminator(resolution=28, channels=3)
        assert d(g(torch.zeros(2, 512))).shape == (2, 1), "shapes can be asked for without memory"


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("resolution", [8, 10, 16, 28, 32, 48, [16, 24], [40, 64], 128])
def test_shapes(resolution, conditional):
    h, w = (resolution, resolution) if isinstance(resolution, int) else resolution
    channels = {8: 1, 10: 2, 28: 1, 48: 4}.get(h, 3)
    g, d = small(resolution=resolution, channels=channels, classes=3, conditional=conditional)
    assert g.size == (h, w) and g.classes == d.classes == (3 if conditional else 0)
    label = torch.tensor([0, 2]) if conditional else None
    x = g(torch.randn(2, g.z_dim), label)
    hidden = d.trunk(x, label)
    assert (
        x.shape == (2, channels, h, w)
        and hidden.shape == (2, d.feature_dim)
        and d.head(hidden, label).shape == (2, 1)
    )
    assert torch.equal(d(x, label), d.head(hidden, label)) and d(x, label).isfinite().all()


def kernels(conv, w):
    """Each sample's own kernel, (N,c_out,c_in,k,k), as the paper writes it."""
    style = conv.style(w)
    own = conv.weight * style[:, None, :, None, None]
    return (
        own / (own.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
        if conv.demodulate
        else own * conv.gain
    )


def shaken(conv):
    """With styles that differ: at the start they are all near 1."""
    with torch.no_grad():
        conv.style.bias.normal_()
    return conv


@pytest.mark.parametrize(
    ("side", "up", "demodulate"), [(3, False, True), (3, True, True), (1, False, False)]
)
def test_scaled_channels_are_one_kernel_per_sample(side, up, demodulate):
    """Against grouped convolutions with N kernels, which is how the paper writes it."""
    conv = shaken(ModulatedConv2d(5, 7, side, w_dim=4, up=up, demodulate=demodulate)).double()
    x = torch.randn(3, 5, 6, 8, dtype=torch.float64)
    w = torch.randn(3, 4, dtype=torch.float64)
    own = kernels(conv, w)
    group = x.reshape(1, 15, 6, 8)
    if up:
        y = F.conv_transpose2d(
            group, own.transpose(1, 2).reshape(15, 7, side, side), stride=2, groups=3
        ).view(3, 7, 13, 17)
        line = torch.tensor([1.0, 3, 3, 1], dtype=torch.float64) / 8
        fir = (4 * torch.outer(line, line)).expand(7, 1, 4, 4)
        y = F.conv2d(y, fir, padding=1, groups=7)
    else:
        y = F.conv2d(group, own.reshape(21, 5, side, side), padding=side // 2, groups=3).view(
            3, 7, 6, 8
        )
    assert conv(x, w).shape == ((3, 7, 12, 16) if up else (3, 7, 6, 8)) and torch.allclose(
        conv(x, w), y, atol=1e-12
    )


def test_up_is_filtered_enlargement_and_then_the_kernel():
    conv = ModulatedConv2d(3, 4, w_dim=2, up=True)
    x = torch.randn(1, 3, 6, 6)
    want = F.conv2d(upsample(x), conv.weight.flip(2, 3), padding=1)
    assert torch.allclose(
        conv.convolve(x, conv.weight)[:, :, 2:-2, 2:-2], want[:, :, 2:-2, 2:-2], atol=1e-4
    )


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_both_ways_of_modulation_are_the_same(up, demodulate, monkeypatch):
    conv = ModulatedConv2d(3, 4, w_dim=2, up=up, demodulate=demodulate).double()
    x, w = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((2, 3, 6, 5), (2, 2))
    )
    found = []
    for grouped in (False, True):
        monkeypatch.setattr(
            ModulatedConv2d, "grouped", staticmethod(lambda x, grouped=grouped: grouped)
        )
        y = conv(x, w)
        (grad,) = torch.autograd.grad(y.square().sum(), w, create_graph=True)
        (second,) = torch.autograd.grad(grad.square().sum(), conv.weight)
        found.append((y.detach(), grad.detach(), second))
    assert all(torch.allclose(one, other, atol=1e-10) for one, other in zip(*found, strict=True))
    assert ModulatedConv2d.grouped(x) == grouped and found[0][0].abs().max() > 0


def test_demodulated_filters_have_length_1():
    conv = shaken(ModulatedConv2d(16, 9, w_dim=4))
    own = kernels(conv, torch.randn(5, 4))
    assert torch.allclose(own.square().sum((2, 3, 4)), torch.ones(5, 9), atol=1e-5)
    style, after = conv.scales(torch.randn(5, 4))
    own = conv.weight * style[:, None, :, None, None] * after[:, :, None, None, None]
    assert torch.allclose(own.square().sum((2, 3, 4)), torch.ones(5, 9), atol=1e-5), (
        "and so have those that are never made"
    )


def test_unit_noise_leaves_with_unit_deviation():
    conv = shaken(ModulatedConv2d(64, 64, w_dim=8))
    y = conv(torch.randn(8, 64, 18, 18), torch.randn(8, 8))[:, :, 1:-1, 1:-1]
    assert y.std().item() == pytest.approx(1, abs=0.02)
    assert ToRGB(256, 3, w_dim=8)(
        torch.randn(16, 256, 16, 16), torch.zeros(16, 8)
    ).std().item() == pytest.approx(1, abs=0.1)


def test_the_scale_of_a_style_does_not_matter():
    conv = shaken(ModulatedConv2d(6, 5, w_dim=4))
    x = torch.randn(2, 6, 8, 8)
    w = torch.randn(2, 4)
    before = conv(x, w)
    with torch.no_grad():
        conv.style.weight.mul_(30)
        conv.style.bias.mul_(30)
    assert torch.allclose(conv(x, w), before, atol=1e-5)
    rgb = ModulatedConv2d(6, 3, 1, w_dim=4, demodulate=False)
    twice = copy.deepcopy(rgb)
    with torch.no_grad():
        twice.style.bias.mul_(2)
        twice.style.weight.mul_(2)
    assert torch.allclose(twice(x, w), 2 * rgb(x, w), atol=1e-5), "but for a picture it does"


def test_noise_starts_silent_and_is_one_plane():
    layer = StyledLayer(4, 6, w_dim=3, number=2)
    x = torch.randn(2, 4, 8, 8)
    w = torch.randn(2, 3)
    assert layer.strength.item() == 0 and torch.equal(layer(x, w, "random"), layer(x, w, "none"))
    with torch.no_grad():
        layer.strength.fill_(0.5)
    assert not torch.equal(layer(x, w, "random"), layer(x, w, "random"))
    assert torch.equal(layer(x, w, "fixed"), layer(x, w, "fixed")) and not torch.equal(
        layer(x, w, "fixed"), layer(x, w, "none")
    )
    plane = layer.plane(x, fixed=True)
    assert plane.shape == (1, 1, 8, 8) and torch.equal(
        plane, copy.deepcopy(layer).plane(x, fixed=True)
    )
    assert not torch.equal(plane, StyledLayer(4, 6, w_dim=3, number=3).plane(x, fixed=True))
    drawn = layer.plane(x, fixed=False)
    assert drawn.shape == (2, 1, 8, 8) and not torch.equal(drawn[0], drawn[1])
    y = layer.conv(x, w) + 0.5 * plane
    assert torch.allclose(layer(x, w, "fixed"), F.leaky_relu(y, 0.2) * 2**0.5, atol=1e-6)


def test_without_noise_inputs_no_noise_is_drawn():
    options = {"resolution": 16, "channels": 3, "channel_base": 64, "channel_max": 8}
    noisy, silent = (
        StyleGAN2Generator(**options, z_dim=6, w_dim=5, mapping_layers=2, noise_inputs=value)
        for value in (True, False)
    )
    assert count(noisy) == count(silent) and noisy.state_dict().keys() == silent.state_dict().keys()
    before = torch.get_rng_state()
    image = silent(torch.ones(2, 6))
    assert torch.equal(torch.get_rng_state(), before)
    image.square().mean().backward()
    assert all(layer.strength.grad is None and layer.strength == 0 for layer in silent.styled)
    noisy(torch.ones(2, 6)).square().mean().backward()
    assert all(layer.strength.grad is not None for layer in noisy.styled)


def test_an_image_is_the_sum_of_its_levels_pictures():
    g, _ = small()
    with torch.no_grad():
        for k, rgb in enumerate(g.to_rgb):
            rgb.conv.weight.zero_()
            rgb.bias.copy_(torch.tensor([1.0, 0, 0]) * 10**k)
    image = g(torch.randn(2, 6))
    assert (
        torch.allclose(image[:, 0, 6:-6, 6:-6], torch.tensor(111.0))
        and image[:, 1:].abs().max() == 0
    )


def test_each_layer_takes_its_own_style():
    """Layer k's style moves only what comes after it: a picture takes the next level's first."""
    g, _ = small()
    seen = []
    for module in (*g.styled, *g.to_rgb):
        module.register_forward_hook(lambda module, args, out: seen.append((module, args[1])))
    styles = torch.randn(1, g.layers, 5)
    g.synthesis(styles)
    given = {
        module: [k for k in range(g.layers) if torch.equal(styles[:, k], w)] for module, w in seen
    }
    assert [given[layer] for layer in g.styled] == [[0], [1], [2], [3], [4]] and [
        given[rgb] for rgb in g.to_rgb
    ] == [[1], [3], [5]]


def test_two_latents_share_an_image():
    g, _ = small()
    g.eval()
    z, other = torch.randn(2, 2, 6)
    mask = torch.tensor([[False] * 4 + [True] * 2, [False] * 6])
    mixed = g.styles(z, other=other, mask=mask)
    a = g.styles(z)
    b = g.styles(other)
    assert (
        torch.equal(mixed[0, :4], a[0, :4])
        and torch.equal(mixed[0, 4:], b[0, 4:])
        and torch.equal(mixed[1], a[1])
    )
    assert torch.equal(g.styles(z, other=other, mask=mask[0])[1, 4:], b[1, 4:]), "one mask for all"


def test_truncation_moves_towards_the_mean_style():
    g, _ = small()
    g.eval()
    g.w_avg.normal_()
    z = torch.randn(2, 6)
    w = g.styles(z)
    assert torch.allclose(g.styles(z, psi=torch.ones(2, 6)), w, atol=1e-6)
    assert torch.allclose(g.styles(z, psi=torch.zeros(2, 6)), g.w_avg.expand(2, 6, 5))
    psi = torch.tensor([0.5, 0.5, 1, 1, 1, 1]).expand(2, -1)
    assert torch.allclose(g.styles(z, psi=psi)[:, 1], (w[:, 1] + g.w_avg) / 2, atol=1e-6)
    assert torch.allclose(g.styles(z, psi=psi)[:, 2], w[:, 2], atol=1e-6)


def test_the_mean_style_follows_the_first_latent_in_training_alone():
    g, _ = small()
    z, other = torch.randn(2, 4, 6)
    w = g.mapping(z, None)
    g(z, other=other, mask=torch.ones(4, 6, dtype=torch.bool))
    assert torch.allclose(g.w_avg, 0.005 * w.mean(0), atol=1e-7) and not g.w_avg.requires_grad
    before = g.w_avg.clone()
    g.eval()(z)
    assert torch.equal(g.w_avg, before)
    g.train().styles(z)
    assert torch.allclose(g.w_avg, 0.995 * before + 0.005 * w.mean(0), atol=1e-7)


def test_mapping_sees_directions_and_labels():
    plain = Mapping(z_dim=6, w_dim=5, layers=2)
    labelled = Mapping(z_dim=6, w_dim=5, layers=2, classes=3)
    z = torch.randn(4, 6)
    assert torch.allclose(plain(z, None), plain(3 * z, None), atol=1e-5)
    assert not torch.allclose(
        labelled(z, torch.tensor([0, 0, 1, 2])), labelled(z, torch.tensor([1, 1, 1, 2]))
    )
    alone = Mapping(z_dim=0, w_dim=5, layers=2, classes=3)
    assert alone(None, torch.tensor([0, 2])).shape == (2, 5)
    seen = []
    labelled.layers[0].register_forward_hook(lambda module, args, out: seen.append(args[0]))
    labelled(z, torch.tensor([0, 1, 2, 0]))
    assert torch.allclose(seen[0][:, :6], pixel_norm(z)) and torch.allclose(
        seen[0][:, 6:].square().mean(1), torch.ones(4), atol=1e-4
    )
    with pytest.raises(AssertionError, match="without labels"):
        labelled(z, None)


def test_a_label_judges_by_an_inner_product():
    _, d = small(**LABELLED)
    x = torch.randn(3, 3, 16, 16)
    label = torch.tensor([0, 4, 9])
    hidden = d.trunk(x, label)
    want = (d.out(hidden) * d.mapping(None, label)).sum(1, keepdim=True) / d.feature_dim**0.5
    assert torch.allclose(d(x, label), want) and not torch.allclose(
        d(x, label), d.head(hidden, torch.tensor([1, 1, 1]))
    )
    assert d.out.weight.shape[0] == d.feature_dim and small()[1].out.weight.shape[0] == 1


def test_residual_blocks_keep_the_variance():
    x = torch.randn(64, 64, 1, 1).expand(
        -1, -1, 16, 16
    )  # flat: a low-pass filter takes nothing of it
    block = DownBlock(64, 64, residual=True)
    assert block(x)[:, :, 2:-2, 2:-2].square().mean().item() == pytest.approx(1.04, abs=0.15)
    with torch.no_grad():
        block.skip.weight.zero_()
    plain = DownBlock(64, 64, residual=False)
    plain.conv1 = block.conv1
    plain.conv2 = block.conv2
    assert torch.allclose(block(x) * 2**0.5, plain(x), atol=1e-5), (
        "both halves are divided by the root of 2"
    )
    assert (
        plain.skip is None
        and count(DownBlock(4, 6, residual=True)) - count(DownBlock(4, 6, residual=False)) == 24
    )


def test_scores_depend_on_the_others_of_the_group():
    _, d = small()
    x = torch.randn(4, 3, 16, 16)
    assert torch.allclose(d(x).flip(0), d(x.flip(0)), atol=1e-4) and not torch.allclose(
        d(x)[:2], d(torch.cat([x[:2], x[:2]]))[:2]
    )


@pytest.mark.parametrize("architecture", ["resnet", "orig"])
def test_second_derivatives_of_the_critic(architecture):
    _, d = small(
        resolution=8,
        channels=1,
        channel_base=16,
        channel_max=2,
        architecture=architecture,
        classes=2,
        conditional=True,
    )
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([0, 1])
    assert gradgradcheck(lambda x: d.double()(x, label), x)


def test_second_derivatives_of_the_synthesis():
    g, _ = small(resolution=8, channels=1, channel_base=16, channel_max=2)
    g.double()
    with torch.no_grad():
        for layer in g.styled:
            layer.strength.fill_(0.3)
    styles = torch.randn(2, g.layers, 5, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(lambda styles: g.synthesis(styles, noise="fixed"), styles)


@pytest.mark.parametrize("conditional", [False, True])
def test_every_parameter_learns_from_penalties_and_scores(conditional):
    g, d = small(classes=3, conditional=conditional)
    label = torch.tensor([0, 1, 2, 0]) if conditional else None
    for layer in g.styled:
        torch.nn.init.normal_(layer.strength)
    styles = g.styles(torch.randn(4, 6), label)
    image = g.synthesis(styles)
    (grad,) = torch.autograd.grad(
        (image * torch.randn_like(image)).sum(), styles, create_graph=True
    )
    score = d(image, label)
    (slope,) = torch.autograd.grad(score.sum(), image, create_graph=True)
    (score.mean() + grad.square().sum() + slope.square().sum()).backward()
    for network in (g, d):
        for name, p in network.named_parameters():
            assert p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 0, name


def test_half_precision_copies_and_evaluation():
    g, d = small(**LABELLED)
    z = torch.randn(4, 6)
    label = torch.arange(4)
    g.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image = g(z, label)
        scores = d(image, label)
    assert image.dtype == scores.dtype == g.styles(z, label).dtype == torch.float32
    # Leaky ReLUs that fall to the other side count most: it is close on average, not everywhere.
    assert (image - g(z, label)).abs().mean() < 0.05 and torch.allclose(
        scores, d(image, label), atol=0.2
    )
    assert torch.equal(copy.deepcopy(g)(z, label, noise="none"), g(z, label, noise="none"))
    assert torch.equal(copy.deepcopy(d).eval()(image, label), d(image, label))
    assert list(g.state_dict()).count("w_avg") == 1 and "noise" not in "".join(g.state_dict())


@pytest.mark.parametrize(
    ("network", "wrong", "said"),
    [
        (StyleGAN2Generator, {"resolution": 7}, "does not fit"),
        (StyleGAN2Discriminator, {"resolution": 2048}, "does not fit"),
        (StyleGAN2Generator, {"mapping_layers": 17}, "1 to 16"),
        (StyleGAN2Generator, {"mapping_layers": 0}, "1 to 16"),
        (StyleGAN2Discriminator, {"mapping_layers": 10**6} | LABELLED, "1 to 16"),
        (StyleGAN2Generator, {"z_dim": 0}, "e.g. 512"),
        (StyleGAN2Generator, {"w_decay": 1.5}, "from 0 to 1"),
        (StyleGAN2Generator, {"channel_base": 0}, "e.g. 16384"),
        (StyleGAN2Discriminator, {"channel_max": 0}, "e.g. 16384"),
        (StyleGAN2Discriminator, {"mbstd_group": 0}, "1 or more"),
    ],
)
def test_wrong_values(network, wrong, said):
    with pytest.raises(ValueError, match=said), torch.device("meta"):
        network(**{"resolution": 16, "channels": 3} | wrong)
