"""ADA: each operation against its formula at p = 1, nothing at p = 0, and derivatives."""

from __future__ import annotations

import math

import pytest
import torch

from gancli.augment.ada import ADA, BLIT, COLOUR, GEOMETRY, NORMAL, OPS, UNIFORM, recolour
from gancli.critic import BoundCritic
from gancli.game import Progress
from gancli.losses.penalties import GradientPenalty


def augment(x, *ops, p=1.0, seed=0):
    """x through operations of full strength, p fixed."""
    torch.manual_seed(seed)
    return ADA(resolution=list(x.shape[2:]), strength=dict.fromkeys(ops, 1.0), p=p, target=None)(x)


def draws(**given):
    return {
        name: torch.tensor([given.get(name, 0.0)], dtype=torch.float64)
        for name in (*UNIFORM, *NORMAL)
    }


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (4, 8, 14), (2, 9, 9), (3, 2, 2)])
def test_nothing_happens_at_p_0_and_much_at_p_1(shape):
    x = torch.randn(8, *shape)
    assert torch.equal(augment(x, *OPS, p=0.0), x)
    out = augment(x, *OPS)
    assert out.shape == x.shape and out.isfinite().all()
    assert all(not torch.equal(a, b) for a, b in zip(out, x, strict=True))


def test_an_operation_without_strength_is_off():
    x = torch.randn(16, 3, 8, 8)
    assert torch.equal(ADA(resolution=8, strength={}, p=1.0)(x), x)
    half = ADA(resolution=8, strength={"brightness": 0.5}, p=0.5, target=None)
    x = torch.randn(4000, 3, 1, 2)
    assert (half(x) != x).any(
        (1, 2, 3) if x.ndim == 4 else 1
    ).float().mean().item() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("op", OPS)
def test_the_chance_of_each_operation_is_p(op):
    """An image on which the draw does nothing (no flip, no quarter turn, no whole pixel, inside the
    dark) counts as left alone.
    """
    x = torch.randn(3000, 3, 4, 4).clamp(-1, 1)
    share = (augment(x, op, p=0.4) != x).flatten(1).any(1).float().mean().item()
    acts = {"xflip": 0.5, "rotate90": 0.75, "xint": 0, "lumaflip": 0.5}.get(op, 1.0)
    assert share == pytest.approx(0.4 * acts, abs=0.03)


def test_a_higher_p_changes_more_images_and_no_random_number():
    x = torch.randn(64, 3, 8, 8)
    results = []
    states = []
    for p in (0.0, 0.3, 0.6):
        results.append(augment(x, "brightness", p=p))
        states.append(torch.get_rng_state())
    assert all(torch.equal(states[0], state) for state in states), (
        "a resume with another p would leave the track"
    )
    changed = [(out != x).flatten(1).any(1) for out in results]
    assert changed[1].sum() < changed[2].sum() and (changed[2] | ~changed[1]).all()
    assert torch.equal(results[2][changed[1]], results[1][changed[1]]), "the amounts are the same"
    assert torch.equal(augment(x, *OPS, p=0.5), augment(x, *OPS, p=0.5))
    assert not torch.equal(augment(x, *OPS, p=0.5), augment(x, *OPS, p=0.5, seed=1))


def test_flips():
    x = torch.randn(200, 3, 6, 5)
    out = augment(x, "xflip")
    flipped = torch.tensor([torch.equal(a, b.flip(2)) for a, b in zip(out, x, strict=True)])
    assert torch.equal(out[~flipped], x[~flipped]) and 70 < flipped.sum() < 130


@pytest.mark.parametrize(("shape", "turns"), [((6, 6), (0, 1, 2, 3)), ((6, 5), (0, 2))])
def test_quarter_turns_and_half_turns(shape, turns):
    x = torch.randn(400, 2, *shape)
    counts = dict.fromkeys(turns, 0)
    for a, b in zip(augment(x, "rotate90"), x, strict=True):
        (k,) = [k for k in turns if torch.equal(a, torch.rot90(b, k, (1, 2)))]
        counts[k] += 1
    assert all(abs(n - 400 / len(turns)) < 45 for n in counts.values()), counts


def test_whole_pixels():
    x = torch.randn(600, 1, 16, 24)
    padded = torch.nn.functional.pad(x, (3, 3, 2, 2), mode="reflect")
    found = []
    for a, b in zip(augment(x, "xint"), padded, strict=True):
        found += [
            (dy, dx)
            for dy in range(5)
            for dx in range(7)
            if torch.equal(a, b[:, dy : dy + 16, dx : dx + 24])
        ]
    assert len(found) == 600, "each is a crop of the mirrored image"
    assert {dy for dy, _ in found} == {*range(5)} and {dx for _, dx in found} == {
        *range(7)
    }  # an eighth: 2 and 3


def spot(size=33):
    """A smooth blob in the middle, twice as wide as high."""
    at = torch.arange(size) - size // 2
    return torch.exp(-(at[None] ** 2 / 32 + at[:, None] ** 2 / 8))[None, None]


def moments(x):
    """Mass, middle and covariance of each image; (N,1,H,W) -> (N,), (N,2), (N,2,2)"""
    h, w = x.shape[2:]
    y, x_ = torch.meshgrid(
        torch.arange(h) - (h - 1) / 2, torch.arange(w) - (w - 1) / 2, indexing="ij"
    )
    at = torch.stack([x_, y]).flatten(1)
    mass = x.flatten(1)
    middle = (mass[:, None] * at).sum(2) / mass.sum(1)[:, None]
    off = at - middle[:, :, None]
    return (
        mass.sum(1),
        middle,
        (mass[:, None, None] * off[:, :, None] * off[:, None]).sum(3) / mass.sum(1)[:, None, None],
    )


def test_scale_and_stretch_are_log_normal():
    x = spot(65).expand(150, -1, -1, -1)
    for op, dets in (("scale", True), ("aniso", False)):
        mass, middle, covariance = moments(augment(x, op))
        # sigma 4 and 2 before
        wide = covariance[:, 0, 0].log2() / 2 - 2
        high = covariance[:, 1, 1].log2() / 2 - 1
        assert middle.abs().max() < 0.02
        assert wide.mean().abs() < 0.05 and wide.std().item() == pytest.approx(0.2, abs=0.05)
        near = high.abs() < 0.5  # a picture made much smaller shows its mirror images
        assert near.float().mean() > 0.9 and torch.allclose(
            high[near], wide[near] if dets else -wide[near], atol=0.05
        )
        assert (
            torch.allclose(mass, mass.mean().expand(150), rtol=0.01) != dets
        )  # a stretch keeps the area


def test_turns_are_uniform_and_turn_about_the_middle():
    out = augment(spot(65).expand(200, -1, -1, -1), "rotate")
    mass, middle, covariance = moments(out)
    assert middle.abs().max() < 0.02 and torch.allclose(mass, mass.mean().expand(200), rtol=1e-3)
    assert torch.allclose(covariance.det(), torch.full((200,), 64.0), rtol=0.03), (
        "nothing is stretched"
    )
    angle = 0.5 * torch.atan2(2 * covariance[:, 0, 1], covariance[:, 0, 0] - covariance[:, 1, 1])
    assert angle.mean().abs() < 0.2 and angle.std().item() == pytest.approx(
        math.pi / 12**0.5, abs=0.1
    )


def test_moves_by_fractions():
    _, middle, covariance = moments(augment(spot(65).expand(200, -1, -1, -1), "xfrac"))
    near = (middle.abs() < 16).all(1)  # farther, the mirror image enters
    assert near.float().mean() > 0.85 and torch.allclose(
        covariance[near, 0, 0], torch.tensor(16.0), rtol=0.1
    )
    assert middle[near].std(0).tolist() == pytest.approx(
        [7, 7], abs=1.2
    )  # N(0, 65 / 8), cut off at 16
    assert ((middle[near] - middle[near].round()).abs() > 0.1).float().mean() > 0.6, (
        "not whole pixels"
    )


def test_brightness_adds_and_contrast_multiplies():
    x = torch.randn(2000, 3, 2, 2)
    added = augment(x, "brightness") - x
    assert torch.allclose(added, added[:, :1, :1, :1].expand_as(x), atol=1e-6)
    assert added.mean().abs() < 0.02 and added[:, 0, 0, 0].std().item() == pytest.approx(
        0.2, abs=0.02
    )
    factor = augment(x, "contrast") / x
    assert torch.allclose(factor, factor[:, :1, :1, :1].expand_as(x), rtol=1e-3)
    assert factor[:, 0, 0, 0].log2().std().item() == pytest.approx(0.5, abs=0.04)


def test_luma_is_mirrored_and_hue_and_saturation_keep_it():
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    grey = x.mean(1, keepdim=True)
    flipped = recolour(x, draws(lumaflip=-0.3))
    assert torch.allclose(flipped.mean(1, keepdim=True), -grey) and torch.allclose(
        flipped - flipped.mean(1, True), x - grey
    )
    assert torch.equal(recolour(x, draws(lumaflip=0.3)), x)
    assert torch.allclose(recolour(x, draws(saturation=1.0)), grey + 2 * (x - grey))
    assert torch.allclose(recolour(x, draws(saturation=-60.0)), grey.expand_as(x)), (
        "without saturation it is grey"
    )
    for hue in (0.2, -0.7, 1.0):
        assert torch.allclose(recolour(x, draws(hue=hue)).mean(1, keepdim=True), grey)
        assert torch.allclose(recolour(x, draws(hue=hue)).square().sum(1), x.square().sum(1)), (
            "a turn keeps lengths"
        )


def test_hue_turns():
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    assert torch.allclose(recolour(recolour(x, draws(hue=1.0)), draws(hue=1.0)), x), (
        "half a turn twice"
    )
    assert torch.allclose(recolour(x, draws(hue=2 / 3)), x.roll(1, 1)), (
        "a third of a turn: red becomes green"
    )
    assert torch.allclose(recolour(x, draws(hue=-2 / 3)), x.roll(-1, 1))


def test_colour_in_its_order():
    """Brightness first, then the matrices; as products of 3 x 3 matrices about the grey axis."""
    x = torch.randn(1, 3, 5, 5, dtype=torch.float64)
    given = {"brightness": 0.7, "contrast": -1.3, "lumaflip": -0.1, "hue": 0.37, "saturation": 0.6}
    axis = torch.ones(3, dtype=torch.float64) / 3**0.5
    grey = torch.outer(axis, axis)
    eye = torch.eye(3, dtype=torch.float64)
    cross = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64) / 3**0.5
    turn = torch.linalg.matrix_exp(0.37 * math.pi * cross)
    matrix = (grey + (eye - grey) * 2**0.6) @ turn @ (eye - 2 * grey) * 2 ** (0.5 * -1.3)
    want = torch.einsum("ij,njhw->nihw", matrix, x + 0.2 * 0.7)
    assert torch.allclose(recolour(x, draws(**given)), want)
    one = x[:, :1]
    assert torch.allclose(
        recolour(one, draws(**given)), recolour(one.expand(-1, 3, -1, -1), draws(**given))[:, :1]
    ), "grey as RGB would"


def test_alpha_moves_but_is_not_coloured():
    x = torch.rand(8, 4, 8, 8)
    out = augment(x, *COLOUR)
    assert torch.equal(out[:, 3], x[:, 3]) and not torch.equal(out[:, :3], x[:, :3])
    two = x[:, 2:]
    assert torch.equal(augment(two, *COLOUR)[:, 1], two[:, 1])
    assert not torch.equal(augment(x, *GEOMETRY)[:, 3], x[:, 3])


def test_the_hole_is_half_the_size():
    gone = augment(torch.ones(2000, 2, 32, 32), "cutout") == 0
    for size in (gone.any(3)[:, 0].sum(1), gone.any(2)[:, 0].sum(1)):
        assert 15 <= size.max() <= 17 and 7 <= size.min() <= 9
    assert gone[:, 0].any(0).all()


def test_derivatives_are_those_that_differences_show():
    x = torch.randn(4, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: augment(v, *OPS, p=0.7), x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda v: augment(v, *OPS, p=0.7).pow(3), x, fast_mode=True)


@pytest.mark.parametrize("group", [BLIT, GEOMETRY, COLOUR])
def test_r1_through_the_augmentation_reaches_the_critic(group):
    """Against differences: the penalty is taken at the image as it is, not at what the critic sees
    of it.
    """
    torch.manual_seed(0)
    weight = torch.randn(48, dtype=torch.float64, requires_grad=True)
    real = torch.randn(4, 3, 4, 4, dtype=torch.float64)

    def penalty(w):
        torch.manual_seed(3)
        ada = ADA(resolution=4, strength=dict.fromkeys(group, 1.0), p=0.8, target=None)
        critic = BoundCritic(lambda v: v.flatten(1), lambda h: (h * w).sum(1).square(), augment=ada)
        r1 = GradientPenalty(weight=5.0, at="real", target=0.0)
        return r1.apply_weight(r1(critic, real, None, None, None, Progress()), Progress())

    assert penalty(weight) > 0
    assert torch.autograd.gradcheck(penalty, weight, atol=1e-4)


def test_number_formats():
    x = torch.rand(4, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (
            torch.equal(augment(x, *OPS), augment(x, *OPS))
            and augment(x, *OPS).dtype == torch.float32
        )
        inside = augment(x, *GEOMETRY)
    assert torch.equal(inside, augment(x, *GEOMETRY)), "bf16 would move pixels"
    assert augment(x.bfloat16(), *OPS).dtype == torch.bfloat16
