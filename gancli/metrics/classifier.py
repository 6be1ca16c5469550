"""The backbone `self`: a small classifier trained on a run's own labelled images.

It is trained once, in under a minute on one core.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.data.base import Decoded, digest_of
from gancli.data.draws import draws, permutation
from gancli.errors import UserError
from gancli.metrics import store
from gancli.seeding import fork_random, seed_of

log = logging.getLogger("gancli")
VERSION = 1  # raise it when the same data would give another classifier
LARGEST = 32  # pixels of the longer side: what is larger is averaged down, or a minute would not do
BATCH = 128
SHIFT = 2
LR = 5e-3
SEEN = (10_000, 80_000)  # images shown in training: at least and at most
EPOCHS = 8
# share and number of the images that the accuracy is measured on
ASIDE = 0.1
MOST_ASIDE = 5_000
FEATURES = 128
CPU = torch.device("cpu")


class Classifier(nn.Module):
    """Four convolutions.

    Args:
        channels: Of the images.
        classes: That it tells apart.
    """

    def __init__(self, channels: int, classes: int):
        super().__init__()
        widths = [(channels, 24, 5, 2), (24, 48, 3, 2), (48, 96, 3, 2), (96, FEATURES, 3, 1)]
        self.trunk = nn.Sequential(*(block(*width) for width in widths))
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features (N,128) and logits (N,classes) of images (N,C,h,w) in [-1,1].

        h and w are at most LARGEST.
        """
        # Mean over positions: images of any size have the same number of features.
        features = self.trunk(x).mean((2, 3))
        return features, self.head(features)


def block(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Makes a convolution with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def inner_size(height: int, width: int) -> tuple[int, int]:
    """Returns the size at which the classifier looks at images."""
    scale = min(1.0, LARGEST / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def scale_images(images: Tensor) -> Tensor:
    """Scales uint8 images (N,C,H,W) to float32 in [-1,1] at the inner size.

    Channels last, which its convolutions read 1.3 times as fast.
    """
    x = images.float().sub_(127.5).mul_(1 / 127.5)
    size = inner_size(*images.shape[-2:])
    if size != tuple(images.shape[-2:]):
        x = F.adaptive_avg_pool2d(x, size)
    return x.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Trained:
    """A classifier in eval mode.

    Attributes:
        net: The network.
        accuracy: On images that training did not see.
        n_aside: How many those are.
    """

    net: Classifier
    accuracy: float
    n_aside: int


def train(images: Tensor, labels: Tensor, classes: int, *, seed: int = 0) -> Trained:
    """Trains a classifier.

    The same seed and thread count give the same bits, and no global random state changes.

    Args:
        images: uint8 (N,C,H,W) on the CPU.
        labels: int64 (N,)
        classes: How many there are.
        seed: Of all that is drawn.

    Raises:
        UserError: There is nothing to train on.
    """
    # One is set aside, and batch norm needs two to learn from.
    if len(images) < 3 or len(labels.unique()) < 2:
        raise UserError(
            f"a classifier needs at least 3 images and two classes, and there are {len(images)} "
            f"images of {len(labels.unique())} classes",
            "a data set with labels, and a larger dataset.limit",
        )
    order = torch.from_numpy(permutation(len(images), seed_of(seed, "aside")))
    # One at least: without it no accuracy could be told.
    n_aside = min(max(1, int(ASIDE * len(order))), MOST_ASIDE)
    # more would not be shown
    aside = order[:n_aside]
    rest = order[n_aside : n_aside + SEEN[1]]
    with fork_random(seed_of(seed, "classifier"), CPU), torch.enable_grad():
        net = Classifier(images.shape[1], classes).to(memory_format=torch.channels_last)
        fit(
            net,
            images[rest],
            labels[rest],
            rng=torch.Generator().manual_seed(seed_of(seed, "order")),
        )
    net.eval().requires_grad_(False)
    return Trained(net, accuracy(net, images[aside], labels[aside]), len(aside))


def fit(net: Classifier, images: Tensor, labels: Tensor, *, rng: torch.Generator) -> None:
    """Fits a network to uint8 images (N,C,H,W) and labels (N,): AdamW, one cycle of the rate."""
    # Once: the same for every epoch
    images = torch.cat([scale_images(some) for some in images.split(1024)])
    batch = min(BATCH, len(images))
    steps = math.ceil(min(max(EPOCHS * len(images), SEEN[0]), SEEN[1]) / batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    pool = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        # What an epoch leaves, less than a batch, is dropped: batches are of one size.
        if len(pool) < batch:
            pool = torch.randperm(len(images), generator=rng)
        chosen, pool = pool.split([batch, len(pool) - batch])
        loss = F.cross_entropy(net(shift_images(images[chosen], rng))[1], labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def shift_images(x: Tensor, rng: torch.Generator) -> Tensor:
    """Moves each image of (N,C,H,W) by up to SHIFT pixels.

    Its border is repeated, since a black one would be a cue.
    """
    n, _, height, width = x.shape
    windows = F.pad(x, (SHIFT,) * 4, mode="replicate").unfold(2, height, 1).unfold(3, width, 1)
    row, column = torch.randint(2 * SHIFT + 1, (2, n), generator=rng)
    return windows[torch.arange(n), :, row, column].contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def accuracy(net: Classifier, images: Tensor, labels: Tensor) -> float:
    """Returns the share of uint8 images (N,C,H,W) whose label (N,) the network names."""
    device = net.head.weight.device
    hits = [
        (net(scale_images(some.to(device)))[1].argmax(1).cpu() == wanted).float()
        for some, wanted in zip(images.split(1024), labels.split(1024), strict=True)
    ]
    return torch.cat(hits).mean().item()


def for_data(data: Decoded, size: tuple[int, int], classes: int) -> Trained:
    """Returns the classifier of a labelled data set, from the disk if it was trained before.

    Args:
        data: The data set.
        size: (h, w) of `data.images`.
        classes: How many there are.
    """
    key = digest_of(
        [
            "classifier",
            store.identity(data),
            repr((VERSION, tuple(size), data.images.shape[1], classes)),
        ]
    )
    kept = store.read(key)
    if kept is not None:
        with torch.device("meta"):  # no initialisation: it would draw from the global generator
            net = Classifier(data.images.shape[1], classes)
        net.load_state_dict(kept["net"], assign=True)
        return Trained(net.eval().requires_grad_(False), kept["accuracy"], kept["n_aside"])
    log.info(
        "training the classifier that labels the samples, on %d images; it is kept for the next "
        "time",
        len(data),
    )
    assert data.labels is not None
    trained = train(data.images, data.labels, classes)
    store.write(
        key,
        {"net": trained.net.state_dict(), "accuracy": trained.accuracy, "n_aside": trained.n_aside},
    )
    return trained


def unstack_digits(data: Decoded) -> Decoded:
    """Turns stacked_mnist, (N,3,H,W) with labels 0 to 999, into its different digits.

    They are (M,1,H,W) with labels 0 to 9, each digit once: it occurs in several images, and one set
    aside must not be among those trained on.
    """
    assert data.labels is not None
    images = data.images.flatten(0, 1)[:, None]
    labels = torch.stack(
        # Red, green and blue are hundreds, tens and ones.
        [data.labels // 100, data.labels // 10 % 10, data.labels % 10],
        1,
    ).flatten()
    # Whole numbers below 2^53 are exact in float64, so equal digits, and for all that matters only
    # those, have equal sums.
    weights = torch.from_numpy(
        draws(seed_of("fingerprint"), np.arange(images[0].numel())) % np.uint64(2**34)
    ).double()
    sums = torch.cat([some.flatten(1).double() @ weights for some in images.split(4096)])
    first = np.sort(np.unique(sums.numpy(), return_index=True)[1])
    return Decoded(
        images=images[first],
        labels=labels[first],
        classes=tuple("0123456789"),
        digest=digest_of([data.digest, "digits"]),
    )


def checksum(net: nn.Module) -> str:
    """Returns 16 hexadecimal digits of all weights.

    Another machine may round otherwise and train another network.
    """
    return digest_of(
        np.ascontiguousarray(value.cpu().numpy()).tobytes() for value in net.state_dict().values()
    )[:16]
