"""Silhouettes: what SSIM cannot see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gancli.data.figures import (
    BACKGROUND,
    draw_figure,
    draw_person,
    draw_pose,
    find_joints,
)
from gancli.metrics.silhouette import silhouette_iou
from gancli.metrics.ssim import ssim

GREY = (BACKGROUND,) * 3


def figures(people, poses, n=12):
    made = [
        draw_figure(
            draw_person(people + k), find_joints(draw_pose(poses + k), draw_person(k).height), 64
        )
        for k in range(n)
    ]
    return torch.from_numpy(np.stack(made))


def test_a_ratio_of_areas():
    empty = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    one, other = empty.clone(), empty.clone()
    one[:, 0, :, :4] = 109
    other[:, 1, :, 2:6] = 0
    assert silhouette_iou(one, other, (100, 100, 100)) == pytest.approx(2 / 6)
    assert silhouette_iou(one, one.flip(1), (100, 100, 100)) == 1, "in whatever colours"
    assert silhouette_iou(empty, empty, (100, 100, 100)) == 1
    assert silhouette_iou(empty, other, (100, 100, 100)) == 0
    assert silhouette_iou(empty + 8, empty, (100, 100, 100)) == 1, "8 of 255 are no foreground"
    both = silhouette_iou(torch.cat([one, one]), torch.cat([one, other]), (100, 100, 100))
    assert both == pytest.approx((1 + 2 / 6) / 2), "a mean over pictures"


def test_without_a_colour_the_border_of_the_target_is_background():
    target = torch.full((2, 1, 8, 8), 50, dtype=torch.uint8)
    target[1] = 200
    target[:, :, 2:6, 2:6] = 120
    assert silhouette_iou(target, target, None) == 1
    assert silhouette_iou(torch.full_like(target, 50), target, None) == pytest.approx(0.125)


def test_ssim_alone_is_blind_and_the_silhouette_is_not():
    """Right pose in wrong colours, the source copied, and the mean of all pictures."""
    target = figures(0, 0)
    recoloured = figures(100, 0)
    source = figures(0, 100)
    mean = figures(200, 200, n=60).float().mean(0).round().byte().expand_as(target)
    iou = {key: silhouette_iou(x, target, GREY) for key, x in locals().items() if key in NAMES}
    seen = {key: ssim(x, target) for key, x in locals().items() if key in NAMES}
    assert seen["mean"] > seen["source"], "the mean of all looks nearer than the same person"
    assert iou["recoloured"] > 0.8 > 0.6 > max(iou["mean"], iou["source"])
    assert seen["recoloured"] < 0.9, "and colours are left to ssim"


NAMES = ("recoloured", "source", "mean")
