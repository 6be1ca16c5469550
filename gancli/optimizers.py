"""One optimizer per player: a torch.optim class plus the learning-rate schedule, L1 and clipping of its config."""
from __future__ import annotations

import dataclasses

import torch
from torch import nn

from gancli.builder import build, signature_of
from gancli.config import PlayerConfig
from gancli.schedules import lr_factor

OURS = tuple(field.name for field in dataclasses.fields(PlayerConfig))


class Player:
    """modules: the networks that this player moves; what is frozen in them now stays frozen.

    spec: `{_target_: torch.optim.Adam, lr: ..., clip: ..., ...}`; lazy: k, if it also moves in a phase due every k
    steps; then c = k / (k + 1) corrects Adam: lr * c, betas ** c (StyleGAN2, appendix B)."""

    def __init__(self, modules: list[nn.Module], spec: dict, *, lazy: int | None = None):
        self.modules = modules
        # dict: a module shared by two networks is moved once. What is frozen now must not be unfrozen with its player.
        self.parameters = list(dict.fromkeys(p for m in modules for p in m.parameters() if p.requires_grad))
        self.ours = PlayerConfig(**{key: spec[key] for key in OURS if key in spec})
        theirs = {key: value for key, value in spec.items() if key not in OURS}
        c = 1.0 if lazy is None else lazy / (lazy + 1)
        self.lr = theirs["lr"] * c
        if "betas" in theirs:
            theirs["betas"] = [beta**c for beta in theirs["betas"]]
        if "fused" in signature_of(theirs["_target_"]):
            theirs.setdefault("fused", True)  # one kernel for all tensors, on every device that we support
        self.optimizer = build(theirs | {"lr": self.lr}, params=self.parameters)

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
        if ours.clip is not None:
            for module in self.modules:
                torch.nn.utils.clip_grad_norm_(module.parameters(), ours.clip)
        factor = lr_factor(nimg, kind=ours.schedule, start_kimg=ours.start_kimg, end_kimg=ours.end_kimg,
                           final=ours.final, step_kimg=ours.step_kimg, gamma=ours.gamma, warmup_kimg=ours.warmup_kimg)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * factor
        self.optimizer.step()
