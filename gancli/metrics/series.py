"""How far made series are from real ones: statistics with closed forms, and two trained judges.

All take series (N,C,T,1) float, as they are restored, and work per feature in the reals' units, so
that a feature's size does not weigh it; the judges see each between the reals' least and greatest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gancli.errors import UserError
from gancli.seeding import fork_random

LAGS = 10  # of the autocorrelation, at most half of the steps
JUDGE_STEPS = 2_000  # TimeGAN's code has so many
PREDICTOR_STEPS = 5_000  # likewise
BATCH = 128
LEARNING_RATE = 1e-3
TEST_SHARE = 0.2
MOST_VALUES = 2**27  # float32 that judges trained together may hold
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
    # By T, so that noise has its variance at each frequency; k = 0, the mean, is left out.
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
    # The middles of equal shares: neither set's extremes are compared alone.
    share = (torch.arange(quantiles, dtype=torch.float64) + 0.5) / quantiles
    first, second = (
        values[(share * len(values)).long().clamp_max(len(values) - 1)] for values in sorted_values
    )
    return (first - second).abs().mean().item()


class Judges(nn.Module):
    """Independent recurrent networks of one size, run together, that score series or their steps.

    Each is a layer of TensorFlow's GRU cell, which TimeGAN's code judges with, and a linear head:
    the reset gate acts before the product, and the gates' biases begin at 1. Together they cost far
    less than one after the other.

    Attributes:
        hidden: Units of each.
        gates_in: (J,C,2H), what the reset and the update gate make of a step.
        gates_state: (J,H,2H), and of the state.
        gates_bias: (J,1,2H).
        new_in: (J,C,H), what the proposed state takes from a step.
        new_state: (J,H,H), and from the state that the reset gate lets through.
        new_bias: (J,1,H).
        head: (J,H,1).
        head_bias: (J,1,1).
    """

    def __init__(self, judges: int, features: int, hidden: int):
        """judges: J; features: C; hidden: H."""
        super().__init__()
        self.hidden = hidden
        both = features + hidden
        gates = draw_uniform(judges, both, 2 * hidden)
        new = draw_uniform(judges, both, hidden)
        self.gates_in = nn.Parameter(gates[:, :features].contiguous())
        self.gates_state = nn.Parameter(gates[:, features:].contiguous())
        # At 1 the state is kept at first, and gradients reach far back.
        self.gates_bias = nn.Parameter(torch.ones(judges, 1, 2 * hidden))
        self.new_in = nn.Parameter(new[:, :features].contiguous())
        self.new_state = nn.Parameter(new[:, features:].contiguous())
        self.new_bias = nn.Parameter(torch.zeros(judges, 1, hidden))
        self.head = nn.Parameter(draw_uniform(judges, hidden, 1))
        self.head_bias = nn.Parameter(torch.zeros(judges, 1, 1))

    def forward(self, x: Tensor, *, every_step: bool = False) -> Tensor:
        """Scores series (J,N,T,C), each judge its own: (J,N) after the last step, or (J,N,T)."""
        judges, n, steps, _ = x.shape
        flat = x.transpose(1, 2).flatten(1, 2)  # (J,T*N,C)
        gates = torch.baddbmm(self.gates_bias, flat, self.gates_in).view(judges, steps, n, -1)
        new = torch.baddbmm(self.new_bias, flat, self.new_in).view(judges, steps, n, -1)
        state = x.new_zeros(judges, n, self.hidden)
        states = []
        for gate, proposed in zip(gates.unbind(1), new.unbind(1), strict=True):
            reset, update = torch.baddbmm(gate, state, self.gates_state).sigmoid().chunk(2, -1)
            proposal = torch.baddbmm(proposed, reset * state, self.new_state).tanh()
            # TensorFlow's order: an update gate of 1 keeps the old state.
            state = torch.lerp(proposal, state, update)
            states.append(state)
        kept = torch.cat(states, 1) if every_step else state
        scores = torch.baddbmm(self.head_bias, kept, self.head).squeeze(-1)
        return scores.view(judges, steps, n).transpose(1, 2) if every_step else scores


def draw_uniform(judges: int, fan_in: int, fan_out: int) -> Tensor:
    """Draws first weights (judges,fan_in,fan_out) as TensorFlow does (Glorot and Bengio 2010)."""
    edge = math.sqrt(6 / (fan_in + fan_out))
    return torch.empty(judges, fan_in, fan_out).uniform_(-edge, edge)


@dataclass(frozen=True)
class Verdict:
    """What judges found.

    Attributes:
        score: Their mean; of the discriminative score |accuracy - 0.5|, 0 (cannot tell) to 0.5
            (always can), of the predictive score the mean absolute error.
        spread: The standard deviation over judges, 0 of one.
        hidden: Units of each.
        n: Series of each kind that each was trained and tested on.
    """

    score: float
    spread: float
    hidden: int
    n: int


def paper_width(features: int) -> int:
    """Returns the hidden units of the judge in TimeGAN's code: half of the features."""
    return max(1, features // 2)


def pick(x: Tensor, n: int, rng: torch.Generator) -> Tensor:
    """Draws n of the rows of (N,...) without putting back."""
    return x[torch.randperm(len(x), generator=rng)[:n]]


def scale_to_reals(real: Tensor, *others: Tensor) -> list[Tensor]:
    """Scales each feature (N,T,C) to [0,1] by the reals' least and greatest values.

    A feature that is constant in the reals is divided by 1.
    """
    low = real.amin((0, 1))
    width = real.amax((0, 1)) - low
    width = torch.where(width > 0, width, torch.ones_like(width))
    return [(x - low) / width for x in (real, *others)]


def split_judges(judges: int, *, steps: int, features: int, hidden: int) -> list[int]:
    """Says how many judges are trained at once, so that a batch of long series fits in memory."""
    values = 2 * BATCH * steps * (features + 8 * hidden)  # of one judge, in a step of training
    most = max(1, MOST_VALUES // values)
    return [min(most, judges - done) for done in range(0, judges, most)]


def sum_up(found: list[float], *, hidden: int, n: int) -> Verdict:
    """Makes the verdict of some judges' scores."""
    scores = torch.tensor(found, dtype=torch.float64)
    spread = scores.std().item() if len(found) > 1 else 0.0
    return Verdict(scores.mean().item(), spread, hidden, n)


def discriminative_score(
    real: Tensor,
    fake: Tensor,
    *,
    hidden: int,
    seed: int,
    judges: int = 1,
    steps: int = JUDGE_STEPS,
) -> Verdict:
    """Trains judges to tell reals from samples, and tests them on others (Yoon et al. 2019).

    As in TimeGAN's code: values between the reals' least and greatest as 0 to 1, as many samples as
    reals, a fifth of both for the test, Adam of 0.001. Each judge begins, divides and draws by
    itself. Float32 on the CPU.

    Args:
        real: (N,C,T,1).
        fake: Likewise.
        hidden: Units; TimeGAN's code has `paper_width`, which is blind to much.
        seed: Of all that is drawn.
        judges: How many; the paper's are 10.
        steps: Of training, BATCH of each kind; the paper's are 2,000.
    """
    a = check_series(real, "real", least=10)
    b = check_series(fake, "generated", least=10)
    a, b = scale_to_reals(a, b)
    rng = torch.Generator().manual_seed(seed)
    n = min(len(a), len(b))
    # At least one series of each kind is left to test on.
    cut = n - max(1, round(n * TEST_SHARE))
    size = min(BATCH, cut)
    found: list[float] = []
    with fork_random(seed, torch.device("cpu")):
        for some in split_judges(judges, steps=a.shape[1], features=a.shape[2], hidden=hidden):
            rows = [
                [torch.randperm(len(x), generator=rng)[:n] for x in (a, b)] for _ in range(some)
            ]
            net = Judges(some, a.shape[2], hidden)
            optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
            target = torch.cat([torch.ones(some, size), torch.zeros(some, size)], 1)
            for _ in range(steps):
                batch = torch.stack(
                    [
                        torch.cat([a[pick(own[:cut], size, rng)], b[pick(made[:cut], size, rng)]])
                        for own, made in rows
                    ]
                )
                with torch.enable_grad():
                    loss = nn.functional.binary_cross_entropy_with_logits(net(batch), target)
                    optimizer.zero_grad()
                    (loss * some).backward()  # each judge's own mean
                optimizer.step()
            own = score_all(net, torch.stack([a[rows_of[cut:]] for rows_of, _ in rows]))
            made = score_all(net, torch.stack([b[rows_of[cut:]] for _, rows_of in rows]))
            right = torch.cat([own > 0, made <= 0], 1).double().mean(1)
            # A judge that is always wrong tells the two apart as well as one that is always right.
            found += (right - 0.5).abs().tolist()
    return sum_up(found, hidden=hidden, n=n)


@torch.no_grad()
def score_all(net: Judges, x: Tensor) -> Tensor:
    """Scores series (J,N,T,C), each judge's own, in parts. -> (J,N)."""
    return torch.cat([net(part) for part in x.split(BATCH * 8, 1)], 1)


def predictive_score(
    real: Tensor, fake: Tensor, *, seed: int, judges: int = 1, steps: int = PREDICTOR_STEPS
) -> Verdict:
    """Trains judges on samples to predict the next value, tests them on reals (Yoon et al. 2019).

    As in TimeGAN's code: values between the reals' least and greatest as 0 to 1, half as many units
    as features, which see all features but the last and predict the last, one step ahead. A lone
    feature, of which that code has no score, is predicted from its own past by WIDE units. The
    score is saturated: bad samples reach nearly what reals do.

    Args:
        real: (N,C,T,1).
        fake: Likewise.
        seed: Of all that is drawn.
        judges: How many; the paper's are 10.
        steps: Of training, BATCH series each; the paper's are 5,000.

    Returns:
        The mean absolute error on all reals, as a share of the real feature's range.
    """
    a = check_series(real, "real", least=10)
    b = check_series(fake, "generated", least=10)
    a, b = scale_to_reals(a, b)
    rng = torch.Generator().manual_seed(seed)
    seen = slice(0, max(1, a.shape[2] - 1))
    width = a[:, :, seen].shape[2]
    hidden = WIDE if a.shape[2] == 1 else paper_width(a.shape[2])
    found: list[float] = []
    with fork_random(seed, torch.device("cpu")):
        for some in split_judges(judges, steps=a.shape[1], features=width, hidden=hidden):
            net = Judges(some, width, hidden)
            optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
            for _ in range(steps):
                batch = torch.stack([pick(b, BATCH, rng) for _ in range(some)])
                with torch.enable_grad():
                    guess = net(batch[:, :, :-1, seen], every_step=True).sigmoid()
                    loss = (guess - batch[:, :, 1:, -1]).abs().mean((1, 2)).sum()
                    optimizer.zero_grad()
                    loss.backward()
                optimizer.step()
            with torch.no_grad():
                total = torch.zeros(some, dtype=torch.float64)
                for part in a.split(BATCH * 8):
                    own = part.expand(some, *part.shape)
                    guess = net(own[:, :, :-1, seen], every_step=True).sigmoid()
                    total += (guess - own[:, :, 1:, -1]).abs().double().sum((1, 2))
            found += (total / (len(a) * (a.shape[1] - 1))).tolist()
    return sum_up(found, hidden=hidden, n=len(b))
