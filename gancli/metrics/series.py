"""How far made series are from real ones: statistics with closed forms, and two trained judges.

All take series (N,C,T,1) float, as they are restored, and work per feature in the reals' units, so
that a feature's size does not weigh it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gancli.errors import UserError
from gancli.seeding import fork_random

LAGS = 10  # of the autocorrelation, at most half of the steps
JUDGE_STEPS = 800  # TimeGAN's 2,000 take minutes on two cores
PREDICTOR_STEPS = 400
BATCH = 128
LEARNING_RATE = 1e-3
TEST_SHARE = 0.2
MOST_SERIES = 2_500  # of each set, for what is trained
WIDE = 24  # hidden units of the wide judge
TINY = 1e-12  # of a variance or a power: what is constant has no correlation


def check_series(x: Tensor, what: str, *, least: int = 2) -> Tensor:
    """Returns series as (N,T,C) float32 on the CPU.

    Raises:
        UserError: There are fewer than `least`, or one is not finite.
    """
    assert x.ndim == 4 and x.shape[3] == 1, "series are (N,C,T,1)"
    if len(x) < least:
        raise UserError(f"{len(x)} {what} series, and {least} are needed", "use more")
    if not x.isfinite().all():
        raise UserError(
            f"some {what} series are not finite",
            "look at the samples: the generator may have diverged",
        )
    return x.detach().cpu().float().squeeze(3).transpose(1, 2).contiguous()


def unit_of(real: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean and the deviation (C,) of each feature of reals (N,T,C)."""
    deviation = real.double().std((0, 1), correction=0)
    return real.double().mean((0, 1)), deviation.clamp_min(TINY)


def autocorrelations(x: Tensor, lags: int) -> Tensor:
    """Computes the correlation of each feature with itself `k` steps later.

    The mean and the variance are those of all series and steps together. AR(1): phi^k.

    Args:
        x: (N,T,C).
        lags: k = 1 ... lags, below T.

    Returns:
        (lags,C) float64.
    """
    x = x.double()
    x = x - x.mean((0, 1))
    variance = x.square().mean((0, 1)).clamp_min(TINY)
    steps = x.shape[1]
    return torch.stack(
        [(x[:, k:] * x[:, : steps - k]).mean((0, 1)) / variance for k in range(1, lags + 1)]
    )


def autocorrelation_distance(real: Tensor, fake: Tensor) -> tuple[float, int]:
    """Returns the mean difference of autocorrelations over lags and features, and the lags.

    real, fake: (N,C,T,1).
    """
    a = check_series(real, "real")
    b = check_series(fake, "generated")
    lags = max(1, min(LAGS, a.shape[1] // 2))
    found = (autocorrelations(a, lags) - autocorrelations(b, lags)).abs().mean().item()
    return found, lags


def mean_periodogram(x: Tensor) -> Tensor:
    """Computes the mean power of each feature at the frequencies k/T, the mean taken off.

    White noise of deviation s: s^2 at every frequency. AR(1) of long series:
    sigma^2 / (1 - 2 phi cos w + phi^2), w = 2 pi k / T.

    Args:
        x: (N,T,C).

    Returns:
        (T//2,C) float64, k = 1 ... T//2.
    """
    x = x.double()
    steps = x.shape[1]
    return torch.fft.rfft(x, dim=1).abs().square().div(steps).mean(0)[1:]


def spectrum_distance(real: Tensor, fake: Tensor) -> float:
    """Returns the mean difference of log10 mean periodograms over frequencies and features.

    Powers below a millionth of the feature's own mean count as that: there is no zero to divide by.
    real, fake: (N,C,T,1).
    """
    a = mean_periodogram(check_series(real, "real"))
    b = mean_periodogram(check_series(fake, "generated"))
    least = (a.mean(0) * 1e-6).clamp_min(TINY)
    return (torch.maximum(a, least).log10() - torch.maximum(b, least).log10()).abs().mean().item()


def correlations(x: Tensor) -> Tensor:
    """Computes the correlations (C,C) of features (N,T,C) at the same step, float64."""
    x = x.double().flatten(0, 1)
    x = x - x.mean(0)
    deviation = x.square().mean(0).sqrt().clamp_min(TINY)
    return (x.T @ x) / len(x) / deviation[:, None] / deviation[None, :]


def cross_correlation_distance(real: Tensor, fake: Tensor) -> float:
    """Returns the mean difference of correlations over pairs of different features.

    real, fake: (N,C,T,1). Raises UserError where there is one feature.
    """
    a = check_series(real, "real")
    b = check_series(fake, "generated")
    if a.shape[2] < 2:
        raise UserError("one feature has none to correlate with", "data of two features or more")
    apart = ~torch.eye(a.shape[2], dtype=torch.bool)
    return (correlations(a) - correlations(b))[apart].abs().mean().item()


def marginal_distance(real: Tensor, fake: Tensor, *, quantiles: int = 1_000) -> float:
    """Returns the Wasserstein-1 distance of the values of each feature, the mean over features.

    In deviations of the real feature: moved by d deviations, it is d.

    Args:
        real: (N,C,T,1).
        fake: Likewise.
        quantiles: At which the two distributions are compared.
    """
    a = check_series(real, "real")
    b = check_series(fake, "generated")
    mean, deviation = unit_of(a)
    sorted_values = [((x.double() - mean) / deviation).flatten(0, 1).sort(0).values for x in (a, b)]
    share = (torch.arange(quantiles, dtype=torch.float64) + 0.5) / quantiles
    first, second = (
        values[(share * len(values)).long().clamp_max(len(values) - 1)] for values in sorted_values
    )
    return (first - second).abs().mean().item()


class Judge(nn.Module):
    """A recurrent network that scores series, or each of their steps.

    Attributes:
        gru: Reads the steps.
        head: Turns its state into a score.
    """

    def __init__(self, features: int, hidden: int):
        """features: C; hidden: units of the GRU."""
        super().__init__()
        self.gru = nn.GRU(features, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor, *, every_step: bool = False) -> Tensor:
        """x: (N,T,C). -> (N,) after the last step, or (N,T)."""
        states, _ = self.gru(x)
        kept = states if every_step else states[:, -1]
        return self.head(kept).squeeze(-1)


@dataclass(frozen=True)
class Verdict:
    """What a judge found.

    Attributes:
        score: |accuracy - 0.5|, 0 (cannot tell) to 0.5 (always can).
        accuracy: Of reals and samples that it was not trained on.
        hidden: Its units.
        n: Series of each kind that it was trained and tested on.
    """

    score: float
    accuracy: float
    hidden: int
    n: int


def paper_width(features: int) -> int:
    """Returns the hidden units of the judge in TimeGAN's code: half of the features."""
    return max(1, features // 2)


def pick(x: Tensor, n: int, rng: torch.Generator) -> Tensor:
    """Draws n of the rows without putting back."""
    return x[torch.randperm(len(x), generator=rng)[:n]]


def discriminative_score(
    real: Tensor, fake: Tensor, *, hidden: int, seed: int, steps: int = JUDGE_STEPS
) -> Verdict:
    """Trains a GRU to tell reals from samples, and tests it on others (Yoon et al. 2019).

    As many of each kind, at most MOST_SERIES; a fifth of them is for the test. Float32 on the CPU.

    Args:
        real: (N,C,T,1).
        fake: Likewise.
        hidden: Units; TimeGAN's code has `paper_width`, which is blind to much.
        seed: Of all that it draws.
        steps: Of training, BATCH of each kind.
    """
    a = check_series(real, "real", least=10)
    b = check_series(fake, "generated", least=10)
    rng = torch.Generator().manual_seed(seed)
    n = min(len(a), len(b), MOST_SERIES)
    mean, deviation = unit_of(a)
    a, b = (((pick(x, n, rng).double() - mean) / deviation).float() for x in (a, b))
    cut = n - max(1, round(n * TEST_SHARE))
    with fork_random(seed, torch.device("cpu")), torch.enable_grad():
        judge = Judge(a.shape[2], hidden)
        optimizer = torch.optim.Adam(judge.parameters(), lr=LEARNING_RATE)
        size = min(BATCH, cut)
        target = torch.cat([torch.ones(size), torch.zeros(size)])
        for _ in range(steps):
            batch = torch.cat([pick(a[:cut], size, rng), pick(b[:cut], size, rng)])
            loss = nn.functional.binary_cross_entropy_with_logits(judge(batch), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        right = torch.cat([judge(a[cut:]) > 0, judge(b[cut:]) <= 0])
    accuracy = right.double().mean().item()
    return Verdict(abs(accuracy - 0.5), accuracy, hidden, n)


def predictive_score(
    real: Tensor, fake: Tensor, *, seed: int, steps: int = PREDICTOR_STEPS
) -> float:
    """Trains a GRU on samples to predict the next value, and tests it on reals (Yoon et al. 2019).

    It sees all features but the last and predicts the last, one step ahead; a lone feature is
    predicted from its own past. The score is saturated: bad samples reach nearly what reals do.

    Args:
        real: (N,C,T,1).
        fake: Likewise.
        seed: Of all that it draws.
        steps: Of training, BATCH series each.

    Returns:
        The mean absolute error, in deviations of the real feature.
    """
    a = check_series(real, "real", least=10)
    b = check_series(fake, "generated", least=10)
    rng = torch.Generator().manual_seed(seed)
    mean, deviation = unit_of(a)
    a, b = (((pick(x, MOST_SERIES, rng).double() - mean) / deviation).float() for x in (a, b))
    width = a.shape[2]
    seen = slice(0, max(1, width - 1))
    with fork_random(seed, torch.device("cpu")), torch.enable_grad():
        net = Judge(max(1, width - 1), max(WIDE, paper_width(width)))
        optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE * 5)
        for _ in range(steps):
            batch = pick(b, BATCH, rng)
            guess = net(batch[:, :-1, seen], every_step=True)
            loss = (guess - batch[:, 1:, -1]).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        guess = net(a[:, :-1, seen], every_step=True)
    return (guess - a[:, 1:, -1]).abs().double().mean().item()
