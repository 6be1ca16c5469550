"""Strided convolutions whose weight gradients are matrix products, against the library's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gancli.networks import strided
from gancli.networks.dcgan import DCGANDiscriminator, DCGANGenerator


@pytest.fixture
def products(monkeypatch):
    """Takes the products for maps of any size, on any processor."""
    monkeypatch.setattr(strided, "multiplying_pays", lambda *args: True)
    monkeypatch.setattr(strided, "LEAST_CHANNELS_FORWARD", 1)


def make_image(*shape):
    torch.manual_seed(0)
    return torch.randn(*shape, dtype=torch.double, requires_grad=True)


def make_layers():
    """Our layer, the library's function of the same weights, and the shape of an image."""
    halving = strided.HalvingConv2d(3, 5, bias=True)
    doubling = strided.DoublingConv2d(3, 5, bias=True)
    return {
        "halves": (halving, F.conv2d, (2, 3, 8, 6)),
        "halves an odd side": (halving, F.conv2d, (2, 3, 7, 9)),
        "doubles": (doubling, F.conv_transpose2d, (2, 3, 4, 3)),
    }


@pytest.mark.parametrize("name", make_layers())
def test_products_are_the_convolutions_in_bf16(name, products):
    layer, convolve, shape = make_layers()[name]
    x = make_image(*shape).detach().bfloat16().requires_grad_()
    y = layer(x)
    weight = layer.weight.detach().bfloat16().requires_grad_()
    expected = convolve(x, weight, layer.bias.bfloat16(), stride=2, padding=1)
    assert y.dtype == torch.bfloat16 and y.shape == expected.shape
    torch.testing.assert_close(y, expected, rtol=0.02, atol=0.02)
    up = torch.randn_like(expected)
    got = torch.autograd.grad(y, [x, layer.weight], up)
    wanted = torch.autograd.grad(expected, [x, weight], up)
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours.float(), theirs.float(), rtol=0.02, atol=0.05)


@pytest.mark.parametrize(
    ("function", "convolve", "shape", "kernel"),
    [
        (strided.Halve, F.conv2d, (2, 2, 6, 5), (3, 2, 4, 4)),
        (strided.Double, F.conv_transpose2d, (2, 2, 3, 2), (2, 3, 4, 4)),
    ],
)
def test_first_and_second_gradients_are_exact(function, convolve, shape, kernel, products):
    x = make_image(*shape)
    weight = make_image(*kernel)
    up = torch.randn_like(convolve(x, weight, stride=2, padding=1))
    found = []
    for y in (function.apply(x, weight), convolve(x, weight, stride=2, padding=1)):
        first = torch.autograd.grad(y, [x, weight], up, retain_graph=True)
        (of_x,) = torch.autograd.grad(y, x, up, create_graph=True)  # as a penalty has it
        second = torch.autograd.grad(of_x.square().sum(), weight)
        found.append([y, *first, *second])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_rule_of_shapes_decides(monkeypatch):
    monkeypatch.setattr(strided, "is_bf16_without_tiles", lambda: True)
    x = torch.zeros(8, 64, 16, 16, requires_grad=True)
    wide = strided.HalvingConv2d(64, 512, bias=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = [
            wide(x),
            wide(x[:4]),
            wide(x.repeat(1, 1, 2, 1)),
            strided.HalvingConv2d(32, 1024, bias=False)(x[:, :32]),
        ]
    outputs.append(wide(x))  # in fp32
    names = [type(y.grad_fn).__name__ for y in outputs]
    assert names == ["HalveBackward", *["ConvolutionBackward0"] * 4]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert wide(x).dtype == torch.bfloat16  # by the library: nothing is differentiated


@pytest.mark.parametrize("norm", ["batch", "none", "spectral", "instance"])
def test_dcgan_learns_the_same_by_products(norm, products, monkeypatch):
    torch.manual_seed(0)
    generator = DCGANGenerator(resolution=16, channels=1, z_dim=4, width=4, norm=norm)
    discriminator = DCGANDiscriminator(resolution=16, channels=1, width=4, norm=norm)
    z = torch.randn(4, 4)
    found = []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr(strided, "multiplying_pays", lambda *args: False)
        for net in (generator, discriminator):
            net.zero_grad()
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            score = discriminator(generator(z)).float().sum()
        score.backward()
        weights = [*generator.parameters(), *discriminator.parameters()]
        found.append(nn.utils.parameters_to_vector(p.grad for p in weights))
    ours, theirs = found
    assert (ours - theirs).norm() < 0.05 * theirs.norm()


def test_activations_in_place_change_no_bit():
    torch.manual_seed(0)
    net = DCGANDiscriminator(resolution=16, channels=1, width=4)
    apart = DCGANDiscriminator(resolution=16, channels=1, width=4)
    apart.load_state_dict(net.state_dict())
    activations = [module for module in apart.modules() if isinstance(module, nn.LeakyReLU)]
    assert activations and all(module.inplace for module in activations)
    for module in activations:
        module.inplace = False
    gradients = []
    for each in (net, apart):
        x = torch.linspace(-1, 1, 4 * 256).reshape(4, 1, 16, 16).requires_grad_()
        (of_x,) = torch.autograd.grad(each(x).sum(), x, create_graph=True)
        each.zero_grad()
        of_x.square().sum().backward()
        gradients.append([p.grad for p in each.parameters() if p.grad is not None])
    assert all(map(torch.equal, *gradients))


def compare_gradients(y, expected, *inputs):
    up = torch.randn_like(expected)
    for x in inputs:
        got, wanted = (torch.autograd.grad(out, x, up, retain_graph=True) for out in (y, expected))
        torch.testing.assert_close(got, wanted)


def test_a_labelled_layer_is_the_convolution_of_an_image_with_planes():
    layer = strided.LabelledHalvingConv2d(3, 4, 5).double()
    x, label = make_image(2, 3, 8, 6), torch.tensor([3, 1])

    def convolve(x):
        planes = F.one_hot(label, 4).to(x.dtype)[:, :, None, None].expand(-1, -1, 8, 6)
        return F.conv2d(torch.cat([x, planes], 1), layer.weight, stride=2, padding=1)

    y, expected = layer(x, label), convolve(x)
    torch.testing.assert_close(y, expected)
    compare_gradients(y, expected, x, layer.weight)
    # As a gradient penalty needs it: the weight's gradient of the image's gradient.
    squares = [
        torch.autograd.grad(out.square().sum(), x, create_graph=True)[0].square().sum()
        for out in (layer(x, label), convolve(x))
    ]
    got, wanted = (torch.autograd.grad(square, layer.weight)[0] for square in squares)
    torch.testing.assert_close(got, wanted)


def test_a_labelled_layer_takes_several_labels_of_an_image():
    layer = strided.LabelledHalvingConv2d(1, 3, 2)
    x = torch.randn(1, 1, 8, 8)
    both, first, second = (
        layer(x, torch.tensor([hot])) for hot in ([1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0])
    )
    none = layer(x, torch.zeros(1, 3))
    torch.testing.assert_close(both - none, first - none + second - none)


@pytest.mark.parametrize("bias", [True, False])
def test_the_first_map_is_the_transposed_convolution_of_a_pixel(bias):
    layer = strided.UnfoldingConv2d(5, 3, (4, 6), bias=bias).double()
    z = make_image(2, 5, 1, 1)
    y, expected = layer(z), F.conv_transpose2d(z, layer.weight, layer.bias)
    torch.testing.assert_close(y, expected)
    compare_gradients(y, expected, z, layer.weight)
