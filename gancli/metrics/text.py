"""Numbers of text: n-grams, copies, and chains that know little, to compare with.

Lines are token numbers (N,T), -1 after the end of a line.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gancli.seeding import seed_of

ORDERS = (1, 2, 3, 4)
MOST_TOKENS = 1_000  # of a chain: it has as many squared numbers


def find_ngrams(lines: Tensor, n: int, tokens: int) -> Tensor:
    """Lists the n-grams within lines as numbers (M,) int64; `tokens`: how many there are."""
    if lines.shape[1] < n:
        return torch.empty(0, dtype=torch.int64)
    windows = lines.long().unfold(1, n, 1).reshape(-1, n)
    windows = windows[(windows >= 0).all(1)]
    # An n-gram as the digits of one number: comparing numbers is fast.
    weights = torch.tensor([tokens**k for k in reversed(range(n))])
    return (windows * weights).sum(1)


def jensen_shannon(first: Tensor, second: Tensor) -> float:
    """Measures the Jensen-Shannon divergence of what two lists of numbers hold, in bits.

    0 where the shares are equal, 1 where nothing is in both.
    """
    both, index = torch.cat([first, second]).unique(return_inverse=True)
    shares = [
        torch.bincount(part, minlength=len(both)).double() / max(1, len(part))
        for part in index.split([len(first), len(second)])
    ]
    middle = (shares[0] + shares[1]) / 2
    # 0 log 0 is 0, where the quotient gives NaN.
    terms = [(p * (p / middle).log2()).nan_to_num(0.0).sum().item() for p in shares]
    return max(0.0, sum(terms) / 2)


def ngram_distances(lines: Tensor, real: Tensor) -> dict[str, float]:
    """Compares the n-grams of lines (N,T) with those of real ones: js1 to js4, in bits."""
    tokens = 1 + int(max(lines.max(), real.max()))
    return {
        f"js{n}": jensen_shannon(find_ngrams(lines, n, tokens), find_ngrams(real, n, tokens))
        for n in ORDERS
        if n <= lines.shape[1]
    }


def draw_chain(train: Tensor, n: int, *, order: int, rng: torch.Generator) -> Tensor:
    """Draws n lines (n,T) of a chain that knows no more than `order` tokens at a time.

    Args:
        train: (M,T) that it counts.
        n: How many.
        order: 1: tokens are independent; 2: each follows from the one before (a bigram chain).
        rng: Draws them.
    """
    tokens = 1 + int(train.max())
    ends = bool((train < 0).any())
    before = torch.cat([torch.full_like(train[:, :1], tokens), train[:, :-1]], 1).long()
    rows = before if order == 2 else torch.zeros_like(before)
    inside = train >= 0
    pairs = rows[inside] * tokens + train.long()[inside]
    counts = torch.bincount(pairs, minlength=(tokens + 1) * tokens).view(-1, tokens).double()
    state = torch.full((n,), tokens if order == 2 else 0)
    drawn = []
    for _ in range(train.shape[1]):
        # What was never seen before another token, as after an end, follows the first line's law.
        law = counts[state] + (counts[state].sum(1, keepdim=True) == 0) * counts[:1]
        # multinomial refuses a row without any weight; the small number never wins against one.
        token = torch.multinomial(law + 1e-300, 1, generator=rng)[:, 0]
        drawn.append(token)
        state = token if order == 2 else state
    lines = torch.stack(drawn, 1)
    if ends:
        stopped = (lines == 0).int().cumsum(1) - (lines == 0).int() > 0
        lines = lines.masked_fill(stopped, -1)
    return lines


def describe_chains(train: Tensor, real: Tensor, n: int, *, seed: int) -> str:
    """Says which distances n lines of training data and of two chains reach, for a protocol."""
    rng = torch.Generator().manual_seed(seed_of(seed, "chains"))
    some = train[torch.randperm(len(train), generator=rng)[:n]]
    known = {"as many training lines": some}
    if int(train.max()) < MOST_TOKENS:
        known["a bigram chain"] = draw_chain(train, n, order=2, rng=rng)
        known["independent tokens"] = draw_chain(train, n, order=1, rng=rng)
    return "; ".join(
        f"{name} reach{'es' if name.startswith('a ') else ''} "
        + " ".join(f"{key} {value:.4f}" for key, value in ngram_distances(lines, real).items())
        for name, lines in known.items()
    )


def measure_nats(lines: Tensor, log_prob: Callable[[Tensor], Tensor]) -> float:
    """Averages -log p over the tokens of lines, in nats.

    Args:
        lines: (N,T), -1 after their end.
        log_prob: Lines (N,T) -> (N,T); it sees 0, the end, in place of -1.
    """
    inside = lines >= 0
    total = (log_prob(lines.clamp(min=0)).double().cpu() * inside).sum().item()
    return -total / max(1, int(inside.sum()))


def count_copies(lines: Tensor, train: Tensor) -> tuple[float, float]:
    """Counts which share of lines (N,T) differ, and which share are in `train` (M,T)."""
    made = [bytes(row) for row in lines.to(torch.int32).numpy()]
    known = {bytes(row) for row in train.to(torch.int32).numpy()}
    if not made:
        return math.nan, math.nan
    return len({*made}) / len(made), sum(line in known for line in made) / len(made)
