"""The watchdog: reads what a run logs and says in words why the run has gone wrong.

What is done then is the loop's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gancli.config.schema import WatchConfig
from gancli.game import children
from gancli.losses.adversarial import AdversarialLoss

if TYPE_CHECKING:
    from gancli.trainer import Best, Trainer

# A discriminator has given up where its loss stays so near to chance level, relative to it, while
# its scores of all images, real and generated, spread no further than this. The loss of a GAN that
# has converged is there too, and its scores still differ from image to image.
NEAR_CHANCE = 0.02
NO_SPREAD = 0.002
# Signals that must be shown by so many times `patience` consecutive checks: at its start a
# discriminator may give all images nearly one score for a while.
LONGER = {"gave_up": 4}


class Watch:
    """The watchdog of one run: a signal counts once `patience` consecutive checks have shown it.

    Args:
        settings: The thresholds, and what is done.
        loss: The loss of the discriminator, which knows its optimum and its chance level; of
            several discriminators one stands for all. None where there is none.
        counts: How many checks have shown each signal; changed in place, since the checkpoint holds
            it.
    """

    def __init__(
        self,
        settings: WatchConfig,
        loss: AdversarialLoss | None,
        *,
        counts: dict[str, int] | None = None,
    ) -> None:
        self.settings = settings
        self.counts: dict[str, int] = {} if counts is None else counts
        self.optimum = None if loss is None else loss.optimum()
        self.chance_level = None if loss is None else loss.chance_level()
        # A relativistic loss is at chance level whenever reals and fakes score alike.
        self.relativistic = loss is not None and loss.objective.relativistic

    @property
    def on(self) -> bool:
        """Whether anything is checked at all."""
        return self.settings.action != "off"

    def check(self, values: dict[str, float], nimg: int, best: Best | None) -> str | None:
        """Checks the numbers of one log line or of one evaluation.

        Args:
            values: By their names in metrics.jsonl.
            nimg: Real images seen so far.
            best: The best value so far of the metric that best.pt follows; None before the first.

        Returns:
            Why the run has gone wrong, or None. A signal that goes on is told again only after as
            many checks more.
        """
        if not self.on or nimg < 1000 * self.settings.start_kimg:
            return None
        for signal, sentence in self.find_signals(values, best).items():
            self.counts[signal] = self.counts.get(signal, 0) + 1 if sentence else 0
            if self.counts[signal] >= self.settings.patience * LONGER.get(signal, 1):
                self.counts[signal] = 0
                return sentence
        return None

    def find_signals(self, values: dict[str, float], best: Best | None) -> dict[str, str]:
        """Finds the signals that these values tell something about.

        Args:
            values: As in `check`.
            best: As in `check`.

        Returns:
            signal -> a sentence, or "" where all is well.
        """
        settings = self.settings
        found: dict[str, str] = {}
        relative = self.compare_with_chance(values.get("d/adv"))
        if relative is not None:
            sentence = (
                f"the discriminator has won: its loss is {values['d/adv']:.2g}, chance level is "
                f"{self.chance_level:.2g}; the generator learns nothing"
            )
            found["saturated"] = sentence if relative < settings.saturated else ""
        if relative is not None and "d/spread" in values and not self.relativistic:
            sentence = (
                f"the discriminator has given up: its loss is {values['d/adv']:.3g} (chance level "
                f"is {self.chance_level:.3g}), and all get nearly the same score; the "
                "generator learns nothing"
            )
            gave_up = abs(relative - 1) < NEAR_CHANCE and values["d/spread"] < NO_SPREAD
            found["gave_up"] = sentence if gave_up else ""
        if "watch/diversity" in values:
            diversity = values["watch/diversity"]
            sentence = (
                f"the samples have collapsed: they differ {diversity:.2f} times as much as reals do"
            )
            found["diversity"] = sentence if diversity < settings.diversity else ""
        if "eval/critic_overfit" in values:
            overfit = values["eval/critic_overfit"]
            sentence = (
                "the discriminator overfits: its mean score falls from training images to held-out "
                f"ones by {overfit:.0%} of what it falls by to samples"
            )
            found["overfit"] = sentence if overfit > settings.overfit else ""
        if best is not None and f"eval/{best['key']}" in values:
            value = values[f"eval/{best['key']}"]
            sentence = (
                f"{best['key']} is {value:.4g}; its best was {best['value']:.4g} "
                f"at step {best['step']}"
            )
            found["worse"] = sentence if is_worse(value, best, settings.worse) else ""
        return found

    def compare_with_chance(self, loss: float | None) -> float | None:
        """Gives the discriminator's loss relative to chance level: 0 at its optimum, 1 at chance.

        Args:
            loss: d/adv of a log line; None where a line has none.

        Returns:
            None where it cannot be told: without a discriminator, without a bound (Wasserstein), or
            where telling real from fake gains nothing.
        """
        if loss is None or self.optimum is None or self.chance_level is None:
            return None
        if self.chance_level <= self.optimum:
            return None
        return (loss - self.optimum) / (self.chance_level - self.optimum)


def build_watch(trainer: Trainer) -> Watch:
    """Builds the watchdog of a run; its counts are saved with the trainer's state."""
    loss = next(iter(children(trainer.game.adversarial)), None)
    return Watch(
        trainer.config.watch,
        loss if isinstance(loss, AdversarialLoss) else None,  # a user's own loss has no levels
        counts=trainer.run.watch,
    )


def is_worse(value: float, best: Best, factor: float) -> bool:
    """Tells whether a value is more than `factor` times as bad as the best; NaN is."""
    if not math.isfinite(value):
        return True
    if best["mode"] == "min":
        return bool(value > factor * best["value"])
    # Of a metric that should rise: a fraction of the best, where a falling one has a multiple.
    return bool(value < best["value"] / factor)
