"""Do a GAN's samples help a classifier that has only a few real images a class?

A script: docs/low_data.md has its numbers.

python tests/study_augmentation.py --work FOLDER [--real 10] [--samples 100] [--seeds 3]
    [KEY=VALUE for gan train ...]

For each seed it draws a few of the bundled digits a class, trains a conditional GAN on these alone,
lets it write a labelled data set, and trains the same small classifier on real images, on samples
and on both. All are tested on 797 other digits. What a work folder already holds is not made again.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
from PIL import Image

from gancli.cli import main as gan
from gancli.data.base import Decoded, split
from gancli.data.builtin import Digits
from gancli.data.draws import permutation
from gancli.data.folder import Folder
from gancli.metrics.classifier import accuracy, train
from gancli.seeding import seed_of

# the digits were scanned at 8 pixels: 16 lose nothing, and a run takes minutes
HELD = 797
SIZE = 16
NETS = (
    3  # classifiers for each seed and arm: with so few images their order alone moves the accuracy
)


def halves() -> tuple[Decoded, Decoded]:
    return split(Digits(resolution=SIZE).load(), limit=None, holdout=HELD)


def few(data: Decoded, each: int, seed: int) -> Decoded:
    """`each` images of every class."""
    order = torch.from_numpy(permutation(len(data), seed_of(seed, "few")))
    rows = [order[data.labels[order] == label][:each] for label in range(10)]
    return data.subset(torch.cat(rows))


def write(data: Decoded, folder: Path) -> Path:
    """A sub-folder for each class."""
    for k, (image, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True)):
        path = folder / data.classes[label] / f"{k:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    return folder


def sampled(real: Path, work: Path, *, samples: int, seed: int, words: list[str]) -> Decoded:
    """What a GAN trained on this folder writes, read back as a data set."""
    run = work / "run"
    out = work / "samples"
    if not (run / "checkpoints").is_dir():
        code = gan(
            [
                "train",
                "model=cgan",
                "model.width=32",
                "dataset=folder",
                f"dataset.path={real}",
                f"seed={seed}",
                "metrics=none",
                "log.tensorboard=false",
                "log.every=500",
                "trainer.steps=4000",
                f"hydra.run.dir={run}",
                *words,
            ]
        )
        assert code == 0, "the training stopped"
    if not out.is_dir():
        assert (
            gan(["sample", f"ckpt={run}", f"per_class={samples}", f"seed={seed}", f"out={out}"])
            == 0
        )
    found = Folder(path=str(out), resolution=SIZE, channels=1, classes=10).load()
    assert found.labels is not None and len(found) == 10 * samples
    return found


def joined(*parts: Decoded) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])


def arms(real: Decoded, fake: Decoded) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """What the classifiers are trained on.

    Each sees at least 10,000 images, shifted by up to 2 pixels, however few there are.
    """
    again = [real] * (len(fake) // len(real))
    return {
        f"{len(real)} real": joined(real),
        f"{len(real)} real + {len(fake)} samples": joined(real, fake),
        f"the same, real ones {len(again)} times": joined(*again, fake),
        f"{len(fake)} samples": joined(fake),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--real", type=int, default=10)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    options, words = parser.parse_known_args()
    pool, held = halves()
    found: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        real = few(pool, options.real, seed)
        work = options.work / f"seed{seed}"
        path = work / "real" if (work / "real").is_dir() else write(real, work / "real")
        fake = sampled(path, work, samples=options.samples, seed=seed, words=words)
        for name, (images, labels) in (
            arms(real, fake) | {f"all {len(pool)} real": joined(pool)}
        ).items():
            nets = [train(images, labels, 10, seed=seed_of(seed, k)).net for k in range(NETS)]
            scores = [accuracy(net, held.images, held.labels) for net in nets]
            found.setdefault(name, []).append(statistics.mean(scores))
            print(f"seed {seed}  {name:<36} {found[name][-1]:.3f}", flush=True)
    print(
        f"\naccuracy on {len(held)} other digits: mean and deviation over {options.seeds} seeds, "
        f"each the mean of {NETS} classifiers"
    )
    for name, scores in found.items():
        deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
        print(f"{name:<36} {statistics.mean(scores):.3f} +- {deviation:.3f}")


if __name__ == "__main__":
    main()
