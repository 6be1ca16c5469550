"""TimeGAN's five recurrent networks: series to codes and back, noise to codes (Yoon 2019).

A code of a step lies in [0,1]^hidden. Codes are kept as items are, (N,hidden,T,1), so that whatever
sees series sees them too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gancli.networks.layers import Output, to_range
from gancli.networks.recurrent import Cell, allow_double_backward, cut_latent, make_rnn
from gancli.networks.series import check_length, read_length, repeat_label
from gancli.networks.style_layers import disable_autocast


class StepLayers(nn.Module):
    """x (N,n_in,T,1), label (N,) -> (N,n_out,T,1): recurrent layers, then one for each step.

    They work in full precision, whatever the run's.

    Args:
        steps: T.
        n_in: features of a step.
        n_out: numbers made of each step.
        hidden: units of a recurrent layer.
        layers: recurrent layers, one on the other.
        cell: "gru" or "lstm".
        last: what follows the last layer.
        classes: of the labels that stand beside each step as a one-hot vector; 0: no labels.
    """

    def __init__(
        self,
        *,
        steps: int,
        n_in: int,
        n_out: int,
        hidden: int,
        layers: int,
        cell: Cell,
        last: nn.Module,
        classes: int = 0,
    ):
        super().__init__()
        self.steps = steps
        self.classes = classes
        self.rnn = init_glorot_gates(make_rnn(cell, n_in + classes, hidden, layers))
        self.out = nn.Linear(hidden, n_out)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.last = last

    def run(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Runs the recurrent layers alone: (N,n_in,T,1) -> (N,T,hidden)."""
        check_length(x, self.steps)
        with disable_autocast(x), allow_double_backward(x):
            steps = x.float().squeeze(3).transpose(1, 2)
            if self.classes:
                hot = repeat_label(label, self.classes, steps, steps=self.steps, dim=1)
                steps = torch.cat([steps, hot], 2)
            hidden: Tensor = self.rnn(steps)[0]
        return hidden

    def finish(self, hidden: Tensor) -> Tensor:
        """Applies the last layer: (N,T,hidden) -> (N,n_out,T,1)."""
        with disable_autocast(hidden):
            made: Tensor = self.last(self.out(hidden.float()))
        return made.transpose(1, 2).unsqueeze(3)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Applies all layers."""
        return self.finish(self.run(x, label))


class TimeGANEmbedder(StepLayers):
    """x (N,channels,T,1), label (N,) -> codes (N,hidden,T,1) in [0,1].

    Args:
        resolution: [T,1], any T from 2 on.
        channels: features of a step.
        hidden: numbers in a code, and units of a recurrent layer.
        layers: recurrent layers, one on the other.
        cell: "gru" or "lstm".
        classes: of the data set.
        conditional: the label stands beside each step as a one-hot vector.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        hidden: int = 24,
        layers: int = 3,
        cell: Cell = "gru",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__(
            steps=read_length(resolution),
            n_in=channels,
            n_out=hidden,
            hidden=hidden,
            layers=layers,
            cell=cell,
            last=nn.Sigmoid(),
            classes=classes if conditional else 0,
        )


class TimeGANGenerator(nn.ModuleDict):
    """z (N,T*z_dim+series_z_dim), label (N,) -> (N,channels,T,1), by way of three networks.

    generator: latents to codes. supervisor: codes to those of the next step. recovery: codes to
    series.

    Args:
        resolution: as the embedder's.
        channels: features of a step.
        z_dim: numbers in the latent of each step; `self.z_dim` are those of a whole series.
        series_z_dim: numbers more that every step gets, the same for all; the paper has none.
        hidden: as the embedder's.
        layers: recurrent layers, one on the other; the supervisor has one fewer, but one at least.
        cell: "gru" or "lstm".
        output: of the recovery, "linear", or "tanh" for values in [-1,1].
        classes: of the data set.
        conditional: the label stands beside each step of all three as a one-hot vector.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        z_dim: int,
        series_z_dim: int = 0,
        hidden: int = 24,
        layers: int = 3,
        cell: Cell = "gru",
        output: Output = "tanh",
        classes: int = 0,
        conditional: bool = False,
    ):
        steps = read_length(resolution)
        classes = classes if conditional else 0

        def make(n_in: int, n_out: int, layers: int, last: nn.Module) -> StepLayers:
            return StepLayers(
                steps=steps,
                n_in=n_in,
                n_out=n_out,
                hidden=hidden,
                layers=layers,
                cell=cell,
                last=last,
                classes=classes,
            )

        super().__init__(
            {
                "generator": make(z_dim + series_z_dim, hidden, layers, nn.Sigmoid()),
                "supervisor": make(hidden, hidden, max(1, layers - 1), nn.Sigmoid()),
                "recovery": make(hidden, channels, layers, to_range(output)),
            }
        )
        self.steps = steps
        self.classes = classes
        self.shared = series_z_dim
        self.z_dim = steps * z_dim + series_z_dim

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes series of latents, and labels where the networks are conditional."""
        series: Tensor = self["recovery"](self.make_codes(z, label)[1], label)
        return series

    def make_codes(self, z: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Makes codes of latents: those of the generator alone, and what the supervisor makes."""
        steps = cut_latent(z, steps=self.steps, shared=self.shared)
        raw = self["generator"](steps.transpose(1, 2).unsqueeze(3), label)
        return raw, self["supervisor"](raw, label)


class TimeGANDiscriminator(StepLayers):
    """trunk: codes (N,hidden,T,1), label (N,) -> (N,T,hidden); head: -> scores (N,T).

    It reads a series in one direction, as the authors' code does; the paper's reads it in both.

    Args:
        resolution: as the embedder's.
        hidden: as the embedder's.
        layers: recurrent layers, one on the other.
        cell: "gru" or "lstm".
        classes: of the data set.
        conditional: the label stands beside each step as a one-hot vector.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        hidden: int = 24,
        layers: int = 3,
        cell: Cell = "gru",
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__(
            steps=read_length(resolution),
            n_in=hidden,
            n_out=1,
            hidden=hidden,
            layers=layers,
            cell=cell,
            last=nn.Identity(),
            classes=classes if conditional else 0,
        )
        # Of all steps together: heads and feature matching see them as one vector.
        self.feature_dim = self.steps * hidden

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of codes."""
        return self.run(x, label)

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores the features of each step."""
        return self.finish(h).flatten(1)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores codes: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


def init_glorot_gates(rnn: nn.LSTM | nn.GRU) -> nn.LSTM | nn.GRU:
    """Fills recurrent layers as TensorFlow 1 does.

    Weights are Glorot-uniform of the matrix that makes gates of (input, state) at once; both gates
    of a GRU begin with a bias of 1, an LSTM's forget gate too, and all else is 0.
    """
    hidden = rnn.hidden_size
    gru = isinstance(rnn, nn.GRU)
    with torch.no_grad():
        for name, values in rnn.named_parameters():
            if "bias" in name:
                values.zero_()
                if "_ih_" in name:  # there are two of each gate, which are added
                    values[slice(0, 2 * hidden) if gru else slice(hidden, 2 * hidden)] = 1.0
                continue
            layer = int(name.rpartition("_l")[2])
            rows = hidden + (rnn.input_size if layer == 0 else hidden)
            # A GRU has a matrix for its two gates and one for its candidate, an LSTM one for all.
            parts = ((0, 2 * hidden), (2 * hidden, 3 * hidden)) if gru else ((0, 4 * hidden),)
            for first, last in parts:
                limit = (6 / (rows + last - first)) ** 0.5
                values[first:last].uniform_(-limit, limit)
    return rnn
