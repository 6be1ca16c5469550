"""What the items of an evaluation look at and share: samples, reals and backbones.

Each is computed when first asked for.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gancli.data.base import Decoded
from gancli.data.text import Oracle
from gancli.data.toy import Mixture
from gancli.errors import UserError
from gancli.metrics import features, store
from gancli.metrics.own import Metric
from gancli.metrics.passing import Passed, pass_once
from gancli.seeding import seed_of

if TYPE_CHECKING:
    from gancli.config.schema import MetricsConfig

MOST_NEIGHBOURS = 10_000  # of each set, where every pair is looked at
# Items that look at no pixels of samples; what they need is seen while the samples pass
WITHOUT_PIXELS = (
    "frechet",
    "kernel",
    "inception_score",
    "prdc",
    "memorisation",
    "classes",
    "codes",
)
Score = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """What the items look at, and what they share.

    Attributes:
        batches: The samples, which pass once: uint8 (some,C,H,W), or points (some,2) in data
            units, on the CPU.
        n: How many they are in all.
        items: What is measured; it says what must be seen as they pass, and whether pixels stay.
        asked: The labels (n,) that the samples were to have, or None.
        train: Real images of the samples' size, or points in data units.
        held: Likewise, held out of training, or None.
        spec: The part `metrics` of a config.
        seed: Of all that items draw.
        device: Where networks are.
        classes: How many there are, 0 without labels.
        stacked: Whether the data are stacked digits.
        mixture: The data set of points whose modes are known, or None.
        oracle: The data set of text whose law is known, or None.
        log_prob: Lines (N,T) of token numbers and labels -> log p (N,T) by the generator; or None.
        score: The discriminator, images in [-1,1] and labels -> scores; or None.
        read: Such images -> the category (N,) of a code that the model finds in each; or None.
        notes: What belongs into the protocol.
        own: Metrics of the user's own by name.
        to_pictures: Turns items into the pictures that metrics look at: of recordings, or of images
            with alpha as they are seen. None: they are such.
    """

    batches: Iterable[Tensor]
    n: int
    items: tuple[str, ...]
    asked: Tensor | None
    train: Decoded
    held: Decoded | None
    spec: MetricsConfig
    seed: int
    device: torch.device
    classes: int = 0
    stacked: bool = False
    mixture: Mixture | None = None
    oracle: Oracle | None = None
    log_prob: Callable[[Tensor, Tensor | None], Tensor] | None = None
    score: Score | None = None
    read: Callable[[Tensor], Tensor] | None = None
    notes: dict[str, object] = field(default_factory=dict)
    own: Mapping[str, Metric] = field(default_factory=dict)
    to_pictures: Callable[[Tensor], Tensor] | None = None

    def look_at(self, items: Tensor) -> Tensor:
        """Turns items into the pictures that metrics look at."""
        return items if self.to_pictures is None else self.to_pictures(items)

    def rng(self, item: str) -> torch.Generator:
        """Makes an item's own generator: which others run does not change its draws."""
        return torch.Generator().manual_seed(seed_of(self.seed, "metric", item))

    @functools.cached_property
    def passed(self) -> Passed:
        """What is left of the samples, all of which pass when this is first asked for."""
        return pass_once(
            self.batches,
            self.n,
            networks=self.find_networks(),
            keep=self.needs_pixels(),
            rng=self.rng("kept"),
        )

    @property
    def fake(self) -> Tensor:
        """(K,...): the samples that stayed, all of them where memory holds them."""
        return self.passed.kept

    @property
    def fake_labels(self) -> Tensor | None:
        """(K,): the labels that those were to have, or None."""
        return self.passed.pick_labels(self.asked)

    def needs_pixels(self) -> bool:
        """Does anything look at pixels of samples?"""
        return bool(self.own) or any(item not in WITHOUT_PIXELS for item in self.items)

    def find_networks(self) -> dict[str, Callable[[Tensor], features.Seen]]:
        """Finds the networks that look at every sample; one that cannot be had is left out.

        The items that need it meet its error again, and say so.
        """
        compared = self.spec.reference == "train" or self.held is not None
        needs = {
            "frechet": compared,
            "kernel": compared,
            "prdc": compared,
            "inception_score": True,
            "memorisation": self.held is not None,
            "classes": self.is_backbone_classifier(),
        }
        found: dict[str, Callable[[Tensor], features.Seen]] = {}
        with contextlib.suppress(Exception):
            if any(needs.get(item, False) for item in self.items):
                found["backbone"] = self.backbone
        with contextlib.suppress(Exception):
            if "classes" in self.items and not self.is_backbone_classifier():
                found["classifier"] = self.classifier
        return found

    @functools.cached_property
    def reference_rows(self) -> Tensor | None:
        """(M,): which training images are `reference`; None: all, or the held-out ones are."""
        n = self.spec.n_real
        if self.spec.reference == "held" or n is None or n >= len(self.train):
            return None
        # Always the same ones: the reals' features are kept, and runs of any seed share them.
        rng = torch.Generator().manual_seed(0)
        return torch.randperm(len(self.train), generator=rng)[:n].sort().values

    def find_reference(self) -> Decoded:
        """Returns the images that `reference_rows` counts in, without a copy. Raises UserError."""
        if self.spec.reference == "held":
            return self.held_out("metrics.reference=held")
        return self.train

    @functools.cached_property
    def reference(self) -> Decoded:
        """The real images that the samples are compared with, all in memory. Raises UserError."""
        rows = self.reference_rows
        return self.find_reference() if rows is None else self.train.subset(rows)

    def count_reals(self) -> int:
        """Counts the images of `reference`. Raises UserError."""
        rows = self.reference_rows
        return len(self.find_reference()) if rows is None else len(rows)

    def pick_reals(self, n: int, rng: torch.Generator) -> Tensor:
        """Picks n random images of `reference`; nothing is drawn where there are no more.

        Raises UserError.
        """
        images = self.find_reference().images
        rows = self.reference_rows
        count = self.count_reals()
        if n < count:
            chosen = torch.randperm(count, generator=rng)[:n]
            rows = chosen if rows is None else rows[chosen]
        return images if rows is None else images[rows]

    def held_out(self, what: str = "") -> Decoded:
        """Returns the held-out images. Raises UserError where there are none, for `what`."""
        if self.held is None:
            raise UserError(
                f"{what}: nothing is held out" if what else "nothing is held out",
                "dataset.holdout=N keeps some out of training (or take a data set with a test "
                "split)",
            )
        return self.held

    @functools.cached_property
    def identity(self) -> str:
        """What tells the training data apart from others."""
        return store.identity(self.train)

    @functools.cached_property
    def backbone(self) -> features.Extractor:
        """The network that the spec asks for. Raises UserError."""
        wanted: str = self.spec.features
        weights = self.spec.weights
        if wanted == "auto" and weights is not None:
            wanted = store.remember(f"identify {weights}", lambda: features.identify(weights))
        elif wanted == "auto":
            wanted = "self" if self.classes else "none"
        if wanted == "self":
            return self.classifier
        if wanted == "none":
            raise UserError(
                "there are no features",
                "for unlabelled data metrics.features=inception or another, with "
                "metrics.weights=PATH",
            )
        make = (
            features.inception
            if wanted == "inception"
            else functools.partial(features.on_imagenet, wanted)
        )
        return store.remember(
            f"{wanted} {weights} {self.device}", lambda: make(weights, self.device)
        )

    @functools.cached_property
    def classifier(self) -> features.Extractor:
        """The classifier trained on the run's own labels. Raises UserError."""
        return store.remember(
            f"self {self.identity} {self.device}",
            lambda: features.own(
                self.train,
                self.classes,
                self.device,
                stacked=self.stacked,
                to_pictures=self.to_pictures,
            ),
        )

    @functools.cached_property
    def real(self) -> features.Reals:
        """Features of the real images that samples are compared with."""
        data = self.find_reference()
        rows = self.reference_rows
        key = f"{self.spec.reference} {store.identity(data, rows)}"
        return features.reals(self.backbone, data.images, rows, key=key)

    @functools.cached_property
    def made(self) -> features.Seen:
        """Features and probabilities of all samples. Raises what the backbone raises."""
        assert self.backbone is not None  # its own error comes first
        return self.passed.read("backbone")

    @functools.cached_property
    def seen(self) -> Tensor:
        """(n,) int64: the class that the classifier sees in each sample."""
        if self.is_backbone_classifier():
            return probabilities_of(self.made).argmax(1)
        assert self.classifier is not None  # its own error comes first
        return probabilities_of(self.passed.read("classifier")).argmax(1)

    def train_labels(self) -> Tensor:
        """Gives the training images' labels (N,) int64; asked for only where there are classes."""
        assert self.train.labels is not None, "these data have no classes"
        return self.train.labels

    def is_backbone_classifier(self) -> bool:
        """Is the backbone the classifier trained on the run's own labels?"""
        return self.spec.features == "self" or (
            self.spec.features == "auto" and self.spec.weights is None
        )

    def named(self, official: str, other: str) -> str:
        """Names a number: only the real Inception gives a FID, a KID and an IS.

        Another backbone's number bears its name.
        """
        return official if self.backbone.name == "inception" else f"{other}_{self.backbone.name}"

    def few(self, rows: Tensor, item: str, most: int = MOST_NEIGHBOURS) -> Tensor:
        """Picks at most `most` rows of (N,D), on the device where it has float64."""
        if len(rows) > most:
            rows = rows[torch.randperm(len(rows), generator=self.rng(item))[:most]]
        return rows if self.device.type == "mps" else rows.to(self.device)


def probabilities_of(seen: features.Seen) -> Tensor:
    """Computes (N,K) float32 by a backbone that has classes."""
    assert seen["probabilities"] is not None, "this backbone has no classes"
    return seen["probabilities"]
