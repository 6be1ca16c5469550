"""The watchdog: reads what a run logs and says in words why the run has gone wrong.

What is done then is the loop's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gancli.config.schema import WatchConfig
from gancli.game import children
from gancli.losses.adversarial import AdversarialLoss

if TYPE_CHECKING:
    from gancli.trainer import Best, Trainer

# A discriminator has given up where its loss stays so near to chance level, relative to it, while
# the scores of a real and of the sample beside it differ so little that even a perfect order of
# them would lower the loss by no more than this. The loss of a GAN that has converged is near
# chance level too, and its scores still differ from image to image. Measured: 0.0005 to 0.003 where
# nothing was learned any more, 0.02 and more where training went on.
NEAR_CHANCE = 0.02
NO_CONTRAST = 0.01
# A discriminator stays behind where its loss is so far above chance level, relative to it, that one
# score for all would cost less. Measured: 1.0 to 75 where its learning rate was as good as 0; that
# of runs which end well is above for at most 8 consecutive lines.
BEHIND = 1.2
# The loss of a Wasserstein critic has no bound and no unit; its unit is how much the scores of a
# real and of the sample beside it differ. In it, the mean score of reals lies 0.8 to 1 above that
# of samples while there is much to learn, and by ever less as samples come near to the data. The
# critic stays behind where it lies so far below, and one score for all would cost less. Measured:
# -0.3 to -1 with a learning rate that is as good as 0, and for 19 consecutive lines and more with a
# gradient penalty of weight 1e6; other runs are below for at most 11 consecutive lines of 50 steps.
BELOW = -0.25
# Scores that differ by less are as good as constant: their gradients are below the 1e-8 that
# optimizers add to the size of one. Measured: 1e-6 with a clip of 0.0001.
CONSTANT = 1e-5
# Signals that must be shown by so many times `patience` consecutive checks: at its start a
# discriminator may give all images nearly one score for a while, and be behind for longer.
LONGER = {"gave_up": 2, "constant": 2, "behind": 4}
SMALLER = (
    "try a smaller optimizer.<player>.lr, or a penalty on the discriminator: "
    "+penalty@loss.penalties.r1=r1"
)
OTHER = {
    "behind": "try a larger optimizer.d.lr or a smaller optimizer.g.lr",
    "constant": "try a larger loss.clip or optimizer.d.lr",
}


@dataclass(frozen=True)
class Alarm:
    """Why a run has gone wrong.

    Attributes:
        reason: In words.
        checks: How many consecutive checks have shown it, which is how long it lasts already.
        hint: What may help.
    """

    reason: str
    checks: int
    hint: str = SMALLER


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
        self.chance_slope = None if loss is None else loss.chance_slope()
        self.is_difference = loss is not None and loss.is_difference()

    @property
    def on(self) -> bool:
        """Whether anything is checked at all."""
        return self.settings.action != "off"

    def check(self, values: dict[str, float], nimg: int, best: Best | None) -> Alarm | None:
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
            checks = self.counts[signal]
            if checks >= self.settings.patience * LONGER.get(signal, 1):
                self.counts[signal] = 0
                return Alarm(sentence, checks, OTHER.get(signal, SMALLER))
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
                f"{self.chance_level:.2g}; the generator learns nothing from it"
            )
            found["saturated"] = sentence if relative < settings.saturated else ""
            sentence = (
                f"the discriminator stays behind: its loss is {values['d/adv']:.3g}, above chance "
                f"level ({self.chance_level:.3g}) in all these checks; it learns too slowly to "
                "guide the generator"
            )
            found["behind"] = sentence if relative > BEHIND else ""
        if relative is not None and "d/contrast" in values:
            found["gave_up"] = self.find_idle(values)
        if self.is_difference and "d/contrast" in values:
            found["constant"] = find_constant(values)
            found["behind"] = find_behind(values)
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

    def find_idle(self, values: dict[str, float]) -> str:
        """Says which discriminator has given up; "" where none has.

        Args:
            values: Of a log line; of several discriminators each has its own, such as d/a_adv, and
                their means stand beside them.
        """
        for key, loss in values.items():
            critic = key.removesuffix("adv")
            relative = self.compare_with_chance(loss)
            contrast = self.compare_contrast(values.get(f"{critic}contrast"))
            if not key.startswith("d/") or critic == key or relative is None or contrast is None:
                continue
            if relative > 1 - NEAR_CHANCE and contrast < NO_CONTRAST:
                name = critic.removeprefix("d/").removesuffix("_")
                return (
                    f"the discriminator{f' {name}' if name else ''} has given up: its loss is "
                    f"{loss:.3g} (chance level is {self.chance_level:.3g}), and reals get nearly "
                    "the same scores as samples; the generator learns nothing from it"
                )
        return ""

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

    def compare_contrast(self, contrast: float | None) -> float | None:
        """Gives what the scores' differences could lower the loss by, relative to chance level.

        Args:
            contrast: d/contrast of a log line; None where a line has none.

        Returns:
            The share of the way from chance level to the optimum that a real's score would win if
            it lay above that of its sample by so much, to first order; None as in
            `compare_with_chance`.
        """
        if contrast is None or self.chance_slope is None or self.compare_with_chance(0.0) is None:
            return None
        assert self.chance_level is not None and self.optimum is not None
        return contrast * self.chance_slope / (self.chance_level - self.optimum)


def find_constant(values: dict[str, float]) -> str:
    """Says which Wasserstein critic scores all alike; "" where none does.

    Args:
        values: As in `Watch.find_idle`.
    """
    for critic, contrast in list_contrasts(values):
        if contrast < CONSTANT:
            return (
                f"the critic{name_critic(critic)} has given up: the scores of reals and of samples "
                f"differ by {contrast:.1g}; the generator learns nothing from it"
            )
    return ""


def find_behind(values: dict[str, float]) -> str:
    """Says which Wasserstein critic scores samples above reals; "" where none does.

    Args:
        values: As in `Watch.find_idle`.
    """
    for critic, _ in list_contrasts(values):
        gap = compare_gap(values, critic)
        if gap is not None and gap < BELOW:
            return (
                f"the critic{name_critic(critic)} stays behind: it scores samples "
                f"({values[f'{critic}fake']:.3g}) above reals ({values[f'{critic}real']:.3g}) in "
                "all these checks; it does not guide the generator"
            )
    return ""


def list_contrasts(values: dict[str, float]) -> list[tuple[str, float]]:
    """Lists the critics of a log line with their contrast: the beginning of their names first."""
    return [
        (key.removesuffix("contrast"), value)
        for key, value in values.items()
        if key.startswith("d/") and key.endswith("contrast")
    ]


def name_critic(critic: str) -> str:
    """Gives the name of one of several critics behind a space, of "d/a_"; "" for the only one."""
    name = critic.removeprefix("d/").removesuffix("_")
    return f" {name}" if name else ""


def compare_gap(values: dict[str, float], critic: str) -> float | None:
    """Compares the difference of mean scores with what scores differ by, pair by pair.

    Args:
        values: Of a log line.
        critic: The beginning of its names there, such as "d/".

    Returns:
        From -1 (every sample is scored above its real, all by the same) over 0 to 1; None where the
        line lacks the means, or nothing differs.
    """
    real = values.get(f"{critic}real")
    fake = values.get(f"{critic}fake")
    contrast = values.get(f"{critic}contrast", 0.0)
    if real is None or fake is None or contrast <= 0:
        return None
    return (real - fake) / contrast


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
