"""Plays the phases of a game: one loop for every family, a pure function of (seed, progress)."""

from __future__ import annotations

import copy
import logging
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from gancli import checkpoint, distributed
from gancli.config.compose import EmaConfig, LogConfig, TrainerConfig, WatchConfig
from gancli.data.stream import Stream
from gancli.ema import ema_beta, update_ema
from gancli.errors import Busy, GanError, Interrupted, Lost, disk_is_full, reason_of
from gancli.evaluation.monitor import Judge
from gancli.evaluation.samples import Report, summary
from gancli.evaluation.watchdog import Watch
from gancli.game import Batch, Game, Logs, Phase, children, due
from gancli.optimizers import make_players
from gancli.precision import autocast, memory_format, peak_memory, place
from gancli.render.display import Display
from gancli.render.notes import NOTE
from gancli.run.folder import RunFolder
from gancli.run.logbook import Logbook
from gancli.schedules import schedule
from gancli.seeding import reseed, seed_of

log = logging.getLogger("gancli")
TRY = (
    "try a smaller optimizer.<player>.lr, or a penalty on the critic: +penalty@loss.penalties.r1=r1"
)
EXIT_CODES = {
    signal.SIGINT: 130,
    signal.SIGTERM: 143,
    signal.SIGHUP: 129,
    signal.SIGUSR1: 75,
    signal.SIGUSR2: 75,
}
# A new run is saved after so many seconds, whatever save_every says: a crash early on then costs little.
FIRST_SAVE_S = 60.0
T = TypeVar("T")


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
        self.players = make_players(game, config["optimizer"])
        distributed.broadcast_state(game)
        self.ema = copy.deepcopy(game.generator).eval().requires_grad_(False)
        if self.settings.compile:
            for network in children(game.generator):
                network.compile()  # critics stay eager: compiled code has no double backward, which penalties need
        self.watch = Watch(
            WatchConfig(**config["watch"]), next(iter(children(game.adversarial)), None)
        )
        # owes_evaluation: was the state saved before an evaluation that was due? Whoever resumes it then evaluates first.
        self.run: dict = {
            "best": None,
            "rollbacks": 0,
            "watch": self.watch.counts,
            "owes_evaluation": False,
        }
        self.logs: Logs = {}
        self.unread: list[Tensor] = []  # (bad, news) flags of steps that the host has not looked at
        self.signal = 0
        self.first_save_at: float | None = None  # on rank 0's clock, until something is saved
        self.said: set[tuple[str, str]] = set()  # what was skipped, and why
        game.advance(self.progress)

    def train(self, *, folder: RunFolder, logbook: Logbook, display: Display) -> None:
        """Plays until the budget is spent, then saves. Raises Stopped, Interrupted or Busy; all leave a sound checkpoint."""
        if self.progress.step == 0 and distributed.rank() == 0:
            self.first_save_at = time.monotonic() + FIRST_SAVE_S
        caught_up = False
        while not caught_up or self.progress.step < self.settings.steps:
            try:
                if caught_up:
                    self.turn(folder, logbook, display)
                else:
                    self.catch_up(folder, logbook, display)
            except Lost as lost:
                self.rescue(lost, folder, logbook)
            caught_up = True

    def catch_up(self, folder: RunFolder, logbook: Logbook, display: Display) -> None:
        """Does what was due after the step that was loaded, if the last session ended between its save and that."""
        step = self.progress.step
        done = step >= self.settings.steps
        drawn = step == 0 or not (done or due(step - 1, self.log.sample_every))
        if not drawn and not folder.sample(step).exists():
            self.draw_picture(folder, logbook)
        if self.run["owes_evaluation"] and self.judge.measures:
            logbook.rewind(step, again="eval/")  # it may have been killed after its line
            best = self.evaluate(folder, logbook, display)
            self.save(folder, last=done, best=best)

    def turn(self, folder: RunFolder, logbook: Logbook, display: Display) -> None:
        """One step, and whatever is due after it. The state is saved before a picture or an evaluation may fail."""
        self.step()
        progress = self.progress
        settings = self.settings
        done = progress.step == settings.steps
        now = progress.step - 1
        # Before the save: a line that is lost with the process is written again only if its step is played again.
        if done or due(now, self.log.every):
            self.write_line(logbook, display)
        evaluate = self.judge.measures and (done or due(now, self.config["metrics"]["every"]))
        save = done or due(now, settings.save_every)
        stop, first_save = self.read_flags(wait=evaluate or save)
        if first_save:
            self.read_flags(wait=True)  # the newest step, too, must be known to be sound
        self.run["owes_evaluation"] = evaluate
        if save or first_save or stop:
            self.save(folder, last=bool(done or stop))
        if stop and not done:
            raise Interrupted(
                f"{signal.Signals(stop).name}: saved step {progress.step} of {settings.steps}",
                code=EXIT_CODES[stop],
            )
        if done or due(now, self.log.sample_every):
            self.draw_picture(folder, logbook)
        if evaluate:
            best = self.evaluate(folder, logbook, display)
            if save or best:
                self.save(folder, last=done, best=best)

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
        """-> the phase's logs, averaged over shards, and (not finite, a rank has news) flags agreed by all ranks."""
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
            bad = (~loss.detach().isfinite()).float()
            logs = {key: logs.get(key, 0) + value for key, value in (parts | {"bad": bad}).items()}
        shards = accumulate * distributed.world()
        news = torch.full((), float(self.signal != 0 or self.first_save_due()), device=self.device)
        parameters = [p for player in players for p in player.parameters]
        means = distributed.average(
            parameters, torch.stack([*(v.float() for v in logs.values()), news]), shards=shards
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

    def first_save_due(self) -> bool:
        """Has a new run lasted for a minute without being saved? Only rank 0 asks its clock."""
        return self.first_save_at is not None and time.monotonic() >= self.first_save_at

    def read_flags(self, *, wait: bool) -> tuple[int, bool]:
        """-> the signal to stop for, or 0, and whether the first save is due; all ranks get the same.

        A GPU's newest step is left unread unless `wait`, so that the host never waits for it between two log lines.
        Raises Lost if a loss was not finite."""
        late = self.device.type != "cpu" and not wait
        flags, self.unread = (self.unread[:-1], self.unread[-1:]) if late else (self.unread, [])
        bad, news = torch.stack(flags).amax(0).tolist() if flags else (0.0, 0.0)
        if bad:
            names = [key for key, value in self.logs.items() if not value.isfinite()]
            raise Lost(
                f"step {self.progress.step}: {', '.join(names) or 'a loss'} is not finite",
                "try a smaller optimizer.<player>.lr, a gradient clip (optimizer.d.clip=1) or another penalty weight",
                sound=False,
            )
        if distributed.world() == 1:
            return self.signal, self.first_save_due()
        if not news:
            return 0, False
        told = distributed.gather((self.signal, self.first_save_due()))  # all read the same flag
        return max(number for number, _ in told), told[0][1]

    def read_logs(self) -> dict[str, float]:
        """The newest logs of every phase as numbers: here the host waits for the device."""
        return (
            dict(zip(self.logs, torch.stack(list(self.logs.values())).tolist(), strict=True))
            if self.logs
            else {}
        )

    def attempt(self, what: str, work: Callable[[], T]) -> T | None:
        """work(), or None where it raises: what training can do without must not end it.

        The first time its reason is a warning; run.log has the traceback. Nothing that all ranks do together may go
        through here."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - a metric, a picture or a user's own code may raise anything
            self.skip(what, reason_of(error), error)
            return None

    def skip(self, what: str, reason: str, error: Exception | None = None) -> None:
        """Says that something was left out, on the terminal only when it is new."""
        expected = error is None or isinstance(error, GanError)
        level = NOTE if expected else logging.WARNING
        if (what, reason) in self.said:
            level = logging.INFO
        self.said.add((what, reason))
        log.log(
            level,
            "step %d: %s skipped: %s",
            self.progress.step,
            what,
            reason,
            exc_info=None if expected else error,
        )

    def write_line(self, logbook: Logbook, display: Display) -> None:
        values = self.read_logs()
        if self.watch.on:
            seen = None
            if distributed.rank() == 0:
                seen = self.attempt(
                    "watch/diversity", lambda: self.judge.glance(self.game, self.ema)
                )
            values |= distributed.from_rank_0(seen or {})
        step = self.progress.step
        nimg = self.progress.nimg
        memory = peak_memory(self.device)
        self.attempt("metrics.jsonl", lambda: logbook.scalars(step, nimg, values))
        self.attempt("the display", lambda: display.update(step, nimg, values, memory_bytes=memory))
        self.look(values)

    def draw_picture(self, folder: RunFolder, logbook: Logbook) -> None:
        """The sample grid of this step, in samples/ and in TensorBoard."""
        if distributed.rank() == 0:
            self.attempt("the sample grid", lambda: self.write_picture(folder, logbook))

    def write_picture(self, folder: RunFolder, logbook: Logbook) -> None:
        step = self.progress.step
        image = self.judge.picture(self.game, self.ema, columns=self.log.grid)
        logbook.guard("samples", partial(folder.write_sample, step, image))
        logbook.picture(step, "samples", image)

    def evaluate(self, folder: RunFolder, logbook: Logbook, display: Display) -> bool:
        """Measures the average generator. -> is it the best so far?"""
        step = self.progress.step
        before = self.run["best"]
        report = self.measure() if distributed.rank() == 0 else None
        values = distributed.from_rank_0(report and report.values)
        self.run["owes_evaluation"] = False
        self.run["best"] = self.judge.better(values, step, before)
        named = {f"eval/{key}": value for key, value in values.items()}
        self.attempt("metrics.jsonl", lambda: logbook.scalars(step, self.progress.nimg, named))
        if report is not None:
            self.show_report(report, folder, logbook, display, best=self.run["best"] != before)
        self.look(named)
        return self.run["best"] != before

    def measure(self) -> Report:
        """What the judge finds; where that fails as a whole, a report that says so."""
        try:
            return self.judge.measure(self.game, self.ema)
        except Exception as error:  # noqa: BLE001 - as in `attempt`
            reason = reason_of(error)
            self.skip("the evaluation", reason, error)
            return Report({}, {}, {"evaluation": reason})

    def show_report(
        self, report: Report, folder: RunFolder, logbook: Logbook, display: Display, *, best: bool
    ) -> None:
        """An evaluation in a line and in evaluation.json; what it lacks is said once."""
        for reason in dict.fromkeys(report.skipped.values()):
            items = [item for item, why in report.skipped.items() if why == reason]
            if items != ["evaluation"]:
                self.skip(", ".join(items), reason)
        if shown := summary(report.values, best=best):
            line = f"step {self.progress.step}: {shown}"
            self.attempt("the display", lambda: display.note(line))
        write = partial(folder.write_report, report, step=self.progress.step, best=self.run["best"])
        self.attempt("evaluation.json", lambda: logbook.guard("evaluation.json", write))

    def look(self, values: dict[str, float]) -> None:
        """Lets the watchdog see new numbers; raises Lost if it is to do more than warn."""
        reason = self.attempt(
            "the watchdog",
            lambda: self.watch.look(values, self.progress.nimg, self.run["best"]),
        )
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
            else:
                sound = "the last checkpoint is sound" if folder.saved else "there is no checkpoint"
                lost.message += f"; {sound}"
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
                f"step {self.progress.step}: a weight is not finite, and was not saved",
                "try a smaller optimizer.<player>.lr or a gradient clip (optimizer.d.clip=1)",
                sound=False,
            )
        if distributed.rank() != 0:
            return
        try:
            checkpoint.save(tree, folder.checkpoints, keep=self.settings.keep, best=best)
        except OSError as error:
            reason = "the disk is full" if disk_is_full(error) else error.strerror or str(error)
            message = (
                f"step {self.progress.step} could not be saved in {folder.checkpoints}: {reason}"
            )
            if last and disk_is_full(error):
                then = "resume" if folder.saved else "start it again: nothing was saved before"
                raise Busy(message, f"make room, then {then}") from error
            if last:
                raise GanError(message) from error
            kept = "the last checkpoint is intact" if folder.saved else "there is no checkpoint"
            log.warning("%s; training goes on, %s", message, kept)
        self.first_save_at = None

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
        self.run["owes_evaluation"] = state["run"].get("owes_evaluation", False)
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
