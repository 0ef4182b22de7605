"""When requests are due: decided before the first is sent, so that a slow server cannot thin them out."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

# Arrivals are drawn this many at a time: the numbers are the same whatever the size, only memory differs.
CHUNK = 4096


class Arrival(NamedTuple):
    """One arrival: how long after the start it is due (seconds), and which of the choices it makes."""

    offset_s: float
    choice: int


def poisson_arrivals(rate_per_s: float, seed: int, weights: Sequence[float] = (1.0,)) -> Iterator[Arrival]:
    """Yield arrivals of independent visitors without end; the same seed gives the same arrivals.

    `weights` are the shares of the choices (any positive numbers). Raises ValueError for a rate or a weight that is not
    positive. The gaps are exponential: evenly spaced requests would meet a server with a period of its own in step.
    """
    if not rate_per_s > 0 or not np.isfinite(rate_per_s):
        raise ValueError(f"the rate is {rate_per_s}; right is a number of arrivals per second above 0")
    if not weights or min(weights) <= 0:
        raise ValueError(f"the weights are {list(weights)}; right are positive numbers")
    return _draw(rate_per_s, seed, np.asarray(weights, dtype=np.float64))


def _draw(rate_per_s: float, seed: int, weights: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Iterator[Arrival]:
    # Two streams, so that another mix with the same seed arrives at the same moments.
    gaps, choices = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    shares = np.cumsum(weights / weights.sum())
    now_s = 0.0
    while True:
        offsets = now_s + np.cumsum(gaps.exponential(1 / rate_per_s, CHUNK))
        picks = np.minimum(np.searchsorted(shares, choices.random(CHUNK), side="right"), len(weights) - 1)
        now_s = float(offsets[-1])
        yield from map(Arrival, offsets.tolist(), picks.tolist())
