"""A feed-forward network that repaints images in one of several styles.

Johnson 2016; Dumoulin 2017.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.layers import Output, to_range
from gancli.networks.translation import Mirror, Translator

MOST_STYLES = 4096


class TransformerNet(Translator):
    """source (N,channels_in,H,W), style -> (N,channels_out,H,W).

    Johnson 2016, supplement, table 1, with instance norms (Ulyanov 2016) and doubled pixels instead
    of transposed convolutions (Odena 2016).

    Args:
        channels_in: of the source.
        channels_out: of what is made.
        width: channels at full size; they double at each downsampling step.
        blocks: residual blocks, 0 to 64.
        downs: downsampling steps, 0 to 5.
        styles: how many. All weights are shared but the norms' gains and biases (Dumoulin 2017,
            section 2.2). They are AdaIN's scale and shift (Huang and Belongie 2017), looked up
            instead of measured.
        output: "tanh" or "linear".
    """

    def __init__(
        self,
        *,
        channels_in: int = 3,
        channels_out: int = 3,
        width: int = 32,
        blocks: int = 5,
        downs: int = 2,
        styles: int = 1,
        output: Output = "tanh",
    ):
        super().__init__(channels_in, channels_out)
        if (
            width < 1
            or not 0 <= blocks <= 64
            or not 0 <= downs <= 5
            or not 1 <= styles <= MOST_STYLES
        ):
            raise ValueError(
                f"width={width}, blocks={blocks}, downs={downs}, styles={styles}: give 1 or more, "
                f"0 to 64, 0 to 5, and 1 to {MOST_STYLES} (the paper's: 32, 5, 2, 1)"
            )
        self.styles = styles
        self.multiple = 2**downs
        self.smallest = max(5, 2 * 2**downs)  # mirroring p pixels needs p + 1
        widths = [width * 2**k for k in range(downs + 1)]
        self.down = nn.ModuleList([StyledConv(channels_in, width, 9, styles=styles)])
        self.down.extend(
            StyledConv(a, b, 3, styles=styles, stride=2) for a, b in itertools.pairwise(widths)
        )
        self.body = nn.ModuleList(StyledBlock(widths[-1], styles) for _ in range(blocks))
        self.up = nn.ModuleList(
            StyledConv(a, b, 3, styles=styles, double=True)
            for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.end = nn.Sequential(Mirror(4), nn.Conv2d(width, channels_out, 9), to_range(output))

    def forward(
        self, source: Tensor, noise: Tensor | None = None, *, style: Tensor | None = None
    ) -> Tensor:
        """Repaints images.

        Args:
            source: (N,channels_in,H,W).
            noise: None; this network has none.
            style: (N,) int64, one for each image, or (N,styles), shares that mix them; may be left
                out where there is but one.
        """
        shares = self.shares(style, len(source), source.device)
        h = self.join_noise(source, noise)
        for layer in [*self.down, *self.body, *self.up]:
            h = layer(h, shares)
        return self.end(h)

    def shares(self, style: Tensor | None, n: int, device: torch.device) -> Tensor:
        """Returns the shares of all styles, (N,styles) float32."""
        if style is None:
            assert self.styles == 1, "a network of several styles was called without one"
            return torch.ones(n, 1, device=device)
        if style.is_floating_point():
            assert style.shape == (n, self.styles), (
                f"shares of shape {tuple(style.shape)} for {n} images and {self.styles} styles"
            )
            return style.float()
        return F.one_hot(style, self.styles).float()


class StyledConv(nn.Module):
    """(N,c_in,H,W), shares (N,styles) -> (N,c_out,H,W).

    Half the size with stride 2, or twice with `double`, which comes first.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        side: int,
        *,
        styles: int,
        stride: int = 1,
        double: bool = False,
        active: bool = True,
    ):
        super().__init__()
        self.doubles = double
        self.active = active
        self.conv = nn.Sequential(Mirror(side // 2), nn.Conv2d(c_in, c_out, side, stride))
        self.norm = StyledNorm(c_out, styles)

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        h = F.interpolate(x, scale_factor=2, mode="nearest") if self.doubles else x
        h = self.norm(self.conv(h), shares)
        return F.relu(h) if self.active else h


class StyledBlock(nn.Module):
    """(N,C,H,W), shares (N,styles) -> (N,C,H,W): two convolutions added to what came in."""

    def __init__(self, channels: int, styles: int):
        super().__init__()
        self.first = StyledConv(channels, channels, 3, styles=styles)
        self.second = StyledConv(channels, channels, 3, styles=styles, active=False)

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        """Applies the block; the class says the shapes."""
        return x + self.second(self.first(x, shares), shares)


class StyledNorm(nn.Module):
    """Instance norm with a gain (1 at first) and a bias (0) for each style.

    Shares (N,styles) mix both.
    """

    def __init__(self, channels: int, styles: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(styles, channels))
        self.bias = nn.Parameter(torch.zeros(styles, channels))

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        """Applies the layer; the class says the shapes."""
        gain, bias = (
            (shares @ table).to(x.dtype)[:, :, None, None] for table in (self.gain, self.bias)
        )
        return F.instance_norm(x) * gain + bias
