"""Do a GAN's samples help a classifier on a class that is rare?

A script: docs/low_data.md has its numbers.

python tests/study_rare_classes.py DATA.npz --work FOLDER [--rare 0] [--steps 3600] [--seeds 3]
    [KEY=VALUE for gan train ...]

DATA.npz is in the layout of MedMNIST: train_images (N,H,W) uint8, train_labels (N,1), and the same
of val and test. One conditional GAN learns all training images, with class-balanced draws; small
classifiers are then trained with and without its samples, chosen by the validation images and
judged by the test images. What a work folder already holds is not made again; a run that was
stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from gancli.cli import main as gan
from gancli.data.folder import Folder

STEPS = 400  # of a classifier, of BATCH images
BATCH = 64
CHECKS = 8  # of the validation images during a classifier's training
RATE = 1e-3
GAN = (
    *("model=stylegan2", "dataset=folder", "dataset.resolution=28", "dataset.holdout=0"),
    *("dataset.balance=true", "model.conditional=true", "model.z_dim=64", "model.w_dim=64"),
    *("model.channel_base=1024", "model.channel_max=64", "model.generator.mapping_layers=2"),
    *("model.discriminator.mapping_layers=2", "model.r1_gamma=0.3", "model.pl_weight=0"),
    *("model.mixing=0", "ema.half_life_kimg=5", "augment=ada", "trainer.batch_size=32"),
    *("metrics=none", "log.tensorboard=false", "log.sample_every=1000"),
)


@dataclass(frozen=True)
class Part:
    """Images (N,1,H,W) in [0,1] and what they are (N,), 1 for the rare class."""

    images: Tensor
    rare: Tensor

    def pick(self, kept: Tensor) -> Part:
        """Picks those at the places or under the mask `kept`."""
        return Part(self.images[kept], self.rare[kept])


@dataclass(frozen=True)
class Arm:
    """One way to train a classifier.

    Attributes:
        name: In the table.
        pools: What is drawn from, with each pool's share of a batch.
        weights: Of the loss of a common and of a rare image.
        moved: Whether images are moved, turned, scaled and made lighter or darker.
    """

    name: str
    pools: tuple[tuple[Part, float], ...]
    weights: tuple[float, float] = (1.0, 1.0)
    moved: bool = False


def read_parts(file: Path, rare: int) -> dict[str, Part]:
    """Reads the three parts of an .npz."""
    with np.load(file, allow_pickle=False) as arrays:
        return {
            name: Part(
                torch.from_numpy(arrays[f"{name}_images"])[:, None].float() / 255,
                torch.from_numpy(arrays[f"{name}_labels"].reshape(-1) == rare).float(),
            )
            for name in ("train", "val", "test")
        }


def write(part: Part, folder: Path) -> Path:
    """Writes a sub-folder for each class."""
    for k, (image, is_rare) in enumerate(zip(part.images, part.rare.tolist(), strict=True)):
        path = folder / ("rare" if is_rare else "common") / f"{k:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].mul(255).round().byte().numpy()).save(path)
    return folder


def make_samples(real: Path, work: Path, *, each: int, steps: int, words: list[str]) -> Part:
    """Trains the GAN, or goes on with it, and reads back what it writes."""
    run = work / "run"
    out = work / "samples"
    if (run / "checkpoints").is_dir():
        code = gan(["train", f"resume={run}", f"trainer.steps={steps}"])
    else:
        folders = (f"dataset.path={real}", f"hydra.run.dir={run}")
        code = gan(["train", *GAN, *folders, f"trainer.steps={steps}", *words])
    assert code == 0, "the training stopped"
    if not out.is_dir():
        assert gan(["sample", f"ckpt={run}", f"per_class={each}", "seed=0", f"out={out}"]) == 0
    side = Image.open(next(real.glob("*/*.png"))).width
    found = Folder(path=str(out), resolution=side, channels=1, classes=2, holdout=0).load()
    assert found.labels is not None and found.classes == ("common", "rare")
    return Part(found.images.float() / 255, found.labels.float())


def list_arms(real: Part, fake: Part) -> list[Arm]:
    """Lists the arms; all draw as many images, however few there are."""
    rare = real.pick(real.rare == 1)
    common = real.pick(real.rare == 0)
    made = fake.pick(fake.rare == 1)
    share = len(rare.rare) / len(real.rare)
    # As many rare images in all as there are common ones
    real_share = len(rare.rare) / len(common.rare) / 2
    halves = ((common, 0.5), (rare, 0.5))
    filled = ((common, 0.5), (rare, real_share), (made, 0.5 - real_share))
    mixed = ((common, 0.5), (rare, 0.25), (made, 0.25))
    return [
        Arm("nothing", ((real, 1.0),)),
        Arm("re-weighting", ((real, 1.0),), weights=(0.5 / (1 - share), 0.5 / share)),
        Arm("augmentation alone", ((real, 1.0),), moved=True),
        Arm("oversampling", halves),
        Arm("oversampling, augmentation", halves, moved=True),
        Arm("filled up with samples", filled),
        Arm("filled up with samples, augmentation", filled, moved=True),
        Arm("rare ones half samples, augmentation", mixed, moved=True),
        Arm("samples alone", ((fake, 1.0),)),
    ]


def move(x: Tensor, rng: torch.Generator) -> Tensor:
    """Turns by up to 10 degrees, scales by up to 10 %, moves by up to 2 pixels, and brightens."""
    n = len(x)

    def draw(most: float) -> Tensor:
        return (torch.rand(n, generator=rng) * 2 - 1) * most

    angle = draw(torch.pi / 18)
    scale = 1 + draw(0.1)
    shift = 2 * 2 / x.shape[-1]  # of an axis that is 2 long
    rows = [
        torch.stack([angle.cos() * scale, -angle.sin() * scale, draw(shift)], 1),
        torch.stack([angle.sin() * scale, angle.cos() * scale, draw(shift)], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    contrast = 1 + draw(0.1)[:, None, None, None]
    return ((moved - 0.5) * contrast + 0.5 + draw(0.1)[:, None, None, None]).clamp(0, 1)


def build_net() -> nn.Sequential:
    """Three convolutions, of 16, 32 and 64 channels, and a mean over the image."""
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
        layers += [nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 1))


def score(net: nn.Module, part: Part) -> Tensor:
    """Scores images (N,), higher for the rare class."""
    net.eval()
    with torch.no_grad():
        found = torch.cat([net(x)[:, 0] for x in part.images.split(256)])
    net.train()
    return found


def measure_area(scores: Tensor, rare: Tensor) -> float:
    """Measures the area under the ROC curve: how often a rare image scores above a common one."""
    high, low = scores[rare == 1], scores[rare == 0]
    above = (high[:, None] > low).double() + 0.5 * (high[:, None] == low).double()
    return above.mean().item()


def measure_balanced(scores: Tensor, rare: Tensor, bound: float) -> float:
    """Measures the mean of both classes' accuracies, where scores above `bound` mean rare."""
    said = scores > bound
    right = [(said[rare == kind] == bool(kind)).double().mean().item() for kind in (0, 1)]
    return statistics.mean(right)


def choose_bound(scores: Tensor, rare: Tensor) -> float:
    """Chooses the bound of the best balanced accuracy, between two scores."""
    steps = scores.sort().values
    bounds = ((steps[1:] + steps[:-1]) / 2).tolist()
    return max(bounds, key=lambda bound: measure_balanced(scores, rare, bound))


def train(arm: Arm, parts: dict[str, Part], seed: int) -> dict[str, float]:
    """Trains a classifier, keeps the state of the best area on val, and measures it on test."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    net = build_net()
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    draw = make_drawer(arm, rng)
    best = (-1.0, net.state_dict())
    for step in range(1, STEPS + 1):
        images, rare = draw()
        if arm.moved:
            images = move(images, rng)
        weight = torch.where(rare == 1, arm.weights[1], arm.weights[0])
        loss = F.binary_cross_entropy_with_logits(net(images)[:, 0], rare, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
        if step % (STEPS // CHECKS) == 0:
            area = measure_area(score(net, parts["val"]), parts["val"].rare)
            if area > best[0]:
                best = (area, {key: value.clone() for key, value in net.state_dict().items()})
    net.load_state_dict(best[1])
    held, test = score(net, parts["val"]), score(net, parts["test"])
    bound = choose_bound(held, parts["val"].rare)
    return {
        "val_auc": best[0],
        "auc": measure_area(test, parts["test"].rare),
        "balanced": measure_balanced(test, parts["test"].rare, 0.0),
        "balanced_chosen": measure_balanced(test, parts["test"].rare, bound),
        "found": (test[parts["test"].rare == 1] > 0).double().mean().item(),
    }


def make_drawer(arm: Arm, rng: torch.Generator) -> Callable[[], tuple[Tensor, Tensor]]:
    """Makes what draws a batch: of each pool its share, from epochs that are shuffled anew."""
    counts = [round(BATCH * share) for _, share in arm.pools]
    counts[0] += BATCH - sum(counts)
    orders = [torch.empty(0, dtype=torch.int64) for _ in arm.pools]

    def draw() -> tuple[Tensor, Tensor]:
        drawn = []
        for k, ((pool, _), count) in enumerate(zip(arm.pools, counts, strict=True)):
            while len(orders[k]) < count:
                more = torch.randperm(len(pool.rare), generator=rng)
                orders[k] = torch.cat([orders[k], more])
            drawn.append(pool.pick(orders[k][:count]))
            orders[k] = orders[k][count:]
        return torch.cat([part.images for part in drawn]), torch.cat([part.rare for part in drawn])

    return draw


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rare", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--seeds", type=int, default=3)
    options, words = parser.parse_known_args()
    parts = read_parts(options.data, options.rare)
    real = parts["train"]
    for name, part in parts.items():
        print(f"{name}: {int(part.rare.sum())} rare of {len(part.rare)}")
    folder = options.work / "train"
    path = folder if folder.is_dir() else write(real, folder)
    each = int(len(real.rare) - 2 * real.rare.sum())  # what the rare class lacks
    fake = make_samples(path, options.work, each=each, steps=options.steps, words=words)
    kept = options.work / "scores.json"
    found: dict[str, dict[str, float]] = json.loads(kept.read_text()) if kept.is_file() else {}
    for arm in list_arms(real, fake):
        for seed in range(options.seeds):
            key = f"{arm.name} / {seed}"
            if key not in found:
                started = time.process_time()
                found[key] = train(arm, parts, seed)
                kept.write_text(json.dumps(found, indent=1))
                said = "  ".join(f"{name} {value:.3f}" for name, value in found[key].items())
                print(f"{key:<42} {said}  {time.process_time() - started:.0f} s", flush=True)
    print(f"\nmean and deviation over {options.seeds} seeds of the classifier")
    for arm in list_arms(real, fake):
        rows = [found[f"{arm.name} / {seed}"] for seed in range(options.seeds)]
        cells = []
        for name in rows[0]:
            values = [row[name] for row in rows]
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{name} {statistics.mean(values):.3f} +- {deviation:.3f}")
        print(f"{arm.name:<38} {'  '.join(cells)}")


if __name__ == "__main__":
    main()
