"""One training run, from the gates to its last line.

Plans it, opens its folder and its loggers, and lets the loop run.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gancli.config import compose as front
from gancli.config.hydra_state import is_in_sweep
from gancli.errors import GanError, Interrupted
from gancli.render import messages
from gancli.render.notes import note
from gancli.run import plan as planning
from gancli.run.plan import Plan
from gancli.run.startup import REST

if TYPE_CHECKING:  # they import torch, and what is named and not there is told before that
    import torch

    from gancli.config.run_config import RunConfig
    from gancli.evaluation.monitor import Monitor
    from gancli.evaluation.watchdog import Watch
    from gancli.game import Game
    from gancli.run.folder import RunFolder
    from gancli.run.logbook import Logbook
    from gancli.run.loop import NullLogger
    from gancli.trainer import Trainer

log = logging.getLogger("gancli")


@dataclass(frozen=True)
class Outcome:
    """A run whose steps are done, for what is said at its end.

    Attributes:
        folder: Of the run.
        picture: The newest sample grid.
        trust: The user's own packages.
        translates: Whether the game takes an image.
        measured: The class of data set whose published numbers the run's own may be compared with;
            None without an evaluation.
    """

    folder: Path
    picture: Path | None
    trust: tuple[str, ...]
    translates: bool
    measured: str | None


def run_session(composed: front.Composed) -> Outcome | None:
    """Trains to the end of the budget.

    Returns:
        What came of it, on every rank; None where nothing was left to do.

    Raises:
        GanError: The run has ended early; it can be resumed.
    """
    from gancli.render import status as progress

    for message in composed.warnings:
        messages.warn(message)
    planning.check_paths(composed)
    progress.say("loading torch…")
    from gancli import distributed
    from gancli.precision import describe_threads, resolve_device, use_threads
    from gancli.run.agreement import describe_run
    from gancli.run.runlog import keep_early_log

    failed = True
    try:
        # There is no run folder yet; its run.log shall begin here all the same.
        with keep_early_log():
            for message in composed.notes:
                if is_in_sweep():  # which has said it at its start
                    log.info(message)
                else:
                    note(log, message)
            distributed.start()
            plan = distributed.run_together(lambda: planning.plan_run(composed))
            # Ranks of different configs would wait for one another without end.
            distributed.agree(describe_run(plan.config))
            device = distributed.place_rank(resolve_device(plan.config.trainer.device))
            # Before anything is built: what lives now is never collected, and a sweep goes on.
            REST.end()
            with use_threads(plan.config.trainer.threads):
                if device.type == "cpu" and distributed.world() == 1:
                    advice = describe_threads(plan.config.trainer.threads)
                    if advice:
                        note(log, advice)
                outcome = execute(plan, composed, device)
        failed = False
        return outcome
    finally:
        distributed.stop(failed=failed)


def execute(plan: Plan, composed: front.Composed, device: torch.device) -> Outcome | None:
    """Passes gate 3 (the data), then opens the folder, then lets the loop run."""
    from gancli import distributed
    from gancli.data.balance import describe_balance
    from gancli.evaluation.paired import make_monitor
    from gancli.evaluation.watchdog import build_watch
    from gancli.files.safe_load import check_savable
    from gancli.modality import make_modality
    from gancli.precision import layout_of_run
    from gancli.render import status as progress
    from gancli.run.agreement import describe_data
    from gancli.run.failures import explain_errors
    from gancli.run.folder import RunFolder, resume_line
    from gancli.run.initialise import take_average
    from gancli.run.plugins import digest_sources, warn_of_changes
    from gancli.run.resume import find_untrusted_packages
    from gancli.trainer import Trainer

    progress.say("reading the data…")
    train, held, stream = planning.open_data(plan.config, device, trust=plan.trust)
    if stream.balanced is not None:
        conditional = bool(plan.config.model.get("conditional"))
        noun = make_modality(plan.config.dataset).noun
        planning.tell(describe_balance(train, noun=noun, conditional=conditional))
    if plan.alike:
        plan = distributed.run_together(lambda: planning.choose_alike(plan, composed, train.digest))
    progress.say("building the networks…")
    # A budget in epochs becomes one in steps: the number of images is known only now.
    plan = replace(plan, config=planning.finish_budget(plan.config, stream.n))
    config = plan.config
    old = plan.old
    distributed.agree(
        describe_data(
            train.digest,
            stream.n,
            folder=None if old is None else old.folder,
            step=0 if old is None else old.step,
        )
    )
    if old is not None:
        planning.compare_data(old, train.digest)
        # A run that still owes its last evaluation has no step left, and goes on for that.
        over = old.step >= config.trainer.steps
        if over and not old.tree["run"].get("owes_evaluation"):
            more = 2 * old.step
            trust = find_untrusted_packages(config.plain())
            planning.tell(
                f"{old.folder} is complete at step {old.step}; to go on to step {more}:\n"
                f"  {resume_line(old.folder, trust)} trainer.steps={more}"
            )
            return None
    game = distributed.run_together(lambda: planning.build_first(plan, stream, device))
    taken = distributed.run_together(lambda: planning.take_init(game, plan))
    config = planning.settle_precision(config, game)
    plan = replace(plan, config=config)
    # Not before: what is refused up to here leaves no folder behind.
    path = distributed.from_rank_0(
        distributed.run_together(
            lambda: planning.claim_folder(plan, composed) if distributed.rank() == 0 else None
        )
    )
    assert path is not None, "rank 0 has claimed it"
    folder = RunFolder(path)
    data = {
        "n": stream.n,
        "hash": train.digest,
        "classes": list(train.classes),
        "skipped": [list(item) for item in train.skipped],
    }
    with distributed.tell_own_failure(), explain_errors(config.trainer, device):
        monitor = make_monitor(game, train=train, held=held, config=config, device=device)
        trainer = Trainer(
            game,
            stream,
            config=config,
            device=device,
            data=data,
            layout=None
            if old is None
            else layout_of_run(old.tree, device, config.trainer.precision),
        )
        if taken is not None and plan.source is not None:
            take_average(trainer.ema, taken, plan.source)
        watch = build_watch(trainer)
        sources = digest_sources(config.plain())
        if old is not None:
            trainer.load_state_dict(old.tree)
            warn_of_changes(old.tree["run"], sources)
        # After the load, which brings those of the last session.
        trainer.run.sources = sources
    # Here and not at the first save, which may be hours away.
    check_savable(trainer.state_dict())
    return play(trainer, monitor, watch, folder=folder, plan=plan, composed=composed)


def play(
    trainer: Trainer,
    monitor: Monitor,
    watch: Watch,
    *,
    folder: RunFolder,
    plan: Plan,
    composed: front.Composed,
) -> Outcome | None:
    """Opens the loggers and trains; notes in the run folder how it ended."""
    from gancli import distributed
    from gancli.render import status as progress
    from gancli.render.display import Display
    from gancli.run.failures import explain_errors
    from gancli.run.folder import resume_line
    from gancli.run.loop import Loop, NullLogger
    from gancli.run.resume import find_untrusted_packages
    from gancli.run.runlog import run_log
    from gancli.run.signals import listen_for_signals
    from gancli.run.trial import find_trial

    first = distributed.rank() == 0
    config = plan.config
    settings = config.trainer
    trust = find_untrusted_packages(config.plain())
    with contextlib.ExitStack() as stack:
        if first:
            stack.callback(folder.close)
        distributed.run_together(
            lambda: planning.lock_folder(folder, plan, composed) if first else None
        )
        if first:
            stack.enter_context(run_log(folder.path))
            if plan.old is not None:
                say_differences(plan.old.tree, trainer)
                say_changed_terms(plan.old.tree, trainer)
            for message in planning.find_too_short(trainer):
                log.warning("%s", message)
        logbook = (
            open_logbook(folder.path, config, step=trainer.progress.step) if first else NullLogger()
        )
        stack.enter_context(logbook)
        logbook.add_config(format_config(config))
        title = f"{folder.path}  {settings.device} {settings.precision}"
        progress.say("")
        stack.enter_context(progress.paused())  # the display has the terminal
        display = (
            stack.enter_context(
                Display(
                    title=title,
                    total_steps=settings.steps,
                    start_step=trainer.progress.step,
                    batch_size=settings.batch_size,
                    progress=trainer.progress,
                    status=progress.current(),
                    lighter=suggest_tries(plan, composed),
                )
            )
            if first
            else NullLogger()
        )
        hydra = composed.hydra
        loop = Loop(
            trainer,
            monitor,
            watch,
            folder=folder,
            logbook=logbook,
            display=display,
            trial=find_trial(hydra.sweeper, Path(hydra.sweep.dir)) if is_in_sweep() else None,
        )
        stack.enter_context(listen_for_signals(loop))
        if first:
            write_references(monitor, trainer.game, folder, logbook)
        log.info(
            "training from step %d to %d in %s", trainer.progress.step, settings.steps, folder.path
        )
        try:
            with distributed.tell_own_failure(), explain_errors(settings, trainer.device):
                loop.run()
        except GanError as error:
            if folder.saved:
                how = resume_line(folder.path, trust)
                error.hint = "\n".join(filter(None, [error.hint, "to go on:", how]))
            log.info("ended: %s", error.message, exc_info=error.__cause__)
            note_ending(folder, error.message, first=first)
            raise
        except KeyboardInterrupt as error:
            message = f"left at once in step {trainer.progress.step + 1}, unsaved"
            how = (
                "to go on from the last save:\n" + resume_line(folder.path, trust)
                if folder.saved
                else ""
            )
            log.info(message)
            note_ending(folder, message, first=first)
            raise Interrupted(message, how, code=130) from error
        except Exception as error:
            log.exception("failed at step %d", trainer.progress.step)
            error.add_note(f"the run's log is {folder.path / 'run.log'}")
            raise
    note_ending(folder, f"its {settings.steps} steps are done", first=first)
    return Outcome(
        folder.path,
        picture=folder.find_newest_sample(),
        trust=trust,
        translates=bool(trainer.game.directions),
        measured=config.dataset["_target_"] if monitor.measures else None,
    )


def open_logbook(folder: Path, config: RunConfig, *, step: int) -> Logbook:
    """Opens the loggers that the config chooses.

    Args:
        folder: Of the run.
        config: Of the run.
        step: 0, or the step that it goes on from.
    """
    from gancli.run.logbook import Logbook
    from gancli.run.loggers.choose import start_couriers

    return Logbook(
        folder,
        step=step,
        tensorboard=config.log.tensorboard and "tensorboard" in config.logger,
        record=len(config.logger) > 0,
        couriers=start_couriers(folder, config, step=step),
    )


def write_references(
    monitor: Monitor, game: Game, folder: RunFolder, logbook: Logbook | NullLogger
) -> None:
    """Writes pictures of the data beside the samples, once; a run can do without them."""
    try:
        for name, image in monitor.draw_references(game).items():
            if not (folder.samples / f"{name}.png").exists():
                logbook.guard("samples", functools.partial(folder.write_reference, name, image))
    except Exception:
        log.warning("the pictures of the data could not be made", exc_info=True)


def suggest_tries(plan: Plan, composed: front.Composed) -> tuple[str, ...]:
    """Suggests what a slow run might be started with; a resumed one keeps its config."""
    from gancli.run.failures import suggest_lighter

    if plan.old is not None:
        return ()
    return suggest_lighter(plan.config.trainer, plan.config.dataset, composed.cfg.model)


def note_ending(folder: RunFolder, sentence: str, *, first: bool) -> None:
    """Writes into evaluation.json why the run ended, in words."""
    from gancli.evaluation.samples import note_end

    if first:
        with contextlib.suppress(OSError):  # a full disk; the sentence is printed as well
            note_end(folder.path / "evaluation.json", sentence)


def format_config(config: RunConfig) -> str:
    """Formats the config as a block of YAML for TensorBoard's page of texts."""
    from omegaconf import OmegaConf

    return "```yaml\n" + OmegaConf.to_yaml(OmegaConf.create(config.plain())) + "```"


def say_changed_terms(tree: dict[str, Any], trainer: Trainer) -> None:
    """Says from which step on the log of a resumed run means something else.

    Args:
        tree: The checkpoint that the run goes on from.
        trainer: In the state of that checkpoint.
    """
    from gancli import checkpoint
    from gancli.config.values import show
    from gancli.metrics.legend import list_once_weighted

    # A newer file was written by a session that has said it.
    if tree["format"] == checkpoint.FORMAT:
        return
    terms = list_once_weighted(trainer.config.plain(), (phase.name for phase in trainer.phases))
    if terms:
        note(
            log,
            "from step %d on %s %s logged before weight and interval; in the lines up to step %d, "
            "which an older gancli has written, they are multiplied in",
            trainer.progress.step + 1,
            ", ".join(map(show, terms)),
            "is" if len(terms) == 1 else "are",
            trainer.progress.step,
        )


def say_differences(tree: dict[str, Any], trainer: Trainer) -> None:
    """Warns where a resumed run may differ in its last bits. tree: its checkpoint."""
    for key, now in trainer.describe_machine().items():
        if tree["run"].get(key, now) != now:  # an older run does not know its layout
            log.warning(
                "resumed with %s %s instead of %s: the run goes on, but not bit for bit",
                key,
                now,
                tree["run"].get(key),
            )
