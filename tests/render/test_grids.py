"""The pictures: exact pixels, visible gaps, the same bytes twice, and files that are whole or
absent.
"""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from gancli.render.grids import (
    FAKE,
    REAL,
    choose_behind,
    draw_lines,
    grid,
    save_image,
    save_png,
    scatter,
    ticks,
    to_pil,
    to_uint8,
    whiten_hidden,
)


def pixels(picture: Image.Image) -> np.ndarray:
    array = np.asarray(picture).astype(int)
    return array[..., None] if array.ndim == 2 else array


def nearest(picture: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """-> (y, x) of the pixels inside the box of a 512 pixel plot that look like `colour`"""
    return 31 + np.argwhere(np.abs(pixels(picture)[31:482, 31:482] - colour).max(axis=2) < 50)


def test_every_byte_survives_the_way_to_a_tensor_and_back():
    byte = torch.arange(256)
    assert torch.equal(to_uint8(byte / 127.5 - 1), byte.to(torch.uint8))


def test_conversion_rounds_clips_and_never_rescales():
    x = torch.tensor([-9.0, -1.0, 0.0, 0.0039, 1.0, 9.0, float("inf"), float("-inf"), float("nan")])
    assert to_uint8(x).tolist() == [0, 0, 128, 128, 255, 255, 255, 0, 0]
    assert to_uint8(torch.tensor([0.1, 0.2])).tolist() == [140, 153]
    assert to_uint8(torch.tensor([0.5], dtype=torch.bfloat16)).tolist() == [191]
    assert to_uint8(torch.zeros(2, 3, requires_grad=True)).shape == (2, 3)


def test_what_nobody_sees_is_white_in_every_picture():
    """At alpha 0, and nowhere else: a faint pixel counts over another ground."""
    image = torch.zeros(4, 1, 3)
    image[3] = torch.tensor([-1.0, -0.99, 1.0])  # alpha 0, 1 and 255
    expected = [[255, 255, 255, 0], [128, 128, 128, 1], [128, 128, 128, 255]]
    assert pixels(to_pil(image))[0].tolist() == expected
    assert pixels(grid(image[None], columns=1, gap=0, min_tile=1))[0].tolist() == expected
    grey = whiten_hidden(torch.tensor([[9, 9], [0, 1]]).to(torch.uint8).view(2, 1, 2))
    assert grey.flatten().tolist() == [255, 9, 0, 1]
    rgb = torch.zeros(3, 1, 1, dtype=torch.uint8)
    assert whiten_hidden(rgb) is rgb


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_grid_holds_every_tile_and_only_grey_between_them(channels, mode):
    images = torch.rand(5, channels, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    picture = grid(images, columns=3, gap=2, min_tile=16)  # every pixel becomes 2 x 2
    assert picture.mode == mode and picture.size == (2 + 3 * 26, 2 + 2 * 18)
    array = pixels(picture)
    seen = np.zeros(picture.size[::-1], bool)
    for i, image in enumerate(whiten_hidden(to_uint8(images))):
        y = 2 + i // 3 * 18
        x = 2 + i % 3 * 26
        tile = array[y : y + 16, x : x + 24]
        assert (tile == image.permute(1, 2, 0).numpy().repeat(2, axis=0).repeat(2, axis=1)).all()
        seen[y : y + 16, x : x + 24] = True
    rest = array[~seen]
    colours = 1 if channels < 3 else 3
    assert (rest[:, :colours] == 128).all()
    assert (rest[:, colours:] == 255).all(), "the gap is opaque, whatever the images are"


def test_tiles_are_enlarged_by_whole_factors_and_only_when_small():
    for side, factor in ((1, 48), (8, 6), (28, 2), (32, 2), (47, 2), (48, 1), (64, 1)):
        assert grid(torch.zeros(1, 1, side, side), columns=1, gap=0).size == (
            side * factor,
            side * factor,
        )
    assert grid(torch.zeros(1, 3, 16, 200), columns=1, gap=0).size == (600, 48)


def test_fewer_images_than_columns_make_a_narrower_picture():
    assert grid(torch.zeros(3, 1, 64, 64), columns=10).size == (2 + 3 * 66, 2 + 66)


def test_grid_refuses_what_is_not_a_batch_of_images():
    for shape in ((3, 8, 8), (0, 3, 8, 8), (2, 5, 8, 8)):
        with pytest.raises(AssertionError):
            grid(torch.zeros(shape), columns=2)


def test_scatter_puts_points_where_they_are():
    picture = scatter(
        torch.tensor([[1.0, 0.5]] * 50), real=torch.tensor([[-1.0, -0.5]] * 50), extent=2.0
    )
    assert picture.size == (512, 512)
    # of the box; y points up, the rows down
    margin = 31
    side = 450
    for colour, (x, y) in ((FAKE, (1.0, 0.5)), (REAL, (-1.0, -0.5))):
        where = nearest(picture, colour)
        assert (
            np.abs(
                where.mean(axis=0) - (margin + (2 - y) / 4 * side, margin + (x + 2) / 4 * side)
            ).max()
            < 2
        )


def test_scatter_shows_runaways_on_the_edge_and_drops_what_is_not_finite():
    real = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    edge = scatter(
        torch.tensor([[1e30, 0.0], [float("nan"), 0.0], [0.0, float("inf")]] * 50), real=real
    )
    where = nearest(edge, FAKE)
    assert len(where) and (where[:, 1] > 470).all()
    assert scatter(torch.full((3, 2), float("nan")), real=None).size == (512, 512)


def test_scatter_takes_points_as_batches_hold_them_and_is_deterministic():
    points = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    once = scatter(points, real=points * 2)
    assert once.tobytes() == scatter(points.reshape(500, 2, 1, 1), real=points * 2).tobytes()
    assert once.tobytes() != scatter(points, real=None).tobytes()
    assert scatter(points, real=None, size=96).size == (96, 96)


def test_reals_stay_visible_below_many_fakes():
    spot = torch.zeros(5000, 2)
    covered, alone = (
        pixels(scatter(spot, real=real, extent=1.0))[256, 256] for real in (spot, None)
    )
    assert np.abs(covered - alone).sum() > 20


@pytest.mark.parametrize("extent", [1e-9, 0.03, 0.7, 1.0, 9.99, 10.0, 123.0, 4e7])
def test_ticks_are_few_symmetric_and_inside(extent):
    found = ticks(extent)
    assert 3 <= len(found) <= 9 and found == [-t for t in reversed(found)] and max(found) <= extent


def chunks(path) -> list[bytes]:
    data = path.read_bytes()
    at = 8
    names = []
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        names.append(name)
        at += 12 + length
    return names


def test_a_png_holds_pixels_and_nothing_else(tmp_path):
    image = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(1)) * 2 - 1
    save_image(image, tmp_path / "a.png")
    save_image(image, str(tmp_path / "other name.png"))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "other name.png").read_bytes()
    assert set(chunks(tmp_path / "a.png")) == {b"IHDR", b"IDAT", b"IEND"}
    assert torch.equal(
        torch.from_numpy(np.array(Image.open(tmp_path / "a.png"))).permute(2, 0, 1), to_uint8(image)
    )
    for channels, mode in ((1, "L"), (4, "RGBA")):
        save_image(torch.zeros(channels, 5, 4), tmp_path / "b.png")
        assert Image.open(tmp_path / "b.png").mode == mode


def test_a_failed_save_leaves_the_older_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "grid.png"
    save_png(Image.new("L", (4, 4), 7), path)
    before = path.read_bytes()

    def half(self, target, **options):
        target.write_bytes(b"half a picture")
        raise OSError(28, "No space left on device")

    def refuse(source, target):
        raise OSError(30, "Read-only file system")

    for owner, name, broken in ((Image.Image, "save", half), (os, "replace", refuse)):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, broken)
            with pytest.raises(OSError):
                save_png(Image.new("L", (4, 4), 9), path)
        assert path.read_bytes() == before and os.listdir(tmp_path) == ["grid.png"]


def test_reals_behind_a_series_are_of_its_class_where_there_are_some():
    labels = torch.tensor([0, 1, 2]), torch.tensor([1, 0, 1, 0])
    behind = choose_behind(np.zeros((4, 8, 5)), 3, labels)
    assert behind == {0: [1, 3], 1: [0, 2], 2: [0, 2]}
    assert choose_behind(np.zeros((4, 8, 5)), 1, None) == {0: [0, 2]}
    assert len(choose_behind(np.zeros((40, 1, 5)), 1, None)[0]) == 16


def test_titles_stand_in_the_upper_left_corner_of_their_tiles():
    made = torch.zeros(3, 1, 8, 1)
    plain = np.asarray(draw_lines(made, real=None, columns=2))
    titled = np.asarray(draw_lines(made, real=None, columns=2, titles=["gun", "", "point"]))
    rows, columns = (plain != titled).any(-1).nonzero()
    assert plain.shape == titled.shape and len(rows)
    second = (columns >= 168) & (rows < 100)  # its title is empty
    assert not second.any() and {row // 100 for row in rows.tolist()} == {0, 1}
    assert max(row % 100 for row in rows.tolist()) < 20 and max(columns) < 60
