"""The watchdog: looks at live signals and says in words why a run is lost.

What is done then is the loop's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch

from gancli.config.schema import WatchConfig
from gancli.game import children
from gancli.losses.adversarial import AdversarialLoss

if TYPE_CHECKING:
    from gancli.trainer import Trainer


class Watch:
    """A signal must show at `patience` looks in a row, after `start_kimg`.

    loss: of the critic, or None where there is none. counts: plain data, changed in place, which
    the checkpoint holds."""

    def __init__(
        self,
        settings: WatchConfig,
        loss: AdversarialLoss | None,
        *,
        counts: dict[str, int] | None = None,
    ):
        self.settings = settings
        self.counts: dict[str, int] = {} if counts is None else counts
        self.range = None if loss is None else costs(loss)

    @property
    def on(self) -> bool:
        return self.settings.action != "off"

    def look(self, values: dict[str, float], nimg: int, best: dict | None) -> str | None:
        """Scalars of one log line or one evaluation -> why the run is lost, or None."""
        if not self.on or nimg < 1000 * self.settings.start_kimg:
            return None
        for signal, sentence in self.signals(values, best).items():
            self.counts[signal] = self.counts.get(signal, 0) + 1 if sentence else 0
            if self.counts[signal] >= self.settings.patience:
                self.counts[signal] = 0  # a warning is given again only after as long again
                return sentence
        return None

    def signals(self, values: dict[str, float], best: dict | None) -> dict[str, str]:
        """Each signal that these values tell something about: "" if all is well, else a
        sentence.
        """
        settings = self.settings
        found: dict[str, str] = {}
        if self.range is not None and "d/adv" in values:
            cost = values["d/adv"]
            lowest, know_nothing = self.range
            lost = (cost - lowest) / (know_nothing - lowest) < settings.saturated
            sentence = (
                f"the critic has won: its loss is {cost:.2g}, a guess costs {know_nothing:.2g}; "
                "the generator learns nothing"
            )
            found["saturated"] = sentence if lost else ""
        if "watch/diversity" in values:
            diversity = values["watch/diversity"]
            sentence = (
                f"the samples have collapsed: they differ {diversity:.2f} times as much as "
                "real images do"
            )
            found["diversity"] = sentence if diversity < settings.diversity else ""
        if "eval/critic_overfit" in values:
            overfit = values["eval/critic_overfit"]
            sentence = (
                "the critic knows its images by heart: of the gap to samples held-out ones "
                f"make {overfit:.2f}"
            )
            found["overfit"] = sentence if overfit > settings.overfit else ""
        if best is not None and f"eval/{best['key']}" in values:
            value = values[f"eval/{best['key']}"]
            sentence = (
                f"{best['key']} is {value:.4g}; its best was {best['value']:.4g} "
                f"at step {best['step']}"
            )
            found["worse"] = sentence if worse(value, best, settings.worse) else ""
        return found


def watch_for(trainer: Trainer) -> Watch:
    """The watchdog of a run; its counts are saved with the trainer's state."""
    loss = cast(AdversarialLoss | None, next(iter(children(trainer.game.adversarial)), None))
    return Watch(trainer.config.watch, loss, counts=trainer.run["watch"])


def worse(value: float, best: dict, factor: float) -> bool:
    """Is a value `factor` times as bad as the best?"""
    if not math.isfinite(value):
        return True
    return (
        value > factor * best["value"] if best["mode"] == "min" else value < best["value"] / factor
    )


def costs(loss: AdversarialLoss) -> tuple[float, float] | None:
    """-> the critic's lowest loss, and its loss if it tells nothing apart.

    None where the lowest has no bound (Wasserstein), or where telling apart gains nothing."""
    real, fake = (
        target if isinstance(target, float | int) else sum(target) / 2
        for target in (loss.real_target, loss.fake_target)
    )
    real, fake = (target + loss.flip * (1 - 2 * target) for target in (real, fake))
    lowest = []
    for reach in (20.0, 40.0):
        scores = torch.linspace(-reach, reach, 41, dtype=torch.float64)[:, None]
        of_real = torch.zeros(1)
        of_fake = torch.zeros(1)
        for _ in range(2):  # one score after the other: all pairs would take half a second
            of_real = min(
                scores, key=lambda score: loss.objective.d(score, of_fake, real, fake).item()
            )
            of_fake = min(
                scores, key=lambda score: loss.objective.d(of_real, score, real, fake).item()
            )
        lowest.append(loss.objective.d(of_real, of_fake, real, fake).item())
    zero = torch.zeros(1, dtype=torch.float64)
    know_nothing = loss.objective.d(zero, zero, real, fake).item()
    if lowest[1] > lowest[0] - 0.1 and know_nothing > lowest[0]:
        return lowest[0], know_nothing
    return None
