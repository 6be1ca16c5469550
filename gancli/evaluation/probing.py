"""Images as a trained discriminator sees them: its features of them, and its scores.

Labels do not leak.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gancli.augment.base import Augment
from gancli.checkpoint import Loaded
from gancli.critic import BoundCritic
from gancli.data.base import ORDER_SEED, Decoded, Source, split
from gancli.data.draws import permutation
from gancli.data.folder import Folder
from gancli.errors import UserError
from gancli.evaluation import samples
from gancli.game import Game
from gancli.metrics.features import BATCH
from gancli.render import status
from gancli.seeding import fork_random, seed_of

# where n= is not given; so many features take 400 MB in float64
MOST_IMAGES = 10_000
MOST_VALUES = 50_000_000
MOST_LABELS = 16  # over which a conditional discriminator is averaged
TEST_SHARE = 0.2
BY_SEED = "set apart by the seed"


@dataclass(frozen=True)
class Chosen:
    """The images that are looked at: `n_train` to learn from, then those to test on.

    Attributes:
        images: (N,C,H,W) uint8, or points (N,2,1,1) as networks see them.
        labels: (N,) int64, or None.
        names: Of the files, or numbers.
        classes: Their names.
        n_train: How many there are to learn from.
        facts: For the protocol.
    """

    images: Tensor
    labels: Tensor | None
    names: list[str]
    classes: tuple[str, ...]
    n_train: int
    facts: dict[str, object]


def choose(
    source: Source, loaded: Loaded, *, other: tuple[Decoded | None, str], n: int | None, seed: int
) -> Chosen:
    """Draws the images to look at.

    A fifth of them are to test on: of the set's test split, else of what training held out, else
    by the seed. Images without labels are all to learn from, though nothing will be learnt.

    Args:
        source: The data set.
        loaded: The checkpoint, which knows what it was trained on.
        other: The images of the test split, or None, and the words for them.
        n: How many; None takes what memory bears.
        seed: Of the draws.
    """
    whole = samples.crop_to_size(source.load(), source)
    names = list_names(source, whole)
    labelled = whole.labels is not None
    # Numbers in place of images: the split then says which these are.
    train, held = split(
        replace(whole, images=torch.arange(len(whole)), labels=None),
        limit=source.limit,
        holdout=source.holdout,
    )
    learn = train.images
    test = train.images[:0]
    how = ""
    tests = whole
    if labelled and other[0] is not None:
        tests = samples.crop_to_size(other[0], source)
        how = other[1]
        test = torch.arange(len(other[0]))
    elif labelled and held is not None:
        test = held.images
        how = "held out in training"
    elif labelled:
        test, learn = learn[draw_order(len(learn), seed, "test")].tensor_split(
            [round(TEST_SHARE * len(learn))]
        )
        how = BY_SEED
    n = n or count_most_images(loaded.game, whole)
    test = draw_some(test, round(TEST_SHARE * n), seed)
    learn = draw_some(learn, n - len(test), seed)
    facts: dict[str, object] = {
        "dataset": f"{type(source).__module__}.{type(source).__qualname__}",
        "data": train.digest,
        source.modality().noun: f"{len(learn)} to learn from"
        + (f", {len(test)} to test on ({how})" if len(test) else ""),
    }
    if train.digest == loaded.tree["data"]["hash"]:
        whose = "all of these" if how == BY_SEED else "those to learn from"
        facts["critic_trained_on"] = (
            f"{whose}, with{'' if 'label' in loaded.game.needs else 'out'} their labels"
        )
    labels = None
    if whole.labels is not None:
        assert tests.labels is not None, "test images have labels where those to learn from have"
        labels = torch.cat([whole.labels[learn], tests.labels[test]])
    test_names = names if tests is whole else [f"test-{k:06d}" for k in range(len(tests))]
    return Chosen(
        images=torch.cat([whole.images[learn], tests.images[test]]),
        classes=whole.classes,
        n_train=len(learn),
        facts=facts,
        labels=labels,
        names=[names[k] for k in learn.tolist()] + [test_names[k] for k in test.tolist()],
    )


def list_names(source: Source, data: Decoded) -> list[str]:
    """Lists the files' names of a folder, else the images' numbers in the set as it was loaded."""
    if not isinstance(source, Folder):
        return [f"{k:06d}" for k in range(len(data))]
    files = source.list_files().names
    assert data.place is not None, "a folder's images know their places"
    return [files[k] for k in permutation(len(files), ORDER_SEED)[data.place.numpy()]]


def draw_order(n: int, seed: int, what: str) -> Tensor:
    """Draws an order of n things, of its own for each purpose."""
    return torch.from_numpy(permutation(n, seed_of(seed, "features", what)))


def draw_some(index: Tensor, most: int, seed: int) -> Tensor:
    """Draws at most so many of some indices, in ascending order."""
    return index[draw_order(len(index), seed, "images")[:most]].sort().values


def count_most_images(game: Game, data: Decoded) -> int:
    """Counts how many images' features memory bears."""
    width = view(
        game, in_range(data.images[:1]).to(next(game.parameters()).device), choose_labels(game)[0]
    )[0].shape[1]
    return min(MOST_IMAGES, max(10, MOST_VALUES // width))


def choose_labels(game: Game) -> list[int | None]:
    """Chooses the labels under which a conditional discriminator sees every image.

    All, or some evenly spread; never the image's own.
    """
    if "label" not in game.needs:
        return [None]
    classes = game.classes
    count = min(classes, MOST_LABELS)
    # Evenly spread over all classes, whatever their order.
    return [k * classes // count for k in range(count)]


def find_own_labels(loaded: Loaded, chosen: Chosen) -> Tensor | None:
    """Finds the images' own labels, where the discriminator knows labels of the same classes."""
    known = tuple(map(str, loaded.tree["data"]["classes"]))
    return chosen.labels if "label" in loaded.game.needs and chosen.classes == known else None


def in_range(images: Tensor) -> Tensor:
    """Scales pixels as the stream does: the network may know its images to the last bit."""
    return images.float() if images.is_floating_point() else (images.float() - 127.5) * (1 / 127.5)


def view(game: Game, x: Tensor, label: int | Tensor | None) -> tuple[Tensor, Tensor]:
    """Shows images to the discriminator, without augmentation and instance noise.

    What it saw over white in training, it sees so here.

    Args:
        game: Whose discriminator scores single images.
        x: (N,C,H,W) in [-1,1].
        label: Of all of them, or (N,); None without labels.

    Returns:
        Features (N,F) and scores (N,).
    """
    batch = {"image": x}
    if isinstance(label, int):
        one = torch.eye(game.classes)[label] if game.attributes else torch.tensor(label)
        batch["label"] = one.to(x.device).expand(len(x), *one.shape)
    elif label is not None:
        batch["label"] = label.to(x.device)
    critic = game.image_critic(batch)
    pack = 1
    if isinstance(critic, BoundCritic):
        critic.augment = critic.augment.show if isinstance(critic.augment, Augment) else None
        critic.noise = 0.0
        pack = critic.pack
    # A packed one sees copies of one image: whatever else it saw would show in the features
    x = x.repeat_interleave(pack, 0)
    features = critic.features(x).float()
    scores = critic(x).float()
    return features, scores.reshape(len(scores), -1).mean(1)


def read_features(
    game: Game, images: Tensor, *, own: Tensor | None, seed: int
) -> tuple[Tensor, Tensor]:
    """Reads features and scores of images.

    A conditional discriminator's features are the mean over `choose_labels`, so that no label
    shows in them; its score is the one under the image's own label where that is known, since a
    wrong label is an anomaly too.

    Args:
        game: Whose discriminator scores single images.
        images: As in `Chosen`.
        own: (N,) their own labels, or None.
        seed: Of what a network draws.

    Returns:
        Features (N,F) and scores (N,), float32 on the CPU.

    Raises:
        UserError: Some are not finite.
    """
    device = next(game.parameters()).device
    features = []
    scores = []
    with (
        torch.no_grad(),
        fork_random(seed_of(seed, "features"), device),
    ):  # a network may draw noise
        for first in range(0, len(images), BATCH):
            status.say(f"reading features: {first:,} of {len(images):,} images…", goes_on=True)
            x = in_range(images[first : first + BATCH]).to(device)
            views = [view(game, x, label) for label in choose_labels(game)]
            if own is not None:
                # A pass of its own: only the score may know the label.
                scores.append(view(game, x, own[first : first + BATCH])[1].cpu())
            else:
                scores.append(torch.stack([score for _, score in views]).mean(0).cpu())
            features.append(torch.stack([hidden for hidden, _ in views]).mean(0).cpu())
    all_features = torch.cat(features)
    all_scores = torch.cat(scores)
    if not (all_features.isfinite().all() and all_scores.isfinite().all()):
        raise UserError(
            "the discriminator's features or scores of some images are not finite",
            "the run has diverged: take an earlier checkpoint",
        )
    return all_features, all_scores
