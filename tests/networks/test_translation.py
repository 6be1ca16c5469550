"""Networks from image to image: counts of REFERENCE, the contract of sizes, tiles and noise,
patches and holes.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gancli.networks.inpainting import ContextDiscriminator, ContextEncoder, crop_centre
from gancli.networks.patchgan import PatchDiscriminator
from gancli.networks.srgan import RRDBNet, SRResNet
from gancli.networks.styletransfer import TransformerNet
from gancli.networks.translation import Mirror, PresentBatchNorm2d, ResNetGenerator, UNetGenerator

RGB = {"channels_in": 3, "channels_out": 3}
TINY = {  # name -> a small generator of 2 channels into 2
    "resnet": lambda: ResNetGenerator(channels_in=2, channels_out=2, width=4, blocks=1),
    "resnet_batch": lambda: ResNetGenerator(
        channels_in=2, channels_out=2, width=4, blocks=1, norm="batch"
    ),
    "resnet_none": lambda: ResNetGenerator(
        channels_in=2, channels_out=2, width=4, blocks=1, downs=1, norm="none", noise_channels=1
    ),
    "unet": lambda: UNetGenerator(channels_in=2, channels_out=2, width=4, downs=3),
    "unet_quiet": lambda: UNetGenerator(
        channels_in=2, channels_out=2, width=4, downs=3, noisy=False
    ),
    "unet_instance": lambda: UNetGenerator(
        channels_in=2,
        channels_out=2,
        width=4,
        downs=3,
        norm="instance",
        dropout=0.0,
        noise_channels=2,
    ),
    "unet_none": lambda: UNetGenerator(
        channels_in=2, channels_out=2, width=4, downs=2, norm="none", dropout=0.0
    ),
    "srresnet": lambda: SRResNet(channels=2, width=4, blocks=1, scale=2),
    "rrdb": lambda: RRDBNet(channels=2, width=4, growth=2, blocks=1, scale=2),
    "centre": lambda: ContextEncoder(
        channels_in=2, channels_out=2, resolution=[16, 32], bottleneck=8, width=4
    ),
    "free": lambda: ContextEncoder(
        channels_in=2, channels_out=2, resolution=16, bottleneck=8, width=4, hole="free"
    ),
    "styles": lambda: TransformerNet(channels_in=2, channels_out=2, width=4, blocks=1),
}


def count(network):
    return sum(p.numel() for p in network.parameters())


def size_for(g):
    """(height, width), a rectangle where the network takes one"""
    if g.size is not None:
        return g.size
    side = -(-max(g.smallest, 8) // g.multiple) * g.multiple
    return side, side + g.multiple


@pytest.mark.parametrize(
    ("cls", "options", "parameters"),
    [
        (ResNetGenerator, RGB, 11_378_179),
        (ResNetGenerator, RGB | {"blocks": 6}, 7_837_699),
        (ResNetGenerator, RGB | {"norm": "batch"}, 11_383_427),
        (ResNetGenerator, RGB | {"affine": True}, 11_388_675),
        (UNetGenerator, RGB, 54_413_955),
        (UNetGenerator, RGB | {"downs": 7}, 41_828_995),
        (PatchDiscriminator, {"channels": 6}, 2_768_705),
        (PatchDiscriminator, {"channels": 3, "norm": "instance"}, 2_764_737),
        (PatchDiscriminator, {"channels": 6, "layers": 0}, 9_024),
        (ContextEncoder, RGB, 71_130_531),
        (ContextEncoder, RGB | {"bottleneck": 100}, 7_221_231),
        (ContextDiscriminator, {"channels": 3}, 2_766_529),
        (TransformerNet, {}, 1_679_235),
    ],
)
def test_counts(cls, options, parameters):
    with torch.device("meta"):
        assert count(cls(**options)) == parameters


def test_the_papers_shapes():
    with torch.device("meta"):
        x = torch.empty(1, 3, 256, 256)
        assert (
            ResNetGenerator(**RGB)(x).shape
            == UNetGenerator(**RGB)(x).shape
            == TransformerNet()(x).shape
            == x.shape
        )
        assert PatchDiscriminator(channels=6)(torch.cat([x, x], 1)).shape == (1, 1, 30, 30)
        encoder = ContextEncoder(**RGB).eval()
        small = torch.empty(1, 3, 128, 128)
        assert encoder.patch(small).shape == (1, 3, 64, 64) and encoder(small).shape == small.shape


@pytest.mark.parametrize("name", TINY)
def test_every_generator_keeps_the_contract(name):
    torch.manual_seed(0)
    g = TINY[name]()
    h, w = size_for(g)
    x = torch.rand(2, 2, h, w) * 2 - 1
    y = g(x)
    assert (
        y.shape == (2, 2, g.scale * h, g.scale * w)
        and y.isfinite().all()
        and (g.channels_in, g.channels_out) == (2, 2)
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert g(x).isfinite().all()
    with torch.device("meta"):
        assert copy.deepcopy(g).to("meta").eval()(torch.empty(1, 2, h, w)).shape == y[:1].shape
    y.float().square().mean().backward()
    assert all(p.grad is not None for p in g.parameters())


@pytest.mark.parametrize("name", TINY)
def test_gradients_of_gradients(name):
    g = TINY[name]()
    x = torch.rand(2, 2, *size_for(g)).requires_grad_()
    (grad,) = torch.autograd.grad(g(x).square().sum(), x, create_graph=True)
    grad.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in g.parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in g.parameters())


@pytest.mark.parametrize("name", TINY)
def test_an_image_does_not_depend_on_its_company(name):
    g = TINY[name]().eval()
    x = torch.rand(3, 2, *size_for(g))
    noise = None
    if g.noise_channels:
        noise = torch.randn(3, g.noise_channels, *x.shape[2:])
    torch.manual_seed(0)
    together = g(x, noise)[:1]
    torch.manual_seed(0)
    alone = g(x[:1], None if noise is None else noise[:1])
    if (
        name == "unet"
    ):  # its dropout draws another mask for another batch; what its norms do is tested below
        assert not torch.equal(together, alone)
    else:
        assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("name", TINY)
def test_tiles_give_the_whole_images_pixels_where_that_is_promised(name):
    torch.manual_seed(0)
    g = TINY[name]().eval()
    if not g.tileable:
        assert g.reach is None
        return
    for p in g.parameters():
        if p.ndim == 4:  # initial weights are so small that what is far away would hardly count
            nn.init.kaiming_normal_(p)
    unit = g.multiple
    margin = -(-g.reach // g.multiple) * g.multiple
    side = -(-max(g.smallest, 8) // unit) * unit
    x = torch.rand(1, 2, 2 * margin + 3 * side, 2 * margin + side)
    noise = torch.randn(1, g.noise_channels, *x.shape[2:]) if g.noise_channels else None
    cut = slice(side, side + 2 * margin + side)
    whole = g(x, noise)
    part = g(x[:, :, cut], None if noise is None else noise[:, :, cut])
    kept = part[:, :, g.scale * margin : -g.scale * margin]
    top = g.scale * (side + margin)
    assert (
        torch.allclose(whole[:, :, top : top + kept.shape[2]], kept, atol=1e-5)
        and kept.std() > 0.01
    )


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet", (8, 10)),
        ("resnet", (4, 4)),
        ("unet", (8, 12)),
        ("free", (12, 12)),
        ("centre", (16, 16)),
        ("styles", (4, 8)),
    ],
)
def test_sizes_that_do_not_fit_are_refused(name, size):
    with pytest.raises(ValueError, match="pixels"):
        TINY[name]()(torch.rand(1, 2, *size))


@pytest.mark.parametrize(
    "build",
    [
        lambda: ResNetGenerator(**RGB, blocks=65),
        lambda: ResNetGenerator(**RGB, downs=6),
        lambda: ResNetGenerator(channels_in=0, channels_out=1),
        lambda: UNetGenerator(**RGB, downs=11),
        lambda: UNetGenerator(**RGB, dropout=1.0),
        lambda: PatchDiscriminator(channels=3, layers=9),
        lambda: ContextEncoder(**RGB, resolution=8),
        lambda: ContextEncoder(**RGB, resolution=100, bottleneck=0),
        lambda: ContextEncoder(channels_in=1, channels_out=3),
        lambda: TransformerNet(styles=0),
        lambda: TransformerNet(blocks=65),
    ],
)
def test_what_cannot_be_built_says_so(build):
    with torch.device("meta"), pytest.raises(ValueError, match=r"\w"):
        build()


def test_mirrored_borders_are_torchs():
    x = torch.rand(1, 2, 5, 7)
    for pixels in (1, 3, 4):
        assert torch.equal(Mirror(pixels)(x), F.pad(x, (pixels,) * 4, mode="reflect"))


def test_noise_is_drawn_where_none_is_given():
    g = TINY["resnet_none"]().eval()
    x = torch.rand(1, 2, 8, 8)
    torch.manual_seed(1)
    a = g(x)
    b = g(x)
    torch.manual_seed(1)
    assert not torch.equal(a, b) and torch.equal(a, g(x))
    noise = torch.randn(1, 1, 8, 8)
    assert torch.equal(g(x, noise), g(x, noise)) and not torch.equal(g(x, noise), g(x, -noise))


def test_the_u_nets_noise_is_its_dropout_also_in_eval():
    torch.manual_seed(0)
    x = torch.rand(2, 2, 16, 16)
    noisy = TINY["unet"]()
    quiet = TINY["unet_quiet"]()
    assert not noisy.state_dict().keys() & {"running_mean"} and not any(
        "running" in key for key in noisy.state_dict()
    )
    assert any("running_mean" in key for key in quiet.state_dict())
    for _ in range(3):
        quiet(x)
    noisy.eval()
    quiet.eval()
    assert not torch.equal(noisy(x), noisy(x)) and torch.equal(quiet(x), quiet(x))
    torch.manual_seed(3)
    a = noisy(x)
    torch.manual_seed(3)
    assert torch.equal(a, noisy(x))


def test_present_batch_norm_in_eval_is_training_with_one_image():
    norm = PresentBatchNorm2d(3)
    nn.init.normal_(norm.weight)
    x = torch.randn(2, 3, 4, 4)
    alone = torch.cat([norm(image[None]) for image in x])
    assert not torch.allclose(norm(x), alone, atol=1e-3)
    assert torch.allclose(norm.eval()(x), alone, atol=1e-5)


def test_initial_weights():
    torch.manual_seed(0)
    g = UNetGenerator(channels_in=1, channels_out=1, width=16, downs=5)
    assert g.down[4][1].weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert (
        g.up[0][2].weight.mean().item() == pytest.approx(1, abs=0.01)
        and g.end[1].bias.abs().max() == 0
    )


@pytest.mark.parametrize(
    ("layers", "reach", "scores"),
    [(0, 1, 256), (1, 16, 126), (2, 34, 62), (3, 70, 30), (4, 142, 14), (5, 286, 6)],
)
def test_patches_have_the_papers_sizes(layers, reach, scores):
    d = PatchDiscriminator(channels=1, width=1, max_width=2, layers=layers, norm="none").double()
    for p in d.parameters():
        p.data.abs_()  # so that nothing cancels
    assert d(torch.rand(1, 1, 256, 256, dtype=torch.double)).shape == (1, 1, scores, scores)
    x = torch.rand(1, 1, 480, 480, dtype=torch.double).requires_grad_()
    row = 15 if layers == 3 else d(x).shape[2] // 2
    (grad,) = torch.autograd.grad(d(x)[0, 0, row, row], x)
    rows = grad[0, 0].abs().sum(1).nonzero().flatten()
    assert len(rows) == reach
    if layers == 3:
        assert (rows[0].item(), rows[-1].item()) == (97, 166)


@pytest.mark.parametrize("norm", ["batch", "instance", "layer", "none"])
@pytest.mark.parametrize("spectral", [False, True])
def test_patch_critics_train(norm, spectral):
    d = PatchDiscriminator(channels=2, width=4, layers=2, norm=norm, spectral=spectral)
    x = torch.rand(2, 2, 16, 20).requires_grad_()
    hidden = d.trunk(x)
    assert hidden.shape[1] == d.feature_dim and d.head(hidden).shape == (2, 1, 2, 3)
    (grad,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    grad.square().sum().backward()
    assert any("original" in name for name, _ in d.named_parameters()) == spectral
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert copy.deepcopy(d).eval()(x).isfinite().all()
    if norm != "batch":  # what a gradient penalty needs
        d.eval()
        assert torch.allclose(d(x)[:1], d(x[:1]), atol=1e-5)


def test_patch_critics_name_the_least_size():
    with pytest.raises(ValueError, match="24"):
        PatchDiscriminator(channels=1, width=2)(torch.rand(1, 1, 16, 16))
    assert PatchDiscriminator(channels=1, width=2)(torch.rand(2, 1, 24, 24)).shape == (2, 1, 1, 1)


def test_a_central_hole_is_filled_and_nothing_else():
    torch.manual_seed(0)
    g = TINY["centre"]().eval()
    x = torch.rand(2, 2, 16, 32)
    y = g(x)
    patch = g.patch(x)
    assert torch.equal(crop_centre(y), patch) and patch.shape == (2, 2, 8, 16)
    outside = torch.ones(16, 32, dtype=torch.bool)
    outside[4:12, 8:24] = False
    assert torch.equal(y[..., outside], x[..., outside]) and not torch.equal(
        crop_centre(y), crop_centre(x)
    )


@pytest.mark.parametrize("resolution", [16, 28, [16, 32], 64])
@pytest.mark.parametrize("hole", ["centre", "free"])
def test_context_pairs_at_other_sizes(resolution, hole):
    options = {"resolution": resolution, "width": 4, "max_width": 8, "hole": hole}
    g = ContextEncoder(channels_in=4, channels_out=3, bottleneck=8, **options).eval()
    d = ContextDiscriminator(channels=3, **options)
    h, w = (resolution, resolution) if isinstance(resolution, int) else resolution
    x = torch.rand(2, 4, h, w)
    y = g(x)
    assert y.shape == (2, 3, h, w)
    hidden = d.trunk(y)
    assert hidden.flatten(1).shape == (2, d.feature_dim) and d.head(hidden).shape == (2, 1)


def test_the_critic_of_a_central_hole_sees_nothing_else():
    d = ContextDiscriminator(channels=1, resolution=32, width=4, norm="spectral")
    x = torch.rand(1, 1, 32, 32).requires_grad_()
    (grad,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    grad.square().sum().backward()
    inside = grad.detach().clone()
    crop_centre(inside).zero_()
    assert inside.abs().max() == 0 and crop_centre(grad).abs().max() > 0


def test_styles_are_chosen_and_mixed():
    torch.manual_seed(0)
    g = TransformerNet(channels_in=1, channels_out=1, width=4, blocks=1, styles=3).eval()
    with torch.no_grad():
        for p in g.parameters():
            p.add_(0.3 * torch.randn_like(p))
    x = torch.rand(1, 1, 8, 12).expand(2, -1, -1, -1)
    y = g(x, style=torch.tensor([0, 2]))
    assert not torch.allclose(y[0], y[1])
    pure = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])
    assert torch.allclose(g(x, style=pure), y, atol=1e-6)
    norm = g.body[0].first.norm
    h = torch.randn(1, 16, 4, 4)
    one, two, mixed = (
        norm(h, torch.tensor([shares])) for shares in ([1.0, 0, 0], [0, 0, 1.0], [0.25, 0, 0.75])
    )
    assert torch.allclose(mixed, 0.25 * one + 0.75 * two, atol=1e-5) and not torch.allclose(
        one, two
    )
    with pytest.raises(AssertionError):
        g(x)
