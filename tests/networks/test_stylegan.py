"""StyleGAN's generator: exact counts, styles, noise, mixing, truncation, w_avg, and growth without
a jump.
"""

from __future__ import annotations

import copy

import pytest
import torch

from gancli.ema import update_ema
from gancli.networks.pggan import PGGANDiscriminator, enlarge
from gancli.networks.stylegan import Mapping, Styled, StyleGANGenerator, instance_norm


def count(network):
    return sum(p.numel() for p in network.parameters())


def generator(resolution=16, channels=2, **options):
    torch.manual_seed(0)
    return StyleGANGenerator(
        resolution=resolution,
        channels=channels,
        **{
            "z_dim": 8,
            "w_dim": 6,
            "channel_base": 64,
            "channel_max": 8,
            "mapping_layers": 2,
            **options,
        },
    )


def noisy(g):
    """The same with noise that is heard."""
    with torch.no_grad():
        for part in g.modules():
            if isinstance(part, Styled):
                part.strength.fill_(0.5)
    return g


def near(a, b):
    """Equal up to rounding, which a plane of small deviation enlarges when it is normalised."""
    return torch.allclose(a, b, atol=1e-4)


def share(value):
    return torch.tensor(float(value))


@pytest.mark.parametrize(
    ("resolution", "g"),
    [(1024, 26_219_627), (512, 26_179_768), (256, 26_086_229), (128, 25_843_858), (64, 25_137_935)],
)
def test_counts_of_the_paper(resolution, g):
    with torch.device("meta"):
        net = StyleGANGenerator(resolution=resolution, channels=3)
        assert count(net) == g and count(net.mapping) == 2_101_248
    assert net.layers == {1024: 18, 512: 16, 256: 14, 128: 12, 64: 10}[resolution]


def test_the_critic_is_pggans():
    with torch.device("meta"):
        assert count(PGGANDiscriminator(resolution=1024, channels=3, blur=True)) == 23_087_249


@pytest.mark.parametrize(("resolution", "stages"), [(8, 2), (28, 3), (32, 4), ([16, 24], 3)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sizes_of_every_stage(resolution, stages, channels):
    g = generator(resolution, channels)
    h, w = (resolution, resolution) if isinstance(resolution, int) else resolution
    for stage in range(stages):
        scale = 2 ** (stages - 1 - stage)
        x = g(torch.randn(3, 8), stage=stage, alpha=share(0.5) if stage else None)
        assert x.shape == (3, channels, h // scale, w // scale) and x.isfinite().all()


@pytest.mark.parametrize("stage", [1, 2])
def test_a_new_stage_starts_as_the_old_one_and_ends_as_itself(stage):
    g = generator()
    z = torch.randn(3, 8)
    assert torch.equal(
        g(z, stage=stage, alpha=share(0), noise="none"),
        enlarge(g(z, stage=stage - 1, noise="none")),
    )
    assert torch.equal(
        g(z, stage=stage, alpha=share(1), noise="none"), g(z, stage=stage, noise="none")
    )


def test_instance_norm():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    assert instance_norm(x).flatten().tolist() == pytest.approx(
        [-1.3416408, -0.4472136, 0.4472136, 1.3416408]
    )
    assert instance_norm(torch.ones(1, 2, 4, 4)).abs().max() == 0, (
        "a constant plane has no deviation to divide by"
    )


def test_a_style_sets_mean_and_deviation_of_each_channel():
    layer = Styled(4, 6, layer=0)
    x = torch.randn(3, 4, 16, 16)
    w = torch.randn(3, 6)
    scale, shift = layer.style(w).chunk(2, 1)
    h = layer(x, w, noise="random")
    assert torch.allclose(h.mean((2, 3)), shift, atol=1e-5)
    assert torch.allclose(h.std((2, 3), unbiased=False), (1 + scale).abs(), atol=1e-4)
    assert layer.style.bias.abs().max() == 0 and layer.style.scale == pytest.approx(6**-0.5), (
        "gain 1, and no style at first"
    )


def test_what_follows_a_convolution_follows_in_the_papers_order():
    layer = Styled(4, 6, layer=3)
    x = torch.randn(3, 4, 8, 8)
    w = torch.zeros(3, 6)
    with torch.no_grad():
        layer.strength.copy_(torch.tensor([1.0, 0.0, -2.0, 0.5]))
        layer.bias.copy_(torch.tensor([0.0, 1.0, 0.0, -1.0]))
    plane = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    want = x + layer.strength[:, None, None] * plane + layer.bias[:, None, None]
    assert torch.allclose(
        layer(x, w, noise="fixed"),
        instance_norm(torch.nn.functional.leaky_relu(want, 0.2)),
        atol=1e-5,
    )


def test_noise_is_silent_at_first():
    g = generator()
    z = torch.randn(2, 8)
    assert torch.equal(g(z), g(z, noise="none"))
    assert all(part.strength.abs().max() == 0 for part in g.modules() if isinstance(part, Styled))


def test_random_fixed_and_no_noise():
    g = noisy(generator()).eval()
    z = torch.randn(1, 8).expand(2, -1)
    random, fixed, none = (g(z, noise=kind) for kind in ("random", "fixed", "none"))
    assert not torch.allclose(random[0], random[1], atol=1e-3) and not torch.allclose(
        fixed, none, atol=1e-3
    )
    assert near(fixed[0], fixed[1]) and torch.equal(fixed, g(z, noise="fixed"))
    torch.manual_seed(5)
    first = g(z)
    torch.manual_seed(5)
    assert torch.equal(first, g(z)), "the global generator seeds it"
    a, b = (
        block.styled[k].draw_noise(torch.zeros(1, 1, 8, 8), fixed=True)
        for block, k in ((g.blocks[1], 0), (g.blocks[1], 1))
    )
    assert not torch.equal(a, b), "every layer has its own"


def test_the_start_is_a_constant_of_ones():
    g = generator()
    assert torch.equal(g.const, torch.ones(1, 8, 4, 4))
    assert any(p is g.const for p in g.parameters()), "and learns"


def test_mixing_takes_layers_from_the_other():
    g = generator()
    z = torch.randn(3, 8)
    other = torch.randn(3, 8)
    options = {"noise": "none"}
    nothing = torch.zeros(6, dtype=torch.bool)
    everything = torch.ones(6, dtype=torch.bool)
    assert near(g(z, other=other, mask=nothing, **options), g(z, **options))
    assert near(g(z, other=other, mask=everything, **options), g(other, **options))
    late = torch.arange(6) >= 2
    styles = torch.cat(
        [g.mapping(z)[:, None].expand(-1, 2, -1), g.mapping(other)[:, None].expand(-1, 4, -1)], 1
    )
    assert near(g(z, other=other, mask=late, **options), g.synthesis(styles, **options))
    rows = torch.stack([nothing, everything, late])
    mixed = g(z, other=other, mask=rows, **options)
    assert near(mixed[0], g(z, **options)[0]) and near(mixed[1], g(other, **options)[1])


def test_truncation_draws_styles_to_the_mean():
    g = generator()
    g(torch.randn(64, 8))
    g.eval()
    z = torch.randn(3, 8)
    options = {"noise": "none"}
    assert near(g(z, psi=torch.ones(3, 6), **options), g(z, **options))
    mean = g(z, psi=torch.zeros(3, 6), **options)
    assert near(mean, g.synthesis(g.w_avg.expand(3, 6, -1), **options))
    half = g.synthesis(
        (g.w_avg + 0.5 * (g.mapping(z) - g.w_avg))[:, None].expand(-1, 6, -1), **options
    )
    assert near(g(z, psi=torch.full((3, 6), 0.5), **options), half)


def test_the_mean_style_moves_in_training_alone_and_by_the_first_latent():
    g = generator()
    z = torch.randn(16, 8)
    assert g.w_avg.abs().max() == 0
    g.eval()(z)
    assert g.w_avg.abs().max() == 0
    mean = g.mapping(z).mean(0)
    g.train()(z, other=torch.randn(16, 8), mask=torch.arange(6) >= 1)
    assert torch.allclose(g.w_avg, 0.005 * mean, atol=1e-7) and g.w_avg.abs().max() > 0
    g(z)
    assert torch.allclose(g.w_avg, (1 - 0.995**2) * mean, atol=1e-6)
    shadow = copy.deepcopy(generator()).eval()
    update_ema(shadow, g, 0.999)
    assert torch.equal(shadow.w_avg, g.w_avg), "buffers are copied, not averaged"


def test_the_mapping():
    torch.manual_seed(0)
    mapping = Mapping(64, 64, layers=3, lr=0.01, classes=0)
    assert mapping.net[0].weight.std().item() == pytest.approx(100, rel=0.05), (
        "slow layers store large weights"
    )
    z = torch.randn(256, 64)
    assert torch.allclose(mapping(z), mapping(5 * z), atol=1e-4), "latents are on a sphere"
    assert 0.5 < mapping(z).square().mean() < 2


def test_labels_stand_beside_z():
    mapping = Mapping(8, 6, layers=2, lr=0.01, classes=3)
    assert mapping.net[0].weight.shape == (6, 16) and mapping.embed.weight.shape == (3, 8)
    g = generator(classes=3, conditional=True)
    z = torch.randn(1, 8).expand(3, -1)
    a, b, _ = g(z, torch.arange(3), noise="none")
    assert not torch.allclose(a, b, atol=1e-3)
    with pytest.raises(AssertionError, match="without labels"):
        g(z)


def test_what_rests_gets_no_gradient():
    g = generator()
    g(torch.randn(4, 8), stage=1, alpha=share(0.5)).square().sum().backward()
    moved = {name for name, p in g.named_parameters() if p.grad is not None}
    assert {name.split(".")[1] for name in moved if name.startswith("to_image")} == {"0", "1"}
    assert {name.split(".")[1] for name in moved if name.startswith("blocks")} == {"0", "1"}
    assert {"const", "mapping.net.0.weight"} <= moved


def test_double_backward_half_precision_and_copies():
    g = generator()
    z = torch.randn(2, 8)
    styles = g.mapping(z)[:, None].repeat(1, 6, 1)
    (grad,) = torch.autograd.grad(g.synthesis(styles).square().sum(), styles, create_graph=True)
    grad.square().sum().backward()
    assert (
        all(p.grad is None or p.grad.isfinite().all() for p in g.parameters())
        and g.const.grad is not None
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert g(z, stage=2, alpha=share(0.5)).isfinite().all()
    twin = copy.deepcopy(g).eval()
    assert torch.equal(twin(z, noise="none"), g.eval()(z, noise="none"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mapping_layers": 0}, "1 to 32"),
        ({"mapping_layers": 1000}, "1 to 32"),
        ({"w_decay": 1.5}, "w_decay"),
        ({"resolution": 30}, "nearest"),
        ({"channel_base": 8}, "give 16 or more"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, says):
    with pytest.raises(ValueError, match=says), torch.device("meta"):
        generator(**options)
