"""gan train: composes a run, passes the gates, makes or finds its folder, and trains."""
from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from gancli import config as front
from gancli.errors import GanError, Problems, UserError

log = logging.getLogger("gancli")
CHANGEABLE = ("trainer.", "log.", "metrics", "dataset.path", "dataset.root", "dataset.workers")


def main(argv: list[str]) -> int:
    from gancli.arguments import split_args

    if split_args(argv).command == "multirun":
        from gancli.commands.sweep import sweep

        return sweep(argv)
    run(front.compose("train", argv))
    return 0


def run(composed: front.Composed) -> Path:
    """Trains to the end of the budget. -> the run folder. Raises GanError; whatever it raises, the run can be resumed."""
    from gancli import distributed, panels
    from gancli.precision import resolve_device

    for message in composed.warnings:
        panels.warn(message)
    try:
        plan = plan_run(composed)
        device = distributed.start(resolve_device(plan.config["trainer"]["device"]))
        return execute(plan, composed, device)
    finally:
        distributed.stop()


class Plan:
    """What the gates have let through: the frozen config, and the folder and state to continue from, if any."""

    def __init__(self, config: dict, *, folder: Path | None = None, tree: dict | None = None, trust: tuple[str, ...] | None = None):
        self.config, self.folder, self.tree, self.trust = config, folder, tree, trust


def plan_run(composed: front.Composed) -> Plan:
    from gancli.runfolder import find_resumable
    from gancli.validate import validate

    resume = composed.cfg.resume
    if resume is None:
        return Plan(validate(composed.cfg))
    folder = find_resumable(str(resume), run_dir=composed.run_dir, explicit_dir=composed.run_dir_given, overrides=composed.overrides)
    return Plan(validate(composed.cfg)) if folder is None else plan_resume(folder, composed)


def plan_resume(folder: Path, composed: front.Composed) -> Plan:
    """The stored config with what may change taken from the command line. Raises Problems where more would change."""
    from omegaconf import OmegaConf

    from gancli import checkpoint
    from gancli.validate import revalidate, validate

    _, tree = checkpoint.newest(folder / "checkpoints")
    stored = tree["config"]
    trust = tuple(OmegaConf.to_container(composed.cfg.trust)) if OmegaConf.is_list(composed.cfg.trust) else (str(composed.cfg.trust),)
    changed = [item for item in composed.overrides if not item.startswith(("resume=", "trust=", "hydra.", "+hydra."))]
    if not changed:
        return Plan(revalidate(stored), folder=folder, tree=tree, trust=trust)
    if all(item.startswith(CHANGEABLE) for item in changed):
        wanted = OmegaConf.to_container(composed.cfg, resolve=False)
        for item in changed:
            copy_key(wanted, stored, item.partition("=")[0])
        return Plan(revalidate(stored), folder=folder, tree=tree, trust=trust)
    wanted = validate(composed.cfg)
    groups = touched(changed)
    old, new = flat(stored), flat(wanted)
    differ = [key for key in old | new if old.get(key) != new.get(key) and not key.startswith((*CHANGEABLE, "name", "resume", "trust"))
              and (key.split(".")[0] in groups or "experiment" in groups)]
    if differ:
        raise Problems([(f"{key} is {old.get(key)!r} in {folder}, {new.get(key)!r} here",
                         "a run keeps its config; leave it out to resume, or start a new run") for key in differ])
    stored.update({key: wanted[key] for key in ("trainer", "log")})
    return Plan(stored, folder=folder, tree=tree, trust=trust)


def touched(overrides: list[str]) -> set[str]:
    """The top-level groups that overrides name: loss=hinge, +penalty@loss.penalties.r1=r1 and ~loss.clip all mean loss."""
    keys = [item.lstrip("+~").partition("=")[0] for item in overrides]
    return {(key.partition("@")[2] or key).split(".")[0] for key in keys}


def copy_key(source: dict, target: dict, key: str) -> None:
    *parents, last = key.split(".")
    for part in parents:
        source, target = source[part], target[part]
    target[last] = source[last]


def flat(tree: dict, prefix: str = "") -> dict[str, object]:
    items = {}
    for key, value in tree.items():
        items |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return items


def execute(plan: Plan, composed: front.Composed, device) -> Path:
    """Gate 3 (the data), then the folder, then the loop."""
    from gancli import distributed
    from gancli.builder import build_game
    from gancli.runfolder import RunFolder
    from gancli.seeding import reseed, seed_of
    from gancli.trainer import Trainer

    source, train, stream = open_data(plan.config, device, trust=plan.trust)
    finish_budget(plan.config, stream.n)
    if plan.tree is not None:
        compare_data(plan.tree, train.digest, plan.folder)
        if plan.tree["progress"]["step"] >= plan.config["trainer"]["steps"]:
            print(f"{plan.folder} is complete at step {plan.tree['progress']['step']}; "
                  f"gan train resume={plan.folder} trainer.steps=N goes on")
            return plan.folder
    reseed(seed_of(plan.config["seed"], "init"), device)
    game = build_game(plan.config, trust=plan.trust)
    check_first_batch(game.needs, stream)
    folder = RunFolder(distributed.from_rank_0(claim(plan, composed) if distributed.rank() == 0 else None))
    data = {"n": stream.n, "hash": train.digest, "classes": list(train.classes), "skipped": [list(item) for item in train.skipped]}
    points = train.images[:2500] if source.kind == "points" else None
    trainer = Trainer(game, stream, config=plan.config, device=device, data=data, reference=points)
    if plan.tree is not None:
        trainer.load_state_dict(plan.tree)
    return play(trainer, folder, plan, composed)


def open_data(config: dict, device, *, trust):
    """-> the data set's description, its training part in memory, and the stream of batches over it."""
    from gancli import distributed
    from gancli.builder import build
    from gancli.data.base import split
    from gancli.data.stream import Stream

    spec = config["dataset"]
    source = build(spec, where="dataset", trust=trust)
    decoded = distributed.rank_0_first(source.load)  # it may download, or write the cache that the others map
    train, _ = split(decoded, limit=spec["limit"], holdout=spec["holdout"])
    stream = Stream(train, batch_size=config["trainer"]["batch_size"], seed=config["seed"], resolution=spec["resolution"],
                    flip=spec["flip"], device=device, rank=distributed.rank(), world=distributed.world())
    return source, train, stream


def finish_budget(config: dict, n: int) -> None:
    trainer = config["trainer"]
    if trainer["epochs"] is not None:
        trainer["steps"] = max(1, math.ceil(trainer["epochs"] * n / trainer["batch_size"]))


def check_first_batch(needs: tuple[str, ...], stream) -> None:
    """Gate 3: the keys that the game needs, and images in range."""
    for key, value in stream(0, needs).items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"the first batch's {key!r} holds values that are not finite", "look at the data: gan check dataset=...")
    if "label" in needs and len(stream(0, ("label",))["label"].shape) != 1:
        raise UserError("labels must be one whole number an image", "return labels of shape (N,) from load()")


def compare_data(tree: dict, digest: str, folder: Path) -> None:
    if tree["data"]["hash"] != digest:
        raise UserError(f"{folder} was trained on other data (names or sizes of its images differ)",
                        "point dataset.path or dataset.root at the same images, or start a new run")


def claim(plan: Plan, composed: front.Composed) -> Path:
    """The folder on disk: the run's own when resuming, a new one otherwise."""
    from gancli.runfolder import make_new, write_hydra

    if plan.folder is not None:
        return plan.folder
    path = make_new(composed.run_dir, exclusive=not composed.run_dir_given)
    if not front.in_sweep():  # there Hydra has written them
        write_hydra(path, config=composed.cfg, hydra=composed.hydra, overrides=composed.overrides)
    return path


def play(trainer, folder, plan: Plan, composed: front.Composed) -> Path:
    """Opens the books, trains, and says in the last line where the run is and what to type next."""
    from gancli import distributed
    from gancli.display import Display
    from gancli.logbook import Logbook, run_log

    first, settings = distributed.rank() == 0, trainer.settings
    with contextlib.ExitStack() as stack:
        if first:
            folder.open()
            stack.callback(folder.close)
            stack.enter_context(run_log(folder.path))
            say_differences(plan.tree, trainer)
        logbook = Logbook(folder.path, step=trainer.progress.step, tensorboard=trainer.log.tensorboard) if first else Silent()
        stack.callback(logbook.close)
        logbook.text("config", as_markdown(plan.config))
        title = f"{folder.path}  {plan.config['trainer']['device']} {plan.config['trainer']['precision']}"
        display = stack.enter_context(Display(title=title, total_steps=settings.steps, start_step=trainer.progress.step,
                                              batch_size=settings.batch_size)) if first else Silent()
        stack.enter_context(listening(trainer))
        log.info("training from step %d to %d in %s", trainer.progress.step, settings.steps, folder.path)
        try:
            trainer.train(folder=folder, logbook=logbook, display=display)
        except GanError as error:
            error.hint = "\n".join(filter(None, [error.hint, f"{resume_line(folder.path, plan)}   goes on"]))
            log.info("ended: %s", error.message)
            raise
        except Exception as error:
            log.exception("failed at step %d", trainer.progress.step)
            error.run_log = folder.path / "run.log"
            raise
    if first:
        print(f"done: {folder.path}\n  gan sample ckpt={folder.path}")
    return folder.path


def resume_line(path: Path, plan: Plan) -> str:
    strangers = {spec["_target_"].split(".")[0] for spec in specs(plan.config)} - {"gancli", "torch"}
    return f"gan train resume={path}" + (f" trust=[{','.join(sorted(strangers))}]" if strangers else "")


def specs(tree: object) -> Iterator[dict]:
    if isinstance(tree, dict) and "_target_" in tree:
        yield tree
    for item in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from specs(item)


class Silent:
    """The books of every rank but the first."""

    def scalars(self, *_: object) -> None: ...
    def picture(self, *_: object) -> None: ...
    def text(self, *_: object) -> None: ...
    def guard(self, *_: object) -> None: ...
    def update(self, *_: object, memory_bytes: int = 0) -> None: ...
    def close(self) -> None: ...


def as_markdown(config: dict) -> str:
    from omegaconf import OmegaConf

    return "```yaml\n" + OmegaConf.to_yaml(OmegaConf.create(config)) + "```"


def say_differences(tree: dict | None, trainer) -> None:
    """Warns where a resumed run may differ in its last bits."""
    if tree is None:
        return
    for key, now in trainer.surroundings().items():
        if tree["run"].get(key) != now:
            log.warning("resumed with %s %s instead of %s: the run goes on, but not bit for bit", key, now, tree["run"].get(key))


@contextlib.contextmanager
def listening(trainer) -> Iterator[None]:
    """Signals ask the trainer to save and stop after its step; a second Ctrl-C leaves at once."""
    def handle(number: int, _frame: object) -> None:
        if trainer.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        trainer.signal = number

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
