"""What one step and one cell say: are they believed, did a step hold the objective, and where does a server stop holding it?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from loadtest.judge.gates import Problem, problems
from loadtest.records.model import Cell, Limits, Manifest, Step, Workload
from loadtest.records.recording import Recording, Series

OVERLOAD = 1.0


@dataclass(frozen=True)
class JudgedStep:
    """A step with its figures at hand."""

    step: Step
    workload: Workload
    limits: Limits

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Why it is not believed; empty when it is."""
        return problems(self.step, self.workload, self.limits)

    @property
    def recording(self) -> Recording:
        return self.step.recording

    @cached_property
    def judged(self) -> Series:
        """The requests that the objective is about."""
        return self.recording.of(self.workload.judged)

    @cached_property
    def p99_ms(self) -> float:
        """99 % of the judged requests were faster, from the moment they were due; infinite when none was answered."""
        return self.judged.latency.quantile_ms(0.99) if self.judged.latency.count else math.inf

    @property
    def right(self) -> int:
        """Right answers."""
        return self.recording.all.latency.count

    @property
    def failures(self) -> int:
        """Wrong answers, none at all, dropped arrivals, faults of the scenario."""
        return sum(self.recording.errors.values()) + self.recording.dropped

    @property
    def error_share(self) -> float:
        """Failures, of all that were offered."""
        return self.failures / max(self.right + self.failures, 1)

    @property
    def goodput_per_s(self) -> float:
        """Right answers a second."""
        return self.right / self.step.duration_s

    @property
    def achieved_share(self) -> float:
        """Part of the visits that were due and were let in and answered."""
        lost = self.recording.dropped + self.recording.unfinished
        return 1 - lost / self.recording.offered if self.recording.offered else 0.0

    @cached_property
    def holds(self) -> bool:
        """Whether the objective was met: fast enough, nearly without errors, and nearly all that was offered."""
        fast = self.p99_ms <= self.workload.slo_ms
        return fast and self.error_share <= self.limits.error_share and self.achieved_share >= self.limits.achieved_share


@dataclass(frozen=True)
class JudgedCell:
    """A cell with its steps judged."""

    cell: Cell
    steps: tuple[JudgedStep, ...]

    @cached_property
    def sound(self) -> list[JudgedStep]:
        """The steps that are believed."""
        return [one for one in self.steps if not one.problems]

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(problem for one in self.steps for problem in one.problems)

    @cached_property
    def invalid(self) -> tuple[Problem, ...]:
        """Why the whole cell is not believed; empty when it is.

        A problem above a rate that failed in a step without problems concerns that step alone: the knee is below it. Below,
        or where no step is sound, it could be the generator's knee that was found. A step that was repeated without a problem
        has none.
        """
        places = {_place(one.step) for one in self.sound}
        bound = min((one.step.rate_per_s for one in self.sound if one.step.load is None and not one.holds), default=math.inf)
        reasons: list[Problem] = []
        for one in self.steps:
            step = one.step
            above = step.load > OVERLOAD if step.load is not None else step.rate_per_s > bound
            reasons += () if above or _place(step) in places else one.problems
        return tuple(dict.fromkeys(reasons))

    @cached_property
    def knee_per_s(self) -> float | None:
        """Where a search found the end of the objective; None: it was no search, or is not believed."""
        return None if self.cell.kind != "knee" or self.invalid else knee_of(self.steps)


def _place(step: Step) -> tuple[float | None, float]:
    return step.load, step.rate_per_s


def judge_cells(manifest: Manifest, cells: Iterable[Cell]) -> list[JudgedCell]:
    """Judge every cell by the limits of the manifest."""
    works = {work.name: work for work in manifest.workloads}
    return [JudgedCell(one, tuple(JudgedStep(step, works[one.workload], manifest.limits) for step in one.steps)) for one in cells]


def knee_of(steps: Iterable[JudgedStep]) -> float | None:
    """Return the highest rate (per second) that holds, worked out from all steps of a search; None without a valid step.

    0: not even the lowest rate held. Between the last rate that held and the next one that did not, the p99 says where
    the objective was crossed; a rate that failed otherwise leaves the middle.
    """
    low: JudgedStep | None = None
    for one in sorted((one for one in steps if not one.problems), key=lambda one: one.step.rate_per_s):
        if not one.holds:
            return _between(low, one) if low else 0.0
        low = one
    return low.step.rate_per_s if low else None


def _between(low: JudgedStep, high: JudgedStep) -> float:
    slo_ms, part = low.workload.slo_ms, 0.5
    if math.isfinite(high.p99_ms) and high.p99_ms > max(slo_ms, low.p99_ms) and low.p99_ms > 0:
        part = min(max(math.log(slo_ms / low.p99_ms) / math.log(high.p99_ms / low.p99_ms), 0.0), 1.0)
    knee_per_s: float = low.step.rate_per_s * (high.step.rate_per_s / low.step.rate_per_s) ** part
    return knee_per_s
