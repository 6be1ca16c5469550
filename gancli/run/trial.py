"""A run as one trial of a search: it reports its evaluations and may be ended early."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gancli.errors import Problems, Pruned, UserError

if TYPE_CHECKING:
    import optuna

    from gancli.trainer import Best

STUDY = "study.db"  # in the sweep's folder
MODES = {"min": "minimize", "max": "maximize"}


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raises Problems for values of hydra.sweeper that a search cannot use."""
    found = []
    for key, least in {"n_trials": 1, "n_jobs": 1, "startup_trials": 0, "warmup_steps": 0}.items():
        if type(settings[key]) is not int or settings[key] < least:
            found.append((key, f"give a whole number from {least} on"))
    seeds = settings["seeds"]
    numbers = [] if seeds is None else list(seeds) if is_list(seeds) else [None]
    if any(type(seed) is not int for seed in numbers):
        found.append(("seeds", "give a list of whole numbers, such as [0,1,2], or null"))
    if settings["direction"] not in ("auto", *MODES.values()):
        found.append(("direction", "give auto, minimize or maximize"))
    if type(settings["prune"]) is not bool:
        found.append(("prune", "give true or false"))
    if settings["sampler_seed"] is not None and type(settings["sampler_seed"]) is not int:
        found.append(("sampler_seed", "give a whole number, or null"))
    if found:
        raise Problems(
            [(f"hydra.sweeper.{key}={settings[key]} does not fit", hint) for key, hint in found]
        )


def is_list(value: object) -> bool:
    """Is it several values, from YAML or typed?"""
    return isinstance(value, Sequence) and not isinstance(value, str)


class Trial:
    """Reports the evaluations of one run to its study.

    Args:
        trial: Optuna's.
        prune: Whether it may be ended.
    """

    def __init__(self, trial: optuna.Trial, *, prune: bool):
        self.trial = trial
        self.prune = prune

    def report(self, value: float, best: Best, step: int, *, last: bool) -> None:
        """Reports an evaluation.

        Args:
            value: Of the metric that best.pt follows.
            best: The best so far, which says where that metric is better.
            step: Real batches drawn.
            last: Whether the run has reached its end, and is complete.

        Raises:
            Pruned: The trial is worse than the others at this step.
            UserError: The study looks for the other end of the metric.
        """
        wanted = MODES[best["mode"]]
        if wanted != self.trial.study.direction.name.lower():
            raise UserError(
                f"{best['key']} is better the other way; "
                f"start another search with hydra.sweeper.direction={wanted}"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a step that a killed session has reported already
            self.trial.report(value, step)
        if self.prune and not last and self.trial.should_prune():
            raise Pruned(
                f"pruned at step {step}: {best['key']} {value:.4g} is worse than in other trials"
            )


def open_study(settings: Mapping[str, Any], folder: Path, *, direction: str = "") -> optuna.Study:
    """Opens the study of a search.

    Args:
        settings: The node hydra.sweeper.
        folder: Of the sweep.
        direction: minimize or maximize, to begin a study that is not there yet; "": it must be.

    Returns:
        The study, whose sampler and pruner are those of the settings.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    startup = settings["startup_trials"]
    name = settings["study_name"]
    storage = settings["storage"] or f"sqlite:///{folder.absolute() / STUDY}"
    pruner = optuna.pruners.MedianPruner(startup, n_warmup_steps=settings["warmup_steps"])
    study = (
        optuna.create_study(
            study_name=name, storage=storage, direction=direction, load_if_exists=True
        )
        if direction
        else optuna.load_study(study_name=name, storage=storage)
    )
    study.pruner = pruner
    seed = settings["sampler_seed"]
    # A second session would draw the values of the first one again.
    seed = None if seed is None else seed + len(study.trials)
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=seed)
    return study


def find_trial(settings: Mapping[str, Any], folder: Path) -> Trial | None:
    """Finds the trial that a job of a sweep reports to.

    Args:
        settings: The node hydra.sweeper.
        folder: Of the sweep.

    Returns:
        None where it is no trial of a search.
    """
    if settings.get("trial") is None:
        return None
    import optuna

    study = open_study(settings, folder)
    return Trial(optuna.Trial(study, settings["trial"]), prune=bool(settings["prune"]))


class Winner(NamedTuple):
    """The best trial of a study.

    Attributes:
        sentence: What it reached, and with which values.
        job: The number of its job, of several the best one's.
    """

    sentence: str
    job: int


def find_winner(settings: Mapping[str, Any], folder: Path) -> Winner | None:
    """Finds the best trial of a search.

    Args:
        settings: The node hydra.sweeper.
        folder: Of the sweep.

    Returns:
        None where no trial is complete.
    """
    import optuna

    study = open_study(settings, folder)
    complete = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    if not complete:
        return None
    best = study.best_trial
    values = best.user_attrs["values"]
    choose = min if study.direction.name == "MINIMIZE" else max
    words = " ".join(f"{key}={value}" for key, value in best.params.items())
    mean = f", the mean of {len(values)} seeds" if len(values) > 1 else ""
    sentence = f"{best.value:.6g}{mean}, the best of {len(complete)} complete trials: {words}"
    return Winner(sentence, best.number * len(values) + values.index(choose(values)))
