"""From the command line to one checked config: the closed parts' schema, Hydra's composition and gate 1, all without torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.config import hints, resolvers
from gancli.config.arguments import list_variants, quote_value, replace_argv, split_args
from gancli.config.diagnose import Session, find_file_warnings
from gancli.config.published import find_changed_keys, is_free
from gancli.config.schema import CLOSED, OWN_FOLDER, TOP_KEYS, PlayerConfig
from gancli.errors import Interrupted, Problems, UserError
from gancli.files import reading
from gancli.render import messages, status

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Composed:
    """One composed config that has passed gate 1; interpolations are not yet resolved."""

    cfg: DictConfig  # without the hydra node
    hydra: DictConfig
    overrides: list[str]  # the whole command line, hydra.* first
    choices: dict[str, str]  # group -> option, without hydra's own
    warnings: list[str]  # none in a job of a sweep, which has said them at its start
    notes: list[str]  # what was left out of the config, also in a job of a sweep
    run_dir: Path  # resolved once, so every reader sees the same stamp
    run_dir_given: bool  # not made up by us, but by hydra.run.dir= or a sweep


def find_conf_dir() -> Path:
    """The folder of the built-in configs: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for path in (package / "conf", package.parent / "conf"):
        if (path / "train.yaml").is_file():
            return path
    raise UserError(
        f"the built-in configs are missing from {package}",
        "reinstall: pip install --force-reinstall gancli",
    )


def list_options(dirs: Sequence[Path]) -> dict[str, dict[str, Path]]:
    """group -> option -> file; the first folder wins, as in Hydra. Names with a leading underscore are parts, not options."""
    found: dict[str, dict[str, Path]] = {}
    for base in dirs:
        for path in reading.yaml_files(base):
            group, *names = path.relative_to(base).with_suffix("").parts
            if (
                names
                and group != "hydra"
                and not any(name.startswith(("_", ".")) for name in (group, *names))
            ):
                found.setdefault(group, {}).setdefault("/".join(names), path)
    return {group: dict(sorted(found[group].items())) for group in sorted(found)}


def read_description(path: Path | str) -> str:
    """The first comment line of a YAML file: what it is and its paper."""
    try:
        lines = (reading.read_text(Path(path), most=reading.MOST_YAML) or "").splitlines()
    except reading.Unreadable as error:
        return f"({error.message})"
    return next(
        (
            line.lstrip("# ").strip()
            for line in lines
            if line.startswith("#") and not line.startswith("# @package")
        ),
        "",
    )


@contextmanager
def start_hydra(dirs: Sequence[Path]) -> Iterator[None]:
    """Hydra's globals for one command: a fresh stamp, the user's folders, and whatever was there before is put back."""
    from hydra._internal.sources_registry import SourcesRegistry
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    from gancli.config.hydra_compat import BoundedFiles

    class UserFolders(SearchPathPlugin):
        # Not hydra.searchpath=[...]: it would replace the one in a user's primary config, which it also hides from --config-name.
        def manipulate_search_path(self, search_path) -> None:
            for path in dirs:
                search_path.append("user", f"file://{path}")

    resolvers.begin()
    plugins = Plugins.instance().plugin_type_to_subclass_list[SearchPathPlugin]
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    Plugins.instance().register(UserFolders)
    sources = SourcesRegistry.instance().types
    usual = sources["file"]
    sources["file"] = BoundedFiles
    try:
        yield
    finally:
        resolvers.end()
        plugins.remove(UserFolders)
        sources["file"] = usual
        GlobalHydra.instance().hydra = before


def compose(
    name: str, argv: Sequence[str], *, extra: Sequence[str] = (), missing: bool = False
) -> Composed:
    """Composes conf/<name>.yaml with the command line and checks it (gate 1); makes no folder.

    argv: KEY=VALUE, --config-dir DIR, --config-name NAME. extra: overrides of the calling verb. missing: let pass what is still
    to be given (ckpt: ???). Raises UserError, or Problems with every mistake."""
    status.say("composing the config…")
    args = split_args(argv)
    if args.command:
        raise UserError(f"--{args.command} does not work here", "gan train takes it")
    with start_hydra(args.dirs):
        return compose_overrides(
            name,
            args.config_name or name,
            [*map(quote_value, args.overrides), *extra],
            missing=missing,
        )


def compose_overrides(
    name: str, config_name: str, overrides: list[str], *, missing: bool = False
) -> Composed:
    from hydra import initialize_config_dir

    with initialize_config_dir(str(find_conf_dir()), job_name=name, version_base="1.3"):
        session = Session(config_name, top_keys=list_top_keys(name), closed=CLOSED, command=name)
        try:
            full = session.load(overrides)
            composed = _finish_composing(full)
            problems = []
        except hints.composition_errors() as ex:
            full, problems = session.diagnose(overrides)
            problems = problems or [hints.explain_error(ex, session)]
        problems += session.inspect(full, overrides, whole=not problems, missing=missing)
        if problems and name == "train":  # gate 2, which would tell of these, is not reached
            problems += session.find_value_problems(full, overrides, PlayerConfig)
    if problems:
        raise Problems(problems)
    return composed


def list_top_keys(name: str) -> tuple[str, ...]:
    """Lists the keys that a subcommand's config has at its top."""
    if name == "train":
        return TOP_KEYS
    from omegaconf import OmegaConf

    own = OmegaConf.load(find_conf_dir() / f"{name}.yaml")
    return tuple(key for key in own if key not in ("defaults", "hydra"))


def _finish_composing(full: DictConfig) -> Composed:
    """Hydra's config as ours. The run folder's name becomes plain text here: every later look would draw another stamp."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf, open_dict

    with open_dict(full):
        full.hydra.run.dir = str(full.hydra.run.dir)
        full.hydra.sweep.dir = str(full.hydra.sweep.dir)
        full.hydra.runtime.output_dir = os.path.abspath(full.hydra.run.dir)
    HydraConfig.instance().set_config(full)  # for ${hydra:...} in a user's file
    cfg = OmegaConf.masked_copy(full, [key for key in full if key != "hydra"])
    OmegaConf.set_struct(cfg, True)
    return make_composed(cfg, full.hydra, Path(full.hydra.run.dir))


def make_composed(cfg: DictConfig, hydra: DictConfig, run_dir: Path) -> Composed:
    choices = {
        group: option
        for group, option in hydra.runtime.choices.items()
        if option and not group.startswith("hydra/")
    }
    sources = [
        Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"
    ]
    overrides = [*hints.read_overrides(hydra, "hydra"), *hints.read_overrides(hydra, "task")]
    given = is_in_sweep() or any(
        line.lstrip("+").startswith("hydra.run.dir=") for line in overrides
    )
    notes = []
    if choices.get("experiment"):
        hold_nothing_out(cfg)
        notes = replace_experiments_loss(cfg, hydra, choices)
        notes += drop_published(cfg, hydra, choices["experiment"])
    return Composed(
        cfg=cfg,
        hydra=hydra,
        overrides=overrides,
        choices=choices,
        run_dir=run_dir,
        run_dir_given=given,
        warnings=[] if is_in_sweep() else find_file_warnings(sources),
        notes=notes,
    )


def hold_nothing_out(cfg: DictConfig) -> None:
    """An experiment trains on all images of a folder, as its paper did; a number that was given stays."""
    from omegaconf import OmegaConf

    target = OmegaConf.select(cfg, "dataset._target_", throw_on_missing=False)
    holdout = OmegaConf.select(cfg, "dataset.holdout", throw_on_missing=False)
    if target == OWN_FOLDER and holdout == "auto":
        OmegaConf.update(cfg, "dataset.holdout", 0)


def replace_experiments_loss(cfg: DictConfig, hydra: DictConfig, choices: dict) -> list[str]:
    """Where another loss is chosen than the experiment's, what the experiment sets below `loss` is left out.

    An experiment comes after the loss, so its penalty weights would be merged into a loss that has no such penalties.
    What is typed on the command line stays. -> a note, or none where the loss is the experiment's own.

    Raises Problems where a typed key is one of those that are left out."""
    from omegaconf import OmegaConf, open_dict

    lines = hints.read_overrides(hydra, "task")
    search = [
        line
        for line in hints.read_overrides(hydra, "hydra")
        if line.startswith("hydra.searchpath=")
    ]
    experiment = choices["experiment"]
    loss = choices.get("loss")
    with open_composer(hydra) as compose_words:
        meant = compose_words([*search, f"experiment={experiment}"])
        if not loss or loss == meant.hydra.runtime.choices.get("loss"):
            return []
        words = [*search, f"loss={loss}"]
        words += [f"model={choices['model']}"] if "model" in choices else []
        tree = compose_words(words)
        for line in lines:
            key = line.lstrip("+~").partition("=")[0]
            if not key.startswith("loss.") and "@loss." not in key:
                continue
            words.append(line)
            try:
                tree = compose_words(words)
            except hints.composition_errors() as ex:
                message = f"'{line}': loss={loss} has no such key"
                hint = f"what experiment={experiment} sets below loss is left out with another loss"
                raise Problems([(message, hint)]) from ex
    before = OmegaConf.to_container(cfg, resolve=False).get("loss")
    after = OmegaConf.to_container(tree, resolve=False)["loss"]
    gone = find_lost_keys(before, after, "loss")
    if not gone:
        return []
    with open_dict(cfg):
        cfg["loss"] = tree._get_node("loss")
    are = "is" if len(gone) == 1 else "are"
    return [
        f"loss={loss} replaces the loss of experiment={experiment}: "
        f"{', '.join(gone)} {are} left out"
    ]


def drop_published(cfg: DictConfig, hydra: DictConfig, experiment: str) -> list[str]:
    """Drops what a paper reports where the run is no longer the paper's: another model, loss, length or value.

    Returns:
        A note, or none where nothing was dropped.
    """
    from omegaconf import OmegaConf

    lines = hints.read_overrides(hydra, "task")
    causes = [line for line in lines if not is_free(line) and not line.startswith("experiment=")]
    if OmegaConf.select(cfg, "published") is None or not causes:
        return []
    search = [
        line
        for line in hints.read_overrides(hydra, "hydra")
        if line.startswith("hydra.searchpath=")
    ]
    with open_composer(hydra) as compose_words:
        meant = compose_words([*search, f"experiment={experiment}"])
    hold_nothing_out(meant)
    before = OmegaConf.to_container(meant, resolve=False)
    if not find_changed_keys(before, OmegaConf.to_container(cfg, resolve=False)):
        return []
    OmegaConf.update(cfg, "published", None)
    return [
        f"the published numbers of experiment={experiment} are left out: "
        f"{', '.join(causes)} makes it another run"
    ]


def find_lost_keys(before: object, after: object, where: str) -> list[str]:
    """The keys of one plain tree that another lacks or has otherwise, as KEY=VALUE; of a mapping the key alone."""
    if not isinstance(before, dict):
        return [] if before == after else [f"{where}={hints.cut(str(before), length=40)}"]
    if not isinstance(after, dict) and len(before) > 1:
        return [where]
    known = after if isinstance(after, dict) else {}
    return [
        key
        for name, value in before.items()
        if not (name in known and known[name] == value)
        for key in find_lost_keys(value, known.get(name), f"{where}.{name}")
    ]


@contextmanager
def open_composer(hydra: DictConfig) -> Iterator[Callable[[list[str]], DictConfig]]:
    """Composes further configs for a config's `hydra` node, also in a job that a launcher has sent to another process."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    def compose_words(words: list[str]) -> DictConfig:
        return compose(hydra.job.config_name, words, return_hydra_config=True)

    if GlobalHydra.instance().is_initialized():
        yield compose_words
        return
    sources = hydra.runtime.config_sources
    dirs = [Path(source.path) for source in sources if source.provider == "user"]
    with (
        start_hydra(dirs),
        initialize_config_dir(str(find_conf_dir()), job_name=hydra.job.name, version_base="1.3"),
    ):
        yield compose_words


def is_in_sweep() -> bool:
    """Is this a job of `-m`? Then Hydra has named and made the run folder."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


class _Leave(BaseException):
    """Carries an Interrupted out of a sweep: Hydra would note it as one job's failure and start the next job."""


class _Job:
    """What Hydra calls once a job. A launcher may send it to another process, which needs our resolvers there.

    task: a function of a module, for launchers that pickle. raised: what it raised in this process."""

    def __init__(self, task: Callable[[Composed], object]):
        self.task = task
        self.raised: list[Exception] = []

    def __call__(self, cfg: DictConfig) -> object:
        from hydra.core.hydra_config import HydraConfig

        node = HydraConfig.get()
        try:
            return self.task(make_composed(cfg, node, Path(node.runtime.output_dir)))
        except Interrupted as ex:
            raise _Leave from ex
        except Exception as ex:
            self.raised.append(ex)
            raise

    def __getstate__(self) -> dict:
        return {"task": self.task, "raised": []}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        resolvers.begin()


def find_sweep_folder(name: str, argv: Sequence[str]) -> Path | None:
    """Where `-m` will put its jobs, before it runs; None if its config does not compose, which hydra_main then tells."""
    args = split_args(argv)
    overrides = [quote_value(line, sweep=True) for line in args.overrides]
    with start_hydra(args.dirs):
        try:
            composed = compose_overrides(
                name, args.config_name or name, next(list_variants(overrides))
            )
        except UserError:
            return None
    return Path(composed.hydra.sweep.dir)


def run_hydra_main(
    name: str,
    task: Callable[[Composed], object],
    argv: Sequence[str],
    *,
    sweep_folder: Path | None = None,
) -> int:
    """Hands a command line with -m, --cfg, --info or --hydra-help to hydra.main; a sweep calls task once a job.

    Each job's config passes gate 1 before the first job runs. Raises what the first failing job raised, after all have run.

    sweep_folder: the folder of a sweep as plain text, which every process of a launcher then reads alike."""
    import hydra

    args = split_args(argv)
    overrides = [quote_value(line, sweep=args.command == "multirun") for line in args.overrides]
    config_name = args.config_name or name
    fixed = [quote_value(f"hydra.sweep.dir={sweep_folder}")] if sweep_folder else []
    job = _Job(task)

    program = (
        "gan" if args.command == "shell-completion" else f"gan {name}"
    )  # the completion script names the executable
    with start_hydra(args.dirs), replace_argv([program, *args.flags, *overrides, *fixed]):
        if args.command in (
            "multirun",
            "cfg",
        ):  # the others are there to look into a config that does not compose
            missing = args.command == "cfg"
            warnings, notes = _check_all(name, config_name, overrides, missing=missing)
            for message in warnings:
                messages.warn(message)
            for message in notes:
                messages.remark(message)
        try:
            hydra.main(
                version_base="1.3", config_path=str(find_conf_dir()), config_name=config_name
            )(job)()
        except _Leave as ex:
            raise ex.__cause__ from None
        except SystemExit as ex:  # --hydra-help leaves so
            return int(ex.code or 0)
        except hints.composition_errors() as ex:
            if any(ex is one for one in job.raised):
                raise
            _check_all(name, config_name, overrides, missing=True)  # says the same in our words
            raise UserError((str(ex) or str(ex.__cause__)).splitlines()[0]) from ex
    return 0


def _check_all(
    name: str, config_name: str, overrides: list[str], *, missing: bool
) -> tuple[list[str], list[str]]:
    """Gate 1 for every value of a sweep. -> the warnings and notes; raises Problems with the mistakes of all."""
    problems: dict[hints.Problem, None] = {}  # ordered, without repetition
    warnings: dict[str, None] = {}
    notes: dict[str, None] = {}
    for variant in list_variants(overrides):
        try:
            composed = compose_overrides(name, config_name, variant, missing=missing)
            warnings.update(dict.fromkeys(composed.warnings))
            notes.update(dict.fromkeys(composed.notes))
        except Problems as ex:
            problems.update(dict.fromkeys(ex.problems))
    if problems:
        raise Problems(list(problems))
    return list(warnings), list(notes)
