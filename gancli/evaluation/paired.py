"""Monitors a game that translates images: what it makes of held-out sources, beside the targets."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor, nn

from gancli.config.own_metrics import build_own_metrics
from gancli.config.run_config import RunConfig, Section
from gancli.config.schema import MetricsConfig
from gancli.data.base import Decoded
from gancli.data.posed import People
from gancli.data.stream import Stream
from gancli.errors import UserError
from gancli.evaluation import samples
from gancli.evaluation.monitor import Drawn, Monitor, measure_distance, show_over_white
from gancli.game import Batch, Game
from gancli.inference.tiling import find_translator, is_noisy
from gancli.metrics import features, store
from gancli.metrics.bench import Bench
from gancli.metrics.lpips import Lpips
from gancli.metrics.settings import IMAGE_ITEMS
from gancli.metrics.silhouette import silhouette_iou
from gancli.metrics.ssim import psnr, ssim
from gancli.metrics.suite import measure_item, measure_own
from gancli.modality import Modality, make_modality
from gancli.render import status
from gancli.render.grids import grid, to_pil, to_uint8
from gancli.render.notes import note
from gancli.seeding import fork_random, seed_of

log = logging.getLogger("gancli")
MOST = 500  # images in an evaluation where metrics.n is null
PREVIEWED = 8
CHUNK = 16
SSIM_SIDE = 11  # pixels; the side of its window
ANSWERS = 8  # of a generator with noise, to each source
UNPAIRED = ("swd", "frechet", "kernel", "prdc")  # what compares sets of images


class PairMonitor(Monitor):
    """As Monitor, for games with sources.

    It looks at held-out images, and without any at those of the training.
    """

    def __init__(
        self,
        *,
        train: Decoded,
        held: Decoded | None,
        needs: tuple[str, ...],
        config: RunConfig,
        device: torch.device,
    ):
        self.train = train
        self.held = held
        self.config = config
        self.device = device
        self.spec = config.metrics
        self.seed = seed_of(config.seed, "judge")
        self.needs = needs
        self.few = self.load_few(PREVIEWED)
        self.modality = make_modality(config.dataset)
        targets = show_over_white(self.few["b"].float().cpu(), self.modality)
        self.real_spread = measure_distance(*split_halves(targets)) if len(targets) > 1 else 0.0
        if self.spread_unknown():
            note(log, "watch/diversity is left out: no two different targets to compare")

    def load_few(self, n: int) -> Batch:
        """Loads n sources and targets, always the same ones."""
        return next(
            iterate_batches(
                self.train if self.held is None else self.held,
                self.needs,
                n,
                resolution=self.config.dataset["resolution"],
                device=self.device,
                seed=self.seed,
            )
        )

    def measure_diversity(self, game: Game, generator: nn.Module) -> dict[str, float]:
        """Measures how far apart outputs are, relative to targets."""
        if self.spread_unknown():
            return {}
        with torch.no_grad(), fork_random(self.seed, self.device):
            made = game.sample(self.few, generator).float().cpu()
        made = show_over_white(made, self.modality)
        return {"watch/diversity": measure_distance(*split_halves(made)) / self.real_spread}

    @torch.no_grad()
    def draw_samples(self, game: Game, generator: nn.Module, *, columns: int) -> Drawn:
        """Draws a row for each source: source, output, target; of two domains there and back."""
        with status.doing("drawing the preview…"), fork_random(self.seed, self.device):
            shown = game.draw_panels(self.few, generator)
        return Drawn(draw_sheet(shown))

    def draw_references(self, game: Game) -> dict[str, Image]:
        """Draws what a translation starts from, by name.

        A source, its holes transparent, and a style or two poses where the model needs them.
        """
        extras = game.extras
        source = self.few["a"][0].float().cpu()
        if "mask" in extras:
            if len(source) not in (1, 3):
                return {}
            source = torch.cat([source, 1 - 2 * self.few["mask"][0].float().cpu()])
        found = {"source": to_pil(source)}
        if "style" in extras:
            found["style"] = to_pil(self.few["b"][0].float().cpu())
        if "pose" in extras and self.few["pose_a"].shape[1] in (1, 3):
            found["source-pose"] = to_pil(self.few["pose_a"][0].float().cpu())
            found["new-pose"] = to_pil(self.few["pose_b"][0].float().cpu())
        return found

    def measure(self, game: Game, generator: nn.Module) -> samples.Report:
        """Evaluates a generator by the run's own protocol."""
        with status.doing("evaluating…"):
            return measure(
                game=game,
                generator=generator,
                train=self.train,
                held=self.held,
                spec=self.spec,
                dataset=self.config.dataset,
                seed=self.config.seed,
                device=self.device,
            )


def make_monitor(
    game: Game, *, train: Decoded, held: Decoded | None, config: RunConfig, device: torch.device
) -> Monitor:
    """Makes the monitor that suits a game.

    Args:
        game: In training.
        train: The training images.
        held: What is held out of them, or None.
        config: Of the run.
        device: Where the game is.
    """
    if game.directions:
        return PairMonitor(train=train, held=held, needs=game.needs, config=config, device=device)
    return Monitor(
        train=train, held=held, labelled="label" in game.needs, config=config, device=device
    )


def split_halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Splits a batch (N,...) into two halves of N // 2."""
    n = len(x) // 2
    return x[:n], x[n : 2 * n]


def iterate_batches(
    data: Decoded,
    keys: tuple[str, ...],
    n: int,
    *,
    resolution: int | Sequence[int],
    device: torch.device,
    seed: int,
    size: int = CHUNK,
) -> Iterator[Batch]:
    """Yields n sources and targets, always the same ones.

    Args:
        data: Pairs, or two domains.
        keys: What a batch holds, as `Game.needs`.
        n: How many, or as many as there are.
        resolution: Of the images.
        device: Where the batches go.
        seed: Of the order and of what the data set draws.
        size: Images in a batch.
    """
    n = min(n, len(data))
    stream = Stream(
        data,
        batch_size=min(size, n),
        seed=seed,
        resolution=resolution,
        device=device,
    )
    for first in range(0, n, stream.local):
        batch = stream(first, keys)
        if "image" in batch:  # one set of images is where sources and targets come from
            batch["a"] = batch["b"] = batch["image"]
        yield {key: value[: n - first] for key, value in batch.items()}


def draw_sheet(shown: dict[str, Tensor]) -> Image:
    """Draws images (N,C,H,W) of several kinds, a row for each n; enlarges smaller ones."""
    images = [image.float().cpu() for image in shown.values()]
    size = [max(image.shape[d] for image in images) for d in (2, 3)]
    images = [
        image if list(image.shape[2:]) == size else F.interpolate(image, size, mode="nearest")
        for image in images
    ]
    return grid(torch.stack(images, 1).flatten(0, 1), columns=len(images))


@torch.no_grad()
def measure(
    *,
    game: Game,
    generator: nn.Module,
    train: Decoded,
    held: Decoded | None,
    spec: MetricsConfig,
    dataset: Section,
    seed: int,
    device: torch.device,
    ema: bool = True,
    own_trust: tuple[str, ...] | None = None,
) -> samples.Report:
    """Translates held-out sources (without any, those of the training) and measures the outputs.

    psnr, psnr_y (on luma), ssim, lpips_distance: of outputs to targets; psnr_source and psnr_mean,
    ssim_source and ssim_mean are what the source itself, enlarged where it is smaller, and the mean
    of all targets would reach. Of two domains: distances of sets, and the cycle error; the former
    too, where the held-out images are pairs. Arguments as in `samples.evaluate`.
    """
    started = time.monotonic()
    reals = train if held is None else held
    n = spec.n or MOST
    resolution = dataset["resolution"]
    modality = make_modality(dataset)
    draws = seed_of(seed, "evaluation")
    parts: dict[str, list[Tensor]] = {"source": [], "output": [], "target": [], "cycle": []}
    several: list[Tensor] = []
    many = "answers" in spec.items and gives_many(game, generator)
    with fork_random(draws, device), samples.in_eval_mode(game, generator):
        for batch in iterate_batches(
            reals, game.needs, n, resolution=resolution, device=device, seed=draws
        ):
            made = game.sample(batch, generator).float()
            source = batch["a"]
            size = made.shape[2:]
            source = (
                source
                if source.shape[2:] == size
                else F.interpolate(source, size, mode="bicubic", antialias=True)
            )
            for key, images in (("source", source), ("output", made), ("target", batch["b"])):
                parts[key].append(modality.to_pictures(modality.restore(images)).cpu())
            if many:
                more = [game.sample(batch, generator).float() for _ in range(ANSWERS - 1)]
                several.append(
                    torch.stack(
                        [modality.to_pictures(modality.restore(x)).cpu() for x in (made, *more)], 1
                    )
                )
            cycle = game.cycle_error(batch, generator)
            if cycle is not None:
                parts["cycle"].append(cycle.cpu())
    source, output, target = (torch.cat(parts[key]) for key in ("source", "output", "target"))
    protocol = {
        "n_fake": len(output),
        "split": "train" if held is None else "held",
        "size": list(output.shape[1:]),
        "seed": seed,
        "device": device.type,
        "dataset": dataset["_target_"],
        "data": train.digest,
        "ema": ema,
        "precision": "fp32",
    }
    own, skipped = build_own_metrics(spec.own, trust=own_trust)
    values: dict[str, float] = {}
    apart = train.other is not None or "a" not in game.needs
    if not apart or (reals.matched and "a" in game.needs):
        mean = compute_mean_target(
            train, game.needs, modality, resolution=resolution, device=device, seed=draws
        )
        values |= measure_pairs(
            source,
            output,
            target,
            mean,
            spec=spec,
            device=device,
            skipped=skipped,
            people=train.people,
        )
        if many:
            found = torch.cat(several)
            measure_item("answers", lambda: compare_answers(found, target), values, skipped)
            if "lpips_distance" in values:  # weights stand, and the images are large enough
                values["answers_lpips"] = measure_lpips(*pair_up(found), spec=spec, device=device)
    if apart:
        values |= measure_sets(
            output, target, spec=spec, seed=draws, device=device, protocol=protocol, skipped=skipped
        )
    if parts["cycle"] and "cycle" in spec.items:
        values["cycle"] = torch.cat(parts["cycle"]).mean().item()
    log.info("evaluated %d images in %.1f s", len(output), time.monotonic() - started)
    with torch.no_grad():
        measure_own(own, output, target, seed=draws, device=device, values=values, skipped=skipped)
    return samples.Report(values, protocol, skipped, own=samples.describe_own(own, spec))


def measure_pairs(
    source: Tensor,
    output: Tensor,
    target: Tensor,
    mean: Tensor,
    *,
    spec: MetricsConfig,
    device: torch.device,
    skipped: dict[str, str],
    people: People | None = None,
) -> dict[str, float]:
    """Compares outputs with their targets.

    Args:
        source: (N,C,H,W) uint8, of the outputs' size.
        output: Likewise.
        target: Likewise.
        mean: (1,C,H,W) uint8, the mean of the training's targets.
        spec: The part `metrics` of a config.
        device: Where LPIPS is computed.
        skipped: Why an item has no number is added here.
        people: Of a data set of people in poses, whose silhouettes are compared too.
    """
    average = mean.expand_as(target)
    # A source with other channels, of a data set of the user's own, is no image of the target's.
    copies = {"source": source} if source.shape == target.shape else {}
    baselines = copies | {"mean": average}

    def psnr_values() -> dict[str, float]:
        found = {"psnr": psnr(output, target), "psnr_y": psnr(output, target, y_channel=True)}
        return found | {f"psnr_{name}": psnr(x, target) for name, x in baselines.items()}

    def ssim_values() -> dict[str, float]:
        found = {"ssim": ssim(output, target)}
        return found | {f"ssim_{name}": ssim(x, target) for name, x in baselines.items()}

    def lpips_values() -> dict[str, float]:
        return {"lpips_distance": measure_lpips(output, target, spec=spec, device=device)}

    def iou_values() -> dict[str, float]:
        assert people is not None
        made = {"iou": output, "iou_source": source, "iou_mean": average}
        return {key: silhouette_iou(x, target, people.background) for key, x in made.items()}

    values: dict[str, float] = {}
    work_of = {"psnr": psnr_values, "ssim": ssim_values, "lpips": lpips_values}
    if people is not None:
        work_of["silhouette"] = iou_values
    for item, work in work_of.items():
        if item in spec.items:
            measure_item(item, work, values, skipped)
    return values


def gives_many(game: Game, generator: nn.Module) -> bool:
    """Does the same source give another answer each time? A network of another kind may not say."""
    try:
        return is_noisy(find_translator(game, generator, game.directions[0]))
    except UserError:
        return False


def compare_answers(answers: Tensor, target: Tensor) -> dict[str, float]:
    """Measures how far several answers to a source are apart, and how near the best one is.

    Args:
        answers: (N,K,C,H,W) uint8, of K answers to each source.
        target: (N,C,H,W) uint8.
    """
    error = (answers.float() - target[:, None].float()).square().mean((2, 3, 4))
    best = error.min(1).values.clamp(min=1e-3)  # equal ones would be infinitely good
    found = {"psnr_best": (10 * torch.log10(255**2 / best)).mean().item()}
    if min(answers.shape[3:]) >= SSIM_SIDE:
        found["answers_dssim"] = 1 - ssim(*pair_up(answers))
    return found


def pair_up(answers: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs each of the answers (N,K,C,H,W) to a source with the next: (N * (K - 1),C,H,W) each."""
    return answers[:, :-1].flatten(0, 1), answers[:, 1:].flatten(0, 1)


def measure_lpips(
    output: Tensor, target: Tensor, *, spec: MetricsConfig, device: torch.device
) -> float:
    """Measures the mean LPIPS distance of outputs (N,C,H,W) uint8 to their targets."""
    backbone = spec.lpips_backbone or spec.weights
    heads = spec.lpips_heads
    if backbone is None or heads is None:
        raise UserError("LPIPS needs metrics.lpips_backbone=FILE and metrics.lpips_heads=FILE", "")
    net = store.remember(
        f"lpips {backbone} {heads} {device}", lambda: Lpips(backbone, heads).eval().to(device)
    )
    found = [
        net(*(x.to(device).float().sub(127.5).mul(1 / 127.5) for x in pair)).flatten().cpu()
        for pair in zip(output.split(CHUNK), target.split(CHUNK), strict=True)
    ]
    return torch.cat(found).mean().item()


def compute_mean_target(
    train: Decoded,
    keys: tuple[str, ...],
    modality: Modality,
    *,
    resolution: int | Sequence[int],
    device: torch.device,
    seed: int,
) -> Tensor:
    """Computes the mean of training targets, (1,C,H,W) uint8.

    Whoever knows nothing of a source would answer with it.
    """
    few = iterate_batches(train, keys, MOST, resolution=resolution, device=device, seed=seed)
    sums = (show_over_white(batch["b"], modality).double().sum(0) for batch in few)
    total = functools.reduce(torch.add, sums)
    return to_uint8(total / min(MOST, len(train))).cpu()[None]


def measure_sets(
    output: Tensor,
    target: Tensor,
    *,
    spec: MetricsConfig,
    seed: int,
    device: torch.device,
    protocol: dict[str, object],
    skipped: dict[str, str],
) -> dict[str, float]:
    """Measures distances between outputs and real targets, both (N,C,H,W) uint8, as sets."""
    bench = Bench(
        batches=output.split(features.BATCH),
        n=len(output),
        items=samples.choose_items(spec, [item for item in IMAGE_ITEMS if item in UNPAIRED]),
        asked=None,
        train=Decoded(images=target),
        held=None,
        spec=replace(spec, reference="train"),
        seed=seed,
        device=device,
    )
    report = samples.measure_bench(bench)
    skipped |= report.skipped
    for key, value in report.protocol.items():
        protocol.setdefault(key, value)
    return dict(report.values)
