"""Networks of text: items are (N,V,T,1), T places of one-hot (or soft) vectors over V tokens.

A recurrent generator that has a likelihood and can be relaxed (Nie 2019, Kusner 2016), a
convolutional discriminator of sentences (Yu 2017), and the residual pair of Gulrajani 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancli.networks.recurrent import make_rnn
from gancli.networks.series import check_length, read_length, repeat_label
from gancli.networks.style_layers import disable_autocast

State = tuple[Tensor, Tensor]  # of an LSTM, (layers,N,hidden) each


class RecurrentTextGenerator(nn.Module):
    """z (N,T), label (N,) -> (N,V,T,1): an LSTM that draws one token after the other.

    In eval mode the number z_t decides which token stands at t, by the inverse of the distribution
    function: the same z, the same line. In training the draw is relaxed, and z is not used: with
    Gumbel noise g, softmax((logits + g) / temperature), whose argmax is a draw (section 3 of Nie
    2019). Token 0 starts a line, as in SeqGAN's code.

    Args:
        resolution: [T,1].
        channels: V, the tokens.
        embed_dim: numbers of a token's embedding.
        hidden: units of a recurrent layer.
        layers: recurrent layers, one on the other.
        straight_through: whether the relaxed draw is rounded, with the gradient of the soft one.
        classes: of the data set.
        conditional: the label stands beside each token as a one-hot vector.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        embed_dim: int = 32,
        hidden: int = 32,
        layers: int = 1,
        straight_through: bool = True,
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        self.steps = read_length(resolution)
        self.tokens = channels
        self.classes = classes if conditional else 0
        self.z_dim = self.steps
        self.straight_through = straight_through
        self.temperature = 1.0  # of the relaxed draw; a game may move it
        self.embedding = nn.Embedding(channels, embed_dim)
        self.rnn = make_rnn("lstm", embed_dim + self.classes, hidden, layers)
        self.out = nn.Linear(hidden, channels)
        # Of 0.1, as SeqGAN draws its tables; torch's default is a deviation of 1.
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(
        self, z: Tensor, label: Tensor | None = None, *, temperature: float = 1.0
    ) -> Tensor:
        """Makes lines of latents.

        Args:
            z: (N,T), standard normal.
            label: (N,) where the network is conditional.
            temperature: what logits are divided by in eval mode; below 1 lines are likelier.
        """
        if self.training:
            return self.relax(len(z), label, like=z)
        share = torch.special.ndtr(z.double())
        return self.to_items(self.draw(share, label, temperature=temperature))

    def relax(self, n: int, label: Tensor | None, *, like: Tensor) -> Tensor:
        """Draws n relaxed lines (N,V,T,1), with the global generator."""
        parts = []
        with disable_autocast(like):
            x = self.embedding.weight[:1].expand(n, -1)
            state = None
            for _ in range(self.steps):
                logits, state = self.step(x, state, label)
                # Gumbel noise is -log(-log u): at u = 0 or 1 one of the logarithms is infinite.
                noise = torch.rand_like(logits).clamp_(1e-20, 1 - 1e-7)
                y = ((logits - (-noise.log()).log()) / self.temperature).softmax(1)
                if self.straight_through:
                    hard = F.one_hot(y.argmax(1), self.tokens).to(y.dtype)
                    # The value is the rounded one, the gradient that of the soft one.
                    y = hard - y.detach() + y
                parts.append(y)
                # A mixture of embeddings by the soft token: what a lookup cannot pass, a product
                # can.
                x = y @ self.embedding.weight
        return torch.stack(parts, 2).unsqueeze(3)

    def step(self, x: Tensor, state: State | None, label: Tensor | None) -> tuple[Tensor, State]:
        """Reads an embedded token (N,embed_dim): logits (N,V) of the next one, and the state."""
        x = x.unsqueeze(1)
        if self.classes:
            x = torch.cat([x, repeat_label(label, self.classes, x, steps=1, dim=1)], 2)
        h, state = self.rnn(x, state)
        return self.out(h.squeeze(1)), state

    @torch.no_grad()
    def draw(
        self, share: Tensor, label: Tensor | None = None, *, temperature: float = 1.0
    ) -> Tensor:
        """Draws tokens (N,T) int64 by uniform numbers (N,T)."""
        with disable_autocast(share):
            x = self.embedding.weight[:1].expand(share.shape[0], -1)
            return torch.stack(self.draw_on(share, x, None, label, temperature=temperature), 1)

    def draw_on(
        self,
        share: Tensor,
        x: Tensor,
        state: State | None,
        label: Tensor | None,
        *,
        temperature: float = 1.0,
    ) -> list[Tensor]:
        """Draws a token (N,) for each column of uniform numbers (N,S), from a state on."""
        drawn = []
        for t in range(share.shape[1]):
            logits, state = self.step(x, state, label)
            # In float64: over thousands of tokens a sum in fp32 would miss 1 by more than rare
            # tokens have.
            reached = (logits / temperature).double().softmax(1).cumsum(1)
            # The first token whose sum reaches the number; the clamp serves a sum that rounding
            # keeps below it.
            token = (reached < share[:, t : t + 1]).sum(1).clamp(max=self.tokens - 1)
            drawn.append(token)
            x = self.embedding(token)
        return drawn

    @torch.no_grad()
    def roll_out(self, tokens: Tensor, n: int, label: Tensor | None = None) -> Tensor:
        """Continues lines (N,T) in n ways after each of their tokens but the last, at random.

        Returns:
            (T-1,n,N,T): the first tokens of entry t are those of the line up to t.
        """
        with disable_autocast(self.embedding.weight):
            lines = tokens.repeat(n, 1)
            many = None if label is None else label.repeat(n, *[1] * (label.ndim - 1))
            x = self.embedding.weight[:1].expand(len(tokens), -1)
            state: State | None = None
            found = []
            for t in range(self.steps - 1):
                _, state = self.step(x, state, label)
                x = self.embedding(tokens[:, t])
                h, c = state
                share = torch.rand(len(lines), self.steps - 1 - t, device=tokens.device)
                rest = self.draw_on(
                    share, x.repeat(n, 1), (h.repeat(1, n, 1), c.repeat(1, n, 1)), many
                )
                found.append(torch.cat([lines[:, : t + 1], torch.stack(rest, 1)], 1))
        return torch.stack(found).unflatten(1, (n, len(tokens)))

    def log_prob(self, tokens: Tensor, label: Tensor | None = None) -> Tensor:
        """Measures log p of each token after those before it, in nats.

        Args:
            tokens: (N,T) int64.
            label: (N,) where the network is conditional.

        Returns:
            (N,T) float32.
        """
        with disable_autocast(self.embedding.weight):
            # Moved by one, with token 0 at the start: each step sees what came before it alone.
            before = F.pad(tokens[:, :-1], (1, 0))
            x = self.embedding(before)
            if self.classes:
                hot = repeat_label(label, self.classes, x, steps=tokens.shape[1], dim=1)
                x = torch.cat([x, hot], 2)
            logits = self.out(self.rnn(x)[0])
            return logits.log_softmax(2).gather(2, tokens.unsqueeze(2)).squeeze(2)

    def to_items(self, tokens: Tensor) -> Tensor:
        """Turns tokens (N,T) into one-hot items (N,V,T,1)."""
        hot = torch.zeros(tokens.shape[0], self.tokens, tokens.shape[1], device=tokens.device)
        return hot.scatter_(1, tokens.unsqueeze(1), 1.0).unsqueeze(3)


class ConvTextDiscriminator(nn.Module):
    """trunk: x (N,V,T,1) -> (N,features); head: -> (N,1). Windows of several lengths (Kim 2014).

    Args:
        resolution: as the generator's.
        channels: V, the tokens.
        embed_dim: numbers of a token's embedding.
        kernels: lengths of the windows; those that are longer than a line are left out.
        filters: how many of each.
        dropout: of the features.
        classes: of the data set.
        conditional: the label stands beside each token as a one-hot vector.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        embed_dim: int = 64,
        kernels: Sequence[int] = (1, 2, 3, 4),
        filters: Sequence[int] = (64, 64, 64, 64),
        dropout: float = 0.0,
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        self.steps = read_length(resolution)
        self.classes = classes if conditional else 0
        if len(kernels) != len(filters):
            raise ValueError(f"{len(kernels)} kernels and {len(filters)} filters: give as many")
        fitting = [(k, f) for k, f in zip(kernels, filters, strict=True) if k <= self.steps]
        if not fitting:
            raise ValueError(f"kernels={list(kernels)}: all are longer than {self.steps} tokens")
        self.embedding = nn.Linear(channels, embed_dim, bias=False)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(embed_dim + self.classes, f, k) for k, f in fitting
        )
        self.feature_dim = sum(f for _, f in fitting)
        self.carry = nn.Linear(self.feature_dim, self.feature_dim)
        self.transform = nn.Linear(self.feature_dim, self.feature_dim)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(self.feature_dim, 1)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of lines."""
        check_length(x, self.steps)
        h = self.embedding(x.squeeze(3).transpose(1, 2)).transpose(1, 2)
        if self.classes:
            h = torch.cat([h, repeat_label(label, self.classes, h, steps=self.steps, dim=2)], 1)
        pooled = torch.cat([conv(h).relu().amax(2) for conv in self.convolutions], 1)
        gate = (self.carry(pooled) - 2).sigmoid()  # near 0 at first: a highway carries
        features: Tensor = gate * self.transform(pooled).relu() + (1 - gate) * pooled
        return features

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        score: Tensor = self.out(self.dropout(h))
        return score

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores lines: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


class ResTextBlock(nn.Module):
    """x + 0.3 conv(relu(conv(relu(x)))), windows of 5 places, on (N,width,T)."""

    def __init__(self, width: int):
        super().__init__()
        self.first = make_conv(width, width, 5)
        self.second = make_conv(width, width, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Adds the residual."""
        # 0.3 as in the authors' code: blocks begin near the identity, without a norm.
        added: Tensor = x + 0.3 * self.second(self.first(x.relu()).relu())
        return added


class ResTextGenerator(nn.Module):
    """z (N,z_dim), label (N,) -> (N,V,T,1): all places at once, a softmax over tokens at each.

    Args:
        resolution: [T,1].
        channels: V, the tokens.
        z_dim: numbers in a latent.
        width: channels of the convolutions.
        blocks: residual blocks.
        classes: of the data set.
        conditional: the label stands beside the latent as a one-hot vector.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        z_dim: int = 128,
        width: int = 512,
        blocks: int = 5,
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        self.steps = read_length(resolution)
        self.classes = classes if conditional else 0
        self.z_dim = z_dim
        self.first = nn.Linear(z_dim + self.classes, self.steps * width)
        self.blocks = nn.Sequential(*(ResTextBlock(width) for _ in range(blocks)))
        self.out = make_conv(width, channels, 1)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Makes soft lines of latents."""
        if self.classes:
            hot = repeat_label(label, self.classes, z, steps=1, dim=1).squeeze(1)
            z = torch.cat([z, hot], 1)
        x = self.blocks(self.first(z).unflatten(1, (-1, self.steps)))
        # No draw: the discriminator sees shares of tokens, and WGAN's critic a gradient to each
        # (Gulrajani 2017).
        soft: Tensor = self.out(x).float().softmax(1).unsqueeze(3)
        return soft


class ResTextDiscriminator(nn.Module):
    """trunk: x (N,V,T,1) -> (N,T*width); head: -> (N,1).

    Args:
        resolution: as the generator's.
        channels: V, the tokens.
        width: channels of the convolutions.
        blocks: residual blocks.
        classes: of the data set.
        conditional: the label stands beside each token as a one-hot vector.
    """

    def __init__(
        self,
        *,
        resolution: int | list[int],
        channels: int,
        width: int = 512,
        blocks: int = 5,
        classes: int = 0,
        conditional: bool = False,
    ):
        super().__init__()
        self.steps = read_length(resolution)
        self.classes = classes if conditional else 0
        self.feature_dim = self.steps * width
        self.first = make_conv(channels + self.classes, width, 1)
        self.blocks = nn.Sequential(*(ResTextBlock(width) for _ in range(blocks)))
        self.out = nn.Linear(self.feature_dim, 1)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes the features of lines."""
        check_length(x, self.steps)
        h = x.squeeze(3)
        if self.classes:
            h = torch.cat([h, repeat_label(label, self.classes, h, steps=self.steps, dim=2)], 1)
        features: Tensor = self.blocks(self.first(h)).flatten(1)
        return features

    def head(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores features."""
        score: Tensor = self.out(h)
        return score

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores lines: `head(trunk(x))`."""
        return self.head(self.trunk(x, label), label)


def make_conv(channels: int, width: int, kernel: int) -> nn.Conv1d:
    """Makes a convolution that keeps the length, He-uniform as the authors' code draws it."""
    conv = nn.Conv1d(channels, width, kernel, padding=kernel // 2)
    nn.init.kaiming_uniform_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # a Conv1d with bias has one
    return conv
