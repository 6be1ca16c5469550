"""Measures a run while it trains, and knows which checkpoint was the best.

A diversity check at every log line, a picture and numbers now and then.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

import torch
from PIL.Image import Image
from torch import Tensor, nn

from gancli.config.run_config import RunConfig
from gancli.data.base import Decoded, crop_middle, pair
from gancli.evaluation import samples
from gancli.game import Game
from gancli.inference.sampling import name_labels
from gancli.metrics.settings import best_key
from gancli.modality import Modality, make_modality
from gancli.render import status
from gancli.render.notes import note
from gancli.seeding import fork_random, seed_of
from gancli.trainer import Best

log = logging.getLogger("gancli")
MOST_REFERENCE = 1024  # pixels of a side of the picture of real images; classes may need more rows
MOST_REALS = 2500  # behind the samples in a picture
PAIRS = 16  # of samples in a diversity check


@dataclass(frozen=True)
class Drawn:
    """Samples of a run as they are shown.

    Attributes:
        picture: Of them.
        beside: What else shows them, by the suffix of its file: a text, a sound.
    """

    picture: Image
    beside: dict[str, bytes] = field(default_factory=dict)


class Monitor:
    """Measures a game in training, with generators of its own: looking never changes training.

    Args:
        train: The training images, as `data.base.split` gives them.
        held: What is held out of them, or None.
        labelled: Whether the game draws by label.
        config: Of the run.
        device: Where the game is.
    """

    def __init__(
        self,
        *,
        train: Decoded,
        held: Decoded | None,
        labelled: bool,
        config: RunConfig,
        device: torch.device,
    ):
        self.train = train
        self.held = held
        self.config = config
        self.device = device
        self.spec = config.metrics
        self.modality = make_modality(config.dataset)
        self.seed = seed_of(config.seed, "judge")
        rng = torch.Generator().manual_seed(self.seed)
        # Attributes make no classes: two images that share all of them may be none.
        classed = labelled and require_labels(train).ndim == 1
        first = torch.randint(len(train), (512,), generator=rng)
        # Of one class only if samples are, or the real ones' distance would be the smaller by what
        # tells classes apart.
        second = (
            draw_partners(first, train, rng)
            if classed
            else torch.randint(len(train), (512,), generator=rng)
        )
        self.real_spread = measure_distance(
            self.prepare(train.images[first]), self.prepare(train.images[second])
        )
        if self.spread_unknown():
            whose = " of one class" if classed else ""
            note(
                log,
                "watch/diversity is left out: no two different %s%s to compare",
                self.modality.noun,
                whose,
            )
        self.labels = require_labels(train)[first[:PAIRS]] if labelled else None

    def prepare(self, images: Tensor) -> Tensor:
        """Turns stored items (N,C,H,W) into what a generator makes, as it is seen."""
        made = scale_pixels(images) if self.modality.pixels else self.modality.prepare(images)
        return show_over_white(made, self.modality)

    def spread_unknown(self) -> bool:
        """Are the real images alike, so that nothing says how far samples should differ?

        So it is with one image, or one image a class.
        """
        return not 0 < self.real_spread < math.inf

    @property
    def measures(self) -> bool:
        """Is anything measured at all in this run?"""
        return bool(self.spec.items or self.spec.own)

    def measure_diversity(self, game: Game, generator: nn.Module) -> dict[str, float]:
        """Measures how far apart samples are, relative to real images.

        Where there are classes, both are pairs of one class.

        Returns:
            `watch/diversity`: 1 is as diverse as the data, 0 is all alike; {} where the real images
            are alike.
        """
        if self.spread_unknown():
            return {}
        rng = torch.Generator().manual_seed(self.seed)
        # Twice the same labels: the halves that are compared below are then pairs of one class.
        labels = None if self.labels is None else torch.cat([self.labels, self.labels])
        inputs = game.inputs(2 * PAIRS, rng, **name_labels(labels))
        inputs = {key: value.to(self.device) for key, value in inputs.items()}
        with torch.no_grad(), fork_random(self.seed, self.device):
            images = game.sample(inputs, generator).float().cpu()
        images = show_over_white(images, self.modality)
        return {"watch/diversity": measure_distance(*images.chunk(2)) / self.real_spread}

    @torch.no_grad()
    def draw_samples(self, game: Game, generator: nn.Module, *, columns: int) -> Drawn:
        """Draws the run's fixed latents, as the kind of the data shows samples."""
        seed = self.config.seed
        rng = torch.Generator().manual_seed(seed_of(seed, "showcase"))
        # Of the middle: training's own windows are drawn, and a picture should not change with
        # them.
        size = self.modality.stored_size(pair(self.config.dataset["resolution"]))
        real = crop_middle(self.train.images[:MOST_REALS], size)
        drawn = self.modality.drawn
        inputs = (
            game.preview_inputs(columns, rng)
            if drawn is None
            else game.inputs(min(drawn, len(real)), rng)
        )
        with (
            status.doing("drawing the preview…"),
            fork_random(seed_of(seed, "showcase noise"), self.device),
        ):
            images = game.sample(
                {key: value.to(self.device) for key, value in inputs.items()}, generator
            )
        label = inputs.get("label")
        real_label = None if self.train.labels is None else self.train.labels[: len(real)]
        labels = None
        titles: list[str] = []
        if label is not None and real_label is not None and label.ndim == real_label.ndim == 1:
            labels = label.cpu(), real_label.cpu()
            names = self.train.classes
            titles = [names[k] for k in label.tolist()] if names else []
        picture = self.modality.picture(images, real, columns=columns, labels=labels, titles=titles)
        return Drawn(picture, self.modality.extra(images))

    def draw_references(self, game: Game) -> dict[str, Image]:
        """Draws what lies beside the samples, by name: real images, a row a class."""
        source = self.config.dataset
        if not self.modality.pixels:
            return {}  # their sample grid shows the real ones already
        columns = self.config.log.grid
        height, width = pair(source["resolution"])
        most = max(1, MOST_REFERENCE // height)
        columns = max(1, min(columns, MOST_REFERENCE // width))
        rows = choose_reals(
            self.train,
            columns,
            min(8, most),
            labelled=self.labels is not None and self.labels.ndim == 1,
        )
        pixels = self.train.images[[max(0, k) for k in rows]]
        images = scale_pixels(crop_middle(pixels, (height, width)))
        images[[k < 0 for k in rows]] = 0  # the grey of the gaps, where a class has no more
        return {"real": self.modality.picture(images, None, columns=columns)}

    def measure(self, game: Game, generator: nn.Module) -> samples.Report:
        """Evaluates a generator by the run's own protocol."""
        return samples.evaluate(
            game=game,
            generator=generator,
            train=self.train,
            held=self.held,
            spec=self.spec,
            dataset=self.config.dataset,
            seed=self.config.seed,
            device=self.device,
        )

    def choose_best(self, values: dict[str, float], step: int, best: Best | None) -> Best | None:
        """Chooses what the run's best evaluation is now.

        Args:
            values: Of the new evaluation.
            step: At which it was made.
            best: The best before, or None.

        Returns:
            The new one, or the one before, where it is better or the new one has no such value.
        """
        found = best_key(self.spec, values)
        if found is None or not math.isfinite(values[found[0]]):
            return best
        key, mode = found
        sign = 1 if mode == "min" else -1
        if best is not None and best["key"] == key and sign * values[key] >= sign * best["value"]:
            return best
        return {"key": key, "mode": mode, "step": step, "value": values[key]}


def choose_reals(train: Decoded, columns: int, most: int, *, labelled: bool) -> list[int]:
    """Chooses which real images to show.

    Args:
        train: The training images.
        columns: Images in a row.
        most: Rows at most, where there are no classes.
        labelled: Whether each row is a class.

    Returns:
        Their indices, row by row; -1 where a class has too few.
    """
    if not labelled:
        n = min(columns * most, len(train))
        return torch.linspace(0, len(train) - 1, n).round().long().tolist()
    rows: list[int] = []
    labels = require_labels(train)
    classes = min(len(train.classes) or int(labels.max()) + 1, 16)
    for label in range(classes):
        found = (labels == label).nonzero()[:columns, 0].tolist()
        rows += found + [-1] * (columns - len(found))
    return rows


def draw_partners(first: Tensor, train: Decoded, rng: torch.Generator) -> Tensor:
    """Draws for each image (M,) another one of its class: indices (M,)."""
    order = torch.randperm(len(train), generator=rng)
    wanted = require_labels(train)[first]
    labels = require_labels(train)[order]
    by_class = {int(label): order[labels == label] for label in wanted.unique()}
    return torch.stack(
        [by_class[int(label)][k % len(by_class[int(label)])] for k, label in enumerate(wanted)]
    )


def require_labels(train: Decoded) -> Tensor:
    """Returns the labels of data that a conditional game is trained on."""
    assert train.labels is not None, "a conditional game is trained on labels"
    return train.labels


def scale_pixels(images: Tensor) -> Tensor:
    """Scales pixels (N,C,H,W) to [-1,1], as networks see them; floats are so already."""
    return (images.float() - 127.5) / 127.5 if images.dtype == torch.uint8 else images


def show_over_white(images: Tensor, modality: Modality) -> Tensor:
    """Shows images (N,C,H,W) in [-1,1] as metrics see them, over white where there is alpha.

    What nobody sees makes no two of them different. Other items stay.
    """
    if not modality.has_alpha(images.shape[1]):
        return images
    return scale_pixels(modality.to_pictures(modality.restore(images)))


def measure_distance(a: Tensor, b: Tensor) -> float:
    """Measures the mean distance of partners.

    Args:
        a: (N,C,H,W)
        b: Their partners, likewise.

    Returns:
        The root mean square over an image, averaged over pairs.
    """
    return (a - b).square().flatten(1).mean(1).sqrt().mean().item()
