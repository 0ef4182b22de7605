"""Statistics of paired runs: pure functions of numbers, without a clock and without a file.

The unit is the run, not the request: thousands of requests of one run share that run's luck. Runs are paired within a
block (all candidates, one after the other, in random order), so what the machine did to the whole block cancels out.
Intervals are Student's t on the logarithms of the paired ratios, widened for the number of pairs compared (Bonferroni).
A bootstrap over so few blocks calls false winners four to five times too often; a permutation test cannot reach 5 %
below six blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

# Two runs have one difference and no idea of its noise; with three, Student's t is wide but keeps its promise.
FEWEST_BLOCKS = 3
CONFIDENCE = 0.95  # for all pairs of a comparison together
POWER = 0.8


class Comparison(StrEnum):
    """What paired runs say about one candidate against another."""

    HIGHER = "higher"
    LOWER = "lower"
    TIE = "tie"  # whatever the difference is, it is within the margin
    UNDECIDED = "undecided"  # the noise hides whether there is one

    def inverse(self) -> Comparison:
        """Return the same seen from the other side."""
        return {Comparison.HIGHER: Comparison.LOWER, Comparison.LOWER: Comparison.HIGHER}.get(self, self)


@dataclass(frozen=True, slots=True)
class Interval:
    """A ratio with the interval that holds it, at a confidence that counts for all intervals of the same comparison."""

    low: float
    ratio: float
    high: float

    def inverse(self) -> Interval:
        """Return the same seen from the other side."""
        return Interval(1 / self.high, 1 / self.ratio, 1 / self.low)


def ratio_interval(base: Sequence[float], other: Sequence[float], *, comparisons: int = 1, confidence: float = CONFIDENCE) -> Interval:
    """Return other/base from runs paired by position; all values above 0.

    `comparisons`: how many pairs are looked at together; all their intervals hold at once with `confidence`.
    Raises ValueError for fewer than three pairs, for unequal numbers and for values that have no logarithm.
    """
    if len(base) != len(other):
        raise ValueError(f"{len(base)} and {len(other)} runs are no pairs")
    differences = _logs(other) - _logs(base)
    center = float(differences.mean())
    half = half_width(float(differences.std(ddof=1)), len(base), comparisons=comparisons, confidence=confidence)
    return Interval(math.exp(center - half), math.exp(center), math.exp(center + half))


def unpaired_interval(base: Sequence[float], other: Sequence[float], *, comparisons: int = 1, confidence: float = CONFIDENCE) -> Interval:
    """Return other/base from runs that were not paired (two load tests): Welch's interval; at least three values each."""
    first, second = _logs(base), _logs(other)
    center = float(second.mean() - first.mean())
    if first.std() == second.std() == 0:
        return Interval(math.exp(center), math.exp(center), math.exp(center))
    low, high = stats.ttest_ind(second, first, equal_var=False).confidence_interval(1 - (1 - confidence) / comparisons)
    return Interval(math.exp(low), math.exp(center), math.exp(high))


def mean_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Return the geometric mean of single runs with its interval; all values above 0, at least three."""
    return ratio_interval([1.0] * len(values), values, confidence=confidence)


def _logs(values: Sequence[float]) -> NDArray[np.float64]:
    if len(values) < FEWEST_BLOCKS or min(values) <= 0:
        raise ValueError(f"{list(values)}; right are at least {FEWEST_BLOCKS} values, all above 0")
    return np.log(np.asarray(values, dtype=np.float64))


def half_width(sd_log: float, blocks: int, *, comparisons: int = 1, confidence: float = CONFIDENCE) -> float:
    """Return half the width of the interval of a mean log ratio; `sd_log`: standard deviation of one paired log ratio."""
    return t_quantile(1 - (1 - confidence) / (2 * comparisons), blocks - 1) * sd_log / math.sqrt(blocks)


def compare(interval: Interval, margin: float) -> Comparison:
    """Say what an interval of ratios means; `margin`: a smaller difference (0.05 is 5 %) does not matter.

    A difference counts when the interval leaves 1 out and the ratio is beyond the margin; a tie needs the whole interval
    within the margin. The chance of a HIGHER or LOWER where there is no difference is at most 1 - confidence.
    """
    least = 1 + margin
    if 1 / least < interval.low and interval.high < least:
        return Comparison.TIE
    if interval.low > 1 and interval.ratio >= least:
        return Comparison.HIGHER
    if interval.high < 1 and interval.ratio <= 1 / least:
        return Comparison.LOWER
    return Comparison.UNDECIDED


def smallest_difference(sd_log: float, blocks: int, *, comparisons: int = 1, margin: float = 0.0, power: float = POWER) -> float:
    """Return the smallest true difference (0.1 is 10 %) that so many blocks call HIGHER or LOWER with this power."""
    if blocks < FEWEST_BLOCKS:
        return math.inf
    least = max(half_width(sd_log, blocks, comparisons=comparisons), math.log1p(margin))
    # Half of the misses for each of the two conditions: the interval leaves 1 out, and the ratio is beyond the margin.
    return math.expm1(least + t_quantile((1 + power) / 2, blocks - 1) * sd_log / math.sqrt(blocks))


def blocks_for(difference: float, sd_log: float, *, comparisons: int = 1, margin: float = 0.0, at_most: int = 200) -> int | None:
    """Return how many blocks find this difference with the usual power; None when more than `at_most`."""
    for blocks in range(FEWEST_BLOCKS, at_most + 1):
        if smallest_difference(sd_log, blocks, comparisons=comparisons, margin=margin) <= difference:
            return blocks
    return None


@cache
def t_quantile(probability: float, degrees: float) -> float:
    """Return the quantile of Student's t."""
    return float(stats.t.ppf(probability, degrees))
