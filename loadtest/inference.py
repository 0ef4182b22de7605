"""Statistics of paired runs: pure functions of numbers, without a clock and without a file.

The unit is the run, not the request: thousands of requests of one run share that run's luck. Runs are paired within a
block (all candidates, one after the other, in random order), so what the machine did to the whole block cancels out.
Intervals are Student's t on the logarithms of the paired ratios, widened for the number of pairs compared (Bonferroni).
A bootstrap over so few blocks calls false winners four to five times too often; a permutation test cannot reach 5 %
below six blocks. numpy is enough: scipy would add 113 MB for one quantile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from statistics import NormalDist

import numpy as np

# Two runs have one difference and no idea of its noise; with three, Student's t is wide but keeps its promise.
FEWEST_BLOCKS = 3
CONFIDENCE = 0.95  # for all pairs of a comparison together
POWER = 0.8


class Verdict(StrEnum):
    """What paired runs say about one candidate against another."""

    HIGHER = "higher"
    LOWER = "lower"
    TIE = "tie"  # whatever the difference is, it is within the margin
    UNDECIDED = "undecided"  # the noise hides whether there is one
    TOO_FEW = "too few valid runs"


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
    if len(base) != len(other) or len(base) < FEWEST_BLOCKS:
        raise ValueError(f"{len(base)} and {len(other)} runs; right are at least {FEWEST_BLOCKS} pairs")
    if min(*base, *other) <= 0:
        raise ValueError("a value is not above 0: it has no ratio")
    differences = np.log(np.asarray(other, dtype=np.float64)) - np.log(np.asarray(base, dtype=np.float64))
    center = float(differences.mean())
    half = half_width(float(differences.std(ddof=1)), len(base), comparisons=comparisons, confidence=confidence)
    return Interval(math.exp(center - half), math.exp(center), math.exp(center + half))


def unpaired_interval(base: Sequence[float], other: Sequence[float], *, comparisons: int = 1, confidence: float = CONFIDENCE) -> Interval:
    """Return other/base from runs that were not paired (two load tests): Welch's interval; at least three values each."""
    if min(len(base), len(other)) < FEWEST_BLOCKS or min(*base, *other) <= 0:
        raise ValueError(f"{len(base)} and {len(other)} runs; right are at least {FEWEST_BLOCKS} each, all above 0")
    first, second = (np.log(np.asarray(values, dtype=np.float64)) for values in (base, other))
    parts = [float(values.var(ddof=1)) / len(values) for values in (first, second)]
    center, variance = float(second.mean() - first.mean()), sum(parts)
    if variance == 0:
        return Interval(math.exp(center), math.exp(center), math.exp(center))
    # Rounded down: a smaller number of degrees makes the interval wider.
    degrees = int(variance**2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)))
    half = t_quantile(1 - (1 - confidence) / (2 * comparisons), max(degrees, 1)) * math.sqrt(variance)
    return Interval(math.exp(center - half), math.exp(center), math.exp(center + half))


def mean_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Return the geometric mean of single runs with its interval; all values above 0, at least three."""
    return ratio_interval([1.0] * len(values), values, confidence=confidence)


def half_width(sd_log: float, blocks: int, *, comparisons: int = 1, confidence: float = CONFIDENCE) -> float:
    """Return half the width of the interval of a mean log ratio; `sd_log`: standard deviation of one paired log ratio."""
    return t_quantile(1 - (1 - confidence) / (2 * comparisons), blocks - 1) * sd_log / math.sqrt(blocks)


def judge(interval: Interval, margin: float) -> Verdict:
    """Say what an interval of ratios means; `margin`: a difference below it (0.05 is 5 %) makes no difference to anybody.

    A difference counts when the interval leaves 1 out and the ratio is beyond the margin; a tie needs the whole interval
    within the margin. The chance of a HIGHER or LOWER where there is no difference is at most 1 - confidence.
    """
    least = 1 + margin
    if 1 / least < interval.low and interval.high < least:
        return Verdict.TIE
    if interval.low > 1 and interval.ratio >= least:
        return Verdict.HIGHER
    if interval.high < 1 and interval.ratio <= 1 / least:
        return Verdict.LOWER
    return Verdict.UNDECIDED


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
def t_quantile(probability: float, degrees: int) -> float:
    """Return the quantile of Student's t with so many degrees of freedom (1 or more), by bisection."""
    if probability < 1 / 2:
        return -t_quantile(1 - probability, degrees)
    low, high = 0.0, 10.0
    while t_cdf(high, degrees) < probability:
        high *= 2
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, degrees) < probability else (low, middle)
    return high


def t_cdf(t: float, degrees: int) -> float:
    """Return the chance that Student's t is below `t`: the finite series for whole degrees (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    if degrees > 300:  # noqa: PLR2004 - the series gets long; the normal distribution is nearer than 0.001
        return NormalDist().cdf(t)
    angle = math.atan2(t, math.sqrt(degrees))
    cosine, sine = math.cos(angle), math.sin(angle)
    if degrees % 2:
        inside = angle + sine * cosine * _series(cosine, range(3, degrees, 2)) * (degrees > 1)
        return 0.5 + inside / math.pi
    return 0.5 + sine * _series(cosine, range(2, degrees, 2)) / 2


def _series(cosine: float, steps: range) -> float:
    """Return 1 + (n-1)/n cos² + (n-1)(n+1)/(n(n+2)) cos⁴ + … for n over the steps."""
    total = term = 1.0
    for n in steps:
        term *= (n - 1) / n * cosine**2
        total += term
    return total
