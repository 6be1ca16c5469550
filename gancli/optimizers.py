"""One optimizer per player: a torch.optim class plus the learning-rate schedule, weight terms and clipping of its config."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from gancli.builder import build, signature_of
from gancli.config import PlayerConfig
from gancli.schedules import lr_factor, schedule

OURS = tuple(field.name for field in dataclasses.fields(PlayerConfig))


class Player:
    """modules: the networks that this player moves; what is frozen in them now stays frozen.

    spec: `{_target_: torch.optim.Adam, lr: ..., clip: ..., ...}`; lazy: k, if it also moves in a phase due every k
    steps; then c = k / (k + 1) corrects Adam: lr * c, betas ** c (StyleGAN2, appendix B); beta2: betas[1] by schedule."""

    def __init__(self, modules: list[nn.Module], spec: dict, *, lazy: int | None = None):
        self.modules = modules
        # dict: a module shared by two networks is moved once. What is frozen now must not be unfrozen with its player.
        self.parameters = list(
            dict.fromkeys(p for m in modules for p in m.parameters() if p.requires_grad)
        )
        self.ours = PlayerConfig(**{key: spec[key] for key in OURS if key in spec})
        theirs = {key: value for key, value in spec.items() if key not in OURS}
        self.lazy = c = 1.0 if lazy is None else lazy / (lazy + 1)
        self.lr = theirs["lr"] * c
        self.beta2 = None if self.ours.beta2 is None else schedule(self.ours.beta2)
        if "betas" in theirs:
            theirs["betas"] = [beta**c for beta in theirs["betas"]]
        if "fused" in signature_of(theirs["_target_"]):
            theirs.setdefault(
                "fused", True
            )  # one kernel for all tensors, on every device that we support
        # Trusted: whoever made this config has passed the gates, which looked at every class in it.
        self.optimizer = build(theirs | {"lr": self.lr}, trust=None, params=self.parameters)
        self.matrices = matrices(modules) if self.ours.orthogonal else []

    def begin(self) -> None:
        for p in self.parameters:
            p.requires_grad_(True)
            p.grad = None

    def step(self, nimg: int) -> None:
        """Gradients stand in .grad, averaged. nimg: real images shown so far, which schedules read."""
        ours = self.ours
        if ours.l1:
            for p in self.parameters:
                if p.grad is not None:
                    p.grad.add_(p.detach().sign(), alpha=ours.l1)
        for p in self.matrices:
            if p.grad is not None:
                p.grad.add_(orthogonal_gradient(p.detach()), alpha=ours.orthogonal)
        if ours.clip is not None:
            for module in self.modules:
                torch.nn.utils.clip_grad_norm_(module.parameters(), ours.clip)
        factor = lr_factor(
            nimg,
            kind=ours.schedule,
            start_kimg=ours.start_kimg,
            end_kimg=ours.end_kimg,
            final=ours.final,
            step_kimg=ours.step_kimg,
            gamma=ours.gamma,
            warmup_kimg=ours.warmup_kimg,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * factor
            if self.beta2 is not None:
                group["betas"] = (group["betas"][0], self.beta2(nimg) ** self.lazy)
        self.optimizer.step()


def matrices(modules: list[nn.Module]) -> list[nn.Parameter]:
    """The weights of linear and convolutional layers; embeddings stay free, as BigGAN's shared one does."""
    tables = {
        id(p)
        for m in modules
        for e in m.modules()
        if isinstance(e, nn.Embedding)
        for p in e.parameters()
    }
    return [
        p
        for m in modules
        for p in m.parameters()
        if p.requires_grad and p.ndim >= 2 and id(p) not in tables
    ]


def orthogonal_gradient(weight: Tensor) -> Tensor:
    """Gradient of |W W^T * (1 - I)|^2, W of shape (out, rest): filters shall be orthogonal, of any length (Brock 2019, eq. 3)."""
    w = weight.flatten(1)
    gram = w @ w.T
    return (4 * (gram - torch.diag(gram.diagonal())) @ w).view_as(weight)
