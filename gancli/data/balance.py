"""Class-balanced draws: each class as often as any other, as a pure function of position."""

from __future__ import annotations

import functools

import numpy as np
from torch import Tensor

from gancli.data.base import Decoded, require
from gancli.data.draws import draws, permutation
from gancli.seeding import seed_of

MOST_NAMED = 10  # classes; of more the rarest and the commonest
NO_LABELS = "dataset.balance=true draws each class equally often, and the data set has no labels"
NO_LABELS_HINT = "dataset.balance=false, or a sub-folder for each class"


class Balanced:
    """Draws a class, then the next image of that class; any number of ranks draws alike.

    Positions are cut into rounds of as many as there are classes; a round has each class once, in
    an order of its own. The k-th round takes the k-th image of the class, in epochs of that class,
    each shuffled anew: within a class every image is drawn as often as any other.

    Args:
        labels: (N,) int64 classes.
        seed: Of the run.

    Raises:
        UserError: There are no labels, or they are attributes, of which an image may have several.
    """

    def __init__(self, labels: Tensor | None, *, seed: int):
        require(labels is not None, NO_LABELS, NO_LABELS_HINT)
        assert labels is not None
        require(
            labels.ndim == 1,
            "dataset.balance=true draws each class equally often, and these labels are attributes, "
            "of which an image may have several",
            "dataset.balance=false",
        )
        found = labels.cpu().numpy()
        self.seed = seed
        # Classes without an image, as dataset.limit may leave them, cannot be drawn
        self.rows = [np.flatnonzero(found == label) for label in np.unique(found)]
        self.epoch = functools.lru_cache(maxsize=8 * len(self.rows))(self.shuffle_epoch)

    def shuffle_epoch(self, place: int, epoch: int, salt: str) -> np.ndarray:
        """Returns the order of an epoch of one class: indices of images (n,) int64."""
        rows = self.rows[place]
        return rows[permutation(len(rows), seed_of(self.seed, "class", place, epoch, salt))]

    def index(self, first: int, n: int, salt: str) -> np.ndarray:
        """Finds the images (n,) int64 at the positions first ... first + n - 1."""
        classes = len(self.rows)
        positions = np.arange(first, first + n)
        rounds = positions // classes
        each = np.unique(rounds)
        counters = each[:, None] * classes + np.arange(classes)
        keys = draws(seed_of(self.seed, "round", salt), counters.reshape(-1))
        # Stable, as in `permutation`
        orders = np.argsort(keys.reshape(-1, classes), axis=1, kind="stable")
        places = orders[rounds - each[0], positions % classes]
        found = np.empty(n, np.int64)
        for k, (place, number) in enumerate(zip(places.tolist(), rounds.tolist(), strict=True)):
            epoch, row = divmod(number, len(self.rows[place]))
            found[k] = self.epoch(place, epoch, salt)[row]
        return found


def describe_balance(data: Decoded, *, noun: str, conditional: bool) -> str:
    """Says what is drawn how often, with the items of each class (many: of two of them).

    Args:
        data: What is trained on.
        noun: What several of its items are called, such as "images".
        conditional: Whether the model sees the labels.
    """
    assert data.labels is not None
    counts = np.bincount(data.labels.cpu().numpy(), minlength=len(data.classes)).tolist()
    named = list(zip(data.classes, counts, strict=True))
    if len(named) > MOST_NAMED:
        named.sort(key=lambda pair: pair[1])
        (low, least), (high, most) = named[0], named[-1]
        held = f"{len(named)} classes, from {low} {least:,} to {high} {most:,}"
    else:
        held = ", ".join(f"{name} {count:,}" for name, count in named)
    said = f"dataset.balance=true: each class is drawn equally often, of {held} {noun}"
    if 0 in counts:
        said += f"; {counts.count(0)} without {noun} cannot be drawn"
    if not conditional:
        said += "; this model sees no labels, and learns the mixture (model.conditional=true)"
    return said
