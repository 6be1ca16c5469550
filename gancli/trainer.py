"""The engine: plays the phases of a game, one step after the other, a pure function of progress.

It knows no file, no display and no evaluation: what is due after a step is decided in
`run/loop.py`. In a notebook: `for _ in range(1000): trainer.step()`, then
`trainer.read_flags(wait=True)`, which raises Diverged if a loss was not finite.
"""

from __future__ import annotations

import copy
import os
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, TypedDict

import torch
from torch import Tensor, nn

from gancli import distributed
from gancli.config.build import build_schedule
from gancli.config.run_config import RunConfig
from gancli.data.stream import Stream
from gancli.ema import ema_beta, list_norms, settle_statistics, update_ema
from gancli.errors import Diverged, UserError
from gancli.game import Batch, Game, Logs, Phase, children
from gancli.machine import describe_waiting
from gancli.optimizers import Player, make_players
from gancli.precision import autocast, memory_format, name_layout, place
from gancli.seeding import fork_random, reseed, seed_of

SETTLE_BATCH = 16  # latents, at most, of a batch that batch norm's statistics are measured on


class Best(TypedDict):
    """The best evaluation of a run: which value, whether less is better, when, and what it was."""

    key: str
    mode: Literal["min", "max"]
    step: int
    value: float


@dataclass
class RunState:
    """What the loop, and not the engine, must find again after a resume; saved with the weights.

    Attributes:
        best: The best evaluation; None before the first.
        rollbacks: How often the run has gone back to a checkpoint.
        watch: Signal of the watchdog -> consecutive checks at which it showed.
        owes_evaluation: Whether an evaluation was due when the state was saved, which comes
            before it; whoever resumes the state then evaluates first.
        weighted_until: The last step whose penalties an older gancli has logged with their weight.
        sources: Package of the user's own -> digest of its source files.
    """

    best: Best | None = None
    rollbacks: int = 0
    watch: dict[str, int] = field(default_factory=dict)
    owes_evaluation: bool = False
    weighted_until: int = 0
    sources: dict[str, str] = field(default_factory=dict)


class Flags(NamedTuple):
    """What all ranks know of a phase that was played: 0-d tensors on the device, 0 if it is not."""

    bad: Tensor  # a loss was not finite
    news: Tensor  # a rank has something to tell the others


class Trainer:
    """One game in training.

    Args:
        game: With its first weights; moved to the device.
        stream: The batches of this rank.
        config: As gate 2 returns it, with its device and precision resolved.
        device: Of this rank.
        data: What identifies the data set in the checkpoint.
        layout: Of 4-d tensors, for a run that goes on; None: as the rule says.
    """

    def __init__(
        self,
        game: Game,
        stream: Stream,
        *,
        config: RunConfig,
        device: torch.device,
        data: dict[str, Any] | None = None,
        layout: torch.memory_format | None = None,
    ):
        self.config = config
        self.settings = config.trainer
        self.half_life_kimg = build_schedule(config.ema.half_life_kimg, where="ema.half_life_kimg")
        self.data = data or {}
        self.device = device
        self.stream = stream
        self.layout = layout or memory_format(device, self.settings.precision, game)
        self.game = place(game, device, self.settings.precision, layout=self.layout).train()
        self.progress = game.progress
        # Read once: what changes with training is said by start, stop and every, or set by
        # `advance`.
        self.phases = game.phases()
        self.players = make_players(game, config.optimizer.plain())
        self.shaping = list_shaping_phases(self.phases, game.generator, self.players)
        distributed.broadcast_state(game)
        # After the broadcast: every rank's average starts from the same weights.
        self.ema = copy.deepcopy(game.generator).eval().requires_grad_(False)
        self.settled: tuple[int, int] | None = None  # (attempt, step) of the last look at it
        if self.settings.compile:
            # Discriminators stay eager: compiled code has no double backward, which penalties need.
            for network in children(game.generator):
                network.compile()
        self.run = RunState()
        self.logs: Logs = {}
        self.unread: list[list[Flags]] = []  # of the steps that the host has not looked at
        self.news = False  # set where this rank has something to tell the others
        # Its True is ignored: there are no moments yet.
        game.advance(self.progress)

    def step(self) -> None:
        """Plays one real batch: every phase that is due, the average, the clock, the curriculum."""
        progress = self.progress
        batch = self.draw_batch()
        flags: list[Flags] = []
        for phase in self.phases:
            if phase.due(progress.step):
                logs, flag = self.play(phase, batch)
                self.logs |= logs
                flags.append(flag)
        # Before the clock moves: the ramp-up counts the images that earlier steps have shown.
        if any(phase.due(progress.step) for phase in self.shaping):
            self.move_average()
        self.unread.append(flags)
        progress.step += 1
        progress.nimg += self.settings.batch_size
        # After the clock: a stage that ends with this step is told by `progress.step`.
        self.game.keep_average(self.ema)
        # Here, not before the step: a state saved between two steps has then already dropped its
        # moments.
        if self.game.advance(progress):
            for player in self.players.values():
                player.drop_moments()

    def move_average(self) -> None:
        """Moves the EMA generator by the images since the generator last moved.

        In the steps between, the average would only come nearer to weights that it has already
        taken in, at the price of a pass over all of them.
        """
        nimg = self.progress.nimg
        beta = ema_beta(
            self.settings.batch_size * count_steps_since_due(self.shaping, self.progress.step),
            nimg,
            half_life_kimg=self.half_life_kimg(nimg),
            rampup=self.config.ema.rampup,
        )
        update_ema(self.ema, self.game.generator, beta)

    def settle_ema(self) -> nn.Module:
        """Returns the EMA generator to look at, its batch norms' statistics measured anew.

        `ema` itself holds those of the network in training, which are of other weights. They are a
        function of the average and the clock, and the next move overwrites them: it makes no
        difference which other steps were looked at. Latents, labels (as frequent as in the data)
        and noise have a seed of their own, the same on all ranks. A batch is as large as a shard,
        up to 16, so that a look costs little beside the steps since the last one. Games of
        translation are left alone: their inputs are data. So is whatever has no batch norm, at no
        cost.
        """
        batches = self.config.ema.settle_batches
        now = (self.progress.attempt, self.progress.step)
        if not batches or self.game.directions or self.settled == now:
            return self.ema
        if norms := list_norms(self.ema):
            seed = seed_of(self.config.seed, *now, "settle")
            rng = torch.Generator().manual_seed(seed)
            shards = self.settings.accumulate * distributed.world()
            # One alone has no variance.
            n = max(2, min(SETTLE_BATCH, self.settings.batch_size // shards))
            labels = self.stream.labels if "label" in self.game.needs else None

            def sample() -> None:
                inputs = self.game.inputs(n, rng, **draw_labels(labels, n, rng))
                placed = {key: value.to(self.device) for key, value in inputs.items()}
                self.game.sample(placed, self.ema)

            with fork_random(seed_of(seed, "noise"), self.device):
                settle_statistics(norms, batches=batches, sample=sample)
        self.settled = now
        return self.ema

    def draw_batch(self, *, salt: str = "") -> Batch:
        """Draws this rank's share of the real batch at the present position.

        Args:
            salt: Another name draws other images at the same position.
        """
        batch = self.stream(self.progress.nimg, self.game.needs, salt=salt)
        return {
            key: value.contiguous(memory_format=self.layout) if value.ndim == 4 else value
            for key, value in batch.items()
        }

    def play(self, phase: Phase, batch: Batch) -> tuple[Logs, Flags]:
        """Plays one phase: gradients of its loss, summed over shards, then its players' updates.

        Args:
            phase: Of this game.
            batch: The real batch of the step; a phase that is `fresh` draws its own.

        Returns:
            The phase's logs, averaged over shards, and the flags that all ranks agree on.
        """
        players = [self.players[name] for name in phase.updates]
        # Frozen are all but the movers: a loss may run through networks that it must not change.
        self.game.requires_grad_(False)
        for player in (*players, *(self.players[name] for name in phase.builds)):
            player.begin()
        if phase.fresh:
            batch = self.draw_batch(salt=phase.name)
        if phase.prepare is not None:
            seed = self.reseed(phase, f"whole {distributed.rank()}")
            # + 1: with the seed itself the pool's coins would be the numbers that the noise is made
            # of.
            batch = phase.prepare(batch, torch.Generator().manual_seed(seed + 1))
        sums: Logs = {}
        bad = torch.zeros((), device=self.device)
        distributed.say_place(f"step {self.progress.step + 1}, phase {phase.name}")
        accumulate = self.settings.accumulate
        for micro in range(accumulate):
            # By shard, not by rank: 2 ranks then draw what 1 rank draws in 2 micro-batches.
            self.reseed(phase, distributed.rank() * accumulate + micro)
            shard = {key: value.chunk(accumulate)[micro] for key, value in batch.items()}
            with autocast(self.device, self.settings.precision):
                # Only the forward pass: backward takes for each operation the type that forward
                # chose.
                loss, parts = check_loss(phase, phase.loss(shard))
            # Gradients add up over micro-batches as they are: the sum is divided once, after the
            # one over ranks: 2 shards then give the same bits on one rank and on two.
            loss.backward()
            # Counted on the device: to ask for it here would make the host wait.
            bad = bad + (~loss.detach().isfinite()).float()
            for key, value in parts.items():
                sums[key] = sums.get(key, 0) + value
        # One sum for gradients, logs and flags. A log's key has a slash, a flag's has none.
        # In fp32: summed over ranks in bf16 a log would have two digits.
        values = {f"{phase.name}/{key}": value.float() for key, value in sums.items()}
        flags = Flags(bad=bad, news=torch.full((), float(self.news), device=self.device))
        means = distributed.average(
            [p for player in players for p in player.parameters],
            values | flags._asdict(),
            shards=accumulate * distributed.world(),
        )
        flags = Flags(**{name: means.pop(name) for name in Flags._fields})
        for player in players:
            player.step(self.progress.nimg)
        if phase.after is not None:
            phase.after(means)
        return means, flags

    def reseed(self, phase: Phase, shard: int | str) -> int:
        """Seeds the global generators for one shard of a phase, and returns the seed."""
        progress = self.progress
        seed = seed_of(self.config.seed, progress.attempt, progress.step, phase.name, shard)
        reseed(seed, self.device)
        return seed

    def read_flags(self, *, wait: bool) -> bool:
        """Reads the flags of the steps played since the last time.

        Args:
            wait: Whether to read the newest step's too. A GPU is still at work on it, and between
                two log lines the host never waits.

        Returns:
            Whether any rank has news; all ranks read the same.

        Raises:
            Diverged: A loss was not finite.
        """
        late = self.device.type != "cpu" and not wait
        steps = self.unread[:-1] if late else self.unread
        self.unread = self.unread[-1:] if late else []
        flags = [flag for step in steps for flag in step]
        if not flags:
            return False
        bad = torch.stack([flag.bad for flag in flags]).amax()
        news = torch.stack([flag.news for flag in flags]).amax()
        is_bad, is_news = torch.stack([bad, news]).tolist()  # the host waits once
        if is_bad:
            names = [key for key, value in self.logs.items() if not value.isfinite()]
            raise Diverged(
                f"step {self.progress.step}: {', '.join(names) or 'a loss'} is not finite",
                "try a smaller optimizer.<player>.lr, a gradient clip (optimizer.d.clip=1) or "
                "another penalty weight",
                sound=False,
            )
        return bool(is_news)

    def read_logs(self) -> dict[str, float]:
        """Reads the newest logs of every phase as numbers: here the host waits for the device."""
        if not self.logs:
            return {}
        values = torch.stack(list(self.logs.values())).tolist()
        return dict(zip(self.logs, values, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Returns the checkpoint's tree: tensors and plain containers. All ranks must call it."""
        buffers = {
            # A clone: on a CPU .cpu() is the buffer itself, which the next step moves.
            name: buffer.detach().cpu().clone()
            for name, buffer in self.game.named_buffers()
        }
        # Gathered and not broadcast: pools and running means differ between ranks, and saving must
        # not change them.
        gathered = distributed.gather(buffers) if distributed.world() > 1 else []
        return {
            "config": self.config.plain(),
            "progress": vars(self.progress).copy(),
            "game": self.game.state_dict(),
            "buffers": gathered,
            "ema": self.settle_ema().state_dict(),
            "optimizers": {name: player.state_dict() for name, player in self.players.items()},
            "run": asdict(self.run)
            | self.describe_machine()
            | {"wait_policy": describe_waiting(os.environ)},
            "data": self.data,
        }

    def describe_machine(self) -> dict[str, str | int]:
        """Returns what the last bits of a run depend on beside its config."""
        return {
            "world": distributed.world(),
            "threads": torch.get_num_threads(),
            "device": self.device.type,
            "torch": str(torch.__version__),
            "layout": name_layout(self.layout),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state that `state_dict` has returned, maybe of an older gancli."""
        # In place: the game, its losses and its phases hold this very object.
        vars(self.progress).update(state["progress"])
        self.game.load_state_dict(state["game"])
        buffers = state["buffers"]
        if buffers:  # another world size has no entry for every rank: rank 0's serve
            own = buffers[distributed.rank() if len(buffers) == distributed.world() else 0]
            for name, buffer in self.game.named_buffers():
                buffer.copy_(own[name])
        self.ema.load_state_dict(state["ema"])
        self.settled = None
        for name, player in self.players.items():
            player.load_state_dict(state["optimizers"][name])
        run = state["run"]
        self.run.best = run["best"]
        self.run.rollbacks = run["rollbacks"]
        self.run.owes_evaluation = run.get("owes_evaluation", False)
        self.run.weighted_until = run.get("weighted_until", 0)
        self.run.watch.update(run.get("watch", {}))  # in place: the watchdog holds it
        # Its True is ignored: the moments were dropped before the save.
        self.game.advance(self.progress)

    def rollback(self, state: dict[str, Any]) -> None:
        """Goes back to a state, and on from there with a new random seed."""
        # Read first: the state holds the number of its own time.
        attempt = self.progress.attempt + 1
        self.load_state_dict(state)
        self.progress.attempt = attempt
        self.logs = {}
        self.unread = []


def draw_labels(labels: Tensor | None, n: int, rng: torch.Generator) -> dict[str, Any]:
    """Draws n of the labels (N,...) of the data, as a keyword of `Game.inputs`; {} without any."""
    if labels is None:
        return {}
    index = torch.randint(len(labels), (n,), generator=rng)
    return {"label": labels[index.to(labels.device)].cpu()}


def list_shaping_phases(
    phases: list[Phase], generator: nn.Module, players: dict[str, Player]
) -> list[Phase]:
    """Lists the phases that move the generator, which the average follows."""
    followed = set(generator.parameters())
    return [
        phase
        for phase in phases
        if any(not followed.isdisjoint(players[name].parameters) for name in phase.updates)
    ]


def count_steps_since_due(phases: list[Phase], step: int) -> int:
    """Counts the steps since one of the phases was last due before `step`, which counts too.

    A function of the clock, so that a resumed run counts alike; step + 1 where none has been due.
    """
    n = 1
    while n <= step and not any(phase.due(step - n) for phase in phases):
        n += 1
    return n


def check_loss(phase: Phase, result: object) -> tuple[Tensor, Logs]:
    """Checks what a phase's loss returns, which may be code of a user's own, without a wait.

    Args:
        phase: Whose loss it is, for the message.
        result: A scalar that gradients flow through, and detached scalars by name.

    Returns:
        The result as it is.

    Raises:
        UserError: It is something else.
    """
    where = f"the loss of phase {phase.name}"
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise UserError(f"{where} returns no pair", 'return loss, {"adv": loss.detach()}')
    loss, logs = result
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise UserError(f"{where} is no scalar tensor but {shape}", "take its mean")
    if not loss.requires_grad:
        raise UserError(
            f"{where} does not depend on what it updates: {', '.join(phase.updates)}",
            "look for a detach() or no_grad() on the way, or for another player in `updates`",
        )
    for key, value in logs.items():
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise UserError(
                f"{where} logs {key} as no scalar tensor", "give value.detach(), without .item()"
            )
    return loss, logs
