"""The closed parts of a config, whose keys are fixed, as frozen dataclasses.

Known without torch, Hydra or a terminal.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from gancli.schedules import Number, Pieces

# Name -> {_target_: package.module.Class, ...}; gate 2 imports the classes.
Descriptions = dict[str, dict[str, Any]]
OWN_FOLDER = "gancli.data.folder.Folder"  # the `_target_` of images in a folder of the user's own
TOP_KEYS = (
    *("seed", "resume", "init", "trust", "name"),
    *("model", "loss", "dataset", "optimizer", "trainer", "ema", "augment", "perceptual"),
    *("metrics", "log", "logger", "watch", "published"),
)
PublishedMetric = Literal[
    "fid", "intra_fid", "is", "ppl", "psnr", "modes", "mode_kl", "parzen", "error", "agreement"
]


@dataclass(frozen=True)
class TrainerConfig:
    """How long a run trains, on what, and how often it saves.

    `steps` counts real batches; `epochs`, if set, replaces it.
    """

    steps: int
    epochs: float | None
    batch_size: int  # real images a step, over all ranks and micro-batches
    accumulate: int  # micro-batches a step
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16"]
    compile: bool
    save_every: int  # steps
    keep: int  # checkpoints
    # Threads of a CPU; auto is not filled in: it belongs to the machine, and the checkpoint notes
    # beside the config how many there were.
    threads: int | Literal["auto"] = "auto"


@dataclass(frozen=True)
class EmaConfig:
    """The moving average of the generator's weights, see ema.py."""

    half_life_kimg: Number
    rampup: float | None
    # Generator batches over which batch norm's statistics are measured before a look at the
    # average; 0, which runs of before the key mean: those of the network in training.
    settle_batches: int = 0


@dataclass(frozen=True)
class LogConfig:
    """What a run writes down while it trains; `every` and `sample_every` are steps."""

    every: int
    sample_every: int
    grid: int  # tiles in a row of the sample grid
    tensorboard: bool


@dataclass(frozen=True)
class WatchConfig:
    """When a run counts as failed, and what is done then, see evaluation/watchdog.py."""

    action: Literal["off", "warn", "stop", "rollback"]
    retries: int  # rollbacks before the run is stopped
    start_kimg: float  # thousands of real images before the first check
    patience: int  # consecutive checks that must agree
    saturated: float  # the discriminator's loss relative to chance level: below it, it has won
    # The distance between samples relative to that between real images: below it, the samples
    # have collapsed.
    diversity: float
    # What part of the discriminator's gap between training images and samples is also there
    # between training images and held-out images: above it, it has overfitted.
    overfit: float
    worse: float  # how many times as bad as its best the followed metric must be


@dataclass(frozen=True)
class InitConfig:
    """The weights that a new run starts from, see run/initialise.py; `init=RUN` sets `path`."""

    path: str | None = None  # a run folder or a file of a run
    freeze_d: int = 0  # blocks of the discriminator, next to the image, that do not move
    digest: str | None = None  # of the file that was read; a run fills it in


@dataclass(frozen=True)
class PlayerConfig:
    """The keys of optimizer.<player> that are ours; all others belong to its torch optimizer."""

    l1: float = 0.0
    orthogonal: float = 0.0
    clip: float | None = None
    schedule: Literal["constant", "linear", "cosine", "step"] | Pieces = "constant"
    start_kimg: float = 0.0
    end_kimg: float | None = None
    final: float = 0.0  # factor of lr at the end
    step_kimg: float | None = None
    gamma: float = 0.1
    warmup_kimg: float = 0.0
    beta2: Number | None = None  # in place of betas[1]
    # A second optimizer, {_target_: torch.optim.AdamW, lr: ...}, for all but matrices.
    rest: dict[str, Any] | None = None


@dataclass(frozen=True)
class MetricsConfig:
    """The part `metrics` of a config. Numbers are comparable only where all of it agrees."""

    # Names out of IMAGE_ITEMS, POINT_ITEMS and PAIR_ITEMS of metrics/settings.py; those of other
    # kinds of data are passed over.
    items: tuple[str, ...]
    every: int  # steps between two evaluations of a run, which has one at its end too
    n: int | None  # samples; null: 10,000 images, 26,000 of stacked_mnist, 2,500 points
    n_real: int | None  # real images that the distances use; null: all
    reference: Literal["train", "held"]  # the reals that samples are compared with
    floor: bool  # also what held-out reals reach, so that a distance has a scale
    features: Literal[
        "auto", "none", "self", "inception", "squeezenet", "resnet18", "resnet50", "vgg16"
    ]
    weights: str | None  # the file of the backbone's weights; null: its library's download
    lpips_backbone: str | None  # torchvision's SqueezeNet 1.1; null: `weights`, where that is it
    lpips_heads: str | None  # lpips_v0.1_squeeze.pth
    swd_patches: int  # per image and level; the paper's is 128
    swd_directions: int  # the paper's is 512
    pairs: int  # of images, whose likeness is the diversity
    # The value that best.pt follows; auto: the first of fid, fd_*, w1, swd; null: none
    best: str | None
    best_mode: Literal["min", "max"] | None  # null: as metrics.settings.better says
    judges: int = 1  # recurrent networks that judge series, their mean; the paper's are 10
    judge_steps: int = 2_000  # the paper's; a predictor trains 2.5 times as many
    # The user's own, see metrics/own.py: name -> {_target_: my_metrics.Sharpness, ...}
    own: Descriptions = field(default_factory=dict)


@dataclass(frozen=True)
class PublishedNumber:
    """What a paper, or a later run of others, reports for the run of an experiment."""

    metric: PublishedMetric
    value: float
    source: str  # who reports it, and whether it was read there or is quoted
    n: int | None = None  # samples
    reference: str | None = None  # what they are compared with
    features: str | None = None  # the network whose features the metric compares


CLOSED: dict[str, type] = {  # section -> what describes its keys
    "trainer": TrainerConfig,
    "ema": EmaConfig,
    "log": LogConfig,
    "watch": WatchConfig,
    "metrics": MetricsConfig,
    "init": InitConfig,
}


def list_fields(cls: type) -> list[str]:
    """Returns the names of a dataclass's keys, in their order."""
    return [field.name for field in dataclasses.fields(cls)]
