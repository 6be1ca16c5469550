"""Decides what is due after each step: a line, a save, a picture, an evaluation, a rescue."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from gancli import checkpoint, distributed
from gancli.errors import Diverged, GanError, Interrupted, TemporaryFailure, disk_is_full, reason_of
from gancli.evaluation.monitor import Monitor
from gancli.evaluation.samples import Report, summarise_report
from gancli.evaluation.watchdog import Watch
from gancli.game import due
from gancli.precision import peak_memory
from gancli.render import status
from gancli.render.display import Display
from gancli.render.notes import NOTE
from gancli.run.folder import RunFolder
from gancli.run.logbook import Logbook
from gancli.run.loggers.base import BestCheckpoint
from gancli.run.signals import EXIT_CODES
from gancli.run.trial import Trial
from gancli.trainer import Trainer

log = logging.getLogger("gancli")
# A new run is saved after so many seconds, whatever save_every says: a crash early on then costs
# little.
FIRST_SAVE_S = 60.0
T = TypeVar("T")


class Loop:
    """A run from its first step to its last.

    Args:
        trainer: Plays the steps.
        monitor: Measures the generator and draws its samples.
        watch: Warns of a run that has failed.
        folder: Of the run.
        logbook: Of rank 0; the others have one that writes nothing.
        display: Likewise.
        trial: Of a search that the run belongs to, if it does.
    """

    def __init__(
        self,
        trainer: Trainer,
        monitor: Monitor,
        watch: Watch,
        *,
        folder: RunFolder,
        logbook: Logbook | NullLogger,
        display: Display | NullLogger,
        trial: Trial | None = None,
    ):
        self.trainer = trainer
        self.monitor = monitor
        self.watch = watch
        self.folder = folder
        self.logbook = logbook
        self.display = display
        self.trial = trial
        self.progress = trainer.progress
        self.settings = trainer.config.trainer
        self.log = trainer.config.log
        self.measure_every = trainer.config.metrics.every
        self.signal = 0  # the first that came
        self.first_save_at: float | None = None  # on rank 0's clock, until something is saved
        self.measured: dict[str, float] = {}  # by the newest evaluation
        self.said: set[tuple[str, str]] = set()  # what was skipped, and why

    def run(self) -> None:
        """Plays until the budget is spent, then saves.

        Raises:
            Stopped: The run has failed by a policy.
            Interrupted: A signal asked it to end.
            TemporaryFailure: The disk is full. All three leave a sound checkpoint.
        """
        if self.progress.step == 0 and distributed.rank() == 0:
            self.first_save_at = time.monotonic() + FIRST_SAVE_S
        caught_up = False
        while not caught_up or self.progress.step < self.settings.steps:
            try:
                if caught_up:
                    self.play_step()
                else:
                    self.catch_up()
            except Diverged as error:
                self.rescue(error)
            caught_up = True

    def catch_up(self) -> None:
        """Does what was due after the step that was loaded, where the last session had no time."""
        step = self.progress.step
        done = step >= self.settings.steps
        # `due` counts from 0: after step n it is asked for n - 1.
        drawn = step == 0 or not (done or due(step - 1, self.log.sample_every))
        if not drawn and not self.folder.sample(step).exists():
            self.draw_grid()
        if self.trainer.run.owes_evaluation and self.monitor.measures:
            self.logbook.rewind(step, again="eval/")  # it may have been killed after its line
            best = self.evaluate()
            self.save(last=done, best=best)
            self.note_best(best)
            self.report_trial(last=done)

    def play_step(self) -> None:
        """Plays one step and does what is due after it, the save before all that may fail."""
        self.trainer.news = self.signal != 0 or self.is_first_save_due()
        self.trainer.step()
        progress = self.progress
        settings = self.settings
        done = progress.step == settings.steps
        now = progress.step - 1  # `due` counts from 0
        # Before the save: a line that is lost with the process is written again only if its step
        # is played again.
        if done or due(now, self.log.every):
            self.write_line()
        evaluate = self.monitor.measures and (done or due(now, self.measure_every))
        save = done or due(now, settings.save_every)
        stop, first_save = self.exchange_news(wait=evaluate or save)
        if first_save:
            self.exchange_news(wait=True)  # the newest step, too, must be known to be sound
        self.trainer.run.owes_evaluation = evaluate
        if save or first_save or stop:
            self.save(last=bool(done or stop))
        if stop and not done:
            raise Interrupted(
                f"{signal.Signals(stop).name}: saved step {progress.step} of {settings.steps}",
                code=EXIT_CODES[stop],
            )
        if done or due(now, self.log.sample_every):
            self.draw_grid()
        if evaluate:
            best = self.evaluate()
            # Again: the file shall say that the evaluation is done, and which step is the best.
            if save or best:
                self.save(last=done, best=best)
            self.note_best(best)
            self.report_trial(last=done)

    def report_trial(self, *, last: bool) -> None:
        """Reports the newest evaluation to the search; raises Pruned where it ends the run."""
        best = self.trainer.run.best
        if self.trial is not None and best is not None and best["key"] in self.measured:
            value = self.measured[best["key"]]
            self.trial.report(value, best, self.progress.step, last=last)

    def note_best(self, best: bool) -> None:
        """Tells the loggers where the best checkpoint is, if it is new."""
        found = self.trainer.run.best
        if best and found is not None:
            path = self.folder.checkpoints / "best.pt"
            self.logbook.note_best(
                BestCheckpoint(found["key"], found["value"], found["step"], path)
            )

    def exchange_news(self, *, wait: bool) -> tuple[int, bool]:
        """Reads what the ranks have to tell each other, which comes with the gradients.

        Args:
            wait: As in `Trainer.read_flags`.

        Returns:
            The signal to stop for, or 0, and whether the first save is due; the same on all ranks.

        Raises:
            Diverged: A loss was not finite.
        """
        news = self.trainer.read_flags(wait=wait)
        if distributed.world() == 1:
            return self.signal, self.is_first_save_due()
        if not news:
            return 0, False
        told = distributed.gather((self.signal, self.is_first_save_due()))  # all read the same flag
        return max(number for number, _ in told), told[0][1]

    def is_first_save_due(self) -> bool:
        """Has a new run lasted for a minute without being saved? Only rank 0 asks its clock."""
        return self.first_save_at is not None and time.monotonic() >= self.first_save_at

    def ask_to_stop(self, number: int) -> bool:
        """Makes the run save and end after its step; called by a signal's handler.

        Args:
            number: Of the signal.

        Returns:
            Whether it is the first signal.
        """
        first = not self.signal
        if first:
            self.signal = number
        self.trainer.news = True
        return first

    def write_line(self) -> None:
        """Writes the newest logs to all loggers and shows them to the watchdog."""
        values = self.trainer.read_logs()
        if self.watch.on and self.trainer.game.makes_samples:
            diversity = None
            if distributed.rank() == 0:
                diversity = self.attempt(
                    "watch/diversity",
                    lambda: self.monitor.measure_diversity(
                        self.trainer.game, self.trainer.settle_ema()
                    ),
                )
            values |= distributed.from_rank_0(diversity or {})
        step = self.progress.step
        nimg = self.progress.nimg
        memory = peak_memory(self.trainer.device)
        self.attempt("metrics.jsonl", lambda: self.logbook.add_scalars(step, nimg, values))
        self.attempt(
            "the display", lambda: self.display.update(step, nimg, values, memory_bytes=memory)
        )
        self.check_watchdog(values, every=self.log.every)

    def draw_grid(self) -> None:
        """Draws the sample grid of this step, for samples/ and TensorBoard."""
        if distributed.rank() == 0:
            self.attempt("the sample grid", self.write_grid)

    def write_grid(self) -> None:
        """Writes a grid as `draw_grid` does, but raises what may go wrong."""
        step = self.progress.step
        drawn = self.monitor.draw_samples(
            self.trainer.game, self.trainer.settle_ema(), columns=self.log.grid
        )
        self.logbook.guard("samples", partial(self.folder.write_sample, step, drawn.picture))
        self.logbook.add_picture(step, "samples", drawn.picture)
        for suffix, data in drawn.beside.items():
            self.logbook.guard("samples", partial(self.folder.write_beside, step, suffix, data))
            if suffix == ".txt":
                self.logbook.add_text("samples", data.decode(), step=step)
            elif suffix == ".wav":
                self.logbook.add_sound(step, "samples", data)

    def evaluate(self) -> bool:
        """Measures the EMA generator.

        Returns:
            Whether it is the best so far, on all ranks alike.
        """
        step = self.progress.step
        run = self.trainer.run
        before = run.best
        report = self.measure() if distributed.rank() == 0 else None
        # Every rank chooses by the same numbers, or their ways would part.
        values = distributed.from_rank_0({} if report is None else report.values)
        run.owes_evaluation = False
        self.measured = values
        # On every rank: the watchdog compares with it.
        run.best = self.monitor.choose_best(values, step, before)
        named = {f"eval/{key}": value for key, value in values.items()}
        self.attempt(
            "metrics.jsonl", lambda: self.logbook.add_scalars(step, self.progress.nimg, named)
        )
        if report is not None:
            self.show_report(report, best=run.best != before)
        self.check_watchdog(named, every=self.measure_every)
        return run.best != before

    def measure(self) -> Report:
        """Returns what the monitor measures; where that fails, a report that says so."""
        try:
            return self.monitor.measure(self.trainer.game, self.trainer.settle_ema())
        except Exception as error:  # noqa: BLE001 - as in `attempt`
            reason = reason_of(error)
            self.say_skipped("the evaluation", reason, error)
            return Report({}, {}, {"evaluation": reason})

    def show_report(self, report: Report, *, best: bool) -> None:
        """Shows an evaluation in a line and writes evaluation.json; what it lacks is said once."""
        for reason in dict.fromkeys(report.skipped.values()):
            items = [item for item, why in report.skipped.items() if why == reason]
            if items != ["evaluation"]:
                self.say_skipped(", ".join(items), reason)
        if shown := summarise_report(report.values, best=best):
            line = f"step {self.progress.step}: {shown}"
            self.attempt("the display", lambda: self.display.note(line))
        write = partial(
            self.folder.write_report, report, step=self.progress.step, best=self.trainer.run.best
        )
        self.attempt("evaluation.json", lambda: self.logbook.guard("evaluation.json", write))

    def check_watchdog(self, values: dict[str, float], *, every: int) -> None:
        """Shows new numbers to the watchdog.

        Args:
            values: By their names in metrics.jsonl.
            every: Steps between two of its checks of such numbers.

        Raises:
            Diverged: It says that the run has failed, and is to do more than warn.
        """
        alarm = self.attempt(
            "the watchdog",
            lambda: self.watch.check(values, self.progress.nimg, self.trainer.run.best),
        )
        if alarm is None:
            return
        step = self.progress.step
        if self.watch.settings.action == "warn":
            log.warning("step %d: %s; watch.action=stop would end the run here", step, alarm.reason)
            return
        since = max(step - alarm.checks * every, 0)
        raise Diverged(f"step {step}: {alarm.reason}", alarm.hint, sound=True, since=since)

    def rescue(self, error: Diverged) -> None:
        """Goes back to the best checkpoint, or the newest, where the config asks for that.

        Where it is known since when things go wrong, to one from before, if there is any.

        Args:
            error: Why the run cannot go on; raised again where it may not go back (any more).
        """
        tries = self.trainer.run.rollbacks
        settings = self.watch.settings
        if settings.action != "rollback" or tries >= settings.retries or not self.folder.saved:
            error.message += f"; {tries} rollbacks did not help" if tries else ""
            if error.sound:
                self.save(last=True)
            elif self.folder.saved:
                error.message += "; the last checkpoint is sound"
            else:
                error.message += "; there is no checkpoint"
            raise error
        self.trainer.rollback(checkpoint.read_best(self.folder.checkpoints, until=error.since))
        # After the rollback, which has brought back the count of the checkpoint's time.
        self.trainer.run.rollbacks = tries + 1
        log.warning(
            "%s; back to step %d with a new random seed (rollback %d of %d)",
            error.message,
            self.progress.step,
            tries + 1,
            settings.retries,
        )
        # Lines of steps that never were: they are played again, by other draws.
        self.logbook.rewind(self.progress.step)
        self.save(last=False)  # or a kill now would bring the lost state back

    def save(self, *, last: bool, best: bool = False) -> None:
        """Saves the state; all ranks must call it. In the middle of a run a full disk is survived.

        Args:
            last: Whether the run ends with it.
            best: Whether it is the best so far.

        Raises:
            Diverged: A weight is not finite; nothing is written.
            TemporaryFailure: The disk is full, and the run ends.
            GanError: It cannot be written for another reason, and the run ends.
        """
        tree = self.trainer.state_dict()
        weights = [*tree["game"].values(), *tree["ema"].values()]
        if not all(value.isfinite().all() for value in weights if value.is_floating_point()):
            raise Diverged(
                f"step {self.progress.step}: a weight is not finite, and was not saved",
                "try a smaller optimizer.<player>.lr or a gradient clip (optimizer.d.clip=1)",
                sound=False,
            )
        if distributed.rank() != 0:
            return
        try:
            with status.doing("saving…"):
                checkpoint.save(tree, self.folder.checkpoints, keep=self.settings.keep, best=best)
        except OSError as error:
            reason = "the disk is full" if disk_is_full(error) else error.strerror or str(error)
            place = self.folder.checkpoints
            message = f"step {self.progress.step} could not be saved in {place}: {reason}"
            saved = self.folder.saved
            if last and disk_is_full(error):
                then = "resume" if saved else "start it again: nothing was saved before"
                raise TemporaryFailure(message, f"make room, then {then}") from error
            if last:
                raise GanError(message) from error
            kept = "the last checkpoint is intact" if saved else "there is no checkpoint"
            log.warning("%s; training goes on, %s", message, kept)
        # Also where the write failed: the next try is the next regular save.
        self.first_save_at = None

    def attempt(self, what: str, work: Callable[[], T]) -> T | None:
        """Calls work(); where it raises, says so: training must not end by what it can do without.

        The first time its reason is a warning; run.log has the traceback. Nothing that all ranks do
        together may go through here.

        Returns:
            What work() returned, or None where it raised.
        """
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - a metric or a user's own code may raise anything
            self.say_skipped(what, reason_of(error), error)
            return None

    def say_skipped(self, what: str, reason: str, error: Exception | None = None) -> None:
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


class NullLogger:
    """The logbook and the display of every rank but the first."""

    def add_scalars(self, *_: object) -> None:
        """Does nothing."""

    def note(self, *_: object) -> None:
        """Does nothing."""

    def rewind(self, *_: object, again: str = "") -> None:
        """Does nothing."""

    def add_sound(self, *_: object) -> None:
        """Plays nothing."""

    def add_picture(self, *_: object) -> None:
        """Does nothing."""

    def add_text(self, *_: object, step: int) -> None:
        """Does nothing."""

    def add_config(self, *_: object) -> None:
        """Does nothing."""

    def note_best(self, *_: object) -> None:
        """Does nothing."""

    def guard(self, *_: object) -> None:
        """Does nothing."""

    def update(self, *_: object, memory_bytes: int | None = None) -> None:
        """Does nothing."""

    def __enter__(self) -> NullLogger:
        """Does nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """Does nothing."""
