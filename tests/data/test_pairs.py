"""Pairs, two domains, and sources that are made of their targets: what belongs together stays
together, at every position.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gancli.data.base import split
from gancli.data.builtin import Digits
from gancli.data.derived import HOLE, Degraded, Masked, SuperRes
from gancli.data.pairs import Paired, Unpaired
from gancli.data.stream import Stream
from gancli.errors import UserError


def noise(seed: int, height: int = 12, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def negatives(folder: Path, n: int = 20, *, first: int = 0) -> str:
    """Pairs side by side; the right image is the left one's negative, so that both together are
    grey everywhere.
    """
    for k in range(first, first + n):
        save(folder / f"{k:03d}.png", np.concatenate([noise(k), 255 - noise(k)], axis=1))
    return str(folder)


def stream_of(
    source, *, batch_size: int = 8, seed: int = 3, rank: int = 0, world: int = 1, held: bool = False
) -> Stream:
    settled = (
        source.settled()
        if isinstance(source, Paired)
        else type(source)(**vars(source) | source.scan())
    )
    parts = split(settled.load(), limit=settled.limit, holdout=settled.holdout)
    return Stream(
        parts[int(held)],
        batch_size=batch_size,
        seed=seed,
        resolution=settled.resolution,
        flip=settled.flip,
        rank=rank,
        world=world,
    )


def test_windows_and_flips_act_on_both_sides_alike(tmp_path):
    stream = stream_of(
        Paired(
            path=negatives(tmp_path), resolution=8, load_size=12, flip=True, channels=3, classes=0
        )
    )
    batch = stream(0, ("a", "b"))
    assert batch["a"].shape == batch["b"].shape == (8, 3, 8, 8)
    assert (batch["a"] + batch["b"]).abs().max() < 1e-6
    assert not torch.equal(batch["a"][0], batch["a"][1])


def test_direction_turns_the_pair_round(tmp_path):
    negatives(tmp_path)
    one, other = (
        stream_of(Paired(path=str(tmp_path), direction=d))(0, ("a", "b")) for d in ("ab", "ba")
    )
    assert (
        torch.equal(one["a"], other["b"])
        and torch.equal(one["b"], other["a"])
        and not torch.equal(one["a"], one["b"])
    )


def test_a_scan_sees_one_side(tmp_path):
    assert Paired(path=negatives(tmp_path)).scan() == {
        "resolution": 12,
        "channels": 3,
        "classes": 0,
        "holdout": 2,
    }


def test_its_own_folder_is_held_out(tmp_path):
    negatives(tmp_path / "train", 10)
    negatives(tmp_path / "val", 4, first=100)
    source = Paired(path=str(tmp_path))
    assert source.scan()["holdout"] == 4
    held = {
        tuple(x.flatten().tolist())
        for x in stream_of(source, held=True, batch_size=4)(0, ("a",))["a"]
    }
    expected = {
        tuple(
            ((torch.from_numpy(noise(k)).permute(2, 0, 1).float() - 127.5) / 127.5)
            .flatten()
            .tolist()
        )
        for k in range(100, 104)
    }
    assert {tuple(round(v, 4) for v in x) for x in held} == {
        tuple(round(v, 4) for v in x) for x in expected
    }
    train = stream_of(source, batch_size=10)(0, ("a",))["a"]
    assert not held & {tuple(x.flatten().tolist()) for x in train}
    with pytest.raises(UserError, match="held-out folder has 4 pairs"):
        Paired(path=str(tmp_path), resolution=12, channels=3, classes=0, holdout=5).load()
    assert Paired(
        path=str(tmp_path), resolution=12, channels=3, classes=0, holdout=0
    ).load().images.shape == (10, 6, 12, 12)


def test_two_folders_are_matched_by_name(tmp_path, caplog):
    for k in range(6):
        save(tmp_path / "A" / f"{k}.png", noise(k))
        if k != 2:
            save(tmp_path / "B" / f"{k}.bmp", 255 - noise(k))
    save(tmp_path / "B" / "odd.bmp", noise(9))
    decoded = Paired(path=str(tmp_path)).load()
    assert decoded.images.shape == (5, 6, 12, 12) and {name for name, _ in decoded.skipped} == {
        "2.png",
        "odd.bmp",
    }
    assert "2.png (no partner in B)" in caplog.text
    left, right = decoded.images.chunk(2, 1)
    assert torch.equal(left, 255 - right)
    with pytest.raises(UserError, match="no partner in B"):
        Paired(path=str(tmp_path), on_error="fail").load()


def test_folders_without_common_names_are_refused(tmp_path):
    save(tmp_path / "A" / "1.png", noise(1))
    save(tmp_path / "B" / "2.png", noise(2))
    with pytest.raises(UserError, match="most files .* have no partner"):
        Paired(path=str(tmp_path)).scan()


def test_one_folder_alone_is_told(tmp_path):
    save(tmp_path / "A" / "1.png", noise(1))
    with pytest.raises(UserError, match="there is a folder A, and no B"):
        Paired(path=str(tmp_path)).scan()


def test_sides_of_different_size_are_bad(tmp_path):
    for k in range(4):
        save(tmp_path / "A" / f"{k}.png", noise(k))
        save(tmp_path / "B" / f"{k}.png", noise(k) if k else noise(k, 10, 12))
    decoded = Paired(path=str(tmp_path)).load()
    assert len(decoded) == 3 and "differ in size: 12x12 and 12x10" in decoded.skipped[0][1]


def test_an_odd_width_is_no_pair(tmp_path):
    save(tmp_path / "0.png", noise(0, 12, 25))
    with pytest.raises(UserError, match="25 pixels wide, which is no pair"):
        Paired(path=str(tmp_path)).scan()
    negatives(tmp_path, 5, first=1)
    decoded = Paired(path=str(tmp_path), resolution=12, channels=3, classes=0, holdout=0).load()
    assert len(decoded) == 5 and decoded.skipped[0][0] == "0.png"


def test_class_folders_are_no_pairs(tmp_path):
    save(tmp_path / "cats" / "1.png", noise(1))
    save(tmp_path / "dogs" / "2.png", noise(1))
    with pytest.raises(UserError, match="holds no pairs"):
        Paired(path=str(tmp_path)).scan()


def domains(root: Path, counts: dict[str, int]) -> str:
    for folder, n in counts.items():
        for k in range(n):
            save(
                root / folder / f"{k}.png",
                np.full((12, 12, 3), (40 if folder.endswith("A") else 140) + k, np.uint8),
            )
    return str(root)


def test_two_domains_go_through_each_at_its_own_pace(tmp_path):
    source = Unpaired(path=domains(tmp_path, {"trainA": 8, "trainB": 8, "testA": 3, "testB": 2}))
    assert source.scan() == {"resolution": 12, "channels": 3, "classes": 0, "holdout": 2}
    stream = stream_of(source)
    batch = stream(0, ("a", "b"))
    values = {
        side: (batch[side][:, 0, 0, 0] * 127.5 + 127.5).round().int().tolist() for side in "ab"
    }
    assert sorted(values["a"]) == list(range(40, 48)) and sorted(values["b"]) == list(
        range(140, 148)
    )
    assert [v - 40 for v in values["a"]] != [v - 140 for v in values["b"]]
    held = stream_of(source, held=True, batch_size=2)(0, ("a", "b"))
    assert held["a"].max() < 0 < held["b"].min()


def test_limit_counts_in_each_domain(tmp_path):
    source = Unpaired(path=domains(tmp_path, {"trainA": 9, "trainB": 7}), limit=3, holdout=1)
    train, held = split(Unpaired(**vars(source) | source.scan()).load(), limit=3, holdout=1)
    assert (len(train), len(train.other), len(held), len(held.other)) == (3, 3, 1, 1)


def test_a_missing_domain_is_told(tmp_path):
    with pytest.raises(UserError, match="no folder trainB in it .folders: trainA"):
        Unpaired(path=domains(tmp_path, {"trainA": 2})).scan()


def digits(cls, **options):
    return cls(
        of=Digits(resolution=16, channels=1, classes=10),
        resolution=16,
        channels=1,
        classes=0,
        holdout=4,
        limit=40,
        **options,
    )


MADE = {
    "superres": (SuperRes, {"scale": 2}),
    "centre": (Masked, {}),
    "boxes": (Masked, {"holes": "boxes"}),
    "strokes": (Masked, {"holes": "strokes"}),
    "degraded": (Degraded, {"noise": [5, 50], "blur": [0.5, 2.0], "jpeg": [5, 60]}),
}


@pytest.mark.parametrize("name", MADE)
def test_the_same_position_gives_the_same_source(name):
    cls, options = MADE[name]
    keys = ("a", "b", "mask") if cls is Masked else ("a", "b")
    whole = stream_of(digits(cls, **options))(16, keys)
    parts = [stream_of(digits(cls, **options), rank=rank, world=2)(16, keys) for rank in range(2)]
    for key in keys:
        assert torch.equal(whole[key], torch.cat([part[key] for part in parts])), key
    if name not in ("superres", "centre"):
        later = stream_of(digits(cls, **options))(24, keys)
        assert not torch.equal(whole["a"], later["a"])
    assert whole["a"].abs().max() <= 1


def test_superres_halves_bicubically():
    batch = stream_of(digits(SuperRes, scale=2))(0, ("a", "b"))
    assert batch["a"].shape == (8, 1, 8, 8) and batch["b"].shape == (8, 1, 16, 16)
    small = torch.nn.functional.interpolate(batch["b"], (8, 8), mode="bicubic", antialias=True)
    assert (batch["a"] - small.clamp(-1, 1)).abs().max() <= 0.5 / 127.5 + 1e-5
    levels = batch["a"] * 127.5 + 127.5
    assert (levels - levels.round()).abs().max() < 1e-3, "a file has 256 levels"


def test_superres_needs_a_multiple():
    with pytest.raises(UserError, match="no multiple of 4"):
        SuperRes(path="x", resolution=30)
    assert SuperRes(of=Digits(resolution=30, channels=1, classes=10)).scan()["resolution"] == 28


@pytest.mark.parametrize("holes", ["centre", "boxes", "strokes"])
def test_only_holes_are_filled(holes):
    batch = stream_of(digits(Masked, holes=holes, share=0.3))(0, ("a", "b", "mask"))
    mask = batch["mask"]
    grey = sum(HOLE) / 3
    assert mask.shape == (8, 1, 16, 16) and set(mask.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(batch["a"][mask == 0], batch["b"][mask == 0])
    assert (batch["a"][mask == 1] - grey).abs().max() < 1e-6
    share = mask.mean((1, 2, 3))
    if holes == "centre":
        assert (share == 0.25).all() and mask[0, 0, 4:12, 4:12].min() == 1
    else:
        assert ((share >= 0.3) & (share < 0.6)).all() and not torch.equal(mask[0], mask[1])


def flat(tmp_path: Path, colour: tuple[int, int, int]) -> str:
    for k in range(3):
        save(tmp_path / f"{k}.png", np.full((64, 64, 3), colour, np.uint8))
    return str(tmp_path)


def test_noise_has_its_deviation(tmp_path):
    stream = stream_of(
        Degraded(path=flat(tmp_path, (128, 128, 128)), noise=20, holdout=1), batch_size=2
    )
    a = stream(0, ("a",))["a"] * 127.5
    assert a.std().item() == pytest.approx(20, rel=0.03) and a.mean().item() == pytest.approx(
        0.5, abs=0.7
    )


def test_colour_is_taken_away_by_its_brightness(tmp_path):
    a = stream_of(
        Degraded(path=flat(tmp_path, (200, 100, 50)), grey=True, holdout=1), batch_size=2
    )(0, ("a",))["a"]
    assert (a * 127.5 + 127.5).round().unique().tolist() == [
        round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    ]


def test_blur_keeps_the_mean_and_removes_detail():
    sharp, soft = (
        stream_of(digits(Degraded, noise=0 if blur else None, blur=blur or 1e-9))(0, ("b", "a"))
        for blur in (0, 2.0)
    )
    assert soft["a"].var() < 0.6 * soft["b"].var()
    assert soft["a"].mean().item() == pytest.approx(soft["b"].mean().item(), abs=0.05)
    assert torch.equal(sharp["b"], soft["b"])


def test_noise_is_the_degradation_if_no_other_is_chosen():
    assert Degraded(path="x").levels() == 25 and Degraded(path="x", jpeg=20).levels() == 0
    assert Degraded(path="x", blur=1, noise=5).levels() == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"noise": 0}, "changes nothing"),
        ({"noise": [30, 10]}, "no range"),
        ({"jpeg": 120}, "no quality"),
        ({"blur": [1]}, "no range"),
        ({"grey": True, "channels": 1}, "no colour"),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(UserError, match=words):
        Degraded(path="x", **options)


def test_images_come_from_one_place():
    for options in ({}, {"path": "x", "of": Digits(resolution=16, channels=1, classes=10)}):
        with pytest.raises(UserError, match="needs images|both given"):
            SuperRes(**options).scan()
