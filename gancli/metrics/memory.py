"""Does the generator copy its training images?

Nearest training image against nearest held-out image.
"""

from __future__ import annotations

from torch import Tensor

from gancli.metrics.fid import check_features
from gancli.metrics.prdc import nearest, share

RARE = 0.01  # the share of held-out images that count as "as near as a copy"


def memorisation(
    fake_features: Tensor, train_features: Tensor, held_features: Tensor
) -> dict[str, float]:
    """Compares distances to the nearest training image with those of new real images.

    Args:
        fake_features: (M,D)
        train_features: (N,D), of the same backbone.
        held_features: (H,D), likewise.

    Returns:
        ratio: Median distance fake -> training over median distance held-out -> training. Held-out
            images are new by definition, so 1 is what new samples reach; 0 is copying; poor samples
            lie above 1. (After Meehan 2020: comparing fake -> training with fake -> held-out would
            favour the larger set.) 0 / 0, all held-out images copies too, gives 1.
        copies: The share of fakes that are as near to a training image as only the nearest 1 % of
            held-out images are; 0.01 by chance.
        train_share: The share of fakes whose nearest image of both sets is a training image; ties
            count half.
        chance: The train_share, N / (N + H), expected of a generator that treats them alike.

    Raises:
        UserError: There are no fakes, no training images or fewer than 2 held-out ones, or a number
            is not finite.
    """
    assert fake_features.shape[1] == train_features.shape[1] == held_features.shape[1], (
        "all sets must come from one backbone"
    )
    fake = check_features(fake_features, "generated", metric="memorisation", least=1).double()
    train = check_features(train_features, "training", metric="memorisation", least=1).double()
    held = check_features(held_features, "held-out", metric="memorisation", least=2).double()
    to_train = nearest(fake, train)
    to_held = nearest(fake, held)
    usual = nearest(held, train).sqrt()
    distance = to_train.sqrt()
    typical = usual.median()
    # Equal to that distance counts: where 1 % of the held-out images are copies, it is 0.
    near = distance <= usual.quantile(RARE, interpolation="lower")
    ratio = 1.0 if typical == 0 == distance.median() else (distance.median() / typical).item()
    return {
        "ratio": ratio,
        "copies": share(near),
        "train_share": share(to_train < to_held) + share(to_train == to_held) / 2,
        "chance": len(train) / (len(train) + len(held)),
    }
