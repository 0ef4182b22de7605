"""How throughput grows with the number of visitors at once: Gunther's Universal Scalability Law, where it fits.

    X(N) = g N / (1 + a (N - 1) + b N (N - 1))

g: of one visitor (per second); a: share of the work that only one can do at a time; b: cost of agreeing with each other.
N/X is a straight sum of 1, N-1 and N(N-1), so the fit is linear least squares, of parameters that are not below 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

FEWEST_LEVELS = 5  # three parameters, and something left to be wrong about
GOOD_FIT = 0.9
# One visitor alone meets no queue, so a thousandfold cannot do more than a thousand times as much; noise can look like it.
LINEAR_TOLERANCE = 1.15


@dataclass(frozen=True)
class Scaling:
    """A fit that is good enough to be shown."""

    per_visitor_s: float
    contention: float
    coherency: float
    r_squared: float

    @property
    def peak_users(self) -> float:
        """Where throughput is highest; infinite when it never falls."""
        return math.sqrt(max(1 - self.contention, 0) / self.coherency) if self.coherency else math.inf

    def throughput_per_s(self, users: float) -> float:
        """Return X(N)."""
        return self.per_visitor_s * users / (1 + self.contention * (users - 1) + self.coherency * users * (users - 1))


def fit(throughput_per_s: Mapping[int, float]) -> Scaling | None:
    """Fit visitors at once -> throughput (per second); None with too few levels or when the law does not describe them."""
    levels = {users: rate for users, rate in throughput_per_s.items() if rate > 0}
    if len(levels) < FEWEST_LEVELS or len(set(levels.values())) == 1:
        return None
    users, rates = np.array(list(levels), dtype=np.float64), np.array(list(levels.values()))
    terms = np.stack([np.ones_like(users), users - 1, users * (users - 1)], axis=1)
    # Weighted by X: what is minimised is the error of X as a share, not that of N/X, which the largest N would rule.
    (base, serial, crosstalk), _ = nnls(terms * (rates / users)[:, None], np.ones_like(users))
    if not base:
        return None
    made = Scaling(1 / base, serial / base, crosstalk / base, 0.0)
    errors = rates - np.array([made.throughput_per_s(number) for number in users])
    r_squared = 1 - float(errors.var() + errors.mean() ** 2) / float(rates.var())
    return Scaling(made.per_visitor_s, made.contention, made.coherency, r_squared) if r_squared >= GOOD_FIT else None


def better_than_linear(throughput_per_s: Mapping[int, float]) -> tuple[int, int] | None:
    """Return two numbers of visitors between which throughput grew more than they did, beyond noise; None: nowhere."""
    for fewer, more in itertools.combinations(sorted(throughput_per_s), 2):
        if throughput_per_s[more] > throughput_per_s[fewer] * more / fewer * LINEAR_TOLERANCE and throughput_per_s[fewer] > 0:
            return fewer, more
    return None
