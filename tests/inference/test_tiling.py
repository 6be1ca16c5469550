"""Any size goes through a network: padded, in tiles that leave no seam, shrunk where nothing else
is left, and around holes.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from gancli.data.derived import fill_holes
from gancli.errors import UserError
from gancli.inference.tiling import (
    FAR,
    Way,
    choose_way,
    complete,
    compute_context,
    cut,
    is_noisy,
    is_tileable,
    make_pieces,
    mirror_indices,
    pad_side,
)
from gancli.networks.inpainting import ContextEncoder
from gancli.networks.srgan import RRDBNet, SRResNet
from gancli.networks.styletransfer import TransformerNet
from gancli.networks.translation import ResNetGenerator, UNetGenerator

BOTH = {"channels_in": 3, "channels_out": 3}


def settled(network: nn.Module) -> nn.Module:
    """As after training: batch norms have met something, and nothing is zero."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
    return network.eval().requires_grad_(False)


def whole(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    return complete({"a": image}, network, lambda inputs: network(inputs["a"]))


def assembled(network: nn.Module, inputs: dict, way: Way, translate=None) -> torch.Tensor:
    """All parts in their places; a pixel that no part covers stays NaN, and none may be covered
    twice.
    """
    height, width = inputs["a"].shape[2:]
    canvas = torch.full((3, network.scale * height, network.scale * width), float("nan"))
    for top, left, part in make_pieces(
        inputs, network, translate or (lambda window: network(window["a"])), way
    ):
        place = canvas[:, top : top + part.shape[1], left : left + part.shape[2]]
        assert part.shape == place.shape and place.isnan().all()
        place.copy_(part)
    return canvas


# tiles


TILED = {
    "resnet": lambda: ResNetGenerator(**BOTH, width=4, blocks=1, norm="batch", output="linear"),
    "unet": lambda: UNetGenerator(**BOTH, width=4, downs=3, noisy=False, output="linear"),
    "srresnet": lambda: SRResNet(channels=3, width=4, blocks=2, scale=2),
    "base": lambda: SRResNet(channels=3, width=4, blocks=1, scale=4, norm="none", base="bicubic"),
    "rrdb": lambda: RRDBNet(channels=3, width=4, growth=2, blocks=1, scale=2),
    "encoder": lambda: ContextEncoder(
        **BOTH, resolution=16, bottleneck=8, width=4, hole="free", output="linear"
    ),
}


@pytest.mark.parametrize("name", TILED)
@pytest.mark.parametrize("more", [0, 1])
def test_tiles_make_what_the_whole_image_makes(name, more):
    network = settled(TILED[name]())
    context = compute_context(network)
    multiple = network.multiple
    core = multiple * (1 + more) * 2
    size = (
        3 * core + multiple + 1,
        2 * context + 2 * core + 3,
    )  # some tiles have neighbours on all sides, and the last ones are cut
    image = torch.rand(1, 3, *size) * 2 - 1
    way = choose_way(network, size, tile=core + 2 * context, max_size=None)
    assert (way.core, way.context, way.size) == (core, context, size)
    want = whole(network, image)[0]
    assert want.std() > 1e-2
    torch.testing.assert_close(assembled(network, {"a": image}, way), want, atol=1e-5, rtol=1e-5)


def test_too_small_a_context_would_show():
    """Or the test above could not fail."""
    network = settled(TILED["resnet"]())
    image = torch.rand(1, 3, 40, 200) * 2 - 1
    way = choose_way(network, (40, 200), tile=8 + 2 * compute_context(network), max_size=None)
    wrong = assembled(network, {"a": image}, Way(way.size, way.core, 8))
    assert (wrong - whole(network, image)[0]).abs().max() > 1e-3


def test_of_the_deepest_network_what_is_far_away_counts_for_nothing():
    """ESRGAN's 351 pixels of reach would leave nothing of a tile."""
    network = settled(RRDBNet(channels=3, width=6, growth=4, blocks=23, scale=1))
    assert network.reach > 5 * FAR and compute_context(network) == FAR
    image = torch.rand(1, 3, 12, 6 * FAR) * 2 - 1
    want = whole(network, image)[0]
    got = assembled(
        network, {"a": image}, choose_way(network, (12, 6 * FAR), tile=4 * FAR, max_size=None)
    )
    torch.testing.assert_close(got, want, atol=1e-5 * want.abs().max().item(), rtol=0)


def test_what_cannot_be_tiled():
    assert not is_tileable(ResNetGenerator(**BOTH, width=4, blocks=1)), "instance norm"
    assert not is_tileable(
        ResNetGenerator(**BOTH, width=4, blocks=1, norm="none", noise_channels=1)
    ), "noise would differ at the seams"
    assert not is_tileable(TransformerNet(width=4)) and not is_tileable(
        UNetGenerator(**BOTH, width=4, downs=3)
    )
    assert is_noisy(UNetGenerator(**BOTH, width=4, downs=3)) and not is_noisy(
        UNetGenerator(**BOTH, width=4, downs=3, noisy=False)
    )
    assert is_noisy(ResNetGenerator(**BOTH, width=4, blocks=1, noise_channels=2))
    assert not is_noisy(ResNetGenerator(**BOTH, width=4, blocks=1))


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (ResNetGenerator(**BOTH, width=2, blocks=1), "sees whole images only"),
        (
            ResNetGenerator(**BOTH, width=2, blocks=1, norm="none", noise_channels=1),
            "noise is drawn for a whole image",
        ),
        (ContextEncoder(**BOTH, resolution=16, bottleneck=4, width=2), "takes 16x16 pixels only"),
        (
            ResNetGenerator(**BOTH, width=2, blocks=1, norm="batch"),
            "tile=33 is too small: 28 pixels on each side",
        ),
    ],
)
def test_a_tile_that_cannot_be_is_refused(network, said):
    with pytest.raises(UserError, match="tile=33") as caught:
        choose_way(network, (500, 500), tile=33, max_size=None)
    assert said in caught.value.message


def test_the_hint_for_a_tile_that_is_too_small_is_one_that_works():
    network = ResNetGenerator(**BOTH, width=2, blocks=1, norm="batch")
    with pytest.raises(UserError) as caught:
        choose_way(network, (500, 500), tile=3, max_size=None)
    assert (
        choose_way(
            network, (500, 500), tile=int(caught.value.hint.split()[1].strip(",")), max_size=None
        ).core
        > 0
    )


# which way


def test_the_way_follows_from_the_size():
    tiles = SRResNet(channels=3, width=2, blocks=1, scale=4)
    instance = ResNetGenerator(**BOTH, width=2, blocks=1)
    context = compute_context(tiles)
    assert choose_way(tiles, (100, 400), tile="auto", max_size=800) == Way((100, 400)), (
        "800 x 800 in its output, whatever their shape"
    )
    assert choose_way(tiles, (101, 400), tile="auto", max_size=800) == Way(
        (101, 400), 200 - 2 * context, context
    )
    assert choose_way(tiles, (9000, 9000), tile="auto", max_size=None) == Way((9000, 9000))
    assert choose_way(tiles, (400, 400), tile="off", max_size=800) == Way((200, 200))
    assert choose_way(tiles, (400, 90), tile=100, max_size=800).core == 100 - 2 * context
    assert choose_way(tiles, (100, 90), tile=100, max_size=8) == Way((100, 90)), (
        "one tile is enough"
    )
    assert choose_way(instance, (3000, 4000), tile="auto", max_size=1536) == Way((1330, 1773))
    assert choose_way(instance, (1, 10**6), tile="auto", max_size=100) == Way((1, 2500)), (
        "padded to 8 rows, twice the pixels at most"
    )


def test_reach_that_leaves_no_tile_shrinks():
    network = UNetGenerator(**BOTH, width=2, downs=8, noisy=False)
    assert is_tileable(network) and choose_way(
        network, (4000, 4000), tile="auto", max_size=1536
    ) == Way((1536, 1536))


# padding


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_mirrored_is_numpys_reflect_however_far(n):
    want = np.pad(np.arange(n), (20, 30), mode="reflect")
    assert mirror_indices(n, -20, n + 30).tolist() == want.tolist()


def test_a_window_within_the_image_is_just_that():
    x = torch.rand(1, 2, 9, 8)
    torch.testing.assert_close(cut({"a": x}, (2, 5), (0, 8))["a"], x[:, :, 2:5], rtol=0, atol=0)
    torch.testing.assert_close(
        cut({"a": x}, (-1, 5), (6, 9))["a"],
        x[:, :, [1, 0, 1, 2, 3, 4]][..., [6, 7, 6]],
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: ResNetGenerator(**BOTH, width=2, blocks=1),
        lambda: UNetGenerator(**BOTH, width=2, downs=5),
        lambda: SRResNet(channels=3, width=2, blocks=1),
        lambda: TransformerNet(width=2, blocks=1),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (33, 17), (64, 64), (5, 200)])
def test_any_size_comes_out_at_its_size(make, size):
    network = settled(make())
    seen = []

    def translate(inputs):
        seen.append(tuple(inputs["a"].shape[2:]))
        return network(inputs["a"])

    made = assembled(
        network,
        {"a": torch.rand(1, 3, *size)},
        choose_way(network, size, tile="auto", max_size=1536),
        translate,
    )
    assert made.isfinite().all()
    assert seen == [tuple(pad_side(side, network) for side in size)]
    assert all(side >= network.smallest and side % network.multiple == 0 for side in seen[0])


def test_what_fits_is_not_touched():
    network = settled(UNetGenerator(**BOTH, width=2, downs=3, noisy=False))
    image = torch.rand(1, 3, 16, 24)
    torch.testing.assert_close(whole(network, image), network(image), rtol=0, atol=0)


# shrunk, and holes


def test_a_shrunk_image_comes_back_at_its_size_and_alike():
    network = ResNetGenerator(**BOTH, width=2, blocks=1)
    seen = []
    ramp = torch.linspace(-1, 1, 90).expand(1, 3, 60, 90)

    def translate(inputs):
        seen.append(tuple(inputs["a"].shape[2:]))
        return inputs["a"]

    way = choose_way(network, (60, 90), tile="auto", max_size=40)
    made = assembled(network, {"a": ramp}, way, translate)
    assert way == Way((32, 48)) and seen == [(32, 48)]
    torch.testing.assert_close(made[:, 9:-9, 9:-9], ramp[0, :, 9:-9, 9:-9], atol=0.02, rtol=0)


def test_around_a_hole_a_shrunk_image_keeps_its_own_pixels():
    network = ContextEncoder(**BOTH, resolution=16, bottleneck=4, width=2, hole="free")
    image = torch.rand(1, 3, 50, 70)
    mask = torch.zeros(1, 1, 50, 70)
    mask[:, :, 11:23, 40:61] = 1

    def translate(inputs):
        torch.testing.assert_close(
            inputs["a"], fill_holes(inputs["a"], inputs["mask"]), rtol=0, atol=0
        )
        assert (
            0 < inputs["mask"].mean() < 0.2
            and ((inputs["mask"] == 0) | (inputs["mask"] == 1)).all()
        )
        return torch.full_like(inputs["a"], 0.25)

    made = assembled(
        network, {"a": fill_holes(image, mask), "mask": mask}, Way((32, 48)), translate
    )
    hidden = mask[0].expand(3, -1, -1) == 1
    assert torch.equal(made[~hidden], image[0][~hidden])
    torch.testing.assert_close(made[hidden], torch.full_like(made[hidden], 0.25), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "hole",
    [
        (20, 26, 30, 40),
        (0, 5, 0, 5),
        (44, 50, 60, 70),
        (0, 50, 3, 9),
        (3, 48, 2, 69),
        (0, 50, 0, 70),
        (7, 8, 9, 10),
    ],
)
def test_a_network_of_a_central_hole_fills_one_anywhere(hole):
    """The window lies about the hole, which is in its middle half, at the network's size; nothing
    else changes.
    """
    network = ContextEncoder(**BOTH, resolution=[16, 32], bottleneck=4, width=2)
    top, bottom, left, right = hole
    image = torch.rand(1, 3, 50, 70)
    mask = torch.zeros(1, 1, 50, 70)
    mask[:, :, top:bottom, left:right] = 1

    def translate(window):
        assert window["a"].shape == (1, 3, 16, 32) and window["mask"].sum() == 8 * 16
        outside = window["a"][0][:, window["mask"][0, 0] == 0]
        if hole == (20, 26, 30, 40):
            assert not torch.isin(
                outside, fill_holes(image, torch.ones_like(mask))[0, :, 0, 0]
            ).any(), "of the hole's colour nothing is left"
        return torch.where(window["mask"] == 1, torch.tensor(0.5), torch.tensor(9.0))

    made = assembled(
        network,
        {"a": fill_holes(image, mask), "mask": mask},
        choose_way(network, (50, 70), tile="auto", max_size=None),
        translate,
    )
    hidden = mask[0].expand(3, -1, -1) == 1
    assert torch.equal(made[~hidden], image[0][~hidden])
    edge = 3 * math.ceil(
        max(1, (bottom - top) / 8, (right - left) / 16)
    )  # where enlarging blends what is beside the middle
    inner = made[:, top + edge : max(0, bottom - edge), left + edge : max(0, right - edge)]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.5), atol=0.05, rtol=0)


def test_a_network_that_was_trained_with_an_overlap_sees_it():
    """Of its middle half the outer pixels stay visible, and the hole lies within the rest."""
    network = ContextEncoder(**BOTH, resolution=32, bottleneck=4, width=2, overlap=0.0625)
    image = torch.rand(1, 3, 50, 70)
    mask = torch.zeros(1, 1, 50, 70)
    mask[:, :, 20:32, 30:42] = 1  # as large as the middle less 2 pixels at each edge
    seen = []

    def translate(window):
        seen.append(window)
        return torch.full_like(window["a"], 0.5)

    way = choose_way(network, (50, 70), tile="auto", max_size=None)
    made = assembled(network, {"a": fill_holes(image, mask), "mask": mask}, way, translate)
    (window,) = seen
    assert window["mask"].sum() == 12 * 12 and window["mask"][0, 0, 10:22, 10:22].all()
    around = window["mask"][0].expand(3, -1, -1) == 0
    torch.testing.assert_close(
        window["a"][0][around], image[0, :, 10:42, 20:52][around], atol=1e-5, rtol=0
    )
    torch.testing.assert_close(made[mask[0].expand(3, -1, -1) == 1], torch.full((432,), 0.5))
