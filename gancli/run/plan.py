"""What the gates decide before the first step.

A new run or one that goes on, its config, its data and its first batch.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gancli.config import compose as front
from gancli.config import resolvers
from gancli.config.hydra_state import is_in_sweep
from gancli.config.loggers import find_missing_packages
from gancli.errors import Problems, UserError
from gancli.modality import find_noun, make_modality
from gancli.render import messages

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig
    from torch import Tensor

    from gancli.config.run_config import RunConfig
    from gancli.data.base import Decoded
    from gancli.data.stream import Stream
    from gancli.game import Game
    from gancli.run.folder import RunFolder
    from gancli.run.initialise import Source, Taken
    from gancli.run.resume import Candidate
    from gancli.trainer import Trainer

log = logging.getLogger("gancli")


def check_paths(composed: front.Composed) -> None:
    """Looks for what is named, long before the data are read.

    Raises:
        UserError: It is not there.
    """
    from gancli.files.paths import check_init, check_run
    from gancli.run.folder import find_named

    if composed.cfg.resume not in (None, "auto"):
        find_named(str(composed.cfg.resume))
    else:
        check_run(composed.cfg)
        check_init(composed.cfg.init.path)


@dataclass(frozen=True, kw_only=True)
class Continued:
    """A run that goes on.

    Attributes:
        folder: The run's.
        tree: Its newest sound checkpoint.
    """

    folder: Path
    tree: dict[str, Any]

    @property
    def step(self) -> int:
        """The step that the checkpoint was saved after."""
        return int(self.tree["progress"]["step"])


@dataclass(frozen=True)
class Plan:
    """What the gates have let through.

    Attributes:
        config: The frozen config.
        old: The run to go on with; None starts a new one.
        trust: The user's own packages that the config may name; None: any, since the user typed it.
        alike: Runs of the same config, one of which goes on if its data turn out to be the same.
        source: What a new run takes its first weights from.
    """

    config: RunConfig
    old: Continued | None = None
    trust: tuple[str, ...] | None = None
    alike: tuple[Candidate, ...] = ()
    source: Source | None = None


def plan_run(composed: front.Composed) -> Plan:
    """Passes gate 2 for a new run, or finds the run that goes on and passes it for that one.

    Raises:
        UserError: Also with what would have to be typed instead.
    """
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
    config, source = open_init(config, composed.overrides)
    if resume == "auto" and not composed.run_dir_given:
        around = resuming.look_around(composed.run_dir.parent, config, composed)
        alike = tuple(candidate for candidate in around if not candidate.differs)
        if alike:
            return Plan(config, alike=alike, source=source)
        say_why_new(around, composed)
    elif resume == "auto":
        tell(f"resume=auto: {composed.run_dir} holds no run yet; a new one starts")
    tell(f"plan: {describe_plan(composed)}")
    return Plan(config, source=source)


def open_init(config: RunConfig, typed: Sequence[str]) -> tuple[RunConfig, Source | None]:
    """Opens what init= names, and sees that it fits.

    Args:
        config: Of a new run; the user's own packages that it names are trusted in the file too.
        typed: The words of the command line.

    Returns:
        The config with what follows from the file, and the file; None where a run starts from
        random weights.

    Raises:
        UserError: It cannot be used, or nothing of it fits.
    """
    from gancli.config.build import read_trust
    from gancli.config.ghost import build_ghost
    from gancli.run.initialise import has_whole_generator, open_source, take_weights
    from gancli.run.resume import find_untrusted_packages

    if config.init.path is None:
        return config, None
    words = config.trust
    trust = read_trust(list(words) if isinstance(words, tuple) else words)
    source = open_source(config.init.path, trust=trust + find_untrusted_packages(config.plain()))
    config = replace(config, init=replace(config.init, digest=source.digest))
    # On shapes alone, before the data are read.
    taken = take_weights(build_ghost(config.plain(), trust=None), source)
    chosen = any(word.startswith("ema.rampup=") for word in typed)
    if config.ema.rampup is not None and has_whole_generator(taken) and not chosen:
        # It makes the average forget its first weights, which are random elsewhere.
        config = replace(config, ema=replace(config.ema, rampup=None))
        tell("ema.rampup=null: the EMA generator starts from that of the file")
    return config, source


def tell(line: str) -> None:
    """Prints a line once, however many ranks there are; run.log has it too."""
    from gancli import distributed

    log.info(line)
    if distributed.rank() == 0:
        messages.say(line)


def say_why_new(around: Sequence[Candidate], composed: front.Composed) -> None:
    """Says why resume=auto starts a run: what the nearest one differs in."""
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
    """Chooses, of the runs with the asked config, the one that was trained on these data.

    Args:
        plan: With such runs.
        composed: What was typed.
        digest: Of the data.

    Returns:
        The plan to go on with that run, or to start a new one.
    """
    from gancli import checkpoint
    from gancli.config.validate import revalidate
    from gancli.run import resume as resuming

    for candidate in plan.alike:
        if candidate.digest != digest:
            continue
        try:
            _, tree = checkpoint.read_newest(candidate.folder / "checkpoints")
        except UserError as error:
            log.warning("resume=auto passes over %s: %s", candidate.folder, error.message)
            continue
        config = resuming.complete_config(tree["config"])
        resuming.take_asked(config, plan.config)
        old = Continued(folder=candidate.folder, tree=tree)
        tell(f"resume=auto: {candidate.folder} goes on from step {old.step}")
        for line in candidate.older:
            tell(f"  {line}")
        return Plan(revalidate(config), old=old)
    say_why_new(plan.alike, composed)
    tell(f"plan: {describe_plan(composed)}")
    return Plan(plan.config, source=plan.source)


def describe_plan(composed: front.Composed) -> str:
    """Says in one line how long a new run will be, by which rule, how wide and fast it learns."""
    from gancli.config.fill import choose_width
    from gancli.config.players import describe_rate

    cfg = composed.cfg
    optimizer = composed.choices.get("optimizer", "of your own")
    rates = ", ".join(
        f"{player} {describe_rate(spec)}" for player, spec in cfg.optimizer.items() if "lr" in spec
    )
    width = (
        f"; model.width=auto: {choose_width(cfg.dataset)}"
        if cfg.model.get("width") == "auto"
        else ""
    )
    return f"{describe_budget(cfg)}{width}; optimizer {optimizer} (learning rate {rates})"


def count_steps(steps: int) -> str:
    """Says how many steps, in words."""
    return "1 step" if steps == 1 else f"{steps:,} steps"


def describe_budget(cfg: DictConfig) -> str:
    """Says the number of steps, and how many move the generator where not all do."""
    trainer = cfg.trainer
    images = f"of {trainer.batch_size} {find_noun(cfg.dataset.get('kind'))}"
    if trainer.epochs is not None:
        return f"{trainer.epochs:g} epochs in steps {images}"
    n_critic = resolvers.count_critic_steps(cfg)
    updates = trainer.steps // n_critic
    if n_critic == 1:
        return f"{count_steps(trainer.steps)} {images}"
    if updates * n_critic == trainer.steps:
        return (
            f"{updates:,} generator updates x {n_critic} critic steps = "
            f"{trainer.steps:,} steps {images}"
        )
    return f"{count_steps(trainer.steps)} {images}, a generator update every {n_critic}"


def plan_resume(folder: Path, composed: front.Composed) -> Plan:
    """Passes gate 2 for a run that goes on.

    Args:
        folder: Of the run.
        composed: What was typed; what may change goes into the stored config.

    Raises:
        Problems: More would change.
        UserError: The checkpoint is not one that the run can go on from.
    """
    from omegaconf import OmegaConf

    from gancli import checkpoint
    from gancli.config.build import locate, read_trust
    from gancli.config.validate import revalidate
    from gancli.run import resume as resuming
    from gancli.run.folder import check_writable

    check_writable(folder)
    file, tree = checkpoint.read_newest(folder / "checkpoints")
    checkpoint.check_resumable(tree, file)
    stored = resuming.complete_config(tree["config"])
    resuming.apply_overrides(stored, composed.overrides, folder)
    if missing := find_missing_packages(stored["logger"]):
        raise Problems(missing)
    words = composed.cfg.trust
    trust = read_trust(OmegaConf.to_container(words) if OmegaConf.is_config(words) else words)
    if composed.cfg.resume == "auto":  # the command line names the user's own code itself
        trust += resuming.find_untrusted_packages(OmegaConf.to_container(composed.cfg))
    # All of them, before anything is read, imported or built.
    for spec in resuming.iterate_specs(stored):
        locate(spec["_target_"], trust=trust)
    config = revalidate(stored)
    checkpoint.check_state(tree, file, trust=trust)
    return Plan(config, old=Continued(folder=folder, tree=tree), trust=trust)


def open_data(
    config: RunConfig, device: torch.device, *, trust: tuple[str, ...] | None
) -> tuple[Decoded, Decoded | None, Stream]:
    """Loads the data set of a run, on all ranks.

    Args:
        config: Of the run.
        device: Of this rank.
        trust: Packages of the user's own that may be named; None: any.

    Returns:
        The training part in memory, what is held out of it, and this rank's stream of batches.
    """
    from gancli import distributed
    from gancli.config.build import build
    from gancli.data.base import split

    spec = config.dataset
    source = distributed.run_together(lambda: build(spec.plain(), where="dataset", trust=trust))
    # It may download, or write the cache that the others map.
    decoded = distributed.run_rank_0_first(source.load)

    def cut() -> tuple[Decoded, Decoded | None, Stream]:
        train, held = split(decoded, limit=spec["limit"], holdout=spec["holdout"])
        return train, held, make_stream(config, train, device)

    return distributed.run_together(cut)


def keep_nothing(config: RunConfig) -> RunConfig:
    """Lets what only measures reuse decoded images that are kept, and keep none itself."""
    from gancli.config.run_config import RunConfig

    plain = config.plain()
    if plain["dataset"].get("cache") == "auto":
        plain["dataset"]["cache"] = "read"
    return RunConfig.from_plain(plain)


def make_stream(config: RunConfig, train: Decoded, device: torch.device) -> Stream:
    """Makes this rank's stream of batches from the training part of the data."""
    from gancli import distributed
    from gancli.data.stream import Stream

    spec = config.dataset
    return Stream(
        train,
        batch_size=config.trainer.batch_size,
        seed=config.seed,
        resolution=spec["resolution"],
        flip=spec["flip"],
        device=device,
        rank=distributed.rank(),
        world=distributed.world(),
        modality=make_modality(spec),
        balance=spec.get("balance", False),  # older runs have no such key
    )


def finish_budget(config: RunConfig, n: int) -> RunConfig:
    """Turns a budget in epochs into steps, now that the number of training images n is known."""
    trainer = config.trainer
    if trainer.epochs is None:
        return config
    # Rounded up: no image of the last epoch is left out.
    steps = max(1, math.ceil(trainer.epochs * n / trainer.batch_size))
    return replace(config, trainer=replace(trainer, steps=steps))


def settle_precision(config: RunConfig, game: Game) -> RunConfig:
    """Keeps recurrent networks in fp32 where a resumed run is asked for bf16, and says so."""
    from gancli.config.game_rules import is_recurrent

    if config.trainer.precision != "bf16" or not is_recurrent(game):
        return config
    tell("precision: recurrent networks run in fp32, not in bf16")
    return replace(config, trainer=replace(config.trainer, precision="fp32"))


def build_first(plan: Plan, stream: Stream, device: torch.device) -> Game:
    """Builds the game with its first weights, and checks its first batch."""
    from gancli.config.build import build_game
    from gancli.seeding import reseed, seed_of

    # Here, right before: nothing that drew a number earlier changes the first weights.
    reseed(seed_of(plan.config.seed, "init"), device)
    game = build_game(plan.config.plain(), trust=plan.trust)
    check_first_batch(game, stream)
    return game


def take_init(game: Game, plan: Plan) -> Taken | None:
    """Copies the weights that init= names into a new game, and says what was taken and frozen.

    Raises:
        UserError: Nothing fits.
    """
    from gancli.game import children
    from gancli.games.freezing import list_blocks
    from gancli.run.initialise import describe_taken, is_small, take_weights

    taken = None
    if plan.source is not None:
        taken = take_weights(game, plan.source)
        for line in describe_taken(taken, plan.source):
            tell(line)
        if is_small(taken, plan.source):
            log.warning("init: less than a tenth of the networks fits; is it the same model?")
    n = plan.config.init.freeze_d
    if n:
        blocks = [name for name, _ in list_blocks(children(game.discriminator)[0])]
        count = sum(p.numel() for p in game.parameters() if not p.requires_grad)
        tell(
            f"init.freeze_d={n}: {', '.join(blocks[:n])} of the discriminator "
            f"({count:,} parameters in all) do not move; {', '.join(blocks[n:])} do"
        )
    return taken


def check_first_batch(game: Game, stream: Stream) -> None:
    """Passes gate 3: the keys that the game needs, finite values, and whatever else it reads.

    Raises:
        UserError: Something is missing or broken.
    """
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
    if "label" in needs:
        check_labels(game, stream(0, ("label",))["label"])


def check_labels(game: Game, label: Tensor) -> None:
    """Raises UserError for classes where a game takes attributes, and the other way round."""
    given = tuple(label.shape[1:])
    if game.attributes and (label.ndim != 2 or not label.is_floating_point()):
        raise UserError(
            "the model takes attributes, and the data set gives "
            + ("classes" if label.ndim == 1 else f"{label.dtype} labels of shape (N,{given[0]})"),
            "return float32 labels of shape (N,K) from load(), or choose a model of classes",
        )
    if game.attributes and given[0] != game.classes:
        raise UserError(
            f"the model takes {game.classes} attributes, and the data set gives {given[0]}",
            f"dataset.classes={given[0]}, to which the model's networks are built",
        )
    if not game.attributes and (label.ndim != 1 or label.is_floating_point()):
        raise UserError(
            f"the model takes one class each, and the data set gives labels (N,{given[0]})"
            if given
            else "the model takes classes, and the data set gives labels that are no whole numbers",
            "dataset.label=NAME takes one column of a table as classes; load() of a data set of "
            "your own returns int64 labels (N,); or choose a model of attributes",
        )


def compare_data(old: Continued, digest: str) -> None:
    """Raises UserError where a run would go on with other data than it began with."""
    if old.tree["data"]["hash"] != digest:
        noun = find_noun(old.tree["config"]["dataset"].get("kind", "image"))
        raise UserError(
            f"{old.folder} was trained on other data (names, sizes or labels of its {noun} differ)",
            f"point dataset.path or dataset.root at the same {noun}, or start a new run",
        )


def claim_folder(plan: Plan, composed: front.Composed) -> Path:
    """Returns the run's own folder when resuming, and makes a new one otherwise."""
    from gancli.run.folder import make_new

    if plan.old is not None:
        return plan.old.folder
    return make_new(composed.run_dir, exclusive=not composed.run_dir_given)


def lock_folder(folder: RunFolder, plan: Plan, composed: front.Composed) -> None:
    """Locks the folder, and writes what describes a new run.

    In this order: until now another process may have been at work there.
    """
    from gancli.run.folder import refuse_used, write_hydra

    folder.open()
    if plan.old is None:
        refuse_used(folder.path)
        if not is_in_sweep():  # there Hydra has written them
            write_hydra(
                folder.path, config=composed.cfg, hydra=composed.hydra, overrides=composed.overrides
            )


def find_too_short(trainer: Trainer) -> list[str]:
    """Finds what a run is too short for, in sentences.

    Phases that never begin, and learning rates that never rise to their value.
    """
    from gancli.config.players import choose_settings

    settings = trainer.settings
    kimg = settings.steps * settings.batch_size / 1000
    noun = find_noun(trainer.config.dataset["kind"])
    found = []
    late = [phase for phase in trainer.phases if phase.start >= settings.steps]
    if late:
        stages = []
        for start in sorted({phase.start for phase in late}):
            names = [phase.name for phase in late if phase.start == start]
            words = "losses" if len(names) > 1 else "loss"
            stages.append(f"the {words} {', '.join(names)} would begin after step {start:,}")
        keys = ("warmup", "embedding_steps", "supervised_steps")
        key = " or ".join(f"model.{key}" for key in keys if key in trainer.config.model)
        found.append(
            f"the run ends at step {settings.steps:,}, before {' and '.join(stages)}: "
            f"give more trainer.steps, or a shorter {key or 'warm-up'}"
        )
    specs = trainer.config.optimizer
    for player in trainer.players:
        settings_of = choose_settings(player, specs)
        warmup = specs[settings_of].get("warmup_kimg") or 0.0
        if warmup > kimg:
            found.append(
                f"optimizer.{settings_of}.warmup_kimg={warmup:g} is longer than the run, which "
                "shows "
                f"{kimg:.4g} thousand {noun}: the learning rate ends at {kimg / warmup:.0%} of its "
                "value"
            )
    return list(dict.fromkeys(found))  # players without a part of their own share g's
