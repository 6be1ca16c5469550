"""The stream: batches follow from the position alone, for any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gancli.data.base import Decoded
from gancli.data.draws import draws, permutation
from gancli.data.stream import Stream
from gancli.errors import UserError
from gancli.modality import Series


def numbered(n: int, *, channels: int = 1, size: int = 4) -> Decoded:
    """Image i is filled with i; label i."""
    images = (
        torch.arange(n, dtype=torch.uint8)[:, None, None, None]
        .expand(n, channels, size, size)
        .contiguous()
    )
    return Decoded(images, labels=torch.arange(n), classes=tuple(map(str, range(n))))


def ramps(n: int, height: int, width: int) -> Decoded:
    """Pixel (y, x) of every image is 16 y + x, so that a window and a flip can be read off."""
    ramp = 16 * torch.arange(height)[:, None] + torch.arange(width)
    return Decoded(ramp.to(torch.uint8).expand(n, 1, height, width).contiguous())


def ids(stream: Stream, nimg: int, **kwargs) -> list[int]:
    return stream(nimg, ("label",), **kwargs)["label"].tolist()


def test_splitmix64_golden_values():
    # The first outputs of the generator for seed 0 and 1234567, as its authors' C code gives them.
    assert [int(x) for x in draws(0, [1, 2, 3])] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]
    assert int(draws(1234567, [1])[0]) == 6457827717110365317
    assert sorted(permutation(1000, 5).tolist()) == list(range(1000))
    assert permutation(6, 1).tolist() == permutation(6, 1).tolist() != permutation(6, 2).tolist()


def test_draws_are_uniform():
    bits = draws(7, np.arange(100_000))
    assert abs((bits >> np.uint64(63)).mean() - 0.5) < 0.01
    counts = np.bincount((bits % np.uint64(5)).astype(int))
    assert counts.min() > 19_500 and counts.max() < 20_500


@given(n=st.integers(1, 40), batch=st.integers(1, 17), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_every_epoch_shows_every_image_once(n, batch, seed):
    stream = Stream(numbered(n), batch_size=batch, seed=seed, resolution=4)
    shown = [i for k in range(3 * n // batch + 1) for i in ids(stream, k * batch)]
    for epoch in range(3):
        assert sorted(shown[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_epochs_seeds_and_salts_differ():
    stream, other = (
        Stream(numbered(50), batch_size=50, seed=seed, resolution=4) for seed in (0, 1)
    )
    orders = [ids(stream, 0), ids(stream, 50), ids(stream, 0, salt="g"), ids(other, 0)]
    assert len({tuple(order) for order in orders}) == 4


def test_a_batch_is_a_function_of_its_position():
    data = ramps(20, 8, 8)
    fresh = Stream(data, batch_size=6, seed=3, resolution=4, flip=True)
    late = fresh(600, ("image",))["image"]
    walked = Stream(data, batch_size=6, seed=3, resolution=4, flip=True)
    for nimg in range(0, 600, 6):
        walked(nimg, ("image",))
        walked(nimg, ("image",), salt="g")
    assert torch.equal(walked(600, ("image",))["image"], late)


@pytest.mark.parametrize("world", [2, 3, 6])
def test_ranks_share_what_one_rank_draws(world):
    pixels = torch.randint(0, 256, (7, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    data = Decoded(pixels.to(torch.uint8), torch.arange(7))
    whole = Stream(data, batch_size=6, seed=3, resolution=4, flip=True)(18, ("image", "label"))
    parts = [
        Stream(data, batch_size=6, seed=3, resolution=4, flip=True, rank=rank, world=world)(
            18, ("image", "label")
        )
        for rank in range(world)
    ]
    for key in whole:
        assert torch.equal(torch.cat([part[key] for part in parts]), whole[key])


def test_images_lie_in_minus_one_to_one_and_labels_stay_with_them():
    images = (
        torch.tensor([0, 255, 51], dtype=torch.uint8)
        .view(3, 1, 1, 1)
        .expand(3, 2, 5, 7)
        .contiguous()
    )
    data = Decoded(images, torch.tensor([4, 5, 6]))
    batch = Stream(data, batch_size=3, seed=0, resolution=[5, 7])(0, ("image", "label"))
    assert (
        batch["image"].shape == (3, 2, 5, 7)
        and batch["image"].dtype == torch.float32
        and batch["label"].dtype == torch.int64
    )
    value = dict(zip(batch["label"].tolist(), batch["image"][:, 0, 0, 0].tolist(), strict=True))
    assert value[4] == -1 and value[5] == 1 and value[6] == pytest.approx(51 / 127.5 - 1, abs=1e-6)


def test_flips_mirror_half_of_the_draws_and_only_sideways():
    stream = Stream(ramps(4, 4, 4), batch_size=2000, seed=0, resolution=4, flip=True)
    x = ((stream(0, ("image",))["image"] + 1) * 127.5).round()[:, 0]
    plain = 16 * torch.arange(4.0)[:, None] + torch.arange(4.0)
    is_plain = (x == plain).all(dim=(1, 2))
    is_flipped = (x == plain.flip(1)).all(dim=(1, 2))
    assert (is_plain ^ is_flipped).all() and 900 < is_flipped.sum() < 1100
    still = Stream(ramps(4, 4, 4), batch_size=100, seed=0, resolution=4)(0, ("image",))["image"]
    assert torch.equal(((still + 1) * 127.5).round()[:, 0], plain.expand(100, 4, 4))


def test_windows_take_every_place_alike():
    stream = Stream(ramps(4, 6, 5), batch_size=3000, seed=0, resolution=[4, 3])
    x = ((stream(0, ("image",))["image"] + 1) * 127.5).round()[:, 0].long()
    assert x.shape == (3000, 4, 3)
    top = x[:, 0, 0] // 16
    left = x[:, 0, 0] % 16
    assert torch.equal(
        x,
        (16 * (top[:, None] + torch.arange(4)))[:, :, None]
        + (left[:, None] + torch.arange(3))[:, None],
    )
    counts = torch.bincount(top * 3 + left, minlength=9)
    assert len(counts) == 9 and counts.min() > 260 and counts.max() < 410


def test_points_pass_through():
    points = torch.randn(10, 2, 1, 1)
    batch = Stream(
        Decoded(points, torch.arange(10)), batch_size=10, seed=0, resolution=1, flip=True
    )(0, ("image", "label"))
    assert torch.equal(batch["image"], points[batch["label"]])


def test_a_key_that_the_data_lacks():
    stream = Stream(
        Decoded(torch.zeros(3, 1, 4, 4, dtype=torch.uint8)), batch_size=2, seed=0, resolution=4
    )
    with pytest.raises(UserError, match="needs 'label'; the data set gives image$") as caught:
        stream(0, ("image", "label"))
    assert "conditional=auto" in caught.value.hint
    with pytest.raises(UserError, match="needs 'b'; the data set gives image$"):
        stream(0, ("b",))
    with pytest.raises(UserError, match="needs 'caption'") as caught:
        stream(0, ("caption",))
    assert (
        caught.value.hint
        == "take a data set whose batches hold 'caption', or a model that does without"
    )


def test_images_below_the_resolution_are_refused():
    with pytest.raises(UserError, match="4x4"):
        Stream(numbered(3), batch_size=1, seed=0, resolution=8)
    with pytest.raises(UserError, match="no image"):
        Stream(
            Decoded(torch.zeros(0, 1, 4, 4, dtype=torch.uint8)), batch_size=1, seed=0, resolution=4
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_draws_the_same_bits():
    data = Decoded(torch.randint(0, 256, (20, 3, 12, 12), dtype=torch.uint8), torch.arange(20))
    for resolution in (12, 8):
        host, device = (
            Stream(data, batch_size=16, seed=0, resolution=resolution, flip=True, device=d)
            for d in ("cpu", "cuda")
        )
        a = host(32, ("image", "label"))
        b = device(32, ("image", "label"))
        assert (
            b["image"].is_cuda
            and torch.equal(a["image"], b["image"].cpu())
            and torch.equal(a["label"], b["label"].cpu())
        )


# further keys and attributes


def further_stream(**options):
    """Images whose left column tells their number, with a map and a vector of each."""
    images = torch.arange(6, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 6, 6)
    images += torch.arange(6, dtype=torch.uint8) * 10  # a flip shows
    decoded = Decoded(
        images=images,
        labels=torch.eye(6)[:, :3],
        classes=("round", "red", "large"),
        further={"pose": images.clone(), "caption": torch.arange(12.0).view(6, 2)},
    )
    return Stream(decoded.subset([0, 2, 3, 4, 5]), batch_size=4, seed=0, **options)


def test_further_keys_travel_with_their_images_and_only_maps_are_cut_and_flipped():
    keys = ("image", "label", "pose", "caption")
    stream = further_stream(resolution=4, flip=True)
    batch = stream(0, keys)
    assert torch.equal(batch["pose"], batch["image"]) and batch["pose"].shape == (4, 1, 4, 4)
    assert batch["caption"].shape == (4, 2) and batch["label"].shape == (4, 3)
    number = batch["caption"][:, 0] / 2
    assert torch.equal(batch["label"], torch.eye(6)[number.long(), :3]), "of the same image"
    assert stream.gives() == ("image", "label", "pose", "caption")
    halves = [further_stream(resolution=4, flip=True, rank=r, world=2)(0, keys) for r in (0, 1)]
    for key in keys:
        assert torch.equal(torch.cat([half[key] for half in halves]), batch[key])


def test_a_key_that_the_data_lack_is_named_with_those_that_they_give():
    with pytest.raises(UserError, match="needs 'depth'; the data set gives image, label, pose"):
        further_stream(resolution=6)(0, ("image", "depth"))


def test_further_keys_are_as_many_as_images():
    decoded = Decoded(
        images=torch.zeros(4, 1, 2, 2, dtype=torch.uint8), further={"caption": torch.zeros(3)}
    )
    with pytest.raises(UserError, match="3 of 'caption' for 4 images"):
        Stream(decoded, batch_size=2, seed=0, resolution=2)


def test_windows_and_flips_reach_floats_alike():
    pixels = ramps(4, 6, 5)
    floats = Decoded((pixels.images.float() - 127.5) * (1 / 127.5))
    options = {"batch_size": 40, "seed": 0, "resolution": [4, 3], "flip": True}
    batch = Stream(floats, **options)(0, ("image",))["image"]
    assert torch.equal(batch, Stream(pixels, **options)(0, ("image",))["image"])


def test_windows_are_cut_out_of_long_series():
    steps = torch.arange(48.0).view(1, 1, 48, 1) + 100 * torch.arange(3.0).view(3, 1, 1, 1)
    stream = Stream(
        Decoded(steps.repeat(1, 5, 1, 1)),
        batch_size=300,
        seed=0,
        resolution=[24, 1],
        modality=Series(),
    )
    batch = stream(0, ("image",))["image"]
    assert batch.shape == (300, 5, 24, 1)
    assert (batch.diff(dim=2) == 1).all()
    starts = (batch[:, 0, 0, 0] % 100).unique()
    assert starts.min() == 0 and starts.max() == 24 and len(starts) == 25
