"""What one slice says: is it believed, did it hold the objective, what did a request cost?"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from loadtest.judge.validity import Problem, problems
from loadtest.records.model import Limits, Manifest, Workload
from loadtest.records.recording import Recording, Series
from loadtest.records.slices import Slice, Usage

# Below this share of the highest rate that was held in most slices, nothing should make a quota bite or a gateway answer by itself.
CALM_SHARE = 0.8


@dataclass(frozen=True)
class JudgedSlice:
    """A slice with its figures at hand. `calm_below_per_s`: at a lower rate the server has nothing to complain of."""

    slice: Slice
    workload: Workload
    limits: Limits
    calm_below_per_s: float = 0.0

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Why it is not believed; empty when it is."""
        return problems(self.slice, self.workload, self.limits, calm=self.slice.rate_per_s < self.calm_below_per_s)

    @property
    def recording(self) -> Recording:
        return self.slice.recording

    @cached_property
    def judged(self) -> Series:
        """The requests that the objective is about."""
        return self.recording.of(self.workload.judged)

    @cached_property
    def late_share(self) -> float:
        """Part of the judged requests that were answered rightly, but later than the objective."""
        return self.judged.latency.share_above_ms(self.workload.slo_ms)

    @property
    def right(self) -> int:
        return self.recording.all.latency.count

    @property
    def failures(self) -> int:
        """Wrong answers, none at all, dropped arrivals, faults of the scenario."""
        return sum(self.recording.errors.values()) + self.recording.dropped

    @property
    def error_share(self) -> float:
        return self.failures / max(self.right + self.failures, 1)

    @property
    def achieved_share(self) -> float:
        """Part of the visits that were due and were let in and answered."""
        lost = self.recording.dropped + self.recording.unfinished
        return 1 - lost / self.recording.offered if self.recording.offered else 0.0

    @cached_property
    def holds(self) -> bool:
        """Whether the objective was met: 99 % fast enough, nearly without errors, and nearly all that was offered."""
        fast = self.judged.latency.count > 0 and self.late_share <= 0.01  # noqa: PLR2004 - the p99
        return fast and self.error_share <= self.limits.error_share and self.achieved_share >= self.limits.achieved_share

    def cpu_us(self, part: str = "server") -> float | None:
        """Processor time of a part (server, gateway, rest, generator) for each right answer, in microseconds."""
        used: Usage = getattr(self.slice, part)
        return None if used.cpu_ns is None or not self.right else used.cpu_ns / 1e3 / self.right


def judge_slices(manifest: Manifest, slices: Iterable[Slice]) -> list[JudgedSlice]:
    """Judge every slice by the limits of the manifest, in the order given."""
    works = {work.name: work for work in manifest.workloads}
    first = [JudgedSlice(one, works[one.workload], manifest.limits) for one in slices]
    groups: dict[tuple[str, str], list[JudgedSlice]] = defaultdict(list)
    for one in first:
        groups[one.slice.candidate, one.slice.workload].append(one)
    calm = {key: calm_below(own) for key, own in groups.items()}
    return [JudgedSlice(one.slice, one.workload, one.limits, calm[one.slice.candidate, one.slice.workload]) for one in first]


def calm_below(own: Iterable[JudgedSlice]) -> float:
    """Return the rate (per second) below which a candidate is known to hold the objective with ease; 0: not known."""
    held = sorted(one.slice.rate_per_s for one in own if one.holds and not one.problems)
    return CALM_SHARE * held[len(held) // 2] if held else 0.0
