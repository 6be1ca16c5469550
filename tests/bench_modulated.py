"""Not a test: both ways of StyleGAN2's modulated convolution, as ratios of times.

A kernel for each sample (grouped) against one kernel with channels scaled before and after it, in
alternating rounds of one run.

python tests/bench_modulated.py [cpu|cuda]
"""

from __future__ import annotations

import statistics
import sys
import time
from unittest import mock

import torch
from torch import Tensor

from gancli.networks.stylegan2 import ModulatedConv2d

ROUNDS = 7
LAYERS = (
    (16, 128, False),
    (32, 64, False),
    (32, 64, True),
    (64, 64, False),
    (256, 32, False),
    (128, 32, True),
)  # pixels, channels, up


def seconds(
    layer: ModulatedConv2d, x: Tensor, w: Tensor, *, grouped: bool, twice: bool
) -> tuple[float, Tensor]:
    """One pass and its gradient, or, as a path length needs it, the gradient of a gradient; and
    what came out.
    """
    wait = torch.cuda.synchronize if x.device.type == "cuda" else lambda: None
    with mock.patch.object(ModulatedConv2d, "grouped", staticmethod(lambda x: grouped)):
        wait()
        start = time.perf_counter()
        y = layer(x, w)
        if twice:
            (grad,) = torch.autograd.grad((y * torch.ones_like(y)).sum(), w, create_graph=True)
            grad.square().sum().backward()
        else:
            y.sum().backward()
        wait()
        return time.perf_counter() - start, y.detach()


def main(device: str) -> None:
    torch.manual_seed(0)
    for size, channels, up in LAYERS:
        layer = ModulatedConv2d(channels, channels, w_dim=64, up=up).to(device)
        x, w = (
            torch.randn(*shape, device=device, requires_grad=True)
            for shape in ((8, channels, size, size), (8, 64))
        )
        for twice in (False, True):
            found = []
            for _ in range(ROUNDS):
                (one, first), (other, second) = (
                    seconds(layer, x, w, grouped=grouped, twice=twice) for grouped in (True, False)
                )
                assert torch.allclose(first, second, atol=1e-3)
                found.append(one / other)
            print(
                f"{size} px{' doubled' if up else ''}, {channels} channels, batch 8, "
                f"{'second' if twice else 'first'} derivatives: "
                f"grouped takes {statistics.median(found):.2f} times as long ({min(found):.2f} to "
                f"{max(found):.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "cpu")
