"""Picks stand for inputs: a draw for what gan sample draws, others for what lies between.

Directions are found where they were put.
"""

from __future__ import annotations

import pytest
import torch
from helpers import small

from gancli.config.build import build_game
from gancli.errors import UserError
from gancli.game import Stage
from gancli.inference import explore, sampling
from gancli.inference.explore import Between, Directions, Draw, Mixed, Model, Moved
from gancli.inference.explore_directions import (
    find_components,
    find_directions,
    find_moving_latents,
    has_directions,
)


@pytest.fixture(scope="module")
def styled() -> Model:
    torch.manual_seed(0)
    game = build_game(small("stylegan2", "model.conditional=true"), trust=None)
    game.eval().requires_grad_(False)
    game.generator.w_avg.normal_()
    return Model(game, game.generator, ("zero", "one"))


@pytest.fixture(scope="module")
def coded() -> Model:
    game = build_game(small("infogan"), trust=None).eval().requires_grad_(False)
    return Model(game, game.generator)


def refuse(draw: Draw) -> Directions:
    raise AssertionError(f"{draw} needs no directions")


def test_a_draw_is_what_gan_sample_draws(styled):
    draw = Draw(seed=3, label=1, options={"truncation": 0.5, "noise": "fixed"})
    want = sampling.draw_inputs(
        styled.game, 1, seed=3, label=torch.tensor([1]), options={"truncation": 0.5}
    )
    got = explore.make_inputs(styled, draw, refuse)
    assert got.keys() == want.keys() == {"z", "label", "psi", "psi_layers"}
    assert all(torch.equal(got[key], want[key]) for key in want)


def test_styles_make_the_bits_that_latents_make(styled):
    draw = Draw(seed=3, label=1, options={"truncation": 0.5})
    inputs = explore.make_inputs(styled, draw, refuse)
    styles = {"styles": explore.make_styles(styled, inputs)}
    one, other = (explore.make_items(styled, part, draw) for part in (inputs, styles))
    assert torch.equal(one, other)


def test_the_ends_of_a_way_are_its_picks(styled, coded):
    ends = (Draw(seed=1), Draw(seed=2))
    way = explore.walk_between(*ends, 3)
    for model in (styled, coded):
        first, middle, last = (explore.make_inputs(model, pick, refuse) for pick in way)
        a, b = (explore.make_movable(model, pick, refuse) for pick in ends)
        moving = [key for key in a if sampling.can_move(key, a[key])]
        for key in moving:
            assert torch.allclose(first[key], a[key], atol=1e-6)
            assert torch.allclose(last[key], b[key], atol=1e-6)
            assert not torch.allclose(middle[key], a[key], atol=1e-2)
    assert torch.equal(first["code0"], last["code0"]), "a category has no between"


def test_styles_are_taken_in_the_chosen_layers_alone(styled):
    of, other = Draw(seed=1), Draw(seed=2, label=1)
    mixed = explore.make_inputs(styled, Mixed(of=of, other=other, layers=(1, 3)), refuse)["styles"]
    a, b = (explore.make_movable(styled, pick, refuse)["styles"] for pick in (of, other))
    assert torch.equal(mixed[:, 1:3], b[:, 1:3])
    assert torch.equal(mixed[:, :1], a[:, :1]) and torch.equal(mixed[:, 3:], a[:, 3:])


def test_a_move_is_told_in_standard_deviations(styled):
    of = Draw(seed=1)
    start = explore.make_movable(styled, of, refuse)["styles"]
    width = start.shape[2]
    found = Directions("styles", torch.eye(width), torch.full((width,), 2.0), torch.zeros(width))
    moved = explore.make_inputs(
        styled, Moved(of=of, amounts=(0.0, 1.5), layers=(0, 2)), lambda _: found
    )["styles"]
    shift = moved - start
    assert torch.allclose(shift[0, :2, 1], torch.full((2,), 3.0), atol=1e-5)
    assert shift.abs().sum().item() == pytest.approx(6.0, abs=1e-3)


def test_codes_are_replaced_and_all_else_stays(coded):
    plain = explore.make_inputs(coded, Draw(seed=1), refuse)
    changed = explore.make_inputs(coded, Draw(seed=1, codes={"code0": 7, "code1": 0.5}), refuse)
    assert changed["code0"].tolist() == [7] and changed["code0"].dtype is torch.int64
    assert changed["code1"].tolist() == [0.5]
    assert torch.equal(changed["z"], plain["z"])


def test_truncation_is_offered_where_it_can_be_used(styled, coded):
    names = [option.name for option in explore.find_options(styled.game)]
    assert names == ["truncation", "truncated_layers", "noise", "level"]
    # InfoGAN's latents are uniform, and have an end already.
    assert [option.name for option in explore.find_options(coded.game)] == []
    assert Stage.PICTURES not in {option.stage for option in explore.find_options(styled.game)}


def test_components_lie_where_points_spread():
    rng = torch.Generator().manual_seed(0)
    points = torch.randn(4000, 5, generator=rng, dtype=torch.float64)
    points = points * torch.tensor([1.0, 9.0, 1.0, 3.0, 1.0]) + 7
    found = find_components(points, count=2)
    assert found.vectors.abs().argmax(1).tolist() == [1, 3]
    assert found.vectors.max(1).values.tolist() == pytest.approx([1, 1], abs=0.01)
    assert found.scales.tolist() == pytest.approx([9, 3], rel=0.05)
    assert found.shares.tolist() == pytest.approx([81 / 93, 9 / 93], abs=0.02)


def test_latents_that_move_pictures_are_found():
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 6, generator=rng, dtype=torch.float64)
    seen = torch.zeros(4000, 9, dtype=torch.float64)
    seen[:, 4] = 5 * z[:, 3]
    seen[:, 2] = 2 * z[:, 0] + 0.1 * z[:, 5].square()
    found = find_moving_latents(z, seen, count=2)
    assert found.vectors.abs().argmax(1).tolist() == [3, 0]
    assert torch.allclose(found.vectors @ found.vectors.T, torch.eye(2), atol=1e-5)
    assert found.scales.tolist() == pytest.approx([1, 1], rel=0.05)
    assert found.shares.tolist() == pytest.approx([25 / 29, 4 / 29], abs=0.02)


def test_directions_of_a_class_are_the_same_each_time(coded):
    assert has_directions(coded)
    one, other = (find_directions(coded, Draw(seed=k), count=3, draws=128) for k in (0, 5))
    assert one.key == "z" and one.vectors.shape == (3, coded.game.noise)
    assert torch.equal(one.vectors, other.vectors)


def test_a_latent_that_is_none_has_no_directions(coded, monkeypatch):
    planes = lambda *_, **__: {"z": torch.zeros(1, 4, 4)}  # noqa: E731
    monkeypatch.setattr(coded.game, "inputs", planes)
    with pytest.raises(UserError, match="no latent with directions"):
        find_directions(coded, Draw(seed=0))


def test_a_pick_is_written_in_plain_values():
    first = Draw(seed=1, label=1, options={"truncation": 0.5})
    second = Draw(seed=2, label=(1.0, 0.0), codes={"code0": 3})
    moved = Moved(of=first, amounts=(0.0, -2.0), layers=(0, 4))
    assert explore.describe_pick(moved, ("cat", "dog")) == {
        "of": {"seed": 1, "label": 1, "class": "dog", "truncation": 0.5},
        "directions": [0.0, -2.0],
        "layers": [0, 3],
    }
    between = Between(first=moved, second=second, share=0.25)
    assert explore.describe_pick(Mixed(of=between, other=first, layers=(2, 4))) == {
        "of": {
            "between": [
                {
                    "of": {"seed": 1, "label": 1, "truncation": 0.5},
                    "directions": [0.0, -2.0],
                    "layers": [0, 3],
                },
                {"seed": 2, "label": [1.0, 0.0], "codes": {"code0": 3}},
            ],
            "share": 0.25,
        },
        "styles_of": {"seed": 1, "label": 1, "truncation": 0.5},
        "layers": [2, 3],
    }
    assert explore.find_draw(between) is first
