"""Figures: people that Pillow draws, in poses, and the pairs that a stream makes of them."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from helpers import REPO, TEST_DATA
from PIL import Image

from gancli.data.base import split
from gancli.data.figures import (
    BACKGROUND,
    JOINTS,
    Figures,
    draw_figure,
    draw_gaussians,
    draw_person,
    draw_pose,
    draw_sticks,
    find_joints,
    write_figures,
)
from gancli.data.own_figures import OwnFigures
from gancli.data.posed import Partners, find_background, find_foreground
from gancli.data.stream import Stream
from gancli.errors import UserError

KEYS = ("a", "b", "pose_a", "pose_b", "front")


def parts(**options):
    source = Figures(**({"people": 4, "poses": 3, "holdout": 6, "resolution": 32} | options))
    return split(source.load(), limit=source.limit, holdout=source.holdout)


def stream_of(decoded, **options):
    return Stream(decoded, **({"batch_size": 6, "seed": 0, "resolution": 32} | options))


GOLDEN = [
    [[235.0, 220.1, 230.0, 235.0], [235.0, 145.8, 165.4, 232.1]],
    [[235.0, 212.4, 228.6, 235.0], [235.0, 142.7, 140.5, 230.0]],
    [[235.0, 206.9, 227.6, 235.0], [235.0, 155.8, 151.7, 228.6]],
]


def test_a_golden_figure():
    """Means over blocks of 8x8 pixels: another Pillow may draw edges otherwise, by two levels."""
    person = draw_person(3)
    figure = draw_figure(person, find_joints(draw_pose(5), person.height), 32)
    blocks = figure.reshape(3, 4, 8, 4, 8).mean((2, 4))
    np.testing.assert_allclose(blocks[:, :2], GOLDEN, atol=2)


def test_joints_are_where_the_angles_say():
    pose = dict.fromkeys(draw_pose(0), 0.0)
    joints = dict(zip(JOINTS, find_joints(pose), strict=True))
    assert joints["ankle_left"][1] == pytest.approx(0.93), "it stands on the floor"
    assert joints["wrist_right"][0] == joints["shoulder_right"][0], "arms hang down"
    assert joints["head"][1] == pytest.approx(0.93 - 0.19 * 2 - 0.25 - 0.105)
    raised = dict(zip(JOINTS, find_joints(pose | {"arm_right": 90.0}), strict=True))
    assert raised["elbow_right"] == pytest.approx(raised["shoulder_right"] + [0.14, 0], abs=1e-6)
    low = dict(zip(JOINTS, find_joints(pose | {"leg_left": 40.0}), strict=True))
    assert max(low["ankle_left"][1], low["ankle_right"][1]) == pytest.approx(0.93)


def test_nobody_and_no_pose_of_those_held_out_is_trained_on():
    train, held = parts()
    assert len(train) == 12 and len(held) == 6
    assert not {*train.people.person.tolist()} & {*held.people.person.tolist()}
    seen = {joints.numpy().tobytes() for joints in train.further["joints"]}
    assert not any(joints.numpy().tobytes() in seen for joints in held.further["joints"])
    again, _ = parts()
    assert torch.equal(train.images, again.images) and train.digest == again.digest
    other, _ = parts(data_seed=1)
    assert not torch.equal(train.images, other.images) and train.digest != other.digest


def test_more_people_leave_the_others_as_they_are():
    few = Figures(people=2, poses=3, holdout=0, resolution=16).load()
    more = Figures(people=3, poses=3, holdout=0, resolution=16).load()
    assert torch.equal(few.images, more.images[:6])


def test_a_pair_is_two_pictures_of_one_person():
    train, _ = parts()
    stream = stream_of(train)
    people = train.people.person.tolist()
    who = {image.numpy().tobytes(): k for image, k in zip(train.images, people, strict=True)}
    batch = stream(0, KEYS)
    assert {key: tuple(x.shape) for key, x in batch.items()} == {
        **dict.fromkeys(("a", "b", "pose_a", "pose_b"), (6, 3, 32, 32)),
        "front": (6, 1, 32, 32),
    }
    stored = {
        side: [x.numpy().tobytes() for x in (batch[side] * 127.5 + 127.5).round().byte()]
        for side in "ab"
    }
    for a, b in zip(stored["a"], stored["b"], strict=True):
        assert who[a] == who[b] and a != b
    again = stream(0, KEYS)
    assert all(torch.equal(batch[key], again[key]) for key in KEYS)
    assert not torch.equal(batch["a"], stream(6, KEYS)["a"])
    assert stream(0, ("a", "b")).keys() == {"a", "b"}, "pix2pix trains on them too"


def test_what_is_foreground_is_where_the_target_is_no_background():
    train, _ = parts()
    batch = stream_of(train)(0, KEYS)
    levels = (batch["b"] + 1) * 127.5
    seen = ((levels - BACKGROUND).abs().amax(1, keepdim=True) > 8.5).float()
    assert torch.equal(batch["front"], seen)
    assert 0 < batch["front"].mean() < 0.5


def test_the_pose_map_shows_the_pose_of_its_picture():
    train, _ = parts()
    batch = stream_of(train)(0, KEYS)
    for side in "ab":
        drawn = (batch[f"pose_{side}"].amax(1) > 0).flatten(1)
        body = ((batch[side] * 127.5 + 127.5 - BACKGROUND).abs().amax(1) > 8).flatten(1)
        inside = (drawn & body).sum(1) / drawn.sum(1)
        assert (inside > 0.9).all(), inside


def test_ranks_share_a_batch():
    train, _ = parts()
    whole = stream_of(train)(0, KEYS)
    halves = [stream_of(train, rank=rank, world=2)(0, KEYS) for rank in range(2)]
    assert all(torch.equal(whole[key], torch.cat([x[key] for x in halves])) for key in KEYS)


def test_gaussians_have_the_deviation_of_their_size():
    maps = draw_gaussians(torch.tensor([[[0.5078125, 0.2578125]]]), 64) * 0.5 + 0.5
    assert maps[0, 0].argmax().item() == 16 * 64 + 32
    assert maps.max().item() == pytest.approx(1)
    assert maps[0, 0, 16, 34].item() == pytest.approx(np.exp(-0.5), abs=1e-5), "2 pixels away"
    train, _ = parts(maps="gaussians")
    assert stream_of(train)(0, KEYS)["pose_b"].shape == (6, len(JOINTS), 32, 32)
    assert Figures(maps="gaussians").scan() == {"pose_channels": 13}


def test_sticks_tell_left_from_right():
    joints = torch.from_numpy(find_joints(draw_pose(1))[None])
    mirrored = joints * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    assert not torch.allclose(draw_sticks(joints, 32), draw_sticks(mirrored, 32).flip(3))


def test_partners_are_others_of_the_same_group_all_alike_often():
    partners = Partners(torch.tensor([5, 2, 5, 2, 5, 9]))
    index = np.repeat(np.arange(6), 600)
    bits = np.random.RandomState(0).randint(0, 2**62, len(index)).astype(np.uint64)
    found = partners.draw(index, bits).reshape(6, 600)
    assert {*found[0]} == {2, 4} and {*found[1]} == {3} and {*found[4]} == {0, 2}
    assert abs((found[0] == 2).mean() - 0.5) < 0.1
    assert {*found[5]} == {5}, "whoever is alone is its own partner"


def test_the_border_tells_the_background():
    levels = torch.full((2, 3, 8, 8), 200.0)
    levels[1] = 40
    levels[:, :, 3:7, 3:8] = 100
    back = find_background(levels, None)
    assert back.flatten(1).tolist() == [[200] * 3, [40] * 3]
    assert find_foreground(levels, back)[0, 0].sum() == 20
    assert not find_foreground(levels + 8, back)[:, :, 0, 0].any(), "8 of 255 are none yet"
    assert find_background(levels, (1, 2, 3)).flatten().tolist() == [1, 2, 3]


def test_what_does_not_fit_is_refused():
    for options, words in (
        ({"resolution": [32, 16]}, "square RGB pictures"),
        ({"flip": True}, "drawn at their size"),
        ({"poses": 1}, "two pictures of one person"),
    ):
        with pytest.raises(UserError, match=words):
            Figures(**options)
    with pytest.raises(UserError, match="needs 'image'") as error:
        stream_of(parts()[0])(0, ("image",))
    assert "model=pose" in error.value.hint


# of one's own


@pytest.fixture
def own(tmp_path):
    write_figures(tmp_path, people=5, poses=4, side=16)
    return tmp_path


def test_folders_are_split_by_person_and_pose(own):
    source = OwnFigures(path=str(own), held_people=2, held_poses=1).settled()
    assert (source.resolution, source.channels, source.pose_channels) == (16, 3, 3)
    assert source.holdout == 2
    train, held = split(source.load(), limit=None, holdout=2)
    assert len(train) == 9 and not {*train.people.person.tolist()} & {*held.people.person.tolist()}
    batch = Stream(held, batch_size=2, seed=0, resolution=16)(0, KEYS)
    assert batch["pose_b"].shape == (2, 3, 16, 16)
    assert len(OwnFigures(path=str(own), holdout=0).load()) == 20


def test_pictures_and_poses_stay_together(own):
    decoded = OwnFigures(path=str(own), held_people=1, held_poses=1).load()
    pictures = {}
    for path in sorted((own / "pictures").rglob("*.png")):
        pictures[np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes()] = path
    people = {}
    for image, pose, person in zip(
        decoded.images, decoded.further["pose"], decoded.people.person.tolist(), strict=True
    ):
        path = pictures[image.numpy().tobytes()]
        beside = own / "poses" / path.relative_to(own / "pictures")
        assert np.array_equal(np.asarray(Image.open(beside)).transpose(2, 0, 1), pose.numpy())
        people.setdefault(person, set()).add(path.parent.name)
    assert all(len(names) == 1 for names in people.values()) and len(people) == 5


def test_one_image_may_show_the_pose_of_everybody(own):
    for k in range(4):
        (own / f"poses/person00/pose{k:02d}.png").rename(own / f"poses/pose{k:02d}.png")
    for path in (own / "poses").glob("person*/*.png"):
        path.unlink()
    decoded = OwnFigures(path=str(own), holdout=0).load()
    assert len(decoded) == 20
    assert torch.equal(decoded.further["pose"][0], decoded.further["pose"][4])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda own: (own / "poses").rename(own / "sticks"),
            r"no folder poses in it \(folders: pi",
        ),
        (lambda own: Image.new("RGB", (16, 16)).save(own / "pictures/x.png"), "no folder of a per"),
        (
            lambda own: [path.unlink() for path in (own / "poses").glob("*/pose0[1-3].png")],
            "there is no poses/person00/pose01 and no poses/pose01",
        ),
    ],
)
def test_errors_name_what_is_missing(own, spoil, words):
    spoil(own)
    with pytest.raises(UserError, match=words):
        OwnFigures(path=str(own)).load()


def test_a_lost_pose_and_a_lone_picture_are_named(own, caplog):
    (own / "poses/person00/pose01.png").unlink()
    for k in (1, 2, 3):
        (own / f"pictures/person04/pose{k:02d}.png").unlink()
    assert len(OwnFigures(path=str(own), holdout=0).load()) == 15
    assert "there is no poses/person00/pose01" in caplog.text
    assert "person04/pose00.png (the only picture of its person)" in caplog.text


def test_arrays_of_pictures(tmp_path):
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (4, 5, 8, 8, 3)).astype(np.uint8)
    pose = rng.randint(0, 256, (5, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "own.npz", images=images, pose=pose, character=[7, 7, 1, 2])
    source = OwnFigures(path=str(tmp_path / "own.npz"), held_people=1, held_poses=2).settled()
    assert (source.resolution, source.pose_channels) == (8, 1) and source.holdout in (2, 4)
    train, held = split(source.load(), limit=None, holdout=source.holdout)
    assert len(train) + len(held) in (9 + 2, 6 + 4)
    assert not {*train.people.person.tolist()} & {*held.people.person.tolist()}
    whole = OwnFigures(path=str(tmp_path / "own.npz"), holdout=0).load()
    assert whole.people.person.bincount().tolist() == [5, 5, 10]
    assert torch.equal(whole.images[7], torch.from_numpy(images[1, 2]).permute(2, 0, 1))
    assert torch.equal(whole.further["pose"][7, 0], torch.from_numpy(pose[2]))
    np.savez(tmp_path / "bad.npz", images=images, pose=pose[:3])
    with pytest.raises(UserError, match=r"poses of shape \(3, 8, 8, 1\) for pictures of shape"):
        OwnFigures(path=str(tmp_path / "bad.npz")).scan()
    np.savez(tmp_path / "none.npz", pictures=images)
    with pytest.raises(UserError, match=r"it holds pictures \(4, 5, 8, 8, 3\)"):
        OwnFigures(path=str(tmp_path / "none.npz")).scan()


SPRITES = TEST_DATA / "beyond/pose/lpc_sprites_240x60.npz"


@pytest.mark.full
@pytest.mark.skipif(not SPRITES.exists(), reason="GANCLI_TEST_DATA is missing")
def test_sprites_are_split_by_character_and_pose():
    source = OwnFigures(path=str(SPRITES)).settled()
    assert (source.resolution, source.channels, source.pose_channels) == (64, 3, 1)
    assert source.holdout == 24 * 12
    train, held = split(source.load(), limit=None, holdout=source.holdout)
    assert len(train) == 216 * 48
    assert not {*train.people.person.tolist()} & {*held.people.person.tolist()}
    shown = {pose.numpy().tobytes() for pose in train.further["pose"]}
    new = [pose.numpy().tobytes() not in shown for pose in held.further["pose"]]
    assert np.mean(new) > 0.6, "some poses look like another one, mirrored bodies from behind"


def test_a_number_that_is_not_the_held_out_ones_is_refused(own):
    with pytest.raises(UserError, match="new people in new poses are 2 pictures"):
        OwnFigures(path=str(own), held_people=2, held_poses=1, holdout=3).load()


def test_what_the_page_on_poses_shows_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (REPO / "docs/poses.md").read_text()
    shown: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.S | re.M):
        exec(block, shown)
    assert shown["picture"].shape == (1, 3, 64, 64)
    exec(re.search(r'python -c "(.*)"', page)[1])
    assert len(list(tmp_path.glob("figures/*/person0[0-3]/pose0[0-7].png"))) == 2 * 4 * 8


def test_figures_are_drawn_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("gancli.data.cache.SLOW_S", 0.0)
    options = {"people": 2, "poses": 2, "holdout": 2, "resolution": 16}
    first = Figures(**options).load()
    monkeypatch.setattr("gancli.data.figures.draw_figure", None)
    again = Figures(**options).load()
    assert again.digest == first.digest and torch.equal(again.images, first.images)
    with pytest.raises(TypeError):
        Figures(**options, cache="none").load()
