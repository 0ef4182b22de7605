"""Whether something grew: a line through points in time, with an interval that allows for points that resemble their neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from loadtest.inference import CONFIDENCE, t_quantile

# A line through fewer says nothing about the noise.
FEWEST_POINTS = 4
# A rise that is no more than this share of the mean, over the whole run, is not called growth: an allocator still finds its highest
# level long after the caches are full, a page of 4 KiB now and then. A longer run finds a smaller leak.
MARGIN = 0.01
FLAT, GROWS, TOO_FEW = "flat", "grows", "too few points"


@dataclass(frozen=True, slots=True)
class Drift:
    """A line through points.

    mean, noise (standard deviation around the line) and rise (of the line, from the first point to the last) in the unit of the
    points; per_hour, low and high: the slope and its 95 % interval, per hour. NaN: too few points.
    """

    points: int
    mean: float
    per_hour: float
    low: float
    high: float
    noise: float
    rise: float

    @property
    def verdict(self) -> str:
        """Whether it grew: not when the interval reaches down to 0, nor when the rise is lost in the points' noise, or in MARGIN."""
        if self.points < FEWEST_POINTS:
            return TOO_FEW
        return FLAT if self.low <= 0 or self.rise <= max(self.noise, MARGIN * self.mean) else GROWS


def drift(points: Sequence[tuple[float, float]]) -> Drift:
    """Fit (seconds, value) by least squares.

    Memory moves in steps, so that neighbours resemble each other, and as if each point were news the interval would be far too
    narrow. So they count as n(1 - r)/(1 + r), where r is the correlation of what is left of a point with what is left of the next.
    """
    if len(points) < FEWEST_POINTS:
        return Drift(len(points), fmean(value for _, value in points) if points else math.nan, *[math.nan] * 5)
    hours = np.array([at_s / 3600 for at_s, _ in points])
    values = np.array([value for _, value in points], dtype=np.float64)
    slope, start = (float(part) for part in np.polyfit(hours, values, 1))
    left = values - (slope * hours + start)
    squares = float(left @ left)
    correlation = max(float(left[1:] @ left[:-1]) / squares, 0.0) if squares > 0 else 0.0
    counted = max(len(points) * (1 - correlation) / (1 + correlation), 3.0)
    spread = float(((hours - hours.mean()) ** 2).sum())
    error = math.sqrt(squares / (counted - 2) / spread)
    half = t_quantile(1 - (1 - CONFIDENCE) / 2, max(int(counted) - 2, 1)) * error
    return Drift(
        points=len(points),
        mean=float(values.mean()),
        per_hour=slope,
        low=slope - half,
        high=slope + half,
        noise=math.sqrt(squares / (len(points) - 2)),
        rise=slope * float(hours[-1] - hours[0]),
    )
