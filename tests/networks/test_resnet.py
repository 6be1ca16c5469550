"""The residual line: exact counts and golden values of REFERENCE, shapes at every size, and what
tells its members apart.
"""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from helpers import frozen
from torch import nn

from gancli.networks.attention import SelfAttention
from gancli.networks.conditional import ConditionalBatchNorm2d, Projection
from gancli.networks.resnet import (
    DownBlock,
    ResNetDiscriminator,
    ResNetGenerator,
    UpBlock,
    double_size,
)
from gancli.networks.sndcgan import SNDCGANDiscriminator, SNDCGANGenerator
from gancli.networks.spectral import SpectralNorm, spectral

SIZES = [8, 16, 28, 32, 48, 64, 80, 96, [32, 48], [40, 24]]
SAGAN = {"spectral": True, "attention": ["quarter"]}
WGAN = {"spectral": False, "pooling": "mean", "bias": True}
CRITICS = {"sngan": {}, "wgan": WGAN, "sagan": SAGAN | {"hidden": "out"}}
PAIRS = {
    "sngan": (ResNetGenerator, ResNetDiscriminator, {"width": 4}, {"width": 4}),
    "wgan": (ResNetGenerator, ResNetDiscriminator, {"width": 4, "flat": 2}, {"width": 4} | WGAN),
    "sagan": (
        ResNetGenerator,
        ResNetDiscriminator,
        {"width": 4} | SAGAN,
        {"width": 4, "hidden": "out"} | SAGAN,
    ),
    "sndcgan": (
        SNDCGANGenerator,
        SNDCGANDiscriminator,
        {"width": 4, "max_width": 8},
        {"width": 4, "max_width": 8},
    ),
}


def count(network):
    return sum(p.numel() for p in network.parameters())


def pair(name, *, resolution=16, channels=1, classes=0):
    g, d, g_options, d_options = PAIRS[name]
    shared = {
        "resolution": resolution,
        "channels": channels,
        "classes": classes,
        "conditional": classes > 0,
    }
    return g(**shared, **g_options), d(**shared, **d_options)


def labels(classes, n=2):
    return torch.arange(n) % classes if classes else None


@pytest.mark.parametrize(
    ("resolution", "classes", "options", "wanted"),
    [
        (32, 0, {}, 4_276_739),
        (32, 10, {}, 4_304_387),
        (64, 0, {}, 12_220_675),
        (64, 1000, {}, 17_974_915),
        (128, 1000, {}, 41_996_931),
        (32, 0, {"flat": 2}, 1_204_483),
        (32, 10, {"flat": 2}, 1_218_307),
        (128, 1000, SAGAN, 42_078_852),
        (128, 1000, SAGAN | {"attention": ["half"]}, 42_017_412),
    ],
)
def test_generator_counts(resolution, classes, options, wanted):
    with torch.device("meta"):
        assert (
            count(
                ResNetGenerator(
                    resolution=resolution,
                    channels=3,
                    classes=classes,
                    conditional=classes > 0,
                    **options,
                )
            )
            == wanted
        )


@pytest.mark.parametrize(
    ("resolution", "classes", "options", "wanted"),
    [
        (32, 0, {}, 1_053_824),
        (32, 0, {"bias": True}, 1_053_825),
        (32, 10, {}, 1_055_104),
        (64, 0, {}, 10_141_441),
        (64, 1000, {}, 11_165_441),
        (128, 1000, {}, 30_041_857),
        (32, 0, WGAN, 1_053_825),
        (128, 1000, SAGAN | {"hidden": "out"}, 39_463_618),
        (128, 1000, {"hidden": "out", "attention": ["half"]}, 39_448_258),
        (128, 1000, {"hidden": "out"}, 39_443_137),
    ],
)
def test_critic_counts(resolution, classes, options, wanted):
    with torch.device("meta"):
        assert (
            count(
                ResNetDiscriminator(
                    resolution=resolution,
                    channels=3,
                    classes=classes,
                    conditional=classes > 0,
                    **options,
                )
            )
            == wanted
        )


@pytest.mark.parametrize(
    ("resolution", "g", "d"), [(32, 3_828_739, 5_860_865), (48, 5_170_179, 5_871_105)]
)
def test_sndcgan_counts(resolution, g, d):
    with torch.device("meta"):
        assert count(SNDCGANGenerator(resolution=resolution, channels=3)) == g
        assert count(SNDCGANDiscriminator(resolution=resolution, channels=3)) == d


@pytest.mark.parametrize("resolution", SIZES)
@pytest.mark.parametrize("name", PAIRS)
def test_shapes(name, resolution):
    if name == "sagan" and resolution == 8:
        return  # has no level of a quarter; see the refusals below
    for classes, channels in ((0, 4), (3, 1)):
        g, d = pair(name, resolution=resolution, channels=channels, classes=classes)
        x = g.eval()(torch.randn(2, g.z_dim), labels(classes))
        h, w = (resolution, resolution) if isinstance(resolution, int) else resolution
        assert x.shape == (2, channels, h, w) and x.abs().max() <= 1
        features = d.trunk(x, labels(classes))
        assert features.shape == (2, d.feature_dim)
        assert d.head(features, labels(classes)).shape == (2, 1)
        assert torch.equal(
            d.eval()(x, labels(classes)), d.head(d.trunk(x, labels(classes)), labels(classes))
        )


def maps(network, *inputs):
    """(channels, height, width) after each residual block."""
    seen = []
    for module in network.modules():
        if isinstance(module, UpBlock | DownBlock):
            module.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
    network(*inputs)
    return seen


@pytest.mark.parametrize(
    ("resolution", "g", "d"),
    [
        (32, [(256, 8), (256, 16), (256, 32)], [(128, 16), (128, 8), (128, 8), (128, 8)]),
        (
            64,
            [(512, 8), (256, 16), (128, 32), (64, 64)],
            [(64, 32), (128, 16), (256, 8), (512, 4), (1024, 2)],
        ),
        (
            128,
            [(1024, 8), (512, 16), (256, 32), (128, 64), (64, 128)],
            [(64, 64), (128, 32), (256, 16), (512, 8), (1024, 4), (1024, 4)],
        ),
    ],
)
def test_width_tables(resolution, g, d):
    with torch.device("meta"):
        assert maps(ResNetGenerator(resolution=resolution, channels=3), torch.empty(2, 128)) == [
            (c, s, s) for c, s in g
        ]
        x = torch.empty(2, 3, resolution, resolution)
        assert maps(ResNetDiscriminator(resolution=resolution, channels=3), x) == [
            (c, s, s) for c, s in d
        ]


def test_sizes_and_levels_that_do_not_fit_are_refused_with_what_to_type():
    with pytest.raises(ValueError, match="nearest"):
        ResNetGenerator(resolution=30, channels=1)
    with pytest.raises(ValueError, match="nearest"):
        SNDCGANDiscriminator(resolution=600, channels=1)
    with pytest.raises(ValueError, match="give half"):
        ResNetDiscriminator(resolution=8, channels=1, attention=["quarter"])
    with pytest.raises(ValueError, match="8 channels"):
        ResNetDiscriminator(resolution=16, channels=1, width=2, attention=["quarter"])
    with pytest.raises(ValueError, match="width=0"):
        ResNetGenerator(resolution=16, channels=1, width=0)


@pytest.mark.parametrize(
    ("part", "g_channels", "d_channels"),
    [("half", 128, 64), ("quarter", 256, 128), ("eighth", 512, 256)],
)
def test_attention_stands_where_it_is_asked_to(part, g_channels, d_channels):
    """At 128 pixels a quarter is the paper's 32: 256 channels in the generator, 128 in
    the critic.
    """
    side = 128 // {"half": 2, "quarter": 4, "eighth": 8}[part]
    with torch.device("meta"):
        networks = (
            (
                ResNetGenerator(resolution=128, channels=3, attention=[part]),
                torch.empty(2, 128),
                g_channels,
            ),
            (
                ResNetDiscriminator(resolution=128, channels=3, attention=[part]),
                torch.empty(2, 3, 128, 128),
                d_channels,
            ),
        )
        for network, x, channels in networks:
            (layer,) = (m for m in network.modules() if isinstance(m, SelfAttention))
            shapes = []
            layer.register_forward_hook(
                lambda _, __, out, shapes=shapes: shapes.append(tuple(out.shape[1:]))
            )
            network(x)
            assert shapes == [(channels, side, side)]


@pytest.mark.parametrize(
    ("channels", "wanted"), [(64, 5121), (128, 20481), (256, 81921), (384, 184321)]
)
def test_attention_counts(channels, wanted):
    with torch.device("meta"):
        assert count(SelfAttention(channels, spectral=True)) == wanted


@pytest.mark.parametrize("sides", [(4, 4), (6, 10), (7, 7)])
def test_attention_is_identity_at_first_and_then_the_papers_sum(sides):
    attend = SelfAttention(16)
    x = torch.randn(2, 16, *sides)
    assert torch.equal(attend(x), x)
    with torch.no_grad():
        attend.gamma.fill_(0.5)
        query = attend.theta(x).flatten(2)
        key = F.max_pool2d(attend.phi(x), 2).flatten(2)
        value = F.max_pool2d(attend.g(x), 2).flatten(2)
        mixed = torch.zeros(2, 8, query.shape[2])
        for n, place in itertools.product(range(2), range(query.shape[2])):
            weights = torch.stack(
                [query[n, :, place] @ key[n, :, k] for k in range(key.shape[2])]
            ).softmax(0)  # no 1/sqrt(d)
            mixed[n, :, place] = value[n] @ weights
        wanted = x + 0.5 * attend.o(mixed.unflatten(2, sides))
        assert torch.allclose(attend(x), wanted, atol=1e-5)


def test_spectral_norm_of_a_diagonal():
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.diag(torch.tensor([3.0, 1.0]))
    norm = spectral(layer).parametrizations.weight[0]
    norm.u.copy_(torch.ones(2) / 2**0.5)
    for sigma in (2.8635643, 2.9981730, 2.9999774):
        assert (3 / layer.weight[0, 0]).item() == pytest.approx(sigma, rel=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(7, 5),
        lambda: nn.Conv2d(4, 6, 3),
        lambda: nn.ConvTranspose2d(4, 6, 3),
        lambda: nn.Embedding(5, 7),
    ],
)
def test_spectral_norm_finds_the_largest_singular_value(make):
    """Of the weight as (out, rest); a transposed convolution has its outputs second."""
    layer = spectral(make())
    for _ in range(300):
        weight = layer.weight
    matrix = (weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight).flatten(
        1
    )
    assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1, rel=1e-4)


def test_spectral_norm_of_an_orthogonal_matrix_is_one():
    layer = nn.Linear(6, 6)
    nn.init.orthogonal_(layer.weight)
    before = layer.weight.detach().clone()
    assert torch.allclose(spectral(layer).weight, before, atol=1e-6)


def test_u_rests_in_eval_and_moves_once_per_training_pass():
    _, d = pair("sngan")
    norms = [m for m in d.modules() if isinstance(m, SpectralNorm)]
    x = torch.randn(2, 1, 16, 16)
    assert len(norms) == 3 + 3 + 2 + 2 + 1  # convolutions of the four blocks, and the score
    for norm in norms:
        norm.u.copy_(F.normalize(torch.randn_like(norm.u), dim=0))  # far from where it settles
    before = [norm.u.clone() for norm in norms]
    d.eval()(x)
    assert all(torch.equal(norm.u, u) for norm, u in zip(norms, before, strict=True))
    d.train()(x)
    weights = [
        m.parametrizations.weight.original.flatten(1)
        for m in d.modules()
        if hasattr(m, "parametrizations")
    ]
    for norm, u, w in zip(norms, before, weights, strict=True):
        assert torch.allclose(norm.u, F.normalize(w @ F.normalize(u @ w, dim=0), dim=0), atol=1e-5)


def test_gradients_pass_through_sigma_with_u_and_v_held():
    layer = spectral(nn.Linear(4, 3, bias=False)).eval()
    w = layer.parametrizations.weight.original
    u = layer.parametrizations.weight[0].u
    c = torch.randn(3, 4)
    (layer.weight * c).sum().backward()
    v = F.normalize(u @ w, dim=0).detach()
    sigma = u @ w @ v
    wanted = (c - (w * c).sum() / sigma * torch.outer(u, v)) / sigma
    assert torch.allclose(w.grad, wanted, atol=1e-5)


def test_an_eval_pass_can_be_differentiated_after_a_training_pass():
    layer = spectral(nn.Linear(4, 4))
    x = torch.randn(2, 4)
    y = layer.eval()(x)
    layer.train()(x)
    y.sum().backward()
    assert layer.parametrizations.weight.original.grad.isfinite().all()


@pytest.mark.parametrize(("first", "differs"), [(True, True), (False, False)])
def test_only_the_first_block_sees_the_negative_half(first, differs):
    block = DownBlock(2, 4, hidden=4, down=True, first=first, spectral=False, attention=False)
    nn.init.zeros_(block.shortcut.weight)
    x = torch.randn(2, 2, 8, 8)
    assert torch.equal(block(x), block(x.relu())) != differs


def test_the_critic_has_one_such_block_and_it_is_as_wide_inside_as_outside():
    for hidden, inside in (("in", [64, 64, 128, 256, 512]), ("out", [64, 128, 256, 512, 1024])):
        with torch.device("meta"):
            blocks = list(ResNetDiscriminator(resolution=64, channels=3, hidden=hidden).body)
        assert [block.first for block in blocks] == [True, False, False, False, False]
        assert [block.conv1.out_channels for block in blocks] == inside


def test_sum_pooling_is_mean_pooling_times_the_area():
    total = ResNetDiscriminator(resolution=16, channels=1, width=4).eval()
    mean = ResNetDiscriminator(resolution=16, channels=1, width=4, pooling="mean").eval()
    mean.load_state_dict(total.state_dict())
    x = torch.randn(2, 1, 16, 16)
    assert (
        torch.allclose(total.trunk(x), 16 * mean.trunk(x), rtol=1e-4) and total.trunk(x).min() >= 0
    )


def test_shortcuts_in_the_papers_order_give_the_same():
    """The papers convolve 1x1 after doubling, and before halving; here it is done where it is
    cheap.
    """
    up = UpBlock(4, 3, spectral=False, attention=False, classes=0).eval()
    x = torch.randn(2, 4, 6, 6)
    h = up.conv2(up.norm2(up.conv1(double_size(up.norm1(x).relu()))).relu())
    assert torch.allclose(up(x, None), h + up.shortcut(double_size(x)), atol=1e-5)
    down = DownBlock(4, 3, hidden=4, down=True, first=False, spectral=False, attention=False)
    h = down.conv2(down.conv1(x.relu()).relu())
    assert torch.allclose(down(x), F.avg_pool2d(h + down.shortcut(x), 2), atol=1e-5)


@torch.no_grad()
def test_projection_golden():
    d = ResNetDiscriminator(
        resolution=16, channels=1, width=1, classes=2, conditional=True, spectral=False, bias=True
    )
    d.out.weight.copy_(torch.tensor([[2.0, 1.0]]))
    d.out.bias.fill_(0.5)
    d.project.table.weight.copy_(torch.tensor([[9.0, 9.0], [0.5, -1.0]]))
    assert d.head(torch.tensor([[1.0, 2.0]]), torch.tensor([1])).item() == 3.0
    assert torch.linalg.matrix_norm(
        Projection(8, 5, spectral=True).table.weight, 2
    ).item() == pytest.approx(1, rel=0.05)


@torch.no_grad()
def test_conditional_batch_norm_starts_as_batch_norm_and_looks_its_gain_up():
    norm = ConditionalBatchNorm2d(3, 2, eps=2e-5)
    x = torch.randn(4, 3, 5, 5)
    label = torch.tensor([0, 1, 1, 0])
    plain = F.batch_norm(x, None, None, training=True, eps=2e-5)
    assert torch.allclose(norm(x, label), plain, atol=1e-5) and norm.norm.eps == 2e-5
    norm.gain.weight[1], norm.bias.weight[1] = 2.0, -1.0
    wanted = torch.where((label == 1)[:, None, None, None], 2 * plain - 1, plain)
    assert torch.allclose(norm(x, label), wanted, atol=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_the_label_changes_image_and_score(name):
    g, d = pair(name, classes=3)
    with torch.no_grad():  # all gains are alike at first
        for module in g.modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_()
    g = g.eval()
    d = d.eval()
    z = torch.randn(1, 128)
    a = torch.tensor([0])
    b = torch.tensor([1])
    assert not torch.equal(g(z, a), g(z, b)) and not torch.equal(d(g(z, a), a), d(g(z, a), b))
    assert torch.equal(d.trunk(g(z, a), a), d.trunk(g(z, a), b)), (
        "the label enters by projection alone"
    )


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", PAIRS)
def test_double_backward_reaches_every_parameter(name, bf16):
    g, d = pair(name, classes=3)
    for module in [*g.modules(), *d.modules()]:
        if isinstance(module, SelfAttention):
            nn.init.ones_(module.gamma)
    label = labels(3, 4)
    z = torch.randn(4, 128, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        x = g(z, label)
        (slope,) = torch.autograd.grad(x.square().sum(), z, create_graph=True)
        (slope.square().sum() + x.mean()).backward()
        x = x.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(d(x, label).sum(), x, create_graph=True)
        (slope.square().sum() + d(x, label).mean()).backward()
    for network in (g, d):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        bare = [
            key
            for key, p in network.named_parameters()
            if p.ndim > 1 and "table" not in key and p.grad.abs().max() == 0
        ]
        assert not bare


@pytest.mark.parametrize("name", PAIRS)
def test_one_samples_score_does_not_depend_on_the_others(name):
    _, d = pair(name, classes=3)
    x = torch.randn(4, 1, 16, 16)
    label = labels(3, 4)
    assert torch.allclose(d.eval()(x, label)[:1], d(x[:1], label[:1]), atol=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_a_copy_in_eval_mode_gives_the_same_and_does_not_move(name):
    g, _ = pair(name, classes=3)
    shadow = copy.deepcopy(g).eval().requires_grad_(False)
    state = copy.deepcopy(shadow.state_dict())
    z = torch.randn(2, 128)
    assert torch.equal(shadow(z, labels(3)), g.eval()(z, labels(3)))
    assert all(torch.equal(value, state[key]) for key, value in shadow.state_dict().items())


def test_initial_weights_follow_the_papers():
    torch.manual_seed(0)
    block = DownBlock(32, 64, hidden=64, down=True, first=False, spectral=False, attention=False)
    for layer, fans, gain in ((block.conv1, 9 * 96, 2**0.5), (block.shortcut, 96, 1)):
        assert (
            layer.weight.abs().max().item() == pytest.approx(gain * (6 / fans) ** 0.5, rel=0.01)
            and not layer.bias.any()
        )
    g = SNDCGANGenerator(resolution=32, channels=3)
    assert g.start.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert g.norms[0].num_features == 4 * 4 * 512 and g.norms[1].num_features == 256
    assert {
        m.negative_slope
        for m in SNDCGANDiscriminator(resolution=8, channels=1).modules()
        if isinstance(m, nn.LeakyReLU)
    } == {0.1}


@pytest.mark.parametrize(
    ("model", "objective", "betas", "lrs"),
    [
        ("sngan", "Hinge", [0.0, 0.9], (2e-4, 2e-4)),
        ("wgan_resnet", "Wasserstein", [0.0, 0.9], (2e-4, 2e-4)),
        ("sagan", "Hinge", [0.0, 0.9], (1e-4, 4e-4)),
        ("sndcgan", "NonSaturating", [0.5, 0.999], (2e-4, 2e-4)),
    ],
)
def test_a_model_brings_its_papers_partners(model, objective, betas, lrs):
    config = frozen(f"model={model}")
    assert config["loss"]["objective"]["_target_"].endswith("." + objective)
    assert config["optimizer"]["g"]["betas"] == betas
    assert (config["optimizer"]["g"]["lr"], config["optimizer"]["d"]["lr"]) == lrs
    assert ("gp" in config["loss"]["penalties"]) == (model == "wgan_resnet")


def test_the_command_line_wins_over_a_models_partners():
    assert frozen("model=sngan", "loss=lsgan")["loss"]["objective"]["_target_"].endswith(
        "LeastSquares"
    )


@pytest.mark.parametrize(
    ("experiment", "steps", "kimg", "half"),
    [
        ("sngan_cifar10", 250_000, 16_000, 1e-4),
        ("sngan_projection_cifar10", 250_000, 16_000, 1e-4),
        ("wgan_resnet_cifar10", 500_000, 32_000, 1e-4),
    ],
)
def test_learning_rates_end_with_the_run(experiment, steps, kimg, half):
    from gancli.optimizers import lr_factor

    config = frozen(f"experiment={experiment}")
    assert (
        config["trainer"]["steps"] == steps
        and config["loss"]["n_critic"] == 5
        and config["model"]["generator_batch"] == 2
    )
    g = config["optimizer"]["g"]
    assert steps * config["trainer"]["batch_size"] == 1000 * g["end_kimg"] == 1000 * kimg
    keys = ("start_kimg", "end_kimg", "final", "step_kimg", "gamma", "warmup_kimg")
    assert g["lr"] * lr_factor(
        500 * kimg, kind=g["schedule"], **{key: g[key] for key in keys}
    ) == pytest.approx(half)
