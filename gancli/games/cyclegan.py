"""CycleGAN: two domains without pairs, and a generator for each way.

There and back again has to be where it began.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.augment.base import Augment, follow
from gancli.critic import BoundCritic
from gancli.errors import UserError
from gancli.game import Batch, Discriminator, Game, Logs, Phase, members_of
from gancli.games.pool import ImagePool, blank_batch
from gancli.games.several import sum_losses
from gancli.games.translation import Direction, check_critic_fits, check_source_fits
from gancli.losses.adversarial import AdversarialLoss
from gancli.networks.layers import size_of
from gancli.networks.translation import Translator


class CycleGAN(Game):
    """Zhu 2017, section 3.

    generator: ab and ba; discriminator: a and b, one for each domain. A batch has "a" and
    "b".

    cycle: weight of the L1 distance between an image and what comes back of it. identity: weight,
    as a share of `cycle`, of the distance between an image and what the generator that makes its
    domain makes of it; 0 leaves it out (section 5.2)
    pool: fakes in each image history buffer. resolution, channels: of the images
    """

    generator: nn.ModuleDict
    discriminator: nn.ModuleDict
    adversarial: nn.ModuleDict
    directions = ("ab", "ba")

    def __init__(
        self,
        *,
        generator: dict[str, Translator],
        discriminator: dict[str, nn.Module],
        loss: AdversarialLoss,
        resolution: int | list[int],
        channels: int,
        augment: Augment | None = None,
        cycle: float = 10.0,
        identity: float = 0.5,
        pool: int = 50,
    ):
        for name, parts, wanted in (
            ("generator", generator, {"ab", "ba"}),
            ("discriminator", discriminator, {"a", "b"}),
        ):
            if set(parts) != wanted:
                raise ValueError(
                    f"model.{name} has {', '.join(parts)}: it needs {' and '.join(sorted(wanted))}"
                )
        if cycle < 0 or identity < 0:
            raise ValueError(
                f"cycle={cycle}, identity={identity}: give 0 or more (the paper's: 10 and 0.5)"
            )
        super().__init__(
            generator=nn.ModuleDict(generator),
            discriminator=nn.ModuleDict(discriminator),
            loss=loss,
        )
        self.size = size_of(resolution)
        self.augment = augment
        self.cycle = cycle
        self.identity = identity
        for network in generator.values():
            check_source_fits(network, self.size)
        for critic in discriminator.values():
            check_critic_fits(critic, self.size)
        self.pools = nn.ModuleDict({side: ImagePool(pool, (channels, *self.size)) for side in "ab"})

    @property
    def needs(self) -> tuple[str, ...]:
        """Asks for images "a" and "b" (N,C,H,W) of both domains, which are no pairs."""
        return ("a", "b")

    def phases(self) -> list[Phase]:
        """Plays g, then d on fakes out of the history buffers."""
        d, g = super().phases()
        # The generators move first, as in the reference code.
        return [g, replace(d, prepare=self.swap_fakes)]

    def inputs(self, n: int, rng: torch.Generator | None) -> Batch:
        """Raises UserError: there is nothing to draw."""
        raise UserError(
            "this model makes images out of images, and not out of noise",
            "gan translate ckpt=RUN input=FOLDER out=FOLDER",
        )

    def example(self, n: int, channels: int, size: tuple[int, int]) -> Batch:
        """Makes a batch as `Game.example` does, of "a" and "b" at the training size."""
        return blank_batch(n, self.needs, channels=channels, source=self.size, target=self.size)

    def describe_critic_input(self) -> str:
        """Tells that each discriminator sees one domain's images alone."""
        return "translated images"

    def translator(self, generator: nn.Module, direction: str = "ab") -> Translator:
        """Finds the network of a direction, which tells what sizes it takes and gives."""
        assert isinstance(generator, nn.ModuleDict)
        network = generator[direction]
        assert isinstance(network, Translator)
        return network

    def sample(self, inputs: Batch, generator: nn.Module, *, direction: Direction = "ab") -> Tensor:
        """Translates an image of the domain that is left into the other one.

        inputs: "a" (N,C,H,W); the likeness has the same size.
        """
        return self.translator(generator, direction)(inputs["a"])

    def draw_panels(self, batch: Batch, generator: nn.Module) -> dict[str, Tensor]:
        """Makes the panels of a sample grid: both domains, there and back."""
        ab = self.translator(generator, "ab")
        ba = self.translator(generator, "ba")
        b = ab(batch["a"])
        a = ba(batch["b"])
        return {
            "a": batch["a"],
            "a to b": b,
            "and back to a": ba(b),
            "b": batch["b"],
            "b to a": a,
            "and back to b": ab(a),
        }

    def cycle_error(self, batch: Batch, generator: nn.Module) -> Tensor:
        """Measures the mean distance (N,) between images and what comes back of them, both ways.

        Per value in [-1,1].
        """
        ab = self.translator(generator, "ab")
        ba = self.translator(generator, "ba")
        of_a = (ba(ab(batch["a"])) - batch["a"]).abs().flatten(1).mean(1)
        of_b = (ab(ba(batch["b"])) - batch["b"]).abs().flatten(1).mean(1)
        return (of_a + of_b) / 2

    def critic(self, side: str) -> BoundCritic:
        """Binds the discriminator of domain `side` ("a" or "b"); it sees no source."""
        network = cast(Discriminator, self.discriminator[side])
        return BoundCritic(
            network.trunk,
            network.head,
            augment=self.augment,
            noise=self.get_loss(side).noise(self.progress),
        )

    def get_loss(self, side: str) -> AdversarialLoss:
        """Finds the loss of domain `side`: each has running means of its own."""
        loss = self.adversarial[side]
        assert isinstance(loss, AdversarialLoss)
        return loss

    @torch.no_grad()
    def swap_fakes(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Makes fakes of the whole batch and swaps some for older ones (Zhu 2017, section 4).

        Args:
            batch: "a", "b" (N,C,H,W) in [-1,1].
            rng: Draws on the CPU which are swapped.

        Returns:
            The batch with "fake_a" and "fake_b", both without a graph.
        """
        # By the generators after their step: they have moved first.
        fakes = {"a": self.generator["ba"](batch["b"]), "b": self.generator["ab"](batch["a"])}
        pools = members_of(self.pools, ImagePool)
        return batch | {f"fake_{side}": pools[side].swap(fakes[side], rng) for side in "ab"}

    def constrain(self, logs: Logs) -> None:
        """Clips where the loss clips, and moves p of an adaptive augmentation."""
        super().constrain(logs)
        follow(self.augment, logs, self.progress.nimg)

    def d_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Adds up the losses of both discriminators, on fakes out of the buffers."""
        return sum_losses(
            {
                side: self.get_loss(side).d(
                    self.critic(side), batch[side], batch[f"fake_{side}"], self.progress
                )
                for side in "ab"
            }
        )

    def g_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Adds up adversarial, cycle and identity terms of both directions (Zhu 2017, equation 3).

        Logs have "cycle" and "identity" without their weights: sums of two mean absolute distances,
        per value in [-1,1].
        """
        a = batch["a"]
        b = batch["b"]
        ab = self.generator["ab"]
        ba = self.generator["ba"]
        fakes = {"a": ba(b), "b": ab(a)}
        loss, logs = sum_losses(
            {
                side: self.get_loss(side).g(
                    self.critic(side), batch[side], fakes[side], self.progress
                )
                for side in "ab"
            }
        )
        # A mean over values, as in the authors' code: cycle=10 does not depend on the size.
        cycle = F.l1_loss(ba(fakes["b"]).float(), a) + F.l1_loss(ab(fakes["a"]).float(), b)
        loss, logs["cycle"] = loss + self.cycle * cycle, cycle.detach()
        if self.identity:
            same = F.l1_loss(ba(a).float(), a) + F.l1_loss(ab(b).float(), b)
            # Its weight is a share of the cycle's, as the authors' lambda_idt is.
            loss, logs["identity"] = loss + self.identity * self.cycle * same, same.detach()
        return loss, logs
