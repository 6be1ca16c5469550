"""hydra/sweeper=optuna: a search by TPE, kept in a database, which goes on where it was killed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from gancli.config.resolvers import make_slug
from gancli.errors import Pruned, TemporaryFailure, UserError
from gancli.files import lock
from gancli.metrics.settings import better
from gancli.run.trial import MODES, check_settings, open_study

if TYPE_CHECKING:
    import optuna
    from hydra.core.utils import JobReturn

# Hydra takes plugins of the package hydra_plugins alone. This one is registered, not searched for:
# so a checkout, an editable install and a wheel need nothing beside gancli.
NAME = "hydra_plugins.gancli.OptunaSweeper"
MOST_FAILURES = 3  # at the beginning, in a row: then it is no trial's own fault


def register_sweeper() -> None:
    """Makes the sweeper known to Hydra in this process."""
    Plugins.instance().class_name_to_class[NAME] = OptunaSweeper


class OptunaSweeper(Sweeper):
    """Proposes trials and has the launcher run them; its keys are those of the YAML file."""

    def __init__(self, **settings: Any):
        self.settings = settings
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Is told by Hydra what to run."""
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Runs trials until the study has n_trials of them.

        Raises:
            UserError: The words do not fit a search, or the study in the folder.
            TemporaryFailure: Another process works on the study.
        """
        assert self.config is not None and self.hydra_context is not None, "setup comes first"
        check_settings(self.settings)
        if not self.config.metrics["items"]:
            raise UserError("a search needs a metric", "metrics=fast, or another one of its group")
        self.folder = Path(self.config.hydra.sweep.dir)
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "study.lock", "a+") as file:
            try:
                lock.take(file)
            except BlockingIOError as error:
                raise TemporaryFailure(f"another process searches in {self.folder}") from error
            OmegaConf.save(self.config, self.folder / "multirun.yaml")
            parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
            self.search(parser.parse_overrides(arguments), arguments)

    def search(self, overrides: Sequence[Override], arguments: list[str]) -> None:
        """Runs the trials that are missing, those first that a killed session has left."""
        from optuna import Trial
        from optuna.trial import TrialState

        assert self.config is not None, "setup comes first"
        settings = self.settings
        metrics = self.config.metrics
        mode = metrics.best_mode or better(str(metrics.best)) or "min"
        direction = MODES[mode] if settings["direction"] == "auto" else settings["direction"]
        study = open_study(settings, self.folder, direction=direction)
        earlier = study.user_attrs.setdefault("words", arguments)
        if earlier != arguments:
            raise UserError(
                f"the study in {self.folder} is one of other words: {' '.join(earlier)}",
                "type the same ones to go on, or give another hydra.sweep.dir=",
            )
        study.set_user_attr("words", arguments)
        left = study.get_trials(states=[TrialState.RUNNING])
        trials = [Trial(study, frozen._trial_id) for frozen in left]
        failures = 0
        while trials or len(study.trials) < settings["n_trials"]:
            missing = settings["n_trials"] - len(study.trials)
            new = min(settings["n_jobs"] - len(trials), missing)
            trials += [study.ask() for _ in range(new)]
            batch, trials = trials[: settings["n_jobs"]], trials[settings["n_jobs"] :]
            error = self.run_batch(study, {t: propose(t, overrides) for t in batch})
            done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
            failures += len(batch) if error else 0
            if error and not done and failures >= MOST_FAILURES:
                raise error

    def run_batch(
        self, study: optuna.Study, words: dict[optuna.Trial, list[str]]
    ) -> Exception | None:
        """Runs some trials, seed after seed, and tells the study how each ended.

        Returns:
            What a failed one raised, if any did.
        """
        from optuna.trial import TrialState

        assert self.launcher is not None, "setup comes first"
        found: dict[optuna.Trial, list[float]] = {trial: [] for trial in words}
        failed: Exception | None = None
        seeds = self.settings["seeds"] or [None]
        for index, seed in enumerate(seeds):
            alive = list(found)
            jobs = [self.write_job(t, words[t], seed, index, len(seeds)) for t in alive]
            results = self.launcher.launch(jobs, initial_job_idx=alive[0].number) if jobs else []
            for trial, result in zip(alive, results, strict=True):
                try:
                    found[trial].append(read_value(result))
                except Pruned:
                    study.tell(trial, state=TrialState.PRUNED)
                    del found[trial]
                except Exception as error:  # noqa: BLE001 - whatever a run raises
                    study.tell(trial, state=TrialState.FAIL)
                    del found[trial]
                    failed = error
        for trial, values in found.items():
            trial.set_user_attr("values", values)
            study.tell(trial, statistics.fmean(values))
        return failed

    def write_job(
        self, trial: optuna.Trial, words: list[str], seed: int | None, index: int, seeds: int
    ) -> list[str]:
        """Writes the overrides of one job; a folder that a killed session has left is resumed."""
        number = trial.number * seeds + index
        words = words if seed is None else [*words, f"seed={seed}"]
        name = f"{number}-{make_slug(words)}"
        begun = ["resume=auto"] if (self.folder / name).exists() else []
        # Seeds of one trial would report to the same steps: the first one speaks for them.
        judged = [f"hydra.sweeper.trial={trial._trial_id}"] if index == 0 else []
        return [
            *(*words, *begun, *judged),
            *(f"hydra.sweeper.job={number}", f"hydra.sweep.subdir='{name}'"),
        ]


def propose(trial: optuna.Trial, overrides: Sequence[Override]) -> list[str]:
    """Writes the words of a trial: what is swept gets one value, which a second call repeats."""
    words = []
    fixed = []  # last, since the beginning of the words names the folder
    for override in overrides:
        value = override.value()
        key = override.get_key_element()
        if not override.is_sweep_override():
            fixed.append(str(override.input_line))
        elif key == "seed":
            raise UserError("a seed is nothing to search for", "hydra.sweeper.seeds=[0,1,2]")
        elif isinstance(value, IntervalSweep):
            log = "log" in value.tags
            low = value.start
            high = value.end
            assert low is not None and high is not None, "the parser has seen to it"
            whole = isinstance(low, int) and isinstance(high, int)
            draw = trial.suggest_int if whole else trial.suggest_float
            words.append(f"{key}={draw(key, low, high, log=log)}")
        else:
            options = list(override.sweep_string_iterator())
            words.append(f"{key}={trial.suggest_categorical(key, options)}")
    return words + fixed


def read_value(result: JobReturn) -> float:
    """Returns what a job reached; raises what it raised."""
    value = result._return_value  # return_value prints an error of its own, also of a pruned one
    if isinstance(value, Exception):
        raise value
    if value is None:
        raise UserError("the run has measured nothing that best.pt follows", "set metrics.best")
    return float(value)
