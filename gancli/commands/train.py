"""gan train: composes a run, passes the gates, makes or finds its folder, and trains."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import math
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.config import compose as front
from gancli.config import resolvers
from gancli.errors import GanError, Interrupted, UserError
from gancli.render import messages
from gancli.render.notes import note
from gancli.run.parent import watch_parent

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gancli.run.resume import Candidate

log = logging.getLogger("gancli")


def main(argv: list[str]) -> int:
    from gancli.config.arguments import split_args

    if split_args(argv).command == "multirun":
        from gancli.commands.sweep import sweep

        return sweep(argv)
    if "RANK" not in os.environ:  # no launcher
        run(compose(argv))
        return 0
    watch_parent()
    # Else a broken connection fills pages with C++ frames around the sentence that explains it.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from gancli import distributed

    distributed.start()
    try:
        composed = distributed.together(lambda: compose(argv))
        distributed.together(lambda: check_paths(composed))
    except BaseException:
        distributed.stop(failed=True)
        raise
    run(composed)
    return 0


def compose(argv: list[str]) -> front.Composed:
    """A resumed run has its own config: what is typed beside resume=RUN is not composed with defaults that may lack its keys."""
    from gancli.config.arguments import quoted, split_args
    from gancli.run.resume import ASIDE, resumes

    typed = split_args(argv).overrides
    beside = [item for item in typed if not item.startswith(ASIDE)] if resumes(typed) else []
    composed = front.compose("train", [word for word in argv if word not in beside])
    return dataclasses.replace(composed, overrides=[*composed.overrides, *map(quoted, beside)])


def run(composed: front.Composed) -> Path:
    """Trains to the end of the budget. -> the run folder. Raises GanError; whatever it raises, the run can be resumed."""
    from gancli.render import status as progress

    for message in composed.warnings:
        messages.warn(message)
    check_paths(composed)
    progress.say("loading torch…")
    from gancli import distributed
    from gancli.precision import resolve_device
    from gancli.run.agreement import describe_run
    from gancli.run.runlog import early_log

    failed = True
    try:
        with early_log():
            for message in composed.notes:
                if front.in_sweep():  # which has said it at its start
                    log.info(message)
                else:
                    note(log, message)
            distributed.start()
            plan = distributed.together(lambda: plan_run(composed))
            distributed.agree(describe_run(plan.config))
            device = distributed.place_rank(resolve_device(plan.config["trainer"]["device"]))
            folder = execute(plan, composed, device)
        failed = False
        return folder
    finally:
        distributed.stop(failed=failed)


def check_paths(composed: front.Composed) -> None:
    """What is named and is not there: known at once, long before the data are read. Raises Problems or UserError."""
    from gancli.files.paths import check_run
    from gancli.run.folder import find_named

    if composed.cfg.resume not in (None, "auto"):
        find_named(str(composed.cfg.resume))
    else:
        check_run(composed.cfg)


class Plan:
    """What the gates have let through: the frozen config, and the folder and state to continue from, if any.

    alike: runs of the same config, one of which goes on if its data turn out to be the same."""

    def __init__(
        self,
        config: dict,
        *,
        folder: Path | None = None,
        tree: dict | None = None,
        trust: tuple[str, ...] | None = None,
        alike: Sequence[Candidate] = (),
    ):
        self.config = config
        self.folder = folder
        self.tree = tree
        self.trust = trust
        self.alike = alike


def plan_run(composed: front.Composed) -> Plan:
    from gancli.config.validate import validate
    from gancli.render import status as progress
    from gancli.run import resume as resuming
    from gancli.run.folder import find_named, has_checkpoints, refuse_used

    progress.say("checking the config…")
    resume = composed.cfg.resume
    if resume not in (None, "auto"):
        return plan_resume(find_named(str(resume)), composed)
    if resume == "auto" and composed.run_dir_given and has_checkpoints(composed.run_dir):
        return plan_resume(composed.run_dir, composed)
    refuse_used(composed.run_dir)  # here, since the data may take minutes to load
    config = validate(composed.cfg, typed=composed.overrides)
    if resume == "auto" and not composed.run_dir_given:
        around = resuming.look_around(composed.run_dir.parent, config, composed)
        alike = [candidate for candidate in around if not candidate.differs]
        if alike:
            return Plan(config, alike=alike)
        say_why_new(around, composed)
    elif resume == "auto":
        tell(f"resume=auto: {composed.run_dir} holds no run yet; a new one starts")
    tell(f"plan: {describe_plan(composed)}")
    return Plan(config)


def tell(line: str) -> None:
    """Prints a line once, however many ranks there are; run.log has it too."""
    from gancli import distributed

    log.info(line)
    if distributed.rank() == 0:
        messages.say(line)


def say_why_new(around: Sequence[Candidate], composed: front.Composed) -> None:
    """Why resume=auto starts a run: what the nearest one differs in."""
    from gancli.run.resume import describe_differences

    parent = composed.run_dir.parent
    if not around:
        tell(f"resume=auto: there is no run in {parent}; a new one starts")
        return
    nearest = min(around, key=lambda candidate: len(candidate.differs))
    what = describe_differences(nearest, composed) if nearest.differs else "its data"
    tell(
        f"resume=auto: no run in {parent} has these settings; the nearest, "
        f"{nearest.folder.name}, differs in {what}; a new one starts"
    )


def choose_alike(plan: Plan, composed: front.Composed, digest: str) -> Plan:
    """Of the runs with the asked config the one that was trained on these data, or a new run. digest: of the data."""
    from gancli import checkpoint
    from gancli.config.validate import revalidate
    from gancli.run import resume as resuming

    for candidate in plan.alike:
        if candidate.digest != digest:
            continue
        try:
            _, tree = checkpoint.newest(candidate.folder / "checkpoints")
        except UserError as error:
            log.warning("resume=auto passes over %s: %s", candidate.folder, error.message)
            continue
        resuming.complete(tree["config"])
        resuming.take_asked(tree["config"], plan.config)
        tell(f"resume=auto: {candidate.folder} goes on from step {tree['progress']['step']}")
        return Plan(revalidate(tree["config"]), folder=candidate.folder, tree=tree)
    say_why_new(plan.alike, composed)
    tell(f"plan: {describe_plan(composed)}")
    return Plan(plan.config)


def describe_plan(composed: front.Composed) -> str:
    """How long a new run will be and by which rule, and how fast its players learn, in one line."""
    cfg = composed.cfg
    optimizer = composed.choices.get("optimizer", "of your own")
    rates = ", ".join(f"{player} {spec.lr:g}" for player, spec in cfg.optimizer.items())
    return f"{describe_budget(cfg)}; optimizer {optimizer} (learning rate {rates})"


def describe_budget(cfg: DictConfig) -> str:
    """The number of steps; where not every step moves the generator, also how many of them do."""
    trainer = cfg.trainer
    images = f"of {trainer.batch_size} images"
    if trainer.epochs is not None:
        return f"{trainer.epochs:g} epochs in steps {images}"
    n_critic = resolvers.count_critic_steps(cfg)
    updates = trainer.steps // n_critic
    if n_critic == 1:
        return f"{trainer.steps:,} steps {images}"
    if updates * n_critic == trainer.steps:
        return (
            f"{updates:,} generator updates x {n_critic} critic steps = "
            f"{trainer.steps:,} steps {images}"
        )
    return f"{trainer.steps:,} steps {images}, every {n_critic}th with a generator update"


def plan_resume(folder: Path, composed: front.Composed) -> Plan:
    """The stored config with what may change taken from the command line. Raises Problems where more would change."""
    from omegaconf import OmegaConf

    from gancli import checkpoint
    from gancli.config.build import locate, trusted
    from gancli.config.validate import revalidate
    from gancli.run import resume as resuming
    from gancli.run.folder import check_writable

    check_writable(folder)
    file, tree = checkpoint.newest(folder / "checkpoints")
    checkpoint.check_resumable(tree, file)
    resuming.complete(tree["config"])
    resuming.change(tree["config"], composed.overrides, folder)
    trust = composed.cfg.trust
    trust = trusted(OmegaConf.to_container(trust) if OmegaConf.is_config(trust) else trust)
    if composed.cfg.resume == "auto":  # the command line names the user's own code itself
        trust += resuming.strangers(OmegaConf.to_container(composed.cfg))
    for spec in resuming.specs(tree["config"]):
        locate(
            spec["_target_"], trust=trust
        )  # all of them, before anything is read, imported or built
    config = revalidate(tree["config"])
    checkpoint.check_state(tree, file, trust=trust)
    return Plan(config, folder=folder, tree=tree, trust=trust)


def execute(plan: Plan, composed: front.Composed, device) -> Path:
    """Gate 3 (the data), then the folder, then the loop."""
    from gancli import distributed
    from gancli.evaluation.paired import judge_for
    from gancli.files.safe_load import check_savable
    from gancli.render import status as progress
    from gancli.run.agreement import describe_data
    from gancli.run.failures import explained
    from gancli.run.folder import RunFolder, resume_line
    from gancli.run.plugins import source_digests, warn_of_changes
    from gancli.run.resume import strangers
    from gancli.trainer import Trainer

    progress.say("reading the data…")
    train, held, stream = open_data(plan.config, device, trust=plan.trust)
    if plan.alike:
        plan = distributed.together(lambda: choose_alike(plan, composed, train.digest))
    progress.say("building the networks…")
    finish_budget(plan.config, stream.n)
    step = plan.tree["progress"]["step"] if plan.tree is not None else 0
    distributed.agree(describe_data(train.digest, stream.n, folder=plan.folder, step=step))
    if plan.tree is not None:
        compare_data(plan.tree, train.digest, plan.folder)
        over = step >= plan.config["trainer"]["steps"]
        if over and not plan.tree["run"].get("owes_evaluation"):
            tell(
                f"{plan.folder} is complete at step {step}; to go on to step {2 * step}:\n"
                f"  {resume_line(plan.folder, strangers(plan.config))} trainer.steps={2 * step}"
            )
            return plan.folder
    game = distributed.together(lambda: build_first(plan, stream, device))
    path = distributed.together(lambda: claim(plan, composed) if distributed.rank() == 0 else None)
    folder = RunFolder(distributed.from_rank_0(path))
    data = {
        "n": stream.n,
        "hash": train.digest,
        "classes": list(train.classes),
        "skipped": [list(item) for item in train.skipped],
    }
    with distributed.failing_alone(), explained(plan.config, device):
        judge = judge_for(game, train=train, held=held, config=plan.config, device=device)
        trainer = Trainer(game, stream, judge, config=plan.config, device=device, data=data)
        sources = source_digests(plan.config)
        if plan.tree is not None:
            trainer.load_state_dict(plan.tree)
            warn_of_changes(plan.tree["run"], sources)
        trainer.run["sources"] = sources
    check_savable(trainer.state_dict())
    return play(trainer, folder, plan, composed)


def build_first(plan: Plan, stream, device):
    """The game with its first weights, which has seen a batch."""
    from gancli.config.build import build_game
    from gancli.seeding import reseed, seed_of

    reseed(seed_of(plan.config["seed"], "init"), device)
    game = build_game(plan.config, trust=plan.trust)
    check_first_batch(game, stream)
    return game


def open_data(config: dict, device, *, trust):
    """-> the training part of the data set in memory, what is held out of it, and the stream of batches."""
    from gancli import distributed
    from gancli.config.build import build
    from gancli.data.base import split
    from gancli.data.stream import Stream

    spec = config["dataset"]
    source = distributed.together(lambda: build(spec, where="dataset", trust=trust))
    # It may download, or write the cache that the others map.
    decoded = distributed.rank_0_first(source.load)

    def cut():
        train, held = split(decoded, limit=spec["limit"], holdout=spec["holdout"])
        stream = Stream(
            train,
            batch_size=config["trainer"]["batch_size"],
            seed=config["seed"],
            resolution=spec["resolution"],
            flip=spec["flip"],
            device=device,
            rank=distributed.rank(),
            world=distributed.world(),
        )
        return train, held, stream

    return distributed.together(cut)


def finish_budget(config: dict, n: int) -> None:
    trainer = config["trainer"]
    if trainer["epochs"] is not None:
        trainer["steps"] = max(1, math.ceil(trainer["epochs"] * n / trainer["batch_size"]))


def check_first_batch(game, stream) -> None:
    """Gate 3: the keys that the game needs, images in range, and whatever else it reads."""
    needs = game.needs
    try:
        game.ready()
    except ValueError as error:
        raise UserError(str(error)) from error
    for key, value in stream(0, needs).items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(
                f"the first batch's {key!r} holds values that are not finite",
                "look at the data: gan check dataset=...",
            )
    if "label" in needs and len(stream(0, ("label",))["label"].shape) != 1:
        raise UserError(
            "labels must be one whole number an image", "return labels of shape (N,) from load()"
        )


def compare_data(tree: dict, digest: str, folder: Path) -> None:
    if tree["data"]["hash"] != digest:
        raise UserError(
            f"{folder} was trained on other data (names or sizes of its images differ)",
            "point dataset.path or dataset.root at the same images, or start a new run",
        )


def claim(plan: Plan, composed: front.Composed) -> Path:
    """The folder on disk: the run's own when resuming, a new one otherwise."""
    from gancli.run.folder import make_new

    return plan.folder or make_new(composed.run_dir, exclusive=not composed.run_dir_given)


def take(folder, plan: Plan, composed: front.Composed) -> None:
    """Locks the folder. What describes a new run is written only then: until now another process may have been at work there."""
    from gancli.run.folder import refuse_used, write_hydra

    folder.open()
    if plan.tree is None:
        refuse_used(folder.path)
        if not front.in_sweep():  # there Hydra has written them
            write_hydra(
                folder.path, config=composed.cfg, hydra=composed.hydra, overrides=composed.overrides
            )


def play(trainer, folder, plan: Plan, composed: front.Composed) -> Path:
    """Opens the books, trains, and says in the last line where the run is and what to type next."""
    from gancli import distributed
    from gancli.commands.endings import after_training, say_end
    from gancli.metrics.settings import published
    from gancli.render import status as progress
    from gancli.render.display import Display
    from gancli.run.failures import explained
    from gancli.run.folder import resume_line
    from gancli.run.logbook import Logbook
    from gancli.run.resume import strangers
    from gancli.run.runlog import run_log

    first = distributed.rank() == 0
    settings = trainer.settings
    with contextlib.ExitStack() as stack:
        if first:
            stack.callback(folder.close)
        distributed.together(lambda: take(folder, plan, composed) if first else None)
        if first:
            stack.enter_context(run_log(folder.path))
            say_differences(plan.tree, trainer)
            for message in too_short(trainer):
                log.warning("%s", message)
        logbook = (
            Logbook(folder.path, step=trainer.progress.step, tensorboard=trainer.log.tensorboard)
            if first
            else Silent()
        )
        stack.callback(logbook.close)
        logbook.text("config", as_markdown(plan.config))
        title = f"{folder.path}  {plan.config['trainer']['device']} {plan.config['trainer']['precision']}"
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
                    lighter=tries(plan, composed),
                )
            )
            if first
            else Silent()
        )
        stack.enter_context(listening(trainer))
        if first:
            write_references(trainer, folder, logbook)
        log.info(
            "training from step %d to %d in %s", trainer.progress.step, settings.steps, folder.path
        )
        try:
            with distributed.failing_alone(), explained(plan.config, trainer.device):
                trainer.train(folder=folder, logbook=logbook, display=display)
        except GanError as error:
            if folder.saved:
                how = resume_line(folder.path, strangers(plan.config))
                error.hint = "\n".join(filter(None, [error.hint, "to go on:", how]))
            log.info("ended: %s", error.message, exc_info=error.__cause__)
            end(folder, error.message, first=first)
            raise
        except KeyboardInterrupt as error:
            message = f"left at once in step {trainer.progress.step + 1}, unsaved"
            how = (
                "to go on from the last save:\n" + resume_line(folder.path, strangers(plan.config))
                if folder.saved
                else ""
            )
            log.info(message)
            end(folder, message, first=first)
            raise Interrupted(message, how, code=130) from error
        except Exception as error:
            log.exception("failed at step %d", trainer.progress.step)
            error.run_log = folder.path / "run.log"
            raise
    end(folder, f"its {settings.steps} steps are done", first=first)
    if first:
        for line in published(plan.config["dataset"]["_target_"]) if trainer.judge.measures else ():
            print(line)
        picture = folder.newest_sample()
        say_end(
            str(folder.path) if picture is None else f"{picture}, and the run in {folder.path}",
            after_training(
                folder.path,
                strangers(plan.config),
                translates="a" in trainer.game.needs,
            ),
        )
    return folder.path


def write_references(trainer, folder, logbook) -> None:
    """Pictures of the data for beside the samples, once; a run can do without them."""
    try:
        for name, image in trainer.judge.references(trainer.game).items():
            if not (folder.samples / f"{name}.png").exists():
                logbook.guard("samples", functools.partial(folder.write_reference, name, image))
    except Exception:
        log.warning("the pictures of the data could not be made", exc_info=True)


def tries(plan: Plan, composed: front.Composed) -> tuple[str, ...]:
    """What a run that is too slow might be started with; a resumed one keeps its config."""
    from gancli.run.failures import lighter

    if plan.tree is not None:
        return ()
    return lighter(plan.config["trainer"], plan.config["dataset"], composed.cfg.model)


def end(folder, sentence: str, *, first: bool) -> None:
    """evaluation.json says in words why the run ended."""
    from gancli.evaluation.samples import note_end

    if first:
        with contextlib.suppress(OSError):  # a full disk; the sentence is printed as well
            note_end(folder.path / "evaluation.json", sentence)


class Silent:
    """The books of every rank but the first."""

    def scalars(self, *_: object) -> None: ...
    def note(self, *_: object) -> None: ...
    def rewind(self, *_: object, again: str = "") -> None: ...
    def picture(self, *_: object) -> None: ...
    def text(self, *_: object) -> None: ...
    def guard(self, *_: object) -> None: ...
    def update(self, *_: object, memory_bytes: int = 0) -> None: ...
    def close(self) -> None: ...


def as_markdown(config: dict) -> str:
    from omegaconf import OmegaConf

    return "```yaml\n" + OmegaConf.to_yaml(OmegaConf.create(config)) + "```"


def too_short(trainer) -> list[str]:
    """What a run is too short for: phases that never begin, learning rates that never rise to their value."""
    settings = trainer.settings
    kimg = settings.steps * settings.batch_size / 1000
    found = []
    late = [phase for phase in trainer.phases if phase.start >= settings.steps]
    if late:
        names = ", ".join(phase.name for phase in late)
        first = min(phase.start for phase in late)
        key = "model.warmup" if "warmup" in trainer.config["model"] else "warm-up"
        found.append(
            f"the run ends at step {settings.steps:,}, before the {'losses' if len(late) > 1 else 'loss'} {names} "
            f"would begin after step {first:,}: give more trainer.steps, or a shorter {key}"
        )
    specs = trainer.config["optimizer"]
    for player in trainer.players:
        spec = specs.get(player) or specs["g"]
        warmup = spec.get("warmup_kimg") or 0.0
        if warmup > kimg:
            found.append(
                f"optimizer.{player if player in specs else 'g'}.warmup_kimg={warmup:g} is longer than the run, which "
                f"shows {kimg:.4g} thousand images: the learning rate ends at {kimg / warmup:.0%} of its value"
            )
    return list(dict.fromkeys(found))  # players without a part of their own share g's


def say_differences(tree: dict | None, trainer) -> None:
    """Warns where a resumed run may differ in its last bits."""
    if tree is None:
        return
    for key, now in trainer.surroundings().items():
        if tree["run"].get(key) != now:
            log.warning(
                "resumed with %s %s instead of %s: the run goes on, but not bit for bit",
                key,
                now,
                tree["run"].get(key),
            )


@contextlib.contextmanager
def listening(trainer) -> Iterator[None]:
    """Signals ask the trainer to save and stop after its step; only a third Ctrl-C leaves at once.

    A SIGHUP that was ignored at the start (nohup) stays ignored: the run is meant to outlive its terminal."""
    interrupts = 0

    def handle(number: int, _frame: object) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        if interrupts > 2:
            raise KeyboardInterrupt
        first = not trainer.signal
        if first:
            trainer.signal = number
        say_at_once(signal_words(number, first=first))

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def signal_words(number: int, *, first: bool) -> str:
    name = signal.Signals(number).name
    if first:
        return (
            f"{name}: the run ends after this step and a save; another signal changes nothing, "
            "a third Ctrl-C leaves at once, unsaved"
        )
    return f"{name}: already about to save and end; a third Ctrl-C leaves at once, unsaved"


def say_at_once(text: str) -> None:
    """Says something from a signal handler: what it interrupts may be writing to the same stream."""
    from gancli.run.runlog import shout

    with contextlib.suppress(RuntimeError):  # Python's word for a stream that is being written to
        shout(text)
