"""Whether something grew or was left: a line through points in time, and counts before and after."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from scipy import stats

from loadtest.judge.inference import CONFIDENCE, t_quantile
from tools.reliability.records import Counts, Sample

# A line through fewer says nothing about the noise.
FEWEST_POINTS = 4
# A rise that is no more than this share of the mean, over the whole run, is not called growth: an allocator still finds its highest
# level long after the caches are full, a page of 4 KiB now and then. A longer run finds a smaller leak.
MARGIN = 0.01
FLAT, GROWS, TOO_FEW = "flat", "grows", "too few points"
# A container grows while it warms up, and a rollout replaces it every minute. So each is looked at when it is this old, and the
# line is drawn through the containers, by when they started.
AGE_S = (20.0, 50.0)
# What serves all the time is looked at minute by minute, without the first quarter, in which caches still fill.
SETTLES = 0.25
MINUTE_S = 60.0
# What is counted where nothing moves any more: it must be the same before and after.
COUNTED = ("processes", "files")
# But for this: PostgreSQL's own processes open a table's files when they first have to write to it, and keep them.
NOT_JUDGED = {("database", "files")}


@dataclass(frozen=True, slots=True)
class Drift:
    """A line through points.

    mean, noise (standard deviation around the line) and rise (of the line, from the first point to the last) in the unit of the
    points; per_hour, low and high: the slope and its 95 % interval, per hour. NaN: too few points.
    """

    points: int
    mean: float
    per_hour: float = math.nan
    low: float = math.nan
    high: float = math.nan
    noise: float = math.nan
    rise: float = math.nan

    @property
    def trend(self) -> str:
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
        return Drift(len(points), fmean(value for _, value in points) if points else math.nan)
    hours, values = np.array(points, dtype=np.float64).T
    hours /= 3600
    line = stats.linregress(hours, values)
    left = values - (line.slope * hours + line.intercept)
    squares = float(left @ left)
    correlation = max(float(left[1:] @ left[:-1]) / squares, 0.0) if squares > 0 else 0.0
    counted = max(len(points) * (1 - correlation) / (1 + correlation), 3.0)
    error = math.sqrt(squares / (counted - 2) / float(((hours - hours.mean()) ** 2).sum()))
    half = t_quantile(1 - (1 - CONFIDENCE) / 2, max(int(counted) - 2, 1)) * error
    slope, noise = float(line.slope), math.sqrt(squares / (len(points) - 2))
    return Drift(len(points), float(values.mean()), slope, slope - half, slope + half, noise, slope * float(hours[-1] - hours[0]))


def drifts(samples: Sequence[Sample]) -> dict[str, Drift]:
    """Return for each service how the heap of one container moved, in bytes."""
    points: dict[str, dict[Any, list[Sample]]] = {}
    ended_s = max((sample.at_s for sample in samples), default=0.0)
    for sample in samples:
        of_service = points.setdefault(sample.service, {})
        if sample.service == "app":
            if AGE_S[0] <= sample.age_s <= AGE_S[1]:
                of_service.setdefault(sample.container, []).append(sample)
        elif sample.at_s >= SETTLES * ended_s:
            of_service.setdefault(sample.at_s // MINUTE_S, []).append(sample)
    return {
        service: drift(sorted((fmean(one.at_s for one in group), fmean(one.heap_bytes for one in group)) for group in groups.values()))
        for service, groups in points.items()
    }


def held(samples: Sequence[Sample]) -> Counts:
    """Sum up one moment by service: what must be the same before and after.

    A connection of the app to the database is kept for the next request. That is a file there and a process here; as many as the
    database tells of are taken off.
    """
    counts: dict[str, Counter[str]] = {}
    for sample in samples:
        counter = counts.setdefault(sample.service, Counter())
        for name in COUNTED:
            counter[name] += getattr(sample, name)
    if "app" in counts:
        counts["app"]["files"] -= sum(sample.connections for sample in samples)
    return {service: {name: counter[name] for name in COUNTED} for service, counter in counts.items()}


def leaks(before: Mapping[str, Mapping[str, int]], after: Mapping[str, Mapping[str, int]]) -> list[tuple[str, str, int, int]]:
    """Return (service, what, before, after) where there is more than before, and where processes are missing."""
    pairs = [
        (service, name, counts[name], after.get(service, {}).get(name, 0))
        for service, counts in before.items()
        for name in COUNTED
        if (service, name) not in NOT_JUDGED
    ]
    return [pair for pair in pairs if pair[3] > pair[2] or (pair[1] == "processes" and pair[3] != pair[2])]
