"""Silhouettes against silhouettes: is there a body where the target has one, whatever its colours?

SSIM alone is blind to poses: the mean of all pictures is often nearer to a target than its source.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gancli.data.posed import find_background, find_foreground
from gancli.metrics.ssim import require_pairs


def silhouette_iou(x: Tensor, y: Tensor, background: tuple[int, ...] | None) -> float:
    """Measures the intersection over union of the foregrounds of images, a mean over images.

    Foreground is what differs from the background by more than 8 of 255 in any channel. Where two
    pictures have none at all they agree.

    Args:
        x: (N,C,H,W) uint8, what was made.
        y: Likewise, the targets.
        background: Its level in each channel; None: the median of each target's border, for both.
    """
    require_pairs(x, y, "the silhouette")
    levels = find_background(y, background)
    made = find_foreground(x, levels)
    true = find_foreground(y, levels)
    both = (made & true).sum((1, 2, 3))
    either = (made | true).sum((1, 2, 3))
    return torch.where(either == 0, 1.0, both / either.clamp(min=1)).mean().item()
