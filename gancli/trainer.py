"""Plays the phases of a game: one loop for every family, a pure function of (seed, progress)."""

from __future__ import annotations

import copy
import errno
import logging
import signal
from functools import partial

import torch
from torch import Tensor

from gancli import checkpoint, distributed
from gancli.config import EmaConfig, LogConfig, TrainerConfig, WatchConfig
from gancli.data.stream import Stream
from gancli.display import Display
from gancli.ema import ema_beta, update_ema
from gancli.errors import Busy, Interrupted, Lost
from gancli.game import Batch, Game, Logs, Phase, children, due
from gancli.judge import Judge
from gancli.logbook import Logbook
from gancli.optimizers import Player
from gancli.precision import autocast, memory_format, peak_memory, place
from gancli.runfolder import RunFolder
from gancli.schedules import schedule
from gancli.seeding import reseed, seed_of
from gancli.watch import Watch

log = logging.getLogger("gancli")
TRY = (
    "try a smaller optimizer.<player>.lr, or a penalty on the critic: +penalty@loss.penalties.r1=r1"
)
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 75, signal.SIGUSR2: 75}


class Trainer:
    """config: frozen (device and precision resolved). data: what identifies the data set in the checkpoint."""

    def __init__(
        self,
        game: Game,
        stream: Stream,
        judge: Judge,
        *,
        config: dict,
        device: torch.device,
        data: dict | None = None,
    ):
        self.settings = TrainerConfig(**config["trainer"])
        self.log = LogConfig(**config["log"])
        self.ema_settings = EmaConfig(**config["ema"])
        self.seed = config["seed"]
        self.half_life_kimg = schedule(self.ema_settings.half_life_kimg)
        self.config = config
        self.data = data or {}
        self.device = device
        self.stream = stream
        self.judge = judge
        self.game = place(game, device, self.settings.precision).train()
        self.layout = memory_format(device, self.settings.precision)
        self.progress = game.progress
        self.phases = game.phases()
        self.players = self.make_players(config["optimizer"])
        distributed.broadcast_state(game)
        self.ema = copy.deepcopy(game.generator).eval().requires_grad_(False)
        if self.settings.compile:
            for network in children(game.generator):
                network.compile()  # critics stay eager: compiled code has no double backward, which penalties need
        self.watch = Watch(
            WatchConfig(**config["watch"]), next(iter(children(game.adversarial)), None)
        )
        self.run: dict = {"best": None, "rollbacks": 0, "watch": self.watch.counts}
        self.logs: Logs = {}
        self.unread: list[Tensor] = []  # (bad, stop) flags of steps that the host has not looked at
        self.signal = 0
        game.advance(self.progress)

    def make_players(self, specs: dict[str, dict]) -> dict[str, Player]:
        lazy = {name: phase.every for phase in self.phases if phase.lazy for name in phase.updates}
        return {
            name: Player(modules, specs.get(name) or specs["g"], lazy=lazy.get(name))
            for name, modules in self.game.players().items()
        }

    def train(self, *, folder: RunFolder, logbook: Logbook, display: Display) -> None:
        """Plays until the budget is spent, then saves. Raises Stopped, Interrupted or Busy; all leave a sound checkpoint."""
        while self.progress.step < self.settings.steps:
            try:
                self.turn(folder, logbook, display)
            except Lost as lost:
                self.rescue(lost, folder, logbook)

    def turn(self, folder: RunFolder, logbook: Logbook, display: Display) -> None:
        """One step, and whatever is due after it."""
        self.step()
        progress = self.progress
        settings = self.settings
        best = False
        done = progress.step == settings.steps
        now = progress.step - 1
        if done or due(now, self.log.every):
            self.write_line(logbook, display)
        if done or due(now, self.log.sample_every):
            image = self.judge.picture(self.game, self.ema, columns=self.log.grid)
            logbook.guard("samples", partial(folder.write_sample, progress.step, image))
            logbook.picture(progress.step, "samples", image)
        evaluate, save = (
            done or due(now, every)
            for every in (self.config["metrics"]["every"], settings.save_every)
        )
        stop = self.read_flags(wait=evaluate or save)
        if evaluate and self.judge.measures:
            best = self.evaluate(folder, logbook, display)
        if save or best or stop:
            self.save(folder, last=bool(done or stop), best=best)
        if stop and not done:
            raise Interrupted(
                f"{signal.Signals(stop).name}: saved step {progress.step} of {settings.steps}",
                code=EXIT_CODES[stop],
            )

    def step(self) -> None:
        """One real batch: every phase that is due, the average, the clock, the curriculum."""
        progress = self.progress
        batch = self.draw()
        flags = []
        for phase in self.phases:
            if phase.due(progress.step):
                logs, flag = self.play(phase, batch)
                self.logs |= logs
                flags.append(flag)
        beta = ema_beta(
            self.settings.batch_size,
            progress.nimg,
            half_life_kimg=self.half_life_kimg(progress.nimg),
            rampup=self.ema_settings.rampup,
        )
        update_ema(self.ema, self.game.generator, beta)
        self.unread.append(
            torch.stack(flags).amax(0) if flags else torch.zeros(2, device=self.device)
        )
        progress.step += 1
        progress.nimg += self.settings.batch_size
        # Here, not before the step: a state saved between two steps has then already dropped its moments.
        if self.game.advance(progress):
            for player in self.players.values():
                player.optimizer.state.clear()

    def draw(self, *, salt: str = "") -> Batch:
        batch = self.stream(self.progress.nimg, self.game.needs, salt=salt)
        return {
            key: value.contiguous(memory_format=self.layout) if value.ndim == 4 else value
            for key, value in batch.items()
        }

    def play(self, phase: Phase, batch: Batch) -> tuple[Logs, Tensor]:
        """-> the phase's logs, averaged over shards, and (not finite, signal) flags agreed by all ranks."""
        players = [self.players[name] for name in phase.updates]
        self.game.requires_grad_(False)
        for player in players:
            player.begin()
        if phase.fresh:
            batch = self.draw(salt=phase.name)
        if phase.prepare is not None:
            seed = self.reseed(phase, f"whole {distributed.rank()}")
            batch = phase.prepare(batch, torch.Generator().manual_seed(seed + 1))
        logs = {}
        accumulate = self.settings.accumulate
        for micro in range(accumulate):
            # By shard, not by rank: 2 ranks then draw what 1 rank draws in 2 micro-batches.
            self.reseed(phase, distributed.rank() * accumulate + micro)
            with autocast(self.device, self.settings.precision):
                loss, parts = phase.loss(
                    {key: value.chunk(accumulate)[micro] for key, value in batch.items()}
                )
            loss.backward()
            bad = (~loss.detach().isfinite()).float()
            logs = {key: logs.get(key, 0) + value for key, value in (parts | {"bad": bad}).items()}
        shards = accumulate * distributed.world()
        stop = torch.full((), float(self.signal != 0), device=self.device)
        parameters = [p for player in players for p in player.parameters]
        means = distributed.average(
            parameters, torch.stack([*(v.float() for v in logs.values()), stop]), shards=shards
        )
        for player in players:
            player.step(self.progress.nimg)
        logs = {f"{phase.name}/{key}": value for key, value in zip(logs, means, strict=False)}
        flag = torch.stack([logs.pop(f"{phase.name}/bad"), means[-1]])
        if phase.after is not None:
            phase.after(logs)
        return logs, flag

    def reseed(self, phase: Phase, shard: int | str) -> int:
        seed = seed_of(self.seed, self.progress.attempt, self.progress.step, phase.name, shard)
        reseed(seed, self.device)
        return seed

    def read_flags(self, *, wait: bool) -> int:
        """-> the signal to stop for, or 0. Raises Stopped if a loss was not finite. A GPU's newest step is left unread
        unless `wait`, so that the host never waits for it between two log lines."""
        late = self.device.type != "cpu" and not wait
        flags, self.unread = (self.unread[:-1], self.unread[-1:]) if late else (self.unread, [])
        bad, stop = torch.stack(flags).amax(0).tolist() if flags else (0.0, 0.0)
        if bad:
            names = [key for key, value in self.logs.items() if not value.isfinite()]
            raise Lost(
                f"step {self.progress.step}: {', '.join(names) or 'a loss'} is not finite; the last checkpoint is sound",
                "try a smaller optimizer.<player>.lr, a gradient clip (optimizer.d.clip=1) or another penalty weight",
                sound=False,
            )
        if distributed.world() == 1:
            return self.signal
        return (
            max(distributed.gather(self.signal)) if stop else 0
        )  # every rank read the same flag, so all gather

    def read_logs(self) -> dict[str, float]:
        """The newest logs of every phase as numbers: here the host waits for the device."""
        return (
            dict(zip(self.logs, torch.stack(list(self.logs.values())).tolist(), strict=True))
            if self.logs
            else {}
        )

    def write_line(self, logbook: Logbook, display: Display) -> None:
        values = self.read_logs()
        if self.watch.on:
            values |= distributed.from_rank_0(
                self.judge.glance(self.game, self.ema) if distributed.rank() == 0 else None
            )
        logbook.scalars(self.progress.step, self.progress.nimg, values)
        display.update(
            self.progress.step, self.progress.nimg, values, memory_bytes=peak_memory(self.device)
        )
        self.look(values)

    def evaluate(self, folder: RunFolder, logbook: Logbook, display: Display) -> bool:
        """Measures the average generator. -> is it the best so far?"""
        step = self.progress.step
        before = self.run["best"]
        report = self.judge.measure(self.game, self.ema) if distributed.rank() == 0 else None
        values = distributed.from_rank_0(report and report.values)
        self.run["best"] = self.judge.better(values, step, before)
        logbook.scalars(
            step, self.progress.nimg, {f"eval/{key}": value for key, value in values.items()}
        )
        shown = [f"{key} {value:.4g}" for key, value in values.items() if "/" not in key]
        display.note(
            f"step {step}: "
            + ", ".join(shown)
            + (", the best so far" if self.run["best"] != before else "")
        )
        if report is not None:
            logbook.guard(
                "evaluation.json",
                partial(folder.write_report, report, step=step, best=self.run["best"]),
            )
        self.look({f"eval/{key}": value for key, value in values.items()})
        return self.run["best"] != before

    def look(self, values: dict[str, float]) -> None:
        """Lets the watchdog see new numbers; raises Lost if it is to do more than warn."""
        reason = self.watch.look(values, self.progress.nimg, self.run["best"])
        if reason and self.watch.settings.action == "warn":
            log.warning(
                "step %d: %s; watch.action=stop would end the run here", self.progress.step, reason
            )
        elif reason:
            raise Lost(f"step {self.progress.step}: {reason}", TRY, sound=True)

    def rescue(self, lost: Lost, folder: RunFolder, logbook: Logbook) -> None:
        """Goes back to the best checkpoint, or to the newest, if that is asked for and has not been done too often; else ends."""
        tries = self.run["rollbacks"]
        settings = self.watch.settings
        if settings.action != "rollback" or tries >= settings.retries or not folder.saved:
            lost.message += f"; {tries} rollbacks did not help" if tries else ""
            if lost.sound:
                self.save(folder, last=True)
            raise lost
        self.rollback(checkpoint.best(folder.checkpoints))
        self.run["rollbacks"] = tries + 1
        log.warning(
            "%s; back to step %d with other draws (rollback %d of %d)",
            lost.message,
            self.progress.step,
            tries + 1,
            settings.retries,
        )
        logbook.rewind(self.progress.step)
        self.save(folder, last=False)  # or a kill now would bring the lost state back

    def save(self, folder: RunFolder, *, last: bool, best: bool = False) -> None:
        """All ranks must call it. A full disk is survived in the middle of a run, and ends it with Busy at its end."""
        tree = self.state_dict()
        if not all(
            value.isfinite().all()
            for value in [*tree["game"].values(), *tree["ema"].values()]
            if value.is_floating_point()
        ):
            raise Lost(
                f"step {self.progress.step}: a weight is not finite, and was not saved; the last checkpoint is sound",
                "try a smaller optimizer.<player>.lr or a gradient clip (optimizer.d.clip=1)",
                sound=False,
            )
        if distributed.rank() != 0:
            return
        try:
            checkpoint.save(tree, folder.checkpoints, keep=self.settings.keep, best=best)
        except OSError as error:
            reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
            if last:
                raise Busy(
                    f"step {self.progress.step} could not be saved: {reason}",
                    "make room, then resume",
                ) from error
            log.warning(
                "step %d could not be saved (%s); training goes on, the last checkpoint is intact",
                self.progress.step,
                reason,
            )

    def state_dict(self) -> dict:
        """The checkpoint's tree: tensors and plain containers. With several ranks all must call it."""
        buffers = {
            name: buffer.detach().cpu().clone() for name, buffer in self.game.named_buffers()
        }
        # Gathered and not broadcast: pools and running means differ between ranks, and saving must not change them.
        gathered = distributed.gather(buffers) if distributed.world() > 1 else []
        return {
            "config": self.config,
            "progress": vars(self.progress).copy(),
            "game": self.game.state_dict(),
            "buffers": gathered,
            "ema": self.ema.state_dict(),
            "optimizers": {
                name: player.optimizer.state_dict() for name, player in self.players.items()
            },
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
            player.optimizer.load_state_dict(state["optimizers"][name])
        self.run |= {key: state["run"][key] for key in ("best", "rollbacks")}
        self.watch.counts.update(state["run"].get("watch", {}))
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
