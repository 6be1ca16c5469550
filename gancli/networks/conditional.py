"""How a class enters a network without planes: through norms, or through the score."""

from __future__ import annotations

from torch import Tensor, nn

from gancli.networks.attention import Init
from gancli.networks.spectral import spectral as spectrally_normalised


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose gain (1 at first) and bias (0) are looked up by class.

    x (N,channels,H,W), label (N,) -> (N,channels,H,W) (Dumoulin 2017; de Vries 2017).

    Args:
        channels: of x.
        classes: how many.
        eps: added to the variance; 2e-5 in SNGAN's code, 1e-5 in BigGAN's.
    """

    def __init__(self, channels: int, classes: int, *, eps: float = 1e-5):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=eps, affine=False)
        self.gain = nn.Embedding(classes, channels)
        self.bias = nn.Embedding(classes, channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        """Applies the layer; the class says the shapes."""
        assert label is not None, "a conditional network was called without labels"
        x = self.norm(x)
        gain, bias = (
            table(label).to(x.dtype)[:, :, None, None] for table in (self.gain, self.bias)
        )
        return x * gain + bias


class Projection(nn.Module):
    """What a class adds to the score: <v_label, h> (Miyato and Koyama 2018, equation 3).

    h (N,features), label (N,) -> (N,1).

    Args:
        features: numbers in h.
        classes: how many.
        spectral: the table of v, (classes,features), is divided by its spectral norm.
        init: fills the table.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        spectral: bool = True,
        *,
        init: Init = nn.init.xavier_uniform_,
    ):
        super().__init__()
        table = nn.Embedding(classes, features)
        init(table.weight)
        self.table = spectrally_normalised(table, spectral)

    def forward(self, h: Tensor, label: Tensor | None) -> Tensor:
        """Applies the layer; the class says the shapes."""
        assert label is not None, "a conditional network was called without labels"
        return (self.table(label) * h).sum(1, keepdim=True)
