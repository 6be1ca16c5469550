"""WaveGAN's pair: one-dimensional convolutions over series and sound (Donahue 2019, appendix D).

Layers and padding are those of the authors' code, wavegan.py.
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.layers import Output, append_one_hot, to_range
from gancli.networks.series import check_length, read_length, repeat_label

L = TypeVar("L", nn.Linear, nn.Conv1d, nn.ConvTranspose1d)
LONG = 1024  # steps from which on a layer divides the length by 4, as the paper's; below it by 2


class WaveGANGenerator(nn.Module):
    """z (N,z_dim), label (N,) -> (N,channels,T,1).

    A dense layer makes the shortest level, and each transposed convolution the next longer one.

    Args:
        resolution: [T,1], any T from 2 on.
        channels: features of a step; 1 for sound.
        z_dim: numbers in a latent.
        width: channels of the longest inner level; they double at each shorter one.
        max_width: the most channels.
        kernel: steps that a convolution sees, no fewer than the stride.
        stride: what a layer divides the length by; None: 4 from 1024 steps on, and 2 below.
        layers: the most strided layers; fewer where the length would fall below 3.
        output: "tanh" for values in [-1,1], or "linear".
        classes: of the data set.
        conditional: the label stands beside z as a one-hot vector.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        z_dim: int = 100,
        width: int = 64,
        max_width: int = 1024,
        kernel: int = 25,
        stride: int | None = None,
        layers: int = 5,
        output: Output = "tanh",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        steps = read_length(resolution)
        stride = choose_stride(steps, stride, kernel)
        self.lengths = list_lengths(steps, stride, layers)[::-1]
        self.z_dim = z_dim
        self.classes = classes if conditional else 0
        count = len(self.lengths) - 1
        widths = [min(width * 2**k, max_width) for k in range(count)][::-1]
        self.width = widths[0]
        self.dense = init_glorot(nn.Linear(z_dim + self.classes, widths[0] * self.lengths[0]))
        self.ups = nn.ModuleList(
            init_glorot(nn.ConvTranspose1d(c_in, c_out, kernel, stride))
            for c_in, c_out in zip(widths, [*widths[1:], channels], strict=True)
        )
        self.crops = [pad_same(length, kernel, stride)[0] for length in self.lengths[1:]]
        self.to_range = to_range(output)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes series of latents, and labels where the network is conditional."""
        x = self.dense(append_one_hot(z, label, self.classes))
        x = x.unflatten(1, (self.width, self.lengths[0]))
        for up, crop, length in zip(self.ups, self.crops, self.lengths[1:], strict=True):
            # TensorFlow's `same`, of which torch's padding has no uneven form: cut afterwards.
            x = up(torch.relu(x)).narrow(2, crop, length)
        return self.to_range(x).unsqueeze(3)


class WaveGANDiscriminator(nn.Module):
    """trunk: x (N,channels,T,1), label (N,) -> (N,C,t) of the shortest level; head: -> (N,1).

    Args:
        resolution: as the generator's.
        channels: features of a step.
        width: as the generator's.
        max_width: the most channels.
        kernel: as the generator's.
        stride: as the generator's.
        layers: as the generator's.
        phase_shuffle: the most steps by which a level is shifted at random while training, so that
            the phase at which artefacts of transposed convolutions appear tells nothing; 0 for not
            at all. The last level is not shifted.
        classes: of the data set.
        conditional: one constant channel per class stands beside x.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        width: int = 64,
        max_width: int = 1024,
        kernel: int = 25,
        stride: int | None = None,
        layers: int = 5,
        phase_shuffle: int = 2,
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        self.steps = read_length(resolution)
        stride = choose_stride(self.steps, stride, kernel)
        lengths = list_lengths(self.steps, stride, layers)
        self.classes = classes if conditional else 0
        widths = [min(width * 2**k, max_width) for k in range(len(lengths) - 1)]
        self.feature_dim = widths[-1] * lengths[-1]
        self.downs = nn.ModuleList(
            init_glorot(nn.Conv1d(c_in, c_out, kernel, stride))
            # Not strict: the first list is one longer, and its last width is the linear layer's.
            for c_in, c_out in zip([channels + self.classes, *widths], widths, strict=False)
        )
        self.pads = [pad_same(length, kernel, stride) for length in lengths[:-1]]
        self.shuffles = nn.ModuleList(
            # A reflection is no longer than what it reflects.
            PhaseShuffle(min(phase_shuffle, length - 1))
            for length in lengths[1:-1]
        )
        self.out = init_glorot(nn.Linear(self.feature_dim, 1))

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of series."""
        check_length(x, self.steps)
        h = x.squeeze(3)
        if self.classes:
            hot = repeat_label(label, self.classes, h, steps=self.steps, dim=2)
            h = torch.cat([h, hot], 1)
        for k, (down, pad) in enumerate(zip(self.downs, self.pads, strict=True)):
            h = F.leaky_relu(down(F.pad(h, pad)), 0.2)
            if k < len(self.shuffles):
                h = self.shuffles[k](h)
        return h

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        return self.out(h.flatten(1))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores series: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


class PhaseShuffle(nn.Module):
    """(N,C,T) -> (N,C,T): a shift by k steps, the gap filled by reflection; the identity in eval.

    One k, uniform over -most to most, for the whole batch, as in the authors' code (the paper,
    section 3.3, draws one for each sample).

    Args:
        most: the most steps; below T.
    """

    def __init__(self, most: int):
        super().__init__()
        if most < 0:
            raise ValueError(f"phase_shuffle={most}: give 0 for none, or more")
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        if not self.training or self.most == 0:
            return x
        # On the host, whose generator a step seeds on every device: nothing is read back.
        return shift_phase(x, int(torch.randint(-self.most, self.most + 1, (), device="cpu")))


def shift_phase(x: Tensor, k: int) -> Tensor:
    """Shifts (N,C,T) to the right by k steps, to the left where k < 0, and reflects at the edge.

    Of slices rather than of an index or a padding, whose gradients add in any order on a GPU.
    """
    steps = x.shape[2]
    if k == 0:
        return x
    if k > 0:
        return torch.cat([x[:, :, 1 : k + 1].flip(2), x[:, :, : steps - k]], 2)
    return torch.cat([x[:, :, -k:], x[:, :, steps - 1 + k : steps - 1].flip(2)], 2)


def choose_stride(steps: int, stride: int | None, kernel: int) -> int:
    """Chooses what a layer divides the length by.

    Raises ValueError where the kernel would leave gaps.
    """
    if stride is None:
        stride = 4 if steps >= LONG else 2
    if stride < 2 or kernel < stride:
        raise ValueError(
            f"stride={stride}, kernel={kernel}: give a stride of 2 or more, and a kernel that is "
            "no shorter than it (the paper's: 4 and 25)"
        )
    return stride


def list_lengths(steps: int, stride: int, layers: int) -> list[int]:
    """Lists the lengths of the levels, from T on; a level divides the one before, rounded up.

    16384 steps in 5 layers of stride 4: 16384, 4096, 1024, 256, 64, 16. There is one layer at
    least.
    """
    if layers < 1:
        raise ValueError(f"layers={layers}: give 1 or more (the paper's: 5)")
    lengths = [steps]
    while len(lengths) <= layers:
        shorter = -(-lengths[-1] // stride)
        if shorter < 3 and len(lengths) > 1:
            break
        lengths.append(shorter)
    return lengths


def pad_same(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Returns the zeros before and after a series of a convolution with as many outputs as strides.

    TensorFlow's `same`: the odd one stands after it (10 and 11 for a kernel of 25 and stride 4).
    """
    total = (-(-length // stride) - 1) * stride + kernel - length
    return total // 2, total - total // 2


def init_glorot(layer: L) -> L:
    """Fills a layer: Glorot-uniform weights and no bias, TensorFlow's defaults."""
    nn.init.xavier_uniform_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
