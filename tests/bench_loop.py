"""Not a test: the trainer against a bare hand-written loop.

Both have the same networks, EMA, precision and critic calls.

python tests/bench_loop.py [KEY=VALUE ...]

Short rounds of both alternate, so that a busy machine slows both alike.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from helpers import frozen, trainer_for

from gancli.ema import ema_beta, update_ema
from gancli.game import Progress

ROUNDS = 15
STEPS = 10


class BareLoop:
    """What one would write by hand for a conditional GAN with the non-saturating loss."""

    def __init__(self, config: dict):
        trainer = trainer_for(config)
        self.g = trainer.game.generator
        self.d = trainer.game.discriminator
        self.stream = trainer.stream
        self.average = copy.deepcopy(self.g).eval()
        self.batch_size = config["trainer"]["batch_size"]
        images = [self.stream(n, ("image", "label")) for n in range(0, 1792, self.batch_size)]
        self.images = torch.cat([b["image"] for b in images])
        self.labels = torch.cat([b["label"] for b in images])
        self.opt_g = torch.optim.Adam(self.g.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True)
        self.opt_d = torch.optim.Adam(self.d.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True)
        self.progress = Progress()

    def step(self):
        index = torch.randint(len(self.images), (self.batch_size,))
        real = self.images[index]
        label = self.labels[index]
        self.g.requires_grad_(False)
        self.d.requires_grad_(True)
        fake = self.g(torch.randn(self.batch_size, 100), label)
        loss = F.softplus(-self.d(real, label)).mean() + F.softplus(self.d(fake, label)).mean()
        self.opt_d.zero_grad()
        loss.backward()
        self.opt_d.step()
        self.g.requires_grad_(True)
        self.d.requires_grad_(False)
        loss = F.softplus(-self.d(self.g(torch.randn(self.batch_size, 100), label), label)).mean()
        self.opt_g.zero_grad()
        loss.backward()
        self.opt_g.step()
        self.progress.nimg += self.batch_size
        update_ema(
            self.average,
            self.g,
            ema_beta(self.batch_size, self.progress.nimg, half_life_kimg=2, rampup=0.05),
        )


def timed(loop) -> float:
    started = time.perf_counter()
    for _ in range(STEPS):
        loop.step()
    return (time.perf_counter() - started) / STEPS


def main() -> None:
    config = frozen("model=cgan", "trainer.device=cpu", "trainer.precision=fp32", *sys.argv[1:])
    trainer = trainer_for(config)
    bare = BareLoop(config)
    timed(trainer), timed(bare)
    pairs = [(timed(trainer), timed(bare)) for _ in range(ROUNDS)]
    trainer.read_flags(wait=True)
    ratio = statistics.median(a / b for a, b in pairs)
    ours, theirs = (1000 * statistics.median(times) for times in zip(*pairs, strict=True))
    print(
        f"gancli {ours:.1f} ms/step, bare loop {theirs:.1f} ms/step, "
        f"median ratio of {ROUNDS} rounds {ratio:.3f} ({torch.get_num_threads()} threads)"
    )


if __name__ == "__main__":
    main()
