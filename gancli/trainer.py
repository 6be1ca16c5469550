"""The engine: plays the phases of a game, one step after the other, a pure function of (seed, progress).

It knows no file, no display and no evaluation: what is due after a step is decided in
`run/loop.py`. In a notebook: `for _ in range(1000): trainer.step()`, then
`trainer.read_flags(wait=True)`, which raises Diverged if a loss was not finite.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gancli import distributed
from gancli.config.build import build_schedule
from gancli.config.run_config import RunConfig
from gancli.data.stream import Stream
from gancli.ema import ema_beta, update_ema
from gancli.errors import Diverged
from gancli.game import Batch, Game, Logs, Phase, children
from gancli.optimizers import make_players
from gancli.precision import autocast, memory_format, place
from gancli.seeding import reseed, seed_of


class Flags(NamedTuple):
    """What all ranks know of a phase that was played. 0-d tensors on the device, 0 where it is not so."""

    bad: Tensor  # a loss was not finite
    news: Tensor  # a rank has something to tell the others


class Trainer:
    """One game in training.

    Args:
        config: Frozen, device and precision resolved.
        data: What identifies the data set in the checkpoint.
    """

    def __init__(
        self,
        game: Game,
        stream: Stream,
        *,
        config: RunConfig,
        device: torch.device,
        data: dict[str, Any] | None = None,
    ):
        self.config = config
        self.settings = config.trainer
        self.half_life_kimg = build_schedule(config.ema.half_life_kimg, where="ema.half_life_kimg")
        self.data = data or {}
        self.device = device
        self.stream = stream
        self.game = place(game, device, self.settings.precision).train()
        self.layout = memory_format(device, self.settings.precision)
        self.progress = game.progress
        self.phases = game.phases()
        self.players = make_players(game, config.optimizer.plain())
        distributed.broadcast_state(game)
        self.ema = copy.deepcopy(game.generator).eval().requires_grad_(False)
        if self.settings.compile:
            for network in children(game.generator):
                network.compile()  # critics stay eager: compiled code has no double backward, which penalties need
        # The loop's, which is saved with the state. watch: counts of the watchdog, changed in place.
        # owes_evaluation: was the state saved before an evaluation that was due? Whoever resumes it then evaluates first.
        # weighted_until: the step up to which an older gancli has logged penalties with weights.
        self.run: dict = {
            "best": None,
            "rollbacks": 0,
            "watch": {},
            "owes_evaluation": False,
            "weighted_until": 0,
        }
        self.logs: Logs = {}
        self.unread: list[list[Flags]] = []  # of the steps that the host has not looked at
        self.news = False  # set where this rank has something to tell the others
        game.advance(self.progress)

    def step(self) -> None:
        """One real batch: every phase that is due, the average, the clock, the curriculum."""
        progress = self.progress
        batch = self.draw()
        flags: list[Flags] = []
        for phase in self.phases:
            if phase.due(progress.step):
                logs, flag = self.play(phase, batch)
                self.logs |= logs
                flags.append(flag)
        beta = ema_beta(
            self.settings.batch_size,
            progress.nimg,
            half_life_kimg=self.half_life_kimg(progress.nimg),
            rampup=self.config.ema.rampup,
        )
        update_ema(self.ema, self.game.generator, beta)
        self.unread.append(flags)
        progress.step += 1
        progress.nimg += self.settings.batch_size
        # Here, not before the step: a state saved between two steps has then already dropped its moments.
        if self.game.advance(progress):
            for player in self.players.values():
                player.drop_moments()

    def draw(self, *, salt: str = "") -> Batch:
        batch = self.stream(self.progress.nimg, self.game.needs, salt=salt)
        return {
            key: value.contiguous(memory_format=self.layout) if value.ndim == 4 else value
            for key, value in batch.items()
        }

    def play(self, phase: Phase, batch: Batch) -> tuple[Logs, Flags]:
        """-> the phase's logs, averaged over shards, and the flags that all ranks agree on."""
        players = [self.players[name] for name in phase.updates]
        self.game.requires_grad_(False)
        for player in players:
            player.begin()
        if phase.fresh:
            batch = self.draw(salt=phase.name)
        if phase.prepare is not None:
            seed = self.reseed(phase, f"whole {distributed.rank()}")
            batch = phase.prepare(batch, torch.Generator().manual_seed(seed + 1))
        sums: Logs = {}
        bad = torch.zeros((), device=self.device)
        distributed.say_place(f"step {self.progress.step + 1}, phase {phase.name}")
        accumulate = self.settings.accumulate
        for micro in range(accumulate):
            # By shard, not by rank: 2 ranks then draw what 1 rank draws in 2 micro-batches.
            self.reseed(phase, distributed.rank() * accumulate + micro)
            with autocast(self.device, self.settings.precision):
                loss, parts = phase.loss(
                    {key: value.chunk(accumulate)[micro] for key, value in batch.items()}
                )
            loss.backward()
            bad = bad + (~loss.detach().isfinite()).float()
            for key, value in parts.items():
                sums[key] = sums.get(key, 0) + value
        shards = accumulate * distributed.world()
        # One sum for gradients, logs and flags. A log's key has a slash, a flag's has none.
        values = {f"{phase.name}/{key}": value.float() for key, value in sums.items()}
        flags = Flags(bad=bad, news=torch.full((), float(self.news), device=self.device))
        parameters = [p for player in players for p in player.parameters]
        means = distributed.average(parameters, values | flags._asdict(), shards=shards)
        flags = Flags(**{name: means.pop(name) for name in Flags._fields})
        for player in players:
            player.step(self.progress.nimg)
        if phase.after is not None:
            phase.after(means)
        return means, flags

    def reseed(self, phase: Phase, shard: int | str) -> int:
        seed = seed_of(
            self.config.seed, self.progress.attempt, self.progress.step, phase.name, shard
        )
        reseed(seed, self.device)
        return seed

    def read_flags(self, *, wait: bool) -> bool:
        """Looks at the flags of the steps played since the last time. -> has any rank news? All ranks read the same.

        A GPU's newest step is left unread unless `wait`, so that the host never waits for it between two log lines.
        Raises Diverged if a loss was not finite."""
        late = self.device.type != "cpu" and not wait
        read, self.unread = (self.unread[:-1], self.unread[-1:]) if late else (self.unread, [])
        flags = [flag for step in read for flag in step]
        if not flags:
            return False
        bad = torch.stack([flag.bad for flag in flags]).amax()
        news = torch.stack([flag.news for flag in flags]).amax()
        is_bad, is_news = torch.stack([bad, news]).tolist()  # the host waits once
        if is_bad:
            names = [key for key, value in self.logs.items() if not value.isfinite()]
            raise Diverged(
                f"step {self.progress.step}: {', '.join(names) or 'a loss'} is not finite",
                "try a smaller optimizer.<player>.lr, a gradient clip (optimizer.d.clip=1) or another penalty weight",
                sound=False,
            )
        return bool(is_news)

    def read_logs(self) -> dict[str, float]:
        """The newest logs of every phase as numbers: here the host waits for the device."""
        return (
            dict(zip(self.logs, torch.stack(list(self.logs.values())).tolist(), strict=True))
            if self.logs
            else {}
        )

    def state_dict(self) -> dict:
        """The checkpoint's tree: tensors and plain containers. With several ranks all must call it."""
        buffers = {
            name: buffer.detach().cpu().clone() for name, buffer in self.game.named_buffers()
        }
        # Gathered and not broadcast: pools and running means differ between ranks, and saving must not change them.
        gathered = distributed.gather(buffers) if distributed.world() > 1 else []
        return {
            "config": self.config.plain(),
            "progress": vars(self.progress).copy(),
            "game": self.game.state_dict(),
            "buffers": gathered,
            "ema": self.ema.state_dict(),
            "optimizers": {name: player.state_dict() for name, player in self.players.items()},
            "run": self.run | self.surroundings(),
            "data": self.data,
        }

    def surroundings(self) -> dict:
        """What the last bits of a run depend on beside its config."""
        return {
            "world": distributed.world(),
            "threads": torch.get_num_threads(),
            "device": self.device.type,
            "torch": str(torch.__version__),
        }

    def load_state_dict(self, state: dict) -> None:
        vars(self.progress).update(state["progress"])
        self.game.load_state_dict(state["game"])
        if state["buffers"]:  # another world size has no entry for every rank: rank 0's serve
            own = state["buffers"][
                distributed.rank() if len(state["buffers"]) == distributed.world() else 0
            ]
            for name, buffer in self.game.named_buffers():
                buffer.copy_(own[name])
        self.ema.load_state_dict(state["ema"])
        for name, player in self.players.items():
            player.load_state_dict(state["optimizers"][name])
        self.run |= {key: state["run"][key] for key in ("best", "rollbacks")}
        self.run["owes_evaluation"] = state["run"].get("owes_evaluation", False)
        self.run["weighted_until"] = state["run"].get("weighted_until", 0)
        self.run["watch"].update(state["run"].get("watch", {}))
        self.game.advance(
            self.progress
        )  # its True is ignored: the moments were dropped before the save

    def rollback(self, state: dict) -> None:
        """Goes back to `state` with other draws."""
        attempt = (
            self.progress.attempt + 1
        )  # read first: the state holds the number of its own time
        self.load_state_dict(state)
        self.progress.attempt = attempt
        self.logs = {}
        self.unread = []
