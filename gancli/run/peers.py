"""Loops that others would write for the same networks, for `gan bench` to compare with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gancli.config.build import build_schedule, read_signature
from gancli.config.players import choose_settings
from gancli.config.run_config import RunConfig
from gancli.config.schema import PlayerConfig
from gancli.data.base import Decoded, pair
from gancli.ema import ema_beta, update_ema
from gancli.errors import UserError
from gancli.game import Batch, Game, Phase
from gancli.games.gan import GAN
from gancli.optimizers import Player, make_players
from gancli.precision import autocast, memory_format, place
from gancli.trainer import count_steps_since_due, list_shaping_phases

MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's mode


class BareLoop:
    """What one would write by hand for a game: its losses, torch's optimizers and an average.

    Args:
        game: With its first weights; it is copied.
        batches: Real batches on the device, taken in turn.
        config: Of the run.
        device: Of the run.
        begin: Called before each phase. A test that compares weights seeds the noise there.
    """

    name: str = "bare loop"
    equal: tuple[str, ...] = (
        "networks, losses, optimizers and EMA",
        "threads, precision, layout and device",
        "generator passes, and what is frozen in them",
    )
    differs: tuple[str, ...] = (
        "its real batches lie ready in memory",
        "it seeds no noise and reads no flags",
    )

    def __init__(
        self,
        game: Game,
        batches: list[Batch],
        *,
        config: RunConfig,
        device: torch.device,
        begin: Callable[[Phase], object] | None = None,
    ):
        refuse_unlike(config)
        self.batches = batches
        self.settings = config.trainer
        self.config = config
        self.device = device
        self.begin = begin
        self.game = place(copy.deepcopy(game), device, self.settings.precision).train()
        self.phases = self.game.phases()
        specs = config.optimizer.plain()
        self.players = make_players(self.game, specs)
        self.plain = {
            name: is_plain(player, specs[choose_settings(name, specs)])
            for name, player in self.players.items()
        }
        self.average = copy.deepcopy(self.game.generator).eval().requires_grad_(False)
        self.half_life_kimg = build_schedule(config.ema.half_life_kimg, where="ema.half_life_kimg")
        self.shaping = list_shaping_phases(self.phases, self.game.generator, self.players)
        self.rng = torch.Generator().manual_seed(0)
        self.game.advance(self.game.progress)

    def step(self) -> None:
        """Plays one real batch."""
        game = self.game
        progress = game.progress
        for phase in self.phases:
            if phase.due(progress.step):
                self.play(phase)
        batch_size = self.settings.batch_size
        if any(phase.due(progress.step) for phase in self.shaping):
            beta = ema_beta(
                batch_size * count_steps_since_due(self.shaping, progress.step),
                progress.nimg,
                half_life_kimg=self.half_life_kimg(progress.nimg),
                rampup=self.config.ema.rampup,
            )
            update_ema(self.average, game.generator, beta)
        progress.step += 1
        progress.nimg += batch_size
        game.keep_average(self.average)
        if game.advance(progress):
            for player in self.players.values():
                player.drop_moments()

    def play(self, phase: Phase) -> None:
        """Plays one loss: its gradients, and the optimizers that it moves."""
        step = self.game.progress.step
        # The next one stands for the batch of its own that a fresh phase draws.
        batch = self.batches[(step + phase.fresh) % len(self.batches)]
        if phase.prepare is not None:
            batch = phase.prepare(batch, self.rng)
        if self.begin is not None:
            self.begin(phase)
        self.game.requires_grad_(False)
        for name in (*phase.updates, *phase.builds):
            for p in self.players[name].parameters:
                p.requires_grad_(True)
                p.grad = None
        with autocast(self.device, self.settings.precision):
            loss, logs = phase.loss(batch)
        loss.backward()
        for name in phase.updates:
            if self.plain[name]:
                for mover in self.players[name].movers:
                    mover.optimizer.step()
            else:  # a clip, a weight term or a schedule, which one would write too
                self.players[name].step(self.game.progress.nimg)
        if phase.after is not None:
            phase.after({f"{phase.name}/{key}": value for key, value in logs.items()})


class UsualScript:
    """What is usually written for such networks, after pytorch/examples and PyTorch-GAN.

    Args:
        game: With its first weights; it is copied.
        train: The images of the run.
        config: Of the run.
        device: Of the run.

    Raises:
        UserError: There is no usual script for such a game or such data.
    """

    name: str = "usual script"
    equal: tuple[str, ...] = (
        "networks, losses, batch size and learning rates",
        "threads and device",
    )

    def __init__(self, game: Game, train: Decoded, *, config: RunConfig, device: torch.device):
        refuse_unlike(config)
        refuse_unusual(game, train)
        assert type(game) is GAN
        self.game = copy.deepcopy(game).to(device).train()
        self.device = device
        self.batch_size = config.trainer.batch_size
        self.n_critic = game.n_critic
        # One optimizer call for each tensor on a CPU, as torch chooses where nothing is said.
        specs = {
            name: spec | ({"fused": False} if "fused" in read_signature(spec["_target_"]) else {})
            for name, spec in config.optimizer.plain().items()
        }
        self.players = make_players(self.game, specs)
        self.shares_fakes = self.n_critic == 1
        images = PillowImages(train, config.dataset["resolution"], flip=config.dataset["flip"])
        size = self.batch_size
        self.loader = DataLoader(images, batch_size=size, shuffle=True, drop_last=True)
        self.epoch: Iterator[tuple[Tensor, Tensor]] = iter(())
        self.losses: tuple[float, float] = (0.0, 0.0)  # of d and g, as a script prints them
        alone = self.shares_fakes and not game.shared_fakes
        passes = "one generator pass for both losses" if alone else ""
        self.differs = tuple(
            filter(
                None,
                (
                    "Pillow's transforms in a DataLoader without workers, of decoded images",
                    "eager fp32 in torch's own layout" + describe_run_form(config, device, game),
                    "optimizers that are not fused",
                    ".item() after every loss",
                    passes,
                    "nothing is frozen in the generator's loss",
                    "no EMA",
                ),
            )
        )

    def step(self) -> None:
        """Plays one real batch."""
        game = self.game
        progress = game.progress
        batch = self.draw_batch()
        fake = self.make_fake(batch)
        d_loss = self.move("d", batch, fake.detach())
        g_loss = self.losses[1]
        if (progress.step + 1) % self.n_critic == 0:
            if not self.shares_fakes:
                fake = self.make_fake(batch)
            g_loss = self.move("g", batch, fake)
        self.losses = (d_loss, g_loss)
        progress.step += 1
        progress.nimg += self.batch_size

    def make_fake(self, batch: Batch) -> Tensor:
        """Makes a fake for each real."""
        inputs = self.game.inputs(len(batch["image"]), None, label=batch.get("label"))
        return self.game.sample(inputs, self.game.generator)

    def move(self, player: str, batch: Batch, fake: Tensor) -> float:
        """Moves d or g by its loss, and returns that."""
        game = self.game
        for mover in self.players[player].movers:
            mover.optimizer.zero_grad()
        objective = game.adversarial.d if player == "d" else game.adversarial.g
        loss, logs = objective(game.critic(batch), batch["image"], fake, game.progress)
        loss.backward()
        for mover in self.players[player].movers:
            mover.optimizer.step()
        if player == "d":
            game.constrain({f"d/{key}": value for key, value in logs.items()})
        return loss.item()

    def draw_batch(self) -> Batch:
        """Takes the next batch of the loader, whose epochs follow each other."""
        drawn = next(self.epoch, None)
        if drawn is None:
            self.epoch = iter(self.loader)
            drawn = next(self.epoch)
        image, label = drawn
        batch = {"image": image.to(self.device)}
        if "label" in self.game.needs:
            batch["label"] = label.to(self.device)
        return batch


class PillowImages(Dataset[tuple[Tensor, Tensor]]):
    """The images of a run as Pillow's, transformed anew whenever one is asked for.

    Args:
        train: Images (N,C,H,W) uint8.
        resolution: What the networks see, a side or [height, width] in pixels.
        flip: Mirrors half of the draws.
    """

    def __init__(self, train: Decoded, resolution: int | Sequence[int], *, flip: bool):
        from torchvision import transforms

        height, width = pair(resolution)
        mode = MODES[train.images.shape[1]]
        self.pictures = train.images
        self.labels = train.labels
        self.mode = mode
        larger = tuple(train.images.shape[2:]) != (height, width)
        fit = transforms.RandomCrop if larger else transforms.Resize
        steps = [fit((height, width))]
        steps += [transforms.RandomHorizontalFlip()] if flip else []
        middle = [0.5] * len(mode)
        steps += [transforms.ToTensor(), transforms.Normalize(middle, middle)]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        array = self.pictures[index].permute(1, 2, 0).numpy()
        picture = Image.fromarray(array[..., 0] if self.mode == "L" else array, self.mode)
        label = torch.zeros(()) if self.labels is None else self.labels[index]
        return self.transform(picture), label


def is_plain(player: Player, spec: dict[str, Any]) -> bool:
    """Says whether a player is moved by its torch optimizers alone."""
    return player.ours == PlayerConfig(rest=player.ours.rest) and isinstance(
        spec["lr"], int | float
    )


def describe_run_form(config: RunConfig, device: torch.device, game: Game) -> str:
    """Names what the engine has instead of fp32 in torch's layout; "" where it has the same."""
    precision = config.trainer.precision
    layout = memory_format(device, precision, game)
    if precision == "fp32" and layout is torch.contiguous_format:
        return ""
    return f" (gancli: {precision}, {str(layout).removeprefix('torch.')})"


def refuse_unlike(config: RunConfig) -> None:
    """Raises UserError for settings that no loop here has."""
    trainer = config.trainer
    if trainer.compile:
        raise UserError("--against compares eager loops", "trainer.compile=false")
    if trainer.accumulate > 1:
        raise UserError("--against compares steps of one micro-batch", "trainer.accumulate=1")


def refuse_unusual(game: Game, train: Decoded) -> None:
    """Raises UserError where there is no usual script."""
    hint = "--against bare compares any model with a bare loop"
    if type(game) is not GAN:
        raise UserError(f"--against usual knows no script for {type(game).__name__}", hint)
    names = [phase.name for phase in game.phases()]
    if names != ["d", "g"] or len(game.heads) or game.augment is not None:
        raise UserError("--against usual knows no heads, augmentation or further phases", hint)
    if game.generator_batch > 1:
        raise UserError("--against usual knows no generator_batch", hint)
    images = train.images
    if images.dtype != torch.uint8 or images.shape[1] not in MODES:
        raise UserError("--against usual reads grey or RGB images alone", hint)
