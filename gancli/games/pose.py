"""Pose transfer: a person's picture and another pose, to that person in that pose."""

from __future__ import annotations

from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from gancli.augment.base import Augment
from gancli.critic import BoundCritic
from gancli.game import Batch, Discriminator, Logs
from gancli.games.pool import blank_batch
from gancli.games.several import sum_losses
from gancli.games.translation import Direction, Translation, check_critic_fits
from gancli.losses.adversarial import AdversarialLoss
from gancli.networks.layers import size_of
from gancli.networks.patn import PATN
from gancli.networks.perceptual import Perceptual

Judged = Literal["both", "appearance", "shape", "none"]


class Pose(Translation):
    """Zhu 2019: a generator that sees both poses, and two discriminators.

    That of appearance sees a picture beside the source: is it the same person? That of shape sees
    it beside the pose: is it in this pose? The generator's adversarial term is their mean.

    generator: source and both poses -> the picture
    discriminator: "appearance" and "shape"; judged: which of them there are
    foreground_weight: how many times more a pixel counts in the distance where the target is not
    background (1 + M in Ma 2017)
    """

    generator: PATN
    discriminator: nn.ModuleDict | None
    adversarial: nn.ModuleDict | None  # type: ignore[assignment]  # a loss for each discriminator
    extras = ("pose",)

    def __init__(
        self,
        *,
        generator: PATN,
        discriminator: dict[str, nn.Module],
        resolution: int | list[int],
        channels: int,
        loss: AdversarialLoss | None = None,
        augment: Augment | None = None,
        perceptual: Perceptual | None = None,
        judged: Judged = "both",
        adversarial_weight: float = 5.0,
        perceptual_weight: float = 10.0,
        pixel_weight: float = 10.0,
        pixel: Literal["l1", "l2", "huber"] = "l1",
        foreground_weight: float = 0.0,
        warmup: int = 0,
    ):
        wanted = {"both": ("appearance", "shape"), "none": ()}.get(judged, (judged,))
        if loss is None:
            wanted = ()
        lost = [name for name in wanted if name not in discriminator]
        if lost:
            raise ValueError(
                f"model.judged={judged}, and model.discriminator has no {' and no '.join(lost)}"
            )
        if foreground_weight < 0:
            raise ValueError(f"foreground_weight={foreground_weight}: give 0 or more")
        for network in discriminator.values():
            check_critic_fits(network, size_of(resolution))
        critics = nn.ModuleDict({name: discriminator[name] for name in wanted})
        super().__init__(
            generator=generator,
            discriminator=critics if wanted else None,
            resolution=resolution,
            channels=channels,
            loss=loss if wanted else None,
            augment=augment,
            perceptual=perceptual,
            judged=1,
            adversarial_weight=adversarial_weight,
            perceptual_weight=perceptual_weight,
            pixel_weight=pixel_weight,
            pixel=pixel,
            warmup=warmup,
        )
        self.foreground_weight = foreground_weight

    @property
    def needs(self) -> tuple[str, ...]:
        """Two pictures of a person, their poses and, where it weighs more, what is foreground."""
        front = ("front",) if self.foreground_weight else ()
        return ("a", "b", "pose_a", "pose_b", *front)

    def example(self, n: int, channels: int, size: tuple[int, int]) -> Batch:
        """Makes a batch of zeros, of the pictures' size."""
        pictures = blank_batch(n, ("a", "b"), channels=channels, source=self.size, target=self.size)
        pose = torch.zeros(n, self.generator.pose_channels, *self.size)
        front = {"front": torch.zeros(n, 1, *self.size)} if self.foreground_weight else {}
        return pictures | {"pose_a": pose, "pose_b": pose.clone()} | front

    def describe_critic_input(self) -> str:
        """Says what the discriminators are shown."""
        return "a picture beside its source, or beside its pose"

    def sample(self, inputs: Batch, generator: nn.Module, *, direction: Direction = "ab") -> Tensor:
        """Moves people into other poses.

        inputs: "a" (N,C,H,W), and the poses "pose_a" of it and "pose_b" of what is made, (N,P,H,W).
        """
        return generator(inputs["a"], torch.cat([inputs["pose_a"], inputs["pose_b"]], 1))

    def draw_panels(self, batch: Batch, generator: nn.Module) -> dict[str, Tensor]:
        """Makes what a sample grid shows side by side, by name."""
        return {
            "source": batch["a"],
            "pose": show_pose(batch["pose_b"], batch["a"].shape[1]),
            "output": self.sample(batch, generator),
            "target": batch["b"],
        }

    def bind_critic(self, name: str, batch: Batch) -> BoundCritic:
        """Binds the discriminator of a name to what it sees beside a picture."""
        assert self.discriminator is not None
        network = cast(Discriminator, self.discriminator[name])
        # Each sees one half of the question, so that neither can pass by answering the other half.
        beside = batch["a" if name == "appearance" else "pose_b"]
        return BoundCritic(
            network.trunk,
            network.head,
            noise=self.get_loss(name).noise(self.progress),
            join=partial(self.join_source, beside),
        )

    def get_loss(self, name: str) -> AdversarialLoss:
        """Returns the loss of a discriminator: each has a copy of its own."""
        assert self.adversarial is not None
        loss = self.adversarial[name]
        assert isinstance(loss, AdversarialLoss)
        return loss

    def d_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Computes the sum of the discriminators' losses."""
        assert self.discriminator is not None
        fake = self.make_fake(batch)
        return sum_losses(
            {
                name: self.get_loss(name).d(
                    self.bind_critic(name, batch), batch["b"], fake, self.progress
                )
                for name in self.discriminator
            }
        )

    def g_loss(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Computes the mean of the adversarial terms, and the distance to the target."""
        assert self.discriminator is not None
        fake = self.make_fake(batch)
        adversarial, logs = sum_losses(
            {
                name: self.get_loss(name).g(
                    self.bind_critic(name, batch), batch["b"], fake, self.progress
                )
                for name in self.discriminator
            }
        )
        # So that the weight means the same with one discriminator and with two.
        mean = adversarial / len(self.discriminator)
        distance, parts = self.measure_distances(fake, batch, weight=self.pixel_weight)
        return self.adversarial_weight * mean + distance, logs | parts

    def measure_distances(
        self, fake: Tensor, batch: Batch, *, weight: float, pixels_only: bool = False
    ) -> tuple[Tensor, Logs]:
        """Measures as `Translation` does, with more weight on the foreground of the target."""
        total, logs = super().measure_distances(fake, batch, weight=weight, pixels_only=pixels_only)
        if self.foreground_weight:
            # The mean over all pixels of M |fake - b|: with the term above it is (1 + w M) |...|.
            front = self.distance(fake.float() * batch["front"], batch["b"] * batch["front"])
            total = total + weight * self.foreground_weight * front
            logs["front"] = front.detach()
        return total, logs


def show_pose(pose: Tensor, channels: int) -> Tensor:
    """Makes pose maps (N,P,H,W) in [-1,1] pictures of so many channels; alpha is opaque."""
    if pose.shape[1] == channels:
        return pose
    # All joints in one picture: the brightest map wins.
    brightest = pose.amax(1, keepdim=True)
    shown = brightest.expand(-1, channels, -1, -1).clone()
    if channels in (2, 4):
        shown[:, -1] = 1
    return shown
