"""Statistics of blocks: pure functions of numbers, without a clock and without a file.

The unit is the block of fresh processes: the slices of a block share its processes' luck, and the requests of a slice share that slice's.
Each block gives one logarithm of a ratio for each pair of candidates, whose slices are neighbours in time, so that what the machine does to
both cancels out. Intervals are Student's t on these, widened for the number of pairs compared (Bonferroni), and for looking after each
block (group-sequential: Pocock 1977; nominal levels applied to Student's t, Jennison and Turnbull 2000, chapter 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

# Two blocks have one difference and no idea of its noise; with three, Student's t is wide but keeps its promise.
FEWEST_BLOCKS = 3
CONFIDENCE = 0.95  # for all pairs of a comparison together, at all looks
POWER = 0.8
PATHS = 50_000


class Comparison(StrEnum):
    """What paired blocks say about one candidate against another."""

    HIGHER = "higher"
    LOWER = "lower"
    TIE = "tie"  # whatever the difference is, it is within the margin
    UNDECIDED = "undecided"  # the noise hides whether there is one

    def inverse(self) -> Comparison:
        return {Comparison.HIGHER: Comparison.LOWER, Comparison.LOWER: Comparison.HIGHER}.get(self, self)


@dataclass(frozen=True, slots=True)
class Interval:
    """A ratio with the interval that holds it, at a confidence that counts for all intervals of the same comparison."""

    low: float
    ratio: float
    high: float

    def inverse(self) -> Interval:
        return Interval(1 / self.high, 1 / self.ratio, 1 / self.low)


def interval(logs: Sequence[float], *, looks: int = 1, comparisons: int = 1, confidence: float = CONFIDENCE) -> Interval:
    """Return the geometric mean of as many values as there are blocks, from their logarithms, with its interval.

    `comparisons`: how many are looked at together; all their intervals hold at once with `confidence`. `looks`: how many blocks there may
    be at most, where it is looked after each; the intervals of all looks hold at once. 1: it is looked at the end only.
    Raises ValueError for fewer than three.
    """
    values = _enough(logs)
    center, blocks = float(values.mean()), len(values)
    half = half_width(float(values.std(ddof=1)), blocks, level(blocks, looks, (1 - confidence) / comparisons))
    return Interval(math.exp(center - half), math.exp(center), math.exp(center + half))


def unpaired_interval(base: Sequence[float], other: Sequence[float], *, comparisons: int = 1, confidence: float = CONFIDENCE) -> Interval:
    """Return other/base from logarithms of values that were not paired (two load tests): Welch's interval."""
    from scipy import stats  # it takes a second to import

    first, second = _enough(base), _enough(other)
    found = stats.ttest_ind(second, first, equal_var=False).confidence_interval(1 - (1 - confidence) / comparisons)
    return Interval(*(math.exp(float(value)) for value in (found.low, second.mean() - first.mean(), found.high)))


def _enough(logs: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(logs, dtype=np.float64)
    if len(values) < FEWEST_BLOCKS or not np.isfinite(values).all():
        raise ValueError(f"{list(logs)}; right are at least {FEWEST_BLOCKS} logarithms")
    return values


def half_width(sd_log: float, blocks: int, error: float) -> float:
    """Return half the width of the interval of a mean log ratio that misses it with this chance; `sd_log`: of one block's."""
    return t_quantile(1 - error / 2, blocks - 1) * sd_log / math.sqrt(blocks)


def level(blocks: int, looks: int, error: float) -> float:
    """Return the chance of missing that an interval may have after so many blocks, so that it is `error` for all looks together.

    It grows with the number of blocks: early looks cost little, and show large differences only.
    """
    if looks < max(blocks, FEWEST_BLOCKS):
        return error
    return float(np.quantile(_smallest(looks), error)) * (blocks / looks) ** 2


@cache
def _smallest(looks: int) -> NDArray[np.float64]:
    """Return of simulated runs without a difference the smallest p-value of all looks, each multiplied by (looks/blocks)²."""
    values = np.random.default_rng(1).standard_normal((PATHS, looks))
    number = np.arange(1, looks + 1)
    mean, square = np.cumsum(values, axis=1) / number, np.cumsum(values**2, axis=1) / number
    late = slice(FEWEST_BLOCKS - 1, None)
    t = np.abs(mean[:, late]) / np.sqrt((square[:, late] - mean[:, late] ** 2) / (number[late] - 1))
    smallest: NDArray[np.float64] = (2 * special.stdtr(number[late] - 1, -t) * (looks / number[late]) ** 2).min(axis=1)
    return smallest


def compare(found: Interval, margin: float) -> Comparison:
    """Say what an interval of ratios means; `margin`: a smaller difference (0.05 is 5 %) does not matter.

    A tie needs the whole interval within the margin; else a difference counts when the interval leaves 1 out. The chance of a HIGHER or
    LOWER where there is no difference is at most 1 - confidence.
    """
    if 1 / (1 + margin) < found.low and found.high < 1 + margin:
        return Comparison.TIE
    if found.low > 1:
        return Comparison.HIGHER
    return Comparison.LOWER if found.high < 1 else Comparison.UNDECIDED


def smallest_difference(sd_log: float, blocks: int, *, comparisons: int = 1, margin: float = 0.0, power: float = POWER) -> float:
    """Return the smallest true difference (0.1 is 10 %) that so many blocks, with a look after each, call HIGHER or LOWER so often."""
    if blocks < FEWEST_BLOCKS:
        return math.inf
    half = half_width(sd_log, blocks, level(blocks, blocks, (1 - CONFIDENCE) / comparisons))
    # The interval has to leave 1 out, and may not lie within the margin.
    return math.expm1(max(half, math.log1p(margin) - half) + t_quantile(power, blocks - 1) * sd_log / math.sqrt(blocks))


@cache
def t_quantile(probability: float, degrees: float) -> float:
    return float(special.stdtrit(degrees, probability))
