"""What one step says: did it hold the objective, and where does a server stop holding it?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from loadtest.recorder import ALL, Recording, Series
from loadtest.records import Limits, Step, Workload


@dataclass(frozen=True)
class Outcome:
    """A step with its figures at hand. `goodput_per_s`: right answers a second. `error_share`: of all that were offered."""

    step: Step
    workload: Workload

    @cached_property
    def recording(self) -> Recording:
        return Recording.from_json(self.step.recording)

    @cached_property
    def judged(self) -> Series:
        """The requests that the objective is about."""
        return self.recording.series.get(self.workload.judged, Series())

    @cached_property
    def p99_ms(self) -> float:
        """99 % of the judged requests were faster, from the moment they were due; infinite when none was answered."""
        return self.judged.latency.quantile_ms(0.99) if self.judged.latency.count else math.inf

    @property
    def failures(self) -> int:
        """Wrong answers, none at all, dropped arrivals, faults of the scenario."""
        return sum(self.recording.errors.values()) + self.recording.dropped

    @property
    def error_share(self) -> float:
        right = self.recording.series[ALL].latency.count
        return self.failures / max(right + self.failures, 1)

    @property
    def goodput_per_s(self) -> float:
        return self.recording.series[ALL].latency.count / self.step.duration_s

    @property
    def achieved_share(self) -> float:
        """Part of the visits that were due and were let in and answered."""
        lost = self.recording.dropped + self.recording.unfinished
        return 1 - lost / self.recording.offered if self.recording.offered else 0.0

    def holds(self, limits: Limits) -> bool:
        """Say whether the objective was met: fast enough, nearly without errors, and nearly all that was offered."""
        fast = self.p99_ms <= self.workload.slo_ms
        return fast and self.error_share <= limits.error_share and self.achieved_share >= limits.achieved_share


def knee_of(outcomes: Iterable[Outcome], limits: Limits) -> float | None:
    """Return the highest rate (per second) that holds, worked out from all steps of a search; None without a valid step.

    0: not even the lowest rate held. Between the last rate that held and the next one that did not, the p99 says where
    the objective was crossed; a rate that failed otherwise leaves the middle.
    """
    valid = sorted((o for o in outcomes if not o.step.problems), key=lambda o: o.step.rate_per_s)
    if not valid:
        return None
    low: Outcome | None = None
    for outcome in valid:
        if not outcome.holds(limits):
            return _between(low, outcome) if low else 0.0
        low = outcome
    return valid[-1].step.rate_per_s


def _between(low: Outcome, high: Outcome) -> float:
    slo_ms, step = low.workload.slo_ms, high.step.rate_per_s / low.step.rate_per_s
    if high.p99_ms <= slo_ms or not math.isfinite(high.p99_ms) or low.p99_ms <= 0:
        part = 0.5
    else:
        part = math.log(slo_ms / low.p99_ms) / math.log(high.p99_ms / low.p99_ms) if high.p99_ms > low.p99_ms else 0.5
    knee_per_s: float = low.step.rate_per_s * step ** min(max(part, 0.0), 1.0)
    return knee_per_s
