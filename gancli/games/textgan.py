"""Text by relaxed draws: a recurrent generator whose tokens a gradient can pass (Nie 2019)."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from gancli.errors import UserError
from gancli.game import Batch, Game, Logs, Option, Phase, Progress, Stage
from gancli.games.gan import GAN
from gancli.losses.adversarial import AdversarialLoss
from gancli.networks.text import RecurrentTextGenerator
from gancli.schedules import Number, schedule

TEMPERATURE = Option(
    name="temperature",
    type=float | None,
    help="what logits are divided by: below 1 lines are likelier and less diverse",
    stage=Stage.SAMPLE,
)


class Teaching(nn.Module):
    """The stage of maximum likelihood, and the generator as it was at its end.

    That one's numbers stand beside those of the adversarial stage: text GANs often lose to it
    (Caccia et al. 2020).

    Args:
        generator: Of the game.
        steps: Of the stage; 0 for none.
    """

    ended: Tensor
    generator: nn.Module | None

    def __init__(self, generator: nn.Module, *, steps: int):
        super().__init__()
        if steps < 0:
            raise ValueError(f"mle_steps={steps}: give 0 or more")
        self.steps = steps
        self.register_buffer("ended", torch.zeros((), dtype=torch.bool))
        self.generator = copy.deepcopy(generator).requires_grad_(False) if steps else None

    def keep(self, ema: nn.Module, progress: Progress) -> None:
        """Keeps the EMA generator where the stage has just ended."""
        if self.generator is not None and progress.step == self.steps:
            self.generator.load_state_dict(ema.state_dict())
            self.ended.fill_(True)

    def list_stages(self) -> dict[str, nn.Module]:
        """Gives the generator of the stage as "mle", once that has ended."""
        return {"mle": self.generator} if self.generator is not None and self.ended else {}


class TextGAN(GAN):
    """Relaxed tokens, any discriminator, any loss; before it a stage of maximum likelihood.

    generator: a `RecurrentTextGenerator`
    discriminator: trunk(x, label), head(features, label) of items (N,V,T,1)
    mle_steps: of maximum likelihood, moved by the player "mle"; 0 for none
    d_steps: after it, of the discriminator alone
    temperature: of the relaxed draw
    """

    has_likelihood = True
    generator: RecurrentTextGenerator  # type: ignore[assignment]  # a Generator that also scores

    def __init__(
        self,
        *,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: AdversarialLoss,
        conditional: bool = False,
        mle_steps: int = 0,
        d_steps: int = 0,
        temperature: Number = 1.0,
    ):
        super().__init__(
            generator=generator, discriminator=discriminator, loss=loss, conditional=conditional
        )
        if not isinstance(generator, RecurrentTextGenerator):
            raise ValueError(
                f"generator: {type(generator).__name__} draws no tokens one by one, as "
                "RecurrentTextGenerator does; model=textgan_conv has a convolutional one"
            )
        if d_steps < 0:
            raise ValueError(f"d_steps={d_steps}: give 0 or more")
        self.teaching = Teaching(generator, steps=mle_steps)
        self.d_steps = d_steps
        self.temperature = schedule(temperature)
        self.advance(self.progress)

    def players(self) -> dict[str, list[nn.Module]]:
        """Moves the generator by two optimizers: g, and mle of its first stage."""
        # Two optimizers of one network: their rates are a hundred times apart.
        return {"g": [self.generator], "d": [self.discriminator], "mle": [self.generator]}

    def phases(self) -> list[Phase]:
        """Plays mle alone, then d alone for d_steps, then d and g."""
        first = self.teaching.steps
        taught = Phase(name="mle", loss=self.mle_loss, updates=("mle",), stop=first)
        return [
            *([taught] if first else []),
            Phase(name="d", loss=self.d_loss, updates=("d",), start=first, after=self.constrain),
            Phase(
                name="g",
                loss=self.g_loss,
                updates=("g",),
                every=self.n_critic,
                # The discriminator learns alone at first: to a random one the lines are all alike.
                start=first + self.d_steps,
            ),
        ]

    def advance(self, progress: Progress) -> bool:
        """Sets the temperature of the relaxed draw."""
        self.generator.temperature = float(self.temperature(progress.nimg))
        return False

    def keep_average(self, ema: nn.Module) -> None:
        """Keeps the EMA generator as it is when the stage mle ends."""
        self.teaching.keep(ema, self.progress)

    def list_stages(self) -> dict[str, nn.Module]:
        """Gives the generator of the stage mle, which is measured beside this one."""
        return self.teaching.list_stages()

    def mle_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Costs the lines of a batch by maximum likelihood: nats of a token."""
        return measure_nll(self.generator, batch)

    def log_likelihood(self, batch: Batch, generator: nn.Module) -> Tensor:
        """Measures log p (N,T) in nats of the tokens of one-hot "image" (N,V,T,1)."""
        return measure_log_prob(generator, batch)

    def sampling_options(self) -> tuple[Option, ...]:
        """Declares `temperature`, which takes the place of truncation."""
        return (*Game.sampling_options(self), TEMPERATURE)

    def sample(
        self, inputs: Batch, generator: nn.Module, *, temperature: float | None = None
    ) -> Tensor:
        """Makes lines (N,V,T,1): relaxed tokens in training, one-hot ones in eval mode.

        Args:
            inputs: "z" (N,T), which decides the tokens in eval mode, and "label".
            generator: Training passes its own, sampling the EMA generator.
            temperature: What logits are divided by, above 0; None leaves the generator's own.
        """
        return draw_lines(inputs, generator, temperature)


def measure_nll(generator: nn.Module, batch: Batch) -> tuple[Tensor, Logs]:
    """Measures the mean negative log-likelihood of a token of a batch, in nats."""
    loss = -measure_log_prob(generator, batch).mean()
    return loss, {"nats": loss.detach()}


def measure_log_prob(generator: nn.Module, batch: Batch) -> Tensor:
    """Measures log p (N,T) of the tokens of one-hot items."""
    # One-hot (N,V,T,1) back to token numbers (N,T).
    tokens = batch["image"].argmax(1).squeeze(2)
    return cast(RecurrentTextGenerator, generator).log_prob(tokens, batch.get("label"))


def draw_lines(inputs: Batch, generator: nn.Module, temperature: float | None) -> Tensor:
    """Makes lines of latents. Raises UserError for a temperature that is none."""
    if temperature is None:
        lines: Tensor = generator(inputs["z"], inputs.get("label"))
        return lines
    if temperature <= 0:
        raise UserError(f"temperature={temperature} is no temperature", "give a number above 0")
    lines = generator(inputs["z"], inputs.get("label"), temperature=temperature)
    return lines
