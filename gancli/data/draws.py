"""Random numbers as a pure function of counters: no loader or sampler has a state to save."""

from __future__ import annotations

import numpy as np

# 2^64 divided by the golden ratio: multiples of it lie evenly among 64-bit numbers.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def draws(seed: int, counters: np.ndarray) -> np.ndarray:
    """Returns (N,) uint64, one for each of the (N,) counters.

    It is splitmix64 (Steele et al. 2014), entered at any place.
    """
    x = np.asarray(counters).astype(np.uint64) * GOLDEN + np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def permutation(n: int, seed: int) -> np.ndarray:
    """Shuffles range(n): (n,) int64.

    Not a library's generator: its next version may shuffle in another way.
    """
    # Stable: equal keys, however unlikely, must not be put in an order of numpy's choice.
    return np.argsort(draws(seed, np.arange(n)), kind="stable")
