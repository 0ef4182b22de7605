"""How throughput grows with the number of visitors at once: Gunther's Universal Scalability Law, where it fits.

    X(N) = g N / (1 + a (N - 1) + b N (N - 1))

g: of one visitor (per second); a: share of the work that only one can do at a time; b: cost of agreeing with each other.
N/X is a straight sum of 1, N-1 and N(N-1), so the fit is linear least squares. Pure functions of numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FEWEST_LEVELS = 5  # three parameters, and something left to be wrong about
GOOD_FIT = 0.9
# One visitor alone meets no queue, so a thousandfold cannot do more than a thousand times as much; noise can look like it.
LINEAR_TOLERANCE = 1.15


@dataclass(frozen=True)
class Scaling:
    """A fit that is good enough to be shown. `peak_users`: infinite when throughput never falls."""

    per_visitor_s: float
    contention: float
    coherency: float
    r_squared: float

    @property
    def peak_users(self) -> float:
        return math.sqrt(max(1 - self.contention, 0) / self.coherency) if self.coherency else math.inf

    def throughput_per_s(self, users: float) -> float:
        """Return X(N)."""
        return self.per_visitor_s * users / (1 + self.contention * (users - 1) + self.coherency * users * (users - 1))


def fit(throughput_per_s: Mapping[int, float]) -> Scaling | None:
    """Fit visitors at once -> throughput (per second); None with too few levels or when the law does not describe them."""
    levels = {users: rate for users, rate in throughput_per_s.items() if rate > 0}
    if len(levels) < FEWEST_LEVELS:
        return None
    users, rates = np.array(list(levels), dtype=np.float64), np.array(list(levels.values()))
    terms = np.stack([np.ones_like(users), users - 1, users * (users - 1)], axis=1)
    found = [made for kept in ((0, 1, 2), (0, 1), (0, 2), (0,)) if (made := _fit(terms[:, kept], kept, users, rates))]
    best = max(found, key=lambda one: one.r_squared, default=None)
    return best if best and best.r_squared >= GOOD_FIT else None


def _fit(terms: np.ndarray, kept: tuple[int, ...], users: np.ndarray, rates: np.ndarray) -> Scaling | None:
    """Fit with some of the terms; None when a parameter comes out negative, which has no meaning."""
    # Weighted by the rate: what is minimised is the error of X as a share, not that of N/X, which the largest N would rule.
    weights = rates / users
    solved, *_ = np.linalg.lstsq(terms * weights[:, None], (users / rates) * weights, rcond=None)
    parameters = dict(zip(kept, map(float, solved), strict=True))
    base = parameters[0]
    if base <= 0 or min(parameters.values()) < 0:
        return None
    made = Scaling(1 / base, parameters.get(1, 0.0) / base, parameters.get(2, 0.0) / base, 0.0)
    errors = rates - np.array([made.throughput_per_s(number) for number in users])
    spread = float(((rates - rates.mean()) ** 2).sum())
    return Scaling(made.per_visitor_s, made.contention, made.coherency, 1 - float((errors**2).sum()) / spread) if spread else None


def better_than_linear(throughput_per_s: Mapping[int, float]) -> tuple[int, int] | None:
    """Return two numbers of visitors between which throughput grew more than they did, beyond noise; None: nowhere."""
    for fewer, more in itertools.combinations(sorted(throughput_per_s), 2):
        if throughput_per_s[more] > throughput_per_s[fewer] * more / fewer * LINEAR_TOLERANCE and throughput_per_s[fewer] > 0:
            return fewer, more
    return None
