"""RCGAN's pair: a recurrent generator and discriminator of series (Esteban 2017).

There is a latent and a score for each step. Sums over many steps lose too much in bf16: recurrent
networks work in full precision, whatever the run's.
"""

from __future__ import annotations

import contextlib
from typing import Literal

import torch
from torch import Tensor, nn

from gancli.networks.layers import Output, to_range
from gancli.networks.series import check_length, read_length, repeat_label
from gancli.networks.style_layers import disable_autocast

Cell = Literal["lstm", "gru"]


class RecurrentGenerator(nn.Module):
    """z (N,T*z_dim+series_z_dim), label (N,) -> (N,channels,T,1).

    Each step gets z_dim numbers of the latent; `self.z_dim` are those of a whole series.

    Args:
        resolution: [T,1], any T from 2 on.
        channels: features of a step.
        z_dim: numbers in the latent of each step.
        series_z_dim: numbers more that every step gets, the same for all; the paper has none.
        hidden: units of a recurrent layer.
        layers: recurrent layers, one on the other.
        cell: "lstm" or "gru".
        output: "tanh" for values in [-1,1], or "linear".
        classes: of the data set.
        conditional: the label stands beside the latent of each step as a one-hot vector.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        z_dim: int = 5,
        series_z_dim: int = 0,
        hidden: int = 100,
        layers: int = 1,
        cell: Cell = "lstm",
        output: Output = "tanh",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        self.steps = read_length(resolution)
        self.classes = classes if conditional else 0
        self.shared = series_z_dim
        self.z_dim = self.steps * z_dim + series_z_dim
        self.rnn = make_rnn(cell, z_dim + series_z_dim + self.classes, hidden, layers)
        self.out = make_output(hidden, channels)
        self.to_range = to_range(output)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes series of latents, and labels where the network is conditional."""
        with disable_autocast(z):
            x = cut_latent(z.float(), steps=self.steps, shared=self.shared)
            if self.classes:
                hot = repeat_label(label, self.classes, x, steps=self.steps, dim=1)
                x = torch.cat([x, hot], 2)
            x = self.to_range(self.out(self.rnn(x)[0]))
        return x.transpose(1, 2).unsqueeze(3)


class RecurrentDiscriminator(nn.Module):
    """trunk: x (N,channels,T,1), label (N,) -> (N,T,hidden); head: -> scores (N,T).

    The score of a step knows the steps before it (section 3.1).

    Args:
        resolution: as the generator's.
        channels: features of a step.
        hidden: units of a recurrent layer.
        layers: recurrent layers, one on the other.
        cell: "lstm" or "gru".
        classes: of the data set.
        conditional: the label stands beside each step as a one-hot vector.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        hidden: int = 100,
        layers: int = 1,
        cell: Cell = "lstm",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        self.steps = read_length(resolution)
        self.classes = classes if conditional else 0
        self.feature_dim = self.steps * hidden
        self.rnn = make_rnn(cell, channels + self.classes, hidden, layers)
        self.out = make_output(hidden, 1)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of series."""
        check_length(x, self.steps)
        with disable_autocast(x), allow_double_backward(x):
            h = x.float().squeeze(3).transpose(1, 2)
            if self.classes:
                hot = repeat_label(label, self.classes, h, steps=self.steps, dim=1)
                h = torch.cat([h, hot], 2)
            features: Tensor = self.rnn(h)[0]
        return features

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores the features of each step."""
        with disable_autocast(h):
            return self.out(h.float()).squeeze(2)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores series: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


def make_rnn(cell: Cell, inputs: int, hidden: int, layers: int) -> nn.LSTM | nn.GRU:
    """Makes recurrent layers (N,T,inputs) -> (N,T,hidden).

    An LSTM forgets little at first: the bias of its forget gate is 1 (Jozefowicz 2015).
    """
    if min(inputs, hidden, layers) < 1:
        raise ValueError(f"z_dim or channels={inputs}, hidden={hidden}, layers={layers}: give 1 up")
    if cell == "gru":
        return nn.GRU(inputs, hidden, layers, batch_first=True)
    if cell != "lstm":
        raise ValueError(f"cell={cell!r} is not known: use lstm or gru")
    lstm = nn.LSTM(inputs, hidden, layers, batch_first=True)
    with torch.no_grad():
        for name, values in lstm.named_parameters():
            if "bias" in name:  # there are two of each gate, which are added
                values[hidden : 2 * hidden] = 1.0 if "_ih_" in name else 0.0
    return lstm


def cut_latent(z: Tensor, *, steps: int, shared: int) -> Tensor:
    """Cuts a latent into one for each step: (N,steps*own+shared) -> (N,steps,own+shared).

    Sampling and slerp see a plain vector, whose last `shared` numbers every step gets.
    """
    own = z[:, : z.shape[1] - shared].reshape(len(z), steps, -1)
    return torch.cat([own, z[:, None, z.shape[1] - shared :].expand(-1, steps, -1)], 2)


def make_output(hidden: int, features: int) -> nn.Linear:
    """Makes the layer of each step, of N(0,1) within two deviations, as the authors' model.py."""
    layer = nn.Linear(hidden, features)
    for values in layer.parameters():
        nn.init.trunc_normal_(values)
    return layer


def allow_double_backward(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Keeps cuDNN out where a gradient at x may be asked for.

    cuDNN's recurrent layers cannot be differentiated twice, as a gradient penalty does; PyTorch's
    own kernels can.
    """
    if x.is_cuda and x.requires_grad:
        return torch.backends.cudnn.flags(enabled=False)
    return contextlib.nullcontext()
