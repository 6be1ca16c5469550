"""Text by policy gradient: the generator is paid for the tokens that it draws (Yu 2017)."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from gancli.game import Batch, Logs
from gancli.games.textgan import TextGAN
from gancli.losses.adversarial import AdversarialLoss
from gancli.losses.objectives import NonSaturating
from gancli.networks.recurrent import RecurrentDiscriminator
from gancli.networks.text import RecurrentTextGenerator


class SeqGAN(TextGAN):
    """Drawn tokens, whose likelihood is raised by what the discriminator says of them.

    The loss trains the discriminator. Its scores, as probabilities where the loss is a
    cross-entropy, are the reward: no gradient passes from them to the generator. What a token earns
    beyond the mean of the batch at its place counts, in deviations.

    generator, discriminator, mle_steps, d_steps: as of `TextGAN`
    reward: rollout: the mean score of lines that go on from a token at random (Yu 2017); step: the
    scores of the token and, discounted, of later ones, by a recurrent discriminator (ScratchGAN, de
    Masson d'Autume 2019)
    rollouts: lines that go on from each token
    follow: what share of the roll-out generator an update of the generator leaves
    discount: of later steps' rewards
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: AdversarialLoss,
        conditional: bool = False,
        mle_steps: int = 0,
        d_steps: int = 0,
        reward: Literal["rollout", "step"] = "rollout",
        rollouts: int = 16,
        follow: float = 0.8,
        discount: float = 0.23,
    ):
        super().__init__(
            generator=generator,
            discriminator=discriminator,
            loss=loss,
            conditional=conditional,
            mle_steps=mle_steps,
            d_steps=d_steps,
        )
        if reward == "step" and not isinstance(discriminator, RecurrentDiscriminator):
            raise ValueError(
                "reward=step needs a score for each token: model=scratchgan has such a "
                "discriminator; or reward=rollout"
            )
        if rollouts < 1 or not 0 <= follow <= 1 or not 0 <= discount <= 1:
            raise ValueError(
                f"rollouts={rollouts}, follow={follow}, discount={discount}: rollouts is 1 or "
                "more, the others are shares from 0 to 1"
            )
        if loss.matches_features or loss.top_k(0) != 1:
            raise ValueError(
                "loss.feature_matching and loss.top_k need a gradient through samples, and drawn "
                "tokens have none: loss.feature_matching=0 loss.top_k=1"
            )
        self.reward = reward
        self.rollouts = rollouts
        self.follow = follow
        self.discount = discount
        entropy = isinstance(loss.objective, NonSaturating) and not loss.objective.relativistic
        self.squash = entropy
        # It changes slowly, so that rewards do.
        self.roller: RecurrentTextGenerator | None = None
        if reward == "rollout":
            self.roller = copy.deepcopy(self.generator).requires_grad_(False)

    def keep_average(self, ema: nn.Module) -> None:
        """Moves the roll-out generator too, which is the generator till the stages before end."""
        super().keep_average(ema)
        if self.roller is None:
            return
        # Till then the roll-outs would come from a generator that knows nothing.
        early = self.progress.step <= self.teaching.steps + self.d_steps
        with torch.no_grad():
            for old, new in zip(self.roller.parameters(), self.generator.parameters(), strict=True):
                old.lerp_(new, 1.0 if early else 1 - self.follow)

    def fake(self, batch: Batch) -> Tensor:
        """Draws one line of tokens per real one."""
        return self.generator.to_items(self.draw_tokens(batch))

    def draw_tokens(self, batch: Batch) -> Tensor:
        """Draws tokens (N,T), as many lines as the batch has."""
        image = batch["image"]
        # One uniform number for each token, drawn before the loop: the draws do not depend on it.
        share = torch.rand(len(image), self.generator.steps, device=image.device)
        return self.generator.draw(share, batch.get("label"))

    def g_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Costs by REINFORCE: - mean of (reward - its mean) / deviation x log p."""
        tokens = self.draw_tokens(batch)
        with torch.no_grad():
            self.discriminator.eval()  # a reward is no place for dropout
            reward = self.pay(tokens, batch)
            self.discriminator.train()
            advantage = (reward - reward.mean(0)) / (reward - reward.mean(0)).std().clamp(min=1e-6)
        log_prob = self.generator.log_prob(tokens, batch.get("label"))
        loss = -(advantage * log_prob).mean()
        return loss, {"adv": loss.detach(), "reward": reward.mean()}

    def pay(self, tokens: Tensor, batch: Batch) -> Tensor:
        """Gives each token (N,T) of lines its reward (N,T)."""
        if self.reward == "step":
            scores = self.score(tokens, batch.get("label")).flatten(1)
            # ScratchGAN's r = 2 D - 1: a token that could be either earns nothing.
            steps = 2 * scores - 1 if self.squash else scores
            later = torch.zeros_like(steps[:, 0])
            paid = []
            # From the end: what a token earns holds what comes after it, discounted once a step.
            for t in reversed(range(steps.shape[1])):
                later = steps[:, t] + self.discount * later
                paid.append(later)
            return torch.stack(paid[::-1], 1)
        assert self.roller is not None
        label = batch.get("label")
        lines = self.roller.roll_out(tokens, self.rollouts, label)  # (T-1,n,N,T)
        many = None if label is None else label.repeat(self.rollouts, *[1] * (label.ndim - 1))
        paid = [
            self.score(some.flatten(0, 1), many).flatten(1).mean(1).unflatten(0, some.shape[:2])
            for some in lines
        ]
        # Nothing is left to roll out behind the last token: the line itself is scored.
        last = self.score(tokens, label).flatten(1).mean(1)
        return torch.stack([*(scores.mean(0) for scores in paid), last], 1)

    def score(self, tokens: Tensor, label: Tensor | None) -> Tensor:
        """Scores lines (N,T), as probabilities where the loss is a cross-entropy."""
        critic = self.critic({"image": tokens} | ({} if label is None else {"label": label}))
        scores = critic(self.generator.to_items(tokens)).float()
        return scores.sigmoid() if self.squash else scores
